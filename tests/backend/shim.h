/* SPDX-License-Identifier: Apache-2.0 */
/* What a test tells the misbehaving module (shim.c) to do; found in it by dlsym(). */
#ifndef PQE_TESTS_BACKEND_SHIM_H
#define PQE_TESTS_BACKEND_SHIM_H

enum {
    SHIM_PIN_LOW = 1u << 0,     /* CK_TOKEN_INFO: few tries are left */
    SHIM_PIN_FINAL = 1u << 1,   /* one is left */
    SHIM_PIN_LOCKED = 1u << 2,  /* none */
    SHIM_LOCKS = 1u << 3,       /* the next wrong PIN locks */
    SHIM_NO_AAD = 1u << 4,      /* takes an AAD and does nothing with it */
    SHIM_NO_TAG = 1u << 5,      /* gives out what does not verify */
    SHIM_EXTRACTABLE = 1u << 6, /* makes keys that it gives out */
    SHIM_SHOWS_VALUE = 1u << 7, /* says that it does not, and does */
    SHIM_OWN_NONCE = 1u << 8,   /* makes the nonce itself and writes it over the caller's */
    SHIM_LOSES_ONCE = 1u << 9,  /* the next decryption finds the token gone */
    SHIM_LOSES = 1u << 10,      /* every one does */
    SHIM_FAILS = 1u << 11,      /* keys cannot be made */
    SHIM_KEYPAD = 1u << 12,     /* the PIN is typed at the token */
};

typedef void (*shim_set)(unsigned flags); /* shim_set_flags */
typedef unsigned (*shim_count)(void);     /* shim_logins: calls of C_Login so far */

#endif
