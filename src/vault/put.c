/* SPDX-License-Identifier: Apache-2.0 */
/* Putting: plaintext is hashed and encrypted as it comes; finish() alone makes it visible. */
#include "vault/writer.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "util/fsio.h"

/* ---- options ---- */

static size_t
text_len(const char *text)
{
    return text != NULL ? strlen(text) : 0;
}

static pqe__text
keep_text(char **at, const char *text)
{
    pqe__text kept = {*at, text_len(text)};

    if (kept.len != 0)
        memcpy(*at, text, kept.len);
    *at += kept.len;
    return kept;
}

static pqe_status
copy_opts(pqe_writer *w, const pqe_put_opts *given, pqe_error *err)
{
    pqe_status status;
    pqe_put_opts o;
    pqe__hash_algorithm hash;
    size_t size;
    char *at;

    status = pqe__opts_copy(&o, sizeof o, offsetof(pqe_put_opts, version), given, "the put options", err);
    if (status != PQE_OK)
        return status;
    if (o.tag_count != 0 && o.tags == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the tags are NULL");
    if (o.hash != NULL && pqe__content_hash_named(o.hash, &hash, err) != PQE_OK)
        return PQE_E_ARGUMENT;
    w->record.hash_algorithm = o.hash != NULL ? (uint8_t)hash : 0;
    if (o.tag_count > PQE_TAGS_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "there are more than %d tags", PQE_TAGS_MAX);
    size = 1 + text_len(o.name) + text_len(o.version) + text_len(o.app_bundle_id) + text_len(o.model_did) +
           text_len(o.description);
    for (size_t i = 0; i < o.tag_count; i++)
        size += text_len(o.tags[i]);
    if ((w->strings = at = malloc(size)) == NULL)
        return pqe__fail_nomem(err);
    w->strings_len = size;
    w->record.kind = o.kind;
    w->record.name = keep_text(&at, o.name);
    w->record.version = keep_text(&at, o.version);
    w->record.app_bundle_id = keep_text(&at, o.app_bundle_id);
    w->record.model_did = keep_text(&at, o.model_did);
    w->record.description = keep_text(&at, o.description);
    w->record.tag_count = o.tag_count;
    for (size_t i = 0; i < o.tag_count; i++)
        w->record.tags[i] = keep_text(&at, o.tags[i]);
    w->record.device_id = (pqe__text){"", 0};
    if (o.name != NULL && pqe__is_artifact_id(o.name)) /* it would stand in front of another artifact's id */
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the name has the form of an artifact id");
    return pqe__record_check(&w->record, err);
}

/* ---- open and abort ---- */

static void
writer_drop_keys(pqe__handle *handle)
{
    pqe_writer *w = (pqe_writer *)(void *)handle;

    pqe__body_writer_free(&w->body);
    pqe__content_hash_clear(&w->hash);
    pqe__commitment_free(&w->commitment);
    pqe__secmem_free(w->dek);
    w->dek = NULL;
}

static void
writer_free(pqe_writer *w)
{
    pqe_vault *vault = w->handle.vault;

    pqe__handle_remove(&w->handle);
    if (vault != NULL && pqe__owner_is_here(w->handle.owner)) {
        writer_drop_keys(&w->handle);
        if (w->has_file)
            pqe__body_discard(vault->store, &w->file);
    }
    pqe__close_fd(&w->file.fd); /* of a vault closed before: without its lock the next unlock sweeps the file */
    pqe__wipe(w->strings, w->strings_len);
    free(w->strings);
    free(w->inline_body);
    free(w);
}

/* Without a name in the options, that of the vault's settings. key_lock is held for reading. */
static pqe_status
start_hash(pqe_writer *w, pqe_error *err)
{
    if (w->record.hash_algorithm == 0)
        w->record.hash_algorithm = atomic_load(&w->handle.vault->session->hash_default[w->record.kind]);
    if (w->record.hash_algorithm == 0)
        w->record.hash_algorithm = PQE__RECORD_HASH_SHA3_256;
    if (w->record.hash_algorithm == PQE__RECORD_HASH_DEFERRED)
        return pqe__commitment_new(&w->commitment, err);
    return pqe__content_hash_start(&w->hash, w->record.hash_algorithm, err);
}

/* key_lock is held for reading. */
static pqe_status
start_body(pqe_writer *w, pqe_error *err)
{
    pqe_status status;

    if ((w->dek = pqe__secmem_alloc(PQE__KEY_SIZE)) == NULL)
        return pqe__fail_nomem(err);
    status = pqe__random_secret(w->dek, PQE__KEY_SIZE, err);
    if (status == PQE_OK)
        status = pqe__random(w->record.body_id, PQE__ID_SIZE, err);
    if (status == PQE_OK)
        status = pqe__random(w->record.artifact_id, PQE__ID_SIZE, err);
    if (status == PQE_OK)
        status = start_hash(w, err);
    if (status == PQE_OK)
        status = pqe__body_writer_new(w->dek, w->record.body_id, NULL, pqe__writer_take, w, &w->body, err);
    return status;
}

pqe_status
pqe__writer_prepare(pqe_vault *vault, const pqe_put_opts *opts, pqe_writer **out, pqe_error *err)
{
    pqe_writer *w;
    pqe_status status;

    *out = NULL;
    if ((w = calloc(1, sizeof *w)) == NULL)
        return pqe__fail_nomem(err);
    w->file.fd = -1;
    w->handle.drop_keys = writer_drop_keys;
    status = copy_opts(w, opts, err);
    if (status == PQE_OK && pqe__store_read_only(vault->store))
        status = pqe__fail(err, PQE_E_READ_ONLY, PQE_ORIGIN_API, 0, "the vault is read-only here");
    if (status != PQE_OK) {
        writer_free(w);
        return status;
    }
    pqe__handle_add(vault, &w->handle);
    *out = w;
    return PQE_OK;
}

pqe_status
pqe__writer_begin(pqe_writer *writer, pqe_error *err)
{
    pqe_status status = pqe__handle_usable(&writer->handle, err);

    if (status == PQE_OK)
        status = pqe__session_enter(writer->handle.vault, err);
    if (status != PQE_OK)
        return status;
    status = start_body(writer, err);
    pqe__session_leave(writer->handle.vault);
    return status;
}

pqe_status
pqe_writer_open(pqe_vault *vault, const pqe_put_opts *opts, pqe_writer **out, pqe_error *err)
{
    pqe_writer *w;
    pqe_status status = pqe__vault_usable(vault, err);

    if (out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the writer");
    *out = NULL;
    if (status == PQE_OK)
        status = pqe__writer_prepare(vault, opts, &w, err);
    if (status != PQE_OK)
        return status;
    if ((status = pqe__writer_begin(w, err)) != PQE_OK) {
        writer_free(w);
        return status;
    }
    *out = w;
    return PQE_OK;
}

void
pqe_writer_abort(pqe_writer **writer)
{
    if (writer == NULL || *writer == NULL)
        return;
    writer_free(*writer);
    *writer = NULL;
}

/* ---- finish ---- */

static pqe_status
finish_body(pqe_writer *w, pqe_error *err)
{
    pqe_status status = pqe__writer_enter(w, err);

    if (status != PQE_OK)
        return status;
    if (w->last_len != 0)
        status = pqe__content_hash_update(&w->hash, w->last, w->last_len, err);
    if (status == PQE_OK)
        status = pqe__body_writer_finish_with(w->body, w->last, w->last_len, err);
    w->record.size_bytes += w->last_len;
    if (status == PQE_OK)
        status = w->commitment != NULL ? pqe__commitment_final(w->commitment, w->record.content_hash, err)
                                       : pqe__content_hash_final(&w->hash, w->record.content_hash, err);
    pqe__session_leave(w->handle.vault);
    if (status == PQE_OK && w->has_file)
        status = pqe__sync(w->file.fd, "cannot make the body durable", err);
    return status;
}

/* The session secret under which this session wraps; made at its first put, and again if another process dropped it
   with the last artifact that used it. */
static pqe_status
ensure_write_key(pqe__txn *txn, pqe_error *err)
{
    pqe__session *session = txn->vault->session;
    uint8_t tag[PQE__TAG_KEY_SIZE];
    pqe__secret_row row;
    pqe__entry entry = {0};
    bool found = false;
    pqe_status status = PQE_OK;

    if (session->has_write_key) {
        status = pqe__tag_of(session->keys, PQE__ENTRY_SECRET, session->write_key_id, PQE__ID_SIZE, tag, err);
        if (status == PQE_OK)
            status = pqe__tree_lookup(txn->vault->store, txn->head.index_root, tag, &found, &entry, err);
    }
    if (status == PQE_OK && found)
        session->write_key_row = entry.rowid;
    if (status != PQE_OK || found)
        return status;
    session->has_write_key = false;
    status = pqe__wrap_key_make(session->keys, &row, err);
    if (status == PQE_OK)
        status = pqe__wrap_key_enter(txn, session->keys, &row, err);
    if (status == PQE_OK) {
        memcpy(session->write_key_id, row.key_id, PQE__ID_SIZE);
        session->write_key_row = row.rowid;
        session->has_write_key = true; /* should the transaction fail, the next put finds that it is not there */
    }
    return status;
}

/* What the record says beside what the caller gave, and the row but for key, record and DEK. */
static void
complete_record(pqe_writer *w, const pqe__session *session, const uint8_t key_id[PQE__ID_SIZE], pqe__row *row)
{
    int64_t now = pqe__walltime();

    w->record.suite = session->keys->suite;
    memcpy(w->record.key_id, key_id, PQE__ID_SIZE);
    w->record.created_at = now > 0 ? (uint64_t)now : 0;
    w->record.device_id = (pqe__text){session->priv.device_id, strlen(session->priv.device_id)};
    row->is_inline = !w->has_file;
    if (w->has_file)
        memcpy(row->file, w->file.name, PQE__ID_SIZE);
    row->body = w->inline_body;
    row->body_len = w->inline_len;
}

static pqe_status
insert_row(pqe__txn *txn, pqe_writer *w, pqe__found *fresh, pqe_error *err)
{
    pqe__session *session = txn->vault->session;
    pqe__row *row = &fresh->row;
    pqe_status status;

    complete_record(w, session, session->write_key_id, row);
    status = pqe__row_seal(txn, session->keys, session->write_key_id, w->dek, &w->record, row, err);
    if (status == PQE_OK && w->has_file)
        status = pqe__body_publish(txn->vault->store, &w->file, err);
    if (status == PQE_OK)
        status = pqe__row_insert(txn->vault->store, row, err);
    if (status == PQE_OK)
        status = pqe__secret_count(txn->vault->store, session->write_key_row, 1, err);
    if (status == PQE_OK)
        status = pqe__row_enter(txn, session->keys, &w->record, row, err);
    fresh->record = w->record;
    fresh->plain_len = row->record_len;
    return status;
}

pqe_status
pqe__log_put(pqe__txn *txn, const pqe__record *record, bool replaces, pqe_error *err)
{
    static const char text[] = "replaces what had the name";
    char id[PQE_ARTIFACT_ID_SIZE];
    pqe__event event = pqe__event_of(PQE_AUDIT_PUT, record, id);

    if (replaces)
        event.details = (pqe__text){text, sizeof text - 1};
    return pqe__audit_append(txn, &event, err);
}

static pqe_status
change_index(pqe__txn *txn, pqe_writer *w, pqe__found *old, bool *replaces, pqe__found *fresh, pqe_error *err)
{
    pqe_status status = ensure_write_key(txn, err);

    if (status == PQE_OK)
        status = pqe__find_to_replace(txn, w->record.name, replaces, old, err);
    if (status == PQE_OK && old->damaged)
        status = pqe__damaged_retire(txn, old, err);
    if (status == PQE_OK)
        status = insert_row(txn, w, fresh, err);
    if (status == PQE_OK && *replaces && !old->damaged)
        status = pqe__artifact_retire(txn, old, err);
    if (status == PQE_OK)
        status = pqe__log_put(txn, &w->record, *replaces, err);
    if (status != PQE_OK)
        return status;
    txn->head.artifact_count += *replaces ? 0 : 1;
    return pqe__txn_write_head(txn, txn->vault->session->keys, err);
}

/* The transaction is known to have left nothing: neither may the body, and the old one's mark is void. */
static void
undo_put(pqe_vault *vault, pqe_writer *w, const pqe__found *old)
{
    pthread_mutex_lock(&vault->db_lock);
    if (w->has_file)
        pqe__body_discard(vault->store, &w->file);
    w->has_file = false;
    if (old != NULL && !old->row.is_inline)
        pqe__body_unmark(vault->store, old->row.file, old->mark, true);
    pthread_mutex_unlock(&vault->db_lock);
}

static pqe_status
commit_put(pqe_writer *w, pqe_artifact **out, pqe_error *err)
{
    pqe_vault *vault = w->handle.vault;
    pqe__found old = {0}, fresh = {0};
    pqe_artifact *artifact = NULL;
    bool replaces = false, known = true;
    pqe__txn txn;
    pqe_status status = pqe__txn_begin(vault, true, &txn, err);

    if (status != PQE_OK)
        return status;
    status = w->dek != NULL ? change_index(&txn, w, &old, &replaces, &fresh, err) : pqe__locked(err);
    if (status == PQE_OK && out != NULL)
        status = pqe__artifact_new(&fresh, &artifact, err);
    if (status == PQE_OK) {
        status = pqe__txn_commit(&txn, &known, err);
    } else {
        pqe__txn_abort(&txn);
    }
    if (status == PQE_OK) {
        pqe__retired_settle(vault, replaces ? &old : NULL, w->has_file ? &w->file : NULL);
        w->has_file = false;
    } else if (known) {
        undo_put(vault, w, replaces ? &old : NULL);
    } else {
        pqe__close_fd(&w->file.fd); /* its mark stays: the next unlock asks the index which of the two happened */
        w->has_file = false;
    }
    if (status == PQE_OK && out != NULL)
        *out = artifact;
    else
        pqe_artifact_free(&artifact);
    fresh.plain_len = 0;
    pqe__found_free(&fresh);
    pqe__found_free(&old);
    return status;
}

void
pqe__writer_log_failure(pqe_writer *w, pqe_status status, const pqe_error *error)
{
    if (pqe__handle_usable(&w->handle, NULL) == PQE_OK)
        pqe__audit_note_artifact(w->handle.vault, PQE_AUDIT_PUT, status, &w->record, NULL, error);
}

pqe_status
pqe_writer_finish(pqe_writer **writer, pqe_artifact **out, pqe_error *err)
{
    pqe_writer *w;
    pqe_error inner = {0};
    pqe_status status;

    if (out != NULL)
        *out = NULL;
    if (writer == NULL || *writer == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the writer is NULL");
    w = *writer;
    *writer = NULL;
    status = w->failed
                 ? pqe__fail(&inner, PQE_E_STATE, PQE_ORIGIN_API, 0, "the writer has failed before; nothing is stored")
                 : finish_body(w, &inner);
    if (status == PQE_OK)
        status = commit_put(w, out, &inner);
    if (status != PQE_OK) {
        pqe__writer_log_failure(w, status, &inner);
        pqe__set_error(err, status, inner.origin, inner.native, "%s", inner.message);
    }
    writer_free(w);
    return status;
}

pqe_status
pqe_put(pqe_vault *vault, const pqe_put_opts *opts, const void *content, size_t len, pqe_artifact **out, pqe_error *err)
{
    pqe_writer *w = NULL;
    pqe_status status;

    if (out != NULL)
        *out = NULL;
    status = pqe_writer_open(vault, opts, &w, err);
    if (status == PQE_OK)
        status = pqe__writer_whole(w, content, len, err);
    if (status == PQE_OK)
        return pqe_writer_finish(&w, out, err);
    pqe_writer_abort(&w);
    return status;
}

/* ---- for batches ---- */

const pqe_vault *
pqe__writer_vault(const pqe_writer *writer)
{
    return writer->handle.vault;
}

pqe_status
pqe__writer_end(pqe_writer *writer, pqe_error *err)
{
    if (writer->failed)
        return pqe__fail(err, PQE_E_STATE, PQE_ORIGIN_API, 0, "the writer has failed before; nothing is stored");
    writer->failed = true; /* nothing may follow */
    return finish_body(writer, err);
}

pqe_status
pqe__writer_seal(pqe_writer *writer, const pqe__session *session, pqe__aead *wrap, const uint8_t key_id[PQE__ID_SIZE],
                 pqe__sealed *out, pqe_error *err)
{
    const pqe__record *r = &writer->record;
    pqe_status status;

    memset(out, 0, sizeof *out);
    out->file.fd = -1;
    if (writer->dek == NULL)
        return pqe__locked(err);
    complete_record(writer, session, key_id, &out->row);
    status = pqe__row_seal_under(session->keys, wrap, key_id, writer->dek, r, &out->row, err);
    if (status == PQE_OK)
        status = pqe__tag_of(session->keys, PQE__ENTRY_NAME, r->name.data, r->name.len, out->name_tag, err);
    if (status == PQE_OK)
        status = pqe__tag_of(session->keys, PQE__ENTRY_ID, r->artifact_id, PQE__ID_SIZE, out->id_tag, err);
    if (status == PQE_OK && writer->has_file) {
        out->file = writer->file;
        writer->file.fd = -1;
        writer->has_file = false;
    }
    if (status != PQE_OK)
        pqe__row_free(&out->row);
    return status;
}
