/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave key show: the device's public grant key. */
#include <stdio.h>

#include "commands.h"
#include "json.h"
#include "report.h"
#include "session.h"

static int
run(cli *c)
{
    char pem[PQE_GRANT_PEM_MAX];
    pqe_error error = {0};
    size_t len = 0;
    int code = cli_open(c);

    if (code != 0)
        return code;
    if (pqe_grant_public_key(c->vault, pem, sizeof pem, &len, &error) != PQE_OK)
        return cli_report(c, "cannot show the key of", c->vault_dir, &error);
    if (c->json)
        return cli_json_print(
            c, json_pack("{s:s, s:s, s:s}", "vault_id", c->facts.vault_id, "suite", c->facts.suite, "public_key", pem));
    fputs(pem, stdout);
    return 0;
}

const cli_command cli_cmd_key_show = {
    .name = "key show", .operands = "", .summary = "print the device's public key (PEM)", .run = run};
