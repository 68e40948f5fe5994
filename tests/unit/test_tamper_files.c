/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies in the vault's directory is not what should: links, pipes and directories in the place of files, files
 * missing, cut short or grown, garbage beside them. Nothing hangs, nothing outside the vault is touched.
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
#include <sys/stat.h>
#include <unistd.h>

#include "unit/test_tamper_support.h"

#define HANG_SECONDS 60u /* a call that hangs ends the test */
#define PAGE 4096u

static bed the_bed;

static const char *
in_vault(const char *name)
{
    return scratch_path(the_bed.dir, name);
}

/* Puts something that is no regular file at `path`. */
typedef enum { LINK, LOOSE_LINK, PIPE, DIRECTORY, KINDS } odd_kind;

static void
put_odd(odd_kind kind, const char *path, const char *target)
{
    unlink(path);
    switch (kind) {
    case LINK:
        assert_int_equal(symlink(target, path), 0);
        break;
    case LOOSE_LINK:
        assert_int_equal(symlink("nowhere at all", path), 0);
        break;
    case PIPE:
        assert_int_equal(mkfifo(path, 0600), 0);
        break;
    case DIRECTORY:
        assert_int_equal(mkdir(path, 0700), 0);
        break;
    default:
        fail();
    }
}

/* ---- index.db ---- */

static void
test_index_is_no_file(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        const char *moved = scratch_path(the_bed.scratch, "moved.db");
        bed_restore(&the_bed);
        assert_int_equal(rename(in_vault("index.db"), moved), 0);
        put_odd((odd_kind)kind, in_vault("index.db"), moved);
        assert_int_equal(bed_ask(&the_bed, 0).open, PQE_E_NOT_A_VAULT);
    }
    bed_restore(&the_bed);
    assert_int_equal(unlink(in_vault("index.db")), 0);
    assert_int_equal(bed_ask(&the_bed, 0).open, PQE_E_NOT_A_VAULT);
    assert_int_equal(access(in_vault("index.db"), F_OK), -1);
}

static bool
only_zeros(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != 0)
            return false;
    return true;
}

static void
test_index_length(void **state)
{
    const size_t step = bed_long_form() ? 64 : PAGE / 2;
    uint8_t *grown;

    (void)state;
    bed_restore(&the_bed);
    for (size_t len = 0; len < the_bed.index_len; len += step) {
        bed_restore_index(&the_bed);
        file_write(in_vault("index.db"), the_bed.index, len);
        /* Zeros cut off the last page are read as zeros: nothing is lost. */
        if (bed_ask(&the_bed, PROBE_VERIFY).noticed == false)
            assert_true(only_zeros(the_bed.index + len, the_bed.index_len - len) && the_bed.index_len - len < PAGE);
    }
    bed_restore_index(&the_bed);
    file_write(in_vault("index.db"), the_bed.index, the_bed.index_len - 1);
    bed_ask(&the_bed, PROBE_VERIFY | PROBE_CHANGE);
    /* Longer: SQLite knows the length from the header, what lies behind is not its own. */
    grown = calloc(1, the_bed.index_len + 2 * PAGE);
    assert_non_null(grown);
    memcpy(grown, the_bed.index, the_bed.index_len);
    memcpy(grown + the_bed.index_len, the_bed.index + 2 * PAGE, PAGE);
    for (size_t more = 1; more <= 2 * PAGE; more += PAGE - 1) {
        bed_restore_index(&the_bed);
        file_write(in_vault("index.db"), grown, the_bed.index_len + more);
        bed_ask(&the_bed, PROBE_VERIFY | PROBE_CHANGE);
    }
    free(grown);
}

/* A page stands where another belongs. */
static void
test_index_pages(void **state)
{
    size_t pages = the_bed.index_len / PAGE;
    uint8_t *copy = malloc(the_bed.index_len);

    (void)state;
    assert_non_null(copy);
    bed_restore(&the_bed);
    for (size_t from = 0; from < pages; from++) {
        for (size_t to = 1; to < pages; to++) {
            if (from == to || (!bed_long_form() && (from + to) % 3 != 0))
                continue;
            memcpy(copy, the_bed.index, the_bed.index_len);
            memcpy(copy + to * PAGE, the_bed.index + from * PAGE, PAGE);
            bed_restore_index(&the_bed);
            file_write(in_vault("index.db"), copy, the_bed.index_len);
            bed_ask(&the_bed, 0);
        }
    }
    free(copy);
}

/* ---- beside index.db ---- */

static void
test_odd_files_beside_the_index(void **state)
{
    static const char *const names[] = {"index.db-wal", "index.db-shm", "index.db-journal"};
    static const char precious[] = "precious, and not the vault's";

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (int kind = 0; kind < KINDS; kind++) {
            const char *target = strdup(scratch_path(the_bed.scratch, "precious"));
            size_t len;
            uint8_t *now;
            file_write(target, precious, sizeof precious);
            bed_restore(&the_bed);
            put_odd((odd_kind)kind, in_vault(names[i]), target);
            alarm(HANG_SECONDS);
            bed_ask(&the_bed, PROBE_VERIFY | PROBE_CHANGE);
            alarm(0);
            now = file_read(target, &len);
            assert_int_equal(len, sizeof precious);
            assert_memory_equal(now, precious, len);
            free(now);
            free((void *)(uintptr_t)target);
        }
    }
}

static void
test_garbage_beside_the_index(void **state)
{
    static const char *const names[] = {"index.db-wal", "index.db-shm"};
    uint8_t *garbage = make_content(40000, 99), *log;
    size_t len;
    probe_result r;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        bed_restore(&the_bed);
        file_write(in_vault(names[i]), garbage, 40000);
        alarm(HANG_SECONDS);
        r = bed_ask(&the_bed, PROBE_VERIFY | PROBE_CHANGE); /* SQLite rebuilds both */
        alarm(0);
        assert_false(r.noticed);
    }
    /* The same vault's log of another time. */
    log = file_read(scratch_path(the_bed.wal, "index.db-wal"), &len);
    bed_restore(&the_bed);
    file_write(in_vault("index.db-wal"), log, len);
    bed_ask(&the_bed, PROBE_VERIFY | PROBE_ANY_STATE);
    free(log);
    free(garbage);
}

static void
put_u32(FILE *f, uint32_t v)
{
    const uint8_t bytes[] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

    assert_int_equal(fwrite(bytes, 1, sizeof bytes, f), sizeof bytes);
}

/*
 * SQLite plays a rollback journal that it finds back into the database, and where the journal names a super-journal it
 * deletes that file, wherever it is (sqlite.org/fileformat.html, "The Rollback Journal"). The index keeps a write-ahead
 * log and never has a journal: one that is there is refused before SQLite sees it.
 */
static void
write_journal(const char *super)
{
    static const uint8_t magic[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
    uint8_t rest[512 - 28] = {0};
    uint32_t sum = 0;
    FILE *f = fopen(in_vault("index.db-journal"), "wb");

    assert_non_null(f);
    for (const char *p = super; *p != '\0'; p++)
        sum += (uint32_t)(unsigned char)*p; /* as SQLite adds it up; path names of tests are ASCII */
    fwrite(magic, 1, sizeof magic, f);
    put_u32(f, 0);                                    /* pages in the journal */
    put_u32(f, 0);                                    /* nonce */
    put_u32(f, (uint32_t)(the_bed.index_len / PAGE)); /* pages of the database */
    put_u32(f, 512);                                  /* sector size */
    put_u32(f, PAGE);
    fwrite(rest, 1, sizeof rest, f);
    put_u32(f, 0x40000000u / PAGE + 1); /* the lock-byte page: never a real one */
    fwrite(super, 1, strlen(super), f);
    put_u32(f, (uint32_t)strlen(super));
    put_u32(f, sum);
    fwrite(magic, 1, sizeof magic, f);
    assert_int_equal(fclose(f), 0);
}

static void
test_journal(void **state)
{
    const char *victim = strdup(scratch_path(the_bed.scratch, "victim"));
    pqe_vault_info info;

    (void)state;
    file_write(victim, "keep me", 7);
    bed_restore(&the_bed);
    write_journal(victim);
    assert_int_not_equal(pqe_vault_peek(the_bed.dir, &info, NULL), PQE_OK);
    assert_int_equal(bed_ask(&the_bed, 0).open, PQE_E_TAMPERED);
    assert_int_equal(access(victim, F_OK), 0);
    assert_int_equal(unlink(in_vault("index.db-journal")), 0);
    assert_false(bed_ask(&the_bed, PROBE_VERIFY).noticed);
    free((void *)(uintptr_t)victim);
}

/* ---- bodies/ ---- */

static void
expect_body_gone(int item)
{
    probe_result r = bed_ask(&the_bed, PROBE_VERIFY);

    for (int i = 0; i < ITEMS; i++) {
        assert_int_equal(r.get[i], i == item ? PQE_E_TAMPERED : PQE_OK);
        assert_int_equal(r.by_name[i], PQE_OK);
    }
    assert_int_equal(r.list, PQE_OK);
    assert_int_equal(r.verify, PQE_E_TAMPERED);
}

static void
test_body_is_no_file(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        const char *moved = strdup(scratch_path(the_bed.scratch, "moved.body"));
        bed_restore(&the_bed);
        assert_int_equal(rename(bed_body(&the_bed, ITEM_FILE_A), moved), 0);
        alarm(HANG_SECONDS);
        expect_body_gone(ITEM_FILE_A);
        put_odd((odd_kind)kind, bed_body(&the_bed, ITEM_FILE_A), moved);
        expect_body_gone(ITEM_FILE_A);
        alarm(0);
        free((void *)(uintptr_t)moved);
    }
}

static void
test_bodies_directory(void **state)
{
    const char *away = strdup(scratch_path(the_bed.scratch, "bodies.away"));
    probe_result r;

    (void)state;
    bed_restore(&the_bed);
    assert_int_equal(rename(in_vault("bodies"), away), 0);
    r = bed_ask(&the_bed, 0);
    assert_int_not_equal(r.open, PQE_OK);
    for (int kind = 0; kind < KINDS; kind++) {
        put_odd((odd_kind)kind, in_vault("bodies"), away);
        alarm(HANG_SECONDS);
        r = bed_ask(&the_bed, 0);
        alarm(0);
        if (kind != DIRECTORY)
            assert_int_not_equal(r.open, PQE_OK);
        else
            assert_int_equal(r.get[ITEM_FILE_A], PQE_E_TAMPERED);
        assert_int_equal(remove(in_vault("bodies")), 0);
    }
    scratch_copy(away, in_vault("bodies"));
    r = bed_ask(&the_bed, PROBE_VERIFY);
    assert_false(r.noticed);
    scratch_remove((char *)(uintptr_t)away);
}

/* What does not belong there is an orphan, not damage. */
static void
test_garbage_in_bodies(void **state)
{
    pqe_backend *b = bed_backend(&the_bed);
    pqe_verify_summary sum;
    pqe_vault *v;

    (void)state;
    bed_restore(&the_bed);
    file_write(in_vault("bodies/loose"), "x", 1);
    assert_int_equal(mkdir(in_vault("bodies/zz"), 0700), 0);
    file_write(in_vault("bodies/zz/not hexadecimal"), "x", 1);
    file_write(in_vault("bodies/zz/00112233445566778899aabbccddeeff"), "x", 1);
    assert_int_equal(symlink("/", in_vault("bodies/yy")), 0);
    assert_int_equal(mkfifo(in_vault("bodies/xx"), 0600), 0);
    alarm(HANG_SECONDS);
    v = vault_open(the_bed.dir, b);
    assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, &sum, err));
    assert_int_equal(sum.orphans, 5);
    assert_int_equal(sum.damaged, 0);
    alarm(0);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    assert_false(bed_ask(&the_bed, PROBE_CHANGE).noticed);
}

/* ---- pending/ ---- */

/* The folder of a body is a link to somewhere else: nothing is read there, and nothing removed. */
static void
test_linked_folder(void **state)
{
    pqe_backend *b = bed_backend(&the_bed);
    const bed_item *it = &the_bed.items[ITEM_FILE_A];
    char folder[16], inside[64], *elsewhere;
    pqe_vault *v;

    (void)state;
    bed_restore(&the_bed);
    snprintf(folder, sizeof folder, "bodies/%.2s", it->file_hex);
    snprintf(inside, sizeof inside, "elsewhere/%s", it->file_hex);
    elsewhere = strdup(scratch_path(the_bed.scratch, "elsewhere"));
    assert_int_equal(rename(in_vault(folder), elsewhere), 0);
    assert_int_equal(symlink(elsewhere, in_vault(folder)), 0);
    v = vault_open(the_bed.dir, b);
    assert_int_equal(get_status(v, it->name), PQE_E_TAMPERED);
    assert_int_equal(pqe_verify(v, it->name, NULL, NULL, NULL, NULL), PQE_E_TAMPERED);
    assert_pqe_ok(pqe_delete(v, it->name, err));
    assert_int_equal(access(scratch_path(the_bed.scratch, inside), F_OK), 0);
    pqe_vault_close(&v);
    scratch_remove(elsewhere); /* it may hold another body too: folders are named by chance */
    pqe_backend_close(&b);
}

static void
test_garbage_in_pending(void **state)
{
    char longest[256], path[64];
    probe_result r;

    (void)state;
    bed_restore(&the_bed);
    memset(longest, 'n', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    file_write(scratch_path(in_vault("pending"), longest), "x", 1);
    file_write(in_vault("pending/.hidden"), "x", 1);
    file_write(in_vault("pending/short.0123456789abcdef"), "x", 1);
    file_write(in_vault("pending/zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"), "x", 1);
    file_write(in_vault("pending/zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz.0123456789abcdef"), "x", 1);
    assert_int_equal(mkdir(in_vault("pending/00112233445566778899aabbccddee00"), 0700), 0);
    assert_int_equal(mkdir(in_vault("pending/00112233445566778899aabbccddee01.0123456789abcdef"), 0700), 0);
    assert_int_equal(mkfifo(in_vault("pending/00112233445566778899aabbccddee02"), 0600), 0);
    assert_int_equal(mkfifo(in_vault("pending/00112233445566778899aabbccddee03.0123456789abcdef"), 0600), 0);
    file_write(scratch_path(the_bed.scratch, "outside"), "x", 1);
    assert_int_equal(symlink("../../outside", in_vault("pending/00112233445566778899aabbccddee04")), 0);
    assert_int_equal(symlink("../../outside", in_vault("pending/00112233445566778899aabbccddee05.0123456789abcdef")),
                     0);
    file_write(in_vault("pending/00112233445566778899AABBCCDDEE06.0123456789abcdef"), "x", 1);
    file_write(in_vault("pending/\xff\n"), "x", 1);
    /* Marks of bodies that are in use: they must stay where they are. */
    snprintf(path, sizeof path, "pending/%s.0123456789abcdef", the_bed.items[ITEM_FILE_A].file_hex);
    file_write(in_vault(path), "", 0);
    alarm(HANG_SECONDS);
    r = bed_ask(&the_bed, PROBE_VERIFY);
    assert_false(r.noticed);
    r = bed_ask(&the_bed, PROBE_CHANGE);
    alarm(0);
    assert_false(r.noticed);
    assert_int_equal(r.get[ITEM_FILE_A], PQE_OK);
    assert_int_equal(access(in_vault(path), F_OK), -1);
    assert_int_equal(access(scratch_path(the_bed.scratch, "outside"), F_OK), 0);
}

static void
test_pending_directory(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        probe_result r;
        bed_restore(&the_bed);
        assert_int_equal(rmdir(in_vault("pending")), 0);
        if (kind != DIRECTORY)
            put_odd((odd_kind)kind, in_vault("pending"), the_bed.scratch);
        alarm(HANG_SECONDS);
        r = bed_ask(&the_bed, 0);
        alarm(0);
        assert_int_not_equal(r.open, PQE_OK);
    }
}

/* Something odd has the form of a mark of a body that is to be removed, put there after unlock swept pending/: it is not
   followed, and stops nothing. */
static void
test_odd_marks(void **state)
{
    pqe_backend *b = bed_backend(&the_bed);
    const bed_item *it = &the_bed.items[ITEM_FILE_A];
    char path[64];

    (void)state;
    snprintf(path, sizeof path, "pending/%s.0123456789abcdef", it->file_hex);
    for (int kind = 0; kind < KINDS; kind++) {
        const char *target = strdup(scratch_path(the_bed.scratch, "marked"));
        pqe_vault *v;
        size_t len;
        file_write(target, "keep me", 7);
        bed_restore(&the_bed);
        v = vault_open(the_bed.dir, b);
        put_odd((odd_kind)kind, in_vault(path), target);
        alarm(HANG_SECONDS);
        assert_pqe_ok(pqe_delete(v, it->name, err));
        pqe_vault_close(&v);
        v = vault_open(the_bed.dir, b); /* sweeps again */
        alarm(0);
        assert_int_equal(get_status(v, it->name), PQE_E_NOT_FOUND);
        pqe_vault_close(&v);
        assert_int_equal(access(in_vault("nowhere at all"), F_OK), -1);
        free(file_read(target, &len));
        assert_int_equal(len, 7);
        free((void *)(uintptr_t)target);
    }
    pqe_backend_close(&b);
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
        cmocka_unit_test(test_index_is_no_file),
        cmocka_unit_test(test_index_length),
        cmocka_unit_test(test_index_pages),
        cmocka_unit_test(test_odd_files_beside_the_index),
        cmocka_unit_test(test_garbage_beside_the_index),
        cmocka_unit_test(test_journal),
        cmocka_unit_test(test_body_is_no_file),
        cmocka_unit_test(test_bodies_directory),
        cmocka_unit_test(test_garbage_in_bodies),
        cmocka_unit_test(test_linked_folder),
        cmocka_unit_test(test_garbage_in_pending),
        cmocka_unit_test(test_pending_directory),
        cmocka_unit_test(test_odd_marks),
    };

    return cmocka_run_group_tests(tests, make, drop);
}
