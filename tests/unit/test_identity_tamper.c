/* SPDX-License-Identifier: Apache-2.0 */
/* Tampering with the rows and entries of identities: what is noticed, and what can be removed all the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pqc_enclave/audit.h>

#include "unit/identity_support.h"

static void
damaged(identity_bench *b, const char *did_or_name, const char *what)
{
    char names[IDENTITY_NAMES];
    pqe_status status = identity_status(b->vault, did_or_name), verified, list;

    if (status != PQE_E_TAMPERED && status != PQE_E_DECRYPTION)
        fail_msg("%s: %s", what, pqe_status_name(status));
    verified = pqe_verify(b->vault, NULL, NULL, NULL, NULL, NULL);
    assert_true(verified == PQE_E_TAMPERED || verified == PQE_E_DECRYPTION);
    list = identity_names(b->vault, names);
    assert_true(list == PQE_E_TAMPERED || list == PQE_E_DECRYPTION);
}

static void
test_tampering(void **state)
{
    identity_bench *b = *state;
    pqe_identity one = identity_create(b->vault, "one", 0);
    const char *clean = strdup(scratch_path(b->scratch, "clean")), *older = strdup(scratch_path(b->scratch, "older"));
    static const struct {
        const char *what, *sql, *whom;
    } cases[] = {
        {"removed", "DELETE FROM identity WHERE id = 1", "one"},
        {"removed with its entries", "DELETE FROM identity WHERE id = 1; DELETE FROM entry WHERE kind IN (4, 5)",
         "one"},
        {"entry removed", "DELETE FROM entry WHERE kind = 5", "one"},
        {"swapped",
         "UPDATE identity SET id = 9 WHERE id = 1; UPDATE identity SET id = 1 WHERE id = 2; "
         "UPDATE identity SET id = 2 WHERE id = 9",
         "one"},
        {"entries crossed", "UPDATE entry SET target = 3 - target WHERE kind IN (4, 5)", "one"},
        {"entry of another kind", "UPDATE entry SET kind = 5 WHERE kind = 4", NULL},
        {"altered",
         "UPDATE identity SET bytes = CAST(substr(bytes, 1, 99) || x'00' || substr(bytes, 101) AS BLOB) "
         "WHERE id = 1",
         "one"},
        {"cut", "UPDATE identity SET bytes = substr(bytes, 1, 20) WHERE id = 1", "one"},
        {"emptied", "UPDATE identity SET bytes = x'' WHERE id = 1", "one"},
        {"of another type", "UPDATE identity SET bytes = 'text' WHERE id = 1", "one"},
        {"too long", "UPDATE identity SET bytes = zeroblob(500000) WHERE id = 1", "one"},
    };

    pqe_vault_close(&b->vault);
    scratch_copy(b->dir, older);
    b->vault = vault_open(b->dir, b->backend);
    identity_create(b->vault, "two", 0);
    pqe_vault_close(&b->vault);
    scratch_copy(b->dir, clean);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        scratch_copy(clean, b->dir);
        sql(b->dir, cases[i].sql);
        b->vault = vault_open(b->dir, b->backend);
        if (cases[i].whom != NULL)
            damaged(b, cases[i].whom, cases[i].what);
        else
            assert_int_equal(pqe_verify(b->vault, NULL, NULL, NULL, NULL, NULL), PQE_E_TAMPERED);
        pqe_vault_close(&b->vault);
    }
    /* A row more than the entries lead to. */
    scratch_copy(clean, b->dir);
    sql(b->dir, "INSERT INTO identity(bytes) SELECT bytes FROM identity WHERE id = 1");
    b->vault = vault_open(b->dir, b->backend);
    identity_found(b->vault, "one", &one, true);
    assert_int_equal(pqe_verify(b->vault, NULL, NULL, NULL, NULL, NULL), PQE_E_TAMPERED);
    /* What was removed and is put back, row, entries and all. */
    assert_pqe_ok(pqe_identity_delete(b->vault, "two", err));
    pqe_vault_close(&b->vault);
    {
        char attach[8192];
        snprintf(attach, sizeof attach,
                 "ATTACH '%s/index.db' AS c; INSERT OR REPLACE INTO identity SELECT * FROM c.identity; "
                 "INSERT OR REPLACE INTO entry SELECT * FROM c.entry; "
                 "DELETE FROM node; INSERT INTO node SELECT * FROM c.node",
                 clean);
        sql(b->dir, attach);
    }
    b->vault = vault_open(b->dir, b->backend);
    damaged(b, "two", "put back");
    pqe_vault_close(&b->vault);
    scratch_copy(clean, b->dir);
    b->vault = vault_open(b->dir, b->backend);
    identity_sound(b->vault);
    free((char *)(uintptr_t)clean);
    free((char *)(uintptr_t)older);
}

/* ---- removing what is damaged ---- */

static bool
is_last_removal(void *user, const pqe_audit_entry *e)
{
    bool *seen = user;

    *seen = e->success && strcmp(e->details, "its record was damaged") == 0;
    return false;
}

/* The newest entry of the log says that a damaged one was removed. */
static void
logged_as_damaged(pqe_vault *vault, const char *did_or_name)
{
    pqe_audit_query q = {.size = sizeof q, .op = PQE_AUDIT_IDENTITY_DELETE, .artifact = did_or_name};
    bool seen = false;

    assert_int_equal(pqe_audit_list(vault, &q, is_last_removal, &seen, NULL), PQE_E_CANCELLED);
    assert_true(seen);
}

/* A row that is not what was stored is removed with its entries: the vault is sound then, and the rest as it was. */
static void
test_remove_damaged(void **state)
{
    identity_bench *b = *state;
    static const char *const damages[] = {
        "DELETE FROM identity WHERE id = 1",
        "UPDATE identity SET bytes = CAST(substr(bytes, 1, 99) || x'00' || substr(bytes, 101) AS BLOB) WHERE id = 1",
        "UPDATE identity SET bytes = substr(bytes, 1, 20) WHERE id = 1",
        "UPDATE identity SET bytes = x'' WHERE id = 1",
        "UPDATE identity SET bytes = 'text' WHERE id = 1",
        "UPDATE identity SET bytes = zeroblob(500000) WHERE id = 1",
        "UPDATE identity SET bytes = (SELECT bytes FROM identity WHERE id = 2) WHERE id = 1"};
    pqe_identity one = identity_create(b->vault, "one", 0), two = identity_create(b->vault, "two", 0), again;
    char *clean = strdup(scratch_path(b->scratch, "clean"));

    pqe_vault_close(&b->vault);
    scratch_copy(b->dir, clean);
    for (size_t i = 0; i < 2 * (sizeof damages / sizeof damages[0]); i++) {
        const char *whom = i % 2 == 0 ? "one" : one.did;
        scratch_copy(clean, b->dir);
        sql(b->dir, damages[i / 2]);
        b->vault = vault_open(b->dir, b->backend);
        damaged(b, whom, damages[i / 2]);
        assert_pqe_ok(pqe_identity_delete(b->vault, whom, err));
        logged_as_damaged(b->vault, whom);
        assert_int_equal(identity_status(b->vault, "one"), PQE_E_NOT_FOUND);
        assert_int_equal(identity_status(b->vault, one.did), PQE_E_NOT_FOUND);
        identity_found(b->vault, NULL, &two, true);
        identities_listed(b->vault, "two* ");
        identity_reopen(b);
        identity_sound(b->vault);
        again = identity_create(b->vault, "one", 0);
        identity_attests(b->vault, &again);
        assert_pqe_ok(pqe_identity_delete(b->vault, "two", err));
        assert_pqe_ok(pqe_identity_delete(b->vault, again.did, err));
        identities_listed(b->vault, "");
        identity_sound(b->vault);
        pqe_vault_close(&b->vault);
    }
    /* The last one, without a name. */
    scratch_copy(clean, b->dir);
    b->vault = vault_open(b->dir, b->backend);
    assert_pqe_ok(pqe_identity_delete(b->vault, "one", err));
    assert_pqe_ok(pqe_identity_delete(b->vault, "two", err));
    again = identity_create(b->vault, NULL, 0);
    pqe_vault_close(&b->vault);
    sql(b->dir, "UPDATE identity SET bytes = zeroblob(99)");
    b->vault = vault_open(b->dir, b->backend);
    assert_pqe_ok(pqe_identity_delete(b->vault, again.did, err));
    assert_int_equal(identity_status(b->vault, NULL), PQE_E_NOT_FOUND);
    identity_sound(b->vault);
    free(clean);
}

/* Rows that changed places: each removal leaves alone what the other's entries lead to. */
static void
test_remove_crossed(void **state)
{
    identity_bench *b = *state;
    static const char *const damages[] = {
        "UPDATE identity SET id = 9 WHERE id = 1; UPDATE identity SET id = 1 WHERE id = 2; "
        "UPDATE identity SET id = 2 WHERE id = 9",
        "UPDATE entry SET target = 3 - target WHERE kind IN (4, 5)"};
    char *clean = strdup(scratch_path(b->scratch, "clean"));
    pqe_identity two;

    identity_create(b->vault, "one", 0);
    two = identity_create(b->vault, "two", 0);
    pqe_vault_close(&b->vault);
    scratch_copy(b->dir, clean);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        scratch_copy(clean, b->dir);
        sql(b->dir, damages[i]);
        b->vault = vault_open(b->dir, b->backend);
        assert_pqe_ok(pqe_identity_delete(b->vault, "one", err));
        assert_pqe_ok(pqe_identity_delete(b->vault, "two", err));
        identities_listed(b->vault, "");
        identity_sound(b->vault);
        pqe_vault_close(&b->vault);
    }
    /* One's entries lead to two's row, which stays whole. */
    scratch_copy(clean, b->dir);
    sql(b->dir, "UPDATE entry SET target = 2 WHERE kind IN (4, 5)");
    b->vault = vault_open(b->dir, b->backend);
    assert_pqe_ok(pqe_identity_delete(b->vault, "one", err));
    identity_found(b->vault, NULL, &two, true);
    identity_attests(b->vault, &two);
    free(clean);
}

/* Entries are proved: where they were altered nothing is removed. */
static void
test_remove_unproved(void **state)
{
    identity_bench *b = *state;
    static const char *const damages[] = {"DELETE FROM entry WHERE kind = 5", "DELETE FROM entry WHERE kind = 4",
                                          "UPDATE entry SET digest = zeroblob(32) WHERE kind IN (4, 5)"};
    char *clean = strdup(scratch_path(b->scratch, "clean"));

    identity_create(b->vault, "one", 0);
    pqe_vault_close(&b->vault);
    scratch_copy(b->dir, clean);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        scratch_copy(clean, b->dir);
        sql(b->dir, damages[i]);
        sql(b->dir, "UPDATE identity SET bytes = zeroblob(99)");
        b->vault = vault_open(b->dir, b->backend);
        assert_int_equal(pqe_identity_delete(b->vault, "one", NULL), PQE_E_TAMPERED);
        pqe_vault_close(&b->vault);
    }
    free(clean);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tampering, identity_set_up, identity_tear_down),
        cmocka_unit_test_setup_teardown(test_remove_damaged, identity_set_up, identity_tear_down),
        cmocka_unit_test_setup_teardown(test_remove_crossed, identity_set_up, identity_tear_down),
        cmocka_unit_test_setup_teardown(test_remove_unproved, identity_set_up, identity_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
