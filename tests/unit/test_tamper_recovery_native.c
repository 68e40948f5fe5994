/* SPDX-License-Identifier: Apache-2.0 */
/* The recovery recipient of a native vault and what is sealed to it, altered by somebody who can write the vault's files,
 * or by somebody who has the vault open: noticed before any backend makes a key, and never followed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit/recovery_native_support.h"
#include "vault/recovery.h"

static char *saved; /* with the first key alone */

static int
set_up(void **state)
{
    native_bench *b;

    native_set_up(state);
    b = *state;
    assert_pqe_ok(pqe_recovery_create(b->vault, b->first, NULL, err));
    saved = strdup(scratch_path(b->scratch, "saved"));
    scratch_copy(b->dir, saved);
    assert_pqe_ok(pqe_recovery_create(b->vault, b->second, NULL, err));
    pqe_vault_close(&b->vault);
    return 0;
}

static int
tear_down(void **state)
{
    free(saved);
    return native_tear_down(state);
}

/* No key of a new backend is made for what is refused. */
static pqe_status
use(native_bench *b, const char *dir, const pqe_recovery_key *key)
{
    pqe_backend *fresh = native_device(b, "key2", NATIVE);
    pqe_vault *vault = NULL;
    pqe_status status = native_use(dir, key, fresh, &vault);

    pqe_vault_close(&vault);
    pqe_backend_close(&fresh);
    if (status != PQE_OK)
        assert_int_not_equal(access(scratch_path(b->scratch, "key2"), F_OK), 0);
    return status;
}

static pqe_status
unlock(native_bench *b, const char *dir)
{
    pqe_vault *vault = vault_open_locked(dir, b->backend);
    pqe_status status = pqe_vault_unlock(vault, 0, NULL);

    pqe_vault_close(&vault);
    return status;
}

typedef void (*check_fn)(native_bench *b, const char *dir);

static void
with(native_bench *b, const char *statement, check_fn check)
{
    const char *copy = scratch_path(b->scratch, "altered");
    char *dir = strdup(copy);

    scratch_copy(b->dir, dir);
    sql(dir, statement);
    check(b, dir);
    scratch_remove(dir);
}

static void
flip(native_bench *b, const char *table, const char *column, unsigned at, const char *condition, check_fn check)
{
    char statement[400];

    snprintf(statement, sizeof statement,
             "UPDATE %s SET %s = CAST(substr(%s, 1, %u) || CASE WHEN substr(%s, %u, 1) = x'00' THEN x'01' ELSE x'00' "
             "END || substr(%s, %u) AS BLOB) WHERE %s",
             table, column, column, at - 1, column, at, column, at + 1, condition);
    with(b, statement, check);
}

static void
check_items(native_bench *b, const char *dir)
{
    pqe_status first = use(b, dir, b->first), second = use(b, dir, b->second), opened = unlock(b, dir);

    assert_true(opened == PQE_E_TAMPERED || opened == PQE_E_DECRYPTION);
    assert_true(first == PQE_E_TAMPERED || first == PQE_E_DENIED);
    assert_true(second == PQE_E_TAMPERED || second == PQE_E_DENIED);
}

/* The recipient's item: key, root; what is sealed to the recovery keys; all of an earlier state. */
static void
test_items(void **state)
{
    native_bench *b = *state;
    char statement[700];

    for (unsigned at = 1; at <= 2320; at += at < 3 || (at > 1180 && at < 1190) ? 1 : 83) {
        flip(b, "device", "bytes", at, "item = 7", check_items);
        if (at <= 1216)
            flip(b, "device", "bytes", at, at % 2 == 0 ? "item = 16" : "item = 17", check_items);
    }
    with(b, "DELETE FROM device WHERE item = 7", check_items);
    with(b, "DELETE FROM device WHERE item = 6", check_items);
    with(b, "UPDATE device SET bytes = substr(bytes, 2) WHERE item = 7", check_items);
    with(b, "UPDATE device SET bytes = bytes || x'00' WHERE item = 7", check_items);
    with(b, "UPDATE device SET bytes = x'' WHERE item = 7", check_items);
    with(b, "INSERT INTO device SELECT 8, bytes FROM device WHERE item = 7", check_items);
    for (int items = 0; items < 3; items++) {
        static const char *const which[] = {"item = 7", "item = 16", "item IN (7, 16)"};
        snprintf(statement, sizeof statement,
                 "ATTACH '%s/index.db' AS old; UPDATE device SET bytes = (SELECT bytes FROM old.device WHERE item = "
                 "device.item) WHERE %s",
                 saved, which[items]);
        with(b, statement, check_items);
    }
}

/* A session's secret is not what the index says: an unlock does not read it, whoever needs it does. */
static void
check_secret(native_bench *b, const char *dir)
{
    pqe_vault *vault = vault_open(dir, b->backend);
    pqe_recovery_key *third = NULL;

    assert_int_equal(pqe_verify(vault, NULL, NULL, NULL, NULL, NULL), PQE_E_TAMPERED);
    assert_pqe_ok(pqe_recovery_key_generate(&third, err));
    assert_int_equal(pqe_recovery_create(vault, third, NULL, NULL), PQE_E_TAMPERED);
    assert_int_equal(pqe_recovery_remove(vault, pqe_recovery_key_id(b->first), NULL), PQE_E_TAMPERED);
    assert_int_equal(pqe_rotate(vault, NULL, NULL), PQE_E_TAMPERED);
    pqe_recovery_key_free(&third);
    pqe_vault_close(&vault);
    assert_int_equal(use(b, dir, b->first), PQE_E_TAMPERED);
    assert_int_equal(use(b, dir, b->second), PQE_E_TAMPERED);
}

static void
test_secrets(void **state)
{
    native_bench *b = *state;
    char statement[700];

    for (unsigned at = 1; at <= 2272; at += at > 1130 && at < 1145 ? 1 : 151)
        flip(b, "secret", "sealed", at, "id = 2", check_secret);
    with(b, "UPDATE secret SET sealed = substr(sealed, 1, 1136) WHERE id = 1", check_secret);
    with(b, "UPDATE secret SET sealed = substr(sealed, 1, 1135) WHERE id = 1", check_secret);
    with(b, "UPDATE secret SET sealed = sealed || x'00' WHERE id = 1", check_secret);
    with(b, "UPDATE secret SET sealed = substr(sealed, 1137) || substr(sealed, 1, 1136)", check_secret);
    with(b,
         "UPDATE secret SET sealed = substr(sealed, 1, 1136) || (SELECT substr(sealed, 1137) FROM secret WHERE id = 3) "
         "WHERE id = 1",
         check_secret);
    snprintf(
        statement, sizeof statement,
        "ATTACH '%s/index.db' AS old; UPDATE secret SET sealed = (SELECT sealed FROM old.secret WHERE id = 1) WHERE "
        "id = 1",
        saved);
    with(b, statement, check_secret); /* sealed to the recipient before */
}

/* Somebody with the vault open wrote it so that every digest is right: the key still finds nothing else than what was
   sealed to it under this key id. */
static void
exchange(native_bench *b, const char *dir, int variant)
{
    pqe_vault *vault = vault_open(dir, b->backend);
    pqe__entry_list list = {.kind = PQE__ENTRY_SECRET};
    pqe__secret_row row, other;
    pqe__entry entry;
    bool known;
    pqe__txn txn;

    assert_pqe_ok(pqe__txn_begin(vault, true, &txn, err));
    assert_pqe_ok(pqe__entries_collect(&txn, &list, err));
    assert_int_equal(list.count, SESSIONS);
    entry = list.entries[0];
    assert_pqe_ok(pqe__secret_fetch(vault->store, entry.rowid, &row, err));
    assert_pqe_ok(pqe__secret_fetch(vault->store, list.entries[1].rowid, &other, err));
    if (variant == 0)
        row.sealed_len = PQE__SEALED_SECRET_SIZE;
    else
        memcpy(row.sealed + PQE__SEALED_SECRET_SIZE, variant == 1 ? other.sealed + PQE__SEALED_SECRET_SIZE : row.sealed,
               PQE__SEALED_SECRET_SIZE);
    assert_pqe_ok(pqe__secret_digest(&row, err));
    assert_pqe_ok(pqe__secret_update(vault->store, &row, err));
    memcpy(entry.digest, row.digest, sizeof entry.digest);
    assert_pqe_ok(pqe__tree_set(vault->store, txn.head.index_root, &entry, err));
    assert_pqe_ok(pqe__txn_write_head(&txn, vault->session->keys, err));
    assert_pqe_ok(pqe__txn_commit(&txn, &known, err));
    free(list.entries);
    pqe_vault_close(&vault);
}

static void
test_insider(void **state)
{
    native_bench *b = *state;

    for (int variant = 0; variant < 3; variant++) {
        char *dir = strdup(scratch_path(b->scratch, "altered"));
        scratch_copy(b->dir, dir);
        exchange(b, dir, variant);
        assert_int_equal(use(b, dir, b->first), variant == 0 ? PQE_E_TAMPERED : PQE_E_DECRYPTION);
        if (variant == 0) {
            pqe_vault *vault = vault_open(dir, b->backend);
            assert_int_equal(pqe_verify(vault, NULL, NULL, NULL, NULL, NULL), PQE_E_TAMPERED);
            pqe_vault_close(&vault);
        }
        scratch_remove(dir);
    }
}

/* What a recovery key has sealed to it in a native vault opens no other kind of vault, and the other way round. */
static void
test_kinds_are_apart(void **state)
{
    native_bench *b = *state;
    char *dir = strdup(scratch_path(b->scratch, "sealing")), statement[700];
    pqe_backend *sealing = native_device(b, "key3", SEALING);
    pqe_rotate_opts move = {.size = sizeof move, .backend = sealing};
    pqe_vault *vault;

    scratch_copy(b->dir, dir);
    vault = vault_open(dir, b->backend);
    assert_pqe_ok(pqe_rotate(vault, &move, err));
    pqe_vault_close(&vault);
    for (int which = 0; which < 2; which++) {
        snprintf(statement, sizeof statement,
                 "ATTACH '%s/index.db' AS o; UPDATE device SET bytes = (SELECT bytes FROM o.device WHERE item = 16) "
                 "WHERE item = 16",
                 which == 0 ? b->dir : saved);
        scratch_copy(dir, saved);
        sql(which == 0 ? saved : b->dir, statement);
        assert_int_equal(use(b, which == 0 ? saved : b->dir, b->first), PQE_E_TAMPERED);
    }
    pqe_backend_close(&sealing);
    free(dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_items, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_secrets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_insider, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kinds_are_apart, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
