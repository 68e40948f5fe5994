/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing a vault's directory (create.c makes it), transactions, head and device items. */
#include "store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "util/fsio.h"

#define INDEX_LOG PQE__INDEX "-wal"
#define INDEX_SHM PQE__INDEX "-shm"
#define INDEX_JOURNAL PQE__INDEX "-journal"

pqe__store *
pqe__store_new(void)
{
    pqe__store *store = calloc(1, sizeof *store);

    if (store != NULL)
        store->dir_fd = store->bodies_fd = store->pending_fd = store->lock_fd = -1;
    return store;
}

static void
store_free(pqe__store *store)
{
    while (store->memory_bodies != NULL) {
        pqe__memory_body *body = store->memory_bodies;
        store->memory_bodies = body->next;
        pqe__close_fd(&body->fd);
        free(body);
    }
    pqe__close_fd(&store->lock_fd);
    pqe__close_fd(&store->pending_fd);
    pqe__close_fd(&store->bodies_fd);
    pqe__close_fd(&store->dir_fd);
    pqe__hash_free(&store->bucket_hash[0]);
    pqe__hash_free(&store->bucket_hash[1]);
    free(store->node_cache);
    free(store->dir);
    free(store);
}

void
pqe__store_close(pqe__store **store)
{
    if (*store == NULL)
        return;
    if ((*store)->in_transaction)
        pqe__store_rollback(*store);
    pqe__db_close(*store);
    pqe__forks_forget(*store);
    store_free(*store);
    *store = NULL;
}

void
pqe__store_abandon(pqe__store **store)
{
    if (*store != NULL) {
        pqe__close_fd(&(*store)->lock_fd);
        pqe__close_fd(&(*store)->pending_fd);
        pqe__close_fd(&(*store)->bodies_fd);
        pqe__close_fd(&(*store)->dir_fd);
    }
    *store = NULL;
}

bool
pqe__store_read_only(const pqe__store *store)
{
    return store->read_only;
}

uint32_t
pqe__store_busy_ms(const pqe__store *store)
{
    return store->busy_ms;
}

static pqe_status
open_dir_at(int parent, const char *name, const char *what, int *fd, pqe_error *err)
{
    *fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return *fd >= 0 ? PQE_OK : pqe__fail_errno(err, errno, what);
}

pqe_status
pqe__store_open_top(pqe__store *store, const char *dir, pqe_error *err)
{
    if (store->dir != NULL)
        return PQE_OK;
    if ((store->dir = realpath(dir, NULL)) == NULL)
        return pqe__fail_errno(err, errno, "cannot find the vault's directory");
    return open_dir_at(AT_FDCWD, store->dir, "cannot open the vault's directory", &store->dir_fd, err);
}

pqe_status
pqe__store_open_tree(pqe__store *store, const char *dir, pqe_error *err)
{
    pqe_status status;

    if ((status = pqe__store_open_top(store, dir, err)) != PQE_OK)
        return status;
    if ((status = open_dir_at(store->dir_fd, "bodies", "cannot open bodies/", &store->bodies_fd, err)) != PQE_OK)
        return status;
    return open_dir_at(store->dir_fd, "pending", "cannot open pending/", &store->pending_fd, err);
}

pqe_status
pqe__store_open_database(pqe__store *store, const char *name, bool create, bool immutable, uint32_t busy_ms,
                         pqe_error *err)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", store->dir, name);

    if (n < 0 || (size_t)n >= sizeof path)
        return pqe__fail_errno(err, ENAMETOOLONG, "cannot open the index");
    return pqe__db_open(store, path, create, immutable, busy_ms, err);
}

/* ---- open ---- */

static bool
readable_file(pqe__store *store, const char *name)
{
    struct stat st;

    return fstatat(store->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           faccessat(store->dir_fd, name, R_OK, 0) == 0;
}

/* SQLite's WAL mode must write beside the index even to read it. Where that cannot be it needs the files that another
   connection left there; it then follows what writers elsewhere do, and recovers a log in memory. Without them the index
   is read as it is, which is sound only if nothing waits in a log. */
static pqe_status
choose_mode(pqe__store *store, bool want_read_only, bool *immutable, pqe_error *err)
{
    struct stat st;

    *immutable = false;
    store->read_only = want_read_only;
    if (faccessat(store->dir_fd, ".", W_OK, 0) == 0 && faccessat(store->dir_fd, PQE__INDEX, W_OK, 0) == 0)
        return PQE_OK;
    if (errno != EROFS && errno != EACCES && errno != EPERM)
        return pqe__fail_errno(err, errno, "cannot open the index");
    store->read_only = true;
    if (readable_file(store, INDEX_LOG) && readable_file(store, INDEX_SHM))
        return PQE_OK;
    *immutable = true;
    if (fstatat(store->dir_fd, INDEX_LOG, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0)
        return pqe__fail(err, PQE_E_READ_ONLY, PQE_ORIGIN_INDEX, 0,
                         "the vault is not writable here and changes wait in its log (index.db-wal); open it once "
                         "where it can be written");
    return PQE_OK;
}

static bool
making_was_cut_short(const char *dir)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", dir, PQE__INDEX_NEW);

    return n > 0 && (size_t)n < sizeof path && access(path, F_OK) == 0;
}

static pqe_status
require_index(const char *dir, pqe_error *err)
{
    char path[PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/%s", dir, PQE__INDEX);

    if (n < 0 || (size_t)n >= sizeof path)
        return pqe__fail_errno(err, ENAMETOOLONG, "cannot open the vault");
    if (lstat(path, &st) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return pqe__fail(err, PQE_E_NOT_A_VAULT, PQE_ORIGIN_IO, errno, "there is no vault in this directory%s",
                             making_was_cut_short(dir) ? ": its making was cut short and has to be done again" : "");
        return pqe__fail_errno(err, errno, "cannot open the vault");
    }
    if (!S_ISREG(st.st_mode))
        return pqe__fail(err, PQE_E_NOT_A_VAULT, PQE_ORIGIN_IO, 0, "index.db is not a regular file");
    return PQE_OK;
}

/* The index keeps a write-ahead log, never a rollback journal. SQLite would play one that is found into the index and
   remove any file that it names as its super-journal; a pipe of that name would make it wait for ever. */
static pqe_status
refuse_journal(pqe__store *store, pqe_error *err)
{
    struct stat st;

    if (fstatat(store->dir_fd, INDEX_JOURNAL, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "there is an %s, which this format never has",
                         INDEX_JOURNAL);
    return errno == ENOENT ? PQE_OK : pqe__fail_errno(err, errno, "cannot open the index");
}

pqe_status
pqe__store_open(const char *dir, bool read_only, uint32_t busy_ms, pqe__store **out, pqe_error *err)
{
    pqe__store *store;
    bool immutable = false;
    pqe_status status;

    *out = NULL;
    if ((status = require_index(dir, err)) != PQE_OK)
        return status;
    if ((store = pqe__store_new()) == NULL)
        return pqe__fail_nomem(err);
    status = pqe__store_open_tree(store, dir, err);
    if (status == PQE_OK)
        status = refuse_journal(store, err);
    if (status == PQE_OK)
        status = pqe__forks_note(store, err);
    if (status == PQE_OK)
        status = choose_mode(store, read_only, &immutable, err);
    if (status == PQE_OK)
        status = pqe__store_open_database(store, PQE__INDEX, false, immutable, busy_ms, err);
    if (status == PQE_OK)
        status = pqe__db_check_schema(store, err);
    if (status != PQE_OK) {
        pqe__store_close(&store);
        return status;
    }
    *out = store;
    return PQE_OK;
}

/* ---- transactions ---- */

static pqe_status
run_plain(pqe__store *store, pqe__stmt which, const char *what, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, which, &status, err);

    if (stmt != NULL)
        status = pqe__db_run(store, stmt, what, err);
    /* These statements read no table: a plain error is SQLite's own, for example memory that ran out in the log. */
    if (status == PQE_E_TAMPERED && (sqlite3_errcode(store->db) & 0xff) == SQLITE_ERROR)
        status = pqe__fail(err, PQE_E_IO, PQE_ORIGIN_INDEX, SQLITE_ERROR, "%s: SQLite failed", what);
    return status;
}

/* SQLite keeps one state of the database for as long as a statement stands on a row of it. So reading needs no BEGIN and
   no ROLLBACK, which take as long as a look-up: the head, which every transaction begins with, is left standing. */
static pqe_status
begin_reading(pqe__store *store, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_HEAD_GET, &status, err);
    int rc;

    if (stmt == NULL)
        return status;
    rc = sqlite3_step(stmt);
    store->holding = rc == SQLITE_ROW;
    if (!store->holding)
        sqlite3_reset(stmt);
    if (rc == SQLITE_DONE) /* none yet */
        return run_plain(store, STMT_BEGIN_READ, "cannot start a transaction", err);
    return rc == SQLITE_ROW ? PQE_OK : pqe__db_fail(store, rc, "cannot read the head", err);
}

static void
end_reading(pqe__store *store)
{
    if (store->holding)
        sqlite3_reset(store->stmts[STMT_HEAD_GET]);
    store->holding = false;
}

pqe_status
pqe__store_begin(pqe__store *store, bool write, pqe_error *err)
{
    pqe_status status;

    if (write && store->read_only)
        return pqe__fail(err, PQE_E_READ_ONLY, PQE_ORIGIN_API, 0, "the vault is read-only here");
    /* Prepared now, so that rolling back wants no memory. */
    if (pqe__db_stmt(store, STMT_ROLLBACK, &status, err) == NULL)
        return status;
    store->version = 0;
    status = write ? run_plain(store, STMT_BEGIN_WRITE, "cannot start a transaction", err) : begin_reading(store, err);
    store->in_transaction = true;
    if (status != PQE_OK)
        pqe__store_rollback(store); /* SQLite may have got half-way */
    return status;
}

pqe_status
pqe__store_begin_within(pqe__store *store, bool write, uint32_t wait_ms, pqe_error *err)
{
    pqe_status status;

    sqlite3_busy_timeout(store->db, (int)(wait_ms < store->busy_ms ? wait_ms : store->busy_ms));
    status = pqe__store_begin(store, write, err);
    sqlite3_busy_timeout(store->db, (int)store->busy_ms);
    return status;
}

pqe_status
pqe__store_commit(pqe__store *store, pqe_error *err)
{
    pqe_status status = PQE_OK;

    if (store->holding)
        end_reading(store);
    else
        status = run_plain(store, STMT_COMMIT, "cannot commit", err);
    if (status == PQE_OK)
        store->in_transaction = false;
    else
        pqe__store_rollback(store);
    if (status == PQE_OK && store->truncate_due)
        pqe__store_checkpoint(store);
    return status;
}

void
pqe__store_rollback(pqe__store *store)
{
    end_reading(store);
    if (store->in_transaction && sqlite3_get_autocommit(store->db) == 0)
        run_plain(store, STMT_ROLLBACK, "cannot roll back", NULL);
    store->in_transaction = false;
}

void
pqe__store_checkpoint(pqe__store *store)
{
    if (store->read_only || store->dir_fd < 0)
        return;
    sqlite3_busy_timeout(store->db, 0);
    /* An older reader delays it: then it is tried again after every commit, and closing the vault does it at last. */
    store->truncate_due =
        sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) != SQLITE_OK;
    sqlite3_busy_timeout(store->db, (int)store->busy_ms);
}

/* ---- head and device items ---- */

pqe_status
pqe__store_get_head(pqe__store *store, uint8_t *buf, size_t *len, uint8_t tag[PQE__HEAD_TAG_SIZE], pqe_error *err)
{
    pqe_status status = PQE_OK;
    sqlite3_stmt *stmt =
        store->holding ? store->stmts[STMT_HEAD_GET] : pqe__db_stmt(store, STMT_HEAD_GET, &status, err);
    int rc;

    *len = 0;
    if (stmt == NULL)
        return status;
    if ((rc = store->holding ? SQLITE_ROW : sqlite3_step(stmt)) != SQLITE_ROW) {
        status = rc == SQLITE_DONE ? pqe__db_damaged(err, "it has no head")
                                   : pqe__db_fail(store, rc, "cannot read the head", err);
    } else {
        size_t size = (size_t)sqlite3_column_bytes(stmt, 0);
        if (size > PQE__HEAD_MAX || !pqe__db_blob(stmt, 0, buf, size) ||
            !pqe__db_blob(stmt, 1, tag, PQE__HEAD_TAG_SIZE))
            status = pqe__db_damaged(err, "its head is malformed");
        else
            *len = size;
    }
    /* The first read of a transaction: from here on it sees one state. SQLite counts them, whoever makes them. */
    if (sqlite3_file_control(store->db, "main", SQLITE_FCNTL_DATA_VERSION, &store->version) != SQLITE_OK)
        store->version = 0;
    if (!store->holding)
        sqlite3_reset(stmt);
    return status;
}

pqe_status
pqe__store_put_head(pqe__store *store, const uint8_t *head, size_t len, const uint8_t tag[PQE__HEAD_TAG_SIZE],
                    pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_HEAD_PUT, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_blob(stmt, 1, head, (int)len, SQLITE_STATIC);
    sqlite3_bind_blob(stmt, 2, tag, PQE__HEAD_TAG_SIZE, SQLITE_STATIC);
    return pqe__db_run(store, stmt, "cannot write the head", err);
}

pqe_status
pqe__store_find_item(pqe__store *store, pqe__device_item item, uint8_t *buf, size_t capacity, size_t *len,
                     bool *missing, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_ITEM_GET, &status, err);
    int rc;

    *len = 0;
    *missing = false;
    if (stmt == NULL)
        return status;
    sqlite3_bind_int(stmt, 1, (int)item);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_DONE) {
        *missing = true;
    } else if (rc != SQLITE_ROW) {
        status = pqe__db_fail(store, rc, "cannot read a device item", err);
    } else {
        size_t size = (size_t)sqlite3_column_bytes(stmt, 0);
        if (size > capacity || !pqe__db_blob(stmt, 0, buf, size))
            status = pqe__db_damaged(err, "a device item is malformed");
        else
            *len = size;
    }
    sqlite3_reset(stmt);
    return status;
}

pqe_status
pqe__store_get_item(pqe__store *store, pqe__device_item item, uint8_t *buf, size_t capacity, size_t *len,
                    pqe_error *err)
{
    bool missing;
    pqe_status status = pqe__store_find_item(store, item, buf, capacity, len, &missing, err);

    return status == PQE_OK && missing ? pqe__db_damaged(err, "a device item is missing") : status;
}

pqe_status
pqe__store_put_item(pqe__store *store, pqe__device_item item, const uint8_t *data, size_t len, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_ITEM_PUT, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_int(stmt, 1, (int)item);
    sqlite3_bind_blob(stmt, 2, len != 0 ? (const void *)data : "", (int)len, SQLITE_STATIC);
    return pqe__db_run(store, stmt, "cannot write a device item", err);
}

pqe_status
pqe__store_delete_item(pqe__store *store, pqe__device_item item, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_ITEM_DELETE, &status, err);

    if (stmt == NULL)
        return status;
    sqlite3_bind_int(stmt, 1, (int)item);
    return pqe__db_run(store, stmt, "cannot remove a device item", err);
}

/* One row of STMT_ITEM_ALL. The first items must all be there: `last` is the item before. */
static pqe_status
hash_item(sqlite3_stmt *stmt, pqe__hash *hash, int64_t *last, pqe_error *err)
{
    uint8_t bytes[8 + PQE__ITEM_MAX];
    int64_t item = sqlite3_column_int64(stmt, 0);
    size_t len = (size_t)sqlite3_column_bytes(stmt, 1);
    pqe__wcur c = pqe__wcur_init(bytes, 8);

    if (item < 1 || item > PQE__ITEM_LAST || (item > PQE__ITEM_RECIPIENT && item < PQE__ITEM_RECOVERY) ||
        (*last < PQE__DEVICE_ITEMS && item != *last + 1))
        return pqe__db_damaged(err, "a device item is missing or unknown");
    if (len > PQE__ITEM_MAX || !pqe__db_blob(stmt, 1, bytes + 8, len))
        return pqe__db_damaged(err, "a device item is malformed");
    *last = item;
    pqe__put_u32(&c, (uint32_t)item);
    pqe__put_u32(&c, (uint32_t)len);
    return pqe__hash_update(hash, bytes, 8 + len, err);
}

pqe_status
pqe__store_device_digest(pqe__store *store, uint8_t out[PQE__DIGEST_SIZE], pqe_error *err)
{
    pqe__hash *hash = NULL;
    int64_t last = 0;
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_ITEM_ALL, &status, err);
    int rc = SQLITE_DONE;

    if (stmt == NULL)
        return status;
    status = pqe__hash_new(PQE__SHA256, &hash, err);
    while (status == PQE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        status = hash_item(stmt, hash, &last, err);
    if (status == PQE_OK && rc != SQLITE_DONE)
        status = pqe__db_fail(store, rc, "cannot read a device item", err);
    if (status == PQE_OK && last < PQE__DEVICE_ITEMS)
        status = pqe__db_damaged(err, "a device item is missing");
    if (status == PQE_OK)
        status = pqe__hash_final(hash, out, err);
    sqlite3_reset(stmt);
    pqe__hash_free(&hash);
    return status;
}
