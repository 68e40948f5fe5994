/* SPDX-License-Identifier: Apache-2.0 */
/* Identities in a vault: life, rotation, tampering with their rows and entries, and backends that sign themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pqc_enclave/attest.h>

#include "attest/keys.h"
#include "backend/faulty.h"
#include "backend/registry.h"
#include "unit/support.h"

typedef struct bench {
    char *scratch, *dir;
    pqe_backend *backend;
    pqe_vault *vault;
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
    *state = b;
    return 0;
}

static int
tear_down(void **state)
{
    bench *b = *state;

    pqe_vault_close(&b->vault);
    pqe_backend_close(&b->backend);
    scratch_remove(b->scratch);
    free(b->dir);
    free(b);
    return 0;
}

static void
reopen(bench *b)
{
    pqe_vault_close(&b->vault);
    b->vault = vault_open(b->dir, b->backend);
}

static pqe_identity
create(pqe_vault *vault, const char *name, pqe_sig_algorithm algorithm)
{
    pqe_identity_opts o = {.size = sizeof o, .name = name, .algorithm = algorithm};
    pqe_identity i;

    assert_pqe_ok(pqe_identity_create(vault, &o, &i, err));
    return i;
}

static void
found(pqe_vault *vault, const char *did_or_name, const pqe_identity *expected, bool is_default)
{
    pqe_identity i;

    assert_pqe_ok(pqe_identity_get(vault, did_or_name, &i, err));
    assert_string_equal(i.did, expected->did);
    assert_string_equal(i.name, expected->name);
    assert_string_equal(i.created_at, expected->created_at);
    assert_int_equal(i.algorithm, expected->algorithm);
    assert_int_equal(i.public_key_len, pqe_sig_public_size(i.algorithm));
    assert_memory_equal(i.public_key, expected->public_key, i.public_key_len);
    assert_int_equal(i.is_default, is_default);
}

static pqe_status
get_status_of(pqe_vault *vault, const char *did_or_name)
{
    pqe_identity i;
    pqe_status status = pqe_identity_get(vault, did_or_name, &i, NULL);

    if (status != PQE_OK)
        assert_int_equal(i.did[0], 0);
    return status;
}

/* Attests and has the attestation verified against the identity's DID. */
static void
attests(pqe_vault *vault, const pqe_identity *signer)
{
    pqe_attest_opts o = {.size = sizeof o, .identity = signer->did};
    pqe_attest_verify_opts v = {.size = sizeof v};
    pqe_attestation *a = NULL;
    pqe_trust *trust = NULL;

    assert_pqe_ok(pqe_trust_new(&trust, err));
    assert_pqe_ok(pqe_trust_add_did(trust, signer->did, err));
    v.trust = trust;
    assert_pqe_ok(pqe_attest(vault, "model", &o, &a, err));
    assert_pqe_ok(pqe_attestation_verify(a, &v, NULL, err));
    pqe_attestation_free(&a);
    pqe_trust_free(&trust);
}

typedef struct names {
    char text[512];
} names;

static bool
note_name(void *user, const pqe_identity *i)
{
    names *n = user;

    strcat(n->text, i->name);
    strcat(n->text, i->is_default ? "* " : " ");
    return true;
}

static void
listed(pqe_vault *vault, const char *expected)
{
    names n = {""};

    assert_pqe_ok(pqe_identity_list(vault, note_name, &n, err));
    assert_string_equal(n.text, expected);
}

static void
sound(pqe_vault *vault)
{
    assert_pqe_ok(pqe_verify(vault, NULL, NULL, NULL, NULL, err));
}

/* ---- life ---- */

static void
test_life(void **state)
{
    bench *b = *state;
    pqe_identity_opts taken = {.size = sizeof taken, .name = "one"};
    pqe_identity one, two, three;

    assert_int_equal(get_status_of(b->vault, NULL), PQE_E_NOT_FOUND);
    listed(b->vault, "");
    one = create(b->vault, "one", 0);
    two = create(b->vault, "two", PQE_ML_DSA_87);
    three = create(b->vault, NULL, PQE_ML_DSA_65);
    assert_int_equal(one.algorithm, PQE_ML_DSA_65);
    assert_true(one.is_default && !two.is_default);
    assert_int_equal(pqe_identity_create(b->vault, &taken, NULL, NULL), PQE_E_EXISTS);
    reopen(b);
    found(b->vault, NULL, &one, true);
    found(b->vault, one.did, &one, true);
    found(b->vault, "two", &two, false);
    found(b->vault, three.did, &three, false);
    listed(b->vault, "one* two  ");
    attests(b->vault, &one);
    attests(b->vault, &two);
    sound(b->vault);
    assert_pqe_ok(pqe_identity_delete(b->vault, "one", err));
    assert_int_equal(get_status_of(b->vault, "one"), PQE_E_NOT_FOUND);
    assert_int_equal(get_status_of(b->vault, one.did), PQE_E_NOT_FOUND);
    found(b->vault, NULL, &two, true);
    reopen(b);
    listed(b->vault, "two*  ");
    assert_pqe_ok(pqe_identity_delete(b->vault, three.did, err));
    assert_pqe_ok(pqe_identity_delete(b->vault, two.did, err));
    assert_int_equal(get_status_of(b->vault, NULL), PQE_E_NOT_FOUND);
    assert_int_equal(pqe_identity_delete(b->vault, two.did, NULL), PQE_E_NOT_FOUND);
    sound(b->vault);
    get_equals(b->vault, "model", "weights", 7);
    one = create(b->vault, "one", 0);
    assert_true(one.is_default);
}

static void
test_arguments(void **state)
{
    bench *b = *state;
    char longest[PQE_IDENTITY_NAME_MAX + 2];
    pqe_identity_opts o = {.size = sizeof o, .name = longest};
    pqe_identity i;

    memset(longest, 'x', sizeof longest);
    longest[PQE_IDENTITY_NAME_MAX + 1] = '\0';
    assert_int_equal(pqe_identity_create(b->vault, &o, &i, NULL), PQE_E_LIMIT);
    longest[PQE_IDENTITY_NAME_MAX] = '\0';
    assert_pqe_ok(pqe_identity_create(b->vault, &o, &i, err));
    o.name = "\xff";
    assert_int_equal(pqe_identity_create(b->vault, &o, &i, NULL), PQE_E_ARGUMENT);
    o.name = "did:pqaid:mine";
    assert_int_equal(pqe_identity_create(b->vault, &o, &i, NULL), PQE_E_ARGUMENT);
    o.name = NULL;
    o.algorithm = PQE_ML_DSA_44;
    assert_int_equal(pqe_identity_create(b->vault, &o, &i, NULL), PQE_E_ARGUMENT);
    o.size = 3;
    assert_int_equal(pqe_identity_create(b->vault, &o, &i, NULL), PQE_E_ARGUMENT);
    assert_int_equal(i.did[0], 0);
    pqe_vault_lock(b->vault);
    assert_int_equal(pqe_identity_create(b->vault, NULL, &i, NULL), PQE_E_LOCKED);
    assert_int_equal(get_status_of(b->vault, NULL), PQE_E_LOCKED);
}

/* Both forms of a private key come back as they went in. */
static void
test_import_export(void **state)
{
    bench *b = *state;
    uint8_t sk[PQE__SIG_PRIVATE_MAX], before[PQE_ML_DSA_SEED_SIZE], after[PQE_ML_DSA_SEED_SIZE];
    pqe_signing_key *key = NULL, *expanded = NULL, *out = NULL;
    pqe_identity_opts o = {.size = sizeof o, .name = "imported"};
    pqe_identity i;

    assert_pqe_ok(pqe_signing_key_generate(PQE_ML_DSA_87, &key, err));
    assert_pqe_ok(pqe_identity_import(b->vault, key, &o, &i, err));
    assert_string_equal(i.did, pqe_public_key_did(pqe_signing_key_public(key)));
    assert_int_equal(pqe_identity_import(b->vault, key, NULL, NULL, NULL), PQE_E_EXISTS);
    assert_pqe_ok(pqe_identity_export_private(b->vault, "imported", &out, err));
    assert_pqe_ok(pqe_signing_key_seed(key, before, err));
    assert_pqe_ok(pqe_signing_key_seed(out, after, err));
    assert_memory_equal(before, after, sizeof before);
    pqe_signing_key_free(&out);
    pqe_signing_key_free(&key);

    assert_pqe_ok(pqe_signing_key_generate(PQE_ML_DSA_65, &key, err));
    assert_pqe_ok(pqe__sig_private(key->key, sk, err));
    assert_pqe_ok(
        pqe__signing_key_from_private(PQE_ML_DSA_65, sk, pqe__sig_private_size(PQE_ML_DSA_65), &expanded, err));
    o.name = "expanded";
    assert_pqe_ok(pqe_identity_import(b->vault, expanded, &o, &i, err));
    attests(b->vault, &i);
    assert_pqe_ok(pqe_rotate(b->vault, NULL, err));
    assert_pqe_ok(pqe_rotate(b->vault, &(pqe_rotate_opts){.size = sizeof(pqe_rotate_opts), .rekey = true}, err));
    reopen(b);
    attests(b->vault, &i);
    assert_pqe_ok(pqe_identity_export_private(b->vault, i.did, &out, err));
    assert_int_equal(pqe_signing_key_seed(out, after, NULL), PQE_E_UNAVAILABLE);
    pqe_signing_key_free(&out);
    pqe_signing_key_free(&key);
    pqe_signing_key_free(&expanded);

    assert_pqe_ok(pqe_signing_key_generate(PQE_ML_DSA_44, &key, err));
    assert_int_equal(pqe_identity_import(b->vault, key, NULL, NULL, NULL), PQE_E_ARGUMENT);
    pqe_signing_key_free(&key);
    sound(b->vault);
}

static void
test_sign(void **state)
{
    bench *b = *state;
    pqe_identity i = create(b->vault, "signer", PQE_ML_DSA_65);
    uint8_t signature[PQE_ML_DSA_SIGNATURE_MAX];
    pqe_public_key *key = NULL;
    size_t n;

    assert_pqe_ok(pqe_public_key_from_raw(i.algorithm, i.public_key, i.public_key_len, &key, err));
    assert_pqe_ok(pqe_identity_sign(b->vault, "signer", "m", 1, "app", 3, signature, sizeof signature, &n, err));
    assert_pqe_ok(pqe_public_key_verify(key, "m", 1, "app", 3, signature, n, err));
    assert_int_equal(pqe_identity_sign(b->vault, NULL, "m", 1, NULL, 0, signature, sizeof signature, &n, NULL),
                     PQE_E_ARGUMENT);
    assert_int_equal(
        pqe_identity_sign(b->vault, NULL, "m", 1, "pqc-enclave x", 13, signature, sizeof signature, &n, NULL),
        PQE_E_ARGUMENT);
    assert_int_equal(pqe_identity_sign(b->vault, NULL, "m", 1, "app", 3, signature, 100, &n, NULL), PQE_E_LIMIT);
    assert_int_equal(n, 0);
    pqe_public_key_free(&key);
}

static void
test_rotation(void **state)
{
    bench *b = *state;
    pqe_identity one = create(b->vault, "one", 0), two = create(b->vault, NULL, PQE_ML_DSA_87);
    pqe_rotate_opts o = {.size = sizeof o};

    for (int i = 0; i < 4; i++) {
        o.rekey = i % 2 == 1;
        assert_pqe_ok(pqe_rotate(b->vault, &o, err));
        if (i >= 2)
            reopen(b);
        found(b->vault, NULL, &one, true);
        found(b->vault, "one", &one, true);
        found(b->vault, two.did, &two, false);
        attests(b->vault, &one);
        attests(b->vault, &two);
        listed(b->vault, "one*  ");
        sound(b->vault);
    }
}

/* ---- tampering ---- */

static void
damaged(bench *b, const char *did_or_name, const char *what)
{
    names n = {""};
    pqe_status status = get_status_of(b->vault, did_or_name), verified, list;

    if (status != PQE_E_TAMPERED && status != PQE_E_DECRYPTION)
        fail_msg("%s: %s", what, pqe_status_name(status));
    verified = pqe_verify(b->vault, NULL, NULL, NULL, NULL, NULL);
    assert_true(verified == PQE_E_TAMPERED || verified == PQE_E_DECRYPTION);
    list = pqe_identity_list(b->vault, note_name, &n, NULL);
    assert_true(list == PQE_E_TAMPERED || list == PQE_E_DECRYPTION);
}

static void
test_tampering(void **state)
{
    bench *b = *state;
    pqe_identity one = create(b->vault, "one", 0);
    const char *clean = strdup(scratch_path(b->scratch, "clean")), *older = strdup(scratch_path(b->scratch, "older"));
    static const struct {
        const char *what, *sql, *whom;
    } cases[] = {
        {"removed", "DELETE FROM identity WHERE id = 1", "one"},
        {"removed with its entries", "DELETE FROM identity WHERE id = 1; DELETE FROM entry WHERE kind IN (4, 5)",
         "one"},
        {"entry removed", "DELETE FROM entry WHERE kind = 5", "one"},
        {"swapped",
         "UPDATE identity SET id = 9 WHERE id = 1; UPDATE identity SET id = 1 WHERE id = 2; "
         "UPDATE identity SET id = 2 WHERE id = 9",
         "one"},
        {"entries crossed", "UPDATE entry SET target = 3 - target WHERE kind IN (4, 5)", "one"},
        {"entry of another kind", "UPDATE entry SET kind = 5 WHERE kind = 4", NULL},
        {"altered",
         "UPDATE identity SET bytes = CAST(substr(bytes, 1, 99) || x'00' || substr(bytes, 101) AS BLOB) "
         "WHERE id = 1",
         "one"},
        {"cut", "UPDATE identity SET bytes = substr(bytes, 1, 20) WHERE id = 1", "one"},
        {"emptied", "UPDATE identity SET bytes = x'' WHERE id = 1", "one"},
        {"of another type", "UPDATE identity SET bytes = 'text' WHERE id = 1", "one"},
        {"too long", "UPDATE identity SET bytes = zeroblob(500000) WHERE id = 1", "one"},
    };

    pqe_vault_close(&b->vault);
    scratch_copy(b->dir, older);
    b->vault = vault_open(b->dir, b->backend);
    create(b->vault, "two", 0);
    pqe_vault_close(&b->vault);
    scratch_copy(b->dir, clean);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        scratch_copy(clean, b->dir);
        sql(b->dir, cases[i].sql);
        b->vault = vault_open(b->dir, b->backend);
        if (cases[i].whom != NULL)
            damaged(b, cases[i].whom, cases[i].what);
        else
            assert_int_equal(pqe_verify(b->vault, NULL, NULL, NULL, NULL, NULL), PQE_E_TAMPERED);
        pqe_vault_close(&b->vault);
    }
    /* A row more than the entries lead to. */
    scratch_copy(clean, b->dir);
    sql(b->dir, "INSERT INTO identity(bytes) SELECT bytes FROM identity WHERE id = 1");
    b->vault = vault_open(b->dir, b->backend);
    found(b->vault, "one", &one, true);
    assert_int_equal(pqe_verify(b->vault, NULL, NULL, NULL, NULL, NULL), PQE_E_TAMPERED);
    /* What was removed and is put back, row, entries and all. */
    assert_pqe_ok(pqe_identity_delete(b->vault, "two", err));
    pqe_vault_close(&b->vault);
    {
        char attach[8192];
        snprintf(attach, sizeof attach,
                 "ATTACH '%s/index.db' AS c; INSERT OR REPLACE INTO identity SELECT * FROM c.identity; "
                 "INSERT OR REPLACE INTO entry SELECT * FROM c.entry; "
                 "DELETE FROM node; INSERT INTO node SELECT * FROM c.node",
                 clean);
        sql(b->dir, attach);
    }
    b->vault = vault_open(b->dir, b->backend);
    damaged(b, "two", "put back");
    pqe_vault_close(&b->vault);
    scratch_copy(clean, b->dir);
    b->vault = vault_open(b->dir, b->backend);
    sound(b->vault);
    free((char *)(uintptr_t)clean);
    free((char *)(uintptr_t)older);
}

/* ---- a backend that signs ---- */

#define NATIVE_MAX 8u
static pqe_signing_key *native[NATIVE_MAX];
static bool native_lies, native_fails;

static pqe_status
native_make(void *self, void *key, pqe_sig_algorithm algorithm, pqe_blob *handle, pqe_blob *public_key, pqe_error *err)
{
    const uint8_t *raw;
    size_t i = 0, len;

    (void)self;
    (void)key;
    if (native_fails)
        return PQE_E_UNAVAILABLE;
    while (i < NATIVE_MAX && native[i] != NULL)
        i++;
    if (i == NATIVE_MAX || pqe_signing_key_generate(algorithm, &native[i], err) != PQE_OK)
        return PQE_E_BACKEND;
    raw = pqe_public_key_raw(pqe_signing_key_public(native[i]), &len);
    memcpy(public_key->data, raw, len);
    public_key->len = len;
    handle->data[0] = (uint8_t)i;
    handle->len = 1;
    return PQE_OK;
}

static pqe_status
native_sign(void *self, void *key, pqe_sig_algorithm algorithm, const uint8_t *handle, size_t handle_len,
            const uint8_t *context, size_t context_len, const uint8_t *message, size_t message_len, pqe_blob *signature,
            pqe_error *err)
{
    pqe_status status;

    (void)self;
    (void)key;
    (void)algorithm;
    assert_int_equal(handle_len, 1);
    status = pqe_signing_key_sign(native[handle[0]], message, message_len, context, context_len, signature->data,
                                  signature->capacity, &signature->len, err);
    if (native_lies)
        signature->data[100] ^= 1;
    return status;
}

static void
native_drop(void *self, void *key, const uint8_t *handle, size_t handle_len)
{
    (void)self;
    (void)key;
    assert_int_equal(handle_len, 1);
    pqe_signing_key_free(&native[handle[0]]);
}

static size_t
native_count(void)
{
    size_t n = 0;

    for (size_t i = 0; i < NATIVE_MAX; i++)
        n += native[i] != NULL;
    return n;
}

/* Every call into the backend fails once: the operation fails and changes nothing, and then succeeds. */
static void
each_call_fails(const pqe_backend_ops *ops)
{
    pqe_backend *backend = NULL;
    pqe_identity first, second;
    pqe_identity_opts o = {.size = sizeof o, .name = "second"};
    pqe_vault *vault;
    unsigned failures = 0;

    assert_pqe_ok(pqe_backend_open_ops(faulty_wrap(ops), "", NULL, &backend, err));
    vault = vault_create(NULL, backend);
    put_ok(vault, "model", "weights", 7);
    assert_pqe_ok(pqe_identity_create(vault, NULL, &first, err));
    for (int operation = 0; operation < 4; operation++) {
        for (unsigned n = 1;; n++) {
            pqe_attestation *a = NULL;
            pqe_status status;
            faulty_arm(n);
            if (operation == 0)
                status = pqe_identity_create(vault, &o, &second, NULL);
            else if (operation == 1)
                status = pqe_attest(vault, "model", NULL, &a, NULL);
            else
                status = pqe_rotate(vault, &(pqe_rotate_opts){.size = sizeof(pqe_rotate_opts), .rekey = operation == 3},
                                    NULL);
            pqe_attestation_free(&a);
            if (faulty_calls() < n) {
                faulty_arm(0);
                assert_int_equal(status, PQE_OK);
                break;
            }
            faulty_arm(0);
            /* A rotation's own commit may be known although loading the new keys failed. */
            if (status != PQE_OK)
                assert_int_equal(status, PQE_E_BACKEND);
            failures += status != PQE_OK;
            if (operation == 0)
                assert_int_equal(get_status_of(vault, "second"), PQE_E_NOT_FOUND);
            found(vault, NULL, &first, true);
            attests(vault, &first);
        }
        sound(vault);
    }
    assert_true(failures >= 4);
    found(vault, "second", &second, false);
    assert_pqe_ok(pqe_identity_delete(vault, "second", err));
    assert_pqe_ok(pqe_identity_delete(vault, first.did, err));
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
}

static void
test_failing_backend(void **state)
{
    pqe_backend_ops ops = pqe__memory_ops;

    (void)state;
    each_call_fails(&ops);
    ops.info.capabilities |= PQE_CAP_NATIVE_ML_DSA;
    ops.identity_make = native_make;
    ops.identity_sign = native_sign;
    ops.identity_drop = native_drop;
    each_call_fails(&ops);
    assert_int_equal(native_count(), 0);
}

static void
test_native(void **state)
{
    pqe_backend_ops ops = pqe__memory_ops;
    pqe_backend *backend = NULL;
    pqe_vault *vault;
    pqe_signing_key *out = NULL;
    pqe_attestation *a = NULL;
    pqe_identity i;
    pqe_identity_opts o = {.size = sizeof o, .name = "native"};

    (void)state;
    ops.info.capabilities |= PQE_CAP_NATIVE_ML_DSA;
    assert_int_equal(pqe_backend_open_ops(&ops, "", NULL, &backend, NULL), PQE_E_ARGUMENT);
    ops.identity_make = native_make;
    ops.identity_sign = native_sign;
    ops.identity_drop = native_drop;
    assert_pqe_ok(pqe_backend_open_ops(&ops, "", NULL, &backend, err));
    vault = vault_create(NULL, backend);
    put_ok(vault, "model", "weights", 7);
    native_fails = true;
    assert_int_equal(pqe_identity_create(vault, &o, &i, NULL), PQE_E_UNAVAILABLE); /* no fall-back to software */
    assert_int_equal(get_status_of(vault, NULL), PQE_E_NOT_FOUND);
    native_fails = false;
    assert_pqe_ok(pqe_identity_create(vault, &o, &i, err));
    assert_true(i.is_native);
    assert_int_equal(pqe_identity_create(vault, &o, NULL, NULL), PQE_E_EXISTS);
    assert_int_equal(native_count(), 1); /* the key whose name was taken is forgotten */
    attests(vault, &i);
    assert_pqe_ok(pqe_rotate(vault, NULL, err));
    assert_pqe_ok(pqe_rotate(vault, &(pqe_rotate_opts){.size = sizeof(pqe_rotate_opts), .rekey = true}, err));
    attests(vault, &i);
    native_lies = true;
    assert_int_equal(pqe_attest(vault, "model", NULL, &a, NULL), PQE_E_BACKEND);
    native_lies = false;
    assert_int_equal(pqe_identity_export_private(vault, NULL, &out, NULL), PQE_E_UNAVAILABLE);
    assert_null(out);
    assert_pqe_ok(pqe_identity_delete(vault, "native", err));
    assert_int_equal(native_count(), 0);
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_arguments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_import_export, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sign, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rotation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tampering, set_up, tear_down),
        cmocka_unit_test(test_native),
        cmocka_unit_test(test_failing_backend),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
