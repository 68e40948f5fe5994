/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-256-GCM of two libraries, a core: gcm [ROUNDS]
 *
 * Decrypts 64 MiB in the cache's reach as messages of 16 KiB (the body format's) and of 1 MiB, each with a nonce of its own
 * and its tag checked, by OpenSSL and by libgcrypt in turn; also the same with a copy of the ciphertext before each
 * message, which is what reading a file costs. Prints GB/s, medians.
 */
#include <gcrypt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOTAL ((size_t)64 << 20)
#define TAG 16
#define ROUNDS_MAX 101

static unsigned char key[32] = {1}, *cipher, *plain, *staged;

static double
now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
need(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "gcm: %s failed\n", what);
    exit(1);
}

static void
nonce_of(size_t i, unsigned char nonce[12])
{
    memset(nonce, 0, 12);
    memcpy(nonce, &i, sizeof i);
}

static void
make(size_t message)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    unsigned char nonce[12];
    int n;

    need(c != NULL && EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, NULL), "init");
    for (size_t i = 0; i < TOTAL / message; i++) {
        unsigned char *to = cipher + i * (message + TAG);
        nonce_of(i, nonce);
        need(EVP_EncryptInit_ex(c, NULL, NULL, NULL, nonce) &&
                 EVP_EncryptUpdate(c, to, &n, plain + i * message, (int)message) && EVP_EncryptFinal_ex(c, to, &n) &&
                 EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG, to + message),
             "encrypt");
    }
    EVP_CIPHER_CTX_free(c);
}

static const unsigned char *
stage(const unsigned char *from, size_t message, int copy)
{
    if (!copy)
        return from;
    memcpy(staged, from, message + TAG);
    return staged;
}

static double
by_openssl(size_t message, int copy)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    unsigned char nonce[12], tag[TAG];
    double start;
    int n;

    need(c != NULL && EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, NULL), "init");
    start = now();
    for (size_t i = 0; i < TOTAL / message; i++) {
        const unsigned char *from = stage(cipher + i * (message + TAG), message, copy);
        nonce_of(i, nonce);
        memcpy(tag, from + message, TAG);
        need(EVP_DecryptInit_ex(c, NULL, NULL, NULL, nonce) &&
                 EVP_DecryptUpdate(c, plain + i * message, &n, from, (int)message) &&
                 EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG, tag) && EVP_DecryptFinal_ex(c, plain, &n) > 0,
             "OpenSSL");
    }
    start = now() - start;
    EVP_CIPHER_CTX_free(c);
    return start;
}

static double
by_libgcrypt(size_t message, int copy)
{
    gcry_cipher_hd_t c;
    unsigned char nonce[12];
    double start;

    need(gcry_cipher_open(&c, GCRY_CIPHER_AES256, GCRY_CIPHER_MODE_GCM, 0) == 0 &&
             gcry_cipher_setkey(c, key, sizeof key) == 0,
         "libgcrypt's set-up");
    start = now();
    for (size_t i = 0; i < TOTAL / message; i++) {
        const unsigned char *from = stage(cipher + i * (message + TAG), message, copy);
        nonce_of(i, nonce);
        need(gcry_cipher_setiv(c, nonce, sizeof nonce) == 0 &&
                 gcry_cipher_decrypt(c, plain + i * message, message, from, message) == 0 &&
                 gcry_cipher_checktag(c, from + message, TAG) == 0,
             "libgcrypt");
    }
    start = now() - start;
    gcry_cipher_close(c);
    return start;
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int
main(int argc, char **argv)
{
    static const size_t messages[] = {16 << 10, 1 << 20};
    int rounds = argc > 1 ? atoi(argv[1]) : 15;

    need(rounds > 0 && rounds <= ROUNDS_MAX && gcry_check_version(NULL) != NULL, "set-up");
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    cipher = malloc(TOTAL + TOTAL / messages[0] * TAG);
    plain = calloc(1, TOTAL);
    staged = malloc(messages[1] + TAG);
    need(cipher != NULL && plain != NULL && staged != NULL, "memory");
    printf("%s, libgcrypt %s\n", OpenSSL_version(OPENSSL_VERSION), gcry_check_version(NULL));
    for (size_t m = 0; m < 2; m++)
        for (int copy = 0; copy < 2; copy++) {
            double t[2][ROUNDS_MAX];
            make(messages[m]);
            for (int i = 0; i < rounds; i++) {
                t[0][i] = by_openssl(messages[m], copy);
                t[1][i] = by_libgcrypt(messages[m], copy);
            }
            for (int e = 0; e < 2; e++)
                qsort(t[e], (size_t)rounds, sizeof t[e][0], compare);
            printf("messages of %4zu KiB%s: OpenSSL %5.2f, libgcrypt %5.2f GB/s\n", messages[m] >> 10,
                   copy ? ", copied first" : "              ", (double)TOTAL / t[0][rounds / 2] / 1e9,
                   (double)TOTAL / t[1][rounds / 2] / 1e9);
        }
    return 0;
}
