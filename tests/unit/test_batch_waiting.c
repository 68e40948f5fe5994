/* SPDX-License-Identifier: Apache-2.0 */
/* Small contents of a batch wait and are sealed together: what is stored does not depend on that, and what ends a batch
 * ends them too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit/batch_support.h"
#include "vault/internal.h"

/* Contents of all sizes, those that wait among those that do not; every name comes twice and the last one counts. */
static void
test_any_threads(void **state)
{
    static const size_t sizes[] = {0, 1, 1000, 16383, 16384, 20000, 70000, 3, 16000, 0, 4096, 100};
    enum { NAMES = 300, SIZES = sizeof sizes / sizeof sizes[0] };
    uint8_t *content = make_content(80000, 1);

    (void)state;
    for (unsigned threads = 1; threads <= 4; threads++) {
        bed b = bed_make();
        pqe_batch *batch = start(b.v);
        uint64_t stored = 0;
        char name[16];
        pqe_set_threads(threads);
        for (unsigned i = 0; i < 2 * NAMES; i++) {
            snprintf(name, sizeof name, "n%u", i % NAMES);
            assert_int_equal(add(batch, name, content + i, sizes[(i * 7 + i / NAMES) % SIZES]), PQE_OK);
        }
        assert_pqe_ok(pqe_batch_commit(&batch, &stored, err));
        assert_int_equal(stored, 2 * NAMES);
        for (unsigned i = NAMES; i < 2 * NAMES; i++) {
            snprintf(name, sizeof name, "n%u", i % NAMES);
            get_equals(b.v, name, content + i, sizes[(i * 7 + i / NAMES) % SIZES]);
        }
        sound(&b, NAMES);
        bed_drop(&b);
    }
    pqe_set_threads(0);
    free(content);
}

static void
add_small(pqe_batch *batch, unsigned count)
{
    char name[16];

    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof name, "n%u", i);
        assert_int_equal(add(batch, name, name, strlen(name)), PQE_OK);
    }
}

/* With as many as wait together, and with more. */
static void
test_ended(void **state)
{
    (void)state;
    pqe_set_threads(3);
    for (unsigned count = 1; count <= 65; count += 64) {
        bed b = bed_make();
        pqe_batch *batch = start(b.v), *again = start(b.v), *given_up = start(b.v), *closed = start(b.v);
        add_small(batch, count);
        add_small(again, count);
        add_small(given_up, count);
        pqe_batch_abort(&given_up);
        pqe_vault_lock(b.v);
        assert_int_equal(pqe_batch_commit(&batch, NULL, NULL), PQE_E_LOCKED);
        assert_pqe_ok(pqe_vault_unlock(b.v, 0, err));
        assert_int_equal(add(again, "late", "x", 1), PQE_E_LOCKED);
        assert_int_equal(pqe_batch_commit(&again, NULL, NULL), PQE_E_LOCKED);
        sound(&b, 0);
        assert_int_equal(add(closed, "late", "x", 1), PQE_E_LOCKED);
        pqe_vault_close(&b.v);
        assert_int_equal(pqe_batch_commit(&closed, NULL, NULL), PQE_E_LOCKED);
        b.v = vault_open(b.dir, b.backend);
        sound(&b, 0);
        bed_drop(&b);
    }
    pqe_set_threads(0);
}

/* A session that ends and begins anew: what waits cannot be sealed, the put that finds out says so, and so it stays. */
static void
test_failed(void **state)
{
    bed b = bed_make();
    pqe_batch *batch = start(b.v);
    pqe_writer *w = NULL;

    (void)state;
    pqe_set_threads(2);
    add_small(batch, 5);
    assert_pqe_ok(pqe_rotate(b.v, &(pqe_rotate_opts){.size = sizeof(pqe_rotate_opts), .rekey = true}, err));
    add_small(batch, 5);
    assert_int_equal(pqe_batch_commit(&batch, NULL, NULL), PQE_E_BUSY);
    batch = start(b.v);
    add_small(batch, 5);
    pqe_vault_lock(b.v);
    assert_pqe_ok(pqe_vault_unlock(b.v, 0, err));
    assert_pqe_ok(pqe_writer_open(
        b.v, &(pqe_put_opts){.size = sizeof(pqe_put_opts), .name = "w", .kind = PQE_KIND_OTHER}, &w, err));
    assert_int_equal(pqe_batch_add(batch, &w, NULL), PQE_E_LOCKED);
    assert_null(w);
    assert_int_equal(add(batch, "more", "x", 1), PQE_E_STATE);
    assert_int_equal(pqe_batch_commit(&batch, NULL, NULL), PQE_E_STATE);
    sound(&b, 0);
    pqe_set_threads(0);
    bed_drop(&b);
}

/* A put that is refused leaves those that wait alone. */
static void
test_bad_put(void **state)
{
    bed b = bed_make();
    pqe_batch *batch = start(b.v);

    (void)state;
    pqe_set_threads(2);
    add_small(batch, 3);
    assert_int_equal(add(batch, "", "x", 1), PQE_E_ARGUMENT);
    assert_int_equal(add(batch, "null", NULL, 1), PQE_E_ARGUMENT);
    add_small(batch, 4);
    assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
    get_equals(b.v, "n3", "n3", 2);
    sound(&b, 4);
    pqe_set_threads(0);
    bed_drop(&b);
}

static void
test_forked_child(void **state)
{
    bed b = bed_make();
    pqe_batch *batch = start(b.v);
    int status;
    pid_t child;

    (void)state;
    pqe_set_threads(2);
    add_small(batch, 70);
    child = fork();
    if (child == 0) {
        bool locked = add(batch, "b", "b", 1) == PQE_E_LOCKED;
        pqe_batch_abort(&batch);
        _exit(locked ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
    get_equals(b.v, "n69", "n69", 3);
    sound(&b, 70);
    pqe_set_threads(0);
    bed_drop(&b);
}

/* ---- beside another thread that locks ---- */

static void
test_locked_meanwhile(void **state)
{
    bed b = bed_make();
    locker l = {.v = b.v, .pause_us = 300};
    unsigned stored = 0, rounds = 0;
    pthread_t thread;

    (void)state;
    pqe_set_threads(4);
    assert_int_equal(pthread_create(&thread, NULL, lock_often, &l), 0);
    for (; rounds < 60; rounds++) {
        pqe_batch *batch = NULL;
        pqe_status status = pqe_batch_open(b.v, &batch, NULL);
        char name[32];
        for (unsigned i = 0; i < 40 && status == PQE_OK; i++) {
            snprintf(name, sizeof name, "r%u/%u", rounds, i);
            status = add(batch, name, name, strlen(name));
        }
        if (status == PQE_OK)
            status = pqe_batch_commit(&batch, NULL, NULL);
        pqe_batch_abort(&batch);
        assert_true(status == PQE_OK || status == PQE_E_LOCKED);
        stored += status == PQE_OK ? 40 : 0;
    }
    atomic_store(&l.stop, true);
    pthread_join(thread, NULL);
    pqe_vault_lock(b.v);
    assert_pqe_ok(pqe_vault_unlock(b.v, 0, err));
    sound(&b, stored);
    pqe_set_threads(0);
    bed_drop(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_threads),  cmocka_unit_test(test_ended),
        cmocka_unit_test(test_failed),       cmocka_unit_test(test_bad_put),
        cmocka_unit_test(test_forked_child), cmocka_unit_test(test_locked_meanwhile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
