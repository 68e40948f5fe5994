/* SPDX-License-Identifier: Apache-2.0 */
/* The rules: their one encoding, and what they say. */
#include "policy/policy.h"

#include <stdlib.h>
#include <string.h>

#include "util/secmem.h"
#include "util/text.h"

#define POLICY_VERSION 1u
#define RULES_MAX (8u + PQE_POLICY_ARTIFACTS_MAX)
enum { FLAG_PRESENCE = 1 };

/* ---- order ---- */

static int
compare_texts(pqe__text a, pqe__text b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n != 0 ? memcmp(a.data, b.data, n) : 0;

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* Kinds stand before artifacts, whose kind is 0. */
static int
compare_subjects(pqe_kind kind_a, pqe__text name_a, pqe_kind kind_b, pqe__text name_b)
{
    unsigned a = kind_a != 0 ? (unsigned)kind_a : UINT32_MAX, b = kind_b != 0 ? (unsigned)kind_b : UINT32_MAX;

    return a != b ? (a > b) - (a < b) : compare_texts(name_a, name_b);
}

/* ---- decoding ---- */

static pqe_status
damaged(pqe_error *err)
{
    return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "the vault's policy is damaged");
}

static bool
get_text(pqe__rcur *c, pqe__text *out)
{
    out->len = pqe__get_u16(c);
    out->data = (const char *)pqe__get_bytes(c, out->len);
    return out->data != NULL && out->len >= 1 && out->len <= PQE_FIELD_MAX && pqe__utf8_valid(out->data, out->len);
}

static pqe_status
decode_rule(pqe__rcur *c, pqe__rule *rule, pqe_error *err)
{
    uint8_t flags;
    size_t count;

    rule->kind = (pqe_kind)pqe__get_u8(c);
    rule->name = (pqe__text){"", 0};
    if (rule->kind == 0 ? !get_text(c, &rule->name) : pqe_kind_name(rule->kind) == NULL)
        return damaged(err);
    flags = pqe__get_u8(c);
    rule->presence = (flags & FLAG_PRESENCE) != 0;
    rule->max_uses = pqe__get_u32(c);
    count = pqe__get_u16(c);
    if (!c->ok || (flags & ~FLAG_PRESENCE) != 0 || rule->max_uses > PQE_POLICY_USES_MAX ||
        count > PQE_POLICY_ALLOWED_MAX)
        return damaged(err);
    rule->allowed = calloc(count + 1, sizeof *rule->allowed);
    if (rule->allowed == NULL)
        return pqe__fail_nomem(err);
    for (size_t i = 0; i < count; i++) {
        if (!get_text(c, &rule->allowed[i]) || (i > 0 && compare_texts(rule->allowed[i - 1], rule->allowed[i]) >= 0))
            return damaged(err);
        rule->allowed_count++;
    }
    return PQE_OK;
}

static pqe_status
decode_rules(pqe__rcur *c, pqe__policy *out, pqe_error *err)
{
    uint16_t version = pqe__get_u16(c);
    size_t count = pqe__get_u16(c);
    pqe_status status = PQE_OK;

    if (!c->ok || version != POLICY_VERSION || count > RULES_MAX)
        return damaged(err);
    if ((out->rules = calloc(count + 1, sizeof *out->rules)) == NULL)
        return pqe__fail_nomem(err);
    while (out->count < count && status == PQE_OK) {
        pqe__rule *rule = &out->rules[out->count++]; /* counted first, so that it is freed whatever it holds */
        status = decode_rule(c, rule, err);
        if (status == PQE_OK && out->count > 1 &&
            compare_subjects(rule[-1].kind, rule[-1].name, rule->kind, rule->name) >= 0)
            status = damaged(err);
    }
    return status != PQE_OK || pqe__rcur_done(c) ? status : damaged(err);
}

pqe_status
pqe__policy_decode(const uint8_t *bytes, size_t len, pqe__policy *out, pqe_error *err)
{
    pqe__rcur c;
    pqe_status status;

    memset(out, 0, sizeof *out);
    if (len > PQE__POLICY_MAX)
        return damaged(err);
    if ((out->bytes = malloc(len + 1)) == NULL)
        return pqe__fail_nomem(err);
    if (len != 0)
        memcpy(out->bytes, bytes, len);
    out->len = len;
    c = pqe__rcur_init(out->bytes, len);
    status = decode_rules(&c, out, err);
    if (status != PQE_OK)
        pqe__policy_free(out);
    return status;
}

void
pqe__policy_free(pqe__policy *policy)
{
    for (size_t i = 0; i < policy->count; i++)
        free(policy->rules[i].allowed);
    free(policy->rules);
    if (policy->bytes != NULL)
        pqe__wipe(policy->bytes, policy->len); /* names are kept as secret as contents */
    free(policy->bytes);
    memset(policy, 0, sizeof *policy);
}

/* ---- encoding ---- */

static void
put_text(pqe__wcur *c, pqe__text text)
{
    pqe__put_u16(c, (uint16_t)text.len);
    pqe__put_bytes(c, text.data, text.len);
}

static void
encode_rule(pqe__wcur *c, const pqe__rule *rule)
{
    pqe__put_u8(c, (uint8_t)rule->kind);
    if (rule->kind == 0)
        put_text(c, rule->name);
    pqe__put_u8(c, rule->presence ? FLAG_PRESENCE : 0);
    pqe__put_u32(c, rule->max_uses);
    pqe__put_u16(c, (uint16_t)rule->allowed_count);
    for (size_t i = 0; i < rule->allowed_count; i++)
        put_text(c, rule->allowed[i]);
}

static pqe_status
check_text(const char *text, const char *what, pqe__text *out, pqe_error *err)
{
    size_t len = text != NULL ? strnlen(text, PQE_FIELD_MAX + 1) : 0;

    if (len == 0)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "%s is empty", what);
    if (len > PQE_FIELD_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "%s is longer than %d bytes", what, PQE_FIELD_MAX);
    if (!pqe__utf8_valid(text, len))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "%s is not valid UTF-8", what);
    *out = (pqe__text){text, len};
    return PQE_OK;
}

static pqe_status
check_subject(const pqe_policy_rule *given, pqe__rule *rule, pqe_error *err)
{
    rule->name = (pqe__text){"", 0};
    rule->kind = given->kind;
    if ((given->kind != 0) == (given->artifact != NULL))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "a rule is for a kind or for one artifact");
    if (given->artifact != NULL)
        return check_text(given->artifact, "the artifact's name", &rule->name, err);
    if (pqe_kind_name(given->kind) == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, given->kind, "the kind is unknown");
    return PQE_OK;
}

/* The caller's rule with its allow-list sorted; allowed has room for PQE_POLICY_ALLOWED_MAX. */
static pqe_status
check_rule(const pqe_policy_rule *given, pqe__rule *rule, pqe__text *allowed, pqe_error *err)
{
    pqe_status status;

    rule->presence = given->require_presence;
    rule->max_uses = given->max_uses_per_hour;
    rule->allowed = allowed;
    rule->allowed_count = 0;
    if (given->max_uses_per_hour > PQE_POLICY_USES_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "more than %u uses an hour cannot be counted",
                         PQE_POLICY_USES_MAX);
    if (given->allowed_count > PQE_POLICY_ALLOWED_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "a rule allows more than %d bundle ids",
                         PQE_POLICY_ALLOWED_MAX);
    if (given->allowed_count != 0 && given->allowed_bundle_ids == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the allowed bundle ids are NULL");
    for (size_t i = 0; i < given->allowed_count; i++) {
        size_t at = rule->allowed_count;
        pqe__text text;
        int order = 1;
        if ((status = check_text(given->allowed_bundle_ids[i], "a bundle id", &text, err)) != PQE_OK)
            return status;
        while (at > 0 && (order = compare_texts(text, allowed[at - 1])) < 0)
            at--;
        if (at > 0 && order == 0)
            continue;
        memmove(allowed + at + 1, allowed + at, (rule->allowed_count - at) * sizeof *allowed);
        allowed[at] = text;
        rule->allowed_count++;
    }
    return PQE_OK;
}

static pqe_status
encode_all(const pqe__policy *policy, const pqe__rule *rule, bool remove, bool *found, uint8_t **bytes, size_t *len,
           pqe_error *err)
{
    pqe__wcur c = pqe__wcur_init(malloc(PQE__POLICY_MAX), PQE__POLICY_MAX);
    size_t artifacts = 0, written = 0, count = 0;
    bool placed = remove;

    if (c.data == NULL)
        return pqe__fail_nomem(err);
    *found = false;
    for (size_t i = 0; i < policy->count; i++)
        if (compare_subjects(policy->rules[i].kind, policy->rules[i].name, rule->kind, rule->name) == 0)
            *found = true;
    count = policy->count + (remove ? 0u : 1u) - (*found ? 1u : 0u);
    pqe__put_u16(&c, POLICY_VERSION);
    pqe__put_u16(&c, (uint16_t)count);
    for (size_t i = 0; i < policy->count || !placed;) {
        const pqe__rule *next = i < policy->count ? &policy->rules[i] : NULL;
        int order = next != NULL ? compare_subjects(next->kind, next->name, rule->kind, rule->name) : 1;
        if (order == 0) { /* replaced or removed */
            i++;
            continue;
        }
        if (order > 0 && !placed) {
            next = rule;
            placed = true;
        } else {
            i++;
        }
        artifacts += next->kind == 0;
        encode_rule(&c, next);
        written++;
    }
    if (!c.ok || artifacts > PQE_POLICY_ARTIFACTS_MAX || written != count) {
        free(c.data);
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "the policy is too large: %d artifacts, %u bytes",
                         PQE_POLICY_ARTIFACTS_MAX, PQE__POLICY_MAX);
    }
    *bytes = c.data;
    *len = c.pos;
    return PQE_OK;
}

pqe_status
pqe__policy_with(const pqe__policy *policy, const pqe_policy_rule *given, bool remove, bool *found, uint8_t **bytes,
                 size_t *len, pqe_error *err)
{
    pqe__text allowed[PQE_POLICY_ALLOWED_MAX + 1];
    pqe__rule rule = {0};
    pqe_status status = check_subject(given, &rule, err);

    *bytes = NULL;
    *len = 0;
    *found = false;
    if (status == PQE_OK && !remove)
        status = check_rule(given, &rule, allowed, err);
    return status == PQE_OK ? encode_all(policy, &rule, remove, found, bytes, len, err) : status;
}

/* ---- what they say ---- */

const pqe__rule *
pqe__policy_find(const pqe__policy *policy, pqe_kind kind, pqe__text name)
{
    pqe__text subject = kind != 0 ? (pqe__text){"", 0} : name;

    for (size_t i = 0; i < policy->count; i++)
        if (compare_subjects(policy->rules[i].kind, policy->rules[i].name, kind, subject) == 0)
            return &policy->rules[i];
    return NULL;
}

bool
pqe__rule_allows(const pqe__rule *rule, const char *caller)
{
    if (rule == NULL || rule->allowed_count == 0)
        return true;
    for (size_t i = 0; caller != NULL && i < rule->allowed_count; i++)
        if (strlen(caller) == rule->allowed[i].len && memcmp(caller, rule->allowed[i].data, rule->allowed[i].len) == 0)
            return true;
    return false;
}
