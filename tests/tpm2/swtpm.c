/* SPDX-License-Identifier: Apache-2.0 */
/* Starting, stopping and handling a software TPM. */
#include "tpm2/swtpm.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include "backend/scratch.h"
#include "backend/tpm2/device.h"

static void
die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static bool
in_path(const char *program)
{
    char command[128];

    snprintf(command, sizeof command, "command -v %s >/dev/null", program);
    return system(command) == 0; /* NOLINT(cert-env33-c,concurrency-mt-unsafe): a fixed command of a test */
}

void
swtpm_need(void)
{
    /* What the TPM refuses is what these tests are about. */
    setenv("TSS2_LOG", "all+none", 0); /* NOLINT(concurrency-mt-unsafe): no thread yet */
    if (in_path("swtpm") && in_path("tpm2_getcap"))
        return;
    puts("skipped: no swtpm, or no tpm2-tools");
    exit(SWTPM_SKIPPED);
}

static bool
answers(const char path[108])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok;

    memcpy(address.sun_path, path, sizeof address.sun_path);
    ok = fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static void
run_swtpm(const char *dir)
{
    char state[160], server[160], control[160];
    int null = open("/dev/null", O_RDWR);

    snprintf(state, sizeof state, "dir=%s", dir);
    snprintf(server, sizeof server, "type=unixio,path=%s/sock", dir);
    snprintf(control, sizeof control, "type=unixio,path=%s/sock.ctrl", dir);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    execlp("swtpm", "swtpm", "socket", "--tpm2", "--tpmstate", state, "--server", server, "--ctrl", control, "--flags",
           "not-need-init,startup-clear", (char *)NULL);
    _exit(127);
}

/* Ready when both sockets answer: the one for commands comes last. */
void
swtpm_start(swtpm *t)
{
    char commands[108], control[108];

    snprintf(commands, sizeof commands, "%.90s/sock", t->dir);
    snprintf(control, sizeof control, "%.90s/sock.ctrl", t->dir);
    unlink(commands);
    unlink(control);
    t->pid = fork();
    if (t->pid < 0)
        die("fork");
    if (t->pid == 0)
        run_swtpm(t->dir);
    for (int i = 0; i < 3000; i++) {
        if (answers(control) && answers(commands))
            return;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    puts("swtpm does not start");
    exit(EXIT_FAILURE);
}

void
swtpm_make(swtpm *t, const char *name)
{
    char path[SCRATCH_PATH_MAX];

    snprintf(t->dir, sizeof t->dir, "%s", scratch_path(name, path));
    if (strlen(t->dir) > 90) {
        puts("TMPDIR is too long for a socket");
        exit(EXIT_FAILURE);
    }
    if (mkdir(t->dir, 0700) != 0)
        die(t->dir);
    snprintf(t->tcti, sizeof t->tcti, "swtpm:path=%s/sock", t->dir);
    swtpm_start(t);
}

void
swtpm_stop(swtpm *t, bool kill_it)
{
    if (!kill_it)
        swtpm_tool(t, "tpm2_shutdown");
    kill(t->pid, kill_it ? SIGKILL : SIGTERM);
    waitpid(t->pid, NULL, 0);
}

void
swtpm_mind_leaks(bool mind)
{
#ifdef __SANITIZE_ADDRESS__
    if (mind)
        __lsan_enable();
    else
        __lsan_disable();
#else
    (void)mind;
#endif
}

int
swtpm_tool(const swtpm *t, const char *command)
{
    char whole[1024];
    int status;

    snprintf(whole, sizeof whole, "cd '%s' && export TPM2TOOLS_TCTI='%s' && { %s; } >tool.out 2>&1", t->dir, t->tcti,
             command);
    status = system(whole); /* NOLINT(cert-env33-c,concurrency-mt-unsafe): a command of a test */
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

const char *
swtpm_config(const swtpm *t, const char *options)
{
    static char texts[4][SWTPM_CONFIG_MAX + 64];
    static unsigned next;
    char *text = texts[next++ % 4];

    snprintf(text, sizeof texts[0], "%s;%s", t->tcti, options);
    return text;
}

static pqe_status
count_visit(pqe__tpm2_device *d, void *arg, pqe_error *err)
{
    static const UINT32 ranges[] = {TPM2_NV_INDEX_FIRST, TPM2_TRANSIENT_FIRST, TPM2_LOADED_SESSION_FIRST};
    size_t *count = arg;
    TPMS_CAPABILITY_DATA *found;

    *count = 0;
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        TSS2_RC rc = pqe__tpm2_capability(d, TPM2_CAP_HANDLES, ranges[i], TPM2_MAX_CAP_HANDLES, &found);
        if (rc != TSS2_RC_SUCCESS)
            return pqe__tpm2_fail(d, rc, "count", err);
        *count += found->data.handles.count;
        d->t->Esys_Free(found);
    }
    return PQE_OK;
}

size_t
swtpm_count(const swtpm *t)
{
    char tcti[SWTPM_CONFIG_MAX];
    pqe__tpm2_config config = {.tcti = tcti};
    size_t count = 0;

    memcpy(tcti, t->tcti, sizeof tcti);
    if (pqe__tpm2_visit(&config, count_visit, &count, NULL) != PQE_OK) {
        puts("the TPM's handles cannot be counted");
        exit(EXIT_FAILURE);
    }
    return count;
}
