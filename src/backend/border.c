/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/border.h"

pqe_status
pqe__backend_no(pqe_error *err, const char *text)
{
    return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "%s", text);
}

pqe_status
pqe__backend_enter(pqe_backend *b, pqe_error *err)
{
    if (b == NULL)
        return pqe__backend_no(err, "no backend");
    if (!pqe__owner_is_here(b->owner))
        return pqe__fail(err, PQE_E_LOCKED, PQE_ORIGIN_API, 0, "the backend belongs to another process");
    pthread_mutex_lock(&b->lock);
    return PQE_OK;
}

void
pqe__backend_leave(pqe_backend *b)
{
    pthread_mutex_unlock(&b->lock);
}

pqe_status
pqe__backend_unavailable(const pqe_backend *b, const char *ability, pqe_error *err)
{
    return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0, "the %s backend cannot %s", b->ops->info.name,
                     ability);
}

pqe_status
pqe__backend_judge(pqe_status status, pqe_error *inner, pqe_error *err)
{
    if (status == PQE_OK)
        return PQE_OK;
    if (status > 0)
        return pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, status, "the backend returned an unknown status");
    inner->message[sizeof inner->message - 1] = '\0';
    if (inner->status != status || inner->message[0] == '\0')
        return pqe__fail(err, status, PQE_ORIGIN_BACKEND, 0, "the backend gave no reason: %s", pqe_status_text(status));
    if (err != NULL)
        *err = *inner;
    return status;
}

pqe_blob
pqe__backend_lend(pqe_blob *blob)
{
    blob->len = 0;
    return (pqe_blob){.data = blob->data, .capacity = blob->capacity, .len = 0};
}

pqe_status
pqe__backend_take_back(const pqe_blob *lent, pqe_blob *blob, pqe_status status, pqe_error *err)
{
    if (status == PQE_OK && (lent->len == 0 || lent->len > blob->capacity))
        status = pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, 0, "the backend returned an impossible length");
    if (status == PQE_OK)
        blob->len = lent->len;
    else
        pqe__wipe(blob->data, blob->capacity);
    return status;
}
