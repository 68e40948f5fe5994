/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A decorator backend: adds a counter to a backend that has none. The configuration is "DIR|CONFIG": counters are kept in
 * files of DIR, `<vault id>.counter` (u64) and `<vault id>.note`, each change synced, and CONFIG goes to the inner backend.
 *
 * It is strict: two advances at once, or one by more than one step, fail, and it can be told to fail or to kill the
 * process at each of its steps. The inner table is kept in a global: one decorated backend kind at a time.
 */
#ifndef PQE_TESTS_BACKEND_COUNTING_H
#define PQE_TESTS_BACKEND_COUNTING_H

#include <pqc_enclave/backend.h>

enum {
    COUNTING_NO_NOTES = 1, /* a device without room for notes */
    COUNTING_NOTHING = 2   /* has the ability, but vaults made now get no counter */
};

/** The decorated table, under the inner backend's name; valid until another table is wrapped. */
const pqe_backend_ops *counting_wrap(const pqe_backend_ops *inner);
/** For tables wrapped before and after. */
void counting_set(unsigned flags);

typedef enum counting_fault {
    COUNTING_SOUND,
    COUNTING_CANNOT_READ,
    COUNTING_CANNOT_NOTE,      /* fails before anything is written */
    COUNTING_CANNOT_INCREMENT, /* fails once the note is written */
    COUNTING_LOST_ANSWER,      /* does everything, then fails */
    COUNTING_DIES_BEFORE,      /* SIGKILL */
    COUNTING_DIES_BETWEEN,
    COUNTING_DIES_AFTER
} counting_fault;
/** From now on, until told otherwise. */
void counting_break(counting_fault fault);

/** Calls `fn` once, when a counter is read next: what another process may do at that moment. It must not use the backend
 *  that is read. */
void counting_before_read(void (*fn)(void *arg), void *arg);

/** Successful increments, and advances to the present value, since the last call. */
unsigned counting_advances(void);
unsigned counting_reads(void);

#endif
