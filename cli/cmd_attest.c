/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave attest: a signed statement of an artifact's content hash. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pqc_enclave/attest.h>

#include "commands.h"
#include "identity.h"
#include "json.h"
#include "outfile.h"
#include "process.h"
#include "report.h"
#include "session.h"
#include "value.h"

typedef struct form {
    const char *word;
    int version;
    pqe_attest_form form;
} form;

static const form forms[] = {{"cose", 2, PQE_ATTEST_COSE}, {"json", 2, PQE_ATTEST_JSON}, {"v1", 1, PQE_ATTEST_JSON}};

static int
read_options(cli *c, const form **f, pqe_attest_opts *opts, uint8_t challenge[PQE_CHALLENGE_MAX])
{
    const char *word = cli_option_value(c, "format");
    uint64_t ttl = PQE_ATTEST_DEFAULT_TTL;
    int code;

    *opts = (pqe_attest_opts){.size = sizeof *opts,
                              .identity = cli_option_value(c, "identity"),
                              .device_model = cli_option_value(c, "device-model"),
                              .challenge = cli_option_value(c, "challenge") != NULL ? challenge : NULL,
                              .no_evidence = cli_option_value(c, "no-evidence") != NULL};
    *f = &forms[0];
    for (size_t i = 0; word != NULL && i <= sizeof forms / sizeof forms[0]; i++) {
        if (i == sizeof forms / sizeof forms[0])
            return cli_usage(c, "--format: %s is not one of cose, json, v1", word);
        *f = &forms[i];
        if (strcmp(word, forms[i].word) == 0)
            break;
    }
    opts->version = (*f)->version;
    if (opts->version == 1 && opts->challenge != NULL)
        return cli_usage(c, "--challenge: the form v1 has no place for one");
    if (opts->version == 1 && cli_option_value(c, "ttl") != NULL)
        return cli_usage(c, "--ttl: the form v1 does not expire");
    code = cli_parse_hex(c, "challenge", challenge, PQE_CHALLENGE_MIN, PQE_CHALLENGE_MAX, &opts->challenge_len);
    if (code == 0)
        code = cli_parse_number(c, "ttl", UINT32_MAX, &ttl);
    if (code == 0 && ttl == 0)
        code = cli_usage(c, "--ttl: an attestation lives one second at least");
    opts->ttl_seconds = (uint32_t)ttl;
    return code;
}

/* With --json and no file, the attestation is a member: text as it is, COSE as hex. */
static int
print_json(cli *c, const form *f, const pqe_attestation *a, const char *data, size_t len, const char *path)
{
    char *hex = NULL;
    json_t *inner;
    int code;

    if (path != NULL) {
        inner = json_null();
    } else if (f->form == PQE_ATTEST_JSON) {
        inner = json_string(data);
    } else {
        hex = malloc(2 * len + 1);
        for (size_t i = 0; hex != NULL && i < len; i++)
            snprintf(hex + 2 * i, 3, "%02x", (unsigned)(unsigned char)data[i]);
        inner = hex != NULL ? json_string(hex) : NULL;
    }
    code = cli_json_print(c, json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "format", f->word, "artifact_id",
                                       a->artifact_id.data, "content_hash", a->artifact_content_hash.data, "signer_did",
                                       a->signer_did.data, "issued_at", a->issued_at.data, "output",
                                       cli_json_text(path), "attestation", inner));
    free(hex);
    return code;
}

static int
write_out(cli *c, const form *f, const pqe_attestation *a, const char *data, size_t len, const char *path)
{
    bool line = f->form == PQE_ATTEST_JSON; /* text ends with a newline */
    cli_outfile file;
    int errnum;

    if (path == NULL && c->json)
        return print_json(c, f, a, data, len, NULL);
    if (path == NULL) {
        errnum = cli_write_all(STDOUT_FILENO, data, len);
        if (errnum == 0 && line)
            errnum = cli_write_all(STDOUT_FILENO, "\n", 1);
        return errnum != 0 ? cli_fail_output(c, errnum) : 0;
    }
    errnum = cli_outfile_open(&file, path);
    if (errnum == 0)
        errnum = cli_write_all(file.fd, data, len);
    if (errnum == 0 && line)
        errnum = cli_write_all(file.fd, "\n", 1);
    if (errnum == 0)
        errnum = cli_outfile_commit(&file);
    cli_outfile_discard(&file);
    if (errnum != 0)
        return cli_fail_errno(c, errnum, "cannot write", path, NULL);
    if (c->json)
        return print_json(c, f, a, data, len, path);
    cli_note(c, "wrote ", path, "");
    return 0;
}

/* What was not found may be the artifact or the identity. */
static int
report(cli *c, const pqe_attest_opts *opts, const pqe_error *error)
{
    pqe_identity identity;

    if (error->status == PQE_E_NOT_FOUND && pqe_identity_get(c->vault, opts->identity, &identity, NULL) != PQE_OK)
        return cli_identity_report(c, "cannot attest", c->operands[0], error);
    return cli_report(c, "cannot attest", c->operands[0], error);
}

static int
attest(cli *c, const form *f, const pqe_attest_opts *opts, const char *path)
{
    pqe_attestation *attestation = NULL;
    pqe_error error = {0};
    char *data = NULL;
    size_t len;
    int code = cli_open(c);

    if (code != 0)
        return code;
    cli_catch_signals();
    if (pqe_attest(c->vault, c->operands[0], opts, &attestation, &error) != PQE_OK ||
        pqe_attestation_encode(attestation, f->form, &data, &len, &error) != PQE_OK)
        code = report(c, opts, &error);
    else
        code = write_out(c, f, attestation, data, len, path);
    pqe_buffer_free(&data);
    pqe_attestation_free(&attestation);
    return code;
}

static int
run(cli *c)
{
    const char *path = cli_option_value(c, "output");
    uint8_t challenge[PQE_CHALLENGE_MAX];
    pqe_attest_opts opts;
    const form *f;
    int code = cli_check_name(c, c->operands[0]);

    if (code == 0)
        code = read_options(c, &f, &opts, challenge);
    if (code != 0)
        return code;
    if (path == NULL && !c->json && f->form == PQE_ATTEST_COSE && isatty(STDOUT_FILENO))
        return cli_usage(c, "standard output is a terminal; give -o FILE, --format json, or -o - if you mean it");
    return attest(c, f, &opts, path != NULL && strcmp(path, "-") == 0 ? NULL : path);
}

static const cli_option options[] = {
    {"challenge", 0, CLI_VALUE_TEXT, "HEX", "the verifier's challenge, 8 to 64 bytes", NULL},
    {"identity", 0, CLI_VALUE_TEXT, "DID|NAME", "who signs (default: the default identity)", NULL},
    {"ttl", 0, CLI_VALUE_TEXT, "S", "seconds until it expires (default 86400)", NULL},
    {"format", 0, CLI_VALUE_WORDS, "F", "cose (default), json (a view, not signed) or v1", "cose json v1"},
    {"device-model", 0, CLI_VALUE_TEXT, "M", "what kind of device this is (default: the backend's name)", NULL},
    {"no-evidence", 0, CLI_VALUE_NONE, NULL, "do not ask the hardware for evidence: faster", NULL},
    {"output", 'o', CLI_VALUE_FILE, "FILE|-", "write to a file (0600, whole or not at all)", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_attest = {.name = "attest",
                                    .operands = "NAME|ID",
                                    .summary = "sign a statement of what an artifact contains",
                                    .options = options,
                                    .min_operands = 1,
                                    .max_operands = 1,
                                    .operand_value = CLI_VALUE_TEXT,
                                    .run = run};
