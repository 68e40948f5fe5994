/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policy, use counts and audit log altered, removed and put back by whoever holds the disk. No change may let a use
 * through that was not left, and none of the log may pass `audit --verify` unseen; what only a counter could notice, a
 * whole copy put back, is here too, as it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pqc_enclave/audit.h>
#include <pqc_enclave/policy.h>

#include "unit/support.h"

#define LIMIT 5

static char *scratch;
static pqe_backend *backend;
static char point[PQE_AUDIT_CHECKPOINT_MAX];
static size_t point_len;

static const char *
dir(void)
{
    return scratch_path(scratch, "vault");
}

static void
restore(const char *from)
{
    if (access(dir(), F_OK) == 0) {
        char command[4200];
        snprintf(command, sizeof command, "rm -rf '%s'", dir());
        assert_int_equal(system(command), 0);
    }
    scratch_copy(scratch_path(scratch, from), dir());
}

/* "clean": a limit of five, all of it used; "older": the same when two were left; a checkpoint of the former. */
static int
make(void **state)
{
    pqe_policy_rule rule = {.size = sizeof rule, .artifact = "a", .max_uses_per_hour = LIMIT};
    pqe_vault *v;

    (void)state;
    scratch = scratch_make();
    backend = backend_keyfile(scratch);
    v = vault_create(dir(), backend);
    put_ok(v, "a", "content", 7);
    put_ok(v, "free", "content", 7);
    assert_pqe_ok(pqe_policy_set(v, &rule, err));
    for (int i = 0; i < LIMIT - 2; i++)
        assert_int_equal(get_status(v, "a"), PQE_OK);
    assert_pqe_ok(pqe_audit_flush(v, err));
    pqe_vault_close(&v);
    scratch_copy(dir(), scratch_path(scratch, "older"));
    v = vault_open(dir(), backend);
    for (int i = 0; i < 2; i++)
        assert_int_equal(get_status(v, "a"), PQE_OK);
    assert_int_equal(get_status(v, "a"), PQE_E_POLICY);
    assert_pqe_ok(pqe_audit_checkpoint(v, point, sizeof point, &point_len, err));
    pqe_vault_close(&v);
    scratch_copy(dir(), scratch_path(scratch, "clean"));
    return 0;
}

static int
drop(void **state)
{
    (void)state;
    pqe_backend_close(&backend);
    scratch_remove(scratch);
    return 0;
}

static int64_t
ask(const char *statement)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    int64_t value;

    assert_int_equal(sqlite3_open(scratch_path(dir(), "index.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, statement, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    value = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return value;
}

typedef struct answers {
    pqe_status limited, unlimited, log, verify, put;
} answers;

static answers
damaged(const char *statement)
{
    answers a;
    pqe_vault *v;

    restore("clean");
    sql(dir(), statement);
    v = vault_open(dir(), backend);
    a.limited = get_status(v, "a");
    a.unlimited = get_status(v, "free");
    a.log = pqe_audit_verify(v, point, point_len, NULL, NULL);
    a.verify = pqe_verify(v, NULL, NULL, NULL, NULL, NULL);
    a.put = pqe_put(v, &(pqe_put_opts){.size = sizeof(pqe_put_opts), .name = "new", .kind = PQE_KIND_OTHER}, "x", 1,
                    NULL, NULL);
    pqe_vault_close(&v);
    return a;
}

static bool
speaks_of_damage(pqe_status s)
{
    return s == PQE_E_TAMPERED || s == PQE_E_DECRYPTION;
}

#define OLD(from) "ATTACH '%s/older/index.db' AS o; " from

static void
test_policy(void **state)
{
    static const char *const statements[] = {
        "DELETE FROM state WHERE item = 1",
        "UPDATE state SET bytes = x'' WHERE item = 1",
        "UPDATE state SET bytes = zeroblob(length(bytes)) WHERE item = 1",
        "UPDATE state SET bytes = CAST(substr(bytes, 1, length(bytes) - 1) AS BLOB) WHERE item = 1",
        "UPDATE state SET bytes = CAST(bytes || x'00' AS BLOB) WHERE item = 1",
        "UPDATE state SET bytes = 'text' WHERE item = 1",
        "UPDATE state SET bytes = 7 WHERE item = 1",
        "UPDATE state SET bytes = (SELECT bytes FROM state WHERE item = 3) WHERE item = 1",
        "UPDATE state SET bytes = zeroblob(900000) WHERE item = 1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        answers a = damaged(statements[i]);
        if (!speaks_of_damage(a.limited) || !speaks_of_damage(a.unlimited) || !speaks_of_damage(a.verify))
            fail_msg("%s: %s, %s, %s", statements[i], pqe_status_name(a.limited), pqe_status_name(a.unlimited),
                     pqe_status_name(a.verify));
    }
}

static void
test_uses_and_tail(void **state)
{
    static const char *const statements[] = {
        "DELETE FROM state WHERE item = 3",
        "UPDATE state SET bytes = x'' WHERE item = 3",
        "UPDATE state SET bytes = zeroblob(length(bytes)) WHERE item = 3",
        "UPDATE state SET bytes = (SELECT bytes FROM state WHERE item = 1) WHERE item = 3",
        "UPDATE state SET bytes = (SELECT bytes FROM state WHERE item = 2) WHERE item = 3",
        "DELETE FROM state WHERE item = 2",
        "UPDATE state SET bytes = zeroblob(length(bytes)) WHERE item = 2",
        "UPDATE state SET bytes = CAST(substr(bytes, 2) AS BLOB) WHERE item = 2",
        "DELETE FROM state WHERE item IN (2, 3)",
        "DELETE FROM state WHERE item > 1",
        "UPDATE state SET item = CASE item WHEN 2 THEN 30 WHEN 3 THEN 20 ELSE item END; UPDATE state SET item = item / "
        "10 "
        "WHERE item > 4",
    };

    (void)state;
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        answers a = damaged(statements[i]);
        if (!speaks_of_damage(a.limited) || a.unlimited != PQE_OK || !speaks_of_damage(a.log) ||
            !speaks_of_damage(a.verify))
            fail_msg("%s: %s, %s, %s, %s", statements[i], pqe_status_name(a.limited), pqe_status_name(a.unlimited),
                     pqe_status_name(a.log), pqe_status_name(a.verify));
    }
}

static void
test_entries(void **state)
{
    static const char *const statements[] = {
        "DELETE FROM audit WHERE seq = 1",
        "DELETE FROM audit WHERE seq = 4",
        "DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)",
        "DELETE FROM audit",
        "UPDATE audit SET bytes = (SELECT bytes FROM audit WHERE seq = 3) WHERE seq = 4",
        "UPDATE audit SET seq = CASE seq WHEN 3 THEN 1004 WHEN 4 THEN 1003 ELSE seq END; UPDATE audit SET seq = seq - "
        "1000 "
        "WHERE seq > 1000",
        "UPDATE audit SET seq = -seq; UPDATE audit SET seq = 1 - seq",
        "UPDATE audit SET bytes = x'' WHERE seq = 2",
        "UPDATE audit SET bytes = zeroblob(20000) WHERE seq = 2",
        "UPDATE audit SET bytes = 'text' WHERE seq = 2",
        "INSERT INTO audit SELECT seq + 1000, bytes FROM audit WHERE seq = 2",
        "INSERT INTO audit SELECT max(seq) + 1, bytes FROM audit",
        "INSERT INTO audit VALUES(0, x'00')",
    };

    (void)state;
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        answers a = damaged(statements[i]);
        if (a.limited == PQE_OK || a.unlimited != PQE_OK || !speaks_of_damage(a.log) || !speaks_of_damage(a.verify))
            fail_msg("%s: %s, %s, %s, %s", statements[i], pqe_status_name(a.limited), pqe_status_name(a.unlimited),
                     pqe_status_name(a.log), pqe_status_name(a.verify));
    }
}

/* Every byte of every row of the two tables but the unsealed list. */
static void
test_every_byte(void **state)
{
    char statement[300];
    unsigned flips = 0;

    (void)state;
    for (int item = 1; item <= 3; item++) {
        int64_t len;
        restore("clean");
        snprintf(statement, sizeof statement, "SELECT length(bytes) FROM state WHERE item = %d", item);
        len = ask(statement);
        for (int64_t at = 1; at <= len; at += item == 1 ? 3 : 5) {
            answers a;
            snprintf(
                statement, sizeof statement,
                "UPDATE state SET bytes = CAST(substr(bytes, 1, %d) || CASE hex(substr(bytes, %d, 1)) WHEN '00' THEN "
                "x'01' ELSE x'00' END || substr(bytes, %d) AS BLOB) WHERE item = %d",
                (int)at - 1, (int)at, (int)at + 1, item);
            a = damaged(statement);
            assert_true(speaks_of_damage(a.limited));
            assert_true(speaks_of_damage(a.verify));
            flips++;
        }
    }
    for (int64_t seq = 1; seq <= 8; seq++) {
        for (int at = 1; at <= 80; at += 7) {
            answers a;
            snprintf(
                statement, sizeof statement,
                "UPDATE audit SET bytes = CAST(substr(bytes, 1, %d) || CASE hex(substr(bytes, %d, 1)) WHEN '00' THEN "
                "x'01' ELSE x'00' END || substr(bytes, %d) AS BLOB) WHERE seq = %d",
                at - 1, at, at + 1, (int)seq);
            a = damaged(statement);
            assert_int_equal(a.limited, PQE_E_POLICY);
            assert_true(speaks_of_damage(a.log));
            assert_true(speaks_of_damage(a.verify));
            flips++;
        }
    }
    print_message("%u flips\n", flips);
}

/* Parts of the older copy, put back. */
static void
test_older_parts(void **state)
{
    static const struct {
        const char *statement;
        bool whole; /* an older vault as it was: nothing in it contradicts */
    } cases[] = {
        {OLD("INSERT OR REPLACE INTO main.state SELECT * FROM o.state WHERE item = 3"), false},
        {OLD("INSERT OR REPLACE INTO main.state SELECT * FROM o.state WHERE item = 2"), false},
        {OLD("INSERT OR REPLACE INTO main.state SELECT * FROM o.state WHERE item IN (2, 3)"), false},
        {OLD("DELETE FROM main.audit; INSERT INTO main.audit SELECT * FROM o.audit"), false},
        {OLD("DELETE FROM main.audit; INSERT INTO main.audit SELECT * FROM o.audit; INSERT OR REPLACE INTO main.state "
             "SELECT * FROM o.state WHERE item = 2"),
         false},
        {OLD("DELETE FROM main.audit; INSERT INTO main.audit SELECT * FROM o.audit; INSERT OR REPLACE INTO main.state "
             "SELECT * FROM o.state WHERE item IN (2, 3)"),
         true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char statement[4200];
        answers a;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the formats are the strings above */
        snprintf(statement, sizeof statement, cases[i].statement, scratch);
#pragma GCC diagnostic pop
        a = damaged(statement);
        assert_int_equal(a.unlimited, PQE_OK);
        /* The same generation put back resets the counts to what they were: documented, and the checkpoint tells. */
        if (cases[i].whole)
            assert_int_equal(a.limited, PQE_OK);
        else
            assert_int_not_equal(a.limited, PQE_OK);
        assert_true(speaks_of_damage(a.log));
        assert_true(cases[i].whole || speaks_of_damage(a.verify));
    }
}

/* A change of generation after the older copy fixes the log: parts from before it are noticed without a checkpoint. */
static void
test_head_knows(void **state)
{
    char statement[4200];
    pqe_vault *v;

    (void)state;
    restore("clean");
    v = vault_open(dir(), backend);
    put_ok(v, "later", "x", 1);
    pqe_vault_close(&v);
    snprintf(statement, sizeof statement,
             "ATTACH '%s/older/index.db' AS o; DELETE FROM main.audit; INSERT INTO main.audit SELECT * FROM o.audit; "
             "INSERT OR REPLACE INTO main.state SELECT * FROM o.state WHERE item IN (2, 3)",
             scratch);
    sql(dir(), statement);
    v = vault_open(dir(), backend);
    assert_int_equal(get_status(v, "a"), PQE_E_TAMPERED);
    assert_int_equal(pqe_audit_verify(v, NULL, 0, NULL, NULL), PQE_E_TAMPERED);
    pqe_vault_close(&v);
}

/* Two futures of one past, equally long: the log of one under the head of the other. */
static void
test_another_future(void **state)
{
    static const char *const futures[] = {"one", "two"};
    char statement[4200];
    pqe_vault *v;

    (void)state;
    for (int i = 0; i < 2; i++) {
        restore("older");
        v = vault_open(dir(), backend);
        put_ok(v, futures[i], "x", 1);
        pqe_vault_close(&v);
        scratch_copy(dir(), scratch_path(scratch, futures[i]));
    }
    snprintf(statement, sizeof statement,
             "ATTACH '%s/one/index.db' AS o; DELETE FROM main.audit; INSERT INTO main.audit SELECT * FROM o.audit; "
             "INSERT OR REPLACE INTO main.state SELECT * FROM o.state WHERE item IN (2, 3)",
             scratch);
    sql(dir(), statement);
    v = vault_open(dir(), backend);
    assert_int_equal(get_status(v, "a"), PQE_E_TAMPERED);
    assert_int_equal(pqe_audit_verify(v, NULL, 0, NULL, NULL), PQE_E_TAMPERED);
    pqe_vault_close(&v);
}

/* Put back under a running session: it has seen more. */
static void
test_running_session(void **state)
{
    char statement[4200];
    pqe_vault *v;

    (void)state;
    restore("clean");
    v = vault_open(dir(), backend);
    assert_int_equal(get_status(v, "a"), PQE_E_POLICY);
    snprintf(statement, sizeof statement,
             "ATTACH '%s/older/index.db' AS o; DELETE FROM main.audit; INSERT INTO main.audit SELECT * FROM o.audit; "
             "INSERT OR REPLACE INTO main.state SELECT * FROM o.state WHERE item IN (2, 3)",
             scratch);
    sql(dir(), statement);
    assert_int_equal(get_status(v, "a"), PQE_E_TAMPERED);
    pqe_vault_close(&v);
}

/* `audit --clear` mends, and gives no use away. */
static void
test_clear_mends(void **state)
{
    static const char *const statements[] = {
        "DELETE FROM state WHERE item = 3",
        "DELETE FROM state WHERE item = 2",
        "DELETE FROM state WHERE item > 1",
        "DELETE FROM audit",
        "INSERT INTO audit SELECT max(seq) + 1, bytes FROM audit",
    };

    (void)state;
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        pqe_vault *v;
        restore("clean");
        sql(dir(), statements[i]);
        v = vault_open(dir(), backend);
        assert_pqe_ok(pqe_audit_clear(v, err));
        assert_int_equal(get_status(v, "a"), PQE_E_POLICY);
        assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, NULL, err));
        put_ok(v, "new", "x", 1);
        assert_pqe_ok(pqe_audit_verify(v, NULL, 0, NULL, err));
        pqe_vault_close(&v);
        v = vault_open(dir(), backend);
        assert_int_equal(get_status(v, "a"), PQE_E_POLICY);
        assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, NULL, err));
        pqe_vault_close(&v);
    }
}

/* ---- spools ---- */

static bool
count_lost(void *user, const pqe_audit_entry *e)
{
    unsigned *n = user;

    n[e->op == PQE_AUDIT_LOST]++;
    return true;
}

static void
test_spool(void **state)
{
    enum { CUT, FLIP, APPEND, ZEROS, GARBAGE, LINK, DIRECTORY, REMOVE, CASES };

    (void)state;
    for (int what = 0; what < CASES; what++) {
        unsigned n[2] = {0};
        char command[9000];
        pqe_vault *v;
        restore("clean");
        v = vault_open(dir(), backend);
        for (int i = 0; i < 5; i++)
            assert_int_equal(get_status(v, "free"), PQE_OK);
        pqe_vault_close(&v);
        snprintf(command, sizeof command, "cd '%s' && set -- spool-* && [ -s $1 ] && %s", dir(),
                 what == CUT         ? "truncate -s -5 $1"
                 : what == FLIP      ? "printf x | dd of=$1 bs=1 seek=200 conv=notrunc status=none"
                 : what == APPEND    ? "cat $1 >copy && cat copy >>$1 && rm copy"
                 : what == ZEROS     ? "head -c 5000 /dev/zero >>$1"
                 : what == GARBAGE   ? "head -c 300000 /dev/urandom >$1"
                 : what == LINK      ? "mv $1 elsewhere && ln -s elsewhere $1"
                 : what == DIRECTORY ? "rm $1 && mkdir $1"
                                     : "rm $1");
        assert_int_equal(system(command), 0);
        v = vault_open(dir(), backend);
        assert_int_equal(get_status(v, "free"), PQE_OK);
        put_ok(v, "after", "x", 1);
        assert_pqe_ok(pqe_audit_verify(v, point, point_len, NULL, err));
        assert_pqe_ok(pqe_audit_list(v, NULL, count_lost, n, err));
        assert_int_equal(n[1], what != REMOVE); /* that it was touched is on record; that it was there is not */
        pqe_vault_close(&v);
    }
}

/* A spool that was taken in and is put back is nobody's. */
static void
test_old_spool(void **state)
{
    char command[9000];
    unsigned before[2] = {0}, after[2] = {0};
    pqe_vault *v;

    (void)state;
    restore("clean");
    v = vault_open(dir(), backend);
    assert_int_equal(get_status(v, "free"), PQE_OK);
    pqe_vault_close(&v);
    snprintf(command, sizeof command, "mkdir -p '%s/kept' && cp '%s'/spool-* '%s/kept/'", scratch, dir(), scratch);
    assert_int_equal(system(command), 0);
    v = vault_open(dir(), backend);
    assert_pqe_ok(pqe_audit_flush(v, err));
    assert_pqe_ok(pqe_audit_list(v, NULL, count_lost, before, err));
    snprintf(command, sizeof command, "cp '%s'/kept/spool-* '%s'/", scratch, dir());
    assert_int_equal(system(command), 0);
    assert_pqe_ok(pqe_audit_flush(v, err));
    assert_pqe_ok(pqe_audit_list(v, NULL, count_lost, after, err));
    assert_int_equal(after[0], before[0]);
    assert_int_equal(after[1], 0);
    pqe_vault_close(&v);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy),         cmocka_unit_test(test_uses_and_tail),
        cmocka_unit_test(test_entries),        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_older_parts),    cmocka_unit_test(test_head_knows),
        cmocka_unit_test(test_another_future), cmocka_unit_test(test_running_session),
        cmocka_unit_test(test_clear_mends),    cmocka_unit_test(test_spool),
        cmocka_unit_test(test_old_spool),
    };

    return cmocka_run_group_tests(tests, make, drop);
}
