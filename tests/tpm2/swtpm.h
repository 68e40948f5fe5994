/* SPDX-License-Identifier: Apache-2.0 */
/* A software TPM (swtpm) of one test: a process with a socket, its memory in a directory. */
#ifndef PQE_TESTS_TPM2_SWTPM_H
#define PQE_TESTS_TPM2_SWTPM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define SWTPM_CONFIG_MAX 256
#define SWTPM_SKIPPED 77

typedef struct swtpm {
    char dir[128];
    char tcti[SWTPM_CONFIG_MAX]; /* swtpm:path=... */
    pid_t pid;
} swtpm;

/** Ends the test program with 77 if there is no swtpm or a tool to work on it with is missing. */
void swtpm_need(void);

/** A new TPM below the scratch directory, running. */
void swtpm_make(swtpm *t, const char *name);
/** Switches it off. `kill` true: pulls the plug. */
void swtpm_stop(swtpm *t, bool kill);
/** Switches it on again. */
void swtpm_start(swtpm *t);

/** Whether LeakSanitizer minds what this thread allocates: tpm2-tss (seen in 4.1) forgets what it allocated for a
    connection that fails. Calls come in pairs, false and true. */
void swtpm_mind_leaks(bool mind);

/** Runs a program of tpm2-tools on it, "tpm2_clear -c p". Returns its exit status; it prints nothing. */
int swtpm_tool(const swtpm *t, const char *command);

/** The TCTI with options behind it: "swtpm:path=...;pin". Static storage of four, used in turn. */
const char *swtpm_config(const swtpm *t, const char *options);

/** NV indices in it, and objects and sessions loaded in it. */
size_t swtpm_count(const swtpm *t);

#endif
