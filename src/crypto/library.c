/* SPDX-License-Identifier: Apache-2.0 */
/* The library context of our own, its algorithms, and libcrypto's error queue. */
#include "crypto/library.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <pthread.h>

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

pqe_status
pqe__ossl_end(bool ok, const char *what, pqe_error *err)
{
    unsigned long last = ERR_count_to_mark() > 0 ? ERR_peek_last_error() : 0;
    bool nomem = false;

    for (int n = ERR_count_to_mark(); n > 0; n--) {
        nomem = nomem || ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE;
        ERR_pop();
    }
    ERR_pop_to_mark();
    if (nomem)
        return pqe__fail_nomem(err);
    if (!ok || last != 0)
        return pqe__fail(err, PQE_E_CRYPTO, PQE_ORIGIN_CRYPTO, (int64_t)last, "libcrypto cannot %s (error %08lX)", what,
                         last);
    return PQE_OK;
}

/* Private ML-DSA keys are written as their seed where there is one (RFC 9881, section 6). */
static OSSL_PROVIDER *
load_provider(OSSL_LIB_CTX *ctx)
{
    char formats[] = "seed-only,priv-only";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_ML_DSA_OUTPUT_FORMATS, formats, 0),
                           OSSL_PARAM_construct_end()};

    return OSSL_PROVIDER_load_ex(ctx, "default", params);
}

static bool
fetch_algorithms(pqe__library *l)
{
    /* An OSSL_LIB_CTX made like this reads no configuration file. */
    return (l->ctx = OSSL_LIB_CTX_new()) != NULL && load_provider(l->ctx) != NULL &&
           (l->sha256 = EVP_MD_fetch(l->ctx, "SHA2-256", NULL)) != NULL &&
           (l->sha3_256 = EVP_MD_fetch(l->ctx, "SHA3-256", NULL)) != NULL &&
           (l->hmac = EVP_MAC_fetch(l->ctx, "HMAC", NULL)) != NULL &&
           (l->hkdf = EVP_KDF_fetch(l->ctx, "HKDF", NULL)) != NULL &&
           (l->argon2id = EVP_KDF_fetch(l->ctx, "ARGON2ID", NULL)) != NULL &&
           (l->aes_256_gcm = EVP_CIPHER_fetch(l->ctx, "AES-256-GCM", NULL)) != NULL &&
           (l->ml_dsa[0] = EVP_SIGNATURE_fetch(l->ctx, "ML-DSA-44", NULL)) != NULL &&
           (l->ml_dsa[1] = EVP_SIGNATURE_fetch(l->ctx, "ML-DSA-65", NULL)) != NULL &&
           (l->ml_dsa[2] = EVP_SIGNATURE_fetch(l->ctx, "ML-DSA-87", NULL)) != NULL;
}

static void
drop_algorithms(pqe__library *l)
{
    EVP_MD_free(l->sha256);
    EVP_MD_free(l->sha3_256);
    EVP_MAC_free(l->hmac);
    EVP_KDF_free(l->hkdf);
    EVP_KDF_free(l->argon2id);
    EVP_CIPHER_free(l->aes_256_gcm);
    for (size_t i = 0; i < sizeof l->ml_dsa / sizeof l->ml_dsa[0]; i++)
        EVP_SIGNATURE_free(l->ml_dsa[i]);
    OSSL_LIB_CTX_free(l->ctx); /* unloads the provider too */
    *l = (pqe__library){0};
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
