/* SPDX-License-Identifier: Apache-2.0 */
/* Key files: where they are, how they come into being without ever being half there, what is accepted as one. */
#include "backend/file/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/softkey.h"
#include "util/fsio.h"
#include "util/secmem.h"
#include "util/text.h"
#include "util/userdir.h"

#define FAMILY "pqc-enclave key file v"
#define HEADER FAMILY "1\n"
#define HEADER_LEN (sizeof HEADER - 1)
#define ID_DIGITS ((size_t)2 * PQE_VAULT_ID_SIZE)
#define KEY_DIGITS ((size_t)2 * PQE__KEY_SIZE)
#define FILE_LEN (HEADER_LEN + ID_DIGITS + 1 + KEY_DIGITS + 1)

#define TEMP_NAME_SIZE (1 + ID_DIGITS + sizeof ".tmp")
#define SHOWN_MAX 120 /* of a path in a message; its end says more than its start */

typedef struct shown {
    char text[SHOWN_MAX + 4];
} shown;

static shown
show(const char *path)
{
    size_t len = strlen(path);
    const char *tail = len > SHOWN_MAX ? path + len - SHOWN_MAX : path;
    shown s;

    while (tail != path && ((unsigned char)*tail & 0xc0) == 0x80) /* not in the middle of a UTF-8 sequence */
        tail++;
    snprintf(s.text, sizeof s.text, "%s%s", tail != path ? "..." : "", tail);
    return s;
}

static pqe_status
denied(pqe_error *err, const char *path, const char *why)
{
    return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_BACKEND, 0, "key file %s %s", show(path).text, why);
}

/* ---- default place ---- */

pqe_status
pqe__keyfile_default_path(const uint8_t id[PQE_VAULT_ID_SIZE], char *buf, size_t cap, pqe_error *err)
{
    char hex[ID_DIGITS + 1];

    pqe__hex_encode(id, PQE_VAULT_ID_SIZE, hex);
    if (pqe__user_key_path(hex, buf, cap))
        return PQE_OK;
    if (errno == ENAMETOOLONG)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_IO, 0, "the path of the user's configuration is too long");
    return pqe__fail(
        err, PQE_E_DENIED, PQE_ORIGIN_BACKEND, 0,
        "no place for the key file: XDG_CONFIG_HOME and HOME are unset and this user has no home directory");
}

/* ---- reading ---- */

/* Anyone who can read the file has the key; anyone else who owns it can make it readable or replace it. */
static pqe_status
check_private(int fd, const char *path, pqe_error *err)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return pqe__fail_errno(err, errno, "cannot examine the key file");
    if (!S_ISREG(st.st_mode))
        return denied(err, path, "is not a regular file");
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return denied(err, path, "belongs to another user");
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return denied(err, path, "is open to other users; make it private with chmod 600");
    return PQE_OK;
}

static pqe_status
open_for_reading(const char *path, int *fd, pqe_error *err)
{
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. It has no effect on regular files. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (*fd >= 0)
        return check_private(*fd, path, err);
    if (errno == ENOENT || errno == ENOTDIR)
        return denied(err, path, "not found");
    if (errno == EACCES || errno == EPERM)
        return denied(err, path, "is not readable by this user");
    if (errno == ELOOP)
        return denied(err, path, "is a loop of symbolic links");
    return pqe__fail_errno(err, errno, "cannot open the key file");
}

static pqe_status
parse(const char *text, size_t len, const char *path, const uint8_t id[PQE_VAULT_ID_SIZE], uint8_t key[PQE__KEY_SIZE],
      pqe_error *err)
{
    const char *id_line = text + HEADER_LEN;
    const char *key_line = id_line + ID_DIGITS + 1;
    uint8_t file_id[PQE_VAULT_ID_SIZE];

    if (len >= HEADER_LEN && memcmp(text, FAMILY, sizeof FAMILY - 1) == 0 && memcmp(text, HEADER, HEADER_LEN) != 0)
        return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_FORMAT, 0, "key file %s has a format unknown to this version",
                         show(path).text);
    if (len != FILE_LEN || memcmp(text, HEADER, HEADER_LEN) != 0 || id_line[ID_DIGITS] != '\n' ||
        key_line[KEY_DIGITS] != '\n' || !pqe__hex_decode(id_line, PQE_VAULT_ID_SIZE, file_id))
        return denied(err, path, "is not a pqc-enclave key file");
    if (memcmp(file_id, id, PQE_VAULT_ID_SIZE) != 0) {
        char hex[ID_DIGITS + 1];
        pqe__hex_encode(file_id, PQE_VAULT_ID_SIZE, hex);
        return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_BACKEND, 0, "key file %s is of another vault, %s",
                         show(path).text, hex);
    }
    if (!pqe__hex_decode(key_line, PQE__KEY_SIZE, key)) {
        pqe__wipe(key, PQE__KEY_SIZE);
        return denied(err, path, "is not a pqc-enclave key file");
    }
    return PQE_OK;
}

static pqe_status
note_file(int fd, const char *path, pqe__keyfile_made *found, pqe_error *err)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return pqe__fail_errno(err, errno, "cannot examine the key file");
    *found = (pqe__keyfile_made){.path = strdup(path), .dev = st.st_dev, .ino = st.st_ino};
    return found->path != NULL ? PQE_OK : pqe__fail_nomem(err);
}

pqe_status
pqe__keyfile_read(const char *path, const uint8_t id[PQE_VAULT_ID_SIZE], uint8_t key[PQE__KEY_SIZE],
                  pqe__keyfile_made *found, pqe_error *err)
{
    void *text = NULL;
    size_t len = 0;
    int fd = -1;
    pqe_status status = open_for_reading(path, &fd, err);

    /* One byte more than a key file has, to notice a longer one without reading it. */
    if (status == PQE_OK)
        status = pqe__softkey_alloc(FILE_LEN + 1, &text, err);
    if (status == PQE_OK)
        status = pqe__read_all(fd, text, FILE_LEN + 1, &len, "cannot read the key file", err);
    if (status == PQE_OK)
        status = parse(text, len, path, id, key, err);
    if (status == PQE_OK && found != NULL)
        status = note_file(fd, path, found, err);
    pqe__secmem_free(text);
    pqe__close_fd(&fd);
    return status;
}

/* ---- creating ---- */

/* A directory just made survives a power cut once the one that holds it is synced. */
static pqe_status
sync_parent(const char *dir, pqe_error *err)
{
    const char *what = "cannot make the key file's directory";
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int parent = fd >= 0 ? openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    pqe_status status = parent >= 0 ? pqe__sync(parent, what, err) : pqe__fail_errno(err, errno, what);

    pqe__close_fd(&parent);
    pqe__close_fd(&fd);
    return status;
}

/* Makes what is missing of `dir`, which is changed during the call only. `*first` as in pqe__keyfile_made. */
static pqe_status
make_directories(char *dir, size_t *first, pqe_error *err)
{
    size_t len = strlen(dir);
    pqe_status status = PQE_OK;

    for (size_t i = 1; i <= len && status == PQE_OK; i++) {
        char saved = dir[i];
        if (saved != '/' && saved != '\0')
            continue;
        dir[i] = '\0';
        if (mkdir(dir, 0700) == 0) {
            if (*first == 0)
                *first = i;
            status = sync_parent(dir, err);
        } else if (errno != EEXIST) {
            status = pqe__fail_errno(err, errno, "cannot make the key file's directory");
        }
        dir[i] = saved;
    }
    return status;
}

static void
remove_directories(char *dir, size_t first)
{
    size_t len = strlen(dir);

    while (first != 0 && len >= first) {
        dir[len] = '\0';
        if (rmdir(dir) != 0)
            return;
        while (len > 0 && dir[len - 1] != '/')
            len--;
        while (len > 0 && dir[len - 1] == '/')
            len--;
    }
}

/* The directory part of a path shorter than PATH_MAX; "." if it has none. */
static void
directory_of(const char *path, char dir[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL || slash == path ? 1 : (size_t)(slash - path);

    memcpy(dir, slash != NULL ? path : ".", len);
    dir[len] = '\0';
}

static const char *
base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static pqe_status
write_text(int fd, const uint8_t id[PQE_VAULT_ID_SIZE], const uint8_t key[PQE__KEY_SIZE], pqe_error *err)
{
    const char *what = "cannot write the key file";
    char *text;
    void *p;
    pqe_status status = pqe__softkey_alloc(FILE_LEN + 1, &p, err);

    if (status != PQE_OK)
        return status;
    text = p;
    memcpy(text, HEADER, HEADER_LEN);
    pqe__hex_encode(id, PQE_VAULT_ID_SIZE, text + HEADER_LEN);
    text[HEADER_LEN + ID_DIGITS] = '\n';
    pqe__hex_encode(key, PQE__KEY_SIZE, text + HEADER_LEN + ID_DIGITS + 1);
    text[FILE_LEN - 1] = '\n';
    status = pqe__write_all(fd, text, FILE_LEN, what, err);
    if (status == PQE_OK)
        status = pqe__sync(fd, what, err);
    pqe__secmem_free(p);
    return status;
}

/* By this name it is found again if the process dies here. */
static void
temporary_name(const uint8_t id[PQE_VAULT_ID_SIZE], char out[TEMP_NAME_SIZE])
{
    out[0] = '.';
    pqe__hex_encode(id, PQE_VAULT_ID_SIZE, out + 1);
    memcpy(out + 1 + ID_DIGITS, ".tmp", sizeof ".tmp");
}

/* A complete, synced file under a temporary name. */
static pqe_status
make_temporary(int dir, const char *path, char temp[TEMP_NAME_SIZE], const uint8_t id[PQE_VAULT_ID_SIZE],
               const uint8_t key[PQE__KEY_SIZE], pqe__keyfile_made *made, pqe_error *err)
{
    struct stat st = {0};
    int fd;
    pqe_status status;

    temporary_name(id, temp);
    fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        if (errno == EEXIST)
            status = pqe__fail(err, PQE_E_EXISTS, PQE_ORIGIN_IO, EEXIST,
                               "key file %s is being made, or that was cut short: then remove %s beside it",
                               show(path).text, temp);
        else
            status = pqe__fail_errno(err, errno, "cannot make the key file");
        temp[0] = '\0';
        return status;
    }
    /* Against an odd umask; and a file system without permissions must be noticed now, not at the first unlock. */
    if (fchmod(fd, 0600) != 0 || fstat(fd, &st) != 0)
        status = pqe__fail_errno(err, errno, "cannot make the key file private");
    else
        status = check_private(fd, path, err);
    if (status == PQE_OK)
        status = write_text(fd, id, key, err);
    if (status == PQE_OK) {
        made->dev = st.st_dev;
        made->ino = st.st_ino;
    }
    pqe__close_fd(&fd);
    return status;
}

/* Gives the file its name without replacing anything. Hard links are the fall-back, not the first choice: some systems
 * forbid them to applications, while some file systems lack RENAME_NOREPLACE. */
static pqe_status
publish(int dir, const char *temp, const char *path, pqe_error *err)
{
    const char *base = base_of(path);

    if (renameat2(dir, temp, dir, base, RENAME_NOREPLACE) == 0)
        return PQE_OK;
    if ((errno == EINVAL || errno == ENOSYS) && linkat(dir, temp, dir, base, 0) == 0) {
        unlinkat(dir, temp, 0);
        return PQE_OK;
    }
    if (errno == EEXIST)
        return pqe__fail(err, PQE_E_EXISTS, PQE_ORIGIN_IO, EEXIST, "key file %s exists already", show(path).text);
    return pqe__fail_errno(err, errno, "cannot name the key file");
}

static pqe_status
create_in(int dir, const char *path, const uint8_t id[PQE_VAULT_ID_SIZE], const uint8_t key[PQE__KEY_SIZE],
          pqe__keyfile_made *made, pqe_error *err)
{
    char temp[TEMP_NAME_SIZE] = "";
    pqe_status status = make_temporary(dir, path, temp, id, key, made, err);

    if (status == PQE_OK)
        status = publish(dir, temp, path, err);
    if (status != PQE_OK) {
        if (temp[0] != '\0')
            unlinkat(dir, temp, 0);
        return status;
    }
    status = pqe__sync(dir, "cannot make the key file durable", err);
    if (status != PQE_OK)
        unlinkat(dir, base_of(path), 0);
    return status;
}

static pqe_status
check_path(const char *path, pqe_error *err)
{
    const char *base = base_of(path);

    if (strlen(path) >= PATH_MAX)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the key file's path is too long");
    if (base[0] == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "%s names no key file but a directory",
                         show(path).text);
    return PQE_OK;
}

pqe_status
pqe__keyfile_create(const char *path, const uint8_t id[PQE_VAULT_ID_SIZE], const uint8_t key[PQE__KEY_SIZE],
                    pqe__keyfile_made *made, pqe_error *err)
{
    char dir_path[PATH_MAX] = "";
    int dir = -1;
    pqe_status status = check_path(path, err);

    *made = (pqe__keyfile_made){0};
    if (status != PQE_OK)
        return status;
    made->path = strdup(path);
    if (made->path == NULL)
        return pqe__fail_nomem(err);
    directory_of(path, dir_path);
    status = make_directories(dir_path, &made->first_dir, err);
    if (status == PQE_OK) {
        dir = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        status = dir >= 0 ? create_in(dir, path, id, key, made, err)
                          : pqe__fail_errno(err, errno, "cannot open the key file's directory");
    }
    pqe__close_fd(&dir);
    if (status != PQE_OK) {
        remove_directories(dir_path, made->first_dir);
        pqe__keyfile_forget(made);
    }
    return status;
}

void
pqe__keyfile_remove(const pqe__keyfile_made *made)
{
    char dir_path[PATH_MAX];
    struct stat st;

    if (made->path == NULL || lstat(made->path, &st) != 0 || st.st_dev != made->dev || st.st_ino != made->ino)
        return;
    directory_of(made->path, dir_path);
    if (unlink(made->path) == 0)
        remove_directories(dir_path, made->first_dir);
}

void
pqe__keyfile_remove_dead(const char *path, const uint8_t id[PQE_VAULT_ID_SIZE])
{
    char dir_path[PATH_MAX], temp[TEMP_NAME_SIZE];
    void *key;
    int dir;

    if (check_path(path, NULL) != PQE_OK || pqe__softkey_alloc(PQE__KEY_SIZE, &key, NULL) != PQE_OK)
        return;
    directory_of(path, dir_path);
    dir = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) {
        temporary_name(id, temp);
        unlinkat(dir, temp, 0);
        if (pqe__keyfile_read(path, id, key, NULL, NULL) == PQE_OK) /* it says whose it is */
            unlinkat(dir, base_of(path), 0);
        pqe__close_fd(&dir);
    }
    pqe__secmem_free(key);
}

void
pqe__keyfile_forget(pqe__keyfile_made *made)
{
    free(made->path);
    *made = (pqe__keyfile_made){0};
}
