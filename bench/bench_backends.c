/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts and gets on several backends in turn: bench_backends DIR ROUNDS NAME=CONFIG...
 *
 * Makes a vault DIR/NAME on each backend (that of "memory" is in memory), unlocks it once, and in each round puts and gets
 * 64 MiB and puts 20 and gets 400 times 1 KiB, on one after the other. One line a measurement: round, name, what, seconds of
 * one of them and seconds of CPU time of this process. Round 0 warms up. bench/backends starts the devices and makes a table
 * of it.
 */
#include <pqc_enclave.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

#define LARGE ((size_t)64 << 20)
#define SMALL ((size_t)1024)
#define PUTS 20u
#define GETS 400u
#define VAULTS_MAX 16

typedef struct subject {
    char name[64];
    pqe_backend *backend;
    pqe_vault *vault;
} subject;

static void
check(pqe_status status, const pqe_error *err, const char *what)
{
    if (status == PQE_OK)
        return;
    fprintf(stderr, "bench_backends: %s: %s\n", what, err->message);
    exit(1);
}

static void
make(const char *dir, const char *arg, subject *s)
{
    const char *config = strchr(arg, '=');
    char path[PATH_MAX];
    pqe_vault_opts opts = {.size = sizeof opts, .create = true};
    pqe_error err = {0};

    if (config == NULL || (size_t)(config - arg) >= sizeof s->name) {
        fprintf(stderr, "bench_backends: %s is not NAME=CONFIG\n", arg);
        exit(2);
    }
    snprintf(s->name, sizeof s->name, "%.*s", (int)(config - arg), arg);
    snprintf(path, sizeof path, "%s/%s", dir, s->name);
    check(pqe_backend_open(config + 1, NULL, &s->backend, &err), &err, config + 1);
    opts.dir = strcmp(config + 1, "memory") == 0 ? NULL : path;
    opts.backend = s->backend;
    check(pqe_vault_open(&opts, &s->vault, &err), &err, config + 1);
}

static void
put(const subject *s, const char *name, const unsigned char *content, size_t len)
{
    const pqe_put_opts opts = {.size = sizeof opts, .name = name, .kind = PQE_KIND_MODEL_WEIGHTS};
    pqe_error err = {0};

    check(pqe_put(s->vault, &opts, content, len, NULL, &err), &err, s->name);
}

static void
get(const subject *s, const char *name, const unsigned char *expected, size_t expected_len)
{
    pqe_error err = {0};
    void *content = NULL;
    size_t len = 0;

    check(pqe_get(s->vault, name, &content, &len, NULL, &err), &err, s->name);
    if (len != expected_len || memcmp(content, expected, SMALL) != 0) {
        fprintf(stderr, "bench_backends: %s: another content\n", s->name);
        exit(1);
    }
    pqe_content_free(&content, len);
}

static void
measure(const subject *s, unsigned round, const char *what,
        void (*call)(const subject *s, const char *name, const unsigned char *content, size_t len),
        const unsigned char *content, size_t len, unsigned count)
{
    double begun = bench_seconds(CLOCK_MONOTONIC), cpu = bench_seconds(CLOCK_PROCESS_CPUTIME_ID);
    char name[32];

    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%zu-%u", len, i % PUTS);
        call(s, name, content, len);
    }
    begun = bench_seconds(CLOCK_MONOTONIC) - begun;
    cpu = bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("%u %s %s %.9f %.9f\n", round, s->name, what, begun / count, cpu / count);
}

int
main(int argc, char **argv)
{
    unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    size_t count = argc > 3 ? (size_t)argc - 3 : 0;
    subject subjects[VAULTS_MAX];
    unsigned char *content;

    if (rounds == 0 || count == 0 || count > VAULTS_MAX) {
        fprintf(stderr, "usage: bench_backends DIR ROUNDS NAME=CONFIG...\n");
        return 2;
    }
    if ((content = malloc(LARGE)) == NULL)
        return 1;
    for (size_t i = 0; i < LARGE; i++)
        content[i] = (unsigned char)(i * 31 >> 3);
    for (size_t i = 0; i < count; i++)
        make(argv[1], argv[3 + i], &subjects[i]);
    for (unsigned round = 0; round <= rounds; round++)
        for (size_t k = 0; k < count; k++) {
            const subject *s = &subjects[(k + round) % count]; /* nobody always comes after the same one */
            measure(s, round, "put-64MiB", put, content, LARGE, 1);
            measure(s, round, "get-64MiB", get, content, LARGE, 1);
            measure(s, round, "put-1KiB", put, content, SMALL, PUTS);
            measure(s, round, "get-1KiB", get, content, SMALL, GETS);
        }
    for (size_t i = 0; i < count; i++) {
        pqe_vault_close(&subjects[i].vault);
        pqe_backend_close(&subjects[i].backend);
    }
    free(content);
    return 0;
}
