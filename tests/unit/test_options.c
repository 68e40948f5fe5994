/* SPDX-License-Identifier: Apache-2.0 */
/* Options structs of callers compiled against an older or a newer header, and sizes that are no size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include <pqc_enclave/backend.h>

#include "unit/support.h"

/* A struct of a later version: ours, and 64 bytes that we know nothing of. */
typedef union later {
    pqe_vault_opts vault;
    pqe_put_opts put;
    pqe_rotate_opts rotate;
    pqe_backend_opts backend;
    uint8_t bytes[sizeof(pqe_vault_opts) + sizeof(pqe_put_opts) + 4096];
} later;

static pqe_backend *backend;
static pqe_vault *vault;

typedef pqe_status (*call)(later *opts);

static pqe_status
open_vault(later *opts)
{
    pqe_vault *v = NULL;
    pqe_status status;

    opts->vault.backend = backend;
    opts->vault.create = true;
    status = pqe_vault_open(&opts->vault, &v, NULL);
    pqe_vault_close(&v);
    return status;
}

static pqe_status
put(later *opts)
{
    opts->put.name = "name";
    opts->put.kind = PQE_KIND_OTHER;
    return pqe_put(vault, &opts->put, "x", 1, NULL, NULL);
}

static pqe_status
rotate(later *opts)
{
    return pqe_rotate(vault, &opts->rotate, NULL);
}

static pqe_status
open_backend(later *opts)
{
    pqe_backend *b = NULL;
    pqe_status status = pqe_backend_open("memory", &opts->backend, &b, NULL);

    pqe_backend_close(&b);
    return status;
}

static pqe_status
with_size(call fn, size_t size, size_t marked)
{
    static later opts;

    memset(&opts, 0, sizeof opts);
    memcpy(&opts, &size, sizeof size);
    if (marked != 0)
        opts.bytes[marked] = 1;
    return fn(&opts);
}

static void
check(call fn, size_t ours)
{
    assert_int_equal(with_size(fn, ours, 0), PQE_OK);
    assert_int_equal(with_size(fn, 0, 0), PQE_E_ARGUMENT);
    assert_int_equal(with_size(fn, sizeof(size_t), 0), PQE_E_ARGUMENT);
    /* Longer: as long as nothing is asked for that is unknown here. */
    assert_int_equal(with_size(fn, ours + 64, 0), PQE_OK);
    assert_int_equal(with_size(fn, ours + 64, ours), PQE_E_ARGUMENT);
    assert_int_equal(with_size(fn, ours + 64, ours + 63), PQE_E_ARGUMENT);
    assert_int_equal(with_size(fn, ours + 64, ours + 64), PQE_OK); /* not theirs any more */
    assert_int_equal(with_size(fn, 4096, 0), PQE_OK);
    assert_int_equal(with_size(fn, 4097, 0), PQE_E_ARGUMENT);
    assert_int_equal(with_size(fn, SIZE_MAX, 0), PQE_E_ARGUMENT);
}

static void
test_sizes(void **state)
{
    (void)state;
    backend = backend_memory();
    vault = vault_create(NULL, backend);
    check(open_vault, sizeof(pqe_vault_opts));
    check(put, sizeof(pqe_put_opts));
    check(rotate, sizeof(pqe_rotate_opts));
    check(open_backend, sizeof(pqe_backend_opts));
    /* None at all where they are optional. */
    assert_int_equal(pqe_rotate(vault, NULL, NULL), PQE_OK);
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
