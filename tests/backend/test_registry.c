/* SPDX-License-Identifier: Apache-2.0 */
/* Opening backends, and what the wrappers make of tables that misbehave. */
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
/* after the headers above */
#include <cmocka.h>

#include "backend/registry.h"
#include "util/error.h"

static const uint8_t vault_id[PQE_VAULT_ID_SIZE] = {7};

/* ---- a backend that does what it is told ---- */

static struct {
    pqe_status status;     /* of every call */
    size_t len;            /* of every output */
    bool gives_key, talks; /* fills the error */
    bool meddles;          /* changes capacity and data of the blob */
    const char *key_source;
    int discards, detaches, closes;
    pqe_backend_opts opts;
    char config[32];
} told;

static atomic_int inside, overlaps; /* calls in the backend at once */

static int dummy_key;

static pqe_status
answer(pqe_blob *out, pqe_error *err)
{
    if (out != NULL) {
        memset(out->data, 0xee, out->capacity);
        out->len = told.len;
        if (told.meddles) {
            out->capacity = SIZE_MAX;
            out->data = NULL;
        }
    }
    if (told.status != PQE_OK && told.talks)
        pqe__set_error(err, told.status, PQE_ORIGIN_DEVICE, 42, "told to fail");
    return told.status;
}

static pqe_status
t_open(const char *config, const pqe_backend_opts *opts, void **self, pqe_error *err)
{
    *self = &told;
    told.opts = *opts;
    snprintf(told.config, sizeof told.config, "%s", config);
    return answer(NULL, err);
}

static void
t_close(void *self)
{
    assert_ptr_equal(self, &told);
    told.closes++;
}

static pqe_status
t_enrol(void *self, const uint8_t id[PQE_VAULT_ID_SIZE], pqe_blob *state, void **key, pqe_error *err)
{
    assert_ptr_equal(self, &told);
    assert_memory_equal(id, vault_id, sizeof vault_id);
    *key = told.gives_key ? &dummy_key : NULL;
    return answer(state, err);
}

static void
t_discard(void *self, const uint8_t id[PQE_VAULT_ID_SIZE], void *key)
{
    (void)self;
    (void)id;
    assert_ptr_equal(key, &dummy_key);
    told.discards++;
}

static pqe_status
t_attach(void *self, const uint8_t id[PQE_VAULT_ID_SIZE], const uint8_t *state, size_t len, void **key, pqe_error *err)
{
    (void)self;
    (void)id;
    (void)state;
    (void)len;
    *key = told.gives_key ? &dummy_key : NULL;
    return answer(NULL, err);
}

static void
t_detach(void *self, void *key)
{
    (void)self;
    assert_ptr_equal(key, &dummy_key);
    told.detaches++;
}

static pqe_status
t_seal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len, pqe_blob *out,
       pqe_error *err)
{
    (void)self;
    (void)key;
    (void)aad;
    (void)aad_len;
    (void)in;
    (void)len;
    if (atomic_fetch_add(&inside, 1) != 0)
        atomic_fetch_add(&overlaps, 1);
    usleep(100);
    atomic_fetch_sub(&inside, 1);
    return answer(out, err);
}

static const char *
t_key_source(const uint8_t *state, size_t len)
{
    (void)state;
    (void)len;
    return told.key_source;
}

static pqe_status
t_change(void *self, const uint8_t id[PQE_VAULT_ID_SIZE], void *key, const uint8_t *state, size_t len, pqe_blob *out,
         pqe_error *err)
{
    (void)self;
    (void)id;
    (void)key;
    (void)state;
    (void)len;
    return answer(out, err);
}

static pqe_backend_ops
good_table(void)
{
    return (pqe_backend_ops){.magic = PQE_BACKEND_MAGIC,
                             .abi = PQE_BACKEND_ABI,
                             .size = sizeof(pqe_backend_ops),
                             .info = {"told", "does what it is told", "software", "everything", PQE_CAP_SEAL},
                             .open = t_open,
                             .close = t_close,
                             .enrol = t_enrol,
                             .discard = t_discard,
                             .attach = t_attach,
                             .detach = t_detach,
                             .seal = t_seal,
                             .unseal = t_seal,
                             .key_source = t_key_source,
                             .change_passphrase = t_change};
}

static int
reset(void **state)
{
    (void)state;
    memset(&told, 0, sizeof told);
    told.len = 10;
    told.gives_key = true;
    told.talks = true;
    told.key_source = "word";
    return 0;
}

/* ---- by name ---- */

static void
lists_the_builtin_backends(void **state)
{
    pqe_backend_info info;
    size_t count = 0;

    (void)state;
    while (pqe_backend_builtin(count, &info)) {
        assert_non_null(info.name);
        assert_int_equal(strcmp(info.protection, "software") == 0, count < 2);
        assert_true(strlen(info.description) > 0 && strlen(info.caveat) > 0);
        assert_ptr_equal(pqe__backend_find(info.name)->info.name, info.name);
        count++;
    }
    assert_true(count >= 2); /* and those that the build found what they need for */
    assert_false(pqe_backend_builtin(SIZE_MAX, &info));
    assert_false(pqe_backend_builtin(0, NULL));
    assert_null(pqe__backend_find("memor"));
    assert_null(pqe__backend_find("memory:"));
    assert_null(pqe__backend_find(""));
    assert_null(pqe__backend_find(NULL));
}

static pqe_status
open_close(const char *config)
{
    pqe_backend *backend = (pqe_backend *)(uintptr_t)1;
    pqe_error err = {0};
    pqe_status status = pqe_backend_open(config, NULL, &backend, &err);

    assert_int_equal(backend != NULL, status == PQE_OK);
    assert_int_equal(err.status, status);
    assert_int_equal(err.message[0] != '\0', status != PQE_OK);
    pqe_backend_close(&backend);
    assert_null(backend);
    return status;
}

static void
opens_by_name(void **state)
{
    (void)state;
    assert_int_equal(open_close("memory"), PQE_OK);
    assert_int_equal(open_close("memory:"), PQE_OK);
    assert_int_equal(open_close("file"), PQE_OK);
    assert_int_equal(open_close("file:"), PQE_OK);
    assert_int_equal(open_close("file:passphrase"), PQE_OK);
    assert_int_equal(open_close("file:key-file=/a:b,c=d"), PQE_OK);
}

static void
refuses_bad_names_and_configurations(void **state)
{
    static char long_path[6000] = "file:key-file=/";

    (void)state;
    assert_int_equal(open_close(NULL), PQE_E_ARGUMENT);
    assert_int_equal(open_close(""), PQE_E_UNAVAILABLE);
    assert_int_equal(open_close(":"), PQE_E_UNAVAILABLE);
    assert_int_equal(open_close("File"), PQE_E_UNAVAILABLE);
    assert_int_equal(open_close("files"), PQE_E_UNAVAILABLE);
    assert_int_equal(open_close("tpm2:device:/dev/tpmrm0"), PQE_E_UNAVAILABLE);
    assert_int_equal(open_close("memory:x"), PQE_E_ARGUMENT);
    assert_int_equal(open_close("file:key-file"), PQE_E_ARGUMENT);
    assert_int_equal(open_close("file:key-file="), PQE_E_ARGUMENT);
    assert_int_equal(open_close("file:passphrase=secret"), PQE_E_ARGUMENT);
    assert_int_equal(open_close("file: passphrase"), PQE_E_ARGUMENT);
    memset(long_path + strlen(long_path), 'x', sizeof long_path - strlen(long_path) - 1);
    assert_int_equal(open_close(long_path), PQE_E_ARGUMENT);
    assert_int_equal(pqe_backend_open("memory", NULL, NULL, NULL), PQE_E_ARGUMENT);
    pqe_backend_close(NULL);
}

/* The configuration may hold what a user mistook for a passphrase field: it is not repeated. */
static void
errors_do_not_repeat_the_configuration(void **state)
{
    pqe_backend *backend;
    pqe_error err = {0};

    (void)state;
    assert_int_equal(pqe_backend_open("file:passphrase=hunter2", NULL, &backend, &err), PQE_E_ARGUMENT);
    assert_null(strstr(err.message, "hunter2"));
    assert_int_equal(pqe_backend_open("flie:passphrase=hunter2", NULL, &backend, &err), PQE_E_UNAVAILABLE);
    assert_null(strstr(err.message, "hunter2"));
    assert_non_null(strstr(err.message, "flie"));
}

/* ---- options and tables ---- */

static pqe_status
no_passphrase(void *user, pqe_passphrase_purpose purpose, char *buf, size_t capacity, size_t *len)
{
    (void)user;
    (void)purpose;
    (void)buf;
    (void)capacity;
    (void)len;
    return PQE_E_CANCELLED;
}

static pqe_status
open_with(const pqe_backend_ops *ops, const pqe_backend_opts *opts)
{
    pqe_backend *backend = (pqe_backend *)(uintptr_t)1;
    pqe_error err = {0};
    pqe_status status = pqe_backend_open_ops(ops, NULL, opts, &backend, &err);

    assert_int_equal(backend != NULL, status == PQE_OK);
    assert_int_equal(err.message[0] != '\0', status != PQE_OK);
    pqe_backend_close(&backend);
    return status;
}

static void
reads_options_by_their_size(void **state)
{
    pqe_backend_ops ops = good_table();
    struct {
        pqe_backend_opts known;
        uint64_t later;
    } opts = {.known = {sizeof opts, no_passphrase, &told}};

    (void)state;
    assert_int_equal(open_with(&ops, NULL), PQE_OK);
    assert_null(told.opts.passphrase);
    assert_string_equal(told.config, "");
    assert_int_equal(open_with(&ops, &opts.known), PQE_OK);
    assert_true(told.opts.passphrase == no_passphrase);
    assert_ptr_equal(told.opts.user, &told);
    assert_int_equal(told.opts.size, sizeof(pqe_backend_opts));
    opts.later = 1;
    assert_int_equal(open_with(&ops, &opts.known), PQE_E_ARGUMENT);
    opts.known.size = 0;
    assert_int_equal(open_with(&ops, &opts.known), PQE_E_ARGUMENT);
    opts.known.size = sizeof(pqe_backend_opts) - 1;
    assert_int_equal(open_with(&ops, &opts.known), PQE_E_ARGUMENT);
    opts.known.size = SIZE_MAX;
    assert_int_equal(open_with(&ops, &opts.known), PQE_E_ARGUMENT);
}

#define REFUSED(change)                                                                                                \
    do {                                                                                                               \
        pqe_backend_ops ops = good_table();                                                                            \
        change;                                                                                                        \
        assert_int_equal(open_with(&ops, NULL), PQE_E_ARGUMENT);                                                       \
    } while (0)

static void
refuses_bad_tables(void **state)
{
    (void)state;
    assert_int_equal(open_with(NULL, NULL), PQE_E_ARGUMENT);
    REFUSED(ops.magic++);
    REFUSED(ops.abi++);
    REFUSED(ops.size = 0);
    REFUSED(ops.size = offsetof(pqe_backend_ops, key_source));
    REFUSED(ops.size = offsetof(pqe_backend_ops, key_source) + 1);
    REFUSED(ops.open = NULL);
    REFUSED(ops.close = NULL);
    REFUSED(ops.enrol = NULL);
    REFUSED(ops.attach = NULL);
    REFUSED(ops.detach = NULL);
    REFUSED(ops.seal = NULL);
    REFUSED(ops.unseal = NULL);
    REFUSED(ops.key_source = NULL);
    REFUSED(ops.info.name = NULL);
    REFUSED(ops.info.name = "");
    REFUSED(ops.info.name = "a:b");
    REFUSED(ops.info.name = "a name that does not fit 32 bytes");
    REFUSED(ops.info.description = NULL);
    REFUSED(ops.info.protection = NULL);
    REFUSED(ops.info.caveat = NULL);
    REFUSED(ops.info.capabilities = PQE_CAP_PERSISTENT);
    assert_int_equal(told.closes, 0);
}

static void
a_failed_open_leaves_nothing(void **state)
{
    pqe_backend_ops ops = good_table();

    (void)state;
    told.status = PQE_E_BACKEND;
    assert_int_equal(open_with(&ops, NULL), PQE_E_BACKEND);
    assert_int_equal(told.closes, 0);
}

/* ---- calls ---- */

typedef struct calls {
    pqe_backend_ops ops;
    pqe_backend *backend;
    uint8_t bytes[64];
    pqe_blob blob;
    void *key;
    pqe_error err;
} calls;

static void
begin(calls *c, pqe_backend_ops ops)
{
    memset(c, 0, sizeof *c);
    c->ops = ops;
    assert_int_equal(pqe_backend_open_ops(&c->ops, "x", NULL, &c->backend, NULL), PQE_OK);
    assert_string_equal(told.config, "x");
    c->blob = (pqe_blob){.data = c->bytes, .capacity = 32};
    c->key = &dummy_key;
}

/* Every call with an output, one after the other, must end with `status` and leave no trace in the output. */
static void
all_fail(calls *c, pqe_status status)
{
    static const uint8_t zeros[32];
    uint8_t in[4] = {1};

    for (int i = 0; i < 4; i++) {
        pqe_status got;
        memset(c->bytes, 0xaa, sizeof c->bytes);
        memset(&c->err, 0, sizeof c->err);
        c->blob.len = 99;
        if (i == 0)
            got = pqe__backend_enrol(c->backend, vault_id, &c->blob, &c->key, &c->err);
        else if (i == 1)
            got = pqe__backend_seal(c->backend, &dummy_key, NULL, 0, in, sizeof in, &c->blob, &c->err);
        else if (i == 2)
            got = pqe__backend_unseal(c->backend, &dummy_key, NULL, 0, in, sizeof in, &c->blob, &c->err);
        else
            got = pqe__backend_change_passphrase(c->backend, vault_id, &dummy_key, in, sizeof in, &c->blob, &c->err);
        assert_int_equal(got, status);
        assert_int_equal(c->err.status, status);
        assert_true(c->err.message[0] != '\0');
        assert_int_equal(c->blob.len, 0);
        assert_memory_equal(c->bytes, zeros, sizeof zeros);
        assert_int_equal(c->bytes[32], 0xaa);
    }
    assert_null(c->key);
}

static void
passes_results_on(void **state)
{
    uint8_t in[4] = {1};
    calls c;

    (void)state;
    begin(&c, good_table());
    assert_int_equal(pqe__backend_seal(c.backend, c.key, NULL, 0, in, sizeof in, &c.blob, &c.err), PQE_OK);
    assert_int_equal(c.blob.len, 10);
    told.meddles = true;
    assert_int_equal(pqe__backend_unseal(c.backend, c.key, NULL, 0, in, sizeof in, &c.blob, &c.err), PQE_OK);
    assert_ptr_equal(c.blob.data, c.bytes);
    assert_int_equal(c.blob.capacity, 32);
    assert_string_equal(pqe__backend_key_source(c.backend->ops, in, sizeof in), "word");
    assert_int_equal(c.err.status, PQE_OK);

    told.status = PQE_E_DENIED;
    assert_int_equal(pqe__backend_seal(c.backend, c.key, NULL, 0, in, sizeof in, &c.blob, &c.err), PQE_E_DENIED);
    assert_string_equal(c.err.message, "told to fail");
    assert_int_equal(c.err.native, 42);
    assert_int_equal(c.err.origin, PQE_ORIGIN_DEVICE);
    pqe_backend_close(&c.backend);
    assert_int_equal(told.closes, 1);
}

static void
distrusts_lengths(void **state)
{
    static const size_t lengths[] = {0, 33, SIZE_MAX};
    calls c;

    (void)state;
    begin(&c, good_table());
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        told.len = lengths[i];
        told.meddles = i == 1;
        all_fail(&c, PQE_E_BACKEND);
    }
    /* enrol() had succeeded: what it made is undone. */
    assert_int_equal(told.discards, 3);
    assert_int_equal(told.detaches, 3);
    pqe_backend_close(&c.backend);
}

static void
distrusts_statuses_and_errors(void **state)
{
    calls c;

    (void)state;
    begin(&c, good_table());
    told.status = PQE_E_DENIED;
    all_fail(&c, PQE_E_DENIED);
    told.talks = false;
    all_fail(&c, PQE_E_DENIED);
    told.status = (pqe_status)3;
    all_fail(&c, PQE_E_BACKEND);
    told.talks = true;
    all_fail(&c, PQE_E_BACKEND);
    assert_int_equal(told.discards + told.detaches, 0);
    pqe_backend_close(&c.backend);
}

static void
wants_a_key(void **state)
{
    calls c;

    (void)state;
    begin(&c, good_table());
    told.gives_key = false;
    assert_int_equal(pqe__backend_enrol(c.backend, vault_id, &c.blob, &c.key, &c.err), PQE_E_BACKEND);
    assert_int_equal(c.blob.len, 0);
    assert_int_equal(pqe__backend_attach(c.backend, vault_id, NULL, 0, &c.key, &c.err), PQE_E_BACKEND);
    assert_null(c.key);
    told.gives_key = true;
    told.status = PQE_E_DENIED; /* a key beside a failure is not a key */
    assert_int_equal(pqe__backend_attach(c.backend, vault_id, NULL, 0, &c.key, &c.err), PQE_E_DENIED);
    assert_null(c.key);
    assert_int_equal(pqe__backend_seal(c.backend, NULL, NULL, 0, vault_id, 1, &c.blob, &c.err), PQE_E_ARGUMENT);
    assert_int_equal(pqe__backend_unseal(c.backend, NULL, NULL, 0, vault_id, 1, &c.blob, &c.err), PQE_E_ARGUMENT);
    pqe__backend_detach(c.backend, NULL);
    pqe__backend_discard(c.backend, vault_id, NULL);
    assert_int_equal(told.discards + told.detaches, 0);
    pqe_backend_close(&c.backend);
}

static void
bounds_what_it_hands_in(void **state)
{
    static uint8_t in[PQE_SEAL_BLOB_MAX + 1];
    calls c;

    (void)state;
    begin(&c, good_table());
    assert_int_equal(pqe__backend_seal(c.backend, c.key, NULL, 0, in, 0, &c.blob, &c.err), PQE_E_ARGUMENT);
    assert_int_equal(pqe__backend_seal(c.backend, c.key, NULL, 0, in, PQE_SEAL_SECRET_MAX + 1, &c.blob, &c.err),
                     PQE_E_LIMIT);
    assert_int_equal(pqe__backend_unseal(c.backend, c.key, NULL, 0, in, sizeof in, &c.blob, &c.err), PQE_E_DECRYPTION);
    assert_int_equal(pqe__backend_seal(NULL, c.key, NULL, 0, in, 1, &c.blob, &c.err), PQE_E_ARGUMENT);
    pqe_backend_close(&c.backend);
}

static void
bounds_key_sources(void **state)
{
    calls c;

    (void)state;
    begin(&c, good_table());
    told.key_source = NULL;
    assert_null(pqe__backend_key_source(c.backend->ops, NULL, 0));
    told.key_source = "a word that does not fit 32 bytes";
    assert_null(pqe__backend_key_source(c.backend->ops, NULL, 0));
    assert_null(pqe__backend_key_source(NULL, NULL, 0));
    pqe_backend_close(&c.backend);
}

/* Entries past the table's size are not there, whatever lies in memory behind it. */
static void
missing_entries_are_unavailable(void **state)
{
    pqe_backend_ops shorter = good_table();
    pqe_backend_ops without = good_table();
    uint8_t in[4] = {1};
    calls c;

    (void)state;
    shorter.size = offsetof(pqe_backend_ops, change_passphrase);
    begin(&c, shorter);
    assert_int_equal(pqe__backend_change_passphrase(c.backend, vault_id, c.key, in, sizeof in, &c.blob, &c.err),
                     PQE_E_UNAVAILABLE);
    assert_true(c.err.message[0] != '\0');
    pqe_backend_close(&c.backend);

    without.change_passphrase = NULL;
    without.discard = NULL;
    begin(&c, without);
    assert_int_equal(pqe__backend_change_passphrase(c.backend, vault_id, c.key, in, sizeof in, &c.blob, &c.err),
                     PQE_E_UNAVAILABLE);
    pqe__backend_discard(c.backend, vault_id, c.key);
    c.ops.seal = NULL; /* cannot be opened like this; the wrapper stands on its own all the same */
    c.ops.unseal = NULL;
    assert_int_equal(pqe__backend_seal(c.backend, c.key, NULL, 0, in, sizeof in, &c.blob, &c.err), PQE_E_UNAVAILABLE);
    assert_int_equal(pqe__backend_unseal(c.backend, c.key, NULL, 0, in, sizeof in, &c.blob, &c.err), PQE_E_UNAVAILABLE);
    pqe_backend_close(&c.backend);
}

/* ---- threads and processes ---- */

static void *
seal_often(void *arg)
{
    uint8_t bytes[16];
    pqe_blob blob = {.data = bytes, .capacity = sizeof bytes};

    for (int i = 0; i < 100; i++)
        pqe__backend_seal(arg, &dummy_key, NULL, 0, vault_id, 1, &blob, NULL);
    return NULL;
}

static void
calls_one_at_a_time(void **state)
{
    pthread_t threads[4];
    calls c;

    (void)state;
    begin(&c, good_table());
    atomic_store(&overlaps, 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, seal_often, c.backend), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&overlaps), 0);
    pqe_backend_close(&c.backend);
}

/* What the backend holds is the parent's: the child must not even close it. */
static void
a_forked_child_calls_nothing(void **state)
{
    calls c;
    pid_t child;
    int result;

    (void)state;
    begin(&c, good_table());
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        pqe_status status = pqe__backend_attach(c.backend, vault_id, NULL, 0, &c.key, NULL);
        pqe__backend_discard(c.backend, vault_id, &dummy_key);
        pqe__backend_detach(c.backend, &dummy_key);
        pqe_backend_close(&c.backend);
        _exit(status == PQE_E_LOCKED && c.key == NULL && told.closes + told.detaches + told.discards == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);
    pqe_backend_close(&c.backend);
    assert_int_equal(told.closes, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(lists_the_builtin_backends, reset),
        cmocka_unit_test_setup(opens_by_name, reset),
        cmocka_unit_test_setup(refuses_bad_names_and_configurations, reset),
        cmocka_unit_test_setup(errors_do_not_repeat_the_configuration, reset),
        cmocka_unit_test_setup(reads_options_by_their_size, reset),
        cmocka_unit_test_setup(refuses_bad_tables, reset),
        cmocka_unit_test_setup(a_failed_open_leaves_nothing, reset),
        cmocka_unit_test_setup(passes_results_on, reset),
        cmocka_unit_test_setup(distrusts_lengths, reset),
        cmocka_unit_test_setup(distrusts_statuses_and_errors, reset),
        cmocka_unit_test_setup(wants_a_key, reset),
        cmocka_unit_test_setup(bounds_what_it_hands_in, reset),
        cmocka_unit_test_setup(bounds_key_sources, reset),
        cmocka_unit_test_setup(missing_entries_are_unavailable, reset),
        cmocka_unit_test_setup(calls_one_at_a_time, reset),
        cmocka_unit_test_setup(a_forked_child_calls_nothing, reset),
    };

    return cmocka_run_group_tests_name("backend registry", tests, NULL, NULL);
}
