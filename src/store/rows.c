/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of artifacts and of session secrets, and the digests by which the tree knows them. */
#include "store/internal.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"

enum { DIGEST_ARTIFACT = 0x10, DIGEST_SECRET = 0x11 }; /* first byte: keeps row digests apart from tree digests */

pqe_status
pqe__row_digest(pqe__row *row, pqe_error *err)
{
    uint8_t fixed[1 + PQE__ID_SIZE + PQE__WRAPPED_DEK_SIZE + 1 + PQE__ID_SIZE + 4];
    pqe__wcur c = pqe__wcur_init(fixed, sizeof fixed);

    pqe__put_u8(&c, DIGEST_ARTIFACT);
    pqe__put_bytes(&c, row->key_id, PQE__ID_SIZE);
    pqe__put_bytes(&c, row->dek, PQE__WRAPPED_DEK_SIZE);
    pqe__put_u8(&c, row->is_inline ? 0 : 1);
    pqe__put_bytes(&c, row->file, PQE__ID_SIZE);
    pqe__put_u32(&c, (uint32_t)row->record_len);
    return pqe__hash_two(PQE__SHA256, fixed, c.pos, row->record, row->record_len, row->digest, err);
}

pqe_status
pqe__row_insert(pqe__store *store, pqe__row *row, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_ROW_INSERT, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_blob(stmt, 1, row->key_id, PQE__ID_SIZE, SQLITE_STATIC);
    sqlite3_bind_blob(stmt, 2, row->dek, PQE__WRAPPED_DEK_SIZE, SQLITE_STATIC);
    if (!row->is_inline)
        sqlite3_bind_blob(stmt, 3, row->file, PQE__ID_SIZE, SQLITE_STATIC);
    sqlite3_bind_blob(stmt, 4, row->record, (int)row->record_len, SQLITE_STATIC);
    if (row->is_inline)
        sqlite3_bind_blob(stmt, 5, row->body, (int)row->body_len, SQLITE_STATIC);
    return pqe__db_insert(store, stmt, &row->rowid, err);
}

pqe_status
pqe__row_update(pqe__store *store, const pqe__row *row, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_ROW_UPDATE, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_blob(stmt, 1, row->key_id, PQE__ID_SIZE, SQLITE_STATIC);
    sqlite3_bind_blob(stmt, 2, row->dek, PQE__WRAPPED_DEK_SIZE, SQLITE_STATIC);
    sqlite3_bind_blob(stmt, 3, row->record, (int)row->record_len, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 4, row->rowid);
    return pqe__db_run(store, stmt, "cannot write to the index", err);
}

static pqe_status
copy_row(sqlite3_stmt *stmt, bool with_body, pqe__row *out, pqe_error *err)
{
    size_t body_len = (size_t)sqlite3_column_bytes(stmt, 4);
    bool shape;

    out->is_inline = sqlite3_column_type(stmt, 2) == SQLITE_NULL;
    out->record_len = (size_t)sqlite3_column_bytes(stmt, 3);
    shape = pqe__db_blob(stmt, 0, out->key_id, PQE__ID_SIZE) &&
            pqe__db_blob(stmt, 1, out->dek, PQE__WRAPPED_DEK_SIZE) &&
            (out->is_inline || pqe__db_blob(stmt, 2, out->file, PQE__ID_SIZE)) &&
            sqlite3_column_type(stmt, 3) == SQLITE_BLOB && out->record_len <= PQE__RECORD_MAX &&
            body_len <= PQE__INLINE_MAX;
    if (with_body)
        shape = shape && (sqlite3_column_type(stmt, 4) == SQLITE_BLOB) == out->is_inline;
    if (!shape)
        return pqe__db_damaged(err, "a row is malformed");
    out->body_len = with_body ? body_len : 0;
    out->allocation = malloc(out->record_len + out->body_len + 1);
    if (out->allocation == NULL)
        return pqe__fail_nomem(err);
    out->record = out->allocation;
    if (out->record_len != 0) /* SQLite gives NULL for an empty blob */
        memcpy(out->allocation, sqlite3_column_blob(stmt, 3), out->record_len);
    if (out->body_len != 0) {
        uint8_t *body = (uint8_t *)out->allocation + out->record_len;
        memcpy(body, sqlite3_column_blob(stmt, 4), out->body_len);
        out->body = body;
    }
    return pqe__row_digest(out, err);
}

pqe_status
pqe__row_fetch(pqe__store *store, int64_t rowid, bool with_body, pqe__row *out, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, with_body ? STMT_ROW_FETCH_BODY : STMT_ROW_FETCH, &status, err);
    int rc;

    memset(out, 0, sizeof *out);
    if (stmt == NULL)
        return status;
    sqlite3_bind_int64(stmt, 1, rowid);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        status = copy_row(stmt, with_body, out, err);
    else if (rc == SQLITE_DONE)
        status = pqe__db_damaged(err, "a row is missing");
    else
        status = pqe__db_fail(store, rc, "cannot read the index", err);
    sqlite3_reset(stmt);
    out->rowid = rowid;
    if (status != PQE_OK)
        pqe__row_free(out);
    return status;
}

void
pqe__row_free(pqe__row *row)
{
    free(row->allocation);
    memset(row, 0, sizeof *row);
}

pqe_status
pqe__row_delete(pqe__store *store, int64_t rowid, pqe_error *err)
{
    return pqe__db_run_with_rowid(store, STMT_ROW_DELETE, rowid, err);
}

/* SQLite's own index over key ids is vouched for by nothing: damaged, it must not have a secret dropped that rows still
   need. "No" is said where the count kept beside the secret says so too; where the two disagree, after a look at every
   row. */
pqe_status
pqe__row_key_in_use(pqe__store *store, const uint8_t key_id[PQE__ID_SIZE], int64_t secret, bool *in_use, pqe_error *err)
{
    pqe_status status = pqe__db_any(store, STMT_ROW_KEY_USED, key_id, in_use, err);

    if (status != PQE_OK || *in_use)
        return status;
    status = pqe__db_any_of_row(store, STMT_SECRET_USES, secret, in_use, err);
    return status == PQE_OK && *in_use ? pqe__db_any(store, STMT_ROW_KEY_SCAN, key_id, in_use, err) : status;
}

pqe_status
pqe__row_count(pqe__store *store, uint64_t *count, pqe_error *err)
{
    return pqe__db_count(store, STMT_ROW_COUNT, count, err);
}

/* ---- session secrets ---- */

pqe_status
pqe__secret_digest(pqe__secret_row *row, pqe_error *err)
{
    uint8_t bytes[1 + PQE__ID_SIZE + 2 * PQE__SEALED_SECRET_SIZE];
    pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes);

    pqe__put_u8(&c, DIGEST_SECRET);
    pqe__put_bytes(&c, row->key_id, PQE__ID_SIZE);
    pqe__put_bytes(&c, row->sealed, row->sealed_len);
    return pqe__hash_once(PQE__SHA256, bytes, c.pos, row->digest, err);
}

pqe_status
pqe__secret_insert(pqe__store *store, pqe__secret_row *row, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_SECRET_INSERT, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_blob(stmt, 1, row->key_id, PQE__ID_SIZE, SQLITE_STATIC);
    sqlite3_bind_blob(stmt, 2, row->sealed, (int)row->sealed_len, SQLITE_STATIC);
    return pqe__db_insert(store, stmt, &row->rowid, err);
}

pqe_status
pqe__secret_update(pqe__store *store, const pqe__secret_row *row, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_SECRET_UPDATE, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_blob(stmt, 1, row->sealed, (int)row->sealed_len, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 2, row->rowid);
    return pqe__db_run(store, stmt, "cannot write to the index", err);
}

static bool
copy_secret(sqlite3_stmt *stmt, pqe__secret_row *out)
{
    out->sealed_len = (size_t)sqlite3_column_bytes(stmt, 1);
    return (out->sealed_len == PQE__SEALED_SECRET_SIZE || out->sealed_len == sizeof out->sealed) &&
           pqe__db_blob(stmt, 0, out->key_id, PQE__ID_SIZE) && pqe__db_blob(stmt, 1, out->sealed, out->sealed_len);
}

pqe_status
pqe__secret_fetch(pqe__store *store, int64_t rowid, pqe__secret_row *out, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_SECRET_FETCH, &status, err);
    int rc;

    memset(out, 0, sizeof *out);
    if (stmt == NULL)
        return status;
    sqlite3_bind_int64(stmt, 1, rowid);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW && copy_secret(stmt, out))
        status = pqe__secret_digest(out, err);
    else if (rc == SQLITE_ROW || rc == SQLITE_DONE)
        status = pqe__db_damaged(err, "a session secret is missing or malformed");
    else
        status = pqe__db_fail(store, rc, "cannot read the index", err);
    sqlite3_reset(stmt);
    out->rowid = rowid;
    return status;
}

pqe_status
pqe__secret_count(pqe__store *store, int64_t rowid, int64_t change, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_SECRET_COUNT, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_int64(stmt, 1, change);
    sqlite3_bind_int64(stmt, 2, rowid);
    return pqe__db_run(store, stmt, "cannot write to the index", err);
}

pqe_status
pqe__secret_delete(pqe__store *store, int64_t rowid, pqe_error *err)
{
    return pqe__db_run_with_rowid(store, STMT_SECRET_DELETE, rowid, err);
}

pqe_status
pqe__secret_delete_all(pqe__store *store, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_SECRET_CLEAR, &status, err);

    return stmt == NULL ? status : pqe__db_run(store, stmt, "cannot delete from the index", err);
}
