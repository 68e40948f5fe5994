/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave verify: checks one artifact or the whole vault, one line a finding. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "commands.h"
#include "json.h"
#include "progress.h"
#include "report.h"
#include "session.h"
#include "text.h"

typedef struct check {
    cli_progress progress;
    json_t *findings; /* --json */
} check;

static void
print_finding(const pqe_finding *f)
{
    fputs("damaged  ", stdout);
    if (f->artifact != NULL)
        cli_put_escaped(stdout, f->artifact->name);
    else
        fputs("(vault)", stdout);
    fputs(": ", stdout);
    cli_put_escaped(stdout, f->message[0] != '\0' ? f->message : pqe_status_text(f->status));
    putchar('\n');
}

static bool
on_finding(void *user, const pqe_finding *f)
{
    check *k = user;

    cli_progress_add(&k->progress, f->bytes);
    if (f->status == PQE_OK)
        return true;
    if (k->findings != NULL) {
        json_array_append_new(k->findings,
                              json_pack("{s:o, s:o, s:s, s:o}", "name",
                                        cli_json_text(f->artifact != NULL ? f->artifact->name : NULL), "artifact_id",
                                        cli_json_text(f->artifact != NULL ? f->artifact->artifact_id : NULL), "status",
                                        pqe_status_name(f->status), "message", cli_json_text(f->message)));
        return true;
    }
    /* A line on the terminal where the bar is. */
    if (k->progress.shown)
        fputs("\r\033[K", stderr);
    print_finding(f);
    fflush(stdout);
    return true;
}

static bool
add_size(void *user, const pqe_artifact *artifact)
{
    *(uint64_t *)user += artifact->size_bytes;
    return true;
}

/* Bytes to be checked, for the bar; 0 where that cannot be told: the check itself will say why. */
static uint64_t
total_size(cli *c, const char *name)
{
    uint64_t total = 0;
    pqe_artifact *artifact = NULL;

    if (!cli_progress_wanted(c))
        return 0;
    if (name == NULL)
        return pqe_list(c->vault, add_size, &total, NULL) == PQE_OK ? total : 0;
    if (pqe_info(c->vault, name, &artifact, NULL) == PQE_OK)
        total = artifact->size_bytes;
    pqe_artifact_free(&artifact);
    return total;
}

/* How far "sound" goes. */
static void
print_rollback(cli *c)
{
    char *text = cli_rollback_text(&c->facts);

    if (text != NULL)
        printf("older copies of the vault: %s\n", text);
    free(text);
}

static int
print_summary(cli *c, const pqe_verify_summary *s, json_t *findings)
{
    char size[16];

    if (c->json)
        return cli_json_print(c, json_pack("{s:b, s:I, s:I, s:I, s:I, s:s, s:O}", "sound", (int)(s->damaged == 0),
                                           "artifacts", (json_int_t)s->artifacts, "damaged", (json_int_t)s->damaged,
                                           "bytes", (json_int_t)s->bytes, "orphans", (json_int_t)s->orphans, "rollback",
                                           cli_rollback_word(&c->facts), "findings", findings));
    if (c->quiet)
        return 0;
    cli_format_size(s->bytes, size);
    printf("%" PRIu64 " artifact%s checked, %s", s->artifacts, s->artifacts == 1 ? "" : "s", size);
    if (s->orphans > 0)
        printf(", %" PRIu64 " left-over file%s of interrupted puts", s->orphans, s->orphans == 1 ? "" : "s");
    if (s->damaged == 0)
        puts(": sound");
    else
        printf(": %" PRIu64 " damage%s found\n", s->damaged, s->damaged == 1 ? "" : "s");
    print_rollback(c);
    return 0;
}

static int
verify(cli *c, const char *name, check *k)
{
    pqe_verify_summary summary = {0};
    pqe_vault_info facts;
    pqe_error error = {0};
    pqe_status status;
    int code;

    cli_progress_start(c, &k->progress, "checking", total_size(c, name));
    status = pqe_verify(c->vault, name, on_finding, k, &summary, &error);
    cli_progress_end(&k->progress);
    /* Without a finding the check itself could not be made. */
    if (status != PQE_OK && summary.damaged == 0)
        return cli_report(c, "cannot verify", name != NULL ? name : c->vault_dir, &error);
    if (pqe_vault_get_info(c->vault, &facts, NULL) == PQE_OK)
        c->facts = facts;
    code = print_summary(c, &summary, k->findings);
    if (code != 0 || status == PQE_OK)
        return code;
    fflush(stdout);
    return cli_fail(c, PQE_E_TAMPERED, "verify", name != NULL ? name : c->vault_dir, "damage was found",
                    "restore what is damaged from a backup");
}

static int
run(cli *c)
{
    const char *name = c->operand_count > 0 ? c->operands[0] : NULL;
    check k = {.findings = c->json ? json_array() : NULL};
    int code = name != NULL ? cli_check_name(c, name) : 0;

    if (code == 0)
        code = cli_open(c);
    if (code == 0)
        code = verify(c, name, &k);
    json_decref(k.findings);
    return code;
}

const cli_command cli_cmd_verify = {.name = "verify",
                                    .operands = "[NAME|ID]",
                                    .summary = "check every chunk, hash and index entry of an artifact or of all",
                                    .max_operands = 1,
                                    .operand_value = CLI_VALUE_TEXT,
                                    .run = run};
