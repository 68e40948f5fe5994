/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading from a reader, on all cores where it pays. The work is cut into pieces; each thread takes the next one, enters
 * the session for as long as it uses the keys, and leaves it: lock and expiry wait for one piece, and no thread holds
 * the keys while it waits for another or for a disk.
 */
#include "vault/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/fsio.h"
#include "util/pool.h"

#define PARALLEL_MIN ((size_t)1 << 20) /* below this, waking a thread costs more than it brings */
#define PIECE_MAX ((size_t)2 << 20)    /* a huge page, so that no two threads fault in the same one */
#define PIECE_MIN ((size_t)256 << 10)
#define FILE_PIECE ((size_t)256 << 10) /* plaintext that stays in a core's cache until it is written */

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

/* One piece, all of it within the artifact: the unit in which keys are used. */
static pqe_status
read_piece(pqe_reader *r, uint64_t offset, uint8_t *buf, size_t len, pqe_error *err)
{
    size_t got;
    pqe_status status = reader_enter(r, err);

    if (status != PQE_OK)
        return status;
    status = pqe__body_reader_read_at(r->body, offset, buf, len, &got, err);
    pqe__session_leave(r->handle.vault);
    return status;
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

/* ---- a job of several threads ---- */

typedef struct reading {
    pqe_reader *reader;
    uint64_t offset, end; /* of the artifact: what is to be read */
    uint64_t base;        /* where piece 0 begins: the start of the first chunk */
    size_t piece;
    uint8_t *buf; /* where byte `offset` goes; NULL: to the file */
    int fd;
    uint64_t fd_at; /* where byte `offset` goes in the file */
    pthread_t caller;
    pqe_progress_fn fn;
    void *user;
    _Atomic uint64_t next, done; /* pieces handed out; bytes finished */
    atomic_bool stop;
    pthread_mutex_t lock; /* of the rest */
    uint64_t failed;      /* the first piece that failed */
    pqe_status status;
    pqe_error error;
} reading;

static void
note_failure(reading *j, uint64_t piece, pqe_status status, const pqe_error *error)
{
    pthread_mutex_lock(&j->lock);
    if (j->status == PQE_OK || piece < j->failed) {
        j->failed = piece;
        j->status = status;
        j->error = *error;
    }
    pthread_mutex_unlock(&j->lock);
    atomic_store(&j->stop, true);
}

/* The next piece that nobody has; false if there is none. */
static bool
take_piece(reading *j, uint64_t *number, uint64_t *from, size_t *len)
{
    uint64_t to;

    if (atomic_load(&j->stop))
        return false;
    *number = atomic_fetch_add(&j->next, 1);
    if (*number > (j->end - j->base) / j->piece)
        return false;
    *from = j->base + *number * j->piece;
    to = j->end - *from < j->piece ? j->end : *from + j->piece;
    if (*from < j->offset)
        *from = j->offset;
    *len = (size_t)(to - *from);
    return *len != 0;
}

static pqe_status
report_progress(reading *j, pqe_error *err)
{
    if (j->fn == NULL || !pthread_equal(j->caller, pthread_self()) || j->fn(j->user, atomic_load(&j->done)))
        return PQE_OK;
    return pqe__fail(err, PQE_E_CANCELLED, PQE_ORIGIN_API, 0, "the reading was stopped");
}

static void
fill_memory(void *arg)
{
    reading *j = arg;
    pqe_error error = {0};
    uint64_t number, from;
    size_t len;

    while (take_piece(j, &number, &from, &len)) {
        pqe_status status = read_piece(j->reader, from, j->buf + (from - j->offset), len, &error);
        if (status != PQE_OK)
            note_failure(j, number, status, &error);
    }
}

static void
fill_file(void *arg)
{
    reading *j = arg;
    pqe_error error = {0};
    uint64_t number, from;
    size_t len;
    uint8_t *buf = mmap(NULL, FILE_PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (buf == MAP_FAILED) {
        note_failure(j, 0, pqe__fail_nomem(&error), &error);
        return;
    }
    madvise(buf, FILE_PIECE, MADV_DONTDUMP); /* advice: failure leaves memory usable */
    while (take_piece(j, &number, &from, &len)) {
        pqe_status status = read_piece(j->reader, from, buf, len, &error);
        if (status == PQE_OK)
            status =
                pqe__pwrite_all(j->fd, buf, len, j->fd_at + (from - j->offset), "cannot write the content", &error);
        atomic_fetch_add(&j->done, len);
        if (status == PQE_OK)
            status = report_progress(j, &error);
        if (status != PQE_OK)
            note_failure(j, number, status, &error);
    }
    pqe__wipe(buf, FILE_PIECE);
    munmap(buf, FILE_PIECE);
}

/* Runs the job on as many threads as it has work for. */
static pqe_status
run(reading *j, pqe__job_fn fn, pqe_error *err)
{
    uint64_t pieces = (j->end - j->base) / j->piece + 1;
    unsigned threads = pqe_threads();

    if (pthread_mutex_init(&j->lock, NULL) != 0)
        return pqe__fail_nomem(err);
    /* Threads that take pieces in turn look like random access, and the kernel reads little ahead. Advice. */
    if (j->reader->fd >= 0)
        posix_fadvise(j->reader->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    pqe__pool_run(fn, j, pieces < threads ? (unsigned)pieces : threads);
    pthread_mutex_destroy(&j->lock);
    if (j->status != PQE_OK)
        log_damage(j->reader, j->status, &j->error);
    if (j->status != PQE_OK && err != NULL)
        *err = j->error;
    return j->status;
}

/* ---- to memory ---- */

/* Pieces small enough that every thread gets several, of a size that keeps threads off each other's pages. */
static size_t
piece_for(size_t len)
{
    size_t piece = PIECE_MAX, share = len / pqe_threads() / 4;

    while (piece > PIECE_MIN && piece > share)
        piece /= 2;
    return piece;
}

pqe_status
pqe__reader_fill(pqe_reader *r, uint64_t offset, uint8_t *buf, size_t capacity, size_t *len, pqe_error *err)
{
    uint64_t size = r->artifact->size_bytes, left = offset < size ? size - offset : 0;
    size_t want = capacity < left ? capacity : (size_t)left, touched;
    reading j = {.reader = r, .offset = offset, .end = offset + want, .buf = buf, .fd = -1};
    pqe_error inner = {0};
    pqe_status status;

    *len = 0;
    if (want < PARALLEL_MIN) {
        status = read_piece(r, offset, buf, want, &inner); /* also of nothing: a locked vault says so */
        if (status == PQE_OK) {
            *len = want;
            return PQE_OK;
        }
        log_damage(r, status, &inner);
        pqe__set_error(err, status, inner.origin, inner.native, "%s", inner.message);
        return status;
    }
    j.base = offset - offset % PQE__BODY_CHUNK;
    j.piece = piece_for(want);
    status = run(&j, fill_memory, err);
    if (status == PQE_OK) {
        *len = want;
        return PQE_OK;
    }
    touched = want;
    if (atomic_load(&j.next) < (j.end - j.base) / j.piece)
        touched = (size_t)(j.base + atomic_load(&j.next) * j.piece - offset);
    pqe__wipe(buf, touched);
    return status;
}

pqe_status
pqe_reader_read_at(pqe_reader *reader, uint64_t offset, void *buf, size_t capacity, size_t *len, pqe_error *err)
{
    pqe_status status;

    if (len != NULL)
        *len = 0;
    if (len == NULL || reader == NULL || (buf == NULL && capacity != 0))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "reader, buffer and length are required");
    status = pqe__reader_fill(reader, offset, buf, capacity, len, err);
    if (status != PQE_OK)
        pqe__wipe(buf, capacity);
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
        status = pqe__reader_stored(reader, offset, buf, want, err);
    if (status == PQE_OK)
        *len = want;
    else
        pqe__wipe(buf, capacity);
    return status;
}

/* ---- to a file ---- */

static pqe_status
check_file(int fd, off_t *at, pqe_error *err)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fstat(fd, &st) != 0)
        return pqe__fail_errno(err, errno, "cannot write the content");
    if (!S_ISREG(st.st_mode) || (flags & O_APPEND) != 0)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the descriptor is not of a regular file, or appends");
    *at = lseek(fd, 0, SEEK_CUR);
    return *at >= 0 ? PQE_OK : pqe__fail_errno(err, errno, "cannot write the content");
}

pqe_status
pqe_reader_to_file(pqe_reader *reader, int fd, pqe_progress_fn fn, void *user, pqe_error *err)
{
    reading j = {.reader = reader, .piece = FILE_PIECE, .fd = fd, .fn = fn, .user = user, .caller = pthread_self()};
    off_t at = 0;
    pqe_status status;

    if (reader == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the reader is NULL");
    if ((status = check_file(fd, &at, err)) != PQE_OK)
        return status;
    j.offset = reader->position;
    j.end = reader->artifact->size_bytes;
    j.base = j.offset - j.offset % PQE__BODY_CHUNK;
    j.fd_at = (uint64_t)at;
    status = read_piece(reader, j.end, NULL, 0, err); /* a locked vault says so, also of nothing */
    if (status == PQE_OK && j.offset < j.end)
        status = run(&j, fill_file, err);
    if (status == PQE_OK)
        status = report_progress(&j, err); /* helpers may have done it all */
    if (status == PQE_OK && lseek(fd, at + (off_t)(j.end - j.offset), SEEK_SET) < 0)
        status = pqe__fail_errno(err, errno, "cannot write the content");
    if (status == PQE_OK)
        reader->position = j.end;
    return status;
}
