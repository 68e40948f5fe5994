/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locked memory, made by memfd_secret and by mlock. Each check runs in a process of its own, which starts with an empty
 * pool; it returns 0, or the line that failed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/secmem.h"

/* The sanitizers replace mlock by a function that does nothing. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MLOCK_WORKS false
#else
#define MLOCK_WORKS true
#endif

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            return __LINE__;                                                                                           \
    } while (0)

static void
run_in_child(int (*check)(void), pqe__secmem_mode mode)
{
    int status = 0, line = 0, fd[2];
    pid_t pid;

    assert_int_equal(pipe(fd), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        pqe__secmem_set_mode(mode);
        line = check();
        if (line == 0 && mode == PQE__SECMEM_FALLBACK && pqe__secmem_is_secret())
            line = __LINE__;
        _exit(write(fd[1], &line, sizeof line) == sizeof line ? 0 : 1);
    }
    close(fd[1]);
    if (read(fd[0], &line, sizeof line) != sizeof line)
        line = -1;
    close(fd[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0 || line != 0)
        fail_msg("mode %d: failed at line %d, wait status %d", (int)mode, line, status);
}

static void
run_in_both_modes(int (*check)(void))
{
    run_in_child(check, PQE__SECMEM_FALLBACK);
    run_in_child(check, PQE__SECMEM_AUTO);
}

static bool
all_bytes(const uint8_t *p, size_t len, uint8_t value)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != value)
            return false;
    return true;
}

static int
check_reuse(void)
{
    uint8_t *a = pqe__secmem_alloc(100), *b = pqe__secmem_alloc(1), *c;

    CHECK(a != NULL && b != NULL);
    CHECK((uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0 && b >= a + 128);
    CHECK(all_bytes(a, 100, 0) && all_bytes(b, 1, 0));
    memset(a, 0x5a, 100);
    *b = 0x77;
    pqe__secmem_free(a);
    CHECK(all_bytes(a, 128, 0)); /* the pool keeps the page: free wiped it */
    CHECK(*b == 0x77);
    c = pqe__secmem_alloc(128);
    CHECK(c == a && all_bytes(c, 128, 0));
    pqe__secmem_free(b);
    pqe__secmem_free(c);
    pqe__secmem_free(NULL);
    CHECK(pqe__secmem_alloc(0) == NULL);
    CHECK(pqe__secmem_alloc((size_t)64 * 1024 + 1) == NULL);
    CHECK(pqe__secmem_alloc(SIZE_MAX) == NULL);
    c = pqe__secmem_alloc((size_t)64 * 1024);
    CHECK(c != NULL && c == a);
    a = pqe__secmem_alloc(1); /* a second region */
    CHECK(a != NULL && (a < c || a >= c + 65536));
    pqe__secmem_free(a);
    pqe__secmem_free(c);
    return 0;
}

static void
test_secmem_reuse(void **state)
{
    (void)state;
    run_in_both_modes(check_reuse);
}

/** Finds the mapping that holds `p`; copies its first line and its VmFlags. */
static bool
find_mapping(const void *p, char head[512], char flags[512])
{
    FILE *f = fopen("/proc/self/smaps", "re");
    bool inside = false, found = false;
    unsigned long from, to;
    char line[512];

    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
            inside = (uintptr_t)p >= from && (uintptr_t)p < to;
            if (inside)
                strcpy(head, line);
        } else if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            strcpy(flags, line);
            found = true;
        }
    }
    if (f != NULL)
        fclose(f);
    return found;
}

static int
check_flags(void)
{
    char head[512], flags[512], plain_flags[512], *plain = malloc(100);
    void *p = pqe__secmem_alloc(32);

    CHECK(p != NULL && plain != NULL);
    CHECK(find_mapping(p, head, flags));
    CHECK(strstr(flags, " lo") != NULL || (!MLOCK_WORKS && !pqe__secmem_is_secret())); /* locked */
    CHECK(strstr(flags, " dd") != NULL);                                               /* not dumped */
    if (pqe__secmem_is_secret()) {
        CHECK(strstr(head, "secretmem") != NULL);
        CHECK(strstr(flags, " dc") != NULL); /* not copied by fork */
    } else {
        CHECK(strstr(flags, " wf") != NULL); /* wiped by fork */
    }
    CHECK(find_mapping(plain, head, plain_flags)); /* ordinary memory does not look like this */
    CHECK(strstr(plain_flags, " lo") == NULL && strstr(plain_flags, " dd") == NULL);
    free(plain);
    pqe__secmem_free(p);
    return 0;
}

static void
test_secmem_flags(void **state)
{
    (void)state;
    run_in_both_modes(check_flags);
}

/* In the forked child of the child: 0 if the parent's bytes cannot be seen, and the child's own pool works. */
static int
look_from_fork(uint8_t *p, bool secret, int pipe_fd)
{
    uint8_t seen[64], *mine;
    ssize_t n = write(pipe_fd, p, sizeof seen); /* the kernel reads: EFAULT instead of a signal */

    if (secret)
        CHECK(n == -1 && errno == EFAULT);
    else
        CHECK(n == sizeof seen && all_bytes(p, sizeof seen, 0));
    mine = pqe__secmem_alloc(64);
    CHECK(mine != NULL && all_bytes(mine, 64, 0));
    pqe__secmem_free(mine);
    if (mine != p) /* otherwise the address is this process's own now */
        pqe__secmem_free(p);
    return 0;
}

static int
check_fork(void)
{
    uint8_t *p = pqe__secmem_alloc(64);
    int status = 0, fd[2];
    bool secret = pqe__secmem_is_secret();
    pid_t parent = getpid(), pid;

    CHECK(p != NULL && pipe(fd) == 0);
    memset(p, 0x5a, 64);
    CHECK(pqe__owner_is_here(parent));
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(pqe__owner_is_here(parent) ? 1 : look_from_fork(p, secret, fd[1]) % 256);
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(all_bytes(p, 64, 0x5a)); /* still there for its owner */
    CHECK(write(fd[1], p, 64) == 64);
    pqe__secmem_free(p);
    return 0;
}

static void
test_secmem_fork(void **state)
{
    (void)state;
    run_in_both_modes(check_fork);
}

/* The limit binds ordinary users only, so a test run by root becomes one. */
static int
check_exhaustion(void)
{
    const struct rlimit limit = {256 * 1024, 256 * 1024};
    void *got[64], *again;
    size_t n = 0;

    got[0] = pqe__secmem_alloc(1);
    CHECK(got[0] != NULL);
    pqe__secmem_free(got[0]);
    if (!MLOCK_WORKS)
        return 0;
    if (geteuid() == 0)
        CHECK(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
    CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    while (n < 64 && (got[n] = pqe__secmem_alloc((size_t)64 * 1024)) != NULL)
        n++;
    CHECK(n >= 1 && n <= 4); /* 256 KiB hold four regions */
    CHECK(pqe__secmem_alloc(1) == NULL);
    pqe__secmem_free(got[0]);
    again = pqe__secmem_alloc(1); /* what was freed is there again */
    CHECK(again == got[0]);
    return 0;
}

static void
test_secmem_exhaustion(void **state)
{
    (void)state;
    run_in_both_modes(check_exhaustion);
}

static int
check_double_free(void)
{
    void *p = pqe__secmem_alloc(64);
    pid_t pid;
    int status = 0;

    CHECK(p != NULL);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        p = pqe__secmem_alloc(64);
        pqe__secmem_free(p);
        pqe__secmem_free(p);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    return 0;
}

static void
test_secmem_double_free(void **state)
{
    (void)state;
    run_in_both_modes(check_double_free);
}

static void *
alloc_and_free(void *arg)
{
    uint8_t mark = *(uint8_t *)arg;

    for (size_t i = 0; i < 2000; i++) {
        size_t len = 1 + (i * 37) % 500;
        uint8_t *p = pqe__secmem_alloc(len);

        if (p == NULL || !all_bytes(p, len, 0))
            return "not zero";
        memset(p, mark, len);
        if (!all_bytes(p, len, mark))
            return "overlap";
        pqe__secmem_free(p);
    }
    return NULL;
}

static int
check_threads(void)
{
    uint8_t marks[4] = {1, 2, 3, 4};
    pthread_t threads[4];
    void *failure;

    for (size_t i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, alloc_and_free, &marks[i]) == 0);
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], &failure);
        CHECK(failure == NULL);
    }
    return 0;
}

static void
test_secmem_threads(void **state)
{
    (void)state;
    run_in_both_modes(check_threads);
}

static void
test_wipe(void **state)
{
    uint8_t buf[40];

    (void)state;
    memset(buf, 0x5a, sizeof buf);
    pqe__wipe(buf + 4, 32);
    assert_true(all_bytes(buf, 4, 0x5a) && all_bytes(buf + 4, 32, 0) && all_bytes(buf + 36, 4, 0x5a));
    pqe__wipe(NULL, 0);
    pqe__wipe(buf, 0);
    assert_int_equal(buf[0], 0x5a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secmem_reuse),
        cmocka_unit_test(test_secmem_flags),
        cmocka_unit_test(test_secmem_fork),
        cmocka_unit_test(test_secmem_exhaustion),
        cmocka_unit_test(test_secmem_double_free),
        cmocka_unit_test(test_secmem_threads),
        cmocka_unit_test(test_wipe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
