/* SPDX-License-Identifier: Apache-2.0 */
/* Ciphertext read as it is stored: pqe_reader_read_stored_at(). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/support.h"

static const size_t sizes[] = {0, 1, 16384, 65000, 65481, 300000};
#define SIZES (sizeof sizes / sizeof sizes[0])

/* The only file in bodies/, found by the shell's pattern. */
static uint8_t *
read_only_body(const char *vault, size_t *len)
{
    char command[512];
    uint8_t *bytes = malloc((size_t)1 << 20);
    FILE *f;

    snprintf(command, sizeof command, "cat %s/bodies/[0-9a-f]*/*", vault);
    f = popen(command, "r");
    assert_non_null(f);
    *len = fread(bytes, 1, (size_t)1 << 20, f);
    assert_int_equal(pclose(f), 0);
    return bytes;
}

static uint8_t *
read_stored(pqe_reader *r, size_t step, size_t *total)
{
    size_t size = (size_t)pqe_reader_artifact(r)->stored_bytes, got;
    uint8_t *bytes = malloc(size + 1);

    *total = 0;
    do {
        size_t room = size + 1 - *total;
        assert_pqe_ok(pqe_reader_read_stored_at(r, *total, bytes + *total, room < step ? room : step, &got, err));
        *total += got;
    } while (got != 0);
    assert_int_equal(*total, size);
    return bytes;
}

/* What comes out has the length of the format, and does not hold the plaintext. */
static void
test_every_size(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);

    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        uint8_t *content = make_content(sizes[i], (uint32_t)i), *one, *other;
        size_t one_len, other_len;
        pqe_reader *r = NULL;
        put_ok(v, "a", content, sizes[i]);
        assert_pqe_ok(pqe_reader_open(v, "a", &r, err));
        one = read_stored(r, 1000000, &one_len);
        other = read_stored(r, 997, &other_len);
        assert_int_equal(one_len, 56 + sizes[i] + 16 * (sizes[i] / 16384 + 1));
        assert_int_equal(one_len, other_len);
        assert_memory_equal(one, other, one_len);
        if (sizes[i] >= 16)
            assert_null(memmem(one, one_len, content, 16));
        pqe_reader_close(&r);
        free(one);
        free(other);
        free(content);
    }
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

static void
test_is_the_file(void **state)
{
    char *dir = scratch_make();
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
    uint8_t *content = make_content(300000, 1), *file, *stored;
    size_t file_len, stored_len;
    pqe_reader *r = NULL;

    (void)state;
    put_ok(v, "a", content, 300000);
    assert_pqe_ok(pqe_reader_open(v, "a", &r, err));
    file = read_only_body(scratch_path(dir, "vault"), &file_len);
    stored = read_stored(r, 65536, &stored_len);
    assert_int_equal(file_len, stored_len);
    assert_memory_equal(file, stored, file_len);
    pqe_reader_close(&r);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(content);
    free(file);
    free(stored);
    scratch_remove(dir);
}

static void
test_arguments_and_ends(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    uint8_t buf[64], untouched[64];
    pqe_reader *r = NULL;
    size_t got = 7;

    (void)state;
    put_ok(v, "a", "content", 7);
    assert_pqe_ok(pqe_reader_open(v, "a", &r, err));
    assert_int_equal(pqe_reader_read_stored_at(NULL, 0, buf, 1, &got, NULL), PQE_E_ARGUMENT);
    assert_int_equal(got, 0);
    assert_int_equal(pqe_reader_read_stored_at(r, 0, NULL, 1, &got, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_reader_read_stored_at(r, 0, buf, 1, NULL, NULL), PQE_E_ARGUMENT);
    assert_pqe_ok(pqe_reader_read_stored_at(r, 0, NULL, 0, &got, err));
    assert_int_equal(got, 0);
    memset(buf, 0xaa, sizeof buf);
    memset(untouched, 0xaa, sizeof untouched);
    assert_pqe_ok(pqe_reader_read_stored_at(r, UINT64_MAX, buf, sizeof buf, &got, err));
    assert_int_equal(got, 0);
    assert_pqe_ok(pqe_reader_read_stored_at(r, 79, buf, sizeof buf, &got, err)); /* 56 + 7 + 16 bytes in all */
    assert_int_equal(got, 0);
    assert_memory_equal(buf, untouched, sizeof buf);
    assert_pqe_ok(pqe_reader_read_stored_at(r, 75, buf, sizeof buf, &got, err));
    assert_int_equal(got, 4);
    assert_memory_equal(buf + 4, untouched, sizeof buf - 4);

    pqe_vault_lock(v);
    assert_pqe_ok(pqe_reader_read_stored_at(r, 0, buf, sizeof buf, &got, err));
    assert_int_equal(got, sizeof buf);
    pqe_vault_close(&v);
    assert_int_equal(pqe_reader_read_stored_at(r, 0, buf, sizeof buf, &got, NULL), PQE_E_LOCKED);
    assert_int_equal(got, 0);
    pqe_reader_close(&r);
    pqe_backend_close(&b);
}

/* A body cut short under an open reader is an error, and leaves nothing in the buffer. */
static void
test_truncated(void **state)
{
    char *dir = scratch_make(), command[512];
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
    uint8_t *content = make_content(300000, 1), *buf = malloc(400000), zeros[64] = {0};
    pqe_reader *r = NULL;
    size_t got;

    (void)state;
    put_ok(v, "a", content, 300000);
    assert_pqe_ok(pqe_reader_open(v, "a", &r, err));
    snprintf(command, sizeof command, "truncate -s 1000 %s/bodies/[0-9a-f]*/*", scratch_path(dir, "vault"));
    assert_int_equal(system(command), 0);
    memset(buf, 0xaa, 400000);
    assert_int_equal(pqe_reader_read_stored_at(r, 0, buf, 400000, &got, NULL), PQE_E_DECRYPTION);
    assert_int_equal(got, 0);
    assert_memory_equal(buf, zeros, sizeof zeros);
    pqe_reader_close(&r);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(buf);
    free(content);
    scratch_remove(dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_size),
        cmocka_unit_test(test_is_the_file),
        cmocka_unit_test(test_arguments_and_ends),
        cmocka_unit_test(test_truncated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
