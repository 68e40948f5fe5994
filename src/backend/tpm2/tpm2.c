/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tpm2 backend: a key-encryption key that one TPM 2.0 alone gives out, if its conditions are met.
 *
 * The TPM unseals the key once, when the vault is unlocked; seeds are then sealed and unsealed under it in locked
 * memory (softkey.h), as the vault's own keys are. docs/backends.md says what that protects from, object.h how.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/ask.h"
#include "backend/registry.h"
#include "backend/softkey.h"
#include "backend/tpm2/counter.h"
#include "backend/tpm2/evidence.h"
#include "util/secmem.h"

#define AUTH_LABEL "pqc-enclave tpm2 backend v1 authorization"

typedef struct tpm2_self {
    pqe__tpm2_config config;
    pqe_backend_opts ask;
} tpm2_self;

/* In locked memory as a whole. */
typedef struct tpm2_key {
    uint8_t kek[PQE__KEY_SIZE];
    uint8_t auth[PQE__KEY_SIZE]; /* for evidence and another PIN */
    uint8_t vault_id[PQE_VAULT_ID_SIZE];
    pqe__tpm2_state state;
} tpm2_key;

static pqe_status
tpm2_open(const char *config, const pqe_backend_opts *opts, void **self, pqe_error *err)
{
    const pqe__tss *tss;
    tpm2_self *s = calloc(1, sizeof *s);
    pqe_status status;

    *self = NULL;
    if (s == NULL)
        return pqe__fail_nomem(err);
    s->ask = *opts;
    status = pqe__tpm2_config_parse(config, &s->config, err);
    if (status == PQE_OK)
        status = pqe__tpm2_config_find(&s->config, err);
    if (status == PQE_OK)
        status = pqe__tss_load(&tss, err);
    if (status == PQE_OK) {
        *self = s;
        return PQE_OK;
    }
    pqe__tpm2_config_free(&s->config);
    free(s);
    return status;
}

static void
tpm2_close(void *self)
{
    tpm2_self *s = self;

    pqe__tpm2_config_free(&s->config);
    free(s);
}

static void
tpm2_detach(void *self, void *key)
{
    (void)self;
    pqe__secmem_free(key);
}

static pqe_status
new_key(const uint8_t vault_id[PQE_VAULT_ID_SIZE], tpm2_key **k, pqe_error *err)
{
    void *p;
    pqe_status status = pqe__softkey_alloc(sizeof **k, &p, err);

    *k = p;
    if (status == PQE_OK)
        memcpy((*k)->vault_id, vault_id, PQE_VAULT_ID_SIZE);
    return status;
}

/* ---- the authorization value ---- */

/* Locked memory of one call. */
typedef struct secrets {
    uint8_t input[PQE_VAULT_ID_SIZE + PQE_PASSPHRASE_MAX]; /* vault id, then the PIN */
    uint8_t prk[PQE__SHA256_SIZE];
} secrets;

/* HKDF (RFC 5869) of vault id and PIN; the salt is random and as long as a key, since without a PIN, and for whoever
 * recorded the bus, it is all there is to be guessed. */
static pqe_status
make_auth(const tpm2_self *s, pqe_passphrase_purpose purpose, const uint8_t vault_id[PQE_VAULT_ID_SIZE],
          const pqe__tpm2_state *state, uint8_t auth[PQE__KEY_SIZE], pqe_error *err)
{
    size_t pin_len = 0;
    secrets *m;
    void *p;
    pqe_status status = pqe__softkey_alloc(sizeof *m, &p, err);

    if (status != PQE_OK)
        return status;
    m = p;
    memcpy(m->input, vault_id, PQE_VAULT_ID_SIZE);
    if ((state->flags & PQE__TPM2_PIN) != 0)
        status = pqe__ask_passphrase(&s->ask, purpose, "PIN", (char *)m->input + PQE_VAULT_ID_SIZE, &pin_len, err);
    if (status == PQE_OK)
        status = pqe__hkdf_extract(state->salt, sizeof state->salt, m->input, PQE_VAULT_ID_SIZE + pin_len, m->prk, err);
    if (status == PQE_OK)
        status = pqe__hkdf_expand(PQE__HKDF_SHA256, m->prk, sizeof m->prk, (const uint8_t *)AUTH_LABEL,
                                  sizeof AUTH_LABEL - 1, auth, PQE__KEY_SIZE, err);
    pqe__secmem_free(m);
    return status;
}

/* ---- enrol ---- */

typedef struct enrolment {
    const pqe__tpm2_config *config;
    tpm2_key *key;
} enrolment;

/* A key that cannot be had back must not come to be. */
static pqe_status
try_out(pqe__tpm2_device *d, ESYS_TR parent, const tpm2_key *k, pqe_error *err)
{
    void *again;
    ESYS_TR object;
    pqe_status status = pqe__softkey_alloc(PQE__KEY_SIZE, &again, err);

    if (status == PQE_OK)
        status = pqe__tpm2_load_key(d, parent, &k->state, k->auth, &object, err);
    if (status == PQE_OK)
        status = pqe__tpm2_unseal_key(d, parent, object, &k->state, again, err);
    if (status == PQE_OK && !pqe__equal(again, k->kek, PQE__KEY_SIZE))
        status = pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_DEVICE, 0, "the TPM unsealed something else than was sealed");
    if (status == PQE_OK)
        pqe__tpm2_flush(d, object);
    pqe__secmem_free(again);
    return status;
}

static pqe_status
enrol_visit(pqe__tpm2_device *d, void *arg, pqe_error *err)
{
    const enrolment *e = arg;
    tpm2_key *k = e->key;
    ESYS_TR parent;
    pqe_status status = pqe__tpm2_choose_bits(d, &k->state.parent_bits, err);

    if (status == PQE_OK)
        status = pqe__tpm2_parent(d, k->state.parent_bits, k->state.parent_name, &parent, err);
    if (status == PQE_OK)
        status = pqe__tpm2_seal_key(d, parent, &k->state, k->auth, k->kek, err);
    if (status == PQE_OK)
        status = try_out(d, parent, k, err);
    if (status == PQE_OK && !e->config->no_counter) /* last, so that nothing after it can fail and leave it behind */
        status = pqe__tpm2_counter_define(d, parent, k->vault_id, k->kek, &k->state, err);
    return status;
}

static pqe_status
tpm2_enrol(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_blob *state, void **key, pqe_error *err)
{
    const tpm2_self *s = self;
    tpm2_key *k;
    pqe_status status;

    *key = NULL;
    if (state->capacity < PQE__TPM2_STATE_SIZE(PQE__TPM2_PRIVATE_MAX))
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_BACKEND, 0, "the buffer is too small for the backend's state");
    status = new_key(vault_id, &k, err);
    if (status != PQE_OK)
        return status;
    k->state.flags = s->config.pin ? PQE__TPM2_PIN : 0;
    k->state.pcr_bank = s->config.pcr_bank;
    k->state.pcr_mask = s->config.pcr_mask;
    status = pqe__random_secret(k->kek, sizeof k->kek, err);
    if (status == PQE_OK)
        status = pqe__random(k->state.salt, sizeof k->state.salt, err);
    if (status == PQE_OK)
        status = make_auth(s, PQE_PASSPHRASE_NEW, vault_id, &k->state, k->auth, err);
    if (status == PQE_OK)
        status = pqe__tpm2_visit(&s->config, enrol_visit, &(enrolment){&s->config, k}, err);
    if (status == PQE_OK)
        status = pqe__tpm2_state_write(&k->state, state, err);
    if (status == PQE_OK)
        *key = k;
    else
        tpm2_detach(self, k);
    return status;
}

typedef struct removal {
    const uint8_t *vault_id;
    uint32_t nv_index;
} removal;

static pqe_status
discard_visit(pqe__tpm2_device *d, void *arg, pqe_error *err)
{
    const removal *r = arg;

    (void)err;
    pqe__tpm2_counter_remove(d, r->vault_id, r->nv_index);
    return PQE_OK;
}

static void
tpm2_discard(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key)
{
    const tpm2_self *s = self;
    const tpm2_key *k = key;
    removal r = {.vault_id = vault_id, .nv_index = k != NULL ? k->state.nv_index : 0};

    if (k == NULL || r.nv_index != 0)
        (void)pqe__tpm2_visit(&s->config, discard_visit, &r, NULL);
}

/* ---- attach ---- */

static pqe_status
attach_visit(pqe__tpm2_device *d, void *arg, pqe_error *err)
{
    tpm2_key *k = arg;
    ESYS_TR parent, object;
    pqe_status status = pqe__tpm2_known_parent(d, &k->state, &parent, err);

    if (status == PQE_OK)
        status = pqe__tpm2_load_key(d, parent, &k->state, k->auth, &object, err);
    return status == PQE_OK ? pqe__tpm2_unseal_key(d, parent, object, &k->state, k->kek, err) : status;
}

static pqe_status
tpm2_attach(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t *state, size_t state_len, void **key,
            pqe_error *err)
{
    const tpm2_self *s = self;
    tpm2_key *k;
    pqe_status status = new_key(vault_id, &k, err);

    *key = NULL;
    if (status != PQE_OK)
        return status;
    status = pqe__tpm2_state_read(state, state_len, &k->state, err);
    if (status == PQE_OK)
        status = make_auth(s, PQE_PASSPHRASE_UNLOCK, vault_id, &k->state, k->auth, err);
    if (status == PQE_OK)
        status = pqe__tpm2_visit(&s->config, attach_visit, k, err);
    if (status == PQE_OK)
        *key = k;
    else
        tpm2_detach(self, k);
    return status;
}

static pqe_status
tpm2_seal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *secret, size_t secret_len,
          pqe_blob *sealed, pqe_error *err)
{
    (void)self;
    return pqe__softkey_seal(((const tpm2_key *)key)->kek, aad, aad_len, secret, secret_len, sealed, err);
}

static pqe_status
tpm2_unseal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *sealed, size_t sealed_len,
            pqe_blob *secret, pqe_error *err)
{
    (void)self;
    return pqe__softkey_unseal(((const tpm2_key *)key)->kek, aad, aad_len, sealed, sealed_len, secret, err);
}

static const char *
tpm2_key_source(const uint8_t *state, size_t state_len)
{
    pqe__tpm2_state s;

    if (pqe__tpm2_state_read(state, state_len, &s, NULL) != PQE_OK)
        return NULL;
    return (s.flags & PQE__TPM2_PIN) != 0 ? "passphrase" : "tpm";
}

/* ---- another PIN ---- */

typedef struct change {
    const tpm2_key *key;
    tpm2_key *fresh;
} change;

static pqe_status
change_visit(pqe__tpm2_device *d, void *arg, pqe_error *err)
{
    const change *c = arg;

    return pqe__tpm2_change_auth(d, &c->key->state, c->key->auth, c->fresh->auth, &c->fresh->state, err);
}

/* The vault may have been given another PIN since this key was attached, also by this same key. Authorization value and
 * sealed key must be of one time, so both are the attached key's: the TPM still knows them. */
static pqe_status
tpm2_change_passphrase(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key, const uint8_t *state,
                       size_t state_len, pqe_blob *new_state, pqe_error *err)
{
    const tpm2_self *s = self;
    const tpm2_key *k = key;
    pqe__tpm2_state present;
    change c = {.key = k};
    pqe_status status = pqe__tpm2_state_read(state, state_len, &present, err);

    if (status == PQE_OK && (k->state.flags & PQE__TPM2_PIN) == 0)
        status = pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0, "this vault has no PIN");
    if (status == PQE_OK && memcmp(present.unique, k->state.unique, sizeof present.unique) != 0)
        status =
            pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_BACKEND, 0, "what the vault stores is of another sealed key");
    if (status == PQE_OK)
        status = new_key(vault_id, &c.fresh, err);
    if (status != PQE_OK)
        return status;
    c.fresh->state = k->state;
    status = pqe__random(c.fresh->state.salt, sizeof c.fresh->state.salt, err);
    if (status == PQE_OK)
        status = make_auth(s, PQE_PASSPHRASE_NEW, vault_id, &c.fresh->state, c.fresh->auth, err);
    if (status == PQE_OK)
        status = pqe__tpm2_visit(&s->config, change_visit, &c, err);
    if (status == PQE_OK)
        status = pqe__tpm2_state_write(&c.fresh->state, new_state, err);
    tpm2_detach(self, c.fresh);
    return status;
}

/* ---- the counter ---- */

typedef struct counting {
    tpm2_key *key;
    uint64_t value;
    pqe_blob *note_out;
    const uint8_t *note;
    size_t note_len;
} counting;

static pqe_status
check_counts(const tpm2_key *k, pqe_error *err)
{
    if ((k->state.flags & PQE__TPM2_COUNTER) != 0)
        return PQE_OK;
    return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0, "this vault was made without a counter");
}

static pqe_status
read_visit(pqe__tpm2_device *d, void *arg, pqe_error *err)
{
    counting *c = arg;

    return pqe__tpm2_counter_read(d, c->key->vault_id, c->key->kek, &c->key->state, &c->value, c->note_out, err);
}

/* A TPM that cannot be reached is not one that never had a counter. */
static pqe_status
count_by(const tpm2_self *s, pqe__tpm2_fn fn, void *arg, pqe_error *err)
{
    pqe_status status = pqe__tpm2_visit(&s->config, fn, arg, err);

    if (status != PQE_E_UNAVAILABLE)
        return status;
    if (err != NULL)
        err->status = PQE_E_BACKEND;
    return PQE_E_BACKEND;
}

static pqe_status
tpm2_counter_read(void *self, void *key, uint64_t *value, pqe_blob *note, pqe_error *err)
{
    const tpm2_self *s = self;
    counting c = {.key = key, .note_out = note};
    pqe_status status = check_counts(key, err);

    if (status == PQE_OK)
        status = count_by(s, read_visit, &c, err);
    if (status == PQE_OK)
        *value = c.value;
    return status;
}

static pqe_status
advance_visit(pqe__tpm2_device *d, void *arg, pqe_error *err)
{
    const counting *c = arg;

    return pqe__tpm2_counter_advance(d, c->key->vault_id, c->key->kek, &c->key->state, c->value, c->note, c->note_len,
                                     err);
}

static pqe_status
tpm2_counter_advance(void *self, void *key, uint64_t value, const uint8_t *note, size_t note_len, pqe_error *err)
{
    const tpm2_self *s = self;
    counting c = {.key = key, .value = value, .note = note, .note_len = note_len};
    pqe_status status = check_counts(key, err);

    return status == PQE_OK ? count_by(s, advance_visit, &c, err) : status;
}

/* In its old place, so that the state stays as it is. What is left there of it goes first. */
static pqe_status
make_visit(pqe__tpm2_device *d, void *arg, pqe_error *err)
{
    tpm2_key *k = arg;
    ESYS_TR parent;
    pqe_status status = pqe__tpm2_known_parent(d, &k->state, &parent, err);

    if (status != PQE_OK)
        return status;
    pqe__tpm2_counter_remove(d, k->vault_id, k->state.nv_index);
    return pqe__tpm2_counter_define(d, parent, k->vault_id, k->kek, &k->state, err);
}

static pqe_status
tpm2_counter_make(void *self, void *key, pqe_error *err)
{
    const tpm2_self *s = self;
    pqe_status status = check_counts(key, err);

    return status == PQE_OK ? count_by(s, make_visit, key, err) : status;
}

/* ---- evidence ---- */

typedef struct testimony {
    const tpm2_key *key;
    const uint8_t *nonce;
    pqe__tpm2_piece pieces[PQE__TPM2_PIECES_MAX];
    size_t count;
} testimony;

static pqe_status
evidence_visit(pqe__tpm2_device *d, void *arg, pqe_error *err)
{
    testimony *t = arg;
    const tpm2_key *k = t->key;

    return pqe__tpm2_testify(d, k->vault_id, k->kek, k->auth, &k->state, t->nonce, t->pieces, &t->count, err);
}

static pqe_status
tpm2_evidence(void *self, void *key, const uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE], pqe_evidence_fn take, void *user,
              pqe_error *err)
{
    const tpm2_self *s = self;
    testimony t = {.key = key, .nonce = nonce};
    pqe_status status = pqe__tpm2_visit(&s->config, evidence_visit, &t, err);

    for (size_t i = 0; i < t.count && status == PQE_OK; i++)
        status = take(user, t.pieces[i].type, t.pieces[i].data, t.pieces[i].len, err);
    return status;
}

static pqe_status
key_visit(pqe__tpm2_device *d, void *arg, pqe_error *err)
{
    return pqe__tpm2_attestation_key(d, arg, err);
}

static pqe_status
tpm2_evidence_key(void *self, void *key, pqe_blob *pem, pqe_error *err)
{
    const tpm2_self *s = self;

    (void)key;
    return pqe__tpm2_visit(&s->config, key_visit, pem, err);
}

const pqe_backend_ops pqe__tpm2_ops = {
    .magic = PQE_BACKEND_MAGIC,
    .abi = PQE_BACKEND_ABI,
    .size = sizeof(pqe_backend_ops),
    .info = {.name = "tpm2",
             .description = "a key sealed by this machine's TPM 2.0, with a PIN and PCRs if wanted",
             .protection = "secure-element",
             .caveat = "whoever can log in on this machine as you, or is root, can have the TPM unseal the key, unless "
                       "there is a PIN; a lost or cleared TPM takes the vault with it, unless there is a recovery key",
             .capabilities =
                 PQE_CAP_SEAL | PQE_CAP_PASSPHRASE | PQE_CAP_PERSISTENT | PQE_CAP_COUNTER | PQE_CAP_EVIDENCE},
    .open = tpm2_open,
    .close = tpm2_close,
    .enrol = tpm2_enrol,
    .discard = tpm2_discard,
    .attach = tpm2_attach,
    .detach = tpm2_detach,
    .seal = tpm2_seal,
    .unseal = tpm2_unseal,
    .key_source = tpm2_key_source,
    .change_passphrase = tpm2_change_passphrase,
    .counter_read = tpm2_counter_read,
    .counter_advance = tpm2_counter_advance,
    .counter_make = tpm2_counter_make,
    .evidence = tpm2_evidence,
    .evidence_key = tpm2_evidence_key,
    .describe = pqe__tpm2_state_describe,
};
