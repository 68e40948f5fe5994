/* SPDX-License-Identifier: Apache-2.0 */
/* Deterministic CBOR over the bounded cursors. */
#include "format/cbor.h"

#include <cbor.h>

/* ---- writing ---- */

#define HEAD_MAX 9u /* bytes of the longest head: one of type and eight of value */

static void
put_head(pqe__wcur *c, const unsigned char *head, size_t len)
{
    if (len == 0)
        c->ok = false;
    pqe__put_bytes(c, head, len);
}

void
pqe__cbor_put_int(pqe__wcur *c, int64_t value)
{
    unsigned char head[HEAD_MAX];

    put_head(c, head,
             value >= 0 ? cbor_encode_uint((uint64_t)value, head, sizeof head)
                        : cbor_encode_negint((uint64_t)(-1 - value), head, sizeof head));
}

void
pqe__cbor_put_bytes_head(pqe__wcur *c, size_t len)
{
    unsigned char head[HEAD_MAX];

    put_head(c, head, cbor_encode_bytestring_start(len, head, sizeof head));
}

void
pqe__cbor_put_bytes(pqe__wcur *c, const void *data, size_t len)
{
    pqe__cbor_put_bytes_head(c, len);
    pqe__put_bytes(c, data, len);
}

void
pqe__cbor_put_text(pqe__wcur *c, const char *text, size_t len)
{
    unsigned char head[HEAD_MAX];

    put_head(c, head, cbor_encode_string_start(len, head, sizeof head));
    pqe__put_bytes(c, text, len);
}

void
pqe__cbor_put_array(pqe__wcur *c, size_t count)
{
    unsigned char head[HEAD_MAX];

    put_head(c, head, cbor_encode_array_start(count, head, sizeof head));
}

void
pqe__cbor_put_map(pqe__wcur *c, size_t pairs)
{
    unsigned char head[HEAD_MAX];

    put_head(c, head, cbor_encode_map_start(pairs, head, sizeof head));
}

/* ---- reading ---- */

typedef enum { ITEM_NONE, ITEM_UINT, ITEM_NEGINT, ITEM_BYTES, ITEM_TEXT, ITEM_ARRAY, ITEM_MAP } item_type;

typedef struct item {
    item_type type;
    uint64_t value; /* or a length */
    const uint8_t *data;
} item;

static void
on_uint8(void *context, uint8_t value)
{
    *(item *)context = (item){ITEM_UINT, value, NULL};
}

static void
on_uint16(void *context, uint16_t value)
{
    *(item *)context = (item){ITEM_UINT, value, NULL};
}

static void
on_uint32(void *context, uint32_t value)
{
    *(item *)context = (item){ITEM_UINT, value, NULL};
}

static void
on_uint64(void *context, uint64_t value)
{
    *(item *)context = (item){ITEM_UINT, value, NULL};
}

static void
on_negint8(void *context, uint8_t value)
{
    *(item *)context = (item){ITEM_NEGINT, value, NULL};
}

static void
on_negint16(void *context, uint16_t value)
{
    *(item *)context = (item){ITEM_NEGINT, value, NULL};
}

static void
on_negint32(void *context, uint32_t value)
{
    *(item *)context = (item){ITEM_NEGINT, value, NULL};
}

static void
on_negint64(void *context, uint64_t value)
{
    *(item *)context = (item){ITEM_NEGINT, value, NULL};
}

static void
on_bytes(void *context, cbor_data data, size_t len)
{
    *(item *)context = (item){ITEM_BYTES, len, data};
}

static void
on_text(void *context, cbor_data data, size_t len)
{
    *(item *)context = (item){ITEM_TEXT, len, data};
}

static void
on_array(void *context, size_t count)
{
    *(item *)context = (item){ITEM_ARRAY, count, NULL};
}

static void
on_map(void *context, size_t pairs)
{
    *(item *)context = (item){ITEM_MAP, pairs, NULL};
}

/* What is not among these (indefinite lengths, tags, floats, simple values) leaves the item as it was: none. */
static item
peek(const pqe__rcur *c, size_t *size)
{
    struct cbor_callbacks callbacks = cbor_empty_callbacks;
    struct cbor_decoder_result result;
    item found = {ITEM_NONE, 0, NULL};

    *size = 0;
    if (!c->ok || c->pos == c->len)
        return found;
    callbacks.uint8 = on_uint8;
    callbacks.uint16 = on_uint16;
    callbacks.uint32 = on_uint32;
    callbacks.uint64 = on_uint64;
    callbacks.negint8 = on_negint8;
    callbacks.negint16 = on_negint16;
    callbacks.negint32 = on_negint32;
    callbacks.negint64 = on_negint64;
    callbacks.byte_string = on_bytes;
    callbacks.string = on_text;
    callbacks.array_start = on_array;
    callbacks.map_start = on_map;
    result = cbor_stream_decode(c->data + c->pos, c->len - c->pos, &callbacks, &found);
    if (result.status != CBOR_DECODER_FINISHED)
        found.type = ITEM_NONE;
    *size = result.read;
    return found;
}

static item
take(pqe__rcur *c, item_type wanted, item_type or)
{
    size_t size;
    item found = peek(c, &size);

    if (found.type == ITEM_NONE || (found.type != wanted && found.type != or)) {
        c->ok = false;
        return (item){ITEM_NONE, 0, NULL};
    }
    pqe__get_bytes(c, size);
    return found;
}

static bool
to_int(item found, int64_t *value)
{
    if ((found.type != ITEM_UINT && found.type != ITEM_NEGINT) || found.value > INT64_MAX)
        return false;
    *value = found.type == ITEM_UINT ? (int64_t)found.value : -1 - (int64_t)found.value;
    return true;
}

int64_t
pqe__cbor_get_int(pqe__rcur *c)
{
    int64_t value = 0;

    if (!to_int(take(c, ITEM_UINT, ITEM_NEGINT), &value))
        c->ok = false;
    return value;
}

const uint8_t *
pqe__cbor_get_bytes(pqe__rcur *c, size_t *len)
{
    item found = take(c, ITEM_BYTES, ITEM_BYTES);

    *len = (size_t)found.value;
    return found.data;
}

const char *
pqe__cbor_get_text(pqe__rcur *c, size_t *len)
{
    item found = take(c, ITEM_TEXT, ITEM_TEXT);

    *len = (size_t)found.value;
    return (const char *)found.data;
}

size_t
pqe__cbor_get_array(pqe__rcur *c)
{
    return (size_t)take(c, ITEM_ARRAY, ITEM_ARRAY).value;
}

size_t
pqe__cbor_get_map(pqe__rcur *c)
{
    return (size_t)take(c, ITEM_MAP, ITEM_MAP).value;
}

void
pqe__cbor_expect(pqe__rcur *c, int64_t value)
{
    if (pqe__cbor_get_int(c) != value)
        c->ok = false;
}

bool
pqe__cbor_next_is(const pqe__rcur *c, int64_t value)
{
    size_t size;
    int64_t found;

    return to_int(peek(c, &size), &found) && found == value;
}
