/* SPDX-License-Identifier: Apache-2.0 */
/* Completion scripts, made from the command table so that they cannot go stale. */
#ifndef PQE_CLI_COMPLETION_H
#define PQE_CLI_COMPLETION_H

#include <stdio.h>

#include "cli.h"

void cli_completion_bash(FILE *out);
void cli_completion_zsh(FILE *out);
void cli_completion_fish(FILE *out);

/** Writes the words that a value can be, separated by spaces; nothing if it is free. */
void cli_completion_words(FILE *out, cli_value value, const char *words);
/** Length of the first word of a command's name. */
size_t cli_completion_first_word(const char *name);
/** True if no command before the `index`-th has the same first word. */
bool cli_completion_is_first(size_t index);

#endif
