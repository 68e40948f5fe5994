/* SPDX-License-Identifier: Apache-2.0 */
/* From options and environment to an unlocked vault, and back. */
#ifndef PQE_CLI_SESSION_H
#define PQE_CLI_SESSION_H

#include "cli.h"

/** Sets c->vault_dir: --vault, else $PQC_ENCLAVE_VAULT, else below $XDG_DATA_HOME or ~/.local/share. 0 or the exit
 *  code. `is_default` may be NULL; it tells that the last of the three was used. */
int cli_vault_dir(cli *c, bool *is_default);
/** Where the library keeps a vault's key file unless --key-file names another. To be freed; NULL: out of memory, or
 *  there is no home directory. */
char *cli_key_file(const cli *c, const char *vault_id);

/** True if `path` is in the directory `dir` once links are resolved. Neither need be there yet. */
bool cli_is_inside(const char *dir, const char *path);

/** "name" or "name:key-file=F" for the vault of c->facts, or what is noted of its backend (backend_note.h); to be freed. The
 *  name comes out of the vault, unauthenticated: NULL with errno EINVAL if it could be anything but a bare name, EPERM if
 *  the note is not to be used, ENOMEM. */
char *cli_backend_config(const cli *c);
/** Reads c->facts and opens the vault's backend and the vault, still locked. 0 or the exit code. */
int cli_open_locked(cli *c);
/** Unlocks what cli_open_locked() opened. 0 or the exit code. */
int cli_unlock(cli *c);
/** Opens and unlocks. 0 or the exit code. */
int cli_open(cli *c);
/** Makes a vault on the backend opened by "name:config". 0 or the exit code. */
int cli_create(cli *c, const char *backend_config);
/** Locks and closes: wipes every key. */
void cli_close(cli *c);

#endif
