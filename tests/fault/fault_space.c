/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No space, for real: a small tmpfs filled to the brim (where mounting is allowed), and a limit on file sizes, which
 * needs no rights. A put that does not fit says PQE_E_NO_SPACE; what was there before stays, the space that the attempt
 * took is given back at once, and what fits still succeeds.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault/common.h"
#include "unit/support.h"

#define DISK ((size_t)8 << 20)

typedef struct tally {
    unsigned fitted, refused;
} tally;

static void
check_all(pqe_vault *v, const model *m, const char *where)
{
    char name[32];

    for (unsigned i = 0; i < MODEL_NAMES; i++) {
        model_name(0, i, name);
        model_match(v, name, &m->names[i], &m->names[i], where);
    }
}

/* Puts (or with `remove`, removes) and keeps the model; anything but success and no space fails the test. */
static bool
change(const char *base, pqe_vault *v, model *m, unsigned i, const content *fresh, tally *t, const char *where)
{
    pqe_error err = {0};
    pqe_status status;
    char name[32];

    model_name(0, i, name);
    if (fresh->present)
        status = put_seeded(v, name, fresh->len, fresh->seed, &err);
    else
        status = pqe_delete(v, name, &err);
    if (status == PQE_OK) {
        m->names[i] = *fresh;
        t->fitted++;
        return true;
    }
    t->refused++;
    if (status != PQE_E_NO_SPACE || err.message[0] == '\0')
        die("%s: \"%s\": %s: %s", where, name, pqe_status_name(status), err.message);
    check_all(v, m, where);
    check_nothing_pending(base, where);
    check_verified(v, -1, true, where);
    return false;
}

static void
start(const char *base, vault_pair *p, model *m)
{
    memset(m, 0, sizeof *m);
    base_create(base, p);
    for (unsigned i = 0; i < 4; i++) {
        char name[32];
        m->names[i] = (content){true, i < 2 ? 500 : 150000, 10 + i};
        model_name(0, i, name);
        must(put_seeded(p->vault, name, m->names[i].len, m->names[i].seed, err));
    }
}

/* Four kinds of change at one degree of fullness. */
static void
press(const char *base, pqe_vault *v, model *m, uint32_t seed, tally *t, const char *where)
{
    change(base, v, m, 5, &(content){true, 90000, seed}, t, where);
    change(base, v, m, 6, &(content){true, 3000, seed}, t, where);
    change(base, v, m, 2, &(content){true, 150000, seed}, t, where);
    if (m->names[5].present)
        change(base, v, m, 5, &(content){false, 0, 0}, t, where);
}

static void
finish(const char *base, vault_pair *p, model *m, const char *where)
{
    tally t = {0};

    if (!change(base, p->vault, m, 7, &(content){true, 100000, 99}, &t, where))
        die("%s: a put that fits again is refused", where);
    check_all(p->vault, m, where);
    base_close(p);
    check_base(base, m, NULL, where);
}

/* ---- a small disk ---- */

static uint64_t
free_bytes(const char *dir)
{
    struct statvfs s;

    if (statvfs(dir, &s) != 0)
        die("statvfs: %s", strerror(errno));
    return (uint64_t)s.f_bavail * s.f_frsize;
}

/* Takes all space but `leave` bytes. */
static void
fill(const char *path, const char *dir, uint64_t leave)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    uint64_t space = free_bytes(dir);

    if (fd < 0 || (space > leave && posix_fallocate(fd, 0, (off_t)(space - leave)) != 0))
        die("cannot fill the disk");
    close(fd);
}

static void
too_large(const char *base)
{
    vault_pair p;
    model m;
    tally t = {0};
    uint64_t before, after;

    start(base, &p, &m);
    before = free_bytes(base);
    if (change(base, p.vault, &m, 2, &(content){true, 2 * DISK, 5}, &t, "too large"))
        die("a put of twice the disk's size succeeded");
    after = free_bytes(base);
    if (after + 65536 < before)
        die("a refused put keeps %llu bytes", (unsigned long long)(before - after));
    finish(base, &p, &m, "too large");
    tree_remove(path_in(base, "vault"));
    if (unlink(path_in(base, "key")) != 0)
        die("unlink: %s", strerror(errno));
}

static void
to_the_brim(const char *base)
{
    char filler[PATH_MAX];
    unsigned step = long_form() ? 4096 : 24576;
    char where[64];
    vault_pair p;
    model m;
    tally t = {0};

    snprintf(filler, sizeof filler, "%s/filler", base);
    start(base, &p, &m);
    for (unsigned leave = 0; leave < 500000; leave += step) {
        snprintf(where, sizeof where, "tmpfs with %u bytes left", leave);
        fill(filler, base, leave);
        press(base, p.vault, &m, leave + 1, &t, where);
        unlink(filler);
    }
    printf("tmpfs: %u changes fitted, %u were refused\n", t.fitted, t.refused);
    if (t.fitted == 0 || t.refused == 0)
        die("nothing was tested");
    finish(base, &p, &m, "after the tmpfs was full");
}

/* On a full disk a vault that has been used opens, reads, and can be made smaller. */
static void
use_when_full(const char *base)
{
    char filler[PATH_MAX];
    unsigned rounds = 0;

    snprintf(filler, sizeof filler, "%s/filler", base);
    for (unsigned leave = 0; leave < 200000; leave += 8192) {
        vault_pair p;
        base_open(base, &p);
        must(put_seeded(p.vault, "room", 1000, leave, err));
        base_close(&p);
        fill(filler, base, leave);
        base_open(base, &p);
        check_verified(p.vault, -1, true, "open when full");
        must(pqe_delete(p.vault, "room", err));
        base_close(&p);
        unlink(filler);
        rounds++;
    }
    printf("tmpfs: opened, read and made smaller %u times when full\n", rounds);
}

/* A mount namespace of our own, so that nothing has to be taken back; without root a user namespace of our own too. */
static bool
mount_disk(const char *dir)
{
    char options[64];
    int flags = CLONE_NEWNS | (geteuid() != 0 ? CLONE_NEWUSER : 0);

    snprintf(options, sizeof options, "size=%zu,mode=0700", DISK);
    return unshare(flags) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", dir, "tmpfs", 0, options) == 0;
}

static void
run_disk(const char *base)
{
    if (!mount_disk(base))
        _exit(SKIP);
    too_large(base);
    to_the_brim(base);
    use_when_full(base);
    fflush(stdout);
    _exit(0);
}

/* ---- a limit on file sizes ---- */

static void
limit_files(rlim_t limit)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_FSIZE, &r) != 0)
        die("getrlimit: %s", strerror(errno));
    r.rlim_cur = limit < r.rlim_max ? limit : r.rlim_max;
    if (setrlimit(RLIMIT_FSIZE, &r) != 0)
        die("setrlimit: %s", strerror(errno));
}

static void
run_limit(const char *base)
{
    unsigned step = long_form() ? 4096 : 24576;
    char where[64];
    vault_pair p;
    model m;
    tally t = {0};

    signal(SIGXFSZ, SIG_IGN);
    start(base, &p, &m);
    /* On until something fits: what was refused is in the log, and the index has grown by it. */
    for (unsigned limit = 0; limit < 500000 || (t.fitted == 0 && limit < 16000000);
         limit += limit < 500000 ? step : 100000) {
        snprintf(where, sizeof where, "files limited to %u bytes", limit);
        limit_files(limit);
        press(base, p.vault, &m, limit + 1, &t, where);
        limit_files(RLIM_INFINITY);
    }
    printf("limit on file sizes: %u changes fitted, %u were refused\n", t.fitted, t.refused);
    if (t.fitted == 0 || t.refused == 0)
        die("nothing was tested");
    finish(base, &p, &m, "after the limit");
    fflush(stdout);
    _exit(0);
}

/* ---- main ---- */

static int
in_child(const char *scratch, const char *name, void (*fn)(const char *base))
{
    char base[PATH_MAX];
    pid_t child;
    int status;

    snprintf(base, sizeof base, "%s/%s", scratch, name);
    if (mkdir(base, 0700) != 0)
        die("mkdir: %s", strerror(errno));
    fflush(stdout);
    if ((child = fork()) == 0)
        fn(base);
    status = wait_for(child);
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != SKIP))
        die("%s failed (see above)", name);
    return WEXITSTATUS(status);
}

int
main(void)
{
    char *scratch = scratch_make();

    in_child(scratch, "limit", run_limit);
    if (in_child(scratch, "disk", run_disk) == SKIP)
        printf("tmpfs: left out, mounting is not allowed here\n");
    scratch_remove(scratch);
    return 0;
}
