/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cryptographic primitives the vault is made of, each a thin layer over libcrypto (OpenSSL >= 3.5). This folder
 * alone includes <openssl/...>. Algorithms are fetched once into a library context of our own, which reads no
 * configuration file and leaves the application's libcrypto settings alone.
 *
 * Secrets given and returned are the caller's to keep in locked memory (util/secmem.h); every temporary is wiped.
 * PQE_E_DECRYPTION means that a tag did not verify; PQE_E_CRYPTO that libcrypto failed for another reason.
 */
#ifndef PQE_CRYPTO_CRYPTO_H
#define PQE_CRYPTO_CRYPTO_H

#include <pqc_enclave/identity.h>

#include "util/error.h"

/* ---- random ---- */

/** Public randomness: nonces, salts, ids. */
pqe_status pqe__random(void *out, size_t len, pqe_error *err);
/** Randomness for keys: libcrypto's separate generator for private values. */
pqe_status pqe__random_secret(void *out, size_t len, pqe_error *err);

/** Constant-time equality. */
bool pqe__equal(const void *a, const void *b, size_t len);

/* ---- hash ---- */

#define PQE__SHA256_SIZE 32
#define PQE__SHA3_256_SIZE 32

typedef enum pqe__hash_id { PQE__SHA256 = 1, PQE__SHA3_256 = 2 } pqe__hash_id; /* FIPS 180-4, FIPS 202; 32 bytes each */

typedef struct pqe__hash pqe__hash;
pqe_status pqe__hash_new(pqe__hash_id id, pqe__hash **out, pqe_error *err);
pqe_status pqe__hash_update(pqe__hash *h, const void *data, size_t len, pqe_error *err);
/** Writes 32 bytes and makes the object ready for another message. */
pqe_status pqe__hash_final(pqe__hash *h, uint8_t out[32], pqe_error *err);
void pqe__hash_free(pqe__hash **h);
/** One message in one call. */
pqe_status pqe__hash_once(pqe__hash_id id, const void *data, size_t len, uint8_t out[32], pqe_error *err);
/** One message in two parts, `more` perhaps empty. */
pqe_status pqe__hash_two(pqe__hash_id id, const void *data, size_t len, const void *more, size_t more_len,
                         uint8_t out[32], pqe_error *err);

/* ---- key derivation and authentication ---- */

/** HKDF-Extract with SHA-256, RFC 5869 section 2.2; 32 bytes out. An empty salt is allowed. */
pqe_status pqe__hkdf_extract(const uint8_t *salt, size_t salt_len, const uint8_t *ikm, size_t ikm_len, uint8_t out[32],
                             pqe_error *err);
typedef enum pqe__hkdf_hash { PQE__HKDF_SHA256, PQE__HKDF_SHA512 } pqe__hkdf_hash;
/** HKDF-Expand, RFC 5869 section 2.3. */
pqe_status pqe__hkdf_expand(pqe__hkdf_hash hash, const uint8_t *prk, size_t prk_len, const uint8_t *info,
                            size_t info_len, uint8_t *out, size_t len, pqe_error *err);
/** HMAC-SHA-256, RFC 2104. */
pqe_status pqe__hmac_sha256(const uint8_t *key, size_t key_len, const void *data, size_t len, uint8_t out[32],
                            pqe_error *err);

typedef struct pqe__argon2_params {
    uint32_t memory_kib, passes, lanes;
} pqe__argon2_params;
/** Argon2id version 0x13, RFC 9106; 32 bytes out. */
pqe_status pqe__argon2id(const void *passphrase, size_t passphrase_len, const uint8_t *salt, size_t salt_len,
                         const pqe__argon2_params *params, uint8_t out[32], pqe_error *err);

/* ---- AEAD: AES-256-GCM, SP 800-38D, 96-bit nonce, 128-bit tag ---- */

#define PQE__KEY_SIZE 32
#define PQE__NONCE_SIZE 12
#define PQE__TAG_SIZE 16

/** A keyed context; one thread at a time. */
typedef struct pqe__aead pqe__aead;
/** AES-256-GCM: `key_len` is 32. */
pqe_status pqe__aead_new(const uint8_t *key, size_t key_len, pqe__aead **out, pqe_error *err);
/** Wipes. */
void pqe__aead_free(pqe__aead **aead);
/** Writes len + PQE__TAG_SIZE bytes: ciphertext, then tag. `out` may be the same buffer as `in`. */
pqe_status pqe__aead_seal(pqe__aead *aead, const uint8_t nonce[PQE__NONCE_SIZE], const uint8_t *aad, size_t aad_len,
                          const uint8_t *in, size_t len, uint8_t *out, pqe_error *err);
/** Reads len bytes of ciphertext and tag (len >= PQE__TAG_SIZE), writes len - PQE__TAG_SIZE; on failure `out` is
 *  zeroed. `out` may be the same buffer as `in`. */
pqe_status pqe__aead_open(pqe__aead *aead, const uint8_t nonce[PQE__NONCE_SIZE], const uint8_t *aad, size_t aad_len,
                          const uint8_t *in, size_t len, uint8_t *out, pqe_error *err);

/** A box is nonce || ciphertext || tag under a fresh random nonce. */
#define PQE__BOX_OVERHEAD (PQE__NONCE_SIZE + PQE__TAG_SIZE)
/** Writes len + PQE__BOX_OVERHEAD bytes; `out` must not overlap `in`. */
pqe_status pqe__box_seal(pqe__aead *aead, const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len,
                         uint8_t *out, pqe_error *err);
/** Writes len - PQE__BOX_OVERHEAD bytes; a shorter input is PQE_E_DECRYPTION. `out` must not overlap `in`. */
pqe_status pqe__box_open(pqe__aead *aead, const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len,
                         uint8_t *out, pqe_error *err);

/* ---- KEM: ML-KEM-768, FIPS 203 ---- */

#define PQE__KEM_SEED_SIZE 64 /* d || z */
#define PQE__KEM_PUBLIC_SIZE 1184
#define PQE__KEM_CIPHERTEXT_SIZE 1088
#define PQE__KEM_SHARED_SIZE 32

/** A key: public part, and the private part if it was made from a seed. Usable from several threads at once. */
typedef struct pqe__kem_key pqe__kem_key;
pqe_status pqe__kem_from_seed(const uint8_t seed[PQE__KEM_SEED_SIZE], pqe__kem_key **out, pqe_error *err);
/** Refuses keys that fail FIPS 203's modulus check (section 7.2). */
pqe_status pqe__kem_from_public(const uint8_t *ek, size_t len, pqe__kem_key **out, pqe_error *err);
/** Wipes. */
void pqe__kem_free(pqe__kem_key **key);
pqe_status pqe__kem_public(const pqe__kem_key *key, uint8_t ek[PQE__KEM_PUBLIC_SIZE], pqe_error *err);
/** `randomness` (32 bytes, m of FIPS 203) is NULL except in tests of published vectors. */
pqe_status pqe__kem_encapsulate(const pqe__kem_key *key, const uint8_t *randomness,
                                uint8_t ct[PQE__KEM_CIPHERTEXT_SIZE], uint8_t shared[PQE__KEM_SHARED_SIZE],
                                pqe_error *err);
/** Implicit rejection: a wrong ciphertext gives an unrelated secret, not an error (FIPS 203, section 6.3). */
pqe_status pqe__kem_decapsulate(const pqe__kem_key *key, const uint8_t *ct, size_t ct_len,
                                uint8_t shared[PQE__KEM_SHARED_SIZE], pqe_error *err);
/** SubjectPublicKeyInfo PEM, RFC 9935; NUL-terminated, *len without it. */
pqe_status pqe__kem_public_pem(const pqe__kem_key *key, char *buf, size_t capacity, size_t *len, pqe_error *err);
/** PKCS#8 PEM that holds the seed alone (RFC 9935, section 6); NUL-terminated, *len without it. */
pqe_status pqe__kem_seed_to_pem(const uint8_t seed[PQE__KEM_SEED_SIZE], char *buf, size_t capacity, size_t *len,
                                pqe_error *err);
/** The seed in such a PEM, or in one that holds the expanded key beside it. PQE_E_MALFORMED for anything else. */
pqe_status pqe__kem_seed_from_pem(const char *pem, size_t len, uint8_t seed[PQE__KEM_SEED_SIZE], pqe_error *err);

/* ---- signatures: pure ML-DSA, FIPS 204 ---- */

#define PQE__SIG_PRIVATE_MAX 4896 /* bytes of the longest expanded private key (44: 2560, 65: 4032, 87: 4896) */

/** A key: public part, and perhaps the private one. Usable from several threads at once. */
typedef struct pqe__sig_key pqe__sig_key;
pqe_status pqe__sig_from_seed(pqe_sig_algorithm algorithm, const uint8_t seed[PQE_ML_DSA_SEED_SIZE], pqe__sig_key **out,
                              pqe_error *err);
/** From an expanded private key (FIPS 204, Algorithm 24). PQE_E_MALFORMED if its parts do not fit together. */
pqe_status pqe__sig_from_private(pqe_sig_algorithm algorithm, const uint8_t *sk, size_t len, pqe__sig_key **out,
                                 pqe_error *err);
pqe_status pqe__sig_from_public(pqe_sig_algorithm algorithm, const uint8_t *pk, size_t len, pqe__sig_key **out,
                                pqe_error *err);
/** PKCS#8 in the forms of RFC 9881, section 6, with its checks; PQE_E_MALFORMED for anything else. */
pqe_status pqe__sig_from_private_pem(const char *pem, size_t len, pqe__sig_key **out, pqe_error *err);
/** SubjectPublicKeyInfo, RFC 9881, section 4. */
pqe_status pqe__sig_from_public_pem(const char *pem, size_t len, pqe__sig_key **out, pqe_error *err);
/** Wipes. */
void pqe__sig_free(pqe__sig_key **key);
pqe_sig_algorithm pqe__sig_algorithm(const pqe__sig_key *key);
size_t pqe__sig_private_size(pqe_sig_algorithm algorithm);
/** Writes pqe_sig_public_size() bytes. */
pqe_status pqe__sig_public(const pqe__sig_key *key, uint8_t *pk, pqe_error *err);
/** *found false where the key was read in expanded form. */
pqe_status pqe__sig_seed(const pqe__sig_key *key, uint8_t seed[PQE_ML_DSA_SEED_SIZE], bool *found, pqe_error *err);
/** Writes pqe__sig_private_size() bytes. */
pqe_status pqe__sig_private(const pqe__sig_key *key, uint8_t *sk, pqe_error *err);
/** NUL-terminated, *len without it. A private key is written as its seed, else expanded. */
pqe_status pqe__sig_public_pem(const pqe__sig_key *key, char *buf, size_t capacity, size_t *len, pqe_error *err);
pqe_status pqe__sig_private_pem(const pqe__sig_key *key, char *buf, size_t capacity, size_t *len, pqe_error *err);
/** `randomness` (32 bytes, rnd of FIPS 204) is NULL except in tests of published vectors. Writes
 *  pqe_sig_signature_size() bytes. */
pqe_status pqe__sig_sign(const pqe__sig_key *key, const uint8_t *randomness, const void *message, size_t message_len,
                         const void *context, size_t context_len, uint8_t *signature, pqe_error *err);
/** PQE_E_ATTESTATION if it is not genuine. */
pqe_status pqe__sig_verify(const pqe__sig_key *key, const void *message, size_t message_len, const void *context,
                           size_t context_len, const uint8_t *signature, size_t signature_len, pqe_error *err);

/* ---- P-256, for what TPMs sign: classical, never for a vault's own secrets ---- */

#define PQE__P256_SIZE 32 /* bytes of a coordinate, and of a number below the group's order */

/** The point x || y as SubjectPublicKeyInfo PEM, RFC 5480; NUL-terminated, *len without it. PQE_E_MALFORMED if it is not
 *  on the curve. */
pqe_status pqe__p256_public_pem(const uint8_t point[2 * PQE__P256_SIZE], char *buf, size_t capacity, size_t *len,
                                pqe_error *err);

/* ---- ECDSA with P-256 and SHA-256, FIPS 186-5: classical, for verifying what chips sign ---- */

/** A public key. Usable from several threads at once. */
typedef struct pqe__ecdsa_key pqe__ecdsa_key;
/** SubjectPublicKeyInfo of P-256 with an uncompressed point (RFC 5480); PQE_E_MALFORMED for anything else. */
pqe_status pqe__ecdsa_from_pem(const char *pem, size_t len, pqe__ecdsa_key **out, pqe_error *err);
void pqe__ecdsa_free(pqe__ecdsa_key **key);
/** SHA-256 of its SubjectPublicKeyInfo in DER. */
const uint8_t *pqe__ecdsa_fingerprint(const pqe__ecdsa_key *key);
/** r and s are big-endian. PQE_E_ATTESTATION if the signature is not genuine. */
pqe_status pqe__ecdsa_verify(const pqe__ecdsa_key *key, const void *message, size_t len,
                             const uint8_t r[PQE__P256_SIZE], const uint8_t s[PQE__P256_SIZE], pqe_error *err);

/* ---- HPKE: base mode, single shot, RFC 9180 with draft-ietf-hpke-pq ---- */

typedef struct pqe__hpke_suite {
    uint16_t kem_id, kdf_id, aead_id;
    size_t key_len;
} pqe__hpke_suite;
/** ML-KEM-768 (0x0041), HKDF-SHA256 (0x0001), AES-256-GCM (0x0002): the suite named "ml-kem-768". */
extern const pqe__hpke_suite pqe__hpke_ml_kem_768;

#define PQE__HPKE_OVERHEAD (PQE__KEM_CIPHERTEXT_SIZE + PQE__TAG_SIZE)
/** Writes enc || ciphertext || tag: len + PQE__HPKE_OVERHEAD bytes. `randomness` as in pqe__kem_encapsulate(). */
pqe_status pqe__hpke_seal(const pqe__hpke_suite *suite, const pqe__kem_key *recipient, const uint8_t *randomness,
                          const uint8_t *info, size_t info_len, const uint8_t *aad, size_t aad_len, const uint8_t *in,
                          size_t len, uint8_t *out, pqe_error *err);
/** Writes len - PQE__HPKE_OVERHEAD bytes; on failure `out` is zeroed. */
pqe_status pqe__hpke_open(const pqe__hpke_suite *suite, const pqe__kem_key *recipient, const uint8_t *info,
                          size_t info_len, const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len,
                          uint8_t *out, pqe_error *err);
/** The same where somebody else has the private key: writes 32 bytes of shared secret to locked memory. */
typedef pqe_status (*pqe__decapsulate_fn)(void *user, const uint8_t *ct, size_t ct_len,
                                          uint8_t shared[PQE__KEM_SHARED_SIZE], pqe_error *err);
pqe_status pqe__hpke_open_by(const pqe__hpke_suite *suite, pqe__decapsulate_fn decapsulate, void *user,
                             const uint8_t *info, size_t info_len, const uint8_t *aad, size_t aad_len,
                             const uint8_t *in, size_t len, uint8_t *out, pqe_error *err);

/** A secret that both sides have: whoever opens knows that the sender has it (RFC 9180, section 9.1.1). At least 32
 *  bytes of full entropy, and a public name for it. */
typedef struct pqe__hpke_psk {
    const uint8_t *key;
    size_t key_len;
    const uint8_t *id;
    size_t id_len;
} pqe__hpke_psk;
/** PSK mode; otherwise as above. */
pqe_status pqe__hpke_seal_psk(const pqe__hpke_suite *suite, const pqe__hpke_psk *psk, const pqe__kem_key *recipient,
                              const uint8_t *randomness, const uint8_t *info, size_t info_len, const uint8_t *aad,
                              size_t aad_len, const uint8_t *in, size_t len, uint8_t *out, pqe_error *err);
pqe_status pqe__hpke_open_psk(const pqe__hpke_suite *suite, const pqe__hpke_psk *psk, const pqe__kem_key *recipient,
                              const uint8_t *info, size_t info_len, const uint8_t *aad, size_t aad_len,
                              const uint8_t *in, size_t len, uint8_t *out, pqe_error *err);

/** DeriveKeyPair() of draft-ietf-hpke-pq, section 3: the ML-KEM-768 seed that `ikm` determines. */
pqe_status pqe__kem_derive_seed(const uint8_t *ikm, size_t ikm_len, uint8_t seed[PQE__KEM_SEED_SIZE], pqe_error *err);

#endif
