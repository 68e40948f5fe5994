/* SPDX-License-Identifier: Apache-2.0 */
/* `put --batch`: one JSON object a line, added to one batch as they come. */
#include "batch.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "json.h"
#include "lines.h"
#include "process.h"
#include "report.h"
#include "session.h"

typedef struct reader {
    cli *c;
    cli_lines lines;
    pqe_batch *batch;
} reader;

static int
fail_line(const reader *r, pqe_status status, const char *why)
{
    return cli_lines_fail(&r->lines, status, why);
}

/* ---- one artifact ---- */

typedef struct description {
    const char *kind, *content, *content_base64, *file;
    json_t *tags;
    pqe_put_opts opts;
    const char *tag_list[PQE_TAGS_MAX];
} description;

static int
read_tags(const reader *r, description *d)
{
    if (d->tags == NULL)
        return 0;
    if (json_array_size(d->tags) > PQE_TAGS_MAX)
        return fail_line(r, PQE_E_LIMIT, "there are more than 64 tags");
    for (size_t i = 0; i < json_array_size(d->tags); i++) {
        d->tag_list[i] = json_string_value(json_array_get(d->tags, i));
        if (d->tag_list[i] == NULL)
            return fail_line(r, PQE_E_ARGUMENT, "a tag is not a string");
    }
    d->opts.tags = d->tag_list;
    d->opts.tag_count = json_array_size(d->tags);
    return 0;
}

/* A misspelt field shall not be passed over. Its name is not repeated: it may be a content gone astray. */
static bool
knows_all(json_t *object)
{
    static const char known[] = " name kind version app model_did description tags hash content content_base64 file ";
    const char *key, *at;
    json_t *value;

    json_object_foreach(object, key, value)
    {
        size_t len = strlen(key);
        if (len == 0 || strchr(key, ' ') != NULL || (at = strstr(known, key)) == NULL)
            return false;
        while (at != NULL && (at[-1] != ' ' || at[len] != ' '))
            at = strstr(at + 1, key);
        if (at == NULL)
            return false;
    }
    return true;
}

static int
describe(const reader *r, json_t *object, description *d)
{
    json_error_t error;
    int contents;

    *d = (description){.opts.size = sizeof d->opts};
    if (!knows_all(object))
        return fail_line(r, PQE_E_ARGUMENT, "it has a field that is none of those of a batch");
    if (json_unpack_ex(object, &error, 0, "{s:s, s:s, s?s, s?s, s?s, s?s, s?o, s?s, s?s, s?s, s?s}", "name",
                       &d->opts.name, "kind", &d->kind, "version", &d->opts.version, "app", &d->opts.app_bundle_id,
                       "model_did", &d->opts.model_did, "description", &d->opts.description, "tags", &d->tags, "hash",
                       &d->opts.hash, "content", &d->content, "content_base64", &d->content_base64, "file",
                       &d->file) != 0)
        return fail_line(r, PQE_E_ARGUMENT, error.text);
    if (d->tags != NULL && !json_is_array(d->tags))
        return fail_line(r, PQE_E_ARGUMENT, "\"tags\" is not an array of strings");
    contents = (d->content != NULL) + (d->content_base64 != NULL) + (d->file != NULL);
    if (contents != 1)
        return fail_line(r, PQE_E_ARGUMENT, "it needs exactly one of \"content\", \"content_base64\" and \"file\"");
    if (!pqe_kind_from_name(d->kind, &d->opts.kind))
        return fail_line(r, PQE_E_ARGUMENT, "the kind is unknown");
    return read_tags(r, d);
}

/* RFC 4648, section 4, with padding and nothing else. Writes over the start of the text; false if it is not base64. */
static bool
decode_base64(char *text, size_t *len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = strlen(text), pad = 0, out = 0;
    uint32_t group = 0;

    if (n % 4 != 0)
        return false;
    while (pad < 2 && pad < n && text[n - 1 - pad] == '=')
        pad++;
    for (size_t i = 0; i < n; i++) {
        const char *digit = i >= n - pad ? digits : text[i] != '\0' ? strchr(digits, text[i]) : NULL;
        if (digit == NULL)
            return false;
        group = group << 6 | (uint32_t)(digit - digits);
        if (i % 4 != 3)
            continue;
        text[out++] = (char)(group >> 16);
        text[out++] = (char)(group >> 8);
        text[out++] = (char)group;
        /* Bits that no byte takes must be zero: one content has one form. */
        if (i == n - 1 && (group & ((1u << (8 * pad)) - 1)) != 0)
            return false;
        group = 0;
    }
    *len = out - pad;
    return true;
}

static int
add_file(reader *r, const description *d)
{
    pqe_writer *writer = NULL;
    pqe_error error = {0};
    cli_input in;
    int code;

    if (strcmp(d->file, "-") == 0)
        return fail_line(r, PQE_E_ARGUMENT, "\"file\" names no file");
    code = cli_input_open(r->c, d->file, &in);
    if (code == 0 && pqe_writer_open(r->c->vault, &d->opts, &writer, &error) != PQE_OK)
        code = fail_line(r, error.status, error.message);
    if (code == 0)
        code = cli_input_copy(r->c, d->opts.name, &in, writer, NULL);
    if (code == 0 && pqe_batch_add(r->batch, &writer, &error) != PQE_OK)
        code = fail_line(r, error.status, error.message);
    pqe_writer_abort(&writer);
    cli_input_close(&in);
    return code;
}

static int
add(reader *r, const description *d)
{
    pqe_error error = {0};
    const char *content = d->content;
    size_t len = content != NULL ? strlen(content) : 0;

    if (d->file != NULL)
        return add_file(r, d);
    if (d->content_base64 != NULL) {
        content = d->content_base64;
        if (!decode_base64((char *)d->content_base64, &len)) /* jansson's own memory, which nobody reads again */
            return fail_line(r, PQE_E_ARGUMENT, "\"content_base64\" is not base64 (RFC 4648, with padding)");
    }
    if (pqe_batch_put(r->batch, &d->opts, content, len, &error) != PQE_OK)
        return fail_line(r, error.status, error.message);
    return 0;
}

static int
add_line(reader *r, const char *line, size_t len)
{
    json_error_t error;
    description d;
    json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
    int code;

    if (object == NULL) /* jansson's own text repeats what it stumbled over, which may be secret */
        return fail_line(r, PQE_E_ARGUMENT,
                         json_error_code(&error) == json_error_duplicate_key ? "a field comes twice"
                                                                             : "it is not a JSON object");
    if (json_is_object(object)) {
        code = describe(r, object, &d);
        if (code == 0)
            code = add(r, &d);
    } else {
        code = fail_line(r, PQE_E_ARGUMENT, "it is not a JSON object");
    }
    json_decref(object);
    return code;
}

/* ---- all ---- */

static int
add_all(reader *r)
{
    const char *line = NULL;
    size_t len = 0;
    int code;

    do {
        code = cli_lines_next(&r->lines, &line, &len);
        if (code == 0 && line != NULL)
            code = add_line(r, line, len);
    } while (code == 0 && line != NULL);
    return code;
}

static int
commit(reader *r)
{
    pqe_error error = {0};
    uint64_t stored = 0;
    char text[64];

    if (pqe_batch_commit(&r->batch, &stored, &error) != PQE_OK)
        return cli_report(r->c, "cannot store batch", r->lines.in.name, &error);
    if (r->c->json)
        return cli_json_print(r->c, json_pack("{s:I}", "stored", (json_int_t)stored));
    snprintf(text, sizeof text, "stored %" PRIu64 " artifact%s of ", stored, stored == 1 ? "" : "s");
    cli_note(r->c, text, r->lines.in.name, "");
    return 0;
}

int
cli_put_batch(cli *c, const char *path)
{
    reader r = {.c = c};
    pqe_error error = {0};
    int code = cli_lines_open(c, path, "nothing was stored", &r.lines);

    if (code == 0)
        code = cli_open(c);
    if (code == 0 && pqe_batch_open(c->vault, &r.batch, &error) != PQE_OK)
        code = cli_report(c, "cannot store batch", r.lines.in.name, &error);
    if (code == 0) {
        cli_catch_signals();
        cli_progress_start(c, &r.lines.progress, "encrypting", r.lines.in.size == UINT64_MAX ? 0 : r.lines.in.size);
        code = add_all(&r);
        cli_progress_end(&r.lines.progress);
    }
    if (code == 0)
        code = commit(&r);
    pqe_batch_abort(&r.batch);
    cli_lines_close(&r.lines);
    return code;
}
