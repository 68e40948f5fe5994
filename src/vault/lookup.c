/* SPDX-License-Identifier: Apache-2.0 */
/* Finding artifacts and session secrets in the authenticated index, and opening what is found. */
#include "vault/internal.h"

#include <stdlib.h>
#include <string.h>

pqe_status
pqe__check_name(const char *name, pqe_error *err)
{
    size_t len = name != NULL ? strnlen(name, PQE_NAME_MAX + 1) : 0;

    if (len == 0)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the name is empty");
    if (len > PQE_NAME_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "the name is longer than %d bytes", PQE_NAME_MAX);
    if (!pqe__utf8_valid(name, len))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the name is not valid UTF-8");
    return PQE_OK;
}

pqe_status
pqe__tag_of(const pqe__keys *keys, pqe__entry_kind kind, const void *data, size_t len, uint8_t tag[PQE__TAG_KEY_SIZE],
            pqe_error *err)
{
    uint8_t message[1 + PQE_NAME_MAX];
    pqe_status status;

    if (len > PQE_NAME_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "the name is longer than %d bytes", PQE_NAME_MAX);
    message[0] = (uint8_t)kind;
    memcpy(message + 1, data, len);
    status = pqe__hmac_sha256(keys->secret->tag, sizeof keys->secret->tag, message, 1 + len, tag, err);
    pqe__wipe(message, 1 + len); /* names are kept as secret as contents */
    return status;
}

/* ---- artifacts ---- */

void
pqe__found_free(pqe__found *found)
{
    pqe__wipe(found->plain, found->plain_len);
    free(found->plain);
    pqe__row_free(&found->row);
    memset(found, 0, sizeof *found);
}

pqe_status
pqe__record_open(const pqe__keys *keys, pqe__found *f, pqe_error *err)
{
    uint8_t aad[PQE__LABEL_MAX];
    size_t aad_len = pqe__labelled(aad, "pqc-enclave record v1", keys->vault_id, f->row.key_id);
    pqe_status status;

    if (f->row.record_len < PQE__BOX_OVERHEAD)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_FORMAT, 0, "a sealed record is too short");
    f->plain_len = f->row.record_len - PQE__BOX_OVERHEAD;
    f->plain = malloc(f->plain_len + 1);
    if (f->plain == NULL)
        return pqe__fail_nomem(err);
    status = pqe__box_open(keys->index_aead, aad, aad_len, f->row.record, f->row.record_len, f->plain, err);
    if (status == PQE_OK)
        status = pqe__record_decode(f->plain, f->plain_len, &f->record, err);
    if (status == PQE_OK && memcmp(f->record.key_id, f->row.key_id, PQE__ID_SIZE) != 0)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "a record names another key than its row");
    return status;
}

/* The row's own name or id must give the tag it was found under. */
static pqe_status
check_tag(const pqe__keys *keys, const pqe__entry *entry, const pqe__record *r, pqe_error *err)
{
    uint8_t tag[PQE__TAG_KEY_SIZE];
    pqe_status status;

    if (entry->kind == PQE__ENTRY_NAME)
        status = pqe__tag_of(keys, PQE__ENTRY_NAME, r->name.data, r->name.len, tag, err);
    else
        status = pqe__tag_of(keys, PQE__ENTRY_ID, r->artifact_id, PQE__ID_SIZE, tag, err);
    if (status == PQE_OK && memcmp(tag, entry->tag, sizeof tag) != 0)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "an entry leads to another artifact's row");
    return status;
}

/* What an entry stands for, as read from its row. */
static pqe_status
open_entry(pqe__txn *txn, const pqe__entry *entry, bool with_body, pqe__found *out, pqe_error *err)
{
    const pqe__keys *keys = txn->vault->session->keys;
    pqe_status status;

    memset(out, 0, sizeof *out);
    if (entry->kind != PQE__ENTRY_NAME && entry->kind != PQE__ENTRY_ID)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "an entry is of another kind than its tag");
    status = pqe__row_fetch(txn->vault->store, entry->rowid, with_body, &out->row, err);
    if (status == PQE_OK && memcmp(out->row.digest, entry->digest, PQE__DIGEST_SIZE) != 0)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "a row was altered, swapped or put back");
    if (status == PQE_OK)
        status = pqe__record_open(keys, out, err);
    if (status != PQE_OK)
        pqe__found_free(out);
    return status;
}

pqe_status
pqe__find_entry(pqe__txn *txn, const pqe__entry *entry, bool with_body, pqe__found *out, pqe_error *err)
{
    pqe_status status = open_entry(txn, entry, with_body, out, err);

    if (status == PQE_OK && (status = check_tag(txn->vault->session->keys, entry, &out->record, err)) != PQE_OK)
        pqe__found_free(out);
    return status;
}

static bool
parse_id(const char *text, uint8_t id[PQE__ID_SIZE])
{
    size_t prefix = sizeof PQE__ARTIFACT_ID_PREFIX - 1;

    return strncmp(text, PQE__ARTIFACT_ID_PREFIX, prefix) == 0 && strlen(text + prefix) == (size_t)2 * PQE__ID_SIZE &&
           pqe__hex_decode(text + prefix, PQE__ID_SIZE, id);
}

static pqe_status
look_up(pqe__txn *txn, pqe__entry_kind kind, const void *data, size_t len, bool *found, pqe__entry *entry,
        pqe_error *err)
{
    uint8_t tag[PQE__TAG_KEY_SIZE];
    pqe_status status = pqe__tag_of(txn->vault->session->keys, kind, data, len, tag, err);

    *found = false;
    return status == PQE_OK ? pqe__tree_lookup(txn->vault->store, txn->head.index_root, tag, found, entry, err)
                            : status;
}

bool
pqe__is_artifact_id(const char *text)
{
    uint8_t id[PQE__ID_SIZE];

    return parse_id(text, id);
}

static pqe_status
prove_entry(pqe__txn *txn, const char *name_or_id, pqe__entry *entry, pqe_error *err)
{
    uint8_t id[PQE__ID_SIZE];
    bool found;
    pqe_status status = look_up(txn, PQE__ENTRY_NAME, name_or_id, strlen(name_or_id), &found, entry, err);

    if (status == PQE_OK && !found && parse_id(name_or_id, id))
        status = look_up(txn, PQE__ENTRY_ID, id, sizeof id, &found, entry, err);
    if (status == PQE_OK && !found)
        status = pqe__fail(err, PQE_E_NOT_FOUND, PQE_ORIGIN_API, 0, "there is no artifact of that name or id");
    return status;
}

pqe_status
pqe__find(pqe__txn *txn, const char *name_or_id, bool with_body, pqe__found *out, pqe_error *err)
{
    pqe__entry entry;
    pqe_status status = prove_entry(txn, name_or_id, &entry, err);
    size_t len = strlen(name_or_id);

    memset(out, 0, sizeof *out);
    if (status == PQE_OK)
        status = open_entry(txn, &entry, with_body, out, err);
    /* The tag that led to the entry was made of the name asked for: a row that gives the same name gives the same tag. */
    if (status != PQE_OK || (entry.kind == PQE__ENTRY_NAME && out->record.name.len == len &&
                             memcmp(out->record.name.data, name_or_id, len) == 0))
        return status;
    if ((status = check_tag(txn->vault->session->keys, &entry, &out->record, err)) != PQE_OK)
        pqe__found_free(out);
    return status;
}

static bool
is_as_stored(pqe__txn *txn, const pqe__entry *entry)
{
    pqe__row row;
    bool same = pqe__row_fetch(txn->vault->store, entry->rowid, false, &row, NULL) == PQE_OK &&
                memcmp(row.digest, entry->digest, PQE__DIGEST_SIZE) == 0;

    pqe__row_free(&row);
    return same;
}

/* A row that is what the entry says and makes no sense all the same is no accident: it is left alone. */
pqe_status
pqe__find_old(pqe__txn *txn, const pqe__entry *entry, pqe__found *out, pqe_error *err)
{
    pqe_status status = pqe__find_entry(txn, entry, false, out, err);

    if (status != PQE_E_TAMPERED || is_as_stored(txn, entry))
        return status;
    out->damaged = true;
    out->entry = *entry;
    out->row.is_inline = true; /* no body is known */
    return PQE_OK;
}

pqe_status
pqe__find_to_remove(pqe__txn *txn, const char *name_or_id, pqe__found *out, pqe_error *err)
{
    pqe__entry entry;
    pqe_status status = prove_entry(txn, name_or_id, &entry, err);

    memset(out, 0, sizeof *out);
    return status == PQE_OK ? pqe__find_old(txn, &entry, out, err) : status;
}

pqe_status
pqe__find_to_replace(pqe__txn *txn, pqe__text name, bool *found, pqe__found *out, pqe_error *err)
{
    pqe__entry entry;
    pqe_status status = look_up(txn, PQE__ENTRY_NAME, name.data, name.len, found, &entry, err);

    memset(out, 0, sizeof *out);
    return status == PQE_OK && *found ? pqe__find_old(txn, &entry, out, err) : status;
}

/* ---- wrap keys ---- */

/* The wrap key hangs on the session secret and on the root: neither alone gives it. RFC 5869. */
static pqe_status
derive_wrap(const pqe__keys *keys, const uint8_t key_id[PQE__ID_SIZE], const uint8_t secret[32], uint8_t wrap[32],
            pqe_error *err)
{
    uint8_t info[PQE__LABEL_MAX], *prk = pqe__secmem_alloc(32);
    size_t len = pqe__labelled(info, "pqc-enclave wrap key v1", keys->vault_id, key_id);
    pqe_status status;

    if (prk == NULL)
        return pqe__fail_nomem(err);
    status = pqe__hkdf_extract(keys->secret->wrap_salt, sizeof keys->secret->wrap_salt, secret, 32, prk, err);
    if (status == PQE_OK)
        status = pqe__hkdf_expand(PQE__HKDF_SHA256, prk, 32, info, len, wrap, 32, err);
    pqe__secmem_free(prk);
    return status;
}

static const uint8_t *
cached_wrap(const pqe__keys *keys, const uint8_t key_id[PQE__ID_SIZE])
{
    for (size_t i = 0; i < keys->wrap_count; i++)
        if (memcmp(keys->wrap_id[i], key_id, PQE__ID_SIZE) == 0)
            return keys->secret->wrap[i];
    return NULL;
}

/* Derives into the next cache slot, first in, first out. */
static pqe_status
cache_wrap(pqe__keys *keys, const uint8_t key_id[PQE__ID_SIZE], const uint8_t secret[32], const uint8_t **wrap,
           pqe_error *err)
{
    size_t slot = keys->wrap_next;
    pqe_status status;

    memset(keys->wrap_id[slot], 0, PQE__ID_SIZE);
    status = derive_wrap(keys, key_id, secret, keys->secret->wrap[slot], err);
    if (status != PQE_OK)
        return status;
    memcpy(keys->wrap_id[slot], key_id, PQE__ID_SIZE);
    keys->wrap_next = (slot + 1) % PQE__WRAP_CACHE;
    if (keys->wrap_count < PQE__WRAP_CACHE)
        keys->wrap_count++;
    *wrap = keys->secret->wrap[slot];
    return PQE_OK;
}

pqe_status
pqe__secret_find(pqe__txn *txn, const pqe__keys *keys, const uint8_t key_id[PQE__ID_SIZE], pqe__entry *entry,
                 pqe__secret_row *row, pqe_error *err)
{
    uint8_t tag[PQE__TAG_KEY_SIZE];
    bool found = false;
    pqe_status status = pqe__tag_of(keys, PQE__ENTRY_SECRET, key_id, PQE__ID_SIZE, tag, err);

    if (status == PQE_OK)
        status = pqe__tree_lookup(txn->vault->store, txn->head.index_root, tag, &found, entry, err);
    if (status == PQE_OK && !found)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "a session secret is missing");
    if (status == PQE_OK)
        status = pqe__secret_fetch(txn->vault->store, entry->rowid, row, err);
    if (status == PQE_OK &&
        (memcmp(row->digest, entry->digest, PQE__DIGEST_SIZE) != 0 || memcmp(row->key_id, key_id, PQE__ID_SIZE) != 0))
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "a session secret was altered");
    return status;
}

pqe_status
pqe__secret_open(pqe__txn *txn, const pqe__keys *keys, const pqe__secret_row *row, uint8_t secret[32], pqe_error *err)
{
    uint8_t info[PQE__LABEL_MAX];
    size_t len = pqe__info_secret(info, keys->vault_id, keys->suite, PQE__SECRET_SESSION, row->key_id);

    if (keys->by_recipient && row->sealed_len != sizeof row->sealed)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "a session secret is not sealed for recovery");
    if (keys->by_recipient)
        return pqe__hpke_open(&pqe__hpke_ml_kem_768, keys->recipient, info, len, NULL, 0,
                              row->sealed + PQE__SEALED_SECRET_SIZE, PQE__SEALED_SECRET_SIZE, secret, err);
    if (keys->native != NULL)
        return pqe__native_secret_open(txn, keys, info, len, row, secret, err);
    return pqe__hpke_open(&pqe__hpke_ml_kem_768, keys->vault_key, info, len, NULL, 0, row->sealed,
                          PQE__SEALED_SECRET_SIZE, secret, err);
}

pqe_status
pqe__secret_seal(const pqe__keys *keys, const pqe__kem_key *recipient, const uint8_t secret[32], pqe__secret_row *row,
                 pqe_error *err)
{
    uint8_t info[PQE__LABEL_MAX];
    size_t len = pqe__info_secret(info, keys->vault_id, keys->suite, PQE__SECRET_SESSION, row->key_id);
    pqe_status status =
        pqe__hpke_seal(&pqe__hpke_ml_kem_768, keys->vault_key, NULL, info, len, NULL, 0, secret, 32, row->sealed, err);

    row->sealed_len = PQE__SEALED_SECRET_SIZE;
    if (status == PQE_OK && recipient != NULL) {
        status = pqe__hpke_seal(&pqe__hpke_ml_kem_768, recipient, NULL, info, len, NULL, 0, secret, 32,
                                row->sealed + PQE__SEALED_SECRET_SIZE, err);
        row->sealed_len = sizeof row->sealed;
    }
    return status == PQE_OK ? pqe__secret_digest(row, err) : status;
}

pqe_status
pqe__wrap_key(pqe__txn *txn, pqe__keys *keys, const uint8_t key_id[PQE__ID_SIZE], const uint8_t **wrap, pqe_error *err)
{
    uint8_t *secret;
    pqe__secret_row row;
    pqe__entry entry;
    pqe_status status;

    if ((*wrap = cached_wrap(keys, key_id)) != NULL)
        return PQE_OK;
    if ((secret = pqe__secmem_alloc(32)) == NULL)
        return pqe__fail_nomem(err);
    status = pqe__secret_find(txn, keys, key_id, &entry, &row, err);
    if (status == PQE_OK)
        status = pqe__secret_open(txn, keys, &row, secret, err);
    if (status == PQE_OK)
        status = cache_wrap(keys, key_id, secret, wrap, err);
    pqe__secmem_free(secret);
    return status;
}

pqe_status
pqe__wrap_key_make(pqe__keys *keys, pqe__secret_row *row, pqe_error *err)
{
    uint8_t *secret = pqe__secmem_alloc(32);
    const uint8_t *wrap;
    pqe_status status;

    memset(row, 0, sizeof *row);
    if (secret == NULL)
        return pqe__fail_nomem(err);
    status = pqe__random(row->key_id, sizeof row->key_id, err);
    if (status == PQE_OK)
        status = pqe__random_secret(secret, 32, err);
    if (status == PQE_OK)
        status = pqe__secret_seal(keys, keys->recipient, secret, row, err);
    if (status == PQE_OK)
        status = cache_wrap(keys, row->key_id, secret, &wrap, err);
    pqe__secmem_free(secret);
    return status;
}

pqe_status
pqe__wrap_key_enter(pqe__txn *txn, const pqe__keys *keys, pqe__secret_row *row, pqe_error *err)
{
    pqe__entry entry = {.kind = PQE__ENTRY_SECRET};
    pqe_status status = pqe__tag_of(keys, PQE__ENTRY_SECRET, row->key_id, PQE__ID_SIZE, entry.tag, err);

    if (status == PQE_OK)
        status = pqe__secret_insert(txn->vault->store, row, err);
    memcpy(entry.digest, row->digest, sizeof entry.digest);
    entry.rowid = row->rowid;
    return status == PQE_OK ? pqe__tree_set(txn->vault->store, txn->head.index_root, &entry, err) : status;
}

pqe_status
pqe__secret_release(pqe__txn *txn, const uint8_t key_id[PQE__ID_SIZE], size_t rows, pqe_error *err)
{
    const pqe__session *session = txn->vault->session;
    pqe__store *store = txn->vault->store;
    uint8_t tag[PQE__TAG_KEY_SIZE];
    pqe__secret_row row;
    pqe__entry entry = {.rowid = -1};
    bool found = false, in_use = true;
    pqe_status status = pqe__tag_of(session->keys, PQE__ENTRY_SECRET, key_id, PQE__ID_SIZE, tag, err);

    if (status == PQE_OK)
        status = pqe__tree_lookup(store, txn->head.index_root, tag, &found, &entry, err);
    if (status == PQE_OK && found)
        status = pqe__secret_count(store, entry.rowid, -(int64_t)rows, err);
    if (status == PQE_OK)
        status = pqe__row_key_in_use(store, key_id, entry.rowid, &in_use, err);
    if (status != PQE_OK || in_use)
        return status;
    status = pqe__secret_find(txn, session->keys, key_id, &entry, &row, err);
    if (status == PQE_OK)
        status = pqe__secret_delete(store, entry.rowid, err);
    if (status == PQE_OK)
        status = pqe__tree_remove(store, txn->head.index_root, entry.tag, err);
    return status;
}

/* ---- rows ---- */

pqe_status
pqe__dek_unwrap(const uint8_t wrap[32], const pqe__found *found, uint8_t dek[32], pqe_error *err)
{
    pqe__aead *aead = NULL;
    pqe_status status = pqe__aead_new(wrap, 32, &aead, err);

    /* SP 800-38D. The AAD is the record's bytes as they were stored, not as we would write them. */
    if (status == PQE_OK)
        status = pqe__box_open(aead, found->plain, found->plain_len, found->row.dek, sizeof found->row.dek, dek, err);
    pqe__aead_free(&aead);
    return status;
}

pqe_status
pqe__row_seal_under(const pqe__keys *keys, pqe__aead *wrap, const uint8_t key_id[PQE__ID_SIZE], const uint8_t dek[32],
                    const pqe__record *record, pqe__row *row, pqe_error *err)
{
    uint8_t aad[PQE__LABEL_MAX], *plain = malloc(PQE__RECORD_MAX), *sealed = NULL;
    size_t aad_len = pqe__labelled(aad, "pqc-enclave record v1", keys->vault_id, key_id);
    pqe__wcur c = pqe__wcur_init(plain, PQE__RECORD_MAX - PQE__BOX_OVERHEAD);
    pqe_status status;

    if (plain == NULL)
        return pqe__fail_nomem(err);
    pqe__record_encode(record, &c);
    status = c.ok ? PQE_OK
                  : pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_FORMAT, 0, "the metadata exceed %u bytes", PQE__RECORD_MAX);
    if (status == PQE_OK && (sealed = malloc(c.pos + PQE__BOX_OVERHEAD)) == NULL)
        status = pqe__fail_nomem(err);
    if (status == PQE_OK)
        status = pqe__box_seal(wrap, plain, c.pos, dek, 32, row->dek, err);
    if (status == PQE_OK)
        status = pqe__box_seal(keys->index_aead, aad, aad_len, plain, c.pos, sealed, err);
    if (status == PQE_OK) {
        memcpy(row->key_id, key_id, PQE__ID_SIZE);
        row->record = row->allocation = sealed;
        row->record_len = c.pos + PQE__BOX_OVERHEAD;
        sealed = NULL;
        status = pqe__row_digest(row, err);
    }
    pqe__wipe(plain, c.pos);
    free(plain);
    free(sealed);
    return status;
}

pqe_status
pqe__row_seal(pqe__txn *txn, pqe__keys *keys, const uint8_t key_id[PQE__ID_SIZE], const uint8_t dek[32],
              const pqe__record *record, pqe__row *row, pqe_error *err)
{
    pqe__aead *aead = NULL;
    const uint8_t *wrap;
    pqe_status status = pqe__wrap_key(txn, keys, key_id, &wrap, err);

    if (status == PQE_OK)
        status = pqe__aead_new(wrap, 32, &aead, err);
    if (status == PQE_OK)
        status = pqe__row_seal_under(keys, aead, key_id, dek, record, row, err);
    pqe__aead_free(&aead);
    return status;
}

pqe_status
pqe__row_enter(pqe__txn *txn, const pqe__keys *keys, const pqe__record *record, const pqe__row *row, pqe_error *err)
{
    pqe__entry entry = {.kind = PQE__ENTRY_NAME, .rowid = row->rowid};
    pqe_status status = pqe__tag_of(keys, PQE__ENTRY_NAME, record->name.data, record->name.len, entry.tag, err);

    memcpy(entry.digest, row->digest, sizeof entry.digest);
    if (status == PQE_OK)
        status = pqe__tree_set(txn->vault->store, txn->head.index_root, &entry, err);
    entry.kind = PQE__ENTRY_ID;
    if (status == PQE_OK)
        status = pqe__tag_of(keys, PQE__ENTRY_ID, record->artifact_id, PQE__ID_SIZE, entry.tag, err);
    if (status == PQE_OK)
        status = pqe__tree_set(txn->vault->store, txn->head.index_root, &entry, err);
    return status;
}
