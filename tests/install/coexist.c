/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that uses the system's libcrypto and our shared library at once, from several threads. Where ours has a
 * private OpenSSL inside, there are two in the process, and neither may notice the other.
 */
#include <dlfcn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pqc_enclave.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define ROUNDS 20
#define THREADS 4

/* AES-256-GCM of 16 zero bytes under a zero key and nonce: The Galois/Counter Mode of Operation, test case 14. */
static const unsigned char expected[32] = {0xce, 0xa7, 0x40, 0x3d, 0x4d, 0x60, 0x6b, 0x6e, 0x07, 0x4e, 0xc5,
                                           0xd3, 0xba, 0xf3, 0x9d, 0x18, 0xd0, 0xd1, 0xc8, 0xa7, 0x99, 0x99,
                                           0x6b, 0xf0, 0x26, 0x5b, 0x98, 0xb5, 0xd4, 0x8a, 0xb9, 0x19};

/* The program's calls must reach the system's library, not what may be inside ours. */
static int
is_the_systems(uintptr_t function)
{
    Dl_info info;

    return dladdr((const void *)function, &info) != 0 && strstr(info.dli_fname, "libcrypto.so") != NULL;
}

static int
use_libcrypto(void)
{
    static const unsigned char zeros[32];
    unsigned char out[32], random[32];
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;
    int ok = ctx != NULL && EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, zeros, zeros) == 1 &&
             EVP_EncryptUpdate(ctx, out, &n, zeros, 16) == 1 && EVP_EncryptFinal_ex(ctx, out + n, &n) == 1 &&
             EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, out + 16) == 1 &&
             memcmp(out, expected, sizeof out) == 0 && RAND_bytes(random, sizeof random) == 1 &&
             EVP_MD_fetch(NULL, "no such digest", NULL) == NULL;

    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

static int
use_vault(void)
{
    pqe_error err = {0};
    pqe_backend *backend = NULL;
    pqe_vault *vault = NULL;
    pqe_vault_opts vo = {.size = sizeof vo, .create = true};
    pqe_put_opts po = {.size = sizeof po, .name = "a", .kind = PQE_KIND_OTHER};
    void *content = NULL;
    size_t len = 0;
    int ok = pqe_backend_open("memory", NULL, &backend, &err) == PQE_OK;

    vo.backend = backend;
    ok = ok && pqe_vault_open(&vo, &vault, &err) == PQE_OK && pqe_put(vault, &po, "content", 7, NULL, &err) == PQE_OK &&
         pqe_get(vault, "a", &content, &len, NULL, &err) == PQE_OK && len == 7 && memcmp(content, "content", 7) == 0;
    if (!ok)
        fprintf(stderr, "%s\n", err.message);
    pqe_content_free(&content, len);
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
    return ok;
}

static void *
both(void *arg)
{
    int *ok = arg;

    for (int i = 0; i < ROUNDS && *ok; i++) {
        /* An error that libcrypto reported stays in its queue, whatever the vault does. */
        *ok = use_libcrypto() && ERR_peek_error() != 0 && use_vault() && ERR_peek_error() != 0 && use_libcrypto();
        ERR_clear_error();
        *ok = *ok && use_vault() && ERR_peek_error() == 0;
    }
    return NULL;
}

int
main(void)
{
    char version[128];
    pthread_t threads[THREADS];
    int results[THREADS], ok = 1;

    snprintf(version, sizeof version, "%s", OpenSSL_version(OPENSSL_VERSION));
    for (int i = 0; i < THREADS; i++) {
        results[i] = 1;
        if (pthread_create(&threads[i], NULL, both, &results[i]) != 0)
            return 1;
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        ok = ok && results[i];
    }
    ok = ok && is_the_systems((uintptr_t)EVP_EncryptInit_ex) && is_the_systems((uintptr_t)RAND_bytes);
    ok = ok && strcmp(version, OpenSSL_version(OPENSSL_VERSION)) == 0;
    printf("%s and pqc-enclave %s: %s\n", version, pqe_version(), ok ? "fine" : "not fine");
    return ok ? 0 : 1;
}
