/* SPDX-License-Identifier: Apache-2.0 */
/* The head: the vault's one authenticated state record, and the labelled inputs of key derivation. */
#include "format/format.h"

#include <string.h>

#include "util/text.h"

static const uint8_t head_magic[8] = {'P', 'Q', 'E', 'H', 'E', 'A', 'D', '\n'};

/* Tags of the private part. */
enum { TAG_DEVICE_ID = 1, TAG_POLICY = 2, TAG_RECOVERY = 3, TAG_AUDIT = 4, TAG_HASH_DEFAULTS = 5, TAG_COUNTER = 6 };
#define AUDIT_HEAD_SIZE (4u + 8u + 2u * PQE__DIGEST_SIZE)

/* RFC 9180, section 7; ML-KEM-768 from draft-ietf-hpke-pq. */
const pqe__suite pqe__suite_ml_kem_768 = {.kem = 0x0041, .kdf = 0x0001, .aead = 0x0002};

bool
pqe__suite_equal(pqe__suite a, pqe__suite b)
{
    return a.kem == b.kem && a.kdf == b.kdf && a.aead == b.aead;
}

const char *
pqe__suite_name(pqe__suite suite)
{
    return pqe__suite_equal(suite, pqe__suite_ml_kem_768) ? PQE_SUITE_ML_KEM_768 : NULL;
}

void
pqe__put_suite(pqe__wcur *c, pqe__suite suite)
{
    pqe__put_u16(c, suite.kem);
    pqe__put_u16(c, suite.kdf);
    pqe__put_u16(c, suite.aead);
}

pqe__suite
pqe__get_suite(pqe__rcur *c)
{
    pqe__suite suite;

    suite.kem = pqe__get_u16(c);
    suite.kdf = pqe__get_u16(c);
    suite.aead = pqe__get_u16(c);
    return suite;
}

void
pqe__head_encode_public(const pqe__head *head, uint8_t out[PQE__HEAD_PUBLIC_SIZE])
{
    pqe__wcur c = pqe__wcur_init(out, PQE__HEAD_PUBLIC_SIZE);

    pqe__put_bytes(&c, head_magic, sizeof head_magic);
    pqe__put_u16(&c, PQE__FORMAT_VERSION);
    pqe__put_bytes(&c, head->vault_id, PQE__ID_SIZE);
    pqe__put_u64(&c, head->generation);
    pqe__put_u32(&c, head->key_epoch);
    pqe__put_suite(&c, head->suite);
    pqe__put_bytes(&c, head->index_root, PQE__DIGEST_SIZE);
    pqe__put_u64(&c, head->artifact_count);
    pqe__put_bytes(&c, head->device_digest, PQE__DIGEST_SIZE);
    pqe__put_bytes(&c, head->root_key_id, PQE__ID_SIZE);
}

pqe_status
pqe__head_decode(const uint8_t *bytes, size_t len, pqe__head *out, const uint8_t **sealed, size_t *sealed_len,
                 pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(bytes, len);
    const uint8_t *magic = pqe__get_bytes(&c, sizeof head_magic);
    uint16_t version = pqe__get_u16(&c);

    memset(out, 0, sizeof *out);
    if (magic == NULL || memcmp(magic, head_magic, sizeof head_magic) != 0)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "the vault's head is damaged");
    if (c.ok && version != PQE__FORMAT_VERSION)
        return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_FORMAT, version,
                         "the vault's format version is %u, this library reads %u", version, PQE__FORMAT_VERSION);
    pqe__get_copy(&c, out->vault_id, PQE__ID_SIZE);
    out->generation = pqe__get_u64(&c);
    out->key_epoch = pqe__get_u32(&c);
    out->suite = pqe__get_suite(&c);
    pqe__get_copy(&c, out->index_root, PQE__DIGEST_SIZE);
    out->artifact_count = pqe__get_u64(&c);
    pqe__get_copy(&c, out->device_digest, PQE__DIGEST_SIZE);
    pqe__get_copy(&c, out->root_key_id, PQE__ID_SIZE);
    *sealed_len = pqe__get_u32(&c);
    *sealed = pqe__get_bytes(&c, *sealed_len);
    if (!pqe__rcur_done(&c))
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "the vault's head is damaged");
    if (pqe__suite_name(out->suite) == NULL)
        return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_FORMAT, out->suite.kem,
                         "suite 0x%04x/0x%04x/0x%04x is not one this version allows", out->suite.kem, out->suite.kdf,
                         out->suite.aead);
    return PQE_OK;
}

/* Pairs of kind and algorithm in ascending order of kind; the field is left out where all kinds have SHA3-256. */
static void
put_hash_defaults(const pqe__head_private *priv, pqe__wcur *out)
{
    uint8_t pairs[2 * sizeof priv->hash_default];
    size_t len = 0;

    for (size_t kind = 1; kind < sizeof priv->hash_default; kind++) {
        if (priv->hash_default[kind] == 0)
            continue;
        pairs[len++] = (uint8_t)kind;
        pairs[len++] = priv->hash_default[kind];
    }
    if (len == 0)
        return;
    pqe__put_u16(out, TAG_HASH_DEFAULTS);
    pqe__put_u32(out, (uint32_t)len);
    pqe__put_bytes(out, pairs, len);
}

/* Refuses anything that put_hash_defaults() would not have written. */
static bool
get_hash_defaults(const uint8_t *value, size_t size, pqe__head_private *out)
{
    unsigned last = 0;

    if (size == 0 || size % 2 != 0)
        return false;
    for (size_t i = 0; i < size; i += 2) {
        if (value[i] <= last || value[i] >= sizeof out->hash_default || pqe__hash_name(value[i + 1]) == NULL)
            return false;
        last = value[i];
        out->hash_default[last] = value[i + 1];
    }
    return true;
}

pqe_status
pqe__head_encode_private(const pqe__head_private *priv, pqe__wcur *out, pqe_error *err)
{
    size_t len = strlen(priv->device_id);

    pqe__put_u16(out, TAG_DEVICE_ID);
    pqe__put_u32(out, (uint32_t)len);
    pqe__put_bytes(out, priv->device_id, len);
    if (priv->has_policy) {
        pqe__put_u16(out, TAG_POLICY);
        pqe__put_u32(out, PQE__DIGEST_SIZE);
        pqe__put_bytes(out, priv->policy, PQE__DIGEST_SIZE);
    }
    if (priv->has_recovery) {
        pqe__put_u16(out, TAG_RECOVERY);
        pqe__put_u32(out, PQE__DIGEST_SIZE);
        pqe__put_bytes(out, priv->recovery, PQE__DIGEST_SIZE);
    }
    if (priv->audit.chain != 0) {
        pqe__put_u16(out, TAG_AUDIT);
        pqe__put_u32(out, AUDIT_HEAD_SIZE);
        pqe__put_u32(out, priv->audit.chain);
        pqe__put_u64(out, priv->audit.seq);
        pqe__put_bytes(out, priv->audit.link, PQE__DIGEST_SIZE);
        pqe__put_bytes(out, priv->audit.uses, PQE__DIGEST_SIZE);
    }
    put_hash_defaults(priv, out);
    if (priv->has_counter) {
        pqe__put_u16(out, TAG_COUNTER);
        pqe__put_u32(out, 8);
        pqe__put_u64(out, priv->counter);
    }
    if (!out->ok)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_FORMAT, 0, "the vault's settings exceed %u bytes",
                         PQE__HEAD_PRIVATE_MAX);
    return PQE_OK;
}

static pqe_status
settings_damaged(pqe_error *err)
{
    return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "the vault's settings are damaged");
}

static bool
decode_setting(uint16_t tag, const uint8_t *value, size_t size, pqe__head_private *out)
{
    pqe__rcur c = pqe__rcur_init(value, size);

    switch (tag) {
    case TAG_DEVICE_ID:
        if (size > PQE__HEAD_DEVICE_ID_MAX || !pqe__utf8_valid((const char *)value, size))
            return false;
        pqe__get_copy(&c, out->device_id, size);
        break;
    case TAG_POLICY:
        out->has_policy = true;
        pqe__get_copy(&c, out->policy, PQE__DIGEST_SIZE);
        break;
    case TAG_RECOVERY:
        out->has_recovery = true;
        pqe__get_copy(&c, out->recovery, PQE__DIGEST_SIZE);
        break;
    case TAG_HASH_DEFAULTS:
        return get_hash_defaults(value, size, out);
    case TAG_COUNTER:
        out->has_counter = true;
        out->counter = pqe__get_u64(&c);
        break;
    default:
        out->audit.chain = pqe__get_u32(&c);
        out->audit.seq = pqe__get_u64(&c);
        pqe__get_copy(&c, out->audit.link, PQE__DIGEST_SIZE);
        pqe__get_copy(&c, out->audit.uses, PQE__DIGEST_SIZE);
        if (out->audit.chain == 0)
            return false;
    }
    return pqe__rcur_done(&c);
}

pqe_status
pqe__head_decode_private(const uint8_t *bytes, size_t len, pqe__head_private *out, pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(bytes, len);
    uint32_t last = 0;

    memset(out, 0, sizeof *out);
    while (pqe__rcur_left(&c) > 0) {
        uint16_t tag = pqe__get_u16(&c);
        size_t size = pqe__get_u32(&c);
        const uint8_t *value = pqe__get_bytes(&c, size);
        bool first = last == 0; /* the device id, which is always there */
        if (value == NULL || tag <= last)
            return settings_damaged(err);
        last = tag;
        if (tag != TAG_DEVICE_ID && tag != TAG_POLICY && tag != TAG_RECOVERY && tag != TAG_AUDIT &&
            tag != TAG_HASH_DEFAULTS && tag != TAG_COUNTER)
            return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_FORMAT, tag,
                             "the vault uses setting %u, which this version does not know", tag);
        if (first != (tag == TAG_DEVICE_ID) || !decode_setting(tag, value, size, out))
            return settings_damaged(err);
    }
    return PQE_OK;
}

void
pqe__counter_note_encode(const pqe__counter_note *note, uint8_t out[PQE__COUNTER_NOTE_SIZE])
{
    pqe__wcur c = pqe__wcur_init(out, PQE__COUNTER_NOTE_SIZE);

    pqe__put_u64(&c, note->value);
    pqe__put_bytes(&c, note->before, PQE__NOTE_DIGEST_SIZE);
    pqe__put_bytes(&c, note->now, PQE__NOTE_DIGEST_SIZE);
}

bool
pqe__counter_note_decode(const uint8_t *bytes, size_t len, pqe__counter_note *out)
{
    pqe__rcur c = pqe__rcur_init(bytes, len);

    memset(out, 0, sizeof *out);
    out->value = pqe__get_u64(&c);
    pqe__get_copy(&c, out->before, PQE__NOTE_DIGEST_SIZE);
    pqe__get_copy(&c, out->now, PQE__NOTE_DIGEST_SIZE);
    return pqe__rcur_done(&c);
}

static size_t
put_label(pqe__wcur *c, const char *label)
{
    pqe__put_bytes(c, label, strlen(label) + 1);
    return c->pos;
}

size_t
pqe__aad_device_key(uint8_t out[PQE__LABEL_MAX], const uint8_t vault_id[PQE__ID_SIZE], pqe__key_purpose purpose,
                    pqe__suite suite, uint32_t key_epoch)
{
    pqe__wcur c = pqe__wcur_init(out, PQE__LABEL_MAX);

    put_label(&c, "pqc-enclave device key v1");
    pqe__put_bytes(&c, vault_id, PQE__ID_SIZE);
    pqe__put_u8(&c, (uint8_t)purpose);
    pqe__put_suite(&c, suite);
    pqe__put_u32(&c, key_epoch);
    return c.pos;
}

size_t
pqe__aad_identity(uint8_t out[PQE__LABEL_MAX], const uint8_t vault_id[PQE__ID_SIZE],
                  const uint8_t did_hash[PQE__DIGEST_SIZE], pqe__identity_form form, uint32_t key_epoch)
{
    pqe__wcur c = pqe__wcur_init(out, PQE__LABEL_MAX);

    put_label(&c, "pqc-enclave identity key v1");
    pqe__put_bytes(&c, vault_id, PQE__ID_SIZE);
    pqe__put_bytes(&c, did_hash, PQE__DIGEST_SIZE);
    pqe__put_u8(&c, (uint8_t)form);
    pqe__put_u32(&c, key_epoch);
    return c.pos;
}

size_t
pqe__info_secret(uint8_t out[PQE__LABEL_MAX], const uint8_t vault_id[PQE__ID_SIZE], pqe__suite suite,
                 pqe__secret_purpose purpose, const uint8_t key_id[PQE__ID_SIZE])
{
    pqe__wcur c = pqe__wcur_init(out, PQE__LABEL_MAX);

    put_label(&c, "pqc-enclave secret v1");
    pqe__put_suite(&c, suite);
    pqe__put_bytes(&c, vault_id, PQE__ID_SIZE);
    pqe__put_u8(&c, (uint8_t)purpose);
    pqe__put_bytes(&c, key_id, PQE__ID_SIZE);
    return c.pos;
}

size_t
pqe__labelled(uint8_t out[PQE__LABEL_MAX], const char *label, const uint8_t vault_id[PQE__ID_SIZE], const uint8_t *id)
{
    pqe__wcur c = pqe__wcur_init(out, PQE__LABEL_MAX);

    put_label(&c, label);
    pqe__put_bytes(&c, vault_id, PQE__ID_SIZE);
    if (id != NULL)
        pqe__put_bytes(&c, id, PQE__ID_SIZE);
    return c.pos;
}
