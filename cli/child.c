/* SPDX-License-Identifier: Apache-2.0 */
/* Running another program: which descriptors it gets, passing signals on to it, its status. */
#include "child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1u << 2)
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

static sigset_t mask_before;
static sigset_t held;

void
cli_child_hold_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD};

    sigemptyset(&held);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaddset(&held, numbers[i]);
    sigprocmask(SIG_BLOCK, &held, &mask_before);
}

/* Before the fork, since reading a directory allocates. */
static void
close_all_on_exec(void)
{
    DIR *d;
    const struct dirent *entry;

    if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    d = opendir("/proc/self/fd"); /* Linux before 5.11 */
    while (d != NULL && (entry = readdir(d)) != NULL) {
        long fd = strtol(entry->d_name, NULL, 10); /* "." and ".." give 0 */
        if (fd > 2 && fd <= INT_MAX)
            (void)fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    }
    if (d != NULL)
        closedir(d);
}

static void
child(char **argv, const int *keep, size_t keep_count, int report)
{
    int errnum;

    for (size_t i = 0; i < keep_count; i++)
        (void)fcntl(keep[i], F_SETFD, 0);
    cli_process_restore();
    sigprocmask(SIG_SETMASK, &mask_before, NULL);
    execvp(argv[0], argv);
    errnum = errno;
    (void)!write(report, &errnum, sizeof errnum);
    _exit(127);
}

static int
wait_for(pid_t pid)
{
    for (;;) {
        siginfo_t info;
        int status, number = sigwaitinfo(&held, &info);

        if (number == SIGCHLD && waitpid(pid, &status, WNOHANG) == pid)
            return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        /* From the terminal (SI_KERNEL) the child has had it too; a second interrupt would mean something else. */
        if (number > 0 && number != SIGCHLD && info.si_code != SI_KERNEL)
            kill(pid, number);
    }
}

int
cli_child_run(char **argv, const int *keep, size_t keep_count, int *errnum)
{
    int report[2], status = 0;
    ssize_t n;
    pid_t pid;

    if (pipe2(report, O_CLOEXEC) != 0) {
        *errnum = errno;
        return -1;
    }
    close_all_on_exec();
    pid = fork();
    if (pid == 0)
        child(argv, keep, keep_count, report[1]);
    *errnum = errno;
    for (size_t i = 0; i < keep_count; i++)
        close(keep[i]);
    close(report[1]);
    if (pid < 0) {
        close(report[0]);
        return -1;
    }
    /* The pipe closes when the program runs, and carries the errno if it cannot. */
    do
        n = read(report[0], errnum, sizeof *errnum);
    while (n < 0 && errno == EINTR);
    close(report[0]);
    status = wait_for(pid);
    return n == (ssize_t)sizeof *errnum ? -1 : status;
}
