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
 *   log_lock  mutex: audit entries not yet written, and the caller's name
 */
#ifndef PQE_VAULT_INTERNAL_H
#define PQE_VAULT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "attest/attest.h"
#include "audit/audit.h"
#include "backend/registry.h"
#include "body/body.h"
#include "crypto/crypto.h"
#include "format/format.h"
#include "policy/policy.h"
#include "store/store.h"
#include "util/opts.h"
#include "util/secmem.h"
#include "util/text.h"

#define PQE__ARTIFACT_ID_PREFIX "urn:pqc-enclave-art:"
#define PQE__WRAP_CACHE 64u /* session secrets kept open at once */

/** What a backend that decapsulates itself wants back to use the two device keys. Nothing of it is secret. */
typedef struct pqe__native {
    size_t vault_len, grant_len;
    uint8_t vault[PQE_SEAL_BLOB_MAX], grant[PQE_SEAL_BLOB_MAX];
} pqe__native;

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
    pqe__kem_key *vault_key; /* its public part alone, where the backend keeps the private one */
    pqe__native *native;     /* what the backend knows its key pairs by; NULL where it only seals */
    pqe__kem_key *recipient; /* its second one, for recovery keys: recipient.c; NULL: none */
    bool by_recipient;       /* loaded by a recovery key: `recipient` has its private part and opens secrets */
    pqe__secrets *secret;    /* locked memory */
    pqe__aead *head_aead, *index_aead, *audit_aead;
    size_t wrap_count, wrap_next;
    uint8_t wrap_id[PQE__WRAP_CACHE][PQE__ID_SIZE];
} pqe__keys;

/** A backend and its key of this vault. */
typedef struct pqe__home {
    pqe_backend *backend;
    void *key;
} pqe__home;

typedef struct pqe__session {
    uint64_t expires_ns; /* CLOCK_BOOTTIME */
    void *backend_key;
    uint8_t state_digest[PQE__DIGEST_SIZE]; /* of the backend's state that backend_key was attached with */
    pqe__keys *keys;
    pqe__head_private priv;                           /* changes with the head, under db_lock */
    _Atomic uint8_t hash_default[PQE_KIND_OTHER + 1]; /* of priv, for those who do not hold db_lock */
    bool has_write_key;
    uint8_t write_key_id[PQE__ID_SIZE];
    int64_t write_key_row; /* of its secret, as the present transaction found it */
    uint64_t generation;   /* the highest seen: an older one is a rollback under our feet */
    uint64_t audit_seq;    /* the same of the audit log */
    bool policy_known;     /* `policy` is the one whose digest this is */
    uint8_t policy_digest[PQE__DIGEST_SIZE];
    pqe__policy policy;
    bool accepting;   /* of a copy that is not accepted yet: rollback.c */
    uint64_t checked; /* the generation that the device's counter was last asked about */
    size_t head_len;  /* the head last verified, to skip verifying the same bytes again */
    uint8_t head_bytes[PQE__HEAD_MAX];
} pqe__session;

/** A reader or writer, as the vault sees it: something that must drop its keys when the session ends. */
typedef struct pqe__handle {
    struct pqe__handle *prev, *next;
    pqe_vault *vault; /* NULL: not added yet, or the vault was closed first */
    pid_t owner;
    void (*drop_keys)(struct pqe__handle *handle); /* called with key_lock held for writing */
} pqe__handle;

#define PQE__SALTS 32u
#define PQE__STALE_MAX 16u

/** An audit entry that is not written yet, as encoded. */
typedef struct pqe__pending {
    struct pqe__pending *next;
    size_t len;
    uint8_t body[];
} pqe__pending;

struct pqe_vault {
    pid_t owner;
    pqe_backend *backend;
    pqe__store *store;
    pthread_mutex_t db_lock;
    pthread_rwlock_t key_lock;
    pqe__session *session; /* NULL: locked */
    uint64_t generation;   /* the highest that sessions before this one have seen */
    uint64_t audit_seq;    /* the same of the audit log */
    atomic_uint lockers;   /* calls that are about to end the session */
    size_t stale_count;
    pqe__home stale[PQE__STALE_MAX]; /* keys that could not be detached yet: in use, or their backend was busy */
    atomic_uint pins;                /* calls that use the backend's key of this or an ended session without key_lock */
    pthread_mutex_t list_lock;
    pqe__handle *handles;
    pthread_mutex_t log_lock;
    pqe__pending *pending; /* oldest first */
    size_t pending_count;
    bool end_noted; /* that the running session ends */
    size_t salts_left;
    uint8_t salts[PQE__SALTS][PQE__AUDIT_SALT_SIZE]; /* of entries to come */
    char *caller;                                    /* NULL: nobody in particular */
    pqe_vault *watch_next;                           /* the watcher's list */
    bool watched;
};

/* ---- open.c ---- */

pqe_status pqe__vault_alloc(pqe_backend *backend, pqe_vault **out, pqe_error *err);
/** For who learns from the vault which backend to open: no backend yet, and nothing but pqe__vault_attach() or
 *  pqe_vault_close() may follow. `info` is what pqe_vault_peek() tells. */
pqe_status pqe__vault_open_alone(const char *dir, const char *caller, pqe_vault **out, pqe_vault_info *info,
                                 pqe_error *err);
void pqe__vault_attach(pqe_vault *vault, pqe_backend *backend);
/** PQE_E_ARGUMENT for NULL, PQE_E_LOCKED in a forked child. */
pqe_status pqe__vault_usable(const pqe_vault *vault, pqe_error *err);
/** The same for a reader or writer; PQE_E_LOCKED if its vault was closed. */
pqe_status pqe__handle_usable(const pqe__handle *handle, pqe_error *err);

/* ---- create.c ---- */

/** Fills the empty store of `vault` and starts a session; takes everything back on failure. */
pqe_status pqe__vault_create(pqe_vault *vault, const pqe_vault_opts *o, pqe_error *err);
/** Makes both device key pairs and the origin key, has the backend seal them, seals what opens the vault to the recovery
 *  keys (NULL: none), keys->secret->root to the vault key, and derives the rest. In a write transaction; vault id, suite,
 *  epoch, root and its id are set. */
pqe_status pqe__device_make(pqe_vault *vault, const pqe__home *home, const pqe__recovery_list *recovery,
                            pqe__keys *keys, pqe_error *err);

/* ---- native.c ---- */

/** Has the backend make both device key pairs, seals the origin key (made here), writes the device items, and sets
 *  keys->native, keys->vault_key and keys->secret->origin. The backend forgets the pairs if it fails. */
pqe_status pqe__native_make(pqe_vault *vault, const pqe__home *home, pqe__keys *keys, pqe_error *err);
/** Reads keys->native and keys->vault_key; sets neither where the backend only seals. */
pqe_status pqe__native_load(pqe_vault *vault, pqe__keys *keys, pqe_error *err);
/** Writes the grant key's public part. */
pqe_status pqe__native_grant_public(pqe_vault *vault, uint8_t ek[PQE__KEM_PUBLIC_SIZE], pqe_error *err);
/** Has the backend forget both pairs; NULL is fine. */
void pqe__native_drop(const pqe__home *home, const pqe__native *native);
/** Opens what is HPKE-sealed to the vault key, wherever that is: for unlocking, when no session can end meanwhile. */
pqe_status pqe__vault_key_open(pqe_vault *vault, void *backend_key, const pqe__keys *keys, const uint8_t *info,
                               size_t info_len, const uint8_t *sealed, size_t sealed_len, uint8_t *out, pqe_error *err);

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
pqe__home pqe__session_pin(pqe_vault *vault);
/** Afterwards, without key_lock. */
void pqe__session_unpin(pqe_vault *vault);
/** The vault moved: its backend and the session's key are `home` from now on. The key that was there is put aside, and
 *  detached once nothing uses it: pqe__session_part(). */
void pqe__session_adopt(pqe_vault *vault, const pqe__home *home);
/** PQE_E_BUSY if keys of so many ended sessions are still in use that another could not be put aside. */
pqe_status pqe__session_room(pqe_vault *vault, pqe_error *err);
/** After a move: waits until nothing of this vault uses a key of the backend that it has left. Without a pin. */
void pqe__session_part(pqe_vault *vault, const pqe_backend *backend);
/** What the session's backend seals with. A session runs. */
pqe__home pqe__session_home(const pqe_vault *vault);
/** For closing: ends the session and waits until the backend has dropped its key too. */
void pqe__session_end(pqe_vault *vault);
/** Unlocks. `accepts`: whatever the device's counter says, and whatever this handle has seen; rollback.c. */
pqe_status pqe__session_unlock(pqe_vault *vault, uint32_t ttl_seconds, bool accepts, pqe_error *err);
/** Installs a session (consumed) and has the watcher end it. */
void pqe__session_start(pqe_vault *vault, pqe__session *session, uint32_t ttl_seconds);
void pqe__session_free(pqe_backend *backend, pqe__session **session);
/** Notes for the audit log that a session began, or that the running one ends. */
void pqe__session_note_start(pqe_vault *vault, uint32_t ttl_seconds);
void pqe__session_note_end(pqe_vault *vault, bool closing);
void pqe__handle_add(pqe_vault *vault, pqe__handle *handle);
void pqe__handle_remove(pqe__handle *handle);

/* ---- session_keys.c ---- */

/** Has the backend open its key of the vault: session->backend_key. Outside a transaction. */
pqe_status pqe__session_attach(pqe_vault *vault, pqe__session *session, pqe_error *err);
pqe_status pqe__keys_new(pqe__keys **out, pqe_error *err);
void pqe__keys_free(pqe__keys **keys);
/** Derives everything below the root secret, which is in keys->secret->root. */
pqe_status pqe__keys_derive(pqe__keys *keys, pqe_error *err);
/** Unseals and decapsulates what the store holds, checks head and device items. In a transaction; writes the head's
 *  verified bytes, private part and generation into `session`. With `recovery` (else NULL) by that key instead of the
 *  backend. */
pqe_status pqe__session_load(pqe_vault *vault, pqe__session *session, const pqe_recovery_key *recovery, pqe_error *err);
/** Key epoch of the head in the store; 0 if it cannot be read. In a transaction. Nothing but another try depends on it. */
uint32_t pqe__session_stored_epoch(pqe_vault *vault);
/** After such a failure: whether another process has replaced the device keys since those of `epoch`, so that the device may
 *  have forgotten them for good reason, and what failed is to be tried anew. db_lock is held, no transaction runs. */
bool pqe__session_overtaken(pqe_vault *vault, pqe_status failure, uint32_t epoch);
/** Remembers what state session->backend_key is attached with. */
pqe_status pqe__session_note_state(pqe__session *session, const uint8_t *state, size_t len, pqe_error *err);
/** Reads and verifies the head of the current transaction. *reload: the device keys were changed by another process, and
 *  pqe__session_load() must run (with key_lock held for writing) before anything is believed. */
pqe_status pqe__session_read_head(pqe_vault *vault, pqe__session *session, pqe__head *head, bool *reload,
                                  pqe_error *err);

/* ---- watcher.c ---- */

pqe_status pqe__watcher_start(pqe_error *err);
void pqe__watcher_add(pqe_vault *vault);
void pqe__watcher_remove(pqe_vault *vault);

/* ---- txn.c ---- */

/** What a change owes to the device's counter: counter.c. */
typedef struct pqe__debt {
    bool due;                 /* the head that is written says `note.value`, the counter does not yet */
    bool settled;             /* the head that is written belongs to another backend's key, which owes nothing */
    bool accepts;             /* whatever the counter says, it is to be so: rollback.c */
    pqe__home home;           /* pinned; key NULL: not */
    uint64_t found, expected; /* generations, of a copy that is accepted; `expected` 0: nobody knows */
    pqe__counter_note note;
    pqe__gate gate;
    unsigned tries;
} pqe__debt;

typedef struct pqe__txn {
    pqe_vault *vault;
    bool write;
    bool keys_held;
    pqe__head head;
    pqe__head_private priv; /* what the next head says; the session's own copy changes with the commit */
    /* The audit log in this transaction: audit.c. */
    bool tail_known, tail_changed, taken_in;
    pqe__tail tail;
    const pqe__keys *log_keys; /* under which the log is sealed; NULL: the session's */
    bool has_spool;
    pqe__spool spool;                 /* taken in, removed when that is durable */
    pqe__pending *took;               /* entries from memory that this transaction writes */
    const pqe__home *home;            /* with the commit the vault moves here; NULL: it stays */
    const pqe_recovery_key *recovery; /* opens identities in place of the backend */
    pqe__debt debt;
} pqe__txn;

/** Takes db_lock, starts a transaction, enters the session and verifies the head. Undone by one of the two below. */
pqe_status pqe__txn_begin(pqe_vault *vault, bool write, pqe__txn *txn, pqe_error *err);
/** The same for writing, whatever the device's counter says of the vault. */
pqe_status pqe__txn_begin_accepting(pqe_vault *vault, pqe__txn *txn, pqe_error *err);
void pqe__txn_abort(pqe__txn *txn);
/** Commits, and has the device's counter acknowledge it. `outcome_known` is false where the commit itself failed, and
 *  where it did not but the counter could: whoever comes next finds out. */
pqe_status pqe__txn_commit(pqe__txn *txn, bool *outcome_known, pqe_error *err);
/** Seals and writes a head of the next generation under the given keys without committing. Waits for the device's counter,
 *  and lets the session end meanwhile. */
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

/* ---- counter.c ---- */

/** Of a vault that is being made: its head says where the counter of this fresh key stands, if it has one. */
pqe_status pqe__counter_start(const pqe__home *home, pqe__head_private *priv, pqe_error *err);
/** Of a vault that moves to another backend: the head that comes next says what pqe__counter_start() found for the fresh
 *  key there, and the counter it leaves behind is not asked any more. */
void pqe__counter_move(pqe__txn *txn, const pqe__head_private *start);
/** At unlock, with the session loaded but not started: PQE_E_ROLLBACK if the counter speaks against its head. Completes
 *  what a process that died had begun. */
pqe_status pqe__counter_admit(pqe_vault *vault, pqe__session *session, pqe_error *err);
/** The same of a head that the running session has just read. *again: the counter had moved on, and a new transaction
 *  must read anew. */
pqe_status pqe__counter_check(pqe__txn *txn, bool *again, pqe_error *err);
/** Before a head is written: takes the gate, completes what another left, and sets what the head says. */
pqe_status pqe__counter_prepare(pqe__txn *txn, pqe_error *err);
/** The last thing before the commit: notes which head it is. */
pqe_status pqe__counter_note_head(pqe__txn *txn, pqe_error *err);
/** After the commit: advances. */
pqe_status pqe__counter_acknowledge(pqe__txn *txn, pqe_error *err);
/** Releases what a transaction holds; it has left the session. */
void pqe__counter_release(pqe__txn *txn);

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
/** Opens the record of found->row. On failure the caller frees `found` all the same. */
pqe_status pqe__record_open(const pqe__keys *keys, pqe__found *found, pqe_error *err);
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
/** Leaves the session while a backend decapsulates: PQE_E_LOCKED if it ended meanwhile. */
pqe_status pqe__secret_open(pqe__txn *txn, const pqe__keys *keys, const pqe__secret_row *row, uint8_t secret[32],
                            pqe_error *err);
/** The same where the backend has the key: what pqe__secret_open() does then (native.c). */
pqe_status pqe__native_secret_open(pqe__txn *txn, const pqe__keys *keys, const uint8_t *info, size_t info_len,
                                   const pqe__secret_row *row, uint8_t secret[32], pqe_error *err);
/** Seals to keys->vault_key and to `recipient` (NULL: none), and sets all of the row but row->key_id, which is given. */
pqe_status pqe__secret_seal(const pqe__keys *keys, const pqe__kem_key *recipient, const uint8_t secret[32],
                            pqe__secret_row *row, pqe_error *err);
/** The wrap key of a session, in locked memory that belongs to `keys`. */
pqe_status pqe__wrap_key(pqe__txn *txn, pqe__keys *keys, const uint8_t key_id[PQE__ID_SIZE], const uint8_t **wrap,
                         pqe_error *err);
/** Makes a fresh session secret, sealed as above, and caches its wrap key. */
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

/* ---- collect.c ---- */

typedef struct pqe__entry_list {
    pqe__entry_kind kind;
    pqe__entry *entries; /* to be freed */
    size_t count, capacity;
} pqe__entry_list;

/** Collects all entries of list->kind, the tree's completeness proved: before any is changed, for a statement that is
 *  being stepped must not see its table change. */
pqe_status pqe__entries_collect(pqe__txn *txn, pqe__entry_list *list, pqe_error *err);

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
/** The entry that stands for it, proved. */
pqe_status pqe__identity_prove(pqe__txn *txn, const char *did_or_name, pqe__entry *entry, pqe_error *err);
/** Is the row what the entry says? Where it cannot be read it is not. */
bool pqe__identity_as_stored(pqe__txn *txn, const pqe__entry *entry);
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
#define PQE__IDENTITY_EXTRA_MAX (PQE__SIG_PRIVATE_MAX + PQE__BOX_OVERHEAD)
/** Room for what an identity's record points to. */
typedef struct pqe__identity_room {
    uint8_t sealed[PQE_SEAL_BLOB_MAX], extra[PQE__IDENTITY_EXTRA_MAX], copies[PQE__IDENTITY_COPIES_MAX];
    uint8_t public_key[PQE_ML_DSA_PUBLIC_MAX];
} pqe__identity_room;
/** Has the backend seal what is to be kept of a key pair, and seals it to the recovery keys (NULL: none): fills form,
 *  sealed, extra and copies. */
pqe_status pqe__identity_seal_key(const pqe__home *home, const pqe__keys *keys, const pqe__recovery_list *recovery,
                                  const pqe_signing_key *key, pqe__identity *identity, pqe__identity_room *room,
                                  pqe_error *err);
/** Unseals the key pair under the session's keys. PQE_E_UNAVAILABLE for a native one. */
pqe_status pqe__identity_open_key(pqe__txn *txn, const pqe__identity_found *found, pqe_signing_key **out,
                                  pqe_error *err);
/** Signs in a transaction; writes pqe_sig_signature_size() bytes to `signature` (PQE_ML_DSA_SIGNATURE_MAX). */
pqe_status pqe__identity_sign(pqe__txn *txn, const pqe__identity_found *found, const void *message, size_t message_len,
                              const void *context, size_t context_len, uint8_t *signature, pqe_error *err);

/* ---- identity_api.c ---- */

/** All identities' entries, oldest first; list->entries is to be freed. */
pqe_status pqe__identities_collect(pqe__txn *txn, pqe__entry_list *list, pqe_error *err);

/* ---- identity_delete.c ---- */

/** Logs a change in the transaction that makes it. */
pqe_status pqe__identity_log(pqe__txn *txn, pqe_audit_op op, pqe__text name, const char *did, pqe_error *err);
/** Notes how an operation ended, of which nothing is logged in a transaction. `did_or_name` is what was asked for, `found`
 *  what that is; either may be NULL. db_lock is not held. */
void pqe__identity_note(pqe_vault *vault, pqe_audit_op op, const char *did_or_name, const pqe__identity_found *found,
                        pqe_status status, const pqe_error *error);
/** Commits a change, or gives it up where `status` is a failure. With `checkpoint`, old secrets leave the live files. */
pqe_status pqe__identity_conclude(pqe_vault *vault, pqe__txn *txn, pqe_status status, bool checkpoint, pqe_error *err);

/* ---- identity_renew.c ---- */

/** All identities, sealed anew for a rotation. Rows are written, entries are not yet. */
typedef struct pqe__renewed_identities pqe__renewed_identities;
pqe_status pqe__identities_renew(pqe__txn *txn, const pqe__home *home, const pqe__keys *fresh,
                                 const pqe__recovery_list *recovery, pqe__renewed_identities **out, pqe_error *err);
/** Both at once, where the tree is not cleared. */
pqe_status pqe__identities_reseal(pqe__txn *txn, const pqe__home *home, const pqe__keys *fresh,
                                  const pqe__recovery_list *recovery, pqe_error *err);
/** Calls `fn` for each identity whose key is the backend's own; it may remove that identity. */
typedef pqe_status (*pqe__identity_fn)(pqe__txn *txn, const pqe__identity_found *found, void *user, pqe_error *err);
pqe_status pqe__identities_native(pqe__txn *txn, pqe__identity_fn fn, void *user, pqe_error *err);
/** Sets their entries; after the tree was cleared, if it was. */
pqe_status pqe__identities_enter(pqe__txn *txn, const pqe__keys *fresh, const pqe__renewed_identities *all,
                                 pqe_error *err);
void pqe__renewed_identities_free(pqe__renewed_identities **all);

/* ---- identity_delete.c ---- */

/** Removes row and entries; another identity becomes the default if this was it. */
pqe_status pqe__identity_remove(pqe__txn *txn, const pqe__identity_found *found, pqe_error *err);
/** The same of one whose record is damaged: by its entry, which is proved. `did_or_name`, for the log, may be NULL. */
pqe_status pqe__identity_remove_damaged(pqe__txn *txn, const char *did_or_name, const pqe__entry *entry,
                                        pqe_error *err);

/* ---- rotate.c ---- */

/** How device keys are replaced. */
typedef struct pqe__rotation {
    bool new_root;           /* root and session secrets too */
    pqe__home home;          /* what the new keys are sealed by */
    const pqe_blob *state;   /* of a new home; NULL: the vault stays where it is */
    const pqe__event *event; /* for the log */
} pqe__rotation;

/** What a backend knows a vault's pairs by, to be freed; NULL if it only seals. */
pqe_status pqe__native_copy(const pqe__native *native, pqe__native **out, pqe_error *err);
/** Keys of the next epoch, without device keys yet. */
pqe_status pqe__rotation_keys(const pqe__keys *old, bool new_root, pqe__keys **out, pqe_error *err);
/** Writes everything under the new keys, and the head: only the commit is left. */
pqe_status pqe__rotation_write(pqe__txn *txn, pqe__keys *fresh, const pqe__rotation *rotation, pqe_error *err);

/* ---- move.c ---- */

/** pqe_rotate() with another backend. */
pqe_status pqe__move(pqe_vault *vault, const pqe_rotate_opts *opts, pqe_error *err);
/** Begins it: on failure the home's key is taken back. */
pqe_status pqe__move_begin(pqe_vault *vault, const pqe__home *home, const uint8_t vault_id[PQE__ID_SIZE], pqe__txn *txn,
                           pqe_error *err);
/** Ends the transaction of a move: commits where `status` is PQE_OK, and then the vault is on txn->home; otherwise that
 *  home's key is taken back, unless it is not known whether the vault has moved, and so are the pairs `made` (NULL: none)
 *  with it. */
pqe_status pqe__move_commit(pqe_vault *vault, pqe__txn *txn, const pqe__native *made, pqe_status status,
                            pqe_error *err);

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
/** Logs that the put failed. No lock is held. */
void pqe__writer_log_failure(pqe_writer *writer, pqe_status status, const pqe_error *error);
/** Logs the put of a record in the transaction that stores it. */
pqe_status pqe__log_put(pqe__txn *txn, const pqe__record *record, bool replaces, pqe_error *err);

/* ---- verify.c ---- */

/** Reads to the end and computes the content hash; PQE_E_TAMPERED if it is not the recorded one. */
pqe_status pqe__reader_check_hash(pqe_reader *reader, uint64_t *bytes, pqe_error *err);

/* ---- get.c ---- */

/** Opens for the library's own checks: no content leaves, the policy is not asked and nothing is logged. */
pqe_status pqe__reader_open_check(pqe_vault *vault, const char *name_or_id, pqe_reader **out, pqe_error *err);

/* ---- policy.c ---- */

/** The policy in force: the stored one, checked against the head. Valid until the transaction ends. */
pqe_status pqe__policy_get(pqe__txn *txn, const pqe__policy **out, pqe_error *err);
/** Seals it under other keys. */
pqe_status pqe__policy_reseal(pqe__txn *txn, const pqe__keys *fresh, pqe_error *err);
/** The stored policy agrees with the head, and there is one only if the head says so. */
pqe_status pqe__policy_check(pqe__txn *txn, pqe_error *err);

/* ---- access.c ---- */

typedef enum pqe__step {
    PQE__STEP_GO,    /**< open it */
    PQE__STEP_COUNT, /**< again in a write transaction */
    PQE__STEP_ASK    /**< ask for presence outside the transaction, then again */
} pqe__step;

/** One opening of an artifact, over as many transactions as it takes. Zeroed at first. */
typedef struct pqe__access {
    bool exempt;   /* the library's own checks */
    bool counting; /* this attempt is in a write transaction */
    pqe__step step;
    bool present; /* somebody agreed, to this artifact under this policy */
    uint8_t present_id[PQE__ID_SIZE], present_policy[PQE__DIGEST_SIZE];
    /* What was found, for the log. */
    bool found;
    pqe_kind kind;
    char artifact_id[PQE_ARTIFACT_ID_SIZE];
    char name[PQE_NAME_MAX + 1];
} pqe__access;

/** What the policy says: *access.step, or PQE_E_POLICY. Before any key of the artifact is touched. */
pqe_status pqe__access_decide(pqe__txn *txn, const pqe__found *found, pqe__access *access, pqe_error *err);
/** Asks the person through the backend. No lock is held but key_lock, for reading. */
pqe_status pqe__access_ask(pqe_vault *vault, pqe__access *access, pqe_error *err);
/** Counts the use and logs it, in the write transaction that decided. */
pqe_status pqe__access_count(pqe__txn *txn, const pqe__found *found, const pqe__access *access, pqe_error *err);
/** Logs how it ended, if that is not in the log yet. `name_or_id` is what was asked for. */
void pqe__access_log(pqe_vault *vault, const pqe__access *access, const char *name_or_id, pqe_status status,
                     const pqe_error *error);

/** The use counts, checked against the log's tail; empty if there are none. */
pqe_status pqe__uses_load(pqe__txn *txn, pqe__uses *out, pqe_error *err);
pqe_status pqe__uses_store(pqe__txn *txn, const pqe__uses *uses, pqe_error *err);
/** For counts that cannot be trusted: every limited subject has used up its limit. */
pqe_status pqe__uses_exhaust(pqe__txn *txn, pqe_error *err);

/* ---- audit.c ---- */

/** Bytes of sealed entries that are kept; tests lower it. */
extern uint64_t pqe__audit_cap;

/** The first tail of a new vault; priv->audit says so. In the transaction that makes the vault. */
pqe_status pqe__audit_create(pqe__store *store, const pqe__keys *keys, pqe__head_private *priv, pqe_error *err);
/** Reads txn->tail and checks it against the head, once a transaction. */
pqe_status pqe__audit_load(pqe__txn *txn, pqe_error *err);
/** Takes in the spool and what this process has in memory. In a write transaction. */
pqe_status pqe__audit_take_in(pqe__txn *txn, pqe_error *err);
/** Appends an entry (time, salt and caller are filled in) after what pqe__audit_take_in() finds. */
pqe_status pqe__audit_append(pqe__txn *txn, const pqe__event *event, pqe_error *err);
/** AAD of a spool's `index`-th group. */
size_t pqe__spool_aad(uint8_t out[PQE__LABEL_MAX], const pqe__keys *keys, const uint8_t name[PQE__ID_SIZE],
                      uint32_t index);
/** Writes the tail. The last thing before the commit. */
pqe_status pqe__audit_seal(pqe__txn *txn, pqe_error *err);
/** After the commit, or instead of it: releases the spool and the entries from memory. */
void pqe__audit_done(pqe__txn *txn, bool committed);
/** Puts the chain's end into txn->priv. */
pqe_status pqe__audit_to_head(pqe__txn *txn, pqe_error *err);
/** Seals entries, tail and use counts under other keys. */
pqe_status pqe__audit_reseal(pqe__txn *txn, const pqe__keys *fresh, pqe_error *err);
/** Reads, opens and decodes one entry; `body` has PQE__AUDIT_BODY_MAX bytes and holds its texts. */
pqe_status pqe__audit_fetch(pqe__txn *txn, uint64_t seq, uint8_t *body, size_t *len, pqe__event *event, pqe_error *err);
/** Recomputes the chain; `against` may be NULL. */
pqe_status pqe__audit_check(pqe__txn *txn, const pqe__checkpoint *against, pqe_error *err);

/* ---- audit_note.c ---- */

/** Notes an entry in memory, and writes what is there when it is much. Nothing where the vault is locked or cannot be
 *  written. db_lock is not held. */
void pqe__audit_note(pqe_vault *vault, const pqe__event *event);
/** The same for the usual case. `subject` may be NULL. */
void pqe__audit_note_artifact(pqe_vault *vault, pqe_audit_op op, pqe_status status, const pqe__record *subject,
                              const char *name_or_id, const pqe_error *error);
/** The same for what failed: completes the event with that. */
void pqe__audit_note_failure(pqe_vault *vault, pqe__event *event, pqe_status status, const pqe_error *error);
/** An event about an artifact. `id` has room for its text. */
pqe__event pqe__event_of(pqe_audit_op op, const pqe__record *record, char id[PQE_ARTIFACT_ID_SIZE]);
/** Fills in time, salt and caller, and encodes. */
pqe_status pqe__audit_encode(pqe_vault *vault, const pqe__event *event, uint8_t body[PQE__AUDIT_BODY_MAX], size_t *len,
                             pqe_error *err);
/** Notes that the session ends, and writes to the spool what is in memory: at once or not at all, unless the vault is
 *  being closed, when nobody waits. */
void pqe__audit_note_end(pqe_vault *vault, bool closing);
/** The same for a session that is being ended, by whoever holds key_lock for writing: without waiting for anybody. Then
 *  drops what is left. */
void pqe__audit_flush_last(pqe_vault *vault);
/** Adds to the unsealed list. db_lock is held, no transaction runs. */
void pqe__audit_unlock_failed(pqe_vault *vault, pqe_status status);
void pqe__pending_free(pqe__pending *list);

/* ---- evidence.c ---- */

typedef struct pqe__evidence_piece {
    char type[PQE_EVIDENCE_TYPE_MAX + 1];
    uint8_t *data;
    size_t len;
} pqe__evidence_piece;

/** What the device gave. Zeroed at first. */
typedef struct pqe__evidence {
    size_t count;
    pqe__evidence_piece pieces[PQE_EVIDENCE_MAX];
} pqe__evidence;

/** Asks the device; to be freed also where it failed. No lock is held. */
pqe_status pqe__evidence_collect(pqe_vault *vault, const uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE], pqe__evidence *out,
                                 pqe_error *err);
void pqe__evidence_free(pqe__evidence *evidence);

/* ---- artifact.c ---- */

/** "urn:pqc-enclave-art:" and the id. */
void pqe__id_text(const uint8_t id[PQE__ID_SIZE], char out[PQE_ARTIFACT_ID_SIZE]);
pqe_status pqe__artifact_new(const pqe__found *found, pqe_artifact **out, pqe_error *err);

#endif
