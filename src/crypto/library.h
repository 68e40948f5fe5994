/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this folder share: the library context with its algorithms, and the handling of libcrypto's error
 * queue. Every use of libcrypto stands between pqe__ossl_begin() and pqe__ossl_end().
 */
#ifndef PQE_CRYPTO_LIBRARY_H
#define PQE_CRYPTO_LIBRARY_H

#include <openssl/evp.h>
#include <openssl/kdf.h>

#include "crypto/crypto.h"

typedef struct pqe__library {
    OSSL_LIB_CTX *ctx;
    EVP_MD *sha256, *sha3_256;
    EVP_MAC *hmac;
    EVP_KDF *hkdf, *argon2id;
    EVP_CIPHER *aes_256_gcm;
    EVP_SIGNATURE *ml_dsa[3]; /* by pqe_sig_algorithm, less one */
} pqe__library;

/** The one instance, made at the first call and kept until the process ends. If that failed, it fails again for every
 *  later caller. */
pqe_status pqe__library_get(const pqe__library **out, pqe_error *err);

/** From here on, errors in this thread's queue are ours. */
void pqe__ossl_begin(void);

/**
 * Ends what pqe__ossl_begin() began and leaves the queue as it was there. PQE_OK only if `ok` and no error was queued
 * since: some of libcrypto's algorithms (Argon2, ML-KEM decapsulation) return success after an inner hash had failed,
 * and only the queue tells. PQE_E_NOMEM if memory was short, else PQE_E_CRYPTO. `what` is a verb phrase.
 */
pqe_status pqe__ossl_end(bool ok, const char *what, pqe_error *err);

/** Overwrites the stack below the caller, where libcrypto leaves secrets behind (seen: the ML-KEM seed after key
 *  generation, the key that Argon2 gave). Called after each operation on keys that does not run millions of times. */
void pqe__wipe_stack(void);

/** One piece of a message that is given in several. */
typedef struct pqe__part {
    const void *data;
    size_t len;
} pqe__part;

/** HMAC-SHA-256 of the parts, one after the other. An empty key is allowed. */
pqe_status pqe__hmac_parts(const uint8_t *key, size_t key_len, const pqe__part *parts, size_t count, uint8_t out[32],
                           pqe_error *err);

#endif
