/* SPDX-License-Identifier: Apache-2.0 */
/* Whole reads and writes, and durable directory entries. */
#include "util/fsio.h"

#include <errno.h>
#include <unistd.h>

#define IO_STEP ((size_t)1 << 30)

pqe_status
pqe__write_all(int fd, const void *data, size_t len, const char *what, pqe_error *err)
{
    const uint8_t *p = data;

    while (len > 0) {
        ssize_t n = write(fd, p, len < IO_STEP ? len : IO_STEP);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return pqe__fail_errno(err, errno, what);
        if (n == 0)
            return pqe__fail_errno(err, EIO, what);
        p += n;
        len -= (size_t)n;
    }
    return PQE_OK;
}

pqe_status
pqe__pwrite_all(int fd, const void *data, size_t len, uint64_t offset, const char *what, pqe_error *err)
{
    const uint8_t *p = data;

    for (size_t done = 0; done < len;) {
        size_t step = len - done < IO_STEP ? len - done : IO_STEP;
        ssize_t n = pwrite(fd, p + done, step, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return pqe__fail_errno(err, n < 0 ? errno : EIO, what);
        done += (size_t)n;
    }
    return PQE_OK;
}

pqe_status
pqe__pread_all(int fd, void *buf, size_t len, uint64_t offset, size_t *got, const char *what, pqe_error *err)
{
    uint8_t *p = buf;

    *got = 0;
    while (*got < len) {
        size_t step = len - *got < IO_STEP ? len - *got : IO_STEP;
        ssize_t n = pread(fd, p + *got, step, (off_t)(offset + *got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return pqe__fail_errno(err, errno, what);
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return PQE_OK;
}

pqe_status
pqe__read_all(int fd, void *buf, size_t len, size_t *got, const char *what, pqe_error *err)
{
    uint8_t *p = buf;

    *got = 0;
    while (*got < len) {
        ssize_t n = read(fd, p + *got, len - *got < IO_STEP ? len - *got : IO_STEP);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return pqe__fail_errno(err, errno, what);
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return PQE_OK;
}

pqe_status
pqe__sync(int fd, const char *what, pqe_error *err)
{
    while (fsync(fd) != 0)
        if (errno != EINTR)
            return pqe__fail_errno(err, errno, what);
    return PQE_OK;
}

void
pqe__close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
