/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing vault handles, and what can be known without keys. */
#include "vault/internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_BUSY_MS 60000u

pqe_status
pqe__vault_alloc(pqe_backend *backend, pqe_vault **out, pqe_error *err)
{
    pqe_vault *v = calloc(1, sizeof *v);
    pthread_rwlockattr_t attr;

    *out = NULL;
    if (v == NULL)
        return pqe__fail_nomem(err);
    v->owner = getpid();
    v->backend = backend;
    pthread_mutex_init(&v->db_lock, NULL);
    pthread_mutex_init(&v->list_lock, NULL);
    pthread_mutex_init(&v->log_lock, NULL);
    /* A stream of readers must not keep expiry from its turn. */
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&v->key_lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    *out = v;
    return PQE_OK;
}

pqe_status
pqe__vault_usable(const pqe_vault *vault, pqe_error *err)
{
    if (vault == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the vault handle is NULL");
    if (!pqe__owner_is_here(vault->owner))
        return pqe__fail(err, PQE_E_LOCKED, PQE_ORIGIN_API, 0, "this vault handle belongs to the parent process");
    return PQE_OK;
}

pqe_status
pqe__handle_usable(const pqe__handle *handle, pqe_error *err)
{
    if (handle->vault == NULL)
        return pqe__fail(err, PQE_E_LOCKED, PQE_ORIGIN_API, 0, "the vault was closed");
    return pqe__vault_usable(handle->vault, err);
}

static pqe_status
read_opts(const pqe_vault_opts *opts, pqe_vault_opts *out, pqe_error *err)
{
    pqe_status status =
        pqe__opts_copy(out, sizeof *out, offsetof(pqe_vault_opts, create), opts, "the vault options", err);

    if (status != PQE_OK)
        return status;
    if (out->backend == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the vault options name no backend");
    if (out->dir == NULL && !out->create)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "a vault in memory can only be created");
    if (out->create && out->read_only)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "a vault cannot be created read-only");
    if (out->busy_timeout_ms == 0)
        out->busy_timeout_ms = DEFAULT_BUSY_MS;
    return PQE_OK;
}

/* A vault that is there; the backend may be NULL for now. Refuses a head that this version cannot read. */
static pqe_status
open_stored(const pqe_vault_opts *o, pqe_vault **out, pqe_vault_info *info, pqe_error *err)
{
    pqe_vault *vault;
    pqe_status status = pqe__vault_alloc(o->backend, &vault, err);

    *out = NULL;
    if (status != PQE_OK)
        return status;
    status = pqe_vault_set_caller(vault, o->caller, err);
    if (status == PQE_OK)
        status = pqe__store_open(o->dir, o->read_only, o->busy_timeout_ms, &vault->store, err);
    if (status == PQE_OK)
        status = pqe_vault_get_info(vault, info, err);
    if (status != PQE_OK)
        pqe_vault_close(&vault);
    *out = vault;
    return status;
}

pqe_status
pqe_vault_open(const pqe_vault_opts *opts, pqe_vault **out, pqe_error *err)
{
    pqe_vault_opts o;
    pqe_vault_info info;
    pqe_vault *vault;
    pqe_status status;

    if (out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the handle");
    *out = NULL;
    if ((status = read_opts(opts, &o, err)) != PQE_OK)
        return status;
    if (!o.create)
        return open_stored(&o, out, &info, err);
    if ((status = pqe__vault_alloc(o.backend, &vault, err)) != PQE_OK)
        return status;
    status = pqe_vault_set_caller(vault, o.caller, err);
    if (status == PQE_OK)
        status = pqe__vault_create(vault, &o, err);
    if (status != PQE_OK)
        pqe_vault_close(&vault);
    *out = vault;
    return status;
}

pqe_status
pqe__vault_open_alone(const char *dir, const char *caller, pqe_vault **out, pqe_vault_info *info, pqe_error *err)
{
    const pqe_vault_opts opts = {.dir = dir, .caller = caller, .busy_timeout_ms = DEFAULT_BUSY_MS};

    return open_stored(&opts, out, info, err);
}

void
pqe__vault_attach(pqe_vault *vault, pqe_backend *backend)
{
    vault->backend = backend;
}

pqe_status
pqe_vault_set_caller(pqe_vault *vault, const char *bundle_id, pqe_error *err)
{
    char *copy = NULL, *old;
    pqe_status status = pqe__vault_usable(vault, err);

    if (status != PQE_OK)
        return status;
    if (bundle_id != NULL) {
        size_t len = strnlen(bundle_id, PQE_FIELD_MAX + 1);
        if (len > PQE_FIELD_MAX)
            return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "the caller is longer than %d bytes", PQE_FIELD_MAX);
        if (len == 0 || !pqe__utf8_valid(bundle_id, len))
            return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the caller is empty or not valid UTF-8");
        if ((copy = strdup(bundle_id)) == NULL)
            return pqe__fail_nomem(err);
    }
    pthread_mutex_lock(&vault->log_lock);
    old = vault->caller;
    vault->caller = copy;
    pthread_mutex_unlock(&vault->log_lock);
    free(old);
    return PQE_OK;
}

/* Readers and writers that outlive the vault have lost their keys; from now on they say locked. */
static void
orphan_handles(pqe_vault *v)
{
    for (pqe__handle *h = v->handles; h != NULL; h = h->next)
        h->vault = NULL;
}

void
pqe_vault_close(pqe_vault **vault)
{
    pqe_vault *v;

    if (vault == NULL || *vault == NULL)
        return;
    v = *vault;
    *vault = NULL;
    if (!pqe__owner_is_here(v->owner)) {
        /* Threads of the parent may have been changing the rest when it forked, and a fork is no moment: some pages are
           older than others. It goes with the process; keys are not mapped here. */
        pqe__store_abandon(&v->store);
        return;
    }
    if (v->store != NULL)
        pqe__session_note_end(v, true);
    pqe__watcher_remove(v);
    pqe__session_end(v);
    orphan_handles(v);
    pqe__store_close(&v->store);
    pqe__pending_free(v->pending);
    free(v->caller);
    pthread_mutex_destroy(&v->log_lock);
    pthread_rwlock_destroy(&v->key_lock);
    pthread_mutex_destroy(&v->list_lock);
    pthread_mutex_destroy(&v->db_lock);
    free(v);
}

static pqe_status
read_info(pqe_vault *vault, pqe_vault_info *out, pqe_error *err)
{
    uint8_t bytes[PQE__HEAD_MAX], tag[PQE__HEAD_TAG_SIZE], name[sizeof out->backend], state[PQE_BACKEND_STATE_MAX];
    uint8_t item[PQE__ITEM_MAX];
    bool missing = true;
    size_t len, name_len, state_len, sealed_len;
    const pqe_backend_ops *ops;
    const uint8_t *sealed;
    const char *source;
    pqe__head head;
    pqe_status status = pqe__store_get_head(vault->store, bytes, &len, tag, err);

    if (status == PQE_OK)
        status = pqe__head_decode(bytes, len, &head, &sealed, &sealed_len, err);
    if (status == PQE_OK)
        status = pqe__store_get_item(vault->store, PQE__ITEM_BACKEND_NAME, name, sizeof name - 1, &name_len, err);
    if (status == PQE_OK)
        status = pqe__store_get_item(vault->store, PQE__ITEM_BACKEND_STATE, state, sizeof state, &state_len, err);
    if (status == PQE_OK)
        status = pqe__store_find_item(vault->store, PQE__ITEM_NATIVE_KEY, item, sizeof item, &len, &missing, err);
    if (status != PQE_OK)
        return status;
    out->native_kem = !missing;
    if (!pqe__utf8_valid((const char *)name, name_len))
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the backend's name is damaged");
    memcpy(out->backend, name, name_len);
    pqe__hex_encode(head.vault_id, PQE__ID_SIZE, out->vault_id);
    memcpy(out->suite, pqe__suite_name(head.suite), strlen(pqe__suite_name(head.suite)) + 1);
    out->format_version = PQE__FORMAT_VERSION;
    out->generation = head.generation;
    out->artifact_count = head.artifact_count;
    out->read_only = pqe__store_read_only(vault->store);
    ops = vault->backend != NULL ? vault->backend->ops : pqe__backend_find(out->backend);
    if (ops != NULL && (ops->info.capabilities & PQE_CAP_COUNTER) == 0)
        out->rollback = PQE_ROLLBACK_NOT_DETECTED;
    source = pqe__backend_key_source(ops, state, state_len);
    if (source != NULL)
        memcpy(out->key_source, source, strlen(source) + 1);
    pqe__backend_describe(ops, state, state_len, out->held_by);
    return PQE_OK;
}

pqe_status
pqe_vault_get_info(pqe_vault *vault, pqe_vault_info *out, pqe_error *err)
{
    pqe__txn txn;
    pqe_error inner = {0};
    pqe_status status;

    if (out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the result");
    memset(out, 0, sizeof *out);
    if ((status = pqe__vault_usable(vault, err)) != PQE_OK)
        return status;
    status = pqe__txn_begin(vault, false, &txn, &inner); /* locked is no failure here: *err is left alone */
    if (status != PQE_E_LOCKED) {
        if (status != PQE_OK && err != NULL)
            *err = inner;
        if (status == PQE_OK) {
            status = pqe__txn_check_device(&txn, err);
            if (status == PQE_OK)
                status = read_info(vault, out, err);
            if (status == PQE_OK)
                out->rollback = txn.priv.has_counter ? PQE_ROLLBACK_DETECTED : PQE_ROLLBACK_NOT_DETECTED;
            pqe__txn_abort(&txn);
        }
        return status;
    }
    pthread_mutex_lock(&vault->db_lock);
    if ((status = pqe__store_begin(vault->store, false, err)) == PQE_OK) {
        status = read_info(vault, out, err);
        pqe__store_rollback(vault->store);
    }
    pthread_mutex_unlock(&vault->db_lock);
    return status;
}

pqe_status
pqe_vault_peek(const char *dir, pqe_vault_info *out, pqe_error *err)
{
    pqe_vault *vault = NULL;
    pqe_status status;

    if (dir == NULL || out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "directory and result are required");
    memset(out, 0, sizeof *out);
    if ((status = pqe__vault_alloc(NULL, &vault, err)) != PQE_OK)
        return status;
    status = pqe__store_open(dir, true, DEFAULT_BUSY_MS, &vault->store, err);
    if (status == PQE_OK)
        status = pqe_vault_get_info(vault, out, err);
    out->read_only = false;
    pqe_vault_close(&vault);
    return status;
}
