/* SPDX-License-Identifier: Apache-2.0 */
/* One line a subcommand; each is defined in cmd_NAME.c. */
#ifndef PQE_CLI_COMMANDS_H
#define PQE_CLI_COMMANDS_H

#include "cli.h"

extern const cli_command cli_cmd_init;
extern const cli_command cli_cmd_put;
extern const cli_command cli_cmd_get;
extern const cli_command cli_cmd_list;
extern const cli_command cli_cmd_info;
extern const cli_command cli_cmd_rm;
extern const cli_command cli_cmd_verify;
extern const cli_command cli_cmd_exec;
extern const cli_command cli_cmd_hash;
extern const cli_command cli_cmd_hash_default;
extern const cli_command cli_cmd_key_show;
extern const cli_command cli_cmd_identity_create;
extern const cli_command cli_cmd_identity_show;
extern const cli_command cli_cmd_identity_list;
extern const cli_command cli_cmd_identity_rm;
extern const cli_command cli_cmd_identity_import;
extern const cli_command cli_cmd_identity_export;
extern const cli_command cli_cmd_attest;
extern const cli_command cli_cmd_verify_attestation;
extern const cli_command cli_cmd_rotate;
extern const cli_command cli_cmd_recovery_accept_rollback;
extern const cli_command cli_cmd_recovery_create;
extern const cli_command cli_cmd_recovery_list;
extern const cli_command cli_cmd_recovery_remove;
extern const cli_command cli_cmd_recovery_use;
extern const cli_command cli_cmd_policy_set;
extern const cli_command cli_cmd_policy_show;
extern const cli_command cli_cmd_policy_clear;
extern const cli_command cli_cmd_audit;
extern const cli_command cli_cmd_doctor;
extern const cli_command cli_cmd_backends;
extern const cli_command cli_cmd_bench;
extern const cli_command cli_cmd_passphrase_change;
extern const cli_command cli_cmd_completion;
extern const cli_command cli_cmd_help;

#endif
