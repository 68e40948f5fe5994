/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two processes, each step of one against all of the other: process A is held at a system call of its operation, B then
 * opens the vault and does its own from start to end (or is killed when it is about to clean up after its commit), and A
 * goes on. Where A holds the vault B is told so (PQE_E_BUSY) and does nothing.
 *
 * In the end the artifact is what one of the two made it, the vault verifies, and once it has been opened anew nothing is
 * left over: whoever cleans up late must not take away what tells of the other's unfinished business.
 *
 * Short form: the calls that change directories, and some others. PQE_BEDS=1: all calls.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault/common.h"
#include "fault/trace.h"
#include "unit/support.h"

#define SHORT_POINTS (sanitized() ? 1u : 3u) /* of each pair, beside those that change directories */

typedef enum action { PUT_FILE, PUT_INLINE, REMOVE, ROTATE, REKEY, VERIFY } action;

typedef struct pair {
    const char *name;
    action a, b;
} pair;

/* Both work on one artifact, which is there before. */
static const pair pairs[] = {
    {"put, put", PUT_FILE, PUT_FILE},  {"put, put inline", PUT_FILE, PUT_INLINE},
    {"put, rm", PUT_FILE, REMOVE},     {"rm, put", REMOVE, PUT_FILE},
    {"rm, rm", REMOVE, REMOVE},        {"put, rekey", PUT_FILE, REKEY},
    {"rotate, put", ROTATE, PUT_FILE}, {"rekey, put", REKEY, PUT_FILE},
    {"verify, put", VERIFY, PUT_FILE}, {"verify, rekey", VERIFY, REKEY},
};
#define PAIRS (sizeof pairs / sizeof pairs[0])

#define LEN_BEFORE 90000
#define SEED_BEFORE 1
#define SEED_A 2
#define SEED_B 3

typedef struct messages {
    volatile bool a_done, b_done, b_busy;
} messages;

typedef struct job {
    const pair *pair;
    const char *base;
    messages *told;
} job;

/* ---- the two processes ---- */

static pqe_status
perform(action what, pqe_vault *v, uint32_t seed, pqe_error *err)
{
    pqe_rotate_opts o = {.size = sizeof o, .rekey = what == REKEY};
    pqe_status status;

    switch (what) {
    case PUT_FILE:
        return put_seeded(v, "x", LEN_BEFORE + seed, seed, err);
    case PUT_INLINE:
        return put_seeded(v, "x", 1000, seed, err);
    case REMOVE:
        status = pqe_delete(v, "x", err);
        return status == PQE_E_NOT_FOUND ? PQE_OK : status;
    case ROTATE:
    case REKEY:
        return pqe_rotate(v, &o, err);
    case VERIFY:
        return pqe_verify(v, NULL, NULL, NULL, NULL, err);
    }
    return PQE_E_ARGUMENT;
}

static void
body_a(void *arg)
{
    const job *j = arg;
    vault_pair p;

    base_open(j->base, &p);
    trace_begin();
    must(perform(j->pair->a, p.vault, SEED_A, err));
    j->told->a_done = true;
    trace_end();
    base_close(&p);
}

static void
body_b(void *arg)
{
    const job *j = arg;
    pqe_vault_opts o = {.size = sizeof o, .dir = path_in(j->base, "vault"), .busy_timeout_ms = 1};
    pqe_error error = {0};
    vault_pair p;
    pqe_status status;

    must(base_backend(j->base, "key", &p.backend, err));
    o.backend = p.backend;
    status = pqe_vault_open(&o, &p.vault, &error);
    if (status == PQE_OK)
        status = pqe_vault_unlock(p.vault, 0, &error);
    trace_begin();
    if (status == PQE_OK)
        status = perform(j->pair->b, p.vault, SEED_B, &error);
    if (status != PQE_OK && status != PQE_E_BUSY)
        die("%s: B: %s: %s", j->pair->name, pqe_status_name(status), error.message);
    j->told->b_done = status == PQE_OK;
    j->told->b_busy = status == PQE_E_BUSY;
    trace_end();
    base_close(&p);
}

/* ---- the tracer ---- */

typedef struct point {
    const job *job;
    unsigned at, last;
    uint64_t call;
    bool entry, kill_b, reached;
    bool *changes; /* STOPS_MAX flags, or NULL */
} point;

#define STOPS_MAX 4096u

static bool
changes_directory(const trace_stop *s)
{
    switch (s->call) {
    case SYS_unlinkat:
    case SYS_renameat:
    case SYS_mkdirat:
        return true;
    case SYS_openat:
        return (s->args[2] & O_CREAT) != 0;
    default:
        return false;
    }
}

/* After its commit B first of all removes something: there it dies, if it is to die. */
static trace_verdict
kill_at_cleaning(void *user, const trace_stop *stop, int *error)
{
    const point *p = user;

    (void)error;
    return p->kill_b && stop->entry && stop->call == SYS_unlinkat ? TRACE_KILL : TRACE_GO;
}

static trace_verdict
run_b(void *user, const trace_stop *stop, int *error)
{
    point *p = user;
    int status;

    (void)error;
    p->last = stop->index;
    if (p->changes != NULL && stop->index < STOPS_MAX)
        p->changes[stop->index] = changes_directory(stop);
    if (stop->index != p->at)
        return TRACE_GO;
    p->reached = true;
    p->call = stop->call;
    p->entry = stop->entry;
    status = trace_run(body_b, (void *)(uintptr_t)p->job, kill_at_cleaning, p);
    if (!(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && p->kill_b) &&
        (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        die("%s: B failed (%x, see above) while A was held at %s", p->job->pair->name, (unsigned)status,
            trace_call_name(stop->call));
    return TRACE_GO;
}

/* ---- one point ---- */

static content
result_of(action what, uint32_t seed)
{
    if (what == PUT_FILE)
        return (content){true, LEN_BEFORE + seed, seed};
    if (what == PUT_INLINE)
        return (content){true, 1000, seed};
    if (what == REMOVE)
        return (content){false, 0, 0};
    return (content){true, LEN_BEFORE, SEED_BEFORE};
}

static bool
changes_x(action what)
{
    return what == PUT_FILE || what == PUT_INLINE || what == REMOVE;
}

static void
check_result(const job *j, const char *where)
{
    content a = result_of(j->pair->a, SEED_A), b = result_of(j->pair->b, SEED_B);
    vault_pair p;

    if (!j->told->a_done)
        die("%s: A did not finish", where);
    if (!changes_x(j->pair->a)) /* B's, unless it was killed before it, or refused */
        a = (content){true, LEN_BEFORE, SEED_BEFORE};
    if (!changes_x(j->pair->b) || j->told->b_busy)
        b = a;
    else if (!changes_x(j->pair->a) && j->told->b_done)
        a = b;
    base_open(j->base, &p);
    model_match(p.vault, "x", &a, &b, where);
    check_verified(p.vault, -1, true, where);
    check_nothing_pending(j->base, where);
    base_close(&p);
}

/* Returns false where A has fewer stops. */
static bool
try_point(const char *template, const job *j, unsigned at, bool kill_b, point *p)
{
    char where[160];
    int status;

    tree_remove(j->base);
    tree_copy(template, j->base);
    memset(j->told, 0, sizeof *j->told);
    p->job = j;
    p->at = at;
    p->kill_b = kill_b;
    p->reached = false;
    status = trace_run(body_a, (void *)(uintptr_t)j, run_b, p);
    snprintf(where, sizeof where, "%s: A held %s %s (stop %u), B %s", j->pair->name, p->entry ? "before" : "after",
             trace_call_name(p->call), at, !kill_b ? "whole" : "killed when cleaning up");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        die("%s: A failed (%x, see above)", where, (unsigned)status);
    check_result(j, where);
    return p->reached;
}

static void
try_pair(const char *template, const job *j, uint64_t *seed)
{
    static bool changes[STOPS_MAX];
    point p = {.changes = changes};
    unsigned stops, step, offset, tried = 0, busy = 0;
    double start = seconds_now();

    memset(changes, 0, sizeof changes);
    try_point(template, j, UINT_MAX, false, &p);
    p.changes = NULL;
    stops = p.last + 1;
    step = long_form() || stops < SHORT_POINTS ? 1 : stops / SHORT_POINTS;
    for (int kill_b = 0; kill_b < 2; kill_b++) {
        bool reached = true;
        offset = draw(seed, step);
        for (unsigned at = 0; reached; at++) {
            if (at % step != offset && (at >= STOPS_MAX || !changes[at]))
                continue;
            reached = try_point(template, j, at, kill_b == 1, &p);
            tried += reached;
            busy += j->told->b_busy;
        }
    }
    printf("%-16s A held at %4u of 2 * %u stops, B refused at %u; %.1f s\n", j->pair->name, tried, stops, busy,
           seconds_now() - start);
    fflush(stdout);
}

static void
make_template(const char *base)
{
    vault_pair p;

    if (mkdir(base, 0700) != 0)
        die("mkdir: %s", strerror(errno));
    base_create(base, &p);
    must(put_seeded(p.vault, "x", LEN_BEFORE, SEED_BEFORE, err));
    must(put_seeded(p.vault, "y", 500, SEED_BEFORE, err));
    base_close(&p);
}

int
main(int argc, char **argv)
{
    const char *why;
    char *scratch, template[PATH_MAX], work[PATH_MAX];
    uint64_t seed;
    messages *told;

    if (!trace_available(&why)) {
        printf("skipped: %s\n", why);
        return SKIP;
    }
    base_choose_device(argc, argv);
    seed = seed_from_environment();
    scratch = scratch_make();
    snprintf(template, sizeof template, "%s/template", scratch);
    snprintf(work, sizeof work, "%s/work", scratch);
    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (told == MAP_FAILED)
        die("out of memory");
    make_template(template);
    for (size_t i = 0; i < PAIRS; i++) {
        job j = {&pairs[i], work, told};
        try_pair(template, &j, &seed);
    }
    munmap(told, sizeof *told);
    scratch_remove(scratch);
    return 0;
}
