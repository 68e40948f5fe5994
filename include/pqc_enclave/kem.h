/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ML-KEM key pairs (FIPS 203) for applications. A vault makes and keeps those it uses itself, which are ML-KEM-768, and
 * gives none away. Conventions are those of pqc_enclave.h. All functions exist since 0.1.0.
 */
#ifndef PQC_ENCLAVE_KEM_H
#define PQC_ENCLAVE_KEM_H

#include <pqc_enclave.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PQE_KEM_SEED_SIZE 64    /**< bytes of the seed, d || z of FIPS 203, that determines a key pair */
#define PQE_KEM_PUBLIC_MAX 1568 /**< bytes of the longest public key (512: 800, 768: 1184, 1024: 1568) */

/**
 * Makes a key pair from fresh randomness (FIPS 203, Algorithm 19). `algorithm` is "ML-KEM-512", "ML-KEM-768" or
 * "ML-KEM-1024". Writes PQE_KEM_SEED_SIZE bytes to `seed`, which the caller wipes, and the raw public key to
 * `public_key`, *len bytes. On an error no seed is left there.
 * Errors: PQE_E_ARGUMENT (unknown algorithm), PQE_E_LIMIT (`capacity` is too small), PQE_E_CRYPTO, PQE_E_NOMEM.
 */
PQE_API pqe_status pqe_kem_generate(const char *algorithm, uint8_t *seed, uint8_t *public_key, size_t capacity,
                                    size_t *len, pqe_error *err);
/** The public key of the pair that a seed of PQE_KEM_SEED_SIZE bytes determines. Errors as pqe_kem_generate(). */
PQE_API pqe_status pqe_kem_public_of_seed(const char *algorithm, const void *seed, size_t seed_len, uint8_t *public_key,
                                          size_t capacity, size_t *len, pqe_error *err);

#ifdef __cplusplus
}
#endif

#endif
