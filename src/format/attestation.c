/* SPDX-License-Identifier: Apache-2.0 */
/* The struct of an attestation and the memory behind it. */
#include "format/attestation.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "util/text.h"

pqe_status
pqe__attestation_new(int version, size_t room, pqe__attestation **out, pqe_error *err)
{
    pqe__attestation *a = calloc(1, sizeof *a);
    uint8_t *memory = malloc(room + 1);

    *out = NULL;
    if (a == NULL || memory == NULL) {
        free(a);
        free(memory);
        return pqe__fail_nomem(err);
    }
    a->pub.version = version;
    a->pub.origin = a;
    a->arena = pqe__wcur_init(memory, room);
    *out = a;
    return PQE_OK;
}

void
pqe__attestation_free(pqe__attestation **attestation)
{
    if (*attestation == NULL)
        return;
    free((*attestation)->arena.data);
    free(*attestation);
    *attestation = NULL;
}

void
pqe_attestation_free(pqe_attestation **attestation)
{
    pqe__attestation *a;

    if (attestation == NULL || *attestation == NULL)
        return;
    a = (pqe__attestation *)((char *)*attestation - offsetof(pqe__attestation, pub));
    pqe__attestation_free(&a);
    *attestation = NULL;
}

pqe_bytes
pqe__keep_bytes(pqe__attestation *a, const void *data, size_t len)
{
    const uint8_t *place = a->arena.data + a->arena.pos;

    pqe__put_bytes(&a->arena, data, len);
    return a->arena.ok ? (pqe_bytes){place, len} : (pqe_bytes){NULL, 0};
}

pqe_text
pqe__keep_text(pqe__attestation *a, const char *text, size_t len)
{
    const char *place = (const char *)a->arena.data + a->arena.pos;

    pqe__put_bytes(&a->arena, text, len);
    pqe__put_u8(&a->arena, 0);
    return a->arena.ok ? (pqe_text){place, len} : (pqe_text){NULL, 0};
}

pqe_text
pqe__keep_hex(pqe__attestation *a, const uint8_t *data, size_t len)
{
    char *place = (char *)a->arena.data + a->arena.pos;

    if (!a->arena.ok || len > (a->arena.capacity - a->arena.pos) / 2 || a->arena.capacity - a->arena.pos == 2 * len) {
        a->arena.ok = false;
        return (pqe_text){NULL, 0};
    }
    pqe__hex_encode(data, len, place);
    a->arena.pos += 2 * len + 1;
    return (pqe_text){place, 2 * len};
}

bool
pqe__keep_unhex(pqe__attestation *a, pqe_text hex, pqe_bytes *out)
{
    uint8_t *place = a->arena.data + a->arena.pos;
    size_t len = hex.len / 2;

    *out = (pqe_bytes){NULL, 0};
    if (hex.len % 2 != 0 || !a->arena.ok || len > a->arena.capacity - a->arena.pos ||
        !pqe__hex_decode_lower(hex.data, len, place))
        return false;
    a->arena.pos += len;
    *out = (pqe_bytes){place, len};
    return true;
}

bool
pqe__text_valid(pqe_text text)
{
    const char *p = text.data, *end = p + text.len;

    while (p != end) {
        const char *nul = memchr(p, 0, (size_t)(end - p)), *stop = nul != NULL ? nul : end;
        if (!pqe__utf8_valid(p, (size_t)(stop - p)))
            return false;
        p = nul != NULL ? nul + 1 : end;
    }
    return true;
}
