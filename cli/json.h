/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON forms that several commands share. Output is ASCII: what is not, is written as \uXXXX. */
#ifndef PQE_CLI_JSON_H
#define PQE_CLI_JSON_H

#include <stdio.h>

#include <jansson.h>

#include "cli.h"

/** A string for text that need not be UTF-8, such as a path: then it is escaped as for people. NULL gives null. */
json_t *cli_json_text(const char *s);
/** Writes a string, which should be UTF-8 without NUL. */
void cli_json_put_string(FILE *out, const char *s, size_t len);
/** Writes all metadata of an artifact as an object. Straight to the stream: a list can have very many. */
void cli_json_put_artifact(FILE *out, const pqe_artifact *artifact);
/** Prints a value and a newline on standard output and releases it. 0, or the exit code (NULL: out of memory). */
int cli_json_print(cli *c, json_t *value);
/** The end of a listing: prints `all`, unless it is NULL (people were told one by one) or `code` is not 0, and releases it. */
int cli_json_listed(cli *c, json_t *all, int code);
/** Prints {"error": {...}} on standard error. */
void cli_json_error(const char *what, const char *object, const pqe_error *error, const char *why, const char *advice,
                    int exit_code);

#endif
