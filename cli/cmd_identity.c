/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave identity create, show, list, rm. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "identity.h"
#include "json.h"
#include "report.h"
#include "session.h"
#include "text.h"

json_t *
cli_identity_json(const pqe_identity *identity)
{
    pqe_public_key *key = NULL;
    char pem[PQE_PUBLIC_PEM_MAX] = "";
    size_t len;

    if (pqe_public_key_from_raw(identity->algorithm, identity->public_key, identity->public_key_len, &key, NULL) ==
        PQE_OK)
        pqe_public_key_pem(key, pem, sizeof pem, &len, NULL);
    pqe_public_key_free(&key);
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:s}", "did", identity->did, "name", identity->name, "algorithm",
                     pqe_sig_name(identity->algorithm), "created_at", identity->created_at, "default",
                     (int)identity->is_default, "native", (int)identity->is_native, "public_key", pem);
}

int
cli_identity_report(cli *c, const char *what, const char *object, const pqe_error *error)
{
    if (error->status == PQE_E_NOT_FOUND)
        return cli_fail(c, error->status, what, object, error->message,
                        "`" CLI_NAME " identity list` shows what there is, `" CLI_NAME " identity create` makes one");
    return cli_report(c, what, object, error);
}

int
cli_identity_done(cli *c, const char *what, const pqe_identity *identity)
{
    if (c->json)
        return cli_json_print(c, cli_identity_json(identity));
    cli_note(c, what, identity->did, identity->is_default ? " (default)" : "");
    return 0;
}

int
cli_identity_options(cli *c, pqe_identity_opts *opts)
{
    const char *algorithm = cli_option_value(c, "algorithm");

    *opts = (pqe_identity_opts){.size = sizeof *opts, .name = cli_option_value(c, "name")};
    if (opts->name != NULL && (opts->name[0] == '\0' || !cli_utf8_valid(opts->name)))
        return cli_usage(c, "--name: the name is empty or not valid UTF-8");
    if (algorithm != NULL && strcmp(algorithm, "ml-dsa-65") != 0 && strcmp(algorithm, "ml-dsa-87") != 0)
        return cli_usage(c, "--algorithm: %s is not one of ml-dsa-65, ml-dsa-87", algorithm);
    if (algorithm != NULL)
        pqe_sig_from_name(algorithm, &opts->algorithm);
    return 0;
}

/* ---- create ---- */

static int
create(cli *c)
{
    pqe_identity_opts opts;
    pqe_identity identity;
    pqe_error error = {0};
    int code = cli_identity_options(c, &opts);

    if (code == 0)
        code = cli_open(c);
    if (code != 0)
        return code;
    if (pqe_identity_create(c->vault, &opts, &identity, &error) != PQE_OK)
        return cli_report(c, "cannot create an identity in", c->vault_dir, &error);
    return cli_identity_done(c, "created ", &identity);
}

static const cli_option create_options[] = {
    {"name", 0, CLI_VALUE_TEXT, "N", "a name of its own", NULL},
    {"algorithm", 0, CLI_VALUE_WORDS, "A", "ml-dsa-65 (default) or ml-dsa-87", "ml-dsa-65 ml-dsa-87"},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_identity_create = {.name = "identity create",
                                             .operands = "",
                                             .summary = "make a key pair that signs attestations",
                                             .options = create_options,
                                             .run = create};

/* ---- show ---- */

static int
show(cli *c)
{
    const char *name = c->operand_count > 0 ? c->operands[0] : NULL;
    pqe_identity identity;
    pqe_error error = {0};
    int code = cli_open(c);

    if (code != 0)
        return code;
    if (pqe_identity_get(c->vault, name, &identity, &error) != PQE_OK)
        return cli_identity_report(c, "cannot show the identity", name, &error);
    if (c->json)
        return cli_json_print(c, cli_identity_json(&identity));
    cli_put_field("did", identity.did);
    if (identity.name[0] != '\0')
        cli_put_field("name", identity.name);
    cli_put_field("algorithm", pqe_sig_name(identity.algorithm));
    cli_put_field("created", identity.created_at);
    cli_put_field("default", identity.is_default ? "yes" : "no");
    cli_put_field("key", identity.is_native ? "made and kept by the backend" : "sealed by the backend");
    return 0;
}

const cli_command cli_cmd_identity_show = {.name = "identity show",
                                           .operands = "[DID|NAME]",
                                           .summary = "show an identity, or the default one",
                                           .max_operands = 1,
                                           .operand_value = CLI_VALUE_TEXT,
                                           .run = show};

/* ---- list ---- */

static bool
print_one(void *user, const pqe_identity *identity)
{
    json_t *all = user;

    if (all != NULL)
        return json_array_append_new(all, cli_identity_json(identity)) == 0;
    printf("%s  %s  %s  %s  ", identity->did, pqe_sig_name(identity->algorithm), identity->created_at,
           identity->is_default ? "default" : "       ");
    cli_put_escaped(stdout, identity->name);
    putchar('\n');
    return true;
}

static int
list(cli *c)
{
    json_t *all = c->json ? json_array() : NULL;
    pqe_error error = {0};
    int code = cli_open(c);

    if (code == 0 && pqe_identity_list(c->vault, print_one, all, &error) != PQE_OK)
        code = cli_report(c, "cannot list the identities of", c->vault_dir, &error);
    return cli_json_listed(c, all, code);
}

const cli_command cli_cmd_identity_list = {
    .name = "identity list", .operands = "", .summary = "list identities, oldest first", .run = list};

/* ---- rm ---- */

static int
rm(cli *c)
{
    const char *name = c->operands[0];
    pqe_error error = {0};
    int code = cli_open(c);

    if (code != 0)
        return code;
    if (pqe_identity_delete(c->vault, name, &error) != PQE_OK)
        return cli_identity_report(c, "cannot remove the identity", name, &error);
    return cli_removed(c, "removed ", name);
}

const cli_command cli_cmd_identity_rm = {.name = "identity rm",
                                         .operands = "DID|NAME",
                                         .summary = "remove an identity; what it signed stays valid",
                                         .min_operands = 1,
                                         .max_operands = 1,
                                         .operand_value = CLI_VALUE_TEXT,
                                         .run = rm};
