/* SPDX-License-Identifier: Apache-2.0 */
/* All entries of one kind, before any of them is changed. */
#include <stdlib.h>

#include "vault/internal.h"

static pqe_status
collect(void *user, const pqe__entry *entry, pqe_error *err)
{
    pqe__entry_list *l = user;

    if (entry->kind != l->kind)
        return PQE_OK;
    if (l->count == l->capacity) {
        size_t capacity = l->capacity != 0 ? 2 * l->capacity : 64;
        void *grown = reallocarray(l->entries, capacity, sizeof *l->entries);
        if (grown == NULL)
            return pqe__fail_nomem(err);
        l->entries = grown;
        l->capacity = capacity;
    }
    l->entries[l->count++] = *entry;
    return PQE_OK;
}

pqe_status
pqe__entries_collect(pqe__txn *txn, pqe__entry_list *list, pqe_error *err)
{
    return pqe__tree_walk(txn->vault->store, txn->head.index_root, collect, list, err);
}
