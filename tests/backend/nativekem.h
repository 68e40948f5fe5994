/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A decorator backend with PQE_CAP_NATIVE_KEM: key pairs are made in software, in memory that is in no dump, and what the
 * vault gets of a decapsulation key is a handle: its seed sealed by the backend underneath. It stands for a device, so
 * that the vault's native tier can be tested anywhere. One decorated backend kind at a time.
 */
#ifndef PQE_TESTS_BACKEND_NATIVEKEM_H
#define PQE_TESTS_BACKEND_NATIVEKEM_H

#include <pqc_enclave/backend.h>

/** The decorated table; a decorated table is returned as it is. */
const pqe_backend_ops *nativekem_wrap(const pqe_backend_ops *inner);

/** Key pairs made and not dropped. A dropped one decapsulates no more. */
size_t nativekem_pairs(void);
/** Decapsulations so far. */
unsigned nativekem_calls(void);
/** From now on new pairs have an encapsulation key that is not theirs. */
void nativekem_misfit(bool on);
/** From now on a decapsulation first calls this; NULL: nothing. */
void nativekem_before(void (*call)(void *user), void *user);

#endif
