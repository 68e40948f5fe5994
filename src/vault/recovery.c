/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a vault keeps for its recovery keys: their list, sealed under the index key with its digest in the head as the
 * policy has it; for each, among the device items, what opens the vault sealed to it; and copies in the identities.
 *
 * What opens the vault is the seed of the vault key, or of the recovery recipient (recipient.c) where the backend keeps
 * the vault key to itself, and the origin key. It is sealed in HPKE's PSK mode. The PSK, the *authority*, comes from the recovery key and is in the list:
 * the vault can seal to a recovery key that is not there, and whoever knows public keys only cannot.
 */
#include "vault/recovery.h"

#include <stdlib.h>
#include <string.h>

#define AUTHORITY_LABEL "pqc-enclave recovery authority v1"
#define LIST_LABEL "pqc-enclave recovery keys v1"
#define SEALED_SIZE (PQE__DEVICE_SECRET_SIZE + PQE__HPKE_OVERHEAD)
#define ITEM_SIZE (PQE__ID_SIZE + SEALED_SIZE)

static pqe_status
altered(pqe_error *err)
{
    return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the recovery keys were altered, removed or put back");
}

static pqe__device_item
item_of(size_t slot)
{
    return (pqe__device_item)(PQE__ITEM_RECOVERY + (int)slot);
}

/* ---- the list ---- */

/* The stored bytes, which are those that the head means; NULL if there are none. */
static pqe_status
read_sealed(pqe__txn *txn, uint8_t **sealed, size_t *len, pqe_error *err)
{
    uint8_t digest[PQE__DIGEST_SIZE];
    pqe_status status = pqe__state_get(txn->vault->store, PQE__STATE_RECOVERY, sealed, len, err);

    if (status == PQE_OK && (*sealed != NULL) != txn->priv.has_recovery)
        status = altered(err);
    if (status == PQE_OK && *sealed != NULL) {
        status = pqe__hash_once(PQE__SHA256, *sealed, *len, digest, err);
        if (status == PQE_OK && memcmp(digest, txn->priv.recovery, sizeof digest) != 0)
            status = altered(err);
        if (status == PQE_OK && (*len < PQE__BOX_OVERHEAD || *len > PQE__RECOVERY_LIST_MAX + PQE__BOX_OVERHEAD))
            status = altered(err);
    }
    if (status != PQE_OK) {
        free(*sealed);
        *sealed = NULL;
    }
    return status;
}

pqe_status
pqe__recovery_load(pqe__txn *txn, pqe__recovery_list **out, pqe_error *err)
{
    const pqe__keys *keys = txn->vault->session->keys;
    uint8_t aad[PQE__LABEL_MAX], *sealed = NULL, *plain = NULL;
    size_t aad_len = pqe__labelled(aad, LIST_LABEL, keys->vault_id, NULL), len = 0;
    pqe_status status = read_sealed(txn, &sealed, &len, err);

    *out = NULL;
    if (status != PQE_OK || sealed == NULL)
        return status;
    plain = pqe__secmem_alloc(PQE__RECOVERY_LIST_MAX);
    *out = pqe__secmem_alloc(sizeof **out);
    if (plain == NULL || *out == NULL)
        status = pqe__fail_nomem(err);
    if (status == PQE_OK)
        status = pqe__box_open(keys->index_aead, aad, aad_len, sealed, len, plain, err);
    if (status == PQE_OK)
        status = pqe__recovery_list_decode(plain, len - PQE__BOX_OVERHEAD, *out, err);
    pqe__secmem_free(plain);
    free(sealed);
    if (status != PQE_OK) {
        pqe__secmem_free(*out);
        *out = NULL;
    }
    return status;
}

pqe_status
pqe__recovery_store(pqe__txn *txn, const pqe__keys *keys, const pqe__recovery_list *list, pqe_error *err)
{
    uint8_t aad[PQE__LABEL_MAX], *plain, *sealed;
    size_t aad_len = pqe__labelled(aad, LIST_LABEL, keys->vault_id, NULL), len;
    pqe__wcur c;
    pqe_status status = PQE_OK;

    txn->priv.has_recovery = list->count != 0;
    if (list->count == 0)
        return pqe__state_delete(txn->vault->store, PQE__STATE_RECOVERY, err);
    plain = pqe__secmem_alloc(PQE__RECOVERY_LIST_MAX);
    sealed = malloc(PQE__RECOVERY_LIST_MAX + PQE__BOX_OVERHEAD);
    if (plain == NULL || sealed == NULL) {
        status = pqe__fail_nomem(err);
    } else {
        c = pqe__wcur_init(plain, PQE__RECOVERY_LIST_MAX);
        pqe__recovery_list_encode(list, &c);
        len = c.pos + PQE__BOX_OVERHEAD;
        status = pqe__box_seal(keys->index_aead, aad, aad_len, plain, c.pos, sealed, err);
        if (status == PQE_OK)
            status = pqe__state_put(txn->vault->store, PQE__STATE_RECOVERY, sealed, len, err);
        if (status == PQE_OK)
            status = pqe__hash_once(PQE__SHA256, sealed, len, txn->priv.recovery, err);
    }
    pqe__secmem_free(plain);
    free(sealed);
    return status;
}

static pqe_status
check_entry(pqe__store *store, const pqe__recovery_entry *entry, pqe_error *err)
{
    uint8_t id[PQE__ID_SIZE], item[ITEM_SIZE];
    size_t len;
    pqe_status status = pqe__recovery_id_of(entry->ek, id, err);

    if (status == PQE_OK && memcmp(id, entry->key_id, sizeof id) != 0)
        status = altered(err);
    if (status == PQE_OK)
        status = pqe__store_get_item(store, item_of(entry->slot), item, sizeof item, &len, err);
    if (status == PQE_OK && (len != sizeof item || memcmp(item, entry->key_id, PQE__ID_SIZE) != 0))
        status = altered(err);
    return status;
}

pqe_status
pqe__recovery_check(pqe__txn *txn, pqe_error *err)
{
    const pqe__keys *keys = txn->vault->session->keys;
    pqe__recovery_list *list;
    pqe_status status = pqe__recovery_load(txn, &list, err);

    for (size_t i = 0; status == PQE_OK && list != NULL && i < list->count; i++)
        status = check_entry(txn->vault->store, &list->keys[i], err);
    if (status == PQE_OK && (keys->recipient != NULL) != (keys->native != NULL && list != NULL))
        status = altered(err);
    pqe__secmem_free(list);
    return status;
}

/* ---- what opens the vault ---- */

/* RFC 5869. The vault id is in it: a key that opens two vaults by design or mishap has an authority in each. */
pqe_status
pqe__recovery_authority(const pqe_recovery_key *key, const uint8_t vault_id[PQE__ID_SIZE], uint8_t authority[32],
                        pqe_error *err)
{
    uint8_t info[PQE__LABEL_MAX], *prk = pqe__secmem_alloc(32);
    size_t len = pqe__labelled(info, AUTHORITY_LABEL, vault_id, key->id);
    pqe_status status;

    if (prk == NULL)
        return pqe__fail_nomem(err);
    status = pqe__hkdf_extract(vault_id, PQE__ID_SIZE, key->secret->seed, sizeof key->secret->seed, prk, err);
    if (status == PQE_OK)
        status = pqe__hkdf_expand(PQE__HKDF_SHA256, prk, 32, info, len, authority, 32, err);
    pqe__secmem_free(prk);
    return status;
}

static size_t
info_of(uint8_t info[PQE__LABEL_MAX], const pqe__keys *keys, pqe__suite suite, const uint8_t key_id[PQE__ID_SIZE])
{
    return pqe__info_secret(info, keys->vault_id, suite,
                            keys->native != NULL ? PQE__SECRET_RECIPIENT : PQE__SECRET_RECOVERY, key_id);
}

static pqe_status
seal_to(pqe__store *store, const pqe__keys *keys, const pqe__recovery_entry *entry,
        const uint8_t secret[PQE__DEVICE_SECRET_SIZE], pqe_error *err)
{
    uint8_t item[ITEM_SIZE], info[PQE__LABEL_MAX];
    const pqe__hpke_psk psk = {entry->authority, sizeof entry->authority, entry->key_id, PQE__ID_SIZE};
    size_t len = info_of(info, keys, entry->suite, entry->key_id);
    pqe__kem_key *key;
    pqe_status status = pqe__kem_from_public(entry->ek, sizeof entry->ek, &key, err);

    if (status != PQE_OK)
        return status;
    memcpy(item, entry->key_id, PQE__ID_SIZE);
    status = pqe__hpke_seal_psk(&pqe__hpke_ml_kem_768, &psk, key, NULL, info, len, NULL, 0, secret,
                                PQE__DEVICE_SECRET_SIZE, item + PQE__ID_SIZE, err);
    if (status == PQE_OK)
        status = pqe__store_put_item(store, item_of(entry->slot), item, sizeof item, err);
    pqe__kem_free(&key);
    return status;
}

pqe_status
pqe__recovery_seal(pqe_vault *vault, const pqe__keys *keys, const pqe__recovery_list *list,
                   const uint8_t secret[PQE__DEVICE_SECRET_SIZE], pqe_error *err)
{
    pqe_status status = PQE_OK;

    for (size_t i = 0; list != NULL && i < list->count && status == PQE_OK; i++)
        status = seal_to(vault->store, keys, &list->keys[i], secret, err);
    return status;
}

/* The item of a key, by the id that stands before it. */
static pqe_status
find_item(pqe__store *store, const pqe_recovery_key *key, uint8_t item[ITEM_SIZE], pqe_error *err)
{
    for (size_t slot = 0; slot < PQE_RECOVERY_KEYS_MAX; slot++) {
        size_t len;
        bool missing;
        pqe_status status = pqe__store_find_item(store, item_of(slot), item, ITEM_SIZE, &len, &missing, err);
        if (status != PQE_OK)
            return status;
        if (!missing && len == ITEM_SIZE && memcmp(item, key->id, PQE__ID_SIZE) == 0)
            return PQE_OK;
    }
    return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_API, 0, "the recovery key is none of this vault's");
}

pqe_status
pqe__recovery_open(pqe_vault *vault, const pqe_recovery_key *key, const pqe__keys *keys,
                   uint8_t secret[PQE__DEVICE_SECRET_SIZE], pqe_error *err)
{
    uint8_t item[ITEM_SIZE], info[PQE__LABEL_MAX], *authority;
    size_t len = info_of(info, keys, keys->suite, key->id);
    pqe_status status = find_item(vault->store, key, item, err);

    if (status != PQE_OK)
        return status;
    if ((authority = pqe__secmem_alloc(32)) == NULL)
        return pqe__fail_nomem(err);
    status = pqe__recovery_authority(key, keys->vault_id, authority, err);
    if (status == PQE_OK) {
        const pqe__hpke_psk psk = {authority, 32, key->id, PQE__ID_SIZE};
        status = pqe__hpke_open_psk(&pqe__hpke_ml_kem_768, &psk, key->kem, info, len, NULL, 0, item + PQE__ID_SIZE,
                                    SEALED_SIZE, secret, err);
    }
    if (status == PQE_E_DECRYPTION)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0,
                           "what is sealed to the recovery key was altered, or does not come from this vault");
    pqe__secmem_free(authority);
    return status;
}

/* ---- identities ---- */

pqe_status
pqe__recovery_copies(const pqe__keys *keys, const pqe__recovery_list *list, const char *did, const uint8_t secret[32],
                     uint8_t *copies, size_t *len, pqe_error *err)
{
    pqe_status status = PQE_OK;

    *len = 0;
    for (size_t i = 0; list != NULL && i < list->count && status == PQE_OK; i++) {
        const pqe__recovery_entry *entry = &list->keys[i];
        uint8_t info[PQE__LABEL_MAX], *copy = copies + *len;
        size_t info_len = pqe__info_secret(info, keys->vault_id, entry->suite, PQE__SECRET_IDENTITY, entry->key_id);
        pqe__kem_key *key;
        if ((status = pqe__kem_from_public(entry->ek, sizeof entry->ek, &key, err)) != PQE_OK)
            return status;
        memcpy(copy, entry->key_id, PQE__ID_SIZE);
        status = pqe__hpke_seal(&pqe__hpke_ml_kem_768, key, NULL, info, info_len, (const uint8_t *)did, strlen(did),
                                secret, 32, copy + PQE__ID_SIZE, err);
        pqe__kem_free(&key);
        *len += PQE__IDENTITY_COPY_SIZE;
    }
    return status;
}

pqe_status
pqe__recovery_open_copy(const pqe_recovery_key *key, const pqe__keys *keys, const char *did,
                        const pqe__identity *identity, uint8_t secret[32], pqe_error *err)
{
    uint8_t info[PQE__LABEL_MAX];
    size_t len = pqe__info_secret(info, keys->vault_id, keys->suite, PQE__SECRET_IDENTITY, key->id);

    for (size_t at = 0; at < identity->copies_len; at += PQE__IDENTITY_COPY_SIZE)
        if (memcmp(identity->copies + at, key->id, PQE__ID_SIZE) == 0)
            return pqe__hpke_open(&pqe__hpke_ml_kem_768, key->kem, info, len, (const uint8_t *)did, strlen(did),
                                  identity->copies + at + PQE__ID_SIZE, PQE__IDENTITY_COPY_SIZE - PQE__ID_SIZE, secret,
                                  err);
    return pqe__fail(err, PQE_E_NOT_FOUND, PQE_ORIGIN_INDEX, 0, "an identity's key is not sealed to the recovery key");
}
