/* SPDX-License-Identifier: Apache-2.0 */
/* ML-KEM key pairs of applications, FIPS 203: seeds and public keys of all three parameter sets. */
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <string.h>

#include <pqc_enclave/kem.h>

#include "crypto/crypto.h"
#include "crypto/library.h"
#include "util/secmem.h"

static const struct {
    const char *name;
    size_t public_size; /* FIPS 203, table 3 */
} algorithms[] = {{"ML-KEM-512", 800}, {"ML-KEM-768", 1184}, {"ML-KEM-1024", 1568}};

#define ALGORITHMS (sizeof algorithms / sizeof algorithms[0])

/* ALGORITHMS if there is none of that name. */
static size_t
find(const char *name)
{
    size_t i = 0;

    while (i < ALGORITHMS && (name == NULL || strcmp(name, algorithms[i].name) != 0))
        i++;
    return i;
}

static pqe_status
check(const char *algorithm, bool has_outputs, size_t capacity, size_t *index, pqe_error *err)
{
    *index = find(algorithm);
    if (*index == ALGORITHMS || !has_outputs)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0,
                         "no such ML-KEM parameter set, or an argument is NULL");
    if (capacity < algorithms[*index].public_size)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "the public key has %zu bytes",
                         algorithms[*index].public_size);
    return PQE_OK;
}

/* FIPS 203, section 7.1 (Algorithm 16): the seed d || z determines the key. */
static pqe_status
expand(size_t index, const void *seed, uint8_t *public_key, size_t *len, pqe_error *err)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_ML_KEM_SEED, (void *)seed, PQE_KEM_SEED_SIZE),
        OSSL_PARAM_construct_end()};
    size_t size = algorithms[index].public_size, written = size;
    const pqe__library *l;
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *ctx;
    pqe_status status = pqe__library_get(&l, err);
    bool ok;

    if (status != PQE_OK)
        return status;
    pqe__ossl_begin();
    ctx = EVP_PKEY_CTX_new_from_name(l->ctx, algorithms[index].name, NULL);
    ok = ctx != NULL && EVP_PKEY_keygen_init(ctx) > 0 && EVP_PKEY_CTX_set_params(ctx, params) > 0 &&
         EVP_PKEY_generate(ctx, &pkey) > 0 && EVP_PKEY_get_raw_public_key(pkey, public_key, &written) > 0 &&
         written == size;
    EVP_PKEY_free(pkey);
    EVP_PKEY_CTX_free(ctx);
    pqe__wipe_stack();
    status = pqe__ossl_end(ok, "expand an ML-KEM seed", err);
    if (status == PQE_OK)
        *len = size;
    else
        memset(public_key, 0, size);
    return status;
}

pqe_status
pqe_kem_public_of_seed(const char *algorithm, const void *seed, size_t seed_len, uint8_t *public_key, size_t capacity,
                       size_t *len, pqe_error *err)
{
    size_t index;
    pqe_status status = check(algorithm, seed != NULL && public_key != NULL && len != NULL, capacity, &index, err);

    if (len != NULL)
        *len = 0;
    if (status != PQE_OK)
        return status;
    if (seed_len != PQE_KEM_SEED_SIZE)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "an ML-KEM seed has %d bytes", PQE_KEM_SEED_SIZE);
    return expand(index, seed, public_key, len, err);
}

pqe_status
pqe_kem_generate(const char *algorithm, uint8_t *seed, uint8_t *public_key, size_t capacity, size_t *len,
                 pqe_error *err)
{
    size_t index;
    pqe_status status = check(algorithm, seed != NULL && public_key != NULL && len != NULL, capacity, &index, err);

    if (len != NULL)
        *len = 0;
    if (status == PQE_OK)
        status = pqe__random_secret(seed, PQE_KEM_SEED_SIZE, err);
    if (status == PQE_OK)
        status = expand(index, seed, public_key, len, err);
    if (status != PQE_OK && seed != NULL)
        pqe__wipe(seed, PQE_KEM_SEED_SIZE);
    return status;
}
