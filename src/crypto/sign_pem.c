/* SPDX-License-Identifier: Apache-2.0 */
/* ML-DSA keys as PEM: SubjectPublicKeyInfo and PKCS#8, RFC 9881. */
#include <openssl/decoder.h>
#include <string.h>

#include "crypto/sign.h"
#include "util/secmem.h"

/* ---- reading ---- */

static pqe_status
name_algorithm(pqe__sig_key *key, pqe_error *err)
{
    for (int a = PQE_ML_DSA_44; a <= PQE_ML_DSA_87; a++)
        if (EVP_PKEY_is_a(key->pkey, pqe_sig_name((pqe_sig_algorithm)a)))
            key->algorithm = (pqe_sig_algorithm)a;
    if (key->algorithm != 0)
        return PQE_OK;
    return pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "the key is not one of ML-DSA");
}

/* RFC 9881, section 8: libcrypto refuses an expanded key that its seed does not give, and one whose public part or the
   hash of it is not what the secret part gives. */
static pqe_status
from_pem(const char *pem, size_t len, bool is_private, pqe__sig_key **out, pqe_error *err)
{
    const char *structure = is_private ? "PrivateKeyInfo" : "SubjectPublicKeyInfo";
    const unsigned char *data = (const unsigned char *)pem;
    const pqe__library *l;
    OSSL_DECODER_CTX *ctx;
    EVP_PKEY *pkey = NULL;
    pqe_status status = pqe__sig_key_new(PQE_ML_DSA_44, out, &l, err);
    bool ok;

    if (status != PQE_OK)
        return status;
    (*out)->algorithm = 0;
    pqe__ossl_begin();
    ctx = OSSL_DECODER_CTX_new_for_pkey(&pkey, "PEM", structure, NULL,
                                        is_private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, l->ctx, NULL);
    ok = ctx != NULL && OSSL_DECODER_from_data(ctx, &data, &len) > 0 && pkey != NULL;
    OSSL_DECODER_CTX_free(ctx);
    pqe__wipe_stack();
    status = pqe__ossl_end(true, "read a key", err);
    (*out)->pkey = pkey;
    /* Trying one decoder after the other leaves errors behind even where one of them succeeds. */
    if (status == PQE_E_CRYPTO)
        status = PQE_OK;
    if (status == PQE_OK && !ok)
        status =
            pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0,
                      is_private ? "not an unencrypted private key in PKCS#8 PEM, or its parts contradict each other"
                                 : "not a public key in SubjectPublicKeyInfo PEM");
    if (status == PQE_OK)
        status = name_algorithm(*out, err);
    if (status != PQE_OK)
        pqe__sig_free(out);
    return status;
}

static bool
begins_with_label(const char *pem, size_t len, const char *label)
{
    return len >= strlen(label) && memmem(pem, len, label, strlen(label)) != NULL;
}

pqe_status
pqe__sig_from_private_pem(const char *pem, size_t len, pqe__sig_key **out, pqe_error *err)
{
    *out = NULL;
    if (begins_with_label(pem, len, "-----BEGIN ENCRYPTED PRIVATE KEY-----"))
        return pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0,
                         "the private key is encrypted; decrypt it first (openssl pkey -in FILE)");
    if (!begins_with_label(pem, len, "-----BEGIN PRIVATE KEY-----"))
        return pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "there is no PKCS#8 private key in it");
    return from_pem(pem, len, true, out, err);
}

pqe_status
pqe__sig_from_public_pem(const char *pem, size_t len, pqe__sig_key **out, pqe_error *err)
{
    *out = NULL;
    if (!begins_with_label(pem, len, "-----BEGIN PUBLIC KEY-----"))
        return pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "there is no public key in it");
    return from_pem(pem, len, false, out, err);
}

/* ---- writing ---- */

pqe_status
pqe__sig_public_pem(const pqe__sig_key *key, char *buf, size_t capacity, size_t *len, pqe_error *err)
{
    return pqe__pkey_pem(key->pkey, false, PQE_E_LIMIT, "write an ML-DSA key as PEM", buf, capacity, len, err);
}

pqe_status
pqe__sig_private_pem(const pqe__sig_key *key, char *buf, size_t capacity, size_t *len, pqe_error *err)
{
    return pqe__pkey_pem(key->pkey, true, PQE_E_LIMIT, "write an ML-DSA key as PEM", buf, capacity, len, err);
}
