/* SPDX-License-Identifier: Apache-2.0 */
/* Randomness, hashes, key derivation, AEAD: round trips, every kind of altered or truncated input, misuse; and what of
 * libcrypto must not be disturbed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "crypto/crypto.h"
#include "unit/bytes.h"

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

static int
compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

/* What is drawn in advance is given out once. */
static void
test_random_once(void **state)
{
    enum { COUNT = 5000 };
    uint8_t(*ids)[16] = calloc(COUNT, sizeof *ids);

    (void)state;
    assert_non_null(ids);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(pqe__random(ids[i], 16, NULL), PQE_OK);
    qsort(ids, COUNT, sizeof *ids, compare_ids);
    for (size_t i = 1; i < COUNT; i++)
        assert_memory_not_equal(ids[i - 1], ids[i], 16);
    free(ids);
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
    static const size_t lengths[] = {0, 1, 15, 16, 17, 24, 31, 33, 64};
    pqe__aead *aead = (pqe__aead *)&aead;
    uint8_t key[64] = {0};
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
        cmocka_unit_test(test_random),          cmocka_unit_test(test_random_fork),
        cmocka_unit_test(test_random_once),     cmocka_unit_test(test_equal),
        cmocka_unit_test(test_hash_streaming),  cmocka_unit_test(test_hash_misuse),
        cmocka_unit_test(test_hkdf_limits),     cmocka_unit_test(test_empty_keys),
        cmocka_unit_test(test_argon2_misuse),   cmocka_unit_test(test_aead_round_trip),
        cmocka_unit_test(test_aead_alteration), cmocka_unit_test(test_aead_in_place),
        cmocka_unit_test(test_aead_misuse),     cmocka_unit_test(test_box),
        cmocka_unit_test(test_error_queue),     cmocka_unit_test(test_configuration_not_read),
    };

    if (argc == 3 && strcmp(argv[1], "--probe-configuration") == 0)
        return probe_configuration(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
