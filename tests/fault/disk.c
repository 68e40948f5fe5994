/* SPDX-License-Identifier: Apache-2.0 */
/* A model of what is durable, kept by watching system calls. */
#include "fault/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault/common.h"

typedef struct entry {
    char name[NAME_MAX + 1];
    uint64_t node;
} entry;

typedef struct node {
    uint64_t id; /* inode number while it exists, then a number of its own: inode numbers are used again */
    bool is_dir, alive;
    entry *entries; /* durable ones */
    uint8_t *bytes; /* durable ones */
    size_t count;   /* of either */
} node;

struct disk {
    char root[PATH_MAX];
    node *nodes;
    size_t count, capacity;
    uint64_t next_id;
};

static void *
must_have(void *p)
{
    if (p == NULL)
        die("out of memory");
    return p;
}

static node *
find(const disk *d, uint64_t id)
{
    for (size_t i = 0; i < d->count; i++)
        if (d->nodes[i].id == id)
            return &d->nodes[i];
    return NULL;
}

/* A node that was not known has nothing durable. */
static node *
find_or_add(disk *d, uint64_t id, bool is_dir)
{
    node *n = find(d, id);

    if (n != NULL)
        return n;
    if (d->count == d->capacity) {
        d->capacity = d->capacity != 0 ? 2 * d->capacity : 64;
        d->nodes = must_have(reallocarray(d->nodes, d->capacity, sizeof *d->nodes));
    }
    n = &d->nodes[d->count++];
    *n = (node){.id = id, .is_dir = is_dir, .alive = true};
    return n;
}

/* ---- syncing ---- */

static uint8_t *
read_whole(int fd, size_t *len)
{
    struct stat st;
    uint8_t *bytes;
    size_t done = 0;

    if (fstat(fd, &st) != 0)
        die("fstat: %s", strerror(errno));
    *len = (size_t)st.st_size;
    bytes = must_have(malloc(*len + 1));
    while (done < *len) {
        ssize_t n = pread(fd, bytes + done, *len - done, (off_t)done);
        if (n <= 0)
            die("pread: %s", strerror(errno));
        done += (size_t)n;
    }
    return bytes;
}

static void
sync_file(disk *d, uint64_t id, int fd)
{
    node *n = find_or_add(d, id, false);

    free(n->bytes);
    n->bytes = read_whole(fd, &n->count);
}

/* Takes over `fd`. */
static void
sync_directory(disk *d, uint64_t id, int fd)
{
    DIR *dir = must_have(fdopendir(fd));
    entry *entries = NULL;
    size_t count = 0;
    struct dirent *e;
    node *n;

    while ((e = readdir(dir)) != NULL) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        find_or_add(d, st.st_ino, S_ISDIR(st.st_mode));
        entries = must_have(reallocarray(entries, count + 1, sizeof *entries));
        snprintf(entries[count].name, sizeof entries[count].name, "%s", e->d_name);
        entries[count++].node = st.st_ino;
    }
    closedir(dir);
    n = find_or_add(d, id, true);
    free(n->entries);
    n->entries = entries;
    n->count = count;
}

static void
sync_path(disk *d, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0)
        die("cannot open %s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        sync_directory(d, st.st_ino, fd);
    } else {
        if (S_ISREG(st.st_mode))
            sync_file(d, st.st_ino, fd);
        close(fd);
    }
}

/* ---- the whole tree ---- */

typedef void (*visit_fn)(disk *d, const char *path, const struct stat *st);

static void
visit(disk *d, const char *path, visit_fn fn)
{
    struct stat st;
    DIR *dir;

    if (lstat(path, &st) != 0)
        die("lstat: %s", strerror(errno));
    fn(d, path, &st);
    if (!S_ISDIR(st.st_mode) || (dir = opendir(path)) == NULL)
        return;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char sub[PATH_MAX];
        int n = snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && n > 0 && (size_t)n < sizeof sub)
            visit(d, sub, fn);
    }
    closedir(dir);
}

static void
sync_visited(disk *d, const char *path, const struct stat *st)
{
    (void)st;
    sync_path(d, path);
}

static void
note_alive(disk *d, const char *path, const struct stat *st)
{
    (void)path;
    find_or_add(d, st->st_ino, S_ISDIR(st->st_mode))->alive = true;
}

/* What was unlinked keeps its place in what is durable, under a number that no new file can get. */
static void
rename_dead(disk *d)
{
    for (size_t i = 0; i < d->count; i++)
        d->nodes[i].alive = d->nodes[i].id >= UINT64_MAX / 2;
    visit(d, d->root, note_alive);
    for (size_t i = 0; i < d->count; i++) {
        uint64_t old = d->nodes[i].id, fresh;
        if (d->nodes[i].alive)
            continue;
        fresh = d->next_id++;
        d->nodes[i].id = fresh;
        for (size_t k = 0; k < d->count; k++)
            for (size_t e = 0; d->nodes[k].is_dir && e < d->nodes[k].count; e++)
                if (d->nodes[k].entries[e].node == old)
                    d->nodes[k].entries[e].node = fresh;
    }
}

disk *
disk_new(const char *root)
{
    disk *d = must_have(calloc(1, sizeof *d));

    if (realpath(root, d->root) == NULL)
        die("realpath: %s", strerror(errno));
    d->next_id = UINT64_MAX / 2;
    visit(d, d->root, sync_visited);
    return d;
}

void
disk_free(disk *d)
{
    for (size_t i = 0; i < d->count; i++) {
        free(d->nodes[i].entries);
        free(d->nodes[i].bytes);
    }
    free(d->nodes);
    free(d);
}

/* ---- following ---- */

static bool
below_root(const disk *d, const char *link, char path[PATH_MAX])
{
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    size_t len = strlen(d->root);

    if (n < 0)
        return false;
    path[n] = '\0';
    return strncmp(path, d->root, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

bool
disk_follow(disk *d, const trace_stop *stop)
{
    char link[64], path[PATH_MAX];

    if (stop->entry || stop->result < 0)
        return false;
    switch (stop->call) {
    case SYS_fsync:
    case SYS_fdatasync:
        snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)stop->child, (int)stop->args[0]);
        if (!below_root(d, link, path))
            return false;
        sync_path(d, link);
        return true;
    case SYS_openat:
        return (stop->args[2] & O_CREAT) != 0;
#ifdef SYS_open
    case SYS_open:
        return (stop->args[1] & O_CREAT) != 0;
    case SYS_unlink:
    case SYS_rmdir:
    case SYS_rename:
    case SYS_mkdir:
#endif
    case SYS_unlinkat:
    case SYS_renameat:
    case SYS_renameat2:
    case SYS_mkdirat:
        rename_dead(d);
        return true;
    case SYS_write:
    case SYS_pwrite64:
    case SYS_ftruncate:
        return true;
    default:
        return false;
    }
}

/* ---- images ---- */

static void
write_file(const char *path, const uint8_t *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 || (len != 0 && write(fd, bytes, len) != (ssize_t)len))
        die("cannot write %s: %s", path, strerror(errno));
    close(fd);
}

/* Shared memory of SQLite's is no data: it is built anew. */
static bool
is_left_out(const char *name)
{
    size_t len = strlen(name);

    return len > 4 && strcmp(name + len - 4, "-shm") == 0;
}

/* The bytes that a file has now, if it is still there; else the durable ones. */
static const char *
live_path(const disk *d, const char *dir, uint64_t id, char out[PATH_MAX])
{
    DIR *handle = opendir(dir);
    const char *found = NULL;
    struct dirent *e;

    (void)d;
    while (handle != NULL && found == NULL && (e = readdir(handle)) != NULL) {
        struct stat st;
        char path[PATH_MAX];
        int n = snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (n < 0 || (size_t)n >= sizeof path || strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            lstat(path, &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode))
            found = live_path(d, path, id, out);
        else if (st.st_ino == id)
            found = strcpy(out, path);
    }
    if (handle != NULL)
        closedir(handle);
    return found;
}

static void
make_file(const disk *d, const node *n, bool live_bytes, const char *target)
{
    char path[PATH_MAX];
    int fd = -1;

    if (live_bytes && live_path(d, d->root, n->id, path) != NULL)
        fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        size_t len;
        uint8_t *bytes = read_whole(fd, &len);
        write_file(target, bytes, len);
        free(bytes);
        close(fd);
    } else {
        write_file(target, n->bytes, n->bytes != NULL ? n->count : 0);
    }
}

static void
make_durable(const disk *d, const node *n, bool live_bytes, const char *target)
{
    char sub[PATH_MAX];

    if (!n->is_dir) {
        make_file(d, n, live_bytes, target);
        return;
    }
    if (mkdir(target, 0700) != 0)
        die("mkdir: %s", strerror(errno));
    for (size_t i = 0; i < n->count; i++) {
        const node *child = find(d, n->entries[i].node);
        int len = snprintf(sub, sizeof sub, "%s/%s", target, n->entries[i].name);
        if (child != NULL && len > 0 && (size_t)len < sizeof sub && !is_left_out(sub))
            make_durable(d, child, live_bytes, sub);
    }
}

static void
make_named(const disk *d, const char *source, const char *target)
{
    struct stat st;
    DIR *dir;

    if (lstat(source, &st) != 0)
        die("lstat: %s", strerror(errno));
    if (!S_ISDIR(st.st_mode)) {
        const node *n = find(d, st.st_ino);
        write_file(target, n != NULL ? n->bytes : NULL, n != NULL && n->bytes != NULL ? n->count : 0);
        return;
    }
    if (mkdir(target, 0700) != 0 || (dir = opendir(source)) == NULL)
        die("mkdir: %s", strerror(errno));
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char from[PATH_MAX], to[PATH_MAX];
        int a = snprintf(from, sizeof from, "%s/%s", source, e->d_name);
        int b = snprintf(to, sizeof to, "%s/%s", target, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && a > 0 && (size_t)a < sizeof from && b > 0 &&
            (size_t)b < sizeof to && !is_left_out(from))
            make_named(d, from, to);
    }
    closedir(dir);
}

void
disk_make(const disk *d, disk_image which, const char *target)
{
    struct stat st;

    if (which == DISK_NAMES) {
        make_named(d, d->root, target);
        return;
    }
    if (stat(d->root, &st) != 0 || find(d, st.st_ino) == NULL)
        die("the root is lost");
    make_durable(d, find(d, st.st_ino), which == DISK_BYTES, target);
}
