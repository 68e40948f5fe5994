/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the TPM states, signed by an attestation key of its own: the PCRs (quote), that the vault's sealed key is in it
 * (certify), the counter (nv-certify). Classical signatures: ECDSA with P-256 and SHA-256.
 *
 * The attestation key is a primary of the endorsement hierarchy: the same for the life of the chip, also after the TPM
 * was cleared, and restricted, so that it signs nothing that the TPM did not say itself.
 */
#ifndef PQE_BACKEND_TPM2_EVIDENCE_H
#define PQE_BACKEND_TPM2_EVIDENCE_H

#include "backend/tpm2/object.h"

#define PQE__TPM2_PIECES_MAX 3
#define PQE__TPM2_PIECE_SIZE 1024

/** The bytes of a piece are those of TPM2B_ATTEST and TPMT_SIGNATURE, one after the other. */
typedef struct pqe__tpm2_piece {
    const char *type;
    uint8_t data[PQE__TPM2_PIECE_SIZE];
    size_t len;
} pqe__tpm2_piece;

pqe_status pqe__tpm2_testify(pqe__tpm2_device *d, const uint8_t vault_id[PQE_VAULT_ID_SIZE],
                             const uint8_t kek[PQE__KEY_SIZE], const uint8_t auth[PQE__KEY_SIZE],
                             const pqe__tpm2_state *state, const uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE],
                             pqe__tpm2_piece pieces[PQE__TPM2_PIECES_MAX], size_t *count, pqe_error *err);

/** The attestation key, SubjectPublicKeyInfo in PEM. */
pqe_status pqe__tpm2_attestation_key(pqe__tpm2_device *d, pqe_blob *pem, pqe_error *err);

#endif
