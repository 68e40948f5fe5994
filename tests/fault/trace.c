/* SPDX-License-Identifier: Apache-2.0 */
/* A small tracer: stop at every system call, kill or make fail. */
#include "fault/trace.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault/common.h"

/* Closing these descriptors, which cannot exist, tells the tracer where to begin and end. */
#define MARK_BEGIN (-0x70716501)
#define MARK_END (-0x70716502)

/* As in <linux/ptrace.h>, which cannot be included beside <sys/ptrace.h> everywhere. */
typedef struct syscall_info {
    uint8_t op, pad[3];
    uint32_t arch;
    uint64_t instruction_pointer, stack_pointer;
    union {
        struct {
            uint64_t nr, args[6];
        } entry;
        struct {
            int64_t rval;
            uint8_t is_error;
        } exit;
        uint64_t largest[8];
    } u;
} syscall_info;

#define OP_ENTRY 1
#define OP_EXIT 2
#define GET_SYSCALL_INFO 0x420e

void
trace_begin(void)
{
    syscall(SYS_close, MARK_BEGIN);
}

void
trace_end(void)
{
    syscall(SYS_close, MARK_END);
}

/* ---- changing a call ---- */

#if defined(__x86_64__)
#define CAN_CHANGE 1
static void
change(pid_t child, bool entry, int64_t value)
{
    size_t at = entry ? offsetof(struct user_regs_struct, orig_rax) : offsetof(struct user_regs_struct, rax);

    if (ptrace(PTRACE_POKEUSER, child, (void *)at, (void *)(uintptr_t)value) != 0)
        die("cannot change a system call: %s", strerror(errno));
}
#elif defined(__aarch64__)
#define CAN_CHANGE 1
static void
change(pid_t child, bool entry, int64_t value)
{
    int number = (int)value;
    struct user_regs_struct regs;
    struct iovec io = {&number, sizeof number};
    long rc;

    if (entry) {
        rc = ptrace(PTRACE_SETREGSET, child, (void *)(uintptr_t)NT_ARM_SYSTEM_CALL, &io);
    } else {
        io = (struct iovec){&regs, sizeof regs};
        rc = ptrace(PTRACE_GETREGSET, child, (void *)(uintptr_t)NT_PRSTATUS, &io);
        regs.regs[0] = (uint64_t)value;
        if (rc == 0)
            rc = ptrace(PTRACE_SETREGSET, child, (void *)(uintptr_t)NT_PRSTATUS, &io);
    }
    if (rc != 0)
        die("cannot change a system call: %s", strerror(errno));
}
#else
#define CAN_CHANGE 0
static void
change(pid_t child, bool entry, int64_t value)
{
    (void)child;
    (void)entry;
    (void)value;
}
#endif

/* ---- the loop ---- */

typedef struct tracer {
    trace_fn fn;
    void *user;
    trace_stop stop; /* the call's number and arguments are kept from its entry to its exit */
    bool active;
    int fail_with; /* errno for the exit of the present call, 0 if none */
} tracer;

static trace_verdict
at_entry(tracer *t, const syscall_info *info)
{
    int32_t first = (int32_t)info->u.entry.args[0];
    int error = 0;
    trace_verdict verdict;

    t->stop.entry = true;
    t->stop.call = info->u.entry.nr;
    memcpy(t->stop.args, info->u.entry.args, sizeof t->stop.args);
    t->stop.result = 0;
    if (t->stop.call == SYS_close && (first == MARK_BEGIN || first == MARK_END)) {
        t->active = first == MARK_BEGIN;
        t->stop.index = 0;
        t->stop.call = UINT64_MAX; /* its exit is not reported */
        return TRACE_GO;
    }
    if (!t->active)
        return TRACE_GO;
    verdict = t->fn(t->user, &t->stop, &error);
    t->stop.index++;
    if (verdict == TRACE_FAIL) {
        change(t->stop.child, true, -1);
        t->fail_with = error;
    }
    return verdict;
}

static trace_verdict
at_exit_of(tracer *t, const syscall_info *info)
{
    int error = 0;
    trace_verdict verdict;

    if (t->fail_with != 0) {
        change(t->stop.child, false, -t->fail_with);
        t->fail_with = 0;
        return TRACE_GO;
    }
    if (!t->active || t->stop.call == UINT64_MAX)
        return TRACE_GO;
    t->stop.entry = false;
    t->stop.result = info->u.exit.rval;
    verdict = t->fn(t->user, &t->stop, &error);
    t->stop.index++;
    return verdict;
}

static trace_verdict
at_stop(tracer *t)
{
    syscall_info info;

    memset(&info, 0, sizeof info);
    if (ptrace((enum __ptrace_request)GET_SYSCALL_INFO, t->stop.child, (void *)sizeof info, &info) <= 0)
        die("PTRACE_GET_SYSCALL_INFO: %s", strerror(errno));
    if (info.op == OP_ENTRY)
        return at_entry(t, &info);
    return info.op == OP_EXIT ? at_exit_of(t, &info) : TRACE_GO;
}

static int
follow(tracer *t)
{
    int status = 0, signal_number = 0;

    for (;;) {
        if (ptrace(PTRACE_SYSCALL, t->stop.child, NULL, (void *)(intptr_t)signal_number) != 0)
            die("ptrace: %s", strerror(errno));
        if (waitpid(t->stop.child, &status, __WALL) != t->stop.child)
            die("waitpid: %s", strerror(errno));
        if (!WIFSTOPPED(status))
            return status;
        signal_number = WSTOPSIG(status);
        if (signal_number != (SIGTRAP | 0x80))
            continue; /* a signal of its own: delivered */
        signal_number = 0;
        if (at_stop(t) != TRACE_KILL)
            continue;
        kill(t->stop.child, SIGKILL);
        while (waitpid(t->stop.child, &status, __WALL) == t->stop.child && WIFSTOPPED(status))
            continue;
        return status;
    }
}

static int
run(void (*body)(void *arg), void *arg, trace_fn fn, void *user, int *error)
{
    tracer t = {.fn = fn, .user = user};
    pid_t child = fork();
    int status = 0;

    *error = 0;
    if (child < 0)
        die("fork: %s", strerror(errno));
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(errno);
        raise(SIGSTOP);
        body(arg);
        _exit(0);
    }
    t.stop.child = child;
    if (waitpid(child, &status, __WALL) != child)
        die("waitpid: %s", strerror(errno));
    if (!WIFSTOPPED(status)) {
        *error = WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
        return status;
    }
    if (ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(uintptr_t)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) != 0)
        die("PTRACE_SETOPTIONS: %s", strerror(errno));
    return follow(&t);
}

int
trace_run(void (*body)(void *arg), void *arg, trace_fn fn, void *user)
{
    int error, status = run(body, arg, fn, user, &error);

    if (error != 0)
        die("cannot trace a child: %s", strerror(error));
    return status;
}

/* ---- does it work here? ---- */

static void
probe(void *arg)
{
    (void)arg;
    trace_begin();
    if (syscall(SYS_getppid) != -1 || errno != EXDEV)
        _exit(2);
    trace_end();
}

static trace_verdict
probe_stop(void *user, const trace_stop *stop, int *error)
{
    (void)user;
    *error = EXDEV;
    return stop->entry && stop->call == SYS_getppid ? TRACE_FAIL : TRACE_GO;
}

bool
trace_available(const char **why)
{
    int error, status;

    *why = "this machine's registers are not known to the tracer";
    if (!CAN_CHANGE)
        return false;
    *why = "ptrace is not allowed here";
    status = run(probe, NULL, probe_stop, NULL, &error);
    if (error != 0)
        return false;
    *why = "ptrace does not change results here";
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

const char *
trace_call_name(uint64_t call)
{
    static const struct {
        long call;
        const char *name;
    } names[] = {
        {SYS_write, "write"},         {SYS_pwrite64, "pwrite64"},   {SYS_fsync, "fsync"},
        {SYS_fdatasync, "fdatasync"}, {SYS_openat, "openat"},       {SYS_renameat, "renameat"},
        {SYS_mkdirat, "mkdirat"},     {SYS_ftruncate, "ftruncate"}, {SYS_unlinkat, "unlinkat"},
        {SYS_mmap, "mmap"},           {SYS_fallocate, "fallocate"}, {SYS_pread64, "pread64"},
        {SYS_read, "read"},           {SYS_fcntl, "fcntl"},         {SYS_close, "close"},
        {SYS_munmap, "munmap"},       {SYS_flock, "flock"},         {SYS_getdents64, "getdents64"},
        {SYS_renameat2, "renameat2"}, {SYS_lseek, "lseek"},         {SYS_fchmod, "fchmod"},
#ifdef SYS_open
        {SYS_open, "open"},           {SYS_rename, "rename"},       {SYS_mkdir, "mkdir"},
        {SYS_unlink, "unlink"},       {SYS_rmdir, "rmdir"},         {SYS_access, "access"},
        {SYS_stat, "stat"},           {SYS_lstat, "lstat"},         {SYS_fstat, "fstat"},
#endif
    };
    static char number[32];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if ((uint64_t)names[i].call == call)
            return names[i].name;
    snprintf(number, sizeof number, "call %llu", (unsigned long long)call);
    return number;
}
