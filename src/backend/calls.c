/* SPDX-License-Identifier: Apache-2.0 */
/* The checked calls into a backend that every backend has: keys, sealing, passphrases. */
#include "backend/border.h"

#include <string.h>

static pqe_status
no_key(pqe_error *err)
{
    return pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, 0, "the backend returned no key");
}

pqe_status
pqe__backend_enrol(pqe_backend *b, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_blob *state, void **key,
                   pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob lent = pqe__backend_lend(state);
    pqe_status status;

    *key = NULL;
    status = pqe__backend_enter(b, err);
    if (status != PQE_OK)
        return status;
    status = pqe__backend_judge(b->ops->enrol(b->self, vault_id, &lent, key, &inner), &inner, err);
    if (status == PQE_OK && *key == NULL)
        status = no_key(err);
    else if (status != PQE_OK)
        *key = NULL;
    status = pqe__backend_take_back(&lent, state, status, err);
    if (status != PQE_OK && *key != NULL) { /* a key, but a state that cannot be stored */
        if (PQE__HAS_ENTRY(b->ops, discard))
            b->ops->discard(b->self, vault_id, *key);
        b->ops->detach(b->self, *key);
        *key = NULL;
    }
    pqe__backend_leave(b);
    return status;
}

static void
discard(pqe_backend *b, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key)
{
    if (pqe__backend_enter(b, NULL) != PQE_OK)
        return;
    if (PQE__HAS_ENTRY(b->ops, discard))
        b->ops->discard(b->self, vault_id, key);
    pqe__backend_leave(b);
}

void
pqe__backend_discard(pqe_backend *b, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key)
{
    if (key != NULL)
        discard(b, vault_id, key);
}

void
pqe__backend_forget(pqe_backend *b, const uint8_t vault_id[PQE_VAULT_ID_SIZE])
{
    discard(b, vault_id, NULL);
}

pqe_status
pqe__backend_attach(pqe_backend *b, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t *state, size_t state_len,
                    void **key, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_status status;

    *key = NULL;
    status = pqe__backend_enter(b, err);
    if (status != PQE_OK)
        return status;
    status = pqe__backend_judge(b->ops->attach(b->self, vault_id, state, state_len, key, &inner), &inner, err);
    if (status != PQE_OK)
        *key = NULL;
    else if (*key == NULL)
        status = no_key(err);
    pqe__backend_leave(b);
    return status;
}

void
pqe__backend_detach(pqe_backend *b, void *key)
{
    if (key == NULL || pqe__backend_enter(b, NULL) != PQE_OK)
        return;
    b->ops->detach(b->self, key);
    pqe__backend_leave(b);
}

bool
pqe__backend_try_detach(pqe_backend *b, void *key)
{
    if (pthread_mutex_trylock(&b->lock) != 0)
        return false;
    b->ops->detach(b->self, key);
    pqe__backend_leave(b);
    return true;
}

pqe_status
pqe__backend_seal(pqe_backend *b, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *secret,
                  size_t secret_len, pqe_blob *sealed, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob lent = pqe__backend_lend(sealed);
    pqe_status status;

    if (key == NULL || secret_len == 0)
        return pqe__backend_no(err, "no key to seal with, or nothing to seal");
    if (secret_len > PQE_SEAL_SECRET_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "a backend seals at most %u bytes", PQE_SEAL_SECRET_MAX);
    status = pqe__backend_enter(b, err);
    if (status != PQE_OK)
        return status;
    if (PQE__HAS_ENTRY(b->ops, seal))
        status = pqe__backend_judge(b->ops->seal(b->self, key, aad, aad_len, secret, secret_len, &lent, &inner), &inner,
                                    err);
    else
        status = pqe__backend_unavailable(b, "seal", err);
    status = pqe__backend_take_back(&lent, sealed, status, err);
    pqe__backend_leave(b);
    return status;
}

pqe_status
pqe__backend_unseal(pqe_backend *b, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *sealed,
                    size_t sealed_len, pqe_blob *secret, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob lent = pqe__backend_lend(secret);
    pqe_status status;

    if (key == NULL)
        return pqe__backend_no(err, "no key to unseal with");
    if (sealed_len > PQE_SEAL_BLOB_MAX)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_FORMAT, 0, "a sealed key is longer than any backend makes");
    status = pqe__backend_enter(b, err);
    if (status != PQE_OK)
        return status;
    if (PQE__HAS_ENTRY(b->ops, unseal))
        status = pqe__backend_judge(b->ops->unseal(b->self, key, aad, aad_len, sealed, sealed_len, &lent, &inner),
                                    &inner, err);
    else
        status = pqe__backend_unavailable(b, "unseal", err);
    status = pqe__backend_take_back(&lent, secret, status, err);
    pqe__backend_leave(b);
    return status;
}

const char *
pqe__backend_key_source(const pqe_backend_ops *ops, const uint8_t *state, size_t state_len)
{
    const char *word = ops != NULL ? ops->key_source(state, state_len) : NULL;

    return word != NULL && strlen(word) <= PQE__BACKEND_WORD_MAX ? word : NULL;
}

pqe_status
pqe__backend_change_passphrase(pqe_backend *b, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key,
                               const uint8_t *state, size_t state_len, pqe_blob *new_state, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob lent = pqe__backend_lend(new_state);
    pqe_status status;

    if (key == NULL)
        return pqe__backend_no(err, "no key to give a new passphrase");
    status = pqe__backend_enter(b, err);
    if (status != PQE_OK)
        return status;
    if (PQE__HAS_ENTRY(b->ops, change_passphrase))
        status = pqe__backend_judge(b->ops->change_passphrase(b->self, vault_id, key, state, state_len, &lent, &inner),
                                    &inner, err);
    else
        status = pqe__backend_unavailable(b, "change a passphrase", err);
    status = pqe__backend_take_back(&lent, new_state, status, err);
    pqe__backend_leave(b);
    return status;
}
