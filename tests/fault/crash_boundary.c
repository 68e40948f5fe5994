/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGKILL at every system call boundary of put, replace, batch, rm, rotate, close and of the recovery after a crash; of
 * a move to another key file, with the old one and without it by a recovery key; of making a recovery key. Where keys were
 * sealed anew, the recovery key that was there before opens a copy afterwards.
 *
 * Each point is tried twice. Alone: the killed process was the only one, so that the next one recovers the write-ahead
 * log. With a keeper: another process has the vault open all the while, unlocks it anew after the kill (which settles
 * what the dead process left), and is then killed too; what it decided must agree with what recovery finds.
 *
 * With the argument "native" the vault's device keeps the ML-KEM keys to itself (tests/backend/nativekem.h).
 * With the argument "counted" a device counts the vault's changes (tests/backend/counting.h); then the copy from before the
 * operation must be refused wherever the operation, or the recovery after it, changed anything.
 *
 * Short form: the commit's points and some others of each operation, other ones at each run. PQE_BEDS=1: all.
 */
#include <errno.h>
#include <dirent.h>
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

#include <pqc_enclave/identity.h>
#include <pqc_enclave/recovery.h>

#include "fault/common.h"
#include "fault/trace.h"
#include "unit/support.h"

#define SHORT_POINTS (sanitized() ? 2u : 5u) /* of each operation and mode, beside those of the commit */

typedef enum action { PUT, BATCH, REMOVE, BIND, ROTATE, REKEY, MOVE, ADD_KEY, USE_KEY, CLOSE, RECOVER } action;

/* How a vault with something to recover came about: a process was killed at this call, the first of its kind. */
typedef struct accident {
    action action;
    size_t len;
    uint64_t call;
    bool entry;
} accident;

typedef struct operation {
    const char *name;
    action action;
    unsigned target; /* name in the model */
    size_t len;
    accident accident; /* RECOVER only */
} operation;

static const operation operations[] = {
    {"put inline", PUT, 5, 500, {0}},
    {"put file", PUT, 6, 90000, {0}},
    {"replace inline by inline", PUT, 0, 2000, {0}},
    {"replace file by file", PUT, 1, 120000, {0}},
    {"replace inline by file", PUT, 0, 80000, {0}},
    {"replace file by inline", PUT, 1, 300, {0}},
    {"batch", BATCH, 0, 0, {0}},
    {"rm inline", REMOVE, 0, 0, {0}},
    {"rm file", REMOVE, 1, 0, {0}},
    {"bind a hash", BIND, 7, 0, {0}},
    {"rotate", ROTATE, 0, 0, {0}},
    {"rotate --rekey", REKEY, 0, 0, {0}},
    {"rotate --backend", MOVE, 0, 0, {0}},
    {"recovery create", ADD_KEY, 0, 0, {0}},
    {"recovery use", USE_KEY, 0, 0, {0}},
    {"close", CLOSE, 0, 0, {0}},
    /* a body half written; a body in place but no row; a mark for a removal that did not happen */
    {"recovery of a writing put", RECOVER, 1, 0, {PUT, 120000, SYS_pwrite64, false}},
    {"recovery of a committing put", RECOVER, 1, 0, {PUT, 120000, SYS_renameat, false}},
    {"recovery of a writing batch", RECOVER, 1, 0, {BATCH, 0, SYS_pwrite64, false}},
    {"recovery of a committing batch", RECOVER, 1, 0, {BATCH, 0, SYS_renameat, false}},
    {"recovery of a committing rm", RECOVER, 1, 0, {REMOVE, 0, SYS_pwrite64, true}},
};
#define OPERATIONS (sizeof operations / sizeof operations[0])

typedef struct shared {
    volatile bool acknowledged;
} shared;

typedef struct job {
    const operation *op;
    const char *base;
    shared *shared;
} job;

/* ---- the operation, in the traced child ---- */

/* One key for all: what is random in it does not matter here. */
static const char words[] =
    "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth "
    "useful legal winner thank year wave sausage worth title";

static pqe_backend *
second_backend(const char *base)
{
    pqe_backend *backend = NULL;

    must(base_backend(base, "key2", &backend, err));
    return backend;
}

static void
move(const char *base, vault_pair *p)
{
    pqe_backend *backend = second_backend(base);
    const pqe_rotate_opts opts = {.size = sizeof opts, .backend = backend};

    must(pqe_rotate(p->vault, &opts, err));
    pqe_vault_close(&p->vault);
    pqe_backend_close(&backend);
}

static void
add_key(vault_pair *p)
{
    pqe_recovery_key *key = NULL;

    must(pqe_recovery_key_generate(&key, err));
    must(pqe_recovery_create(p->vault, key, "another", err));
    pqe_recovery_key_free(&key);
}

static void
use_key(const char *base)
{
    pqe_recovery_key *key = NULL;
    pqe_backend *backend = second_backend(base);
    pqe_recovery_use_opts opts = {.size = sizeof opts, .dir = path_in(base, "vault"), .backend = backend};
    pqe_vault *vault = NULL;

    must(pqe_recovery_key_from_words(words, strlen(words), &key, err));
    opts.key = key;
    must(pqe_recovery_use(&opts, &vault, err));
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
    pqe_recovery_key_free(&key);
}

static void
perform(const operation *op, const char *base, vault_pair *p)
{
    pqe_rotate_opts rekey = {.size = sizeof rekey, .rekey = true};
    char name[32];

    model_name(0, op->target, name);
    switch (op->action) {
    case PUT:
        must(put_seeded(p->vault, name, op->len, 77, err));
        break;
    case BATCH:
        must(put_batch(p->vault, err));
        break;
    case REMOVE:
        must(pqe_delete(p->vault, name, err));
        break;
    case BIND:
        must(pqe_bind_hash(p->vault, name, NULL, NULL, err));
        break;
    case ROTATE:
        must(pqe_rotate(p->vault, NULL, err));
        break;
    case REKEY:
        must(pqe_rotate(p->vault, &rekey, err));
        break;
    case MOVE:
        move(base, p);
        break;
    case ADD_KEY:
        add_key(p);
        break;
    case USE_KEY:
        use_key(base);
        break;
    case CLOSE:
        pqe_vault_close(&p->vault);
        break;
    case RECOVER:
        break;
    }
}

static void
child_body(void *arg)
{
    const job *j = arg;
    vault_pair p;

    if (j->op->action == RECOVER)
        trace_begin();
    if (j->op->action != USE_KEY)
        base_open(j->base, &p);
    if (j->op->action == CLOSE)
        must(put_seeded(p.vault, "w0-artifact-7", 700, 70, err));
    if (j->op->action == BIND) {
        must(pqe_set_hash_default(p.vault, PQE_KIND_OTHER, "deferred", err));
        must(put_seeded(p.vault, "w0-artifact-7", 700, 70, err));
    }
    if (j->op->action != RECOVER)
        trace_begin();
    perform(j->op, j->base, &p);
    j->shared->acknowledged = true;
    trace_end();
}

static void
apply(const operation *op, model *m)
{
    if (op->action == PUT)
        m->names[op->target] = (content){true, op->len, 77};
    else if (op->action == BATCH)
        apply_batch(m);
    else if (op->action == REMOVE)
        m->names[op->target] = (content){false, 0, 0};
}

/* ---- the keeper ---- */

typedef struct keeper {
    pid_t pid;
    int to, from;
} keeper;

static void
keeper_body(const char *base, int in, int out)
{
    vault_pair p;
    char c = 'k';

    base_open(base, &p);
    while (write(out, &c, 1) == 1 && read(in, &c, 1) == 1) {
        pqe_vault_lock(p.vault);
        if (pqe_vault_unlock(p.vault, 0, NULL) != PQE_OK) { /* it has moved */
            base_close(&p);
            base_open(base, &p);
        }
        check_verified(p.vault, -1, true, "keeper");
    }
    _exit(0);
}

static void
keeper_ask(keeper *k)
{
    char c = 'k';

    if (write(k->to, &c, 1) != 1 || read(k->from, &c, 1) != 1)
        die("the keeper failed (see above)");
}

static void
keeper_start(const char *base, keeper *k)
{
    int down[2], up[2];
    char c;

    if (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0)
        die("pipe: %s", strerror(errno));
    k->pid = fork();
    if (k->pid == 0) {
        close(down[1]);
        close(up[0]);
        keeper_body(base, down[0], up[1]);
    }
    close(down[0]);
    close(up[1]);
    k->to = down[1];
    k->from = up[0];
    if (k->pid < 0 || read(k->from, &c, 1) != 1)
        die("the keeper did not start");
}

static void
keeper_kill(keeper *k)
{
    kill(k->pid, SIGKILL);
    wait_for(k->pid);
    close(k->to);
    close(k->from);
}

/* ---- recovery afterwards ---- */

/* Whatever was sealed anew, for the recovery key that was there before too. On a copy, with nothing beside it. */
static void
check_recoverable(const char *work, const char *copy, const model *m, const char *where)
{
    tree_remove(copy);
    if (mkdir(copy, 0700) != 0)
        die("mkdir: %s", strerror(errno));
    tree_copy(path_in(work, "vault"), path_in(copy, "vault"));
    use_key(copy);
    check_base(copy, m, m, where);
}

/* ---- one point ---- */

#define STOPS_MAX 4096u

typedef struct point {
    unsigned at, last;
    uint64_t call;
    bool entry;
    bool *commits; /* STOPS_MAX flags, or NULL: where the log is being made durable */
} point;

static trace_verdict
kill_at(void *user, const trace_stop *stop, int *error)
{
    point *p = user;

    (void)error;
    p->last = stop->index;
    p->call = stop->call;
    p->entry = stop->entry;
    if (p->commits != NULL && stop->index < STOPS_MAX)
        p->commits[stop->index] =
            stop->call == SYS_fdatasync || stop->call == SYS_ftruncate; /* or the device is told */
    return stop->index == p->at ? TRACE_KILL : TRACE_GO;
}

typedef struct run {
    const char *template, *work, *copy;
    const model *model;
    shared *shared;
    unsigned there, absent;
    bool commits[STOPS_MAX];
} run;

/* Returns false once the operation ends before stop `at`. */
static bool
try_point(run *r, const operation *op, unsigned at, bool with_keeper, point *p)
{
    job j = {op, r->work, r->shared};
    model before = *r->model, after;
    keeper k = {0};
    char where[160];
    bool applied, killed;
    int status;

    p->at = at;
    tree_remove(r->work);
    tree_copy(r->template, r->work);
    r->shared->acknowledged = false;
    if (with_keeper)
        keeper_start(r->work, &k);
    status = trace_run(child_body, &j, kill_at, p);
    killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!killed && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        die("%s: the traced process failed (status %x)", op->name, (unsigned)status);
    snprintf(where, sizeof where, "%s, killed %s %s (stop %u%s)", op->name, p->entry ? "before" : "after",
             trace_call_name(p->call), p->last, with_keeper ? ", keeper" : "");
    if (with_keeper) {
        keeper_ask(&k);
        keeper_kill(&k);
    }
    if (op->action == CLOSE || op->action == BIND) /* bound or not, it is there and sound */
        before.names[7] = (content){true, 700, 70};
    after = before;
    apply(op, &after);
    /* Acknowledged: it must be there. Not acknowledged: wholly there or wholly absent. */
    applied = check_base(r->work, r->shared->acknowledged ? &after : &before, &after, where) || r->shared->acknowledged;
    if (op->action != MOVE && op->action != USE_KEY) /* where it was, its key is still good for the copy from before */
        check_older_refused(r->work, r->template, where);
    if (op->action == ROTATE || op->action == REKEY || op->action == MOVE || op->action == ADD_KEY)
        check_recoverable(r->work, r->copy, &after, where);
    r->there += killed && applied;
    r->absent += killed && !applied;
    return killed;
}

static void
try_operation(run *r, const operation *op, uint64_t *seed)
{
    point p = {.commits = r->commits};
    unsigned stops, step, offset, tried = 0;
    double start = seconds_now();

    r->there = r->absent = 0;
    memset(r->commits, 0, sizeof r->commits);
    try_point(r, op, UINT_MAX, false, &p); /* counts, and checks that it succeeds unharmed */
    stops = p.last + 1;
    p.commits = NULL;
    step = long_form() || stops < SHORT_POINTS ? 1 : stops / SHORT_POINTS;
    for (int mode = 0; mode < 2; mode++) {
        bool killed = true;
        offset = draw(seed, step);
        for (unsigned at = 0; killed; at++) {
            if (at % step != offset && (at >= STOPS_MAX || !r->commits[at]))
                continue;
            killed = try_point(r, op, at, mode == 1, &p);
            tried += killed;
        }
    }
    printf("%-30s %4u boundaries, %4u kills: %4u with the change, %4u without; %.1f s\n", op->name, stops, tried,
           r->there, r->absent, seconds_now() - start);
    fflush(stdout);
}

/* ---- the vault they start from ---- */

static void
make_template(const char *base, model *m)
{
    static const size_t sizes[] = {1000, 100000, 70000};
    pqe_recovery_key *key = NULL;
    vault_pair p;

    memset(m, 0, sizeof *m);
    if (mkdir(base, 0700) != 0)
        die("mkdir: %s", strerror(errno));
    base_create(base, &p);
    must(pqe_recovery_key_from_words(words, strlen(words), &key, err));
    must(pqe_recovery_create(p.vault, key, NULL, err));
    must(pqe_identity_create(p.vault, NULL, NULL, err));
    pqe_recovery_key_free(&key);
    for (unsigned i = 0; i < 3; i++) {
        char name[32];
        model_name(0, i, name);
        m->names[i] = (content){true, sizes[i], 100 + i};
        must(put_seeded(p.vault, name, sizes[i], 100 + i, err));
    }
    base_close(&p);
}

static trace_verdict
kill_at_call(void *user, const trace_stop *stop, int *error)
{
    const accident *a = user;

    (void)error;
    return stop->call == a->call && stop->entry == a->entry ? TRACE_KILL : TRACE_GO;
}

/* The template itself, or what the accident makes of it. */
static void
make_start(const char *template, const operation *op, const char *start, shared *told)
{
    const operation cause = {"accident", op->accident.action, op->target, op->accident.len, {0}};
    accident a = op->accident;
    job j = {&cause, start, told};
    DIR *d;
    unsigned left = 0;

    tree_remove(start);
    tree_copy(template, start);
    if (op->action != RECOVER)
        return;
    if (!WIFSIGNALED(trace_run(child_body, &j, kill_at_call, &a)))
        die("%s: no such call to be killed at", op->name);
    d = opendir(path_in(start, "vault/pending"));
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        left += e->d_name[0] != '.';
    closedir(d);
    if (left == 0)
        die("%s: the accident left nothing to recover", op->name);
}

int
main(int argc, char **argv)
{
    const char *why;
    char *scratch;
    model m;
    run r = {.model = &m};
    uint64_t seed;

    if (!trace_available(&why)) {
        printf("skipped: %s\n", why);
        return SKIP;
    }
    base_choose_device(argc, argv);
    seed = seed_from_environment();
    scratch = scratch_make();
    r.work = strdup(path_in(scratch, "work"));
    r.template = strdup(path_in(scratch, "start"));
    r.copy = strdup(path_in(scratch, "copy"));
    r.shared = mmap(NULL, sizeof *r.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (r.work == NULL || r.template == NULL || r.copy == NULL || r.shared == MAP_FAILED)
        die("out of memory");
    make_template(path_in(scratch, "template"), &m);
    for (size_t i = 0; i < OPERATIONS; i++) {
        make_start(path_in(scratch, "template"), &operations[i], r.template, r.shared);
        try_operation(&r, &operations[i], &seed);
    }
    free((void *)(uintptr_t)r.template);
    munmap(r.shared, sizeof *r.shared);
    free((void *)(uintptr_t)r.work);
    free((void *)(uintptr_t)r.copy);
    scratch_remove(scratch);
    return 0;
}
