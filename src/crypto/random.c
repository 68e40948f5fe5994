/* SPDX-License-Identifier: Apache-2.0 */
/* Randomness from libcrypto's generators (SP 800-90A, reseeded after fork), and constant-time comparison. */
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "crypto/library.h"
#include "util/secmem.h"

typedef int (*generator)(OSSL_LIB_CTX *ctx, unsigned char *buf, size_t num, unsigned int strength);

static pqe_status
generate(generator fn, void *out, size_t len, pqe_error *err)
{
    const pqe__library *l;
    pqe_status status = pqe__library_get(&l, err);

    if (status != PQE_OK)
        return status;
    pqe__ossl_begin();
    status = pqe__ossl_end(len == 0 || fn(l->ctx, out, len, 0) == 1, "produce randomness", err);
    if (status != PQE_OK)
        pqe__wipe(out, len);
    return status;
}

pqe_status
pqe__random(void *out, size_t len, pqe_error *err)
{
    return generate(RAND_bytes_ex, out, len, err);
}

pqe_status
pqe__random_secret(void *out, size_t len, pqe_error *err)
{
    return generate(RAND_priv_bytes_ex, out, len, err);
}

bool
pqe__equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}
