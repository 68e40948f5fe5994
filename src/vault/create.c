/* SPDX-License-Identifier: Apache-2.0 */
/* Making a vault, and making device keys: the two key pairs, their sealing by the backend, the root secret's sealing. */
#include "vault/recovery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pqe_status
seal_item(pqe_vault *vault, const pqe__home *home, const pqe__keys *keys, pqe__key_purpose purpose,
          const uint8_t *secret, size_t len, pqe_error *err)
{
    uint8_t sealed[PQE_SEAL_BLOB_MAX], aad[PQE__LABEL_MAX];
    pqe_blob blob = {.data = sealed, .capacity = sizeof sealed};
    size_t aad_len = pqe__aad_device_key(aad, keys->vault_id, purpose, keys->suite, keys->epoch);
    pqe__device_item item = purpose == PQE__KEY_VAULT ? PQE__ITEM_VAULT_KEY : PQE__ITEM_GRANT_KEY;
    pqe_status status = pqe__backend_seal(home->backend, home->key, aad, aad_len, secret, len, &blob, err);

    return status == PQE_OK ? pqe__store_put_item(vault->store, item, sealed, blob.len, err) : status;
}

/* FIPS 203 seeds (d, z) and the origin key are random; they leave locked memory only sealed by the backend. */
static pqe_status
make_device_keys(pqe_vault *vault, const pqe__home *home, const pqe__recovery_list *recovery, pqe__keys *keys,
                 pqe_error *err)
{
    struct {
        uint8_t vault[PQE__DEVICE_SECRET_SIZE], grant[PQE__KEM_SEED_SIZE];
    } *fresh = pqe__secmem_alloc(sizeof *fresh);
    pqe_status status;

    if (fresh == NULL)
        return pqe__fail_nomem(err);
    status = pqe__random_secret(fresh, sizeof *fresh, err);
    if (status == PQE_OK) {
        memcpy(keys->secret->origin, fresh->vault + PQE__KEM_SEED_SIZE, 32);
        status = pqe__kem_from_seed(fresh->vault, &keys->vault_key, err);
    }
    if (status == PQE_OK)
        status = seal_item(vault, home, keys, PQE__KEY_VAULT, fresh->vault, sizeof fresh->vault, err);
    if (status == PQE_OK)
        status = seal_item(vault, home, keys, PQE__KEY_GRANT, fresh->grant, sizeof fresh->grant, err);
    if (status == PQE_OK)
        status = pqe__recovery_seal(vault, keys, recovery, fresh->vault, err);
    pqe__secmem_free(fresh);
    return status;
}

pqe_status
pqe__device_make(pqe_vault *vault, const pqe__home *home, const pqe__recovery_list *recovery, pqe__keys *keys,
                 pqe_error *err)
{
    uint8_t sealed[PQE__SEALED_SECRET_SIZE], info[PQE__LABEL_MAX];
    size_t info_len = pqe__info_secret(info, keys->vault_id, keys->suite, PQE__SECRET_ROOT, keys->root_key_id);
    pqe_status status = pqe__backend_decapsulates(home->backend) ? pqe__native_make(vault, home, keys, err)
                                                                 : make_device_keys(vault, home, recovery, keys, err);

    if (status == PQE_OK) /* a vault key that the library has needs no second recipient */
        status = pqe__recipient_make(vault, keys, keys->native != NULL ? recovery : NULL, &keys->recipient, err);
    if (status == PQE_OK)
        status = pqe__hpke_seal(&pqe__hpke_ml_kem_768, keys->vault_key, NULL, info, info_len, NULL, 0,
                                keys->secret->root, sizeof keys->secret->root, sealed, err);
    if (status == PQE_OK)
        status = pqe__store_put_item(vault->store, PQE__ITEM_ROOT_SECRET, sealed, sizeof sealed, err);
    if (status == PQE_OK && keys->native == NULL)
        status = pqe__store_delete_item(vault->store, PQE__ITEM_NATIVE_KEY, err);
    if (status == PQE_OK)
        status = pqe__store_device_digest(vault->store, keys->device_digest, err);
    if (status == PQE_OK)
        status = pqe__keys_derive(keys, err);
    return status;
}

static pqe_status
set_device_id(pqe__head_private *priv, const pqe_vault_opts *o, const pqe__keys *keys, pqe_error *err)
{
    char hex[2 * PQE__ID_SIZE + 1];
    size_t len;

    if (o->device_id == NULL) {
        pqe__hex_encode(keys->vault_id, PQE__ID_SIZE, hex);
        snprintf(priv->device_id, sizeof priv->device_id, "pqe-%s", hex);
        return PQE_OK;
    }
    len = strnlen(o->device_id, sizeof priv->device_id);
    if (len == sizeof priv->device_id)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "the device id is longer than %u bytes",
                         PQE__HEAD_DEVICE_ID_MAX);
    if (!pqe__utf8_valid(o->device_id, len))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the device id is not valid UTF-8");
    memcpy(priv->device_id, o->device_id, len);
    return PQE_OK;
}

static pqe_status
fill_store(pqe_vault *vault, pqe__session *session, const uint8_t *state, size_t state_len, pqe_error *err)
{
    pqe__keys *keys = session->keys;
    const pqe__home home = {vault->backend, session->backend_key};
    const char *name = vault->backend->ops->info.name;
    pqe__head head = {.generation = 1, .key_epoch = 1, .suite = pqe__suite_ml_kem_768};
    pqe_status status = pqe__store_begin(vault->store, true, err);

    if (status == PQE_OK)
        status = pqe__store_put_item(vault->store, PQE__ITEM_BACKEND_NAME, (const uint8_t *)name, strlen(name), err);
    if (status == PQE_OK)
        status = pqe__store_put_item(vault->store, PQE__ITEM_BACKEND_STATE, state, state_len, err);
    if (status == PQE_OK)
        status = pqe__session_note_state(session, state, state_len, err);
    if (status == PQE_OK)
        status = pqe__device_make(vault, &home, NULL, keys, err);
    if (status == PQE_OK)
        status = pqe__tree_empty(head.index_root, err);
    if (status == PQE_OK) {
        memcpy(head.vault_id, keys->vault_id, PQE__ID_SIZE);
        memcpy(head.device_digest, keys->device_digest, PQE__DIGEST_SIZE);
        memcpy(head.root_key_id, keys->root_key_id, PQE__ID_SIZE);
        status = pqe__audit_create(vault->store, keys, &session->priv, err);
    }
    if (status == PQE_OK)
        status = pqe__counter_start(&home, &session->priv, err);
    if (status == PQE_OK)
        status = pqe__head_write(vault->store, keys, &head, &session->priv, err);
    if (status == PQE_OK)
        return pqe__store_commit(vault->store, err);
    pqe__store_rollback(vault->store);
    return status;
}

static pqe_status
new_keys(const pqe_vault_opts *o, pqe__session *session, pqe_error *err)
{
    pqe_status status = pqe__keys_new(&session->keys, err);
    pqe__keys *keys = session->keys;

    if (status != PQE_OK)
        return status;
    keys->suite = pqe__suite_ml_kem_768;
    keys->epoch = 1;
    status = pqe__random(keys->vault_id, PQE__ID_SIZE, err);
    if (status == PQE_OK)
        status = pqe__random(keys->root_key_id, PQE__ID_SIZE, err);
    if (status == PQE_OK)
        status = pqe__random_secret(keys->secret->root, sizeof keys->secret->root, err);
    return status == PQE_OK ? set_device_id(&session->priv, o, keys, err) : status;
}

/* An earlier attempt at this place may have died after its key was made. */
static void
forget_key(void *user, const uint8_t vault_id[PQE__ID_SIZE])
{
    pqe__backend_forget(user, vault_id);
}

pqe_status
pqe__vault_create(pqe_vault *vault, const pqe_vault_opts *o, pqe_error *err)
{
    uint8_t state[PQE_BACKEND_STATE_MAX];
    pqe_blob blob = {.data = state, .capacity = sizeof state};
    pqe__session *session = calloc(1, sizeof *session);
    pqe_status status;

    if (session == NULL)
        return pqe__fail_nomem(err);
    status = pqe__watcher_start(err);
    if (status == PQE_OK)
        status = new_keys(o, session, err);
    /* The place first: it is cheap to take back, and shows that a vault can be here before a key is made. */
    if (status == PQE_OK)
        status = pqe__store_create(o->dir, o->busy_timeout_ms, &vault->store, err);
    if (status == PQE_OK) {
        pqe__store_settle_notes(vault->store, forget_key, vault->backend);
        status = pqe__store_note_maker(vault->store, session->keys->vault_id, err);
    }
    if (status == PQE_OK)
        status = pqe__backend_enrol(vault->backend, session->keys->vault_id, &blob, &session->backend_key, err);
    if (status == PQE_OK) {
        status = fill_store(vault, session, state, blob.len, err);
        if (status == PQE_OK)
            status = pqe__store_publish(vault->store, err);
        if (status != PQE_OK) {
            pqe__native_drop(&(pqe__home){vault->backend, session->backend_key}, session->keys->native);
            pqe__backend_discard(vault->backend, session->keys->vault_id, session->backend_key);
        }
    }
    if (status == PQE_OK) {
        pqe__session_start(vault, session, PQE_DEFAULT_TTL_SECONDS);
        pqe__session_note_start(vault, 0);
        return PQE_OK;
    }
    pqe__session_free(vault->backend, &session);
    pqe__store_destroy(&vault->store);
    return status;
}
