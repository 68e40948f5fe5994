/* SPDX-License-Identifier: Apache-2.0 */
/* ML-KEM-768, FIPS 203. A key is an EVP_PKEY that is never changed after it was made; a call has a context of its
 * own. */
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/library.h"
#include "util/secmem.h"

struct pqe__kem_key {
    EVP_PKEY *pkey;
    bool has_private;
};

#define ALGORITHM "ML-KEM-768"
#define IKM_SIZE ((size_t)32) /* FIPS 203: the randomness m of an encapsulation */

static pqe_status
new_key(bool has_private, pqe__kem_key **out, const pqe__library **l, pqe_error *err)
{
    pqe_status status = pqe__library_get(l, err);

    *out = NULL;
    if (status != PQE_OK)
        return status;
    *out = calloc(1, sizeof **out);
    if (*out == NULL)
        return pqe__fail_nomem(err);
    (*out)->has_private = has_private;
    return PQE_OK;
}

/* FIPS 203, section 7.1 (Algorithm 16): the seed d || z determines the key. */
pqe_status
pqe__kem_from_seed(const uint8_t seed[PQE__KEM_SEED_SIZE], pqe__kem_key **out, pqe_error *err)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_ML_KEM_SEED, (void *)seed, PQE__KEM_SEED_SIZE),
        OSSL_PARAM_construct_end()};
    const pqe__library *l;
    EVP_PKEY_CTX *ctx;
    pqe_status status = new_key(true, out, &l, err);
    bool ok;

    if (status != PQE_OK)
        return status;
    pqe__ossl_begin();
    ctx = EVP_PKEY_CTX_new_from_name(l->ctx, ALGORITHM, NULL);
    ok = ctx != NULL && EVP_PKEY_keygen_init(ctx) > 0 && EVP_PKEY_CTX_set_params(ctx, params) > 0 &&
         EVP_PKEY_generate(ctx, &(*out)->pkey) > 0;
    EVP_PKEY_CTX_free(ctx);
    pqe__wipe_stack();
    status = pqe__ossl_end(ok, "expand an ML-KEM seed", err);
    if (status != PQE_OK)
        pqe__kem_free(out);
    return status;
}

/* FIPS 203, section 7.2: type check and modulus check are libcrypto's, done while it parses. */
pqe_status
pqe__kem_from_public(const uint8_t *ek, size_t len, pqe__kem_key **out, pqe_error *err)
{
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)ek, len),
                           OSSL_PARAM_construct_end()};
    const pqe__library *l;
    EVP_PKEY_CTX *ctx;
    pqe_status status = new_key(false, out, &l, err);
    bool ok;

    if (status != PQE_OK)
        return status;
    pqe__ossl_begin();
    ctx = EVP_PKEY_CTX_new_from_name(l->ctx, ALGORITHM, NULL);
    ok = len == PQE__KEM_PUBLIC_SIZE && ctx != NULL && EVP_PKEY_fromdata_init(ctx) > 0 &&
         EVP_PKEY_fromdata(ctx, &(*out)->pkey, EVP_PKEY_PUBLIC_KEY, params) > 0;
    EVP_PKEY_CTX_free(ctx);
    status = pqe__ossl_end(ok, "read an ML-KEM public key", err);
    if (status != PQE_OK)
        pqe__kem_free(out);
    if (status == PQE_E_CRYPTO)
        status = pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_CRYPTO, 0, "not a valid ML-KEM-768 public key");
    return status;
}

void
pqe__kem_free(pqe__kem_key **key)
{
    if (key == NULL || *key == NULL)
        return;
    EVP_PKEY_free((*key)->pkey);
    free(*key);
    *key = NULL;
}

pqe_status
pqe__kem_public(const pqe__kem_key *key, uint8_t ek[PQE__KEM_PUBLIC_SIZE], pqe_error *err)
{
    pqe_status status;
    size_t len = PQE__KEM_PUBLIC_SIZE;

    pqe__ossl_begin();
    status = pqe__ossl_end(EVP_PKEY_get_raw_public_key(key->pkey, ek, &len) > 0 && len == PQE__KEM_PUBLIC_SIZE,
                           "write an ML-KEM public key", err);
    if (status != PQE_OK)
        memset(ek, 0, PQE__KEM_PUBLIC_SIZE);
    return status;
}

/* Makes the context of one call; NULL on failure. */
static EVP_PKEY_CTX *
new_call(const pqe__library *l, const pqe__kem_key *key)
{
    return EVP_PKEY_CTX_new_from_pkey(l->ctx, key->pkey, NULL);
}

/* FIPS 203, section 7.2 (Algorithm 20). The randomness m is always drawn here and wiped: libcrypto, which would draw
 * it otherwise, leaves it on the stack, and with the public key it gives away the shared secret. */
pqe_status
pqe__kem_encapsulate(const pqe__kem_key *key, const uint8_t *randomness, uint8_t ct[PQE__KEM_CIPHERTEXT_SIZE],
                     uint8_t shared[PQE__KEM_SHARED_SIZE], pqe_error *err)
{
    size_t ct_len = PQE__KEM_CIPHERTEXT_SIZE, shared_len = PQE__KEM_SHARED_SIZE;
    const pqe__library *l;
    EVP_PKEY_CTX *ctx;
    uint8_t *m = NULL;
    pqe_status status = pqe__library_get(&l, err);
    bool ok;

    if (status == PQE_OK && (m = pqe__secmem_alloc(IKM_SIZE)) == NULL)
        status = pqe__fail_nomem(err);
    if (status == PQE_OK && randomness != NULL)
        memcpy(m, randomness, IKM_SIZE);
    else if (status == PQE_OK)
        status = pqe__random_secret(m, IKM_SIZE, err);
    if (status != PQE_OK)
        goto cleanup;
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_KEM_PARAM_IKME, m, IKM_SIZE),
                                 OSSL_PARAM_construct_end()};
    pqe__ossl_begin();
    ctx = new_call(l, key);
    ok = ctx != NULL && EVP_PKEY_encapsulate_init(ctx, params) > 0 &&
         EVP_PKEY_encapsulate(ctx, ct, &ct_len, shared, &shared_len) > 0 && ct_len == PQE__KEM_CIPHERTEXT_SIZE &&
         shared_len == PQE__KEM_SHARED_SIZE;
    EVP_PKEY_CTX_free(ctx);
    pqe__wipe_stack();
    status = pqe__ossl_end(ok, "encapsulate with ML-KEM", err);

cleanup:
    pqe__secmem_free(m);
    if (status != PQE_OK) {
        memset(ct, 0, PQE__KEM_CIPHERTEXT_SIZE);
        pqe__wipe(shared, PQE__KEM_SHARED_SIZE);
    }
    return status;
}

static pqe_status
decapsulate(const pqe__kem_key *key, const uint8_t *ct, size_t ct_len, uint8_t *shared, pqe_error *err)
{
    size_t shared_len = PQE__KEM_SHARED_SIZE;
    const pqe__library *l;
    EVP_PKEY_CTX *ctx;
    pqe_status status = pqe__library_get(&l, err);
    bool ok;

    if (status != PQE_OK)
        return status;
    if (!key->has_private)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_CRYPTO, 0, "the key has no private part");
    /* FIPS 203, section 7.3: ciphertext type check. */
    if (ct_len != PQE__KEM_CIPHERTEXT_SIZE)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_CRYPTO, 0, "not an ML-KEM-768 ciphertext");
    pqe__ossl_begin();
    ctx = new_call(l, key);
    ok = ctx != NULL && EVP_PKEY_decapsulate_init(ctx, NULL) > 0 &&
         EVP_PKEY_decapsulate(ctx, shared, &shared_len, ct, ct_len) > 0 && shared_len == PQE__KEM_SHARED_SIZE;
    EVP_PKEY_CTX_free(ctx);
    pqe__wipe_stack();
    return pqe__ossl_end(ok, "decapsulate with ML-KEM", err);
}

pqe_status
pqe__kem_decapsulate(const pqe__kem_key *key, const uint8_t *ct, size_t ct_len, uint8_t shared[PQE__KEM_SHARED_SIZE],
                     pqe_error *err)
{
    pqe_status status = decapsulate(key, ct, ct_len, shared, err);

    if (status != PQE_OK)
        pqe__wipe(shared, PQE__KEM_SHARED_SIZE);
    return status;
}

pqe_status
pqe__kem_public_pem(const pqe__kem_key *key, char *buf, size_t capacity, size_t *len, pqe_error *err)
{
    return pqe__pkey_pem(key->pkey, false, PQE_E_ARGUMENT, "write an ML-KEM public key as PEM", buf, capacity, len,
                         err);
}
