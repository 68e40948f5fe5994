/* SPDX-License-Identifier: Apache-2.0 */
/* What the wrappers around a backend's functions share: entering, and judging what comes back. */
#ifndef PQE_BACKEND_BORDER_H
#define PQE_BACKEND_BORDER_H

#include "backend/registry.h"
#include "util/error.h"
#include "util/secmem.h"

#define PQE__BACKEND_WORD_MAX 31u /* names and key sources are stored in fields of 32 bytes */

/* An entry is there if the table is long enough to hold it and it is set. Entries past `size` are never read. */
#define PQE__HAS_ENTRY(ops, entry)                                                                                     \
    (offsetof(pqe_backend_ops, entry) + sizeof((ops)->entry) <= (ops)->size && (ops)->entry != NULL)

/** Takes the backend's lock. PQE_E_LOCKED in a forked child. */
pqe_status pqe__backend_enter(pqe_backend *backend, pqe_error *err);
void pqe__backend_leave(pqe_backend *backend);
/** Judges what a backend returned and hands its error on; a backend's word is not trusted to be well-formed. */
pqe_status pqe__backend_judge(pqe_status status, pqe_error *inner, pqe_error *err);
/** A backend works on a copy of the blob, so that what it does to `capacity` or `data` is of no effect. */
pqe_blob pqe__backend_lend(pqe_blob *blob);
/** Takes the length over if the call succeeded and it makes sense; otherwise leaves an empty, zeroed blob. */
pqe_status pqe__backend_take_back(const pqe_blob *lent, pqe_blob *blob, pqe_status status, pqe_error *err);
pqe_status pqe__backend_unavailable(const pqe_backend *backend, const char *ability, pqe_error *err);
/** PQE_E_ARGUMENT. */
pqe_status pqe__backend_no(pqe_error *err, const char *text);

#endif
