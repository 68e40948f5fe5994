/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enforcing the policy. Every way out for content comes through pqe__access_decide() before the artifact's key is
 * unwrapped; where uses are limited, the count commits before anything is handed out. Fails closed: what cannot be
 * asked, counted or trusted is denied.
 */
#include "vault/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- use counts ---- */

static pqe_status
uses_altered(pqe_error *err)
{
    return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the use counts were altered, removed or put back");
}

static const pqe__keys *
log_keys(const pqe__txn *txn)
{
    return txn->log_keys != NULL ? txn->log_keys : txn->vault->session->keys;
}

pqe_status
pqe__uses_load(pqe__txn *txn, pqe__uses *out, pqe_error *err)
{
    static const uint8_t zeros[PQE__DIGEST_SIZE];
    const pqe__keys *keys = log_keys(txn);
    uint8_t digest[PQE__DIGEST_SIZE] = {0}, aad[PQE__LABEL_MAX], *sealed = NULL, *plain = NULL;
    size_t len = 0, aad_len = pqe__labelled(aad, "pqc-enclave use counts v1", keys->vault_id, NULL);
    pqe_status status = pqe__audit_load(txn, err);

    memset(out, 0, sizeof *out);
    if (status == PQE_OK)
        status = pqe__state_get(txn->vault->store, PQE__STATE_USES, &sealed, &len, err);
    if (status == PQE_OK && sealed != NULL)
        status = pqe__hash_once(PQE__SHA256, sealed, len, digest, err);
    if (status == PQE_OK && memcmp(digest, txn->tail.uses, sizeof digest) != 0)
        status = uses_altered(err);
    if (status == PQE_OK && memcmp(digest, zeros, sizeof zeros) != 0) {
        plain = malloc(len + 1);
        status = plain != NULL ? pqe__box_open(keys->audit_aead, aad, aad_len, sealed, len, plain, err)
                               : pqe__fail_nomem(err);
        if (status == PQE_OK) {
            status = pqe__uses_decode(plain, len - PQE__BOX_OVERHEAD, out, err);
            pqe__wipe(plain, len);
        }
    }
    free(plain);
    free(sealed);
    return status;
}

pqe_status
pqe__uses_store(pqe__txn *txn, const pqe__uses *uses, pqe_error *err)
{
    const pqe__keys *keys = log_keys(txn);
    uint8_t aad[PQE__LABEL_MAX], *plain = NULL, *sealed = NULL;
    size_t len = 0, aad_len = pqe__labelled(aad, "pqc-enclave use counts v1", keys->vault_id, NULL);
    pqe_status status = pqe__audit_load(txn, err);

    if (status == PQE_OK)
        status = pqe__uses_encode(uses, &plain, &len, err);
    if (status == PQE_OK && (sealed = malloc(len + PQE__BOX_OVERHEAD)) == NULL)
        status = pqe__fail_nomem(err);
    if (status == PQE_OK)
        status = pqe__box_seal(keys->audit_aead, aad, aad_len, plain, len, sealed, err);
    if (status == PQE_OK)
        status = pqe__state_put(txn->vault->store, PQE__STATE_USES, sealed, len + PQE__BOX_OVERHEAD, err);
    if (status == PQE_OK)
        status = pqe__hash_once(PQE__SHA256, sealed, len + PQE__BOX_OVERHEAD, txn->tail.uses, err);
    txn->tail_changed = true;
    if (plain != NULL)
        pqe__wipe(plain, len);
    free(plain);
    free(sealed);
    return status;
}

pqe_status
pqe__uses_exhaust(pqe__txn *txn, pqe_error *err)
{
    const pqe__policy *policy;
    pqe__uses uses = {0};
    pqe_status status = pqe__policy_get(txn, &policy, err);

    pqe__clock_read(&uses.seen);
    for (size_t i = 0; status == PQE_OK && i < policy->count; i++) {
        const pqe__rule *rule = &policy->rules[i];
        if (rule->max_uses != 0)
            status = pqe__uses_add(&uses, rule->kind, rule->name, rule->max_uses, err);
    }
    if (status == PQE_OK)
        status = pqe__uses_store(txn, &uses, err);
    pqe__uses_free(&uses);
    return status;
}

/* ---- deciding ---- */

static pqe_status
deny(pqe_error *err, const char *why)
{
    return pqe__fail(err, PQE_E_POLICY, PQE_ORIGIN_API, 0, "the access policy denies it: %s", why);
}

/* The rules that apply to one artifact. */
typedef struct rules {
    const pqe__rule *kind, *name;
} rules;

static pqe_status
find_rules(pqe__txn *txn, const pqe__found *found, rules *out, pqe_error *err)
{
    const pqe__policy *policy;
    pqe_status status = pqe__policy_get(txn, &policy, err);

    *out = (rules){0};
    if (status == PQE_OK) {
        out->kind = pqe__policy_find(policy, found->record.kind, found->record.name);
        out->name = pqe__policy_find(policy, 0, found->record.name);
    }
    return status;
}

static bool
is_limited(const rules *r)
{
    return (r->kind != NULL && r->kind->max_uses != 0) || (r->name != NULL && r->name->max_uses != 0);
}

static bool
caller_allowed(pqe_vault *vault, const rules *r)
{
    bool allowed;

    pthread_mutex_lock(&vault->log_lock);
    allowed = pqe__rule_allows(r->kind, vault->caller) && pqe__rule_allows(r->name, vault->caller);
    pthread_mutex_unlock(&vault->log_lock);
    return allowed;
}

/* The counts as they are now. */
static pqe_status
load_now(pqe__txn *txn, pqe__uses *uses, pqe_error *err)
{
    pqe__clock now;
    pqe_status status = pqe__uses_load(txn, uses, err);

    if (status == PQE_OK) {
        pqe__clock_read(&now);
        pqe__uses_advance(uses, &now);
    }
    return status;
}

static bool
used_up(const pqe__uses *uses, const pqe__rule *rule)
{
    return rule != NULL && rule->max_uses != 0 && pqe__uses_count(uses, rule->kind, rule->name) >= rule->max_uses;
}

static pqe_status
check_uses(pqe__txn *txn, const rules *r, pqe_error *err)
{
    pqe__uses uses;
    bool none_left;
    pqe_status status = load_now(txn, &uses, err);

    if (status != PQE_OK)
        return status;
    none_left = used_up(&uses, r->kind) || used_up(&uses, r->name);
    pqe__uses_free(&uses);
    return none_left ? deny(err, "its uses of this hour are used up") : PQE_OK;
}

static bool
is_present(const pqe__access *access, const pqe__txn *txn, const pqe__found *found)
{
    return access->present && memcmp(access->present_id, found->record.artifact_id, PQE__ID_SIZE) == 0 &&
           memcmp(access->present_policy, txn->priv.policy, PQE__DIGEST_SIZE) == 0;
}

static void
remember(pqe__access *access, const pqe__txn *txn, const pqe__found *found)
{
    access->found = true;
    access->kind = found->record.kind;
    pqe__id_text(found->record.artifact_id, access->artifact_id);
    memcpy(access->name, found->record.name.data, found->record.name.len);
    access->name[found->record.name.len] = '\0';
    if (!is_present(access, txn, found)) {
        access->present = false;
        memcpy(access->present_id, found->record.artifact_id, PQE__ID_SIZE);
        memcpy(access->present_policy, txn->priv.policy, PQE__DIGEST_SIZE);
    }
}

pqe_status
pqe__access_decide(pqe__txn *txn, const pqe__found *found, pqe__access *access, pqe_error *err)
{
    rules r;
    pqe_status status;

    access->step = PQE__STEP_GO;
    if (access->exempt)
        return PQE_OK;
    remember(access, txn, found);
    if ((status = find_rules(txn, found, &r, err)) != PQE_OK)
        return status;
    if (!caller_allowed(txn->vault, &r))
        return deny(err, "this caller is not among those allowed");
    if (((r.kind != NULL && r.kind->presence) || (r.name != NULL && r.name->presence)) && !access->present) {
        access->step = PQE__STEP_ASK;
        return PQE_OK;
    }
    if (!is_limited(&r))
        return PQE_OK;
    if (pqe__store_read_only(txn->vault->store))
        return deny(err, "its uses are limited, and cannot be counted where the vault cannot be written");
    if (!txn->write) {
        access->step = PQE__STEP_COUNT;
        access->counting = true;
        return PQE_OK;
    }
    return check_uses(txn, &r, err);
}

/* ---- presence ---- */

pqe_status
pqe__access_ask(pqe_vault *vault, pqe__access *access, pqe_error *err)
{
    char reason[PQE_NAME_MAX + 64];
    pqe__home home;
    pqe_status status = pqe__session_enter(vault, err);

    if (status != PQE_OK)
        return status;
    home = pqe__session_pin(vault); /* a person may take their time: lock and expiry do not wait for it */
    pqe__session_leave(vault);
    snprintf(reason, sizeof reason, "read %s (%s)", access->name, pqe_kind_name(access->kind));
    status = pqe__backend_authorize(home.backend, home.key, reason, err);
    pqe__session_unpin(vault);
    pqe__wipe(reason, sizeof reason);
    if (status == PQE_E_UNAVAILABLE)
        return deny(err, "it requires the user's presence, which this backend cannot ask for");
    if (status == PQE_E_DENIED)
        return deny(err, "the user did not agree");
    access->present = status == PQE_OK;
    return status;
}

/* ---- counting and logging ---- */

static pqe_status
count_one(pqe__uses *uses, const pqe__rule *rule, pqe_error *err)
{
    if (rule == NULL || rule->max_uses == 0)
        return PQE_OK;
    return pqe__uses_add(uses, rule->kind, rule->name, 1, err);
}

pqe_status
pqe__access_count(pqe__txn *txn, const pqe__found *found, const pqe__access *access, pqe_error *err)
{
    pqe__event event = pqe__event_of(PQE_AUDIT_GET, NULL, NULL);
    pqe__uses uses = {0};
    rules r;
    pqe_status status = find_rules(txn, found, &r, err);

    if (status == PQE_OK)
        status = load_now(txn, &uses, err);
    if (status == PQE_OK)
        status = count_one(&uses, r.kind, err);
    if (status == PQE_OK)
        status = count_one(&uses, r.name, err);
    if (status == PQE_OK)
        status = pqe__uses_store(txn, &uses, err);
    pqe__uses_free(&uses);
    event.kind = access->kind;
    event.artifact_id = (pqe__text){access->artifact_id, strlen(access->artifact_id)};
    event.name = found->record.name;
    return status == PQE_OK ? pqe__audit_append(txn, &event, err) : status;
}

/* A violation is on record when the caller hears of it. The counts' time moves on with it: otherwise a clock of day that
   was set far back would hold the counts until it has caught up. */
static pqe_status
record_violation(pqe_vault *vault, const pqe__event *event)
{
    pqe__uses uses = {0};
    bool known;
    pqe__txn txn;
    pqe_status status = pqe__txn_begin(vault, true, &txn, NULL);

    if (status != PQE_OK)
        return status;
    status = load_now(&txn, &uses, NULL);
    if (status == PQE_OK && uses.count != 0)
        status = pqe__uses_store(&txn, &uses, NULL);
    pqe__uses_free(&uses);
    if (status == PQE_OK)
        status = pqe__audit_append(&txn, event, NULL);
    if (status == PQE_OK)
        return pqe__txn_commit(&txn, &known, NULL);
    pqe__txn_abort(&txn);
    return status;
}

void
pqe__access_log(pqe_vault *vault, const pqe__access *access, const char *name_or_id, pqe_status status,
                const pqe_error *error)
{
    pqe__event event = {.op = PQE_AUDIT_GET, .success = status == PQE_OK, .kind = access->kind};
    char details[320];
    int n;

    if (access->exempt || (status == PQE_OK && access->counting))
        return;
    if (!access->found) {
        pqe__audit_note_artifact(vault, PQE_AUDIT_GET, status, NULL, name_or_id, error);
        return;
    }
    event.artifact_id = (pqe__text){access->artifact_id, strlen(access->artifact_id)};
    event.name = (pqe__text){access->name, strlen(access->name)};
    if (status != PQE_OK) {
        n = snprintf(details, sizeof details, "%s: %s", pqe_status_name(status), error->message);
        event.details = (pqe__text){details, n > 0 ? (size_t)n : 0};
    }
    if (status != PQE_E_POLICY) {
        pqe__audit_note(vault, &event);
        return;
    }
    event.op = PQE_AUDIT_POLICY_VIOLATION;
    if (!pqe__store_read_only(vault->store) && record_violation(vault, &event) != PQE_OK)
        pqe__audit_note(vault, &event); /* it could not be made durable: then as a read */
}
