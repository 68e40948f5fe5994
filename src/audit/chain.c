/* SPDX-License-Identifier: Apache-2.0 */
/* The chain over the entries, and the tail that says where it ends. */
#include "audit/audit.h"

#include <string.h>

#include "crypto/crypto.h"
#include "util/secmem.h"

#define TAIL_VERSION 1u
enum { DIGEST_ENTRY = 0x20, DIGEST_START = 0x21 }; /* first byte: keeps digests of one meaning apart from others */

pqe_status
pqe__chain_start(const uint8_t vault_id[PQE__ID_SIZE], uint32_t chain, uint64_t before_seq,
                 const uint8_t before_link[PQE__DIGEST_SIZE], uint8_t out[PQE__DIGEST_SIZE], pqe_error *err)
{
    uint8_t bytes[1 + PQE__ID_SIZE + 4 + 8 + PQE__DIGEST_SIZE];
    pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes);

    pqe__put_u8(&c, DIGEST_START);
    pqe__put_bytes(&c, vault_id, PQE__ID_SIZE);
    pqe__put_u32(&c, chain);
    pqe__put_u64(&c, before_seq);
    pqe__put_bytes(&c, before_link, PQE__DIGEST_SIZE);
    return pqe__hash_once(PQE__SHA256, bytes, c.pos, out, err);
}

pqe_status
pqe__chain_extend(uint64_t seq, const uint8_t *body, size_t len, uint8_t link[PQE__DIGEST_SIZE], pqe_error *err)
{
    uint8_t bytes[1 + 8 + PQE__DIGEST_SIZE + 4 + PQE__AUDIT_BODY_MAX];
    pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes);
    pqe_status status;

    pqe__put_u8(&c, DIGEST_ENTRY);
    pqe__put_u64(&c, seq);
    pqe__put_bytes(&c, link, PQE__DIGEST_SIZE);
    pqe__put_u32(&c, (uint32_t)len);
    pqe__put_bytes(&c, body, len);
    if (!c.ok)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_FORMAT, 0, "an entry of the audit log is too long");
    status = pqe__hash_once(PQE__SHA256, bytes, c.pos, link, err);
    pqe__wipe(bytes, c.pos); /* names are kept as secret as contents */
    return status;
}

void
pqe__tail_encode(const pqe__tail *t, uint8_t out[PQE__TAIL_SIZE])
{
    pqe__wcur c = pqe__wcur_init(out, PQE__TAIL_SIZE);

    pqe__put_u16(&c, TAIL_VERSION);
    pqe__put_u32(&c, t->chain);
    pqe__put_u64(&c, t->before_seq);
    pqe__put_bytes(&c, t->before_link, PQE__DIGEST_SIZE);
    pqe__put_u64(&c, t->base_seq);
    pqe__put_bytes(&c, t->base_link, PQE__DIGEST_SIZE);
    pqe__put_u64(&c, t->seq);
    pqe__put_bytes(&c, t->link, PQE__DIGEST_SIZE);
    pqe__put_u64(&c, t->bytes);
    pqe__put_bytes(&c, t->uses, PQE__DIGEST_SIZE);
    pqe__put_bytes(&c, t->spool, PQE__ID_SIZE);
    pqe__put_bytes(&c, t->old_spool, PQE__ID_SIZE);
}

pqe_status
pqe__tail_decode(const uint8_t *bytes, size_t len, pqe__tail *out, pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(bytes, len);
    uint16_t version = pqe__get_u16(&c);

    memset(out, 0, sizeof *out);
    out->chain = pqe__get_u32(&c);
    out->before_seq = pqe__get_u64(&c);
    pqe__get_copy(&c, out->before_link, PQE__DIGEST_SIZE);
    out->base_seq = pqe__get_u64(&c);
    pqe__get_copy(&c, out->base_link, PQE__DIGEST_SIZE);
    out->seq = pqe__get_u64(&c);
    pqe__get_copy(&c, out->link, PQE__DIGEST_SIZE);
    out->bytes = pqe__get_u64(&c);
    pqe__get_copy(&c, out->uses, PQE__DIGEST_SIZE);
    pqe__get_copy(&c, out->spool, PQE__ID_SIZE);
    pqe__get_copy(&c, out->old_spool, PQE__ID_SIZE);
    if (!pqe__rcur_done(&c) || version != TAIL_VERSION || out->chain == 0 || out->before_seq > out->base_seq ||
        out->base_seq > out->seq)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "the end of the audit log is damaged");
    return PQE_OK;
}
