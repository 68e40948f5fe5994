/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the index grows: bench_index DIR [COUNT]
 *
 * Puts COUNT (100,000) credentials of 1 KiB one by one, each durable, into a new vault under DIR, and compares the
 * first thousand with the last; then unlocks, lists and gets. On tmpfs the figures show the processor's share, on a
 * disk that of its syncs. One line a figure; medians of the thousand.
 *
 * Ends with 1 if a limit is exceeded: 100,000 listed in 2 s of CPU (in proportion for other counts), the last put no more
 * than twice the first. The ratio is of CPU time: what the disk does is not the index's doing.
 */
#include <pqc_enclave.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

#define WINDOW 1000
#define LIST_LIMIT (2.0 / 100000) /* seconds of CPU each */
#define GROWTH_LIMIT 2.0

static bool exceeded;

static void
limit(const char *what, double value, double most)
{
    if (value <= most)
        return;
    fprintf(stderr, "bench_index: %s: %.2f, the limit is %.2f\n", what, value, most);
    exceeded = true;
}

static void
check(pqe_status status, const pqe_error *err, const char *what)
{
    if (status == PQE_OK)
        return;
    fprintf(stderr, "bench_index: %s: %s\n", what, err->message);
    exit(1);
}

static double
median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, bench_compare);
    return values[count / 2];
}

static bool
count_one(void *user, const pqe_artifact *artifact)
{
    (void)artifact;
    ++*(size_t *)user;
    return true;
}

/* Seconds of CPU; *wall those on the clock. */
static double
put_one(pqe_vault *vault, size_t i, double *wall)
{
    char name[64];
    unsigned char content[1024];
    pqe_put_opts opts = {.size = sizeof opts, .name = name, .kind = PQE_KIND_CREDENTIAL, .version = "1"};
    double start, cpu;
    pqe_error err;

    snprintf(name, sizeof name, "service-%zu/api-key", i);
    memset(content, (int)(i & 0xff), sizeof content);
    start = bench_seconds(CLOCK_MONOTONIC);
    cpu = bench_seconds(CLOCK_PROCESS_CPUTIME_ID);
    check(pqe_put(vault, &opts, content, sizeof content, NULL, &err), &err, "put");
    *wall = bench_seconds(CLOCK_MONOTONIC) - start;
    return bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
}

static void
measure_puts(pqe_vault *vault, size_t count)
{
    static struct {
        double wall[WINDOW], cpu[WINDOW];
    } first, last;
    double start = bench_seconds(CLOCK_MONOTONIC), cpu = bench_seconds(CLOCK_PROCESS_CPUTIME_ID), early, late;

    for (size_t i = 0; i < count; i++) {
        size_t at = i % WINDOW;
        last.cpu[at] = put_one(vault, i, &last.wall[at]);
        if (i == WINDOW - 1)
            first = last;
    }
    printf("put: %zu in %.1f s, %.1f s of CPU\n", count, bench_seconds(CLOCK_MONOTONIC) - start,
           bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    early = median(first.wall, WINDOW);
    late = median(last.wall, WINDOW);
    printf("put: median of the first %d: %.1f us; of the last: %.1f us; ratio %.2f\n", WINDOW, early * 1e6, late * 1e6,
           late / early);
    early = median(first.cpu, WINDOW);
    late = median(last.cpu, WINDOW);
    printf("put, CPU: median of the first %d: %.1f us; of the last: %.1f us; ratio %.2f\n", WINDOW, early * 1e6,
           late * 1e6, late / early);
    limit("CPU of the last puts over that of the first", late / early, GROWTH_LIMIT);
}

static void
measure_reads(pqe_vault *vault, size_t count)
{
    double start = bench_seconds(CLOCK_PROCESS_CPUTIME_ID);
    unsigned char content[2048];
    size_t listed = 0;
    pqe_error err;

    check(pqe_list(vault, count_one, &listed, &err), &err, "list");
    start = bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - start;
    printf("list: %zu in %.2f s of CPU\n", listed, start);
    limit("seconds of CPU to list", start, LIST_LIMIT * (double)count);
    if (listed != count) {
        fprintf(stderr, "bench_index: %zu of %zu listed\n", listed, count);
        exceeded = true;
    }
    start = bench_seconds(CLOCK_MONOTONIC);
    for (size_t i = 0; i < WINDOW; i++) {
        char name[64];
        pqe_reader *reader;
        size_t len;
        snprintf(name, sizeof name, "service-%zu/api-key", i * (count / WINDOW));
        check(pqe_reader_open(vault, name, &reader, &err), &err, "open");
        check(pqe_reader_read(reader, content, sizeof content, &len, &err), &err, "read");
        pqe_reader_close(&reader);
    }
    printf("get: %.1f us each\n", (bench_seconds(CLOCK_MONOTONIC) - start) / WINDOW * 1e6);
}

int
main(int argc, char **argv)
{
    size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 100000;
    char dir[PATH_MAX - 16], path[PATH_MAX], config[PATH_MAX + 32];
    pqe_vault_opts opts = {.size = sizeof opts, .dir = path, .create = true};
    pqe_vault *vault = NULL;
    pqe_error err;
    double start;

    if (argc < 2 || count < 2 * WINDOW) {
        fprintf(stderr, "usage: bench_index DIR [COUNT >= %d]\n", 2 * WINDOW);
        return 2;
    }
    snprintf(dir, sizeof dir, "%s/bench-XXXXXX", argv[1]);
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        return 1;
    }
    snprintf(path, sizeof path, "%s/vault", dir);
    snprintf(config, sizeof config, "file:key-file=%s/key", dir);
    check(pqe_backend_open(config, NULL, &opts.backend, &err), &err, "backend");
    check(pqe_vault_open(&opts, &vault, &err), &err, "create");
    measure_puts(vault, count);
    pqe_vault_close(&vault);
    opts.create = false;
    start = bench_seconds(CLOCK_MONOTONIC);
    check(pqe_vault_open(&opts, &vault, &err), &err, "open");
    check(pqe_vault_unlock(vault, 0, &err), &err, "unlock");
    printf("open and unlock: %.2f ms\n", (bench_seconds(CLOCK_MONOTONIC) - start) * 1e3);
    measure_reads(vault, count);
    pqe_vault_close(&vault);
    pqe_backend_close(&opts.backend);
    printf("left behind: %s\n", dir);
    return exceeded;
}
