/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HPKE and ML-KEM of the library for the check in hpke_check.py. Arguments are hexadecimal, messages are standard input
 * and output:
 *
 *   hpke_driver public SEED            the public key as PEM
 *   hpke_driver seal EK INFO AAD       enc || ciphertext || tag of standard input
 *   hpke_driver open SEED INFO AAD     plaintext of standard input; exit status 3 if it does not verify
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "util/fsio.h"
#include "util/text.h"

#define MESSAGE_MAX ((size_t)1 << 20)

typedef struct bytes {
    uint8_t *data;
    size_t len;
} bytes;

static uint8_t message[MESSAGE_MAX], result[MESSAGE_MAX + PQE__HPKE_OVERHEAD];

static int
finish(pqe_status status, size_t len, const pqe_error *err)
{
    if (status == PQE_OK)
        status = pqe__write_all(STDOUT_FILENO, result, len, "cannot write", NULL);
    if (status == PQE_OK)
        return 0;
    fprintf(stderr, "%s: %s\n", pqe_status_name(status), err->message);
    return status == PQE_E_DECRYPTION ? 3 : 1;
}

static bytes
unhex(const char *text)
{
    size_t len = strlen(text) / 2;
    bytes b = {malloc(len + 1), len};

    if (b.data == NULL || (len > 0 && !pqe__hex_decode(text, len, b.data))) {
        fputs("bad argument\n", stderr);
        exit(2);
    }
    return b;
}

static int
write_public(bytes seed)
{
    pqe__kem_key *key = NULL;
    pqe_error err = {0};
    size_t len = 0;
    pqe_status status = seed.len == PQE__KEM_SEED_SIZE ? pqe__kem_from_seed(seed.data, &key, &err) : PQE_E_ARGUMENT;

    if (status == PQE_OK)
        status = pqe__kem_public_pem(key, (char *)result, sizeof result, &len, &err);
    pqe__kem_free(&key);
    return finish(status, len, &err);
}

/* Base mode without `psk`. */
static pqe_status
seal_or_open(bool sealing, const pqe__kem_key *key, bytes info, bytes aad, const pqe__hpke_psk *psk, size_t len,
             pqe_error *err)
{
    const pqe__hpke_suite *suite = &pqe__hpke_ml_kem_768;

    if (sealing && psk == NULL)
        return pqe__hpke_seal(suite, key, NULL, info.data, info.len, aad.data, aad.len, message, len, result, err);
    if (psk == NULL)
        return pqe__hpke_open(suite, key, info.data, info.len, aad.data, aad.len, message, len, result, err);
    if (sealing)
        return pqe__hpke_seal_psk(suite, psk, key, NULL, info.data, info.len, aad.data, aad.len, message, len, result,
                                  err);
    return pqe__hpke_open_psk(suite, psk, key, info.data, info.len, aad.data, aad.len, message, len, result, err);
}

static int
run(bool sealing, bytes key_bytes, bytes info, bytes aad, const pqe__hpke_psk *psk)
{
    pqe__kem_key *key = NULL;
    pqe_error err = {0};
    size_t len = 0, out_len = 0;
    pqe_status status = pqe__read_all(STDIN_FILENO, message, sizeof message, &len, "cannot read", &err);

    if (status == PQE_OK && sealing)
        status = pqe__kem_from_public(key_bytes.data, key_bytes.len, &key, &err);
    else if (status == PQE_OK)
        status = key_bytes.len == PQE__KEM_SEED_SIZE ? pqe__kem_from_seed(key_bytes.data, &key, &err) : PQE_E_ARGUMENT;
    if (status == PQE_OK) {
        out_len = sealing ? len + PQE__HPKE_OVERHEAD : len < PQE__HPKE_OVERHEAD ? 0 : len - PQE__HPKE_OVERHEAD;
        status = seal_or_open(sealing, key, info, aad, psk, len, &err);
    }
    pqe__kem_free(&key);
    return finish(status, out_len, &err);
}

int
main(int argc, char **argv)
{
    bytes a[5] = {{0}};
    int code = 2;

    for (int i = 2; i < argc && i < 7; i++)
        a[i - 2] = unhex(argv[i]);
    if (argc == 3 && strcmp(argv[1], "public") == 0)
        code = write_public(a[0]);
    else if (argc == 5 && (strcmp(argv[1], "seal") == 0 || strcmp(argv[1], "open") == 0))
        code = run(argv[1][0] == 's', a[0], a[1], a[2], NULL);
    else if (argc == 7 && (strcmp(argv[1], "seal") == 0 || strcmp(argv[1], "open") == 0))
        code = run(argv[1][0] == 's', a[0], a[1], a[2], &(pqe__hpke_psk){a[3].data, a[3].len, a[4].data, a[4].len});
    else
        fputs("usage: hpke_driver public SEED | seal EK INFO AAD [PSK ID] | open SEED INFO AAD [PSK ID]\n", stderr);
    for (size_t i = 0; i < 5; i++)
        free(a[i].data);
    return code;
}
