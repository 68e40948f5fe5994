/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave recovery accept-rollback: takes an older copy of the vault, restored from a backup, for the vault. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <pqc_enclave/recovery.h>

#include "commands.h"
#include "json.h"
#include "report.h"
#include "session.h"
#include "text.h"

/* 0 if the person at the terminal agrees. Nobody there: the option has to say it. */
static int
confirm(cli *c)
{
    char answer[16] = "";

    if (cli_option_value(c, "yes") != NULL)
        return 0;
    if (c->json || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return cli_usage(c, "give --yes: everything done with the vault since this copy was made is given up");
    fputs("Everything done with the vault since this copy was made is given up: ", stderr);
    cli_put_escaped(stderr, c->vault_dir);
    fputs("\nIs it the copy to go on with? Type yes: ", stderr);
    fflush(stderr);
    if (fgets(answer, sizeof answer, stdin) != NULL && strcmp(answer, "yes\n") == 0)
        return 0;
    return cli_fail(c, PQE_E_CANCELLED, "recovery accept-rollback", NULL, "not confirmed, nothing was changed", NULL);
}

static int
print_result(cli *c, const pqe_rollback *told)
{
    if (c->json)
        return cli_json_print(c, json_pack("{s:b, s:I, s:o, s:I}", "accepted", 1, "found", (json_int_t)told->found,
                                           "expected",
                                           told->expected != 0 ? json_integer((json_int_t)told->expected) : json_null(),
                                           "generation", (json_int_t)told->generation));
    if (c->quiet)
        return 0;
    cli_note(c, "accepted ", c->vault_dir, "");
    printf("generation %" PRIu64 " was found, ", told->found);
    if (told->expected != 0)
        printf("%" PRIu64 " expected", told->expected);
    else
        fputs("which one was expected is not known", stdout);
    printf("; it is %" PRIu64 " now, and every other copy is refused\n", told->generation);
    return 0;
}

static int
run(cli *c)
{
    pqe_rollback told;
    pqe_error error = {0};
    int code = cli_open_locked(c);

    if (code == 0)
        code = confirm(c);
    if (code != 0)
        return code;
    if (pqe_recovery_accept_rollback(c->vault, CLI_SESSION_SECONDS, &told, &error) != PQE_OK)
        return cli_report(c, "cannot accept", c->vault_dir, &error);
    return print_result(c, &told);
}

static const cli_option options[] = {
    {"yes", 0, CLI_VALUE_NONE, NULL, "do not ask", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_recovery_accept_rollback = {.name = "recovery accept-rollback",
                                                      .operands = "",
                                                      .summary = "go on with an older copy of the vault, from a backup",
                                                      .options = options,
                                                      .run = run};
