/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a command and says what it cost: spawn COUNT ROOT IN OUT COMMAND [ARGUMENT...]
 *
 * ROOT is the root directory to run it in ("/" for this one), IN and OUT its standard input and output ("-": /dev/null).
 * One line a run: seconds by the clock, seconds of CPU, peak resident memory in KiB, exit status. The command is started
 * with vfork, so that what starts it costs the same whatever its size.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double
now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double
seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static int
open_or_die(const char *path, int flags)
{
    int fd = open(strcmp(path, "-") == 0 ? "/dev/null" : path, flags | O_CLOEXEC, 0600);

    if (fd < 0) {
        perror(path);
        exit(125);
    }
    return fd;
}

int
main(int argc, char **argv)
{
    unsigned long count = argc > 5 ? strtoul(argv[1], NULL, 10) : 0;

    if (count == 0) {
        fprintf(stderr, "usage: spawn COUNT ROOT IN OUT COMMAND [ARGUMENT...]\n");
        return 2;
    }
    for (unsigned long i = 0; i < count; i++) {
        int in = open_or_die(argv[3], O_RDONLY), out = open_or_die(argv[4], O_WRONLY | O_CREAT | O_TRUNC), status = 0;
        struct rusage use;
        double start = now();
        pid_t child = vfork();
        if (child == 0) {
            if (dup2(in, 0) < 0 || dup2(out, 1) < 0 ||
                (strcmp(argv[2], "/") != 0 && (chroot(argv[2]) != 0 || chdir("/") != 0)))
                _exit(125);
            execvp(argv[5], argv + 5);
            _exit(127);
        }
        if (child < 0 || wait4(child, &status, 0, &use) != child) {
            perror("wait4");
            return 125;
        }
        printf("%.6f %.6f %ld %d\n", now() - start, seconds(use.ru_utime) + seconds(use.ru_stime), use.ru_maxrss,
               WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
        close(in);
        close(out);
    }
    return 0;
}
