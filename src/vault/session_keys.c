/* SPDX-License-Identifier: Apache-2.0 */
/* What a session works with: the backend's key, the keys that it or a recovery key opens, and the head they verify. */
#include "vault/recovery.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

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
    pqe__kem_free(&k->recipient);
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

pqe_status
pqe__session_attach(pqe_vault *vault, pqe__session *session, pqe_error *err)
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

/* By the backend or by a recovery key. Where the backend keeps the vault key itself it seals the origin key alone, and a
   recovery key has the recipient's seed instead. */
static pqe_status
open_device_key(pqe_vault *vault, pqe__session *session, const pqe_recovery_key *recovery, pqe__keys *keys,
                pqe_error *err)
{
    pqe_blob secret = {.data = pqe__secmem_alloc(PQE_SEAL_SECRET_MAX), .capacity = PQE_SEAL_SECRET_MAX};
    size_t seed_len;
    pqe_status status;

    if (secret.data == NULL)
        return pqe__fail_nomem(err);
    status = pqe__native_load(vault, keys, err);
    seed_len = keys->native != NULL && recovery == NULL ? 0 : PQE__KEM_SEED_SIZE;
    if (status == PQE_OK && recovery == NULL)
        status = unseal_device_key(vault, session, keys, &secret, err);
    else if (status == PQE_OK && (status = pqe__recovery_open(vault, recovery, keys, secret.data, err)) == PQE_OK)
        secret.len = PQE__DEVICE_SECRET_SIZE;
    if (status == PQE_OK && secret.len != seed_len + sizeof keys->secret->origin)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_BACKEND, 0, "the sealed device key has another length");
    if (status == PQE_OK) {
        memcpy(keys->secret->origin, secret.data + seed_len, sizeof keys->secret->origin);
        if (keys->native == NULL)
            status = pqe__kem_from_seed(secret.data, &keys->vault_key, err);
        else
            status = pqe__recipient_load(vault, keys, recovery != NULL ? secret.data : NULL, err);
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

    if (keys->by_recipient) {
        status = pqe__recipient_open_root(vault, keys, err);
        return status == PQE_OK ? pqe__keys_derive(keys, err) : status;
    }
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

uint32_t
pqe__session_stored_epoch(pqe_vault *vault)
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
    now = pqe__session_stored_epoch(vault);
    pqe__store_rollback(vault->store);
    return now != 0 && now != epoch;
}
