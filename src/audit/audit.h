/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit log's encodings: entries, the chain's digests, the tail that says where the chain ends, checkpoints. No
 * keys, no files; the vault seals and stores. Bytes: docs/format.md.
 */
#ifndef PQE_AUDIT_AUDIT_H
#define PQE_AUDIT_AUDIT_H

#include <pqc_enclave/audit.h>

#include "format/format.h"

/* ---- entries ---- */

#define PQE__AUDIT_SALT_SIZE 16u
#define PQE__AUDIT_BODY_MAX 6144u /* more than the longest entry */

/** One entry without its place in the chain. Texts point elsewhere. */
typedef struct pqe__event {
    pqe_audit_op op;
    bool success, by_application;
    pqe_kind kind; /* 0: none */
    uint64_t time; /* seconds since 1970, UTC */
    /* Random: the chain's digests are shown to others, who must not be able to guess entries by them. */
    uint8_t salt[PQE__AUDIT_SALT_SIZE];
    pqe__text device_id; /* empty: the vault's own */
    pqe__text artifact_id, name, details, caller;
} pqe__event;

/** Texts longer than PQE_AUDIT_TEXT_MAX are cut. Returns the length. */
size_t pqe__event_encode(const pqe__event *event, uint8_t out[PQE__AUDIT_BODY_MAX]);
/** Texts point into `bytes`. */
pqe_status pqe__event_decode(const uint8_t *bytes, size_t len, pqe__event *out, pqe_error *err);

/* ---- the chain ---- */

/** Digest from which a chain starts: it names the end of the one before. */
pqe_status pqe__chain_start(const uint8_t vault_id[PQE__ID_SIZE], uint32_t chain, uint64_t before_seq,
                            const uint8_t before_link[PQE__DIGEST_SIZE], uint8_t out[PQE__DIGEST_SIZE], pqe_error *err);
/** Replaces `link`, the digest before entry `seq`, by the digest after it. */
pqe_status pqe__chain_extend(uint64_t seq, const uint8_t *body, size_t len, uint8_t link[PQE__DIGEST_SIZE],
                             pqe_error *err);

/** Where the chain begins and ends. One is sealed beside the entries. */
typedef struct pqe__tail {
    uint32_t chain;                        /* counts from 1 */
    uint64_t before_seq;                   /* last entry of the chain before this one */
    uint8_t before_link[PQE__DIGEST_SIZE]; /* its digest; zeros for the first chain */
    uint64_t base_seq;                     /* the entry before the oldest that is kept */
    uint8_t base_link[PQE__DIGEST_SIZE];
    uint64_t seq; /* the last entry; == base_seq if there is none */
    uint8_t link[PQE__DIGEST_SIZE];
    uint64_t bytes;                  /* of the sealed entries that are kept */
    uint8_t uses[PQE__DIGEST_SIZE];  /* SHA-256 of the stored use counts; zeros if there are none */
    uint8_t spool[PQE__ID_SIZE];     /* name of the spool that is taken in next */
    uint8_t old_spool[PQE__ID_SIZE]; /* the one before, in case it could not be removed */
} pqe__tail;

#define PQE__TAIL_SIZE (2u + 4u + 8u + 32u + 8u + 32u + 8u + 32u + 8u + 32u + 2u * PQE__ID_SIZE)
void pqe__tail_encode(const pqe__tail *tail, uint8_t out[PQE__TAIL_SIZE]);
pqe_status pqe__tail_decode(const uint8_t *bytes, size_t len, pqe__tail *out, pqe_error *err);

/* ---- checkpoints ---- */

typedef struct pqe__checkpoint {
    uint8_t vault_id[PQE__ID_SIZE];
    uint32_t chain;
    uint64_t seq;
    uint8_t link[PQE__DIGEST_SIZE];
    uint64_t time;
} pqe__checkpoint;

#define PQE__CHECKPOINT_TEXT 320u
/** The canonical bytes, which a signature covers: lines of text, each with its newline. Returns their length. */
size_t pqe__checkpoint_encode(const pqe__checkpoint *checkpoint, char out[PQE__CHECKPOINT_TEXT]);
/** Parses them from the start of `text`, strictly; *used says where they end. */
pqe_status pqe__checkpoint_decode(const char *text, size_t len, pqe__checkpoint *out, size_t *used, pqe_error *err);

#endif
