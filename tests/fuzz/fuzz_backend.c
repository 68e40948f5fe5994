/* SPDX-License-Identifier: Apache-2.0 */
/* The constant-key backend, and a place for a vault. */
#include "fuzz/fuzz.h"

#include <limits.h>
#include <string.h>

#include <pqc_enclave/backend.h>

#include "backend/softkey.h"

const fuzz_artifact fuzz_artifacts[FUZZ_ARTIFACTS] = {{"empty", 0}, {"small", 100}, {"pages", 6000}, {"chunks", 17000}};

static char the_key;
static const uint8_t kek[PQE__KEY_SIZE] = {FUZZ_BYTE};

static pqe_status
open_it(const char *config, const pqe_backend_opts *opts, void **self, pqe_error *err)
{
    (void)config;
    (void)opts;
    (void)err;
    *self = &the_key;
    return PQE_OK;
}

static void
close_it(void *self)
{
    (void)self;
}

static pqe_status
enrol(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_blob *state, void **key, pqe_error *err)
{
    (void)vault_id;
    (void)err;
    state->data[0] = FUZZ_BYTE;
    state->len = 1;
    *key = self;
    return PQE_OK;
}

static pqe_status
attach(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t *state, size_t state_len, void **key,
       pqe_error *err)
{
    (void)vault_id;
    (void)state;
    (void)state_len;
    (void)err;
    *key = self;
    return PQE_OK;
}

static void
detach(void *self, void *key)
{
    (void)self;
    (void)key;
}

static pqe_status
seal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *secret, size_t secret_len,
     pqe_blob *sealed, pqe_error *err)
{
    (void)self;
    (void)key;
    return pqe__softkey_seal(kek, aad, aad_len, secret, secret_len, sealed, err);
}

static pqe_status
unseal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *sealed, size_t sealed_len,
       pqe_blob *secret, pqe_error *err)
{
    (void)self;
    (void)key;
    return pqe__softkey_unseal(kek, aad, aad_len, sealed, sealed_len, secret, err);
}

static const char *
key_source(const uint8_t *state, size_t state_len)
{
    (void)state;
    return state_len == 1 ? "constant" : NULL;
}

static const pqe_backend_ops ops = {
    .magic = PQE_BACKEND_MAGIC,
    .abi = PQE_BACKEND_ABI,
    .size = sizeof(pqe_backend_ops),
    .info = {.name = "fuzz",
             .description = "a constant key",
             .protection = "software",
             .caveat = "everybody knows the key",
             .capabilities = PQE_CAP_SEAL | PQE_CAP_PERSISTENT},
    .open = open_it,
    .close = close_it,
    .enrol = enrol,
    .attach = attach,
    .detach = detach,
    .seal = seal,
    .unseal = unseal,
    .key_source = key_source,
};

pqe_backend *
fuzz_backend(void)
{
    pqe_backend *b = NULL;

    FUZZ_CHECK(pqe_backend_open_ops(&ops, "", NULL, &b, NULL) == PQE_OK);
    return b;
}

const char *
fuzz_directory(void)
{
    static char dir[PATH_MAX];
    const char *base = getenv("TMPDIR");

    snprintf(dir, sizeof dir, "%s/pqe-fuzz-XXXXXX", base != NULL && *base != '\0' ? base : "/tmp");
    FUZZ_CHECK(mkdtemp(dir) != NULL);
    return dir;
}
