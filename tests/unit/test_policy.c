/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The access policy: encoding, decisions, the time that uses are counted in, and its enforcement by a vault. Clocks are
 * the test's own (linker's --wrap), so that hours pass and are set at will.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pqc_enclave/audit.h>
#include <pqc_enclave/backend.h>
#include <pqc_enclave/policy.h>

#include "backend/registry.h"
#include "policy/policy.h"
#include "unit/support.h"
#include "util/text.h"

/* ---- clocks ---- */

static uint64_t boot_ms = 5000000;
static int64_t wall_ms = 1700000000000;
static uint8_t boot_number = 1;

uint64_t __wrap_pqe__boottime_ns(void);
int64_t __wrap_pqe__walltime_ms(void);
void __wrap_pqe__boot_id(uint8_t out[16]);

uint64_t
__wrap_pqe__boottime_ns(void)
{
    return boot_ms * 1000000u;
}

int64_t
__wrap_pqe__walltime_ms(void)
{
    return wall_ms;
}

void
__wrap_pqe__boot_id(uint8_t out[16])
{
    memset(out, boot_number, 16);
}

static void
pass(uint64_t seconds)
{
    boot_ms += seconds * 1000;
    wall_ms += (int64_t)seconds * 1000;
}

#define RULE(...) (&(pqe_policy_rule){.size = sizeof(pqe_policy_rule), __VA_ARGS__})

/* ---- encoding ---- */

static void
decode_with(pqe__policy *p, const pqe_policy_rule *rule, bool remove)
{
    uint8_t *bytes;
    size_t len;
    bool found;

    assert_pqe_ok(pqe__policy_with(p, rule, remove, &found, &bytes, &len, err));
    pqe__policy_free(p);
    assert_pqe_ok(pqe__policy_decode(bytes, len, p, err));
    free(bytes);
}

static pqe__text
text(const char *s)
{
    return (pqe__text){s, strlen(s)};
}

static void
test_rules(void **state)
{
    const char *const bundles[] = {"z", "a", "z", "ab"};
    pqe__policy p = {0};
    const pqe__rule *r;

    (void)state;
    decode_with(&p, RULE(.artifact = "b"), false);
    decode_with(&p, RULE(.kind = PQE_KIND_OTHER, .require_presence = true), false);
    decode_with(&p, RULE(.artifact = "a", .max_uses_per_hour = 7), false);
    decode_with(&p, RULE(.kind = PQE_KIND_CREDENTIAL, .allowed_bundle_ids = bundles, .allowed_count = 4), false);
    assert_int_equal(p.count, 4);
    assert_int_equal(p.rules[0].kind, PQE_KIND_CREDENTIAL); /* in order, whatever order they were set in */
    assert_int_equal(p.rules[1].kind, PQE_KIND_OTHER);
    assert_memory_equal(p.rules[2].name.data, "a", 1);
    r = pqe__policy_find(&p, PQE_KIND_CREDENTIAL, text(""));
    assert_int_equal(r->allowed_count, 3);
    assert_true(pqe__rule_allows(r, "ab"));
    assert_false(pqe__rule_allows(r, "abc"));
    assert_false(pqe__rule_allows(r, ""));
    assert_false(pqe__rule_allows(r, NULL));
    assert_true(pqe__rule_allows(pqe__policy_find(&p, 0, text("b")), NULL));
    assert_true(pqe__rule_allows(NULL, NULL));
    assert_null(pqe__policy_find(&p, 0, text("c")));
    assert_null(pqe__policy_find(&p, PQE_KIND_TOKENIZER, text("a")));
    decode_with(&p, RULE(.artifact = "a", .max_uses_per_hour = 8), false); /* replaces */
    assert_int_equal(pqe__policy_find(&p, 0, text("a"))->max_uses, 8);
    decode_with(&p, RULE(.artifact = "b"), true);
    assert_int_equal(p.count, 3);
    pqe__policy_free(&p);
}

static pqe_status
with_status(const pqe__policy *p, const pqe_policy_rule *rule)
{
    uint8_t *bytes = NULL;
    size_t len;
    bool found;
    pqe_status status = pqe__policy_with(p, rule, false, &found, &bytes, &len, NULL);

    assert_true((status == PQE_OK) == (bytes != NULL));
    free(bytes);
    return status;
}

static void
test_rule_limits(void **state)
{
    static char longest[PQE_FIELD_MAX + 2];
    const char *many[PQE_POLICY_ALLOWED_MAX + 1], *const bad[] = {"\xc3\x28"}, *const empty[] = {""},
                                                         *const null[] = {NULL}, *const too_long[] = {longest};
    pqe__policy p = {0};
    char name[16];

    (void)state;
    memset(longest, 'x', PQE_FIELD_MAX + 1);
    for (size_t i = 0; i <= PQE_POLICY_ALLOWED_MAX; i++)
        many[i] = "x";
    assert_int_equal(with_status(&p, RULE(.kind = 0)), PQE_E_ARGUMENT);
    assert_int_equal(with_status(&p, RULE(.kind = PQE_KIND_OTHER, .artifact = "a")), PQE_E_ARGUMENT);
    assert_int_equal(with_status(&p, RULE(.kind = (pqe_kind)99)), PQE_E_ARGUMENT);
    assert_int_equal(with_status(&p, RULE(.artifact = "")), PQE_E_ARGUMENT);
    assert_int_equal(with_status(&p, RULE(.artifact = longest)), PQE_E_LIMIT);
    assert_int_equal(with_status(&p, RULE(.artifact = "a", .max_uses_per_hour = PQE_POLICY_USES_MAX + 1)), PQE_E_LIMIT);
    assert_int_equal(
        with_status(&p, RULE(.artifact = "a", .allowed_bundle_ids = many, .allowed_count = PQE_POLICY_ALLOWED_MAX + 1)),
        PQE_E_LIMIT);
    assert_int_equal(with_status(&p, RULE(.artifact = "a", .allowed_count = 1)), PQE_E_ARGUMENT);
    assert_int_equal(with_status(&p, RULE(.artifact = "a", .allowed_bundle_ids = bad, .allowed_count = 1)),
                     PQE_E_ARGUMENT);
    assert_int_equal(with_status(&p, RULE(.artifact = "a", .allowed_bundle_ids = empty, .allowed_count = 1)),
                     PQE_E_ARGUMENT);
    assert_int_equal(with_status(&p, RULE(.artifact = "a", .allowed_bundle_ids = null, .allowed_count = 1)),
                     PQE_E_ARGUMENT);
    assert_int_equal(with_status(&p, RULE(.artifact = "a", .allowed_bundle_ids = too_long, .allowed_count = 1)),
                     PQE_E_LIMIT);
    for (int i = 0; i < PQE_POLICY_ARTIFACTS_MAX; i++) {
        snprintf(name, sizeof name, "artifact %d", i);
        decode_with(&p, RULE(.artifact = name), false);
    }
    assert_int_equal(with_status(&p, RULE(.artifact = "one more")), PQE_E_LIMIT);
    assert_int_equal(with_status(&p, RULE(.artifact = "artifact 7")), PQE_OK);
    assert_int_equal(with_status(&p, RULE(.kind = PQE_KIND_OTHER)), PQE_OK);
    pqe__policy_free(&p);
}

/* Every truncation and every flipped byte is refused or is another policy in the one encoding that it has. */
static void
test_damaged_rules(void **state)
{
    const char *const bundles[] = {"com.example.a", "com.example.b"};
    pqe__policy p = {0}, q;
    uint8_t *copy, *again;
    size_t len, refused = 0;

    (void)state;
    decode_with(&p, RULE(.kind = PQE_KIND_CREDENTIAL, .allowed_bundle_ids = bundles, .allowed_count = 2), false);
    decode_with(&p, RULE(.artifact = "an artifact", .require_presence = true, .max_uses_per_hour = 50), false);
    for (size_t n = 0; n < p.len; n++)
        assert_int_equal(pqe__policy_decode(p.bytes, n, &q, NULL), PQE_E_TAMPERED);
    copy = malloc(p.len + 1);
    assert_non_null(copy);
    for (size_t at = 0; at < p.len; at++) {
        for (int bit = 0; bit < 8; bit++) {
            bool found;
            memcpy(copy, p.bytes, p.len);
            copy[at] ^= (uint8_t)(1 << bit);
            if (pqe__policy_decode(copy, p.len, &q, NULL) != PQE_OK) {
                refused++;
                continue;
            }
            assert_pqe_ok(pqe__policy_with(&q, RULE(.artifact = "no such"), true, &found, &again, &len, err));
            assert_int_equal(len, p.len);
            assert_memory_equal(again, copy, len);
            free(again);
            pqe__policy_free(&q);
        }
    }
    assert_true(refused > p.len);
    memcpy(copy, p.bytes, p.len);
    copy[p.len] = 0;
    assert_int_equal(pqe__policy_decode(copy, p.len + 1, &q, NULL), PQE_E_TAMPERED);
    free(copy);
    pqe__policy_free(&p);
}

/* ---- time ---- */

static void
test_elapsed(void **state)
{
    const pqe__clock then = {.boot_id = {1}, .boot_ms = 1000000, .wall_ms = 50000000};
    static const struct {
        uint8_t boot;
        int64_t boot_by, wall_by;
        uint64_t passed;
    } cases[] = {
        {1, 5000, 5000, 5000},        {1, 5000, 5000000, 5000}, /* the clock of day set forward: not believed */
        {1, 5000, -5000000, 0},                                 /* set back: nothing is believed */
        {1, 5000000, 4000, 4000},                               /* a time namespace shifted forward */
        {1, -5000, 5000, 0},                                    /* and back */
        {2, -999000, 86400000, 1000}, /* another boot, one second ago: the day it was off is not counted */
        {2, 9000000, 5000, 5000},     /* another boot, and a clock of day that knows better */
        {2, 9000000, -1, 0},          {1, 0, 0, 0},
    };
    pqe__clock unknown = then, later = then;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pqe__clock now = {.boot_id = {cases[i].boot},
                          .boot_ms = (uint64_t)((int64_t)then.boot_ms + cases[i].boot_by),
                          .wall_ms = then.wall_ms + cases[i].wall_by};
        if (pqe__clock_elapsed(&then, &now) != cases[i].passed)
            fail_msg("case %zu: %llu", i, (unsigned long long)pqe__clock_elapsed(&then, &now));
    }
    memset(unknown.boot_id, 0, 16); /* no id: an earlier CLOCK_BOOTTIME is another boot */
    later = unknown;
    later.boot_ms = 700;
    later.wall_ms += 10000000;
    assert_int_equal(pqe__clock_elapsed(&unknown, &later), 700);
}

static void
advance(pqe__uses *u)
{
    pqe__clock now;

    pqe__clock_read(&now);
    pqe__uses_advance(u, &now);
}

static void
recode(pqe__uses *u)
{
    uint8_t *bytes;
    size_t len;

    assert_pqe_ok(pqe__uses_encode(u, &bytes, &len, err));
    pqe__uses_free(u);
    assert_pqe_ok(pqe__uses_decode(bytes, len, u, err));
    for (size_t n = 1; n < len; n++) {
        pqe__uses cut;
        assert_int_equal(pqe__uses_decode(bytes, n, &cut, NULL), PQE_E_TAMPERED);
    }
    free(bytes);
}

/* A use is there for 3,600 seconds in any case and gone after 3,610. */
static void
test_window(void **state)
{
    pqe__uses u = {0};

    (void)state;
    for (uint64_t start = 0; start < 25; start += 3) {
        pass(start);
        advance(&u);
        assert_pqe_ok(pqe__uses_add(&u, PQE_KIND_OTHER, text(""), 2, err));
        assert_pqe_ok(pqe__uses_add(&u, 0, text("a"), 1, err));
        recode(&u);
        pass(1800);
        advance(&u);
        recode(&u);
        pass(1799);
        advance(&u);
        assert_int_equal(pqe__uses_count(&u, PQE_KIND_OTHER, text("")), 2);
        assert_int_equal(pqe__uses_count(&u, 0, text("a")), 1);
        assert_int_equal(pqe__uses_count(&u, 0, text("b")), 0);
        pass(11);
        advance(&u);
        assert_int_equal(pqe__uses_count(&u, PQE_KIND_OTHER, text("")), 0);
        assert_int_equal(u.count, 0);
    }
    pqe__uses_free(&u);
}

/* A use a second for two hours, and the most that the encoding may grow to. */
static void
test_steady_use(void **state)
{
    pqe__uses u = {0};

    (void)state;
    for (int i = 0; i < 7200; i++) {
        pass(1);
        advance(&u);
        assert_pqe_ok(pqe__uses_add(&u, 0, text("steady"), 1, err));
    }
    assert_in_range(pqe__uses_count(&u, 0, text("steady")), 3600, 3610);
    recode(&u);
    pqe__uses_free(&u);
}

/* ---- enforcement ---- */

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
    ops.info.capabilities |= PQE_CAP_AUTHORIZE;
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
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_rule_limits),
        cmocka_unit_test(test_damaged_rules),
        cmocka_unit_test(test_elapsed),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_steady_use),
        cmocka_unit_test(test_no_rule),
        cmocka_unit_test(test_callers),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_clock_games),
        cmocka_unit_test(test_one_open_one_use),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_list_and_rekey),
        cmocka_unit_test(test_presence),
    };

    return cmocka_run_group_tests(tests, make, drop);
}
