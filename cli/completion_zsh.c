/* SPDX-License-Identifier: Apache-2.0 */
/* The completion script for zsh: to be put in a directory of $fpath as _pqc-enclave, or evaluated. */
#include <string.h>

#include "completion.h"

/* Text between single quotes, as an item of _describe, where a colon ends the word. */
static void
put_item(FILE *out, const char *prefix, const char *word, size_t len, const char *help)
{
    fprintf(out, " '%s%.*s:", prefix, (int)len, word);
    for (; *help != '\0'; help++) {
        if (*help == '\'')
            fputs("'\\''", out);
        else if (*help == ':')
            fputs("\\:", out);
        else
            fputc(*help, out);
    }
    fputc('\'', out);
}

static void
put_options(FILE *out, const cli_option *options)
{
    for (; options != NULL && options->name != NULL; options++)
        put_item(out, "--", options->name, strlen(options->name), options->help);
}

/* Summaries of commands with two words are those of the first such command. */
static void
put_first_words(FILE *out)
{
    for (size_t i = 0; cli_commands[i] != NULL; i++)
        if (cli_completion_is_first(i))
            put_item(out, "", cli_commands[i]->name, cli_completion_first_word(cli_commands[i]->name),
                     cli_commands[i]->summary);
}

static void
put_values(FILE *out, const char *command, const cli_option *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        const char *any = command[0] == '\0' ? "*" : "";
        if (options->argument == NULL)
            continue;
        fprintf(out, "        %s'%s --%s'", any, command, options->name);
        if (options->letter != 0)
            fprintf(out, "|%s'%s -%c'", any, command, options->letter);
        if (options->value == CLI_VALUE_FILE)
            fputs(") _files; return ;;\n", out);
        else if (options->value == CLI_VALUE_DIR)
            fputs(") _directories; return ;;\n", out);
        else {
            fputs(") compadd --", out);
            if (options->value != CLI_VALUE_TEXT)
                fputc(' ', out);
            cli_completion_words(out, options->value, options->words);
            fputs("; return ;;\n", out);
        }
    }
}

static void
put_command(FILE *out, size_t index)
{
    const cli_command *command = cli_commands[index];
    size_t len = cli_completion_first_word(command->name);

    if (command->name[len] == ' ' && cli_completion_is_first(index)) {
        fprintf(out, "        '%.*s') items=(", (int)len, command->name);
        for (size_t i = index; cli_commands[i] != NULL; i++)
            if (strncmp(cli_commands[i]->name, command->name, len) == 0 && cli_commands[i]->name[len] == ' ')
                put_item(out, "", cli_commands[i]->name + len + 1, strlen(cli_commands[i]->name + len + 1),
                         cli_commands[i]->summary);
        fputs(" ) ;;\n", out);
    }
    fprintf(out, "        '%s')\n            options=(", command->name);
    put_options(out, command->options);
    put_options(out, cli_global_options);
    fputs(" )\n", out);
    if (strcmp(command->name, "help") == 0) {
        fputs("            items=(", out);
        put_first_words(out);
        fputs(" )\n", out);
    } else if (command->operand_value == CLI_VALUE_WORDS) {
        fputs("            items=(", out);
        cli_completion_words(out, command->operand_value, command->operand_words);
        fputs(")\n", out);
    } else if (command->operand_value == CLI_VALUE_FILE) {
        fputs("            [[ $PREFIX != -* ]] && _files\n", out);
    }
    fputs("            ;;\n", out);
}

void
cli_completion_zsh(FILE *out)
{
    fputs("#compdef " CLI_NAME "\n# zsh completion for " CLI_NAME ", printed by `" CLI_NAME " completion zsh`\n"
          "_pqc_enclave() {\n"
          "    local command= i\n"
          "    local -a items options\n"
          "    for ((i = 2; i < CURRENT; i++)); do\n"
          "        case $words[i] in\n",
          out);
    for (const cli_option *option = cli_global_options; option->name != NULL; option++)
        if (option->argument != NULL)
            fprintf(out, "            --%s) ((i++)) ;;\n", option->name);
    fputs("            --)\n"
          "                if [[ $command == exec ]]; then\n"
          "                    shift i words\n"
          "                    ((CURRENT -= i))\n"
          "                    _normal\n"
          "                    return\n"
          "                fi ;;\n"
          "            -*) ;;\n"
          "            *)\n"
          "                case $command in\n"
          "                    '') command=$words[i] ;;\n",
          out);
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        size_t len = cli_completion_first_word(cli_commands[i]->name);
        if (cli_commands[i]->name[len] == ' ' && cli_completion_is_first(i))
            fprintf(out, "                    %.*s) command+=\" $words[i]\" ;;\n", (int)len, cli_commands[i]->name);
    }
    fputs("                esac ;;\n        esac\n    done\n    case \"$command $words[CURRENT-1]\" in\n", out);
    for (size_t i = 0; cli_commands[i] != NULL; i++)
        put_values(out, cli_commands[i]->name, cli_commands[i]->options);
    put_values(out, "", cli_global_options);
    fputs("    esac\n    case $command in\n        '')\n            items=(", out);
    put_first_words(out);
    fputs(" )\n            options=(", out);
    put_options(out, cli_global_options);
    fputs(" )\n            ;;\n", out);
    for (size_t i = 0; cli_commands[i] != NULL; i++)
        put_command(out, i);
    fputs("    esac\n"
          "    (($#items)) && _describe 'command' items\n"
          "    (($#options)) && _describe -o 'option' options\n"
          "}\n"
          "if [[ $funcstack[1] == _pqc-enclave ]]; then\n"
          "    _pqc_enclave \"$@\"\n"
          "else\n"
          "    compdef _pqc_enclave " CLI_NAME "\n"
          "fi\n",
          out);
}
