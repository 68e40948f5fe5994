/* SPDX-License-Identifier: Apache-2.0 */
/* A counted vault, copies of its directory, and its device. */
#include "unit/rollback_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pqc_enclave/recovery.h>

#include "backend/registry.h"

pqe_backend *
bed_device(const bed *b, const pqe_backend_ops *ops)
{
    char config[PATH_MAX * 2];
    pqe_backend *backend = NULL;

    snprintf(config, sizeof config, "%s/device|key-file=%s/key", b->scratch, b->scratch);
    assert_pqe_ok(pqe_backend_open_ops(ops, config, NULL, &backend, err));
    return backend;
}

const pqe_backend_ops *
counting_file(void)
{
    return counting_wrap(pqe__backend_find("file"));
}

void
bed_make(bed *b, unsigned flags)
{
    memset(b, 0, sizeof *b);
    counting_set(flags);
    b->scratch = scratch_make();
    snprintf(b->dir, sizeof b->dir, "%s/vault", b->scratch);
    b->backend = bed_device(b, counting_file());
    b->vault = vault_create(b->dir, b->backend);
    put_ok(b->vault, "first", "1", 1);
    counting_advances();
    counting_reads();
}

void
bed_close(bed *b)
{
    pqe_vault_close(&b->vault);
}

void
bed_end(bed *b)
{
    counting_break(COUNTING_SOUND);
    bed_close(b);
    pqe_backend_close(&b->backend);
    scratch_remove(b->scratch);
}

/* Keeps a copy of the vault's directory under a name; puts it in the vault's place. The vault is closed meanwhile. */
void
bed_keep(bed *b, const char *name)
{
    bool open = b->vault != NULL;

    bed_close(b);
    scratch_copy(b->dir, scratch_path(b->scratch, name));
    if (open)
        b->vault = vault_open(b->dir, b->backend);
}

void
bed_put_back(bed *b, const char *name)
{
    bed_close(b);
    scratch_copy(scratch_path(b->scratch, name), b->dir);
}

pqe_status
bed_try_open(bed *b, bool read_only, pqe_error *error)
{
    pqe_vault_opts o = {.size = sizeof o, .dir = b->dir, .backend = b->backend, .read_only = read_only};
    pqe_status status;

    bed_close(b);
    assert_pqe_ok(pqe_vault_open(&o, &b->vault, err));
    status = pqe_vault_unlock(b->vault, 0, error);
    if (status != PQE_OK) {
        assert_false(pqe_vault_is_unlocked(b->vault));
        bed_close(b);
    }
    return status;
}

void
bed_opens(bed *b)
{
    pqe_error error = {0};

    if (bed_try_open(b, false, &error) != PQE_OK)
        fail_msg("%s: %s", pqe_status_name(error.status), error.message);
}

void
bed_refused(bed *b, const char *words)
{
    pqe_error error = {0};

    for (int read_only = 0; read_only < 2; read_only++) {
        assert_int_equal(bed_try_open(b, read_only != 0, &error), PQE_E_ROLLBACK);
        assert_int_equal(error.status, PQE_E_ROLLBACK);
        if (strstr(error.message, words) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", error.message, words);
    }
}

uint64_t
bed_generation(const bed *b)
{
    pqe_vault_info info;

    assert_pqe_ok(pqe_vault_peek(b->dir, &info, err));
    return info.generation;
}

pqe_status
put_content(pqe_vault *v, const char *name, size_t len, uint32_t seed, pqe_error *err)
{
    pqe_put_opts o = {.size = sizeof o, .name = name, .kind = PQE_KIND_OTHER};
    uint8_t *data = make_content(len, seed);
    pqe_status status = pqe_put(v, &o, data, len, NULL, err);

    free(data);
    return status;
}

void
has_content(pqe_vault *v, const char *name, size_t len, uint32_t seed)
{
    uint8_t *data = make_content(len, seed);

    get_equals(v, name, data, len);
    free(data);
}

void
bed_device_file(const bed *b, const char *ending, char path[PATH_MAX])
{
    pqe_vault_info info;

    assert_pqe_ok(pqe_vault_peek(b->dir, &info, err));
    snprintf(path, PATH_MAX, "%s/device/%s.%s", b->scratch, info.vault_id, ending);
}

uint64_t
bed_counter(const bed *b)
{
    char path[PATH_MAX];
    uint64_t value = 0;
    FILE *f;

    bed_device_file(b, "counter", path);
    f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(&value, sizeof value, 1, f), 1);
    fclose(f);
    return value;
}

void
bed_set_counter(const bed *b, uint64_t value)
{
    char path[PATH_MAX];
    FILE *f;

    bed_device_file(b, "counter", path);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(&value, sizeof value, 1, f), 1);
    fclose(f);
}

void
bed_accept(bed *b, uint64_t found, uint64_t expected, uint64_t now)
{
    pqe_rollback told;

    bed_close(b);
    b->vault = vault_open_locked(b->dir, b->backend);
    assert_pqe_ok(pqe_recovery_accept_rollback(b->vault, 0, &told, err));
    assert_true(pqe_vault_is_unlocked(b->vault));
    assert_int_equal(told.found, found);
    assert_int_equal(told.expected, expected);
    assert_int_equal(told.generation, now);
    assert_int_equal(bed_generation(b), now);
}
