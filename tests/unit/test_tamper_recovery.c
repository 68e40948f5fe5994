/* SPDX-License-Identifier: Apache-2.0 */
/* What a vault keeps for its recovery keys, altered by somebody who can write its files: noticed at unlock, or by whoever
 * reads it, or by the recovery key itself, and never followed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pqc_enclave/identity.h>
#include <pqc_enclave/recovery.h>

#include "unit/support.h"

typedef struct bench {
    char *scratch, *dir, *saved;
    pqe_backend *backend, *fresh;
    pqe_recovery_key *first, *second;
} bench;

static int
set_up(void **state)
{
    bench *b = calloc(1, sizeof *b);
    char config[600];
    pqe_vault *vault;

    assert_non_null(b);
    b->scratch = scratch_make();
    b->dir = strdup(scratch_path(b->scratch, "vault"));
    b->saved = strdup(scratch_path(b->scratch, "saved"));
    b->backend = backend_keyfile(b->scratch);
    snprintf(config, sizeof config, "file:key-file=%s", scratch_path(b->scratch, "key2"));
    assert_pqe_ok(pqe_backend_open(config, NULL, &b->fresh, err));
    vault = vault_create(b->dir, b->backend);
    put_ok(vault, "model", "weights", 7);
    assert_pqe_ok(pqe_identity_create(vault, NULL, NULL, err));
    assert_pqe_ok(pqe_recovery_key_generate(&b->first, err));
    assert_pqe_ok(pqe_recovery_key_generate(&b->second, err));
    assert_pqe_ok(pqe_recovery_create(vault, b->first, "first", err));
    scratch_copy(b->dir, b->saved);
    assert_pqe_ok(pqe_recovery_create(vault, b->second, "second", err));
    pqe_vault_close(&vault);
    *state = b;
    return 0;
}

static int
tear_down(void **state)
{
    bench *b = *state;

    pqe_recovery_key_free(&b->first);
    pqe_recovery_key_free(&b->second);
    pqe_backend_close(&b->backend);
    pqe_backend_close(&b->fresh);
    scratch_remove(b->scratch);
    free(b->saved);
    free(b->dir);
    free(b);
    return 0;
}

static pqe_status
use(bench *b, const pqe_recovery_key *key)
{
    const pqe_recovery_use_opts opts = {.size = sizeof opts, .dir = b->dir, .key = key, .backend = b->fresh};
    pqe_vault *vault = NULL;
    pqe_status status = pqe_recovery_use(&opts, &vault, NULL);

    pqe_vault_close(&vault);
    return status;
}

static pqe_status
unlock(bench *b)
{
    pqe_vault *vault = vault_open_locked(b->dir, b->backend);
    pqe_status status = pqe_vault_unlock(vault, 0, NULL);

    pqe_vault_close(&vault);
    return status;
}

/* Runs SQL on a copy of the vault that then stands in its place for `check`. */
static void
with(bench *b, const char *statement, void (*check)(bench *b))
{
    char *whole = strdup(scratch_path(b->scratch, "whole"));

    assert_int_equal(rename(b->dir, whole), 0);
    scratch_copy(whole, b->dir);
    sql(b->dir, statement);
    check(b);
    scratch_remove(strdup(b->dir));
    assert_int_equal(rename(whole, b->dir), 0);
    free(whole);
}

static void
check_items(bench *b)
{
    pqe_status first = use(b, b->first), second = use(b, b->second);

    assert_int_equal(unlock(b), PQE_E_TAMPERED);
    assert_true(first == PQE_E_TAMPERED || first == PQE_E_DENIED);
    assert_true(second == PQE_E_TAMPERED || second == PQE_E_DENIED);
}

/* Every way to change the device items: flip anywhere, swap, remove, add. */
static void
test_items(void **state)
{
    bench *b = *state;
    char statement[300];

    for (unsigned at = 1; at <= 1216; at += at < 40 || at > 1180 ? 1 : 61)
        for (unsigned slot = 16; slot <= 17; slot++) {
            snprintf(statement, sizeof statement,
                     "UPDATE device SET bytes = CAST(substr(bytes, 1, %u) || CASE WHEN substr(bytes, %u, 1) = x'00' "
                     "THEN x'01' ELSE x'00' END || substr(bytes, %u) AS BLOB) WHERE item = %u",
                     at - 1, at, at + 1, slot);
            with(b, statement, check_items);
        }
    with(b, "UPDATE device SET item = item + 100 WHERE item > 15; UPDATE device SET item = 133 - item WHERE item > 100",
         check_items);
    with(b, "DELETE FROM device WHERE item = 16", check_items);
    with(b, "DELETE FROM device WHERE item = 17", check_items);
    with(b, "UPDATE device SET item = 18 WHERE item = 17", check_items);
    with(b, "INSERT INTO device SELECT 18, bytes FROM device WHERE item = 17", check_items);
    with(b, "INSERT INTO device SELECT 99, bytes FROM device WHERE item = 17", check_items);
    with(b, "INSERT INTO device SELECT 0, bytes FROM device WHERE item = 17", check_items);
    with(b, "UPDATE device SET bytes = substr(bytes, 2) WHERE item = 17", check_items);
    with(b, "UPDATE device SET bytes = 'text' WHERE item = 17", check_items);
}

static bool
any(void *user, const pqe_recovery_info *info)
{
    (void)user;
    (void)info;
    return true;
}

/* The list is read by whoever needs it. */
static void
check_list(bench *b)
{
    pqe_vault *vault = vault_open(b->dir, b->backend);
    pqe_recovery_key *third = NULL;

    get_equals(vault, "model", "weights", 7); /* which does not need it */
    assert_int_equal(pqe_recovery_list(vault, any, NULL, NULL), PQE_E_TAMPERED);
    assert_int_equal(pqe_recovery_remove(vault, pqe_recovery_key_id(b->first), NULL), PQE_E_TAMPERED);
    assert_pqe_ok(pqe_recovery_key_generate(&third, err));
    assert_int_equal(pqe_recovery_create(vault, third, NULL, NULL), PQE_E_TAMPERED);
    assert_int_equal(pqe_rotate(vault, NULL, NULL), PQE_E_TAMPERED);
    assert_int_equal(pqe_verify(vault, NULL, NULL, NULL, NULL, NULL), PQE_E_TAMPERED);
    pqe_recovery_key_free(&third);
    pqe_vault_close(&vault);
    assert_int_equal(use(b, b->first), PQE_E_TAMPERED);
    assert_int_equal(use(b, b->second), PQE_E_TAMPERED);
}

static void
test_list(void **state)
{
    bench *b = *state;
    char statement[600];

    for (unsigned at = 1; at <= 2600; at += 97) {
        snprintf(statement, sizeof statement,
                 "UPDATE state SET bytes = CAST(substr(bytes, 1, %u) || CASE WHEN substr(bytes, %u, 1) = x'00' THEN "
                 "x'01' ELSE x'00' END || substr(bytes, %u) AS BLOB) WHERE item = 5",
                 at - 1, at, at + 1);
        with(b, statement, check_list);
    }
    with(b, "DELETE FROM state WHERE item = 5", check_list);
    snprintf(statement, sizeof statement,
             "ATTACH '%s/index.db' AS old; UPDATE state SET bytes = (SELECT bytes FROM old.state WHERE item = 5) WHERE "
             "item = 5",
             b->saved);
    with(b, statement, check_list); /* that of an earlier state */
}

static void
check_put_back(bench *b)
{
    assert_int_equal(unlock(b), PQE_E_TAMPERED);
    assert_int_equal(use(b, b->first), PQE_E_TAMPERED);
}

/* Everything of the recovery keys from another vault of the same recovery key's owner, or from an older state. */
static void
test_put_back(void **state)
{
    bench *b = *state;
    char statement[600];

    snprintf(statement, sizeof statement,
             "ATTACH '%s/index.db' AS old; DELETE FROM device WHERE item > 15; INSERT INTO device SELECT item, bytes "
             "FROM old.device WHERE item > 15",
             b->saved);
    with(b, statement, check_put_back);
}

/* A vault of somebody who knows the recovery key's public part: the recovery key itself refuses it. Here, that somebody's
   vault has the item of ours under its own key. */
static void
test_forged(void **state)
{
    bench *b = *state;
    char *other = strdup(scratch_path(b->scratch, "other")), statement[600];
    pqe_backend *memory = backend_memory();
    pqe_vault *vault = vault_create(other, memory);
    pqe_recovery_use_opts opts = {.size = sizeof opts, .dir = other, .key = b->first, .backend = b->fresh};

    pqe_vault_close(&vault);
    snprintf(statement, sizeof statement,
             "ATTACH '%s/index.db' AS ours; INSERT INTO device SELECT item, bytes FROM ours.device WHERE item > 15",
             b->dir);
    sql(other, statement);
    assert_int_equal(pqe_recovery_use(&opts, &vault, NULL), PQE_E_TAMPERED);
    assert_null(vault);
    pqe_backend_close(&memory);
    free(other);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_items, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_put_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_forged, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
