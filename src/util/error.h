/* SPDX-License-Identifier: Apache-2.0 */
/* Filling a caller's pqe_error, and the small macros that make error paths one line. */
#ifndef PQE_UTIL_ERROR_H
#define PQE_UTIL_ERROR_H

#include <pqc_enclave.h>

/** Fills *err if it is not NULL. */
void pqe__set_error(pqe_error *err, pqe_status status, pqe_origin origin, int64_t native, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/** The same as an expression that is `status` (evaluated twice), so that callers write `return pqe__fail(...)`. A macro
 *  for the sake of static analysis, which then knows that what follows has failed. */
#define pqe__fail(err, status, ...) (pqe__set_error(err, status, __VA_ARGS__), (status))

/** An operating system error: ENOSPC and EDQUOT, EROFS, ENOMEM get their own status. `what` is a verb phrase such as
 *  "cannot write the body"; strerror is appended. */
pqe_status pqe__fail_errno(pqe_error *err, int errnum, const char *what);

#define pqe__fail_nomem(err) pqe__fail(err, PQE_E_NOMEM, PQE_ORIGIN_API, 0, "out of memory")

#endif
