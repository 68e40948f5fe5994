/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The type Content: decrypted bytes, wiped when the last buffer taken of them is released, or the object goes.
 *
 * Small ones are in a mapping of their own, and copied when a bytes object is asked for. Large ones are decrypted into
 * the memory of a bytes object that nobody else has seen; asked for, it is given away as it is, and cannot be wiped any
 * more. Large pages where the system has them: most of the time of a large get is page faults.
 */
#include "native.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

PyTypeObject *pqepy_content_type;

typedef struct content {
    PyObject head;
    uint8_t *data;   /* NULL: released */
    PyObject *bytes; /* whose memory that is; NULL: a mapping */
    bool shared;     /* the bytes object was given away */
    size_t len;
    size_t exports;
} content;

#define LARGE ((size_t)32 << 20) /* from here on malloc(3) always makes a mapping of its own */

static void
wipe(content *self)
{
    if (self->data == NULL)
        return;
    if (!self->shared)
        explicit_bzero(self->data, self->len);
    if (self->bytes == NULL)
        munmap(self->data, self->len != 0 ? self->len : 1);
    Py_CLEAR(self->bytes);
    self->data = NULL;
}

/* Both are advice: failure leaves memory usable. */
static void
advise(void *data, size_t len)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)data & ~(page - 1);
    size_t span = (size_t)((uintptr_t)data - first) + len;

    madvise((char *)data - ((uintptr_t)data - first), span, MADV_DONTDUMP);
    if (len >= LARGE)
        madvise((char *)data - ((uintptr_t)data - first), span, MADV_HUGEPAGE);
}

static bool
allocate(content *self, size_t len)
{
    void *p;

    if (len >= LARGE) {
        self->bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len);
        p = self->bytes != NULL ? PyBytes_AsString(self->bytes) : NULL;
    } else {
        p = mmap(NULL, len != 0 ? len : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) {
            PyErr_NoMemory();
            p = NULL;
        }
    }
    if (p == NULL)
        return false;
    advise(p, len != 0 ? len : 1);
    self->data = p;
    self->len = len;
    return true;
}

PyObject *
pqepy_content_new(size_t len, void **data)
{
    PyObject *object = PyType_GenericAlloc(pqepy_content_type, 0);
    content *self = (content *)object;

    if (object != NULL && !allocate(self, len))
        Py_CLEAR(object);
    if (object != NULL)
        *data = self->data;
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
    if (self->data != NULL)
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

static PyObject *
content_take(PyObject *object, PyObject *unused)
{
    content *self = (content *)object;
    PyObject *bytes;

    (void)unused;
    if (!check(self))
        return NULL;
    if (self->bytes != NULL) {
        self->shared = true;
        return Py_NewRef(self->bytes);
    }
    bytes = PyBytes_FromStringAndSize((const char *)self->data, (Py_ssize_t)self->len);
    if (bytes != NULL && self->exports == 0)
        wipe(self);
    return bytes;
}

static PyObject *
content_release(PyObject *object, PyObject *unused)
{
    content *self = (content *)object;

    (void)unused;
    if (self->exports != 0) {
        PyErr_SetString(PyExc_BufferError, "the content is in use");
        return NULL;
    }
    wipe(self);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"take", content_take, METH_NOARGS,
     "take() -> bytes\n\nThe content as a bytes object, which is the caller's; while no buffer is taken of this object "
     "it is "
     "released."},
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
