/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs every applicable stanza of OpenSSL's vector files through our own functions: ML-KEM-768 (BoringSSL's and NIST
 * ACVP's), AES-GCM (GCM specification, NIST CAVS), SHA-256, SHA3-256, HMAC, HKDF, Argon2id. What is not applicable
 * (other algorithms, other nonce lengths, expanded private keys of unknown seed) is passed over; the number that ran
 * must reach a minimum, so that a parser that finds nothing fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"
#include "kat/stanza.h"

static const char *directory;

typedef enum { NOT_APPLICABLE, PASSED, FAILED } outcome;
typedef outcome (*runner)(const stanza *s);

static outcome
verdict(bool ok)
{
    return ok ? PASSED : FAILED;
}

static bool
equal(bytes b, const void *data, size_t len)
{
    return b.len == len && memcmp(b.data, data, len) == 0;
}

static bool
is_zero(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (data[i] != 0)
            return false;
    return true;
}

/** Runs `fn` on each stanza of a file; all must pass, and at least `minimum` must apply. */
static void
run_file(const char *name, runner fn, unsigned minimum)
{
    unsigned ran = 0, failed = 0, line = 0;
    char path[4096];
    stanza s;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    f = fopen(path, "r");
    if (f == NULL)
        fail_msg("cannot open %s", path);
    while (stanza_read(f, &s, &line)) {
        outcome o = fn(&s);

        if (o == FAILED)
            print_error("%s:%u: wrong answer\n", path, s.first_line);
        ran += o != NOT_APPLICABLE;
        failed += o == FAILED;
        stanza_clear(&s);
    }
    fclose(f);
    print_message("%s: %u vectors ran, %u failed, at least %u expected\n", name, ran, failed, minimum);
    assert_int_equal(failed, 0);
    assert_true(ran >= minimum);
}

/* ---- AES-GCM ---- */

typedef struct gcm_case {
    bytes key, iv, aad, plain, cipher; /* cipher: with the tag at its end */
} gcm_case;

static bool
gcm_seals(const gcm_case *c, pqe__aead *aead)
{
    uint8_t *out = malloc(c->cipher.len);
    bool ok =
        out != NULL &&
        pqe__aead_seal(aead, c->iv.data, c->aad.data, c->aad.len, c->plain.data, c->plain.len, out, NULL) == PQE_OK &&
        equal(c->cipher, out, c->cipher.len);

    free(out);
    return ok;
}

static bool
gcm_opens(const gcm_case *c, pqe__aead *aead)
{
    uint8_t *out = malloc(c->plain.len + 1);
    bool ok =
        out != NULL &&
        pqe__aead_open(aead, c->iv.data, c->aad.data, c->aad.len, c->cipher.data, c->cipher.len, out, NULL) == PQE_OK &&
        equal(c->plain, out, c->plain.len);

    free(out);
    return ok;
}

static bytes
join(const char *first, const char *second)
{
    bytes a = bytes_parse(first), b = bytes_parse(second);
    bytes both = {malloc(a.len + b.len + 1), a.len + b.len};

    assert_non_null(both.data);
    memcpy(both.data, a.data, a.len);
    memcpy(both.data + a.len, b.data, b.len);
    bytes_free(&a);
    bytes_free(&b);
    return both;
}

/* Those with another nonce length, or that must not verify (all of which have one), are passed over. */
static outcome
run_gcm(const stanza *s)
{
    static const char *const known[] = {"Cipher",     "Key",    "IV",        "AAD",   "Tag", "Plaintext",
                                        "Ciphertext", "NextIV", "Operation", "Title", NULL};
    pqe__aead *aead = NULL;
    outcome o = NOT_APPLICABLE;
    gcm_case c;

    if (!stanza_is(s, "Cipher", "aes-256-gcm") || !stanza_only(s, known))
        return NOT_APPLICABLE;
    c = (gcm_case){bytes_parse(stanza_get(s, "Key")), bytes_parse(stanza_get(s, "IV")),
                   bytes_parse(stanza_get(s, "AAD")), bytes_parse(stanza_get(s, "Plaintext")),
                   join(stanza_get(s, "Ciphertext"), stanza_get(s, "Tag"))};
    if (c.iv.len == PQE__NONCE_SIZE && c.cipher.len == c.plain.len + PQE__TAG_SIZE)
        o = verdict(pqe__aead_new(c.key.data, c.key.len, &aead, NULL) == PQE_OK &&
                    (stanza_is(s, "Operation", "DECRYPT") || gcm_seals(&c, aead)) &&
                    (stanza_is(s, "Operation", "ENCRYPT") || gcm_opens(&c, aead)));
    pqe__aead_free(&aead);
    bytes_free(&c.key);
    bytes_free(&c.iv);
    bytes_free(&c.aad);
    bytes_free(&c.plain);
    bytes_free(&c.cipher);
    return o;
}

/* ---- hashes: Input may occur several times; Ncopy copies make one piece, which is hashed Count times ---- */

static bool
hash_inputs(const stanza *s, pqe__hash *h)
{
    for (size_t i = 0; i < s->count; i++) {
        unsigned long repeat = 1;
        bytes piece;
        bool ok = true;

        if (strcmp(s->key[i], "Input") != 0)
            continue;
        for (size_t k = i + 1; k < s->count && (strcmp(s->key[k], "Ncopy") == 0 || strcmp(s->key[k], "Count") == 0);
             k++)
            repeat *= strtoul(s->value[k], NULL, 10);
        piece = bytes_parse(s->value[i]);
        for (unsigned long n = 0; ok && n < repeat; n++)
            ok = pqe__hash_update(h, piece.data, piece.len, NULL) == PQE_OK;
        bytes_free(&piece);
        if (!ok)
            return false;
    }
    return true;
}

static outcome
run_hash(const stanza *s)
{
    static const char *const known[] = {"Digest", "Input", "Output", "Ncopy", "Count", NULL};
    bool sha256 = stanza_is(s, "Digest", "SHA256"), sha3 = stanza_is(s, "Digest", "SHA3-256");
    pqe__hash *h = NULL;
    uint8_t out[32];
    bytes expected;
    bool ok;

    if ((!sha256 && !sha3) || !stanza_only(s, known))
        return NOT_APPLICABLE;
    expected = bytes_parse(stanza_get(s, "Output"));
    ok = pqe__hash_new(sha256 ? PQE__SHA256 : PQE__SHA3_256, &h, NULL) == PQE_OK && hash_inputs(s, h) &&
         pqe__hash_final(h, out, NULL) == PQE_OK && equal(expected, out, sizeof out);
    pqe__hash_free(&h);
    bytes_free(&expected);
    return verdict(ok);
}

/* ---- HMAC ---- */

static outcome
run_hmac(const stanza *s)
{
    static const char *const known[] = {"MAC", "Algorithm", "Key", "Input", "Output", "OutputSize", "BlockSize", NULL};
    bytes key, input, expected;
    uint8_t out[32];
    bool ok;

    if (!stanza_is(s, "MAC", "HMAC") || !stanza_is(s, "Algorithm", "SHA256") || !stanza_only(s, known))
        return NOT_APPLICABLE;
    key = bytes_parse(stanza_get(s, "Key"));
    input = bytes_parse(stanza_get(s, "Input"));
    expected = bytes_parse(stanza_get(s, "Output"));
    ok = pqe__hmac_sha256(key.data, key.len, input.data, input.len, out, NULL) == PQE_OK &&
         equal(expected, out, sizeof out);
    bytes_free(&key);
    bytes_free(&input);
    bytes_free(&expected);
    return verdict(ok);
}

/* ---- key derivation; values look like "hexkey:00ff", "salt:" or "digest:SHA256" ---- */

static const char *
control(const stanza *s, const char *key, const char *prefix)
{
    const char *v = stanza_get(s, key);
    size_t len = strlen(prefix);

    if (v == NULL || strncmp(v, prefix, len) == 0)
        return v == NULL ? NULL : v + len;
    if (strchr(v, ':') == NULL || strchr(v, ':')[1] != '\0')
        fail_msg("line %u: %s is not what this test can read", s->first_line, key);
    return "";
}

static outcome
run_hkdf(const stanza *s)
{
    static const char *const known[] = {"KDF",       "Ctrl.mode", "Ctrl.digest", "Ctrl.IKM",
                                        "Ctrl.salt", "Ctrl.info", "Output",      NULL};
    bool extract_only = stanza_is(s, "Ctrl.mode", "mode:EXTRACT_ONLY");
    bool expand_only = stanza_is(s, "Ctrl.mode", "mode:EXPAND_ONLY");
    bytes ikm, salt, info, expected;
    uint8_t prk[32], out[1024];
    bool ok = true;

    if (!stanza_is(s, "KDF", "HKDF") || !stanza_is(s, "Ctrl.digest", "digest:SHA256") || !stanza_only(s, known))
        return NOT_APPLICABLE;
    ikm = bytes_parse(control(s, "Ctrl.IKM", "hexkey:"));
    salt = bytes_parse(control(s, "Ctrl.salt", "hexsalt:"));
    info = bytes_parse(control(s, "Ctrl.info", "hexinfo:"));
    expected = bytes_parse(stanza_get(s, "Output"));
    assert_true(expected.len <= sizeof out);
    if (!expand_only)
        ok = pqe__hkdf_extract(salt.data, salt.len, ikm.data, ikm.len, prk, NULL) == PQE_OK;
    if (extract_only)
        memcpy(out, prk, sizeof prk);
    else
        ok = ok && pqe__hkdf_expand(PQE__HKDF_SHA256, expand_only ? ikm.data : prk, expand_only ? ikm.len : sizeof prk,
                                    info.data, info.len, out, expected.len, NULL) == PQE_OK;
    ok = ok && equal(expected, out, expected.len);
    bytes_free(&ikm);
    bytes_free(&salt);
    bytes_free(&info);
    bytes_free(&expected);
    return verdict(ok);
}

/* "Threads" says how OpenSSL is to compute it; the result does not depend on it. */
static outcome
run_argon2id(const stanza *s)
{
    static const char *const known[] = {"KDF",       "Ctrl.lanes", "Ctrl.iter",    "Ctrl.memcost", "Ctrl.pass",
                                        "Ctrl.salt", "Output",     "Ctrl.threads", "Threads",      NULL};
    pqe__argon2_params params;
    bytes pass, salt, expected;
    outcome o = NOT_APPLICABLE;
    uint8_t out[32];

    if (!stanza_is(s, "KDF", "ARGON2ID") || !stanza_only(s, known) || stanza_get(s, "Output") == NULL ||
        stanza_get(s, "Ctrl.memcost") == NULL || stanza_get(s, "Ctrl.iter") == NULL ||
        stanza_get(s, "Ctrl.lanes") == NULL)
        return NOT_APPLICABLE;
    params = (pqe__argon2_params){(uint32_t)strtoul(control(s, "Ctrl.memcost", "memcost:"), NULL, 10),
                                  (uint32_t)strtoul(control(s, "Ctrl.iter", "iter:"), NULL, 10),
                                  (uint32_t)strtoul(control(s, "Ctrl.lanes", "lanes:"), NULL, 10)};
    pass = bytes_parse(control(s, "Ctrl.pass", "hexpass:"));
    salt = bytes_parse(control(s, "Ctrl.salt", "hexsalt:"));
    expected = bytes_parse(stanza_get(s, "Output"));
    if (expected.len == sizeof out)
        o = verdict(pqe__argon2id(pass.data, pass.len, salt.data, salt.len, &params, out, NULL) == PQE_OK &&
                    equal(expected, out, sizeof out));
    bytes_free(&pass);
    bytes_free(&salt);
    bytes_free(&expected);
    return o;
}

/* ---- ML-KEM-768 ---- */

/* Key generation gives expanded private keys for known seeds; decapsulation vectors name such keys. */
static struct {
    char *expanded;
    uint8_t seed[PQE__KEM_SEED_SIZE];
} known_keys[256];
static size_t known_key_count;

static outcome
run_keygen(const stanza *s)
{
    const char *public_hex = NULL, *private_hex = NULL, *seed_hex;
    uint8_t ek[PQE__KEM_PUBLIC_SIZE];
    pqe__kem_key *key = NULL;
    bytes seed, expected;
    bool ok;

    if (!stanza_is(s, "KeyGen", "ML-KEM-768"))
        return NOT_APPLICABLE;
    for (size_t i = 0; i < s->count; i++) {
        if (strncmp(s->value[i], "hexpub:", 7) == 0)
            public_hex = s->value[i] + 7;
        if (strncmp(s->value[i], "hexpriv:", 8) == 0)
            private_hex = s->value[i] + 8;
    }
    seed_hex = control(s, "Ctrl", "hexseed:");
    if (seed_hex == NULL || public_hex == NULL || private_hex == NULL)
        return FAILED;
    seed = bytes_parse(seed_hex);
    expected = bytes_parse(public_hex);
    ok = seed.len == PQE__KEM_SEED_SIZE && pqe__kem_from_seed(seed.data, &key, NULL) == PQE_OK &&
         pqe__kem_public(key, ek, NULL) == PQE_OK && equal(expected, ek, sizeof ek);
    if (ok && known_key_count < sizeof known_keys / sizeof known_keys[0]) {
        known_keys[known_key_count].expanded = strdup(private_hex);
        memcpy(known_keys[known_key_count++].seed, seed.data, PQE__KEM_SEED_SIZE);
    }
    pqe__kem_free(&key);
    bytes_free(&seed);
    bytes_free(&expected);
    return verdict(ok);
}

static outcome
run_encapsulation(const stanza *s)
{
    uint8_t ct[PQE__KEM_CIPHERTEXT_SIZE], shared[PQE__KEM_SHARED_SIZE];
    bool refuse = stanza_is(s, "Result", "TEST_PARSE_PUBLIC_KEY_ERROR");
    bytes ek, m, expected_ct, expected_shared;
    pqe__kem_key *key = NULL;
    pqe_status status;
    bool ok;

    if (!stanza_is(s, "Kem", "ML-KEM-768") || stanza_get(s, "EncodedPublicKey") == NULL)
        return NOT_APPLICABLE;
    if (stanza_get(s, "Result") != NULL && !refuse)
        return FAILED;
    ek = bytes_parse(stanza_get(s, "EncodedPublicKey"));
    m = bytes_parse(stanza_get(s, "Entropy"));
    expected_ct = bytes_parse(stanza_get(s, "Ciphertext"));
    expected_shared = bytes_parse(stanza_get(s, "Output"));
    status = pqe__kem_from_public(ek.data, ek.len, &key, NULL);
    if (refuse)
        ok = status == PQE_E_ARGUMENT && key == NULL;
    else
        ok = status == PQE_OK && m.len == 32 && pqe__kem_encapsulate(key, m.data, ct, shared, NULL) == PQE_OK &&
             equal(expected_ct, ct, sizeof ct) && equal(expected_shared, shared, sizeof shared);
    pqe__kem_free(&key);
    bytes_free(&ek);
    bytes_free(&m);
    bytes_free(&expected_ct);
    bytes_free(&expected_shared);
    return verdict(ok);
}

static const uint8_t *
seed_of(const char *expanded)
{
    for (size_t i = 0; i < known_key_count; i++)
        if (strcmp(known_keys[i].expanded, expanded) == 0)
            return known_keys[i].seed;
    return NULL;
}

static outcome
run_decapsulation(const stanza *s)
{
    bool refuse = stanza_is(s, "Result", "TEST_DECAPSULATE_ERROR");
    const char *expanded = stanza_get(s, "EncodedPrivateKey");
    const uint8_t *seed = expanded == NULL ? NULL : seed_of(expanded);
    uint8_t shared[PQE__KEM_SHARED_SIZE];
    pqe__kem_key *key = NULL;
    bytes ct, expected;
    pqe_status status;
    bool ok;

    if (!stanza_is(s, "Kem", "ML-KEM-768") || seed == NULL)
        return NOT_APPLICABLE;
    ct = bytes_parse(stanza_get(s, "Input"));
    expected = bytes_parse(stanza_get(s, "Output"));
    ok = pqe__kem_from_seed(seed, &key, NULL) == PQE_OK;
    if (ok) {
        status = pqe__kem_decapsulate(key, ct.data, ct.len, shared, NULL);
        ok = refuse ? status == PQE_E_DECRYPTION && is_zero(shared, sizeof shared)
                    : status == PQE_OK && equal(expected, shared, sizeof shared);
    }
    pqe__kem_free(&key);
    bytes_free(&ct);
    bytes_free(&expected);
    return verdict(ok);
}

/* ---- the tests; the minimum is about the number that applies in OpenSSL 3.5 ---- */

static void
test_gcm(void **state)
{
    (void)state;
    run_file("evpciph_aes_common.txt", run_gcm, 60);
}

static void
test_hash(void **state)
{
    (void)state;
    run_file("evpmd_sha.txt", run_hash, 7);
}

static void
test_hmac(void **state)
{
    (void)state;
    run_file("evpmac_common.txt", run_hmac, 3);
}

static void
test_hkdf(void **state)
{
    (void)state;
    run_file("evpkdf_hkdf.txt", run_hkdf, 9);
}

static void
test_argon2id(void **state)
{
    (void)state;
    run_file("evpkdf_argon2.txt", run_argon2id, 3);
}

static void
test_kem(void **state)
{
    (void)state;
    run_file("evppkey_ml_kem_768_keygen.txt", run_keygen, 100);
    run_file("evppkey_ml_kem_keygen.txt", run_keygen, 25);
    run_file("evppkey_ml_kem_768_encap.txt", run_encapsulation, 250);
    run_file("evppkey_ml_kem_encap_decap.txt", run_encapsulation, 25);
    run_file("evppkey_ml_kem_768_decap.txt", run_decapsulation, 100);
    while (known_key_count > 0)
        free(known_keys[--known_key_count].expanded);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gcm),  cmocka_unit_test(test_hash),     cmocka_unit_test(test_hmac),
        cmocka_unit_test(test_hkdf), cmocka_unit_test(test_argon2id), cmocka_unit_test(test_kem),
    };

    directory = PQE_OPENSSL_VECTORS;
    if (directory[0] == '\0') {
        puts("skipped: no OpenSSL vector files (CMake variable PQE_OPENSSL_VECTORS is empty)");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
