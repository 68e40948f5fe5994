/* SPDX-License-Identifier: Apache-2.0 */
/* Values of options that are numbers, bytes or files. Each returns 0 or the exit code of the error it reported. */
#ifndef PQE_CLI_VALUE_H
#define PQE_CLI_VALUE_H

#include <stdint.h>

#include "cli.h"

/** A decimal number of at most `max`; *out stays as it is if the option was not given. */
int cli_parse_number(cli *c, const char *option, uint64_t max, uint64_t *out);
/** Hexadecimal digits, `min` to `max` bytes; *len 0 if the option was not given. */
int cli_parse_hex(cli *c, const char *option, uint8_t *out, size_t min, size_t max, size_t *len);
/** Reads FILE or standard input ("-") whole, at most `max` bytes, into memory from cli_buffer_new(max + 1) that ends with
 *  a NUL; free with cli_buffer_free(*data, max + 1). */
int cli_read_whole(cli *c, const char *path, size_t max, char **data, size_t *len);
/** Opens FILE or standard input ("-") for reading. */
int cli_open_input(cli *c, const char *path, int *fd);

#endif
