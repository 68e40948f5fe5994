/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave verify-attestation: one attestation, or many as JSON lines. Needs no vault. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pqc_enclave/attest.h>

#include "attestlines.h"
#include "commands.h"
#include "evidence.h"
#include "json.h"
#include "process.h"
#include "report.h"
#include "text.h"
#include "value.h"

/* ---- options ---- */

#define TRUST_FILE_MAX ((size_t)16 << 20)

typedef pqe_status (*add_text_fn)(pqe_trust *trust, const char *text, size_t len, pqe_error *err);

/* A DID, PEM, or a file. */
static int
add_trust(cli *c, pqe_trust *trust, const char *value, add_text_fn add_text)
{
    pqe_error error = {0};
    pqe_status status;
    char *text = NULL;
    size_t len;
    int code;

    if (strncmp(value, "did:", 4) == 0 || strncmp(value, "-----BEGIN ", 11) == 0) {
        status = add_text(trust, value, strlen(value), &error);
    } else {
        code = cli_read_whole(c, value, TRUST_FILE_MAX, &text, &len);
        if (code != 0)
            return code;
        status = add_text(trust, text, len, &error);
        cli_buffer_free(text, TRUST_FILE_MAX + 1);
    }
    return status == PQE_OK ? 0 : cli_report(c, "cannot trust", value, &error);
}

static int
read_trust(cli *c, pqe_trust *trust)
{
    int code = 0;

    for (size_t i = 0; i < c->given_count && code == 0; i++)
        if (strcmp(c->given[i].option->name, "trust") == 0)
            code = add_trust(c, trust, c->given[i].value, pqe_trust_add_text);
        else if (strcmp(c->given[i].option->name, "evidence-trust") == 0)
            code = add_trust(c, trust, c->given[i].value, pqe_trust_add_evidence_keys);
    return code;
}

static int
read_options(cli *c, pqe_attest_verify_opts *opts, pqe_trust *trust, uint8_t challenge[PQE_CHALLENGE_MAX])
{
    uint64_t skew = PQE_ATTEST_DEFAULT_SKEW;
    uint8_t hash[32];
    size_t len;
    int code = 0;

    *opts = (pqe_attest_verify_opts){.size = sizeof *opts,
                                     .trust = trust,
                                     .challenge = cli_option_value(c, "challenge") != NULL ? challenge : NULL,
                                     .expected_hash = cli_option_value(c, "expect-hash"),
                                     .expected_pcr_digest = cli_option_value(c, "expect-pcr")};
    code = cli_parse_hex(c, "challenge", challenge, PQE_CHALLENGE_MIN, PQE_CHALLENGE_MAX, &opts->challenge_len);
    if (code == 0)
        code = cli_parse_hex(c, "expect-hash", hash, sizeof hash, sizeof hash, &len);
    if (code == 0)
        code = cli_parse_hex(c, "expect-pcr", hash, sizeof hash, sizeof hash, &len);
    if (code == 0 && opts->expected_pcr_digest != NULL && cli_option_value(c, "evidence-trust") == NULL)
        code = cli_usage(c, "--expect-pcr: needs --evidence-trust, the key that signs PCRs");
    if (code == 0)
        code = cli_parse_number(c, "max-age", INT64_MAX, &opts->max_age_seconds);
    if (code == 0 && cli_option_value(c, "max-age") != NULL && opts->max_age_seconds == 0)
        code = cli_usage(c, "--max-age: one second at least");
    if (code == 0)
        code = cli_parse_number(c, "skew", UINT32_MAX, &skew);
    opts->skew_seconds = (uint32_t)skew;
    opts->no_skew = skew == 0;
    return code == 0 ? read_trust(c, trust) : code;
}

/* ---- results ---- */

/* Version 1 may hold NUL characters, which end a C string; they are shown as what follows them being absent. */
static json_t *
member(const pqe_attestation *a, const pqe_text *text)
{
    return a != NULL ? json_stringn(text->data, text->len) : json_null();
}

static json_t *
result_json(uint64_t index, pqe_verdict verdict, const char *reason, const pqe_attestation *a, const pqe_trust *trust)
{
    return json_pack("{s:I, s:s, s:i, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "index", (json_int_t)index, "verdict",
                     pqe_verdict_name(verdict), "verdict_code", (int)verdict, "passed",
                     (int)(verdict == PQE_VERDICT_PASS), "reason", cli_json_text(reason), "signer_did",
                     member(a, a != NULL ? &a->signer_did : NULL), "artifact_id",
                     member(a, a != NULL ? &a->artifact_id : NULL), "content_hash",
                     member(a, a != NULL ? &a->artifact_content_hash : NULL), "device_id",
                     member(a, a != NULL ? &a->device_id : NULL), "issued_at",
                     member(a, a != NULL ? &a->issued_at : NULL), "evidence", cli_evidence_json(a, trust));
}

/* Where it is the evidence that fails, its report says more. */
static int
fail_verdict(cli *c, const char *path, pqe_verdict verdict, const pqe_attestation *a, const pqe_trust *trust)
{
    pqe_evidence_report report = {.size = sizeof report};
    pqe_error error = {.status = verdict == PQE_VERDICT_MALFORMED ? PQE_E_MALFORMED : PQE_E_ATTESTATION,
                       .origin = PQE_ORIGIN_API,
                       .native = verdict};

    if (verdict == PQE_VERDICT_EVIDENCE && pqe_attestation_evidence(a, trust, &report, NULL) == PQE_OK &&
        report.reason != NULL)
        snprintf(error.message, sizeof error.message, "its evidence does not hold: %s", report.reason);
    else
        snprintf(error.message, sizeof error.message, "%s", pqe_verdict_text(verdict));
    return cli_report(c, "attestation", path, &error);
}

static void
print_one(const pqe_attestation *a, const pqe_trust *trust)
{
    puts("pass");
    cli_put_field("signer", a->signer_did.data);
    cli_put_field("device", a->device_id.data);
    cli_put_field("artifact", a->artifact_id.data);
    cli_put_field("content hash", a->artifact_content_hash.data);
    cli_put_field("issued", a->issued_at.data);
    if (a->version == 2)
        cli_put_field("backend", a->backend.data);
    cli_evidence_print(a, trust);
}

static int
verify_one(cli *c, const char *path, const void *data, size_t len, const pqe_attest_verify_opts *opts)
{
    pqe_attestation *a = NULL;
    pqe_verdict verdict = PQE_VERDICT_MALFORMED;
    pqe_error error = {0};
    pqe_status status = pqe_attestation_decode(data, len, &a, &error);
    int code = 0;

    if (status == PQE_OK)
        status = pqe_attestation_verify(a, opts, &verdict, &error);
    if (status == PQE_E_UNAVAILABLE) {
        code = cli_fail(c, status, "attestation", path, error.message, "verify it where that library is installed");
    } else if (status != PQE_OK && status != PQE_E_ATTESTATION) {
        code = cli_report(c, "attestation", path, &error);
    } else {
        if (c->json)
            code = cli_json_print(c, result_json(0, verdict, pqe_verdict_text(verdict), a, opts->trust));
        else if (verdict == PQE_VERDICT_PASS && !c->quiet)
            print_one(a, opts->trust);
        if (code == 0 && verdict != PQE_VERDICT_PASS) {
            fflush(stdout);
            code = fail_verdict(c, path, verdict, a, opts->trust);
        }
    }
    pqe_attestation_free(&a);
    return code;
}

/* ---- many ---- */

typedef struct run_state {
    cli *c;
    cli_attestlines *lines;
    const pqe_trust *trust;
    pqe_error error; /* of an attestation that could not be judged */
} run_state;

static pqe_status
next_line(void *user, const void **data, size_t *len, pqe_error *err)
{
    return cli_attestlines_take(((run_state *)user)->lines, data, len, err);
}

static bool
print_result(void *user, const pqe_attest_result *r)
{
    run_state *s = user;

    if (r->status != PQE_OK && s->error.status == PQE_OK) {
        s->error = (pqe_error){.status = r->status, .origin = PQE_ORIGIN_CRYPTO};
        snprintf(s->error.message, sizeof s->error.message, "%s", r->reason);
    }
    if (s->c->json) {
        json_t *value = result_json(r->index, r->verdict, r->reason, r->attestation, s->trust);
        if (r->index > 0)
            putchar(',');
        if (value == NULL || json_dumpf(value, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) != 0)
            fputs("null", stdout);
        json_decref(value);
    } else if (!s->c->quiet) {
        printf("%" PRIu64 "  %-14s  ", r->index + 1, pqe_verdict_name(r->verdict));
        cli_put_escaped(stdout, r->attestation != NULL ? r->attestation->artifact_id.data : "-");
        putchar('\n');
    }
    return !ferror(stdout) && cli_interrupted() == 0;
}

static void
print_summary(const cli *c, const pqe_attest_summary *sum)
{
    if (c->json) {
        printf("],\"total\":%" PRIu64 ",\"passed\":%" PRIu64 ",\"verdicts\":{", sum->total, sum->passed);
        for (int i = 0, first = 1; pqe_verdict_name((pqe_verdict)i) != NULL; i++) {
            if (sum->verdicts[i] == 0)
                continue;
            printf("%s\"%s\":%" PRIu64, first ? "" : ",", pqe_verdict_name((pqe_verdict)i), sum->verdicts[i]);
            first = 0;
        }
        puts("}}");
    } else if (!c->quiet) {
        printf("%" PRIu64 " attestation%s: %" PRIu64 " pass, %" PRIu64 " do not\n", sum->total,
               sum->total == 1 ? "" : "s", sum->passed, sum->total - sum->passed);
    }
}

static int
verify_many(cli *c, const char *path, cli_attestlines *lines, const pqe_attest_verify_opts *opts)
{
    run_state s = {.c = c, .lines = lines, .trust = opts->trust};
    pqe_attest_verifier *verifier = NULL;
    pqe_attest_summary sum = {0};
    pqe_error error = {0};
    pqe_status status = pqe_attest_verifier_new(opts, &verifier, &error);
    uint64_t malformed;
    char why[96];

    if (c->json && status == PQE_OK)
        fputs("{\"results\":[", stdout);
    if (status == PQE_OK)
        status = pqe_attest_verifier_stream(verifier, 0, next_line, print_result, &s, &sum, &error);
    pqe_attest_verifier_free(&verifier);
    if (status == PQE_OK)
        print_summary(c, &sum);
    fflush(stdout);
    if (status == PQE_OK && s.error.status != PQE_OK)
        error = s.error;
    if (error.status != PQE_OK && lines->errnum != 0)
        return cli_fail_errno(c, lines->errnum, "cannot read", path, NULL);
    if (error.status != PQE_OK)
        return cli_report(c, "cannot verify", path, &error);
    if (sum.passed == sum.total && sum.total > 0)
        return 0;
    malformed = sum.verdicts[PQE_VERDICT_MALFORMED];
    snprintf(why, sizeof why, "%" PRIu64 " of %" PRIu64 " do not pass", sum.total - sum.passed, sum.total);
    return cli_fail(c, malformed == sum.total - sum.passed ? PQE_E_MALFORMED : PQE_E_ATTESTATION, "attestations", path,
                    sum.total != 0 ? why : "there are none", NULL);
}

static int
verify(cli *c, const char *path, const pqe_attest_verify_opts *opts)
{
    cli_attestlines *lines = NULL;
    const void *data;
    size_t len;
    int fd, code = cli_open_input(c, path, &fd), errnum;

    if (code != 0)
        return code;
    cli_catch_signals();
    errnum = cli_attestlines_open(&lines, fd);
    if (errnum != 0)
        code = cli_fail_errno(c, errnum, "cannot read", path, NULL);
    else if (cli_attestlines_single(lines, &data, &len))
        code = verify_one(c, path, data, len, opts);
    else
        code = verify_many(c, path, lines, opts);
    cli_attestlines_close(&lines);
    if (fd != STDIN_FILENO)
        close(fd);
    return code;
}

static int
run(cli *c)
{
    uint8_t challenge[PQE_CHALLENGE_MAX];
    pqe_attest_verify_opts opts;
    pqe_trust *trust = NULL;
    pqe_error error = {0};
    int code;

    if (pqe_trust_new(&trust, &error) != PQE_OK)
        return cli_report(c, "cannot verify", c->operands[0], &error);
    code = read_options(c, &opts, trust, challenge);
    if (code == 0)
        code = verify(c, c->operands[0], &opts);
    pqe_trust_free(&trust);
    return code;
}

static const cli_option options[] = {
    {"trust", 0, CLI_VALUE_FILE, "PEM|DID|FILE", "whom to believe; may be given several times", NULL},
    {"evidence-trust", 0, CLI_VALUE_FILE, "PEM|FILE", "the key of the hardware's evidence, then required", NULL},
    {"expect-pcr", 0, CLI_VALUE_TEXT, "HEX", "the PCR digest that the hardware must have quoted", NULL},
    {"challenge", 0, CLI_VALUE_TEXT, "HEX", "the challenge that it must answer", NULL},
    {"max-age", 0, CLI_VALUE_TEXT, "S", "refuse what was issued longer ago, in seconds", NULL},
    {"expect-hash", 0, CLI_VALUE_TEXT, "HEX", "the content hash that it must state", NULL},
    {"skew", 0, CLI_VALUE_TEXT, "S", "seconds it may be issued in the future (default 300)", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_verify_attestation = {.name = "verify-attestation",
                                                .operands = "FILE|-",
                                                .summary = "verify an attestation, or many as JSON lines",
                                                .options = options,
                                                .min_operands = 1,
                                                .max_operands = 1,
                                                .operand_value = CLI_VALUE_FILE,
                                                .run = run};
