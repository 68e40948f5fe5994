/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata as the caller sees it: one allocation, wiped when freed. */
#include "vault/internal.h"

#include <stdlib.h>
#include <string.h>

/* The allocation: size, artifact, tag pointers, strings. */
typedef struct block {
    size_t size;
    pqe_artifact artifact;
    const char *tags[PQE_TAGS_MAX];
    char strings[];
} block;

static const char *
copy_text(char **at, pqe__text text)
{
    char *start = *at;

    memcpy(start, text.data, text.len);
    start[text.len] = '\0';
    *at += text.len + 1;
    return start;
}

void
pqe__id_text(const uint8_t id[PQE__ID_SIZE], char out[PQE_ARTIFACT_ID_SIZE])
{
    memcpy(out, PQE__ARTIFACT_ID_PREFIX, sizeof PQE__ARTIFACT_ID_PREFIX);
    pqe__hex_encode(id, PQE__ID_SIZE, out + sizeof PQE__ARTIFACT_ID_PREFIX - 1);
}

pqe_status
pqe__artifact_new(const pqe__found *found, pqe_artifact **out, pqe_error *err)
{
    const pqe__record *r = &found->record;
    /* Every string of the record ends where the next one's two length bytes begin: NULs fit in its length. */
    size_t size = sizeof(block) + found->plain_len;
    block *b = calloc(1, size);
    pqe_artifact *a;
    char *at;

    *out = NULL;
    if (b == NULL)
        return pqe__fail_nomem(err);
    b->size = size;
    a = &b->artifact;
    at = b->strings;
    pqe__id_text(r->artifact_id, a->artifact_id);
    a->name = copy_text(&at, r->name);
    a->kind = r->kind;
    a->version = copy_text(&at, r->version);
    a->app_bundle_id = copy_text(&at, r->app_bundle_id);
    a->size_bytes = r->size_bytes;
    pqe__time_format((int64_t)r->created_at, a->created_at);
    a->device_id = copy_text(&at, r->device_id);
    a->model_did = copy_text(&at, r->model_did);
    a->description = copy_text(&at, r->description);
    for (size_t i = 0; i < r->tag_count; i++)
        b->tags[i] = copy_text(&at, r->tags[i]);
    a->tags = b->tags;
    a->tag_count = r->tag_count;
    memcpy(a->hash_algorithm, pqe__hash_name(r->hash_algorithm), strlen(pqe__hash_name(r->hash_algorithm)) + 1);
    if (r->hash_algorithm != PQE__RECORD_HASH_DEFERRED)
        pqe__hex_encode(r->content_hash, sizeof r->content_hash, a->content_hash);
    pqe__hex_encode(r->key_id, PQE__ID_SIZE, a->key_id);
    memcpy(a->suite, pqe__suite_name(r->suite), strlen(pqe__suite_name(r->suite)) + 1);
    a->stored_bytes = r->stored_bytes;
    a->is_inline = found->row.is_inline;
    *out = a;
    return PQE_OK;
}

void
pqe_artifact_free(pqe_artifact **artifact)
{
    block *b;

    if (artifact == NULL || *artifact == NULL)
        return;
    b = (block *)(void *)((char *)*artifact - offsetof(block, artifact));
    pqe__wipe(b, b->size);
    free(b);
    *artifact = NULL;
}
