/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of a batch, one JSON object each: what `put --batch` and `get --batch` read. */
#ifndef PQE_CLI_LINES_H
#define PQE_CLI_LINES_H

#include "cli.h"
#include "input.h"
#include "progress.h"

/** Longest line, in bytes; a larger content is named by "file". */
#define CLI_LINE_MAX ((size_t)16 << 20)

typedef struct cli_lines {
    cli *c;
    const char *advice; /* with every error of a line; may be NULL */
    cli_input in;
    char *buffer;
    size_t capacity, used, at;
    bool ended;
    uint64_t line; /* number of the line last taken, from 1 */
    cli_progress progress;
} cli_lines;

/** Opens `path`, "-" for standard input; jansson's memory is wiped from now on. 0 or the exit code. */
int cli_lines_open(cli *c, const char *path, const char *advice, cli_lines *lines);
/** The next line that is not blank; *line is NULL at the end, and valid until the next call. 0 or the exit code. */
int cli_lines_next(cli_lines *lines, const char **line, size_t *len);
/** Reports what is wrong with the line last taken. */
int cli_lines_fail(const cli_lines *lines, pqe_status status, const char *why);
/** Also of what could not be opened. */
void cli_lines_close(cli_lines *lines);

#endif
