/* SPDX-License-Identifier: Apache-2.0 */
/* HMAC (RFC 2104), HKDF (RFC 5869), Argon2id (RFC 9106). */
#include <openssl/core_names.h>
#include <openssl/params.h>

#include "crypto/library.h"
#include "util/secmem.h"

/* OSSL_PARAM takes pointers to non-const for values that it only reads. */
static OSSL_PARAM
octets(const char *name, const void *data, size_t len)
{
    return OSSL_PARAM_construct_octet_string(name, (void *)data, len);
}

pqe_status
pqe__hmac_parts(const uint8_t *key, size_t key_len, const pqe__part *parts, size_t count, uint8_t out[32],
                pqe_error *err)
{
    /* RFC 2104, section 2: a short key is padded with zeros, so 32 of them are the empty key. */
    static const uint8_t no_key[32];
    const pqe__library *l;
    EVP_MAC_CTX *ctx;
    size_t len = 0;
    pqe_status status = pqe__library_get(&l, err);
    bool ok;

    if (status != PQE_OK)
        return status;
    if (key_len == 0) {
        key = no_key;
        key_len = sizeof no_key;
    }
    pqe__ossl_begin();
    ctx = EVP_MAC_CTX_dup(l->hmac_sha256);
    ok = ctx != NULL && EVP_MAC_init(ctx, key, key_len, NULL);
    for (size_t i = 0; ok && i < count; i++)
        ok = parts[i].len == 0 || EVP_MAC_update(ctx, parts[i].data, parts[i].len);
    ok = ok && EVP_MAC_final(ctx, out, &len, 32) && len == 32;
    EVP_MAC_CTX_free(ctx);
    status = pqe__ossl_end(ok, "compute a MAC", err);
    if (status != PQE_OK)
        pqe__wipe(out, 32);
    return status;
}

pqe_status
pqe__hmac_sha256(const uint8_t *key, size_t key_len, const void *data, size_t len, uint8_t out[32], pqe_error *err)
{
    const pqe__part message = {data, len};

    return pqe__hmac_parts(key, key_len, &message, 1, out, err);
}

/* RFC 5869, section 2.2: PRK = HMAC-Hash(salt, IKM). Not EVP_KDF: it frees the salt without wiping it, and HPKE's
 * salt is the shared secret. */
pqe_status
pqe__hkdf_extract(const uint8_t *salt, size_t salt_len, const uint8_t *ikm, size_t ikm_len, uint8_t out[32],
                  pqe_error *err)
{
    return pqe__hmac_sha256(salt, salt_len, ikm, ikm_len, out, err);
}

/* Uses `ctx` up. Between pqe__ossl_begin() and the end of this. */
static pqe_status
derive(EVP_KDF_CTX *ctx, const OSSL_PARAM *params, uint8_t *out, size_t len, pqe_error *err)
{
    pqe_status status;
    bool ok;

    ok = ctx != NULL && EVP_KDF_derive(ctx, out, len, params) == 1;
    EVP_KDF_CTX_free(ctx);
    pqe__wipe_stack();
    status = pqe__ossl_end(ok, "derive a key", err);
    if (status != PQE_OK)
        pqe__wipe(out, len);
    return status;
}

pqe_status
pqe__hkdf_expand(pqe__hkdf_hash hash, const uint8_t *prk, size_t prk_len, const uint8_t *info, size_t info_len,
                 uint8_t *out, size_t len, pqe_error *err)
{
    const pqe__library *l;
    pqe_status status = pqe__library_get(&l, err);
    size_t hash_len = hash == PQE__HKDF_SHA512 ? 64 : 32;

    if (status != PQE_OK)
        return status;
    /* RFC 5869, section 2.3: L <= 255 * HashLen. */
    if ((hash != PQE__HKDF_SHA256 && hash != PQE__HKDF_SHA512) || prk_len == 0 || len == 0 || len > 255 * hash_len)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_CRYPTO, 0, "HKDF cannot give %zu bytes", len);
    const OSSL_PARAM params[] = {octets(OSSL_KDF_PARAM_KEY, prk, prk_len),
                                 octets(OSSL_KDF_PARAM_INFO, info_len == 0 ? "" : (const void *)info, info_len),
                                 OSSL_PARAM_construct_end()};
    pqe__ossl_begin();
    return derive(EVP_KDF_CTX_dup(hash == PQE__HKDF_SHA512 ? l->expand_sha512 : l->expand_sha256), params, out, len,
                  err);
}

pqe_status
pqe__argon2id(const void *passphrase, size_t passphrase_len, const uint8_t *salt, size_t salt_len,
              const pqe__argon2_params *params, uint8_t out[32], pqe_error *err)
{
    const pqe__library *l;
    pqe_status status = pqe__library_get(&l, err);
    uint32_t memory = params->memory_kib, passes = params->passes, lanes = params->lanes;

    if (status != PQE_OK)
        return status;
    /* RFC 9106, section 3.1, and a salt of at least 8 bytes as OpenSSL wants it. How much memory is too much is the
     * caller's to say. */
    if (lanes == 0 || lanes > 0xffffff || passes == 0 || memory / 8 < lanes || salt_len < 8 || salt_len > UINT32_MAX ||
        passphrase_len > UINT32_MAX)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_CRYPTO, 0, "invalid Argon2id parameters");
    /* Lanes are computed one after the other: no thread is needed that a restricted process might not get. */
    const OSSL_PARAM list[] = {octets(OSSL_KDF_PARAM_PASSWORD, passphrase_len == 0 ? "" : passphrase, passphrase_len),
                               octets(OSSL_KDF_PARAM_SALT, salt, salt_len),
                               OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_ARGON2_LANES, &lanes),
                               OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_ARGON2_MEMCOST, &memory),
                               OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_ITER, &passes),
                               OSSL_PARAM_construct_end()};
    pqe__ossl_begin();
    return derive(EVP_KDF_CTX_new(pqe__library_argon2id(l)), list, out, 32, err);
}
