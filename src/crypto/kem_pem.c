/* SPDX-License-Identifier: Apache-2.0 */
/* ML-KEM-768 private keys outside a vault: derived from other secrets, and as PKCS#8 PEM that holds the seed. */
#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <string.h>

#include "crypto/library.h"
#include "util/cursor.h"
#include "util/secmem.h"

#define ALGORITHM "ML-KEM-768"

/* ---- derivation ---- */

/* draft-ietf-hpke-pq, section 3: dk = SHAKE256.LabeledDerive(ikm, "DeriveKeyPair", "", 64), which is SHAKE256 (FIPS 202)
 * over ikm || "HPKE-v1" || suite_id || I2OSP(13, 2) || "DeriveKeyPair" || I2OSP(64, 2), suite_id = "KEM" || kem_id. */
pqe_status
pqe__kem_derive_seed(const uint8_t *ikm, size_t ikm_len, uint8_t seed[PQE__KEM_SEED_SIZE], pqe_error *err)
{
    static const char label[] = "DeriveKeyPair";
    uint8_t tail[7 + 5 + 2 + sizeof label - 1 + 2];
    pqe__wcur c = pqe__wcur_init(tail, sizeof tail);
    const pqe__library *l;
    EVP_MD *shake;
    EVP_MD_CTX *ctx;
    pqe_status status = pqe__library_get(&l, err);
    bool ok;

    if (status != PQE_OK)
        return status;
    pqe__put_bytes(&c, "HPKE-v1", 7);
    pqe__put_bytes(&c, "KEM", 3);
    pqe__put_u16(&c, pqe__hpke_ml_kem_768.kem_id);
    pqe__put_u16(&c, sizeof label - 1);
    pqe__put_bytes(&c, label, sizeof label - 1);
    pqe__put_u16(&c, PQE__KEM_SEED_SIZE);
    pqe__ossl_begin();
    shake = EVP_MD_fetch(l->ctx, "SHAKE256", NULL);
    ctx = EVP_MD_CTX_new();
    ok = c.ok && shake != NULL && ctx != NULL && EVP_DigestInit_ex2(ctx, shake, NULL) &&
         EVP_DigestUpdate(ctx, ikm, ikm_len) && EVP_DigestUpdate(ctx, tail, c.pos) &&
         EVP_DigestFinalXOF(ctx, seed, PQE__KEM_SEED_SIZE);
    EVP_MD_CTX_free(ctx);
    EVP_MD_free(shake);
    pqe__wipe_stack();
    status = pqe__ossl_end(ok, "derive an ML-KEM key", err);
    if (status != PQE_OK)
        pqe__wipe(seed, PQE__KEM_SEED_SIZE);
    return status;
}

/* ---- PEM ---- */

static EVP_PKEY *
expand(const pqe__library *l, const uint8_t seed[PQE__KEM_SEED_SIZE])
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_ML_KEM_SEED, (void *)seed, PQE__KEM_SEED_SIZE),
        OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(l->ctx, ALGORITHM, NULL);
    EVP_PKEY *pkey = NULL;
    bool ok = ctx != NULL && EVP_PKEY_keygen_init(ctx) > 0 && EVP_PKEY_CTX_set_params(ctx, params) > 0 &&
              EVP_PKEY_generate(ctx, &pkey) > 0;

    EVP_PKEY_CTX_free(ctx);
    return ok ? pkey : NULL;
}

pqe_status
pqe__kem_seed_to_pem(const uint8_t seed[PQE__KEM_SEED_SIZE], char *buf, size_t capacity, size_t *len, pqe_error *err)
{
    static const char what[] = "write an ML-KEM key as PEM";
    const pqe__library *l;
    EVP_PKEY *pkey;
    pqe_status status = pqe__library_get(&l, err);

    *len = 0;
    if (status != PQE_OK)
        return status;
    pqe__ossl_begin();
    pkey = expand(l, seed);
    pqe__wipe_stack();
    status = pqe__ossl_end(pkey != NULL, what, err);
    if (status == PQE_OK)
        status = pqe__pkey_pem(pkey, true, PQE_E_LIMIT, what, buf, capacity, len, err);
    EVP_PKEY_free(pkey);
    return status;
}

/* Trying one decoder after the other leaves errors behind even where one of them succeeds. */
static pqe_status
decode(const pqe__library *l, const char *pem, size_t len, EVP_PKEY **out, pqe_error *err)
{
    const unsigned char *data = (const unsigned char *)pem;
    EVP_PKEY *pkey = NULL;
    OSSL_DECODER_CTX *ctx;
    pqe_status status;

    pqe__ossl_begin();
    ctx = OSSL_DECODER_CTX_new_for_pkey(&pkey, "PEM", "PrivateKeyInfo", ALGORITHM, EVP_PKEY_KEYPAIR, l->ctx, NULL);
    if (ctx != NULL)
        OSSL_DECODER_from_data(ctx, &data, &len);
    OSSL_DECODER_CTX_free(ctx);
    pqe__wipe_stack();
    status = pqe__ossl_end(ctx != NULL, "read a key", err);
    *out = pkey;
    if (pkey != NULL)
        return PQE_OK;
    return status == PQE_E_NOMEM ? status
                                 : pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0,
                                             "not an unencrypted ML-KEM-768 private key in PKCS#8 PEM, or its parts "
                                             "contradict each other");
}

pqe_status
pqe__kem_seed_from_pem(const char *pem, size_t len, uint8_t seed[PQE__KEM_SEED_SIZE], pqe_error *err)
{
    const pqe__library *l;
    EVP_PKEY *pkey;
    size_t seed_len = 0;
    pqe_status status = pqe__library_get(&l, err);
    bool ok;

    if (status != PQE_OK)
        return status;
    if ((status = decode(l, pem, len, &pkey, err)) != PQE_OK)
        return status;
    pqe__ossl_begin();
    ok = EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_ML_KEM_SEED, seed, PQE__KEM_SEED_SIZE, &seed_len) &&
         seed_len == PQE__KEM_SEED_SIZE;
    pqe__ossl_end(true, "read a seed", NULL);
    EVP_PKEY_free(pkey);
    if (ok)
        return PQE_OK;
    pqe__wipe(seed, PQE__KEM_SEED_SIZE);
    return pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "the private key is there without its seed");
}
