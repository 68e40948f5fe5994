/* SPDX-License-Identifier: Apache-2.0 */
/* The process itself: no dumps, sane descriptors, signals that let a command clean up, buffers that are wiped. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Writing past a closed pipe or a file size limit shall be an error with a clean end, not sudden death; a parent that
 * ignores SIGCHLD would hide the status of `exec`'s command. */
static struct {
    int number;
    void (*handler)(int);
    struct sigaction before;
} changed[] = {{.number = SIGPIPE, .handler = SIG_IGN},
               {.number = SIGXFSZ, .handler = SIG_IGN},
               {.number = SIGCHLD, .handler = SIG_DFL}};

static mode_t umask_before;
static bool quieted;
static volatile sig_atomic_t noted_signal;

/* A missing standard descriptor would be the number of the next file opened. Its stand-in fails on use. */
static void
fill_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        if (open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            _exit(1);
    }
}

void
cli_process_harden(void)
{
    /* core(5): 0 stops files alone, 1 programs that take dumps through a pipe as well. */
    const struct rlimit least = {1, 1}, none = {0, 0};

    fill_standard_descriptors();
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (setrlimit(RLIMIT_CORE, &least) != 0)
        (void)setrlimit(RLIMIT_CORE, &none);
    umask_before = umask(077);
    /* tpm2-tss writes what a TPM refuses to standard error, where our own message belongs. No thread is there yet. */
    quieted = getenv("TSS2_LOG") == NULL && setenv("TSS2_LOG", "all+none", 1) == 0;
    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++) {
        struct sigaction action = {.sa_handler = changed[i].handler};
        sigaction(changed[i].number, &action, &changed[i].before);
    }
}

void
cli_process_restore(void)
{
    umask(umask_before);
    if (quieted)
        unsetenv("TSS2_LOG");
    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++)
        sigaction(changed[i].number, &changed[i].before, NULL);
}

void
cli_catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        /* No SA_RESTART: a read from a pipe or terminal ends with EINTR. */
        struct sigaction action = {.sa_handler = cli_interrupt, .sa_flags = (int)SA_RESETHAND}, before;
        sigaction(numbers[i], NULL, &before);
        if (before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
}

void
cli_interrupt(int number)
{
    noted_signal = number;
}

int
cli_interrupted(void)
{
    return noted_signal;
}

void
cli_die_of(int number)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t only;

    sigaction(number, &action, NULL);
    sigemptyset(&only);
    sigaddset(&only, number);
    raise(number);
    sigprocmask(SIG_UNBLOCK, &only, NULL);
    _exit(128 + number);
}

void *
cli_buffer_new(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    (void)madvise(p, size, MADV_DONTDUMP);
    return p;
}

void
cli_buffer_free(void *buffer, size_t size)
{
    if (buffer == NULL)
        return;
    explicit_bzero(buffer, size);
    munmap(buffer, size);
}

size_t
cli_step(uint64_t size)
{
    /* Enough for the library to work on all cores; of what comes through a pipe, not more than is waited for gladly. */
    const size_t most = (size_t)(size == UINT64_MAX ? 1 : 4) << 20;

    return size == 0 ? 1 : size < most ? (size_t)size : most;
}

int
cli_write_all(int fd, const void *data, size_t len)
{
    const uint8_t *p = data;

    while (len > 0) {
        ssize_t n = cli_interrupted() == 0 ? write(fd, p, len) : -1;
        if (cli_interrupted() != 0)
            return EINTR;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : EIO;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int
cli_read_full(int fd, void *buffer, size_t len, size_t *got)
{
    uint8_t *p = buffer;

    *got = 0;
    while (*got < len) {
        ssize_t n = cli_interrupted() == 0 ? read(fd, p + *got, len - *got) : -1;
        if (cli_interrupted() != 0)
            return EINTR;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return 0;
}

int
cli_read_some(int fd, void *buffer, size_t len, size_t *got)
{
    ssize_t n;

    *got = 0;
    do
        n = cli_interrupted() == 0 ? read(fd, buffer, len) : -1;
    while (n < 0 && cli_interrupted() == 0 && errno == EINTR);
    if (cli_interrupted() != 0)
        return EINTR;
    if (n < 0)
        return errno;
    *got = (size_t)n;
    return 0;
}
