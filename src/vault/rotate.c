/* SPDX-License-Identifier: Apache-2.0 */
/* Replacing keys: device keys, with --rekey also root and session secrets, and the passphrase. Bodies stay. */
#include "vault/recovery.h"

#include <stdlib.h>
#include <string.h>

#define TEXT(s)                                                                                                        \
    {                                                                                                                  \
        s, sizeof(s) - 1                                                                                               \
    }

/* ---- rekey ---- */

/* Unwraps under the old session's key, wraps under the new one's; the record is written anew because it names its
   key. The row keeps its body. */
static pqe_status
rewrap(pqe__txn *txn, pqe__keys *fresh, const uint8_t key_id[PQE__ID_SIZE], pqe__found *f, pqe_error *err)
{
    uint8_t *dek = pqe__secmem_alloc(PQE__KEY_SIZE);
    const uint8_t *wrap;
    pqe__row row = f->row;
    pqe_status status = dek != NULL ? PQE_OK : pqe__fail_nomem(err);

    row.allocation = NULL;
    if (status == PQE_OK)
        status = pqe__wrap_key(txn, txn->vault->session->keys, f->row.key_id, &wrap, err);
    if (status == PQE_OK)
        status = pqe__dek_unwrap(wrap, f, dek, err);
    if (status == PQE_OK) {
        memcpy(f->record.key_id, key_id, PQE__ID_SIZE);
        status = pqe__row_seal(txn, fresh, key_id, dek, &f->record, &row, err);
    }
    if (status == PQE_OK)
        status = pqe__row_update(txn->vault->store, &row, err);
    memcpy(f->row.digest, row.digest, sizeof row.digest);
    free(row.allocation);
    pqe__secmem_free(dek);
    return status;
}

typedef struct renewed {
    pqe__entry name, id;
} renewed;

static pqe_status
rewrap_all(pqe__txn *txn, pqe__keys *fresh, const uint8_t key_id[PQE__ID_SIZE], const pqe__entry_list *old,
           renewed *out, pqe_error *err)
{
    pqe_status status = PQE_OK;

    for (size_t i = 0; i < old->count && status == PQE_OK; i++) {
        pqe__found f;
        renewed *r = &out[i];
        if ((status = pqe__txn_breathe(txn, i, err)) != PQE_OK ||
            (status = pqe__find_entry(txn, &old->entries[i], false, &f, err)) != PQE_OK)
            return status;
        status = rewrap(txn, fresh, key_id, &f, err);
        r->name = (pqe__entry){.kind = PQE__ENTRY_NAME, .rowid = f.row.rowid};
        r->id = (pqe__entry){.kind = PQE__ENTRY_ID, .rowid = f.row.rowid};
        memcpy(r->name.digest, f.row.digest, PQE__DIGEST_SIZE);
        memcpy(r->id.digest, f.row.digest, PQE__DIGEST_SIZE);
        if (status == PQE_OK)
            status = pqe__tag_of(fresh, PQE__ENTRY_NAME, f.record.name.data, f.record.name.len, r->name.tag, err);
        if (status == PQE_OK)
            status = pqe__tag_of(fresh, PQE__ENTRY_ID, f.record.artifact_id, PQE__ID_SIZE, r->id.tag, err);
        pqe__found_free(&f);
    }
    return status;
}

/* Everything below the root changes, so the index is built anew. The old entries prove every row before it is
   re-wrapped; only then is the tree cleared. */
static pqe_status
rekey(pqe__txn *txn, pqe__keys *fresh, const pqe__home *home, const pqe__recovery_list *recovery, pqe_error *err)
{
    pqe__store *store = txn->vault->store;
    uint8_t *root = txn->head.index_root;
    pqe__entry_list list = {.kind = PQE__ENTRY_NAME};
    pqe__renewed_identities *identities = NULL;
    pqe__secret_row secret;
    renewed *all = NULL;
    pqe_status status = pqe__entries_collect(txn, &list, err);

    if (status == PQE_OK && (all = calloc(list.count + 1, sizeof *all)) == NULL)
        status = pqe__fail_nomem(err);
    if (status == PQE_OK)
        status = pqe__wrap_key_make(fresh, &secret, err);
    if (status == PQE_OK)
        status = rewrap_all(txn, fresh, secret.key_id, &list, all, err);
    if (status == PQE_OK)
        status = pqe__identities_renew(txn, home, fresh, recovery, &identities, err);
    if (status == PQE_OK)
        status = pqe__secret_delete_all(store, err);
    if (status == PQE_OK)
        status = pqe__tree_clear(store, root, err);
    if (status == PQE_OK && list.count != 0)
        status = pqe__wrap_key_enter(txn, fresh, &secret, err);
    if (status == PQE_OK && list.count != 0)
        status = pqe__secret_count(store, secret.rowid, (int64_t)list.count, err);
    for (size_t i = 0; i < list.count && status == PQE_OK; i++) {
        status = pqe__txn_breathe(txn, i, err);
        if (status == PQE_OK)
            status = pqe__tree_set(store, root, &all[i].name, err);
        if (status == PQE_OK)
            status = pqe__tree_set(store, root, &all[i].id, err);
    }
    if (status == PQE_OK)
        status = pqe__identities_enter(txn, fresh, identities, err);
    pqe__renewed_identities_free(&identities);
    free(all);
    free(list.entries);
    return status;
}

/* ---- rotate ---- */

pqe_status
pqe__rotation_keys(const pqe__keys *old, bool new_root, pqe__keys **out, pqe_error *err)
{
    pqe_status status = pqe__keys_new(out, err);
    pqe__keys *fresh = *out;

    if (status != PQE_OK)
        return status;
    memcpy(fresh->vault_id, old->vault_id, PQE__ID_SIZE);
    memcpy(fresh->root_key_id, old->root_key_id, PQE__ID_SIZE);
    memcpy(fresh->secret->root, old->secret->root, sizeof fresh->secret->root);
    fresh->suite = old->suite;
    fresh->epoch = old->epoch + 1;
    if (new_root) {
        status = pqe__random(fresh->root_key_id, PQE__ID_SIZE, err);
        if (status == PQE_OK)
            status = pqe__random_secret(fresh->secret->root, sizeof fresh->secret->root, err);
    }
    return status;
}

/* The new home's name and state. */
static pqe_status
write_home(pqe__store *store, const pqe__rotation *r, pqe_error *err)
{
    const char *name = r->home.backend->ops->info.name;
    pqe_status status;

    if (r->state == NULL)
        return PQE_OK;
    status = pqe__store_put_item(store, PQE__ITEM_BACKEND_NAME, (const uint8_t *)name, strlen(name), err);
    if (status == PQE_OK)
        status = pqe__store_put_item(store, PQE__ITEM_BACKEND_STATE, r->state->data, r->state->len, err);
    return status;
}

/* What the old root sealed, under the new one. */
static pqe_status
reseal_for_root(pqe__txn *txn, const pqe__keys *fresh, const pqe__recovery_list *recovery, pqe_error *err)
{
    pqe_status status = pqe__policy_reseal(txn, fresh, err);

    if (status == PQE_OK && recovery != NULL)
        status = pqe__recovery_store(txn, fresh, recovery, err);
    return status == PQE_OK ? pqe__audit_reseal(txn, fresh, err) : status;
}

/* The session may end while the device works: what is made uses nothing of it. The transaction stays, so that there is
   all of it or nothing. */
static pqe_status
make_device_keys(pqe__txn *txn, pqe__keys *fresh, const pqe__rotation *r, const pqe__recovery_list *recovery,
                 pqe_error *err)
{
    pqe_status status, resumed;

    pqe__txn_pause(txn);
    status = pqe__device_make(txn->vault, &r->home, recovery, fresh, err);
    resumed = pqe__txn_resume(txn, status == PQE_OK ? err : NULL);
    return status == PQE_OK ? resumed : status;
}

pqe_status
pqe__rotation_write(pqe__txn *txn, pqe__keys *fresh, const pqe__rotation *r, pqe_error *err)
{
    pqe__recovery_list *recovery = NULL;
    pqe_status status = pqe__txn_check_device(txn, err);

    if (status == PQE_OK)
        status = pqe__recovery_load(txn, &recovery, err);
    if (status == PQE_OK)
        status = write_home(txn->vault->store, r, err);
    if (status == PQE_OK)
        status = make_device_keys(txn, fresh, r, recovery, err);
    if (status == PQE_OK && r->new_root)
        status = rekey(txn, fresh, &r->home, recovery, err);
    else if (status == PQE_OK && (status = pqe__secrets_reseal(txn, fresh, fresh->recipient, err)) == PQE_OK)
        status = pqe__identities_reseal(txn, &r->home, fresh, recovery, err);
    if (status == PQE_OK && r->new_root)
        status = reseal_for_root(txn, fresh, recovery, err);
    pqe__secmem_free(recovery);
    if (status == PQE_OK)
        status = pqe__audit_append(txn, r->event, err);
    if (status != PQE_OK)
        return status;
    txn->head.key_epoch = fresh->epoch;
    memcpy(txn->head.device_digest, fresh->device_digest, PQE__DIGEST_SIZE);
    memcpy(txn->head.root_key_id, fresh->root_key_id, PQE__ID_SIZE);
    return pqe__txn_write_head(txn, fresh, err);
}

pqe_status
pqe__native_copy(const pqe__native *native, pqe__native **out, pqe_error *err)
{
    *out = NULL;
    if (native == NULL)
        return PQE_OK;
    if ((*out = malloc(sizeof **out)) == NULL)
        return pqe__fail_nomem(err);
    **out = *native;
    return PQE_OK;
}

static pqe_status
rotate_here(pqe_vault *vault, bool new_root, pqe_error *err)
{
    static const pqe__event rotated = {.op = PQE_AUDIT_ROTATE, .success = true, .details = TEXT("new device keys")};
    static const pqe__event rekeyed = {
        .op = PQE_AUDIT_ROTATE, .success = true, .details = TEXT("new device keys, root and session secrets")};
    pqe__rotation r = {.new_root = new_root, .event = new_root ? &rekeyed : &rotated};
    pqe__keys *fresh = NULL;
    pqe__native *old = NULL, *unused;
    bool known = true;
    pqe__txn txn;
    pqe_status status = pqe__txn_begin(vault, true, &txn, err);

    if (status != PQE_OK)
        return status;
    r.home = pqe__session_pin(vault);
    status = pqe__rotation_keys(vault->session->keys, new_root, &fresh, err);
    if (status == PQE_OK)
        status = pqe__native_copy(vault->session->keys->native, &old, err);
    if (status == PQE_OK)
        status = pqe__rotation_write(&txn, fresh, &r, err);
    if (status == PQE_OK)
        status = pqe__txn_commit(&txn, &known, err);
    else
        pqe__txn_abort(&txn);
    /* Key pairs in the device that no vault needs. Where nobody knows whether the commit happened, both stay. */
    unused = status == PQE_OK ? old : fresh != NULL ? fresh->native : NULL;
    if (known)
        pqe__native_drop(&r.home, unused);
    free(old);
    pqe__session_unpin(vault);
    pqe__keys_free(&fresh); /* the next transaction sees another epoch and loads the new keys, here as elsewhere */
    if (status == PQE_OK) {
        pthread_mutex_lock(&vault->db_lock);
        pqe__store_checkpoint(vault->store); /* the old sealed keys leave the live files */
        pthread_mutex_unlock(&vault->db_lock);
    }
    return status;
}

pqe_status
pqe_rotate(pqe_vault *vault, const pqe_rotate_opts *opts, pqe_error *err)
{
    pqe_rotate_opts o = {.size = sizeof o};
    pqe_status status;

    if (opts != NULL && (status = pqe__opts_copy(&o, sizeof o, offsetof(pqe_rotate_opts, rekey) + sizeof o.rekey, opts,
                                                 "the rotate options", err)) != PQE_OK)
        return status;
    if (o.backend != NULL)
        return pqe__move(vault, &o, err);
    if (o.discard_old)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0,
                         "only a vault that moves to another backend leaves a key to discard");
    return rotate_here(vault, o.rekey, err);
}

/* ---- passphrase ---- */

static pqe_status
ask_new_state(pqe_vault *vault, const uint8_t *state, size_t state_len, pqe_blob *fresh, pqe_error *err)
{
    uint8_t vault_id[PQE__ID_SIZE];
    pqe__home home;
    pqe_status status;

    if ((status = pqe__session_enter(vault, err)) != PQE_OK)
        return status;
    memcpy(vault_id, vault->session->keys->vault_id, sizeof vault_id);
    home = pqe__session_pin(vault);
    pqe__session_leave(vault);
    status = pqe__backend_change_passphrase(home.backend, vault_id, home.key, state, state_len, fresh, err);
    pqe__session_unpin(vault);
    return status;
}

pqe_status
pqe_vault_change_passphrase(pqe_vault *vault, pqe_error *err)
{
    uint8_t before[PQE_BACKEND_STATE_MAX], now[PQE_BACKEND_STATE_MAX], state[PQE_BACKEND_STATE_MAX];
    pqe_blob fresh = {.data = state, .capacity = sizeof state};
    static const pqe__event event = {.op = PQE_AUDIT_ROTATE, .success = true, .details = TEXT("new passphrase")};
    size_t before_len = 0, now_len = 0;
    bool known;
    pqe__txn txn;
    pqe_status status = pqe__txn_begin(vault, false, &txn, err);

    if (status != PQE_OK)
        return status;
    status = pqe__store_get_item(vault->store, PQE__ITEM_BACKEND_STATE, before, sizeof before, &before_len, err);
    pqe__txn_abort(&txn);
    /* A person may think about the new passphrase: neither transaction nor session is held meanwhile. */
    if (status == PQE_OK)
        status = ask_new_state(vault, before, before_len, &fresh, err);
    if (status != PQE_OK || (status = pqe__txn_begin(vault, true, &txn, err)) != PQE_OK)
        return status;
    status = pqe__txn_check_device(&txn, err);
    if (status == PQE_OK)
        status = pqe__store_get_item(vault->store, PQE__ITEM_BACKEND_STATE, now, sizeof now, &now_len, err);
    if (status == PQE_OK && (now_len != before_len || memcmp(now, before, now_len) != 0))
        status = pqe__fail(err, PQE_E_BUSY, PQE_ORIGIN_BACKEND, 0, "another process changed the passphrase meanwhile");
    if (status == PQE_OK)
        status = pqe__store_put_item(vault->store, PQE__ITEM_BACKEND_STATE, state, fresh.len, err);
    if (status == PQE_OK)
        status = pqe__store_device_digest(vault->store, txn.head.device_digest, err);
    if (status == PQE_OK)
        status = pqe__audit_append(&txn, &event, err);
    if (status == PQE_OK)
        status = pqe__txn_write_head(&txn, vault->session->keys, err);
    if (status != PQE_OK) {
        pqe__txn_abort(&txn);
        return status;
    }
    if ((status = pqe__txn_commit(&txn, &known, err)) == PQE_OK) {
        pthread_mutex_lock(&vault->db_lock);
        pqe__store_checkpoint(vault->store); /* the old wrapping leaves the live files */
        pthread_mutex_unlock(&vault->db_lock);
    }
    return status;
}

/* ---- the grant key ---- */

static pqe_status
open_grant_key(pqe__txn *txn, pqe__kem_key **key, pqe_error *err)
{
    pqe_vault *vault = txn->vault;
    const pqe__keys *keys = vault->session->keys;
    uint8_t sealed[PQE__ITEM_MAX], aad[PQE__LABEL_MAX];
    pqe_blob seed = {.data = pqe__secmem_alloc(PQE_SEAL_SECRET_MAX), .capacity = PQE_SEAL_SECRET_MAX};
    size_t sealed_len, aad_len = pqe__aad_device_key(aad, keys->vault_id, PQE__KEY_GRANT, keys->suite, keys->epoch);
    pqe_status status;

    if (seed.data == NULL)
        return pqe__fail_nomem(err);
    status = pqe__store_get_item(vault->store, PQE__ITEM_GRANT_KEY, sealed, sizeof sealed, &sealed_len, err);
    if (status == PQE_OK)
        status = pqe__backend_unseal(vault->backend, vault->session->backend_key, aad, aad_len, sealed, sealed_len,
                                     &seed, err);
    if (status == PQE_OK && seed.len != PQE__KEM_SEED_SIZE)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_BACKEND, 0, "the sealed grant key has another length");
    if (status == PQE_OK)
        status = pqe__kem_from_seed(seed.data, key, err);
    pqe__secmem_free(seed.data);
    return status;
}

/* Of one that the backend keeps there is the public part alone, which the head vouches for. */
static pqe_status
read_grant_key(pqe__txn *txn, pqe__kem_key **key, pqe_error *err)
{
    uint8_t ek[PQE__KEM_PUBLIC_SIZE];
    pqe_status status = pqe__txn_check_device(txn, err);

    if (status == PQE_OK)
        status = pqe__native_grant_public(txn->vault, ek, err);
    return status == PQE_OK ? pqe__kem_from_public(ek, sizeof ek, key, err) : status;
}

pqe_status
pqe_grant_public_key(pqe_vault *vault, char *buf, size_t capacity, size_t *len, pqe_error *err)
{
    pqe__kem_key *key = NULL;
    pqe__txn txn;
    pqe_status status;

    if (buf == NULL || len == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "buffer and length are required");
    *len = 0;
    if ((status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    status = vault->session->keys->native != NULL ? read_grant_key(&txn, &key, err) : open_grant_key(&txn, &key, err);
    if (status == PQE_OK)
        status = pqe__kem_public_pem(key, buf, capacity, len, err);
    pqe__kem_free(&key);
    pqe__txn_abort(&txn);
    return status;
}
