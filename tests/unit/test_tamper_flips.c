/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One byte at a time: of index.db, of a write-ahead log, of body files. Some bit pattern for each, others for its
 * neighbours. The short form takes a stride through each file and every byte of its headers; the long form (PQE_BEDS=1)
 * a short one, and every byte of index.db that holds something.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "body/body.h"
#include "unit/test_tamper_support.h"

#define WORKERS_MAX 8
#define HANG_SECONDS 120u /* an alarm of its own for each probe: a hang kills the worker */
#define PAGE 4096u

static const uint8_t patterns[] = {0x01, 0x80, 0xff};
#define PATTERNS (sizeof patterns / sizeof patterns[0])

static bed the_bed;

/* Counts of all workers, in shared memory. */
typedef struct tally {
    unsigned probes, noticed, older;
} tally;

typedef struct snapshot {
    uint8_t *data;
    size_t len;
} snapshot;

typedef struct job {
    const char *source; /* the directory that is damaged, by name of its copy */
    const char *file;   /* the file whose bytes are flipped */
    unsigned flags;
    size_t change_every;
    const uint8_t *wanted; /* 1: flip this byte */
    snapshot index, wal;
    tally *tally; /* one a worker */
} job;

/* ---- one flip ---- */

static void
put_back(const char *dir, const job *j)
{
    const char *shm = scratch_path(dir, "index.db-shm"), *wal = scratch_path(dir, "index.db-wal");

    unlink(shm);
    unlink(wal);
    unlink(scratch_path(dir, "index.db-journal"));
    file_write(scratch_path(dir, "index.db"), j->index.data, j->index.len);
    if (j->wal.data != NULL)
        file_write(wal, j->wal.data, j->wal.len);
}

static bool
flip_and_probe(const char *dir, pqe_backend *backend, const job *j, size_t at, uint8_t pattern, unsigned flags,
               tally *t)
{
    const snapshot *whole = strcmp(j->file, "index.db") == 0 ? &j->index : &j->wal;
    uint8_t byte = whole->data[at] ^ pattern;
    probe_result r;
    int fd;
    bool ok;

    put_back(dir, j);
    fd = open(scratch_path(dir, j->file), O_WRONLY | O_CLOEXEC);
    ok = fd >= 0 && pwrite(fd, &byte, 1, (off_t)at) == 1;
    close(fd);
    alarm(HANG_SECONDS);
    ok = ok && bed_probe(&the_bed, backend, dir, flags, &r);
    alarm(0);
    t->probes++;
    t->noticed += ok && r.noticed;
    t->older += ok && r.open == PQE_OK && r.generation < the_bed.states[the_bed.state_count - 1].generation;
    if (!ok)
        fprintf(stderr, "... with byte %zu of %s XOR 0x%02x\n", at, j->file, pattern);
    return ok;
}

/* Takes every workers-th of the wanted bytes. */
static bool
work(const job *j, size_t worker, size_t workers)
{
    const snapshot *whole = strcmp(j->file, "index.db") == 0 ? &j->index : &j->wal;
    char name[32];
    const char *dir;
    pqe_backend *backend = bed_backend(&the_bed);
    size_t seen = 0;
    bool ok = true;

    snprintf(name, sizeof name, "w%zu", worker);
    dir = strdup(scratch_path(the_bed.scratch, name));
    scratch_copy(j->source, dir);
    for (size_t at = 0; at < whole->len && ok; at++) {
        if (!j->wanted[at] || seen++ % workers != worker)
            continue;
        unsigned flags = j->flags;
        if (seen / workers % j->change_every == 0)
            flags |= PROBE_CHANGE;
        if (seen / workers % 4 == 0)
            flags |= PROBE_VERIFY;
        ok = flip_and_probe(dir, backend, j, at, patterns[seen / workers % PATTERNS], flags, &j->tally[worker]);
    }
    pqe_backend_close(&backend);
    free((void *)(uintptr_t)dir);
    return ok;
}

/* Runs the job in one process a core; a crash or a hang of any is a failure. */
static void
run_job(job *j, tally *sum)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t workers = cores < 1 ? 1 : cores > WORKERS_MAX ? WORKERS_MAX : (size_t)cores;
    pid_t children[WORKERS_MAX];
    bool ok = true;

    j->tally = mmap(NULL, WORKERS_MAX * sizeof *j->tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(j->tally != MAP_FAILED);
    fflush(NULL);
    for (size_t i = 0; i < workers; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0)
            _exit(work(j, i, workers) ? 0 : 1);
    }
    for (size_t i = 0; i < workers; i++) {
        int status = 0;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        ok = ok && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    memset(sum, 0, sizeof *sum);
    for (size_t i = 0; i < workers; i++) {
        sum->probes += j->tally[i].probes;
        sum->noticed += j->tally[i].noticed;
        sum->older += j->tally[i].older;
    }
    munmap(j->tally, WORKERS_MAX * sizeof *j->tally);
    assert_true(ok);
}

/* ---- which bytes ---- */

/* Deep inside a run of zeros: free space of a page. */
static bool
in_empty_space(const snapshot *s, size_t at)
{
    size_t from = at < 16 ? 0 : at - 16, to = at + 16 < s->len ? at + 16 : s->len;

    for (size_t i = from; i < to; i++)
        if (s->data[i] != 0)
            return false;
    return true;
}

static uint8_t *
choose_bytes(const snapshot *s, size_t short_stride, size_t long_stride)
{
    size_t stride = bed_long_form() ? long_stride : short_stride;
    uint8_t *wanted = calloc(s->len + 1, 1);

    assert_non_null(wanted);
    for (size_t at = 0; at < s->len; at++) {
        if (in_empty_space(s, at))
            wanted[at] = at % (stride * 40) == 0;
        else
            wanted[at] = at % stride == 0;
    }
    return wanted;
}

static void
test_index(void **state)
{
    job j = {.source = the_bed.clean, .file = "index.db", .change_every = 24};
    uint8_t *wanted;
    tally sum;

    (void)state;
    j.index.data = file_read(scratch_path(the_bed.clean, "index.db"), &j.index.len);
    wanted = choose_bytes(&j.index, 61, 1);
    memset(wanted, 1, 100); /* the database header, and the header of every page */
    for (size_t page = 0; page < j.index.len; page += PAGE)
        memset(wanted + page, 1, page == 0 ? 108 : 12);
    j.wanted = wanted;
    run_job(&j, &sum);
    print_message("index.db: %u flips, %u noticed\n", sum.probes, sum.noticed);
    assert_true(sum.probes > 400);
    assert_true(sum.noticed > sum.probes / 3);
    free(wanted);
    free(j.index.data);
}

/*
 * SQLite ends a write-ahead log at the first frame whose checksum is wrong, as it must after a power cut. A flipped
 * byte there takes the vault back to an earlier commit, whole; without a counter in the backend that cannot be told
 * from a crash (docs/threat-model.md). It must be exactly such a state, or an error.
 */
static void
test_write_ahead_log(void **state)
{
    job j = {.source = the_bed.wal, .file = "index.db-wal", .flags = PROBE_ANY_STATE, .change_every = 24};
    uint8_t *wanted;
    tally sum;

    (void)state;
    j.index.data = file_read(scratch_path(the_bed.wal, "index.db"), &j.index.len);
    j.wal.data = file_read(scratch_path(the_bed.wal, "index.db-wal"), &j.wal.len);
    assert_true(j.wal.len > 10 * PAGE);
    wanted = choose_bytes(&j.wal, 397, 13);
    memset(wanted, 1, 32); /* the log's header, and the header of the first frame */
    memset(wanted + 32, 1, 24);
    j.wanted = wanted;
    run_job(&j, &sum);
    print_message("index.db-wal: %u flips, %u noticed, %u went back\n", sum.probes, sum.noticed, sum.older);
    assert_true(sum.older > sum.probes / 2);
    free(wanted);
    free(j.index.data);
    free(j.wal.data);
}

/* index.db itself while a log lies beside it that holds newer pages. */
static void
test_index_below_a_log(void **state)
{
    job j = {.source = the_bed.wal, .file = "index.db", .change_every = 24};
    uint8_t *wanted;
    tally sum;

    (void)state;
    j.index.data = file_read(scratch_path(the_bed.wal, "index.db"), &j.index.len);
    j.wal.data = file_read(scratch_path(the_bed.wal, "index.db-wal"), &j.wal.len);
    wanted = choose_bytes(&j.index, 199, 13);
    j.wanted = wanted;
    run_job(&j, &sum);
    print_message("index.db below index.db-wal: %u flips, %u noticed\n", sum.probes, sum.noticed);
    assert_true(sum.noticed > 0);
    free(wanted);
    free(j.index.data);
    free(j.wal.data);
}

/* ---- bodies ---- */

/* Reads in small pieces: every piece that is handed out must be right, and the end must not be reached. */
static void
stream_is_right_until_it_fails(pqe_vault *v, const bed_item *it)
{
    uint8_t buf[5000];
    size_t at = 0, got = 0;
    pqe_reader *r = NULL;
    pqe_status status = pqe_reader_open(v, it->name, &r, NULL);

    while (status == PQE_OK) {
        status = pqe_reader_read(r, buf, sizeof buf, &got, NULL);
        if (status != PQE_OK)
            break;
        assert_true(got > 0 && got <= it->len - at);
        assert_memory_equal(buf, it->content + at, got);
        at += got;
    }
    assert_int_equal(status, PQE_E_DECRYPTION);
    pqe_reader_close(&r);
}

static void
body_is_refused(pqe_vault *v, int item)
{
    assert_int_equal(get_status(v, the_bed.items[item].name), PQE_E_DECRYPTION);
    stream_is_right_until_it_fails(v, &the_bed.items[item]);
}

static void
test_body_bytes(void **state)
{
    const bed_item *it = &the_bed.items[ITEM_FILE_A];
    pqe_backend *backend = bed_backend(&the_bed);
    size_t len, stride = bed_long_form() ? 13 : 601;
    uint8_t *body;
    const char *path;
    pqe_vault *v;

    (void)state;
    bed_restore(&the_bed);
    path = strdup(bed_body(&the_bed, ITEM_FILE_A));
    body = file_read(path, &len);
    v = vault_open(the_bed.dir, backend);
    for (size_t at = 0; at < len; at++) {
        size_t in_chunk = at < PQE__BODY_HEADER ? 0 : (at - PQE__BODY_HEADER) % PQE__BODY_CHUNK_STORED;
        bool edge = at < PQE__BODY_HEADER ? at % 8 == 0 : in_chunk == 0 || in_chunk == PQE__BODY_CHUNK;
        if (!edge && at % stride != 0 && at + 1 != len)
            continue;
        body[at] ^= patterns[at % PATTERNS];
        file_write(path, body, len);
        body_is_refused(v, ITEM_FILE_A);
        body[at] ^= patterns[at % PATTERNS];
    }
    file_write(path, body, len);
    get_equals(v, it->name, it->content, it->len);
    pqe_vault_close(&v);
    pqe_backend_close(&backend);
    free(body);
    free((void *)(uintptr_t)path);
}

static void
test_body_lengths(void **state)
{
    const size_t chunk = PQE__BODY_CHUNK_STORED;
    pqe_backend *backend = bed_backend(&the_bed);
    size_t len;
    uint8_t *body;
    const char *path;
    pqe_vault *v;

    (void)state;
    bed_restore(&the_bed);
    path = strdup(bed_body(&the_bed, ITEM_FILE_A));
    body = file_read(path, &len);
    body = realloc(body, 2 * len);
    assert_non_null(body);
    memcpy(body + len, body, len);
    v = vault_open(the_bed.dir, backend);
    {
        const size_t lengths[] = {0,
                                  1,
                                  24,
                                  55,
                                  56,
                                  57,
                                  71,
                                  72,
                                  73,
                                  56 + chunk,
                                  56 + 2 * chunk,
                                  56 + 4 * chunk,
                                  56 + 4 * chunk + 16,
                                  len - chunk,
                                  len - 17,
                                  len - 16,
                                  len - 1,
                                  len + 1,
                                  len + 16,
                                  len + chunk,
                                  2 * len};
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            file_write(path, body, lengths[i]);
            body_is_refused(v, ITEM_FILE_A);
        }
    }
    /* Chunks swapped, repeated, the last one moved forward: the length stays. */
    memmove(body + 56, body + 56 + chunk, chunk);
    file_write(path, body, len);
    body_is_refused(v, ITEM_FILE_A);
    memcpy(body + 56 + chunk, body + len + 56, chunk);
    file_write(path, body, len);
    body_is_refused(v, ITEM_FILE_A);
    pqe_vault_close(&v);
    pqe_backend_close(&backend);
    free(body);
    free((void *)(uintptr_t)path);
}

/* Two bodies of equal length change places; one stands for both; the whole probe stays right about the others. */
static void
test_body_swaps(void **state)
{
    const char *a, *b;
    uint8_t *body_a, *body_b;
    size_t len_a, len_b;
    probe_result r;

    (void)state;
    bed_restore(&the_bed);
    a = bed_body(&the_bed, ITEM_FILE_A);
    b = bed_body(&the_bed, ITEM_FILE_B);
    body_a = file_read(a, &len_a);
    body_b = file_read(b, &len_b);
    assert_int_equal(len_a, len_b);
    file_write(a, body_b, len_b);
    file_write(b, body_a, len_a);
    r = bed_ask(&the_bed, PROBE_VERIFY);
    for (int i = 0; i < ITEMS; i++)
        assert_int_equal(r.get[i], i == ITEM_FILE_A || i == ITEM_FILE_B ? PQE_E_DECRYPTION : PQE_OK);
    assert_int_equal(r.verify, PQE_E_DECRYPTION);
    file_write(a, body_a, len_a);
    file_write(b, body_a, len_a);
    r = bed_ask(&the_bed, PROBE_VERIFY);
    for (int i = 0; i < ITEMS; i++)
        assert_int_equal(r.get[i], i == ITEM_FILE_B ? PQE_E_DECRYPTION : PQE_OK);
    file_write(b, body_b, len_b);
    r = bed_ask(&the_bed, PROBE_VERIFY);
    assert_false(r.noticed);
    free(body_a);
    free(body_b);
}

static int
make(void **state)
{
    (void)state;
    bed_make(&the_bed);
    return 0;
}

static int
drop(void **state)
{
    (void)state;
    bed_free(&the_bed);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_write_ahead_log),
        cmocka_unit_test(test_index_below_a_log),
        cmocka_unit_test(test_body_bytes),
        cmocka_unit_test(test_body_lengths),
        cmocka_unit_test(test_body_swaps),
    };

    return cmocka_run_group_tests(tests, make, drop);
}
