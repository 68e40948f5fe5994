/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate of a counted vault: `counter.lock`, a file with nothing in it. It is made when it is first needed and stays.
 * A forked child inherits the lock with the descriptor, but the parent's release ends it for both.
 */
#include "store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util/fsio.h"

#define GATE "counter.lock"

static pqe_status
open_gate(const pqe__store *store, int *fd, pqe_error *err)
{
    int create = store->read_only ? 0 : O_CREAT;
    struct stat st;

    *fd = openat(store->dir_fd, GATE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | create, 0600);
    if (*fd < 0 && store->read_only && (errno == ENOENT || errno == EACCES))
        return pqe__fail(err, PQE_E_READ_ONLY, PQE_ORIGIN_IO, errno, "the vault is read-only here");
    if (*fd < 0 && (errno == ELOOP || errno == EISDIR || errno == ENXIO))
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_IO, errno, "%s is not a regular file", GATE);
    if (*fd < 0)
        return pqe__fail_errno(err, errno, "cannot open " GATE);
    if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode))
        return PQE_OK;
    pqe__close_fd(fd);
    return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_IO, 0, "%s is not a regular file", GATE);
}

/* Does the name still lead to what was locked? */
static bool
is_in_place(const pqe__store *store, int fd)
{
    struct stat mine, named;

    return fstat(fd, &mine) == 0 && fstatat(store->dir_fd, GATE, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           mine.st_dev == named.st_dev && mine.st_ino == named.st_ino;
}

pqe_status
pqe__gate_enter(pqe__store *store, pqe__gate *gate, uint32_t wait_ms, pqe_error *err)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    pqe_status status;

    if (gate->held)
        return PQE_OK;
    gate->fd = -1;
    gate->held = store->dir_fd < 0; /* in memory: nobody else has it */
    for (uint32_t i = 0; !gate->held; i++) {
        if (gate->fd < 0 && (status = open_gate(store, &gate->fd, err)) != PQE_OK)
            return status;
        if (flock(gate->fd, LOCK_EX | LOCK_NB) == 0) {
            if ((gate->held = is_in_place(store, gate->fd)))
                break;
            pqe__close_fd(&gate->fd);
        } else if (errno != EWOULDBLOCK && errno != EINTR) {
            status = pqe__fail_errno(err, errno, "cannot lock " GATE);
            pqe__close_fd(&gate->fd);
            return status;
        }
        if (i >= wait_ms) {
            pqe__close_fd(&gate->fd);
            return pqe__fail(err, PQE_E_BUSY, PQE_ORIGIN_IO, 0, "another process is changing the vault");
        }
        nanosleep(&pause, NULL);
    }
    return PQE_OK;
}

void
pqe__gate_leave(pqe__gate *gate)
{
    if (!gate->held)
        return;
    if (gate->fd >= 0)
        flock(gate->fd, LOCK_UN); /* for a child of a fork, too */
    pqe__close_fd(&gate->fd);
    gate->held = false;
}
