/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the device for evidence. A chip may take seconds: no lock is held meanwhile, and the session may end. */
#include "vault/internal.h"

#include <stdlib.h>
#include <string.h>

/* The backend and its key of the running session, until pqe__session_unpin(). */
static pqe_status
pin(pqe_vault *vault, pqe__home *home, pqe_error *err)
{
    pqe_status status = pqe__session_enter(vault, err);

    if (status != PQE_OK)
        return status;
    *home = pqe__session_pin(vault);
    pqe__session_leave(vault);
    return PQE_OK;
}

/* What is taken was checked at the backend's border. */
static pqe_status
take(void *user, const char *type, const uint8_t *data, size_t len, pqe_error *err)
{
    pqe__evidence *e = user;
    pqe__evidence_piece *piece = &e->pieces[e->count];

    if ((piece->data = malloc(len)) == NULL)
        return pqe__fail_nomem(err);
    memcpy(piece->data, data, len);
    memcpy(piece->type, type, strlen(type) + 1);
    piece->len = len;
    e->count++;
    return PQE_OK;
}

pqe_status
pqe__evidence_collect(pqe_vault *vault, const uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE], pqe__evidence *out,
                      pqe_error *err)
{
    pqe__home home;
    pqe_status status = pin(vault, &home, err);

    if (status != PQE_OK)
        return status;
    status = pqe__backend_evidence(home.backend, home.key, nonce, take, out, err);
    pqe__session_unpin(vault);
    return status;
}

void
pqe__evidence_free(pqe__evidence *evidence)
{
    while (evidence->count > 0)
        free(evidence->pieces[--evidence->count].data);
}

/* It is printed, and given to verifiers. */
static bool
is_pem(const char *text, size_t len)
{
    static const char label[] = "-----BEGIN PUBLIC KEY-----\n";

    for (size_t i = 0; i < len; i++)
        if (text[i] != '\n' && (text[i] < 0x20 || text[i] > 0x7e))
            return false;
    return len >= sizeof label - 1 && memcmp(text, label, sizeof label - 1) == 0;
}

pqe_status
pqe_evidence_public_key(pqe_vault *vault, char *buf, size_t capacity, size_t *len, pqe_error *err)
{
    uint8_t pem[PQE_EVIDENCE_PEM_MAX - 1];
    pqe_blob blob = {.data = pem, .capacity = sizeof pem};
    pqe__home home;
    pqe_status status;

    if (buf == NULL || len == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "buffer and length are required");
    *len = 0;
    if (capacity > 0)
        buf[0] = '\0';
    status = pqe__vault_usable(vault, err);
    if (status == PQE_OK)
        status = pin(vault, &home, err);
    if (status != PQE_OK)
        return status;
    status = pqe__backend_evidence_key(home.backend, home.key, &blob, err);
    pqe__session_unpin(vault);
    if (status == PQE_OK && !is_pem((const char *)pem, blob.len))
        status = pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, 0, "the backend's evidence key is no PEM text");
    if (status == PQE_OK && blob.len >= capacity)
        status = pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "the PEM form needs %zu bytes", blob.len + 1);
    if (status != PQE_OK)
        return status;
    memcpy(buf, pem, blob.len);
    buf[blob.len] = '\0';
    *len = blob.len;
    return PQE_OK;
}
