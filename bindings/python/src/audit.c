/* SPDX-License-Identifier: Apache-2.0 */
/* Access policy and audit log of a vault: methods of the type Vault. */
#include "native.h"

#include <string.h>

#include <pqc_enclave/audit.h>
#include <pqc_enclave/policy.h>

static PyObject *
text(const char *s)
{
    return PyUnicode_DecodeUTF8(s != NULL ? s : "", s != NULL ? (Py_ssize_t)strlen(s) : 0, "replace");
}

/* ---- policy ---- */

/* The kind of a name, 0 for None; false with a ValueError. */
static bool
kind_of(const char *name, pqe_kind *out)
{
    *out = (pqe_kind)0;
    if (name == NULL || pqe_kind_from_name(name, out))
        return true;
    PyErr_Format(PyExc_ValueError, "no kind is named \"%.40s\"", name);
    return false;
}

static bool
bundles_of(PyObject *tuple, const char **out, size_t *count)
{
    Py_ssize_t n = PyTuple_Size(tuple);

    if (n > PQE_POLICY_ALLOWED_MAX) {
        PyErr_Format(PyExc_ValueError, "a rule has at most %d bundle ids", PQE_POLICY_ALLOWED_MAX);
        return false;
    }
    *count = (size_t)n;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = PyTuple_GetItem(tuple, i);
        Py_ssize_t len = 0;

        out[i] = item != NULL ? PyUnicode_AsUTF8AndSize(item, &len) : NULL;
        if (out[i] == NULL)
            return false;
        if (strlen(out[i]) != (size_t)len) {
            PyErr_SetString(PyExc_ValueError, "a bundle id holds a null character");
            return false;
        }
    }
    return true;
}

PyObject *
pqepy_vault_policy_set(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqe_policy_rule rule = {.size = sizeof rule};
    const char *bundles[PQE_POLICY_ALLOWED_MAX], *kind, *caller;
    unsigned int uses;
    PyObject *allowed;
    pqepy_call call;
    int presence;

    if (!PyArg_ParseTuple(args, "zzO!pIz:policy_set", &kind, &rule.artifact, &PyTuple_Type, &allowed, &presence, &uses,
                          &caller) ||
        !kind_of(kind, &rule.kind) || !bundles_of(allowed, bundles, &rule.allowed_count))
        return NULL;
    rule.allowed_bundle_ids = bundles;
    rule.require_presence = presence != 0;
    rule.max_uses_per_hour = uses;
    if (!pqepy_enter_as(&call, self, caller) || !pqepy_leave_as(&call, pqe_policy_set(self->vault, &rule, &call.err)))
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
pqepy_vault_policy_clear(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    const char *name, *artifact, *caller;
    pqepy_call call;
    pqe_kind kind;

    if (!PyArg_ParseTuple(args, "zzz:policy_clear", &name, &artifact, &caller) || !kind_of(name, &kind) ||
        !pqepy_enter_as(&call, self, caller) ||
        !pqepy_leave_as(&call, pqe_policy_clear(self->vault, kind, artifact, &call.err)))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
rule_tuple(const pqe_policy_rule *rule, uint64_t uses)
{
    PyObject *allowed = PyTuple_New((Py_ssize_t)rule->allowed_count);

    for (size_t i = 0; allowed != NULL && i < rule->allowed_count; i++) {
        PyObject *bundle = text(rule->allowed_bundle_ids[i]);
        if (bundle == NULL || PyTuple_SetItem(allowed, (Py_ssize_t)i, bundle) != 0)
            Py_CLEAR(allowed);
    }
    if (allowed == NULL)
        return NULL;
    return Py_BuildValue("(zzNOIK)", rule->artifact == NULL ? pqe_kind_name(rule->kind) : NULL, rule->artifact, allowed,
                         rule->require_presence ? Py_True : Py_False, (unsigned int)rule->max_uses_per_hour,
                         (unsigned long long)uses);
}

static bool
list_rule(void *user, const pqe_policy_rule *rule, uint64_t uses)
{
    pqepy_callback cb;

    return pqepy_callback_begin(&cb) && pqepy_callback_append(&cb, user, rule_tuple(rule, uses));
}

PyObject *
pqepy_vault_policy_list(PyObject *object, PyObject *unused)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqepy_call call;
    PyObject *list = pqepy_list_enter(&call, self);

    (void)unused;
    return list != NULL ? pqepy_list_leave(&call, list, pqe_policy_list(self->vault, list_rule, list, &call.err))
                        : NULL;
}

/* ---- audit log ---- */

/* The operation of a name, 0 for None; false with a ValueError. */
static bool
op_of(const char *name, pqe_audit_op *out)
{
    *out = (pqe_audit_op)0;
    if (name == NULL || pqe_audit_op_from_name(name, out))
        return true;
    PyErr_Format(PyExc_ValueError, "no operation is named \"%.40s\"", name);
    return false;
}

static PyObject *
entry_tuple(const pqe_audit_entry *e)
{
    const char *op = pqe_audit_op_name(e->op), *kind = e->kind != 0 ? pqe_kind_name(e->kind) : NULL;

    return Py_BuildValue("(KsNNNNNONNO)", (unsigned long long)e->sequence, e->timestamp, text(op), text(e->device_id),
                         text(e->artifact_id), text(e->name), text(kind), e->success ? Py_True : Py_False,
                         text(e->details), text(e->caller), e->by_application ? Py_True : Py_False);
}

static bool
list_entry(void *user, const pqe_audit_entry *entry)
{
    pqepy_callback cb;

    return pqepy_callback_begin(&cb) && pqepy_callback_append(&cb, user, entry_tuple(entry));
}

PyObject *
pqepy_vault_audit_list(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqe_audit_query query = {.size = sizeof query};
    unsigned long long limit;
    const char *op;
    PyObject *list;
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "Kzzz:audit_list", &limit, &op, &query.artifact, &query.device_id) ||
        !op_of(op, &query.op) || (list = pqepy_list_enter(&call, self)) == NULL)
        return NULL;
    query.limit = limit;
    return pqepy_list_leave(&call, list, pqe_audit_list(self->vault, &query, list_entry, list, &call.err));
}

PyObject *
pqepy_vault_audit_record(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqe_audit_entry entry = {.size = sizeof entry};
    const char *op, *kind, *caller;
    int success, flush;
    pqepy_call call;
    pqe_status status;

    if (!PyArg_ParseTuple(args, "szzzzpzzp:audit_record", &op, &entry.device_id, &entry.artifact_id, &entry.name, &kind,
                          &success, &entry.details, &caller, &flush) ||
        !op_of(op, &entry.op) || !kind_of(kind, &entry.kind) || !pqepy_enter_as(&call, self, caller))
        return NULL;
    entry.success = success != 0;
    status = pqe_audit_record(self->vault, &entry, &call.err);
    if (status == PQE_OK && flush)
        status = pqe_audit_flush(self->vault, &call.err);
    if (!pqepy_leave_as(&call, status))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
info_dict(const pqe_audit_info *info)
{
    return Py_BuildValue("{s:I,s:K,s:K,s:K,s:s,s:O,s:O}", "chain", (unsigned int)info->chain, "first_sequence",
                         (unsigned long long)info->first_sequence, "last_sequence",
                         (unsigned long long)info->last_sequence, "bytes", (unsigned long long)info->bytes, "link",
                         info->link, "signed_checkpoints", info->signed_checkpoints ? Py_True : Py_False,
                         "checkpoint_signed", info->checkpoint_signed ? Py_True : Py_False);
}

PyObject *
pqepy_vault_audit_info(PyObject *object, PyObject *unused)
{
    pqepy_vault *self = (pqepy_vault *)object;
    pqe_audit_info info = {0};
    pqepy_call call;
    pqe_status status;

    (void)unused;
    if (!pqepy_enter(&call, self->backend, self))
        return NULL;
    status = pqe_audit_flush(self->vault, &call.err); /* so that what is in memory counts too */
    if (status == PQE_OK || status == PQE_E_READ_ONLY)
        status = pqe_audit_get_info(self->vault, &info, &call.err);
    return pqepy_leave(&call, status) ? info_dict(&info) : NULL;
}

PyObject *
pqepy_vault_audit_clear(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    const char *caller;
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "z:audit_clear", &caller) || !pqepy_enter_as(&call, self, caller) ||
        !pqepy_leave_as(&call, pqe_audit_clear(self->vault, &call.err)))
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
pqepy_vault_audit_checkpoint(PyObject *object, PyObject *unused)
{
    pqepy_vault *self = (pqepy_vault *)object;
    char checkpoint[PQE_AUDIT_CHECKPOINT_MAX];
    pqepy_call call;
    size_t len = 0;

    (void)unused;
    if (!pqepy_enter(&call, self->backend, self) ||
        !pqepy_leave(&call, pqe_audit_checkpoint(self->vault, checkpoint, sizeof checkpoint, &len, &call.err)))
        return NULL;
    return PyUnicode_FromStringAndSize(checkpoint, (Py_ssize_t)len);
}

PyObject *
pqepy_vault_audit_verify(PyObject *object, PyObject *args)
{
    pqepy_vault *self = (pqepy_vault *)object;
    const char *checkpoint;
    Py_ssize_t len = 0;
    pqe_audit_info info = {0};
    pqepy_call call;

    if (!PyArg_ParseTuple(args, "z#:audit_verify", &checkpoint, &len) || !pqepy_enter(&call, self->backend, self) ||
        !pqepy_leave(&call, pqe_audit_verify(self->vault, checkpoint, (size_t)len, &info, &call.err)))
        return NULL;
    return info_dict(&info);
}
