/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGKILL at every system call boundary of the making of a vault, and of making one where an earlier attempt died: the
 * place then holds a whole vault that opens with its key file, or no vault, and one can be made there with the same key
 * file's name. Nothing is left over in either case.
 */
#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault/common.h"
#include "fault/trace.h"
#include "unit/support.h"

typedef struct point {
    unsigned at, last;
    uint64_t call;
    bool entry;
} point;

static trace_verdict
kill_at(void *user, const trace_stop *stop, int *error)
{
    point *p = user;

    (void)error;
    p->last = stop->index;
    p->call = stop->call;
    p->entry = stop->entry;
    return stop->index == p->at ? TRACE_KILL : TRACE_GO;
}

static void
make_vault(void *base)
{
    vault_pair p;

    trace_begin();
    base_create(base, &p);
    trace_end();
    base_close(&p);
}

/* Returns false if it ended before the point. */
static bool
die_making(const char *base, unsigned at, point *p)
{
    int status;

    *p = (point){.at = at};
    status = trace_run(make_vault, (void *)(uintptr_t)base, kill_at, p);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return true;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        die("the traced process failed (status %x)", (unsigned)status);
    return false;
}

static void
check_names(const char *dir, const char *const *names, const char *where)
{
    DIR *d = opendir(dir);

    if (d == NULL)
        die("%s: %s is not there", where, dir);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t i = 0;
        if (e->d_name[0] == '.' && (e->d_name[1] == '\0' || e->d_name[1] == '.'))
            continue;
        if (strncmp(e->d_name, "spool-", 6) == 0) /* audit entries of a vault that is there */
            continue;
        while (names[i] != NULL && strcmp(names[i], e->d_name) != 0)
            i++;
        if (names[i] == NULL)
            die("%s: %s/%s is left over", where, dir, e->d_name);
    }
    closedir(d);
}

/* True if it is a whole vault; false if one had to be made. */
static bool
check_place(const char *base, const char *where)
{
    static const char *const of_base[] = {"vault", "key", NULL};
    static const char *const of_vault[] = {"index.db", "index.db-wal", "index.db-shm", "bodies", "pending", "reserve",
                                           NULL};
    bool whole = access(path_in(base, "vault/index.db"), F_OK) == 0;
    pqe_vault_info info;
    pqe_status status;
    vault_pair p;

    if (!whole) {
        status = pqe_vault_peek(path_in(base, "vault"), &info, NULL);
        if (status != PQE_E_NOT_A_VAULT)
            die("%s: half a vault gives %s", where, pqe_status_name(status));
        base_create(base, &p);
        base_close(&p);
    }
    base_open(base, &p);
    check_verified(p.vault, 0, true, where);
    must(put_seeded(p.vault, "first", 100000, 1, err));
    check_nothing_pending(base, where);
    must(pqe_delete(p.vault, "first", err));
    base_close(&p);
    check_names(base, of_base, where);
    check_names(path_in(base, "vault"), of_vault, where);
    return whole;
}

static void
empty_base(const char *base)
{
    tree_remove(base);
    if (mkdir(base, 0700) != 0)
        die("cannot make %s", base);
}

static unsigned
count_stops(const char *base)
{
    point p;

    empty_base(base);
    if (die_making(base, UINT_MAX, &p))
        die("killed without being asked to");
    return p.last + 1;
}

int
main(void)
{
    char *scratch, where[160];
    const char *why, *base;
    unsigned stops, step, second, whole = 0, tried = 0, again = 0;
    uint64_t seed;
    point p, q;

    if (!trace_available(&why)) {
        printf("skipped: %s\n", why);
        return SKIP;
    }
    seed = seed_from_environment();
    scratch = scratch_make();
    base = strdup(path_in(scratch, "base"));
    stops = count_stops(base);
    step = long_form() ? 1 : sanitized() ? 31 : 17;
    for (unsigned at = draw(&seed, step); at < stops; at += step) {
        empty_base(base);
        if (!die_making(base, at, &p))
            break;
        snprintf(where, sizeof where, "killed %s %s (stop %u)", p.entry ? "before" : "after", trace_call_name(p.call),
                 at);
        /* Every other time the next attempt dies too. */
        second = draw(&seed, stops + stops / 2);
        if (tried % 2 == 1 && access(path_in(base, "vault/index.db"), F_OK) != 0 && die_making(base, second, &q)) {
            size_t len = strlen(where);
            snprintf(where + len, sizeof where - len, ", then %s %s (stop %u)", q.entry ? "before" : "after",
                     trace_call_name(q.call), second);
            again++;
        }
        tried++;
        whole += check_place(base, where);
    }
    printf("%u boundaries, %u kills (%u twice): %u whole vaults, %u made anew\n", stops, tried, again, whole,
           tried - whole);
    if (whole == 0 || whole == tried || again == 0)
        die("the kills did not reach both outcomes");
    free((void *)(uintptr_t)base);
    scratch_remove(scratch);
    return 0;
}
