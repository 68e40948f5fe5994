/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows, entries and nodes of the index altered, swapped, removed and put back with plain SQL, as anyone can who holds
 * the disk. What was removed must be reported as tampering; "not found" would be a lie.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/test_tamper_support.h"

#define BIT(item) (1u << (item))
#define EVERY_ITEM (BIT(ITEMS) - 1)

static bed the_bed;

/* Items of `hurt` fail with `status`, by id and by name, and every other item is right. */
static void
expect(const probe_result *r, uint32_t hurt, pqe_status status)
{
    for (int i = 0; i < ITEMS; i++) {
        pqe_status wanted = hurt >> i & 1 ? status : PQE_OK;
        if (!bed_has(&the_bed, i))
            continue;
        if (r->get[i] != wanted || r->by_name[i] != wanted)
            fail_msg("%s: get %s, info %s, expected %s", the_bed.items[i].name, pqe_status_name(r->get[i]),
                     pqe_status_name(r->by_name[i]), pqe_status_name(wanted));
    }
}

static long long
row(int item)
{
    return (long long)the_bed.items[item].rowid;
}

/* Damages a fresh copy by SQL and asks. */
#define damaged(...) (bed_restore_index(&the_bed), bed_sql(&the_bed, __VA_ARGS__), bed_ask(&the_bed, PROBE_VERIFY))

/* ---- columns of rows ---- */

enum { COLUMN_KEY_ID = 1, COLUMN_DEK = 2, COLUMN_FILE = 4, COLUMN_RECORD = 8, COLUMN_BODY = 16, COLUMNS_END = 32 };
static const char *const columns[] = {"key_id", "dek", "file", "record", "body"};

/* Doing it twice undoes it. */
static void
swap_columns(unsigned mask, int a, int b)
{
    for (unsigned i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        const char *c = columns[i];
        if (mask >> i & 1)
            bed_sql(&the_bed,
                    "CREATE TEMP TABLE t AS SELECT id, %s AS c FROM artifact WHERE id IN (%lld, %lld);"
                    "UPDATE artifact SET %s = (SELECT c FROM t WHERE id = %lld) WHERE id = %lld;"
                    "UPDATE artifact SET %s = (SELECT c FROM t WHERE id = %lld) WHERE id = %lld",
                    c, row(a), row(b), c, row(a), row(b), c, row(b), row(a));
    }
}

/* Rows of the same shape: a column that is NULL in both changes nothing. */
static void
swap_every_combination(int a, int b, unsigned null_columns)
{
    bed_restore_index(&the_bed);
    for (unsigned mask = 1; mask < COLUMNS_END; mask++) {
        unsigned effect = mask & ~null_columns;
        probe_result r;
        swap_columns(mask, a, b);
        r = bed_ask(&the_bed, mask % 5 == 0 ? PROBE_VERIFY : 0);
        if (effect == 0) {
            assert_false(r.noticed);
        } else if (effect == COLUMN_BODY) {
            assert_int_equal(r.get[a], PQE_E_DECRYPTION);
            assert_int_equal(r.get[b], PQE_E_DECRYPTION);
            assert_int_equal(r.by_name[a], PQE_OK); /* metadata are not the body's */
        } else {
            expect(&r, BIT(a) | BIT(b), PQE_E_TAMPERED);
        }
        swap_columns(mask, a, b);
    }
    assert_false(bed_ask(&the_bed, PROBE_VERIFY).noticed);
}

static void
test_columns_of_inline_rows(void **state)
{
    (void)state;
    swap_every_combination(ITEM_TWIN_A, ITEM_TWIN_B, COLUMN_FILE);
}

static void
test_columns_of_file_rows(void **state)
{
    (void)state;
    swap_every_combination(ITEM_FILE_A, ITEM_FILE_B, COLUMN_BODY);
}

static void
test_columns_of_unlike_rows(void **state)
{
    const uint32_t both = BIT(ITEM_TWIN_A) | BIT(ITEM_FILE_B);

    (void)state;
    bed_restore_index(&the_bed);
    for (unsigned mask = 1; mask < COLUMNS_END; mask++) {
        probe_result r;
        swap_columns(mask, ITEM_TWIN_A, ITEM_FILE_B);
        r = bed_ask(&the_bed, 0);
        if (mask == COLUMN_BODY) { /* seen when the body is wanted */
            assert_int_equal(r.get[ITEM_TWIN_A], PQE_E_TAMPERED);
            assert_int_equal(r.get[ITEM_FILE_B], PQE_E_TAMPERED);
        } else {
            expect(&r, both, PQE_E_TAMPERED);
        }
        swap_columns(mask, ITEM_TWIN_A, ITEM_FILE_B);
    }
    assert_false(bed_ask(&the_bed, PROBE_VERIFY).noticed);
}

/* One column of a row alone, taken from another row: both rows then say the same. */
static void
test_copied_columns(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        const char *c = columns[i];
        probe_result r;
        if (1u << i == COLUMN_FILE)
            r = damaged("UPDATE artifact SET file = (SELECT file FROM artifact WHERE id = %lld) WHERE id = %lld",
                        row(ITEM_FILE_A), row(ITEM_FILE_B));
        else
            r = damaged("UPDATE artifact SET %s = (SELECT %s FROM artifact WHERE id = %lld) WHERE id = %lld", c, c,
                        row(ITEM_TWIN_A), row(ITEM_TWIN_B));
        if (1u << i == COLUMN_BODY)
            assert_int_equal(r.get[ITEM_TWIN_B], PQE_E_DECRYPTION);
        else
            expect(&r, 1u << i == COLUMN_FILE ? BIT(ITEM_FILE_B) : BIT(ITEM_TWIN_B), PQE_E_TAMPERED);
    }
}

static void
test_swapped_rows(void **state)
{
    static const int pairs[][2] = {{ITEM_TWIN_A, ITEM_TWIN_B}, {ITEM_FILE_A, ITEM_FILE_B}, {ITEM_EMPTY, ITEM_NEW_FILE}};

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        int a = pairs[i][0], b = pairs[i][1];
        probe_result r = damaged("UPDATE artifact SET id = -1 WHERE id = %lld; UPDATE artifact SET id = %lld WHERE id "
                                 "= %lld; UPDATE artifact SET id = %lld WHERE id = -1",
                                 row(a), row(a), row(b), row(b));
        expect(&r, BIT(a) | BIT(b), PQE_E_TAMPERED);
        assert_int_equal(r.list, PQE_E_TAMPERED);
        assert_int_equal(r.verify, PQE_E_TAMPERED);
    }
}

/* ---- entries and nodes ---- */

static void
test_swapped_entries(void **state)
{
    static const char *const swaps[] = {"target", "digest", "target, digest", "kind", "kind, target, digest"};
    long long a = row(ITEM_TWIN_A), b = row(ITEM_FILE_B);
    probe_result r;

    (void)state;
    for (size_t i = 0; i < sizeof swaps / sizeof swaps[0]; i++) {
        bool kinds = strncmp(swaps[i], "kind", 4) == 0; /* between an artifact's own two entries */
        r = damaged("CREATE TEMP TABLE t AS SELECT * FROM entry WHERE (target = %lld AND kind = 1) OR (target = %lld "
                    "AND kind = %d);"
                    "UPDATE entry SET (%s) = (SELECT %s FROM t WHERE t.tag <> entry.tag) WHERE tag IN (SELECT tag FROM "
                    "t)",
                    a, kinds ? a : b, kinds ? 2 : 1, swaps[i], swaps[i]);
        assert_int_equal(r.by_name[ITEM_TWIN_A], PQE_E_TAMPERED);
        assert_int_equal(r.by_name[ITEM_FILE_B], kinds ? PQE_OK : PQE_E_TAMPERED);
        assert_int_equal(r.get[ITEM_TWIN_A], kinds ? PQE_E_TAMPERED : PQE_OK); /* by id: that entry is untouched */
        assert_int_equal(r.list, PQE_E_TAMPERED);
        assert_int_equal(r.verify, PQE_E_TAMPERED);
    }
    r = damaged("CREATE TEMP TABLE t AS SELECT * FROM entry WHERE kind = 1 AND target IN (%lld, %lld);"
                "DELETE FROM entry WHERE tag IN (SELECT tag FROM t);"
                "INSERT INTO entry SELECT (SELECT tag FROM t AS u WHERE u.tag <> t.tag), kind, digest, target FROM t",
                a, b);
    assert_int_equal(r.by_name[ITEM_TWIN_A], PQE_E_TAMPERED);
    assert_int_equal(r.by_name[ITEM_FILE_B], PQE_E_TAMPERED);
    assert_int_equal(r.verify, PQE_E_TAMPERED);
}

static void
test_added_entries(void **state)
{
    probe_result r;

    (void)state;
    /* Beside an entry, so that they share a bucket. */
    r = damaged("INSERT INTO entry SELECT " SQL_CHANGED("tag", 32) ", kind, digest, target FROM entry "
                                                                   "WHERE target = %lld AND kind = 1",
                row(ITEM_TWIN_A));
    assert_int_equal(r.by_name[ITEM_TWIN_A], PQE_E_TAMPERED);
    assert_int_equal(r.list, PQE_E_TAMPERED);
    /* A tag that is no blob stands outside every bucket. */
    r = damaged("INSERT INTO entry SELECT 'tag', kind, digest, target FROM entry WHERE kind = 1 LIMIT 1");
    expect(&r, 0, PQE_OK);
    assert_int_equal(r.list, PQE_E_TAMPERED);
    assert_int_equal(r.verify, PQE_E_TAMPERED);
    /* In buckets that were empty: the first and the last. */
    r = damaged("INSERT INTO entry SELECT zeroblob(32), kind, digest, target FROM entry WHERE kind = 1 LIMIT 1");
    expect(&r, 0, PQE_OK);
    assert_int_equal(r.list, PQE_E_TAMPERED);
    assert_int_equal(r.verify, PQE_E_TAMPERED);
    r = damaged("INSERT INTO entry SELECT x'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff', kind, "
                "digest, target FROM entry WHERE kind = 2 LIMIT 1");
    assert_int_equal(r.list, PQE_E_TAMPERED);
    /* A second row for the same artifact, and one that nothing leads to. */
    r = damaged("INSERT INTO artifact SELECT 1000, key_id, dek, file, record, body FROM artifact WHERE id = %lld",
                row(ITEM_TWIN_A));
    expect(&r, 0, PQE_OK);
    assert_int_equal(r.verify, PQE_E_TAMPERED);
}

static void
test_nodes(void **state)
{
    static const char *const statements[] = {
        "DELETE FROM node",
        "DELETE FROM node WHERE id = 0",
        "UPDATE node SET bytes = zeroblob(8) WHERE id = 0",
        "UPDATE node SET bytes = zeroblob(length(bytes)) WHERE id = 0",
        /* The map of children lies: more, fewer and all of them. */
        "UPDATE node SET bytes = x'ffffffffffffffff' || substr(bytes, 9) WHERE id = 0",
        "UPDATE node SET bytes = x'0000000000000000' || substr(bytes, 9) WHERE id = 0",
        "UPDATE node SET bytes = bytes || zeroblob(32) WHERE id = 0",
        "UPDATE node SET bytes = zeroblob(4000) WHERE id = 0",
        "UPDATE node SET bytes = x'' WHERE id = 0",
        "UPDATE node SET bytes = (SELECT bytes FROM node WHERE id <> 0 LIMIT 1) WHERE id = 0",
    };
    probe_result r;

    (void)state;
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        r = damaged("%s", statements[i]);
        expect(&r, EVERY_ITEM, PQE_E_TAMPERED);
        assert_int_equal(r.verify, PQE_E_TAMPERED);
    }
    /* Below the root a damaged node hides some items, never all of the truth about the others. */
    r = damaged("CREATE TEMP TABLE t AS SELECT * FROM node WHERE id > 64 ORDER BY id LIMIT 2;"
                "UPDATE node SET bytes = (SELECT bytes FROM t WHERE t.id <> node.id) WHERE id IN (SELECT id FROM t)");
    assert_true(r.noticed);
    assert_int_equal(r.verify, PQE_E_TAMPERED);
    r = damaged("INSERT INTO node VALUES(5000000, zeroblob(8))");
    expect(&r, 0, PQE_OK);
    assert_int_equal(r.verify, PQE_E_TAMPERED);
}

/* ---- removal ---- */

static void
test_removed(void **state)
{
    static const int items[] = {ITEM_TWIN_A, ITEM_FILE_A, ITEM_EMPTY};
    probe_result r;

    (void)state;
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        long long id = row(items[i]);
        r = damaged("DELETE FROM artifact WHERE id = %lld", id);
        expect(&r, BIT(items[i]), PQE_E_TAMPERED);
        assert_int_equal(r.list, PQE_E_TAMPERED);
        r = damaged("DELETE FROM entry WHERE target = %lld AND kind < 3", id);
        expect(&r, BIT(items[i]), PQE_E_TAMPERED);
        assert_int_equal(r.list, PQE_E_TAMPERED);
        r = damaged("DELETE FROM artifact WHERE id = %lld; DELETE FROM entry WHERE target = %lld AND kind < 3", id, id);
        expect(&r, BIT(items[i]), PQE_E_TAMPERED);
        assert_int_equal(r.list, PQE_E_TAMPERED);
        assert_int_equal(r.verify, PQE_E_TAMPERED);
        r = damaged("DELETE FROM entry WHERE target = %lld AND kind = 1", id);
        assert_int_equal(r.by_name[items[i]], PQE_E_TAMPERED);
        assert_int_equal(r.get[items[i]], PQE_OK);
        r = damaged("DELETE FROM entry WHERE target = %lld AND kind = 2", id);
        assert_int_equal(r.by_name[items[i]], PQE_OK);
        assert_int_equal(r.get[items[i]], PQE_E_TAMPERED);
        assert_int_equal(r.verify, PQE_E_TAMPERED);
    }
    r = damaged("DELETE FROM artifact");
    expect(&r, EVERY_ITEM, PQE_E_TAMPERED);
    r = damaged("DELETE FROM artifact; DELETE FROM entry; DELETE FROM node; DELETE FROM secret");
    expect(&r, EVERY_ITEM, PQE_E_TAMPERED);
    assert_int_equal(r.list, PQE_E_TAMPERED);
}

static void
test_secrets(void **state)
{
    static const char *const statements[] = {
        "DELETE FROM secret",
        "UPDATE secret SET id = -id",
        "UPDATE secret SET id = id + 100; UPDATE secret SET id = (id - 100) % 3 + 1",
        "UPDATE secret SET sealed = (SELECT sealed FROM t WHERE t.id = secret.id % 3 + 1)",
        "UPDATE secret SET key_id = (SELECT key_id FROM t WHERE t.id = secret.id % 3 + 1)",
        "UPDATE secret SET sealed = randomblob(1136)",
        "UPDATE secret SET sealed = zeroblob(1136)",
    };
    probe_result r;

    (void)state;
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        r = damaged("CREATE TEMP TABLE t AS SELECT * FROM secret; %s", statements[i]);
        for (int item = 0; item < ITEMS; item++) {
            if (!bed_has(&the_bed, item))
                continue;
            assert_int_equal(r.by_name[item], PQE_OK); /* metadata need no session secret, content does */
            assert_int_equal(r.get[item], PQE_E_TAMPERED);
        }
        assert_int_equal(r.verify, PQE_E_TAMPERED);
    }
    r = damaged("DELETE FROM entry WHERE kind = 3");
    for (int i = 0; i < ITEMS; i++)
        assert_true(!bed_has(&the_bed, i) || r.get[i] == PQE_E_TAMPERED);
}

/* ---- SQLite's own indexes ---- */

/* Finds item's entry in the b-tree page of index artifact_key: a record of 16 bytes and a small row id. The entry's key
   becomes a larger one: no byte that answers reads comes from there, but it seems that no row uses the key. */
static void
damage_key_index(int item)
{
    static const uint8_t header[] = {3, 0x2c, 1}; /* header length, a 16-byte blob, a 1-byte integer */
    size_t start =
        ((size_t)bed_sql_int(&the_bed, "SELECT rootpage FROM sqlite_schema WHERE name = 'artifact_key'") - 1) * 4096;
    uint8_t *copy = malloc(the_bed.index_len), *key = NULL;

    assert_non_null(copy);
    memcpy(copy, the_bed.index, the_bed.index_len);
    for (size_t i = start; i < start + 4096 - 20; i++)
        if (memcmp(copy + i, header, sizeof header) == 0 && copy[i + 19] == (uint8_t)row(item))
            key = copy + i + 3;
    assert_non_null(key);
    for (size_t i = 16; i-- > 0 && ++key[i] == 0;)
        ;
    file_write(scratch_path(the_bed.dir, "index.db"), copy, the_bed.index_len);
    free(copy);
}

/* Two artifacts share a session's secret. Deleting one must not take the secret from the other, whatever SQLite's
   index says of who uses it. */
static void
test_damaged_key_index(void **state)
{
    pqe_backend *b = bed_backend(&the_bed);
    const bed_item *other = &the_bed.items[ITEM_FILE_B];
    pqe_vault *v;

    (void)state;
    bed_restore_index(&the_bed);
    damage_key_index(ITEM_FILE_B);
    bed_ask(&the_bed, PROBE_VERIFY);
    v = vault_open(the_bed.dir, b);
    pqe_delete(v, the_bed.items[ITEM_TWIN_B].name, NULL); /* of the same session; may fail */
    get_equals(v, other->name, other->content, other->len);
    pqe_vault_close(&v);
    v = vault_open(the_bed.dir, b);
    get_equals(v, other->name, other->content, other->len);
    assert_pqe_ok(pqe_verify(v, other->name, NULL, NULL, NULL, err));
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

/* The count beside a secret is not believed either. */
static void
test_wrong_use_counts(void **state)
{
    static const char *const counts[] = {"0", "1", "1000", "-1", "'text'", "x'00'", "9223372036854775807", "0.5"};
    pqe_backend *b = bed_backend(&the_bed);
    const bed_item *other = &the_bed.items[ITEM_FILE_B];
    pqe_verify_summary sum;
    pqe_vault *v;

    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        bed_restore_index(&the_bed);
        bed_sql(&the_bed, "UPDATE secret SET uses = %s", counts[i]);
        v = vault_open(the_bed.dir, b);
        assert_pqe_ok(pqe_delete(v, the_bed.items[ITEM_TWIN_B].name, err)); /* of the same session as the other */
        get_equals(v, other->name, other->content, other->len);
        put_ok(v, "one more", "1", 1);
        put_ok(v, "one more", "2", 1);
        assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, &sum, err));
        pqe_vault_close(&v);
        v = vault_open(the_bed.dir, b);
        get_equals(v, other->name, other->content, other->len);
        pqe_vault_close(&v);
    }
    pqe_backend_close(&b);
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
        cmocka_unit_test(test_columns_of_inline_rows),
        cmocka_unit_test(test_columns_of_file_rows),
        cmocka_unit_test(test_columns_of_unlike_rows),
        cmocka_unit_test(test_copied_columns),
        cmocka_unit_test(test_swapped_rows),
        cmocka_unit_test(test_swapped_entries),
        cmocka_unit_test(test_added_entries),
        cmocka_unit_test(test_nodes),
        cmocka_unit_test(test_removed),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_damaged_key_index),
        cmocka_unit_test(test_wrong_use_counts),
    };

    return cmocka_run_group_tests(tests, make, drop);
}
