/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the vault code sees of a backend: the handle, and one wrapper for each entry of the SPI.
 *
 * The wrappers are the border to code that may be a third party's. They hold the backend's mutex during a call, refuse
 * calls from a forked child (PQE_E_LOCKED) and entries that the table lacks (PQE_E_UNAVAILABLE), and check what comes
 * back: an output never exceeds its capacity, is empty or wiped on failure, and a failure always carries a text.
 * Parameters are those of pqc_enclave/backend.h without `self`.
 */
#ifndef PQE_BACKEND_REGISTRY_H
#define PQE_BACKEND_REGISTRY_H

#include <pthread.h>
#include <sys/types.h>

#include <pqc_enclave/backend.h>

struct pqe_backend {
    const pqe_backend_ops *ops;
    void *self;
    uint32_t capabilities; /* PQE_CAP_*: what the opened device has of ops->info.capabilities */
    pthread_mutex_t lock;
    pid_t owner;
};

extern const pqe_backend_ops pqe__memory_ops;
extern const pqe_backend_ops pqe__file_ops;
extern const pqe_backend_ops pqe__pkcs11_ops;

/** A built-in backend's table by name; NULL if there is none. */
const pqe_backend_ops *pqe__backend_find(const char *name);

pqe_status pqe__backend_enrol(pqe_backend *backend, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_blob *state,
                              void **key, pqe_error *err);
/** Does nothing where the backend has nothing to undo. */
void pqe__backend_discard(pqe_backend *backend, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key);
/** The same for an enrol() of a process that died before its vault came to be. */
void pqe__backend_forget(pqe_backend *backend, const uint8_t vault_id[PQE_VAULT_ID_SIZE]);
pqe_status pqe__backend_attach(pqe_backend *backend, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t *state,
                               size_t state_len, void **key, pqe_error *err);
/** NULL is fine. In a forked child nothing is touched. */
void pqe__backend_detach(pqe_backend *backend, void *key);
/** The same if the backend is not busy; false if it is. */
bool pqe__backend_try_detach(pqe_backend *backend, void *key);
/** `secret_len` is 1 to PQE_SEAL_SECRET_MAX. */
pqe_status pqe__backend_seal(pqe_backend *backend, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *secret,
                             size_t secret_len, pqe_blob *sealed, pqe_error *err);
/** `secret->data` must be locked memory; on failure all of it is wiped. */
pqe_status pqe__backend_unseal(pqe_backend *backend, void *key, const uint8_t *aad, size_t aad_len,
                               const uint8_t *sealed, size_t sealed_len, pqe_blob *secret, pqe_error *err);
/** At most 31 bytes; NULL if the state makes no sense or there is no table. Touches no key and takes no lock. */
const char *pqe__backend_key_source(const pqe_backend_ops *ops, const uint8_t *state, size_t state_len);
pqe_status pqe__backend_change_passphrase(pqe_backend *backend, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key,
                                          const uint8_t *state, size_t state_len, pqe_blob *new_state, pqe_error *err);

/** True if the backend makes ML-DSA keys and signs with them itself. */
bool pqe__backend_signs(const pqe_backend *backend);
pqe_status pqe__backend_identity_make(pqe_backend *backend, void *key, pqe_sig_algorithm algorithm, pqe_blob *handle,
                                      pqe_blob *public_key, pqe_error *err);
/** *len is pqe_sig_signature_size() on success. The caller verifies the signature. */
pqe_status pqe__backend_identity_sign(pqe_backend *backend, void *key, pqe_sig_algorithm algorithm,
                                      const uint8_t *handle, size_t handle_len, const uint8_t *context,
                                      size_t context_len, const uint8_t *message, size_t message_len,
                                      pqe_blob *signature, pqe_error *err);
/** Does nothing where the backend has nothing to forget. */
void pqe__backend_identity_drop(pqe_backend *backend, void *key, const uint8_t *handle, size_t handle_len);
/** PQE_OK if the person agreed. PQE_E_UNAVAILABLE where the backend cannot ask. */
pqe_status pqe__backend_authorize(pqe_backend *backend, void *key, const char *reason, pqe_error *err);

#define PQE__SHARED_SECRET_SIZE 32u /* FIPS 203 */

/** True if the backend makes ML-KEM keys and decapsulates with them itself. */
bool pqe__backend_decapsulates(const pqe_backend *backend);
pqe_status pqe__backend_kem_make(pqe_backend *backend, void *key, pqe_blob *handle, pqe_blob *public_key,
                                 pqe_error *err);
/** Writes PQE__SHARED_SECRET_SIZE bytes to locked memory; wiped on failure. */
pqe_status pqe__backend_kem_decapsulate(pqe_backend *backend, void *key, const uint8_t *handle, size_t handle_len,
                                        const uint8_t *ciphertext, size_t ciphertext_len, uint8_t *shared_secret,
                                        pqe_error *err);
/** Does nothing where the backend has nothing to forget. */
void pqe__backend_kem_drop(pqe_backend *backend, void *key, const uint8_t *handle, size_t handle_len);

/** True if the backend has counters that nobody can turn back. */
bool pqe__backend_counts(const pqe_backend *backend);
/** note->len is 0 where there is none. */
pqe_status pqe__backend_counter_read(pqe_backend *backend, void *key, uint64_t *value, pqe_blob *note, pqe_error *err);
pqe_status pqe__backend_counter_advance(pqe_backend *backend, void *key, uint64_t value, const uint8_t *note,
                                        size_t note_len, pqe_error *err);
pqe_status pqe__backend_counter_make(pqe_backend *backend, void *key, pqe_error *err);

/** True if the device can sign what it says about a key. */
bool pqe__backend_testifies(const pqe_backend *backend);
/** `take` is called while the backend is in use, and must not call into it. */
pqe_status pqe__backend_evidence(pqe_backend *backend, void *key, const uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE],
                                 pqe_evidence_fn take, void *user, pqe_error *err);
pqe_status pqe__backend_evidence_key(pqe_backend *backend, void *key, pqe_blob *pem, pqe_error *err);

/** False where the backend has nothing to say of this state. Touches no key and takes no lock. */
bool pqe__backend_describe(const pqe_backend_ops *ops, const uint8_t *state, size_t state_len,
                           char text[PQE_HELD_BY_MAX]);

#endif
