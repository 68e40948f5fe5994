/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Older parts put back beside newer ones, artifacts removed so that only the head contradicts, and damage done under
 * a running session. What needs a counter in the backend to be noticed is here too, as it is: not noticed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store.h"
#include "unit/test_tamper_support.h"

static bed the_bed;

static long long
row(int item)
{
    return (long long)the_bed.items[item].rowid;
}

/* SQL on a fresh copy, with the older vault's index attached as "o". */
#define with_older(...) (bed_restore_index(&the_bed), attach_and_run(__VA_ARGS__))

__attribute__((format(printf, 1, 2))) static void
attach_and_run(const char *format, ...)
{
    char *statement = NULL;
    va_list args;

    va_start(args, format);
    assert_true(vasprintf(&statement, format, args) >= 0);
    va_end(args);
    bed_sql(&the_bed, "ATTACH '%s/index.db' AS o; %s", the_bed.older, statement);
    free(statement);
}

static void
expect_all(const probe_result *r, pqe_status status)
{
    for (int i = 0; i < ITEMS; i++) {
        if (!bed_has(&the_bed, i))
            continue;
        assert_int_equal(r->get[i], status);
        assert_int_equal(r->by_name[i], status);
    }
    assert_int_equal(r->list, status);
    assert_int_equal(r->verify, status);
}

/* ---- older rows ---- */

#define OLD_ROW "SELECT key_id, dek, file, record, body FROM o.artifact WHERE id = "

static void
test_older_row(void **state)
{
    probe_result r;

    (void)state;
    /* The replaced version's row in the place of the new one's. */
    with_older("UPDATE main.artifact SET (key_id, dek, file, record, body) = (" OLD_ROW "%lld) WHERE id = %lld",
               row(ITEM_OLD), row(ITEM_NEW));
    r = bed_ask(&the_bed, PROBE_VERIFY);
    assert_int_equal(r.get[ITEM_NEW], PQE_E_TAMPERED);
    assert_int_equal(r.by_name[ITEM_NEW], PQE_E_TAMPERED);
    assert_int_equal(r.verify, PQE_E_TAMPERED);
    /* The deleted artifact's row put back alone leads nowhere; verify counts it. */
    with_older("INSERT OR REPLACE INTO main.artifact SELECT id + 1000, key_id, dek, file, record, body FROM o.artifact "
               "WHERE id = %lld",
               row(ITEM_GONE));
    r = bed_ask(&the_bed, PROBE_VERIFY);
    assert_int_equal(r.list, PQE_OK);
    assert_int_equal(r.verify, PQE_E_TAMPERED);
}

static void
test_older_row_with_entries(void **state)
{
    static const int items[] = {ITEM_GONE, ITEM_OLD, ITEM_OLD_FILE};
    static const char *const also[] = {
        "", "INSERT OR REPLACE INTO main.node SELECT * FROM o.node",
        "DELETE FROM main.node; INSERT INTO main.node SELECT * FROM o.node; DELETE FROM main.entry; INSERT INTO "
        "main.entry SELECT * FROM o.entry"};

    (void)state;
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        for (size_t k = 0; k < sizeof also / sizeof also[0]; k++) {
            probe_result r;
            with_older("INSERT OR REPLACE INTO main.artifact SELECT * FROM o.artifact WHERE id = %lld;"
                       "INSERT OR REPLACE INTO main.entry SELECT * FROM o.entry WHERE target = %lld AND kind < 3; %s",
                       row(items[i]), row(items[i]), also[k]);
            r = bed_ask(&the_bed, PROBE_VERIFY); /* which insists that the old item is not found */
            assert_int_equal(r.list, PQE_E_TAMPERED);
            assert_int_equal(r.verify, PQE_E_TAMPERED);
            if (items[i] == ITEM_OLD)
                assert_int_equal(r.by_name[ITEM_NEW], PQE_E_TAMPERED);
        }
    }
}

#define REPLACE_TABLE(t) "DELETE FROM main." t "; INSERT INTO main." t " SELECT * FROM o." t ";"

static void
test_older_tables(void **state)
{
    static const char *const tables[] = {REPLACE_TABLE("artifact"), REPLACE_TABLE("secret"), REPLACE_TABLE("entry"),
                                         REPLACE_TABLE("node"), REPLACE_TABLE("head")};
    enum { HEAD = 16, ALL = 31 };
    probe_result r;

    (void)state;
    /* Every mixture of older and newer tables; all of them is another test. */
    for (unsigned mask = 1; mask < ALL; mask++) {
        bed_restore_index(&the_bed);
        for (unsigned i = 0; i < 5; i++)
            if (mask >> i & 1)
                attach_and_run("%s", tables[i]);
        r = bed_ask(&the_bed, PROBE_VERIFY | (mask & HEAD ? PROBE_ANY_STATE : 0));
        assert_true(r.noticed);
        assert_int_equal(r.verify, PQE_E_TAMPERED);
    }
    with_older(REPLACE_TABLE("artifact") REPLACE_TABLE("secret") REPLACE_TABLE("entry") REPLACE_TABLE("node"));
    r = bed_ask(&the_bed, PROBE_VERIFY);
    expect_all(&r, PQE_E_TAMPERED);
    with_older(REPLACE_TABLE("head"));
    r = bed_ask(&the_bed, PROBE_VERIFY | PROBE_ANY_STATE);
    assert_int_equal(r.get[ITEM_TWIN_A], PQE_E_TAMPERED);
    assert_int_equal(r.list, PQE_E_TAMPERED);
}

/* The whole index of an earlier commit is a vault of this device: without a counter in the backend it is believed
   (docs/threat-model.md), as a whole. Bodies removed since are missed. */
static void
test_older_index(void **state)
{
    uint8_t *old;
    size_t len;
    probe_result r;

    (void)state;
    old = file_read(scratch_path(the_bed.older, "index.db"), &len);
    bed_restore_index(&the_bed);
    file_write(scratch_path(the_bed.dir, "index.db"), old, len);
    r = bed_ask(&the_bed, PROBE_VERIFY | PROBE_ANY_STATE);
    assert_int_equal(r.open, PQE_OK);
    assert_true(r.generation < the_bed.states[the_bed.state_count - 1].generation);
    assert_int_equal(r.get[ITEM_GONE], PQE_OK);
    assert_int_equal(r.get[ITEM_OLD], PQE_OK);
    assert_int_equal(r.get[ITEM_OLD_FILE], PQE_E_TAMPERED);
    assert_int_equal(r.verify, PQE_E_TAMPERED);
    free(old);
}

/* ---- an artifact taken out so that the index is whole without it ---- */

typedef struct tags {
    int64_t rowid;
    size_t count;
    uint8_t tag[2][PQE__TAG_KEY_SIZE];
} tags;

static pqe_status
find_tags(void *user, const pqe__entry *entry, pqe_error *err)
{
    tags *t = user;

    (void)err;
    if (entry->rowid == t->rowid && entry->kind != PQE__ENTRY_SECRET && t->count < 2)
        memcpy(t->tag[t->count++], entry->tag, sizeof t->tag[0]);
    return PQE_OK;
}

/* The tree has no key: whoever holds the disk can write a sound one. `lie` also puts its root into the head, as if by
   the next commit. */
static void
take_out(int item, bool lie)
{
    uint8_t bytes[PQE__HEAD_MAX], tag[PQE__HEAD_TAG_SIZE];
    const uint8_t *sealed;
    size_t len, sealed_len;
    tags t = {.rowid = the_bed.items[item].rowid};
    pqe__store *store = NULL;
    pqe__head head;

    assert_pqe_ok(pqe__store_open(the_bed.dir, false, 1000, &store, err));
    assert_pqe_ok(pqe__store_begin(store, true, err));
    assert_pqe_ok(pqe__store_get_head(store, bytes, &len, tag, err));
    assert_pqe_ok(pqe__head_decode(bytes, len, &head, &sealed, &sealed_len, err));
    assert_pqe_ok(pqe__tree_walk(store, head.index_root, find_tags, &t, err));
    assert_int_equal(t.count, 2);
    for (size_t i = 0; i < t.count; i++)
        assert_pqe_ok(pqe__tree_remove(store, head.index_root, t.tag[i], err));
    assert_pqe_ok(pqe__row_delete(store, t.rowid, err));
    head.artifact_count--;
    head.generation++;
    if (lie) {
        pqe__head_encode_public(&head, bytes);
        assert_pqe_ok(pqe__store_put_head(store, bytes, len, tag, err));
    }
    assert_pqe_ok(pqe__store_commit(store, err));
    pqe__store_close(&store);
}

static void
test_taken_out(void **state)
{
    static const int items[] = {ITEM_TWIN_A, ITEM_FILE_A};
    probe_result r;

    (void)state;
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        bed_restore_index(&the_bed);
        take_out(items[i], false);
        r = bed_ask(&the_bed, PROBE_VERIFY);
        expect_all(&r, PQE_E_TAMPERED);
        bed_restore_index(&the_bed);
        take_out(items[i], true);
        r = bed_ask(&the_bed, PROBE_VERIFY);
        assert_int_equal(r.open, PQE_E_TAMPERED);
    }
}

/* ---- under a running session ---- */

/* The same file gets another vault's content: connections to it stay. */
static void
put_back_all(const char *from)
{
    bed_sql(&the_bed,
            "ATTACH '%s/index.db' AS o; BEGIN;" REPLACE_TABLE("artifact") REPLACE_TABLE("secret") REPLACE_TABLE("entry")
                REPLACE_TABLE("node") REPLACE_TABLE("head") REPLACE_TABLE("device") "COMMIT",
            from);
}

static void
test_damage_while_unlocked(void **state)
{
    pqe_backend *b = bed_backend(&the_bed);
    const bed_item *twin = &the_bed.items[ITEM_TWIN_A];
    pqe_artifact *a = NULL;
    pqe_vault *v;

    (void)state;
    bed_restore_index(&the_bed);
    v = vault_open(the_bed.dir, b);
    get_equals(v, twin->name, twin->content, twin->len);
    bed_sql(&the_bed, "UPDATE artifact SET dek = zeroblob(60) WHERE id = %lld", row(ITEM_TWIN_A));
    assert_int_equal(get_status(v, twin->name), PQE_E_TAMPERED);
    bed_sql(&the_bed, "DELETE FROM artifact WHERE id = %lld", row(ITEM_TWIN_A));
    assert_int_equal(get_status(v, twin->name), PQE_E_TAMPERED);
    assert_int_equal(pqe_info(v, twin->name, &a, NULL), PQE_E_TAMPERED);
    bed_sql(&the_bed, "DELETE FROM entry WHERE target = %lld AND kind < 3", row(ITEM_TWIN_A));
    assert_int_equal(get_status(v, twin->name), PQE_E_TAMPERED);
    bed_sql(&the_bed, "UPDATE head SET tag = zeroblob(32)");
    /* The head's bytes are the ones verified before: nothing new is believed. */
    get_equals(v, "twin b", the_bed.items[ITEM_TWIN_B].content, 500);
    bed_sql(&the_bed, "UPDATE head SET bytes = " SQL_CHANGED("bytes", 50));
    assert_int_equal(get_status(v, "twin b"), PQE_E_TAMPERED);
    assert_int_equal(pqe_put(v, &(pqe_put_opts){.size = sizeof(pqe_put_opts), .name = "n", .kind = PQE_KIND_OTHER}, "x",
                             1, NULL, NULL),
                     PQE_E_TAMPERED);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

/* The same as in test_taken_out(), before the eyes of a session that knows the head before. */
static void
test_taken_out_while_unlocked(void **state)
{
    pqe_backend *b = bed_backend(&the_bed);
    pqe_vault *v;

    (void)state;
    for (int lie = 0; lie < 2; lie++) {
        bed_restore_index(&the_bed);
        v = vault_open(the_bed.dir, b);
        get_equals(v, "twin a", the_bed.items[ITEM_TWIN_A].content, 500);
        take_out(ITEM_TWIN_A, lie);
        assert_int_equal(get_status(v, "twin a"), PQE_E_TAMPERED);
        assert_int_equal(get_status(v, "twin b"), PQE_E_TAMPERED);
        assert_int_equal(pqe_delete(v, "twin b", NULL), PQE_E_TAMPERED);
        pqe_vault_close(&v);
    }
    pqe_backend_close(&b);
}

/* An earlier commit put back whole, under a session that has seen a later one. */
static void
test_back_while_unlocked(void **state)
{
    pqe_backend *b = bed_backend(&the_bed);
    pqe_vault *v;

    (void)state;
    bed_restore_index(&the_bed);
    v = vault_open(the_bed.dir, b);
    get_equals(v, "twin a", the_bed.items[ITEM_TWIN_A].content, 500);
    put_back_all(the_bed.older);
    assert_int_equal(get_status(v, "twin a"), PQE_E_TAMPERED);
    assert_int_equal(get_status(v, "gone"), PQE_E_TAMPERED);
    assert_int_equal(pqe_verify(v, NULL, NULL, NULL, NULL, NULL), PQE_E_TAMPERED);
    assert_int_equal(pqe_vault_unlock(v, 0, NULL),
                     PQE_E_TAMPERED); /* nor does a new session of this handle believe it */
    pqe_vault_lock(v);
    assert_int_equal(pqe_vault_unlock(v, 0, NULL), PQE_E_TAMPERED);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

/* The commit that is taken back is the session's own and last one. */
static void
test_own_commit_taken_back(void **state)
{
    pqe_backend *b = bed_backend(&the_bed);
    const char *before = scratch_path(the_bed.scratch, "before");
    pqe_vault *v;

    (void)state;
    bed_restore_index(&the_bed);
    v = vault_open(the_bed.dir, b);
    get_equals(v, "twin a", the_bed.items[ITEM_TWIN_A].content, 500);
    put_ok(v, "first", "x", 1);
    scratch_copy(the_bed.dir, before);
    put_ok(v, "ours", "x", 1);
    put_back_all(before);
    assert_int_equal(get_status(v, "ours"), PQE_E_TAMPERED);
    assert_int_equal(get_status(v, "twin a"), PQE_E_TAMPERED);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

/* Two vaults grow from one copy, by one commit each, so that their generations are equal. A session that knows one of
   them must not take the other for it. */
static void
test_fork_while_unlocked(void **state)
{
    pqe_backend *b = bed_backend(&the_bed), *b2 = bed_backend(&the_bed);
    const char *other = scratch_path(the_bed.scratch, "other");
    pqe_vault *v, *w;

    (void)state;
    bed_restore_index(&the_bed);
    scratch_copy(the_bed.dir, other);
    w = vault_open(other, b2);
    put_ok(w, "theirs", "x", 1);
    pqe_vault_close(&w);
    v = vault_open(the_bed.dir, b);
    put_ok(v, "ours", "x", 1);
    put_back_all(other);
    assert_int_equal(get_status(v, "ours"), PQE_E_TAMPERED);
    assert_int_equal(get_status(v, "theirs"), PQE_E_TAMPERED);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    pqe_backend_close(&b2);
}

static int
make(void **state)
{
    (void)state;
    bed_make(&the_bed);
    return 0;
}

static int
drop(void **state)
{
    (void)state;
    bed_free(&the_bed);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_older_row),
        cmocka_unit_test(test_older_row_with_entries),
        cmocka_unit_test(test_older_tables),
        cmocka_unit_test(test_older_index),
        cmocka_unit_test(test_taken_out),
        cmocka_unit_test(test_damage_while_unlocked),
        cmocka_unit_test(test_taken_out_while_unlocked),
        cmocka_unit_test(test_back_while_unlocked),
        cmocka_unit_test(test_own_commit_taken_back),
        cmocka_unit_test(test_fork_while_unlocked),
    };

    return cmocka_run_group_tests(tests, make, drop);
}
