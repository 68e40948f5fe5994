/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One whole-artifact operation through the public interface: bench_vault DIR OPERATION MIB
 *
 * OPERATION is init (makes DIR/vault and DIR/key), put (from memory), get (into memory), read (through a buffer of
 * 4 MiB). Prints seconds and the process's peak memory in bytes. bench_python.py runs it beside its own.
 */
#include <pqc_enclave.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "bench.h"

#define BUFFER ((size_t)4 << 20)

static void
check(pqe_status status, const pqe_error *err)
{
    if (status == PQE_OK)
        return;
    fprintf(stderr, "bench_vault: %s\n", err->message);
    exit(1);
}

/* Virtual machines hand free pages back to their host: the first touch is slow, and no part of what is measured. */
static void
warm_up(size_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        exit(1);
    madvise(p, len, MADV_HUGEPAGE); /* the pages that pqe_get() asks for */
    memset(p, 1, len);
    munmap(p, len);
}

static double
put(pqe_vault *vault, size_t len)
{
    pqe_put_opts opts = {.size = sizeof opts, .name = "big", .kind = PQE_KIND_MODEL_WEIGHTS};
    void *content = malloc(len);
    pqe_error err;
    double start;

    if (content == NULL)
        exit(1);
    memset(content, 1, len);
    start = bench_now();
    check(pqe_put(vault, &opts, content, len, NULL, &err), &err);
    start = bench_now() - start;
    free(content);
    return start;
}

static double
get(pqe_vault *vault, size_t len)
{
    void *content;
    size_t got;
    pqe_error err;
    double start, took;

    warm_up(len);
    start = bench_now();
    check(pqe_get(vault, "big", &content, &got, NULL, &err), &err);
    took = bench_now() - start;
    pqe_content_free(&content, got);
    return took;
}

static double
read_through(pqe_vault *vault)
{
    void *buffer = malloc(BUFFER);
    pqe_reader *reader;
    size_t got;
    pqe_error err;
    double start = bench_now();

    check(pqe_reader_open(vault, "big", &reader, &err), &err);
    do
        check(pqe_reader_read(reader, buffer, BUFFER, &got, &err), &err);
    while (got != 0);
    pqe_reader_close(&reader);
    start = bench_now() - start;
    free(buffer);
    return start;
}

int
main(int argc, char **argv)
{
    const char *operation = argc == 4 ? argv[2] : "";
    size_t len = argc == 4 ? strtoul(argv[3], NULL, 10) << 20 : 0;
    char path[PATH_MAX], config[PATH_MAX + 32];
    pqe_vault_opts opts = {.size = sizeof opts, .dir = path, .create = strcmp(operation, "init") == 0};
    pqe_vault *vault;
    struct rusage usage;
    double took = 0;
    pqe_error err;

    if (len == 0) {
        fprintf(stderr, "usage: bench_vault DIR init|put|get|read MIB\n");
        return 2;
    }
    snprintf(path, sizeof path, "%s/vault", argv[1]);
    snprintf(config, sizeof config, "file:key-file=%s/key", argv[1]);
    check(pqe_backend_open(config, NULL, &opts.backend, &err), &err);
    check(pqe_vault_open(&opts, &vault, &err), &err);
    check(pqe_vault_unlock(vault, 0, &err), &err);
    if (strcmp(operation, "put") == 0)
        took = put(vault, len);
    else if (strcmp(operation, "get") == 0)
        took = get(vault, len);
    else if (strcmp(operation, "read") == 0)
        took = read_through(vault);
    pqe_vault_close(&vault);
    pqe_backend_close(&opts.backend);
    getrusage(RUSAGE_SELF, &usage);
    printf("%.6f %ld\n", took, usage.ru_maxrss * 1024);
    return 0;
}
