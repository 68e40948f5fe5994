/* SPDX-License-Identifier: Apache-2.0 */
/* The directory of links that `exec` makes for {DIR}. */
#include "linkdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PREFIX "pqc-enclave-exec-"
#define DEPTH_MAX 64
#define TRIES 100

/* The places to try, in order. $XDG_RUNTIME_DIR must be this user's own; /dev/shm is everybody's. */
static const char *
place(size_t index)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");

    if (index == 0)
        return runtime != NULL && runtime[0] == '/' ? runtime : "";
    return index == 1 ? "/dev/shm" : NULL;
}

/* Opens a place if what is written there stays in memory. */
static int
open_place(size_t index)
{
    int fd = open(place(index), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct statfs fs;
    struct stat st;

    if (fd < 0)
        return -1;
    if (fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || (unsigned long)fs.f_type == RAMFS_MAGIC) &&
        fstat(fd, &st) == 0 && (index != 0 || st.st_uid == geteuid()))
        return fd;
    close(fd);
    return -1;
}

/* Makes a directory and holds it. A sweeper may take it between the two: then EAGAIN. */
static int
make_in(cli_linkdir *dir)
{
    uint64_t number;
    struct stat st;

    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        return EIO;
    snprintf(dir->name, sizeof dir->name, PREFIX "%016" PRIx64, number);
    if (mkdirat(dir->base, dir->name, 0700) != 0)
        return errno == EEXIST ? EAGAIN : errno;
    dir->fd = openat(dir->base, dir->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir->fd < 0)
        return errno == ENOENT ? EAGAIN : errno;
    if (flock(dir->fd, LOCK_EX | LOCK_NB) == 0 && fstat(dir->fd, &st) == 0 && st.st_nlink > 0)
        return 0;
    close(dir->fd);
    dir->fd = -1;
    return EAGAIN;
}

int
cli_linkdir_create(cli_linkdir *dir)
{
    int errnum = ENODEV;

    *dir = (cli_linkdir){.base = -1, .fd = -1};
    for (size_t i = 0; place(i) != NULL; i++) {
        dir->base = open_place(i);
        if (dir->base < 0)
            continue;
        errnum = EAGAIN;
        for (int tries = 0; tries < TRIES && errnum == EAGAIN; tries++)
            errnum = make_in(dir);
        if (errnum == 0 &&
            (size_t)snprintf(dir->path, sizeof dir->path, "%s/%s", place(i), dir->name) >= sizeof dir->path)
            errnum = ENAMETOOLONG;
        if (errnum == 0)
            return 0;
        cli_linkdir_remove(dir);
    }
    return errnum;
}

int
cli_linkdir_add(cli_linkdir *dir, const char *name, int target)
{
    char path[32];

    snprintf(path, sizeof path, "/proc/self/fd/%d", target);
    return symlinkat(path, dir->fd, name) == 0 ? 0 : errno;
}

/* CMD may have made files in the directory, and directories of its own. Closes `fd`. */
static void
empty(int fd, int depth)
{
    DIR *d = fdopendir(fd);
    const struct dirent *entry;

    if (d == NULL) {
        close(fd);
        return;
    }
    while ((entry = readdir(d)) != NULL) {
        int child;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            unlinkat(fd, entry->d_name, 0) == 0 || depth == DEPTH_MAX)
            continue;
        child = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (child >= 0)
            empty(child, depth + 1);
        unlinkat(fd, entry->d_name, AT_REMOVEDIR);
    }
    closedir(d);
}

static void
remove_directory(int base, const char *name)
{
    int fd = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd >= 0)
        empty(fd, 0);
    unlinkat(base, name, AT_REMOVEDIR);
}

void
cli_linkdir_remove(cli_linkdir *dir)
{
    /* The lock goes last, so that no sweeper meets a directory that is being removed. */
    if (dir->base >= 0 && dir->fd >= 0)
        remove_directory(dir->base, dir->name);
    if (dir->fd >= 0)
        close(dir->fd);
    if (dir->base >= 0)
        close(dir->base);
    dir->base = -1;
    dir->fd = -1;
}

static bool
is_stale(int base, const char *name, int *held)
{
    struct stat st;

    *held = -1;
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
        return false;
    *held = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return *held >= 0 && fstat(*held, &st) == 0 && st.st_uid == geteuid() && flock(*held, LOCK_EX | LOCK_NB) == 0;
}

size_t
cli_linkdir_sweep(bool remove)
{
    size_t count = 0;

    for (size_t i = 0; place(i) != NULL; i++) {
        int base = open_place(i);
        DIR *d = base >= 0 ? fdopendir(base) : NULL;
        const struct dirent *entry;

        while (d != NULL && (entry = readdir(d)) != NULL) {
            int held;
            if (is_stale(base, entry->d_name, &held)) {
                count++;
                if (remove)
                    remove_directory(base, entry->d_name);
            }
            if (held >= 0)
                close(held);
        }
        if (d != NULL)
            closedir(d);
        else if (base >= 0)
            close(base);
    }
    return count;
}

bool
cli_linkdir_possible(void)
{
    for (size_t i = 0; place(i) != NULL; i++) {
        int fd = open_place(i);
        if (fd >= 0) {
            bool writable = faccessat(fd, ".", W_OK, AT_EACCESS) == 0;
            close(fd);
            if (writable)
                return true;
        }
    }
    return false;
}
