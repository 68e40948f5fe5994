/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vault's own encodings: head, record, and the labelled inputs of key derivation. Pure codecs: no I/O, no keys.
 * Every byte is described in docs/format.md. All integers are big-endian.
 */
#ifndef PQE_FORMAT_FORMAT_H
#define PQE_FORMAT_FORMAT_H

#include <pqc_enclave/identity.h>
#include <pqc_enclave/recovery.h>

#include "util/cursor.h"
#include "util/error.h"

#define PQE__FORMAT_VERSION 1u
#define PQE__ID_SIZE 16u     /* vault id, artifact id, key id, body id, body file name */
#define PQE__DIGEST_SIZE 32u /* SHA-256 */

/* ---- suite ---- */

#define PQE__SUITE_SIZE 6u
/** KEM, KDF and AEAD identifiers of the HPKE registry (RFC 9180, section 7). */
typedef struct pqe__suite {
    uint16_t kem, kdf, aead;
} pqe__suite;
extern const pqe__suite pqe__suite_ml_kem_768;
bool pqe__suite_equal(pqe__suite a, pqe__suite b);
/** "ml-kem-768"; NULL for a suite that this version does not know, and so refuses. */
const char *pqe__suite_name(pqe__suite suite);
void pqe__put_suite(pqe__wcur *c, pqe__suite suite);
pqe__suite pqe__get_suite(pqe__rcur *c);

/* ---- head ---- */

#define PQE__HEAD_PUBLIC_SIZE 132u /* 8 + 2 + 16 + 8 + 4 + 6 + 32 + 8 + 32 + 16 */
#define PQE__HEAD_DEVICE_ID_MAX 1024u
#define PQE__HEAD_PRIVATE_MAX 8192u
#define PQE__HEAD_MAX (PQE__HEAD_PUBLIC_SIZE + 4u + PQE__HEAD_PRIVATE_MAX)

/** The part of the head that anyone may read; authenticated as a whole by the origin tag. */
typedef struct pqe__head {
    uint8_t vault_id[PQE__ID_SIZE];
    uint64_t generation;
    uint32_t key_epoch;
    pqe__suite suite;
    uint8_t index_root[PQE__DIGEST_SIZE];
    uint64_t artifact_count;
    uint8_t device_digest[PQE__DIGEST_SIZE];
    uint8_t root_key_id[PQE__ID_SIZE];
} pqe__head;

void pqe__head_encode_public(const pqe__head *head, uint8_t out[PQE__HEAD_PUBLIC_SIZE]);
/** `sealed` points into `bytes`. PQE_E_VERSION for another format version or an unknown suite. */
pqe_status pqe__head_decode(const uint8_t *bytes, size_t len, pqe__head *out, const uint8_t **sealed,
                            size_t *sealed_len, pqe_error *err);

/** Where the audit chain stood when the head was written. */
typedef struct pqe__audit_head {
    uint32_t chain;                 /* counts from 1; 0: the head says nothing of it */
    uint64_t seq;                   /* of the last entry; 0 before the first */
    uint8_t link[PQE__DIGEST_SIZE]; /* the chain's digest there */
    uint8_t uses[PQE__DIGEST_SIZE]; /* SHA-256 of the stored use counts, zeros if there are none */
} pqe__audit_head;

/** The part of the head that is sealed under the head key: tagged fields in ascending order, unknown ones refused. */
typedef struct pqe__head_private {
    char device_id[PQE__HEAD_DEVICE_ID_MAX + 1];
    bool has_policy;
    uint8_t policy[PQE__DIGEST_SIZE]; /* SHA-256 of the policy as it is stored */
    bool has_recovery;
    uint8_t recovery[PQE__DIGEST_SIZE]; /* SHA-256 of the list of recovery keys as it is stored */
    pqe__audit_head audit;
    uint8_t hash_default[PQE_KIND_OTHER + 1]; /* by kind: a pqe__hash_algorithm, or 0 for SHA3-256 */
    bool has_counter;
    uint64_t counter; /* value of the device's counter once this head is acknowledged */
} pqe__head_private;

pqe_status pqe__head_encode_private(const pqe__head_private *priv, pqe__wcur *out, pqe_error *err);
pqe_status pqe__head_decode_private(const uint8_t *bytes, size_t len, pqe__head_private *out, pqe_error *err);

/* ---- what stands beside a device's counter ---- */

#define PQE__NOTE_DIGEST_SIZE 28u
#define PQE__COUNTER_NOTE_SIZE (8u + 2u * PQE__NOTE_DIGEST_SIZE)
/** Which heads the counter's values stand for, by the first bytes of their SHA-256; zeros: not known. */
typedef struct pqe__counter_note {
    uint64_t value;
    uint8_t before[PQE__NOTE_DIGEST_SIZE]; /* of the head of value - 1 */
    uint8_t now[PQE__NOTE_DIGEST_SIZE];    /* of the head of `value` */
} pqe__counter_note;

void pqe__counter_note_encode(const pqe__counter_note *note, uint8_t out[PQE__COUNTER_NOTE_SIZE]);
/** False if it is no such note. */
bool pqe__counter_note_decode(const uint8_t *bytes, size_t len, pqe__counter_note *out);

/* ---- record ---- */

#define PQE__RECORD_MAX 65536u
/** What the record's 32 bytes of content hash are. */
typedef enum pqe__hash_algorithm {
    PQE__RECORD_HASH_SHA3_256 = 1,        /* FIPS 202 */
    PQE__RECORD_HASH_PARALLELHASH256 = 2, /* SP 800-185, blocks of 64 KiB, 256 bits, no customization */
    PQE__RECORD_HASH_DEFERRED = 3         /* the ciphertext commitment, until a hash is bound */
} pqe__hash_algorithm;
/** "sha3-256" and so on; NULL for one that this version does not know, and so refuses. */
const char *pqe__hash_name(unsigned algorithm);
/** False if there is none of that name. */
bool pqe__hash_from_name(const char *name, pqe__hash_algorithm *out);

typedef struct pqe__text {
    const char *data;
    size_t len;
} pqe__text;

/** One artifact's authenticated metadata. Texts point into the decoded buffer or the caller's strings. */
typedef struct pqe__record {
    pqe__suite suite;
    uint8_t artifact_id[PQE__ID_SIZE], key_id[PQE__ID_SIZE], body_id[PQE__ID_SIZE];
    uint64_t size_bytes, stored_bytes;
    uint8_t hash_algorithm;
    uint8_t content_hash[32];
    pqe_kind kind;
    uint64_t created_at; /* seconds since 1970, UTC */
    pqe__text name, version, app_bundle_id, device_id, model_did, description;
    size_t tag_count;
    pqe__text tags[PQE_TAGS_MAX];
} pqe__record;

/** Checks every limit of the public header. PQE_E_ARGUMENT or PQE_E_LIMIT. */
pqe_status pqe__record_check(const pqe__record *record, pqe_error *err);
/** Appends; the caller checks `out->ok`. */
void pqe__record_encode(const pqe__record *record, pqe__wcur *out);
/** Refuses anything that pqe__record_encode() would not have written. */
pqe_status pqe__record_decode(const uint8_t *bytes, size_t len, pqe__record *out, pqe_error *err);

/* ---- identity ---- */

#define PQE__IDENTITY_MAX 32768u

/** How an identity's private key is kept. */
typedef enum {
    PQE__IDENTITY_SEED = 1,     /* sealed: its seed */
    PQE__IDENTITY_EXPANDED = 2, /* sealed: a key; extra: box of the expanded private key under that */
    PQE__IDENTITY_NATIVE = 3    /* sealed: the backend's handle for a key of its own */
} pqe__identity_form;

/** One identity's authenticated record. Pointers lead into the decoded buffer or to the caller's bytes. */
typedef struct pqe__identity {
    pqe_sig_algorithm algorithm;
    pqe__identity_form form;
    uint64_t created_at; /* seconds since 1970, UTC */
    pqe__text name;
    const uint8_t *public_key, *sealed, *extra;
    size_t public_key_len, sealed_len, extra_len;
    const uint8_t *copies; /* what is sealed, for each recovery key: its id, then the secret HPKE-sealed to it */
    size_t copies_len;
} pqe__identity;

#define PQE__IDENTITY_COPY_SIZE (PQE__ID_SIZE + 1136u) /* 1088 + 32 + 16 */
#define PQE__IDENTITY_COPIES_MAX (PQE_RECOVERY_KEYS_MAX * PQE__IDENTITY_COPY_SIZE)

/** Appends; the caller checks `out->ok`. */
void pqe__identity_encode(const pqe__identity *identity, pqe__wcur *out);
/** Refuses anything that pqe__identity_encode() would not have written. */
pqe_status pqe__identity_decode(const uint8_t *bytes, size_t len, pqe__identity *out, pqe_error *err);

/* ---- recovery keys ---- */

#define PQE__RECOVERY_EK_SIZE 1184u /* ML-KEM-768 */

/** What the vault knows of one recovery key. */
typedef struct pqe__recovery_entry {
    uint8_t slot; /* of its device item */
    uint8_t key_id[PQE__ID_SIZE];
    pqe__suite suite;
    uint64_t created_at;   /* seconds since 1970, UTC */
    uint8_t authority[32]; /* secret: shows the recovery key that what is sealed to it comes from the vault */
    char name[PQE_RECOVERY_NAME_MAX + 1];
    uint8_t ek[PQE__RECOVERY_EK_SIZE];
} pqe__recovery_entry;

typedef struct pqe__recovery_list {
    size_t count;
    pqe__recovery_entry keys[PQE_RECOVERY_KEYS_MAX]; /* slots ascend */
} pqe__recovery_list;

#define PQE__RECOVERY_LIST_MAX (3u + PQE_RECOVERY_KEYS_MAX * (65u + PQE_RECOVERY_NAME_MAX + PQE__RECOVERY_EK_SIZE))
void pqe__recovery_list_encode(const pqe__recovery_list *list, pqe__wcur *out);
/** Refuses anything that pqe__recovery_list_encode() would not have written. */
pqe_status pqe__recovery_list_decode(const uint8_t *bytes, size_t len, pqe__recovery_list *out, pqe_error *err);

/* ---- labelled inputs ---- */

typedef enum { PQE__KEY_VAULT = 1, PQE__KEY_GRANT = 2, PQE__KEY_ORIGIN = 3 } pqe__key_purpose;
typedef enum {
    PQE__SECRET_ROOT = 1,
    PQE__SECRET_SESSION = 2,
    PQE__SECRET_RECOVERY = 3, /* the vault key, sealed to a recovery key */
    PQE__SECRET_IDENTITY = 4, /* an identity's secret, sealed to a recovery key */
    PQE__SECRET_RECIPIENT = 5 /* the recovery recipient, sealed to a recovery key */
} pqe__secret_purpose;

#define PQE__LABEL_MAX 96u
/** AAD under which the backend seals a device key. */
size_t pqe__aad_device_key(uint8_t out[PQE__LABEL_MAX], const uint8_t vault_id[PQE__ID_SIZE], pqe__key_purpose purpose,
                           pqe__suite suite, uint32_t key_epoch);
/** AAD under which the backend seals an identity's secret. `did_hash` is the hash in its DID. */
size_t pqe__aad_identity(uint8_t out[PQE__LABEL_MAX], const uint8_t vault_id[PQE__ID_SIZE],
                         const uint8_t did_hash[PQE__DIGEST_SIZE], pqe__identity_form form, uint32_t key_epoch);
/** HPKE info under which root and session secrets are sealed. */
size_t pqe__info_secret(uint8_t out[PQE__LABEL_MAX], const uint8_t vault_id[PQE__ID_SIZE], pqe__suite suite,
                        pqe__secret_purpose purpose, const uint8_t key_id[PQE__ID_SIZE]);
/** A label, a zero byte, the vault id and, if not NULL, another id: info of HKDF-Expand and AAD of boxes. */
size_t pqe__labelled(uint8_t out[PQE__LABEL_MAX], const char *label, const uint8_t vault_id[PQE__ID_SIZE],
                     const uint8_t *id);

#endif
