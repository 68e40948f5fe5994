/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ML-DSA vectors of OpenSSL's source package, NIST ACVP's and Wycheproof's, through our own functions: keys from
 * seeds, signatures with given randomness, verification, what must not verify, keys that must be refused. Passed over
 * are vectors of interfaces that we do not have (given mu, raw message encoding); the number that ran must reach a minimum.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "attest/keys.h"
#include "crypto/crypto.h"
#include "kat/stanza.h"

static const char *directory;

typedef enum { NOT_APPLICABLE, PASSED, FAILED } outcome;

/* The keys of a file by their names. */
static struct {
    char name[32];
    bool is_private;
    pqe_sig_algorithm algorithm;
    bytes raw;
} keys[1024];
static size_t key_count;

static void
forget_keys(void)
{
    while (key_count > 0)
        bytes_free(&keys[--key_count].raw);
}

/* "name:ML-DSA-65:hex" */
static void
learn_key(const char *value, bool is_private)
{
    const char *colon = strchr(value, ':'), *second = colon != NULL ? strchr(colon + 1, ':') : NULL;
    char algorithm[16];

    assert_non_null(second);
    assert_true(key_count < sizeof keys / sizeof keys[0] && (size_t)(colon - value) < sizeof keys[0].name);
    snprintf(keys[key_count].name, sizeof keys[0].name, "%.*s", (int)(colon - value), value);
    snprintf(algorithm, sizeof algorithm, "%.*s", (int)(second - colon - 1), colon + 1);
    assert_true(pqe_sig_from_name(algorithm, &keys[key_count].algorithm));
    keys[key_count].is_private = is_private;
    keys[key_count].raw = bytes_parse(second + 1);
    key_count++;
}

/* "ML-DSA-65:name" to a key; NULL if it cannot be made. */
static pqe__sig_key *
make_key(const char *value, bool is_private)
{
    const char *name = strchr(value, ':');
    pqe__sig_key *key = NULL;

    assert_non_null(name);
    for (size_t i = key_count; i-- > 0;) {
        if (strcmp(keys[i].name, name + 1) != 0 || keys[i].is_private != is_private)
            continue;
        if (is_private)
            pqe__sig_from_private(keys[i].algorithm, keys[i].raw.data, keys[i].raw.len, &key, NULL);
        else
            pqe__sig_from_public(keys[i].algorithm, keys[i].raw.data, keys[i].raw.len, &key, NULL);
        return key;
    }
    fail_msg("no key is called %s", name + 1);
    return NULL;
}

/* The value of "Ctrl = name:value"; NULL if there is none. */
static const char *
control(const stanza *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->key[i], "Ctrl") == 0 && strncmp(s->value[i], name, strlen(name)) == 0 &&
            s->value[i][strlen(name)] == ':')
            return s->value[i] + strlen(name) + 1;
    return NULL;
}

static bool
is_pure(const stanza *s)
{
    const char *encoding = control(s, "message-encoding"), *mu = control(s, "mu");

    return (encoding == NULL || strcmp(encoding, "1") == 0) && (mu == NULL || strcmp(mu, "0") == 0);
}

static outcome
run_sign(const stanza *s, const char *which)
{
    static const uint8_t zero[32]; /* FIPS 204, section 3.4: the deterministic variant */
    uint8_t signature[PQE_ML_DSA_SIGNATURE_MAX];
    bool refuse = stanza_get(s, "Result") != NULL;
    bytes message = bytes_parse(stanza_get(s, "Input")), expected = bytes_parse(stanza_get(s, "Output"));
    bytes context = bytes_parse(control(s, "hexcontext-string")), entropy = bytes_parse(control(s, "hextest-entropy"));
    pqe__sig_key *key = make_key(which, true);
    outcome o = NOT_APPLICABLE;

    if (is_pure(s)) {
        pqe_status status = key == NULL ? PQE_E_MALFORMED
                                        : pqe__sig_sign(key, entropy.len == 32 ? entropy.data : zero, message.data,
                                                        message.len, context.data, context.len, signature, NULL);
        if (refuse)
            o = status != PQE_OK ? PASSED : FAILED;
        else
            o = status == PQE_OK && expected.len == pqe_sig_signature_size(pqe__sig_algorithm(key)) &&
                        memcmp(signature, expected.data, expected.len) == 0
                    ? PASSED
                    : FAILED;
    }
    pqe__sig_free(&key);
    bytes_free(&message);
    bytes_free(&expected);
    bytes_free(&context);
    bytes_free(&entropy);
    return o;
}

static outcome
run_verify(const stanza *s, const char *which)
{
    bool refuse = stanza_get(s, "Result") != NULL;
    bytes message = bytes_parse(stanza_get(s, "Input")), signature = bytes_parse(stanza_get(s, "Output"));
    bytes context = bytes_parse(control(s, "hexcontext-string"));
    pqe__sig_key *key = make_key(which, false);
    outcome o = NOT_APPLICABLE;

    if (is_pure(s)) {
        pqe_status status = key == NULL ? PQE_E_ARGUMENT
                                        : pqe__sig_verify(key, message.data, message.len, context.data, context.len,
                                                          signature.data, signature.len, NULL);
        /* A refusal is a verdict or a context that is too long, never a failure of the library. */
        o = refuse ? (status == PQE_E_ATTESTATION || (status == PQE_E_LIMIT && context.len > 255) ? PASSED : FAILED)
                   : (status == PQE_OK ? PASSED : FAILED);
    }
    pqe__sig_free(&key);
    bytes_free(&message);
    bytes_free(&signature);
    bytes_free(&context);
    return o;
}

/* Keys that must be refused: another length, coefficients out of range. */
static outcome
run_import(const stanza *s, const char *name)
{
    bool is_private = control(s, "hexpriv") != NULL;
    bytes raw = bytes_parse(is_private ? control(s, "hexpriv") : control(s, "hexpub"));
    pqe__sig_key *key = NULL;
    pqe_sig_algorithm algorithm;
    pqe_status status;

    assert_true(pqe_sig_from_name(name, &algorithm));
    assert_non_null(stanza_get(s, "Result"));
    status = is_private ? pqe__sig_from_private(algorithm, raw.data, raw.len, &key, NULL)
                        : pqe__sig_from_public(algorithm, raw.data, raw.len, &key, NULL);
    bytes_free(&raw);
    return status != PQE_OK && key == NULL ? PASSED : FAILED;
}

static const char *
control_out(const stanza *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->key[i], "CtrlOut") == 0 && strncmp(s->value[i], name, strlen(name)) == 0)
            return s->value[i] + strlen(name) + 1;
    return NULL;
}

static outcome
run_keygen(const stanza *s, const char *name)
{
    bytes seed = bytes_parse(control(s, "hexseed")), public = bytes_parse(control_out(s, "hexpub"));
    bytes private = bytes_parse(control_out(s, "hexpriv"));
    uint8_t pk[PQE_ML_DSA_PUBLIC_MAX], sk[PQE__SIG_PRIVATE_MAX], again[PQE_ML_DSA_SEED_SIZE];
    pqe__sig_key *key = NULL, *expanded = NULL;
    pqe_sig_algorithm algorithm;
    bool ok, found = false;

    assert_true(pqe_sig_from_name(name, &algorithm));
    ok = seed.len == PQE_ML_DSA_SEED_SIZE && public.len == pqe_sig_public_size(algorithm) &&
         private.len == pqe__sig_private_size(algorithm) &&
         pqe__sig_from_seed(algorithm, seed.data, &key, NULL) == PQE_OK && pqe__sig_public(key, pk, NULL) == PQE_OK &&
         memcmp(pk, public.data, public.len) == 0 && pqe__sig_private(key, sk, NULL) == PQE_OK &&
         memcmp(sk, private.data, private.len) == 0 && pqe__sig_seed(key, again, &found, NULL) == PQE_OK && found &&
         memcmp(again, seed.data, sizeof again) == 0;
    /* The expanded form leads to the same public key and tells no seed. */
    ok = ok && pqe__sig_from_private(algorithm, private.data, private.len, &expanded, NULL) == PQE_OK &&
         pqe__sig_public(expanded, pk, NULL) == PQE_OK && memcmp(pk, public.data, public.len) == 0 &&
         pqe__sig_seed(expanded, again, &found, NULL) == PQE_OK && !found;
    pqe__sig_free(&key);
    pqe__sig_free(&expanded);
    bytes_free(&seed);
    bytes_free(&public);
    bytes_free(&private);
    return ok ? PASSED : FAILED;
}

static outcome
run_stanza(const stanza *s)
{
    const char *value;

    if ((value = stanza_get(s, "PrivateKeyRaw")) != NULL)
        learn_key(value, true);
    if ((value = stanza_get(s, "PublicKeyRaw")) != NULL)
        learn_key(value, false);
    if ((value = stanza_get(s, "Sign-Message")) != NULL)
        return run_sign(s, value);
    if ((value = stanza_get(s, "Verify-Message-Public")) != NULL)
        return run_verify(s, value);
    if ((value = stanza_get(s, "KeyFromData")) != NULL)
        return run_import(s, value);
    if ((value = stanza_get(s, "KeyGen")) != NULL)
        return run_keygen(s, value);
    return NOT_APPLICABLE;
}

static void
run_file(const char *name, unsigned minimum)
{
    unsigned ran = 0, failed = 0, line = 0;
    char path[4096];
    stanza s;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    if ((f = fopen(path, "r")) == NULL)
        fail_msg("cannot open %s", path);
    while (stanza_read(f, &s, &line)) {
        outcome o = run_stanza(&s);
        if (o == FAILED)
            print_error("%s:%u: wrong answer\n", path, s.first_line);
        ran += o != NOT_APPLICABLE;
        failed += o == FAILED;
        stanza_clear(&s);
    }
    fclose(f);
    forget_keys();
    print_message("%s: %u vectors ran, %u failed, at least %u expected\n", name, ran, failed, minimum);
    assert_int_equal(failed, 0);
    assert_true(ran >= minimum);
}

/* ---- the tests; the minimum is about the number that applies in OpenSSL 3.5 ---- */

static void
test_acvp(void **state)
{
    (void)state;
    run_file("evppkey_ml_dsa_keygen.txt", 75);
    run_file("evppkey_ml_dsa_siggen.txt", 90);
    run_file("evppkey_ml_dsa_sigver.txt", 45);
}

static void
test_wycheproof(void **state)
{
    (void)state;
    run_file("evppkey_ml_dsa_44_wycheproof_sign.txt", 60);
    run_file("evppkey_ml_dsa_65_wycheproof_sign.txt", 60);
    run_file("evppkey_ml_dsa_87_wycheproof_sign.txt", 55);
    run_file("evppkey_ml_dsa_44_wycheproof_verify.txt", 75);
    run_file("evppkey_ml_dsa_65_wycheproof_verify.txt", 80);
    run_file("evppkey_ml_dsa_87_wycheproof_verify.txt", 70);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_acvp), cmocka_unit_test(test_wycheproof)};

    directory = PQE_OPENSSL_VECTORS;
    if (directory[0] == '\0') {
        puts("skipped: no OpenSSL vector files (CMake variable PQE_OPENSSL_VECTORS is empty)");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
