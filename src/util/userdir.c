/* SPDX-License-Identifier: Apache-2.0 */
/* The user's directories (XDG Base Directory Specification), and the default place of key files. */
#include "util/userdir.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A relative path is invalid and to be ignored. */
static const char *
absolute(const char *path)
{
    return path != NULL && path[0] == '/' ? path : NULL;
}

static bool
fits(int n, size_t capacity)
{
    if (n >= 0 && (size_t)n < capacity)
        return true;
    errno = ENAMETOOLONG;
    return false;
}

bool
pqe__user_path(const char *variable, const char *fallback, const char *rest, char *out, size_t capacity)
{
    const char *base = absolute(secure_getenv(variable)), *home = absolute(secure_getenv("HOME"));
    struct passwd entry, *found = NULL;
    char scratch[4096];

    if (base != NULL)
        return fits(snprintf(out, capacity, "%s/%s", base, rest), capacity);
    if (home == NULL && getpwuid_r(geteuid(), &entry, scratch, sizeof scratch, &found) == 0 && found != NULL)
        home = absolute(found->pw_dir);
    if (home == NULL) {
        errno = ENOENT;
        return false;
    }
    return fits(snprintf(out, capacity, "%s/%s/%s", home, fallback, rest), capacity);
}

bool
pqe__user_key_path(const char *vault_id, char *out, size_t capacity)
{
    char name[64];

    return fits(snprintf(name, sizeof name, "pqc-enclave/%s.key", vault_id), sizeof name) &&
           pqe__user_path("XDG_CONFIG_HOME", ".config", name, out, capacity);
}
