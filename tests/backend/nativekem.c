/* SPDX-License-Identifier: Apache-2.0 */
/* The decorator that keeps ML-KEM keys. */
#include "backend/nativekem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "crypto/crypto.h"
#include "util/secmem.h"

#define AAD ((const uint8_t *)"a key pair of the double")
#define AAD_LEN ((size_t)24)
#define DROPPED_MAX 4096u

static const pqe_backend_ops *inner;
static pqe_backend_ops table;
static atomic_size_t pairs;
static atomic_uint calls;
static atomic_bool misfit;
static void (*before)(void *user);
static void *before_user;
static uint8_t dropped[DROPPED_MAX][32];
static size_t dropped_count;

size_t
nativekem_pairs(void)
{
    return atomic_load(&pairs);
}

unsigned
nativekem_calls(void)
{
    return atomic_load(&calls);
}

void
nativekem_misfit(bool on)
{
    atomic_store(&misfit, on);
}

void
nativekem_before(void (*call)(void *user), void *user)
{
    before = call;
    before_user = user;
}

static pqe_status
fail(pqe_error *err, pqe_status status, const char *text)
{
    if (err != NULL) {
        *err = (pqe_error){.status = status, .origin = PQE_ORIGIN_DEVICE};
        snprintf(err->message, sizeof err->message, "%s", text);
    }
    return status;
}

/* The public part of a seed, or of another one. */
static pqe_status
public_of(const uint8_t seed[PQE__KEM_SEED_SIZE], pqe_blob *public_key, pqe_error *err)
{
    static const uint8_t other[PQE__KEM_SEED_SIZE] = {1};
    pqe__kem_key *key = NULL;
    pqe_status status = pqe__kem_from_seed(atomic_load(&misfit) ? other : seed, &key, err);

    if (status == PQE_OK)
        status = pqe__kem_public(key, public_key->data, err);
    if (status == PQE_OK)
        public_key->len = PQE__KEM_PUBLIC_SIZE;
    pqe__kem_free(&key);
    return status;
}

static pqe_status
kem_make(void *self, void *key, pqe_blob *handle, pqe_blob *public_key, pqe_error *err)
{
    uint8_t *seed;
    pqe_status status;

    if (public_key->capacity < PQE__KEM_PUBLIC_SIZE)
        return fail(err, PQE_E_LIMIT, "the buffer is too small for a public key");
    if ((seed = pqe__secmem_alloc(PQE__KEM_SEED_SIZE)) == NULL)
        return fail(err, PQE_E_NOMEM, "out of memory");
    status = pqe__random_secret(seed, PQE__KEM_SEED_SIZE, err);
    if (status == PQE_OK)
        status = public_of(seed, public_key, err);
    if (status == PQE_OK)
        status = inner->seal(self, key, AAD, AAD_LEN, seed, PQE__KEM_SEED_SIZE, handle, err);
    if (status == PQE_OK)
        atomic_fetch_add(&pairs, 1);
    pqe__secmem_free(seed);
    return status;
}

/* A sealed seed begins with a random nonce. */
static void
name_of(const uint8_t *handle, size_t len, uint8_t name[32])
{
    memset(name, 0, 32);
    memcpy(name, handle, len < 32 ? len : 32);
}

static bool
is_dropped(const uint8_t *handle, size_t len)
{
    uint8_t name[32];

    name_of(handle, len, name);
    for (size_t i = 0; i < dropped_count; i++)
        if (memcmp(dropped[i], name, sizeof name) == 0)
            return true;
    return false;
}

static pqe_status
kem_decapsulate(void *self, void *key, const uint8_t *handle, size_t handle_len, const uint8_t *ciphertext,
                size_t ciphertext_len, pqe_blob *shared_secret, pqe_error *err)
{
    uint8_t *seed;
    pqe_blob blob;
    pqe__kem_key *pair = NULL;
    pqe_status status;

    atomic_fetch_add(&calls, 1);
    if (before != NULL)
        before(before_user);
    if (ciphertext_len != PQE__KEM_CIPHERTEXT_SIZE)
        return fail(err, PQE_E_DECRYPTION, "a ciphertext of another length");
    if (shared_secret->capacity < PQE__KEM_SHARED_SIZE)
        return fail(err, PQE_E_LIMIT, "the buffer is too small for a shared secret");
    if (is_dropped(handle, handle_len))
        return fail(err, PQE_E_DECRYPTION, "there is no such key pair any more");
    if ((seed = pqe__secmem_alloc(PQE_SEAL_SECRET_MAX)) == NULL)
        return fail(err, PQE_E_NOMEM, "out of memory");
    blob = (pqe_blob){.data = seed, .capacity = PQE_SEAL_SECRET_MAX};
    status = inner->unseal(self, key, AAD, AAD_LEN, handle, handle_len, &blob, err);
    if (status == PQE_OK)
        status = pqe__kem_from_seed(seed, &pair, err);
    if (status == PQE_OK)
        status = pqe__kem_decapsulate(pair, ciphertext, ciphertext_len, shared_secret->data, err);
    if (status == PQE_OK)
        shared_secret->len = PQE__KEM_SHARED_SIZE;
    pqe__kem_free(&pair);
    pqe__secmem_free(seed);
    return status;
}

static void
kem_drop(void *self, void *key, const uint8_t *handle, size_t handle_len)
{
    (void)self;
    (void)key;
    if (is_dropped(handle, handle_len))
        return;
    atomic_fetch_sub(&pairs, 1);
    if (dropped_count < DROPPED_MAX)
        name_of(handle, handle_len, dropped[dropped_count++]);
}

const pqe_backend_ops *
nativekem_wrap(const pqe_backend_ops *ops)
{
    if (ops == &table)
        return &table;
    inner = ops;
    table = *ops;
    table.info.capabilities |= PQE_CAP_NATIVE_KEM;
    table.kem_make = kem_make;
    table.kem_decapsulate = kem_decapsulate;
    table.kem_drop = kem_drop;
    return &table;
}
