/* SPDX-License-Identifier: Apache-2.0 */
/* What the fault tests share. */
#include "fault/common.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backend/counting.h"
#include "backend/nativekem.h"
#include "backend/registry.h"
#include "unit/support.h"

void
die(const char *format, ...)
{
    struct rlimit r;
    va_list ap;

    /* A test may have limited the size of files, and stderr may be one. */
    if (getrlimit(RLIMIT_FSIZE, &r) == 0 && r.rlim_cur != r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_FSIZE, &r);
    }
    fflush(stdout);
    fputs("FAILED: ", stderr);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    fflush(stderr);
    _exit(1);
}

bool
long_form(void)
{
    const char *beds = getenv("PQE_BEDS");

    return beds != NULL && strcmp(beds, "1") == 0;
}

bool
sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    return false;
#endif
}

double
seconds_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

uint64_t
seed_from_environment(void)
{
    const char *text = getenv("PQE_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : (uint64_t)(seconds_now() * 1e6);

    printf("seed %llu (repeat with PQE_SEED)\n", (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

uint32_t
draw(uint64_t *state, uint32_t below)
{
    uint64_t z;

    /* splitmix64 */
    *state += 0x9e3779b97f4a7c15u;
    z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32) % below;
}

/* ---- files ---- */

const char *
path_in(const char *dir, const char *name)
{
    static char ring[16][PATH_MAX];
    static unsigned next;
    char *path = ring[next++ % 16];
    int n = snprintf(path, PATH_MAX, "%s/%s", dir, name);

    if (n < 0 || n >= PATH_MAX)
        die("a path is too long: %s/%s", dir, name);
    return path;
}

static void
file_copy(int from_dir, int to_dir, const char *name)
{
    char buf[65536];
    int from = openat(from_dir, name, O_RDONLY | O_CLOEXEC);
    int to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ssize_t n = -1;

    while (from >= 0 && to >= 0 && (n = read(from, buf, sizeof buf)) > 0)
        if (write(to, buf, (size_t)n) != n)
            die("cannot copy %s: %s", name, strerror(errno));
    if (n < 0)
        die("cannot copy %s: %s", name, strerror(errno));
    close(from);
    close(to);
}

/* Takes over `from`. */
static void
copy_into(int from, int to)
{
    DIR *d = fdopendir(from);
    struct dirent *e;

    if (d == NULL)
        die("cannot list a directory: %s", strerror(errno));
    while ((e = readdir(d)) != NULL) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (fstatat(from, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            die("cannot examine %s: %s", e->d_name, strerror(errno));
        if (!S_ISDIR(st.st_mode)) {
            file_copy(from, to, e->d_name);
        } else {
            int sub_from, sub_to;
            if (mkdirat(to, e->d_name, 0700) != 0)
                die("cannot make %s: %s", e->d_name, strerror(errno));
            sub_from = openat(from, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            sub_to = openat(to, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            copy_into(sub_from, sub_to);
            close(sub_to);
        }
    }
    closedir(d);
}

void
tree_copy(const char *from, const char *to)
{
    int source = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC), target;

    if (source < 0 || mkdir(to, 0700) != 0)
        die("cannot copy %s to %s: %s", from, to, strerror(errno));
    target = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    copy_into(source, target);
    close(target);
}

/* Takes over `fd`. */
static void
empty_directory(int fd)
{
    DIR *d = fdopendir(fd);
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (unlinkat(fd, e->d_name, 0) == 0)
            continue;
        empty_directory(openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (unlinkat(fd, e->d_name, AT_REMOVEDIR) != 0)
            die("cannot remove %s: %s", e->d_name, strerror(errno));
    }
    if (d != NULL)
        closedir(d);
}

void
tree_remove(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return;
    empty_directory(fd);
    if (rmdir(dir) != 0)
        die("cannot remove %s: %s", dir, strerror(errno));
}

/* ---- processes ---- */

int
wait_for(pid_t child)
{
    int status = 0;

    while (waitpid(child, &status, 0) != child)
        if (errno != EINTR)
            die("waitpid: %s", strerror(errno));
    return status;
}

/* ---- vaults ---- */

static bool counted, native;

void
base_choose_device(int argc, char **argv)
{
    counted = argc > 1 && strcmp(argv[1], "counted") == 0;
    native = argc > 1 && strcmp(argv[1], "native") == 0;
    if (counted || native)
        puts(counted ? "with a counter" : "with keys of the device's");
}

bool
base_counts(void)
{
    return counted;
}

pqe_status
base_backend(const char *base, const char *key, pqe_backend **out, pqe_error *err)
{
    const pqe_backend_ops *file = pqe__backend_find("file");
    char config[2 * PATH_MAX + 64];

    if (counted) {
        snprintf(config, sizeof config, "%s/device-%s|key-file=%s/%s", base, key, base, key);
        return pqe_backend_open_ops(counting_wrap(file), config, NULL, out, err);
    }
    snprintf(config, sizeof config, "key-file=%s/%s", base, key);
    return pqe_backend_open_ops(native ? nativekem_wrap(file) : file, config, NULL, out, err);
}

static void
open_base(const char *base, const char *key, bool create, vault_pair *out)
{
    pqe_vault_opts o = {.size = sizeof o, .dir = path_in(base, "vault"), .create = create};

    *out = (vault_pair){NULL, NULL};
    must(base_backend(base, key, &out->backend, err));
    o.backend = out->backend;
    must(pqe_vault_open(&o, &out->vault, err));
}

void
base_create(const char *base, vault_pair *out)
{
    open_base(base, "key", true, out);
}

void
base_open(const char *base, vault_pair *out)
{
    open_base(base, "key", false, out);
    if (pqe_vault_unlock(out->vault, 0, NULL) == PQE_OK)
        return;
    base_close(out);
    open_base(base, "key2", false, out);
    must(pqe_vault_unlock(out->vault, 0, err));
}

void
base_close(vault_pair *pair)
{
    pqe_vault_close(&pair->vault);
    pqe_backend_close(&pair->backend);
}

void
check_older_refused(const char *base, const char *older, const char *where)
{
    pqe_vault_opts o = {.size = sizeof o};
    pqe_vault_info now, then;
    pqe_error error = {0};
    vault_pair p = {NULL, NULL};
    pqe_status status;

    if (!counted)
        return;
    must(pqe_vault_peek(path_in(base, "vault"), &now, err));
    must(pqe_vault_peek(path_in(older, "vault"), &then, err));
    tree_remove(path_in(base, "vault"));
    tree_copy(path_in(older, "vault"), path_in(base, "vault"));
    must(base_backend(base, "key", &p.backend, err));
    o.dir = path_in(base, "vault");
    o.backend = p.backend;
    must(pqe_vault_open(&o, &p.vault, err));
    status = pqe_vault_unlock(p.vault, 0, &error);
    if (status != (then.generation < now.generation ? PQE_E_ROLLBACK : PQE_OK))
        die("%s: generation %llu in place of %llu: %s: %s", where, (unsigned long long)then.generation,
            (unsigned long long)now.generation, pqe_status_name(status), error.message);
    base_close(&p);
}

pqe_status
put_seeded(pqe_vault *v, const char *name, size_t len, uint32_t seed, pqe_error *err)
{
    pqe_put_opts o = {.size = sizeof o, .name = name, .kind = PQE_KIND_OTHER};
    uint8_t *data = make_content(len, seed);
    pqe_status status = pqe_put(v, &o, data, len, NULL, err);

    free(data);
    return status;
}

/* ---- batches ---- */

static const struct {
    unsigned name;
    size_t len;
    uint32_t seed;
} batch_plan[] = {
    {5, 500, 201}, {0, 80000, 202}, {6, 90000, 203}, {1, 300, 204},    {2, 120000, 205}, {8, 66000, 206},
    {8, 100, 207}, {9, 100, 208},   {9, 70000, 209}, {10, 30000, 210}, {5, 600, 211},
};
#define BATCH_PLAN (sizeof batch_plan / sizeof batch_plan[0])

pqe_status
put_batch(pqe_vault *v, pqe_error *err)
{
    pqe_batch *batch = NULL;
    pqe_status status = pqe_batch_open(v, &batch, err);

    for (size_t i = 0; i < BATCH_PLAN && status == PQE_OK; i++) {
        char name[32];
        pqe_put_opts o = {.size = sizeof o, .name = name, .kind = PQE_KIND_OTHER};
        uint8_t *data = make_content(batch_plan[i].len, batch_plan[i].seed);
        model_name(0, batch_plan[i].name, name);
        status = pqe_batch_put(batch, &o, data, batch_plan[i].len, err);
        free(data);
    }
    if (status == PQE_OK)
        return pqe_batch_commit(&batch, NULL, err);
    pqe_batch_abort(&batch);
    return status;
}

void
apply_batch(model *m)
{
    for (size_t i = 0; i < BATCH_PLAN; i++)
        m->names[batch_plan[i].name] = (content){true, batch_plan[i].len, batch_plan[i].seed};
}

/* ---- model ---- */

void
model_name(unsigned owner, unsigned i, char out[32])
{
    snprintf(out, 32, "w%u-artifact-%u", owner, i);
}

static bool
is_content(const content *c, bool present, const void *data, size_t len)
{
    uint8_t *expected;
    bool same;

    if (!c->present || !present)
        return c->present == present;
    if (c->len != len)
        return false;
    expected = make_content(len, c->seed);
    same = len == 0 || memcmp(expected, data, len) == 0;
    free(expected);
    return same;
}

const content *
model_match(pqe_vault *v, const char *name, const content *a, const content *b, const char *where)
{
    pqe_error err = {0};
    void *data = NULL;
    size_t len = 0;
    pqe_status status = pqe_get(v, name, &data, &len, NULL, &err);
    const content *match = NULL;

    if (status != PQE_OK && status != PQE_E_NOT_FOUND)
        die("%s: get \"%s\": %s: %s", where, name, pqe_status_name(status), err.message);
    if (is_content(a, status == PQE_OK, data, len))
        match = a;
    else if (is_content(b, status == PQE_OK, data, len))
        match = b;
    else
        die("%s: \"%s\" %s (%zu bytes), but should be %s (%zu bytes) or %s (%zu bytes)", where, name,
            status == PQE_OK ? "has content" : "is absent", len, a->present ? "present" : "absent", a->len,
            b->present ? "present" : "absent", b->len);
    pqe_content_free(&data, len);
    return match;
}

void
check_verified(pqe_vault *v, int artifacts, bool alone, const char *where)
{
    pqe_error err = {0};
    pqe_verify_summary s;
    pqe_status status = pqe_verify(v, NULL, NULL, NULL, &s, &err);

    if (status != PQE_OK)
        die("%s: verify: %s: %s", where, pqe_status_name(status), err.message);
    if (s.damaged != 0 || (artifacts >= 0 && s.artifacts != (uint64_t)artifacts))
        die("%s: verify found %llu artifacts, %llu damaged; expected %d", where, (unsigned long long)s.artifacts,
            (unsigned long long)s.damaged, artifacts);
    if (alone && s.orphans != 0)
        die("%s: verify found %llu orphaned body files", where, (unsigned long long)s.orphans);
}

void
check_nothing_pending(const char *base, const char *where)
{
    DIR *d = opendir(path_in(base, "vault/pending"));
    struct dirent *e;

    if (d == NULL)
        die("%s: cannot list pending/: %s", where, strerror(errno));
    while ((e = readdir(d)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            die("%s: pending/%s is left over", where, e->d_name);
    closedir(d);
}

bool
check_base(const char *base, const model *before, const model *after, const char *where)
{
    vault_pair p;
    bool is_before = true, is_after = after != NULL;
    int count = 0;
    char name[32];

    base_open(base, &p);
    if (after == NULL)
        after = before;
    for (unsigned i = 0; i < MODEL_NAMES; i++) {
        const content *a = &before->names[i], *b = &after->names[i], *m;
        model_name(0, i, name);
        m = model_match(p.vault, name, a, b, where);
        count += m->present;
        if (a->present != b->present || a->seed != b->seed || a->len != b->len) {
            is_before = is_before && m == a;
            is_after = is_after && m == b;
        }
    }
    if (!is_before && !is_after)
        die("%s: a mixture of the states before and after", where);
    check_verified(p.vault, count, true, where);
    check_nothing_pending(base, where);
    base_close(&p);
    return is_after && !is_before;
}
