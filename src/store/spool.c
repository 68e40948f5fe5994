/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spools: `spool-<32 hex>` beside the index, to which processes append sealed audit entries of reads without a sync and
 * without a transaction. Whoever writes the log next takes a spool in and removes it. Its name changes with that, so
 * that one put back later is nobody's.
 */
#include "store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util/fsio.h"
#include "util/text.h"

#define PREFIX "spool-"
#define PATH_TEXT (sizeof PREFIX + 2 * PQE__ID_SIZE)

static void
spool_path(const uint8_t name[PQE__ID_SIZE], char out[PATH_TEXT])
{
    memcpy(out, PREFIX, sizeof PREFIX);
    pqe__hex_encode(name, PQE__ID_SIZE, out + sizeof PREFIX - 1);
}

static bool
lock(int fd, uint32_t wait_ms)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    for (uint32_t i = 0;; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        if ((errno != EWOULDBLOCK && errno != EINTR) || i >= wait_ms)
            return false;
        nanosleep(&pause, NULL);
    }
}

static pqe_status
read_spool(pqe__spool *spool, pqe_error *err)
{
    struct stat st;
    size_t size;

    if (fstat(spool->fd, &st) != 0)
        return pqe__fail_errno(err, errno, "cannot read a spool");
    if (!S_ISREG(st.st_mode))
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_IO, 0, "a spool is not a regular file");
    /* What is longer was not written by us alone; what fits is judged entry by entry. */
    size = st.st_size > (off_t)PQE__SPOOL_MAX ? PQE__SPOOL_MAX : (size_t)st.st_size;
    if ((spool->bytes = malloc(size + 1)) == NULL)
        return pqe__fail_nomem(err);
    return pqe__pread_all(spool->fd, spool->bytes, size, 0, &spool->len, "cannot read a spool", err);
}

pqe_status
pqe__spool_open(pqe__store *store, const uint8_t name[PQE__ID_SIZE], bool create, uint32_t wait_ms, pqe__spool *out,
                bool *missing, pqe_error *err)
{
    char path[PATH_TEXT];
    struct stat st;
    pqe_status status;

    *out = (pqe__spool){.fd = -1};
    *missing = true;
    if (store->dir_fd < 0)
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_API, 0, "a vault in memory has no spool");
    memcpy(out->name, name, PQE__ID_SIZE);
    spool_path(name, path);
    out->fd = openat(store->dir_fd, path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
    if (out->fd < 0 && (errno == ELOOP || errno == EISDIR || errno == ENXIO))
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_IO, errno, "a spool is not a regular file");
    if (out->fd < 0)
        return !create && errno == ENOENT ? PQE_OK : pqe__fail_errno(err, errno, "cannot open a spool");
    if (!lock(out->fd, wait_ms < store->busy_ms ? wait_ms : store->busy_ms)) {
        pqe__close_fd(&out->fd);
        return pqe__fail(err, PQE_E_BUSY, PQE_ORIGIN_IO, 0, "another process holds a spool");
    }
    if (fstat(out->fd, &st) == 0 && st.st_nlink == 0) { /* taken in between open and lock */
        pqe__close_fd(&out->fd);
        return create ? pqe__fail(err, PQE_E_BUSY, PQE_ORIGIN_IO, 0, "a spool was just taken in") : PQE_OK;
    }
    *missing = false;
    if ((status = read_spool(out, err)) != PQE_OK)
        pqe__spool_close(store, out, false);
    return status;
}

pqe_status
pqe__spool_append(pqe__spool *spool, size_t keep, const uint8_t *bytes, size_t len, pqe_error *err)
{
    if (ftruncate(spool->fd, (off_t)keep) != 0 || lseek(spool->fd, (off_t)keep, SEEK_SET) < 0)
        return pqe__fail_errno(err, errno, "cannot write a spool");
    return pqe__write_all(spool->fd, bytes, len, "cannot write a spool", err);
}

void
pqe__spool_remove(pqe__store *store, const uint8_t name[PQE__ID_SIZE])
{
    char path[PATH_TEXT];

    spool_path(name, path);
    if (store->dir_fd >= 0)
        unlinkat(store->dir_fd, path, 0);
}

void
pqe__spool_close(pqe__store *store, pqe__spool *spool, bool remove)
{
    if (spool->fd >= 0 && remove)
        pqe__spool_remove(store, spool->name);
    pqe__close_fd(&spool->fd);
    free(spool->bytes);
    spool->bytes = NULL;
    spool->len = 0;
}
