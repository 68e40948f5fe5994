/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of many puts and many gets share: a vault with a key-file backend, and batches of it. */
#ifndef PQE_TESTS_UNIT_BATCH_SUPPORT_H
#define PQE_TESTS_UNIT_BATCH_SUPPORT_H

#include <stdatomic.h>

#include "unit/support.h"

typedef struct bed {
    char *scratch, *dir;
    pqe_backend *backend;
    pqe_vault *v;
} bed;

bed bed_make(void);
void bed_drop(bed *b);
pqe_batch *start(pqe_vault *v);
/** Puts an artifact of kind other. */
pqe_status add(pqe_batch *batch, const char *name, const void *content, size_t len);
/** Entries of a directory in the vault's. */
unsigned files_in(const char *dir, const char *name);
/** The vault verifies, has so many artifacts, and nothing is pending. */
void sound(bed *b, uint64_t artifacts);

/* A thread that locks the vault and unlocks it again, until it is told to stop. */
typedef struct locker {
    pqe_vault *v;
    unsigned pause_us; /* between two times */
    atomic_bool stop;
} locker;

void *lock_often(void *locker);

#endif
