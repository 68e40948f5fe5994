/* SPDX-License-Identifier: Apache-2.0 */
/* The user's directories (XDG Base Directory Specification), and the default place of key files. */
#ifndef PQE_UTIL_USERDIR_H
#define PQE_UTIL_USERDIR_H

#include <stdbool.h>
#include <stddef.h>

/** Writes $`variable`/rest, else `fallback`/rest in the home directory ($HOME, else the user database's). False if there is
 *  none (errno ENOENT), or the path does not fit (ENAMETOOLONG). In a program that runs with the rights of another the environment is ignored. */
bool pqe__user_path(const char *variable, const char *fallback, const char *rest, char *out, size_t capacity);

/** Where the file backend keeps the key file of a vault unless told otherwise; `vault_id` as text. */
bool pqe__user_key_path(const char *vault_id, char *out, size_t capacity);

#endif
