/* SPDX-License-Identifier: Apache-2.0 */
/* Deferred content hashes: the ciphertext commitment checked, the content hashed, and the hash bound by re-wrapping. */
#include <stdlib.h>
#include <string.h>

#include "body/commitment.h"
#include "vault/content_hash.h"
#include "vault/reader.h"

#define STEP ((size_t)4 << 20) /* read on all cores, hashed, wiped */

/* ---- reading ---- */

static pqe_status
commit_to_ciphertext(pqe_reader *r, uint8_t root[PQE__COMMITMENT_SIZE], pqe_error *err)
{
    uint64_t stored = r->artifact->stored_bytes;
    uint8_t *buf = malloc(PQE__SEGMENT_STORED);
    pqe__commitment *c = NULL;
    pqe_status status = buf != NULL ? pqe__commitment_new(&c, err) : pqe__fail_nomem(err);

    for (uint64_t at = 0; at < stored && status == PQE_OK;) {
        size_t n = stored - at < PQE__SEGMENT_STORED ? (size_t)(stored - at) : PQE__SEGMENT_STORED;
        status = pqe__reader_stored(r, at, buf, n, err);
        if (status == PQE_OK)
            status = pqe__commitment_update(c, buf, n, err);
        at += n;
    }
    if (status == PQE_OK)
        status = pqe__commitment_final(c, root, err);
    pqe__commitment_free(&c);
    free(buf);
    return status;
}

pqe_status
pqe__reader_check_commitment(pqe_reader *r, pqe_error *err)
{
    uint8_t root[PQE__COMMITMENT_SIZE];
    pqe_status status;

    if (r->hash_algorithm != PQE__RECORD_HASH_DEFERRED)
        return PQE_OK;
    status = commit_to_ciphertext(r, root, err);
    if (status == PQE_OK && memcmp(root, r->recorded_hash, sizeof root) != 0)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0,
                           "the ciphertext does not have the recorded commitment");
    return status;
}

pqe_status
pqe__reader_hash(pqe_reader *r, unsigned algorithm, uint8_t out[32], uint64_t *bytes, pqe_error *err)
{
    uint64_t size = r->artifact->size_bytes;
    size_t step = size < STEP ? (size_t)size + 1 : STEP, got = 1;
    uint8_t *buf = malloc(step);
    pqe_hasher *hasher = NULL;
    char hex[PQE_HASH_HEX_SIZE];
    pqe_status status = buf != NULL ? pqe_hasher_open(pqe__hash_name(algorithm), &hasher, err) : pqe__fail_nomem(err);

    *bytes = 0;
    while (status == PQE_OK && (status = pqe_reader_read_at(r, *bytes, buf, step, &got, err)) == PQE_OK && got > 0) {
        status = pqe_hasher_update(hasher, buf, got, err);
        *bytes += got;
    }
    if (status == PQE_OK)
        status = pqe_hasher_finish(&hasher, hex, err);
    if (status == PQE_OK)
        pqe__hex_decode(hex, 32, out);
    pqe_hasher_close(&hasher);
    if (buf != NULL)
        pqe__wipe(buf, step);
    free(buf);
    return status;
}

/* ---- binding ---- */

/* In a write transaction. The DEK is wrapped anew under the key that wraps it, over the changed record. */
static pqe_status
rewrap(pqe__txn *txn, pqe__found *f, unsigned algorithm, const uint8_t hash[32], pqe_error *err)
{
    pqe__keys *keys = txn->vault->session->keys;
    uint8_t *dek = pqe__secmem_alloc(PQE__KEY_SIZE);
    const uint8_t *wrap;
    pqe__row row = f->row;
    pqe_status status = dek != NULL ? PQE_OK : pqe__fail_nomem(err);

    row.allocation = NULL;
    if (status == PQE_OK)
        status = pqe__wrap_key(txn, keys, f->row.key_id, &wrap, err);
    if (status == PQE_OK)
        status = pqe__dek_unwrap(wrap, f, dek, err);
    f->record.hash_algorithm = (uint8_t)algorithm;
    memcpy(f->record.content_hash, hash, 32);
    if (status == PQE_OK)
        status = pqe__row_seal(txn, keys, f->row.key_id, dek, &f->record, &row, err);
    if (status == PQE_OK)
        status = pqe__row_update(txn->vault->store, &row, err);
    if (status == PQE_OK)
        status = pqe__row_enter(txn, keys, &f->record, &row, err);
    free(row.allocation);
    pqe__secmem_free(dek);
    return status == PQE_OK ? pqe__txn_write_head(txn, keys, err) : status;
}

pqe_status
pqe__bind(pqe_vault *vault, const char *id, const uint8_t commitment[32], unsigned algorithm, const uint8_t hash[32],
          pqe_artifact **out, pqe_error *err)
{
    pqe__found f = {0};
    pqe_artifact *artifact = NULL;
    bool known, open;
    pqe__txn txn;
    pqe_status status = pqe__txn_begin(vault, true, &txn, err);

    if (status != PQE_OK)
        return status;
    status = pqe__find(&txn, id, false, &f, err);
    /* Another may have bound one meanwhile: the first stays. An id names one body for ever. */
    open = status == PQE_OK && f.record.hash_algorithm == PQE__RECORD_HASH_DEFERRED;
    if (open && memcmp(f.record.content_hash, commitment, 32) != 0)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "the recorded commitment changed meanwhile");
    if (open && status == PQE_OK)
        status = rewrap(&txn, &f, algorithm, hash, err);
    if (status == PQE_OK && out != NULL)
        status = pqe__artifact_new(&f, &artifact, err);
    if (status == PQE_OK && open)
        status = pqe__txn_commit(&txn, &known, err);
    else
        pqe__txn_abort(&txn);
    if (status == PQE_OK && out != NULL)
        *out = artifact;
    else
        pqe_artifact_free(&artifact);
    pqe__found_free(&f);
    return status;
}

pqe_status
pqe_bind_hash(pqe_vault *vault, const char *name_or_id, const char *hash, pqe_artifact **out, pqe_error *err)
{
    pqe__hash_algorithm algorithm;
    pqe_reader *r = NULL;
    uint8_t digest[32];
    uint64_t bytes;
    pqe_status status = pqe__content_hash_named(hash, &algorithm, err);

    if (out != NULL)
        *out = NULL;
    if (status == PQE_OK && algorithm == PQE__RECORD_HASH_DEFERRED)
        status = pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "\"deferred\" is no hash to bind");
    if (status == PQE_OK)
        status = pqe__reader_open_check(vault, name_or_id, &r, err); /* no content leaves */
    if (status == PQE_OK && r->hash_algorithm != PQE__RECORD_HASH_DEFERRED) {
        if (out != NULL) {
            *out = r->artifact;
            r->artifact = NULL;
        }
        pqe_reader_close(&r);
        return PQE_OK;
    }
    if (status == PQE_OK && pqe__store_read_only(vault->store))
        status = pqe__fail(err, PQE_E_READ_ONLY, PQE_ORIGIN_API, 0, "the vault is read-only here");
    if (status == PQE_OK)
        status = pqe__reader_check_commitment(r, err);
    if (status == PQE_OK)
        status = pqe__reader_hash(r, algorithm, digest, &bytes, err);
    if (status == PQE_OK)
        status = pqe__bind(vault, r->artifact->artifact_id, r->recorded_hash, algorithm, digest, out, err);
    pqe_reader_close(&r);
    return status;
}
