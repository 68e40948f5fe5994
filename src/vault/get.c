/* SPDX-License-Identifier: Apache-2.0 */
/* Getting: readers over body files or inline bodies, and the whole-buffer call on top. */
#include "vault/internal.h"

#include <errno.h>
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

static pqe_status
try_open(pqe_vault *vault, const char *name_or_id, pqe_reader *r, bool *missing, pqe_error *err)
{
    pqe__found f = {0};
    pqe__txn txn;
    pqe_status status;

    *missing = false;
    if ((status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    status = pqe__find(&txn, name_or_id, true, &f, err);
    if (status == PQE_OK)
        status = open_body(&txn, r, &f, missing, err);
    if (status == PQE_OK && !*missing)
        status = pqe__artifact_new(&f, &r->artifact, err);
    if (status == PQE_OK && !*missing)
        pqe__handle_add(vault, &r->handle);
    pqe__found_free(&f);
    pqe__txn_abort(&txn); /* nothing was written: ends the read transaction */
    return status;
}

pqe_status
pqe_reader_open(pqe_vault *vault, const char *name_or_id, pqe_reader **out, pqe_error *err)
{
    pqe_reader *r;
    bool missing = true;
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
    for (int i = 0; i < RACE_TRIES && missing && status == PQE_OK; i++)
        status = try_open(vault, name_or_id, r, &missing, err);
    if (status == PQE_OK && missing)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, ENOENT, "the body's file is missing");
    if (status != PQE_OK)
        pqe_reader_close(&r);
    *out = r;
    return status;
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

pqe_status
pqe_reader_read_at(pqe_reader *reader, uint64_t offset, void *buf, size_t capacity, size_t *len, pqe_error *err)
{
    uint8_t *p = buf;
    size_t done = 0;
    pqe_status status = PQE_OK;

    if (len != NULL)
        *len = 0;
    if (len == NULL || reader == NULL || (buf == NULL && capacity != 0))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "reader, buffer and length are required");
    do { /* also at capacity 0: a locked vault says so */
        size_t n = capacity - done < SLICE ? capacity - done : SLICE, got = 0;
        if ((status = reader_enter(reader, err)) != PQE_OK)
            break;
        status = pqe__body_reader_read_at(reader->body, offset + done, p + done, n, &got, err);
        pqe__session_leave(reader->handle.vault);
        done += got;
        if (got < n)
            break;
    } while (status == PQE_OK && done < capacity);
    if (status != PQE_OK)
        pqe__wipe(buf, capacity);
    else
        *len = done;
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

/* Small contents have a page each. Some are kept, wiped, for the next: mapping and faulting one in anew costs as much as
   reading a credential into it. Nobody waits for the lock: in a forked child it may be held for ever. */
#define SPARE_SIZE ((size_t)4096)
#define SPARES 32u

static struct {
    pthread_mutex_t lock;
    size_t count;
    void *pages[SPARES];
} spare = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *
take_spare(size_t len)
{
    void *p = NULL;

    if (len > SPARE_SIZE || pthread_mutex_trylock(&spare.lock) != 0)
        return NULL;
    if (spare.count > 0)
        p = spare.pages[--spare.count];
    pthread_mutex_unlock(&spare.lock);
    return p;
}

static bool
keep_spare(void *p, size_t len)
{
    bool kept = false;

    if (len > SPARE_SIZE || pthread_mutex_trylock(&spare.lock) != 0)
        return false;
    if (spare.count < SPARES) {
        spare.pages[spare.count++] = p;
        kept = true;
    }
    pthread_mutex_unlock(&spare.lock);
    return kept;
}

void
pqe_content_free(void **content, size_t len)
{
    if (content == NULL || *content == NULL)
        return;
    pqe__wipe(*content, len);
    if (!keep_spare(*content, len))
        munmap(*content, len != 0 ? len : 1);
    *content = NULL;
}

static pqe_status
map_content(size_t len, void **content, pqe_error *err)
{
    void *p = take_spare(len);

    if (p == NULL) {
        p = mmap(NULL, len != 0 ? len : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            return pqe__fail_errno(err, errno, "cannot map memory for the content");
        madvise(p, len != 0 ? len : 1, MADV_DONTDUMP); /* both are advice: failure leaves memory usable */
        if (len >= LARGE_CONTENT)
            madvise(p, len, MADV_HUGEPAGE); /* with 4 KiB pages most of the time of a large get is page faults */
    }
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
