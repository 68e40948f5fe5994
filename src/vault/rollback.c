/* SPDX-License-Identifier: Apache-2.0 */
/* Accepting an older copy of the vault: what a legitimate restore from a backup needs. */
#include "vault/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <pqc_enclave/recovery.h>

static pqe_status
log_acceptance(pqe__txn *txn, pqe_error *err)
{
    const pqe__debt *d = &txn->debt;
    char details[160];
    pqe__event event = {.op = PQE_AUDIT_RECOVERY, .success = true};
    int n;

    if (d->expected != 0)
        n = snprintf(details, sizeof details,
                     "another copy of the vault was accepted: generation %" PRIu64 " in place of %" PRIu64, d->found,
                     d->expected);
    else
        n = snprintf(details, sizeof details,
                     "a copy of the vault was accepted: generation %" PRIu64
                     ", the counter could not tell which is the last",
                     d->found);
    event.details = (pqe__text){details, n > 0 ? (size_t)n : 0};
    return pqe__audit_append(txn, &event, err);
}

static pqe_status
accept(pqe_vault *vault, pqe_rollback *out, pqe_error *err)
{
    bool known;
    pqe__txn txn;
    pqe_status status = pqe__txn_begin_accepting(vault, &txn, err);

    if (status != PQE_OK)
        return status;
    /* The counter first: the entry says what it said. */
    status = pqe__txn_check_device(&txn, err);
    if (status == PQE_OK)
        status = pqe__counter_prepare(&txn, err);
    if (status == PQE_OK)
        status = log_acceptance(&txn, err);
    if (status == PQE_OK) {
        *out = (pqe_rollback){.found = txn.debt.found, .expected = txn.debt.expected};
        /* No generation stands for two states: that of the copy that was expected is not used again. */
        if (txn.debt.expected > txn.head.generation)
            txn.head.generation = txn.debt.expected;
        out->generation = txn.head.generation + 1;
        status = pqe__txn_write_head(&txn, vault->session->keys, err);
    }
    if (status != PQE_OK) {
        pqe__txn_abort(&txn);
        return status;
    }
    return pqe__txn_commit(&txn, &known, err);
}

pqe_status
pqe_recovery_accept_rollback(pqe_vault *vault, uint32_t ttl_seconds, pqe_rollback *out, pqe_error *err)
{
    pqe_rollback told = {0};
    pqe_status status = pqe__vault_usable(vault, err);

    if (out != NULL)
        memset(out, 0, sizeof *out);
    if (status == PQE_OK && pqe__store_read_only(vault->store))
        status = pqe__fail(err, PQE_E_READ_ONLY, PQE_ORIGIN_API, 0, "the vault is read-only here");
    if (status == PQE_OK)
        status = pqe__session_unlock(vault, ttl_seconds, true, err);
    if (status != PQE_OK)
        return status;
    status = accept(vault, &told, err);
    if (status != PQE_OK)
        pqe_vault_lock(vault);
    else if (out != NULL)
        *out = told;
    return status;
}
