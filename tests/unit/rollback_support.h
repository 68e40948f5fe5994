/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of counted vaults share: <scratch>/vault on the file backend, whose device counts in <scratch>/device. */
#ifndef PQE_TESTS_UNIT_ROLLBACK_SUPPORT_H
#define PQE_TESTS_UNIT_ROLLBACK_SUPPORT_H

#include <limits.h>

#include <pqc_enclave.h>

#include "backend/counting.h"
#include "unit/support.h"

typedef struct bed {
    char *scratch;
    char dir[PATH_MAX];
    pqe_backend *backend;
    pqe_vault *vault;
} bed;

/** Opens a backend on the device of the bed. */
pqe_backend *bed_device(const bed *b, const pqe_backend_ops *ops);
/** The file backend, counting. */
const pqe_backend_ops *counting_file(void);
/** Makes a vault with one artifact, "first"; flags as counting_set(). */
void bed_make(bed *b, unsigned flags);
void bed_close(bed *b);
void bed_end(bed *b);
/** Keeps a copy of the vault's directory under a name. The vault is closed meanwhile. */
void bed_keep(bed *b, const char *name);
/** Puts a copy in the vault's place; the vault is closed then. */
void bed_put_back(bed *b, const char *name);
pqe_status bed_try_open(bed *b, bool read_only, pqe_error *error);
void bed_opens(bed *b);
/** PQE_E_ROLLBACK with a text that has these words, also where it is opened to be read only. */
void bed_refused(bed *b, const char *words);
uint64_t bed_generation(const bed *b);
/** make_content() in and out. */
pqe_status put_content(pqe_vault *v, const char *name, size_t len, uint32_t seed, pqe_error *err);
void has_content(pqe_vault *v, const char *name, size_t len, uint32_t seed);
/** The path of one of the device's files of the vault. */
void bed_device_file(const bed *b, const char *ending, char path[PATH_MAX]);
uint64_t bed_counter(const bed *b);
void bed_set_counter(const bed *b, uint64_t value);
/** Has the copy accepted, and checks what is told. */
void bed_accept(bed *b, uint64_t found, uint64_t expected, uint64_t now);

#endif
