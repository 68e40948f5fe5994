/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend interface in the hands of a Python object: `self` is the object, a key is whatever its enrol() or attach()
 * gave. Secrets cross into Python as a bytearray that is wiped when the method returns; an exception becomes the
 * pqe_error it stands for.
 */
#include "native.h"

#include <string.h>

#define UNREACHABLE "the Python interpreter is shutting down"

static pqe_status
fail(pqe_error *err, pqe_status status, const char *text)
{
    if (err != NULL) {
        *err = (pqe_error){.status = status, .origin = PQE_ORIGIN_BACKEND};
        memcpy(err->message, text, strlen(text) + 1);
    }
    return status;
}

/* Turns the exception that is set into `err` and keeps it as the cause. */
static pqe_status
fail_by_exception(const pqepy_callback *cb, pqe_error *err)
{
    PyObject *type, *value, *traceback;
    pqe_status status;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    status = pqepy_error_of_exception(value, err);
    PyErr_Restore(type, value, traceback);
    pqepy_callback_keep_exception(cb);
    return status;
}

static PyObject *
bytes_of(const uint8_t *data, size_t len)
{
    return PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)len);
}

static void
wipe_bytearray(PyObject *array)
{
    if (array != NULL)
        explicit_bzero(PyByteArray_AsString(array), (size_t)PyByteArray_Size(array));
}

/* Copies a result into the blob the library lent; a result that can be written to is wiped. Sets an exception on
 * failure, except that PQE_E_LIMIT comes without. */
static pqe_status
copy_out(PyObject *result, pqe_blob *blob, pqe_error *err)
{
    Py_buffer view;
    pqe_status status = PQE_OK;

    if (PyObject_GetBuffer(result, &view, PyBUF_SIMPLE) != 0)
        return PQE_E_BACKEND;
    if ((size_t)view.len > blob->capacity) {
        status = fail(err, PQE_E_LIMIT, "the backend's result does not fit the buffer");
    } else {
        memcpy(blob->data, view.buf, (size_t)view.len);
        blob->len = (size_t)view.len;
    }
    if (!view.readonly)
        explicit_bzero(view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return status;
}

/* What seal(), unseal() and change_passphrase() have in common. `result` is stolen. */
static pqe_status
finish(pqepy_callback *cb, PyObject *result, pqe_blob *blob, pqe_error *err)
{
    pqe_status status = result != NULL ? copy_out(result, blob, err) : PQE_E_BACKEND;

    Py_XDECREF(result);
    if (PyErr_Occurred() != NULL)
        status = fail_by_exception(cb, err);
    pqepy_callback_end(cb);
    return status;
}

static void
call_and_forget(PyObject *object, PyObject *result)
{
    if (result == NULL)
        PyErr_WriteUnraisable(object);
    Py_XDECREF(result);
}

/* enrol() returns (state, key). */
static pqe_status
take_enrolment(PyObject *result, pqe_blob *state, void **key, pqe_error *err)
{
    PyObject *made;
    pqe_status status;

    if (!PyTuple_Check(result) || PyTuple_Size(result) != 2) {
        PyErr_SetString(PyExc_TypeError, "enrol() must return a tuple of state and key");
        return PQE_E_BACKEND;
    }
    made = PyTuple_GetItem(result, 1);
    status = copy_out(PyTuple_GetItem(result, 0), state, err);
    if (made == Py_None)
        made = NULL; /* which the library reports */
    if (status == PQE_OK)
        *key = Py_XNewRef(made);
    return status;
}

static pqe_status
bridge_enrol(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_blob *state, void **key, pqe_error *err)
{
    PyObject *object = self, *id, *result = NULL, *taken_back;
    pqepy_callback cb;
    pqe_status status = PQE_E_BACKEND;

    if (!pqepy_callback_begin(&cb))
        return fail(err, PQE_E_BACKEND, UNREACHABLE);
    id = bytes_of(vault_id, PQE_VAULT_ID_SIZE);
    if (id != NULL)
        result = PyObject_CallMethod(object, "enrol", "O", id);
    if (result != NULL)
        status = take_enrolment(result, state, key, err);
    if (PyErr_Occurred() != NULL)
        status = fail_by_exception(&cb, err);
    if (status != PQE_OK && result != NULL && PyTuple_Check(result) && PyTuple_Size(result) == 2) {
        /* It was made and cannot be stored: nothing may stay behind. */
        taken_back = PyTuple_GetItem(result, 1);
        call_and_forget(object, PyObject_CallMethod(object, "discard", "OO", id, taken_back));
        call_and_forget(object, PyObject_CallMethod(object, "detach", "O", taken_back));
    }
    Py_XDECREF(result);
    Py_XDECREF(id);
    pqepy_callback_end(&cb);
    return status;
}

static void
bridge_discard(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key)
{
    pqepy_callback cb;
    PyObject *object = self, *id;

    if (!pqepy_callback_begin(&cb))
        return;
    id = bytes_of(vault_id, PQE_VAULT_ID_SIZE);
    call_and_forget(object, id != NULL ? PyObject_CallMethod(object, "discard", "OO", id, (PyObject *)key) : NULL);
    Py_XDECREF(id);
    pqepy_callback_end(&cb);
}

static pqe_status
bridge_attach(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t *state, size_t state_len, void **key,
              pqe_error *err)
{
    PyObject *object = self, *id, *bytes, *result = NULL;
    pqepy_callback cb;
    pqe_status status = PQE_OK;

    if (!pqepy_callback_begin(&cb))
        return fail(err, PQE_E_BACKEND, UNREACHABLE);
    id = bytes_of(vault_id, PQE_VAULT_ID_SIZE);
    bytes = bytes_of(state, state_len);
    if (id != NULL && bytes != NULL)
        result = PyObject_CallMethod(object, "attach", "OO", id, bytes);
    if (result == NULL)
        status = fail_by_exception(&cb, err);
    else if (result != Py_None)
        *key = Py_NewRef(result);
    Py_XDECREF(result);
    Py_XDECREF(bytes);
    Py_XDECREF(id);
    pqepy_callback_end(&cb);
    return status;
}

static void
bridge_detach(void *self, void *key)
{
    pqepy_callback cb;
    PyObject *object = self;

    if (!pqepy_callback_begin(&cb))
        return;
    call_and_forget(object, PyObject_CallMethod(object, "detach", "O", (PyObject *)key));
    Py_DECREF((PyObject *)key);
    pqepy_callback_end(&cb);
}

static pqe_status
bridge_seal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *secret, size_t secret_len,
            pqe_blob *sealed, pqe_error *err)
{
    PyObject *object = self, *bound, *plain, *result = NULL;
    pqepy_callback cb;

    if (!pqepy_callback_begin(&cb))
        return fail(err, PQE_E_BACKEND, UNREACHABLE);
    bound = bytes_of(aad, aad_len);
    plain = PyByteArray_FromStringAndSize((const char *)secret, (Py_ssize_t)secret_len);
    if (bound != NULL && plain != NULL)
        result = PyObject_CallMethod(object, "seal", "OOO", (PyObject *)key, bound, plain);
    wipe_bytearray(plain);
    Py_XDECREF(plain);
    Py_XDECREF(bound);
    return finish(&cb, result, sealed, err);
}

static pqe_status
bridge_unseal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *sealed, size_t sealed_len,
              pqe_blob *secret, pqe_error *err)
{
    PyObject *object = self, *bound, *blob, *result = NULL;
    pqepy_callback cb;

    if (!pqepy_callback_begin(&cb))
        return fail(err, PQE_E_BACKEND, UNREACHABLE);
    bound = bytes_of(aad, aad_len);
    blob = bytes_of(sealed, sealed_len);
    if (bound != NULL && blob != NULL)
        result = PyObject_CallMethod(object, "unseal", "OOO", (PyObject *)key, bound, blob);
    Py_XDECREF(blob);
    Py_XDECREF(bound);
    return finish(&cb, result, secret, err);
}

static pqe_status
bridge_change_passphrase(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key, const uint8_t *state,
                         size_t state_len, pqe_blob *new_state, pqe_error *err)
{
    PyObject *object = self, *id, *bytes, *result = NULL;
    pqepy_callback cb;

    if (!pqepy_callback_begin(&cb))
        return fail(err, PQE_E_BACKEND, UNREACHABLE);
    id = bytes_of(vault_id, PQE_VAULT_ID_SIZE);
    bytes = bytes_of(state, state_len);
    if (id != NULL && bytes != NULL)
        result = PyObject_CallMethod(object, "change_passphrase", "OOO", id, (PyObject *)key, bytes);
    Py_XDECREF(bytes);
    Py_XDECREF(id);
    return finish(&cb, result, new_state, err);
}

/* Only True is consent; a method that forgets to return denies. */
static pqe_status
bridge_authorize(void *self, void *key, const char *reason, pqe_error *err)
{
    PyObject *object = self, *why, *result = NULL;
    pqe_status status = PQE_OK;
    pqepy_callback cb;

    if (!pqepy_callback_begin(&cb))
        return fail(err, PQE_E_BACKEND, UNREACHABLE);
    why = PyUnicode_DecodeUTF8(reason, (Py_ssize_t)strlen(reason), "replace");
    if (why != NULL)
        result = PyObject_CallMethod(object, "authorize", "OO", (PyObject *)key, why);
    Py_XDECREF(why);
    if (result == NULL)
        return finish(&cb, NULL, NULL, err);
    if (result != Py_True)
        status = fail(err, PQE_E_DENIED, "the user does not agree");
    Py_DECREF(result);
    pqepy_callback_end(&cb);
    return status;
}

const char *
pqepy_bridge_key_source(PyObject *object, const uint8_t *state, size_t state_len)
{
    static _Thread_local char word[32];
    PyObject *bytes, *result = NULL;
    pqepy_callback cb;
    Py_ssize_t len = 0;
    const char *text = NULL;

    if (!pqepy_callback_begin(&cb))
        return NULL;
    bytes = bytes_of(state, state_len);
    if (bytes != NULL)
        result = PyObject_CallMethod(object, "key_source", "O", bytes);
    if (result != NULL && PyUnicode_Check(result))
        text = PyUnicode_AsUTF8AndSize(result, &len);
    if (PyErr_Occurred() != NULL)
        PyErr_WriteUnraisable(object);
    if (text != NULL && (size_t)len < sizeof word) {
        memcpy(word, text, (size_t)len + 1);
        text = word;
    } else {
        text = NULL;
    }
    Py_XDECREF(result);
    Py_XDECREF(bytes);
    pqepy_callback_end(&cb);
    return text;
}

void
pqepy_bridge_fill(pqe_backend_ops *ops, bool can_change, bool can_ask)
{
    ops->enrol = bridge_enrol;
    ops->discard = bridge_discard;
    ops->attach = bridge_attach;
    ops->detach = bridge_detach;
    ops->seal = bridge_seal;
    ops->unseal = bridge_unseal;
    if (can_change)
        ops->change_passphrase = bridge_change_passphrase;
    if (can_ask)
        ops->authorize = bridge_authorize;
}
