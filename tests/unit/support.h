/* SPDX-License-Identifier: Apache-2.0 */
/* What the vault tests share: scratch directories, vaults with a memory or key-file backend, deterministic content. */
#ifndef PQE_TESTS_UNIT_SUPPORT_H
#define PQE_TESTS_UNIT_SUPPORT_H

#include <pqc_enclave.h>

/** A new directory under $TMPDIR; removed with everything in it by scratch_remove(). */
char *scratch_make(void);
void scratch_remove(char *dir);
/** dir + "/" + name in a static ring of buffers. */
const char *scratch_path(const char *dir, const char *name);
/** Copies a directory tree. */
void scratch_copy(const char *from, const char *to);

/** Content that depends on seed and position. Free with free(). */
uint8_t *make_content(size_t len, uint32_t seed);

pqe_vault *vault_create(const char *dir, pqe_backend *backend);
pqe_vault *vault_open_locked(const char *dir, pqe_backend *backend);
/** Opens and unlocks; fails the test if that fails. */
pqe_vault *vault_open(const char *dir, pqe_backend *backend);
pqe_backend *backend_memory(void);
/** file:key-file=<dir>/key */
pqe_backend *backend_keyfile(const char *dir);

void put_ok(pqe_vault *v, const char *name, const void *content, size_t len);
/** Gets and compares. */
void get_equals(pqe_vault *v, const char *name, const void *content, size_t len);
pqe_status get_status(pqe_vault *v, const char *name);
/** Runs SQL on a vault's index.db from outside. */
void sql(const char *dir, const char *statement);

#define assert_pqe_ok(expr)                                                                                            \
    do {                                                                                                               \
        pqe_error err_ = {0};                                                                                          \
        pqe_error *err = &err_;                                                                                        \
        pqe_status status_ = (expr);                                                                                   \
        if (status_ != PQE_OK)                                                                                         \
            fail_msg("%s: %s: %s", #expr, pqe_status_name(status_), err->message);                                     \
    } while (0)

#endif
