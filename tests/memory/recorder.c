/* SPDX-License-Identifier: Apache-2.0 */
/* Wrappers around the library's inner functions through which keys pass. The linker's --wrap puts them in between. */
#include "memory/recorder.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/file/keyfile.h"
#include "backend/file/passphrase.h"
#include "backend/registry.h"
#include "crypto/library.h"
#include "util/secmem.h"
#include "vault/internal.h"

#define PAGES_MAX 1024
#define PAGE 4096u
#define NAME_SIZE 63
#define SECRET_MAX 256
#define LINE_SIZE (NAME_SIZE + 1 + 2 * SECRET_MAX + 1)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static const char *random_name = "random secret";
static const void *pages[PAGES_MAX];
static size_t page_count;

void
recorder_start(const char *path)
{
    log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) {
        perror(path);
        exit(1);
    }
}

void
recorder_call_random(const char *name)
{
    random_name = name;
}

size_t
recorder_pages(const void ***out)
{
    *out = pages;
    return page_count;
}

/* One byte at a time and through volatile, into a buffer that is not on the stack: recording must neither leave a copy
 * of the secret anywhere nor cover up one that the library left. */
static void
record(const char *name, const void *secret, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    static char line[LINE_SIZE];
    const volatile uint8_t *p = secret;
    size_t n = 0;

    if (log_fd < 0 || len > SECRET_MAX)
        return;
    pthread_mutex_lock(&lock);
    for (const char *s = name; *s != '\0' && n < NAME_SIZE; s++)
        line[n++] = *s == ' ' ? '-' : *s;
    line[n++] = ' ';
    for (size_t i = 0; i < len; i++) {
        uint8_t masked = (uint8_t)(p[i] ^ RECORDER_MASK);
        line[n++] = digits[masked >> 4];
        line[n++] = digits[masked & 15];
    }
    line[n++] = '\n';
    if (write(log_fd, line, n) != (ssize_t)n)
        _exit(3);
    pthread_mutex_unlock(&lock);
}

void
recorder_note(const char *name, const void *secret, size_t len)
{
    record(name, secret, len);
}

#define WRAP(type, name, ...)                                                                                          \
    type __real_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__)

WRAP(void *, pqe__secmem_alloc, size_t size)
{
    uint8_t *p = __real_pqe__secmem_alloc(size);
    size_t i;

    pthread_mutex_lock(&lock);
    for (uint8_t *at = p; p != NULL && at < p + size + PAGE; at += PAGE) {
        const void *page = at - (uintptr_t)at % PAGE;
        if ((const uint8_t *)page >= p + size)
            break;
        for (i = 0; i < page_count && pages[i] != page; i++)
            ;
        if (i == page_count && page_count < PAGES_MAX)
            pages[page_count++] = page;
    }
    pthread_mutex_unlock(&lock);
    return p;
}

/* Seeds, root and session secrets, DEKs, key-file keys, key-encryption keys, randomness of encapsulations. */
WRAP(pqe_status, pqe__random_secret, void *out, size_t len, pqe_error *err)
{
    pqe_status status = __real_pqe__random_secret(out, len, err);

    record(random_name, out, len);
    return status;
}

WRAP(pqe_status, pqe__kem_from_seed, const uint8_t *seed, pqe__kem_key **out, pqe_error *err)
{
    record("ML-KEM seed", seed, PQE__KEM_SEED_SIZE);
    return __real_pqe__kem_from_seed(seed, out, err);
}

WRAP(pqe_status, pqe__kem_encapsulate, const pqe__kem_key *key, const uint8_t *randomness, uint8_t *ct, uint8_t *shared,
     pqe_error *err)
{
    pqe_status status = __real_pqe__kem_encapsulate(key, randomness, ct, shared, err);

    record("ML-KEM shared secret", shared, PQE__KEM_SHARED_SIZE);
    return status;
}

WRAP(pqe_status, pqe__kem_decapsulate, const pqe__kem_key *key, const uint8_t *ct, size_t ct_len, uint8_t *shared,
     pqe_error *err)
{
    pqe_status status = __real_pqe__kem_decapsulate(key, ct, ct_len, shared, err);

    record("ML-KEM shared secret", shared, PQE__KEM_SHARED_SIZE);
    return status;
}

WRAP(pqe_status, pqe__hkdf_extract, const uint8_t *salt, size_t salt_len, const uint8_t *ikm, size_t ikm_len,
     uint8_t *out, pqe_error *err)
{
    pqe_status status = __real_pqe__hkdf_extract(salt, salt_len, ikm, ikm_len, out, err);

    record("extracted key", out, 32);
    return status;
}

/* Labels of ours begin the info; HPKE's follow two bytes of length. */
static void
record_expanded(const uint8_t *info, size_t info_len, const uint8_t *out, size_t len)
{
    char label[64] = "";

    for (size_t i = 0; i < info_len && i < sizeof label - 1 && info[i] >= 0x20 && info[i] < 0x7f; i++)
        label[i] = (char)info[i];
    if (strstr(label, "check") != NULL)
        return; /* stored in clear */
    if (strncmp(label, "c2sp.org/", 9) == 0) {
        record("body key", out, PQE__KEY_SIZE);
        record("body nonce", out + PQE__KEY_SIZE, PQE__NONCE_SIZE);
        return; /* what follows, the commitment, is stored in clear */
    }
    record(label[0] != '\0' ? label : "HPKE key", out, len);
}

WRAP(pqe_status, pqe__hkdf_expand, pqe__hkdf_hash hash, const uint8_t *prk, size_t prk_len, const uint8_t *info,
     size_t info_len, uint8_t *out, size_t len, pqe_error *err)
{
    pqe_status status = __real_pqe__hkdf_expand(hash, prk, prk_len, info, info_len, out, len, err);

    record_expanded(info, info_len, out, len);
    return status;
}

/* From HPKE's key schedule: of what it extracts, "secret" alone is secret. */
WRAP(pqe_status, pqe__hmac_parts, const uint8_t *key, size_t key_len, const pqe__part *parts, size_t count,
     uint8_t *out, pqe_error *err)
{
    pqe_status status = __real_pqe__hmac_parts(key, key_len, parts, count, out, err);

    if (count == 4 && parts[2].len == 6 && memcmp(parts[2].data, "secret", 6) == 0)
        record("HPKE secret", out, 32);
    return status;
}

WRAP(pqe_status, pqe__argon2id, const void *passphrase, size_t passphrase_len, const uint8_t *salt, size_t salt_len,
     const pqe__argon2_params *params, uint8_t *out, pqe_error *err)
{
    pqe_status status = __real_pqe__argon2id(passphrase, passphrase_len, salt, salt_len, params, out, err);

    record("stretched passphrase", out, 32);
    return status;
}

WRAP(pqe_status, pqe__aead_new, const uint8_t *key, size_t key_len, pqe__aead **out, pqe_error *err)
{
    record("AES key", key, key_len);
    return __real_pqe__aead_new(key, key_len, out, err);
}

WRAP(pqe_status, pqe__hpke_open, const pqe__hpke_suite *suite, const pqe__kem_key *recipient, const uint8_t *info,
     size_t info_len, const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len, uint8_t *out, pqe_error *err)
{
    pqe_status status = __real_pqe__hpke_open(suite, recipient, info, info_len, aad, aad_len, in, len, out, err);

    record("unsealed secret", out, len - PQE__HPKE_OVERHEAD);
    return status;
}

WRAP(pqe_status, pqe__hpke_open_by, const pqe__hpke_suite *suite, pqe__decapsulate_fn decapsulate, void *user,
     const uint8_t *info, size_t info_len, const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t len,
     uint8_t *out, pqe_error *err)
{
    pqe_status status =
        __real_pqe__hpke_open_by(suite, decapsulate, user, info, info_len, aad, aad_len, in, len, out, err);

    record("unsealed secret", out, len - PQE__HPKE_OVERHEAD);
    return status;
}

WRAP(pqe_status, pqe__backend_unseal, pqe_backend *backend, void *key, const uint8_t *aad, size_t aad_len,
     const uint8_t *sealed, size_t sealed_len, pqe_blob *secret, pqe_error *err)
{
    pqe_status status = __real_pqe__backend_unseal(backend, key, aad, aad_len, sealed, sealed_len, secret, err);

    record("device key", secret->data, secret->len);
    if (secret->len == PQE__KEM_SEED_SIZE + 32)
        record("origin key", secret->data + PQE__KEM_SEED_SIZE, 32);
    return status;
}

WRAP(pqe_status, pqe__dek_unwrap, const uint8_t *wrap, const pqe__found *found, uint8_t *dek, pqe_error *err)
{
    pqe_status status = __real_pqe__dek_unwrap(wrap, found, dek, err);

    record("DEK", dek, PQE__KEY_SIZE);
    return status;
}

WRAP(pqe_status, pqe__keyfile_read, const char *path, const uint8_t *id, uint8_t *key, pqe__keyfile_made *found,
     pqe_error *err)
{
    pqe_status status = __real_pqe__keyfile_read(path, id, key, found, err);

    record("key file", key, PQE__KEY_SIZE);
    return status;
}

WRAP(pqe_status, pqe__passphrase_unwrap, const pqe_backend_opts *ask, const uint8_t *vault_id, const uint8_t *state,
     size_t state_len, uint8_t *kek, pqe_error *err)
{
    pqe_status status = __real_pqe__passphrase_unwrap(ask, vault_id, state, state_len, kek, err);

    record("key-encryption key", kek, PQE__KEY_SIZE);
    return status;
}
