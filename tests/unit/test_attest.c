/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attestations: what passes, and that nothing altered does: every byte flipped, fields swapped, signatures cut, extended
 * and zeroed, other algorithms, other challenges, every other spelling of the same content.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pqc_enclave/attest.h>

#include "format/attestation.h"
#include "unit/support.h"

#define CHALLENGE "0123456789abcdef"

/* A vault in memory with two artifacts and an identity, and what is made of them. */
typedef struct bench {
    pqe_backend *backend;
    pqe_vault *vault;
    pqe_identity signer;
    pqe_trust *trust;
    pqe_attestation *v1, *v2, *other_v1, *other_v2;
    char *json, *cose;
    size_t json_len, cose_len;
} bench;

static pqe_attestation *
attest(pqe_vault *vault, const char *name, int version, const char *model)
{
    pqe_attest_opts o = {.size = sizeof o, .version = version, .device_model = model};
    pqe_attestation *a = NULL;

    if (version == 2) {
        o.challenge = CHALLENGE;
        o.challenge_len = strlen(CHALLENGE);
    }
    assert_pqe_ok(pqe_attest(vault, name, &o, &a, err));
    return a;
}

static int
set_up(void **state)
{
    bench *b = calloc(1, sizeof *b);

    assert_non_null(b);
    b->backend = backend_memory();
    b->vault = vault_create(NULL, b->backend);
    put_ok(b->vault, "one", "first", 5);
    put_ok(b->vault, "two", "second", 6);
    assert_pqe_ok(pqe_identity_create(b->vault, NULL, &b->signer, err));
    assert_pqe_ok(pqe_trust_new(&b->trust, err));
    assert_pqe_ok(pqe_trust_add_did(b->trust, b->signer.did, err));
    b->v1 = attest(b->vault, "one", 1,
                   "m\xc3\xb6"
                   "del \xf0\x9f\x94\x90 \"\\\n\x7f\x01");
    b->v2 = attest(b->vault, "one", 2, "model \xe2\x82\xac");
    b->other_v1 = attest(b->vault, "two", 1, "another");
    b->other_v2 = attest(b->vault, "two", 2, "another");
    assert_pqe_ok(pqe_attestation_encode(b->v1, PQE_ATTEST_JSON, &b->json, &b->json_len, err));
    assert_pqe_ok(pqe_attestation_encode(b->v2, PQE_ATTEST_COSE, &b->cose, &b->cose_len, err));
    *state = b;
    return 0;
}

static int
tear_down(void **state)
{
    bench *b = *state;

    pqe_buffer_free(&b->json);
    pqe_buffer_free(&b->cose);
    pqe_attestation_free(&b->v1);
    pqe_attestation_free(&b->v2);
    pqe_attestation_free(&b->other_v1);
    pqe_attestation_free(&b->other_v2);
    pqe_trust_free(&b->trust);
    pqe_vault_close(&b->vault);
    pqe_backend_close(&b->backend);
    free(b);
    return 0;
}

/* The verdict over bytes; malformed ones included. */
static pqe_verdict
judge(const pqe_attest_verify_opts *o, const void *data, size_t len)
{
    pqe_attestation *a = NULL;
    pqe_verdict verdict = PQE_VERDICT_PASS;
    pqe_status status = pqe_attestation_decode(data, len, &a, NULL);

    if (status == PQE_E_MALFORMED) {
        assert_null(a);
        return PQE_VERDICT_MALFORMED;
    }
    assert_int_equal(status, PQE_OK);
    status = pqe_attestation_verify(a, o, &verdict, NULL);
    assert_int_equal(status, verdict == PQE_VERDICT_PASS ? PQE_OK : PQE_E_ATTESTATION);
    pqe_attestation_free(&a);
    return verdict;
}

static pqe_attest_verify_opts
trusting(const bench *b)
{
    return (pqe_attest_verify_opts){.size = sizeof(pqe_attest_verify_opts), .trust = b->trust};
}

/* ---- what passes, and each verdict ---- */

static void
test_passes(void **state)
{
    bench *b = *state;
    pqe_attest_verify_opts o = trusting(b);
    char *again = NULL;
    size_t len;
    pqe_attestation *a = NULL;

    o.max_age_seconds = 100;
    o.expected_hash = b->v1->artifact_content_hash.data;
    assert_int_equal(judge(&o, b->json, b->json_len), PQE_VERDICT_PASS);
    o.challenge = CHALLENGE;
    o.challenge_len = strlen(CHALLENGE);
    assert_int_equal(judge(&o, b->cose, b->cose_len), PQE_VERDICT_PASS);
    /* Read and written again, both forms are what they were, byte for byte. */
    assert_pqe_ok(pqe_attestation_decode(b->cose, b->cose_len, &a, err));
    assert_pqe_ok(pqe_attestation_encode(a, PQE_ATTEST_COSE, &again, &len, err));
    assert_int_equal(len, b->cose_len);
    assert_memory_equal(again, b->cose, len);
    assert_string_equal(a->device_model.data, "model \xe2\x82\xac");
    assert_string_equal(a->tier.data, "software");
    assert_string_equal(a->hash_algorithm.data, "sha3-256");
    assert_int_equal(a->expires - a->issued, PQE_ATTEST_DEFAULT_TTL);
    assert_memory_equal(a->challenge.data, CHALLENGE, a->challenge.len);
    pqe_buffer_free(&again);
    pqe_attestation_free(&a);
    assert_pqe_ok(pqe_attestation_decode(b->json, b->json_len, &a, err));
    assert_pqe_ok(pqe_attestation_encode(a, PQE_ATTEST_JSON, &again, &len, err));
    assert_int_equal(len, b->json_len);
    assert_memory_equal(again, b->json, len);
    pqe_buffer_free(&again);
    pqe_attestation_free(&a);
}

static void
test_verdicts(void **state)
{
    bench *b = *state;
    pqe_attest_verify_opts o = trusting(b);
    pqe_trust *nobody = NULL;
    int64_t issued = b->v2->issued;

    assert_pqe_ok(pqe_trust_new(&nobody, err));
    o.trust = nobody;
    assert_int_equal(judge(&o, b->cose, b->cose_len), PQE_VERDICT_UNKNOWN_SIGNER);
    assert_int_equal(judge(&o, b->json, b->json_len), PQE_VERDICT_UNKNOWN_SIGNER);
    assert_int_equal(judge(NULL, b->cose, b->cose_len), PQE_VERDICT_UNKNOWN_SIGNER);
    o.trust = b->trust;
    o.challenge = "another challenge";
    o.challenge_len = 17;
    assert_int_equal(judge(&o, b->cose, b->cose_len), PQE_VERDICT_CHALLENGE);
    o.challenge = CHALLENGE;
    o.challenge_len = strlen(CHALLENGE) - 1;
    assert_int_equal(judge(&o, b->cose, b->cose_len), PQE_VERDICT_CHALLENGE);
    assert_int_equal(judge(&o, b->json, b->json_len), PQE_VERDICT_CHALLENGE);
    o.challenge = NULL;
    o.now = issued + PQE_ATTEST_DEFAULT_TTL;
    assert_int_equal(judge(&o, b->cose, b->cose_len), PQE_VERDICT_PASS);
    o.now++;
    assert_int_equal(judge(&o, b->cose, b->cose_len), PQE_VERDICT_EXPIRED);
    assert_int_equal(judge(&o, b->json, b->json_len), PQE_VERDICT_PASS); /* does not expire */
    o.max_age_seconds = 60;
    o.now = issued + 60;
    assert_int_equal(judge(&o, b->cose, b->cose_len), PQE_VERDICT_PASS);
    o.now = issued + 62;
    assert_int_equal(judge(&o, b->cose, b->cose_len), PQE_VERDICT_TOO_OLD);
    assert_int_equal(judge(&o, b->json, b->json_len), PQE_VERDICT_TOO_OLD);
    o.now = issued - 300;
    assert_int_equal(judge(&o, b->cose, b->cose_len), PQE_VERDICT_PASS);
    o.now = issued - 302;
    assert_int_equal(judge(&o, b->cose, b->cose_len), PQE_VERDICT_FUTURE);
    assert_int_equal(judge(&o, b->json, b->json_len), PQE_VERDICT_FUTURE);
    o.no_skew = true;
    o.now = issued - 2;
    assert_int_equal(judge(&o, b->cose, b->cose_len), PQE_VERDICT_FUTURE);
    o.now = issued;
    o.expected_hash = b->other_v1->artifact_content_hash.data;
    assert_int_equal(judge(&o, b->cose, b->cose_len), PQE_VERDICT_HASH);
    pqe_trust_free(&nobody);
}

static void
test_self_consistent(void **state)
{
    bench *b = *state;
    pqe_verdict verdict;

    assert_pqe_ok(pqe_attestation_self_consistent(b->v1, &verdict, err));
    assert_int_equal(verdict, PQE_VERDICT_PASS);
    assert_pqe_ok(pqe_attestation_self_consistent(b->v2, &verdict, err));
    /* Each verdict has a name and a sentence of its own. */
    for (int i = 0; i <= PQE_VERDICT_HASH; i++)
        for (int k = 0; k < i; k++) {
            assert_string_not_equal(pqe_verdict_name((pqe_verdict)i), pqe_verdict_name((pqe_verdict)k));
            assert_string_not_equal(pqe_verdict_text((pqe_verdict)i), pqe_verdict_text((pqe_verdict)k));
        }
    assert_null(pqe_verdict_name((pqe_verdict)(PQE_VERDICT_HASH + 1)));
}

/* ---- mutations ---- */

/* One bit of every byte, another one each time; all of them in the long form. */
static void
flip_all(const bench *b, const char *data, size_t len)
{
    pqe_attest_verify_opts o = trusting(b);
    int bits = getenv("PQE_BEDS") != NULL ? 8 : 1;
    char *copy = malloc(len);

    assert_non_null(copy);
    for (size_t i = 0; i < len; i++) {
        for (int k = 0; k < bits; k++) {
            memcpy(copy, data, len);
            copy[i] = (char)(copy[i] ^ 1 << ((i + (size_t)k) % 8));
            if (judge(&o, copy, len) == PQE_VERDICT_PASS)
                fail_msg("passes with byte %zu of %zu altered", i, len);
        }
    }
    free(copy);
}

static void
test_flipped_cose(void **state)
{
    bench *b = *state;

    flip_all(b, b->cose, b->cose_len);
}

static void
test_flipped_json(void **state)
{
    bench *b = *state;

    flip_all(b, b->json, b->json_len);
}

static void
test_cut_and_extended(void **state)
{
    bench *b = *state;
    pqe_attest_verify_opts o = trusting(b);
    char *copy = malloc(b->cose_len + b->json_len);

    assert_non_null(copy);
    for (size_t i = 0; i < b->cose_len; i++)
        assert_int_equal(judge(&o, b->cose, i), PQE_VERDICT_MALFORMED);
    for (size_t i = 0; i < b->json_len; i++)
        assert_int_equal(judge(&o, b->json, i), PQE_VERDICT_MALFORMED);
    for (int byte = 0; byte < 256; byte++) {
        bool space = byte != 0 && strchr(" \t\r\n", byte) != NULL;
        memcpy(copy, b->cose, b->cose_len);
        copy[b->cose_len] = (char)byte;
        assert_int_equal(judge(&o, copy, b->cose_len + 1), PQE_VERDICT_MALFORMED);
        memcpy(copy, b->json, b->json_len);
        copy[b->json_len] = (char)byte;
        assert_int_equal(judge(&o, copy, b->json_len + 1), space ? PQE_VERDICT_PASS : PQE_VERDICT_MALFORMED);
    }
    free(copy);
}

/* Verifies what a struct with changed fields says, by way of its encoding. */
static pqe_verdict
judge_struct(const bench *b, const pqe_attestation *a, pqe_attest_form form)
{
    pqe_attest_verify_opts o = trusting(b);
    char *bytes = NULL;
    size_t len;
    pqe_verdict verdict;

    if (pqe_attestation_encode(a, form, &bytes, &len, NULL) != PQE_OK)
        return PQE_VERDICT_MALFORMED; /* cannot even be written */
    verdict = judge(&o, bytes, len);
    pqe_buffer_free(&bytes);
    return verdict;
}

static void
test_swapped_fields(void **state)
{
    bench *b = *state;
    static const size_t texts[] = {offsetof(pqe_attestation, device_id),
                                   offsetof(pqe_attestation, device_model),
                                   offsetof(pqe_attestation, enclave_vendor),
                                   offsetof(pqe_attestation, artifact_id),
                                   offsetof(pqe_attestation, artifact_content_hash),
                                   offsetof(pqe_attestation, issued_at),
                                   offsetof(pqe_attestation, signer_did),
                                   offsetof(pqe_attestation, algorithm),
                                   offsetof(pqe_attestation, hash_algorithm),
                                   offsetof(pqe_attestation, key_id),
                                   offsetof(pqe_attestation, backend),
                                   offsetof(pqe_attestation, tier)};

    /* Each text with each other one's place. */
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (size_t k = 0; k < i; k++) {
            for (int version = 1; version <= 2; version++) {
                pqe_attestation a = version == 1 ? *b->v1 : *b->v2;
                pqe_text *x = (pqe_text *)(void *)((char *)&a + texts[i]),
                         *y = (pqe_text *)(void *)((char *)&a + texts[k]), t = *x;
                bool same = x->len == y->len && (x->len == 0 || memcmp(x->data, y->data, x->len) == 0);
                bool unused =
                    (version == 1 && i >= 8) || (version == 2 && (texts[i] == texts[5] || texts[k] == texts[5]));
                if (same || unused)
                    continue;
                *x = *y;
                *y = t;
                if (judge_struct(b, &a, version == 1 ? PQE_ATTEST_JSON : PQE_ATTEST_COSE) == PQE_VERDICT_PASS)
                    fail_msg("version %d passes with fields %zu and %zu swapped", version, i, k);
            }
        }
    }
    /* Each field from another attestation of the same signer. */
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (int version = 1; version <= 2; version++) {
            pqe_attestation a = version == 1 ? *b->v1 : *b->v2;
            const pqe_attestation *other = version == 1 ? b->other_v1 : b->other_v2;
            pqe_text *x = (pqe_text *)(void *)((char *)&a + texts[i]);
            const pqe_text *y = (const pqe_text *)(const void *)((const char *)other + texts[i]);
            if (x->len == y->len && (x->len == 0 || memcmp(x->data, y->data, x->len) == 0))
                continue;
            if (version == 2 && texts[i] == texts[5])
                continue;
            *x = *y;
            if (judge_struct(b, &a, version == 1 ? PQE_ATTEST_JSON : PQE_ATTEST_COSE) == PQE_VERDICT_PASS)
                fail_msg("version %d passes with field %zu of another", version, i);
        }
    }
}

static void
test_swapped_numbers(void **state)
{
    bench *b = *state;
    pqe_attestation a = *b->v2;

    a.issued = b->v2->issued - 1;
    assert_int_equal(judge_struct(b, &a, PQE_ATTEST_COSE), PQE_VERDICT_SIGNATURE);
    a = *b->v2;
    a.expires++;
    assert_int_equal(judge_struct(b, &a, PQE_ATTEST_COSE), PQE_VERDICT_SIGNATURE);
    a = *b->v2;
    a.challenge.len--;
    assert_int_equal(judge_struct(b, &a, PQE_ATTEST_COSE), PQE_VERDICT_SIGNATURE);
    a.challenge.len = 0;
    assert_int_equal(judge_struct(b, &a, PQE_ATTEST_COSE), PQE_VERDICT_SIGNATURE);
    a = *b->v2;
    a.evidence_count = 1;
    a.evidence[0] = (pqe_evidence){{"quote", 5}, {(const uint8_t *)"x", 1}};
    assert_int_equal(judge_struct(b, &a, PQE_ATTEST_COSE), PQE_VERDICT_SIGNATURE);
}

static void
test_signatures(void **state)
{
    bench *b = *state;
    static uint8_t bytes[PQE_ML_DSA_SIGNATURE_MAX + 1];

    for (int version = 1; version <= 2; version++) {
        pqe_attestation a = version == 1 ? *b->v1 : *b->v2;
        pqe_attest_form form = version == 1 ? PQE_ATTEST_JSON : PQE_ATTEST_COSE;
        size_t len = a.signature.len;
        memcpy(bytes, a.signature.data, len);
        a.signature.data = bytes;
        for (size_t cut = 0; cut < len; cut += cut < 64 ? 1 : 97) {
            a.signature.len = cut;
            assert_int_equal(judge_struct(b, &a, form), PQE_VERDICT_SIGNATURE);
        }
        a.signature.len = len - 1;
        assert_int_equal(judge_struct(b, &a, form), PQE_VERDICT_SIGNATURE);
        a.signature.len = len + 1;
        bytes[len] = 0;
        assert_int_equal(judge_struct(b, &a, form), PQE_VERDICT_SIGNATURE);
        a.signature.len = len;
        assert_int_equal(judge_struct(b, &a, form), PQE_VERDICT_PASS);
        memset(bytes, 0, sizeof bytes);
        assert_int_equal(judge_struct(b, &a, form), PQE_VERDICT_SIGNATURE);
        memset(bytes, 0xff, sizeof bytes);
        assert_int_equal(judge_struct(b, &a, form), PQE_VERDICT_SIGNATURE);
        /* The signature of another statement of the same signer. */
        a.signature = version == 1 ? b->other_v1->signature : b->other_v2->signature;
        assert_int_equal(judge_struct(b, &a, form), PQE_VERDICT_SIGNATURE);
        a.signature = version == 1 ? b->v2->signature : b->v1->signature;
        assert_int_equal(judge_struct(b, &a, form), PQE_VERDICT_SIGNATURE);
    }
}

static void
test_algorithms(void **state)
{
    bench *b = *state;
    static const char *const names[] = {"ML-DSA-87", "ML-DSA-44", "ml-dsa-65", "ML-DSA-65 ", "", "none", "ES256"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        pqe_attestation a = *b->v1;
        a.algorithm = (pqe_text){names[i], strlen(names[i])};
        assert_int_equal(judge_struct(b, &a, PQE_ATTEST_JSON), PQE_VERDICT_ALGORITHM);
        a = *b->v2;
        a.algorithm = (pqe_text){names[i], strlen(names[i])};
        assert_int_not_equal(judge_struct(b, &a, PQE_ATTEST_COSE), PQE_VERDICT_PASS);
    }
}

/* A key of the forger's own, first as it is, then under the trusted DID. */
static void
test_another_key(void **state)
{
    bench *b = *state;
    pqe_attest_verify_opts o = trusting(b);
    pqe_attestation_v1 f = {.size = sizeof f,
                            .device_id = b->v1->device_id,
                            .device_model = b->v1->device_model,
                            .enclave_vendor = b->v1->enclave_vendor,
                            .artifact_id = b->v1->artifact_id,
                            .artifact_content_hash = b->v1->artifact_content_hash,
                            .issued_at = b->v1->issued_at};
    pqe_signing_key *key = NULL;
    pqe_attestation *forged = NULL;
    pqe_attestation a;
    pqe_verdict verdict;

    for (int k = PQE_ML_DSA_44; k <= PQE_ML_DSA_87; k++) {
        assert_pqe_ok(pqe_signing_key_generate((pqe_sig_algorithm)k, &key, err));
        assert_pqe_ok(pqe_attestation_v1_sign(&f, key, &forged, err));
        assert_pqe_ok(pqe_attestation_self_consistent(forged, NULL, err));
        assert_int_equal(pqe_attestation_verify(forged, &o, &verdict, NULL), PQE_E_ATTESTATION);
        assert_int_equal(verdict, k == PQE_ML_DSA_44 ? PQE_VERDICT_ALGORITHM : PQE_VERDICT_UNKNOWN_SIGNER);
        a = *forged;
        a.signer_did = b->v1->signer_did;
        assert_int_equal(judge_struct(b, &a, PQE_ATTEST_JSON),
                         k == PQE_ML_DSA_44 ? PQE_VERDICT_ALGORITHM : PQE_VERDICT_DID);
        pqe_attestation_free(&forged);
        pqe_signing_key_free(&key);
    }
}

/* ---- other spellings of the same content ---- */

static char *
replace(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    char *out = malloc(strlen(text) + strlen(to) + 1);

    assert_non_null(at);
    assert_non_null(out);
    memcpy(out, text, (size_t)(at - text));
    strcpy(out + (at - text), to);
    strcat(out, at + strlen(from));
    return out;
}

static pqe_verdict
judge_replaced(const bench *b, const char *from, const char *to)
{
    pqe_attest_verify_opts o = trusting(b);
    char *text = replace(b->json, from, to);
    pqe_verdict verdict = judge(&o, text, strlen(text));

    free(text);
    return verdict;
}

static void
test_json_spellings(void **state)
{
    bench *b = *state;
    static const struct {
        const char *from, *to;
        pqe_verdict verdict;
    } cases[] = {
        {"{\"device_id\"", " \t\r\n{ \"device_id\" ", PQE_VERDICT_PASS},
        {"\"device_id\"", "\"\\u0064evice_id\"", PQE_VERDICT_MALFORMED}, /* an escape that is not needed */
        {"\"device_id\"", "\"Device_id\"", PQE_VERDICT_MALFORMED},
        {"\"device_id\"", "\"device_id\":\"x\",\"device_id\"", PQE_VERDICT_MALFORMED},
        {"\"device_id\"", "\"extra\":\"x\",\"device_id\"", PQE_VERDICT_MALFORMED},
        {"}", ",\"extra\":\"x\"}", PQE_VERDICT_MALFORMED},
        {"}", ",}", PQE_VERDICT_MALFORMED},
        {"}", "}}", PQE_VERDICT_MALFORMED},
        {"{", "[{", PQE_VERDICT_MALFORMED},
        {"{", "\xef\xbb\xbf{", PQE_VERDICT_MALFORMED},
        {"\\n", "\\u000a", PQE_VERDICT_MALFORMED},
        {"\\n", "\n", PQE_VERDICT_MALFORMED},
        {"\\u0001", "\\u0001\\u0000", PQE_VERDICT_SIGNATURE},
        {"\\u0001", "\\U0001", PQE_VERDICT_MALFORMED},
        {"\\u0001", "\\u00e9", PQE_VERDICT_MALFORMED},                           /* escaped beside raw */
        {"\xf0\x9f\x94\x90", "\\ud83d\\udd10", PQE_VERDICT_MALFORMED},           /* ditto */
        {"\xf0\x9f\x94\x90", "\xed\xa0\xbd\xed\xb4\x90", PQE_VERDICT_MALFORMED}, /* surrogates in UTF-8 */
        {"\xf0\x9f\x94\x90", "\xc0\xaf", PQE_VERDICT_MALFORMED},
        {"memory", "mem\\/ory", PQE_VERDICT_MALFORMED},
    };

    assert_non_null(strstr(b->json, "\\u0001"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pqe_verdict verdict = judge_replaced(b, cases[i].from, cases[i].to);
        if (verdict != cases[i].verdict)
            fail_msg("%s for %s: %s", cases[i].to, cases[i].from, pqe_verdict_name(verdict));
    }
    assert_int_equal(judge_replaced(b, "\"ML-DSA-65\"", "65"), PQE_VERDICT_MALFORMED);
    assert_int_equal(judge_replaced(b, "\"ML-DSA-65\"", "null"), PQE_VERDICT_MALFORMED);
    assert_int_equal(judge_replaced(b, "\"ML-DSA-65\"", "\"ML-DSA-65"), PQE_VERDICT_MALFORMED);
}

/* Upper-case hex says the same, and is refused. */
static void
test_json_hex(void **state)
{
    bench *b = *state;
    pqe_attest_verify_opts o = trusting(b);
    char *copy = strdup(b->json), *hex;

    assert_non_null(copy);
    hex = strstr(copy, "\"signature\":\"") + 13;
    while (*hex < 'a')
        hex++;
    *hex = (char)(*hex - 'a' + 'A');
    assert_int_equal(judge(&o, copy, strlen(copy)), PQE_VERDICT_MALFORMED);
    free(copy);
}

/* Both encodings that Python writes are read, each by itself. */
static void
test_json_escaped(void **state)
{
    bench *b = *state;
    pqe_attest_verify_opts o = trusting(b);
    char *one = replace(b->json, "\xc3\xb6", "\\u00f6"), *two = replace(one, "\xf0\x9f\x94\x90", "\\ud83d\\udd10");
    char *three = replace(two, "\x7f", "\\u007f");

    assert_int_equal(judge(&o, one, strlen(one)), PQE_VERDICT_MALFORMED);
    assert_int_equal(judge(&o, two, strlen(two)), PQE_VERDICT_MALFORMED);
    assert_int_equal(judge(&o, three, strlen(three)), PQE_VERDICT_PASS);
    free(one);
    one = replace(three, "\\ud83d\\udd10", "\\ud83d");
    assert_int_equal(judge(&o, one, strlen(one)), PQE_VERDICT_MALFORMED);
    free(one);
    one = replace(three, "\\ud83d\\udd10", "\\udd10\\ud83d");
    assert_int_equal(judge(&o, one, strlen(one)), PQE_VERDICT_MALFORMED);
    free(one);
    one = replace(three, "\\ud83d\\udd10", "\\uD83D\\uDD10");
    assert_int_equal(judge(&o, one, strlen(one)), PQE_VERDICT_MALFORMED);
    free(one);
    free(two);
    free(three);
}

/* `at`: the bytes there are replaced. What the signature does not cover must have one spelling too. */
static pqe_verdict
judge_spliced(const bench *b, size_t at, size_t drop, const char *insert, size_t len)
{
    pqe_attest_verify_opts o = trusting(b);
    char *copy = malloc(b->cose_len + len);
    pqe_verdict verdict;

    assert_non_null(copy);
    memcpy(copy, b->cose, at);
    memcpy(copy + at, insert, len);
    memcpy(copy + at + len, b->cose + at + drop, b->cose_len - at - drop);
    verdict = judge(&o, copy, b->cose_len - drop + len);
    free(copy);
    return verdict;
}

static void
test_cbor_spellings(void **state)
{
    bench *b = *state;
    size_t signature = b->cose_len - b->v2->signature.len - 3, protected = 2;
    size_t protected_len = (size_t)(uint8_t)b->cose[3] << 8 | (uint8_t)b->cose[4];
    size_t unprotected = protected + 3 + protected_len;

    assert_int_equal((uint8_t)b->cose[0], 0xd2);
    assert_int_equal((uint8_t)b->cose[1], 0x84);
    assert_int_equal((uint8_t)b->cose[protected], 0x59);
    assert_int_equal((uint8_t)b->cose[unprotected], 0xa0);
    assert_int_equal((uint8_t)b->cose[signature], 0x59);
    assert_int_equal(judge_spliced(b, 0, 0, "", 0), PQE_VERDICT_PASS);
    assert_int_equal(judge_spliced(b, 0, 1, "\xd8\x12", 2), PQE_VERDICT_MALFORMED);
    assert_int_equal(judge_spliced(b, 0, 1, "", 0), PQE_VERDICT_MALFORMED);
    assert_int_equal(judge_spliced(b, 0, 1, "\xd2\xd2", 2), PQE_VERDICT_MALFORMED);
    assert_int_equal(judge_spliced(b, 0, 0, "\xd8\x3d", 2), PQE_VERDICT_MALFORMED); /* tag 61, CWT */
    assert_int_equal(judge_spliced(b, 1, 1, "\x98\x04", 2), PQE_VERDICT_MALFORMED);
    assert_int_equal(judge_spliced(b, 1, 1, "\x9f", 1), PQE_VERDICT_MALFORMED);
    assert_int_equal(judge_spliced(b, 1, 1, "\x85", 1), PQE_VERDICT_MALFORMED);
    assert_int_equal(judge_spliced(b, protected, 1, "\x5a\0\0", 3), PQE_VERDICT_MALFORMED);
    assert_int_equal(judge_spliced(b, protected, 1, "\x79", 1), PQE_VERDICT_MALFORMED); /* a text string */
    assert_int_equal(judge_spliced(b, unprotected, 1, "\xb8\0", 2), PQE_VERDICT_MALFORMED);
    assert_int_equal(judge_spliced(b, unprotected, 1, "\xbf\xff", 2), PQE_VERDICT_MALFORMED);
    assert_int_equal(judge_spliced(b, unprotected, 1, "\xa1\x01\x38\x30", 4), PQE_VERDICT_MALFORMED); /* alg, again */
    assert_int_equal(judge_spliced(b, unprotected, 1, "\xa1\x02\x81\x01", 4), PQE_VERDICT_MALFORMED); /* crit */
    assert_int_equal(judge_spliced(b, unprotected, 1, "\xa1\x18\x63\x01", 4), PQE_VERDICT_MALFORMED); /* unknown */
    assert_int_equal(judge_spliced(b, signature, 1, "\x5a\0\0", 3), PQE_VERDICT_MALFORMED);
    assert_int_equal(judge_spliced(b, signature, 1, "\x5f\x59", 2), PQE_VERDICT_MALFORMED);
}

/* What a signer might sign by another program, correctly signed: still refused, for it is not the profile's encoding. */
static void
test_cbor_claims(void **state)
{
    bench *b = *state;
    static const struct {
        const char *from, *to;
        size_t from_len, to_len;
        pqe_verdict verdict;
    } cases[] = {
        {"\x19\x01\x09", "\x1a\0\0\x01\x09", 3, 5, PQE_VERDICT_MALFORMED}, /* a key in a longer form */

        {"software",
         "s\xc3\xaf"
         "ftwar",
         8, 8, PQE_VERDICT_SIGNATURE},                                  /* the length still fits; another word */
        {"software", "softw\xff\xff\xff", 8, 8, PQE_VERDICT_MALFORMED}, /* not UTF-8 */
        {"eat+cwt", "eat+jwt", 7, 7, PQE_VERDICT_MALFORMED},
        {"attestation:2", "attestation:3", 13, 13, PQE_VERDICT_MALFORMED},
    };
    pqe_attest_verify_opts o = trusting(b);

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *at = memmem(b->cose, b->cose_len, cases[i].from, cases[i].from_len);
        char *copy;
        assert_non_null(at);
        copy = malloc(b->cose_len + 8);
        assert_non_null(copy);
        memcpy(copy, b->cose, (size_t)(at - b->cose));
        memcpy(copy + (at - b->cose), cases[i].to, cases[i].to_len);
        memcpy(copy + (at - b->cose) + cases[i].to_len, at + cases[i].from_len,
               b->cose_len - (size_t)(at - b->cose) - cases[i].from_len);
        assert_int_equal(judge(&o, copy, b->cose_len + cases[i].to_len - cases[i].from_len), cases[i].verdict);
        free(copy);
    }
}

/* Lengths that promise more than there is cost nothing. */
static void
test_cbor_promises(void **state)
{
    static const char *const heads[] = {"\xd2\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
                                        "\xd2\x84\x5b\xff\xff\xff\xff\xff\xff\xff\xff", "\xd2\x84\x5a\x7f\xff\xff\xff",
                                        "\xd2\x84\xbb\x7f\xff\xff\xff\xff\xff\xff\xff"};

    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        assert_int_equal(judge(NULL, heads[i], strlen(heads[i])), PQE_VERDICT_MALFORMED);
}

/* ---- canonical bytes ---- */

static void
test_canonical(void **state)
{
    static const char model[] = "\"\\/\b\f\n\r\t\0\x1f \x7f\xc2\x80\xe2\x80\xa8\xf0\x9f\x94\x90";
    static const char expected[] =
        "{\"artifact_content_hash\":\"h\",\"artifact_id\":\"a\",\"device_id\":\"\",\"device_model\":"
        "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f \x7f\xc2\x80\xe2\x80\xa8\xf0\x9f\x94\x90\",\"enclave_vendor\":\"v\","
        "\"issued_at\":\"t\"}";
    pqe_attestation_v1 f = {.size = sizeof f,
                            .device_model = {model, sizeof model - 1},
                            .enclave_vendor = {"v", 1},
                            .artifact_id = {"a", 1},
                            .artifact_content_hash = {"h", 1},
                            .issued_at = {"t", 1}};
    char *bytes = NULL;
    size_t len = 1;

    (void)state;
    assert_pqe_ok(pqe_attestation_v1_canonical(&f, &bytes, &len, err));
    assert_int_equal(len, sizeof expected - 1);
    assert_memory_equal(bytes, expected, len);
    pqe_buffer_free(&bytes);
    f.device_model = (pqe_text){"\xed\xa0\x80", 3};
    assert_int_equal(pqe_attestation_v1_canonical(&f, &bytes, &len, NULL), PQE_E_ARGUMENT);
    assert_null(bytes);
    assert_int_equal(len, 0);
}

/* ---- trust ---- */

static void
test_trust(void **state)
{
    bench *b = *state;
    pqe_trust *t = NULL;
    pqe_public_key *key = NULL;
    pqe_attest_verify_opts o = {.size = sizeof o};
    char pem[PQE_PUBLIC_PEM_MAX], text[PQE_PUBLIC_PEM_MAX + 512];
    size_t len;

    assert_pqe_ok(
        pqe_public_key_from_raw(b->signer.algorithm, b->signer.public_key, b->signer.public_key_len, &key, err));
    assert_string_equal(pqe_public_key_did(key), b->signer.did);
    assert_pqe_ok(pqe_public_key_pem(key, pem, sizeof pem, &len, err));
    assert_pqe_ok(pqe_trust_new(&t, err));
    assert_int_equal(pqe_trust_add_did(t, "did:pqaid:12", NULL), PQE_E_MALFORMED);
    assert_int_equal(pqe_trust_add_text(t, "", 0, NULL), PQE_E_MALFORMED);
    assert_int_equal(pqe_trust_add_text(t, "# nothing\n\n", 11, NULL), PQE_E_MALFORMED);
    assert_int_equal(pqe_trust_add_text(t, pem, len - 4, NULL), PQE_E_MALFORMED);
    o.trust = t;
    assert_int_equal(judge(&o, b->cose, b->cose_len), PQE_VERDICT_UNKNOWN_SIGNER);
    snprintf(text, sizeof text, "# ours\r\n%s\ndid:pqaid:%064d\n", pem, 0);
    assert_pqe_ok(pqe_trust_add_text(t, text, strlen(text), err));
    assert_int_equal(judge(&o, b->cose, b->cose_len), PQE_VERDICT_PASS);
    pqe_trust_free(&t);
    pqe_public_key_free(&key);
}

/* ---- streams ---- */

typedef struct feed {
    const bench *b;
    uint64_t given, total, seen, stop_at, fail_at;
    char *bad;
} feed;

/* Good, altered, malformed, too long, in turns. */
static pqe_status
feed_next(void *user, const void **data, size_t *len, pqe_error *err)
{
    feed *f = user;
    uint64_t i = f->given++;

    *data = NULL;
    if (i == f->fail_at) {
        err->status = PQE_E_IO;
        return PQE_E_IO;
    }
    if (i == f->total)
        return PQE_OK;
    *data = i % 4 == 0 ? f->b->cose : i % 4 == 1 ? f->bad : i % 4 == 2 ? "{" : f->b->json;
    *len = i % 4 == 0 || i % 4 == 1 ? f->b->cose_len
           : i % 4 == 2             ? (i % 8 == 2 ? 1 : (size_t)PQE_ATTEST_MAX + 1)
                                    : f->b->json_len;
    return PQE_OK;
}

static bool
feed_result(void *user, const pqe_attest_result *r)
{
    static const pqe_verdict expected[] = {PQE_VERDICT_PASS, PQE_VERDICT_SIGNATURE, PQE_VERDICT_MALFORMED,
                                           PQE_VERDICT_PASS};
    feed *f = user;

    assert_int_equal(r->index, f->seen);
    assert_int_equal(r->status, PQE_OK);
    assert_int_equal(r->verdict, expected[r->index % 4]);
    assert_true((r->attestation == NULL) == (r->verdict == PQE_VERDICT_MALFORMED));
    assert_true(r->reason[0] != '\0');
    f->seen++;
    return f->seen != f->stop_at;
}

static void
test_stream(void **state)
{
    bench *b = *state;
    pqe_attest_verify_opts o = trusting(b);
    pqe_attest_verifier *v = NULL;
    pqe_attest_summary sum;
    char *bad = malloc(b->cose_len);

    assert_non_null(bad);
    memcpy(bad, b->cose, b->cose_len);
    bad[b->cose_len - 1] ^= 1;
    assert_pqe_ok(pqe_attest_verifier_new(&o, &v, err));
    for (unsigned threads = 0; threads <= 5; threads++) {
        feed f = {.b = b, .total = threads == 2 ? 0 : 500, .fail_at = UINT64_MAX, .bad = bad};
        assert_pqe_ok(pqe_attest_verifier_stream(v, threads, feed_next, feed_result, &f, &sum, err));
        assert_int_equal(f.seen, f.total);
        assert_int_equal(sum.total, f.total);
        assert_int_equal(sum.passed, f.total / 2);
        assert_int_equal(sum.verdicts[PQE_VERDICT_SIGNATURE], f.total / 4);
        assert_int_equal(sum.verdicts[PQE_VERDICT_MALFORMED], f.total / 4);
        f = (feed){.b = b, .total = 500, .stop_at = 77, .fail_at = UINT64_MAX, .bad = bad};
        assert_int_equal(pqe_attest_verifier_stream(v, threads, feed_next, feed_result, &f, &sum, NULL),
                         PQE_E_CANCELLED);
        assert_int_equal(f.seen, 77);
        f = (feed){.b = b, .total = 500, .fail_at = 123, .bad = bad};
        assert_int_equal(pqe_attest_verifier_stream(v, threads, feed_next, feed_result, &f, &sum, &(pqe_error){0}),
                         PQE_E_IO);
        assert_int_equal(f.seen, 123);
    }
    pqe_attest_verifier_free(&v);
    free(bad);
}

/* ---- arguments ---- */

static void
test_refusals(void **state)
{
    bench *b = *state;
    pqe_attest_opts o = {.size = sizeof o, .challenge = "short", .challenge_len = 5};
    pqe_attestation *a = NULL;
    pqe_error err = {0};
    char *out = NULL;
    size_t len;

    assert_int_equal(pqe_attest(b->vault, "one", &o, &a, &err), PQE_E_ARGUMENT);
    o = (pqe_attest_opts){.size = sizeof o, .version = 1, .challenge = CHALLENGE, .challenge_len = 16};
    assert_int_equal(pqe_attest(b->vault, "one", &o, &a, &err), PQE_E_ARGUMENT);
    o = (pqe_attest_opts){.size = sizeof o, .version = 3};
    assert_int_equal(pqe_attest(b->vault, "one", &o, &a, &err), PQE_E_ARGUMENT);
    o = (pqe_attest_opts){.size = sizeof o, .identity = "nobody"};
    assert_int_equal(pqe_attest(b->vault, "one", &o, &a, &err), PQE_E_NOT_FOUND);
    assert_int_equal(pqe_attest(b->vault, "three", NULL, &a, &err), PQE_E_NOT_FOUND);
    assert_null(a);
    assert_int_equal(pqe_attestation_encode(b->v1, PQE_ATTEST_COSE, &out, &len, &err), PQE_E_ARGUMENT);
    assert_null(out);
    /* A struct that is a copy has nothing behind it that was signed. */
    {
        pqe_attestation copy = *b->v2;
        pqe_verdict verdict = PQE_VERDICT_PASS;
        assert_int_equal(pqe_attestation_verify(&copy, NULL, &verdict, &err), PQE_E_ARGUMENT);
        assert_int_not_equal(verdict, PQE_VERDICT_PASS);
    }
    /* The view of version 2 is not an attestation. */
    assert_int_equal(pqe_attestation_encode(b->v2, PQE_ATTEST_JSON, &out, &len, &err), PQE_OK);
    assert_int_equal(judge(NULL, out, len), PQE_VERDICT_MALFORMED);
    pqe_buffer_free(&out);
    pqe_vault_lock(b->vault);
    assert_int_equal(pqe_attest(b->vault, "one", NULL, &a, &err), PQE_E_LOCKED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes),          cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_self_consistent), cmocka_unit_test(test_flipped_cose),
        cmocka_unit_test(test_flipped_json),    cmocka_unit_test(test_cut_and_extended),
        cmocka_unit_test(test_swapped_fields),  cmocka_unit_test(test_swapped_numbers),
        cmocka_unit_test(test_signatures),      cmocka_unit_test(test_algorithms),
        cmocka_unit_test(test_another_key),     cmocka_unit_test(test_json_spellings),
        cmocka_unit_test(test_json_hex),        cmocka_unit_test(test_json_escaped),
        cmocka_unit_test(test_cbor_spellings),  cmocka_unit_test(test_cbor_claims),
        cmocka_unit_test(test_cbor_promises),   cmocka_unit_test(test_canonical),
        cmocka_unit_test(test_trust),           cmocka_unit_test(test_stream),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
