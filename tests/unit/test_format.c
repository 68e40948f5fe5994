/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codec of the head, and labelled inputs: what is written is read back, every truncation is refused, and what is read after a byte
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

/* ---- head, public part ---- */

static pqe__head
some_head(void)
{
    pqe__head h = {.generation = 0x0102030405060708u,
                   .key_epoch = 0xa1b2c3d4u,
                   .suite = pqe__suite_ml_kem_768,
                   .artifact_count = 0x1122334455667788u};

    memset(h.vault_id, 0x11, sizeof h.vault_id);
    memset(h.index_root, 0x22, sizeof h.index_root);
    memset(h.device_digest, 0x33, sizeof h.device_digest);
    memset(h.root_key_id, 0x44, sizeof h.root_key_id);
    return h;
}

static void
assert_same_head(const pqe__head *a, const pqe__head *b)
{
    assert_memory_equal(a->vault_id, b->vault_id, sizeof a->vault_id);
    assert_int_equal(a->generation, b->generation);
    assert_int_equal(a->key_epoch, b->key_epoch);
    assert_true(pqe__suite_equal(a->suite, b->suite));
    assert_memory_equal(a->index_root, b->index_root, sizeof a->index_root);
    assert_int_equal(a->artifact_count, b->artifact_count);
    assert_memory_equal(a->device_digest, b->device_digest, sizeof a->device_digest);
    assert_memory_equal(a->root_key_id, b->root_key_id, sizeof a->root_key_id);
}

#define SEALED 40u

static size_t
encode_head(uint8_t out[PQE__HEAD_MAX])
{
    pqe__head h = some_head();
    pqe__wcur c = pqe__wcur_init(out, PQE__HEAD_MAX);
    uint8_t sealed[SEALED];

    memset(sealed, 0x55, sizeof sealed);
    pqe__head_encode_public(&h, out);
    c.pos = PQE__HEAD_PUBLIC_SIZE;
    pqe__put_u32(&c, SEALED);
    pqe__put_bytes(&c, sealed, sizeof sealed);
    assert_true(c.ok);
    return c.pos;
}

static void
test_head(void **state)
{
    /* docs/format.md: magic, version, vault id, generation, epoch, suite, root, count, digest, root key id */
    static const uint8_t start[] = {'P', 'Q', 'E', 'H', 'E', 'A', 'D', '\n', 0, 1, 0x11};
    uint8_t bytes[PQE__HEAD_MAX];
    size_t len = encode_head(bytes), sealed_len = 0;
    const uint8_t *sealed = NULL;
    pqe__head expected = some_head(), h;

    (void)state;
    assert_int_equal(len, PQE__HEAD_PUBLIC_SIZE + 4 + SEALED);
    assert_memory_equal(bytes, start, sizeof start);
    assert_memory_equal(bytes + 26, "\1\2\3\4\5\6\7\10", 8);
    assert_memory_equal(bytes + 34, "\xa1\xb2\xc3\xd4\0\x41\0\1\0\2", 10);
    assert_int_equal(bytes[44], 0x22);
    assert_int_equal(bytes[76], 0x11);
    assert_int_equal(bytes[84], 0x33);
    assert_int_equal(bytes[116], 0x44);
    assert_pqe_ok(pqe__head_decode(bytes, len, &h, &sealed, &sealed_len, err));
    assert_same_head(&h, &expected);
    assert_ptr_equal(sealed, bytes + PQE__HEAD_PUBLIC_SIZE + 4);
    assert_int_equal(sealed_len, SEALED);
}

static void
test_head_truncated(void **state)
{
    uint8_t bytes[PQE__HEAD_MAX] = {0};
    size_t len = encode_head(bytes), sealed_len;
    const uint8_t *sealed;
    pqe__head h;

    (void)state;
    for (size_t n = 0; n < len; n++) {
        uint8_t *exact = malloc(n > 0 ? n : 1); /* so that AddressSanitizer sees a byte too far */
        assert_non_null(exact);
        memcpy(exact, bytes, n);
        assert_int_equal(pqe__head_decode(exact, n, &h, &sealed, &sealed_len, NULL), PQE_E_TAMPERED);
        free(exact);
    }
    assert_int_equal(pqe__head_decode(bytes, len + 1, &h, &sealed, &sealed_len, NULL), PQE_E_TAMPERED);
}

static void
test_head_flipped(void **state)
{
    uint8_t bytes[PQE__HEAD_MAX] = {0}, again[PQE__HEAD_PUBLIC_SIZE];
    size_t len = encode_head(bytes), sealed_len;
    const uint8_t *sealed;
    pqe__head h;

    (void)state;
    for (size_t at = 0; at < len; at++) {
        for (size_t p = 0; p < sizeof patterns; p++) {
            pqe_status status;
            bytes[at] ^= patterns[p];
            status = pqe__head_decode(bytes, len, &h, &sealed, &sealed_len, NULL);
            if (at < 8 || (at >= PQE__HEAD_PUBLIC_SIZE && at < PQE__HEAD_PUBLIC_SIZE + 4))
                assert_int_equal(status, PQE_E_TAMPERED);
            else if (at < 10 || (at >= 38 && at < 44)) /* format version, suite */
                assert_int_equal(status, PQE_E_VERSION);
            else
                assert_int_equal(status, PQE_OK);
            if (status == PQE_OK) {
                pqe__head_encode_public(&h, again);
                assert_memory_equal(again, bytes, sizeof again);
            }
            bytes[at] ^= patterns[p];
        }
    }
}

/* ---- head, private part ---- */

static pqe_status
decode_private(const void *bytes, size_t len, pqe__head_private *out)
{
    uint8_t *exact = malloc(len > 0 ? len : 1);
    pqe_status status;

    assert_non_null(exact);
    memcpy(exact, bytes, len);
    status = pqe__head_decode_private(exact, len, out, NULL);
    free(exact);
    return status;
}

static void
test_settings(void **state)
{
    static const size_t lengths[] = {0, 1, 500, PQE__HEAD_DEVICE_ID_MAX};
    uint8_t bytes[PQE__HEAD_PRIVATE_MAX];
    static pqe__head_private priv, got;

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes), small = pqe__wcur_init(bytes, lengths[i] + 5);
        memset(&priv, 0, sizeof priv);
        memset(priv.device_id, 'd', lengths[i]);
        assert_int_equal(pqe__head_encode_private(&priv, &small, NULL), PQE_E_LIMIT);
        assert_pqe_ok(pqe__head_encode_private(&priv, &c, err));
        assert_int_equal(c.pos, lengths[i] + 6);
        assert_int_equal(decode_private(bytes, c.pos, &got), PQE_OK);
        assert_string_equal(got.device_id, priv.device_id);
        for (size_t n = 1; n < c.pos; n++)
            assert_int_equal(decode_private(bytes, n, &got), PQE_E_TAMPERED);
        for (size_t at = 0; at < c.pos && at < 60; at++) {
            for (size_t p = 0; p < sizeof patterns; p++) {
                pqe_status status;
                bytes[at] ^= patterns[p];
                status = decode_private(bytes, c.pos, &got);
                assert_true(status == PQE_E_TAMPERED || status == PQE_E_VERSION || at >= 6);
                if (status == PQE_OK)
                    assert_memory_equal(got.device_id, bytes + 6, c.pos - 6);
                bytes[at] ^= patterns[p];
            }
        }
    }
}

static void
test_settings_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        pqe_status status;
    } cases[] = {
        {"", 0, PQE_OK},
        {"\0\1\0\0\0\1x", 7, PQE_OK},
        {"\0\0\0\0\0\0", 6, PQE_E_TAMPERED},           /* tags begin at 1 */
        {"\0\7\0\0\0\0", 6, PQE_E_VERSION},            /* a later version's */
        {"\0\3\0\0\0\0", 6, PQE_E_TAMPERED},           /* the recovery keys' digest is 32 bytes */
        {"\0\2\0\0\0\0", 6, PQE_E_TAMPERED},           /* a policy is 32 bytes */
        {"\0\4\0\0\0\0", 6, PQE_E_TAMPERED},           /* the audit log's end 76 */
        {"\0\1\0\0\0\1x\0\5\0\0\0\2\1\3", 15, PQE_OK}, /* content-hash defaults: a kind and its algorithm */
        {"\0\1\0\0\0\1x\0\5\0\0\0\4\1\2\10\3", 17, PQE_OK},
        {"\0\1\0\0\0\1x\0\5\0\0\0\0", 13, PQE_E_TAMPERED}, /* none is written as no field */
        {"\0\1\0\0\0\1x\0\5\0\0\0\1\1", 14, PQE_E_TAMPERED},
        {"\0\1\0\0\0\1x\0\5\0\0\0\3\1\2\3", 16, PQE_E_TAMPERED},
        {"\0\1\0\0\0\1x\0\5\0\0\0\2\0\1", 15, PQE_E_TAMPERED}, /* no such kind */
        {"\0\1\0\0\0\1x\0\5\0\0\0\2\11\1", 15, PQE_E_TAMPERED},
        {"\0\1\0\0\0\1x\0\5\0\0\0\2\1\0", 15, PQE_E_TAMPERED}, /* no such algorithm */
        {"\0\1\0\0\0\1x\0\5\0\0\0\2\1\4", 15, PQE_E_TAMPERED},
        {"\0\1\0\0\0\1x\0\5\0\0\0\4\2\1\1\1", 17, PQE_E_TAMPERED}, /* out of order, twice */
        {"\0\1\0\0\0\1x\0\5\0\0\0\4\2\1\2\1", 17, PQE_E_TAMPERED},
        {"\0\1\0\0\0\1x\0\6\0\0\0\10\0\0\0\0\0\0\0\0", 21, PQE_OK}, /* a counter's value, which may be zero */
        {"\0\1\0\0\0\1x\0\6\0\0\0\7\0\0\0\0\0\0\0", 20, PQE_E_TAMPERED},
        {"\0\1\0\0\0\1x\0\6\0\0\0\11\0\0\0\0\0\0\0\0\0", 22, PQE_E_TAMPERED},
        {"\0\1\0\0\0\1x\0\7\0\0\0\0", 13, PQE_E_VERSION},
        {"\xff\xff\0\0\0\0", 6, PQE_E_VERSION},
        {"\0\1\0\0\0\1x\0\7\0\0\0\1y", 14, PQE_E_VERSION},
        {"\0\1\0\0\0\1x\0\3\0\0\0\1y", 14, PQE_E_TAMPERED},
        {"\0\1\0\0\0\1x\0\1\0\0\0\1y", 14, PQE_E_TAMPERED}, /* twice */
        {"\0\1\0\0\0\1x\0\0\0\0\0\1y", 14, PQE_E_TAMPERED}, /* descending */
        {"\0\1\0\0\0\1x\0", 8, PQE_E_TAMPERED},
        {"\0\1\0\0\0\2\xc3\x28", 8, PQE_E_TAMPERED}, /* no UTF-8 */
        {"\0\1\0\0\0\1\0", 7, PQE_E_TAMPERED},       /* NUL in a string */
        {"\0\1\xff\xff\xff\xff", 6, PQE_E_TAMPERED},
        {"\0\1\0\0\0\2x", 7, PQE_E_TAMPERED},
    };
    static uint8_t large[6 + PQE__HEAD_DEVICE_ID_MAX + 1] = {0, 1, 0, 0, 4, 1};
    static pqe__head_private got;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pqe_status status = decode_private(cases[i].bytes, cases[i].len, &got);
        if (status != cases[i].status)
            fail_msg("case %zu: %s", i, pqe_status_name(status));
    }
    memset(large + 6, 'x', sizeof large - 6);
    assert_int_equal(decode_private(large, sizeof large, &got), PQE_E_TAMPERED);
    large[5] = 0;
    assert_int_equal(decode_private(large, sizeof large - 1, &got), PQE_OK);
}

static void
test_counter(void **state)
{
    static pqe__head_private priv = {.device_id = "d", .has_counter = true, .counter = 0x0102030405060708u}, got;
    pqe__counter_note note = {.value = 0x0102030405060708u}, read;
    uint8_t bytes[PQE__HEAD_PRIVATE_MAX];
    pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes);

    (void)state;
    assert_pqe_ok(pqe__head_encode_private(&priv, &c, err));
    assert_int_equal(c.pos, 7 + 14);
    assert_memory_equal(bytes + 7, "\0\6\0\0\0\10\1\2\3\4\5\6\7\10", 14);
    assert_int_equal(decode_private(bytes, c.pos, &got), PQE_OK);
    assert_true(got.has_counter);
    assert_int_equal(got.counter, priv.counter);

    memset(note.before, 0xbb, sizeof note.before);
    memset(note.now, 0xaa, sizeof note.now);
    pqe__counter_note_encode(&note, bytes);
    assert_int_equal(PQE__COUNTER_NOTE_SIZE, 64);
    assert_memory_equal(bytes, "\1\2\3\4\5\6\7\10\xbb", 9);
    assert_int_equal(bytes[8 + 27], 0xbb);
    assert_int_equal(bytes[8 + 28], 0xaa);
    assert_true(pqe__counter_note_decode(bytes, 64, &read));
    assert_memory_equal(&read, &note, sizeof note);
    assert_false(pqe__counter_note_decode(bytes, 63, &read));
    assert_false(pqe__counter_note_decode(bytes, 65, &read));
    assert_false(pqe__counter_note_decode(bytes, 0, &read));
}

/* ---- labelled inputs ---- */

static void
test_labels(void **state)
{
    uint8_t id[PQE__ID_SIZE], key[PQE__ID_SIZE], out[PQE__LABEL_MAX], other[PQE__LABEL_MAX];
    size_t len;

    (void)state;
    memset(id, 0xaa, sizeof id);
    memset(key, 0xbb, sizeof key);
    len = pqe__labelled(out, "label", id, NULL);
    assert_int_equal(len, 6 + 16);
    assert_memory_equal(out, "label\0\xaa", 7);
    len = pqe__labelled(out, "label", id, key);
    assert_int_equal(len, 6 + 32);
    assert_int_equal(out[22], 0xbb);
    len = pqe__aad_device_key(out, id, PQE__KEY_VAULT, pqe__suite_ml_kem_768, 0x01020304);
    assert_int_equal(len, 26 + 16 + 1 + 6 + 4);
    assert_memory_equal(out, "pqc-enclave device key v1\0\xaa", 27);
    assert_memory_equal(out + 42, "\1\0\x41\0\1\0\2\1\2\3\4", 11);
    assert_int_equal(pqe__aad_device_key(other, id, PQE__KEY_GRANT, pqe__suite_ml_kem_768, 0x01020304), len);
    assert_memory_not_equal(out, other, len);
    len = pqe__info_secret(out, id, pqe__suite_ml_kem_768, PQE__SECRET_ROOT, key);
    assert_int_equal(len, 22 + 6 + 16 + 1 + 16);
    assert_memory_equal(out, "pqc-enclave secret v1\0\0\x41\0\1\0\2\xaa", 29);
    assert_int_equal(out[44], 1);
    assert_int_equal(out[45], 0xbb);
    assert_int_equal(pqe__info_secret(other, id, pqe__suite_ml_kem_768, PQE__SECRET_SESSION, key), len);
    assert_memory_not_equal(out, other, len);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head),     cmocka_unit_test(test_head_truncated),   cmocka_unit_test(test_head_flipped),
        cmocka_unit_test(test_settings), cmocka_unit_test(test_settings_refused), cmocka_unit_test(test_counter),
        cmocka_unit_test(test_labels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
