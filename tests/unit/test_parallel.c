/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine for large artifacts, with 1, 2 and 7 threads: the same bytes and hashes whatever the number and however
 * they are cut; damage at every place of parallel batches.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "body/body.h"
#include "unit/parallel_support.h"
#include "unit/support.h"

/* ---- the same whatever the threads ---- */

static void
hash_of(const char *algorithm, const uint8_t *data, size_t len, char hex[PQE_HASH_HEX_SIZE])
{
    pqe_hasher *h = NULL;

    assert_pqe_ok(pqe_hasher_open(algorithm, &h, err));
    assert_pqe_ok(pqe_hasher_update(h, data, len, err));
    assert_pqe_ok(pqe_hasher_finish(&h, hex, err));
}

/* Reads in every way there is. */
static void
assert_content(pqe_vault *v, const char *name, const uint8_t *data, size_t len)
{
    static const size_t steps[] = {5 * MIB + 7, MIB, 2 * MIB - CHUNK};
    uint8_t *buf = malloc(5 * MIB + 7);
    int fd = memfd_create("test", MFD_CLOEXEC);
    pqe_reader *r = NULL;
    size_t got;

    get_equals(v, name, data, len);
    assert_pqe_ok(pqe_reader_open(v, name, &r, err));
    for (size_t i = 0; i < 3; i++) {
        for (size_t at = i * 1001; at < len; at += got) {
            size_t want = len - at < steps[i] ? len - at : steps[i];
            assert_pqe_ok(pqe_reader_read_at(r, at, buf, steps[i], &got, err));
            assert_int_equal(got, want);
            assert_memory_equal(buf, data + at, got);
        }
    }
    assert_pqe_ok(pqe_reader_to_file(r, fd, NULL, NULL, err));
    assert_file_is(fd, data, len);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), len);
    assert_pqe_ok(pqe_reader_read(r, buf, 1, &got, err));
    assert_int_equal(got, 0); /* the reader stands at the end too */
    pqe_reader_close(&r);
    close(fd);
    free(buf);
}

static void
test_sizes(void **state)
{
    static const size_t lengths[] = {MIB - 1,      MIB,     MIB + 1,         2 * MIB - 1,     4 * MIB,
                                     4 * MIB + 16, 5 * MIB, 9 * MIB + CHUNK, 13 * MIB + 12345};
    uint8_t *data = make_content(14 * MIB, 1);
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (size_t k = 0; k < 3; k++) {
            const char *hash = hashes[(i + k) % 3];
            char hex[PQE_HASH_HEX_SIZE];
            pqe_artifact *a = NULL;
            pqe_writer *w = start_put(v, "a", hash);
            pqe_set_threads(threads[k]);
            assert_pqe_ok(pqe_writer_write(w, data, lengths[i], err));
            assert_pqe_ok(pqe_writer_finish(&w, NULL, err));
            pqe_set_threads(threads[(k + 1) % 3]);
            assert_content(v, "a", data, lengths[i]);
            assert_pqe_ok(pqe_bind_hash(v, "a", NULL, &a, err));
            hash_of(a->hash_algorithm, data, lengths[i], hex);
            assert_string_equal(a->content_hash, hex);
            assert_int_equal(a->size_bytes, lengths[i]);
            pqe_artifact_free(&a);
            assert_pqe_ok(pqe_verify(v, "a", NULL, NULL, NULL, err));
        }
    }
    pqe_set_threads(0);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(data);
}

/* Large and small writes mixed: pieces begin in the middle of chunks, blocks and segments. */
static void
test_cuts(void **state)
{
    static const size_t cuts[][4] = {{1, 3 * MIB, 5, 4 * MIB},
                                     {CHUNK, 2 * MIB + 1, MIB, 1},
                                     {100 * KIB, MIB + 100 * KIB, 100, 7 * MIB},
                                     {MIB - 1, MIB + 1, 1500 * KIB, 2 * MIB + 3},
                                     {64 * KIB, 1024 * KIB - 1, 2 * MIB, 65537}};
    uint8_t *data = make_content(12 * MIB, 2);
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);

    (void)state;
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        for (size_t k = 0; k < 3; k++) {
            pqe_writer *w = start_put(v, "a", hashes[k]);
            size_t len = 0;
            pqe_set_threads(threads[(i + k) % 3]);
            for (size_t c = 0; c < 4; c++) {
                assert_pqe_ok(pqe_writer_write(w, data + len, cuts[i][c], err));
                len += cuts[i][c];
            }
            assert_pqe_ok(pqe_writer_finish(&w, NULL, err));
            get_equals(v, "a", data, len);
            assert_pqe_ok(pqe_verify(v, "a", NULL, NULL, NULL, err)); /* hash or commitment */
        }
    }
    pqe_set_threads(0);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(data);
}

typedef struct steps {
    uint64_t last, stop_at;
    unsigned calls;
    pthread_t thread;
} steps;

static bool
step(void *user, uint64_t bytes)
{
    steps *s = user;

    assert_true(pthread_equal(s->thread, pthread_self()));
    assert_true(bytes >= s->last || s->stop_at != 0);
    s->calls++;
    s->last = bytes;
    return s->stop_at == 0 || bytes < s->stop_at;
}

static void
test_from_file(void **state)
{
    static const size_t lengths[] = {0, 1, 70000, MIB, 3 * MIB + 5, 12 * MIB};
    uint8_t *data = make_content(12 * MIB + 100, 3);
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (size_t k = 0; k < 3; k++) {
            for (size_t before = 0; before <= 100; before += 100) { /* written by hand, and skipped in the file */
                int fd = memory_file(data, before + lengths[i]);
                steps s = {.thread = pthread_self()};
                pqe_writer *w = start_put(v, "a", hashes[k]);
                pqe_set_threads(threads[(i + k) % 3]);
                assert_pqe_ok(pqe_writer_write(w, data, before, err));
                assert_int_equal(lseek(fd, (off_t)before, SEEK_SET), before);
                assert_pqe_ok(pqe_writer_from_file(w, fd, step, &s, err));
                assert_int_equal(lseek(fd, 0, SEEK_CUR), before + lengths[i]);
                assert_int_equal(s.last, before + lengths[i]);
                assert_pqe_ok(pqe_writer_finish(&w, NULL, err));
                get_equals(v, "a", data, before + lengths[i]);
                assert_pqe_ok(pqe_verify(v, "a", NULL, NULL, NULL, err));
                close(fd);
            }
        }
    }
    pqe_set_threads(0);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(data);
}

static void
test_stopped(void **state)
{
    uint8_t *data = make_content(8 * MIB, 3);
    int fd = memory_file(data, 8 * MIB), out = memfd_create("test", MFD_CLOEXEC);
    steps s = {.thread = pthread_self(), .stop_at = 2 * MIB};
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    pqe_writer *w;
    pqe_reader *r = NULL;

    (void)state;
    for (size_t k = 0; k < 3; k++) {
        pqe_set_threads(threads[k]);
        w = start_put(v, "a", hashes[k]);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_int_equal(pqe_writer_from_file(w, fd, step, &s, NULL), PQE_E_CANCELLED);
        assert_int_equal(pqe_writer_write(w, "x", 1, NULL), PQE_E_STATE);
        pqe_writer_abort(&w);
        assert_int_equal(get_status(v, "a"), PQE_E_NOT_FOUND);
        put_ok(v, "b", data, 8 * MIB);
        assert_pqe_ok(pqe_reader_open(v, "b", &r, err));
        assert_int_equal(pqe_reader_to_file(r, out, step, &s, NULL), PQE_E_CANCELLED);
        pqe_reader_close(&r);
    }
    pqe_set_threads(0);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    close(fd);
    close(out);
    free(data);
}

static void
test_wrong_descriptors(void **state)
{
    uint8_t *data = make_content(2 * MIB, 3);
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    pqe_reader *r = NULL;
    pqe_writer *w = start_put(v, "b", NULL);
    int null = open("/dev/null", O_RDWR), ends[2], fd = memory_file(data, 10);

    (void)state;
    put_ok(v, "a", data, 2 * MIB);
    assert_int_equal(pipe(ends), 0);
    assert_pqe_ok(pqe_reader_open(v, "a", &r, err));
    assert_int_equal(pqe_reader_to_file(NULL, fd, NULL, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_reader_to_file(r, null, NULL, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_reader_to_file(r, ends[1], NULL, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_reader_to_file(r, -1, NULL, NULL, NULL), PQE_E_IO);
    assert_int_equal(fcntl(fd, F_SETFL, O_APPEND), 0);
    assert_int_equal(pqe_reader_to_file(r, fd, NULL, NULL, NULL), PQE_E_ARGUMENT);
    assert_file_is(fd, data, 10);
    assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
    assert_int_equal(lseek(fd, 10, SEEK_SET), 10); /* at the file's position, and the reader's */
    assert_pqe_ok(pqe_reader_read(r, data, 10, &(size_t){0}, err));
    assert_pqe_ok(pqe_reader_to_file(r, fd, NULL, NULL, err));
    assert_file_is(fd, data, 2 * MIB);
    assert_int_equal(pqe_writer_from_file(NULL, fd, NULL, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_writer_from_file(w, null, NULL, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_writer_from_file(w, ends[0], NULL, NULL, NULL), PQE_E_IO);
    assert_int_equal(pqe_writer_from_file(w, -1, NULL, NULL, NULL), PQE_E_IO);
    pqe_writer_abort(&w);
    pqe_reader_close(&r);
    pqe_vault_lock(v);
    close(null);
    close(ends[0]);
    close(ends[1]);
    close(fd);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(data);
}

/* ---- damage ---- */

static char found_body[256];

static int
note_body(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)ftw;
    if (type == FTW_F && st->st_size > 65536)
        snprintf(found_body, sizeof found_body, "%s", path);
    return 0;
}

static void
flip(const char *path, uint64_t offset)
{
    int fd = open(path, O_RDWR);
    uint8_t byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

/* A flipped byte in any chunk of a parallel read: nothing is given out, the whole buffer is wiped, nothing else is
 * touched, and the same reader goes on once the byte is back. (A new reader for each chunk: one may keep what it has
 * loaded.) */
static void
test_every_chunk(void **state)
{
    const size_t len = 3 * MIB + 5000, chunks = len / CHUNK + 1;
    char *dir = scratch_make();
    uint8_t *data = make_content(len, 5), *buf = malloc(len + 16);
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
    pqe_reader *r = NULL;
    void *content;
    size_t got;

    (void)state;
    put_ok(v, "a", data, len);
    nftw(scratch_path(dir, "vault/bodies"), note_body, 8, FTW_PHYS);
    for (size_t i = 0; i < chunks; i++) {
        uint64_t at = PQE__BODY_HEADER + i * PQE__BODY_CHUNK_STORED + (i * 37) % 5000;
        int out = memfd_create("test", MFD_CLOEXEC);
        assert_pqe_ok(pqe_reader_open(v, "a", &r, err));
        flip(found_body, at);
        pqe_set_threads(threads[i % 3]);
        memset(buf, 0x55, len + 16);
        got = 1;
        assert_int_equal(pqe_reader_read_at(r, 0, buf, len, &got, NULL), PQE_E_DECRYPTION);
        assert_int_equal(got, 0);
        assert_true(all_are(buf, len, 0));
        assert_true(all_are(buf + len, 16, 0x55));
        content = &got;
        assert_int_equal(pqe_get(v, "a", &content, &got, NULL, NULL), PQE_E_DECRYPTION);
        assert_null(content);
        assert_int_equal(pqe_reader_to_file(r, out, NULL, NULL, NULL), PQE_E_DECRYPTION);
        assert_int_equal(lseek(out, 0, SEEK_CUR), 0);
        close(out);
        flip(found_body, at);
        if (i % 20 == 0) {
            assert_pqe_ok(pqe_reader_read_at(r, 0, buf, len, &got, err));
            assert_memory_equal(buf, data, len);
        }
        pqe_reader_close(&r);
    }
    pqe_set_threads(0);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(buf);
    free(data);
    scratch_remove(dir);
}

/* Cut short under an open reader: an error, no signal. */
static void
test_truncated_under_our_feet(void **state)
{
    const size_t len = 6 * MIB;
    char *dir = scratch_make();
    uint8_t *data = make_content(len, 5), *buf = malloc(len);
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
    pqe_reader *r = NULL;
    size_t got;

    (void)state;
    put_ok(v, "a", data, len);
    nftw(scratch_path(dir, "vault/bodies"), note_body, 8, FTW_PHYS);
    for (size_t i = 0; i < 3; i++) {
        pqe_set_threads(threads[i]);
        assert_pqe_ok(pqe_reader_open(v, "a", &r, err));
        if (i == 0)
            assert_int_equal(truncate(found_body, 3 * MIB), 0);
        memset(buf, 0x55, len);
        if (i == 0) {
            assert_int_equal(pqe_reader_read_at(r, 0, buf, len, &got, NULL), PQE_E_DECRYPTION);
            assert_true(all_are(buf, len, 0));
            pqe_reader_close(&r);
            put_ok(v, "a", data, len);
            nftw(scratch_path(dir, "vault/bodies"), note_body, 8, FTW_PHYS);
            continue;
        }
        assert_int_equal(truncate(found_body, (off_t)(i * MIB)), 0);
        assert_int_equal(pqe_reader_read_at(r, 0, buf, len, &got, NULL), PQE_E_DECRYPTION);
        assert_true(all_are(buf, len, 0));
        pqe_reader_close(&r);
        put_ok(v, "a", data, len);
        nftw(scratch_path(dir, "vault/bodies"), note_body, 8, FTW_PHYS);
    }
    pqe_set_threads(0);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(buf);
    free(data);
    scratch_remove(dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_from_file),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_wrong_descriptors),
        cmocka_unit_test(test_every_chunk),
        cmocka_unit_test(test_truncated_under_our_feet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
