/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery keys: words and files, what a vault keeps for them, and the way back by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pqc_enclave/audit.h>
#include <pqc_enclave/identity.h>
#include <pqc_enclave/recovery.h>

#include "backend/faulty.h"
#include "backend/registry.h"
#include "unit/support.h"

typedef struct bench {
    char *scratch, *dir;
    pqe_backend *backend;
    pqe_vault *vault;
    pqe_recovery_key *key;
} bench;

static int
set_up(void **state)
{
    bench *b = calloc(1, sizeof *b);

    assert_non_null(b);
    b->scratch = scratch_make();
    b->dir = strdup(scratch_path(b->scratch, "vault"));
    b->backend = backend_keyfile(b->scratch);
    b->vault = vault_create(b->dir, b->backend);
    put_ok(b->vault, "model", "weights", 7);
    assert_pqe_ok(pqe_recovery_key_generate(&b->key, err));
    *state = b;
    return 0;
}

static int
tear_down(void **state)
{
    bench *b = *state;

    pqe_recovery_key_free(&b->key);
    pqe_vault_close(&b->vault);
    pqe_backend_close(&b->backend);
    scratch_remove(b->scratch);
    free(b->dir);
    free(b);
    return 0;
}

/* A key-file backend with its file elsewhere in the scratch directory. */
static pqe_backend *
other_backend(bench *b, const char *name)
{
    char config[600];
    pqe_backend *backend = NULL;

    snprintf(config, sizeof config, "file:key-file=%s", scratch_path(b->scratch, name));
    assert_pqe_ok(pqe_backend_open(config, NULL, &backend, err));
    return backend;
}

/* The vault is closed and its backend gone. */
static void
lose_backend(bench *b)
{
    pqe_vault_close(&b->vault);
    pqe_backend_close(&b->backend);
    assert_int_equal(unlink(scratch_path(b->scratch, "key")), 0);
}

static pqe_status
use(bench *b, const pqe_recovery_key *key, pqe_backend *backend, pqe_vault **vault)
{
    const pqe_recovery_use_opts opts = {.size = sizeof opts, .dir = b->dir, .key = key, .backend = backend};
    pqe_error err = {0};
    pqe_status status = pqe_recovery_use(&opts, vault, &err);

    assert_int_equal(*vault != NULL, status == PQE_OK);
    if (status != PQE_OK)
        assert_int_equal(err.status, status);
    return status;
}

static bool
count_one(void *user, const pqe_recovery_info *info)
{
    size_t *count = user;

    assert_int_equal(strlen(info->id), 32);
    assert_string_equal(info->suite, "ml-kem-768");
    (*count)++;
    return true;
}

static size_t
count_keys(pqe_vault *vault)
{
    size_t count = 0;

    assert_pqe_ok(pqe_recovery_list(vault, count_one, &count, err));
    return count;
}

/* ---- words and files ---- */

static void
test_words(void **state)
{
    bench *b = *state;
    char words[PQE_RECOVERY_WORDS_MAX], again[PQE_RECOVERY_WORDS_MAX], pem[PQE_RECOVERY_PEM_MAX];
    pqe_recovery_key *key = NULL;
    size_t len = 0, spaces = 0;

    assert_pqe_ok(pqe_recovery_key_words(b->key, words, sizeof words, &len, err));
    for (size_t i = 0; i < len; i++)
        spaces += words[i] == ' ';
    assert_int_equal(spaces, PQE_RECOVERY_WORDS - 1);
    assert_int_equal(len, strlen(words));
    assert_int_equal(pqe_recovery_key_words(b->key, again, len, &len, NULL), PQE_E_LIMIT);
    assert_int_equal(len, 0);
    assert_pqe_ok(pqe_recovery_key_from_words(words, strlen(words), &key, err));
    assert_string_equal(pqe_recovery_key_id(key), pqe_recovery_key_id(b->key));
    assert_pqe_ok(pqe_recovery_key_words(key, again, sizeof again, &len, err));
    assert_string_equal(again, words);
    pqe_recovery_key_free(&key);
    assert_null(key);

    /* The file has the same key, but not its words. */
    assert_pqe_ok(pqe_recovery_key_pem(b->key, pem, sizeof pem, &len, err));
    assert_non_null(strstr(pem, "-----BEGIN PRIVATE KEY-----"));
    assert_true(len < 220); /* the seed alone */
    assert_pqe_ok(pqe_recovery_key_from_pem(pem, len, &key, err));
    assert_string_equal(pqe_recovery_key_id(key), pqe_recovery_key_id(b->key));
    assert_int_equal(pqe_recovery_key_words(key, again, sizeof again, &len, NULL), PQE_E_UNAVAILABLE);
    pqe_recovery_key_free(&key);
    assert_int_equal(pqe_recovery_key_from_pem("no key", 6, &key, NULL), PQE_E_MALFORMED);
    assert_null(key);
    assert_int_equal(pqe_recovery_key_from_pem(pem, strlen(pem) / 2, &key, NULL), PQE_E_MALFORMED);
    assert_int_equal(pqe_recovery_key_pem(b->key, pem, 40, &len, NULL), PQE_E_LIMIT);
}

static void
test_arguments(void **state)
{
    bench *b = *state;
    pqe_recovery_use_opts opts = {.size = sizeof opts, .dir = b->dir, .key = b->key};
    char buf[PQE_RECOVERY_PEM_MAX];
    pqe_recovery_key *key = NULL;
    pqe_vault *vault = NULL;
    size_t len;

    assert_int_equal(pqe_recovery_key_generate(NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_recovery_key_from_words(NULL, 0, &key, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_recovery_key_from_pem(NULL, 0, &key, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_recovery_key_words(NULL, buf, sizeof buf, &len, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_recovery_key_pem(b->key, NULL, 0, &len, NULL), PQE_E_ARGUMENT);
    assert_string_equal(pqe_recovery_key_id(NULL), "");
    pqe_recovery_key_free(NULL);
    pqe_recovery_key_free(&key);
    assert_int_equal(pqe_recovery_create(NULL, b->key, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_recovery_create(b->vault, NULL, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_recovery_create(b->vault, b->key, "\xff", NULL), PQE_E_ARGUMENT);
    memset(buf, 'n', sizeof buf);
    buf[PQE_RECOVERY_NAME_MAX + 1] = '\0';
    assert_int_equal(pqe_recovery_create(b->vault, b->key, buf, NULL), PQE_E_LIMIT);
    buf[PQE_RECOVERY_NAME_MAX] = '\0';
    assert_pqe_ok(pqe_recovery_create(b->vault, b->key, buf, err));
    assert_int_equal(pqe_recovery_list(b->vault, NULL, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_recovery_remove(b->vault, "abc", NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_recovery_remove(b->vault, NULL, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_recovery_remove(b->vault, "0123456789abcdef0123456789abcdef", NULL), PQE_E_NOT_FOUND);
    assert_int_equal(pqe_recovery_use(&opts, &vault, NULL), PQE_E_ARGUMENT); /* no backend */
    opts.backend = b->backend;
    opts.dir = NULL;
    assert_int_equal(pqe_recovery_use(&opts, &vault, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe_recovery_use(NULL, &vault, NULL), PQE_E_ARGUMENT);
    pqe_vault_lock(b->vault);
    assert_int_equal(pqe_recovery_create(b->vault, b->key, NULL, NULL), PQE_E_LOCKED);
    assert_int_equal(pqe_recovery_list(b->vault, count_one, &len, NULL), PQE_E_LOCKED);
}

/* ---- create, list, remove ---- */

static void
test_life(void **state)
{
    bench *b = *state;
    pqe_recovery_key *keys[PQE_RECOVERY_KEYS_MAX + 1] = {0};
    size_t n = 0;

    assert_int_equal(count_keys(b->vault), 0);
    for (n = 0; n < PQE_RECOVERY_KEYS_MAX + 1; n++)
        assert_pqe_ok(pqe_recovery_key_generate(&keys[n], err));
    for (n = 0; n < PQE_RECOVERY_KEYS_MAX; n++) {
        assert_pqe_ok(pqe_recovery_create(b->vault, keys[n], "one of many", err));
        assert_int_equal(pqe_recovery_create(b->vault, keys[n], NULL, NULL), PQE_E_EXISTS);
    }
    assert_int_equal(count_keys(b->vault), PQE_RECOVERY_KEYS_MAX);
    assert_int_equal(pqe_recovery_create(b->vault, keys[n], NULL, NULL), PQE_E_LIMIT);
    assert_pqe_ok(pqe_recovery_remove(b->vault, pqe_recovery_key_id(keys[3]), err));
    assert_int_equal(pqe_recovery_remove(b->vault, pqe_recovery_key_id(keys[3]), NULL), PQE_E_NOT_FOUND);
    assert_pqe_ok(pqe_recovery_create(b->vault, keys[n], NULL, err)); /* into the slot that is free */
    pqe_vault_close(&b->vault);
    b->vault = vault_open(b->dir, b->backend);
    assert_int_equal(count_keys(b->vault), PQE_RECOVERY_KEYS_MAX);
    assert_pqe_ok(pqe_verify(b->vault, NULL, NULL, NULL, NULL, err));
    for (n = 0; n < PQE_RECOVERY_KEYS_MAX + 1; n++)
        if (n != 3)
            assert_pqe_ok(pqe_recovery_remove(b->vault, pqe_recovery_key_id(keys[n]), err));
    assert_int_equal(count_keys(b->vault), 0);
    get_equals(b->vault, "model", "weights", 7);
    assert_pqe_ok(pqe_verify(b->vault, NULL, NULL, NULL, NULL, err));
    for (n = 0; n < PQE_RECOVERY_KEYS_MAX + 1; n++)
        pqe_recovery_key_free(&keys[n]);
}

static bool
stop(void *user, const pqe_recovery_info *info)
{
    (void)info;
    ++*(int *)user;
    return false;
}

static void
test_list(void **state)
{
    bench *b = *state;
    pqe_recovery_key *second = NULL;
    int calls = 0;

    assert_pqe_ok(pqe_recovery_key_generate(&second, err));
    assert_pqe_ok(pqe_recovery_create(b->vault, b->key, "safe", err));
    assert_pqe_ok(pqe_recovery_create(b->vault, second, NULL, err));
    assert_int_equal(pqe_recovery_list(b->vault, stop, &calls, NULL), PQE_E_CANCELLED);
    assert_int_equal(calls, 1);
    pqe_recovery_key_free(&second);
}

/* ---- use ---- */

static void
test_use(void **state)
{
    bench *b = *state;
    pqe_identity identity;
    uint8_t signature[PQE_ML_DSA_SIGNATURE_MAX];
    size_t len;

    assert_pqe_ok(pqe_identity_create(b->vault, NULL, &identity, err));
    assert_pqe_ok(pqe_recovery_create(b->vault, b->key, "safe", err));
    put_ok(b->vault, "later", "after the key", 13);
    lose_backend(b);
    b->backend = other_backend(b, "key2");
    assert_int_equal(use(b, b->key, b->backend, &b->vault), PQE_OK);
    assert_true(pqe_vault_is_unlocked(b->vault));
    get_equals(b->vault, "model", "weights", 7);
    get_equals(b->vault, "later", "after the key", 13);
    put_ok(b->vault, "more", "new", 3);
    assert_pqe_ok(pqe_identity_sign(b->vault, identity.did, "m", 1, "c", 1, signature, sizeof signature, &len, err));
    assert_pqe_ok(pqe_verify(b->vault, NULL, NULL, NULL, NULL, err));
    assert_pqe_ok(pqe_audit_verify(b->vault, NULL, 0, NULL, err));
    assert_int_equal(count_keys(b->vault), 1);
    pqe_vault_close(&b->vault);
    b->vault = vault_open(b->dir, b->backend); /* by the new key file */
    get_equals(b->vault, "more", "new", 3);

    /* And again, with the same recovery key. */
    pqe_vault_close(&b->vault);
    pqe_backend_close(&b->backend);
    assert_int_equal(unlink(scratch_path(b->scratch, "key2")), 0);
    b->backend = other_backend(b, "key3");
    assert_int_equal(use(b, b->key, b->backend, &b->vault), PQE_OK);
    get_equals(b->vault, "more", "new", 3);
    assert_pqe_ok(pqe_identity_sign(b->vault, NULL, "m", 1, "c", 1, signature, sizeof signature, &len, err));
}

/* After rotations the key still opens: what is sealed to it is made anew without it. */
static void
test_use_after_rotation(void **state)
{
    bench *b = *state;
    const pqe_rotate_opts rekey = {.size = sizeof rekey, .rekey = true};

    assert_pqe_ok(pqe_identity_create(b->vault, NULL, NULL, err));
    assert_pqe_ok(pqe_recovery_create(b->vault, b->key, NULL, err));
    assert_pqe_ok(pqe_rotate(b->vault, NULL, err));
    assert_pqe_ok(pqe_rotate(b->vault, &rekey, err));
    assert_pqe_ok(pqe_verify(b->vault, NULL, NULL, NULL, NULL, err));
    put_ok(b->vault, "later", "new root", 8);
    assert_int_equal(count_keys(b->vault), 1);
    lose_backend(b);
    b->backend = other_backend(b, "key2");
    assert_int_equal(use(b, b->key, b->backend, &b->vault), PQE_OK);
    get_equals(b->vault, "model", "weights", 7);
    get_equals(b->vault, "later", "new root", 8);
}

static void
test_wrong_key(void **state)
{
    bench *b = *state;
    char *other_dir = strdup(scratch_path(b->scratch, "other"));
    pqe_recovery_key *stranger = NULL, *others = NULL;
    pqe_backend *memory = backend_memory(), *fresh = other_backend(b, "key2");
    pqe_vault *other = vault_create(other_dir, memory), *vault = NULL;
    pqe_failed_unlock failed[2];
    size_t count;

    assert_pqe_ok(pqe_recovery_key_generate(&stranger, err));
    assert_pqe_ok(pqe_recovery_key_generate(&others, err));
    assert_int_equal(use(b, b->key, fresh, &vault), PQE_E_DENIED); /* there is none yet */
    assert_pqe_ok(pqe_recovery_create(b->vault, b->key, NULL, err));
    assert_pqe_ok(pqe_recovery_create(other, others, NULL, err));
    assert_int_equal(use(b, stranger, fresh, &vault), PQE_E_DENIED);
    assert_int_equal(use(b, others, fresh, &vault), PQE_E_DENIED);
    assert_pqe_ok(pqe_audit_failed_unlocks(b->vault, failed, 2, &count, err));
    assert_int_equal(count, 2);
    assert_pqe_ok(pqe_recovery_remove(b->vault, pqe_recovery_key_id(b->key), err));
    assert_int_equal(use(b, b->key, fresh, &vault), PQE_E_DENIED);
    assert_int_not_equal(access(scratch_path(b->scratch, "key2"), F_OK), 0); /* no key was made */
    get_equals(b->vault, "model", "weights", 7);
    pqe_vault_close(&other);
    pqe_backend_close(&memory);
    pqe_backend_close(&fresh);
    pqe_recovery_key_free(&stranger);
    pqe_recovery_key_free(&others);
    free(other_dir);
}

/* The place of the new key is taken: nothing happens. */
static void
test_place_taken(void **state)
{
    bench *b = *state;
    pqe_vault *vault = NULL;

    assert_pqe_ok(pqe_recovery_create(b->vault, b->key, NULL, err));
    assert_int_equal(use(b, b->key, b->backend, &vault), PQE_E_EXISTS);
    get_equals(b->vault, "model", "weights", 7);
    pqe_vault_close(&b->vault);
    b->vault = vault_open(b->dir, b->backend);
    get_equals(b->vault, "model", "weights", 7);
}

static void
test_fork(void **state)
{
    bench *b = *state;
    pid_t child = fork();
    int status;

    if (child == 0) {
        char buf[PQE_RECOVERY_WORDS_MAX];
        size_t len;
        bool ok = pqe_recovery_key_words(b->key, buf, sizeof buf, &len, NULL) == PQE_E_LOCKED &&
                  pqe_recovery_key_id(b->key)[0] == '\0';
        pqe_recovery_key_free(&b->key);
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ---- identities that stay behind ---- */

static size_t lost_count;

static void
note_lost(void *user, const char *did, const char *name)
{
    assert_string_equal(did, ((const pqe_identity *)user)->did);
    assert_string_equal(name, "device");
    lost_count++;
}

static pqe_status
native_make(void *self, void *key, pqe_sig_algorithm algorithm, pqe_blob *handle, pqe_blob *public_key, pqe_error *err)
{
    pqe_signing_key *made = NULL;
    pqe_status status = pqe_signing_key_generate(algorithm, &made, err);

    (void)self;
    (void)key;
    if (status == PQE_OK) {
        const uint8_t *raw = pqe_public_key_raw(pqe_signing_key_public(made), &public_key->len);
        memcpy(public_key->data, raw, public_key->len);
        memcpy(handle->data, "1", 1);
        handle->len = 1;
    }
    pqe_signing_key_free(&made);
    return status;
}

static pqe_status
native_sign(void *self, void *key, pqe_sig_algorithm algorithm, const uint8_t *handle, size_t handle_len,
            const uint8_t *context, size_t context_len, const uint8_t *message, size_t message_len, pqe_blob *signature,
            pqe_error *err)
{
    (void)self, (void)key, (void)algorithm, (void)handle, (void)handle_len, (void)context, (void)context_len;
    (void)message, (void)message_len, (void)signature, (void)err;
    return PQE_E_BACKEND;
}

static void
test_native_identities(void **state)
{
    bench *b = *state;
    pqe_backend_ops ops = pqe__memory_ops;
    pqe_backend *native = NULL, *fresh = other_backend(b, "key2");
    const pqe_identity_opts name = {.size = sizeof name, .name = "device"};
    pqe_rotate_opts move = {.size = sizeof move, .backend = fresh};
    pqe_recovery_use_opts opts = {
        .size = sizeof opts, .dir = b->dir, .key = b->key, .backend = fresh, .lost = note_lost};
    pqe_identity identity;
    pqe_vault *vault = NULL;

    ops.info.capabilities |= PQE_CAP_NATIVE_ML_DSA;
    ops.identity_make = native_make;
    ops.identity_sign = native_sign;
    assert_pqe_ok(pqe_backend_open_ops(&ops, "", NULL, &native, err));
    pqe_vault_close(&b->vault);
    free(b->dir);
    b->dir = strdup(scratch_path(b->scratch, "native"));
    opts.dir = b->dir;
    opts.user = &identity;
    vault = vault_create(b->dir, native);
    assert_pqe_ok(pqe_identity_create(vault, &name, &identity, err));
    assert_pqe_ok(pqe_recovery_create(vault, b->key, NULL, err));
    assert_int_equal(pqe_rotate(vault, &move, NULL), PQE_E_STATE);
    assert_int_not_equal(access(scratch_path(b->scratch, "key2"), F_OK), 0);
    pqe_vault_close(&vault);
    pqe_backend_close(&native);
    lost_count = 0;
    assert_pqe_ok(pqe_recovery_use(&opts, &vault, err));
    assert_int_equal(lost_count, 1);
    assert_int_equal(pqe_identity_get(vault, NULL, &identity, NULL), PQE_E_NOT_FOUND);
    assert_pqe_ok(pqe_verify(vault, NULL, NULL, NULL, NULL, err));
    pqe_vault_close(&vault);
    pqe_backend_close(&fresh);
}

typedef struct losses {
    unsigned damaged, named;
} losses;

static void
count_lost(void *user, const char *did, const char *name)
{
    losses *l = user;

    if (did[0] == '\0' && name[0] == '\0')
        l->damaged++;
    else
        l->named++;
}

static bool
count_entry(void *user, const pqe_audit_entry *e)
{
    *(unsigned *)user += strcmp(e->details, "its record was damaged") == 0;
    return true;
}

static void
is_identity(pqe_vault *vault, const char *did_or_name, const char *did, bool is_default)
{
    pqe_identity identity;

    assert_pqe_ok(pqe_identity_get(vault, did_or_name, &identity, err));
    assert_string_equal(identity.did, did);
    assert_int_equal(identity.is_default, is_default);
}

/* A record that is damaged does not keep the vault and the other identities from being recovered. */
static void
test_damaged_identities(void **state)
{
    static const struct {
        const char *sql;
        unsigned damaged;
    } cases[] = {
        {"DELETE FROM identity WHERE id = 1", 1},
        {"UPDATE identity SET bytes = CAST(substr(bytes, 1, 99) || x'00' || substr(bytes, 101) AS BLOB) WHERE id = 1",
         1},
        {"UPDATE identity SET bytes = x'' WHERE id = 1", 1},
        {"UPDATE identity SET bytes = zeroblob(500000) WHERE id IN (1, 2)", 2},
        {"UPDATE identity SET bytes = (SELECT bytes FROM identity WHERE id = 3) WHERE id = 1", 1},
        {"UPDATE identity SET id = 9 WHERE id = 1; UPDATE identity SET id = 1 WHERE id = 2; "
         "UPDATE identity SET id = 2 WHERE id = 9",
         2},
    };
    static const pqe_audit_query removals = {.size = sizeof removals, .op = PQE_AUDIT_IDENTITY_DELETE};
    static const char *const names[] = {"one", "two", "three"};
    bench *b = *state;
    losses lost;
    pqe_identity made[3], gone;
    char *clean = strdup(scratch_path(b->scratch, "clean"));

    for (size_t i = 0; i < 3; i++) {
        const pqe_identity_opts o = {.size = sizeof o, .name = names[i]};
        assert_pqe_ok(pqe_identity_create(b->vault, &o, &made[i], err));
    }
    assert_pqe_ok(pqe_recovery_create(b->vault, b->key, NULL, err));
    lose_backend(b);
    scratch_copy(b->dir, clean);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pqe_recovery_use_opts opts = {
            .size = sizeof opts, .dir = b->dir, .key = b->key, .lost = count_lost, .user = &lost};
        uint8_t signature[PQE_ML_DSA_SIGNATURE_MAX];
        unsigned logged = 0;
        char place[16];
        size_t len;
        scratch_copy(clean, b->dir);
        sql(b->dir, cases[i].sql);
        snprintf(place, sizeof place, "new-%zu", i);
        opts.backend = b->backend = other_backend(b, place);
        lost = (losses){0};
        assert_pqe_ok(pqe_recovery_use(&opts, &b->vault, err));
        assert_int_equal(lost.damaged, cases[i].damaged);
        assert_int_equal(lost.named, 0);
        get_equals(b->vault, "model", "weights", 7);
        assert_int_equal(pqe_identity_get(b->vault, made[0].did, &gone, NULL), PQE_E_NOT_FOUND);
        is_identity(b->vault, "three", made[2].did, cases[i].damaged == 2);
        if (cases[i].damaged == 1)
            is_identity(b->vault, NULL, made[1].did, true);
        assert_pqe_ok(pqe_identity_sign(b->vault, "three", "m", 1, "c", 1, signature, sizeof signature, &len, err));
        assert_pqe_ok(pqe_audit_list(b->vault, &removals, count_entry, &logged, err));
        assert_int_equal(logged, cases[i].damaged);
        assert_pqe_ok(pqe_verify(b->vault, NULL, NULL, NULL, NULL, err));
        pqe_vault_close(&b->vault);
        pqe_backend_close(&b->backend);
    }
    free(clean);
}

/* Entries are proved: where they were altered nothing is removed, and the vault stays as it was. */
static void
test_altered_identity_entries(void **state)
{
    bench *b = *state;
    pqe_vault *vault = NULL;

    assert_pqe_ok(pqe_identity_create(b->vault, NULL, NULL, err));
    assert_pqe_ok(pqe_recovery_create(b->vault, b->key, NULL, err));
    lose_backend(b);
    sql(b->dir, "UPDATE entry SET digest = zeroblob(32) WHERE kind IN (4, 5)");
    b->backend = other_backend(b, "key2");
    assert_int_equal(use(b, b->key, b->backend, &vault), PQE_E_TAMPERED);
    assert_int_not_equal(access(scratch_path(b->scratch, "key2"), F_OK), 0);
}

/* ---- failing calls ---- */

/* Every call of the new backend fails once: the vault stays as it was, no key is left behind, and in the end it moves. */
static void
test_failing_backend(void **state)
{
    bench *b = *state;
    char config[600];
    pqe_backend *fresh = NULL;
    pqe_vault *vault = NULL;
    unsigned n;

    assert_pqe_ok(pqe_identity_create(b->vault, NULL, NULL, err));
    assert_pqe_ok(pqe_recovery_create(b->vault, b->key, NULL, err));
    snprintf(config, sizeof config, "key-file=%s", scratch_path(b->scratch, "key2"));
    assert_pqe_ok(pqe_backend_open_ops(faulty_wrap(&pqe__file_ops), config, NULL, &fresh, err));
    for (n = 1; n < 100; n++) {
        pqe_status status;
        faulty_arm(n);
        status = use(b, b->key, fresh, &vault);
        if (status == PQE_OK)
            break;
        assert_int_equal(status, PQE_E_BACKEND);
        assert_int_not_equal(access(scratch_path(b->scratch, "key2"), F_OK), 0);
        get_equals(b->vault, "model", "weights", 7);
    }
    faulty_arm(0);
    assert_in_range(n, 4, 50);
    get_equals(vault, "model", "weights", 7);
    assert_int_equal(get_status(b->vault, "model"),
                     PQE_E_LOCKED); /* it has the old key, and the vault is gone from it */
    pqe_vault_close(&vault);
    pqe_backend_close(&fresh);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_arguments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_use_after_rotation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_place_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fork, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_native_identities, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_identities, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_altered_identity_entries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failing_backend, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
