/* SPDX-License-Identifier: Apache-2.0 */
/* A temporary directory of one test. */
#ifndef PQE_TESTS_BACKEND_SCRATCH_H
#define PQE_TESTS_BACKEND_SCRATCH_H

#include <stddef.h>

#define SCRATCH_PATH_MAX 512

/** Makes an empty directory, returns its path (static storage, replaced by the next call). */
const char *scratch_make(void);
/** Removes it with everything in it. */
void scratch_remove(void);
/** Writes "<directory>/<name>" to `buf`. */
const char *scratch_path(const char *name, char buf[SCRATCH_PATH_MAX]);
/** Files and directories below it. */
size_t scratch_entries(void);

#endif
