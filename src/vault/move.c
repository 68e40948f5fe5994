/* SPDX-License-Identifier: Apache-2.0 */
/* From one backend to another: the new one makes its key first, and one transaction puts the vault there. */
#include "vault/recovery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pqe_status
refuse_native(pqe__txn *txn, const pqe__identity_found *found, void *user, pqe_error *err)
{
    (void)txn;
    (void)user;
    return pqe__fail(err, PQE_E_STATE, PQE_ORIGIN_BACKEND, 0,
                     "the key of identity %s is the backend's own and cannot move: remove the identity first",
                     found->did);
}

/* What would fail later is found out before the new backend makes a key, perhaps with a person's help. */
static pqe_status
check_movable(pqe_vault *vault, uint8_t vault_id[PQE__ID_SIZE], pqe__native **old, pqe_error *err)
{
    pqe__txn txn;
    pqe_status status = pqe__txn_begin(vault, false, &txn, err);

    if (status != PQE_OK)
        return status;
    memcpy(vault_id, txn.head.vault_id, PQE__ID_SIZE);
    if (pqe__store_read_only(vault->store))
        status = pqe__fail(err, PQE_E_READ_ONLY, PQE_ORIGIN_IO, 0, "the vault cannot be written");
    if (status == PQE_OK)
        status = pqe__identities_native(&txn, refuse_native, NULL, err);
    if (status == PQE_OK)
        status = pqe__recovery_check(&txn, err);
    if (status == PQE_OK)
        status = pqe__native_copy(vault->session->keys->native, old, err);
    pqe__txn_abort(&txn);
    return status;
}

/* The commit failed and may have happened all the same: with both keys kept, the vault opens with one of them. */
static pqe_status
not_known(pqe_status status, pqe_error *err)
{
    pqe_error copy;

    if (err == NULL)
        return status;
    copy = *err;
    return pqe__fail(err, status, copy.origin, copy.native,
                     "it is not known whether the vault has moved, keep the old and the new key: %.100s", copy.message);
}

static void
take_back(const pqe__home *home, const uint8_t vault_id[PQE__ID_SIZE])
{
    pqe__backend_discard(home->backend, vault_id, home->key);
    pqe__backend_detach(home->backend, home->key);
}

pqe_status
pqe__move_begin(pqe_vault *vault, const pqe__home *home, const uint8_t vault_id[PQE__ID_SIZE], pqe__txn *txn,
                pqe_error *err)
{
    pqe__head_private start = {0};
    pqe_status status = pqe__counter_start(home, &start, err); /* with nothing held: devices take their time */

    if (status == PQE_OK)
        status = pqe__txn_begin(vault, true, txn, err);
    if (status != PQE_OK) {
        take_back(home, vault_id);
        return status;
    }
    txn->home = home;
    pqe__counter_move(txn, &start);
    return PQE_OK;
}

pqe_status
pqe__move_commit(pqe_vault *vault, pqe__txn *txn, const pqe__native *made, pqe_status status, pqe_error *err)
{
    pqe__home home = *txn->home;
    uint8_t vault_id[PQE__ID_SIZE];
    bool known = true;

    memcpy(vault_id, txn->head.vault_id, sizeof vault_id);
    if (status == PQE_OK)
        status = pqe__txn_commit(txn, &known, err);
    else
        pqe__txn_abort(txn);
    if (status == PQE_OK) {
        pthread_mutex_lock(&vault->db_lock);
        pqe__store_checkpoint(vault->store); /* the old sealed keys leave the live files */
        pthread_mutex_unlock(&vault->db_lock);
        return PQE_OK;
    }
    if (known) {
        pqe__native_drop(&home, made);
        take_back(&home, vault_id);
        return status;
    }
    pqe__backend_detach(home.backend, home.key);
    return not_known(status, err);
}

/* In the log: what the vault left, and what it is on now. */
static pqe__event
event_of(const pqe_backend *from, const pqe_backend *to, bool new_root, char text[160])
{
    pqe__event event = {.op = PQE_AUDIT_ROTATE, .success = true};
    int n = snprintf(text, 160, "moved from the %.31s to the %.31s backend, new device keys%s", from->ops->info.name,
                     to->ops->info.name, new_root ? ", root and session secrets" : "");

    event.details = (pqe__text){text, n > 0 ? (size_t)n : 0};
    return event;
}

static pqe_status
move_to(pqe_vault *vault, const pqe__home *home, const uint8_t vault_id[PQE__ID_SIZE], const pqe_blob *state,
        bool new_root, pqe__home *left, pqe_error *err)
{
    pqe__rotation r = {.new_root = new_root, .home = *home, .state = state};
    pqe__keys *fresh = NULL;
    pqe__event event;
    char text[160];
    pqe__txn txn;
    pqe_status status = pqe__move_begin(vault, home, vault_id, &txn, err);

    if (status != PQE_OK)
        return status;
    *left = pqe__session_pin(vault);
    event = event_of(vault->backend, home->backend, new_root, text);
    r.event = &event;
    status = pqe__identities_native(&txn, refuse_native, NULL, err);
    if (status == PQE_OK)
        status = pqe__rotation_keys(vault->session->keys, new_root, &fresh, err);
    if (status == PQE_OK)
        status = pqe__rotation_write(&txn, fresh, &r, err);
    status = pqe__move_commit(vault, &txn, fresh != NULL ? fresh->native : NULL, status, err);
    pqe__keys_free(&fresh); /* the next transaction loads them */
    if (status != PQE_OK) {
        pqe__session_unpin(vault);
        *left = (pqe__home){0};
    }
    return status;
}

pqe_status
pqe__move(pqe_vault *vault, const pqe_rotate_opts *o, pqe_error *err)
{
    uint8_t bytes[PQE_BACKEND_STATE_MAX], vault_id[PQE__ID_SIZE];
    pqe_blob state = {.data = bytes, .capacity = sizeof bytes};
    pqe__home home = {.backend = o->backend}, left = {0};
    pqe__native *old = NULL;
    pqe_status status = pqe__session_room(vault, err);

    if (status == PQE_OK)
        status = check_movable(vault, vault_id, &old, err);
    if (status == PQE_OK)
        status = pqe__backend_enrol(home.backend, vault_id, &state, &home.key, err);
    if (status != PQE_OK) {
        free(old);
        return status;
    }
    status = move_to(vault, &home, vault_id, &state, o->rekey, &left, err);
    if (status == PQE_OK) {
        if (o->discard_old) {
            pqe__native_drop(&left, old);
            pqe__backend_discard(left.backend, vault_id, left.key);
        }
        pqe__session_unpin(vault);
        pqe__session_part(vault, left.backend);
    }
    free(old);
    return status;
}
