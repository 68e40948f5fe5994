/* SPDX-License-Identifier: Apache-2.0 */
/* The fail-the-Nth-call decorator. */
#include "backend/faulty.h"

#include <stdatomic.h>
#include <stdio.h>

static const pqe_backend_ops *inner;
static pqe_backend_ops table;
static atomic_uint calls;
static atomic_uint fail_at;

void
faulty_arm(unsigned n)
{
    atomic_store(&calls, 0);
    atomic_store(&fail_at, n);
}

unsigned
faulty_calls(void)
{
    return atomic_load(&calls);
}

static bool
fails(pqe_error *err)
{
    unsigned n = atomic_fetch_add(&calls, 1) + 1;

    if (n != atomic_load(&fail_at))
        return false;
    if (err != NULL) {
        *err = (pqe_error){.status = PQE_E_BACKEND, .origin = PQE_ORIGIN_DEVICE, .native = n};
        snprintf(err->message, sizeof err->message, "call %u failed on purpose", n);
    }
    return true;
}

static pqe_status
faulty_open(const char *config, const pqe_backend_opts *opts, void **self, pqe_error *err)
{
    return fails(err) ? PQE_E_BACKEND : inner->open(config, opts, self, err);
}

static void
faulty_close(void *self)
{
    inner->close(self);
}

static pqe_status
faulty_enrol(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_blob *state, void **key, pqe_error *err)
{
    return fails(err) ? PQE_E_BACKEND : inner->enrol(self, vault_id, state, key, err);
}

static void
faulty_discard(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key)
{
    inner->discard(self, vault_id, key);
}

static pqe_status
faulty_attach(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t *state, size_t state_len, void **key,
              pqe_error *err)
{
    return fails(err) ? PQE_E_BACKEND : inner->attach(self, vault_id, state, state_len, key, err);
}

static void
faulty_detach(void *self, void *key)
{
    inner->detach(self, key);
}

static pqe_status
faulty_seal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *secret, size_t secret_len,
            pqe_blob *sealed, pqe_error *err)
{
    return fails(err) ? PQE_E_BACKEND : inner->seal(self, key, aad, aad_len, secret, secret_len, sealed, err);
}

static pqe_status
faulty_unseal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *sealed, size_t sealed_len,
              pqe_blob *secret, pqe_error *err)
{
    return fails(err) ? PQE_E_BACKEND : inner->unseal(self, key, aad, aad_len, sealed, sealed_len, secret, err);
}

static const char *
faulty_key_source(const uint8_t *state, size_t state_len)
{
    return inner->key_source(state, state_len);
}

static pqe_status
faulty_change_passphrase(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key, const uint8_t *state,
                         size_t state_len, pqe_blob *new_state, pqe_error *err)
{
    return fails(err) ? PQE_E_BACKEND : inner->change_passphrase(self, vault_id, key, state, state_len, new_state, err);
}

static pqe_status
faulty_identity_make(void *self, void *key, pqe_sig_algorithm algorithm, pqe_blob *handle, pqe_blob *public_key,
                     pqe_error *err)
{
    return fails(err) ? PQE_E_BACKEND : inner->identity_make(self, key, algorithm, handle, public_key, err);
}

static pqe_status
faulty_identity_sign(void *self, void *key, pqe_sig_algorithm algorithm, const uint8_t *handle, size_t handle_len,
                     const uint8_t *context, size_t context_len, const uint8_t *message, size_t message_len,
                     pqe_blob *signature, pqe_error *err)
{
    return fails(err) ? PQE_E_BACKEND
                      : inner->identity_sign(self, key, algorithm, handle, handle_len, context, context_len, message,
                                             message_len, signature, err);
}

static void
faulty_identity_drop(void *self, void *key, const uint8_t *handle, size_t handle_len)
{
    inner->identity_drop(self, key, handle, handle_len);
}

static pqe_status
faulty_authorize(void *self, void *key, const char *reason, pqe_error *err)
{
    return fails(err) ? PQE_E_BACKEND : inner->authorize(self, key, reason, err);
}

static pqe_status
faulty_kem_make(void *self, void *key, pqe_blob *handle, pqe_blob *public_key, pqe_error *err)
{
    return fails(err) ? PQE_E_BACKEND : inner->kem_make(self, key, handle, public_key, err);
}

static pqe_status
faulty_kem_decapsulate(void *self, void *key, const uint8_t *handle, size_t handle_len, const uint8_t *ciphertext,
                       size_t ciphertext_len, pqe_blob *shared_secret, pqe_error *err)
{
    return fails(err)
               ? PQE_E_BACKEND
               : inner->kem_decapsulate(self, key, handle, handle_len, ciphertext, ciphertext_len, shared_secret, err);
}

static void
faulty_kem_drop(void *self, void *key, const uint8_t *handle, size_t handle_len)
{
    inner->kem_drop(self, key, handle, handle_len);
}

static pqe_status
faulty_counter_read(void *self, void *key, uint64_t *value, pqe_blob *note, pqe_error *err)
{
    return fails(err) ? PQE_E_BACKEND : inner->counter_read(self, key, value, note, err);
}

static pqe_status
faulty_counter_advance(void *self, void *key, uint64_t value, const uint8_t *note, size_t note_len, pqe_error *err)
{
    return fails(err) ? PQE_E_BACKEND : inner->counter_advance(self, key, value, note, note_len, err);
}

static pqe_status
faulty_counter_make(void *self, void *key, pqe_error *err)
{
    return fails(err) ? PQE_E_BACKEND : inner->counter_make(self, key, err);
}

static pqe_status
faulty_evidence(void *self, void *key, const uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE], pqe_evidence_fn take, void *user,
                pqe_error *err)
{
    return fails(err) ? PQE_E_BACKEND : inner->evidence(self, key, nonce, take, user, err);
}

static pqe_status
faulty_evidence_key(void *self, void *key, pqe_blob *pem, pqe_error *err)
{
    return fails(err) ? PQE_E_BACKEND : inner->evidence_key(self, key, pem, err);
}

static bool
faulty_describe(const uint8_t *state, size_t state_len, char *text, size_t capacity)
{
    return inner->describe(state, state_len, text, capacity);
}

static uint32_t
faulty_capabilities(void *self)
{
    return inner->capabilities(self);
}

const pqe_backend_ops *
faulty_wrap(const pqe_backend_ops *ops)
{
    faulty_arm(0);
    if (ops == &table)
        return &table;
    inner = ops;
    table = (pqe_backend_ops){
        .magic = PQE_BACKEND_MAGIC,
        .abi = PQE_BACKEND_ABI,
        .size = sizeof table,
        .info = ops->info,
        .open = faulty_open,
        .close = faulty_close,
        .enrol = faulty_enrol,
        .discard = ops->discard != NULL ? faulty_discard : NULL,
        .attach = faulty_attach,
        .detach = faulty_detach,
        .seal = faulty_seal,
        .unseal = faulty_unseal,
        .key_source = faulty_key_source,
        .change_passphrase = ops->change_passphrase != NULL ? faulty_change_passphrase : NULL,
        .identity_make = ops->identity_make != NULL ? faulty_identity_make : NULL,
        .identity_sign = ops->identity_sign != NULL ? faulty_identity_sign : NULL,
        .identity_drop = ops->identity_drop != NULL ? faulty_identity_drop : NULL,
        .authorize = ops->authorize != NULL ? faulty_authorize : NULL,
        .kem_make = ops->kem_make != NULL ? faulty_kem_make : NULL,
        .kem_decapsulate = ops->kem_decapsulate != NULL ? faulty_kem_decapsulate : NULL,
        .kem_drop = ops->kem_drop != NULL ? faulty_kem_drop : NULL,
        .counter_read = ops->counter_read != NULL ? faulty_counter_read : NULL,
        .counter_advance = ops->counter_advance != NULL ? faulty_counter_advance : NULL,
        .counter_make = ops->counter_make != NULL ? faulty_counter_make : NULL,
        .evidence = ops->evidence != NULL ? faulty_evidence : NULL,
        .evidence_key = ops->evidence_key != NULL ? faulty_evidence_key : NULL,
        .describe = ops->describe != NULL ? faulty_describe : NULL,
        .capabilities = ops->capabilities != NULL ? faulty_capabilities : NULL,
    };
    return &table;
}
