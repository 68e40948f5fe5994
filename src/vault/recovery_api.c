/* SPDX-License-Identifier: Apache-2.0 */
/* The recovery keys of an unlocked vault: create, list, remove. */
#include "vault/recovery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pqe_status
check_name(const char *name, pqe_error *err)
{
    size_t len = strnlen(name, PQE_RECOVERY_NAME_MAX + 1);

    if (len > PQE_RECOVERY_NAME_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "a recovery key's name is longer than %u bytes",
                         PQE_RECOVERY_NAME_MAX);
    if (!pqe__utf8_valid(name, len))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "a recovery key's name is not valid UTF-8");
    return PQE_OK;
}

/* NULL if it is not in the list. */
static pqe__recovery_entry *
find(pqe__recovery_list *list, const uint8_t id[PQE__ID_SIZE])
{
    for (size_t i = 0; i < list->count; i++)
        if (memcmp(list->keys[i].key_id, id, PQE__ID_SIZE) == 0)
            return &list->keys[i];
    return NULL;
}

static void
remove_entry(pqe__recovery_list *list, pqe__recovery_entry *entry)
{
    size_t after = list->count - (size_t)(entry - list->keys) - 1;

    memmove(entry, entry + 1, after * sizeof *entry);
    list->count--;
    pqe__wipe(&list->keys[list->count], sizeof *entry);
}

/* Takes the lowest slot that is free. */
static pqe__recovery_entry *
insert_entry(pqe__recovery_list *list)
{
    size_t at = 0;

    while (at < list->count && list->keys[at].slot == at)
        at++;
    memmove(&list->keys[at + 1], &list->keys[at], (list->count - at) * sizeof list->keys[0]);
    memset(&list->keys[at], 0, sizeof list->keys[0]);
    list->keys[at].slot = (uint8_t)at;
    list->count++;
    return &list->keys[at];
}

static pqe_status
add_entry(pqe__recovery_list *list, const pqe__keys *keys, const pqe_recovery_key *key, const char *name,
          pqe_error *err)
{
    pqe__recovery_entry *entry;

    if (find(list, key->id) != NULL)
        return pqe__fail(err, PQE_E_EXISTS, PQE_ORIGIN_API, 0, "the vault has this recovery key already");
    if (list->count == PQE_RECOVERY_KEYS_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "a vault has at most %u recovery keys: remove one first",
                         PQE_RECOVERY_KEYS_MAX);
    entry = insert_entry(list);
    memcpy(entry->key_id, key->id, sizeof entry->key_id);
    entry->suite = keys->suite;
    entry->created_at = (uint64_t)pqe__walltime();
    memcpy(entry->name, name, strlen(name) + 1);
    memcpy(entry->ek, key->ek, sizeof entry->ek);
    return pqe__recovery_authority(key, keys->vault_id, entry->authority, err);
}

/* The list in locked memory, empty if there is none yet. */
static pqe_status
load_or_new(pqe__txn *txn, pqe__recovery_list **list, pqe_error *err)
{
    pqe_status status = pqe__txn_check_device(txn, err);

    *list = NULL;
    if (status == PQE_OK)
        status = pqe__recovery_load(txn, list, err);
    if (status == PQE_OK && *list == NULL && (*list = pqe__secmem_alloc(sizeof **list)) == NULL)
        status = pqe__fail_nomem(err);
    return status;
}

/* The new list, the identities' copies for its keys, and the head. */
static pqe_status
write_list(pqe__txn *txn, const pqe__recovery_list *list, const char *what, const uint8_t *id, pqe_error *err)
{
    pqe_vault *vault = txn->vault;
    const pqe__keys *keys = vault->session->keys;
    const pqe__home home = pqe__session_home(vault);
    char text[96], hex[PQE_RECOVERY_ID_SIZE];
    pqe__event event = {.op = PQE_AUDIT_ROTATE, .success = true};
    pqe_status status = pqe__recovery_store(txn, keys, list, err);

    pqe__hex_encode(id, PQE__ID_SIZE, hex);
    snprintf(text, sizeof text, "%s recovery key %s", what, hex);
    event.details = (pqe__text){text, strlen(text)};
    if (status == PQE_OK)
        status = pqe__identities_reseal(txn, &home, keys, list, err);
    if (status == PQE_OK)
        status = pqe__store_device_digest(vault->store, txn->head.device_digest, err);
    if (status == PQE_OK)
        status = pqe__audit_append(txn, &event, err);
    return status == PQE_OK ? pqe__txn_write_head(txn, keys, err) : status;
}

/* Ends the transaction. Where `status` is a failure the session may have ended. */
static pqe_status
conclude(pqe__txn *txn, pqe_status status, const pqe__recovery_list *list, const char *what, const uint8_t *id,
         pqe_error *err)
{
    pqe_vault *vault = txn->vault;
    bool known;

    if (status == PQE_OK)
        status = write_list(txn, list, what, id, err);
    if (status != PQE_OK) {
        pqe__txn_abort(txn);
        return status;
    }
    if ((status = pqe__txn_commit(txn, &known, err)) == PQE_OK) {
        pthread_mutex_lock(&vault->db_lock);
        pqe__store_checkpoint(vault->store); /* what a removed key opened leaves the live files */
        pthread_mutex_unlock(&vault->db_lock);
    }
    return status;
}

/* What the backend seals for the vault is sealed to the recovery keys too. */
static pqe_status
seal_vault_key(pqe__txn *txn, const pqe__recovery_list *list, pqe_error *err)
{
    uint8_t *secret = pqe__secmem_alloc(PQE__DEVICE_SECRET_SIZE);
    pqe_status status;

    if (secret == NULL)
        return pqe__fail_nomem(err);
    status = pqe__device_secret(txn->vault, secret, err);
    if (status == PQE_OK)
        status = pqe__recovery_seal(txn->vault, txn->vault->session->keys, list, secret, err);
    pqe__secmem_free(secret);
    return status;
}

static bool
is_native(const pqe__txn *txn)
{
    return txn->vault->session->keys->native != NULL;
}

/* Where the backend keeps the vault key to itself: another recipient for other recovery keys. */
static pqe_status
renew_recipient(pqe__txn *txn, const pqe__recovery_list *list, pqe_error *err)
{
    const pqe__keys *keys = txn->vault->session->keys;
    pqe__kem_key *recipient = NULL;
    pqe_status status = pqe__recipient_make(txn->vault, keys, list, &recipient, err);

    if (status == PQE_OK)
        status = pqe__secrets_reseal(txn, keys, recipient, err);
    pqe__kem_free(&recipient);
    return status;
}

pqe_status
pqe_recovery_create(pqe_vault *vault, const pqe_recovery_key *key, const char *name, pqe_error *err)
{
    pqe__recovery_list *list = NULL;
    pqe__txn txn;
    pqe_status status = pqe__recovery_key_usable(key, err);

    if (name == NULL)
        name = "";
    if (status == PQE_OK)
        status = check_name(name, err);
    if (status != PQE_OK || (status = pqe__txn_begin(vault, true, &txn, err)) != PQE_OK)
        return status;
    status = load_or_new(&txn, &list, err);
    if (status == PQE_OK)
        status = add_entry(list, vault->session->keys, key, name, err);
    if (status == PQE_OK)
        status = is_native(&txn) ? renew_recipient(&txn, list, err) : seal_vault_key(&txn, list, err);
    status = conclude(&txn, status, list, "added", key->id, err);
    pqe__secmem_free(list);
    return status;
}

pqe_status
pqe_recovery_remove(pqe_vault *vault, const char *id, pqe_error *err)
{
    uint8_t key_id[PQE__ID_SIZE];
    pqe__recovery_list *list = NULL;
    pqe__recovery_entry *entry = NULL;
    pqe__txn txn;
    pqe_status status;

    if (id == NULL || strnlen(id, PQE_RECOVERY_ID_SIZE) != PQE_RECOVERY_ID_SIZE - 1 ||
        !pqe__hex_decode(id, PQE__ID_SIZE, key_id))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "a recovery key's id is 32 hexadecimal digits");
    if ((status = pqe__txn_begin(vault, true, &txn, err)) != PQE_OK)
        return status;
    status = load_or_new(&txn, &list, err);
    if (status == PQE_OK && (entry = find(list, key_id)) == NULL)
        status = pqe__fail(err, PQE_E_NOT_FOUND, PQE_ORIGIN_API, 0, "the vault has no recovery key of that id");
    if (status == PQE_OK) {
        status = pqe__store_delete_item(vault->store, (pqe__device_item)(PQE__ITEM_RECOVERY + entry->slot), err);
        remove_entry(list, entry);
    }
    if (status == PQE_OK && is_native(&txn))
        status = renew_recipient(&txn, list, err);
    status = conclude(&txn, status, list, "removed", key_id, err);
    pqe__secmem_free(list);
    return status;
}

/* ---- list ---- */

static void
describe(const pqe__recovery_entry *entry, pqe_recovery_info *out)
{
    const char *suite = pqe__suite_name(entry->suite);

    memset(out, 0, sizeof *out);
    pqe__hex_encode(entry->key_id, PQE__ID_SIZE, out->id);
    memcpy(out->name, entry->name, sizeof out->name);
    memcpy(out->suite, suite, strlen(suite) + 1);
    pqe__time_format((int64_t)entry->created_at, out->created_at);
}

pqe_status
pqe_recovery_list(pqe_vault *vault, pqe_recovery_fn fn, void *user, pqe_error *err)
{
    pqe_recovery_info all[PQE_RECOVERY_KEYS_MAX];
    pqe__recovery_list *list = NULL;
    size_t count = 0;
    pqe__txn txn;
    pqe_status status;

    if (fn == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no callback");
    if ((status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    if ((status = pqe__recovery_load(&txn, &list, err)) == PQE_OK && list != NULL)
        for (; count < list->count; count++)
            describe(&list->keys[count], &all[count]);
    pqe__secmem_free(list);
    pqe__txn_abort(&txn);
    for (size_t i = 0; i < count && status == PQE_OK; i++)
        if (!fn(user, &all[i]))
            status = pqe__fail(err, PQE_E_CANCELLED, PQE_ORIGIN_API, 0, "the listing was stopped");
    return status;
}
