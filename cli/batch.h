/* SPDX-License-Identifier: Apache-2.0 */
/* `put --batch`: artifacts from JSON lines, all stored in one transaction or none. `get --batch`: the same lines again. */
#ifndef PQE_CLI_BATCH_H
#define PQE_CLI_BATCH_H

#include <stdint.h>
#include <stdio.h>

#include "cli.h"

/** Opens the vault and stores what `path` ("-": standard input) lists. 0 or the exit code. */
int cli_put_batch(cli *c, const char *path);
/** Opens the vault and writes what `path` names to `out`, in lines as cli_put_batch() reads them; *count says how many. 0
 *  or the exit code. */
int cli_get_batch(cli *c, const char *path, FILE *out, uint64_t *count);

#endif
