/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave: the command table, and the way from arguments to an exit code. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>

#include "args.h"
#include "commands.h"
#include "json.h"
#include "process.h"
#include "report.h"
#include "session.h"

/* One a line. */
/* clang-format off */
const cli_command *const cli_commands[] = {
    &cli_cmd_init,
    &cli_cmd_put,
    &cli_cmd_get,
    &cli_cmd_list,
    &cli_cmd_info,
    &cli_cmd_rm,
    &cli_cmd_verify,
    &cli_cmd_exec,
    &cli_cmd_hash,
    &cli_cmd_hash_default,
    &cli_cmd_key_show,
    &cli_cmd_identity_create,
    &cli_cmd_identity_show,
    &cli_cmd_identity_list,
    &cli_cmd_identity_rm,
    &cli_cmd_identity_import,
    &cli_cmd_identity_export,
    &cli_cmd_attest,
    &cli_cmd_verify_attestation,
    &cli_cmd_rotate,
    &cli_cmd_recovery_accept_rollback,
    &cli_cmd_recovery_create,
    &cli_cmd_recovery_list,
    &cli_cmd_recovery_remove,
    &cli_cmd_recovery_use,
    &cli_cmd_policy_set,
    &cli_cmd_policy_show,
    &cli_cmd_policy_clear,
    &cli_cmd_audit,
    &cli_cmd_doctor,
    &cli_cmd_backends,
    &cli_cmd_bench,
    &cli_cmd_passphrase_change,
    &cli_cmd_completion,
    &cli_cmd_help,
    NULL,
};
/* clang-format on */

const cli_option cli_global_options[] = {
    {"vault", 0, CLI_VALUE_DIR, "DIR", "the vault's directory", NULL},
    {"key-file", 0, CLI_VALUE_FILE, "F", "the key file of the vault", NULL},
    {"passphrase-file", 0, CLI_VALUE_FILE, "F", "read the passphrase from a file or descriptor", NULL},
    {"caller", 0, CLI_VALUE_TEXT, "BUNDLE", "on whose behalf, for the access policy (nobody checks it)", NULL},
    {"json", 0, CLI_VALUE_NONE, NULL, "print results and errors as JSON", NULL},
    {"quiet", 'q', CLI_VALUE_NONE, NULL, "print no confirmations and no progress", NULL},
    {"help", 'h', CLI_VALUE_NONE, NULL, "show help", NULL},
    {"version", 'V', CLI_VALUE_NONE, NULL, "show the version", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

static int
print_version(cli *c)
{
    if (c->json)
        return cli_json_print(c, json_pack("{s:s}", "version", pqe_version()));
    printf(CLI_NAME " %s\n", pqe_version());
    return 0;
}

static int
run(cli *c)
{
    if (c->version)
        return print_version(c);
    if (c->help)
        return cli_print_help(c, c->command);
    return c->command->run(c);
}

int
main(int argc, char **argv)
{
    static cli c; /* zeroed, and too large for a stack frame */
    int code;

    cli_process_harden();
    code = cli_parse(&c, argc, argv);
    if (code == 0)
        code = run(&c);
    cli_close(&c);
    free(c.vault_dir_memory);
    code = cli_finish_output(&c, code);
    if (cli_interrupted() != 0 && code != 0)
        cli_die_of(cli_interrupted());
    return code;
}
