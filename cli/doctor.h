/* SPDX-License-Identifier: Apache-2.0 */
/* What `doctor` finds out: a list of checks, each ok, a warning or a failure. */
#ifndef PQE_CLI_DOCTOR_H
#define PQE_CLI_DOCTOR_H

#include <jansson.h>

#include "cli.h"

typedef enum doctor_level { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL } doctor_level;

typedef struct doctor {
    cli *c;
    json_t *checks; /* --json */
    size_t warnings, failures;
} doctor;

/** Reports one check: a short stable name, what was found (printf-like), and what to do about it or NULL. */
void doctor_say(doctor *d, doctor_level level, const char *check, const char *advice, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/** The machine: locked memory, swap, directories for `exec`. */
void doctor_check_machine(doctor *d);
/** The vault's directory, its file system and key; needs c->vault_dir and c->facts. */
void doctor_check_storage(doctor *d);

#endif
