/* SPDX-License-Identifier: Apache-2.0 */
/* The primitives: round trips, every kind of altered or truncated input, misuse, and what must not be disturbed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "crypto/crypto.h"

static bool
all_bytes(const uint8_t *p, size_t len, uint8_t value)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != value)
            return false;
    return true;
}

static void
fill(uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(i * 7 + 3);
}

/* ---- randomness and comparison ---- */

static void
test_random(void **state)
{
    uint8_t a[64] = {0}, b[64] = {0};
    pqe_error err;

    (void)state;
    assert_int_equal(pqe__random(a, 32, &err), PQE_OK);
    assert_true(all_bytes(a + 32, 32, 0));
    assert_int_equal(pqe__random(b, 32, &err), PQE_OK);
    assert_memory_not_equal(a, b, 32);
    assert_int_equal(pqe__random_secret(a, 64, &err), PQE_OK);
    assert_int_equal(pqe__random_secret(b, 64, &err), PQE_OK);
    assert_memory_not_equal(a, b, 32);
    assert_memory_not_equal(a + 32, b + 32, 32);
    memset(a, 0xaa, sizeof a);
    assert_int_equal(pqe__random(a, 0, &err), PQE_OK);
    assert_true(all_bytes(a, sizeof a, 0xaa));
}

/* A forked child must not draw what its parent draws. */
static void
test_random_fork(void **state)
{
    pqe_status (*const draw[])(void *, size_t, pqe_error *) = {pqe__random, pqe__random_secret};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        uint8_t mine[32], child[32];
        int status = 0, fd[2];
        pid_t pid;

        assert_int_equal(draw[i](mine, sizeof mine, NULL), PQE_OK);
        assert_int_equal(pipe(fd), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            _exit(draw[i](child, 32, NULL) == PQE_OK && write(fd[1], child, 32) == 32 ? 0 : 1);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(read(fd[0], child, 32), 32);
        assert_int_equal(draw[i](mine, sizeof mine, NULL), PQE_OK);
        assert_memory_not_equal(mine, child, 32);
        close(fd[0]);
        close(fd[1]);
    }
}

static void
test_equal(void **state)
{
    uint8_t a[33], b[33];

    (void)state;
    fill(a, sizeof a);
    fill(b, sizeof b);
    assert_true(pqe__equal(a, b, sizeof a));
    assert_true(pqe__equal(a, b, 0));
    for (size_t i = 0; i < sizeof a; i++) {
        b[i] ^= 0x80;
        assert_false(pqe__equal(a, b, sizeof a));
        assert_true(pqe__equal(a, b, i));
        b[i] ^= 0x80;
    }
}

/* ---- hash ---- */

static void
test_hash_streaming(void **state)
{
    static const pqe__hash_id ids[] = {PQE__SHA256, PQE__SHA3_256};
    uint8_t data[1000], once[32], streamed[32];

    (void)state;
    fill(data, sizeof data);
    for (size_t i = 0; i < 2; i++) {
        pqe__hash *h = NULL;

        assert_int_equal(pqe__hash_new(ids[i], &h, NULL), PQE_OK);
        for (size_t step = 1; step < 300; step += 23) { /* the object serves for each */
            assert_int_equal(pqe__hash_once(ids[i], data, sizeof data, once, NULL), PQE_OK);
            for (size_t at = 0; at < sizeof data; at += step)
                assert_int_equal(
                    pqe__hash_update(h, data + at, step < sizeof data - at ? step : sizeof data - at, NULL), PQE_OK);
            assert_int_equal(pqe__hash_update(h, NULL, 0, NULL), PQE_OK);
            assert_int_equal(pqe__hash_final(h, streamed, NULL), PQE_OK);
            assert_memory_equal(once, streamed, 32);
        }
        assert_int_equal(pqe__hash_final(h, streamed, NULL), PQE_OK);
        assert_int_equal(pqe__hash_once(ids[i], NULL, 0, once, NULL), PQE_OK);
        assert_memory_equal(once, streamed, 32);
        pqe__hash_free(&h);
        assert_null(h);
    }
}

static void
test_hash_misuse(void **state)
{
    pqe__hash *h = (pqe__hash *)&h;
    uint8_t out[32];
    pqe_error err;

    (void)state;
    memset(out, 0xaa, sizeof out);
    assert_int_equal(pqe__hash_new((pqe__hash_id)3, &h, &err), PQE_E_ARGUMENT);
    assert_null(h);
    assert_int_equal(err.origin, PQE_ORIGIN_CRYPTO);
    assert_int_equal(pqe__hash_once((pqe__hash_id)0, "x", 1, out, NULL), PQE_E_ARGUMENT);
    assert_true(all_bytes(out, sizeof out, 0xaa));
    pqe__hash_free(&h);
    pqe__hash_free(NULL);
}

/* ---- key derivation ---- */

static void
test_hkdf_limits(void **state)
{
    uint8_t prk[32], out[255 * 64 + 1], first[32], info[2000];

    (void)state;
    fill(prk, sizeof prk);
    fill(info, sizeof info);
    memset(out, 0xaa, sizeof out);
    assert_int_equal(pqe__hkdf_expand(PQE__HKDF_SHA256, prk, 32, info, 4, out, 255 * 32 + 1, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe__hkdf_expand(PQE__HKDF_SHA512, prk, 32, info, 4, out, 255 * 64 + 1, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe__hkdf_expand(PQE__HKDF_SHA256, prk, 32, info, 4, out, 0, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe__hkdf_expand(PQE__HKDF_SHA256, prk, 0, info, 4, out, 32, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe__hkdf_expand((pqe__hkdf_hash)2, prk, 32, info, 4, out, 32, NULL), PQE_E_ARGUMENT);
    assert_true(all_bytes(out, sizeof out, 0xaa));
    assert_int_equal(pqe__hkdf_expand(PQE__HKDF_SHA256, prk, 32, info, sizeof info, out, 255 * 32, NULL), PQE_OK);
    assert_int_equal(out[255 * 32], 0xaa);
    assert_int_equal(pqe__hkdf_expand(PQE__HKDF_SHA256, prk, 32, info, sizeof info, first, 32, NULL), PQE_OK);
    assert_memory_equal(out, first, 32);
    assert_int_equal(pqe__hkdf_expand(PQE__HKDF_SHA512, prk, 32, NULL, 0, out, 255 * 64, NULL), PQE_OK);
    assert_int_equal(out[255 * 64], 0xaa);
}

/* RFC 2104: an empty key is 64 zero bytes after padding; RFC 5869: no salt is HashLen zeros. */
static void
test_empty_keys(void **state)
{
    static const uint8_t zeros[64];
    uint8_t a[32], b[32];

    (void)state;
    assert_int_equal(pqe__hmac_sha256(NULL, 0, "message", 7, a, NULL), PQE_OK);
    assert_int_equal(pqe__hmac_sha256(zeros, 64, "message", 7, b, NULL), PQE_OK);
    assert_memory_equal(a, b, 32);
    assert_int_equal(pqe__hkdf_extract(NULL, 0, zeros, 20, a, NULL), PQE_OK);
    assert_int_equal(pqe__hkdf_extract(zeros, 32, zeros, 20, b, NULL), PQE_OK);
    assert_memory_equal(a, b, 32);
    assert_int_equal(pqe__hmac_sha256(zeros, 3, NULL, 0, a, NULL), PQE_OK);
    assert_memory_not_equal(a, b, 32);
}

static void
test_argon2_misuse(void **state)
{
    static const pqe__argon2_params bad[] = {{0, 1, 1}, {7, 1, 1}, {64, 0, 1}, {64, 1, 0}, {64, 1, 9}};
    static const pqe__argon2_params good = {64, 1, 2};
    const uint8_t salt[16] = "0123456789abcdef";
    uint8_t out[32], other[32];

    (void)state;
    memset(out, 0xaa, sizeof out);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(pqe__argon2id("x", 1, salt, sizeof salt, &bad[i], out, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe__argon2id("x", 1, salt, 7, &good, out, NULL), PQE_E_ARGUMENT);
    assert_true(all_bytes(out, sizeof out, 0xaa));
    assert_int_equal(pqe__argon2id("x", 1, salt, sizeof salt, &good, out, NULL), PQE_OK);
    assert_int_equal(pqe__argon2id("x", 1, salt, 15, &good, other, NULL), PQE_OK);
    assert_memory_not_equal(out, other, 32);
    assert_int_equal(pqe__argon2id("", 0, salt, sizeof salt, &good, other, NULL), PQE_OK);
    assert_memory_not_equal(out, other, 32);
}

/* ---- AEAD ---- */

typedef struct aead_fixture {
    pqe__aead *aead;
    uint8_t nonce[PQE__NONCE_SIZE], aad[40], plain[1000], sealed[1000 + PQE__BOX_OVERHEAD], out[1000 + 1];
} aead_fixture;

static void
setup(aead_fixture *f)
{
    uint8_t key[32];

    fill(key, sizeof key);
    fill(f->nonce, sizeof f->nonce);
    fill(f->aad, sizeof f->aad);
    fill(f->plain, sizeof f->plain);
    assert_int_equal(pqe__aead_new(key, sizeof key, &f->aead, NULL), PQE_OK);
}

/** Opening must fail and leave zeros; the byte after the output stays. */
static void
refuse(aead_fixture *f, size_t aad_len, size_t len)
{
    pqe_error err = {0};

    memset(f->out, 0xaa, sizeof f->out);
    assert_int_equal(pqe__aead_open(f->aead, f->nonce, f->aad, aad_len, f->sealed, len, f->out, &err),
                     PQE_E_DECRYPTION);
    assert_int_equal(err.status, PQE_E_DECRYPTION);
    if (len >= PQE__TAG_SIZE)
        assert_true(all_bytes(f->out, len - PQE__TAG_SIZE, 0));
    assert_int_equal(f->out[len < PQE__TAG_SIZE ? 0 : len - PQE__TAG_SIZE], 0xaa);
}

static void
test_aead_round_trip(void **state)
{
    aead_fixture f = {0};

    (void)state;
    setup(&f);
    for (size_t len = 0; len <= sizeof f.plain; len += len < 70 ? 1 : 93) {
        for (size_t aad_len = 0; aad_len <= sizeof f.aad; aad_len += 20) {
            assert_int_equal(pqe__aead_seal(f.aead, f.nonce, f.aad, aad_len, f.plain, len, f.sealed, NULL), PQE_OK);
            assert_int_equal(
                pqe__aead_open(f.aead, f.nonce, f.aad, aad_len, f.sealed, len + PQE__TAG_SIZE, f.out, NULL), PQE_OK);
            assert_memory_equal(f.out, f.plain, len);
        }
    }
    pqe__aead_free(&f.aead);
    assert_null(f.aead);
    pqe__aead_free(&f.aead);
    pqe__aead_free(NULL);
}

/* Every bit of ciphertext, tag, nonce and associated data; every length that is too short. After each failure the same
 * context still opens the good message. */
static void
test_aead_alteration(void **state)
{
    const size_t len = 21, sealed_len = len + PQE__TAG_SIZE;
    aead_fixture f = {0};
    struct {
        uint8_t *data;
        size_t len;
    } fields[3];

    (void)state;
    setup(&f);
    assert_int_equal(pqe__aead_seal(f.aead, f.nonce, f.aad, 10, f.plain, len, f.sealed, NULL), PQE_OK);
    fields[0].data = f.sealed, fields[0].len = sealed_len;
    fields[1].data = f.nonce, fields[1].len = sizeof f.nonce;
    fields[2].data = f.aad, fields[2].len = 10;
    for (size_t i = 0; i < 3; i++) {
        for (size_t bit = 0; bit < 8 * fields[i].len; bit++) {
            fields[i].data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            refuse(&f, 10, sealed_len);
            fields[i].data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
    for (size_t cut = 0; cut < sealed_len; cut++)
        refuse(&f, 10, cut);
    refuse(&f, 9, sealed_len);
    refuse(&f, 11, sealed_len);
    refuse(&f, 0, sealed_len);
    assert_int_equal(pqe__aead_open(f.aead, f.nonce, f.aad, 10, f.sealed, sealed_len, f.out, NULL), PQE_OK);
    assert_memory_equal(f.out, f.plain, len);
    pqe__aead_free(&f.aead);
}

static void
test_aead_in_place(void **state)
{
    aead_fixture f = {0};

    (void)state;
    setup(&f);
    memcpy(f.sealed, f.plain, 500);
    assert_int_equal(pqe__aead_seal(f.aead, f.nonce, f.aad, 10, f.sealed, 500, f.sealed, NULL), PQE_OK);
    assert_memory_not_equal(f.sealed, f.plain, 500);
    assert_int_equal(pqe__aead_open(f.aead, f.nonce, f.aad, 10, f.sealed, 516, f.sealed, NULL), PQE_OK);
    assert_memory_equal(f.sealed, f.plain, 500);
    assert_int_equal(pqe__aead_open(f.aead, f.nonce, f.aad, 10, f.sealed, 516, f.sealed, NULL), PQE_E_DECRYPTION);
    assert_true(all_bytes(f.sealed, 500, 0));
    pqe__aead_free(&f.aead);
}

static void
test_aead_misuse(void **state)
{
    static const size_t lengths[] = {0, 1, 15, 17, 24, 31, 33, 64};
    pqe__aead *aead = (pqe__aead *)&aead;
    uint8_t key[64] = {0}, other[64];
    aead_fixture f = {0};

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        assert_int_equal(pqe__aead_new(key, lengths[i], &aead, NULL), PQE_E_ARGUMENT);
        assert_null(aead);
    }
    setup(&f);
    memset(f.out, 0xaa, sizeof f.out); /* lengths libcrypto cannot count are refused before anything is touched */
    assert_int_equal(pqe__aead_seal(f.aead, f.nonce, f.aad, 0, f.plain, INT_MAX, f.out, NULL), PQE_E_LIMIT);
    assert_int_equal(pqe__aead_seal(f.aead, f.nonce, f.aad, SIZE_MAX, f.plain, 8, f.out, NULL), PQE_E_LIMIT);
    assert_true(all_bytes(f.out, sizeof f.out, 0xaa));
    assert_int_equal(pqe__aead_open(f.aead, f.nonce, f.aad, (size_t)INT_MAX + 1, f.sealed, 24, f.out, NULL),
                     PQE_E_LIMIT);
    assert_true(all_bytes(f.out, 8, 0) && f.out[8] == 0xaa);

    assert_int_equal(pqe__aead_new(key, 32, &aead, NULL), PQE_OK); /* another key */
    assert_int_equal(pqe__aead_seal(aead, f.nonce, NULL, 0, f.plain, 40, f.sealed, NULL), PQE_OK);
    refuse(&f, 0, 40 + PQE__TAG_SIZE);
    pqe__aead_free(&aead);
    assert_int_equal(pqe__aead_new(key, 16, &aead, NULL), PQE_OK);
    assert_int_equal(pqe__aead_seal(aead, f.nonce, NULL, 0, f.plain, 40, other, NULL), PQE_OK);
    assert_memory_not_equal(f.sealed, other, 40); /* AES-128 is not AES-256 */
    pqe__aead_free(&aead);
    pqe__aead_free(&f.aead);
}

static void
test_box(void **state)
{
    uint8_t again[1000 + PQE__BOX_OVERHEAD];
    aead_fixture f = {0};

    (void)state;
    setup(&f);
    assert_int_equal(pqe__box_seal(f.aead, f.aad, 5, f.plain, 100, f.sealed, NULL), PQE_OK);
    assert_int_equal(pqe__box_seal(f.aead, f.aad, 5, f.plain, 100, again, NULL), PQE_OK);
    assert_memory_not_equal(f.sealed, again, PQE__NONCE_SIZE);
    assert_int_equal(pqe__box_open(f.aead, f.aad, 5, f.sealed, 100 + PQE__BOX_OVERHEAD, f.out, NULL), PQE_OK);
    assert_memory_equal(f.out, f.plain, 100);
    for (size_t i = 0; i < 100 + PQE__BOX_OVERHEAD; i++) {
        memset(f.out, 0xaa, sizeof f.out);
        f.sealed[i] ^= 0x10;
        assert_int_equal(pqe__box_open(f.aead, f.aad, 5, f.sealed, 100 + PQE__BOX_OVERHEAD, f.out, NULL),
                         PQE_E_DECRYPTION);
        assert_true(all_bytes(f.out, 100, 0) && f.out[100] == 0xaa);
        f.sealed[i] ^= 0x10;
    }
    for (size_t len = 0; len < 100 + PQE__BOX_OVERHEAD; len++)
        assert_int_equal(pqe__box_open(f.aead, f.aad, 5, f.sealed, len, f.out, NULL), PQE_E_DECRYPTION);
    assert_int_equal(pqe__box_open(f.aead, f.aad, 4, f.sealed, 100 + PQE__BOX_OVERHEAD, f.out, NULL), PQE_E_DECRYPTION);
    pqe__aead_free(&f.aead);
}

/* ---- ML-KEM ---- */

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
    static const pqe__hpke_suite unknown[] = {
        {0x0042, 1, 2, 32}, {0x0020, 1, 2, 32}, {0x0041, 2, 2, 32}, {0x0041, 1, 3, 32},
        {0x0041, 1, 2, 16}, {0x0041, 1, 1, 32}, {0, 0, 0, 0},       {0x0041, 1, 0xffff, 32},
    };
    static const pqe__hpke_suite aes_128 = {0x0041, 1, 1, 16};
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
    assert_int_equal(pqe__hpke_seal(&aes_128, key, NULL, NULL, 0, NULL, 0, plain, MESSAGE, sealed, NULL), PQE_OK);
    refuse_sealed(key, 0, 0, sealed, SEALED);
    pqe__kem_free(&key);
}

/* ---- what is not ours is left alone ---- */

/* The application may have an error of its own queued in this thread; ours come and go without a trace. */
static void
test_error_queue(void **state)
{
    uint8_t ek[PQE__KEM_PUBLIC_SIZE], key[32] = {0}, nonce[12] = {0}, in[20] = {0}, out[4];
    pqe__kem_key *k = NULL;
    pqe__aead *aead = NULL;
    pqe_error err = {0};

    (void)state;
    memset(ek, 0xff, sizeof ek);
    assert_int_equal(pqe__aead_new(key, 32, &aead, NULL), PQE_OK);
    for (int with_error = 0; with_error < 2; with_error++) {
        unsigned long before;

        ERR_clear_error();
        if (with_error)
            ERR_raise(ERR_LIB_USER, 42);
        before = ERR_peek_last_error();
        assert_int_equal(pqe__kem_from_public(ek, sizeof ek, &k, &err), PQE_E_ARGUMENT);
        assert_int_equal(pqe__aead_open(aead, nonce, NULL, 0, in, sizeof in, out, &err), PQE_E_DECRYPTION);
        assert_true(ERR_peek_last_error() == before);
        assert_int_equal(ERR_count_to_mark(), with_error);
    }
    ERR_clear_error();
    pqe__aead_free(&aead);
}

/* A configuration that would take every algorithm away: the child is this program, told so by an argument. */
static int
probe_configuration(const char *path)
{
    OSSL_LIB_CTX *ctx = OSSL_LIB_CTX_new();
    EVP_MD *md = NULL;
    uint8_t out[32];
    int code = 0;

    /* The file is effective where it is read ... */
    if (ctx == NULL || !OSSL_LIB_CTX_load_config(ctx, path) || (md = EVP_MD_fetch(ctx, "SHA2-256", NULL)) != NULL)
        code = 2;
    /* ... and we do not read it. */
    if (pqe__hash_once(PQE__SHA256, "abc", 3, out, NULL) != PQE_OK || out[0] != 0xba)
        code = 3;
    EVP_MD_free(md);
    OSSL_LIB_CTX_free(ctx);
    return code;
}

static void
test_configuration_not_read(void **state)
{
    static const char text[] = "openssl_conf = main\n[main]\nalg_section = algorithms\n[algorithms]\n"
                               "default_properties = provider=nobody\n";
    char path[] = "/tmp/pqe-test-XXXXXX";
    int status = 0, fd = mkstemp(path);
    pid_t pid;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setenv("OPENSSL_CONF", path, 1);
        execl("/proc/self/exe", "test_crypto", "--probe-configuration", path, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    unlink(path);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_random_fork),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_hash_streaming),
        cmocka_unit_test(test_hash_misuse),
        cmocka_unit_test(test_hkdf_limits),
        cmocka_unit_test(test_empty_keys),
        cmocka_unit_test(test_argon2_misuse),
        cmocka_unit_test(test_aead_round_trip),
        cmocka_unit_test(test_aead_alteration),
        cmocka_unit_test(test_aead_in_place),
        cmocka_unit_test(test_aead_misuse),
        cmocka_unit_test(test_box),
        cmocka_unit_test(test_kem_round_trip),
        cmocka_unit_test(test_kem_implicit_rejection),
        cmocka_unit_test(test_kem_misuse),
        cmocka_unit_test(test_kem_pem),
        cmocka_unit_test(test_kem_threads),
        cmocka_unit_test(test_hpke),
        cmocka_unit_test(test_hpke_suites),
        cmocka_unit_test(test_error_queue),
        cmocka_unit_test(test_configuration_not_read),
    };

    if (argc == 3 && strcmp(argv[1], "--probe-configuration") == 0)
        return probe_configuration(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
