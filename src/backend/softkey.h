/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealing under a key that is kept in locked memory: what the backends without hardware share.
 *
 * A sealed blob is a box of crypto/crypto.h (AES-256-GCM, random nonce) under the vault's key-encryption key. The
 * cipher context lives for one call, so that between calls the key is in locked memory alone.
 */
#ifndef PQE_BACKEND_SOFTKEY_H
#define PQE_BACKEND_SOFTKEY_H

#include <pqc_enclave/backend.h>

#include "crypto/crypto.h"

/** Zeroed locked memory, with the error filled when there is none. Free with pqe__secmem_free(). */
pqe_status pqe__softkey_alloc(size_t size, void **out, pqe_error *err);

/** 32 bytes by HKDF-SHA-256 (RFC 5869) from 32 secret bytes: the salt is the vault id, the info is `label`. */
pqe_status pqe__softkey_derive(const uint8_t secret[PQE__KEY_SIZE], const uint8_t vault_id[PQE_VAULT_ID_SIZE],
                               const char *label, uint8_t out[PQE__KEY_SIZE], pqe_error *err);

/** As the SPI's seal and unseal. PQE_E_LIMIT if the secret is too long or the blob too small to take the result. */
pqe_status pqe__softkey_seal(const uint8_t kek[PQE__KEY_SIZE], const uint8_t *aad, size_t aad_len,
                             const uint8_t *secret, size_t secret_len, pqe_blob *sealed, pqe_error *err);
pqe_status pqe__softkey_unseal(const uint8_t kek[PQE__KEY_SIZE], const uint8_t *aad, size_t aad_len,
                               const uint8_t *sealed, size_t sealed_len, pqe_blob *secret, pqe_error *err);

#endif
