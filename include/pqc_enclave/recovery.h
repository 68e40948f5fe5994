/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery keys: the way back into a vault whose backend is gone. A lost key file or passphrase, a broken or wiped chip,
 * changed PCRs: whoever has a recovery key opens the vault all the same and puts it on a new backend.
 *
 * A recovery key is 32 random bytes, written down as 24 words or kept as a PEM file, from which an ML-KEM-768 key pair
 * comes. The vault keeps its public part, and the vault's own key sealed to it; where the backend keeps that to itself
 * (PQE_CAP_NATIVE_KEM), the key of a second recipient, to which all secrets are sealed too. Whoever has a recovery key and
 * a copy of the vault's directory reads everything in it: keep it apart from the vault. docs/format.md has every byte.
 *
 * Where the backend has a counter (PQE_CAP_COUNTER of backend.h) every change of the vault advances it, and an older copy
 * of the vault's directory is refused with PQE_E_ROLLBACK by whatever unlocks it. A backup that is restored is such a copy:
 * whoever restored it says so here, once.
 */
#ifndef PQC_ENCLAVE_RECOVERY_H
#define PQC_ENCLAVE_RECOVERY_H

#include <pqc_enclave.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What was accepted. */
typedef struct pqe_rollback {
    uint64_t found;      /**< generation of the copy that was there */
    uint64_t expected;   /**< generation that the device acknowledged last; 0: its counter cannot tell any more */
    uint64_t generation; /**< generation of the vault from now on: greater than both */
} pqe_rollback;

/**
 * Unlocks a vault that pqe_vault_unlock() refuses with PQE_E_ROLLBACK, and makes it the one that the device expects: every
 * other copy, the one that was expected until now included, is refused from then on. A counter that is gone is made anew.
 * The audit log gets an entry. All that happened since the copy was made is lost with it: artifacts stored since, and
 * removals, policy changes, rotations and use counts too. Afterwards the vault is unlocked for `ttl_seconds` (0:
 * PQE_DEFAULT_TTL_SECONDS); on failure it is locked. `out` may be NULL.
 * Errors: PQE_E_STATE (the vault is not refused: there is nothing to accept), PQE_E_UNAVAILABLE (no device counts this
 * vault's changes), PQE_E_READ_ONLY, and those of pqe_vault_unlock(). Since 0.1.0.
 */
PQE_API pqe_status pqe_recovery_accept_rollback(pqe_vault *vault, uint32_t ttl_seconds, pqe_rollback *out,
                                                pqe_error *err);
#define PQE_RECOVERY_KEYS_MAX 8u    /**< recovery keys of one vault */
#define PQE_RECOVERY_NAME_MAX 64u   /**< bytes of a recovery key's name, which may be empty */
#define PQE_RECOVERY_ID_SIZE 33u    /**< bytes of a recovery key's id with its NUL: 32 lower-case hex digits */
#define PQE_RECOVERY_WORDS 24u      /**< words of a recovery key */
#define PQE_RECOVERY_WORDS_MAX 216u /**< bytes of the longest text of words with its NUL */
#define PQE_RECOVERY_PEM_MAX 512u   /**< bytes of a recovery key's PEM with its NUL */

/* ------------------------------------------------------------------------------------------------------------- keys */

/** A recovery key with its secret, which is in locked memory. Read-only once made: any number of threads may use it. */
typedef struct pqe_recovery_key pqe_recovery_key;

/** Makes a new key from 32 random bytes. Errors: PQE_E_NOMEM, PQE_E_CRYPTO. */
PQE_API pqe_status pqe_recovery_key_generate(pqe_recovery_key **out, pqe_error *err);

/** Wipes. */
PQE_API void pqe_recovery_key_free(pqe_recovery_key **key);

/** The key's id, which a vault lists it by: it comes from the public key. "" in a forked child. */
PQE_API const char *pqe_recovery_key_id(const pqe_recovery_key *key);

/**
 * The key as 24 English words (the encoding of BIP-39 with its checksum) with a space between them, NUL-terminated;
 * PQE_RECOVERY_WORDS_MAX bytes suffice. `buf` then holds a secret: take locked memory and wipe it. PQE_E_UNAVAILABLE
 * for a key that was read from a PEM: the words cannot be had back from that.
 */
PQE_API pqe_status pqe_recovery_key_words(const pqe_recovery_key *key, char *buf, size_t capacity, size_t *len,
                                          pqe_error *err);

/**
 * Reads 24 words, parted by any white space, in small or capital letters. PQE_E_MALFORMED if one of them is not in the
 * list, or if they do not belong together (a checksum of 8 bits: one slip of 256 gets through, and is found by the key
 * opening nothing).
 */
PQE_API pqe_status pqe_recovery_key_from_words(const char *words, size_t len, pqe_recovery_key **out, pqe_error *err);

/**
 * The key as an unencrypted PKCS#8 private key in PEM that holds the ML-KEM-768 seed (RFC 9935), as `openssl pkey` reads
 * it; NUL-terminated, PQE_RECOVERY_PEM_MAX bytes suffice. `buf` then holds a secret.
 */
PQE_API pqe_status pqe_recovery_key_pem(const pqe_recovery_key *key, char *buf, size_t capacity, size_t *len,
                                        pqe_error *err);

/** Reads such a PEM. PQE_E_MALFORMED for anything else. */
PQE_API pqe_status pqe_recovery_key_from_pem(const char *pem, size_t len, pqe_recovery_key **out, pqe_error *err);

/* -------------------------------------------------------------------------------------------------- keys of a vault */

/**
 * Lets `key` open this vault, which must be unlocked, from now on: seals the vault's key to it, and every identity whose
 * key is not the backend's own. One transaction. `name` is for people, at most PQE_RECOVERY_NAME_MAX bytes; NULL: none.
 * Where the backend keeps the vault's key to itself it opens the secret of every session whose artifacts the vault has,
 * one by one, and these are sealed anew; the session may expire meanwhile, and then nothing has changed.
 * Errors: PQE_E_EXISTS if the vault has this key, PQE_E_LIMIT beyond PQE_RECOVERY_KEYS_MAX keys, PQE_E_LOCKED, those of
 * the backend.
 */
PQE_API pqe_status pqe_recovery_create(pqe_vault *vault, const pqe_recovery_key *key, const char *name, pqe_error *err);

/** A recovery key as the vault lists it. */
typedef struct pqe_recovery_info {
    char id[PQE_RECOVERY_ID_SIZE];
    char name[PQE_RECOVERY_NAME_MAX + 1];
    char created_at[21]; /**< RFC 3339, UTC, for example "2026-01-31T08:30:00Z" */
    char suite[16];      /**< "ml-kem-768" */
} pqe_recovery_info;

/** Called once a recovery key; return false to stop. It must not call into the same vault. */
typedef bool (*pqe_recovery_fn)(void *user, const pqe_recovery_info *info);

/** Lists the vault's recovery keys, proved by its head. Errors: PQE_E_CANCELLED, PQE_E_LOCKED, PQE_E_TAMPERED. */
PQE_API pqe_status pqe_recovery_list(pqe_vault *vault, pqe_recovery_fn fn, void *user, pqe_error *err);

/**
 * Takes back what pqe_recovery_create() gave. A copy of the vault from before still opens with the key, and with what
 * that copy gives the present vault can be read too, until pqe_rotate() with `rekey` has replaced all secrets. What was
 * said of the backend there holds here too, but for the last key.
 * Errors: PQE_E_NOT_FOUND, PQE_E_LOCKED, those of the backend.
 */
PQE_API pqe_status pqe_recovery_remove(pqe_vault *vault, const char *id, pqe_error *err);

/* ---------------------------------------------------------------------------------------------------------- the way */

/** An identity that could not be taken along: its private key was the lost backend's own; or its record was damaged, so
 *  that nobody knows whose it was: then both texts are empty. */
typedef void (*pqe_recovery_lost_fn)(void *user, const char *did, const char *name);

typedef struct pqe_recovery_use_opts {
    size_t size;                 /**< sizeof(pqe_recovery_use_opts) */
    const char *dir;             /**< the vault's directory */
    const pqe_recovery_key *key; /**< one of the vault's recovery keys */
    pqe_backend *backend;        /**< the new backend; not owned, must outlive the vault handle */
    pqe_recovery_lost_fn lost;   /**< called for each identity that was lost, once the vault has moved; NULL: none */
    void *user;                  /**< handed to `lost` */
    uint32_t busy_timeout_ms;    /**< as in pqe_vault_opts */
    const char *caller;          /**< as in pqe_vault_opts, for the audit log */
} pqe_recovery_use_opts;

/**
 * Opens a vault by a recovery key instead of its backend, and puts it on a new one: everything that an unlock verifies
 * is verified and every session's secret opened; then the new backend makes a key for the vault, new device keys are made
 * and all secrets sealed to them, in one transaction. Bodies are not touched, recovery keys stay. A crash leaves the vault
 * as it was or moved; on failure the new backend's key is taken back. The handle is unlocked for the default time.
 * Sessions of other processes end with PQE_E_LOCKED. Identities whose keys the old backend kept for itself are removed,
 * and so are damaged ones.
 * Errors: PQE_E_DENIED if the key is none of this vault's, PQE_E_TAMPERED if what is stored for it was altered,
 * PQE_E_EXISTS if the new backend's place is taken (a key file that is there already), PQE_E_READ_ONLY, PQE_E_BUSY, those of the backend.
 */
PQE_API pqe_status pqe_recovery_use(const pqe_recovery_use_opts *opts, pqe_vault **out, pqe_error *err);

#ifdef __cplusplus
}
#endif

#endif
