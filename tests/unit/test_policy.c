/* SPDX-License-Identifier: Apache-2.0 */
/* The access policy: encoding, decisions, and the time that uses are counted in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"
#include "unit/policy_support.h"
#include "unit/support.h"

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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),   cmocka_unit_test(test_rule_limits), cmocka_unit_test(test_damaged_rules),
        cmocka_unit_test(test_elapsed), cmocka_unit_test(test_window),      cmocka_unit_test(test_steady_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
