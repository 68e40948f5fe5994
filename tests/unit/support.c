/* SPDX-License-Identifier: Apache-2.0 */
/* Scratch directories, vaults and content for the vault tests. */
#include "unit/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

char *
scratch_make(void)
{
    const char *base = getenv("TMPDIR");
    char *dir = malloc(PATH_MAX);

    assert_non_null(dir);
    snprintf(dir, PATH_MAX, "%s/pqe-test-XXXXXX", base != NULL && *base != '\0' ? base : "/tmp");
    assert_non_null(mkdtemp(dir));
    return dir;
}

static void
run(const char *const argv[])
{
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

void
scratch_remove(char *dir)
{
    run((const char *const[]){"rm", "-rf", dir, NULL});
    free(dir);
}

void
scratch_copy(const char *from, const char *to)
{
    run((const char *const[]){"rm", "-rf", to, NULL});
    run((const char *const[]){"cp", "-a", from, to, NULL});
}

const char *
scratch_path(const char *dir, const char *name)
{
    static char ring[8][PATH_MAX];
    static unsigned next;
    char *path = ring[next++ % 8];

    snprintf(path, PATH_MAX, "%s/%s", dir, name);
    return path;
}

uint8_t *
make_content(size_t len, uint32_t seed)
{
    uint8_t *p = malloc(len + 1);
    uint32_t x = seed * 2654435761u + 1;

    assert_non_null(p);
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (uint8_t)(x >> 24);
    }
    return p;
}

pqe_backend *
backend_memory(void)
{
    pqe_backend *b = NULL;

    assert_pqe_ok(pqe_backend_open("memory", NULL, &b, err));
    return b;
}

pqe_backend *
backend_keyfile(const char *dir)
{
    char config[PATH_MAX + 32];
    pqe_backend *b = NULL;

    snprintf(config, sizeof config, "file:key-file=%s/key", dir);
    assert_pqe_ok(pqe_backend_open(config, NULL, &b, err));
    return b;
}

static pqe_vault *
open_with(const char *dir, pqe_backend *backend, bool create)
{
    pqe_vault_opts o = {.size = sizeof o, .dir = dir, .backend = backend, .create = create};
    pqe_vault *v = NULL;

    assert_pqe_ok(pqe_vault_open(&o, &v, err));
    return v;
}

pqe_vault *
vault_create(const char *dir, pqe_backend *backend)
{
    return open_with(dir, backend, true);
}

pqe_vault *
vault_open_locked(const char *dir, pqe_backend *backend)
{
    return open_with(dir, backend, false);
}

pqe_vault *
vault_open(const char *dir, pqe_backend *backend)
{
    pqe_vault *v = vault_open_locked(dir, backend);

    assert_pqe_ok(pqe_vault_unlock(v, 0, err));
    return v;
}

void
put_ok(pqe_vault *v, const char *name, const void *content, size_t len)
{
    pqe_put_opts o = {.size = sizeof o, .name = name, .kind = PQE_KIND_OTHER};

    assert_pqe_ok(pqe_put(v, &o, content, len, NULL, err));
}

void
get_equals(pqe_vault *v, const char *name, const void *content, size_t len)
{
    void *got = NULL;
    size_t got_len = 0;

    assert_pqe_ok(pqe_get(v, name, &got, &got_len, NULL, err));
    assert_int_equal(got_len, len);
    if (len != 0)
        assert_memory_equal(got, content, len);
    pqe_content_free(&got, got_len);
    assert_null(got);
}

pqe_status
get_status(pqe_vault *v, const char *name)
{
    void *got = NULL;
    size_t got_len = 0;
    pqe_status status = pqe_get(v, name, &got, &got_len, NULL, NULL);

    if (status != PQE_OK)
        assert_null(got);
    pqe_content_free(&got, got_len);
    return status;
}

void
sql(const char *dir, const char *statement)
{
    sqlite3 *db = NULL;
    char *message = NULL;

    assert_int_equal(sqlite3_open(scratch_path(dir, "index.db"), &db), SQLITE_OK);
    if (sqlite3_exec(db, statement, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", statement, message);
    sqlite3_close(db);
}
