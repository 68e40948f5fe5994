/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the engine for large artifacts share. */
#ifndef PQE_TESTS_UNIT_PARALLEL_SUPPORT_H
#define PQE_TESTS_UNIT_PARALLEL_SUPPORT_H

#include <pqc_enclave.h>

#include "body/body.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define CHUNK ((size_t)PQE__BODY_CHUNK)

extern const unsigned threads[3];
extern const char *const hashes[3];

bool all_are(const uint8_t *p, size_t len, uint8_t value);
pqe_writer *start_put(pqe_vault *v, const char *name, const char *hash);
/** A file in memory, at its beginning. */
int memory_file(const uint8_t *data, size_t len);
void assert_file_is(int fd, const uint8_t *data, size_t len);
void sleep_ms(long ms);

#endif
