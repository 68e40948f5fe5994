/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running a function in a child process that stops before and after each of its system calls (ptrace), so that it can
 * be killed there, or a call be made to fail. Needs no strace; works under AddressSanitizer. Only the child's main
 * thread is stopped: the library's other thread touches no file.
 */
#ifndef PQE_TESTS_FAULT_TRACE_H
#define PQE_TESTS_FAULT_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct trace_stop {
    pid_t child;
    bool entry;     /* before the call; otherwise after it */
    unsigned index; /* counts stops since trace_begin(), from 0 */
    uint64_t call, args[6];
    int64_t result; /* after the call: value, or -errno */
} trace_stop;

typedef enum trace_verdict {
    TRACE_GO,
    TRACE_KILL, /* SIGKILL: before the call it has no effect, after it all of it */
    TRACE_FAIL  /* at entry only: the call is not made and gives *error */
} trace_verdict;

typedef trace_verdict (*trace_fn)(void *user, const trace_stop *stop, int *error);

/** Called by the child: stops are reported from trace_begin() to trace_end(). */
void trace_begin(void);
void trace_end(void);

/** Forks, runs `body` traced and then _exit(0)s there. Returns the child's wait status. */
int trace_run(void (*body)(void *arg), void *arg, trace_fn fn, void *user);
/** False, with a text, where tracing or changing results does not work (skip the test then). */
bool trace_available(const char **why);

/** Name of a call that the tests look at, else "call N". Static storage, overwritten by the next call. */
const char *trace_call_name(uint64_t call);

#endif
