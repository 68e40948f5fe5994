/* SPDX-License-Identifier: Apache-2.0 */
/* What the measurements share. */
#ifndef PQE_BENCH_BENCH_H
#define PQE_BENCH_BENCH_H

#include <time.h>

/** Seconds on a clock. */
static inline double
bench_seconds(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static inline double
bench_now(void)
{
    return bench_seconds(CLOCK_MONOTONIC);
}

/** For qsort(), of doubles. */
static inline int
bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

#endif
