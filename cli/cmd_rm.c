/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave rm: removes an artifact. */
#include "commands.h"
#include "json.h"
#include "report.h"
#include "session.h"

static int
run(cli *c)
{
    const char *name = c->operands[0];
    pqe_error error = {0};
    int code = cli_check_name(c, name);

    if (code == 0)
        code = cli_open(c);
    if (code != 0)
        return code;
    if (pqe_delete(c->vault, name, &error) != PQE_OK)
        return cli_report(c, "cannot remove", name, &error);
    return cli_removed(c, "removed ", name);
}

const cli_command cli_cmd_rm = {.name = "rm",
                                .operands = "NAME|ID",
                                .summary = "remove an artifact",
                                .min_operands = 1,
                                .max_operands = 1,
                                .operand_value = CLI_VALUE_TEXT,
                                .run = run};
