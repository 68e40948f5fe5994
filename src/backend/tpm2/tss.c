/* SPDX-License-Identifier: Apache-2.0 */
/* Loading tpm2-tss. */
#include "backend/tpm2/tss.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pqe__tss loaded;
static bool is_loaded;

/* ISO C has no cast from an object pointer to a function pointer, so POSIX's way: copy the pointer. */
static bool
find(void *library, const char *name, void *function, size_t size)
{
    void *address = library != NULL ? dlsym(library, name) : NULL;

    if (address == NULL)
        return false;
    memcpy(function, &address, size);
    return true;
}

static bool
fill(pqe__tss *t, void *tctildr, void *mu, void *esys)
{
    bool ok = true;

#define FIND_TCTILDR(f) ok = ok && find(tctildr, #f, &t->f, sizeof t->f);
#define FIND_MU(f) ok = ok && find(mu, #f, &t->f, sizeof t->f);
#define FIND_ESYS(f) ok = ok && find(esys, #f, &t->f, sizeof t->f);
    PQE__TSS_TCTILDR(FIND_TCTILDR)
    PQE__TSS_MU(FIND_MU)
    PQE__TSS_ESYS(FIND_ESYS)
    return ok;
}

static bool
load(pqe__tss *t)
{
    /* Each has been libNAME.so.0 in all versions from 2.4 to 4.1. */
    void *tctildr = dlopen("libtss2-tctildr.so.0", RTLD_NOW | RTLD_LOCAL);
    void *mu = dlopen("libtss2-mu.so.0", RTLD_NOW | RTLD_LOCAL);
    void *esys = dlopen("libtss2-esys.so.0", RTLD_NOW | RTLD_LOCAL);

    if (tctildr != NULL && mu != NULL && esys != NULL && fill(t, tctildr, mu, esys))
        return true;
    if (esys != NULL)
        dlclose(esys);
    if (mu != NULL)
        dlclose(mu);
    if (tctildr != NULL)
        dlclose(tctildr);
    return false;
}

pqe_status
pqe__tss_load(const pqe__tss **out, pqe_error *err)
{
    pqe_status status = PQE_OK;

    *out = &loaded;
    pthread_mutex_lock(&lock);
    if (!is_loaded && !(is_loaded = load(&loaded)))
        status = pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0,
                           "the TPM software stack is not installed here (libtss2-esys.so.0, libtss2-mu.so.0, "
                           "libtss2-tctildr.so.0 of tpm2-tss)");
    pthread_mutex_unlock(&lock);
    return status;
}
