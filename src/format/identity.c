/* SPDX-License-Identifier: Apache-2.0 */
/* The record of an identity. */
#include <string.h>

#include "format/format.h"
#include "util/text.h"

#define IDENTITY_VERSION 1u

static void
put_sized(pqe__wcur *c, const void *data, size_t len)
{
    if (len > UINT16_MAX)
        c->ok = false;
    pqe__put_u16(c, (uint16_t)len);
    pqe__put_bytes(c, data, len);
}

void
pqe__identity_encode(const pqe__identity *identity, pqe__wcur *out)
{
    pqe__put_u16(out, IDENTITY_VERSION);
    pqe__put_u8(out, (uint8_t)identity->algorithm);
    pqe__put_u8(out, (uint8_t)identity->form);
    pqe__put_u64(out, identity->created_at);
    put_sized(out, identity->name.data, identity->name.len);
    put_sized(out, identity->public_key, identity->public_key_len);
    put_sized(out, identity->sealed, identity->sealed_len);
    put_sized(out, identity->extra, identity->extra_len);
    put_sized(out, identity->copies, identity->copies_len);
}

static const uint8_t *
get_sized(pqe__rcur *c, size_t *len)
{
    *len = pqe__get_u16(c);
    return pqe__get_bytes(c, *len);
}

static bool
is_sound(const pqe__identity *i)
{
    return (i->algorithm == PQE_ML_DSA_65 || i->algorithm == PQE_ML_DSA_87) &&
           i->public_key_len == pqe_sig_public_size(i->algorithm) && i->form >= PQE__IDENTITY_SEED &&
           i->form <= PQE__IDENTITY_NATIVE && (i->extra_len != 0) == (i->form == PQE__IDENTITY_EXPANDED) &&
           i->copies_len % PQE__IDENTITY_COPY_SIZE == 0 && i->copies_len <= PQE__IDENTITY_COPIES_MAX &&
           (i->copies_len == 0 || i->form != PQE__IDENTITY_NATIVE) && i->sealed_len != 0 &&
           i->name.len <= PQE_IDENTITY_NAME_MAX && pqe__utf8_valid(i->name.data, i->name.len);
}

pqe_status
pqe__identity_decode(const uint8_t *bytes, size_t len, pqe__identity *out, pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(bytes, len);
    uint16_t version = pqe__get_u16(&c);

    memset(out, 0, sizeof *out);
    if (c.ok && version != IDENTITY_VERSION)
        return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_FORMAT, version, "an identity's record has version %u",
                         version);
    out->algorithm = (pqe_sig_algorithm)pqe__get_u8(&c);
    out->form = (pqe__identity_form)pqe__get_u8(&c);
    out->created_at = pqe__get_u64(&c);
    out->name.data = (const char *)get_sized(&c, &out->name.len);
    out->public_key = get_sized(&c, &out->public_key_len);
    out->sealed = get_sized(&c, &out->sealed_len);
    out->extra = get_sized(&c, &out->extra_len);
    out->copies = get_sized(&c, &out->copies_len);
    if (!pqe__rcur_done(&c) || !is_sound(out))
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "an identity's record is damaged");
    return PQE_OK;
}
