/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attestations: nothing altered passes: every byte flipped, fields swapped, signatures cut, extended and zeroed, other
 * algorithms, every other spelling of the same content.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <pqc_enclave/attest.h>

#include "format/attestation.h"
#include "unit/attest_support.h"
#include "unit/support.h"

/* ---- mutations ---- */

/* One bit of every byte, another one each time; all of them in the long form. */
static void
flip_all(const attest_bench *b, const char *data, size_t len)
{
    pqe_attest_verify_opts o = attest_trusting(b);
    int bits = getenv("PQE_BEDS") != NULL ? 8 : 1;
    char *copy = malloc(len);

    assert_non_null(copy);
    for (size_t i = 0; i < len; i++) {
        for (int k = 0; k < bits; k++) {
            memcpy(copy, data, len);
            copy[i] = (char)(copy[i] ^ 1 << ((i + (size_t)k) % 8));
            if (attest_judge(&o, copy, len) == PQE_VERDICT_PASS)
                fail_msg("passes with byte %zu of %zu altered", i, len);
        }
    }
    free(copy);
}

static void
test_flipped_cose(void **state)
{
    attest_bench *b = *state;

    flip_all(b, b->cose, b->cose_len);
}

static void
test_flipped_json(void **state)
{
    attest_bench *b = *state;

    flip_all(b, b->json, b->json_len);
}

static void
test_cut_and_extended(void **state)
{
    attest_bench *b = *state;
    pqe_attest_verify_opts o = attest_trusting(b);
    char *copy = malloc(b->cose_len + b->json_len);

    assert_non_null(copy);
    for (size_t i = 0; i < b->cose_len; i++)
        assert_int_equal(attest_judge(&o, b->cose, i), PQE_VERDICT_MALFORMED);
    for (size_t i = 0; i < b->json_len; i++)
        assert_int_equal(attest_judge(&o, b->json, i), PQE_VERDICT_MALFORMED);
    for (int byte = 0; byte < 256; byte++) {
        bool space = byte != 0 && strchr(" \t\r\n", byte) != NULL;
        memcpy(copy, b->cose, b->cose_len);
        copy[b->cose_len] = (char)byte;
        assert_int_equal(attest_judge(&o, copy, b->cose_len + 1), PQE_VERDICT_MALFORMED);
        memcpy(copy, b->json, b->json_len);
        copy[b->json_len] = (char)byte;
        assert_int_equal(attest_judge(&o, copy, b->json_len + 1), space ? PQE_VERDICT_PASS : PQE_VERDICT_MALFORMED);
    }
    free(copy);
}

/* Verifies what a struct with changed fields says, by way of its encoding. */
static pqe_verdict
judge_struct(const attest_bench *b, const pqe_attestation *a, pqe_attest_form form)
{
    pqe_attest_verify_opts o = attest_trusting(b);
    char *bytes = NULL;
    size_t len;
    pqe_verdict verdict;

    if (pqe_attestation_encode(a, form, &bytes, &len, NULL) != PQE_OK)
        return PQE_VERDICT_MALFORMED; /* cannot even be written */
    verdict = attest_judge(&o, bytes, len);
    pqe_buffer_free(&bytes);
    return verdict;
}

static void
test_swapped_fields(void **state)
{
    attest_bench *b = *state;
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
    attest_bench *b = *state;
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
    attest_bench *b = *state;
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
    attest_bench *b = *state;
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
    attest_bench *b = *state;
    pqe_attest_verify_opts o = attest_trusting(b);
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
judge_replaced(const attest_bench *b, const char *from, const char *to)
{
    pqe_attest_verify_opts o = attest_trusting(b);
    char *text = replace(b->json, from, to);
    pqe_verdict verdict = attest_judge(&o, text, strlen(text));

    free(text);
    return verdict;
}

static void
test_json_spellings(void **state)
{
    attest_bench *b = *state;
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
    attest_bench *b = *state;
    pqe_attest_verify_opts o = attest_trusting(b);
    char *copy = strdup(b->json), *hex;

    assert_non_null(copy);
    hex = strstr(copy, "\"signature\":\"") + 13;
    while (*hex < 'a')
        hex++;
    *hex = (char)(*hex - 'a' + 'A');
    assert_int_equal(attest_judge(&o, copy, strlen(copy)), PQE_VERDICT_MALFORMED);
    free(copy);
}

/* Both encodings that Python writes are read, each by itself. */
static void
test_json_escaped(void **state)
{
    attest_bench *b = *state;
    pqe_attest_verify_opts o = attest_trusting(b);
    char *one = replace(b->json, "\xc3\xb6", "\\u00f6"), *two = replace(one, "\xf0\x9f\x94\x90", "\\ud83d\\udd10");
    char *three = replace(two, "\x7f", "\\u007f");

    assert_int_equal(attest_judge(&o, one, strlen(one)), PQE_VERDICT_MALFORMED);
    assert_int_equal(attest_judge(&o, two, strlen(two)), PQE_VERDICT_MALFORMED);
    assert_int_equal(attest_judge(&o, three, strlen(three)), PQE_VERDICT_PASS);
    free(one);
    one = replace(three, "\\ud83d\\udd10", "\\ud83d");
    assert_int_equal(attest_judge(&o, one, strlen(one)), PQE_VERDICT_MALFORMED);
    free(one);
    one = replace(three, "\\ud83d\\udd10", "\\udd10\\ud83d");
    assert_int_equal(attest_judge(&o, one, strlen(one)), PQE_VERDICT_MALFORMED);
    free(one);
    one = replace(three, "\\ud83d\\udd10", "\\uD83D\\uDD10");
    assert_int_equal(attest_judge(&o, one, strlen(one)), PQE_VERDICT_MALFORMED);
    free(one);
    free(two);
    free(three);
}

/* `at`: the bytes there are replaced. What the signature does not cover must have one spelling too. */
static pqe_verdict
judge_spliced(const attest_bench *b, size_t at, size_t drop, const char *insert, size_t len)
{
    pqe_attest_verify_opts o = attest_trusting(b);
    char *copy = malloc(b->cose_len + len);
    pqe_verdict verdict;

    assert_non_null(copy);
    memcpy(copy, b->cose, at);
    memcpy(copy + at, insert, len);
    memcpy(copy + at + len, b->cose + at + drop, b->cose_len - at - drop);
    verdict = attest_judge(&o, copy, b->cose_len - drop + len);
    free(copy);
    return verdict;
}

static void
test_cbor_spellings(void **state)
{
    attest_bench *b = *state;
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
    attest_bench *b = *state;
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
    pqe_attest_verify_opts o = attest_trusting(b);

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
        assert_int_equal(attest_judge(&o, copy, b->cose_len + cases[i].to_len - cases[i].from_len), cases[i].verdict);
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
        assert_int_equal(attest_judge(NULL, heads[i], strlen(heads[i])), PQE_VERDICT_MALFORMED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flipped_cose),     cmocka_unit_test(test_flipped_json),
        cmocka_unit_test(test_cut_and_extended), cmocka_unit_test(test_swapped_fields),
        cmocka_unit_test(test_swapped_numbers),  cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_algorithms),       cmocka_unit_test(test_another_key),
        cmocka_unit_test(test_json_spellings),   cmocka_unit_test(test_json_hex),
        cmocka_unit_test(test_json_escaped),     cmocka_unit_test(test_cbor_spellings),
        cmocka_unit_test(test_cbor_claims),      cmocka_unit_test(test_cbor_promises),
    };

    return cmocka_run_group_tests(tests, attest_set_up, attest_tear_down);
}
