/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HPKE, RFC 9180: base and PSK mode, one message (section 6.1), HKDF-SHA256, with ML-KEM-768 as KEM after
 * draft-ietf-hpke-pq: its shared secret enters the key schedule as it is.
 */
#include <string.h>

#include "crypto/library.h"
#include "util/cursor.h"
#include "util/secmem.h"

#define KEM_ML_KEM_768 0x0041
#define KDF_HKDF_SHA256 0x0001
#ifdef PQE_TEST_SUITES /* of the published vector; see aead.c */
#define AEAD_AES_128_GCM 0x0001
#endif
#define AEAD_AES_256_GCM 0x0002

#define SUITE_ID_SIZE 10u
#define HASH_SIZE 32u
#define CONTEXT_SIZE (1u + 2u * HASH_SIZE)

/* What is secret while a message is sealed or opened; in locked memory. */
typedef struct secrets {
    uint8_t shared[PQE__KEM_SHARED_SIZE], secret[HASH_SIZE], key[32], nonce[PQE__NONCE_SIZE];
} secrets;

static const char version_label[] = "HPKE-v1";

const pqe__hpke_suite pqe__hpke_ml_kem_768 = {KEM_ML_KEM_768, KDF_HKDF_SHA256, AEAD_AES_256_GCM, 32};

/* Algorithms are listed, not ranked: what is not here is refused. */
static pqe_status
check_suite(const pqe__hpke_suite *s, pqe_error *err)
{
    bool aead = s->aead_id == AEAD_AES_256_GCM && s->key_len == 32;
#ifdef PQE_TEST_SUITES
    aead = aead || (s->aead_id == AEAD_AES_128_GCM && s->key_len == 16);
#endif

    if (s->kem_id == KEM_ML_KEM_768 && s->kdf_id == KDF_HKDF_SHA256 && aead)
        return PQE_OK;
    return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_CRYPTO, 0, "unknown HPKE suite %04x/%04x/%04x", (unsigned)s->kem_id,
                     (unsigned)s->kdf_id, (unsigned)s->aead_id);
}

/* RFC 9180, section 5.1: suite_id = "HPKE" || I2OSP(kem_id, 2) || I2OSP(kdf_id, 2) || I2OSP(aead_id, 2). */
static void
make_suite_id(const pqe__hpke_suite *s, uint8_t out[SUITE_ID_SIZE])
{
    pqe__wcur c = pqe__wcur_init(out, SUITE_ID_SIZE);

    pqe__put_bytes(&c, "HPKE", 4);
    pqe__put_u16(&c, s->kem_id);
    pqe__put_u16(&c, s->kdf_id);
    pqe__put_u16(&c, s->aead_id);
}

/* RFC 9180, section 4: LabeledExtract(salt, label, ikm) = Extract(salt, "HPKE-v1" || suite_id || label || ikm), where
 * Extract is HMAC (RFC 5869, section 2.2). */
static pqe_status
labeled_extract(const uint8_t *suite_id, const uint8_t *salt, size_t salt_len, const char *label, const uint8_t *ikm,
                size_t ikm_len, uint8_t out[HASH_SIZE], pqe_error *err)
{
    const pqe__part parts[] = {
        {version_label, strlen(version_label)}, {suite_id, SUITE_ID_SIZE}, {label, strlen(label)}, {ikm, ikm_len}};

    return pqe__hmac_parts(salt, salt_len, parts, sizeof parts / sizeof parts[0], out, err);
}

/* RFC 9180, section 4: LabeledExpand(prk, label, info, L) =
 * Expand(prk, I2OSP(L, 2) || "HPKE-v1" || suite_id || label || info, L). */
static pqe_status
labeled_expand(const uint8_t *suite_id, const uint8_t prk[HASH_SIZE], const char *label,
               const uint8_t context[CONTEXT_SIZE], uint8_t *out, size_t len, pqe_error *err)
{
    uint8_t info[2 + 7 + SUITE_ID_SIZE + 16 + CONTEXT_SIZE];
    pqe__wcur c = pqe__wcur_init(info, sizeof info);

    pqe__put_u16(&c, (uint16_t)len);
    pqe__put_bytes(&c, version_label, strlen(version_label));
    pqe__put_bytes(&c, suite_id, SUITE_ID_SIZE);
    pqe__put_bytes(&c, label, strlen(label));
    pqe__put_bytes(&c, context, CONTEXT_SIZE);
    if (!c.ok)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_CRYPTO, 0, "HPKE label too long");
    return pqe__hkdf_expand(PQE__HKDF_SHA256, prk, HASH_SIZE, info, c.pos, out, len, err);
}

enum { MODE_BASE = 0x00, MODE_PSK = 0x01 };
static const pqe__hpke_psk no_psk;

/* RFC 9180, section 5.1, VerifyPSKInputs(): both are there or neither; section 9.5: at least 32 bytes. */
static pqe_status
check_psk(const pqe__hpke_psk *psk, pqe_error *err)
{
    if (psk->key_len >= 32 && psk->id_len > 0)
        return PQE_OK;
    return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_CRYPTO, 0, "HPKE in PSK mode needs a key of 32 bytes and its id");
}

/* RFC 9180, section 5.1, KeySchedule(), from s->shared; in base mode psk and psk_id are empty. Gives the AEAD's context
 * and in s->nonce that of sequence number 0, which is base_nonce (section 5.2). */
static pqe_status
key_schedule(const pqe__hpke_suite *suite, const pqe__hpke_psk *psk, secrets *s, const uint8_t *info, size_t info_len,
             pqe__aead **aead, pqe_error *err)
{
    uint8_t suite_id[SUITE_ID_SIZE], context[CONTEXT_SIZE];
    pqe_status status;

    make_suite_id(suite, suite_id);
    context[0] = psk->key_len != 0 ? MODE_PSK : MODE_BASE;
    status = labeled_extract(suite_id, NULL, 0, "psk_id_hash", psk->id, psk->id_len, context + 1, err);
    if (status == PQE_OK)
        status = labeled_extract(suite_id, NULL, 0, "info_hash", info, info_len, context + 1 + HASH_SIZE, err);
    if (status == PQE_OK)
        status = labeled_extract(suite_id, s->shared, PQE__KEM_SHARED_SIZE, "secret", psk->key, psk->key_len, s->secret,
                                 err);
    if (status == PQE_OK)
        status = labeled_expand(suite_id, s->secret, "key", context, s->key, suite->key_len, err);
    if (status == PQE_OK)
        status = labeled_expand(suite_id, s->secret, "base_nonce", context, s->nonce, PQE__NONCE_SIZE, err);
    if (status == PQE_OK)
        status = pqe__aead_new(s->key, suite->key_len, aead, err);
    return status;
}

/* RFC 9180, section 6.1, SealBase() and SealPSK(): enc || ct. */
static pqe_status
seal(const pqe__hpke_suite *suite, const pqe__hpke_psk *psk, const pqe__kem_key *recipient, const uint8_t *randomness,
     const uint8_t *info, size_t info_len, const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len,
     uint8_t *out, pqe_error *err)
{
    secrets *s;
    pqe__aead *aead = NULL;
    pqe_status status = check_suite(suite, err);

    if (status != PQE_OK)
        return status;
    if ((s = pqe__secmem_alloc(sizeof *s)) == NULL)
        return pqe__fail_nomem(err);
    status = pqe__kem_encapsulate(recipient, randomness, out, s->shared, err);
    if (status == PQE_OK)
        status = key_schedule(suite, psk, s, info, info_len, &aead, err);
    if (status == PQE_OK)
        status = pqe__aead_seal(aead, s->nonce, aad, aad_len, in, len, out + PQE__KEM_CIPHERTEXT_SIZE, err);
    if (status != PQE_OK)
        memset(out, 0, PQE__KEM_CIPHERTEXT_SIZE);
    pqe__aead_free(&aead);
    pqe__secmem_free(s);
    return status;
}

/* RFC 9180, section 6.1, OpenBase() and OpenPSK(). */
static pqe_status
open_sealed(const pqe__hpke_suite *suite, const pqe__hpke_psk *psk, pqe__decapsulate_fn decapsulate, void *user,
            const uint8_t *info, size_t info_len, const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len,
            uint8_t *out, pqe_error *err)
{
    secrets *s;
    pqe__aead *aead = NULL;
    pqe_status status;

    if (len < PQE__HPKE_OVERHEAD)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_CRYPTO, 0, "the sealed message is truncated");
    if ((s = pqe__secmem_alloc(sizeof *s)) == NULL)
        return pqe__fail_nomem(err);
    status = check_suite(suite, err);
    if (status == PQE_OK)
        status = decapsulate(user, in, PQE__KEM_CIPHERTEXT_SIZE, s->shared, err);
    if (status == PQE_OK)
        status = key_schedule(suite, psk, s, info, info_len, &aead, err);
    if (status == PQE_OK)
        status = pqe__aead_open(aead, s->nonce, aad, aad_len, in + PQE__KEM_CIPHERTEXT_SIZE,
                                len - PQE__KEM_CIPHERTEXT_SIZE, out, err);
    if (status != PQE_OK)
        pqe__wipe(out, len - PQE__HPKE_OVERHEAD);
    pqe__aead_free(&aead);
    pqe__secmem_free(s);
    return status;
}

typedef struct own_key {
    const pqe__kem_key *key;
} own_key;

static pqe_status
decapsulate_here(void *user, const uint8_t *ct, size_t len, uint8_t shared[PQE__KEM_SHARED_SIZE], pqe_error *err)
{
    return pqe__kem_decapsulate(((const own_key *)user)->key, ct, len, shared, err);
}

pqe_status
pqe__hpke_open_by(const pqe__hpke_suite *suite, pqe__decapsulate_fn decapsulate, void *user, const uint8_t *info,
                  size_t info_len, const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len, uint8_t *out,
                  pqe_error *err)
{
    return open_sealed(suite, &no_psk, decapsulate, user, info, info_len, aad, aad_len, in, len, out, err);
}

pqe_status
pqe__hpke_seal(const pqe__hpke_suite *suite, const pqe__kem_key *recipient, const uint8_t *randomness,
               const uint8_t *info, size_t info_len, const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len,
               uint8_t *out, pqe_error *err)
{
    return seal(suite, &no_psk, recipient, randomness, info, info_len, aad, aad_len, in, len, out, err);
}

pqe_status
pqe__hpke_open(const pqe__hpke_suite *suite, const pqe__kem_key *recipient, const uint8_t *info, size_t info_len,
               const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len, uint8_t *out, pqe_error *err)
{
    own_key own = {recipient};

    return pqe__hpke_open_by(suite, decapsulate_here, &own, info, info_len, aad, aad_len, in, len, out, err);
}

pqe_status
pqe__hpke_seal_psk(const pqe__hpke_suite *suite, const pqe__hpke_psk *psk, const pqe__kem_key *recipient,
                   const uint8_t *randomness, const uint8_t *info, size_t info_len, const uint8_t *aad, size_t aad_len,
                   const uint8_t *in, size_t len, uint8_t *out, pqe_error *err)
{
    pqe_status status = check_psk(psk, err);

    return status == PQE_OK ? seal(suite, psk, recipient, randomness, info, info_len, aad, aad_len, in, len, out, err)
                            : status;
}

pqe_status
pqe__hpke_open_psk(const pqe__hpke_suite *suite, const pqe__hpke_psk *psk, const pqe__kem_key *recipient,
                   const uint8_t *info, size_t info_len, const uint8_t *aad, size_t aad_len, const uint8_t *in,
                   size_t len, uint8_t *out, pqe_error *err)
{
    own_key own = {recipient};
    pqe_status status = check_psk(psk, err);

    if (status != PQE_OK)
        return status;
    return open_sealed(suite, psk, decapsulate_here, &own, info, info_len, aad, aad_len, in, len, out, err);
}
