/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory backend: a random key that lives as long as the opened backend. For tests, caches and vaults whose
 * contents need not outlive the process.
 */
#include <stddef.h>
#include <string.h>

#include "backend/registry.h"
#include "backend/softkey.h"
#include "util/secmem.h"

#define OBJECT_ID_SIZE 16
#define SEAL_LABEL "pqc-enclave memory backend v1 seal"

/* The state of a vault is the id of the backend object that holds its key, so that another one can say why not. */
typedef struct memory_self {
    uint8_t secret[PQE__KEY_SIZE];
    uint8_t object_id[OBJECT_ID_SIZE];
} memory_self;

typedef struct memory_key {
    uint8_t kek[PQE__KEY_SIZE];
} memory_key;

static pqe_status
memory_open(const char *config, const pqe_backend_opts *opts, void **self, pqe_error *err)
{
    memory_self *m;
    void *p;
    pqe_status status;

    (void)opts;
    *self = NULL;
    if (config[0] != '\0')
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the memory backend takes no configuration");
    status = pqe__softkey_alloc(sizeof *m, &p, err);
    if (status != PQE_OK)
        return status;
    m = p;
    status = pqe__random_secret(m->secret, sizeof m->secret, err);
    if (status == PQE_OK)
        status = pqe__random(m->object_id, sizeof m->object_id, err);
    if (status != PQE_OK) {
        pqe__secmem_free(m);
        return status;
    }
    *self = m;
    return PQE_OK;
}

static void
memory_close(void *self)
{
    pqe__secmem_free(self);
}

static pqe_status
make_key(const memory_self *m, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void **key, pqe_error *err)
{
    memory_key *k;
    void *p;
    pqe_status status = pqe__softkey_alloc(sizeof *k, &p, err);

    if (status != PQE_OK)
        return status;
    k = p;
    status = pqe__softkey_derive(m->secret, vault_id, SEAL_LABEL, k->kek, err);
    if (status != PQE_OK) {
        pqe__secmem_free(k);
        return status;
    }
    *key = k;
    return PQE_OK;
}

static pqe_status
memory_enrol(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_blob *state, void **key, pqe_error *err)
{
    const memory_self *m = self;
    pqe_status status;

    *key = NULL;
    if (state->capacity < OBJECT_ID_SIZE)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_BACKEND, 0, "the buffer is too small for the backend's state");
    status = make_key(m, vault_id, key, err);
    if (status != PQE_OK)
        return status;
    memcpy(state->data, m->object_id, OBJECT_ID_SIZE);
    state->len = OBJECT_ID_SIZE;
    return PQE_OK;
}

static pqe_status
memory_attach(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t *state, size_t state_len, void **key,
              pqe_error *err)
{
    const memory_self *m = self;

    *key = NULL;
    if (state_len != OBJECT_ID_SIZE)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "the memory backend's state is malformed");
    if (!pqe__equal(state, m->object_id, OBJECT_ID_SIZE))
        return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_BACKEND, 0,
                         "the vault's key was kept in the memory of another process or of a backend since closed");
    return make_key(m, vault_id, key, err);
}

static void
memory_detach(void *self, void *key)
{
    (void)self;
    pqe__secmem_free(key);
}

static pqe_status
memory_seal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *secret, size_t secret_len,
            pqe_blob *sealed, pqe_error *err)
{
    (void)self;
    return pqe__softkey_seal(((const memory_key *)key)->kek, aad, aad_len, secret, secret_len, sealed, err);
}

static pqe_status
memory_unseal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *sealed, size_t sealed_len,
              pqe_blob *secret, pqe_error *err)
{
    (void)self;
    return pqe__softkey_unseal(((const memory_key *)key)->kek, aad, aad_len, sealed, sealed_len, secret, err);
}

static const char *
memory_key_source(const uint8_t *state, size_t state_len)
{
    (void)state;
    return state_len == OBJECT_ID_SIZE ? "process" : NULL;
}

const pqe_backend_ops pqe__memory_ops = {
    .magic = PQE_BACKEND_MAGIC,
    .abi = PQE_BACKEND_ABI,
    .size = sizeof(pqe_backend_ops),
    .info = {.name = "memory",
             .description = "a random key in this process, gone when it ends",
             .protection = "software",
             .caveat = "whoever can read this process's memory (root, a debugger) has the key, and what was stored is "
                       "lost when the process ends",
             .capabilities = PQE_CAP_SEAL},
    .open = memory_open,
    .close = memory_close,
    .enrol = memory_enrol,
    .attach = memory_attach,
    .detach = memory_detach,
    .seal = memory_seal,
    .unseal = memory_unseal,
    .key_source = memory_key_source,
};
