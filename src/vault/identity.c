/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Identities in the authenticated index. A record is sealed under the index key and holds the public key and, sealed by
 * the backend, the seed; its row is proved by entries for the DID, the name, and, under the empty name, the default.
 */
#include <stdlib.h>
#include <string.h>

#include "vault/recovery.h"

/* ---- records ---- */

void
pqe__identity_found_free(pqe__identity_found *found)
{
    pqe__wipe(found->plain, found->plain_len);
    free(found->plain);
    pqe__identity_row_free(&found->row);
    memset(found, 0, sizeof *found);
}

static size_t
record_aad(uint8_t aad[PQE__LABEL_MAX], const pqe__keys *keys)
{
    return pqe__labelled(aad, "pqc-enclave identity v1", keys->vault_id, NULL);
}

pqe_status
pqe__identity_row_seal(const pqe__keys *keys, const pqe__identity *identity, pqe__identity_row *row, pqe_error *err)
{
    uint8_t aad[PQE__LABEL_MAX], *plain = malloc(PQE__IDENTITY_MAX), *sealed = malloc(PQE__IDENTITY_MAX);
    pqe__wcur c = pqe__wcur_init(plain, PQE__IDENTITY_MAX - PQE__BOX_OVERHEAD);
    pqe_status status = PQE_OK;

    if (plain == NULL || sealed == NULL)
        status = pqe__fail_nomem(err);
    if (status == PQE_OK) {
        pqe__identity_encode(identity, &c);
        if (!c.ok)
            status =
                pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_FORMAT, 0, "the identity exceeds %u bytes", PQE__IDENTITY_MAX);
    }
    if (status == PQE_OK)
        status = pqe__box_seal(keys->index_aead, aad, record_aad(aad, keys), plain, c.pos, sealed, err);
    if (status == PQE_OK) {
        row->bytes = sealed;
        row->len = c.pos + PQE__BOX_OVERHEAD;
        sealed = NULL;
        status = pqe__identity_row_digest(row, err);
    }
    if (plain != NULL)
        pqe__wipe(plain, c.pos);
    free(plain);
    free(sealed);
    return status;
}

static pqe_status
open_record(const pqe__keys *keys, pqe__identity_found *f, pqe_error *err)
{
    uint8_t aad[PQE__LABEL_MAX];
    pqe_status status;

    if (f->row.len < PQE__BOX_OVERHEAD)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_FORMAT, 0, "an identity's sealed record is too short");
    f->plain_len = f->row.len - PQE__BOX_OVERHEAD;
    if ((f->plain = malloc(f->plain_len + 1)) == NULL)
        return pqe__fail_nomem(err);
    status = pqe__box_open(keys->index_aead, aad, record_aad(aad, keys), f->row.bytes, f->row.len, f->plain, err);
    if (status == PQE_OK)
        status = pqe__identity_decode(f->plain, f->plain_len, &f->identity, err);
    if (status == PQE_OK)
        status = pqe_did_of_key(f->identity.public_key, f->identity.public_key_len, f->did, err);
    return status;
}

/* ---- entries ---- */

static pqe_status
check_tag(const pqe__keys *keys, const pqe__entry *entry, const pqe__identity_found *f, pqe_error *err)
{
    const pqe__text *name = &f->identity.name;
    uint8_t tag[PQE__TAG_KEY_SIZE];
    bool same;
    pqe_status status;

    if (entry->kind == PQE__ENTRY_IDENTITY)
        status = pqe__tag_of(keys, entry->kind, f->did, strlen(f->did), tag, err);
    else
        status = pqe__tag_of(keys, entry->kind, name->data, name->len, tag, err);
    same = status == PQE_OK && memcmp(tag, entry->tag, sizeof tag) == 0;
    if (status == PQE_OK && !same && entry->kind == PQE__ENTRY_IDENTITY_NAME) {
        status = pqe__tag_of(keys, entry->kind, "", 0, tag, err); /* the default's */
        same = status == PQE_OK && memcmp(tag, entry->tag, sizeof tag) == 0;
    }
    if (status == PQE_OK && !same)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "an entry leads to another identity's row");
    return status;
}

pqe_status
pqe__identity_find_entry(pqe__txn *txn, const pqe__entry *entry, pqe__identity_found *out, pqe_error *err)
{
    const pqe__keys *keys = txn->vault->session->keys;
    pqe_status status;

    memset(out, 0, sizeof *out);
    if (entry->kind != PQE__ENTRY_IDENTITY && entry->kind != PQE__ENTRY_IDENTITY_NAME)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "an entry is of another kind than its tag");
    status = pqe__identity_row_fetch(txn->vault->store, entry->rowid, &out->row, err);
    if (status == PQE_OK && memcmp(out->row.digest, entry->digest, PQE__DIGEST_SIZE) != 0)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "an identity was altered, swapped or put back");
    if (status == PQE_OK)
        status = open_record(keys, out, err);
    if (status == PQE_OK)
        status = check_tag(keys, entry, out, err);
    if (status != PQE_OK)
        pqe__identity_found_free(out);
    return status;
}

pqe_status
pqe__identity_look_up(pqe__txn *txn, pqe__entry_kind kind, const char *text, size_t len, bool *found, pqe__entry *entry,
                      pqe_error *err)
{
    uint8_t tag[PQE__TAG_KEY_SIZE];
    pqe_status status = pqe__tag_of(txn->vault->session->keys, kind, text, len, tag, err);

    *found = false;
    return status == PQE_OK ? pqe__tree_lookup(txn->vault->store, txn->head.index_root, tag, found, entry, err)
                            : status;
}

pqe_status
pqe__identity_prove(pqe__txn *txn, const char *did_or_name, pqe__entry *entry, pqe_error *err)
{
    const char *text = did_or_name != NULL ? did_or_name : "";
    size_t len = strnlen(text, PQE_NAME_MAX + 1);
    bool is_did = pqe__did_valid(text, len), found;
    pqe_status status;

    if (did_or_name != NULL && len == 0)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the identity's name is empty");
    status = pqe__identity_look_up(txn, is_did ? PQE__ENTRY_IDENTITY : PQE__ENTRY_IDENTITY_NAME, text, len, &found,
                                   entry, err);
    if (status != PQE_OK || found)
        return status;
    return pqe__fail(err, PQE_E_NOT_FOUND, PQE_ORIGIN_API, 0,
                     did_or_name != NULL ? "there is no identity of that DID or name"
                                         : "the vault has no identity yet");
}

pqe_status
pqe__identity_find(pqe__txn *txn, const char *did_or_name, pqe__identity_found *out, pqe_error *err)
{
    pqe__entry entry;
    pqe_status status = pqe__identity_prove(txn, did_or_name, &entry, err);

    memset(out, 0, sizeof *out);
    return status == PQE_OK ? pqe__identity_find_entry(txn, &entry, out, err) : status;
}

bool
pqe__identity_as_stored(pqe__txn *txn, const pqe__entry *entry)
{
    pqe__identity_row row;
    bool same = pqe__identity_row_fetch(txn->vault->store, entry->rowid, &row, NULL) == PQE_OK &&
                memcmp(row.digest, entry->digest, PQE__DIGEST_SIZE) == 0;

    pqe__identity_row_free(&row);
    return same;
}

pqe_status
pqe__identity_enter(pqe__txn *txn, const pqe__keys *keys, const pqe__identity *identity, const char *did,
                    const pqe__identity_row *row, bool is_default, pqe_error *err)
{
    const struct {
        bool wanted;
        pqe__entry_kind kind;
        const char *text;
        size_t len;
    } wanted[] = {{true, PQE__ENTRY_IDENTITY, did, strlen(did)},
                  {identity->name.len != 0, PQE__ENTRY_IDENTITY_NAME, identity->name.data, identity->name.len},
                  {is_default, PQE__ENTRY_IDENTITY_NAME, "", 0}};
    pqe_status status = PQE_OK;

    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0] && status == PQE_OK; i++) {
        pqe__entry entry = {.kind = wanted[i].kind, .rowid = row->rowid};
        if (!wanted[i].wanted)
            continue;
        memcpy(entry.digest, row->digest, sizeof entry.digest);
        status = pqe__tag_of(keys, entry.kind, wanted[i].text, wanted[i].len, entry.tag, err);
        if (status == PQE_OK)
            status = pqe__tree_set(txn->vault->store, txn->head.index_root, &entry, err);
    }
    return status;
}

pqe_status
pqe__identity_is_default(pqe__txn *txn, const pqe__identity_found *found, bool *is_default, pqe_error *err)
{
    pqe__entry entry;
    bool there;
    pqe_status status = pqe__identity_look_up(txn, PQE__ENTRY_IDENTITY_NAME, "", 0, &there, &entry, err);

    *is_default = status == PQE_OK && there && memcmp(entry.digest, found->row.digest, PQE__DIGEST_SIZE) == 0;
    return status;
}

/* ---- private keys ---- */

static size_t
key_aad(uint8_t aad[PQE__LABEL_MAX], const pqe__keys *keys, const char *did, pqe__identity_form form)
{
    uint8_t hash[PQE__DIGEST_SIZE];

    pqe__hex_decode(did + sizeof PQE__DID_PREFIX - 1, sizeof hash, hash);
    return pqe__aad_identity(aad, keys->vault_id, hash, form, keys->epoch);
}

/* A key that was read in expanded form is larger than what backends seal: it is boxed under a key that they do. */
static pqe_status
box_expanded(const pqe_signing_key *key, const uint8_t kek[32], const uint8_t *aad, size_t aad_len, uint8_t *extra,
             size_t *extra_len, pqe_error *err)
{
    size_t len = pqe__sig_private_size(key->public_key->algorithm);
    uint8_t *sk = pqe__secmem_alloc(len);
    pqe__aead *aead = NULL;
    pqe_status status = sk != NULL ? pqe__sig_private(key->key, sk, err) : pqe__fail_nomem(err);

    if (status == PQE_OK)
        status = pqe__aead_new(kek, 32, &aead, err);
    if (status == PQE_OK)
        status = pqe__box_seal(aead, aad, aad_len, sk, len, extra, err);
    *extra_len = status == PQE_OK ? len + PQE__BOX_OVERHEAD : 0;
    pqe__aead_free(&aead);
    pqe__secmem_free(sk);
    return status;
}

pqe_status
pqe__identity_seal_key(const pqe__home *home, const pqe__keys *keys, const pqe__recovery_list *recovery,
                       const pqe_signing_key *key, pqe__identity *identity, pqe__identity_room *room, pqe_error *err)
{
    uint8_t aad[PQE__LABEL_MAX], *secret = pqe__secmem_alloc(PQE_ML_DSA_SEED_SIZE);
    pqe_blob blob = {.data = room->sealed, .capacity = sizeof room->sealed};
    size_t aad_len;
    pqe_status status;

    if (secret == NULL)
        return pqe__fail_nomem(err);
    identity->form = key->seed != NULL ? PQE__IDENTITY_SEED : PQE__IDENTITY_EXPANDED;
    identity->sealed = room->sealed;
    identity->extra = room->extra;
    identity->extra_len = 0;
    identity->copies = room->copies;
    identity->copies_len = 0;
    aad_len = key_aad(aad, keys, key->public_key->did, identity->form);
    if (identity->form == PQE__IDENTITY_SEED) {
        memcpy(secret, key->seed, PQE_ML_DSA_SEED_SIZE);
        status = PQE_OK;
    } else {
        status = pqe__random_secret(secret, 32, err);
        if (status == PQE_OK)
            status = box_expanded(key, secret, aad, aad_len, room->extra, &identity->extra_len, err);
    }
    if (status == PQE_OK)
        status = pqe__backend_seal(home->backend, home->key, aad, aad_len, secret, PQE_ML_DSA_SEED_SIZE, &blob, err);
    if (status == PQE_OK)
        status = pqe__recovery_copies(keys, recovery, key->public_key->did, secret, room->copies, &identity->copies_len,
                                      err);
    identity->sealed_len = blob.len;
    pqe__secmem_free(secret);
    return status;
}

static pqe_status
unbox_expanded(const pqe__identity_found *f, const uint8_t kek[32], const uint8_t *aad, size_t aad_len,
               pqe_signing_key **out, pqe_error *err)
{
    size_t len = pqe__sig_private_size(f->identity.algorithm);
    uint8_t *sk;
    pqe__aead *aead = NULL;
    pqe_status status;

    if (f->identity.extra_len != len + PQE__BOX_OVERHEAD)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "an identity's key has another length");
    if ((sk = pqe__secmem_alloc(len)) == NULL)
        return pqe__fail_nomem(err);
    status = pqe__aead_new(kek, 32, &aead, err);
    if (status == PQE_OK)
        status = pqe__box_open(aead, aad, aad_len, f->identity.extra, f->identity.extra_len, sk, err);
    if (status == PQE_OK)
        status = pqe__signing_key_from_private(f->identity.algorithm, sk, len, out, err);
    pqe__aead_free(&aead);
    pqe__secmem_free(sk);
    return status;
}

pqe_status
pqe__identity_open_key(pqe__txn *txn, const pqe__identity_found *f, pqe_signing_key **out, pqe_error *err)
{
    pqe_vault *vault = txn->vault;
    const pqe__keys *keys = vault->session->keys;
    uint8_t aad[PQE__LABEL_MAX];
    size_t aad_len = key_aad(aad, keys, f->did, f->identity.form);
    pqe_blob secret = {.capacity = PQE_SEAL_SECRET_MAX};
    pqe_status status;

    *out = NULL;
    if (f->identity.form == PQE__IDENTITY_NATIVE)
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0, "the backend keeps this identity's key");
    if ((secret.data = pqe__secmem_alloc(PQE_SEAL_SECRET_MAX)) == NULL)
        return pqe__fail_nomem(err);
    if (txn->recovery == NULL)
        status = pqe__backend_unseal(vault->backend, vault->session->backend_key, aad, aad_len, f->identity.sealed,
                                     f->identity.sealed_len, &secret, err);
    else if ((status = pqe__recovery_open_copy(txn->recovery, keys, f->did, &f->identity, secret.data, err)) == PQE_OK)
        secret.len = PQE_ML_DSA_SEED_SIZE;
    if (status == PQE_OK && secret.len != PQE_ML_DSA_SEED_SIZE)
        status =
            pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_BACKEND, 0, "an identity's sealed secret has another length");
    if (status == PQE_OK && f->identity.form == PQE__IDENTITY_SEED)
        status = pqe_signing_key_from_seed(f->identity.algorithm, secret.data, secret.len, out, err);
    else if (status == PQE_OK)
        status = unbox_expanded(f, secret.data, aad, aad_len, out, err);
    if (status == PQE_OK && strcmp((*out)->public_key->did, f->did) != 0) {
        pqe_signing_key_free(out);
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "an identity's private key is not its own");
    }
    pqe__secmem_free(secret.data);
    return status;
}

/* ---- signing ---- */

/* A backend's signature is not believed before it verifies. */
static pqe_status
sign_natively(pqe__txn *txn, const pqe__identity_found *f, const void *message, size_t message_len, const void *context,
              size_t context_len, uint8_t *signature, pqe_error *err)
{
    pqe_vault *vault = txn->vault;
    pqe_blob blob = {.data = signature, .capacity = PQE_ML_DSA_SIGNATURE_MAX};
    pqe__sig_key *key = NULL;
    pqe_status status;

    status = pqe__backend_identity_sign(vault->backend, vault->session->backend_key, f->identity.algorithm,
                                        f->identity.sealed, f->identity.sealed_len, context, context_len, message,
                                        message_len, &blob, err);
    if (status == PQE_OK)
        status =
            pqe__sig_from_public(f->identity.algorithm, f->identity.public_key, f->identity.public_key_len, &key, err);
    if (status == PQE_OK)
        status = pqe__sig_verify(key, message, message_len, context, context_len, signature, blob.len, err);
    if (status == PQE_E_ATTESTATION)
        status = pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, 0, "the backend's signature does not verify");
    if (status != PQE_OK)
        memset(signature, 0, PQE_ML_DSA_SIGNATURE_MAX);
    pqe__sig_free(&key);
    return status;
}

pqe_status
pqe__identity_sign(pqe__txn *txn, const pqe__identity_found *f, const void *message, size_t message_len,
                   const void *context, size_t context_len, uint8_t *signature, pqe_error *err)
{
    pqe_signing_key *key;
    size_t len;
    pqe_status status;

    if (f->identity.form == PQE__IDENTITY_NATIVE)
        return sign_natively(txn, f, message, message_len, context, context_len, signature, err);
    status = pqe__identity_open_key(txn, f, &key, err);
    if (status == PQE_OK)
        status = pqe_signing_key_sign(key, message, message_len, context, context_len, signature,
                                      PQE_ML_DSA_SIGNATURE_MAX, &len, err);
    pqe_signing_key_free(&key);
    return status;
}
