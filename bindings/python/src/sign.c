/* SPDX-License-Identifier: Apache-2.0 */
/* The type SigningKey, and ML-DSA functions without an object. No vault is involved: these calls take no lock. */
#include "native.h"

#include <string.h>

#include <pqc_enclave/identity.h>

PyTypeObject *pqepy_signing_key_type;

typedef struct signing_key {
    PyObject head;
    pqe_signing_key *key; /* from birth to death, and never changed: any thread may sign with it */
} signing_key;

pqe_signing_key *
pqepy_signing_key_of(PyObject *object)
{
    return ((signing_key *)object)->key;
}

PyObject *
pqepy_signing_key_wrap(pqe_signing_key *key)
{
    PyObject *object = PyType_GenericAlloc(pqepy_signing_key_type, 0);

    if (object == NULL)
        pqe_signing_key_free(&key);
    else
        ((signing_key *)object)->key = key;
    return object;
}

bool
pqepy_algorithm(const char *name, pqe_sig_algorithm *out)
{
    if (pqe_sig_from_name(name, out))
        return true;
    PyErr_Format(PyExc_ValueError, "no signature algorithm is named \"%.40s\"", name);
    return false;
}

static PyObject *
finish_key(pqe_status status, pqe_signing_key *key, const pqe_error *err)
{
    if (status == PQE_OK)
        return pqepy_signing_key_wrap(key);
    pqepy_raise(status, err, NULL);
    return NULL;
}

/* SigningKey(algorithm, seed=None): fresh without a seed. */
static PyObject *
key_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"algorithm", "seed", NULL};
    pqe_sig_algorithm algorithm;
    pqe_signing_key *key = NULL;
    Py_buffer seed = {0};
    const char *name;
    pqe_error err = {0};
    pqe_status status;

    (void)type;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s|y*:SigningKey", names, &name, &seed))
        return NULL;
    if (!pqepy_algorithm(name, &algorithm)) {
        PyBuffer_Release(&seed);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = seed.obj == NULL ? pqe_signing_key_generate(algorithm, &key, &err)
                              : pqe_signing_key_from_seed(algorithm, seed.buf, (size_t)seed.len, &key, &err);
    Py_END_ALLOW_THREADS;
    PyBuffer_Release(&seed);
    return finish_key(status, key, &err);
}

static void
key_dealloc(PyObject *object)
{
    pqe_signing_key_free(&((signing_key *)object)->key);
    pqepy_free(object);
}

static PyObject *
key_sign(PyObject *object, PyObject *args)
{
    pqe_signing_key *key = pqepy_signing_key_of(object);
    uint8_t signature[PQE_ML_DSA_SIGNATURE_MAX];
    Py_buffer message, context = {0};
    pqe_error err = {0};
    pqe_status status;
    size_t len = 0;

    if (!PyArg_ParseTuple(args, "y*|y*:sign", &message, &context))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    status = pqe_signing_key_sign(key, message.buf, (size_t)message.len, context.buf, (size_t)context.len, signature,
                                  sizeof signature, &len, &err);
    Py_END_ALLOW_THREADS;
    PyBuffer_Release(&message);
    PyBuffer_Release(&context);
    if (status == PQE_OK)
        return PyBytes_FromStringAndSize((const char *)signature, (Py_ssize_t)len);
    pqepy_raise(status, &err, NULL);
    return NULL;
}

/* Into memory of a bytearray at once; the copy on the stack is wiped. */
static PyObject *
key_seed(PyObject *object, PyObject *unused)
{
    PyObject *seed = PyByteArray_FromStringAndSize(NULL, PQE_ML_DSA_SEED_SIZE);
    pqe_error err = {0};
    pqe_status status;

    (void)unused;
    if (seed == NULL)
        return NULL;
    status = pqe_signing_key_seed(pqepy_signing_key_of(object), (uint8_t *)PyByteArray_AsString(seed), &err);
    if (status == PQE_OK)
        return seed;
    Py_DECREF(seed);
    pqepy_raise(status, &err, NULL);
    return NULL;
}

static PyObject *
key_pem(PyObject *object, PyObject *unused)
{
    PyObject *pem = PyByteArray_FromStringAndSize(NULL, PQE_PRIVATE_PEM_MAX);
    pqe_error err = {0};
    pqe_status status;
    size_t len = 0;

    (void)unused;
    if (pem == NULL)
        return NULL;
    status =
        pqe_signing_key_pem(pqepy_signing_key_of(object), PyByteArray_AsString(pem), PQE_PRIVATE_PEM_MAX, &len, &err);
    if (status != PQE_OK)
        pqepy_raise(status, &err, NULL);
    else if (PyByteArray_Resize(pem, (Py_ssize_t)len) == 0)
        return pem;
    Py_DECREF(pem);
    return NULL;
}

static PyObject *
key_public(PyObject *object, void *unused)
{
    size_t len;
    const uint8_t *raw = pqe_public_key_raw(pqe_signing_key_public(pqepy_signing_key_of(object)), &len);

    (void)unused;
    return PyBytes_FromStringAndSize((const char *)raw, (Py_ssize_t)len);
}

static PyObject *
key_did(PyObject *object, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(pqe_public_key_did(pqe_signing_key_public(pqepy_signing_key_of(object))));
}

static PyObject *
key_algorithm(PyObject *object, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(
        pqe_sig_name(pqe_public_key_algorithm(pqe_signing_key_public(pqepy_signing_key_of(object)))));
}

/* ---- functions ---- */

static PyObject *
key_from_pem(PyObject *module, PyObject *args)
{
    pqe_signing_key *key = NULL;
    pqe_error err = {0};
    pqe_status status;
    Py_buffer pem;

    (void)module;
    if (!PyArg_ParseTuple(args, "y*:signing_key_from_pem", &pem))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    status = pqe_signing_key_from_pem(pem.buf, (size_t)pem.len, &key, &err);
    Py_END_ALLOW_THREADS;
    PyBuffer_Release(&pem);
    return finish_key(status, key, &err);
}

static pqe_status
verify_once(pqe_sig_algorithm algorithm, const Py_buffer *key, const Py_buffer *message, const Py_buffer *signature,
            const Py_buffer *context, pqe_error *err)
{
    pqe_public_key *public_key = NULL;
    pqe_status status = pqe_public_key_from_raw(algorithm, key->buf, (size_t)key->len, &public_key, err);

    if (status == PQE_OK)
        status = pqe_public_key_verify(public_key, message->buf, (size_t)message->len, context->buf,
                                       (size_t)context->len, signature->buf, (size_t)signature->len, err);
    else if (status == PQE_E_ARGUMENT)
        status = PQE_E_ATTESTATION; /* no key of that algorithm: nothing verifies with it */
    pqe_public_key_free(&public_key);
    return status;
}

static PyObject *
verify(PyObject *module, PyObject *args)
{
    Py_buffer key, message, signature, context = {0};
    pqe_sig_algorithm algorithm;
    pqe_status status = PQE_OK;
    pqe_error err = {0};
    const char *name;
    bool known;

    (void)module;
    if (!PyArg_ParseTuple(args, "sy*y*y*|y*:verify_signature", &name, &key, &message, &signature, &context))
        return NULL;
    known = pqepy_algorithm(name, &algorithm);
    if (known) {
        Py_BEGIN_ALLOW_THREADS;
        status = verify_once(algorithm, &key, &message, &signature, &context, &err);
        Py_END_ALLOW_THREADS;
    }
    PyBuffer_Release(&key);
    PyBuffer_Release(&message);
    PyBuffer_Release(&signature);
    PyBuffer_Release(&context);
    if (!known)
        return NULL;
    if (status == PQE_OK || status == PQE_E_ATTESTATION)
        return PyBool_FromLong(status == PQE_OK);
    pqepy_raise(status, &err, NULL);
    return NULL;
}

static PyObject *
did_of_key(PyObject *module, PyObject *args)
{
    char did[PQE_DID_SIZE];
    pqe_error err = {0};
    pqe_status status;
    Py_buffer key;

    (void)module;
    if (!PyArg_ParseTuple(args, "y*:did_of_key", &key))
        return NULL;
    status = pqe_did_of_key(key.buf, (size_t)key.len, did, &err);
    PyBuffer_Release(&key);
    if (status == PQE_OK)
        return PyUnicode_FromString(did);
    pqepy_raise(status, &err, NULL);
    return NULL;
}

static PyObject *
public_pem(PyObject *module, PyObject *args)
{
    pqe_public_key *public_key = NULL;
    char pem[PQE_PUBLIC_PEM_MAX];
    pqe_sig_algorithm algorithm;
    pqe_error err = {0};
    pqe_status status;
    const char *name;
    size_t len = 0;
    Py_buffer key;

    (void)module;
    if (!PyArg_ParseTuple(args, "sy*:public_pem", &name, &key))
        return NULL;
    if (!pqepy_algorithm(name, &algorithm)) {
        PyBuffer_Release(&key);
        return NULL;
    }
    status = pqe_public_key_from_raw(algorithm, key.buf, (size_t)key.len, &public_key, &err);
    if (status == PQE_OK)
        status = pqe_public_key_pem(public_key, pem, sizeof pem, &len, &err);
    pqe_public_key_free(&public_key);
    PyBuffer_Release(&key);
    if (status == PQE_OK)
        return PyUnicode_FromStringAndSize(pem, (Py_ssize_t)len);
    pqepy_raise(status, &err, NULL);
    return NULL;
}

static PyMethodDef functions[] = {
    {"signing_key_from_pem", key_from_pem, METH_VARARGS, "signing_key_from_pem(pem) -> SigningKey"},
    {"verify_signature", verify, METH_VARARGS,
     "verify_signature(algorithm, public_key, message, signature, context=b\"\") -> bool"},
    {"did_of_key", did_of_key, METH_VARARGS, "did_of_key(public_key) -> str"},
    {"public_pem", public_pem, METH_VARARGS, "public_pem(algorithm, public_key) -> str"},
    {NULL, NULL, 0, NULL}};

static PyMethodDef methods[] = {
    {"sign", key_sign, METH_VARARGS, "sign(message, context=b\"\") -> bytes"},
    {"seed", key_seed, METH_NOARGS, "seed() -> bytearray\n\nThe 32 bytes, which the caller wipes."},
    {"pem", key_pem, METH_NOARGS, "pem() -> bytearray\n\nPKCS#8, which the caller wipes."},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef members[] = {{"public_key", key_public, NULL, "Raw bytes.", NULL},
                                {"did", key_did, NULL, "did:pqaid:...", NULL},
                                {"algorithm", key_algorithm, NULL, "\"ML-DSA-65\"", NULL},
                                {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot slots[] = {{Py_tp_doc, (void *)"SigningKey(algorithm, seed=None)\n\nA key pair: pqe_signing_key."},
                              {Py_tp_new, (void *)key_new},
                              {Py_tp_dealloc, (void *)key_dealloc},
                              {Py_tp_methods, methods},
                              {Py_tp_getset, members},
                              {0, NULL}};
static PyType_Spec spec = {"pqc_enclave_sdk._native.SigningKey", (int)sizeof(signing_key), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, slots};

bool
pqepy_sign_init(PyObject *module)
{
    return pqepy_add_type(module, &spec, &pqepy_signing_key_type) && PyModule_AddFunctions(module, functions) == 0;
}
