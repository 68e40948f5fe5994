/* SPDX-License-Identifier: Apache-2.0 */
/* `get --batch`: for each line that names an artifact a line with all that `put --batch` takes, so that what comes out of
 * one vault can go into another. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "batch.h"
#include "json.h"
#include "lines.h"
#include "process.h"
#include "report.h"
#include "session.h"
#include "util/text.h"

#define NAMES 1024u /* got with one call */

typedef struct getter {
    cli *c;
    cli_lines lines;
    FILE *out;
    size_t count;
    char *names[NAMES];
    uint64_t written;
    int code; /* of what was reported */
} getter;

/* ---- what is written ---- */

/* RFC 4648, section 4. */
static void
put_base64(FILE *out, const uint8_t *data, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t group = (uint32_t)data[i] << 16;
        if (left > 1)
            group |= (uint32_t)data[i + 1] << 8;
        if (left > 2)
            group |= data[i + 2];
        fputc_unlocked(digits[group >> 18], out);
        fputc_unlocked(digits[group >> 12 & 63], out);
        fputc_unlocked(left > 1 ? digits[group >> 6 & 63] : '=', out);
        fputc_unlocked(left > 2 ? digits[group & 63] : '=', out);
    }
}

static void
put_field(FILE *out, const char *name, const char *value)
{
    if (*value == '\0')
        return;
    fprintf(out, ",\"%s\":", name);
    cli_json_put_string(out, value, strlen(value));
}

static void
put_line(FILE *out, const pqe_got *got, bool is_text)
{
    const pqe_artifact *a = got->artifact;
    const char *kind = pqe_kind_name(a->kind);

    fputs("{\"name\":", out);
    cli_json_put_string(out, a->name, strlen(a->name));
    put_field(out, "kind", kind != NULL ? kind : "other");
    put_field(out, "version", a->version);
    put_field(out, "app", a->app_bundle_id);
    put_field(out, "model_did", a->model_did);
    put_field(out, "description", a->description);
    for (size_t i = 0; i < a->tag_count; i++) {
        fputs(i == 0 ? ",\"tags\":[" : ",", out);
        cli_json_put_string(out, a->tags[i], strlen(a->tags[i]));
    }
    fputs(a->tag_count != 0 ? "]" : "", out);
    put_field(out, "hash", a->hash_algorithm);
    if (is_text) {
        fputs(",\"content\":", out);
        cli_json_put_string(out, got->content, got->len);
    } else {
        fputs(",\"content_base64\":\"", out);
        put_base64(out, got->content, got->len);
        fputc('"', out);
    }
    fputs("}\n", out);
}

#define METADATA_MAX ((size_t)256 << 10) /* names, tags and all, each character escaped */

/* Whether `put --batch` would take the line: a control character of a text becomes six. */
static bool
fits(const pqe_got *got, bool is_text)
{
    return got->len <= (is_text ? (CLI_LINE_MAX - METADATA_MAX) / 6 : (CLI_LINE_MAX - METADATA_MAX) / 4 * 3);
}

static bool
take(void *user, const pqe_got *got)
{
    getter *g = user;
    const char *name = g->names[got->index];
    bool is_text = got->status == PQE_OK && pqe__utf8_valid(got->content, got->len);

    if (cli_interrupted() != 0)
        g->code = cli_fail_errno(g->c, EINTR, "cannot get", name, NULL);
    else if (got->status != PQE_OK)
        g->code = cli_report(g->c, "cannot get", name, got->error);
    else if (!fits(got, is_text))
        g->code = cli_fail(g->c, PQE_E_LIMIT, "cannot get", name, "it is too large for a line of a batch",
                           "get it by itself");
    else
        put_line(g->out, got, is_text);
    g->written += g->code == 0;
    return g->code == 0 && !ferror(g->out);
}

/* ---- what is asked for ---- */

static int
read_name(getter *g, const char *line, size_t len)
{
    json_error_t error;
    json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
    const char *name = json_string_value(json_object_get(object, "name"));
    int code = 0;

    if (name == NULL)
        code = cli_lines_fail(&g->lines, PQE_E_ARGUMENT, "it is not a JSON object with a \"name\"");
    else if ((g->names[g->count] = strdup(name)) == NULL)
        code = cli_fail_errno(g->c, ENOMEM, "cannot read", g->lines.in.name, NULL);
    else
        g->count++;
    json_decref(object);
    return code;
}

static int
get_names(getter *g)
{
    pqe_error error = {0};
    pqe_status status = pqe_get_many(g->c->vault, (const char *const *)g->names, g->count, take, g, &error);

    if (g->code == 0 && status != PQE_OK && !ferror(g->out)) /* then the vault is locked: no name was reported */
        g->code = cli_report(g->c, "cannot get batch", g->lines.in.name, &error);
    for (size_t i = 0; i < g->count; i++) {
        explicit_bzero(g->names[i], strlen(g->names[i]));
        free(g->names[i]);
    }
    g->count = 0;
    return g->code;
}

/* The caller looks at errors of `out`. */
static int
get_all(getter *g)
{
    const char *line = NULL;
    size_t len = 0;
    int code;

    do {
        code = cli_lines_next(&g->lines, &line, &len);
        if (code == 0 && line != NULL)
            code = read_name(g, line, len);
        if (g->count == NAMES || line == NULL || code != 0) { /* what stands before a bad line is got, as if alone */
            int got = get_names(g);
            code = got != 0 ? got : code;
        }
    } while (code == 0 && line != NULL && !ferror(g->out));
    return code;
}

int
cli_get_batch(cli *c, const char *path, FILE *out, uint64_t *count)
{
    getter *g = calloc(1, sizeof *g);
    int code;

    *count = 0;
    if (g == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot read", path, NULL);
    g->c = c;
    g->out = out;
    code = cli_lines_open(c, path, NULL, &g->lines);
    if (code == 0)
        code = cli_open(c);
    if (code == 0)
        code = get_all(g);
    *count = g->written;
    cli_lines_close(&g->lines);
    free(g);
    return code;
}
