/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deterministic CBOR (RFC 8949, section 4.2.1) over the bounded cursors, by libcbor's encoders and its streaming decoder,
 * which allocate nothing: what a hostile file claims to contain costs no memory. Reading is strict: definite lengths
 * and the types that are asked for; that numbers are in their shortest form, the caller finds by writing what it read.
 */
#ifndef PQE_FORMAT_CBOR_H
#define PQE_FORMAT_CBOR_H

#include "util/cursor.h"

void pqe__cbor_put_int(pqe__wcur *c, int64_t value);
void pqe__cbor_put_bytes(pqe__wcur *c, const void *data, size_t len);
/** The head of a byte string alone. */
void pqe__cbor_put_bytes_head(pqe__wcur *c, size_t len);
void pqe__cbor_put_text(pqe__wcur *c, const char *text, size_t len);
void pqe__cbor_put_array(pqe__wcur *c, size_t count);
void pqe__cbor_put_map(pqe__wcur *c, size_t pairs);

/** Each takes the next item; one of another type makes the cursor fail. */
int64_t pqe__cbor_get_int(pqe__rcur *c);
const uint8_t *pqe__cbor_get_bytes(pqe__rcur *c, size_t *len);
/** UTF-8 is the caller's to check. */
const char *pqe__cbor_get_text(pqe__rcur *c, size_t *len);
size_t pqe__cbor_get_array(pqe__rcur *c);
size_t pqe__cbor_get_map(pqe__rcur *c);
/** Takes an integer that must have this value. */
void pqe__cbor_expect(pqe__rcur *c, int64_t value);
/** The integer that comes next, without taking it; false if something else comes. */
bool pqe__cbor_next_is(const pqe__rcur *c, int64_t value);

#endif
