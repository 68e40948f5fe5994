/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery keys: the type RecoveryKey, and methods of the type Vault. */
#include "native.h"

#include <string.h>

#include <pqc_enclave/recovery.h>

typedef struct recovery_key {
    PyObject head;
    pqe_recovery_key *key;
} recovery_key;

static PyTypeObject *key_type;

static PyObject *
wrap(pqe_recovery_key *key)
{
    PyObject *object = PyType_GenericAlloc(key_type, 0);

    if (object == NULL)
        pqe_recovery_key_free(&key);
    else
        ((recovery_key *)object)->key = key;
    return object;
}

static PyObject *
result(pqe_status status, pqe_recovery_key *key, const pqe_error *err)
{
    if (status == PQE_OK)
        return wrap(key);
    pqepy_raise(status, err, NULL);
    return NULL;
}

static PyObject *
key_generate(PyObject *type, PyObject *unused)
{
    pqe_recovery_key *key = NULL;
    pqe_error err = {0};
    pqe_status status = pqe_recovery_key_generate(&key, &err);

    (void)type;
    (void)unused;
    return result(status, key, &err);
}

typedef pqe_status (*read_fn)(const char *text, size_t len, pqe_recovery_key **out, pqe_error *err);

static PyObject *
read_key(PyObject *args, const char *format, read_fn read)
{
    pqe_recovery_key *key = NULL;
    pqe_error err = {0};
    const char *text;
    Py_ssize_t len;
    pqe_status status;

    if (!PyArg_ParseTuple(args, format, &text, &len))
        return NULL;
    status = read(text, (size_t)len, &key, &err);
    return result(status, key, &err);
}

static PyObject *
key_from_words(PyObject *type, PyObject *args)
{
    (void)type;
    return read_key(args, "s#:from_words", pqe_recovery_key_from_words);
}

static PyObject *
key_from_pem(PyObject *type, PyObject *args)
{
    (void)type;
    return read_key(args, "s#:from_pem", pqe_recovery_key_from_pem);
}

static PyObject *
key_words(PyObject *object, PyObject *unused)
{
    char buf[PQE_RECOVERY_WORDS_MAX];
    pqe_error err = {0};
    PyObject *text = NULL;
    size_t len = 0;
    pqe_status status = pqe_recovery_key_words(((recovery_key *)object)->key, buf, sizeof buf, &len, &err);

    (void)unused;
    if (status == PQE_OK)
        text = PyUnicode_FromStringAndSize(buf, (Py_ssize_t)len);
    else
        pqepy_raise(status, &err, NULL);
    explicit_bzero(buf, sizeof buf);
    return text;
}

static PyObject *
key_pem(PyObject *object, PyObject *unused)
{
    char buf[PQE_RECOVERY_PEM_MAX];
    pqe_error err = {0};
    PyObject *text = NULL;
    size_t len = 0;
    pqe_status status = pqe_recovery_key_pem(((recovery_key *)object)->key, buf, sizeof buf, &len, &err);

    (void)unused;
    if (status == PQE_OK)
        text = PyUnicode_FromStringAndSize(buf, (Py_ssize_t)len);
    else
        pqepy_raise(status, &err, NULL);
    explicit_bzero(buf, sizeof buf);
    return text;
}

static PyObject *
key_id(PyObject *object, PyObject *unused)
{
    (void)unused;
    return PyUnicode_FromString(pqe_recovery_key_id(((recovery_key *)object)->key));
}

static void
key_dealloc(PyObject *object)
{
    pqe_recovery_key_free(&((recovery_key *)object)->key);
    pqepy_free(object);
}

static PyMethodDef key_methods[] = {
    {"generate", key_generate, METH_NOARGS | METH_STATIC, "generate() -> RecoveryKey"},
    {"from_words", key_from_words, METH_VARARGS | METH_STATIC, "from_words(words) -> RecoveryKey"},
    {"from_pem", key_from_pem, METH_VARARGS | METH_STATIC, "from_pem(pem) -> RecoveryKey"},
    {"words", key_words, METH_NOARGS, "words() -> str"},
    {"pem", key_pem, METH_NOARGS, "pem() -> str"},
    {"id", key_id, METH_NOARGS, "id() -> str"},
    {NULL, NULL, 0, NULL}};

static PyType_Slot slots[] = {{Py_tp_doc, (void *)"A recovery key with its secret in locked memory."},
                              {Py_tp_dealloc, (void *)key_dealloc},
                              {Py_tp_methods, key_methods},
                              {0, NULL}};
static PyType_Spec spec = {"pqc_enclave_sdk._native.RecoveryKey", (int)sizeof(recovery_key), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};

bool
pqepy_recovery_init(PyObject *module)
{
    return pqepy_add_type(module, &spec, &key_type);
}

/* ---- methods of the type Vault ---- */

PyObject *
pqepy_vault_recovery_create(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    const char *name = NULL, *caller = NULL;
    PyObject *key;
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "O!zz:recovery_create", key_type, &key, &name, &caller) ||
        !pqepy_enter_as(&call, self, caller))
        return NULL;
    if (!pqepy_leave_as(&call, pqe_recovery_create(self->vault, ((recovery_key *)key)->key, name, &call.err)))
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
pqepy_vault_recovery_remove(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    const char *id, *caller = NULL;
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "sz:recovery_remove", &id, &caller) || !pqepy_enter_as(&call, self, caller))
        return NULL;
    if (!pqepy_leave_as(&call, pqe_recovery_remove(self->vault, id, &call.err)))
        return NULL;
    Py_RETURN_NONE;
}

typedef struct found {
    size_t count;
    pqe_recovery_info all[PQE_RECOVERY_KEYS_MAX];
} found;

static bool
keep(void *user, const pqe_recovery_info *info)
{
    found *f = user;

    f->all[f->count++] = *info;
    return f->count < PQE_RECOVERY_KEYS_MAX + 1;
}

PyObject *
pqepy_vault_recovery_list(PyObject *object, PyObject *unused)
{
    pqepy_vault *self = (pqepy_vault *)object;
    found f = {0};
    PyObject *list;
    pqepy_call call;

    (void)unused;
    if (!pqepy_enter(&call, self->backend, self))
        return NULL;
    if (!pqepy_leave(&call, pqe_recovery_list(self->vault, keep, &f, &call.err)))
        return NULL;
    list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < f.count; i++) {
        PyObject *one = Py_BuildValue("(ssss)", f.all[i].id, f.all[i].name, f.all[i].created_at, f.all[i].suite);
        if (one == NULL || PyList_Append(list, one) != 0)
            Py_CLEAR(list);
        Py_XDECREF(one);
    }
    return list;
}

/* ---- to another backend ---- */

PyObject *
pqepy_vault_move(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqepy_backend *from = self->backend, *to;
    pqe_rotate_opts opts = {.size = sizeof opts};
    const char *caller = NULL;
    PyObject *backend;
    int rekey, discard;
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "O!ppz:move", pqepy_backend_type, &backend, &rekey, &discard, &caller))
        return NULL;
    to = (pqepy_backend *)backend;
    if (to->before == NULL && (to->before = PyList_New(0)) == NULL)
        return NULL;
    if (!pqepy_enter_as(&call, self, caller))
        return NULL;
    opts.backend = to->backend;
    opts.rekey = rekey != 0;
    opts.discard_old = discard != 0;
    if (!pqepy_leave_as(&call, pqe_rotate(self->vault, &opts, &call.err)))
        return NULL;
    pqepy_backend_vault_moved(from, to);
    self->backend = (pqepy_backend *)Py_NewRef(backend);
    Py_DECREF((PyObject *)from);
    Py_RETURN_NONE;
}

static void
note_lost(void *user, const char *did, const char *name)
{
    PyObject *lost = user;
    pqepy_callback cb;
    PyObject *one;

    if (!pqepy_callback_begin(&cb))
        return;
    one = Py_BuildValue("(ss)", did, name);
    if (one == NULL || PyList_Append(lost, one) != 0)
        PyErr_Clear(); /* the audit log has it */
    Py_XDECREF(one);
    pqepy_callback_end(&cb);
}

PyObject *
pqepy_vault_recover(PyObject *type, PyObject *args)
{
    pqe_recovery_use_opts opts = {.size = sizeof opts, .lost = note_lost};
    PyObject *backend, *dir, *key, *object, *lost = NULL;
    pqe_vault *vault = NULL;
    pqepy_backend *to;
    unsigned int timeout;
    pqepy_call call;
    pqe_status status;

    (void)type;
    if (!PyArg_ParseTuple(args, "O!OO!Iz:recover", pqepy_backend_type, &backend, &dir, key_type, &key, &timeout,
                          &opts.caller) ||
        !pqepy_bytes_or_none(dir, &opts.dir) || (lost = PyList_New(0)) == NULL)
        return NULL;
    to = (pqepy_backend *)backend;
    opts.backend = to->backend;
    opts.key = ((recovery_key *)key)->key;
    opts.busy_timeout_ms = timeout;
    opts.user = lost;
    to->vaults++; /* before the GIL goes, so that nobody closes it meanwhile */
    status = PQE_E_STATE;
    if (pqepy_enter(&call, to, NULL)) {
        status = pqe_recovery_use(&opts, &vault, &call.err);
        if (!pqepy_leave(&call, status) && status == PQE_OK)
            status = PQE_E_STATE;
    }
    if (status != PQE_OK) {
        pqepy_backend_vault_closed(to);
        Py_DECREF(lost);
        return NULL;
    }
    object = pqepy_vault_wrap(vault, to);
    if (object == NULL) {
        Py_DECREF(lost);
        return NULL;
    }
    return Py_BuildValue("(NN)", object, lost);
}
