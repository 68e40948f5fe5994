/* SPDX-License-Identifier: Apache-2.0 */
/* Running another program: which descriptors it gets, passing signals on to it, its status. */
#ifndef PQE_CLI_CHILD_H
#define PQE_CLI_CHILD_H

#include <stddef.h>

/** From here on SIGINT, SIGTERM, SIGHUP, SIGQUIT wait for cli_child_run(): what was made before it can be unmade. */
void cli_child_hold_signals(void);

/**
 * Runs argv[0] (looked for in $PATH) with standard input, output and error and the descriptors of `keep`, no other.
 * Signals held are passed on, except those that the terminal has sent to both. Returns its status, 128 + the signal
 * that killed it, or -1 with the errno of fork or exec in *errnum.
 */
int cli_child_run(char **argv, const int *keep, size_t keep_count, int *errnum);

#endif
