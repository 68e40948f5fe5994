/* SPDX-License-Identifier: Apache-2.0 */
/* One entry of the audit log. */
#include "audit/audit.h"

#include <string.h>

#include "util/text.h"

#define EVENT_VERSION 1u
enum { FLAG_SUCCESS = 1, FLAG_APPLICATION = 2 };

static const char *const op_names[] = {
    [PQE_AUDIT_UNLOCK] = "unlock",
    [PQE_AUDIT_LOCK] = "lock",
    [PQE_AUDIT_PUT] = "put",
    [PQE_AUDIT_GET] = "get",
    [PQE_AUDIT_DELETE] = "delete",
    [PQE_AUDIT_ATTEST] = "attest",
    [PQE_AUDIT_POLICY_VIOLATION] = "policy_violation",
    [PQE_AUDIT_ROTATE] = "rotate",
    [PQE_AUDIT_POLICY] = "policy",
    [PQE_AUDIT_CLEAR] = "clear",
    [PQE_AUDIT_LOST] = "lost",
    [PQE_AUDIT_IDENTITY_CREATE] = "identity_create",
    [PQE_AUDIT_IDENTITY_IMPORT] = "identity_import",
    [PQE_AUDIT_IDENTITY_DELETE] = "identity_delete",
    [PQE_AUDIT_IDENTITY_EXPORT] = "identity_export",
    [PQE_AUDIT_RECOVERY] = "recovery",
};
#define OPS (sizeof op_names / sizeof op_names[0])

const char *
pqe_audit_op_name(pqe_audit_op op)
{
    return (size_t)op < OPS ? op_names[op] : NULL;
}

bool
pqe_audit_op_from_name(const char *name, pqe_audit_op *out)
{
    for (size_t i = 1; name != NULL && i < OPS; i++) {
        if (strcmp(op_names[i], name) == 0) {
            *out = (pqe_audit_op)i;
            return true;
        }
    }
    return false;
}

/* Cut where a character begins: what was valid UTF-8 stays so. */
static void
put_text(pqe__wcur *c, pqe__text text)
{
    size_t len = text.len;

    if (len > PQE_AUDIT_TEXT_MAX) {
        len = PQE_AUDIT_TEXT_MAX;
        while (len > 0 && ((uint8_t)text.data[len] & 0xc0) == 0x80)
            len--;
    }
    pqe__put_u16(c, (uint16_t)len);
    pqe__put_bytes(c, text.data, len);
}

size_t
pqe__event_encode(const pqe__event *e, uint8_t out[PQE__AUDIT_BODY_MAX])
{
    pqe__wcur c = pqe__wcur_init(out, PQE__AUDIT_BODY_MAX);

    pqe__put_u8(&c, EVENT_VERSION);
    pqe__put_u8(&c, (uint8_t)e->op);
    pqe__put_u8(&c, (uint8_t)((e->success ? FLAG_SUCCESS : 0) | (e->by_application ? FLAG_APPLICATION : 0)));
    pqe__put_u8(&c, (uint8_t)e->kind);
    pqe__put_u64(&c, e->time);
    pqe__put_bytes(&c, e->salt, sizeof e->salt);
    put_text(&c, e->device_id);
    put_text(&c, e->artifact_id);
    put_text(&c, e->name);
    put_text(&c, e->details);
    put_text(&c, e->caller);
    return c.pos;
}

static bool
get_text(pqe__rcur *c, pqe__text *out)
{
    out->len = pqe__get_u16(c);
    out->data = (const char *)pqe__get_bytes(c, out->len);
    return out->data != NULL && out->len <= PQE_AUDIT_TEXT_MAX && pqe__utf8_valid(out->data, out->len);
}

pqe_status
pqe__event_decode(const uint8_t *bytes, size_t len, pqe__event *out, pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(bytes, len);
    uint8_t version = pqe__get_u8(&c), flags;
    bool good;

    memset(out, 0, sizeof *out);
    out->op = (pqe_audit_op)pqe__get_u8(&c);
    flags = pqe__get_u8(&c);
    out->success = (flags & FLAG_SUCCESS) != 0;
    out->by_application = (flags & FLAG_APPLICATION) != 0;
    out->kind = (pqe_kind)pqe__get_u8(&c);
    out->time = pqe__get_u64(&c);
    pqe__get_copy(&c, out->salt, sizeof out->salt);
    good = get_text(&c, &out->device_id) && get_text(&c, &out->artifact_id) && get_text(&c, &out->name) &&
           get_text(&c, &out->details) && get_text(&c, &out->caller) && pqe__rcur_done(&c);
    if (!good || version != EVENT_VERSION || out->op == 0 || pqe_audit_op_name(out->op) == NULL ||
        (flags & ~(FLAG_SUCCESS | FLAG_APPLICATION)) != 0 || (out->kind != 0 && pqe_kind_name(out->kind) == NULL))
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "an entry of the audit log is damaged");
    return PQE_OK;
}
