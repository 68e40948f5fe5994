/* SPDX-License-Identifier: Apache-2.0 */
/* The completion script for bash. It needs bash 4 and no package of completions. */
#include <string.h>

#include "completion.h"

static const char start[] =
    "# bash completion for " CLI_NAME ", printed by `" CLI_NAME " completion bash`\n"
    "_pqc_enclave()\n"
    "{\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= words= files= tail=0 i\n"
    "    COMPREPLY=()\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        if ((tail > 0)); then\n"
    "            ((tail++))\n"
    "            continue\n"
    "        fi\n"
    "        case ${COMP_WORDS[i]} in\n";

/* After the global options that take a value. */
static const char words_loop[] = "            --) [[ $command == exec ]] && tail=1 ;;\n"
                                 "            -*) ;;\n"
                                 "            *)\n"
                                 "                case $command in\n"
                                 "                    '') command=${COMP_WORDS[i]} ;;\n";

static const char values[] = "                esac ;;\n"
                             "        esac\n"
                             "    done\n"
                             "    if ((tail == 1)); then\n"
                             "        mapfile -t COMPREPLY < <(compgen -c -- \"$cur\")\n"
                             "        return\n"
                             "    elif ((tail > 1)); then\n"
                             "        compopt -o filenames\n"
                             "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
                             "        return\n"
                             "    fi\n"
                             "    case \"$command $prev\" in\n";

static const char finish[] = "    esac\n"
                             "    if [[ -n $files && $cur != -* ]]; then\n"
                             "        compopt -o filenames\n"
                             "        mapfile -t COMPREPLY < <(compgen -\"$files\" -- \"$cur\")\n"
                             "    else\n"
                             "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
                             "    fi\n"
                             "}\n"
                             "complete -F _pqc_enclave " CLI_NAME "\n";

/* What completes the value after each option of a list; `command` "" stands for any. */
static void
put_values(FILE *out, const char *command, const cli_option *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        const char *any = command[0] == '\0' ? "*" : "";
        if (options->argument == NULL)
            continue;
        fprintf(out, "        %s'%s --%s'", any, command, options->name);
        if (options->letter != 0)
            fprintf(out, " | %s'%s -%c'", any, command, options->letter);
        fputs(")\n", out);
        if (options->value == CLI_VALUE_FILE || options->value == CLI_VALUE_DIR)
            fprintf(out,
                    "            compopt -o filenames\n            mapfile -t COMPREPLY < <(compgen -%c -- \"$cur\")\n",
                    options->value == CLI_VALUE_FILE ? 'f' : 'd');
        else if (options->value != CLI_VALUE_TEXT) {
            fputs("            mapfile -t COMPREPLY < <(compgen -W '", out);
            cli_completion_words(out, options->value, options->words);
            fputs("' -- \"$cur\")\n", out);
        }
        fputs("            return ;;\n", out);
    }
}

static void
put_option_names(FILE *out, const cli_option *options)
{
    for (; options != NULL && options->name != NULL; options++)
        fprintf(out, " --%s", options->name);
}

/* The second words of commands that begin with the same word. */
static void
put_second_words(FILE *out, const char *first, size_t len)
{
    for (size_t i = 0; cli_commands[i] != NULL; i++)
        if (strncmp(cli_commands[i]->name, first, len) == 0 && cli_commands[i]->name[len] == ' ')
            fprintf(out, " %s", cli_commands[i]->name + len + 1);
}

static void
put_first_words(FILE *out)
{
    for (size_t i = 0; cli_commands[i] != NULL; i++)
        if (cli_completion_is_first(i))
            fprintf(out, " %.*s", (int)cli_completion_first_word(cli_commands[i]->name), cli_commands[i]->name);
}

/* What may stand where no value is expected, command by command. */
static void
put_words(FILE *out)
{
    fputs("        '') words='", out);
    put_first_words(out);
    put_option_names(out, cli_global_options);
    fputs("' ;;\n", out);
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        const cli_command *command = cli_commands[i];
        size_t len = cli_completion_first_word(command->name);
        if (command->name[len] == ' ' && cli_completion_is_first(i)) {
            fprintf(out, "        '%.*s') words='", (int)len, command->name);
            put_second_words(out, command->name, len);
            fputs("' ;;\n", out);
        }
        fprintf(out, "        '%s') words='", command->name);
        cli_completion_words(out, command->operand_value, command->operand_words);
        if (strcmp(command->name, "help") == 0)
            put_first_words(out);
        put_option_names(out, command->options);
        put_option_names(out, cli_global_options);
        fprintf(out, "'%s ;;\n", command->operand_value == CLI_VALUE_FILE ? " files=f" : "");
    }
}

void
cli_completion_bash(FILE *out)
{
    fputs(start, out);
    for (const cli_option *option = cli_global_options; option->name != NULL; option++)
        if (option->argument != NULL)
            fprintf(out, "            --%s) ((i++)) ;;\n", option->name);
    fputs(words_loop, out);
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        size_t len = cli_completion_first_word(cli_commands[i]->name);
        if (cli_commands[i]->name[len] == ' ' && cli_completion_is_first(i))
            fprintf(out, "                    %.*s) command+=\" ${COMP_WORDS[i]}\" ;;\n", (int)len,
                    cli_commands[i]->name);
    }
    fputs(values, out);
    for (size_t i = 0; cli_commands[i] != NULL; i++)
        put_values(out, cli_commands[i]->name, cli_commands[i]->options);
    put_values(out, "", cli_global_options);
    fputs("    esac\n    case $command in\n", out);
    put_words(out);
    fputs(finish, out);
}
