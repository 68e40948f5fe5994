/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codec of the record: what is written is read back, every truncation is refused, and what is read after a byte
 * was changed is exactly what would be written so. There is one encoding of everything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "format/format.h"
#include "unit/support.h"

static const uint8_t patterns[] = {0x01, 0x02, 0x40, 0x80, 0xff};

/* ---- record ---- */

static char texts[PQE_DESCRIPTION_MAX + 2];

static pqe__text
text_of(size_t len)
{
    memset(texts, 't', sizeof texts);
    return (pqe__text){texts, len};
}

static pqe__record
some_record(void)
{
    pqe__record r = {.suite = pqe__suite_ml_kem_768,
                     .size_bytes = 0x1111111111111111u,
                     .stored_bytes = 0x2222222222222222u,
                     .hash_algorithm = PQE__RECORD_HASH_SHA3_256,
                     .kind = PQE_KIND_TOKENIZER,
                     .created_at = 1700000000,
                     .name = {"n\xc3\xa4me", 5},
                     .version = {"1", 1},
                     .app_bundle_id = {"", 0},
                     .device_id = {"dev", 3},
                     .model_did = {"did:x", 5},
                     .description = {"line\nline", 9},
                     .tag_count = 3,
                     .tags = {{"a", 1}, {"", 0}, {"tag", 3}}};

    memset(r.artifact_id, 1, sizeof r.artifact_id);
    memset(r.key_id, 2, sizeof r.key_id);
    memset(r.body_id, 3, sizeof r.body_id);
    memset(r.content_hash, 4, sizeof r.content_hash);
    return r;
}

static pqe__record
largest_record(void)
{
    pqe__record r = some_record();

    r.name = text_of(PQE_NAME_MAX);
    r.version = r.app_bundle_id = r.model_did = text_of(PQE_FIELD_MAX);
    r.device_id = text_of(PQE__HEAD_DEVICE_ID_MAX);
    r.description = text_of(PQE_DESCRIPTION_MAX);
    r.tag_count = PQE_TAGS_MAX;
    for (size_t i = 0; i < PQE_TAGS_MAX; i++)
        r.tags[i] = text_of(PQE_TAG_MAX);
    return r;
}

static size_t
encode_record(const pqe__record *r, uint8_t out[PQE__RECORD_MAX])
{
    pqe__wcur c = pqe__wcur_init(out, PQE__RECORD_MAX);

    pqe__record_encode(r, &c);
    assert_true(c.ok);
    return c.pos;
}

static pqe_status
decode_record(const uint8_t *bytes, size_t len, pqe__record *out, uint8_t **keep)
{
    pqe_status status;

    *keep = malloc(len > 0 ? len : 1);
    assert_non_null(*keep);
    memcpy(*keep, bytes, len);
    status = pqe__record_decode(*keep, len, out, NULL);
    return status;
}

static bool
same_text(pqe__text a, pqe__text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static void
assert_same_record(const pqe__record *a, const pqe__record *b)
{
    assert_true(pqe__suite_equal(a->suite, b->suite));
    assert_memory_equal(a->artifact_id, b->artifact_id, 16);
    assert_memory_equal(a->key_id, b->key_id, 16);
    assert_memory_equal(a->body_id, b->body_id, 16);
    assert_memory_equal(a->content_hash, b->content_hash, 32);
    assert_int_equal(a->size_bytes, b->size_bytes);
    assert_int_equal(a->stored_bytes, b->stored_bytes);
    assert_int_equal(a->hash_algorithm, b->hash_algorithm);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->created_at, b->created_at);
    assert_true(same_text(a->name, b->name) && same_text(a->version, b->version));
    assert_true(same_text(a->app_bundle_id, b->app_bundle_id) && same_text(a->device_id, b->device_id));
    assert_true(same_text(a->model_did, b->model_did) && same_text(a->description, b->description));
    assert_int_equal(a->tag_count, b->tag_count);
    for (size_t i = 0; i < a->tag_count; i++)
        assert_true(same_text(a->tags[i], b->tags[i]));
}

static void
test_record(void **state)
{
    pqe__record records[] = {some_record(), largest_record(), some_record()}, got;
    static uint8_t bytes[PQE__RECORD_MAX], small[PQE__RECORD_MAX];
    uint8_t *keep;

    (void)state;
    records[2].version = records[2].device_id = records[2].model_did = records[2].description = (pqe__text){"", 0};
    records[2].name = (pqe__text){"x", 1};
    records[2].tag_count = 0;
    records[2].created_at = 253402300799u; /* the last second of the year 9999 */
    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
        size_t len = encode_record(&records[i], bytes);
        assert_pqe_ok(pqe__record_check(&records[i], err));
        assert_int_equal(decode_record(bytes, len, &got, &keep), PQE_OK);
        assert_same_record(&records[i], &got);
        free(keep);
        for (size_t n = i == 1 ? len - 100 : 0; n < len; n++) { /* too little room is said, never written past */
            pqe__wcur c = pqe__wcur_init(small, n);
            memset(small + n, 0xee, 16);
            pqe__record_encode(&records[i], &c);
            assert_false(c.ok);
            assert_int_equal(small[n], 0xee);
        }
    }
}

static void
test_record_truncated(void **state)
{
    static uint8_t bytes[PQE__RECORD_MAX];
    pqe__record records[] = {some_record(), largest_record()}, got;
    uint8_t *keep;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        size_t len = encode_record(&records[i], bytes), step = i == 0 ? 1 : 97;
        for (size_t n = 0; n < len; n += step) {
            assert_int_equal(decode_record(bytes, n, &got, &keep), PQE_E_TAMPERED);
            free(keep);
        }
        bytes[len] = 0;
        assert_int_equal(decode_record(bytes, len + 1, &got, &keep), PQE_E_TAMPERED);
        free(keep);
    }
}

static void
test_record_flipped(void **state)
{
    static uint8_t bytes[PQE__RECORD_MAX], again[PQE__RECORD_MAX];
    pqe__record r = some_record(), got;
    size_t len = encode_record(&r, bytes), refused = 0;
    uint8_t *keep;

    (void)state;
    for (size_t at = 0; at < len; at++) {
        for (size_t p = 0; p < sizeof patterns; p++) {
            pqe_status status;
            bytes[at] ^= patterns[p];
            status = decode_record(bytes, len, &got, &keep);
            if (status == PQE_OK) {
                assert_int_equal(encode_record(&got, again), len);
                assert_memory_equal(again, bytes, len);
            } else {
                assert_true(status == PQE_E_TAMPERED || status == PQE_E_VERSION);
                refused++;
            }
            if (at < 8) /* record version, suite */
                assert_int_equal(status, PQE_E_VERSION);
            free(keep);
            bytes[at] ^= patterns[p];
        }
    }
    assert_true(refused > 100);
}

typedef void (*spoil_fn)(pqe__record *r);

static void
no_name(pqe__record *r)
{
    r->name.len = 0;
}

static void
long_name(pqe__record *r)
{
    r->name = text_of(PQE_NAME_MAX + 1);
}

static void
bad_name(pqe__record *r)
{
    r->name = (pqe__text){"\xed\xa0\x80", 3};
}

static void
nul_name(pqe__record *r)
{
    r->name = (pqe__text){"a\0b", 3};
}

static void
long_version(pqe__record *r)
{
    r->version = text_of(PQE_FIELD_MAX + 1);
}

static void
long_bundle(pqe__record *r)
{
    r->app_bundle_id = text_of(PQE_FIELD_MAX + 1);
}

static void
long_device(pqe__record *r)
{
    r->device_id = text_of(PQE__HEAD_DEVICE_ID_MAX + 1);
}

static void
long_model(pqe__record *r)
{
    r->model_did = text_of(PQE_FIELD_MAX + 1);
}

static void
long_description(pqe__record *r)
{
    r->description = text_of(PQE_DESCRIPTION_MAX + 1);
}

static void
bad_description(pqe__record *r)
{
    r->description = (pqe__text){"\xf8", 1};
}

static void
long_tag(pqe__record *r)
{
    r->tags[2] = text_of(PQE_TAG_MAX + 1);
}

static void
bad_tag(pqe__record *r)
{
    r->tags[1] = (pqe__text){"\x80", 1};
}

static void
kind_zero(pqe__record *r)
{
    r->kind = (pqe_kind)0;
}

static void
kind_nine(pqe__record *r)
{
    r->kind = (pqe_kind)9;
}

static void
late(pqe__record *r)
{
    r->created_at = 253402300800u;
}

static void
other_suite(pqe__record *r)
{
    r->suite.aead = 1;
}

static void
other_hash(pqe__record *r)
{
    r->hash_algorithm = 0;
}

/* Each is refused when checked before writing (if the check is about it), and again when read. */
static void
test_record_limits(void **state)
{
    static const struct {
        spoil_fn spoil;
        pqe_status check, decode;
    } cases[] = {
        {no_name, PQE_E_ARGUMENT, PQE_E_TAMPERED},
        {long_name, PQE_E_LIMIT, PQE_E_TAMPERED},
        {bad_name, PQE_E_ARGUMENT, PQE_E_TAMPERED},
        {nul_name, PQE_E_ARGUMENT, PQE_E_TAMPERED},
        {long_version, PQE_E_LIMIT, PQE_E_TAMPERED},
        {long_bundle, PQE_E_LIMIT, PQE_E_TAMPERED},
        {long_device, PQE_E_LIMIT, PQE_E_TAMPERED},
        {long_model, PQE_E_LIMIT, PQE_E_TAMPERED},
        {long_description, PQE_E_LIMIT, PQE_E_TAMPERED},
        {bad_description, PQE_E_ARGUMENT, PQE_E_TAMPERED},
        {long_tag, PQE_E_LIMIT, PQE_E_TAMPERED},
        {bad_tag, PQE_E_ARGUMENT, PQE_E_TAMPERED},
        {kind_zero, PQE_E_ARGUMENT, PQE_E_TAMPERED},
        {kind_nine, PQE_E_ARGUMENT, PQE_E_TAMPERED},
        {late, PQE_OK, PQE_E_TAMPERED},
        {other_suite, PQE_OK, PQE_E_VERSION},
        {other_hash, PQE_OK, PQE_E_VERSION},
    };
    static uint8_t bytes[PQE__RECORD_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pqe__record r = some_record(), got;
        pqe_status check, decode;
        uint8_t *keep;
        cases[i].spoil(&r);
        check = pqe__record_check(&r, NULL);
        decode = decode_record(bytes, encode_record(&r, bytes), &got, &keep);
        free(keep);
        if (check != cases[i].check || decode != cases[i].decode)
            fail_msg("case %zu: check %s, decode %s", i, pqe_status_name(check), pqe_status_name(decode));
    }
}

static void
test_too_many_tags(void **state)
{
    static uint8_t bytes[PQE__RECORD_MAX];
    pqe__record r = some_record(), got;
    uint8_t *keep;
    size_t len, at;

    (void)state;
    r.tag_count = PQE_TAGS_MAX + 1;
    assert_int_equal(pqe__record_check(&r, NULL), PQE_E_LIMIT);
    r.tag_count = 0;
    len = encode_record(&r, bytes);
    at = len - 2; /* the number of tags comes last when there is none */
    for (unsigned n = 1; n < 0x10000; n = n < 70 ? n + 1 : n * 3) {
        size_t full = len + (size_t)2 * n <= sizeof bytes ? len + (size_t)2 * n : sizeof bytes;
        memset(bytes + len, 0, full - len); /* n empty tags */
        bytes[at] = (uint8_t)(n >> 8);
        bytes[at + 1] = (uint8_t)n;
        assert_int_equal(decode_record(bytes, full, &got, &keep), n <= PQE_TAGS_MAX ? PQE_OK : PQE_E_TAMPERED);
        free(keep);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record),         cmocka_unit_test(test_record_truncated),
        cmocka_unit_test(test_record_flipped), cmocka_unit_test(test_record_limits),
        cmocka_unit_test(test_too_many_tags),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
