/* SPDX-License-Identifier: Apache-2.0 */
/* Bounded big-endian reading and writing. */
#include "util/cursor.h"

#include <string.h>

pqe__rcur
pqe__rcur_init(const void *data, size_t len)
{
    return (pqe__rcur){.data = data, .len = len, .pos = 0, .ok = true};
}

const uint8_t *
pqe__get_bytes(pqe__rcur *c, size_t len)
{
    const uint8_t *p;

    if (!c->ok || len > c->len - c->pos) {
        c->ok = false;
        return NULL;
    }
    p = c->data + c->pos;
    c->pos += len;
    return p;
}

static uint64_t
get_integer(pqe__rcur *c, size_t width)
{
    const uint8_t *p = pqe__get_bytes(c, width);
    uint64_t v = 0;

    for (size_t i = 0; p != NULL && i < width; i++)
        v = v << 8 | p[i];
    return v;
}

uint8_t
pqe__get_u8(pqe__rcur *c)
{
    return (uint8_t)get_integer(c, 1);
}

uint16_t
pqe__get_u16(pqe__rcur *c)
{
    return (uint16_t)get_integer(c, 2);
}

uint32_t
pqe__get_u32(pqe__rcur *c)
{
    return (uint32_t)get_integer(c, 4);
}

uint64_t
pqe__get_u64(pqe__rcur *c)
{
    return get_integer(c, 8);
}

void
pqe__get_copy(pqe__rcur *c, void *out, size_t len)
{
    const uint8_t *p = pqe__get_bytes(c, len);

    if (p != NULL)
        memcpy(out, p, len);
    else
        memset(out, 0, len);
}

size_t
pqe__rcur_left(const pqe__rcur *c)
{
    return c->ok ? c->len - c->pos : 0;
}

bool
pqe__rcur_done(const pqe__rcur *c)
{
    return c->ok && c->pos == c->len;
}

pqe__wcur
pqe__wcur_init(void *data, size_t capacity)
{
    return (pqe__wcur){.data = data, .capacity = capacity, .pos = 0, .ok = true};
}

void
pqe__put_bytes(pqe__wcur *c, const void *data, size_t len)
{
    if (!c->ok || len > c->capacity - c->pos) {
        c->ok = false;
        return;
    }
    if (len != 0)
        memcpy(c->data + c->pos, data, len);
    c->pos += len;
}

static void
put_integer(pqe__wcur *c, uint64_t v, size_t width)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < width; i++)
        bytes[i] = (uint8_t)(v >> (8 * (width - 1 - i)));
    pqe__put_bytes(c, bytes, width);
}

void
pqe__put_u8(pqe__wcur *c, uint8_t v)
{
    put_integer(c, v, 1);
}

void
pqe__put_u16(pqe__wcur *c, uint16_t v)
{
    put_integer(c, v, 2);
}

void
pqe__put_u32(pqe__wcur *c, uint32_t v)
{
    put_integer(c, v, 4);
}

void
pqe__put_u64(pqe__wcur *c, uint64_t v)
{
    put_integer(c, v, 8);
}
