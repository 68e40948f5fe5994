/* SPDX-License-Identifier: Apache-2.0 */
/* Key handles of the public interface, as the rest of the library sees them. */
#ifndef PQE_ATTEST_KEYS_H
#define PQE_ATTEST_KEYS_H

#include <sys/types.h>

#include "crypto/crypto.h"

#define PQE__DID_PREFIX "did:pqaid:"
#define PQE__DID_LEN (sizeof PQE__DID_PREFIX - 1 + 2 * PQE__SHA3_256_SIZE)

struct pqe_public_key {
    pqe__sig_key *key;
    pqe_sig_algorithm algorithm;
    char did[PQE_DID_SIZE];
    size_t len;
    uint8_t raw[PQE_ML_DSA_PUBLIC_MAX];
};

struct pqe_signing_key {
    pid_t owner;
    pqe__sig_key *key;
    uint8_t *seed; /* locked memory; NULL: read in expanded form */
    pqe_public_key *public_key;
};

/** True for "did:pqaid:" and 64 lower-case hex digits. */
bool pqe__did_valid(const char *did, size_t len);
/** Takes an expanded private key. */
pqe_status pqe__signing_key_from_private(pqe_sig_algorithm algorithm, const uint8_t *sk, size_t len,
                                         pqe_signing_key **out, pqe_error *err);
/** The object behind, for pqe__sig_sign(); PQE_E_LOCKED in a forked child. */
pqe_status pqe__signing_key_usable(const pqe_signing_key *key, pqe_error *err);

#endif
