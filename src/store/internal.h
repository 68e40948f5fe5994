/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the store share: the database handle, prepared statements, error mapping. */
#ifndef PQE_STORE_INTERNAL_H
#define PQE_STORE_INTERNAL_H

#include <sqlite3.h>

#include "store/store.h"

/* One statement for every query the store makes; prepared at first use, kept until close. */
typedef enum pqe__stmt {
    STMT_BEGIN_READ,
    STMT_BEGIN_WRITE,
    STMT_COMMIT,
    STMT_ROLLBACK,
    STMT_HEAD_GET,
    STMT_HEAD_PUT,
    STMT_ITEM_GET,
    STMT_ITEM_PUT,
    STMT_ITEM_DELETE,
    STMT_ITEM_ALL,
    STMT_ROW_INSERT,
    STMT_ROW_UPDATE,
    STMT_ROW_FETCH,
    STMT_ROW_FETCH_BODY,
    STMT_ROW_DELETE,
    STMT_ROW_COUNT,
    STMT_ROW_KEY_USED,
    STMT_ROW_KEY_SCAN,
    STMT_ROW_FILE_USED,
    STMT_ROW_FILE_SCAN,
    STMT_SECRET_INSERT,
    STMT_SECRET_UPDATE,
    STMT_SECRET_FETCH,
    STMT_SECRET_COUNT,
    STMT_SECRET_USES,
    STMT_SECRET_DELETE,
    STMT_SECRET_CLEAR,
    STMT_IDENTITY_INSERT,
    STMT_IDENTITY_UPDATE,
    STMT_IDENTITY_FETCH,
    STMT_IDENTITY_DELETE,
    STMT_IDENTITY_COUNT,
    STMT_NODE_GET,
    STMT_NODE_PUT,
    STMT_NODE_DELETE,
    STMT_NODE_CLEAR,
    STMT_NODE_COUNT,
    STMT_ENTRY_BUCKET,
    STMT_ENTRY_PUT,
    STMT_ENTRY_DELETE,
    STMT_ENTRY_CLEAR,
    STMT_ENTRY_ALL,
    STMT_ENTRY_TWIN,
    STMT_ENTRY_TARGETS,
    STMT_STATE_GET,
    STMT_STATE_PUT,
    STMT_STATE_DELETE,
    STMT_AUDIT_GET,
    STMT_AUDIT_PUT,
    STMT_AUDIT_UPDATE,
    STMT_AUDIT_DROP,
    STMT_AUDIT_CLEAR,
    STMT_AUDIT_COUNT,
    STMT_COUNT
} pqe__stmt;

typedef struct pqe__memory_body {
    struct pqe__memory_body *next;
    uint8_t name[PQE__ID_SIZE];
    int fd;
} pqe__memory_body;

struct pqe__store {
    sqlite3 *db;
    sqlite3_stmt *stmts[STMT_COUNT];
    int dir_fd, bodies_fd, pending_fd; /* -1 in memory */
    int lock_fd;                       /* of the index while it is being made, else -1 */
    bool read_only, in_transaction;
    bool made_dir, made_index, published; /* what pqe__store_destroy() takes back */
    bool has_note;                        /* that `noted` is being made; create.c */
    uint8_t noted[PQE__ID_SIZE];
    uint32_t busy_ms;
    char *dir;
    struct pqe__fork_note *note; /* forks.c */
    pqe__memory_body *memory_bodies;
    struct pqe__node_cache *node_cache; /* node.c */
    uint32_t version;                   /* of the database as the transaction sees it; 0: not asked yet */
    struct pqe__hash *bucket_hash[2];   /* tree.c: of the bucket as it is, and as it will be */
};

/** Maps an SQLite result to a status; damage is PQE_E_TAMPERED. */
pqe_status pqe__db_fail(pqe__store *store, int rc, const char *what, pqe_error *err);
/** A statement, reset and ready to bind; NULL with *err filled if it cannot be prepared. */
sqlite3_stmt *pqe__db_stmt(pqe__store *store, pqe__stmt which, pqe_status *status, pqe_error *err);
/** Runs a statement that returns no row, then resets it. */
pqe_status pqe__db_run(pqe__store *store, sqlite3_stmt *stmt, const char *what, pqe_error *err);
/** The same for a statement that inserts a row, whose id is *rowid then. */
pqe_status pqe__db_insert(pqe__store *store, sqlite3_stmt *stmt, int64_t *rowid, pqe_error *err);
/** Runs a statement whose one parameter is a row's id. */
pqe_status pqe__db_run_with_rowid(pqe__store *store, pqe__stmt which, int64_t rowid, pqe_error *err);
/** Runs a query for one number. */
pqe_status pqe__db_count(pqe__store *store, pqe__stmt which, uint64_t *count, pqe_error *err);
/** Does the query find any row for an id? On failure *any is true. */
pqe_status pqe__db_any(pqe__store *store, pqe__stmt which, const uint8_t id[PQE__ID_SIZE], bool *any, pqe_error *err);
/** The same for a row's id. */
pqe_status pqe__db_any_of_row(pqe__store *store, pqe__stmt which, int64_t rowid, bool *any, pqe_error *err);
/** Copies a blob column of exactly `len` bytes; false if it is something else. */
bool pqe__db_blob(sqlite3_stmt *stmt, int column, void *out, size_t len);
pqe_status pqe__db_damaged(pqe_error *err, const char *what);

/* rows.c */
/** SHA-256 of `prefix`, then `bytes`. */
pqe_status pqe__digest_after(const uint8_t *prefix, size_t prefix_len, const void *bytes, size_t len,
                             uint8_t digest[PQE__DIGEST_SIZE], pqe_error *err);

/* store.c */
#define PQE__INDEX "index.db"
#define PQE__INDEX_NEW "index.db.new" /* until it is whole */
pqe__store *pqe__store_new(void);
pqe_status pqe__store_open_top(pqe__store *store, const char *dir, pqe_error *err);
/** The directory and those below it. */
pqe_status pqe__store_open_tree(pqe__store *store, const char *dir, pqe_error *err);
pqe_status pqe__store_open_database(pqe__store *store, const char *name, bool create, bool immutable, uint32_t busy_ms,
                                    pqe_error *err);

/* forks.c */
/** Notes that this process has the store's directory open. PQE_E_STATE if it was open in a parent when that forked. */
pqe_status pqe__forks_note(pqe__store *store, pqe_error *err);
void pqe__forks_forget(pqe__store *store);

/* schema.c */
/** Opens the database file (":memory:" if `path` is NULL) with the settings of DESIGN section 3. */
pqe_status pqe__db_open(pqe__store *store, const char *path, bool create, bool immutable, uint32_t busy_ms,
                        pqe_error *err);
pqe_status pqe__db_create_schema(pqe__store *store, pqe_error *err);
pqe_status pqe__db_check_schema(pqe__store *store, pqe_error *err);
/** Closes with everything written back and synced: the file alone is the whole index. */
pqe_status pqe__db_finish(pqe__store *store, pqe_error *err);
void pqe__db_close(pqe__store *store);

#endif
