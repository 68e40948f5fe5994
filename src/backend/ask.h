/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the caller for a passphrase or PIN: what the backends that are opened by one share. */
#ifndef PQE_BACKEND_ASK_H
#define PQE_BACKEND_ASK_H

#include <pqc_enclave/backend.h>

#include "util/error.h"

/** Puts 1 to PQE_PASSPHRASE_MAX bytes into `buf`, locked memory with room for that. `what` names it in errors, as in
 *  "passphrase". PQE_E_DENIED if there is nobody to ask; an empty one is PQE_E_ARGUMENT if new, else PQE_E_DENIED. */
pqe_status pqe__ask_passphrase(const pqe_backend_opts *ask, pqe_passphrase_purpose purpose, const char *what, char *buf,
                               size_t *len, pqe_error *err);

#endif
