/* SPDX-License-Identifier: Apache-2.0 */
/* The library context of our own, its algorithms, and libcrypto's error queue. */
#include "crypto/library.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <stdatomic.h>

#include "util/secmem.h"

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static pqe__library library;
static pqe_status library_status = PQE_E_CRYPTO;
static pqe_error library_error;

void
pqe__ossl_begin(void)
{
    ERR_set_mark();
}

/* What was queued since the mark, and the mark, are removed. */
static pqe_status
take_errors(int count, const char *what, pqe_error *err)
{
    unsigned long last = count > 0 ? ERR_peek_last_error() : 0;
    bool nomem = false;

    for (; count > 0; count--) {
        nomem = nomem || ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE;
        ERR_pop();
    }
    ERR_pop_to_mark();
    if (nomem)
        return pqe__fail_nomem(err);
    return pqe__fail(err, PQE_E_CRYPTO, PQE_ORIGIN_CRYPTO, (int64_t)last, "libcrypto cannot %s (error %08lX)", what,
                     last);
}

pqe_status
pqe__ossl_end(bool ok, const char *what, pqe_error *err)
{
    int count = ERR_count_to_mark();

    if (!ok || count > 0)
        return take_errors(count, what, err);
    ERR_pop_to_mark();
    return PQE_OK;
}

pqe_status
pqe__ossl_end_plain(bool ok, const char *what, pqe_error *err)
{
    if (!ok)
        return take_errors(ERR_count_to_mark(), what, err);
    ERR_pop_to_mark();
    return PQE_OK;
}

/* An HMAC and two HKDF contexts whose hash is chosen: finding it by name takes as long as using it. */
static bool
prepare_contexts(pqe__library *l)
{
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    OSSL_PARAM digest = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA2-256", 0);
    const OSSL_PARAM mac_params[] = {digest, OSSL_PARAM_construct_end()};
    OSSL_PARAM params[] = {OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode), digest, OSSL_PARAM_construct_end()};
    EVP_MAC *hmac = EVP_MAC_fetch(l->ctx, "HMAC", NULL);
    EVP_KDF *hkdf = EVP_KDF_fetch(l->ctx, "HKDF", NULL);
    bool ok = hmac != NULL && hkdf != NULL && (l->hmac_sha256 = EVP_MAC_CTX_new(hmac)) != NULL &&
              EVP_MAC_CTX_set_params(l->hmac_sha256, mac_params) &&
              (l->expand_sha256 = EVP_KDF_CTX_new(hkdf)) != NULL && EVP_KDF_CTX_set_params(l->expand_sha256, params) &&
              (l->expand_sha512 = EVP_KDF_CTX_new(hkdf)) != NULL;

    params[1] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA2-512", 0);
    ok = ok && EVP_KDF_CTX_set_params(l->expand_sha512, params);
    EVP_MAC_free(hmac); /* the contexts hold on to them */
    EVP_KDF_free(hkdf);
    return ok;
}

/* Private ML-DSA keys are written as their seed where there is one (RFC 9881, section 6), ML-KEM keys always are
   (RFC 9935, section 6). */
static OSSL_PROVIDER *
load_provider(OSSL_LIB_CTX *ctx)
{
    char formats[] = "seed-only,priv-only", kem_formats[] = "seed-only";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_ML_DSA_OUTPUT_FORMATS, formats, 0),
                           OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_ML_KEM_OUTPUT_FORMATS, kem_formats, 0),
                           OSSL_PARAM_construct_end()};

    return OSSL_PROVIDER_load_ex(ctx, "default", params);
}

static bool
fetch_algorithms(pqe__library *l)
{
    /* An OSSL_LIB_CTX made like this reads no configuration file. */
    return (l->ctx = OSSL_LIB_CTX_new()) != NULL && load_provider(l->ctx) != NULL &&
           (l->sha256 = EVP_MD_fetch(l->ctx, "SHA2-256", NULL)) != NULL &&
           (l->aes_256_gcm = EVP_CIPHER_fetch(l->ctx, "AES-256-GCM", NULL)) != NULL && prepare_contexts(l);
}

static void
drop_algorithms(pqe__library *l)
{
    EVP_MD_free(l->sha256);
    EVP_MAC_CTX_free(l->hmac_sha256);
    EVP_KDF_CTX_free(l->expand_sha256);
    EVP_KDF_CTX_free(l->expand_sha512);
    EVP_CIPHER_free(l->aes_256_gcm);
    OSSL_LIB_CTX_free(l->ctx); /* unloads the provider too */
    *l = (pqe__library){0};
}

/* A failed fetch is tried again by the next caller. Of two that fetch at once one gives its own back. */
const EVP_MD *
pqe__library_sha3_256(const pqe__library *l)
{
    static _Atomic(EVP_MD *) kept;
    EVP_MD *have = atomic_load(&kept), *mine;

    if (have != NULL || (mine = EVP_MD_fetch(l->ctx, "SHA3-256", NULL)) == NULL)
        return have;
    if (atomic_compare_exchange_strong(&kept, &have, mine))
        return mine;
    EVP_MD_free(mine);
    return have;
}

EVP_KDF *
pqe__library_argon2id(const pqe__library *l)
{
    static _Atomic(EVP_KDF *) kept;
    EVP_KDF *have = atomic_load(&kept), *mine;

    if (have != NULL || (mine = EVP_KDF_fetch(l->ctx, "ARGON2ID", NULL)) == NULL)
        return have;
    if (atomic_compare_exchange_strong(&kept, &have, mine))
        return mine;
    EVP_KDF_free(mine);
    return have;
}

EVP_SIGNATURE *
pqe__library_ml_dsa(const pqe__library *l, size_t index)
{
    static const char *const names[PQE__ML_DSA_COUNT] = {"ML-DSA-44", "ML-DSA-65", "ML-DSA-87"};
    static _Atomic(EVP_SIGNATURE *) kept[PQE__ML_DSA_COUNT];
    EVP_SIGNATURE *have, *mine;

    if (index >= PQE__ML_DSA_COUNT)
        return NULL;
    have = atomic_load(&kept[index]);
    if (have != NULL || (mine = EVP_SIGNATURE_fetch(l->ctx, names[index], NULL)) == NULL)
        return have;
    if (atomic_compare_exchange_strong(&kept[index], &have, mine))
        return mine;
    EVP_SIGNATURE_free(mine);
    return have;
}

static void
open_library(void)
{
    pqe__ossl_begin();
    library_status = pqe__ossl_end(fetch_algorithms(&library), "provide the algorithms needed", &library_error);
    if (library_status != PQE_OK)
        drop_algorithms(&library);
}

pqe_status
pqe__library_get(const pqe__library **out, pqe_error *err)
{
    *out = NULL;
    if (pthread_once(&library_once, open_library) != 0)
        return pqe__fail(err, PQE_E_CRYPTO, PQE_ORIGIN_CRYPTO, 0, "cannot start libcrypto");
    if (library_status != PQE_OK) {
        if (err != NULL)
            *err = library_error;
        return library_status;
    }
    *out = &library;
    return PQE_OK;
}

/* Twice what the deepest of the functions concerned, those of ML-KEM and Argon2, were seen to use. */
#define SCRUB 16384u

__attribute__((noinline)) void
pqe__wipe_stack(void)
{
    uint8_t below[SCRUB];

    pqe__wipe(below, sizeof below);
}

#define SCRUB_SHALLOW 2048u

__attribute__((noinline)) void
pqe__wipe_stack_shallow(void)
{
    uint8_t below[SCRUB_SHALLOW];

    pqe__wipe(below, sizeof below);
}
