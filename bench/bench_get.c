/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a get costs: rounds of gets of one small artifact, to be run in turn with the same program built from another
 * version ("bench_get DIR [ROUNDS [GETS]]"), and, where the header knows it, with a policy that limits its use.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pqc_enclave.h>

#ifdef BENCH_LIMITED
#include <pqc_enclave/policy.h>

#include "bench.h"
#endif

static void
check(pqe_status status, const pqe_error *err, const char *what)
{
    if (status == PQE_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, pqe_status_name(status), err->message);
    exit(1);
}

/* Microseconds a get, median of the rounds. */
static double
measure(pqe_vault *vault, const char *name, int rounds, int gets)
{
    double *took = calloc((size_t)rounds, sizeof *took), result;

    for (int r = 0; took != NULL && r < rounds; r++) {
        double start = bench_now();
        for (int i = 0; i < gets; i++) {
            void *content;
            size_t len;
            pqe_error err;
            check(pqe_get(vault, name, &content, &len, NULL, &err), &err, "get");
            pqe_content_free(&content, len);
        }
        took[r] = (bench_now() - start) / gets * 1e6;
    }
    if (took == NULL)
        exit(1);
    qsort(took, (size_t)rounds, sizeof *took, bench_compare);
    result = took[rounds / 2];
    free(took);
    return result;
}

int
main(int argc, char **argv)
{
    int rounds = argc > 2 ? atoi(argv[2]) : 11, gets = argc > 3 ? atoi(argv[3]) : 1000;
    unsigned char content[1024] = {0};
    char config[4096];
    pqe_put_opts put = {.size = sizeof put, .name = "a", .kind = PQE_KIND_CREDENTIAL};
    pqe_vault_opts opts = {.size = sizeof opts, .create = true};
    pqe_vault *vault;
    pqe_error err;

    if (argc < 2 || rounds < 1 || gets < 1) {
        fprintf(stderr, "usage: bench_get DIR [ROUNDS [GETS]]\n");
        return 2;
    }
    snprintf(config, sizeof config, "file:key-file=%s.key", argv[1]);
    check(pqe_backend_open(config, NULL, &opts.backend, &err), &err, "backend");
    opts.dir = argv[1];
    check(pqe_vault_open(&opts, &vault, &err), &err, "create");
    check(pqe_put(vault, &put, content, sizeof content, NULL, &err), &err, "put");
    printf("get: %.1f us\n", measure(vault, "a", rounds, gets));
#ifdef BENCH_LIMITED
    {
        pqe_policy_rule other = {.size = sizeof other, .kind = PQE_KIND_TOKENIZER, .max_uses_per_hour = 5};
        pqe_policy_rule limit = {.size = sizeof limit, .artifact = "a", .max_uses_per_hour = PQE_POLICY_USES_MAX};
        check(pqe_policy_set(vault, &other, &err), &err, "policy");
        printf("get with a policy on other kinds: %.1f us\n", measure(vault, "a", rounds, gets));
        check(pqe_policy_set(vault, &limit, &err), &err, "policy");
        printf("get of a limited artifact: %.1f us\n", measure(vault, "a", rounds, gets / 20 + 1));
    }
#endif
    pqe_vault_close(&vault);
    pqe_backend_close(&opts.backend);
    return 0;
}
