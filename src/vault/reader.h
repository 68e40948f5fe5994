/* SPDX-License-Identifier: Apache-2.0 */
/* A reader as get.c opens it and read.c reads from it. */
#ifndef PQE_VAULT_READER_H
#define PQE_VAULT_READER_H

#include <stdatomic.h>

#include "vault/internal.h"

struct pqe_reader {
    pqe__handle handle;
    pqe_artifact *artifact;
    pqe__body_reader *body; /* NULL once the session has ended */
    int fd;                 /* -1: inline */
    uint8_t *inline_body;
    size_t inline_len;
    uint64_t position;
    uint8_t hash_algorithm, recorded_hash[32]; /* as the record has them */
    bool exempt;                               /* the library's own: not logged */
    atomic_bool hurt;                          /* that reading failed is in the log */
};

/** As pqe_reader_read_at(). On failure what was written to `buf` is wiped, and the rest, perhaps never faulted in, is
 *  left alone. */
pqe_status pqe__reader_fill(pqe_reader *r, uint64_t offset, uint8_t *buf, size_t capacity, size_t *len, pqe_error *err);

/** Stored bytes of an inline body, unverified; PQE_E_DECRYPTION past its end. */
pqe_status pqe__inline_read(const uint8_t *body, size_t body_len, uint64_t offset, uint8_t *buf, size_t len,
                            pqe_error *err);
/** Stored bytes of the body, unverified; PQE_E_DECRYPTION past its end. */
pqe_status pqe__reader_stored(pqe_reader *r, uint64_t offset, uint8_t *buf, size_t len, pqe_error *err);

/* ---- bind.c ---- */

/** If the content hash is deferred: PQE_E_TAMPERED unless the ciphertext has the recorded commitment. */
pqe_status pqe__reader_check_commitment(pqe_reader *r, pqe_error *err);
/** Hash of the whole content; *bytes says how much of it was read, also on failure. */
pqe_status pqe__reader_hash(pqe_reader *r, unsigned algorithm, uint8_t out[32], uint64_t *bytes, pqe_error *err);
/** Binds a hash to the deferred artifact of that id, whose record has that commitment; one that is bound stays as it
 *  is. `out` may be NULL. */
pqe_status pqe__bind(pqe_vault *vault, const char *id, const uint8_t commitment[32], unsigned algorithm,
                     const uint8_t hash[32], pqe_artifact **out, pqe_error *err);

#endif
