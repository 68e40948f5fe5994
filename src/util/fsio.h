/* SPDX-License-Identifier: Apache-2.0 */
/* Whole reads and writes, and durable directory entries. `what` is the verb phrase of the error message. */
#ifndef PQE_UTIL_FSIO_H
#define PQE_UTIL_FSIO_H

#include <sys/types.h>

#include "util/error.h"

/** Writes all bytes, over short writes and EINTR. */
pqe_status pqe__write_all(int fd, const void *data, size_t len, const char *what, pqe_error *err);
/** The same at `offset`, without moving the descriptor's position. */
pqe_status pqe__pwrite_all(int fd, const void *data, size_t len, uint64_t offset, const char *what, pqe_error *err);
/** Reads up to `len` bytes at `offset`; *got is less only at the end of the file. */
pqe_status pqe__pread_all(int fd, void *buf, size_t len, uint64_t offset, size_t *got, const char *what,
                          pqe_error *err);
/** Reads up to `len` bytes from the descriptor's position; *got is less only at the end of the file. */
pqe_status pqe__read_all(int fd, void *buf, size_t len, size_t *got, const char *what, pqe_error *err);
/** fsync; for a directory this makes its entries durable. */
pqe_status pqe__sync(int fd, const char *what, pqe_error *err);
/** Closes and sets -1; an unset descriptor is fine. */
void pqe__close_fd(int *fd);

#endif
