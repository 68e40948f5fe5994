/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits that hold: a hundred processes share fifty uses, and a process killed at any system call has not used what it
 * was not charged for. The audit log is whole after every kill, also of reads that only reach its spool.
 *
 * Short form: some of the boundaries, other ones at each run, and all that write or sync. PQE_BEDS=1: all.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pqc_enclave/audit.h>
#include <pqc_enclave/policy.h>

#include "fault/common.h"
#include "fault/trace.h"
#include "unit/support.h"

#define PROCESSES 100u
#define LIMIT 50u
#define SHORT_POINTS (sanitized() ? 4u : 25u)

/* ---- a hundred processes ---- */

static int
get_once(const char *base)
{
    vault_pair p;
    void *got = NULL;
    size_t len = 0;
    pqe_error error = {0};
    pqe_status status;

    base_open(base, &p);
    status = pqe_get(p.vault, "limited", &got, &len, NULL, &error);
    if (status == PQE_OK && len != 1000)
        die("the content is wrong");
    if (status != PQE_OK && status != PQE_E_POLICY)
        die("get: %s: %s", pqe_status_name(status), error.message);
    pqe_content_free(&got, len);
    base_close(&p);
    return status == PQE_OK ? 0 : 3;
}

static void
set_limit(const char *base, uint32_t limit)
{
    pqe_policy_rule rule = {.size = sizeof rule, .kind = PQE_KIND_OTHER, .max_uses_per_hour = limit};
    vault_pair p;

    base_create(base, &p);
    must(put_seeded(p.vault, "limited", 1000, 1, err));
    must(pqe_policy_set(p.vault, &rule, err));
    base_close(&p);
}

static bool
count_ops(void *user, const pqe_audit_entry *e)
{
    unsigned *n = user;

    n[0] += e->op == PQE_AUDIT_GET && e->success;
    n[1] += e->op == PQE_AUDIT_POLICY_VIOLATION;
    return true;
}

static void
test_processes(const char *base)
{
    pid_t children[PROCESSES];
    unsigned released = 0, denied = 0, logged[2] = {0};
    int gate[2];
    vault_pair p;
    double start = seconds_now();

    if (mkdir(base, 0700) != 0 || pipe2(gate, O_CLOEXEC) != 0)
        die("mkdir, pipe: %s", strerror(errno));
    set_limit(base, LIMIT);
    for (unsigned i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] < 0)
            die("fork: %s", strerror(errno));
        if (children[i] == 0) {
            char c;
            close(gate[1]);
            if (read(gate[0], &c, 1) != 0) /* all start when the gate is closed */
                _exit(9);
            _exit(get_once(base));
        }
    }
    close(gate[0]);
    close(gate[1]);
    for (unsigned i = 0; i < PROCESSES; i++) {
        int status = wait_for(children[i]);
        if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 3))
            die("a process failed (status %x)", (unsigned)status);
        released += WEXITSTATUS(status) == 0;
        denied += WEXITSTATUS(status) == 3;
    }
    if (released != LIMIT || denied != PROCESSES - LIMIT)
        die("%u of %u processes had the content, the limit is %u", released, PROCESSES, LIMIT);
    base_open(base, &p);
    must(pqe_audit_list(p.vault, NULL, count_ops, logged, err));
    must(pqe_verify(p.vault, NULL, NULL, NULL, NULL, err));
    base_close(&p);
    if (logged[0] != LIMIT || logged[1] != PROCESSES - LIMIT)
        die("the log has %u reads and %u violations", logged[0], logged[1]);
    printf("%u processes, limit %u: %u succeeded, all on record; %.1f s\n", PROCESSES, LIMIT, released,
           seconds_now() - start);
}

/* ---- kills ---- */

typedef struct job {
    const char *base;
    bool reads_free; /* reads of an unlimited artifact instead, and closing */
    volatile bool *released;
} job;

static void
traced(void *arg)
{
    const job *j = arg;
    vault_pair p;
    void *got = NULL;
    size_t len = 0;

    base_open(j->base, &p);
    trace_begin();
    if (j->reads_free) {
        must(pqe_get(p.vault, "free", &got, &len, NULL, err));
        pqe_vault_close(&p.vault);
    } else {
        must(pqe_get(p.vault, "limited", &got, &len, NULL, err));
        *j->released = true;
    }
    trace_end();
}

#define STOPS_MAX 4096u

typedef struct point {
    unsigned at, last;
    uint64_t call;
    bool entry;
    bool *writes;
} point;

static trace_verdict
kill_at(void *user, const trace_stop *stop, int *error)
{
    point *p = user;

    (void)error;
    p->last = stop->index;
    p->call = stop->call;
    p->entry = stop->entry;
    if (p->writes != NULL && stop->index < STOPS_MAX)
        p->writes[stop->index] = stop->call == SYS_fdatasync || stop->call == SYS_pwrite64 || stop->call == SYS_write;
    return stop->index == p->at ? TRACE_KILL : TRACE_GO;
}

/* Returns false where the work ends before stop `at`. *charged: the use counted. */
static bool
try_point(const char *template, const job *j, unsigned at, point *p, bool *charged)
{
    char where[128];
    vault_pair pair;
    void *got = NULL;
    size_t len = 0;
    pqe_status status;
    int ended;
    bool killed;

    tree_remove(j->base);
    tree_copy(template, j->base);
    *j->released = false;
    p->at = at;
    ended = trace_run(traced, (void *)(uintptr_t)j, kill_at, p);
    killed = WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL;
    if (!killed && (!WIFEXITED(ended) || WEXITSTATUS(ended) != 0))
        die("the traced process failed (status %x)", (unsigned)ended);
    snprintf(where, sizeof where, "killed %s %s (stop %u)", p->entry ? "before" : "after", trace_call_name(p->call),
             p->last);
    base_open(j->base, &pair);
    if (pqe_audit_verify(pair.vault, NULL, 0, NULL, NULL) != PQE_OK)
        die("%s: the audit log is not whole", where);
    status = pqe_get(pair.vault, "limited", &got, &len, NULL, NULL);
    pqe_content_free(&got, len);
    *charged = status == PQE_E_POLICY;
    if (status != PQE_OK && status != PQE_E_POLICY)
        die("%s: get says %s", where, pqe_status_name(status));
    if (*j->released && status == PQE_OK)
        die("%s: the content was released and the use did not count", where);
    if (j->reads_free && status != PQE_OK)
        die("%s: a use was charged for nothing", where);
    must(pqe_verify(pair.vault, NULL, NULL, NULL, NULL, err));
    base_close(&pair);
    return killed;
}

static void
test_kills(const char *template, const char *work, bool reads_free, uint64_t *seed, volatile bool *released)
{
    static bool writes[STOPS_MAX];
    job j = {work, reads_free, released};
    point p = {.writes = writes};
    unsigned stops, step, offset, tried = 0, charges = 0;
    bool killed = true, charged;
    double start = seconds_now();

    memset(writes, 0, sizeof writes);
    try_point(template, &j, UINT_MAX, &p, &charged);
    if (!reads_free && !charged)
        die("a use did not count");
    stops = p.last + 1;
    p.writes = NULL;
    step = long_form() || stops < SHORT_POINTS ? 1 : stops / SHORT_POINTS;
    offset = draw(seed, step);
    for (unsigned at = 0; killed; at++) {
        if (at % step != offset && (at >= STOPS_MAX || !writes[at]))
            continue;
        killed = try_point(template, &j, at, &p, &charged);
        tried += killed;
        charges += killed && charged;
    }
    if (!reads_free && (charges == 0 || charges == tried))
        die("the kills did not fall on both sides of the commit: %u of %u", charges, tried);
    printf("%-16s %4u boundaries, %4u kills, %4u of them after the count; %.1f s\n",
           reads_free ? "unlimited read" : "limited read", stops, tried, charges, seconds_now() - start);
}

int
main(void)
{
    const char *why;
    char *scratch = scratch_make(), template[PATH_MAX], work[PATH_MAX];
    uint64_t seed = seed_from_environment();
    volatile bool *released;
    vault_pair p;

    snprintf(work, sizeof work, "%s/many", scratch);
    test_processes(work);
    if (!trace_available(&why)) {
        printf("skipped: %s\n", why);
        scratch_remove(scratch);
        return SKIP;
    }
    released = mmap(NULL, sizeof *released, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (released == MAP_FAILED)
        die("out of memory");
    snprintf(template, sizeof template, "%s/template", scratch);
    snprintf(work, sizeof work, "%s/work", scratch);
    if (mkdir(template, 0700) != 0)
        die("mkdir: %s", strerror(errno));
    set_limit(template, 1);
    base_open(template, &p);
    must(pqe_put(p.vault, &(pqe_put_opts){.size = sizeof(pqe_put_opts), .name = "free", .kind = PQE_KIND_CREDENTIAL},
                 "x", 1, NULL, err));
    base_close(&p);
    test_kills(template, work, false, &seed, released);
    test_kills(template, work, true, &seed, released);
    munmap((void *)(uintptr_t)released, sizeof *released);
    scratch_remove(scratch);
    return 0;
}
