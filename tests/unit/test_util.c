/* SPDX-License-Identifier: Apache-2.0 */
/* Cursors, text, errors and files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "util/cursor.h"
#include "util/error.h"
#include "util/fsio.h"
#include "util/grow.h"
#include "util/text.h"

/* ---- cursors ---- */

static void
test_reader_fields(void **state)
{
    static const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18};
    pqe__rcur c = pqe__rcur_init(data, sizeof data);
    uint8_t two[2];

    (void)state;
    assert_int_equal(pqe__get_u8(&c), 0x01);
    assert_int_equal(pqe__get_u16(&c), 0x0203);
    assert_int_equal(pqe__get_u32(&c), 0x04050607);
    assert_true(pqe__get_u64(&c) == 0x08090a0b0c0d0e0fULL);
    assert_int_equal(pqe__rcur_left(&c), 3);
    assert_ptr_equal(pqe__get_bytes(&c, 1), data + 15);
    assert_false(pqe__rcur_done(&c));
    pqe__get_copy(&c, two, sizeof two);
    assert_memory_equal(two, data + 16, 2);
    assert_true(pqe__rcur_done(&c));
    assert_non_null(pqe__get_bytes(&c, 0));
    assert_true(c.ok);
}

/* One byte short of each field: the cursor fails, stays failed, and gives nothing although bytes are left. */
static void
test_reader_bounds(void **state)
{
    static const uint8_t data[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint8_t copy[4] = {1, 1, 1, 1};
    pqe__rcur c;

    (void)state;
    c = pqe__rcur_init(data, 0);
    assert_int_equal(pqe__get_u8(&c), 0);
    assert_false(c.ok);
    c = pqe__rcur_init(data, 1);
    assert_int_equal(pqe__get_u16(&c), 0);
    assert_false(c.ok);
    c = pqe__rcur_init(data, 3);
    assert_int_equal(pqe__get_u32(&c), 0);
    assert_false(c.ok);
    c = pqe__rcur_init(data, 7);
    assert_true(pqe__get_u64(&c) == 0);
    assert_false(c.ok);
    assert_int_equal(pqe__get_u8(&c), 0);
    assert_null(pqe__get_bytes(&c, 0));
    assert_int_equal(pqe__rcur_left(&c), 0);
    assert_false(pqe__rcur_done(&c));

    c = pqe__rcur_init(data, 3);
    pqe__get_copy(&c, copy, sizeof copy);
    assert_memory_equal(copy, "\0\0\0\0", 4);
    c = pqe__rcur_init(data, sizeof data);
    (void)pqe__get_u8(&c);
    assert_null(pqe__get_bytes(&c, SIZE_MAX)); /* pos + len would wrap */
    assert_false(c.ok);
}

static void
test_writer(void **state)
{
    static const uint8_t expected[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 'a', 'b'};
    uint8_t buf[sizeof expected + 1];
    pqe__wcur c = pqe__wcur_init(buf, sizeof expected);

    (void)state;
    memset(buf, 0xaa, sizeof buf);
    pqe__put_u8(&c, 0x01);
    pqe__put_u16(&c, 0x0203);
    pqe__put_u32(&c, 0x04050607);
    pqe__put_u64(&c, 0x08090a0b0c0d0e0fULL);
    pqe__put_bytes(&c, "ab", 2);
    assert_true(c.ok);
    assert_int_equal(c.pos, sizeof expected);
    pqe__put_bytes(&c, NULL, 0);
    assert_true(c.ok);
    pqe__put_u8(&c, 0x77);
    assert_false(c.ok);
    assert_memory_equal(buf, expected, sizeof expected);
    assert_int_equal(buf[sizeof expected], 0xaa);
}

/* A field that does not fit writes nothing, and nothing after it does, fitting or not. */
static void
test_writer_sticky(void **state)
{
    uint8_t buf[8];
    pqe__wcur c = pqe__wcur_init(buf, 3);

    (void)state;
    memset(buf, 0xaa, sizeof buf);
    pqe__put_u32(&c, 0);
    pqe__put_u8(&c, 0);
    pqe__put_bytes(&c, buf, SIZE_MAX);
    assert_false(c.ok);
    assert_int_equal(c.pos, 0);
    for (size_t i = 0; i < sizeof buf; i++)
        assert_int_equal(buf[i], 0xaa);
}

/* ---- text ---- */

static void
test_hex(void **state)
{
    uint8_t all[256], back[256];
    char text[513];

    (void)state;
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (uint8_t)i;
    pqe__hex_encode(all, sizeof all, text);
    assert_int_equal(strlen(text), 512);
    assert_memory_equal(text, "000102", 6);
    assert_memory_equal(text + 506, "fdfeff", 6);
    assert_true(pqe__hex_decode(text, sizeof all, back));
    assert_memory_equal(all, back, sizeof all);
    assert_true(pqe__hex_decode("aAfF", 2, back));
    assert_memory_equal(back, "\xaa\xff", 2);
    assert_true(pqe__hex_decode("", 0, back));
    pqe__hex_encode(all, 0, text);
    assert_string_equal(text, "");
    for (int c = 1; c < 256; c++) {
        const char high[] = {(char)c, '0', '\0'}, low[] = {'0', (char)c, '\0'};
        bool digit = strchr("0123456789abcdefABCDEF", c) != NULL;

        assert_int_equal(pqe__hex_decode(high, 1, back), digit);
        assert_int_equal(pqe__hex_decode(low, 1, back), digit);
    }
    assert_false(pqe__hex_decode("0", 1, back)); /* stops at the NUL */
    assert_false(pqe__hex_decode("", 1, back));
}

static size_t
utf8_encode(uint32_t c, char out[4])
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

static void
test_utf8_every_character(void **state)
{
    char text[4];

    (void)state;
    for (uint32_t c = 0; c < 0x200000; c++) {
        size_t n = utf8_encode(c, text);
        bool valid = c != 0 && c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff);

        if (pqe__utf8_valid(text, n) != valid)
            fail_msg("U+%04X: %s", (unsigned)c, valid ? "refused" : "accepted");
        for (size_t cut = 1; valid && cut < n; cut++)
            if (pqe__utf8_valid(text, cut))
                fail_msg("U+%04X: accepted when cut to %zu bytes", (unsigned)c, cut);
    }
}

static void
test_utf8_malformed(void **state)
{
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x80\x80",
                                      "\xe0\x9f\xbf",
                                      "\xf0\x80\x80\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xc3(",
                                      "\xe2\x82(",
                                      "\xf0\x9f\x98(",
                                      "\xe2(\xa1",
                                      "\xf8\x88\x80\x80\x80",
                                      "\xfe",
                                      "\xff",
                                      "ok\xc3",
                                      "\xed\xa0\x80\xed\xb0\x80"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (pqe__utf8_valid(bad[i], strlen(bad[i])))
            fail_msg("malformed string %zu was accepted", i);
    assert_true(pqe__utf8_valid("", 0));
    assert_true(pqe__utf8_valid("mod\xc3\xa8le \xe6\xa8\xa1\xe5\x9e\x8b \xf0\x9f\x98\x80", 19));
    assert_false(pqe__utf8_valid("a\0b", 3));
}

static void
test_time(void **state)
{
    static const struct {
        int64_t seconds;
        const char *text;
    } cases[] = {{0, "1970-01-01T00:00:00Z"},
                 {951782400, "2000-02-29T00:00:00Z"},
                 {1769903999, "2026-01-31T23:59:59Z"},
                 {4107542400, "2100-03-01T00:00:00Z"}, /* 2100 is no leap year */
                 {253402300799, "9999-12-31T23:59:59Z"}};
    uint64_t before = pqe__boottime_ns();
    int64_t now = pqe__walltime();
    char text[21];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(pqe__time_format(cases[i].seconds, text));
        assert_string_equal(text, cases[i].text);
    }
    assert_false(pqe__time_format(-1, text));
    assert_string_equal(text, "");
    assert_false(pqe__time_format(253402300800, text));
    assert_false(pqe__time_format(INT64_MAX, text));
    assert_true(llabs((long long)(now - (int64_t)time(NULL))) <= 1);
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    assert_true(pqe__boottime_ns() - before >= 2000000);
    assert_true(before > 0);
}

/* ---- errors ---- */

static void
test_status_table(void **state)
{
    (void)state;
    for (int i = PQE_OK; i >= PQE_E_ROLLBACK; i--) {
        const char *name = pqe_status_name((pqe_status)i);

        assert_memory_equal(name, "PQE_", 4);
        assert_string_not_equal(name, "PQE_E_?");
        assert_string_not_equal(pqe_status_text((pqe_status)i), "unknown status");
        for (int k = PQE_OK; k > i; k--) {
            assert_string_not_equal(name, pqe_status_name((pqe_status)k));
            assert_string_not_equal(pqe_status_text((pqe_status)i), pqe_status_text((pqe_status)k));
        }
    }
    assert_string_equal(pqe_status_name((pqe_status)(PQE_E_ROLLBACK - 1)), "PQE_E_?");
    assert_string_equal(pqe_status_name((pqe_status)1), "PQE_E_?");
    assert_string_equal(pqe_status_text((pqe_status)-1000), "unknown status");
    assert_string_equal(pqe_origin_name(PQE_ORIGIN_NONE), "none");
    assert_string_equal(pqe_origin_name(PQE_ORIGIN_DEVICE), "device");
    assert_string_equal(pqe_origin_name((pqe_origin)99), "unknown");
    assert_string_equal(pqe_version(), PQE_VERSION);
}

static void
test_fail(void **state)
{
    static const struct {
        int errnum;
        pqe_status status;
    } map[] = {{ENOSPC, PQE_E_NO_SPACE}, {EDQUOT, PQE_E_NO_SPACE}, {EFBIG, PQE_E_NO_SPACE}, {EROFS, PQE_E_READ_ONLY},
               {ENOMEM, PQE_E_NOMEM},    {EIO, PQE_E_IO},          {EACCES, PQE_E_IO},      {ENOENT, PQE_E_IO}};
    char text[600];
    pqe_error err;

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(pqe__fail(&err, PQE_E_LIMIT, PQE_ORIGIN_FORMAT, -7, "%s", text), PQE_E_LIMIT);
    assert_int_equal(err.status, PQE_E_LIMIT);
    assert_int_equal(err.origin, PQE_ORIGIN_FORMAT);
    assert_true(err.native == -7);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_int_equal(pqe__fail(NULL, PQE_E_BUSY, PQE_ORIGIN_INDEX, 0, "x"), PQE_E_BUSY);
    assert_int_equal(pqe__fail_nomem(&err), PQE_E_NOMEM);
    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++) {
        assert_int_equal(pqe__fail_errno(&err, map[i].errnum, "cannot try"), map[i].status);
        assert_int_equal(err.origin, PQE_ORIGIN_IO);
        assert_true(err.native == map[i].errnum);
        assert_memory_equal(err.message, "cannot try: ", 12);
        assert_true(strlen(err.message) > 12);
    }
}

/* ---- files ---- */

static void
test_file_io(void **state)
{
    uint8_t data[300000], back[300000];
    int fd = memfd_create("test", MFD_CLOEXEC), full = open("/dev/full", O_WRONLY | O_CLOEXEC), closed = -1;
    pqe_error err = {0};
    size_t got = 0;

    (void)state;
    assert_true(fd >= 0 && full >= 0);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 31 >> 3);
    assert_int_equal(pqe__write_all(fd, data, sizeof data, "cannot write", &err), PQE_OK);
    assert_int_equal(pqe__sync(fd, "cannot sync", &err), PQE_OK);
    assert_int_equal(pqe__pread_all(fd, back, sizeof back, 0, &got, "cannot read", &err), PQE_OK);
    assert_int_equal(got, sizeof back);
    assert_memory_equal(data, back, sizeof data);
    assert_int_equal(pqe__pread_all(fd, back, 100, sizeof data - 40, &got, "cannot read", &err), PQE_OK);
    assert_int_equal(got, 40);
    assert_int_equal(pqe__pread_all(fd, back, 100, sizeof data + 1, &got, "cannot read", &err), PQE_OK);
    assert_int_equal(got, 0);
    assert_true(lseek(fd, -10, SEEK_END) > 0);
    assert_int_equal(pqe__read_all(fd, back, 100, &got, "cannot read", &err), PQE_OK);
    assert_int_equal(got, 10);

    assert_int_equal(pqe__write_all(full, data, 1, "cannot write", &err), PQE_E_NO_SPACE);
    assert_int_equal(pqe__write_all(closed, data, 1, "cannot write", &err), PQE_E_IO);
    assert_int_equal(pqe__pread_all(closed, back, 1, 0, &got, "cannot read", &err), PQE_E_IO);
    assert_int_equal(got, 0);
    assert_int_equal(pqe__read_all(closed, back, 1, &got, "cannot read", &err), PQE_E_IO);
    assert_int_equal(pqe__sync(closed, "cannot sync", &err), PQE_E_IO);
    assert_true(err.native == EBADF);
    pqe__close_fd(&fd);
    pqe__close_fd(&fd);
    assert_int_equal(fd, -1);
    pqe__close_fd(&full);
}

static void *
feed_slowly(void *arg)
{
    int fd = *(int *)arg;

    for (int i = 0; i < 10; i++) {
        if (write(fd, "0123456789", 10) != 10)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    close(fd);
    return NULL;
}

/* A pipe gives less than is asked for at each read. */
static void
test_short_reads(void **state)
{
    pthread_t thread;
    char buf[200];
    size_t got = 0;
    int fd[2];

    (void)state;
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(pthread_create(&thread, NULL, feed_slowly, &fd[1]), 0);
    assert_int_equal(pqe__read_all(fd[0], buf, sizeof buf, &got, "cannot read", NULL), PQE_OK);
    pthread_join(thread, NULL);
    assert_int_equal(got, 100);
    assert_memory_equal(buf + 90, "0123456789", 10);
    close(fd[0]);
}

/* ---- arrays ---- */

static void
test_grow(void **state)
{
    size_t capacity = 0, count = 0;
    uint32_t *array = NULL;
    void *room;

    (void)state;
    for (; count < 1000; count++) {
        assert_non_null(room = pqe__grow(array, count, &capacity, sizeof *array));
        array = room;
        assert_true(capacity > count);
        array[count] = (uint32_t)count;
    }
    for (size_t i = 0; i < count; i++)
        assert_int_equal(array[i], i);
    room = array;
    assert_ptr_equal(pqe__grow(array, capacity - 1, &capacity, sizeof *array), room);
    /* What would not fit a size_t fails and changes nothing. */
    capacity = SIZE_MAX / 2 + 1;
    assert_null(pqe__grow(array, capacity, &capacity, 1));
    assert_true(capacity == SIZE_MAX / 2 + 1);
    capacity = SIZE_MAX / 8;
    assert_null(pqe__grow(array, capacity, &capacity, 8));
    assert_true(capacity == SIZE_MAX / 8);
    assert_int_equal(array[999], 999);
    free(array);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader_fields),
        cmocka_unit_test(test_reader_bounds),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_writer_sticky),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_utf8_every_character),
        cmocka_unit_test(test_utf8_malformed),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_status_table),
        cmocka_unit_test(test_fail),
        cmocka_unit_test(test_file_io),
        cmocka_unit_test(test_short_reads),
        cmocka_unit_test(test_grow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
