/* SPDX-License-Identifier: Apache-2.0 */
/* An artifact's content in a sealed memory file. */
#include "memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "process.h"
#include "report.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x8u
#endif

static const char what[] = "cannot load";

static int
create(void)
{
    int fd = memfd_create(CLI_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL) /* Linux before 6.3 */
        fd = memfd_create(CLI_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

/* Written by all cores through buffers that are wiped: several times faster than faulting in the pages of a mapping, and
 * a lack of memory is an error instead of a SIGBUS. */
static int
copy(cli *c, const char *name, pqe_reader *reader, cli_progress *progress, int fd)
{
    pqe_error error = {0};
    pqe_status status = pqe_reader_to_file(reader, fd, cli_progress_report, progress, &error);

    if (cli_interrupted() != 0)
        return cli_fail_errno(c, EINTR, what, name, NULL);
    if (status == PQE_E_NO_SPACE)
        return cli_fail_errno(c, (int)error.native, what, name, "free some memory and try again");
    return status == PQE_OK ? 0 : cli_report(c, what, name, &error);
}

static int
seal(cli *c, const char *name, int fd)
{
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0 ||
        lseek(fd, 0, SEEK_SET) != 0)
        return cli_fail_errno(c, errno, "cannot seal", name, NULL);
    return 0;
}

int
cli_memfd_fill(cli *c, const char *name, pqe_reader *reader, cli_progress *progress, int *out)
{
    int fd = create(), code;

    *out = -1;
    if (fd < 0)
        return cli_fail_errno(c, errno, what, name, "a Linux kernel with memfd_create(2) is needed");
    code = copy(c, name, reader, progress, fd);
    if (code == 0)
        code = seal(c, name, fd);
    if (code == 0)
        *out = fd;
    else
        close(fd);
    return code;
}
