/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log as the application sees it: listing, recording, checkpoints, verification, clearing. */
#include "vault/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

pqe_status
pqe_audit_flush(pqe_vault *vault, pqe_error *err)
{
    bool known;
    pqe__txn txn;
    pqe_status status = pqe__txn_begin(vault, true, &txn, err);

    if (status != PQE_OK)
        return status;
    if ((status = pqe__audit_take_in(&txn, err)) == PQE_OK && txn.tail_changed)
        return pqe__txn_commit(&txn, &known, err);
    pqe__txn_abort(&txn);
    return status;
}

/* What a call that could be done without said, if it is to be said. */
static pqe_status
pass_on(pqe_status status, const pqe_error *inner, pqe_error *err)
{
    if (status != PQE_OK)
        pqe__set_error(err, status, inner->origin, inner->native, "%s", inner->message);
    return status;
}

/* Before the log is looked at. What cannot be taken in, for example on read-only media, is not shown. */
static pqe_status
settle(pqe_vault *vault, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_status status = pqe_audit_flush(vault, &inner);

    if (status == PQE_E_READ_ONLY || status == PQE_E_BUSY || status == PQE_E_NO_SPACE)
        return PQE_OK;
    return pass_on(status, &inner, err);
}

static pqe_status
check_text(const char *given, pqe__text *out, pqe_error *err)
{
    const char *text = given != NULL ? given : "";

    *out = (pqe__text){text, strnlen(text, PQE_AUDIT_TEXT_MAX + 1)};
    if (out->len > PQE_AUDIT_TEXT_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "a text is longer than %d bytes", PQE_AUDIT_TEXT_MAX);
    if (!pqe__utf8_valid(out->data, out->len))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "a text is not valid UTF-8");
    return PQE_OK;
}

pqe_status
pqe_audit_record(pqe_vault *vault, const pqe_audit_entry *entry, pqe_error *err)
{
    pqe__event event = {.by_application = true};
    pqe_audit_entry e = {0};
    pqe_status status = pqe__vault_usable(vault, err);

    if (status != PQE_OK)
        return status;
    status = pqe__opts_copy(&e, sizeof e, offsetof(pqe_audit_entry, caller) + sizeof e.caller, entry, "the entry", err);
    if (status != PQE_OK)
        return status;
    if (pqe_audit_op_name(e.op) == NULL || (e.kind != 0 && pqe_kind_name(e.kind) == NULL))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the operation or the kind is unknown");
    event.op = e.op;
    event.success = e.success;
    event.kind = e.kind;
    if ((status = check_text(e.device_id, &event.device_id, err)) != PQE_OK ||
        (status = check_text(e.artifact_id, &event.artifact_id, err)) != PQE_OK ||
        (status = check_text(e.name, &event.name, err)) != PQE_OK ||
        (status = check_text(e.details, &event.details, err)) != PQE_OK)
        return status;
    if (pqe__store_read_only(vault->store))
        return pqe__fail(err, PQE_E_READ_ONLY, PQE_ORIGIN_API, 0, "the vault is read-only here");
    if ((status = pqe__session_enter(vault, err)) != PQE_OK)
        return status;
    pqe__session_leave(vault);
    pqe__audit_note(vault, &event);
    return PQE_OK;
}

/* ---- listing ---- */

typedef struct listing {
    pqe__txn *txn;
    pqe_audit_query query;
    pqe_audit_fn fn;
    void *user;
    const char *device_id; /* the vault's own */
    char *strings;         /* room for all texts of an entry, with NULs */
} listing;

static bool
text_is(pqe__text text, const char *wanted)
{
    return wanted == NULL || (text.len == strlen(wanted) && memcmp(text.data, wanted, text.len) == 0);
}

static bool
matches(const listing *l, const pqe__event *e)
{
    const pqe__text own = {l->device_id, strlen(l->device_id)};
    const pqe_audit_query *q = &l->query;

    return (q->op == 0 || q->op == e->op) && text_is(e->device_id.len != 0 ? e->device_id : own, q->device_id) &&
           (text_is(e->name, q->artifact) || text_is(e->artifact_id, q->artifact));
}

static const char *
copy_text(char **at, pqe__text text)
{
    char *start = *at;

    memcpy(start, text.data, text.len);
    start[text.len] = '\0';
    *at += text.len + 1;
    return start;
}

static pqe_status
show(listing *l, uint64_t seq, const pqe__event *e, pqe_error *err)
{
    pqe_audit_entry entry = {.size = sizeof entry,
                             .sequence = seq,
                             .time = e->time,
                             .op = e->op,
                             .success = e->success,
                             .by_application = e->by_application,
                             .kind = e->kind};
    char *at = l->strings;
    bool go_on;
    pqe_status status;

    pqe__time_format(e->time <= INT64_MAX ? (int64_t)e->time : -1, entry.timestamp);
    entry.device_id = e->device_id.len != 0 ? copy_text(&at, e->device_id) : l->device_id;
    entry.artifact_id = copy_text(&at, e->artifact_id);
    entry.name = copy_text(&at, e->name);
    entry.details = copy_text(&at, e->details);
    entry.caller = copy_text(&at, e->caller);
    pqe__txn_pause(l->txn); /* the application may take its time; expiry does not wait for it */
    go_on = l->fn(l->user, &entry);
    if ((status = pqe__txn_resume(l->txn, err)) != PQE_OK)
        return status;
    return go_on ? PQE_OK : pqe__fail(err, PQE_E_CANCELLED, PQE_ORIGIN_API, 0, "the listing was stopped");
}

static pqe_status
list_entries(listing *l, pqe_error *err)
{
    const pqe__tail *t = &l->txn->tail;
    uint8_t body[PQE__AUDIT_BODY_MAX];
    uint64_t shown = 0;
    pqe_status status = PQE_OK;

    for (uint64_t seq = t->seq; seq > t->base_seq && status == PQE_OK; seq--) {
        pqe__event event;
        size_t len;
        if (l->query.limit != 0 && shown == l->query.limit)
            break;
        status = pqe__txn_breathe(l->txn, (size_t)(t->seq - seq), err);
        if (status == PQE_OK)
            status = pqe__audit_fetch(l->txn, seq, body, &len, &event, err);
        if (status == PQE_OK && matches(l, &event)) {
            status = show(l, seq, &event, err);
            shown++;
        }
    }
    pqe__wipe(body, sizeof body);
    return status;
}

pqe_status
pqe_audit_list(pqe_vault *vault, const pqe_audit_query *query, pqe_audit_fn fn, void *user, pqe_error *err)
{
    pqe__txn txn;
    listing l = {.txn = &txn, .fn = fn, .user = user};
    char device_id[PQE__HEAD_DEVICE_ID_MAX + 1];
    pqe_status status;

    if (fn == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no callback");
    if (query != NULL && (status = pqe__opts_copy(&l.query, sizeof l.query,
                                                  offsetof(pqe_audit_query, device_id) + sizeof l.query.device_id,
                                                  query, "the query", err)) != PQE_OK)
        return status;
    if ((status = settle(vault, err)) != PQE_OK || (status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    memcpy(device_id, txn.priv.device_id, sizeof device_id);
    l.device_id = device_id;
    status = pqe__audit_load(&txn, err);
    if (status == PQE_OK && (l.strings = malloc(PQE__AUDIT_BODY_MAX + 8)) == NULL)
        status = pqe__fail_nomem(err);
    if (status == PQE_OK)
        status = list_entries(&l, err);
    if (l.strings != NULL)
        pqe__wipe(l.strings, PQE__AUDIT_BODY_MAX + 8);
    free(l.strings);
    pqe__txn_abort(&txn);
    return status;
}

/* ---- checkpoints ---- */

/* What follows a checkpoint's canonical bytes: "signature: none" where the vault has no identity, else the default
   identity's DID and its ML-DSA signature (FIPS 204) over these bytes, in hexadecimal. */
static const char unsigned_line[] = "signature: none\n", line_start[] = "signature: ";
static const char sign_context[] = "pqc-enclave audit checkpoint v1";

static pqe_status
put_line(const char *did, const char *hex, char *out, size_t capacity, size_t *out_len, pqe_error *err)
{
    int n = did != NULL ? snprintf(out, capacity, "%s%s %s\n", line_start, did, hex)
                        : snprintf(out, capacity, "%s", unsigned_line);

    *out_len = n > 0 && (size_t)n < capacity ? (size_t)n : 0;
    return *out_len != 0 ? PQE_OK
                         : pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "the buffer is too small for the checkpoint");
}

/* The default identity, if there is any. */
static pqe_status
find_signer(pqe__txn *txn, bool *found, pqe__identity_found *out, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_status status;

    memset(out, 0, sizeof *out);
    status = pqe__identity_find(txn, NULL, out, &inner);
    *found = status == PQE_OK;
    return status == PQE_E_NOT_FOUND ? PQE_OK : pass_on(status, &inner, err);
}

static pqe_status
sign_checkpoint(pqe__txn *txn, const char *bytes, size_t len, char *out, size_t capacity, size_t *out_len,
                pqe_error *err)
{
    uint8_t signature[PQE_ML_DSA_SIGNATURE_MAX];
    char hex[2 * PQE_ML_DSA_SIGNATURE_MAX + 1];
    pqe__identity_found signer;
    bool found;
    pqe_status status = find_signer(txn, &found, &signer, err);

    if (status == PQE_OK && !found)
        return put_line(NULL, NULL, out, capacity, out_len, err);
    if (status == PQE_OK)
        status = pqe__identity_sign(txn, &signer, bytes, len, sign_context, sizeof sign_context - 1, signature, err);
    if (status == PQE_OK) {
        pqe__hex_encode(signature, pqe_sig_signature_size(signer.identity.algorithm), hex);
        status = put_line(signer.did, hex, out, capacity, out_len, err);
    }
    pqe__identity_found_free(&signer);
    return status;
}

static pqe_status
not_a_signature(pqe_error *err)
{
    return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_FORMAT, 0, "the checkpoint's signature is malformed");
}

/* By the public key that the vault itself keeps of the identity: the index proves it. */
static pqe_status
verify_by(pqe__txn *txn, const char *did, const uint8_t *signature, size_t signature_len, const char *bytes, size_t len,
          pqe_error *err)
{
    pqe__identity_found signer = {0};
    pqe__sig_key *key = NULL;
    pqe_status status = pqe__identity_find(txn, did, &signer, err);

    if (status == PQE_E_NOT_FOUND)
        return pqe__fail(err, PQE_E_ATTESTATION, PQE_ORIGIN_API, 0,
                         "the checkpoint is signed by an identity that this vault does not have");
    if (status == PQE_OK)
        status = pqe__sig_from_public(signer.identity.algorithm, signer.identity.public_key,
                                      signer.identity.public_key_len, &key, err);
    if (status == PQE_OK)
        status = pqe__sig_verify(key, bytes, len, sign_context, sizeof sign_context - 1, signature, signature_len, err);
    pqe__sig_free(&key);
    pqe__identity_found_free(&signer);
    return status;
}

static pqe_status
verify_signature(pqe__txn *txn, const char *bytes, size_t len, const char *line, size_t line_len, bool *is_signed,
                 pqe_error *err)
{
    uint8_t signature[PQE_ML_DSA_SIGNATURE_MAX];
    size_t start = sizeof line_start - 1, did_len, hex_len;
    char did[PQE_DID_SIZE];
    const char *space;

    *is_signed = false;
    if (line_len == sizeof unsigned_line - 1 && memcmp(line, unsigned_line, line_len) == 0)
        return PQE_OK;
    if (line_len < start + 2 || memcmp(line, line_start, start) != 0 || line[line_len - 1] != '\n' ||
        (space = memchr(line + start, ' ', line_len - start)) == NULL)
        return not_a_signature(err);
    did_len = (size_t)(space - line) - start;
    hex_len = line_len - start - did_len - 2;
    if (did_len == 0 || did_len >= sizeof did || hex_len % 2 != 0 || hex_len / 2 > sizeof signature)
        return not_a_signature(err);
    memcpy(did, line + start, did_len);
    did[did_len] = '\0';
    if (!pqe__utf8_valid(did, did_len) || !pqe__hex_decode(space + 1, hex_len / 2, signature))
        return not_a_signature(err);
    *is_signed = true;
    return verify_by(txn, did, signature, hex_len / 2, bytes, len, err);
}

static pqe_status
fill_info(pqe__txn *txn, pqe_audit_info *out, pqe_error *err)
{
    const pqe__tail *t = &txn->tail;
    pqe__identity_found signer;
    bool found;
    pqe_status status = find_signer(txn, &found, &signer, err);

    pqe__identity_found_free(&signer);
    out->chain = t->chain;
    out->first_sequence = t->base_seq + 1;
    out->last_sequence = t->seq;
    out->bytes = t->bytes;
    out->signed_checkpoints = found;
    pqe__hex_encode(t->link, PQE__DIGEST_SIZE, out->link);
    return status;
}

pqe_status
pqe_audit_get_info(pqe_vault *vault, pqe_audit_info *out, pqe_error *err)
{
    pqe__txn txn;
    pqe_status status;

    if (out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the result");
    memset(out, 0, sizeof *out);
    if ((status = settle(vault, err)) != PQE_OK || (status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    if ((status = pqe__audit_load(&txn, err)) == PQE_OK)
        status = fill_info(&txn, out, err);
    if (status != PQE_OK)
        memset(out, 0, sizeof *out);
    pqe__txn_abort(&txn);
    return status;
}

pqe_status
pqe_audit_checkpoint(pqe_vault *vault, char *buf, size_t capacity, size_t *len, pqe_error *err)
{
    int64_t now = pqe__walltime();
    pqe__checkpoint point = {.time = now > 0 ? (uint64_t)now : 0};
    char text[PQE__CHECKPOINT_TEXT];
    size_t n, signature = 0;
    pqe__txn txn;
    pqe_status status;

    if (buf == NULL || len == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "buffer and length are required");
    *len = 0;
    if ((status = settle(vault, err)) != PQE_OK || (status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    status = pqe__audit_check(&txn, NULL, err); /* nothing is vouched for that is not whole */
    if (status == PQE_OK) {
        memcpy(point.vault_id, txn.head.vault_id, PQE__ID_SIZE);
        point.chain = txn.tail.chain;
        point.seq = txn.tail.seq;
        memcpy(point.link, txn.tail.link, PQE__DIGEST_SIZE);
        n = pqe__checkpoint_encode(&point, text);
        if (n >= capacity)
            status = pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "the buffer is too small for the checkpoint");
        else
            status = sign_checkpoint(&txn, text, n, buf + n, capacity - n, &signature, err);
        if (status == PQE_OK) {
            memcpy(buf, text, n);
            *len = n + signature;
        }
    }
    if (status != PQE_OK && capacity != 0)
        buf[0] = '\0';
    pqe__txn_abort(&txn);
    return status;
}

pqe_status
pqe_audit_verify(pqe_vault *vault, const char *checkpoint, size_t len, pqe_audit_info *out, pqe_error *err)
{
    pqe__checkpoint point;
    size_t used = 0;
    bool is_signed = false;
    pqe__txn txn;
    pqe_status status = pqe__vault_usable(vault, err);

    if (out != NULL)
        memset(out, 0, sizeof *out);
    if (status == PQE_OK && checkpoint != NULL)
        status = pqe__checkpoint_decode(checkpoint, len, &point, &used, err);
    if (status != PQE_OK)
        return status;
    if ((status = settle(vault, err)) != PQE_OK || (status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    if (checkpoint != NULL && memcmp(point.vault_id, txn.head.vault_id, PQE__ID_SIZE) != 0)
        status = pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the checkpoint is of another vault");
    if (status == PQE_OK && checkpoint != NULL)
        status = verify_signature(&txn, checkpoint, used, checkpoint + used, len - used, &is_signed, err);
    if (status == PQE_OK)
        status = pqe__audit_check(&txn, checkpoint != NULL ? &point : NULL, err);
    if (status == PQE_OK && out != NULL) {
        status = fill_info(&txn, out, err);
        out->checkpoint_signed = is_signed;
        if (status != PQE_OK)
            memset(out, 0, sizeof *out);
    }
    pqe__txn_abort(&txn);
    return status;
}

/* ---- clearing ---- */

static bool
is_damage(pqe_status status)
{
    return status == PQE_E_TAMPERED || status == PQE_E_DECRYPTION;
}

/* What is left of a log that cannot be trusted: what the head knew of it. */
static void
tail_from_head(pqe__txn *txn)
{
    const pqe__audit_head *h = &txn->priv.audit;
    uint64_t seen = txn->vault->session->audit_seq;

    memset(&txn->tail, 0, sizeof txn->tail);
    txn->tail.chain = h->chain;
    txn->tail.seq = seen > h->seq ? seen : h->seq;
    memcpy(txn->tail.link, h->link, PQE__DIGEST_SIZE);
    memcpy(txn->tail.uses, h->uses, PQE__DIGEST_SIZE);
    txn->tail_known = true;
    txn->taken_in = true; /* the name of its spool is not known either */
}

static pqe_status
start_chain(pqe__txn *txn, bool damaged, pqe_error *err)
{
    pqe__tail *t = &txn->tail, old = *t;
    char link[2 * PQE__DIGEST_SIZE + 1], details[256];
    pqe__event event = {.op = PQE_AUDIT_CLEAR, .success = true, .details = {details, 0}};
    int n;
    pqe_status status = pqe__random(t->spool, sizeof t->spool, err);

    t->chain++;
    t->before_seq = t->base_seq = old.seq;
    memcpy(t->before_link, old.link, PQE__DIGEST_SIZE);
    t->bytes = 0;
    if (status == PQE_OK)
        status = pqe__chain_start(txn->head.vault_id, t->chain, t->before_seq, t->before_link, t->base_link, err);
    memcpy(t->link, t->base_link, PQE__DIGEST_SIZE);
    pqe__hex_encode(old.link, PQE__DIGEST_SIZE, link);
    n = snprintf(details, sizeof details, "chain %u ended at entry %llu with digest %s%s", old.chain,
                 (unsigned long long)old.seq, link, damaged ? "; it was damaged" : "");
    event.details.len = n > 0 ? (size_t)n : 0;
    return status == PQE_OK ? pqe__audit_append(txn, &event, err) : status;
}

static pqe_status
clear_in(pqe__txn *txn, pqe_error *err)
{
    pqe__uses uses = {0};
    pqe_error inner = {0};
    pqe_status status = pqe__audit_take_in(txn, &inner), counts;
    bool lost = is_damage(status), broken = lost;

    if (lost) {
        tail_from_head(txn);
        status = PQE_OK;
    } else if (status == PQE_OK && (status = pqe__audit_check(txn, NULL, &inner)) != PQE_OK && is_damage(status)) {
        broken = true; /* goes on record; its end and the use counts may be sound all the same */
        status = PQE_OK;
    }
    if (status != PQE_OK)
        return pass_on(status, &inner, err);
    counts = pqe__uses_load(txn, &uses, &inner);
    pqe__uses_free(&uses);
    if (counts != PQE_OK && !is_damage(counts))
        return pass_on(counts, &inner, err);
    if (lost || counts != PQE_OK)
        status = pqe__uses_exhaust(txn, err);
    if (status == PQE_OK)
        status = pqe__audit_drop_all(txn->vault->store, err);
    if (status == PQE_OK)
        status = start_chain(txn, broken, err);
    return status == PQE_OK ? pqe__txn_write_head(txn, txn->vault->session->keys, err) : status;
}

pqe_status
pqe_audit_clear(pqe_vault *vault, pqe_error *err)
{
    bool known;
    pqe__txn txn;
    pqe_status status = pqe__txn_begin(vault, true, &txn, err);

    if (status != PQE_OK)
        return status;
    if ((status = clear_in(&txn, err)) != PQE_OK) {
        pqe__txn_abort(&txn);
        return status;
    }
    if ((status = pqe__txn_commit(&txn, &known, err)) == PQE_OK) {
        pthread_mutex_lock(&vault->db_lock);
        pqe__store_checkpoint(vault->store); /* the old entries leave the live files */
        pthread_mutex_unlock(&vault->db_lock);
    }
    return status;
}
