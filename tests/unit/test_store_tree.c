/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The authenticated tree against a naive model: an array of entries, and a root computed from all of them at once as
 * docs/format.md describes it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"
#include "store/internal.h"
#include "unit/support.h"

#define MODEL_MAX 6000u
#define TAG PQE__TAG_KEY_SIZE
#define DIGEST PQE__DIGEST_SIZE

typedef struct model {
    pqe__entry entries[MODEL_MAX]; /* in tag order */
    size_t count;
} model;

static model the_model;
static uint64_t seed;

/* SplitMix64 (public domain, S. Vigna). */
static uint32_t
next(void)
{
    uint64_t z = (seed += 0x9e3779b97f4a7c15u);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)(z ^ z >> 31);
}

static uint32_t
below(uint32_t n)
{
    return next() % n;
}

/* ---- the model ---- */

/* Where `tag` is, or would be. */
static size_t
model_place(const model *m, const uint8_t tag[TAG], bool *found)
{
    size_t i = 0;

    while (i < m->count && memcmp(m->entries[i].tag, tag, TAG) < 0)
        i++;
    *found = i < m->count && memcmp(m->entries[i].tag, tag, TAG) == 0;
    return i;
}

static void
model_set(model *m, const pqe__entry *entry)
{
    bool found;
    size_t i = model_place(m, entry->tag, &found);

    if (!found) {
        assert_true(m->count < MODEL_MAX);
        memmove(&m->entries[i + 1], &m->entries[i], (m->count - i) * sizeof m->entries[0]);
        m->count++;
    }
    m->entries[i] = *entry;
}

static void
model_remove(model *m, const uint8_t tag[TAG])
{
    bool found;
    size_t i = model_place(m, tag, &found);

    assert_true(found);
    m->count--;
    memmove(&m->entries[i], &m->entries[i + 1], (m->count - i) * sizeof m->entries[0]);
}

static void
sha256(const uint8_t *data, size_t len, uint8_t out[DIGEST])
{
    assert_pqe_ok(pqe__hash_once(PQE__SHA256, data, len, out, err));
}

static uint32_t
prefix_bits(const uint8_t tag[TAG], unsigned bits)
{
    uint32_t first = (uint32_t)tag[0] << 24 | (uint32_t)tag[1] << 16 | (uint32_t)tag[2] << 8 | tag[3];

    return bits == 0 ? 0 : first >> (32 - bits);
}

/* The digest of what lies under entries [from, to), which share their first 6 * level bits. */
static void
model_digest(const model *m, size_t from, size_t to, unsigned level, uint8_t out[DIGEST])
{
    uint8_t *bytes = malloc(2 + 8 + 64 * DIGEST + (to - from) * (1 + TAG + DIGEST)), *p = bytes;
    uint64_t present = 0;

    assert_non_null(bytes);
    if (level == 3) {
        *p++ = 0x00;
        for (size_t i = from; i < to; i++) {
            *p++ = (uint8_t)m->entries[i].kind;
            memcpy(p, m->entries[i].tag, TAG);
            memcpy(p + TAG, m->entries[i].digest, DIGEST);
            p += TAG + DIGEST;
        }
    } else {
        *p++ = 0x01;
        *p++ = (uint8_t)level;
        p += 8;
        for (size_t i = from, end; i < to; i = end) {
            uint32_t prefix = prefix_bits(m->entries[i].tag, 6 * (level + 1));
            for (end = i; end < to && prefix_bits(m->entries[end].tag, 6 * (level + 1)) == prefix;)
                end++;
            present |= (uint64_t)1 << (prefix % 64);
            model_digest(m, i, end, level + 1, p);
            p += DIGEST;
        }
        for (int i = 0; i < 8; i++)
            bytes[2 + i] = (uint8_t)(present >> (56 - 8 * i));
    }
    sha256(bytes, (size_t)(p - bytes), out);
    free(bytes);
}

static void
assert_same_root(const model *m, const uint8_t root[DIGEST])
{
    uint8_t expected[DIGEST];

    model_digest(m, 0, m->count, 0, expected);
    assert_memory_equal(root, expected, DIGEST);
}

/* ---- tags and entries ---- */

/* Tags that crowd: the first and the last bucket, a few chosen ones, neighbours under one node, and anywhere. */
static void
make_tag(uint8_t tag[TAG])
{
    static const uint8_t chosen[][3] = {{0x12, 0x34, 0x40}, {0x12, 0x34, 0x80}, {0x7f, 0xff, 0xc0}, {0x80, 0, 0}};

    for (size_t i = 0; i < TAG; i++)
        tag[i] = (uint8_t)next();
    switch (below(8)) {
    case 0:
        memset(tag, 0, 2);
        tag[2] &= 0x3f;
        break;
    case 1:
        memset(tag, 0xff, 2);
        tag[2] |= 0xc0;
        break;
    case 2:
    case 3: {
        const uint8_t *c = chosen[below(4)];
        tag[0] = c[0];
        tag[1] = c[1];
        tag[2] = (uint8_t)(c[2] | (tag[2] & 0x3f));
        break;
    }
    case 4: /* one second-level node */
        tag[0] = 0xab;
        tag[1] = (uint8_t)(0xc0 | (tag[1] & 0x0f));
        break;
    default:
        break;
    }
    if (below(16) == 0) /* the edge of a bucket */
        memset(tag + 3, below(2) ? 0xff : 0, TAG - 3);
}

static pqe__entry
make_entry(void)
{
    pqe__entry e = {.kind = (pqe__entry_kind)(1 + below(3)), .rowid = (int64_t)next() - 1000};

    make_tag(e.tag);
    for (size_t i = 0; i < DIGEST; i++)
        e.digest[i] = (uint8_t)next();
    return e;
}

static void
assert_same_entry(const pqe__entry *a, const pqe__entry *b)
{
    assert_memory_equal(a->tag, b->tag, TAG);
    assert_memory_equal(a->digest, b->digest, DIGEST);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->rowid, b->rowid);
}

/* ---- the store ---- */

static pqe__store *
open_store(uint8_t root[DIGEST])
{
    pqe__store *store = NULL;

    assert_pqe_ok(pqe__store_create(NULL, 1000, &store, err));
    assert_pqe_ok(pqe__store_begin(store, true, err));
    assert_pqe_ok(pqe__tree_empty(root, err));
    the_model.count = 0;
    return store;
}

static void
close_store(pqe__store **store)
{
    pqe__store_rollback(*store);
    pqe__store_close(store);
}

typedef struct walker {
    const model *m;
    size_t seen, stop_at;
} walker;

static pqe_status
walk_one(void *user, const pqe__entry *entry, pqe_error *err)
{
    walker *w = user;

    if (w->seen == w->stop_at)
        return pqe__fail(err, PQE_E_CANCELLED, PQE_ORIGIN_API, 0, "enough");
    assert_true(w->seen < w->m->count);
    assert_same_entry(entry, &w->m->entries[w->seen++]);
    return PQE_OK;
}

static void
assert_same_tree(pqe__store *store, const uint8_t root[DIGEST])
{
    walker w = {.m = &the_model, .stop_at = SIZE_MAX};

    assert_same_root(&the_model, root);
    assert_pqe_ok(pqe__tree_walk(store, root, walk_one, &w, err));
    assert_int_equal(w.seen, the_model.count);
    assert_pqe_ok(pqe__tree_walk(store, root, NULL, NULL, err));
    assert_pqe_ok(pqe__tree_check_nodes(store, root, err));
}

static void
assert_lookup(pqe__store *store, const uint8_t root[DIGEST], const uint8_t tag[TAG])
{
    bool found = true, expected;
    size_t i = model_place(&the_model, tag, &expected);
    pqe__entry entry;

    assert_pqe_ok(pqe__tree_lookup(store, root, tag, &found, &entry, err));
    assert_int_equal(found, expected);
    if (found)
        assert_same_entry(&entry, &the_model.entries[i]);
}

/* ---- tests ---- */

static void
step(pqe__store *store, uint8_t root[DIGEST], bool growing)
{
    pqe__entry e = make_entry();
    uint32_t what = below(10);
    bool found;

    if (the_model.count > 0 && below(4) == 0)
        memcpy(e.tag, the_model.entries[below((uint32_t)the_model.count)].tag, TAG);
    model_place(&the_model, e.tag, &found);
    if (what < (growing ? 7u : 3u)) {
        assert_pqe_ok(pqe__tree_set(store, root, &e, err));
        model_set(&the_model, &e);
    } else if (what < 8) {
        if (!found && the_model.count > 0) {
            memcpy(e.tag, the_model.entries[below((uint32_t)the_model.count)].tag, TAG);
            found = true;
        }
        if (found) {
            assert_pqe_ok(pqe__tree_remove(store, root, e.tag, err));
            model_remove(&the_model, e.tag);
        }
    } else if (!found) { /* removing what is not there is damage, and changes nothing */
        uint8_t before[DIGEST];
        memcpy(before, root, DIGEST);
        assert_int_equal(pqe__tree_remove(store, root, e.tag, NULL), PQE_E_TAMPERED);
        assert_memory_equal(root, before, DIGEST);
    }
    assert_lookup(store, root, e.tag);
    e.tag[TAG - 1] ^= 1; /* a neighbour */
    assert_lookup(store, root, e.tag);
    make_tag(e.tag);
    assert_lookup(store, root, e.tag);
}

static void
test_against_the_model(void **state)
{
    const char *beds = getenv("PQE_BEDS");
    unsigned rounds = beds != NULL && strcmp(beds, "1") == 0 ? 60 : 4, steps = 1000;
    uint8_t root[DIGEST];

    (void)state;
    for (unsigned round = 0; round < rounds; round++) {
        pqe__store *store = open_store(root);
        size_t most = 0;
        seed = round + 1;
        assert_same_tree(store, root);
        for (unsigned i = 0; i < steps; i++) {
            step(store, root, i < steps / 2 || round % 2 == 0);
            most = the_model.count > most ? the_model.count : most;
            if (i % 100 == 0)
                assert_same_tree(store, root);
            if (i % 250 == 0) {
                assert_pqe_ok(pqe__store_commit(store, err));
                assert_pqe_ok(pqe__store_begin(store, true, err));
            }
        }
        assert_same_tree(store, root);
        assert_true(most > 100);
        close_store(&store);
    }
}

static uint64_t
count_nodes(pqe__store *store)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_NODE_COUNT, &status, NULL);
    uint64_t n;

    assert_non_null(stmt);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    n = (uint64_t)sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    return n;
}

/* Emptied one by one the tree leaves nothing behind; its root never depends on the order of changes. */
static void
test_order_does_not_matter(void **state)
{
    uint8_t root[DIGEST], empty[DIGEST], middle[DIGEST];
    static pqe__entry all[300];
    pqe__store *store = open_store(root);

    (void)state;
    seed = 7;
    assert_pqe_ok(pqe__tree_empty(empty, err));
    assert_memory_equal(root, empty, DIGEST);
    for (size_t i = 0; i < 300; i++) {
        all[i] = make_entry();
        all[i].tag[30] = (uint8_t)(i >> 8); /* no two alike */
        all[i].tag[31] = (uint8_t)i;
    }
    for (size_t i = 0; i < 300; i++)
        assert_pqe_ok(pqe__tree_set(store, root, &all[i], err));
    memcpy(middle, root, DIGEST);
    for (size_t i = 0; i < 300; i++)
        assert_pqe_ok(pqe__tree_remove(store, root, all[(i * 7) % 300].tag, err));
    assert_memory_equal(root, empty, DIGEST);
    assert_int_equal(count_nodes(store), 0);
    for (size_t i = 300; i-- > 0;) {
        pqe__entry other = all[i]; /* first with another digest, then replaced */
        other.digest[0] ^= 0xff;
        assert_pqe_ok(pqe__tree_set(store, root, &other, err));
        assert_pqe_ok(pqe__tree_set(store, root, &all[i], err));
    }
    assert_memory_equal(root, middle, DIGEST);
    assert_pqe_ok(pqe__tree_clear(store, root, err));
    assert_memory_equal(root, empty, DIGEST);
    assert_int_equal(count_nodes(store), 0);
    assert_same_tree(store, root);
    close_store(&store);
}

/* The root covers kind, tag and digest of every entry, not the row id, which is a hint. */
static void
test_what_the_root_covers(void **state)
{
    uint8_t root[DIGEST], before[DIGEST];
    pqe__store *store = open_store(root);
    pqe__entry e, changed;

    (void)state;
    seed = 11;
    e = make_entry();
    e.kind = PQE__ENTRY_NAME;
    assert_pqe_ok(pqe__tree_set(store, root, &e, err));
    memcpy(before, root, DIGEST);
    changed = e;
    changed.rowid++;
    assert_pqe_ok(pqe__tree_set(store, root, &changed, err));
    assert_memory_equal(root, before, DIGEST);
    changed.kind = PQE__ENTRY_ID;
    assert_pqe_ok(pqe__tree_set(store, root, &changed, err));
    assert_memory_not_equal(root, before, DIGEST);
    changed = e;
    changed.digest[31] ^= 1;
    assert_pqe_ok(pqe__tree_set(store, root, &changed, err));
    assert_memory_not_equal(root, before, DIGEST);
    assert_pqe_ok(pqe__tree_remove(store, root, e.tag, err));
    changed = e;
    changed.tag[31] ^= 1; /* the same bucket */
    assert_pqe_ok(pqe__tree_set(store, root, &changed, err));
    assert_memory_not_equal(root, before, DIGEST);
    close_store(&store);
}

/* Against another root nothing is answered and nothing changes. */
static void
test_wrong_root(void **state)
{
    uint8_t root[DIGEST], wrong[DIGEST], copy[DIGEST];
    pqe__store *store = open_store(root);
    bool found;
    pqe__entry e, out;
    walker w = {.m = &the_model, .stop_at = SIZE_MAX};

    (void)state;
    seed = 13;
    for (int i = 0; i < 100; i++) {
        e = make_entry();
        assert_pqe_ok(pqe__tree_set(store, root, &e, err));
        model_set(&the_model, &e);
    }
    for (size_t bit = 0; bit < 8 * DIGEST; bit += 31) {
        memcpy(wrong, root, DIGEST);
        wrong[bit / 8] ^= (uint8_t)(1u << bit % 8);
        memcpy(copy, wrong, DIGEST);
        w.seen = 0;
        found = true;
        assert_int_equal(pqe__tree_lookup(store, wrong, e.tag, &found, &out, NULL), PQE_E_TAMPERED);
        assert_false(found);
        assert_int_equal(pqe__tree_set(store, wrong, &e, NULL), PQE_E_TAMPERED);
        assert_int_equal(pqe__tree_remove(store, wrong, e.tag, NULL), PQE_E_TAMPERED);
        assert_int_equal(pqe__tree_walk(store, wrong, walk_one, &w, NULL), PQE_E_TAMPERED);
        assert_int_equal(pqe__tree_check_nodes(store, wrong, NULL), PQE_E_TAMPERED);
        assert_memory_equal(wrong, copy, DIGEST);
    }
    assert_same_tree(store, root);
    w = (walker){.m = &the_model, .stop_at = 50};
    assert_int_equal(pqe__tree_walk(store, root, walk_one, &w, NULL), PQE_E_CANCELLED);
    assert_int_equal(w.seen, 50);
    close_store(&store);
}

static void
run_sql(pqe__store *store, const char *statement)
{
    assert_int_equal(sqlite3_exec(store->db, statement, NULL, NULL, NULL), SQLITE_OK);
}

/* Damage of every stored part is seen by the lookups that need the part, by walk or by check_nodes. */
static void
test_damage(void **state)
{
    static const struct {
        const char *statement;
        bool walk; /* seen by walk; otherwise by check_nodes alone */
    } cases[] = {
        {"DELETE FROM entry WHERE tag = (SELECT tag FROM entry LIMIT 1 OFFSET 40)", true},
        {"DELETE FROM entry WHERE tag = (SELECT max(tag) FROM entry)", true},
        {"UPDATE entry SET kind = kind % 3 + 1 WHERE tag = (SELECT min(tag) FROM entry)", true},
        {"UPDATE entry SET digest = zeroblob(32) WHERE tag = (SELECT min(tag) FROM entry)", true},
        {"UPDATE entry SET digest = zeroblob(31) WHERE tag = (SELECT min(tag) FROM entry)", true},
        {"UPDATE entry SET kind = 4", true},
        {"UPDATE entry SET kind = 0", true},
        {"UPDATE entry SET kind = kind + 256", true}, /* the digest takes one byte of it */
        {"INSERT INTO entry VALUES(x'00000000000000000000000000000000000000000000000000000000000000aa', 1, "
         "zeroblob(32), 1)",
         true},
        {"INSERT INTO entry VALUES(zeroblob(31), 1, zeroblob(32), 1)", true},
        {"INSERT INTO entry VALUES(x'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff', 1, "
         "zeroblob(32), 1)",
         true},
        {"INSERT INTO entry VALUES('text', 1, zeroblob(32), 1)", true},
        {"UPDATE node SET bytes = zeroblob(length(bytes)) WHERE id = 0", false},
        {"DELETE FROM node WHERE id = (SELECT max(id) FROM node)", false},
        {"UPDATE node SET bytes = CAST(bytes || x'00' AS BLOB) WHERE id = (SELECT max(id) FROM node)", false},
        {"INSERT INTO node VALUES(4161, zeroblob(8))", false},
        {"INSERT INTO node VALUES(-1, zeroblob(8))", false},
        {"UPDATE node SET bytes = zeroblob(5000) WHERE id = 0", false},
    };
    uint8_t root[DIGEST];
    pqe__store *store = open_store(root);

    (void)state;
    seed = 17;
    for (int i = 0; i < 100; i++) {
        pqe__entry e = make_entry();
        assert_pqe_ok(pqe__tree_set(store, root, &e, err));
        model_set(&the_model, &e);
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        run_sql(store, "SAVEPOINT damage");
        run_sql(store, cases[i].statement);
        assert_int_equal(pqe__tree_walk(store, root, NULL, NULL, NULL), cases[i].walk ? PQE_E_TAMPERED : PQE_OK);
        assert_int_equal(pqe__tree_check_nodes(store, root, NULL), PQE_E_TAMPERED);
        for (size_t k = 0; k < the_model.count; k++) {
            bool found = false;
            pqe__entry out;
            pqe_status status = pqe__tree_lookup(store, root, the_model.entries[k].tag, &found, &out, NULL);
            assert_true(status == PQE_OK || status == PQE_E_TAMPERED);
            if (status != PQE_OK)
                continue;
            assert_true(found);
            assert_same_entry(&out, &the_model.entries[k]);
        }
        run_sql(store, "ROLLBACK TO damage; RELEASE damage");
    }
    assert_same_tree(store, root);
    close_store(&store);
}

/* Nodes that are not as we write them, though the root vouches for their bytes: a second line of defence. */
static void
test_malformed_nodes(void **state)
{
    static const size_t lengths[] = {0, 1, 7, 9, 39, 41, 8 + 64 * DIGEST + 1};
    static uint8_t bytes[8 + 65 * DIGEST];
    uint8_t root[DIGEST], tag[TAG] = {0}, digest_input[2 + sizeof bytes] = {0x01, 0};
    pqe__store *store = open_store(root);

    (void)state;
    bytes[7] = 1; /* one child, the first: 40 bytes are right */
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        pqe_status status;
        bool found = true;
        pqe__entry out;
        sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_NODE_PUT, &status, NULL);
        assert_non_null(stmt);
        sqlite3_bind_int64(stmt, 1, 0);
        sqlite3_bind_blob(stmt, 2, bytes, (int)lengths[i], SQLITE_STATIC);
        assert_pqe_ok(pqe__db_run(store, stmt, "test", err));
        memcpy(digest_input + 2, bytes, lengths[i]);
        sha256(digest_input, 2 + lengths[i], root);
        tag[0] = 0xff; /* under a child that the map does not show */
        assert_int_equal(pqe__tree_lookup(store, root, tag, &found, &out, NULL), PQE_E_TAMPERED);
        assert_false(found);
    }
    close_store(&store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_the_model),
        cmocka_unit_test(test_order_does_not_matter),
        cmocka_unit_test(test_what_the_root_covers),
        cmocka_unit_test(test_wrong_root),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_malformed_nodes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
