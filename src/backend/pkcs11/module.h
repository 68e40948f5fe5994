/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PKCS#11 modules of this process.
 *
 * A module is loaded at its first use (RTLD_LOCAL) and initialised once a process; it is never finalised and never
 * unloaded, because Cryptoki belongs to the whole process: others may use the same module, and nobody can tell. In a
 * forked child nothing happens until the child opens a backend of its own, which initialises the module again.
 */
#ifndef PQE_BACKEND_PKCS11_MODULE_H
#define PQE_BACKEND_PKCS11_MODULE_H

#include <sys/types.h>

#include <pqc_enclave/backend.h>

#include "backend/pkcs11/api.h"

typedef struct pqe__p11_module {
    struct pqe__p11_module *next;
    void *library;
    char *init_args;
    pid_t owner; /* the process in which it is initialised */
    CK_FUNCTION_LIST *f;
    pqe__p11_decapsulate decapsulate; /* NULL: no PKCS#11 3.2 */
} pqe__p11_module;

/** Loads and initialises, if it is not yet. `init_args` may be NULL. The module lives as long as the process. */
pqe_status pqe__p11_module_get(const char *path, const char *init_args, pqe__p11_module **out, pqe_error *err);
/** Initialises again what somebody finalised. */
pqe_status pqe__p11_module_renew(pqe__p11_module *module, pqe_error *err);

/** The status that fits a return value, with "cannot <what>: <name>" as message and the value as native code. */
pqe_status pqe__p11_fail(pqe_error *err, CK_RV rv, const char *what);
/** True if session, login or token are gone, so that opening anew may help. */
bool pqe__p11_is_lost(CK_RV rv);

#endif
