/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Audit entries that need not be durable at once: noted in memory, written in groups to a spool, which costs neither a
 * transaction nor a sync. Best effort by design: what fails here is dropped, and the bound is PQE_AUDIT_PENDING_MAX
 * entries a process (docs/decisions/0010-audit-log.md).
 */
#include "vault/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/text.h"

/* How long is waited for other processes, and by a lock for other threads: a lock and an expiry are prompt, and rather
   lose their entries. */
enum { WAIT_LAST_MS = 2, WAIT_LOCK_MS = 50, WAIT_CLOSE_MS = 2000, WAIT_FULL_MS = 1000 };

void
pqe__pending_free(pqe__pending *list)
{
    while (list != NULL) {
        pqe__pending *next = list->next;
        pqe__wipe(list->body, list->len); /* names are kept as secret as contents */
        free(list);
        list = next;
    }
}

/* ---- noting ---- */

pqe_status
pqe__audit_encode(pqe_vault *vault, const pqe__event *event, uint8_t body[PQE__AUDIT_BODY_MAX], size_t *len,
                  pqe_error *err)
{
    pqe__event e = *event;
    int64_t now = pqe__walltime();
    pqe_status status = PQE_OK;

    *len = 0;
    e.time = now > 0 ? (uint64_t)now : 0;
    pthread_mutex_lock(&vault->log_lock);
    if (vault->salts_left == 0) { /* many at a time: a call of the generator costs more than its bytes */
        status = pqe__random(vault->salts, sizeof vault->salts, err);
        vault->salts_left = status == PQE_OK ? PQE__SALTS : 0;
    }
    if (status != PQE_OK) {
        pthread_mutex_unlock(&vault->log_lock);
        return status;
    }
    memcpy(e.salt, vault->salts[--vault->salts_left], sizeof e.salt);
    pqe__wipe(vault->salts[vault->salts_left], sizeof e.salt);
    if (vault->caller != NULL)
        e.caller = (pqe__text){vault->caller, strlen(vault->caller)};
    *len = pqe__event_encode(&e, body);
    pthread_mutex_unlock(&vault->log_lock);
    return PQE_OK;
}

static bool
push(pqe_vault *vault, const pqe__event *event)
{
    uint8_t body[PQE__AUDIT_BODY_MAX];
    pqe__pending *p = NULL, **end = &vault->pending;
    size_t len, count;

    if (pqe__audit_encode(vault, event, body, &len, NULL) == PQE_OK && (p = malloc(sizeof *p + len)) != NULL) {
        p->next = NULL;
        p->len = len;
        memcpy(p->body, body, len);
    }
    pqe__wipe(body, len);
    if (p == NULL)
        return false;
    pthread_mutex_lock(&vault->log_lock);
    while (*end != NULL)
        end = &(*end)->next;
    *end = p;
    count = ++vault->pending_count;
    pthread_mutex_unlock(&vault->log_lock);
    return count >= PQE_AUDIT_PENDING_MAX;
}

/* More than the bound is kept in no case: the oldest go. */
static void
shorten(pqe_vault *vault, size_t keep)
{
    pthread_mutex_lock(&vault->log_lock);
    while (vault->pending_count > keep) {
        pqe__pending *first = vault->pending;
        vault->pending = first->next;
        vault->pending_count--;
        first->next = NULL;
        pqe__pending_free(first);
    }
    pthread_mutex_unlock(&vault->log_lock);
}

static void flush_now(pqe_vault *vault);

void
pqe__audit_note(pqe_vault *vault, const pqe__event *event)
{
    if (pqe__store_read_only(vault->store) || pqe__session_enter(vault, NULL) != PQE_OK)
        return;
    pqe__session_leave(vault); /* what ends meanwhile drops what is noted */
    if (!push(vault, event))
        return;
    flush_now(vault);
    shorten(vault, PQE_AUDIT_PENDING_MAX - 1);
}

pqe__event
pqe__event_of(pqe_audit_op op, const pqe__record *record, char id[PQE_ARTIFACT_ID_SIZE])
{
    pqe__event event = {.op = op, .success = true};

    if (record == NULL)
        return event;
    pqe__id_text(record->artifact_id, id);
    event.kind = record->kind;
    event.artifact_id = (pqe__text){id, strlen(id)};
    event.name = record->name;
    return event;
}

void
pqe__audit_note_failure(pqe_vault *vault, pqe__event *event, pqe_status status, const pqe_error *error)
{
    char details[320];
    const char *why = error != NULL && error->message[0] != '\0' ? error->message : pqe_status_text(status);
    int n = snprintf(details, sizeof details, "%s: %s", pqe_status_name(status), why);

    event->success = false;
    event->details = (pqe__text){details, n > 0 ? (size_t)n : 0};
    pqe__audit_note(vault, event);
    event->details = (pqe__text){0};
}

void
pqe__audit_note_artifact(pqe_vault *vault, pqe_audit_op op, pqe_status status, const pqe__record *subject,
                         const char *name_or_id, const pqe_error *error)
{
    char id[PQE_ARTIFACT_ID_SIZE];
    pqe__event event = pqe__event_of(op, subject, id);

    if (subject == NULL && name_or_id != NULL) {
        if (pqe__is_artifact_id(name_or_id))
            event.artifact_id = (pqe__text){name_or_id, strlen(name_or_id)};
        else
            event.name = (pqe__text){name_or_id, strlen(name_or_id)};
    }
    if (status != PQE_OK)
        pqe__audit_note_failure(vault, &event, status, error);
    else
        pqe__audit_note(vault, &event);
}

/* ---- writing ---- */

/* A transaction without its locks, which the caller holds in one way or another. */
static pqe_status
begin(pqe_vault *vault, bool write, uint32_t wait_ms, pqe__txn *txn)
{
    bool reload = false;
    pqe_status status = pqe__store_begin_within(vault->store, write, wait_ms, NULL);

    memset(txn, 0, sizeof *txn);
    txn->vault = vault;
    txn->spool.fd = -1;
    if (status != PQE_OK)
        return status;
    status = pqe__session_read_head(vault, vault->session, &txn->head, &reload, NULL);
    if (status == PQE_OK && reload) /* other keys: the next transaction loads them */
        status = PQE_E_BUSY;
    txn->priv = vault->session->priv;
    if (status == PQE_OK)
        status = pqe__audit_load(txn, NULL);
    if (status != PQE_OK)
        pqe__store_rollback(vault->store);
    return status;
}

/* The spool that is in use, locked: nobody takes it in before it is closed. */
static pqe_status
open_spool(pqe_vault *vault, uint32_t wait_ms, pqe__txn *txn, pqe__spool *spool)
{
    uint8_t name[PQE__ID_SIZE];
    const uint32_t tries = 3 + wait_ms / 20; /* another process takes the spool in between finding and locking it */
    bool missing;
    pqe_status status = begin(vault, false, wait_ms, txn);

    for (uint32_t i = 0; status == PQE_OK; i++) {
        pqe__store_rollback(vault->store);
        memcpy(name, txn->tail.spool, sizeof name);
        status = i < tries ? pqe__spool_open(vault->store, name, true, wait_ms, spool, &missing, NULL) : PQE_E_BUSY;
        if (status == PQE_E_BUSY && i < tries)
            spool->fd = -1;
        else if (status != PQE_OK)
            return status;
        status = begin(vault, false, wait_ms, txn);
        if (status == PQE_OK && spool->fd >= 0 && memcmp(name, txn->tail.spool, sizeof name) == 0) {
            pqe__store_rollback(vault->store);
            return PQE_OK;
        }
        pqe__spool_close(vault->store, spool, spool->fd >= 0 && status == PQE_OK); /* nobody's any more */
    }
    return status;
}

/* Whole groups in a spool, and where they end. */
static uint32_t
count_groups(const pqe__spool *spool, size_t *end)
{
    pqe__rcur c = pqe__rcur_init(spool->bytes, spool->len);
    uint32_t n = 0;

    *end = 0;
    while (pqe__rcur_left(&c) > 0) {
        size_t len = pqe__get_u32(&c);
        if (pqe__get_bytes(&c, len) == NULL)
            break;
        *end = c.pos;
        n++;
    }
    return n;
}

/* A group: u32 length || box of (u16 length || entry)... The log lock is held. */
static uint8_t *
seal_pending(pqe_vault *vault, const pqe__spool *spool, uint32_t index, size_t *len)
{
    const pqe__keys *keys = vault->session->keys;
    uint8_t aad[PQE__LABEL_MAX], *plain, *out;
    size_t size = 0, aad_len = pqe__spool_aad(aad, keys, spool->name, index);
    pqe__wcur p;
    bool good;

    for (const pqe__pending *e = vault->pending; e != NULL; e = e->next)
        size += 2 + e->len;
    *len = 4 + size + PQE__BOX_OVERHEAD;
    plain = malloc(size);
    out = malloc(*len);
    p = pqe__wcur_init(plain, plain != NULL ? size : 0);
    for (const pqe__pending *e = vault->pending; e != NULL; e = e->next) {
        pqe__put_u16(&p, (uint16_t)e->len);
        pqe__put_bytes(&p, e->body, e->len);
    }
    good = p.ok && out != NULL;
    if (good) {
        pqe__wcur c = pqe__wcur_init(out, 4);
        pqe__put_u32(&c, (uint32_t)(size + PQE__BOX_OVERHEAD));
        good = pqe__box_seal(keys->audit_aead, aad, aad_len, plain, size, out + 4, NULL) == PQE_OK;
    }
    if (plain != NULL)
        pqe__wipe(plain, size);
    free(plain);
    if (!good) {
        free(out);
        out = NULL;
    }
    return out;
}

/* Into the log itself: for a vault in memory, and where the spool is full. */
static void
flush_to_log(pqe_vault *vault, uint32_t wait_ms)
{
    pqe__txn txn;
    bool committed = false;

    if (begin(vault, true, wait_ms, &txn) != PQE_OK)
        return;
    if (pqe__audit_take_in(&txn, NULL) == PQE_OK && pqe__audit_seal(&txn, NULL) == PQE_OK)
        committed = pqe__store_commit(vault->store, NULL) == PQE_OK;
    else
        pqe__store_rollback(vault->store);
    if (committed)
        vault->session->audit_seq = txn.tail.seq;
    pqe__audit_done(&txn, committed);
}

/* db_lock is held, and key_lock in either way; a session runs. */
static void
flush(pqe_vault *vault, uint32_t wait_ms)
{
    pqe__spool spool = {.fd = -1};
    pqe__txn txn;
    size_t end, size = 0;
    uint32_t groups;
    uint8_t *out;
    bool full;
    pqe_status status = open_spool(vault, wait_ms, &txn, &spool);

    if (status == PQE_E_UNAVAILABLE)
        flush_to_log(vault, wait_ms);
    if (status != PQE_OK)
        return;
    groups = count_groups(&spool, &end);
    pthread_mutex_lock(&vault->log_lock);
    out = vault->pending != NULL ? seal_pending(vault, &spool, groups, &size) : NULL;
    full = end + size > PQE__SPOOL_MAX;
    if (out != NULL && !full && pqe__spool_append(&spool, end, out, size, NULL) == PQE_OK) {
        pqe__pending_free(vault->pending);
        vault->pending = NULL;
        vault->pending_count = 0;
    }
    pthread_mutex_unlock(&vault->log_lock);
    free(out);
    pqe__spool_close(vault->store, &spool, false);
    if (full)
        flush_to_log(vault, wait_ms);
}

void
pqe__audit_note_end(pqe_vault *vault, bool closing)
{
    static const pqe__event event = {.op = PQE_AUDIT_LOCK, .success = true};
    struct timespec until;

    if (pqe__store_read_only(vault->store))
        return;
    push(vault, &event);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += WAIT_LOCK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (pthread_mutex_timedlock(&vault->db_lock, &until) != 0)
        return;
    if (pqe__session_enter(vault, NULL) == PQE_OK) {
        flush(vault, closing ? WAIT_CLOSE_MS : WAIT_LOCK_MS);
        pqe__session_leave(vault);
    }
    pthread_mutex_unlock(&vault->db_lock);
}

static void
flush_now(pqe_vault *vault)
{
    pthread_mutex_lock(&vault->db_lock);
    if (pqe__session_enter(vault, NULL) == PQE_OK) {
        flush(vault, WAIT_FULL_MS);
        pqe__session_leave(vault);
    }
    pthread_mutex_unlock(&vault->db_lock);
}

void
pqe__audit_flush_last(pqe_vault *vault)
{
    static const pqe__event event = {
        .op = PQE_AUDIT_LOCK, .success = true, .details = {"the session expired", sizeof "the session expired" - 1}};
    bool noted, nothing;

    pthread_mutex_lock(&vault->log_lock);
    noted = vault->end_noted;
    nothing = noted && vault->pending == NULL;
    pthread_mutex_unlock(&vault->log_lock);
    /* Whoever calls may hold db_lock himself; then there is nothing to be done. */
    if (vault->session != NULL && !pqe__store_read_only(vault->store) && !nothing &&
        pthread_mutex_trylock(&vault->db_lock) == 0) {
        if (!noted)
            push(vault, &event);
        flush(vault, WAIT_LAST_MS);
        pthread_mutex_unlock(&vault->db_lock);
    }
    shorten(vault, 0);
}

/* ---- unlocks that failed ---- */

/* Item 4: entries of 12 bytes, oldest first: u64 time, i32 status. Nothing of it is believed. */
#define FAILED_SIZE 12u

void
pqe__audit_unlock_failed(pqe_vault *vault, pqe_status status)
{
    uint8_t *bytes = NULL, list[PQE_FAILED_UNLOCKS_MAX * FAILED_SIZE];
    size_t len = 0, keep;
    pqe__wcur c = pqe__wcur_init(list, sizeof list);
    int64_t now = pqe__walltime();

    if (pqe__store_begin_within(vault->store, true, 0, NULL) != PQE_OK)
        return;
    if (pqe__state_get(vault->store, PQE__STATE_REFUSED, &bytes, &len, NULL) == PQE_OK) {
        len -= len % FAILED_SIZE;
        keep = len < sizeof list - FAILED_SIZE ? len : sizeof list - FAILED_SIZE;
        if (keep != 0)
            pqe__put_bytes(&c, bytes + len - keep, keep);
        pqe__put_u64(&c, now > 0 ? (uint64_t)now : 0);
        pqe__put_u32(&c, (uint32_t)status);
        if (pqe__state_put(vault->store, PQE__STATE_REFUSED, list, c.pos, NULL) == PQE_OK)
            pqe__store_commit(vault->store, NULL);
    }
    pqe__store_rollback(vault->store);
    free(bytes);
}

pqe_status
pqe_audit_failed_unlocks(pqe_vault *vault, pqe_failed_unlock *out, size_t capacity, size_t *count, pqe_error *err)
{
    uint8_t *bytes = NULL;
    size_t len = 0, total;
    pqe_status status = pqe__vault_usable(vault, err);

    if (count != NULL)
        *count = 0;
    if (count == NULL || (out == NULL && capacity != 0))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the result");
    if (status != PQE_OK)
        return status;
    pthread_mutex_lock(&vault->db_lock);
    if ((status = pqe__store_begin(vault->store, false, err)) == PQE_OK) {
        status = pqe__state_get(vault->store, PQE__STATE_REFUSED, &bytes, &len, err);
        pqe__store_rollback(vault->store);
    }
    pthread_mutex_unlock(&vault->db_lock);
    total = len / FAILED_SIZE;
    for (size_t i = 0; i < total && i < capacity && i < PQE_FAILED_UNLOCKS_MAX; i++) {
        pqe__rcur c = pqe__rcur_init(bytes + (total - 1 - i) * FAILED_SIZE, FAILED_SIZE);
        pqe_failed_unlock *f = &out[(*count)++];
        memset(f, 0, sizeof *f);
        f->time = pqe__get_u64(&c);
        f->status = (pqe_status)(int32_t)pqe__get_u32(&c);
        if (f->time <= INT64_MAX)
            pqe__time_format((int64_t)f->time, f->timestamp);
    }
    free(bytes);
    return status;
}
