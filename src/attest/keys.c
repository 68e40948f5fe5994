/* SPDX-License-Identifier: Apache-2.0 */
/* Key handles of the public interface: public keys with their DID, key pairs with their seed in locked memory. */
#include "attest/keys.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/secmem.h"
#include "util/text.h"

static pqe_status
bad_argument(pqe_error *err, const char *text)
{
    return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "%s", text);
}

/* ---- DIDs ---- */

pqe_status
pqe_did_of_key(const void *public_key, size_t len, char *did, pqe_error *err)
{
    uint8_t digest[PQE__SHA3_256_SIZE];
    pqe_status status;

    if (did == NULL)
        return bad_argument(err, "no place for the DID");
    memset(did, 0, PQE_DID_SIZE);
    if (public_key == NULL || len == 0)
        return bad_argument(err, "no public key");
    status = pqe__hash_once(PQE__SHA3_256, public_key, len, digest, err);
    if (status != PQE_OK)
        return status;
    memcpy(did, PQE__DID_PREFIX, sizeof PQE__DID_PREFIX - 1);
    pqe__hex_encode(digest, sizeof digest, did + sizeof PQE__DID_PREFIX - 1);
    return PQE_OK;
}

bool
pqe__did_valid(const char *did, size_t len)
{
    return len == PQE__DID_LEN && memcmp(did, PQE__DID_PREFIX, sizeof PQE__DID_PREFIX - 1) == 0 &&
           pqe__hex_is_lower(did + sizeof PQE__DID_PREFIX - 1, len - (sizeof PQE__DID_PREFIX - 1));
}

/* What PEM of either kind of key goes through; `place` is where the caller wants the handle. */
static pqe_status
read_pem(const void *place, const char *pem, size_t len,
         pqe_status (*read)(const char *, size_t, pqe__sig_key **, pqe_error *), pqe__sig_key **out, pqe_error *err)
{
    if (place == NULL)
        return bad_argument(err, "no place for the key");
    if (pem == NULL)
        return bad_argument(err, "no PEM text");
    return read(pem, len, out, err);
}

/* ---- public keys ---- */

/* Takes `key`, also where it fails. */
static pqe_status
wrap_public(pqe__sig_key *key, pqe_public_key **out, pqe_error *err)
{
    pqe_public_key *p = calloc(1, sizeof *p);
    pqe_status status;

    if (p == NULL) {
        pqe__sig_free(&key);
        return pqe__fail_nomem(err);
    }
    p->key = key;
    p->algorithm = pqe__sig_algorithm(key);
    p->len = pqe_sig_public_size(p->algorithm);
    status = pqe__sig_public(key, p->raw, err);
    if (status == PQE_OK)
        status = pqe_did_of_key(p->raw, p->len, p->did, err);
    if (status != PQE_OK)
        pqe_public_key_free(&p);
    *out = p;
    return status;
}

pqe_status
pqe_public_key_from_raw(pqe_sig_algorithm algorithm, const void *data, size_t len, pqe_public_key **out, pqe_error *err)
{
    pqe__sig_key *key;
    pqe_status status;

    if (out == NULL)
        return bad_argument(err, "no place for the key");
    *out = NULL;
    if (data == NULL || pqe_sig_name(algorithm) == NULL)
        return bad_argument(err, "no public key, or an unknown algorithm");
    status = pqe__sig_from_public(algorithm, data, len, &key, err);
    return status == PQE_OK ? wrap_public(key, out, err) : status;
}

pqe_status
pqe_public_key_from_pem(const char *pem, size_t len, pqe_public_key **out, pqe_error *err)
{
    pqe__sig_key *key;
    pqe_status status;

    if (out != NULL)
        *out = NULL;
    status = read_pem(out, pem, len, pqe__sig_from_public_pem, &key, err);
    return status == PQE_OK ? wrap_public(key, out, err) : status;
}

void
pqe_public_key_free(pqe_public_key **key)
{
    if (key == NULL || *key == NULL)
        return;
    pqe__sig_free(&(*key)->key);
    free(*key);
    *key = NULL;
}

pqe_sig_algorithm
pqe_public_key_algorithm(const pqe_public_key *key)
{
    return key->algorithm;
}

const uint8_t *
pqe_public_key_raw(const pqe_public_key *key, size_t *len)
{
    if (len != NULL)
        *len = key->len;
    return key->raw;
}

const char *
pqe_public_key_did(const pqe_public_key *key)
{
    return key->did;
}

pqe_status
pqe_public_key_pem(const pqe_public_key *key, char *buf, size_t capacity, size_t *len, pqe_error *err)
{
    if (key == NULL || buf == NULL || len == NULL)
        return bad_argument(err, "key, buffer and length are required");
    return pqe__sig_public_pem(key->key, buf, capacity, len, err);
}

pqe_status
pqe_public_key_verify(const pqe_public_key *key, const void *message, size_t message_len, const void *context,
                      size_t context_len, const void *signature, size_t signature_len, pqe_error *err)
{
    if (key == NULL || (message == NULL && message_len != 0) || (context == NULL && context_len != 0) ||
        (signature == NULL && signature_len != 0))
        return bad_argument(err, "key, message and signature are required");
    return pqe__sig_verify(key->key, message, message_len, context, context_len, signature, signature_len, err);
}

/* ---- key pairs ---- */

/* Keeps the seed, if there is one, in locked memory. Takes `key`, also where it fails. */
static pqe_status
wrap_private(pqe__sig_key *key, pqe_signing_key **out, pqe_error *err)
{
    pqe_signing_key *s = calloc(1, sizeof *s);
    uint8_t raw[PQE_ML_DSA_PUBLIC_MAX];
    bool found = false;
    pqe_status status;

    if (s == NULL) {
        pqe__sig_free(&key);
        return pqe__fail_nomem(err);
    }
    s->owner = getpid();
    s->key = key;
    s->seed = pqe__secmem_alloc(PQE_ML_DSA_SEED_SIZE);
    status = s->seed != NULL ? pqe__sig_seed(key, s->seed, &found, err) : pqe__fail_nomem(err);
    if (status == PQE_OK && !found) {
        pqe__secmem_free(s->seed);
        s->seed = NULL;
    }
    if (status == PQE_OK)
        status = pqe__sig_public(key, raw, err);
    if (status == PQE_OK)
        status = pqe_public_key_from_raw(pqe__sig_algorithm(key), raw, pqe_sig_public_size(pqe__sig_algorithm(key)),
                                         &s->public_key, err);
    if (status != PQE_OK)
        pqe_signing_key_free(&s);
    *out = s;
    pqe__wipe_registers();
    return status;
}

pqe_status
pqe_signing_key_generate(pqe_sig_algorithm algorithm, pqe_signing_key **out, pqe_error *err)
{
    uint8_t *seed;
    pqe_status status;

    if (out == NULL)
        return bad_argument(err, "no place for the key");
    *out = NULL;
    if (pqe_sig_name(algorithm) == NULL)
        return bad_argument(err, "unknown signature algorithm");
    if ((seed = pqe__secmem_alloc(PQE_ML_DSA_SEED_SIZE)) == NULL)
        return pqe__fail_nomem(err);
    status = pqe__random_secret(seed, PQE_ML_DSA_SEED_SIZE, err);
    if (status == PQE_OK)
        status = pqe_signing_key_from_seed(algorithm, seed, PQE_ML_DSA_SEED_SIZE, out, err);
    pqe__secmem_free(seed);
    return status;
}

pqe_status
pqe_signing_key_from_seed(pqe_sig_algorithm algorithm, const void *seed, size_t len, pqe_signing_key **out,
                          pqe_error *err)
{
    pqe__sig_key *key;
    pqe_status status;

    if (out == NULL)
        return bad_argument(err, "no place for the key");
    *out = NULL;
    if (seed == NULL || len != PQE_ML_DSA_SEED_SIZE || pqe_sig_name(algorithm) == NULL)
        return bad_argument(err, "the seed has not 32 bytes, or the algorithm is unknown");
    status = pqe__sig_from_seed(algorithm, seed, &key, err);
    return status == PQE_OK ? wrap_private(key, out, err) : status;
}

pqe_status
pqe__signing_key_from_private(pqe_sig_algorithm algorithm, const uint8_t *sk, size_t len, pqe_signing_key **out,
                              pqe_error *err)
{
    pqe__sig_key *key;
    pqe_status status = pqe__sig_from_private(algorithm, sk, len, &key, err);

    *out = NULL;
    return status == PQE_OK ? wrap_private(key, out, err) : status;
}

pqe_status
pqe_signing_key_from_pem(const char *pem, size_t len, pqe_signing_key **out, pqe_error *err)
{
    pqe__sig_key *key;
    pqe_status status;

    if (out != NULL)
        *out = NULL;
    status = read_pem(out, pem, len, pqe__sig_from_private_pem, &key, err);
    return status == PQE_OK ? wrap_private(key, out, err) : status;
}

void
pqe_signing_key_free(pqe_signing_key **key)
{
    pqe_signing_key *k = key != NULL ? *key : NULL;

    if (k == NULL)
        return;
    *key = NULL;
    /* A forked child touches no key of its parent's. */
    if (pqe__owner_is_here(k->owner)) {
        pqe__sig_free(&k->key);
        pqe__secmem_free(k->seed);
    }
    pqe_public_key_free(&k->public_key);
    free(k);
    pqe__wipe_registers();
}

pqe_status
pqe__signing_key_usable(const pqe_signing_key *key, pqe_error *err)
{
    if (key == NULL)
        return bad_argument(err, "no key");
    if (!pqe__owner_is_here(key->owner))
        return pqe__fail(err, PQE_E_LOCKED, PQE_ORIGIN_API, 0, "the key belongs to another process");
    return PQE_OK;
}

const pqe_public_key *
pqe_signing_key_public(const pqe_signing_key *key)
{
    return key->public_key;
}

pqe_status
pqe_signing_key_seed(const pqe_signing_key *key, uint8_t *seed, pqe_error *err)
{
    pqe_status status;

    if (seed == NULL)
        return bad_argument(err, "no place for the seed");
    memset(seed, 0, PQE_ML_DSA_SEED_SIZE);
    status = pqe__signing_key_usable(key, err);
    if (status == PQE_OK && key->seed == NULL)
        status = pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_API, 0,
                           "the key was read in expanded form, which does not tell its seed");
    if (status == PQE_OK)
        memcpy(seed, key->seed, PQE_ML_DSA_SEED_SIZE);
    return status;
}

pqe_status
pqe_signing_key_pem(const pqe_signing_key *key, char *buf, size_t capacity, size_t *len, pqe_error *err)
{
    pqe_status status;

    if (buf == NULL || len == NULL)
        return bad_argument(err, "buffer and length are required");
    *len = 0;
    status = pqe__signing_key_usable(key, err);
    return status == PQE_OK ? pqe__sig_private_pem(key->key, buf, capacity, len, err) : status;
}

pqe_status
pqe_signing_key_sign(const pqe_signing_key *key, const void *message, size_t message_len, const void *context,
                     size_t context_len, uint8_t *signature, size_t capacity, size_t *len, pqe_error *err)
{
    size_t size;
    pqe_status status;

    if (len == NULL || signature == NULL || (message == NULL && message_len != 0) ||
        (context == NULL && context_len != 0))
        return bad_argument(err, "message and place for the signature are required");
    *len = 0;
    if ((status = pqe__signing_key_usable(key, err)) != PQE_OK)
        return status;
    size = pqe_sig_signature_size(key->public_key->algorithm);
    if (capacity < size)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "the signature needs %zu bytes", size);
    status = pqe__sig_sign(key->key, NULL, message, message_len, context, context_len, signature, err);
    if (status == PQE_OK)
        *len = size;
    pqe__wipe_registers();
    return status;
}
