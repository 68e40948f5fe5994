/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave init: makes a vault. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend_note.h"
#include "commands.h"
#include "json.h"
#include "newbackend.h"
#include "process.h"
#include "report.h"
#include "session.h"

/* Checks that the options make sense together and with the backend. */
static int
check_options(cli *c, const char *backend, bool by_passphrase)
{
    const char *suite = cli_option_value(c, "suite");

    if (suite != NULL && strcmp(suite, PQE_SUITE_ML_KEM_768) != 0)
        return cli_usage(c, "--suite: %s is not a suite of this version; there is " PQE_SUITE_ML_KEM_768, suite);
    return cli_check_new_backend(c, backend, cli_option_value(c, "key-file"), by_passphrase);
}

/* A directory just made survives a power cut once the one that holds it is synced. */
static int
sync_parent(cli *c, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int parent = fd >= 0 ? openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int code = 0;

    if (parent < 0 || fsync(parent) != 0)
        code = cli_fail_errno(c, errno, "cannot make durable", path, NULL);
    if (parent >= 0)
        close(parent);
    if (fd >= 0)
        close(fd);
    return code;
}

/* The directories above the default place: not everybody has them. */
static int
make_parents(cli *c)
{
    char *path = strdup(c->vault_dir);
    int code = 0;

    if (path == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot create", c->vault_dir, NULL);
    for (char *slash = strchr(path + 1, '/'); slash != NULL && code == 0; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) == 0)
            code = sync_parent(c, path);
        else if (errno != EEXIST)
            code = cli_fail_errno(c, errno, "cannot create", path, "give --vault DIR");
        *slash = '/';
    }
    free(path);
    return code;
}

static int
print_result(cli *c)
{
    char *key_file = NULL;
    int code = 0;

    if (strcmp(c->facts.key_source, "key-file") == 0)
        key_file = cli_key_file(c, c->facts.vault_id);
    if (c->json) {
        code = cli_json_print(c, json_pack("{s:o, s:s, s:s, s:s, s:s, s:o}", "vault", cli_json_text(c->vault_dir),
                                           "vault_id", c->facts.vault_id, "backend", c->facts.backend, "suite",
                                           c->facts.suite, "key_source", c->facts.key_source, "key_file",
                                           cli_json_text(key_file)));
    } else if (!c->quiet) {
        cli_note(c, "created vault ", c->vault_dir, "");
        cli_put_field("vault id", c->facts.vault_id);
        cli_put_field("backend", c->facts.backend);
        cli_put_field("suite", c->facts.suite);
        cli_put_field("opened by", key_file != NULL ? "key file" : c->facts.key_source);
        if (key_file != NULL) {
            cli_put_field("key file", key_file);
            puts("Back up the key file, and not beside the vault: without it nothing in the vault can be read.");
        } else if (strcmp(c->facts.key_source, "passphrase") == 0) {
            puts("Keep the passphrase safe: without it nothing in the vault can be read.");
        } else if (strcmp(c->facts.key_source, "tpm") == 0) {
            puts("The vault opens with this machine's TPM alone: without it nothing in the vault can be read.");
        } else if (strcmp(c->facts.key_source, "token") == 0) {
            puts("The vault opens with this token alone: without it nothing in the vault can be read.");
        }
        puts("`" CLI_NAME " recovery create` makes a recovery key, which opens it should that be lost.");
    }
    free(key_file);
    return code;
}

static int
run(cli *c)
{
    const char *backend = cli_option_value(c, "backend");
    bool by_passphrase = cli_option_value(c, "passphrase") != NULL || c->passphrase.file != NULL, is_default;
    pqe_error error = {0};
    char *config;
    int code, noted = 0;

    if (backend == NULL)
        backend = "file";
    /* A new vault's passphrase comes from the same file that opens it later. */
    c->passphrase.new_file = c->passphrase.file;
    code = cli_vault_dir(c, &is_default);
    if (code == 0)
        code = check_options(c, backend, by_passphrase);
    if (code == 0 && is_default)
        code = make_parents(c);
    if (code != 0)
        return code;
    /* What is half made goes when the passphrase is not given; the rest takes a moment and is finished. */
    cli_catch_signals();
    config = cli_new_backend_config(backend, cli_option_value(c, "key-file"), by_passphrase);
    if (config == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot create vault", c->vault_dir, NULL);
    c->passphrase.is_pin = strncmp(config, "pkcs11", 6) == 0;
    code = cli_create(c, config);
    if (code == 0 && pqe_vault_get_info(c->vault, &c->facts, &error) != PQE_OK)
        code = cli_report(c, "cannot read vault", c->vault_dir, &error);
    if (code == 0) {
        code = print_result(c); /* first: the vault is there, also when the note cannot be written */
        if (strcmp(c->facts.backend, "file") != 0 && strchr(config, ':') != NULL)
            noted = cli_backend_note_write(c, c->facts.vault_id, config);
    }
    free(config);
    return code != 0 ? code : noted;
}

static const cli_option options[] = {
    {"passphrase", 0, CLI_VALUE_NONE, NULL, "open the vault by a passphrase instead of a key file", NULL},
    {"backend", 0, CLI_VALUE_WORDS, "NAME", "what holds the device key (file)", CLI_BACKEND_WORDS},
    {"suite", 0, CLI_VALUE_WORDS, "SUITE", "how keys are encapsulated (ml-kem-768)", "ml-kem-768"},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_init = {
    .name = "init", .operands = "", .summary = "make a vault", .options = options, .run = run};
