/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Twenty processes that put, replace, get and remove over a few names at once, one that rotates and rekeys now and
 * then, one that verifies without pause. Success and "not found" are the only results there may be. Content names its
 * artifact, writer and sequence and carries a checksum, so that a mixture of two writers' content would be seen.
 *
 * Short form: 4 s with 8 processes. PQE_BEDS=1: 60 s with 20.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault/common.h"
#include "unit/support.h"

#define NAMES 10
#define CONTENT_MAX 160000u
#define REOPEN_EVERY 60 /* operations; opening and closing race with the others too */

typedef struct counters {
    volatile uint64_t puts, gets, removals, absent, opens, rotations, verifications;
} counters;

typedef struct arena {
    const char *base;
    double end;
    counters *counters; /* one a process */
} arena;

/* ---- content ---- */

typedef struct header {
    char magic[8];
    uint32_t name, writer, sequence, checksum;
    uint64_t len;
} header;

static uint32_t
checksum(const uint8_t *data, size_t len)
{
    uint32_t h = 2166136261u; /* FNV-1a */

    for (size_t i = 0; i < len; i++)
        h = (h ^ data[i]) * 16777619u;
    return h;
}

static size_t
make(uint8_t *buf, uint32_t name, uint32_t writer, uint32_t sequence, uint64_t *random)
{
    size_t len = sizeof(header) + (draw(random, 3) != 0 ? draw(random, 3000) : 66000 + draw(random, 90000));
    header h = {.name = name, .writer = writer, .sequence = sequence, .len = len};
    uint32_t x = draw(random, UINT32_MAX);

    memcpy(h.magic, "stress1", 8);
    for (size_t i = sizeof h; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        buf[i] = (uint8_t)(x >> 24);
    }
    h.checksum = checksum(buf + sizeof h, len - sizeof h);
    memcpy(buf, &h, sizeof h);
    return len;
}

static void
check(const uint8_t *buf, size_t len, uint32_t name, const char *who)
{
    header h;

    if (len < sizeof h)
        die("%s: content of %zu bytes", who, len);
    memcpy(&h, buf, sizeof h);
    if (memcmp(h.magic, "stress1", 8) != 0 || h.name != name || h.len != len ||
        h.checksum != checksum(buf + sizeof h, len - sizeof h))
        die("%s: content of artifact %u is not of one piece: name %u, writer %u, sequence %u, %llu of %zu bytes", who,
            name, h.name, h.writer, h.sequence, (unsigned long long)h.len, len);
}

/* ---- the processes ---- */

static void
put_one(pqe_vault *v, const char *name, uint32_t id, uint32_t me, uint32_t sequence, uint64_t *random, uint8_t *buf)
{
    pqe_put_opts o = {.size = sizeof o, .name = name, .kind = PQE_KIND_OTHER};

    must(pqe_put(v, &o, buf, make(buf, id, me, sequence, random), NULL, err));
}

/* Returns false if it was not found. */
static bool
get_one(pqe_vault *v, const char *name, uint32_t id, const char *who)
{
    pqe_error error = {0};
    void *data = NULL;
    size_t len = 0;
    pqe_status status = pqe_get(v, name, &data, &len, NULL, &error);

    if (status == PQE_E_NOT_FOUND)
        return false;
    if (status != PQE_OK)
        die("%s: get: %s: %s", who, pqe_status_name(status), error.message);
    check(data, len, id, who);
    pqe_content_free(&data, len);
    return true;
}

static bool
remove_one(pqe_vault *v, const char *name, const char *who)
{
    pqe_error error = {0};
    pqe_status status = pqe_delete(v, name, &error);

    if (status != PQE_OK && status != PQE_E_NOT_FOUND)
        die("%s: rm: %s: %s", who, pqe_status_name(status), error.message);
    return status == PQE_OK;
}

static void
worker(const arena *a, uint32_t me, counters *c, uint64_t random)
{
    uint8_t *buf = malloc(CONTENT_MAX);
    char name[32], who[32];
    vault_pair p = {NULL, NULL};

    if (buf == NULL)
        die("out of memory");
    snprintf(who, sizeof who, "process %u", me);
    for (uint32_t i = 0; seconds_now() < a->end; i++) {
        uint32_t id = draw(&random, NAMES), dice = draw(&random, 100);
        if (p.vault == NULL) {
            base_open(a->base, &p);
            c->opens++;
        }
        snprintf(name, sizeof name, "artifact-%u", id);
        if (dice < 40) {
            put_one(p.vault, name, id, me, i, &random, buf);
            c->puts++;
        } else if (dice < 80) {
            *(get_one(p.vault, name, id, who) ? &c->gets : &c->absent) += 1;
        } else {
            *(remove_one(p.vault, name, who) ? &c->removals : &c->absent) += 1;
        }
        if (draw(&random, REOPEN_EVERY) == 0)
            base_close(&p);
    }
    base_close(&p);
    free(buf);
}

static void
rotator(const arena *a, counters *c, uint64_t random)
{
    vault_pair p;

    base_open(a->base, &p);
    do {
        pqe_rotate_opts o = {.size = sizeof o, .rekey = draw(&random, 2) == 0};
        must(pqe_rotate(p.vault, &o, err));
        c->rotations++;
        usleep(200000 + draw(&random, 300000));
    } while (seconds_now() < a->end);
    base_close(&p);
}

static void
verifier(const arena *a, counters *c)
{
    vault_pair p;

    base_open(a->base, &p);
    do {
        /* Bodies that others are just putting into place look like orphans; damage there must never be. */
        check_verified(p.vault, -1, false, "verifier");
        c->verifications++;
    } while (seconds_now() < a->end);
    base_close(&p);
}

static pid_t
start(const arena *a, uint32_t me, uint32_t workers, uint64_t random)
{
    counters *c = &a->counters[me];
    pid_t child;

    fflush(stdout);
    if ((child = fork()) < 0)
        die("fork: %s", strerror(errno));
    if (child != 0)
        return child;
    if (me < workers)
        worker(a, me, c, random);
    else if (me == workers)
        rotator(a, c, random);
    else
        verifier(a, c);
    _exit(0);
}

static void
report(const counters *c, uint32_t processes, double seconds)
{
    counters s = {0};
    uint64_t all;

    for (uint32_t i = 0; i < processes; i++) {
        s.puts += c[i].puts;
        s.gets += c[i].gets;
        s.removals += c[i].removals;
        s.absent += c[i].absent;
        s.opens += c[i].opens;
        s.rotations += c[i].rotations;
        s.verifications += c[i].verifications;
    }
    all = s.puts + s.gets + s.removals + s.absent;
    printf("%llu operations in %.1f s, %.0f a second: %llu puts, %llu gets, %llu removals, %llu not found; "
           "%llu openings, %llu rotations, %llu verifications\n",
           (unsigned long long)all, seconds, (double)all / seconds, (unsigned long long)s.puts,
           (unsigned long long)s.gets, (unsigned long long)s.removals, (unsigned long long)s.absent,
           (unsigned long long)s.opens, (unsigned long long)s.rotations, (unsigned long long)s.verifications);
    if (s.puts == 0 || s.gets == 0 || s.removals == 0 || s.rotations == 0 || s.verifications == 0)
        die("some kind of operation never happened");
}

int
main(int argc, char **argv)
{
    char *scratch = scratch_make();
    uint64_t random = seed_from_environment();
    uint32_t workers = long_form() ? 20 : 8, processes = workers + 2, failed = 0;
    size_t size = processes * sizeof(counters);
    double begun = seconds_now();
    arena a = {.base = scratch, .end = begun + (long_form() ? 60 : 4)};
    pid_t children[32];
    vault_pair p;

    base_choose_device(argc, argv);
    a.counters = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (a.counters == MAP_FAILED)
        die("out of memory");
    base_create(scratch, &p);
    base_close(&p);
    for (uint32_t i = 0; i < processes; i++)
        children[i] = start(&a, i, workers, random + i * 7919u);
    for (uint32_t i = 0; i < processes; i++)
        failed += wait_for(children[i]) != 0;
    if (failed != 0)
        die("%u of %u processes failed (see above)", failed, processes);
    report(a.counters, processes, seconds_now() - begun);
    base_open(scratch, &p);
    check_verified(p.vault, -1, true, "at the end");
    check_nothing_pending(scratch, "at the end");
    base_close(&p);
    munmap(a.counters, size);
    scratch_remove(scratch);
    return 0;
}
