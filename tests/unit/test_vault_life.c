/* SPDX-License-Identifier: Apache-2.0 */
/* A vault's life through its public interface: locked, rotated, forked, closed; what becomes of session secrets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit/support.h"

static bool
see_none(void *user, const pqe_artifact *artifact)
{
    (void)user;
    (void)artifact;
    fail();
    return false;
}

static void
test_locked_calls(void **state)
{
    char *dir = scratch_make();
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
    pqe_put_opts o = {.size = sizeof o, .name = "l", .kind = PQE_KIND_OTHER};
    pqe_artifact *a = NULL;
    pqe_writer *w = NULL;
    pqe_vault_info info;
    char pem[PQE_GRANT_PEM_MAX];
    size_t len;

    (void)state;
    put_ok(v, "l", "x", 1);
    pqe_vault_lock(v);
    pqe_vault_lock(v);
    assert_false(pqe_vault_is_unlocked(v));
    assert_int_equal(pqe_vault_ttl(v), 0);
    assert_int_equal(pqe_put(v, &o, "y", 1, NULL, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_writer_open(v, &o, &w, NULL), PQE_E_LOCKED);
    assert_int_equal(get_status(v, "l"), PQE_E_LOCKED);
    assert_int_equal(pqe_info(v, "l", &a, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_delete(v, "l", NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_list(v, see_none, NULL, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_verify(v, NULL, NULL, NULL, NULL, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_rotate(v, NULL, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_vault_change_passphrase(v, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_grant_public_key(v, pem, sizeof pem, &len, NULL), PQE_E_LOCKED);
    assert_pqe_ok(pqe_vault_get_info(v, &info, err));
    assert_string_equal(info.backend, "file");
    assert_string_equal(info.key_source, "key-file");
    assert_int_equal(info.artifact_count, 1);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    scratch_remove(dir);
}

static void
test_forked_child_is_locked(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    uint8_t *content = make_content(100000, 9), buf[16];
    pqe_put_opts o = {.size = sizeof o, .name = "y", .kind = PQE_KIND_OTHER};
    pqe_reader *r = NULL;
    pqe_writer *w = NULL;
    size_t got;
    int status = 0;
    pid_t child;

    (void)state;
    put_ok(v, "x", content, 100000);
    assert_pqe_ok(pqe_reader_open(v, "x", &r, err));
    assert_pqe_ok(pqe_writer_open(v, &o, &w, err));
    child = fork();
    if (child == 0) {
        bool ok = !pqe_vault_is_unlocked(v) && get_status(v, "x") == PQE_E_LOCKED &&
                  pqe_put(v, &o, "z", 1, NULL, NULL) == PQE_E_LOCKED &&
                  pqe_reader_read(r, buf, sizeof buf, &got, NULL) == PQE_E_LOCKED &&
                  pqe_writer_write(w, "z", 1, NULL) == PQE_E_LOCKED && pqe_vault_unlock(v, 0, NULL) == PQE_E_LOCKED;
        pqe_writer_abort(&w);
        pqe_reader_close(&r);
        pqe_vault_close(&v);
        pqe_backend_close(&b);
        /* The child may have a vault of its own. */
        b = backend_memory();
        v = vault_create(NULL, b);
        put_ok(v, "own", "z", 1);
        get_equals(v, "own", "z", 1);
        pqe_vault_close(&v);
        pqe_backend_close(&b);
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_pqe_ok(pqe_writer_write(w, "z", 1, err));
    assert_pqe_ok(pqe_writer_finish(&w, NULL, err));
    assert_pqe_ok(pqe_reader_read(r, buf, sizeof buf, &got, err));
    assert_memory_equal(buf, content, sizeof buf);
    pqe_reader_close(&r);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(content);
}

static void
rotate_and_check(bool rekey)
{
    char *dir = scratch_make();
    pqe_backend *b = backend_keyfile(dir), *b2 = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
    pqe_rotate_opts ro = {.size = sizeof ro, .rekey = rekey};
    uint8_t *content = make_content(90000, 5);
    char before[PQE_GRANT_PEM_MAX], after[PQE_GRANT_PEM_MAX];
    pqe_vault *other;
    size_t len;

    put_ok(v, "big", content, 90000);
    put_ok(v, "small", content, 10);
    pqe_vault_lock(v);
    assert_pqe_ok(pqe_vault_unlock(v, 0, err));
    put_ok(v, "second session", content, 20);
    other = vault_open(scratch_path(dir, "vault"), b2);
    get_equals(other, "small", content, 10);
    assert_pqe_ok(pqe_grant_public_key(v, before, sizeof before, &len, err));
    for (int i = 0; i < 3; i++)
        assert_pqe_ok(pqe_rotate(v, &ro, err));
    assert_pqe_ok(pqe_grant_public_key(v, after, sizeof after, &len, err));
    assert_string_not_equal(before, after);
    get_equals(v, "big", content, 90000);
    put_ok(v, "after", content, 30);
    /* A session that was open elsewhere carries on. */
    get_equals(other, "big", content, 90000);
    get_equals(other, "after", content, 30);
    put_ok(other, "from other", content, 40);
    get_equals(v, "from other", content, 40);
    assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, NULL, err));
    pqe_vault_close(&other);
    pqe_vault_close(&v);
    v = vault_open(scratch_path(dir, "vault"), b);
    get_equals(v, "big", content, 90000);
    get_equals(v, "second session", content, 20);
    assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, NULL, err));
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    pqe_backend_close(&b2);
    free(content);
    scratch_remove(dir);
}

static void
test_rotate(void **state)
{
    (void)state;
    rotate_and_check(false);
}

static void
test_rotate_rekey(void **state)
{
    (void)state;
    rotate_and_check(true);
}

/* Readers and writers may outlive their vault: they say locked, and closing them is safe. */
static void
test_vault_closed_first(void **state)
{
    char *dir = scratch_make();
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
    uint8_t *content = make_content(200000, 8), buf[10];
    pqe_put_opts o = {.size = sizeof o, .name = "w", .kind = PQE_KIND_OTHER};
    pqe_reader *r = NULL;
    pqe_writer *w = NULL;
    size_t got = 1;

    (void)state;
    put_ok(v, "r", content, 200000);
    assert_pqe_ok(pqe_reader_open(v, "r", &r, err));
    assert_pqe_ok(pqe_writer_open(v, &o, &w, err));
    assert_pqe_ok(pqe_writer_write(w, content, 200000, err));
    pqe_vault_close(&v);
    assert_int_equal(pqe_reader_read(r, buf, sizeof buf, &got, NULL), PQE_E_LOCKED);
    assert_int_equal(got, 0);
    assert_int_equal(pqe_writer_write(w, content, 1, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_writer_finish(&w, NULL, NULL), PQE_E_STATE);
    pqe_reader_close(&r);
    v = vault_open(scratch_path(dir, "vault"), b);
    assert_int_equal(get_status(v, "w"), PQE_E_NOT_FOUND);
    assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, NULL, err));
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(content);
    scratch_remove(dir);
}

/* SQLite's lock accounts do not survive a fork: the child must not open what its parent has open. */
static void
test_child_may_not_reopen(void **state)
{
    char *dir = scratch_make();
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
    int status = 0;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        pqe_backend *own = backend_keyfile(dir);
        pqe_vault_opts o = {.size = sizeof o, .dir = scratch_path(dir, "vault"), .backend = own};
        pqe_vault *again = NULL;
        bool refused = pqe_vault_open(&o, &again, NULL) == PQE_E_STATE && again == NULL;
        _exit(refused ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    pqe_vault_close(&v);
    v = vault_open(scratch_path(dir, "vault"), b);
    pqe_vault_close(&v);
    child = fork();
    if (child == 0) {
        v = vault_open(scratch_path(dir, "vault"), backend_keyfile(dir));
        put_ok(v, "from the child", "x", 1);
        pqe_vault_close(&v);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    v = vault_open(scratch_path(dir, "vault"), b);
    get_equals(v, "from the child", "x", 1);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    scratch_remove(dir);
}

static uint64_t
count_secrets(const char *dir)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    uint64_t n;

    assert_int_equal(sqlite3_open(scratch_path(dir, "index.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM secret", -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    n = (uint64_t)sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

/* A session secret goes with the last artifact that used it, its own session's too. */
static void
test_no_unused_secrets(void **state)
{
    char *dir = scratch_make();
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);

    (void)state;
    for (int i = 0; i < 5; i++) {
        put_ok(v, "a", "1", 1);
        assert_pqe_ok(pqe_delete(v, "a", err));
        put_ok(v, "b", "1", 1);
        pqe_vault_lock(v);
        assert_pqe_ok(pqe_vault_unlock(v, 0, err));
    }
    pqe_vault_close(&v);
    assert_int_equal(count_secrets(scratch_path(dir, "vault")), 1);
    pqe_backend_close(&b);
    scratch_remove(dir);
}

/* Two handles as two processes: one's session secret goes with its last artifact, its next put must not use it. */
static void
test_dropped_session_secret(void **state)
{
    char *dir = scratch_make();
    pqe_backend *b = backend_keyfile(dir), *b2 = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b), *other = vault_open(scratch_path(dir, "vault"), b2);

    (void)state;
    put_ok(v, "a", "1", 1);
    assert_pqe_ok(pqe_delete(other, "a", err));
    put_ok(v, "b", "2", 1);
    get_equals(other, "b", "2", 1);
    pqe_vault_close(&v);
    pqe_vault_close(&other);
    v = vault_open(scratch_path(dir, "vault"), b);
    get_equals(v, "b", "2", 1);
    assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, NULL, err));
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    pqe_backend_close(&b2);
    scratch_remove(dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_locked_calls),
        cmocka_unit_test(test_forked_child_is_locked),
        cmocka_unit_test(test_rotate),
        cmocka_unit_test(test_rotate_rekey),
        cmocka_unit_test(test_vault_closed_first),
        cmocka_unit_test(test_child_may_not_reopen),
        cmocka_unit_test(test_no_unused_secrets),
        cmocka_unit_test(test_dropped_session_secret),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
