/* SPDX-License-Identifier: Apache-2.0 */
/* The backend that a vault is to be put on: for init, rotate --backend and recovery use. */
#ifndef PQE_CLI_NEWBACKEND_H
#define PQE_CLI_NEWBACKEND_H

#include "cli.h"

/** What --backend takes, for completion. */
#define CLI_BACKEND_WORDS "file tpm2 pkcs11:"

/** Checks that such a vault can be. `key_file` NULL: the default place. 0 or the exit code. */
int cli_check_new_backend(cli *c, const char *backend, const char *key_file, bool by_passphrase);
/** "name", "name:passphrase" or "name:key-file=PATH", to be freed; NULL if out of memory. */
char *cli_new_backend_config(const char *backend, const char *key_file, bool by_passphrase);
/** Both, and opens it as c->new_backend. Its passphrase is c->passphrase.new_file's, or asked for. 0 or the exit code. */
int cli_open_new_backend(cli *c, const char *backend, const char *key_file, bool by_passphrase);
/** Once the vault is there, and c->facts says so: notes how it is opened, for the commands to come. 0 or the exit code.
 *  Print the result before: what was done stays done when the note cannot be written. */
int cli_note_new_backend(cli *c, const char *backend);

#endif
