/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded reading and writing of bytes: the only pointer arithmetic over file formats.
 *
 * A cursor is sticky: after the first read or write past its end `ok` is false, reads give zero or NULL, and writes
 * are dropped, so that a codec is a straight list of fields with one check at its end. Integers are big-endian.
 */
#ifndef PQE_UTIL_CURSOR_H
#define PQE_UTIL_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pqe__reader_cursor {
    const uint8_t *data;
    size_t len, pos;
    bool ok;
} pqe__rcur;

typedef struct pqe__writer_cursor {
    uint8_t *data;
    size_t capacity, pos;
    bool ok;
} pqe__wcur;

pqe__rcur pqe__rcur_init(const void *data, size_t len);
uint8_t pqe__get_u8(pqe__rcur *c);
uint16_t pqe__get_u16(pqe__rcur *c);
uint32_t pqe__get_u32(pqe__rcur *c);
uint64_t pqe__get_u64(pqe__rcur *c);
/** The next `len` bytes in place; NULL if there are fewer (and for a cursor that failed before). */
const uint8_t *pqe__get_bytes(pqe__rcur *c, size_t len);
/** Copies the next `len` bytes out; zeroes `out` if there are fewer. */
void pqe__get_copy(pqe__rcur *c, void *out, size_t len);
size_t pqe__rcur_left(const pqe__rcur *c);
/** True if everything was there and nothing is left over. */
bool pqe__rcur_done(const pqe__rcur *c);

pqe__wcur pqe__wcur_init(void *data, size_t capacity);
void pqe__put_u8(pqe__wcur *c, uint8_t v);
void pqe__put_u16(pqe__wcur *c, uint16_t v);
void pqe__put_u32(pqe__wcur *c, uint32_t v);
void pqe__put_u64(pqe__wcur *c, uint64_t v);
void pqe__put_bytes(pqe__wcur *c, const void *data, size_t len);

#endif
