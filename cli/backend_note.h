/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a vault's backend is: the line after --backend, noted at `init` in the user's configuration
 * ($XDG_CONFIG_HOME/pqc-enclave/<vault id>.backend), for backends that a name alone does not lead to. It is kept there and
 * not in the vault because it may name code to be loaded: a vault from somebody else must not choose that. No secret is
 * in it.
 */
#ifndef PQE_CLI_BACKEND_NOTE_H
#define PQE_CLI_BACKEND_NOTE_H

#include "cli.h"

/** Writes the note. 0 or the exit code. */
int cli_backend_note_write(cli *c, const char *vault_id, const char *config);
/** Removes it, if there is one: of the backend that a vault has left. */
void cli_backend_note_remove(const char *vault_id);
/** Reads it into *config (to be freed); *config NULL where there is none. 0 or an errno: EPERM where others could have
 *  written it, EINVAL where it is not one line that begins with the backend's name. */
int cli_backend_note_read(const char *vault_id, const char *backend, char **config);
/** Its place; false if there is none. */
bool cli_backend_note_path(const char *vault_id, char *out, size_t capacity);

#endif
