/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON forms that several commands share. */
#include "json.h"

#include <stdlib.h>

#include "report.h"
#include "text.h"

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

json_t *
cli_json_artifact(const pqe_artifact *a)
{
    const char *kind = pqe_kind_name(a->kind);
    json_t *tags = json_array();

    for (size_t i = 0; tags != NULL && i < a->tag_count; i++) {
        if (json_array_append_new(tags, json_string(a->tags[i])) != 0) {
            json_decref(tags);
            return NULL;
        }
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:s, s:I, s:b}",
                     "artifact_id", a->artifact_id, "name", a->name, "kind", kind != NULL ? kind : "other", "version",
                     a->version, "app_bundle_id", a->app_bundle_id, "size_bytes", (json_int_t)a->size_bytes,
                     "created_at", a->created_at, "device_id", a->device_id, "model_did", a->model_did, "tags", tags,
                     "description", a->description, "hash_algorithm", a->hash_algorithm, "content_hash",
                     a->content_hash, "key_id", a->key_id, "suite", a->suite, "stored_bytes",
                     (json_int_t)a->stored_bytes, "inline", (int)a->is_inline);
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
