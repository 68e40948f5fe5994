/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Audit log: what was done with the vault, by whom, and whether it worked.
 *
 * One entry an operation, sealed (names do not leak from a stolen disk) and chained: each entry's digest covers the one
 * before. The vault's head takes the chain's digest whenever something is stored, removed, rotated or ruled.
 *
 *   with the operation  put, delete, rotate, identities made, imported or removed, policy changes, violations, uses of
 *                       limited artifacts: durable together
 *   in groups           unlock, lock, reads of unlimited artifacts, exports of keys, failures: kept in memory, at most
 *                       PQE_AUDIT_PENDING_MAX of them, and written when the vault is locked or closed, or the next
 *                       durable entry is; not synced. A crash loses what was in memory, a power cut also what the
 *                       operating system had not written.
 *   not at all          on a vault that cannot be written
 *
 * A checkpoint is a short text that says how far the chain goes. Kept elsewhere, it shows later that nothing up to there
 * was removed, altered or reordered. Entries after the last one can be cut off by whoever puts an older copy of the
 * vault back. In a vault with an identity (identity.h) checkpoints carry its ML-DSA signature; without one they are not
 * signed, and must be kept where they cannot be changed.
 */
#ifndef PQC_ENCLAVE_AUDIT_H
#define PQC_ENCLAVE_AUDIT_H

#include <pqc_enclave.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PQE_AUDIT_PENDING_MAX 64        /**< entries that one process may hold in memory */
#define PQE_AUDIT_BYTES_MAX (16u << 20) /**< bytes of sealed entries kept; beyond, the oldest eighth is dropped */
#define PQE_AUDIT_TEXT_MAX 1024         /**< bytes of each of an entry's texts */
#define PQE_AUDIT_CHECKPOINT_MAX 16384  /**< bytes of a checkpoint, NUL included */

/** Operations. Values are stored; names are those of pqe_audit_op_name(). */
typedef enum pqe_audit_op {
    PQE_AUDIT_UNLOCK = 1,
    PQE_AUDIT_LOCK = 2,
    PQE_AUDIT_PUT = 3,
    PQE_AUDIT_GET = 4,
    PQE_AUDIT_DELETE = 5,
    PQE_AUDIT_ATTEST = 6,
    PQE_AUDIT_POLICY_VIOLATION = 7,
    PQE_AUDIT_ROTATE = 8,
    PQE_AUDIT_POLICY = 9, /**< a rule was set or cleared */
    PQE_AUDIT_CLEAR = 10, /**< the log was cleared; details name the old chain's end */
    PQE_AUDIT_LOST = 11,  /**< entries of reads were found damaged and could not be kept */
    PQE_AUDIT_IDENTITY_CREATE = 12,
    PQE_AUDIT_IDENTITY_IMPORT = 13,
    PQE_AUDIT_IDENTITY_DELETE = 14,
    PQE_AUDIT_IDENTITY_EXPORT = 15, /**< its private key was given out */
    PQE_AUDIT_RECOVERY = 16         /**< an older copy of the vault was accepted */
} pqe_audit_op;

/** "unlock", "policy_violation", ...; NULL for an unknown value. Static storage. */
PQE_API const char *pqe_audit_op_name(pqe_audit_op op);
/** Finds an operation by its name. Returns false if there is none. */
PQE_API bool pqe_audit_op_from_name(const char *name, pqe_audit_op *out);

/** One entry. Strings are "" where they say nothing, and valid during the callback. */
typedef struct pqe_audit_entry {
    size_t size;        /**< sizeof(pqe_audit_entry) */
    uint64_t sequence;  /**< counts from 1 over the vault's life */
    uint64_t time;      /**< seconds since 1970-01-01 UTC, by the clock of day */
    char timestamp[32]; /**< the same, ISO 8601 */
    pqe_audit_op op;
    bool success;
    bool by_application; /**< recorded by pqe_audit_record(), not by the vault */
    pqe_kind kind;       /**< 0: none or unknown */
    const char *device_id;
    const char *artifact_id; /**< of an identity its DID */
    const char *name;        /**< of the artifact or identity */
    const char *details;
    const char *caller;
} pqe_audit_entry;

typedef struct pqe_audit_query {
    size_t size;           /**< sizeof(pqe_audit_query) */
    uint64_t limit;        /**< at most so many entries; 0: all */
    pqe_audit_op op;       /**< 0: any */
    const char *artifact;  /**< name or artifact_id, or an identity's name or DID; NULL: any */
    const char *device_id; /**< NULL: any */
} pqe_audit_query;

/** Return false to stop. */
typedef bool (*pqe_audit_fn)(void *user, const pqe_audit_entry *entry);

/**
 * Shows entries, newest first; those still in memory are written first where that is possible. `query` NULL: all.
 * The callback must not call into the same vault. Errors: PQE_E_TAMPERED, PQE_E_DECRYPTION, PQE_E_CANCELLED, ...
 */
PQE_API pqe_status pqe_audit_list(pqe_vault *vault, const pqe_audit_query *query, pqe_audit_fn fn, void *user,
                                  pqe_error *err);

/**
 * Records something the application did, marked as such: op, success, kind, device_id (NULL: the vault's), artifact_id,
 * name and details are taken from `entry` (strings may be NULL), the rest is filled in. Kept in memory and written in
 * groups like reads.
 */
PQE_API pqe_status pqe_audit_record(pqe_vault *vault, const pqe_audit_entry *entry, pqe_error *err);

/** Takes what is in memory and in spools into the log, durably. */
PQE_API pqe_status pqe_audit_flush(pqe_vault *vault, pqe_error *err);

typedef struct pqe_audit_info {
    uint32_t chain;          /**< counts from 1; grows by one with every clear */
    uint64_t first_sequence; /**< of the oldest entry kept; last_sequence + 1 if none is */
    uint64_t last_sequence;
    uint64_t bytes;          /**< of sealed entries */
    char link[65];           /**< the chain's digest at its end, hex */
    bool signed_checkpoints; /**< the vault has an identity, and checkpoints made now carry its signature */
    bool
        checkpoint_signed; /**< pqe_audit_verify(): the checkpoint carried a good signature of an identity of this vault */
} pqe_audit_info;

PQE_API pqe_status pqe_audit_get_info(pqe_vault *vault, pqe_audit_info *out, pqe_error *err);

/** Takes in what is pending and writes a checkpoint of the log as it then is: NUL-terminated text, *len without NUL. */
PQE_API pqe_status pqe_audit_checkpoint(pqe_vault *vault, char *buf, size_t capacity, size_t *len, pqe_error *err);

/**
 * Recomputes the chain from the oldest entry kept to the newest and compares it with the head, with the use counts and,
 * if given, with a checkpoint (`len` bytes), whose signature is verified by the key of that identity in this vault. One
 * that is not signed is compared all the same: out->checkpoint_signed tells. `out` may be NULL.
 * Errors: PQE_E_TAMPERED (something was removed, altered, reordered or put back), PQE_E_DECRYPTION, PQE_E_ARGUMENT (not a
 * checkpoint, or another vault's), PQE_E_ATTESTATION (its signature is
 * not good, or by an identity that is not in this vault), PQE_E_STATE (the checkpoint is older than the oldest entry kept).
 */
PQE_API pqe_status pqe_audit_verify(pqe_vault *vault, const char *checkpoint, size_t len, pqe_audit_info *out,
                                    pqe_error *err);

/**
 * Removes all entries and starts a new chain whose first entry names the end of the old one. It also mends a log that was
 * damaged: what could not be trusted of the use counts then counts as used up.
 */
PQE_API pqe_status pqe_audit_clear(pqe_vault *vault, pqe_error *err);

/** An unlock that failed. These are kept without a key, so anyone who can write to the vault can alter them. */
typedef struct pqe_failed_unlock {
    uint64_t time; /**< seconds since 1970-01-01 UTC */
    char timestamp[32];
    pqe_status status;
} pqe_failed_unlock;

#define PQE_FAILED_UNLOCKS_MAX 32 /**< the newest are kept */

/** Fills up to `capacity` failed unlocks, newest first; *count says how many. The vault may be locked. */
PQE_API pqe_status pqe_audit_failed_unlocks(pqe_vault *vault, pqe_failed_unlock *out, size_t capacity, size_t *count,
                                            pqe_error *err);

#ifdef __cplusplus
}
#endif

#endif
