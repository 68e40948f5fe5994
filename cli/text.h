/* SPDX-License-Identifier: Apache-2.0 */
/* Text for people: names made harmless for a terminal, sizes, durations. */
#ifndef PQE_CLI_TEXT_H
#define PQE_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** True if all of a string is valid UTF-8. */
bool cli_utf8_valid(const char *s);

/**
 * Writes a string so that it cannot act on a terminal: bytes that are not UTF-8, control characters, line separators
 * and characters that reorder text appear as \xNN for each byte, a backslash as two.
 */
void cli_put_escaped(FILE *out, const char *s);
/** The same into memory to be freed; NULL if there is none. */
char *cli_escaped(const char *s);

/** "17 B", "3.9 MiB". */
void cli_format_size(uint64_t bytes, char out[16]);
/** "0:07", "12:34", "3:25:45". */
void cli_format_duration(uint64_t seconds, char out[32]);

#endif
