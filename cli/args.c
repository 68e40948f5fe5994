/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line, taken apart by the command table: `--name VALUE`, `--name=VALUE`, `-o VALUE`, `-oVALUE`; `--` ends
 * options; global options may stand before or after the command's name, its own after it.
 */
#include "args.h"

#include <stdio.h>
#include <string.h>

#include "report.h"

typedef struct parser {
    cli *c;
    char **argv;
    int argc, next;
    const char *first_word; /* of a command of two words */
    bool options_ended;
} parser;

const char *
cli_option_value(const cli *c, const char *name)
{
    for (size_t i = c->given_count; i-- > 0;)
        if (strcmp(c->given[i].option->name, name) == 0)
            return c->given[i].value;
    return NULL;
}

static bool
global_is_given(const cli *c, const char *name)
{
    for (size_t i = 0; i < c->given_count; i++)
        for (const cli_option *option = cli_global_options; option->name != NULL; option++)
            if (c->given[i].option == option && strcmp(option->name, name) == 0)
                return true;
    return false;
}

/* One list of options; `len` bytes of `name`, or a letter. */
static const cli_option *
find_in(const cli_option *options, const char *name, size_t len, char letter)
{
    for (; options != NULL && options->name != NULL; options++) {
        if (letter != 0 ? options->letter == letter
                        : strlen(options->name) == len && strncmp(options->name, name, len) == 0)
            return options;
    }
    return NULL;
}

static const cli_option *
find_option(const cli *c, const char *name, size_t len, char letter)
{
    const cli_option *option = NULL;

    if (c->command != NULL)
        option = find_in(c->command->options, name, len, letter);
    return option != NULL ? option : find_in(cli_global_options, name, len, letter);
}

static int
keep_option(parser *p, const cli_option *option, const char *value)
{
    cli *c = p->c;

    if (c->given_count == sizeof c->given / sizeof c->given[0])
        return cli_usage(c, "too many options");
    c->given[c->given_count].option = option;
    c->given[c->given_count].value = value;
    c->given_count++;
    return 0;
}

/* An option whose value may stand in the same argument (`attached`) or in the next. */
static int
take_option(parser *p, const cli_option *option, const char *attached)
{
    if (option->argument == NULL) {
        if (attached != NULL)
            return cli_usage(p->c, "--%s takes no value", option->name);
        return keep_option(p, option, "");
    }
    if (attached == NULL) {
        if (p->next >= p->argc)
            return cli_usage(p->c, "--%s needs a value: %s", option->name, option->argument);
        attached = p->argv[p->next++];
    }
    return keep_option(p, option, attached);
}

static int
unknown_option(parser *p, const char *arg)
{
    if (p->c->command == NULL)
        return cli_usage(p->c, "unknown option %s (options of a command stand after its name)", arg);
    return cli_usage(p->c, "unknown option %s", arg);
}

static int
parse_option(parser *p, const char *arg)
{
    const cli_option *option;

    if (arg[1] == '-') {
        const char *equals = strchr(arg, '=');
        size_t len = equals != NULL ? (size_t)(equals - arg - 2) : strlen(arg + 2);
        option = find_option(p->c, arg + 2, len, 0);
        if (option == NULL)
            return unknown_option(p, arg);
        return take_option(p, option, equals != NULL ? equals + 1 : NULL);
    }
    for (const char *letter = arg + 1; *letter != '\0'; letter++) {
        int code;
        option = find_option(p->c, NULL, 0, *letter);
        if (option == NULL)
            return unknown_option(p, arg);
        if (option->argument != NULL)
            return take_option(p, option, letter[1] != '\0' ? letter + 1 : NULL);
        code = take_option(p, option, NULL);
        if (code != 0)
            return code;
    }
    return 0;
}

/* The command of this name; *prefix tells that it is the first word of some. */
static const cli_command *
find_command(const char *first, const char *second, bool *prefix)
{
    size_t len = strlen(first);

    *prefix = false;
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        const char *name = cli_commands[i]->name;
        if (strncmp(name, first, len) != 0)
            continue;
        if (second == NULL && name[len] == '\0')
            return cli_commands[i];
        if (name[len] != ' ')
            continue;
        *prefix = true;
        if (second != NULL && strcmp(name + len + 1, second) == 0)
            return cli_commands[i];
    }
    return NULL;
}

static int
parse_command_word(parser *p, const char *word)
{
    bool prefix;

    if (p->first_word == NULL) {
        p->c->command = find_command(word, NULL, &prefix);
        if (p->c->command != NULL)
            return 0;
        if (!prefix)
            return cli_usage(p->c, "unknown command %s", word);
        p->first_word = word;
        return 0;
    }
    p->c->command = find_command(p->first_word, word, &prefix);
    if (p->c->command == NULL)
        return cli_usage(p->c, "unknown command %s %s", p->first_word, word);
    return 0;
}

static int
parse_operand(parser *p, const char *arg)
{
    cli *c = p->c;

    if (c->command == NULL)
        return parse_command_word(p, arg);
    if (c->operand_count == sizeof c->operands / sizeof c->operands[0])
        return cli_usage(c, "too many operands");
    c->operands[c->operand_count++] = arg;
    return 0;
}

/* Known before anything is parsed, so that the first error already has the form that was asked for. */
static bool
asks_for_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

int
cli_parse_kind(cli *c, const char *name, pqe_kind *out)
{
    char names[256] = "";
    size_t len = 0;

    if (pqe_kind_from_name(name, out))
        return 0;
    for (int i = 1; pqe_kind_name((pqe_kind)i) != NULL && len < sizeof names; i++)
        len += (size_t)snprintf(names + len, sizeof names - len, "%s%s", i > 1 ? ", " : "", pqe_kind_name((pqe_kind)i));
    return cli_usage(c, "--kind: %s is not one of %s", name, names);
}

static int
check_operands(parser *p)
{
    cli *c = p->c;

    if (c->help || c->version)
        return 0;
    if (c->command == NULL && p->first_word != NULL)
        return cli_usage(c, "%s needs a second word", p->first_word);
    if (c->command == NULL)
        return cli_usage(c, "no command was given");
    if (c->operand_count < c->command->min_operands || c->operand_count > c->command->max_operands)
        return cli_usage(c, "%s operands; usage: " CLI_NAME " %s %s%s",
                         c->operand_count < c->command->min_operands ? "missing" : "too many", c->command->name,
                         c->command->operands, c->command->takes_command ? " -- CMD [ARG...]" : "");
    if (c->command->takes_command && (c->tail == NULL || c->tail[0] == NULL))
        return cli_usage(c, "no command to run was given after --");
    return 0;
}

int
cli_parse(cli *c, int argc, char **argv)
{
    parser p = {.c = c, .argv = argv, .argc = argc, .next = 1};

    c->json = asks_for_json(argc, argv);
    while (p.next < argc) {
        const char *arg = argv[p.next++];
        int code = 0;
        if (strcmp(arg, "--") == 0 && c->command != NULL && c->command->takes_command && c->operand_count > 0) {
            c->tail = &argv[p.next];
            break;
        }
        if (!p.options_ended && strcmp(arg, "--") == 0)
            p.options_ended = true;
        else if (!p.options_ended && arg[0] == '-' && arg[1] != '\0')
            code = parse_option(&p, arg);
        else
            code = parse_operand(&p, arg);
        if (code != 0)
            return code;
    }
    c->json = global_is_given(c, "json");
    c->quiet = global_is_given(c, "quiet");
    c->help = global_is_given(c, "help");
    c->version = global_is_given(c, "version");
    c->passphrase.file = cli_option_value(c, "passphrase-file");
    c->passphrase.new_file = cli_option_value(c, "new-passphrase-file");
    return check_operands(&p);
}
