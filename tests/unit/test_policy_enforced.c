/* SPDX-License-Identifier: Apache-2.0 */
/* The access policy: its enforcement by a vault. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include <pqc_enclave/audit.h>
#include <pqc_enclave/backend.h>

#include "backend/registry.h"
#include "unit/policy_support.h"
#include "unit/support.h"

static pqe_vault *vault;
static pqe_backend *backend;
static char *scratch;

static void
open_vault(void)
{
    pqe_vault_close(&vault);
    vault = vault_open_locked(scratch_path(scratch, "vault"), backend);
    assert_pqe_ok(pqe_vault_unlock(vault, 1000000, err)); /* hours pass here */
}

static int
make(void **state)
{
    (void)state;
    scratch = scratch_make();
    backend = backend_keyfile(scratch);
    vault = vault_create(scratch_path(scratch, "vault"), backend);
    put_ok(vault, "a", "content", 7);
    put_ok(vault, "b", "content", 7);
    open_vault();
    return 0;
}

static int
drop(void **state)
{
    (void)state;
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
    scratch_remove(scratch);
    return 0;
}

static void
test_no_rule(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        assert_int_equal(get_status(vault, "a"), PQE_OK);
    assert_int_equal(pqe_policy_clear(vault, PQE_KIND_OTHER, NULL, NULL), PQE_E_NOT_FOUND);
}

static void
test_callers(void **state)
{
    const char *const one[] = {"com.example.one", "com.example.two"};

    (void)state;
    assert_pqe_ok(
        pqe_policy_set(vault, RULE(.kind = PQE_KIND_OTHER, .allowed_bundle_ids = one, .allowed_count = 2), err));
    assert_int_equal(get_status(vault, "a"), PQE_E_POLICY);
    assert_pqe_ok(pqe_vault_set_caller(vault, "com.example.three", err));
    assert_int_equal(get_status(vault, "a"), PQE_E_POLICY);
    assert_pqe_ok(pqe_vault_set_caller(vault, "com.example.two", err));
    assert_int_equal(get_status(vault, "a"), PQE_OK);
    /* A rule of the artifact's own: both must agree. */
    assert_pqe_ok(pqe_policy_set(vault, RULE(.artifact = "a", .allowed_bundle_ids = one, .allowed_count = 1), err));
    assert_int_equal(get_status(vault, "a"), PQE_E_POLICY);
    assert_int_equal(get_status(vault, "b"), PQE_OK);
    assert_pqe_ok(pqe_vault_set_caller(vault, "com.example.one", err));
    assert_int_equal(get_status(vault, "a"), PQE_OK);
    /* What hands out no content does not ask. */
    assert_pqe_ok(pqe_vault_set_caller(vault, NULL, err));
    assert_pqe_ok(pqe_verify(vault, "a", NULL, NULL, NULL, err));
    assert_pqe_ok(pqe_verify(vault, NULL, NULL, NULL, NULL, err));
    {
        pqe_artifact *artifact = NULL;
        assert_pqe_ok(pqe_info(vault, "a", &artifact, err));
        assert_int_equal(pqe_vault_set_caller(vault, "", NULL), PQE_E_ARGUMENT);
        assert_int_equal(get_status(vault, artifact->artifact_id), PQE_E_POLICY); /* by id too */
        pqe_artifact_free(&artifact);
    }
    open_vault(); /* it is the vault's */
    assert_int_equal(get_status(vault, "a"), PQE_E_POLICY);
    assert_pqe_ok(pqe_policy_clear(vault, 0, "a", err));
    assert_pqe_ok(pqe_policy_clear(vault, PQE_KIND_OTHER, NULL, err));
    assert_int_equal(get_status(vault, "a"), PQE_OK);
}

static unsigned
uses_until_denied(const char *name, unsigned most)
{
    unsigned n = 0;

    while (n < most && get_status(vault, name) == PQE_OK)
        n++;
    assert_int_equal(get_status(vault, name), PQE_E_POLICY);
    return n;
}

static void
test_limits(void **state)
{
    (void)state;
    pass(10000);
    open_vault();
    assert_pqe_ok(pqe_policy_set(vault, RULE(.kind = PQE_KIND_OTHER, .max_uses_per_hour = 10), err));
    assert_pqe_ok(pqe_policy_set(vault, RULE(.artifact = "a", .max_uses_per_hour = 3), err));
    assert_int_equal(uses_until_denied("a", 20), 3); /* the stricter wins */
    assert_int_equal(uses_until_denied("b", 20), 7); /* and its uses count for the kind */
    open_vault();
    assert_int_equal(get_status(vault, "b"), PQE_E_POLICY);
    pass(3598);
    assert_int_equal(get_status(vault, "b"), PQE_E_POLICY);
    pass(12);
    assert_int_equal(get_status(vault, "b"), PQE_OK);
    /* Deleting and putting the artifact, or the rule, gives nothing back. */
    assert_int_equal(uses_until_denied("a", 20), 3);
    assert_pqe_ok(pqe_delete(vault, "a", err));
    put_ok(vault, "a", "content", 7);
    assert_int_equal(get_status(vault, "a"), PQE_E_POLICY);
    assert_pqe_ok(pqe_policy_clear(vault, 0, "a", err));
    assert_pqe_ok(pqe_policy_set(vault, RULE(.artifact = "a", .max_uses_per_hour = 3), err));
    assert_int_equal(get_status(vault, "a"), PQE_E_POLICY);
    assert_pqe_ok(pqe_verify(vault, NULL, NULL, NULL, NULL, err));
}

static void
test_clock_games(void **state)
{
    (void)state;
    pass(8000);
    open_vault();
    assert_int_equal(uses_until_denied("a", 20), 3);
    wall_ms += 86400000; /* a day forward */
    assert_int_equal(get_status(vault, "a"), PQE_E_POLICY);
    open_vault();
    assert_int_equal(get_status(vault, "a"), PQE_E_POLICY);
    wall_ms -= 10 * 86400000; /* far back */
    assert_int_equal(get_status(vault, "a"), PQE_E_POLICY);
    pass(3700); /* an hour later it is forgotten all the same */
    assert_int_equal(uses_until_denied("a", 20), 3);
    /* The machine is off for a day and started anew: an hour of its running must pass. */
    pqe_vault_close(&vault);
    boot_number++;
    boot_ms = 30000;
    wall_ms += 86400000;
    open_vault();
    assert_int_equal(get_status(vault, "a"), PQE_E_POLICY);
    pass(3500);
    assert_int_equal(get_status(vault, "a"), PQE_E_POLICY);
    pass(120);
    open_vault();
    assert_int_equal(uses_until_denied("a", 20), 3);
}

/* A reader is one use however much is read, and stays open when the limit is reached. */
static void
test_one_open_one_use(void **state)
{
    pqe_reader *r[3] = {NULL};
    char buf[16];
    size_t len;

    (void)state;
    pass(8000);
    open_vault();
    for (int i = 0; i < 3; i++)
        assert_pqe_ok(pqe_reader_open(vault, "a", &r[i], err));
    assert_int_equal(get_status(vault, "a"), PQE_E_POLICY);
    for (int i = 0; i < 9; i++) {
        assert_pqe_ok(pqe_reader_read_at(r[i % 3], 0, buf, sizeof buf, &len, err));
        assert_int_equal(len, 7);
    }
    for (int i = 0; i < 3; i++)
        pqe_reader_close(&r[i]);
    assert_int_equal(get_status(vault, "no such"), PQE_E_NOT_FOUND);
}

static void
test_read_only(void **state)
{
    pqe_vault_opts o = {.size = sizeof o, .dir = scratch_path(scratch, "vault"), .backend = backend, .read_only = true};
    pqe_vault *v = NULL;

    (void)state;
    pass(8000);
    assert_pqe_ok(pqe_policy_clear(vault, PQE_KIND_OTHER, NULL, err));
    pqe_vault_close(&vault);
    assert_pqe_ok(pqe_vault_open(&o, &v, err));
    assert_pqe_ok(pqe_vault_unlock(v, 0, err));
    assert_int_equal(get_status(v, "a"), PQE_E_POLICY); /* cannot be counted */
    assert_int_equal(get_status(v, "b"), PQE_OK);
    assert_int_equal(pqe_policy_set(v, RULE(.artifact = "b"), NULL), PQE_E_READ_ONLY);
    pqe_vault_close(&v);
    open_vault();
    assert_pqe_ok(pqe_policy_set(vault, RULE(.kind = PQE_KIND_OTHER, .max_uses_per_hour = 10), err));
}

static bool
collect_rule(void *user, const pqe_policy_rule *rule, uint64_t uses)
{
    char *out = user;

    sprintf(out + strlen(out), "%s/%s/%zu/%d/%u/%llu;", rule->kind != 0 ? pqe_kind_name(rule->kind) : "",
            rule->artifact != NULL ? rule->artifact : "", rule->allowed_count, rule->require_presence,
            rule->max_uses_per_hour, (unsigned long long)uses);
    return true;
}

static void
test_list_and_rekey(void **state)
{
    pqe_rotate_opts rekey = {.size = sizeof rekey, .rekey = true};
    char text_of[256] = "";

    (void)state;
    pass(8000);
    assert_int_equal(uses_until_denied("a", 20), 3);
    assert_pqe_ok(pqe_policy_list(vault, collect_rule, text_of, err));
    assert_string_equal(text_of, "other//0/0/10/3;/a/0/0/3/3;");
    assert_pqe_ok(pqe_rotate(vault, &rekey, err));
    assert_int_equal(get_status(vault, "a"), PQE_E_POLICY);
    assert_pqe_ok(pqe_rotate(vault, NULL, err));
    open_vault();
    assert_int_equal(get_status(vault, "a"), PQE_E_POLICY);
    text_of[0] = '\0';
    assert_pqe_ok(pqe_policy_list(vault, collect_rule, text_of, err));
    assert_string_equal(text_of, "other//0/0/10/3;/a/0/0/3/3;");
    assert_pqe_ok(pqe_verify(vault, NULL, NULL, NULL, NULL, err));
    /* Another process's change is followed at once. */
    {
        pqe_backend *other = backend_keyfile(scratch);
        pqe_vault *v = vault_open(scratch_path(scratch, "vault"), other);
        assert_pqe_ok(pqe_policy_clear(v, 0, "a", err));
        assert_int_equal(get_status(vault, "a"), PQE_OK);
        pqe_vault_close(&v);
        pqe_backend_close(&other);
    }
    assert_pqe_ok(pqe_policy_clear(vault, PQE_KIND_OTHER, NULL, err));
}

/* ---- presence ---- */

static pqe_status answer = PQE_OK;
static unsigned asked;
static char last_reason[256];

static pqe_status
authorize(void *self, void *key, const char *reason, pqe_error *err)
{
    (void)self;
    assert_non_null(key);
    asked++;
    snprintf(last_reason, sizeof last_reason, "%s", reason);
    if (answer != PQE_OK && err != NULL)
        *err = (pqe_error){.status = answer, .origin = PQE_ORIGIN_DEVICE, .message = "no finger"};
    return answer;
}

static void
test_presence(void **state)
{
    pqe_backend_ops ops = pqe__memory_ops;
    pqe_backend *asking = NULL;
    pqe_vault *v;

    (void)state;
    /* A backend that cannot ask denies. */
    assert_pqe_ok(pqe_policy_set(vault, RULE(.artifact = "a", .require_presence = true), err));
    assert_int_equal(get_status(vault, "a"), PQE_E_POLICY);
    assert_int_equal(get_status(vault, "b"), PQE_OK);
    assert_pqe_ok(pqe_policy_clear(vault, 0, "a", err));

    ops.authorize = authorize; /* without the flag it does not count */
    assert_pqe_ok(pqe_backend_open_ops(&ops, "", NULL, &asking, err));
    v = vault_create(NULL, asking);
    put_ok(v, "a", "x", 1);
    assert_pqe_ok(
        pqe_policy_set(v, RULE(.kind = PQE_KIND_OTHER, .require_presence = true, .max_uses_per_hour = 2), err));
    assert_int_equal(get_status(v, "a"), PQE_E_POLICY);
    assert_int_equal(asked, 0);
    asking->capabilities |= PQE_CAP_AUTHORIZE;
    assert_int_equal(get_status(v, "a"), PQE_OK);
    assert_int_equal(asked, 1);
    assert_string_equal(last_reason, "read a (other)");
    answer = PQE_E_DENIED;
    assert_int_equal(get_status(v, "a"), PQE_E_POLICY);
    answer = PQE_E_BACKEND;
    assert_int_equal(get_status(v, "a"), PQE_E_BACKEND);
    answer = PQE_OK; /* neither of these was a use */
    assert_int_equal(get_status(v, "a"), PQE_OK);
    assert_int_equal(get_status(v, "a"), PQE_E_POLICY);
    ops.size = offsetof(pqe_backend_ops, authorize); /* a table that ends before the entry */
    pass(8000);
    assert_pqe_ok(pqe_vault_unlock(v, 0, err));
    assert_int_equal(get_status(v, "a"), PQE_E_POLICY);
    pqe_vault_close(&v);
    pqe_backend_close(&asking);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_rule),          cmocka_unit_test(test_callers),
        cmocka_unit_test(test_limits),           cmocka_unit_test(test_clock_games),
        cmocka_unit_test(test_one_open_one_use), cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_list_and_rekey),   cmocka_unit_test(test_presence),
    };

    return cmocka_run_group_tests(tests, make, drop);
}
