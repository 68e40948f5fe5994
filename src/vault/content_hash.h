/* SPDX-License-Identifier: Apache-2.0 */
/* The hash of an artifact's content, by whichever algorithm its record names. */
#ifndef PQE_VAULT_CONTENT_HASH_H
#define PQE_VAULT_CONTENT_HASH_H

#include "crypto/parallelhash.h"
#include "format/format.h"

/** One content under way. Zeroed: none. For PQE__RECORD_HASH_DEFERRED it takes everything and computes nothing. */
typedef struct pqe__content_hash {
    pqe__hash *sha3;
    pqe__parallelhash *parallel;
} pqe__content_hash;

pqe_status pqe__content_hash_start(pqe__content_hash *h, unsigned algorithm, pqe_error *err);
pqe_status pqe__content_hash_update(pqe__content_hash *h, const void *data, size_t len, pqe_error *err);
/** Writes 32 bytes; nothing but pqe__content_hash_clear() may follow. */
pqe_status pqe__content_hash_final(pqe__content_hash *h, uint8_t out[32], pqe_error *err);
/** Wipes; a zeroed one is fine. */
void pqe__content_hash_clear(pqe__content_hash *h);
/** The algorithm of that name, or PQE_E_ARGUMENT. */
pqe_status pqe__content_hash_named(const char *name, pqe__hash_algorithm *out, pqe_error *err);

#endif
