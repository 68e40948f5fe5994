/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a TPM signed (TPM 2.0 Library, part 2: TPMS_ATTEST, TPMT_SIGNATURE). A piece of evidence is TPM2B_ATTEST followed by
 * TPMT_SIGNATURE. The two steps are apart so that nothing is made of the statement before its signature was verified.
 */
#ifndef PQE_ATTEST_TPM_H
#define PQE_ATTEST_TPM_H

#include <pqc_enclave/attest.h>
#include <pqc_enclave/backend.h>

#include "crypto/crypto.h"

typedef struct pqe__tpm_signed {
    pqe_bytes statement; /* TPMS_ATTEST, in place */
    uint8_t r[PQE__P256_SIZE], s[PQE__P256_SIZE];
} pqe__tpm_signed;

/** Splits a piece. False unless it is exactly both, with an ECDSA signature over SHA-256. */
bool pqe__tpm_split(const uint8_t *data, size_t len, pqe__tpm_signed *out);

typedef enum pqe__tpm_kind { PQE__TPM_QUOTE, PQE__TPM_CERTIFY, PQE__TPM_NV_CERTIFY } pqe__tpm_kind;

#define PQE__TPM_NAME_MAX 68u

/** A statement, read. */
typedef struct pqe__tpm_statement {
    pqe__tpm_kind kind;
    uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE];
    size_t signer_len, name_len;
    uint8_t signer[PQE__TPM_NAME_MAX]; /* qualified Name of the key that signed */
    uint64_t firmware, clock_ms;
    uint32_t resets, restarts;
    bool clock_safe;
    uint8_t pcr_digest[PQE__SHA256_SIZE]; /* QUOTE */
    char pcr_selection[PQE_EVIDENCE_TEXT_MAX];
    uint8_t name[PQE__TPM_NAME_MAX]; /* CERTIFY: of the object; NV_CERTIFY: of the index */
    uint64_t counter;                /* NV_CERTIFY: the whole of the index, 8 bytes */
} pqe__tpm_statement;

/** True if statements can be read: libtss2-mu was there when this was built, and is now. */
bool pqe__tpm_readable(void);
/** Reads a statement whose signature was verified. False unless it is one that a TPM made of itself (TPM_GENERATED), of a
 *  kind above, with a nonce of the right length and nothing behind. */
bool pqe__tpm_read(pqe_bytes statement, pqe__tpm_statement *out);

#endif
