/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery keys of vaults whose backend keeps the vault key to itself: the second recipient, and its ways in and out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pqc_enclave/identity.h>

#include "backend/faulty.h"
#include "backend/nativekem.h"
#include "unit/recovery_native_support.h"
#include "vault/recovery.h"

static bool
is_there(native_bench *b, const char *name)
{
    return access(scratch_path(b->scratch, name), F_OK) == 0;
}

static pqe_status
move(pqe_vault *vault, pqe_backend *backend, bool rekey)
{
    const pqe_rotate_opts opts = {.size = sizeof opts, .rekey = rekey, .backend = backend};

    return pqe_rotate(vault, &opts, NULL);
}

/* ---- there and back ---- */

static void
test_use(void **state)
{
    native_bench *b = *state;
    pqe_vault_info info;

    assert_pqe_ok(pqe_recovery_create(b->vault, b->first, "safe", err));
    native_check_whole(b->vault);
    put_ok(b->vault, "later", "after the key", 13);
    native_check_recoverable(b, b->first);

    native_lose(b);
    b->backend = native_device(b, "key2", SEALING);
    assert_int_equal(native_use(b->dir, b->first, b->backend, &b->vault), PQE_OK);
    native_check_whole(b->vault);
    get_equals(b->vault, "later", "after the key", 13);
    assert_pqe_ok(pqe_vault_get_info(b->vault, &info, err));
    assert_false(info.native_kem);
    native_check_recoverable(b, b->first); /* by the same key once more */
}

/* Which secrets are sealed twice, and what that costs the device: one call a secret, none when the last key goes. */
static void
test_life(void **state)
{
    native_bench *b = *state;
    char *copy = strdup(scratch_path(b->scratch, "older"));
    pqe_backend *fresh = native_device(b, "key2", SEALING);
    pqe_vault *vault = NULL;
    size_t pairs = nativekem_pairs();
    unsigned calls;

    assert_int_equal(native_count(b->dir, ROWS_ONCE), SESSIONS);
    calls = nativekem_calls();
    assert_pqe_ok(pqe_recovery_create(b->vault, b->first, NULL, err));
    assert_int_equal(nativekem_calls(), calls + SESSIONS + 1); /* and the root, for the new keys are loaded at once */
    assert_int_equal(nativekem_pairs(), pairs);
    assert_int_equal(native_count(b->dir, ROWS_TWICE), SESSIONS);
    assert_int_equal(native_count(b->dir, RECIPIENTS), 1);
    put_ok(b->vault, "later", "later", 5);
    assert_int_equal(native_count(b->dir, ROWS_TWICE), SESSIONS + 1);
    scratch_copy(b->dir, copy); /* of which the first key knows the recipient */

    assert_pqe_ok(pqe_recovery_create(b->vault, b->second, NULL, err));
    native_check_recoverable(b, b->first);
    native_check_recoverable(b, b->second);
    assert_pqe_ok(pqe_recovery_remove(b->vault, pqe_recovery_key_id(b->first), err));
    assert_int_equal(native_use(b->dir, b->first, fresh, &vault), PQE_E_DENIED);
    native_check_recoverable(b, b->second);

    calls = nativekem_calls();
    assert_pqe_ok(pqe_recovery_remove(b->vault, pqe_recovery_key_id(b->second), err));
    assert_int_equal(nativekem_calls(), calls + 1);
    assert_int_equal(native_use(b->dir, b->second, fresh, &vault), PQE_E_DENIED);
    assert_int_equal(native_count(b->dir, ROWS_TWICE), 0);
    assert_int_equal(native_count(b->dir, RECIPIENTS), 0);
    native_check_whole(b->vault);
    assert_int_equal(native_use(copy, b->first, fresh, &vault), PQE_OK); /* what it had, it has */
    native_check_whole(vault);
    pqe_vault_close(&vault);
    pqe_backend_close(&fresh);
    free(copy);
}

/* Each change of the list and each rotation makes another recipient: a key that was removed does not know it. */
static void
test_recipient_changes(void **state)
{
    native_bench *b = *state;
    const pqe_rotate_opts rekey = {.size = sizeof rekey, .rekey = true};
    uint8_t seen[5][PQE__KEM_PUBLIC_SIZE];

    assert_pqe_ok(pqe_recovery_create(b->vault, b->first, NULL, err));
    for (size_t i = 0; i < 5; i++) {
        native_check_whole(b->vault);
        assert_pqe_ok(pqe__kem_public(b->vault->session->keys->recipient, seen[i], err));
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(seen[k], seen[i], sizeof seen[i]);
        if (i == 0)
            assert_pqe_ok(pqe_recovery_create(b->vault, b->second, NULL, err));
        else if (i == 1)
            assert_pqe_ok(pqe_recovery_remove(b->vault, pqe_recovery_key_id(b->first), err));
        else if (i < 4)
            assert_pqe_ok(pqe_rotate(b->vault, i == 2 ? NULL : &rekey, err));
    }
    native_check_recoverable(b, b->second);
}

/* Between devices that decapsulate and backends that seal, all four ways, with and without new secrets. */
static void
test_moves(void **state)
{
    native_bench *b = *state;
    static const bool native[] = {true, false, false, true, true, false, true};
    pqe_backend *last = NULL;

    assert_pqe_ok(pqe_recovery_create(b->vault, b->first, NULL, err));
    for (size_t i = 0; i < sizeof native; i++) {
        char name[16];
        pqe_backend *next;
        snprintf(name, sizeof name, "key-%zu", i);
        next = native_device(b, name, native[i] ? NATIVE : SEALING);
        assert_int_equal(move(b->vault, next, i % 2 == 1), PQE_OK);
        native_check_whole(b->vault);
        assert_int_equal(native_count(b->dir, RECIPIENTS), native[i]);
        assert_int_equal(native_count(b->dir, native[i] ? ROWS_ONCE : ROWS_TWICE), 0);
        native_check_recoverable(b, b->first);
        pqe_backend_close(&last);
        last = next;
    }
    assert_pqe_ok(pqe_recovery_create(b->vault, b->second, NULL, err));
    native_check_recoverable(b, b->second);
    pqe_vault_close(&b->vault);
    pqe_backend_close(&last);
}

/* A vault says itself what it is, whatever its device could do besides; a rotation then takes it up. */
static void
test_vault_decides(void **state)
{
    native_bench *b = *state;
    pqe_backend *sealing = native_device(b, "key2", SEALING), *able = native_device(b, "key2", NATIVE);
    char *dir = strdup(scratch_path(b->scratch, "other"));
    pqe_vault *vault = vault_create(dir, sealing);

    put_ok(vault, "one", "1", 1);
    pqe_vault_close(&vault);
    vault = vault_open(dir, able);
    assert_pqe_ok(pqe_recovery_create(vault, b->first, NULL, err));
    assert_null(vault->session->keys->native);
    assert_int_equal(native_count(dir, RECIPIENTS), 0);
    get_equals(vault, "one", "1", 1);
    assert_pqe_ok(pqe_verify(vault, NULL, NULL, NULL, NULL, err));
    assert_pqe_ok(pqe_rotate(vault, NULL, err));
    get_equals(vault, "one", "1", 1);
    assert_non_null(vault->session->keys->native);
    assert_int_equal(native_count(dir, RECIPIENTS), 1);
    assert_pqe_ok(pqe_verify(vault, NULL, NULL, NULL, NULL, err));
    pqe_vault_close(&vault);
    pqe_backend_close(&sealing);
    pqe_backend_close(&able);
    unlink(scratch_path(b->scratch, "key2"));
    sealing = native_device(b, "key3", SEALING);
    assert_int_equal(native_use(dir, b->first, sealing, &vault), PQE_OK);
    get_equals(vault, "one", "1", 1);
    pqe_vault_close(&vault);
    pqe_backend_close(&sealing);
    free(dir);
}

/* Others that have the vault open: they take the new keys, a batch under way is told. */
static void
test_other_sessions(void **state)
{
    native_bench *b = *state;
    pqe_backend *same = native_device(b, "key", NATIVE);
    pqe_vault *other = vault_open(b->dir, same);
    const pqe_put_opts put = {.size = sizeof put, .name = "batch", .kind = PQE_KIND_OTHER};
    pqe_batch *batch = NULL;

    put_ok(other, "before", "b", 1);
    assert_pqe_ok(pqe_batch_open(other, &batch, err));
    assert_pqe_ok(pqe_batch_put(batch, &put, "x", 1, err));
    assert_pqe_ok(pqe_recovery_create(b->vault, b->first, NULL, err));
    assert_int_equal(pqe_batch_commit(&batch, NULL, NULL), PQE_E_BUSY);
    pqe_batch_abort(&batch);
    put_ok(other, "after", "a", 1);
    native_check_whole(other);
    assert_int_equal(native_count(b->dir, ROWS_ONCE), 0);
    native_check_recoverable(b, b->first);
    pqe_vault_close(&other);
    pqe_backend_close(&same);
}

/* ---- what goes wrong ---- */

/* Every call of the device fails once, and each time nothing has changed. */
static void
test_failing_device(void **state)
{
    native_bench *b = *state;
    unsigned n;

    pqe_vault_close(&b->vault);
    pqe_backend_close(&b->backend);
    b->backend = native_device(b, "key", FAULTY_NATIVE);
    for (n = 1; n < 50; n++) {
        bool is_last;
        b->vault = vault_open(b->dir, b->backend);
        faulty_arm(n);
        is_last = pqe_recovery_create(b->vault, b->first, NULL, NULL) == PQE_OK;
        faulty_arm(0);
        native_check_whole(b->vault);
        assert_int_equal(native_count(b->dir, ROWS_TWICE), is_last ? SESSIONS : 0);
        assert_int_equal(native_count(b->dir, RECIPIENTS), is_last);
        if (is_last)
            break;
        pqe_vault_close(&b->vault);
    }
    assert_true(n > SESSIONS && n < 50);
    native_check_recoverable(b, b->first);
}

/* Every call of the new device fails once: the vault stays, and the device has neither key nor pairs. */
static void
test_failing_new_device(void **state)
{
    native_bench *b = *state;
    pqe_backend *fresh = native_device(b, "key2", FAULTY_NATIVE);
    size_t before = nativekem_pairs();
    pqe_vault *vault = NULL;
    unsigned n;

    assert_pqe_ok(pqe_recovery_create(b->vault, b->first, NULL, err));
    for (n = 1; n < 50; n++) {
        pqe_status status;
        faulty_arm(n);
        status = native_use(b->dir, b->first, fresh, &vault);
        if (status == PQE_OK)
            break;
        assert_int_equal(status, PQE_E_BACKEND);
        assert_false(is_there(b, "key2"));
        assert_int_equal(nativekem_pairs(), before);
        native_check_whole(b->vault);
    }
    faulty_arm(0);
    assert_in_range(n, 6, 49);
    assert_int_equal(nativekem_pairs(), before + 2);
    native_check_whole(vault);
    pqe_vault_close(&vault);
    pqe_backend_close(&fresh);
}

static void
lock_now(void *user)
{
    nativekem_before(NULL, NULL);
    pqe_vault_lock(user);
}

/* The session ends while the device opens a secret for the new recipient. */
static void
test_locked_meanwhile(void **state)
{
    native_bench *b = *state;

    nativekem_before(lock_now, b->vault);
    assert_int_equal(pqe_recovery_create(b->vault, b->first, NULL, NULL), PQE_E_LOCKED);
    assert_int_equal(native_count(b->dir, ROWS_TWICE), 0);
    assert_int_equal(native_count(b->dir, RECIPIENTS), 0);
    assert_pqe_ok(pqe_vault_unlock(b->vault, 0, err));
    native_check_whole(b->vault);
    assert_pqe_ok(pqe_recovery_create(b->vault, b->first, NULL, err));
    nativekem_before(lock_now, b->vault);
    assert_int_equal(pqe_recovery_create(b->vault, b->second, NULL, NULL), PQE_E_LOCKED);
    assert_pqe_ok(pqe_vault_unlock(b->vault, 0, err));
    native_check_whole(b->vault);
    native_check_recoverable(b, b->first);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_use, native_set_up, native_tear_down),
        cmocka_unit_test_setup_teardown(test_life, native_set_up, native_tear_down),
        cmocka_unit_test_setup_teardown(test_recipient_changes, native_set_up, native_tear_down),
        cmocka_unit_test_setup_teardown(test_moves, native_set_up, native_tear_down),
        cmocka_unit_test_setup_teardown(test_vault_decides, native_set_up, native_tear_down),
        cmocka_unit_test_setup_teardown(test_other_sessions, native_set_up, native_tear_down),
        cmocka_unit_test_setup_teardown(test_failing_device, native_set_up, native_tear_down),
        cmocka_unit_test_setup_teardown(test_failing_new_device, native_set_up, native_tear_down),
        cmocka_unit_test_setup_teardown(test_locked_meanwhile, native_set_up, native_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
