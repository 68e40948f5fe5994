/* SPDX-License-Identifier: Apache-2.0 */
/* Wrapping a key by a passphrase. The layout is in passphrase.h. */
#include "backend/file/passphrase.h"

#include <pthread.h>
#include <string.h>

#include "backend/ask.h"
#include "backend/softkey.h"
#include "util/cursor.h"
#include "util/secmem.h"

#define ARGON2_VERSION 0x13u
#define HEAD_SIZE (18 + PQE__PASSPHRASE_SALT_SIZE + PQE__KEY_SIZE) /* what precedes the box */
#define AAD_LABEL "pqc-enclave file backend v1 passphrase"
#define AAD_SIZE (sizeof AAD_LABEL - 1 + PQE_VAULT_ID_SIZE + HEAD_SIZE)
#define WRAP_LABEL "pqc-enclave file backend v1 passphrase wrap"
#define CHECK_LABEL "pqc-enclave file backend v1 passphrase check"

/*
 * RFC 9106, section 4, recommends 2 GiB with one pass, or 64 MiB with three passes where memory is short, both with
 * four lanes. The first is out of reach of phones. 256 MiB with three passes lies between: four times the memory of
 * the second, so sixteen times its cost in memory multiplied by time to whoever guesses with special hardware, about
 * a second once a session, and a size that phones of today grant for a moment.
 */
static const pqe__argon2_params default_params = {.memory_kib = 262144, .passes = 3, .lanes = 4};

static pthread_mutex_t params_lock = PTHREAD_MUTEX_INITIALIZER;
static pqe__argon2_params chosen_params;
static bool params_chosen;

typedef struct wrapped {
    pqe__argon2_params params;
    uint8_t salt[PQE__PASSPHRASE_SALT_SIZE];
    uint8_t check[PQE__KEY_SIZE];
    uint8_t box[PQE__KEY_SIZE + PQE__BOX_OVERHEAD];
} wrapped;

/* Locked memory of one call. */
typedef struct secrets {
    char passphrase[PQE_PASSPHRASE_MAX];
    size_t passphrase_len;
    uint8_t stretched[PQE__KEY_SIZE];
    uint8_t wrap_key[PQE__KEY_SIZE];
    uint8_t check[PQE__KEY_SIZE];
} secrets;

bool
pqe__passphrase_params_ok(const pqe__argon2_params *p)
{
    return p->memory_kib >= PQE__ARGON2_MEMORY_MIN && p->memory_kib <= PQE__ARGON2_MEMORY_MAX && p->passes >= 1 &&
           p->passes <= PQE__ARGON2_PASSES_MAX && p->lanes >= 1 && p->lanes <= PQE__ARGON2_LANES_MAX &&
           (uint64_t)p->memory_kib * p->passes >= PQE__ARGON2_WORK_MIN;
}

bool
pqe__passphrase_set_params(const pqe__argon2_params *params)
{
    if (params != NULL && !pqe__passphrase_params_ok(params))
        return false;
    pthread_mutex_lock(&params_lock);
    params_chosen = params != NULL;
    if (params != NULL)
        chosen_params = *params;
    pthread_mutex_unlock(&params_lock);
    return true;
}

static pqe__argon2_params
present_params(void)
{
    pqe__argon2_params params;

    pthread_mutex_lock(&params_lock);
    params = params_chosen ? chosen_params : default_params;
    pthread_mutex_unlock(&params_lock);
    return params;
}

static void
put_head(pqe__wcur *c, const wrapped *w)
{
    pqe__put_u8(c, PQE__FILE_STATE_VERSION);
    pqe__put_u8(c, PQE__FILE_MODE_PASSPHRASE);
    pqe__put_u32(c, ARGON2_VERSION);
    pqe__put_u32(c, w->params.memory_kib);
    pqe__put_u32(c, w->params.passes);
    pqe__put_u32(c, w->params.lanes);
    pqe__put_bytes(c, w->salt, sizeof w->salt);
    pqe__put_bytes(c, w->check, sizeof w->check);
}

static pqe_status
parse(const uint8_t *state, size_t state_len, wrapped *w, pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(state, state_len);
    uint8_t version = pqe__get_u8(&c);
    uint8_t mode = pqe__get_u8(&c);
    uint32_t argon2_version = pqe__get_u32(&c);

    w->params.memory_kib = pqe__get_u32(&c);
    w->params.passes = pqe__get_u32(&c);
    w->params.lanes = pqe__get_u32(&c);
    pqe__get_copy(&c, w->salt, sizeof w->salt);
    pqe__get_copy(&c, w->check, sizeof w->check);
    pqe__get_copy(&c, w->box, sizeof w->box);
    if (!pqe__rcur_done(&c) || mode != PQE__FILE_MODE_PASSPHRASE)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "the file backend's state is malformed");
    if (version != PQE__FILE_STATE_VERSION || argon2_version != ARGON2_VERSION)
        return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_FORMAT, 0,
                         "the passphrase is processed in a way unknown to this version");
    if (!pqe__passphrase_params_ok(&w->params))
        return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_FORMAT, 0,
                         "the Argon2id parameters stored with the vault are outside the accepted range");
    return PQE_OK;
}

/* Passphrase to wrap key and check value: Argon2id, then HKDF with one label each. */
static pqe_status
stretch(secrets *s, const wrapped *w, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_error *err)
{
    pqe_status status =
        pqe__argon2id(s->passphrase, s->passphrase_len, w->salt, sizeof w->salt, &w->params, s->stretched, err);

    if (status == PQE_OK)
        status = pqe__softkey_derive(s->stretched, vault_id, WRAP_LABEL, s->wrap_key, err);
    if (status == PQE_OK)
        status = pqe__softkey_derive(s->stretched, vault_id, CHECK_LABEL, s->check, err);
    return status;
}

static void
make_aad(const wrapped *w, const uint8_t vault_id[PQE_VAULT_ID_SIZE], uint8_t aad[AAD_SIZE])
{
    pqe__wcur c = pqe__wcur_init(aad, AAD_SIZE);

    pqe__put_bytes(&c, AAD_LABEL, sizeof AAD_LABEL - 1);
    pqe__put_bytes(&c, vault_id, PQE_VAULT_ID_SIZE);
    put_head(&c, w);
}

pqe_status
pqe__passphrase_wrap(const pqe_backend_opts *ask, const uint8_t vault_id[PQE_VAULT_ID_SIZE],
                     const uint8_t kek[PQE__KEY_SIZE], pqe_blob *state, pqe_error *err)
{
    wrapped w = {.params = present_params()};
    uint8_t aad[AAD_SIZE];
    pqe__aead *aead = NULL;
    secrets *s;
    void *p;
    pqe__wcur c;
    pqe_status status;

    state->len = 0;
    if (state->capacity < PQE__PASSPHRASE_STATE_SIZE)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_BACKEND, 0, "the buffer is too small for the backend's state");
    status = pqe__softkey_alloc(sizeof *s, &p, err);
    if (status != PQE_OK)
        return status;
    s = p;
    status = pqe__ask_passphrase(ask, PQE_PASSPHRASE_NEW, "passphrase", s->passphrase, &s->passphrase_len, err);
    if (status == PQE_OK)
        status = pqe__random(w.salt, sizeof w.salt, err);
    if (status == PQE_OK)
        status = stretch(s, &w, vault_id, err);
    if (status != PQE_OK)
        goto cleanup;
    memcpy(w.check, s->check, sizeof w.check);
    make_aad(&w, vault_id, aad);
    status = pqe__aead_new(s->wrap_key, sizeof s->wrap_key, &aead, err);
    if (status == PQE_OK)
        status = pqe__box_seal(aead, aad, sizeof aad, kek, PQE__KEY_SIZE, w.box, err);
    if (status != PQE_OK)
        goto cleanup;
    c = pqe__wcur_init(state->data, state->capacity);
    put_head(&c, &w);
    pqe__put_bytes(&c, w.box, sizeof w.box);
    state->len = c.pos;

cleanup:
    pqe__aead_free(&aead);
    pqe__secmem_free(s);
    return status;
}

pqe_status
pqe__passphrase_unwrap(const pqe_backend_opts *ask, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t *state,
                       size_t state_len, uint8_t kek[PQE__KEY_SIZE], pqe_error *err)
{
    wrapped w;
    uint8_t aad[AAD_SIZE];
    pqe__aead *aead = NULL;
    secrets *s;
    void *p;
    pqe_status status = parse(state, state_len, &w, err);

    if (status == PQE_OK)
        status = pqe__softkey_alloc(sizeof *s, &p, err);
    if (status != PQE_OK)
        return status;
    s = p;
    status = pqe__ask_passphrase(ask, PQE_PASSPHRASE_UNLOCK, "passphrase", s->passphrase, &s->passphrase_len, err);
    if (status == PQE_OK)
        status = stretch(s, &w, vault_id, err);
    if (status != PQE_OK)
        goto cleanup;
    if (!pqe__equal(s->check, w.check, sizeof w.check)) {
        status = pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_BACKEND, 0, "the passphrase does not open this vault");
        goto cleanup;
    }
    make_aad(&w, vault_id, aad);
    status = pqe__aead_new(s->wrap_key, sizeof s->wrap_key, &aead, err);
    if (status == PQE_OK)
        status = pqe__box_open(aead, aad, sizeof aad, w.box, sizeof w.box, kek, err);
    if (status == PQE_E_DECRYPTION) /* right passphrase, as the check value says: the box itself was changed */
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "the wrapped key of the vault was altered");

cleanup:
    pqe__aead_free(&aead);
    pqe__secmem_free(s);
    return status;
}
