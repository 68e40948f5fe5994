/* SPDX-License-Identifier: Apache-2.0 */
/* The record: one artifact's metadata as it is sealed into the index and authenticated by the wrapped DEK. */
#include "format/format.h"

#include <string.h>

#include "util/text.h"

#define RECORD_VERSION 1u
#define TIME_MAX 253402300799u /* 9999-12-31T23:59:59Z: the last that ISO 8601 writes with four digits of year */

static const struct {
    pqe_kind kind;
    const char *name;
} kinds[] = {
    {PQE_KIND_MODEL_WEIGHTS, "model-weights"},
    {PQE_KIND_LORA_ADAPTER, "lora-adapter"},
    {PQE_KIND_TOKENIZER, "tokenizer"},
    {PQE_KIND_CREDENTIAL, "credential"},
    {PQE_KIND_BIOMETRIC_TEMPLATE, "biometric-template"},
    {PQE_KIND_INFERENCE_CACHE, "inference-cache"},
    {PQE_KIND_SAFETY_MODEL, "safety-model"},
    {PQE_KIND_OTHER, "other"},
};

const char *
pqe_kind_name(pqe_kind kind)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].kind == kind)
            return kinds[i].name;
    return NULL;
}

bool
pqe_kind_from_name(const char *name, pqe_kind *out)
{
    for (size_t i = 0; name != NULL && i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            *out = kinds[i].kind;
            return true;
        }
    }
    return false;
}

static const char *const hash_names[] = {[PQE__RECORD_HASH_SHA3_256] = "sha3-256",
                                         [PQE__RECORD_HASH_PARALLELHASH256] = "parallelhash256",
                                         [PQE__RECORD_HASH_DEFERRED] = "deferred"};

const char *
pqe__hash_name(unsigned algorithm)
{
    return algorithm < sizeof hash_names / sizeof hash_names[0] ? hash_names[algorithm] : NULL;
}

bool
pqe__hash_from_name(const char *name, pqe__hash_algorithm *out)
{
    for (unsigned i = PQE__RECORD_HASH_SHA3_256; pqe__hash_name(i) != NULL; i++) {
        if (strcmp(hash_names[i], name) == 0) {
            *out = (pqe__hash_algorithm)i;
            return true;
        }
    }
    return false;
}

static pqe_status
check_text(pqe__text text, size_t max, const char *what, pqe_error *err)
{
    if (text.len > max)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "%s is longer than %zu bytes", what, max);
    if (!pqe__utf8_valid(text.data, text.len))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "%s is not valid UTF-8", what);
    return PQE_OK;
}

pqe_status
pqe__record_check(const pqe__record *r, pqe_error *err)
{
    const struct {
        pqe__text text;
        size_t max;
        const char *what;
    } fields[] = {
        {r->name, PQE_NAME_MAX, "the name"},
        {r->version, PQE_FIELD_MAX, "the version"},
        {r->app_bundle_id, PQE_FIELD_MAX, "the application bundle id"},
        {r->device_id, PQE__HEAD_DEVICE_ID_MAX, "the device id"},
        {r->model_did, PQE_FIELD_MAX, "the model DID"},
        {r->description, PQE_DESCRIPTION_MAX, "the description"},
    };
    pqe_status status;

    if (r->name.len == 0)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the name is empty");
    if (pqe_kind_name(r->kind) == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, r->kind, "the kind is unknown");
    if (r->tag_count > PQE_TAGS_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "there are more than %d tags", PQE_TAGS_MAX);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if ((status = check_text(fields[i].text, fields[i].max, fields[i].what, err)) != PQE_OK)
            return status;
    for (size_t i = 0; i < r->tag_count; i++)
        if ((status = check_text(r->tags[i], PQE_TAG_MAX, "a tag", err)) != PQE_OK)
            return status;
    return PQE_OK;
}

static void
put_text(pqe__wcur *c, pqe__text text)
{
    pqe__put_u16(c, (uint16_t)text.len);
    pqe__put_bytes(c, text.data, text.len);
}

static pqe__text
get_text(pqe__rcur *c)
{
    pqe__text text;

    text.len = pqe__get_u16(c);
    text.data = (const char *)pqe__get_bytes(c, text.len);
    if (text.data == NULL)
        text = (pqe__text){"", 0};
    return text;
}

void
pqe__record_encode(const pqe__record *r, pqe__wcur *out)
{
    pqe__put_u16(out, RECORD_VERSION);
    pqe__put_suite(out, r->suite);
    pqe__put_bytes(out, r->artifact_id, PQE__ID_SIZE);
    pqe__put_bytes(out, r->key_id, PQE__ID_SIZE);
    pqe__put_bytes(out, r->body_id, PQE__ID_SIZE);
    pqe__put_u64(out, r->size_bytes);
    pqe__put_u64(out, r->stored_bytes);
    pqe__put_u8(out, r->hash_algorithm);
    pqe__put_bytes(out, r->content_hash, sizeof r->content_hash);
    pqe__put_u8(out, (uint8_t)r->kind);
    pqe__put_u64(out, r->created_at);
    put_text(out, r->name);
    put_text(out, r->version);
    put_text(out, r->app_bundle_id);
    put_text(out, r->device_id);
    put_text(out, r->model_did);
    put_text(out, r->description);
    pqe__put_u16(out, (uint16_t)r->tag_count);
    for (size_t i = 0; i < r->tag_count; i++)
        put_text(out, r->tags[i]);
}

pqe_status
pqe__record_decode(const uint8_t *bytes, size_t len, pqe__record *out, pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(bytes, len);
    uint16_t version = pqe__get_u16(&c);

    memset(out, 0, sizeof *out);
    if (c.ok && version != RECORD_VERSION)
        return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_FORMAT, version, "record version %u is unknown", version);
    out->suite = pqe__get_suite(&c);
    pqe__get_copy(&c, out->artifact_id, PQE__ID_SIZE);
    pqe__get_copy(&c, out->key_id, PQE__ID_SIZE);
    pqe__get_copy(&c, out->body_id, PQE__ID_SIZE);
    out->size_bytes = pqe__get_u64(&c);
    out->stored_bytes = pqe__get_u64(&c);
    out->hash_algorithm = pqe__get_u8(&c);
    pqe__get_copy(&c, out->content_hash, sizeof out->content_hash);
    out->kind = (pqe_kind)pqe__get_u8(&c);
    out->created_at = pqe__get_u64(&c);
    out->name = get_text(&c);
    out->version = get_text(&c);
    out->app_bundle_id = get_text(&c);
    out->device_id = get_text(&c);
    out->model_did = get_text(&c);
    out->description = get_text(&c);
    out->tag_count = pqe__get_u16(&c);
    if (out->tag_count > PQE_TAGS_MAX)
        out->tag_count = 0, c.ok = false;
    for (size_t i = 0; i < out->tag_count; i++)
        out->tags[i] = get_text(&c);
    if (!pqe__rcur_done(&c) || out->created_at > TIME_MAX || pqe__record_check(out, NULL) != PQE_OK)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "a record is malformed");
    if (pqe__suite_name(out->suite) == NULL || pqe__hash_name(out->hash_algorithm) == NULL)
        return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_FORMAT, 0, "a record names an algorithm this version refuses");
    return PQE_OK;
}
