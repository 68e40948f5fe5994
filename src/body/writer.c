/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The streaming writer of bodies. Whole chunks are sealed straight from the caller's memory into a buffer of stored
 * bytes, which goes to the sink when it is full. Only what is left over of a chunk is copied, into locked memory: a
 * credential waits there in whole, so it gets the protection that keys get (no swap, no dump, wiped).
 */
#include "body/internal.h"

#include <stdlib.h>
#include <string.h>

#include "util/secmem.h"

#define OUT_FIRST ((size_t)2048) /* holds the whole body of a small credential */
#define OUT_MAX ((size_t)PQE__BODY_HEADER + (size_t)PQE__BODY_BATCH * PQE__BODY_CHUNK_STORED)

static void
drop_secrets(pqe__body_writer *w)
{
    pqe__aead_free(&w->aead);
    while (w->idle_count > 0)
        pqe__aead_free(&w->idle[--w->idle_count]);
    pqe__secmem_free(w->keys);
    w->keys = NULL;
    pqe__secmem_free(w->stage);
    w->stage = NULL;
    w->staged = 0;
}

/* After an error the stored bytes have a gap, so nothing may follow. */
static pqe_status
give_up(pqe__body_writer *w, pqe_status status)
{
    w->failed = status;
    drop_secrets(w);
    return status;
}

/* A forked child must not go on: it would use the parent's nonces for other plaintext. */
static pqe_status
check_usable(const pqe__body_writer *w, pqe_error *err)
{
    if (!pqe__owner_is_here(w->owner))
        return pqe__fail(err, PQE_E_LOCKED, PQE_ORIGIN_API, 0, "a body is written by the process that began it");
    if (w->failed != PQE_OK)
        return pqe__fail(err, w->failed, PQE_ORIGIN_API, 0, "writing the body was given up after an earlier error");
    if (w->finished)
        return pqe__fail(err, PQE_E_STATE, PQE_ORIGIN_API, 0, "the body is finished");
    return PQE_OK;
}

static pqe_status
flush(pqe__body_writer *w, pqe_error *err)
{
    size_t len = w->used;

    w->used = 0;
    return len == 0 ? PQE_OK : w->sink(w->user, w->out, len, err);
}

/* Makes room for at least `least` and, if the buffer's limit allows, for `want` more stored bytes. The buffer grows
 * with the body, so that small ones cost little; once it has its full size it is emptied into the sink. */
static pqe_status
make_room(pqe__body_writer *w, size_t least, size_t want, pqe_error *err)
{
    size_t target = want < OUT_MAX - w->used ? w->used + want : OUT_MAX;
    size_t grown;
    uint8_t *bigger;
    pqe_status status;

    if (target - w->used < least) {
        status = flush(w, err);
        if (status != PQE_OK)
            return status;
        target = want < OUT_MAX ? want : OUT_MAX;
    }
    if (target <= w->capacity)
        return PQE_OK;
    grown = w->capacity < OUT_MAX / 2 ? 2 * w->capacity : OUT_MAX;
    if (grown < target)
        grown = target;
    bigger = realloc(w->out, grown);
    if (bigger == NULL)
        return pqe__fail_nomem(err);
    w->out = bigger;
    w->capacity = grown;
    return PQE_OK;
}

/* c2sp.org/chunked-encryption, "AEAD usage": no associated data; "Message chunking": fewer than 2^38 chunks. */
static pqe_status
seal_chunk(pqe__body_writer *w, const uint8_t *in, size_t len, pqe_error *err)
{
    uint8_t nonce[PQE__NONCE_SIZE];
    pqe_status status;

    if (w->next >= PQE__BODY_MAX_CHUNKS)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_FORMAT, 0, "a body holds at most 2^38 chunks");
    pqe__body_nonce(w->keys->base_nonce, w->next, nonce);
    status = pqe__aead_seal(w->aead, nonce, NULL, 0, in, len, w->out + w->used, err);
    pqe__wipe(nonce, sizeof nonce);
    if (status != PQE_OK)
        return status;
    w->next++;
    w->used += len + PQE__TAG_SIZE;
    return PQE_OK;
}

/* Seals up to `count` full chunks, as many as fit the buffer in one go; *sealed says how many. */
static pqe_status
seal_batch(pqe__body_writer *w, const uint8_t *in, size_t count, size_t *sealed, pqe_error *err)
{
    size_t batch = count < PQE__BODY_BATCH ? count : PQE__BODY_BATCH;
    size_t room;
    pqe_status status = make_room(w, PQE__BODY_CHUNK_STORED, batch * PQE__BODY_CHUNK_STORED, err);

    *sealed = 0;
    if (status != PQE_OK)
        return status;
    room = (w->capacity - w->used) / PQE__BODY_CHUNK_STORED;
    if (batch > room)
        batch = room;
    for (; *sealed < batch && status == PQE_OK; (*sealed)++)
        status = seal_chunk(w, in + *sealed * PQE__BODY_CHUNK, PQE__BODY_CHUNK, err);
    return status;
}

/* Keeps the beginning of a chunk, and seals the chunk when it is complete; *taken says how much was used. */
static pqe_status
stage_part(pqe__body_writer *w, const uint8_t *in, size_t len, size_t *taken, pqe_error *err)
{
    size_t part = PQE__BODY_CHUNK - w->staged;
    size_t sealed;

    *taken = 0;
    if (part > len)
        part = len;
    if (w->stage == NULL)
        w->stage = pqe__secmem_alloc(PQE__BODY_CHUNK);
    if (w->stage == NULL)
        return pqe__fail_nomem(err);
    memcpy(w->stage + w->staged, in, part);
    w->staged += part;
    *taken = part;
    if (w->staged < PQE__BODY_CHUNK)
        return PQE_OK;
    w->staged = 0;
    return seal_batch(w, w->stage, 1, &sealed, err);
}

static pqe_status
take_in(pqe__body_writer *w, const uint8_t *in, size_t len, pqe_error *err)
{
    size_t n = 0;
    pqe_status status = PQE_OK;

    if (len > PQE__BODY_MAX_PLAIN - (w->next * PQE__BODY_CHUNK + w->staged))
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_FORMAT, 0, "a body holds at most 4 PiB - 1 byte");
    for (; status == PQE_OK && len > 0; in += n, len -= n) {
        if (w->staged > 0 || len < PQE__BODY_CHUNK) {
            status = stage_part(w, in, len, &n, err);
        } else {
            status = seal_batch(w, in, len / PQE__BODY_CHUNK, &n, err);
            n *= PQE__BODY_CHUNK;
        }
    }
    return status;
}

pqe_status
pqe__body_writer_start(const uint8_t dek[32], const uint8_t *context, size_t context_len, const uint8_t *salt,
                       pqe__body_sink sink, void *user, pqe__body_writer **out, pqe_error *err)
{
    pqe__body_writer *w = calloc(1, sizeof *w);
    pqe_status status = PQE_OK;

    *out = NULL;
    if (w == NULL)
        return pqe__fail_nomem(err);
    if (pthread_mutex_init(&w->lock, NULL) != 0) {
        free(w);
        return pqe__fail_nomem(err);
    }
    w->sink = sink;
    w->user = user;
    w->owner = pqe__owner();
    w->capacity = OUT_FIRST;
    w->out = malloc(OUT_FIRST);
    w->keys = pqe__secmem_alloc(sizeof *w->keys);
    if (w->out == NULL || w->keys == NULL) {
        status = pqe__fail_nomem(err);
        goto cleanup;
    }
    if (salt != NULL)
        memcpy(w->out, salt, PQE__BODY_SALT_SIZE);
    else
        status = pqe__random(w->out, PQE__BODY_SALT_SIZE, err);
    if (status == PQE_OK)
        status = pqe__body_derive(dek, w->out, context, context_len, w->keys, err);
    if (status == PQE_OK)
        status = pqe__aead_new(w->keys->key, PQE__KEY_SIZE, &w->aead, err);
    if (status != PQE_OK)
        goto cleanup;
    memcpy(w->out + PQE__BODY_SALT_SIZE, w->keys->commitment, PQE__BODY_COMMITMENT_SIZE);
    w->used = PQE__BODY_HEADER;
    *out = w;
    w = NULL;

cleanup:
    pqe__body_writer_free(&w);
    return status;
}

pqe_status
pqe__body_writer_new(const uint8_t dek[32], const uint8_t body_id[PQE__BODY_ID_SIZE], const uint8_t *salt,
                     pqe__body_sink sink, void *user, pqe__body_writer **out, pqe_error *err)
{
    uint8_t context[PQE__BODY_CONTEXT_MAX];
    size_t len = pqe__body_context(body_id, context);

    return pqe__body_writer_start(dek, context, len, salt, sink, user, out, err);
}

pqe_status
pqe__body_writer_write(pqe__body_writer *w, const void *data, size_t len, pqe_error *err)
{
    pqe_status status = check_usable(w, err);

    if (status != PQE_OK)
        return status;
    status = take_in(w, data, len, err);
    return status == PQE_OK ? PQE_OK : give_up(w, status);
}

/* ---- several threads ---- */

bool
pqe__body_writer_position(const pqe__body_writer *w, uint64_t *chunks)
{
    *chunks = w->next;
    return w->staged == 0;
}

pqe_status
pqe__body_writer_reserve(pqe__body_writer *w, uint64_t count, uint64_t *first, pqe_error *err)
{
    pqe_status status = check_usable(w, err);

    *first = 0;
    if (status != PQE_OK)
        return status;
    if (w->staged != 0)
        status = pqe__fail(err, PQE_E_STATE, PQE_ORIGIN_API, 0, "a chunk of the body is not complete");
    else if (count > PQE__BODY_MAX_CHUNKS - 1 - w->next) /* the last chunk is never full */
        status = pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_FORMAT, 0, "a body holds at most 4 PiB - 1 byte");
    if (status == PQE_OK)
        status = flush(w, err);
    if (status != PQE_OK)
        return give_up(w, status);
    *first = w->next;
    w->next += count;
    return PQE_OK;
}

static pqe_status
take_context(pqe__body_writer *w, pqe__aead **out, pqe_error *err)
{
    *out = NULL;
    pthread_mutex_lock(&w->lock);
    if (w->idle_count > 0)
        *out = w->idle[--w->idle_count];
    pthread_mutex_unlock(&w->lock);
    return *out != NULL ? PQE_OK : pqe__aead_new(w->keys->key, PQE__KEY_SIZE, out, err);
}

static void
return_context(pqe__body_writer *w, pqe__aead *aead)
{
    pthread_mutex_lock(&w->lock);
    if (w->idle_count < PQE__BODY_IDLE) {
        w->idle[w->idle_count++] = aead;
        aead = NULL;
    }
    pthread_mutex_unlock(&w->lock);
    pqe__aead_free(&aead);
}

pqe_status
pqe__body_writer_seal(pqe__body_writer *w, uint64_t first, size_t count, const uint8_t *in, uint8_t *out,
                      pqe_error *err)
{
    uint8_t nonce[PQE__NONCE_SIZE];
    pqe__aead *aead;
    pqe_status status = check_usable(w, err);

    if (status == PQE_OK)
        status = take_context(w, &aead, err);
    if (status != PQE_OK)
        return status;
    for (size_t i = 0; i < count && status == PQE_OK; i++) {
        pqe__body_nonce(w->keys->base_nonce, first + i, nonce);
        status = pqe__aead_seal(aead, nonce, NULL, 0, in + i * PQE__BODY_CHUNK, PQE__BODY_CHUNK,
                                out + i * PQE__BODY_CHUNK_STORED, err);
    }
    pqe__wipe(nonce, sizeof nonce);
    return_context(w, aead);
    return status;
}

/* The final chunk is shorter than a full one and may be empty: it is the mark of the end. */
static pqe_status
finish(pqe__body_writer *w, const uint8_t *last, size_t len, pqe_error *err)
{
    pqe_status status = make_room(w, len + PQE__TAG_SIZE, len + PQE__TAG_SIZE, err);

    if (status == PQE_OK)
        status = seal_chunk(w, last, len, err);
    if (status == PQE_OK)
        status = flush(w, err);
    if (status != PQE_OK)
        return give_up(w, status);
    w->finished = true;
    drop_secrets(w);
    return PQE_OK;
}

pqe_status
pqe__body_writer_finish_with(pqe__body_writer *w, const void *last, size_t len, pqe_error *err)
{
    pqe_status status = check_usable(w, err);

    if (status == PQE_OK && (w->staged != 0 || len >= PQE__BODY_CHUNK)) {
        status = pqe__body_writer_write(w, last, len, err);
        last = w->stage;
        len = w->staged;
    }
    return status == PQE_OK ? finish(w, last, len, err) : status;
}

pqe_status
pqe__body_writer_finish(pqe__body_writer *w, pqe_error *err)
{
    return pqe__body_writer_finish_with(w, NULL, 0, err);
}

void
pqe__body_writer_free(pqe__body_writer **w)
{
    if (*w == NULL)
        return;
    if ((*w)->keys != NULL && !pqe__owner_is_here((*w)->owner)) {
        (*w)->keys = NULL; /* the parent's locked memory is not mapped in a forked child */
        (*w)->stage = NULL;
    }
    drop_secrets(*w);
    pthread_mutex_destroy(&(*w)->lock);
    free((*w)->out);
    free(*w);
    *w = NULL;
}
