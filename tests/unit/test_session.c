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
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/file/passphrase.h"
#include "unit/support.h"
#include "vault/internal.h"

#define MS 1000000u
#define TEN_YEARS ((time_t)10 * 365 * 86400)
#define LATE_MS 4000u /* how late the watcher may be on a busy machine */

/* ---- clocks ---- */

static _Atomic time_t clock_shift; /* added to what the wall clock says */

time_t __real_time(time_t *out);
time_t __wrap_time(time_t *out);
int __real_clock_gettime(clockid_t id, struct timespec *out);
int __wrap_clock_gettime(clockid_t id, struct timespec *out);

time_t
__wrap_time(time_t *out)
{
    time_t now = __real_time(NULL) + clock_shift;

    if (out != NULL)
        *out = now;
    return now;
}

/* As clock_settime() would: other clocks are not affected. */
int
__wrap_clock_gettime(clockid_t id, struct timespec *out)
{
    int rc = __real_clock_gettime(id, out);

    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE || id == CLOCK_TAI))
        out->tv_sec += clock_shift;
    return rc;
}

static uint64_t
now_ms(void)
{
    return pqe__boottime_ns() / MS;
}

static void
sleep_ms(unsigned ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * (long)MS};

    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

/* ---- looking without touching ---- */

/* Unlike every public call this does not end a session that has expired. */
static bool
is_gone(pqe_vault *v)
{
    bool gone;

    pthread_rwlock_rdlock(&v->key_lock);
    gone = v->session == NULL;
    pthread_rwlock_unlock(&v->key_lock);
    return gone;
}

/* Waits until the session has gone by itself; returns when that was. */
static uint64_t
wait_until_gone(pqe_vault *v)
{
    uint64_t deadline = now_ms() + 60000;

    while (!is_gone(v)) {
        if (now_ms() > deadline)
            fail_msg("the session does not end");
        sleep_ms(2);
    }
    return now_ms();
}

/* Locked memory stays mapped after it was freed. */
static bool
is_wiped(const void *p, size_t len)
{
    const uint8_t *bytes = p;
    uint8_t any = 0;

    for (size_t i = 0; i < len; i++)
        any |= bytes[i];
    return any == 0;
}

static void
assert_in_time(uint64_t began, uint64_t ended, uint32_t ttl)
{
    assert_true(ended - began >= (uint64_t)ttl * 1000);
    assert_true(ended - began < (uint64_t)ttl * 1000 + LATE_MS);
}

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
    assert_pqe_ok(pqe_vault_unlock(v, 1, err));
    assert_pqe_ok(pqe_reader_open(v, "a", &r, err));
    assert_pqe_ok(pqe_reader_read(r, buf, sizeof buf, &got, err));
    assert_pqe_ok(pqe_writer_open(v, &o, &written, err));
    assert_pqe_ok(pqe_writer_open(v, &o, &finished, err));
    assert_pqe_ok(pqe_writer_write(written, "new", 3, err));
    assert_pqe_ok(pqe_writer_write(finished, "new", 3, err));
    while (pqe_vault_is_unlocked(v))
        sleep_ms(1);
    assert_in_time(began, now_ms(), 1);
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
    assert_pqe_ok(pqe_vault_unlock(v, 1, err));
    assert_pqe_ok(pqe_reader_open(v, "a", &r, err));
    assert_pqe_ok(pqe_writer_open(v, &o, &w, err));
    secret = v->session->keys->secret;
    backend_key = v->session->backend_key;
    assert_false(is_wiped(secret->origin, 32));
    assert_false(is_wiped(secret->root, 32));
    assert_false(is_wiped(secret->wrap[0], 32));
    assert_false(is_wiped(backend_key, 32));
    assert_in_time(began, wait_until_gone(v), 1);
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
    assert_pqe_ok(pqe_vault_unlock(longer, 1, err));
    assert_pqe_ok(pqe_reader_open(longer, "a", &r, err));
    began = now_ms();
    assert_pqe_ok(pqe_vault_unlock(shorter, 1, err));
    assert_pqe_ok(pqe_vault_unlock(longer, 1000, err));
    /* The first session ended when the second began. */
    assert_int_equal(pqe_reader_read(r, &byte, 1, &got, NULL), PQE_E_LOCKED);
    assert_in_time(began, wait_until_gone(shorter), 1);
    sleep_ms(300);
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
    assert_pqe_ok(pqe_vault_unlock(v, 1, err));
    put_ok(v, "a", "content", 7);
    secret = v->session->keys->secret;
    assert_false(is_wiped(secret, sizeof *secret));
    pqe_vault_close(&v);
    assert_true(is_wiped(secret, sizeof *secret));
    sleep_ms(1200); /* the watcher has forgotten it */
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

/* ---- a person who takes her time ---- */

struct person {
    pqe_vault *vault;
    atomic_bool asked, answers;
    pqe_status status;
};

static pqe_status
answer(void *user, pqe_passphrase_purpose purpose, char *buf, size_t capacity, size_t *len)
{
    struct person *p = user;

    (void)purpose;
    (void)capacity;
    p->asked = true;
    while (!p->answers)
        sleep_ms(2);
    memcpy(buf, "correct horse", 13);
    *len = 13;
    return PQE_OK;
}

static void *
unlock_again(void *arg)
{
    struct person *p = arg;

    p->status = pqe_vault_unlock(p->vault, 0, NULL);
    return NULL;
}

static void *
change_passphrase(void *arg)
{
    struct person *p = arg;

    p->status = pqe_vault_change_passphrase(p->vault, NULL);
    return NULL;
}

/* A vault with a passphrase, unlocked for `ttl` seconds, and a call under way that waits for an answer. */
static pqe_vault *
start_asking(const char *dir, struct person *person, uint32_t ttl, void *(*call)(void *), pqe_backend **backend,
             pthread_t *thread)
{
    const pqe__argon2_params cheap = {.memory_kib = PQE__ARGON2_MEMORY_MIN, .passes = 2, .lanes = 1};
    pqe_backend_opts bo = {.size = sizeof bo, .passphrase = answer, .user = person};

    assert_true(pqe__passphrase_set_params(&cheap));
    person->answers = true;
    assert_pqe_ok(pqe_backend_open("file:passphrase", &bo, backend, err));
    person->vault = vault_create(scratch_path(dir, "vault"), *backend);
    assert_pqe_ok(pqe_vault_unlock(person->vault, ttl, err));
    person->asked = person->answers = false;
    assert_int_equal(pthread_create(thread, NULL, call, person), 0);
    while (!person->asked)
        sleep_ms(1);
    return person->vault;
}

static void
answer_at_last(struct person *person, pqe_backend **backend, pthread_t thread)
{
    person->answers = true;
    pthread_join(thread, NULL);
    assert_int_equal(person->status, PQE_OK);
    assert_true(pqe_vault_is_unlocked(person->vault));
    pqe__passphrase_set_params(NULL);
    pqe_vault_close(&person->vault);
    pqe_backend_close(backend);
}

/* While somebody is asked for the passphrase, sessions end on time all the same: that vault's and others'; and no call
 * waits for the answer that has no need of it. */
static void
test_expiry_while_a_person_is_asked(void **state)
{
    struct person person = {0};
    char *dir = scratch_make();
    pqe_backend *asking = NULL, *b = backend_memory();
    pqe_vault *v, *other = vault_create(NULL, b);
    const pqe__secrets *secret;
    pthread_t thread;
    uint64_t began;

    (void)state;
    v = start_asking(dir, &person, 1, unlock_again, &asking, &thread);
    began = now_ms();
    assert_pqe_ok(pqe_vault_unlock(other, 2, err));
    secret = v->session->keys->secret;
    while (pqe_vault_is_unlocked(v)) /* without a pause: so that a call may notice before the watcher does */
        ;
    assert_false(pqe_vault_is_unlocked(v));
    assert_true(now_ms() - began < 1000 + LATE_MS);
    assert_true(is_gone(v));
    assert_true(is_wiped(secret, sizeof *secret));
    assert_in_time(began, wait_until_gone(other), 2);
    answer_at_last(&person, &asking, thread);
    pqe_vault_close(&other);
    pqe_backend_close(&b);
    scratch_remove(dir);
}

static void
test_lock_while_a_person_is_asked(void **state)
{
    struct person person = {0};
    char *dir = scratch_make();
    pqe_backend *asking = NULL;
    const pqe__secrets *secret;
    const uint8_t *backend_key;
    pthread_t thread;
    pqe_vault *v;
    uint64_t began;

    (void)state;
    v = start_asking(dir, &person, 1000, unlock_again, &asking, &thread);
    secret = v->session->keys->secret;
    backend_key = v->session->backend_key;
    began = now_ms();
    pqe_vault_lock(v);
    assert_true(is_gone(v));
    assert_false(pqe_vault_is_unlocked(v));
    assert_true(is_wiped(secret, sizeof *secret));
    assert_true(now_ms() - began < LATE_MS);
    person.answers = true; /* the backend can be told now to wipe its key of the session that was ended */
    pthread_join(thread, NULL);
    pqe_vault_lock(v);
    for (began = now_ms(); !is_wiped(backend_key, 32) && now_ms() - began < LATE_MS;)
        sleep_ms(5);
    assert_true(is_wiped(backend_key, 32));
    assert_int_equal(pthread_create(&thread, NULL, unlock_again, &person), 0);
    answer_at_last(&person, &asking, thread);
    scratch_remove(dir);
}

/* Nor does a session last, or a call wait, because a new passphrase is being thought about. */
static void
test_expiry_while_a_new_one_is_asked(void **state)
{
    struct person person = {0};
    char *dir = scratch_make();
    pqe_backend *asking = NULL;
    const pqe__secrets *secret;
    const uint8_t *backend_key;
    pthread_t thread;
    uint64_t began = now_ms();
    pqe_vault *v = start_asking(dir, &person, 1, change_passphrase, &asking, &thread);

    (void)state;
    secret = v->session->keys->secret;
    backend_key = v->session->backend_key;
    while (pqe_vault_is_unlocked(v))
        ;
    assert_true(now_ms() - began < 1000 + LATE_MS);
    assert_true(is_gone(v));
    assert_true(is_wiped(secret, sizeof *secret));
    began = now_ms();
    pqe_vault_lock(v);
    assert_int_equal(get_status(v, "a"), PQE_E_LOCKED);
    assert_true(now_ms() - began < LATE_MS);
    assert_false(is_wiped(backend_key, 32)); /* in use */
    person.answers = true;
    pthread_join(thread, NULL);
    assert_int_equal(person.status, PQE_E_LOCKED);
    for (began = now_ms(); !is_wiped(backend_key, 32) && now_ms() - began < LATE_MS;)
        sleep_ms(5);
    assert_true(is_wiped(backend_key, 32));
    assert_pqe_ok(pqe_vault_unlock(v, 0, err));
    pqe__passphrase_set_params(NULL);
    pqe_vault_close(&v);
    pqe_backend_close(&asking);
    scratch_remove(dir);
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
        assert_pqe_ok(pqe_vault_unlock(v, 1, err));
        put_and_get_time(v, before);
        clock_shift = shifts[i];
        assert_int_equal(pqe_vault_ttl(v), 1);
        put_and_get_time(v, after);
        assert_int_equal(strcmp(after, before) > 0, shifts[i] > 0);
        assert_in_time(began, wait_until_gone(v), 1);
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
        cmocka_unit_test(test_expiry_while_a_person_is_asked),
        cmocka_unit_test(test_lock_while_a_person_is_asked),
        cmocka_unit_test(test_expiry_while_a_new_one_is_asked),
        cmocka_unit_test(test_clock_is_set),
        cmocka_unit_test(test_timer_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
