/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave put: stores a file or standard input as an artifact. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"
#include "json.h"
#include "process.h"
#include "progress.h"
#include "report.h"
#include "session.h"
#include "text.h"

typedef struct input {
    const char *name; /* for messages */
    int fd;
    uint64_t size; /* UINT64_MAX: unknown */
} input;

static int
open_input(cli *c, const char *path, input *in)
{
    struct stat st;

    *in = (input){.name = path, .fd = STDIN_FILENO, .size = UINT64_MAX};
    if (strcmp(path, "-") == 0)
        in->name = "standard input";
    else
        in->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (in->fd < 0)
        return cli_fail_errno(c, errno, "cannot read", in->name, NULL);
    if (fstat(in->fd, &st) != 0)
        return cli_fail_errno(c, errno, "cannot read", in->name, NULL);
    if (S_ISDIR(st.st_mode))
        return cli_fail_errno(c, EISDIR, "cannot read", in->name, "give a file; an archive of a directory is one");
    if (S_ISREG(st.st_mode) && st.st_size > 0) /* files in /proc say 0 and have content */
        in->size = (uint64_t)st.st_size;
    return 0;
}

/* What its size says, on all cores. */
static int
copy_file(cli *c, const char *name, const input *in, pqe_writer *writer, cli_progress *progress)
{
    pqe_error error = {0};
    pqe_status status = pqe_writer_from_file(writer, in->fd, cli_progress_report, progress, &error);

    if (cli_interrupted() != 0)
        return cli_fail_errno(c, EINTR, "cannot store", name, NULL);
    return status == PQE_OK ? 0 : cli_report(c, "cannot store", name, &error);
}

static int
copy(cli *c, const char *name, const input *in, pqe_writer *writer, cli_progress *progress)
{
    size_t size = cli_step(in->size), got;
    void *buffer = cli_buffer_new(size);
    pqe_error error = {0};
    int code = 0;

    if (buffer == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot store", name, NULL);
    do {
        int errnum = cli_read_full(in->fd, buffer, size, &got);
        if (errnum != 0)
            code = cli_fail_errno(c, errnum, "cannot read", in->name, NULL);
        else if (got > 0 && pqe_writer_write(writer, buffer, got, &error) != PQE_OK)
            code = cli_report(c, "cannot store", name, &error);
        cli_progress_add(progress, got);
    } while (code == 0 && got == size);
    cli_buffer_free(buffer, size);
    return code;
}

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
store(cli *c, const pqe_put_opts *opts, const input *in)
{
    pqe_writer *writer = NULL;
    pqe_artifact *artifact = NULL;
    pqe_error error = {0};
    cli_progress progress;
    int code;

    if (pqe_writer_open(c->vault, opts, &writer, &error) != PQE_OK)
        return cli_report(c, "cannot store", opts->name, &error);
    cli_progress_start(c, &progress, "encrypting", in->size == UINT64_MAX ? 0 : in->size);
    if (in->size == UINT64_MAX)
        code = copy(c, opts->name, in, writer, &progress);
    else
        code = copy_file(c, opts->name, in, writer, &progress);
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

static int
run(cli *c)
{
    const char *tags[sizeof c->given / sizeof c->given[0]];
    input in = {.fd = -1};
    pqe_put_opts opts;
    int code = cli_check_name(c, c->operands[0]);

    if (code == 0)
        code = read_options(c, &opts, tags);
    if (code == 0)
        code = open_input(c, c->operands[1], &in);
    if (code == 0)
        code = cli_open(c);
    if (code == 0) {
        cli_catch_signals();
        code = store(c, &opts, &in);
    }
    if (in.fd > STDERR_FILENO)
        close(in.fd);
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
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_put = {.name = "put",
                                 .operands = "NAME FILE|-",
                                 .summary = "store a file or standard input, replacing what has that name",
                                 .options = options,
                                 .min_operands = 2,
                                 .max_operands = 2,
                                 .operand_value = CLI_VALUE_FILE,
                                 .run = run};
