/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The types Attestation and Verifier. An attestation is not changed after it was made, a verifier may be used from
 * several threads, and neither belongs to a vault: these calls take no lock.
 */
#include "native.h"

#include <string.h>

#include <pqc_enclave/attest.h>

static PyTypeObject *attestation_type, *verifier_type;

typedef struct attestation {
    PyObject head;
    pqe_attestation *attestation;
} attestation;

typedef struct verifier {
    PyObject head;
    pqe_trust *trust;
    pqe_attest_verifier *verifier;
} verifier;

PyObject *
pqepy_attestation_wrap(pqe_attestation *made)
{
    PyObject *object = PyType_GenericAlloc(attestation_type, 0);

    if (object == NULL)
        pqe_attestation_free(&made);
    else
        ((attestation *)object)->attestation = made;
    return object;
}

static PyObject *
finish_attestation(pqe_status status, pqe_attestation *made, const pqe_error *err)
{
    if (status == PQE_OK)
        return pqepy_attestation_wrap(made);
    pqepy_raise(status, err, NULL);
    return NULL;
}

static void
attestation_dealloc(PyObject *object)
{
    pqe_attestation_free(&((attestation *)object)->attestation);
    pqepy_free(object);
}

/* ---- making ---- */

/* Texts of a tuple of str, `count` of them; they stay valid as long as the tuple. */
static bool
texts_of(PyObject *tuple, pqe_text *const *out, Py_ssize_t count)
{
    if (PyTuple_Size(tuple) != count) {
        PyErr_Format(PyExc_TypeError, "%zd texts are needed", count);
        return false;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GetItem(tuple, i);
        Py_ssize_t len;
        const char *data = item != NULL ? PyUnicode_AsUTF8AndSize(item, &len) : NULL;

        if (data == NULL)
            return false;
        *out[i] = (pqe_text){data, (size_t)len};
    }
    return true;
}

#define SIGNED_TEXTS 6
#define ALL_TEXTS 10

static bool
fields_of(PyObject *tuple, pqe_attestation_v1 *v1, Py_ssize_t count)
{
    pqe_text *const texts[ALL_TEXTS] = {
        &v1->device_id, &v1->device_model, &v1->enclave_vendor, &v1->artifact_id, &v1->artifact_content_hash,
        &v1->issued_at, &v1->signer_did,   &v1->algorithm,      &v1->signature,   &v1->public_key};

    *v1 = (pqe_attestation_v1){.size = sizeof *v1};
    return texts_of(tuple, texts, count);
}

static PyObject *
v1_canonical(PyObject *module, PyObject *args)
{
    pqe_attestation_v1 v1;
    PyObject *texts, *result = NULL;
    pqe_error err = {0};
    pqe_status status;
    char *out = NULL;
    size_t len;

    (void)module;
    if (!PyArg_ParseTuple(args, "O!:v1_canonical", &PyTuple_Type, &texts) || !fields_of(texts, &v1, SIGNED_TEXTS))
        return NULL;
    status = pqe_attestation_v1_canonical(&v1, &out, &len, &err);
    if (status == PQE_OK)
        result = PyBytes_FromStringAndSize(out, (Py_ssize_t)len);
    else
        pqepy_raise(status, &err, NULL);
    pqe_buffer_free(&out);
    return result;
}

static PyObject *
v1_sign(PyObject *module, PyObject *args)
{
    pqe_attestation *made = NULL;
    pqe_attestation_v1 v1;
    PyObject *texts, *key;
    pqe_error err = {0};
    pqe_status status;

    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!:v1_sign", &PyTuple_Type, &texts, pqepy_signing_key_type, &key) ||
        !fields_of(texts, &v1, SIGNED_TEXTS))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    status = pqe_attestation_v1_sign(&v1, pqepy_signing_key_of(key), &made, &err);
    Py_END_ALLOW_THREADS;
    return finish_attestation(status, made, &err);
}

static PyObject *
v1_from_fields(PyObject *module, PyObject *args)
{
    pqe_attestation *made = NULL;
    pqe_attestation_v1 v1;
    pqe_error err = {0};
    PyObject *texts;
    pqe_status status;

    (void)module;
    if (!PyArg_ParseTuple(args, "O!:v1_from_fields", &PyTuple_Type, &texts) || !fields_of(texts, &v1, ALL_TEXTS))
        return NULL;
    status = pqe_attestation_v1_from_fields(&v1, &made, &err);
    return finish_attestation(status, made, &err);
}

static PyObject *
decode(PyObject *module, PyObject *args)
{
    pqe_attestation *made = NULL;
    pqe_error err = {0};
    pqe_status status;
    Py_buffer data;

    (void)module;
    if (!PyArg_ParseTuple(args, "y*:attestation_decode", &data))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    status = pqe_attestation_decode(data.buf, (size_t)data.len, &made, &err);
    Py_END_ALLOW_THREADS;
    PyBuffer_Release(&data);
    return finish_attestation(status, made, &err);
}

/* ---- reading ---- */

static PyObject *
text(pqe_text t)
{
    return PyUnicode_DecodeUTF8(t.data != NULL ? t.data : "", (Py_ssize_t)t.len, "strict");
}

static PyObject *
bytes(pqe_bytes b)
{
    return PyBytes_FromStringAndSize((const char *)b.data, (Py_ssize_t)b.len);
}

static PyObject *
evidence_of(const pqe_attestation *a)
{
    PyObject *all = PyTuple_New((Py_ssize_t)a->evidence_count);

    for (size_t i = 0; all != NULL && i < a->evidence_count; i++) {
        PyObject *one = Py_BuildValue("(NN)", text(a->evidence[i].type), bytes(a->evidence[i].data));
        if (one == NULL || PyTuple_SetItem(all, (Py_ssize_t)i, one) != 0)
            Py_CLEAR(all);
    }
    return all;
}

static PyObject *
attestation_fields(PyObject *object, PyObject *unused)
{
    const pqe_attestation *a = ((attestation *)object)->attestation;

    (void)unused;
    return Py_BuildValue("{s:i,s:N,s:N,s:N,s:N,s:N,s:N,s:N,s:N,s:N,s:N,s:L,s:L,s:N,s:N,s:N,s:N,s:N,s:N}", "version",
                         a->version, "device_id", text(a->device_id), "device_model", text(a->device_model),
                         "enclave_vendor", text(a->enclave_vendor), "artifact_id", text(a->artifact_id),
                         "artifact_content_hash", text(a->artifact_content_hash), "issued_at", text(a->issued_at),
                         "signer_did", text(a->signer_did), "algorithm", text(a->algorithm), "signature",
                         bytes(a->signature), "public_key", bytes(a->public_key), "issued", (long long)a->issued,
                         "expires", (long long)a->expires, "hash_algorithm", text(a->hash_algorithm), "key_id",
                         text(a->key_id), "backend", text(a->backend), "tier", text(a->tier), "challenge",
                         bytes(a->challenge), "evidence", evidence_of(a));
}

static PyObject *
attestation_encode(PyObject *object, PyObject *args)
{
    PyObject *result = NULL;
    pqe_error err = {0};
    pqe_status status;
    char *out = NULL;
    int json = 0;
    size_t len;

    if (!PyArg_ParseTuple(args, "|p:encode", &json))
        return NULL;
    status = pqe_attestation_encode(((attestation *)object)->attestation, json ? PQE_ATTEST_JSON : PQE_ATTEST_COSE,
                                    &out, &len, &err);
    if (status == PQE_OK)
        result = PyBytes_FromStringAndSize(out, (Py_ssize_t)len);
    else
        pqepy_raise(status, &err, NULL);
    pqe_buffer_free(&out);
    return result;
}

static PyObject *
attestation_self_consistent(PyObject *object, PyObject *unused)
{
    const pqe_attestation *a = ((attestation *)object)->attestation;
    pqe_verdict verdict = PQE_VERDICT_SIGNATURE;
    pqe_error err = {0};
    pqe_status status;

    (void)unused;
    Py_BEGIN_ALLOW_THREADS;
    status = pqe_attestation_self_consistent(a, &verdict, &err);
    Py_END_ALLOW_THREADS;
    if (status == PQE_OK || status == PQE_E_ATTESTATION)
        return PyLong_FromLong(status == PQE_OK ? PQE_VERDICT_PASS : (long)verdict);
    pqepy_raise(status, &err, NULL);
    return NULL;
}

/* ---- verifying ---- */

static pqe_status
make_verifier(verifier *self, const Py_buffer *trust, const Py_buffer *evidence_keys, pqe_attest_verify_opts *opts,
              pqe_error *err)
{
    pqe_status status = pqe_trust_new(&self->trust, err);

    if (status == PQE_OK && trust->len != 0)
        status = pqe_trust_add_text(self->trust, trust->buf, (size_t)trust->len, err);
    if (status == PQE_OK && evidence_keys->len != 0)
        status = pqe_trust_add_evidence_keys(self->trust, evidence_keys->buf, (size_t)evidence_keys->len, err);
    opts->trust = self->trust;
    if (status == PQE_OK)
        status = pqe_attest_verifier_new(opts, &self->verifier, err);
    return status;
}

static PyObject *
verifier_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"trust", "challenge",     "max_age",    "skew", "expected_hash",
                            "now",   "evidence_keys", "pcr_digest", NULL};
    pqe_attest_verify_opts opts = {.size = sizeof opts};
    unsigned long long max_age = 0;
    Py_buffer trust, challenge, evidence_keys = {0};
    unsigned int skew = 0;
    pqe_error err = {0};
    pqe_status status;
    PyObject *object;
    long long now = 0;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*z*KIzL|z*z:Verifier", names, &trust, &challenge, &max_age, &skew,
                                     &opts.expected_hash, &now, &evidence_keys, &opts.expected_pcr_digest))
        return NULL;
    opts.challenge = challenge.buf;
    opts.challenge_len = (size_t)challenge.len;
    opts.max_age_seconds = max_age;
    opts.skew_seconds = skew;
    opts.no_skew = skew == 0;
    opts.now = now;
    status = PQE_E_NOMEM;
    if ((object = PyType_GenericAlloc(type, 0)) != NULL)
        status = make_verifier((verifier *)object, &trust, &evidence_keys, &opts, &err);
    PyBuffer_Release(&trust);
    PyBuffer_Release(&challenge);
    if (evidence_keys.obj != NULL)
        PyBuffer_Release(&evidence_keys);
    if (object != NULL && status != PQE_OK) {
        pqepy_raise(status, &err, NULL);
        Py_CLEAR(object);
    }
    return object;
}

static void
verifier_dealloc(PyObject *object)
{
    pqe_attest_verifier_free(&((verifier *)object)->verifier);
    pqe_trust_free(&((verifier *)object)->trust);
    pqepy_free(object);
}

static PyObject *
verifier_check(PyObject *object, PyObject *args)
{
    pqe_attest_verifier *self = ((verifier *)object)->verifier;
    pqe_verdict verdict = PQE_VERDICT_SIGNATURE;
    pqe_error err = {0};
    pqe_status status;
    PyObject *a;

    if (!PyArg_ParseTuple(args, "O!:check", attestation_type, &a))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    status = pqe_attest_verifier_check(self, ((attestation *)a)->attestation, &verdict, &err);
    Py_END_ALLOW_THREADS;
    if (status == PQE_OK)
        return PyLong_FromLong((long)verdict);
    pqepy_raise(status, &err, NULL);
    return NULL;
}

static PyObject *
text_if(int there, const char *value)
{
    return there ? PyUnicode_FromString(value) : Py_NewRef(Py_None);
}

static PyObject *
verifier_evidence(PyObject *object, PyObject *args)
{
    const pqe_trust *trust = ((verifier *)object)->trust;
    pqe_evidence_report r = {.size = sizeof r};
    pqe_error err = {0};
    pqe_status status;
    PyObject *a;

    if (!PyArg_ParseTuple(args, "O!:evidence", attestation_type, &a))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    status = pqe_attestation_evidence(((attestation *)a)->attestation, trust, &r, &err);
    Py_END_ALLOW_THREADS;
    if (status != PQE_OK) {
        pqepy_raise(status, &err, NULL);
        return NULL;
    }
    return Py_BuildValue("{s:s,s:n,s:n,s:N,s:N,s:s,s:K,s:K,s:N,s:k,s:k,s:N,s:N,s:N,s:N,s:N}", "state",
                         pqe_evidence_state_name(r.state), "pieces", (Py_ssize_t)r.pieces, "unknown_pieces",
                         (Py_ssize_t)r.unknown, "reason", text_if(r.reason != NULL, r.reason), "signature",
                         text_if(r.signature != NULL, r.signature), "key", r.key, "firmware",
                         (unsigned long long)r.firmware, "clock_ms", (unsigned long long)r.clock_ms, "clock_safe",
                         PyBool_FromLong(r.clock_safe), "resets", (unsigned long)r.resets, "restarts",
                         (unsigned long)r.restarts, "pcr_selection", text_if(r.has_pcrs, r.pcr_selection), "pcr_digest",
                         text_if(r.has_pcrs, r.pcr_digest), "object_name", text_if(r.has_object, r.object_name),
                         "counter", r.has_counter ? PyLong_FromUnsignedLongLong(r.counter) : Py_NewRef(Py_None),
                         "counter_name", text_if(r.has_counter, r.counter_name));
}

static PyObject *
verdict_text(PyObject *module, PyObject *args)
{
    const char *name, *sentence;
    int verdict;

    (void)module;
    if (!PyArg_ParseTuple(args, "i:verdict_text", &verdict))
        return NULL;
    name = pqe_verdict_name((pqe_verdict)verdict);
    sentence = pqe_verdict_text((pqe_verdict)verdict);
    return Py_BuildValue("(zz)", name, sentence);
}

static PyMethodDef functions[] = {
    {"v1_canonical", v1_canonical, METH_VARARGS, "v1_canonical(six_texts) -> bytes"},
    {"v1_sign", v1_sign, METH_VARARGS, "v1_sign(six_texts, signing_key) -> Attestation"},
    {"v1_from_fields", v1_from_fields, METH_VARARGS, "v1_from_fields(ten_texts) -> Attestation"},
    {"attestation_decode", decode, METH_VARARGS, "attestation_decode(data) -> Attestation"},
    {"verdict_text", verdict_text, METH_VARARGS, "verdict_text(verdict) -> (name, sentence)"},
    {NULL, NULL, 0, NULL}};

static PyMethodDef attestation_methods[] = {
    {"fields", attestation_fields, METH_NOARGS, "fields() -> dict"},
    {"encode", attestation_encode, METH_VARARGS, "encode(json=False) -> bytes"},
    {"self_consistent", attestation_self_consistent, METH_NOARGS, "self_consistent() -> int\n\nA verdict."},
    {NULL, NULL, 0, NULL}};
static PyType_Slot attestation_slots[] = {{Py_tp_doc, (void *)"An attestation: pqe_attestation."},
                                          {Py_tp_dealloc, (void *)attestation_dealloc},
                                          {Py_tp_methods, attestation_methods},
                                          {0, NULL}};
static PyType_Spec attestation_spec = {
    "pqc_enclave_sdk._native.Attestation", (int)sizeof(attestation), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, attestation_slots};

static PyMethodDef verifier_methods[] = {
    {"check", verifier_check, METH_VARARGS, "check(attestation) -> int\n\nA verdict."},
    {"evidence", verifier_evidence, METH_VARARGS, "evidence(attestation) -> dict\n\nWhat its evidence says."},
    {NULL, NULL, 0, NULL}};
static PyType_Slot verifier_slots[] = {
    {Py_tp_doc, (void *)"Verifier(trust, challenge, max_age, skew, expected_hash, now, evidence_keys=None, "
                        "pcr_digest=None)\n\nA pqe_attest_verifier."},
    {Py_tp_new, (void *)verifier_new},
    {Py_tp_dealloc, (void *)verifier_dealloc},
    {Py_tp_methods, verifier_methods},
    {0, NULL}};
static PyType_Spec verifier_spec = {"pqc_enclave_sdk._native.Verifier", (int)sizeof(verifier), 0,
                                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, verifier_slots};

bool
pqepy_attest_init(PyObject *module)
{
    return pqepy_add_type(module, &attestation_spec, &attestation_type) &&
           pqepy_add_type(module, &verifier_spec, &verifier_type) && PyModule_AddFunctions(module, functions) == 0;
}
