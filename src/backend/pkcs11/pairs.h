/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key pairs that the token makes and uses itself, by PKCS#11 3.2: ML-KEM-768 and ML-DSA. A handle is `u8 1 || CKA_ID`.
 * Private keys are sensitive, not extractable and for one purpose; the public key is read and not kept on the token.
 */
#ifndef PQE_BACKEND_PKCS11_PAIRS_H
#define PQE_BACKEND_PKCS11_PAIRS_H

#include "backend/pkcs11/keys.h"

#define PQE__P11_HANDLE_SIZE (1u + PQE__P11_ID_SIZE)

/* The SPI's entries of these names. */
pqe_status pqe__p11_kem_make(void *self, void *key, pqe_blob *handle, pqe_blob *public_key, pqe_error *err);
pqe_status pqe__p11_kem_decapsulate(void *self, void *key, const uint8_t *handle, size_t handle_len,
                                    const uint8_t *ciphertext, size_t ciphertext_len, pqe_blob *shared_secret,
                                    pqe_error *err);
void pqe__p11_kem_drop(void *self, void *key, const uint8_t *handle, size_t handle_len);
pqe_status pqe__p11_identity_make(void *self, void *key, pqe_sig_algorithm algorithm, pqe_blob *handle,
                                  pqe_blob *public_key, pqe_error *err);
pqe_status pqe__p11_identity_sign(void *self, void *key, pqe_sig_algorithm algorithm, const uint8_t *handle,
                                  size_t handle_len, const uint8_t *context, size_t context_len, const uint8_t *message,
                                  size_t message_len, pqe_blob *signature, pqe_error *err);
void pqe__p11_identity_drop(void *self, void *key, const uint8_t *handle, size_t handle_len);

#endif
