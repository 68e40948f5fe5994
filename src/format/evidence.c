/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What evidence is bound to. As in COSE's Sig_structure (RFC 9052, section 4.4), a text that says what it is for comes
 * first, and the encoding is deterministic CBOR (RFC 8949, section 4.2.1): each part carries its length, and no two lists
 * of parts have the same bytes.
 */
#include <string.h>

#include "format/attestation.h"
#include "format/cbor.h"
#include "util/text.h"

static const char context[] = "pqc-enclave evidence v1";
static const char did_prefix[] = "did:pqaid:";

#define HASH_SIZE 32u
#define DID_PREFIX_LEN (sizeof did_prefix - 1)

static void
put_unhex(pqe__wcur *c, const char *hex, size_t len)
{
    uint8_t bytes[HASH_SIZE];

    if (len != 2 * sizeof bytes || !pqe__hex_decode_lower(hex, sizeof bytes, bytes)) {
        c->ok = false;
        return;
    }
    pqe__cbor_put_bytes(c, bytes, sizeof bytes);
}

size_t
pqe__evidence_room(const pqe_attestation *a)
{
    return 256 + a->artifact_id.len + a->hash_algorithm.len;
}

void
pqe__evidence_put_bound(pqe__wcur *c, const pqe_attestation *a)
{
    if (a->signer_did.len != DID_PREFIX_LEN + 2 * HASH_SIZE) {
        c->ok = false;
        return;
    }
    pqe__cbor_put_array(c, 7);
    pqe__cbor_put_text(c, context, sizeof context - 1);
    pqe__cbor_put_bytes(c, a->challenge.data, a->challenge.len);
    put_unhex(c, a->signer_did.data + DID_PREFIX_LEN, 2 * (size_t)HASH_SIZE);
    pqe__cbor_put_text(c, a->artifact_id.data, a->artifact_id.len);
    pqe__cbor_put_text(c, a->hash_algorithm.data, a->hash_algorithm.len);
    put_unhex(c, a->artifact_content_hash.data, a->artifact_content_hash.len);
    pqe__cbor_put_int(c, a->issued);
}
