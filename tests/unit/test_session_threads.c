/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions under load: locking and unlocking while other threads work, and forks at moments when they hold locks. What a
 * thread gets is right or is PQE_E_LOCKED. PQE_BEDS=1 makes it last longer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit/support.h"
#include "vault/internal.h"

#define MS 1000000u
#define CHILD_SECONDS 60 /* after which a child that hangs is ended by SIGALRM */
#define LARGE ((size_t)200000)
#define SMALL ((size_t)1000)

static bool
long_form(void)
{
    const char *beds = getenv("PQE_BEDS");

    return beds != NULL && strcmp(beds, "1") == 0;
}

static void
sleep_ms(unsigned ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * (long)MS};

    nanosleep(&t, NULL);
}

/* ---- the threads ---- */

typedef struct load {
    pqe_vault *vault;
    const uint8_t *large, *small;
    atomic_bool stop;
    atomic_int wrong;            /* results that are neither right nor "locked" */
    atomic_ulong right, refused; /* calls that succeeded, and that found the vault locked */
} load;

static void
judge(load *l, pqe_status status, bool as_expected)
{
    if (status == PQE_OK && as_expected)
        l->right++;
    else if (status == PQE_E_LOCKED)
        l->refused++;
    else
        l->wrong++;
}

static void *
get_whole(void *arg)
{
    load *l = arg;

    while (!l->stop) {
        void *content = NULL;
        size_t len = 0;
        pqe_status status = pqe_get(l->vault, "large", &content, &len, NULL, NULL);
        judge(l, status, len == LARGE && memcmp(content, l->large, LARGE) == 0);
        pqe_content_free(&content, len);
    }
    return NULL;
}

/* One reader for as long as it lives: it never comes back to life. */
static void *
read_pieces(void *arg)
{
    load *l = arg;
    uint8_t buf[3000];

    while (!l->stop) {
        pqe_reader *r = NULL;
        pqe_status status = pqe_reader_open(l->vault, "large", &r, NULL);
        size_t at = 0, got = 1;
        judge(l, status, true);
        while (status == PQE_OK && got != 0) {
            status = pqe_reader_read(r, buf, sizeof buf, &got, NULL);
            judge(l, status, memcmp(buf, l->large + at, got) == 0);
            at += got;
        }
        if (status == PQE_E_LOCKED && pqe_reader_read(r, buf, sizeof buf, &got, NULL) == PQE_OK)
            l->wrong++;
        pqe_reader_close(&r);
    }
    return NULL;
}

static void *
put_and_delete(void *arg)
{
    load *l = arg;
    pqe_put_opts o = {.size = sizeof o, .name = "small", .kind = PQE_KIND_OTHER};

    while (!l->stop) {
        void *content = NULL;
        size_t len = 0;
        pqe_status status = pqe_put(l->vault, &o, l->small, SMALL, NULL, NULL);
        judge(l, status, true);
        if (status != PQE_OK)
            continue;
        status = pqe_get(l->vault, "small", &content, &len, NULL, NULL);
        judge(l, status, len == SMALL && memcmp(content, l->small, SMALL) == 0);
        pqe_content_free(&content, len);
        judge(l, pqe_delete(l->vault, "small", NULL), true);
    }
    return NULL;
}

static bool
count(void *user, const pqe_artifact *artifact)
{
    *(size_t *)user += artifact->size_bytes == LARGE;
    return true;
}

static void *
look_around(void *arg)
{
    load *l = arg;

    while (!l->stop) {
        pqe_artifact *a = NULL;
        size_t found = 0;
        uint32_t ttl = pqe_vault_ttl(l->vault);
        pqe_status status = pqe_list(l->vault, count, &found, NULL);
        judge(l, status, found == 1);
        status = pqe_info(l->vault, "large", &a, NULL);
        judge(l, status, a != NULL && a->size_bytes == LARGE);
        pqe_artifact_free(&a);
        if (ttl > PQE_DEFAULT_TTL_SECONDS)
            l->wrong++;
    }
    return NULL;
}

static void *
lock_and_unlock(void *arg)
{
    load *l = arg;

    for (unsigned i = 0; !l->stop; i++) {
        if (pqe_vault_unlock(l->vault, i % 3 == 0 ? 1 : 0, NULL) != PQE_OK)
            l->wrong++;
        sleep_ms(i % 7);
        if (i % 2 == 0)
            pqe_vault_lock(l->vault);
    }
    return NULL;
}

/* Sessions of one second, one after the other, that nobody locks. */
static void *
let_expire(void *arg)
{
    load *l = arg;

    while (!l->stop) {
        if (!pqe_vault_is_unlocked(l->vault) && pqe_vault_unlock(l->vault, 1, NULL) != PQE_OK)
            l->wrong++;
        sleep_ms(5);
    }
    return NULL;
}

static void *(*const workers[])(void *) = {get_whole, read_pieces, read_pieces, put_and_delete, look_around};
#define WORKERS (sizeof workers / sizeof workers[0])

typedef struct stage {
    char *dir;
    pqe_backend *backend;
    load load;
    pthread_t threads[WORKERS + 2];
    size_t count;
} stage;

static void
stage_start(stage *s, void *(*const others[])(void *), size_t other_count)
{
    s->dir = scratch_make();
    s->backend = backend_keyfile(s->dir);
    s->load.vault = vault_create(scratch_path(s->dir, "vault"), s->backend);
    s->load.large = make_content(LARGE, 1);
    s->load.small = make_content(SMALL, 2);
    put_ok(s->load.vault, "large", s->load.large, LARGE);
    for (size_t i = 0; i < WORKERS + other_count; i++) {
        void *(*fn)(void *) = i < WORKERS ? workers[i] : others[i - WORKERS];
        assert_int_equal(pthread_create(&s->threads[s->count], NULL, fn, &s->load), 0);
        s->count++;
    }
}

static void
stage_stop(stage *s)
{
    s->load.stop = true;
    for (size_t i = 0; i < s->count; i++)
        pthread_join(s->threads[i], NULL);
    assert_int_equal(s->load.wrong, 0);
    assert_true(s->load.right > 0);
}

static void
stage_end(stage *s)
{
    assert_pqe_ok(pqe_vault_unlock(s->load.vault, 0, err));
    get_equals(s->load.vault, "large", s->load.large, LARGE);
    assert_pqe_ok(pqe_verify(s->load.vault, NULL, NULL, NULL, NULL, err));
    pqe_vault_close(&s->load.vault);
    pqe_backend_close(&s->backend);
    free((void *)(uintptr_t)s->load.large);
    free((void *)(uintptr_t)s->load.small);
    scratch_remove(s->dir);
}

/* ---- storms ---- */

static void
test_lock_storm(void **state)
{
    void *(*const others[])(void *) = {lock_and_unlock, lock_and_unlock};
    stage s = {0};

    (void)state;
    stage_start(&s, others, 2);
    sleep_ms(long_form() ? 30000 : 1500);
    stage_stop(&s);
    assert_true(s.load.refused > 0);
    stage_end(&s);
}

static void
test_expiry_storm(void **state)
{
    void *(*const others[])(void *) = {let_expire};
    stage s = {0};

    (void)state;
    stage_start(&s, others, 1);
    assert_pqe_ok(pqe_vault_unlock(s.load.vault, 1, err));
    sleep_ms(long_form() ? 30000 : 2500);
    stage_stop(&s);
    assert_true(s.load.refused > 0);
    stage_end(&s);
}

/* Reading goes on while the session is replaced all the time; a vault that is closed meanwhile is another's. */
static void *
open_and_close(void *arg)
{
    load *l = arg;

    while (!l->stop) {
        pqe_backend *b = NULL;
        pqe_vault *v = NULL;
        pqe_vault_opts o = {.size = sizeof o, .create = true};
        bool ok = pqe_backend_open("memory", NULL, &b, NULL) == PQE_OK;
        o.backend = b;
        ok = ok && pqe_vault_open(&o, &v, NULL) == PQE_OK && pqe_vault_unlock(v, 1, NULL) == PQE_OK;
        if (!ok)
            l->wrong++;
        pqe_vault_close(&v);
        pqe_backend_close(&b);
    }
    return NULL;
}

static void
test_vaults_come_and_go(void **state)
{
    void *(*const others[])(void *) = {open_and_close, lock_and_unlock};
    stage s = {0};

    (void)state;
    stage_start(&s, others, 2);
    sleep_ms(long_form() ? 10000 : 1000);
    stage_stop(&s);
    stage_end(&s);
}

/* ---- forks ---- */

/* In the child of a process whose other threads may hold any lock: every call says so at once, and closing does not
 * wait for a thread that is not there. */
static bool
child_is_refused(load *l, pqe_reader *r)
{
    pqe_put_opts o = {.size = sizeof o, .name = "x", .kind = PQE_KIND_OTHER};
    uint8_t buf[10];
    size_t got;
    bool ok = !pqe_vault_is_unlocked(l->vault) && pqe_vault_ttl(l->vault) == 0 &&
              get_status(l->vault, "large") == PQE_E_LOCKED &&
              pqe_put(l->vault, &o, "y", 1, NULL, NULL) == PQE_E_LOCKED &&
              pqe_vault_unlock(l->vault, 0, NULL) == PQE_E_LOCKED &&
              pqe_reader_read(r, buf, sizeof buf, &got, NULL) == PQE_E_LOCKED;

    pqe_vault_lock(l->vault);
    pqe_reader_close(&r);
    pqe_vault_close(&l->vault);
    return ok;
}

static void
test_fork_under_load(void **state)
{
    void *(*const others[])(void *) = {let_expire, open_and_close};
    int forks = long_form() ? 2000 : 60;
    pqe_reader *r = NULL;
    stage s = {0};

    (void)state;
    stage_start(&s, others, 2);
    while (pqe_reader_open(s.load.vault, "large", &r, NULL) == PQE_E_LOCKED)
        sleep_ms(1);
    for (int i = 0; i < forks; i++) {
        int status = 0;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            signal(SIGSEGV, SIG_DFL); /* cmocka's handler would go on with the next test */
            alarm(CHILD_SECONDS);
            _exit(child_is_refused(&s.load, r) ? 0 : 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    stage_stop(&s);
    pqe_reader_close(&r);
    stage_end(&s);
}

/* A watcher of its own, although the parent's was running when it forked. */
static bool
child_has_its_own(void)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    bool gone = false;

    put_ok(v, "own", "content", 7);
    if (pqe_vault_unlock(v, 3, NULL) != PQE_OK)
        return false;
    get_equals(v, "own", "content", 7);
    while (!gone) {
        sleep_ms(10);
        pthread_rwlock_rdlock(&v->key_lock);
        gone = v->session == NULL; /* nobody but the watcher ends it */
        pthread_rwlock_unlock(&v->key_lock);
    }
    if (get_status(v, "own") != PQE_E_LOCKED || pqe_vault_unlock(v, 0, NULL) != PQE_OK)
        return false;
    get_equals(v, "own", "content", 7);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    return true;
}

/* In the child, its child, and in the parent all the while. */
static void
test_expiry_in_a_child(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    int status = 0;
    pid_t child;

    (void)state;
    put_ok(v, "a", "content", 7);
    child = fork();
    if (child == 0) {
        pid_t grandchild;
        alarm(CHILD_SECONDS);
        if (!child_has_its_own() || pqe_vault_is_unlocked(v))
            _exit(1);
        grandchild = fork();
        if (grandchild == 0) {
            alarm(CHILD_SECONDS);
            _exit(child_has_its_own() ? 0 : 1);
        }
        _exit(waitpid(grandchild, &status, 0) == grandchild && status == 0 ? 0 : 2);
    }
    get_equals(v, "a", "content", 7);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    get_equals(v, "a", "content", 7);
    assert_pqe_ok(pqe_vault_unlock(v, 0, err));
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

/* ---- locking in the middle of long work ---- */

#define MANY 1500u

typedef struct long_work {
    pqe_vault *vault;
    pqe_status (*call)(pqe_vault *vault);
    atomic_bool done;
    pqe_status status;
} long_work;

static pqe_status
rekey(pqe_vault *vault)
{
    return pqe_rotate(vault, &(pqe_rotate_opts){.size = sizeof(pqe_rotate_opts), .rekey = true}, NULL);
}

static pqe_status
verify_all(pqe_vault *vault)
{
    return pqe_verify(vault, NULL, NULL, NULL, NULL, NULL);
}

static void *
work_long(void *arg)
{
    long_work *w = arg;

    w->status = w->call(w->vault);
    w->done = true;
    return NULL;
}

/* It gives up soon after, and has changed nothing or everything. */
static void
test_lock_ends_long_work(void **state)
{
    static pqe_status (*const calls[])(pqe_vault * vault) = {rekey, verify_all};
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    unsigned interrupted = 0;

    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        char name[16];
        snprintf(name, sizeof name, "%u", i);
        put_ok(v, name, "content", 7);
    }
    for (unsigned i = 0; i < 20; i++) {
        long_work w = {.vault = v, .call = calls[i % 2]};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, work_long, &w), 0);
        sleep_ms(1 + 2 * i);
        pqe_vault_lock(v);
        interrupted += !w.done;
        pthread_join(thread, NULL);
        assert_true(w.status == PQE_OK || w.status == PQE_E_LOCKED);
        assert_pqe_ok(pqe_vault_unlock(v, 0, err));
        get_equals(v, "7", "content", 7);
    }
    assert_true(interrupted > 0);
    assert_pqe_ok(verify_all(v));
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lock_storm),         cmocka_unit_test(test_expiry_storm),
        cmocka_unit_test(test_vaults_come_and_go), cmocka_unit_test(test_fork_under_load),
        cmocka_unit_test(test_expiry_in_a_child),  cmocka_unit_test(test_lock_ends_long_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
