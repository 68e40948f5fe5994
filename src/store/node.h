/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes and buckets of the authenticated tree: encoding, digests, rows. What the tree's files share. */
#ifndef PQE_STORE_NODE_H
#define PQE_STORE_NODE_H

#include "crypto/crypto.h"
#include "store/internal.h"

#define PQE__TREE_FANOUT 64u
#define PQE__TREE_LEVELS 3u
#define PQE__BUCKET_BITS 18u
#define PQE__BUCKETS (1u << PQE__BUCKET_BITS)
#define PQE__NODE_MAX (8u + PQE__TREE_FANOUT * PQE__DIGEST_SIZE)

typedef struct pqe__node {
    uint64_t present;
    uint8_t child[PQE__TREE_FANOUT][PQE__DIGEST_SIZE];
} pqe__node;

uint32_t pqe__bucket_of(const uint8_t *tag);
/** Which child of its node at `level` a bucket lies under. Level 0 is the root; a bucket is the child of a level 2 node. */
uint32_t pqe__slot_of(uint32_t bucket, uint32_t level);
/** The row of the node at `level` above a bucket. */
int64_t pqe__node_id(uint32_t bucket, uint32_t level);
size_t pqe__node_encode(const pqe__node *n, uint8_t out[PQE__NODE_MAX]);
pqe_status pqe__node_digest(uint32_t level, const uint8_t *bytes, size_t len, uint8_t out[PQE__DIGEST_SIZE],
                            pqe_error *err);
/** `digest` NULL: that child is empty. */
void pqe__node_set(pqe__node *n, uint32_t slot, const uint8_t *digest);
/** The bytes of a row; an absent node reads as an empty one, 8 zero bytes. */
pqe_status pqe__node_read(pqe__store *store, int64_t id, uint8_t out[PQE__NODE_MAX], size_t *len, pqe_error *err);
/** The node at `level` above a bucket, which must have the digest `expected`. */
pqe_status pqe__node_load(pqe__store *store, uint32_t bucket, uint32_t level, const uint8_t expected[PQE__DIGEST_SIZE],
                          pqe__node *out, pqe_error *err);
/** Writes it back; an empty node's row goes. */
pqe_status pqe__node_store(pqe__store *store, uint32_t bucket, uint32_t level, const pqe__node *n,
                           uint8_t digest[PQE__DIGEST_SIZE], pqe_error *err);

/** Begins a bucket's digest; makes *hash if it is NULL. A hash left unfinished must be freed, not started again. */
pqe_status pqe__bucket_start(pqe__hash **hash, pqe_error *err);
pqe_status pqe__bucket_add(pqe__hash *hash, const pqe__entry *entry, pqe_error *err);
pqe_status pqe__entry_read(sqlite3_stmt *stmt, pqe__entry *out, pqe_error *err);

#endif
