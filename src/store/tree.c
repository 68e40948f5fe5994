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
#include "store/internal.h"

#include <string.h>

#include "crypto/crypto.h"

#define FANOUT 64u
#define LEVELS 3u
#define BUCKET_BITS 18u
#define BUCKETS (1u << BUCKET_BITS)
#define NODE_MAX (8u + FANOUT * PQE__DIGEST_SIZE)
#define ENTRY_SIZE (1u + PQE__TAG_KEY_SIZE + PQE__DIGEST_SIZE)

enum { DIGEST_BUCKET = 0x00, DIGEST_NODE = 0x01 };

typedef struct node {
    uint64_t present;
    uint8_t child[FANOUT][PQE__DIGEST_SIZE];
} node;

static uint32_t
bucket_of(const uint8_t *tag)
{
    return (uint32_t)tag[0] << 10 | (uint32_t)tag[1] << 2 | (uint32_t)tag[2] >> 6;
}

/* Level 0 is the root; a bucket is the child of a level 2 node. */
static uint32_t
slot_of(uint32_t bucket, uint32_t level)
{
    return bucket >> (6 * (LEVELS - 1 - level)) & (FANOUT - 1);
}

static int64_t
node_id(uint32_t bucket, uint32_t level)
{
    static const uint32_t first[LEVELS] = {0, 1, 1 + FANOUT};

    return (int64_t)first[level] + (int64_t)(bucket >> (6 * (LEVELS - level)));
}

static size_t
node_encode(const node *n, uint8_t out[NODE_MAX])
{
    pqe__wcur c = pqe__wcur_init(out, NODE_MAX);

    pqe__put_u64(&c, n->present);
    for (uint32_t i = 0; i < FANOUT; i++)
        if (n->present >> i & 1)
            pqe__put_bytes(&c, n->child[i], PQE__DIGEST_SIZE);
    return c.pos;
}

static bool
node_decode(const uint8_t *bytes, size_t len, node *out)
{
    pqe__rcur c = pqe__rcur_init(bytes, len);

    memset(out, 0, sizeof *out);
    out->present = pqe__get_u64(&c);
    for (uint32_t i = 0; i < FANOUT; i++)
        if (out->present >> i & 1)
            pqe__get_copy(&c, out->child[i], PQE__DIGEST_SIZE);
    return pqe__rcur_done(&c);
}

static pqe_status
node_digest(uint32_t level, const uint8_t *bytes, size_t len, uint8_t out[PQE__DIGEST_SIZE], pqe_error *err)
{
    uint8_t buf[2 + NODE_MAX];

    buf[0] = DIGEST_NODE;
    buf[1] = (uint8_t)level;
    memcpy(buf + 2, bytes, len);
    return pqe__hash_once(PQE__SHA256, buf, 2 + len, out, err);
}

static void
node_set(node *n, uint32_t slot, const uint8_t *digest)
{
    if (digest != NULL) {
        n->present |= (uint64_t)1 << slot;
        memcpy(n->child[slot], digest, PQE__DIGEST_SIZE);
    } else {
        n->present &= ~((uint64_t)1 << slot);
    }
}

/* An absent node reads as an empty one: 8 zero bytes. */
static pqe_status
node_read(pqe__store *store, int64_t id, uint8_t out[NODE_MAX], size_t *len, pqe_error *err)
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
        if (*len > NODE_MAX || !pqe__db_blob(stmt, 0, out, *len))
            status = pqe__db_damaged(err, "a tree node is malformed");
    } else if (rc != SQLITE_DONE) {
        status = pqe__db_fail(store, rc, "cannot read the index", err);
    }
    sqlite3_reset(stmt);
    return status;
}

static pqe_status
node_write(pqe__store *store, int64_t id, const node *n, uint32_t level, uint8_t digest[PQE__DIGEST_SIZE],
           pqe_error *err)
{
    uint8_t bytes[NODE_MAX];
    size_t len = node_encode(n, bytes);
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, n->present != 0 ? STMT_NODE_PUT : STMT_NODE_DELETE, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_int64(stmt, 1, id);
    if (n->present != 0)
        sqlite3_bind_blob(stmt, 2, bytes, (int)len, SQLITE_STATIC);
    status = pqe__db_run(store, stmt, "cannot write to the index", err);
    return status == PQE_OK ? node_digest(level, bytes, len, digest, err) : status;
}

/* ---- buckets ---- */

static pqe_status
bucket_start(pqe__hash **hash, pqe_error *err)
{
    static const uint8_t first = DIGEST_BUCKET;
    pqe_status status = *hash == NULL ? pqe__hash_new(PQE__SHA256, hash, err) : PQE_OK;

    return status == PQE_OK ? pqe__hash_update(*hash, &first, 1, err) : status;
}

static pqe_status
bucket_add(pqe__hash *hash, const pqe__entry *entry, pqe_error *err)
{
    uint8_t bytes[ENTRY_SIZE];
    pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes);

    pqe__put_u8(&c, (uint8_t)entry->kind);
    pqe__put_bytes(&c, entry->tag, sizeof entry->tag);
    pqe__put_bytes(&c, entry->digest, sizeof entry->digest);
    return pqe__hash_update(hash, bytes, c.pos, err);
}

static pqe_status
entry_read(sqlite3_stmt *stmt, pqe__entry *out, pqe_error *err)
{
    int64_t kind = sqlite3_column_int64(stmt, 1);

    if (!pqe__db_blob(stmt, 0, out->tag, sizeof out->tag) || !pqe__db_blob(stmt, 2, out->digest, sizeof out->digest) ||
        kind < PQE__ENTRY_NAME || kind > PQE__ENTRY_IDENTITY_NAME)
        return pqe__db_damaged(err, "an entry is malformed");
    out->kind = (pqe__entry_kind)kind;
    out->rowid = sqlite3_column_int64(stmt, 3);
    return PQE_OK;
}

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
    pqe__put_u32(&low, bucket << (32 - BUCKET_BITS));
    if (bucket + 1 < BUCKETS)
        pqe__put_u32(&high, (bucket + 1) << (32 - BUCKET_BITS));
    else
        high.pos = sizeof bounds->high;
    sqlite3_bind_blob(stmt, 1, bounds->low, (int)low.pos, SQLITE_STATIC);
    sqlite3_bind_blob(stmt, 2, bounds->high, (int)high.pos, SQLITE_STATIC);
    return stmt;
}

/* ---- the path from root to bucket ---- */

typedef struct path {
    uint32_t bucket;
    node nodes[LEVELS];
    bool has_bucket;
    uint8_t bucket_digest[PQE__DIGEST_SIZE];
} path;

static pqe_status
path_read(pqe__store *store, const uint8_t root[PQE__DIGEST_SIZE], uint32_t bucket, path *p, pqe_error *err)
{
    const uint8_t *expected = root;
    uint8_t bytes[NODE_MAX], digest[PQE__DIGEST_SIZE];
    pqe_status status;
    size_t len;

    memset(p, 0, sizeof *p);
    p->bucket = bucket;
    for (uint32_t level = 0; level < LEVELS; level++) {
        uint32_t slot = slot_of(bucket, level);
        status = node_read(store, node_id(bucket, level), bytes, &len, err);
        if (status == PQE_OK)
            status = node_digest(level, bytes, len, digest, err);
        if (status != PQE_OK)
            return status;
        if (memcmp(digest, expected, sizeof digest) != 0 || !node_decode(bytes, len, &p->nodes[level]))
            return pqe__db_damaged(err, "it is not the one that the head vouches for");
        if ((p->nodes[level].present >> slot & 1) == 0)
            return PQE_OK; /* nothing below: the nodes stay empty, there is no bucket */
        expected = p->nodes[level].child[slot];
    }
    p->has_bucket = true;
    memcpy(p->bucket_digest, expected, sizeof p->bucket_digest);
    return PQE_OK;
}

/* Writes the three nodes back with another bucket digest, NULL for an empty bucket. */
static pqe_status
path_write(pqe__store *store, path *p, const uint8_t *bucket_digest, uint8_t root[PQE__DIGEST_SIZE], pqe_error *err)
{
    uint8_t digest[PQE__DIGEST_SIZE];
    const uint8_t *child = bucket_digest;
    pqe_status status;

    for (uint32_t level = LEVELS; level-- > 0;) {
        node *n = &p->nodes[level];
        node_set(n, slot_of(p->bucket, level), child);
        if ((status = node_write(store, node_id(p->bucket, level), n, level, digest, err)) != PQE_OK)
            return status;
        child = n->present != 0 ? digest : NULL;
    }
    memcpy(root, digest, sizeof digest);
    return PQE_OK;
}

/* Reads a bucket once: proves it against the path, finds `tag`, and hashes it as it would be with `change` in place of
   that tag's entry (NULL: without it). */
typedef struct bucket_scan {
    const uint8_t *tag;
    const pqe__entry *change;
    bool want_after;
    bool found;
    pqe__entry entry;
    bool empty_after;
    uint8_t digest_after[PQE__DIGEST_SIZE];
} bucket_scan;

typedef struct bucket_hashes {
    pqe__hash *before, *after;
    size_t count, count_after;
    bool changed;
} bucket_hashes;

static pqe_status
scan_entry(bucket_scan *scan, bucket_hashes *h, const pqe__entry *entry, pqe_error *err)
{
    int order = memcmp(entry->tag, scan->tag, sizeof entry->tag);
    pqe_status status = bucket_add(h->before, entry, err);

    h->count++;
    if (order == 0) {
        scan->found = true;
        scan->entry = *entry;
    }
    if (!scan->want_after)
        return status;
    if (status == PQE_OK && scan->change != NULL && !h->changed && order >= 0) {
        h->changed = true;
        h->count_after++;
        status = bucket_add(h->after, scan->change, err);
    }
    if (status == PQE_OK && order != 0) {
        h->count_after++;
        status = bucket_add(h->after, entry, err);
    }
    return status;
}

static pqe_status
scan_finish(const path *p, bucket_scan *scan, bucket_hashes *h, pqe_error *err)
{
    uint8_t digest[PQE__DIGEST_SIZE];
    pqe_status status = pqe__hash_final(h->before, digest, err);

    if (status != PQE_OK)
        return status;
    if (p->has_bucket != (h->count > 0) || (p->has_bucket && memcmp(digest, p->bucket_digest, sizeof digest) != 0))
        return pqe__db_damaged(err, "entries were altered, removed or put back");
    if (!scan->want_after)
        return PQE_OK;
    if (scan->change != NULL && !h->changed) {
        h->count_after++;
        status = bucket_add(h->after, scan->change, err);
    }
    scan->empty_after = h->count_after == 0;
    return status == PQE_OK ? pqe__hash_final(h->after, scan->digest_after, err) : status;
}

static pqe_status
bucket_read(pqe__store *store, const path *p, bucket_scan *scan, pqe_error *err)
{
    bucket_hashes h = {0};
    bucket_bounds bounds;
    pqe__entry entry;
    pqe_status status;
    sqlite3_stmt *stmt = bucket_query(store, p->bucket, &bounds, &status, err);
    int rc = SQLITE_DONE;

    if (stmt == NULL)
        return status;
    status = bucket_start(&h.before, err);
    if (status == PQE_OK && scan->want_after)
        status = bucket_start(&h.after, err);
    while (status == PQE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        status = entry_read(stmt, &entry, err);
        if (status == PQE_OK)
            status = scan_entry(scan, &h, &entry, err);
    }
    if (status == PQE_OK && rc != SQLITE_DONE)
        status = pqe__db_fail(store, rc, "cannot read the index", err);
    if (status == PQE_OK)
        status = scan_finish(p, scan, &h, err);
    sqlite3_reset(stmt);
    pqe__hash_free(&h.before);
    pqe__hash_free(&h.after);
    return status;
}

/* ---- lookups and changes ---- */

pqe_status
pqe__tree_empty(uint8_t root[PQE__DIGEST_SIZE], pqe_error *err)
{
    static const uint8_t none[8];

    return node_digest(0, none, sizeof none, root, err);
}

pqe_status
pqe__tree_lookup(pqe__store *store, const uint8_t root[PQE__DIGEST_SIZE], const uint8_t tag[PQE__TAG_KEY_SIZE],
                 bool *found, pqe__entry *out, pqe_error *err)
{
    bucket_scan scan = {.tag = tag};
    path p;
    pqe_status status = path_read(store, root, bucket_of(tag), &p, err);

    *found = false;
    if (status == PQE_OK)
        status = bucket_read(store, &p, &scan, err);
    if (status == PQE_OK && scan.found) {
        *found = true;
        *out = scan.entry;
    }
    return status;
}

static pqe_status
tree_change(pqe__store *store, uint8_t root[PQE__DIGEST_SIZE], const uint8_t *tag, const pqe__entry *change,
            pqe_error *err)
{
    bucket_scan scan = {.tag = tag, .change = change, .want_after = true};
    sqlite3_stmt *stmt;
    path p;
    pqe_status status = path_read(store, root, bucket_of(tag), &p, err);

    if (status == PQE_OK)
        status = bucket_read(store, &p, &scan, err);
    if (status != PQE_OK)
        return status;
    if (change == NULL && !scan.found)
        return pqe__db_damaged(err, "an entry to be removed is not there");
    stmt = pqe__db_stmt(store, change != NULL ? STMT_ENTRY_PUT : STMT_ENTRY_DELETE, &status, err);
    if (stmt == NULL)
        return status;
    sqlite3_bind_blob(stmt, 1, tag, PQE__TAG_KEY_SIZE, SQLITE_STATIC);
    if (change != NULL) {
        sqlite3_bind_int(stmt, 2, (int)change->kind);
        sqlite3_bind_blob(stmt, 3, change->digest, PQE__DIGEST_SIZE, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 4, change->rowid);
    }
    status = pqe__db_run(store, stmt, "cannot write to the index", err);
    if (status == PQE_OK)
        status = path_write(store, &p, scan.empty_after ? NULL : scan.digest_after, root, err);
    return status;
}

pqe_status
pqe__tree_set(pqe__store *store, uint8_t root[PQE__DIGEST_SIZE], const pqe__entry *entry, pqe_error *err)
{
    return tree_change(store, root, entry->tag, entry, err);
}

pqe_status
pqe__tree_remove(pqe__store *store, uint8_t root[PQE__DIGEST_SIZE], const uint8_t tag[PQE__TAG_KEY_SIZE],
                 pqe_error *err)
{
    return tree_change(store, root, tag, NULL, err);
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

/* ---- the whole tree ---- */

/* Builds the tree bottom-up from entries in tag order; memory is one node a level. */
typedef struct builder {
    pqe__store *store;
    bool check_nodes;
    pqe__hash *bucket_hash;
    uint32_t bucket;
    bool open;
    node nodes[LEVELS];
    uint64_t nodes_seen;
} builder;

static pqe_status
builder_close_node(builder *b, uint32_t level, uint8_t digest[PQE__DIGEST_SIZE], pqe_error *err)
{
    uint8_t bytes[NODE_MAX], stored[NODE_MAX];
    size_t len = node_encode(&b->nodes[level], bytes), stored_len;
    pqe_status status = PQE_OK;

    if (b->check_nodes && b->nodes[level].present != 0) {
        b->nodes_seen++;
        status = node_read(b->store, node_id(b->bucket, level), stored, &stored_len, err);
        if (status == PQE_OK && (stored_len != len || memcmp(stored, bytes, len) != 0))
            status = pqe__db_damaged(err, "a tree node does not match the entries below it");
    }
    memset(&b->nodes[level], 0, sizeof b->nodes[level]);
    return status == PQE_OK ? node_digest(level, bytes, len, digest, err) : status;
}

/* Closes the open bucket and every node that `next` (BUCKETS: none) is not under. */
static pqe_status
builder_close(builder *b, uint32_t next, uint8_t root[PQE__DIGEST_SIZE], pqe_error *err)
{
    uint8_t digest[PQE__DIGEST_SIZE];
    pqe_status status = PQE_OK;

    if (b->open) {
        status = pqe__hash_final(b->bucket_hash, digest, err);
        if (status == PQE_OK)
            node_set(&b->nodes[LEVELS - 1], slot_of(b->bucket, LEVELS - 1), digest);
        for (uint32_t level = LEVELS - 1; level > 0 && status == PQE_OK; level--) {
            uint32_t shift = 6 * (LEVELS - level);
            if (b->bucket >> shift == next >> shift)
                break;
            status = builder_close_node(b, level, digest, err);
            node_set(&b->nodes[level - 1], slot_of(b->bucket, level - 1), digest);
        }
    }
    if (status == PQE_OK && next == BUCKETS)
        status = builder_close_node(b, 0, root, err);
    return status;
}

static pqe_status
builder_add(builder *b, const pqe__entry *entry, pqe_error *err)
{
    uint32_t bucket = bucket_of(entry->tag);
    pqe_status status = PQE_OK;

    if (!b->open || bucket != b->bucket) {
        status = builder_close(b, bucket, NULL, err);
        b->open = true;
        b->bucket = bucket;
        if (status == PQE_OK)
            status = bucket_start(&b->bucket_hash, err);
    }
    return status == PQE_OK ? bucket_add(b->bucket_hash, entry, err) : status;
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
        status = entry_read(stmt, &entry, err);
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
        status = builder_close(b, BUCKETS, root, err);
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
