/* SPDX-License-Identifier: Apache-2.0 */
/* Getting: readers over body files or inline bodies, and the whole-buffer call on top. */
#include "vault/internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "util/fsio.h"

#define SLICE ((size_t)4 << 20) /* plaintext handled while key_lock is held: bounds how long expiry waits */
#define LARGE_CONTENT ((size_t)4 << 20)
#define RACE_TRIES 100 /* lookups repeated because a replace removed the file in between */

struct pqe_reader {
    pqe__handle handle;
    pqe_artifact *artifact;
    pqe__body_reader *body; /* NULL once the session has ended */
    int fd;                 /* -1: inline */
    uint8_t *inline_body;
    size_t inline_len;
    uint64_t position;
    bool exempt;      /* the library's own: not logged */
    atomic_bool hurt; /* that reading failed is in the log */
};

static pqe_status
read_file(void *user, uint64_t offset, uint8_t *buf, size_t len, pqe_error *err)
{
    const pqe_reader *r = user;
    size_t got;
    pqe_status status = pqe__pread_all(r->fd, buf, len, offset, &got, "cannot read the body", err);

    if (status == PQE_OK && got != len)
        status = pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_IO, 0, "the body is truncated");
    return status;
}

static pqe_status
read_inline(void *user, uint64_t offset, uint8_t *buf, size_t len, pqe_error *err)
{
    const pqe_reader *r = user;

    if (offset > r->inline_len || len > r->inline_len - offset)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_INDEX, 0, "the body is truncated");
    memcpy(buf, r->inline_body + offset, len);
    return PQE_OK;
}

static void
reader_drop_keys(pqe__handle *handle)
{
    pqe_reader *r = (pqe_reader *)(void *)handle;

    pqe__body_reader_free(&r->body);
}

void
pqe_reader_close(pqe_reader **reader)
{
    pqe_reader *r;

    if (reader == NULL || *reader == NULL)
        return;
    r = *reader;
    pqe__handle_remove(&r->handle);
    /* In a forked child another thread may have been reading when the parent forked. */
    if (r->handle.owner == 0 || pqe__owner_is_here(r->handle.owner))
        reader_drop_keys(&r->handle);
    pqe__close_fd(&r->fd);
    free(r->inline_body);
    pqe_artifact_free(&r->artifact);
    free(r);
    *reader = NULL;
}

/* ---- open ---- */

static pqe_status
open_body(pqe__txn *txn, pqe_reader *r, pqe__found *f, bool *missing, pqe_error *err)
{
    pqe_vault *vault = txn->vault;
    uint64_t stored = f->row.body_len;
    const uint8_t *wrap;
    uint8_t *dek;
    pqe_status status;

    *missing = false;
    if (f->row.is_inline) {
        if ((r->inline_body = malloc(f->row.body_len + 1)) == NULL)
            return pqe__fail_nomem(err);
        r->inline_len = f->row.body_len;
        if (r->inline_len != 0)
            memcpy(r->inline_body, f->row.body, r->inline_len);
    } else {
        status = pqe__body_open(vault->store, f->row.file, &r->fd, &stored, missing, err);
        if (status != PQE_OK || *missing)
            return status;
    }
    if (stored != f->record.stored_bytes)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_INDEX, 0,
                         "the body has another length than its record says");
    if ((dek = pqe__secmem_alloc(PQE__KEY_SIZE)) == NULL)
        return pqe__fail_nomem(err);
    status = pqe__wrap_key(txn, vault->session->keys, f->row.key_id, &wrap, err);
    if (status == PQE_OK)
        status = pqe__dek_unwrap(wrap, f, dek, err);
    if (status == PQE_OK)
        status = pqe__body_reader_new(dek, f->record.body_id, stored, f->record.size_bytes,
                                      f->row.is_inline ? read_inline : read_file, r, &r->body, err);
    pqe__secmem_free(dek);
    return status;
}

/* The policy is asked before the key is unwrapped; a use that counts is durable before the reader is handed out. */
static pqe_status
open_found(pqe__txn *txn, pqe__found *f, pqe__access *access, pqe_reader *r, bool *missing, pqe_error *err)
{
    pqe_status status = pqe__access_decide(txn, f, access, err);

    if (status != PQE_OK || access->step != PQE__STEP_GO)
        return status;
    status = open_body(txn, r, f, missing, err);
    if (status != PQE_OK || *missing)
        return status;
    status = pqe__artifact_new(f, &r->artifact, err);
    if (status == PQE_OK && txn->write)
        status = pqe__access_count(txn, f, access, err);
    if (status == PQE_OK)
        pqe__handle_add(txn->vault, &r->handle);
    return status;
}

static pqe_status
try_open(pqe_vault *vault, const char *name_or_id, pqe__access *access, pqe_reader *r, bool *missing, pqe_error *err)
{
    pqe__found f = {0};
    bool known;
    pqe__txn txn;
    pqe_status status;

    *missing = false;
    if ((status = pqe__txn_begin(vault, access->counting, &txn, err)) != PQE_OK)
        return status;
    status = pqe__find(&txn, name_or_id, true, &f, err);
    if (status == PQE_OK)
        status = open_found(&txn, &f, access, r, missing, err);
    pqe__found_free(&f);
    if (status == PQE_OK && txn.write && access->step == PQE__STEP_GO && !*missing && txn.tail_changed)
        return pqe__txn_commit(&txn, &known, err);
    pqe__txn_abort(&txn); /* nothing was written: ends the transaction */
    return status;
}

static pqe_status
open_by_steps(pqe_vault *vault, const char *name_or_id, pqe__access *access, pqe_reader *r, pqe_error *err)
{
    bool missing = true;
    pqe_status status = PQE_OK;

    for (int i = 0; i < RACE_TRIES && status == PQE_OK; i++) {
        status = try_open(vault, name_or_id, access, r, &missing, err);
        if (status == PQE_OK && access->step == PQE__STEP_ASK)
            status = pqe__access_ask(vault, access, err);
        else if (status == PQE_OK && access->step == PQE__STEP_GO && !missing)
            return PQE_OK;
    }
    if (status == PQE_OK && missing)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, ENOENT, "the body's file is missing");
    else if (status == PQE_OK)
        status = pqe__fail(err, PQE_E_BUSY, PQE_ORIGIN_INDEX, 0, "the artifact or its policy changes all the time");
    return status;
}

static pqe_status
open_reader(pqe_vault *vault, const char *name_or_id, bool exempt, pqe_reader **out, pqe_error *err)
{
    pqe__access access = {.exempt = exempt};
    pqe_error inner = {0};
    pqe_reader *r;
    pqe_status status = pqe__check_name(name_or_id, err);

    if (out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the reader");
    *out = NULL;
    if (status != PQE_OK || (status = pqe__vault_usable(vault, err)) != PQE_OK)
        return status;
    if ((r = calloc(1, sizeof *r)) == NULL)
        return pqe__fail_nomem(err);
    r->fd = -1;
    r->handle.drop_keys = reader_drop_keys;
    r->exempt = exempt;
    status = open_by_steps(vault, name_or_id, &access, r, &inner);
    if (status != PQE_OK)
        pqe_reader_close(&r);
    pqe__access_log(vault, &access, name_or_id, status, &inner);
    pqe__wipe(&access, sizeof access);
    if (status != PQE_OK)
        pqe__set_error(err, status, inner.origin, inner.native, "%s", inner.message);
    *out = r;
    return status;
}

pqe_status
pqe_reader_open(pqe_vault *vault, const char *name_or_id, pqe_reader **out, pqe_error *err)
{
    return open_reader(vault, name_or_id, false, out, err);
}

pqe_status
pqe__reader_open_check(pqe_vault *vault, const char *name_or_id, pqe_reader **out, pqe_error *err)
{
    return open_reader(vault, name_or_id, true, out, err);
}

const pqe_artifact *
pqe_reader_artifact(const pqe_reader *reader)
{
    return reader != NULL ? reader->artifact : NULL;
}

/* ---- read ---- */

static pqe_status
reader_enter(pqe_reader *r, pqe_error *err)
{
    pqe_status status = pqe__handle_usable(&r->handle, err);

    if (status != PQE_OK || (status = pqe__session_enter(r->handle.vault, err)) != PQE_OK)
        return status;
    if (r->body != NULL)
        return PQE_OK;
    pqe__session_leave(r->handle.vault);
    return pqe__locked(err); /* unlocked again, but in another session than the reader's */
}

/* That content turned out to be damaged is worth an entry, once a reader. */
static void
log_damage(pqe_reader *r, pqe_status status, const pqe_error *error)
{
    char details[320];
    int n;
    pqe__event event = {.op = PQE_AUDIT_GET, .kind = r->artifact->kind};

    if (r->exempt || status != PQE_E_DECRYPTION || atomic_exchange(&r->hurt, true))
        return;
    n = snprintf(details, sizeof details, "%s: %s", pqe_status_name(status), error->message);
    event.details = (pqe__text){details, n > 0 ? (size_t)n : 0};
    event.artifact_id = (pqe__text){r->artifact->artifact_id, strlen(r->artifact->artifact_id)};
    event.name = (pqe__text){r->artifact->name, strlen(r->artifact->name)};
    pqe__audit_note(r->handle.vault, &event);
}

pqe_status
pqe_reader_read_at(pqe_reader *reader, uint64_t offset, void *buf, size_t capacity, size_t *len, pqe_error *err)
{
    uint8_t *p = buf;
    size_t done = 0;
    pqe_error inner = {0};
    pqe_status status = PQE_OK;

    if (len != NULL)
        *len = 0;
    if (len == NULL || reader == NULL || (buf == NULL && capacity != 0))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "reader, buffer and length are required");
    do { /* also at capacity 0: a locked vault says so */
        size_t n = capacity - done < SLICE ? capacity - done : SLICE, got = 0;
        if ((status = reader_enter(reader, &inner)) != PQE_OK)
            break;
        status = pqe__body_reader_read_at(reader->body, offset + done, p + done, n, &got, &inner);
        pqe__session_leave(reader->handle.vault);
        done += got;
        if (got < n)
            break;
    } while (status == PQE_OK && done < capacity);
    if (status == PQE_OK) {
        *len = done;
        return PQE_OK;
    }
    pqe__wipe(buf, capacity);
    log_damage(reader, status, &inner);
    pqe__set_error(err, status, inner.origin, inner.native, "%s", inner.message);
    return status;
}

pqe_status
pqe_reader_read(pqe_reader *reader, void *buf, size_t capacity, size_t *len, pqe_error *err)
{
    pqe_status status;

    if (len == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the length");
    *len = 0;
    if (reader == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the reader is NULL");
    status = pqe_reader_read_at(reader, reader->position, buf, capacity, len, err);
    if (status == PQE_OK)
        reader->position += *len;
    return status;
}

pqe_status
pqe_reader_read_stored_at(pqe_reader *reader, uint64_t offset, void *buf, size_t capacity, size_t *len, pqe_error *err)
{
    uint64_t left;
    size_t want;
    pqe_status status;

    if (len != NULL)
        *len = 0;
    if (len == NULL || reader == NULL || (buf == NULL && capacity != 0))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "reader, buffer and length are required");
    if ((status = pqe__handle_usable(&reader->handle, err)) != PQE_OK)
        return status;
    left = offset < reader->artifact->stored_bytes ? reader->artifact->stored_bytes - offset : 0;
    want = capacity < left ? capacity : (size_t)left;
    if (want != 0)
        status =
            reader->fd < 0 ? read_inline(reader, offset, buf, want, err) : read_file(reader, offset, buf, want, err);
    if (status == PQE_OK)
        *len = want;
    else
        pqe__wipe(buf, capacity);
    return status;
}

/* ---- whole-buffer calls ---- */

void
pqe_content_free(void **content, size_t len)
{
    if (content == NULL || *content == NULL)
        return;
    pqe__wipe(*content, len);
    munmap(*content, len != 0 ? len : 1);
    *content = NULL;
}

static pqe_status
map_content(size_t len, void **content, pqe_error *err)
{
    void *p = mmap(NULL, len != 0 ? len : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return pqe__fail_errno(err, errno, "cannot map memory for the content");
    madvise(p, len != 0 ? len : 1, MADV_DONTDUMP); /* both are advice: failure leaves memory usable */
    if (len >= LARGE_CONTENT)
        madvise(p, len, MADV_HUGEPAGE); /* with 4 KiB pages most of the time of a large get is page faults */
    *content = p;
    return PQE_OK;
}

pqe_status
pqe_get(pqe_vault *vault, const char *name_or_id, void **content, size_t *len, pqe_artifact **out_artifact,
        pqe_error *err)
{
    pqe_reader *r = NULL;
    void *p = NULL;
    size_t size = 0, got = 0;
    pqe_status status;

    if (content == NULL || len == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "content and length are required");
    *content = NULL;
    *len = 0;
    if (out_artifact != NULL)
        *out_artifact = NULL;
    status = pqe_reader_open(vault, name_or_id, &r, err);
    if (status == PQE_OK && r->artifact->size_bytes > SIZE_MAX / 2)
        status = pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "the artifact does not fit into this process");
    if (status == PQE_OK) {
        size = (size_t)r->artifact->size_bytes;
        status = map_content(size, &p, err);
    }
    if (status == PQE_OK)
        status = pqe_reader_read_at(r, 0, p, size, &got, err);
    if (status == PQE_OK) {
        *content = p;
        *len = got;
        if (out_artifact != NULL) {
            *out_artifact = r->artifact;
            r->artifact = NULL;
        }
    } else {
        pqe_content_free(&p, size);
    }
    pqe_reader_close(&r);
    return status;
}

pqe_status
pqe_info(pqe_vault *vault, const char *name_or_id, pqe_artifact **out, pqe_error *err)
{
    pqe__found f = {0};
    pqe__txn txn;
    pqe_status status = pqe__check_name(name_or_id, err);

    if (out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the artifact");
    *out = NULL;
    if (status != PQE_OK || (status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    status = pqe__find(&txn, name_or_id, false, &f, err);
    if (status == PQE_OK)
        status = pqe__artifact_new(&f, out, err);
    pqe__found_free(&f);
    pqe__txn_abort(&txn);
    return status;
}
