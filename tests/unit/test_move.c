/* SPDX-License-Identifier: Apache-2.0 */
/* Moving a vault from one backend to another with both at hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pqc_enclave/identity.h>
#include <pqc_enclave/recovery.h>

#include "backend/faulty.h"
#include "backend/nativekem.h"
#include "backend/registry.h"
#include "unit/support.h"

typedef struct bench {
    char *scratch, *dir;
    pqe_backend *backend;
    pqe_vault *vault;
} bench;

static int
set_up(void **state)
{
    bench *b = calloc(1, sizeof *b);

    assert_non_null(b);
    b->scratch = scratch_make();
    b->dir = strdup(scratch_path(b->scratch, "vault"));
    b->backend = backend_keyfile(b->scratch);
    b->vault = vault_create(b->dir, b->backend);
    put_ok(b->vault, "model", "weights", 7);
    assert_pqe_ok(pqe_identity_create(b->vault, NULL, NULL, err));
    *state = b;
    return 0;
}

static int
tear_down(void **state)
{
    bench *b = *state;

    pqe_vault_close(&b->vault);
    pqe_backend_close(&b->backend);
    scratch_remove(b->scratch);
    free(b->dir);
    free(b);
    return 0;
}

static pqe_status
give_passphrase(void *user, pqe_passphrase_purpose purpose, char *buf, size_t capacity, size_t *len)
{
    (void)purpose;
    *len = strlen(user);
    assert_true(*len <= capacity);
    memcpy(buf, user, *len);
    return PQE_OK;
}

static pqe_backend *
by_passphrase(char *text)
{
    const pqe_backend_opts opts = {.size = sizeof opts, .passphrase = give_passphrase, .user = text};
    pqe_backend *backend = NULL;

    assert_pqe_ok(pqe_backend_open("file:passphrase", &opts, &backend, err));
    return backend;
}

static pqe_backend *
by_file(bench *b, const char *name)
{
    char config[600];
    pqe_backend *backend = NULL;

    snprintf(config, sizeof config, "file:key-file=%s", scratch_path(b->scratch, name));
    assert_pqe_ok(pqe_backend_open(config, NULL, &backend, err));
    return backend;
}

static pqe_status
move(pqe_vault *vault, pqe_backend *backend, bool rekey, bool discard)
{
    const pqe_rotate_opts opts = {.size = sizeof opts, .rekey = rekey, .backend = backend, .discard_old = discard};
    pqe_error err = {0};
    pqe_status status = pqe_rotate(vault, &opts, &err);

    if (status != PQE_OK)
        assert_int_equal(err.status, status);
    return status;
}

static bool
is_there(bench *b, const char *name)
{
    return access(scratch_path(b->scratch, name), F_OK) == 0;
}

static void
check_whole(pqe_vault *vault)
{
    uint8_t signature[PQE_ML_DSA_SIGNATURE_MAX];
    size_t len;

    get_equals(vault, "model", "weights", 7);
    assert_pqe_ok(pqe_identity_sign(vault, NULL, "m", 1, "c", 1, signature, sizeof signature, &len, err));
    assert_pqe_ok(pqe_verify(vault, NULL, NULL, NULL, NULL, err));
}

/* Key file, passphrase, another key file; the session goes on each time. */
static void
test_there_and_back(void **state)
{
    bench *b = *state;
    char secret[] = "a passphrase of some length";
    pqe_backend *passphrase = by_passphrase(secret), *file = by_file(b, "key2");
    pqe_vault_info info;

    assert_int_equal(move(b->vault, passphrase, false, false), PQE_OK);
    check_whole(b->vault);
    assert_true(is_there(b, "key"));
    assert_pqe_ok(pqe_vault_get_info(b->vault, &info, err));
    assert_string_equal(info.key_source, "passphrase");
    put_ok(b->vault, "second", "2", 1);
    pqe_vault_lock(b->vault);
    assert_pqe_ok(pqe_vault_unlock(b->vault, 0, err));
    check_whole(b->vault);

    assert_int_equal(move(b->vault, file, true, false), PQE_OK);
    check_whole(b->vault);
    get_equals(b->vault, "second", "2", 1);
    pqe_vault_close(&b->vault);
    pqe_backend_close(&passphrase);
    b->vault = vault_open_locked(b->dir, b->backend);
    assert_int_equal(pqe_vault_unlock(b->vault, 0, NULL), PQE_E_DENIED); /* the first key is no good */
    pqe_vault_close(&b->vault);
    b->vault = vault_open(b->dir, file);
    check_whole(b->vault);
    pqe_vault_close(&b->vault);
    pqe_backend_close(&file);
}

static void
test_discard(void **state)
{
    bench *b = *state;
    pqe_backend *file = by_file(b, "key2"), *again = by_file(b, "key3");

    assert_int_equal(move(b->vault, file, false, true), PQE_OK);
    assert_false(is_there(b, "key"));
    assert_true(is_there(b, "key2"));
    check_whole(b->vault);
    pqe_vault_lock(b->vault);
    assert_pqe_ok(pqe_vault_unlock(b->vault, 0, err)); /* by a key that was attached, not made */
    assert_int_equal(move(b->vault, again, false, true), PQE_OK);
    assert_false(is_there(b, "key2"));
    assert_true(is_there(b, "key3"));
    check_whole(b->vault);
    pqe_vault_close(&b->vault);
    pqe_backend_close(&file);
    pqe_backend_close(&again);
}

/* The same place, or nothing to leave: nothing happens. */
static void
test_refused(void **state)
{
    bench *b = *state;
    const pqe_rotate_opts lonely = {.size = sizeof lonely, .discard_old = true};

    assert_int_equal(move(b->vault, b->backend, false, false), PQE_E_EXISTS);
    check_whole(b->vault);
    assert_int_equal(pqe_rotate(b->vault, &lonely, NULL), PQE_E_ARGUMENT);
    pqe_vault_lock(b->vault);
    assert_int_equal(move(b->vault, b->backend, false, false), PQE_E_LOCKED);
}

/* The same handle of a backend that can hold a vault twice. */
static void
test_same_backend(void **state)
{
    bench *b = *state;
    char secret[] = "one and the same";
    pqe_backend *passphrase = by_passphrase(secret), *memory = backend_memory();

    assert_int_equal(move(b->vault, passphrase, false, false), PQE_OK);
    assert_int_equal(move(b->vault, passphrase, false, false), PQE_OK);
    check_whole(b->vault);
    assert_int_equal(move(b->vault, memory, false, true), PQE_OK);
    assert_int_equal(move(b->vault, memory, false, true), PQE_OK);
    check_whole(b->vault);
    pqe_vault_close(&b->vault);
    b->vault = vault_open(b->dir, memory);
    check_whole(b->vault);
    pqe_vault_close(&b->vault);
    pqe_backend_close(&passphrase);
    pqe_backend_close(&memory);
}

/* Another process's session says what happened, and goes no further. */
static void
test_other_sessions(void **state)
{
    bench *b = *state;
    pqe_backend *file = by_file(b, "key2"), *memory = backend_memory(), *old = backend_keyfile(b->scratch);
    pqe_vault *other = vault_open(b->dir, old);
    pqe_error err = {0};
    pqe_artifact *artifact = NULL;

    get_equals(other, "model", "weights", 7);
    assert_int_equal(move(b->vault, file, false, false), PQE_OK);
    assert_int_equal(pqe_info(other, "model", &artifact, &err), PQE_E_LOCKED);
    assert_non_null(strstr(err.message, "replaced"));
    assert_int_equal(pqe_vault_unlock(other, 0, &err), PQE_E_DENIED);
    pqe_vault_close(&other);

    other = vault_open(b->dir, file);
    assert_int_equal(move(b->vault, memory, false, false), PQE_OK);
    assert_int_equal(pqe_info(other, "model", &artifact, &err), PQE_E_LOCKED);
    assert_non_null(strstr(err.message, "any more"));
    assert_int_equal(pqe_vault_unlock(other, 0, &err), PQE_E_DENIED);
    check_whole(b->vault);
    pqe_vault_close(&other);
    pqe_vault_close(&b->vault);
    pqe_backend_close(&file);
    pqe_backend_close(&memory);
    pqe_backend_close(&old);
}

/* Every call of the new backend fails once: the vault stays, no key is left behind, and in the end it moves. */
static void
test_failing_backend(void **state)
{
    bench *b = *state;
    char config[600];
    pqe_backend *fresh = NULL;
    unsigned n;

    snprintf(config, sizeof config, "key-file=%s", scratch_path(b->scratch, "key2"));
    assert_pqe_ok(pqe_backend_open_ops(faulty_wrap(&pqe__file_ops), config, NULL, &fresh, err));
    for (n = 1; n < 100; n++) {
        pqe_status status;
        faulty_arm(n);
        status = move(b->vault, fresh, n % 2 == 0, false);
        if (status == PQE_OK)
            break;
        assert_int_equal(status, PQE_E_BACKEND);
        assert_false(is_there(b, "key2"));
        check_whole(b->vault);
    }
    faulty_arm(0);
    assert_in_range(n, 4, 50);
    check_whole(b->vault);
    pqe_vault_close(&b->vault);
    b->vault = vault_open(b->dir, fresh);
    check_whole(b->vault);
    pqe_vault_close(&b->vault);
    pqe_backend_close(&fresh);
}

/* Into a device that keeps the vault key itself, from one such key to another, and out of it. */
static void
test_native(void **state)
{
    bench *b = *state;
    char config[600];
    pqe_backend *first = NULL, *second = NULL;
    size_t before = nativekem_pairs();

    snprintf(config, sizeof config, "key-file=%s", scratch_path(b->scratch, "key2"));
    assert_pqe_ok(pqe_backend_open_ops(nativekem_wrap(&pqe__file_ops), config, NULL, &first, err));
    snprintf(config, sizeof config, "key-file=%s", scratch_path(b->scratch, "key3"));
    assert_pqe_ok(pqe_backend_open_ops(nativekem_wrap(&pqe__file_ops), config, NULL, &second, err));
    nativekem_misfit(true);
    assert_int_equal(move(b->vault, first, false, false), PQE_E_BACKEND);
    nativekem_misfit(false);
    assert_int_equal(nativekem_pairs(), before); /* what was made was dropped */
    assert_false(is_there(b, "key2"));
    check_whole(b->vault);
    assert_int_equal(move(b->vault, first, false, false), PQE_OK);
    assert_int_equal(nativekem_pairs(), before + 2);
    check_whole(b->vault);
    put_ok(b->vault, "second", "2", 1);
    assert_int_equal(move(b->vault, second, true, false), PQE_OK);
    assert_int_equal(nativekem_pairs(), before + 4); /* the old ones are kept, as its key is */
    check_whole(b->vault);
    pqe_vault_close(&b->vault);
    unlink(scratch_path(b->scratch, "key"));
    b->vault = vault_open(b->dir, second);
    check_whole(b->vault);
    assert_int_equal(move(b->vault, b->backend, false, true), PQE_OK);
    assert_int_equal(nativekem_pairs(), before + 2); /* these were destroyed with the key */
    check_whole(b->vault);
    get_equals(b->vault, "second", "2", 1);
    pqe_backend_close(&first);
    pqe_backend_close(&second);
}

/* A vault with a recovery key moves, and the recovery key follows it. */
static void
test_with_recovery_key(void **state)
{
    bench *b = *state;
    pqe_recovery_key *key = NULL;
    pqe_backend *memory = backend_memory(), *file = by_file(b, "key2");
    pqe_recovery_use_opts opts = {.size = sizeof opts, .dir = b->dir, .backend = file};

    assert_pqe_ok(pqe_recovery_key_generate(&key, err));
    assert_pqe_ok(pqe_recovery_create(b->vault, key, NULL, err));
    assert_int_equal(move(b->vault, memory, true, false), PQE_OK);
    pqe_vault_close(&b->vault);
    pqe_backend_close(&memory);
    opts.key = key;
    assert_pqe_ok(pqe_recovery_use(&opts, &b->vault, err));
    check_whole(b->vault);
    pqe_vault_close(&b->vault);
    pqe_backend_close(&file);
    pqe_recovery_key_free(&key);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_there_and_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_discard, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_same_backend, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_sessions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failing_backend, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_native, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_with_recovery_key, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
