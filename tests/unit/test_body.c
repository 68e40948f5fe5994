/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies: sizes, round trips, random access, threads, failing sinks and sources, memory and calls.
 * A line "Guards:" above a test names the safeguard without which the test fails.
 */
#include "unit/body_memory.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t sizes[] = {0, 1, 16383, 16384, 16385, 32768, MIB - 1, MIB, MIB + 1, 5 * MIB};

/* Guards: what is left of a chunk and what is given last become one body, the same as if all had been written. */
static void
finishing_with_the_rest(void **state)
{
    static const size_t before[] = {0, 5, 16384, 20000}, last[] = {0, 1, 1000, 16383, 16384, 40000};
    const uint8_t salt[PQE__BODY_SALT_SIZE] = {7};
    uint8_t *plain = calloc(1, 60000);

    (void)state;
    assert_non_null(plain);
    for (size_t i = 0; i < 60000; i++)
        plain[i] = (uint8_t)next_random();
    for (size_t i = 0; i < 4 * 6; i++) {
        size_t first = before[i / 6], rest = last[i % 6];
        memory m[2] = {{0}};
        for (size_t way = 0; way < 2; way++) {
            pqe__body_writer *w;
            assert_int_equal(pqe__body_writer_new(dek, id, salt, memory_sink, &m[way], &w, NULL), PQE_OK);
            assert_int_equal(pqe__body_writer_write(w, plain, way == 0 ? first : first + rest, NULL), PQE_OK);
            if (way == 0)
                assert_int_equal(pqe__body_writer_finish_with(w, plain + first, rest, NULL), PQE_OK);
            else
                assert_int_equal(pqe__body_writer_finish(w, NULL), PQE_OK);
            assert_int_equal(pqe__body_writer_finish_with(w, plain, 1, NULL), PQE_E_STATE);
            pqe__body_writer_free(&w);
        }
        assert_int_equal(m[0].len, m[1].len);
        assert_memory_equal(m[0].data, m[1].data, m[0].len);
        free(m[0].data);
        free(m[1].data);
    }
    free(plain);
}

/* ---- layout ---- */

/* Guards: overflow and limit checks of both size functions; they are exact inverses. */
static void
layout_sizes(void **state)
{
    const uint64_t most = ((uint64_t)1 << 52) - 1;
    uint64_t stored, plain;

    (void)state;
    assert_true(pqe__body_stored_size(0, &stored) && stored == 72);
    assert_true(pqe__body_stored_size(16383, &stored) && stored == 56 + 16399);
    assert_true(pqe__body_stored_size(16384, &stored) && stored == 56 + 16400 + 16);
    assert_true(pqe__body_stored_size(most, &stored));
    assert_true(stored == 56 + (((uint64_t)1 << 38) - 1) * 16400 + 16399);
    assert_true(pqe__body_plain_size(stored, &plain) && plain == most);
    assert_false(pqe__body_plain_size(stored + 1, &plain) || plain != 0);
    assert_false(pqe__body_plain_size(stored + 1 + 16, &plain) || plain != 0);
    assert_false(pqe__body_stored_size(most + 1, &stored) || stored != 0);
    assert_false(pqe__body_stored_size(UINT64_MAX, &stored) || stored != 0);
    assert_false(pqe__body_plain_size(UINT64_MAX, &plain) || plain != 0);

    for (uint64_t s = 0, next = 0; s < 3 * STORED; s++) {
        bool valid = pqe__body_plain_size(s, &plain);
        uint64_t full = s < HEADER ? 0 : (s - HEADER) / STORED;
        assert_int_equal(valid, s >= HEADER + 16 && s - HEADER - full * STORED >= 16);
        if (!valid)
            continue;
        assert_int_equal(plain, next++); /* every plaintext size has exactly one stored size */
        assert_true(pqe__body_stored_size(plain, &stored));
        assert_int_equal(stored, s);
    }
}

/* Guards: the chunk counter is big-endian, in the last bytes, and XORed. */
static void
nonce_counts_in_its_last_bytes(void **state)
{
    const uint8_t base[12] = {0xf0, 1, 2, 3, 4, 5, 6, 7, 0xff, 9, 10, 0xff};
    const uint8_t first[12] = {0xf0, 1, 2, 3, 4, 5, 6, 7, 0xff, 9, 10, 0xfe};
    const uint8_t last[12] = {0xf0, 1, 2, 3, 4, 5, 6, 7 ^ 0x3f, 0, 0xf6, 0xf5, 0};
    uint8_t out[12];

    (void)state;
    pqe__body_nonce(base, 0, out);
    assert_memory_equal(out, base, 12);
    pqe__body_nonce(base, 1, out);
    assert_memory_equal(out, first, 12);
    pqe__body_nonce(base, PQE__BODY_MAX_CHUNKS - 1, out);
    assert_memory_equal(out, last, 12);
}

/* ---- round trips ---- */

static void
round_trips(void **state)
{
    const size_t pieces[] = {0, 7 * MIB, CHUNK, CHUNK - 1, CHUNK + 1, 100003, 4096};

    (void)state;
    for (size_t s = 0; s < COUNT(sizes); s++) {
        uint8_t *plain = plain_mod251(sizes[s]);
        for (size_t p = 0; p < COUNT(pieces); p++) {
            uint64_t stored;
            bool opened;
            memory m;
            make_body(&m, id, plain, sizes[s], pieces[p]);
            assert_true(pqe__body_stored_size(sizes[s], &stored));
            assert_int_equal(m.len, stored);
            assert_int_equal(open_and_read(&m, plain, sizes[s], &opened), PQE_OK);
            memory_free(&m);
        }
        free(plain);
    }
}

static void
one_byte_at_a_time(void **state)
{
    const size_t size = CHUNK + 3;
    uint8_t *plain = plain_mod251(size);
    pqe__body_reader *r;
    memory m;

    (void)state;
    make_body(&m, id, plain, size, 1);
    assert_int_equal(open_body(&m, size, &r, NULL), PQE_OK);
    for (size_t i = 0; i <= size; i++)
        assert_int_equal(read_part(r, plain, size, i, 1), PQE_OK);
    pqe__body_reader_free(&r);
    memory_free(&m);
    free(plain);
}

static void
random_access(void **state)
{
    (void)state;
    for (size_t s = 0; s < COUNT(sizes); s++) {
        uint8_t *plain = plain_mod251(sizes[s]);
        pqe__body_reader *r;
        memory m;
        make_body(&m, id, plain, sizes[s], 0);
        assert_int_equal(open_body(&m, sizes[s], &r, NULL), PQE_OK);
        for (int i = 0; i < 300; i++) {
            uint64_t offset = next_random() % (sizes[s] + 100);
            size_t len = next_random() % (i % 3 == 0 ? 2 * MIB : i % 3 == 1 ? 3 * CHUNK : 300);
            if (i % 5 == 0)
                offset -= offset % CHUNK;
            assert_int_equal(read_part(r, plain, sizes[s], offset, len), PQE_OK);
        }
        assert_int_equal(read_part(r, plain, sizes[s], UINT64_MAX, 10), PQE_OK);
        assert_int_equal(read_part(r, plain, sizes[s], sizes[s], 10), PQE_OK);
        assert_false(m.outside);
        pqe__body_reader_free(&r);
        memory_free(&m);
        free(plain);
    }
}

/* Guards: a random salt at every body (two bodies of one DEK and id share no key). */
static void
salts_differ(void **state)
{
    const uint8_t plain[100] = {0};
    memory a, b;

    (void)state;
    make_body(&a, id, plain, sizeof plain, 0);
    make_body(&b, id, plain, sizeof plain, 0);
    assert_memory_not_equal(a.data, b.data, PQE__BODY_SALT_SIZE);
    assert_memory_not_equal(a.data + HEADER, b.data + HEADER, sizeof plain);
    memory_free(&a);
    memory_free(&b);
}

typedef struct reading {
    pqe__body_reader *r;
    const uint8_t *plain;
    size_t size;
    uint64_t seed;
    bool right;
} reading;

static void *
read_randomly(void *user)
{
    reading *t = user;
    uint64_t x = t->seed;
    uint8_t *buf = malloc(MIB);

    t->right = buf != NULL;
    for (int i = 0; i < 400 && t->right; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        size_t offset = (size_t)(x >> 20) % t->size, len = (size_t)(x >> 33) % (i % 8 == 0 ? MIB : 5000), got;
        size_t want = len < t->size - offset ? len : t->size - offset;
        t->right = pqe__body_reader_read_at(t->r, offset, buf, len, &got, NULL) == PQE_OK && got == want &&
                   memcmp(buf, t->plain + offset, want) == 0;
    }
    free(buf);
    return NULL;
}

/* Guards: lanes are never shared by two threads (run under the tsan preset as well). */
static void
eight_threads(void **state)
{
    const size_t size = 3 * MIB + 5000;
    uint8_t *plain = plain_mod251(size);
    pthread_t threads[8];
    reading tasks[8];
    pqe__body_reader *r;
    memory m;

    (void)state;
    make_body(&m, id, plain, size, 0);
    assert_int_equal(open_body(&m, size, &r, NULL), PQE_OK);
    for (size_t i = 0; i < 8; i++) {
        tasks[i] = (reading){r, plain, size, i + 1, false};
        assert_int_equal(pthread_create(&threads[i], NULL, read_randomly, &tasks[i]), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_true(tasks[i].right);
    }
    assert_false(m.outside);
    pqe__body_reader_free(&r);
    memory_free(&m);
    free(plain);
}

/* ---- failures around the body ---- */

/* Guards: a failed writer never calls its sink again, and reports the first error from then on. */
static void
failing_sink(void **state)
{
    const size_t size = 3 * MIB;
    uint8_t *plain = plain_mod251(size);
    pqe_status status = PQE_E_NO_SPACE;
    pqe__body_writer *w;
    unsigned n;

    (void)state;
    for (n = 1; status != PQE_OK; n++) {
        memory m = {.fail_at = n};
        pqe_error err = {0};
        status = pqe__body_writer_new(dek, id, NULL, memory_sink, &m, &w, NULL);
        for (size_t done = 0; done < size && status == PQE_OK; done += CHUNK / 2)
            status = pqe__body_writer_write(w, plain + done, CHUNK / 2, &err);
        if (status == PQE_OK)
            status = pqe__body_writer_finish(w, &err);
        if (status != PQE_OK) {
            assert_int_equal(status, PQE_E_NO_SPACE);
            assert_int_equal(err.native, 28);
            assert_int_equal(pqe__body_writer_write(w, plain, 2 * MIB, &err), PQE_E_NO_SPACE);
            assert_int_equal(pqe__body_writer_finish(w, &err), PQE_E_NO_SPACE);
            assert_int_equal(m.calls, n);
            assert_null(w->keys);
            assert_null(w->stage);
        }
        pqe__body_writer_free(&w);
        memory_free(&m);
    }
    assert_true(n > 5); /* several failures came before the run that passed */
    free(plain);
}

/* Guards: no reader from a failed open; the buffer is zeroed; a reader works on after a failed read. */
static void
failing_source(void **state)
{
    const size_t size = 3 * MIB + 77;
    uint8_t *plain = plain_mod251(size);
    bool opened = false, finished = false;
    pqe__body_reader *r;
    unsigned n;
    memory m;

    (void)state;
    make_body(&m, id, plain, size, 0);
    for (n = 1; !finished; n++) {
        pqe_error err = {0};
        m.calls = 0;
        m.fail_at = n;
        opened = open_body(&m, size, &r, &err) == PQE_OK;
        if (opened) {
            finished = read_part(r, plain, size, 100, size) == PQE_OK;
            m.fail_at = 0;
            assert_int_equal(read_part(r, plain, size, 100, size), PQE_OK);
        } else {
            assert_int_equal(err.status, PQE_E_IO);
        }
        pqe__body_reader_free(&r);
    }
    assert_true(n > 6);
    memory_free(&m);
    free(plain);
}

/* Guards: the 2^38 chunk limit of the specification, both where a write is taken and where a chunk is sealed. */
static void
chunk_limit(void **state)
{
    uint8_t *plain = plain_mod251(CHUNK);
    pqe__body_writer *w;
    memory m = {0};

    (void)state;
    for (int beyond = 0; beyond < 2; beyond++) {
        assert_int_equal(pqe__body_writer_new(dek, id, NULL, memory_sink, &m, &w, NULL), PQE_OK);
        w->next = PQE__BODY_MAX_CHUNKS - 1; /* the last number: its chunk must stay short */
        assert_int_equal(pqe__body_writer_write(w, plain, CHUNK - 1, NULL), PQE_OK);
        if (beyond)
            assert_int_equal(pqe__body_writer_write(w, plain, 1, NULL), PQE_E_LIMIT);
        assert_int_equal(pqe__body_writer_finish(w, NULL), beyond ? PQE_E_LIMIT : PQE_OK);
        pqe__body_writer_free(&w);
    }
    assert_int_equal(m.len, HEADER + STORED - 1);
    assert_int_equal(pqe__body_writer_new(dek, id, NULL, memory_sink, &m, &w, NULL), PQE_OK);
    w->next = PQE__BODY_MAX_CHUNKS;
    assert_int_equal(pqe__body_writer_finish(w, NULL), PQE_E_LIMIT);
    pqe__body_writer_free(&w);
    memory_free(&m);
    free(plain);
}

static void
calls_out_of_order(void **state)
{
    pqe__body_writer *w;
    memory m = {0};

    (void)state;
    assert_int_equal(pqe__body_writer_new(dek, id, NULL, memory_sink, &m, &w, NULL), PQE_OK);
    assert_int_equal(pqe__body_writer_write(w, NULL, 0, NULL), PQE_OK);
    assert_int_equal(pqe__body_writer_finish(w, NULL), PQE_OK);
    assert_int_equal(m.len, HEADER + 16);
    assert_int_equal(pqe__body_writer_write(w, "x", 1, NULL), PQE_E_STATE);
    assert_int_equal(pqe__body_writer_finish(w, NULL), PQE_E_STATE);
    assert_int_equal(m.len, HEADER + 16);
    pqe__body_writer_free(&w);
    pqe__body_writer_free(&w);
    pqe__body_reader_free(&(pqe__body_reader *){NULL});
    memory_free(&m);
}

/* Guards: a forked child that went on writing would use the parent's nonces for other plaintext. */
static void
forked_child(void **state)
{
    uint8_t *plain = plain_mod251(CHUNK), byte = 0xa5;
    memory m, body;
    pqe__body_writer *w;
    pqe__body_reader *r;
    int result = -1;
    size_t got;
    pid_t child;

    (void)state;
    make_body(&body, id, plain, CHUNK, 0);
    memset(&m, 0, sizeof m);
    assert_int_equal(pqe__body_writer_new(dek, id, NULL, memory_sink, &m, &w, NULL), PQE_OK);
    assert_int_equal(pqe__body_writer_write(w, plain, 100, NULL), PQE_OK);
    assert_int_equal(open_body(&body, CHUNK, &r, NULL), PQE_OK);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool right = pqe__body_writer_write(w, plain, CHUNK, NULL) == PQE_E_LOCKED &&
                     pqe__body_writer_finish(w, NULL) == PQE_E_LOCKED &&
                     pqe__body_reader_read_at(r, 0, &byte, 1, &got, NULL) == PQE_E_LOCKED && got == 0 && byte == 0;
        pqe__body_writer_free(&w);
        pqe__body_reader_free(&r);
        _exit(right && w == NULL && r == NULL ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
    assert_int_equal(pqe__body_writer_finish(w, NULL), PQE_OK); /* the parent is not disturbed */
    assert_int_equal(read_part(r, plain, CHUNK, 0, CHUNK), PQE_OK);
    pqe__body_writer_free(&w);
    pqe__body_reader_free(&r);
    memory_free(&m);
    memory_free(&body);
    free(plain);
}

/* Guards: keys and plaintext are wiped by free (locked memory stays mapped, so its old place can be looked at). */
static void
wiped_when_freed(void **state)
{
    uint8_t *plain = plain_mod251(1000);
    const uint8_t *keys, *kept;
    pqe__body_writer *w;
    pqe__body_reader *r;
    memory m = {0};

    (void)state;
    assert_int_equal(pqe__body_writer_new(dek, id, NULL, memory_sink, &m, &w, NULL), PQE_OK);
    assert_int_equal(pqe__body_writer_write(w, plain, 1000, NULL), PQE_OK);
    keys = (const uint8_t *)w->keys;
    kept = w->stage;
    assert_false(all_are(keys, sizeof *w->keys, 0) || all_are(kept, 1000, 0));
    assert_int_equal(pqe__body_writer_finish(w, NULL), PQE_OK);
    assert_true(all_are(keys, sizeof *w->keys, 0) && all_are(kept, 1000, 0));
    pqe__body_writer_free(&w);

    assert_int_equal(open_body(&m, 1000, &r, NULL), PQE_OK);
    keys = (const uint8_t *)r->keys;
    kept = r->idle->plain;
    assert_false(all_are(keys, sizeof *r->keys, 0) || all_are(kept, 1000, 0));
    pqe__body_reader_free(&r);
    assert_true(all_are(keys, sizeof(pqe__body_keys), 0) && all_are(kept, 1000, 0));
    memory_free(&m);
    free(plain);
}

/* ---- cost ---- */

/* Guards: large writes for the sink, bounded and lazily grown memory, no copy of whole chunks. */
static void
writer_memory(void **state)
{
    const size_t batch = PQE__BODY_BATCH * STORED;
    uint8_t *plain = plain_mod251(5 * MIB);
    pqe__body_writer *w;
    memory m = {0};

    (void)state;
    assert_int_equal(pqe__body_writer_new(dek, id, NULL, memory_sink, &m, &w, NULL), PQE_OK);
    assert_int_equal(pqe__body_writer_write(w, plain, 1024, NULL), PQE_OK);
    assert_int_equal(pqe__body_writer_finish(w, NULL), PQE_OK);
    assert_true(w->capacity <= 4096);
    assert_int_equal(m.calls, 1);
    pqe__body_writer_free(&w);
    memory_free(&m);

    assert_int_equal(pqe__body_writer_new(dek, id, NULL, memory_sink, &m, &w, NULL), PQE_OK);
    assert_int_equal(pqe__body_writer_write(w, plain, 5 * MIB, NULL), PQE_OK);
    assert_null(w->stage);
    assert_int_equal(pqe__body_writer_finish(w, NULL), PQE_OK);
    assert_true(w->capacity <= HEADER + batch);
    assert_true(m.largest >= batch && m.largest <= HEADER + batch);
    assert_true(m.calls <= m.len / batch + 1);
    pqe__body_writer_free(&w);
    memory_free(&m);
    free(plain);
}

/* Guards: a small body is read once; whole batches a call; a chunk read in small pieces is decrypted once. */
static void
reader_calls(void **state)
{
    const size_t small = 2 * CHUNK + 100, large = 5 * MIB;
    uint8_t *plain = plain_mod251(large);
    pqe__body_reader *r;
    memory m;

    (void)state;
    make_body(&m, id, plain, small, 0);
    assert_int_equal(open_body(&m, small, &r, NULL), PQE_OK);
    r->idle->stored[HEADER + 2 * STORED] ^= 1; /* the final chunk was decrypted at open and is not decrypted again */
    assert_int_equal(read_part(r, plain, small, 0, small), PQE_OK);
    assert_int_equal(m.calls, 1);
    pqe__body_reader_free(&r);
    memory_free(&m);

    make_body(&m, id, plain, large, 0);
    assert_int_equal(open_body(&m, large, &r, NULL), PQE_OK);
    assert_int_equal(m.calls, 2);
    assert_null(r->idle->plain); /* a large body that nobody reads keeps no plaintext */
    assert_int_equal(read_part(r, plain, large, 0, large), PQE_OK);
    assert_int_equal(m.calls, 2 + large / CHUNK / PQE__BODY_BATCH);
    assert_null(r->idle->plain); /* whole chunks went straight to the caller */
    assert_true(r->idle->capacity <= PQE__BODY_BATCH * STORED);

    assert_int_equal(read_part(r, plain, large, 3 * CHUNK, 4096), PQE_OK);
    assert_null(r->idle->next); /* one lane, as only one thread reads */
    /* A whole chunk replaces what the lane has loaded; the chunk that is kept stays, and needs no source. */
    assert_int_equal(read_part(r, plain, large, 10 * CHUNK, CHUNK), PQE_OK);
    m.fail_at = m.calls + 1;
    for (size_t i = 1; i < 4; i++)
        assert_int_equal(read_part(r, plain, large, 3 * CHUNK + i * 4096, 4096), PQE_OK);
    pqe__body_reader_free(&r);
    memory_free(&m);
    free(plain);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finishing_with_the_rest),
        cmocka_unit_test(layout_sizes),
        cmocka_unit_test(nonce_counts_in_its_last_bytes),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(one_byte_at_a_time),
        cmocka_unit_test(random_access),
        cmocka_unit_test(salts_differ),
        cmocka_unit_test(eight_threads),
        cmocka_unit_test(failing_sink),
        cmocka_unit_test(failing_source),
        cmocka_unit_test(chunk_limit),
        cmocka_unit_test(calls_out_of_order),
        cmocka_unit_test(forked_child),
        cmocka_unit_test(wiped_when_freed),
        cmocka_unit_test(writer_memory),
        cmocka_unit_test(reader_calls),
    };

    return cmocka_run_group_tests_name("body", tests, NULL, NULL);
}
