/* SPDX-License-Identifier: Apache-2.0 */
/* The file that holds a PIN. */
#include "backend/pkcs11/token.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fsio.h"
#include "util/secmem.h"

static pqe_status
denied(pqe_error *err, int code, const char *why)
{
    return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_BACKEND, code, "the file that pin-source names %s", why);
}

/* Who can read it has the PIN; who owns it can let others. As with key files. */
static pqe_status
check_private(int fd, pqe_error *err)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return denied(err, errno, "cannot be examined");
    if (!S_ISREG(st.st_mode))
        return denied(err, 0, "is not a regular file");
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return denied(err, 0, "belongs to another user");
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return denied(err, 0, "is open to other users; make it private with chmod 600");
    return PQE_OK;
}

pqe_status
pqe__p11_read_pin(const char *path, char buf[PQE_PASSPHRASE_MAX], size_t *len, pqe_error *err)
{
    /* Opening a pipe must not wait for somebody to write to it. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    pqe_status status;

    *len = 0;
    if (fd < 0)
        return denied(err, errno, errno == ENOENT ? "is not there" : "cannot be read");
    status = check_private(fd, err);
    if (status == PQE_OK)
        status = pqe__read_all(fd, buf, PQE_PASSPHRASE_MAX, len, "cannot read the PIN", err);
    pqe__close_fd(&fd);
    if (status == PQE_OK && *len == PQE_PASSPHRASE_MAX)
        status = denied(err, 0, "is too long");
    if (status == PQE_OK && *len > 0 && buf[*len - 1] == '\n')
        --*len;
    return status;
}
