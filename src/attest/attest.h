/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder and the vault share. */
#ifndef PQE_ATTEST_ATTEST_H
#define PQE_ATTEST_ATTEST_H

#include <pqc_enclave/attest.h>

#include "attest/keys.h"
#include "format/attestation.h"

/** Bytes that signer, algorithm, public key and signature take in the arena. */
#define PQE__SIGNED_ROOM (PQE_DID_SIZE + 16u + PQE_ML_DSA_PUBLIC_MAX + PQE_ML_DSA_SIGNATURE_MAX)

/** What version 1 signs. */
pqe_status pqe__v1_digest(const pqe_attestation *a, uint8_t digest[PQE__SHA3_256_SIZE], pqe_error *err);
/** Sets signer, algorithm and public key. */
pqe_status pqe__attestation_claim(pqe__attestation *a, const char *did, pqe_sig_algorithm algorithm,
                                  const uint8_t *public_key, size_t len, pqe_error *err);
pqe_status pqe__attestation_attach(pqe__attestation *a, const uint8_t *signature, size_t len, pqe_error *err);

/** Is this DID in the set? NULL is the empty one. */
bool pqe__trust_has(const pqe_trust *trust, const char *did);

#endif
