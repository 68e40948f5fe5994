/* SPDX-License-Identifier: Apache-2.0 */
/* Counted vaults that move: to another device, to one that does not count, from one that is lost. */
#include "unit/rollback_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <pqc_enclave/recovery.h>

#include "vault/internal.h"

/* Another device, with a counter of its own. */
static pqe_backend *
second_device(const bed *b)
{
    char config[PATH_MAX * 2];
    pqe_backend *backend = NULL;

    snprintf(config, sizeof config, "%s/second|key-file=%s/second-key", b->scratch, b->scratch);
    assert_pqe_ok(pqe_backend_open_ops(counting_file(), config, NULL, &backend, err));
    return backend;
}

static void
move(bed *b, pqe_backend *to)
{
    pqe_rotate_opts o = {.size = sizeof o, .backend = to, .discard_old = true};

    assert_pqe_ok(pqe_rotate(b->vault, &o, err));
    bed_close(b);
    pqe_backend_close(&b->backend);
    b->backend = to;
}

static void
from_device_to_device(void **state)
{
    pqe_rotate_opts o = {.size = sizeof o};
    bed b;

    (void)state;
    bed_make(&b, 0);
    put_ok(b.vault, "second", "2", 1);
    o.backend = second_device(&b);
    assert_pqe_ok(pqe_rotate(b.vault, &o, err));
    counting_advances();
    put_ok(b.vault, "third", "3", 1); /* the running session counts there */
    assert_int_equal(counting_advances(), 1);
    bed_close(&b);
    pqe_backend_close(&b.backend);
    b.backend = o.backend;
    bed_opens(&b);
    bed_keep(&b, "old");
    put_ok(b.vault, "third", "4", 1);
    bed_put_back(&b, "old");
    bed_refused(&b, "older copy");
    bed_end(&b);
}

static void
to_a_counter_and_away(void **state)
{
    pqe_vault_info info;
    bed b;

    (void)state;
    bed_make(&b, COUNTING_NOTHING);
    counting_set(0);
    move(&b, second_device(&b));
    bed_opens(&b);
    assert_pqe_ok(pqe_vault_get_info(b.vault, &info, err));
    assert_int_equal(info.rollback, PQE_ROLLBACK_DETECTED);
    bed_keep(&b, "old");
    put_ok(b.vault, "second", "2", 1);
    bed_keep(&b, "new");
    bed_put_back(&b, "old");
    bed_refused(&b, "older copy");
    bed_put_back(&b, "new");
    bed_opens(&b);
    move(&b, backend_keyfile(b.scratch)); /* nobody counts there */
    bed_opens(&b);
    put_ok(b.vault, "third", "3", 1);
    bed_opens(&b);
    assert_pqe_ok(pqe_vault_get_info(b.vault, &info, err));
    assert_int_equal(info.rollback, PQE_ROLLBACK_NOT_DETECTED);
    bed_end(&b);
}

typedef struct patience {
    pqe_vault *vault;
    bool gone;
} patience;

/* A device that answers only when the session has ended. */
static void
wait_for_expiry(void *arg)
{
    const struct timespec moment = {.tv_nsec = 10000000};
    patience *p = arg;

    for (unsigned i = 0; i < 300 && !p->gone; i++) {
        nanosleep(&moment, NULL);
        if (pthread_rwlock_tryrdlock(&p->vault->key_lock) != 0)
            continue;
        p->gone = p->vault->session == NULL;
        pthread_rwlock_unlock(&p->vault->key_lock);
    }
}

static void
a_slow_counter_keeps_no_session(void **state)
{
    pqe_rotate_opts o = {.size = sizeof o};
    patience p;
    bed b;

    (void)state;
    bed_make(&b, 0);
    o.backend = second_device(&b);
    pqe_vault_lock(b.vault);
    assert_pqe_ok(pqe_vault_unlock(b.vault, 1, err));
    p = (patience){.vault = b.vault};
    counting_before_read(wait_for_expiry, &p);
    assert_int_equal(pqe_rotate(b.vault, &o, NULL), PQE_E_LOCKED);
    assert_true(p.gone);
    assert_int_not_equal(access(scratch_path(b.scratch, "second-key"), F_OK), 0); /* taken back */
    assert_pqe_ok(pqe_vault_unlock(b.vault, 0, err));
    assert_pqe_ok(pqe_rotate(b.vault, &o, err)); /* its counter too */
    get_equals(b.vault, "first", "1", 1);
    bed_close(&b);
    pqe_backend_close(&b.backend);
    b.backend = o.backend;
    bed_opens(&b);
    bed_end(&b);
}

/* Nothing that two devices share says that a vault has moved: docs/format.md, section 8. */
static void
what_a_move_leaves(void **state)
{
    pqe_rotate_opts o = {.size = sizeof o};
    pqe_recovery_use_opts use = {.size = sizeof use};
    pqe_recovery_key *key = NULL;
    bed b;

    (void)state;
    bed_make(&b, 0);
    assert_pqe_ok(pqe_recovery_key_generate(&key, err));
    use.key = key;
    assert_pqe_ok(pqe_recovery_create(b.vault, use.key, NULL, err));
    bed_keep(&b, "older");
    put_ok(b.vault, "second", "2", 1);
    bed_keep(&b, "before");
    o.backend = second_device(&b);
    assert_pqe_ok(pqe_rotate(b.vault, &o, err));
    put_ok(b.vault, "third", "3", 1);
    bed_close(&b);
    /* On the old device, which kept its key. */
    bed_put_back(&b, "before");
    bed_opens(&b);
    put_ok(b.vault, "other", "4", 1);
    bed_put_back(&b, "before");
    bed_refused(&b, "older copy");
    bed_put_back(&b, "older");
    bed_refused(&b, "older copy");
    /* By the recovery key. */
    pqe_backend_close(&o.backend);
    use.dir = b.dir;
    use.backend = backend_keyfile(scratch_path(b.scratch, "device"));
    assert_pqe_ok(pqe_recovery_use(&use, &b.vault, err));
    assert_int_equal(get_status(b.vault, "second"), PQE_E_NOT_FOUND);
    bed_close(&b);
    pqe_backend_close(&use.backend);
    pqe_recovery_key_free(&key);
    bed_end(&b);
}

/* The device is gone, and its counter with it. */
static void
from_a_lost_device(void **state)
{
    pqe_recovery_key *key = NULL;
    pqe_recovery_use_opts o = {.size = sizeof o};
    bed b;

    (void)state;
    bed_make(&b, 0);
    assert_pqe_ok(pqe_recovery_key_generate(&key, err));
    assert_pqe_ok(pqe_recovery_create(b.vault, key, "paper", err));
    put_ok(b.vault, "second", "2", 1);
    bed_close(&b);
    pqe_backend_close(&b.backend);
    o.dir = b.dir;
    o.key = key;
    o.backend = b.backend = second_device(&b);
    assert_pqe_ok(pqe_recovery_use(&o, &b.vault, err));
    counting_advances();
    put_ok(b.vault, "third", "3", 1);
    assert_int_equal(counting_advances(), 1);
    bed_opens(&b);
    get_equals(b.vault, "second", "2", 1);
    bed_keep(&b, "old");
    put_ok(b.vault, "third", "4", 1);
    bed_put_back(&b, "old");
    bed_refused(&b, "older copy");
    pqe_recovery_key_free(&key);
    bed_end(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_device_to_device), cmocka_unit_test(to_a_counter_and_away),
        cmocka_unit_test(what_a_move_leaves),    cmocka_unit_test(a_slow_counter_keeps_no_session),
        cmocka_unit_test(from_a_lost_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
