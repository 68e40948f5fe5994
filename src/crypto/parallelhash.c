/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ParallelHash256, SP 800-185, section 6.3:
 *   z = left_encode(B) || for each block: cSHAKE256(block, 512, "", "") || right_encode(n) || right_encode(L)
 *   ParallelHash256 = cSHAKE256(z, L, "ParallelHash", S)
 * cSHAKE256 without names is SHAKE256 (section 3.3). With names it is KECCAK[512] over bytepad(encode_string(N) ||
 * encode_string(S), 136) || z || 00, which is what KECCAK-KMAC-256 computes once the prefix has been given to it.
 */
#include "crypto/parallelhash.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/library.h"
#include "util/secmem.h"

#define RATE 136u /* of KECCAK[512], in bytes */
#define NAME "ParallelHash"
#define CUSTOM_MAX 64u

struct pqe__parallelhash {
    EVP_MD_CTX *inner, *outer;
    size_t block, filled; /* bytes of the present block */
    uint64_t count;       /* blocks finished */
};

static pthread_once_t fetched = PTHREAD_ONCE_INIT;
static EVP_MD *shake256, *cshake256;

static void
fetch(void)
{
    const pqe__library *l;

    if (pqe__library_get(&l, NULL) != PQE_OK)
        return;
    shake256 = EVP_MD_fetch(l->ctx, "SHAKE256", NULL);
    cshake256 = EVP_MD_fetch(l->ctx, "KECCAK-KMAC-256", NULL);
}

static pqe_status
get_algorithms(pqe_error *err)
{
    pqe__ossl_begin();
    pthread_once(&fetched, fetch);
    return pqe__ossl_end(shake256 != NULL && cshake256 != NULL, "provide SHAKE256 and KECCAK-KMAC-256", err);
}

/* SP 800-185, section 2.3.1: bytes of `n` without leading zeros, at least one, and their number before or after. */
static size_t
encode(uint64_t n, bool left, uint8_t out[9])
{
    uint8_t *digits = left ? out + 1 : out;
    size_t len = 1;

    while (len < 8 && n >> (8 * len) != 0)
        len++;
    for (size_t i = 0; i < len; i++)
        digits[i] = (uint8_t)(n >> (8 * (len - 1 - i)));
    out[left ? 0 : len] = (uint8_t)len;
    return len + 1;
}

static size_t
encode_string(const char *text, uint8_t *out)
{
    size_t len = strlen(text), at = encode(8 * len, true, out);

    memcpy(out + at, text, len); /* NOLINT(bugprone-not-null-terminated-result): its length goes before it */
    return at + len;
}

/* bytepad(encode_string(N) || encode_string(S), rate) || left_encode(B), sections 2.3.3 and 6.3. */
static bool
start_outer(EVP_MD_CTX *ctx, size_t block, const char *custom)
{
    uint8_t prefix[2 * RATE + 9] = {0};
    size_t at = encode(RATE, true, prefix);

    at += encode_string(NAME, prefix + at);
    at += encode_string(custom, prefix + at);
    at = (at + RATE - 1) / RATE * RATE;
    at += encode(block, true, prefix + at);
    return EVP_DigestInit_ex2(ctx, cshake256, NULL) && EVP_DigestUpdate(ctx, prefix, at);
}

pqe_status
pqe__parallelhash_new(size_t block, const char *custom, pqe__parallelhash **out, pqe_error *err)
{
    pqe__parallelhash *h;
    pqe_status status = get_algorithms(err);

    *out = NULL;
    if (status != PQE_OK)
        return status;
    if (block == 0 || strlen(custom) > CUSTOM_MAX)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_CRYPTO, 0, "no such parameters of ParallelHash");
    if ((h = calloc(1, sizeof *h)) == NULL)
        return pqe__fail_nomem(err);
    h->block = block;
    pqe__ossl_begin();
    h->inner = EVP_MD_CTX_new();
    h->outer = EVP_MD_CTX_new();
    status = pqe__ossl_end(h->inner != NULL && h->outer != NULL && EVP_DigestInit_ex2(h->inner, shake256, NULL) &&
                               start_outer(h->outer, block, custom),
                           "start a hash", err);
    if (status != PQE_OK) {
        pqe__parallelhash_free(&h);
        return status;
    }
    *out = h;
    return PQE_OK;
}

void
pqe__parallelhash_free(pqe__parallelhash **h)
{
    if (h == NULL || *h == NULL)
        return;
    EVP_MD_CTX_free((*h)->inner);
    EVP_MD_CTX_free((*h)->outer);
    free(*h);
    *h = NULL;
}

/* Ends the block in `ctx`, which is then ready for another. */
static bool
end_block(EVP_MD_CTX *ctx, uint8_t leaf[PQE__PARALLELHASH_LEAF])
{
    return EVP_DigestFinalXOF(ctx, leaf, PQE__PARALLELHASH_LEAF) && EVP_DigestInit_ex2(ctx, shake256, NULL);
}

static bool
absorb_block(pqe__parallelhash *h)
{
    uint8_t leaf[PQE__PARALLELHASH_LEAF];

    h->filled = 0;
    h->count++;
    return end_block(h->inner, leaf) && EVP_DigestUpdate(h->outer, leaf, sizeof leaf);
}

pqe_status
pqe__parallelhash_update(pqe__parallelhash *h, const void *data, size_t len, pqe_error *err)
{
    const uint8_t *p = data;
    bool ok = true;

    pqe__ossl_begin();
    while (ok && len > 0) {
        size_t n = h->block - h->filled < len ? h->block - h->filled : len;
        ok = EVP_DigestUpdate(h->inner, p, n);
        h->filled += n;
        p += n;
        len -= n;
        if (ok && h->filled == h->block)
            ok = absorb_block(h);
    }
    return pqe__ossl_end(ok, "hash", err);
}

pqe_status
pqe__parallelhash_leaves(size_t block, const void *data, size_t count, uint8_t *leaves, pqe_error *err)
{
    const uint8_t *p = data;
    EVP_MD_CTX *ctx;
    bool ok;
    pqe_status status = get_algorithms(err);

    if (status != PQE_OK)
        return status;
    pqe__ossl_begin();
    ctx = EVP_MD_CTX_new();
    ok = ctx != NULL && EVP_DigestInit_ex2(ctx, shake256, NULL);
    for (size_t i = 0; i < count && ok; i++)
        ok = EVP_DigestUpdate(ctx, p + i * block, block) && end_block(ctx, leaves + i * PQE__PARALLELHASH_LEAF);
    EVP_MD_CTX_free(ctx);
    return pqe__ossl_end(ok, "hash", err);
}

pqe_status
pqe__parallelhash_absorb(pqe__parallelhash *h, const uint8_t *leaves, size_t count, pqe_error *err)
{
    if (h->filled != 0)
        return pqe__fail(err, PQE_E_STATE, PQE_ORIGIN_CRYPTO, 0, "a block of the hash is not complete");
    h->count += count;
    pqe__ossl_begin();
    return pqe__ossl_end(EVP_DigestUpdate(h->outer, leaves, count * PQE__PARALLELHASH_LEAF), "hash", err);
}

pqe_status
pqe__parallelhash_final(pqe__parallelhash *h, uint8_t *out, size_t len, pqe_error *err)
{
    uint8_t tail[18];
    size_t at;
    bool ok;
    pqe_status status;

    pqe__ossl_begin();
    ok = h->filled == 0 || absorb_block(h);
    at = encode(h->count, false, tail);
    at += encode(8 * (uint64_t)len, false, tail + at);
    status = pqe__ossl_end(ok && EVP_DigestUpdate(h->outer, tail, at) && EVP_DigestFinalXOF(h->outer, out, len),
                           "finish a hash", err);
    if (status != PQE_OK)
        pqe__wipe(out, len);
    return status;
}
