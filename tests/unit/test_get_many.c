/* SPDX-License-Identifier: Apache-2.0 */
/* Getting many at once gives what getting each gives: contents, metadata, uses, log entries and errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pqc_enclave/audit.h>
#include <pqc_enclave/policy.h>

#include "unit/batch_support.h"

enum { NAMES = 400 };

static const size_t sizes[] = {0, 1, 1000, 16383, 16384, 40000, 65000, 70000};

static size_t
size_of(size_t i)
{
    return sizes[i % (sizeof sizes / sizeof sizes[0])];
}

typedef struct expected {
    const char *const *names;
    const uint8_t *contents; /* that of name i begins at byte i */
    size_t next;             /* whose turn it is */
    size_t stop;             /* then false is returned */
    pqe_vault *lock;         /* then this is locked */
    unsigned ok, failed;
    pqe_status first; /* failure */
} expected;

/* Names that begin with "n" and a number have a content, others have not. */
static bool
compare(void *user, const pqe_got *got)
{
    expected *e = user;
    const char *name = e->names[got->index];
    size_t i;

    assert_int_equal(got->index, e->next++);
    if (got->status != PQE_OK) {
        assert_non_null(got->error);
        assert_int_equal(got->error->status, got->status);
        assert_null(got->content);
        assert_null(got->artifact);
        e->first = e->failed++ == 0 ? got->status : e->first;
        return e->next != e->stop;
    }
    e->ok++;
    assert_null(got->error);
    i = strtoul(got->artifact->name + 1, NULL, 10);
    if (name[0] == 'n')
        assert_string_equal(got->artifact->name, name);
    else
        assert_string_equal(got->artifact->artifact_id, name);
    assert_int_equal(got->len, size_of(i));
    assert_int_equal(got->artifact->size_bytes, got->len);
    assert_non_null(got->content);
    if (e->lock != NULL && e->next == e->stop)
        pqe_vault_lock(e->lock);
    assert_memory_equal(got->content, e->contents + i, got->len); /* also after the lock */
    return e->lock != NULL || e->next != e->stop;
}

typedef struct names {
    char text[NAMES][PQE_ARTIFACT_ID_SIZE];
    const char *list[NAMES];
} names;

static void
fill(bed *b, const uint8_t *content, names *n)
{
    pqe_batch *batch = start(b->v);

    for (size_t i = 0; i < NAMES; i++) {
        snprintf(n->text[i], sizeof n->text[i], "n%zu", i);
        n->list[i] = n->text[i];
        assert_int_equal(add(batch, n->text[i], content + i, size_of(i)), PQE_OK);
    }
    assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
}

static void
test_all(void **state)
{
    bed b = bed_make();
    uint8_t *content = make_content(80000, 1);
    static names n;
    pqe_artifact *a = NULL;

    (void)state;
    fill(&b, content, &n);
    assert_pqe_ok(pqe_info(b.v, "n7", &a, err));
    memcpy(n.text[5], a->artifact_id, sizeof a->artifact_id);
    pqe_artifact_free(&a);
    n.list[9] = n.list[8]; /* twice in a row */
    for (unsigned threads = 1; threads <= 4; threads++) {
        pqe_set_threads(threads);
        for (size_t count = 0; count <= NAMES; count += 100) {
            expected e = {.names = n.list, .contents = content};
            assert_pqe_ok(pqe_get_many(b.v, n.list, count, compare, &e, err));
            assert_int_equal(e.ok, count);
        }
    }
    pqe_set_threads(0);
    free(content);
    bed_drop(&b);
}

/* Names that cannot be had keep nobody else out; the first one's error is that of the call. */
static void
test_errors(void **state)
{
    bed b = bed_make();
    uint8_t *content = make_content(80000, 1);
    static names n;
    expected e = {.names = n.list, .contents = content};

    (void)state;
    fill(&b, content, &n);
    sql(b.dir, "UPDATE artifact SET body = zeroblob(length(body)) WHERE id = 203");
    sql(b.dir, "UPDATE artifact SET dek = zeroblob(60) WHERE id = 301");
    n.list[150] = "missing";
    n.list[160] = "";
    n.list[170] = NULL;
    e.names = n.list;
    assert_int_equal(pqe_get_many(b.v, n.list, NAMES, compare, &e, NULL), PQE_E_NOT_FOUND);
    assert_int_equal(e.ok, NAMES - 5);
    assert_int_equal(e.failed, 5);
    e = (expected){.names = n.list + 200, .contents = content};
    assert_int_equal(pqe_get_many(b.v, n.list + 200, 10, compare, &e, NULL), PQE_E_DECRYPTION);
    assert_int_equal(e.failed, 1);
    assert_int_equal(get_status(b.v, "n202"), PQE_E_DECRYPTION);
    e = (expected){.names = n.list + 300, .contents = content};
    assert_int_equal(pqe_get_many(b.v, n.list + 300, 10, compare, &e, NULL), PQE_E_TAMPERED);
    assert_int_equal(get_status(b.v, "n300"), PQE_E_TAMPERED);
    free(content);
    bed_drop(&b);
}

static void
test_stopped(void **state)
{
    bed b = bed_make();
    uint8_t *content = make_content(80000, 1);
    static names n;

    (void)state;
    fill(&b, content, &n);
    for (size_t stop = 1; stop < NAMES; stop += 97) {
        expected e = {.names = n.list, .contents = content, .stop = stop};
        assert_int_equal(pqe_get_many(b.v, n.list, NAMES, compare, &e, NULL), PQE_E_CANCELLED);
        assert_int_equal(e.next, stop);
        e = (expected){.names = n.list, .contents = content, .stop = stop, .lock = b.v};
        assert_int_equal(pqe_get_many(b.v, n.list, NAMES, compare, &e, NULL), PQE_E_LOCKED);
        assert_int_equal(e.next, stop);
        assert_int_equal(e.failed, 0);
        e = (expected){.names = n.list, .contents = content};
        assert_int_equal(pqe_get_many(b.v, n.list, NAMES, compare, &e, NULL), PQE_E_LOCKED);
        assert_int_equal(e.next, 0);
        assert_pqe_ok(pqe_vault_unlock(b.v, 0, err));
    }
    assert_int_equal(pqe_get_many(NULL, n.list, 1, compare, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_get_many(b.v, NULL, 1, compare, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_get_many(b.v, n.list, 1, NULL, NULL, NULL), PQE_E_ARGUMENT);
    free(content);
    bed_drop(&b);
}

/* ---- policy and log ---- */

typedef struct log {
    unsigned count;
    char text[4096];
} log;

static bool
note_get(void *user, const pqe_audit_entry *entry)
{
    log *l = user;

    if (entry->op != PQE_AUDIT_GET && entry->op != PQE_AUDIT_POLICY_VIOLATION)
        return true;
    l->count++;
    snprintf(l->text + strlen(l->text), sizeof l->text - strlen(l->text), "%s %s %d %s|", pqe_audit_op_name(entry->op),
             entry->name, entry->success, entry->details);
    return true;
}

static bool
ignore(void *user, const pqe_got *got)
{
    (void)user;
    (void)got;
    return true;
}

static void
get_singly(pqe_vault *v, const char *const *list, size_t count, pqe_status *first)
{
    *first = PQE_OK;
    for (size_t i = 0; i < count; i++) {
        pqe_status status = get_status(v, list[i]);
        *first = *first == PQE_OK ? status : *first;
    }
}

/* Two vaults with the same rules, one asked for each name, the other for all at once: the same log. */
static void
test_as_single(void **state)
{
    static const char *const list[] = {"a", "limited", "b", "limited", "missing", "limited", "large", "forbidden", "a"};
    enum { COUNT = sizeof list / sizeof list[0] };
    uint8_t *content = make_content(100000, 1);
    log logs[2] = {0};
    pqe_status first[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        bed b = bed_make();
        const char *callers[] = {"nobody"};
        put_ok(b.v, "a", "a", 1);
        put_ok(b.v, "b", "", 0);
        put_ok(b.v, "large", content, 100000);
        put_ok(b.v, "limited", "l", 1);
        put_ok(b.v, "forbidden", "f", 1);
        assert_pqe_ok(pqe_policy_set(
            b.v, &(pqe_policy_rule){.size = sizeof(pqe_policy_rule), .artifact = "limited", .max_uses_per_hour = 2},
            err));
        assert_pqe_ok(pqe_policy_set(b.v,
                                     &(pqe_policy_rule){.size = sizeof(pqe_policy_rule),
                                                        .artifact = "forbidden",
                                                        .allowed_bundle_ids = callers,
                                                        .allowed_count = 1},
                                     err));
        if (i == 0)
            get_singly(b.v, list, COUNT, &first[i]);
        else
            first[i] = pqe_get_many(b.v, list, COUNT, ignore, NULL, NULL);
        assert_pqe_ok(pqe_audit_list(b.v, NULL, note_get, &logs[i], err));
        bed_drop(&b);
    }
    assert_int_equal(first[0], PQE_E_NOT_FOUND);
    assert_int_equal(first[1], first[0]);
    assert_int_equal(logs[0].count, COUNT);
    assert_string_equal(logs[1].text, logs[0].text);
    free(content);
}

/* ---- beside another thread that locks ---- */

static void
test_locked_meanwhile(void **state)
{
    bed b = bed_make();
    uint8_t *content = make_content(80000, 1);
    locker l = {.v = b.v, .pause_us = 500};
    static names n;
    pthread_t thread;

    (void)state;
    fill(&b, content, &n);
    pqe_set_threads(4);
    assert_int_equal(pthread_create(&thread, NULL, lock_often, &l), 0);
    for (unsigned i = 0; i < 50; i++) {
        expected e = {.names = n.list, .contents = content};
        pqe_status status = pqe_get_many(b.v, n.list, 40, compare, &e, NULL);
        assert_true(status == PQE_OK || status == PQE_E_LOCKED);
        assert_int_equal(e.failed, 0);
    }
    atomic_store(&l.stop, true);
    pthread_join(thread, NULL);
    pqe_set_threads(0);
    free(content);
    bed_drop(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),       cmocka_unit_test(test_errors),           cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_as_single), cmocka_unit_test(test_locked_meanwhile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
