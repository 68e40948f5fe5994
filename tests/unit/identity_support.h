/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of identities share: a vault with a key file and one artifact, and questions to it. */
#ifndef PQE_TESTS_UNIT_IDENTITY_SUPPORT_H
#define PQE_TESTS_UNIT_IDENTITY_SUPPORT_H

#include <pqc_enclave/attest.h>

#include "unit/support.h"

typedef struct identity_bench {
    char *scratch, *dir;
    pqe_backend *backend;
    pqe_vault *vault;
} identity_bench;

int identity_set_up(void **state);
int identity_tear_down(void **state);
void identity_reopen(identity_bench *b);

pqe_identity identity_create(pqe_vault *vault, const char *name, pqe_sig_algorithm algorithm);
void identity_found(pqe_vault *vault, const char *did_or_name, const pqe_identity *expected, bool is_default);
pqe_status identity_status(pqe_vault *vault, const char *did_or_name);
/** Attests and has the attestation verified against the identity's DID. */
void identity_attests(pqe_vault *vault, const pqe_identity *signer);
/** Lists; `names` gets each name and a space, a star after the default's. */
#define IDENTITY_NAMES 512
pqe_status identity_names(pqe_vault *vault, char names[IDENTITY_NAMES]);
void identities_listed(pqe_vault *vault, const char *expected);
void identity_sound(pqe_vault *vault);

#endif
