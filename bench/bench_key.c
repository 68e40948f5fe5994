/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cryptography of an unlock and nothing else: bench_key COUNT
 *
 * A key is opened as a session opens the vault's: ML-KEM-768 from its seed, then one HPKE message under it. Prints the
 * median in seconds; `ceiling kem` is libcrypto's share of the same. An unlock opens one key.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "crypto/crypto.h"

#define SECRET ((size_t)32)

static void
check(pqe_status status, const pqe_error *err)
{
    if (status == PQE_OK)
        return;
    fprintf(stderr, "bench_key: %s\n", err->message);
    exit(1);
}

int
main(int argc, char **argv)
{
    const pqe__hpke_suite *suite = &pqe__hpke_ml_kem_768;
    const uint8_t seed[PQE__KEM_SEED_SIZE] = {2}, secret[SECRET] = {3}, info[] = "bench_key";
    uint8_t sealed[PQE__HPKE_OVERHEAD + SECRET], opened[SECRET];
    size_t count = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    double *times = count != 0 ? calloc(count, sizeof *times) : NULL;
    pqe__kem_key *key = NULL;
    pqe_error err = {0};

    if (times == NULL) {
        fprintf(stderr, "usage: bench_key COUNT\n");
        return 2;
    }
    check(pqe__kem_from_seed(seed, &key, &err), &err);
    check(pqe__hpke_seal(suite, key, NULL, info, sizeof info, NULL, 0, secret, SECRET, sealed, &err), &err);
    pqe__kem_free(&key);
    for (size_t i = 0; i < count; i++) {
        double start = bench_now();
        check(pqe__kem_from_seed(seed, &key, &err), &err);
        check(pqe__hpke_open(suite, key, info, sizeof info, NULL, 0, sealed, sizeof sealed, opened, &err), &err);
        times[i] = bench_now() - start;
        pqe__kem_free(&key);
        if (memcmp(opened, secret, SECRET) != 0)
            exit(1);
    }
    qsort(times, count, sizeof *times, bench_compare);
    printf("%.9f\n", times[count / 2]);
    free(times);
    return 0;
}
