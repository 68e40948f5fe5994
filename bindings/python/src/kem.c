/* SPDX-License-Identifier: Apache-2.0 */
/* ML-KEM key pairs: functions without an object. */
#include "native.h"

#include <pqc_enclave/kem.h>

/* The seed goes into memory of a bytearray at once, which the caller wipes. */
static PyObject *
generate(PyObject *module, PyObject *args)
{
    PyObject *seed = PyByteArray_FromStringAndSize(NULL, PQE_KEM_SEED_SIZE);
    uint8_t public_key[PQE_KEM_PUBLIC_MAX];
    const char *algorithm;
    pqe_error err = {0};
    pqe_status status;
    size_t len;

    (void)module;
    if (seed == NULL || !PyArg_ParseTuple(args, "s:kem_generate", &algorithm)) {
        Py_XDECREF(seed);
        return NULL;
    }
    status =
        pqe_kem_generate(algorithm, (uint8_t *)PyByteArray_AsString(seed), public_key, sizeof public_key, &len, &err);
    if (status == PQE_OK)
        return Py_BuildValue("(Ny#)", seed, public_key, (Py_ssize_t)len);
    Py_DECREF(seed);
    pqepy_raise(status, &err, NULL);
    return NULL;
}

static PyObject *
public_of_seed(PyObject *module, PyObject *args)
{
    uint8_t public_key[PQE_KEM_PUBLIC_MAX];
    const char *algorithm;
    pqe_error err = {0};
    pqe_status status;
    Py_buffer seed;
    size_t len;

    (void)module;
    if (!PyArg_ParseTuple(args, "sy*:kem_public_of_seed", &algorithm, &seed))
        return NULL;
    status = pqe_kem_public_of_seed(algorithm, seed.buf, (size_t)seed.len, public_key, sizeof public_key, &len, &err);
    PyBuffer_Release(&seed);
    if (status == PQE_OK)
        return PyBytes_FromStringAndSize((const char *)public_key, (Py_ssize_t)len);
    pqepy_raise(status, &err, NULL);
    return NULL;
}

static PyMethodDef functions[] = {
    {"kem_generate", generate, METH_VARARGS, "kem_generate(algorithm) -> (seed, public_key)"},
    {"kem_public_of_seed", public_of_seed, METH_VARARGS, "kem_public_of_seed(algorithm, seed) -> bytes"},
    {NULL, NULL, 0, NULL}};

bool
pqepy_kem_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions) == 0;
}
