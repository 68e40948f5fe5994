/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave help: made from the command table; with --json, the table itself. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "json.h"
#include "report.h"

static void
print_options(const char *title, const cli_option *options)
{
    if (options == NULL)
        return;
    printf("\n%s:\n", title);
    for (; options->name != NULL; options++) {
        char form[64];
        snprintf(form, sizeof form, "%c%c%s--%s%s%s", options->letter != 0 ? '-' : ' ',
                 options->letter != 0 ? options->letter : ' ', options->letter != 0 ? ", " : "  ", options->name,
                 options->argument != NULL ? " " : "", options->argument != NULL ? options->argument : "");
        printf("  %-30s %s\n", form, options->help);
    }
}

static void
print_command(const cli_command *command)
{
    printf("usage: " CLI_NAME " %s%s%s%s%s\n\n%s\n", command->name, command->options != NULL ? " [OPTION]..." : "",
           command->operands[0] != '\0' ? " " : "", command->operands, command->takes_command ? " -- CMD [ARG]..." : "",
           command->summary);
    print_options("options", command->options);
    print_options("global options", cli_global_options);
}

static void
print_overview(void)
{
    puts("usage: " CLI_NAME " [OPTION]... COMMAND [OPERAND]...\n\n"
         "A vault for AI models and secrets that stays secret after quantum computers arrive.\n\ncommands:");
    for (size_t i = 0; cli_commands[i] != NULL; i++)
        printf("  %-18s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    print_options("global options", cli_global_options);
    puts("\n`" CLI_NAME " help COMMAND` tells more, " CLI_NAME "(1) all.");
}

static json_t *
options_to_json(const cli_option *options)
{
    json_t *all = json_array();

    for (; options != NULL && options->name != NULL; options++) {
        const char letter[2] = {options->letter, '\0'};
        json_array_append_new(all, json_pack("{s:s, s:o, s:o, s:s}", "name", options->name, "letter",
                                             cli_json_text(options->letter != 0 ? letter : NULL), "argument",
                                             cli_json_text(options->argument), "help", options->help));
    }
    return all;
}

static json_t *
command_to_json(const cli_command *command)
{
    return json_pack("{s:s, s:s, s:s, s:b, s:o}", "name", command->name, "operands", command->operands, "summary",
                     command->summary, "takes_command", (int)command->takes_command, "options",
                     options_to_json(command->options));
}

int
cli_print_help(cli *c, const cli_command *command)
{
    json_t *all;

    if (!c->json) {
        if (command != NULL)
            print_command(command);
        else
            print_overview();
        return 0;
    }
    all = json_array();
    for (size_t i = 0; cli_commands[i] != NULL; i++)
        if (command == NULL || command == cli_commands[i])
            json_array_append_new(all, command_to_json(cli_commands[i]));
    return cli_json_print(
        c, json_pack("{s:o, s:o}", "commands", all, "global_options", options_to_json(cli_global_options)));
}

/* "key" finds "key show" too where it is the only one. */
static const cli_command *
find(const char *first, const char *second)
{
    size_t len = strlen(first);

    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        const char *name = cli_commands[i]->name;
        if (strncmp(name, first, len) != 0)
            continue;
        if (second == NULL && (name[len] == '\0' || name[len] == ' '))
            return cli_commands[i];
        if (second != NULL && name[len] == ' ' && strcmp(name + len + 1, second) == 0)
            return cli_commands[i];
    }
    return NULL;
}

static int
run(cli *c)
{
    const char *first = c->operand_count > 0 ? c->operands[0] : NULL;
    const char *second = c->operand_count > 1 ? c->operands[1] : NULL;
    const cli_command *command;

    if (first == NULL)
        return cli_print_help(c, NULL);
    command = find(first, second);
    if (command == NULL)
        return cli_usage(c, "there is no command %s%s%s", first, second != NULL ? " " : "",
                         second != NULL ? second : "");
    return cli_print_help(c, command);
}

const cli_command cli_cmd_help = {.name = "help",
                                  .operands = "[COMMAND]",
                                  .summary = "show help",
                                  .max_operands = 2,
                                  .operand_value = CLI_VALUE_TEXT,
                                  .run = run};
