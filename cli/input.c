/* SPDX-License-Identifier: Apache-2.0 */
/* What `put` reads. */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process.h"
#include "report.h"

int
cli_input_open(cli *c, const char *path, cli_input *in)
{
    struct stat st;

    *in = (cli_input){.name = path, .fd = STDIN_FILENO, .size = UINT64_MAX};
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

void
cli_input_close(cli_input *in)
{
    if (in->fd > STDERR_FILENO)
        close(in->fd);
    in->fd = -1;
}

static bool
go_on(void *user, uint64_t bytes)
{
    (void)user;
    (void)bytes;
    return cli_interrupted() == 0;
}

/* What its size says, on all cores. */
static int
copy_file(cli *c, const char *name, const cli_input *in, pqe_writer *writer, cli_progress *progress)
{
    pqe_error error = {0};
    pqe_progress_fn report = progress != NULL ? cli_progress_report : go_on;
    pqe_status status = pqe_writer_from_file(writer, in->fd, report, progress, &error);

    if (cli_interrupted() != 0)
        return cli_fail_errno(c, EINTR, "cannot store", name, NULL);
    return status == PQE_OK ? 0 : cli_report(c, "cannot store", name, &error);
}

static int
copy_stream(cli *c, const char *name, const cli_input *in, pqe_writer *writer, cli_progress *progress)
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
        if (progress != NULL)
            cli_progress_add(progress, got);
    } while (code == 0 && got == size);
    cli_buffer_free(buffer, size);
    return code;
}

int
cli_input_copy(cli *c, const char *name, const cli_input *in, pqe_writer *writer, cli_progress *progress)
{
    return in->size == UINT64_MAX ? copy_stream(c, name, in, writer, progress)
                                  : copy_file(c, name, in, writer, progress);
}
