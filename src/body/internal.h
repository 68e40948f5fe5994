/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the writer and the reader of bodies share, and their insides for the tests.
 *
 * Both work in batches of consecutive chunks: a batch is what one call of the sink or the source carries and what is
 * sealed or opened in one go. Chunks of a batch depend on nothing but the keys and their own number.
 */
#ifndef PQE_BODY_INTERNAL_H
#define PQE_BODY_INTERNAL_H

#include <pthread.h>
#include <sys/types.h>

#include "body/body.h"

/** Most chunks of a batch: 256 KiB of plaintext, so that it stays in the cache of one core, stored bytes and all. */
#define PQE__BODY_BATCH 16u
/** Idle contexts kept by a writer, or lanes by a reader. */
#define PQE__BODY_IDLE 16u
/** Largest plaintext: the last chunk, number 2^38 - 1, is never full. */
#define PQE__BODY_MAX_PLAIN (PQE__BODY_MAX_CHUNKS * PQE__BODY_CHUNK - 1)
/** Longest context accepted; ours has 36 bytes, those of published vectors fewer. */
#define PQE__BODY_CONTEXT_MAX 64u

/** The output of HKDF-Expand in its order; lives in locked memory. */
typedef struct pqe__body_keys {
    uint8_t key[PQE__KEY_SIZE];
    uint8_t base_nonce[PQE__NONCE_SIZE];
    uint8_t commitment[PQE__BODY_COMMITMENT_SIZE];
} pqe__body_keys;

/** Derives the keys of one body. PQE_E_ARGUMENT if the context is longer than PQE__BODY_CONTEXT_MAX. */
pqe_status pqe__body_derive(const uint8_t dek[32], const uint8_t salt[PQE__BODY_SALT_SIZE], const uint8_t *context,
                            size_t context_len, pqe__body_keys *out, pqe_error *err);
/** Writes our context for a crypto id; returns its length. */
size_t pqe__body_context(const uint8_t body_id[PQE__BODY_ID_SIZE], uint8_t out[PQE__BODY_CONTEXT_MAX]);
/** The nonce of one chunk: base nonce XOR chunk number. */
void pqe__body_nonce(const uint8_t base_nonce[PQE__NONCE_SIZE], uint64_t chunk, uint8_t out[PQE__NONCE_SIZE]);

/** As pqe__body_writer_new(), with any context: published vectors have their own. */
pqe_status pqe__body_writer_start(const uint8_t dek[32], const uint8_t *context, size_t context_len,
                                  const uint8_t *salt, pqe__body_sink sink, void *user, pqe__body_writer **out,
                                  pqe_error *err);
/** As pqe__body_reader_new(), with any context. */
pqe_status pqe__body_reader_open(const uint8_t dek[32], const uint8_t *context, size_t context_len, uint64_t stored,
                                 uint64_t plain, pqe__body_source source, void *user, pqe__body_reader **out,
                                 pqe_error *err);

struct pqe__body_writer {
    pqe__body_sink sink;
    void *user;
    pid_t owner;
    pqe__body_keys *keys; /* locked memory */
    pqe__aead *aead;
    pthread_mutex_t lock; /* of the contexts of threads that seal reserved chunks */
    pqe__aead *idle[PQE__BODY_IDLE];
    size_t idle_count;
    uint64_t next;  /* number of the next chunk */
    uint8_t *stage; /* locked memory, one chunk; NULL until a write leaves part of a chunk over */
    size_t staged;
    uint8_t *out; /* stored bytes that wait for the sink */
    size_t used, capacity;
    bool finished;
    pqe_status failed; /* the first error; nothing is written after it */
};

/** What one reading thread needs; handed from thread to thread, never shared. */
typedef struct pqe__body_lane {
    struct pqe__body_lane *next;
    pqe__aead *aead;
    uint8_t *stored; /* stored bytes [stored_at, stored_at + stored_len) of the body, unverified */
    size_t capacity, stored_len;
    uint64_t stored_at;
    uint8_t *plain; /* locked memory: one decrypted chunk; NULL until part of a chunk is wanted */
    uint64_t plain_chunk;
} pqe__body_lane;

struct pqe__body_reader {
    pqe__body_source source;
    void *user;
    pid_t owner;
    uint64_t stored, plain; /* sizes */
    pqe__body_keys *keys;   /* locked memory */
    pthread_mutex_t lock;   /* of the two below, never held while reading or decrypting */
    pqe__body_lane *idle;
    size_t idle_count;
};

#endif
