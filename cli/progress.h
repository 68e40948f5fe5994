/* SPDX-License-Identifier: Apache-2.0 */
/* A progress bar on standard error, for work of over a second on a terminal. */
#ifndef PQE_CLI_PROGRESS_H
#define PQE_CLI_PROGRESS_H

#include <stdint.h>

#include "cli.h"

typedef struct cli_progress {
    bool on, shown;
    const char *label;
    uint64_t total, done; /* bytes; total 0: unknown */
    uint64_t started_ns, drawn_ns;
} cli_progress;

/** True if a bar could be shown at all: standard error is a terminal, no --quiet, no --json. */
bool cli_progress_wanted(const cli *c);
void cli_progress_start(const cli *c, cli_progress *p, const char *label, uint64_t total);
void cli_progress_add(cli_progress *p, uint64_t bytes);
/** The library's callback: `progress` is a cli_progress; false once a signal was noted. */
bool cli_progress_report(void *progress, uint64_t bytes);
/** Removes the bar. */
void cli_progress_end(cli_progress *p);

#endif
