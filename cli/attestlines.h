/* SPDX-License-Identifier: Apache-2.0 */
/* A file with one attestation in any form, or with many as JSON lines, read with bounded memory. */
#ifndef PQE_CLI_ATTESTLINES_H
#define PQE_CLI_ATTESTLINES_H

#include <pqc_enclave/attest.h>

#include "cli.h"

#define CLI_ATTESTLINES_BUFFER (2 * (size_t)PQE_ATTEST_MAX)

typedef struct cli_attestlines {
    int fd, errnum; /* errnum: a failed read */
    bool at_end;    /* of the file */
    bool skipping;  /* the rest of a line that was too long */
    size_t start, end;
    char data[CLI_ATTESTLINES_BUFFER];
} cli_attestlines;

/** Reads the beginning. 0 or an errno. The descriptor stays the caller's. */
int cli_attestlines_open(cli_attestlines **lines, int fd);
void cli_attestlines_close(cli_attestlines **lines);
/** True if the file is one attestation, or nothing; its bytes are valid until the close. */
bool cli_attestlines_single(const cli_attestlines *lines, const void **data, size_t *len);
/** The next line that is not blank, valid until the next call; *data NULL at the end. */
pqe_status cli_attestlines_take(cli_attestlines *lines, const void **data, size_t *len, pqe_error *err);

#endif
