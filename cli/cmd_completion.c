/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave completion: a script for the shell, made from the command table. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "completion.h"
#include "json.h"
#include "report.h"

static const struct {
    const char *name;
    void (*print)(FILE *out);
} shells[] = {{"bash", cli_completion_bash}, {"zsh", cli_completion_zsh}, {"fish", cli_completion_fish}};

void
cli_completion_words(FILE *out, cli_value value, const char *words)
{
    if (value == CLI_VALUE_KIND)
        for (int i = 1; pqe_kind_name((pqe_kind)i) != NULL; i++)
            fprintf(out, "%s%s", i > 1 ? " " : "", pqe_kind_name((pqe_kind)i));
    else if (value == CLI_VALUE_WORDS && words != NULL)
        fputs(words, out);
}

size_t
cli_completion_first_word(const char *name)
{
    return strcspn(name, " ");
}

bool
cli_completion_is_first(size_t index)
{
    size_t len = cli_completion_first_word(cli_commands[index]->name);

    for (size_t i = 0; i < index; i++)
        if (cli_completion_first_word(cli_commands[i]->name) == len &&
            strncmp(cli_commands[i]->name, cli_commands[index]->name, len) == 0)
            return false;
    return true;
}

static int
run(cli *c)
{
    char *script = NULL;
    size_t len = 0, i;
    FILE *out;
    int code;

    for (i = 0; i < sizeof shells / sizeof shells[0]; i++)
        if (strcmp(shells[i].name, c->operands[0]) == 0)
            break;
    if (i == sizeof shells / sizeof shells[0])
        return cli_usage(c, "there is no completion for %s; there is bash, zsh and fish", c->operands[0]);
    if (!c->json) {
        shells[i].print(stdout);
        return 0;
    }
    out = open_memstream(&script, &len);
    if (out == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot print the script", NULL, NULL);
    shells[i].print(out);
    if (fclose(out) != 0)
        code = cli_fail_errno(c, ENOMEM, "cannot print the script", NULL, NULL);
    else
        code = cli_json_print(c, json_pack("{s:s, s:s}", "shell", shells[i].name, "script", script));
    free(script);
    return code;
}

const cli_command cli_cmd_completion = {.name = "completion",
                                        .operands = "bash|zsh|fish",
                                        .summary = "print a completion script for a shell",
                                        .min_operands = 1,
                                        .max_operands = 1,
                                        .operand_value = CLI_VALUE_WORDS,
                                        .operand_words = "bash zsh fish",
                                        .run = run};
