/* SPDX-License-Identifier: Apache-2.0 */
/* An output file that is there whole or not at all. */
#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static int
open_directory_of(const char *path, const char **base)
{
    const char *slash = strrchr(path, '/');
    char *parent;
    int fd, errnum;

    *base = slash != NULL ? slash + 1 : path;
    if (slash == NULL)
        return open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    parent = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (parent == NULL)
        return -1;
    fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    errnum = errno;
    free(parent);
    errno = errnum;
    return fd;
}

static int
make_temporary_name(cli_outfile *file)
{
    uint64_t number;

    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        return EIO;
    snprintf(file->temporary, sizeof file->temporary, ".pqc-enclave.%016" PRIx64, number);
    return 0;
}

static int
open_temporary(cli_outfile *file)
{
    int errnum = make_temporary_name(file);

    if (errnum != 0)
        return errnum;
    /* A file without a name is given one through /proc. */
    if (access("/proc/self/fd", X_OK) == 0) {
        file->fd = openat(file->dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
        if (file->fd >= 0)
            return 0;
        if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL)
            return errno;
    }
    file->fd = openat(file->dir, file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file->fd < 0)
        return errno;
    file->is_named = true;
    return 0;
}

/* /dev/stdout and the like are links into /proc, where nothing can be replaced, and which must stay what they are. */
static bool
leads_into_proc(const char *path, char target[PATH_MAX])
{
    ssize_t n = readlink(path, target, PATH_MAX - 1);

    target[n > 0 ? n : 0] = '\0';
    return strncmp(target, "/proc/", sizeof "/proc/" - 1) == 0;
}

static bool
is_in_proc(int dir)
{
    struct statfs fs;

    return fstatfs(dir, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* The number of the descriptor of ours that `base` in the directory stands for, or -1. */
static int
own_descriptor(int dir, const char *base)
{
    struct stat here, own;
    char *end;
    long number;

    if (fstat(dir, &here) != 0 || stat("/proc/self/fd", &own) != 0 || here.st_dev != own.st_dev ||
        here.st_ino != own.st_ino || base[0] < '0' || base[0] > '9')
        return -1;
    number = strtol(base, &end, 10);
    return *end == '\0' && number <= INT_MAX ? (int)number : -1;
}

/* What is open already is written on from where it stands, as standard output would be. Opened anew, a file would be
   overwritten from its start, and what a failed command leaves would be neither old nor new. */
static int
open_in_place(cli_outfile *file, const char *path)
{
    const char *base;
    int dir = open_directory_of(path, &base), number = dir >= 0 ? own_descriptor(dir, base) : -1, flags;

    if (dir >= 0)
        close(dir);
    if (number < 0) {
        file->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        return file->fd < 0 ? errno : 0;
    }
    flags = fcntl(number, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
        return EBADF;
    file->fd = fcntl(number, F_DUPFD_CLOEXEC, 3);
    return file->fd < 0 ? errno : 0;
}

int
cli_outfile_open(cli_outfile *file, const char *path)
{
    char target[PATH_MAX];
    struct stat st;
    int errnum;

    *file = (cli_outfile){.fd = -1, .dir = -1};
    if (path[0] == '\0')
        return ENOENT;
    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return EISDIR;
        if (leads_into_proc(path, target))
            return open_in_place(file, target);
        if (!S_ISREG(st.st_mode))
            return open_in_place(file, path);
    }
    file->dir = open_directory_of(path, &file->base);
    if (file->dir < 0)
        return errno;
    if (is_in_proc(file->dir)) {
        cli_outfile_discard(file);
        return open_in_place(file, path);
    }
    if (file->base[0] == '\0')
        errnum = EISDIR;
    else
        errnum = open_temporary(file);
    if (errnum != 0)
        cli_outfile_discard(file);
    return errnum;
}

static int
name_it(cli_outfile *file)
{
    char source[32];

    if (!file->is_named) {
        snprintf(source, sizeof source, "/proc/self/fd/%d", file->fd);
        if (linkat(AT_FDCWD, source, file->dir, file->temporary, AT_SYMLINK_FOLLOW) != 0)
            return errno;
        file->is_named = true;
    }
    if (renameat(file->dir, file->temporary, file->dir, file->base) != 0)
        return errno;
    file->is_named = false;
    return 0;
}

/* Makes the new name durable. A directory that may be written but not read cannot be synced; then it is left at that. */
static int
sync_directory(int dir)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), errnum = 0;

    if (fd < 0)
        return 0;
    if (fsync(fd) != 0 && errno != EINVAL)
        errnum = errno;
    close(fd);
    return errnum;
}

int
cli_outfile_commit(cli_outfile *file)
{
    int errnum = 0;

    if (file->dir >= 0) {
        if (fsync(file->fd) != 0)
            errnum = errno;
        if (errnum == 0)
            errnum = name_it(file);
        if (errnum == 0)
            errnum = sync_directory(file->dir);
    } else if (close(file->fd) != 0) {
        errnum = errno;
    }
    if (file->dir < 0)
        file->fd = -1;
    cli_outfile_discard(file);
    return errnum;
}

void
cli_outfile_discard(cli_outfile *file)
{
    if (file->is_named)
        unlinkat(file->dir, file->temporary, 0);
    if (file->fd >= 0)
        close(file->fd);
    if (file->dir >= 0)
        close(file->dir);
    *file = (cli_outfile){.fd = -1, .dir = -1};
}
