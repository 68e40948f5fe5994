/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions of an unlocked vault: the head is verified at their start and written anew at the end of a change. */
#include "vault/internal.h"

#include <string.h>

/* Another process rotated: take the new keys from the same backend. key_lock is held for reading on entry and exit. */
static pqe_status
reload_keys(pqe__txn *txn, pqe_error *err)
{
    pqe_vault *v = txn->vault;
    pqe_status status = PQE_OK;

    pqe__session_leave(v);
    pthread_rwlock_wrlock(&v->key_lock);
    if (v->session == NULL)
        status = pqe__locked(err);
    else
        status = pqe__session_load(v, v->session, NULL, err);
    pthread_rwlock_unlock(&v->key_lock);
    txn->keys_held = false;
    return status == PQE_OK ? pqe__txn_resume(txn, err) : status;
}

static pqe_status
start_once(pqe__txn *txn, pqe_error *err)
{
    pqe_vault *vault = txn->vault;
    bool reload = false;
    pqe_status status = pqe__store_begin(vault->store, txn->write, err);

    if (status == PQE_OK)
        status = pqe__txn_resume(txn, err);
    if (status == PQE_OK)
        status = pqe__session_read_head(vault, vault->session, &txn->head, &reload, err);
    if (status == PQE_OK && reload) {
        status = reload_keys(txn, err);
        if (status == PQE_OK)
            status = pqe__session_read_head(vault, vault->session, &txn->head, &reload, err);
        if (status == PQE_OK && reload)
            status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the vault's head is damaged");
    }
    return status;
}

static pqe_status
start(pqe__txn *txn, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_status status = start_once(txn, &inner);

    if (status == PQE_OK)
        return PQE_OK;
    pqe__txn_pause(txn);
    pqe__store_rollback(txn->vault->store);
    if (pqe__session_overtaken(txn->vault, status, txn->head.key_epoch))
        return start_once(txn, err);
    if (err != NULL)
        *err = inner;
    return status;
}

static pqe_status
begin(pqe_vault *vault, bool write, bool accepts, pqe__txn *txn, pqe_error *err)
{
    bool again = true;
    pqe_status status = pqe__vault_usable(vault, err);

    memset(txn, 0, sizeof *txn);
    if (status != PQE_OK)
        return status;
    txn->vault = vault;
    txn->write = write;
    txn->debt = (pqe__debt){.accepts = accepts, .gate.fd = -1};
    txn->spool.fd = -1;
    pthread_mutex_lock(&vault->db_lock);
    /* Locked is said before anything is waited for. */
    status = pqe__txn_resume(txn, err);
    while (status == PQE_OK && again) {
        pqe__txn_pause(txn);
        pqe__store_rollback(vault->store);
        status = start(txn, err);
        if (status == PQE_OK)
            status = pqe__counter_check(txn, &again, err);
    }
    if (status != PQE_OK)
        pqe__txn_abort(txn);
    else
        txn->priv = vault->session->priv;
    return status;
}

pqe_status
pqe__txn_begin(pqe_vault *vault, bool write, pqe__txn *txn, pqe_error *err)
{
    return begin(vault, write, false, txn, err);
}

pqe_status
pqe__txn_begin_accepting(pqe_vault *vault, pqe__txn *txn, pqe_error *err)
{
    return begin(vault, true, true, txn, err);
}

void
pqe__txn_pause(pqe__txn *txn)
{
    if (txn->keys_held)
        pqe__session_leave(txn->vault);
    txn->keys_held = false;
}

pqe_status
pqe__txn_resume(pqe__txn *txn, pqe_error *err)
{
    pqe_status status = pqe__session_enter(txn->vault, err);

    txn->keys_held = status == PQE_OK;
    return status;
}

#define ROUNDS_PER_BREATH 64u

pqe_status
pqe__txn_breathe(pqe__txn *txn, size_t round, pqe_error *err)
{
    if (round % ROUNDS_PER_BREATH != 0)
        return PQE_OK;
    pqe__txn_pause(txn);
    return pqe__txn_resume(txn, err);
}

void
pqe__txn_abort(pqe__txn *txn)
{
    if (txn->vault == NULL)
        return;
    pqe__txn_pause(txn);
    pqe__store_rollback(txn->vault->store);
    pqe__audit_done(txn, false);
    pqe__counter_release(txn);
    pthread_mutex_unlock(&txn->vault->db_lock);
    txn->vault = NULL;
}

pqe_status
pqe__txn_check_device(pqe__txn *txn, pqe_error *err)
{
    uint8_t digest[PQE__DIGEST_SIZE];
    pqe_status status = pqe__store_device_digest(txn->vault->store, digest, err);

    if (status == PQE_OK && memcmp(digest, txn->head.device_digest, sizeof digest) != 0)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the sealed device keys were altered");
    return status;
}

pqe_status
pqe__txn_write_head(pqe__txn *txn, const pqe__keys *keys, pqe_error *err)
{
    pqe_status status = pqe__audit_to_head(txn, err);

    if (status == PQE_OK)
        status = pqe__counter_prepare(txn, err);
    if (status != PQE_OK)
        return status;
    txn->head.generation++;
    return pqe__head_write(txn->vault->store, keys, &txn->head, &txn->priv, err);
}

/* The session learns its own commit at once, so that an index put back later is noticed. Best effort: what fails here
   is said by the next transaction. */
static void
note_commit(pqe__txn *txn)
{
    bool reload;

    if (pqe__store_begin(txn->vault->store, false, NULL) != PQE_OK)
        return;
    if (pqe__txn_resume(txn, NULL) == PQE_OK) {
        if (txn->tail_changed && txn->tail.seq > txn->vault->session->audit_seq)
            txn->vault->session->audit_seq = txn->tail.seq;
        if (pqe__session_read_head(txn->vault, txn->vault->session, &txn->head, &reload, NULL) == PQE_OK && reload)
            reload_keys(txn, NULL);
        if (txn->keys_held && txn->debt.accepts)
            txn->vault->session->accepting = false;
        if (txn->keys_held && txn->debt.due)
            txn->vault->session->checked = txn->vault->session->generation;
    }
    pqe__txn_pause(txn);
    pqe__store_rollback(txn->vault->store);
}

pqe_status
pqe__txn_commit(pqe__txn *txn, bool *outcome_known, pqe_error *err)
{
    pqe_status status = txn->keys_held ? PQE_OK : pqe__txn_resume(txn, err);

    *outcome_known = true;
    if (status == PQE_OK)
        status = pqe__audit_seal(txn, err);
    if (status == PQE_OK)
        status = pqe__counter_note_head(txn, err);
    pqe__txn_pause(txn);
    if (status != PQE_OK) {
        pqe__txn_abort(txn);
        return status;
    }
    status = pqe__store_commit(txn->vault->store, err);
    /* A full disk is found out before the commit frame is written; any other failure may be of its sync. */
    if (status != PQE_OK && status != PQE_E_NO_SPACE && txn->write)
        *outcome_known = false;
    if (status == PQE_OK && txn->home != NULL)
        pqe__session_adopt(txn->vault, txn->home);
    if (status == PQE_OK && txn->write)
        note_commit(txn);
    pqe__audit_done(txn, status == PQE_OK);
    if (status == PQE_OK && (status = pqe__counter_acknowledge(txn, err)) != PQE_OK)
        *outcome_known = false;
    pqe__counter_release(txn);
    pthread_mutex_unlock(&txn->vault->db_lock);
    txn->vault = NULL;
    return status;
}

pqe_status
pqe__head_write(pqe__store *store, const pqe__keys *keys, const pqe__head *head, const pqe__head_private *priv,
                pqe_error *err)
{
    uint8_t plain[PQE__HEAD_PRIVATE_MAX - PQE__BOX_OVERHEAD], bytes[PQE__HEAD_MAX], tag[PQE__HEAD_TAG_SIZE];
    uint8_t aad[PQE__LABEL_MAX];
    pqe__wcur p = pqe__wcur_init(plain, sizeof plain), c = pqe__wcur_init(bytes, sizeof bytes);
    size_t aad_len = pqe__labelled(aad, "pqc-enclave head v1", keys->vault_id, NULL), len;
    pqe_status status = pqe__head_encode_private(priv, &p, err);

    if (status != PQE_OK)
        return status;
    pqe__head_encode_public(head, bytes);
    c.pos = PQE__HEAD_PUBLIC_SIZE;
    pqe__put_u32(&c, (uint32_t)(p.pos + PQE__BOX_OVERHEAD));
    len = c.pos + p.pos + PQE__BOX_OVERHEAD;
    status = pqe__box_seal(keys->head_aead, aad, aad_len, plain, p.pos, bytes + c.pos, err);
    if (status == PQE_OK)
        status = pqe__hmac_sha256(keys->secret->origin, sizeof keys->secret->origin, bytes, len, tag, err);
    if (status == PQE_OK)
        status = pqe__store_put_head(store, bytes, len, tag, err);
    return status;
}
