/* SPDX-License-Identifier: Apache-2.0 */
/* `put --batch`: artifacts from JSON lines, all stored in one transaction or none. */
#ifndef PQE_CLI_BATCH_H
#define PQE_CLI_BATCH_H

#include "cli.h"

/** Longest line, in bytes; a larger content is named by "file". */
#define CLI_BATCH_LINE_MAX ((size_t)16 << 20)

/** Opens the vault and stores what `path` ("-": standard input) lists. 0 or the exit code. */
int cli_put_batch(cli *c, const char *path);

#endif
