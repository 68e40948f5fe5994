/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The random-access reader of bodies. Each reading thread borrows a lane: an AEAD context, a buffer of stored bytes
 * and one decrypted chunk. The lock covers borrowing and returning, never reading or decrypting. Whole chunks are
 * opened straight into the caller's buffer; a chunk of which only a part is wanted is opened in the lane, in locked
 * memory, and stays there so that small sequential reads decrypt it once.
 */
#include "body/internal.h"

#include <stdlib.h>
#include <string.h>

#include "util/secmem.h"

#define NO_CHUNK UINT64_MAX
/* Bodies up to this size (those kept in index rows, and a little more) are read by one call of the source. */
#define SMALL_BODY ((size_t)PQE__BODY_HEADER + (size_t)4 * PQE__BODY_CHUNK_STORED)

/* Plaintext bytes of a chunk. */
static size_t
chunk_size(const pqe__body_reader *r, uint64_t chunk)
{
    return chunk < r->plain / PQE__BODY_CHUNK ? PQE__BODY_CHUNK : (size_t)(r->plain % PQE__BODY_CHUNK);
}

static void
lane_forget_plain(pqe__body_lane *lane)
{
    pqe__secmem_free(lane->plain);
    lane->plain = NULL;
    lane->plain_chunk = NO_CHUNK;
}

static void
lane_free(pqe__body_lane *lane)
{
    if (lane == NULL)
        return;
    pqe__aead_free(&lane->aead);
    lane_forget_plain(lane);
    free(lane->stored);
    free(lane);
}

static pqe__body_lane *
lane_new(void)
{
    pqe__body_lane *lane = calloc(1, sizeof *lane);

    if (lane != NULL)
        lane->plain_chunk = NO_CHUNK;
    return lane;
}

/* Borrows a lane: the one that has `chunk` decrypted, else the last one used, else a new one. */
static pqe_status
lane_take(pqe__body_reader *r, uint64_t chunk, pqe__body_lane **out, pqe_error *err)
{
    pqe__body_lane **at, *lane;
    pqe_status status;

    pthread_mutex_lock(&r->lock);
    at = &r->idle;
    while (*at != NULL && (*at)->plain_chunk != chunk)
        at = &(*at)->next;
    if (*at == NULL)
        at = &r->idle;
    lane = *at;
    if (lane != NULL) {
        *at = lane->next;
        r->idle_count--;
    }
    pthread_mutex_unlock(&r->lock);

    *out = lane;
    if (lane != NULL)
        return PQE_OK;
    lane = lane_new();
    if (lane == NULL)
        return pqe__fail_nomem(err);
    status = pqe__aead_new(r->keys->key, PQE__KEY_SIZE, &lane->aead, err);
    if (status != PQE_OK) {
        lane_free(lane);
        return status;
    }
    *out = lane;
    return PQE_OK;
}

static void
lane_return(pqe__body_reader *r, pqe__body_lane *lane)
{
    pthread_mutex_lock(&r->lock);
    if (r->idle_count < PQE__BODY_IDLE) {
        lane->next = r->idle;
        r->idle = lane;
        r->idle_count++;
        lane = NULL;
    }
    pthread_mutex_unlock(&r->lock);
    lane_free(lane);
}

/* Points *stored at stored bytes [at, at + len), read now unless the lane has them. At most one batch or SMALL_BODY. */
static pqe_status
lane_load(const pqe__body_reader *r, pqe__body_lane *lane, uint64_t at, size_t len, const uint8_t **stored,
          pqe_error *err)
{
    uint64_t ahead = at - lane->stored_at;
    pqe_status status;

    *stored = NULL;
    if (at >= lane->stored_at && ahead <= lane->stored_len && len <= lane->stored_len - ahead) {
        *stored = lane->stored + ahead;
        return PQE_OK;
    }
    lane->stored_len = 0;
    if (lane->capacity < len) {
        free(lane->stored);
        lane->stored = malloc(len);
        lane->capacity = lane->stored == NULL ? 0 : len;
    }
    if (lane->stored == NULL)
        return pqe__fail_nomem(err);
    status = r->source(r->user, at, lane->stored, len, err);
    if (status != PQE_OK)
        return status;
    lane->stored_at = at;
    lane->stored_len = len;
    *stored = lane->stored;
    return PQE_OK;
}

/* Loads `count` consecutive chunks, at most one batch. */
static pqe_status
load_batch(const pqe__body_reader *r, pqe__body_lane *lane, uint64_t first, size_t count, const uint8_t **stored,
           pqe_error *err)
{
    size_t len = (count - 1) * PQE__BODY_CHUNK_STORED + chunk_size(r, first + count - 1) + PQE__TAG_SIZE;

    return lane_load(r, lane, PQE__BODY_HEADER + first * PQE__BODY_CHUNK_STORED, len, stored, err);
}

static pqe_status
open_chunk(const pqe__body_reader *r, pqe__body_lane *lane, uint64_t chunk, const uint8_t *stored, uint8_t *out,
           pqe_error *err)
{
    uint8_t nonce[PQE__NONCE_SIZE];
    pqe_status status;

    pqe__body_nonce(r->keys->base_nonce, chunk, nonce);
    status = pqe__aead_open(lane->aead, nonce, NULL, 0, stored, chunk_size(r, chunk) + PQE__TAG_SIZE, out, err);
    pqe__wipe(nonce, sizeof nonce);
    if (status == PQE_E_DECRYPTION)
        pqe__set_error(err, status, PQE_ORIGIN_CRYPTO, 0, "chunk %llu of the body does not verify",
                       (unsigned long long)chunk);
    return status;
}

/* Opens a chunk into the lane and keeps it. */
static pqe_status
keep_chunk(const pqe__body_reader *r, pqe__body_lane *lane, uint64_t chunk, const uint8_t *stored, pqe_error *err)
{
    size_t largest = r->plain < PQE__BODY_CHUNK ? (size_t)r->plain : PQE__BODY_CHUNK;
    pqe_status status;

    if (lane->plain == NULL)
        lane->plain = pqe__secmem_alloc(largest > 0 ? largest : 1);
    if (lane->plain == NULL)
        return pqe__fail_nomem(err);
    lane->plain_chunk = NO_CHUNK;
    status = open_chunk(r, lane, chunk, stored, lane->plain, err);
    if (status == PQE_OK)
        lane->plain_chunk = chunk;
    return status;
}

/* Delivers `len` bytes of one chunk, from its byte `skip` on. */
static pqe_status
read_chunk(const pqe__body_reader *r, pqe__body_lane *lane, uint64_t chunk, const uint8_t *stored, size_t skip,
           uint8_t *out, size_t len, pqe_error *err)
{
    pqe_status status = PQE_OK;

    if (lane->plain_chunk != chunk) {
        if (len == chunk_size(r, chunk))
            return open_chunk(r, lane, chunk, stored, out, err);
        status = keep_chunk(r, lane, chunk, stored, err);
    }
    if (status == PQE_OK)
        memcpy(out, lane->plain + skip, len);
    return status;
}

/* How many of `len` wanted bytes chunk `chunk` gives from its byte `skip` on. */
static size_t
part_of_chunk(const pqe__body_reader *r, uint64_t chunk, size_t skip, size_t len)
{
    size_t there = chunk_size(r, chunk) - skip;

    return there < len ? there : len;
}

/* Delivers the beginning of the `len` bytes at `offset`: what one batch of chunks gives; *done says how much. */
static pqe_status
read_batch(const pqe__body_reader *r, pqe__body_lane *lane, uint64_t offset, uint8_t *out, size_t len, size_t *done,
           pqe_error *err)
{
    uint64_t first = offset / PQE__BODY_CHUNK;
    uint64_t span = (offset + len - 1) / PQE__BODY_CHUNK - first + 1;
    size_t count = span < PQE__BODY_BATCH ? (size_t)span : PQE__BODY_BATCH;
    size_t skip = (size_t)(offset % PQE__BODY_CHUNK);
    const uint8_t *stored;
    pqe_status status;

    *done = 0;
    if (lane->plain_chunk == first) {
        *done = part_of_chunk(r, first, skip, len);
        memcpy(out, lane->plain + skip, *done);
        return PQE_OK;
    }
    status = load_batch(r, lane, first, count, &stored, err);
    for (size_t i = 0; i < count && status == PQE_OK; i++) {
        size_t part = part_of_chunk(r, first + i, skip, len - *done);
        status = read_chunk(r, lane, first + i, stored + i * PQE__BODY_CHUNK_STORED, skip, out + *done, part, err);
        *done += part;
        skip = 0;
    }
    return status;
}

/* c2sp.org/chunked-encryption, "Key derivation": the commitment is checked before any chunk is decrypted. */
static pqe_status
check_commitment(pqe__body_reader *r, pqe__body_lane *lane, const uint8_t dek[32], const uint8_t *context,
                 size_t context_len, pqe_error *err)
{
    size_t len = r->stored <= SMALL_BODY ? (size_t)r->stored : PQE__BODY_HEADER;
    const uint8_t *header;
    pqe_status status = lane_load(r, lane, 0, len, &header, err);

    if (status == PQE_OK)
        status = pqe__body_derive(dek, header, context, context_len, r->keys, err);
    if (status != PQE_OK)
        return status;
    if (!pqe__equal(r->keys->commitment, header + PQE__BODY_SALT_SIZE, PQE__BODY_COMMITMENT_SIZE))
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_CRYPTO, 0,
                         "the body's key commitment does not match: wrong key, another artifact's body, or altered");
    return PQE_OK;
}

/* c2sp.org/chunked-encryption, "Implementation notes": the final chunk authenticates the length. */
static pqe_status
check_final_chunk(const pqe__body_reader *r, pqe__body_lane *lane, pqe_error *err)
{
    uint64_t final = r->plain / PQE__BODY_CHUNK;
    const uint8_t *stored;
    pqe_status status = load_batch(r, lane, final, 1, &stored, err);

    if (status == PQE_OK)
        status = keep_chunk(r, lane, final, stored, err);
    /* A small body is likely read whole right away; a large one need not hold plaintext until somebody asks. */
    if (r->stored > SMALL_BODY)
        lane_forget_plain(lane);
    return status;
}

pqe_status
pqe__body_reader_open(const uint8_t dek[32], const uint8_t *context, size_t context_len, uint64_t stored,
                      uint64_t plain, pqe__body_source source, void *user, pqe__body_reader **out, pqe_error *err)
{
    uint64_t fitting;
    pqe__body_reader *r;
    pqe__body_lane *lane = NULL;
    pqe_status status;

    *out = NULL;
    if (!pqe__body_stored_size(plain, &fitting) || fitting != stored)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_FORMAT, 0,
                         "the body's size does not match its record: truncated or extended");
    r = calloc(1, sizeof *r);
    if (r == NULL)
        return pqe__fail_nomem(err);
    r->source = source;
    r->user = user;
    r->owner = pqe__owner();
    r->stored = stored;
    r->plain = plain;
    if (pthread_mutex_init(&r->lock, NULL) != 0) {
        free(r);
        return pqe__fail_nomem(err);
    }
    r->keys = pqe__secmem_alloc(sizeof *r->keys);
    lane = lane_new();
    if (r->keys == NULL || lane == NULL) {
        status = pqe__fail_nomem(err);
        goto cleanup;
    }
    status = check_commitment(r, lane, dek, context, context_len, err);
    if (status == PQE_OK)
        status = pqe__aead_new(r->keys->key, PQE__KEY_SIZE, &lane->aead, err);
    if (status == PQE_OK)
        status = check_final_chunk(r, lane, err);
    if (status != PQE_OK)
        goto cleanup;
    lane_return(r, lane);
    lane = NULL;
    *out = r;
    r = NULL;

cleanup:
    lane_free(lane);
    pqe__body_reader_free(&r);
    return status;
}

pqe_status
pqe__body_reader_new(const uint8_t dek[32], const uint8_t body_id[PQE__BODY_ID_SIZE], uint64_t stored, uint64_t plain,
                     pqe__body_source source, void *user, pqe__body_reader **out, pqe_error *err)
{
    uint8_t context[PQE__BODY_CONTEXT_MAX];
    size_t len = pqe__body_context(body_id, context);

    return pqe__body_reader_open(dek, context, len, stored, plain, source, user, out, err);
}

/* Delivers exactly `len` bytes, all within the body. */
static pqe_status
read_exactly(pqe__body_reader *r, uint64_t offset, uint8_t *out, size_t len, pqe_error *err)
{
    pqe__body_lane *lane;
    size_t done = 0, part;
    pqe_status status;

    if (!pqe__owner_is_here(r->owner))
        return pqe__fail(err, PQE_E_LOCKED, PQE_ORIGIN_API, 0, "a body is read by the process that opened it");
    status = lane_take(r, offset / PQE__BODY_CHUNK, &lane, err);
    if (status != PQE_OK)
        return status;
    for (; done < len && status == PQE_OK; done += part)
        status = read_batch(r, lane, offset + done, out + done, len - done, &part, err);
    /* What a failed lane has loaded may be bad; the next attempt reads afresh. */
    if (status == PQE_OK)
        lane_return(r, lane);
    else
        lane_free(lane);
    return status;
}

pqe_status
pqe__body_reader_read_at(pqe__body_reader *r, uint64_t offset, void *buf, size_t len, size_t *got, pqe_error *err)
{
    uint64_t left = offset < r->plain ? r->plain - offset : 0;
    size_t want = len < left ? len : (size_t)left;
    pqe_status status = PQE_OK;

    *got = 0;
    if (want > 0)
        status = read_exactly(r, offset, buf, want, err);
    if (status == PQE_OK)
        *got = want;
    else
        pqe__wipe(buf, len);
    return status;
}

void
pqe__body_reader_free(pqe__body_reader **r)
{
    pqe__body_lane *lane, *next;
    bool here;

    if (*r == NULL)
        return;
    here = pqe__owner_is_here((*r)->owner);
    for (lane = (*r)->idle; lane != NULL; lane = next) {
        next = lane->next;
        if (!here)
            lane->plain = NULL; /* the parent's locked memory is not mapped in a forked child */
        lane_free(lane);
    }
    if (here)
        pqe__secmem_free((*r)->keys);
    pthread_mutex_destroy(&(*r)->lock);
    free(*r);
    *r = NULL;
}
