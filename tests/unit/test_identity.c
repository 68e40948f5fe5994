/* SPDX-License-Identifier: Apache-2.0 */
/* Identities in a vault: life, rotation, the log, and backends that sign themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include <pqc_enclave/audit.h>

#include "attest/keys.h"
#include "backend/faulty.h"
#include "backend/registry.h"
#include "unit/identity_support.h"

/* ---- life ---- */

static void
test_life(void **state)
{
    identity_bench *b = *state;
    pqe_identity_opts taken = {.size = sizeof taken, .name = "one"};
    pqe_identity one, two, three;

    assert_int_equal(identity_status(b->vault, NULL), PQE_E_NOT_FOUND);
    identities_listed(b->vault, "");
    one = identity_create(b->vault, "one", 0);
    two = identity_create(b->vault, "two", PQE_ML_DSA_87);
    three = identity_create(b->vault, NULL, PQE_ML_DSA_65);
    assert_int_equal(one.algorithm, PQE_ML_DSA_65);
    assert_true(one.is_default && !two.is_default);
    assert_int_equal(pqe_identity_create(b->vault, &taken, NULL, NULL), PQE_E_EXISTS);
    identity_reopen(b);
    identity_found(b->vault, NULL, &one, true);
    identity_found(b->vault, one.did, &one, true);
    identity_found(b->vault, "two", &two, false);
    identity_found(b->vault, three.did, &three, false);
    identities_listed(b->vault, "one* two  ");
    identity_attests(b->vault, &one);
    identity_attests(b->vault, &two);
    identity_sound(b->vault);
    assert_pqe_ok(pqe_identity_delete(b->vault, "one", err));
    assert_int_equal(identity_status(b->vault, "one"), PQE_E_NOT_FOUND);
    assert_int_equal(identity_status(b->vault, one.did), PQE_E_NOT_FOUND);
    identity_found(b->vault, NULL, &two, true);
    identity_reopen(b);
    identities_listed(b->vault, "two*  ");
    assert_pqe_ok(pqe_identity_delete(b->vault, three.did, err));
    assert_pqe_ok(pqe_identity_delete(b->vault, two.did, err));
    assert_int_equal(identity_status(b->vault, NULL), PQE_E_NOT_FOUND);
    assert_int_equal(pqe_identity_delete(b->vault, two.did, NULL), PQE_E_NOT_FOUND);
    identity_sound(b->vault);
    get_equals(b->vault, "model", "weights", 7);
    one = identity_create(b->vault, "one", 0);
    assert_true(one.is_default);
}

static void
test_arguments(void **state)
{
    identity_bench *b = *state;
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
    assert_int_equal(identity_status(b->vault, NULL), PQE_E_LOCKED);
}

/* Both forms of a private key come back as they went in. */
static void
test_import_export(void **state)
{
    identity_bench *b = *state;
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
    identity_attests(b->vault, &i);
    assert_pqe_ok(pqe_rotate(b->vault, NULL, err));
    assert_pqe_ok(pqe_rotate(b->vault, &(pqe_rotate_opts){.size = sizeof(pqe_rotate_opts), .rekey = true}, err));
    identity_reopen(b);
    identity_attests(b->vault, &i);
    assert_pqe_ok(pqe_identity_export_private(b->vault, i.did, &out, err));
    assert_int_equal(pqe_signing_key_seed(out, after, NULL), PQE_E_UNAVAILABLE);
    pqe_signing_key_free(&out);
    pqe_signing_key_free(&key);
    pqe_signing_key_free(&expanded);

    assert_pqe_ok(pqe_signing_key_generate(PQE_ML_DSA_44, &key, err));
    assert_int_equal(pqe_identity_import(b->vault, key, NULL, NULL, NULL), PQE_E_ARGUMENT);
    pqe_signing_key_free(&key);
    identity_sound(b->vault);
}

static void
test_sign(void **state)
{
    identity_bench *b = *state;
    pqe_identity i = identity_create(b->vault, "signer", PQE_ML_DSA_65);
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
    identity_bench *b = *state;
    pqe_identity one = identity_create(b->vault, "one", 0), two = identity_create(b->vault, NULL, PQE_ML_DSA_87);
    pqe_rotate_opts o = {.size = sizeof o};

    for (int i = 0; i < 4; i++) {
        o.rekey = i % 2 == 1;
        assert_pqe_ok(pqe_rotate(b->vault, &o, err));
        if (i >= 2)
            identity_reopen(b);
        identity_found(b->vault, NULL, &one, true);
        identity_found(b->vault, "one", &one, true);
        identity_found(b->vault, two.did, &two, false);
        identity_attests(b->vault, &one);
        identity_attests(b->vault, &two);
        identities_listed(b->vault, "one*  ");
        identity_sound(b->vault);
    }
}

/* ---- the log ---- */

typedef struct logged {
    char text[4096];
    const char *did; /* written as DID */
} logged;

static bool
note_entry(void *user, const pqe_audit_entry *e)
{
    logged *l = user;
    char line[512];
    bool is_did = l->did != NULL && strcmp(e->artifact_id, l->did) == 0;

    if (e->op < PQE_AUDIT_IDENTITY_CREATE || e->op > PQE_AUDIT_IDENTITY_EXPORT)
        return true;
    assert_int_equal(e->kind, 0);
    assert_false(e->by_application);
    assert_int_equal(e->success, e->details[0] == '\0');
    snprintf(line, sizeof line, "%s %s %s %.16s;", pqe_audit_op_name(e->op) + strlen("identity_"), e->name,
             is_did ? "DID" : e->artifact_id, e->details);
    strcat(l->text, line);
    return true;
}

static void
logs(pqe_vault *vault, const char *artifact, const char *did, const char *expected)
{
    pqe_audit_query q = {.size = sizeof q, .artifact = artifact};
    logged l = {.did = did};

    assert_pqe_ok(pqe_audit_list(vault, &q, note_entry, &l, err));
    assert_string_equal(l.text, expected);
}

static void
test_log(void **state)
{
    identity_bench *b = *state;
    pqe_identity_opts o = {.size = sizeof o, .name = "one"};
    pqe_signing_key *key = NULL;
    pqe_identity one = identity_create(b->vault, "one", 0);

    /* As durable as the identity, and in the same transaction. */
    pqe_vault_close(&b->vault);
    b->vault = vault_open(b->dir, b->backend);
    logs(b->vault, NULL, one.did, "create one DID ;");
    assert_int_equal(pqe_identity_create(b->vault, &o, NULL, NULL), PQE_E_EXISTS);
    logs(b->vault, NULL, one.did, "create one  PQE_E_EXISTS: an;create one DID ;");
    assert_pqe_ok(pqe_identity_export_private(b->vault, NULL, &key, err));
    logs(b->vault, one.did, one.did, "export one DID ;create one DID ;");
    assert_int_equal(pqe_identity_import(b->vault, key, NULL, NULL, NULL), PQE_E_EXISTS);
    assert_pqe_ok(pqe_identity_delete(b->vault, one.did, err));
    o.name = "again";
    assert_pqe_ok(pqe_identity_import(b->vault, key, &o, NULL, err));
    pqe_signing_key_free(&key);
    logs(b->vault, one.did, one.did, "import again DID ;delete one DID ;export one DID ;create one DID ;");
    logs(b->vault, "again", one.did, "import again DID ;");
    /* What was asked for is said as far as it is text; the log stays sound whatever it was. */
    assert_int_equal(pqe_identity_delete(b->vault, "two", NULL), PQE_E_NOT_FOUND);
    logs(b->vault, "two", NULL, "delete two  PQE_E_NOT_FOUND:;");
    assert_int_equal(pqe_identity_delete(b->vault, "\xff", NULL), PQE_E_NOT_FOUND);
    assert_int_equal(pqe_identity_export_private(b->vault, "\xc3", &key, NULL), PQE_E_NOT_FOUND);
    assert_int_equal(pqe_identity_delete(b->vault, "", NULL), PQE_E_ARGUMENT);
    identity_reopen(b);
    assert_pqe_ok(pqe_audit_verify(b->vault, NULL, 0, NULL, err));
    identity_sound(b->vault);
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
                assert_int_equal(identity_status(vault, "second"), PQE_E_NOT_FOUND);
            identity_found(vault, NULL, &first, true);
            identity_attests(vault, &first);
        }
        identity_sound(vault);
    }
    assert_true(failures >= 4);
    identity_found(vault, "second", &second, false);
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
    assert_int_equal(identity_status(vault, NULL), PQE_E_NOT_FOUND);
    native_fails = false;
    assert_pqe_ok(pqe_identity_create(vault, &o, &i, err));
    assert_true(i.is_native);
    assert_int_equal(pqe_identity_create(vault, &o, NULL, NULL), PQE_E_EXISTS);
    assert_int_equal(native_count(), 1); /* the key whose name was taken is forgotten */
    identity_attests(vault, &i);
    assert_pqe_ok(pqe_rotate(vault, NULL, err));
    assert_pqe_ok(pqe_rotate(vault, &(pqe_rotate_opts){.size = sizeof(pqe_rotate_opts), .rekey = true}, err));
    identity_attests(vault, &i);
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
        cmocka_unit_test_setup_teardown(test_life, identity_set_up, identity_tear_down),
        cmocka_unit_test_setup_teardown(test_arguments, identity_set_up, identity_tear_down),
        cmocka_unit_test_setup_teardown(test_import_export, identity_set_up, identity_tear_down),
        cmocka_unit_test_setup_teardown(test_sign, identity_set_up, identity_tear_down),
        cmocka_unit_test_setup_teardown(test_rotation, identity_set_up, identity_tear_down),
        cmocka_unit_test_setup_teardown(test_log, identity_set_up, identity_tear_down),
        cmocka_unit_test(test_native),
        cmocka_unit_test(test_failing_backend),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
