/* SPDX-License-Identifier: Apache-2.0 */
/* doctor: the machine: locked memory, swap, directories for `exec`. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "doctor.h"
#include "linkdir.h"
#include "text.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

/* What the library takes at a time for keys. */
#define KEY_REGION ((size_t)64 << 10)

static bool
secret_memory_works(void)
{
    int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
    void *p = MAP_FAILED;
    bool works;

    if (fd < 0)
        return false;
    if (ftruncate(fd, (off_t)KEY_REGION) == 0)
        p = mmap(NULL, KEY_REGION, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    works = p != MAP_FAILED;
    if (works)
        munmap(p, KEY_REGION);
    close(fd);
    return works;
}

static bool
locking_works(void)
{
    void *p = mmap(NULL, KEY_REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool works;

    if (p == MAP_FAILED)
        return false;
    works = mlock(p, KEY_REGION) == 0;
    munmap(p, KEY_REGION);
    return works;
}

static void
check_memory(doctor *d)
{
    struct rlimit limit = {0, 0};
    char text[32] = "unlimited";

    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        cli_format_size(limit.rlim_cur, text);
    if (secret_memory_works())
        doctor_say(d, DOCTOR_OK, "key-memory", NULL,
                   "keys are kept in memfd_secret memory, which the kernel itself does not map (limit %s)", text);
    else if (locking_works())
        doctor_say(d, DOCTOR_OK, "key-memory", NULL,
                   "keys are kept in locked memory, left out of dumps; memfd_secret is not to be had (limit %s)", text);
    else
        doctor_say(d, DOCTOR_FAIL, "key-memory", "raise the limit of locked memory (ulimit -l)",
                   "no memory can be locked for keys (limit %s)", text);
    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0)
        doctor_say(d, DOCTOR_OK, "dumps", NULL, "core dumps and ptrace by other processes of this user are off");
    else
        doctor_say(d, DOCTOR_FAIL, "dumps", NULL, "core dumps and ptrace could not be turned off");
}

/* /proc/swaps has a heading and a line for each device. Compressed memory (zram) is not a disk. */
static void
check_swap(doctor *d)
{
    FILE *in = fopen("/proc/swaps", "re");
    char line[512];
    int devices = 0;

    for (int i = 0; in != NULL && fgets(line, sizeof line, in) != NULL; i++)
        if (i > 0 && strstr(line, "/zram") == NULL)
            devices++;
    if (in != NULL)
        fclose(in);
    if (devices > 0)
        doctor_say(d, DOCTOR_WARN, "swap", "encrypt the swap device, or use zram",
                   "swap is on: what `exec` hands to a program can be written there (keys cannot)");
    else
        doctor_say(d, DOCTOR_OK, "swap", NULL, "no swap device");
}

static void
check_exec(doctor *d)
{
    size_t stale = cli_linkdir_sweep(false);

    if (cli_linkdir_possible())
        doctor_say(d, DOCTOR_OK, "exec-directory", NULL, "`exec` can make {DIR} in memory");
    else
        doctor_say(d, DOCTOR_WARN, "exec-directory", "mount a tmpfs on /dev/shm, or use {NAME} only",
                   "`exec` cannot make {DIR}: neither $XDG_RUNTIME_DIR nor /dev/shm is kept in memory and writable");
    if (stale > 0)
        doctor_say(d, DOCTOR_WARN, "exec-stale", "the next `exec` removes them",
                   "%zu director%s left by runs of `exec` that were killed", stale, stale == 1 ? "y" : "ies");
}

/* A TPM that is there and not used is worth knowing of; that there is none is no fault of the vault's. */
static void
check_tpm(doctor *d)
{
    pqe_backend *backend = NULL;
    pqe_error error = {0};

    if (pqe_backend_open("tpm2", NULL, &backend, &error) == PQE_OK)
        doctor_say(d, DOCTOR_OK, "tpm", NULL, "a TPM 2.0 is here: `init --backend tpm2` makes a vault that it holds");
    else
        doctor_say(d, DOCTOR_OK, "tpm", NULL, "none to be used: %s", error.message);
    pqe_backend_close(&backend);
}

void
doctor_check_machine(doctor *d)
{
    check_memory(d);
    check_swap(d);
    check_exec(d);
    check_tpm(d);
}
