/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave audit: shows the log, exports checkpoints of it, verifies it, clears it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "json.h"
#include "outfile.h"
#include "process.h"
#include "report.h"
#include "session.h"
#include "text.h"

static const char not_signed[] =
    "checkpoints are not signed (the vault has no identity): keep them where they cannot be changed";

/* ---- showing ---- */

typedef struct listing {
    json_t *entries; /* --json */
} listing;

static json_t *
entry_to_json(const pqe_audit_entry *e)
{
    return json_pack("{s:I, s:s, s:s, s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:b}", "sequence", (json_int_t)e->sequence,
                     "timestamp", e->timestamp, "operation", pqe_audit_op_name(e->op), "device_id",
                     cli_json_text(e->device_id), "artifact_id", cli_json_text(e->artifact_id), "artifact_name",
                     cli_json_text(e->name), "artifact_kind", cli_json_text(e->kind != 0 ? pqe_kind_name(e->kind) : ""),
                     "success", (int)e->success, "details", cli_json_text(e->details), "caller",
                     cli_json_text(e->caller), "by_application", (int)e->by_application);
}

static void
print_entry(const pqe_audit_entry *e)
{
    printf("%8" PRIu64 "  %-20s  %-16s  %-6s", e->sequence, e->timestamp, pqe_audit_op_name(e->op),
           e->success ? "ok" : "failed");
    if (e->name[0] != '\0' || e->artifact_id[0] != '\0') {
        fputs("  ", stdout);
        cli_put_escaped(stdout, e->name[0] != '\0' ? e->name : e->artifact_id);
    } else if (e->kind != 0) {
        printf("  %s", pqe_kind_name(e->kind));
    }
    if (e->details[0] != '\0') {
        fputs("  (", stdout);
        cli_put_escaped(stdout, e->details);
        putchar(')');
    }
    if (e->caller[0] != '\0') {
        fputs("  by ", stdout);
        cli_put_escaped(stdout, e->caller);
    }
    if (e->by_application)
        fputs("  [application]", stdout);
    putchar('\n');
}

static bool
on_entry(void *user, const pqe_audit_entry *entry)
{
    listing *l = user;

    if (l->entries != NULL)
        json_array_append_new(l->entries, entry_to_json(entry));
    else
        print_entry(entry);
    return true;
}

static json_t *
failures_to_json(const pqe_failed_unlock *failed, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "timestamp", failed[i].timestamp, "status",
                                              pqe_status_name(failed[i].status)));
    return list;
}

static void
print_failures(const pqe_failed_unlock *failed, size_t count)
{
    if (count > 0)
        puts("unlocks that failed (kept without a key; anyone who can write to the vault can alter these lines):");
    for (size_t i = 0; i < count; i++)
        printf("          %-20s  %-16s  failed  (%s)\n", failed[i].timestamp, "unlock",
               pqe_status_name(failed[i].status));
}

static int
show(cli *c, const pqe_audit_query *query)
{
    pqe_failed_unlock failed[PQE_FAILED_UNLOCKS_MAX];
    listing l = {.entries = c->json ? json_array() : NULL};
    pqe_audit_info info;
    pqe_error error = {0};
    size_t count = 0;

    if (pqe_audit_list(c->vault, query, on_entry, &l, &error) != PQE_OK ||
        pqe_audit_get_info(c->vault, &info, &error) != PQE_OK ||
        pqe_audit_failed_unlocks(c->vault, failed, PQE_FAILED_UNLOCKS_MAX, &count, &error) != PQE_OK) {
        json_decref(l.entries);
        return cli_report(c, "cannot show the audit log of", c->vault_dir, &error);
    }
    if (c->json)
        return cli_json_print(c, json_pack("{s:o, s:o, s:I, s:b}", "entries", l.entries, "failed_unlocks",
                                           failures_to_json(failed, count), "chain", (json_int_t)info.chain,
                                           "signed_checkpoints", (int)info.signed_checkpoints));
    print_failures(failed, count);
    if (!c->quiet && !info.signed_checkpoints)
        printf("%s\n", not_signed);
    return 0;
}

static int
parse_query(cli *c, pqe_audit_query *query)
{
    const char *limit = cli_option_value(c, "limit"), *op = cli_option_value(c, "operation");
    char *end = NULL;

    *query = (pqe_audit_query){.size = sizeof *query, .limit = 100, .artifact = cli_option_value(c, "artifact")};
    if (limit != NULL) {
        errno = 0;
        query->limit = strtoull(limit, &end, 10);
        if (limit[0] < '0' || limit[0] > '9' || *end != '\0' || errno != 0)
            return cli_usage(c, "--limit: %s is not a number", limit);
    }
    if (op != NULL && !pqe_audit_op_from_name(op, &query->op))
        return cli_usage(c, "--operation: there is no operation %s", op);
    return query->artifact != NULL ? cli_check_name(c, query->artifact) : 0;
}

/* ---- checkpoints ---- */

static int
write_checkpoint(cli *c, const char *path, const char *text, size_t len)
{
    cli_outfile file;
    int errnum = cli_outfile_open(&file, path);

    if (errnum != 0)
        return cli_fail_errno(c, errnum, "cannot write", path, NULL);
    for (size_t done = 0; done < len && errnum == 0;) {
        ssize_t n = write(file.fd, text + done, len - done);
        if (n < 0 && errno != EINTR)
            errnum = errno;
        else if (n > 0)
            done += (size_t)n;
    }
    if (errnum == 0)
        errnum = cli_outfile_commit(&file);
    cli_outfile_discard(&file);
    return errnum != 0 ? cli_fail_errno(c, errnum, "cannot write", path, NULL) : 0;
}

static int
checkpoint(cli *c)
{
    const char *path = cli_option_value(c, "output");
    char text[PQE_AUDIT_CHECKPOINT_MAX];
    pqe_error error = {0};
    bool is_signed;
    size_t len;
    int code;

    if (pqe_audit_checkpoint(c->vault, text, sizeof text, &len, &error) != PQE_OK)
        return cli_report(c, "cannot make a checkpoint of the audit log of", c->vault_dir, &error);
    is_signed = strstr(text, "\nsignature: none\n") == NULL;
    if (path == NULL || strcmp(path, "-") == 0) {
        if (c->json)
            return cli_json_print(c, json_pack("{s:s, s:b}", "checkpoint", text, "signed", (int)is_signed));
        fputs(text, stdout);
        return 0;
    }
    if ((code = write_checkpoint(c, path, text, len)) != 0)
        return code;
    if (c->json)
        return cli_json_print(c, json_pack("{s:s, s:b}", "checkpoint", text, "signed", (int)is_signed));
    cli_note(c, "wrote ", path, is_signed ? " (signed)" : " (not signed: keep it where it cannot be changed)");
    return 0;
}

static int
read_checkpoint(cli *c, const char *path, char *text, size_t capacity, size_t *len)
{
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), errnum;

    *len = 0;
    if (fd < 0)
        return cli_fail_errno(c, errno, "cannot read", path, NULL);
    errnum = cli_read_full(fd, text, capacity, len);
    if (fd != STDIN_FILENO)
        close(fd);
    return errnum != 0 ? cli_fail_errno(c, errnum, "cannot read", path, NULL) : 0;
}

static int
verify(cli *c)
{
    const char *path = cli_option_value(c, "against");
    char text[PQE_AUDIT_CHECKPOINT_MAX];
    pqe_audit_info info;
    pqe_error error = {0};
    size_t len = 0;
    int code = path != NULL ? read_checkpoint(c, path, text, sizeof text, &len) : 0;

    if (code == 0)
        code = cli_open(c);
    if (code != 0)
        return code;
    if (pqe_audit_verify(c->vault, path != NULL ? text : NULL, len, &info, &error) != PQE_OK)
        return cli_report(c, "audit log of", c->vault_dir, &error);
    if (c->json)
        return cli_json_print(c, json_pack("{s:b, s:I, s:I, s:I, s:s, s:b, s:b, s:b}", "sound", 1, "chain",
                                           (json_int_t)info.chain, "first_sequence", (json_int_t)info.first_sequence,
                                           "last_sequence", (json_int_t)info.last_sequence, "digest", info.link,
                                           "compared", (int)(path != NULL), "signed_checkpoints",
                                           (int)info.signed_checkpoints, "checkpoint_signed",
                                           (int)info.checkpoint_signed));
    if (c->quiet)
        return 0;
    printf("chain %" PRIu32 ", entries %" PRIu64 " to %" PRIu64 ": sound%s\n", info.chain, info.first_sequence,
           info.last_sequence,
           path == NULL             ? ""
           : info.checkpoint_signed ? ", and agrees with the checkpoint, which is signed"
                                    : ", and agrees with the checkpoint, which is not signed");
    if (!info.signed_checkpoints)
        printf("%s\n", not_signed);
    return 0;
}

static int
clear(cli *c)
{
    pqe_error error = {0};

    if (pqe_audit_clear(c->vault, &error) != PQE_OK)
        return cli_report(c, "cannot clear the audit log of", c->vault_dir, &error);
    if (c->json)
        return cli_json_print(c, json_pack("{s:b}", "cleared", 1));
    cli_note(c, "cleared the audit log of ", c->vault_dir, "; the new chain names the old one's end");
    return 0;
}

static int
run(cli *c)
{
    bool verifies = cli_option_value(c, "verify") != NULL || cli_option_value(c, "against") != NULL;
    bool checkpoints = cli_option_value(c, "checkpoint") != NULL, clears = cli_option_value(c, "clear") != NULL;
    pqe_audit_query query;
    int code;

    if ((int)verifies + (int)checkpoints + (int)clears > 1)
        return cli_usage(c, "--verify, --checkpoint and --clear exclude each other");
    if (!checkpoints && cli_option_value(c, "output") != NULL)
        return cli_usage(c, "-o goes with --checkpoint");
    if (verifies)
        return verify(c);
    code = parse_query(c, &query);
    if (code == 0)
        code = cli_open(c);
    if (code != 0)
        return code;
    return checkpoints ? checkpoint(c) : clears ? clear(c) : show(c, &query);
}

static const cli_option options[] = {
    {"limit", 0, CLI_VALUE_TEXT, "N", "at most N entries, the newest first (100; 0: all)", NULL},
    {"operation", 0, CLI_VALUE_WORDS, "O", "only entries of this operation",
     "unlock lock put get delete attest policy_violation rotate policy clear lost identity_create identity_import "
     "identity_delete identity_export recovery"},
    {"artifact", 0, CLI_VALUE_TEXT, "NAME|ID", "only entries of this artifact or identity", NULL},
    {"checkpoint", 0, CLI_VALUE_NONE, NULL, "write a checkpoint instead", NULL},
    {"output", 'o', CLI_VALUE_FILE, "FILE|-", "where the checkpoint goes", NULL},
    {"verify", 0, CLI_VALUE_NONE, NULL, "recompute the chain instead", NULL},
    {"against", 0, CLI_VALUE_FILE, "FILE|-", "verify, and compare with a checkpoint", NULL},
    {"clear", 0, CLI_VALUE_NONE, NULL, "remove all entries and start a new chain", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_audit = {
    .name = "audit", .operands = "", .summary = "show, verify or clear the audit log", .options = options, .run = run};
