/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of a batch, kept aside until its commit. */
#include "vault/stage.h"

#include <stdlib.h>
#include <string.h>

#include "util/fsio.h"

#define BUFFER_FIRST ((size_t)64 << 10)
#define BUFFER_MAX ((size_t)4 << 20)

/* Never leaves the process: written and read by it alone, in its own layout. Record and body follow. */
typedef struct header {
    uint8_t name_tag[PQE__TAG_KEY_SIZE], id_tag[PQE__TAG_KEY_SIZE], digest[PQE__DIGEST_SIZE];
    uint8_t dek[PQE__WRAPPED_DEK_SIZE], file[PQE__ID_SIZE];
    bool is_inline;
    size_t record_len, body_len, file_index;
} header;

_Static_assert(sizeof(header) + PQE__RECORD_MAX + PQE__INLINE_MAX <= BUFFER_MAX, "the largest row must fit");

void
pqe__stage_init(pqe__stage *stage)
{
    memset(stage, 0, sizeof *stage);
    stage->spill.fd = -1;
}

void
pqe__stage_free(pqe__stage *stage)
{
    free(stage->buffer);
    pqe__close_fd(&stage->spill.fd);
    pqe__stage_init(stage);
}

static pqe_status
flush(pqe__stage *s, pqe_error *err)
{
    pqe_status status = pqe__write_all(s->spill.fd, s->buffer, s->used, "cannot keep a batch", err);

    s->spill_size += s->used;
    s->used = 0;
    return status;
}

/* Makes room for `need` bytes after those in use. */
static pqe_status
make_room(pqe__stage *s, pqe__store *store, size_t need, pqe_error *err)
{
    size_t grown = s->capacity != 0 ? s->capacity : BUFFER_FIRST;
    pqe_status status = PQE_OK;
    uint8_t *bigger;

    while (grown < BUFFER_MAX && grown - s->used < need)
        grown *= 2;
    if (grown - s->used < need) {
        if (!s->spilled)
            status = pqe__body_create_nameless(store, &s->spill, err);
        s->spilled = true;
        return status == PQE_OK ? flush(s, err) : status;
    }
    if (grown == s->capacity)
        return PQE_OK;
    if ((bigger = realloc(s->buffer, grown)) == NULL)
        return pqe__fail_nomem(err);
    s->buffer = bigger;
    s->capacity = grown;
    return PQE_OK;
}

static void
append(pqe__stage *s, const void *data, size_t len)
{
    if (len != 0)
        memcpy(s->buffer + s->used, data, len);
    s->used += len;
}

pqe_status
pqe__stage_add(pqe__stage *stage, pqe__store *store, const pqe__sealed *sealed, size_t file_index, pqe_error *err)
{
    const pqe__row *row = &sealed->row;
    header h;
    pqe_status status;

    memset(&h, 0, sizeof h); /* also what lies between the fields: it may be written to a file */
    memcpy(h.name_tag, sealed->name_tag, sizeof h.name_tag);
    memcpy(h.id_tag, sealed->id_tag, sizeof h.id_tag);
    memcpy(h.digest, row->digest, sizeof h.digest);
    memcpy(h.dek, row->dek, sizeof h.dek);
    memcpy(h.file, row->file, sizeof h.file);
    h.is_inline = row->is_inline;
    h.record_len = row->record_len;
    h.body_len = row->is_inline ? row->body_len : 0;
    h.file_index = file_index;
    if ((status = make_room(stage, store, sizeof h + h.record_len + h.body_len, err)) != PQE_OK)
        return status;
    append(stage, &h, sizeof h);
    append(stage, row->record, h.record_len);
    append(stage, row->body, h.body_len);
    return PQE_OK;
}

pqe_status
pqe__stage_rewind(pqe__stage *stage, pqe_error *err)
{
    pqe_status status = stage->spilled ? flush(stage, err) : PQE_OK;

    stage->at = 0;
    stage->spill_at = 0;
    return status;
}

pqe__stage_place
pqe__stage_tell(const pqe__stage *stage)
{
    uint64_t read = stage->spilled ? stage->spill_at - stage->used : 0; /* the buffer's first byte */

    return (pqe__stage_place){read + stage->at};
}

void
pqe__stage_return(pqe__stage *stage, pqe__stage_place place)
{
    uint64_t first = stage->spilled ? stage->spill_at - stage->used : 0;

    if (place.at >= first && place.at - first <= stage->used) {
        stage->at = (size_t)(place.at - first);
    } else {
        stage->at = stage->used = 0; /* it is read again */
        stage->spill_at = place.at;
    }
}

/* Has at least `need` unread bytes in the buffer, if the file has them. */
static pqe_status
refill(pqe__stage *s, size_t need, pqe_error *err)
{
    size_t left = s->used - s->at, got = 0;
    pqe_status status;

    if (left >= need || !s->spilled)
        return PQE_OK;
    if (left != 0)
        memmove(s->buffer, s->buffer + s->at, left);
    status = pqe__pread_all(s->spill.fd, s->buffer + left, s->capacity - left, s->spill_at, &got, "cannot read a batch",
                            err);
    s->spill_at += got;
    s->at = 0;
    s->used = left + got;
    return status;
}

pqe_status
pqe__stage_next(pqe__stage *stage, const uint8_t key_id[PQE__ID_SIZE], pqe__staged *out, bool *more, pqe_error *err)
{
    header h;
    pqe_status status = refill(stage, sizeof h + PQE__RECORD_MAX + PQE__INLINE_MAX, err);

    memset(out, 0, sizeof *out);
    *more = status == PQE_OK && stage->at < stage->used;
    if (!*more)
        return status;
    if (stage->used - stage->at < sizeof h)
        return pqe__fail(err, PQE_E_IO, PQE_ORIGIN_IO, 0, "a batch's file is shorter than it was");
    memcpy(&h, stage->buffer + stage->at, sizeof h);
    stage->at += sizeof h;
    if (h.record_len > stage->used - stage->at || h.body_len > stage->used - stage->at - h.record_len)
        return pqe__fail(err, PQE_E_IO, PQE_ORIGIN_IO, 0, "a batch's file is not as it was");
    memcpy(out->name_tag, h.name_tag, sizeof h.name_tag);
    memcpy(out->id_tag, h.id_tag, sizeof h.id_tag);
    memcpy(out->row.key_id, key_id, PQE__ID_SIZE);
    memcpy(out->row.digest, h.digest, sizeof h.digest);
    memcpy(out->row.dek, h.dek, sizeof h.dek);
    memcpy(out->row.file, h.file, sizeof h.file);
    out->row.is_inline = h.is_inline;
    out->row.record = stage->buffer + stage->at;
    out->row.record_len = h.record_len;
    out->row.body = out->row.record + h.record_len;
    out->row.body_len = h.body_len;
    out->file_index = h.file_index;
    stage->at += h.record_len + h.body_len;
    return PQE_OK;
}
