/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies: C2SP chunked encryption (c2sp.org/chunked-encryption), Cobblestone-256, exactly as published.
 *
 * body = salt (24) || commitment (32) || chunks; 16 KiB of plaintext a chunk, AES-256-GCM, nonce = base nonce XOR
 * chunk number; the last chunk is always shorter than 16 KiB and may be empty.
 * key || base nonce || commitment = HKDF-Expand-SHA-512(DEK, label || salt || context), and
 * context = "pqc-enclave body v1" || 0x00 || crypto id of the body (16 bytes).
 * Where the bytes go and come from is the caller's: a sink and a source.
 */
#ifndef PQE_BODY_BODY_H
#define PQE_BODY_BODY_H

#include "crypto/crypto.h"

#define PQE__BODY_CHUNK 16384u
#define PQE__BODY_CHUNK_STORED (PQE__BODY_CHUNK + PQE__TAG_SIZE)
#define PQE__BODY_SALT_SIZE 24u
#define PQE__BODY_COMMITMENT_SIZE 32u
#define PQE__BODY_HEADER (PQE__BODY_SALT_SIZE + PQE__BODY_COMMITMENT_SIZE)
#define PQE__BODY_ID_SIZE 16u
#define PQE__BODY_MAX_CHUNKS ((uint64_t)1 << 38)

/** Stored size of a body of `plain` bytes; false if over the format's limit (4 PiB - 1). */
bool pqe__body_stored_size(uint64_t plain, uint64_t *stored);
/** The inverse; false if no body has that size (which means truncated or extended). */
bool pqe__body_plain_size(uint64_t stored, uint64_t *plain);

/** Takes the next bytes of the stored body, in order. */
typedef pqe_status (*pqe__body_sink)(void *user, const uint8_t *data, size_t len, pqe_error *err);

/** A streaming writer; one thread at a time. Memory: a fixed number of chunks. */
typedef struct pqe__body_writer pqe__body_writer;
/** `dek` 32 bytes, random and used for this body alone; `body_id` is the crypto id. `salt` is NULL (random) except in
 *  tests that make vectors. */
pqe_status pqe__body_writer_new(const uint8_t dek[32], const uint8_t body_id[PQE__BODY_ID_SIZE], const uint8_t *salt,
                                pqe__body_sink sink, void *user, pqe__body_writer **out, pqe_error *err);
pqe_status pqe__body_writer_write(pqe__body_writer *w, const void *data, size_t len, pqe_error *err);
/** Chunks sealed so far; false if a part of the next one is waiting, so that whole chunks cannot follow. */
bool pqe__body_writer_position(const pqe__body_writer *w, uint64_t *chunks);
/** Flushes the sink's share and gives the next `count` chunks to the caller, who seals every one of them with
 *  pqe__body_writer_seal() and stores it in its place himself. PQE_E_STATE within a chunk. */
pqe_status pqe__body_writer_reserve(pqe__body_writer *w, uint64_t count, uint64_t *first, pqe_error *err);
/** Seals `count` whole chunks that were reserved, each once, into `out` (PQE__BODY_CHUNK_STORED bytes each). Several
 *  threads at once, but not beside the other calls. */
pqe_status pqe__body_writer_seal(pqe__body_writer *w, uint64_t first, size_t count, const uint8_t *in, uint8_t *out,
                                 pqe_error *err);
/** Ends with `len` more bytes, less than a chunk, which are sealed where they are. Else as pqe__body_writer_finish(). */
pqe_status pqe__body_writer_finish_with(pqe__body_writer *w, const void *last, size_t len, pqe_error *err);
/** Writes the final chunk and flushes the sink's share; only pqe__body_writer_free() may follow. */
pqe_status pqe__body_writer_finish(pqe__body_writer *w, pqe_error *err);
/** Wipes. */
void pqe__body_writer_free(pqe__body_writer **w);

/** Fills `buf` with `len` stored bytes from `offset`; fewer available is an error (PQE_E_DECRYPTION: truncated).
 *  Called from several threads at once. */
typedef pqe_status (*pqe__body_source)(void *user, uint64_t offset, uint8_t *buf, size_t len, pqe_error *err);

/** A random-access reader. */
typedef struct pqe__body_reader pqe__body_reader;
/**
 * `stored` is the body's whole stored size, `plain` the size the (authenticated) record gives. Checks that they fit,
 * reads the header and verifies the commitment before anything else; then verifies the final chunk, so that
 * truncation is known at once. PQE_E_DECRYPTION on any mismatch.
 */
pqe_status pqe__body_reader_new(const uint8_t dek[32], const uint8_t body_id[PQE__BODY_ID_SIZE], uint64_t stored,
                                uint64_t plain, pqe__body_source source, void *user, pqe__body_reader **out,
                                pqe_error *err);
/**
 * Reads exactly min(len, plain - offset) bytes at `offset`; nothing unauthenticated is left in `buf` (zeroed on
 * failure). Whole chunks are decrypted straight into `buf`, so large aligned reads copy nothing. Thread-safe: contexts come
 * from a small pool inside the reader.
 */
pqe_status pqe__body_reader_read_at(pqe__body_reader *r, uint64_t offset, void *buf, size_t len, size_t *got,
                                    pqe_error *err);
/** Wipes; no read may be under way. */
void pqe__body_reader_free(pqe__body_reader **r);

#endif
