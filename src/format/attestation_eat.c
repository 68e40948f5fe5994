/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Version 2: an Entity Attestation Token (RFC 9711), which is a CWT (RFC 8392), as COSE_Sign1 (RFC 9052) with ML-DSA
 * (RFC 9964). All headers are protected. The reader takes the one order that deterministic encoding allows, and then
 * compares what it read, written again, with what was given: nothing unknown, doubled or spelt otherwise gets through.
 */
#include "format/attestation.h"

#include <stdlib.h>
#include <string.h>

#include "format/cbor.h"
#include "util/text.h"

enum {
    HEADER_ALG = 1, /* RFC 9052, table 3 */
    HEADER_KID = 4,
    HEADER_KCCS = 14, /* RFC 9528: a claims set that holds the signer's key */
    HEADER_TYP = 16,  /* RFC 9596 */
    CLAIM_ISS = 1,    /* RFC 8392, section 4 */
    CLAIM_EXP = 4,
    CLAIM_IAT = 6,
    CLAIM_CNF = 8,       /* RFC 8747 */
    CLAIM_NONCE = 10,    /* RFC 9711 */
    CLAIM_PROFILE = 265, /* RFC 9711 */
    CNF_COSE_KEY = 1,    /* RFC 8747, section 3.1 */
    KEY_KTY = 1,         /* RFC 9052, section 7.1 */
    KEY_ALG = 3,
    KEY_PUB = -1, /* RFC 9964 */
    KTY_AKP = 7,
    ALG_ML_DSA_65 = -49,
    ALG_ML_DSA_87 = -50,
    /* Ours, from the private range below -65536 (RFC 8392, section 9.1). */
    CLAIM_DEVICE_ID = -70001,
    CLAIM_DEVICE_MODEL = -70002,
    CLAIM_ENCLAVE_VENDOR = -70003,
    CLAIM_ARTIFACT_ID = -70004,
    CLAIM_HASH_ALGORITHM = -70005,
    CLAIM_CONTENT_HASH = -70006,
    CLAIM_KEY_ID = -70007,
    CLAIM_BACKEND = -70008,
    CLAIM_TIER = -70009,
    CLAIM_EVIDENCE = -70010,
};

static const char media_type[] = "application/eat+cwt"; /* RFC 9782 */
static const char profile[] = "urn:pqc-enclave-attestation:2";
static const char sig_context[] = "Signature1"; /* RFC 9052, section 4.4 */
static const char did_prefix[] = "did:pqaid:";

#define HASH_SIZE 32u
#define DID_LEN (sizeof did_prefix - 1 + 2 * HASH_SIZE)

static const struct {
    const char *name;
    int64_t id;
} algorithms[] = {{"ML-DSA-65", ALG_ML_DSA_65}, {"ML-DSA-87", ALG_ML_DSA_87}};

/* ---- writing ---- */

static int64_t
algorithm_id(pqe_text name)
{
    for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++)
        if (name.len == strlen(algorithms[i].name) && memcmp(name.data, algorithms[i].name, name.len) == 0)
            return algorithms[i].id;
    return 0;
}

static void
put_text(pqe__wcur *c, int64_t key, pqe_text text)
{
    pqe__cbor_put_int(c, key);
    pqe__cbor_put_text(c, text.data, text.len);
}

static void
put_unhex(pqe__wcur *c, int64_t key, pqe_text hex)
{
    uint8_t bytes[HASH_SIZE];

    if (hex.len > 2 * sizeof bytes || hex.len % 2 != 0 || !pqe__hex_is_lower(hex.data, hex.len) ||
        !pqe__hex_decode(hex.data, hex.len / 2, bytes)) {
        c->ok = false;
        return;
    }
    pqe__cbor_put_int(c, key);
    pqe__cbor_put_bytes(c, bytes, hex.len / 2);
}

static pqe_text
did_hex(const pqe_attestation *a)
{
    if (a->signer_did.len != DID_LEN)
        return (pqe_text){"x", 1}; /* refused as hex */
    return (pqe_text){a->signer_did.data + sizeof did_prefix - 1, 2 * HASH_SIZE};
}

static void
put_protected(pqe__wcur *c, const pqe_attestation *a)
{
    int64_t algorithm = algorithm_id(a->algorithm);

    if (algorithm == 0)
        c->ok = false;
    pqe__cbor_put_map(c, 4);
    pqe__cbor_put_int(c, HEADER_ALG);
    pqe__cbor_put_int(c, algorithm);
    put_unhex(c, HEADER_KID, did_hex(a));
    pqe__cbor_put_int(c, HEADER_KCCS);
    pqe__cbor_put_map(c, 1);
    pqe__cbor_put_int(c, CLAIM_CNF);
    pqe__cbor_put_map(c, 1);
    pqe__cbor_put_int(c, CNF_COSE_KEY);
    pqe__cbor_put_map(c, 3);
    pqe__cbor_put_int(c, KEY_KTY);
    pqe__cbor_put_int(c, KTY_AKP);
    pqe__cbor_put_int(c, KEY_ALG);
    pqe__cbor_put_int(c, algorithm);
    pqe__cbor_put_int(c, KEY_PUB);
    pqe__cbor_put_bytes(c, a->public_key.data, a->public_key.len);
    put_text(c, HEADER_TYP, (pqe_text){media_type, sizeof media_type - 1});
}

static void
put_payload(pqe__wcur *c, const pqe_attestation *a)
{
    pqe__cbor_put_map(c, a->challenge.len != 0 ? 15 : 14);
    put_text(c, CLAIM_ISS, a->signer_did);
    pqe__cbor_put_int(c, CLAIM_EXP);
    pqe__cbor_put_int(c, a->expires);
    pqe__cbor_put_int(c, CLAIM_IAT);
    pqe__cbor_put_int(c, a->issued);
    if (a->challenge.len != 0) {
        pqe__cbor_put_int(c, CLAIM_NONCE);
        pqe__cbor_put_bytes(c, a->challenge.data, a->challenge.len);
    }
    put_text(c, CLAIM_PROFILE, (pqe_text){profile, sizeof profile - 1});
    put_text(c, CLAIM_DEVICE_ID, a->device_id);
    put_text(c, CLAIM_DEVICE_MODEL, a->device_model);
    put_text(c, CLAIM_ENCLAVE_VENDOR, a->enclave_vendor);
    put_text(c, CLAIM_ARTIFACT_ID, a->artifact_id);
    put_text(c, CLAIM_HASH_ALGORITHM, a->hash_algorithm);
    put_unhex(c, CLAIM_CONTENT_HASH, a->artifact_content_hash);
    put_unhex(c, CLAIM_KEY_ID, a->key_id);
    put_text(c, CLAIM_BACKEND, a->backend);
    put_text(c, CLAIM_TIER, a->tier);
    pqe__cbor_put_int(c, CLAIM_EVIDENCE);
    pqe__cbor_put_array(c, a->evidence_count);
    for (size_t i = 0; i < a->evidence_count; i++) {
        pqe__cbor_put_array(c, 2);
        pqe__cbor_put_text(c, a->evidence[i].type.data, a->evidence[i].type.len);
        pqe__cbor_put_bytes(c, a->evidence[i].data.data, a->evidence[i].data.len);
    }
}

size_t
pqe__eat_room(const pqe_attestation *a)
{
    size_t room = 1024 + a->public_key.len + a->signature.len + a->device_id.len + a->device_model.len +
                  a->enclave_vendor.len + a->artifact_id.len + a->backend.len + a->tier.len + a->hash_algorithm.len;

    for (size_t i = 0; i < a->evidence_count; i++)
        room += a->evidence[i].type.len + a->evidence[i].data.len + 16;
    return room;
}

/* Writes a byte string whose content `put` writes. The head's size depends on the length, so the content is written
   first and moved. */
static void
put_wrapped(pqe__wcur *c, void (*put)(pqe__wcur *c, const pqe_attestation *a), const pqe_attestation *a)
{
    uint8_t head[9];
    pqe__wcur h = pqe__wcur_init(head, sizeof head);
    size_t start = c->pos, len;

    put(c, a);
    if (!c->ok)
        return;
    len = c->pos - start;
    pqe__cbor_put_bytes_head(&h, len);
    if (!h.ok || h.pos > c->capacity - c->pos) {
        c->ok = false;
        return;
    }
    memmove(c->data + start + h.pos, c->data + start, len);
    memcpy(c->data + start, head, h.pos);
    c->pos += h.pos;
}

void
pqe__eat_put(pqe__wcur *c, const pqe_attestation *a)
{
    pqe__put_u8(c, PQE__COSE_SIGN1);
    pqe__cbor_put_array(c, 4);
    put_wrapped(c, put_protected, a);
    pqe__cbor_put_map(c, 0);
    put_wrapped(c, put_payload, a);
    pqe__cbor_put_bytes(c, a->signature.data, a->signature.len);
}

/* RFC 9052, section 4.4. */
static void
put_sig_structure(pqe__wcur *c, pqe_bytes protected, pqe_bytes payload)
{
    pqe__cbor_put_array(c, 4);
    pqe__cbor_put_text(c, sig_context, sizeof sig_context - 1);
    pqe__cbor_put_bytes(c, protected.data, protected.len);
    pqe__cbor_put_bytes(c, NULL, 0);
    pqe__cbor_put_bytes(c, payload.data, payload.len);
}

pqe_status
pqe__eat_prepare(pqe__attestation *a, pqe_error *err)
{
    size_t room = pqe__eat_room(&a->pub);
    uint8_t *memory = malloc(2 * room);
    pqe__wcur p = pqe__wcur_init(memory, room), q = pqe__wcur_init(memory != NULL ? memory + room : NULL, room);
    size_t start = a->arena.pos;

    if (memory == NULL)
        return pqe__fail_nomem(err);
    put_protected(&p, &a->pub);
    put_payload(&q, &a->pub);
    if (p.ok && q.ok)
        put_sig_structure(&a->arena, (pqe_bytes){p.data, p.pos}, (pqe_bytes){q.data, q.pos});
    a->to_be_signed = (pqe_bytes){a->arena.data + start, a->arena.pos - start};
    free(memory);
    if (!p.ok || !q.ok || !a->arena.ok)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_FORMAT, 0, "the attestation's claims do not fit");
    return PQE_OK;
}

/* ---- reading ---- */

static pqe_text
get_text(pqe__rcur *c, pqe__attestation *a)
{
    size_t len;
    const char *text = pqe__cbor_get_text(c, &len);
    pqe_text kept = {"", 0};

    if (!c->ok || len > PQE_ATTEST_TEXT_MAX || !pqe__utf8_valid(text, len)) {
        c->ok = false;
        return kept;
    }
    kept = pqe__keep_text(a, text, len);
    c->ok = a->arena.ok;
    return kept;
}

static pqe_text
get_claim(pqe__rcur *c, pqe__attestation *a, int64_t key)
{
    pqe__cbor_expect(c, key);
    return get_text(c, a);
}

static pqe_bytes
get_bytes(pqe__rcur *c, pqe__attestation *a, size_t min, size_t max)
{
    size_t len;
    const uint8_t *data = pqe__cbor_get_bytes(c, &len);
    pqe_bytes kept = {NULL, 0};

    if (!c->ok || len < min || len > max) {
        c->ok = false;
        return kept;
    }
    kept = pqe__keep_bytes(a, data, len);
    c->ok = a->arena.ok;
    return kept;
}

static pqe_text
get_hex(pqe__rcur *c, pqe__attestation *a, int64_t key, size_t size)
{
    size_t len;
    const uint8_t *data;
    pqe_text kept = {"", 0};

    pqe__cbor_expect(c, key);
    data = pqe__cbor_get_bytes(c, &len);
    if (!c->ok || len != size) {
        c->ok = false;
        return kept;
    }
    kept = pqe__keep_hex(a, data, len);
    c->ok = a->arena.ok;
    return kept;
}

/* `kid`, the key's hash by itself, is compared when all is written again. */
static void
read_protected(pqe__rcur *c, pqe__attestation *a)
{
    int64_t algorithm;
    size_t len;

    if (pqe__cbor_get_map(c) != 4)
        c->ok = false;
    pqe__cbor_expect(c, HEADER_ALG);
    algorithm = pqe__cbor_get_int(c);
    for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++)
        if (algorithms[i].id == algorithm)
            a->pub.algorithm = pqe__keep_text(a, algorithms[i].name, strlen(algorithms[i].name));
    pqe__cbor_expect(c, HEADER_KID);
    pqe__cbor_get_bytes(c, &len);
    pqe__cbor_expect(c, HEADER_KCCS);
    if (pqe__cbor_get_map(c) != 1)
        c->ok = false;
    pqe__cbor_expect(c, CLAIM_CNF);
    if (pqe__cbor_get_map(c) != 1)
        c->ok = false;
    pqe__cbor_expect(c, CNF_COSE_KEY);
    if (pqe__cbor_get_map(c) != 3)
        c->ok = false;
    pqe__cbor_expect(c, KEY_KTY);
    pqe__cbor_expect(c, KTY_AKP);
    pqe__cbor_expect(c, KEY_ALG);
    pqe__cbor_expect(c, algorithm);
    pqe__cbor_expect(c, KEY_PUB);
    a->pub.public_key = get_bytes(c, a, 1, PQE_ML_DSA_PUBLIC_MAX);
    pqe__cbor_expect(c, HEADER_TYP);
    pqe__cbor_get_text(c, &len);
}

static void
read_evidence(pqe__rcur *c, pqe__attestation *a)
{
    size_t count;

    pqe__cbor_expect(c, CLAIM_EVIDENCE);
    count = pqe__cbor_get_array(c);
    if (count > PQE_EVIDENCE_MAX)
        c->ok = false;
    for (size_t i = 0; i < count && c->ok; i++) {
        if (pqe__cbor_get_array(c) != 2)
            c->ok = false;
        a->pub.evidence[i].type = get_text(c, a);
        a->pub.evidence[i].data = get_bytes(c, a, 0, PQE_EVIDENCE_BYTES_MAX);
        a->pub.evidence_count = i + 1;
    }
}

static void
read_payload(pqe__rcur *c, pqe__attestation *a)
{
    size_t pairs = pqe__cbor_get_map(c), len;
    char issued[21];

    a->pub.signer_did = get_claim(c, a, CLAIM_ISS);
    pqe__cbor_expect(c, CLAIM_EXP);
    a->pub.expires = pqe__cbor_get_int(c);
    pqe__cbor_expect(c, CLAIM_IAT);
    a->pub.issued = pqe__cbor_get_int(c);
    if (pqe__cbor_next_is(c, CLAIM_NONCE)) {
        pqe__cbor_expect(c, CLAIM_NONCE);
        a->pub.challenge = get_bytes(c, a, PQE_CHALLENGE_MIN, PQE_CHALLENGE_MAX);
    }
    if (pairs != (a->pub.challenge.len != 0 ? 15 : 14))
        c->ok = false;
    pqe__cbor_expect(c, CLAIM_PROFILE);
    pqe__cbor_get_text(c, &len);
    a->pub.device_id = get_claim(c, a, CLAIM_DEVICE_ID);
    a->pub.device_model = get_claim(c, a, CLAIM_DEVICE_MODEL);
    a->pub.enclave_vendor = get_claim(c, a, CLAIM_ENCLAVE_VENDOR);
    a->pub.artifact_id = get_claim(c, a, CLAIM_ARTIFACT_ID);
    a->pub.hash_algorithm = get_claim(c, a, CLAIM_HASH_ALGORITHM);
    a->pub.artifact_content_hash = get_hex(c, a, CLAIM_CONTENT_HASH, HASH_SIZE);
    a->pub.key_id = get_hex(c, a, CLAIM_KEY_ID, 16);
    a->pub.backend = get_claim(c, a, CLAIM_BACKEND);
    a->pub.tier = get_claim(c, a, CLAIM_TIER);
    read_evidence(c, a);
    if (!pqe__time_format(a->pub.issued, issued) || a->pub.expires < 0)
        c->ok = false;
    a->pub.issued_at = pqe__keep_text(a, issued, strlen(issued));
}

/* RFC 8949, section 4.2.1, in one stroke: what was read, written by the rules, is what was given. */
static bool
is_canonical(const pqe__attestation *a, const uint8_t *data, size_t len)
{
    pqe__wcur again = a->arena; /* the room behind what was kept */
    size_t start = again.pos;

    pqe__eat_put(&again, &a->pub);
    return again.ok && again.pos - start == len && memcmp(again.data + start, data, len) == 0;
}

static bool
read_sign1(pqe__attestation *a, const uint8_t *data, size_t len)
{
    pqe__rcur c = pqe__rcur_init(data, len), inner;
    pqe_bytes protected, payload;
    size_t start;

    if (pqe__get_u8(&c) != PQE__COSE_SIGN1 || pqe__cbor_get_array(&c) != 4)
        return false;
    protected.data = pqe__cbor_get_bytes(&c, &protected.len);
    if (pqe__cbor_get_map(&c) != 0)
        return false;
    payload.data = pqe__cbor_get_bytes(&c, &payload.len);
    a->pub.signature = get_bytes(&c, a, 0, PQE_ML_DSA_SIGNATURE_MAX);
    if (!pqe__rcur_done(&c))
        return false;
    /* What is verified are the bytes as they came, not what is made of them. */
    start = a->arena.pos;
    put_sig_structure(&a->arena, protected, payload);
    a->to_be_signed = (pqe_bytes){a->arena.data + start, a->arena.pos - start};
    inner = pqe__rcur_init(protected.data, protected.len);
    read_protected(&inner, a);
    if (!pqe__rcur_done(&inner))
        return false;
    inner = pqe__rcur_init(payload.data, payload.len);
    read_payload(&inner, a);
    return pqe__rcur_done(&inner) && a->arena.ok && is_canonical(a, data, len);
}

pqe_status
pqe__eat_read(const uint8_t *data, size_t len, pqe__attestation **out, pqe_error *err)
{
    pqe__attestation *a;
    pqe_status status;

    *out = NULL;
    if (len > PQE_ATTEST_MAX)
        return pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "longer than any attestation");
    /* Once for texts and bytes, some of them as hex, once for the Sig_structure, once for the comparison. */
    if ((status = pqe__attestation_new(2, 3 * len + 1024, &a, err)) != PQE_OK)
        return status;
    if (!read_sign1(a, data, len)) {
        pqe__attestation_free(&a);
        return pqe__fail(
            err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0,
            "not a version 2 attestation: COSE_Sign1 with ML-DSA in deterministic CBOR and its own claims");
    }
    *out = a;
    return PQE_OK;
}

/* ---- the view in JSON ---- */

static void
put_member(pqe__wcur *c, const char *name, pqe_text value)
{
    pqe__put_u8(c, ',');
    pqe__put_json_string(c, (pqe_text){name, strlen(name)});
    pqe__put_u8(c, ':');
    pqe__put_json_string(c, value);
}

static void
put_hex(pqe__wcur *c, pqe_bytes value)
{
    char hex[3];

    pqe__put_u8(c, '"');
    for (size_t i = 0; i < value.len; i++) {
        pqe__hex_encode(value.data + i, 1, hex);
        pqe__put_bytes(c, hex, 2);
    }
    pqe__put_u8(c, '"');
}

static void
put_plain(pqe__wcur *c, const char *text)
{
    pqe__put_bytes(c, text, strlen(text));
}

static void
put_json_evidence(pqe__wcur *c, const pqe_attestation *a)
{
    put_plain(c, ",\"evidence\":[");
    for (size_t i = 0; i < a->evidence_count; i++) {
        put_plain(c, i == 0 ? "{\"type\":" : ",{\"type\":");
        pqe__put_json_string(c, a->evidence[i].type);
        put_plain(c, ",\"data\":");
        put_hex(c, a->evidence[i].data);
        put_plain(c, "}");
    }
    put_plain(c, "]");
}

void
pqe__eat_put_json(pqe__wcur *c, const pqe_attestation *a)
{
    char expires[21] = "";

    pqe__time_format(a->expires, expires);
    put_plain(c, "{\"view_of\":");
    pqe__put_json_string(c, (pqe_text){profile, sizeof profile - 1});
    put_member(c, "device_id", a->device_id);
    put_member(c, "device_model", a->device_model);
    put_member(c, "enclave_vendor", a->enclave_vendor);
    put_member(c, "artifact_id", a->artifact_id);
    put_member(c, "hash_algorithm", a->hash_algorithm);
    put_member(c, "artifact_content_hash", a->artifact_content_hash);
    put_member(c, "key_id", a->key_id);
    put_member(c, "issued_at", a->issued_at);
    put_member(c, "expires_at", (pqe_text){expires, strlen(expires)});
    put_plain(c, ",\"challenge\":");
    put_hex(c, a->challenge);
    put_member(c, "backend", a->backend);
    put_member(c, "tier", a->tier);
    put_json_evidence(c, a);
    put_member(c, "signer_did", a->signer_did);
    put_member(c, "algorithm", a->algorithm);
    put_plain(c, ",\"public_key\":");
    put_hex(c, a->public_key);
    put_plain(c, "}");
}

size_t
pqe__eat_json_room(const pqe_attestation *a)
{
    return 1024 + 6 * pqe__eat_room(a); /* nothing takes more than six characters a byte */
}
