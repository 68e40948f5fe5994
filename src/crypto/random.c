/* SPDX-License-Identifier: Apache-2.0 */
/* Randomness from libcrypto's generators (SP 800-90A, reseeded after fork), and constant-time comparison. */
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

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

/* Nonces, salts and ids are short and many, and a call of the generator costs more than its bytes: it gives some in
   advance. In a forked child this memory is zero: nothing is left and nobody is busy, and the child draws its own. */
#define STOCK 1536u
#define SHORT 64u

static struct stock {
    atomic_bool busy;
    size_t left;
    uint8_t bytes[STOCK];
} * stock; /* NULL: not to be had, nothing is kept */
static pthread_once_t stock_once = PTHREAD_ONCE_INIT;

static void
map_stock(void)
{
    stock = pqe__map_wiped_on_fork(sizeof *stock);
}

static pqe_status
take_from_stock(uint8_t *out, size_t len, pqe_error *err)
{
    pqe_status status;

    if (stock->left < len) {
        stock->left = 0;
        if ((status = generate(RAND_bytes_ex, stock->bytes, STOCK, err)) != PQE_OK)
            return status;
        stock->left = STOCK;
    }
    stock->left -= len;
    memcpy(out, stock->bytes + stock->left, len);
    pqe__wipe(stock->bytes + stock->left, len); /* nobody gets them again */
    return PQE_OK;
}

pqe_status
pqe__random(void *out, size_t len, pqe_error *err)
{
    pqe_status status;

    pthread_once(&stock_once, map_stock);
    if (len == 0 || len > SHORT || stock == NULL || atomic_exchange(&stock->busy, true))
        return generate(RAND_bytes_ex, out, len, err);
    status = take_from_stock(out, len, err);
    atomic_store(&stock->busy, false);
    if (status != PQE_OK)
        pqe__wipe(out, len);
    return status;
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
