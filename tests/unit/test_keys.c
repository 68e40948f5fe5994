/* SPDX-License-Identifier: Apache-2.0 */
/* Key pairs and public keys of the public interface: all three algorithms, PEM, contexts, what must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pqc_enclave/identity.h>

#include "attest/keys.h"
#include "unit/support.h"
#include "util/text.h"

static void
test_names(void **state)
{
    pqe_sig_algorithm a;

    (void)state;
    for (int i = PQE_ML_DSA_44; i <= PQE_ML_DSA_87; i++) {
        assert_true(pqe_sig_from_name(pqe_sig_name((pqe_sig_algorithm)i), &a));
        assert_int_equal(a, i);
    }
    assert_true(pqe_sig_from_name("ml-dsa-87", &a));
    assert_int_equal(a, PQE_ML_DSA_87);
    assert_false(pqe_sig_from_name("Ml-Dsa-87", &a));
    assert_false(pqe_sig_from_name("", &a));
    assert_false(pqe_sig_from_name(NULL, &a));
    assert_null(pqe_sig_name((pqe_sig_algorithm)0));
    assert_null(pqe_sig_name((pqe_sig_algorithm)4));
    assert_int_equal(pqe_sig_public_size((pqe_sig_algorithm)9), 0);
    assert_int_equal(pqe_sig_signature_size(PQE_ML_DSA_65), 3309);
}

static void
test_round_trips(void **state)
{
    (void)state;
    for (int i = PQE_ML_DSA_44; i <= PQE_ML_DSA_87; i++) {
        pqe_sig_algorithm a = (pqe_sig_algorithm)i;
        pqe_signing_key *key = NULL, *again = NULL, *from_seed = NULL;
        pqe_public_key *public_key = NULL, *raw_key = NULL;
        char pem[PQE_PRIVATE_PEM_MAX], spki[PQE_PUBLIC_PEM_MAX];
        uint8_t seed[PQE_ML_DSA_SEED_SIZE], signature[PQE_ML_DSA_SIGNATURE_MAX], second[PQE_ML_DSA_SIGNATURE_MAX];
        const uint8_t *raw;
        size_t len, raw_len, n;

        assert_pqe_ok(pqe_signing_key_generate(a, &key, err));
        assert_pqe_ok(pqe_signing_key_pem(key, pem, sizeof pem, &len, err));
        assert_int_equal(strlen(pem), len);
        assert_true(len < 200); /* the seed form */
        assert_pqe_ok(pqe_signing_key_from_pem(pem, len, &again, err));
        assert_pqe_ok(pqe_signing_key_seed(key, seed, err));
        assert_pqe_ok(pqe_signing_key_from_seed(a, seed, sizeof seed, &from_seed, err));
        assert_string_equal(pqe_public_key_did(pqe_signing_key_public(key)),
                            pqe_public_key_did(pqe_signing_key_public(again)));
        assert_string_equal(pqe_public_key_did(pqe_signing_key_public(key)),
                            pqe_public_key_did(pqe_signing_key_public(from_seed)));
        assert_pqe_ok(pqe_public_key_pem(pqe_signing_key_public(key), spki, sizeof spki, &len, err));
        assert_pqe_ok(pqe_public_key_from_pem(spki, len, &public_key, err));
        raw = pqe_public_key_raw(public_key, &raw_len);
        assert_pqe_ok(pqe_public_key_from_raw(a, raw, raw_len, &raw_key, err));
        /* Signed by one, verified by another that came a long way; hedged, so no two signatures are equal. */
        assert_pqe_ok(pqe_signing_key_sign(again, "m", 1, "ctx", 3, signature, sizeof signature, &n, err));
        assert_int_equal(n, pqe_sig_signature_size(a));
        assert_pqe_ok(pqe_signing_key_sign(again, "m", 1, "ctx", 3, second, sizeof second, &n, err));
        assert_memory_not_equal(signature, second, n);
        assert_pqe_ok(pqe_public_key_verify(raw_key, "m", 1, "ctx", 3, signature, n, err));
        assert_int_equal(pqe_public_key_verify(raw_key, "n", 1, "ctx", 3, signature, n, NULL), PQE_E_ATTESTATION);
        assert_int_equal(pqe_public_key_verify(raw_key, "m", 1, "ctX", 3, signature, n, NULL), PQE_E_ATTESTATION);
        assert_int_equal(pqe_public_key_verify(raw_key, "m", 1, NULL, 0, signature, n, NULL), PQE_E_ATTESTATION);
        assert_int_equal(pqe_public_key_verify(raw_key, "m", 1, "ctx", 3, signature, n - 1, NULL), PQE_E_ATTESTATION);
        signature[n / 2] ^= 1;
        assert_int_equal(pqe_public_key_verify(raw_key, "m", 1, "ctx", 3, signature, n, NULL), PQE_E_ATTESTATION);
        assert_pqe_ok(pqe_signing_key_sign(key, NULL, 0, NULL, 0, signature, sizeof signature, &n, err));
        assert_pqe_ok(pqe_public_key_verify(public_key, NULL, 0, NULL, 0, signature, n, err));
        assert_int_equal(pqe_signing_key_sign(key, "m", 1, NULL, 0, signature, n - 1, &len, NULL), PQE_E_LIMIT);
        assert_int_equal(len, 0);
        pqe_signing_key_free(&key);
        pqe_signing_key_free(&again);
        pqe_signing_key_free(&from_seed);
        pqe_public_key_free(&public_key);
        pqe_public_key_free(&raw_key);
        assert_null(key);
    }
}

/* What has no seed is written expanded, and read again. */
static void
test_expanded(void **state)
{
    pqe_signing_key *key = NULL, *expanded = NULL, *again = NULL;
    uint8_t sk[PQE__SIG_PRIVATE_MAX], seed[PQE_ML_DSA_SEED_SIZE];
    char pem[PQE_PRIVATE_PEM_MAX];
    size_t size = pqe__sig_private_size(PQE_ML_DSA_65), len;

    (void)state;
    assert_pqe_ok(pqe_signing_key_generate(PQE_ML_DSA_65, &key, err));
    assert_pqe_ok(pqe__sig_private(key->key, sk, err));
    assert_pqe_ok(pqe__signing_key_from_private(PQE_ML_DSA_65, sk, size, &expanded, err));
    memset(seed, 1, sizeof seed);
    assert_int_equal(pqe_signing_key_seed(expanded, seed, NULL), PQE_E_UNAVAILABLE);
    for (size_t i = 0; i < sizeof seed; i++)
        assert_int_equal(seed[i], 0);
    assert_pqe_ok(pqe_signing_key_pem(expanded, pem, sizeof pem, &len, err));
    assert_true(len > size);
    assert_pqe_ok(pqe_signing_key_from_pem(pem, len, &again, err));
    assert_string_equal(pqe_public_key_did(pqe_signing_key_public(key)),
                        pqe_public_key_did(pqe_signing_key_public(again)));
    pqe_signing_key_free(&again);
    assert_int_equal(pqe_signing_key_pem(expanded, pem, 100, &len, NULL), PQE_E_LIMIT);
    /* FIPS 204, Algorithm 24: rho 32, K 32, tr 64, s1, s2, t0. A byte of K is free; any other contradicts the rest. */
    for (size_t at = 0; at < size; at += at < 128 ? 8 : 61) {
        bool is_k = at >= 32 && at < 64;
        pqe_status status;
        sk[at] ^= 1;
        status = pqe__signing_key_from_private(PQE_ML_DSA_65, sk, size, &again, NULL);
        if ((status == PQE_OK) != is_k)
            fail_msg("byte %zu altered: %s", at, pqe_status_name(status));
        pqe_signing_key_free(&again);
        sk[at] ^= 1;
    }
    pqe_signing_key_free(&key);
    pqe_signing_key_free(&expanded);
}

static void
test_refused(void **state)
{
    static const char *const texts[] = {"", "x", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PUBLIC KEY-----\n",
                                        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                                        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
                                        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n"
                                        "-----END ENCRYPTED PRIVATE KEY-----\n",
                                        /* Ed25519 (RFC 8410, section 10) */
                                        "-----BEGIN PRIVATE KEY-----\n"
                                        "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
                                        "-----END PRIVATE KEY-----\n",
                                        "-----BEGIN PUBLIC KEY-----\n"
                                        "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
                                        "-----END PUBLIC KEY-----\n"};
    pqe_signing_key *key = NULL;
    pqe_public_key *public_key = NULL;
    uint8_t raw[PQE_ML_DSA_PUBLIC_MAX] = {0};
    char did[PQE_DID_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(pqe_signing_key_from_pem(texts[i], strlen(texts[i]), &key, NULL), PQE_E_MALFORMED);
        assert_null(key);
        assert_int_equal(pqe_public_key_from_pem(texts[i], strlen(texts[i]), &public_key, NULL), PQE_E_MALFORMED);
        assert_null(public_key);
    }
    assert_int_equal(pqe_public_key_from_raw(PQE_ML_DSA_65, raw, 1951, &public_key, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_public_key_from_raw((pqe_sig_algorithm)7, raw, 1952, &public_key, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_signing_key_from_seed(PQE_ML_DSA_65, raw, 31, &key, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_signing_key_generate((pqe_sig_algorithm)0, &key, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_did_of_key(NULL, 0, did, NULL), PQE_E_ARGUMENT);
    assert_null(key);
}

/* SHA3-256 of the empty message is in FIPS 202's examples; of "abc" too. */
static void
test_did(void **state)
{
    char did[PQE_DID_SIZE];

    (void)state;
    assert_pqe_ok(pqe_did_of_key("abc", 3, did, err));
    assert_string_equal(did, "did:pqaid:3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
    assert_true(pqe__did_valid(did, strlen(did)));
    assert_false(pqe__did_valid(did, strlen(did) - 1));
    did[20] = 'A';
    assert_false(pqe__did_valid(did, strlen(did)));
}

static void
test_context_limit(void **state)
{
    pqe_signing_key *key = NULL;
    uint8_t signature[PQE_ML_DSA_SIGNATURE_MAX], context[256] = {1};
    size_t n;

    (void)state;
    assert_pqe_ok(pqe_signing_key_generate(PQE_ML_DSA_87, &key, err));
    assert_pqe_ok(pqe_signing_key_sign(key, "m", 1, context, 255, signature, sizeof signature, &n, err));
    assert_pqe_ok(pqe_public_key_verify(pqe_signing_key_public(key), "m", 1, context, 255, signature, n, err));
    assert_int_equal(pqe_signing_key_sign(key, "m", 1, context, 256, signature, sizeof signature, &n, NULL),
                     PQE_E_LIMIT);
    assert_int_equal(n, 0);
    pqe_signing_key_free(&key);
}

static void
test_fork(void **state)
{
    pqe_signing_key *key = NULL;
    uint8_t signature[PQE_ML_DSA_SIGNATURE_MAX], seed[PQE_ML_DSA_SEED_SIZE];
    int status = 0;
    pid_t child;

    (void)state;
    assert_pqe_ok(pqe_signing_key_generate(PQE_ML_DSA_65, &key, err));
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        size_t n;
        bool refused =
            pqe_signing_key_sign(key, "m", 1, NULL, 0, signature, sizeof signature, &n, NULL) == PQE_E_LOCKED &&
            pqe_signing_key_seed(key, seed, NULL) == PQE_E_LOCKED;
        pqe_signing_key_free(&key);
        _exit(refused ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    pqe_signing_key_free(&key);
}

static void
test_times(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } good[] = {{"1970-01-01T00:00:00Z", 0},
                {"2026-01-31T23:59:59Z", 1769903999},
                {"2026-01-31T23:59:59.123456+00:00", 1769903999},
                {"2026-01-31T23:59:59+01:30", 1769898599},
                {"2026-01-31T23:59:59-00:30", 1769905799},
                {"2024-02-29T12:00:00Z", 1709208000}};
    static const char *const bad[] = {"",
                                      "2026-01-31",
                                      "2026-01-31T23:59:59",
                                      "2026-02-29T00:00:00Z",
                                      "2026-13-01T00:00:00Z",
                                      "2026-01-31 23:59:59Z",
                                      "2026-01-31T24:00:00Z",
                                      "2026-01-31T23:59:59.Z",
                                      "2026-01-31T23:59:59z",
                                      "2026-01-31T23:59:59Zx",
                                      "2026-1-31T23:59:59Z",
                                      "1969-01-01T00:00:00Z",
                                      "2026-01-31T23:59:59+24:00",
                                      "+026-01-31T23:59:59Z",
                                      "2026-00-31T23:59:59Z",
                                      "2026-01-00T23:59:59Z"};
    int64_t seconds;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(pqe__time_parse(good[i].text, strlen(good[i].text), &seconds));
        assert_int_equal(seconds, good[i].seconds);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (pqe__time_parse(bad[i], strlen(bad[i]), &seconds))
            fail_msg("accepted: %s", bad[i]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),   cmocka_unit_test(test_round_trips), cmocka_unit_test(test_expanded),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_did),         cmocka_unit_test(test_context_limit),
        cmocka_unit_test(test_fork),    cmocka_unit_test(test_times),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
