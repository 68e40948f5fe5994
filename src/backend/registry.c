/* SPDX-License-Identifier: Apache-2.0 */
/* Opening backends by name or by table. */
#include "backend/border.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/opts.h"

static const pqe_backend_ops *const builtins[] = {
    &pqe__memory_ops,
    &pqe__file_ops,
#ifdef PQE_PKCS11
    &pqe__pkcs11_ops,
#endif
};

bool
pqe_backend_builtin(size_t index, pqe_backend_info *out)
{
    if (out == NULL || index >= sizeof builtins / sizeof builtins[0])
        return false;
    *out = builtins[index]->info;
    return true;
}

static const pqe_backend_ops *
find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof builtins / sizeof builtins[0]; i++) {
        const char *candidate = builtins[i]->info.name;
        if (strlen(candidate) == len && memcmp(candidate, name, len) == 0)
            return builtins[i];
    }
    return NULL;
}

const pqe_backend_ops *
pqe__backend_find(const char *name)
{
    return name != NULL ? find(name, strlen(name)) : NULL;
}

pqe_status
pqe_backend_open(const char *config, const pqe_backend_opts *opts, pqe_backend **out, pqe_error *err)
{
    const pqe_backend_ops *ops;
    size_t name_len;

    if (out == NULL)
        return pqe__backend_no(err, "no place for the backend's handle");
    *out = NULL;
    if (config == NULL)
        return pqe__backend_no(err, "no backend was named");
    name_len = strcspn(config, ":");
    ops = find(config, name_len);
    if (ops == NULL) {
        int shown = name_len < PQE__BACKEND_WORD_MAX ? (int)name_len : (int)PQE__BACKEND_WORD_MAX;
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0, "there is no backend named '%.*s'", shown,
                         config);
    }
    return pqe_backend_open_ops(ops, config[name_len] == ':' ? config + name_len + 1 : "", opts, out, err);
}

/* What a third party's table must have. Its size is looked at before anything that comes later in it. */
static const char *
table_fault(const pqe_backend_ops *ops)
{
    const char *name;

    if (ops->magic != PQE_BACKEND_MAGIC)
        return "not a table of backend functions";
    if (ops->abi != PQE_BACKEND_ABI)
        return "the backend was made for another version of the backend interface";
    if (!PQE__HAS_ENTRY(ops, open) || !PQE__HAS_ENTRY(ops, close) || !PQE__HAS_ENTRY(ops, enrol) ||
        !PQE__HAS_ENTRY(ops, attach) || !PQE__HAS_ENTRY(ops, detach) || !PQE__HAS_ENTRY(ops, key_source))
        return "the backend lacks a required function";
    if ((ops->info.capabilities & PQE_CAP_SEAL) == 0 || !PQE__HAS_ENTRY(ops, seal) || !PQE__HAS_ENTRY(ops, unseal))
        return "the backend cannot seal and unseal";
    if ((ops->info.capabilities & PQE_CAP_NATIVE_ML_DSA) != 0 &&
        (!PQE__HAS_ENTRY(ops, identity_make) || !PQE__HAS_ENTRY(ops, identity_sign)))
        return "the backend says that it signs, but cannot";
    if ((ops->info.capabilities & PQE_CAP_NATIVE_KEM) != 0 &&
        (!PQE__HAS_ENTRY(ops, kem_make) || !PQE__HAS_ENTRY(ops, kem_decapsulate)))
        return "the backend says that it decapsulates, but cannot";
    if ((ops->info.capabilities & PQE_CAP_COUNTER) != 0 &&
        (!PQE__HAS_ENTRY(ops, counter_read) || !PQE__HAS_ENTRY(ops, counter_advance) ||
         !PQE__HAS_ENTRY(ops, counter_make)))
        return "the backend says that it counts, but cannot";
    if ((ops->info.capabilities & PQE_CAP_EVIDENCE) != 0 &&
        (!PQE__HAS_ENTRY(ops, evidence) || !PQE__HAS_ENTRY(ops, evidence_key)))
        return "the backend says that it gives evidence, but cannot";
    name = ops->info.name;
    if (name == NULL || name[0] == '\0' || strlen(name) > PQE__BACKEND_WORD_MAX || strchr(name, ':') != NULL)
        return "the backend's name is empty, too long or contains a colon";
    if (ops->info.description == NULL || ops->info.protection == NULL || ops->info.caveat == NULL)
        return "the backend does not describe itself";
    return NULL;
}

pqe_status
pqe_backend_open_ops(const pqe_backend_ops *ops, const char *config, const pqe_backend_opts *opts, pqe_backend **out,
                     pqe_error *err)
{
    pqe_backend_opts known = {.size = sizeof known};
    pqe_error inner = {0};
    pqe_backend *backend;
    const char *fault;
    pqe_status status;

    if (out == NULL)
        return pqe__backend_no(err, "no place for the backend's handle");
    *out = NULL;
    fault = ops == NULL ? "no table of backend functions" : table_fault(ops);
    if (fault != NULL)
        return pqe__backend_no(err, fault);
    /* No shorter one: the struct is as 0.1.0, the first release, has it. */
    if (opts != NULL &&
        (status = pqe__opts_copy(&known, sizeof known, sizeof known, opts, "the backend options", err)) != PQE_OK)
        return status;

    backend = calloc(1, sizeof *backend);
    if (backend == NULL)
        return pqe__fail_nomem(err);
    if (pthread_mutex_init(&backend->lock, NULL) != 0) {
        free(backend);
        return pqe__fail_nomem(err);
    }
    backend->ops = ops;
    backend->owner = getpid();
    status = pqe__backend_judge(ops->open(config != NULL ? config : "", &known, &backend->self, &inner), &inner, err);
    if (status != PQE_OK) {
        pthread_mutex_destroy(&backend->lock);
        free(backend);
        return status;
    }
    backend->capabilities = ops->info.capabilities;
    if (PQE__HAS_ENTRY(ops, capabilities))
        backend->capabilities &= ops->capabilities(backend->self) | PQE_CAP_SEAL;
    *out = backend;
    return PQE_OK;
}

void
pqe_backend_close(pqe_backend **backend)
{
    pqe_backend *b = backend != NULL ? *backend : NULL;

    if (b == NULL)
        return;
    *backend = NULL;
    /* In a forked child `self` holds keys and connections of the parent, and the mutex may be held by a thread that
     * does not exist here: only the handle itself goes. */
    if (pqe__owner_is_here(b->owner)) {
        b->ops->close(b->self);
        pthread_mutex_destroy(&b->lock);
    }
    free(b);
}
