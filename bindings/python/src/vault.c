/* SPDX-License-Identifier: Apache-2.0 */
/* The type Vault. */
#include "native.h"

#include <string.h>

#include <pqc_enclave/recovery.h>

PyTypeObject *pqepy_vault_type;

/* ---- life ---- */

static void
close_handle(void *handle, PyObject *backend)
{
    pqepy_call call;
    PyObject *type, *value, *traceback;
    pqe_vault *vault = handle;

    PyErr_Fetch(&type, &value, &traceback);
    if (pqepy_enter(&call, (pqepy_backend *)backend, NULL)) { /* always: no callback is running */
        pqe_vault_close(&vault);
        pqepy_leave(&call, PQE_OK);
    }
    pqepy_backend_vault_closed((pqepy_backend *)backend);
    PyErr_Restore(type, value, traceback);
}

static void
close_now(pqepy_vault *self)
{
    pqe_vault *vault = self->vault;

    self->vault = NULL;
    if (vault != NULL)
        pqepy_close(close_handle, vault, (PyObject *)self->backend);
}

bool
pqepy_vault_retain(pqepy_vault *vault)
{
    if (vault->vault == NULL || vault->closing) {
        pqepy_raise(PQE_E_LOCKED,
                    &(pqe_error){.status = PQE_E_LOCKED, .origin = PQE_ORIGIN_API, .message = "the vault was closed"},
                    NULL);
        return false;
    }
    vault->users++;
    Py_INCREF((PyObject *)vault);
    return true;
}

void
pqepy_vault_release(pqepy_vault *vault)
{
    vault->users--;
    if (vault->closing && vault->users == 0)
        close_now(vault);
    Py_DECREF((PyObject *)vault);
}

/* Calls of the same caller go side by side, as long as no other caller waits. */
static pqe_status
become_caller(pqepy_vault *vault, const char *caller, pqe_error *err)
{
    const char *name = caller != NULL ? caller : "";
    pqe_status status = PQE_OK;

    pthread_mutex_lock(&vault->caller_lock);
    vault->waiting++;
    while (vault->calls != 0 && (vault->waiting > 1 || strcmp(vault->caller, name) != 0))
        pthread_cond_wait(&vault->caller_free, &vault->caller_lock);
    vault->waiting--;
    if (vault->calls == 0 && (status = pqe_vault_set_caller(vault->vault, caller, err)) == PQE_OK)
        memcpy(vault->caller, name, strlen(name) + 1); /* the library took it, so it is not longer */
    if (status == PQE_OK)
        vault->calls++;
    else
        pthread_cond_broadcast(&vault->caller_free);
    pthread_mutex_unlock(&vault->caller_lock);
    return status;
}

static void
cease_to_be_caller(pqepy_vault *vault)
{
    pthread_mutex_lock(&vault->caller_lock);
    if (--vault->calls == 0) {
        pqe_vault_set_caller(vault->vault, NULL, NULL); /* whoever locks the vault was not this caller */
        pthread_cond_broadcast(&vault->caller_free);
    }
    pthread_mutex_unlock(&vault->caller_lock);
}

bool
pqepy_enter_as(pqepy_call *call, pqepy_vault *vault, const char *caller)
{
    pqe_status status;

    if (!pqepy_enter(call, vault->backend, vault))
        return false;
    status = become_caller(vault, caller, &call->err);
    return status == PQE_OK || pqepy_leave(call, status);
}

bool
pqepy_leave_as(pqepy_call *call, pqe_status status)
{
    cease_to_be_caller(call->vault);
    return pqepy_leave(call, status);
}

static PyObject *
vault_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"backend", "dir", "create", "read_only", "device_id", "busy_timeout_ms", NULL};
    PyObject *backend, *object, *dir = Py_None;
    int create = 0, read_only = 0;
    unsigned int timeout = 0;
    pqe_vault_opts opts = {.size = sizeof opts};
    pqepy_vault *self;
    pqepy_call call;
    pqe_status status;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|OppzI:Vault", names, pqepy_backend_type, &backend, &dir, &create,
                                     &read_only, &opts.device_id, &timeout) ||
        !pqepy_bytes_or_none(dir, &opts.dir))
        return NULL;
    if ((object = PyType_GenericAlloc(type, 0)) == NULL)
        return NULL;
    self = (pqepy_vault *)object;
    self->backend = (pqepy_backend *)Py_NewRef(backend);
    pthread_mutex_init(&self->caller_lock, NULL);
    pthread_cond_init(&self->caller_free, NULL);
    opts.backend = self->backend->backend;
    opts.create = create != 0;
    opts.read_only = read_only != 0;
    opts.busy_timeout_ms = timeout;
    self->backend->vaults++; /* before the GIL goes, so that nobody closes it meanwhile */
    status = PQE_E_STATE;
    if (pqepy_enter(&call, self->backend, NULL)) {
        status = pqe_vault_open(&opts, &self->vault, &call.err);
        pqepy_leave(&call, status);
    }
    if (status == PQE_OK)
        return object;
    pqepy_backend_vault_closed(self->backend);
    Py_DECREF(object);
    return NULL;
}

PyObject *
pqepy_vault_wrap(pqe_vault *vault, pqepy_backend *backend)
{
    PyObject *object = PyType_GenericAlloc(pqepy_vault_type, 0);
    pqepy_vault *self = (pqepy_vault *)object;

    if (object == NULL) {
        pqepy_close(close_handle, vault, (PyObject *)backend);
        return NULL;
    }
    self->backend = (pqepy_backend *)Py_NewRef((PyObject *)backend);
    pthread_mutex_init(&self->caller_lock, NULL);
    pthread_cond_init(&self->caller_free, NULL);
    self->vault = vault;
    return object;
}

static int
vault_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT((PyObject *)Py_TYPE(object));
    Py_VISIT((PyObject *)((pqepy_vault *)object)->backend);
    return 0;
}

static void
vault_dealloc(PyObject *object)
{
    pqepy_vault *self = (pqepy_vault *)object;

    PyObject_GC_UnTrack(object);
    close_now(self);
    Py_XDECREF((PyObject *)self->backend);
    pthread_cond_destroy(&self->caller_free);
    pthread_mutex_destroy(&self->caller_lock);
    pqepy_free(object);
}

static PyObject *
vault_close(PyObject *object, PyObject *unused)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqepy_call call;

    (void)unused;
    if (self->vault == NULL || self->closing)
        Py_RETURN_NONE;
    if (self->users != 0) { /* those in progress fail at their next step, the last one closes */
        if (!pqepy_enter(&call, self->backend, self))
            return NULL;
        self->closing = true;
        pqe_vault_lock(self->vault);
        pqepy_leave(&call, PQE_OK);
    } else {
        close_now(self);
    }
    Py_RETURN_NONE;
}

/* ---- session ---- */

static PyObject *
vault_unlock(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    const char *caller = NULL;
    unsigned int ttl = 0;
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "|Iz:unlock", &ttl, &caller) || !pqepy_enter_as(&call, self, caller))
        return NULL;
    if (!pqepy_leave_as(&call, pqe_vault_unlock(self->vault, ttl, &call.err)))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
vault_accept_rollback(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    const char *caller = NULL;
    unsigned int ttl = 0;
    pqe_rollback told;
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "|Iz:accept_rollback", &ttl, &caller) || !pqepy_enter_as(&call, self, caller))
        return NULL;
    if (!pqepy_leave_as(&call, pqe_recovery_accept_rollback(self->vault, ttl, &told, &call.err)))
        return NULL;
    return Py_BuildValue("(KKK)", (unsigned long long)told.found, (unsigned long long)told.expected,
                         (unsigned long long)told.generation);
}

static PyObject *
vault_lock(PyObject *object, PyObject *unused)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqepy_call call;

    (void)unused;
    if (self->vault == NULL || self->closing)
        Py_RETURN_NONE;
    if (!pqepy_enter(&call, self->backend, self))
        return NULL;
    pqe_vault_lock(self->vault);
    pqepy_leave(&call, PQE_OK);
    Py_RETURN_NONE;
}

static PyObject *
vault_ttl(PyObject *object, PyObject *unused)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqepy_call call;
    uint32_t ttl;

    (void)unused;
    if (self->vault == NULL || self->closing)
        return PyLong_FromLong(0);
    if (!pqepy_enter(&call, self->backend, self))
        return NULL;
    ttl = pqe_vault_ttl(self->vault);
    pqepy_leave(&call, PQE_OK);
    return PyLong_FromUnsignedLong(ttl);
}

static PyObject *
vault_get_info(PyObject *object, PyObject *unused)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqe_vault_info info;
    pqepy_call call;

    (void)unused;
    if (!pqepy_enter(&call, self->backend, self))
        return NULL;
    if (!pqepy_leave(&call, pqe_vault_get_info(self->vault, &info, &call.err)))
        return NULL;
    return Py_BuildValue("{s:s,s:s,s:s,s:s,s:s,s:O,s:I,s:K,s:K,s:O}", "vault_id", info.vault_id, "backend",
                         info.backend, "suite", info.suite, "key_source", info.key_source, "held_by", info.held_by,
                         "native_kem", info.native_kem ? Py_True : Py_False, "format_version", info.format_version,
                         "generation", (unsigned long long)info.generation, "artifact_count",
                         (unsigned long long)info.artifact_count, "read_only", info.read_only ? Py_True : Py_False);
}

/* ---- artifacts ---- */

static PyObject *
vault_info(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqe_artifact *artifact = NULL;
    PyObject *result;
    const char *name;
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "s:info", &name) || !pqepy_enter(&call, self->backend, self))
        return NULL;
    if (!pqepy_leave(&call, pqe_info(self->vault, name, &artifact, &call.err)))
        return NULL;
    result = pqepy_artifact(artifact);
    pqe_artifact_free(&artifact);
    return result;
}

static PyObject *
vault_delete(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    const char *name, *caller = NULL;
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "s|z:delete", &name, &caller) || !pqepy_enter_as(&call, self, caller))
        return NULL;
    if (!pqepy_leave_as(&call, pqe_delete(self->vault, name, &call.err)))
        return NULL;
    Py_RETURN_NONE;
}

#define SIGNAL_INTERVAL 256u /* artifacts listed between looks at signals */

typedef struct listing {
    PyObject *list;
    size_t count;
} listing;

static bool
list_one(void *user, const pqe_artifact *artifact)
{
    listing *l = user;
    pqepy_callback cb;
    bool ok;

    if (!pqepy_callback_begin(&cb))
        return false;
    ok = pqepy_append(l->list, pqepy_artifact(artifact));
    if (ok && l->count++ % SIGNAL_INTERVAL == 0)
        ok = PyErr_CheckSignals() == 0;
    if (!ok)
        pqepy_callback_keep_exception(&cb);
    pqepy_callback_end(&cb);
    return ok;
}

static PyObject *
vault_list(PyObject *object, PyObject *unused)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqepy_call call;
    listing l = {.list = pqepy_list_enter(&call, self)};

    (void)unused;
    return l.list != NULL ? pqepy_list_leave(&call, l.list, pqe_list(self->vault, list_one, &l, &call.err)) : NULL;
}

/* ---- maintenance ---- */

typedef struct verification {
    PyObject *progress;
    PyObject *findings;
    uint64_t bytes;
} verification;

static bool
find_one(void *user, const pqe_finding *finding)
{
    verification *v = user;
    pqepy_callback cb;
    PyObject *artifact;
    bool ok = true;

    if (!pqepy_callback_begin(&cb))
        return false;
    v->bytes += finding->bytes;
    if (finding->status != PQE_OK) {
        artifact = finding->artifact != NULL ? pqepy_artifact(finding->artifact) : Py_NewRef(Py_None);
        ok = artifact != NULL &&
             pqepy_append(v->findings, Py_BuildValue("(iNs)", (int)finding->status, artifact, finding->message));
    }
    ok = ok && pqepy_report(v->progress, v->bytes, -1);
    if (!ok)
        pqepy_callback_keep_exception(&cb);
    pqepy_callback_end(&cb);
    return ok;
}

/* Damage is a result, not an exception; it goes with the status. */
static PyObject *
vault_verify(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    verification v = {0};
    pqe_verify_summary sum;
    const char *name = NULL;
    pqepy_call call;
    pqe_status status;

    if (!PyArg_ParseTuple(args, "|zO:verify", &name, &v.progress) || (v.findings = PyList_New(0)) == NULL)
        return NULL;
    if (!pqepy_enter(&call, self->backend, self)) {
        Py_DECREF(v.findings);
        return NULL;
    }
    status = pqe_verify(self->vault, name, find_one, &v, &sum, &call.err);
    if (!pqepy_leave(&call, status != PQE_OK && sum.damaged != 0 && status != PQE_E_CANCELLED ? PQE_OK : status)) {
        Py_DECREF(v.findings);
        return NULL;
    }
    return Py_BuildValue("(KKKKN)", (unsigned long long)sum.artifacts, (unsigned long long)sum.damaged,
                         (unsigned long long)sum.bytes, (unsigned long long)sum.orphans, v.findings);
}

static PyObject *
vault_rotate(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqe_rotate_opts opts = {.size = sizeof opts};
    const char *caller = NULL;
    pqepy_call call;
    int rekey = 0;

    if (!PyArg_ParseTuple(args, "|pz:rotate", &rekey, &caller) || !pqepy_enter_as(&call, self, caller))
        return NULL;
    opts.rekey = rekey != 0;
    if (!pqepy_leave_as(&call, pqe_rotate(self->vault, &opts, &call.err)))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
vault_change_passphrase(PyObject *object, PyObject *unused)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqepy_call call;

    (void)unused;
    if (!pqepy_enter(&call, self->backend, self))
        return NULL;
    if (!pqepy_leave(&call, pqe_vault_change_passphrase(self->vault, &call.err)))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
vault_grant_public_key(PyObject *object, PyObject *unused)
{
    pqepy_vault *self = (pqepy_vault *)object;
    char pem[PQE_GRANT_PEM_MAX];
    size_t len;
    pqepy_call call;

    (void)unused;
    if (!pqepy_enter(&call, self->backend, self))
        return NULL;
    if (!pqepy_leave(&call, pqe_grant_public_key(self->vault, pem, sizeof pem, &len, &call.err)))
        return NULL;
    return PyUnicode_FromStringAndSize(pem, (Py_ssize_t)len);
}

static PyMethodDef methods[] = {
    {"close", vault_close, METH_NOARGS, "close() -> None\n\nLocks and closes; calls in progress fail first."},
    {"unlock", vault_unlock, METH_VARARGS, "unlock(ttl_seconds=0, caller=None) -> None"},
    {"accept_rollback", vault_accept_rollback, METH_VARARGS,
     "accept_rollback(ttl_seconds=0, caller=None) -> (found, expected, generation)"},
    {"lock", vault_lock, METH_NOARGS, "lock() -> None"},
    {"ttl", vault_ttl, METH_NOARGS, "ttl() -> int\n\nSeconds left in the session, 0 when locked."},
    {"get_info", vault_get_info, METH_NOARGS, "get_info() -> dict"},
    {"info", vault_info, METH_VARARGS, "info(name_or_id) -> tuple"},
    {"delete", vault_delete, METH_VARARGS, "delete(name_or_id, caller=None) -> None"},
    {"list", vault_list, METH_NOARGS, "list() -> list[tuple]"},
    {"verify", vault_verify, METH_VARARGS,
     "verify(name_or_id=None, progress=None) -> (artifacts, damaged, bytes, orphans, [(status, artifact, message)])"},
    {"rotate", vault_rotate, METH_VARARGS, "rotate(rekey=False, caller=None) -> None"},
    {"move", pqepy_vault_move, METH_VARARGS, "move(backend, rekey, discard_old, caller) -> None"},
    {"recover", pqepy_vault_recover, METH_VARARGS | METH_STATIC,
     "recover(backend, dir, key, busy_timeout_ms, caller) -> (Vault, [(did, name)])"},
    {"recovery_create", pqepy_vault_recovery_create, METH_VARARGS, "recovery_create(key, name, caller) -> None"},
    {"recovery_remove", pqepy_vault_recovery_remove, METH_VARARGS, "recovery_remove(id, caller) -> None"},
    {"recovery_list", pqepy_vault_recovery_list, METH_NOARGS,
     "recovery_list() -> list[tuple]\n\n(id, name, created_at, suite) of each."},
    {"change_passphrase", vault_change_passphrase, METH_NOARGS, "change_passphrase() -> None"},
    {"grant_public_key", vault_grant_public_key, METH_NOARGS, "grant_public_key() -> str"},
    {"identity_create", pqepy_vault_identity_create, METH_VARARGS, "identity_create(name, algorithm) -> tuple"},
    {"identity_import", pqepy_vault_identity_import, METH_VARARGS, "identity_import(signing_key, name) -> tuple"},
    {"identity_get", pqepy_vault_identity_get, METH_VARARGS, "identity_get(did_or_name=None) -> tuple"},
    {"identity_list", pqepy_vault_identity_list, METH_NOARGS, "identity_list() -> list[tuple]"},
    {"identity_delete", pqepy_vault_identity_delete, METH_VARARGS, "identity_delete(did_or_name) -> None"},
    {"identity_export", pqepy_vault_identity_export, METH_VARARGS, "identity_export(did_or_name) -> SigningKey"},
    {"identity_sign", pqepy_vault_identity_sign, METH_VARARGS, "identity_sign(did_or_name, message, context) -> bytes"},
    {"attest", pqepy_vault_attest, METH_VARARGS,
     "attest(name_or_id, identity, version, challenge, ttl_seconds, device_model, enclave_vendor, trust_record, "
     "no_evidence, caller=None) -> Attestation"},
    {"evidence_public_key", pqepy_vault_evidence_public_key, METH_NOARGS, "evidence_public_key() -> str"},
    {"policy_set", pqepy_vault_policy_set, METH_VARARGS,
     "policy_set(kind, artifact, bundle_ids, require_presence, max_uses_per_hour, caller) -> None"},
    {"policy_clear", pqepy_vault_policy_clear, METH_VARARGS, "policy_clear(kind, artifact, caller) -> None"},
    {"policy_list", pqepy_vault_policy_list, METH_NOARGS, "policy_list() -> list[tuple]"},
    {"audit_list", pqepy_vault_audit_list, METH_VARARGS,
     "audit_list(limit, operation, artifact, device_id) -> list[tuple]"},
    {"audit_record", pqepy_vault_audit_record, METH_VARARGS,
     "audit_record(operation, device_id, artifact_id, name, kind, success, details, caller, flush) -> None"},
    {"audit_info", pqepy_vault_audit_info, METH_NOARGS, "audit_info() -> dict"},
    {"audit_clear", pqepy_vault_audit_clear, METH_VARARGS, "audit_clear(caller) -> None"},
    {"audit_checkpoint", pqepy_vault_audit_checkpoint, METH_NOARGS, "audit_checkpoint() -> str"},
    {"audit_verify", pqepy_vault_audit_verify, METH_VARARGS, "audit_verify(checkpoint) -> dict"},
    {NULL, NULL, 0, NULL}};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)"Vault(backend, dir=None, create=False, read_only=False, device_id=None, busy_timeout_ms=0)\n\n"
                        "A vault handle: pqe_vault_open()."},
    {Py_tp_new, (void *)vault_new},
    {Py_tp_dealloc, (void *)vault_dealloc},
    {Py_tp_traverse, (void *)vault_traverse},
    {Py_tp_methods, methods},
    {0, NULL}};
static PyType_Spec spec = {"pqc_enclave_sdk._native.Vault", (int)sizeof(pqepy_vault), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, slots};

bool
pqepy_vault_init(PyObject *module)
{
    return pqepy_add_type(module, &spec, &pqepy_vault_type);
}
