/* SPDX-License-Identifier: Apache-2.0 */
/* All session secrets at once: sealed anew for other device keys or other recovery keys, or opened to see that they can be. */
#include "vault/recovery.h"

#include <stdlib.h>
#include <string.h>

/* The row of an entry that is proved. */
static pqe_status
fetch(pqe__txn *txn, const pqe__entry *entry, pqe__secret_row *row, pqe_error *err)
{
    pqe_status status = pqe__secret_fetch(txn->vault->store, entry->rowid, row, err);

    if (status == PQE_OK && memcmp(row->digest, entry->digest, sizeof row->digest) != 0)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "a session secret was altered");
    return status;
}

/* What a recipient leaves behind goes without a call to the device. */
static pqe_status
seal_anew(pqe__txn *txn, const pqe__keys *fresh, const pqe__kem_key *recipient, pqe__secret_row *row, pqe_error *err)
{
    const pqe__keys *keys = txn->vault->session->keys;
    uint8_t *secret;
    pqe_status status;

    if (fresh == keys && recipient == NULL) {
        row->sealed_len = PQE__SEALED_SECRET_SIZE;
        return pqe__secret_digest(row, err);
    }
    if ((secret = pqe__secmem_alloc(32)) == NULL)
        return pqe__fail_nomem(err);
    status = pqe__secret_open(txn, keys, row, secret, err);
    if (status == PQE_OK)
        status = pqe__secret_seal(fresh, recipient, secret, row, err);
    pqe__secmem_free(secret);
    return status;
}

static pqe_status
reseal(pqe__txn *txn, const pqe__keys *fresh, const pqe__kem_key *recipient, const pqe__entry *old, pqe_error *err)
{
    pqe__entry entry = *old;
    pqe__secret_row row;
    pqe_status status = fetch(txn, old, &row, err);

    if (status == PQE_OK)
        status = seal_anew(txn, fresh, recipient, &row, err);
    if (status == PQE_OK)
        status = pqe__secret_update(txn->vault->store, &row, err);
    if (status != PQE_OK)
        return status;
    memcpy(entry.digest, row.digest, sizeof entry.digest);
    return pqe__tree_set(txn->vault->store, txn->head.index_root, &entry, err);
}

pqe_status
pqe__secrets_reseal(pqe__txn *txn, const pqe__keys *fresh, const pqe__kem_key *recipient, pqe_error *err)
{
    pqe__entry_list list = {.kind = PQE__ENTRY_SECRET};
    pqe_status status = pqe__entries_collect(txn, &list, err);

    for (size_t i = 0; i < list.count && status == PQE_OK; i++)
        if ((status = pqe__txn_breathe(txn, i, err)) == PQE_OK)
            status = reseal(txn, fresh, recipient, &list.entries[i], err);
    free(list.entries);
    return status;
}

static pqe_status
try_to_open(pqe__txn *txn, const pqe__entry *entry, uint8_t secret[32], pqe_error *err)
{
    pqe__secret_row row;
    pqe_status status = fetch(txn, entry, &row, err);

    return status == PQE_OK ? pqe__secret_open(txn, txn->vault->session->keys, &row, secret, err) : status;
}

pqe_status
pqe__secrets_check(pqe__txn *txn, pqe_error *err)
{
    pqe__entry_list list = {.kind = PQE__ENTRY_SECRET};
    uint8_t *secret = pqe__secmem_alloc(32);
    pqe_status status = secret != NULL ? pqe__entries_collect(txn, &list, err) : pqe__fail_nomem(err);

    for (size_t i = 0; i < list.count && status == PQE_OK; i++)
        if ((status = pqe__txn_breathe(txn, i, err)) == PQE_OK)
            status = try_to_open(txn, &list.entries[i], secret, err);
    free(list.entries);
    pqe__secmem_free(secret);
    return status;
}
