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

struct pqe_trust {
    uint8_t (*hashes)[PQE__SHA3_256_SIZE];
    size_t count, capacity;
    pqe__ecdsa_key **evidence_keys;
    size_t evidence_count, evidence_capacity;
};

/** Is this DID in the set? NULL is the empty one. */
bool pqe__trust_has(const pqe_trust *trust, const char *did);

/** What evidence for an attestation with these claims must answer (docs/attestation.md, section 6). */
pqe_status pqe__evidence_nonce(const pqe_attestation *a, uint8_t nonce[PQE__SHA256_SIZE], pqe_error *err);
/** The verdict over an attestation's evidence, with evidence keys or an expected PCR digest. */
pqe_status pqe__evidence_judge(const pqe_attestation *a, const pqe_trust *trust, const char *expected_pcr_digest,
                               pqe_verdict *verdict, pqe_error *err);

#endif
