/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backend to start from. It works, and passes the conformance suite, over a toy device that protects nothing. Copy this
 * folder, put your device's library in place of toy_device.c, and go through the places marked REPLACE. The rest stays:
 * checks of lengths, what is done on failure, what an error says. docs/backends.md explains each entry.
 */
#include "skeleton.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "toy_device.h"

/* ---- what is kept between calls ---- */

/* One opened backend. The library calls it from one thread at a time. */
typedef struct skeleton_self {
    toy_device *device; /* REPLACE: your connection */
} skeleton_self;

/* The key of one unlocked vault: how to name it to the device, nothing secret. If your device hands secrets out, keep them
   in locked memory that no core dump contains, and wipe them in detach(). */
typedef struct skeleton_key {
    uint8_t slot[TOY_SLOT_SIZE];
} skeleton_key;

/* What lies in the vault and comes back at attach(): a version, so that a later one can be told apart, and what finds the
   key again. Whoever has the disk can read and change it: no secret in it, and nothing believed of it. */
#define STATE_VERSION 1
#define STATE_SIZE (1 + TOY_SLOT_SIZE)

/* Every failure has a status, your device's own code, and a sentence without final period and without secrets. */
static pqe_status
fail(pqe_error *err, pqe_status status, int native, const char *text)
{
    if (err != NULL) {
        *err = (pqe_error){.status = status, .origin = PQE_ORIGIN_BACKEND, .native = native};
        snprintf(err->message, sizeof err->message, "%s", text);
    }
    return status;
}

/* REPLACE: your device's codes. Keep apart what the caller can act on: the credential, the data, the device. */
static pqe_status
device_failed(pqe_error *err, int error, const char *what)
{
    char text[128];

    if (error == EBADMSG)
        return fail(err, PQE_E_DECRYPTION, error, "the sealed secret was altered, or is of another key");
    if (error == ENOENT)
        return fail(err, PQE_E_DENIED, error, "the device holds no key for this vault");
    if (error == EEXIST)
        return fail(err, PQE_E_EXISTS, error, "the device already holds a key for this vault");
    if (error == ENOMEM)
        return fail(err, PQE_E_NOMEM, error, "out of memory");
    snprintf(text, sizeof text, "the device cannot %s: %s", what, strerror(error));
    return fail(err, PQE_E_BACKEND, error, text);
}

/* ---- opening and closing ---- */

/* `config` is what followed "skeleton:". No key is touched yet: a vault may be looked at without its credential. */
static pqe_status
skeleton_open(const char *config, const pqe_backend_opts *opts, void **self, pqe_error *err)
{
    skeleton_self *s = calloc(1, sizeof *s);
    int error;

    (void)opts; /* its passphrase callback is for backends with PQE_CAP_PASSPHRASE: a PIN for example */
    if (s == NULL)
        return device_failed(err, ENOMEM, "be opened");
    error = toy_connect(config, &s->device); /* REPLACE */
    if (error != 0) {
        free(s);
        return fail(err, PQE_E_UNAVAILABLE, error, "there is no such device");
    }
    *self = s;
    return PQE_OK;
}

static void
skeleton_close(void *self)
{
    skeleton_self *s = self;

    toy_disconnect(s->device); /* REPLACE */
    free(s);
}

/* ---- keys ---- */

static pqe_status
new_key(const uint8_t slot[TOY_SLOT_SIZE], void **key, pqe_error *err)
{
    skeleton_key *k = malloc(sizeof *k);

    if (k == NULL)
        return device_failed(err, ENOMEM, "open a key");
    memcpy(k->slot, slot, sizeof k->slot);
    *key = k;
    return PQE_OK;
}

/* Whole or not at all: what can fail without the device comes first, the device last. A key that is there already is
   never overwritten. */
static pqe_status
skeleton_enrol(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_blob *state, void **key, pqe_error *err)
{
    skeleton_self *s = self;
    pqe_status status;
    int error;

    if (state->capacity < STATE_SIZE)
        return fail(err, PQE_E_LIMIT, 0, "the buffer is too small for the backend's state");
    status = new_key(vault_id, key, err);
    if (status != PQE_OK)
        return status;
    error = toy_make_key(s->device, vault_id); /* REPLACE: a key that cannot leave the device, for AES-256-GCM alone */
    if (error != 0) {
        free(*key);
        *key = NULL;
        return device_failed(err, error, "make a key");
    }
    state->data[0] = STATE_VERSION;
    memcpy(state->data + 1, vault_id, TOY_SLOT_SIZE);
    state->len = STATE_SIZE;
    return PQE_OK;
}

/* The vault could not be made after all. Without a key: the process that called enrol() died before its vault was there. */
static void
skeleton_discard(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key)
{
    skeleton_self *s = self;

    (void)key;
    toy_remove_key(s->device, vault_id); /* REPLACE */
}

static bool
state_makes_sense(const uint8_t *state, size_t state_len)
{
    return state_len == STATE_SIZE && state[0] == STATE_VERSION;
}

/* The state comes from the disk, unauthenticated. */
static pqe_status
skeleton_attach(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t *state, size_t state_len,
                void **key, pqe_error *err)
{
    skeleton_self *s = self;
    int error;

    if (state_len > 0 && state[0] > STATE_VERSION)
        return fail(err, PQE_E_VERSION, state[0], "the vault was made by a newer version of this backend");
    if (!state_makes_sense(state, state_len) || memcmp(state + 1, vault_id, TOY_SLOT_SIZE) != 0)
        return fail(err, PQE_E_TAMPERED, 0, "the backend's state in the vault is malformed or of another vault");
    error = toy_find_key(s->device, vault_id); /* REPLACE: find or load it, with its credential */
    if (error != 0)
        return device_failed(err, error, "find the vault's key");
    return new_key(vault_id, key, err);
}

static void
skeleton_detach(void *self, void *key)
{
    (void)self;
    free(key); /* REPLACE: also unload it from the device, and wipe what was secret */
}

/* ---- sealing ---- */

/* The secrets are the vault's: in locked memory, and not to be copied elsewhere. */
static pqe_status
skeleton_seal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *secret, size_t secret_len,
              pqe_blob *sealed, pqe_error *err)
{
    skeleton_self *s = self;
    const skeleton_key *k = key;
    int error;

    if (sealed->capacity < secret_len + TOY_OVERHEAD)
        return fail(err, PQE_E_LIMIT, 0, "the buffer is too small for the sealed secret");
    /* REPLACE: authenticated encryption; fresh randomness at each call, which the device chooses */
    error = toy_encrypt(s->device, k->slot, aad, aad_len, secret, secret_len, sealed->data);
    if (error != 0)
        return device_failed(err, error, "seal a secret");
    sealed->len = secret_len + TOY_OVERHEAD;
    return PQE_OK;
}

static pqe_status
skeleton_unseal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *sealed, size_t sealed_len,
                pqe_blob *secret, pqe_error *err)
{
    skeleton_self *s = self;
    const skeleton_key *k = key;
    int error;

    if (sealed_len <= TOY_OVERHEAD || sealed_len > TOY_OVERHEAD + PQE_SEAL_SECRET_MAX)
        return device_failed(err, EBADMSG, "unseal a secret");
    if (secret->capacity < sealed_len - TOY_OVERHEAD)
        return fail(err, PQE_E_LIMIT, 0, "the buffer is too small for the secret");
    /* REPLACE: straight into secret->data. What is there after a failure, the library wipes. */
    error = toy_decrypt(s->device, k->slot, aad, aad_len, sealed, sealed_len, secret->data);
    if (error != 0)
        return device_failed(err, error, "unseal a secret");
    secret->len = sealed_len - TOY_OVERHEAD;
    return PQE_OK;
}

/* ---- what people are told; neither has a `self`, nor may need one ---- */

static const char *
skeleton_key_source(const uint8_t *state, size_t state_len)
{
    return state_makes_sense(state, state_len) ? "device" : NULL;
}

static bool
skeleton_describe(const uint8_t *state, size_t state_len, char *text, size_t capacity)
{
    if (!state_makes_sense(state, state_len))
        return false;
    snprintf(text, capacity, "slot %02x%02x... of the toy device", state[1], state[2]);
    return true;
}

/*
 * What your device cannot do stays out of the table and of the capabilities: then the library says so to whoever asks.
 * Beyond these entries there are, each with a capability of its own (docs/backends.md):
 *   change_passphrase                          PQE_CAP_PASSPHRASE: the key is opened by a passphrase or PIN
 *   authorize                                  PQE_CAP_AUTHORIZE: the device can ask whether its user is there
 *   kem_make, kem_decapsulate, kem_drop        PQE_CAP_NATIVE_KEM: ML-KEM in the device
 *   identity_make, identity_sign, _drop        PQE_CAP_NATIVE_ML_DSA: ML-DSA in the device
 *   counter_read, counter_advance, _make       PQE_CAP_COUNTER: a counter that nobody can turn back
 *   evidence, evidence_key                     PQE_CAP_EVIDENCE: the device can sign what it says of itself
 *   capabilities                               one table for devices that differ in the above
 */
const pqe_backend_ops skeleton_ops = {
    .magic = PQE_BACKEND_MAGIC,
    .abi = PQE_BACKEND_ABI,
    .size = sizeof(pqe_backend_ops),
    /* REPLACE: people decide by these. "software", "tee" or "secure-element"; the caveat says what is not protected. */
    .info = {.name = "skeleton",
             .description = "an example: a key in a toy device",
             .protection = "software",
             .caveat = "a toy that protects nothing: the key lies in a file",
             .capabilities = PQE_CAP_SEAL | PQE_CAP_PERSISTENT},
    .open = skeleton_open,
    .close = skeleton_close,
    .enrol = skeleton_enrol,
    .discard = skeleton_discard,
    .attach = skeleton_attach,
    .detach = skeleton_detach,
    .seal = skeleton_seal,
    .unseal = skeleton_unseal,
    .key_source = skeleton_key_source,
    .describe = skeleton_describe,
};
