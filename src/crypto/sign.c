/* SPDX-License-Identifier: Apache-2.0 */
/* Pure ML-DSA, FIPS 204. A key is an EVP_PKEY that is never changed after it was made; a call has a context of its own. */
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "crypto/library.h"
#include "crypto/sign.h"
#include "util/secmem.h"

static const struct {
    const char *name;
    size_t public_size, private_size, signature_size; /* FIPS 204, table 2 */
} algorithms[] = {{"ML-DSA-44", 1312, 2560, 2420}, {"ML-DSA-65", 1952, 4032, 3309}, {"ML-DSA-87", 2592, 4896, 4627}};

#define ALGORITHMS (sizeof algorithms / sizeof algorithms[0])

static bool
is_known(pqe_sig_algorithm algorithm)
{
    return algorithm >= PQE_ML_DSA_44 && algorithm <= PQE_ML_DSA_87;
}

const char *
pqe_sig_name(pqe_sig_algorithm algorithm)
{
    return is_known(algorithm) ? algorithms[algorithm - 1].name : NULL;
}

bool
pqe_sig_from_name(const char *name, pqe_sig_algorithm *out)
{
    static const char *const lower[ALGORITHMS] = {"ml-dsa-44", "ml-dsa-65", "ml-dsa-87"};

    for (size_t i = 0; name != NULL && i < ALGORITHMS; i++) {
        if (strcmp(name, algorithms[i].name) == 0 || strcmp(name, lower[i]) == 0) {
            *out = (pqe_sig_algorithm)(i + 1);
            return true;
        }
    }
    return false;
}

size_t
pqe_sig_public_size(pqe_sig_algorithm algorithm)
{
    return is_known(algorithm) ? algorithms[algorithm - 1].public_size : 0;
}

size_t
pqe_sig_signature_size(pqe_sig_algorithm algorithm)
{
    return is_known(algorithm) ? algorithms[algorithm - 1].signature_size : 0;
}

size_t
pqe__sig_private_size(pqe_sig_algorithm algorithm)
{
    return is_known(algorithm) ? algorithms[algorithm - 1].private_size : 0;
}

/* ---- making keys ---- */

pqe_status
pqe__sig_key_new(pqe_sig_algorithm algorithm, pqe__sig_key **out, const pqe__library **l, pqe_error *err)
{
    pqe_status status = pqe__library_get(l, err);

    *out = NULL;
    if (status != PQE_OK)
        return status;
    if (!is_known(algorithm))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_CRYPTO, 0, "unknown signature algorithm %d", (int)algorithm);
    *out = calloc(1, sizeof **out);
    if (*out == NULL)
        return pqe__fail_nomem(err);
    (*out)->algorithm = algorithm;
    return PQE_OK;
}

/* FIPS 204, Algorithm 6: the seed xi determines the key. */
pqe_status
pqe__sig_from_seed(pqe_sig_algorithm algorithm, const uint8_t seed[PQE_ML_DSA_SEED_SIZE], pqe__sig_key **out,
                   pqe_error *err)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_ML_DSA_SEED, (void *)seed, PQE_ML_DSA_SEED_SIZE),
        OSSL_PARAM_construct_end()};
    const pqe__library *l;
    EVP_PKEY_CTX *ctx;
    pqe_status status = pqe__sig_key_new(algorithm, out, &l, err);
    bool ok;

    if (status != PQE_OK)
        return status;
    pqe__ossl_begin();
    ctx = EVP_PKEY_CTX_new_from_name(l->ctx, pqe_sig_name(algorithm), NULL);
    ok = ctx != NULL && EVP_PKEY_keygen_init(ctx) > 0 && EVP_PKEY_CTX_set_params(ctx, params) > 0 &&
         EVP_PKEY_generate(ctx, &(*out)->pkey) > 0;
    EVP_PKEY_CTX_free(ctx);
    pqe__wipe_stack();
    status = pqe__ossl_end(ok, "expand an ML-DSA seed", err);
    if (status != PQE_OK)
        pqe__sig_free(out);
    return status;
}

static pqe_status
from_data(pqe_sig_algorithm algorithm, const char *part, const uint8_t *data, size_t len, pqe__sig_key **out,
          pqe_error *err)
{
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(part, (void *)data, len), OSSL_PARAM_construct_end()};
    bool is_private = strcmp(part, OSSL_PKEY_PARAM_PRIV_KEY) == 0;
    const pqe__library *l;
    EVP_PKEY_CTX *ctx;
    pqe_status status = pqe__sig_key_new(algorithm, out, &l, err);
    bool ok;

    if (status != PQE_OK)
        return status;
    pqe__ossl_begin();
    ctx = EVP_PKEY_CTX_new_from_name(l->ctx, pqe_sig_name(algorithm), NULL);
    ok = ctx != NULL && EVP_PKEY_fromdata_init(ctx) > 0 &&
         EVP_PKEY_fromdata(ctx, &(*out)->pkey, is_private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params) > 0;
    EVP_PKEY_CTX_free(ctx);
    pqe__wipe_stack();
    status = pqe__ossl_end(ok, "read an ML-DSA key", err);
    if (status != PQE_OK)
        pqe__sig_free(out);
    if (status == PQE_E_CRYPTO)
        status = pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_CRYPTO, 0, "not a valid %s %s key", pqe_sig_name(algorithm),
                           is_private ? "private" : "public");
    return status;
}

/* libcrypto computes the public key anew, and compares t0 and tr with it (FIPS 204, Algorithm 25 and section 3.6.3). */
pqe_status
pqe__sig_from_private(pqe_sig_algorithm algorithm, const uint8_t *sk, size_t len, pqe__sig_key **out, pqe_error *err)
{
    *out = NULL;
    if (len != pqe__sig_private_size(algorithm))
        return pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_CRYPTO, 0, "the private key has another length");
    return from_data(algorithm, OSSL_PKEY_PARAM_PRIV_KEY, sk, len, out, err);
}

/* FIPS 204, section 3.6.2: the length is all that can be wrong with a public key. */
pqe_status
pqe__sig_from_public(pqe_sig_algorithm algorithm, const uint8_t *pk, size_t len, pqe__sig_key **out, pqe_error *err)
{
    *out = NULL;
    if (len != pqe_sig_public_size(algorithm))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_CRYPTO, 0, "a public key has another length");
    return from_data(algorithm, OSSL_PKEY_PARAM_PUB_KEY, pk, len, out, err);
}

void
pqe__sig_free(pqe__sig_key **key)
{
    if (key == NULL || *key == NULL)
        return;
    EVP_PKEY_free((*key)->pkey);
    free(*key);
    *key = NULL;
}

/* ---- taking keys apart ---- */

pqe_sig_algorithm
pqe__sig_algorithm(const pqe__sig_key *key)
{
    return key->algorithm;
}

static pqe_status
get_part(const pqe__sig_key *key, const char *part, uint8_t *out, size_t size, const char *what, pqe_error *err)
{
    pqe_status status;
    size_t len = 0;

    pqe__ossl_begin();
    status =
        pqe__ossl_end(EVP_PKEY_get_octet_string_param(key->pkey, part, out, size, &len) > 0 && len == size, what, err);
    if (status != PQE_OK)
        pqe__wipe(out, size);
    return status;
}

pqe_status
pqe__sig_public(const pqe__sig_key *key, uint8_t *pk, pqe_error *err)
{
    return get_part(key, OSSL_PKEY_PARAM_PUB_KEY, pk, pqe_sig_public_size(key->algorithm), "write an ML-DSA public key",
                    err);
}

pqe_status
pqe__sig_private(const pqe__sig_key *key, uint8_t *sk, pqe_error *err)
{
    return get_part(key, OSSL_PKEY_PARAM_PRIV_KEY, sk, pqe__sig_private_size(key->algorithm),
                    "write an ML-DSA private key", err);
}

pqe_status
pqe__sig_seed(const pqe__sig_key *key, uint8_t seed[PQE_ML_DSA_SEED_SIZE], bool *found, pqe_error *err)
{
    size_t len = 0;
    int got;

    pqe__ossl_begin();
    got = EVP_PKEY_get_octet_string_param(key->pkey, OSSL_PKEY_PARAM_ML_DSA_SEED, seed, PQE_ML_DSA_SEED_SIZE, &len);
    *found = got > 0 && len == PQE_ML_DSA_SEED_SIZE;
    if (*found)
        return pqe__ossl_end(true, "read an ML-DSA seed", err);
    pqe__ossl_end(false, "read an ML-DSA seed", NULL); /* that it has none is no failure of libcrypto's */
    pqe__wipe(seed, PQE_ML_DSA_SEED_SIZE);
    return PQE_OK;
}

/* ---- signing and verifying ---- */

/* A context, ready for one call. FIPS 204, section 5.2: the context string is at most 255 bytes. */
static EVP_PKEY_CTX *
new_call(const pqe__library *l, const pqe__sig_key *key, const uint8_t *randomness, const void *context,
         size_t context_len, bool sign)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(l->ctx, key->pkey, NULL);
    EVP_SIGNATURE *algorithm = pqe__library_ml_dsa(l, (size_t)key->algorithm - 1);
    OSSL_PARAM params[3], *p = params;
    bool ok;

    if (context_len != 0)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_SIGNATURE_PARAM_CONTEXT_STRING, (void *)context, context_len);
    if (randomness != NULL)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_SIGNATURE_PARAM_TEST_ENTROPY, (void *)randomness, 32);
    *p = OSSL_PARAM_construct_end();
    ok = ctx != NULL && algorithm != NULL &&
         (sign ? EVP_PKEY_sign_message_init(ctx, algorithm, params)
               : EVP_PKEY_verify_message_init(ctx, algorithm, params)) > 0;
    if (!ok) {
        EVP_PKEY_CTX_free(ctx);
        ctx = NULL;
    }
    return ctx;
}

static pqe_status
check_context(size_t context_len, const pqe__library **l, pqe_error *err)
{
    if (context_len > PQE_ML_DSA_CONTEXT_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "a context has at most %d bytes", PQE_ML_DSA_CONTEXT_MAX);
    return pqe__library_get(l, err);
}

pqe_status
pqe__sig_sign(const pqe__sig_key *key, const uint8_t *randomness, const void *message, size_t message_len,
              const void *context, size_t context_len, uint8_t *signature, pqe_error *err)
{
    size_t size = pqe_sig_signature_size(key->algorithm), len = size;
    const pqe__library *l;
    EVP_PKEY_CTX *ctx;
    pqe_status status = check_context(context_len, &l, err);
    bool ok;

    if (status != PQE_OK) {
        memset(signature, 0, size);
        return status;
    }
    pqe__ossl_begin();
    ctx = new_call(l, key, randomness, context, context_len, true);
    ok = ctx != NULL && EVP_PKEY_sign(ctx, signature, &len, message_len != 0 ? message : "", message_len) > 0 &&
         len == size;
    EVP_PKEY_CTX_free(ctx);
    pqe__wipe_stack();
    status = pqe__ossl_end(ok, "sign with ML-DSA", err);
    if (status != PQE_OK)
        memset(signature, 0, size);
    return status;
}

pqe_status
pqe__sig_verify(const pqe__sig_key *key, const void *message, size_t message_len, const void *context,
                size_t context_len, const uint8_t *signature, size_t signature_len, pqe_error *err)
{
    const pqe__library *l;
    EVP_PKEY_CTX *ctx;
    pqe_status status = check_context(context_len, &l, err);
    bool started, ok;

    if (status != PQE_OK)
        return status;
    /* FIPS 204, section 3.6.2: a signature of another length is refused first. */
    if (signature_len != pqe_sig_signature_size(key->algorithm))
        return pqe__fail(err, PQE_E_ATTESTATION, PQE_ORIGIN_CRYPTO, 0, "the signature has another length");
    pqe__ossl_begin();
    ctx = new_call(l, key, NULL, context, context_len, false);
    started = ctx != NULL;
    ok = started && EVP_PKEY_verify(ctx, signature, signature_len, message_len != 0 ? message : (const void *)"",
                                    message_len) == 1;
    EVP_PKEY_CTX_free(ctx);
    status = pqe__ossl_end(ok, "verify with ML-DSA", err);
    if (status == PQE_E_CRYPTO && started)
        status = pqe__fail(err, PQE_E_ATTESTATION, PQE_ORIGIN_CRYPTO, 0, "the signature does not verify");
    return status;
}
