/* SPDX-License-Identifier: Apache-2.0 */
/* Content hashes: the common form of the algorithms, the public calls for plain data, and the vault's defaults. */
#include "vault/content_hash.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "util/pool.h"
#include "vault/internal.h"

pqe_status
pqe__content_hash_start(pqe__content_hash *h, unsigned algorithm, pqe_error *err)
{
    *h = (pqe__content_hash){0};
    switch (algorithm) {
    case PQE__RECORD_HASH_SHA3_256:
        return pqe__hash_new(PQE__SHA3_256, &h->sha3, err);
    case PQE__RECORD_HASH_PARALLELHASH256:
        return pqe__parallelhash_new(PQE__PARALLELHASH_BLOCK, "", &h->parallel, err);
    default:
        return PQE_OK;
    }
}

pqe_status
pqe__content_hash_update(pqe__content_hash *h, const void *data, size_t len, pqe_error *err)
{
    if (h->sha3 != NULL)
        return pqe__hash_update(h->sha3, data, len, err);
    return h->parallel != NULL ? pqe__parallelhash_update(h->parallel, data, len, err) : PQE_OK;
}

pqe_status
pqe__content_hash_final(pqe__content_hash *h, uint8_t out[32], pqe_error *err)
{
    if (h->sha3 != NULL)
        return pqe__hash_final(h->sha3, out, err);
    return pqe__parallelhash_final(h->parallel, out, 32, err);
}

void
pqe__content_hash_clear(pqe__content_hash *h)
{
    pqe__hash_free(&h->sha3);
    pqe__parallelhash_free(&h->parallel);
}

pqe_status
pqe__content_hash_named(const char *name, pqe__hash_algorithm *out, pqe_error *err)
{
    *out = PQE__RECORD_HASH_SHA3_256;
    if (name == NULL || pqe__hash_from_name(name, out))
        return PQE_OK;
    return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0,
                     "the content hash is none of sha3-256, parallelhash256, deferred");
}

/* ---- plain data ---- */

#define PARALLEL_MIN ((size_t)1 << 20)
#define STEP_BLOCKS 256u /* blocks whose digests are kept at a time */

struct pqe_hasher {
    pqe__content_hash hash;
    uint64_t len;
    bool failed;
};

pqe_status
pqe_hasher_open(const char *algorithm, pqe_hasher **out, pqe_error *err)
{
    pqe__hash_algorithm id;
    pqe_hasher *h;
    pqe_status status;

    if (out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the hasher");
    *out = NULL;
    if ((status = pqe__content_hash_named(algorithm, &id, err)) != PQE_OK)
        return status;
    if (id == PQE__RECORD_HASH_DEFERRED)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "\"deferred\" is no hash of plain data");
    if ((h = calloc(1, sizeof *h)) == NULL)
        return pqe__fail_nomem(err);
    status = pqe__content_hash_start(&h->hash, id, err);
    if (status != PQE_OK)
        pqe_hasher_close(&h);
    *out = h;
    return status;
}

void
pqe_hasher_close(pqe_hasher **hasher)
{
    if (hasher == NULL || *hasher == NULL)
        return;
    pqe__content_hash_clear(&(*hasher)->hash);
    free(*hasher);
    *hasher = NULL;
}

/* Digests of whole blocks, by whoever takes them. */
typedef struct hashing {
    const uint8_t *data;
    size_t count;
    atomic_size_t next;
    _Atomic int status;
    uint8_t leaves[STEP_BLOCKS][PQE__PARALLELHASH_LEAF];
} hashing;

static void
hash_blocks(void *arg)
{
    hashing *j = arg;
    size_t i;

    while (atomic_load(&j->status) == PQE_OK && (i = atomic_fetch_add(&j->next, 1)) < j->count) {
        pqe_status status = pqe__parallelhash_leaves(PQE__PARALLELHASH_BLOCK, j->data + i * PQE__PARALLELHASH_BLOCK, 1,
                                                     j->leaves[i], NULL);
        if (status != PQE_OK)
            atomic_store(&j->status, status);
    }
}

/* `len` bytes that begin a block, all blocks whole. */
static pqe_status
update_parallel(pqe_hasher *h, const uint8_t *data, size_t len, pqe_error *err)
{
    hashing *j = calloc(1, sizeof *j);
    pqe_status status = j != NULL ? PQE_OK : pqe__fail_nomem(err);

    while (len > 0 && status == PQE_OK) {
        size_t blocks = len / PQE__PARALLELHASH_BLOCK;
        *j = (hashing){.data = data, .count = blocks < STEP_BLOCKS ? blocks : STEP_BLOCKS};
        pqe__pool_run(hash_blocks, j, pqe_threads());
        status = (pqe_status)atomic_load(&j->status);
        if (status != PQE_OK)
            status = pqe__fail(err, status, PQE_ORIGIN_CRYPTO, 0, "a block cannot be hashed");
        else
            status = pqe__parallelhash_absorb(h->hash.parallel, j->leaves[0], j->count, err);
        data += j->count * PQE__PARALLELHASH_BLOCK;
        len -= j->count * PQE__PARALLELHASH_BLOCK;
    }
    if (j != NULL)
        pqe__wipe(j, sizeof *j);
    free(j);
    return status;
}

pqe_status
pqe_hasher_update(pqe_hasher *hasher, const void *data, size_t len, pqe_error *err)
{
    const uint8_t *p = data;
    size_t before = 0, whole = 0;
    pqe_status status;

    if (hasher == NULL || (data == NULL && len != 0))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "hasher and data are required");
    if (hasher->failed)
        return pqe__fail(err, PQE_E_STATE, PQE_ORIGIN_API, 0, "the hasher has failed before");
    if (hasher->hash.parallel != NULL && len >= PARALLEL_MIN) {
        before = (size_t)((PQE__PARALLELHASH_BLOCK - hasher->len % PQE__PARALLELHASH_BLOCK) % PQE__PARALLELHASH_BLOCK);
        whole = (len - before) / PQE__PARALLELHASH_BLOCK * PQE__PARALLELHASH_BLOCK;
    }
    status = pqe__content_hash_update(&hasher->hash, p, before, err);
    if (status == PQE_OK && whole != 0)
        status = update_parallel(hasher, p + before, whole, err);
    if (status == PQE_OK)
        status = pqe__content_hash_update(&hasher->hash, p + before + whole, len - before - whole, err);
    hasher->len += len;
    hasher->failed = status != PQE_OK;
    return status;
}

pqe_status
pqe_hasher_finish(pqe_hasher **hasher, char out[PQE_HASH_HEX_SIZE], pqe_error *err)
{
    uint8_t digest[32];
    pqe_status status;

    if (out != NULL)
        out[0] = '\0';
    if (hasher == NULL || *hasher == NULL || out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "hasher and place for the hash are required");
    if ((*hasher)->failed)
        status = pqe__fail(err, PQE_E_STATE, PQE_ORIGIN_API, 0, "the hasher has failed before");
    else
        status = pqe__content_hash_final(&(*hasher)->hash, digest, err);
    if (status == PQE_OK)
        pqe__hex_encode(digest, sizeof digest, out);
    pqe_hasher_close(hasher);
    return status;
}

/* ---- defaults ---- */

static pqe_status
check_kind(pqe_kind kind, pqe_error *err)
{
    if (pqe_kind_name(kind) != NULL)
        return PQE_OK;
    return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, kind, "the kind is unknown");
}

pqe_status
pqe_hash_default(pqe_vault *vault, pqe_kind kind, const char **out, pqe_error *err)
{
    pqe__txn txn;
    unsigned algorithm;
    pqe_status status = check_kind(kind, err);

    if (out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the name");
    *out = NULL;
    if (status != PQE_OK || (status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    algorithm = txn.priv.hash_default[kind];
    pqe__txn_abort(&txn);
    *out = pqe__hash_name(algorithm != 0 ? algorithm : PQE__RECORD_HASH_SHA3_256);
    return PQE_OK;
}

pqe_status
pqe_set_hash_default(pqe_vault *vault, pqe_kind kind, const char *hash, pqe_error *err)
{
    pqe__hash_algorithm algorithm;
    bool known;
    pqe__txn txn;
    pqe_status status = check_kind(kind, err);

    if (status == PQE_OK)
        status = pqe__content_hash_named(hash, &algorithm, err);
    if (status != PQE_OK || (status = pqe__txn_begin(vault, true, &txn, err)) != PQE_OK)
        return status;
    txn.priv.hash_default[kind] = algorithm == PQE__RECORD_HASH_SHA3_256 ? 0 : (uint8_t)algorithm;
    status = pqe__txn_write_head(&txn, vault->session->keys, err);
    if (status == PQE_OK)
        return pqe__txn_commit(&txn, &known, err);
    pqe__txn_abort(&txn);
    return status;
}
