/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attestations as bytes and as a struct. Pure codecs: no keys, no I/O, no clock. docs/attestation.md describes every byte.
 * Both readers accept exactly one encoding of each content.
 */
#ifndef PQE_FORMAT_ATTESTATION_H
#define PQE_FORMAT_ATTESTATION_H

#include <pqc_enclave/attest.h>

#include "util/cursor.h"
#include "util/error.h"

/** The public struct with what is behind it. */
typedef struct pqe__attestation {
    pqe_attestation pub;
    pqe_bytes
        to_be_signed; /* version 2: the Sig_structure of RFC 9052, section 4.4, over the bytes as they were read */
    pqe__wcur arena;  /* texts and bytes lie here, texts with a NUL behind */
} pqe__attestation;

/** An empty one whose texts and bytes, NULs included, may take `room` bytes. */
pqe_status pqe__attestation_new(int version, size_t room, pqe__attestation **out, pqe_error *err);
void pqe__attestation_free(pqe__attestation **attestation);
/** Copies into the arena; its cursor fails where there is no room. */
pqe_text pqe__keep_text(pqe__attestation *a, const char *text, size_t len);
pqe_bytes pqe__keep_bytes(pqe__attestation *a, const void *data, size_t len);
pqe_text pqe__keep_hex(pqe__attestation *a, const uint8_t *data, size_t len);
/** From lower-case hex; false, with the arena untouched, if it is something else. */
bool pqe__keep_unhex(pqe__attestation *a, pqe_text hex, pqe_bytes *out);
/** Strict UTF-8 (RFC 3629), where NUL is a character like any other. */
bool pqe__text_valid(pqe_text text);
/** Makes version 1's bytes for an alleged text: quotes, and what Python's json escapes. */
void pqe__put_json_string(pqe__wcur *c, pqe_text text);
/** Bytes that suffice for any text of `len` bytes in JSON. */
#define PQE__JSON_ROOM(len) (6 * (len) + 2)

/* ---- version 1 ---- */

/** The six signed texts, in the order of their names. */
#define PQE__V1_SIGNED 6u
/** Writes the canonical bytes; they must be in the struct's first six fields and valid. */
void pqe__v1_put_canonical(pqe__wcur *c, const pqe_attestation *a);
size_t pqe__v1_canonical_room(const pqe_attestation *a);
void pqe__v1_put_json(pqe__wcur *c, const pqe_attestation *a);
size_t pqe__v1_json_room(const pqe_attestation *a);
/** Reads the JSON object. PQE_E_MALFORMED. */
pqe_status pqe__v1_read(const uint8_t *data, size_t len, pqe__attestation **out, pqe_error *err);

/* ---- version 2 ---- */

/** Tag 18, COSE_Sign1 (RFC 9052, table 1), in its shortest form, as a byte: libcbor 0.8 does not read it. No JSON begins
 *  with it. */
#define PQE__COSE_SIGN1 0xd2u

/** Fills to_be_signed from the claims; algorithm, DID and public key must be set. PQE_E_LIMIT if it gets too long. */
pqe_status pqe__eat_prepare(pqe__attestation *a, pqe_error *err);
/** Bytes that suffice for the COSE form, and so for to_be_signed. */
size_t pqe__eat_room(const pqe_attestation *a);
void pqe__eat_put(pqe__wcur *c, const pqe_attestation *a);
/** Reads the COSE form. PQE_E_MALFORMED. */
pqe_status pqe__eat_read(const uint8_t *data, size_t len, pqe__attestation **out, pqe_error *err);
/** The view of version 2 in JSON: not signed, never read back. */
void pqe__eat_put_json(pqe__wcur *c, const pqe_attestation *a);
size_t pqe__eat_json_room(const pqe_attestation *a);

/* ---- evidence ---- */

/** Bytes that suffice for what the nonce of evidence is the hash of. */
size_t pqe__evidence_room(const pqe_attestation *a);
/** Writes them (docs/attestation.md, section 6), from the signer's DID, challenge, artifact id, content hash with its
 *  algorithm, and time of issue. Fails where one of them has no such form. */
void pqe__evidence_put_bound(pqe__wcur *c, const pqe_attestation *a);

#endif
