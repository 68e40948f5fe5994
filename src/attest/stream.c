/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifying a stream on several threads. The calling thread reads ahead into a ring, reports results in order, and
 * verifies too while it has nothing else to do; the others only verify.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "attest/attest.h"

#define THREADS_MAX 256u
#define RING_PER_THREAD 32u

typedef struct slot {
    uint8_t *data;
    size_t len, capacity;
    bool done;
    pqe_attestation *attestation;
    pqe_status status;
    pqe_verdict verdict;
    pqe_error error;
} slot;

/* Items are counted: read >= taken >= emitted, read - emitted <= count. */
typedef struct stream {
    pqe_attest_verifier *verifier;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    slot *slots;
    size_t count;
    uint64_t read, taken, emitted;
    bool stop;
} stream;

static void
verify_slot(stream *s, slot *x)
{
    x->attestation = NULL;
    x->verdict = PQE_VERDICT_MALFORMED;
    if (x->len > PQE_ATTEST_MAX)
        x->status = pqe__fail(&x->error, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "longer than any attestation");
    else
        x->status = pqe_attestation_decode(x->data, x->len, &x->attestation, &x->error);
    if (x->status == PQE_OK)
        x->status = pqe_attest_verifier_check(s->verifier, x->attestation, &x->verdict, &x->error);
}

/* Verifies the next item that nobody has taken; false if there is none. The lock is held on entry and exit. */
static bool
work_once(stream *s)
{
    slot *x;

    if (s->taken == s->read)
        return false;
    x = &s->slots[s->taken++ % s->count];
    pthread_mutex_unlock(&s->lock);
    verify_slot(s, x);
    pthread_mutex_lock(&s->lock);
    x->done = true;
    pthread_cond_signal(&s->done);
    return true;
}

static void *
worker(void *argument)
{
    stream *s = argument;

    pthread_mutex_lock(&s->lock);
    while (!s->stop)
        if (!work_once(s))
            pthread_cond_wait(&s->work, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- the calling thread ---- */

typedef struct consumer {
    pqe_attest_next_fn next;
    pqe_attest_result_fn result;
    void *user;
    pqe_attest_summary summary;
    bool at_end;
    pqe_status status; /* of the stream itself */
} consumer;

static pqe_status
keep(slot *x, const void *data, size_t len, pqe_error *err)
{
    size_t kept = len <= PQE_ATTEST_MAX ? len : 0; /* one that is too long is judged by its length alone */

    if (kept > x->capacity) {
        uint8_t *grown = realloc(x->data, kept);
        if (grown == NULL)
            return pqe__fail_nomem(err);
        x->data = grown;
        x->capacity = kept;
    }
    if (kept != 0)
        memcpy(x->data, data, kept);
    x->len = len;
    x->done = false;
    x->error = (pqe_error){0};
    return PQE_OK;
}

/* Reads one item into the ring. Without the lock. */
static void
read_one(stream *s, consumer *k, pqe_error *err)
{
    const void *data = NULL;
    size_t len = 0;

    k->status = k->next(k->user, &data, &len, err);
    if (k->status == PQE_OK && data != NULL)
        k->status = keep(&s->slots[s->read % s->count], data, len, err);
    k->at_end = k->status != PQE_OK || data == NULL;
    if (k->at_end)
        return;
    pthread_mutex_lock(&s->lock);
    s->read++;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

/* Reports the oldest item, which is done. Without the lock. */
static void
emit_one(stream *s, consumer *k, pqe_error *err)
{
    slot *x = &s->slots[s->emitted % s->count];
    pqe_attest_result r = {.index = s->emitted, .verdict = x->verdict, .attestation = x->attestation};
    bool go_on = true;

    r.status = x->status == PQE_E_MALFORMED ? PQE_OK : x->status; /* that is a verdict */
    r.reason = x->status != PQE_OK ? x->error.message : pqe_verdict_text(x->verdict);
    k->summary.total++;
    k->summary.passed += r.status == PQE_OK && r.verdict == PQE_VERDICT_PASS;
    k->summary.verdicts[r.verdict]++;
    if (k->result != NULL)
        go_on = k->result(k->user, &r);
    pqe_attestation_free(&x->attestation);
    pthread_mutex_lock(&s->lock);
    s->emitted++;
    pthread_mutex_unlock(&s->lock);
    if (!go_on) {
        k->at_end = true;
        k->status = pqe__fail(err, PQE_E_CANCELLED, PQE_ORIGIN_API, 0, "the verification was stopped");
    }
}

static void
run(stream *s, consumer *k, pqe_error *err)
{
    while (k->status != PQE_E_CANCELLED && !(k->at_end && s->emitted == s->read)) {
        bool ready;
        pthread_mutex_lock(&s->lock);
        ready = s->emitted != s->read && s->slots[s->emitted % s->count].done;
        if (!ready && (k->at_end || s->read - s->emitted == s->count) && !work_once(s))
            pthread_cond_wait(&s->done, &s->lock);
        pthread_mutex_unlock(&s->lock);
        if (ready)
            emit_one(s, k, err);
        else if (!k->at_end && s->read - s->emitted < s->count)
            read_one(s, k, err);
    }
}

static unsigned
usable_processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    return n > 0 ? (unsigned)n : 1;
}

/* Starts up to `wanted` threads, with all signals blocked; fewer do the work as well. */
static unsigned
start_workers(stream *s, pthread_t *threads, unsigned wanted)
{
    sigset_t all, old;
    unsigned n = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (n < wanted && pthread_create(&threads[n], NULL, worker, s) == 0)
        n++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return n;
}

pqe_status
pqe_attest_verifier_stream(pqe_attest_verifier *verifier, unsigned threads, pqe_attest_next_fn next,
                           pqe_attest_result_fn result, void *user, pqe_attest_summary *summary, pqe_error *err)
{
    stream s = {.verifier = verifier,
                .lock = PTHREAD_MUTEX_INITIALIZER,
                .work = PTHREAD_COND_INITIALIZER,
                .done = PTHREAD_COND_INITIALIZER};
    consumer k = {.next = next, .result = result, .user = user};
    pthread_t workers[THREADS_MAX];
    unsigned started;

    if (summary != NULL)
        memset(summary, 0, sizeof *summary);
    if (verifier == NULL || next == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "a verifier and a source are required");
    threads = threads != 0 ? threads : usable_processors();
    threads = threads < THREADS_MAX ? threads : THREADS_MAX;
    s.count = (size_t)threads * RING_PER_THREAD;
    if ((s.slots = calloc(s.count, sizeof *s.slots)) == NULL)
        return pqe__fail_nomem(err);
    started = start_workers(&s, workers, threads - 1);
    run(&s, &k, err);
    pthread_mutex_lock(&s.lock);
    s.stop = true;
    pthread_cond_broadcast(&s.work);
    pthread_mutex_unlock(&s.lock);
    for (unsigned i = 0; i < started; i++)
        pthread_join(workers[i], NULL);
    for (size_t i = 0; i < s.count; i++) {
        pqe_attestation_free(&s.slots[i].attestation);
        free(s.slots[i].data);
    }
    free(s.slots);
    if (summary != NULL)
        *summary = k.summary;
    return k.status;
}
