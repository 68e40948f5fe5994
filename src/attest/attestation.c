/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions around one attestation: version 1 from texts, encoding, decoding. */
#include "attest/attest.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"

static pqe_status
bad_argument(pqe_error *err, const char *text)
{
    return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "%s", text);
}

void
pqe_buffer_free(char **buffer)
{
    if (buffer == NULL)
        return;
    free(*buffer);
    *buffer = NULL;
}

/* ---- buffers ---- */

/* Runs `put` into fresh memory of `room` bytes; what was not needed is given back. */
static pqe_status
write_out(void (*put)(pqe__wcur *c, const pqe_attestation *a), const pqe_attestation *a, size_t room, char **out,
          size_t *len, pqe_error *err)
{
    char *memory = malloc(room + 1), *fitted;
    pqe__wcur c = pqe__wcur_init(memory, memory != NULL ? room : 0);

    if (memory == NULL)
        return pqe__fail_nomem(err);
    put(&c, a);
    if (!c.ok) {
        free(memory);
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_FORMAT, 0, "the attestation's fields do not fit this form");
    }
    memory[c.pos] = '\0';
    fitted = realloc(memory, c.pos + 1);
    if (fitted != NULL)
        memory = fitted;
    *out = memory;
    *len = c.pos;
    return PQE_OK;
}

pqe_status
pqe_attestation_encode(const pqe_attestation *a, pqe_attest_form form, char **out, size_t *len, pqe_error *err)
{
    if (out == NULL || len == NULL)
        return bad_argument(err, "no place for the result");
    *out = NULL;
    *len = 0;
    if (a == NULL)
        return bad_argument(err, "no attestation");
    if (form == PQE_ATTEST_JSON && a->version == 1)
        return write_out(pqe__v1_put_json, a, pqe__v1_json_room(a), out, len, err);
    if (form == PQE_ATTEST_JSON)
        return write_out(pqe__eat_put_json, a, pqe__eat_json_room(a), out, len, err);
    if (form == PQE_ATTEST_COSE && a->version == 2)
        return write_out(pqe__eat_put, a, pqe__eat_room(a), out, len, err);
    return bad_argument(err, "an attestation of this version has no such form");
}

pqe_status
pqe_attestation_decode(const void *data, size_t len, pqe_attestation **out, pqe_error *err)
{
    pqe__attestation *a = NULL;
    const uint8_t *bytes = data;
    pqe_status status;

    if (out == NULL)
        return bad_argument(err, "no place for the attestation");
    *out = NULL;
    if (data == NULL || len == 0)
        return pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "it is empty");
    status = bytes[0] == PQE__COSE_SIGN1 ? pqe__eat_read(bytes, len, &a, err) : pqe__v1_read(bytes, len, &a, err);
    if (status == PQE_OK)
        *out = &a->pub;
    return status;
}

/* ---- version 1 ---- */

static pqe_status
check_text(pqe_text text, size_t max, pqe_error *err)
{
    if (text.data == NULL && text.len != 0)
        return bad_argument(err, "a text is missing");
    if (text.len > max)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "a text is longer than %zu bytes", max);
    if (text.len != 0 && !pqe__text_valid(text))
        return bad_argument(err, "a text is not valid UTF-8");
    return PQE_OK;
}

/* Copies the texts into an attestation with room for `more` bytes. */
static pqe_status
from_texts(const pqe_attestation_v1 *f, size_t more, pqe__attestation **out, pqe_error *err)
{
    pqe__attestation *a = NULL;
    const pqe_text *from;
    size_t room = more;
    pqe_status status = PQE_OK;

    *out = NULL;
    if (f == NULL || f->size < sizeof *f)
        return bad_argument(err, "no fields, or their size is not set");
    const pqe_text texts[] = {
        f->device_id, f->device_model, f->enclave_vendor, f->artifact_id, f->artifact_content_hash,
        f->issued_at, f->signer_did,   f->algorithm};
    const size_t count = sizeof texts / sizeof texts[0];

    for (size_t i = 0; i < count && status == PQE_OK; i++) {
        status = check_text(texts[i], PQE_ATTEST_TEXT_MAX, err);
        room += texts[i].len + 1;
    }
    if (status == PQE_OK)
        status = pqe__attestation_new(1, room, &a, err);
    if (status != PQE_OK)
        return status;
    pqe_text *const to[] = {&a->pub.device_id,
                            &a->pub.device_model,
                            &a->pub.enclave_vendor,
                            &a->pub.artifact_id,
                            &a->pub.artifact_content_hash,
                            &a->pub.issued_at,
                            &a->pub.signer_did,
                            &a->pub.algorithm};
    from = texts;
    for (size_t i = 0; i < count; i++)
        *to[i] = pqe__keep_text(a, from[i].data, from[i].len);
    *out = a;
    return PQE_OK;
}

pqe_status
pqe_attestation_v1_canonical(const pqe_attestation_v1 *fields, char **out, size_t *len, pqe_error *err)
{
    pqe__attestation *a;
    pqe_status status;

    if (out == NULL || len == NULL)
        return bad_argument(err, "no place for the result");
    *out = NULL;
    *len = 0;
    if ((status = from_texts(fields, 0, &a, err)) != PQE_OK)
        return status;
    status = write_out(pqe__v1_put_canonical, &a->pub, pqe__v1_canonical_room(&a->pub), out, len, err);
    pqe__attestation_free(&a);
    return status;
}

pqe_status
pqe__v1_digest(const pqe_attestation *a, uint8_t digest[PQE__SHA3_256_SIZE], pqe_error *err)
{
    char *canonical = NULL;
    size_t len;
    pqe_status status = write_out(pqe__v1_put_canonical, a, pqe__v1_canonical_room(a), &canonical, &len, err);

    if (status == PQE_OK)
        status = pqe__hash_once(PQE__SHA3_256, canonical, len, digest, err);
    free(canonical);
    return status;
}

pqe_status
pqe__attestation_claim(pqe__attestation *a, const char *did, pqe_sig_algorithm algorithm, const uint8_t *public_key,
                       size_t len, pqe_error *err)
{
    const char *name = pqe_sig_name(algorithm);

    a->pub.signer_did = pqe__keep_text(a, did, strlen(did));
    a->pub.algorithm = pqe__keep_text(a, name, strlen(name));
    a->pub.public_key = pqe__keep_bytes(a, public_key, len);
    return a->arena.ok ? PQE_OK : pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_FORMAT, 0, "the attestation does not fit");
}

pqe_status
pqe__attestation_attach(pqe__attestation *a, const uint8_t *signature, size_t len, pqe_error *err)
{
    a->pub.signature = pqe__keep_bytes(a, signature, len);
    return a->arena.ok ? PQE_OK : pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_FORMAT, 0, "the attestation does not fit");
}

pqe_status
pqe_attestation_v1_sign(const pqe_attestation_v1 *fields, const pqe_signing_key *key, pqe_attestation **out,
                        pqe_error *err)
{
    uint8_t digest[PQE__SHA3_256_SIZE], signature[PQE_ML_DSA_SIGNATURE_MAX];
    pqe_attestation_v1 unsigned_fields;
    const pqe_public_key *signer;
    pqe__attestation *a;
    size_t len;
    pqe_status status;

    if (out == NULL)
        return bad_argument(err, "no place for the attestation");
    *out = NULL;
    if (fields == NULL || fields->size < sizeof *fields)
        return bad_argument(err, "no fields, or their size is not set");
    if ((status = pqe__signing_key_usable(key, err)) != PQE_OK)
        return status;
    signer = pqe_signing_key_public(key);
    unsigned_fields = *fields;
    unsigned_fields.signer_did = unsigned_fields.algorithm = (pqe_text){NULL, 0};
    if ((status = from_texts(&unsigned_fields, PQE__SIGNED_ROOM, &a, err)) != PQE_OK)
        return status;
    status = pqe__attestation_claim(a, signer->did, signer->algorithm, signer->raw, signer->len, err);
    if (status == PQE_OK)
        status = pqe__v1_digest(&a->pub, digest, err);
    if (status == PQE_OK)
        status = pqe_signing_key_sign(key, digest, sizeof digest, NULL, 0, signature, sizeof signature, &len, err);
    if (status == PQE_OK)
        status = pqe__attestation_attach(a, signature, len, err);
    if (status == PQE_OK)
        *out = &a->pub;
    else
        pqe__attestation_free(&a);
    return status;
}

pqe_status
pqe_attestation_v1_from_fields(const pqe_attestation_v1 *fields, pqe_attestation **out, pqe_error *err)
{
    pqe__attestation *a;
    pqe_status status;

    if (out == NULL)
        return bad_argument(err, "no place for the attestation");
    *out = NULL;
    if (fields == NULL || fields->size < sizeof *fields || (fields->signature.data == NULL && fields->signature.len) ||
        (fields->public_key.data == NULL && fields->public_key.len))
        return bad_argument(err, "no fields, or their size is not set");
    if (fields->signature.len > PQE_ATTEST_MAX || fields->public_key.len > PQE_ATTEST_MAX)
        return pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "longer than any signature or public key");
    if ((status = from_texts(fields, fields->signature.len + fields->public_key.len, &a, err)) != PQE_OK)
        return status;
    if (!pqe__keep_unhex(a, fields->signature, &a->pub.signature) ||
        !pqe__keep_unhex(a, fields->public_key, &a->pub.public_key)) {
        pqe__attestation_free(&a);
        return pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0,
                         "signature or public key is not lower-case hexadecimal");
    }
    *out = &a->pub;
    return PQE_OK;
}
