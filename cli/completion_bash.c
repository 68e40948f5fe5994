/* SPDX-License-Identifier: Apache-2.0 */
/* The completion script for bash. It needs bash 4, and no other package. */
#include <string.h>

#include "completion.h"

static const char head[] =
    "# bash completion for " CLI_NAME "; printed by `" CLI_NAME " completion bash`\n"
    "_pqc_enclave()\n"
    "{\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= words= files= tail= word i\n"
    "    COMPREPLY=()\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        [[ -n $tail ]] && { tail=args; break; }\n"
    "        case $word in\n";

static const char middle[] =
    "            -*) ;;\n"
    "            *)\n"
    "                case $command in\n"
    "                    '') command=$word ;;\n";

static const char answer[] =
    "    case $tail in\n"
    "        command) mapfile -t COMPREPLY < <(compgen -c -- \"$cur\"); return ;;\n"
    "        args) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;\n"
    "    esac\n"
    "    case \"$command $prev\" in\n";

static const char tail[] =
    "    esac\n"
    "    if [[ -n $files && $cur != -* ]]; then\n"
    "        compopt -o filenames\n"
    "        mapfile -t COMPREPLY < <(compgen -\"$files\" -- \"$cur\")\n"
    "    else\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
    "    fi\n"
    "}\n"
    "complete -F _pqc_enclave " CLI_NAME "\n";

/* Values of the options of one command; "*" for the global ones. */
static void
put_values(FILE *out, const char *command, const cli_option *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        if (options->argument == NULL)
            continue;
        fprintf(out, "        %s%s%s--%s%s) ", command[0] == '*' ? "*\" " : "\"", command[0] == '*' ? "" : command,
                command[0] == '*' ? "" : " ", options->name, "\"");
        if (options->letter != 0)
            fprintf(out, "! : ;;& \"%s -%c\") ", command, options->letter);
        if (options->value == CLI_VALUE_FILE || options->value == CLI_VALUE_DIR)
            fprintf(out, "files=%c ;;\n", options->value == CLI_VALUE_FILE ? 'f' : 'd');
        else {
            fputs("words='", out);
            cli_completion_words(out, options->value, options->words);
            fputs("'; files= ;;\n", out);
        }
    }
}

static void
put_option_names(FILE *out, const cli_option *options)
{
    for (; options != NULL && options->name != NULL; options++)
        fprintf(out, " --%s", options->name);
}
