/* SPDX-License-Identifier: Apache-2.0 */
/* What sign.c and sign_pem.c share. */
#ifndef PQE_CRYPTO_SIGN_H
#define PQE_CRYPTO_SIGN_H

#include "crypto/library.h"

struct pqe__sig_key {
    EVP_PKEY *pkey;
    pqe_sig_algorithm algorithm;
};

/** An object without a key yet, and the library. PQE_E_ARGUMENT for an unknown algorithm. */
pqe_status pqe__sig_key_new(pqe_sig_algorithm algorithm, pqe__sig_key **out, const pqe__library **l, pqe_error *err);

#endif
