/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of threads: a list of jobs that want helpers, and helpers that wait for one. */
#include "util/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

#include "util/secmem.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t work; /* a job wants helpers, or there are too many of them */
    pthread_cond_t done; /* a helper has left a job */
    pqe__job *first;     /* jobs that want helpers, oldest first */
    unsigned set;        /* 0: the default */
    unsigned helpers, idle;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static pthread_once_t pool_once = PTHREAD_ONCE_INIT;

/* ---- fork ---- */

static void
fork_prepare(void)
{
    pthread_mutex_lock(&pool.lock);
}

static void
fork_parent(void)
{
    pthread_mutex_unlock(&pool.lock);
}

/* The child has none of the helpers and nobody who waits for them. */
static void
fork_child(void)
{
    pool.first = NULL;
    pool.helpers = pool.idle = 0;
    pthread_cond_init(&pool.work, NULL);
    pthread_cond_init(&pool.done, NULL);
    pthread_mutex_unlock(&pool.lock);
}

static void
install_fork_handlers(void)
{
    pthread_atfork(fork_prepare, fork_parent, fork_child);
}

/* ---- size ---- */

static unsigned
processors(void)
{
    cpu_set_t set;
    long count;

    if (sched_getaffinity(0, sizeof set, &set) == 0)
        count = CPU_COUNT(&set);
    else /* more processors than the set has room for */
        count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (unsigned)count : 1;
}

/* The lock is held. */
static unsigned
threads_wanted(void)
{
    static unsigned found;
    unsigned count = pool.set;

    if (count == 0) {
        if (found == 0)
            found = processors();
        count = found;
    }
    return count < PQE__THREADS_MAX ? count : PQE__THREADS_MAX;
}

unsigned
pqe_threads(void)
{
    unsigned count;

    pthread_mutex_lock(&pool.lock);
    count = threads_wanted();
    pthread_mutex_unlock(&pool.lock);
    return count;
}

void
pqe_set_threads(unsigned count)
{
    pthread_mutex_lock(&pool.lock);
    pool.set = count;
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.lock);
}

/* ---- helpers ---- */

/* The oldest job that wants help, which thereby has one helper more; NULL if there is none. */
static pqe__job *
join_job(void)
{
    pqe__job *job = pool.first;

    if (job == NULL)
        return NULL;
    job->begun = true;
    job->running++;
    job->wanted--;
    if (job->wanted == 0)
        pool.first = job->next;
    return job;
}

/* Ciphers leave plaintext and parts of keys on the stack, and this one lies idle afterwards. */
#define SCRUB 32768u

__attribute__((noinline)) static void
scrub_stack(void)
{
    uint8_t below[SCRUB];

    pqe__wipe(below, sizeof below);
}

static void *
help(void *arg)
{
    pqe__job *job;

    (void)arg;
    pthread_mutex_lock(&pool.lock);
    while (pool.helpers < threads_wanted()) {
        if ((job = join_job()) == NULL) {
            pool.idle++;
            pthread_cond_wait(&pool.work, &pool.lock);
            pool.idle--;
            continue;
        }
        pthread_mutex_unlock(&pool.lock);
        job->fn(job->arg);
        scrub_stack();
        pthread_mutex_lock(&pool.lock);
        job->running--;
        pthread_cond_broadcast(&pool.done);
    }
    pool.helpers--;
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

/* The lock is held. A thread that cannot be had is done without. */
static void
start_helper(void)
{
    sigset_t all, old;
    pthread_t thread;

    /* The application's signals are none of this thread's business. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (pthread_create(&thread, NULL, help, NULL) == 0) {
        pthread_detach(thread);
        pool.helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* ---- jobs ---- */

void
pqe__pool_start(pqe__job *job, pqe__job_fn fn, void *arg, unsigned helpers)
{
    pqe__job **last = &pool.first;
    unsigned most;

    *job = (pqe__job){.fn = fn, .arg = arg};
    pthread_once(&pool_once, install_fork_handlers);
    pthread_mutex_lock(&pool.lock);
    most = threads_wanted() - 1;
    job->wanted = helpers < most ? helpers : most;
    for (unsigned i = pool.idle; i < job->wanted && pool.helpers < most; i++)
        start_helper();
    if (job->wanted != 0 && pool.helpers != 0) {
        while (*last != NULL)
            last = &(*last)->next;
        *last = job;
        for (unsigned i = 0; i < job->wanted; i++)
            pthread_cond_signal(&pool.work);
    }
    pthread_mutex_unlock(&pool.lock);
}

bool
pqe__pool_finish(pqe__job *job)
{
    pqe__job **at = &pool.first;

    pthread_mutex_lock(&pool.lock);
    while (*at != NULL && *at != job)
        at = &(*at)->next;
    if (*at != NULL)
        *at = job->next;
    while (job->running != 0)
        pthread_cond_wait(&pool.done, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
    return job->begun;
}

void
pqe__pool_run(pqe__job_fn fn, void *arg, unsigned threads)
{
    pqe__job job;

    if (threads < 2) {
        fn(arg);
        return;
    }
    pqe__pool_start(&job, fn, arg, threads - 1);
    fn(arg);
    pqe__pool_finish(&job);
}
