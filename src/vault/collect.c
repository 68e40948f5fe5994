/* SPDX-License-Identifier: Apache-2.0 */
/* All entries of one kind, before any of them is changed. */
#include "util/grow.h"
#include "vault/internal.h"

static pqe_status
collect(void *user, const pqe__entry *entry, pqe_error *err)
{
    pqe__entry_list *l = user;
    void *room;

    if (entry->kind != l->kind)
        return PQE_OK;
    if ((room = pqe__grow(l->entries, l->count, &l->capacity, sizeof *l->entries)) == NULL)
        return pqe__fail_nomem(err);
    l->entries = room;
    l->entries[l->count++] = *entry;
    return PQE_OK;
}

pqe_status
pqe__entries_collect(pqe__txn *txn, pqe__entry_list *list, pqe_error *err)
{
    return pqe__tree_walk(txn->vault->store, txn->head.index_root, collect, list, err);
}
