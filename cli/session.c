/* SPDX-License-Identifier: Apache-2.0 */
/* From options and environment to an unlocked vault, and back. */
#include "session.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend_note.h"
#include "report.h"
#include "util/userdir.h"
#include "vault/internal.h"

int
cli_vault_dir(cli *c, bool *is_default)
{
    const char *given = cli_option_value(c, "vault");

    if (is_default != NULL)
        *is_default = false;
    if (given != NULL && given[0] == '\0')
        return cli_usage(c, "--vault: the directory's name is empty");
    if (given == NULL)
        given = getenv("PQC_ENCLAVE_VAULT");
    if (given == NULL || given[0] == '\0') {
        char path[PATH_MAX];
        free(c->vault_dir_memory);
        c->vault_dir_memory =
            pqe__user_path("XDG_DATA_HOME", ".local/share", CLI_NAME, path, sizeof path) ? strdup(path) : NULL;
        if (c->vault_dir_memory == NULL)
            return cli_usage(c, "there is no home directory to look for a vault in; give --vault DIR");
        given = c->vault_dir_memory;
        if (is_default != NULL)
            *is_default = true;
    }
    c->vault_dir = given;
    c->passphrase.label = given;
    return 0;
}

char *
cli_key_file(const cli *c, const char *vault_id)
{
    const char *given = cli_option_value(c, "key-file");
    char path[PATH_MAX];

    if (given != NULL)
        return strdup(given);
    return pqe__user_key_path(vault_id, path, sizeof path) ? strdup(path) : NULL;
}

/* realpath(3) for what may not be there yet: the part that is there is resolved. NULL if out of memory. */
static char *
resolve(const char *path)
{
    char *whole = realpath(path, NULL), *parent, *base, *text = NULL;
    const char *slash = strrchr(path, '/');

    if (whole != NULL || errno == ENOMEM)
        return whole;
    if (slash == NULL)
        base = resolve(".");
    else if (slash == path)
        base = strdup("");
    else {
        parent = strndup(path, (size_t)(slash - path));
        base = parent != NULL ? resolve(parent) : NULL;
        free(parent);
    }
    if (base != NULL && asprintf(&text, "%s/%s", base, slash != NULL ? slash + 1 : path) < 0)
        text = NULL;
    free(base);
    return text;
}

bool
cli_is_inside(const char *dir, const char *path)
{
    char *outer = resolve(dir), *inner = resolve(path);
    bool inside = false;

    if (outer != NULL && inner != NULL) {
        size_t len = strlen(outer);
        inside = strncmp(inner, outer, len) == 0 && (inner[len] == '/' || inner[len] == '\0');
    }
    free(outer);
    free(inner);
    return inside;
}

bool
cli_is_tpm2(const char *config)
{
    return strncmp(config, "tpm2", 4) == 0 && (config[4] == '\0' || config[4] == ':');
}

static int
open_backend(cli *c, const char *config)
{
    pqe_backend_opts opts = {.size = sizeof opts, .passphrase = cli_passphrase_read, .user = &c->passphrase};
    pqe_error error = {0};
    char *name;

    if (pqe_backend_open(config, &opts, &c->backend, &error) == PQE_OK)
        return 0;
    name = strndup(config, strcspn(config, ":")); /* what follows may hold what should not be in it */
    cli_report(c, "cannot open backend", name, &error);
    free(name);
    return cli_exit_code(c, &error);
}

/* An option that cannot apply to this vault is a mistake, not something to pass over. */
static int
check_key_options(cli *c)
{
    const char *source = c->facts.key_source;

    if (cli_option_value(c, "key-file") != NULL && strcmp(source, "key-file") != 0)
        return cli_usage(c, "--key-file: this vault is not opened by a key file (%s)", source);
    if (cli_option_value(c, "passphrase-file") != NULL && strcmp(source, "passphrase") != 0)
        return cli_usage(c, "--passphrase-file: this vault is not opened by a passphrase (%s)", source);
    return 0;
}

char *
cli_backend_config(const cli *c)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    const char *name = c->facts.backend, *key_file = cli_option_value(c, "key-file");
    char *config = NULL;
    int n;

    errno = EINVAL;
    if (name[0] == '\0' || name[strspn(name, allowed)] != '\0')
        return NULL;
    if (strcmp(name, "file") != 0) {
        errno = cli_backend_note_read(c->facts.vault_id, name, &config);
        if (errno != 0)
            errno = errno == ENOMEM ? ENOMEM : EPERM;
        if (errno != 0 || config != NULL)
            return config;
    }
    errno = ENOMEM;
    if (key_file != NULL)
        n = asprintf(&config, "%s:key-file=%s", name, key_file);
    else
        n = asprintf(&config, "%s", name);
    return n < 0 ? NULL : config;
}

static int
fail_note(cli *c)
{
    char path[PATH_MAX] = "";

    cli_backend_note_path(c->facts.vault_id, path, sizeof path);
    return cli_fail(c, PQE_E_DENIED, "cannot open backend", path,
                    "not one line that begins with the backend's name, or others can change it",
                    "correct it, or make it private with chmod 600");
}

int
cli_open_locked(cli *c)
{
    pqe_error error = {0};
    char *config;
    int code = cli_vault_dir(c, NULL);

    if (code != 0)
        return code;
    if (pqe__vault_open_alone(c->vault_dir, cli_option_value(c, "caller"), &c->vault, &c->facts, &error) != PQE_OK)
        return cli_report(c, "cannot open vault", c->vault_dir, &error);
    config = cli_backend_config(c);
    if (config == NULL && errno == EINVAL)
        return cli_fail(c, PQE_E_TAMPERED, "cannot open vault", c->vault_dir, "the backend's name is damaged", NULL);
    if (config == NULL && errno == EPERM)
        return fail_note(c);
    if (config == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot open vault", c->vault_dir, NULL);
    c->passphrase.is_pin = strcmp(c->facts.key_source, "token") == 0;
    code = check_key_options(c);
    if (code != 0) {
        free(config);
        return code;
    }
    code = open_backend(c, config);
    free(config);
    if (code == 0)
        pqe__vault_attach(c->vault, c->backend);
    return code;
}

int
cli_unlock(cli *c)
{
    pqe_error error = {0};

    if (pqe_vault_unlock(c->vault, CLI_SESSION_SECONDS, &error) != PQE_OK)
        return cli_report(c, "cannot unlock vault", c->vault_dir, &error);
    return 0;
}

int
cli_open(cli *c)
{
    int code = cli_open_locked(c);

    return code != 0 ? code : cli_unlock(c);
}

int
cli_create(cli *c, const char *backend_config)
{
    pqe_vault_opts opts = {
        .size = sizeof opts, .dir = c->vault_dir, .create = true, .caller = cli_option_value(c, "caller")};
    pqe_error error = {0};
    int code = open_backend(c, backend_config);

    if (code != 0)
        return code;
    opts.backend = c->backend;
    if (pqe_vault_open(&opts, &c->vault, &error) != PQE_OK)
        return cli_report(c, "cannot create vault", c->vault_dir, &error);
    return 0;
}

const char *
cli_rollback_word(const pqe_vault_info *facts)
{
    if (facts->rollback == PQE_ROLLBACK_DETECTED)
        return "detected";
    return facts->rollback == PQE_ROLLBACK_NOT_DETECTED ? "not-detected" : "unknown";
}

char *
cli_rollback_text(const pqe_vault_info *facts)
{
    char *text = NULL;
    int n;

    if (facts->rollback == PQE_ROLLBACK_DETECTED)
        n = asprintf(&text, "detected by a counter of the device");
    else if (facts->rollback == PQE_ROLLBACK_NOT_DETECTED)
        n = asprintf(&text, "not detected: the %s backend has no counter for this vault", facts->backend);
    else
        n = asprintf(&text, "detected if the device made a counter: `" CLI_NAME " doctor` tells");
    return n >= 0 ? text : NULL;
}

void
cli_close(cli *c)
{
    pqe_vault_close(&c->vault);
    pqe_backend_close(&c->backend);
    pqe_backend_close(&c->new_backend);
}
