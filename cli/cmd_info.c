/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave info: all metadata of an artifact, or what can be read of a vault without its key. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "json.h"
#include "report.h"
#include "session.h"
#include "text.h"

static void
put_number(const char *label, uint64_t value)
{
    printf("%-14s %" PRIu64 "\n", label, value);
}

static void
put_optional(const char *label, const char *value)
{
    if (value[0] != '\0')
        cli_put_field(label, value);
}

static void
print_artifact(const pqe_artifact *a)
{
    const char *kind = pqe_kind_name(a->kind);
    char size[16];

    cli_put_field("name", a->name);
    cli_put_field("artifact id", a->artifact_id);
    cli_put_field("kind", kind != NULL ? kind : "?");
    cli_format_size(a->size_bytes, size);
    printf("%-14s %" PRIu64 " bytes (%s)\n", "size", a->size_bytes, size);
    cli_put_field("created", a->created_at);
    put_optional("version", a->version);
    put_optional("app", a->app_bundle_id);
    put_optional("model DID", a->model_did);
    for (size_t i = 0; i < a->tag_count; i++)
        cli_put_field("tag", a->tags[i]);
    put_optional("description", a->description);
    cli_put_field("device id", a->device_id);
    if (a->content_hash[0] != '\0')
        cli_put_field(a->hash_algorithm, a->content_hash);
    else
        cli_put_field("content hash", a->hash_algorithm);
    cli_put_field("suite", a->suite);
    cli_put_field("key id", a->key_id);
    printf("%-14s %" PRIu64 " bytes, %s\n", "stored", a->stored_bytes, a->is_inline ? "in the index" : "in a file");
}

static int
artifact_info(cli *c, const char *name)
{
    pqe_artifact *artifact = NULL;
    pqe_error error = {0};
    int code = cli_check_name(c, name);

    if (code == 0)
        code = cli_open(c);
    if (code != 0)
        return code;
    if (pqe_info(c->vault, name, &artifact, &error) != PQE_OK)
        return cli_report(c, "cannot show", name, &error);
    if (!c->json) {
        print_artifact(artifact);
    } else {
        cli_json_put_artifact(stdout, artifact);
        putchar('\n');
    }
    pqe_artifact_free(&artifact);
    return code;
}

static void
print_vault(const cli *c, const char *key_file)
{
    const pqe_vault_info *facts = &c->facts;

    cli_put_field("vault", c->vault_dir);
    cli_put_field("vault id", facts->vault_id);
    cli_put_field("backend", facts->backend);
    cli_put_field("suite", facts->suite);
    cli_put_field("opened by", facts->key_source);
    if (key_file != NULL)
        cli_put_field("key file", key_file);
    put_optional("held by", facts->held_by);
    if (facts->native_kem)
        cli_put_field("device keys", "native ML-KEM: the decapsulation keys never leave the backend");
    put_number("format", facts->format_version);
    put_number("generation", facts->generation);
    put_number("artifacts", facts->artifact_count);
}

static int
vault_info(cli *c)
{
    const pqe_vault_info *facts = &c->facts;
    pqe_error error = {0};
    char *key_file = NULL;
    int code = cli_vault_dir(c, NULL);

    if (code != 0)
        return code;
    if (pqe_vault_peek(c->vault_dir, &c->facts, &error) != PQE_OK)
        return cli_report(c, "cannot open vault", c->vault_dir, &error);
    if (strcmp(facts->key_source, "key-file") == 0)
        key_file = cli_key_file(c, facts->vault_id);
    if (c->json)
        code = cli_json_print(
            c, json_pack("{s:o, s:s, s:s, s:s, s:s, s:o, s:o, s:b, s:i, s:I, s:I}", "vault",
                         cli_json_text(c->vault_dir), "vault_id", facts->vault_id, "backend", facts->backend, "suite",
                         facts->suite, "key_source", facts->key_source, "key_file", cli_json_text(key_file), "held_by",
                         cli_json_text(facts->held_by[0] != '\0' ? facts->held_by : NULL), "native_kem",
                         (int)facts->native_kem, "format_version", (int)facts->format_version, "generation",
                         (json_int_t)facts->generation, "artifact_count", (json_int_t)facts->artifact_count));
    else
        print_vault(c, key_file);
    free(key_file);
    return code;
}

static int
run(cli *c)
{
    return c->operand_count > 0 ? artifact_info(c, c->operands[0]) : vault_info(c);
}

const cli_command cli_cmd_info = {.name = "info",
                                  .operands = "[NAME|ID]",
                                  .summary = "show all metadata of an artifact, or facts of the vault",
                                  .max_operands = 1,
                                  .operand_value = CLI_VALUE_TEXT,
                                  .run = run};
