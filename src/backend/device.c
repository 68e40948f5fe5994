/* SPDX-License-Identifier: Apache-2.0 */
/* The checked calls into what only some backends can: signing, decapsulating, counting, asking, giving evidence. */
#include "backend/border.h"

#include <string.h>

#include "util/text.h"

#define ML_KEM_768_PUBLIC_SIZE 1184u /* FIPS 203, table 3 */

/* ---- native ML-DSA ---- */

bool
pqe__backend_signs(const pqe_backend *b)
{
    return (b->capabilities & PQE_CAP_NATIVE_ML_DSA) != 0;
}

pqe_status
pqe__backend_identity_make(pqe_backend *b, void *key, pqe_sig_algorithm algorithm, pqe_blob *handle,
                           pqe_blob *public_key, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob lent = pqe__backend_lend(handle), lent_key = pqe__backend_lend(public_key);
    pqe_status status;

    if (key == NULL)
        return pqe__backend_no(err, "no key to make an identity with");
    status = pqe__backend_enter(b, err);
    if (status != PQE_OK)
        return status;
    if (pqe__backend_signs(b))
        status =
            pqe__backend_judge(b->ops->identity_make(b->self, key, algorithm, &lent, &lent_key, &inner), &inner, err);
    else
        status = pqe__backend_unavailable(b, "make a signing key", err);
    status = pqe__backend_take_back(&lent, handle, status, err);
    status = pqe__backend_take_back(&lent_key, public_key, status, err);
    if (status == PQE_OK && public_key->len != pqe_sig_public_size(algorithm))
        status = pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, 0, "the backend returned an impossible public key");
    if (status != PQE_OK && handle->len != 0 && PQE__HAS_ENTRY(b->ops, identity_drop))
        b->ops->identity_drop(b->self, key, handle->data, handle->len);
    pqe__backend_leave(b);
    return status;
}

pqe_status
pqe__backend_identity_sign(pqe_backend *b, void *key, pqe_sig_algorithm algorithm, const uint8_t *handle,
                           size_t handle_len, const uint8_t *context, size_t context_len, const uint8_t *message,
                           size_t message_len, pqe_blob *signature, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob lent = pqe__backend_lend(signature);
    pqe_status status;

    if (key == NULL)
        return pqe__backend_no(err, "no key to sign with");
    status = pqe__backend_enter(b, err);
    if (status != PQE_OK)
        return status;
    if (pqe__backend_signs(b))
        status = pqe__backend_judge(b->ops->identity_sign(b->self, key, algorithm, handle, handle_len, context,
                                                          context_len, message, message_len, &lent, &inner),
                                    &inner, err);
    else
        status = pqe__backend_unavailable(b, "sign", err);
    status = pqe__backend_take_back(&lent, signature, status, err);
    if (status == PQE_OK && signature->len != pqe_sig_signature_size(algorithm))
        status = pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, 0, "the backend returned an impossible signature");
    pqe__backend_leave(b);
    return status;
}

void
pqe__backend_identity_drop(pqe_backend *b, void *key, const uint8_t *handle, size_t handle_len)
{
    if (key == NULL || pqe__backend_enter(b, NULL) != PQE_OK)
        return;
    if (PQE__HAS_ENTRY(b->ops, identity_drop))
        b->ops->identity_drop(b->self, key, handle, handle_len);
    pqe__backend_leave(b);
}

pqe_status
pqe__backend_authorize(pqe_backend *b, void *key, const char *reason, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_status status;

    if (key == NULL)
        return pqe__backend_no(err, "no key to be authorized for");
    status = pqe__backend_enter(b, err);
    if (status != PQE_OK)
        return status;
    if ((b->capabilities & PQE_CAP_AUTHORIZE) != 0 && PQE__HAS_ENTRY(b->ops, authorize))
        status = pqe__backend_judge(b->ops->authorize(b->self, key, reason, &inner), &inner, err);
    else
        status = pqe__backend_unavailable(b, "ask for the user's presence", err);
    pqe__backend_leave(b);
    return status;
}

/* ---- native ML-KEM ---- */

bool
pqe__backend_decapsulates(const pqe_backend *b)
{
    return (b->capabilities & PQE_CAP_NATIVE_KEM) != 0;
}

pqe_status
pqe__backend_kem_make(pqe_backend *b, void *key, pqe_blob *handle, pqe_blob *public_key, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob lent = pqe__backend_lend(handle), lent_key = pqe__backend_lend(public_key);
    pqe_status status;

    if (key == NULL)
        return pqe__backend_no(err, "no key to make a key pair with");
    status = pqe__backend_enter(b, err);
    if (status != PQE_OK)
        return status;
    if (pqe__backend_decapsulates(b))
        status = pqe__backend_judge(b->ops->kem_make(b->self, key, &lent, &lent_key, &inner), &inner, err);
    else
        status = pqe__backend_unavailable(b, "make an ML-KEM key", err);
    status = pqe__backend_take_back(&lent, handle, status, err);
    status = pqe__backend_take_back(&lent_key, public_key, status, err);
    if (status == PQE_OK && public_key->len != ML_KEM_768_PUBLIC_SIZE)
        status = pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, 0, "the backend returned an impossible public key");
    if (status != PQE_OK && handle->len != 0 && PQE__HAS_ENTRY(b->ops, kem_drop))
        b->ops->kem_drop(b->self, key, handle->data, handle->len);
    pqe__backend_leave(b);
    return status;
}

pqe_status
pqe__backend_kem_decapsulate(pqe_backend *b, void *key, const uint8_t *handle, size_t handle_len,
                             const uint8_t *ciphertext, size_t ciphertext_len, uint8_t *shared_secret, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob blob = {.data = shared_secret, .capacity = PQE__SHARED_SECRET_SIZE}, lent = pqe__backend_lend(&blob);
    pqe_status status;

    if (key == NULL)
        return pqe__backend_no(err, "no key to decapsulate with");
    status = pqe__backend_enter(b, err);
    if (status != PQE_OK)
        return status;
    if (pqe__backend_decapsulates(b))
        status = pqe__backend_judge(
            b->ops->kem_decapsulate(b->self, key, handle, handle_len, ciphertext, ciphertext_len, &lent, &inner),
            &inner, err);
    else
        status = pqe__backend_unavailable(b, "decapsulate", err);
    status = pqe__backend_take_back(&lent, &blob, status, err);
    if (status == PQE_OK && blob.len != PQE__SHARED_SECRET_SIZE) {
        pqe__wipe(shared_secret, PQE__SHARED_SECRET_SIZE);
        status = pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, 0, "the backend returned an impossible secret");
    }
    pqe__backend_leave(b);
    return status;
}

void
pqe__backend_kem_drop(pqe_backend *b, void *key, const uint8_t *handle, size_t handle_len)
{
    if (key == NULL || pqe__backend_enter(b, NULL) != PQE_OK)
        return;
    if (PQE__HAS_ENTRY(b->ops, kem_drop))
        b->ops->kem_drop(b->self, key, handle, handle_len);
    pqe__backend_leave(b);
}

/* ---- the counter ---- */

bool
pqe__backend_counts(const pqe_backend *b)
{
    return (b->capabilities & PQE_CAP_COUNTER) != 0;
}

pqe_status
pqe__backend_counter_read(pqe_backend *b, void *key, uint64_t *value, pqe_blob *note, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob lent = pqe__backend_lend(note);
    pqe_status status;

    *value = 0;
    if (key == NULL)
        return pqe__backend_no(err, "no key whose counter to read");
    status = pqe__backend_enter(b, err);
    if (status != PQE_OK)
        return status;
    if (pqe__backend_counts(b))
        status = pqe__backend_judge(b->ops->counter_read(b->self, key, value, &lent, &inner), &inner, err);
    else
        status = pqe__backend_unavailable(b, "count", err);
    if (status != PQE_OK || lent.len != 0) /* no note is no failure */
        status = pqe__backend_take_back(&lent, note, status, err);
    pqe__backend_leave(b);
    return status;
}

pqe_status
pqe__backend_counter_advance(pqe_backend *b, void *key, uint64_t value, const uint8_t *note, size_t note_len,
                             pqe_error *err)
{
    pqe_error inner = {0};
    pqe_status status;

    if (key == NULL || note_len > PQE_COUNTER_NOTE_MAX)
        return pqe__backend_no(err, "no key whose counter to advance, or too long a note");
    status = pqe__backend_enter(b, err);
    if (status != PQE_OK)
        return status;
    if (pqe__backend_counts(b))
        status = pqe__backend_judge(b->ops->counter_advance(b->self, key, value, note, note_len, &inner), &inner, err);
    else
        status = pqe__backend_unavailable(b, "count", err);
    pqe__backend_leave(b);
    return status;
}

pqe_status
pqe__backend_counter_make(pqe_backend *b, void *key, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_status status;

    if (key == NULL)
        return pqe__backend_no(err, "no key to make a counter for");
    status = pqe__backend_enter(b, err);
    if (status != PQE_OK)
        return status;
    if (pqe__backend_counts(b))
        status = pqe__backend_judge(b->ops->counter_make(b->self, key, &inner), &inner, err);
    else
        status = pqe__backend_unavailable(b, "count", err);
    pqe__backend_leave(b);
    return status;
}

/* ---- evidence ---- */

bool
pqe__backend_testifies(const pqe_backend *b)
{
    return (b->capabilities & PQE_CAP_EVIDENCE) != 0;
}

pqe_status
pqe__backend_evidence(pqe_backend *b, void *key, const uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE], pqe_evidence_fn take,
                      void *user, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_status status;

    if (key == NULL)
        return pqe__backend_no(err, "no key to give evidence of");
    status = pqe__backend_enter(b, err);
    if (status != PQE_OK)
        return status;
    if (pqe__backend_testifies(b))
        status = pqe__backend_judge(b->ops->evidence(b->self, key, nonce, take, user, &inner), &inner, err);
    else
        status = pqe__backend_unavailable(b, "give evidence of its hardware", err);
    pqe__backend_leave(b);
    return status;
}

pqe_status
pqe__backend_evidence_key(pqe_backend *b, void *key, pqe_blob *pem, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob lent = pqe__backend_lend(pem);
    pqe_status status;

    if (key == NULL)
        return pqe__backend_no(err, "no key whose evidence to verify");
    status = pqe__backend_enter(b, err);
    if (status != PQE_OK)
        return status;
    if (pqe__backend_testifies(b))
        status = pqe__backend_judge(b->ops->evidence_key(b->self, key, &lent, &inner), &inner, err);
    else
        status = pqe__backend_unavailable(b, "give evidence of its hardware", err);
    status = pqe__backend_take_back(&lent, pem, status, err);
    pqe__backend_leave(b);
    return status;
}

bool
pqe__backend_describe(const pqe_backend_ops *ops, const uint8_t *state, size_t state_len, char text[PQE_HELD_BY_MAX])
{
    text[0] = '\0';
    if (ops == NULL || !PQE__HAS_ENTRY(ops, describe) || !ops->describe(state, state_len, text, PQE_HELD_BY_MAX))
        return false;
    text[PQE_HELD_BY_MAX - 1] = '\0';
    return text[0] != '\0' && pqe__utf8_valid(text, strlen(text));
}
