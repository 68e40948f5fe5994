/* SPDX-License-Identifier: Apache-2.0 */
/* What `put` reads: a file or standard input. */
#ifndef PQE_CLI_INPUT_H
#define PQE_CLI_INPUT_H

#include <stdint.h>

#include "cli.h"
#include "progress.h"

typedef struct cli_input {
    const char *name; /**< for messages */
    int fd;
    uint64_t size; /**< UINT64_MAX: unknown */
} cli_input;

/** Opens `path`, "-" for standard input. 0 or the exit code. */
int cli_input_open(cli *c, const char *path, cli_input *in);
void cli_input_close(cli_input *in);
/** Copies it whole into a writer of the artifact `name`. `progress` may be NULL. 0 or the exit code. */
int cli_input_copy(cli *c, const char *name, const cli_input *in, pqe_writer *writer, cli_progress *progress);

#endif
