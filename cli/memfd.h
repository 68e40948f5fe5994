/* SPDX-License-Identifier: Apache-2.0 */
/* An artifact's content in a sealed memory file. */
#ifndef PQE_CLI_MEMFD_H
#define PQE_CLI_MEMFD_H

#include "cli.h"
#include "progress.h"

/**
 * Decrypts what `reader` has into a memory file that nobody can change any more (F_SEAL_WRITE, GROW, SHRINK, SEAL), its
 * position at the start. 0, or the exit code of an error reported about `name`.
 */
int cli_memfd_fill(cli *c, const char *name, pqe_reader *reader, cli_progress *progress, int *out);

#endif
