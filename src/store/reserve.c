/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reserve: a file of nothing, given up when a removal finds the disk full, so that room can be made where there is none.
 * Best effort: without it a full disk is only less comfortable.
 */
#include "store/internal.h"

#include <fcntl.h>
#include <unistd.h>

#include "util/fsio.h"

#define RESERVE_NAME "reserve"
/* A removal's share of the log: the pages it changes, with room to spare. */
#define RESERVE_SIZE ((off_t)256 << 10)

void
pqe__reserve_make(pqe__store *store)
{
    int fd;
    bool made;

    if (store->dir_fd < 0 || store->read_only || faccessat(store->dir_fd, RESERVE_NAME, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return;
    fd = openat(store->dir_fd, RESERVE_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    made = posix_fallocate(fd, 0, RESERVE_SIZE) == 0;
    pqe__close_fd(&fd);
    if (!made)
        unlinkat(store->dir_fd, RESERVE_NAME, 0);
}

bool
pqe__reserve_release(pqe__store *store)
{
    return store->dir_fd >= 0 && !store->read_only && unlinkat(store->dir_fd, RESERVE_NAME, 0) == 0;
}
