/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave recovery create, list, remove: the recovery keys of a vault. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "json.h"
#include "process.h"
#include "recovery.h"
#include "report.h"
#include "session.h"
#include "text.h"

/* ---- create ---- */

static int
check_create(cli *c)
{
    const char *file = cli_option_value(c, "file"), *words = cli_option_value(c, "words");
    const char *name = cli_option_value(c, "name");

    if (file != NULL && words != NULL)
        return cli_usage(c, "a recovery key is a --file or --words, not both");
    if (words != NULL && strcmp(words, "-") != 0)
        return cli_usage(c, "--words: the words go to standard output (-) only; --file writes a key to a file");
    if (words != NULL && c->json)
        return cli_usage(c, "--words: standard output is for the words, or for --json, not for both");
    if (name != NULL && (name[0] == '\0' || strlen(name) > PQE_RECOVERY_NAME_MAX || !cli_utf8_valid(name)))
        return cli_usage(c, "--name: 1 to %u bytes of UTF-8", PQE_RECOVERY_NAME_MAX);
    if (file != NULL && cli_is_inside(c->vault_dir, file))
        return cli_usage(c,
                         "--file: a recovery key inside the vault goes wherever the vault goes; choose another place");
    return 0;
}

/* The key is in somebody's hands before the vault knows it. */
static int
hand_out(cli *c, const pqe_recovery_key *key)
{
    const char *file = cli_option_value(c, "file");

    if (file != NULL)
        return cli_recovery_write(c, key, file);
    return cli_option_value(c, "words") != NULL ? cli_recovery_print(c, key) : cli_recovery_show(c, key);
}

typedef struct search {
    const char *id;
    bool found;
} search;

static bool
compare_id(void *user, const pqe_recovery_info *info)
{
    search *s = user;

    s->found = s->found || strcmp(info->id, s->id) == 0;
    return true;
}

/* A failure can come after the commit: a sync, a device that did not count. The key goes only if the vault surely lacks
 * it. */
static int
report_failure(cli *c, const pqe_recovery_key *key, const pqe_error *error)
{
    const char *file = cli_option_value(c, "file");
    search s = {.id = pqe_recovery_key_id(key)};

    if (pqe_recovery_list(c->vault, compare_id, &s, NULL) != PQE_OK || s.found)
        return cli_report_with(c, "cannot add a recovery key to", c->vault_dir, error,
                               "keep the new recovery key, the vault may have it; `" CLI_NAME " recovery list` tells");
    if (file != NULL)
        unlink(file);
    return cli_report(c, "cannot add a recovery key to", c->vault_dir, error);
}

static int
create(cli *c)
{
    const char *file = cli_option_value(c, "file"), *name = cli_option_value(c, "name");
    pqe_recovery_key *key = NULL;
    pqe_error error = {0};
    int code = cli_vault_dir(c, NULL);

    if (code == 0)
        code = check_create(c);
    if (code == 0)
        code = cli_open(c);
    if (code != 0)
        return code;
    if (pqe_recovery_key_generate(&key, &error) != PQE_OK)
        return cli_report(c, "cannot make a recovery key", NULL, &error);
    code = hand_out(c, key);
    if (code == 0 && pqe_recovery_create(c->vault, key, name, &error) != PQE_OK)
        code = report_failure(c, key, &error);
    if (code == 0 && c->json)
        code = cli_json_print(c, json_pack("{s:s, s:o, s:o}", "id", pqe_recovery_key_id(key), "name",
                                           cli_json_text(name != NULL ? name : ""), "file", cli_json_text(file)));
    else if (code == 0 && cli_option_value(c, "words") == NULL)
        cli_note(c, "added recovery key ", pqe_recovery_key_id(key), "");
    pqe_recovery_key_free(&key);
    return code;
}

static const cli_option create_options[] = {
    {"file", 0, CLI_VALUE_FILE, "F", "write the key to a new file instead of showing words", NULL},
    {"words", 0, CLI_VALUE_WORDS, "-", "print the words on standard output, and ask for none back", "-"},
    {"name", 0, CLI_VALUE_TEXT, "N", "a name that tells where it is kept", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_recovery_create = {.name = "recovery create",
                                             .operands = "",
                                             .summary = "make a key that opens the vault when its backend is lost",
                                             .options = create_options,
                                             .run = create};

/* ---- list ---- */

static bool
print_one(void *user, const pqe_recovery_info *info)
{
    json_t *all = user;

    if (all != NULL)
        return json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:s}", "id", info->id, "name", info->name,
                                                    "created_at", info->created_at, "suite", info->suite)) == 0;
    printf("%s  %s  %s  ", info->id, info->suite, info->created_at);
    cli_put_escaped(stdout, info->name);
    putchar('\n');
    return true;
}

static int
list(cli *c)
{
    json_t *all = c->json ? json_array() : NULL;
    pqe_error error = {0};
    int code = cli_open(c);

    if (code == 0 && pqe_recovery_list(c->vault, print_one, all, &error) != PQE_OK)
        code = cli_report(c, "cannot list the recovery keys of", c->vault_dir, &error);
    return cli_json_listed(c, all, code);
}

const cli_command cli_cmd_recovery_list = {
    .name = "recovery list", .operands = "", .summary = "list the vault's recovery keys", .run = list};

/* ---- remove ---- */

static int
remove_key(cli *c)
{
    const char *id = c->operands[0];
    pqe_error error = {0};
    int code = cli_open(c);

    if (code != 0)
        return code;
    if (pqe_recovery_remove(c->vault, id, &error) != PQE_OK)
        return cli_fail(c, error.status, "cannot remove the recovery key", id, error.message,
                        error.status == PQE_E_NOT_FOUND ? "`" CLI_NAME " recovery list` shows what there is" : NULL);
    code = cli_removed(c, "removed recovery key ", id);
    if (!c->json && !c->quiet)
        puts("A copy of the vault from before still opens with it; `" CLI_NAME " rotate --rekey` makes what that gives "
             "away worthless for the vault as it is now.");
    return code;
}

const cli_command cli_cmd_recovery_remove = {.name = "recovery remove",
                                             .operands = "ID",
                                             .summary = "take a recovery key's access to the vault back",
                                             .min_operands = 1,
                                             .max_operands = 1,
                                             .operand_value = CLI_VALUE_TEXT,
                                             .run = remove_key};
