/* SPDX-License-Identifier: Apache-2.0 */
/* Public keys on P-256, as hardware has them that knows nothing better. */
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <string.h>

#include "crypto/library.h"

static EVP_PKEY *
from_point(const pqe__library *l, const uint8_t point[2 * PQE__P256_SIZE])
{
    uint8_t octets[1 + 2 * PQE__P256_SIZE] = {0x04}; /* uncompressed: SEC 1, section 2.3.3 */
    char group[] = "P-256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
                           OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, octets, sizeof octets),
                           OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(l->ctx, "EC", NULL);
    EVP_PKEY *key = NULL;

    memcpy(octets + 1, point, 2 * (size_t)PQE__P256_SIZE);
    if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    return key;
}

pqe_status
pqe__p256_public_pem(const uint8_t point[2 * PQE__P256_SIZE], char *buf, size_t capacity, size_t *len, pqe_error *err)
{
    const pqe__library *l;
    EVP_PKEY *key;
    pqe_status status = pqe__library_get(&l, err);

    *len = 0;
    if (status != PQE_OK)
        return status;
    pqe__ossl_begin();
    key = from_point(l, point);
    status = pqe__ossl_end(key != NULL, "read a point", err);
    if (status == PQE_E_CRYPTO)
        status = pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "the public key is not a point of P-256");
    if (status == PQE_OK)
        status = pqe__pkey_pem(key, false, PQE_E_LIMIT, "write a public key", buf, capacity, len, err);
    EVP_PKEY_free(key);
    return status;
}
