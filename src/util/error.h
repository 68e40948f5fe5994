/* SPDX-License-Identifier: Apache-2.0 */
/* Filling a caller's pqe_error, and the small macros that make error paths one line. */
#ifndef PQE_UTIL_ERROR_H
#define PQE_UTIL_ERROR_H

#include <pqc_enclave.h>

/** Fills *err if not NULL and returns `status`, so that callers can write `return pqe__fail(...)`. */
pqe_status pqe__fail(pqe_error *err, pqe_status status, pqe_origin origin, int64_t native, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/** An operating system error: ENOSPC and EDQUOT, EROFS, ENOMEM get their own status. `what` is a verb phrase such as
 *  "cannot write the body"; strerror is appended. */
pqe_status pqe__fail_errno(pqe_error *err, int errnum, const char *what);

pqe_status pqe__fail_nomem(pqe_error *err);

#endif
