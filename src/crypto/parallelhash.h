/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ParallelHash256 (SP 800-185, section 6): blocks are hashed independently, on as many threads as there are, and a
 * second hash goes over their digests. Made of libcrypto's SHAKE256 and KECCAK-KMAC-256 (docs/decisions/0011).
 */
#ifndef PQE_CRYPTO_PARALLELHASH_H
#define PQE_CRYPTO_PARALLELHASH_H

#include "crypto/crypto.h"

/** B, the block size of our content hashes, in bytes. */
#define PQE__PARALLELHASH_BLOCK 65536u
/** Digest of one block. */
#define PQE__PARALLELHASH_LEAF 64u

/** One message under way; one thread at a time. */
typedef struct pqe__parallelhash pqe__parallelhash;
/** `block` is B in bytes; `custom` is S, ours is empty. */
pqe_status pqe__parallelhash_new(size_t block, const char *custom, pqe__parallelhash **out, pqe_error *err);
pqe_status pqe__parallelhash_update(pqe__parallelhash *h, const void *data, size_t len, pqe_error *err);
/** Digests of `count` whole blocks into `leaves`. Needs no message: several threads may do this at once. */
pqe_status pqe__parallelhash_leaves(size_t block, const void *data, size_t count, uint8_t *leaves, pqe_error *err);
/** Takes digests of the next blocks in place of the blocks. PQE_E_STATE within a block. */
pqe_status pqe__parallelhash_absorb(pqe__parallelhash *h, const uint8_t *leaves, size_t count, pqe_error *err);
/** Writes `len` bytes, which is L; nothing but pqe__parallelhash_free() may follow. */
pqe_status pqe__parallelhash_final(pqe__parallelhash *h, uint8_t *out, size_t len, pqe_error *err);
/** Wipes. */
void pqe__parallelhash_free(pqe__parallelhash **h);

#endif
