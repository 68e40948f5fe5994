/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: how long they last, by which clock, what ends them, and that their keys are wiped when they end. Linked with
 * --wrap=time and --wrap=clock_gettime, so that the wall clock can be set for this program alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "unit/session_support.h"
#include "unit/support.h"
#include "vault/internal.h"

#define TEN_YEARS ((time_t)10 * 365 * 86400)

/* ---- how long ---- */

static void
test_ttl(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);

    (void)state;
    assert_true(pqe_vault_is_unlocked(v));
    assert_in_range(pqe_vault_ttl(v), PQE_DEFAULT_TTL_SECONDS - 60, PQE_DEFAULT_TTL_SECONDS);
    assert_pqe_ok(pqe_vault_unlock(v, 100, err));
    assert_in_range(pqe_vault_ttl(v), 40, 100);
    assert_pqe_ok(pqe_vault_unlock(v, 0, err));
    assert_in_range(pqe_vault_ttl(v), PQE_DEFAULT_TTL_SECONDS - 60, PQE_DEFAULT_TTL_SECONDS);
    assert_pqe_ok(pqe_vault_unlock(v, UINT32_MAX, err));
    assert_true(pqe_vault_ttl(v) > UINT32_MAX - 60);
    assert_true(pqe_vault_is_unlocked(v));
    pqe_vault_lock(v);
    assert_int_equal(pqe_vault_ttl(v), 0);
    assert_false(pqe_vault_is_unlocked(v));
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

static bool
never(void *user, const pqe_artifact *artifact)
{
    (void)artifact;
    ++*(int *)user;
    return true;
}

static void
assert_all_calls_locked(pqe_vault *v)
{
    pqe_put_opts o = {.size = sizeof o, .name = "a", .kind = PQE_KIND_OTHER};
    pqe_artifact *a = NULL;
    pqe_reader *r = NULL;
    pqe_writer *w = NULL;
    char pem[PQE_GRANT_PEM_MAX];
    int called = 0;
    size_t len;

    assert_int_equal(pqe_put(v, &o, "y", 1, NULL, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_writer_open(v, &o, &w, NULL), PQE_E_LOCKED);
    assert_int_equal(get_status(v, "a"), PQE_E_LOCKED);
    assert_int_equal(pqe_reader_open(v, "a", &r, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_info(v, "a", &a, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_list(v, never, &called, NULL), PQE_E_LOCKED);
    assert_int_equal(called, 0);
    assert_int_equal(pqe_delete(v, "a", NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_verify(v, NULL, NULL, NULL, NULL, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_rotate(v, NULL, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_vault_change_passphrase(v, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_grant_public_key(v, pem, sizeof pem, &len, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_vault_ttl(v), 0);
    assert_false(pqe_vault_is_unlocked(v));
}

/* What was under way when the session ended is over for good; what was stored before is as it was. */
static void
test_expiry(void **state)
{
    char *dir = scratch_make();
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
    pqe_put_opts o = {.size = sizeof o, .name = "a", .kind = PQE_KIND_OTHER};
    uint8_t *content = make_content(100000, 1), buf[64];
    pqe_reader *r = NULL;
    pqe_writer *written = NULL, *finished = NULL;
    uint64_t began;
    size_t got;

    (void)state;
    put_ok(v, "a", content, 100000);
    began = now_ms();
    assert_pqe_ok(pqe_vault_unlock(v, SHORT_TTL, err));
    assert_pqe_ok(pqe_reader_open(v, "a", &r, err));
    assert_pqe_ok(pqe_reader_read(r, buf, sizeof buf, &got, err));
    assert_pqe_ok(pqe_writer_open(v, &o, &written, err));
    assert_pqe_ok(pqe_writer_open(v, &o, &finished, err));
    assert_pqe_ok(pqe_writer_write(written, "new", 3, err));
    assert_pqe_ok(pqe_writer_write(finished, "new", 3, err));
    while (pqe_vault_is_unlocked(v))
        sleep_ms(1);
    assert_in_time(began, now_ms(), SHORT_TTL);
    assert_all_calls_locked(v);
    memset(buf, 0x55, sizeof buf);
    assert_int_equal(pqe_reader_read(r, buf, sizeof buf, &got, NULL), PQE_E_LOCKED);
    assert_int_equal(got, 0);
    assert_true(is_wiped(buf, sizeof buf));
    assert_int_equal(pqe_reader_read_at(r, 0, buf, sizeof buf, &got, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_writer_write(written, "er", 2, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_writer_finish(&finished, NULL, NULL), PQE_E_LOCKED);
    assert_pqe_ok(pqe_vault_unlock(v, 0, err));
    assert_int_equal(pqe_reader_read(r, buf, sizeof buf, &got, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_writer_finish(&written, NULL, NULL), PQE_E_STATE);
    get_equals(v, "a", content, 100000);
    assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, NULL, err));
    pqe_reader_close(&r);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(content);
    scratch_remove(dir);
}

/* The watcher alone ends the session; nobody calls. */
static void
test_wiped_without_a_call(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    pqe_put_opts o = {.size = sizeof o, .name = "b", .kind = PQE_KIND_OTHER};
    const pqe__secrets *secret;
    const uint8_t *backend_key;
    pqe_reader *r = NULL;
    pqe_writer *w = NULL;
    uint64_t began;

    (void)state;
    put_ok(v, "a", "content", 7);
    began = now_ms();
    assert_pqe_ok(pqe_vault_unlock(v, SHORT_TTL, err));
    assert_pqe_ok(pqe_reader_open(v, "a", &r, err));
    assert_pqe_ok(pqe_writer_open(v, &o, &w, err));
    secret = v->session->keys->secret;
    backend_key = v->session->backend_key;
    assert_false(is_wiped(secret->origin, 32));
    assert_false(is_wiped(secret->root, 32));
    assert_false(is_wiped(secret->wrap[0], 32));
    assert_false(is_wiped(backend_key, 32));
    assert_in_time(began, wait_until_gone(v), SHORT_TTL);
    assert_true(is_wiped(secret, sizeof *secret));
    assert_true(is_wiped(backend_key, 32));
    pqe_writer_abort(&w);
    pqe_reader_close(&r);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

static void
test_shorter_and_longer(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *shorter = vault_create(NULL, b), *longer = vault_create(NULL, b);
    pqe_reader *r = NULL;
    uint64_t began;
    uint8_t byte;
    size_t got;

    (void)state;
    put_ok(longer, "a", "content", 7);
    assert_pqe_ok(pqe_vault_unlock(shorter, 1000, err));
    assert_pqe_ok(pqe_vault_unlock(longer, SHORT_TTL, err));
    assert_pqe_ok(pqe_reader_open(longer, "a", &r, err));
    began = now_ms();
    assert_pqe_ok(pqe_vault_unlock(shorter, 1, err));
    assert_pqe_ok(pqe_vault_unlock(longer, 1000, err));
    /* The first session ended when the second began. */
    assert_int_equal(pqe_reader_read(r, &byte, 1, &got, NULL), PQE_E_LOCKED);
    assert_in_time(began, wait_until_gone(shorter), 1);
    sleep_ms(SHORT_TTL * 1000); /* so that the first one would have ended too */
    assert_true(pqe_vault_is_unlocked(longer));
    assert_in_range(pqe_vault_ttl(longer), 900, 1000);
    get_equals(longer, "a", "content", 7);
    pqe_reader_close(&r);
    pqe_vault_close(&shorter);
    pqe_vault_close(&longer);
    pqe_backend_close(&b);
}

#define VAULTS 12

/* Opened in an order that is not that of their ends. */
static void
test_many_vaults(void **state)
{
    static const uint32_t ttls[] = {2, 1000, 1, 2, 1, 1000, 1, 3, 1000, 3, 2, 1};
    pqe_backend *b = backend_memory();
    pqe_vault *vaults[VAULTS];
    uint64_t began[VAULTS];

    (void)state;
    for (size_t i = 0; i < VAULTS; i++)
        vaults[i] = vault_create(NULL, b);
    for (size_t i = 0; i < VAULTS; i++) {
        began[i] = now_ms();
        assert_pqe_ok(pqe_vault_unlock(vaults[i], ttls[i], err));
    }
    for (uint32_t ttl = 1; ttl <= 3; ttl++)
        for (size_t i = 0; i < VAULTS; i++)
            if (ttls[i] == ttl)
                assert_in_time(began[i], wait_until_gone(vaults[i]), ttl);
    for (size_t i = 0; i < VAULTS; i++) {
        assert_int_equal(pqe_vault_is_unlocked(vaults[i]), ttls[i] == 1000);
        pqe_vault_close(&vaults[i]);
    }
    pqe_backend_close(&b);
}

/* ---- what ends it ---- */

static void
test_close_while_unlocked(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    const pqe__secrets *secret;

    (void)state;
    assert_pqe_ok(pqe_vault_unlock(v, SHORT_TTL, err));
    put_ok(v, "a", "content", 7);
    secret = v->session->keys->secret;
    assert_false(is_wiped(secret, sizeof *secret));
    pqe_vault_close(&v);
    assert_true(is_wiped(secret, sizeof *secret));
    sleep_ms(SHORT_TTL * 1000 + 200); /* the watcher has forgotten it */
    v = vault_create(NULL, b);
    put_ok(v, "a", "content", 7);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

/* A failed unlock leaves a locked vault locked and a running session alone. */
static void
assert_unlock_fails(const char *dir, pqe_backend *b, pqe_status expected)
{
    pqe_vault *v = vault_open_locked(dir, b);
    pqe_error error = {0};

    assert_int_equal(pqe_vault_unlock(v, 0, &error), expected);
    assert_int_equal(error.status, expected);
    assert_true(error.message[0] != '\0');
    assert_false(pqe_vault_is_unlocked(v));
    assert_int_equal(get_status(v, "a"), PQE_E_LOCKED);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

static void
test_unlock_errors(void **state)
{
    char *dir = scratch_make(), *other = scratch_make();
    const char *vault = scratch_path(dir, "vault"), *key = scratch_path(dir, "key"), *away = scratch_path(dir, "away");
    pqe_backend *b = backend_keyfile(dir), *b2 = backend_keyfile(other);
    pqe_vault *v = vault_create(vault, b), *v2 = vault_create(scratch_path(other, "vault"), b2);

    (void)state;
    put_ok(v, "a", "content", 7);
    assert_unlock_fails(vault, backend_keyfile(other), PQE_E_DENIED); /* another vault's key file */
    assert_unlock_fails(vault, backend_memory(), PQE_E_DENIED);       /* not the backend that holds the key */
    assert_int_equal(rename(key, away), 0);
    assert_unlock_fails(vault, backend_keyfile(dir), PQE_E_DENIED); /* no key file */
    assert_int_equal(pqe_vault_unlock(v, 1, NULL), PQE_E_DENIED);
    assert_in_range(pqe_vault_ttl(v), PQE_DEFAULT_TTL_SECONDS - 60, PQE_DEFAULT_TTL_SECONDS);
    get_equals(v, "a", "content", 7);
    assert_int_equal(rename(away, key), 0);
    assert_pqe_ok(pqe_vault_unlock(v, 0, err));
    get_equals(v, "a", "content", 7);
    pqe_vault_close(&v);
    pqe_vault_close(&v2);
    pqe_backend_close(&b);
    pqe_backend_close(&b2);
    scratch_remove(dir);
    scratch_remove(other);
}

/* ---- by which clock ---- */

static void
put_and_get_time(pqe_vault *v, char created_at[32])
{
    pqe_put_opts o = {.size = sizeof o, .name = "a", .kind = PQE_KIND_OTHER};
    pqe_artifact *a = NULL;

    assert_pqe_ok(pqe_put(v, &o, "x", 1, &a, err));
    memcpy(created_at, a->created_at, 32);
    pqe_artifact_free(&a);
}

/* Setting the clock changes what is written about an artifact, and neither lengthens nor shortens a session. */
static void
test_clock_is_set(void **state)
{
    static const time_t shifts[] = {TEN_YEARS, -TEN_YEARS, 3600, -3600};
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    char before[32], after[32];

    (void)state;
    for (size_t i = 0; i < sizeof shifts / sizeof shifts[0]; i++) {
        uint64_t began = now_ms();
        assert_pqe_ok(pqe_vault_unlock(v, SHORT_TTL, err));
        put_and_get_time(v, before);
        clock_shift = shifts[i];
        assert_in_range(pqe_vault_ttl(v), 1, SHORT_TTL);
        put_and_get_time(v, after);
        assert_int_equal(strcmp(after, before) > 0, shifts[i] > 0);
        assert_in_time(began, wait_until_gone(v), SHORT_TTL);
        assert_int_equal(get_status(v, "a"), PQE_E_LOCKED);
        clock_shift = 0;
    }
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

/* The kernel does the watcher's counting: its timer must be one that setting the clock does not move and that counts
 * suspend. */
static void
test_timer_clock(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    DIR *d = opendir("/proc/self/fdinfo");
    const struct dirent *entry;
    size_t timers = 0;

    (void)state;
    assert_non_null(d);
    while ((entry = readdir(d)) != NULL) {
        char path[300], line[128];
        int clock;
        FILE *f;
        snprintf(path, sizeof path, "/proc/self/fdinfo/%s", entry->d_name);
        if ((f = fopen(path, "re")) == NULL)
            continue;
        while (fgets(line, sizeof line, f) != NULL) {
            if (sscanf(line, "clockid: %d", &clock) != 1)
                continue;
            timers++;
            assert_int_equal(clock, CLOCK_BOOTTIME);
        }
        fclose(f);
    }
    closedir(d);
    assert_int_equal(timers, 1);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ttl),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_wiped_without_a_call),
        cmocka_unit_test(test_shorter_and_longer),
        cmocka_unit_test(test_many_vaults),
        cmocka_unit_test(test_close_while_unlocked),
        cmocka_unit_test(test_unlock_errors),
        cmocka_unit_test(test_clock_is_set),
        cmocka_unit_test(test_timer_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
