/* SPDX-License-Identifier: Apache-2.0 */
/* The module: its types, constants, and functions without an object. */
#include "native.h"

bool
pqepy_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **out)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);

    *out = (PyTypeObject *)type;
    return type != NULL && PyModule_AddType(module, *out) == 0;
}

void
pqepy_free(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    union {
        void *slot;
        freefunc call;
    } release = {.slot = PyType_GetSlot(type, Py_tp_free)};

    release.call(self);
    Py_DECREF((PyObject *)type);
}

bool
pqepy_bytes_or_none(PyObject *object, const char **out)
{
    char *text = NULL;

    if (object != Py_None && PyBytes_AsStringAndSize(object, &text, NULL) != 0)
        return false;
    *out = text;
    return true;
}

static PyObject *
tags_of(const pqe_artifact *a)
{
    PyObject *tags = PyTuple_New((Py_ssize_t)a->tag_count);

    for (size_t i = 0; tags != NULL && i < a->tag_count; i++) {
        PyObject *tag = PyUnicode_FromString(a->tags[i]);
        if (tag == NULL || PyTuple_SetItem(tags, (Py_ssize_t)i, tag) != 0)
            Py_CLEAR(tags);
    }
    return tags;
}

PyObject *
pqepy_artifact(const pqe_artifact *a)
{
    PyObject *tags = tags_of(a);
    const char *kind = pqe_kind_name(a->kind);

    if (tags == NULL)
        return NULL;
    return Py_BuildValue("(sssssKsssNsssssKO)", a->artifact_id, a->name, kind != NULL ? kind : "", a->version,
                         a->app_bundle_id, (unsigned long long)a->size_bytes, a->created_at, a->device_id, a->model_did,
                         tags, a->description, a->hash_algorithm, a->content_hash, a->key_id, a->suite,
                         (unsigned long long)a->stored_bytes, a->is_inline ? Py_True : Py_False);
}

static PyObject *
builtin_backends(PyObject *module, PyObject *unused)
{
    PyObject *list = PyList_New(0);
    pqe_backend_info info;

    (void)module;
    (void)unused;
    for (size_t i = 0; list != NULL && pqe_backend_builtin(i, &info); i++) {
        PyObject *item = Py_BuildValue("(ssssI)", info.name, info.description, info.protection, info.caveat,
                                       (unsigned int)info.capabilities);
        if (item == NULL || PyList_Append(list, item) != 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

static PyObject *
status_name(PyObject *module, PyObject *args)
{
    int status;

    (void)module;
    if (!PyArg_ParseTuple(args, "i:status_name", &status))
        return NULL;
    return PyUnicode_FromString(pqe_status_name((pqe_status)status));
}

static PyObject *
origin_name(PyObject *module, PyObject *args)
{
    int origin;

    (void)module;
    if (!PyArg_ParseTuple(args, "i:origin_name", &origin))
        return NULL;
    return PyUnicode_FromString(pqe_origin_name((pqe_origin)origin));
}

static PyObject *
shut_down(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    pqepy_shut_down();
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"builtin_backends", builtin_backends, METH_NOARGS,
     "builtin_backends() -> list[tuple]\n\nName, description, protection, caveat, capabilities of each."},
    {"status_name", status_name, METH_VARARGS, "status_name(status) -> str"},
    {"origin_name", origin_name, METH_VARARGS, "origin_name(origin) -> str"},
    {"shut_down", shut_down, METH_NOARGS,
     "shut_down() -> None\n\nNo callback enters the interpreter from now on; for the end of the process."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                                        "pqc_enclave_sdk._native",
                                        "libpqcenclave as Python objects; use pqc_enclave_sdk instead.",
                                        -1,
                                        functions,
                                        NULL,
                                        NULL,
                                        NULL,
                                        NULL};

PyMODINIT_FUNC PyInit__native(void);

PyMODINIT_FUNC
PyInit__native(void)
{
    PyObject *module = PyModule_Create(&definition);

    if (module == NULL)
        return NULL;
    if (pqepy_errors_init() && pqepy_backend_init(module) && pqepy_vault_init(module) && pqepy_reader_init(module) &&
        pqepy_writer_init(module) && pqepy_content_init(module) && pqepy_sign_init(module) &&
        pqepy_attest_init(module) && pqepy_kem_init(module) && pqepy_recovery_init(module) &&
        PyModule_AddStringConstant(module, "VERSION", pqe_version()) == 0 &&
        PyModule_AddStringConstant(module, "HEADER_VERSION", PQE_VERSION) == 0)
        return module;
    Py_DECREF(module);
    return NULL;
}
