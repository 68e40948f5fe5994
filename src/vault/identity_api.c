/* SPDX-License-Identifier: Apache-2.0 */
/* Identities as the application sees them: create, import, get, list, export, sign. */
#include <stdlib.h>
#include <string.h>

#include "vault/recovery.h"

static pqe_status
bad_argument(pqe_error *err, const char *text)
{
    return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "%s", text);
}

static void
describe(const pqe__identity_found *f, bool is_default, pqe_identity *out)
{
    memset(out, 0, sizeof *out);
    memcpy(out->did, f->did, sizeof out->did);
    memcpy(out->name, f->identity.name.data, f->identity.name.len);
    out->algorithm = f->identity.algorithm;
    pqe__time_format((int64_t)f->identity.created_at, out->created_at);
    out->is_default = is_default;
    out->is_native = f->identity.form == PQE__IDENTITY_NATIVE;
    memcpy(out->public_key, f->identity.public_key, f->identity.public_key_len);
    out->public_key_len = f->identity.public_key_len;
}

/* ---- create and import ---- */

static pqe_status
read_opts(const pqe_identity_opts *given, pqe__identity *identity, pqe_error *err)
{
    pqe_identity_opts o = {.size = sizeof o};
    const char *name;
    size_t len;
    pqe_status status;

    if (given != NULL &&
        (status = pqe__opts_copy(&o, sizeof o, sizeof o, given, "the identity options", err)) != PQE_OK)
        return status;
    name = o.name != NULL ? o.name : "";
    len = strnlen(name, PQE_IDENTITY_NAME_MAX + 1);
    if (len > PQE_IDENTITY_NAME_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "an identity's name is longer than %d bytes",
                         PQE_IDENTITY_NAME_MAX);
    if (!pqe__utf8_valid(name, len))
        return bad_argument(err, "an identity's name is not valid UTF-8");
    if (strncmp(name, PQE__DID_PREFIX, sizeof PQE__DID_PREFIX - 1) == 0)
        return bad_argument(err, "an identity's name has the form of a DID");
    identity->name = (pqe__text){name, len};
    identity->algorithm = o.algorithm != 0 ? o.algorithm : PQE_ML_DSA_65;
    identity->created_at = (uint64_t)pqe__walltime();
    return PQE_OK;
}

static pqe_status
check_algorithm(pqe_sig_algorithm algorithm, pqe_error *err)
{
    if (algorithm != PQE_ML_DSA_65 && algorithm != PQE_ML_DSA_87)
        return bad_argument(err, "an identity's algorithm is ML-DSA-65 or ML-DSA-87");
    return PQE_OK;
}

static pqe_status
check_free(pqe__txn *txn, const pqe__identity *identity, const char *did, bool *is_first, pqe_error *err)
{
    pqe__entry entry;
    bool found;
    pqe_status status = pqe__identity_look_up(txn, PQE__ENTRY_IDENTITY, did, strlen(did), &found, &entry, err);

    if (status == PQE_OK && found)
        return pqe__fail(err, PQE_E_EXISTS, PQE_ORIGIN_API, 0, "the vault has this identity already");
    if (status == PQE_OK && identity->name.len != 0) {
        status = pqe__identity_look_up(txn, PQE__ENTRY_IDENTITY_NAME, identity->name.data, identity->name.len, &found,
                                       &entry, err);
        if (status == PQE_OK && found)
            return pqe__fail(err, PQE_E_EXISTS, PQE_ORIGIN_API, 0, "an identity of that name is there already");
    }
    if (status == PQE_OK)
        status = pqe__identity_look_up(txn, PQE__ENTRY_IDENTITY_NAME, "", 0, &found, &entry, err);
    *is_first = !found;
    return status;
}

/* Writes a new identity's row and entries, and the log's entry. */
static pqe_status
insert(pqe__txn *txn, pqe_audit_op op, const pqe__identity *identity, pqe_identity *out, pqe_error *err)
{
    const pqe__keys *keys = txn->vault->session->keys;
    pqe__identity_found f = {.identity = *identity};
    bool is_first = false;
    pqe_status status = pqe_did_of_key(identity->public_key, identity->public_key_len, f.did, err);

    if (status == PQE_OK)
        status = check_free(txn, identity, f.did, &is_first, err);
    if (status == PQE_OK)
        status = pqe__identity_row_seal(keys, identity, &f.row, err);
    if (status == PQE_OK)
        status = pqe__identity_row_insert(txn->vault->store, &f.row, err);
    if (status == PQE_OK)
        status = pqe__identity_enter(txn, keys, identity, f.did, &f.row, is_first, err);
    if (status == PQE_OK)
        status = pqe__identity_log(txn, op, identity->name, f.did, err);
    if (status == PQE_OK && out != NULL)
        describe(&f, is_first, out);
    pqe__identity_row_free(&f.row);
    return status;
}

static pqe_status
store_key(pqe_vault *vault, pqe_audit_op op, const pqe_signing_key *key, pqe__identity *identity,
          pqe__identity_room *room, pqe_identity *out, pqe_error *err)
{
    pqe__recovery_list *recovery = NULL;
    pqe__home home;
    pqe__txn txn;
    pqe_status status = pqe__txn_begin(vault, true, &txn, err);

    if (status != PQE_OK)
        return status;
    home = pqe__session_home(vault);
    identity->algorithm = key->public_key->algorithm;
    identity->public_key = key->public_key->raw;
    identity->public_key_len = key->public_key->len;
    status = pqe__recovery_load(&txn, &recovery, err);
    if (status == PQE_OK)
        status = pqe__identity_seal_key(&home, vault->session->keys, recovery, key, identity, room, err);
    pqe__secmem_free(recovery);
    if (status == PQE_OK)
        status = insert(&txn, op, identity, out, err);
    return pqe__identity_conclude(vault, &txn, status, false, err);
}

static pqe_status
make_native(pqe_vault *vault, pqe__identity *identity, pqe__identity_room *room, pqe_identity *out, pqe_error *err)
{
    pqe_blob handle = {.data = room->sealed, .capacity = sizeof room->sealed};
    pqe_blob public_key = {.data = room->public_key, .capacity = sizeof room->public_key};
    pqe__txn txn;
    pqe_status status = pqe__txn_begin(vault, true, &txn, err);

    if (status != PQE_OK)
        return status;
    status = pqe__backend_identity_make(vault->backend, vault->session->backend_key, identity->algorithm, &handle,
                                        &public_key, err);
    identity->form = PQE__IDENTITY_NATIVE;
    identity->sealed = handle.data;
    identity->sealed_len = handle.len;
    identity->public_key = public_key.data;
    identity->public_key_len = public_key.len;
    if (status == PQE_OK) {
        status = insert(&txn, PQE_AUDIT_IDENTITY_CREATE, identity, out, err);
        if (status != PQE_OK)
            pqe__backend_identity_drop(vault->backend, vault->session->backend_key, handle.data, handle.len);
    }
    return pqe__identity_conclude(vault, &txn, status, false, err);
}

/* How a create or import ended: a failure is noted, without the transaction that it had. */
static pqe_status
ended(pqe_vault *vault, pqe_audit_op op, const pqe__identity *identity, pqe_status status, const pqe_error *inner,
      pqe_identity *out, pqe_error *err)
{
    if (status == PQE_OK)
        return PQE_OK;
    if (out != NULL)
        memset(out, 0, sizeof *out);
    pqe__identity_note(vault, op, identity->name.data, NULL, status, inner);
    return pqe__fail(err, status, inner->origin, inner->native, "%s", inner->message);
}

pqe_status
pqe_identity_create(pqe_vault *vault, const pqe_identity_opts *opts, pqe_identity *out, pqe_error *err)
{
    pqe__identity identity = {0};
    pqe_signing_key *key = NULL;
    pqe_error inner = {0};
    pqe__identity_room *room;
    pqe_status status = pqe__vault_usable(vault, err);

    if (out != NULL)
        memset(out, 0, sizeof *out);
    if (status == PQE_OK)
        status = read_opts(opts, &identity, err);
    if (status == PQE_OK)
        status = check_algorithm(identity.algorithm, err);
    if (status != PQE_OK)
        return status;
    if ((room = calloc(1, sizeof *room)) == NULL)
        return pqe__fail_nomem(err);
    if (pqe__backend_signs(vault->backend)) {
        status = make_native(vault, &identity, room, out, &inner);
    } else {
        status = pqe_signing_key_generate(identity.algorithm, &key, &inner);
        if (status == PQE_OK)
            status = store_key(vault, PQE_AUDIT_IDENTITY_CREATE, key, &identity, room, out, &inner);
    }
    pqe_signing_key_free(&key);
    free(room);
    return ended(vault, PQE_AUDIT_IDENTITY_CREATE, &identity, status, &inner, out, err);
}

pqe_status
pqe_identity_import(pqe_vault *vault, const pqe_signing_key *key, const pqe_identity_opts *opts, pqe_identity *out,
                    pqe_error *err)
{
    pqe__identity identity = {0};
    pqe_error inner = {0};
    pqe__identity_room *room;
    pqe_status status = pqe__vault_usable(vault, err);

    if (out != NULL)
        memset(out, 0, sizeof *out);
    if (status == PQE_OK)
        status = pqe__signing_key_usable(key, err);
    if (status == PQE_OK)
        status = read_opts(opts, &identity, err);
    if (status == PQE_OK)
        status = check_algorithm(key->public_key->algorithm, err);
    if (status != PQE_OK)
        return status;
    if ((room = calloc(1, sizeof *room)) == NULL)
        return pqe__fail_nomem(err);
    status = store_key(vault, PQE_AUDIT_IDENTITY_IMPORT, key, &identity, room, out, &inner);
    free(room);
    return ended(vault, PQE_AUDIT_IDENTITY_IMPORT, &identity, status, &inner, out, err);
}

/* ---- get and list ---- */

pqe_status
pqe_identity_get(pqe_vault *vault, const char *did_or_name, pqe_identity *out, pqe_error *err)
{
    pqe__identity_found f;
    bool is_default;
    pqe__txn txn;
    pqe_status status;

    if (out == NULL)
        return bad_argument(err, "no place for the identity");
    memset(out, 0, sizeof *out);
    if ((status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    status = pqe__identity_find(&txn, did_or_name, &f, err);
    if (status == PQE_OK)
        status = pqe__identity_is_default(&txn, &f, &is_default, err);
    if (status == PQE_OK)
        describe(&f, is_default, out);
    pqe__identity_found_free(&f);
    pqe__txn_abort(&txn);
    return status;
}

static int
by_row(const void *a, const void *b)
{
    const pqe__entry *x = a, *y = b;

    return x->rowid < y->rowid ? -1 : x->rowid > y->rowid;
}

pqe_status
pqe__identities_collect(pqe__txn *txn, pqe__entry_list *list, pqe_error *err)
{
    pqe_status status;

    *list = (pqe__entry_list){.kind = PQE__ENTRY_IDENTITY};
    status = pqe__entries_collect(txn, list, err);
    if (status == PQE_OK && list->count > 1)
        qsort(list->entries, list->count, sizeof list->entries[0], by_row);
    return status;
}

static pqe_status
list_one(pqe__txn *txn, const pqe__entry *entry, pqe_identity_fn fn, void *user, pqe_error *err)
{
    pqe__identity_found f;
    pqe_identity identity;
    bool is_default, go_on;
    pqe_status status = pqe__identity_find_entry(txn, entry, &f, err);

    if (status == PQE_OK)
        status = pqe__identity_is_default(txn, &f, &is_default, err);
    if (status == PQE_OK)
        describe(&f, is_default, &identity);
    pqe__identity_found_free(&f);
    if (status != PQE_OK)
        return status;
    pqe__txn_pause(txn); /* the application may take its time; expiry does not wait for it */
    go_on = fn(user, &identity);
    if ((status = pqe__txn_resume(txn, err)) != PQE_OK)
        return status;
    return go_on ? PQE_OK : pqe__fail(err, PQE_E_CANCELLED, PQE_ORIGIN_API, 0, "the listing was stopped");
}

pqe_status
pqe_identity_list(pqe_vault *vault, pqe_identity_fn fn, void *user, pqe_error *err)
{
    pqe__entry_list list;
    pqe__txn txn;
    pqe_status status;

    if (fn == NULL)
        return bad_argument(err, "there is no callback");
    if ((status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    status = pqe__identities_collect(&txn, &list, err);
    for (size_t i = 0; i < list.count && status == PQE_OK; i++)
        status = list_one(&txn, &list.entries[i], fn, user, err);
    free(list.entries);
    pqe__txn_abort(&txn);
    return status;
}

/* ---- export and sign ---- */

pqe_status
pqe_identity_export_private(pqe_vault *vault, const char *did_or_name, pqe_signing_key **out, pqe_error *err)
{
    pqe__identity_found f;
    pqe_error inner = {0};
    pqe__txn txn;
    pqe_status status;

    if (out == NULL)
        return bad_argument(err, "no place for the key");
    *out = NULL;
    if ((status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    status = pqe__identity_find(&txn, did_or_name, &f, &inner);
    if (status == PQE_OK)
        status = pqe__identity_open_key(&txn, &f, out, &inner);
    pqe__txn_abort(&txn);
    pqe__identity_note(vault, PQE_AUDIT_IDENTITY_EXPORT, did_or_name, &f, status, &inner);
    pqe__identity_found_free(&f);
    return status == PQE_OK ? PQE_OK : pqe__fail(err, status, inner.origin, inner.native, "%s", inner.message);
}

#define OWN_CONTEXT "pqc-enclave"

pqe_status
pqe_identity_sign(pqe_vault *vault, const char *did_or_name, const void *message, size_t message_len,
                  const void *context, size_t context_len, uint8_t *signature, size_t capacity, size_t *len,
                  pqe_error *err)
{
    uint8_t made[PQE_ML_DSA_SIGNATURE_MAX];
    size_t own = sizeof OWN_CONTEXT - 1, size = 0;
    pqe__identity_found f;
    pqe__txn txn;
    pqe_status status;

    if (signature == NULL || len == NULL || (message == NULL && message_len != 0))
        return bad_argument(err, "message and place for the signature are required");
    *len = 0;
    if (context == NULL || context_len == 0 || (context_len >= own && memcmp(context, OWN_CONTEXT, own) == 0))
        return bad_argument(err, "a context of the application's own is required");
    if ((status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    status = pqe__identity_find(&txn, did_or_name, &f, err);
    if (status == PQE_OK && (size = pqe_sig_signature_size(f.identity.algorithm)) > capacity)
        status = pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "the signature needs %zu bytes", size);
    if (status == PQE_OK)
        status = pqe__identity_sign(&txn, &f, message, message_len, context, context_len, made, err);
    pqe__identity_found_free(&f);
    pqe__txn_abort(&txn);
    if (status == PQE_OK) {
        memcpy(signature, made, size);
        *len = size;
    }
    return status;
}
