/* SPDX-License-Identifier: Apache-2.0 */
/* Identities in a rotation: their secrets are sealed for the new key epoch, their records under the new index key. */
#include <stdlib.h>
#include <string.h>

#include "vault/internal.h"

typedef struct renewed {
    pqe__identity_found old; /* name and DID */
    pqe__identity_row row;
    bool is_default;
} renewed;

struct pqe__renewed_identities {
    size_t count;
    renewed all[];
};

void
pqe__renewed_identities_free(pqe__renewed_identities **all)
{
    if (*all == NULL)
        return;
    for (size_t i = 0; i < (*all)->count; i++) {
        pqe__identity_found_free(&(*all)->all[i].old);
        pqe__identity_row_free(&(*all)->all[i].row);
    }
    free(*all);
    *all = NULL;
}

/* A native key stays where it is: its handle is the backend's, and the record alone is sealed anew. */
static pqe_status
renew_one(pqe__txn *txn, const pqe__home *home, const pqe__keys *fresh, const pqe__recovery_list *recovery, renewed *r,
          pqe_error *err)
{
    pqe__identity_room *room = malloc(sizeof *room);
    pqe__identity identity = r->old.identity;
    pqe_signing_key *key = NULL;
    pqe_status status = room != NULL ? PQE_OK : pqe__fail_nomem(err);

    if (status == PQE_OK)
        status = pqe__identity_is_default(txn, &r->old, &r->is_default, err);
    if (status == PQE_OK && identity.form != PQE__IDENTITY_NATIVE) {
        status = pqe__identity_open_key(txn, &r->old, &key, err);
        if (status == PQE_OK)
            status = pqe__identity_seal_key(home, fresh, recovery, key, &identity, room, err);
    }
    if (status == PQE_OK)
        status = pqe__identity_row_seal(fresh, &identity, &r->row, err);
    r->row.rowid = r->old.row.rowid;
    if (status == PQE_OK)
        status = pqe__identity_row_update(txn->vault->store, &r->row, err);
    pqe_signing_key_free(&key);
    free(room);
    return status;
}

pqe_status
pqe__identities_renew(pqe__txn *txn, const pqe__home *home, const pqe__keys *fresh, const pqe__recovery_list *recovery,
                      pqe__renewed_identities **out, pqe_error *err)
{
    pqe__entry_list list = {.kind = PQE__ENTRY_IDENTITY};
    pqe__renewed_identities *all = NULL;
    pqe_status status = pqe__entries_collect(txn, &list, err);

    *out = NULL;
    if (status == PQE_OK && (all = calloc(1, sizeof *all + list.count * sizeof all->all[0])) == NULL)
        status = pqe__fail_nomem(err);
    for (size_t i = 0; i < list.count && status == PQE_OK; i++) {
        if ((status = pqe__txn_breathe(txn, 0, err)) == PQE_OK) /* each time: a device may be slow */
            status = pqe__identity_find_entry(txn, &list.entries[i], &all->all[i].old, err);
        all->count = i + 1;
        if (status == PQE_OK)
            status = renew_one(txn, home, fresh, recovery, &all->all[i], err);
    }
    free(list.entries);
    if (status != PQE_OK && all != NULL)
        pqe__renewed_identities_free(&all);
    *out = all;
    return status;
}

pqe_status
pqe__identities_enter(pqe__txn *txn, const pqe__keys *fresh, const pqe__renewed_identities *all, pqe_error *err)
{
    pqe_status status = PQE_OK;

    for (size_t i = 0; i < all->count && status == PQE_OK; i++) {
        const renewed *r = &all->all[i];
        status = pqe__identity_enter(txn, fresh, &r->old.identity, r->old.did, &r->row, r->is_default, err);
    }
    return status;
}

pqe_status
pqe__identities_reseal(pqe__txn *txn, const pqe__home *home, const pqe__keys *fresh, const pqe__recovery_list *recovery,
                       pqe_error *err)
{
    pqe__renewed_identities *identities = NULL;
    pqe_status status = pqe__identities_renew(txn, home, fresh, recovery, &identities, err);

    if (status == PQE_OK)
        status = pqe__identities_enter(txn, fresh, identities, err);
    pqe__renewed_identities_free(&identities);
    return status;
}

pqe_status
pqe__identities_native(pqe__txn *txn, pqe__identity_fn fn, void *user, pqe_error *err)
{
    pqe__entry_list list = {.kind = PQE__ENTRY_IDENTITY};
    pqe_status status = pqe__entries_collect(txn, &list, err);

    for (size_t i = 0; i < list.count && status == PQE_OK; i++) {
        pqe__identity_found f;
        status = pqe__identity_find_entry(txn, &list.entries[i], &f, err);
        if (status == PQE_OK && f.identity.form == PQE__IDENTITY_NATIVE)
            status = fn(txn, &f, user, err);
        pqe__identity_found_free(&f);
    }
    free(list.entries);
    return status;
}
