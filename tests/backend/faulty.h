/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A decorator backend: forwards every call to another backend and makes the Nth one fail with PQE_E_BACKEND, without
 * reaching the inner backend. First count the calls of a scenario, then run it once for each and fail that one.
 *
 * The inner table is kept in a global: one decorated backend kind at a time. Counting is atomic.
 */
#ifndef PQE_TESTS_BACKEND_FAULTY_H
#define PQE_TESTS_BACKEND_FAULTY_H

#include <pqc_enclave/backend.h>

/** The decorated table, with the inner backend's name and capabilities; valid until another table is wrapped. A
 *  decorated table is returned as it is. */
const pqe_backend_ops *faulty_wrap(const pqe_backend_ops *inner);

/** Starts counting anew and fails the `fail_at`th call from now on, once; 0: none. The error's `native` is fail_at. */
void faulty_arm(unsigned fail_at);

/** Calls that could have failed since faulty_arm(). */
unsigned faulty_calls(void);

#endif
