/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave rotate: new device keys, with --rekey new secrets too, and with --backend another place for them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "json.h"
#include "newbackend.h"
#include "process.h"
#include "report.h"
#include "session.h"

/* What the options say of the backend to move to. */
typedef struct target {
    const char *backend; /* NULL: the vault stays */
    const char *key_file;
    bool by_passphrase;
    char left[sizeof((pqe_vault_info *)NULL)->key_source]; /* what opened the vault before */
} target;

static int
read_target(cli *c, target *t)
{
    const char *passphrase_file = cli_option_value(c, "new-passphrase-file");

    *t = (target){.backend = cli_option_value(c, "backend"), .key_file = cli_option_value(c, "new-key-file")};
    t->by_passphrase = passphrase_file != NULL || cli_option_value(c, "passphrase") != NULL;
    c->passphrase.new_file = passphrase_file;
    if (t->backend == NULL && (t->by_passphrase || t->key_file != NULL))
        t->backend = "file";
    if (t->backend == NULL && cli_option_value(c, "discard-old") != NULL)
        return cli_usage(c, "--discard-old: only a vault that moves, with --backend, leaves a key behind");
    return 0;
}

static int
report_failure(cli *c, const target *t, const pqe_error *error)
{
    if (error->status == PQE_E_EXISTS && error->origin == PQE_ORIGIN_IO) /* a key file */
        return cli_fail(c, error->status, "cannot move", c->vault_dir, error->message,
                        "give another place by --new-key-file F");
    return cli_report(c, t->backend != NULL ? "cannot move" : "cannot rotate the keys of", c->vault_dir, error);
}

/* A passphrase cannot be destroyed, nor does a TPM keep what it sealed: that is in the vault, and in each copy of it. */
static const char *
fate_of_old_key(cli *c, const target *t)
{
    if (cli_option_value(c, "discard-old") == NULL)
        return "The old key was kept: it opens backups of the vault from before, and nothing newer.";
    if (strcmp(t->left, "passphrase") == 0)
        return "The old passphrase opens the vault no more, but older copies of the vault still open with it.";
    if (strcmp(t->left, "tpm") == 0)
        return "The old key opens the vault no more, but older copies of the vault still open with it, on its TPM.";
    return "The old key was removed, as far as its backend could: backups of the vault from before open by a recovery "
           "key only.";
}

static int
print_moved(cli *c, const target *t, bool rekeyed)
{
    char *key_file = NULL;
    int code = 0;

    if (strcmp(c->facts.key_source, "key-file") == 0)
        key_file = t->key_file != NULL ? strdup(t->key_file) : cli_key_file(c, c->facts.vault_id);
    if (c->json)
        code = cli_json_print(c, json_pack("{s:b, s:b, s:I, s:s, s:s, s:o}", "rotated", 1, "rekeyed", (int)rekeyed,
                                           "generation", (json_int_t)c->facts.generation, "backend", c->facts.backend,
                                           "key_source", c->facts.key_source, "key_file", cli_json_text(key_file)));
    else if (!c->quiet) {
        cli_note(c, "moved vault ", c->vault_dir, "");
        cli_put_field("backend", c->facts.backend);
        cli_put_field("opened by", key_file != NULL ? "key file" : c->facts.key_source);
        if (key_file != NULL)
            cli_put_field("key file", key_file);
        puts(fate_of_old_key(c, t));
    }
    free(key_file);
    return code;
}

static int
print_result(cli *c, const target *t, bool rekeyed)
{
    if (t->backend != NULL)
        return print_moved(c, t, rekeyed);
    if (c->json)
        return cli_json_print(c, json_pack("{s:b, s:b, s:I}", "rotated", 1, "rekeyed", (int)rekeyed, "generation",
                                           (json_int_t)c->facts.generation));
    cli_note(c, rekeyed ? "new device keys and secrets for " : "new device keys for ", c->vault_dir, "");
    return 0;
}

static int
run(cli *c)
{
    pqe_rotate_opts opts = {.size = sizeof opts,
                            .rekey = cli_option_value(c, "rekey") != NULL,
                            .discard_old = cli_option_value(c, "discard-old") != NULL};
    pqe_error error = {0};
    target t;
    int code = read_target(c, &t), noted;

    if (code == 0)
        code = cli_open(c);
    if (code == 0 && t.backend != NULL) {
        cli_catch_signals(); /* the new key is taken back when a passphrase is not given */
        code = cli_open_new_backend(c, t.backend, t.key_file, t.by_passphrase);
    }
    if (code != 0)
        return code;
    memcpy(t.left, c->facts.key_source, sizeof t.left);
    opts.backend = c->new_backend;
    if (pqe_rotate(c->vault, &opts, &error) != PQE_OK)
        return report_failure(c, &t, &error);
    if (pqe_vault_get_info(c->vault, &c->facts, &error) != PQE_OK)
        return cli_report(c, "cannot read vault", c->vault_dir, &error);
    code = print_result(c, &t, opts.rekey);
    noted = cli_note_new_backend(c, t.backend);
    return code != 0 ? code : noted;
}

static const cli_option options[] = {
    {"rekey", 0, CLI_VALUE_NONE, NULL, "also replace the secrets and wrap every artifact's key anew", NULL},
    {"backend", 0, CLI_VALUE_WORDS, "NAME", "move the vault to this backend, or to another key of the same",
     CLI_BACKEND_WORDS},
    {"new-key-file", 0, CLI_VALUE_FILE, "F", "where the new backend is to make its key file", NULL},
    {"passphrase", 0, CLI_VALUE_NONE, NULL, "the new backend opens by a passphrase", NULL},
    {"new-passphrase-file", 0, CLI_VALUE_FILE, "F", "read that passphrase from a file or descriptor", NULL},
    {"discard-old", 0, CLI_VALUE_NONE, NULL, "have the old backend remove its key once the vault has moved", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_rotate = {.name = "rotate",
                                    .operands = "",
                                    .summary = "make new device keys, or move to another backend",
                                    .options = options,
                                    .run = run};
