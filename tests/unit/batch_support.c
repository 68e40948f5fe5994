/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/batch_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bed
bed_make(void)
{
    bed b = {.scratch = scratch_make()};

    b.dir = strdup(scratch_path(b.scratch, "vault"));
    b.backend = backend_keyfile(b.scratch);
    b.v = vault_create(b.dir, b.backend);
    return b;
}

void
bed_drop(bed *b)
{
    pqe_vault_close(&b->v);
    pqe_backend_close(&b->backend);
    free(b->dir);
    scratch_remove(b->scratch);
}

pqe_status
add(pqe_batch *batch, const char *name, const void *content, size_t len)
{
    return pqe_batch_put(batch, &(pqe_put_opts){.size = sizeof(pqe_put_opts), .name = name, .kind = PQE_KIND_OTHER},
                         content, len, NULL);
}

pqe_batch *
start(pqe_vault *v)
{
    pqe_batch *batch = NULL;

    assert_pqe_ok(pqe_batch_open(v, &batch, err));
    return batch;
}

unsigned
files_in(const char *dir, const char *name)
{
    char path[4096];
    unsigned count = 0;
    struct dirent *e;
    DIR *d;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    d = opendir(path);
    assert_non_null(d);
    while ((e = readdir(d)) != NULL)
        count += e->d_name[0] != '.';
    closedir(d);
    return count;
}

void
sound(bed *b, uint64_t artifacts)
{
    pqe_verify_summary s;

    assert_pqe_ok(pqe_verify(b->v, NULL, NULL, NULL, &s, err));
    assert_int_equal(s.artifacts, artifacts);
    assert_int_equal(s.orphans, 0);
    assert_int_equal(files_in(b->dir, "pending"), 0);
}

void *
lock_often(void *arg)
{
    locker *l = arg;

    while (!atomic_load(&l->stop)) {
        pqe_vault_lock(l->v);
        pqe_vault_unlock(l->v, 0, NULL);
        usleep(l->pause_us);
    }
    return NULL;
}
