/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions: unlocking, locking, expiry. */
#include "vault/internal.h"

#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

pqe_status
pqe__locked(pqe_error *err)
{
    return pqe__fail(err, PQE_E_LOCKED, PQE_ORIGIN_API, 0, "the vault is locked");
}

static pqe_status
load_once(pqe_vault *vault, pqe__session *session, uint32_t *epoch, pqe_error *err)
{
    pqe_status status = pqe__store_begin(vault->store, false, err);

    *epoch = 0;
    if (status != PQE_OK)
        return status;
    status = pqe__session_load(vault, session, NULL, err);
    if (status != PQE_OK)
        *epoch = pqe__session_stored_epoch(vault);
    pqe__store_rollback(vault->store);
    return status;
}

/* Loads in a transaction of its own. */
static pqe_status
load(pqe_vault *vault, pqe__session *session, pqe_error *err)
{
    pqe_error inner = {0};
    uint32_t epoch;
    pqe_status status = load_once(vault, session, &epoch, &inner);

    if (pqe__session_overtaken(vault, status, epoch))
        return load_once(vault, session, &epoch, err);
    if (status != PQE_OK && err != NULL)
        *err = inner;
    return status;
}

void
pqe__session_free(pqe_backend *backend, pqe__session **session)
{
    pqe__session *s = *session;

    if (s == NULL)
        return;
    pqe__keys_free(&s->keys);
    pqe__policy_free(&s->policy);
    if (s->backend_key != NULL)
        pqe__backend_detach(backend, s->backend_key);
    pqe__wipe(s, sizeof *s);
    free(s);
    *session = NULL;
    pqe__wipe_registers();
}

/* Keeps a key that is in use, or whose backend is. Who begins sessions and moves sees to it that there is room. */
static void
put_aside(pqe_vault *vault, pqe__home home)
{
    if (vault->stale_count < PQE__STALE_MAX)
        vault->stale[vault->stale_count++] = home;
}

/* Detaches what was put aside, as far as that can be; key_lock is held for writing. */
static void
drop_stale(pqe_vault *vault, bool wait)
{
    size_t kept = 0;

    for (size_t i = 0; i < vault->stale_count; i++) {
        const pqe__home *h = &vault->stale[i];
        if (wait)
            pqe__backend_detach(h->backend, h->key);
        else if (atomic_load(&vault->pins) != 0 || !pqe__backend_try_detach(h->backend, h->key))
            vault->stale[kept++] = *h;
    }
    vault->stale_count = kept;
}

pqe_status
pqe__session_room(pqe_vault *vault, pqe_error *err)
{
    bool room;

    pthread_rwlock_wrlock(&vault->key_lock);
    drop_stale(vault, false);
    room = vault->stale_count + 2 < PQE__STALE_MAX; /* this session's key, and that of a move */
    pthread_rwlock_unlock(&vault->key_lock);
    return room ? PQE_OK
                : pqe__fail(err, PQE_E_BUSY, PQE_ORIGIN_BACKEND, 0,
                            "too many calls to the backend of sessions that have ended are still running");
}

/* Wipes all keys at once. The backend's own may be in use by a call that waits for a person; then, unless told to
   wait, it is kept aside. key_lock is held for writing, list_lock too. */
static void
end_session(pqe_vault *vault, bool wait)
{
    pqe__session *s = vault->session;

    pqe__audit_flush_last(vault);
    for (pqe__handle *h = vault->handles; h != NULL; h = h->next)
        h->drop_keys(h);
    if (s != NULL && !s->accepting) { /* a copy that was not accepted in the end is nothing to go by */
        vault->generation = s->generation;
        vault->audit_seq = s->audit_seq;
    }
    if (s != NULL && s->backend_key != NULL) {
        pqe__keys_free(&s->keys);
        if (wait)
            pqe__backend_detach(vault->backend, s->backend_key);
        else if (atomic_load(&vault->pins) != 0 || !pqe__backend_try_detach(vault->backend, s->backend_key))
            put_aside(vault, (pqe__home){vault->backend, s->backend_key});
        s->backend_key = NULL;
    }
    pqe__session_free(vault->backend, &vault->session);
    if (wait)
        drop_stale(vault, true);
}

#define RETRY_NS 20000000u

uint64_t
pqe__session_try_expire(pqe_vault *vault)
{
    uint64_t now = pqe__boottime_ns(), left = 0;

    if (pthread_rwlock_trywrlock(&vault->key_lock) != 0)
        return RETRY_NS;
    if (vault->session != NULL && vault->session->expires_ns > now) {
        left = vault->session->expires_ns - now;
    } else if (vault->session != NULL) {
        pthread_mutex_lock(&vault->list_lock);
        end_session(vault, false);
        pthread_mutex_unlock(&vault->list_lock);
    }
    drop_stale(vault, false);
    if (vault->stale_count != 0)
        left = RETRY_NS;
    pthread_rwlock_unlock(&vault->key_lock);
    return left;
}

uint64_t
pqe__session_left(pqe_vault *vault)
{
    uint64_t now, left = 0;
    bool expired;

    pthread_rwlock_rdlock(&vault->key_lock);
    now = pqe__boottime_ns(); /* not before the session began that is looked at */
    expired = vault->session != NULL && vault->session->expires_ns <= now;
    if (vault->session != NULL && !expired)
        left = vault->session->expires_ns - now;
    pthread_rwlock_unlock(&vault->key_lock);
    if (expired)
        pqe__session_try_expire(vault); /* where keys are in use the watcher does it, as soon as they are not */
    return left;
}

void
pqe__session_lock(pqe_vault *vault)
{
    bool stale;

    atomic_fetch_add(&vault->lockers, 1); /* nobody begins to use keys any more */
    pthread_rwlock_wrlock(&vault->key_lock);
    pthread_mutex_lock(&vault->list_lock);
    if (vault->session != NULL)
        end_session(vault, false);
    stale = vault->stale_count != 0;
    pthread_mutex_unlock(&vault->list_lock);
    pthread_rwlock_unlock(&vault->key_lock);
    atomic_fetch_sub(&vault->lockers, 1);
    if (stale)
        pqe__watcher_add(vault); /* which tries again */
}

void
pqe__session_end(pqe_vault *vault)
{
    pthread_rwlock_wrlock(&vault->key_lock);
    pthread_mutex_lock(&vault->list_lock);
    end_session(vault, true);
    pthread_mutex_unlock(&vault->list_lock);
    pthread_rwlock_unlock(&vault->key_lock);
}

pqe_status
pqe__session_enter(pqe_vault *vault, pqe_error *err)
{
    if (atomic_load(&vault->lockers) != 0)
        return pqe__locked(err);
    pthread_rwlock_rdlock(&vault->key_lock);
    if (vault->session != NULL && vault->session->expires_ns > pqe__boottime_ns())
        return PQE_OK;
    pthread_rwlock_unlock(&vault->key_lock);
    pqe__session_left(vault); /* ends it, if it has expired */
    return pqe__locked(err);
}

pqe__home
pqe__session_home(const pqe_vault *vault)
{
    return (pqe__home){vault->backend, vault->session->backend_key};
}

pqe__home
pqe__session_pin(pqe_vault *vault)
{
    atomic_fetch_add(&vault->pins, 1);
    return pqe__session_home(vault);
}

void
pqe__session_unpin(pqe_vault *vault)
{
    bool stale;

    pthread_rwlock_wrlock(&vault->key_lock);
    atomic_fetch_sub(&vault->pins, 1);
    stale = vault->stale_count != 0;
    pthread_rwlock_unlock(&vault->key_lock);
    if (stale)
        pqe__session_try_expire(vault);
}

void
pqe__session_adopt(pqe_vault *vault, const pqe__home *home)
{
    pqe__home left = {vault->backend, NULL}, unused = {home->backend, NULL};

    pthread_rwlock_wrlock(&vault->key_lock);
    vault->backend = home->backend;
    if (vault->session != NULL) {
        left.key = vault->session->backend_key;
        vault->session->backend_key = home->key;
    } else {
        unused.key = home->key; /* the session ended meanwhile */
    }
    if (left.key != NULL)
        put_aside(vault, left);
    pthread_rwlock_unlock(&vault->key_lock);
    if (unused.key != NULL)
        pqe__backend_detach(unused.backend, unused.key);
}

void
pqe__session_part(pqe_vault *vault, const pqe_backend *backend)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    bool kept = true;

    while (kept) {
        kept = false;
        pthread_rwlock_wrlock(&vault->key_lock);
        drop_stale(vault, false);
        for (size_t i = 0; i < vault->stale_count; i++)
            kept = kept || vault->stale[i].backend == backend;
        pthread_rwlock_unlock(&vault->key_lock);
        if (kept)
            nanosleep(&moment, NULL);
    }
}

void
pqe__session_leave(pqe_vault *vault)
{
    pthread_rwlock_unlock(&vault->key_lock);
    pqe__wipe_registers(); /* every use of keys and plaintext ends here */
}

void
pqe__session_start(pqe_vault *vault, pqe__session *session, uint32_t ttl_seconds)
{
    uint32_t ttl = ttl_seconds != 0 ? ttl_seconds : PQE_DEFAULT_TTL_SECONDS;

    pthread_rwlock_wrlock(&vault->key_lock);
    pthread_mutex_lock(&vault->list_lock);
    end_session(vault, false);
    session->expires_ns = pqe__boottime_ns() + (uint64_t)ttl * 1000000000u;
    vault->session = session;
    pthread_mutex_unlock(&vault->list_lock);
    pthread_rwlock_unlock(&vault->key_lock);
    pqe__wipe_registers(); /* the keys were just made */
    pqe__watcher_add(vault);
}

void
pqe__handle_add(pqe_vault *vault, pqe__handle *handle)
{
    pthread_mutex_lock(&vault->list_lock);
    handle->vault = vault;
    handle->owner = vault->owner;
    handle->prev = NULL;
    handle->next = vault->handles;
    if (vault->handles != NULL)
        vault->handles->prev = handle;
    vault->handles = handle;
    pthread_mutex_unlock(&vault->list_lock);
}

void
pqe__handle_remove(pqe__handle *handle)
{
    pqe_vault *vault = handle->vault;

    /* In a forked child the list is left alone: its lock may be held by a thread that is not there. */
    if (vault == NULL || !pqe__owner_is_here(handle->owner))
        return;
    pthread_mutex_lock(&vault->list_lock);
    if (handle->prev != NULL)
        handle->prev->next = handle->next;
    else
        vault->handles = handle->next;
    if (handle->next != NULL)
        handle->next->prev = handle->prev;
    handle->vault = NULL;
    pthread_mutex_unlock(&vault->list_lock);
}

/* ---- public ---- */

/* Sessions end, what they saw is remembered. Of the generation one below the highest that this handle has seen: the same
   again is right, an older one is not. */
static void
inherit(pqe_vault *vault, pqe__session *session)
{
    const pqe__session *old;
    uint64_t seen;

    pthread_rwlock_rdlock(&vault->key_lock);
    old = vault->session;
    seen = old != NULL ? old->generation : vault->generation;
    session->generation = seen != 0 ? seen - 1 : 0;
    session->audit_seq = old != NULL ? old->audit_seq : vault->audit_seq;
    pthread_rwlock_unlock(&vault->key_lock);
}

/* From here on until the copy is accepted everybody else is refused. */
static void
forget(pqe__session *session)
{
    session->generation = session->audit_seq = 0;
    session->accepting = true;
}

pqe_status
pqe__session_unlock(pqe_vault *vault, uint32_t ttl_seconds, bool accepts, pqe_error *err)
{
    pqe__session *session;
    pqe_status status = pqe__watcher_start(err);

    if (status != PQE_OK)
        return status;
    if ((status = pqe__session_room(vault, err)) != PQE_OK)
        return status;
    if ((session = calloc(1, sizeof *session)) == NULL)
        return pqe__fail_nomem(err);
    pqe__session_note_end(vault, false); /* should one be running */
    pthread_mutex_lock(&vault->db_lock);
    if (accepts)
        forget(session);
    else
        inherit(vault, session);
    status = pqe__session_attach(vault, session, err);
    if (status == PQE_OK)
        status = load(vault, session, err);
    if (status == PQE_OK && !accepts)
        status = pqe__counter_admit(vault, session, err);
    if (status == PQE_OK)
        pqe__body_collect(vault->store);
    if (status == PQE_OK)
        pqe__session_start(vault, session, ttl_seconds);
    else
        pqe__session_free(vault->backend, &session);
    if (status == PQE_E_DENIED || status == PQE_E_DECRYPTION || status == PQE_E_TAMPERED || status == PQE_E_BACKEND ||
        status == PQE_E_ROLLBACK)
        pqe__audit_unlock_failed(vault, status);
    pthread_mutex_unlock(&vault->db_lock);
    if (status == PQE_OK)
        pqe__session_note_start(vault, ttl_seconds);
    return status;
}

pqe_status
pqe_vault_unlock(pqe_vault *vault, uint32_t ttl_seconds, pqe_error *err)
{
    pqe_status status = pqe__vault_usable(vault, err);

    return status == PQE_OK ? pqe__session_unlock(vault, ttl_seconds, false, err) : status;
}

void
pqe__session_note_start(pqe_vault *vault, uint32_t ttl_seconds)
{
    char details[48];
    pqe__event event = {.op = PQE_AUDIT_UNLOCK, .success = true};
    int n = snprintf(details, sizeof details, "for %u seconds",
                     ttl_seconds != 0 ? ttl_seconds : (unsigned)PQE_DEFAULT_TTL_SECONDS);

    event.details = (pqe__text){details, n > 0 ? (size_t)n : 0};
    pthread_mutex_lock(&vault->log_lock);
    vault->end_noted = false;
    pthread_mutex_unlock(&vault->log_lock);
    pqe__audit_note(vault, &event);
}

void
pqe__session_note_end(pqe_vault *vault, bool closing)
{
    if (pqe__session_enter(vault, NULL) != PQE_OK)
        return;
    pqe__session_leave(vault);
    pthread_mutex_lock(&vault->log_lock);
    vault->end_noted = true;
    pthread_mutex_unlock(&vault->log_lock);
    pqe__audit_note_end(vault, closing);
}

void
pqe_vault_lock(pqe_vault *vault)
{
    if (pqe__vault_usable(vault, NULL) != PQE_OK)
        return;
    pqe__session_note_end(vault, false);
    pqe__session_lock(vault);
}

uint32_t
pqe_vault_ttl(pqe_vault *vault)
{
    uint64_t left;

    if (pqe__vault_usable(vault, NULL) != PQE_OK)
        return 0;
    left = pqe__session_left(vault);
    return (uint32_t)((left + 999999999u) / 1000000000u);
}

bool
pqe_vault_is_unlocked(pqe_vault *vault)
{
    return pqe_vault_ttl(vault) != 0;
}
