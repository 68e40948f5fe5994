/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of identities. */
#include <stdlib.h>
#include <string.h>

#include "store/internal.h"

#include "crypto/crypto.h"

#define DIGEST_IDENTITY 0x12 /* first byte: keeps row digests apart from others */

pqe_status
pqe__identity_row_digest(pqe__identity_row *row, pqe_error *err)
{
    const uint8_t first = DIGEST_IDENTITY;

    return pqe__hash_two(PQE__SHA256, &first, sizeof first, row->bytes, row->len, row->digest, err);
}

pqe_status
pqe__identity_row_insert(pqe__store *store, pqe__identity_row *row, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_IDENTITY_INSERT, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_blob(stmt, 1, row->bytes, (int)row->len, SQLITE_STATIC);
    return pqe__db_insert(store, stmt, &row->rowid, err);
}

pqe_status
pqe__identity_row_update(pqe__store *store, const pqe__identity_row *row, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_IDENTITY_UPDATE, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_blob(stmt, 1, row->bytes, (int)row->len, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 2, row->rowid);
    return pqe__db_run(store, stmt, "cannot write to the index", err);
}

static pqe_status
copy_row(sqlite3_stmt *stmt, pqe__identity_row *out, pqe_error *err)
{
    size_t len = (size_t)sqlite3_column_bytes(stmt, 0);

    if (sqlite3_column_type(stmt, 0) != SQLITE_BLOB || len == 0 || len > PQE__IDENTITY_MAX)
        return pqe__db_damaged(err, "an identity is malformed");
    if ((out->bytes = malloc(len)) == NULL)
        return pqe__fail_nomem(err);
    memcpy(out->bytes, sqlite3_column_blob(stmt, 0), len);
    out->len = len;
    return pqe__identity_row_digest(out, err);
}

pqe_status
pqe__identity_row_fetch(pqe__store *store, int64_t rowid, pqe__identity_row *out, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_IDENTITY_FETCH, &status, err);
    int rc;

    memset(out, 0, sizeof *out);
    if (stmt == NULL)
        return status;
    sqlite3_bind_int64(stmt, 1, rowid);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        status = copy_row(stmt, out, err);
    else if (rc == SQLITE_DONE)
        status = pqe__db_damaged(err, "an identity is missing");
    else
        status = pqe__db_fail(store, rc, "cannot read the index", err);
    sqlite3_reset(stmt);
    out->rowid = rowid;
    if (status != PQE_OK)
        pqe__identity_row_free(out);
    return status;
}

pqe_status
pqe__identity_row_delete(pqe__store *store, int64_t rowid, pqe_error *err)
{
    return pqe__db_run_with_rowid(store, STMT_IDENTITY_DELETE, rowid, err);
}

void
pqe__identity_row_free(pqe__identity_row *row)
{
    free(row->bytes);
    memset(row, 0, sizeof *row);
}

pqe_status
pqe__identity_row_count(pqe__store *store, uint64_t *count, pqe_error *err)
{
    return pqe__db_count(store, STMT_IDENTITY_COUNT, count, err);
}
