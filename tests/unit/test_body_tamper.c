/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies that were altered, cut, extended, shuffled or taken from elsewhere: never a wrong byte, always an error.
 * A line "Guards:" above a test names the safeguard without which the test fails.
 */
#include "unit/body_memory.h"

static const uint8_t other_dek[32] = {0x11, 0x22, 0x34};
static const uint8_t other_id[16] = {0xaa, 0xbc};

/* Guards: commitment check (salt, commitment), final chunk check at open (last chunk), tags (every other chunk). */
static void
flipped_bytes(void **state)
{
    const size_t size = 5 * CHUNK + 100; /* too large to be read whole at open */
    const size_t chunks = size / CHUNK + 1;
    uint8_t *plain = plain_mod251(size);
    memory m;

    (void)state;
    make_body(&m, id, plain, size, 0);
    for (size_t at = 0; at < m.len; at += at < HEADER ? 1 : 1 + next_random() % 900) {
        size_t chunk = at < HEADER ? 0 : (at - HEADER) / STORED;
        bool must_open = at >= HEADER && chunk < chunks - 1, opened;
        m.data[at] ^= (uint8_t)(1u << (at % 8));
        assert_int_equal(open_and_read(&m, plain, size, &opened), PQE_E_DECRYPTION);
        assert_int_equal(opened, must_open);
        m.data[at] ^= (uint8_t)(1u << (at % 8));
    }
    for (size_t chunk = 0; chunk < chunks; chunk++) { /* first and last byte of each ciphertext and tag */
        size_t start = HEADER + chunk * STORED, end = start + STORED < m.len ? start + STORED : m.len;
        const size_t places[] = {start, end - 17, end - 16, end - 1};
        for (size_t i = 0; i < COUNT(places); i++) {
            bool opened;
            m.data[places[i]] ^= 0x80;
            assert_int_equal(open_and_read(&m, plain, size, &opened), PQE_E_DECRYPTION);
            assert_int_equal(opened, chunk < chunks - 1);
            m.data[places[i]] ^= 0x80;
        }
    }
    memory_free(&m);
    free(plain);
}

/* Guards: a chunk of which only a part is wanted is verified whole, and undamaged chunks stay readable. */
static void
damage_is_local(void **state)
{
    const size_t size = 8 * CHUNK;
    uint8_t *plain = plain_mod251(size);
    pqe__body_reader *r;
    pqe_error err;
    uint8_t byte;
    size_t got;
    memory m;

    (void)state;
    make_body(&m, id, plain, size, 0);
    m.data[HEADER + 3 * STORED + 16000] ^= 1;
    assert_int_equal(open_body(&m, size, &r, NULL), PQE_OK);
    assert_int_equal(read_part(r, plain, size, 0, 3 * CHUNK), PQE_OK);
    assert_int_equal(read_part(r, plain, size, 4 * CHUNK, size), PQE_OK);
    assert_int_equal(read_part(r, plain, size, 3 * CHUNK, 10), PQE_E_DECRYPTION);
    assert_int_equal(read_part(r, plain, size, 3 * CHUNK - 1, 2), PQE_E_DECRYPTION);
    assert_int_equal(read_part(r, plain, size, 0, size), PQE_E_DECRYPTION);
    assert_int_equal(pqe__body_reader_read_at(r, 3 * CHUNK, &byte, 1, &got, &err), PQE_E_DECRYPTION);
    assert_int_equal(err.status, PQE_E_DECRYPTION);
    assert_non_null(strstr(err.message, "chunk 3"));
    m.data[HEADER + 3 * STORED + 16000] ^= 1; /* a failed read is not remembered */
    assert_int_equal(read_part(r, plain, size, 0, size), PQE_OK);
    pqe__body_reader_free(&r);
    memory_free(&m);
    free(plain);
}

/* Guards: size check at open. The source here has more bytes than it should, so only that check can refuse. */
static void
recorded_size_must_fit(void **state)
{
    const size_t size = 2 * CHUNK + 100;
    uint8_t *plain = plain_mod251(size);
    const uint64_t wrong[] = {0, size - 1, size + 1, size - CHUNK, size + CHUNK, UINT64_MAX, (uint64_t)1 << 52};
    pqe__body_reader *r;
    memory m;

    (void)state;
    make_body(&m, id, plain, size, 0);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        r = (pqe__body_reader *)&m;
        assert_int_equal(pqe__body_reader_new(dek, id, m.len, wrong[i], memory_source, &m, &r, NULL), PQE_E_DECRYPTION);
        assert_null(r);
    }
    assert_int_equal(m.calls, 0);
    memory_free(&m);
    free(plain);
}

/* Guards: size check (record unchanged) and final chunk check (record changed to fit the cut). */
static void
truncated_and_extended(void **state)
{
    const size_t body_sizes[] = {300, CHUNK, 7 * CHUNK + 50};

    (void)state;
    for (size_t s = 0; s < COUNT(body_sizes); s++) {
        size_t size = body_sizes[s], whole;
        uint8_t *plain = plain_mod251(size);
        pqe__body_reader *r;
        memory m;
        make_body(&m, id, plain, size, 0);
        whole = m.len;
        m.data = realloc(m.data, whole + 2 * STORED);
        assert_non_null(m.data);
        memset(m.data + whole, 0, 2 * STORED);
        /* all lengths of the small bodies; of the large one those around the chunks' ends */
        for (m.len = 0; m.len < whole + STORED + 40; m.len++) {
            uint64_t fitting;
            if (m.len == whole)
                continue;
            if (whole > 2 * STORED && m.len > HEADER && (m.len - HEADER + 20) % STORED > 40)
                continue;
            assert_int_equal(open_body(&m, size, &r, NULL), PQE_E_DECRYPTION);
            if (pqe__body_plain_size(m.len, &fitting))
                assert_int_equal(open_body(&m, (size_t)fitting, &r, NULL), PQE_E_DECRYPTION);
        }
        memory_free(&m);
        free(plain);
    }
}

/* Guards: the chunk number in the nonce. */
static void
moved_chunks(void **state)
{
    const size_t size = 5 * CHUNK + 10;
    uint8_t *zero = calloc(1, size);
    pqe__body_reader *r;
    memory m, t;
    bool opened;

    (void)state;
    assert_non_null(zero);
    make_body(&m, id, zero, size, 0); /* equal plaintexts, so that nothing but the number tells the chunks apart */
    memory_copy(&t, &m);
    memcpy(t.data + HEADER + STORED, m.data + HEADER + 2 * STORED, STORED); /* exchange 1 and 2 */
    memcpy(t.data + HEADER + 2 * STORED, m.data + HEADER + STORED, STORED);
    assert_int_equal(open_and_read(&t, zero, size, &opened), PQE_E_DECRYPTION);
    assert_true(opened);
    memcpy(t.data, m.data, m.len);
    memcpy(t.data + HEADER + STORED, m.data + HEADER, STORED); /* duplicate 0 in the place of 1 */
    assert_int_equal(open_and_read(&t, zero, size, &opened), PQE_E_DECRYPTION);
    assert_true(opened);
    memcpy(t.data, m.data, m.len);
    memmove(t.data + HEADER + STORED, m.data + HEADER + 2 * STORED, m.len - HEADER - 2 * STORED); /* drop 1 */
    t.len = m.len - STORED;
    assert_int_equal(open_body(&t, size - CHUNK, &r, NULL), PQE_E_DECRYPTION);
    assert_int_equal(open_body(&t, size, &r, NULL), PQE_E_DECRYPTION);
    memory_free(&t);
    memory_free(&m);
    free(zero);
}

/* Guards: commitment over DEK and body id; DEK and id in the derivation. */
static void
wrong_key_or_other_body(void **state)
{
    const size_t size = CHUNK + 10;
    uint8_t *plain = plain_mod251(size);
    pqe__body_reader *r;
    pqe_error err;
    memory m, other;

    (void)state;
    make_body(&m, id, plain, size, 0);
    make_body(&other, other_id, plain, size, 0);
    assert_int_equal(pqe__body_reader_new(other_dek, id, m.len, size, memory_source, &m, &r, &err), PQE_E_DECRYPTION);
    assert_non_null(strstr(err.message, "commitment"));
    assert_int_equal(open_body(&other, size, &r, &err), PQE_E_DECRYPTION); /* swapped in: same DEK, another id */
    assert_non_null(strstr(err.message, "commitment"));
    /* the header of one body before the chunks of another */
    memcpy(other.data, m.data, HEADER);
    assert_int_equal(open_body(&other, size, &r, &err), PQE_E_DECRYPTION);
    assert_non_null(strstr(err.message, "chunk 1"));
    memory_free(&m);
    memory_free(&other);
    free(plain);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flipped_bytes),          cmocka_unit_test(damage_is_local),
        cmocka_unit_test(recorded_size_must_fit), cmocka_unit_test(truncated_and_extended),
        cmocka_unit_test(moved_chunks),           cmocka_unit_test(wrong_key_or_other_body),
    };

    return cmocka_run_group_tests_name("body-tamper", tests, NULL, NULL);
}
