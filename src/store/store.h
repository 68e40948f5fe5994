/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where sealed things lie: an SQLite index (the only include of sqlite3.h is in this folder) and body files.
 * The store knows no keys. It keeps bytes, transactions and the authenticated tree over the index; what the bytes
 * mean, and whether the tree's root is the right one, is the vault's to say.
 *
 * Not thread-safe: the vault serialises calls. Every function but open, create, close and the body file functions
 * that say so runs inside a transaction.
 */
#ifndef PQE_STORE_STORE_H
#define PQE_STORE_STORE_H

#include "format/format.h"

#define PQE__INLINE_MAX 65536u /* larger bodies lie in a file of their own */
#define PQE__HEAD_TAG_SIZE 32u

typedef struct pqe__store pqe__store;

/* ---- open and close ---- */

/** Makes directory (if missing) and an empty index, which is no vault before pqe__store_publish(); `dir` NULL keeps
 *  everything in memory. Takes over a place where the making was cut short. PQE_E_EXISTS if there is a vault already or the
 *  directory is not empty, PQE_E_BUSY while another process makes one there. On failure nothing that it made is left. */
pqe_status pqe__store_create(const char *dir, uint32_t busy_ms, pqe__store **out, pqe_error *err);
/** Before a backend makes a key for the new vault: notes that, durably, until the vault is published. */
pqe_status pqe__store_note_maker(pqe__store *store, const uint8_t vault_id[PQE__ID_SIZE], pqe_error *err);
typedef void (*pqe__note_fn)(void *user, const uint8_t vault_id[PQE__ID_SIZE]);
/** Calls `forget` for each vault that died in the making here: it never was, and what a backend keeps for it can go. */
void pqe__store_settle_notes(pqe__store *store, pqe__note_fn forget, void *user);
/** Makes a vault of it, durably, at one stroke. Outside a transaction. On failure pqe__store_destroy() is next. */
pqe_status pqe__store_publish(pqe__store *store, pqe_error *err);
/** Removes what create made; for a vault whose creation fails later. Closes the store. */
void pqe__store_destroy(pqe__store **store);
/** `read_only` is also chosen by the store itself where the media allow no writing. */
pqe_status pqe__store_open(const char *dir, bool read_only, uint32_t busy_ms, pqe__store **out, pqe_error *err);
void pqe__store_close(pqe__store **store);
/** In a forked child: closes descriptors and leaves the rest alone, the database connection (SQLite forbids its use
 *  there) and what threads of the parent may have been changing when it forked. */
void pqe__store_abandon(pqe__store **store);
bool pqe__store_read_only(const pqe__store *store);

/* ---- transactions ---- */

pqe_status pqe__store_begin(pqe__store *store, bool write, pqe_error *err);
/** A transaction if nobody is in the way for longer than `wait_ms`: PQE_E_BUSY otherwise. */
pqe_status pqe__store_begin_within(pqe__store *store, bool write, uint32_t wait_ms, pqe_error *err);
/** PQE_OK: durable. Any error: the outcome is unknown (a failed sync may or may not reach the disk); pending marks
 *  must stay for the next collection to decide. */
pqe_status pqe__store_commit(pqe__store *store, pqe_error *err);
void pqe__store_rollback(pqe__store *store);
/** Moves the write-ahead log into the index and truncates it, so that dropped keys leave the live files. Best effort:
 *  other processes' readers can delay it. Outside a transaction. */
void pqe__store_checkpoint(pqe__store *store);

/* ---- head and device items ---- */

typedef enum {
    PQE__ITEM_BACKEND_NAME = 1,
    PQE__ITEM_BACKEND_STATE = 2,
    PQE__ITEM_VAULT_KEY = 3,
    PQE__ITEM_GRANT_KEY = 4,
    PQE__ITEM_ROOT_SECRET = 5,
    PQE__ITEM_NATIVE_KEY = 6, /* only where the backend keeps the key pairs itself */
    PQE__ITEM_RECIPIENT = 7,  /* only there, and where there are recovery keys */
    PQE__ITEM_RECOVERY = 16   /* and those up to PQE__ITEM_LAST: one for each recovery key */
} pqe__device_item;
#define PQE__DEVICE_ITEMS 5 /* that are always there */
#define PQE__ITEM_LAST (PQE__ITEM_RECOVERY + (int)PQE_RECOVERY_KEYS_MAX - 1)

/** Reads the head into `buf` (PQE__HEAD_MAX bytes). */
pqe_status pqe__store_get_head(pqe__store *store, uint8_t *buf, size_t *len, uint8_t tag[PQE__HEAD_TAG_SIZE],
                               pqe_error *err);
pqe_status pqe__store_put_head(pqe__store *store, const uint8_t *head, size_t len,
                               const uint8_t tag[PQE__HEAD_TAG_SIZE], pqe_error *err);
#define PQE__ITEM_MAX 6144u
pqe_status pqe__store_get_item(pqe__store *store, pqe__device_item item, uint8_t *buf, size_t capacity, size_t *len,
                               pqe_error *err);
/** The same of an item that may be missing: then *missing, PQE_OK and *len 0. */
pqe_status pqe__store_find_item(pqe__store *store, pqe__device_item item, uint8_t *buf, size_t capacity, size_t *len,
                                bool *missing, pqe_error *err);
pqe_status pqe__store_put_item(pqe__store *store, pqe__device_item item, const uint8_t *data, size_t len,
                               pqe_error *err);
pqe_status pqe__store_delete_item(pqe__store *store, pqe__device_item item, pqe_error *err);
/** SHA-256 over all device items: what the head says of them. PQE_E_TAMPERED if one is there that is not known. */
pqe_status pqe__store_device_digest(pqe__store *store, uint8_t out[PQE__DIGEST_SIZE], pqe_error *err);

/* ---- artifact rows ---- */

#define PQE__WRAPPED_DEK_SIZE 60u /* box of 32 bytes */

/** One row. When read, the pointers belong to the row; pqe__row_free() releases it. */
typedef struct pqe__row {
    int64_t rowid;
    uint8_t key_id[PQE__ID_SIZE];
    uint8_t dek[PQE__WRAPPED_DEK_SIZE];
    const uint8_t *record; /* sealed */
    size_t record_len;
    bool is_inline;
    uint8_t file[PQE__ID_SIZE]; /* zero if inline */
    const uint8_t *body;        /* inline only */
    size_t body_len;
    uint8_t digest[PQE__DIGEST_SIZE]; /* of all of the above but rowid and body; body is bound by the DEK */
    void *allocation;
} pqe__row;

/** Sets row->digest from the other fields. */
pqe_status pqe__row_digest(pqe__row *row, pqe_error *err);
/** Inserts and sets row->rowid. */
pqe_status pqe__row_insert(pqe__store *store, pqe__row *row, pqe_error *err);
/** Replaces key id, record and DEK of an existing row. */
pqe_status pqe__row_update(pqe__store *store, const pqe__row *row, pqe_error *err);
/** `with_body` false leaves an inline body unread. PQE_E_TAMPERED if the row is not there or malformed. */
pqe_status pqe__row_fetch(pqe__store *store, int64_t rowid, bool with_body, pqe__row *out, pqe_error *err);
pqe_status pqe__row_delete(pqe__store *store, int64_t rowid, pqe_error *err);
void pqe__row_free(pqe__row *row);
/** Does any row wrap its DEK under this key? `secret` is the row of its session secret. */
pqe_status pqe__row_key_in_use(pqe__store *store, const uint8_t key_id[PQE__ID_SIZE], int64_t secret, bool *in_use,
                               pqe_error *err);
pqe_status pqe__row_count(pqe__store *store, uint64_t *count, pqe_error *err);

/* ---- session secrets ---- */

#define PQE__SEALED_SECRET_SIZE 1136u /* HPKE: 1088 + 32 + 16 */

typedef struct pqe__secret_row {
    int64_t rowid;
    uint8_t key_id[PQE__ID_SIZE];
    uint8_t
        sealed[2 * PQE__SEALED_SECRET_SIZE]; /* to the vault key; then, where there is one, to the recovery recipient */
    size_t sealed_len;                       /* of one or both */
    uint8_t digest[PQE__DIGEST_SIZE];
} pqe__secret_row;

pqe_status pqe__secret_digest(pqe__secret_row *row, pqe_error *err);
pqe_status pqe__secret_insert(pqe__store *store, pqe__secret_row *row, pqe_error *err);
pqe_status pqe__secret_update(pqe__store *store, const pqe__secret_row *row, pqe_error *err);
pqe_status pqe__secret_fetch(pqe__store *store, int64_t rowid, pqe__secret_row *out, pqe_error *err);
/** Keeps the number of rows under a secret: adds `change` to it, which starts at 0. */
pqe_status pqe__secret_count(pqe__store *store, int64_t rowid, int64_t change, pqe_error *err);
pqe_status pqe__secret_delete(pqe__store *store, int64_t rowid, pqe_error *err);
pqe_status pqe__secret_delete_all(pqe__store *store, pqe_error *err);

/* ---- identities ---- */

/** One row: a sealed record. When read, `bytes` belongs to the row; pqe__identity_row_free() releases it. */
typedef struct pqe__identity_row {
    int64_t rowid;
    uint8_t *bytes;
    size_t len;
    uint8_t digest[PQE__DIGEST_SIZE];
} pqe__identity_row;

pqe_status pqe__identity_row_digest(pqe__identity_row *row, pqe_error *err);
/** Inserts and sets row->rowid. */
pqe_status pqe__identity_row_insert(pqe__store *store, pqe__identity_row *row, pqe_error *err);
pqe_status pqe__identity_row_update(pqe__store *store, const pqe__identity_row *row, pqe_error *err);
/** PQE_E_TAMPERED if the row is not there or malformed. */
pqe_status pqe__identity_row_fetch(pqe__store *store, int64_t rowid, pqe__identity_row *out, pqe_error *err);
pqe_status pqe__identity_row_delete(pqe__store *store, int64_t rowid, pqe_error *err);
void pqe__identity_row_free(pqe__identity_row *row);
pqe_status pqe__identity_row_count(pqe__store *store, uint64_t *count, pqe_error *err);

/* ---- the authenticated tree ---- */

#define PQE__TAG_KEY_SIZE 32u /* HMAC-SHA-256 output */

typedef enum {
    PQE__ENTRY_NAME = 1,
    PQE__ENTRY_ID = 2,
    PQE__ENTRY_SECRET = 3,
    PQE__ENTRY_IDENTITY = 4,     /* by DID */
    PQE__ENTRY_IDENTITY_NAME = 5 /* by name; the empty name is the default identity's */
} pqe__entry_kind;

/** tag -> digest of the row it stands for. `rowid` is a hint that the digest checks. */
typedef struct pqe__entry {
    uint8_t tag[PQE__TAG_KEY_SIZE];
    pqe__entry_kind kind;
    uint8_t digest[PQE__DIGEST_SIZE];
    int64_t rowid;
} pqe__entry;

/** Root of the tree without entries. */
pqe_status pqe__tree_empty(uint8_t root[PQE__DIGEST_SIZE], pqe_error *err);
/** Finds `tag` and proves the answer, found or not, against `root`. PQE_E_TAMPERED if the proof fails. */
pqe_status pqe__tree_lookup(pqe__store *store, const uint8_t root[PQE__DIGEST_SIZE],
                            const uint8_t tag[PQE__TAG_KEY_SIZE], bool *found, pqe__entry *out, pqe_error *err);
/** Inserts or replaces; checks the path against `root` first and leaves the new root there. */
pqe_status pqe__tree_set(pqe__store *store, uint8_t root[PQE__DIGEST_SIZE], const pqe__entry *entry, pqe_error *err);
/** Removes an entry that must be there. */
pqe_status pqe__tree_remove(pqe__store *store, uint8_t root[PQE__DIGEST_SIZE], const uint8_t tag[PQE__TAG_KEY_SIZE],
                            pqe_error *err);
/** One of many changes. `old` is what stood under its tag, if anything did: set by pqe__tree_apply(). */
typedef struct pqe__tree_change {
    pqe__entry entry; /* to be set; of a removal the tag alone counts */
    bool remove;
    bool existed;
    pqe__entry old;
    size_t user; /* the caller's */
} pqe__tree_change;
/** Applies changes that are in tag order, no tag twice; a removal's entry must be there. Every node above them is checked
 *  and written once. On failure the transaction must be rolled back. */
pqe_status pqe__tree_apply(pqe__store *store, uint8_t root[PQE__DIGEST_SIZE], pqe__tree_change *changes, size_t count,
                           pqe_error *err);
/** Drops every entry; `root` becomes the empty root. */
pqe_status pqe__tree_clear(pqe__store *store, uint8_t root[PQE__DIGEST_SIZE], pqe_error *err);

typedef pqe_status (*pqe__tree_fn)(void *user, const pqe__entry *entry, pqe_error *err);
/** Calls `fn` for every entry in tag order, then compares what was seen with `root`: PQE_E_TAMPERED if entries are
 *  missing, added or altered. */
pqe_status pqe__tree_walk(pqe__store *store, const uint8_t root[PQE__DIGEST_SIZE], pqe__tree_fn fn, void *user,
                          pqe_error *err);
/** Also compares every stored inner node with the entries. */
pqe_status pqe__tree_check_nodes(pqe__store *store, const uint8_t root[PQE__DIGEST_SIZE], pqe_error *err);

/** An artifact is known by two entries, of its name and of its id: finds the other one, proved like any. Reads all. */
pqe_status pqe__tree_twin(pqe__store *store, const uint8_t root[PQE__DIGEST_SIZE], const pqe__entry *entry,
                          pqe__entry *twin, pqe_error *err);
/** Does any entry of a name or an id lead to this row? Reads all; on failure *any is true. */
pqe_status pqe__tree_leads_to(pqe__store *store, int64_t rowid, bool *any, pqe_error *err);

/* ---- policy, audit log, use counts ---- */

typedef enum {
    PQE__STATE_POLICY = 1,  /* sealed; its digest is in the head */
    PQE__STATE_TAIL = 2,    /* sealed: where the audit chain ends */
    PQE__STATE_USES = 3,    /* sealed; its digest is in the tail */
    PQE__STATE_REFUSED = 4, /* not sealed: unlocks that failed */
    PQE__STATE_RECOVERY = 5 /* sealed: the recovery keys; its digest is in the head */
} pqe__state_item;

#define PQE__STATE_MAX (1u << 19) /* bytes of one item */
#define PQE__AUDIT_ROW_MAX 8192u  /* bytes of one sealed entry */

/** *bytes is allocated (free()), NULL with *len 0 where there is no such item. */
pqe_status pqe__state_get(pqe__store *store, pqe__state_item item, uint8_t **bytes, size_t *len, pqe_error *err);
pqe_status pqe__state_put(pqe__store *store, pqe__state_item item, const uint8_t *bytes, size_t len, pqe_error *err);
pqe_status pqe__state_delete(pqe__store *store, pqe__state_item item, pqe_error *err);
/** `buf` has PQE__AUDIT_ROW_MAX bytes. PQE_E_TAMPERED if the entry is missing or malformed. */
pqe_status pqe__audit_get(pqe__store *store, uint64_t seq, uint8_t *buf, size_t *len, pqe_error *err);
/** PQE_E_TAMPERED if there is one of that number. */
pqe_status pqe__audit_put(pqe__store *store, uint64_t seq, const uint8_t *bytes, size_t len, pqe_error *err);
/** Replaces the bytes of an entry. */
pqe_status pqe__audit_update(pqe__store *store, uint64_t seq, const uint8_t *bytes, size_t len, pqe_error *err);
/** Removes entries up to and including `seq`. */
pqe_status pqe__audit_drop(pqe__store *store, uint64_t seq, pqe_error *err);
pqe_status pqe__audit_drop_all(pqe__store *store, pqe_error *err);
pqe_status pqe__audit_count(pqe__store *store, uint64_t *count, pqe_error *err);

/* ---- spools: what the audit log will take in with its next entry ---- */

#define PQE__SPOOL_MAX (256u << 10)

/** A locked file `spool-<name>`, which is appended to without a sync; safe without a transaction. */
typedef struct pqe__spool {
    int fd; /* -1: not open */
    uint8_t name[PQE__ID_SIZE];
    uint8_t *bytes; /* its content; free by pqe__spool_close() */
    size_t len;
} pqe__spool;

/** Opens, locks and reads. `create` false: *missing is set where there is none (then PQE_OK). PQE_E_BUSY if another
 *  process holds the lock for longer than `wait_ms`, PQE_E_UNAVAILABLE for a vault in memory, PQE_E_TAMPERED if it is no
 *  file of ours. */
pqe_status pqe__spool_open(pqe__store *store, const uint8_t name[PQE__ID_SIZE], bool create, uint32_t wait_ms,
                           pqe__spool *out, bool *missing, pqe_error *err);
/** Cuts the file to `keep` bytes and appends. */
pqe_status pqe__spool_append(pqe__spool *spool, size_t keep, const uint8_t *bytes, size_t len, pqe_error *err);
/** Releases the lock; `remove` removes the file first. */
void pqe__spool_close(pqe__store *store, pqe__spool *spool, bool remove);
/** Removes a spool that nobody will take in any more, if it is there. */
void pqe__spool_remove(pqe__store *store, const uint8_t name[PQE__ID_SIZE]);

/* ---- the gate: one at a time between commit and counter ---- */

/** A lock (flock) on `counter.lock`, held by whoever changes a vault whose changes a device counts. Unlike a transaction it
 *  outlives the commit. Taken before or inside a transaction; whoever holds it begins no write transaction. */
typedef struct pqe__gate {
    bool held;
    int fd; /* -1: none, of a vault in memory */
} pqe__gate;

/** PQE_E_BUSY if another process holds it for longer than `wait_ms`, PQE_E_READ_ONLY where there is nothing to be locked
 *  and nothing can be made, PQE_E_TAMPERED if it is no file of ours. Does nothing if it is held. */
pqe_status pqe__gate_enter(pqe__store *store, pqe__gate *gate, uint32_t wait_ms, pqe_error *err);
/** Does nothing if it is not held. */
void pqe__gate_leave(pqe__gate *gate);
/** How long a writer waits for another process. */
uint32_t pqe__store_busy_ms(const pqe__store *store);

/* ---- body files ---- */

/* A mark says that a body's name is about to appear in, or vanish from, bodies/. Each has a random name of its own beside
   the body's: whoever cleans up late takes away no other's. */
#define PQE__MARK_SIZE 8u

/** A body being written: a locked file in pending/. Safe without a transaction. */
typedef struct pqe__body_file {
    uint8_t name[PQE__ID_SIZE];
    uint8_t mark[PQE__MARK_SIZE];
    int fd;
    bool published;
} pqe__body_file;

pqe_status pqe__body_create(pqe__store *store, pqe__body_file *out, pqe_error *err);
/** A file for what need not outlive this process: nothing of it is left behind however that ends. */
pqe_status pqe__body_create_nameless(pqe__store *store, pqe__body_file *out, pqe_error *err);
/** Marks the name as pending, moves the synced file into place and makes the entry durable. In a transaction. */
pqe_status pqe__body_publish(pqe__store *store, pqe__body_file *file, pqe_error *err);
/** Closes; removes what was not published, or what a rolled-back transaction published. */
void pqe__body_discard(pqe__store *store, pqe__body_file *file);
/** After the commit: drops the pending mark and closes. */
void pqe__body_settle(pqe__store *store, pqe__body_file *file);
/** Before the commit that drops its row: a durable mark, so that a crash leaves no orphan. In a transaction. */
pqe_status pqe__body_mark(pqe__store *store, const uint8_t name[PQE__ID_SIZE], uint8_t mark[PQE__MARK_SIZE],
                          pqe_error *err);
/** After that commit: removes the file and the mark. `keep` true: the commit did not happen, only the mark goes. */
void pqe__body_unmark(pqe__store *store, const uint8_t name[PQE__ID_SIZE], const uint8_t mark[PQE__MARK_SIZE],
                      bool keep);
/** Opens a body for reading; *fd belongs to the caller. *missing is set where the file is not there (then PQE_OK). */
pqe_status pqe__body_open(pqe__store *store, const uint8_t name[PQE__ID_SIZE], int *fd, uint64_t *size, bool *missing,
                          pqe_error *err);
/** Finishes what dead processes left in pending/. Outside a transaction; waits for nobody, and leaves to the next time
 *  what cannot be done now. */
void pqe__body_collect(pqe__store *store);
/** Sets disk space aside, if that has not been done. Best effort. */
void pqe__reserve_make(pqe__store *store);
/** Gives it up, so that a removal has room on a full disk; false if there was none. */
bool pqe__reserve_release(pqe__store *store);
/** Counts files in bodies/ that no row names. In a transaction. */
pqe_status pqe__body_count_orphans(pqe__store *store, uint64_t *orphans, pqe_error *err);

#endif
