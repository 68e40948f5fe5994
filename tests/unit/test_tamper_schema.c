/* SPDX-License-Identifier: Apache-2.0 */
/* index.db with another schema, another version, and with values of every wrong type and size in every column. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/test_tamper_support.h"

static bed the_bed;

#define damaged(...) (bed_restore_index(&the_bed), bed_sql(&the_bed, __VA_ARGS__), bed_ask(&the_bed, PROBE_VERIFY))

/* ---- schema ---- */

static void
test_other_schema(void **state)
{
    static const char *const statements[] = {
        "CREATE TABLE extra(x)",
        "CREATE TABLE sqlean(x); DROP TABLE sqlean; CREATE VIEW extra AS SELECT * FROM head",
        "CREATE TRIGGER extra AFTER INSERT ON artifact BEGIN DELETE FROM entry; END",
        "CREATE TRIGGER extra AFTER UPDATE ON head BEGIN DELETE FROM artifact; END",
        "CREATE INDEX extra ON entry(digest)",
        "CREATE UNIQUE INDEX extra ON artifact(body)",
        "CREATE INDEX extra ON artifact(length(record))",
        "DROP INDEX artifact_key",
        "DROP INDEX artifact_file",
        "DROP TABLE secret",
        "DROP TABLE node",
        "DROP TABLE state",
        "DROP TABLE audit",
        "ANALYZE",
        "PRAGMA journal_mode=DELETE",
        "ALTER TABLE artifact ADD COLUMN extra",
        "ALTER TABLE secret RENAME COLUMN sealed TO unsealed",
        "ALTER TABLE node RENAME TO edge",
        "ALTER TABLE artifact ADD COLUMN extra GENERATED ALWAYS AS (hex(record)) VIRTUAL",
        "DROP TABLE node; CREATE TABLE node(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL DEFAULT x'00')",
        "DROP TABLE node; CREATE VIEW node AS SELECT 0 AS id, zeroblob(8) AS bytes",
        "DROP TABLE node; CREATE TABLE Node(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)",
        "DROP TABLE secret; CREATE TABLE secret(id INTEGER PRIMARY KEY, key_id BLOB NOT NULL,  sealed BLOB NOT NULL, "
        "uses INTEGER NOT NULL)",
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = sql || ' ' WHERE name = 'head'",
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = NULL WHERE name = 'head'",
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET tbl_name = 'secret' WHERE name = 'artifact_key'",
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rowid = 100 WHERE name = 'device'",
        "PRAGMA writable_schema=ON; DELETE FROM sqlite_schema WHERE name = 'head'",
        "PRAGMA writable_schema=ON; DELETE FROM sqlite_schema",
    };

    (void)state;
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        probe_result r = damaged("%s", statements[i]);
        if (r.open != PQE_E_TAMPERED)
            fail_msg("%s: open says %s", statements[i], pqe_status_name(r.open));
    }
}

/* The schema says the right things and the pages are others'. */
static void
test_other_roots(void **state)
{
    static const char *const tables[] = {"head",   "device", "artifact", "artifact_key", "artifact_file",
                                         "secret", "entry",  "node",     "state",        "audit"};
    const size_t n = sizeof tables / sizeof tables[0];

    (void)state;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++) {
            probe_result r;
            bed_restore_index(&the_bed);
            bed_sql(&the_bed,
                    "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM "
                    "sqlite_schema WHERE name = '%s') WHERE name = '%s'",
                    tables[i], tables[k]);
            r = bed_ask(&the_bed, PROBE_VERIFY | PROBE_CHANGE);
            if (i == k)
                assert_false(r.noticed);
        }
        damaged("PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage = 1 WHERE name = '%s'", tables[i]);
        damaged("PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage = 1000 WHERE name = '%s'", tables[i]);
    }
}

/* After the schema was compared, under a session: nothing that was added has a say. */
static void
test_schema_changed_while_unlocked(void **state)
{
    pqe_backend *b = bed_backend(&the_bed);
    const bed_item *twin = &the_bed.items[ITEM_TWIN_A];
    pqe_vault *v;

    (void)state;
    bed_restore_index(&the_bed);
    v = vault_open(the_bed.dir, b);
    bed_sql(&the_bed, "CREATE TRIGGER extra AFTER INSERT ON artifact BEGIN DELETE FROM entry; END;"
                      "CREATE TRIGGER more AFTER UPDATE ON head BEGIN DELETE FROM node; END");
    put_ok(v, "put beside triggers", "x", 1);
    get_equals(v, "put beside triggers", "x", 1);
    get_equals(v, twin->name, twin->content, twin->len);
    bed_sql(&the_bed, "DROP TRIGGER extra; DROP TRIGGER more; ALTER TABLE node RENAME TO edge; CREATE VIEW node AS "
                      "SELECT * FROM edge");
    assert_int_equal(get_status(v, twin->name), PQE_E_TAMPERED);
    assert_int_equal(get_status(v, "no such artifact"), PQE_E_TAMPERED);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

static void
test_versions(void **state)
{
    static const struct {
        const char *statement;
        pqe_status status;
    } cases[] = {
        {"PRAGMA user_version = 2", PQE_E_VERSION},
        {"PRAGMA user_version = 0", PQE_E_VERSION},
        {"PRAGMA user_version = -1", PQE_E_VERSION},
        {"PRAGMA application_id = 0", PQE_E_TAMPERED},
        {"PRAGMA application_id = -1", PQE_E_TAMPERED},
        /* The head: magic, format version, suite (KEM, KDF, AEAD). Offsets are those of docs/format.md. */
        {"UPDATE head SET bytes = CAST(x'00' || substr(bytes, 2) AS BLOB)", PQE_E_TAMPERED},
        {"UPDATE head SET bytes = CAST(substr(bytes, 1, 8) || x'0002' || substr(bytes, 11) AS BLOB)", PQE_E_VERSION},
        {"UPDATE head SET bytes = CAST(substr(bytes, 1, 8) || x'0000' || substr(bytes, 11) AS BLOB)", PQE_E_VERSION},
        {"UPDATE head SET bytes = CAST(substr(bytes, 1, 38) || x'0042' || substr(bytes, 41) AS BLOB)", PQE_E_VERSION},
        {"UPDATE head SET bytes = CAST(substr(bytes, 1, 38) || x'0020' || substr(bytes, 41) AS BLOB)", PQE_E_VERSION},
        {"UPDATE head SET bytes = CAST(substr(bytes, 1, 40) || x'0002' || substr(bytes, 43) AS BLOB)", PQE_E_VERSION},
        {"UPDATE head SET bytes = CAST(substr(bytes, 1, 42) || x'0001' || substr(bytes, 45) AS BLOB)", PQE_E_VERSION},
        {"UPDATE head SET bytes = CAST(substr(bytes, 1, 131) AS BLOB)", PQE_E_TAMPERED},
        {"UPDATE head SET bytes = CAST(substr(bytes, 1, 10) AS BLOB)", PQE_E_TAMPERED},
        {"UPDATE head SET bytes = x''", PQE_E_TAMPERED},
        {"UPDATE head SET bytes = CAST(bytes || x'00' AS BLOB)", PQE_E_TAMPERED},
        {"UPDATE head SET tag = zeroblob(32)", PQE_E_TAMPERED},
        {"UPDATE head SET tag = zeroblob(31)", PQE_E_TAMPERED},
        {"DELETE FROM head", PQE_E_TAMPERED},
        {"UPDATE head SET id = 2", PQE_E_TAMPERED},
        /* The device items: another backend's name, a state that is none. */
        {"UPDATE device SET bytes = CAST('memory' AS BLOB) WHERE item = 1", PQE_E_DENIED},
        {"UPDATE device SET bytes = x'' WHERE item = 1", PQE_E_DENIED},
        {"UPDATE device SET bytes = x'ff' WHERE item = 1", PQE_E_TAMPERED},
        {"UPDATE device SET bytes = x'' WHERE item = 2", PQE_E_TAMPERED},
        {"UPDATE device SET bytes = x'' WHERE item = 3", PQE_E_DECRYPTION},
        {"UPDATE device SET bytes = zeroblob(124) WHERE item = 3", PQE_E_DECRYPTION},
        {"UPDATE device SET bytes = (SELECT bytes FROM device WHERE item = 4) WHERE item = 3", PQE_E_DECRYPTION},
        {"UPDATE device SET bytes = (SELECT bytes FROM device WHERE item = 3) WHERE item = 4", PQE_E_TAMPERED},
        {"UPDATE device SET bytes = zeroblob(1136) WHERE item = 5", PQE_E_TAMPERED},
        {"DELETE FROM device WHERE item = 4", PQE_E_TAMPERED},
        {"DELETE FROM device", PQE_E_TAMPERED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        probe_result r = damaged("%s", cases[i].statement);
        if (r.open != cases[i].status)
            fail_msg("%s: open says %s", cases[i].statement, pqe_status_name(r.open));
    }
}

/* ---- values ---- */

static const struct {
    const char *table, *column, *first; /* "first" picks one row */
} places[] = {
    {"head", "bytes", "1"},
    {"head", "tag", "1"},
    {"device", "bytes", "item = 1"},
    {"device", "bytes", "item = 2"},
    {"device", "bytes", "item = 3"},
    {"device", "bytes", "item = 4"},
    {"device", "bytes", "item = 5"},
    {"artifact", "key_id", "id = 2"},
    {"artifact", "dek", "id = 2"},
    {"artifact", "file", "id = 2"},
    {"artifact", "file", "id = 3"},
    {"artifact", "record", "id = 2"},
    {"artifact", "body", "id = 2"},
    {"artifact", "body", "id = 3"},
    {"secret", "key_id", "id = 1"},
    {"secret", "sealed", "id = 1"},
    {"entry", "kind", "target = 2"},
    {"entry", "digest", "target = 2"},
    {"entry", "target", "target = 2"},
    {"node", "bytes", "id = 0"},
    {"node", "bytes", "id > 64"},
    {"state", "bytes", "item = 2"},
    {"audit", "bytes", "seq = 2"},
};

/* %1$s is the column. */
static const char *const values[] = {
    "NULL",
    "0",
    "-1",
    "4611686018427387904",
    "9223372036854775807",
    "-9223372036854775808",
    "1e300",
    "'text'",
    "CAST(%1$s AS TEXT)",
    "x''",
    "x'00'",
    "zeroblob(16)",
    "zeroblob(32)",
    "zeroblob(60)",
    "zeroblob(1136)",
    "randomblob(70000)",
    "zeroblob(2000000)",
    "CAST(%1$s || x'00' AS BLOB)",
    "CAST(substr(%1$s, 2) AS BLOB)",
};

static void
allow_null(bool allow)
{
    if (allow)
        bed_sql(&the_bed, "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '') "
                          "WHERE type = 'table'");
    else
        bed_sql(&the_bed,
                "PRAGMA writable_schema=ON; ATTACH '%s/index.db' AS o; UPDATE main.sqlite_master AS m SET sql = "
                "(SELECT sql "
                "FROM o.sqlite_master AS s WHERE s.name = m.name)",
                the_bed.older);
}

static void
put_value(size_t place, size_t value, bool everywhere)
{
    const char *c = places[place].column;
    char text[64];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the formats are the strings above */
    snprintf(text, sizeof text, values[value], c);
#pragma GCC diagnostic pop
    bed_restore_index(&the_bed);
    if (value == 0)
        allow_null(true);
    bed_sql(&the_bed, "UPDATE %s SET %s = %s WHERE %s", places[place].table, c, text,
            everywhere ? "1" : places[place].first);
    if (value == 0)
        allow_null(false);
}

static void
test_values(void **state)
{
    size_t turn = 0;

    (void)state;
    for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
            /* The short form goes through the places in one row, through everywhere now and then. */
            bool everywhere = turn++ % 4 == 0;
            put_value(p, i, everywhere);
            bed_ask(&the_bed, bed_long_form() || turn % 5 == 0 ? PROBE_VERIFY | PROBE_CHANGE : 0);
            if (!bed_long_form())
                continue;
            put_value(p, i, !everywhere);
            bed_ask(&the_bed, PROBE_VERIFY | PROBE_CHANGE);
        }
    }
}

/* Row ids are hints: far ones are as good as near ones, and putting goes on beside them. */
static void
test_row_ids(void **state)
{
    static const long long ids[] = {4611686018427387904, 9223372036854775807, -1, -9223372036854775807 - 1};
    probe_result r;

    (void)state;
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        bed_restore_index(&the_bed);
        bed_sql(
            &the_bed,
            "UPDATE artifact SET id = %lld WHERE id = 2; UPDATE entry SET target = %lld WHERE target = 2 AND kind < 3;"
            "UPDATE secret SET id = %lld WHERE id = 1; UPDATE entry SET target = %lld WHERE target = 1 AND kind = 3",
            ids[i], ids[i], ids[i], ids[i]);
        r = bed_ask(&the_bed, PROBE_VERIFY);
        assert_false(r.noticed);
        r = bed_ask(&the_bed, PROBE_CHANGE);
        assert_false(r.noticed);
    }
    r = damaged("INSERT INTO head SELECT 2, bytes, tag FROM head");
    assert_false(r.noticed); /* never read */
    r = damaged("INSERT INTO device VALUES(7, x'00')");
    assert_true(r.noticed); /* not known, and the head's digest is over all of them */
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
        cmocka_unit_test(test_other_schema),
        cmocka_unit_test(test_other_roots),
        cmocka_unit_test(test_schema_changed_while_unlocked),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_row_ids),
    };

    return cmocka_run_group_tests(tests, make, drop);
}
