/* SPDX-License-Identifier: Apache-2.0 */
/* Removing identities, and how changes to them are committed and logged. */
#include <stdlib.h>
#include <string.h>

#include "util/text.h"
#include "vault/internal.h"

/* ---- the log ---- */

/* An event about an identity of which no more is known than what was asked for. */
static pqe__event
event_of(pqe_audit_op op, const char *did_or_name)
{
    size_t len = did_or_name != NULL ? strnlen(did_or_name, PQE_NAME_MAX + 1) : 0;
    pqe__event event = {.op = op, .success = true};

    if (pqe__did_valid(did_or_name, len))
        event.artifact_id = (pqe__text){did_or_name, len};
    else if (pqe__utf8_valid(did_or_name, len)) /* the log holds nothing else */
        event.name = (pqe__text){did_or_name, len};
    return event;
}

pqe_status
pqe__identity_log(pqe__txn *txn, pqe_audit_op op, pqe__text name, const char *did, pqe_error *err)
{
    pqe__event event = {.op = op, .success = true, .name = name, .artifact_id = {did, strlen(did)}};

    return pqe__audit_append(txn, &event, err);
}

void
pqe__identity_note(pqe_vault *vault, pqe_audit_op op, const char *did_or_name, const pqe__identity_found *found,
                   pqe_status status, const pqe_error *error)
{
    pqe__event event = event_of(op, did_or_name);

    if (found != NULL && found->plain != NULL) {
        event.name = found->identity.name;
        event.artifact_id = (pqe__text){found->did, strlen(found->did)};
    }
    if (status != PQE_OK)
        pqe__audit_note_failure(vault, &event, status, error);
    else
        pqe__audit_note(vault, &event);
}

/* ---- committing ---- */

pqe_status
pqe__identity_conclude(pqe_vault *vault, pqe__txn *txn, pqe_status status, bool checkpoint, pqe_error *err)
{
    bool known;

    if (status == PQE_OK)
        status = pqe__txn_write_head(txn, vault->session->keys, err);
    if (status != PQE_OK) {
        pqe__txn_abort(txn);
        return status;
    }
    status = pqe__txn_commit(txn, &known, err);
    if (status == PQE_OK && checkpoint) {
        pthread_mutex_lock(&vault->db_lock);
        pqe__store_checkpoint(vault->store);
        pthread_mutex_unlock(&vault->db_lock);
    }
    return status;
}

/* ---- removing ---- */

static pqe_status
remove_entry(pqe__txn *txn, pqe__entry_kind kind, const char *text, size_t len, pqe_error *err)
{
    uint8_t tag[PQE__TAG_KEY_SIZE];
    pqe_status status = pqe__tag_of(txn->vault->session->keys, kind, text, len, tag, err);

    return status == PQE_OK ? pqe__tree_remove(txn->vault->store, txn->head.index_root, tag, err) : status;
}

/* The oldest identity that is left, if any, becomes the default one. */
static pqe_status
choose_default(pqe__txn *txn, pqe_error *err)
{
    pqe__entry_list list;
    pqe__entry entry;
    pqe_status status = pqe__identities_collect(txn, &list, err);

    if (status == PQE_OK && list.count == 0)
        status = remove_entry(txn, PQE__ENTRY_IDENTITY_NAME, "", 0, err);
    else if (status == PQE_OK) {
        entry = list.entries[0];
        entry.kind = PQE__ENTRY_IDENTITY_NAME;
        status = pqe__tag_of(txn->vault->session->keys, entry.kind, "", 0, entry.tag, err);
        if (status == PQE_OK)
            status = pqe__tree_set(txn->vault->store, txn->head.index_root, &entry, err);
    }
    free(list.entries);
    return status;
}

pqe_status
pqe__identity_remove(pqe__txn *txn, const pqe__identity_found *f, pqe_error *err)
{
    bool is_default = false;
    pqe_status status = pqe__identity_is_default(txn, f, &is_default, err);

    if (status == PQE_OK)
        status = remove_entry(txn, PQE__ENTRY_IDENTITY, f->did, strlen(f->did), err);
    if (status == PQE_OK && f->identity.name.len != 0)
        status = remove_entry(txn, PQE__ENTRY_IDENTITY_NAME, f->identity.name.data, f->identity.name.len, err);
    if (status == PQE_OK)
        status = pqe__identity_row_delete(txn->vault->store, f->row.rowid, err);
    if (status == PQE_OK && is_default)
        status = choose_default(txn, err);
    return status == PQE_OK ? pqe__identity_log(txn, PQE_AUDIT_IDENTITY_DELETE, f->identity.name, f->did, err) : status;
}

/* Removes the entries of one kind that have the digest of `old`, but for the default's: *is_default says whether that is
   among them. *anothers is set where another one leads to the same row. */
static pqe_status
remove_entries_of(pqe__txn *txn, pqe__entry_kind kind, const pqe__entry *old, bool *is_default, bool *anothers,
                  pqe_error *err)
{
    uint8_t tag[PQE__TAG_KEY_SIZE];
    pqe__entry_list list = {.kind = kind};
    pqe_status status = pqe__tag_of(txn->vault->session->keys, PQE__ENTRY_IDENTITY_NAME, "", 0, tag, err);

    if (status == PQE_OK)
        status = pqe__entries_collect(txn, &list, err);
    for (size_t i = 0; i < list.count && status == PQE_OK; i++) {
        const pqe__entry *e = &list.entries[i];
        if (memcmp(e->digest, old->digest, sizeof e->digest) != 0)
            *anothers = *anothers || e->rowid == old->rowid;
        else if (memcmp(e->tag, tag, sizeof tag) == 0)
            *is_default = true;
        else
            status = pqe__tree_remove(txn->vault->store, txn->head.index_root, e->tag, err);
    }
    free(list.entries);
    return status;
}

/* The row may be anything, and another identity's, since only its digest is proved; its entries are proved. What a
   backend made for it stays there: nobody knows its handle any more. */
pqe_status
pqe__identity_remove_damaged(pqe__txn *txn, const char *did_or_name, const pqe__entry *old, pqe_error *err)
{
    static const char details[] = "its record was damaged";
    bool is_default = false, anothers = false;
    pqe__event event = event_of(PQE_AUDIT_IDENTITY_DELETE, did_or_name);
    pqe_status status = remove_entries_of(txn, PQE__ENTRY_IDENTITY, old, &is_default, &anothers, err);

    if (status == PQE_OK)
        status = remove_entries_of(txn, PQE__ENTRY_IDENTITY_NAME, old, &is_default, &anothers, err);
    if (status == PQE_OK && !anothers)
        status = pqe__identity_row_delete(txn->vault->store, old->rowid, err);
    if (status == PQE_OK && is_default)
        status = choose_default(txn, err);
    event.details = (pqe__text){details, sizeof details - 1};
    return status == PQE_OK ? pqe__audit_append(txn, &event, err) : status;
}

/* As pqe__find_old() has it: a row that is what its entry says and makes no sense all the same is left alone. */
static pqe_status
find_and_remove(pqe__txn *txn, const char *did_or_name, pqe__identity_found *f, pqe_error *err)
{
    pqe__entry entry;
    pqe_status status = pqe__identity_prove(txn, did_or_name, &entry, err);

    if (status != PQE_OK)
        return status;
    status = pqe__identity_find_entry(txn, &entry, f, err);
    if (status == PQE_E_TAMPERED && !pqe__identity_as_stored(txn, &entry))
        return pqe__identity_remove_damaged(txn, did_or_name, &entry, err);
    return status == PQE_OK ? pqe__identity_remove(txn, f, err) : status;
}

pqe_status
pqe_identity_delete(pqe_vault *vault, const char *did_or_name, pqe_error *err)
{
    pqe__identity_found f = {0};
    pqe_error inner = {0};
    pqe__txn txn;
    pqe_status status;

    if (did_or_name == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "no identity is named");
    if ((status = pqe__txn_begin(vault, true, &txn, err)) != PQE_OK)
        return status;
    status = find_and_remove(&txn, did_or_name, &f, &inner);
    status = pqe__identity_conclude(vault, &txn, status, true, &inner);
    if (status == PQE_OK && f.identity.form == PQE__IDENTITY_NATIVE && pqe__session_enter(vault, NULL) == PQE_OK) {
        pqe__backend_identity_drop(vault->backend, vault->session->backend_key, f.identity.sealed,
                                   f.identity.sealed_len);
        pqe__session_leave(vault);
    }
    if (status != PQE_OK)
        pqe__identity_note(vault, PQE_AUDIT_IDENTITY_DELETE, did_or_name, &f, status, &inner);
    pqe__identity_found_free(&f);
    return status == PQE_OK ? PQE_OK : pqe__fail(err, status, inner.origin, inner.native, "%s", inner.message);
}
