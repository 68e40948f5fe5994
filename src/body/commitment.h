/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ciphertext commitment of a body: the root of a Merkle tree (RFC 9162, section 2.1.1, SHA-256) over its stored
 * bytes. Leaf 0 is the body's header (salt and key commitment); each further leaf is a segment of 64 stored chunks
 * (1 MiB of plaintext), the last perhaps shorter. Needs no key: who has the ciphertext can compute and check it.
 */
#ifndef PQE_BODY_COMMITMENT_H
#define PQE_BODY_COMMITMENT_H

#include "body/body.h"

#define PQE__SEGMENT_CHUNKS 64u
#define PQE__SEGMENT_STORED ((size_t)PQE__SEGMENT_CHUNKS * PQE__BODY_CHUNK_STORED)
#define PQE__COMMITMENT_SIZE 32u

/** One body under way; one thread at a time. Memory: one digest for each doubling of the size. */
typedef struct pqe__commitment pqe__commitment;
pqe_status pqe__commitment_new(pqe__commitment **out, pqe_error *err);
/** The next stored bytes, cut anywhere. */
pqe_status pqe__commitment_update(pqe__commitment *c, const uint8_t *data, size_t len, pqe_error *err);
/** The leaf of the next segment in place of its bytes. PQE_E_STATE within a segment or before the header. */
pqe_status pqe__commitment_add(pqe__commitment *c, const uint8_t leaf[PQE__COMMITMENT_SIZE], pqe_error *err);
/** Nothing but pqe__commitment_free() may follow. */
pqe_status pqe__commitment_final(pqe__commitment *c, uint8_t root[PQE__COMMITMENT_SIZE], pqe_error *err);
void pqe__commitment_free(pqe__commitment **c);

/** Begins a leaf in a SHA-256 object that is at the start of a message; its bytes follow by pqe__hash_update(). */
pqe_status pqe__commitment_begin_leaf(pqe__hash *hash, pqe_error *err);

#endif
