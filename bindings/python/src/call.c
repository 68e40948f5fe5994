/* SPDX-License-Identifier: Apache-2.0 */
/* Calls into the library, callbacks out of it, and errors on their way between the two. */
#include "native.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local pqepy_call *current;
static _Thread_local unsigned callback_depth;
static atomic_bool shut_down;
static PyObject *make_error; /* pqc_enclave_sdk._errors.from_native */
static PyObject *base_error; /* EnclaveSDKError */

/* ---- errors ---- */

bool
pqepy_errors_init(void)
{
    PyObject *module = PyImport_ImportModule("pqc_enclave_sdk._errors");

    if (module == NULL)
        return false;
    make_error = PyObject_GetAttrString(module, "from_native");
    base_error = PyObject_GetAttrString(module, "EnclaveSDKError");
    Py_DECREF(module);
    return make_error != NULL && base_error != NULL;
}

void
pqepy_raise(pqe_status status, const pqe_error *err, PyObject *cause)
{
    const char *message = err->message[0] != '\0' ? err->message : pqe_status_text(status);
    size_t len = strnlen(message, sizeof err->message);
    PyObject *text = PyUnicode_DecodeUTF8(message, (Py_ssize_t)len, "replace");
    PyObject *error = NULL;

    if (text != NULL)
        error = PyObject_CallFunction(make_error, "iiLO", (int)status, (int)err->origin, (long long)err->native, text);
    Py_XDECREF(text);
    if (error == NULL) {
        Py_XDECREF(cause);
        return;
    }
    if (cause != NULL)
        PyException_SetCause(error, cause);
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
}

static long
int_attribute(PyObject *object, const char *name, long otherwise)
{
    PyObject *value = PyObject_GetAttrString(object, name);
    long number = value != NULL ? PyLong_AsLong(value) : -1;

    Py_XDECREF(value);
    if (PyErr_Occurred() != NULL) {
        PyErr_Clear();
        number = otherwise;
    }
    return number;
}

static void
copy_message(PyObject *exception, pqe_error *err)
{
    PyObject *text = PyObject_Str(exception);
    PyObject *bytes = text != NULL ? PyUnicode_AsEncodedString(text, "utf-8", "replace") : NULL;
    const char *from = bytes != NULL ? PyBytes_AsString(bytes) : NULL;
    size_t len = from != NULL ? strnlen(from, sizeof err->message - 1) : 0;

    if (len == 0) {
        from = "the backend raised an exception without text";
        len = strlen(from);
    }
    memcpy(err->message, from, len);
    err->message[len] = '\0';
    Py_XDECREF(bytes);
    Py_XDECREF(text);
    PyErr_Clear();
}

pqe_status
pqepy_error_of_exception(PyObject *exception, pqe_error *err)
{
    pqe_error made = {.status = PQE_E_BACKEND, .origin = PQE_ORIGIN_BACKEND};
    int is_ours = PyObject_IsInstance(exception, base_error);

    if (is_ours == 1) {
        long code = int_attribute(exception, "code", PQE_E_BACKEND), origin = int_attribute(exception, "origin", 0);
        made.status = code < 0 && code > -1000 ? (pqe_status)code : PQE_E_BACKEND;
        if (origin > 0 && origin < 100)
            made.origin = (pqe_origin)origin;
        made.native = int_attribute(exception, "native", 0);
    } else if (PyErr_GivenExceptionMatches(exception, PyExc_MemoryError)) {
        made.status = PQE_E_NOMEM;
    } else if (!PyErr_GivenExceptionMatches(exception, PyExc_Exception)) {
        made.status = PQE_E_CANCELLED; /* KeyboardInterrupt, SystemExit */
    }
    copy_message(exception, &made);
    if (err != NULL)
        *err = made;
    return made.status;
}

/* ---- what waits to be closed ---- */

typedef struct deferred {
    struct deferred *next;
    pqepy_closer close;
    void *handle;
    PyObject *owner;
} deferred;

static deferred *waiting; /* read and written with the GIL held */

static void
close_waiting(void)
{
    deferred *first;

    while ((first = waiting) != NULL) {
        waiting = first->next;
        first->close(first->handle, first->owner);
        Py_DECREF(first->owner);
        free(first);
    }
}

/* By the interpreter, in its main thread, soon after a thread of the library's left something. */
static int
close_waiting_later(void *unused)
{
    (void)unused;
    if (callback_depth == 0)
        close_waiting();
    return 0;
}

void
pqepy_close(pqepy_closer close, void *handle, PyObject *owner)
{
    deferred *entry;

    if (callback_depth == 0) {
        close(handle, owner);
        return;
    }
    entry = malloc(sizeof *entry);
    if (entry == NULL)
        return; /* leaked: to close it here could wait for ever */
    *entry = (deferred){.next = waiting, .close = close, .handle = handle, .owner = Py_NewRef(owner)};
    waiting = entry;
    Py_AddPendingCall(close_waiting_later, NULL);
}

/* ---- calls ---- */

pqepy_call *
pqepy_current(void)
{
    return current;
}

/* The library's locks are not recursive: a callback must not come back to the vault or backend that called it. */
static bool
comes_from_callback(const pqepy_backend *backend)
{
    for (const pqepy_call *c = current; c != NULL; c = c->outer)
        if (c->in_callback && c->backend == backend)
            return true;
    return false;
}

bool
pqepy_enter(pqepy_call *call, pqepy_backend *backend, pqepy_vault *vault)
{
    static const char text[] = "a callback must not call the vault or backend that is calling it";
    pqe_error err = {.status = PQE_E_STATE, .origin = PQE_ORIGIN_API};

    if (comes_from_callback(backend)) {
        memcpy(err.message, text, sizeof text);
        pqepy_raise(PQE_E_STATE, &err, NULL);
        return false;
    }
    if (vault != NULL && !pqepy_vault_retain(vault))
        return false;
    *call = (pqepy_call){.outer = current, .backend = backend, .vault = vault};
    Py_INCREF((PyObject *)backend);
    current = call;
    call->thread = PyEval_SaveThread();
    return true;
}

/* What a callback raised is the cause of the failure, or, where it was to stop everything, the failure itself. */
static void
raise_with_pending(pqe_status status, const pqe_error *err, PyObject *pending)
{
    if (pending != NULL && status == PQE_E_CANCELLED) {
        PyErr_SetObject((PyObject *)Py_TYPE(pending), pending);
        Py_DECREF(pending);
    } else {
        pqepy_raise(status, err, pending);
    }
}

bool
pqepy_leave(pqepy_call *call, pqe_status status)
{
    PyObject *pending;

    PyEval_RestoreThread(call->thread);
    current = call->outer;
    pending = call->pending;
    call->pending = NULL;
    if (call->vault != NULL)
        pqepy_vault_release(call->vault);
    Py_DECREF((PyObject *)call->backend);
    if (callback_depth == 0)
        close_waiting();
    if (status == PQE_OK)
        Py_XDECREF(pending);
    else
        raise_with_pending(status, &call->err, pending);
    return status == PQE_OK;
}

/* ---- callbacks ---- */

void
pqepy_shut_down(void)
{
    atomic_store(&shut_down, true);
}

bool
pqepy_callback_begin(pqepy_callback *cb)
{
    /* A thread that asks a finalizing interpreter for the GIL never comes back, and would keep the library's locks. */
    if (atomic_load(&shut_down))
        return false;
    cb->gil = PyGILState_Ensure();
    callback_depth++;
    cb->call = current;
    if (cb->call != NULL)
        cb->call->in_callback = true;
    return true;
}

void
pqepy_callback_end(pqepy_callback *cb)
{
    if (cb->call != NULL)
        cb->call->in_callback = false;
    callback_depth--;
    PyGILState_Release(cb->gil);
}

void
pqepy_callback_keep_exception(const pqepy_callback *cb)
{
    PyObject *type, *value, *traceback;

    if (cb->call == NULL) { /* the library has been told, and nobody else waits for it */
        PyErr_Clear();
        return;
    }
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL && value != NULL)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    if (cb->call->pending == NULL)
        cb->call->pending = value; /* the first one is the reason */
    else
        Py_XDECREF(value);
}

/* ---- lists ---- */

bool
pqepy_append(PyObject *list, PyObject *item)
{
    bool ok = item != NULL && PyList_Append(list, item) == 0;

    Py_XDECREF(item);
    return ok;
}

bool
pqepy_callback_append(pqepy_callback *cb, PyObject *list, PyObject *item)
{
    bool ok = pqepy_append(list, item);

    if (!ok)
        pqepy_callback_keep_exception(cb);
    pqepy_callback_end(cb);
    return ok;
}

PyObject *
pqepy_list_enter(pqepy_call *call, pqepy_vault *vault)
{
    PyObject *list = PyList_New(0);

    if (list != NULL && !pqepy_enter(call, vault->backend, vault))
        Py_CLEAR(list);
    return list;
}

PyObject *
pqepy_list_leave(pqepy_call *call, PyObject *list, pqe_status status)
{
    if (!pqepy_leave(call, status))
        Py_CLEAR(list);
    return list;
}

/* ---- progress ---- */

bool
pqepy_report(PyObject *progress, uint64_t done, int64_t total)
{
    PyObject *result;

    if (PyErr_CheckSignals() != 0)
        return false;
    if (progress == NULL || progress == Py_None)
        return true;
    if (total >= 0)
        result = PyObject_CallFunction(progress, "KL", (unsigned long long)done, (long long)total);
    else
        result = PyObject_CallFunction(progress, "KO", (unsigned long long)done, Py_None);
    Py_XDECREF(result);
    return result != NULL;
}
