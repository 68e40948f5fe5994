/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealing what waits in a batch. Any thread takes the next writer and completes its body; what goes by order and needs
 * db_lock, sealing the row and keeping it, is done by the caller's thread, as soon as the next in order is complete.
 * Keys are used inside the session, entered for one writer at a time.
 */
#include "vault/waiting.h"

#include <string.h>

#include "util/pool.h"

bool
pqe__waiting_may(pqe__waiting *w, size_t len)
{
    if (len == 0 || len >= PQE__BODY_CHUNK || pqe_threads() < 2)
        return false;
    if (w->contents == NULL)
        w->contents = pqe__secmem_alloc(PQE__WAITING_BYTES);
    return w->contents != NULL;
}

bool
pqe__waiting_has_room(const pqe__waiting *w, size_t len)
{
    return w->count < PQE__WAITING_MAX && len <= PQE__WAITING_BYTES - w->used;
}

void
pqe__waiting_add(pqe__waiting *w, pqe_writer *writer, const void *content, size_t len)
{
    memcpy(w->contents + w->used, content, len);
    writer->last = w->contents + w->used;
    writer->last_len = len;
    w->used += len;
    w->writers[w->count++] = writer;
}

void
pqe__waiting_wipe(pqe__waiting *w)
{
    if (w->contents != NULL)
        pqe__wipe(w->contents, w->used);
}

static void
clear(pqe__waiting *w)
{
    for (size_t i = 0; i < w->count; i++)
        pqe_writer_abort(&w->writers[i]);
    w->count = w->used = 0;
}

void
pqe__waiting_free(pqe__waiting *w)
{
    clear(w);
    pqe__secmem_free(w->contents);
    w->contents = NULL;
}

/* ---- sealing ---- */

typedef struct sealing {
    pqe__waiting *w;
    pqe__waiting_fn fn;
    void *user;
    pthread_t caller;
    pthread_mutex_t lock; /* of the rest */
    pthread_cond_t moved;
    size_t next, taken_up; /* writers handed out; writers that had their turn */
    bool stop;
    bool complete[PQE__WAITING_MAX];
    pqe_status status[PQE__WAITING_MAX];
    pqe_error errors[PQE__WAITING_MAX];
} sealing;

static pqe_status
complete(pqe_writer *writer, pqe_error *err)
{
    pqe_status status = pqe__writer_begin(writer, err);

    return status == PQE_OK ? pqe__writer_end(writer, err) : status;
}

/* The lock is held; it is given back during the work. */
static void
do_next(sealing *j)
{
    size_t i = j->next++;

    pthread_mutex_unlock(&j->lock);
    j->status[i] = complete(j->w->writers[i], &j->errors[i]);
    pthread_mutex_lock(&j->lock);
    j->complete[i] = true;
    if (i == j->taken_up)
        pthread_cond_signal(&j->moved);
}

static void
do_turn(sealing *j)
{
    size_t i = j->taken_up;

    pthread_mutex_unlock(&j->lock);
    if (j->status[i] == PQE_OK)
        j->status[i] = j->fn(j->user, j->w->writers[i], &j->errors[i]);
    pthread_mutex_lock(&j->lock);
    if (j->status[i] == PQE_OK)
        j->taken_up++;
    else
        j->stop = true;
}

/* The one that waits is the caller's thread, for the next in order, which some helper has. */
static void
seal(void *arg)
{
    sealing *j = arg;
    bool in_order = pthread_equal(j->caller, pthread_self()) != 0;

    pthread_mutex_lock(&j->lock);
    while (!j->stop && j->taken_up < j->w->count) {
        if (in_order && j->complete[j->taken_up])
            do_turn(j);
        else if (j->next < j->w->count)
            do_next(j);
        else if (in_order)
            pthread_cond_wait(&j->moved, &j->lock);
        else
            break;
    }
    pthread_mutex_unlock(&j->lock);
}

pqe_status
pqe__waiting_seal(pqe__waiting *w, pqe__waiting_fn fn, void *user, pqe_error *err)
{
    sealing j = {.w = w, .fn = fn, .user = user, .caller = pthread_self()};
    unsigned threads = pqe_threads();
    pqe_status status = PQE_OK;

    if (w->count == 0)
        return PQE_OK;
    if (pthread_mutex_init(&j.lock, NULL) != 0)
        return pqe__fail_nomem(err);
    pthread_cond_init(&j.moved, NULL);
    pqe__pool_run(seal, &j, w->count < threads ? (unsigned)w->count : threads);
    pthread_cond_destroy(&j.moved);
    pthread_mutex_destroy(&j.lock);
    if (j.taken_up < w->count) {
        status = j.status[j.taken_up];
        pqe__writer_log_failure(w->writers[j.taken_up], status, &j.errors[j.taken_up]);
        if (err != NULL)
            *err = j.errors[j.taken_up];
    }
    pqe__waiting_wipe(w);
    clear(w);
    return status;
}
