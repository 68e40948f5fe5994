/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery keys as the command reads and shows them. */
#ifndef PQE_CLI_RECOVERY_H
#define PQE_CLI_RECOVERY_H

#include <pqc_enclave/recovery.h>

#include "cli.h"

/** Room for words as people type them, with more spaces than need be. */
#define CLI_WORDS_TYPED_MAX 1024u

/** The key of --file F or --words-file F, else of words typed on the terminal. 0 or the exit code. */
int cli_recovery_read(cli *c, pqe_recovery_key **out);
/** Writes the key to a new file of mode 0600, durably; never over one that is there. 0 or the exit code. */
int cli_recovery_write(cli *c, const pqe_recovery_key *key, const char *path);
/** Shows the words on the terminal and has two of them typed back. 0 or the exit code. */
int cli_recovery_show(cli *c, const pqe_recovery_key *key);
/** Prints the words on standard output. 0 or the exit code. */
int cli_recovery_print(cli *c, const pqe_recovery_key *key);

#endif
