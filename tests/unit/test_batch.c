/* SPDX-License-Identifier: Apache-2.0 */
/* Batches: all or nothing, whatever ends them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pqc_enclave/audit.h>
#include <pqc_enclave/policy.h>

#include "unit/batch_support.h"
#include "vault/internal.h"

static uint64_t
generation(pqe_vault *v)
{
    pqe_vault_info info;

    assert_pqe_ok(pqe_vault_get_info(v, &info, err));
    return info.generation;
}

static void
test_stored_together(void **state)
{
    bed b = bed_make();
    uint8_t *large = make_content(200000, 1);
    pqe_batch *batch = start(b.v);
    uint64_t stored, before = generation(b.v);

    (void)state;
    assert_int_equal(add(batch, "one", "1", 1), PQE_OK);
    assert_int_equal(add(batch, "empty", NULL, 0), PQE_OK);
    assert_int_equal(add(batch, "large", large, 200000), PQE_OK);
    assert_int_equal(get_status(b.v, "one"), PQE_E_NOT_FOUND);
    assert_int_equal(generation(b.v), before);
    assert_pqe_ok(pqe_batch_commit(&batch, &stored, err));
    assert_null(batch);
    assert_int_equal(stored, 3);
    assert_int_equal(generation(b.v), before + 1);
    get_equals(b.v, "one", "1", 1);
    get_equals(b.v, "empty", "", 0);
    get_equals(b.v, "large", large, 200000);
    sound(&b, 3);
    pqe_vault_lock(b.v);
    assert_pqe_ok(pqe_vault_unlock(b.v, 0, err));
    get_equals(b.v, "large", large, 200000);
    free(large);
    bed_drop(&b);
}

/* Sessions secrets that nothing needs any more go with what they wrapped. */
static uint64_t
secrets(bed *b)
{
    uint64_t count = 0;
    pqe__txn txn;

    assert_pqe_ok(pqe__txn_begin(b->v, false, &txn, err));
    for (int64_t id = 1; id < 100; id++) {
        pqe__secret_row row;
        count += pqe__secret_fetch(b->v->store, id, &row, NULL) == PQE_OK ? 1 : 0;
    }
    pqe__txn_abort(&txn);
    return count;
}

static void
test_replaces(void **state)
{
    bed b = bed_make();
    uint8_t *large = make_content(200000, 1), *other = make_content(100000, 2);
    pqe_batch *batch;

    (void)state;
    put_ok(b.v, "a", "old", 3);
    put_ok(b.v, "b", large, 200000);
    put_ok(b.v, "c", large, 200000);
    batch = start(b.v);
    assert_int_equal(add(batch, "a", other, 100000), PQE_OK);
    assert_int_equal(add(batch, "b", "small", 5), PQE_OK);
    assert_int_equal(add(batch, "c", large, 100000), PQE_OK);
    assert_int_equal(add(batch, "c", other, 100000), PQE_OK);
    assert_int_equal(add(batch, "d", large, 200000), PQE_OK);
    assert_int_equal(add(batch, "d", "last", 4), PQE_OK);
    assert_int_equal(add(batch, "a", "last", 4), PQE_OK);
    assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
    get_equals(b.v, "a", "last", 4);
    get_equals(b.v, "b", "small", 5);
    get_equals(b.v, "c", other, 100000);
    get_equals(b.v, "d", "last", 4);
    sound(&b, 4);
    assert_int_equal(secrets(&b), 1);
    free(large);
    free(other);
    bed_drop(&b);
}

/* What replaces a damaged artifact mends the vault, as with a single put. */
static void
test_replaces_damaged(void **state)
{
    bed b = bed_make();
    uint8_t *large = make_content(100000, 1);
    pqe_batch *batch;

    (void)state;
    put_ok(b.v, "a", "a", 1);
    put_ok(b.v, "b", large, 100000);
    put_ok(b.v, "c", "c", 1);
    sql(b.dir, "UPDATE artifact SET dek = zeroblob(60) WHERE id < 3");
    assert_int_equal(get_status(b.v, "a"), PQE_E_TAMPERED);
    batch = start(b.v);
    assert_int_equal(add(batch, "a", "new", 3), PQE_OK);
    assert_int_equal(add(batch, "b", "new", 3), PQE_OK);
    assert_int_equal(add(batch, "c", "new", 3), PQE_OK);
    assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
    get_equals(b.v, "a", "new", 3);
    get_equals(b.v, "b", "new", 3);
    get_equals(b.v, "c", "new", 3);
    pqe_vault_lock(b.v);
    assert_pqe_ok(pqe_vault_unlock(b.v, 0, err)); /* settles the body of the damaged row */
    sound(&b, 3);
    free(large);
    bed_drop(&b);
}

/* More than a window, more than memory holds, names that come again in other windows. */
static void
test_many(void **state)
{
    enum { COUNT = 10000, NAMES = 7000 };
    bed b = bed_make();
    uint8_t content[900];
    char name[32];
    uint64_t stored;

    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        pqe_batch *batch = start(b.v);
        for (unsigned i = 0; i < COUNT; i++) {
            snprintf(name, sizeof name, "name %u", i % NAMES);
            memset(content, (int)(i + round), sizeof content);
            memcpy(content, &i, sizeof i);
            assert_int_equal(add(batch, name, content, sizeof content), PQE_OK);
        }
        assert_int_equal(files_in(b.dir, "pending"), 0); /* what does not fit in memory has no name */
        assert_pqe_ok(pqe_batch_commit(&batch, &stored, err));
        assert_int_equal(stored, COUNT);
        for (unsigned i = 0; i < NAMES; i += 13) {
            unsigned last = i + NAMES < COUNT ? i + NAMES : i;
            snprintf(name, sizeof name, "name %u", i);
            memset(content, (int)(last + round), sizeof content);
            memcpy(content, &last, sizeof last);
            get_equals(b.v, name, content, sizeof content);
        }
        sound(&b, NAMES);
        assert_int_equal(secrets(&b), 1);
    }
    bed_drop(&b);
}

static void
test_given_up(void **state)
{
    bed b = bed_make();
    uint8_t *large = make_content(100000, 1);
    pqe_batch *batch = start(b.v);
    uint64_t before = generation(b.v), stored = 1;

    (void)state;
    assert_int_equal(add(batch, "a", large, 100000), PQE_OK);
    assert_int_equal(add(batch, "b", "b", 1), PQE_OK);
    assert_int_equal(files_in(b.dir, "pending"), 1);
    pqe_batch_abort(&batch);
    assert_null(batch);
    pqe_batch_abort(&batch);
    assert_int_equal(generation(b.v), before);
    sound(&b, 0);
    batch = start(b.v);
    assert_pqe_ok(pqe_batch_commit(&batch, &stored, err));
    assert_int_equal(stored, 0);
    assert_int_equal(generation(b.v), before);
    free(large);
    bed_drop(&b);
}

/* A put that fails adds nothing; the rest is stored. */
static void
test_bad_put(void **state)
{
    bed b = bed_make();
    pqe_batch *batch = start(b.v);
    uint64_t stored;

    (void)state;
    assert_int_equal(add(batch, "a", "a", 1), PQE_OK);
    assert_int_equal(add(batch, "", "x", 1), PQE_E_ARGUMENT);
    assert_int_equal(add(batch, "\xff", "x", 1), PQE_E_ARGUMENT);
    assert_int_equal(add(batch, "b", NULL, 1), PQE_E_ARGUMENT);
    assert_int_equal(pqe_batch_put(batch, NULL, "x", 1, NULL), PQE_E_ARGUMENT);
    assert_int_equal(add(batch, "c", "c", 1), PQE_OK);
    assert_pqe_ok(pqe_batch_commit(&batch, &stored, err));
    assert_int_equal(stored, 2);
    sound(&b, 2);
    bed_drop(&b);
}

static void
test_too_many_large(void **state)
{
    bed b = bed_make();
    uint8_t *large = make_content(66000, 1);
    pqe_batch *batch = start(b.v);
    char name[32];

    (void)state;
    for (unsigned i = 0; i < PQE_BATCH_LARGE_MAX; i++) {
        snprintf(name, sizeof name, "%u", i);
        assert_int_equal(add(batch, name, large, 66000), PQE_OK);
    }
    assert_int_equal(add(batch, "one more", large, 66000), PQE_E_LIMIT);
    assert_int_equal(add(batch, "small", large, 60000), PQE_OK);
    assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
    sound(&b, PQE_BATCH_LARGE_MAX + 1);
    free(large);
    bed_drop(&b);
}

static void
test_writers(void **state)
{
    bed b = bed_make(), other = bed_make();
    pqe_put_opts o = {.size = sizeof o, .name = "streamed", .kind = PQE_KIND_MODEL_WEIGHTS, .version = "3"};
    uint8_t *large = make_content(150000, 1);
    pqe_batch *batch = start(b.v);
    pqe_artifact *a = NULL;
    pqe_writer *w = NULL;

    (void)state;
    assert_pqe_ok(pqe_writer_open(b.v, &o, &w, err));
    for (size_t at = 0; at < 150000; at += 10000)
        assert_pqe_ok(pqe_writer_write(w, large + at, 10000, err));
    assert_pqe_ok(pqe_batch_add(batch, &w, err));
    assert_null(w);
    assert_pqe_ok(pqe_writer_open(other.v, &o, &w, err));
    assert_int_equal(pqe_batch_add(batch, &w, NULL), PQE_E_ARGUMENT);
    assert_null(w);
    assert_int_equal(pqe_batch_add(batch, &w, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_batch_add(batch, NULL, NULL), PQE_E_ARGUMENT);
    assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
    get_equals(b.v, "streamed", large, 150000);
    assert_pqe_ok(pqe_info(b.v, "streamed", &a, err));
    assert_string_equal(a->version, "3");
    pqe_artifact_free(&a);
    sound(&b, 1);
    sound(&other, 0);
    free(large);
    bed_drop(&b);
    bed_drop(&other);
}

/* The batch ends with the session it was started in. */
static void
test_locked(void **state)
{
    bed b = bed_make();
    uint8_t *large = make_content(100000, 1);
    pqe_batch *batch = start(b.v), *late = start(b.v), *none = NULL;

    (void)state;
    assert_int_equal(add(batch, "a", large, 100000), PQE_OK);
    assert_int_equal(add(late, "a", large, 100000), PQE_OK);
    pqe_vault_lock(b.v);
    assert_int_equal(add(batch, "b", "b", 1), PQE_E_LOCKED);
    assert_int_equal(pqe_batch_open(b.v, &none, NULL), PQE_E_LOCKED);
    assert_null(none);
    assert_int_equal(pqe_batch_commit(&batch, NULL, NULL), PQE_E_LOCKED);
    assert_null(batch);
    assert_pqe_ok(pqe_vault_unlock(b.v, 0, err));
    assert_int_equal(add(late, "b", "b", 1), PQE_E_LOCKED);
    assert_int_equal(pqe_batch_commit(&late, NULL, NULL), PQE_E_LOCKED);
    sound(&b, 0);
    free(large);
    bed_drop(&b);
}

static void
test_expired(void **state)
{
    bed b = bed_make();
    pqe_batch *batch;

    (void)state;
    assert_pqe_ok(pqe_vault_unlock(b.v, 3, err));
    batch = start(b.v);
    assert_int_equal(add(batch, "a", "a", 1), PQE_OK);
    while (pqe_vault_is_unlocked(b.v))
        usleep(20000);
    assert_int_equal(pqe_batch_commit(&batch, NULL, NULL), PQE_E_LOCKED);
    assert_pqe_ok(pqe_vault_unlock(b.v, 0, err));
    sound(&b, 0);
    bed_drop(&b);
}

static void
test_closed(void **state)
{
    bed b = bed_make();
    uint8_t *large = make_content(100000, 1);
    pqe_batch *batch = start(b.v), *given_up = start(b.v);

    (void)state;
    assert_int_equal(add(batch, "a", large, 100000), PQE_OK);
    assert_int_equal(add(given_up, "b", large, 100000), PQE_OK);
    pqe_vault_close(&b.v);
    assert_int_equal(add(batch, "b", "b", 1), PQE_E_LOCKED);
    assert_int_equal(pqe_batch_commit(&batch, NULL, NULL), PQE_E_LOCKED);
    pqe_batch_abort(&given_up);
    b.v = vault_open(b.dir, b.backend);
    sound(&b, 0);
    free(large);
    bed_drop(&b);
}

/* Whoever replaces the keys meanwhile, this vault or another process: the batch says so and nothing is stored. */
static void
test_keys_replaced(void **state)
{
    bed b = bed_make();
    pqe_vault *other;
    pqe_batch *batch;

    (void)state;
    for (int i = 0; i < 4; i++) {
        pqe_rotate_opts o = {.size = sizeof o, .rekey = (i & 1) != 0};
        batch = start(b.v);
        assert_int_equal(add(batch, "a", "a", 1), PQE_OK);
        other = i < 2 ? b.v : vault_open(b.dir, b.backend);
        assert_pqe_ok(pqe_rotate(other, &o, err));
        if (i >= 2)
            pqe_vault_close(&other);
        assert_int_equal(pqe_batch_commit(&batch, NULL, NULL), PQE_E_BUSY);
        assert_int_equal(get_status(b.v, "a"), PQE_E_NOT_FOUND);
        batch = start(b.v);
        assert_int_equal(add(batch, "b", "b", 1), PQE_OK);
        assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
        get_equals(b.v, "b", "b", 1);
    }
    sound(&b, 1);
    bed_drop(&b);
}

/* Other changes between start and commit, of the same names too. */
static void
test_beside_other_changes(void **state)
{
    bed b = bed_make();
    pqe_batch *batch = start(b.v), *second = start(b.v);

    (void)state;
    assert_int_equal(add(batch, "a", "batch", 5), PQE_OK);
    assert_int_equal(add(second, "a", "second", 6), PQE_OK);
    assert_int_equal(add(second, "c", "second", 6), PQE_OK);
    put_ok(b.v, "a", "put", 3);
    put_ok(b.v, "b", "put", 3);
    assert_pqe_ok(pqe_delete(b.v, "a", err));
    assert_pqe_ok(pqe_delete(b.v, "b", err));
    assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
    get_equals(b.v, "a", "batch", 5);
    assert_pqe_ok(pqe_batch_commit(&second, NULL, err));
    get_equals(b.v, "a", "second", 6);
    put_ok(b.v, "c", "put", 3);
    sound(&b, 2);
    bed_drop(&b);
}

/* ---- the audit log ---- */

typedef struct log {
    char text[8192]; /* newest first */
    size_t len;
    uint64_t puts;
} log;

static bool
collect(void *user, const pqe_audit_entry *e)
{
    log *l = user;

    if (e->op != PQE_AUDIT_PUT)
        return true;
    l->puts++;
    if (l->len < sizeof l->text - 2048)
        l->len += (size_t)snprintf(l->text + l->len, sizeof l->text - l->len, "%s%s%s;", e->success ? "" : "!", e->name,
                                   e->success && e->details[0] != '\0' ? " again" : "");
    return true;
}

static log *
puts_of(pqe_vault *v)
{
    static log l;

    memset(&l, 0, sizeof l);
    assert_pqe_ok(pqe_audit_list(v, NULL, collect, &l, err));
    assert_pqe_ok(pqe_audit_verify(v, NULL, 0, NULL, err));
    return &l;
}

/* Each artifact has its entry, in the order of the puts and in the transaction that stores it; a batch that fails has
   one. */
static void
test_logged(void **state)
{
    bed b = bed_make();
    uint8_t *large = make_content(100000, 1);
    pqe_batch *batch;

    (void)state;
    put_ok(b.v, "c", "c", 1);
    batch = start(b.v);
    assert_int_equal(add(batch, "e", "e", 1), PQE_OK);
    assert_int_equal(add(batch, "c", "new", 3), PQE_OK);
    assert_int_equal(add(batch, "a", "twice", 5), PQE_OK);
    assert_int_equal(add(batch, "d", large, 100000), PQE_OK);
    assert_int_equal(add(batch, "a", "a", 1), PQE_OK);
    assert_string_equal(puts_of(b.v)->text, "c;");
    assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
    assert_string_equal(puts_of(b.v)->text, "a;d;c again;e;c;");
    batch = start(b.v);
    assert_int_equal(add(batch, "f", "f", 1), PQE_OK);
    pqe_batch_abort(&batch);
    batch = start(b.v);
    assert_int_equal(add(batch, "f", "f", 1), PQE_OK);
    assert_pqe_ok(pqe_rotate(b.v, NULL, err));
    assert_int_equal(pqe_batch_commit(&batch, NULL, NULL), PQE_E_BUSY);
    assert_string_equal(puts_of(b.v)->text, "!;a;d;c again;e;c;");
    /* Over several windows, and while the log drops its oldest. */
    pqe__audit_cap = 400000;
    batch = start(b.v);
    for (unsigned i = 0; i < 9000; i++) {
        char name[32];
        snprintf(name, sizeof name, "n%u", i);
        assert_int_equal(add(batch, name, "x", 1), PQE_OK);
    }
    assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
    assert_memory_equal(puts_of(b.v)->text, "n8999;n8998;", 12);
    assert_true(puts_of(b.v)->puts > 1000);
    assert_true(puts_of(b.v)->puts < 9000);
    pqe__audit_cap = PQE_AUDIT_BYTES_MAX;
    sound(&b, 9004);
    free(large);
    bed_drop(&b);
}

/* What is put in a batch is under the vault's rules as any other. */
static void
test_settings(void **state)
{
    bed b = bed_make();
    pqe_policy_rule rule = {.size = sizeof rule, .kind = PQE_KIND_OTHER, .max_uses_per_hour = 1};
    pqe_put_opts named = {.size = sizeof named, .name = "named", .kind = PQE_KIND_OTHER, .hash = "parallelhash256"};
    pqe_batch *batch;
    pqe_artifact *a = NULL;

    (void)state;
    assert_pqe_ok(pqe_set_hash_default(b.v, PQE_KIND_OTHER, "deferred", err));
    assert_pqe_ok(pqe_policy_set(b.v, &rule, err));
    batch = start(b.v);
    assert_int_equal(add(batch, "a", "content", 7), PQE_OK);
    assert_pqe_ok(pqe_batch_put(batch, &named, "content", 7, err));
    named.hash = "md5";
    assert_int_equal(pqe_batch_put(batch, &named, "content", 7, NULL), PQE_E_ARGUMENT);
    assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
    assert_pqe_ok(pqe_info(b.v, "named", &a, err));
    assert_string_equal(a->hash_algorithm, "parallelhash256");
    pqe_artifact_free(&a);
    assert_pqe_ok(pqe_info(b.v, "a", &a, err));
    assert_string_equal(a->hash_algorithm, "deferred");
    pqe_artifact_free(&a);
    assert_pqe_ok(pqe_bind_hash(b.v, "a", NULL, &a, err));
    assert_string_equal(a->hash_algorithm, "sha3-256");
    pqe_artifact_free(&a);
    assert_int_equal(get_status(b.v, "a"), PQE_OK);
    assert_int_equal(get_status(b.v, "named"), PQE_E_POLICY);
    sound(&b, 2);
    bed_drop(&b);
}

static void
counts_agree(bed *b)
{
    sql(b->dir,
        "CREATE TEMP TABLE yes(agree INTEGER CHECK (agree)); INSERT INTO yes SELECT count(*) = 0 FROM secret WHERE "
        "uses = 0 OR uses <> (SELECT count(*) FROM artifact WHERE artifact.key_id = secret.key_id)");
}

/* Every way a row comes and goes keeps the counts of the session secrets: each ends as the number of its rows. */
static void
test_use_counts(void **state)
{
    pqe_rotate_opts o = {.size = sizeof o, .rekey = true};
    bed b = bed_make();
    pqe_batch *batch;

    (void)state;
    assert_pqe_ok(pqe_set_hash_default(b.v, PQE_KIND_OTHER, "deferred", err));
    for (unsigned round = 0; round < 3; round++) {
        put_ok(b.v, "a", "a", 1);
        put_ok(b.v, "b", "b", 1);
        put_ok(b.v, "a", "again", 5);
        batch = start(b.v);
        assert_int_equal(add(batch, "b", "1", 1), PQE_OK);
        assert_int_equal(add(batch, "c", "1", 1), PQE_OK);
        assert_int_equal(add(batch, "c", "2", 1), PQE_OK);
        assert_int_equal(add(batch, "d", "1", 1), PQE_OK);
        assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
        assert_pqe_ok(pqe_bind_hash(b.v, "c", NULL, NULL, err));
        assert_pqe_ok(pqe_delete(b.v, "d", err));
        counts_agree(&b);
        o.rekey = round == 1;
        assert_pqe_ok(pqe_rotate(b.v, &o, err));
        counts_agree(&b);
        pqe_vault_lock(b.v);
        assert_pqe_ok(pqe_vault_unlock(b.v, 0, err));
    }
    assert_pqe_ok(pqe_delete(b.v, "a", err));
    assert_pqe_ok(pqe_delete(b.v, "b", err));
    assert_pqe_ok(pqe_delete(b.v, "c", err));
    assert_int_equal(secrets(&b), 0);
    sound(&b, 0);
    bed_drop(&b);
}

static void
test_in_memory(void **state)
{
    pqe_backend *backend = backend_memory();
    pqe_vault *v = vault_create(NULL, backend);
    uint8_t *large = make_content(100000, 1);
    pqe_batch *batch = start(v);
    char name[32];

    (void)state;
    for (unsigned i = 0; i < 6000; i++) {
        snprintf(name, sizeof name, "%u", i);
        assert_int_equal(add(batch, name, large, 1000), PQE_OK);
    }
    assert_int_equal(add(batch, "large", large, 100000), PQE_OK);
    assert_int_equal(add(batch, "large twice", large, 100000), PQE_OK);
    assert_int_equal(add(batch, "large twice", large, 99999), PQE_OK);
    assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
    get_equals(v, "5999", large, 1000);
    get_equals(v, "large", large, 100000);
    get_equals(v, "large twice", large, 99999);
    batch = start(v);
    assert_int_equal(add(batch, "large", large, 70000), PQE_OK);
    pqe_batch_abort(&batch);
    get_equals(v, "large", large, 100000);
    free(large);
    pqe_vault_close(&v);
    pqe_backend_close(&backend);
}

static void
test_forked_child(void **state)
{
    bed b = bed_make();
    uint8_t *large = make_content(100000, 1);
    pqe_batch *batch = start(b.v);
    int status;
    pid_t child;

    (void)state;
    assert_int_equal(add(batch, "a", large, 100000), PQE_OK);
    child = fork();
    if (child == 0) {
        bool locked = add(batch, "b", "b", 1) == PQE_E_LOCKED && pqe_batch_commit(&batch, NULL, NULL) == PQE_E_LOCKED;
        _exit(locked ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
    get_equals(b.v, "a", large, 100000);
    sound(&b, 1);
    free(large);
    bed_drop(&b);
}

static void
test_read_only_and_nothing(void **state)
{
    bed b = bed_make();
    pqe_vault_opts o = {.size = sizeof o, .dir = b.dir, .backend = b.backend, .read_only = true};
    pqe_batch *batch = NULL;
    pqe_vault *v = NULL;

    (void)state;
    assert_pqe_ok(pqe_vault_open(&o, &v, err));
    assert_pqe_ok(pqe_vault_unlock(v, 0, err));
    assert_int_equal(pqe_batch_open(v, &batch, NULL), PQE_E_READ_ONLY);
    assert_null(batch);
    pqe_vault_close(&v);
    assert_int_equal(pqe_batch_open(NULL, &batch, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_batch_open(b.v, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_batch_commit(&batch, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_batch_commit(NULL, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(add(NULL, "a", "a", 1), PQE_E_ARGUMENT);
    pqe_batch_abort(NULL);
    bed_drop(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stored_together),
        cmocka_unit_test(test_replaces),
        cmocka_unit_test(test_replaces_damaged),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_bad_put),
        cmocka_unit_test(test_too_many_large),
        cmocka_unit_test(test_writers),
        cmocka_unit_test(test_locked),
        cmocka_unit_test(test_expired),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_keys_replaced),
        cmocka_unit_test(test_beside_other_changes),
        cmocka_unit_test(test_logged),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_use_counts),
        cmocka_unit_test(test_in_memory),
        cmocka_unit_test(test_forked_child),
        cmocka_unit_test(test_read_only_and_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
