/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave hash: the content hash of a plain file; hash-default: which one the vault records. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "json.h"
#include "process.h"
#include "progress.h"
#include "report.h"
#include "session.h"
#include "text.h"

/* ---- hash ---- */

static int
hash_all(cli *c, int fd, const char *name, pqe_hasher *hasher)
{
    const size_t size = cli_step(UINT64_MAX - 1);
    void *buffer = cli_buffer_new(size);
    pqe_error error = {0};
    size_t got = size;
    int code = 0;

    if (buffer == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot hash", name, NULL);
    while (code == 0 && got == size) {
        int errnum = cli_read_full(fd, buffer, size, &got);
        if (errnum != 0)
            code = cli_fail_errno(c, errnum, "cannot read", name, NULL);
        else if (pqe_hasher_update(hasher, buffer, got, &error) != PQE_OK)
            code = cli_report(c, "cannot hash", name, &error);
    }
    cli_buffer_free(buffer, size);
    return code;
}

static int
print_hash(cli *c, const char *algorithm, const char *hex, const char *path)
{
    if (c->json)
        return cli_json_print(c, json_pack("{s:s, s:s}", "hash_algorithm", algorithm, "content_hash", hex));
    printf("%s  ", hex);
    cli_put_escaped(stdout, path);
    putchar('\n');
    return 0;
}

static int
run_hash(cli *c)
{
    const char *path = c->operands[0], *algorithm = cli_option_value(c, "hash");
    bool is_input = strcmp(path, "-") == 0;
    const char *name = is_input ? "standard input" : path;
    char hex[PQE_HASH_HEX_SIZE];
    pqe_hasher *hasher = NULL;
    pqe_error error = {0};
    int fd = STDIN_FILENO, code;

    if (algorithm == NULL)
        algorithm = "sha3-256";
    if (pqe_hasher_open(algorithm, &hasher, &error) != PQE_OK)
        return error.status == PQE_E_ARGUMENT
                   ? cli_usage(c, "--hash: %s is not one of sha3-256, parallelhash256", algorithm)
                   : cli_report(c, "cannot hash", name, &error);
    if (!is_input)
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    code = fd >= 0 ? hash_all(c, fd, name, hasher) : cli_fail_errno(c, errno, "cannot read", name, NULL);
    if (code == 0 && pqe_hasher_finish(&hasher, hex, &error) != PQE_OK)
        code = cli_report(c, "cannot hash", name, &error);
    pqe_hasher_close(&hasher);
    if (fd > STDERR_FILENO)
        close(fd);
    return code == 0 ? print_hash(c, algorithm, hex, path) : code;
}

static const cli_option hash_options[] = {
    {"hash", 0, CLI_VALUE_WORDS, "H", "content hash (sha3-256)", "sha3-256 parallelhash256"},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_hash = {.name = "hash",
                                  .operands = "FILE|-",
                                  .summary = "print the content hash that a plain file would have",
                                  .options = hash_options,
                                  .min_operands = 1,
                                  .max_operands = 1,
                                  .operand_value = CLI_VALUE_FILE,
                                  .run = run_hash};

/* ---- hash-default ---- */

static int
show_defaults(cli *c, const pqe_kind *only)
{
    json_t *all = c->json ? json_object() : NULL;
    pqe_error error = {0};
    const char *hash;

    for (int i = 1; pqe_kind_name((pqe_kind)i) != NULL; i++) {
        const char *kind = pqe_kind_name((pqe_kind)i);
        if (only != NULL && (int)*only != i)
            continue;
        if (pqe_hash_default(c->vault, (pqe_kind)i, &hash, &error) != PQE_OK) {
            json_decref(all);
            return cli_report(c, "cannot read the settings of", c->vault_dir, &error);
        }
        if (all != NULL)
            json_object_set_new(all, kind, json_string(hash));
        else
            printf("%-18s %s\n", kind, hash);
    }
    return all != NULL ? cli_json_print(c, json_pack("{s:o}", "defaults", all)) : 0;
}

static int
run_default(cli *c)
{
    const char *hash = cli_option_value(c, "hash");
    pqe_error error = {0};
    pqe_kind kind = PQE_KIND_OTHER;
    int code = 0;

    if (hash != NULL && c->operand_count == 0)
        return cli_usage(c, "--hash needs the KIND that it is for");
    if (c->operand_count != 0)
        code = cli_parse_kind(c, c->operands[0], &kind);
    if (code == 0)
        code = cli_open(c);
    if (code == 0 && hash != NULL && pqe_set_hash_default(c->vault, kind, hash, &error) != PQE_OK)
        return error.status == PQE_E_ARGUMENT ? cli_usage(c, "--hash: %s is not one of " CLI_HASHES, hash)
                                              : cli_report(c, "cannot change the settings of", c->vault_dir, &error);
    return code == 0 ? show_defaults(c, c->operand_count != 0 ? &kind : NULL) : code;
}

static const cli_option default_options[] = {
    {"hash", 0, CLI_VALUE_WORDS, "H", "record this one from now on", CLI_HASHES},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_hash_default = {.name = "hash-default",
                                          .operands = "[KIND]",
                                          .summary = "show or set the content hash recorded for a kind",
                                          .options = default_options,
                                          .max_operands = 1,
                                          .operand_value = CLI_VALUE_KIND,
                                          .run = run_default};
