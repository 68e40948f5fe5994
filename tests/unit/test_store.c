/* SPDX-License-Identifier: Apache-2.0 */
/* The store below the vault: making and opening, transactions, head and device items, rows and secrets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store.h"
#include "unit/support.h"

static pqe__store *
make_store(const char *dir)
{
    pqe__store *store = NULL;

    assert_pqe_ok(pqe__store_create(dir, 200, &store, err));
    assert_pqe_ok(pqe__store_publish(store, err));
    return store;
}

static pqe__store *
open_store(const char *dir)
{
    pqe__store *store = NULL;

    assert_pqe_ok(pqe__store_open(dir, false, 200, &store, err));
    return store;
}

static void
begin(pqe__store *store, bool write)
{
    assert_pqe_ok(pqe__store_begin(store, write, err));
}

static void
commit(pqe__store *store)
{
    assert_pqe_ok(pqe__store_commit(store, err));
}

/* ---- create, destroy, open ---- */

static void
assert_mode(const char *dir, const char *name, mode_t mode)
{
    struct stat st;

    assert_int_equal(stat(scratch_path(dir, name), &st), 0);
    assert_int_equal(st.st_mode & 0777, mode);
}

static void
assert_absent(const char *dir, const char *name)
{
    assert_int_equal(access(scratch_path(dir, name), F_OK), -1);
}

static void
test_create(void **state)
{
    char *dir = scratch_make();
    const char *v = strdup(scratch_path(dir, "v"));
    pqe__store *store = NULL, *other = NULL;

    (void)state;
    /* Before it is published there is no index.db, and whoever looks finds no vault. */
    assert_pqe_ok(pqe__store_create(v, 200, &store, err));
    assert_mode(v, ".", 0700);
    assert_mode(v, "index.db.new", 0600);
    assert_absent(v, "index.db");
    assert_int_equal(pqe__store_open(v, false, 200, &other, NULL), PQE_E_NOT_A_VAULT);
    assert_int_equal(pqe__store_create(v, 200, &other, NULL), PQE_E_BUSY);
    assert_mode(v, "bodies", 0700);
    pqe__store_destroy(&store);
    assert_null(store);
    assert_absent(v, ".");
    store = make_store(v);
    begin(store, true);
    commit(store);
    assert_mode(v, "index.db", 0600);
    assert_mode(v, "index.db-wal", 0600);
    assert_mode(v, "bodies", 0700);
    assert_mode(v, "pending", 0700);
    assert_absent(v, "index.db.new");
    assert_int_equal(pqe__store_create(v, 200, &other, NULL), PQE_E_EXISTS);
    assert_null(other);
    assert_false(pqe__store_read_only(store));
    pqe__store_close(&store);
    free((void *)(uintptr_t)v);
    scratch_remove(dir);
}

/* A directory that was there stays, one that is not empty is left alone. */
static void
test_create_in_place(void **state)
{
    char *dir = scratch_make();
    const char *v = strdup(scratch_path(dir, "v"));
    pqe__store *store = NULL, *other = NULL;

    (void)state;
    assert_int_equal(mkdir(v, 0700), 0);
    assert_pqe_ok(pqe__store_create(v, 200, &store, err));
    pqe__store_destroy(&store);
    assert_int_equal(rmdir(v), 0); /* empty */
    assert_int_equal(mkdir(v, 0700), 0);
    assert_int_equal(mkdir(scratch_path(v, "something"), 0700), 0);
    assert_int_equal(pqe__store_create(v, 200, &other, NULL), PQE_E_EXISTS);
    assert_absent(v, "index.db.new");
    assert_int_equal(rmdir(scratch_path(v, "something")), 0);
    assert_int_equal(mkdir(scratch_path(v, "bodies"), 0700), 0);
    assert_int_equal(pqe__store_create(v, 200, &other, NULL), PQE_E_EXISTS); /* anybody's bodies/ */
    assert_int_equal(pqe__store_create(scratch_path(dir, "no/such/parent"), 200, &other, NULL), PQE_E_IO);
    free((void *)(uintptr_t)v);
    scratch_remove(dir);
}

static unsigned forgotten;

static void
forget(void *user, const uint8_t id[PQE__ID_SIZE])
{
    forgotten += memcmp(user, id, PQE__ID_SIZE) == 0;
}

/* What a maker that died leaves: closed instead of destroyed, its files are all there and its lock is not. */
static void
test_create_after_death(void **state)
{
    static const uint8_t one[PQE__ID_SIZE] = {1}, two[PQE__ID_SIZE] = {2};
    char *dir = scratch_make();
    const char *v = strdup(scratch_path(dir, "v")), *copy = strdup(scratch_path(dir, "copy"));
    char command[PATH_MAX + 64];
    pqe__store *store = NULL, *other = NULL;

    (void)state;
    assert_pqe_ok(pqe__store_create(v, 200, &store, err));
    assert_pqe_ok(pqe__store_note_maker(store, one, err));
    pqe__store_close(&store);
    assert_int_equal(pqe__store_open(v, false, 200, &other, NULL), PQE_E_NOT_A_VAULT);
    assert_int_equal(mkdir(scratch_path(v, "bodies/aa"), 0700), 0); /* somebody's file: not a left-over any more */
    assert_int_equal(pqe__store_create(v, 200, &other, NULL), PQE_E_EXISTS);
    assert_int_equal(rmdir(scratch_path(v, "bodies/aa")), 0);
    snprintf(command, sizeof command, "cp -r '%s' '%s'", v, copy);
    assert_int_equal(system(command), 0);
    /* A failed attempt before the note is settled keeps it. */
    assert_pqe_ok(pqe__store_create(v, 200, &store, err));
    pqe__store_destroy(&store);
    assert_pqe_ok(pqe__store_create(v, 200, &store, err));
    forgotten = 0;
    pqe__store_settle_notes(store, forget, (void *)(uintptr_t)one);
    assert_int_equal(forgotten, 1);
    assert_pqe_ok(pqe__store_note_maker(store, two, err));
    pqe__store_settle_notes(store, forget, (void *)(uintptr_t)two); /* not its own */
    assert_int_equal(forgotten, 1);
    assert_pqe_ok(pqe__store_publish(store, err));
    assert_int_equal(rmdir(scratch_path(v, "pending")), 0); /* nothing noted any more */
    pqe__store_close(&store);
    /* In a copy of the place nothing is forgotten: the original may have become a vault since. */
    assert_pqe_ok(pqe__store_create(copy, 200, &store, err));
    pqe__store_settle_notes(store, forget, (void *)(uintptr_t)one);
    assert_int_equal(forgotten, 1);
    pqe__store_destroy(&store);
    free((void *)(uintptr_t)v);
    free((void *)(uintptr_t)copy);
    scratch_remove(dir);
}

static void
test_open(void **state)
{
    char *dir = scratch_make();
    const char *v = strdup(scratch_path(dir, "v"));
    pqe__store *store = NULL, *reader = NULL;

    (void)state;
    assert_int_equal(pqe__store_open(v, false, 200, &store, NULL), PQE_E_NOT_A_VAULT);
    assert_null(store);
    store = make_store(v);
    pqe__store_close(&store);
    assert_null(store);
    pqe__store_close(&store);
    assert_pqe_ok(pqe__store_open(v, true, 200, &reader, err));
    assert_true(pqe__store_read_only(reader));
    begin(reader, false);
    pqe__store_rollback(reader);
    assert_int_equal(pqe__store_begin(reader, true, NULL), PQE_E_READ_ONLY);
    {
        pqe__body_file file;
        assert_int_equal(pqe__body_create(reader, &file, NULL), PQE_E_READ_ONLY);
        assert_int_equal(file.fd, -1);
    }
    pqe__store_close(&reader);
    free((void *)(uintptr_t)v);
    scratch_remove(dir);
}

/* ---- transactions ---- */

static void
put_number(pqe__store *store, uint8_t n)
{
    const uint8_t tag[PQE__HEAD_TAG_SIZE] = {n};

    assert_pqe_ok(pqe__store_put_head(store, &n, 1, tag, err));
}

static uint8_t
get_number(pqe__store *store)
{
    uint8_t bytes[PQE__HEAD_MAX], tag[PQE__HEAD_TAG_SIZE];
    size_t len;

    assert_pqe_ok(pqe__store_get_head(store, bytes, &len, tag, err));
    assert_int_equal(len, 1);
    assert_int_equal(tag[0], bytes[0]);
    return bytes[0];
}

static void
test_transactions(void **state)
{
    char *dir = scratch_make();
    const char *v = strdup(scratch_path(dir, "v"));
    pqe__store *a = make_store(v), *b = open_store(v);

    (void)state;
    begin(a, true);
    put_number(a, 1);
    commit(a);
    /* A reader keeps the state it began with while a writer goes on. */
    begin(b, false);
    assert_int_equal(get_number(b), 1);
    begin(a, true);
    put_number(a, 2);
    assert_int_equal(get_number(b), 1);
    commit(a);
    assert_int_equal(get_number(b), 1);
    pqe__store_rollback(b);
    begin(b, false);
    assert_int_equal(get_number(b), 2);
    pqe__store_rollback(b);
    /* One writer at a time; the other gives up after its wait. */
    begin(a, true);
    put_number(a, 3);
    assert_int_equal(pqe__store_begin(b, true, NULL), PQE_E_BUSY);
    pqe__store_rollback(a);
    begin(b, true);
    assert_int_equal(get_number(b), 2);
    put_number(b, 4);
    commit(b);
    begin(a, false);
    assert_int_equal(get_number(a), 4);
    pqe__store_rollback(a);
    pqe__store_rollback(a);
    /* Closing in the middle takes back. */
    begin(a, true);
    put_number(a, 5);
    pqe__store_close(&a);
    begin(b, false);
    assert_int_equal(get_number(b), 4);
    pqe__store_rollback(b);
    pqe__store_close(&b);
    a = open_store(v);
    begin(a, false);
    assert_int_equal(get_number(a), 4);
    pqe__store_close(&a);
    free((void *)(uintptr_t)v);
    scratch_remove(dir);
}

/* After the checkpoint the write-ahead log is empty: what was dropped is in no live file. */
static void
test_checkpoint(void **state)
{
    char *dir = scratch_make();
    const char *v = strdup(scratch_path(dir, "v"));
    pqe__store *store = make_store(v);
    struct stat st;

    (void)state;
    begin(store, true);
    put_number(store, 1);
    commit(store);
    assert_int_equal(stat(scratch_path(v, "index.db-wal"), &st), 0);
    assert_true(st.st_size > 0);
    pqe__store_checkpoint(store);
    assert_int_equal(stat(scratch_path(v, "index.db-wal"), &st), 0);
    assert_int_equal(st.st_size, 0);
    begin(store, false);
    assert_int_equal(get_number(store), 1);
    pqe__store_close(&store);
    free((void *)(uintptr_t)v);
    scratch_remove(dir);
}

/* A reader of an older state keeps the log from being cut off; the next commit after it has gone does that. */
static void
test_checkpoint_delayed(void **state)
{
    char *dir = scratch_make();
    const char *v = strdup(scratch_path(dir, "v"));
    pqe__store *a = make_store(v), *b = open_store(v);
    struct stat st;

    (void)state;
    begin(a, true);
    put_number(a, 1);
    commit(a);
    begin(b, false);
    assert_int_equal(get_number(b), 1);
    begin(a, true);
    put_number(a, 2);
    commit(a);
    pqe__store_checkpoint(a);
    assert_int_equal(stat(scratch_path(v, "index.db-wal"), &st), 0);
    assert_true(st.st_size > 0);
    assert_int_equal(get_number(b), 1);
    pqe__store_rollback(b);
    begin(a, true);
    put_number(a, 3);
    commit(a);
    assert_int_equal(stat(scratch_path(v, "index.db-wal"), &st), 0);
    assert_int_equal(st.st_size, 0);
    pqe__store_close(&a);
    pqe__store_close(&b);
    free((void *)(uintptr_t)v);
    scratch_remove(dir);
}

/* ---- head and items ---- */

static void
test_head_and_items(void **state)
{
    static uint8_t big[PQE__HEAD_MAX + 1], got[PQE__HEAD_MAX];
    uint8_t tag[PQE__HEAD_TAG_SIZE], item[PQE__ITEM_MAX], digest[32], other[32];
    pqe__store *store = make_store(NULL);
    size_t len = 99;

    (void)state;
    memset(big, 0x5a, sizeof big);
    memset(tag, 7, sizeof tag);
    begin(store, true);
    assert_int_equal(pqe__store_get_head(store, got, &len, tag, NULL), PQE_E_TAMPERED);
    assert_int_equal(len, 0);
    assert_pqe_ok(pqe__store_put_head(store, big, PQE__HEAD_MAX, tag, err));
    assert_pqe_ok(pqe__store_get_head(store, got, &len, tag, err));
    assert_int_equal(len, PQE__HEAD_MAX);
    assert_memory_equal(got, big, len);
    assert_pqe_ok(pqe__store_put_head(store, big, PQE__HEAD_MAX + 1, tag, err));
    assert_int_equal(pqe__store_get_head(store, got, &len, tag, NULL), PQE_E_TAMPERED);
    /* Items: each its own, missing ones are damage, the digest covers number, length and bytes of all. */
    assert_int_equal(pqe__store_get_item(store, PQE__ITEM_ROOT_SECRET, item, sizeof item, &len, NULL), PQE_E_TAMPERED);
    assert_int_equal(pqe__store_device_digest(store, digest, NULL), PQE_E_TAMPERED);
    for (int i = 1; i <= PQE__DEVICE_ITEMS; i++)
        assert_pqe_ok(pqe__store_put_item(store, (pqe__device_item)i, big, (size_t)i - 1, err));
    assert_pqe_ok(pqe__store_get_item(store, PQE__ITEM_BACKEND_NAME, item, sizeof item, &len, err));
    assert_int_equal(len, 0);
    assert_pqe_ok(pqe__store_get_item(store, PQE__ITEM_ROOT_SECRET, item, 4, &len, err));
    assert_int_equal(len, 4);
    assert_int_equal(pqe__store_get_item(store, PQE__ITEM_ROOT_SECRET, item, 3, &len, NULL), PQE_E_TAMPERED);
    assert_int_equal(len, 0);
    assert_pqe_ok(pqe__store_device_digest(store, digest, err));
    for (int i = 1; i <= PQE__DEVICE_ITEMS; i++) {
        assert_pqe_ok(pqe__store_put_item(store, (pqe__device_item)i, big, (size_t)i, err));
        assert_pqe_ok(pqe__store_device_digest(store, other, err));
        assert_memory_not_equal(digest, other, 32);
        assert_pqe_ok(pqe__store_put_item(store, (pqe__device_item)i, big, (size_t)i - 1, err));
    }
    /* A byte moves from one item to the next. */
    assert_pqe_ok(pqe__store_put_item(store, PQE__ITEM_BACKEND_STATE, big, 2, err));
    assert_pqe_ok(pqe__store_put_item(store, PQE__ITEM_VAULT_KEY, big, 1, err));
    assert_pqe_ok(pqe__store_device_digest(store, other, err));
    assert_memory_not_equal(digest, other, 32);
    pqe__store_close(&store);
}

/* ---- rows ---- */

static uint8_t record_bytes[300], body_bytes[500];

static pqe__row
make_row(bool is_inline)
{
    pqe__row row = {.is_inline = is_inline, .record = record_bytes, .record_len = sizeof record_bytes};

    for (size_t i = 0; i < sizeof record_bytes; i++)
        record_bytes[i] = (uint8_t)(i * 3);
    for (size_t i = 0; i < sizeof body_bytes; i++)
        body_bytes[i] = (uint8_t)(i * 5);
    memset(row.key_id, 1, sizeof row.key_id);
    memset(row.dek, 2, sizeof row.dek);
    if (is_inline) {
        row.body = body_bytes;
        row.body_len = sizeof body_bytes;
    } else {
        memset(row.file, 3, sizeof row.file);
    }
    assert_pqe_ok(pqe__row_digest(&row, err));
    return row;
}

static void
assert_same_row(const pqe__row *a, const pqe__row *b, bool with_body)
{
    assert_memory_equal(a->key_id, b->key_id, sizeof a->key_id);
    assert_memory_equal(a->dek, b->dek, sizeof a->dek);
    assert_memory_equal(a->file, b->file, sizeof a->file);
    assert_memory_equal(a->digest, b->digest, sizeof a->digest);
    assert_int_equal(a->is_inline, b->is_inline);
    assert_int_equal(a->record_len, b->record_len);
    assert_memory_equal(a->record, b->record, a->record_len);
    assert_int_equal(a->body_len, with_body ? b->body_len : 0);
    if (a->body_len != 0)
        assert_memory_equal(a->body, b->body, a->body_len);
}

static void
test_rows(void **state)
{
    pqe__store *store = make_store(NULL);
    pqe__row small = make_row(true), large = make_row(false), got, empty;
    uint8_t unused[PQE__ID_SIZE] = {9};
    uint64_t count = 99;
    bool in_use;

    (void)state;
    begin(store, true);
    assert_pqe_ok(pqe__row_insert(store, &small, err));
    assert_pqe_ok(pqe__row_insert(store, &large, err));
    assert_int_not_equal(small.rowid, large.rowid);
    for (int with_body = 0; with_body < 2; with_body++) {
        assert_pqe_ok(pqe__row_fetch(store, small.rowid, with_body, &got, err));
        assert_same_row(&got, &small, with_body);
        pqe__row_free(&got);
        assert_null(got.allocation);
        assert_pqe_ok(pqe__row_fetch(store, large.rowid, with_body, &got, err));
        assert_same_row(&got, &large, with_body);
        pqe__row_free(&got);
    }
    assert_pqe_ok(pqe__row_count(store, &count, err));
    assert_int_equal(count, 2);
    assert_pqe_ok(pqe__row_key_in_use(store, small.key_id, 1, &in_use, err));
    assert_true(in_use);
    assert_pqe_ok(pqe__row_key_in_use(store, unused, 1, &in_use, err));
    assert_false(in_use);
    memset(small.key_id, 8, sizeof small.key_id);
    small.record_len--;
    assert_pqe_ok(pqe__row_digest(&small, err));
    assert_pqe_ok(pqe__row_update(store, &small, err));
    assert_pqe_ok(pqe__row_fetch(store, small.rowid, true, &got, err));
    assert_same_row(&got, &small, true);
    pqe__row_free(&got);
    assert_pqe_ok(pqe__row_delete(store, small.rowid, err));
    assert_int_equal(pqe__row_fetch(store, small.rowid, true, &got, NULL), PQE_E_TAMPERED);
    assert_null(got.allocation);
    assert_null(got.record);
    /* An empty record is a row, for the vault to refuse; the largest inline body fits, a larger one does not. */
    empty = make_row(true);
    empty.record_len = 0;
    assert_pqe_ok(pqe__row_digest(&empty, err));
    assert_pqe_ok(pqe__row_insert(store, &empty, err));
    assert_pqe_ok(pqe__row_fetch(store, empty.rowid, true, &got, err));
    assert_int_equal(got.record_len, 0);
    pqe__row_free(&got);
    empty.body = calloc(1, PQE__INLINE_MAX + 1);
    for (size_t more = 0; more < 2; more++) {
        empty.body_len = PQE__INLINE_MAX + more;
        assert_pqe_ok(pqe__row_insert(store, &empty, err));
        assert_int_equal(pqe__row_fetch(store, empty.rowid, true, &got, NULL), more ? PQE_E_TAMPERED : PQE_OK);
        pqe__row_free(&got);
    }
    free((void *)(uintptr_t)empty.body);
    pqe__store_close(&store);
}

/* The digest covers all but row id and body; fields cannot trade bytes. */
static void
test_row_digest(void **state)
{
    pqe__row row = make_row(false), changed;
    uint8_t other_record[sizeof record_bytes];

    (void)state;
    for (int field = 0; field < 6; field++) {
        changed = row;
        memcpy(other_record, record_bytes, sizeof other_record);
        changed.record = other_record;
        switch (field) {
        case 0:
            changed.key_id[15] ^= 1;
            break;
        case 1:
            changed.dek[59] ^= 1;
            break;
        case 2:
            changed.file[0] ^= 1;
            break;
        case 3:
            other_record[299] ^= 1;
            break;
        case 4:
            changed.record_len--;
            break;
        default:
            changed.is_inline = true;
            break;
        }
        assert_pqe_ok(pqe__row_digest(&changed, err));
        assert_memory_not_equal(changed.digest, row.digest, sizeof row.digest);
    }
    changed = row;
    changed.rowid = 77;
    changed.body = body_bytes;
    changed.body_len = 10;
    assert_pqe_ok(pqe__row_digest(&changed, err));
    assert_memory_equal(changed.digest, row.digest, sizeof row.digest);
}

static void
test_secrets(void **state)
{
    pqe__store *store = make_store(NULL);
    pqe__secret_row a = {.key_id = {1}, .sealed = {2}, .sealed_len = PQE__SEALED_SECRET_SIZE};
    pqe__secret_row b = {.key_id = {3}, .sealed = {4}, .sealed_len = 2 * PQE__SEALED_SECRET_SIZE}, got;

    (void)state;
    begin(store, true);
    assert_pqe_ok(pqe__secret_digest(&a, err));
    assert_pqe_ok(pqe__secret_digest(&b, err));
    assert_memory_not_equal(a.digest, b.digest, 32);
    assert_pqe_ok(pqe__secret_insert(store, &a, err));
    assert_pqe_ok(pqe__secret_insert(store, &b, err));
    /* Counted or not: without a row there is no use, and every row is looked at before that is said against the count. */
    for (int64_t uses = 0; uses < 3; uses++) {
        bool in_use = true;
        assert_pqe_ok(pqe__row_key_in_use(store, a.key_id, a.rowid, &in_use, err));
        assert_false(in_use);
        assert_pqe_ok(pqe__secret_count(store, a.rowid, uses == 1 ? -5 : 1, err)); /* never below 0 */
    }
    assert_pqe_ok(pqe__secret_fetch(store, a.rowid, &got, err));
    assert_memory_equal(got.key_id, a.key_id, sizeof a.key_id);
    assert_int_equal(got.sealed_len, a.sealed_len);
    assert_memory_equal(got.sealed, a.sealed, a.sealed_len);
    assert_memory_equal(got.digest, a.digest, sizeof a.digest);
    assert_int_equal(got.rowid, a.rowid);
    a.sealed[PQE__SEALED_SECRET_SIZE - 1] = 0xff;
    assert_pqe_ok(pqe__secret_update(store, &a, err));
    assert_pqe_ok(pqe__secret_digest(&a, err));
    assert_pqe_ok(pqe__secret_fetch(store, a.rowid, &got, err));
    assert_memory_equal(got.digest, a.digest, sizeof a.digest);
    assert_pqe_ok(pqe__secret_delete(store, a.rowid, err));
    assert_int_equal(pqe__secret_fetch(store, a.rowid, &got, NULL), PQE_E_TAMPERED);
    assert_pqe_ok(pqe__secret_fetch(store, b.rowid, &got, err));
    assert_int_equal(got.sealed_len, sizeof b.sealed);
    b.sealed[sizeof b.sealed - 1] = 0xff; /* the second sealing is under the digest too */
    assert_pqe_ok(pqe__secret_digest(&b, err));
    assert_memory_not_equal(got.digest, b.digest, sizeof b.digest);
    b.sealed_len--;
    assert_pqe_ok(pqe__secret_update(store, &b, err));
    assert_int_equal(pqe__secret_fetch(store, b.rowid, &got, NULL), PQE_E_TAMPERED);
    assert_pqe_ok(pqe__secret_delete_all(store, err));
    assert_int_equal(pqe__secret_fetch(store, b.rowid, &got, NULL), PQE_E_TAMPERED);
    pqe__store_close(&store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_create_in_place),
        cmocka_unit_test(test_create_after_death),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_checkpoint_delayed),
        cmocka_unit_test(test_head_and_items),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_row_digest),
        cmocka_unit_test(test_secrets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
