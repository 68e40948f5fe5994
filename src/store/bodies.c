/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Body files: bodies/<2 hex>/<32 hex>, immutable, under random local names that come from no input.
 *
 * pending/<name> is a body being written, locked (flock) by its writer. pending/<name>.m marks a name whose presence
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
#include "util/text.h"

#define NAME_TEXT (2 * PQE__ID_SIZE + 1)
#define PATH_TEXT (3 + NAME_TEXT)
#define MARK_TEXT (NAME_TEXT + 2)

static void
body_path(const uint8_t name[PQE__ID_SIZE], char out[PATH_TEXT])
{
    pqe__hex_encode(name, 1, out);
    out[2] = '/';
    pqe__hex_encode(name, PQE__ID_SIZE, out + 3);
}

static void
mark_path(const uint8_t name[PQE__ID_SIZE], char out[MARK_TEXT])
{
    pqe__hex_encode(name, PQE__ID_SIZE, out);
    memcpy(out + NAME_TEXT - 1, ".m", 3);
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

pqe_status
pqe__body_create(pqe__store *store, pqe__body_file *out, pqe_error *err)
{
    char path[NAME_TEXT];
    struct stat st;
    pqe_status status;

    memset(out, 0, sizeof *out);
    out->fd = -1;
    if ((status = pqe__random(out->name, sizeof out->name, err)) != PQE_OK)
        return status;
    if (store->dir_fd < 0) {
        out->fd = memfd_create("pqc-enclave body", MFD_CLOEXEC);
        return out->fd >= 0 ? PQE_OK : pqe__fail_errno(err, errno, "cannot make a body");
    }
    if (store->read_only)
        return pqe__fail(err, PQE_E_READ_ONLY, PQE_ORIGIN_API, 0, "the vault is read-only here");
    pqe__hex_encode(out->name, sizeof out->name, path);
    out->fd = openat(store->pending_fd, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out->fd < 0)
        return pqe__fail_errno(err, errno, "cannot make a body file");
    /* Between open and lock a collector may have taken the file for a dead writer's and removed it. */
    if (flock(out->fd, LOCK_EX | LOCK_NB) != 0 || fstat(out->fd, &st) != 0 || st.st_nlink == 0) {
        pqe__close_fd(&out->fd);
        return pqe__fail(err, PQE_E_BUSY, PQE_ORIGIN_IO, 0, "the new body file was swept away; try again");
    }
    return PQE_OK;
}

static pqe_status
make_mark(pqe__store *store, const uint8_t name[PQE__ID_SIZE], pqe_error *err)
{
    char mark[MARK_TEXT];
    int fd;

    mark_path(name, mark);
    fd = openat(store->pending_fd, mark, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
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
    if (mkdirat(store->bodies_fd, folder, 0700) == 0)
        status = pqe__sync(store->bodies_fd, "cannot make bodies/ durable", err);
    else
        status = errno == EEXIST ? PQE_OK : pqe__fail_errno(err, errno, "cannot make a directory in bodies/");
    if (status != PQE_OK)
        return status;
    fd = openat(store->bodies_fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
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
    if ((status = make_mark(store, file->name, err)) != PQE_OK)
        return status;
    file->published = true; /* from here on there may be something to take back */
    return move_into_place(store, file->name, err);
}

void
pqe__body_discard(pqe__store *store, pqe__body_file *file)
{
    char name[NAME_TEXT];

    if (file->published)
        pqe__body_unmark(store, file->name, false);
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
        pqe__body_unmark(store, file->name, true);
    pqe__close_fd(&file->fd);
    file->published = false;
}

/* ---- removing ---- */

pqe_status
pqe__body_mark(pqe__store *store, const uint8_t name[PQE__ID_SIZE], pqe_error *err)
{
    return store->dir_fd < 0 ? PQE_OK : make_mark(store, name, err);
}

void
pqe__body_unmark(pqe__store *store, const uint8_t name[PQE__ID_SIZE], bool keep)
{
    char path[PATH_TEXT], mark[MARK_TEXT];

    if (store->dir_fd < 0) {
        if (!keep)
            memory_remove(store, name);
        return;
    }
    body_path(name, path);
    mark_path(name, mark);
    if (!keep && unlinkat(store->bodies_fd, path, 0) != 0 && errno != ENOENT)
        return; /* the mark stays, so that the next collection tries again */
    unlinkat(store->pending_fd, mark, 0);
}

/* ---- reading ---- */

pqe_status
pqe__body_open(pqe__store *store, const uint8_t name[PQE__ID_SIZE], int *fd, uint64_t *size, bool *missing,
               pqe_error *err)
{
    char path[PATH_TEXT];
    struct stat st;

    *fd = -1;
    *missing = false;
    if (store->dir_fd < 0) {
        pqe__memory_body *body = memory_find(store, name);
        *missing = body == NULL;
        *fd = body != NULL ? fcntl(body->fd, F_DUPFD_CLOEXEC, 0) : -1;
        if (body != NULL && *fd < 0)
            return pqe__fail_errno(err, errno, "cannot open a body");
    } else {
        body_path(name, path);
        *fd = openat(store->bodies_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        *missing = *fd < 0 && errno == ENOENT;
        if (*fd < 0 && (errno == ELOOP || errno == ENOTDIR))
            return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, errno, "a body is not a regular file");
        if (*fd < 0 && !*missing)
            return pqe__fail_errno(err, errno, "cannot open a body");
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

bool
pqe__body_pending(pqe__store *store)
{
    DIR *d = store->dir_fd >= 0 && !store->read_only ? open_listing(store->pending_fd) : NULL;
    struct dirent *entry;
    bool any = false;

    while (d != NULL && !any && (entry = readdir(d)) != NULL)
        any = entry->d_name[0] != '.';
    if (d != NULL)
        closedir(d);
    return any;
}

static pqe_status
file_in_use(pqe__store *store, const uint8_t name[PQE__ID_SIZE], bool *in_use, pqe_error *err)
{
    pqe_status status;
    sqlite3_stmt *stmt = pqe__db_stmt(store, STMT_ROW_FILE_USED, &status, err);
    int rc;

    *in_use = true;
    if (stmt == NULL)
        return status;
    sqlite3_bind_blob(stmt, 1, name, PQE__ID_SIZE, SQLITE_STATIC);
    rc = sqlite3_step(stmt);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = pqe__db_fail(store, rc, "cannot read the index", err);
    else
        *in_use = rc == SQLITE_ROW;
    sqlite3_reset(stmt);
    return status;
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

pqe_status
pqe__body_collect(pqe__store *store, pqe_error *err)
{
    DIR *d = open_listing(store->pending_fd);
    struct dirent *entry;
    pqe_status status = PQE_OK;

    if (d == NULL)
        return pqe__fail_errno(err, errno, "cannot read pending/");
    while (status == PQE_OK && (entry = readdir(d)) != NULL) {
        uint8_t name[PQE__ID_SIZE];
        size_t len = strlen(entry->d_name);
        bool mark = len == MARK_TEXT - 1 && strcmp(entry->d_name + NAME_TEXT - 1, ".m") == 0;
        if ((len != NAME_TEXT - 1 && !mark) || !pqe__hex_decode(entry->d_name, PQE__ID_SIZE, name))
            continue;
        if (mark) {
            bool in_use;
            status = file_in_use(store, name, &in_use, err);
            if (status == PQE_OK)
                pqe__body_unmark(store, name, in_use);
        } else {
            remove_if_dead(store, entry->d_name);
        }
    }
    closedir(d);
    return status;
}

static pqe_status
count_in_folder(pqe__store *store, const char *folder, uint64_t *orphans, pqe_error *err)
{
    int fd = openat(store->bodies_fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    pqe_status status = PQE_OK;

    if (d == NULL) {
        pqe__close_fd(&fd);
        ++*orphans; /* not one of our directories */
        return PQE_OK;
    }
    while (status == PQE_OK && (entry = readdir(d)) != NULL) {
        uint8_t name[PQE__ID_SIZE];
        bool in_use = false;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (strlen(entry->d_name) == NAME_TEXT - 1 && pqe__hex_decode(entry->d_name, PQE__ID_SIZE, name))
            status = file_in_use(store, name, &in_use, err);
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
    while (d != NULL && status == PQE_OK && (entry = readdir(d)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = count_in_folder(store, entry->d_name, orphans, err);
    if (d != NULL)
        closedir(d);
    return status;
}
