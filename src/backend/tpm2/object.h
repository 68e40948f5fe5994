/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys in the TPM: the storage key that everything hangs on, and the sealed key-encryption key below it.
 *
 * The storage key is a primary of the owner hierarchy: the TPM makes the same one each time from its seed, nothing of
 * it is stored. Its Name (a hash of its public area) is pinned in the state, since whoever sits between us and the TPM
 * could offer a key of their own; sessions are salted to it. The sealed key never leaves this TPM, can be used only by
 * its authorization value, which the TPM checks through a policy together with the PCRs, and on its way over the bus it
 * is encrypted by the session.
 */
#ifndef PQE_BACKEND_TPM2_OBJECT_H
#define PQE_BACKEND_TPM2_OBJECT_H

#include "backend/tpm2/device.h"
#include "backend/tpm2/state.h"
#include "crypto/crypto.h"

/** The largest AES key that the TPM takes in a storage key and a session. */
pqe_status pqe__tpm2_choose_bits(pqe__tpm2_device *d, uint16_t *bits, pqe_error *err);

/** Loads the storage key; its Name goes to `name`. */
pqe_status pqe__tpm2_parent(pqe__tpm2_device *d, uint16_t bits, uint8_t name[PQE__TPM2_NAME_SIZE], ESYS_TR *parent,
                            pqe_error *err);
/** The same, and PQE_E_DENIED if it is not the one that the vault was made with. */
pqe_status pqe__tpm2_known_parent(pqe__tpm2_device *d, const pqe__tpm2_state *state, ESYS_TR *parent, pqe_error *err);

/** An HMAC session salted to the storage key that encrypts first parameters both ways as `attributes` say. */
pqe_status pqe__tpm2_session(pqe__tpm2_device *d, ESYS_TR parent, uint16_t bits, TPMA_SESSION attributes,
                             ESYS_TR *session, pqe_error *err);

/** Seals `kek`; reads flags, parent_bits and PCRs of the state, fills policy, unique and private_part. */
pqe_status pqe__tpm2_seal_key(pqe__tpm2_device *d, ESYS_TR parent, pqe__tpm2_state *state,
                              const uint8_t auth[PQE__KEY_SIZE], const uint8_t kek[PQE__KEY_SIZE], pqe_error *err);
/** Loads the sealed key and gives it its authorization value. PQE_E_TAMPERED if it was altered. */
pqe_status pqe__tpm2_load_key(pqe__tpm2_device *d, ESYS_TR parent, const pqe__tpm2_state *state,
                              const uint8_t auth[PQE__KEY_SIZE], ESYS_TR *object, pqe_error *err);
/** Unseals what pqe__tpm2_load_key() loaded. PQE_E_DENIED: wrong PIN, lockout, other PCRs. */
pqe_status pqe__tpm2_unseal_key(pqe__tpm2_device *d, ESYS_TR parent, ESYS_TR object, const pqe__tpm2_state *state,
                                uint8_t kek[PQE__KEY_SIZE], pqe_error *err);
/** The stack keeps the value with the loaded object: overwrites it there. */
void pqe__tpm2_forget_auth(pqe__tpm2_device *d, ESYS_TR object);
/** Gives the sealed key another authorization value: a new private_part in `out`, a copy of `state` otherwise. */
pqe_status pqe__tpm2_change_auth(pqe__tpm2_device *d, const pqe__tpm2_state *state, const uint8_t auth[PQE__KEY_SIZE],
                                 const uint8_t new_auth[PQE__KEY_SIZE], pqe__tpm2_state *out, pqe_error *err);

/** The error for a refused authorization of the sealed key. */
pqe_status pqe__tpm2_refused(pqe__tpm2_device *d, TSS2_RC rc, const pqe__tpm2_state *state, const char *what,
                             pqe_error *err);

/** The bits of `mask` as a selection in `bank`. */
TPML_PCR_SELECTION pqe__tpm2_pcrs(uint16_t bank, uint32_t mask);

#endif
