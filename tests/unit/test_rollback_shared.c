/* SPDX-License-Identifier: Apache-2.0 */
/* Counted vaults that cannot be written, and several handles at once. */
#include "unit/rollback_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <pqc_enclave/recovery.h>

#include "store/store.h"

/* ---- where nothing can be written ---- */

static void
read_only_media(void **state)
{
    pqe_error error = {0};
    bed b;

    (void)state;
    bed_make(&b, 0);
    bed_keep(&b, "old");
    counting_break(COUNTING_CANNOT_NOTE);
    assert_int_equal(put_content(b.vault, "second", 10, 2, NULL), PQE_E_BACKEND);
    counting_break(COUNTING_SOUND);
    bed_close(&b);
    assert_int_equal(unlink(scratch_path(b.dir, "counter.lock")), 0);
    counting_advances();
    assert_int_equal(bed_try_open(&b, true, &error), PQE_OK); /* unfinished, and stays so */
    has_content(b.vault, "second", 10, 2);
    assert_int_equal(counting_advances(), 0);
    assert_int_not_equal(access(scratch_path(b.dir, "counter.lock"), F_OK), 0);
    assert_int_equal(pqe_recovery_accept_rollback(b.vault, 0, NULL, NULL), PQE_E_READ_ONLY);
    bed_opens(&b);
    assert_int_equal(counting_advances(), 1);
    bed_put_back(&b, "old");
    unlink(scratch_path(b.dir, "counter.lock"));
    assert_int_equal(bed_try_open(&b, true, &error), PQE_E_ROLLBACK);
    bed_end(&b);
}

/* ---- several at once ---- */

typedef struct job {
    pqe_vault *vault;
    unsigned number;
    pqe_status status;
} job;

static void *
put_many(void *arg)
{
    job *j = arg;

    for (unsigned i = 0; i < 25 && j->status == PQE_OK; i++) {
        char name[32];
        pqe_put_opts o = {.size = sizeof o, .name = name, .kind = PQE_KIND_OTHER};
        snprintf(name, sizeof name, "job-%u-%u", j->number, i);
        j->status = pqe_put(j->vault, &o, name, strlen(name), NULL, NULL);
    }
    return NULL;
}

static void
several_handles(void **state)
{
    job jobs[4] = {{0}};
    pthread_t threads[4];
    uint64_t c, g;
    bed b;

    (void)state;
    bed_make(&b, 0);
    c = bed_counter(&b);
    g = bed_generation(&b);
    for (unsigned i = 0; i < 4; i++) {
        jobs[i] = (job){.vault = vault_open(b.dir, b.backend), .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, put_many, &jobs[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(jobs[i].status, PQE_OK);
    }
    assert_int_equal(bed_counter(&b), c + 100);
    assert_int_equal(bed_generation(&b), g + 100);
    for (unsigned i = 0; i < 4; i++) {
        get_equals(jobs[i].vault, "job-3-24", "job-3-24", 8); /* another's last */
        pqe_vault_close(&jobs[i].vault);
    }
    bed_opens(&b);
    bed_end(&b);
}

/* A session that runs on asks the counter again when somebody else has changed the vault. */
static void
a_running_session_looks_too(void **state)
{
    pqe_vault *other;
    pqe_error error = {0};
    void *got = NULL;
    size_t len;
    uint64_t c;
    bed b;

    (void)state;
    bed_make(&b, 0);
    get_equals(b.vault, "first", "1", 1);
    other = vault_open(b.dir, b.backend);
    put_ok(other, "second", "2", 1);
    counting_reads();
    get_equals(b.vault, "second", "2", 1);
    get_equals(b.vault, "second", "2", 1);
    assert_int_equal(counting_reads(), 1);
    put_ok(other, "second", "3", 1);
    c = bed_counter(&b);
    bed_set_counter(&b, c + 2); /* as if this were a copy put in place, and more was acknowledged since */
    assert_int_equal(pqe_get(b.vault, "second", &got, &len, NULL, &error), PQE_E_ROLLBACK);
    assert_int_equal(put_content(b.vault, "third", 1, 3, NULL), PQE_E_ROLLBACK);
    assert_int_equal(put_content(other, "third", 1, 3, NULL), PQE_E_ROLLBACK);
    bed_set_counter(&b, c);
    get_equals(b.vault, "second", "3", 1);
    put_ok(b.vault, "third", "3", 1);
    pqe_vault_close(&other);
    bed_end(&b);
}

static void
put_by_another(void *arg)
{
    for (unsigned i = 0; i < 3; i++)
        put_ok(arg, "meanwhile", "m", 1);
}

/* Another process changes the vault between the look at the head and the look at the counter. */
static void
a_change_between_two_looks(void **state)
{
    pqe_backend *device;
    pqe_vault *other;
    bed b;

    (void)state;
    bed_make(&b, 0);
    device = bed_device(&b, counting_file());
    other = vault_open(b.dir, device);
    bed_close(&b);
    counting_before_read(put_by_another, other);
    bed_opens(&b);
    get_equals(b.vault, "meanwhile", "m", 1);
    put_ok(other, "second", "2", 1); /* so that this session looks */
    counting_before_read(put_by_another, other);
    get_equals(b.vault, "second", "2", 1);
    put_ok(b.vault, "third", "3", 1);
    get_equals(other, "third", "3", 1);
    pqe_vault_close(&other);
    pqe_backend_close(&device);
    bed_end(&b);
}

static int
hold_gate(const bed *b)
{
    int fd = open(scratch_path(b->dir, "counter.lock"), O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    return fd;
}

static void
another_holds_the_gate(void **state)
{
    pqe_vault_opts o = {.size = sizeof o, .busy_timeout_ms = 50};
    struct timespec start, end, pause = {.tv_nsec = 150000000};
    pqe_error error = {0};
    pqe_vault *hasty = NULL;
    pthread_t thread;
    job j;
    int fd;
    bed b;

    (void)state;
    bed_make(&b, 0);
    o.dir = b.dir;
    o.backend = b.backend;
    assert_pqe_ok(pqe_vault_open(&o, &hasty, err));
    assert_pqe_ok(pqe_vault_unlock(hasty, 0, err));
    fd = hold_gate(&b);
    assert_int_equal(put_content(hasty, "second", 100000, 2, &error), PQE_E_BUSY);
    assert_int_equal(get_status(hasty, "second"), PQE_E_NOT_FOUND);
    assert_pqe_ok(pqe_verify(hasty, NULL, NULL, NULL, NULL, err));
    get_equals(hasty, "first", "1", 1); /* readers do not care */
    /* Nor do a lock and an expiry wait for whoever waits. */
    j = (job){.vault = b.vault, .number = 1};
    assert_int_equal(pthread_create(&thread, NULL, put_many, &j), 0);
    nanosleep(&pause, NULL);
    clock_gettime(CLOCK_MONOTONIC, &start);
    pqe_vault_lock(b.vault);
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_true((end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000 < 2000);
    close(fd);
    pthread_join(thread, NULL);
    assert_int_equal(j.status, PQE_E_LOCKED);
    pqe_vault_close(&hasty);
    bed_opens(&b);
    assert_int_equal(get_status(b.vault, "job-1-0"), PQE_E_NOT_FOUND);
    bed_end(&b);
}

/* Something owed, and somebody alive at it: no reason to wait. */
static void
unlock_does_not_wait_for_the_gate(void **state)
{
    int fd;
    bed b;

    (void)state;
    bed_make(&b, 0);
    counting_break(COUNTING_CANNOT_NOTE);
    assert_int_equal(put_content(b.vault, "second", 10, 2, NULL), PQE_E_BACKEND);
    counting_break(COUNTING_SOUND);
    counting_advances();
    fd = hold_gate(&b);
    bed_opens(&b);
    has_content(b.vault, "second", 10, 2);
    assert_int_equal(counting_advances(), 0);
    close(fd);
    bed_opens(&b);
    assert_int_equal(counting_advances(), 1);
    bed_end(&b);
}

static void
the_gate_itself(void **state)
{
    pqe__gate one = {.fd = -1}, two = {.fd = -1};
    pqe__store *store = NULL;
    pid_t child;
    int status;
    bed b;

    (void)state;
    bed_make(&b, 0);
    assert_pqe_ok(pqe__store_open(b.dir, false, 1000, &store, err));
    assert_pqe_ok(pqe__gate_enter(store, &one, 0, err));
    assert_pqe_ok(pqe__gate_enter(store, &one, 0, err));
    assert_int_equal(pqe__gate_enter(store, &two, 5, NULL), PQE_E_BUSY);
    /* A child that inherits the lock and lives on holds nobody up. */
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        sleep(20);
        _exit(0);
    }
    pqe__gate_leave(&one);
    assert_pqe_ok(pqe__gate_enter(store, &two, 0, err));
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    /* One whose file was replaced is nobody's. */
    assert_int_equal(unlink(scratch_path(b.dir, "counter.lock")), 0);
    assert_pqe_ok(pqe__gate_enter(store, &one, 0, err));
    pqe__gate_leave(&one);
    pqe__gate_leave(&two);
    assert_int_equal(unlink(scratch_path(b.dir, "counter.lock")), 0);
    assert_int_equal(symlink("index.db", scratch_path(b.dir, "counter.lock")), 0);
    assert_int_equal(pqe__gate_enter(store, &one, 0, NULL), PQE_E_TAMPERED);
    assert_int_equal(unlink(scratch_path(b.dir, "counter.lock")), 0);
    assert_int_equal(mkfifo(scratch_path(b.dir, "counter.lock"), 0600), 0);
    assert_int_equal(pqe__gate_enter(store, &one, 0, NULL), PQE_E_TAMPERED);
    assert_false(one.held);
    pqe__store_close(&store);
    bed_end(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_only_media),
        cmocka_unit_test(several_handles),
        cmocka_unit_test(a_running_session_looks_too),
        cmocka_unit_test(a_change_between_two_looks),
        cmocka_unit_test(another_holds_the_gate),
        cmocka_unit_test(unlock_does_not_wait_for_the_gate),
        cmocka_unit_test(the_gate_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
