/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every part of the command shares: exit codes, the shape of the command table, and the state of one run.
 *
 * The command uses the public headers, and of the library's inside only src/util for text and the user's directories. A subcommand is one file cmd_NAME.c that defines one cli_command, named in
 * the table of main.c; help, completion and the check of the manual page are all made from that table.
 */
#ifndef PQE_CLI_CLI_H
#define PQE_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include <pqc_enclave.h>
#include <pqc_enclave/audit.h>
#include <pqc_enclave/policy.h>

#include "passphrase.h"

#define CLI_NAME "pqc-enclave"

/** Exit codes: a contract with scripts, documented in pqc-enclave(1). */
enum {
    CLI_EXIT_OK = 0,
    CLI_EXIT_FAILED = 1,
    CLI_EXIT_USAGE = 2,
    CLI_EXIT_NOT_FOUND = 3,
    CLI_EXIT_DENIED = 4,
    CLI_EXIT_TAMPERED = 5,
    CLI_EXIT_UNAVAILABLE = 6,
    CLI_EXIT_EXEC_FAILED = 125,    /**< every failure of `exec` itself, as env(1) has it */
    CLI_EXIT_CANNOT_RUN = 126,     /**< `exec`: CMD was found but cannot be run */
    CLI_EXIT_NO_SUCH_COMMAND = 127 /**< `exec`: CMD was not found */
};

/** What an operand or an option's argument is, for completion. */
typedef enum cli_value {
    CLI_VALUE_NONE, /**< takes no argument */
    CLI_VALUE_TEXT,
    CLI_VALUE_FILE,
    CLI_VALUE_DIR,
    CLI_VALUE_KIND,
    CLI_VALUE_WORDS /**< one of the words listed beside it */
} cli_value;

typedef struct cli_option {
    const char *name; /**< without "--"; NULL ends a list of options */
    char letter;      /**< short form, or 0 */
    cli_value value;
    const char *argument; /**< its name in the synopsis, for example "FILE"; NULL: takes none */
    const char *help;
    const char *words; /**< CLI_VALUE_WORDS: separated by spaces */
} cli_option;

typedef struct cli cli;

typedef struct cli_command {
    const char *name;     /**< one word or two: "put", "key show" */
    const char *operands; /**< as in the synopsis; "" for none */
    const char *summary;
    const cli_option *options; /**< NULL for none but the global ones */
    size_t min_operands, max_operands;
    cli_value operand_value;
    const char *operand_words; /**< CLI_VALUE_WORDS */
    bool takes_command;        /**< "-- CMD [ARG...]" follows the operands */
    int failure_exit;          /**< exit code of every failure of its own; 0: by kind of failure */
    int (*run)(cli *c);
} cli_command;

/** All commands, in the order of help; ends with NULL. */
extern const cli_command *const cli_commands[];
/** Options that every command takes; ends with a NULL name. */
extern const cli_option cli_global_options[];

/** One run of the command. */
struct cli {
    const cli_command *command;
    const char *operands[1024]; /**< operand_count of them */
    size_t operand_count;
    char **tail; /**< takes_command: the NULL-terminated CMD [ARG...]; else NULL */
    struct {
        const cli_option *option;
        const char *value;
    } given[256]; /**< options in the order given */
    size_t given_count;

    bool json, quiet, help, version;
    int failure_exit; /**< overrides the exit code of failures from here on; 0: it does not */
    cli_passphrase passphrase;
    const char *vault_dir; /**< see cli_vault_dir() */
    char *vault_dir_memory;
    pqe_vault_info facts; /**< as peeked when the vault was opened */
    pqe_backend *backend;
    pqe_backend *new_backend; /* that the vault moves to */
    pqe_vault *vault;
};

/** The last value given for an option, "" for one that takes none; NULL if it was not given. */
const char *cli_option_value(const cli *c, const char *name);

/** Content hashes, as option values. */
#define CLI_HASHES "sha3-256 parallelhash256 deferred"

/** Reads the value of --kind. 0, or the exit code of the usage error. */
int cli_parse_kind(cli *c, const char *name, pqe_kind *out);

/** Prints help on one command, or on all when `command` is NULL. */
int cli_print_help(cli *c, const cli_command *command);

#endif
