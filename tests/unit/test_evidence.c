/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Evidence in attestations: what verifies, and that nothing else does: every byte flipped, every length, other keys, other
 * kinds, other statements, pieces of two devices. A stand-in for a TPM signs (tests/backend/testifier.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/attest.h"
#include "backend/testifier.h"
#include "unit/support.h"

#define CHALLENGE "0123456789abcdef"

typedef struct bench {
    pqe_backend *backend;
    pqe_vault *vault;
    pqe_identity signer, second;
    pqe_trust *trust; /* the signer, and the first attestation key */
} bench;

static int
set_up(void **state)
{
    bench *b = calloc(1, sizeof *b);

    assert_non_null(b);
    testifier = (testifier_knobs){.counter = 42};
    assert_pqe_ok(pqe_backend_open_ops(testifier_ops(), "", NULL, &b->backend, err));
    b->vault = vault_create(NULL, b->backend);
    put_ok(b->vault, "one", "first", 5);
    put_ok(b->vault, "two", "second", 6);
    assert_pqe_ok(pqe_identity_create(b->vault, NULL, &b->signer, err));
    assert_pqe_ok(pqe_identity_create(b->vault, NULL, &b->second, err));
    assert_pqe_ok(pqe_trust_new(&b->trust, err));
    assert_pqe_ok(pqe_trust_add_did(b->trust, b->signer.did, err));
    assert_pqe_ok(pqe_trust_add_did(b->trust, b->second.did, err));
    assert_pqe_ok(pqe_trust_add_evidence_keys(b->trust, testifier_pem(0), strlen(testifier_pem(0)), err));
    *state = b;
    return 0;
}

static int
tear_down(void **state)
{
    bench *b = *state;

    pqe_trust_free(&b->trust);
    pqe_vault_close(&b->vault);
    pqe_backend_close(&b->backend);
    free(b);
    return 0;
}

static pqe_attest_opts
challenged(void)
{
    return (pqe_attest_opts){
        .size = sizeof(pqe_attest_opts), .challenge = CHALLENGE, .challenge_len = strlen(CHALLENGE)};
}

static pqe_attestation *
attest(const bench *b, const char *name, const pqe_attest_opts *o)
{
    pqe_attestation *a = NULL, *read = NULL;
    char *cose = NULL;
    size_t len;

    assert_pqe_ok(pqe_attest(b->vault, name, o, &a, err));
    if (a->version == 1)
        return a;
    /* By way of its bytes, as a verifier gets it. */
    assert_pqe_ok(pqe_attestation_encode(a, PQE_ATTEST_COSE, &cose, &len, err));
    assert_pqe_ok(pqe_attestation_decode(cose, len, &read, err));
    pqe_buffer_free(&cose);
    pqe_attestation_free(&a);
    return read;
}

static pqe_verdict
judge(const pqe_attestation *a, const pqe_trust *trust, const char *pcr_digest)
{
    pqe_attest_verify_opts o = {.size = sizeof o, .trust = trust, .expected_pcr_digest = pcr_digest};
    pqe_verdict verdict = PQE_VERDICT_PASS;
    pqe_status status = pqe_attestation_verify(a, &o, &verdict, NULL);

    assert_int_equal(status, verdict == PQE_VERDICT_PASS ? PQE_OK : PQE_E_ATTESTATION);
    return verdict;
}

static pqe_evidence_report
report(const pqe_attestation *a, const pqe_trust *trust)
{
    pqe_evidence_report r = {.size = sizeof r};

    assert_pqe_ok(pqe_attestation_evidence(a, trust, &r, err));
    return r;
}

/* Attests with the knobs as they are, which must fail for the reason that has this in it, and tells nothing. */
static void
refuses(const bench *b, const char *reason)
{
    const pqe_evidence_report empty = {0};
    pqe_attest_opts o = challenged();
    pqe_attestation *a = attest(b, "one", &o);
    pqe_evidence_report r = report(a, b->trust);

    assert_int_equal(judge(a, b->trust, NULL), PQE_VERDICT_EVIDENCE);
    assert_int_equal(r.state, PQE_EVIDENCE_FAILED);
    if (strstr(r.reason, reason) == NULL)
        fail_msg("'%s' where '%s' was expected", r.reason, reason);
    assert_true(r.firmware == 0 && r.counter == 0 && !r.has_pcrs && !r.has_object && !r.has_counter);
    assert_memory_equal(r.pcr_digest, empty.pcr_digest, sizeof r.pcr_digest);
    assert_null(r.signature);
    pqe_attestation_free(&a);
    testifier = (testifier_knobs){.counter = 42};
}

/* ---- what verifies ---- */

static void
test_says_what_the_chip_said(void **state)
{
    bench *b = *state;
    pqe_attest_opts o = challenged();
    pqe_attestation *a = attest(b, "one", &o);
    pqe_evidence_report r = report(a, b->trust);

    assert_int_equal(a->evidence_count, 3);
    assert_int_equal(judge(a, b->trust, NULL), PQE_VERDICT_PASS);
    assert_int_equal(r.state, PQE_EVIDENCE_VERIFIED);
    assert_int_equal(r.pieces, 3);
    assert_int_equal(r.unknown, 0);
    assert_string_equal(r.signature, "ECDSA P-256 with SHA-256: classical, not quantum-safe");
    assert_int_equal(strlen(r.key), 64);
    assert_true(r.firmware == 0x2019102300163636 && r.clock_ms == 123456789 && r.clock_safe);
    assert_true(r.resets == 7 && r.restarts == 2);
    assert_true(r.has_pcrs && r.has_object && r.has_counter);
    assert_string_equal(r.pcr_selection, "sha256:0,1,7,23");
    assert_string_equal(r.pcr_digest, testifier_pcr_digest());
    assert_int_equal(r.counter, 42);
    assert_memory_equal(r.object_name, "000bbbbb", 8);
    assert_memory_equal(r.counter_name, "000bdddd", 8);
    assert_int_equal(strlen(r.counter_name), 68);
    pqe_attestation_free(&a);

    a = attest(b, "one", NULL); /* without a challenge it is bound as well */
    assert_int_equal(judge(a, b->trust, NULL), PQE_VERDICT_PASS);
    pqe_attestation_free(&a);
}

static void
test_expected_pcrs(void **state)
{
    static const char *const no_quote[] = {"tpm2-certify", NULL};
    bench *b = *state;
    char other[65], upper[65];
    pqe_attestation *a = attest(b, "one", NULL);
    pqe_attest_verify_opts o = {.size = sizeof o, .trust = b->trust, .expected_pcr_digest = "00"};
    pqe_attest_verifier *v = NULL;
    pqe_trust *no_keys = NULL;

    strcpy(other, testifier_pcr_digest());
    strcpy(upper, other);
    for (size_t i = 0; i < 64; i++)
        if (upper[i] == 'c')
            upper[i] = 'C';
    other[63] = other[63] == '0' ? '1' : '0';
    assert_int_equal(judge(a, b->trust, testifier_pcr_digest()), PQE_VERDICT_PASS);
    assert_int_equal(judge(a, b->trust, upper), PQE_VERDICT_PASS);
    assert_int_equal(judge(a, b->trust, other), PQE_VERDICT_PCR);
    pqe_attestation_free(&a);
    testifier.types = no_quote;
    a = attest(b, "one", NULL);
    assert_int_equal(judge(a, b->trust, NULL), PQE_VERDICT_PASS);
    assert_int_equal(judge(a, b->trust, testifier_pcr_digest()), PQE_VERDICT_PCR);
    pqe_attestation_free(&a);
    /* Nonsense, and an expectation that nothing could meet. */
    assert_int_equal(pqe_attest_verifier_new(&o, &v, NULL), PQE_E_ARGUMENT);
    assert_pqe_ok(pqe_trust_new(&no_keys, err));
    o.expected_pcr_digest = testifier_pcr_digest();
    o.trust = no_keys;
    assert_int_equal(pqe_attest_verifier_new(&o, &v, NULL), PQE_E_ARGUMENT);
    o.trust = NULL;
    assert_int_equal(pqe_attest_verifier_new(&o, &v, NULL), PQE_E_ARGUMENT);
    pqe_trust_free(&no_keys);
}

static void
test_without_a_key_nothing_is_said(void **state)
{
    bench *b = *state;
    pqe_attestation *a = attest(b, "one", NULL);
    pqe_trust *signer = NULL;
    pqe_evidence_report r;

    assert_pqe_ok(pqe_trust_new(&signer, err));
    assert_pqe_ok(pqe_trust_add_did(signer, b->signer.did, err));
    assert_int_equal(judge(a, signer, NULL), PQE_VERDICT_PASS);
    r = report(a, signer);
    assert_int_equal(r.state, PQE_EVIDENCE_NOT_CHECKED);
    assert_int_equal(r.pieces, 3);
    assert_true(!r.has_pcrs && r.firmware == 0 && r.signature == NULL && r.key[0] == '\0');
    assert_int_equal(report(a, NULL).state, PQE_EVIDENCE_NOT_CHECKED);
    /* The signer of the attestation still counts first. */
    assert_int_equal(judge(a, NULL, NULL), PQE_VERDICT_UNKNOWN_SIGNER);
    pqe_trust_free(&signer);
    pqe_attestation_free(&a);
}

static void
test_missing(void **state)
{
    static const char *const unknown[] = {"tpm2-quote", NULL};
    bench *b = *state;
    pqe_attest_opts o = challenged();
    pqe_attestation *a;
    pqe_evidence_report r;

    o.no_evidence = true;
    a = attest(b, "one", &o);
    assert_int_equal(testifier.calls, 0);
    assert_int_equal(a->evidence_count, 0);
    assert_int_equal(report(a, b->trust).state, PQE_EVIDENCE_ABSENT);
    assert_int_equal(judge(a, b->trust, NULL), PQE_VERDICT_NO_EVIDENCE);
    pqe_attestation_free(&a);

    o = (pqe_attest_opts){.size = sizeof o, .version = 1};
    a = attest(b, "one", &o);
    assert_int_equal(testifier.calls, 0);
    assert_int_equal(judge(a, b->trust, NULL), PQE_VERDICT_NO_EVIDENCE);
    pqe_attestation_free(&a);

    testifier.types = unknown;
    testifier.after = NULL;
    a = attest(b, "one", NULL);
    ((char *)a->evidence[0].type.data)[0] = 'T';
    r = report(a, b->trust);
    assert_true(r.state == PQE_EVIDENCE_NOT_CHECKED && r.pieces == 0 && r.unknown == 1);
    pqe_attestation_free(&a);
}

/* Another kind beside those that are known is counted, and takes nothing away. */
static void
rename_second(const char **type, uint8_t *piece, size_t *len)
{
    (void)piece;
    (void)len;
    if (strcmp(*type, "tpm2-certify") == 0)
        *type = "something-new";
}

static void
test_unknown_kind(void **state)
{
    bench *b = *state;
    pqe_attestation *a;
    pqe_evidence_report r;

    testifier.after = rename_second;
    a = attest(b, "one", NULL);
    r = report(a, b->trust);
    assert_int_equal(judge(a, b->trust, NULL), PQE_VERDICT_PASS);
    assert_true(r.state == PQE_EVIDENCE_VERIFIED && r.pieces == 2 && r.unknown == 1 && !r.has_object);
    pqe_attestation_free(&a);
}

/* ---- what does not ---- */

static void
test_every_byte(void **state)
{
    bench *b = *state;
    pqe_attest_opts o = challenged();
    pqe_attestation *a = attest(b, "one", &o);

    for (size_t i = 0; i < a->evidence_count; i++) {
        uint8_t *bytes = (uint8_t *)a->evidence[i].data.data;
        size_t len = a->evidence[i].data.len;
        for (size_t k = 0; k < len; k++)
            for (unsigned bit = 0; bit < 8; bit++) {
                bytes[k] ^= (uint8_t)(1u << bit);
                assert_int_equal(report(a, b->trust).state, PQE_EVIDENCE_FAILED);
                bytes[k] ^= (uint8_t)(1u << bit);
            }
        for (size_t k = 0; k < len; k++) {
            a->evidence[i].data.len = k;
            assert_int_equal(report(a, b->trust).state, PQE_EVIDENCE_FAILED);
        }
        a->evidence[i].data.len = len;
    }
    assert_int_equal(report(a, b->trust).state, PQE_EVIDENCE_VERIFIED);
    pqe_attestation_free(&a);
}

static void
append_byte(const char **type, uint8_t *piece, size_t *len)
{
    (void)type;
    piece[(*len)++] = 0;
}

static void
other_magic(TPMS_ATTEST *a)
{
    a->magic ^= 1;
}

static void
other_nonce(TPMS_ATTEST *a)
{
    a->extraData.buffer[31] ^= 1;
}

static void
short_nonce(TPMS_ATTEST *a)
{
    a->extraData.size = 31;
}

static void
no_nonce(TPMS_ATTEST *a)
{
    a->extraData.size = 0;
}

/* A statement of another kind than the three. */
static void
other_statement(TPMS_ATTEST *a)
{
    if (a->type == TPM2_ST_ATTEST_QUOTE)
        *a = (TPMS_ATTEST){.magic = a->magic,
                           .type = TPM2_ST_ATTEST_TIME,
                           .extraData = a->extraData,
                           .qualifiedSigner = a->qualifiedSigner};
}

static void
other_signer(TPMS_ATTEST *a)
{
    if (a->type == TPM2_ST_ATTEST_NV)
        a->qualifiedSigner.name[5] ^= 1;
}

static void
other_start(TPMS_ATTEST *a)
{
    if (a->type == TPM2_ST_ATTEST_CERTIFY)
        a->clockInfo.resetCount++;
}

static void
short_counter(TPMS_ATTEST *a)
{
    if (a->type == TPM2_ST_ATTEST_NV)
        a->attested.nv.nvContents.size = 4;
}

static void
counter_at_offset(TPMS_ATTEST *a)
{
    if (a->type == TPM2_ST_ATTEST_NV)
        a->attested.nv.offset = 1;
}

static void
short_digest(TPMS_ATTEST *a)
{
    if (a->type == TPM2_ST_ATTEST_QUOTE)
        a->attested.quote.pcrDigest.size = 20;
}

static void
test_other_statements(void **state)
{
    static const struct {
        void (*before)(TPMS_ATTEST *a);
        const char *reason;
    } cases[] = {
        {other_magic, "not a statement of a TPM"},
        {other_nonce, "given for another statement"},
        {short_nonce, "not a statement of a TPM"},
        {no_nonce, "not a statement of a TPM"},
        {other_statement, "not a statement"},
        {other_signer, "not of one TPM"},
        {other_start, "not of one TPM"},
        {short_counter, "not a statement of a TPM"},
        {counter_at_offset, "not a statement of a TPM"},
        {short_digest, "not a statement of a TPM"},
    };
    bench *b = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        testifier.before = cases[i].before;
        refuses(b, cases[i].reason);
    }
    testifier.after = append_byte;
    refuses(b, "malformed");
}

static void
swap_types(const char **type, uint8_t *piece, size_t *len)
{
    (void)piece;
    (void)len;
    *type = strcmp(*type, "tpm2-quote") == 0 ? "tpm2-certify" : "tpm2-quote";
}

/* RSA in place of ECDSA, SHA-1 in place of SHA-256: fields behind the statement. */
static size_t
behind_statement(const uint8_t *piece)
{
    return 2u + (size_t)piece[0] * 256u + piece[1];
}

static void
other_scheme(const char **type, uint8_t *piece, size_t *len)
{
    (void)type;
    (void)len;
    piece[behind_statement(piece) + 1] = TPM2_ALG_RSASSA;
}

static void
other_hash(const char **type, uint8_t *piece, size_t *len)
{
    (void)type;
    (void)len;
    piece[behind_statement(piece) + 3] = TPM2_ALG_SHA1;
}

static void
zero_signature(const char **type, uint8_t *piece, size_t *len)
{
    size_t at = behind_statement(piece) + 4;

    (void)type;
    memset(piece + at + 2, 0, 32);
    memset(piece + at + 36, 0, 32);
    assert_int_equal(at + 68, *len);
}

static void
test_other_shapes(void **state)
{
    static const char *const two_quotes[] = {"tpm2-quote", "tpm2-quote", NULL};
    static const char *const two[] = {"tpm2-quote", "tpm2-certify", NULL};
    bench *b = *state;

    testifier.types = two;
    testifier.after = swap_types;
    refuses(b, "of another kind than it is said to be");
    testifier.types = two_quotes;
    refuses(b, "two pieces of one kind");
    testifier.after = other_scheme;
    refuses(b, "malformed");
    testifier.after = other_hash;
    refuses(b, "malformed");
    testifier.after = zero_signature;
    refuses(b, "not signed by a trusted key");
    testifier.key = 1;
    refuses(b, "not signed by a trusted key");
}

static void
other_key_for_counter(TPMS_ATTEST *a)
{
    testifier.key = a->type == TPM2_ST_ATTEST_NV;
}

/* Two trusted devices: either alone passes, not one that speaks for a part of the other. */
static void
test_two_keys(void **state)
{
    bench *b = *state;
    char text[1200];
    pqe_attestation *a;
    char first[65];

    snprintf(text, sizeof text, "# second\n%s\n", testifier_pem(1));
    assert_pqe_ok(pqe_trust_add_evidence_keys(b->trust, text, strlen(text), err));
    a = attest(b, "one", NULL);
    strcpy(first, report(a, b->trust).key);
    pqe_attestation_free(&a);
    testifier.key = 1;
    a = attest(b, "one", NULL);
    assert_int_equal(judge(a, b->trust, NULL), PQE_VERDICT_PASS);
    assert_string_not_equal(report(a, b->trust).key, first);
    pqe_attestation_free(&a);
    testifier.before = other_key_for_counter;
    refuses(b, "not signed by a trusted key, or not by that of the others");
}

/* Evidence in an attestation that it was not made for. */
static void
put_into(pqe_attestation *to, const pqe_attestation *from)
{
    to->evidence_count = from->evidence_count;
    memcpy(to->evidence, from->evidence, sizeof to->evidence);
}

static void
test_replay(void **state)
{
    bench *b = *state;
    pqe_attest_opts o = challenged(), other = challenged();
    pqe_attestation *a = attest(b, "one", &o), *c;

    for (int i = 0; i < 5; i++) {
        other = challenged();
        if (i == 0)
            other.challenge = "0123456789abcdeX";
        else if (i == 1)
            other.challenge = NULL;
        else if (i == 2)
            other.identity = b->second.did;
        c = attest(b, i == 3 ? "two" : "one", &other);
        if (i == 4)
            c->issued++;
        assert_int_equal(report(c, b->trust).state, i == 4 ? PQE_EVIDENCE_FAILED : PQE_EVIDENCE_VERIFIED);
        put_into(c, a);
        assert_int_equal(report(c, b->trust).state, PQE_EVIDENCE_FAILED);
        assert_non_null(strstr(report(c, b->trust).reason, "another statement"));
        pqe_attestation_free(&c);
    }
    pqe_attestation_free(&a);
}

/* ---- keys ---- */

static const char p384[] = "-----BEGIN PUBLIC KEY-----\n"
                           "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEp9jioqvll+XQyI/w7VaYaARP/zpn/ryw\n"
                           "E25XENmaQKNUR5v6YXfqpvhPotXs2y2EJ65Et/cih/wtI4iAfSjBI1DT95P7mBPs\n"
                           "p0pBglAYQH+ujt32FB7fH/urSr/lt17G\n"
                           "-----END PUBLIC KEY-----\n";

static void
test_evidence_keys(void **state)
{
    bench *b = *state;
    pqe_trust *trust = NULL;
    char pem[PQE_EVIDENCE_PEM_MAX], mixed[3 * PQE_EVIDENCE_PEM_MAX];
    size_t len, whole;
    pqe_status status;

    assert_pqe_ok(pqe_evidence_public_key(b->vault, pem, sizeof pem, &whole, err));
    assert_int_equal(strlen(pem), whole);
    assert_string_equal(pem, testifier_pem(0));
    for (size_t capacity = 0; capacity <= whole; capacity++) {
        memset(pem, 0x55, sizeof pem);
        assert_int_equal(pqe_evidence_public_key(b->vault, pem, capacity, &len, NULL), PQE_E_LIMIT);
        assert_true(len == 0 && pem[capacity] == 0x55 && (capacity == 0 || pem[0] == '\0'));
    }
    assert_int_equal(pqe_evidence_public_key(b->vault, NULL, 0, &len, NULL), PQE_E_ARGUMENT);
    pqe_vault_lock(b->vault);
    assert_int_equal(pqe_evidence_public_key(b->vault, pem, sizeof pem, &len, NULL), PQE_E_LOCKED);
    assert_pqe_ok(pqe_vault_unlock(b->vault, 0, err));

    assert_pqe_ok(pqe_trust_new(&trust, err));
    status = pqe_trust_add_evidence_keys(trust, p384, sizeof p384 - 1, NULL);
    assert_int_equal(status, PQE_E_MALFORMED);
    assert_int_equal(pqe_trust_add_evidence_keys(trust, "", 0, NULL), PQE_E_MALFORMED);
    assert_int_equal(pqe_trust_add_evidence_keys(trust, "# none\n", 7, NULL), PQE_E_MALFORMED);
    assert_int_equal(pqe_trust_add_evidence_keys(trust, b->signer.did, strlen(b->signer.did), NULL), PQE_E_MALFORMED);
    assert_int_equal(pqe_trust_add_evidence_keys(trust, testifier_pem(0), whole - 3, NULL), PQE_E_MALFORMED);
    assert_int_equal(pqe_trust_add_evidence_keys(NULL, "", 0, NULL), PQE_E_ARGUMENT);
    /* One bad key in a text: none of it is taken. */
    snprintf(mixed, sizeof mixed, "%s%s", testifier_pem(0), p384);
    assert_int_equal(pqe_trust_add_evidence_keys(trust, mixed, strlen(mixed), NULL), PQE_E_MALFORMED);
    assert_int_equal(trust->evidence_count, 0);
    /* It is no key that signs attestations, nor is one of those a key of evidence. */
    assert_int_equal(pqe_trust_add_text(trust, testifier_pem(0), whole, NULL), PQE_E_MALFORMED);
    pqe_trust_free(&trust);
}

/* ---- many at once ---- */

#define MANY 200

typedef struct stream {
    char *cose;
    size_t len, given;
} stream;

static pqe_status
next(void *user, const void **data, size_t *len, pqe_error *err)
{
    stream *s = user;

    (void)err;
    *data = s->given++ < MANY ? s->cose : NULL;
    *len = s->len;
    return PQE_OK;
}

/* Threads share the keys. */
static void
test_stream(void **state)
{
    bench *b = *state;
    pqe_attestation *a = attest(b, "one", NULL);
    pqe_attest_verify_opts o = {.size = sizeof o, .trust = b->trust, .expected_pcr_digest = testifier_pcr_digest()};
    pqe_attest_verifier *v = NULL;
    pqe_attest_summary sum;
    stream s = {0};

    assert_pqe_ok(pqe_attestation_encode(a, PQE_ATTEST_COSE, &s.cose, &s.len, err));
    assert_pqe_ok(pqe_attest_verifier_new(&o, &v, err));
    assert_pqe_ok(pqe_attest_verifier_stream(v, 4, next, NULL, &s, &sum, err));
    assert_true(sum.total == MANY && sum.passed == MANY);
    pqe_attest_verifier_free(&v);
    pqe_buffer_free(&s.cose);
    pqe_attestation_free(&a);
}

/* ---- the making ---- */

static const char *const too_many[] = {"tpm2-quote", "a", "b", "c", "d", "e", "f", "g", "h", NULL};
static const char *const none[] = {NULL};

static void
huge(const char **type, uint8_t *piece, size_t *len)
{
    (void)type;
    memset(piece, 1, PQE_EVIDENCE_BYTES_MAX);
    *len = PQE_EVIDENCE_BYTES_MAX;
}

static void
beyond(const char **type, uint8_t *piece, size_t *len)
{
    (void)type;
    (void)piece;
    *len = PQE_EVIDENCE_BYTES_MAX + 1;
}

static void
empty_piece(const char **type, uint8_t *piece, size_t *len)
{
    (void)type;
    (void)piece;
    *len = 0;
}

static void
no_type(const char **type, uint8_t *piece, size_t *len)
{
    (void)piece;
    (void)len;
    *type = NULL;
}

static void
bad_type(const char **type, uint8_t *piece, size_t *len)
{
    (void)piece;
    (void)len;
    *type = "\xff";
}

static void
attest_fails(const bench *b, pqe_status expected)
{
    pqe_attestation *a = NULL;
    pqe_error err = {0};

    assert_int_equal(pqe_attest(b->vault, "one", NULL, &a, &err), expected);
    assert_null(a);
    assert_true(err.message[0] != '\0');
    testifier = (testifier_knobs){.counter = 42};
}

/* No evidence, no attestation: it is never left out in silence. */
static void
test_a_chip_that_fails(void **state)
{
    static void (*const bad[])(const char **, uint8_t *, size_t *) = {beyond, empty_piece, no_type, bad_type};
    static const char *const eight[] = {"a", "b", "c", "d", "e", "f", "g", "h", NULL};
    bench *b = *state;
    pqe_attest_opts o = {.size = sizeof o, .no_evidence = true};
    pqe_attestation *a;

    testifier.fail = PQE_E_BACKEND;
    attest_fails(b, PQE_E_BACKEND);
    testifier.fail = PQE_E_UNAVAILABLE;
    attest_fails(b, PQE_E_UNAVAILABLE);
    testifier.types = too_many;
    attest_fails(b, PQE_E_BACKEND);
    testifier.types = none;
    attest_fails(b, PQE_E_BACKEND);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        testifier.after = bad[i];
        attest_fails(b, PQE_E_BACKEND);
    }
    testifier.types = eight; /* 128 KiB in all */
    testifier.after = huge;
    attest_fails(b, PQE_E_LIMIT);
    testifier.types = eight + 1; /* 112 KiB fit */
    testifier.after = huge;
    a = attest(b, "one", NULL);
    assert_int_equal(a->evidence_count, 7);
    pqe_attestation_free(&a);
    testifier = (testifier_knobs){.fail = PQE_E_BACKEND};
    a = attest(b, "one", &o); /* it was not asked */
    pqe_attestation_free(&a);
}

static pqe_vault *vault_to_lock;

static void *
lock_it(void *unused)
{
    (void)unused;
    pqe_vault_lock(vault_to_lock);
    return NULL;
}

static void
lock_meanwhile(TPMS_ATTEST *a)
{
    pthread_t thread;

    if (a->type != TPM2_ST_ATTEST_QUOTE)
        return;
    assert_int_equal(pthread_create(&thread, NULL, lock_it, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* A slow chip holds no lock: the session may end while it is asked. */
static void
test_lock_while_asking(void **state)
{
    bench *b = *state;

    vault_to_lock = b->vault;
    testifier.before = lock_meanwhile;
    attest_fails(b, PQE_E_LOCKED);
    assert_pqe_ok(pqe_vault_unlock(b->vault, 0, err));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_says_what_the_chip_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_expected_pcrs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_a_key_nothing_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unknown_kind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_statements, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_shapes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_evidence_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_chip_that_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lock_while_asking, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
