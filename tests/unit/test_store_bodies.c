/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Body files: made, published, removed, and what is left when a process dies between any two steps. The next writer's
 * collection must leave every body that a row names, no other one, and an empty pending/.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/internal.h"
#include "unit/support.h"
#include "util/text.h"

static const uint8_t record[] = "a sealed record", head[PQE__HEAD_TAG_SIZE] = "a head";

static pqe__store *
open_store(const char *dir)
{
    pqe__store *store = NULL;

    assert_pqe_ok(pqe__store_open(dir, false, 1000, &store, err));
    return store;
}

static char *
make_dir(char **scratch)
{
    pqe__store *store = NULL;
    char *dir;

    *scratch = scratch_make();
    dir = strdup(scratch_path(*scratch, "v"));
    assert_pqe_ok(pqe__store_create(dir, 1000, &store, err));
    assert_pqe_ok(pqe__store_publish(store, err));
    assert_pqe_ok(pqe__store_begin(store, true, err));
    assert_pqe_ok(pqe__store_put_head(store, head, sizeof head, head, err)); /* a collection writes it again */
    assert_pqe_ok(pqe__store_commit(store, err));
    pqe__store_close(&store);
    return dir;
}

static void
insert_row(pqe__store *store, const uint8_t name[PQE__ID_SIZE], int64_t *rowid)
{
    pqe__row row = {.record = record, .record_len = sizeof record};

    memcpy(row.file, name, sizeof row.file);
    assert_pqe_ok(pqe__row_insert(store, &row, err));
    *rowid = row.rowid;
}

static size_t
count_in(const char *dir, const char *name)
{
    DIR *d = opendir(scratch_path(dir, name));
    struct dirent *entry;
    size_t n = 0;

    assert_non_null(d);
    while ((entry = readdir(d)) != NULL)
        n += entry->d_name[0] != '.';
    closedir(d);
    return n;
}

static void
write_text(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static bool
body_is(pqe__store *store, const uint8_t name[PQE__ID_SIZE], const char *text)
{
    char buf[64] = {0};
    uint64_t size = 99;
    bool missing;
    int fd;

    assert_pqe_ok(pqe__body_open(store, name, &fd, &size, &missing, err));
    if (missing) {
        assert_int_equal(fd, -1);
        return false;
    }
    assert_int_equal(size, strlen(text));
    assert_int_equal(pread(fd, buf, sizeof buf, 0), (ssize_t)strlen(text));
    assert_string_equal(buf, text);
    close(fd);
    return true;
}

static bool
anything_pending(pqe__store *store)
{
    DIR *d;
    struct dirent *entry;
    bool any = false;

    if (store->pending_fd < 0)
        return false;
    d = fdopendir(openat(store->pending_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    assert_non_null(d);
    while ((entry = readdir(d)) != NULL)
        any = any || entry->d_name[0] != '.';
    closedir(d);
    return any;
}

static uint64_t
orphans(pqe__store *store)
{
    uint64_t n = 99;

    assert_pqe_ok(pqe__store_begin(store, false, err));
    assert_pqe_ok(pqe__body_count_orphans(store, &n, err));
    pqe__store_rollback(store);
    return n;
}

/* ---- without crashes ---- */

static void
put_and_remove(pqe__store *store)
{
    pqe__body_file file, dropped;
    uint8_t name[PQE__ID_SIZE], mark[PQE__MARK_SIZE];
    int64_t rowid;

    assert_pqe_ok(pqe__body_create(store, &file, err));
    assert_pqe_ok(pqe__body_create(store, &dropped, err));
    assert_memory_not_equal(file.name, dropped.name, sizeof file.name);
    memcpy(name, file.name, sizeof name);
    write_text(file.fd, "body");
    write_text(dropped.fd, "dropped");
    pqe__body_discard(store, &dropped);
    assert_int_equal(dropped.fd, -1);
    assert_pqe_ok(pqe__store_begin(store, true, err));
    assert_pqe_ok(pqe__body_publish(store, &file, err));
    insert_row(store, name, &rowid);
    assert_pqe_ok(pqe__store_commit(store, err));
    pqe__body_settle(store, &file);
    assert_int_equal(file.fd, -1);
    assert_true(body_is(store, name, "body"));
    assert_false(anything_pending(store));
    assert_int_equal(orphans(store), 0);
    /* A removal that does not come to pass, then one that does. */
    assert_pqe_ok(pqe__store_begin(store, true, err));
    assert_pqe_ok(pqe__body_mark(store, name, mark, err));
    pqe__body_unmark(store, name, mark, true);
    pqe__store_rollback(store);
    assert_true(body_is(store, name, "body"));
    assert_pqe_ok(pqe__store_begin(store, true, err));
    assert_pqe_ok(pqe__body_mark(store, name, mark, err));
    assert_pqe_ok(pqe__row_delete(store, rowid, err));
    assert_pqe_ok(pqe__store_commit(store, err));
    pqe__body_unmark(store, name, mark, false);
    assert_false(body_is(store, name, "body"));
    assert_false(anything_pending(store));
    /* Published, then the transaction fails. */
    assert_pqe_ok(pqe__body_create(store, &file, err));
    memcpy(name, file.name, sizeof name);
    write_text(file.fd, "body");
    assert_pqe_ok(pqe__store_begin(store, true, err));
    assert_pqe_ok(pqe__body_publish(store, &file, err));
    assert_true(body_is(store, name, "body"));
    pqe__body_discard(store, &file);
    pqe__store_rollback(store);
    assert_false(body_is(store, name, "body"));
    assert_false(anything_pending(store));
    assert_int_equal(orphans(store), 0);
}

static void
test_in_directory(void **state)
{
    char *scratch, *dir = make_dir(&scratch);
    pqe__store *store = open_store(dir);

    (void)state;
    put_and_remove(store);
    assert_int_equal(count_in(dir, "pending"), 0);
    pqe__store_close(&store);
    free(dir);
    scratch_remove(scratch);
}

static void
test_in_memory(void **state)
{
    pqe__store *store = NULL;

    (void)state;
    assert_pqe_ok(pqe__store_create(NULL, 1000, &store, err));
    put_and_remove(store);
    pqe__store_close(&store);
}

/* An open body stays readable when its name goes. */
static void
test_readers_keep_bodies(void **state)
{
    char *scratch, *dir = make_dir(&scratch), buf[8] = {0};
    pqe__store *stores[2] = {open_store(dir), NULL};

    (void)state;
    assert_pqe_ok(pqe__store_create(NULL, 1000, &stores[1], err));
    for (int i = 0; i < 2; i++) {
        pqe__body_file file;
        uint8_t name[PQE__ID_SIZE];
        uint64_t size;
        bool missing;
        int fd;
        assert_pqe_ok(pqe__body_create(stores[i], &file, err));
        memcpy(name, file.name, sizeof name);
        write_text(file.fd, "body");
        assert_pqe_ok(pqe__store_begin(stores[i], true, err));
        assert_pqe_ok(pqe__body_publish(stores[i], &file, err));
        assert_pqe_ok(pqe__body_open(stores[i], name, &fd, &size, &missing, err));
        pqe__body_discard(stores[i], &file);
        pqe__store_rollback(stores[i]);
        assert_false(body_is(stores[i], name, "body"));
        assert_int_equal(pread(fd, buf, sizeof buf, 0), 4);
        assert_string_equal(buf, "body");
        close(fd);
        pqe__store_close(&stores[i]);
    }
    free(dir);
    scratch_remove(scratch);
}

/* ---- crashes ---- */

enum { PUT_CREATED, PUT_WRITTEN, PUT_PUBLISHED, PUT_INSERTED, PUT_COMMITTED, PUT_SETTLED, PUT_STEPS };

/* Runs a put up to and with `last`, in a process of its own that then dies. The name goes to `out`. */
static void
die_in_put(const char *dir, int last, int out)
{
    pqe__store *store = open_store(dir);
    pqe__body_file file = {.fd = -1};
    int64_t rowid;

    for (int step = 0; step <= last; step++) {
        switch (step) {
        case PUT_CREATED:
            assert_pqe_ok(pqe__body_create(store, &file, err));
            assert_int_equal(write(out, file.name, sizeof file.name), sizeof file.name);
            break;
        case PUT_WRITTEN:
            write_text(file.fd, "body");
            break;
        case PUT_PUBLISHED:
            assert_pqe_ok(pqe__store_begin(store, true, err));
            assert_pqe_ok(pqe__body_publish(store, &file, err));
            break;
        case PUT_INSERTED:
            insert_row(store, file.name, &rowid);
            break;
        case PUT_COMMITTED:
            assert_pqe_ok(pqe__store_commit(store, err));
            break;
        default:
            pqe__body_settle(store, &file);
            break;
        }
    }
    _exit(0);
}

enum { DELETE_MARKED, DELETE_GONE, DELETE_COMMITTED, DELETE_UNMARKED, DELETE_STEPS };

static void
die_in_delete(const char *dir, int last, const uint8_t name[PQE__ID_SIZE])
{
    pqe__store *store = open_store(dir);
    uint8_t mark[PQE__MARK_SIZE];

    assert_pqe_ok(pqe__store_begin(store, true, err));
    for (int step = 0; step <= last; step++) {
        switch (step) {
        case DELETE_MARKED:
            assert_pqe_ok(pqe__body_mark(store, name, mark, err));
            break;
        case DELETE_GONE:
            assert_pqe_ok(pqe__row_delete(store, 1, err));
            break;
        case DELETE_COMMITTED:
            assert_pqe_ok(pqe__store_commit(store, err));
            break;
        default:
            pqe__body_unmark(store, name, mark, false);
            break;
        }
    }
    _exit(0);
}

static void
await(pid_t child)
{
    int status = 0;

    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* A put in a process that dies after `last`; returns the body's name. */
static void
crash_put(const char *dir, int last, uint8_t name[PQE__ID_SIZE])
{
    int fds[2];
    pid_t child;

    assert_int_equal(pipe(fds), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        die_in_put(dir, last, fds[1]);
    await(child);
    assert_int_equal(read(fds[0], name, PQE__ID_SIZE), PQE__ID_SIZE);
    close(fds[0]);
    close(fds[1]);
}

static void
assert_settled(const char *dir, const uint8_t name[PQE__ID_SIZE], bool there)
{
    pqe__store *store = open_store(dir);
    uint64_t rows;

    pqe__body_collect(store);
    assert_int_equal(body_is(store, name, "body"), there);
    assert_false(anything_pending(store));
    assert_int_equal(orphans(store), 0);
    assert_int_equal(count_in(dir, "pending"), 0);
    assert_pqe_ok(pqe__store_begin(store, false, err));
    assert_pqe_ok(pqe__row_count(store, &rows, err));
    assert_int_equal(rows, there);
    pqe__store_rollback(store);
    pqe__body_collect(store); /* nothing more happens */
    assert_int_equal(body_is(store, name, "body"), there);
    pqe__store_close(&store);
}

static void
test_crash_in_put(void **state)
{
    (void)state;
    for (int last = 0; last < PUT_STEPS; last++) {
        char *scratch, *dir = make_dir(&scratch);
        uint8_t name[PQE__ID_SIZE];
        crash_put(dir, last, name);
        assert_settled(dir, name, last >= PUT_COMMITTED);
        free(dir);
        scratch_remove(scratch);
    }
}

static void
test_crash_in_delete(void **state)
{
    (void)state;
    for (int last = 0; last < DELETE_STEPS; last++) {
        char *scratch, *dir = make_dir(&scratch);
        uint8_t name[PQE__ID_SIZE];
        pid_t child;
        crash_put(dir, PUT_SETTLED, name);
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
            die_in_delete(dir, last, name);
        await(child);
        assert_settled(dir, name, last < DELETE_COMMITTED);
        free(dir);
        scratch_remove(scratch);
    }
}

/* Inside publish: the mark is there, the body is not yet in place. And the mark of a body that is nowhere. */
static void
test_crash_in_publish(void **state)
{
    char *scratch, *dir = make_dir(&scratch), path[80], hex[2 * PQE__ID_SIZE + 1];
    uint8_t name[PQE__ID_SIZE];
    pqe__store *store;
    FILE *f;

    (void)state;
    crash_put(dir, PUT_WRITTEN, name);
    pqe__hex_encode(name, sizeof name, hex);
    snprintf(path, sizeof path, "pending/%s.0123456789abcdef", hex);
    f = fopen(scratch_path(dir, path), "wb");
    assert_non_null(f);
    fclose(f);
    f = fopen(scratch_path(dir, "pending/00112233445566778899aabbccddeeff.0123456789abcdef"), "wb");
    assert_non_null(f);
    fclose(f);
    store = open_store(dir);
    assert_true(anything_pending(store));
    pqe__store_close(&store);
    assert_settled(dir, name, false);
    free(dir);
    scratch_remove(scratch);
}

/* A file that a living process writes is left alone. */
static void
test_living_writers(void **state)
{
    char *scratch, *dir = make_dir(&scratch);
    pqe__store *a = open_store(dir), *b = open_store(dir);
    pqe__body_file file;
    uint8_t name[PQE__ID_SIZE];
    int64_t rowid;

    (void)state;
    assert_pqe_ok(pqe__body_create(a, &file, err));
    memcpy(name, file.name, sizeof name);
    write_text(file.fd, "bo");
    pqe__body_collect(b);
    assert_int_equal(count_in(dir, "pending"), 1);
    write_text(file.fd, "dy");
    assert_pqe_ok(pqe__store_begin(a, true, err));
    assert_pqe_ok(pqe__body_publish(a, &file, err));
    insert_row(a, name, &rowid);
    assert_pqe_ok(pqe__store_commit(a, err));
    pqe__body_collect(b); /* between commit and settle: the row is there, so the mark goes and the body stays */
    assert_int_equal(count_in(dir, "pending"), 0);
    pqe__body_settle(a, &file);
    assert_true(body_is(b, name, "body"));
    pqe__store_close(&a);
    pqe__store_close(&b);
    free(dir);
    scratch_remove(scratch);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_directory),        cmocka_unit_test(test_in_memory),
        cmocka_unit_test(test_readers_keep_bodies), cmocka_unit_test(test_crash_in_put),
        cmocka_unit_test(test_crash_in_delete),     cmocka_unit_test(test_crash_in_publish),
        cmocka_unit_test(test_living_writers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
