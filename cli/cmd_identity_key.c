/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave identity import, export: keys from and to PEM files. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "commands.h"
#include "identity.h"
#include "json.h"
#include "outfile.h"
#include "process.h"
#include "report.h"
#include "session.h"
#include "text.h"
#include "value.h"

/* ---- import ---- */

#define PEM_FILE_MAX 65536u /* with room for what people write around a key */

static int
import(cli *c)
{
    const char *path = c->operands[0];
    pqe_signing_key *key = NULL;
    pqe_identity_opts opts;
    pqe_identity identity;
    pqe_error error = {0};
    char *pem = NULL;
    size_t len;
    int code = cli_identity_options(c, &opts);

    if (code == 0)
        code = cli_read_whole(c, path, PEM_FILE_MAX, &pem, &len);
    if (code == 0 && pqe_signing_key_from_pem(pem, len, &key, &error) != PQE_OK)
        code = cli_report(c, "cannot import", path, &error);
    cli_buffer_free(pem, PEM_FILE_MAX + 1);
    if (code == 0)
        code = cli_open(c);
    if (code == 0 && pqe_identity_import(c->vault, key, &opts, &identity, &error) != PQE_OK)
        code = cli_report(c, "cannot import", path, &error);
    pqe_signing_key_free(&key);
    return code != 0 ? code : cli_identity_done(c, "imported ", &identity);
}

static const cli_option import_options[] = {
    {"name", 0, CLI_VALUE_TEXT, "N", "a name of its own", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_identity_import = {.name = "identity import",
                                             .operands = "FILE|-",
                                             .summary = "keep a private key from a PEM file as an identity",
                                             .options = import_options,
                                             .min_operands = 1,
                                             .max_operands = 1,
                                             .operand_value = CLI_VALUE_FILE,
                                             .run = import};

/* ---- export ---- */

static int
write_file(cli *c, const char *path, const char *pem, size_t len)
{
    cli_outfile file;
    int errnum = cli_outfile_open(&file, path);

    if (errnum == 0)
        errnum = cli_write_all(file.fd, pem, len);
    if (errnum == 0)
        errnum = cli_outfile_commit(&file);
    cli_outfile_discard(&file);
    return errnum != 0 ? cli_fail_errno(c, errnum, "cannot write", path, NULL) : 0;
}

static int
export_public(cli *c, const char *name, const char *path)
{
    pqe_identity identity;
    pqe_public_key *key = NULL;
    char pem[PQE_PUBLIC_PEM_MAX];
    pqe_error error = {0};
    size_t len = 0;
    int code = 0;

    if (pqe_identity_get(c->vault, name, &identity, &error) != PQE_OK ||
        pqe_public_key_from_raw(identity.algorithm, identity.public_key, identity.public_key_len, &key, &error) !=
            PQE_OK ||
        pqe_public_key_pem(key, pem, sizeof pem, &len, &error) != PQE_OK)
        code = cli_identity_report(c, "cannot export the identity", name, &error);
    pqe_public_key_free(&key);
    if (code == 0 && path != NULL)
        code = write_file(c, path, pem, len);
    if (code != 0)
        return code;
    if (c->json)
        return cli_json_print(c, cli_identity_json(&identity));
    if (path != NULL)
        cli_note(c, "wrote ", path, "");
    else
        fputs(pem, stdout);
    return 0;
}

/* The key goes into a regular file of mode 0600 and nowhere else. */
static int
check_private_target(cli *c, const char *path)
{
    struct stat st;

    if (path == NULL || strcmp(path, "-") == 0)
        return cli_usage(c, "--private writes to a file only: give -o FILE");
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return cli_usage(c, "--private writes to a regular file only, which %s is not", path);
    return 0;
}

static int
export_private(cli *c, const char *name, const char *path)
{
    char *pem = cli_buffer_new(PQE_PRIVATE_PEM_MAX);
    pqe_signing_key *key = NULL;
    pqe_error error = {0};
    size_t len = 0;
    int code = 0;

    if (pem == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot export the identity", name, NULL);
    if (pqe_identity_export_private(c->vault, name, &key, &error) != PQE_OK ||
        pqe_signing_key_pem(key, pem, PQE_PRIVATE_PEM_MAX, &len, &error) != PQE_OK)
        code = cli_identity_report(c, "cannot export the identity", name, &error);
    if (code == 0)
        code = write_file(c, path, pem, len);
    cli_buffer_free(pem, PQE_PRIVATE_PEM_MAX);
    if (code == 0 && c->json)
        code = cli_json_print(c, json_pack("{s:s, s:o}", "did", pqe_public_key_did(pqe_signing_key_public(key)),
                                           "private_key_file", cli_json_text(path)));
    if (code == 0 && !c->quiet && !c->json) {
        fputs(CLI_NAME ": warning: whoever has ", stderr);
        cli_put_escaped(stderr, path);
        fprintf(stderr, " can sign as %s; it is not encrypted\n", pqe_public_key_did(pqe_signing_key_public(key)));
    }
    pqe_signing_key_free(&key);
    return code;
}

static int export(cli *c)
{
    const char *name = c->operand_count > 0 ? c->operands[0] : NULL, *path = cli_option_value(c, "output");
    bool is_private = cli_option_value(c, "private") != NULL;
    int code = 0;

    if (is_private && cli_option_value(c, "public") != NULL)
        code = cli_usage(c, "--public and --private exclude each other");
    if (code == 0 && is_private)
        code = check_private_target(c, path);
    if (code == 0)
        code = cli_open(c);
    if (code != 0)
        return code;
    if (is_private)
        return export_private(c, name, path);
    return export_public(c, name, path != NULL && strcmp(path, "-") == 0 ? NULL : path);
}

static const cli_option export_options[] = {
    {"public", 0, CLI_VALUE_NONE, NULL, "the public key (default)", NULL},
    {"private", 0, CLI_VALUE_NONE, NULL, "the private key, unencrypted, to a file of mode 0600", NULL},
    {"output", 'o', CLI_VALUE_FILE, "FILE|-", "write to a file", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_identity_export = {.name = "identity export",
                                             .operands = "[DID|NAME]",
                                             .summary = "write an identity's public or private key as PEM",
                                             .options = export_options,
                                             .max_operands = 1,
                                             .operand_value = CLI_VALUE_TEXT,
                                             .run = export};
