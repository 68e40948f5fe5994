/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device keys that a backend makes and keeps itself (PQE_CAP_NATIVE_KEM): the decapsulation keys never come here.
 *
 * Device item 3 then is the origin key alone, sealed; items 6 and 4 hold what the backend knows the vault key and the
 * grant key by, each with its encapsulation key: u16 length || handle || encapsulation key (docs/format.md, 3.2).
 */
#include "vault/internal.h"

#include <stdlib.h>
#include <string.h>

#define ORIGIN_SIZE 32u

/* ---- device items ---- */

static pqe_status
write_pair(pqe_vault *vault, pqe__device_item item, const uint8_t *handle, size_t len,
           const uint8_t ek[PQE__KEM_PUBLIC_SIZE], pqe_error *err)
{
    uint8_t bytes[PQE__ITEM_MAX];
    pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes);

    pqe__put_u16(&c, (uint16_t)len);
    pqe__put_bytes(&c, handle, len);
    pqe__put_bytes(&c, ek, PQE__KEM_PUBLIC_SIZE);
    return pqe__store_put_item(vault->store, item, bytes, c.pos, err);
}

static pqe_status
read_pair(const uint8_t *bytes, size_t size, uint8_t handle[PQE_SEAL_BLOB_MAX], size_t *len,
          uint8_t ek[PQE__KEM_PUBLIC_SIZE], pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(bytes, size);

    *len = pqe__get_u16(&c);
    if (*len == 0 || *len > PQE_SEAL_BLOB_MAX)
        c.ok = false;
    else
        pqe__get_copy(&c, handle, *len);
    pqe__get_copy(&c, ek, PQE__KEM_PUBLIC_SIZE);
    if (!pqe__rcur_done(&c))
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "a device key's handle is malformed");
    return PQE_OK;
}

/* ---- making ---- */

/* A pair that does not fit would be noticed at the next unlock, when it is too late. */
static pqe_status
try_pair(const pqe__home *home, const uint8_t *handle, size_t len, const pqe__kem_key *public_key, pqe_error *err)
{
    struct {
        uint8_t sent[PQE__KEM_SHARED_SIZE], received[PQE__KEM_SHARED_SIZE];
    } *s = pqe__secmem_alloc(sizeof *s);
    uint8_t ct[PQE__KEM_CIPHERTEXT_SIZE];
    pqe_status status = s != NULL ? PQE_OK : pqe__fail_nomem(err);

    if (status == PQE_OK)
        status = pqe__kem_encapsulate(public_key, NULL, ct, s->sent, err);
    if (status == PQE_OK)
        status = pqe__backend_kem_decapsulate(home->backend, home->key, handle, len, ct, sizeof ct, s->received, err);
    if (status == PQE_OK && !pqe__equal(s->sent, s->received, sizeof s->sent))
        status = pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, 0, "the backend made a key pair that does not fit");
    pqe__secmem_free(s);
    return status;
}

/* `out` is NULL for the grant key, whose public part is needed only when somebody asks for it. */
static pqe_status
make_pair(pqe_vault *vault, const pqe__home *home, pqe__device_item item, uint8_t handle[PQE_SEAL_BLOB_MAX],
          size_t *len, pqe__kem_key **out, pqe_error *err)
{
    uint8_t ek[PQE__KEM_PUBLIC_SIZE];
    pqe_blob handle_blob = {.data = handle, .capacity = PQE_SEAL_BLOB_MAX},
             ek_blob = {.data = ek, .capacity = sizeof ek};
    pqe__kem_key *key = NULL;
    pqe_status status = pqe__backend_kem_make(home->backend, home->key, &handle_blob, &ek_blob, err);

    if (status != PQE_OK)
        return status;
    *len = handle_blob.len;
    status = pqe__kem_from_public(ek, sizeof ek, &key, err);
    if (status == PQE_OK)
        status = try_pair(home, handle, *len, key, err);
    if (status == PQE_OK)
        status = write_pair(vault, item, handle, *len, ek, err);
    if (status == PQE_OK && out != NULL)
        *out = key;
    else
        pqe__kem_free(&key);
    return status;
}

static pqe_status
seal_origin(pqe_vault *vault, const pqe__home *home, const pqe__keys *keys, pqe_error *err)
{
    uint8_t sealed[PQE_SEAL_BLOB_MAX], aad[PQE__LABEL_MAX];
    pqe_blob blob = {.data = sealed, .capacity = sizeof sealed};
    size_t aad_len = pqe__aad_device_key(aad, keys->vault_id, PQE__KEY_ORIGIN, keys->suite, keys->epoch);
    pqe_status status =
        pqe__backend_seal(home->backend, home->key, aad, aad_len, keys->secret->origin, ORIGIN_SIZE, &blob, err);

    return status == PQE_OK ? pqe__store_put_item(vault->store, PQE__ITEM_VAULT_KEY, sealed, blob.len, err) : status;
}

pqe_status
pqe__native_make(pqe_vault *vault, const pqe__home *home, pqe__keys *keys, pqe_error *err)
{
    pqe__native *n = calloc(1, sizeof *n);
    pqe_status status;

    if (n == NULL)
        return pqe__fail_nomem(err);
    status = pqe__random_secret(keys->secret->origin, ORIGIN_SIZE, err);
    if (status == PQE_OK)
        status = seal_origin(vault, home, keys, err);
    if (status == PQE_OK)
        status = make_pair(vault, home, PQE__ITEM_NATIVE_KEY, n->vault, &n->vault_len, &keys->vault_key, err);
    if (status == PQE_OK)
        status = make_pair(vault, home, PQE__ITEM_GRANT_KEY, n->grant, &n->grant_len, NULL, err);
    if (status == PQE_OK) {
        keys->native = n;
        return PQE_OK;
    }
    pqe__native_drop(home, n);
    free(n);
    return status;
}

void
pqe__native_drop(const pqe__home *home, const pqe__native *native)
{
    if (native != NULL && native->vault_len != 0)
        pqe__backend_kem_drop(home->backend, home->key, native->vault, native->vault_len);
    if (native != NULL && native->grant_len != 0)
        pqe__backend_kem_drop(home->backend, home->key, native->grant, native->grant_len);
}

/* ---- loading ---- */

pqe_status
pqe__native_load(pqe_vault *vault, pqe__keys *keys, pqe_error *err)
{
    uint8_t bytes[PQE__ITEM_MAX], ek[PQE__KEM_PUBLIC_SIZE], grant_ek[PQE__KEM_PUBLIC_SIZE];
    pqe__native *n;
    bool missing;
    size_t len;
    pqe_status status =
        pqe__store_find_item(vault->store, PQE__ITEM_NATIVE_KEY, bytes, sizeof bytes, &len, &missing, err);

    if (status != PQE_OK || missing)
        return status;
    if ((n = calloc(1, sizeof *n)) == NULL)
        return pqe__fail_nomem(err);
    status = read_pair(bytes, len, n->vault, &n->vault_len, ek, err);
    if (status == PQE_OK)
        status = pqe__store_get_item(vault->store, PQE__ITEM_GRANT_KEY, bytes, sizeof bytes, &len, err);
    if (status == PQE_OK)
        status = read_pair(bytes, len, n->grant, &n->grant_len, grant_ek, err);
    if (status == PQE_OK)
        status = pqe__kem_from_public(ek, sizeof ek, &keys->vault_key, err);
    if (status != PQE_OK) {
        free(n);
        return status;
    }
    keys->native = n;
    return PQE_OK;
}

pqe_status
pqe__native_grant_public(pqe_vault *vault, uint8_t ek[PQE__KEM_PUBLIC_SIZE], pqe_error *err)
{
    uint8_t bytes[PQE__ITEM_MAX], handle[PQE_SEAL_BLOB_MAX];
    size_t len, handle_len;
    pqe_status status = pqe__store_get_item(vault->store, PQE__ITEM_GRANT_KEY, bytes, sizeof bytes, &len, err);

    return status == PQE_OK ? read_pair(bytes, len, handle, &handle_len, ek, err) : status;
}

/* ---- using ---- */

typedef struct decapsulator {
    pqe_backend *backend;
    void *backend_key;
    const uint8_t *handle;
    size_t len;
} decapsulator;

static pqe_status
decapsulate(void *user, const uint8_t *ct, size_t ct_len, uint8_t shared[PQE__KEM_SHARED_SIZE], pqe_error *err)
{
    const decapsulator *d = user;

    return pqe__backend_kem_decapsulate(d->backend, d->backend_key, d->handle, d->len, ct, ct_len, shared, err);
}

pqe_status
pqe__vault_key_open(pqe_vault *vault, void *backend_key, const pqe__keys *keys, const uint8_t *info, size_t info_len,
                    const uint8_t *sealed, size_t sealed_len, uint8_t *out, pqe_error *err)
{
    decapsulator d = {.backend = vault->backend, .backend_key = backend_key};

    if (keys->native == NULL)
        return pqe__hpke_open(&pqe__hpke_ml_kem_768, keys->vault_key, info, info_len, NULL, 0, sealed, sealed_len, out,
                              err);
    d.handle = keys->native->vault;
    d.len = keys->native->vault_len;
    return pqe__hpke_open_by(&pqe__hpke_ml_kem_768, decapsulate, &d, info, info_len, NULL, 0, sealed, sealed_len, out,
                             err);
}

pqe_status
pqe__native_secret_open(pqe__txn *txn, const pqe__keys *keys, const uint8_t *info, size_t info_len,
                        const pqe__secret_row *row, uint8_t secret[32], pqe_error *err)
{
    uint8_t handle[PQE_SEAL_BLOB_MAX]; /* the session, and its keys, may end while the device works */
    decapsulator d = {.handle = handle, .len = keys->native->vault_len};
    pqe__home home;
    pqe_status status, resumed;

    memcpy(handle, keys->native->vault, d.len);
    home = pqe__session_pin(txn->vault);
    d.backend = home.backend;
    d.backend_key = home.key;
    pqe__txn_pause(txn);
    status = pqe__hpke_open_by(&pqe__hpke_ml_kem_768, decapsulate, &d, info, info_len, NULL, 0, row->sealed,
                               PQE__SEALED_SECRET_SIZE, secret, err);
    pqe__session_unpin(txn->vault);
    resumed = pqe__txn_resume(txn, status == PQE_OK ? err : NULL);
    if (status == PQE_OK && resumed != PQE_OK) {
        pqe__wipe(secret, 32);
        status = resumed;
    }
    return status;
}
