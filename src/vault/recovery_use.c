/* SPDX-License-Identifier: Apache-2.0 */
/* A vault whose backend is lost: opened by a recovery key, and put on another backend in one transaction. */
#include "vault/recovery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- identities that stay behind ---- */

typedef struct lost_identity {
    char did[PQE_DID_SIZE], name[PQE_IDENTITY_NAME_MAX + 1];
} lost_identity;

typedef struct lost_list {
    size_t count;
    lost_identity *all;
} lost_list;

/* Of one whose record is damaged nobody knows whose it was: `found` is NULL. */
static pqe_status
note_lost(lost_list *list, const pqe__identity_found *found, pqe_error *err)
{
    lost_identity *more = realloc(list->all, (list->count + 1) * sizeof *more);

    if (more == NULL)
        return pqe__fail_nomem(err);
    list->all = more;
    more[list->count] = (lost_identity){0};
    if (found != NULL) {
        memcpy(more[list->count].did, found->did, sizeof found->did);
        memcpy(more[list->count].name, found->identity.name.data, found->identity.name.len);
    }
    list->count++;
    return PQE_OK;
}

static pqe_status
lose_native(pqe__txn *txn, const pqe__identity_found *found, pqe_error *err)
{
    char text[PQE_DID_SIZE + 64];
    pqe__event event = {.op = PQE_AUDIT_ROTATE, .success = true};
    pqe_status status;

    snprintf(text, sizeof text, "identity %s is lost with its backend", found->did);
    event.details = (pqe__text){text, strlen(text)};
    status = pqe__identity_remove(txn, found, err);
    return status == PQE_OK ? pqe__audit_append(txn, &event, err) : status;
}

/* Those whose keys went with the backend, and damaged ones: before the vault has moved nobody can remove these, and they
   are not to keep it from moving. */
static pqe_status
lose_identities(pqe__txn *txn, lost_list *lost, pqe_error *err)
{
    pqe__entry_list list = {.kind = PQE__ENTRY_IDENTITY};
    pqe_status status = pqe__entries_collect(txn, &list, err);

    for (size_t i = 0; i < list.count && status == PQE_OK; i++) {
        pqe__identity_found f;
        status = pqe__identity_find_entry(txn, &list.entries[i], &f, err);
        if (status == PQE_E_TAMPERED) {
            if ((status = note_lost(lost, NULL, err)) == PQE_OK)
                status = pqe__identity_remove_damaged(txn, NULL, &list.entries[i], err);
        } else if (status == PQE_OK && f.identity.form == PQE__IDENTITY_NATIVE) {
            if ((status = note_lost(lost, &f, err)) == PQE_OK)
                status = lose_native(txn, &f, err);
        }
        pqe__identity_found_free(&f);
    }
    free(list.entries);
    return status;
}

/* ---- opening ---- */

/* A session without a backend: all that an unlock verifies is verified. */
static pqe_status
open_by_key(pqe_vault *vault, const pqe_recovery_key *key, pqe_error *err)
{
    pqe__session *session = calloc(1, sizeof *session);
    pqe_status status = session != NULL ? pqe__watcher_start(err) : pqe__fail_nomem(err);

    if (status != PQE_OK) {
        free(session);
        return status;
    }
    pthread_mutex_lock(&vault->db_lock);
    if ((status = pqe__store_begin(vault->store, false, err)) == PQE_OK) {
        status = pqe__session_load(vault, session, key, err);
        pqe__store_rollback(vault->store);
    }
    if (status == PQE_OK)
        pqe__session_start(vault, session, PQE_DEFAULT_TTL_SECONDS);
    else
        pqe__session_free(vault->backend, &session);
    if (status == PQE_E_DENIED || status == PQE_E_DECRYPTION || status == PQE_E_TAMPERED)
        pqe__audit_unlock_failed(vault, status);
    pthread_mutex_unlock(&vault->db_lock);
    return status;
}

/* The vault must know the key as its own: what is sealed to it could be left from before it was removed. */
static pqe_status
check_listed(pqe__txn *txn, const pqe_recovery_key *key, pqe_error *err)
{
    uint8_t *authority = pqe__secmem_alloc(32);
    pqe__recovery_list *list = NULL;
    bool listed = false;
    pqe_status status = authority != NULL ? pqe__recovery_load(txn, &list, err) : pqe__fail_nomem(err);

    if (status == PQE_OK)
        status = pqe__recovery_authority(key, txn->head.vault_id, authority, err);
    for (size_t i = 0; status == PQE_OK && list != NULL && i < list->count; i++)
        listed = listed || (memcmp(list->keys[i].key_id, key->id, PQE__ID_SIZE) == 0 &&
                            memcmp(list->keys[i].ek, key->ek, sizeof key->ek) == 0 &&
                            pqe__equal(list->keys[i].authority, authority, 32));
    if (status == PQE_OK && !listed)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the vault does not list the recovery key");
    pqe__secmem_free(list);
    pqe__secmem_free(authority);
    return status;
}

/* ---- moving ---- */

/* What would fail later is found out before the new backend makes a key, perhaps with a person's help. */
static pqe_status
check_usable(pqe_vault *vault, const pqe_recovery_key *key, uint8_t vault_id[PQE__ID_SIZE], pqe_error *err)
{
    pqe__txn txn;
    pqe_status status = pqe__txn_begin(vault, false, &txn, err);

    if (status != PQE_OK)
        return status;
    memcpy(vault_id, txn.head.vault_id, PQE__ID_SIZE);
    if (pqe__store_read_only(vault->store))
        status = pqe__fail(err, PQE_E_READ_ONLY, PQE_ORIGIN_IO, 0, "the vault cannot be written");
    if (status == PQE_OK)
        status = check_listed(&txn, key, err);
    if (status == PQE_OK)
        status = pqe__secrets_check(&txn, err);
    if (status == PQE_OK)
        status = pqe__audit_load(&txn, err);
    pqe__txn_abort(&txn);
    return status;
}

static pqe_status
move_to(pqe_vault *vault, const pqe_recovery_key *key, const pqe__home *home, const uint8_t vault_id[PQE__ID_SIZE],
        const pqe_blob *state, lost_list *lost, pqe_error *err)
{
    pqe__rotation r = {.home = *home, .state = state};
    pqe__event event = {.op = PQE_AUDIT_ROTATE, .success = true};
    pqe__keys *fresh = NULL;
    char text[160];
    pqe__txn txn;
    pqe_status status = pqe__move_begin(vault, home, vault_id, &txn, err);

    if (status != PQE_OK)
        return status;
    snprintf(text, sizeof text, "opened by recovery key %s and moved to the %.31s backend, new device keys",
             key->id_text, home->backend->ops->info.name);
    event.details = (pqe__text){text, strlen(text)};
    r.event = &event;
    txn.recovery = key;
    status = check_listed(&txn, key, err);
    if (status == PQE_OK)
        status = lose_identities(&txn, lost, err);
    if (status == PQE_OK)
        status = pqe__rotation_keys(vault->session->keys, false, &fresh, err);
    if (status == PQE_OK)
        status = pqe__rotation_write(&txn, fresh, &r, err);
    status = pqe__move_commit(vault, &txn, fresh != NULL ? fresh->native : NULL, status, err);
    pqe__keys_free(&fresh); /* the next transaction loads them */
    return status;
}

static pqe_status
use_key(pqe_vault *vault, const pqe_recovery_use_opts *o, pqe_error *err)
{
    uint8_t bytes[PQE_BACKEND_STATE_MAX], vault_id[PQE__ID_SIZE];
    pqe_blob state = {.data = bytes, .capacity = sizeof bytes};
    pqe__home home = {.backend = o->backend};
    lost_list lost = {0};
    pqe_status status = open_by_key(vault, o->key, err);

    if (status == PQE_OK)
        status = check_usable(vault, o->key, vault_id, err);
    if (status == PQE_OK)
        status = pqe__backend_enrol(home.backend, vault_id, &state, &home.key, err);
    if (status == PQE_OK)
        status = move_to(vault, o->key, &home, vault_id, &state, &lost, err);
    if (status == PQE_OK)
        pqe__session_note_start(vault, 0);
    for (size_t i = 0; i < lost.count && status == PQE_OK && o->lost != NULL; i++)
        o->lost(o->user, lost.all[i].did, lost.all[i].name);
    free(lost.all);
    return status;
}

pqe_status
pqe_recovery_use(const pqe_recovery_use_opts *opts, pqe_vault **out, pqe_error *err)
{
    pqe_recovery_use_opts o;
    pqe_vault_opts vault_opts = {.size = sizeof vault_opts};
    pqe_vault *vault = NULL;
    pqe_status status;

    if (out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the handle");
    *out = NULL;
    status = pqe__opts_copy(&o, sizeof o, offsetof(pqe_recovery_use_opts, lost), opts, "the recovery options", err);
    if (status == PQE_OK)
        status = pqe__recovery_key_usable(o.key, err);
    if (status == PQE_OK && o.dir == NULL)
        status = pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the recovery options name no directory");
    if (status != PQE_OK)
        return status;
    vault_opts.dir = o.dir;
    vault_opts.backend = o.backend;
    vault_opts.busy_timeout_ms = o.busy_timeout_ms;
    vault_opts.caller = o.caller;
    if ((status = pqe_vault_open(&vault_opts, &vault, err)) != PQE_OK)
        return status;
    status = use_key(vault, &o, err);
    if (status != PQE_OK) {
        pthread_mutex_lock(&vault->log_lock);
        vault->end_noted = true; /* it came to nothing, and the log says nothing of it */
        pthread_mutex_unlock(&vault->log_lock);
        pqe__session_end(vault);
        pqe_vault_close(&vault);
    }
    *out = vault;
    return status;
}
