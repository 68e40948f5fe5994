/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave rotate: new device keys, and with --rekey new secrets too. */
#include <stdio.h>

#include "commands.h"
#include "json.h"
#include "report.h"
#include "session.h"

static int
run(cli *c)
{
    pqe_rotate_opts opts = {.size = sizeof opts, .rekey = cli_option_value(c, "rekey") != NULL};
    pqe_error error = {0};
    int code = cli_open(c);

    if (code != 0)
        return code;
    if (pqe_rotate(c->vault, &opts, &error) != PQE_OK)
        return cli_report(c, "cannot rotate the keys of", c->vault_dir, &error);
    if (pqe_vault_get_info(c->vault, &c->facts, &error) != PQE_OK)
        return cli_report(c, "cannot read vault", c->vault_dir, &error);
    if (c->json)
        return cli_json_print(c, json_pack("{s:b, s:b, s:I}", "rotated", 1, "rekeyed", (int)opts.rekey, "generation",
                                           (json_int_t)c->facts.generation));
    cli_note(c, opts.rekey ? "new device keys and secrets for " : "new device keys for ", c->vault_dir, "");
    return 0;
}

static const cli_option options[] = {
    {"rekey", 0, CLI_VALUE_NONE, NULL, "also replace the secrets and wrap every artifact's key anew", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_rotate = {
    .name = "rotate", .operands = "", .summary = "make new device keys", .options = options, .run = run};
