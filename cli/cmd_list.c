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

/* Sorting is by name, so all else can be text already when it is collected: one allocation an artifact. */
typedef struct entry {
    char *line; /* without newline; the name follows its NUL */
    const char *name;
} entry;

typedef struct listing {
    const char *tag, *app;
    pqe_kind kind; /* 0: any */
    bool json, out_of_memory;
    FILE *scratch; /* where a line is put together: `text`, `text_len` after a flush */
    char *text;
    size_t text_len;
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

static void
put_row(FILE *out, const pqe_artifact *a)
{
    const char *kind = pqe_kind_name(a->kind);
    char size[16];

    cli_format_size(a->size_bytes, size);
    fprintf(out, "%10s  %-18s  %s", size, kind != NULL ? kind : "?", a->created_at);
}

static bool
keep(listing *l, const pqe_artifact *a)
{
    size_t name_size = strlen(a->name) + 1;
    char *line;

    rewind(l->scratch);
    if (l->json)
        cli_json_put_artifact(l->scratch, a);
    else
        put_row(l->scratch, a);
    fputc('\0', l->scratch);
    if (fflush(l->scratch) != 0 || (line = malloc(l->text_len + name_size)) == NULL)
        return false;
    memcpy(line, l->text, l->text_len);
    memcpy(line + l->text_len, a->name, name_size);
    l->entries[l->count].line = line;
    l->entries[l->count].name = line + l->text_len;
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
list(cli *c, listing *l)
{
    pqe_error error = {0};
    pqe_status status;

    l->scratch = open_memstream(&l->text, &l->text_len);
    if (l->scratch == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot list", c->vault_dir, NULL);
    status = pqe_list(c->vault, collect, l, &error);
    if (l->out_of_memory)
        return cli_fail_errno(c, ENOMEM, "cannot list", c->vault_dir, NULL);
    if (l->count > 0)
        qsort(l->entries, l->count, sizeof *l->entries, by_name);
    if (status == PQE_OK || l->count > 0) /* what is sound is shown, whatever happened to the rest */
        print(c, l);
    if (status == PQE_OK)
        return 0;
    fflush(stdout);
    return cli_report(c, l->count > 0 ? "cannot list all of" : "cannot list", c->vault_dir, &error);
}

static int
run(cli *c)
{
    const char *kind = cli_option_value(c, "kind");
    listing l = {.tag = cli_option_value(c, "tag"), .app = cli_option_value(c, "app"), .json = c->json};
    int code = kind != NULL ? cli_parse_kind(c, kind, &l.kind) : 0;

    if (code == 0)
        code = cli_open(c);
    if (code == 0)
        code = list(c, &l);
    if (l.scratch != NULL)
        fclose(l.scratch);
    free(l.text);
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
