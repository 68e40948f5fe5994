/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of attestations share: a vault with an identity, attestations of both versions, and a verdict. */
#ifndef PQE_TESTS_UNIT_ATTEST_SUPPORT_H
#define PQE_TESTS_UNIT_ATTEST_SUPPORT_H

#include <pqc_enclave/attest.h>

#define CHALLENGE "0123456789abcdef"

/* A vault in memory with two artifacts and an identity, and what is made of them. */
typedef struct attest_bench {
    pqe_backend *backend;
    pqe_vault *vault;
    pqe_identity signer;
    pqe_trust *trust;
    pqe_attestation *v1, *v2, *other_v1, *other_v2;
    char *json, *cose;
    size_t json_len, cose_len;
} attest_bench;

/** Of the whole group. */
int attest_set_up(void **state);
int attest_tear_down(void **state);
/** The verdict over bytes; malformed ones included. */
pqe_verdict attest_judge(const pqe_attest_verify_opts *o, const void *data, size_t len);
pqe_attest_verify_opts attest_trusting(const attest_bench *b);

#endif
