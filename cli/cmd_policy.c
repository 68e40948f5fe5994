/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave policy set, show, clear: who may read which artifacts, and how often. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "json.h"
#include "report.h"
#include "session.h"
#include "text.h"

/* KIND or --artifact NAME, one of the two. */
static int
parse_subject(cli *c, pqe_kind *kind, const char **artifact)
{
    *kind = (pqe_kind)0;
    *artifact = cli_option_value(c, "artifact");
    if ((c->operand_count == 0) == (*artifact == NULL))
        return cli_usage(c, "give a kind or --artifact NAME");
    if (*artifact != NULL)
        return cli_check_name(c, *artifact);
    return cli_parse_kind(c, c->operands[0], kind);
}

static int
parse_number(cli *c, const char *option, uint32_t max, uint32_t *out)
{
    const char *text = cli_option_value(c, option);
    char *end;
    unsigned long long value;

    *out = 0;
    if (text == NULL)
        return 0;
    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || value > max)
        return cli_usage(c, "--%s: %s is not a number from 0 to %u", option, text, max);
    *out = (uint32_t)value;
    return 0;
}

static const char *
subject_name(pqe_kind kind, const char *artifact)
{
    return artifact != NULL ? artifact : pqe_kind_name(kind);
}

/* ---- set ---- */

static int
run_set(cli *c)
{
    const char *allowed[sizeof c->given / sizeof c->given[0]];
    pqe_policy_rule rule = {.size = sizeof rule, .allowed_bundle_ids = allowed};
    pqe_error error = {0};
    int code = parse_subject(c, &rule.kind, &rule.artifact);

    if (code == 0)
        code = parse_number(c, "max-uses-per-hour", PQE_POLICY_USES_MAX, &rule.max_uses_per_hour);
    if (code != 0)
        return code;
    rule.require_presence = cli_option_value(c, "require-presence") != NULL;
    for (size_t i = 0; i < c->given_count; i++)
        if (strcmp(c->given[i].option->name, "allow") == 0)
            allowed[rule.allowed_count++] = c->given[i].value;
    code = cli_open(c);
    if (code != 0)
        return code;
    if (pqe_policy_set(c->vault, &rule, &error) != PQE_OK)
        return cli_report(c, "cannot set the rule for", subject_name(rule.kind, rule.artifact), &error);
    if (c->json)
        return cli_json_print(c, json_pack("{s:o}", "set", cli_json_text(subject_name(rule.kind, rule.artifact))));
    cli_note(c, "rule set for ", subject_name(rule.kind, rule.artifact), "");
    return 0;
}

static const cli_option set_options[] = {
    {"artifact", 0, CLI_VALUE_TEXT, "NAME", "a rule of this artifact alone", NULL},
    {"allow", 0, CLI_VALUE_TEXT, "BUNDLE", "let this caller in, and no other that is not named (repeatable)", NULL},
    {"require-presence", 0, CLI_VALUE_NONE, NULL, "have the backend ask the user each time", NULL},
    {"max-uses-per-hour", 0, CLI_VALUE_TEXT, "N", "uses within any hour; 0: no limit", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_policy_set = {.name = "policy set",
                                        .operands = "[KIND]",
                                        .summary = "set the access rule of a kind or of an artifact",
                                        .options = set_options,
                                        .max_operands = 1,
                                        .operand_value = CLI_VALUE_KIND,
                                        .run = run_set};

/* ---- show ---- */

typedef struct listing {
    const cli *c;
    json_t *rules; /* --json */
    size_t count;
} listing;

static json_t *
rule_to_json(const pqe_policy_rule *rule, uint64_t uses)
{
    json_t *allowed = json_array();

    for (size_t i = 0; i < rule->allowed_count; i++)
        json_array_append_new(allowed, cli_json_text(rule->allowed_bundle_ids[i]));
    return json_pack("{s:o, s:o, s:o, s:b, s:I, s:I}", "kind",
                     cli_json_text(rule->kind != 0 ? pqe_kind_name(rule->kind) : NULL), "artifact",
                     cli_json_text(rule->artifact), "allowed_bundle_ids", allowed, "require_presence",
                     (int)rule->require_presence, "max_uses_per_hour", (json_int_t)rule->max_uses_per_hour,
                     "uses_this_hour", (json_int_t)uses);
}

static void
print_rule(const pqe_policy_rule *rule, uint64_t uses)
{
    fputs(rule->artifact != NULL ? "artifact " : "kind ", stdout);
    cli_put_escaped(stdout, subject_name(rule->kind, rule->artifact));
    fputs(": ", stdout);
    if (rule->allowed_count == 0)
        fputs("any caller", stdout);
    for (size_t i = 0; i < rule->allowed_count; i++) {
        fputs(i == 0 ? "only " : ", ", stdout);
        cli_put_escaped(stdout, rule->allowed_bundle_ids[i]);
    }
    if (rule->require_presence)
        fputs("; presence required", stdout);
    if (rule->max_uses_per_hour != 0)
        printf("; %" PRIu64 " of %" PRIu32 " uses within this hour", uses, rule->max_uses_per_hour);
    putchar('\n');
}

static bool
on_rule(void *user, const pqe_policy_rule *rule, uint64_t uses)
{
    listing *l = user;

    l->count++;
    if (l->rules != NULL)
        json_array_append_new(l->rules, rule_to_json(rule, uses));
    else
        print_rule(rule, uses);
    return true;
}

static int
run_show(cli *c)
{
    listing l = {.c = c, .rules = c->json ? json_array() : NULL};
    pqe_error error = {0};
    int code = cli_open(c);

    if (code == 0 && pqe_policy_list(c->vault, on_rule, &l, &error) != PQE_OK)
        code = cli_report(c, "cannot show the policy of", c->vault_dir, &error);
    if (code == 0 && l.count == 0 && !c->json && !c->quiet)
        puts("no rules: everything is allowed");
    return cli_json_listed(c, l.rules, code);
}

const cli_command cli_cmd_policy_show = {
    .name = "policy show", .operands = "", .summary = "show the access rules and their use", .run = run_show};

/* ---- clear ---- */

static int
run_clear(cli *c)
{
    const char *artifact;
    pqe_kind kind;
    pqe_error error = {0};
    int code = parse_subject(c, &kind, &artifact);

    if (code == 0)
        code = cli_open(c);
    if (code != 0)
        return code;
    if (pqe_policy_clear(c->vault, kind, artifact, &error) != PQE_OK)
        return cli_report(c, "cannot clear the rule for", subject_name(kind, artifact), &error);
    if (c->json)
        return cli_json_print(c, json_pack("{s:o}", "cleared", cli_json_text(subject_name(kind, artifact))));
    cli_note(c, "rule cleared for ", subject_name(kind, artifact), "");
    return 0;
}

static const cli_option clear_options[] = {
    {"artifact", 0, CLI_VALUE_TEXT, "NAME", "the rule of this artifact", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_policy_clear = {.name = "policy clear",
                                          .operands = "[KIND]",
                                          .summary = "remove the access rule of a kind or of an artifact",
                                          .options = clear_options,
                                          .max_operands = 1,
                                          .operand_value = CLI_VALUE_KIND,
                                          .run = run_clear};
