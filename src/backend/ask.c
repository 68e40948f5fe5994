/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the caller for a passphrase or PIN. */
#include "backend/ask.h"

pqe_status
pqe__ask_passphrase(const pqe_backend_opts *ask, pqe_passphrase_purpose purpose, const char *what, char *buf,
                    size_t *len, pqe_error *err)
{
    pqe_status status;

    if (ask->passphrase == NULL)
        return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_BACKEND, 0, "a %s is needed and none was given", what);
    status = ask->passphrase(ask->user, purpose, buf, PQE_PASSPHRASE_MAX, len);
    if (status != PQE_OK)
        return pqe__fail(err, status < 0 ? status : PQE_E_CANCELLED, PQE_ORIGIN_API, 0, "no %s was given: %s", what,
                         pqe_status_text(status));
    if (*len > PQE_PASSPHRASE_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "the %s is longer than %d bytes", what,
                         PQE_PASSPHRASE_MAX);
    if (*len == 0)
        return pqe__fail(err, purpose == PQE_PASSPHRASE_NEW ? PQE_E_ARGUMENT : PQE_E_DENIED, PQE_ORIGIN_API, 0,
                         "the %s is empty", what);
    return PQE_OK;
}
