/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill -9 at random moments of processes that put, replace, remove, rotate and rekey without pause. A worker
 * acknowledges each operation through a pipe once the call has returned; after the kill every acknowledged change must
 * be there with its exact content, and the one after them wholly there or wholly absent.
 *
 * First one worker alone, so that each opening recovers; then several on one vault, of which one at a time is killed
 * while the others go on, each with names of its own so that what it acknowledged can be told.
 *
 * Short form: 45 + 20 kills. PQE_BEDS=1: 520 + 200.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fault/common.h"
#include "unit/support.h"

#define CROWD 4
#define OPENED UINT32_MAX /* what a worker says before its first operation */

/* ---- what a worker does: both sides draw the same steps ---- */

typedef enum kind { PUT, REMOVE, ROTATE, REKEY } kind;

typedef struct step {
    kind kind;
    unsigned name;
    size_t len;
    uint32_t seed;
} step;

static step
next_step(uint64_t *random, unsigned round)
{
    uint32_t dice = draw(random, 100);
    step s = {.kind = dice < 72 ? PUT : dice < 94 ? REMOVE : dice < 98 ? ROTATE : REKEY};

    s.name = draw(random, MODEL_NAMES);
    s.len = draw(random, 2) == 0 ? draw(random, 30000) : 65000 + draw(random, 30000 + 200 * (round % 600));
    s.seed = draw(random, UINT32_MAX);
    return s;
}

static void
apply(const step *s, model *m)
{
    if (s->kind == PUT)
        m->names[s->name] = (content){true, s->len, s->seed};
    else if (s->kind == REMOVE)
        m->names[s->name] = (content){false, 0, 0};
}

static pqe_status
perform(const step *s, pqe_vault *v, unsigned owner, pqe_error *err)
{
    pqe_rotate_opts o = {.size = sizeof o, .rekey = s->kind == REKEY};
    pqe_status status;
    char name[32];

    model_name(owner, s->name, name);
    if (s->kind == PUT)
        return put_seeded(v, name, s->len, s->seed, err);
    if (s->kind != REMOVE)
        return pqe_rotate(v, &o, err);
    status = pqe_delete(v, name, err);
    return status == PQE_E_NOT_FOUND ? PQE_OK : status;
}

/* ---- workers ---- */

typedef struct worker {
    unsigned owner, round;
    uint64_t seed, random; /* start of the round's steps, and where the parent's count of them is */
    pid_t pid;
    int from;
    model model;
    uint32_t acknowledged; /* in this round */
    bool opened;
} worker;

_Noreturn static void
work(const char *base, const worker *w, int out)
{
    uint64_t random = w->seed;
    uint32_t message = OPENED;
    vault_pair p;

    base_open(base, &p);
    for (uint32_t i = 0;; i++) {
        step s;
        if (write(out, &message, sizeof message) != (ssize_t)sizeof message)
            _exit(1); /* the parent is gone */
        s = next_step(&random, w->round);
        must(perform(&s, p.vault, w->owner, err));
        message = i;
    }
}

static void
worker_start(const char *base, worker *w, uint64_t *random)
{
    int ends[2];

    w->round++;
    w->seed = w->random = ((uint64_t)draw(random, UINT32_MAX) << 32) | draw(random, UINT32_MAX);
    w->acknowledged = 0;
    w->opened = false;
    fflush(stdout);
    if (pipe2(ends, O_CLOEXEC) != 0 || (w->pid = fork()) < 0)
        die("cannot start a worker: %s", strerror(errno));
    if (w->pid == 0) {
        close(ends[0]);
        work(base, w, ends[1]);
    }
    close(ends[1]);
    w->from = ends[0];
}

/* Reads one acknowledgement and brings the model up to it; false at the end of the pipe. */
static bool
worker_hear(worker *w)
{
    uint32_t message;
    ssize_t n;
    step s;

    while ((n = read(w->from, &message, sizeof message)) < 0 && errno == EINTR)
        continue;
    if (n == 0)
        return false;
    if (n != (ssize_t)sizeof message)
        die("cannot read from a worker");
    if (message == OPENED) {
        w->opened = true;
        return true;
    }
    if (message != w->acknowledged)
        die("worker %u acknowledged step %u after %u", w->owner, message, w->acknowledged);
    s = next_step(&w->random, w->round);
    apply(&s, &w->model);
    w->acknowledged++;
    return true;
}

static void
worker_kill(worker *w)
{
    int status;

    kill(w->pid, SIGKILL);
    status = wait_for(w->pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        die("worker %u failed by itself (see above)", w->owner);
    while (worker_hear(w))
        continue;
    close(w->from);
}

static void
sleep_us(uint32_t us)
{
    struct timespec t = {us / 1000000, (long)(us % 1000000) * 1000};

    nanosleep(&t, NULL);
}

/* ---- checks ---- */

typedef struct tally {
    unsigned kills, opening, there, absent;
    uint64_t acknowledged;
} tally;

/* Compares a killed worker's names, and takes over into its model what became of the step it was at. */
static void
check_worker(pqe_vault *v, worker *w, tally *t, const char *where)
{
    model after = w->model;
    step s = {.kind = ROTATE};
    bool is_before = true, is_after = true;
    char name[32];

    if (w->opened) {
        s = next_step(&w->random, w->round);
        apply(&s, &after);
    }
    for (unsigned i = 0; i < MODEL_NAMES; i++) {
        const content *a = &w->model.names[i], *b = &after.names[i], *m;
        bool differs = a->present != b->present || a->len != b->len || a->seed != b->seed;
        model_name(w->owner, i, name);
        m = model_match(v, name, a, b, where);
        is_before = is_before && (!differs || m == a);
        is_after = is_after && (!differs || m == b);
    }
    if (!is_before && !is_after)
        die("%s: a mixture of the states before and after", where);
    t->kills++;
    t->opening += !w->opened;
    t->acknowledged += w->acknowledged;
    if (w->opened && (s.kind == PUT || s.kind == REMOVE)) {
        t->there += !is_before;
        t->absent += is_before;
    }
    if (!is_before)
        w->model = after;
}

static void
report(const char *what, const tally *t, double seconds)
{
    printf("%s: %u kills (%u while opening), %llu changes acknowledged and found, of the unacknowledged %u there and "
           "%u absent; %.1f s\n",
           what, t->kills, t->opening, (unsigned long long)t->acknowledged, t->there, t->absent, seconds);
    fflush(stdout);
}

/* ---- one worker alone ---- */

static void
run_alone(const char *base, unsigned kills, uint64_t *random)
{
    worker w = {.owner = 0};
    tally t = {0};
    double start = seconds_now();
    uint32_t usual = 5000; /* how long an operation takes, to kill within one */

    for (unsigned i = 0; i < kills; i++) {
        unsigned hear = draw(random, 6);
        char where[64];
        double began = seconds_now();
        vault_pair p;
        worker_start(base, &w, random);
        snprintf(where, sizeof where, "alone, kill %u", i);
        for (unsigned k = 0; k < hear && worker_hear(&w); k++)
            continue;
        if (hear > 2)
            usual = (usual * 3 + (uint32_t)((seconds_now() - began) * 1e6) / hear) / 4;
        sleep_us(draw(random, 2 * usual));
        worker_kill(&w);
        base_open(base, &p);
        check_worker(p.vault, &w, &t, where);
        check_verified(p.vault, -1, true, where);
        check_nothing_pending(base, where);
        base_close(&p);
    }
    report("one process", &t, seconds_now() - start);
}

/* ---- several ---- */

static void
run_crowd(const char *base, unsigned kills, uint64_t *random)
{
    worker w[CROWD];
    tally t = {0};
    double start = seconds_now();
    vault_pair p;

    memset(w, 0, sizeof w);
    for (unsigned i = 0; i < CROWD; i++) {
        w[i].owner = 1 + i;
        worker_start(base, &w[i], random);
    }
    for (unsigned i = 0; i < kills; i++) {
        worker *victim = &w[draw(random, CROWD)];
        char where[64];
        snprintf(where, sizeof where, "crowd, kill %u", i);
        sleep_us(draw(random, 60000));
        worker_kill(victim);
        base_open(base, &p);
        /* What it committed but could not report may not show before the log is recovered, which needs all to be gone.
           A commit decides it. */
        must(put_seeded(p.vault, "decides", 10, i, err));
        check_worker(p.vault, victim, &t, where);
        if (i % 8 == 0)
            check_verified(p.vault, -1, false, where);
        base_close(&p); /* before the fork */
        worker_start(base, victim, random);
    }
    for (unsigned i = 0; i < CROWD; i++)
        worker_kill(&w[i]);
    base_open(base, &p);
    for (unsigned i = 0; i < CROWD; i++)
        check_worker(p.vault, &w[i], &t, "crowd, end");
    check_verified(p.vault, -1, true, "crowd, end");
    check_nothing_pending(base, "crowd, end");
    base_close(&p);
    report("several processes", &t, seconds_now() - start);
}

int
main(int argc, char **argv)
{
    char *scratch = scratch_make();
    uint64_t random = seed_from_environment();
    vault_pair p;

    base_choose_device(argc, argv);
    base_create(scratch, &p);
    base_close(&p);
    run_alone(scratch, long_form() ? 520 : 45, &random);
    run_crowd(scratch, long_form() ? 200 : 20, &random);
    scratch_remove(scratch);
    return 0;
}
