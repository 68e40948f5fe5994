/* SPDX-License-Identifier: Apache-2.0 */
/* An artifact's content in a sealed memory file. */
#include "memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
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

/* All of the artifact, and after it the verified end. */
static pqe_status
decrypt(pqe_reader *reader, uint8_t *to, size_t size, cli_progress *progress, pqe_error *error)
{
    uint8_t beyond;
    size_t at = 0, n = 0;

    while (at < size) {
        pqe_status status = pqe_reader_read(reader, to + at, cli_step(size - at), &n, error);
        if (status != PQE_OK)
            return status;
        if (n == 0)
            break;
        at += n;
        cli_progress_add(progress, n);
    }
    if (at == size && pqe_reader_read(reader, &beyond, 1, &n, error) != PQE_OK)
        return error->status;
    if (at == size && n == 0)
        return PQE_OK;
    *error = (pqe_error){.status = PQE_E_TAMPERED,
                         .origin = PQE_ORIGIN_API,
                         .message = "the content has another size than its record says"};
    return error->status;
}

static int
fill(cli *c, const char *name, pqe_reader *reader, cli_progress *progress, int fd)
{
    uint64_t size = pqe_reader_artifact(reader)->size_bytes;
    pqe_error error = {0};
    pqe_status status;
    uint8_t *to = NULL;

    if (size > INT64_MAX || size > SIZE_MAX)
        return cli_fail_errno(c, EFBIG, what, name, NULL);
    if (size > 0) {
        /* Allocated first: a lack of memory is an error here, and no SIGBUS below. */
        if (fallocate(fd, 0, 0, (off_t)size) != 0)
            return cli_fail_errno(c, errno, what, name, "free some memory and try again");
        to = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (to == MAP_FAILED)
            return cli_fail_errno(c, errno, what, name, "free some memory and try again");
    }
    status = decrypt(reader, to, (size_t)size, progress, &error);
    if (to != NULL)
        munmap(to, (size_t)size);
    if (status != PQE_OK)
        return cli_report(c, what, name, &error);
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
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
    code = fill(c, name, reader, progress, fd);
    if (code == 0)
        *out = fd;
    else
        close(fd);
    return code;
}
