/* SPDX-License-Identifier: Apache-2.0 */
/* The type Backend: one of the library's own by name, or a Python object behind a table. */
#include "native.h"

#include <stdlib.h>
#include <string.h>

PyTypeObject *pqepy_backend_type;

/* ---- passphrases ---- */

/* Copies what the callable returned into the library's locked memory; a bytearray is wiped. */
static pqe_status
take_passphrase(PyObject *answer, char *buf, size_t capacity, size_t *len)
{
    PyObject *bytes = PyUnicode_Check(answer) ? PyUnicode_AsUTF8String(answer) : Py_NewRef(answer);
    Py_buffer view;
    pqe_status status = PQE_OK;

    if (bytes == NULL)
        return PQE_E_CANCELLED;
    if (PyObject_GetBuffer(bytes, &view, PyBUF_SIMPLE) != 0) {
        Py_DECREF(bytes);
        return PQE_E_CANCELLED;
    }
    if ((size_t)view.len > capacity) {
        PyErr_Format(PyExc_ValueError, "a passphrase has at most %d bytes", PQE_PASSPHRASE_MAX);
        status = PQE_E_CANCELLED;
    } else {
        memcpy(buf, view.buf, (size_t)view.len);
        *len = (size_t)view.len;
    }
    if (!view.readonly)
        explicit_bzero(view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    Py_DECREF(bytes);
    return status;
}

/* Whatever the callable raises ends the call and is raised from it unchanged. */
static pqe_status
ask_passphrase(void *user, pqe_passphrase_purpose purpose, char *buf, size_t capacity, size_t *len)
{
    pqepy_backend *self = user;
    pqepy_callback cb;
    PyObject *answer;
    pqe_status status = PQE_E_CANCELLED;

    if (!pqepy_callback_begin(&cb))
        return PQE_E_CANCELLED;
    answer = PyObject_CallFunction(self->passphrase, "s", purpose == PQE_PASSPHRASE_NEW ? "new" : "unlock");
    if (answer != NULL)
        status = take_passphrase(answer, buf, capacity, len);
    Py_XDECREF(answer);
    if (status != PQE_OK)
        pqepy_callback_keep_exception(&cb);
    pqepy_callback_end(&cb);
    return status;
}

/* ---- a Python object behind a table ---- */

static pqe_status
python_open(const char *config, const pqe_backend_opts *opts, void **self, pqe_error *err)
{
    (void)config;
    (void)opts;
    (void)err;
    *self = pqepy_current()->backend->python; /* borrowed: the Backend object outlives the handle */
    return PQE_OK;
}

static void
python_close(void *self)
{
    pqepy_callback cb;
    PyObject *object = self, *result;

    if (!pqepy_callback_begin(&cb))
        return;
    result = PyObject_CallMethod(object, "close", NULL);
    if (result == NULL)
        PyErr_WriteUnraisable(object);
    Py_XDECREF(result);
    pqepy_callback_end(&cb);
}

static const char *
python_key_source(const uint8_t *state, size_t state_len)
{
    pqepy_call *call = pqepy_current();

    return call != NULL ? pqepy_bridge_key_source(call->backend->python, state, state_len) : NULL;
}

/* Appends a text attribute to `at`; the table keeps pointers into self->texts. */
static const char *
copy_text(PyObject *object, const char *name, char **at, size_t *left)
{
    PyObject *value = PyObject_GetAttrString(object, name);
    const char *text, *start = *at;
    Py_ssize_t len = 0;

    if (value == NULL)
        return NULL;
    text = PyUnicode_Check(value) ? PyUnicode_AsUTF8AndSize(value, &len) : NULL;
    if (text == NULL && PyErr_Occurred() == NULL)
        PyErr_Format(PyExc_TypeError, "the backend's attribute '%s' must be a str", name);
    if (text != NULL && (size_t)len >= *left)
        PyErr_Format(PyExc_ValueError, "the backend's attribute '%s' is too long", name);
    if (PyErr_Occurred() == NULL) {
        memcpy(*at, text, (size_t)len);
        (*at)[len] = '\0';
        *at += len + 1;
        *left -= (size_t)len + 1;
    }
    Py_DECREF(value);
    return PyErr_Occurred() == NULL ? start : NULL;
}

static int
truth_of(PyObject *object, const char *name)
{
    PyObject *value = PyObject_GetAttrString(object, name);
    int truth = value != NULL ? PyObject_IsTrue(value) : -1;

    Py_XDECREF(value);
    return truth;
}

#define TEXTS_SIZE ((size_t)4096)

static bool
describe(pqepy_backend *self)
{
    size_t left = TEXTS_SIZE;
    char *at = self->texts = malloc(TEXTS_SIZE);
    pqe_backend_info *info = &self->ops.info;
    int persistent, passphrase, presence;

    if (at == NULL) {
        PyErr_NoMemory();
        return false;
    }
    if ((info->name = copy_text(self->python, "name", &at, &left)) == NULL ||
        (info->description = copy_text(self->python, "description", &at, &left)) == NULL ||
        (info->protection = copy_text(self->python, "protection", &at, &left)) == NULL ||
        (info->caveat = copy_text(self->python, "caveat", &at, &left)) == NULL ||
        (persistent = truth_of(self->python, "persistent")) < 0 ||
        (passphrase = truth_of(self->python, "uses_passphrase")) < 0 ||
        (presence = truth_of(self->python, "asks_presence")) < 0)
        return false;
    info->capabilities = PQE_CAP_SEAL | (persistent != 0 ? PQE_CAP_PERSISTENT : 0) |
                         (passphrase != 0 ? PQE_CAP_PASSPHRASE : 0) | (presence != 0 ? PQE_CAP_AUTHORIZE : 0);
    self->ops.magic = PQE_BACKEND_MAGIC;
    self->ops.abi = PQE_BACKEND_ABI;
    self->ops.size = sizeof self->ops;
    pqepy_bridge_fill(&self->ops, passphrase != 0, presence != 0);
    self->ops.open = python_open;
    self->ops.close = python_close;
    self->ops.key_source = python_key_source;
    return true;
}

/* ---- the object ---- */

static bool
open_backend(pqepy_backend *self, const char *config)
{
    pqe_backend_opts opts = {.size = sizeof opts, .user = self};
    pqe_backend *opened = NULL;
    pqepy_call call;
    pqe_status status;

    if (self->passphrase != NULL)
        opts.passphrase = ask_passphrase;
    if (!pqepy_enter(&call, self, NULL))
        return false;
    if (config != NULL)
        status = pqe_backend_open(config, &opts, &opened, &call.err);
    else
        status = pqe_backend_open_ops(&self->ops, "", &opts, &opened, &call.err);
    if (!pqepy_leave(&call, status))
        return false;
    self->backend = opened;
    return true;
}

static PyObject *
backend_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"config", "passphrase", "python", NULL};
    PyObject *given = Py_None, *passphrase = Py_None, *python = Py_None, *object;
    const char *config = NULL;
    pqepy_backend *self;
    bool ok;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OOO:Backend", names, &given, &passphrase, &python) ||
        !pqepy_bytes_or_none(given, &config))
        return NULL;
    if ((config == NULL) == (python == Py_None)) {
        PyErr_SetString(PyExc_TypeError, "either config or python is required");
        return NULL;
    }
    if ((object = PyType_GenericAlloc(type, 0)) == NULL)
        return NULL;
    self = (pqepy_backend *)object;
    self->passphrase = passphrase != Py_None ? Py_NewRef(passphrase) : NULL;
    self->python = python != Py_None ? Py_NewRef(python) : NULL;
    ok = (self->python == NULL || describe(self)) && open_backend(self, config);
    if (ok)
        return object;
    Py_DECREF(object);
    return NULL;
}

static void
let_go_of_those_before(pqepy_backend *self)
{
    PyObject *before = self->before;

    self->before = NULL;
    for (Py_ssize_t i = 0; before != NULL && i < PyList_Size(before); i++)
        pqepy_backend_vault_closed((pqepy_backend *)PyList_GetItem(before, i));
    Py_XDECREF(before);
}

static void
close_now(pqepy_backend *self)
{
    pqepy_call call;
    PyObject *type, *value, *traceback;
    pqe_backend *backend = self->backend;

    if (backend == NULL)
        return;
    self->backend = NULL;
    PyErr_Fetch(&type, &value, &traceback);
    if (pqepy_enter(&call, self, NULL)) {
        pqe_backend_close(&backend);
        pqepy_leave(&call, PQE_OK);
        let_go_of_those_before(self);
    } else {
        PyErr_WriteUnraisable(NULL); /* closed by a callback of its own: it stays open */
    }
    PyErr_Restore(type, value, traceback);
}

void
pqepy_backend_vault_moved(pqepy_backend *from, pqepy_backend *to)
{
    if (from != to && PyList_Append(to->before, (PyObject *)from) == 0)
        to->vaults++; /* it stays counted where it was */
    else if (from != to)
        PyErr_Clear();
}

void
pqepy_backend_vault_closed(pqepy_backend *backend)
{
    backend->vaults--;
    if (backend->closing && backend->vaults == 0)
        close_now(backend);
}

static PyObject *
backend_close(PyObject *object, PyObject *unused)
{
    pqepy_backend *self = (pqepy_backend *)object;

    (void)unused;
    self->closing = true;
    if (self->vaults == 0)
        close_now(self);
    Py_RETURN_NONE;
}

static int
backend_traverse(PyObject *object, visitproc visit, void *arg)
{
    pqepy_backend *self = (pqepy_backend *)object;

    Py_VISIT((PyObject *)Py_TYPE(object));
    Py_VISIT(self->python);
    Py_VISIT(self->passphrase);
    Py_VISIT(self->before);
    return 0;
}

/* Nothing refers to it any more, so no vault does. A backend written in Python has normally been closed before. */
static void
backend_dealloc(PyObject *object)
{
    pqepy_backend *self = (pqepy_backend *)object;
    pqe_backend *backend = self->backend;
    PyObject *type, *value, *traceback;
    PyThreadState *thread;

    PyObject_GC_UnTrack(object);
    if (backend != NULL) {
        PyErr_Fetch(&type, &value, &traceback);
        thread = PyEval_SaveThread();
        pqe_backend_close(&backend);
        PyEval_RestoreThread(thread);
        PyErr_Restore(type, value, traceback);
    }
    let_go_of_those_before(self);
    Py_XDECREF(self->python);
    Py_XDECREF(self->passphrase);
    free(self->texts);
    pqepy_free(object);
}

static PyMethodDef methods[] = {
    {"close", backend_close, METH_NOARGS,
     "close() -> None\n\nWipes the backend's keys; while a vault is open on it, once that is closed."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)"Backend(config=None, passphrase=None, python=None)\n\nWhat holds the device key: one of the "
                        "library's own by name, or a Python object with the methods of EnclaveBackend."},
    {Py_tp_new, (void *)backend_new},
    {Py_tp_dealloc, (void *)backend_dealloc},
    {Py_tp_traverse, (void *)backend_traverse},
    {Py_tp_methods, methods},
    {0, NULL}};
static PyType_Spec spec = {"pqc_enclave_sdk._native.Backend", (int)sizeof(pqepy_backend), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, slots};

bool
pqepy_backend_init(PyObject *module)
{
    return pqepy_add_type(module, &spec, &pqepy_backend_type);
}
