/* SPDX-License-Identifier: Apache-2.0 */
/* What a vault does with its identities: methods of the type Vault. */
#include "native.h"

#include <string.h>

#include <pqc_enclave/attest.h>

static PyObject *
identity_tuple(const pqe_identity *i)
{
    const char *algorithm = pqe_sig_name(i->algorithm);

    return Py_BuildValue("(ssssOOy#)", i->did, i->name, algorithm != NULL ? algorithm : "", i->created_at,
                         i->is_default ? Py_True : Py_False, i->is_native ? Py_True : Py_False, i->public_key,
                         (Py_ssize_t)i->public_key_len);
}

PyObject *
pqepy_vault_identity_create(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqe_identity_opts opts = {.size = sizeof opts};
    const char *algorithm;
    pqe_identity made;
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "zs:identity_create", &opts.name, &algorithm) ||
        !pqepy_algorithm(algorithm, &opts.algorithm) || !pqepy_enter(&call, self->backend, self))
        return NULL;
    if (!pqepy_leave(&call, pqe_identity_create(self->vault, &opts, &made, &call.err)))
        return NULL;
    return identity_tuple(&made);
}

PyObject *
pqepy_vault_identity_import(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqe_identity_opts opts = {.size = sizeof opts};
    pqe_identity made;
    pqepy_call call;
    PyObject *key;

    if (!PyArg_ParseTuple(args, "O!z:identity_import", pqepy_signing_key_type, &key, &opts.name) ||
        !pqepy_enter(&call, self->backend, self))
        return NULL;
    if (!pqepy_leave(&call, pqe_identity_import(self->vault, pqepy_signing_key_of(key), &opts, &made, &call.err)))
        return NULL;
    return identity_tuple(&made);
}

PyObject *
pqepy_vault_identity_get(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    const char *name = NULL;
    pqe_identity found;
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "|z:identity_get", &name) || !pqepy_enter(&call, self->backend, self))
        return NULL;
    if (!pqepy_leave(&call, pqe_identity_get(self->vault, name, &found, &call.err)))
        return NULL;
    return identity_tuple(&found);
}

static bool
list_one(void *user, const pqe_identity *identity)
{
    pqepy_callback cb;

    return pqepy_callback_begin(&cb) && pqepy_callback_append(&cb, user, identity_tuple(identity));
}

PyObject *
pqepy_vault_identity_list(PyObject *object, PyObject *unused)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqepy_call call;
    PyObject *list = pqepy_list_enter(&call, self);

    (void)unused;
    return list != NULL ? pqepy_list_leave(&call, list, pqe_identity_list(self->vault, list_one, list, &call.err))
                        : NULL;
}

PyObject *
pqepy_vault_identity_delete(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    const char *name;
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "s:identity_delete", &name) || !pqepy_enter(&call, self->backend, self))
        return NULL;
    if (!pqepy_leave(&call, pqe_identity_delete(self->vault, name, &call.err)))
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
pqepy_vault_identity_export(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqe_signing_key *key = NULL;
    const char *name;
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "z:identity_export", &name) || !pqepy_enter(&call, self->backend, self))
        return NULL;
    if (!pqepy_leave(&call, pqe_identity_export_private(self->vault, name, &key, &call.err)))
        return NULL;
    return pqepy_signing_key_wrap(key);
}

PyObject *
pqepy_vault_identity_sign(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    uint8_t signature[PQE_ML_DSA_SIGNATURE_MAX];
    Py_buffer message, context;
    PyObject *result = NULL;
    const char *name;
    pqepy_call call;
    pqe_status status;
    size_t len = 0;

    if (!PyArg_ParseTuple(args, "zy*y*:identity_sign", &name, &message, &context))
        return NULL;
    if (pqepy_enter(&call, self->backend, self)) {
        status = pqe_identity_sign(self->vault, name, message.buf, (size_t)message.len, context.buf,
                                   (size_t)context.len, signature, sizeof signature, &len, &call.err);
        if (pqepy_leave(&call, status))
            result = PyBytes_FromStringAndSize((const char *)signature, (Py_ssize_t)len);
    }
    PyBuffer_Release(&message);
    PyBuffer_Release(&context);
    return result;
}

PyObject *
pqepy_vault_attest(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqe_attest_opts opts = {.size = sizeof opts};
    pqe_attestation *made = NULL;
    Py_buffer challenge;
    int trust_record = 0, no_evidence = 0;
    unsigned int ttl;
    const char *name, *caller = NULL;
    pqepy_call call;
    bool ok = false;

    if (!PyArg_ParseTuple(args, "sziz*Izzpp|z:attest", &name, &opts.identity, &opts.version, &challenge, &ttl,
                          &opts.device_model, &opts.enclave_vendor, &trust_record, &no_evidence, &caller))
        return NULL;
    opts.challenge = challenge.buf;
    opts.challenge_len = (size_t)challenge.len;
    opts.ttl_seconds = ttl;
    opts.trust_record = trust_record != 0;
    opts.no_evidence = no_evidence != 0;
    if (pqepy_enter_as(&call, self, caller))
        ok = pqepy_leave_as(&call, pqe_attest(self->vault, name, &opts, &made, &call.err));
    PyBuffer_Release(&challenge);
    return ok ? pqepy_attestation_wrap(made) : NULL;
}

PyObject *
pqepy_vault_evidence_public_key(PyObject *object, PyObject *unused)
{
    pqepy_vault *self = (pqepy_vault *)object;
    char pem[PQE_EVIDENCE_PEM_MAX];
    size_t len;
    pqepy_call call;

    (void)unused;
    if (!pqepy_enter(&call, self->backend, self))
        return NULL;
    if (!pqepy_leave(&call, pqe_evidence_public_key(self->vault, pem, sizeof pem, &len, &call.err)))
        return NULL;
    return PyUnicode_FromStringAndSize(pem, (Py_ssize_t)len);
}
