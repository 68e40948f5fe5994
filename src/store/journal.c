/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the audit log and the few state items that lie beside it. What they mean is the vault's to say. */
#include "store/internal.h"

#include <stdlib.h>
#include <string.h>

pqe_status
pqe__state_get(pqe__store *store, pqe__state_item item, uint8_t **bytes, size_t *len, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_STATE_GET, &status, err);
    size_t size;
    int rc;

    *bytes = NULL;
    *len = 0;
    if (stmt == NULL)
        return status;
    sqlite3_bind_int(stmt, 1, (int)item);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        size = (size_t)sqlite3_column_bytes(stmt, 0);
        if (size <= PQE__STATE_MAX && (*bytes = malloc(size + 1)) == NULL)
            status = pqe__fail_nomem(err);
        else if (*bytes == NULL || !pqe__db_blob(stmt, 0, *bytes, size))
            status = pqe__db_damaged(err, "a state item is malformed");
        else
            *len = size;
    } else if (rc != SQLITE_DONE) {
        status = pqe__db_fail(store, rc, "cannot read the index", err);
    }
    sqlite3_reset(stmt);
    if (status != PQE_OK) {
        free(*bytes);
        *bytes = NULL;
    }
    return status;
}

pqe_status
pqe__state_put(pqe__store *store, pqe__state_item item, const uint8_t *bytes, size_t len, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_STATE_PUT, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_int(stmt, 1, (int)item);
    sqlite3_bind_blob(stmt, 2, len != 0 ? (const void *)bytes : "", (int)len, SQLITE_STATIC);
    return pqe__db_run(store, stmt, "cannot write to the index", err);
}

pqe_status
pqe__state_delete(pqe__store *store, pqe__state_item item, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_STATE_DELETE, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_int(stmt, 1, (int)item);
    return pqe__db_run(store, stmt, "cannot delete from the index", err);
}

/* ---- entries ---- */

pqe_status
pqe__audit_get(pqe__store *store, uint64_t seq, uint8_t *buf, size_t *len, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_AUDIT_GET, &status, err);
    int rc;

    *len = 0;
    if (stmt == NULL)
        return status;
    sqlite3_bind_int64(stmt, 1, (int64_t)seq);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        size_t size = (size_t)sqlite3_column_bytes(stmt, 0);
        if (size > PQE__AUDIT_ROW_MAX || !pqe__db_blob(stmt, 0, buf, size))
            status = pqe__db_damaged(err, "an entry of the audit log is malformed");
        else
            *len = size;
    } else if (rc == SQLITE_DONE) {
        status = pqe__db_damaged(err, "an entry of the audit log is missing");
    } else {
        status = pqe__db_fail(store, rc, "cannot read the audit log", err);
    }
    sqlite3_reset(stmt);
    return status;
}

static pqe_status
write_entry(pqe__store *store, pqe__stmt which, uint64_t seq, const uint8_t *bytes, size_t len, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, which, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_int64(stmt, 1, (int64_t)seq);
    sqlite3_bind_blob(stmt, 2, bytes, (int)len, SQLITE_STATIC);
    return pqe__db_run(store, stmt, "cannot write the audit log", err);
}

pqe_status
pqe__audit_put(pqe__store *store, uint64_t seq, const uint8_t *bytes, size_t len, pqe_error *err)
{
    return write_entry(store, STMT_AUDIT_PUT, seq, bytes, len, err);
}

pqe_status
pqe__audit_update(pqe__store *store, uint64_t seq, const uint8_t *bytes, size_t len, pqe_error *err)
{
    return write_entry(store, STMT_AUDIT_UPDATE, seq, bytes, len, err);
}

pqe_status
pqe__audit_drop(pqe__store *store, uint64_t seq, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_AUDIT_DROP, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_int64(stmt, 1, (int64_t)seq);
    return pqe__db_run(store, stmt, "cannot shorten the audit log", err);
}

pqe_status
pqe__audit_drop_all(pqe__store *store, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_AUDIT_CLEAR, &status, err);

    return stmt == NULL ? status : pqe__db_run(store, stmt, "cannot clear the audit log", err);
}

pqe_status
pqe__audit_count(pqe__store *store, uint64_t *count, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_AUDIT_COUNT, &status, err);
    int rc;

    *count = 0;
    if (stmt == NULL)
        return status;
    if ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        *count = (uint64_t)sqlite3_column_int64(stmt, 0);
    else
        status = pqe__db_fail(store, rc, "cannot read the audit log", err);
    sqlite3_reset(stmt);
    return status;
}
