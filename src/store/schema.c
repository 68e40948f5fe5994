/* SPDX-License-Identifier: Apache-2.0 */
/* The database behind the index: connection settings, schema, prepared statements, error mapping. */
#include "store/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define APPLICATION_ID 0x50514556 /* "PQEV" */

static const struct {
    const char *type, *name, *table, *sql;
} schema[] = {
    {"table", "head", "head", "CREATE TABLE head(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL, tag BLOB NOT NULL)"},
    {"table", "device", "device", "CREATE TABLE device(item INTEGER PRIMARY KEY, bytes BLOB NOT NULL)"},
    {"table", "artifact", "artifact",
     "CREATE TABLE artifact(id INTEGER PRIMARY KEY, key_id BLOB NOT NULL, dek BLOB NOT NULL, file BLOB, "
     "record BLOB NOT NULL, body BLOB)"},
    {"index", "artifact_key", "artifact", "CREATE INDEX artifact_key ON artifact(key_id)"},
    {"index", "artifact_file", "artifact", "CREATE INDEX artifact_file ON artifact(file) WHERE file IS NOT NULL"},
    {"table", "secret", "secret",
     "CREATE TABLE secret(id INTEGER PRIMARY KEY, key_id BLOB NOT NULL, sealed BLOB NOT NULL, uses INTEGER NOT NULL)"},
    {"table", "identity", "identity", "CREATE TABLE identity(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)"},
    {"table", "entry", "entry",
     "CREATE TABLE entry(tag BLOB PRIMARY KEY, kind INTEGER NOT NULL, digest BLOB NOT NULL, target INTEGER NOT NULL) "
     "WITHOUT ROWID"},
    {"table", "node", "node", "CREATE TABLE node(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)"},
    {"table", "state", "state", "CREATE TABLE state(item INTEGER PRIMARY KEY, bytes BLOB NOT NULL)"},
    {"table", "audit", "audit", "CREATE TABLE audit(seq INTEGER PRIMARY KEY, bytes BLOB NOT NULL)"},
};
#define SCHEMA_OBJECTS (sizeof schema / sizeof schema[0])

static const char *const queries[STMT_COUNT] = {
    [STMT_BEGIN_READ] = "BEGIN",
    [STMT_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [STMT_COMMIT] = "COMMIT",
    [STMT_ROLLBACK] = "ROLLBACK",
    [STMT_HEAD_GET] = "SELECT bytes, tag FROM head WHERE id = 1",
    [STMT_HEAD_PUT] = "INSERT OR REPLACE INTO head(id, bytes, tag) VALUES(1, ?1, ?2)",
    [STMT_ITEM_GET] = "SELECT bytes FROM device WHERE item = ?1",
    [STMT_ITEM_PUT] = "INSERT OR REPLACE INTO device(item, bytes) VALUES(?1, ?2)",
    [STMT_ITEM_DELETE] = "DELETE FROM device WHERE item = ?1",
    [STMT_ITEM_ALL] = "SELECT item, bytes FROM device ORDER BY item",
    [STMT_ROW_INSERT] = "INSERT INTO artifact(key_id, dek, file, record, body) VALUES(?1, ?2, ?3, ?4, ?5)",
    [STMT_ROW_UPDATE] = "UPDATE artifact SET key_id = ?1, dek = ?2, record = ?3 WHERE id = ?4",
    [STMT_ROW_FETCH] = "SELECT key_id, dek, file, record, NULL FROM artifact WHERE id = ?1",
    [STMT_ROW_FETCH_BODY] = "SELECT key_id, dek, file, record, body FROM artifact WHERE id = ?1",
    [STMT_ROW_DELETE] = "DELETE FROM artifact WHERE id = ?1",
    [STMT_ROW_COUNT] = "SELECT count(*) FROM artifact",
    [STMT_ROW_KEY_USED] = "SELECT 1 FROM artifact WHERE key_id = ?1 LIMIT 1",
    [STMT_ROW_KEY_SCAN] = "SELECT 1 FROM artifact NOT INDEXED WHERE key_id = ?1 LIMIT 1",
    [STMT_ROW_FILE_USED] = "SELECT 1 FROM artifact WHERE file = ?1 LIMIT 1",
    [STMT_ROW_FILE_SCAN] = "SELECT 1 FROM artifact NOT INDEXED WHERE file = ?1 LIMIT 1",
    [STMT_SECRET_INSERT] = "INSERT INTO secret(key_id, sealed, uses) VALUES(?1, ?2, 0)",
    [STMT_SECRET_UPDATE] = "UPDATE secret SET sealed = ?1 WHERE id = ?2",
    [STMT_SECRET_FETCH] = "SELECT key_id, sealed FROM secret WHERE id = ?1",
    [STMT_SECRET_COUNT] = "UPDATE secret SET uses = max(uses + ?1, 0) WHERE id = ?2",
    [STMT_SECRET_USES] = "SELECT 1 FROM secret WHERE id = ?1 AND uses <> 0",
    [STMT_SECRET_DELETE] = "DELETE FROM secret WHERE id = ?1",
    [STMT_SECRET_CLEAR] = "DELETE FROM secret",
    [STMT_IDENTITY_INSERT] = "INSERT INTO identity(bytes) VALUES(?1)",
    [STMT_IDENTITY_UPDATE] = "UPDATE identity SET bytes = ?1 WHERE id = ?2",
    [STMT_IDENTITY_FETCH] = "SELECT bytes FROM identity WHERE id = ?1",
    [STMT_IDENTITY_DELETE] = "DELETE FROM identity WHERE id = ?1",
    [STMT_IDENTITY_COUNT] = "SELECT count(*) FROM identity",
    [STMT_NODE_GET] = "SELECT bytes FROM node WHERE id = ?1",
    [STMT_NODE_PUT] = "INSERT OR REPLACE INTO node(id, bytes) VALUES(?1, ?2)",
    [STMT_NODE_DELETE] = "DELETE FROM node WHERE id = ?1",
    [STMT_NODE_CLEAR] = "DELETE FROM node",
    [STMT_NODE_COUNT] = "SELECT count(*) FROM node",
    [STMT_ENTRY_BUCKET] = "SELECT tag, kind, digest, target FROM entry WHERE tag >= ?1 AND tag < ?2 ORDER BY tag",
    [STMT_ENTRY_PUT] = "INSERT OR REPLACE INTO entry(tag, kind, digest, target) VALUES(?1, ?2, ?3, ?4)",
    [STMT_ENTRY_DELETE] = "DELETE FROM entry WHERE tag = ?1",
    [STMT_ENTRY_CLEAR] = "DELETE FROM entry",
    [STMT_ENTRY_ALL] = "SELECT tag, kind, digest, target FROM entry ORDER BY tag",
    [STMT_ENTRY_TWIN] = "SELECT tag FROM entry WHERE kind = ?1 AND digest = ?2 LIMIT 1",
    [STMT_ENTRY_TARGETS] = "SELECT 1 FROM entry WHERE target = ?1 AND kind IN (1, 2) LIMIT 1",
    [STMT_STATE_GET] = "SELECT bytes FROM state WHERE item = ?1",
    [STMT_STATE_PUT] = "INSERT OR REPLACE INTO state(item, bytes) VALUES(?1, ?2)",
    [STMT_STATE_DELETE] = "DELETE FROM state WHERE item = ?1",
    [STMT_AUDIT_GET] = "SELECT bytes FROM audit WHERE seq = ?1",
    [STMT_AUDIT_PUT] = "INSERT INTO audit(seq, bytes) VALUES(?1, ?2)",
    [STMT_AUDIT_UPDATE] = "UPDATE audit SET bytes = ?2 WHERE seq = ?1",
    [STMT_AUDIT_DROP] = "DELETE FROM audit WHERE seq <= ?1",
    [STMT_AUDIT_CLEAR] = "DELETE FROM audit",
    [STMT_AUDIT_COUNT] = "SELECT count(*) FROM audit",
};

pqe_status
pqe__db_damaged(pqe_error *err, const char *what)
{
    return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the index is damaged: %s", what);
}

pqe_status
pqe__db_fail(pqe__store *store, int rc, const char *what, pqe_error *err)
{
    int os = errno; /* SQLite's own account of it is not filled on every path */
    int native = store->db != NULL ? sqlite3_extended_errcode(store->db) : rc;

    if (native == SQLITE_IOERR_NOMEM)
        return pqe__fail_nomem(err);
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL: /* many processes racing for the log's locks */
        return pqe__fail(err, PQE_E_BUSY, PQE_ORIGIN_INDEX, native, "%s: another process holds the vault", what);
    case SQLITE_NOMEM:
        return pqe__fail_nomem(err);
    case SQLITE_FULL:
        return pqe__fail(err, PQE_E_NO_SPACE, PQE_ORIGIN_INDEX, native, "%s: no space left on the device", what);
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return pqe__fail(err, PQE_E_READ_ONLY, PQE_ORIGIN_INDEX, native, "%s: the vault cannot be written", what);
    case SQLITE_INTERNAL:
    case SQLITE_INTERRUPT:
    case SQLITE_MISUSE:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        if (store->db != NULL && sqlite3_system_errno(store->db) != 0)
            os = sqlite3_system_errno(store->db);
        /* A failed sync says nothing of what is on the disk: not even "no space" may promise that nothing changed. */
        if (os != 0 && native != SQLITE_IOERR_FSYNC && native != SQLITE_IOERR_DIR_FSYNC)
            return pqe__fail_errno(err, os, what);
        return pqe__fail(err, PQE_E_IO, PQE_ORIGIN_INDEX, native, "%s: %s (code %d)", what, sqlite3_errstr(native),
                         native);
    default:
        /* SQLITE_CORRUPT, NOTADB, SCHEMA, ERROR, CONSTRAINT, MISMATCH, FORMAT, TOOBIG: queries are fixed, so only a file that is
           not what we wrote gives these. A disk that fails to read is among them: SQLite calls that corrupt. */
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, native, "%s: the index is damaged (%s)", what,
                         sqlite3_errstr(rc));
    }
}

sqlite3_stmt *
pqe__db_stmt(pqe__store *store, pqe__stmt which, pqe_status *status, pqe_error *err)
{
    *status = PQE_OK;
    if (store->stmts[which] == NULL) {
        int rc =
            sqlite3_prepare_v3(store->db, queries[which], -1, SQLITE_PREPARE_PERSISTENT, &store->stmts[which], NULL);
        if (rc != SQLITE_OK) {
            *status = pqe__db_fail(store, rc, "cannot query the index", err);
            return NULL;
        }
    }
    sqlite3_reset(store->stmts[which]);
    sqlite3_clear_bindings(store->stmts[which]);
    return store->stmts[which];
}

pqe_status
pqe__db_run(pqe__store *store, sqlite3_stmt *stmt, const char *what, pqe_error *err)
{
    pqe_status status = PQE_OK;
    int rc;

    errno = 0;
    rc = sqlite3_step(stmt);

    if (rc != SQLITE_DONE)
        status = pqe__db_fail(store, rc == SQLITE_ROW ? SQLITE_CORRUPT : rc, what, err);
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return status;
}

pqe_status
pqe__db_insert(pqe__store *store, sqlite3_stmt *stmt, int64_t *rowid, pqe_error *err)
{
    pqe_status status = pqe__db_run(store, stmt, "cannot write to the index", err);

    if (status == PQE_OK)
        *rowid = sqlite3_last_insert_rowid(store->db);
    return status;
}

/* Of a bound statement, which is reset. */
static pqe_status
finds_any(pqe__store *store, sqlite3_stmt *stmt, bool *any, pqe_error *err)
{
    pqe_status status = PQE_OK;
    int rc = sqlite3_step(stmt);

    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = pqe__db_fail(store, rc, "cannot read the index", err);
    else
        *any = rc == SQLITE_ROW;
    sqlite3_reset(stmt);
    return status;
}

pqe_status
pqe__db_any(pqe__store *store, pqe__stmt which, const uint8_t id[PQE__ID_SIZE], bool *any, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, which, &status, err);

    *any = true;
    if (stmt == NULL)
        return status;
    sqlite3_bind_blob(stmt, 1, id, PQE__ID_SIZE, SQLITE_STATIC);
    return finds_any(store, stmt, any, err);
}

pqe_status
pqe__db_any_of_row(pqe__store *store, pqe__stmt which, int64_t rowid, bool *any, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, which, &status, err);

    *any = true;
    if (stmt == NULL)
        return status;
    sqlite3_bind_int64(stmt, 1, rowid);
    return finds_any(store, stmt, any, err);
}

pqe_status
pqe__db_run_with_rowid(pqe__store *store, pqe__stmt which, int64_t rowid, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, which, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_int64(stmt, 1, rowid);
    return pqe__db_run(store, stmt, "cannot delete from the index", err);
}

pqe_status
pqe__db_count(pqe__store *store, pqe__stmt which, uint64_t *count, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, which, &status, err);
    int rc;

    *count = 0;
    if (stmt == NULL)
        return status;
    if ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        *count = (uint64_t)sqlite3_column_int64(stmt, 0);
    else
        status = pqe__db_fail(store, rc, "cannot read the index", err);
    sqlite3_reset(stmt);
    return status;
}

bool
pqe__db_blob(sqlite3_stmt *stmt, int column, void *out, size_t len)
{
    if (sqlite3_column_type(stmt, column) != SQLITE_BLOB || (size_t)sqlite3_column_bytes(stmt, column) != len)
        return false;
    if (len != 0) /* SQLite gives NULL for an empty blob */
        memcpy(out, sqlite3_column_blob(stmt, column), len);
    return true;
}

static pqe_status
exec(pqe__store *store, const char *sql, const char *what, pqe_error *err)
{
    int rc = sqlite3_exec(store->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? PQE_OK : pqe__db_fail(store, rc, what, err);
}

/* A path as an SQLite URI: everything but unreserved characters and '/' is percent-encoded. */
static char *
make_uri(const char *path, const char *query)
{
    sqlite3_str *s = sqlite3_str_new(NULL);

    sqlite3_str_appendall(s, "file:");
    for (const unsigned char *p = (const unsigned char *)path; *p != 0; p++) {
        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr("/._-", *p))
            sqlite3_str_appendchar(s, 1, (char)*p);
        else
            sqlite3_str_appendf(s, "%%%02X", *p);
    }
    sqlite3_str_appendall(s, query);
    return sqlite3_str_finish(s);
}

pqe_status
pqe__db_open(pqe__store *store, const char *path, bool create, bool immutable, uint32_t busy_ms, pqe_error *err)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOFOLLOW;
    char *uri = NULL;
    int rc;

    if (path == NULL) {
        flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MEMORY;
    } else {
        flags |= SQLITE_OPEN_URI;
        flags |= store->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
        flags |= create ? SQLITE_OPEN_CREATE : 0;
        if ((uri = make_uri(path, immutable ? "?immutable=1" : "")) == NULL)
            return pqe__fail_nomem(err);
    }
    rc = sqlite3_open_v2(uri != NULL ? uri : ":memory:", &store->db, flags, NULL);
    sqlite3_free(uri);
    if (store->db == NULL)
        return pqe__fail_nomem(err);
    if (rc != SQLITE_OK)
        return pqe__db_fail(store, rc, "cannot open the index", err);
    store->busy_ms = busy_ms > INT32_MAX ? INT32_MAX : busy_ms;
    sqlite3_busy_timeout(store->db, (int)store->busy_ms);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH, 1 << 20);
    /* The log and its index stay when the last process goes, empty: on a full disk they could not be made. */
    if (path != NULL && !immutable)
        sqlite3_file_control(store->db, "main", SQLITE_FCNTL_PERSIST_WAL, &(int){1});
    return exec(store,
                "PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0; "
                "PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit=0; PRAGMA cache_size=-16384",
                "cannot set up the index", err);
}

pqe_status
pqe__db_create_schema(pqe__store *store, pqe_error *err)
{
    char pragma[96];
    pqe_status status;

    snprintf(pragma, sizeof pragma, "PRAGMA application_id=%d; PRAGMA user_version=%u", APPLICATION_ID,
             PQE__FORMAT_VERSION);
    if ((status = exec(store, "PRAGMA journal_mode=WAL", "cannot make the index", err)) != PQE_OK)
        return status;
    if ((status = exec(store, "BEGIN IMMEDIATE", "cannot make the index", err)) != PQE_OK)
        return status;
    status = exec(store, pragma, "cannot make the index", err);
    for (size_t i = 0; i < SCHEMA_OBJECTS && status == PQE_OK; i++)
        status = exec(store, schema[i].sql, "cannot make the index", err);
    if (status == PQE_OK)
        status = exec(store, "COMMIT", "cannot make the index", err);
    return status;
}

static pqe_status
read_pragma(pqe__store *store, const char *sql, int *value, pqe_error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(store->db, sql, -1, &stmt, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *value = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    return rc == SQLITE_ROW ? PQE_OK : pqe__db_fail(store, rc, "cannot read the index", err);
}

static bool
column_is(sqlite3_stmt *stmt, int column, const char *expected)
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);

    return text != NULL && strcmp(text, expected) == 0;
}

static pqe_status
compare_schema(pqe__store *store, pqe_error *err)
{
    sqlite3_stmt *stmt = NULL;
    size_t i = 0;
    bool same = true;
    int rc;

    rc = sqlite3_prepare_v2(store->db, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid", -1, &stmt,
                            NULL);
    if (rc != SQLITE_OK)
        return pqe__db_fail(store, rc, "cannot read the index", err);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        same = same && i < SCHEMA_OBJECTS && column_is(stmt, 0, schema[i].type) && column_is(stmt, 1, schema[i].name) &&
               column_is(stmt, 2, schema[i].table) && column_is(stmt, 3, schema[i].sql);
        i++;
    }
    sqlite3_finalize(stmt);
    if (rc != SQLITE_DONE)
        return pqe__db_fail(store, rc, "cannot read the index", err);
    if (!same || i != SCHEMA_OBJECTS)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the index has another schema than this format's");
    return PQE_OK;
}

/* Two bytes of the file say whether there is a log; without one SQLite would write a rollback journal, which this format
   never has. */
static pqe_status
require_log(pqe__store *store, pqe_error *err)
{
    sqlite3_stmt *stmt = NULL;
    bool wal = false;
    int rc = sqlite3_prepare_v2(store->db, "PRAGMA journal_mode", -1, &stmt, NULL);

    if (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        wal = column_is(stmt, 0, "wal");
    sqlite3_finalize(stmt);
    if (rc != SQLITE_ROW)
        return pqe__db_fail(store, rc, "cannot read the index", err);
    return wal ? PQE_OK : pqe__db_damaged(err, "it keeps no write-ahead log");
}

pqe_status
pqe__db_check_schema(pqe__store *store, pqe_error *err)
{
    int version = 0, application = 0;
    pqe_status status;

    if ((status = read_pragma(store, "PRAGMA application_id", &application, err)) != PQE_OK)
        return status;
    if (application != APPLICATION_ID)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, application, "index.db is not an index of this format");
    if ((status = read_pragma(store, "PRAGMA user_version", &version, err)) != PQE_OK)
        return status;
    if (version != (int)PQE__FORMAT_VERSION)
        return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_INDEX, version,
                         "the vault's format version is %d, this library reads %u", version, PQE__FORMAT_VERSION);
    if ((status = compare_schema(store, err)) != PQE_OK || store->read_only)
        return status;
    return require_log(store, err);
}

pqe_status
pqe__db_finish(pqe__store *store, pqe_error *err)
{
    int rc = sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);

    if (rc != SQLITE_OK)
        return pqe__db_fail(store, rc, "cannot finish the index", err);
    sqlite3_file_control(store->db, "main", SQLITE_FCNTL_PERSIST_WAL, &(int){0});
    pqe__db_close(store);
    return PQE_OK;
}

void
pqe__db_close(pqe__store *store)
{
    for (size_t i = 0; i < STMT_COUNT; i++) {
        sqlite3_finalize(store->stmts[i]);
        store->stmts[i] = NULL;
    }
    sqlite3_close(store->db);
    store->db = NULL;
}
