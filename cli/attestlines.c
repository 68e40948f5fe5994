/* SPDX-License-Identifier: Apache-2.0 */
/* One attestation, or many as JSON lines. */
#include "attestlines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

/* Moves what is left to the front and reads on. */
static void
refill(cli_attestlines *l)
{
    size_t got = 0;

    memmove(l->data, l->data + l->start, l->end - l->start);
    l->end -= l->start;
    l->start = 0;
    if (l->at_end || l->errnum != 0)
        return;
    l->errnum = cli_read_full(l->fd, l->data + l->end, sizeof l->data - l->end, &got);
    l->at_end = l->errnum == 0 && got < sizeof l->data - l->end;
    l->end += got;
}

int
cli_attestlines_open(cli_attestlines **lines, int fd)
{
    cli_attestlines *l = calloc(1, sizeof *l);
    int errnum;

    *lines = l;
    if (l == NULL)
        return ENOMEM;
    l->fd = fd;
    refill(l);
    errnum = l->errnum;
    return errnum;
}

void
cli_attestlines_close(cli_attestlines **lines)
{
    free(*lines);
    *lines = NULL;
}

static bool
is_blank(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r' && line[i] != '\n')
            return false;
    return true;
}

/* COSE begins with a byte that no text begins with. A JSON object may have line breaks between its tokens. */
bool
cli_attestlines_single(const cli_attestlines *l, const void **data, size_t *len)
{
    const char *newline;
    pqe_attestation *a = NULL;
    bool whole;

    *data = l->data;
    *len = l->end;
    if (!l->at_end)
        return l->end > 0 && (unsigned char)l->data[0] == 0xd2;
    if (l->end == 0 || (unsigned char)l->data[0] == 0xd2)
        return true;
    newline = memchr(l->data, '\n', l->end);
    if (newline == NULL || is_blank(newline, (size_t)(l->data + l->end - newline)))
        return true;
    whole = pqe_attestation_decode(l->data, l->end, &a, NULL) == PQE_OK;
    pqe_attestation_free(&a);
    return whole;
}

pqe_status
cli_attestlines_take(cli_attestlines *l, const void **data, size_t *len, pqe_error *err)
{
    *data = NULL;
    for (;;) {
        const char *line = l->data + l->start;
        const char *newline = memchr(line, '\n', l->end - l->start);
        size_t have = l->end - l->start, n = newline != NULL ? (size_t)(newline - line) : have;
        bool was_skipping = l->skipping;

        if (newline == NULL && !l->at_end && l->errnum == 0 && have <= PQE_ATTEST_MAX) {
            refill(l);
            continue;
        }
        if (l->errnum != 0) {
            *err = (pqe_error){.status = PQE_E_IO, .origin = PQE_ORIGIN_IO, .native = l->errnum};
            snprintf(err->message, sizeof err->message, "%s", strerror(l->errnum));
            return PQE_E_IO;
        }
        if (have == 0)
            return PQE_OK;
        l->start += newline != NULL ? n + 1 : n;
        l->skipping = newline == NULL && !l->at_end;
        if (was_skipping || is_blank(line, n))
            continue;
        *data = line;
        *len = n;
        return PQE_OK;
    }
}
