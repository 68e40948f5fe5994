/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave recovery use: a vault whose key is lost is opened by a recovery key and put on a new backend. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "json.h"
#include "newbackend.h"
#include "process.h"
#include "recovery.h"
#include "report.h"
#include "session.h"
#include "text.h"

static void
note_lost(void *user, const char *did, const char *name)
{
    json_t *lost = user;
    bool known = did[0] != '\0'; /* its record was damaged otherwise */

    json_array_append_new(lost, json_pack("{s:s?, s:s?}", "did", known ? did : NULL, "name", known ? name : NULL));
}

static int
report_failure(cli *c, const pqe_error *error)
{
    const char *what = "cannot recover vault";

    if (error->status == PQE_E_EXISTS && error->origin == PQE_ORIGIN_IO) /* a key file */
        return cli_fail(c, error->status, what, c->vault_dir, error->message,
                        "give another place for the new key by --key-file F");
    if (error->status == PQE_E_DENIED && error->origin == PQE_ORIGIN_API)
        return cli_fail(c, error->status, what, c->vault_dir, error->message, "give one of the vault's recovery keys");
    return cli_report(c, what, c->vault_dir, error);
}

static void
print_lost(const json_t *lost)
{
    size_t i;
    json_t *one;

    json_array_foreach(lost, i, one)
    {
        const char *did = json_string_value(json_object_get(one, "did"));
        if (did == NULL) {
            fputs(CLI_NAME ": warning: an identity is lost, its record was damaged\n", stderr);
            continue;
        }
        fputs(CLI_NAME ": warning: an identity is lost, the old backend kept its key: ", stderr);
        fputs(did, stderr);
        fputc(' ', stderr);
        cli_put_escaped(stderr, json_string_value(json_object_get(one, "name")));
        fputc('\n', stderr);
    }
}

static int
print_result(cli *c, json_t *lost)
{
    char *key_file = NULL;
    int code = 0;

    if (strcmp(c->facts.key_source, "key-file") == 0)
        key_file = cli_key_file(c, c->facts.vault_id);
    if (c->json) {
        code = cli_json_print(c, json_pack("{s:o, s:s, s:s, s:s, s:o, s:O}", "vault", cli_json_text(c->vault_dir),
                                           "vault_id", c->facts.vault_id, "backend", c->facts.backend, "key_source",
                                           c->facts.key_source, "key_file", cli_json_text(key_file), "lost", lost));
    } else if (!c->quiet) {
        cli_note(c, "recovered vault ", c->vault_dir, "");
        cli_put_field("backend", c->facts.backend);
        cli_put_field("opened by", key_file != NULL ? "key file" : c->facts.key_source);
        if (key_file != NULL)
            cli_put_field("key file", key_file);
        puts("The recovery keys are as they were. If the old key may be in other hands: `" CLI_NAME
             " rotate --rekey`.");
    }
    if (!c->json)
        print_lost(lost);
    free(key_file);
    return code;
}

static int
recover(cli *c, const pqe_recovery_key *key, json_t *lost)
{
    const pqe_recovery_use_opts opts = {.size = sizeof opts,
                                        .dir = c->vault_dir,
                                        .key = key,
                                        .backend = c->new_backend,
                                        .lost = note_lost,
                                        .user = lost,
                                        .caller = cli_option_value(c, "caller")};
    pqe_error error = {0};
    int code, noted;

    if (pqe_recovery_use(&opts, &c->vault, &error) != PQE_OK)
        return report_failure(c, &error);
    if (pqe_vault_get_info(c->vault, &c->facts, &error) != PQE_OK)
        return cli_report(c, "cannot read vault", c->vault_dir, &error);
    code = print_result(c, lost);
    noted = cli_note_new_backend(c, cli_option_value(c, "backend"));
    return code != 0 ? code : noted;
}

static int
run(cli *c)
{
    const char *backend = cli_option_value(c, "backend");
    bool by_passphrase = cli_option_value(c, "passphrase") != NULL || c->passphrase.file != NULL;
    pqe_recovery_key *key = NULL;
    pqe_error error = {0};
    json_t *lost;
    int code = cli_vault_dir(c, NULL);

    c->passphrase.new_file = c->passphrase.file;
    if (code == 0 && pqe_vault_peek(c->vault_dir, &c->facts, &error) != PQE_OK)
        code = cli_report(c, "cannot open vault", c->vault_dir, &error);
    if (code == 0)
        code =
            cli_open_new_backend(c, backend != NULL ? backend : "file", cli_option_value(c, "key-file"), by_passphrase);
    if (code == 0)
        code = cli_recovery_read(c, &key);
    if (code != 0)
        return code;
    cli_catch_signals(); /* what is half made goes when the passphrase is not given; the rest is finished */
    lost = json_array();
    code = recover(c, key, lost);
    json_decref(lost);
    pqe_recovery_key_free(&key);
    return code;
}

static const cli_option options[] = {
    {"file", 0, CLI_VALUE_FILE, "F", "read the recovery key from a file", NULL},
    {"words-file", 0, CLI_VALUE_FILE, "F|-", "read its words from a file or standard input", NULL},
    {"backend", 0, CLI_VALUE_WORDS, "NAME", "what holds the vault's key from now on (file)", CLI_BACKEND_WORDS},
    {"passphrase", 0, CLI_VALUE_NONE, NULL, "open the vault by a passphrase from now on", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_recovery_use = {.name = "recovery use",
                                          .operands = "",
                                          .summary = "open the vault by a recovery key and give it a new backend",
                                          .options = options,
                                          .run = run};
