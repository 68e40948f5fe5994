/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small artifacts in bulk: bench_small DIR COUNT in|out|many|single
 *
 *   in   puts COUNT credentials of 1 KiB into the vault in DIR (made if need be) in one batch
 *   out  gets each of them by name, in one session, in an order unlike that of the puts
 *   many    gets each of them by name, in the same order, with one call
 *   single  puts COUNT more, each by itself and durable
 *
 * One line: artifacts a second of the whole process's work, opening and unlocking included, and microseconds of CPU time
 * each. The key file is DIR.key.
 */
#include <pqc_enclave.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "bench.h"

#define SIZE 1024

static void
check(pqe_status status, const pqe_error *err, const char *what)
{
    if (status == PQE_OK)
        return;
    fprintf(stderr, "bench_small: %s: %s\n", what, err->message);
    exit(1);
}

static void
content_of(size_t i, unsigned char out[SIZE])
{
    memset(out, (int)(i % 251), SIZE);
    memcpy(out, &i, sizeof i);
}

static void
put_all(pqe_vault *vault, size_t count)
{
    unsigned char content[SIZE];
    pqe_error err = {0};
    pqe_batch *batch = NULL;
    char name[64];

    check(pqe_batch_open(vault, &batch, &err), &err, "batch");
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "service/%zu/token", i);
        content_of(i, content);
        check(pqe_batch_put(batch,
                            &(pqe_put_opts){.size = sizeof(pqe_put_opts), .name = name, .kind = PQE_KIND_CREDENTIAL},
                            content, SIZE, &err),
              &err, "put");
    }
    check(pqe_batch_commit(&batch, NULL, &err), &err, "commit");
}

static void
put_singly(pqe_vault *vault, size_t count)
{
    unsigned char content[SIZE];
    pqe_error err = {0};
    char name[64];

    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "single/%zu/token", i);
        content_of(i, content);
        check(pqe_put(vault, &(pqe_put_opts){.size = sizeof(pqe_put_opts), .name = name, .kind = PQE_KIND_CREDENTIAL},
                      content, SIZE, NULL, &err),
              &err, "put");
    }
}

static void
get_all(pqe_vault *vault, size_t count)
{
    unsigned char expected[SIZE];
    pqe_error err = {0};
    char name[64];

    for (size_t i = 0; i < count; i++) {
        size_t which = i * 7919 % count, len;
        void *content;
        snprintf(name, sizeof name, "service/%zu/token", which);
        check(pqe_get(vault, name, &content, &len, NULL, &err), &err, "get");
        content_of(which, expected);
        if (len != SIZE || memcmp(content, expected, SIZE) != 0) {
            fprintf(stderr, "bench_small: %s has another content\n", name);
            exit(1);
        }
        pqe_content_free(&content, len);
    }
}

typedef struct many {
    const char *const *names;
    size_t count;
} many;

static bool
compare(void *user, const pqe_got *got)
{
    const many *m = user;
    unsigned char expected[SIZE];

    check(got->status, got->error, "get");
    content_of(got->index * 7919 % m->count, expected);
    if (got->len == SIZE && memcmp(got->content, expected, SIZE) == 0)
        return true;
    fprintf(stderr, "bench_small: %s has another content\n", m->names[got->index]);
    exit(1);
}

static void
get_many(pqe_vault *vault, size_t count)
{
    char(*text)[64] = malloc(count * sizeof *text);
    const char **names = malloc(count * sizeof *names);
    many m = {names, count};
    pqe_error err = {0};

    if (text == NULL || names == NULL)
        exit(1);
    for (size_t i = 0; i < count; i++) {
        snprintf(text[i], sizeof text[i], "service/%zu/token", i * 7919 % count);
        names[i] = text[i];
    }
    check(pqe_get_many(vault, names, count, compare, &m, &err), &err, "get");
    free(names);
    free(text);
}

int
main(int argc, char **argv)
{
    size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    char config[PATH_MAX + 32], index[PATH_MAX + 16];
    pqe_backend *backend = NULL;
    pqe_vault *vault = NULL;
    pqe_error err = {0};
    double start = bench_seconds(CLOCK_MONOTONIC);
    struct stat st;
    bool exists;

    if (argc != 4 || count == 0) {
        fprintf(stderr, "usage: bench_small DIR COUNT in|out|many|single\n");
        return 2;
    }
    snprintf(config, sizeof config, "file:key-file=%s.key", argv[1]);
    snprintf(index, sizeof index, "%s/index.db", argv[1]);
    exists = stat(index, &st) == 0;
    check(pqe_backend_open(config, NULL, &backend, &err), &err, "backend");
    check(pqe_vault_open(
              &(pqe_vault_opts){.size = sizeof(pqe_vault_opts), .dir = argv[1], .backend = backend, .create = !exists},
              &vault, &err),
          &err, "open");
    if (exists)
        check(pqe_vault_unlock(vault, 0, &err), &err, "unlock");
    if (strcmp(argv[3], "in") == 0)
        put_all(vault, count);
    else if (strcmp(argv[3], "single") == 0)
        put_singly(vault, count);
    else if (strcmp(argv[3], "many") == 0)
        get_many(vault, count);
    else
        get_all(vault, count);
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
    printf("%.0f %.2f\n", (double)count / (bench_seconds(CLOCK_MONOTONIC) - start),
           bench_seconds(CLOCK_PROCESS_CPUTIME_ID) / (double)count * 1e6);
    return 0;
}
