/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches: puts that are sealed as they come, under a session secret of the batch's own, and enter the index together.
 * The commit goes through them in windows: rows are inserted in their order, then the window's entries are sorted by tag,
 * so that every node of the tree is proved and written once a window instead of once an artifact.
 */
#include "vault/stage.h"
#include "vault/waiting.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/fsio.h"
#include "util/grow.h"

#define WINDOW ((size_t)16384)

/* A replaced artifact's body, which goes after the commit. */
typedef struct retired_file {
    uint8_t name[PQE__ID_SIZE], mark[PQE__MARK_SIZE];
} retired_file;

struct pqe_batch {
    pqe__handle handle;
    pqe__aead *wrap; /* NULL once the session has ended */
    uint8_t key_id[PQE__ID_SIZE];
    pqe__secret_row secret; /* not in the index before the commit, so nobody else can use or drop it */
    bool secret_entered;
    uint32_t epoch;
    uint8_t device_digest[PQE__DIGEST_SIZE];
    uint64_t count;
    pqe__waiting waiting;
    pqe__stage stage;
    bool failed;
    pqe__body_file files[PQE_BATCH_LARGE_MAX];
    size_t file_count;
    retired_file *retired;
    size_t retired_count, retired_capacity;
};

static void
batch_drop_keys(pqe__handle *handle)
{
    pqe_batch *b = (pqe_batch *)(void *)handle;

    pqe__aead_free(&b->wrap);
    pqe__waiting_wipe(&b->waiting);
}

static void
batch_free(pqe_batch *b)
{
    pqe_vault *vault = b->handle.vault;

    pqe__waiting_free(&b->waiting);
    pqe__handle_remove(&b->handle);
    if (vault != NULL && pqe__owner_is_here(b->handle.owner)) {
        batch_drop_keys(&b->handle);
        for (size_t i = 0; i < b->file_count; i++)
            pqe__body_discard(vault->store, &b->files[i]);
    }
    for (size_t i = 0; i < b->file_count; i++)
        pqe__close_fd(&b->files[i].fd); /* of a vault closed before: the next unlock sweeps them */
    pqe__stage_free(&b->stage);
    free(b->retired);
    free(b);
}

/* ---- open ---- */

/* Takes db_lock, and key_lock for reading. */
static pqe_status
batch_enter(pqe_batch *b, pqe_error *err)
{
    pqe_status status = pqe__handle_usable(&b->handle, err);

    if (status != PQE_OK)
        return status;
    pthread_mutex_lock(&b->handle.vault->db_lock);
    status = pqe__session_enter(b->handle.vault, err);
    if (status == PQE_OK && b->wrap == NULL) {
        pqe__session_leave(b->handle.vault);
        status = pqe__locked(err); /* unlocked again, but in another session than the batch's */
    }
    if (status != PQE_OK)
        pthread_mutex_unlock(&b->handle.vault->db_lock);
    return status;
}

static void
batch_leave(pqe_batch *b)
{
    pqe__session_leave(b->handle.vault);
    pthread_mutex_unlock(&b->handle.vault->db_lock);
}

static pqe_status
make_key(pqe_batch *b, pqe__keys *keys, pqe_error *err)
{
    const uint8_t *wrap;
    pqe_status status = pqe__wrap_key_make(keys, &b->secret, err);

    memcpy(b->key_id, b->secret.key_id, PQE__ID_SIZE);
    b->epoch = keys->epoch;
    memcpy(b->device_digest, keys->device_digest, PQE__DIGEST_SIZE);
    if (status == PQE_OK)
        status = pqe__wrap_key(NULL, keys, b->key_id, &wrap, err); /* it was just put into the cache */
    return status == PQE_OK ? pqe__aead_new(wrap, PQE__KEY_SIZE, &b->wrap, err) : status;
}

pqe_status
pqe_batch_open(pqe_vault *vault, pqe_batch **out, pqe_error *err)
{
    pqe_batch *b;
    pqe_status status = pqe__vault_usable(vault, err);

    if (out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the batch");
    *out = NULL;
    if (status == PQE_OK && pqe__store_read_only(vault->store))
        status = pqe__fail(err, PQE_E_READ_ONLY, PQE_ORIGIN_API, 0, "the vault is read-only here");
    if (status != PQE_OK)
        return status;
    if ((b = calloc(1, sizeof *b)) == NULL)
        return pqe__fail_nomem(err);
    pqe__stage_init(&b->stage);
    b->handle.drop_keys = batch_drop_keys;
    pthread_mutex_lock(&vault->db_lock);
    status = pqe__session_enter(vault, err);
    if (status == PQE_OK) {
        pqe__handle_add(vault, &b->handle);
        status = make_key(b, vault->session->keys, err);
        pqe__session_leave(vault);
    }
    pthread_mutex_unlock(&vault->db_lock);
    if (status != PQE_OK) {
        batch_free(b);
        return status;
    }
    *out = b;
    return PQE_OK;
}

void
pqe_batch_abort(pqe_batch **batch)
{
    if (batch == NULL || *batch == NULL)
        return;
    batch_free(*batch);
    *batch = NULL;
}

/* ---- adding ---- */

static pqe_status
stage_sealed(pqe_batch *b, pqe__sealed *sealed, pqe_error *err)
{
    bool has_file = !sealed->row.is_inline;
    pqe_status status;

    if (has_file && b->file_count == PQE_BATCH_LARGE_MAX)
        status = pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "a batch holds at most %d artifacts over 64 KiB",
                           PQE_BATCH_LARGE_MAX);
    else if ((status = pqe__stage_add(&b->stage, b->handle.vault->store, sealed, b->file_count, err)) != PQE_OK)
        b->failed = true;
    if (has_file && status == PQE_OK)
        b->files[b->file_count++] = sealed->file;
    else if (has_file)
        pqe__body_discard(b->handle.vault->store, &sealed->file);
    return status;
}

/* Seals the row of a completed writer and keeps it. */
static pqe_status
take_writer(void *batch, pqe_writer *w, pqe_error *err)
{
    pqe_batch *b = batch;
    pqe__sealed sealed;
    pqe_status status = batch_enter(b, err);

    if (status != PQE_OK)
        return status;
    status = pqe__writer_seal(w, b->handle.vault->session, b->wrap, b->key_id, &sealed, err);
    if (status == PQE_OK) {
        status = stage_sealed(b, &sealed, err);
        pqe__row_free(&sealed.row);
    }
    batch_leave(b);
    b->count += status == PQE_OK ? 1 : 0;
    return status;
}

/* Before anything that comes after them. What was added cannot be told to have failed any more: the batch has. */
static pqe_status
seal_waiting(pqe_batch *b, pqe_error *err)
{
    pqe_status status = pqe__waiting_seal(&b->waiting, take_writer, b, err);

    b->failed = b->failed || status != PQE_OK;
    return status;
}

static pqe_status
has_failed(pqe_error *err)
{
    return pqe__fail(err, PQE_E_STATE, PQE_ORIGIN_API, 0, "the batch has failed before; abort it");
}

static pqe_status
add_writer(pqe_batch *b, pqe_writer *w, pqe_error *err)
{
    pqe_status status = pqe__handle_usable(&b->handle, err);

    if (status != PQE_OK)
        return status;
    if (pqe__writer_vault(w) != b->handle.vault)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the writer is of another vault than the batch");
    if (b->failed)
        return has_failed(err);
    status = seal_waiting(b, err);
    if (status == PQE_OK)
        status = pqe__writer_end(w, err);
    return status == PQE_OK ? take_writer(b, w, err) : status;
}

pqe_status
pqe_batch_add(pqe_batch *batch, pqe_writer **writer, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_status status;

    if (writer == NULL || *writer == NULL || batch == NULL) {
        status = pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "batch and writer are required");
    } else if ((status = add_writer(batch, *writer, &inner)) != PQE_OK) {
        pqe__writer_log_failure(*writer, status, &inner);
        pqe__set_error(err, status, inner.origin, inner.native, "%s", inner.message);
    }
    pqe_writer_abort(writer); /* what is added is no longer the writer's */
    return status;
}

/* Adds a small content to those that are sealed together. */
static pqe_status
put_waiting(pqe_batch *b, const pqe_put_opts *opts, const void *content, size_t len, pqe_error *err)
{
    pqe_writer *w = NULL;
    pqe_status status = pqe__writer_prepare(b->handle.vault, opts, &w, err);

    if (status == PQE_OK && !pqe__waiting_has_room(&b->waiting, len))
        status = seal_waiting(b, err);
    if (status == PQE_OK && (status = pqe__session_enter(b->handle.vault, err)) == PQE_OK) {
        if (b->wrap != NULL)
            pqe__waiting_add(&b->waiting, w, content, len);
        else
            status = pqe__locked(err);
        pqe__session_leave(b->handle.vault);
    }
    if (status != PQE_OK)
        pqe_writer_abort(&w);
    return status;
}

pqe_status
pqe_batch_put(pqe_batch *batch, const pqe_put_opts *opts, const void *content, size_t len, pqe_error *err)
{
    pqe_writer *w = NULL;
    pqe_status status;

    if (batch == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the batch is NULL");
    if ((status = pqe__handle_usable(&batch->handle, err)) != PQE_OK)
        return status;
    if (batch->failed)
        return has_failed(err);
    if (content != NULL && pqe__waiting_may(&batch->waiting, len))
        return put_waiting(batch, opts, content, len, err);
    status = pqe_writer_open(batch->handle.vault, opts, &w, err);
    if (status == PQE_OK)
        status = pqe__writer_whole(w, content, len, err);
    if (status == PQE_OK)
        return pqe_batch_add(batch, &w, err);
    pqe_writer_abort(&w);
    return status;
}

/* ---- one window of the commit ---- */

typedef struct item {
    int64_t rowid;
    size_t file_index; /* NO_FILE: inline */
    size_t change;     /* its name's among the changes */
    bool dropped;      /* a later one of the window has its name */
} item;

#define NO_FILE SIZE_MAX

typedef struct window {
    item *items;
    pqe__tree_change *changes; /* two an item: its name's and its id's entry */
    size_t count, change_count;
    pqe__tree_change *gone;        /* id entries of what was replaced */
    uint8_t (*keys)[PQE__ID_SIZE]; /* the session secrets it was wrapped under */
    size_t gone_count, replaced;
    pqe__stage_place first; /* its rows, as they were kept */
} window;

static void
window_free(window *w)
{
    free(w->items);
    free(w->changes);
    free(w->gone);
    free(w->keys);
}

static pqe_status
window_new(window *w, uint64_t count, pqe_error *err)
{
    size_t most = count < WINDOW ? (size_t)count : WINDOW;

    memset(w, 0, sizeof *w);
    w->items = calloc(most, sizeof *w->items);
    w->changes = calloc(2 * most, sizeof *w->changes);
    w->gone = calloc(most, sizeof *w->gone);
    w->keys = calloc(most, sizeof *w->keys);
    if (w->items != NULL && w->changes != NULL && w->gone != NULL && w->keys != NULL)
        return PQE_OK;
    window_free(w);
    return pqe__fail_nomem(err);
}

/* By tag, and among equal ones (names given twice) by their order. */
static int
compare_changes(const void *a, const void *b)
{
    const pqe__tree_change *x = a, *y = b;
    int order = memcmp(x->entry.tag, y->entry.tag, sizeof x->entry.tag);

    return order != 0 ? order : (x->user > y->user) - (x->user < y->user);
}

static int
compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, PQE__ID_SIZE);
}

static void
add_change(window *w, pqe__entry_kind kind, const uint8_t *tag, const pqe__row *row)
{
    pqe__tree_change *c = &w->changes[w->change_count++];

    memset(c, 0, sizeof *c);
    memcpy(c->entry.tag, tag, sizeof c->entry.tag);
    memcpy(c->entry.digest, row->digest, sizeof c->entry.digest);
    c->entry.kind = kind;
    c->entry.rowid = row->rowid;
    c->user = w->count;
}

/* Inserts up to a window of rows. */
static pqe_status
window_fill(window *w, pqe__txn *txn, pqe_batch *b, pqe_error *err)
{
    pqe__staged s;
    bool more = true;
    pqe_status status = PQE_OK;

    w->first = pqe__stage_tell(&b->stage);
    for (w->count = w->change_count = 0; w->count < WINDOW && status == PQE_OK;) {
        status = pqe__stage_next(&b->stage, b->key_id, &s, &more, err);
        if (status != PQE_OK || !more)
            break;
        status = pqe__row_insert(txn->vault->store, &s.row, err);
        if (status != PQE_OK)
            break;
        w->items[w->count] = (item){.rowid = s.row.rowid, .file_index = s.row.is_inline ? NO_FILE : s.file_index};
        add_change(w, PQE__ENTRY_NAME, s.name_tag, &s.row);
        add_change(w, PQE__ENTRY_ID, s.id_tag, &s.row);
        w->count++;
    }
    return status;
}

/* Sorts the changes and takes back every row whose name comes again later in the window. */
static pqe_status
window_sort(window *w, pqe__txn *txn, pqe_batch *b, pqe_error *err)
{
    size_t kept = 0;
    pqe_status status = PQE_OK;

    qsort(w->changes, w->change_count, sizeof *w->changes, compare_changes);
    for (size_t i = 0; i + 1 < w->change_count && status == PQE_OK; i++) {
        item *it = &w->items[w->changes[i].user];
        if (memcmp(w->changes[i].entry.tag, w->changes[i + 1].entry.tag, PQE__TAG_KEY_SIZE) != 0)
            continue;
        it->dropped = true;
        status = pqe__row_delete(txn->vault->store, it->rowid, err);
        if (it->file_index != NO_FILE)
            pqe__body_discard(txn->vault->store, &b->files[it->file_index]);
    }
    for (size_t i = 0; i < w->change_count; i++) {
        item *it = &w->items[w->changes[i].user];
        if (it->dropped)
            continue;
        if (w->changes[i].entry.kind == PQE__ENTRY_NAME)
            it->change = kept;
        w->changes[kept++] = w->changes[i];
    }
    w->change_count = kept;
    for (size_t i = 0; i < w->count && status == PQE_OK; i++)
        if (!w->items[i].dropped && w->items[i].file_index != NO_FILE)
            status = pqe__body_publish(txn->vault->store, &b->files[w->items[i].file_index], err);
    return status;
}

static pqe_status
remember_file(pqe_batch *b, const pqe__found *old, pqe_error *err)
{
    void *room = pqe__grow(b->retired, b->retired_count, &b->retired_capacity, sizeof *b->retired);

    if (room == NULL)
        return pqe__fail_nomem(err);
    b->retired = room;
    memcpy(b->retired[b->retired_count].name, old->row.file, PQE__ID_SIZE);
    memcpy(b->retired[b->retired_count++].mark, old->mark, PQE__MARK_SIZE);
    return PQE_OK;
}

/* Drops the row that a name led to before. */
static pqe_status
retire(window *w, pqe__txn *txn, pqe_batch *b, const pqe__entry *entry, pqe_error *err)
{
    pqe__store *store = txn->vault->store;
    pqe__tree_change *gone = &w->gone[w->gone_count];
    pqe__found old;
    pqe_status status = pqe__find_old(txn, entry, &old, err);

    if (status != PQE_OK)
        return status;
    w->replaced++;
    if (old.damaged) {
        status = pqe__damaged_drop(txn, &old, err);
        pqe__found_free(&old);
        return status;
    }
    memset(gone, 0, sizeof *gone);
    gone->remove = true;
    memcpy(w->keys[w->gone_count], old.row.key_id, PQE__ID_SIZE);
    status = pqe__tag_of(txn->vault->session->keys, PQE__ENTRY_ID, old.record.artifact_id, PQE__ID_SIZE,
                         gone->entry.tag, err);
    if (status == PQE_OK)
        status = pqe__row_delete(store, old.row.rowid, err);
    if (status == PQE_OK && !old.row.is_inline)
        status = pqe__body_mark(store, old.row.file, old.mark, err);
    if (status == PQE_OK && !old.row.is_inline) {
        status = remember_file(b, &old, err);
        if (status != PQE_OK)
            pqe__body_unmark(store, old.row.file, old.mark, true);
    }
    w->gone_count++;
    pqe__found_free(&old);
    return status;
}

/* After the window's entries: what they replaced goes. */
static pqe_status
window_retire(window *w, pqe__txn *txn, pqe_batch *b, pqe_error *err)
{
    pqe_status status = PQE_OK;

    w->gone_count = w->replaced = 0;
    for (size_t i = 0; i < w->change_count && status == PQE_OK; i++)
        if (w->changes[i].existed && w->changes[i].entry.kind == PQE__ENTRY_NAME &&
            (status = pqe__txn_breathe(txn, w->gone_count, err)) == PQE_OK)
            status = retire(w, txn, b, &w->changes[i].old, err);
    if (status != PQE_OK)
        return status;
    txn->head.artifact_count += w->change_count / 2 - w->replaced;
    status = pqe__secret_count(txn->vault->store, b->secret.rowid, (int64_t)(w->change_count / 2), err);
    if (status != PQE_OK)
        return status;
    qsort(w->gone, w->gone_count, sizeof *w->gone, compare_changes);
    status = pqe__tree_apply(txn->vault->store, txn->head.index_root, w->gone, w->gone_count, err);
    qsort(w->keys, w->gone_count, sizeof *w->keys, compare_ids);
    for (size_t i = 0, n; i < w->gone_count && status == PQE_OK; i += n) {
        for (n = 1; i + n < w->gone_count && memcmp(w->keys[i], w->keys[i + n], PQE__ID_SIZE) == 0; n++)
            ;
        status = pqe__secret_release(txn, w->keys[i], n, err);
    }
    return status;
}

/* An entry of the audit log for each artifact, in the order in which they were added. What is kept of a batch is sealed, so
   the names come from the records, opened once more. */
static pqe_status
window_log(const window *w, pqe__txn *txn, pqe_batch *b, pqe_error *err)
{
    bool more = true;
    pqe_status status = PQE_OK;

    pqe__stage_return(&b->stage, w->first);
    for (size_t i = 0; i < w->count && status == PQE_OK; i++) {
        pqe__staged s;
        pqe__found f = {0};
        if ((status = pqe__txn_breathe(txn, i, err)) != PQE_OK ||
            (status = pqe__stage_next(&b->stage, b->key_id, &s, &more, err)) != PQE_OK || w->items[i].dropped)
            continue;
        f.row = s.row;
        status = pqe__record_open(txn->vault->session->keys, &f, err);
        if (status == PQE_OK)
            status = pqe__log_put(txn, &f.record, w->changes[w->items[i].change].existed, err);
        pqe__found_free(&f);
    }
    return status;
}

/* ---- commit ---- */

static pqe_status
check_keys(const pqe__txn *txn, const pqe_batch *b, pqe_error *err)
{
    const pqe__keys *keys = txn->vault->session->keys;

    if (b->wrap == NULL)
        return pqe__locked(err);
    if (keys->epoch != b->epoch || memcmp(keys->device_digest, b->device_digest, sizeof b->device_digest) != 0)
        return pqe__fail(err, PQE_E_BUSY, PQE_ORIGIN_API, 0,
                         "the vault's keys were replaced while the batch was made; make it again");
    return PQE_OK;
}

/* Most of the work needs no key: meanwhile a session may end, which then ends the batch too. */
static pqe_status
take_keys(pqe__txn *txn, const pqe_batch *b, pqe_error *err)
{
    pqe_status status = pqe__txn_resume(txn, err);

    return status == PQE_OK ? check_keys(txn, b, err) : status;
}

/* After the first rows. Before them, its pages would be among those that SQLite writes to its log to make room, and be
   written there again: then the commit has to read the log from that place on, for the sums of its frames. */
static pqe_status
enter_secret(pqe__txn *txn, pqe_batch *b, pqe_error *err)
{
    b->secret_entered = true;
    return pqe__wrap_key_enter(txn, txn->vault->session->keys, &b->secret, err);
}

static pqe_status
enter_window(window *w, pqe__txn *txn, pqe_batch *b, pqe_error *err)
{
    pqe_status status;

    pqe__txn_pause(txn);
    status = window_fill(w, txn, b, err);
    if (status == PQE_OK && w->count > 0)
        status = window_sort(w, txn, b, err);
    if (status == PQE_OK && w->count > 0)
        status = pqe__tree_apply(txn->vault->store, txn->head.index_root, w->changes, w->change_count, err);
    if (status == PQE_OK)
        status = take_keys(txn, b, err);
    if (status == PQE_OK && !b->secret_entered)
        status = enter_secret(txn, b, err);
    if (status == PQE_OK && w->count > 0)
        status = window_retire(w, txn, b, err);
    if (status == PQE_OK && w->count > 0)
        status = window_log(w, txn, b, err);
    return status;
}

static pqe_status
change_index(pqe__txn *txn, pqe_batch *b, pqe_error *err)
{
    window w;
    pqe_status status = check_keys(txn, b, err);

    if (status != PQE_OK || (status = window_new(&w, b->count, err)) != PQE_OK)
        return status;
    status = pqe__stage_rewind(&b->stage, err);
    do {
        if (status == PQE_OK)
            status = enter_window(&w, txn, b, err);
    } while (status == PQE_OK && w.count > 0);
    window_free(&w);
    return status == PQE_OK ? pqe__txn_write_head(txn, txn->vault->session->keys, err) : status;
}

/* After a commit, or one that is known to have failed. */
static void
settle(pqe_batch *b, pqe_vault *vault, bool committed)
{
    pthread_mutex_lock(&vault->db_lock);
    for (size_t i = 0; i < b->file_count; i++) {
        if (committed)
            pqe__body_settle(vault->store, &b->files[i]);
        else
            pqe__body_discard(vault->store, &b->files[i]);
    }
    for (size_t i = 0; i < b->retired_count; i++)
        pqe__body_unmark(vault->store, b->retired[i].name, b->retired[i].mark, !committed);
    if (committed)
        pqe__reserve_make(vault->store);
    pthread_mutex_unlock(&vault->db_lock);
    b->file_count = 0;
}

static pqe_status
commit_batch(pqe_batch *b, uint64_t *stored, pqe_error *err)
{
    pqe_vault *vault = b->handle.vault;
    bool known = true;
    pqe__txn txn;
    pqe_status status = pqe__txn_begin(vault, true, &txn, err);

    if (status != PQE_OK)
        return status;
    status = change_index(&txn, b, err);
    if (status == PQE_OK)
        status = pqe__txn_commit(&txn, &known, err);
    else
        pqe__txn_abort(&txn);
    if (known) {
        settle(b, vault, status == PQE_OK);
    } else { /* marks stay: the next unlock asks the index which of the two happened */
        for (size_t i = 0; i < b->file_count; i++)
            pqe__close_fd(&b->files[i].fd);
        b->file_count = 0;
    }
    if (status == PQE_OK)
        *stored = b->count;
    return status;
}

/* One entry for all: which artifacts they would have been is nobody's news. */
static void
log_failure(pqe_batch *b, pqe_status status, const pqe_error *error)
{
    char details[320];
    pqe__event event = {.op = PQE_AUDIT_PUT, .details = {details, 0}};
    int n = snprintf(details, sizeof details, "a batch of %" PRIu64 ": %s: %s", b->count, pqe_status_name(status),
                     error->message);

    event.details.len = n > 0 ? strnlen(details, sizeof details) : 0;
    if (pqe__handle_usable(&b->handle, NULL) == PQE_OK)
        pqe__audit_note(b->handle.vault, &event);
}

pqe_status
pqe_batch_commit(pqe_batch **batch, uint64_t *stored, pqe_error *err)
{
    uint64_t count = 0;
    pqe_error inner = {0};
    pqe_batch *b;
    pqe_status status;

    if (stored != NULL)
        *stored = 0;
    if (batch == NULL || *batch == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the batch is NULL");
    b = *batch;
    *batch = NULL;
    if (b->failed)
        status = pqe__fail(&inner, PQE_E_STATE, PQE_ORIGIN_API, 0, "the batch has failed before; nothing is stored");
    else if ((status = pqe__handle_usable(&b->handle, &inner)) == PQE_OK &&
             (status = seal_waiting(b, &inner)) == PQE_OK && b->count != 0)
        status = commit_batch(b, &count, &inner);
    if (status != PQE_OK) {
        log_failure(b, status, &inner);
        pqe__set_error(err, status, inner.origin, inner.native, "%s", inner.message);
    }
    if (status == PQE_OK && stored != NULL)
        *stored = count;
    batch_free(b);
    return status;
}
