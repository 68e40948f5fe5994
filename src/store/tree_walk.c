/* SPDX-License-Identifier: Apache-2.0 */
/* The whole authenticated tree, built anew from its entries and compared with the root. */
#include "store/node.h"

#include <string.h>

/* Builds the tree bottom-up from entries in tag order; memory is one node a level. */
typedef struct builder {
    pqe__store *store;
    bool check_nodes;
    pqe__hash *bucket_hash;
    uint32_t bucket;
    bool open;
    pqe__node nodes[PQE__TREE_LEVELS];
    uint64_t nodes_seen;
} builder;

static pqe_status
builder_close_node(builder *b, uint32_t level, uint8_t digest[PQE__DIGEST_SIZE], pqe_error *err)
{
    uint8_t bytes[PQE__NODE_MAX], stored[PQE__NODE_MAX];
    size_t len = pqe__node_encode(&b->nodes[level], bytes), stored_len;
    pqe_status status = PQE_OK;

    if (b->check_nodes && b->nodes[level].present != 0) {
        b->nodes_seen++;
        status = pqe__node_read(b->store, pqe__node_id(b->bucket, level), stored, &stored_len, err);
        if (status == PQE_OK && (stored_len != len || memcmp(stored, bytes, len) != 0))
            status = pqe__db_damaged(err, "a tree node does not match the entries below it");
    }
    memset(&b->nodes[level], 0, sizeof b->nodes[level]);
    return status == PQE_OK ? pqe__node_digest(level, bytes, len, digest, err) : status;
}

/* Closes the open bucket and every node that `next` (PQE__BUCKETS: none) is not under. */
static pqe_status
builder_close(builder *b, uint32_t next, uint8_t root[PQE__DIGEST_SIZE], pqe_error *err)
{
    uint8_t digest[PQE__DIGEST_SIZE];
    pqe_status status = PQE_OK;

    if (b->open) {
        status = pqe__hash_final(b->bucket_hash, digest, err);
        if (status == PQE_OK)
            pqe__node_set(&b->nodes[PQE__TREE_LEVELS - 1], pqe__slot_of(b->bucket, PQE__TREE_LEVELS - 1), digest);
        for (uint32_t level = PQE__TREE_LEVELS - 1; level > 0 && status == PQE_OK; level--) {
            uint32_t shift = 6 * (PQE__TREE_LEVELS - level);
            if (b->bucket >> shift == next >> shift)
                break;
            status = builder_close_node(b, level, digest, err);
            pqe__node_set(&b->nodes[level - 1], pqe__slot_of(b->bucket, level - 1), digest);
        }
    }
    if (status == PQE_OK && next == PQE__BUCKETS)
        status = builder_close_node(b, 0, root, err);
    return status;
}

static pqe_status
builder_add(builder *b, const pqe__entry *entry, pqe_error *err)
{
    uint32_t bucket = pqe__bucket_of(entry->tag);
    pqe_status status = PQE_OK;

    if (!b->open || bucket != b->bucket) {
        status = builder_close(b, bucket, NULL, err);
        b->open = true;
        b->bucket = bucket;
        if (status == PQE_OK)
            status = pqe__bucket_start(&b->bucket_hash, err);
    }
    return status == PQE_OK ? pqe__bucket_add(b->bucket_hash, entry, err) : status;
}

static pqe_status
check_node_count(builder *b, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(b->store, STMT_NODE_COUNT, &status, err);
    int rc;

    if (stmt == NULL)
        return status;
    if ((rc = sqlite3_step(stmt)) != SQLITE_ROW)
        status = pqe__db_fail(b->store, rc, "cannot read the index", err);
    else if ((uint64_t)sqlite3_column_int64(stmt, 0) != b->nodes_seen)
        status = pqe__db_damaged(err, "there are tree nodes that belong to no entry");
    sqlite3_reset(stmt);
    return status;
}

static pqe_status
walk(builder *b, const uint8_t expected[PQE__DIGEST_SIZE], pqe__tree_fn fn, void *user, pqe_error *err)
{
    uint8_t root[PQE__DIGEST_SIZE], last[PQE__TAG_KEY_SIZE];
    bool first = true;
    pqe__entry entry;
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(b->store, STMT_ENTRY_ALL, &status, err);
    int rc = SQLITE_DONE;

    if (stmt == NULL)
        return status;
    while (status == PQE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        status = pqe__entry_read(stmt, &entry, err);
        if (status == PQE_OK && !first && memcmp(last, entry.tag, sizeof last) >= 0)
            status = pqe__db_damaged(err, "entries are out of order");
        first = false;
        memcpy(last, entry.tag, sizeof last);
        if (status == PQE_OK)
            status = builder_add(b, &entry, err);
        if (status == PQE_OK && fn != NULL)
            status = fn(user, &entry, err);
    }
    if (status == PQE_OK && rc != SQLITE_DONE)
        status = pqe__db_fail(b->store, rc, "cannot read the index", err);
    sqlite3_reset(stmt);
    if (status == PQE_OK)
        status = builder_close(b, PQE__BUCKETS, root, err);
    if (status == PQE_OK && memcmp(root, expected, sizeof root) != 0)
        status = pqe__db_damaged(err, "entries were altered, removed or put back");
    if (status == PQE_OK && b->check_nodes)
        status = check_node_count(b, err);
    pqe__hash_free(&b->bucket_hash);
    return status;
}

pqe_status
pqe__tree_walk(pqe__store *store, const uint8_t root[PQE__DIGEST_SIZE], pqe__tree_fn fn, void *user, pqe_error *err)
{
    builder b = {.store = store};

    return walk(&b, root, fn, user, err);
}

pqe_status
pqe__tree_check_nodes(pqe__store *store, const uint8_t root[PQE__DIGEST_SIZE], pqe_error *err)
{
    builder b = {.store = store, .check_nodes = true};

    return walk(&b, root, NULL, NULL, err);
}
