/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit log inside transactions: loading its tail, appending to the chain, taking in spools, dropping the oldest
 * entries, sealing anew, checking.
 *
 * Entries lie in rows of their own under consecutive numbers; the sealed tail says where the chain begins and ends. The
 * head knows the tail as it was at the last change of generation, and a tail must never be behind what the head, or this
 * session, has seen.
 */
#include "vault/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t pqe__audit_cap = PQE_AUDIT_BYTES_MAX;

#define SPOOL_WAIT_MS 1000u /* others hold a spool for as long as an append or a commit takes */
#define ROW_MAX (PQE__AUDIT_BODY_MAX + PQE__BOX_OVERHEAD)
_Static_assert(ROW_MAX <= PQE__AUDIT_ROW_MAX, "the store takes any entry");

static const uint8_t zeros[PQE__DIGEST_SIZE];

static const pqe__keys *
log_keys(const pqe__txn *txn)
{
    return txn->log_keys != NULL ? txn->log_keys : txn->vault->session->keys;
}

/* ---- the tail ---- */

static pqe_status
put_tail(pqe__store *store, const pqe__keys *keys, const pqe__tail *tail, pqe_error *err)
{
    uint8_t plain[PQE__TAIL_SIZE], sealed[PQE__TAIL_SIZE + PQE__BOX_OVERHEAD], aad[PQE__LABEL_MAX];
    size_t aad_len = pqe__labelled(aad, "pqc-enclave audit tail v1", keys->vault_id, NULL);
    pqe_status status;

    pqe__tail_encode(tail, plain);
    status = pqe__box_seal(keys->audit_aead, aad, aad_len, plain, sizeof plain, sealed, err);
    return status == PQE_OK ? pqe__state_put(store, PQE__STATE_TAIL, sealed, sizeof sealed, err) : status;
}

static void
tail_to_head(const pqe__tail *tail, pqe__head_private *priv)
{
    priv->audit.chain = tail->chain;
    priv->audit.seq = tail->seq;
    memcpy(priv->audit.link, tail->link, PQE__DIGEST_SIZE);
    memcpy(priv->audit.uses, tail->uses, PQE__DIGEST_SIZE);
}

pqe_status
pqe__audit_create(pqe__store *store, const pqe__keys *keys, pqe__head_private *priv, pqe_error *err)
{
    pqe__tail tail = {.chain = 1};
    pqe_status status = pqe__random(tail.spool, sizeof tail.spool, err);

    if (status == PQE_OK)
        status = pqe__random(tail.old_spool, sizeof tail.old_spool, err);
    if (status == PQE_OK)
        status = pqe__chain_start(keys->vault_id, tail.chain, 0, tail.before_link, tail.base_link, err);
    memcpy(tail.link, tail.base_link, PQE__DIGEST_SIZE);
    if (status == PQE_OK)
        status = put_tail(store, keys, &tail, err);
    tail_to_head(&tail, priv);
    return status;
}

static pqe_status
went_back(pqe_error *err)
{
    return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the audit log was cut off or put back");
}

/* The log may be ahead of the head, never behind it, and where it stands at the same entry it is the same. */
static pqe_status
compare_with_head(const pqe__tail *t, const pqe__audit_head *h, pqe_error *err)
{
    if (h->chain == 0 || t->chain < h->chain || t->seq < h->seq)
        return went_back(err);
    if (t->seq == h->seq && (t->chain != h->chain || memcmp(t->link, h->link, PQE__DIGEST_SIZE) != 0 ||
                             memcmp(t->uses, h->uses, PQE__DIGEST_SIZE) != 0))
        return went_back(err);
    return PQE_OK;
}

pqe_status
pqe__audit_load(pqe__txn *txn, pqe_error *err)
{
    pqe__session *session = txn->vault->session;
    const pqe__keys *keys = log_keys(txn);
    uint8_t plain[PQE__TAIL_SIZE], aad[PQE__LABEL_MAX], *sealed = NULL;
    size_t aad_len = pqe__labelled(aad, "pqc-enclave audit tail v1", keys->vault_id, NULL), len = 0;
    pqe_status status;

    if (txn->tail_known)
        return PQE_OK;
    status = pqe__state_get(txn->vault->store, PQE__STATE_TAIL, &sealed, &len, err);
    if (status == PQE_OK && (sealed == NULL || len != sizeof plain + PQE__BOX_OVERHEAD))
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the end of the audit log is missing");
    if (status == PQE_OK)
        status = pqe__box_open(keys->audit_aead, aad, aad_len, sealed, len, plain, err);
    if (status == PQE_OK)
        status = pqe__tail_decode(plain, sizeof plain, &txn->tail, err);
    if (status == PQE_OK)
        status = compare_with_head(&txn->tail, &txn->priv.audit, err);
    if (status == PQE_OK && txn->tail.seq < session->audit_seq)
        status = went_back(err);
    if (status == PQE_OK) {
        session->audit_seq = txn->tail.seq;
        txn->tail_known = true;
    }
    free(sealed);
    return status;
}

pqe_status
pqe__audit_to_head(pqe__txn *txn, pqe_error *err)
{
    pqe_status status = pqe__audit_load(txn, err);

    if (status == PQE_OK)
        tail_to_head(&txn->tail, &txn->priv);
    return status;
}

pqe_status
pqe__audit_seal(pqe__txn *txn, pqe_error *err)
{
    return txn->tail_changed ? put_tail(txn->vault->store, log_keys(txn), &txn->tail, err) : PQE_OK;
}

/* ---- entries ---- */

static size_t
entry_aad(uint8_t out[PQE__LABEL_MAX], const pqe__keys *keys, uint64_t seq)
{
    pqe__wcur c = pqe__wcur_init(out, PQE__LABEL_MAX);

    c.pos = pqe__labelled(out, "pqc-enclave audit entry v1", keys->vault_id, NULL);
    pqe__put_u64(&c, seq);
    return c.pos;
}

size_t
pqe__spool_aad(uint8_t out[PQE__LABEL_MAX], const pqe__keys *keys, const uint8_t name[PQE__ID_SIZE], uint32_t index)
{
    pqe__wcur c = pqe__wcur_init(out, PQE__LABEL_MAX);

    c.pos = pqe__labelled(out, "pqc-enclave audit spool v1", keys->vault_id, name);
    pqe__put_u32(&c, index);
    return c.pos;
}

pqe_status
pqe__audit_fetch(pqe__txn *txn, uint64_t seq, uint8_t *body, size_t *len, pqe__event *event, pqe_error *err)
{
    const pqe__keys *keys = log_keys(txn);
    uint8_t sealed[PQE__AUDIT_ROW_MAX], aad[PQE__LABEL_MAX];
    size_t sealed_len, aad_len = entry_aad(aad, keys, seq);
    pqe_status status = pqe__audit_get(txn->vault->store, seq, sealed, &sealed_len, err);

    *len = 0;
    if (status == PQE_OK && (sealed_len < PQE__BOX_OVERHEAD || sealed_len > ROW_MAX))
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "an entry of the audit log is damaged");
    if (status == PQE_OK)
        status = pqe__box_open(keys->audit_aead, aad, aad_len, sealed, sealed_len, body, err);
    if (status == PQE_OK)
        *len = sealed_len - PQE__BOX_OVERHEAD;
    return status == PQE_OK ? pqe__event_decode(body, *len, event, err) : status;
}

/* Drops the oldest eighth; the chain then begins at the digest that it had there. */
static pqe_status
drop_oldest(pqe__txn *txn, pqe_error *err)
{
    uint8_t body[PQE__AUDIT_BODY_MAX];
    pqe__tail *t = &txn->tail;
    uint64_t goal = pqe__audit_cap - pqe__audit_cap / 8;
    pqe__event event;
    size_t len;
    pqe_status status = PQE_OK;

    while (t->bytes > goal && t->base_seq + 1 < t->seq && status == PQE_OK) {
        status = pqe__audit_fetch(txn, t->base_seq + 1, body, &len, &event, err);
        if (status == PQE_OK)
            status = pqe__chain_extend(t->base_seq + 1, body, len, t->base_link, err);
        if (status == PQE_OK) {
            t->base_seq++;
            t->bytes -= len + PQE__BOX_OVERHEAD;
        }
    }
    pqe__wipe(body, sizeof body);
    return status == PQE_OK ? pqe__audit_drop(txn->vault->store, t->base_seq, err) : status;
}

static pqe_status
append_body(pqe__txn *txn, const uint8_t *body, size_t len, pqe_error *err)
{
    const pqe__keys *keys = log_keys(txn);
    uint8_t sealed[ROW_MAX], aad[PQE__LABEL_MAX];
    pqe__tail *t = &txn->tail;
    size_t aad_len = entry_aad(aad, keys, t->seq + 1);
    pqe_status status = pqe__box_seal(keys->audit_aead, aad, aad_len, body, len, sealed, err);

    txn->tail_changed = true;
    if (status == PQE_OK)
        status = pqe__audit_put(txn->vault->store, t->seq + 1, sealed, len + PQE__BOX_OVERHEAD, err);
    if (status == PQE_OK)
        status = pqe__chain_extend(t->seq + 1, body, len, t->link, err);
    if (status != PQE_OK)
        return status;
    t->seq++;
    t->bytes += len + PQE__BOX_OVERHEAD;
    return t->bytes > pqe__audit_cap ? drop_oldest(txn, err) : PQE_OK;
}

static pqe_status
append_event(pqe__txn *txn, const pqe__event *event, pqe_error *err)
{
    uint8_t body[PQE__AUDIT_BODY_MAX];
    size_t len;
    pqe_status status = pqe__audit_encode(txn->vault, event, body, &len, err);

    if (status == PQE_OK)
        status = append_body(txn, body, len, err);
    pqe__wipe(body, sizeof body); /* names are kept as secret as contents */
    return status;
}

pqe_status
pqe__audit_append(pqe__txn *txn, const pqe__event *event, pqe_error *err)
{
    pqe_status status = pqe__audit_take_in(txn, err);

    return status == PQE_OK ? append_event(txn, event, err) : status;
}

/* ---- taking in ---- */

static pqe_status
note_lost(pqe__txn *txn, size_t bytes, pqe_error *err)
{
    char details[96];
    pqe__event event = {.op = PQE_AUDIT_LOST, .details = {details, 0}};

    event.details.len = (size_t)snprintf(
        details, sizeof details, "%zu bytes of entries that were not in the log yet were cut off or altered", bytes);
    return append_event(txn, &event, err);
}

/* The entries of a group that opened: what is sealed was written by us. */
static pqe_status
take_in_group(pqe__txn *txn, const uint8_t *plain, size_t len, pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(plain, len);
    pqe_status status = PQE_OK;

    while (status == PQE_OK && pqe__rcur_left(&c) > 0) {
        size_t n = pqe__get_u16(&c);
        const uint8_t *body = pqe__get_bytes(&c, n);
        pqe__event event;
        if (body == NULL || n > PQE__AUDIT_BODY_MAX)
            return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "a spool of the audit log is damaged");
        status = pqe__event_decode(body, n, &event, err);
        if (status == PQE_OK)
            status = append_body(txn, body, n, err);
    }
    return status;
}

/* Groups are `u32 length || box`. What does not open is cut off with all that follows, and that is put on record. */
static pqe_status
take_in_spool(pqe__txn *txn, pqe_error *err)
{
    const pqe__keys *keys = log_keys(txn);
    uint8_t aad[PQE__LABEL_MAX], *plain = malloc(txn->spool.len + 1);
    pqe__rcur c = pqe__rcur_init(txn->spool.bytes, txn->spool.len);
    size_t good = 0;
    pqe_status status = plain != NULL ? PQE_OK : pqe__fail_nomem(err);

    for (uint32_t i = 0; pqe__rcur_left(&c) > 0 && status == PQE_OK; i++) {
        size_t len = pqe__get_u32(&c), aad_len = pqe__spool_aad(aad, keys, txn->spool.name, i);
        const uint8_t *sealed = pqe__get_bytes(&c, len);
        if (sealed == NULL || len < PQE__BOX_OVERHEAD)
            break;
        status = pqe__box_open(keys->audit_aead, aad, aad_len, sealed, len, plain, err);
        if (status == PQE_E_DECRYPTION) {
            status = PQE_OK;
            break;
        }
        if (status == PQE_OK)
            status = take_in_group(txn, plain, len - PQE__BOX_OVERHEAD, err);
        pqe__wipe(plain, len);
        good = c.pos;
    }
    free(plain);
    if (status == PQE_OK && good < txn->spool.len)
        status = note_lost(txn, txn->spool.len - good, err);
    return status;
}

static pqe_status
rename_spool(pqe__txn *txn, pqe_error *err)
{
    memcpy(txn->tail.old_spool, txn->tail.spool, PQE__ID_SIZE);
    txn->tail_changed = true;
    return pqe__random(txn->tail.spool, PQE__ID_SIZE, err);
}

static pqe_status
open_spool(pqe__txn *txn, pqe_error *err)
{
    bool missing = true;
    pqe_status status =
        pqe__spool_open(txn->vault->store, txn->tail.spool, false, SPOOL_WAIT_MS, &txn->spool, &missing, err);

    if (status == PQE_E_TAMPERED) { /* something else stands in its place: go round it */
        if ((status = rename_spool(txn, err)) == PQE_OK)
            status = note_lost(txn, 0, err);
        return status;
    }
    if (status == PQE_E_NOMEM)
        return status;
    /* A spool that cannot be had now stays for the next one. */
    txn->has_spool = status == PQE_OK && !missing;
    return PQE_OK;
}

pqe_status
pqe__audit_take_in(pqe__txn *txn, pqe_error *err)
{
    pqe_vault *v = txn->vault;
    pqe_status status = pqe__audit_load(txn, err);

    if (status != PQE_OK || txn->taken_in)
        return status;
    txn->taken_in = true;
    status = open_spool(txn, err);
    if (status == PQE_OK && txn->has_spool) {
        pqe__spool_remove(v->store, txn->tail.old_spool); /* a crash may have left it */
        status = take_in_spool(txn, err);
        if (status == PQE_OK)
            status = rename_spool(txn, err);
    }
    pthread_mutex_lock(&v->log_lock);
    txn->took = v->pending;
    v->pending = NULL;
    v->pending_count = 0;
    pthread_mutex_unlock(&v->log_lock);
    for (pqe__pending *p = txn->took; p != NULL && status == PQE_OK; p = p->next)
        status = append_body(txn, p->body, p->len, err);
    return status;
}

/* Entries of a transaction that came to nothing go back before those noted since. */
static void
give_back(pqe_vault *v, pqe__pending *list)
{
    pqe__pending *last = list;
    size_t count = 1;

    if (list == NULL)
        return;
    for (; last->next != NULL; last = last->next)
        count++;
    pthread_mutex_lock(&v->log_lock);
    last->next = v->pending;
    v->pending = list;
    v->pending_count += count;
    pthread_mutex_unlock(&v->log_lock);
}

void
pqe__audit_done(pqe__txn *txn, bool committed)
{
    pqe_vault *v = txn->vault;

    if (txn->has_spool)
        pqe__spool_close(v->store, &txn->spool, committed);
    txn->has_spool = false;
    if (committed)
        pqe__pending_free(txn->took);
    else
        give_back(v, txn->took);
    txn->took = NULL;
}

/* ---- other keys ---- */

static pqe_status
reseal_entry(pqe__txn *txn, const pqe__keys *fresh, uint64_t seq, pqe_error *err)
{
    uint8_t body[PQE__AUDIT_BODY_MAX], sealed[ROW_MAX], aad[PQE__LABEL_MAX];
    size_t len, aad_len = entry_aad(aad, fresh, seq);
    pqe__event event;
    pqe_status status = pqe__audit_fetch(txn, seq, body, &len, &event, err);

    if (status == PQE_OK)
        status = pqe__box_seal(fresh->audit_aead, aad, aad_len, body, len, sealed, err);
    if (status == PQE_OK)
        status = pqe__audit_update(txn->vault->store, seq, sealed, len + PQE__BOX_OVERHEAD, err);
    pqe__wipe(body, sizeof body);
    return status;
}

pqe_status
pqe__audit_reseal(pqe__txn *txn, const pqe__keys *fresh, pqe_error *err)
{
    pqe__uses uses = {0};
    pqe_status status = pqe__audit_take_in(txn, err);

    for (uint64_t seq = txn->tail.base_seq + 1; seq <= txn->tail.seq && status == PQE_OK; seq++) {
        status = pqe__txn_breathe(txn, (size_t)seq, err);
        if (status == PQE_OK)
            status = reseal_entry(txn, fresh, seq, err);
    }
    if (status == PQE_OK)
        status = pqe__uses_load(txn, &uses, err);
    txn->log_keys = fresh;
    txn->tail_changed = true;
    if (status == PQE_OK && memcmp(txn->tail.uses, zeros, sizeof zeros) != 0)
        status = pqe__uses_store(txn, &uses, err);
    pqe__uses_free(&uses);
    return status;
}

/* ---- checking ---- */

static pqe_status
compare_point(const uint8_t *link, const uint8_t *expected, const char *whose, pqe_error *err)
{
    if (memcmp(link, expected, PQE__DIGEST_SIZE) == 0)
        return PQE_OK;
    return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the audit log is not the one that %s knows", whose);
}

/* Whether a checkpoint's place is in the part that is kept; what lies before is judged by the ends that remain of it. */
static pqe_status
place_checkpoint(const pqe__tail *t, const pqe__checkpoint *p, bool *inside, pqe_error *err)
{
    *inside = false;
    if (p->chain > t->chain || (p->chain == t->chain && p->seq > t->seq) || p->seq > t->seq)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0,
                         "the audit log ends at entry %llu, before the checkpoint at %llu: it was cut off or put back",
                         (unsigned long long)t->seq, (unsigned long long)p->seq);
    if (p->chain + 1 == t->chain && p->seq == t->before_seq)
        return compare_point(t->before_link, p->link, "the checkpoint", err);
    if (p->chain == t->chain && p->seq >= t->base_seq) {
        *inside = true;
        return PQE_OK;
    }
    return pqe__fail(err, PQE_E_STATE, PQE_ORIGIN_API, 0,
                     "the checkpoint is at entry %llu, which is no longer kept: the log was %s since",
                     (unsigned long long)p->seq, p->chain < t->chain ? "cleared" : "shortened");
}

static pqe_status
check_counts(pqe__txn *txn, uint64_t bytes, pqe_error *err)
{
    const pqe__tail *t = &txn->tail;
    uint64_t rows;
    pqe__uses uses;
    pqe_status status = pqe__audit_count(txn->vault->store, &rows, err);

    if (status == PQE_OK && (rows != t->seq - t->base_seq || bytes != t->bytes))
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "there are entries beside the audit log's own");
    if (status == PQE_OK && (status = pqe__uses_load(txn, &uses, err)) == PQE_OK)
        pqe__uses_free(&uses);
    return status;
}

pqe_status
pqe__audit_check(pqe__txn *txn, const pqe__checkpoint *against, pqe_error *err)
{
    const pqe__tail *t = &txn->tail;
    const pqe__audit_head *h = &txn->priv.audit;
    uint8_t body[PQE__AUDIT_BODY_MAX], link[PQE__DIGEST_SIZE];
    uint64_t bytes = 0;
    bool inside = false;
    pqe_status status = pqe__audit_load(txn, err);

    if (status == PQE_OK)
        status = pqe__chain_start(txn->head.vault_id, t->chain, t->before_seq, t->before_link, link, err);
    if (status == PQE_OK && t->base_seq == t->before_seq)
        status = compare_point(link, t->base_link, "its own end", err);
    if (status == PQE_OK && against != NULL)
        status = place_checkpoint(t, against, &inside, err);
    memcpy(link, t->base_link, sizeof link);
    for (uint64_t seq = t->base_seq; status == PQE_OK; seq++) {
        pqe__event event;
        size_t len;
        if (h->chain == t->chain && seq == h->seq)
            status = compare_point(link, h->link, "the head", err);
        if (status == PQE_OK && inside && seq == against->seq)
            status = compare_point(link, against->link, "the checkpoint", err);
        if (status != PQE_OK || seq == t->seq)
            break;
        len = 0;
        if ((status = pqe__txn_breathe(txn, (size_t)seq, err)) == PQE_OK)
            status = pqe__audit_fetch(txn, seq + 1, body, &len, &event, err);
        if (status == PQE_OK)
            status = pqe__chain_extend(seq + 1, body, len, link, err);
        bytes += len + PQE__BOX_OVERHEAD;
    }
    pqe__wipe(body, sizeof body);
    if (status == PQE_OK)
        status = compare_point(link, t->link, "its own end", err);
    return status == PQE_OK ? check_counts(txn, bytes, err) : status;
}
