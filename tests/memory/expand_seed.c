/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints the ML-KEM-768 decapsulation key (FIPS 203, section 7.1) of each seed given in hex on standard input: for
 * dump_check.py, so that the process to be dumped need not.
 */
#include <stdio.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#define SEED 64
#define KEY 2400

static int
expand(unsigned char *seed, unsigned char *key)
{
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_ML_KEM_SEED, seed, SEED),
                           OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "ML-KEM-768", NULL);
    EVP_PKEY *pkey = NULL;
    size_t len = KEY;
    int ok = ctx != NULL && EVP_PKEY_keygen_init(ctx) > 0 && EVP_PKEY_CTX_set_params(ctx, params) > 0 &&
             EVP_PKEY_generate(ctx, &pkey) > 0 && EVP_PKEY_get_raw_private_key(pkey, key, &len) > 0 && len == KEY;

    EVP_PKEY_free(pkey);
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

int
main(void)
{
    unsigned char seed[SEED], key[KEY];
    char line[2 * SEED + 2];

    while (fgets(line, sizeof line, stdin) != NULL) {
        for (size_t i = 0; i < SEED; i++)
            if (sscanf(line + 2 * i, "%2hhx", &seed[i]) != 1)
                return 1;
        if (!expand(seed, key))
            return 1;
        for (size_t i = 0; i < KEY; i++)
            printf("%02x", key[i]);
        putchar('\n');
    }
    return 0;
}
