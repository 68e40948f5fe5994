/* SPDX-License-Identifier: Apache-2.0 */
/* Batches as they are read: one JSON object a line. */
#include "lines.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "process.h"
#include "report.h"

#define BUFFER_FIRST ((size_t)256 << 10)

/* Contents pass through jansson's memory. */
static void
wiping_free(void *p)
{
    if (p != NULL)
        explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

int
cli_lines_fail(const cli_lines *l, pqe_status status, const char *why)
{
    char what[64];

    snprintf(what, sizeof what, "line %" PRIu64 " of the batch", l->line);
    return cli_fail(l->c, status, what, l->in.name, why, l->advice);
}

/* Twice the buffer, so that a line fits; the old one is wiped. */
static int
grow(cli_lines *l)
{
    size_t size = l->capacity != 0 ? 2 * l->capacity : BUFFER_FIRST;
    char *bigger = cli_buffer_new(size);

    if (bigger == NULL)
        return cli_fail_errno(l->c, ENOMEM, "cannot read", l->in.name, NULL);
    if (l->used != 0)
        memcpy(bigger, l->buffer, l->used);
    cli_buffer_free(l->buffer, l->capacity);
    l->buffer = bigger;
    l->capacity = size;
    return 0;
}

static int
fill(cli_lines *l)
{
    size_t got;
    int errnum, code = 0;

    l->used -= l->at;
    if (l->at != 0)
        memmove(l->buffer, l->buffer + l->at, l->used);
    l->at = 0;
    if (l->used == l->capacity && (code = grow(l)) != 0)
        return code;
    errnum = cli_read_some(l->in.fd, l->buffer + l->used, l->capacity - l->used, &got);
    if (errnum != 0)
        return cli_fail_errno(l->c, errnum, "cannot read", l->in.name, NULL);
    l->used += got;
    l->ended = got == 0;
    cli_progress_add(&l->progress, got);
    return 0;
}

/* Takes the next line; *line is NULL at the end of the input. */
static int
take_line(cli_lines *l, const char **line, size_t *len)
{
    size_t searched = 0;

    *line = NULL;
    for (;;) {
        char *start = l->buffer + l->at;
        size_t there = l->used - l->at;
        char *end = there > searched ? memchr(start + searched, '\n', there - searched) : NULL;
        size_t found = end != NULL ? (size_t)(end - start) : there;
        int code;
        if (found > CLI_LINE_MAX) {
            l->line++;
            return cli_lines_fail(l, PQE_E_LIMIT, "it is longer than 16 MiB; give large contents by \"file\"");
        }
        if (end != NULL || (l->ended && there > 0)) {
            l->line++;
            *line = start;
            *len = found;
            l->at += found + (end != NULL ? 1 : 0);
            return 0;
        }
        if (l->ended)
            return 0;
        searched = there;
        if ((code = fill(l)) != 0)
            return code;
    }
}

static bool
is_blank(const char *line, size_t len)
{
    return strspn(line, " \t\r") >= len;
}

int
cli_lines_open(cli *c, const char *path, const char *advice, cli_lines *lines)
{
    *lines = (cli_lines){.c = c, .advice = advice};
    json_set_alloc_funcs(malloc, wiping_free);
    return cli_input_open(c, path, &lines->in);
}

int
cli_lines_next(cli_lines *lines, const char **line, size_t *len)
{
    int code;

    do
        code = cli_interrupted() != 0 ? cli_fail_errno(lines->c, EINTR, "cannot read", lines->in.name, NULL)
                                      : take_line(lines, line, len);
    while (code == 0 && *line != NULL && is_blank(*line, *len));
    return code;
}

void
cli_lines_close(cli_lines *lines)
{
    cli_buffer_free(lines->buffer, lines->capacity);
    cli_input_close(&lines->in);
}
