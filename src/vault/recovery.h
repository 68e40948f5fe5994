/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery keys, as the files of the vault share them. */
#ifndef PQE_VAULT_RECOVERY_H
#define PQE_VAULT_RECOVERY_H

#include <unistd.h>

#include "vault/internal.h"

/** What the backend seals for the vault, and what is sealed to each recovery key: an ML-KEM seed, the origin key. */
#define PQE__DEVICE_SECRET_SIZE (PQE__KEM_SEED_SIZE + 32u)

struct pqe_recovery_key {
    pid_t owner;
    bool has_words;
    struct {
        uint8_t entropy[32]; /* only with has_words */
        uint8_t seed[PQE__KEM_SEED_SIZE];
    } * secret; /* locked memory */
    pqe__kem_key *kem;
    uint8_t ek[PQE__RECOVERY_EK_SIZE];
    uint8_t id[PQE__ID_SIZE];
    char id_text[PQE_RECOVERY_ID_SIZE];
};

/* ---- recovery_key.c ---- */

/** PQE_E_ARGUMENT for NULL, PQE_E_LOCKED in a forked child. */
pqe_status pqe__recovery_key_usable(const pqe_recovery_key *key, pqe_error *err);
/** A recovery key's id comes from its public key. */
pqe_status pqe__recovery_id_of(const uint8_t ek[PQE__RECOVERY_EK_SIZE], uint8_t id[PQE__ID_SIZE], pqe_error *err);

/* ---- session_keys.c ---- */

/** What the session's backend keeps sealed for the vault, into locked memory. In a transaction. */
pqe_status pqe__device_secret(pqe_vault *vault, uint8_t secret[PQE__DEVICE_SECRET_SIZE], pqe_error *err);

/* ---- recovery.c ---- */

/** The list as the head says it is, in locked memory: pqe__secmem_free(). *out is NULL if there are no recovery keys. */
pqe_status pqe__recovery_load(pqe__txn *txn, pqe__recovery_list **out, pqe_error *err);
/** Writes it under `keys`; the transaction's next head says so. An empty list is removed. */
pqe_status pqe__recovery_store(pqe__txn *txn, const pqe__keys *keys, const pqe__recovery_list *list, pqe_error *err);
/** The stored list and items agree with the head and with each other. */
pqe_status pqe__recovery_check(pqe__txn *txn, pqe_error *err);
/** Seals what opens the vault to each of the list and writes the device items. `list` may be NULL. */
pqe_status pqe__recovery_seal(pqe_vault *vault, const pqe__keys *keys, const pqe__recovery_list *list,
                              const uint8_t secret[PQE__DEVICE_SECRET_SIZE], pqe_error *err);
/** What was sealed so. keys->native says which seed that is. PQE_E_DENIED if the key is none of this vault's. */
pqe_status pqe__recovery_open(pqe_vault *vault, const pqe_recovery_key *key, const pqe__keys *keys,
                              uint8_t secret[PQE__DEVICE_SECRET_SIZE], pqe_error *err);
/** What shows a recovery key that a message comes from the vault: from its seed. */
pqe_status pqe__recovery_authority(const pqe_recovery_key *key, const uint8_t vault_id[PQE__ID_SIZE],
                                   uint8_t authority[32], pqe_error *err);
/** Copies of an identity's secret (32 bytes), one for each key of the list: at most PQE__IDENTITY_COPIES_MAX bytes. */
pqe_status pqe__recovery_copies(const pqe__keys *keys, const pqe__recovery_list *list, const char *did,
                                const uint8_t secret[32], uint8_t *copies, size_t *len, pqe_error *err);
/** The inverse. PQE_E_NOT_FOUND if there is no copy for this key. */
pqe_status pqe__recovery_open_copy(const pqe_recovery_key *key, const pqe__keys *keys, const char *did,
                                   const pqe__identity *identity, uint8_t secret[32], pqe_error *err);

/* ---- recipient.c ---- */

/** Makes a recipient for the recovery keys of the list, writes what it consists of, and gives its public part; without any
 *  (NULL or empty) removes it, and *out is NULL. keys->secret->root and origin are set. */
pqe_status pqe__recipient_make(pqe_vault *vault, const pqe__keys *keys, const pqe__recovery_list *list,
                               pqe__kem_key **out, pqe_error *err);
/** Reads keys->recipient, if there is one. With `seed` (else NULL), which a recovery key had sealed to it, it opens
 *  secrets: keys->by_recipient. */
pqe_status pqe__recipient_load(pqe_vault *vault, pqe__keys *keys, const uint8_t *seed, pqe_error *err);
/** The root secret, by a recipient that opens. */
pqe_status pqe__recipient_open_root(pqe_vault *vault, pqe__keys *keys, pqe_error *err);

/* ---- secrets.c ---- */

/** Seals all session secrets to fresh->vault_key and `recipient` (NULL: none); `fresh` may be the session's own keys. */
pqe_status pqe__secrets_reseal(pqe__txn *txn, const pqe__keys *fresh, const pqe__kem_key *recipient, pqe_error *err);
/** Opens all session secrets, to find out what pqe__secrets_reseal() would fail at. */
pqe_status pqe__secrets_check(pqe__txn *txn, pqe_error *err);

#endif
