/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpqcenclave: a vault for AI models, adapters and secrets that stays secret after quantum computers arrive.
 *
 * This header is the reference manual. Conventions that hold for every function (details: docs/api-conventions.md):
 *
 *   Returns    pqe_status: PQE_OK (0) or a negative code. Nothing is printed, nothing aborts the process.
 *   Errors     `err` may be NULL; otherwise it is filled on failure and left alone on success. Messages name no secret.
 *   Outputs    on failure an output pointer is NULL, an output number 0, an output buffer zeroed or untouched.
 *   Ownership  what a function allocates is freed by the function named beside it; inputs are never kept
 *              after the call unless the text says so. Every close/free function takes a pointer to the caller's
 *              pointer, wipes what was secret, sets it to NULL, and accepts NULL.
 *   Strings    UTF-8, NUL-terminated. Sizes are in bytes.
 *   Threads    a handle may be used from several threads at once unless the text says otherwise.
 *   Fork       a handle belongs to the process that made it. In a forked child every call returns PQE_E_LOCKED and
 *              closing frees memory without touching a key. A child must not open a vault that its parent had open when
 *              it forked (PQE_E_STATE: SQLite's file locks do not survive a fork); after exec it may.
 *   Options    structs begin with `size`, set to sizeof the struct the caller was compiled with; zero means default.
 *
 * All functions exist since 0.1.0 unless marked otherwise.
 */
#ifndef PQC_ENCLAVE_H
#define PQC_ENCLAVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PQE_VERSION_MAJOR 0
#define PQE_VERSION_MINOR 1
#define PQE_VERSION_PATCH 0
#define PQE_VERSION "0.1.0"

#if defined(__GNUC__)
#define PQE_API __attribute__((visibility("default")))
#else
#define PQE_API
#endif

/** Version of the library in use at run time, for example "0.1.0". Static storage. */
PQE_API const char *pqe_version(void);

/* ---------------------------------------------------------------------------------------------------------- errors */

/** Status codes. Values never change; new ones are added at the end. */
typedef enum pqe_status {
    PQE_OK = 0,
    PQE_E_ARGUMENT = -1,     /**< an argument is invalid: NULL, bad UTF-8, empty name, unknown kind, bad handle state */
    PQE_E_NOMEM = -2,        /**< out of memory, or out of lockable memory (RLIMIT_MEMLOCK) */
    PQE_E_IO = -3,           /**< the operating system refused a read, write, open or sync; `native` is errno */
    PQE_E_NO_SPACE = -4,     /**< disk full or quota reached; nothing was changed */
    PQE_E_READ_ONLY = -5,    /**< the vault is on read-only media or not writable by this user */
    PQE_E_NOT_FOUND = -6,    /**< no artifact of that name or id (verified against the head, not merely absent) */
    PQE_E_EXISTS = -7,       /**< there is already a vault, file or key at that place */
    PQE_E_LOCKED = -8,       /**< the vault is locked, its session has expired, or this is a forked child */
    PQE_E_DENIED = -9,       /**< wrong passphrase, missing key file, key file of another vault */
    PQE_E_DECRYPTION = -10,  /**< a tag, commitment or length did not verify: wrong key or altered ciphertext */
    PQE_E_TAMPERED = -11,    /**< head or index does not match: a row or file was altered, removed, added or put back */
    PQE_E_NOT_A_VAULT = -12, /**< the directory holds no vault */
    PQE_E_VERSION = -13,     /**< format version, suite or algorithm unknown to or refused by this version */
    PQE_E_LIMIT = -14,       /**< a documented size limit would be exceeded */
    PQE_E_BUSY = -15,        /**< another process held the vault longer than the wait time */
    PQE_E_BACKEND = -16,     /**< the backend failed */
    PQE_E_UNAVAILABLE = -17, /**< the backend, or an ability of it, does not exist here */
    PQE_E_CRYPTO = -18,      /**< libcrypto failed for a reason other than verification */
    PQE_E_CANCELLED = -19,   /**< a callback asked to stop */
    PQE_E_STATE = -20,       /**< call out of order: finish after a failed write, reopening in a forked child */
    PQE_E_POLICY = -21,      /**< the vault's access policy forbids it: caller, presence or number of uses (policy.h) */
    PQE_E_MALFORMED = -22,   /**< a file from outside (key, attestation) is not in the form it must have */
    PQE_E_ATTESTATION = -23, /**< a signature or an attestation does not verify */
    PQE_E_ROLLBACK = -24     /**< an older copy of the vault: its device has acknowledged later changes */
} pqe_status;

/** Where an error arose. */
typedef enum pqe_origin {
    PQE_ORIGIN_NONE = 0,
    PQE_ORIGIN_API = 1,
    PQE_ORIGIN_FORMAT = 2,
    PQE_ORIGIN_CRYPTO = 3,
    PQE_ORIGIN_INDEX = 4,
    PQE_ORIGIN_IO = 5,
    PQE_ORIGIN_BACKEND = 6,
    PQE_ORIGIN_DEVICE = 7
} pqe_origin;

/** Filled on failure. The caller owns it; no allocation behind it. */
typedef struct pqe_error {
    pqe_status status;
    pqe_origin origin;
    int64_t native;    /**< errno, SQLite or backend code; 0 if none */
    char message[240]; /**< one sentence without final period, NUL-terminated, no secrets, no artifact names */
} pqe_error;

/** Symbolic name of a status, for example "PQE_E_LOCKED". Static storage; "PQE_E_?" for an unknown value. */
PQE_API const char *pqe_status_name(pqe_status status);

/** One English sentence for a status. Static storage. */
PQE_API const char *pqe_status_text(pqe_status status);

/** Name of an origin in lower case, for example "crypto". Static storage. */
PQE_API const char *pqe_origin_name(pqe_origin origin);

/* ---------------------------------------------------------------------------------------------------------- threads */

/**
 * Sets how many threads work on one large artifact, the calling thread included; 0: as many as there are processors
 * this process may use, which is what holds until this is called. At most 256. All vaults share them. Helper threads
 * are started when a call first moves 1 MiB or more, block all signals, and touch keys only while that call runs.
 */
PQE_API void pqe_set_threads(unsigned count);

/** How many threads may work on one large artifact; at least 1. */
PQE_API unsigned pqe_threads(void);

/* --------------------------------------------------------------------------------------------------------- backends */

/** What holds the device key. See pqc_enclave/backend.h for writing one. */
typedef struct pqe_backend pqe_backend;

/** Why a passphrase is asked for. */
typedef enum pqe_passphrase_purpose {
    PQE_PASSPHRASE_UNLOCK = 1, /**< the present passphrase of an existing vault */
    PQE_PASSPHRASE_NEW = 2     /**< a passphrase to be set; an interactive caller asks twice */
} pqe_passphrase_purpose;

/**
 * Supplies a passphrase. `buf` is locked memory of `capacity` bytes owned by the library and wiped by it; write the
 * passphrase's bytes there (no NUL needed) and its length to *len. Return PQE_OK, or any error to give up. It is called
 * while the backend is busy: it must not call into the same backend or a vault of it.
 */
typedef pqe_status (*pqe_passphrase_fn)(void *user, pqe_passphrase_purpose purpose, char *buf, size_t capacity,
                                        size_t *len);

/** Longest passphrase accepted, in bytes. */
#define PQE_PASSPHRASE_MAX 1024

typedef struct pqe_backend_opts {
    size_t size;                  /**< sizeof(pqe_backend_opts) */
    pqe_passphrase_fn passphrase; /**< asked when a passphrase is needed; NULL: such vaults fail with PQE_E_DENIED */
    void *user;                   /**< handed to `passphrase`; must outlive the backend */
} pqe_backend_opts;

/**
 * Opens a backend by "name" or "name:config".
 *
 *   memory                     random key in this process; gone when the backend is closed (tests, caches)
 *   file                       key file at $XDG_CONFIG_HOME/pqc-enclave/<vault id>.key (else ~/.config/...)
 *   file:key-file=PATH         key file at PATH (rest of the string, any character); made 0600 when a vault is created
 *   file:passphrase            for a new vault: a passphrase (Argon2id, RFC 9106) instead of a key file
 *
 *   tpm2[:TCTI][;OPTION]...    this machine's TPM 2.0; options of a new vault: pin, pcrs=BANK:N,N, no-counter
 *
 * An existing vault knows whether it wants a key file or a passphrase; "file" opens either.
 * The first two are software protection: as good as the key file or passphrase is kept, no better. docs/backends.md
 * says more of each. pqe_backend_builtin() lists what this build has.
 * The backend must outlive every vault that uses it. Close with pqe_backend_close().
 * Errors: PQE_E_ARGUMENT (bad config), PQE_E_UNAVAILABLE (unknown name), PQE_E_NOMEM.
 */
PQE_API pqe_status pqe_backend_open(const char *config, const pqe_backend_opts *opts, pqe_backend **out,
                                    pqe_error *err);

/** Closes a backend and wipes its keys. Vaults using it must be closed first. */
PQE_API void pqe_backend_close(pqe_backend **backend);

/** Facts about a backend, for people and for `backends`, `doctor`. Strings are static. */
typedef struct pqe_backend_info {
    const char *name;        /**< "file" */
    const char *description; /**< one line */
    const char *protection;  /**< "software", "tee" or "secure-element" */
    const char *caveat;      /**< what it does not protect against, one sentence */
    uint32_t capabilities;   /**< PQE_CAP_* of backend.h */
} pqe_backend_info;

/** The `index`-th built-in backend. Returns false when index is past the last. Thread-safe. */
PQE_API bool pqe_backend_builtin(size_t index, pqe_backend_info *out);

/* ------------------------------------------------------------------------------------------------------------ vault */

/** A vault handle: the sealed artifacts of one device. */
typedef struct pqe_vault pqe_vault;

#define PQE_DEFAULT_TTL_SECONDS 3600u
#define PQE_SUITE_ML_KEM_768 "ml-kem-768"

typedef struct pqe_vault_opts {
    size_t size;           /**< sizeof(pqe_vault_opts) */
    const char *dir;       /**< the vault's directory; NULL: a vault in memory (needs no backend but works with any) */
    pqe_backend *backend;  /**< required; not owned */
    bool create;           /**< true: make a new vault; fails with PQE_E_EXISTS if there is one, with PQE_E_BUSY while
                                another process makes one there. A process that dies in it leaves a whole vault, or a place
                                that is none and where the next one can be made */
    bool read_only;        /**< true: never write, whatever the media allow */
    const char *device_id; /**< create only: metadata field device_id of artifacts; NULL: "pqe-" + vault id in hex */
    uint32_t busy_timeout_ms; /**< how long a writer waits for another process; 0: 60,000 */
    const char *caller;       /**< who calls, as pqe_vault_set_caller(); NULL: nobody in particular. Since 0.1.0 */
} pqe_vault_opts;

/**
 * Opens or creates a vault. The handle is locked, except that a vault just created is unlocked for the default time.
 * Creating: two ML-KEM-768 device key pairs (FIPS 203) are made and sealed by the backend; a failure leaves nothing
 * behind. Opening reads no key. Close with pqe_vault_close().
 * Errors: PQE_E_NOT_A_VAULT, PQE_E_EXISTS, PQE_E_VERSION, PQE_E_TAMPERED, PQE_E_BACKEND, PQE_E_IO, PQE_E_READ_ONLY, ...
 */
PQE_API pqe_status pqe_vault_open(const pqe_vault_opts *opts, pqe_vault **out, pqe_error *err);

/**
 * Says on whose behalf artifacts are read from now on: an application's bundle id, for the access policy
 * (pqc_enclave/policy.h) and the audit log. It is what the calling program says, nobody checks it. Copied; 1 to
 * PQE_FIELD_MAX bytes, or NULL for nobody in particular. Errors: PQE_E_ARGUMENT, PQE_E_LIMIT, PQE_E_NOMEM.
 */
PQE_API pqe_status pqe_vault_set_caller(pqe_vault *vault, const char *bundle_id, pqe_error *err);

/** Locks and closes. Open readers and writers of the vault must be closed or aborted first; calls on them then
 *  return PQE_E_LOCKED. */
PQE_API void pqe_vault_close(pqe_vault **vault);

/**
 * Starts a session: the backend unseals the device key, the head is authenticated, root secret is decapsulated.
 * The session ends at pqe_vault_lock() or after `ttl_seconds` of CLOCK_BOOTTIME (suspend counts, setting the clock
 * does not); keys are then wiped by a watcher thread, not only refused. ttl_seconds 0: PQE_DEFAULT_TTL_SECONDS.
 * Already unlocked: the running session ends and a new one starts.
 * Where the backend counts the vault's changes an older copy of its directory is refused: PQE_E_ROLLBACK. The legitimate
 * restore from a backup is pqe_recovery_accept_rollback() (recovery.h).
 * Errors: PQE_E_DENIED (wrong passphrase or key), PQE_E_ROLLBACK, PQE_E_TAMPERED, PQE_E_DECRYPTION, PQE_E_BACKEND, PQE_E_NOMEM.
 */
PQE_API pqe_status pqe_vault_unlock(pqe_vault *vault, uint32_t ttl_seconds, pqe_error *err);

/** Ends the session and wipes its keys. Readers and writers in flight fail at their next call. Idempotent. */
PQE_API void pqe_vault_lock(pqe_vault *vault);

/** True while a session runs; re-checks expiry at every call. */
PQE_API bool pqe_vault_is_unlocked(pqe_vault *vault);

/** Seconds left in the session, 0 when locked. */
PQE_API uint32_t pqe_vault_ttl(pqe_vault *vault);

/** Is an older copy of the vault's directory noticed? */
typedef enum pqe_rollback_detection {
    PQE_ROLLBACK_UNKNOWN = 0, /**< the backend has counters; whether this vault has one shows when it is unlocked */
    PQE_ROLLBACK_NOT_DETECTED = 1, /**< no: nothing outside the directory counts its changes */
    PQE_ROLLBACK_DETECTED = 2      /**< yes: a counter of the device does, unlock refuses with PQE_E_ROLLBACK */
} pqe_rollback_detection;

/** What can be read of a vault without any key. Nothing of it is authenticated before unlock. */
typedef struct pqe_vault_info {
    char vault_id[33];       /**< 32 lower-case hex digits */
    char backend[32];        /**< name of the backend that holds the device key */
    char suite[16];          /**< "ml-kem-768" */
    char key_source[32];     /**< the backend's word for what opens it: "key-file", "passphrase", "tpm", "token", ... */
    char held_by[512];       /**< one line about what holds it, by the backend's own words; empty: nothing to say */
    uint32_t format_version; /**< 1 */
    uint64_t generation;     /**< grows by one with every committed change */
    uint64_t artifact_count;
    bool native_kem;                 /**< the decapsulation keys are made and used in the backend and never leave it */
    bool read_only;                  /**< this handle cannot write (pqe_vault_get_info() only) */
    pqe_rollback_detection rollback; /**< known for certain while the vault is unlocked */
} pqe_vault_info;

/** Reads the facts above from a vault's directory without opening it. Errors as pqe_vault_open(). */
PQE_API pqe_status pqe_vault_peek(const char *dir, pqe_vault_info *out, pqe_error *err);

/** The same for an open handle; authenticated if the vault is unlocked. */
PQE_API pqe_status pqe_vault_get_info(pqe_vault *vault, pqe_vault_info *out, pqe_error *err);

/* -------------------------------------------------------------------------------------------------------- artifacts */

/** Kinds of artifact. Values are stored; names are those of pqe_kind_name(). */
typedef enum pqe_kind {
    PQE_KIND_MODEL_WEIGHTS = 1,
    PQE_KIND_LORA_ADAPTER = 2,
    PQE_KIND_TOKENIZER = 3,
    PQE_KIND_CREDENTIAL = 4,
    PQE_KIND_BIOMETRIC_TEMPLATE = 5,
    PQE_KIND_INFERENCE_CACHE = 6,
    PQE_KIND_SAFETY_MODEL = 7,
    PQE_KIND_OTHER = 8
} pqe_kind;

/** "model-weights", "lora-adapter", ...; NULL for an unknown value. Static storage. */
PQE_API const char *pqe_kind_name(pqe_kind kind);

/** Finds a kind by its name. Returns false if there is none. */
PQE_API bool pqe_kind_from_name(const char *name, pqe_kind *out);

#define PQE_NAME_MAX 1024         /**< bytes of an artifact's name, at least 1 */
#define PQE_FIELD_MAX 1024        /**< bytes of version, app_bundle_id, model_did */
#define PQE_TAG_MAX 256           /**< bytes of one tag */
#define PQE_TAGS_MAX 64           /**< number of tags */
#define PQE_DESCRIPTION_MAX 16384 /**< bytes of a description */
#define PQE_ARTIFACT_ID_SIZE 56   /**< "urn:pqc-enclave-art:" + 32 hex digits + NUL, rounded up */

/**
 * Metadata of one artifact, as decrypted and authenticated. Made by the library; free with pqe_artifact_free()
 * unless it was handed to a callback. New fields are added at the end only.
 */
typedef struct pqe_artifact {
    char artifact_id[PQE_ARTIFACT_ID_SIZE]; /**< "urn:pqc-enclave-art:<32 hex>" */
    const char *name;
    pqe_kind kind;
    const char *version; /**< "" if not given; likewise below */
    const char *app_bundle_id;
    uint64_t size_bytes; /**< of the plaintext */
    char created_at[32]; /**< ISO 8601, UTC: "2026-01-31T23:59:59Z" */
    const char *device_id;
    const char *model_did;
    const char *const *tags; /**< tag_count strings */
    size_t tag_count;
    const char *description;
    char hash_algorithm[24]; /**< "sha3-256", "parallelhash256", or "deferred" (see pqe_bind_hash()) */
    char content_hash[65];   /**< of the plaintext, lower-case hex; "" while deferred */
    char key_id[33];         /**< hex: the session whose wrap key wraps the DEK */
    char suite[16];          /**< "ml-kem-768" */
    uint64_t stored_bytes;   /**< ciphertext bytes of the body */
    bool is_inline;          /**< body kept in the index, not in a file of its own */
} pqe_artifact;

/** Wipes and frees what pqe_info(), pqe_writer_finish(), pqe_put() or pqe_get() returned. */
PQE_API void pqe_artifact_free(pqe_artifact **artifact);

/*
 * Content hashes. The hash of an artifact's plaintext is part of its authenticated metadata; the algorithm is recorded
 * by name beside it.
 *
 *   sha3-256         FIPS 202. The default. Computed by one thread beside encryption, which it bounds.
 *   parallelhash256  SP 800-185: ParallelHash256 with B = 65,536 bytes, L = 256 bits, empty S. On all cores.
 *   deferred         No hash of the plaintext yet: the metadata bind a Merkle tree over the ciphertext (docs/format.md,
 *                    section 3.5), and a hash is bound by pqe_bind_hash() or pqe_verify().
 */

/** What to store beside the content. Strings are copied; NULL means "". */
typedef struct pqe_put_opts {
    size_t size;      /**< sizeof(pqe_put_opts) */
    const char *name; /**< 1 to PQE_NAME_MAX bytes; not of the form of an artifact_id; what has that name is replaced */
    pqe_kind kind;
    const char *version;
    const char *app_bundle_id;
    const char *model_did;
    const char *description;
    const char *const *tags;
    size_t tag_count;
    const char *hash; /**< "sha3-256", "parallelhash256" or "deferred"; NULL: the vault's default for the kind */
} pqe_put_opts;

/**
 * Encrypts `len` bytes and stores them under opts->name, durably when it returns PQE_OK. On any failure the previous
 * artifact of that name, if any, is untouched. Body: C2SP chunked encryption, AES-256-GCM. `out` may be NULL.
 * Errors: PQE_E_ARGUMENT, PQE_E_LIMIT, PQE_E_LOCKED, PQE_E_NO_SPACE, PQE_E_READ_ONLY, PQE_E_BUSY, PQE_E_TAMPERED, ...
 */
PQE_API pqe_status pqe_put(pqe_vault *vault, const pqe_put_opts *opts, const void *content, size_t len,
                           pqe_artifact **out, pqe_error *err);

/** A streaming put. One thread at a time. */
typedef struct pqe_writer pqe_writer;

/** Starts a put of unknown size. Nothing is visible before pqe_writer_finish(). */
PQE_API pqe_status pqe_writer_open(pqe_vault *vault, const pqe_put_opts *opts, pqe_writer **out, pqe_error *err);

/**
 * Appends plaintext. After a failure only pqe_writer_abort() is of use. 1 MiB or more in one call is encrypted on all
 * cores (pqe_set_threads()), straight from `data`, the content hash beside it; memory besides: about 0.3 MiB a
 * thread, 1.1 with a deferred hash.
 */
PQE_API pqe_status pqe_writer_write(pqe_writer *writer, const void *data, size_t len, pqe_error *err);

/** Called now and then with the number of bytes done so far, by the thread that made the call. Return false to stop. */
typedef bool (*pqe_progress_fn)(void *user, uint64_t bytes);

/**
 * Appends what the regular file `fd` holds from its file position to its end, on all cores, and leaves the position at
 * the end. `fn` may be NULL; it is told the bytes appended to the writer so far. Memory: about 0.6 MiB a thread, 1.3
 * with a deferred hash, and 8 MiB with sha3-256. A file that becomes shorter meanwhile is PQE_E_IO; one that is written
 * to meanwhile is stored as it was read, each byte once. Errors besides pqe_writer_write()'s: PQE_E_ARGUMENT (not a
 * regular file), PQE_E_IO, PQE_E_CANCELLED (`fn` returned false).
 */
PQE_API pqe_status pqe_writer_from_file(pqe_writer *writer, int fd, pqe_progress_fn fn, void *user, pqe_error *err);

/** The sole commit: durable when it returns PQE_OK. Frees the writer and sets *writer to NULL whatever it returns.
 *  `out` may be NULL. */
PQE_API pqe_status pqe_writer_finish(pqe_writer **writer, pqe_artifact **out, pqe_error *err);

/** Gives up: nothing is stored. */
PQE_API void pqe_writer_abort(pqe_writer **writer);

/**
 * A batch: many puts in one transaction, all of them stored or none. What is added is encrypted and kept aside:
 * in memory up to 4 MiB, beyond that in a nameless file in the vault's directory (always ciphertext), and bodies over
 * 64 KiB in files of their own. Contents below 16 KiB wait in locked memory, 64 of them or 48 KiB, and are then encrypted
 * together on all cores (pqe_set_threads(); with one thread none wait). Nobody else is kept waiting until pqe_batch_commit(), which takes the vault's write lock
 * and holds it until everything is in: about 20 us an artifact of 1 KiB. Memory does not grow with the batch, but for
 * 100 bytes an artifact over 64 KiB. One thread at a time.
 */
typedef struct pqe_batch pqe_batch;

/** Artifacts over 64 KiB in one batch: each keeps a file open until the commit. */
#define PQE_BATCH_LARGE_MAX 256

/** Starts a batch. The vault must be unlocked, and the batch ends with that session: when it is locked or expires,
 *  later calls return PQE_E_LOCKED and nothing is stored. */
PQE_API pqe_status pqe_batch_open(pqe_vault *vault, pqe_batch **out, pqe_error *err);

/** Adds an artifact; as pqe_put(), except that it is stored by the commit. Of several of one name in a batch the last
 *  wins. A put that fails adds nothing and the batch can go on, unless it failed with PQE_E_IO, PQE_E_NO_SPACE or
 *  PQE_E_NOMEM: then later calls may return PQE_E_STATE. What is wrong with options or content is said at once; but that an
 *  earlier small content could not be encrypted (PQE_E_LOCKED, PQE_E_NOMEM) may be said by a later call or by the commit,
 *  and then nothing is stored: the audit log names the artifact. PQE_E_LIMIT also for more than PQE_BATCH_LARGE_MAX large ones. */
PQE_API pqe_status pqe_batch_put(pqe_batch *batch, const pqe_put_opts *opts, const void *content, size_t len,
                                 pqe_error *err);

/** Adds what a writer of the same vault was given, in place of pqe_writer_finish(): for contents that do not fit in
 *  memory. Frees the writer and sets *writer to NULL whatever it returns. Errors as pqe_batch_put(). */
PQE_API pqe_status pqe_batch_add(pqe_batch *batch, pqe_writer **writer, pqe_error *err);

/**
 * The sole commit: stores everything, durable when it returns PQE_OK; on any error nothing of the batch is stored (after
 * PQE_E_IO from the commit itself: all or nothing, as after a power cut). An empty batch changes nothing. Frees the batch
 * and sets *batch to NULL whatever it returns. `stored` may be NULL; it is the number of puts. The audit log gets an entry
 * for each artifact in the same transaction, none for a put that a later one of the batch replaced at once.
 * Errors: PQE_E_BUSY also where the vault's keys were replaced (pqe_rotate()) since the batch was started.
 */
PQE_API pqe_status pqe_batch_commit(pqe_batch **batch, uint64_t *stored, pqe_error *err);

/** Gives up: nothing is stored. */
PQE_API void pqe_batch_abort(pqe_batch **batch);

/** A streaming, seekable get. */
typedef struct pqe_reader pqe_reader;

/**
 * Opens an artifact by name or by artifact_id; a name is looked for first. The reader stays on the version it opened
 * even if that is replaced or removed. The access policy (pqc_enclave/policy.h) is asked before the artifact's key is
 * unwrapped; one open is one use. Errors: PQE_E_NOT_FOUND, PQE_E_POLICY, PQE_E_TAMPERED, PQE_E_DECRYPTION,
 * PQE_E_LOCKED, ...
 */
PQE_API pqe_status pqe_reader_open(pqe_vault *vault, const char *name_or_id, pqe_reader **out, pqe_error *err);

/** The artifact's metadata; valid until the reader is closed. */
PQE_API const pqe_artifact *pqe_reader_artifact(const pqe_reader *reader);

/**
 * Reads up to `capacity` bytes from the reader's position; *len is 0 only at the verified end. No byte is released
 * before its chunk is authenticated; the end is reported only after the final chunk is. One thread at a time.
 */
PQE_API pqe_status pqe_reader_read(pqe_reader *reader, void *buf, size_t capacity, size_t *len, pqe_error *err);

/**
 * Reads up to `capacity` bytes at `offset` without moving the position; *len is less than capacity only where the
 * artifact ends, and 0 at or past its end. May be called from many threads. Reads of 1 MiB or more are decrypted on
 * all cores (pqe_set_threads()), straight into `buf`; memory besides: about 0.3 MiB a thread.
 */
PQE_API pqe_status pqe_reader_read_at(pqe_reader *reader, uint64_t offset, void *buf, size_t capacity, size_t *len,
                                      pqe_error *err);

/**
 * Reads up to `capacity` bytes of *ciphertext* at `offset`: the body as it is stored, with salt and commitment before
 * the chunks (docs/format.md, section 2). stored_bytes of the artifact is its length; *len as in pqe_reader_read_at().
 * Nothing is decrypted or verified; it works after lock too, as long as the vault is not closed. For backups and for
 * comparing copies. May be called from many threads.
 */
PQE_API pqe_status pqe_reader_read_stored_at(pqe_reader *reader, uint64_t offset, void *buf, size_t capacity,
                                             size_t *len, pqe_error *err);

/**
 * Decrypts everything from the reader's position to the artifact's end into `fd`, a regular file or memfd open for
 * writing, not in append mode. Writes on all cores, starting at the descriptor's file position, and leaves both
 * positions behind what was written. Every byte is authenticated before it is written. After a failure the file holds
 * parts of the content, in no order, and is to be discarded. `fn` may be NULL. Memory: about 0.5 MiB a thread.
 * One thread at a time. Errors: PQE_E_ARGUMENT (not such a file), PQE_E_NO_SPACE, PQE_E_IO, PQE_E_DECRYPTION,
 * PQE_E_LOCKED, PQE_E_CANCELLED (`fn` returned false).
 */
PQE_API pqe_status pqe_reader_to_file(pqe_reader *reader, int fd, pqe_progress_fn fn, void *user, pqe_error *err);

/** Closes and wipes. */
PQE_API void pqe_reader_close(pqe_reader **reader);

/**
 * Decrypts a whole artifact into memory of its own: page-aligned (from 4 MiB on: aligned to 2 MiB and in huge pages
 * where the system gives them), not included in core dumps. Free with pqe_content_free(), which wipes it. `out_artifact` may be NULL. A 0-byte artifact gives a non-NULL pointer.
 */
PQE_API pqe_status pqe_get(pqe_vault *vault, const char *name_or_id, void **content, size_t *len,
                           pqe_artifact **out_artifact, pqe_error *err);

/** Wipes and frees what pqe_get() returned. `len` as returned there. */
PQE_API void pqe_content_free(void **content, size_t len);

/** What pqe_get_many() has for one of the names. Everything is valid during the call only, and wiped after it. */
typedef struct pqe_got {
    size_t index;                 /**< of the name, from 0 */
    pqe_status status;            /**< PQE_OK, or why this one cannot be had: as pqe_get() */
    const pqe_artifact *artifact; /**< NULL unless status is PQE_OK, as is `content` */
    const void *content;          /**< not NULL for 0 bytes either; no alignment */
    size_t len;
    const pqe_error *error; /**< NULL if status is PQE_OK */
} pqe_got;

/** Called in the order of the names, by the thread that called pqe_get_many(). May call into the vault, except to close
 *  it. Return false to stop. */
typedef bool (*pqe_got_fn)(void *user, const pqe_got *got);

/**
 * Gets many artifacts by name or artifact_id: as pqe_get() of each, with the same checks, uses and log entries, but faster
 * where they are small (64 KiB and less): some 128 names are looked up in one transaction and decrypted on all cores
 * (pqe_set_threads()). So of changes made meanwhile, also by `fn`, a name may not see the latest. Memory: up to 1.5 MiB,
 * and besides what pqe_get() takes for a larger artifact. A name that cannot be had does not keep the others from being
 * handed out; returns PQE_OK if all were, else the first one's error. PQE_E_LOCKED ends it at once, also where the session
 * ends meanwhile: names that follow are not reported. Errors: PQE_E_CANCELLED (`fn` returned false), those of pqe_get().
 */
PQE_API pqe_status pqe_get_many(pqe_vault *vault, const char *const *names, size_t count, pqe_got_fn fn, void *user,
                                pqe_error *err);

/** Metadata of one artifact, by name or artifact_id. Free with pqe_artifact_free(). The access policy guards contents,
 *  not metadata: it is not asked. */
PQE_API pqe_status pqe_info(pqe_vault *vault, const char *name_or_id, pqe_artifact **out, pqe_error *err);

/**
 * Binds a content hash to an artifact that was stored as "deferred": checks the ciphertext against its commitment,
 * reads and hashes the content, and re-wraps the DEK over the new metadata in one transaction (the artifact_id stays).
 * `hash` is "sha3-256" (also NULL) or "parallelhash256". An artifact that has a hash keeps it, whatever `hash` says.
 * `out`, the metadata then, may be NULL. Errors: PQE_E_NOT_FOUND, PQE_E_TAMPERED (the commitment does not fit),
 * PQE_E_DECRYPTION, PQE_E_READ_ONLY, PQE_E_BUSY, ...
 */
PQE_API pqe_status pqe_bind_hash(pqe_vault *vault, const char *name_or_id, const char *hash, pqe_artifact **out,
                                 pqe_error *err);

/** The name of the content hash that artifacts of a kind get where pqe_put_opts names none. Static storage. */
PQE_API pqe_status pqe_hash_default(pqe_vault *vault, pqe_kind kind, const char **hash, pqe_error *err);

/** Sets it for what is put from now on, durably; NULL: "sha3-256". */
PQE_API pqe_status pqe_set_hash_default(pqe_vault *vault, pqe_kind kind, const char *hash, pqe_error *err);

/** Content hashes of plain data, as the vault computes them. */
typedef struct pqe_hasher pqe_hasher;

/** `algorithm`: "sha3-256" (also NULL) or "parallelhash256". */
PQE_API pqe_status pqe_hasher_open(const char *algorithm, pqe_hasher **out, pqe_error *err);
/** Appends data; one thread at a time. parallelhash256 works on all cores where 1 MiB or more are given. */
PQE_API pqe_status pqe_hasher_update(pqe_hasher *hasher, const void *data, size_t len, pqe_error *err);
/** Writes the hash as lower-case hex with a NUL. Frees the hasher and sets *hasher to NULL whatever it returns. */
#define PQE_HASH_HEX_SIZE 65
PQE_API pqe_status pqe_hasher_finish(pqe_hasher **hasher, char out[PQE_HASH_HEX_SIZE], pqe_error *err);
/** Gives up. */
PQE_API void pqe_hasher_close(pqe_hasher **hasher);

/** Removes an artifact by name or artifact_id: drops its wrapped DEK, then the body. Durable when it returns PQE_OK.
 *  One whose row in the index was damaged is removed too (and replaced by a put), so that a vault can be mended.
 *  Copies elsewhere and old flash pages are out of reach (docs/threat-model.md). */
PQE_API pqe_status pqe_delete(pqe_vault *vault, const char *name_or_id, pqe_error *err);

/** Called once an artifact, in no particular order; `artifact` is valid during the call. Return false to stop. */
typedef bool (*pqe_list_fn)(void *user, const pqe_artifact *artifact);

/**
 * Lists all artifacts of one consistent state, each once; the listing's completeness is verified against the head.
 * Memory does not grow with the number of artifacts. The callback must not call into the same vault.
 * Artifacts whose rows are damaged are left out; the rest is reported, then PQE_E_TAMPERED returned.
 * Errors: PQE_E_TAMPERED (then some may have been reported already), PQE_E_CANCELLED, PQE_E_LOCKED.
 */
PQE_API pqe_status pqe_list(pqe_vault *vault, pqe_list_fn fn, void *user, pqe_error *err);

/* ------------------------------------------------------------------------------------------------------ maintenance */

/** One finding or one checked artifact of pqe_verify(). Strings are valid during the call. */
typedef struct pqe_finding {
    pqe_status status;            /**< PQE_OK: this artifact is sound */
    const pqe_artifact *artifact; /**< NULL if the damage hides which one, or is not of an artifact */
    const char *message;          /**< what is wrong, one sentence; "" if sound */
    uint64_t bytes;               /**< plaintext bytes checked */
} pqe_finding;

/** Return false to stop. */
typedef bool (*pqe_verify_fn)(void *user, const pqe_finding *finding);

typedef struct pqe_verify_summary {
    uint64_t artifacts; /**< checked */
    uint64_t damaged;   /**< findings with a status other than PQE_OK */
    uint64_t bytes;     /**< plaintext bytes authenticated and hashed */
    uint64_t orphans;   /**< body files that no artifact refers to (left by a crash; not damage) */
} pqe_verify_summary;

/**
 * Checks one artifact (name or id) or, with NULL, the whole vault: head, every index entry, every chunk of every body,
 * every content hash recomputed, with NULL also the policy, the use counts and the audit chain. Goes on after damage and
 * reports each; what is not damage but keeps it from looking (no memory, a busy vault, a file that may not be opened)
 * ends it. A sound artifact whose content hash is deferred has its commitment checked and, where the vault can be
 * written, gets its sha3-256 bound; the finding shows it. Returns PQE_OK if all is sound, otherwise the first finding's
 * status. No content leaves, so the access policy is not asked and nothing counts as a use. `fn` and `summary` may be
 * NULL.
 */
PQE_API pqe_status pqe_verify(pqe_vault *vault, const char *name_or_id, pqe_verify_fn fn, void *user,
                              pqe_verify_summary *summary, pqe_error *err);

typedef struct pqe_rotate_opts {
    size_t size; /**< sizeof(pqe_rotate_opts) */
    bool rekey;  /**< also replace root and session secrets and re-wrap every DEK */
    pqe_backend
        *backend; /**< move the vault to this backend, which may be the present one opened with other settings, or
                             the same handle; not owned; NULL: the vault stays where it is */
    bool
        discard_old; /**< with `backend`: have the old backend remove its key, as far as it can, once the vault has moved:
                         a key file, a token's key. Copies of the vault from before open with an old passphrase or TPM */
} pqe_rotate_opts;

/**
 * Makes new device keys and re-seals the root and session secrets to them, in one transaction; with `rekey` replaces
 * the secrets too. Bodies are never rewritten. Other processes' sessions carry on (they reload the keys through their
 * backend). `opts` may be NULL. Packages sealed to the old grant key can no longer be opened.
 *
 * With `backend` the vault moves: the new backend makes a key for it and seals the new device keys, in the same
 * transaction. The running session goes on with the new backend, which must outlive the vault handle; the old one is not
 * used any more. Sessions of other processes end with PQE_E_LOCKED. A crash leaves the vault on the old backend or on the
 * new one; on failure the new backend's key is taken back.
 * Errors then also: PQE_E_EXISTS if the new backend's place is taken (a key file that is there already), PQE_E_STATE if
 * an identity's key is the old backend's own and cannot move (remove it first), and those of the backend.
 */
PQE_API pqe_status pqe_rotate(pqe_vault *vault, const pqe_rotate_opts *opts, pqe_error *err);

/**
 * Asks the backend's passphrase callback for a new passphrase (PQE_PASSPHRASE_NEW) and re-wraps the vault's key with it.
 * The vault must be unlocked; should the session end meanwhile, its keys are wiped at once, but for the backend's own,
 * which goes when the callback returns, and the call fails with PQE_E_LOCKED.
 * Errors: PQE_E_UNAVAILABLE if the vault is not opened by a passphrase, PQE_E_LOCKED, PQE_E_BUSY.
 */
PQE_API pqe_status pqe_vault_change_passphrase(pqe_vault *vault, pqe_error *err);

/**
 * The device's public grant key as SubjectPublicKeyInfo PEM (RFC 9935), NUL-terminated; what packages are sealed to.
 * Writes at most `capacity` bytes; *len is the length without NUL. PQE_GRANT_PEM_MAX bytes suffice.
 */
#define PQE_GRANT_PEM_MAX 4096
PQE_API pqe_status pqe_grant_public_key(pqe_vault *vault, char *buf, size_t capacity, size_t *len, pqe_error *err);

#ifdef __cplusplus
}
#endif

#endif
