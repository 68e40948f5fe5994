/* SPDX-License-Identifier: Apache-2.0 */
/* ML-KEM-768 and HPKE: round trips, altered and truncated inputs, refused keys and suites, shared keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include <pqc_enclave/kem.h>

#include "crypto/crypto.h"
#include "unit/bytes.h"

static pqe__kem_key *
make_key(uint8_t first)
{
    uint8_t seed[PQE__KEM_SEED_SIZE];
    pqe__kem_key *key = NULL;

    fill(seed, sizeof seed);
    seed[0] = first;
    assert_int_equal(pqe__kem_from_seed(seed, &key, NULL), PQE_OK);
    return key;
}

static void
test_kem_round_trip(void **state)
{
    uint8_t ek[PQE__KEM_PUBLIC_SIZE], again[PQE__KEM_PUBLIC_SIZE], ct[2][PQE__KEM_CIPHERTEXT_SIZE];
    uint8_t sent[2][32], received[32];
    pqe__kem_key *key = make_key(1), *same = make_key(1), *other = make_key(2), *public_key = NULL;

    (void)state;
    assert_int_equal(pqe__kem_public(key, ek, NULL), PQE_OK);
    assert_int_equal(pqe__kem_public(same, again, NULL), PQE_OK);
    assert_memory_equal(ek, again, sizeof ek);
    assert_int_equal(pqe__kem_public(other, again, NULL), PQE_OK);
    assert_memory_not_equal(ek, again, sizeof ek);
    assert_int_equal(pqe__kem_from_public(ek, sizeof ek, &public_key, NULL), PQE_OK);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pqe__kem_encapsulate(public_key, NULL, ct[i], sent[i], NULL), PQE_OK);
        assert_int_equal(pqe__kem_decapsulate(same, ct[i], sizeof ct[i], received, NULL), PQE_OK);
        assert_memory_equal(sent[i], received, 32);
    }
    assert_memory_not_equal(sent[0], sent[1], 32); /* fresh randomness each time */
    assert_memory_not_equal(ct[0], ct[1], 32);
    assert_int_equal(pqe__kem_decapsulate(other, ct[0], sizeof ct[0], received, NULL), PQE_OK);
    assert_memory_not_equal(sent[0], received, 32);
    pqe__kem_free(&key);
    assert_null(key);
    pqe__kem_free(&key);
    pqe__kem_free(NULL);
    pqe__kem_free(&same);
    pqe__kem_free(&other);
    pqe__kem_free(&public_key);
}

/* FIPS 203, section 6.3: a rejected ciphertext c gives J(z || c), and J is SHAKE256. */
static void
test_kem_implicit_rejection(void **state)
{
    uint8_t ct[PQE__KEM_CIPHERTEXT_SIZE], sent[32], received[32], expected[32], z[32], seed[PQE__KEM_SEED_SIZE];
    EVP_MD_CTX *shake = EVP_MD_CTX_new();
    pqe__kem_key *key = make_key(1);

    (void)state;
    assert_non_null(shake);
    fill(seed, sizeof seed);
    memcpy(z, seed + 32, sizeof z);
    for (size_t i = 0; i < sizeof ct; i += 31) {
        assert_int_equal(pqe__kem_encapsulate(key, NULL, ct, sent, NULL), PQE_OK);
        ct[i] ^= 1;
        assert_int_equal(pqe__kem_decapsulate(key, ct, sizeof ct, received, NULL), PQE_OK);
        assert_memory_not_equal(sent, received, 32);
        assert_true(EVP_DigestInit_ex2(shake, EVP_shake256(), NULL) && EVP_DigestUpdate(shake, z, sizeof z) &&
                    EVP_DigestUpdate(shake, ct, sizeof ct) && EVP_DigestFinalXOF(shake, expected, sizeof expected));
        assert_memory_equal(received, expected, 32);
    }
    EVP_MD_CTX_free(shake);
    pqe__kem_free(&key);
}

static void
test_kem_misuse(void **state)
{
    uint8_t ek[PQE__KEM_PUBLIC_SIZE + 1] = {0}, ct[PQE__KEM_CIPHERTEXT_SIZE + 1] = {0}, shared[32];
    pqe__kem_key *key = make_key(1), *public_key = (pqe__kem_key *)&key;
    pqe_error err;

    (void)state;
    assert_int_equal(pqe__kem_public(key, ek, NULL), PQE_OK);
    for (size_t len = 0; len <= sizeof ek; len += len < 1180 ? 59 : 1) {
        if (len == PQE__KEM_PUBLIC_SIZE)
            continue;
        assert_int_equal(pqe__kem_from_public(ek, len, &public_key, &err), PQE_E_ARGUMENT);
        assert_null(public_key);
    }
    for (size_t i = 0; i < 1152; i += 3) { /* each 12-bit coefficient in turn at q = 3329, section 7.2 */
        uint8_t saved[3] = {ek[i], ek[i + 1], ek[i + 2]};

        ek[i] = 0x01;
        ek[i + 1] = (uint8_t)((ek[i + 1] & 0xf0) | 0x0d);
        assert_int_equal(pqe__kem_from_public(ek, PQE__KEM_PUBLIC_SIZE, &public_key, &err), PQE_E_ARGUMENT);
        assert_null(public_key);
        ek[i] = 0x00; /* q - 1 is the largest allowed */
        assert_int_equal(pqe__kem_from_public(ek, PQE__KEM_PUBLIC_SIZE, &public_key, &err), PQE_OK);
        pqe__kem_free(&public_key);
        ek[i] = saved[0];
        ek[i + 1] = (uint8_t)((saved[1] & 0x0f) | 0x10);
        ek[i + 2] = 0xd0;
        assert_int_equal(pqe__kem_from_public(ek, PQE__KEM_PUBLIC_SIZE, &public_key, &err), PQE_E_ARGUMENT);
        memcpy(ek + i, saved, 3);
    }
    assert_int_equal(pqe__kem_from_public(ek, PQE__KEM_PUBLIC_SIZE, &public_key, &err), PQE_OK);
    memset(shared, 0xaa, sizeof shared);
    assert_int_equal(pqe__kem_decapsulate(public_key, ct, PQE__KEM_CIPHERTEXT_SIZE, shared, &err), PQE_E_ARGUMENT);
    assert_true(all_bytes(shared, sizeof shared, 0));
    for (size_t len = 0; len <= sizeof ct; len += len < 1080 ? 135 : 1) {
        if (len == PQE__KEM_CIPHERTEXT_SIZE)
            continue;
        memset(shared, 0xaa, sizeof shared);
        assert_int_equal(pqe__kem_decapsulate(key, ct, len, shared, &err), PQE_E_DECRYPTION);
        assert_true(all_bytes(shared, sizeof shared, 0));
    }
    pqe__kem_free(&public_key);
    pqe__kem_free(&key);
}

static void
test_kem_pem(void **state)
{
    pqe__kem_key *key = make_key(1);
    char pem[4096], small[4096];
    size_t len = 0, n = 1;

    (void)state;
    assert_int_equal(pqe__kem_public_pem(key, pem, sizeof pem, &len, NULL), PQE_OK);
    assert_int_equal(len, strlen(pem));
    assert_memory_equal(pem, "-----BEGIN PUBLIC KEY-----\n", 27);
    assert_string_equal(pem + len - 25, "-----END PUBLIC KEY-----\n");
    assert_int_equal(pqe__kem_public_pem(key, small, len + 1, &n, NULL), PQE_OK);
    assert_string_equal(pem, small);
    memset(small, 0xaa, sizeof small);
    assert_int_equal(pqe__kem_public_pem(key, small, len, &n, NULL), PQE_E_ARGUMENT);
    assert_int_equal(n, 0);
    assert_string_equal(small, "");
    small[0] = 'x';
    assert_int_equal(pqe__kem_public_pem(key, small, 0, &n, NULL), PQE_E_ARGUMENT);
    assert_int_equal(small[0], 'x');
    pqe__kem_free(&key);
}

static void *
use_key(void *arg)
{
    pqe__kem_key *key = arg;
    uint8_t ct[PQE__KEM_CIPHERTEXT_SIZE], sent[32], received[32];

    for (int i = 0; i < 50; i++)
        if (pqe__kem_encapsulate(key, NULL, ct, sent, NULL) != PQE_OK ||
            pqe__kem_decapsulate(key, ct, sizeof ct, received, NULL) != PQE_OK || memcmp(sent, received, 32) != 0)
            return "failed";
    return NULL;
}

static void
test_kem_threads(void **state)
{
    pqe__kem_key *key = make_key(1);
    pthread_t threads[4];
    void *result;

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_key, key), 0);
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], &result);
        assert_null(result);
    }
    pqe__kem_free(&key);
}

/* ---- HPKE ---- */

#define MESSAGE 33
#define SEALED (MESSAGE + PQE__HPKE_OVERHEAD)

static void
refuse_sealed(const pqe__kem_key *key, size_t info_len, size_t aad_len, const uint8_t *sealed, size_t len)
{
    uint8_t out[MESSAGE + 1];

    memset(out, 0xaa, sizeof out);
    assert_int_equal(pqe__hpke_open(&pqe__hpke_ml_kem_768, key, (const uint8_t *)"information", info_len,
                                    (const uint8_t *)"associated", aad_len, sealed, len, out, NULL),
                     PQE_E_DECRYPTION);
    if (len >= PQE__HPKE_OVERHEAD)
        assert_true(all_bytes(out, len - PQE__HPKE_OVERHEAD, 0));
    assert_int_equal(out[len < PQE__HPKE_OVERHEAD ? 0 : len - PQE__HPKE_OVERHEAD], 0xaa);
}

static void
test_hpke(void **state)
{
    uint8_t plain[MESSAGE], sealed[SEALED], again[SEALED], out[MESSAGE];
    pqe__kem_key *key = make_key(1), *other = make_key(2);
    const uint8_t *info = (const uint8_t *)"information", *aad = (const uint8_t *)"associated";

    (void)state;
    fill(plain, sizeof plain);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pqe__hpke_seal(&pqe__hpke_ml_kem_768, key, NULL, info, 11, aad, 10, plain, MESSAGE,
                                        i == 0 ? sealed : again, NULL),
                         PQE_OK);
    assert_memory_not_equal(sealed, again, 100);
    assert_int_equal(pqe__hpke_open(&pqe__hpke_ml_kem_768, key, info, 11, aad, 10, sealed, SEALED, out, NULL), PQE_OK);
    assert_memory_equal(out, plain, MESSAGE);
    for (size_t i = 0; i < SEALED; i += i < PQE__KEM_CIPHERTEXT_SIZE - 37 ? 37 : 1) {
        sealed[i] ^= 4;
        refuse_sealed(key, 11, 10, sealed, SEALED);
        sealed[i] ^= 4;
    }
    for (size_t len = 0; len < SEALED; len += len < 1080 ? 60 : 1)
        refuse_sealed(key, 11, 10, sealed, len);
    refuse_sealed(key, 10, 10, sealed, SEALED);
    refuse_sealed(key, 0, 10, sealed, SEALED);
    refuse_sealed(key, 11, 9, sealed, SEALED);
    refuse_sealed(other, 11, 10, sealed, SEALED);
    assert_int_equal(pqe__hpke_seal(&pqe__hpke_ml_kem_768, key, NULL, NULL, 0, NULL, 0, NULL, 0, sealed, NULL), PQE_OK);
    assert_int_equal(
        pqe__hpke_open(&pqe__hpke_ml_kem_768, key, NULL, 0, NULL, 0, sealed, PQE__HPKE_OVERHEAD, out, NULL), PQE_OK);
    pqe__kem_free(&key);
    pqe__kem_free(&other);
}

/* Each identifier of the suite must be known, and enters the key schedule. */
static void
test_hpke_suites(void **state)
{
    static const pqe__hpke_suite
        unknown
            [] =
                {
                    {0x0042, 1, 2, 32}, {0x0020, 1, 2, 32}, {0x0041, 2, 2, 32}, {0x0041, 1, 3, 32},
                    {0x0041, 1, 2, 16}, {0x0041, 1, 1, 32}, {0, 0, 0, 0},       {0x0041, 1, 0xffff, 32},
                    {0x0041, 1, 1, 16}, /* AES-128-GCM: for a published vector alone, in its own test */
                };
    uint8_t sealed[SEALED], out[MESSAGE], plain[MESSAGE] = {0};
    pqe__kem_key *key = make_key(1);

    (void)state;
    memset(sealed, 0xaa, sizeof sealed);
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        assert_int_equal(pqe__hpke_seal(&unknown[i], key, NULL, NULL, 0, NULL, 0, plain, MESSAGE, sealed, NULL),
                         PQE_E_VERSION);
        assert_true(all_bytes(sealed, sizeof sealed, 0xaa));
        memset(out, 0xaa, sizeof out);
        assert_int_equal(pqe__hpke_open(&unknown[i], key, NULL, 0, NULL, 0, sealed, SEALED, out, NULL), PQE_E_VERSION);
        assert_true(all_bytes(out, sizeof out, 0));
    }
    pqe__kem_free(&key);
}

/* ---- where secrets lie ---- */

static unsigned secrets_seen, on_the_stack;

static void
look(const void *secret)
{
    pthread_attr_t attr;
    void *low;
    size_t size;

    assert_int_equal(pthread_getattr_np(pthread_self(), &attr), 0);
    assert_int_equal(pthread_attr_getstack(&attr, &low, &size), 0);
    pthread_attr_destroy(&attr);
    secrets_seen++;
    on_the_stack += (uintptr_t)secret - (uintptr_t)low < size;
}

pqe_status __real_pqe__aead_new(const uint8_t *key, size_t key_len, pqe__aead **out, pqe_error *err);
pqe_status __wrap_pqe__aead_new(const uint8_t *key, size_t key_len, pqe__aead **out, pqe_error *err);
pqe_status __real_pqe__hkdf_expand(pqe__hkdf_hash hash, const uint8_t *prk, size_t prk_len, const uint8_t *info,
                                   size_t info_len, uint8_t *out, size_t len, pqe_error *err);
pqe_status __wrap_pqe__hkdf_expand(pqe__hkdf_hash hash, const uint8_t *prk, size_t prk_len, const uint8_t *info,
                                   size_t info_len, uint8_t *out, size_t len, pqe_error *err);
pqe_status __real_pqe__kem_decapsulate(const pqe__kem_key *key, const uint8_t *ct, size_t ct_len, uint8_t *shared,
                                       pqe_error *err);
pqe_status __wrap_pqe__kem_decapsulate(const pqe__kem_key *key, const uint8_t *ct, size_t ct_len, uint8_t *shared,
                                       pqe_error *err);

pqe_status
__wrap_pqe__aead_new(const uint8_t *key, size_t key_len, pqe__aead **out, pqe_error *err)
{
    look(key);
    return __real_pqe__aead_new(key, key_len, out, err);
}

pqe_status
__wrap_pqe__hkdf_expand(pqe__hkdf_hash hash, const uint8_t *prk, size_t prk_len, const uint8_t *info, size_t info_len,
                        uint8_t *out, size_t len, pqe_error *err)
{
    look(prk);
    look(out);
    return __real_pqe__hkdf_expand(hash, prk, prk_len, info, info_len, out, len, err);
}

pqe_status
__wrap_pqe__kem_decapsulate(const pqe__kem_key *key, const uint8_t *ct, size_t ct_len, uint8_t *shared, pqe_error *err)
{
    look(shared);
    return __real_pqe__kem_decapsulate(key, ct, ct_len, shared, err);
}

/* What HPKE derives between one call and the next is in locked memory, never on the stack. */
static void
test_hpke_secrets(void **state)
{
    uint8_t sealed[SEALED], plain[MESSAGE];
    pqe__kem_key *key = make_key(1);

    (void)state;
    fill(plain, sizeof plain);
    secrets_seen = on_the_stack = 0;
    look(plain);
    assert_int_equal(on_the_stack, 1); /* it would be seen */
    on_the_stack = 0;
    assert_int_equal(pqe__hpke_seal(&pqe__hpke_ml_kem_768, key, NULL, NULL, 0, NULL, 0, plain, MESSAGE, sealed, NULL),
                     PQE_OK);
    assert_int_equal(pqe__hpke_open(&pqe__hpke_ml_kem_768, key, NULL, 0, NULL, 0, sealed, SEALED, plain, NULL), PQE_OK);
    assert_true(secrets_seen >= 11);
    assert_int_equal(on_the_stack, 0);
    pqe__kem_free(&key);
}

static void
test_kem_pairs(void **state)
{
    static const struct {
        const char *name;
        size_t size;
    } sets[] = {{"ML-KEM-512", 800}, {"ML-KEM-768", 1184}, {"ML-KEM-1024", 1568}};
    uint8_t seed[PQE_KEM_SEED_SIZE], other[PQE_KEM_SEED_SIZE], key[PQE_KEM_PUBLIC_MAX], again[PQE_KEM_PUBLIC_MAX];
    pqe__kem_key *vaults = NULL;
    size_t len, again_len;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pqe_kem_generate(sets[i].name, seed, key, sets[i].size, &len, NULL), PQE_OK);
        assert_int_equal(len, sets[i].size);
        assert_int_equal(pqe_kem_public_of_seed(sets[i].name, seed, sizeof seed, again, sizeof again, &again_len, NULL),
                         PQE_OK);
        assert_int_equal(again_len, len);
        assert_memory_equal(key, again, len);
        assert_int_equal(pqe_kem_generate(sets[i].name, other, again, sizeof again, &len, NULL), PQE_OK);
        assert_memory_not_equal(seed, other, sizeof seed);
        assert_memory_not_equal(key, again, len);
        assert_int_equal(pqe_kem_generate(sets[i].name, seed, key, sets[i].size - 1, &len, NULL), PQE_E_LIMIT);
        assert_int_equal(len, 0);
    }
    fill(seed, sizeof seed);
    assert_int_equal(pqe_kem_public_of_seed("ML-KEM-768", seed, sizeof seed, key, sizeof key, &len, NULL), PQE_OK);
    assert_int_equal(pqe__kem_from_seed(seed, &vaults, NULL), PQE_OK);
    assert_int_equal(pqe__kem_public(vaults, again, NULL), PQE_OK);
    assert_memory_equal(key, again, len);
    pqe__kem_free(&vaults);
    assert_int_equal(pqe_kem_public_of_seed("ML-KEM-768", seed, 63, key, sizeof key, &len, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_kem_generate("ml-kem-768", seed, key, sizeof key, &len, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_kem_generate(NULL, seed, key, sizeof key, &len, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_kem_generate("ML-KEM-768", NULL, key, sizeof key, &len, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_kem_generate("ML-KEM-768", seed, key, sizeof key, NULL, NULL), PQE_E_ARGUMENT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kem_round_trip), cmocka_unit_test(test_kem_implicit_rejection),
        cmocka_unit_test(test_kem_misuse),     cmocka_unit_test(test_kem_pem),
        cmocka_unit_test(test_kem_threads),    cmocka_unit_test(test_hpke),
        cmocka_unit_test(test_hpke_suites),    cmocka_unit_test(test_hpke_secrets),
        cmocka_unit_test(test_kem_pairs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
