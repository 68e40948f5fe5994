/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PKCS#11 backend: the vault's key-encryption key is an AES-256 key that a token made and does not give out. Where
 * the token has ML-KEM and ML-DSA, device keys and identities are its own too (pairs.h).
 *
 * Each attached vault has a session of its own. Where session, login or token are lost, an operation opens anew once, if
 * the PIN comes from a file; a person is asked only at unlock. A PIN that the token refuses then is not tried again.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/pkcs11/pairs.h"
#include "backend/pkcs11/state.h"
#include "backend/registry.h"
#include "util/error.h"
#include "util/secmem.h"

/* ---- opening ---- */

static void
p11_close(void *self)
{
    pqe__p11_self *p = self;

    pqe__p11_uri_free(&p->uri);
    free(p);
}

static pqe_status
settle_capabilities(pqe__p11_self *p, pqe_error *err)
{
    pqe__p11_token token;
    size_t count = 0;
    pqe_status status = pqe__p11_tokens(p, NULL, &token, &count, &p->capabilities, err);

    if (status != PQE_OK)
        return status;
    if (count == 0)
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0, "there is no token that fits the PKCS#11 URI");
    if ((p->capabilities & PQE_CAP_SEAL) == 0)
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0,
                         "the token cannot make AES keys and encrypt with AES-GCM");
    if (p->uri.tier == PQE__P11_TIER_NATIVE && (p->capabilities & PQE_CAP_NATIVE_KEM) == 0)
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0,
                         "the token has no ML-KEM by PKCS#11 3.2, and the URI insists on it (tier=native)");
    p->capabilities |= PQE_CAP_PERSISTENT;
    if (p->uri.tier == PQE__P11_TIER_KEK)
        p->capabilities &= ~(PQE_CAP_NATIVE_KEM | PQE_CAP_NATIVE_ML_DSA);
    return PQE_OK;
}

static pqe_status
p11_open(const char *config, const pqe_backend_opts *opts, void **self, pqe_error *err)
{
    pqe__p11_self *p = calloc(1, sizeof *p);
    pqe_status status;

    *self = NULL;
    if (p == NULL)
        return pqe__fail_nomem(err);
    p->ask = *opts;
    status = pqe__p11_uri_parse(config, &p->uri, err);
    if (status == PQE_OK)
        status = pqe__p11_module_get(p->uri.module_path, p->uri.init_args, &p->module, err);
    if (status == PQE_OK)
        status = settle_capabilities(p, err);
    if (status != PQE_OK) {
        p11_close(p);
        return status;
    }
    *self = p;
    return PQE_OK;
}

static uint32_t
p11_capabilities(void *self)
{
    return ((const pqe__p11_self *)self)->capabilities;
}

/* ---- making ---- */

static void
p11_detach(void *self, void *key)
{
    const pqe__p11_self *p = self;
    pqe__p11_key *k = key;

    p->module->f->C_CloseSession(k->session);
    free(k);
}

/* One token, and no other that would do as well. */
static pqe_status
only_token(const pqe__p11_self *p, pqe__p11_token *token, pqe_error *err)
{
    size_t count;
    pqe_status status = pqe__p11_tokens(p, NULL, token, &count, NULL, err);

    if (status == PQE_OK && count != 1)
        status = pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_BACKEND, 0,
                           count == 0 ? "there is no token that fits the PKCS#11 URI"
                                      : "more than one token fits the PKCS#11 URI; add serial=...");
    return status;
}

static pqe_status
new_key(const pqe__p11_self *p, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const pqe__p11_token *token,
        pqe__p11_key **out, pqe_error *err)
{
    pqe__p11_key *k = calloc(1, sizeof *k);
    pqe_status status;

    *out = NULL;
    if (k == NULL)
        return pqe__fail_nomem(err);
    k->token = *token;
    pqe__p11_label(vault_id, k->label);
    status = pqe__p11_session_open(p, token, NULL, &k->session, err);
    if (status != PQE_OK)
        free(k);
    else
        *out = k;
    return status;
}

static pqe_status
p11_enrol(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_blob *state, void **key, pqe_error *err)
{
    const pqe__p11_self *p = self;
    pqe__p11_state s = {0};
    pqe__p11_token token;
    pqe__p11_key *k;
    pqe_status status;

    *key = NULL;
    if (state->capacity < PQE__P11_STATE_SIZE)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_BACKEND, 0, "the buffer is too small for the backend's state");
    status = only_token(p, &token, err);
    if (status == PQE_OK)
        status = new_key(p, vault_id, &token, &k, err);
    if (status != PQE_OK)
        return status;
    status = pqe__p11_kek_make(p, k, err);
    if (status != PQE_OK) {
        p11_detach(self, k);
        return status;
    }
    s.flags = token.says_hardware ? PQE__P11_HARDWARE : 0;
    s.token = token.identity;
    memcpy(s.kek_id, k->kek_id, sizeof s.kek_id);
    status = pqe__p11_prove(p, k, vault_id, &s, err);
    if (status != PQE_OK) {
        p->module->f->C_DestroyObject(k->session, k->kek);
        p11_detach(self, k);
        return status;
    }
    pqe__p11_state_encode(&s, state->data);
    state->len = PQE__P11_STATE_SIZE;
    *key = k;
    return PQE_OK;
}

static void
p11_discard(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key)
{
    const pqe__p11_self *p = self;
    pqe__p11_key *k = key;
    pqe__p11_token token;

    if (k != NULL) {
        p->module->f->C_DestroyObject(k->session, k->kek);
    } else if (only_token(p, &token, NULL) == PQE_OK && new_key(p, vault_id, &token, &k, NULL) == PQE_OK) {
        pqe__p11_destroy_all(p, k->session, k->label);
        p11_detach(self, k);
    }
}

/* ---- opening an existing vault's key ---- */

static pqe_status
find_token(const pqe__p11_self *p, const pqe__p11_identity *wanted, pqe__p11_token *token, pqe_error *err)
{
    size_t count;
    pqe_status status = pqe__p11_tokens(p, wanted, token, &count, NULL, err);

    if (status == PQE_OK && count == 0)
        status = pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_DEVICE, 0,
                           "the token that holds this vault's key is not there, or the URI is not its");
    else if (status == PQE_OK && count > 1)
        status = pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_DEVICE, 0,
                           "more than one token calls itself what this vault's token is called; give slot-id");
    return status;
}

static pqe_status
p11_attach(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t *state, size_t state_len, void **key,
           pqe_error *err)
{
    const pqe__p11_self *p = self;
    pqe__p11_state s;
    pqe__p11_token token;
    pqe__p11_key *k;
    pqe_status status;

    *key = NULL;
    status = pqe__p11_state_read(state, state_len, &s, err);
    if (status == PQE_OK)
        status = find_token(p, &s.token, &token, err);
    if (status == PQE_OK)
        status = new_key(p, vault_id, &token, &k, err);
    if (status != PQE_OK)
        return status;
    memcpy(k->kek_id, s.kek_id, sizeof k->kek_id);
    status = pqe__p11_kek_find(p, k, err);
    if (status == PQE_OK)
        status = pqe__p11_verify(p, k, vault_id, &s, err);
    if (status == PQE_OK)
        *key = k;
    else
        p11_detach(self, k);
    return status;
}

/* ---- using it ---- */

pqe_status
pqe__p11_reopen(const pqe__p11_self *p, pqe__p11_key *k, pqe_error *err)
{
    pqe__p11_token token;
    pqe_status status = find_token(p, &k->token.identity, &token, err);

    if (status == PQE_OK) {
        p->module->f->C_CloseSession(k->session);
        k->session = CK_INVALID_HANDLE;
        status = pqe__p11_session_open(p, &token, &k->pin_refused, &k->session, err);
    }
    if (status == PQE_OK) {
        k->token = token;
        status = pqe__p11_kek_find(p, k, err);
    }
    if (status != PQE_OK && status != PQE_E_NOMEM && status != PQE_E_BACKEND && err != NULL)
        err->status = PQE_E_BACKEND; /* the vault was open: this is a failure of the device, whatever its reason */
    return status == PQE_OK || status == PQE_E_NOMEM ? status : PQE_E_BACKEND;
}

static pqe_status
too_small(pqe_error *err)
{
    return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_BACKEND, 0, "the secret is too long or the buffer too small");
}

static pqe_status
p11_seal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *secret, size_t secret_len,
         pqe_blob *sealed, pqe_error *err)
{
    const pqe__p11_self *p = self;
    pqe__p11_key *k = key;
    pqe_status status = PQE_OK;
    CK_RV rv;

    sealed->len = 0;
    if (secret_len > PQE_SEAL_SECRET_MAX || sealed->capacity < secret_len + PQE__BOX_OVERHEAD)
        return too_small(err);
    rv = pqe__p11_encrypt(p, k, aad, aad_len, secret, secret_len, sealed->data);
    if (pqe__p11_is_lost(rv) && (status = pqe__p11_reopen(p, k, err)) == PQE_OK)
        rv = pqe__p11_encrypt(p, k, aad, aad_len, secret, secret_len, sealed->data);
    if (status != PQE_OK)
        return status;
    if (rv != CKR_OK)
        return pqe__p11_fail(err, rv, "encrypt with the token's key");
    sealed->len = secret_len + PQE__BOX_OVERHEAD;
    return PQE_OK;
}

static pqe_status
unseal(const pqe__p11_self *p, pqe__p11_key *k, const uint8_t *aad, size_t aad_len, const uint8_t *sealed,
       size_t sealed_len, uint8_t *out, pqe_error *err)
{
    bool authentic;
    pqe_status status;
    CK_RV rv = pqe__p11_decrypt(p, k, aad, aad_len, sealed, sealed_len, out, &authentic);

    if (pqe__p11_is_lost(rv)) {
        if ((status = pqe__p11_reopen(p, k, err)) != PQE_OK)
            return status;
        rv = pqe__p11_decrypt(p, k, aad, aad_len, sealed, sealed_len, out, &authentic);
    }
    if (rv != CKR_OK)
        return pqe__p11_fail(err, rv, "decrypt with the token's key");
    if (!authentic)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_DEVICE, 0,
                         "the token does not open it: altered, or sealed by another key");
    return PQE_OK;
}

static pqe_status
p11_unseal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *sealed, size_t sealed_len,
           pqe_blob *secret, pqe_error *err)
{
    uint8_t *out;
    pqe_status status;

    secret->len = 0;
    if (sealed_len <= PQE__BOX_OVERHEAD || sealed_len > PQE_SEAL_SECRET_MAX + PQE__BOX_OVERHEAD)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_BACKEND, 0, "a sealed key has an impossible length");
    if (secret->capacity < sealed_len - PQE__BOX_OVERHEAD)
        return too_small(err);
    if ((out = pqe__secmem_alloc(sealed_len)) == NULL)
        return pqe__fail_nomem(err);
    status = unseal(self, key, aad, aad_len, sealed, sealed_len, out, err);
    if (status == PQE_OK) {
        secret->len = sealed_len - PQE__BOX_OVERHEAD;
        memcpy(secret->data, out, secret->len);
    }
    pqe__secmem_free(out);
    return status;
}

static const char *
p11_key_source(const uint8_t *state, size_t state_len)
{
    pqe__p11_state s;

    return pqe__p11_state_read(state, state_len, &s, NULL) == PQE_OK ? "token" : NULL;
}

const pqe_backend_ops pqe__pkcs11_ops = {
    .magic = PQE_BACKEND_MAGIC,
    .abi = PQE_BACKEND_ABI,
    .size = sizeof(pqe_backend_ops),
    .info = {.name = "pkcs11",
             .description = "a key in a PKCS#11 token (smart card, HSM)",
             .protection = "secure-element",
             .caveat = "as good as the token and its module, which runs in this process: a software token is a file "
                       "under a PIN, and whoever has token and PIN opens the vault",
             .capabilities = PQE_CAP_SEAL | PQE_CAP_PERSISTENT | PQE_CAP_NATIVE_KEM | PQE_CAP_NATIVE_ML_DSA},
    .open = p11_open,
    .close = p11_close,
    .enrol = p11_enrol,
    .discard = p11_discard,
    .attach = p11_attach,
    .detach = p11_detach,
    .seal = p11_seal,
    .unseal = p11_unseal,
    .key_source = p11_key_source,
    .identity_make = pqe__p11_identity_make,
    .identity_sign = pqe__p11_identity_sign,
    .identity_drop = pqe__p11_identity_drop,
    .kem_make = pqe__p11_kem_make,
    .kem_decapsulate = pqe__p11_kem_decapsulate,
    .kem_drop = pqe__p11_kem_drop,
    .describe = pqe__p11_describe,
    .capabilities = p11_capabilities,
};
