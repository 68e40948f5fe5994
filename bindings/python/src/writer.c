/* SPDX-License-Identifier: Apache-2.0 */
/* The type Writer: a put in progress, by one thread at a time. */
#include "native.h"

#include <string.h>

PyTypeObject *pqepy_writer_type;

typedef struct writer {
    PyObject head;
    pqe_writer *writer; /* NULL: finished or aborted */
    pqepy_vault *vault;
    uint64_t written;
    bool busy;
} writer;

/* UTF-8 of a str without NUL; NULL with an exception. */
static const char *
text_of(PyObject *object)
{
    Py_ssize_t len;
    const char *text;

    if (!PyUnicode_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a tag must be a str");
        return NULL;
    }
    text = PyUnicode_AsUTF8AndSize(object, &len);
    if (text != NULL && strlen(text) != (size_t)len) {
        PyErr_SetString(PyExc_ValueError, "a tag holds a null character");
        return NULL;
    }
    return text;
}

static bool
tags_of(PyObject *tuple, const char *tags[PQE_TAGS_MAX], size_t *count)
{
    Py_ssize_t n = PyTuple_Size(tuple);

    if (n > PQE_TAGS_MAX) {
        PyErr_Format(PyExc_ValueError, "there are more than %d tags", PQE_TAGS_MAX);
        return false;
    }
    for (Py_ssize_t i = 0; i < n; i++)
        if ((tags[i] = text_of(PyTuple_GetItem(tuple, i))) == NULL)
            return false;
    *count = (size_t)n;
    return true;
}

static PyObject *
writer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"vault",     "name",        "kind", "version", "app_bundle_id",
                            "model_did", "description", "tags", "hash",    NULL};
    const char *kind, *tag_texts[PQE_TAGS_MAX];
    pqe_put_opts opts = {.size = sizeof opts, .tags = tag_texts};
    PyObject *vault, *tags, *object;
    writer *self;
    pqepy_call call;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!ssssssO!|z:Writer", names, pqepy_vault_type, &vault, &opts.name,
                                     &kind, &opts.version, &opts.app_bundle_id, &opts.model_did, &opts.description,
                                     &PyTuple_Type, &tags, &opts.hash))
        return NULL;
    if (!tags_of(tags, tag_texts, &opts.tag_count))
        return NULL;
    if (!pqe_kind_from_name(kind, &opts.kind)) {
        PyErr_Format(PyExc_ValueError, "unknown kind of artifact: '%s'", kind);
        return NULL;
    }
    if ((object = PyType_GenericAlloc(type, 0)) == NULL)
        return NULL;
    self = (writer *)object;
    self->vault = (pqepy_vault *)Py_NewRef(vault);
    if (pqepy_enter(&call, self->vault->backend, self->vault) &&
        pqepy_leave(&call, pqe_writer_open(self->vault->vault, &opts, &self->writer, &call.err)))
        return object;
    Py_DECREF(object);
    return NULL;
}

static int
writer_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT((PyObject *)Py_TYPE(object));
    Py_VISIT((PyObject *)((writer *)object)->vault);
    return 0;
}

static void
abort_handle(void *handle, PyObject *vault)
{
    pqe_writer *w = handle;
    PyThreadState *thread = PyEval_SaveThread();

    (void)vault;
    pqe_writer_abort(&w);
    PyEval_RestoreThread(thread);
}

static void
abort_now(writer *self)
{
    pqe_writer *w = self->writer;

    self->writer = NULL;
    if (w != NULL)
        pqepy_close(abort_handle, w, (PyObject *)self->vault);
}

static void
writer_dealloc(PyObject *object)
{
    writer *self = (writer *)object;

    PyObject_GC_UnTrack(object);
    abort_now(self);
    Py_XDECREF((PyObject *)self->vault);
    pqepy_free(object);
}

/* Marks the writer as busy; false with an exception if it is, or is over. */
static bool
take(writer *self)
{
    if (self->writer == NULL || self->busy) {
        PyErr_SetString(PyExc_ValueError, self->busy ? "the writer is in use by another thread" : "the put is over");
        return false;
    }
    self->busy = true;
    return true;
}

static bool
write_slices(writer *self, const uint8_t *data, size_t len, PyObject *progress, int64_t total)
{
    pqepy_call call;
    bool ok;

    do { /* also at length 0: a locked vault says so */
        size_t n = len < PQEPY_WRITE_SLICE ? len : PQEPY_WRITE_SLICE;
        ok = pqepy_enter(&call, self->vault->backend, self->vault) &&
             pqepy_leave(&call, pqe_writer_write(self->writer, data, n, &call.err));
        data += n;
        len -= n;
        self->written += ok ? n : 0;
        ok = ok && pqepy_report(progress, self->written, total);
    } while (ok && len > 0);
    return ok;
}

static PyObject *
writer_write(PyObject *object, PyObject *args)
{
    writer *self = (writer *)object;
    PyObject *content, *progress = NULL, *given_total = Py_None;
    Py_buffer view;
    int64_t total = -1;
    bool ok;

    if (!PyArg_ParseTuple(args, "O|OO:write", &content, &progress, &given_total))
        return NULL;
    if (given_total != Py_None && (total = PyLong_AsLongLong(given_total)) == -1 && PyErr_Occurred() != NULL)
        return NULL;
    if (PyObject_GetBuffer(content, &view, PyBUF_SIMPLE) != 0)
        return NULL;
    ok = take(self);
    if (ok) {
        ok = write_slices(self, view.buf, (size_t)view.len, progress, total);
        self->busy = false;
    }
    PyBuffer_Release(&view);
    if (!ok)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
writer_finish(PyObject *object, PyObject *args)
{
    writer *self = (writer *)object;
    pqe_writer *w;
    pqe_artifact *artifact = NULL;
    const char *caller = NULL;
    PyObject *result;
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "|z:finish", &caller) || !take(self))
        return NULL;
    w = self->writer;
    if (!pqepy_enter_as(&call, self->vault, caller)) {
        self->busy = false;
        return NULL;
    }
    self->writer = NULL;
    self->busy = false;
    if (!pqepy_leave_as(&call, pqe_writer_finish(&w, &artifact, &call.err)))
        return NULL;
    result = pqepy_artifact(artifact);
    pqe_artifact_free(&artifact);
    return result;
}

static PyObject *
writer_abort(PyObject *object, PyObject *unused)
{
    writer *self = (writer *)object;

    (void)unused;
    if (self->busy) {
        PyErr_SetString(PyExc_ValueError, "the writer is in use by another thread");
        return NULL;
    }
    abort_now(self);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"write", writer_write, METH_VARARGS, "write(content, progress=None, total=None) -> None"},
    {"finish", writer_finish, METH_VARARGS,
     "finish(caller=None) -> tuple\n\nThe sole commit; durable when it returns."},
    {"abort", writer_abort, METH_NOARGS, "abort() -> None\n\nNothing is stored."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)"Writer(vault, name, kind, version, app_bundle_id, model_did, description, tags)\n\nA put in "
                        "progress; nothing is visible before finish()."},
    {Py_tp_new, (void *)writer_new},
    {Py_tp_dealloc, (void *)writer_dealloc},
    {Py_tp_traverse, (void *)writer_traverse},
    {Py_tp_methods, methods},
    {0, NULL}};
static PyType_Spec spec = {"pqc_enclave_sdk._native.Writer", (int)sizeof(writer), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, slots};

bool
pqepy_writer_init(PyObject *module)
{
    return pqepy_add_type(module, &spec, &pqepy_writer_type);
}
