/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave key show: the device's public grant key, or the key that verifies its evidence. */
#include <stdio.h>

#include <pqc_enclave/attest.h>

#include "commands.h"
#include "json.h"
#include "report.h"
#include "session.h"

_Static_assert(PQE_GRANT_PEM_MAX <= PQE_EVIDENCE_PEM_MAX, "the buffer takes either key");

static int
run(cli *c)
{
    bool evidence = cli_option_value(c, "evidence") != NULL;
    char pem[PQE_EVIDENCE_PEM_MAX];
    pqe_error error = {0};
    size_t len = 0;
    pqe_status status;
    int code = cli_open(c);

    if (code != 0)
        return code;
    status = evidence ? pqe_evidence_public_key(c->vault, pem, sizeof pem, &len, &error)
                      : pqe_grant_public_key(c->vault, pem, sizeof pem, &len, &error);
    if (status != PQE_OK)
        return cli_report(c, evidence ? "cannot show the evidence key of" : "cannot show the key of", c->vault_dir,
                          &error);
    if (c->json && evidence)
        return cli_json_print(c, json_pack("{s:s, s:s}", "vault_id", c->facts.vault_id, "evidence_key", pem));
    if (c->json)
        return cli_json_print(
            c, json_pack("{s:s, s:s, s:s}", "vault_id", c->facts.vault_id, "suite", c->facts.suite, "public_key", pem));
    fputs(pem, stdout);
    return 0;
}

static const cli_option options[] = {
    {"evidence", 0, CLI_VALUE_NONE, NULL, "the key that verifies the hardware's evidence, for verifiers", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_key_show = {.name = "key show",
                                      .operands = "",
                                      .summary = "print the device's public key (PEM)",
                                      .options = options,
                                      .run = run};
