/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ML-DSA key pairs (FIPS 204), public keys, DIDs, and the identities that a vault keeps.
 *
 * Two things with one algorithm behind them:
 *   pqe_signing_key   a key pair of the application, in this process alone; ML-DSA-44, -65 and -87
 *   an identity       a key pair that a vault keeps, its 32-byte seed sealed by the vault's backend (or made and kept by
 *                     the backend, where that can sign itself); ML-DSA-65 and -87. It signs attestations
 *                     (pqc_enclave/attest.h) and leaves the vault only by pqe_identity_export_private().
 *
 * Signatures are pure ML-DSA and hedged. Conventions are those of pqc_enclave.h. All functions exist since 0.1.0.
 */
#ifndef PQC_ENCLAVE_IDENTITY_H
#define PQC_ENCLAVE_IDENTITY_H

#include <pqc_enclave.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------------- algorithms */

/** Signature algorithms (FIPS 204). Values are stored. */
typedef enum pqe_sig_algorithm { PQE_ML_DSA_44 = 1, PQE_ML_DSA_65 = 2, PQE_ML_DSA_87 = 3 } pqe_sig_algorithm;

#define PQE_ML_DSA_SEED_SIZE 32       /**< bytes of the seed, xi of FIPS 204, that determines a key pair */
#define PQE_ML_DSA_PUBLIC_MAX 2592    /**< bytes of the longest public key (44: 1312, 65: 1952, 87: 2592) */
#define PQE_ML_DSA_SIGNATURE_MAX 4627 /**< bytes of the longest signature (44: 2420, 65: 3309, 87: 4627) */
#define PQE_ML_DSA_CONTEXT_MAX 255    /**< bytes of the longest context string */
#define PQE_PUBLIC_PEM_MAX 4096       /**< bytes that suffice for any public key as PEM */
#define PQE_PRIVATE_PEM_MAX 8192      /**< bytes that suffice for any private key as PEM */
#define PQE_DID_SIZE 80               /**< "did:pqaid:" + 64 hex digits + NUL, rounded up */

/** "ML-DSA-65"; NULL for an unknown value. Static storage. */
PQE_API const char *pqe_sig_name(pqe_sig_algorithm algorithm);
/** Finds an algorithm by its name, "ML-DSA-65" or "ml-dsa-65". False if there is none of that name. */
PQE_API bool pqe_sig_from_name(const char *name, pqe_sig_algorithm *out);
/** Bytes of a public key; 0 for an unknown algorithm. */
PQE_API size_t pqe_sig_public_size(pqe_sig_algorithm algorithm);
/** Bytes of a signature; 0 for an unknown algorithm. */
PQE_API size_t pqe_sig_signature_size(pqe_sig_algorithm algorithm);

/** "did:pqaid:" and the SHA3-256 (FIPS 202) of a raw public key in lower-case hex. `did` has PQE_DID_SIZE bytes. */
PQE_API pqe_status pqe_did_of_key(const void *public_key, size_t len, char *did, pqe_error *err);

/* ------------------------------------------------------------------------------------------------------ public keys */

/** A public key, ready to verify; may be used from several threads at once and for any number of signatures. */
typedef struct pqe_public_key pqe_public_key;

/** From its raw bytes. PQE_E_ARGUMENT for another length. Free with pqe_public_key_free(). */
PQE_API pqe_status pqe_public_key_from_raw(pqe_sig_algorithm algorithm, const void *data, size_t len,
                                           pqe_public_key **out, pqe_error *err);
/** From SubjectPublicKeyInfo PEM (RFC 9881), as `openssl pkey -pubout` writes it. PQE_E_MALFORMED for anything else. */
PQE_API pqe_status pqe_public_key_from_pem(const char *pem, size_t len, pqe_public_key **out, pqe_error *err);
PQE_API void pqe_public_key_free(pqe_public_key **key);

PQE_API pqe_sig_algorithm pqe_public_key_algorithm(const pqe_public_key *key);
/** The raw bytes; valid as long as the key. */
PQE_API const uint8_t *pqe_public_key_raw(const pqe_public_key *key, size_t *len);
/** Its DID; valid as long as the key. */
PQE_API const char *pqe_public_key_did(const pqe_public_key *key);
/** Writes PEM and a NUL; *len is the length without it. PQE_E_LIMIT if `capacity` is too small. */
PQE_API pqe_status pqe_public_key_pem(const pqe_public_key *key, char *buf, size_t capacity, size_t *len,
                                      pqe_error *err);
/**
 * Verifies a pure ML-DSA signature (FIPS 204, Algorithm 3) over `message` with a context of at most
 * PQE_ML_DSA_CONTEXT_MAX bytes (NULL and 0: empty). PQE_OK: it is genuine. PQE_E_ATTESTATION: it is not, whatever is
 * wrong with it.
 */
PQE_API pqe_status pqe_public_key_verify(const pqe_public_key *key, const void *message, size_t message_len,
                                         const void *context, size_t context_len, const void *signature,
                                         size_t signature_len, pqe_error *err);

/* -------------------------------------------------------------------------------------------------------- key pairs */

/** A key pair of the application. The seed lies in locked memory; libcrypto's expanded key is wiped when freed. */
typedef struct pqe_signing_key pqe_signing_key;

/** Makes a key pair from fresh randomness. Free with pqe_signing_key_free(). */
PQE_API pqe_status pqe_signing_key_generate(pqe_sig_algorithm algorithm, pqe_signing_key **out, pqe_error *err);
/** The key pair that a seed of PQE_ML_DSA_SEED_SIZE bytes determines (FIPS 204, Algorithm 6). */
PQE_API pqe_status pqe_signing_key_from_seed(pqe_sig_algorithm algorithm, const void *seed, size_t len,
                                             pqe_signing_key **out, pqe_error *err);
/**
 * From PKCS#8 PEM in any of the three forms of RFC 9881, section 6: seed, expanded, or both. Refused as
 * PQE_E_MALFORMED: an expanded key that does not belong to the seed beside it, one whose public part, its hash or whose
 * coefficients are not what they should be (RFC 9881, section 8; FIPS 204, Algorithm 25), and encrypted files.
 */
PQE_API pqe_status pqe_signing_key_from_pem(const char *pem, size_t len, pqe_signing_key **out, pqe_error *err);
/** Wipes. */
PQE_API void pqe_signing_key_free(pqe_signing_key **key);

/** The public half; valid as long as the key pair. */
PQE_API const pqe_public_key *pqe_signing_key_public(const pqe_signing_key *key);
/** Copies the seed into PQE_ML_DSA_SEED_SIZE bytes, which the caller wipes. PQE_E_UNAVAILABLE for a key that was read
 *  in expanded form, which does not tell its seed. */
PQE_API pqe_status pqe_signing_key_seed(const pqe_signing_key *key, uint8_t *seed, pqe_error *err);
/** Writes PKCS#8 PEM and a NUL: the seed form, or the expanded form where there is no seed. The caller wipes it. */
PQE_API pqe_status pqe_signing_key_pem(const pqe_signing_key *key, char *buf, size_t capacity, size_t *len,
                                       pqe_error *err);
/**
 * Signs (pure, hedged: FIPS 204, Algorithm 2) with a context of at most PQE_ML_DSA_CONTEXT_MAX bytes (NULL and 0:
 * empty). Writes pqe_sig_signature_size() bytes; PQE_E_LIMIT if `capacity` is smaller.
 */
PQE_API pqe_status pqe_signing_key_sign(const pqe_signing_key *key, const void *message, size_t message_len,
                                        const void *context, size_t context_len, uint8_t *signature, size_t capacity,
                                        size_t *len, pqe_error *err);

/* ---------------------------------------------------------------------------------------------- identities of a vault */

#define PQE_IDENTITY_NAME_MAX 256 /**< bytes of an identity's name */

/** What a vault tells of an identity. Strings are valid as long as the struct, or during a callback. */
typedef struct pqe_identity {
    char did[PQE_DID_SIZE];
    char name[PQE_IDENTITY_NAME_MAX + 1]; /**< "" if it has none */
    pqe_sig_algorithm algorithm;
    char created_at[32]; /**< ISO 8601, UTC: "2026-01-31T23:59:59Z"; of an imported one, when it was imported */
    bool is_default;     /**< signs where no other is asked for */
    bool is_native;      /**< its key was made by the backend and never leaves it */
    uint8_t public_key[PQE_ML_DSA_PUBLIC_MAX];
    size_t public_key_len;
} pqe_identity;

typedef struct pqe_identity_opts {
    size_t size;                 /**< sizeof(pqe_identity_opts) */
    const char *name;            /**< at most PQE_IDENTITY_NAME_MAX bytes, unique, no DID; NULL: none */
    pqe_sig_algorithm algorithm; /**< 0: PQE_ML_DSA_65; PQE_ML_DSA_87 is the other one. Ignored by import */
} pqe_identity_opts;

/**
 * Makes an identity, durably when it returns PQE_OK. The first one of a vault becomes its default. `opts` and `out` may
 * be NULL. A backend with PQE_CAP_NATIVE_ML_DSA makes the key itself.
 * Errors: PQE_E_EXISTS (the name is taken), PQE_E_LOCKED, PQE_E_READ_ONLY, PQE_E_BACKEND, PQE_E_UNAVAILABLE, ...
 */
PQE_API pqe_status pqe_identity_create(pqe_vault *vault, const pqe_identity_opts *opts, pqe_identity *out,
                                       pqe_error *err);
/** Keeps a copy of a key pair in the vault. PQE_E_EXISTS if it is there already, PQE_E_ARGUMENT for ML-DSA-44. */
PQE_API pqe_status pqe_identity_import(pqe_vault *vault, const pqe_signing_key *key, const pqe_identity_opts *opts,
                                       pqe_identity *out, pqe_error *err);
/** Finds one by DID or name; NULL is the default one. PQE_E_NOT_FOUND is proved by the index. */
PQE_API pqe_status pqe_identity_get(pqe_vault *vault, const char *did_or_name, pqe_identity *out, pqe_error *err);

/** Return false to stop. */
typedef bool (*pqe_identity_fn)(void *user, const pqe_identity *identity);
/** Lists all, oldest first; completeness is verified against the head. The callback must not call into the same vault.
 *  Errors: PQE_E_TAMPERED, PQE_E_CANCELLED, PQE_E_LOCKED. */
PQE_API pqe_status pqe_identity_list(pqe_vault *vault, pqe_identity_fn fn, void *user, pqe_error *err);
/**
 * Removes one; what it signed stays valid. If it was the default, the oldest one left becomes it. One whose stored record
 * is damaged is removed too; a key that the backend made and keeps for it stays with the backend then.
 */
PQE_API pqe_status pqe_identity_delete(pqe_vault *vault, const char *did_or_name, pqe_error *err);
/**
 * Gives the key pair out of the vault's keeping: whoever has it can sign as this device. PQE_E_UNAVAILABLE where the
 * backend keeps the key. Free with pqe_signing_key_free().
 */
PQE_API pqe_status pqe_identity_export_private(pqe_vault *vault, const char *did_or_name, pqe_signing_key **out,
                                               pqe_error *err);
/**
 * Signs a message of the application's with an identity. The context must not be empty and must not begin with
 * "pqc-enclave", so that what is signed here cannot pass for an attestation. Output as pqe_signing_key_sign().
 */
PQE_API pqe_status pqe_identity_sign(pqe_vault *vault, const char *did_or_name, const void *message, size_t message_len,
                                     const void *context, size_t context_len, uint8_t *signature, size_t capacity,
                                     size_t *len, pqe_error *err);

#ifdef __cplusplus
}
#endif

#endif
