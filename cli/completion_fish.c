/* SPDX-License-Identifier: Apache-2.0 */
/* The completion script for fish. */
#include <string.h>

#include "completion.h"

#define COMPLETE "complete -c " CLI_NAME

static void
put_help(FILE *out, const char *help)
{
    fputs(" -d '", out);
    for (; *help != '\0'; help++) {
        if (*help == '\'')
            fputc('\\', out);
        fputc(*help, out);
    }
    fputs("'\n", out);
}

/* `condition` is "" for options that always apply. */
static void
put_options(FILE *out, const char *condition, const cli_option *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        fprintf(out, COMPLETE "%s -l %s", condition, options->name);
        if (options->letter != 0)
            fprintf(out, " -s %c", options->letter);
        switch (options->value) {
        case CLI_VALUE_NONE:
            break;
        case CLI_VALUE_FILE:
            fputs(" -r -F", out);
            break;
        case CLI_VALUE_DIR:
            fputs(" -x -a '(__fish_complete_directories)'", out);
            break;
        default:
            fputs(" -x -a '", out);
            cli_completion_words(out, options->value, options->words);
            fputc('\'', out);
        }
        put_help(out, options->help);
    }
}

static void
put_command(FILE *out, size_t index)
{
    const cli_command *command = cli_commands[index];
    int len = (int)cli_completion_first_word(command->name);
    const char *second = command->name[len] == ' ' ? command->name + len + 1 : NULL;
    char condition[160];

    if (cli_completion_is_first(index)) {
        fprintf(out, COMPLETE " -n __fish_use_subcommand -x -a %.*s", len, command->name);
        put_help(out, command->summary);
    }
    if (second != NULL) {
        fprintf(out, COMPLETE " -n '__fish_seen_subcommand_from %.*s; and not __fish_seen_subcommand_from %s' -x -a %s",
                len, command->name, second, second);
        put_help(out, command->summary);
    }
    snprintf(condition, sizeof condition, " -n '__fish_seen_subcommand_from %.*s%s%s'", len, command->name,
             second != NULL ? "; and __fish_seen_subcommand_from " : "", second != NULL ? second : "");
    put_options(out, condition, command->options);
    if (command->operand_value == CLI_VALUE_FILE || command->takes_command)
        fprintf(out, COMPLETE "%s -F\n", condition);
    if (command->operand_value == CLI_VALUE_WORDS)
        fprintf(out, COMPLETE "%s -x -a '%s'\n", condition, command->operand_words);
}

void
cli_completion_fish(FILE *out)
{
    fputs("# fish completion for " CLI_NAME ", printed by `" CLI_NAME " completion fish`\n" COMPLETE " -f\n", out);
    put_options(out, "", cli_global_options);
    for (size_t i = 0; cli_commands[i] != NULL; i++)
        put_command(out, i);
    fputs(COMPLETE " -n '__fish_seen_subcommand_from help' -x -a '", out);
    for (size_t i = 0; cli_commands[i] != NULL; i++)
        if (cli_completion_is_first(i))
            fprintf(out, "%s%.*s", i > 0 ? " " : "", (int)cli_completion_first_word(cli_commands[i]->name),
                    cli_commands[i]->name);
    fputs("'\n", out);
}
