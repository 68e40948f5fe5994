/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/pkcs11/module.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"

/* ---- return values ---- */

#define NAMED(name)                                                                                                    \
    {                                                                                                                  \
        name, #name                                                                                                    \
    }

static const struct {
    CK_RV rv;
    const char *name;
} names[] = {
    NAMED(CKR_CANCEL),
    NAMED(CKR_HOST_MEMORY),
    NAMED(CKR_SLOT_ID_INVALID),
    NAMED(CKR_GENERAL_ERROR),
    NAMED(CKR_FUNCTION_FAILED),
    NAMED(CKR_ARGUMENTS_BAD),
    NAMED(CKR_ATTRIBUTE_SENSITIVE),
    NAMED(CKR_ATTRIBUTE_TYPE_INVALID),
    NAMED(CKR_ATTRIBUTE_VALUE_INVALID),
    NAMED(CKR_DEVICE_ERROR),
    NAMED(CKR_DEVICE_MEMORY),
    NAMED(CKR_DEVICE_REMOVED),
    NAMED(CKR_ENCRYPTED_DATA_INVALID),
    NAMED(CKR_FUNCTION_NOT_SUPPORTED),
    NAMED(CKR_KEY_HANDLE_INVALID),
    NAMED(CKR_KEY_FUNCTION_NOT_PERMITTED),
    NAMED(CKR_MECHANISM_INVALID),
    NAMED(CKR_MECHANISM_PARAM_INVALID),
    NAMED(CKR_OBJECT_HANDLE_INVALID),
    NAMED(CKR_PIN_INCORRECT),
    NAMED(CKR_PIN_INVALID),
    NAMED(CKR_PIN_LEN_RANGE),
    NAMED(CKR_PIN_EXPIRED),
    NAMED(CKR_PIN_LOCKED),
    NAMED(CKR_SESSION_CLOSED),
    NAMED(CKR_SESSION_COUNT),
    NAMED(CKR_SESSION_HANDLE_INVALID),
    NAMED(CKR_SESSION_READ_ONLY),
    NAMED(CKR_TEMPLATE_INCOMPLETE),
    NAMED(CKR_TEMPLATE_INCONSISTENT),
    NAMED(CKR_TOKEN_NOT_PRESENT),
    NAMED(CKR_TOKEN_NOT_RECOGNIZED),
    NAMED(CKR_TOKEN_WRITE_PROTECTED),
    NAMED(CKR_USER_NOT_LOGGED_IN),
    NAMED(CKR_USER_PIN_NOT_INITIALIZED),
    NAMED(CKR_USER_ANOTHER_ALREADY_LOGGED_IN),
    NAMED(CKR_BUFFER_TOO_SMALL),
    NAMED(CKR_CRYPTOKI_NOT_INITIALIZED),
};

pqe_status
pqe__p11_fail(pqe_error *err, CK_RV rv, const char *what)
{
    const char *name = "an error of the token";

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].rv == rv)
            name = names[i].name;
    if (rv == CKR_HOST_MEMORY)
        return pqe__fail(err, PQE_E_NOMEM, PQE_ORIGIN_DEVICE, (int64_t)rv, "cannot %s: out of memory", what);
    return pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_DEVICE, (int64_t)rv, "cannot %s: %s (0x%lx)", what, name, rv);
}

bool
pqe__p11_is_lost(CK_RV rv)
{
    switch (rv) {
    case CKR_SESSION_HANDLE_INVALID:
    case CKR_SESSION_CLOSED:
    case CKR_DEVICE_REMOVED:
    case CKR_TOKEN_NOT_PRESENT:
    case CKR_USER_NOT_LOGGED_IN:
    case CKR_CRYPTOKI_NOT_INITIALIZED:
    case CKR_OPERATION_ACTIVE:   /* one that was not finished: the session is of no use */
    case CKR_KEY_HANDLE_INVALID: /* handles end with the session that gave them */
    case CKR_OBJECT_HANDLE_INVALID:
        return true;
    default:
        return false;
    }
}

/* ---- the list ---- */

/* Recursive: a module may fork while it starts (p11-kit's remote ones do), and the handler below then runs in it. */
static pthread_mutex_t lock;
static pqe__p11_module *modules;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
init_lock(void)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &attr);
    pthread_mutexattr_destroy(&attr);
}

static void
before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void
after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

static void
begin(void)
{
    init_lock();
    pthread_atfork(before_fork, after_fork, init_lock);
}

static pqe_status
initialise(pqe__p11_module *m, pqe_error *err)
{
    pqe__p11_init_args args = {.flags = CKF_OS_LOCKING_OK, .parameters = m->init_args};
    CK_RV rv = m->f->C_Initialize(&args);

    if (rv != CKR_OK && rv != CKR_CRYPTOKI_ALREADY_INITIALIZED)
        return pqe__p11_fail(err, rv, "initialise the PKCS#11 module");
    m->owner = getpid();
    return PQE_OK;
}

/* Both functions are named by the standard, and data and function pointers are of one size where there is dlsym(). */
static void
look_up(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);

    memcpy(function, &symbol, sizeof symbol);
}

static void
find_decapsulate(pqe__p11_module *m)
{
    unsigned char name[] = "PKCS 11";
    CK_VERSION version = {3, 2};
    pqe__p11_get_interface get_interface;
    pqe__p11_interface *found = NULL;
    const pqe__p11_functions_3_2 *list;

    look_up(m->library, "C_GetInterface", &get_interface);
    if (get_interface == NULL || get_interface(name, &version, &found, 0) != CKR_OK || found == NULL)
        return;
    list = found->functions;
    if (list != NULL && list->two.version.major == 3 && list->two.version.minor >= 2)
        m->decapsulate = list->decapsulate;
}

static pqe_status
load(const char *path, const char *init_args, pqe__p11_module **out, pqe_error *err)
{
    pqe__p11_module *m = calloc(1, sizeof *m);
    CK_C_GetFunctionList get_list;
    const char *why;

    if (m == NULL || (init_args != NULL && (m->init_args = strdup(init_args)) == NULL)) {
        free(m);
        return pqe__fail_nomem(err);
    }
    m->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (m->library == NULL) {
        why = dlerror();
        free(m->init_args);
        free(m);
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0, "cannot load the PKCS#11 module: %.180s",
                         why != NULL ? why : path);
    }
    look_up(m->library, "C_GetFunctionList", &get_list);
    if (get_list == NULL || get_list(&m->f) != CKR_OK || m->f == NULL) {
        dlclose(m->library);
        free(m->init_args);
        free(m);
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0, "not a PKCS#11 module: %.180s", path);
    }
    find_decapsulate(m);
    *out = m;
    return PQE_OK;
}

/* The same file gives the same handle, by whatever name it goes. */
static pqe__p11_module *
known(const pqe__p11_module *fresh)
{
    for (pqe__p11_module *m = modules; m != NULL; m = m->next)
        if (m->library == fresh->library)
            return m;
    return NULL;
}

static pqe_status
get(const char *path, const char *init_args, pqe__p11_module **out, pqe_error *err)
{
    pqe__p11_module *m, *old;
    pqe_status status = load(path, init_args, &m, err);

    if (status != PQE_OK)
        return status;
    old = known(m);
    if (old == NULL) {
        status = initialise(m, err);
        if (status == PQE_OK) {
            m->next = modules;
            *out = modules = m;
            return PQE_OK;
        }
    } else if ((old->init_args == NULL) != (init_args == NULL) ||
               (init_args != NULL && strcmp(old->init_args, init_args) != 0)) {
        status = pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_BACKEND, 0,
                           "this process has initialised the PKCS#11 module with other init-args");
    } else {
        *out = old;
        status = old->owner == getpid() ? PQE_OK : initialise(old, err);
    }
    dlclose(m->library); /* counts down; the library stays if another entry holds it */
    free(m->init_args);
    free(m);
    return status;
}

pqe_status
pqe__p11_module_get(const char *path, const char *init_args, pqe__p11_module **out, pqe_error *err)
{
    pqe_status status;

    *out = NULL;
    pthread_once(&once, begin);
    pthread_mutex_lock(&lock);
    status = get(path, init_args, out, err);
    pthread_mutex_unlock(&lock);
    return status;
}

pqe_status
pqe__p11_module_renew(pqe__p11_module *module, pqe_error *err)
{
    pqe_status status;

    pthread_mutex_lock(&lock);
    status = initialise(module, err);
    pthread_mutex_unlock(&lock);
    return status;
}
