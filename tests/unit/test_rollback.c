/* SPDX-License-Identifier: Apache-2.0 */
/* Older copies of a vault whose changes a device counts: which are refused, and what a legitimate restore does. */
#include "unit/rollback_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <pqc_enclave/audit.h>
#include <pqc_enclave/policy.h>
#include <pqc_enclave/recovery.h>

/* ---- copies ---- */

static void
an_older_copy_is_refused(void **state)
{
    char words[80];
    uint64_t g;
    bed b;

    (void)state;
    for (unsigned flags = 0; flags <= COUNTING_NO_NOTES; flags++) {
        bed_make(&b, flags);
        bed_keep(&b, "old");
        g = bed_generation(&b);
        for (unsigned i = 0; i < 3; i++)
            put_ok(b.vault, "second", "2", 1);
        bed_keep(&b, "new");
        bed_put_back(&b, "old");
        snprintf(words, sizeof words, "expects generation %" PRIu64 ", this is generation %" PRIu64, g + 3, g);
        bed_refused(&b, words);
        bed_refused(&b, words); /* looking does not change that */
        bed_put_back(&b, "new");
        bed_opens(&b);
        get_equals(b.vault, "second", "2", 1);
        bed_end(&b);
    }
}

static void
one_step_back_is_refused_too(void **state)
{
    bed b;

    (void)state;
    bed_make(&b, 0);
    bed_keep(&b, "old");
    assert_pqe_ok(pqe_delete(b.vault, "first", err));
    bed_put_back(&b, "old");
    bed_refused(&b, "older copy");
    bed_end(&b);
}

static void
without_a_counter_it_is_not_detected(void **state)
{
    pqe_vault_info info;
    bed b;

    (void)state;
    bed_make(&b, COUNTING_NOTHING); /* the device could, and did not for this vault */
    assert_pqe_ok(pqe_vault_get_info(b.vault, &info, err));
    assert_int_equal(info.rollback, PQE_ROLLBACK_NOT_DETECTED);
    bed_keep(&b, "old");
    put_ok(b.vault, "second", "2", 1);
    assert_int_equal(counting_advances(), 0);
    assert_int_not_equal(access(scratch_path(b.dir, "counter.lock"), F_OK), 0);
    bed_put_back(&b, "old");
    bed_opens(&b);
    assert_int_equal(pqe_recovery_accept_rollback(b.vault, 0, NULL, NULL), PQE_E_UNAVAILABLE);
    assert_false(pqe_vault_is_unlocked(b.vault));
    bed_end(&b);
}

/* The copy's rows into the index under the running handle. */
static void
put_rows_back(const bed *b, const char *name)
{
    static const char *const tables[] = {"head",  "device", "artifact", "secret", "identity",
                                         "entry", "node",   "state",    "audit"};
    char statement[PATH_MAX + 1024];
    int n = snprintf(statement, sizeof statement, "ATTACH '%s/index.db' AS o; BEGIN;", scratch_path(b->scratch, name));

    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        n += snprintf(statement + n, sizeof statement - (size_t)n,
                      "DELETE FROM main.%s; INSERT INTO main.%s SELECT * FROM o.%s;", tables[i], tables[i], tables[i]);
    snprintf(statement + n, sizeof statement - (size_t)n, "COMMIT");
    sql(b->dir, statement);
}

/* Where no device counts, the handle's memory is all there is, and an acceptance that failed must not have cost it. */
static void
a_failed_acceptance_forgets_nothing(void **state)
{
    pqe_error error = {0};
    bed b;

    (void)state;
    for (int before = 0; before < 2; before++) {
        bed_make(&b, COUNTING_NOTHING);
        bed_keep(&b, "old");
        put_ok(b.vault, "second", "2", 1);
        bed_keep(&b, "new");
        put_ok(b.vault, "third", "3", 1); /* this handle's own */
        if (before)
            put_rows_back(&b, "old");
        assert_int_equal(pqe_recovery_accept_rollback(b.vault, 0, NULL, NULL), PQE_E_UNAVAILABLE);
        if (!before)
            put_rows_back(&b, "old");
        for (int again = 0; again < 2; again++) {
            assert_int_equal(pqe_vault_unlock(b.vault, 0, &error), PQE_E_TAMPERED);
            assert_non_null(strstr(error.message, "went back from generation"));
        }
        put_rows_back(&b, "new"); /* newer than the oldest, and older than what was seen */
        assert_int_equal(pqe_vault_unlock(b.vault, 0, NULL), PQE_E_TAMPERED);
        bed_end(&b);
    }
}

static void
facts_say_so(void **state)
{
    pqe_vault_info info;
    pqe_backend *plain;
    pqe_vault *v;
    bed b;

    (void)state;
    bed_make(&b, 0);
    assert_pqe_ok(pqe_vault_get_info(b.vault, &info, err));
    assert_int_equal(info.rollback, PQE_ROLLBACK_DETECTED);
    pqe_vault_lock(b.vault);
    assert_pqe_ok(pqe_vault_get_info(b.vault, &info, err));
    assert_int_equal(info.rollback, PQE_ROLLBACK_UNKNOWN);
    plain = backend_keyfile(scratch_path(b.scratch, "device"));
    v = vault_create(scratch_path(b.scratch, "plain"), plain);
    pqe_vault_lock(v);
    assert_pqe_ok(pqe_vault_get_info(v, &info, err));
    assert_int_equal(info.rollback, PQE_ROLLBACK_NOT_DETECTED);
    pqe_vault_close(&v);
    pqe_backend_close(&plain);
    bed_end(&b);
}

/* Two copies that both say the counter's next value: the one that is acknowledged stays, the other is refused, where the
   device has room for a note. */
static void
two_heads_of_one_value(void **state)
{
    bed b;

    (void)state;
    for (unsigned flags = 0; flags <= COUNTING_NO_NOTES; flags++) {
        bed_make(&b, flags);
        bed_keep(&b, "before");
        counting_break(COUNTING_CANNOT_NOTE);
        assert_int_equal(put_content(b.vault, "one", 10, 1, NULL), PQE_E_BACKEND);
        counting_break(COUNTING_SOUND);
        bed_close(&b);
        bed_keep(&b, "one"); /* committed, never acknowledged */
        bed_put_back(&b, "before");
        bed_opens(&b);
        put_ok(b.vault, "two", "2", 1);
        bed_keep(&b, "two");
        bed_put_back(&b, "one");
        if (flags == COUNTING_NO_NOTES) {
            bed_opens(&b); /* a device without room cannot tell: docs/format.md says so */
            bed_end(&b);
            continue;
        }
        bed_refused(&b, "another copy");
        /* Also while the note is one step ahead of the counter. */
        bed_put_back(&b, "two");
        bed_opens(&b);
        counting_break(COUNTING_CANNOT_INCREMENT);
        assert_int_equal(put_content(b.vault, "three", 10, 3, NULL), PQE_E_BACKEND);
        counting_break(COUNTING_SOUND);
        bed_close(&b);
        bed_keep(&b, "three");
        bed_put_back(&b, "one");
        bed_refused(&b, "another copy");
        bed_put_back(&b, "two");
        bed_opens(&b); /* what was acknowledged last */
        bed_put_back(&b, "three");
        bed_opens(&b); /* what came after it */
        bed_put_back(&b, "two");
        bed_refused(&b, "older copy");
        bed_end(&b);
    }
}

static void
a_counter_that_is_not_the_vaults(void **state)
{
    uint64_t g, c;
    char path[PATH_MAX];
    bed b;

    (void)state;
    bed_make(&b, 0);
    put_ok(b.vault, "second", "2", 1);
    g = bed_generation(&b);
    c = bed_counter(&b);
    bed_set_counter(&b, c - 2);
    bed_refused(&b, "turned back or replaced");
    bed_accept(&b, g, 0, g + 1);
    assert_int_equal(bed_counter(&b), c - 1);
    bed_opens(&b);
    bed_device_file(&b, "counter", path);
    assert_int_equal(unlink(path), 0);
    bed_refused(&b, "is gone");
    bed_accept(&b, g + 1, 0, g + 2);
    put_ok(b.vault, "third", "3", 1);
    bed_opens(&b);
    bed_set_counter(&b, UINT64_MAX);
    bed_refused(&b, "older copy");
    bed_end(&b);
}

/* A backend that does not count any more must not be a way around. */
static void
a_backend_without_counters(void **state)
{
    pqe_backend_ops stripped = *counting_file();
    pqe_backend *with;
    uint64_t g;
    bed b;

    (void)state;
    bed_make(&b, 0);
    g = bed_generation(&b);
    bed_close(&b);
    with = b.backend;
    stripped.info.capabilities &= ~(uint32_t)PQE_CAP_COUNTER;
    b.backend = bed_device(&b, &stripped);
    bed_refused(&b, "counts none");
    bed_accept(&b, g, 0, g + 1);
    bed_opens(&b);
    put_ok(b.vault, "second", "2", 1);
    bed_close(&b);
    pqe_backend_close(&b.backend);
    b.backend = with;
    bed_refused(&b, "does not say so");
    bed_accept(&b, g + 2, 0, g + 3);
    put_ok(b.vault, "third", "3", 1);
    bed_opens(&b);
    bed_end(&b);
}

/* ---- accepting ---- */

static bool
find_entry(void *user, const pqe_audit_entry *e)
{
    char *details = user;

    if (e->op == PQE_AUDIT_RECOVERY && e->success)
        snprintf(details, 256, "%s", e->details);
    return true;
}

static void
a_restored_backup_can_be_accepted(void **state)
{
    char details[256] = "", words[80];
    pqe_error error = {0};
    uint64_t g;
    bed b;

    (void)state;
    bed_make(&b, 0);
    bed_keep(&b, "backup");
    g = bed_generation(&b);
    put_ok(b.vault, "second", "2", 1);
    put_ok(b.vault, "second", "3", 1);
    bed_keep(&b, "newer");
    bed_put_back(&b, "backup");
    bed_refused(&b, "older copy");
    counting_advances();
    bed_accept(&b, g, g + 2, g + 3);
    assert_int_equal(counting_advances(), 1);
    get_equals(b.vault, "first", "1", 1);
    assert_int_equal(get_status(b.vault, "second"), PQE_E_NOT_FOUND);
    assert_pqe_ok(pqe_audit_list(b.vault, NULL, find_entry, details, err));
    snprintf(words, sizeof words, "generation %" PRIu64 " in place of %" PRIu64, g, g + 2);
    assert_non_null(strstr(details, words));
    assert_pqe_ok(pqe_verify(b.vault, NULL, NULL, NULL, NULL, err));
    /* Once is enough, and there is no more to accept. */
    put_ok(b.vault, "fourth", "4", 1);
    bed_opens(&b);
    assert_int_equal(pqe_recovery_accept_rollback(b.vault, 0, NULL, &error), PQE_E_STATE);
    assert_false(pqe_vault_is_unlocked(b.vault));
    bed_opens(&b);
    bed_keep(&b, "accepted");
    bed_put_back(&b, "newer");
    bed_refused(&b, "older copy");
    bed_put_back(&b, "backup");
    bed_refused(&b, "older copy");
    bed_put_back(&b, "accepted");
    bed_opens(&b);
    bed_end(&b);
}

/* Through a handle that has seen the newer state; and cut short after its commit. */
static void
acceptance_in_one_handle(void **state)
{
    pqe_rollback told;
    bed b;

    (void)state;
    bed_make(&b, 0);
    bed_keep(&b, "backup");
    put_ok(b.vault, "second", "2", 1);
    bed_put_back(&b, "backup");
    b.vault = vault_open_locked(b.dir, b.backend);
    assert_int_equal(pqe_vault_unlock(b.vault, 0, NULL), PQE_E_ROLLBACK);
    counting_break(COUNTING_CANNOT_READ);
    assert_int_equal(pqe_recovery_accept_rollback(b.vault, 0, &told, NULL), PQE_E_BACKEND);
    assert_int_equal(told.generation, 0);
    counting_break(COUNTING_SOUND);
    assert_int_equal(pqe_vault_unlock(b.vault, 0, NULL), PQE_E_ROLLBACK);
    counting_break(COUNTING_CANNOT_INCREMENT);
    assert_int_equal(pqe_recovery_accept_rollback(b.vault, 0, &told, NULL), PQE_E_BACKEND);
    assert_false(pqe_vault_is_unlocked(b.vault));
    counting_break(COUNTING_SOUND);
    assert_pqe_ok(pqe_vault_unlock(b.vault, 0, err)); /* it was stored */
    put_ok(b.vault, "third", "3", 1);
    assert_int_equal(pqe_recovery_accept_rollback(NULL, 0, NULL, NULL), PQE_E_ARGUMENT);
    bed_end(&b);
}

/* ---- what an advance costs, and who pays ---- */

static void
one_advance_a_commit(void **state)
{
    pqe_batch *batch = NULL;
    pqe_policy_rule rule = {.size = sizeof rule, .kind = PQE_KIND_OTHER, .max_uses_per_hour = 100};
    bed b;

    (void)state;
    bed_make(&b, 0);
    put_ok(b.vault, "second", "2", 1);
    assert_int_equal(counting_advances(), 1);
    assert_pqe_ok(pqe_batch_open(b.vault, &batch, err));
    for (unsigned i = 0; i < 20; i++) {
        char name[16];
        pqe_put_opts o = {.size = sizeof o, .name = name, .kind = PQE_KIND_OTHER};
        snprintf(name, sizeof name, "item-%u", i);
        assert_pqe_ok(pqe_batch_put(batch, &o, "x", 1, err));
    }
    assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
    assert_int_equal(counting_advances(), 1);
    assert_pqe_ok(pqe_rotate(b.vault, NULL, err));
    assert_int_equal(counting_advances(), 1);
    assert_pqe_ok(pqe_policy_set(b.vault, &rule, err));
    assert_int_equal(counting_advances(), 1);
    counting_reads();
    for (unsigned i = 0; i < 5; i++)
        get_equals(b.vault, "first", "1", 1); /* counted uses */
    assert_pqe_ok(pqe_verify(b.vault, NULL, NULL, NULL, NULL, err));
    assert_pqe_ok(pqe_audit_flush(b.vault, err));
    assert_int_equal(counting_advances(), 0);
    assert_int_equal(counting_reads(), 0);
    bed_opens(&b);
    assert_int_equal(counting_reads(), 1);
    assert_int_equal(counting_advances(), 0);
    assert_int_equal(pqe_delete(b.vault, "nothing", NULL), PQE_E_NOT_FOUND);
    assert_int_equal(counting_advances(), 0);
    bed_end(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_older_copy_is_refused),
        cmocka_unit_test(one_step_back_is_refused_too),
        cmocka_unit_test(without_a_counter_it_is_not_detected),
        cmocka_unit_test(a_failed_acceptance_forgets_nothing),
        cmocka_unit_test(facts_say_so),
        cmocka_unit_test(two_heads_of_one_value),
        cmocka_unit_test(a_counter_that_is_not_the_vaults),
        cmocka_unit_test(a_backend_without_counters),
        cmocka_unit_test(a_restored_backup_can_be_accepted),
        cmocka_unit_test(acceptance_in_one_handle),
        cmocka_unit_test(one_advance_a_commit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
