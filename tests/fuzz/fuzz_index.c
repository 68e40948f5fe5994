/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is a vault's index.db. Its answers must be those of the seed vault, or errors: nothing else is under the
 * seeds' keys.
 */
#include "fuzz/fuzz.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[PATH_MAX];

static const char *
in_dir(const char *name)
{
    static char path[2 * PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void
set_up(void)
{
    snprintf(dir, sizeof dir, "%s", fuzz_directory());
    FUZZ_CHECK(mkdir(in_dir("bodies"), 0700) == 0 && mkdir(in_dir("pending"), 0700) == 0);
}

static void
write_index(const uint8_t *data, size_t size)
{
    int fd;

    unlink(in_dir("index.db-wal"));
    unlink(in_dir("index.db-shm"));
    unlink(in_dir("index.db-journal"));
    unlink(in_dir("index.db"));
    fd = open(in_dir("index.db"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}

static void
check_artifact(const pqe_artifact *a, const fuzz_artifact *expected)
{
    FUZZ_CHECK(strcmp(a->name, expected->name) == 0 && a->size_bytes == expected->len && a->is_inline);
}

static void
ask(pqe_vault *v, const fuzz_artifact *expected)
{
    void *content = NULL;
    size_t len = 0;
    pqe_artifact *a = NULL;
    pqe_status status = pqe_get(v, expected->name, &content, &len, &a, NULL);

    FUZZ_CHECK(status != PQE_E_NOT_FOUND && status != PQE_E_LOCKED && status != PQE_E_ARGUMENT);
    if (status == PQE_OK) {
        FUZZ_CHECK(len == expected->len);
        for (size_t i = 0; i < len; i++)
            FUZZ_CHECK(((uint8_t *)content)[i] == fuzz_content(i));
        check_artifact(a, expected);
    }
    pqe_content_free(&content, len);
    pqe_artifact_free(&a);
}

static bool
see(void *user, const pqe_artifact *a)
{
    unsigned *seen = user;

    for (unsigned i = 0; i < FUZZ_ARTIFACTS; i++) {
        if (strcmp(a->name, fuzz_artifacts[i].name) != 0)
            continue;
        FUZZ_CHECK((*seen >> i & 1) == 0);
        *seen |= 1u << i;
        check_artifact(a, &fuzz_artifacts[i]);
        return true;
    }
    fprintf(stderr, "an artifact that is not in the vault\n");
    abort();
}

static void
ask_everything(pqe_vault *v, bool changes)
{
    pqe_put_opts o = {.size = sizeof o, .name = "new", .kind = PQE_KIND_OTHER};
    pqe_artifact *a = NULL;
    pqe_vault_info info;
    unsigned seen = 0;

    pqe_vault_get_info(v, &info, NULL);
    for (size_t i = 0; i < FUZZ_ARTIFACTS; i++)
        ask(v, &fuzz_artifacts[i]);
    FUZZ_CHECK(pqe_info(v, "missing", &a, NULL) != PQE_OK && a == NULL);
    if (pqe_list(v, see, &seen, NULL) == PQE_OK)
        FUZZ_CHECK(seen == (1u << FUZZ_ARTIFACTS) - 1);
    pqe_verify(v, NULL, NULL, NULL, NULL, NULL);
    if (!changes)
        return;
    pqe_put(v, &o, "x", 1, NULL, NULL);
    pqe_delete(v, "new", NULL);
    pqe_rotate(v, NULL, NULL);
    for (size_t i = 0; i < FUZZ_ARTIFACTS; i++)
        ask(v, &fuzz_artifacts[i]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static pqe_backend *backend;
    pqe_vault_opts o = {.size = sizeof o, .dir = dir};
    pqe_vault_info info;
    pqe_vault *v = NULL;

    if (backend == NULL) {
        backend = fuzz_backend();
        set_up();
    }
    o.backend = backend;
    write_index(data, size);
    pqe_vault_peek(dir, &info, NULL);
    if (pqe_vault_open(&o, &v, NULL) != PQE_OK)
        return 0;
    if (pqe_vault_unlock(v, 0, NULL) == PQE_OK)
        ask_everything(v, size > 0 && data[size - 1] % 2 == 1);
    pqe_vault_close(&v);
    return 0;
}
