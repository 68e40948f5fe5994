/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine for large artifacts, with 1, 2 and 7 threads: the same bytes and hashes whatever the number and however
 * they are cut; damage at every place of parallel batches; locks, expiry and forks while it runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "body/body.h"
#include "unit/support.h"
#include "util/pool.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define CHUNK ((size_t)PQE__BODY_CHUNK)

static const unsigned threads[] = {1, 2, 7};
static const char *const hashes[] = {"sha3-256", "parallelhash256", "deferred"};

static bool
all_are(const uint8_t *p, size_t len, uint8_t value)
{
    return len == 0 || (p[0] == value && memcmp(p, p + 1, len - 1) == 0);
}

static pqe_writer *
start_put(pqe_vault *v, const char *name, const char *hash)
{
    pqe_put_opts o = {.size = sizeof o, .name = name, .kind = PQE_KIND_MODEL_WEIGHTS, .hash = hash};
    pqe_writer *w = NULL;

    assert_pqe_ok(pqe_writer_open(v, &o, &w, err));
    return w;
}

static int
memory_file(const uint8_t *data, size_t len)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    for (size_t at = 0; at < len;) {
        ssize_t n = write(fd, data + at, len - at);
        assert_true(n > 0);
        at += (size_t)n;
    }
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void
assert_file_is(int fd, const uint8_t *data, size_t len)
{
    struct stat st;
    void *p;

    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, len);
    if (len == 0)
        return;
    p = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    assert_memory_equal(p, data, len);
    munmap(p, len);
}

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

/* ---- while it runs ---- */

typedef struct worker {
    pqe_vault *v;
    const uint8_t *data;
    uint8_t *buf;
    size_t len;
    bool writes;
    atomic_bool started;
    atomic_uint rounds;
    pqe_status status;
    bool wiped;
} worker;

/* Over and over until the session ends. */
static void *
work(void *arg)
{
    worker *w = arg;
    pqe_reader *r = NULL;
    size_t got;

    if (!w->writes && pqe_reader_open(w->v, "a", &r, NULL) != PQE_OK) { /* the session was over already */
        w->status = PQE_E_LOCKED;
        w->wiped = true;
        atomic_store(&w->started, true);
    }
    while (w->status == PQE_OK) {
        atomic_store(&w->started, true);
        if (w->writes) {
            pqe_put_opts o = {
                .size = sizeof o, .name = "b", .kind = PQE_KIND_OTHER, .hash = hashes[atomic_load(&w->rounds) % 3]};
            w->status = pqe_put(w->v, &o, w->data, w->len, NULL, NULL);
        } else {
            memset(w->buf, 0x55, w->len);
            w->status = pqe_reader_read_at(r, 0, w->buf, w->len, &got, NULL);
            w->wiped = all_are(w->buf, w->len, 0);
        }
        atomic_fetch_add(&w->rounds, 1);
    }
    pqe_reader_close(&r);
    return NULL;
}

static void
sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

/* `by_expiry`: the watcher ends the session, else pqe_vault_lock() does, at some moment of some round. */
static void
end_while_working(bool writes, bool by_expiry)
{
    const size_t len = 24 * MIB;
    char *dir = scratch_make();
    uint8_t *data = make_content(len, 7), *buf = malloc(len);
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);

    put_ok(v, "a", data, len);
    for (unsigned i = 0; i < (by_expiry ? 1u : 6u); i++) {
        worker w = {.v = v, .data = data, .buf = buf, .len = len, .writes = writes};
        pthread_t thread;
        pqe_set_threads(threads[i % 3]);
        assert_pqe_ok(pqe_vault_unlock(v, by_expiry ? 1 : 600, err));
        assert_int_equal(pthread_create(&thread, NULL, work, &w), 0);
        while (!atomic_load(&w.started))
            sleep_ms(1);
        if (!by_expiry) {
            sleep_ms(3 + 4 * i);
            pqe_vault_lock(v);
        }
        pthread_join(thread, NULL);
        assert_false(pqe_vault_is_unlocked(v));
        assert_int_equal(w.status, PQE_E_LOCKED);
        if (!writes)
            assert_true(w.wiped);
        assert_pqe_ok(pqe_vault_unlock(v, 600, err));
        get_equals(v, "a", data, len);
        assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, NULL, err));
    }
    pqe_set_threads(0);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(buf);
    free(data);
    scratch_remove(dir);
}

static void
test_lock_while_reading(void **state)
{
    (void)state;
    end_while_working(false, false);
}

static void
test_lock_while_writing(void **state)
{
    (void)state;
    end_while_working(true, false);
}

static void
test_expiry_while_reading(void **state)
{
    (void)state;
    end_while_working(false, true);
}

static void
test_expiry_while_writing(void **state)
{
    (void)state;
    end_while_working(true, true);
}

/* A child forked while helpers live, and at work, has a pool of its own and the parent keeps its own. */
static void
test_fork(void **state)
{
#if defined(__SANITIZE_THREAD__)
    (void)state;
    skip(); /* ThreadSanitizer knows no threads of a child that was forked while there were others */
#else
    const size_t len = 8 * MIB;
    char *dir = scratch_make();
    uint8_t *data = make_content(len, 7), *buf = malloc(len);
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
    worker w = {.v = v, .buf = buf, .len = len};
    pthread_t thread;

    (void)state;
    pqe_set_threads(3);
    put_ok(v, "a", data, len);
    assert_pqe_ok(pqe_vault_unlock(v, 600, err));
    assert_int_equal(pthread_create(&thread, NULL, work, &w), 0);
    while (!atomic_load(&w.started)) /* SQLite's own locks do not survive a fork while another thread is in them */
        sleep_ms(1);
    for (int i = 0; i < 8; i++) {
        int status;
        pid_t child;
        sleep_ms(i);
        child = fork();
        if (child == 0) {
            pqe_backend *own = backend_memory();
            pqe_vault *fresh = vault_create(NULL, own);
            void *content = NULL;
            size_t got;
            alarm(60);
            if (pqe_get(v, "a", &content, &got, NULL, NULL) != PQE_E_LOCKED)
                _exit(1);
            put_ok(fresh, "x", data, len);
            get_equals(fresh, "x", data, len);
            pqe_vault_close(&fresh);
            pqe_backend_close(&own);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    pqe_vault_lock(v);
    pthread_join(thread, NULL);
    assert_int_equal(w.status, PQE_E_LOCKED);
    assert_pqe_ok(pqe_vault_unlock(v, 600, err));
    get_equals(v, "a", data, len);
    pqe_set_threads(0);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(buf);
    free(data);
    scratch_remove(dir);
#endif
}

/* Several threads with large jobs of their own at once. */
static void *
put_and_get(void *arg)
{
    worker *w = arg;
    char name[32];

    snprintf(name, sizeof name, "%p", arg);
    for (int i = 0; i < 3; i++) {
        put_ok(w->v, name, w->data, w->len);
        get_equals(w->v, name, w->data, w->len);
    }
    return NULL;
}

static void
test_many_jobs(void **state)
{
    const size_t len = 5 * MIB + 3;
    uint8_t *data = make_content(len, 7);
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    worker w[4];
    pthread_t started[4];

    (void)state;
    pqe_set_threads(3);
    for (size_t i = 0; i < 4; i++) {
        w[i] = (worker){.v = v, .data = data, .len = len};
        assert_int_equal(pthread_create(&started[i], NULL, put_and_get, &w[i]), 0);
    }
    for (unsigned i = 0; i < 20; i++) { /* and the pool changes its size meanwhile */
        pqe_set_threads(1 + i % 7);
        sleep_ms(5);
    }
    for (size_t i = 0; i < 4; i++)
        pthread_join(started[i], NULL);
    assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, NULL, err));
    pqe_set_threads(0);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(data);
}

/* ---- the pool ---- */

typedef struct counting {
    atomic_uint next, done, threads;
    unsigned total;
    bool signals;
    pthread_t self;
} counting;

static void
count(void *arg)
{
    counting *c = arg;
    sigset_t set;

    atomic_fetch_add(&c->threads, 1);
    while (atomic_fetch_add(&c->next, 1) < c->total) {
        sleep_ms(1);
        atomic_fetch_add(&c->done, 1);
    }
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    if (sigismember(&set, SIGTERM) == 0 && !pthread_equal(c->self, pthread_self()))
        c->signals = true;
}

static void
test_pool(void **state)
{
    counting job;

    (void)state;
    for (unsigned n = 1; n <= 9; n++) {
        memset(&job, 0, sizeof job);
        job.self = pthread_self();
        job.total = 40;
        pqe_set_threads(n);
        assert_int_equal(pqe_threads(), n);
        pqe__pool_run(count, &job, n);
        assert_int_equal(job.done, 40);
        assert_in_range(job.threads, 1, n);
        assert_false(job.signals); /* helpers take none of the application's */
    }
    pqe_set_threads(1000000);
    assert_int_equal(pqe_threads(), PQE__THREADS_MAX);
    pqe_set_threads(0);
    assert_true(pqe_threads() >= 1);
}

static unsigned
threads_alive(void)
{
    unsigned count_of = 0;
    char line[128];
    FILE *f = fopen("/proc/self/status", "r");

    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "Threads: %u", &count_of) == 1)
            break;
    fclose(f);
    return count_of;
}

/* In a process of its own: small artifacts start no helper, large ones do, and fewer threads end the surplus. */
static void
test_started_lazily(void **state)
{
    uint8_t *data = make_content(4 * MIB, 1);
    int status;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        pqe_backend *b = backend_memory();
        pqe_vault *v = vault_create(NULL, b);
        unsigned before = threads_alive();
        pqe_set_threads(4);
        put_ok(v, "a", data, MIB - 1);
        get_equals(v, "a", data, MIB - 1);
        if (threads_alive() != before)
            _exit(1);
        put_ok(v, "a", data, 4 * MIB);
        get_equals(v, "a", data, 4 * MIB);
        if (threads_alive() <= before || threads_alive() > before + 3)
            _exit(2);
        pqe_set_threads(1);
        for (int i = 0; i < 2000 && threads_alive() != before; i++)
            sleep_ms(1);
        _exit(threads_alive() == before ? 0 : 3);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    free(data);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_started_lazily), /* first: before there are helpers */
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_from_file),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_wrong_descriptors),
        cmocka_unit_test(test_every_chunk),
        cmocka_unit_test(test_truncated_under_our_feet),
        cmocka_unit_test(test_lock_while_reading),
        cmocka_unit_test(test_lock_while_writing),
        cmocka_unit_test(test_expiry_while_reading),
        cmocka_unit_test(test_expiry_while_writing),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_many_jobs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
