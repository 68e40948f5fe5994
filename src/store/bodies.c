/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Body files: bodies/<2 hex>/<32 hex>, immutable, under random local names that come from no input.
 *
 * pending/<name> is a body being written, locked (flock) by its writer. pending/<name>.<mark> marks a name whose presence
 * in bodies/ is about to change: it is made durable before the transaction that adds or drops the row commits, and
 * removed afterwards. What a dead process leaves there is settled by the next writer, inside a write transaction, by
 * asking the index whether the name is in use.
 */
#include "store/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "util/fsio.h"
#include "util/grow.h"
#include "util/text.h"

#define NAME_TEXT (2 * PQE__ID_SIZE + 1)
#define PATH_TEXT (3 + NAME_TEXT)
#define MARK_TEXT (NAME_TEXT + 1 + 2 * PQE__MARK_SIZE)

static void
body_path(const uint8_t name[PQE__ID_SIZE], char out[PATH_TEXT])
{
    pqe__hex_encode(name, 1, out);
    out[2] = '/';
    pqe__hex_encode(name, PQE__ID_SIZE, out + 3);
}

static void
mark_path(const uint8_t name[PQE__ID_SIZE], const uint8_t mark[PQE__MARK_SIZE], char out[MARK_TEXT])
{
    pqe__hex_encode(name, PQE__ID_SIZE, out);
    out[NAME_TEXT - 1] = '.';
    pqe__hex_encode(mark, PQE__MARK_SIZE, out + NAME_TEXT);
}

/* The directory that `path`, as body_path() gives it, is in. Opened by itself so that no link in its place is followed. */
static int
open_folder(pqe__store *store, const char path[PATH_TEXT])
{
    char folder[3] = {path[0], path[1], '\0'};

    return openat(store->bodies_fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static pqe__memory_body *
memory_find(pqe__store *store, const uint8_t name[PQE__ID_SIZE])
{
    pqe__memory_body *body = store->memory_bodies;

    while (body != NULL && memcmp(body->name, name, PQE__ID_SIZE) != 0)
        body = body->next;
    return body;
}

static void
memory_remove(pqe__store *store, const uint8_t name[PQE__ID_SIZE])
{
    for (pqe__memory_body **link = &store->memory_bodies; *link != NULL; link = &(*link)->next) {
        pqe__memory_body *body = *link;
        if (memcmp(body->name, name, PQE__ID_SIZE) != 0)
            continue;
        *link = body->next;
        pqe__close_fd(&body->fd);
        free(body);
        return;
    }
}

/* ---- writing ---- */

/* Makes and locks a file; *swept where a collector took it for a dead writer's between the two and removed it. */
static pqe_status
create_locked(pqe__store *store, pqe__body_file *out, bool *swept, pqe_error *err)
{
    char path[NAME_TEXT];
    struct stat st;

    pqe__hex_encode(out->name, sizeof out->name, path);
    out->fd = openat(store->pending_fd, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out->fd < 0)
        return pqe__fail_errno(err, errno, "cannot make a body file");
    *swept = flock(out->fd, LOCK_EX | LOCK_NB) != 0 || fstat(out->fd, &st) != 0 || st.st_nlink == 0;
    if (*swept)
        pqe__close_fd(&out->fd);
    return PQE_OK;
}

#define CREATE_TRIES 100

pqe_status
pqe__body_create(pqe__store *store, pqe__body_file *out, pqe_error *err)
{
    bool swept = true;
    pqe_status status = PQE_OK;

    memset(out, 0, sizeof *out);
    out->fd = -1;
    if (store->dir_fd >= 0 && store->read_only)
        return pqe__fail(err, PQE_E_READ_ONLY, PQE_ORIGIN_API, 0, "the vault is read-only here");
    for (int i = 0; i < CREATE_TRIES && swept && status == PQE_OK; i++) {
        if ((status = pqe__random(out->name, sizeof out->name, err)) != PQE_OK)
            break;
        if (store->dir_fd < 0) {
            out->fd = memfd_create("pqc-enclave body", MFD_CLOEXEC);
            return out->fd >= 0 ? PQE_OK : pqe__fail_errno(err, errno, "cannot make a body");
        }
        status = create_locked(store, out, &swept, err);
    }
    if (status == PQE_OK && swept)
        status = pqe__fail(err, PQE_E_IO, PQE_ORIGIN_IO, 0, "files in pending/ cannot be locked");
    return status;
}

pqe_status
pqe__body_create_nameless(pqe__store *store, pqe__body_file *out, pqe_error *err)
{
    char path[NAME_TEXT];
    pqe_status status = pqe__body_create(store, out, err);

    if (status != PQE_OK || store->dir_fd < 0)
        return status;
    pqe__hex_encode(out->name, sizeof out->name, path);
    if (unlinkat(store->pending_fd, path, 0) != 0) {
        status = pqe__fail_errno(err, errno, "cannot remove the name of a file in pending/");
        pqe__close_fd(&out->fd);
    }
    return status;
}

static pqe_status
make_mark(pqe__store *store, const uint8_t name[PQE__ID_SIZE], uint8_t mark[PQE__MARK_SIZE], pqe_error *err)
{
    char path[MARK_TEXT];
    int fd;
    pqe_status status = pqe__random(mark, PQE__MARK_SIZE, err);

    if (status != PQE_OK)
        return status;
    mark_path(name, mark, path);
    fd = openat(store->pending_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return pqe__fail_errno(err, errno, "cannot make a mark in pending/");
    close(fd);
    return pqe__sync(store->pending_fd, "cannot make pending/ durable", err);
}

static pqe_status
move_into_place(pqe__store *store, const uint8_t name[PQE__ID_SIZE], pqe_error *err)
{
    char path[PATH_TEXT], folder[3];
    int fd = -1;
    pqe_status status;

    body_path(name, path);
    memcpy(folder, path, 2);
    folder[2] = '\0';
    if (mkdirat(store->bodies_fd, folder, 0700) != 0 && errno != EEXIST)
        return pqe__fail_errno(err, errno, "cannot make a directory in bodies/");
    /* Also where it was there: whoever made it may have died before this. */
    if ((status = pqe__sync(store->bodies_fd, "cannot make bodies/ durable", err)) != PQE_OK)
        return status;
    if ((fd = open_folder(store, path)) < 0)
        return pqe__fail_errno(err, errno, "cannot open a directory in bodies/");
    if (renameat(store->pending_fd, path + 3, fd, path + 3) != 0)
        status = pqe__fail_errno(err, errno, "cannot move a body into place");
    else
        status = pqe__sync(fd, "cannot make bodies/ durable", err);
    pqe__close_fd(&fd);
    return status;
}

static pqe_status
memory_publish(pqe__store *store, pqe__body_file *file, pqe_error *err)
{
    pqe__memory_body *body = calloc(1, sizeof *body);

    if (body == NULL)
        return pqe__fail_nomem(err);
    memcpy(body->name, file->name, sizeof body->name);
    body->fd = file->fd;
    body->next = store->memory_bodies;
    store->memory_bodies = body;
    file->fd = -1;
    return PQE_OK;
}

pqe_status
pqe__body_publish(pqe__store *store, pqe__body_file *file, pqe_error *err)
{
    pqe_status status;

    if (store->dir_fd < 0) {
        status = memory_publish(store, file, err);
        file->published = status == PQE_OK;
        return status;
    }
    if ((status = make_mark(store, file->name, file->mark, err)) != PQE_OK)
        return status;
    file->published = true; /* from here on there may be something to take back */
    return move_into_place(store, file->name, err);
}

void
pqe__body_discard(pqe__store *store, pqe__body_file *file)
{
    char name[NAME_TEXT];

    if (file->published)
        pqe__body_unmark(store, file->name, file->mark, false);
    if (file->fd >= 0 && store->dir_fd >= 0) {
        pqe__hex_encode(file->name, PQE__ID_SIZE, name);
        unlinkat(store->pending_fd, name, 0);
    }
    pqe__close_fd(&file->fd);
    file->published = false;
}

void
pqe__body_settle(pqe__store *store, pqe__body_file *file)
{
    if (file->published)
        pqe__body_unmark(store, file->name, file->mark, true);
    pqe__close_fd(&file->fd);
    file->published = false;
}

/* ---- removing ---- */

pqe_status
pqe__body_mark(pqe__store *store, const uint8_t name[PQE__ID_SIZE], uint8_t mark[PQE__MARK_SIZE], pqe_error *err)
{
    return store->dir_fd < 0 ? PQE_OK : make_mark(store, name, mark, err);
}

/* Durable before its mark goes: should the power fail, a body that is there again has its mark too. */
static bool
remove_body(pqe__store *store, const uint8_t name[PQE__ID_SIZE])
{
    char path[PATH_TEXT];
    int fd;
    bool gone;

    body_path(name, path);
    if ((fd = open_folder(store, path)) < 0)
        return errno == ENOENT;
    gone = (unlinkat(fd, path + 3, 0) == 0 || errno == ENOENT) && pqe__sync(fd, "", NULL) == PQE_OK;
    pqe__close_fd(&fd);
    return gone;
}

void
pqe__body_unmark(pqe__store *store, const uint8_t name[PQE__ID_SIZE], const uint8_t mark[PQE__MARK_SIZE], bool keep)
{
    char path[MARK_TEXT];

    if (store->dir_fd < 0) {
        if (!keep)
            memory_remove(store, name);
        return;
    }
    if (!keep && !remove_body(store, name))
        return; /* the mark stays, so that the next collection tries again */
    mark_path(name, mark, path);
    unlinkat(store->pending_fd, path, 0);
}

/* ---- reading ---- */

static pqe_status
open_body_file(pqe__store *store, const uint8_t name[PQE__ID_SIZE], int *fd, bool *missing, pqe_error *err)
{
    char path[PATH_TEXT];
    int folder, errnum;

    body_path(name, path);
    folder = open_folder(store, path);
    if (folder >= 0)
        *fd = openat(folder, path + 3, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    errnum = errno;
    pqe__close_fd(&folder);
    *missing = *fd < 0 && errnum == ENOENT;
    if (*fd < 0 && (errnum == ELOOP || errnum == ENOTDIR))
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, errnum,
                         "a body is not a regular file in a directory of the vault");
    return *fd >= 0 || *missing ? PQE_OK : pqe__fail_errno(err, errnum, "cannot open a body");
}

pqe_status
pqe__body_open(pqe__store *store, const uint8_t name[PQE__ID_SIZE], int *fd, uint64_t *size, bool *missing,
               pqe_error *err)
{
    struct stat st;
    pqe_status status;

    *fd = -1;
    *missing = false;
    if (store->dir_fd < 0) {
        pqe__memory_body *body = memory_find(store, name);
        *missing = body == NULL;
        *fd = body != NULL ? fcntl(body->fd, F_DUPFD_CLOEXEC, 0) : -1;
        if (body != NULL && *fd < 0)
            return pqe__fail_errno(err, errno, "cannot open a body");
    } else if ((status = open_body_file(store, name, fd, missing, err)) != PQE_OK) {
        return status;
    }
    if (*missing)
        return PQE_OK;
    if (fstat(*fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        pqe__close_fd(fd);
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "a body is not a regular file");
    }
    *size = (uint64_t)st.st_size;
    return PQE_OK;
}

/* ---- collecting what crashes leave ---- */

static DIR *
open_listing(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy >= 0 ? fdopendir(copy) : NULL;

    if (d == NULL && copy >= 0)
        close(copy);
    return d;
}

/* As pqe__row_key_in_use(): a damaged index must not have a body removed that a row names. */
static pqe_status
file_in_use(pqe__store *store, const uint8_t name[PQE__ID_SIZE], bool *in_use, pqe_error *err)
{
    pqe_status status = pqe__db_any(store, STMT_ROW_FILE_USED, name, in_use, err);

    return status == PQE_OK && !*in_use ? pqe__db_any(store, STMT_ROW_FILE_SCAN, name, in_use, err) : status;
}

/* A writer holds a lock on its file: one that can be locked belongs to nobody any more. */
static void
remove_if_dead(pqe__store *store, const char *file)
{
    int fd = openat(store->pending_fd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        unlinkat(store->pending_fd, file, 0);
    close(fd);
}

/* A mark found in pending/. */
typedef struct found_mark {
    uint8_t name[PQE__ID_SIZE], mark[PQE__MARK_SIZE];
} found_mark;

typedef struct marks {
    found_mark *list;
    size_t count, capacity;
} marks;

static bool
marks_add(marks *m, const found_mark *mark)
{
    void *room = pqe__grow(m->list, m->count, &m->capacity, sizeof *m->list);

    if (room == NULL)
        return false;
    m->list = room;
    m->list[m->count++] = *mark;
    return true;
}

/* Removes bodies of dead writers and lists the marks. */
static void
sweep_pending(pqe__store *store, marks *found)
{
    DIR *d = open_listing(store->pending_fd);
    struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        found_mark m;
        size_t len = strlen(entry->d_name);
        if (!pqe__hex_decode(entry->d_name, PQE__ID_SIZE, m.name))
            continue;
        if (len == NAME_TEXT - 1)
            remove_if_dead(store, entry->d_name);
        else if (len == MARK_TEXT - 1 && entry->d_name[NAME_TEXT - 1] == '.' &&
                 pqe__hex_decode(entry->d_name + NAME_TEXT, PQE__MARK_SIZE, m.mark) && !marks_add(found, &m))
            break;
    }
    if (d != NULL)
        closedir(d);
}

/* A row in and out again: SQLite writes no page for a value that is there already. */
static pqe_status
dirty_a_page(pqe__store *store)
{
    static const pqe__stmt both[] = {STMT_NODE_PUT, STMT_NODE_DELETE};
    pqe_status status = PQE_OK;

    for (size_t i = 0; i < 2 && status == PQE_OK; i++) {
        sqlite3_stmt *stmt = pqe__db_stmt(store, both[i], &status, NULL);
        if (stmt == NULL)
            return status;
        sqlite3_bind_int64(stmt, 1, -1);
        if (both[i] == STMT_NODE_PUT)
            sqlite3_bind_blob(stmt, 2, "", 0, SQLITE_STATIC);
        status = pqe__db_run(store, stmt, "cannot write to the index", NULL);
    }
    return status;
}

/* In a write transaction, so that nobody is between mark and commit: drops marks of names in use, keeps the rest in the
   list. The commit must be a real one: it supersedes what a failed commit may have left at the end of the log, so that
   nothing can bring a row back whose body is removed after it. */
static pqe_status
settle_marks(pqe__store *store, marks *m)
{
    size_t kept = 0;
    bool in_use;
    pqe_status status = dirty_a_page(store);

    for (size_t i = 0; i < m->count && status == PQE_OK; i++) {
        const found_mark *mark = &m->list[i];
        status = file_in_use(store, mark->name, &in_use, NULL);
        if (status == PQE_OK && in_use)
            pqe__body_unmark(store, mark->name, mark->mark, true);
        else
            m->list[kept++] = *mark;
    }
    m->count = kept;
    return status;
}

void
pqe__body_collect(pqe__store *store)
{
    marks m = {0};

    if (store->dir_fd < 0 || store->read_only)
        return;
    sweep_pending(store, &m);
    if (m.count != 0 && pqe__store_begin_within(store, true, 0, NULL) == PQE_OK) {
        if (settle_marks(store, &m) != PQE_OK)
            pqe__store_rollback(store);
        else if (pqe__store_commit(store, NULL) == PQE_OK)
            for (size_t i = 0; i < m.count; i++)
                pqe__body_unmark(store, m.list[i].name, m.list[i].mark, false);
    }
    free(m.list);
}

static pqe_status
count_in_folder(pqe__store *store, const char *folder, uint64_t *orphans, pqe_error *err)
{
    int fd = openat(store->bodies_fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    pqe_status status = PQE_OK;

    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) {
        ++*orphans; /* not one of our directories */
        return PQE_OK;
    }
    if (d == NULL) {
        status = pqe__fail_errno(err, errno, "cannot read bodies/");
        pqe__close_fd(&fd);
        return status;
    }
    while (status == PQE_OK && (entry = readdir(d)) != NULL) {
        uint8_t name[PQE__ID_SIZE];
        bool in_use = false;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (strlen(entry->d_name) == NAME_TEXT - 1 && pqe__hex_decode(entry->d_name, PQE__ID_SIZE, name))
            status = pqe__db_any(store, STMT_ROW_FILE_USED, name, &in_use, err);
        *orphans += in_use ? 0 : 1;
    }
    closedir(d);
    return status;
}

pqe_status
pqe__body_count_orphans(pqe__store *store, uint64_t *orphans, pqe_error *err)
{
    DIR *d = store->dir_fd >= 0 ? open_listing(store->bodies_fd) : NULL;
    struct dirent *entry;
    pqe_status status = PQE_OK;

    *orphans = 0;
    if (d == NULL && store->dir_fd >= 0)
        return pqe__fail_errno(err, errno, "cannot read bodies/");
    while (d != NULL && status == PQE_OK && (entry = readdir(d)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = count_in_folder(store, entry->d_name, orphans, err);
    if (d != NULL)
        closedir(d);
    return status;
}
