/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON forms that several commands share. */
#include "json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "text.h"
#include "util/text.h"

#define FORM (JSON_COMPACT | JSON_ENSURE_ASCII)

json_t *
cli_json_text(const char *s)
{
    json_t *value;
    char *safe;

    if (s == NULL)
        return json_null();
    if (cli_utf8_valid(s))
        return json_string(s);
    safe = cli_escaped(s);
    value = safe != NULL ? json_string(safe) : NULL;
    free(safe);
    return value;
}

static bool
is_plain(char c)
{
    return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

/* RFC 8259, section 7: beyond the basic plane a character is escaped as two UTF-16 surrogates. */
static void
put_escape(FILE *out, uint32_t code)
{
    if (code == '"' || code == '\\')
        fprintf(out, "\\%c", (int)code);
    else if (code < 0x10000)
        fprintf(out, "\\u%04x", (unsigned)code);
    else
        fprintf(out, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((code - 0x10000) >> 10)),
                (unsigned)(0xdc00 + ((code - 0x10000) & 0x3ff)));
}

void
cli_json_put_string(FILE *out, const char *s, size_t len)
{
    const char *end = s + len;

    fputc_unlocked('"', out);
    while (s < end) {
        size_t n = 0, left = (size_t)(end - s);
        uint32_t code = 0xfffd; /* the replacement character, where the library's promise of UTF-8 did not hold */
        while (n < left && is_plain(s[n]))
            n++;
        fwrite_unlocked(s, 1, n, out);
        s += n;
        if (s == end)
            break;
        n = pqe__utf8_next(s, (size_t)(end - s), &code);
        put_escape(out, code);
        s += n > 0 ? n : 1;
    }
    fputc_unlocked('"', out);
}

static void
put_string(FILE *out, const char *s)
{
    cli_json_put_string(out, s, strlen(s));
}

static void
put_member(FILE *out, const char *name, const char *value)
{
    fprintf(out, ",\"%s\":", name);
    put_string(out, value);
}

void
cli_json_put_artifact(FILE *out, const pqe_artifact *a)
{
    const char *kind = pqe_kind_name(a->kind);

    fputs("{\"artifact_id\":", out);
    put_string(out, a->artifact_id);
    put_member(out, "name", a->name);
    put_member(out, "kind", kind != NULL ? kind : "other");
    put_member(out, "version", a->version);
    put_member(out, "app_bundle_id", a->app_bundle_id);
    fprintf(out, ",\"size_bytes\":%" PRIu64, a->size_bytes);
    put_member(out, "created_at", a->created_at);
    put_member(out, "device_id", a->device_id);
    put_member(out, "model_did", a->model_did);
    fputs(",\"tags\":[", out);
    for (size_t i = 0; i < a->tag_count; i++) {
        if (i > 0)
            fputc(',', out);
        put_string(out, a->tags[i]);
    }
    fputc(']', out);
    put_member(out, "description", a->description);
    put_member(out, "hash_algorithm", a->hash_algorithm);
    put_member(out, "content_hash", a->content_hash);
    put_member(out, "key_id", a->key_id);
    put_member(out, "suite", a->suite);
    fprintf(out, ",\"stored_bytes\":%" PRIu64 ",\"inline\":%s}", a->stored_bytes, a->is_inline ? "true" : "false");
}

int
cli_json_print(cli *c, json_t *value)
{
    int failed = value == NULL || json_dumpf(value, stdout, FORM) != 0;

    json_decref(value);
    if (failed && !ferror(stdout))
        return cli_fail(c, PQE_E_NOMEM, "cannot print JSON", NULL, "out of memory", NULL);
    fputc('\n', stdout);
    return 0;
}

int
cli_json_listed(cli *c, json_t *all, int code)
{
    if (code == 0 && all != NULL)
        return cli_json_print(c, all);
    json_decref(all);
    return code;
}

void
cli_json_error(const char *what, const char *object, const pqe_error *error, const char *why, const char *advice,
               int exit_code)
{
    json_t *value =
        json_pack("{s:{s:i, s:s, s:s, s:I, s:i, s:o, s:o, s:o, s:o}}", "error", "code", (int)error->status, "name",
                  pqe_status_name(error->status), "origin", pqe_origin_name(error->origin), "native",
                  (json_int_t)error->native, "exit", exit_code, "what", cli_json_text(what), "object",
                  cli_json_text(object), "message", cli_json_text(why), "advice", cli_json_text(advice));

    if (value == NULL || json_dumpf(value, stderr, FORM) != 0)
        fputs("{\"error\":{\"code\":-2,\"name\":\"PQE_E_NOMEM\",\"message\":\"out of memory\"}}", stderr);
    fputc('\n', stderr);
    json_decref(value);
}
