/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power cuts, simulated: while a traced process makes a vault and then puts, replaces, removes, rotates and rekeys, the
 * test keeps account of what has been synced. After every system call that changes files it makes the tree that a power
 * cut could leave there and opens it: what was acknowledged must be there, what was not, wholly there or wholly absent.
 * A missing fsync of a file, of the log or of a directory shows here and in no test that only kills.
 *
 * No body may stay that belongs to no artifact.
 *
 * With the argument "counted" a device counts the vault's changes (tests/backend/counting.h). It is no file system: it is
 * after the cut as it was at the moment of it, so that a count that is ahead of what is durable shows as a vault refused.
 *
 * Short form: after some calls. PQE_BEDS=1: after each.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault/common.h"
#include "fault/disk.h"
#include "unit/support.h"

typedef enum action { CREATE, PUT, BATCH, REMOVE, ROTATE, REKEY, REOPEN } action;

typedef struct step {
    action action;
    unsigned name;
    size_t len;
} step;

/* One history; in its course every kind of change follows others in the same session and in a new one. */
static const step steps[] = {
    {CREATE, 0, 0},  {PUT, 0, 1000}, {PUT, 1, 90000}, {PUT, 2, 80000}, {PUT, 1, 100000}, {PUT, 2, 500},
    {PUT, 0, 70000}, {REMOVE, 1, 0}, {PUT, 3, 66000}, {ROTATE, 0, 0},  {PUT, 1, 90001},  {REOPEN, 0, 0},
    {PUT, 4, 2000},  {REKEY, 0, 0},  {REMOVE, 4, 0},  {PUT, 0, 80001}, {REMOVE, 0, 0},   {REMOVE, 3, 0},
    {REOPEN, 0, 0},  {PUT, 5, 100},  {BATCH, 0, 0},   {PUT, 9, 70001}, {REOPEN, 0, 0},
};
#define STEPS (sizeof steps / sizeof steps[0])

typedef struct power {
    char base[PATH_MAX], image[PATH_MAX];
    model states[STEPS + 1]; /* states[n]: after n steps */
    volatile unsigned *acknowledged;
    disk *disk;
    unsigned checked, skipped, every;
} power;

/* ---- the traced child ---- */

static void
perform(const char *base, const step *s, size_t number, vault_pair *p)
{
    pqe_rotate_opts o = {.size = sizeof o, .rekey = s->action == REKEY};
    char name[32];

    model_name(0, s->name, name);
    switch (s->action) {
    case CREATE:
        base_create(base, p);
        break;
    case PUT:
        must(put_seeded(p->vault, name, s->len, (uint32_t)number, err));
        break;
    case BATCH:
        must(put_batch(p->vault, err));
        break;
    case REMOVE:
        must(pqe_delete(p->vault, name, err));
        break;
    case ROTATE:
    case REKEY:
        must(pqe_rotate(p->vault, &o, err));
        break;
    case REOPEN:
        base_close(p);
        base_open(base, p);
        break;
    }
}

static void
child_body(void *arg)
{
    power *w = arg;
    vault_pair p = {NULL, NULL};

    trace_begin();
    for (size_t i = 0; i < STEPS; i++) {
        perform(w->base, &steps[i], i, &p);
        *w->acknowledged = (unsigned)i + 1;
    }
    base_close(&p);
    trace_end();
}

/* ---- the tracer ---- */

static void
copy_device(const power *w)
{
    char image[PATH_MAX];

    snprintf(image, sizeof image, "%s", path_in(w->image, "device-key"));
    tree_remove(image);
    tree_copy(path_in(w->base, "device-key"), image);
}

static void
check_images(power *w, const trace_stop *stop)
{
    static const char *const names[DISK_IMAGES] = {"all unsynced lost", "unsynced bytes lost", "unsynced names lost"};
    unsigned n = *w->acknowledged;
    char where[160];

    for (int i = 0; i < DISK_IMAGES; i++) {
        snprintf(where, sizeof where, "power cut after %u of %zu steps, after %s (stop %u), %s", n, STEPS,
                 trace_call_name(stop->call), stop->index, names[i]);
        tree_remove(w->image);
        disk_make(w->disk, (disk_image)i, w->image);
        if (base_counts())
            copy_device(w);
        check_base(w->image, &w->states[n], n < STEPS ? &w->states[n + 1] : NULL, where);
        w->checked++;
    }
}

static trace_verdict
at_stop(void *user, const trace_stop *stop, int *error)
{
    power *w = user;

    (void)error;
    /* Before the vault has been acknowledged there need not be one. */
    if (!disk_follow(w->disk, stop) || *w->acknowledged == 0)
        return TRACE_GO;
    if (w->skipped++ % w->every == 0)
        check_images(w, stop);
    return TRACE_GO;
}

/* ---- making a vault ---- */

/* Vault and key file in directories of their own, as they usually are: syncing one does not help the other. */
static void
open_apart(const char *root, bool create)
{
    char config[PATH_MAX + 32];
    pqe_vault_opts o = {.size = sizeof o, .dir = path_in(root, "data/vault"), .create = create};
    vault_pair p = {NULL, NULL};

    snprintf(config, sizeof config, "file:key-file=%s/config/key", root);
    must(pqe_backend_open(config, NULL, &p.backend, err));
    o.backend = p.backend;
    must(pqe_vault_open(&o, &p.vault, err));
    if (!create)
        must(pqe_vault_unlock(p.vault, 0, err));
    base_close(&p);
}

static void
create_body(void *arg)
{
    const power *w = arg;

    trace_begin();
    open_apart(w->base, true);
    trace_end();
}

static trace_verdict
only_follow(void *user, const trace_stop *stop, int *error)
{
    const power *w = user;

    (void)error;
    disk_follow(w->disk, stop);
    return TRACE_GO;
}

static void
check_creation(power *w)
{
    int status;

    if (mkdir(w->base, 0700) != 0 || mkdir(path_in(w->base, "data"), 0700) != 0 ||
        mkdir(path_in(w->base, "config"), 0700) != 0)
        die("mkdir: %s", strerror(errno));
    w->disk = disk_new(w->base);
    status = trace_run(create_body, w, only_follow, w);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        die("the traced creation failed (%x, see above)", (unsigned)status);
    for (int i = 0; i < DISK_IMAGES; i++) {
        struct stat st;
        tree_remove(w->image);
        disk_make(w->disk, (disk_image)i, w->image);
        if (lstat(path_in(w->image, "data/vault/index.db"), &st) != 0 ||
            lstat(path_in(w->image, "config/key"), &st) != 0)
            die("power cut after a vault was made: %s is not there",
                lstat(path_in(w->image, "config/key"), &st) != 0 ? "its key file" : "the vault");
        open_apart(w->image, false);
    }
    disk_free(w->disk);
    tree_remove(w->base);
}

/* ---- main ---- */

static void
plan(power *w)
{
    memset(w->states, 0, sizeof w->states);
    for (size_t i = 0; i < STEPS; i++) {
        const step *s = &steps[i];
        w->states[i + 1] = w->states[i];
        if (s->action == PUT)
            w->states[i + 1].names[s->name] = (content){true, s->len, (uint32_t)i};
        else if (s->action == BATCH)
            apply_batch(&w->states[i + 1]);
        else if (s->action == REMOVE)
            w->states[i + 1].names[s->name] = (content){false, 0, 0};
    }
}

int
main(int argc, char **argv)
{
    const char *why;
    char *scratch;
    double start = seconds_now();
    power w = {.every = long_form() ? 1 : sanitized() ? 17 : 5};
    uint64_t seed;
    int status;

    if (!trace_available(&why)) {
        printf("skipped: %s\n", why);
        return SKIP;
    }
    base_choose_device(argc, argv);
    seed = seed_from_environment();
    scratch = scratch_make();
    snprintf(w.base, sizeof w.base, "%s/base", scratch);
    snprintf(w.image, sizeof w.image, "%s/image", scratch);
    w.skipped = draw(&seed, w.every);
    w.acknowledged = mmap(NULL, sizeof *w.acknowledged, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (w.acknowledged == MAP_FAILED)
        die("out of memory");
    if (!base_counts())
        check_creation(&w);
    if (mkdir(w.base, 0700) != 0)
        die("mkdir: %s", strerror(errno));
    plan(&w);
    w.disk = disk_new(w.base);
    status = trace_run(child_body, &w, at_stop, &w);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || *w.acknowledged != STEPS)
        die("the traced process failed (%x, see above)", (unsigned)status);
    check_base(w.base, &w.states[STEPS], NULL, "at the end");
    printf("%zu steps, %u changes to the file system, %u images opened; %.1f s\n", STEPS, w.skipped, w.checked,
           seconds_now() - start);
    disk_free(w.disk);
    munmap((void *)(uintptr_t)w.acknowledged, sizeof *w.acknowledged);
    scratch_remove(scratch);
    return 0;
}
