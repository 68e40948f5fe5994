/* SPDX-License-Identifier: Apache-2.0 */
/* The command line, taken apart by the command table. */
#ifndef PQE_CLI_ARGS_H
#define PQE_CLI_ARGS_H

#include "cli.h"

/** Fills `c` from the arguments. 0, or the exit code of a usage error that was reported. */
int cli_parse(cli *c, int argc, char **argv);

#endif
