/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4) and SHA3-256 (FIPS 202). */
#include <stdlib.h>

#include "crypto/library.h"
#include "util/secmem.h"

struct pqe__hash {
    EVP_MD_CTX *ctx;
    const EVP_MD *md;
};

static pqe_status
find_hash(pqe__hash_id id, const EVP_MD **out, pqe_error *err)
{
    const pqe__library *l;
    pqe_status status = pqe__library_get(&l, err);

    if (status != PQE_OK)
        return status;
    if (id != PQE__SHA256 && id != PQE__SHA3_256)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_CRYPTO, 0, "unknown hash algorithm %d", (int)id);
    if (id == PQE__SHA256) {
        *out = l->sha256;
        return PQE_OK;
    }
    pqe__ossl_begin();
    *out = pqe__library_sha3_256(l);
    return pqe__ossl_end(*out != NULL, "provide SHA3-256", err);
}

pqe_status
pqe__hash_new(pqe__hash_id id, pqe__hash **out, pqe_error *err)
{
    const EVP_MD *md = NULL;
    pqe_status status;
    pqe__hash *h;

    *out = NULL;
    status = find_hash(id, &md, err);
    if (status != PQE_OK)
        return status;
    h = calloc(1, sizeof *h);
    if (h == NULL)
        return pqe__fail_nomem(err);
    h->md = md;
    pqe__ossl_begin();
    h->ctx = EVP_MD_CTX_new();
    status = pqe__ossl_end(h->ctx != NULL && EVP_DigestInit_ex2(h->ctx, md, NULL), "start a hash", err);
    if (status != PQE_OK) {
        pqe__hash_free(&h);
        return status;
    }
    *out = h;
    return PQE_OK;
}

pqe_status
pqe__hash_update(pqe__hash *h, const void *data, size_t len, pqe_error *err)
{
    pqe__ossl_begin();
    return pqe__ossl_end_plain(len == 0 || EVP_DigestUpdate(h->ctx, data, len), "hash", err);
}

pqe_status
pqe__hash_final(pqe__hash *h, uint8_t out[32], pqe_error *err)
{
    pqe_status status;

    pqe__ossl_begin();
    status = pqe__ossl_end_plain(EVP_DigestFinal_ex(h->ctx, out, NULL) && EVP_DigestInit_ex2(h->ctx, h->md, NULL),
                                 "finish a hash", err);
    if (status != PQE_OK)
        pqe__wipe(out, 32);
    return status;
}

void
pqe__hash_free(pqe__hash **h)
{
    if (h == NULL || *h == NULL)
        return;
    EVP_MD_CTX_free((*h)->ctx);
    free(*h);
    *h = NULL;
}

pqe_status
pqe__hash_two(pqe__hash_id id, const void *data, size_t len, const void *more, size_t more_len, uint8_t out[32],
              pqe_error *err)
{
    const EVP_MD *md = NULL;
    EVP_MD_CTX *ctx;
    pqe_status status = find_hash(id, &md, err);
    bool ok;

    if (status != PQE_OK)
        return status;
    pqe__ossl_begin();
    ctx = EVP_MD_CTX_new();
    ok = ctx != NULL && EVP_DigestInit_ex2(ctx, md, NULL) && EVP_DigestUpdate(ctx, data, len) &&
         (more_len == 0 || EVP_DigestUpdate(ctx, more, more_len)) && EVP_DigestFinal_ex(ctx, out, NULL);
    EVP_MD_CTX_free(ctx);
    status = pqe__ossl_end_plain(ok, "hash", err);
    if (status != PQE_OK)
        pqe__wipe(out, 32);
    return status;
}

pqe_status
pqe__hash_once(pqe__hash_id id, const void *data, size_t len, uint8_t out[32], pqe_error *err)
{
    return pqe__hash_two(id, data, len, NULL, 0, out, err);
}
