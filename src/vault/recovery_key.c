/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery keys by themselves: 32 bytes, their words, the key pair that comes of them, and its PEM. */
#include "vault/recovery.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/mnemonic.h"

_Static_assert(PQE_RECOVERY_WORDS_MAX == PQE__MNEMONIC_MAX, "room for words");

#define ID_LABEL "pqc-enclave recovery key v1"

pqe_status
pqe__recovery_key_usable(const pqe_recovery_key *key, pqe_error *err)
{
    if (key == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no recovery key");
    return pqe__owner_is_here(key->owner) ? PQE_OK : pqe__locked(err);
}

pqe_status
pqe__recovery_id_of(const uint8_t ek[PQE__RECOVERY_EK_SIZE], uint8_t id[PQE__ID_SIZE], pqe_error *err)
{
    uint8_t input[sizeof ID_LABEL + PQE__RECOVERY_EK_SIZE], digest[PQE__DIGEST_SIZE];
    pqe_status status;

    memcpy(input, ID_LABEL, sizeof ID_LABEL);
    memcpy(input + sizeof ID_LABEL, ek, PQE__RECOVERY_EK_SIZE);
    status = pqe__hash_once(PQE__SHA256, input, sizeof input, digest, err);
    memcpy(id, digest, PQE__ID_SIZE);
    return status;
}

static pqe_status
new_key(pqe_recovery_key **out, pqe_error *err)
{
    pqe_recovery_key *k = calloc(1, sizeof *k);

    *out = NULL;
    if (k == NULL)
        return pqe__fail_nomem(err);
    k->owner = getpid();
    if ((k->secret = pqe__secmem_alloc(sizeof *k->secret)) == NULL) {
        free(k);
        return pqe__fail_nomem(err);
    }
    *out = k;
    return PQE_OK;
}

/* From the seed: the key pair and its name. Frees the key on failure. */
static pqe_status
complete(pqe_recovery_key **key, pqe_status status, pqe_error *err)
{
    pqe_recovery_key *k = *key;

    if (status == PQE_OK)
        status = pqe__kem_from_seed(k->secret->seed, &k->kem, err);
    if (status == PQE_OK)
        status = pqe__kem_public(k->kem, k->ek, err);
    if (status == PQE_OK)
        status = pqe__recovery_id_of(k->ek, k->id, err);
    if (status == PQE_OK)
        pqe__hex_encode(k->id, sizeof k->id, k->id_text);
    else
        pqe_recovery_key_free(key);
    pqe__wipe_registers();
    return status;
}

pqe_status
pqe_recovery_key_generate(pqe_recovery_key **out, pqe_error *err)
{
    pqe_status status;

    if (out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the recovery key");
    if ((status = new_key(out, err)) != PQE_OK)
        return status;
    (*out)->has_words = true;
    status = pqe__random_secret((*out)->secret->entropy, PQE__MNEMONIC_ENTROPY, err);
    if (status == PQE_OK)
        status = pqe__kem_derive_seed((*out)->secret->entropy, PQE__MNEMONIC_ENTROPY, (*out)->secret->seed, err);
    return complete(out, status, err);
}

void
pqe_recovery_key_free(pqe_recovery_key **key)
{
    pqe_recovery_key *k;

    if (key == NULL || *key == NULL)
        return;
    k = *key;
    *key = NULL;
    if (!pqe__owner_is_here(k->owner))
        return; /* it goes with the process */
    pqe__kem_free(&k->kem);
    pqe__secmem_free(k->secret);
    free(k);
    pqe__wipe_registers();
}

const char *
pqe_recovery_key_id(const pqe_recovery_key *key)
{
    return pqe__recovery_key_usable(key, NULL) == PQE_OK ? key->id_text : "";
}

/* ---- words ---- */

pqe_status
pqe_recovery_key_words(const pqe_recovery_key *key, char *buf, size_t capacity, size_t *len, pqe_error *err)
{
    char *words;
    pqe_status status = pqe__recovery_key_usable(key, err);

    if (len != NULL)
        *len = 0;
    if (status != PQE_OK)
        return status;
    if (buf == NULL || len == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the words");
    if (!key->has_words)
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_API, 0, "a recovery key from a file has no words");
    if ((words = pqe__secmem_alloc(PQE__MNEMONIC_MAX)) == NULL)
        return pqe__fail_nomem(err);
    status = pqe__mnemonic_encode(key->secret->entropy, words, err);
    if (status == PQE_OK && strlen(words) >= capacity)
        status = pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "the words need %zu bytes", strlen(words) + 1);
    if (status == PQE_OK) {
        *len = strlen(words);
        memcpy(buf, words, *len + 1);
    }
    pqe__secmem_free(words);
    pqe__wipe_registers();
    return status;
}

pqe_status
pqe_recovery_key_from_words(const char *words, size_t len, pqe_recovery_key **out, pqe_error *err)
{
    pqe_status status;

    if (out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the recovery key");
    *out = NULL;
    if (words == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there are no words");
    if ((status = new_key(out, err)) != PQE_OK)
        return status;
    (*out)->has_words = true;
    status = pqe__mnemonic_decode(words, len, (*out)->secret->entropy, err);
    if (status == PQE_OK)
        status = pqe__kem_derive_seed((*out)->secret->entropy, PQE__MNEMONIC_ENTROPY, (*out)->secret->seed, err);
    return complete(out, status, err);
}

/* ---- PEM ---- */

pqe_status
pqe_recovery_key_pem(const pqe_recovery_key *key, char *buf, size_t capacity, size_t *len, pqe_error *err)
{
    pqe_status status = pqe__recovery_key_usable(key, err);

    if (len != NULL)
        *len = 0;
    if (status == PQE_OK && (buf == NULL || len == NULL))
        status = pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the key");
    if (status == PQE_OK)
        status = pqe__kem_seed_to_pem(key->secret->seed, buf, capacity, len, err);
    pqe__wipe_registers();
    return status;
}

pqe_status
pqe_recovery_key_from_pem(const char *pem, size_t len, pqe_recovery_key **out, pqe_error *err)
{
    pqe_status status;

    if (out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no place for the recovery key");
    *out = NULL;
    if (pem == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "there is no PEM");
    if ((status = new_key(out, err)) != PQE_OK)
        return status;
    return complete(out, pqe__kem_seed_from_pem(pem, len, (*out)->secret->seed, err), err);
}
