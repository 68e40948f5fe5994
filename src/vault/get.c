/* SPDX-License-Identifier: Apache-2.0 */
/* Getting: readers over body files or inline bodies, and the whole-buffer call on top. */
#include "vault/reader.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "util/fsio.h"

#define RACE_TRIES 100 /* lookups repeated because a replace removed the file in between */

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

pqe_status
pqe__inline_read(const uint8_t *body, size_t body_len, uint64_t offset, uint8_t *buf, size_t len, pqe_error *err)
{
    if (offset > body_len || len > body_len - offset)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_INDEX, 0, "the body is truncated");
    memcpy(buf, body + offset, len);
    return PQE_OK;
}

static pqe_status
read_inline(void *user, uint64_t offset, uint8_t *buf, size_t len, pqe_error *err)
{
    const pqe_reader *r = user;

    return pqe__inline_read(r->inline_body, r->inline_len, offset, buf, len, err);
}

pqe_status
pqe__reader_stored(pqe_reader *r, uint64_t offset, uint8_t *buf, size_t len, pqe_error *err)
{
    return r->fd >= 0 ? read_file(r, offset, buf, len, err) : read_inline(r, offset, buf, len, err);
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
    if (status == PQE_OK) {
        r->hash_algorithm = f->record.hash_algorithm;
        memcpy(r->recorded_hash, f->record.content_hash, sizeof r->recorded_hash);
        pqe__handle_add(txn->vault, &r->handle);
    }
    return status;
}

/* *overtaken: it failed because another process has replaced the device keys meanwhile. */
static pqe_status
try_open(pqe_vault *vault, const char *name_or_id, pqe__access *access, pqe_reader *r, bool *missing, bool *overtaken,
         pqe_error *err)
{
    pqe__found f = {0};
    bool known;
    pqe__txn txn;
    pqe_status status;

    *missing = *overtaken = false;
    if ((status = pqe__txn_begin(vault, access->counting, &txn, err)) != PQE_OK)
        return status;
    status = pqe__find(&txn, name_or_id, true, &f, err);
    if (status == PQE_OK)
        status = open_found(&txn, &f, access, r, missing, err);
    pqe__found_free(&f);
    if (status == PQE_OK && txn.write && access->step == PQE__STEP_GO && !*missing && txn.tail_changed)
        return pqe__txn_commit(&txn, &known, err);
    pqe__txn_abort(&txn); /* nothing was written: ends the transaction */
    if (status != PQE_OK) {
        pqe__close_fd(&r->fd);
        free(r->inline_body);
        r->inline_body = NULL;
        pthread_mutex_lock(&vault->db_lock);
        *overtaken = pqe__session_overtaken(vault, status, txn.head.key_epoch);
        pthread_mutex_unlock(&vault->db_lock);
    }
    return status;
}

static pqe_status
open_by_steps(pqe_vault *vault, const char *name_or_id, pqe__access *access, pqe_reader *r, pqe_error *err)
{
    bool missing = true, overtaken, anew = false;
    pqe_status status = PQE_OK;

    for (int i = 0; i < RACE_TRIES && status == PQE_OK; i++) {
        status = try_open(vault, name_or_id, access, r, &missing, &overtaken, err);
        if (overtaken && !anew) {
            anew = true;
            status = PQE_OK;
            continue;
        }
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

/* ---- whole-buffer calls ---- */

#define HUGE_PAGE ((size_t)2 << 20)
#define HUGE_MIN (2 * HUGE_PAGE)

/* The size of the mapping that holds `len` bytes of content. */
static size_t
mapped_size(size_t len)
{
    if (len < HUGE_MIN)
        return len != 0 ? len : 1;
    return (len + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
}

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
        munmap(*content, mapped_size(len));
    *content = NULL;
}

/* Large content starts at a huge page: faulting in small ones costs more than decrypting does. */
static pqe_status
map_content(size_t len, void **content, pqe_error *err)
{
    size_t size = mapped_size(len), slack = len < HUGE_MIN ? 0 : HUGE_PAGE, before;
    uint8_t *p = take_spare(len);

    if (p != NULL) {
        *content = p;
        return PQE_OK;
    }
    p = mmap(NULL, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return pqe__fail_errno(err, errno, "cannot map memory for the content");
    if (slack != 0) {
        before = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
        if (before != 0)
            munmap(p, before);
        if (before != slack)
            munmap(p + before + size, slack - before);
        p += before;
        madvise(p, size, MADV_HUGEPAGE); /* advice, like the next: failure leaves memory usable */
    }
    madvise(p, size, MADV_DONTDUMP);
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
    if (status == PQE_OK && r->artifact->size_bytes > SIZE_MAX / 4)
        status = pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "the artifact does not fit into this process");
    if (status == PQE_OK) {
        size = (size_t)r->artifact->size_bytes;
        status = map_content(size, &p, err);
    }
    if (status == PQE_OK)
        status = pqe__reader_fill(r, 0, p, size, &got, err);
    if (status == PQE_OK) {
        *content = p;
        *len = got;
        if (out_artifact != NULL) {
            *out_artifact = r->artifact;
            r->artifact = NULL;
        }
    } else if (p != NULL) {
        munmap(p, mapped_size(size)); /* what was written there is wiped */
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
