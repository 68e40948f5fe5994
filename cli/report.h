/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling people and scripts what happened. Every failure goes through here: one line on standard error,
 * "pqc-enclave: <what>: <why>; <what to do>", or with --json one object {"error": {...}} in its place, and the exit code.
 */
#ifndef PQE_CLI_REPORT_H
#define PQE_CLI_REPORT_H

#include <stdio.h>

#include "cli.h"

/** Reports a failure of the library. `what` and, if not NULL, `object` (a name or path, any bytes) say what failed. */
int cli_report(cli *c, const char *what, const char *object, const pqe_error *error);
/** The same with advice of the command's own, or none (NULL). */
int cli_report_with(cli *c, const char *what, const char *object, const pqe_error *error, const char *advice);
/** What to do about a failure of the library, or NULL. */
const char *cli_advice(const pqe_error *error);
/** Reports a failure found by the command itself. `advice` may be NULL. */
int cli_fail(cli *c, pqe_status status, const char *what, const char *object, const char *why, const char *advice);
/** The same for a failed system call. */
int cli_fail_errno(cli *c, int errnum, const char *what, const char *object, const char *advice);
/** Reports a usage error (exit code 2); printf-like, its arguments may be any bytes. */
int cli_usage(cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** The exit code for a failure. */
int cli_exit_code(const cli *c, const pqe_error *error);

/** Checks what was given as NAME or NAME|ID: 1 to 1024 bytes of UTF-8. 0 or the exit code. */
int cli_check_name(cli *c, const char *name);

/** Prints a confirmation on standard output unless --quiet or --json: `text`, `name` escaped, `rest`. */
void cli_note(const cli *c, const char *text, const char *name, const char *rest);
/** The end of a removal: with --json as an object, else a note that begins with `text`. */
int cli_removed(cli *c, const char *text, const char *name);
/** Prints "label   value" with the value escaped. */
void cli_put_field(const char *label, const char *value);

/** Reports a failed write to standard output; a closed pipe ends the command by SIGPIPE instead, without a word. */
int cli_fail_output(cli *c, int errnum);
/** Flushes standard output. Returns `code`, or the exit code if what was printed could not be written. */
int cli_finish_output(cli *c, int code);

#endif
