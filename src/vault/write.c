/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling a writer, on all cores where it pays.
 *
 * Large input is cut into pieces of whole chunks. Any thread may seal a piece and write it to its place in the body's
 * file; what depends on the order of pieces (the content hash, the Merkle tree) is taken up by one thread at a time,
 * whichever is free when the next piece in order is there. Threads run at most RING pieces ahead of that. Keys and
 * hashes are used inside the session, entered for one piece or less, so that lock and expiry need not wait for more.
 */
#include "vault/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/fsio.h"
#include "util/pool.h"

#define PARALLEL_MIN ((size_t)1 << 20) /* below this, waking a thread costs more than it brings */
#define SLICE ((size_t)1 << 20)        /* plaintext handled in one stay in the session by a single thread */
#define BATCH ((size_t)256 << 10)      /* plaintext that stays in a core's cache while it is hashed and sealed */
#define BATCH_CHUNKS (BATCH / PQE__BODY_CHUNK)
#define BATCH_STORED (BATCH_CHUNKS * PQE__BODY_CHUNK_STORED)
#define BATCH_BLOCKS (BATCH / PQE__PARALLELHASH_BLOCK)
#define RING 32u

_Static_assert(BATCH % PQE__BODY_CHUNK == 0 && BATCH % PQE__PARALLELHASH_BLOCK == 0, "batches are whole");
_Static_assert(PQE__SEGMENT_CHUNKS % BATCH_CHUNKS == 0, "segments are whole batches");

/* ---- where ciphertext goes ---- */

static pqe_status
keep_inline(pqe_writer *w, const uint8_t *data, size_t len, pqe_error *err)
{
    size_t need = w->inline_len + len;

    if (need > w->inline_capacity) {
        uint8_t *grown = realloc(w->inline_body, need);
        if (grown == NULL)
            return pqe__fail_nomem(err);
        w->inline_body = grown;
        w->inline_capacity = need;
    }
    if (len != 0)
        memcpy(w->inline_body + w->inline_len, data, len);
    w->inline_len = need;
    return PQE_OK;
}

/* From here on the body is in a file; what was kept for the index goes there. */
static pqe_status
ensure_file(pqe_writer *w, pqe_error *err)
{
    pqe_status status;

    if (w->has_file)
        return PQE_OK;
    status = pqe__body_create(w->handle.vault->store, &w->file, err);
    w->has_file = status == PQE_OK;
    if (status == PQE_OK)
        status = pqe__pwrite_all(w->file.fd, w->inline_body, w->inline_len, 0, "cannot write the body", err);
    w->inline_len = 0;
    return status;
}

pqe_status
pqe__writer_take(void *writer, const uint8_t *data, size_t len, pqe_error *err)
{
    pqe_writer *w = writer;
    uint64_t at = w->record.stored_bytes;
    pqe_status status = PQE_OK;

    w->record.stored_bytes += len;
    if (w->commitment != NULL)
        status = pqe__commitment_update(w->commitment, data, len, err);
    if (status != PQE_OK)
        return status;
    if (!w->has_file && w->inline_len + len <= PQE__INLINE_MAX)
        return keep_inline(w, data, len, err);
    status = ensure_file(w, err);
    return status == PQE_OK ? pqe__pwrite_all(w->file.fd, data, len, at, "cannot write the body", err) : status;
}

pqe_status
pqe__writer_enter(pqe_writer *w, pqe_error *err)
{
    pqe_status status = pqe__handle_usable(&w->handle, err);

    if (status != PQE_OK || (status = pqe__session_enter(w->handle.vault, err)) != PQE_OK)
        return status;
    if (w->body != NULL)
        return PQE_OK;
    pqe__session_leave(w->handle.vault);
    return pqe__locked(err); /* unlocked again, but in another session than the writer's */
}

/* ---- one thread ---- */

static pqe_status
feed(pqe_writer *w, const uint8_t *data, size_t len, pqe_error *err)
{
    pqe_status status;

    do { /* also at length 0: a locked vault says so */
        size_t n = len < SLICE ? len : SLICE;
        if ((status = pqe__writer_enter(w, err)) != PQE_OK)
            return status;
        status = pqe__content_hash_update(&w->hash, data, n, err);
        if (status == PQE_OK)
            status = pqe__body_writer_write(w->body, data, n, err);
        pqe__session_leave(w->handle.vault);
        w->record.size_bytes += n;
        data += n;
        len -= n;
    } while (status == PQE_OK && len > 0);
    return status;
}

/* ---- several threads ---- */

/* Where plaintext comes from: memory, or a file. */
typedef struct source {
    const uint8_t *data; /* NULL: the file */
    int fd;
    uint64_t at; /* the file's next byte */
    pqe_progress_fn fn;
    void *user;
} source;

/* A piece that is sealed and waits for its turn. */
typedef struct piece {
    bool sealed;
    const uint8_t *plain;                                 /* if the content hash takes all of it */
    uint8_t blocks[BATCH_BLOCKS][PQE__PARALLELHASH_LEAF]; /* if it takes digests of blocks */
    uint8_t leaf[PQE__COMMITMENT_SIZE];                   /* if there is a commitment */
} piece;

typedef struct sealing {
    pqe_writer *w;
    source from;
    size_t piece_size; /* one batch, or one segment if there is a commitment */
    uint64_t first;    /* chunk that piece 0 begins with */
    uint64_t stored_at;
    uint64_t pieces;
    uint8_t *ring_plain; /* pieces read from a file that the content hash takes in order; else NULL */
    pthread_t caller;
    pthread_mutex_t lock; /* of the rest */
    pthread_cond_t moved;
    uint64_t next, taken_up; /* pieces handed out; pieces that had their turn */
    bool busy;               /* somebody is taking up a piece */
    piece ring[RING];
    pqe_status status;
    pqe_error error;
} sealing;

/* What one thread works with. */
typedef struct tools {
    uint8_t *plain;  /* one batch, read from a file */
    uint8_t *stored; /* one piece: one write, for writers of a file wait for each other */
    pqe__hash *leaf;
} tools;

static void *
map_batch(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    madvise(p, size, MADV_DONTDUMP); /* advice: failure leaves memory usable */
    return p;
}

static void
unmap_batch(void *p, size_t size)
{
    if (p == NULL)
        return;
    pqe__wipe(p, size);
    munmap(p, size);
}

/* Of whole chunks. */
static size_t
stored_size(size_t plain)
{
    return plain / PQE__BODY_CHUNK * PQE__BODY_CHUNK_STORED;
}

static pqe_status
tools_make(const sealing *j, tools *t, pqe_error *err)
{
    *t = (tools){.stored = malloc(stored_size(j->piece_size))};
    if (t->stored == NULL)
        return pqe__fail_nomem(err);
    if (j->from.data == NULL && j->ring_plain == NULL && (t->plain = map_batch(BATCH)) == NULL)
        return pqe__fail_nomem(err);
    return j->w->commitment != NULL ? pqe__hash_new(PQE__SHA256, &t->leaf, err) : PQE_OK;
}

static void
tools_clear(tools *t)
{
    pqe__hash_free(&t->leaf);
    unmap_batch(t->plain, BATCH);
    free(t->stored);
}

/* The batch of plaintext at byte `skip` of piece `number`. */
static pqe_status
fetch(const sealing *j, uint64_t number, size_t skip, uint8_t *own, const uint8_t **plain, pqe_error *err)
{
    uint64_t offset = number * j->piece_size + skip;
    uint8_t *to = j->ring_plain != NULL ? j->ring_plain + (number % RING) * j->piece_size + skip : own;
    size_t got;
    pqe_status status;

    if (j->from.data != NULL) {
        *plain = j->from.data + offset;
        return PQE_OK;
    }
    *plain = to;
    status = pqe__pread_all(j->from.fd, to, BATCH, j->from.at + offset, &got, "cannot read the content", err);
    if (status == PQE_OK && got != BATCH)
        status = pqe__fail(err, PQE_E_IO, PQE_ORIGIN_IO, 0, "the file became shorter while it was read");
    return status;
}

static pqe_status
seal_batch(sealing *j, const tools *t, uint64_t number, size_t skip, piece *p, pqe_error *err)
{
    uint64_t chunk = (number * j->piece_size + skip) / PQE__BODY_CHUNK;
    uint8_t *stored = t->stored + stored_size(skip);
    const uint8_t *plain;
    pqe_status status = fetch(j, number, skip, t->plain, &plain, err);

    if (status != PQE_OK || (status = pqe__writer_enter(j->w, err)) != PQE_OK)
        return status;
    if (skip == 0)
        p->plain = plain;
    if (j->w->hash.parallel != NULL)
        status = pqe__parallelhash_leaves(PQE__PARALLELHASH_BLOCK, plain, BATCH_BLOCKS, p->blocks[0], err);
    if (status == PQE_OK)
        status = pqe__body_writer_seal(j->w->body, j->first + chunk, BATCH_CHUNKS, plain, stored, err);
    pqe__session_leave(j->w->handle.vault);
    if (status == PQE_OK && t->leaf != NULL)
        status = pqe__hash_update(t->leaf, stored, BATCH_STORED, err);
    return status;
}

static pqe_status
seal_piece(sealing *j, const tools *t, uint64_t number, pqe_error *err)
{
    piece *p = &j->ring[number % RING];
    size_t size = stored_size(j->piece_size);
    pqe_status status = t->leaf != NULL ? pqe__commitment_begin_leaf(t->leaf, err) : PQE_OK;

    for (size_t skip = 0; skip < j->piece_size && status == PQE_OK; skip += BATCH)
        status = seal_batch(j, t, number, skip, p, err);
    if (status == PQE_OK)
        status =
            pqe__pwrite_all(j->w->file.fd, t->stored, size, j->stored_at + number * size, "cannot write the body", err);
    if (status == PQE_OK && t->leaf != NULL)
        status = pqe__hash_final(t->leaf, p->leaf, err);
    return status;
}

/* What must be done in the order of pieces. */
static pqe_status
take_up(sealing *j, const piece *p, pqe_error *err)
{
    pqe_writer *w = j->w;
    pqe_status status = pqe__writer_enter(w, err);

    if (status != PQE_OK)
        return status;
    if (w->hash.parallel != NULL)
        status = pqe__parallelhash_absorb(w->hash.parallel, p->blocks[0], BATCH_BLOCKS, err);
    else
        status = pqe__content_hash_update(&w->hash, p->plain, j->piece_size, err);
    if (status == PQE_OK && w->commitment != NULL)
        status = pqe__commitment_add(w->commitment, p->leaf, err);
    pqe__session_leave(w->handle.vault);
    return status;
}

/* The lock is held; it is given back during the work. */
static void
note_end(sealing *j, pqe_status status, const pqe_error *error)
{
    if (status != PQE_OK && j->status == PQE_OK) {
        j->status = status;
        j->error = *error;
    }
    pthread_cond_broadcast(&j->moved);
}

static void
do_next(sealing *j, const tools *t)
{
    uint64_t number = j->next++;
    pqe_error error = {0};
    pqe_status status;

    pthread_mutex_unlock(&j->lock);
    status = seal_piece(j, t, number, &error);
    pthread_mutex_lock(&j->lock);
    j->ring[number % RING].sealed = status == PQE_OK;
    note_end(j, status, &error);
}

static void
do_turn(sealing *j)
{
    piece *p = &j->ring[j->taken_up % RING];
    pqe_error error = {0};
    pqe_status status;

    j->busy = true;
    pthread_mutex_unlock(&j->lock);
    status = take_up(j, p, &error);
    pthread_mutex_lock(&j->lock);
    j->busy = false;
    p->sealed = false;
    j->taken_up++;
    note_end(j, status, &error);
}

/* The application is called without the lock. */
static void
report_progress(sealing *j)
{
    uint64_t bytes = j->w->record.size_bytes + j->taken_up * j->piece_size;
    pqe_error error = {0};
    bool go_on;

    if (j->from.fn == NULL || !pthread_equal(j->caller, pthread_self()))
        return;
    pthread_mutex_unlock(&j->lock);
    go_on = j->from.fn(j->from.user, bytes);
    pthread_mutex_lock(&j->lock);
    if (!go_on)
        note_end(j, pqe__fail(&error, PQE_E_CANCELLED, PQE_ORIGIN_API, 0, "the writing was stopped"), &error);
}

static void
seal(void *arg)
{
    sealing *j = arg;
    pqe_error error = {0};
    tools t;
    pqe_status status = tools_make(j, &t, &error);

    pthread_mutex_lock(&j->lock);
    if (status != PQE_OK)
        note_end(j, status, &error);
    while (j->status == PQE_OK && j->taken_up < j->pieces) {
        if (!j->busy && j->ring[j->taken_up % RING].sealed) {
            do_turn(j);
            report_progress(j);
        } else if (j->next < j->pieces && j->next - j->taken_up < RING) {
            do_next(j, &t);
            report_progress(j);
        } else {
            pthread_cond_wait(&j->moved, &j->lock);
        }
    }
    pthread_mutex_unlock(&j->lock);
    tools_clear(&t);
}

/* More than three threads find nothing to do beside a hash that is computed by one. */
static unsigned
threads_for(const sealing *j)
{
    unsigned threads = pqe_threads();

    if (j->w->hash.sha3 != NULL && threads > 3)
        threads = 3;
    return j->pieces < threads ? (unsigned)j->pieces : threads;
}

static pqe_status
run(sealing *j, pqe_error *err)
{
    size_t ring_size = RING * j->piece_size;
    bool ordered = j->from.data == NULL && j->w->hash.sha3 != NULL;

    if (ordered && (j->ring_plain = map_batch(ring_size)) == NULL)
        return pqe__fail_nomem(err);
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->moved, NULL);
    if (j->from.data == NULL) /* threads in turn look like random access; advice */
        posix_fadvise(j->from.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    pqe__pool_run(seal, j, threads_for(j));
    pthread_cond_destroy(&j->moved);
    pthread_mutex_destroy(&j->lock);
    unmap_batch(j->ring_plain, ring_size);
    if (j->status == PQE_OK && j->from.fn != NULL &&
        !j->from.fn(j->from.user,
                    j->w->record.size_bytes + j->pieces * j->piece_size)) /* helpers may have done it all */
        return pqe__fail(err, PQE_E_CANCELLED, PQE_ORIGIN_API, 0, "the writing was stopped");
    if (j->status != PQE_OK && err != NULL)
        *err = j->error;
    return j->status;
}

/* The chunks of the job are the caller's from here on, and the file is there. */
static pqe_status
prepare(sealing *j, pqe_error *err)
{
    pqe_writer *w = j->w;
    pqe_status status = pqe__writer_enter(w, err);

    if (status != PQE_OK)
        return status;
    status = pqe__body_writer_reserve(w->body, j->pieces * (j->piece_size / PQE__BODY_CHUNK), &j->first, err);
    if (status == PQE_OK)
        status = ensure_file(w, err);
    j->stored_at = w->record.stored_bytes;
    pqe__session_leave(w->handle.vault);
    return status;
}

/* Size of a piece, which is also what its start must be a multiple of. */
static size_t
piece_size(const pqe_writer *w)
{
    return w->commitment != NULL ? (size_t)PQE__SEGMENT_CHUNKS * PQE__BODY_CHUNK : BATCH;
}

/* As many whole pieces of `len` bytes as there are; the writer stands at the start of a piece. */
static pqe_status
seal_pieces(pqe_writer *w, const source *from, uint64_t len, uint64_t *used, pqe_error *err)
{
    sealing *j = calloc(1, sizeof *j);
    pqe_status status;

    *used = 0;
    if (j == NULL)
        return pqe__fail_nomem(err);
    j->w = w;
    j->from = *from;
    j->piece_size = piece_size(w);
    j->pieces = len / j->piece_size;
    j->caller = pthread_self();
    status = prepare(j, err);
    if (status == PQE_OK)
        status = run(j, err);
    if (status == PQE_OK) {
        *used = j->pieces * j->piece_size;
        w->record.size_bytes += *used;
        w->record.stored_bytes += j->pieces * (j->piece_size / PQE__BODY_CHUNK) * PQE__BODY_CHUNK_STORED;
    }
    pqe__wipe(j, sizeof *j);
    free(j);
    return status;
}

/* Bytes that are missing to the start of a piece. */
static size_t
to_piece(const pqe_writer *w)
{
    size_t size = piece_size(w);

    return (size - (size_t)(w->record.size_bytes % size)) % size;
}

/* ---- public ---- */

static pqe_status
check_writer(const pqe_writer *w, bool complete, pqe_error *err)
{
    if (!complete)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "writer and data are required");
    if (w->failed)
        return pqe__fail(err, PQE_E_STATE, PQE_ORIGIN_API, 0, "the writer has failed before; abort it");
    return PQE_OK;
}

pqe_status
pqe_writer_write(pqe_writer *writer, const void *data, size_t len, pqe_error *err)
{
    source from = {.data = data, .fd = -1};
    uint64_t used = 0;
    size_t n = 0;
    pqe_status status = check_writer(writer, writer != NULL && (data != NULL || len == 0), err);

    if (status != PQE_OK)
        return status;
    if (len >= PARALLEL_MIN && len - to_piece(writer) >= piece_size(writer)) {
        n = to_piece(writer);
        status = n != 0 ? feed(writer, from.data, n, err) : PQE_OK;
        from.data += n;
        if (status == PQE_OK)
            status = seal_pieces(writer, &from, len - n, &used, err);
        n += (size_t)used;
    }
    if (status == PQE_OK && (n < len || len == 0))
        status = feed(writer, (const uint8_t *)data + n, len - n, err);
    writer->failed = status != PQE_OK;
    return status;
}

pqe_status
pqe__writer_whole(pqe_writer *w, const void *content, size_t len, pqe_error *err)
{
    pqe_status status;

    if (len >= PQE__BODY_CHUNK || len == 0)
        return pqe_writer_write(w, content, len, err);
    if ((status = check_writer(w, content != NULL, err)) != PQE_OK)
        return status;
    w->last = content;
    w->last_len = len;
    return PQE_OK;
}

/* Up to `len` bytes, less only at the file's end, by one thread. */
static pqe_status
feed_file(pqe_writer *w, source *from, uint8_t *buf, uint64_t len, pqe_error *err)
{
    size_t got = BATCH;
    pqe_status status = PQE_OK;

    while (len > 0 && got == BATCH && status == PQE_OK) {
        size_t n = len < BATCH ? (size_t)len : BATCH;
        status = pqe__pread_all(from->fd, buf, n, from->at, &got, "cannot read the content", err);
        if (status == PQE_OK)
            status = feed(w, buf, got, err);
        from->at += got;
        len -= got;
        if (status == PQE_OK && from->fn != NULL && !from->fn(from->user, w->record.size_bytes))
            status = pqe__fail(err, PQE_E_CANCELLED, PQE_ORIGIN_API, 0, "the writing was stopped");
    }
    return status;
}

/* All that the file has. Its size is only a guide: one that grows is read on, one that shrinks ends early or fails. */
static pqe_status
take_file(pqe_writer *w, source *from, uint64_t size, uint8_t *buf, pqe_error *err)
{
    uint64_t len = size > from->at ? size - from->at : 0, used = 0;
    size_t before = to_piece(w);
    pqe_status status = PQE_OK;

    if (len >= PARALLEL_MIN && len - before >= piece_size(w)) {
        status = feed_file(w, from, buf, before, err);
        if (status == PQE_OK && to_piece(w) == 0)
            status = seal_pieces(w, from, len - before, &used, err);
        from->at += used;
    }
    return status == PQE_OK ? feed_file(w, from, buf, UINT64_MAX, err) : status;
}

pqe_status
pqe_writer_from_file(pqe_writer *writer, int fd, pqe_progress_fn fn, void *user, pqe_error *err)
{
    source from = {.fd = fd, .fn = fn, .user = user};
    struct stat st;
    off_t at;
    uint8_t *buf;
    pqe_status status = check_writer(writer, writer != NULL, err);

    if (status != PQE_OK)
        return status;
    if (fstat(fd, &st) != 0 || (at = lseek(fd, 0, SEEK_CUR)) < 0)
        return pqe__fail_errno(err, errno, "cannot read the content");
    if (!S_ISREG(st.st_mode))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the descriptor is not of a regular file");
    if ((buf = map_batch(BATCH)) == NULL)
        return pqe__fail_nomem(err);
    from.at = (uint64_t)at;
    status = take_file(writer, &from, (uint64_t)st.st_size, buf, err);
    unmap_batch(buf, BATCH);
    if (status == PQE_OK && lseek(fd, (off_t)from.at, SEEK_SET) < 0)
        status = pqe__fail_errno(err, errno, "cannot read the content");
    writer->failed = status != PQE_OK;
    return status;
}
