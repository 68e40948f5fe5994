/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PKCS#11 3.2 token for tests: another module's token (forwarded.h; SoftHSM's), and beside its objects key pairs for
 * ML-KEM-768 and ML-DSA, which live as long as the process. It does what is asked, and refuses what the standard has a token
 * refuse. What a test tells it is found in it by dlsym().
 */
#ifndef PQE_TESTS_BACKEND_PAIRS_MODULE_H
#define PQE_TESTS_BACKEND_PAIRS_MODULE_H

#include <stddef.h>

enum {
    PAIRS_LOSES_ONCE = 1u << 0,   /* the next use of a key pair finds the token gone */
    PAIRS_LOSES = 1u << 1,        /* every one does */
    PAIRS_EXTRACTABLE = 1u << 2,  /* makes keys that it would give out */
    PAIRS_SHOWS_SEED = 1u << 3,   /* says that it does not, and does */
    PAIRS_SHORT_PUBLIC = 1u << 4, /* public keys lack their last byte */
    PAIRS_FAILS = 1u << 5,        /* nothing of it works */
};

typedef void (*pairs_set)(unsigned flags); /* pairs_set_flags */
typedef size_t (*pairs_count)(void);       /* pairs_objects: private keys on the token */

#endif
