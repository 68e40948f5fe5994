/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/recovery_native_support.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pqc_enclave/identity.h>

#include "backend/faulty.h"
#include "backend/nativekem.h"
#include "backend/registry.h"

static const char *const names[SESSIONS] = {"one", "two", "three"};

pqe_backend *
native_device(native_bench *b, const char *key, device_kind kind)
{
    const pqe_backend_ops *ops = &pqe__file_ops;
    pqe_backend *backend = NULL;
    char config[600];

    if (kind != SEALING)
        ops = nativekem_wrap(ops);
    if (kind == FAULTY_NATIVE)
        ops = faulty_wrap(ops);
    snprintf(config, sizeof config, "key-file=%s", scratch_path(b->scratch, key));
    assert_pqe_ok(pqe_backend_open_ops(ops, config, NULL, &backend, err));
    return backend;
}

int
native_set_up(void **state)
{
    native_bench *b = calloc(1, sizeof *b);

    assert_non_null(b);
    b->scratch = scratch_make();
    b->dir = strdup(scratch_path(b->scratch, "vault"));
    b->backend = native_device(b, "key", NATIVE);
    b->vault = vault_create(b->dir, b->backend);
    for (size_t i = 0; i < SESSIONS; i++) {
        put_ok(b->vault, names[i], names[i], strlen(names[i]));
        pqe_vault_lock(b->vault);
        assert_pqe_ok(pqe_vault_unlock(b->vault, 0, err));
    }
    assert_pqe_ok(pqe_identity_create(b->vault, NULL, NULL, err));
    assert_pqe_ok(pqe_recovery_key_generate(&b->first, err));
    assert_pqe_ok(pqe_recovery_key_generate(&b->second, err));
    *state = b;
    return 0;
}

int
native_tear_down(void **state)
{
    native_bench *b = *state;

    pqe_recovery_key_free(&b->first);
    pqe_recovery_key_free(&b->second);
    pqe_vault_close(&b->vault);
    pqe_backend_close(&b->backend);
    scratch_remove(b->scratch);
    free(b->dir);
    free(b);
    nativekem_before(NULL, NULL);
    return 0;
}

void
native_lose(native_bench *b)
{
    pqe_vault_close(&b->vault);
    pqe_backend_close(&b->backend);
    assert_int_equal(unlink(scratch_path(b->scratch, "key")), 0);
}

pqe_status
native_use(const char *dir, const pqe_recovery_key *key, pqe_backend *backend, pqe_vault **vault)
{
    const pqe_recovery_use_opts opts = {.size = sizeof opts, .dir = dir, .key = key, .backend = backend};
    pqe_error err = {0};
    pqe_status status = pqe_recovery_use(&opts, vault, &err);

    assert_int_equal(*vault != NULL, status == PQE_OK);
    if (status != PQE_OK)
        assert_int_equal(err.status, status);
    return status;
}

void
native_check_whole(pqe_vault *vault)
{
    uint8_t signature[PQE_ML_DSA_SIGNATURE_MAX];
    size_t len;

    for (size_t i = 0; i < SESSIONS; i++)
        get_equals(vault, names[i], names[i], strlen(names[i]));
    assert_pqe_ok(pqe_identity_sign(vault, NULL, "m", 1, "c", 1, signature, sizeof signature, &len, err));
    assert_pqe_ok(pqe_verify(vault, NULL, NULL, NULL, NULL, err));
}

void
native_check_recoverable(native_bench *b, const pqe_recovery_key *key)
{
    for (int native = 0; native < 2; native++) {
        pqe_backend *fresh = native_device(b, "copys-key", native ? NATIVE : SEALING);
        char *copy = strdup(scratch_path(b->scratch, "copy"));
        pqe_vault *vault = NULL;
        scratch_copy(b->dir, copy);
        assert_int_equal(native_use(copy, key, fresh, &vault), PQE_OK);
        native_check_whole(vault);
        put_ok(vault, "more", "new", 3);
        pqe_vault_close(&vault);
        vault = vault_open(copy, fresh);
        native_check_whole(vault);
        get_equals(vault, "more", "new", 3);
        pqe_vault_close(&vault);
        assert_int_equal(native_count(copy, RECIPIENTS), native);
        assert_int_equal(native_count(copy, native ? ROWS_ONCE : ROWS_TWICE), 0);
        pqe_backend_close(&fresh);
        scratch_remove(copy);
        assert_int_equal(unlink(scratch_path(b->scratch, "copys-key")), 0);
    }
}

long
native_count(const char *dir, const char *query)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    long n;

    assert_int_equal(sqlite3_open_v2(scratch_path(dir, "index.db"), &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, query, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    n = (long)sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}
