/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend SPI: what a device, a chip or a service offers so that it can hold a vault's device key.
 *
 * A backend is a table of functions. The *seal* tier (PQE_CAP_SEAL) seals and unseals small secrets under a
 * key-encryption key that never leaves it; the library keeps the ML-KEM seed sealed that way and decapsulates in
 * locked memory. Further tiers append to the table: `size` says how much of it a backend fills, an entry that is
 * missing or NULL means "unsupported" and gives PQE_E_UNAVAILABLE, never a software fall-back.
 *
 * Objects: `self` is the opened backend (a connection, credentials); `key` is the key-encryption key of one vault
 * while that vault is unlocked. The library calls functions of one `self` from one thread at a time.
 */
#ifndef PQC_ENCLAVE_BACKEND_H
#define PQC_ENCLAVE_BACKEND_H

#include <pqc_enclave/identity.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PQE_BACKEND_MAGIC 0x42455150u /* "PQEB" */
#define PQE_BACKEND_ABI 1u

#define PQE_CAP_SEAL 0x1u           /**< seal, unseal */
#define PQE_CAP_PASSPHRASE 0x2u     /**< may be opened by a passphrase; change_passphrase */
#define PQE_CAP_PERSISTENT 0x4u     /**< survives the process */
#define PQE_CAP_AUTHORIZE 0x8u      /**< can ask whether the user is present and agrees; authorize */
#define PQE_CAP_NATIVE_ML_DSA 0x10u /**< makes ML-DSA keys and signs with them itself: identity_make, identity_sign */
#define PQE_CAP_NATIVE_KEM 0x20u    /**< makes ML-KEM keys and decapsulates itself: kem_make, kem_decapsulate */
#define PQE_CAP_COUNTER 0x40u       /**< keeps a counter that nobody can turn back: counter_* */
#define PQE_CAP_EVIDENCE 0x80u      /**< can state, signed by the device, where the key is held: evidence_* */

#define PQE_VAULT_ID_SIZE 16       /**< bytes of a vault id */
#define PQE_BACKEND_STATE_MAX 4096 /**< bytes of public state a backend may keep in the vault */
#define PQE_SEAL_SECRET_MAX 128    /**< bytes of the largest secret handed to seal */
#define PQE_SEAL_BLOB_MAX 4096     /**< bytes of the largest sealed blob */
#define PQE_COUNTER_NOTE_MAX 64    /**< bytes of the longest note beside a counter */
#define PQE_HELD_BY_MAX 512        /**< bytes of describe()'s text, its NUL included */
#define PQE_EVIDENCE_NONCE_SIZE 32 /**< bytes of the nonce that evidence answers */
#define PQE_EVIDENCE_TYPE_MAX 63   /**< bytes of the type of a piece of evidence */

/** Bytes that a backend fills: at most `capacity`, `len` says how many. */
typedef struct pqe_blob {
    uint8_t *data;
    size_t capacity;
    size_t len;
} pqe_blob;

/** Takes one piece of evidence: its type, for example "tpm2-quote", and its 1 to PQE_EVIDENCE_BYTES_MAX bytes (attest.h).
 *  At most PQE_EVIDENCE_MAX pieces. What it returns other than PQE_OK, evidence() returns. */
typedef pqe_status (*pqe_evidence_fn)(void *user, const char *type, const uint8_t *data, size_t len, pqe_error *err);

typedef struct pqe_backend_ops {
    uint32_t magic; /**< PQE_BACKEND_MAGIC */
    uint32_t abi;   /**< PQE_BACKEND_ABI */
    size_t size;    /**< sizeof(pqe_backend_ops) as the backend was compiled */
    pqe_backend_info info;

    /** Opens the backend. `config` is what followed "name:", or "". No key is touched yet. */
    pqe_status (*open)(const char *config, const pqe_backend_opts *opts, void **self, pqe_error *err);

    /** Closes and wipes. */
    void (*close)(void *self);

    /**
     * Makes a key-encryption key for a new vault and opens it. `state` receives what the backend wants back at
     * attach(): public parameters or wrapped keys, stored in the vault and authenticated by its head, but *read
     * before* that check: parse it as hostile. On failure nothing stays behind.
     */
    pqe_status (*enrol)(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_blob *state, void **key,
                        pqe_error *err);

    /** Destroys a key: undoes enrol() where the vault could not be made or moved here, and where the vault has moved
     *  away and its owner says so, does it to a key from attach(). Removes key files and the like. Called before
     *  detach(). Another key that this backend has of the same vault must not suffer: a vault may move from one to the
     *  other. `key` NULL: an enrol() for this vault was cut short in a process that died; whatever it left is of no use and is to be
     *  removed, nothing else. Optional: a backend that leaves nothing behind has nothing to undo. */
    void (*discard)(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key);

    /** Opens the key-encryption key of an existing vault. PQE_E_DENIED for a wrong or missing credential. */
    pqe_status (*attach)(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t *state, size_t state_len,
                         void **key, pqe_error *err);

    /** Wipes the key. */
    void (*detach)(void *self, void *key);

    /** Seals 1 to PQE_SEAL_SECRET_MAX bytes; `aad` is authenticated. Fresh randomness at every call; an empty result
     *  counts as a failure. */
    pqe_status (*seal)(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *secret,
                       size_t secret_len, pqe_blob *sealed, pqe_error *err);

    /** The inverse. `secret->data` is locked memory. PQE_E_DECRYPTION if blob or aad was altered or is another's. */
    pqe_status (*unseal)(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *sealed,
                         size_t sealed_len, pqe_blob *secret, pqe_error *err);

    /** A word for what opens a vault with this state ("key-file", "passphrase", "process"); static storage, NULL if
     *  the state makes no sense. */
    const char *(*key_source)(const uint8_t *state, size_t state_len);

    /** Asks for a new passphrase and gives the state that replaces the present one. Optional. */
    pqe_status (*change_passphrase)(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key,
                                    const uint8_t *state, size_t state_len, pqe_blob *new_state, pqe_error *err);

    /**
     * PQE_CAP_NATIVE_ML_DSA: makes a key pair (FIPS 204) that never leaves the backend. `handle` receives what the
     * backend wants back to sign with it, an id or a wrapped key, at most PQE_SEAL_BLOB_MAX bytes, kept in the vault
     * and authenticated; `public_key` the raw public key. PQE_E_UNAVAILABLE for an algorithm that it does not have.
     */
    pqe_status (*identity_make)(void *self, void *key, pqe_sig_algorithm algorithm, pqe_blob *handle,
                                pqe_blob *public_key, pqe_error *err);

    /** Signs with such a key: pure ML-DSA with a context of 0 to 255 bytes. The library verifies what comes back. */
    pqe_status (*identity_sign)(void *self, void *key, pqe_sig_algorithm algorithm, const uint8_t *handle,
                                size_t handle_len, const uint8_t *context, size_t context_len, const uint8_t *message,
                                size_t message_len, pqe_blob *signature, pqe_error *err);

    /** Forgets such a key: its identity was removed, or could not be stored. Optional. */
    void (*identity_drop)(void *self, void *key, const uint8_t *handle, size_t handle_len);

    /**
     * Asks the person at the device (fingerprint, face, PIN, button) to agree to `reason`, a sentence that names the
     * artifact. PQE_OK if they did; PQE_E_DENIED if they did not. May take as long as a person does. Optional, told by
     * PQE_CAP_AUTHORIZE; without it a policy that requires presence denies.
     */
    pqe_status (*authorize)(void *self, void *key, const char *reason, pqe_error *err);

    /**
     * PQE_CAP_NATIVE_KEM: makes an ML-KEM-768 key pair (FIPS 203) whose decapsulation key never leaves the backend.
     * `handle` receives what the backend wants back to use it, at most PQE_SEAL_BLOB_MAX bytes, kept in the vault and
     * authenticated; `public_key` the raw encapsulation key.
     */
    pqe_status (*kem_make)(void *self, void *key, pqe_blob *handle, pqe_blob *public_key, pqe_error *err);

    /** Decapsulates with such a key: 32 bytes into locked memory. A ciphertext that was not made for the key gives
     *  another secret and no error (implicit rejection, FIPS 203, section 6.3). */
    pqe_status (*kem_decapsulate)(void *self, void *key, const uint8_t *handle, size_t handle_len,
                                  const uint8_t *ciphertext, size_t ciphertext_len, pqe_blob *shared_secret,
                                  pqe_error *err);

    /** Forgets such a key. Optional. */
    void (*kem_drop)(void *self, void *key, const uint8_t *handle, size_t handle_len);

    /**
     * PQE_CAP_COUNTER: the counter that enrol() made for this vault; discard() removes it. `note` receives what was
     * last written beside it, or nothing where the device has no room for notes. PQE_E_ROLLBACK if the counter is not
     * there any more; PQE_E_UNAVAILABLE if this key never had one.
     */
    pqe_status (*counter_read)(void *self, void *key, uint64_t *value, pqe_blob *note, pqe_error *err);

    /** Writes the note, then makes the counter `value`, which is the present value or one more. Nothing else ever
     *  changes it. Several processes do not call this at once: the library holds a lock of the vault. */
    pqe_status (*counter_advance)(void *self, void *key, uint64_t value, const uint8_t *note, size_t note_len,
                                  pqe_error *err);

    /** Makes the counter anew where it is gone; it begins wherever the device lets it. */
    pqe_status (*counter_make)(void *self, void *key, pqe_error *err);

    /**
     * PQE_CAP_EVIDENCE: has the device sign what it can say about this key and itself, over `nonce`, and hands it out
     * piece by piece, at least one; `take` must not be called after it failed, nor when evidence() has returned. A type
     * names a format, not a device: who verifies goes by it (docs/attestation.md, section 6). `evidence_key` gives the public key that verifies it, PEM (SubjectPublicKeyInfo), to be handed to
     * verifiers another way.
     */
    pqe_status (*evidence)(void *self, void *key, const uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE], pqe_evidence_fn take,
                           void *user, pqe_error *err);
    pqe_status (*evidence_key)(void *self, void *key, pqe_blob *pem, pqe_error *err);

    /** One line about how a vault with this state is held, for people ("TPM 2.0, AES-256 parent, PIN, counter"); at most
     *  `capacity` bytes with NUL. Needs no `self`. False if the state makes no sense. Optional. */
    bool (*describe)(const uint8_t *state, size_t state_len, char *text, size_t capacity);

    /** Which of info.capabilities the device has that open() found: asked once, after open(). For backends that serve
     *  devices of several kinds; PQE_CAP_SEAL is always there. Optional: without it, all of them. */
    uint32_t (*capabilities)(void *self);
} pqe_backend_ops;

/**
 * Opens a backend from a table of one's own, for example a third party's, instead of by name. The table must outlive
 * the backend. Errors: PQE_E_ARGUMENT (wrong magic, abi or size, a required entry missing) and those of ops->open.
 */
PQE_API pqe_status pqe_backend_open_ops(const pqe_backend_ops *ops, const char *config, const pqe_backend_opts *opts,
                                        pqe_backend **out, pqe_error *err);

#ifdef __cplusplus
}
#endif

#endif
