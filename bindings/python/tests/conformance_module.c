/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conformance suite of the C library (tests/backend) over a backend written in Python: a module for the tests, made
 * of the suite, the bridge of the extension, and a copy of the library.
 *
 *   run(name, factory) -> int   number of failures; factory() makes a backend object, each standing for a process
 */
#include "native.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include "backend/conformance.h"

static PyObject *factory;
static PyObject *last_made; /* key_source has no object: any of the class will do */

/* What the bridge wants of vault.c, which has no part in this. */
bool
pqepy_vault_retain(pqepy_vault *vault)
{
    (void)vault;
    return false;
}

void
pqepy_vault_release(pqepy_vault *vault)
{
    (void)vault;
}

static pqe_status
suite_open(const char *config, const pqe_backend_opts *opts, void **self, pqe_error *err)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *made = PyObject_CallNoArgs(factory), *old = last_made;
    pqe_status status = PQE_OK;

    (void)config;
    (void)opts;
    if (made == NULL) {
        PyErr_WriteUnraisable(factory);
        *err = (pqe_error){.status = PQE_E_BACKEND, .origin = PQE_ORIGIN_BACKEND, .message = "the factory failed"};
        status = PQE_E_BACKEND;
    } else {
        last_made = Py_NewRef(made);
        Py_XDECREF(old);
    }
    *self = made;
    PyGILState_Release(gil);
    return status;
}

static void
suite_close(void *self)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *result = PyObject_CallMethod((PyObject *)self, "close", NULL);

    if (result == NULL)
        PyErr_WriteUnraisable((PyObject *)self);
    Py_XDECREF(result);
    Py_DECREF((PyObject *)self);
    PyGILState_Release(gil);
}

static const char *
suite_key_source(const uint8_t *state, size_t state_len)
{
    return pqepy_bridge_key_source(last_made, state, state_len);
}

static PyObject *
run(PyObject *module, PyObject *args)
{
    static pqe_backend_ops ops;
    conformance_subject subject = {.ops = &ops, .config = ""};
    PyThreadState *thread;
    int failures;

    (void)module;
    if (!PyArg_ParseTuple(args, "sO:run", &subject.name, &factory))
        return NULL;
    ops = (pqe_backend_ops){.magic = PQE_BACKEND_MAGIC,
                            .abi = PQE_BACKEND_ABI,
                            .size = sizeof ops,
                            .info = {.name = "python",
                                     .description = "a backend written in Python",
                                     .protection = "software",
                                     .caveat = "a test",
                                     .capabilities = PQE_CAP_SEAL}};
    pqepy_bridge_fill(&ops, false, false);
    ops.open = suite_open;
    ops.close = suite_close;
    ops.key_source = suite_key_source;
    thread = PyEval_SaveThread();
    failures = conformance_run(&subject);
    PyEval_RestoreThread(thread);
    Py_CLEAR(last_made);
    return PyLong_FromLong(failures);
}

static PyMethodDef functions[] = {{"run", run, METH_VARARGS, "run(name, factory) -> int"}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "pqe_conformance", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_pqe_conformance(void);

PyMODINIT_FUNC
PyInit_pqe_conformance(void)
{
    return pqepy_errors_init() ? PyModule_Create(&definition) : NULL;
}
