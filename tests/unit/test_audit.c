/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log: what is recorded, in which order, how it is kept, shown, cut, cleared and compared with checkpoints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pqc_enclave/audit.h>
#include <pqc_enclave/policy.h>

#include "audit/audit.h"
#include "unit/support.h"
#include "vault/internal.h"

static char *scratch;
static pqe_backend *backend;
static pqe_vault *vault;

static const char *
dir(void)
{
    return scratch_path(scratch, "vault");
}

static int
make(void **state)
{
    (void)state;
    scratch = scratch_make();
    backend = backend_keyfile(scratch);
    vault = vault_create(dir(), backend);
    return 0;
}

static int
drop(void **state)
{
    (void)state;
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
    scratch_remove(scratch);
    return 0;
}

/* ---- what is in it ---- */

typedef struct lines {
    char text[65536];
    size_t len;
    uint64_t count, first, last;
} lines;

static bool
collect(void *user, const pqe_audit_entry *e)
{
    lines *l = user;

    if (l->count++ == 0)
        l->last = e->sequence;
    l->first = e->sequence;
    assert_int_equal(strlen(e->timestamp), 20);
    if (l->len < sizeof l->text - 2048)
        l->len += (size_t)sprintf(l->text + l->len, "%s%s %s %s%s%s%s;", e->success ? "" : "!",
                                  pqe_audit_op_name(e->op), e->name, e->kind != 0 ? pqe_kind_name(e->kind) : "-",
                                  e->caller[0] != 0 ? " by " : "", e->caller, e->by_application ? " app" : "");
    return true;
}

static lines *
list(const pqe_audit_query *query)
{
    static lines l;

    memset(&l, 0, sizeof l);
    assert_pqe_ok(pqe_audit_list(vault, query, collect, &l, err));
    return &l;
}

static void
expect(const char *wanted)
{
    const lines *l = list(NULL);

    if (strcmp(l->text, wanted) != 0)
        fail_msg("the log is\n%s\nnot\n%s", l->text, wanted);
}

static void
test_operations(void **state)
{
    pqe_policy_rule rule = {.size = sizeof rule, .artifact = "limited", .max_uses_per_hour = 1};
    pqe_audit_query query = {.size = sizeof query};
    pqe_audit_entry own = {.size = sizeof own, .op = PQE_AUDIT_ATTEST, .success = true, .name = "a", .details = "mine"};

    (void)state;
    expect("unlock  -;");
    put_ok(vault, "a", "x", 1);
    assert_int_equal(get_status(vault, "a"), PQE_OK);
    assert_int_equal(get_status(vault, "nothing"), PQE_E_NOT_FOUND);
    assert_pqe_ok(pqe_vault_set_caller(vault, "com.example", err));
    put_ok(vault, "limited", "x", 1);
    assert_pqe_ok(pqe_policy_set(vault, &rule, err));
    assert_int_equal(get_status(vault, "limited"), PQE_OK);
    assert_int_equal(get_status(vault, "limited"), PQE_E_POLICY);
    assert_pqe_ok(pqe_vault_set_caller(vault, NULL, err));
    assert_int_equal(pqe_delete(vault, "nothing", NULL), PQE_E_NOT_FOUND);
    assert_pqe_ok(pqe_audit_record(vault, &own, err));
    assert_pqe_ok(pqe_delete(vault, "a", err));
    assert_pqe_ok(pqe_rotate(vault, NULL, err));
    pqe_vault_lock(vault);
    assert_pqe_ok(pqe_vault_unlock(vault, 0, err));
    expect("unlock  -;lock  -;rotate  -;delete a other;attest a - app;!delete nothing -;"
           "!policy_violation limited other by com.example;get limited other by com.example;"
           "policy limited - by com.example;put limited other by com.example;"
           "!get nothing -;get a other;put a other;unlock  -;");
    query.op = PQE_AUDIT_GET;
    assert_int_equal(list(&query)->count, 3);
    query.limit = 2;
    assert_int_equal(list(&query)->count, 2);
    query = (pqe_audit_query){.size = sizeof query, .artifact = "a"};
    assert_int_equal(list(&query)->count, 4);
    query = (pqe_audit_query){.size = sizeof query, .device_id = "another"};
    assert_int_equal(list(&query)->count, 0);
    /* Over the handle's end, and in order. */
    pqe_vault_close(&vault);
    vault = vault_open(dir(), backend);
    assert_int_equal(list(NULL)->first, 1);
    assert_int_equal(list(NULL)->count, list(NULL)->last);
    assert_pqe_ok(pqe_verify(vault, NULL, NULL, NULL, NULL, err));
}

static void
test_bad_arguments(void **state)
{
    static char longest[PQE_AUDIT_TEXT_MAX + 2];
    pqe_audit_entry e = {.size = sizeof e, .op = PQE_AUDIT_GET};
    pqe_audit_op op;
    char small[8];
    size_t len;

    (void)state;
    memset(longest, 'x', sizeof longest - 1);
    for (int i = 1; pqe_audit_op_name((pqe_audit_op)i) != NULL; i++) {
        assert_true(pqe_audit_op_from_name(pqe_audit_op_name((pqe_audit_op)i), &op));
        assert_int_equal(op, i);
    }
    assert_null(pqe_audit_op_name((pqe_audit_op)0));
    assert_null(pqe_audit_op_name((pqe_audit_op)99));
    assert_false(pqe_audit_op_from_name("Get", &op));
    assert_int_equal(pqe_audit_record(vault, NULL, NULL), PQE_E_ARGUMENT);
    e.details = longest;
    assert_int_equal(pqe_audit_record(vault, &e, NULL), PQE_E_LIMIT);
    e.details = "\xff";
    assert_int_equal(pqe_audit_record(vault, &e, NULL), PQE_E_ARGUMENT);
    e.details = NULL;
    e.op = (pqe_audit_op)99;
    assert_int_equal(pqe_audit_record(vault, &e, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_audit_list(vault, NULL, NULL, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_audit_checkpoint(vault, small, sizeof small, &len, NULL), PQE_E_LIMIT);
    assert_int_equal(len, 0);
    assert_int_equal(pqe_audit_verify(vault, "nonsense", 8, NULL, NULL), PQE_E_ARGUMENT);
}

/* A name of the longest kind, cut where a character begins. */
static void
test_entry_coding(void **state)
{
    static char name[PQE_AUDIT_TEXT_MAX + 4];
    uint8_t body[PQE__AUDIT_BODY_MAX];
    pqe__event e = {.op = PQE_AUDIT_PUT, .success = true, .kind = PQE_KIND_CREDENTIAL, .time = 77}, got;
    size_t len;

    (void)state;
    memset(name, 'n', PQE_AUDIT_TEXT_MAX - 1);
    memcpy(name + PQE_AUDIT_TEXT_MAX - 1, "\xe2\x82\xac", 4);
    e.name = (pqe__text){name, strlen(name)};
    len = pqe__event_encode(&e, body);
    assert_pqe_ok(pqe__event_decode(body, len, &got, err));
    assert_int_equal(got.name.len, PQE_AUDIT_TEXT_MAX - 1);
    assert_int_equal(got.time, 77);
    for (size_t n = 0; n < len; n++)
        assert_int_equal(pqe__event_decode(body, n, &got, NULL), PQE_E_TAMPERED);
    body[1] = 99;
    assert_int_equal(pqe__event_decode(body, len, &got, NULL), PQE_E_TAMPERED);
}

/* ---- groups ---- */

static size_t
spool_bytes(void)
{
    DIR *d = opendir(dir());
    struct dirent *entry;
    struct stat st;
    size_t sum = 0;

    assert_non_null(d);
    while ((entry = readdir(d)) != NULL)
        if (strncmp(entry->d_name, "spool-", 6) == 0 && fstatat(dirfd(d), entry->d_name, &st, 0) == 0)
            sum += (size_t)st.st_size;
    closedir(d);
    return sum;
}

/* Reads change the index in no way; they reach the spool in groups, and a crash loses no more than one. */
static void
test_groups(void **state)
{
    pqe_vault_info before, after;
    struct stat was, is;
    pid_t child;
    int status;

    (void)state;
    put_ok(vault, "a", "x", 1);
    pqe_vault_close(&vault);
    assert_int_equal(stat(scratch_path(dir(), "index.db"), &was), 0);
    vault = vault_open(dir(), backend);
    assert_pqe_ok(pqe_vault_get_info(vault, &before, err));
    for (int i = 0; i < 10; i++)
        assert_int_equal(get_status(vault, "a"), PQE_OK);
    pqe_vault_close(&vault);
    assert_int_equal(stat(scratch_path(dir(), "index.db"), &is), 0);
    assert_int_equal(was.st_mtim.tv_nsec, is.st_mtim.tv_nsec);
    assert_int_equal(stat(scratch_path(dir(), "index.db-wal"), &is), 0);
    assert_int_equal(is.st_size, 0);
    assert_true(spool_bytes() > 10 * 40);
    vault = vault_open(dir(), backend);
    assert_pqe_ok(pqe_vault_get_info(vault, &after, err));
    assert_int_equal(before.generation, after.generation);
    assert_pqe_ok(pqe_audit_flush(vault, err));
    assert_int_equal(spool_bytes(), 0);
    pqe_vault_close(&vault);

    if ((child = fork()) == 0) {
        pqe_backend *b = backend_keyfile(scratch);
        vault = vault_open(dir(), b);
        for (int i = 0; i < 1000; i++)
            if (get_status(vault, "a") != PQE_OK)
                _exit(1);
        _exit(0); /* without closing: what was in memory is lost */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    vault = vault_open(dir(), backend);
    {
        pqe_audit_query query = {.size = sizeof query, .op = PQE_AUDIT_GET};
        assert_in_range(list(&query)->count, 10 + 1000 - PQE_AUDIT_PENDING_MAX, 10 + 1000);
    }
    assert_pqe_ok(pqe_audit_verify(vault, NULL, 0, NULL, err));
}

/* Several processes append, by spool and by transaction; the chain is one line. */
static void
test_processes(void **state)
{
    enum { PROCESSES = 6, ROUNDS = 15 };
    pqe_audit_query gets = {.size = sizeof gets, .op = PQE_AUDIT_GET},
                    puts_ = {.size = sizeof puts_, .op = PQE_AUDIT_PUT};
    pid_t children[PROCESSES];
    int status;

    (void)state;
    put_ok(vault, "a", "x", 1);
    assert_pqe_ok(pqe_audit_flush(vault, err));
    pqe_vault_close(&vault);
    for (int p = 0; p < PROCESSES; p++) {
        if ((children[p] = fork()) != 0)
            continue;
        for (int i = 0; i < ROUNDS; i++) {
            pqe_backend *b = backend_keyfile(scratch);
            vault = vault_open(dir(), b);
            if (get_status(vault, "a") != PQE_OK)
                _exit(1);
            if (p < 2)
                put_ok(vault, p == 0 ? "b" : "c", "y", 1);
            pqe_vault_close(&vault);
            pqe_backend_close(&b);
        }
        _exit(0);
    }
    for (int p = 0; p < PROCESSES; p++) {
        assert_int_equal(waitpid(children[p], &status, 0), children[p]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    vault = vault_open(dir(), backend);
    assert_pqe_ok(pqe_audit_verify(vault, NULL, 0, NULL, err));
    assert_int_equal(list(&gets)->count, PROCESSES * ROUNDS);
    assert_int_equal(list(&puts_)->count, 1 + 2 * ROUNDS);
    assert_pqe_ok(pqe_verify(vault, NULL, NULL, NULL, NULL, err));
}

/* ---- checkpoints, cutting, clearing ---- */

static char point[PQE_AUDIT_CHECKPOINT_MAX];
static size_t point_len;

static void
take_checkpoint(void)
{
    assert_pqe_ok(pqe_audit_checkpoint(vault, point, sizeof point, &point_len, err));
    assert_int_equal(strlen(point), point_len);
}

static pqe_status
compare(void)
{
    return pqe_audit_verify(vault, point, point_len, NULL, NULL);
}

static void
test_checkpoints(void **state)
{
    pqe_rotate_opts rekey = {.size = sizeof rekey, .rekey = true};
    pqe_audit_info info;
    char saved[PQE_AUDIT_CHECKPOINT_MAX];

    (void)state;
    put_ok(vault, "a", "x", 1);
    take_checkpoint();
    assert_int_equal(compare(), PQE_OK);
    put_ok(vault, "b", "x", 1);
    assert_int_equal(compare(), PQE_OK);
    assert_pqe_ok(pqe_rotate(vault, &rekey, err)); /* other keys, the same chain */
    assert_int_equal(compare(), PQE_OK);
    assert_pqe_ok(pqe_audit_verify(vault, point, point_len, &info, err));
    assert_int_equal(info.chain, 1);
    assert_false(info.signed_checkpoints);
    /* Every byte of it counts. */
    memcpy(saved, point, sizeof saved);
    for (size_t i = 0; i < point_len; i++) {
        size_t time_at = (size_t)(strstr(saved, "time: ") - saved);
        point[i] ^= 1;
        if (i < time_at || i > time_at + 15) /* the time is not a claim about the chain */
            assert_int_not_equal(compare(), PQE_OK);
        point[i] = saved[i];
    }
    for (size_t n = 0; n < point_len; n++)
        assert_int_equal(pqe_audit_verify(vault, point, n, NULL, NULL), PQE_E_ARGUMENT);
    /* A clear: the checkpoint at the very end of the old chain is answered for, an earlier one cannot be. */
    take_checkpoint();
    assert_int_equal(compare(), PQE_OK);
    assert_pqe_ok(pqe_audit_clear(vault, err));
    assert_int_equal(pqe_audit_verify(vault, saved, strlen(saved), NULL, NULL), PQE_E_STATE);
    assert_int_equal(list(NULL)->count, 1);
    assert_non_null(strstr(list(NULL)->text, "clear"));
    assert_pqe_ok(pqe_audit_get_info(vault, &info, err));
    assert_int_equal(info.chain, 2);
    take_checkpoint();
    put_ok(vault, "c", "x", 1);
    assert_int_equal(compare(), PQE_OK);
    assert_pqe_ok(pqe_verify(vault, NULL, NULL, NULL, NULL, err));
}

/* Beyond the cap the oldest entries go, and the chain still holds from where it then begins. */
static void
test_cap(void **state)
{
    pqe_audit_info info;

    (void)state;
    pqe__audit_cap = 20000;
    put_ok(vault, "a", "x", 1);
    take_checkpoint();
    for (int i = 0; i < 300; i++) {
        put_ok(vault, "a", "x", 1);
        if (i % 50 == 0)
            assert_pqe_ok(pqe_audit_verify(vault, NULL, 0, NULL, err));
    }
    assert_pqe_ok(pqe_audit_verify(vault, NULL, 0, &info, err));
    assert_true(info.bytes <= 20000);
    assert_true(info.first_sequence > 150);
    assert_int_equal(list(NULL)->count, info.last_sequence - info.first_sequence + 1);
    assert_int_equal(compare(), PQE_E_STATE);
    take_checkpoint();
    for (int i = 0; i < 5; i++)
        put_ok(vault, "a", "x", 1);
    assert_int_equal(compare(), PQE_OK);
    pqe__audit_cap = PQE_AUDIT_BYTES_MAX;
}

/* ---- expiry ---- */

/* A session that ends by itself writes what was noted, and that it ended. */
static void
test_expiry(void **state)
{
    (void)state;
    put_ok(vault, "a", "x", 1);
    assert_pqe_ok(pqe_vault_unlock(vault, 3, err));
    assert_int_equal(get_status(vault, "a"), PQE_OK);
    while (pqe_vault_is_unlocked(vault))
        usleep(10000);
    assert_int_equal(get_status(vault, "a"), PQE_E_LOCKED);
    usleep(200000); /* the watcher may be writing */
    assert_pqe_ok(pqe_vault_unlock(vault, 0, err));
    expect("unlock  -;lock  -;get a other;unlock  -;lock  -;put a other;unlock  -;");
}

/* ---- unlocks that failed ---- */

static void
test_failed_unlocks(void **state)
{
    pqe_failed_unlock failed[PQE_FAILED_UNLOCKS_MAX];
    size_t count;

    (void)state;
    pqe_vault_lock(vault);
    assert_int_equal(rename(scratch_path(scratch, "key"), scratch_path(scratch, "elsewhere")), 0);
    for (int i = 0; i < 40; i++)
        assert_int_equal(pqe_vault_unlock(vault, 0, NULL), PQE_E_DENIED);
    assert_pqe_ok(pqe_audit_failed_unlocks(vault, failed, PQE_FAILED_UNLOCKS_MAX, &count, err));
    assert_int_equal(count, PQE_FAILED_UNLOCKS_MAX);
    assert_int_equal(failed[0].status, PQE_E_DENIED);
    assert_int_equal(strlen(failed[0].timestamp), 20);
    assert_int_equal(rename(scratch_path(scratch, "elsewhere"), scratch_path(scratch, "key")), 0);
    pqe_vault_close(&vault);
    /* Nothing of it is believed, whatever stands there. */
    sql(dir(), "UPDATE state SET bytes = x'00112233445566778899aabbccddeeff' WHERE item = 4");
    vault = vault_open(dir(), backend);
    assert_pqe_ok(pqe_audit_failed_unlocks(vault, failed, PQE_FAILED_UNLOCKS_MAX, &count, err));
    assert_int_equal(count, 1);
    assert_pqe_ok(pqe_verify(vault, NULL, NULL, NULL, NULL, err));
}

static void
test_read_only(void **state)
{
    pqe_vault_opts o = {.size = sizeof o, .dir = dir(), .backend = backend, .read_only = true};
    size_t bytes;

    (void)state;
    put_ok(vault, "a", "x", 1);
    pqe_vault_close(&vault);
    bytes = spool_bytes();
    assert_pqe_ok(pqe_vault_open(&o, &vault, err));
    assert_pqe_ok(pqe_vault_unlock(vault, 0, err));
    for (int i = 0; i < 200; i++)
        assert_int_equal(get_status(vault, "a"), PQE_OK);
    assert_int_equal(pqe_audit_flush(vault, NULL), PQE_E_READ_ONLY);
    assert_true(list(NULL)->count > 0);
    assert_pqe_ok(pqe_audit_verify(vault, NULL, 0, NULL, err));
    pqe_vault_close(&vault);
    assert_int_equal(spool_bytes(), bytes);
}

static void
test_in_memory(void **state)
{
    pqe_backend *b = backend_memory();

    (void)state;
    pqe_vault_close(&vault);
    vault = vault_create(NULL, b);
    put_ok(vault, "a", "x", 1);
    for (int i = 0; i < 200; i++)
        assert_int_equal(get_status(vault, "a"), PQE_OK);
    pqe_vault_lock(vault);
    assert_pqe_ok(pqe_vault_unlock(vault, 0, err));
    assert_int_equal(list(NULL)->count, 1 + 1 + 200 + 1 + 1);
    assert_pqe_ok(pqe_audit_verify(vault, NULL, 0, NULL, err));
    pqe_vault_close(&vault);
    pqe_backend_close(&b);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make, drop)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_operations), TEST(test_bad_arguments), TEST(test_entry_coding), TEST(test_groups),
        TEST(test_processes),  TEST(test_checkpoints),   TEST(test_cap),          TEST(test_failed_unlocks),
        TEST(test_expiry),     TEST(test_read_only),     TEST(test_in_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
