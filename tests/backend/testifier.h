/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stand-in for a TPM: the memory backend with evidence as a TPM gives it, TPMS_ATTEST by libtss2-mu signed with ECDSA
 * P-256. It shows formats and checks, not what chips do. Tests bend what it says through `testifier`.
 */
#ifndef PQE_TESTS_BACKEND_TESTIFIER_H
#define PQE_TESTS_BACKEND_TESTIFIER_H

#include <pqc_enclave/attest.h>
#include <pqc_enclave/backend.h>

#include <tss2/tss2_mu.h>

typedef struct testifier_knobs {
    int key;                                /**< which of two attestation keys signs */
    const char *const *types;               /**< NULL-terminated: the pieces; NULL: all three */
    void (*before)(TPMS_ATTEST *statement); /**< alters a statement before it is signed */
    /** Alters a piece, whose buffer has PQE_EVIDENCE_BYTES_MAX bytes, and its type. */
    void (*after)(const char **type, uint8_t *piece, size_t *len);
    pqe_status fail; /**< of evidence(), after what it gave */
    unsigned calls;  /**< of evidence() */
    uint64_t counter;
} testifier_knobs;
extern testifier_knobs testifier;

/** The table. */
const pqe_backend_ops *testifier_ops(void);
/** Attestation key `which`, 0 or 1, as PEM with a NUL. */
const char *testifier_pem(int which);
/** The digest that quotes state, hex. */
const char *testifier_pcr_digest(void);

#endif
