/* SPDX-License-Identifier: Apache-2.0 */
/* Status names, texts, and the one place where a pqe_error is written. */
#include "util/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    pqe_status status;
    const char *name;
    const char *text;
} status_table[] = {
    {PQE_OK, "PQE_OK", "success"},
    {PQE_E_ARGUMENT, "PQE_E_ARGUMENT", "an argument is invalid"},
    {PQE_E_NOMEM, "PQE_E_NOMEM", "out of memory or of lockable memory"},
    {PQE_E_IO, "PQE_E_IO", "the operating system reported an error"},
    {PQE_E_NO_SPACE, "PQE_E_NO_SPACE", "no space left; nothing was changed"},
    {PQE_E_READ_ONLY, "PQE_E_READ_ONLY", "the vault cannot be written"},
    {PQE_E_NOT_FOUND, "PQE_E_NOT_FOUND", "no such artifact"},
    {PQE_E_EXISTS, "PQE_E_EXISTS", "already exists"},
    {PQE_E_LOCKED, "PQE_E_LOCKED", "the vault is locked"},
    {PQE_E_DENIED, "PQE_E_DENIED", "access denied"},
    {PQE_E_DECRYPTION, "PQE_E_DECRYPTION", "wrong key or altered ciphertext"},
    {PQE_E_TAMPERED, "PQE_E_TAMPERED", "the vault was altered"},
    {PQE_E_NOT_A_VAULT, "PQE_E_NOT_A_VAULT", "there is no vault here"},
    {PQE_E_VERSION, "PQE_E_VERSION", "unknown or refused format version or suite"},
    {PQE_E_LIMIT, "PQE_E_LIMIT", "a size limit would be exceeded"},
    {PQE_E_BUSY, "PQE_E_BUSY", "another process holds the vault"},
    {PQE_E_BACKEND, "PQE_E_BACKEND", "the backend failed"},
    {PQE_E_UNAVAILABLE, "PQE_E_UNAVAILABLE", "not available here"},
    {PQE_E_CRYPTO, "PQE_E_CRYPTO", "the cryptographic library failed"},
    {PQE_E_CANCELLED, "PQE_E_CANCELLED", "cancelled"},
    {PQE_E_STATE, "PQE_E_STATE", "call out of order"},
    {PQE_E_POLICY, "PQE_E_POLICY", "the vault's access policy forbids it"},
    {PQE_E_MALFORMED, "PQE_E_MALFORMED", "not in the form it must have"},
    {PQE_E_ATTESTATION, "PQE_E_ATTESTATION", "the signature or attestation does not verify"},
    {PQE_E_ROLLBACK, "PQE_E_ROLLBACK", "an older copy of the vault was put back"},
};

static const char *const origin_names[] = {"none", "api", "format", "crypto", "index", "io", "backend", "device"};

const char *
pqe_status_name(pqe_status status)
{
    for (size_t i = 0; i < sizeof status_table / sizeof status_table[0]; i++)
        if (status_table[i].status == status)
            return status_table[i].name;
    return "PQE_E_?";
}

const char *
pqe_status_text(pqe_status status)
{
    for (size_t i = 0; i < sizeof status_table / sizeof status_table[0]; i++)
        if (status_table[i].status == status)
            return status_table[i].text;
    return "unknown status";
}

const char *
pqe_origin_name(pqe_origin origin)
{
    size_t i = (size_t)origin;

    return i < sizeof origin_names / sizeof origin_names[0] ? origin_names[i] : "unknown";
}

const char *
pqe_version(void)
{
    return PQE_VERSION;
}

void
pqe__set_error(pqe_error *err, pqe_status status, pqe_origin origin, int64_t native, const char *format, ...)
{
    va_list ap;

    if (err == NULL)
        return;
    err->status = status;
    err->origin = origin;
    err->native = native;
    va_start(ap, format);
    vsnprintf(err->message, sizeof err->message, format, ap);
    va_end(ap);
}

pqe_status
pqe__fail_errno(pqe_error *err, int errnum, const char *what)
{
    pqe_status status = PQE_E_IO;
    char text[96] = "";
    const char *reason;

    if (errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG)
        status = PQE_E_NO_SPACE;
    else if (errnum == EROFS)
        status = PQE_E_READ_ONLY;
    else if (errnum == ENOMEM)
        status = PQE_E_NOMEM;
#if defined(__GLIBC__) /* under _GNU_SOURCE its strerror_r is not the POSIX one */
    reason = strerror_r(errnum, text, sizeof text);
#else
    reason = strerror_r(errnum, text, sizeof text) == 0 ? text : "unknown error";
#endif
    return pqe__fail(err, status, PQE_ORIGIN_IO, errnum, "%s: %s", what, reason);
}
