/* SPDX-License-Identifier: Apache-2.0 */
/* The backend that a vault is to be put on. */
#include "newbackend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pqc_enclave/backend.h>

#include "backend_note.h"
#include "report.h"
#include "session.h"

/* `config` is a name, or "name:more". Of the file backend, `more` is what options say. */
static bool
find_backend(const char *config, pqe_backend_info *out)
{
    size_t len = strcspn(config, ":");

    for (size_t i = 0; pqe_backend_builtin(i, out); i++)
        if (strlen(out->name) == len && memcmp(out->name, config, len) == 0)
            return config[len] == '\0' || strcmp(out->name, "file") != 0;
    return false;
}

/* A key inside the vault goes wherever the vault goes. */
static int
check_key_place(cli *c, const char *key_file)
{
    char *path =
        key_file != NULL ? strdup(key_file) : cli_key_file(c, "0"); /* one directory, whatever the vault's id */
    bool inside = path != NULL && cli_is_inside(c->vault_dir, path);

    free(path);
    if (inside && key_file == NULL)
        return cli_usage(c, "the key file's default place is inside the vault and would go wherever the vault goes; "
                            "give another --vault, or --key-file");
    if (inside)
        return cli_usage(c, "--key-file: a key inside the vault goes wherever the vault goes; choose another place");
    return 0;
}

int
cli_check_new_backend(cli *c, const char *backend, const char *key_file, bool by_passphrase)
{
    pqe_backend_info info;

    if (!find_backend(backend, &info))
        return cli_fail(c, PQE_E_UNAVAILABLE, "cannot open backend", NULL, "there is no backend of that name", NULL);
    if ((info.capabilities & PQE_CAP_PERSISTENT) == 0)
        return cli_usage(c, "--backend: the key of %s ends with the process, a vault on disk could not be opened again",
                         backend);
    if (by_passphrase && (info.capabilities & PQE_CAP_PASSPHRASE) == 0)
        return cli_usage(c, "the backend %s takes no passphrase", backend);
    if (by_passphrase && key_file != NULL)
        return cli_usage(c, "a vault is opened by a key file or by a passphrase, not by both");
    if (strcmp(info.name, "file") != 0)
        return key_file != NULL ? cli_usage(c, "--key-file: the backend %s takes no key file", info.name) : 0;
    return by_passphrase ? 0 : check_key_place(c, key_file);
}

char *
cli_new_backend_config(const char *backend, const char *key_file, bool by_passphrase)
{
    char *config = NULL;
    int n;

    if (by_passphrase && cli_is_tpm2(backend))
        n = asprintf(&config, "%s%cpin", backend, strchr(backend, ':') != NULL ? ';' : ':');
    else if (by_passphrase)
        n = asprintf(&config, "%s:passphrase", backend);
    else if (key_file != NULL)
        n = asprintf(&config, "%s:key-file=%s", backend, key_file);
    else
        n = asprintf(&config, "%s", backend);
    return n < 0 ? NULL : config;
}

int
cli_open_new_backend(cli *c, const char *backend, const char *key_file, bool by_passphrase)
{
    pqe_backend_opts opts = {.size = sizeof opts, .passphrase = cli_passphrase_read, .user = &c->passphrase};
    pqe_error error = {0};
    char *config;
    int code = cli_check_new_backend(c, backend, key_file, by_passphrase);

    if (code != 0)
        return code;
    if ((config = cli_new_backend_config(backend, key_file, by_passphrase)) == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot open backend", backend, NULL);
    c->passphrase.is_pin = strncmp(config, "pkcs11", 6) == 0;
    if (pqe_backend_open(config, &opts, &c->new_backend, &error) != PQE_OK)
        code = cli_report(c, "cannot open backend", NULL, &error);
    free(config);
    return code;
}

int
cli_note_new_backend(cli *c, const char *backend)
{
    if (backend == NULL && strcmp(c->facts.backend, "file") != 0)
        return 0; /* it is where it was */
    if (backend == NULL || strcmp(c->facts.backend, "file") == 0 || strchr(backend, ':') == NULL) {
        cli_backend_note_remove(c->facts.vault_id);
        return 0;
    }
    return cli_backend_note_write(c, c->facts.vault_id, backend);
}
