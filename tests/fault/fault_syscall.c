/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls that fail: every call on files that an operation makes is made to fail in turn with EIO (a mapping with
 * ENOMEM), and every call that needs space with ENOSPC, once or from then on.
 *
 * Then: the operation succeeds all the same, or says so with a fitting status; the vault verifies in the same session;
 * a retry succeeds; nothing acknowledged is lost, and nothing is left over once the vault is opened anew. In a second
 * mode the process ends right after the failure, without retry or close, so that the next one finds what it left.
 *
 * With the argument "counted" a device counts the vault's changes (tests/backend/counting.h), and what it does with its own
 * files fails too: then the device has failed, also where the change is stored.
 *
 * Short form: some calls of each operation, others at each run. PQE_BEDS=1: all.
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
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault/common.h"
#include "fault/trace.h"
#include "unit/support.h"

#define SHORT_POINTS (sanitized() ? 2u : 4u) /* of each operation and way of failing */

typedef enum action { PUT, BATCH, REMOVE, ROTATE, REKEY, UNLOCK } action;

typedef struct operation {
    const char *name;
    action action;
    unsigned target;
    size_t len;
} operation;

static const operation operations[] = {
    {"put inline", PUT, 5, 500},
    {"put file", PUT, 6, 90000},
    {"replace file by file", PUT, 1, 120000},
    {"replace file by inline", PUT, 1, 300},
    {"batch", BATCH, 0, 0},
    {"rm inline", REMOVE, 0, 0},
    {"rm file", REMOVE, 1, 0},
    {"rotate", ROTATE, 0, 0},
    {"rotate --rekey", REKEY, 0, 0},
    {"open and unlock", UNLOCK, 0, 0},
};
#define OPERATIONS (sizeof operations / sizeof operations[0])

typedef enum manner { ONCE, ONCE_AND_DIE, FULL, FULL_AND_DIE, MODES } manner;
static const char *const mode_names[MODES] = {"EIO, then retry", "EIO, then death", "ENOSPC, then retry",
                                              "ENOSPC, then death"};

/* ---- which calls fail ---- */

typedef struct failing {
    manner mode;
    unsigned at, seen;
    uint64_t call;         /* the first that failed */
    bool failed, cleaning; /* cleaning: what is done after the commit had begun before the failure */
    bool device;           /* a call of the device that counts failed */
} failing;

static bool
needs_space(const trace_stop *s)
{
    switch (s->call) {
    case SYS_write:
    case SYS_pwrite64:
    case SYS_fallocate:
    case SYS_ftruncate:
    case SYS_mkdirat:
    case SYS_renameat:
#ifdef SYS_mkdir
    case SYS_mkdir:
#endif
        return true;
    case SYS_openat:
        return (s->args[2] & O_CREAT) != 0;
    case SYS_fsync:
    case SYS_fdatasync:
        return true; /* delayed allocation, quotas, NFS */
    default:
        return false;
    }
}

static bool
touches_files(const trace_stop *s)
{
    switch (s->call) {
    case SYS_openat:
    case SYS_unlinkat:
    case SYS_pread64:
    case SYS_read:
    case SYS_flock:
    case SYS_getdents64:
#ifdef SYS_open
    case SYS_open:
    case SYS_unlink:
#endif
        return true;
    case SYS_mmap:
        return (int)s->args[4] >= 0;
    default:
        return needs_space(s);
    }
}

/* On a file of the device: by its name, or by what a descriptor stands for. */
static bool
is_of_device(const trace_stop *s)
{
    char link[64], path[PATH_MAX] = "";
    struct iovec to = {path, sizeof path - 1}, from = {(void *)(uintptr_t)s->args[1], sizeof path - 1};

    if (s->call == SYS_openat) {
        /* What is mapped behind the name may be less. */
        while (from.iov_len != 0 && process_vm_readv(s->child, &to, 1, &from, 1, 0) < 0)
            from.iov_len /= 2;
    } else {
        snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)s->child, (int)s->args[0]);
        if (readlink(link, path, sizeof path - 1) < 0)
            return false;
    }
    return strstr(path, "/device-key/") != NULL;
}

static trace_verdict
make_fail(void *user, const trace_stop *stop, int *error)
{
    failing *f = user;
    bool full = f->mode == FULL || f->mode == FULL_AND_DIE;

    if (stop->entry && stop->call == SYS_unlinkat && !f->failed)
        f->cleaning = true;
    if (!stop->entry || !(full ? needs_space(stop) : touches_files(stop)))
        return TRACE_GO;
    if (f->seen++ != f->at && !(full && f->failed)) /* a full disk stays full */
        return TRACE_GO;
    if (!f->failed)
        f->call = stop->call;
    f->failed = true;
    f->device = f->device || is_of_device(stop);
    *error = full ? ENOSPC : stop->call == SYS_mmap ? ENOMEM : EIO;
    return TRACE_FAIL;
}

/* ---- the child ---- */

typedef struct outcome {
    volatile bool done, retried;
    volatile pqe_status status;
    pqe_error error;
} outcome;

typedef struct job {
    const operation *op;
    manner mode;
    const char *base;
    outcome *out;
} job;

static pqe_status
open_again(const char *base, vault_pair *p, pqe_error *err)
{
    pqe_vault_opts o = {.size = sizeof o, .dir = path_in(base, "vault")};
    pqe_status status;

    *p = (vault_pair){NULL, NULL};
    status = base_backend(base, "key", &p->backend, err);
    o.backend = p->backend;
    if (status == PQE_OK)
        status = pqe_vault_open(&o, &p->vault, err);
    if (status == PQE_OK)
        status = pqe_vault_unlock(p->vault, 0, err);
    if (status != PQE_OK)
        base_close(p);
    return status;
}

static pqe_status
perform(const job *j, vault_pair *p, pqe_error *err)
{
    pqe_rotate_opts o = {.size = sizeof o, .rekey = j->op->action == REKEY};
    char name[32];

    model_name(0, j->op->target, name);
    switch (j->op->action) {
    case PUT:
        return put_seeded(p->vault, name, j->op->len, 77, err);
    case BATCH:
        return put_batch(p->vault, err);
    case REMOVE:
        return pqe_delete(p->vault, name, err);
    case ROTATE:
    case REKEY:
        return pqe_rotate(p->vault, &o, err);
    case UNLOCK:
        return open_again(j->base, p, err);
    }
    return PQE_E_ARGUMENT;
}

static void
child_body(void *arg)
{
    const job *j = arg;
    vault_pair p = {NULL, NULL};
    pqe_status status;

    if (j->op->action != UNLOCK)
        base_open(j->base, &p);
    trace_begin();
    j->out->status = perform(j, &p, &j->out->error);
    trace_end();
    j->out->done = true;
    if (j->mode == ONCE_AND_DIE || j->mode == FULL_AND_DIE)
        _exit(0);
    if (p.vault != NULL)
        check_verified(p.vault, -1, false, "same session");
    if (j->out->status != PQE_OK) {
        pqe_error err = {0};
        status = perform(j, &p, &err);
        /* A removal whose commit was reported as failed may have happened. */
        if (status != PQE_OK && !(j->op->action == REMOVE && status == PQE_E_NOT_FOUND))
            die("%s: the retry: %s: %s", j->op->name, pqe_status_name(status), err.message);
        j->out->retried = true;
        check_verified(p.vault, -1, false, "after the retry");
    }
    base_close(&p);
}

/* ---- one point ---- */

/* Calls whose failure must not be passed over: the library's own on the way to a commit. (SQLite's are pwrite64 and
   fdatasync; those of the checkpoint after an rm may fail without harm.) */
static bool
counts(const operation *op, uint64_t call)
{
    return op->action != UNLOCK &&
           (call == SYS_write || call == SYS_fsync || call == SYS_renameat || call == SYS_mkdirat);
}

static bool
fitting(const operation *op, const failing *f, const outcome *o)
{
    if (o->status == PQE_OK)
        return !f->failed || (!f->device && (f->cleaning || !counts(op, f->call)));
    if (o->error.message[0] == '\0' || o->error.status != o->status)
        return false;
    if (f->device && o->status == PQE_E_BACKEND)
        return true;
    if (f->mode == FULL || f->mode == FULL_AND_DIE)
        /* No space promises that nothing was changed, which a failed sync cannot. Where SQLite cannot make a file it
           tries to open it without making it, and reports that second error. */
        return o->status == PQE_E_NO_SPACE ||
               (o->status == PQE_E_IO && (f->call == SYS_fsync || f->call == SYS_fdatasync || f->call == SYS_openat));
    if (f->call == SYS_pread64) /* a disk that fails to read: SQLite calls that corrupt */
        return o->status == PQE_E_IO || o->status == PQE_E_TAMPERED;
    if (f->call == SYS_mmap)
        return o->status == PQE_E_NOMEM || o->status == PQE_E_IO;
    return o->status == PQE_E_IO;
}

typedef struct run {
    const char *template, *work;
    const model *model;
    outcome *out;
    unsigned failed, tolerated;
} run;

/* Returns false if there are not as many calls. */
static bool
try_point(run *r, const operation *op, manner mode, unsigned at, unsigned *calls)
{
    job j = {op, mode, r->work, r->out};
    failing f = {.mode = mode, .at = at};
    model after = *r->model;
    char where[200];
    int status;

    tree_remove(r->work);
    tree_copy(r->template, r->work);
    memset(r->out, 0, sizeof *r->out);
    status = trace_run(child_body, &j, make_fail, &f);
    *calls = f.seen;
    snprintf(where, sizeof where, "%s, %s, call %u (%s)", op->name, mode_names[mode], at, trace_call_name(f.call));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || !r->out->done)
        die("%s: the process ended with %x; it had %s: %s", where, (unsigned)status, pqe_status_name(r->out->status),
            r->out->error.message);
    if (!fitting(op, &f, r->out))
        die("%s: unfitting status %s: %s", where, pqe_status_name(r->out->status), r->out->error.message);
    if (op->action == PUT)
        after.names[op->target] = (content){true, op->len, 77};
    else if (op->action == BATCH)
        apply_batch(&after);
    else if (op->action == REMOVE)
        after.names[op->target] = (content){false, 0, 0};
    if (r->out->status == PQE_OK || r->out->retried)
        check_base(r->work, &after, NULL, where);
    else
        check_base(r->work, r->model, &after, where);
    r->failed += f.failed && r->out->status != PQE_OK;
    r->tolerated += f.failed && r->out->status == PQE_OK;
    return f.failed;
}

static void
try_operation(run *r, const operation *op, uint64_t *seed)
{
    double start = seconds_now();
    unsigned total = 0, ignored;

    r->failed = r->tolerated = 0;
    for (int m = 0; m < MODES; m++) {
        unsigned calls, step;
        try_point(r, op, (manner)m, UINT_MAX, &calls);
        total += calls;
        step = long_form() || calls <= SHORT_POINTS ? 1 : calls / SHORT_POINTS;
        for (unsigned at = draw(seed, step); try_point(r, op, (manner)m, at, &ignored); at += step)
            continue;
    }
    printf("%-24s %4u calls to fail, tried %4u: %4u errors, %4u without effect; %.1f s\n", op->name, total,
           r->failed + r->tolerated, r->failed, r->tolerated, seconds_now() - start);
    fflush(stdout);
}

static void
make_template(const char *base, model *m)
{
    static const size_t sizes[] = {1000, 100000, 70000};
    vault_pair p;

    memset(m, 0, sizeof *m);
    if (mkdir(base, 0700) != 0)
        die("mkdir: %s", strerror(errno));
    base_create(base, &p);
    for (unsigned i = 0; i < 3; i++) {
        char name[32];
        model_name(0, i, name);
        m->names[i] = (content){true, sizes[i], 100 + i};
        must(put_seeded(p.vault, name, sizes[i], 100 + i, err));
    }
    base_close(&p);
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
    r.template = strdup(path_in(scratch, "template"));
    r.out = mmap(NULL, sizeof *r.out, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (r.work == NULL || r.template == NULL || r.out == MAP_FAILED)
        die("out of memory");
    make_template(r.template, &m);
    for (size_t i = 0; i < OPERATIONS; i++)
        try_operation(&r, &operations[i], &seed);
    munmap(r.out, sizeof *r.out);
    free((void *)(uintptr_t)r.work);
    free((void *)(uintptr_t)r.template);
    scratch_remove(scratch);
    return 0;
}
