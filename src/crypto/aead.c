/* SPDX-License-Identifier: Apache-2.0 */
/* AES-GCM, SP 800-38D. The key schedule is computed once a context; a message sets the nonce alone. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/library.h"
#include "util/secmem.h"

struct pqe__aead {
    EVP_CIPHER_CTX *ctx;
};

/* libcrypto counts the bytes of one call in an int. */
#define LENGTH_MAX ((size_t)INT_MAX - PQE__TAG_SIZE)

/* AES-256-GCM; the one published vector of HPKE with ML-KEM-768 wants AES-128-GCM, in a copy of this file that only its
   test is built with. */
static const EVP_CIPHER *
cipher_for(const pqe__library *l, size_t key_len)
{
#ifdef PQE_TEST_SUITES
    if (key_len == 16)
        return EVP_aes_128_gcm();
#endif
    return key_len == 32 ? l->aes_256_gcm : NULL;
}

pqe_status
pqe__aead_new(const uint8_t *key, size_t key_len, pqe__aead **out, pqe_error *err)
{
    const pqe__library *l;
    pqe__aead *aead;
    pqe_status status = pqe__library_get(&l, err);

    *out = NULL;
    if (status != PQE_OK)
        return status;
    if (cipher_for(l, key_len) == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_CRYPTO, 0, "no AES-GCM key has %zu bytes", key_len);
    aead = calloc(1, sizeof *aead);
    if (aead == NULL)
        return pqe__fail_nomem(err);
    pqe__ossl_begin();
    aead->ctx = EVP_CIPHER_CTX_new();
    status = pqe__ossl_end(aead->ctx != NULL && EVP_EncryptInit_ex2(aead->ctx, cipher_for(l, key_len), key, NULL, NULL),
                           "set an AES-GCM key", err);
    pqe__wipe_stack_shallow(); /* libcrypto leaves words of the key schedule there */
    if (status != PQE_OK) {
        pqe__aead_free(&aead);
        return status;
    }
    *out = aead;
    return PQE_OK;
}

void
pqe__aead_free(pqe__aead **aead)
{
    if (aead == NULL || *aead == NULL)
        return;
    EVP_CIPHER_CTX_free((*aead)->ctx);
    free(*aead);
    *aead = NULL;
}

pqe_status
pqe__aead_seal(pqe__aead *aead, const uint8_t nonce[PQE__NONCE_SIZE], const uint8_t *aad, size_t aad_len,
               const uint8_t *in, size_t len, uint8_t *out, pqe_error *err)
{
    EVP_CIPHER_CTX *ctx = aead->ctx;
    pqe_status status;
    int n = 0;

    if (len > LENGTH_MAX || aad_len > LENGTH_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_CRYPTO, 0, "too long to encrypt in one piece");
    pqe__ossl_begin();
    status = pqe__ossl_end_plain(EVP_EncryptInit_ex2(ctx, NULL, NULL, nonce, NULL) &&
                                     (aad_len == 0 || EVP_EncryptUpdate(ctx, NULL, &n, aad, (int)aad_len)) &&
                                     (len == 0 || EVP_EncryptUpdate(ctx, out, &n, in, (int)len)) &&
                                     EVP_EncryptFinal_ex(ctx, out + len, &n) &&
                                     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, PQE__TAG_SIZE, out + len) > 0,
                                 "encrypt", err);
    if (status != PQE_OK)
        pqe__wipe(out, len + PQE__TAG_SIZE);
    return status;
}

static pqe_status
open_message(EVP_CIPHER_CTX *ctx, const uint8_t *nonce, const uint8_t *aad, size_t aad_len, const uint8_t *in,
             size_t len, uint8_t *out, pqe_error *err)
{
    uint8_t tag[PQE__TAG_SIZE];
    bool worked, verified;
    pqe_status status;
    int n = 0;

    memcpy(tag, in + len, sizeof tag); /* `out` may be `in` */
    pqe__ossl_begin();
    worked = EVP_DecryptInit_ex2(ctx, NULL, NULL, nonce, NULL) &&
             EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, PQE__TAG_SIZE, tag) > 0 &&
             (aad_len == 0 || EVP_DecryptUpdate(ctx, NULL, &n, aad, (int)aad_len)) &&
             (len == 0 || EVP_DecryptUpdate(ctx, out, &n, in, (int)len));
    verified = worked && EVP_DecryptFinal_ex(ctx, out + len, &n) > 0;
    status = pqe__ossl_end_plain(verified, "decrypt", worked ? NULL : err);
    if (!worked)
        return status;
    return verified ? PQE_OK : pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_CRYPTO, 0, "the tag does not verify");
}

pqe_status
pqe__aead_open(pqe__aead *aead, const uint8_t nonce[PQE__NONCE_SIZE], const uint8_t *aad, size_t aad_len,
               const uint8_t *in, size_t len, uint8_t *out, pqe_error *err)
{
    pqe_status status;

    if (len < PQE__TAG_SIZE)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_CRYPTO, 0, "the ciphertext is shorter than its tag");
    len -= PQE__TAG_SIZE;
    if (len > LENGTH_MAX || aad_len > LENGTH_MAX)
        status = pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_CRYPTO, 0, "too long to decrypt in one piece");
    else
        status = open_message(aead->ctx, nonce, aad, aad_len, in, len, out, err);
    if (status != PQE_OK)
        pqe__wipe(out, len);
    return status;
}

pqe_status
pqe__box_seal(pqe__aead *aead, const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len, uint8_t *out,
              pqe_error *err)
{
    pqe_status status = pqe__random(out, PQE__NONCE_SIZE, err);

    if (status != PQE_OK)
        return status;
    return pqe__aead_seal(aead, out, aad, aad_len, in, len, out + PQE__NONCE_SIZE, err);
}

pqe_status
pqe__box_open(pqe__aead *aead, const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len, uint8_t *out,
              pqe_error *err)
{
    if (len < PQE__BOX_OVERHEAD)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_CRYPTO, 0, "the box is shorter than its nonce and tag");
    return pqe__aead_open(aead, in, aad, aad_len, in + PQE__NONCE_SIZE, len - PQE__NONCE_SIZE, out, err);
}
