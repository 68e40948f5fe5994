/* SPDX-License-Identifier: Apache-2.0 */
/* Opening backends by name or by table, and the checked calls into them. */
#include "backend/registry.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"
#include "util/opts.h"
#include "util/secmem.h"

#define NAME_MAX_LEN 31u /* names and key sources are stored in fields of 32 bytes */

static const pqe_backend_ops *const builtins[] = {&pqe__memory_ops, &pqe__file_ops};

/* An entry is there if the table is long enough to hold it and it is set. Entries past `size` are never read. */
#define HAS_ENTRY(ops, entry)                                                                                          \
    (offsetof(pqe_backend_ops, entry) + sizeof((ops)->entry) <= (ops)->size && (ops)->entry != NULL)

static pqe_status
bad_argument(pqe_error *err, const char *text)
{
    return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "%s", text);
}

bool
pqe_backend_builtin(size_t index, pqe_backend_info *out)
{
    if (out == NULL || index >= sizeof builtins / sizeof builtins[0])
        return false;
    *out = builtins[index]->info;
    return true;
}

static const pqe_backend_ops *
find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof builtins / sizeof builtins[0]; i++) {
        const char *candidate = builtins[i]->info.name;
        if (strlen(candidate) == len && memcmp(candidate, name, len) == 0)
            return builtins[i];
    }
    return NULL;
}

const pqe_backend_ops *
pqe__backend_find(const char *name)
{
    return name != NULL ? find(name, strlen(name)) : NULL;
}

pqe_status
pqe_backend_open(const char *config, const pqe_backend_opts *opts, pqe_backend **out, pqe_error *err)
{
    const pqe_backend_ops *ops;
    size_t name_len;

    if (out == NULL)
        return bad_argument(err, "no place for the backend's handle");
    *out = NULL;
    if (config == NULL)
        return bad_argument(err, "no backend was named");
    name_len = strcspn(config, ":");
    ops = find(config, name_len);
    if (ops == NULL) {
        int shown = name_len < NAME_MAX_LEN ? (int)name_len : (int)NAME_MAX_LEN;
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0, "there is no backend named '%.*s'", shown,
                         config);
    }
    return pqe_backend_open_ops(ops, config[name_len] == ':' ? config + name_len + 1 : "", opts, out, err);
}

/* What a third party's table must have. Its size is looked at before anything that comes later in it. */
static const char *
table_fault(const pqe_backend_ops *ops)
{
    const char *name;

    if (ops->magic != PQE_BACKEND_MAGIC)
        return "not a table of backend functions";
    if (ops->abi != PQE_BACKEND_ABI)
        return "the backend was made for another version of the backend interface";
    if (!HAS_ENTRY(ops, open) || !HAS_ENTRY(ops, close) || !HAS_ENTRY(ops, enrol) || !HAS_ENTRY(ops, attach) ||
        !HAS_ENTRY(ops, detach) || !HAS_ENTRY(ops, key_source))
        return "the backend lacks a required function";
    if ((ops->info.capabilities & PQE_CAP_SEAL) == 0 || !HAS_ENTRY(ops, seal) || !HAS_ENTRY(ops, unseal))
        return "the backend cannot seal and unseal";
    if ((ops->info.capabilities & PQE_CAP_NATIVE_ML_DSA) != 0 &&
        (!HAS_ENTRY(ops, identity_make) || !HAS_ENTRY(ops, identity_sign)))
        return "the backend says that it signs, but cannot";
    name = ops->info.name;
    if (name == NULL || name[0] == '\0' || strlen(name) > NAME_MAX_LEN || strchr(name, ':') != NULL)
        return "the backend's name is empty, too long or contains a colon";
    if (ops->info.description == NULL || ops->info.protection == NULL || ops->info.caveat == NULL)
        return "the backend does not describe itself";
    return NULL;
}

/* Judges what a backend returned and hands its error on; a backend's word is not trusted to be well-formed. */
static pqe_status
judge(pqe_status status, pqe_error *inner, pqe_error *err)
{
    if (status == PQE_OK)
        return PQE_OK;
    if (status > 0)
        return pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, status, "the backend returned an unknown status");
    inner->message[sizeof inner->message - 1] = '\0';
    if (inner->status != status || inner->message[0] == '\0')
        return pqe__fail(err, status, PQE_ORIGIN_BACKEND, 0, "the backend gave no reason: %s", pqe_status_text(status));
    if (err != NULL)
        *err = *inner;
    return status;
}

pqe_status
pqe_backend_open_ops(const pqe_backend_ops *ops, const char *config, const pqe_backend_opts *opts, pqe_backend **out,
                     pqe_error *err)
{
    pqe_backend_opts known = {.size = sizeof known};
    pqe_error inner = {0};
    pqe_backend *backend;
    const char *fault;
    pqe_status status;

    if (out == NULL)
        return bad_argument(err, "no place for the backend's handle");
    *out = NULL;
    fault = ops == NULL ? "no table of backend functions" : table_fault(ops);
    if (fault != NULL)
        return bad_argument(err, fault);
    /* No shorter one: the struct is as 0.1.0, the first release, has it. */
    if (opts != NULL &&
        (status = pqe__opts_copy(&known, sizeof known, sizeof known, opts, "the backend options", err)) != PQE_OK)
        return status;

    backend = calloc(1, sizeof *backend);
    if (backend == NULL)
        return pqe__fail_nomem(err);
    if (pthread_mutex_init(&backend->lock, NULL) != 0) {
        free(backend);
        return pqe__fail_nomem(err);
    }
    backend->ops = ops;
    backend->owner = getpid();
    status = judge(ops->open(config != NULL ? config : "", &known, &backend->self, &inner), &inner, err);
    if (status != PQE_OK) {
        pthread_mutex_destroy(&backend->lock);
        free(backend);
        return status;
    }
    *out = backend;
    return PQE_OK;
}

void
pqe_backend_close(pqe_backend **backend)
{
    pqe_backend *b = backend != NULL ? *backend : NULL;

    if (b == NULL)
        return;
    *backend = NULL;
    /* In a forked child `self` holds keys and connections of the parent, and the mutex may be held by a thread that
     * does not exist here: only the handle itself goes. */
    if (pqe__owner_is_here(b->owner)) {
        b->ops->close(b->self);
        pthread_mutex_destroy(&b->lock);
    }
    free(b);
}

static pqe_status
enter(pqe_backend *b, pqe_error *err)
{
    if (b == NULL)
        return bad_argument(err, "no backend");
    if (!pqe__owner_is_here(b->owner))
        return pqe__fail(err, PQE_E_LOCKED, PQE_ORIGIN_API, 0, "the backend belongs to another process");
    pthread_mutex_lock(&b->lock);
    return PQE_OK;
}

static pqe_status
unavailable(const pqe_backend *b, const char *ability, pqe_error *err)
{
    return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0, "the %s backend cannot %s", b->ops->info.name,
                     ability);
}

/* A backend works on a copy of the blob, so that what it does to `capacity` or `data` is of no effect. */
static pqe_blob
lend(pqe_blob *blob)
{
    blob->len = 0;
    return (pqe_blob){.data = blob->data, .capacity = blob->capacity, .len = 0};
}

/* Takes the length over if the call succeeded and it makes sense; otherwise leaves an empty, zeroed blob. */
static pqe_status
take_back(const pqe_blob *lent, pqe_blob *blob, pqe_status status, pqe_error *err)
{
    if (status == PQE_OK && (lent->len == 0 || lent->len > blob->capacity))
        status = pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, 0, "the backend returned an impossible length");
    if (status == PQE_OK)
        blob->len = lent->len;
    else
        pqe__wipe(blob->data, blob->capacity);
    return status;
}

static pqe_status
no_key(pqe_error *err)
{
    return pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, 0, "the backend returned no key");
}

pqe_status
pqe__backend_enrol(pqe_backend *b, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_blob *state, void **key,
                   pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob lent = lend(state);
    pqe_status status;

    *key = NULL;
    status = enter(b, err);
    if (status != PQE_OK)
        return status;
    status = judge(b->ops->enrol(b->self, vault_id, &lent, key, &inner), &inner, err);
    if (status == PQE_OK && *key == NULL)
        status = no_key(err);
    else if (status != PQE_OK)
        *key = NULL;
    status = take_back(&lent, state, status, err);
    if (status != PQE_OK && *key != NULL) { /* a key, but a state that cannot be stored */
        if (HAS_ENTRY(b->ops, discard))
            b->ops->discard(b->self, vault_id, *key);
        b->ops->detach(b->self, *key);
        *key = NULL;
    }
    pthread_mutex_unlock(&b->lock);
    return status;
}

static void
discard(pqe_backend *b, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key)
{
    if (enter(b, NULL) != PQE_OK)
        return;
    if (HAS_ENTRY(b->ops, discard))
        b->ops->discard(b->self, vault_id, key);
    pthread_mutex_unlock(&b->lock);
}

void
pqe__backend_discard(pqe_backend *b, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key)
{
    if (key != NULL)
        discard(b, vault_id, key);
}

void
pqe__backend_forget(pqe_backend *b, const uint8_t vault_id[PQE_VAULT_ID_SIZE])
{
    discard(b, vault_id, NULL);
}

pqe_status
pqe__backend_attach(pqe_backend *b, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t *state, size_t state_len,
                    void **key, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_status status;

    *key = NULL;
    status = enter(b, err);
    if (status != PQE_OK)
        return status;
    status = judge(b->ops->attach(b->self, vault_id, state, state_len, key, &inner), &inner, err);
    if (status != PQE_OK)
        *key = NULL;
    else if (*key == NULL)
        status = no_key(err);
    pthread_mutex_unlock(&b->lock);
    return status;
}

void
pqe__backend_detach(pqe_backend *b, void *key)
{
    if (key == NULL || enter(b, NULL) != PQE_OK)
        return;
    b->ops->detach(b->self, key);
    pthread_mutex_unlock(&b->lock);
}

bool
pqe__backend_try_detach(pqe_backend *b, void *key)
{
    if (pthread_mutex_trylock(&b->lock) != 0)
        return false;
    b->ops->detach(b->self, key);
    pthread_mutex_unlock(&b->lock);
    return true;
}

pqe_status
pqe__backend_seal(pqe_backend *b, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *secret,
                  size_t secret_len, pqe_blob *sealed, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob lent = lend(sealed);
    pqe_status status;

    if (key == NULL || secret_len == 0)
        return bad_argument(err, "no key to seal with, or nothing to seal");
    if (secret_len > PQE_SEAL_SECRET_MAX)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "a backend seals at most %u bytes", PQE_SEAL_SECRET_MAX);
    status = enter(b, err);
    if (status != PQE_OK)
        return status;
    if (HAS_ENTRY(b->ops, seal))
        status = judge(b->ops->seal(b->self, key, aad, aad_len, secret, secret_len, &lent, &inner), &inner, err);
    else
        status = unavailable(b, "seal", err);
    status = take_back(&lent, sealed, status, err);
    pthread_mutex_unlock(&b->lock);
    return status;
}

pqe_status
pqe__backend_unseal(pqe_backend *b, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *sealed,
                    size_t sealed_len, pqe_blob *secret, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob lent = lend(secret);
    pqe_status status;

    if (key == NULL)
        return bad_argument(err, "no key to unseal with");
    if (sealed_len > PQE_SEAL_BLOB_MAX)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_FORMAT, 0, "a sealed key is longer than any backend makes");
    status = enter(b, err);
    if (status != PQE_OK)
        return status;
    if (HAS_ENTRY(b->ops, unseal))
        status = judge(b->ops->unseal(b->self, key, aad, aad_len, sealed, sealed_len, &lent, &inner), &inner, err);
    else
        status = unavailable(b, "unseal", err);
    status = take_back(&lent, secret, status, err);
    pthread_mutex_unlock(&b->lock);
    return status;
}

const char *
pqe__backend_key_source(const pqe_backend_ops *ops, const uint8_t *state, size_t state_len)
{
    const char *word = ops != NULL ? ops->key_source(state, state_len) : NULL;

    return word != NULL && strlen(word) <= NAME_MAX_LEN ? word : NULL;
}

pqe_status
pqe__backend_change_passphrase(pqe_backend *b, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key,
                               const uint8_t *state, size_t state_len, pqe_blob *new_state, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob lent = lend(new_state);
    pqe_status status;

    if (key == NULL)
        return bad_argument(err, "no key to give a new passphrase");
    status = enter(b, err);
    if (status != PQE_OK)
        return status;
    if (HAS_ENTRY(b->ops, change_passphrase))
        status = judge(b->ops->change_passphrase(b->self, vault_id, key, state, state_len, &lent, &inner), &inner, err);
    else
        status = unavailable(b, "change a passphrase", err);
    status = take_back(&lent, new_state, status, err);
    pthread_mutex_unlock(&b->lock);
    return status;
}

/* ---- native ML-DSA ---- */

bool
pqe__backend_signs(const pqe_backend *b)
{
    return (b->ops->info.capabilities & PQE_CAP_NATIVE_ML_DSA) != 0;
}

pqe_status
pqe__backend_identity_make(pqe_backend *b, void *key, pqe_sig_algorithm algorithm, pqe_blob *handle,
                           pqe_blob *public_key, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob lent = lend(handle), lent_key = lend(public_key);
    pqe_status status;

    if (key == NULL)
        return bad_argument(err, "no key to make an identity with");
    status = enter(b, err);
    if (status != PQE_OK)
        return status;
    if (pqe__backend_signs(b))
        status = judge(b->ops->identity_make(b->self, key, algorithm, &lent, &lent_key, &inner), &inner, err);
    else
        status = unavailable(b, "make a signing key", err);
    status = take_back(&lent, handle, status, err);
    status = take_back(&lent_key, public_key, status, err);
    if (status == PQE_OK && public_key->len != pqe_sig_public_size(algorithm))
        status = pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, 0, "the backend returned an impossible public key");
    if (status != PQE_OK && handle->len != 0 && HAS_ENTRY(b->ops, identity_drop))
        b->ops->identity_drop(b->self, key, handle->data, handle->len);
    pthread_mutex_unlock(&b->lock);
    return status;
}

pqe_status
pqe__backend_identity_sign(pqe_backend *b, void *key, pqe_sig_algorithm algorithm, const uint8_t *handle,
                           size_t handle_len, const uint8_t *context, size_t context_len, const uint8_t *message,
                           size_t message_len, pqe_blob *signature, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_blob lent = lend(signature);
    pqe_status status;

    if (key == NULL)
        return bad_argument(err, "no key to sign with");
    status = enter(b, err);
    if (status != PQE_OK)
        return status;
    if (pqe__backend_signs(b))
        status = judge(b->ops->identity_sign(b->self, key, algorithm, handle, handle_len, context, context_len, message,
                                             message_len, &lent, &inner),
                       &inner, err);
    else
        status = unavailable(b, "sign", err);
    status = take_back(&lent, signature, status, err);
    if (status == PQE_OK && signature->len != pqe_sig_signature_size(algorithm))
        status = pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, 0, "the backend returned an impossible signature");
    pthread_mutex_unlock(&b->lock);
    return status;
}

void
pqe__backend_identity_drop(pqe_backend *b, void *key, const uint8_t *handle, size_t handle_len)
{
    if (key == NULL || enter(b, NULL) != PQE_OK)
        return;
    if (HAS_ENTRY(b->ops, identity_drop))
        b->ops->identity_drop(b->self, key, handle, handle_len);
    pthread_mutex_unlock(&b->lock);
}

pqe_status
pqe__backend_authorize(pqe_backend *b, void *key, const char *reason, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_status status;

    if (key == NULL)
        return bad_argument(err, "no key to be authorized for");
    status = enter(b, err);
    if (status != PQE_OK)
        return status;
    if ((b->ops->info.capabilities & PQE_CAP_AUTHORIZE) != 0 && HAS_ENTRY(b->ops, authorize))
        status = judge(b->ops->authorize(b->self, key, reason, &inner), &inner, err);
    else
        status = unavailable(b, "ask for the user's presence", err);
    pthread_mutex_unlock(&b->lock);
    return status;
}
