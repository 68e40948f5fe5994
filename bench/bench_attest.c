/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifying a stream of attestations against its limit: bench_attest [OPENSSL] [ROUNDS] [THREADS]
 *
 * 10,000 attestations of one signer (1,000 different ones, ten times over), as COSE and as JSON lines of version 1, are
 * verified as a stream with a trust anchor on THREADS threads (the processors there are), and `openssl speed` verifies
 * with ML-DSA-65 in as many processes, in interleaved rounds. Prints verifications a second by the wall clock and by CPU
 * time, and medians of their ratios. Wall clock compares only where nobody else uses the machine; CPU time always does.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <pqc_enclave/attest.h>

#include "bench.h"

#define DIFFERENT 1000u
#define TOTAL 10000u
#define ROUNDS_MAX 51
#define PROCESSES_MAX 256u

typedef struct rate {
    double wall, cpu; /* verifications a second of each */
} rate;

typedef struct pile {
    char *data[DIFFERENT];
    size_t len[DIFFERENT];
    uint64_t given;
} pile;

static void
check(pqe_status status, const pqe_error *err)
{
    if (status == PQE_OK)
        return;
    fprintf(stderr, "bench_attest: %s\n", err->message);
    exit(1);
}

/* ---- ours ---- */

static void
make_piles(pile *cose, pile *json, pqe_trust *trust)
{
    pqe_error err = {0};
    pqe_backend *backend = NULL;
    pqe_vault *vault = NULL;
    pqe_identity signer;
    pqe_put_opts put = {.size = sizeof put, .name = "a", .kind = PQE_KIND_OTHER};

    check(pqe_backend_open("memory", NULL, &backend, &err), &err);
    check(pqe_vault_open(&(pqe_vault_opts){.size = sizeof(pqe_vault_opts), .backend = backend, .create = true}, &vault,
                         &err),
          &err);
    check(pqe_put(vault, &put, "x", 1, NULL, &err), &err);
    check(pqe_identity_create(vault, NULL, &signer, &err), &err);
    check(pqe_trust_add_did(trust, signer.did, &err), &err);
    for (int version = 1; version <= 2; version++) {
        pile *p = version == 1 ? json : cose;
        for (size_t i = 0; i < DIFFERENT; i++) {
            char model[32];
            pqe_attest_opts o = {.size = sizeof o, .version = version, .device_model = model};
            pqe_attestation *a = NULL;
            snprintf(model, sizeof model, "model %zu", i);
            check(pqe_attest(vault, "a", &o, &a, &err), &err);
            check(pqe_attestation_encode(a, version == 1 ? PQE_ATTEST_JSON : PQE_ATTEST_COSE, &p->data[i], &p->len[i],
                                         &err),
                  &err);
            pqe_attestation_free(&a);
        }
    }
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
}

static pqe_status
next(void *user, const void **data, size_t *len, pqe_error *err)
{
    pile *p = user;

    (void)err;
    *data = p->given < TOTAL ? p->data[p->given % DIFFERENT] : NULL;
    *len = p->len[p->given % DIFFERENT];
    p->given++;
    return PQE_OK;
}

static rate
verify_pile(pile *p, const pqe_trust *trust, unsigned threads)
{
    pqe_attest_verify_opts o = {.size = sizeof o, .trust = trust};
    pqe_attest_verifier *v = NULL;
    pqe_attest_summary sum;
    pqe_error err = {0};
    double wall = bench_seconds(CLOCK_MONOTONIC), cpu = bench_seconds(CLOCK_PROCESS_CPUTIME_ID);

    p->given = 0;
    check(pqe_attest_verifier_new(&o, &v, &err), &err); /* the key is loaded within the time that is measured */
    check(pqe_attest_verifier_stream(v, threads, next, NULL, p, &sum, &err), &err);
    pqe_attest_verifier_free(&v);
    wall = bench_seconds(CLOCK_MONOTONIC) - wall;
    cpu = bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    if (sum.passed != TOTAL) {
        fprintf(stderr, "bench_attest: %llu of %u pass\n", (unsigned long long)sum.passed, TOTAL);
        exit(1);
    }
    return (rate){TOTAL / wall, TOTAL / cpu};
}

/* ---- openssl speed ---- */

static pid_t
start_speed(const char *const *argv, int *out)
{
    int ends[2];
    pid_t child;

    if (pipe(ends) != 0 || (child = fork()) < 0) {
        perror("bench_attest");
        exit(1);
    }
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(ends[1], STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        close(ends[0]);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(ends[1]);
    *out = ends[0];
    return child;
}

/* The last number of its machine-readable line is the rate of verification. */
static double
finish_speed(const char *openssl, pid_t child, int out)
{
    char line[512];
    double value = 0;
    int status;
    FILE *f = fdopen(out, "r");

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "+F10:", 5) == 0)
            value = strtod(strrchr(line, ':') + 1, NULL);
    if (f != NULL)
        fclose(f);
    if (waitpid(child, &status, 0) != child || status != 0 || value <= 0) {
        fprintf(stderr, "bench_attest: `%s speed ML-DSA-65` gives no rate; version 3.5 or later is needed\n", openssl);
        exit(1);
    }
    return value;
}

/* By the wall clock: the sum over processes, as `-multi -elapsed` has it. By CPU time: the mean of as many at once, so
   that cores which share their units do so in both cases. */
static rate
run_speed(const char *openssl, unsigned processes)
{
    char count[16];
    const char *many[] = {openssl, "speed", "-elapsed", "-mr", "-seconds", "1", "-multi", count, "ML-DSA-65", NULL};
    const char *one[] = {openssl, "speed", "-mr", "-seconds", "1", "ML-DSA-65", NULL};
    pid_t children[PROCESSES_MAX];
    int outs[PROCESSES_MAX];
    rate r = {0, 0};

    snprintf(count, sizeof count, "%u", processes);
    children[0] = start_speed(many, &outs[0]);
    r.wall = finish_speed(openssl, children[0], outs[0]);
    for (unsigned i = 0; i < processes; i++)
        children[i] = start_speed(one, &outs[i]);
    for (unsigned i = 0; i < processes; i++)
        r.cpu += finish_speed(openssl, children[i], outs[i]) / processes;
    return r;
}

/* ---- comparison ---- */

static int
by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double
median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

int
main(int argc, char **argv)
{
    const char *openssl = argc > 1 ? argv[1] : "openssl";
    int rounds = argc > 2 ? atoi(argv[2]) : 5, n = argc > 3 ? atoi(argv[3]) : 0;
    static pile cose, json;
    double ratios[4][ROUNDS_MAX];
    pqe_trust *trust = NULL;
    pqe_error err = {0};
    unsigned threads;
    cpu_set_t set;

    if (n <= 0)
        n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    threads = (unsigned)n < PROCESSES_MAX ? (unsigned)n : PROCESSES_MAX;
    rounds = rounds < 1 ? 1 : rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
    check(pqe_trust_new(&trust, &err), &err);
    make_piles(&cose, &json, trust);
    printf("%u attestations of one signer on %u threads, verifications a second\n", TOTAL, threads);
    printf("%-8s %12s %12s %12s   %12s %12s %12s\n", "", "COSE", "JSON lines", "openssl", "COSE", "JSON lines",
           "openssl");
    printf("%-8s %12s %12s %12s   %12s %12s %12s\n", "round", "(wall)", "(wall)", "(wall)", "(CPU)", "(CPU)", "(CPU)");
    for (int i = 0; i < rounds; i++) {
        rate c = verify_pile(&cose, trust, threads), j = verify_pile(&json, trust, threads);
        rate o = run_speed(openssl, threads);
        printf("%-8d %12.0f %12.0f %12.0f   %12.0f %12.0f %12.0f\n", i + 1, c.wall, j.wall, o.wall, c.cpu, j.cpu,
               o.cpu);
        fflush(stdout);
        ratios[0][i] = c.wall / o.wall;
        ratios[1][i] = j.wall / o.wall;
        ratios[2][i] = c.cpu / o.cpu;
        ratios[3][i] = j.cpu / o.cpu;
    }
    printf("%-8s %12.2f %12.2f %12s   %12.2f %12.2f\n", "ratio", median(ratios[0], rounds), median(ratios[1], rounds),
           "", median(ratios[2], rounds), median(ratios[3], rounds));
    for (size_t i = 0; i < DIFFERENT; i++) {
        pqe_buffer_free(&cose.data[i]);
        pqe_buffer_free(&json.data[i]);
    }
    pqe_trust_free(&trust);
    return 0;
}
