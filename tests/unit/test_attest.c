/* SPDX-License-Identifier: Apache-2.0 */
/* Attestations: what passes and what each verdict is for, canonical bytes, trust, streams, arguments. */
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
#include "unit/attest_support.h"
#include "unit/support.h"

/* ---- what passes, and each verdict ---- */

static void
test_passes(void **state)
{
    attest_bench *b = *state;
    pqe_attest_verify_opts o = attest_trusting(b);
    char *again = NULL;
    size_t len;
    pqe_attestation *a = NULL;

    o.max_age_seconds = 100;
    o.expected_hash = b->v1->artifact_content_hash.data;
    assert_int_equal(attest_judge(&o, b->json, b->json_len), PQE_VERDICT_PASS);
    o.challenge = CHALLENGE;
    o.challenge_len = strlen(CHALLENGE);
    assert_int_equal(attest_judge(&o, b->cose, b->cose_len), PQE_VERDICT_PASS);
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
    attest_bench *b = *state;
    pqe_attest_verify_opts o = attest_trusting(b);
    pqe_trust *nobody = NULL;
    int64_t issued = b->v2->issued;

    assert_pqe_ok(pqe_trust_new(&nobody, err));
    o.trust = nobody;
    assert_int_equal(attest_judge(&o, b->cose, b->cose_len), PQE_VERDICT_UNKNOWN_SIGNER);
    assert_int_equal(attest_judge(&o, b->json, b->json_len), PQE_VERDICT_UNKNOWN_SIGNER);
    assert_int_equal(attest_judge(NULL, b->cose, b->cose_len), PQE_VERDICT_UNKNOWN_SIGNER);
    o.trust = b->trust;
    o.challenge = "another challenge";
    o.challenge_len = 17;
    assert_int_equal(attest_judge(&o, b->cose, b->cose_len), PQE_VERDICT_CHALLENGE);
    o.challenge = CHALLENGE;
    o.challenge_len = strlen(CHALLENGE) - 1;
    assert_int_equal(attest_judge(&o, b->cose, b->cose_len), PQE_VERDICT_CHALLENGE);
    assert_int_equal(attest_judge(&o, b->json, b->json_len), PQE_VERDICT_CHALLENGE);
    o.challenge = NULL;
    o.now = issued + PQE_ATTEST_DEFAULT_TTL;
    assert_int_equal(attest_judge(&o, b->cose, b->cose_len), PQE_VERDICT_PASS);
    o.now++;
    assert_int_equal(attest_judge(&o, b->cose, b->cose_len), PQE_VERDICT_EXPIRED);
    assert_int_equal(attest_judge(&o, b->json, b->json_len), PQE_VERDICT_PASS); /* does not expire */
    o.max_age_seconds = 60;
    o.now = issued + 60;
    assert_int_equal(attest_judge(&o, b->cose, b->cose_len), PQE_VERDICT_PASS);
    o.now = issued + 62;
    assert_int_equal(attest_judge(&o, b->cose, b->cose_len), PQE_VERDICT_TOO_OLD);
    assert_int_equal(attest_judge(&o, b->json, b->json_len), PQE_VERDICT_TOO_OLD);
    o.now = issued - 300;
    assert_int_equal(attest_judge(&o, b->cose, b->cose_len), PQE_VERDICT_PASS);
    o.now = issued - 302;
    assert_int_equal(attest_judge(&o, b->cose, b->cose_len), PQE_VERDICT_FUTURE);
    assert_int_equal(attest_judge(&o, b->json, b->json_len), PQE_VERDICT_FUTURE);
    o.no_skew = true;
    o.now = issued - 2;
    assert_int_equal(attest_judge(&o, b->cose, b->cose_len), PQE_VERDICT_FUTURE);
    o.now = issued;
    o.expected_hash = b->other_v1->artifact_content_hash.data;
    assert_int_equal(attest_judge(&o, b->cose, b->cose_len), PQE_VERDICT_HASH);
    pqe_trust_free(&nobody);
}

static void
test_self_consistent(void **state)
{
    attest_bench *b = *state;
    pqe_verdict verdict;

    assert_pqe_ok(pqe_attestation_self_consistent(b->v1, &verdict, err));
    assert_int_equal(verdict, PQE_VERDICT_PASS);
    assert_pqe_ok(pqe_attestation_self_consistent(b->v2, &verdict, err));
    /* Each verdict has a name and a sentence of its own. */
    for (int i = 0; i <= PQE_VERDICT_PCR; i++)
        for (int k = 0; k < i; k++) {
            assert_string_not_equal(pqe_verdict_name((pqe_verdict)i), pqe_verdict_name((pqe_verdict)k));
            assert_string_not_equal(pqe_verdict_text((pqe_verdict)i), pqe_verdict_text((pqe_verdict)k));
        }
    assert_null(pqe_verdict_name((pqe_verdict)(PQE_VERDICT_PCR + 1)));
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
    attest_bench *b = *state;
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
    assert_int_equal(attest_judge(&o, b->cose, b->cose_len), PQE_VERDICT_UNKNOWN_SIGNER);
    snprintf(text, sizeof text, "# ours\r\n%s\ndid:pqaid:%064d\n", pem, 0);
    assert_pqe_ok(pqe_trust_add_text(t, text, strlen(text), err));
    assert_int_equal(attest_judge(&o, b->cose, b->cose_len), PQE_VERDICT_PASS);
    pqe_trust_free(&t);
    pqe_public_key_free(&key);
}

/* ---- streams ---- */

typedef struct feed {
    const attest_bench *b;
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
    attest_bench *b = *state;
    pqe_attest_verify_opts o = attest_trusting(b);
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
    attest_bench *b = *state;
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
    assert_int_equal(attest_judge(NULL, out, len), PQE_VERDICT_MALFORMED);
    pqe_buffer_free(&out);
    pqe_vault_lock(b->vault);
    assert_int_equal(pqe_attest(b->vault, "one", NULL, &a, &err), PQE_E_LOCKED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes),    cmocka_unit_test(test_verdicts), cmocka_unit_test(test_self_consistent),
        cmocka_unit_test(test_canonical), cmocka_unit_test(test_trust),    cmocka_unit_test(test_stream),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, attest_set_up, attest_tear_down);
}
