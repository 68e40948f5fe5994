/* SPDX-License-Identifier: Apache-2.0 */
/* What the identity commands share. */
#ifndef PQE_CLI_IDENTITY_H
#define PQE_CLI_IDENTITY_H

#include <jansson.h>

#include <pqc_enclave/identity.h>

#include "cli.h"

json_t *cli_identity_json(const pqe_identity *identity);
/** Confirms, or prints the identity as JSON. */
int cli_identity_done(cli *c, const char *what, const pqe_identity *identity);
/** Reports a failure; one that is not found is an identity. */
int cli_identity_report(cli *c, const char *what, const char *object, const pqe_error *error);
/** Reads --name and --algorithm. 0 or the exit code. */
int cli_identity_options(cli *c, pqe_identity_opts *opts);

#endif
