/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of bodies: sizes, key derivation, nonces; c2sp.org/chunked-encryption, "Specification". */
#include "body/internal.h"

#include <string.h>

#include "util/cursor.h"
#include "util/secmem.h"

/* Ends with the NUL that separates the label from what follows. */
static const char derivation_label[] = "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM";
static const char context_label[] = "pqc-enclave body v1";

_Static_assert(sizeof(pqe__body_keys) == 76, "HKDF-Expand writes key, base nonce and commitment in one piece");
_Static_assert(sizeof context_label + PQE__BODY_ID_SIZE <= PQE__BODY_CONTEXT_MAX, "our context must fit");

bool
pqe__body_stored_size(uint64_t plain, uint64_t *stored)
{
    *stored = 0;
    if (plain > PQE__BODY_MAX_PLAIN)
        return false;
    *stored = PQE__BODY_HEADER + plain + (plain / PQE__BODY_CHUNK + 1) * PQE__TAG_SIZE;
    return true;
}

bool
pqe__body_plain_size(uint64_t stored, uint64_t *plain)
{
    uint64_t full, last;

    *plain = 0;
    if (stored < PQE__BODY_HEADER)
        return false;
    full = (stored - PQE__BODY_HEADER) / PQE__BODY_CHUNK_STORED;
    last = (stored - PQE__BODY_HEADER) % PQE__BODY_CHUNK_STORED;
    if (last < PQE__TAG_SIZE || full >= PQE__BODY_MAX_CHUNKS)
        return false;
    *plain = full * PQE__BODY_CHUNK + last - PQE__TAG_SIZE;
    return true;
}

pqe_status
pqe__body_derive(const uint8_t dek[32], const uint8_t salt[PQE__BODY_SALT_SIZE], const uint8_t *context,
                 size_t context_len, pqe__body_keys *out, pqe_error *err)
{
    uint8_t info[sizeof derivation_label + PQE__BODY_SALT_SIZE + PQE__BODY_CONTEXT_MAX];
    pqe__wcur c = pqe__wcur_init(info, sizeof info);

    pqe__put_bytes(&c, derivation_label, sizeof derivation_label);
    pqe__put_bytes(&c, salt, PQE__BODY_SALT_SIZE);
    pqe__put_bytes(&c, context, context_len);
    if (!c.ok)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the context of a body is too long");
    return pqe__hkdf_expand(PQE__HKDF_SHA512, dek, PQE__KEY_SIZE, info, c.pos, (uint8_t *)out, sizeof *out, err);
}

size_t
pqe__body_context(const uint8_t body_id[PQE__BODY_ID_SIZE], uint8_t out[PQE__BODY_CONTEXT_MAX])
{
    pqe__wcur c = pqe__wcur_init(out, PQE__BODY_CONTEXT_MAX);

    pqe__put_bytes(&c, context_label, sizeof context_label);
    pqe__put_bytes(&c, body_id, PQE__BODY_ID_SIZE);
    return c.pos;
}

void
pqe__body_nonce(const uint8_t base_nonce[PQE__NONCE_SIZE], uint64_t chunk, uint8_t out[PQE__NONCE_SIZE])
{
    memcpy(out, base_nonce, PQE__NONCE_SIZE);
    for (size_t i = 0; i < sizeof chunk; i++)
        out[PQE__NONCE_SIZE - 1 - i] ^= (uint8_t)(chunk >> (8 * i));
}
