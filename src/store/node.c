/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes and buckets of the authenticated tree; what they are is said in tree.c and docs/format.md. */
#include "store/node.h"

#include <stdlib.h>
#include <string.h>

#define ENTRY_SIZE (1u + PQE__TAG_KEY_SIZE + PQE__DIGEST_SIZE)

enum { DIGEST_BUCKET = 0x00, DIGEST_NODE = 0x01 };

uint32_t
pqe__bucket_of(const uint8_t *tag)
{
    return (uint32_t)tag[0] << 10 | (uint32_t)tag[1] << 2 | (uint32_t)tag[2] >> 6;
}

uint32_t
pqe__slot_of(uint32_t bucket, uint32_t level)
{
    return bucket >> (6 * (PQE__TREE_LEVELS - 1 - level)) & (PQE__TREE_FANOUT - 1);
}

int64_t
pqe__node_id(uint32_t bucket, uint32_t level)
{
    static const uint32_t first[PQE__TREE_LEVELS] = {0, 1, 1 + PQE__TREE_FANOUT};

    return (int64_t)first[level] + (int64_t)(bucket >> (6 * (PQE__TREE_LEVELS - level)));
}

size_t
pqe__node_encode(const pqe__node *n, uint8_t out[PQE__NODE_MAX])
{
    pqe__wcur c = pqe__wcur_init(out, PQE__NODE_MAX);

    pqe__put_u64(&c, n->present);
    for (uint32_t i = 0; i < PQE__TREE_FANOUT; i++)
        if (n->present >> i & 1)
            pqe__put_bytes(&c, n->child[i], PQE__DIGEST_SIZE);
    return c.pos;
}

static bool
node_decode(const uint8_t *bytes, size_t len, pqe__node *out)
{
    pqe__rcur c = pqe__rcur_init(bytes, len);

    out->present = pqe__get_u64(&c);
    for (uint32_t i = 0; i < PQE__TREE_FANOUT; i++)
        if (out->present >> i & 1)
            pqe__get_copy(&c, out->child[i], PQE__DIGEST_SIZE);
    return pqe__rcur_done(&c);
}

pqe_status
pqe__node_digest(uint32_t level, const uint8_t *bytes, size_t len, uint8_t out[PQE__DIGEST_SIZE], pqe_error *err)
{
    const uint8_t first[2] = {DIGEST_NODE, (uint8_t)level};

    return pqe__hash_two(PQE__SHA256, first, sizeof first, bytes, len, out, err);
}

void
pqe__node_set(pqe__node *n, uint32_t slot, const uint8_t *digest)
{
    if (digest != NULL) {
        n->present |= (uint64_t)1 << slot;
        memcpy(n->child[slot], digest, PQE__DIGEST_SIZE);
    } else {
        n->present &= ~((uint64_t)1 << slot);
    }
}

pqe_status
pqe__node_read(pqe__store *store, int64_t id, uint8_t out[PQE__NODE_MAX], size_t *len, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_NODE_GET, &status, err);
    int rc;

    *len = 8;
    memset(out, 0, 8);
    if (stmt == NULL)
        return status;
    sqlite3_bind_int64(stmt, 1, id);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *len = (size_t)sqlite3_column_bytes(stmt, 0);
        if (*len > PQE__NODE_MAX || !pqe__db_blob(stmt, 0, out, *len))
            status = pqe__db_damaged(err, "a tree node is malformed");
    } else if (rc != SQLITE_DONE) {
        status = pqe__db_fail(store, rc, "cannot read the index", err);
    }
    sqlite3_reset(stmt);
    return status;
}

/* The root and the nodes below it, as they were last verified or written. Their rows are read again only after the
   database changed in any way; and bytes that were hashed once are not hashed again. */
struct pqe__node_cache {
    struct {
        size_t len;       /* 0: nothing yet */
        uint32_t version; /* of the database that has these bytes */
        uint8_t digest[PQE__DIGEST_SIZE], bytes[PQE__NODE_MAX];
    } at[1 + PQE__TREE_FANOUT];
};

static void
cache_put(pqe__store *store, int64_t id, const uint8_t *bytes, size_t len, const uint8_t digest[PQE__DIGEST_SIZE])
{
    if (id > (int64_t)PQE__TREE_FANOUT)
        return;
    if (store->node_cache == NULL && (store->node_cache = calloc(1, sizeof *store->node_cache)) == NULL)
        return; /* slower is all it is */
    store->node_cache->at[id].len = len;
    store->node_cache->at[id].version = store->version;
    memcpy(store->node_cache->at[id].bytes, bytes, len);
    memcpy(store->node_cache->at[id].digest, digest, PQE__DIGEST_SIZE);
}

/* Is what is cached still what the row holds, and what is expected? Then nothing need be read. */
static bool
cache_get(const pqe__store *store, int64_t id, const uint8_t expected[PQE__DIGEST_SIZE], pqe__node *out)
{
    const struct pqe__node_cache *cache = store->node_cache;

    return cache != NULL && store->version != 0 && id <= (int64_t)PQE__TREE_FANOUT && cache->at[id].len != 0 &&
           cache->at[id].version == store->version && memcmp(cache->at[id].digest, expected, PQE__DIGEST_SIZE) == 0 &&
           node_decode(cache->at[id].bytes, cache->at[id].len, out);
}

static pqe_status
cached_digest(pqe__store *store, int64_t id, uint32_t level, const uint8_t *bytes, size_t len,
              uint8_t digest[PQE__DIGEST_SIZE], pqe_error *err)
{
    struct pqe__node_cache *cache = store->node_cache;
    pqe_status status;

    if (cache != NULL && id <= (int64_t)PQE__TREE_FANOUT && cache->at[id].len == len &&
        memcmp(cache->at[id].bytes, bytes, len) == 0) {
        cache->at[id].version = store->version;
        memcpy(digest, cache->at[id].digest, PQE__DIGEST_SIZE);
        return PQE_OK;
    }
    status = pqe__node_digest(level, bytes, len, digest, err);
    if (status == PQE_OK)
        cache_put(store, id, bytes, len, digest);
    return status;
}

pqe_status
pqe__node_load(pqe__store *store, uint32_t bucket, uint32_t level, const uint8_t expected[PQE__DIGEST_SIZE],
               pqe__node *out, pqe_error *err)
{
    uint8_t bytes[PQE__NODE_MAX], digest[PQE__DIGEST_SIZE];
    int64_t id = pqe__node_id(bucket, level);
    size_t len;
    pqe_status status;

    if (cache_get(store, id, expected, out))
        return PQE_OK;
    status = pqe__node_read(store, id, bytes, &len, err);
    if (status == PQE_OK)
        status = cached_digest(store, id, level, bytes, len, digest, err);
    if (status != PQE_OK)
        return status;
    if (memcmp(digest, expected, sizeof digest) != 0 || !node_decode(bytes, len, out))
        return pqe__db_damaged(err, "it is not the one that the head vouches for");
    return PQE_OK;
}

pqe_status
pqe__node_store(pqe__store *store, uint32_t bucket, uint32_t level, const pqe__node *n,
                uint8_t digest[PQE__DIGEST_SIZE], pqe_error *err)
{
    uint8_t bytes[PQE__NODE_MAX];
    int64_t id = pqe__node_id(bucket, level);
    size_t len = pqe__node_encode(n, bytes);
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, n->present != 0 ? STMT_NODE_PUT : STMT_NODE_DELETE, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_int64(stmt, 1, id);
    if (n->present != 0)
        sqlite3_bind_blob(stmt, 2, bytes, (int)len, SQLITE_STATIC);
    status = pqe__db_run(store, stmt, "cannot write to the index", err);
    if (status == PQE_OK)
        status = pqe__node_digest(level, bytes, len, digest, err);
    if (status == PQE_OK)
        cache_put(store, id, bytes, len, digest);
    return status;
}

/* ---- buckets ---- */

pqe_status
pqe__bucket_start(pqe__hash **hash, pqe_error *err)
{
    static const uint8_t first = DIGEST_BUCKET;
    pqe_status status = *hash == NULL ? pqe__hash_new(PQE__SHA256, hash, err) : PQE_OK;

    return status == PQE_OK ? pqe__hash_update(*hash, &first, 1, err) : status;
}

pqe_status
pqe__bucket_add(pqe__hash *hash, const pqe__entry *entry, pqe_error *err)
{
    uint8_t bytes[ENTRY_SIZE];
    pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes);

    pqe__put_u8(&c, (uint8_t)entry->kind);
    pqe__put_bytes(&c, entry->tag, sizeof entry->tag);
    pqe__put_bytes(&c, entry->digest, sizeof entry->digest);
    return pqe__hash_update(hash, bytes, c.pos, err);
}

pqe_status
pqe__entry_read(sqlite3_stmt *stmt, pqe__entry *out, pqe_error *err)
{
    int64_t kind = sqlite3_column_int64(stmt, 1);

    if (!pqe__db_blob(stmt, 0, out->tag, sizeof out->tag) || !pqe__db_blob(stmt, 2, out->digest, sizeof out->digest) ||
        kind < PQE__ENTRY_NAME || kind > PQE__ENTRY_IDENTITY_NAME)
        return pqe__db_damaged(err, "an entry is malformed");
    out->kind = (pqe__entry_kind)kind;
    out->rowid = sqlite3_column_int64(stmt, 3);
    return PQE_OK;
}
