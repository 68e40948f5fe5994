/* SPDX-License-Identifier: Apache-2.0 */
/* The vault through its public interface: put, get, replace, remove, list, read from many threads, hostile
   arguments. test_vault_life.c has sessions, rotation and forks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit/support.h"

static const size_t sizes[] = {0, 1, 1000, 16383, 16384, 16385, 65000, 65480, 65481, 70000, 1048576, 5000001};
#define SIZES (sizeof sizes / sizeof sizes[0])

static void
round_trip(const char *dir, pqe_backend *backend)
{
    pqe_vault *v = vault_create(dir, backend);
    char name[32];

    for (size_t i = 0; i < SIZES; i++) {
        uint8_t *content = make_content(sizes[i], (uint32_t)i);
        snprintf(name, sizeof name, "artifact-%zu", i);
        put_ok(v, name, content, sizes[i]);
        get_equals(v, name, content, sizes[i]);
        free(content);
    }
    pqe_vault_lock(v);
    assert_int_equal(get_status(v, "artifact-1"), PQE_E_LOCKED);
    assert_pqe_ok(pqe_vault_unlock(v, 0, err));
    for (size_t i = 0; i < SIZES; i++) {
        uint8_t *content = make_content(sizes[i], (uint32_t)i);
        snprintf(name, sizeof name, "artifact-%zu", i);
        get_equals(v, name, content, sizes[i]);
        free(content);
    }
    assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, NULL, err));
    pqe_vault_close(&v);
}

static void
test_round_trip_memory(void **state)
{
    pqe_backend *b = backend_memory();

    (void)state;
    round_trip(NULL, b);
    pqe_backend_close(&b);
}

static void
test_round_trip_directory(void **state)
{
    char *dir = scratch_make();
    pqe_backend *b = backend_keyfile(dir);

    (void)state;
    round_trip(scratch_path(dir, "vault"), b);
    pqe_backend_close(&b);
    scratch_remove(dir);
}

/* Put in one process, get in another. */
static void
test_other_process(void **state)
{
    char *dir = scratch_make();
    uint8_t *content = make_content(300000, 7);
    pid_t child = fork();
    int status = 0;

    (void)state;
    if (child == 0) {
        pqe_backend *b = backend_keyfile(dir);
        pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
        put_ok(v, "model", content, 300000);
        pqe_vault_close(&v);
        pqe_backend_close(&b);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    {
        pqe_backend *b = backend_keyfile(dir);
        pqe_vault *v = vault_open(scratch_path(dir, "vault"), b);
        get_equals(v, "model", content, 300000);
        pqe_vault_close(&v);
        pqe_backend_close(&b);
    }
    free(content);
    scratch_remove(dir);
}

static void
test_replace_and_delete(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    uint8_t *first = make_content(100000, 1), *second = make_content(200, 2);
    pqe_put_opts o = {.size = sizeof o, .name = "x", .kind = PQE_KIND_CREDENTIAL};
    pqe_artifact *a = NULL, *c = NULL;
    pqe_vault_info info;

    (void)state;
    assert_pqe_ok(pqe_put(v, &o, first, 100000, &a, err));
    get_equals(v, a->artifact_id, first, 100000);
    assert_pqe_ok(pqe_put(v, &o, second, 200, &c, err));
    assert_string_not_equal(a->artifact_id, c->artifact_id);
    assert_int_equal(get_status(v, a->artifact_id), PQE_E_NOT_FOUND);
    get_equals(v, "x", second, 200);
    assert_pqe_ok(pqe_vault_get_info(v, &info, err));
    assert_int_equal(info.artifact_count, 1);
    assert_pqe_ok(pqe_delete(v, c->artifact_id, err));
    assert_int_equal(get_status(v, "x"), PQE_E_NOT_FOUND);
    assert_int_equal(pqe_delete(v, "x", NULL), PQE_E_NOT_FOUND);
    assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, NULL, err));
    pqe_artifact_free(&a);
    pqe_artifact_free(&c);
    assert_null(a);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(first);
    free(second);
}

static void
test_metadata(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = NULL;
    pqe_vault_opts vo = {.size = sizeof vo, .backend = b, .create = true, .device_id = "iphone-alice"};
    const char *tags[] = {"int4", "", "größe"};
    pqe_put_opts o = {.size = sizeof o,
                      .name = "llama-3.2-1b-int4",
                      .kind = PQE_KIND_MODEL_WEIGHTS,
                      .version = "1.0.0",
                      .app_bundle_id = "com.example.localllm",
                      .model_did = "did:example:1",
                      .description = "a\nb\"c",
                      .tags = tags,
                      .tag_count = 3};
    pqe_artifact *a = NULL;

    (void)state;
    assert_pqe_ok(pqe_vault_open(&vo, &v, err));
    assert_pqe_ok(pqe_put(v, &o, "abc", 3, NULL, err));
    assert_pqe_ok(pqe_info(v, o.name, &a, err));
    assert_string_equal(a->name, o.name);
    assert_int_equal(a->kind, PQE_KIND_MODEL_WEIGHTS);
    assert_string_equal(a->version, "1.0.0");
    assert_string_equal(a->app_bundle_id, "com.example.localllm");
    assert_string_equal(a->model_did, "did:example:1");
    assert_string_equal(a->description, "a\nb\"c");
    assert_string_equal(a->device_id, "iphone-alice");
    assert_int_equal(a->tag_count, 3);
    assert_string_equal(a->tags[0], "int4");
    assert_string_equal(a->tags[1], "");
    assert_string_equal(a->tags[2], "größe");
    assert_int_equal(a->size_bytes, 3);
    assert_int_equal(a->stored_bytes, 3 + 56 + 16);
    /* FIPS 202: SHA3-256("abc") */
    assert_string_equal(a->content_hash, "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
    assert_string_equal(a->hash_algorithm, "sha3-256");
    assert_string_equal(a->suite, "ml-kem-768");
    assert_int_equal(strlen(a->artifact_id), 20 + 32);
    assert_memory_equal(a->artifact_id, "urn:pqc-enclave-art:", 20);
    assert_int_equal(strlen(a->created_at), 20);
    assert_true(a->is_inline);
    pqe_artifact_free(&a);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

static void
test_bad_arguments(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    char longest[PQE_NAME_MAX + 2];
    static char description[PQE_DESCRIPTION_MAX + 2];
    pqe_put_opts o = {.size = sizeof o, .name = "", .kind = PQE_KIND_OTHER};
    const struct {
        const char *name;
        pqe_status status;
    } names[] = {{"", PQE_E_ARGUMENT},          {NULL, PQE_E_ARGUMENT},           {"\xff", PQE_E_ARGUMENT},
                 {"a\xc0\x80", PQE_E_ARGUMENT}, {"\xed\xa0\x80", PQE_E_ARGUMENT}, {longest, PQE_E_LIMIT}};

    (void)state;
    memset(longest, 'n', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    memset(description, 'd', sizeof description - 1);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        o.name = names[i].name;
        assert_int_equal(pqe_put(v, &o, "x", 1, NULL, NULL), names[i].status);
        assert_int_equal(get_status(v, names[i].name), names[i].status);
        assert_int_equal(pqe_delete(v, names[i].name, NULL), names[i].status);
    }
    longest[PQE_NAME_MAX] = '\0';
    put_ok(v, longest, "x", 1);
    get_equals(v, longest, "x", 1);
    o.name = "n";
    o.kind = (pqe_kind)99;
    assert_int_equal(pqe_put(v, &o, "x", 1, NULL, NULL), PQE_E_ARGUMENT);
    o.kind = PQE_KIND_OTHER;
    o.description = description;
    assert_int_equal(pqe_put(v, &o, "x", 1, NULL, NULL), PQE_E_LIMIT);
    description[PQE_DESCRIPTION_MAX] = '\0';
    assert_pqe_ok(pqe_put(v, &o, "x", 1, NULL, err));
    assert_int_equal(pqe_put(v, &o, NULL, 1, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_put(NULL, &o, "x", 1, NULL, NULL), PQE_E_ARGUMENT);
    o.tag_count = 1;
    o.tags = NULL;
    assert_int_equal(pqe_put(v, &o, "x", 1, NULL, NULL), PQE_E_ARGUMENT);
    o.size = 0;
    assert_int_equal(pqe_put(v, &o, "x", 1, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_rotate(v, &(pqe_rotate_opts){.rekey = true}, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_vault_get_info(v, NULL, NULL), PQE_E_ARGUMENT);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

struct seen {
    size_t count, stop_after;
    char names[256][40];
};

static bool
see(void *user, const pqe_artifact *artifact)
{
    struct seen *s = user;

    snprintf(s->names[s->count++ % 256], sizeof s->names[0], "%s", artifact->name);
    return s->count != s->stop_after;
}

static void
test_list(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    static struct seen s;
    char name[40];

    (void)state;
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "n%d", i);
        put_ok(v, name, name, strlen(name));
    }
    assert_pqe_ok(pqe_list(v, see, &s, err));
    assert_int_equal(s.count, 200);
    for (size_t i = 0; i < 200; i++)
        for (size_t k = i + 1; k < 200; k++)
            assert_string_not_equal(s.names[i], s.names[k]);
    s = (struct seen){.stop_after = 5};
    assert_int_equal(pqe_list(v, see, &s, NULL), PQE_E_CANCELLED);
    assert_int_equal(s.count, 5);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

static void
test_writer_abort_and_order(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    uint8_t *content = make_content(200000, 3);
    pqe_put_opts o = {.size = sizeof o, .name = "w", .kind = PQE_KIND_OTHER};
    pqe_writer *w = NULL;
    pqe_artifact *a = NULL;

    (void)state;
    put_ok(v, "w", "old", 3);
    assert_pqe_ok(pqe_writer_open(v, &o, &w, err));
    assert_pqe_ok(pqe_writer_write(w, content, 150000, err));
    pqe_writer_abort(&w);
    assert_null(w);
    get_equals(v, "w", "old", 3);
    assert_pqe_ok(pqe_writer_open(v, &o, &w, err));
    for (size_t at = 0; at < 200000; at += 1999)
        assert_pqe_ok(pqe_writer_write(w, content + at, at + 1999 < 200000 ? 1999 : 200000 - at, err));
    get_equals(v, "w", "old", 3);
    assert_pqe_ok(pqe_writer_finish(&w, &a, err));
    assert_null(w);
    assert_int_equal(a->size_bytes, 200000);
    get_equals(v, "w", content, 200000);
    assert_int_equal(pqe_writer_finish(&w, NULL, NULL), PQE_E_ARGUMENT);
    pqe_artifact_free(&a);
    /* A lock in the middle: the writer is dead for good, the old version stays. */
    assert_pqe_ok(pqe_writer_open(v, &o, &w, err));
    assert_pqe_ok(pqe_writer_write(w, "new", 3, err));
    pqe_vault_lock(v);
    assert_int_equal(pqe_writer_write(w, "new", 3, NULL), PQE_E_LOCKED);
    assert_pqe_ok(pqe_vault_unlock(v, 0, err));
    assert_int_equal(pqe_writer_finish(&w, NULL, NULL), PQE_E_STATE);
    get_equals(v, "w", content, 200000);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(content);
}

static void
test_reader(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    uint8_t *content = make_content(100000, 4), buf[5000];
    pqe_reader *r = NULL, *closed = NULL;
    size_t got = 0, at = 0;

    (void)state;
    put_ok(v, "r", content, 100000);
    assert_pqe_ok(pqe_reader_open(v, "r", &r, err));
    assert_int_equal(pqe_reader_artifact(r)->size_bytes, 100000);
    do {
        assert_pqe_ok(pqe_reader_read(r, buf, sizeof buf, &got, err));
        assert_memory_equal(buf, content + at, got);
        at += got;
    } while (got != 0);
    assert_int_equal(at, 100000);
    assert_pqe_ok(pqe_reader_read_at(r, 99000, buf, sizeof buf, &got, err));
    assert_int_equal(got, 1000);
    assert_memory_equal(buf, content + 99000, 1000);
    assert_pqe_ok(pqe_reader_read_at(r, 100000, buf, sizeof buf, &got, err));
    assert_int_equal(got, 0);
    assert_pqe_ok(pqe_reader_read_at(r, UINT64_MAX, buf, sizeof buf, &got, err));
    assert_int_equal(got, 0);
    /* The reader stays on its version. */
    put_ok(v, "r", "other", 5);
    assert_pqe_ok(pqe_reader_read_at(r, 50000, buf, sizeof buf, &got, err));
    assert_memory_equal(buf, content + 50000, sizeof buf);
    pqe_vault_lock(v);
    memset(buf, 0x55, sizeof buf);
    assert_int_equal(pqe_reader_read_at(r, 0, buf, sizeof buf, &got, NULL), PQE_E_LOCKED);
    for (size_t i = 0; i < sizeof buf; i++)
        assert_int_equal(buf[i], 0);
    assert_int_equal(pqe_reader_open(v, "r", &closed, NULL), PQE_E_LOCKED);
    assert_null(closed);
    assert_pqe_ok(pqe_vault_unlock(v, 0, err));
    assert_int_equal(pqe_reader_read_at(r, 0, buf, sizeof buf, &got, NULL), PQE_E_LOCKED);
    pqe_reader_close(&r);
    assert_null(r);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(content);
}

/* A name that looks like an id would stand in front of another artifact's id. */
static void
test_name_like_an_id(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    pqe_put_opts o = {.size = sizeof o, .name = "victim", .kind = PQE_KIND_OTHER};
    pqe_artifact *a = NULL;

    (void)state;
    assert_pqe_ok(pqe_put(v, &o, "x", 1, &a, err));
    o.name = a->artifact_id;
    assert_int_equal(pqe_put(v, &o, "y", 1, NULL, NULL), PQE_E_ARGUMENT);
    get_equals(v, a->artifact_id, "x", 1);
    pqe_artifact_free(&a);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

#define READERS 8

struct work {
    pqe_vault *vault;
    pqe_reader *reader;
    const uint8_t *content;
    size_t len;
    uint32_t seed;
    int failures;
};

static void *
read_about(void *arg)
{
    struct work *w = arg;
    uint8_t *buf = malloc(70000);
    uint32_t x = w->seed;

    for (int i = 0; i < 200; i++) {
        size_t got = 0, at, want;
        x = x * 1664525u + 1013904223u;
        at = x % w->len;
        want = (x >> 8) % 70000;
        if (pqe_reader_read_at(w->reader, at, buf, want, &got, NULL) != PQE_OK ||
            got != (want < w->len - at ? want : w->len - at) || memcmp(buf, w->content + at, got) != 0)
            w->failures++;
        if (i % 50 == 0 && get_status(w->vault, "t") != PQE_OK)
            w->failures++;
    }
    free(buf);
    return NULL;
}

static void
test_threads(void **state)
{
    pqe_backend *b = backend_memory();
    pqe_vault *v = vault_create(NULL, b);
    uint8_t *content = make_content(1000000, 6);
    struct work work[READERS];
    pthread_t threads[READERS];
    pqe_reader *r = NULL;

    (void)state;
    put_ok(v, "t", content, 1000000);
    assert_pqe_ok(pqe_reader_open(v, "t", &r, err));
    for (uint32_t i = 0; i < READERS; i++) {
        work[i] = (struct work){v, r, content, 1000000, i + 1, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, read_about, &work[i]), 0);
    }
    for (int i = 0; i < 20; i++)
        put_ok(v, "other", content, (size_t)i * 5000);
    for (uint32_t i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(work[i].failures, 0);
    }
    pqe_reader_close(&r);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    free(content);
}

/* What succeeds leaves the caller's error alone. */
static void
test_error_left_alone(void **state)
{
    char *dir = scratch_make();
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
    pqe_vault_opts o = {.size = sizeof o, .backend = b};
    pqe_error e, untouched;
    pqe_vault_info info;

    (void)state;
    memset(&e, 0x5a, sizeof e);
    untouched = e;
    pqe_vault_close(&v);
    o.dir = scratch_path(dir, "vault");
    assert_int_equal(pqe_vault_open(&o, &v, &e), PQE_OK);
    assert_int_equal(pqe_vault_get_info(v, &info, &e), PQE_OK);
    assert_int_equal(pqe_vault_peek(scratch_path(dir, "vault"), &info, &e), PQE_OK);
    assert_int_equal(pqe_vault_unlock(v, 0, &e), PQE_OK);
    assert_int_equal(pqe_vault_get_info(v, &info, &e), PQE_OK);
    assert_memory_equal(&e, &untouched, sizeof e);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    scratch_remove(dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_left_alone),       cmocka_unit_test(test_round_trip_memory),
        cmocka_unit_test(test_round_trip_directory),   cmocka_unit_test(test_other_process),
        cmocka_unit_test(test_replace_and_delete),     cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_bad_arguments),          cmocka_unit_test(test_list),
        cmocka_unit_test(test_writer_abort_and_order), cmocka_unit_test(test_reader),
        cmocka_unit_test(test_name_like_an_id),        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
