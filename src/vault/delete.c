/* SPDX-License-Identifier: Apache-2.0 */
/* Removing artifacts: the wrapped DEK goes with the row in one transaction, the body file after it. */
#include "vault/internal.h"

pqe_status
pqe__artifact_retire(pqe__txn *txn, pqe__found *old, pqe_error *err)
{
    uint8_t tag[PQE__TAG_KEY_SIZE];
    pqe__store *store = txn->vault->store;
    pqe_status status =
        pqe__tag_of(txn->vault->session->keys, PQE__ENTRY_ID, old->record.artifact_id, PQE__ID_SIZE, tag, err);

    if (status == PQE_OK)
        status = pqe__tree_remove(store, txn->head.index_root, tag, err);
    if (status == PQE_OK)
        status = pqe__row_delete(store, old->row.rowid, err);
    if (status == PQE_OK && !old->row.is_inline)
        status = pqe__body_mark(store, old->row.file, old->mark, err);
    if (status == PQE_OK)
        status = pqe__secret_release(txn, old->row.key_id, 1, err);
    return status;
}

/* The row that the entry leads to may be another's, since only its digest is proved, not its place; a body that the row
   names may be another's too, so the next collection asks the index. A session secret stays until a rekey. */
static pqe_status
drop_damaged_row(pqe__txn *txn, int64_t rowid, pqe_error *err)
{
    pqe__store *store = txn->vault->store;
    uint8_t mark[PQE__MARK_SIZE];
    bool anothers;
    pqe__row row = {.is_inline = true};
    pqe_status status = pqe__tree_leads_to(store, rowid, &anothers, err);

    if (status != PQE_OK || anothers)
        return status;
    if (pqe__row_fetch(store, rowid, false, &row, NULL) == PQE_OK && !row.is_inline)
        status = pqe__body_mark(store, row.file, mark, err);
    pqe__row_free(&row);
    return status == PQE_OK ? pqe__row_delete(store, rowid, err) : status;
}

pqe_status
pqe__damaged_drop(pqe__txn *txn, const pqe__found *old, pqe_error *err)
{
    pqe__store *store = txn->vault->store;
    pqe__entry twin;
    pqe_status status = pqe__tree_twin(store, txn->head.index_root, &old->entry, &twin, err);

    if (status == PQE_OK)
        status = pqe__tree_remove(store, txn->head.index_root, twin.tag, err);
    return status == PQE_OK ? drop_damaged_row(txn, old->entry.rowid, err) : status;
}

pqe_status
pqe__damaged_retire(pqe__txn *txn, const pqe__found *old, pqe_error *err)
{
    pqe_status status = pqe__tree_remove(txn->vault->store, txn->head.index_root, old->entry.tag, err);

    return status == PQE_OK ? pqe__damaged_drop(txn, old, err) : status;
}

void
pqe__retired_settle(pqe_vault *vault, const pqe__found *old, pqe__body_file *fresh)
{
    pthread_mutex_lock(&vault->db_lock);
    if (fresh != NULL)
        pqe__body_settle(vault->store, fresh);
    if (old != NULL && !old->row.is_inline)
        pqe__body_unmark(vault->store, old->row.file, old->mark, false);
    pqe__reserve_make(vault->store);
    pthread_mutex_unlock(&vault->db_lock);
}

static pqe_status
remove_artifact(pqe__txn *txn, pqe__found *old, pqe_error *err)
{
    static const char damaged[] = "its record was damaged";
    const pqe__keys *keys = txn->vault->session->keys;
    uint8_t tag[PQE__TAG_KEY_SIZE];
    char id[PQE_ARTIFACT_ID_SIZE];
    pqe__event event = pqe__event_of(PQE_AUDIT_DELETE, old->damaged ? NULL : &old->record, id);
    pqe_status status;

    if (old->damaged) {
        event.details = (pqe__text){damaged, sizeof damaged - 1};
        status = pqe__damaged_retire(txn, old, err);
    } else {
        status = pqe__tag_of(keys, PQE__ENTRY_NAME, old->record.name.data, old->record.name.len, tag, err);
        if (status == PQE_OK)
            status = pqe__tree_remove(txn->vault->store, txn->head.index_root, tag, err);
        if (status == PQE_OK)
            status = pqe__artifact_retire(txn, old, err);
    }
    if (status == PQE_OK)
        status = pqe__audit_append(txn, &event, err);
    if (status != PQE_OK)
        return status;
    txn->head.artifact_count--;
    return pqe__txn_write_head(txn, keys, err);
}

static pqe_status
delete_once(pqe_vault *vault, const char *name_or_id, pqe_error *err)
{
    pqe__found old = {0};
    pqe_error inner = {0};
    bool known = true;
    pqe__txn txn;
    pqe_status status = pqe__txn_begin(vault, true, &txn, err);

    if (status != PQE_OK)
        return status;
    status = pqe__find_to_remove(&txn, name_or_id, &old, &inner);
    if (status == PQE_OK)
        status = remove_artifact(&txn, &old, &inner);
    if (status == PQE_OK)
        status = pqe__txn_commit(&txn, &known, &inner);
    else
        pqe__txn_abort(&txn);
    if (status != PQE_OK && known && old.row.allocation != NULL && !old.row.is_inline) {
        pthread_mutex_lock(&vault->db_lock);
        pqe__body_unmark(vault->store, old.row.file, old.mark, true);
        pthread_mutex_unlock(&vault->db_lock);
    }
    if (status == PQE_OK) {
        pqe__retired_settle(vault, &old, NULL);
        pthread_mutex_lock(&vault->db_lock);
        pqe__store_checkpoint(vault->store);
        pthread_mutex_unlock(&vault->db_lock);
    }
    if (status != PQE_OK) {
        pqe__audit_note_artifact(vault, PQE_AUDIT_DELETE, status, old.row.allocation != NULL ? &old.record : NULL,
                                 name_or_id, &inner);
        pqe__set_error(err, status, inner.origin, inner.native, "%s", inner.message);
    }
    pqe__found_free(&old);
    return status;
}

static bool
give_up_reserve(pqe_vault *vault)
{
    bool released;

    pthread_mutex_lock(&vault->db_lock);
    released = pqe__reserve_release(vault->store);
    pthread_mutex_unlock(&vault->db_lock);
    return released;
}

pqe_status
pqe_delete(pqe_vault *vault, const char *name_or_id, pqe_error *err)
{
    pqe_status status = pqe__vault_usable(vault, err);

    if (status == PQE_OK)
        status = pqe__check_name(name_or_id, err);
    if (status == PQE_OK)
        status = delete_once(vault, name_or_id, err);
    if (status == PQE_E_NO_SPACE && give_up_reserve(vault))
        status = delete_once(vault, name_or_id, err);
    return status;
}
