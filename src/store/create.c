/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a vault's place. The index is built as index.db.new and becomes index.db by a rename once it is whole, so that
 * whoever finds an index.db finds a vault.
 *
 * The maker holds a lock (flock) on index.db.new. One that can be locked was left by a maker that died: the next one takes
 * the place over. pending/<vault id> says for which vault a backend may have made a key by then; the next maker has that
 * key removed. The note holds the number of the directory's inode, since a copy of the place is not the place: what the
 * note says may have become true of the original after it was copied.
 */
#include "store/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/fsio.h"
#include "util/text.h"

#define NOTE_TEXT (2 * PQE__ID_SIZE + 1)
#define NOTE_SIZE 8u

/* What SQLite may have made; the index itself, which is the lock, goes last. */
static const char *const new_files[] = {PQE__INDEX_NEW "-wal", PQE__INDEX_NEW "-shm", PQE__INDEX_NEW "-journal"};
static const char *const final_files[] = {PQE__INDEX "-wal", PQE__INDEX "-shm", PQE__INDEX};

static pqe_status
exists_already(pqe_error *err)
{
    return pqe__fail(err, PQE_E_EXISTS, PQE_ORIGIN_API, 0, "there is a vault in this directory already");
}

static pqe_status
not_empty(pqe_error *err)
{
    return pqe__fail(err, PQE_E_EXISTS, PQE_ORIGIN_API, 0, "the directory is not empty");
}

static pqe_status
being_made(pqe_error *err)
{
    return pqe__fail(err, PQE_E_BUSY, PQE_ORIGIN_API, 0, "another process is making a vault in this directory");
}

static bool
is_there(int dir, const char *name)
{
    return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static DIR *
open_listing(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

    if (d == NULL && fd >= 0)
        close(fd);
    return d;
}

static bool
is_note_name(const char *name)
{
    uint8_t id[PQE__ID_SIZE];

    return strlen(name) == NOTE_TEXT - 1 && pqe__hex_decode(name, PQE__ID_SIZE, id);
}

/* Is `name` nothing but a directory of notes, or, without notes, of nothing at all? */
static bool
is_leftover_folder(int dir, const char *name, bool notes)
{
    DIR *d = open_listing(dir, name);
    bool fits = d != NULL;

    for (struct dirent *e; fits && (e = readdir(d)) != NULL;)
        fits = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || (notes && is_note_name(e->d_name));
    if (d != NULL)
        closedir(d);
    return fits;
}

static bool
is_leftover(int dir, const char *name)
{
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, PQE__INDEX_NEW) == 0)
        return true;
    for (size_t i = 0; i < sizeof new_files / sizeof new_files[0]; i++)
        if (strcmp(name, new_files[i]) == 0)
            return true;
    if (strcmp(name, "bodies") == 0)
        return is_leftover_folder(dir, name, false);
    return strcmp(name, "pending") == 0 && is_leftover_folder(dir, name, true);
}

/* A vault can be made in an empty directory, and where the making of another was cut short. */
static pqe_status
require_place(int dir, pqe_error *err)
{
    bool leftovers = is_there(dir, PQE__INDEX_NEW);
    DIR *d = open_listing(dir, ".");
    pqe_status status = PQE_OK;

    if (d == NULL)
        return pqe__fail_errno(err, errno, "cannot read the directory");
    if (is_there(dir, PQE__INDEX))
        status = exists_already(err);
    for (struct dirent *e; status == PQE_OK && (e = readdir(d)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !(leftovers && is_leftover(dir, e->d_name)))
            status = not_empty(err);
    closedir(d);
    return status;
}

/* The lock, taken on what has the name now; *err says why not. Made here, so that the index and SQLite's files beside it,
   which copy its mode, are the owner's alone. */
static pqe_status
take_lock(pqe__store *store, pqe_error *err)
{
    struct stat mine, named;

    store->lock_fd =
        openat(store->dir_fd, PQE__INDEX_NEW, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (store->lock_fd < 0)
        return pqe__fail_errno(err, errno, "cannot make the index");
    if (fstat(store->lock_fd, &mine) != 0)
        return pqe__fail_errno(err, errno, "cannot make the index");
    if (!S_ISREG(mine.st_mode) || mine.st_nlink > 1)
        return not_empty(err);
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? being_made(err) : pqe__fail_errno(err, errno, "cannot lock the new index");
    if (fstatat(store->dir_fd, PQE__INDEX_NEW, &named, AT_SYMLINK_NOFOLLOW) != 0 || named.st_dev != mine.st_dev ||
        named.st_ino != mine.st_ino)
        return is_there(store->dir_fd, PQE__INDEX) ? exists_already(err) : being_made(err);
    if (is_there(store->dir_fd, PQE__INDEX)) { /* finished between the look and the lock */
        unlinkat(store->dir_fd, PQE__INDEX_NEW, 0);
        return exists_already(err);
    }
    store->made_index = true;
    return PQE_OK;
}

static pqe_status
clear_leftovers(pqe__store *store, pqe_error *err)
{
    for (size_t i = 0; i < sizeof new_files / sizeof new_files[0]; i++)
        if (unlinkat(store->dir_fd, new_files[i], 0) != 0 && errno != ENOENT)
            return pqe__fail_errno(err, errno, "cannot clear what an earlier attempt left");
    if (ftruncate(store->lock_fd, 0) != 0 || fchmod(store->lock_fd, 0600) != 0)
        return pqe__fail_errno(err, errno, "cannot clear what an earlier attempt left");
    return PQE_OK;
}

static pqe_status
make_tree(pqe__store *store, const char *dir, pqe_error *err)
{
    pqe_status status;

    store->made_dir = mkdirat(AT_FDCWD, dir, 0700) == 0;
    if (!store->made_dir && errno != EEXIST)
        return pqe__fail_errno(err, errno, "cannot make the vault's directory");
    if ((status = pqe__store_open_top(store, dir, err)) != PQE_OK) {
        if (store->made_dir)
            rmdir(dir); /* here, where its name is known for certain */
        store->made_dir = false;
        return status;
    }
    if ((status = require_place(store->dir_fd, err)) != PQE_OK || (status = take_lock(store, err)) != PQE_OK ||
        (status = clear_leftovers(store, err)) != PQE_OK)
        return status;
    if ((mkdirat(store->dir_fd, "bodies", 0700) != 0 && errno != EEXIST) ||
        (mkdirat(store->dir_fd, "pending", 0700) != 0 && errno != EEXIST))
        return pqe__fail_errno(err, errno, "cannot make the vault's directories");
    return PQE_OK;
}

static pqe_status
sync_place(pqe__store *store, pqe_error *err)
{
    const char *what = "cannot make the vault's directory durable";
    pqe_status status = pqe__sync(store->dir_fd, what, err);
    int fd;

    if (status != PQE_OK || !store->made_dir)
        return status;
    fd = openat(store->dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    status =
        fd >= 0 ? pqe__sync(fd, what, err) : pqe__fail_errno(err, errno, "cannot open the directory above the vault");
    pqe__close_fd(&fd);
    return status;
}

static pqe_status
create_in(pqe__store *store, const char *dir, uint32_t busy_ms, pqe_error *err)
{
    pqe_status status = make_tree(store, dir, err);

    if (status == PQE_OK)
        status = pqe__store_open_tree(store, dir, err);
    if (status == PQE_OK)
        status = pqe__forks_note(store, err);
    if (status == PQE_OK)
        status = pqe__store_open_database(store, PQE__INDEX_NEW, true, false, busy_ms, err);
    return status;
}

pqe_status
pqe__store_create(const char *dir, uint32_t busy_ms, pqe__store **out, pqe_error *err)
{
    pqe__store *store = pqe__store_new();
    pqe_status status;

    *out = NULL;
    if (store == NULL)
        return pqe__fail_nomem(err);
    status = dir != NULL ? create_in(store, dir, busy_ms, err) : pqe__db_open(store, NULL, true, false, busy_ms, err);
    if (status == PQE_OK)
        status = pqe__db_create_schema(store, err);
    if (status == PQE_OK && store->dir_fd >= 0)
        status = sync_place(store, err);
    if (status != PQE_OK) {
        pqe__store_destroy(&store);
        return status;
    }
    *out = store;
    return PQE_OK;
}

/* ---- notes ---- */

static pqe_status
place_number(const pqe__store *store, uint8_t out[NOTE_SIZE], pqe_error *err)
{
    pqe__wcur c = pqe__wcur_init(out, NOTE_SIZE);
    struct stat st;

    if (fstat(store->dir_fd, &st) != 0)
        return pqe__fail_errno(err, errno, "cannot examine the vault's directory");
    pqe__put_u64(&c, (uint64_t)st.st_ino);
    return PQE_OK;
}

pqe_status
pqe__store_note_maker(pqe__store *store, const uint8_t vault_id[PQE__ID_SIZE], pqe_error *err)
{
    const char *what = "cannot note what is being made";
    char name[NOTE_TEXT];
    uint8_t note[NOTE_SIZE];
    pqe_status status;
    int fd;

    if (store->dir_fd < 0)
        return PQE_OK;
    if ((status = place_number(store, note, err)) != PQE_OK)
        return status;
    pqe__hex_encode(vault_id, PQE__ID_SIZE, name);
    fd = openat(store->pending_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return pqe__fail_errno(err, errno, what);
    memcpy(store->noted, vault_id, PQE__ID_SIZE);
    store->has_note = true;
    status = pqe__write_all(fd, note, sizeof note, what, err);
    if (status == PQE_OK)
        status = pqe__sync(fd, what, err);
    pqe__close_fd(&fd);
    return status == PQE_OK ? pqe__sync(store->pending_fd, what, err) : status;
}

static void
drop_note(pqe__store *store)
{
    char name[NOTE_TEXT];

    if (!store->has_note)
        return;
    pqe__hex_encode(store->noted, PQE__ID_SIZE, name);
    unlinkat(store->pending_fd, name, 0);
    store->has_note = false;
}

/* Was it made here, and not copied here? */
static bool
note_is_of_here(pqe__store *store, const char *name)
{
    uint8_t here[NOTE_SIZE], note[NOTE_SIZE + 1];
    int fd = openat(store->pending_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, note, sizeof note) : -1;

    pqe__close_fd(&fd);
    return n == (ssize_t)NOTE_SIZE && place_number(store, here, NULL) == PQE_OK && memcmp(here, note, NOTE_SIZE) == 0;
}

void
pqe__store_settle_notes(pqe__store *store, pqe__note_fn forget, void *user)
{
    DIR *d = store->dir_fd >= 0 ? open_listing(store->pending_fd, ".") : NULL;
    uint8_t id[PQE__ID_SIZE];

    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        if (!is_note_name(e->d_name) || !pqe__hex_decode(e->d_name, PQE__ID_SIZE, id))
            continue;
        if (store->has_note && memcmp(id, store->noted, PQE__ID_SIZE) == 0)
            continue;
        if (note_is_of_here(store, e->d_name))
            forget(user, id);
        unlinkat(store->pending_fd, e->d_name, 0);
    }
    if (d != NULL)
        closedir(d);
}

/* ---- the end of it ---- */

static pqe_status
give_name(pqe__store *store, pqe_error *err)
{
    int dir = store->dir_fd;

    if (renameat2(dir, PQE__INDEX_NEW, dir, PQE__INDEX, RENAME_NOREPLACE) == 0)
        return PQE_OK;
    /* Not every file system can promise to replace nothing. The lock keeps other makers away. */
    if ((errno == EINVAL || errno == ENOSYS) && !is_there(dir, PQE__INDEX) &&
        renameat(dir, PQE__INDEX_NEW, dir, PQE__INDEX) == 0)
        return PQE_OK;
    return errno == EEXIST ? exists_already(err) : pqe__fail_errno(err, errno, "cannot name the index");
}

pqe_status
pqe__store_publish(pqe__store *store, pqe_error *err)
{
    pqe_status status;

    if (store->dir_fd < 0)
        return PQE_OK;
    if ((status = pqe__db_finish(store, err)) != PQE_OK)
        return status;
    if (is_there(store->dir_fd, new_files[0]))
        return pqe__fail(err, PQE_E_IO, PQE_ORIGIN_INDEX, 0,
                         "cannot make the index: its log could not be written back");
    if ((status = pqe__sync(store->lock_fd, "cannot make the index durable", err)) != PQE_OK ||
        (status = give_name(store, err)) != PQE_OK)
        return status;
    store->published = true;
    /* Now and not later: closing a file drops the locks that SQLite has on it in this process. */
    pqe__close_fd(&store->lock_fd);
    status = pqe__sync(store->dir_fd, "cannot make the index durable", err);
    if (status == PQE_OK)
        status = pqe__store_open_database(store, PQE__INDEX, false, false, store->busy_ms, err);
    if (status == PQE_OK) /* this reads, by which the log is made too: on a full disk it could not be later */
        status = pqe__db_check_schema(store, err);
    if (status != PQE_OK)
        return status;
    drop_note(store);
    store->made_index = store->made_dir = store->published = false;
    return PQE_OK;
}

static void
remove_files(pqe__store *s, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        unlinkat(s->dir_fd, names[i], 0);
}

void
pqe__store_destroy(pqe__store **store)
{
    pqe__store *s = *store;

    if (s == NULL)
        return;
    pqe__db_close(s);
    if (s->made_index) {
        if (s->published)
            remove_files(s, final_files, sizeof final_files / sizeof final_files[0]);
        remove_files(s, new_files, sizeof new_files / sizeof new_files[0]);
        drop_note(s);
        unlinkat(s->dir_fd, "bodies", AT_REMOVEDIR);
        /* Notes of others that were not settled keep their place recognisable. */
        if (unlinkat(s->dir_fd, "pending", AT_REMOVEDIR) == 0 || errno == ENOENT)
            unlinkat(s->dir_fd, PQE__INDEX_NEW, 0);
    }
    if (s->made_dir)
        rmdir(s->dir);
    s->in_transaction = false;
    pqe__store_close(store);
}
