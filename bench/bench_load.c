/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading through the library: bench_load DIR NAME fresh|warm|read|at|unlock|open N
 *
 *   fresh   pqe_get(): memory of the library's own
 *   warm    one call into a buffer that is there already, on N threads
 *   read    one thread reads from start to end into a buffer of 1 MiB
 *   at      N random reads of 4 KiB by one thread, in the page cache
 *   unlock  N times pqe_vault_unlock()
 *   open    opening and unlocking, once
 *
 * Prints seconds of that alone; at and unlock: of one, the median. The key file is DIR.key.
 */
#include <pqc_enclave.h>

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define THREADS_MAX 64u

static pqe_error err;

static void
check(pqe_status status, const char *what)
{
    if (status == PQE_OK)
        return;
    fprintf(stderr, "bench_load: %s: %s\n", what, err.message);
    exit(1);
}

static double
median(double *times, size_t count)
{
    qsort(times, count, sizeof *times, bench_compare);
    return times[count / 2];
}

static double
warm(pqe_reader *reader, size_t size, size_t threads)
{
    size_t whole = (size / HUGE_PAGE + 2) * HUGE_PAGE, got = 0;
    unsigned char *buffer = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    double start;

    if (buffer == MAP_FAILED || threads == 0 || threads > THREADS_MAX)
        exit(1);
    buffer += HUGE_PAGE - (uintptr_t)buffer % HUGE_PAGE;
    madvise(buffer, whole - HUGE_PAGE, MADV_HUGEPAGE);
    memset(buffer, 1, size);
    pqe_set_threads((unsigned)threads);
    start = bench_now();
    check(pqe_reader_read_at(reader, 0, buffer, size, &got, &err), "read");
    if (got != size)
        exit(1);
    return bench_now() - start;
}

static double
sequential(pqe_reader *reader)
{
    unsigned char *buffer = malloc((size_t)1 << 20);
    double start = bench_now();
    size_t got = 1;

    if (buffer == NULL)
        exit(1);
    while (got > 0)
        check(pqe_reader_read(reader, buffer, (size_t)1 << 20, &got, &err), "read");
    free(buffer);
    return bench_now() - start;
}

static double
at_random(pqe_reader *reader, size_t size, size_t count)
{
    double *times = calloc(count, sizeof *times), result;
    unsigned char buffer[4096];
    uint64_t state = 1;
    size_t got;

    if (times == NULL || size <= sizeof buffer)
        exit(1);
    for (size_t i = 0; i < count; i++) {
        double start = bench_now();
        state = state * 6364136223846793005u + 1442695040888963407u;
        check(pqe_reader_read_at(reader, (state >> 20) % (size - sizeof buffer), buffer, sizeof buffer, &got, &err),
              "read");
        times[i] = bench_now() - start;
    }
    result = median(times, count);
    free(times);
    return result;
}

static double
unlock(pqe_vault *vault, size_t count)
{
    double *times = calloc(count, sizeof *times), result;

    if (times == NULL)
        exit(1);
    for (size_t i = 0; i < count; i++) {
        double start;
        pqe_vault_lock(vault);
        start = bench_now();
        check(pqe_vault_unlock(vault, 0, &err), "unlock");
        times[i] = bench_now() - start;
    }
    result = median(times, count);
    free(times);
    return result;
}

static double
fresh(pqe_vault *vault, const char *name)
{
    double start = bench_now(), took;
    void *content;
    size_t len;

    check(pqe_get(vault, name, &content, &len, NULL, &err), "get");
    took = bench_now() - start;
    pqe_content_free(&content, len);
    return took;
}

static double
measure(pqe_vault *vault, const char *name, const char *what, size_t n)
{
    pqe_reader *reader = NULL;
    double took = 0;
    size_t size;

    if (strcmp(what, "unlock") == 0)
        return unlock(vault, n);
    if (strcmp(what, "fresh") == 0)
        return fresh(vault, name);
    check(pqe_reader_open(vault, name, &reader, &err), "open");
    size = (size_t)pqe_reader_artifact(reader)->size_bytes;
    if (strcmp(what, "warm") == 0)
        took = warm(reader, size, n);
    else if (strcmp(what, "read") == 0)
        took = sequential(reader);
    else if (strcmp(what, "at") == 0)
        took = at_random(reader, size, n);
    pqe_reader_close(&reader);
    return took;
}

int
main(int argc, char **argv)
{
    size_t n = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
    char config[PATH_MAX + 32];
    pqe_backend *backend = NULL;
    pqe_vault *vault = NULL;
    double start, opened;

    if (n == 0) {
        fprintf(stderr, "usage: bench_load DIR NAME fresh|warm|read|at|unlock|open N\n");
        return 2;
    }
    snprintf(config, sizeof config, "file:key-file=%s.key", argv[1]);
    start = bench_now();
    check(pqe_backend_open(config, NULL, &backend, &err), "backend");
    check(pqe_vault_open(&(pqe_vault_opts){.size = sizeof(pqe_vault_opts), .dir = argv[1], .backend = backend}, &vault,
                         &err),
          "open");
    check(pqe_vault_unlock(vault, 0, &err), "unlock");
    opened = bench_now() - start;
    printf("%.9f\n", strcmp(argv[3], "open") == 0 ? opened : measure(vault, argv[2], argv[3], n));
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
    return 0;
}
