/* SPDX-License-Identifier: Apache-2.0 */
/* The list of recovery keys. */
#include <string.h>

#include "format/format.h"
#include "util/text.h"

#define LIST_VERSION 1u

void
pqe__recovery_list_encode(const pqe__recovery_list *list, pqe__wcur *out)
{
    pqe__put_u16(out, LIST_VERSION);
    pqe__put_u8(out, (uint8_t)list->count);
    for (size_t i = 0; i < list->count; i++) {
        const pqe__recovery_entry *e = &list->keys[i];
        size_t len = strlen(e->name);
        pqe__put_u8(out, e->slot);
        pqe__put_bytes(out, e->key_id, sizeof e->key_id);
        pqe__put_suite(out, e->suite);
        pqe__put_u64(out, e->created_at);
        pqe__put_bytes(out, e->authority, sizeof e->authority);
        pqe__put_u16(out, (uint16_t)len);
        pqe__put_bytes(out, e->name, len);
        pqe__put_bytes(out, e->ek, sizeof e->ek);
    }
}

static bool
get_entry(pqe__rcur *c, pqe__recovery_entry *e)
{
    const uint8_t *name;
    size_t len;

    e->slot = pqe__get_u8(c);
    pqe__get_copy(c, e->key_id, sizeof e->key_id);
    e->suite = pqe__get_suite(c);
    e->created_at = pqe__get_u64(c);
    pqe__get_copy(c, e->authority, sizeof e->authority);
    len = pqe__get_u16(c);
    name = pqe__get_bytes(c, len);
    if (name == NULL || len > PQE_RECOVERY_NAME_MAX || !pqe__utf8_valid((const char *)name, len))
        return false;
    memcpy(e->name, name, len);
    e->name[len] = '\0';
    pqe__get_copy(c, e->ek, sizeof e->ek);
    return c->ok && e->slot < PQE_RECOVERY_KEYS_MAX;
}

pqe_status
pqe__recovery_list_decode(const uint8_t *bytes, size_t len, pqe__recovery_list *out, pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(bytes, len);
    uint16_t version = pqe__get_u16(&c);
    size_t count = pqe__get_u8(&c);
    bool ok = count >= 1 && count <= PQE_RECOVERY_KEYS_MAX;

    out->count = 0;
    if (c.ok && version != LIST_VERSION)
        return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_FORMAT, version, "the list of recovery keys has version %u",
                         version);
    for (size_t i = 0; i < count && ok; i++) {
        ok = get_entry(&c, &out->keys[i]) && (i == 0 || out->keys[i].slot > out->keys[i - 1].slot);
        if (ok && pqe__suite_name(out->keys[i].suite) == NULL)
            return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_FORMAT, out->keys[i].suite.kem,
                             "a recovery key is of a suite that this version does not allow");
    }
    if (!ok || !pqe__rcur_done(&c))
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "the list of recovery keys is damaged");
    out->count = count;
    return PQE_OK;
}
