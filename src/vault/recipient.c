/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recovery recipient: the way into a vault whose backend keeps the vault key to itself, should the backend be lost.
 *
 * A key pair whose seed is sealed to the recovery keys and kept nowhere else. While a vault has one, root secret and session
 * secrets are sealed to it beside the vault key. Device item 7 is its encapsulation key with the root secret sealed to it;
 * the seed lies with each recovery key, where a vault of the other kind has the vault key's (docs/format.md, 3.12).
 *
 * Nobody has the seed once it is made, so that no further recovery key can be given it, and a key that was removed knows it:
 * each change of the list, and each rotation, makes another recipient.
 */
#include "vault/recovery.h"

#include <string.h>

#define ITEM_SIZE (PQE__KEM_PUBLIC_SIZE + PQE__SEALED_SECRET_SIZE)

static size_t
info_of_root(uint8_t info[PQE__LABEL_MAX], const pqe__keys *keys)
{
    return pqe__info_secret(info, keys->vault_id, keys->suite, PQE__SECRET_ROOT, keys->root_key_id);
}

/* ---- making ---- */

static pqe_status
public_of_seed(const uint8_t seed[PQE__KEM_SEED_SIZE], uint8_t ek[PQE__KEM_PUBLIC_SIZE], pqe_error *err)
{
    pqe__kem_key *pair;
    pqe_status status = pqe__kem_from_seed(seed, &pair, err);

    if (status == PQE_OK)
        status = pqe__kem_public(pair, ek, err);
    pqe__kem_free(&pair);
    return status;
}

/* FIPS 203, section 7.1: the seed (d, z) is random. It is wiped here, and its expanded form above. */
static pqe_status
make_pair(pqe_vault *vault, const pqe__keys *keys, const pqe__recovery_list *list, uint8_t ek[PQE__KEM_PUBLIC_SIZE],
          pqe_error *err)
{
    uint8_t *secret = pqe__secmem_alloc(PQE__DEVICE_SECRET_SIZE);
    pqe_status status;

    if (secret == NULL)
        return pqe__fail_nomem(err);
    status = pqe__random_secret(secret, PQE__KEM_SEED_SIZE, err);
    if (status == PQE_OK)
        status = public_of_seed(secret, ek, err);
    memcpy(secret + PQE__KEM_SEED_SIZE, keys->secret->origin, sizeof keys->secret->origin);
    if (status == PQE_OK)
        status = pqe__recovery_seal(vault, keys, list, secret, err);
    pqe__secmem_free(secret);
    return status;
}

pqe_status
pqe__recipient_make(pqe_vault *vault, const pqe__keys *keys, const pqe__recovery_list *list, pqe__kem_key **out,
                    pqe_error *err)
{
    uint8_t item[ITEM_SIZE], info[PQE__LABEL_MAX];
    size_t len = info_of_root(info, keys);
    pqe__kem_key *key = NULL;
    pqe_status status;

    *out = NULL;
    if (list == NULL || list->count == 0)
        return pqe__store_delete_item(vault->store, PQE__ITEM_RECIPIENT, err);
    status = make_pair(vault, keys, list, item, err);
    if (status == PQE_OK)
        status = pqe__kem_from_public(item, PQE__KEM_PUBLIC_SIZE, &key, err);
    if (status == PQE_OK)
        status = pqe__hpke_seal(&pqe__hpke_ml_kem_768, key, NULL, info, len, NULL, 0, keys->secret->root,
                                sizeof keys->secret->root, item + PQE__KEM_PUBLIC_SIZE, err);
    if (status == PQE_OK)
        status = pqe__store_put_item(vault->store, PQE__ITEM_RECIPIENT, item, sizeof item, err);
    if (status == PQE_OK)
        *out = key;
    else
        pqe__kem_free(&key);
    return status;
}

/* ---- loading ---- */

static pqe_status
altered(pqe_error *err)
{
    return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the recovery recipient was altered or exchanged");
}

static pqe_status
read_item(pqe_vault *vault, uint8_t item[ITEM_SIZE], bool *missing, pqe_error *err)
{
    size_t len;
    pqe_status status = pqe__store_find_item(vault->store, PQE__ITEM_RECIPIENT, item, ITEM_SIZE, &len, missing, err);

    return status == PQE_OK && !*missing && len != ITEM_SIZE ? altered(err) : status;
}

pqe_status
pqe__recipient_load(pqe_vault *vault, pqe__keys *keys, const uint8_t *seed, pqe_error *err)
{
    uint8_t item[ITEM_SIZE], ek[PQE__KEM_PUBLIC_SIZE];
    bool missing;
    pqe_status status = read_item(vault, item, &missing, err);

    if (status != PQE_OK || (missing && seed == NULL))
        return status;
    if (missing)
        return altered(err);
    if (seed == NULL)
        return pqe__kem_from_public(item, PQE__KEM_PUBLIC_SIZE, &keys->recipient, err);
    status = pqe__kem_from_seed(seed, &keys->recipient, err);
    if (status == PQE_OK)
        status = pqe__kem_public(keys->recipient, ek, err);
    if (status == PQE_OK && memcmp(ek, item, sizeof ek) != 0)
        status = altered(err);
    keys->by_recipient = status == PQE_OK;
    return status;
}

pqe_status
pqe__recipient_open_root(pqe_vault *vault, pqe__keys *keys, pqe_error *err)
{
    uint8_t item[ITEM_SIZE], info[PQE__LABEL_MAX];
    size_t len = info_of_root(info, keys);
    bool missing;
    pqe_status status = read_item(vault, item, &missing, err);

    if (status == PQE_OK && missing)
        status = altered(err);
    return status == PQE_OK
               ? pqe__hpke_open(&pqe__hpke_ml_kem_768, keys->recipient, info, len, NULL, 0, item + PQE__KEM_PUBLIC_SIZE,
                                PQE__SEALED_SECRET_SIZE, keys->secret->root, err)
               : status;
}
