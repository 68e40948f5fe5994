/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads that large artifacts are worked on with: one pool a process, shared by all vaults.
 *
 * A job is a function that takes its work piece by piece until there is none left (an atomic counter in its argument),
 * so that any number of threads may run it at once and the result does not depend on how many do. Whoever starts a job
 * works on it too; helpers join as they become free, and none is waited for that has not begun. Helpers are started
 * when they are first asked for, block all signals, and are started anew in a forked child that asks for them. Their
 * number is pqe_set_threads()'s to say.
 */
#ifndef PQE_UTIL_POOL_H
#define PQE_UTIL_POOL_H

#include <pqc_enclave.h>

/** Most threads that work on one job, the caller's included. */
#define PQE__THREADS_MAX 256u

typedef void (*pqe__job_fn)(void *arg);

/** Lies with the caller, for example on its stack, from start to finish. */
typedef struct pqe__job {
    struct pqe__job *next;
    pqe__job_fn fn;
    void *arg;
    unsigned wanted;  /* helpers that may still join */
    unsigned running; /* helpers at work */
    bool begun;       /* some helper joined */
} pqe__job;

/** Offers `job` to at most `helpers` helpers and returns at once. Without threads to be had nobody comes. */
void pqe__pool_start(pqe__job *job, pqe__job_fn fn, void *arg, unsigned helpers);
/** Lets no more helpers join and waits for those at work. True if there was any. */
bool pqe__pool_finish(pqe__job *job);
/** Both, with the caller at work too, on up to `threads` threads: what the job counts is done when it returns. */
void pqe__pool_run(pqe__job_fn fn, void *arg, unsigned threads);

#endif
