/* SPDX-License-Identifier: Apache-2.0 */
#include "backend_note.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "outfile.h"
#include "report.h"
#include "util/userdir.h"

#define NOTE_MAX 8192

bool
cli_backend_note_path(const char *vault_id, char *out, size_t capacity)
{
    char name[64];
    int n = snprintf(name, sizeof name, CLI_NAME "/%s.backend", vault_id);

    return n > 0 && (size_t)n < sizeof name && pqe__user_path("XDG_CONFIG_HOME", ".config", name, out, capacity);
}

static int
make_parents(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        int failed;
        *slash = '\0';
        failed = mkdir(path, 0700) != 0 && errno != EEXIST ? errno : 0;
        *slash = '/';
        if (failed != 0)
            return failed;
    }
    return 0;
}

int
cli_backend_note_write(cli *c, const char *vault_id, const char *config)
{
    char path[PATH_MAX];
    cli_outfile file;
    int failed;

    if (!cli_backend_note_path(vault_id, path, sizeof path))
        return cli_fail(c, PQE_E_IO, "cannot note the backend", NULL, "there is no home directory", NULL);
    if ((failed = make_parents(path)) != 0 || (failed = cli_outfile_open(&file, path)) != 0)
        return cli_fail_errno(c, failed, "cannot note the backend", path, "write the line after --backend there");
    if (dprintf(file.fd, "%s\n", config) < 0)
        failed = errno;
    if (failed == 0)
        failed = cli_outfile_commit(&file);
    cli_outfile_discard(&file);
    if (failed != 0)
        return cli_fail_errno(c, failed, "cannot note the backend", path, "write the line after --backend there");
    return 0;
}

void
cli_backend_note_remove(const char *vault_id)
{
    char path[PATH_MAX];

    if (cli_backend_note_path(vault_id, path, sizeof path))
        unlink(path);
}

/* Whoever can write it chooses what runs in this process. */
static int
check_owner(int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return errno;
    if (!S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return EPERM;
    return 0;
}

static int
check_text(char *text, size_t len, const char *backend)
{
    size_t name = strlen(backend);

    if (len >= NOTE_MAX)
        return EINVAL;
    if (len > 0 && text[len - 1] == '\n')
        text[--len] = '\0';
    if (strlen(text) != len || strchr(text, '\n') != NULL || strncmp(text, backend, name) != 0 ||
        (text[name] != ':' && text[name] != '\0'))
        return EINVAL;
    return 0;
}

int
cli_backend_note_read(const char *vault_id, const char *backend, char **config)
{
    char path[PATH_MAX], *text = NULL;
    ssize_t n = 0;
    int fd, failed;

    *config = NULL;
    if (!cli_backend_note_path(vault_id, path, sizeof path))
        return 0;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : errno;
    failed = check_owner(fd);
    if (failed == 0 && (text = calloc(1, NOTE_MAX + 1)) == NULL)
        failed = ENOMEM;
    if (failed == 0 && (n = read(fd, text, NOTE_MAX)) < 0)
        failed = errno;
    close(fd);
    if (failed == 0)
        failed = check_text(text, (size_t)n, backend);
    if (failed == 0)
        *config = text;
    else
        free(text);
    return failed;
}
