/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Version 1: the JSON object of ten strings, and the canonical bytes of the six that are signed.
 *
 * The reader is our own and not a general one: it accepts, white space between tokens aside, exactly the two encodings of
 * a string that Python's json.dumps writes (with ensure_ascii and without), so that no byte of a file can be changed
 * without changing what it says (docs/decisions/0006-strict-attestation-json.md).
 */
#include "format/attestation.h"

#include <stddef.h>
#include <string.h>

#include "util/text.h"

/* ---- the ten fields ---- */

#define FIELDS 10u

enum { FIELD_SIGNATURE = 8, FIELD_PUBLIC_KEY = 9 };

/* As DeviceAttestation.to_dict() has them. */
static const char *const names[FIELDS] = {
    "device_id", "device_model", "enclave_vendor", "artifact_id", "artifact_content_hash",
    "issued_at", "signer_did",   "algorithm",      "signature",   "public_key"};

/* The texts among them, in the same order. */
static const size_t places[] = {offsetof(pqe_attestation, device_id),
                                offsetof(pqe_attestation, device_model),
                                offsetof(pqe_attestation, enclave_vendor),
                                offsetof(pqe_attestation, artifact_id),
                                offsetof(pqe_attestation, artifact_content_hash),
                                offsetof(pqe_attestation, issued_at),
                                offsetof(pqe_attestation, signer_did),
                                offsetof(pqe_attestation, algorithm)};

static const pqe_text *
text_of(const pqe_attestation *a, size_t field)
{
    return (const pqe_text *)(const void *)((const char *)a + places[field]);
}

/* ---- writing ---- */

/* json.encoder.ESCAPE: control characters below space, the quote and the backslash; DEL and all above are written as
   they are. */
void
pqe__put_json_string(pqe__wcur *c, pqe_text text)
{
    static const char digits[] = "0123456789abcdef";
    static const char shorts[] = "\bb\tt\nn\ff\rr\"\"\\\\"; /* character, letter */

    pqe__put_u8(c, '"');
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        const char *letter = NULL;
        size_t run = i;
        while (run < text.len && (uint8_t)text.data[run] >= 0x20 && text.data[run] != '"' && text.data[run] != '\\')
            run++;
        if (run > i) {
            pqe__put_bytes(c, text.data + i, run - i);
            i = run - 1;
            continue;
        }
        for (size_t k = 0; k < sizeof shorts - 1; k += 2)
            if (byte == (uint8_t)shorts[k])
                letter = &shorts[k + 1];
        pqe__put_u8(c, '\\');
        if (letter != NULL) {
            pqe__put_u8(c, (uint8_t)*letter);
        } else {
            pqe__put_bytes(c, "u00", 3);
            pqe__put_u8(c, (uint8_t)digits[byte >> 4]);
            pqe__put_u8(c, (uint8_t)digits[byte & 15]);
        }
    }
    pqe__put_u8(c, '"');
}

static void
put_member(pqe__wcur *c, char before, const char *name, pqe_text value)
{
    pqe__put_u8(c, (uint8_t)before);
    pqe__put_json_string(c, (pqe_text){name, strlen(name)});
    pqe__put_u8(c, ':');
    pqe__put_json_string(c, value);
}

void
pqe__v1_put_canonical(pqe__wcur *c, const pqe_attestation *a)
{
    static const uint8_t sorted[PQE__V1_SIGNED] = {4, 3, 0, 1, 2, 5}; /* by name */

    for (size_t i = 0; i < PQE__V1_SIGNED; i++)
        put_member(c, i == 0 ? '{' : ',', names[sorted[i]], *text_of(a, sorted[i]));
    pqe__put_u8(c, '}');
}

size_t
pqe__v1_canonical_room(const pqe_attestation *a)
{
    size_t room = 256; /* more than braces and names take */

    for (size_t i = 0; i < PQE__V1_SIGNED; i++)
        room += PQE__JSON_ROOM(text_of(a, i)->len);
    return room;
}

static void
put_hex_member(pqe__wcur *c, const char *name, pqe_bytes value)
{
    char hex[3];

    pqe__put_u8(c, ',');
    pqe__put_json_string(c, (pqe_text){name, strlen(name)});
    pqe__put_bytes(c, ":\"", 2);
    for (size_t i = 0; i < value.len; i++) {
        pqe__hex_encode(value.data + i, 1, hex);
        pqe__put_bytes(c, hex, 2);
    }
    pqe__put_u8(c, '"');
}

void
pqe__v1_put_json(pqe__wcur *c, const pqe_attestation *a)
{
    for (size_t i = 0; i < FIELD_SIGNATURE; i++)
        put_member(c, i == 0 ? '{' : ',', names[i], *text_of(a, i));
    put_hex_member(c, names[FIELD_SIGNATURE], a->signature);
    put_hex_member(c, names[FIELD_PUBLIC_KEY], a->public_key);
    pqe__put_u8(c, '}');
}

size_t
pqe__v1_json_room(const pqe_attestation *a)
{
    return pqe__v1_canonical_room(a) + PQE__JSON_ROOM(a->signer_did.len) + PQE__JSON_ROOM(a->algorithm.len) +
           2 * (a->signature.len + a->public_key.len) + 256;
}

/* ---- reading ---- */

static bool
is_space(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static void
skip_space(pqe__rcur *c)
{
    while (c->ok && c->pos < c->len && is_space(c->data[c->pos]))
        c->pos++;
}

static void
expect(pqe__rcur *c, char wanted)
{
    skip_space(c);
    if (pqe__get_u8(c) != (uint8_t)wanted)
        c->ok = false;
}

/* Four lower-case hexadecimal digits. */
static uint32_t
get_unit(pqe__rcur *c)
{
    const uint8_t *p = pqe__get_bytes(c, 4);
    uint8_t bytes[2];

    if (p == NULL || !pqe__hex_is_lower((const char *)p, 4) || !pqe__hex_decode((const char *)p, 2, bytes)) {
        c->ok = false;
        return 0;
    }
    return (uint32_t)bytes[0] << 8 | bytes[1];
}

static void
put_utf8(pqe__wcur *out, uint32_t code)
{
    if (code < 0x80) {
        pqe__put_u8(out, (uint8_t)code);
    } else if (code < 0x800) {
        pqe__put_u8(out, (uint8_t)(0xc0 | code >> 6));
        pqe__put_u8(out, (uint8_t)(0x80 | (code & 0x3f)));
    } else if (code < 0x10000) {
        pqe__put_u8(out, (uint8_t)(0xe0 | code >> 12));
        pqe__put_u8(out, (uint8_t)(0x80 | (code >> 6 & 0x3f)));
        pqe__put_u8(out, (uint8_t)(0x80 | (code & 0x3f)));
    } else {
        pqe__put_u8(out, (uint8_t)(0xf0 | code >> 18));
        pqe__put_u8(out, (uint8_t)(0x80 | (code >> 12 & 0x3f)));
        pqe__put_u8(out, (uint8_t)(0x80 | (code >> 6 & 0x3f)));
        pqe__put_u8(out, (uint8_t)(0x80 | (code & 0x3f)));
    }
}

/* How the characters that the two encodings write differently are written in a string: never both ways. */
typedef struct spelling {
    bool escaped, raw;
} spelling;

/* True for a character that has a shorter form than \uxxxx, and for one half of a surrogate pair. */
static bool
is_misspelt(uint32_t code)
{
    if (code < 0x20)
        return code == '\b' || code == '\t' || code == '\n' || code == '\f' || code == '\r';
    return code < 0x7f || (code >= 0xdc00 && code < 0xe000);
}

/* RFC 8259, section 7: a surrogate only as the first half of a pair, followed by the second. */
static void
get_unicode_escape(pqe__rcur *c, pqe__wcur *out, spelling *s)
{
    uint32_t code = get_unit(c), low = 0;

    if (code >= 0xd800 && code < 0xdc00) {
        const uint8_t *p = pqe__get_bytes(c, 2);
        if (p != NULL && p[0] == '\\' && p[1] == 'u')
            low = get_unit(c);
        if (low < 0xdc00 || low > 0xdfff)
            c->ok = false;
        code = 0x10000 + ((code - 0xd800) << 10) + ((low - 0xdc00) & 0x3ff);
    } else if (is_misspelt(code)) {
        c->ok = false;
    }
    s->escaped = s->escaped || code >= 0x7f;
    if (c->ok)
        put_utf8(out, code);
}

static void
get_escape(pqe__rcur *c, pqe__wcur *out, spelling *s)
{
    static const char shorts[] = "b\bt\tn\nf\fr\r\"\"\\\\"; /* letter, character */
    uint8_t letter = pqe__get_u8(c);

    if (!c->ok)
        return;
    if (letter == 'u') {
        get_unicode_escape(c, out, s);
        return;
    }
    for (size_t k = 0; k < sizeof shorts - 1; k += 2) {
        if (letter == (uint8_t)shorts[k]) {
            pqe__put_u8(out, (uint8_t)shorts[k + 1]);
            return;
        }
    }
    c->ok = false;
}

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Is any of eight bytes zero? */
static bool
has_zero(uint64_t w)
{
    return ((w - EACH(1)) & ~w & EACH(0x80)) != 0;
}

/* True if eight characters stand for themselves and are below DEL. A signature is thousands of such. */
static bool
are_plain(const uint8_t *p)
{
    uint64_t w;

    memcpy(&w, p, sizeof w);
    return (w & EACH(0x80)) == 0 && ((w - EACH(0x20)) & EACH(0x80)) == 0 && !has_zero(w ^ EACH('"')) &&
           !has_zero(w ^ EACH('\\')) && !has_zero(w ^ EACH(0x7f));
}

/* Length of the run of characters that stand for themselves; *beyond: some are DEL or not ASCII. */
static size_t
plain_run(const uint8_t *p, size_t len, bool *beyond)
{
    size_t n = 0;

    *beyond = false;
    while (n < len) {
        if (len - n >= 8 && are_plain(p + n)) {
            n += 8;
            continue;
        }
        if (p[n] < 0x20 || p[n] == '"' || p[n] == '\\')
            break;
        *beyond = *beyond || p[n] >= 0x7f;
        n++;
    }
    return n;
}

static pqe_text
get_string(pqe__rcur *c, pqe__attestation *a)
{
    const char *place = (const char *)a->arena.data + a->arena.pos;
    size_t start = a->arena.pos;
    pqe_text text = {place, 0};
    spelling s = {false, false};

    expect(c, '"');
    while (c->ok && c->pos < c->len && c->data[c->pos] != '"') {
        bool beyond;
        size_t run = plain_run(c->data + c->pos, c->len - c->pos, &beyond);
        s.raw = s.raw || beyond;
        if (run > 0)
            pqe__put_bytes(&a->arena, pqe__get_bytes(c, run), run);
        else if (pqe__get_u8(c) == '\\')
            get_escape(c, &a->arena, &s);
        else
            c->ok = false; /* a control character */
    }
    if (pqe__get_u8(c) != '"' || (s.escaped && s.raw))
        c->ok = false;
    text.len = a->arena.pos - start;
    pqe__put_u8(&a->arena, 0);
    /* What is all below DEL is valid; and so is what was escaped. */
    if (!a->arena.ok || (s.raw && !pqe__text_valid(text)))
        c->ok = false;
    return c->ok ? text : (pqe_text){"", 0};
}

/* Reads one member. A key is one of ours, not seen before, and written without escapes. */
static void
get_member(pqe__rcur *c, pqe__attestation *a, pqe_text values[FIELDS])
{
    pqe_text key = get_string(c, a);
    size_t field = 0;

    while (field < FIELDS && !(key.len == strlen(names[field]) && memcmp(key.data, names[field], key.len) == 0))
        field++;
    if (!c->ok || field == FIELDS || values[field].data != NULL) {
        c->ok = false;
        return;
    }
    expect(c, ':');
    values[field] = get_string(c, a);
}

static bool
store_fields(pqe__attestation *a, const pqe_text values[FIELDS])
{
    for (size_t i = 0; i < FIELD_SIGNATURE; i++) {
        if (values[i].len > PQE_ATTEST_TEXT_MAX)
            return false;
        *(pqe_text *)(void *)((char *)&a->pub + places[i]) = values[i];
    }
    return pqe__keep_unhex(a, values[FIELD_SIGNATURE], &a->pub.signature) &&
           pqe__keep_unhex(a, values[FIELD_PUBLIC_KEY], &a->pub.public_key);
}

pqe_status
pqe__v1_read(const uint8_t *data, size_t len, pqe__attestation **out, pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(data, len);
    pqe_text values[FIELDS] = {{NULL, 0}};
    pqe__attestation *a;
    pqe_status status;

    *out = NULL;
    if (len > PQE_ATTEST_MAX)
        return pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "longer than any attestation");
    /* Decoded, no string gets longer; each has a NUL in place of its quotes; hex is kept in two forms. */
    if ((status = pqe__attestation_new(1, 2 * len, &a, err)) != PQE_OK)
        return status;
    for (size_t i = 0; i < FIELDS && c.ok; i++) {
        expect(&c, i == 0 ? '{' : ',');
        get_member(&c, a, values);
    }
    expect(&c, '}');
    skip_space(&c);
    if (!pqe__rcur_done(&c) || !store_fields(a, values)) {
        pqe__attestation_free(&a);
        return pqe__fail(
            err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0,
            "not a version 1 attestation: a JSON object of exactly its ten strings, in their one spelling");
    }
    *out = a;
    return PQE_OK;
}
