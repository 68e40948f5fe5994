/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies in memory for tests: a sink and a source that count their calls and fail at a chosen one, and the ways in
 * which the tests write and read.
 */
#ifndef PQE_TESTS_BODY_MEMORY_H
#define PQE_TESTS_BODY_MEMORY_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "body/internal.h"

#define CHUNK ((size_t)PQE__BODY_CHUNK)
#define STORED ((size_t)PQE__BODY_CHUNK_STORED)
#define HEADER ((size_t)PQE__BODY_HEADER)
#define MIB ((size_t)1 << 20)
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static const uint8_t dek[32] = {0x11, 0x22, 0x33};
static const uint8_t id[16] = {0xaa, 0xbb};

typedef struct memory {
    uint8_t *data;
    size_t len, capacity;
    atomic_uint calls;
    unsigned fail_at;    /* the call that fails, counted from 1; 0: none */
    size_t largest;      /* most bytes of one call of the sink */
    atomic_bool outside; /* the source was asked for bytes that are not there */
} memory;

static inline pqe_status
memory_sink(void *user, const uint8_t *data, size_t len, pqe_error *err)
{
    memory *m = user;

    if (++m->calls == m->fail_at)
        return pqe__fail(err, PQE_E_NO_SPACE, PQE_ORIGIN_IO, 28, "the test's disk is full");
    if (len > m->capacity - m->len) {
        m->capacity = 2 * m->capacity + len;
        m->data = realloc(m->data, m->capacity);
        assert_non_null(m->data);
    }
    memcpy(m->data + m->len, data, len);
    m->len += len;
    m->largest = len > m->largest ? len : m->largest;
    return PQE_OK;
}

static inline pqe_status
memory_source(void *user, uint64_t offset, uint8_t *buf, size_t len, pqe_error *err)
{
    memory *m = user;

    if (++m->calls == m->fail_at) {
        memset(buf, 0xee, len / 2); /* a read that breaks off */
        return pqe__fail(err, PQE_E_IO, PQE_ORIGIN_IO, 5, "the test's disk is broken");
    }
    if (offset > m->len || len > m->len - offset) {
        m->outside = true;
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_IO, 0, "the test's body is truncated");
    }
    memcpy(buf, m->data + offset, len);
    return PQE_OK;
}

static inline void
memory_free(memory *m)
{
    free(m->data);
    memset(m, 0, sizeof *m);
}

static inline void
memory_copy(memory *to, const memory *from)
{
    memset(to, 0, sizeof *to);
    to->data = malloc(from->len + 1);
    assert_non_null(to->data);
    memcpy(to->data, from->data, from->len);
    to->len = to->capacity = from->len;
}

/* The rule "mod251" of vectors/README.md: neighbouring chunks differ. */
static inline uint8_t *
plain_mod251(size_t size)
{
    uint8_t *p = malloc(size + 1);

    assert_non_null(p);
    for (size_t i = 0; i < size; i++)
        p[i] = (uint8_t)(i % 251);
    return p;
}

static uint64_t random_state = 88172645463325252u;

/* xorshift64: test positions that are the same at every run. */
static inline uint64_t
next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Writes `plain` in pieces of `piece` bytes; 0: pieces of all sizes. */
static inline void
make_body(memory *m, const uint8_t *body_id, const uint8_t *plain, size_t size, size_t piece)
{
    pqe__body_writer *w;

    memset(m, 0, sizeof *m);
    assert_int_equal(pqe__body_writer_new(dek, body_id, NULL, memory_sink, m, &w, NULL), PQE_OK);
    for (size_t done = 0, n; done < size; done += n) {
        n = piece != 0 ? piece : 1 + next_random() % 50000;
        n = n < size - done ? n : size - done;
        assert_int_equal(pqe__body_writer_write(w, plain + done, n, NULL), PQE_OK);
    }
    assert_int_equal(pqe__body_writer_finish(w, NULL), PQE_OK);
    pqe__body_writer_free(&w);
    assert_null(w);
    m->calls = 0;
}

static inline pqe_status
open_body(memory *m, size_t plain, pqe__body_reader **r, pqe_error *err)
{
    pqe_status status = pqe__body_reader_new(dek, id, m->len, plain, memory_source, m, r, err);

    assert_false(m->outside);
    assert_true((status == PQE_OK) == (*r != NULL));
    return status;
}

static inline bool
all_are(const uint8_t *p, size_t len, uint8_t value)
{
    return len == 0 || (p[0] == value && memcmp(p, p + 1, len - 1) == 0);
}

/* Reads through a buffer that is larger than asked for: nothing may be written behind `len`. */
static inline pqe_status
read_part(pqe__body_reader *r, const uint8_t *plain, size_t size, uint64_t offset, size_t len)
{
    size_t there = offset < size ? size - (size_t)offset : 0, want = len < there ? len : there, got = 12345;
    uint8_t *buf = malloc(len + 16);
    pqe_status status;

    assert_non_null(buf);
    memset(buf, 0xa5, len + 16);
    status = pqe__body_reader_read_at(r, offset, buf, len, &got, NULL);
    assert_true(all_are(buf + len, 16, 0xa5));
    if (status == PQE_OK) {
        assert_int_equal(got, want);
        assert_memory_equal(buf, plain + (size - there), want);
        assert_true(all_are(buf + want, len - want, 0xa5));
    } else {
        assert_int_equal(got, 0);
        assert_true(all_are(buf, len, 0));
    }
    free(buf);
    return status;
}

/* Opens a body and reads it whole. Returns the first failure; *opened says whether it came from reading. */
static inline pqe_status
open_and_read(memory *m, const uint8_t *plain, size_t size, bool *opened)
{
    pqe__body_reader *r;
    pqe_status status = open_body(m, size, &r, NULL);

    *opened = status == PQE_OK;
    if (status == PQE_OK)
        status = read_part(r, plain, size, 0, size);
    pqe__body_reader_free(&r);
    return status;
}

#endif
