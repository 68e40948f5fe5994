/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing under a key that is kept in locked memory. */
#include "backend/softkey.h"

#include <string.h>

#include "util/secmem.h"

pqe_status
pqe__softkey_alloc(size_t size, void **out, pqe_error *err)
{
    *out = pqe__secmem_alloc(size);
    if (*out == NULL)
        return pqe__fail(err, PQE_E_NOMEM, PQE_ORIGIN_API, 0, "out of lockable memory (RLIMIT_MEMLOCK)");
    return PQE_OK;
}

pqe_status
pqe__softkey_derive(const uint8_t secret[PQE__KEY_SIZE], const uint8_t vault_id[PQE_VAULT_ID_SIZE], const char *label,
                    uint8_t out[PQE__KEY_SIZE], pqe_error *err)
{
    void *prk;
    pqe_status status = pqe__softkey_alloc(PQE__SHA256_SIZE, &prk, err);

    if (status == PQE_OK)
        status = pqe__hkdf_extract(vault_id, PQE_VAULT_ID_SIZE, secret, PQE__KEY_SIZE, prk, err);
    if (status == PQE_OK)
        status = pqe__hkdf_expand(PQE__HKDF_SHA256, prk, PQE__SHA256_SIZE, (const uint8_t *)label, strlen(label), out,
                                  PQE__KEY_SIZE, err);
    pqe__secmem_free(prk);
    return status;
}

static pqe_status
too_small(pqe_error *err)
{
    return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_BACKEND, 0, "the secret is too long or the buffer too small");
}

pqe_status
pqe__softkey_seal(const uint8_t kek[PQE__KEY_SIZE], const uint8_t *aad, size_t aad_len, const uint8_t *secret,
                  size_t secret_len, pqe_blob *sealed, pqe_error *err)
{
    pqe__aead *aead = NULL;
    pqe_status status;

    sealed->len = 0;
    if (secret_len > PQE_SEAL_SECRET_MAX || sealed->capacity < secret_len + PQE__BOX_OVERHEAD)
        return too_small(err);
    status = pqe__aead_new(kek, PQE__KEY_SIZE, &aead, err);
    if (status == PQE_OK)
        status = pqe__box_seal(aead, aad, aad_len, secret, secret_len, sealed->data, err);
    if (status == PQE_OK)
        sealed->len = secret_len + PQE__BOX_OVERHEAD;
    pqe__aead_free(&aead);
    return status;
}

pqe_status
pqe__softkey_unseal(const uint8_t kek[PQE__KEY_SIZE], const uint8_t *aad, size_t aad_len, const uint8_t *sealed,
                    size_t sealed_len, pqe_blob *secret, pqe_error *err)
{
    pqe__aead *aead = NULL;
    pqe_status status;

    secret->len = 0;
    if (sealed_len < PQE__BOX_OVERHEAD || sealed_len > PQE_SEAL_SECRET_MAX + PQE__BOX_OVERHEAD)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_BACKEND, 0, "a sealed key has an impossible length");
    if (secret->capacity < sealed_len - PQE__BOX_OVERHEAD)
        return too_small(err);
    status = pqe__aead_new(kek, PQE__KEY_SIZE, &aead, err);
    if (status == PQE_OK)
        status = pqe__box_open(aead, aad, aad_len, sealed, sealed_len, secret->data, err);
    if (status == PQE_OK)
        secret->len = sealed_len - PQE__BOX_OVERHEAD;
    pqe__aead_free(&aead);
    return status;
}
