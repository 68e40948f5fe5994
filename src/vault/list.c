/* SPDX-License-Identifier: Apache-2.0 */
/* Listing: every name entry of one state of the index, its completeness proved against the head. */
#include "vault/internal.h"

typedef struct listing {
    pqe__txn *txn;
    pqe_list_fn fn;
    void *user;
    uint64_t count;
    pqe_error damage; /* of the first artifact that cannot be shown; the rest are */
} listing;

static pqe_status
list_entry(void *user, const pqe__entry *entry, pqe_error *err)
{
    listing *l = user;
    pqe__found f;
    pqe_artifact *artifact = NULL;
    pqe_error error = {0};
    bool go_on;
    pqe_status status;

    if (entry->kind != PQE__ENTRY_NAME)
        return PQE_OK;
    l->count++;
    status = pqe__find_entry(l->txn, entry, false, &f, &error);
    if (status == PQE_OK)
        status = pqe__artifact_new(&f, &artifact, &error);
    pqe__found_free(&f);
    if (status == PQE_E_TAMPERED || status == PQE_E_DECRYPTION) {
        l->damage = l->damage.status != PQE_OK ? l->damage : error;
        return PQE_OK;
    }
    if (status != PQE_OK)
        return pqe__fail(err, status, error.origin, error.native, "%s", error.message);
    pqe__txn_pause(l->txn); /* the application may take its time; expiry does not wait for it */
    go_on = l->fn(l->user, artifact);
    pqe_artifact_free(&artifact);
    if ((status = pqe__txn_resume(l->txn, err)) != PQE_OK)
        return status;
    return go_on ? PQE_OK : pqe__fail(err, PQE_E_CANCELLED, PQE_ORIGIN_API, 0, "the listing was stopped");
}

pqe_status
pqe_list(pqe_vault *vault, pqe_list_fn fn, void *user, pqe_error *err)
{
    pqe__txn txn;
    listing l = {.txn = &txn, .fn = fn, .user = user};
    pqe_status status;

    if (fn == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no callback");
    if ((status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    /* Once without reporting, so that an entry that was put back is not shown before it is noticed. No key is needed. */
    pqe__txn_pause(&txn);
    status = pqe__tree_walk(vault->store, txn.head.index_root, NULL, NULL, err);
    if (status == PQE_OK)
        status = pqe__txn_resume(&txn, err);
    if (status == PQE_OK)
        status = pqe__tree_walk(vault->store, txn.head.index_root, list_entry, &l, err);
    if (status == PQE_OK && l.count != txn.head.artifact_count)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the head counts another number of artifacts");
    if (status == PQE_OK && l.damage.status != PQE_OK)
        status = pqe__fail(err, l.damage.status, l.damage.origin, l.damage.native, "%s", l.damage.message);
    pqe__txn_abort(&txn);
    return status;
}
