/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions: unlocking, loading and deriving keys, locking, expiry. */
#include "vault/recovery.h"

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

/* ---- keys ---- */

pqe_status
pqe__keys_new(pqe__keys **out, pqe_error *err)
{
    pqe__keys *keys = calloc(1, sizeof *keys);

    *out = NULL;
    if (keys == NULL)
        return pqe__fail_nomem(err);
    keys->secret = pqe__secmem_alloc(sizeof *keys->secret);
    if (keys->secret == NULL) {
        free(keys);
        return pqe__fail(err, PQE_E_NOMEM, PQE_ORIGIN_API, 0, "no lockable memory for keys is left (RLIMIT_MEMLOCK)");
    }
    *out = keys;
    return PQE_OK;
}

void
pqe__keys_free(pqe__keys **keys)
{
    pqe__keys *k = *keys;

    if (k == NULL)
        return;
    pqe__kem_free(&k->vault_key);
    free(k->native);
    pqe__aead_free(&k->head_aead);
    pqe__aead_free(&k->index_aead);
    pqe__aead_free(&k->audit_aead);
    pqe__secmem_free(k->secret);
    free(k);
    *keys = NULL;
}

static pqe_status
derive_one(const uint8_t prk[32], const char *label, const uint8_t vault_id[PQE__ID_SIZE], uint8_t out[32],
           pqe_error *err)
{
    uint8_t info[PQE__LABEL_MAX];
    size_t len = pqe__labelled(info, label, vault_id, NULL);

    return pqe__hkdf_expand(PQE__HKDF_SHA256, prk, 32, info, len, out, 32, err);
}

pqe_status
pqe__keys_derive(pqe__keys *keys, pqe_error *err)
{
    struct {
        uint8_t prk[32], head[32], index[32], audit[32];
    } *t = pqe__secmem_alloc(sizeof *t);
    pqe_status status;

    if (t == NULL)
        return pqe__fail_nomem(err);
    /* RFC 5869: the vault id is the salt, so that equal roots, which do not occur, would still part here. */
    status = pqe__hkdf_extract(keys->vault_id, PQE__ID_SIZE, keys->secret->root, 32, t->prk, err);
    if (status == PQE_OK)
        status = derive_one(t->prk, "pqc-enclave head key v1", keys->vault_id, t->head, err);
    if (status == PQE_OK)
        status = derive_one(t->prk, "pqc-enclave index key v1", keys->vault_id, t->index, err);
    if (status == PQE_OK)
        status = derive_one(t->prk, "pqc-enclave audit key v1", keys->vault_id, t->audit, err);
    if (status == PQE_OK)
        status = derive_one(t->prk, "pqc-enclave tag key v1", keys->vault_id, keys->secret->tag, err);
    if (status == PQE_OK)
        status = derive_one(t->prk, "pqc-enclave wrap salt v1", keys->vault_id, keys->secret->wrap_salt, err);
    if (status == PQE_OK)
        status = pqe__aead_new(t->head, sizeof t->head, &keys->head_aead, err);
    if (status == PQE_OK)
        status = pqe__aead_new(t->index, sizeof t->index, &keys->index_aead, err);
    if (status == PQE_OK)
        status = pqe__aead_new(t->audit, sizeof t->audit, &keys->audit_aead, err);
    pqe__secmem_free(t);
    return status;
}

/* ---- the backend that holds the vault ---- */

pqe_status
pqe__session_note_state(pqe__session *session, const uint8_t *state, size_t len, pqe_error *err)
{
    return pqe__hash_once(PQE__SHA256, state, len, session->state_digest, err);
}

/* Is the vault still held by the backend that this handle has? */
static pqe_status
check_name(pqe_vault *vault, pqe_status otherwise, pqe_error *err)
{
    const char *ours = vault->backend->ops->info.name;
    uint8_t name[32];
    size_t len;
    pqe_status status = pqe__store_get_item(vault->store, PQE__ITEM_BACKEND_NAME, name, sizeof name, &len, err);

    if (status != PQE_OK || (len == strlen(ours) && memcmp(name, ours, len) == 0))
        return status;
    return pqe__fail(err, otherwise, PQE_ORIGIN_BACKEND, 0,
                     "the vault's device key is not held by the \"%s\" backend%s", ours,
                     otherwise == PQE_E_LOCKED ? " any more: open the vault anew" : "");
}

/* The vault key's seed and the origin key, sealed together by the backend. Where that fails under another state than
   the session began with, the vault has another key: only a new session can tell whether rightly so. */
static pqe_status
unseal_device_key(pqe_vault *vault, pqe__session *session, const pqe__keys *keys, pqe_blob *secret, pqe_error *err)
{
    pqe__key_purpose purpose = keys->native != NULL ? PQE__KEY_ORIGIN : PQE__KEY_VAULT;
    uint8_t sealed[PQE__ITEM_MAX], state[PQE_BACKEND_STATE_MAX], digest[PQE__DIGEST_SIZE], aad[PQE__LABEL_MAX];
    size_t len, aad_len = pqe__aad_device_key(aad, keys->vault_id, purpose, keys->suite, keys->epoch);
    pqe_status status;

    if (session->backend_key == NULL)
        return pqe__fail(err, PQE_E_BUSY, PQE_ORIGIN_INDEX, 0, "another process changed the vault's keys meanwhile");
    status = check_name(vault, PQE_E_LOCKED, err);
    if (status == PQE_OK)
        status = pqe__store_get_item(vault->store, PQE__ITEM_BACKEND_STATE, state, sizeof state, &len, err);
    if (status == PQE_OK)
        status = pqe__hash_once(PQE__SHA256, state, len, digest, err);
    if (status == PQE_OK)
        status = pqe__store_get_item(vault->store, PQE__ITEM_VAULT_KEY, sealed, sizeof sealed, &len, err);
    if (status != PQE_OK)
        return status;
    /* The state that the key was attached with is to be the one that the head speaks of. */
    if (session->keys == NULL && memcmp(digest, session->state_digest, sizeof digest) != 0)
        return pqe__fail(err, PQE_E_BUSY, PQE_ORIGIN_BACKEND, 0,
                         "the backend's state changed meanwhile: unlock the vault again");
    status = pqe__backend_unseal(vault->backend, session->backend_key, aad, aad_len, sealed, len, secret, err);
    if (status == PQE_OK)
        memcpy(session->state_digest, digest, sizeof digest);
    else if (status == PQE_E_DECRYPTION && memcmp(digest, session->state_digest, sizeof digest) != 0)
        status = pqe__fail(err, PQE_E_LOCKED, PQE_ORIGIN_BACKEND, 0,
                           "the backend's key of this vault was replaced: unlock the vault anew");
    return status;
}

pqe_status
pqe__device_secret(pqe_vault *vault, uint8_t out[PQE__DEVICE_SECRET_SIZE], pqe_error *err)
{
    pqe_blob secret = {.data = pqe__secmem_alloc(PQE_SEAL_SECRET_MAX), .capacity = PQE_SEAL_SECRET_MAX};
    pqe_status status;

    if (secret.data == NULL)
        return pqe__fail_nomem(err);
    status = unseal_device_key(vault, vault->session, vault->session->keys, &secret, err);
    if (status == PQE_OK && secret.len != PQE__DEVICE_SECRET_SIZE)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_BACKEND, 0, "the sealed device key has another length");
    if (status == PQE_OK)
        memcpy(out, secret.data, PQE__DEVICE_SECRET_SIZE);
    pqe__secmem_free(secret.data);
    return status;
}

/* By the backend or by a recovery key. Where the backend keeps the vault key itself it seals the origin key alone. */
static pqe_status
open_device_key(pqe_vault *vault, pqe__session *session, const pqe_recovery_key *recovery, pqe__keys *keys,
                pqe_error *err)
{
    pqe_blob secret = {.data = pqe__secmem_alloc(PQE_SEAL_SECRET_MAX), .capacity = PQE_SEAL_SECRET_MAX};
    bool native = false;
    size_t seed_len;
    pqe_status status = PQE_OK;

    if (secret.data == NULL)
        return pqe__fail_nomem(err);
    if (recovery == NULL)
        status = pqe__native_load(vault, keys, &native, err);
    seed_len = native ? 0 : PQE__KEM_SEED_SIZE;
    if (status == PQE_OK && recovery == NULL)
        status = unseal_device_key(vault, session, keys, &secret, err);
    else if (status == PQE_OK && (status = pqe__recovery_open(vault, recovery, keys, secret.data, err)) == PQE_OK)
        secret.len = PQE__DEVICE_SECRET_SIZE;
    if (status == PQE_OK && secret.len != seed_len + sizeof keys->secret->origin)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_BACKEND, 0, "the sealed device key has another length");
    if (status == PQE_OK) {
        memcpy(keys->secret->origin, secret.data + seed_len, sizeof keys->secret->origin);
        if (!native)
            status = pqe__kem_from_seed(secret.data, &keys->vault_key, err);
    }
    pqe__secmem_free(secret.data);
    return status;
}

static pqe_status
open_root(pqe_vault *vault, void *backend_key, pqe__keys *keys, pqe_error *err)
{
    uint8_t sealed[PQE__ITEM_MAX], info[PQE__LABEL_MAX];
    size_t sealed_len, info_len;
    pqe_status status;

    status = pqe__store_get_item(vault->store, PQE__ITEM_ROOT_SECRET, sealed, sizeof sealed, &sealed_len, err);
    if (status != PQE_OK)
        return status;
    if (sealed_len != PQE__SEALED_SECRET_SIZE)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the sealed root secret has another length");
    info_len = pqe__info_secret(info, keys->vault_id, keys->suite, PQE__SECRET_ROOT, keys->root_key_id);
    status = pqe__vault_key_open(vault, backend_key, keys, info, info_len, sealed, sealed_len, keys->secret->root, err);
    return status == PQE_OK ? pqe__keys_derive(keys, err) : status;
}

static pqe_status
check_origin(const pqe__keys *keys, const uint8_t *head, size_t len, const uint8_t tag[PQE__HEAD_TAG_SIZE],
             pqe_error *err)
{
    uint8_t expected[PQE__HEAD_TAG_SIZE];
    pqe_status status = pqe__hmac_sha256(keys->secret->origin, sizeof keys->secret->origin, head, len, expected, err);

    if (status == PQE_OK && !pqe__equal(expected, tag, sizeof expected))
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the vault's head was not made by this device");
    return status;
}

/* Opens the head's private part and remembers the bytes as verified. The origin tag has been checked. */
static pqe_status
accept_head(pqe__session *session, const pqe__keys *keys, const uint8_t *bytes, size_t len, pqe__head *head,
            pqe_error *err)
{
    uint8_t plain[PQE__HEAD_PRIVATE_MAX], aad[PQE__LABEL_MAX];
    const uint8_t *sealed;
    size_t sealed_len, aad_len;
    pqe__head_private priv;
    pqe_status status = pqe__head_decode(bytes, len, head, &sealed, &sealed_len, err);

    if (status != PQE_OK)
        return status;
    if (sealed_len < PQE__BOX_OVERHEAD || sealed_len - PQE__BOX_OVERHEAD > sizeof plain)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the vault's head is damaged");
    /* These are not the bytes last verified: the same generation again is another vault's future, put in place. */
    if (head->generation <= session->generation)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0,
                         "the vault went back from generation %llu to %llu while it was open",
                         (unsigned long long)session->generation, (unsigned long long)head->generation);
    aad_len = pqe__labelled(aad, "pqc-enclave head v1", keys->vault_id, NULL);
    status = pqe__box_open(keys->head_aead, aad, aad_len, sealed, sealed_len, plain, err);
    if (status == PQE_OK)
        status = pqe__head_decode_private(plain, sealed_len - PQE__BOX_OVERHEAD, &priv, err);
    if (status == PQE_OK) {
        session->priv = priv;
        for (size_t i = 0; i < sizeof priv.hash_default; i++)
            atomic_store(&session->hash_default[i], priv.hash_default[i]);
        memcpy(session->head_bytes, bytes, len);
        session->head_len = len;
        session->generation = head->generation;
    }
    return status;
}

pqe_status
pqe__session_load(pqe_vault *vault, pqe__session *session, const pqe_recovery_key *recovery, pqe_error *err)
{
    uint8_t bytes[PQE__HEAD_MAX], tag[PQE__HEAD_TAG_SIZE], digest[PQE__DIGEST_SIZE];
    const uint8_t *sealed;
    size_t len, sealed_len;
    pqe__keys *keys = NULL;
    pqe__head head;
    pqe_status status;

    status = pqe__store_get_head(vault->store, bytes, &len, tag, err);
    if (status == PQE_OK)
        status = pqe__head_decode(bytes, len, &head, &sealed, &sealed_len, err);
    if (status == PQE_OK)
        status = pqe__keys_new(&keys, err);
    if (status != PQE_OK)
        return status;
    memcpy(keys->vault_id, head.vault_id, PQE__ID_SIZE);
    memcpy(keys->root_key_id, head.root_key_id, PQE__ID_SIZE);
    memcpy(keys->device_digest, head.device_digest, PQE__DIGEST_SIZE);
    keys->suite = head.suite;
    keys->epoch = head.key_epoch;
    status = open_device_key(vault, session, recovery, keys, err);
    if (status == PQE_OK)
        status = check_origin(keys, bytes, len, tag, err);
    if (status == PQE_OK)
        status = pqe__store_device_digest(vault->store, digest, err);
    if (status == PQE_OK && memcmp(digest, head.device_digest, sizeof digest) != 0)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the sealed device keys were altered");
    if (status == PQE_OK)
        status = open_root(vault, session->backend_key, keys, err);
    if (status == PQE_OK)
        status = accept_head(session, keys, bytes, len, &head, err);
    if (status != PQE_OK) {
        pqe__keys_free(&keys);
        return status;
    }
    pqe__keys_free(&session->keys);
    session->keys = keys;
    session->has_write_key = false;
    return PQE_OK;
}

pqe_status
pqe__session_read_head(pqe_vault *vault, pqe__session *session, pqe__head *head, bool *reload, pqe_error *err)
{
    uint8_t bytes[PQE__HEAD_MAX], tag[PQE__HEAD_TAG_SIZE];
    const uint8_t *sealed;
    size_t len, sealed_len;
    pqe_status status = pqe__store_get_head(vault->store, bytes, &len, tag, err);

    *reload = false;
    if (status == PQE_OK)
        status = pqe__head_decode(bytes, len, head, &sealed, &sealed_len, err);
    if (status != PQE_OK)
        return status;
    if (len == session->head_len && memcmp(bytes, session->head_bytes, len) == 0)
        return PQE_OK;
    if (head->key_epoch != session->keys->epoch ||
        memcmp(head->device_digest, session->keys->device_digest, PQE__DIGEST_SIZE) != 0) {
        *reload = true; /* another process changed the device keys; nothing of this head is believed yet */
        return PQE_OK;
    }
    status = check_origin(session->keys, bytes, len, tag, err);
    return status == PQE_OK ? accept_head(session, session->keys, bytes, len, head, err) : status;
}

/* Of the head in the store; 0 if it cannot be read. In a transaction. Nothing but another try depends on it. */
static uint32_t
stored_epoch(pqe_vault *vault)
{
    uint8_t bytes[PQE__HEAD_MAX], tag[PQE__HEAD_TAG_SIZE];
    const uint8_t *sealed;
    size_t len, sealed_len;
    pqe__head head;

    if (pqe__store_get_head(vault->store, bytes, &len, tag, NULL) != PQE_OK ||
        pqe__head_decode(bytes, len, &head, &sealed, &sealed_len, NULL) != PQE_OK)
        return 0;
    return head.key_epoch;
}

bool
pqe__session_overtaken(pqe_vault *vault, pqe_status failure, uint32_t epoch)
{
    uint32_t now;

    /* What a device says where a key pair is not there any more. */
    if ((failure != PQE_E_DECRYPTION && failure != PQE_E_BACKEND) ||
        pqe__store_begin(vault->store, false, NULL) != PQE_OK)
        return false;
    now = stored_epoch(vault);
    pqe__store_rollback(vault->store);
    return now != 0 && now != epoch;
}

static pqe_status
load_once(pqe_vault *vault, pqe__session *session, uint32_t *epoch, pqe_error *err)
{
    pqe_status status = pqe__store_begin(vault->store, false, err);

    *epoch = 0;
    if (status != PQE_OK)
        return status;
    *epoch = stored_epoch(vault);
    status = pqe__session_load(vault, session, NULL, err);
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

/* ---- sessions ---- */

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

static pqe_status
attach_backend(pqe_vault *vault, pqe__session *session, pqe_error *err)
{
    uint8_t state[PQE_BACKEND_STATE_MAX], bytes[PQE__HEAD_MAX], tag[PQE__HEAD_TAG_SIZE];
    size_t state_len = 0, len, sealed_len;
    const uint8_t *sealed;
    pqe__head head;
    pqe_status status = pqe__store_begin(vault->store, false, err);

    if (status != PQE_OK)
        return status;
    status = pqe__store_get_head(vault->store, bytes, &len, tag, err);
    if (status == PQE_OK)
        status = pqe__head_decode(bytes, len, &head, &sealed, &sealed_len, err);
    if (status == PQE_OK)
        status = check_name(vault, PQE_E_DENIED, err);
    if (status == PQE_OK)
        status = pqe__store_get_item(vault->store, PQE__ITEM_BACKEND_STATE, state, sizeof state, &state_len, err);
    if (status == PQE_OK)
        status = pqe__session_note_state(session, state, state_len, err);
    pqe__store_rollback(vault->store);
    if (status == PQE_OK)
        status = pqe__backend_attach(vault->backend, head.vault_id, state, state_len, &session->backend_key, err);
    return status;
}

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
    status = attach_backend(vault, session, err);
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
