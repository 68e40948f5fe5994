/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave list: the artifacts of a vault, sorted by name. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "json.h"
#include "report.h"
#include "session.h"
#include "text.h"

/* What is printed of one artifact: its line after the name's sort key, both in one block. */
typedef struct entry {
    char *line; /* without newline; the name it is sorted by follows its NUL */
    const char *name;
} entry;

typedef struct listing {
    const char *tag, *app;
    pqe_kind kind; /* 0: any */
    bool json, out_of_memory;
    entry *entries;
    size_t count, capacity;
} listing;

static bool
is_wanted(const listing *l, const pqe_artifact *a)
{
    if (l->kind != 0 && a->kind != l->kind)
        return false;
    if (l->app != NULL && strcmp(a->app_bundle_id, l->app) != 0)
        return false;
    for (size_t i = 0; l->tag != NULL; i++) {
        if (i == a->tag_count)
            return false;
        if (strcmp(a->tags[i], l->tag) == 0)
            break;
    }
    return true;
}

/* Sorting is by name, so what else is printed can be text already: one allocation an artifact. */
static char *
format_json(const pqe_artifact *a)
{
    json_t *value = cli_json_artifact(a);
    char *line = value != NULL ? json_dumps(value, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;

    json_decref(value);
    return line;
}

static char *
format_row(const pqe_artifact *a)
{
    const char *kind = pqe_kind_name(a->kind);
    char size[16], *line = NULL;

    cli_format_size(a->size_bytes, size);
    if (asprintf(&line, "%10s  %-18s  %s", size, kind != NULL ? kind : "?", a->created_at) < 0)
        return NULL;
    return line;
}

static bool
keep(listing *l, const pqe_artifact *a)
{
    char *line = l->json ? format_json(a) : format_row(a), *larger;
    size_t len, name_size = strlen(a->name) + 1;

    if (line == NULL)
        return false;
    len = strlen(line);
    larger = realloc(line, len + 1 + name_size);
    if (larger == NULL) {
        free(line);
        return false;
    }
    memcpy(larger + len + 1, a->name, name_size);
    l->entries[l->count].line = larger;
    l->entries[l->count].name = larger + len + 1;
    l->count++;
    return true;
}

static bool
collect(void *user, const pqe_artifact *artifact)
{
    listing *l = user;

    if (!is_wanted(l, artifact))
        return true;
    if (l->count == l->capacity) {
        size_t capacity = l->capacity == 0 ? 256 : 2 * l->capacity;
        entry *entries = reallocarray(l->entries, capacity, sizeof *entries);
        if (entries == NULL) {
            l->out_of_memory = true;
            return false;
        }
        l->entries = entries;
        l->capacity = capacity;
    }
    l->out_of_memory = !keep(l, artifact);
    return !l->out_of_memory;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

static void
print(const cli *c, const listing *l)
{
    if (c->json)
        putchar('[');
    else if (!c->quiet)
        printf("%10s  %-18s  %-20s  %s\n", "SIZE", "KIND", "CREATED", "NAME");
    for (size_t i = 0; i < l->count; i++) {
        if (c->json && i > 0)
            fputs(",\n", stdout);
        fputs(l->entries[i].line, stdout);
        if (c->json)
            continue;
        fputs("  ", stdout);
        cli_put_escaped(stdout, l->entries[i].name);
        putchar('\n');
    }
    if (c->json)
        puts("]");
}

static int
run(cli *c)
{
    const char *kind = cli_option_value(c, "kind");
    listing l = {.tag = cli_option_value(c, "tag"), .app = cli_option_value(c, "app"), .json = c->json};
    pqe_error error = {0};
    int code = kind != NULL ? cli_parse_kind(c, kind, &l.kind) : 0;

    if (code == 0)
        code = cli_open(c);
    if (code != 0)
        return code;
    if (pqe_list(c->vault, collect, &l, &error) != PQE_OK) {
        if (l.out_of_memory)
            code = cli_fail_errno(c, ENOMEM, "cannot list", c->vault_dir, NULL);
        else
            code = cli_report(c, "cannot list", c->vault_dir, &error);
    } else {
        if (l.count > 0)
            qsort(l.entries, l.count, sizeof *l.entries, by_name);
        print(c, &l);
    }
    for (size_t i = 0; i < l.count; i++)
        free(l.entries[i].line);
    free(l.entries);
    return code;
}

static const cli_option options[] = {
    {"kind", 0, CLI_VALUE_KIND, "KIND", "only artifacts of this kind", NULL},
    {"tag", 0, CLI_VALUE_TEXT, "T", "only artifacts with this tag", NULL},
    {"app", 0, CLI_VALUE_TEXT, "BUNDLE", "only artifacts of this application", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_list = {
    .name = "list", .operands = "", .summary = "list artifacts, sorted by name", .options = options, .run = run};
