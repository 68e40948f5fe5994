/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file backend: software protection by a key file or by a passphrase.
 *
 * Key-file mode derives the vault's key-encryption key from the 32 bytes in the file; the state holds a check value of
 * the key alone (version 1, mode 1, 32 bytes). Passphrase mode makes the key-encryption key at random and keeps it
 * wrapped in the state (passphrase.h), so that a new passphrase changes nothing else.
 */
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "backend/file/keyfile.h"
#include "backend/file/passphrase.h"
#include "backend/registry.h"
#include "backend/softkey.h"
#include "util/cursor.h"
#include "util/secmem.h"

#define SEAL_LABEL "pqc-enclave file backend v1 key-file seal"
#define CHECK_LABEL "pqc-enclave file backend v1 key-file check"
#define KEY_FILE_STATE_SIZE (2 + PQE__KEY_SIZE)
#define KEY_FILE_OPTION "key-file="

typedef struct file_self {
    uint8_t mode; /* what the configuration asks for; 0: a key file for new vaults, either for existing ones */
    char *path;   /* of the key file; NULL: the default place */
    pqe_backend_opts ask;
} file_self;

/* In locked memory as a whole. */
typedef struct file_key {
    uint8_t kek[PQE__KEY_SIZE];
    uint8_t mode;
    pqe__keyfile_made file; /* that enrol() made or attach() read */
} file_key;

static pqe_status
file_open(const char *config, const pqe_backend_opts *opts, void **self, pqe_error *err)
{
    const char *path = NULL;
    file_self *f;
    uint8_t mode = 0;

    *self = NULL;
    if (strcmp(config, "passphrase") == 0) {
        mode = PQE__FILE_MODE_PASSPHRASE;
    } else if (strncmp(config, KEY_FILE_OPTION, sizeof KEY_FILE_OPTION - 1) == 0) {
        mode = PQE__FILE_MODE_KEY_FILE;
        path = config + sizeof KEY_FILE_OPTION - 1;
        if (path[0] == '\0' || strlen(path) >= PATH_MAX)
            return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the key file's path is empty or too long");
    } else if (config[0] != '\0') {
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0,
                         "the file backend takes 'key-file=PATH' or 'passphrase'");
    }
    f = calloc(1, sizeof *f);
    if (f == NULL)
        return pqe__fail_nomem(err);
    f->mode = mode;
    f->ask = *opts;
    if (path != NULL && (f->path = strdup(path)) == NULL) {
        free(f);
        return pqe__fail_nomem(err);
    }
    *self = f;
    return PQE_OK;
}

static void
file_close(void *self)
{
    file_self *f = self;

    free(f->path);
    free(f);
}

static void
file_detach(void *self, void *key)
{
    file_key *k = key;

    (void)self;
    pqe__keyfile_forget(&k->file);
    pqe__secmem_free(k);
}

/* The configured path, else the default one in `buf`. */
static pqe_status
key_path(const file_self *f, const uint8_t vault_id[PQE_VAULT_ID_SIZE], char buf[PATH_MAX], const char **path,
         pqe_error *err)
{
    *path = f->path != NULL ? f->path : buf;
    return f->path != NULL ? PQE_OK : pqe__keyfile_default_path(vault_id, buf, PATH_MAX, err);
}

/* ---- key-file mode ---- */

static pqe_status
enrol_key_file(const file_self *f, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_blob *state, file_key *k,
               pqe_error *err)
{
    uint8_t check[PQE__KEY_SIZE];
    char buf[PATH_MAX];
    const char *path;
    void *secret;
    pqe__wcur c;
    pqe_status status = key_path(f, vault_id, buf, &path, err);

    if (status == PQE_OK && state->capacity < KEY_FILE_STATE_SIZE)
        status = pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_BACKEND, 0, "the buffer is too small for the backend's state");
    if (status == PQE_OK)
        status = pqe__softkey_alloc(PQE__KEY_SIZE, &secret, err);
    if (status != PQE_OK)
        return status;
    status = pqe__random_secret(secret, PQE__KEY_SIZE, err);
    if (status == PQE_OK)
        status = pqe__softkey_derive(secret, vault_id, SEAL_LABEL, k->kek, err);
    if (status == PQE_OK)
        status = pqe__softkey_derive(secret, vault_id, CHECK_LABEL, check, err);
    if (status == PQE_OK) /* last, so that nothing after it can fail and leave the file behind */
        status = pqe__keyfile_create(path, vault_id, secret, &k->file, err);
    pqe__secmem_free(secret);
    if (status != PQE_OK)
        return status;
    c = pqe__wcur_init(state->data, state->capacity);
    pqe__put_u8(&c, PQE__FILE_STATE_VERSION);
    pqe__put_u8(&c, PQE__FILE_MODE_KEY_FILE);
    pqe__put_bytes(&c, check, sizeof check);
    state->len = c.pos;
    return PQE_OK;
}

static pqe_status
attach_key_file(const file_self *f, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t *state, size_t state_len,
                file_key *k, pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(state, state_len);
    uint8_t stored[PQE__KEY_SIZE], check[PQE__KEY_SIZE];
    char buf[PATH_MAX];
    const char *path;
    void *secret;
    pqe_status status;

    pqe__get_u16(&c); /* version and mode, judged by the caller */
    pqe__get_copy(&c, stored, sizeof stored);
    if (!pqe__rcur_done(&c))
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "the file backend's state is malformed");
    status = key_path(f, vault_id, buf, &path, err);
    if (status == PQE_OK)
        status = pqe__softkey_alloc(PQE__KEY_SIZE, &secret, err);
    if (status != PQE_OK)
        return status;
    status = pqe__keyfile_read(path, vault_id, secret, &k->file, err);
    if (status == PQE_OK)
        status = pqe__softkey_derive(secret, vault_id, CHECK_LABEL, check, err);
    if (status == PQE_OK && !pqe__equal(check, stored, sizeof check))
        status =
            pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_BACKEND, 0, "the key in the key file does not open this vault");
    if (status == PQE_OK)
        status = pqe__softkey_derive(secret, vault_id, SEAL_LABEL, k->kek, err);
    pqe__secmem_free(secret);
    return status;
}

/* ---- passphrase mode ---- */

static pqe_status
enrol_passphrase(const file_self *f, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_blob *state, file_key *k,
                 pqe_error *err)
{
    pqe_status status = pqe__random_secret(k->kek, sizeof k->kek, err);

    if (status == PQE_OK)
        status = pqe__passphrase_wrap(&f->ask, vault_id, k->kek, state, err);
    return status;
}

static pqe_status
file_change_passphrase(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key, const uint8_t *state,
                       size_t state_len, pqe_blob *new_state, pqe_error *err)
{
    const file_self *f = self;
    const file_key *k = key;

    (void)state; /* nothing of it is kept: salt, parameters and box are all new */
    (void)state_len;
    if (k->mode != PQE__FILE_MODE_PASSPHRASE)
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0,
                         "this vault is opened by a key file and has no passphrase");
    return pqe__passphrase_wrap(&f->ask, vault_id, k->kek, new_state, err);
}

/* ---- both ---- */

static pqe_status
state_mode(const uint8_t *state, size_t state_len, uint8_t *mode, pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(state, state_len);
    uint8_t version = pqe__get_u8(&c);

    if (c.ok && version != PQE__FILE_STATE_VERSION)
        return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_FORMAT, 0, "the file backend's state is of another version");
    *mode = pqe__get_u8(&c);
    if (!c.ok || (*mode != PQE__FILE_MODE_KEY_FILE && *mode != PQE__FILE_MODE_PASSPHRASE))
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "the file backend's state is malformed");
    return PQE_OK;
}

static pqe_status
new_key(uint8_t mode, file_key **k, pqe_error *err)
{
    void *p;
    pqe_status status = pqe__softkey_alloc(sizeof **k, &p, err);

    *k = p;
    if (status == PQE_OK)
        (*k)->mode = mode;
    return status;
}

static pqe_status
file_enrol(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_blob *state, void **key, pqe_error *err)
{
    const file_self *f = self;
    file_key *k;
    pqe_status status = new_key(f->mode != 0 ? f->mode : PQE__FILE_MODE_KEY_FILE, &k, err);

    *key = NULL;
    if (status != PQE_OK)
        return status;
    status = k->mode == PQE__FILE_MODE_PASSPHRASE ? enrol_passphrase(f, vault_id, state, k, err)
                                                  : enrol_key_file(f, vault_id, state, k, err);
    if (status == PQE_OK)
        *key = k;
    else
        file_detach(self, k);
    return status;
}

static void
file_discard(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key)
{
    char buf[PATH_MAX];
    const char *path;

    if (key != NULL)
        pqe__keyfile_remove(&((const file_key *)key)->file);
    else if (((const file_self *)self)->mode != PQE__FILE_MODE_PASSPHRASE &&
             key_path(self, vault_id, buf, &path, NULL) == PQE_OK)
        pqe__keyfile_remove_dead(path, vault_id);
}

static pqe_status
file_attach(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t *state, size_t state_len, void **key,
            pqe_error *err)
{
    const file_self *f = self;
    file_key *k;
    uint8_t mode;
    pqe_status status = state_mode(state, state_len, &mode, err);

    *key = NULL;
    if (status != PQE_OK)
        return status;
    if (f->mode != 0 && f->mode != mode)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_BACKEND, 0,
                         mode == PQE__FILE_MODE_PASSPHRASE ? "this vault is opened by a passphrase, not by a key file"
                                                           : "this vault is opened by a key file, not by a passphrase");
    status = new_key(mode, &k, err);
    if (status != PQE_OK)
        return status;
    status = mode == PQE__FILE_MODE_PASSPHRASE
                 ? pqe__passphrase_unwrap(&f->ask, vault_id, state, state_len, k->kek, err)
                 : attach_key_file(f, vault_id, state, state_len, k, err);
    if (status == PQE_OK)
        *key = k;
    else
        file_detach(self, k);
    return status;
}

static pqe_status
file_seal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *secret, size_t secret_len,
          pqe_blob *sealed, pqe_error *err)
{
    (void)self;
    return pqe__softkey_seal(((const file_key *)key)->kek, aad, aad_len, secret, secret_len, sealed, err);
}

static pqe_status
file_unseal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *sealed, size_t sealed_len,
            pqe_blob *secret, pqe_error *err)
{
    (void)self;
    return pqe__softkey_unseal(((const file_key *)key)->kek, aad, aad_len, sealed, sealed_len, secret, err);
}

static const char *
file_key_source(const uint8_t *state, size_t state_len)
{
    uint8_t mode;

    if (state_mode(state, state_len, &mode, NULL) != PQE_OK)
        return NULL;
    if (mode == PQE__FILE_MODE_KEY_FILE && state_len == KEY_FILE_STATE_SIZE)
        return "key-file";
    return mode == PQE__FILE_MODE_PASSPHRASE && state_len == PQE__PASSPHRASE_STATE_SIZE ? "passphrase" : NULL;
}

const pqe_backend_ops pqe__file_ops = {
    .magic = PQE_BACKEND_MAGIC,
    .abi = PQE_BACKEND_ABI,
    .size = sizeof(pqe_backend_ops),
    .info = {.name = "file",
             .description = "a key file or a passphrase",
             .protection = "software",
             .caveat = "as good as the key file or passphrase is kept: whoever has it opens the vault on any machine, "
                       "and root can read the keys of an unlocked one",
             .capabilities = PQE_CAP_SEAL | PQE_CAP_PASSPHRASE | PQE_CAP_PERSISTENT},
    .open = file_open,
    .close = file_close,
    .enrol = file_enrol,
    .discard = file_discard,
    .attach = file_attach,
    .detach = file_detach,
    .seal = file_seal,
    .unseal = file_unseal,
    .key_source = file_key_source,
    .change_passphrase = file_change_passphrase,
};
