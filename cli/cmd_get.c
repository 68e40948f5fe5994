/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave get: decrypts an artifact to a file or to standard output. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "batch.h"
#include "commands.h"
#include "json.h"
#include "outfile.h"
#include "process.h"
#include "progress.h"
#include "report.h"
#include "session.h"
#include "text.h"

/* To standard output if `file` is NULL. */
static int
write_output(cli *c, const cli_outfile *file, const void *data, size_t len)
{
    int errnum = cli_write_all(file != NULL ? file->fd : STDOUT_FILENO, data, len);

    if (errnum == 0)
        return 0;
    if (file == NULL && errnum != EINTR)
        return cli_fail_output(c, errnum);
    return cli_fail_errno(c, errnum, "cannot write", file != NULL ? cli_option_value(c, "output") : "standard output",
                          NULL);
}

/* All cores write at once, so only into a file that nobody sees before it is whole. */
static int
fill_file(cli *c, const char *name, pqe_reader *reader, const cli_outfile *file)
{
    pqe_error error = {0};
    cli_progress progress;
    pqe_status status;

    cli_progress_start(c, &progress, "decrypting", pqe_reader_artifact(reader)->size_bytes);
    status = pqe_reader_to_file(reader, file->fd, cli_progress_report, &progress, &error);
    cli_progress_end(&progress);
    if (cli_interrupted() != 0)
        return cli_fail_errno(c, EINTR, "cannot write", cli_option_value(c, "output"), NULL);
    return status == PQE_OK ? 0 : cli_report(c, "cannot get", name, &error);
}

static int
copy(cli *c, const char *name, pqe_reader *reader, const cli_outfile *file)
{
    uint64_t total = pqe_reader_artifact(reader)->size_bytes;
    size_t size = cli_step(total), got = 0;
    void *buffer = cli_buffer_new(size);
    pqe_error error = {0};
    cli_progress progress;
    int code = 0;

    if (buffer == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot get", name, NULL);
    cli_progress_start(c, &progress, "decrypting", total);
    do {
        if (pqe_reader_read(reader, buffer, size, &got, &error) != PQE_OK)
            code = cli_report(c, "cannot get", name, &error);
        else
            code = write_output(c, file, buffer, got);
        cli_progress_add(&progress, got);
    } while (code == 0 && got > 0);
    cli_progress_end(&progress);
    cli_buffer_free(buffer, size);
    return code;
}

/* With a file, the metadata is the result; without, the content is. */
static int
finish(cli *c, const pqe_artifact *artifact, cli_outfile *file)
{
    const char *path = cli_option_value(c, "output");
    char size[16], rest[32];
    int errnum;

    if (file == NULL)
        return 0;
    errnum = cli_outfile_commit(file);
    if (errnum != 0)
        return cli_fail_errno(c, errnum, "cannot write", path, NULL);
    if (c->json) {
        cli_json_put_artifact(stdout, artifact);
        putchar('\n');
        return 0;
    }
    cli_format_size(artifact->size_bytes, size);
    snprintf(rest, sizeof rest, " (%s)", size);
    cli_note(c, "wrote ", path, rest);
    return 0;
}

static int
get(cli *c, const char *name, cli_outfile *file)
{
    pqe_reader *reader = NULL;
    pqe_error error = {0};
    int code = cli_open(c);

    if (code != 0)
        return code;
    if (pqe_reader_open(c->vault, name, &reader, &error) != PQE_OK)
        return cli_report(c, "cannot get", name, &error);
    code = file != NULL && file->dir >= 0 ? fill_file(c, name, reader, file) : copy(c, name, reader, file);
    if (code == 0)
        code = finish(c, pqe_reader_artifact(reader), file);
    pqe_reader_close(&reader);
    return code;
}

/* ---- many ---- */

#define BATCH_BUFFER ((size_t)64 << 10)

/* To a copy of the descriptor, through a buffer that is wiped. */
static int
write_batch(cli *c, int fd, uint64_t *count)
{
    char *buffer = cli_buffer_new(BATCH_BUFFER);
    int copied = fcntl(fd, F_DUPFD_CLOEXEC, 0), code;
    FILE *out = copied >= 0 ? fdopen(copied, "w") : NULL;

    if (buffer == NULL || out == NULL) {
        code = cli_fail_errno(c, buffer == NULL ? ENOMEM : errno, "cannot get", "batch", NULL);
        if (copied >= 0 && out == NULL)
            close(copied);
    } else {
        setvbuf(out, buffer, _IOFBF, BATCH_BUFFER);
        errno = 0;
        code = cli_get_batch(c, cli_option_value(c, "batch"), out, count);
        if ((fflush(out) != 0 || ferror(out)) && code == 0)
            code = fd == STDOUT_FILENO ? cli_fail_output(c, errno)
                                       : cli_fail_errno(c, errno, "cannot write", cli_option_value(c, "output"), NULL);
    }
    if (out != NULL)
        fclose(out);
    cli_buffer_free(buffer, BATCH_BUFFER);
    return code;
}

static int
get_batch(cli *c, cli_outfile *file)
{
    const char *path = cli_option_value(c, "output");
    uint64_t count = 0;
    char text[64];
    int code = write_batch(c, file != NULL ? file->fd : STDOUT_FILENO, &count), errnum;

    if (code != 0 || file == NULL)
        return code;
    if ((errnum = cli_outfile_commit(file)) != 0)
        return cli_fail_errno(c, errnum, "cannot write", path, NULL);
    if (c->json)
        return cli_json_print(c, json_pack("{s:I}", "written", (json_int_t)count));
    snprintf(text, sizeof text, "wrote %" PRIu64 " artifact%s to ", count, count == 1 ? "" : "s");
    cli_note(c, text, path, "");
    return 0;
}

static int
check_operands(cli *c)
{
    bool batch = cli_option_value(c, "batch") != NULL;

    if (batch && c->operand_count != 0)
        return cli_usage(c, "--batch takes no operands; usage: " CLI_NAME " get --batch FILE|-");
    if (!batch && c->operand_count != 1)
        return cli_usage(c, "missing operands; usage: " CLI_NAME " get %s", cli_cmd_get.operands);
    return batch ? 0 : cli_check_name(c, c->operands[0]);
}

static int
get_what_is_asked(cli *c, cli_outfile *file)
{
    return cli_option_value(c, "batch") != NULL ? get_batch(c, file) : get(c, c->operands[0], file);
}

static int
run(cli *c)
{
    const char *path = cli_option_value(c, "output");
    bool to_file = path != NULL && strcmp(path, "-") != 0;
    cli_outfile file;
    int code = check_operands(c), errnum;

    if (code != 0)
        return code;
    if (path == NULL && isatty(STDOUT_FILENO))
        return cli_usage(c, "standard output is a terminal; give -o FILE, or -o - if you mean it");
    cli_catch_signals(); /* before there is anything to leave behind */
    if (!to_file)
        return get_what_is_asked(c, NULL);
    errnum = cli_outfile_open(&file, path);
    if (errnum != 0)
        return cli_fail_errno(c, errnum, "cannot write", path, NULL);
    code = get_what_is_asked(c, &file);
    cli_outfile_discard(&file);
    return code;
}

static const cli_option options[] = {
    {"output", 'o', CLI_VALUE_FILE, "FILE|-", "write to a file (0600, whole or not at all)", NULL},
    {"batch", 0, CLI_VALUE_FILE, "FILE|-", "get many at once, named by JSON lines, as JSON lines", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_get = {.name = "get",
                                 .operands = "NAME|ID",
                                 .summary = "decrypt an artifact to a file or to standard output",
                                 .options = options,
                                 .min_operands = 0,
                                 .max_operands = 1,
                                 .operand_value = CLI_VALUE_TEXT,
                                 .run = run};
