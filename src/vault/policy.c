/* SPDX-License-Identifier: Apache-2.0 */
/* The access policy as the vault keeps it: sealed in a row of its own, its digest in the head. */
#include "vault/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const pqe__policy nothing;

static pqe_status
altered(pqe_error *err)
{
    return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the vault's policy was altered, removed or put back");
}

/* ---- reading ---- */

/* The stored bytes, which are those that the head means. */
static pqe_status
read_sealed(pqe__txn *txn, uint8_t **sealed, size_t *len, pqe_error *err)
{
    uint8_t digest[PQE__DIGEST_SIZE];
    pqe_status status = pqe__state_get(txn->vault->store, PQE__STATE_POLICY, sealed, len, err);

    if (status == PQE_OK && (*sealed != NULL) != txn->priv.has_policy)
        status = altered(err);
    if (status == PQE_OK && *sealed != NULL) {
        status = pqe__hash_once(PQE__SHA256, *sealed, *len, digest, err);
        if (status == PQE_OK && memcmp(digest, txn->priv.policy, sizeof digest) != 0)
            status = altered(err);
    }
    if (status != PQE_OK) {
        free(*sealed);
        *sealed = NULL;
    }
    return status;
}

static pqe_status
open_sealed(const pqe__keys *keys, const uint8_t *sealed, size_t len, pqe__policy *out, pqe_error *err)
{
    uint8_t aad[PQE__LABEL_MAX], *plain = malloc(len + 1);
    size_t aad_len = pqe__labelled(aad, "pqc-enclave policy v1", keys->vault_id, NULL);
    pqe_status status;

    memset(out, 0, sizeof *out);
    if (plain == NULL)
        return pqe__fail_nomem(err);
    status = pqe__box_open(keys->index_aead, aad, aad_len, sealed, len, plain, err);
    if (status == PQE_OK) {
        status = pqe__policy_decode(plain, len - PQE__BOX_OVERHEAD, out, err);
        pqe__wipe(plain, len);
    }
    free(plain);
    return status;
}

pqe_status
pqe__policy_get(pqe__txn *txn, const pqe__policy **out, pqe_error *err)
{
    pqe__session *session = txn->vault->session;
    pqe__policy policy = {0};
    uint8_t *sealed = NULL;
    size_t len = 0;
    pqe_status status;

    *out = &nothing;
    if (!txn->priv.has_policy)
        return PQE_OK;
    *out = &session->policy;
    if (session->policy_known && memcmp(session->policy_digest, txn->priv.policy, PQE__DIGEST_SIZE) == 0)
        return PQE_OK;
    status = read_sealed(txn, &sealed, &len, err);
    if (status == PQE_OK)
        status = open_sealed(session->keys, sealed, len, &policy, err);
    free(sealed);
    if (status != PQE_OK)
        return status;
    pqe__policy_free(&session->policy);
    session->policy = policy;
    session->policy_known = true;
    memcpy(session->policy_digest, txn->priv.policy, PQE__DIGEST_SIZE);
    return PQE_OK;
}

pqe_status
pqe__policy_check(pqe__txn *txn, pqe_error *err)
{
    uint8_t *sealed = NULL;
    size_t len = 0;
    pqe__policy policy;
    pqe_status status = read_sealed(txn, &sealed, &len, err);

    if (status == PQE_OK && sealed != NULL &&
        (status = open_sealed(txn->vault->session->keys, sealed, len, &policy, err)) == PQE_OK)
        pqe__policy_free(&policy);
    free(sealed);
    return status;
}

/* ---- writing ---- */

static pqe_status
put_policy(pqe__txn *txn, const pqe__keys *keys, const uint8_t *plain, size_t len, pqe_error *err)
{
    uint8_t aad[PQE__LABEL_MAX], *sealed = malloc(len + PQE__BOX_OVERHEAD);
    size_t aad_len = pqe__labelled(aad, "pqc-enclave policy v1", keys->vault_id, NULL);
    pqe_status status;

    if (sealed == NULL)
        return pqe__fail_nomem(err);
    status = pqe__box_seal(keys->index_aead, aad, aad_len, plain, len, sealed, err);
    if (status == PQE_OK)
        status = pqe__state_put(txn->vault->store, PQE__STATE_POLICY, sealed, len + PQE__BOX_OVERHEAD, err);
    if (status == PQE_OK)
        status = pqe__hash_once(PQE__SHA256, sealed, len + PQE__BOX_OVERHEAD, txn->priv.policy, err);
    txn->priv.has_policy = status == PQE_OK;
    free(sealed);
    return status;
}

pqe_status
pqe__policy_reseal(pqe__txn *txn, const pqe__keys *fresh, pqe_error *err)
{
    const pqe__policy *policy;
    pqe_status status = pqe__policy_get(txn, &policy, err);

    if (status != PQE_OK || !txn->priv.has_policy)
        return status;
    return put_policy(txn, fresh, policy->bytes, policy->len, err);
}

static pqe_status
log_change(pqe__txn *txn, const pqe_policy_rule *rule, bool remove, pqe_error *err)
{
    char details[160];
    pqe__event event = {.op = PQE_AUDIT_POLICY, .success = true, .kind = rule->kind};
    int n;

    if (rule->artifact != NULL)
        event.name = (pqe__text){rule->artifact, strlen(rule->artifact)};
    if (remove)
        n = snprintf(details, sizeof details, "rule cleared");
    else
        n = snprintf(details, sizeof details, "rule set: %zu bundle ids allowed, presence %s, %u uses an hour",
                     rule->allowed_count, rule->require_presence ? "required" : "not required",
                     rule->max_uses_per_hour);
    event.details = (pqe__text){details, n > 0 ? (size_t)n : 0};
    return pqe__audit_append(txn, &event, err);
}

static pqe_status
change_in(pqe__txn *txn, const pqe_policy_rule *rule, bool remove, pqe_error *err)
{
    const pqe__policy *policy;
    uint8_t *plain = NULL;
    size_t len = 0;
    bool found = false;
    pqe_status status = pqe__policy_get(txn, &policy, err);

    if (status == PQE_OK)
        status = pqe__policy_with(policy, rule, remove, &found, &plain, &len, err);
    if (status == PQE_OK && remove && !found)
        status = pqe__fail(err, PQE_E_NOT_FOUND, PQE_ORIGIN_API, 0, "there is no such rule");
    if (status == PQE_OK)
        status = put_policy(txn, txn->vault->session->keys, plain, len, err);
    if (status == PQE_OK)
        status = log_change(txn, rule, remove, err);
    if (status == PQE_OK)
        status = pqe__txn_write_head(txn, txn->vault->session->keys, err);
    if (plain != NULL)
        pqe__wipe(plain, len);
    free(plain);
    return status;
}

static pqe_status
change(pqe_vault *vault, const pqe_policy_rule *rule, bool remove, pqe_error *err)
{
    bool known;
    pqe__txn txn;
    pqe_status status = pqe__txn_begin(vault, true, &txn, err);

    if (status != PQE_OK)
        return status;
    if ((status = change_in(&txn, rule, remove, err)) == PQE_OK)
        return pqe__txn_commit(&txn, &known, err);
    pqe__txn_abort(&txn);
    return status;
}

pqe_status
pqe_policy_set(pqe_vault *vault, const pqe_policy_rule *rule, pqe_error *err)
{
    pqe_policy_rule known;
    pqe_status status = pqe__opts_copy(&known, sizeof known,
                                       offsetof(pqe_policy_rule, max_uses_per_hour) + sizeof known.max_uses_per_hour,
                                       rule, "the rule", err);

    return status == PQE_OK ? change(vault, &known, false, err) : status;
}

pqe_status
pqe_policy_clear(pqe_vault *vault, pqe_kind kind, const char *artifact, pqe_error *err)
{
    const pqe_policy_rule rule = {.size = sizeof rule, .kind = kind, .artifact = artifact};

    return change(vault, &rule, true, err);
}

/* ---- showing ---- */

/* The rule as the caller sees it. `strings` keeps its texts with NULs. */
static pqe_status
to_public(const pqe__rule *rule, pqe_policy_rule *out, const char **allowed, char **strings, pqe_error *err)
{
    size_t size = rule->name.len + 1;
    char *at;

    for (size_t i = 0; i < rule->allowed_count; i++)
        size += rule->allowed[i].len + 1;
    if ((*strings = at = calloc(size, 1)) == NULL)
        return pqe__fail_nomem(err);
    *out = (pqe_policy_rule){.size = sizeof *out,
                             .kind = rule->kind,
                             .allowed_bundle_ids = allowed,
                             .allowed_count = rule->allowed_count,
                             .require_presence = rule->presence,
                             .max_uses_per_hour = rule->max_uses};
    if (rule->kind == 0)
        out->artifact = at;
    memcpy(at, rule->name.data, rule->name.len);
    at += rule->name.len + 1;
    for (size_t i = 0; i < rule->allowed_count; i++) {
        allowed[i] = at;
        memcpy(at, rule->allowed[i].data, rule->allowed[i].len);
        at += rule->allowed[i].len + 1;
    }
    return PQE_OK;
}

static pqe_status
show_rule(pqe__txn *txn, const pqe__rule *rule, const pqe__uses *uses, pqe_policy_fn fn, void *user, pqe_error *err)
{
    const char *allowed[PQE_POLICY_ALLOWED_MAX + 1];
    uint64_t used = pqe__uses_count(uses, rule->kind, rule->name);
    pqe_policy_rule shown;
    char *strings = NULL;
    bool go_on;
    pqe_status status = to_public(rule, &shown, allowed, &strings, err);

    if (status != PQE_OK)
        return status;
    pqe__txn_pause(txn);
    go_on = fn(user, &shown, used);
    free(strings);
    if ((status = pqe__txn_resume(txn, err)) != PQE_OK)
        return status;
    return go_on ? PQE_OK : pqe__fail(err, PQE_E_CANCELLED, PQE_ORIGIN_API, 0, "the listing was stopped");
}

pqe_status
pqe_policy_list(pqe_vault *vault, pqe_policy_fn fn, void *user, pqe_error *err)
{
    const pqe__policy *policy;
    pqe__policy copy = {0};
    pqe__uses uses = {0};
    pqe__clock now;
    pqe__txn txn;
    pqe_status status;

    if (fn == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no callback");
    if ((status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    status = pqe__policy_get(&txn, &policy, err);
    /* A copy: the session, and what it keeps, may end while the application is called. */
    if (status == PQE_OK && policy->count != 0)
        status = pqe__policy_decode(policy->bytes, policy->len, &copy, err);
    if (status == PQE_OK && copy.count != 0)
        status = pqe__audit_load(&txn, err);
    if (status == PQE_OK && copy.count != 0)
        status = pqe__uses_load(&txn, &uses, err);
    if (status == PQE_OK) {
        pqe__clock_read(&now);
        pqe__uses_advance(&uses, &now);
    }
    for (size_t i = 0; i < copy.count && status == PQE_OK; i++)
        status = show_rule(&txn, &copy.rules[i], &uses, fn, user, err);
    pqe__uses_free(&uses);
    pqe__policy_free(&copy);
    pqe__txn_abort(&txn);
    return status;
}
