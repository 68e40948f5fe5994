/* SPDX-License-Identifier: Apache-2.0 */
/* libsodium's secretstream over a file, in chunks of 64 KiB, as its manual shows: secretstream e|d KEYHEX <IN >OUT */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define CHUNK 65536
#define OVERHEAD crypto_secretstream_xchacha20poly1305_ABYTES

static unsigned char in[CHUNK + OVERHEAD], out[CHUNK + OVERHEAD];

static int
encrypt(const unsigned char *key)
{
    crypto_secretstream_xchacha20poly1305_state state;
    unsigned char header[crypto_secretstream_xchacha20poly1305_HEADERBYTES];
    size_t n;

    crypto_secretstream_xchacha20poly1305_init_push(&state, header, key);
    fwrite(header, 1, sizeof header, stdout);
    do {
        unsigned char tag;
        unsigned long long len;
        n = fread(in, 1, CHUNK, stdin);
        tag = feof(stdin) ? crypto_secretstream_xchacha20poly1305_TAG_FINAL : 0;
        crypto_secretstream_xchacha20poly1305_push(&state, out, &len, in, n, NULL, 0, tag);
        fwrite(out, 1, (size_t)len, stdout);
    } while (!feof(stdin));
    return fflush(stdout);
}

static int
decrypt(const unsigned char *key)
{
    crypto_secretstream_xchacha20poly1305_state state;
    unsigned char header[crypto_secretstream_xchacha20poly1305_HEADERBYTES], tag = 0;
    unsigned long long len;
    size_t n;

    if (fread(header, 1, sizeof header, stdin) != sizeof header ||
        crypto_secretstream_xchacha20poly1305_init_pull(&state, header, key) != 0)
        return 1;
    while ((n = fread(in, 1, CHUNK + OVERHEAD, stdin)) > 0) {
        if (crypto_secretstream_xchacha20poly1305_pull(&state, out, &len, &tag, in, n, NULL, 0) != 0)
            return 1;
        fwrite(out, 1, (size_t)len, stdout);
    }
    return tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL ? fflush(stdout) : 1;
}

int
main(int argc, char **argv)
{
    unsigned char key[crypto_secretstream_xchacha20poly1305_KEYBYTES];

    if (argc != 3 || sodium_init() < 0 ||
        sodium_hex2bin(key, sizeof key, argv[2], strlen(argv[2]), NULL, NULL, NULL) != 0)
        return 2;
    return argv[1][0] == 'e' ? encrypt(key) : decrypt(key);
}
