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
    EVP_MD *sha256;
    EVP_MAC_CTX *hmac_sha256;                   /* without a key: to be duplicated */
    EVP_KDF_CTX *expand_sha256, *expand_sha512; /* the same */
    EVP_CIPHER *aes_256_gcm;
} pqe__library;

/** The one instance, made at the first call and kept until the process ends. If that failed, it fails again for every
 *  later caller. It has what every unlocked vault needs. */
pqe_status pqe__library_get(const pqe__library **out, pqe_error *err);

/* What only some processes need is fetched at its first use and kept as well. Between pqe__ossl_begin() and
   pqe__ossl_end(); NULL on failure. */
const EVP_MD *pqe__library_sha3_256(const pqe__library *l);
EVP_KDF *pqe__library_argon2id(const pqe__library *l);
#define PQE__ML_DSA_COUNT 3u /* by pqe_sig_algorithm, less one */
EVP_SIGNATURE *pqe__library_ml_dsa(const pqe__library *l, size_t index);

/** From here on, errors in this thread's queue are ours. */
void pqe__ossl_begin(void);

/**
 * Ends what pqe__ossl_begin() began and leaves the queue as it was there. PQE_OK only if `ok` and no error was queued
 * since: some of libcrypto's algorithms (Argon2, ML-KEM decapsulation) return success after an inner hash had failed,
 * and only the queue tells. PQE_E_NOMEM if memory was short, else PQE_E_CRYPTO. `what` is a verb phrase.
 */
pqe_status pqe__ossl_end(bool ok, const char *what, pqe_error *err);

/** The same for ciphers, hashes and HMAC, whose return values do tell: the queue is looked at only if `ok` is false. */
pqe_status pqe__ossl_end_plain(bool ok, const char *what, pqe_error *err);

/** Overwrites the stack below the caller, where libcrypto leaves secrets behind (seen: the ML-KEM seed after key
 *  generation, the key that Argon2 gave). Called after each operation on keys that does not run millions of times. */
void pqe__wipe_stack(void);
/** The same for AES keys, whose schedules lie less deep: 568 bytes were seen. */
void pqe__wipe_stack_shallow(void);

/** Writes a key as PEM, with a NUL; `too_small` is the status where `capacity` does not do. `what` as above. pem.c */
pqe_status pqe__pkey_pem(const EVP_PKEY *pkey, bool is_private, pqe_status too_small, const char *what, char *buf,
                         size_t capacity, size_t *len, pqe_error *err);

/** One piece of a message that is given in several. */
typedef struct pqe__part {
    const void *data;
    size_t len;
} pqe__part;

/** HMAC-SHA-256 of the parts, one after the other. An empty key is allowed. */
pqe_status pqe__hmac_parts(const uint8_t *key, size_t key_len, const pqe__part *parts, size_t count, uint8_t out[32],
                           pqe_error *err);

#endif
