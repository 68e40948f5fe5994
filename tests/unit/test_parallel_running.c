/* SPDX-License-Identifier: Apache-2.0 */
/* The engine for large artifacts: locks, expiry and forks while it runs, and its pool of threads. */
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
#include <unistd.h>

#include "unit/parallel_support.h"
#include "unit/support.h"
#include "util/pool.h"

/* ---- while it runs ---- */

typedef struct worker {
    pqe_vault *v;
    const uint8_t *data;
    uint8_t *buf;
    size_t len;
    bool writes;
    atomic_bool started;
    atomic_uint rounds;
    pqe_status status;
    bool wiped;
} worker;

/* Over and over until the session ends. */
static void *
work(void *arg)
{
    worker *w = arg;
    pqe_reader *r = NULL;
    size_t got;

    if (!w->writes && pqe_reader_open(w->v, "a", &r, NULL) != PQE_OK) { /* the session was over already */
        w->status = PQE_E_LOCKED;
        w->wiped = true;
        atomic_store(&w->started, true);
    }
    while (w->status == PQE_OK) {
        atomic_store(&w->started, true);
        if (w->writes) {
            pqe_put_opts o = {
                .size = sizeof o, .name = "b", .kind = PQE_KIND_OTHER, .hash = hashes[atomic_load(&w->rounds) % 3]};
            w->status = pqe_put(w->v, &o, w->data, w->len, NULL, NULL);
        } else {
            memset(w->buf, 0x55, w->len);
            w->status = pqe_reader_read_at(r, 0, w->buf, w->len, &got, NULL);
            w->wiped = all_are(w->buf, w->len, 0);
        }
        atomic_fetch_add(&w->rounds, 1);
    }
    pqe_reader_close(&r);
    return NULL;
}

/* `by_expiry`: the watcher ends the session, else pqe_vault_lock() does, at some moment of some round. */
static void
end_while_working(bool writes, bool by_expiry)
{
    const size_t len = 24 * MIB;
    char *dir = scratch_make();
    uint8_t *data = make_content(len, 7), *buf = malloc(len);
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);

    put_ok(v, "a", data, len);
    for (unsigned i = 0; i < (by_expiry ? 1u : 6u); i++) {
        worker w = {.v = v, .data = data, .buf = buf, .len = len, .writes = writes};
        pthread_t thread;
        pqe_set_threads(threads[i % 3]);
        assert_pqe_ok(pqe_vault_unlock(v, by_expiry ? 1 : 600, err));
        assert_int_equal(pthread_create(&thread, NULL, work, &w), 0);
        while (!atomic_load(&w.started))
            sleep_ms(1);
        if (!by_expiry) {
            sleep_ms(3 + 4 * i);
            pqe_vault_lock(v);
        }
        pthread_join(thread, NULL);
        assert_false(pqe_vault_is_unlocked(v));
        assert_int_equal(w.status, PQE_E_LOCKED);
        if (!writes)
            assert_true(w.wiped);
        assert_pqe_ok(pqe_vault_unlock(v, 600, err));
        get_equals(v, "a", data, len);
        assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, NULL, err));
    }
    pqe_set_threads(0);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(buf);
    free(data);
    scratch_remove(dir);
}

static void
test_lock_while_reading(void **state)
{
    (void)state;
    end_while_working(false, false);
}

static void
test_lock_while_writing(void **state)
{
    (void)state;
    end_while_working(true, false);
}

static void
test_expiry_while_reading(void **state)
{
    (void)state;
    end_while_working(false, true);
}

static void
test_expiry_while_writing(void **state)
{
    (void)state;
    end_while_working(true, true);
}

/* A child forked while helpers live, and at work, has a pool of its own and the parent keeps its own. */
static void
test_fork(void **state)
{
#if defined(__SANITIZE_THREAD__)
    (void)state;
    skip(); /* ThreadSanitizer knows no threads of a child that was forked while there were others */
#else
    const size_t len = 8 * MIB;
    char *dir = scratch_make();
    uint8_t *data = make_content(len, 7), *buf = malloc(len);
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
    worker w = {.v = v, .buf = buf, .len = len};
    pthread_t thread;

    (void)state;
    pqe_set_threads(3);
    put_ok(v, "a", data, len);
    assert_pqe_ok(pqe_vault_unlock(v, 600, err));
    assert_int_equal(pthread_create(&thread, NULL, work, &w), 0);
    while (!atomic_load(&w.started)) /* SQLite's own locks do not survive a fork while another thread is in them */
        sleep_ms(1);
    for (int i = 0; i < 8; i++) {
        int status;
        pid_t child;
        sleep_ms(i);
        child = fork();
        if (child == 0) {
            pqe_backend *own = backend_memory();
            pqe_vault *fresh = vault_create(NULL, own);
            void *content = NULL;
            size_t got;
            alarm(60);
            if (pqe_get(v, "a", &content, &got, NULL, NULL) != PQE_E_LOCKED)
                _exit(1);
            put_ok(fresh, "x", data, len);
            get_equals(fresh, "x", data, len);
            pqe_vault_close(&fresh);
            pqe_backend_close(&own);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    pqe_vault_lock(v);
    pthread_join(thread, NULL);
    assert_int_equal(w.status, PQE_E_LOCKED);
    assert_pqe_ok(pqe_vault_unlock(v, 600, err));
    get_equals(v, "a", data, len);
    pqe_set_threads(0);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(buf);
    free(data);
    scratch_remove(dir);
#endif
}

/* Several threads with large jobs of their own at once. */
static void *
put_and_get(void *arg)
{
    worker *w = arg;
    char name[32];

    snprintf(name, sizeof name, "%p", arg);
    for (int i = 0; i < 3; i++) {
        put_ok(w->v, name, w->data, w->len);
        get_equals(w->v, name, w->data, w->len);
    }
    return NULL;
}

static void
test_many_jobs(void **state)
{
    const size_t len = 5 * MIB + 3;
    uint8_t *data = make_content(len, 7);
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    worker w[4];
    pthread_t started[4];

    (void)state;
    pqe_set_threads(3);
    for (size_t i = 0; i < 4; i++) {
        w[i] = (worker){.v = v, .data = data, .len = len};
        assert_int_equal(pthread_create(&started[i], NULL, put_and_get, &w[i]), 0);
    }
    for (unsigned i = 0; i < 20; i++) { /* and the pool changes its size meanwhile */
        pqe_set_threads(1 + i % 7);
        sleep_ms(5);
    }
    for (size_t i = 0; i < 4; i++)
        pthread_join(started[i], NULL);
    assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, NULL, err));
    pqe_set_threads(0);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(data);
}

/* ---- the pool ---- */

typedef struct counting {
    atomic_uint next, done, threads;
    unsigned total;
    bool signals;
    pthread_t self;
} counting;

static void
count(void *arg)
{
    counting *c = arg;
    sigset_t set;

    atomic_fetch_add(&c->threads, 1);
    while (atomic_fetch_add(&c->next, 1) < c->total) {
        sleep_ms(1);
        atomic_fetch_add(&c->done, 1);
    }
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    if (sigismember(&set, SIGTERM) == 0 && !pthread_equal(c->self, pthread_self()))
        c->signals = true;
}

static void
test_pool(void **state)
{
    counting job;

    (void)state;
    for (unsigned n = 1; n <= 9; n++) {
        memset(&job, 0, sizeof job);
        job.self = pthread_self();
        job.total = 40;
        pqe_set_threads(n);
        assert_int_equal(pqe_threads(), n);
        pqe__pool_run(count, &job, n);
        assert_int_equal(job.done, 40);
        assert_in_range(job.threads, 1, n);
        assert_false(job.signals); /* helpers take none of the application's */
    }
    pqe_set_threads(1000000);
    assert_int_equal(pqe_threads(), PQE__THREADS_MAX);
    pqe_set_threads(0);
    assert_true(pqe_threads() >= 1);
}

static unsigned
threads_alive(void)
{
    unsigned count_of = 0;
    char line[128];
    FILE *f = fopen("/proc/self/status", "r");

    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "Threads: %u", &count_of) == 1)
            break;
    fclose(f);
    return count_of;
}

/* In a process of its own: small artifacts start no helper, large ones do, and fewer threads end the surplus. */
static void
test_started_lazily(void **state)
{
    uint8_t *data = make_content(4 * MIB, 1);
    int status;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        pqe_backend *b = backend_memory();
        pqe_vault *v = vault_create(NULL, b);
        unsigned before = threads_alive();
        pqe_set_threads(4);
        put_ok(v, "a", data, MIB - 1);
        get_equals(v, "a", data, MIB - 1);
        if (threads_alive() != before)
            _exit(1);
        put_ok(v, "a", data, 4 * MIB);
        get_equals(v, "a", data, 4 * MIB);
        if (threads_alive() <= before || threads_alive() > before + 3)
            _exit(2);
        pqe_set_threads(1);
        for (int i = 0; i < 2000 && threads_alive() != before; i++)
            sleep_ms(1);
        _exit(threads_alive() == before ? 0 : 3);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    free(data);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_started_lazily), /* first: before there are helpers */
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_lock_while_reading),
        cmocka_unit_test(test_lock_while_writing),
        cmocka_unit_test(test_expiry_while_reading),
        cmocka_unit_test(test_expiry_while_writing),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_many_jobs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
