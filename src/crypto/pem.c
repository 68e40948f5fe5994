/* SPDX-License-Identifier: Apache-2.0 */
/* Keys as PEM: SubjectPublicKeyInfo and PKCS#8, as RFC 9881 and RFC 9935 have them. */
#include <openssl/encoder.h>
#include <string.h>

#include "crypto/library.h"

pqe_status
pqe__pkey_pem(const EVP_PKEY *pkey, bool is_private, pqe_status too_small, const char *what, char *buf, size_t capacity,
              size_t *len, pqe_error *err)
{
    OSSL_ENCODER_CTX *ctx;
    unsigned char *pem = NULL;
    size_t pem_len = 0;
    pqe_status status;
    bool ok;

    *len = 0;
    if (capacity > 0)
        buf[0] = '\0';
    pqe__ossl_begin();
    ctx = OSSL_ENCODER_CTX_new_for_pkey(pkey, is_private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, "PEM",
                                        is_private ? "PrivateKeyInfo" : "SubjectPublicKeyInfo", NULL);
    ok = ctx != NULL && OSSL_ENCODER_to_data(ctx, &pem, &pem_len) > 0 && pem != NULL;
    OSSL_ENCODER_CTX_free(ctx);
    status = pqe__ossl_end(ok, what, err);
    if (status == PQE_OK && pem_len >= capacity)
        status = pqe__fail(err, too_small, PQE_ORIGIN_API, 0, "the PEM form needs %zu bytes", pem_len + 1);
    if (pem != NULL && status == PQE_OK) {
        memcpy(buf, pem, pem_len);
        buf[pem_len] = '\0';
        *len = pem_len;
    }
    OPENSSL_clear_free(pem, pem_len);
    return status;
}
