/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vault's counter: an NV index of the TPM that only grows, and beside it an ordinary one with a note.
 *
 * Both are read and written by an authorization value derived from the key-encryption key, so that only an unlocked
 * vault can, and so that each answer is authenticated. Whoever owns the TPM can remove them, but not make them anew
 * with that value: a counter that is gone or another is noticed. Their policy field, which grants nothing, holds a hash
 * of the vault id and tells whose they are.
 */
#ifndef PQE_BACKEND_TPM2_COUNTER_H
#define PQE_BACKEND_TPM2_COUNTER_H

#include "backend/tpm2/object.h"

/** True if a counter of ours may have this index. */
bool pqe__tpm2_counter_place_ok(uint32_t nv_index);

/** Makes counter and note, and the counter's first increment; salted to `parent`. Without an index in the state it takes
 *  a free one, and sets flags and nv_index; with one it is made there, with a note if there was one. On failure nothing
 *  is left. */
pqe_status pqe__tpm2_counter_define(pqe__tpm2_device *d, ESYS_TR parent, const uint8_t vault_id[PQE_VAULT_ID_SIZE],
                                    const uint8_t kek[PQE__KEY_SIZE], pqe__tpm2_state *state, pqe_error *err);
/** `note` may be NULL. PQE_E_ROLLBACK if either is gone or another's. */
pqe_status pqe__tpm2_counter_read(pqe__tpm2_device *d, const uint8_t vault_id[PQE_VAULT_ID_SIZE],
                                  const uint8_t kek[PQE__KEY_SIZE], const pqe__tpm2_state *state, uint64_t *value,
                                  pqe_blob *note, pqe_error *err);
pqe_status pqe__tpm2_counter_advance(pqe__tpm2_device *d, const uint8_t vault_id[PQE_VAULT_ID_SIZE],
                                     const uint8_t kek[PQE__KEY_SIZE], const pqe__tpm2_state *state, uint64_t value,
                                     const uint8_t *note, size_t note_len, pqe_error *err);
/** The counter's handle with its authorization value set, and a session to use it with. */
pqe_status pqe__tpm2_counter_open(pqe__tpm2_device *d, const uint8_t vault_id[PQE_VAULT_ID_SIZE],
                                  const uint8_t kek[PQE__KEY_SIZE], const pqe__tpm2_state *state, ESYS_TR *nv,
                                  ESYS_TR *session, pqe_error *err);
/** Removes what this vault has at `nv_index` and beside it; at 0: wherever a vault of this id may have one. */
void pqe__tpm2_counter_remove(pqe__tpm2_device *d, const uint8_t vault_id[PQE_VAULT_ID_SIZE], uint32_t nv_index);

#endif
