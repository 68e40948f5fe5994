/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave put: stores a file or standard input as an artifact. */
#include <stdio.h>
#include <string.h>

#include "batch.h"
#include "commands.h"
#include "input.h"
#include "json.h"
#include "process.h"
#include "progress.h"
#include "report.h"
#include "session.h"
#include "text.h"

static void
print_result(const cli *c, const pqe_artifact *artifact)
{
    char size[16], rest[32];

    if (c->json) {
        cli_json_put_artifact(stdout, artifact);
        putchar('\n');
        return;
    }
    cli_format_size(artifact->size_bytes, size);
    snprintf(rest, sizeof rest, " (%s)", size);
    cli_note(c, "stored ", artifact->name, rest);
}

static int
store(cli *c, const pqe_put_opts *opts, const cli_input *in)
{
    pqe_writer *writer = NULL;
    pqe_artifact *artifact = NULL;
    pqe_error error = {0};
    cli_progress progress;
    int code;

    if (pqe_writer_open(c->vault, opts, &writer, &error) != PQE_OK)
        return cli_report(c, "cannot store", opts->name, &error);
    cli_progress_start(c, &progress, "encrypting", in->size == UINT64_MAX ? 0 : in->size);
    code = cli_input_copy(c, opts->name, in, writer, &progress);
    cli_progress_end(&progress);
    if (code != 0) {
        pqe_writer_abort(&writer);
        return code;
    }
    if (pqe_writer_finish(&writer, &artifact, &error) != PQE_OK)
        return cli_report(c, "cannot store", opts->name, &error);
    print_result(c, artifact);
    pqe_artifact_free(&artifact);
    return 0;
}

/* Fills the metadata; `tags` has room for every option given. */
static int
read_options(cli *c, pqe_put_opts *opts, const char **tags)
{
    const char *kind = cli_option_value(c, "kind");

    *opts = (pqe_put_opts){.size = sizeof *opts,
                           .name = c->operands[0],
                           .version = cli_option_value(c, "version"),
                           .app_bundle_id = cli_option_value(c, "app"),
                           .model_did = cli_option_value(c, "model-did"),
                           .description = cli_option_value(c, "description"),
                           .hash = cli_option_value(c, "hash"),
                           .tags = tags};
    for (size_t i = 0; i < c->given_count; i++)
        if (strcmp(c->given[i].option->name, "tag") == 0)
            tags[opts->tag_count++] = c->given[i].value;
    if (kind == NULL)
        return cli_usage(c, "--kind KIND is required");
    return cli_parse_kind(c, kind, &opts->kind);
}

/* With --batch everything that is stored is described in its lines. */
static int
run_batch(cli *c)
{
    if (c->operand_count != 0)
        return cli_usage(c, "--batch takes no operands; usage: " CLI_NAME " put --batch FILE|-");
    for (size_t i = 0; cli_cmd_put.options[i].name != NULL; i++)
        if (strcmp(cli_cmd_put.options[i].name, "batch") != 0 &&
            cli_option_value(c, cli_cmd_put.options[i].name) != NULL)
            return cli_usage(c, "--%s: with --batch each line says this for itself", cli_cmd_put.options[i].name);
    return cli_put_batch(c, cli_option_value(c, "batch"));
}

static int
run(cli *c)
{
    const char *tags[sizeof c->given / sizeof c->given[0]];
    cli_input in = {.fd = -1};
    pqe_put_opts opts;
    int code;

    if (cli_option_value(c, "batch") != NULL)
        return run_batch(c);
    if (c->operand_count != 2)
        return cli_usage(c, "missing operands; usage: " CLI_NAME " put %s", cli_cmd_put.operands);
    code = cli_check_name(c, c->operands[0]);
    if (code == 0)
        code = read_options(c, &opts, tags);
    if (code == 0)
        code = cli_input_open(c, c->operands[1], &in);
    if (code == 0)
        code = cli_open(c);
    if (code == 0) {
        cli_catch_signals();
        code = store(c, &opts, &in);
    }
    cli_input_close(&in);
    return code;
}

static const cli_option options[] = {
    {"kind", 0, CLI_VALUE_KIND, "KIND", "what it is (required)", NULL},
    {"version", 0, CLI_VALUE_TEXT, "V", "version of the artifact", NULL},
    {"app", 0, CLI_VALUE_TEXT, "BUNDLE", "bundle id of the application it belongs to", NULL},
    {"model-did", 0, CLI_VALUE_TEXT, "D", "DID of the model", NULL},
    {"tag", 0, CLI_VALUE_TEXT, "T", "a tag; may be given several times", NULL},
    {"description", 0, CLI_VALUE_TEXT, "D", "free text", NULL},
    {"hash", 0, CLI_VALUE_WORDS, "H", "content hash (that of hash-default)", CLI_HASHES},
    {"batch", 0, CLI_VALUE_FILE, "FILE|-", "store many at once, described by JSON lines", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_put = {.name = "put",
                                 .operands = "NAME FILE|-",
                                 .summary = "store a file or standard input, replacing what has that name",
                                 .options = options,
                                 .min_operands = 0,
                                 .max_operands = 2,
                                 .operand_value = CLI_VALUE_FILE,
                                 .run = run};
