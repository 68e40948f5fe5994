/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the vault share.
 *
 * Locks, always taken in this order:
 *   db_lock   mutex: the store and everything that is decided inside a transaction; one call at a time
 *   key_lock  read-write: the session and all that holds keys (also readers' and writers' bodies). Using keys takes it
 *             for reading, ending a session or replacing keys for writing. Held briefly, never across a wait for
 *             another process, so that expiry is prompt.
 *   list_lock mutex: the list of open readers and writers
 */
#ifndef PQE_VAULT_INTERNAL_H
#define PQE_VAULT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "attest/attest.h"
#include "backend/registry.h"
#include "body/body.h"
#include "crypto/crypto.h"
#include "format/format.h"
#include "store/store.h"
#include "util/opts.h"
#include "util/secmem.h"
#include "util/text.h"

#define PQE__ARTIFACT_ID_PREFIX "urn:pqc-enclave-art:"
#define PQE__WRAP_CACHE 64u /* session secrets kept open at once */

/** Keys under which one key epoch's index and secrets are read. Everything secret in it is in locked memory or in
 *  libcrypto contexts that are wiped when freed. */
typedef struct pqe__secrets {
    uint8_t origin[32];    /* HMAC key of the head's tag: sealed by the backend beside the vault key's seed */
    uint8_t root[32];      /* root secret */
    uint8_t tag[32];       /* HMAC key of name, id and secret tags */
    uint8_t wrap_salt[32]; /* the root's share in every wrap key */
    uint8_t wrap[PQE__WRAP_CACHE][32];
} pqe__secrets;

typedef struct pqe__keys {
    uint8_t vault_id[PQE__ID_SIZE];
    pqe__suite suite;
    uint32_t epoch;
    uint8_t device_digest[PQE__DIGEST_SIZE];
    uint8_t root_key_id[PQE__ID_SIZE];
    pqe__kem_key *vault_key;
    pqe__secrets *secret; /* locked memory */
    pqe__aead *head_aead, *index_aead;
    size_t wrap_count, wrap_next;
    uint8_t wrap_id[PQE__WRAP_CACHE][PQE__ID_SIZE];
} pqe__keys;

typedef struct pqe__session {
    uint64_t expires_ns; /* CLOCK_BOOTTIME */
    void *backend_key;
    pqe__keys *keys;
    pqe__head_private priv;
    bool has_write_key;
    uint8_t write_key_id[PQE__ID_SIZE];
    int64_t write_key_row; /* of its secret, as the present transaction found it */
    uint64_t generation;   /* the highest seen: an older one is a rollback under our feet */
    size_t head_len;       /* the head last verified, to skip verifying the same bytes again */
    uint8_t head_bytes[PQE__HEAD_MAX];
} pqe__session;

/** A reader or writer, as the vault sees it: something that must drop its keys when the session ends. */
typedef struct pqe__handle {
    struct pqe__handle *prev, *next;
    pqe_vault *vault; /* NULL: not added yet, or the vault was closed first */
    pid_t owner;
    void (*drop_keys)(struct pqe__handle *handle); /* called with key_lock held for writing */
} pqe__handle;

struct pqe_vault {
    pid_t owner;
    pqe_backend *backend;
    pqe__store *store;
    pthread_mutex_t db_lock;
    pthread_rwlock_t key_lock;
    pqe__session *session; /* NULL: locked */
    uint64_t generation;   /* the highest that sessions before this one have seen */
    atomic_uint lockers;   /* calls that are about to end the session */
    void *stale_key;       /* a backend's key that could not be detached yet because the backend was busy */
    atomic_uint pins;      /* calls that use the backend's key of this or an ended session without key_lock */
    pthread_mutex_t list_lock;
    pqe__handle *handles;
    pqe_vault *watch_next; /* the watcher's list */
    bool watched;
};

/* ---- open.c ---- */

pqe_status pqe__vault_alloc(pqe_backend *backend, pqe_vault **out, pqe_error *err);
/** PQE_E_ARGUMENT for NULL, PQE_E_LOCKED in a forked child. */
pqe_status pqe__vault_usable(const pqe_vault *vault, pqe_error *err);
/** The same for a reader or writer; PQE_E_LOCKED if its vault was closed. */
pqe_status pqe__handle_usable(const pqe__handle *handle, pqe_error *err);

/* ---- create.c ---- */

/** Fills the empty store of `vault` and starts a session; takes everything back on failure. */
pqe_status pqe__vault_create(pqe_vault *vault, const pqe_vault_opts *o, pqe_error *err);
/** Makes both device key pairs and the origin key, has the backend seal them, seals keys->secret->root to the vault
 *  key, and derives the rest. In a write transaction; vault id, suite, epoch, root and its id are set. */
pqe_status pqe__device_make(pqe_vault *vault, void *backend_key, pqe__keys *keys, pqe_error *err);

/* ---- session.c ---- */

pqe_status pqe__locked(pqe_error *err);
/** Takes key_lock for reading if a session runs; PQE_E_LOCKED otherwise, and an expired one is ended first. */
pqe_status pqe__session_enter(pqe_vault *vault, pqe_error *err);
void pqe__session_leave(pqe_vault *vault);
/** Nanoseconds until expiry, 0 if locked. Waits for nobody. */
uint64_t pqe__session_left(pqe_vault *vault);
/** Ends the session once nobody uses its keys any more; meanwhile nobody begins to. */
void pqe__session_lock(pqe_vault *vault);
/** Ends the session if it has expired, without waiting for anybody; returns nanoseconds until it is to be called again,
 *  0 if never. */
uint64_t pqe__session_try_expire(pqe_vault *vault);
/** Keeps the backend's key for a call that waits for a person, while the session may end. Under key_lock. */
void *pqe__session_pin(pqe_vault *vault);
/** Afterwards, without key_lock. */
void pqe__session_unpin(pqe_vault *vault);
/** For closing: ends the session and waits until the backend has dropped its key too. */
void pqe__session_end(pqe_vault *vault);
/** Installs a session (consumed) and has the watcher end it. */
void pqe__session_start(pqe_vault *vault, pqe__session *session, uint32_t ttl_seconds);
void pqe__session_free(pqe_backend *backend, pqe__session **session);

pqe_status pqe__keys_new(pqe__keys **out, pqe_error *err);
void pqe__keys_free(pqe__keys **keys);
/** Derives everything below the root secret, which is in keys->secret->root. */
pqe_status pqe__keys_derive(pqe__keys *keys, pqe_error *err);
/** Unseals and decapsulates what the store holds, checks head and device items. In a transaction; writes the head's
 *  verified bytes, private part and generation into `session`. */
pqe_status pqe__session_load(pqe_vault *vault, pqe__session *session, pqe_error *err);
/** Reads and verifies the head of the current transaction. *reload: the device keys were changed by another process, and
 *  pqe__session_load() must run (with key_lock held for writing) before anything is believed. */
pqe_status pqe__session_read_head(pqe_vault *vault, pqe__session *session, pqe__head *head, bool *reload,
                                  pqe_error *err);
void pqe__handle_add(pqe_vault *vault, pqe__handle *handle);
void pqe__handle_remove(pqe__handle *handle);

/* ---- watcher.c ---- */

pqe_status pqe__watcher_start(pqe_error *err);
void pqe__watcher_add(pqe_vault *vault);
void pqe__watcher_remove(pqe_vault *vault);

/* ---- txn.c ---- */

typedef struct pqe__txn {
    pqe_vault *vault;
    bool write;
    bool keys_held;
    pqe__head head;
} pqe__txn;

/** Takes db_lock, starts a transaction, enters the session and verifies the head. Undone by one of the two below. */
pqe_status pqe__txn_begin(pqe_vault *vault, bool write, pqe__txn *txn, pqe_error *err);
void pqe__txn_abort(pqe__txn *txn);
/** Writes the head with the next generation (write transactions) and commits. `outcome_known` is false where the
 *  commit itself failed. */
pqe_status pqe__txn_commit(pqe__txn *txn, bool *outcome_known, pqe_error *err);
/** Seals and writes a head under the given keys without committing. */
pqe_status pqe__txn_write_head(pqe__txn *txn, const pqe__keys *keys, pqe_error *err);
pqe_status pqe__head_write(pqe__store *store, const pqe__keys *keys, const pqe__head *head,
                           const pqe__head_private *priv, pqe_error *err);
/** Compares the stored device items with what the head says of them: they were when the keys were loaded, but could
 *  have been altered since, and must not go under a new head so. */
pqe_status pqe__txn_check_device(pqe__txn *txn, pqe_error *err);
/** Leaves and re-enters the session around a callback of the application's. */
void pqe__txn_pause(pqe__txn *txn);
pqe_status pqe__txn_resume(pqe__txn *txn, pqe_error *err);
/** For long loops, with the number of the round: lets whoever wants to end the session do so now and then. */
pqe_status pqe__txn_breathe(pqe__txn *txn, size_t round, pqe_error *err);

/* ---- lookup.c ---- */

pqe_status pqe__tag_of(const pqe__keys *keys, pqe__entry_kind kind, const void *data, size_t len,
                       uint8_t tag[PQE__TAG_KEY_SIZE], pqe_error *err);

/** An artifact's row with its record opened. */
typedef struct pqe__found {
    pqe__row row;
    uint8_t *plain;
    size_t plain_len;
    pqe__record record;
    uint8_t mark[PQE__MARK_SIZE]; /* of its body, once it is retired */
    bool damaged;                 /* nothing of the above is known, only that `entry` stands for it */
    pqe__entry entry;             /* only then */
} pqe__found;

void pqe__found_free(pqe__found *found);
/** PQE_E_NOT_FOUND only after the index proved it. */
pqe_status pqe__find(pqe__txn *txn, const char *name_or_id, bool with_body, pqe__found *out, pqe_error *err);
/** "urn:pqc-enclave-art:" and 32 hexadecimal digits. */
bool pqe__is_artifact_id(const char *text);
/** For doing away with it: an artifact whose entry is proved but whose row is not what was stored is found too, as
 *  `damaged`. */
pqe_status pqe__find_to_remove(pqe__txn *txn, const char *name_or_id, pqe__found *out, pqe_error *err);
/** The same by name alone; *found false where the index proved that there is none. */
pqe_status pqe__find_to_replace(pqe__txn *txn, pqe__text name, bool *found, pqe__found *out, pqe_error *err);
/** The same of an entry that is proved. */
pqe_status pqe__find_old(pqe__txn *txn, const pqe__entry *entry, pqe__found *out, pqe_error *err);
/** The artifact an entry (name or id) stands for. */
pqe_status pqe__find_entry(pqe__txn *txn, const pqe__entry *entry, bool with_body, pqe__found *out, pqe_error *err);
/** Checks an artifact name as the caller gave it. */
pqe_status pqe__check_name(const char *name, pqe_error *err);

/** The row of a session secret, proved by the index. */
pqe_status pqe__secret_find(pqe__txn *txn, const pqe__keys *keys, const uint8_t key_id[PQE__ID_SIZE], pqe__entry *entry,
                            pqe__secret_row *row, pqe_error *err);
pqe_status pqe__secret_open(const pqe__keys *keys, const pqe__secret_row *row, uint8_t secret[32], pqe_error *err);
/** Seals to keys->vault_key and sets row->sealed and row->digest; row->key_id is given. */
pqe_status pqe__secret_seal(const pqe__keys *keys, const uint8_t secret[32], pqe__secret_row *row, pqe_error *err);
/** The wrap key of a session, in locked memory that belongs to `keys`. */
pqe_status pqe__wrap_key(pqe__txn *txn, pqe__keys *keys, const uint8_t key_id[PQE__ID_SIZE], const uint8_t **wrap,
                         pqe_error *err);
/** Makes a fresh session secret, sealed to keys->vault_key, and caches its wrap key. */
pqe_status pqe__wrap_key_make(pqe__keys *keys, pqe__secret_row *row, pqe_error *err);
/** Inserts its row and entry. */
pqe_status pqe__wrap_key_enter(pqe__txn *txn, const pqe__keys *keys, pqe__secret_row *row, pqe_error *err);
pqe_status pqe__dek_unwrap(const uint8_t wrap[32], const pqe__found *found, uint8_t dek[32], pqe_error *err);
/** Encodes, seals and wraps: fills row->key_id, record, dek, digest (row->allocation owns the record). */
pqe_status pqe__row_seal(pqe__txn *txn, pqe__keys *keys, const uint8_t key_id[PQE__ID_SIZE], const uint8_t dek[32],
                         const pqe__record *record, pqe__row *row, pqe_error *err);
/** The same under a context of the wrap key. */
pqe_status pqe__row_seal_under(const pqe__keys *keys, pqe__aead *wrap, const uint8_t key_id[PQE__ID_SIZE],
                               const uint8_t dek[32], const pqe__record *record, pqe__row *row, pqe_error *err);
/** Sets the name and id entries of a row. */
pqe_status pqe__row_enter(pqe__txn *txn, const pqe__keys *keys, const pqe__record *record, const pqe__row *row,
                          pqe_error *err);
/** So many rows under a session secret have gone. One that no row uses any more is dropped; should it be the running
 *  session's, its next put makes another. */
pqe_status pqe__secret_release(pqe__txn *txn, const uint8_t key_id[PQE__ID_SIZE], size_t rows, pqe_error *err);

/* ---- identity.c ---- */

/** An identity's row with its record opened. */
typedef struct pqe__identity_found {
    pqe__identity_row row;
    uint8_t *plain; /* the identity's pointers lead here */
    size_t plain_len;
    pqe__identity identity;
    char did[PQE_DID_SIZE];
} pqe__identity_found;

void pqe__identity_found_free(pqe__identity_found *found);
/** By DID or name; NULL is the default one. PQE_E_NOT_FOUND only after the index proved it. */
pqe_status pqe__identity_find(pqe__txn *txn, const char *did_or_name, pqe__identity_found *out, pqe_error *err);
/** The identity an entry stands for, its row proved by the entry. */
pqe_status pqe__identity_find_entry(pqe__txn *txn, const pqe__entry *entry, pqe__identity_found *out, pqe_error *err);
/** Looks an entry up by DID (PQE__ENTRY_IDENTITY) or name (PQE__ENTRY_IDENTITY_NAME). */
pqe_status pqe__identity_look_up(pqe__txn *txn, pqe__entry_kind kind, const char *text, size_t len, bool *found,
                                 pqe__entry *entry, pqe_error *err);
/** Seals a record under keys->index_aead into row->bytes (to be freed) and sets row->digest. */
pqe_status pqe__identity_row_seal(const pqe__keys *keys, const pqe__identity *identity, pqe__identity_row *row,
                                  pqe_error *err);
/** Sets the entries of a row: DID, name if it has one, and with `is_default` that of the default identity. */
pqe_status pqe__identity_enter(pqe__txn *txn, const pqe__keys *keys, const pqe__identity *identity, const char *did,
                               const pqe__identity_row *row, bool is_default, pqe_error *err);
pqe_status pqe__identity_is_default(pqe__txn *txn, const pqe__identity_found *found, bool *is_default, pqe_error *err);
/** Has the backend seal what is to be kept of a key pair: fills form, sealed (PQE_SEAL_BLOB_MAX bytes) and extra
 *  (PQE__IDENTITY_EXTRA_MAX bytes). */
#define PQE__IDENTITY_EXTRA_MAX (PQE__SIG_PRIVATE_MAX + PQE__BOX_OVERHEAD)
pqe_status pqe__identity_seal_key(pqe_vault *vault, const pqe__keys *keys, const pqe_signing_key *key,
                                  pqe__identity *identity, uint8_t *sealed, uint8_t *extra, pqe_error *err);
/** Unseals the key pair under the session's keys. PQE_E_UNAVAILABLE for a native one. */
pqe_status pqe__identity_open_key(pqe__txn *txn, const pqe__identity_found *found, pqe_signing_key **out,
                                  pqe_error *err);
/** Signs in a transaction; writes pqe_sig_signature_size() bytes to `signature` (PQE_ML_DSA_SIGNATURE_MAX). */
pqe_status pqe__identity_sign(pqe__txn *txn, const pqe__identity_found *found, const void *message, size_t message_len,
                              const void *context, size_t context_len, uint8_t *signature, pqe_error *err);

/* ---- identity_renew.c ---- */

/** All identities, sealed anew for a rotation. Rows are written, entries are not yet. */
typedef struct pqe__renewed_identities pqe__renewed_identities;
pqe_status pqe__identities_renew(pqe__txn *txn, const pqe__keys *fresh, pqe__renewed_identities **out, pqe_error *err);
/** Sets their entries; after the tree was cleared, if it was. */
pqe_status pqe__identities_enter(pqe__txn *txn, const pqe__keys *fresh, const pqe__renewed_identities *all,
                                 pqe_error *err);
void pqe__renewed_identities_free(pqe__renewed_identities **all);

/* ---- collect.c ---- */

typedef struct pqe__entry_list {
    pqe__entry_kind kind;
    pqe__entry *entries; /* to be freed */
    size_t count, capacity;
} pqe__entry_list;

/** Collects all entries of list->kind, the tree's completeness proved: before any is changed, for a statement that is
 *  being stepped must not see its table change. */
pqe_status pqe__entries_collect(pqe__txn *txn, pqe__entry_list *list, pqe_error *err);

/* ---- delete.c ---- */

/** Drops an artifact's id entry, row and, if unused, session secret; marks its body. The name entry is the caller's. */
pqe_status pqe__artifact_retire(pqe__txn *txn, pqe__found *old, pqe_error *err);
/** Drops what is left of a damaged one, both entries included. */
pqe_status pqe__damaged_retire(pqe__txn *txn, const pqe__found *old, pqe_error *err);
/** The same, but for the entry that it was found by, which is the caller's. */
pqe_status pqe__damaged_drop(pqe__txn *txn, const pqe__found *old, pqe_error *err);
/** After the commit: removes the retired artifact's body, and settles the one that took its place. Either may be NULL. */
void pqe__retired_settle(pqe_vault *vault, const pqe__found *old, pqe__body_file *fresh);

/* ---- put.c, for batch.c ---- */

/** A put that is ready to enter an index: only its row's id is missing. */
typedef struct pqe__sealed {
    pqe__row row; /* `record` is its own, `body` the writer's */
    uint8_t name_tag[PQE__TAG_KEY_SIZE], id_tag[PQE__TAG_KEY_SIZE];
    pqe__body_file file; /* unless inline: no longer the writer's */
} pqe__sealed;

/** Completes the body; nothing can be written any more. */
pqe_status pqe__writer_end(pqe_writer *writer, pqe_error *err);
/** Seals the row of a completed writer. db_lock is held, and key_lock for reading. */
pqe_status pqe__writer_seal(pqe_writer *writer, const pqe__session *session, pqe__aead *wrap,
                            const uint8_t key_id[PQE__ID_SIZE], pqe__sealed *out, pqe_error *err);
/** The vault it writes to; NULL if that was closed. */
const pqe_vault *pqe__writer_vault(const pqe_writer *writer);
/* ---- verify.c ---- */

/** Reads to the end and computes the content hash; PQE_E_TAMPERED if it is not the recorded one. */
pqe_status pqe__reader_check_hash(pqe_reader *reader, uint64_t *bytes, pqe_error *err);

/* ---- artifact.c ---- */

pqe_status pqe__artifact_new(const pqe__found *found, pqe_artifact **out, pqe_error *err);

#endif
