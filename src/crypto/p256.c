/* SPDX-License-Identifier: Apache-2.0 */
/* P-256, as hardware has it that knows nothing better: public keys as PEM, and ECDSA with SHA-256 (FIPS 186-5), verification
   alone. Classical: for what chips sign, nothing of ours. */
#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/ec.h>
#include <openssl/params.h>
#include <openssl/x509.h>
#include <string.h>

#include "crypto/library.h"

#define SPKI_SIZE 91u /* RFC 5480: id-ecPublicKey, secp256r1, an uncompressed point */

/* ---- public keys ---- */

static EVP_PKEY *
from_point(const pqe__library *l, const uint8_t point[2 * PQE__P256_SIZE])
{
    uint8_t octets[1 + 2 * PQE__P256_SIZE] = {0x04}; /* uncompressed: SEC 1, section 2.3.3 */
    char group[] = "P-256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
                           OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, octets, sizeof octets),
                           OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(l->ctx, "EC", NULL);
    EVP_PKEY *key = NULL;

    memcpy(octets + 1, point, 2 * (size_t)PQE__P256_SIZE);
    if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    return key;
}

pqe_status
pqe__p256_public_pem(const uint8_t point[2 * PQE__P256_SIZE], char *buf, size_t capacity, size_t *len, pqe_error *err)
{
    const pqe__library *l;
    EVP_PKEY *key;
    pqe_status status = pqe__library_get(&l, err);

    *len = 0;
    if (status != PQE_OK)
        return status;
    pqe__ossl_begin();
    key = from_point(l, point);
    status = pqe__ossl_end(key != NULL, "read a point", err);
    if (status == PQE_E_CRYPTO)
        status = pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "the public key is not a point of P-256");
    if (status == PQE_OK)
        status = pqe__pkey_pem(key, false, PQE_E_LIMIT, "write a public key", buf, capacity, len, err);
    EVP_PKEY_free(key);
    return status;
}

/* ---- ECDSA ---- */

struct pqe__ecdsa_key {
    EVP_PKEY *pkey;
    uint8_t fingerprint[PQE__SHA256_SIZE];
};

/* One form alone, so that a key has one fingerprint. */
static bool
is_p256(const EVP_PKEY *pkey, uint8_t spki[SPKI_SIZE])
{
    char group[32];
    size_t len;
    uint8_t *out = spki;

    return EVP_PKEY_is_a(pkey, "EC") && EVP_PKEY_get_group_name(pkey, group, sizeof group, &len) == 1 &&
           strcmp(group, "prime256v1") == 0 && i2d_PUBKEY(pkey, NULL) == (int)SPKI_SIZE &&
           i2d_PUBKEY(pkey, &out) == (int)SPKI_SIZE;
}

pqe_status
pqe__ecdsa_from_pem(const char *pem, size_t len, pqe__ecdsa_key **out, pqe_error *err)
{
    const unsigned char *data = (const unsigned char *)pem;
    const pqe__library *l;
    OSSL_DECODER_CTX *ctx;
    uint8_t spki[SPKI_SIZE];
    pqe__ecdsa_key *key;
    pqe_status status = pqe__library_get(&l, err);
    bool ok;

    *out = NULL;
    if (status != PQE_OK)
        return status;
    if ((key = OPENSSL_zalloc(sizeof *key)) == NULL)
        return pqe__fail_nomem(err);
    pqe__ossl_begin();
    ctx = OSSL_DECODER_CTX_new_for_pkey(&key->pkey, "PEM", "SubjectPublicKeyInfo", "EC", EVP_PKEY_PUBLIC_KEY, l->ctx,
                                        NULL);
    ok = ctx != NULL && OSSL_DECODER_from_data(ctx, &data, &len) > 0 && key->pkey != NULL && is_p256(key->pkey, spki);
    OSSL_DECODER_CTX_free(ctx);
    status = pqe__ossl_end(true, "read a key", err);
    if (status == PQE_E_CRYPTO) /* decoders that did not fit leave errors behind */
        status = PQE_OK;
    if (status == PQE_OK && !ok)
        status = pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0,
                           "not an ECDSA public key of P-256 in SubjectPublicKeyInfo PEM");
    if (status == PQE_OK)
        status = pqe__hash_once(PQE__SHA256, spki, sizeof spki, key->fingerprint, err);
    if (status != PQE_OK)
        pqe__ecdsa_free(&key);
    *out = key;
    return status;
}

void
pqe__ecdsa_free(pqe__ecdsa_key **key)
{
    if (*key == NULL)
        return;
    EVP_PKEY_free((*key)->pkey);
    OPENSSL_free(*key);
    *key = NULL;
}

const uint8_t *
pqe__ecdsa_fingerprint(const pqe__ecdsa_key *key)
{
    return key->fingerprint;
}

/* DER, as libcrypto takes it: SEQUENCE { r INTEGER, s INTEGER }. The caller frees *der. */
static int
to_der(const uint8_t r[PQE__P256_SIZE], const uint8_t s[PQE__P256_SIZE], unsigned char **der)
{
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r_number = BN_bin2bn(r, PQE__P256_SIZE, NULL), *s_number = BN_bin2bn(s, PQE__P256_SIZE, NULL);
    int len = 0;

    if (pair != NULL && r_number != NULL && s_number != NULL && ECDSA_SIG_set0(pair, r_number, s_number) == 1) {
        r_number = s_number = NULL; /* they are the pair's */
        len = i2d_ECDSA_SIG(pair, der);
    }
    BN_free(r_number);
    BN_free(s_number);
    ECDSA_SIG_free(pair);
    return len;
}

pqe_status
pqe__ecdsa_verify(const pqe__ecdsa_key *key, const void *message, size_t len, const uint8_t r[PQE__P256_SIZE],
                  const uint8_t s[PQE__P256_SIZE], pqe_error *err)
{
    const pqe__library *l;
    unsigned char *der = NULL;
    EVP_MD_CTX *ctx;
    int der_len;
    pqe_status status = pqe__library_get(&l, err);
    bool started, ok;

    if (status != PQE_OK)
        return status;
    pqe__ossl_begin();
    ctx = EVP_MD_CTX_new();
    der_len = to_der(r, s, &der);
    started = der_len > 0 && ctx != NULL &&
              EVP_DigestVerifyInit_ex(ctx, NULL, "SHA2-256", l->ctx, NULL, key->pkey, NULL) == 1;
    ok = started && EVP_DigestVerify(ctx, der, (size_t)der_len, message, len) == 1;
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    status = pqe__ossl_end(ok, "verify with ECDSA", err);
    if (status == PQE_E_CRYPTO && started)
        status = pqe__fail(err, PQE_E_ATTESTATION, PQE_ORIGIN_CRYPTO, 0, "the signature does not verify");
    return status;
}
