/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The type Content: decrypted bytes in memory of their own, which is wiped and unmapped when the last buffer taken of it
 * is released, or the object goes. Large pages where the system has them: most of the time of a large get is page faults.
 */
#include "native.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

PyTypeObject *pqepy_content_type;

typedef struct content {
    PyObject head;
    uint8_t *data; /* NULL: wiped */
    size_t len;
    size_t exports;
    bool moving; /* being moved into a bytes object: not to be touched */
} content;

static void
unmap(content *self)
{
    munmap(self->data, self->len != 0 ? self->len : 1);
    self->data = NULL;
}

static void
wipe(content *self)
{
    if (self->data == NULL)
        return;
    explicit_bzero(self->data, self->len);
    unmap(self);
}

#define LARGE ((size_t)4 << 20)

PyObject *
pqepy_content_new(size_t len, void **data)
{
    PyObject *object = PyType_GenericAlloc(pqepy_content_type, 0);
    content *self = (content *)object;
    void *p;

    if (object == NULL)
        return NULL;
    p = mmap(NULL, len != 0 ? len : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        Py_DECREF(object);
        return errno == ENOMEM ? PyErr_NoMemory() : PyErr_SetFromErrno(PyExc_OSError);
    }
    madvise(p, len != 0 ? len : 1, MADV_DONTDUMP); /* both are advice: failure leaves memory usable */
    if (len >= LARGE)
        madvise(p, len, MADV_HUGEPAGE);
    self->data = p;
    self->len = len;
    *data = p;
    return object;
}

static void
content_dealloc(PyObject *object)
{
    wipe((content *)object);
    pqepy_free(object);
}

static bool
check(const content *self)
{
    if (self->data != NULL && !self->moving)
        return true;
    PyErr_SetString(PyExc_ValueError, "the content was released");
    return false;
}

static int
content_getbuffer(PyObject *object, Py_buffer *view, int flags)
{
    content *self = (content *)object;

    if (!check(self)) {
        view->obj = NULL;
        return -1;
    }
    if (PyBuffer_FillInfo(view, object, self->data, (Py_ssize_t)self->len, 1, flags) != 0)
        return -1;
    self->exports++;
    return 0;
}

static void
content_releasebuffer(PyObject *object, Py_buffer *view)
{
    content *self = (content *)object;

    (void)view;
    if (--self->exports == 0)
        wipe(self);
}

static Py_ssize_t
content_length(PyObject *object)
{
    return (Py_ssize_t)((content *)object)->len;
}

#define MOVE_SLICE ((size_t)8 << 20)

/* Wipes what it has copied and gives the pages back, so that the content is never in memory twice. */
static PyObject *
content_take(PyObject *object, PyObject *unused)
{
    content *self = (content *)object;
    PyObject *bytes;
    PyThreadState *thread;
    char *to;

    (void)unused;
    if (!check(self))
        return NULL;
    if (self->exports != 0) {
        PyErr_SetString(PyExc_BufferError, "the content is in use by a memoryview");
        return NULL;
    }
    bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)self->len);
    if (bytes == NULL)
        return NULL;
    to = PyBytes_AsString(bytes);
    self->moving = true;
    thread = PyEval_SaveThread();
    for (size_t at = 0; at < self->len; at += MOVE_SLICE) {
        size_t n = self->len - at < MOVE_SLICE ? self->len - at : MOVE_SLICE;
        memcpy(to + at, self->data + at, n);
        explicit_bzero(self->data + at, n);
        madvise(self->data + at, n, MADV_DONTNEED);
    }
    PyEval_RestoreThread(thread);
    self->moving = false;
    unmap(self); /* to wipe it again would bring its pages back */
    return bytes;
}

static PyObject *
content_release(PyObject *object, PyObject *unused)
{
    content *self = (content *)object;

    (void)unused;
    if (self->exports != 0 || self->moving) {
        PyErr_SetString(PyExc_BufferError, "the content is in use");
        return NULL;
    }
    wipe(self);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"take", content_take, METH_NOARGS, "take() -> bytes\n\nMoves the content into a bytes object; this one is wiped."},
    {"release", content_release, METH_NOARGS, "release() -> None\n\nWipes; BufferError while a buffer is taken of it."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot slots[] = {{Py_tp_doc, (void *)"Decrypted bytes; a read-only buffer, wiped when it is released."},
                              {Py_tp_dealloc, (void *)content_dealloc},
                              {Py_tp_methods, methods},
                              {Py_sq_length, (void *)content_length},
                              {Py_bf_getbuffer, (void *)content_getbuffer},
                              {Py_bf_releasebuffer, (void *)content_releasebuffer},
                              {0, NULL}};
static PyType_Spec spec = {"pqc_enclave_sdk._native.Content", (int)sizeof(content), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

bool
pqepy_content_init(PyObject *module)
{
    return pqepy_add_type(module, &spec, &pqepy_content_type);
}
