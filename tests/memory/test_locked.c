/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locked memory as a vault uses it: where a session's keys are, what a forked child sees of them, and what happens when
 * the process may lock no more. Each case runs in a child of its own with locked memory made in both ways.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit/support.h"
#include "util/secmem.h"
#include "vault/internal.h"

#define READERS 400

/* Sanitizers turn mlock() into nothing, and with it all of this but what a child sees. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NEEDS_MLOCK skip()
#else
#define NEEDS_MLOCK (void)0
#endif

/* ---- one case, one process ---- */

typedef bool (*case_fn)(const char *dir);

static bool
said(bool ok, const char *what, int line)
{
    if (!ok)
        fprintf(stderr, "line %d: %s\n", line, what);
    return ok;
}

/* For use in children, where cmocka's assertions would go on in the parent's place. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!said(condition, #condition, __LINE__))                                                                    \
            return false;                                                                                              \
    } while (0)

static void
run_in_child(case_fn fn, pqe__secmem_mode mode)
{
    char *dir = scratch_make();
    pid_t child = fork();
    int status = 0;

    assert_true(child >= 0);
    if (child == 0) {
        pqe__secmem_set_mode(mode);
        _exit(fn(dir) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    scratch_remove(dir);
    assert_int_equal(status, 0);
}

static void
run_both(case_fn fn)
{
    run_in_child(fn, PQE__SECMEM_AUTO);
    run_in_child(fn, PQE__SECMEM_FALLBACK);
}

/* ---- where the keys are ---- */

/* The flags of the mapping that holds an address, from /proc/self/smaps: " lo dd ". */
static bool
mapping_flags(const void *address, char flags[256])
{
    FILE *f = fopen("/proc/self/smaps", "re");
    uintptr_t at = (uintptr_t)address, start = 0, end = 0;
    char line[1024];
    bool found = false;

    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        uintptr_t a, b;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &a, &b) == 2) {
            start = a;
            end = b;
        }
        found = at >= start && at < end && sscanf(line, "VmFlags:%255[^\n]", flags) == 1;
    }
    if (f != NULL)
        fclose(f);
    return found;
}

/* lo: locked, dd: not in dumps, dc: not in forked children, wf: zeroed there. */
static bool
is_protected(const void *address)
{
    char flags[256] = "";

    return mapping_flags(address, flags) && strstr(flags, " lo") != NULL && strstr(flags, " dd") != NULL &&
           (strstr(flags, " dc") != NULL || strstr(flags, " wf") != NULL);
}

static bool
keys_are_protected(const char *dir)
{
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
    int on_the_stack = 0;

    CHECK(!is_protected(&on_the_stack)); /* the check can fail */
    put_ok(v, "a", "content", 7);
    CHECK(is_protected(v->session->keys->secret));
    CHECK(is_protected((const uint8_t *)v->session->keys->secret + sizeof *v->session->keys->secret - 1));
    CHECK(is_protected(v->session->backend_key));
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    return true;
}

static void
test_keys_are_protected(void **state)
{
    (void)state;
    NEEDS_MLOCK;
    run_both(keys_are_protected);
}

/* What was not written to the pipe could not be read. */
static bool
reads_as_nothing(const void *address, size_t len)
{
    uint8_t buf[64];
    int fds[2];
    ssize_t n;

    if (len > sizeof buf || pipe(fds) != 0)
        return false;
    n = write(fds[1], address, len);
    if (n < 0)
        return errno == EFAULT;
    if (read(fds[0], buf, len) != (ssize_t)len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (buf[i] != 0)
            return false;
    return true;
}

static bool
child_sees_nothing(const char *dir)
{
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
    const pqe__secrets *secret = v->session->keys->secret;
    const void *backend_key = v->session->backend_key;
    int status = 0;
    pid_t child;

    put_ok(v, "a", "content", 7);
    CHECK(!reads_as_nothing(secret->origin, 32)); /* the parent does see them */
    CHECK(!reads_as_nothing(backend_key, 32));
    child = fork();
    if (child == 0)
        _exit(reads_as_nothing(secret->origin, 32) && reads_as_nothing(secret->root, 32) &&
                      reads_as_nothing(secret->wrap[0], 32) && reads_as_nothing(backend_key, 32)
                  ? 0
                  : 1);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK(get_status(v, "a") == PQE_OK);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    return true;
}

static void
test_child_sees_nothing(void **state)
{
    (void)state;
    run_both(child_sees_nothing);
}

/* ---- not enough of it ---- */

/* Sets the limit to what is locked now plus `more`, and gives up the privilege to pass it. */
static bool
limit_locking(rlim_t more)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    unsigned long locked_kib = 0;
    struct rlimit limit;
    char line[256];
    FILE *f = fopen("/proc/self/status", "re");

    if (f == NULL)
        return false;
    while (fgets(line, sizeof line, f) != NULL)
        sscanf(line, "VmLck: %lu", &locked_kib);
    fclose(f);
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || syscall(SYS_capget, &header, data) != 0)
        return false;
    limit.rlim_cur = (rlim_t)locked_kib * 1024 + more;
    data[0].effective &= ~(1u << CAP_IPC_LOCK);
    return limit.rlim_cur <= limit.rlim_max && setrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
           syscall(SYS_capset, &header, data) == 0;
}

static bool
limit_lifted(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0)
        return false;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_MEMLOCK, &limit) == 0;
}

static bool
unlock_without_memory(const char *dir)
{
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault_opts o = {.size = sizeof o, .dir = scratch_path(dir, "vault"), .backend = b, .create = true};
    pqe_error error = {0};
    pqe_vault *v = NULL;
    pid_t maker = fork();
    int status = 0;

    /* Made by another process, so that this one has no locked memory yet. */
    if (maker == 0) {
        v = vault_create(o.dir, backend_keyfile(dir));
        put_ok(v, "a", "content", 7);
        pqe_vault_close(&v);
        _exit(0);
    }
    CHECK(waitpid(maker, &status, 0) == maker && status == 0);
    CHECK(limit_locking(0));
    o.create = false;
    CHECK(pqe_vault_open(&o, &v, &error) == PQE_OK);
    for (int i = 0; i < 3; i++) {
        CHECK(pqe_vault_unlock(v, 0, &error) == PQE_E_NOMEM);
        CHECK(strstr(error.message, "RLIMIT_MEMLOCK") != NULL);
        CHECK(!pqe_vault_is_unlocked(v));
        CHECK(get_status(v, "a") == PQE_E_LOCKED);
    }
    CHECK(limit_lifted());
    CHECK(pqe_vault_unlock(v, 0, &error) == PQE_OK);
    CHECK(get_status(v, "a") == PQE_OK);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    return true;
}

static void
test_unlock_without_memory(void **state)
{
    (void)state;
    NEEDS_MLOCK;
    run_both(unlock_without_memory);
}

static bool
create_without_memory(const char *dir)
{
    pqe_backend *b = backend_keyfile(dir), *m = NULL;
    pqe_vault_opts o = {.size = sizeof o, .dir = scratch_path(dir, "vault"), .backend = b, .create = true};
    pqe_error error = {0};
    pqe_vault *v = NULL;

    CHECK(limit_locking(0));
    CHECK(pqe_backend_open("memory", NULL, &m, &error) == PQE_E_NOMEM && m == NULL);
    CHECK(pqe_vault_open(&o, &v, &error) == PQE_E_NOMEM && v == NULL);
    CHECK(access(o.dir, F_OK) != 0 && access(scratch_path(dir, "key"), F_OK) != 0); /* nothing stays behind */
    CHECK(limit_lifted());
    CHECK(pqe_vault_open(&o, &v, &error) == PQE_OK);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    return true;
}

static void
test_create_without_memory(void **state)
{
    (void)state;
    NEEDS_MLOCK;
    run_both(create_without_memory);
}

/* Readers until no more can be opened; those that are open go on, and closing some makes room. */
static bool
readers_without_memory(const char *dir)
{
    pqe_backend *b = backend_keyfile(dir);
    pqe_vault *v = vault_create(scratch_path(dir, "vault"), b);
    pqe_put_opts po = {.size = sizeof po, .name = "b", .kind = PQE_KIND_OTHER};
    pqe_reader *readers[READERS] = {NULL};
    uint8_t *content = make_content(200000, 1), buf[5000];
    pqe_status status = PQE_OK;
    pqe_error error = {0};
    size_t count = 0, got;

    put_ok(v, "a", content, 200000);
    CHECK(limit_locking((rlim_t)128 << 10));
    while (count < READERS && status == PQE_OK) {
        status = pqe_reader_open(v, "a", &readers[count], &error);
        if (status == PQE_OK)
            status = pqe_reader_read_at(readers[count], 50000, buf, sizeof buf, &got, &error);
        count += status == PQE_OK;
    }
    CHECK(status == PQE_E_NOMEM && count > 0 && count < READERS);
    pqe_reader_close(&readers[count]);
    CHECK(pqe_put(v, &po, content, 20000, NULL, &error) == PQE_E_NOMEM); /* part of a chunk waits in locked memory */
    for (size_t i = 0; i < count; i++) {
        CHECK(pqe_reader_read_at(readers[i], 50000 + i, buf, sizeof buf, &got, &error) == PQE_OK);
        CHECK(got == sizeof buf && memcmp(buf, content + 50000 + i, got) == 0);
    }
    for (size_t i = 0; i < count; i++)
        pqe_reader_close(&readers[i]);
    CHECK(pqe_put(v, &po, content, 100, NULL, &error) == PQE_OK);
    CHECK(get_status(v, "b") == PQE_OK);
    CHECK(pqe_verify(v, NULL, NULL, NULL, NULL, &error) == PQE_OK);
    free(content);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    return true;
}

static void
test_readers_without_memory(void **state)
{
    (void)state;
    NEEDS_MLOCK;
    run_both(readers_without_memory);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_child_sees_nothing),     cmocka_unit_test(test_keys_are_protected),
        cmocka_unit_test(test_unlock_without_memory),  cmocka_unit_test(test_create_without_memory),
        cmocka_unit_test(test_readers_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
