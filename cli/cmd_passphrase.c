/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave passphrase change. */
#include <string.h>

#include "commands.h"
#include "json.h"
#include "report.h"
#include "session.h"

static int
run(cli *c)
{
    pqe_error error = {0};
    int code = cli_open_locked(c);

    if (code != 0)
        return code;
    if (strcmp(c->facts.key_source, "passphrase") != 0)
        return cli_fail(c, PQE_E_UNAVAILABLE, "cannot change the passphrase of", c->vault_dir,
                        "the vault is not opened by a passphrase", "keep its key file safe");
    code = cli_unlock(c);
    if (code != 0)
        return code;
    if (pqe_vault_change_passphrase(c->vault, &error) != PQE_OK)
        return cli_report(c, "cannot change the passphrase of", c->vault_dir, &error);
    if (c->json)
        return cli_json_print(c, json_pack("{s:b}", "changed", 1));
    cli_note(c, "changed the passphrase of ", c->vault_dir, "");
    return 0;
}

static const cli_option options[] = {
    {"new-passphrase-file", 0, CLI_VALUE_FILE, "F", "read the new passphrase from a file or descriptor", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_passphrase_change = {.name = "passphrase change",
                                               .operands = "",
                                               .summary = "open the vault by another passphrase from now on",
                                               .options = options,
                                               .run = run};
