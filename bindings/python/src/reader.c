/* SPDX-License-Identifier: Apache-2.0 */
/* The type Reader: an artifact opened for reading, by many threads at once. */
#include "native.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

PyTypeObject *pqepy_reader_type;

typedef struct reader {
    PyObject head;
    pqe_reader *reader; /* NULL: closed */
    pqepy_vault *vault;
    PyObject *artifact;
    uint64_t size;
    size_t users; /* calls in progress */
    bool closing;
} reader;

static void
close_handle(void *handle, PyObject *vault)
{
    pqe_reader *r = handle;
    PyThreadState *thread = PyEval_SaveThread();

    (void)vault;
    pqe_reader_close(&r);
    PyEval_RestoreThread(thread);
}

static void
close_now(reader *self)
{
    pqe_reader *r = self->reader;

    self->reader = NULL;
    if (r != NULL)
        pqepy_close(close_handle, r, (PyObject *)self->vault);
}

static bool
enter(reader *self, pqepy_call *call)
{
    if (self->reader == NULL || self->closing) {
        PyErr_SetString(PyExc_ValueError, "I/O operation on a closed artifact");
        return false;
    }
    self->users++;
    if (pqepy_enter(call, self->vault->backend, self->vault))
        return true;
    self->users--;
    return false;
}

static bool
leave(reader *self, pqepy_call *call, pqe_status status)
{
    bool ok = pqepy_leave(call, status);

    self->users--;
    if (self->closing && self->users == 0)
        close_now(self);
    return ok;
}

static PyObject *
reader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"vault", "name_or_id", "caller", NULL};
    PyObject *vault, *object;
    const pqe_artifact *artifact;
    const char *name, *caller = NULL;
    reader *self;
    pqepy_call call;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!s|z:Reader", names, pqepy_vault_type, &vault, &name, &caller))
        return NULL;
    if ((object = PyType_GenericAlloc(type, 0)) == NULL)
        return NULL;
    self = (reader *)object;
    self->vault = (pqepy_vault *)Py_NewRef(vault);
    if (!pqepy_enter_as(&call, self->vault, caller) ||
        !pqepy_leave_as(&call, pqe_reader_open(self->vault->vault, name, &self->reader, &call.err)))
        goto failed;
    artifact = pqe_reader_artifact(self->reader);
    self->size = artifact->size_bytes;
    if ((self->artifact = pqepy_artifact(artifact)) != NULL)
        return object;
failed:
    Py_DECREF(object);
    return NULL;
}

static int
reader_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT((PyObject *)Py_TYPE(object));
    Py_VISIT((PyObject *)((reader *)object)->vault);
    return 0;
}

static void
reader_dealloc(PyObject *object)
{
    reader *self = (reader *)object;

    PyObject_GC_UnTrack(object);
    close_now(self);
    Py_XDECREF(self->artifact);
    Py_XDECREF((PyObject *)self->vault);
    pqepy_free(object);
}

static PyObject *
reader_close(PyObject *object, PyObject *unused)
{
    reader *self = (reader *)object;

    (void)unused;
    self->closing = true;
    if (self->users == 0)
        close_now(self);
    Py_RETURN_NONE;
}

/* Reads up to `len` bytes in slices. Each has been authenticated; on failure none of them stays. */
static bool
read_slices(reader *self, uint64_t offset, uint8_t *to, size_t len, PyObject *progress, size_t *done)
{
    size_t got = 0;
    pqepy_call call;
    bool ok;

    *done = 0;
    do {
        size_t n = len - *done < PQEPY_READ_SLICE ? len - *done : PQEPY_READ_SLICE;
        if (!(ok = enter(self, &call)))
            break;
        ok = leave(self, &call, pqe_reader_read_at(self->reader, offset + *done, to + *done, n, &got, &call.err));
        *done += got;
        ok = ok && pqepy_report(progress, *done, (int64_t)len);
        if (got < n)
            break;
    } while (ok && *done < len);
    if (!ok)
        explicit_bzero(to, *done);
    return ok;
}

static PyObject *
reader_readinto_at(PyObject *object, PyObject *args)
{
    reader *self = (reader *)object;
    unsigned long long offset;
    PyObject *target;
    Py_buffer view;
    size_t done;
    bool ok;

    if (!PyArg_ParseTuple(args, "KO:readinto_at", &offset, &target))
        return NULL;
    if (PyObject_GetBuffer(target, &view, PyBUF_WRITABLE) != 0)
        return NULL;
    ok = read_slices(self, offset, view.buf, (size_t)view.len, NULL, &done);
    PyBuffer_Release(&view);
    return ok ? PyLong_FromSize_t(done) : NULL;
}

/* A bytes object is filled before anybody else sees it. */
static PyObject *
reader_read_at(PyObject *object, PyObject *args)
{
    reader *self = (reader *)object;
    unsigned long long offset;
    Py_ssize_t size;
    uint64_t left;
    PyObject *bytes;
    size_t done;

    if (!PyArg_ParseTuple(args, "Kn:read_at", &offset, &size))
        return NULL;
    if (size < 0) {
        PyErr_SetString(PyExc_ValueError, "the size is negative");
        return NULL;
    }
    left = offset < self->size ? self->size - offset : 0;
    if ((uint64_t)size > left)
        size = (Py_ssize_t)left;
    bytes = PyBytes_FromStringAndSize(NULL, size);
    if (bytes == NULL)
        return NULL;
    if (!read_slices(self, offset, (uint8_t *)PyBytes_AsString(bytes), (size_t)size, NULL, &done) ||
        done != (size_t)size) {
        if (PyErr_Occurred() == NULL)
            PyErr_SetString(PyExc_RuntimeError, "the artifact is shorter than its record says");
        Py_CLEAR(bytes);
    }
    return bytes;
}

static PyObject *
reader_content(PyObject *object, PyObject *args)
{
    reader *self = (reader *)object;
    PyObject *progress = NULL, *made;
    size_t done;
    void *data;

    if (!PyArg_ParseTuple(args, "|O:content", &progress))
        return NULL;
    if (self->size > (uint64_t)PY_SSIZE_T_MAX) {
        PyErr_SetString(PyExc_MemoryError, "the artifact does not fit into this process");
        return NULL;
    }
    made = pqepy_content_new((size_t)self->size, &data);
    if (made != NULL && !read_slices(self, 0, data, (size_t)self->size, progress, &done))
        Py_CLEAR(made);
    return made;
}

/* ---- into a file ---- */

#define COPY_SLICE ((size_t)4 << 20)

static int
write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return errno;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static bool
copy_slices(reader *self, int fd, uint8_t *buffer, PyObject *progress)
{
    uint64_t offset = 0;
    size_t got = 0;
    int error = 0;
    pqepy_call call;
    pqe_status status;

    do {
        if (!enter(self, &call))
            return false;
        status = pqe_reader_read_at(self->reader, offset, buffer, COPY_SLICE, &got, &call.err);
        if (status == PQE_OK)
            error = write_all(fd, buffer, got);
        if (!leave(self, &call, status))
            return false;
        if (error != 0) {
            errno = error;
            PyErr_SetFromErrno(PyExc_OSError);
            return false;
        }
        offset += got;
        if (!pqepy_report(progress, offset, (int64_t)self->size))
            return false;
    } while (got == COPY_SLICE);
    return true;
}

static PyObject *
reader_copy_to(PyObject *object, PyObject *args)
{
    PyObject *progress = NULL;
    void *buffer;
    int fd;
    bool ok;

    if (!PyArg_ParseTuple(args, "i|O:copy_to", &fd, &progress))
        return NULL;
    buffer = mmap(NULL, COPY_SLICE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED)
        return PyErr_NoMemory();
    madvise(buffer, COPY_SLICE, MADV_DONTDUMP);
    ok = copy_slices((reader *)object, fd, buffer, progress);
    explicit_bzero(buffer, COPY_SLICE);
    munmap(buffer, COPY_SLICE);
    if (!ok)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- ciphertext ---- */

static PyObject *
reader_stored_at(PyObject *object, PyObject *args)
{
    reader *self = (reader *)object;
    unsigned long long offset;
    Py_ssize_t size;
    PyObject *bytes, *part;
    size_t got = 0;
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "Kn:stored_at", &offset, &size))
        return NULL;
    bytes = PyBytes_FromStringAndSize(NULL, size);
    if (bytes == NULL)
        return NULL;
    if (!enter(self, &call)) {
        Py_DECREF(bytes);
        return NULL;
    }
    if (!leave(self, &call,
               pqe_reader_read_stored_at(self->reader, offset, PyBytes_AsString(bytes), (size_t)size, &got, &call.err)))
        Py_CLEAR(bytes);
    if (bytes == NULL || got == (size_t)size)
        return bytes;
    part = PyBytes_FromStringAndSize(PyBytes_AsString(bytes), (Py_ssize_t)got);
    Py_DECREF(bytes);
    return part;
}

static PyObject *
reader_artifact(PyObject *object, void *unused)
{
    (void)unused;
    return Py_NewRef(((reader *)object)->artifact);
}

static PyObject *
reader_size(PyObject *object, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((reader *)object)->size);
}

static PyMethodDef methods[] = {
    {"close", reader_close, METH_NOARGS, "close() -> None\n\nCloses once the calls in progress are over."},
    {"readinto_at", reader_readinto_at, METH_VARARGS, "readinto_at(offset, buffer) -> int"},
    {"read_at", reader_read_at, METH_VARARGS, "read_at(offset, size) -> bytes"},
    {"content", reader_content, METH_VARARGS, "content(progress=None) -> Content"},
    {"copy_to", reader_copy_to, METH_VARARGS, "copy_to(fd, progress=None) -> None"},
    {"stored_at", reader_stored_at, METH_VARARGS, "stored_at(offset, size) -> bytes\n\nCiphertext as it is stored."},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef getset[] = {{"artifact", reader_artifact, NULL, "Fields of the artifact.", NULL},
                               {"size", reader_size, NULL, "Bytes of plaintext.", NULL},
                               {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)"Reader(vault, name_or_id, caller=None)\n\nAn artifact opened for reading."},
    {Py_tp_new, (void *)reader_new},
    {Py_tp_dealloc, (void *)reader_dealloc},
    {Py_tp_traverse, (void *)reader_traverse},
    {Py_tp_methods, methods},
    {Py_tp_getset, getset},
    {0, NULL}};
static PyType_Spec spec = {"pqc_enclave_sdk._native.Reader", (int)sizeof(reader), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, slots};

bool
pqepy_reader_init(PyObject *module)
{
    return pqepy_add_type(module, &spec, &pqepy_reader_type);
}
