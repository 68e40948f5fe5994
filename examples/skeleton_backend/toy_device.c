/* SPDX-License-Identifier: Apache-2.0 */
/* The toy device: AES-256-GCM by OpenSSL with a key from a file. REPLACE all of this file by your device's library. */
#include "toy_device.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_SIZE 32
#define NONCE_SIZE 12
#define TAG_SIZE 16

struct toy_device {
    char directory[1024];
};

int
toy_connect(const char *directory, toy_device **out)
{
    struct stat st;
    toy_device *d;

    if (stat(directory, &st) != 0)
        return errno;
    if (strlen(directory) >= sizeof d->directory)
        return ENAMETOOLONG;
    if ((d = calloc(1, sizeof *d)) == NULL)
        return ENOMEM;
    memcpy(d->directory, directory, strlen(directory) + 1);
    *out = d;
    return 0;
}

void
toy_disconnect(toy_device *device)
{
    free(device);
}

/* ---- slots ---- */

#define PATH_SIZE (1024 + 2 * TOY_SLOT_SIZE + 2)

static void
path_of(const toy_device *d, const uint8_t slot[TOY_SLOT_SIZE], char path[PATH_SIZE])
{
    int n = snprintf(path, PATH_SIZE, "%s/", d->directory);

    for (size_t i = 0; i < TOY_SLOT_SIZE; i++)
        n += snprintf(path + n, PATH_SIZE - (size_t)n, "%02x", slot[i]);
}

int
toy_make_key(toy_device *d, const uint8_t slot[TOY_SLOT_SIZE])
{
    char path[PATH_SIZE];
    uint8_t key[KEY_SIZE];
    int fd, error = 0;

    path_of(d, slot, path);
    if ((fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
        return errno;
    if (RAND_priv_bytes(key, sizeof key) != 1 || write(fd, key, sizeof key) != (ssize_t)sizeof key || fsync(fd) != 0)
        error = EIO;
    OPENSSL_cleanse(key, sizeof key);
    close(fd);
    if (error != 0)
        unlink(path);
    return error;
}

static int
read_key(const toy_device *d, const uint8_t slot[TOY_SLOT_SIZE], uint8_t key[KEY_SIZE])
{
    char path[PATH_SIZE];
    int fd;
    ssize_t n;

    path_of(d, slot, path);
    if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return errno;
    n = read(fd, key, KEY_SIZE);
    close(fd);
    return n == KEY_SIZE ? 0 : EIO;
}

int
toy_find_key(toy_device *d, const uint8_t slot[TOY_SLOT_SIZE])
{
    uint8_t key[KEY_SIZE];
    int error = read_key(d, slot, key);

    OPENSSL_cleanse(key, sizeof key);
    return error;
}

void
toy_remove_key(toy_device *d, const uint8_t slot[TOY_SLOT_SIZE])
{
    char path[PATH_SIZE];

    path_of(d, slot, path);
    unlink(path);
}

/* ---- encryption: nonce, ciphertext, tag ---- */

int
toy_encrypt(toy_device *d, const uint8_t slot[TOY_SLOT_SIZE], const uint8_t *aad, size_t aad_len, const uint8_t *in,
            size_t len, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t key[KEY_SIZE];
    int n, error = read_key(d, slot, key);

    if (error == 0 && (ctx == NULL || RAND_bytes(out, NONCE_SIZE) != 1 ||
                       EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, out) != 1 ||
                       (aad_len != 0 && EVP_EncryptUpdate(ctx, NULL, &n, aad, (int)aad_len) != 1) ||
                       EVP_EncryptUpdate(ctx, out + NONCE_SIZE, &n, in, (int)len) != 1 ||
                       EVP_EncryptFinal_ex(ctx, out + NONCE_SIZE + len, &n) != 1 ||
                       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, out + NONCE_SIZE + len) != 1))
        error = EIO;
    EVP_CIPHER_CTX_free(ctx);
    OPENSSL_cleanse(key, sizeof key);
    return error;
}

int
toy_decrypt(toy_device *d, const uint8_t slot[TOY_SLOT_SIZE], const uint8_t *aad, size_t aad_len, const uint8_t *in,
            size_t len, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx;
    uint8_t key[KEY_SIZE], tag[TAG_SIZE];
    size_t plain_len;
    int n, error;

    if (len < TOY_OVERHEAD)
        return EBADMSG;
    plain_len = len - TOY_OVERHEAD;
    if ((error = read_key(d, slot, key)) != 0)
        return error;
    memcpy(tag, in + len - TAG_SIZE, TAG_SIZE);
    ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL || EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, in) != 1 ||
        (aad_len != 0 && EVP_DecryptUpdate(ctx, NULL, &n, aad, (int)aad_len) != 1) ||
        EVP_DecryptUpdate(ctx, out, &n, in + NONCE_SIZE, (int)plain_len) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, tag) != 1)
        error = EIO;
    else if (EVP_DecryptFinal_ex(ctx, out + plain_len, &n) != 1)
        error = EBADMSG;
    EVP_CIPHER_CTX_free(ctx);
    OPENSSL_cleanse(key, sizeof key);
    return error;
}
