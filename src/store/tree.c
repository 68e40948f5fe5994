/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The authenticated tree: a Merkle prefix tree over the index, so that every lookup, found or not found, is proved
 * against the root that the head authenticates.
 *
 * Leaves are buckets: all entries whose tag begins with the same 18 bits, in tag order. Above them stand three levels
 * of nodes with 64 children each. A node is a 64-bit map of the children that are not empty, then their digests.
 * Digests are SHA-256 with a first byte that keeps leaves and nodes apart, as in RFC 9162, section 2.1.1. A change
 * reads and writes one bucket and three nodes, whatever the number of artifacts.
 */
#include "store/node.h"

#include <string.h>

/* The bucket's tags are those from its 18-bit prefix up to the next one's; above the last bucket's stands a blob that
   is longer than any tag. `bounds` must live until the statement is reset. */
typedef struct bucket_bounds {
    uint8_t low[4], high[PQE__TAG_KEY_SIZE + 1];
} bucket_bounds;

static sqlite3_stmt *
bucket_query(pqe__store *store, uint32_t bucket, bucket_bounds *bounds, pqe_status *status, pqe_error *err)
{
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_ENTRY_BUCKET, status, err);
    pqe__wcur low = pqe__wcur_init(bounds->low, sizeof bounds->low);
    pqe__wcur high = pqe__wcur_init(bounds->high, sizeof bounds->high);

    if (stmt == NULL)
        return NULL;
    memset(bounds->high, 0xff, sizeof bounds->high);
    pqe__put_u32(&low, bucket << (32 - PQE__BUCKET_BITS));
    if (bucket + 1 < PQE__BUCKETS)
        pqe__put_u32(&high, (bucket + 1) << (32 - PQE__BUCKET_BITS));
    else
        high.pos = sizeof bounds->high;
    sqlite3_bind_blob(stmt, 1, bounds->low, (int)low.pos, SQLITE_STATIC);
    sqlite3_bind_blob(stmt, 2, bounds->high, (int)high.pos, SQLITE_STATIC);
    return stmt;
}

/* ---- one bucket ---- */

/* Reads a bucket once: proves it against the digest that its node has for it, and works the changes in, which are
   sorted by tag: each learns what stood under its tag, and the bucket's next digest is computed. */
typedef struct merge {
    pqe__store *store;
    pqe__tree_change *next, *end;
    bool change; /* false: a look-up, no next digest is wanted */
    size_t count, count_after;
} merge;

/* A change whose place in the bucket's order has come. */
static pqe_status
merge_change(merge *m, pqe_error *err)
{
    const pqe__tree_change *c = m->next++;

    if (!m->change || c->remove)
        return PQE_OK;
    m->count_after++;
    return pqe__bucket_add(m->store->bucket_hash[1], &c->entry, err);
}

static pqe_status
merge_entry(merge *m, const pqe__entry *stored, pqe_error *err)
{
    int order = -1;
    pqe_status status = pqe__bucket_add(m->store->bucket_hash[0], stored, err);

    m->count++;
    while (status == PQE_OK && m->next < m->end &&
           (order = memcmp(m->next->entry.tag, stored->tag, sizeof stored->tag)) < 0)
        status = merge_change(m, err);
    if (status == PQE_OK && m->next < m->end && order == 0) {
        m->next->existed = true;
        m->next->old = *stored;
        return merge_change(m, err);
    }
    if (status != PQE_OK || !m->change)
        return status;
    m->count_after++;
    return pqe__bucket_add(m->store->bucket_hash[1], stored, err);
}

static pqe_status
merge_scan(merge *m, uint32_t bucket, pqe_error *err)
{
    bucket_bounds bounds;
    pqe__entry entry;
    pqe_status status;
    sqlite3_stmt *stmt = bucket_query(m->store, bucket, &bounds, &status, err);
    int rc = SQLITE_DONE;

    if (stmt == NULL)
        return status;
    while (status == PQE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        status = pqe__entry_read(stmt, &entry, err);
        if (status == PQE_OK)
            status = merge_entry(m, &entry, err);
    }
    if (status == PQE_OK && rc != SQLITE_DONE)
        status = pqe__db_fail(m->store, rc, "cannot read the index", err);
    sqlite3_reset(stmt);
    while (status == PQE_OK && m->next < m->end)
        status = merge_change(m, err);
    return status;
}

/* `expected` is the bucket's digest, NULL if it is to be empty; `after` is given and *empty_after set where changes are
   made. */
static pqe_status
bucket_merge(pqe__store *store, uint32_t bucket, const uint8_t *expected, pqe__tree_change *changes, size_t count,
             uint8_t *after, bool *empty_after, pqe_error *err)
{
    merge m = {.store = store, .next = changes, .end = changes + count, .change = after != NULL};
    uint8_t digest[PQE__DIGEST_SIZE];
    pqe_status status = pqe__bucket_start(&store->bucket_hash[0], err);

    if (status == PQE_OK && m.change)
        status = pqe__bucket_start(&store->bucket_hash[1], err);
    if (status == PQE_OK)
        status = merge_scan(&m, bucket, err);
    if (status == PQE_OK)
        status = pqe__hash_final(store->bucket_hash[0], digest, err);
    if (status == PQE_OK &&
        ((expected != NULL) != (m.count > 0) || (expected != NULL && memcmp(digest, expected, sizeof digest) != 0)))
        status = pqe__db_damaged(err, "entries were altered, removed or put back");
    if (status == PQE_OK && m.change)
        status = pqe__hash_final(store->bucket_hash[1], after, err);
    if (status != PQE_OK) {
        pqe__hash_free(&store->bucket_hash[0]); /* it may be half-way through a bucket */
        pqe__hash_free(&store->bucket_hash[1]);
        return status;
    }
    if (empty_after != NULL)
        *empty_after = m.count_after == 0;
    return PQE_OK;
}

/* ---- looking up ---- */

pqe_status
pqe__tree_empty(uint8_t root[PQE__DIGEST_SIZE], pqe_error *err)
{
    static const uint8_t none[8];

    return pqe__node_digest(0, none, sizeof none, root, err);
}

pqe_status
pqe__tree_lookup(pqe__store *store, const uint8_t root[PQE__DIGEST_SIZE], const uint8_t tag[PQE__TAG_KEY_SIZE],
                 bool *found, pqe__entry *out, pqe_error *err)
{
    uint32_t bucket = pqe__bucket_of(tag);
    uint8_t expected[PQE__DIGEST_SIZE];
    bool there = true;
    pqe__tree_change look = {.remove = true};
    pqe__node node;
    pqe_status status = PQE_OK;

    *found = false;
    memcpy(expected, root, sizeof expected);
    memcpy(look.entry.tag, tag, sizeof look.entry.tag);
    for (uint32_t level = 0; level < PQE__TREE_LEVELS && there; level++) {
        uint32_t slot = pqe__slot_of(bucket, level);
        if ((status = pqe__node_load(store, bucket, level, expected, &node, err)) != PQE_OK)
            return status;
        there = (node.present >> slot & 1) != 0; /* if not: nothing below, there is no bucket */
        if (there)
            memcpy(expected, node.child[slot], sizeof expected);
    }
    status = bucket_merge(store, bucket, there ? expected : NULL, &look, 1, NULL, NULL, err);
    if (status == PQE_OK && look.existed) {
        *found = true;
        *out = look.old;
    }
    return status;
}

/* ---- changing ---- */

/* The path from the root to the bucket last changed. Nodes are read, checked and written once, however many changes
   are below them. */
typedef struct path {
    pqe__store *store;
    uint8_t *root;
    uint32_t bucket;
    uint32_t depth; /* nodes that are open */
    pqe__node nodes[PQE__TREE_LEVELS];
} path;

/* Writes the open nodes back, from the lowest up to `level`. */
static pqe_status
path_close(path *p, uint32_t level, pqe_error *err)
{
    uint8_t digest[PQE__DIGEST_SIZE];
    pqe_status status = PQE_OK;

    while (status == PQE_OK && p->depth > level) {
        uint32_t at = --p->depth;
        const pqe__node *n = &p->nodes[at];
        status = pqe__node_store(p->store, p->bucket, at, n, digest, err);
        if (status == PQE_OK && at > 0)
            pqe__node_set(&p->nodes[at - 1], pqe__slot_of(p->bucket, at - 1), n->present != 0 ? digest : NULL);
        else if (status == PQE_OK)
            memcpy(p->root, digest, sizeof digest);
    }
    return status;
}

static pqe_status
path_open(path *p, uint32_t bucket, pqe_error *err)
{
    uint32_t shared = 0;
    pqe_status status;

    while (shared < p->depth && pqe__node_id(p->bucket, shared) == pqe__node_id(bucket, shared))
        shared++;
    status = path_close(p, shared, err);
    p->bucket = bucket;
    for (; status == PQE_OK && p->depth < PQE__TREE_LEVELS; p->depth++) {
        const uint8_t *expected = p->root;
        if (p->depth > 0) {
            const pqe__node *parent = &p->nodes[p->depth - 1];
            uint32_t slot = pqe__slot_of(bucket, p->depth - 1);
            expected = (parent->present >> slot & 1) != 0 ? parent->child[slot] : NULL;
        }
        if (expected != NULL)
            status = pqe__node_load(p->store, bucket, p->depth, expected, &p->nodes[p->depth], err);
        else
            p->nodes[p->depth].present = 0;
        if (status != PQE_OK)
            break;
    }
    return status;
}

static pqe_status
write_change(pqe__store *store, const pqe__tree_change *c, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt;

    if (c->remove && !c->existed)
        return pqe__db_damaged(err, "an entry to be removed is not there");
    stmt = pqe__db_stmt(store, c->remove ? STMT_ENTRY_DELETE : STMT_ENTRY_PUT, &status, err);
    if (stmt == NULL)
        return status;
    sqlite3_bind_blob(stmt, 1, c->entry.tag, PQE__TAG_KEY_SIZE, SQLITE_STATIC);
    if (!c->remove) {
        sqlite3_bind_int(stmt, 2, (int)c->entry.kind);
        sqlite3_bind_blob(stmt, 3, c->entry.digest, PQE__DIGEST_SIZE, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 4, c->entry.rowid);
    }
    return pqe__db_run(store, stmt, "cannot write to the index", err);
}

static pqe_status
change_bucket(path *p, uint32_t bucket, pqe__tree_change *changes, size_t count, pqe_error *err)
{
    uint32_t slot = pqe__slot_of(bucket, PQE__TREE_LEVELS - 1);
    pqe__node *node = &p->nodes[PQE__TREE_LEVELS - 1];
    uint8_t after[PQE__DIGEST_SIZE];
    bool empty = false;
    pqe_status status = path_open(p, bucket, err);

    if (status == PQE_OK)
        status = bucket_merge(p->store, bucket, (node->present >> slot & 1) != 0 ? node->child[slot] : NULL, changes,
                              count, after, &empty, err);
    for (size_t i = 0; i < count && status == PQE_OK; i++)
        status = write_change(p->store, &changes[i], err);
    if (status == PQE_OK)
        pqe__node_set(node, slot, empty ? NULL : after);
    return status;
}

pqe_status
pqe__tree_apply(pqe__store *store, uint8_t root[PQE__DIGEST_SIZE], pqe__tree_change *changes, size_t count,
                pqe_error *err)
{
    path p;
    size_t i = 0, n;
    pqe_status status = PQE_OK;

    p.store = store;
    p.root = root;
    p.bucket = p.depth = 0;
    for (; i < count && status == PQE_OK; i += n) {
        uint32_t bucket = pqe__bucket_of(changes[i].entry.tag);
        for (n = 1; i + n < count && pqe__bucket_of(changes[i + n].entry.tag) == bucket; n++)
            ;
        status = change_bucket(&p, bucket, changes + i, n, err);
    }
    return status == PQE_OK ? path_close(&p, 0, err) : status;
}

pqe_status
pqe__tree_set(pqe__store *store, uint8_t root[PQE__DIGEST_SIZE], const pqe__entry *entry, pqe_error *err)
{
    pqe__tree_change change = {.entry = *entry};

    return pqe__tree_apply(store, root, &change, 1, err);
}

pqe_status
pqe__tree_remove(pqe__store *store, uint8_t root[PQE__DIGEST_SIZE], const uint8_t tag[PQE__TAG_KEY_SIZE],
                 pqe_error *err)
{
    pqe__tree_change change = {.remove = true};

    memcpy(change.entry.tag, tag, sizeof change.entry.tag);
    return pqe__tree_apply(store, root, &change, 1, err);
}

pqe_status
pqe__tree_clear(pqe__store *store, uint8_t root[PQE__DIGEST_SIZE], pqe_error *err)
{
    const pqe__stmt clears[] = {STMT_ENTRY_CLEAR, STMT_NODE_CLEAR};
    pqe_status status = PQE_OK;

    for (size_t i = 0; i < 2 && status == PQE_OK; i++) {
        sqlite3_stmt *stmt = pqe__db_stmt(store, clears[i], &status, err);
        if (stmt != NULL)
            status = pqe__db_run(store, stmt, "cannot write to the index", err);
    }
    return status == PQE_OK ? pqe__tree_empty(root, err) : status;
}
