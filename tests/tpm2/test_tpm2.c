/* SPDX-License-Identifier: Apache-2.0 */
/* What the tpm2 backend does when the TPM is restarted, cleared, another, locked, bound to PCRs, full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the headers above */
#include <cmocka.h>

#include "backend/registry.h"
#include "backend/scratch.h"
#include "backend/tpm2/object.h"
#include "tpm2/swtpm.h"
#include "util/secmem.h"

static swtpm tpm, other;
static const char *pin = "1234";
static const uint8_t id[PQE_VAULT_ID_SIZE] = {7, 7, 7};
static const uint8_t secret[64] = {42, 1, 2, 3};

static pqe_status
give_pin(void *user, pqe_passphrase_purpose purpose, char *buf, size_t capacity, size_t *len)
{
    (void)user;
    (void)purpose;
    *len = strlen(pin);
    assert_true(*len <= capacity);
    memcpy(buf, pin, *len);
    return PQE_OK;
}

/* One vault: what it stores, and something sealed. */
typedef struct vault {
    uint8_t state[PQE_BACKEND_STATE_MAX], sealed[PQE_SEAL_BLOB_MAX];
    size_t state_len, sealed_len;
    pqe_error err;
} vault;

static pqe_backend *
open_backend(const char *config)
{
    pqe_backend_opts opts = {.size = sizeof opts, .passphrase = give_pin};
    char whole[512];
    pqe_backend *backend;

    snprintf(whole, sizeof whole, "tpm2:%s", config);
    assert_int_equal(pqe_backend_open(whole, &opts, &backend, NULL), PQE_OK);
    return backend;
}

/* Seals with the key given, and detaches it. */
static void
make_vault(vault *v, const char *config)
{
    pqe_backend *backend = open_backend(config);
    pqe_blob state = {.data = v->state, .capacity = sizeof v->state};
    pqe_blob sealed = {.data = v->sealed, .capacity = sizeof v->sealed};
    void *key;

    assert_int_equal(pqe__backend_enrol(backend, id, &state, &key, &v->err), PQE_OK);
    assert_int_equal(pqe__backend_seal(backend, key, NULL, 0, secret, sizeof secret, &sealed, NULL), PQE_OK);
    v->state_len = state.len;
    v->sealed_len = sealed.len;
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
}

static pqe_status
unseal(pqe_backend *backend, void *key, const vault *v)
{
    uint8_t *memory = pqe__secmem_alloc(PQE_SEAL_SECRET_MAX);
    pqe_blob blob = {.data = memory, .capacity = PQE_SEAL_SECRET_MAX};
    pqe_status status = pqe__backend_unseal(backend, key, NULL, 0, v->sealed, v->sealed_len, &blob, NULL);

    if (status == PQE_OK) {
        assert_int_equal(blob.len, sizeof secret);
        assert_memory_equal(memory, secret, sizeof secret);
    }
    pqe__secmem_free(memory);
    return status;
}

/* Opens the vault like another process would. */
static pqe_status
try_vault(vault *v, const char *config)
{
    pqe_backend *backend = open_backend(config);
    void *key = NULL;
    pqe_status status;

    memset(&v->err, 0, sizeof v->err);
    status = pqe__backend_attach(backend, id, v->state, v->state_len, &key, &v->err);
    if (status == PQE_OK)
        assert_int_equal(unseal(backend, key, v), PQE_OK);
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
    return status;
}

static void
says(const vault *v, const char *text)
{
    if (strstr(v->err.message, text) == NULL)
        fail_msg("does not say '%s': %s", text, v->err.message);
}

static void
restart(swtpm *t, bool pull_the_plug)
{
    swtpm_stop(t, pull_the_plug);
    swtpm_start(t);
}

static int
fresh(void **state)
{
    (void)state;
    pin = "1234";
    assert_int_equal(swtpm_tool(&tpm, "tpm2_clear -c p"), 0);
    assert_int_equal(swtpm_tool(&tpm, "tpm2_dictionarylockout -s -n 5 -t 1000 -l 1000"), 0);
    assert_int_equal(swtpm_count(&tpm), 0);
    return 0;
}

/* ---- the TPM itself ---- */

static void
opens_after_a_restart(void **state)
{
    vault v;

    (void)state;
    make_vault(&v, tpm.tcti);
    restart(&tpm, false);
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_OK);
    restart(&tpm, true);
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_OK);
}

static void
refuses_another_tpm(void **state)
{
    vault v;

    (void)state;
    make_vault(&v, tpm.tcti);
    assert_int_equal(try_vault(&v, other.tcti), PQE_E_DENIED);
    says(&v, "another TPM, or the TPM was cleared");
    says(&v, "recovery key");
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_OK);
}

static void
refuses_a_cleared_tpm(void **state)
{
    vault v;

    (void)state;
    make_vault(&v, tpm.tcti);
    assert_int_equal(swtpm_tool(&tpm, "tpm2_clear -c p"), 0);
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_E_DENIED);
    says(&v, "another TPM, or the TPM was cleared");
}

static void
says_that_there_is_no_tpm(void **state)
{
    vault v;

    (void)state;
    make_vault(&v, tpm.tcti);
    swtpm_stop(&tpm, false);
    swtpm_mind_leaks(false);
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_E_UNAVAILABLE);
    says(&v, "cannot reach a TPM");
    assert_int_equal(try_vault(&v, "nosuch:thing"), PQE_E_UNAVAILABLE);
    swtpm_mind_leaks(true);
    swtpm_start(&tpm);
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_OK);
}

static void
explains_an_owner_password(void **state)
{
    vault v;

    (void)state;
    make_vault(&v, tpm.tcti);
    assert_int_equal(swtpm_tool(&tpm, "tpm2_changeauth -c owner secret"), 0);
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_E_DENIED);
    says(&v, "owner hierarchy has a password");
    assert_int_equal(swtpm_tool(&tpm, "tpm2_changeauth -c owner -p secret"), 0);
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_OK);
}

static pqe_status
take_nothing(void *user, const char *type, const uint8_t *data, size_t len, pqe_error *err)
{
    (void)user, (void)type, (void)data, (void)len, (void)err;
    return PQE_OK;
}

static void
explains_an_endorsement_password(void **state)
{
    const uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE] = {1};
    pqe_backend *backend = open_backend(tpm.tcti);
    vault v;
    void *key;

    (void)state;
    make_vault(&v, tpm.tcti);
    assert_int_equal(swtpm_tool(&tpm, "tpm2_changeauth -c endorsement secret"), 0);
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_OK);
    assert_int_equal(pqe__backend_attach(backend, id, v.state, v.state_len, &key, NULL), PQE_OK);
    assert_int_equal(pqe__backend_evidence(backend, key, nonce, take_nothing, NULL, &v.err), PQE_E_DENIED);
    says(&v, "endorsement hierarchy has a password");
    says(&v, "--no-evidence");
    assert_int_equal(swtpm_tool(&tpm, "tpm2_changeauth -c endorsement -p secret"), 0);
    assert_int_equal(pqe__backend_evidence(backend, key, nonce, take_nothing, NULL, &v.err), PQE_OK);
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
}

/* A killed process leaves objects and sessions in a TPM without a resource manager: they go when room is short. */
static void
makes_room_in_a_full_tpm(void **state)
{
    vault v;

    (void)state;
    make_vault(&v, tpm.tcti);
    for (int i = 0; i < 3; i++)
        (void)swtpm_tool(&tpm, "tpm2_createprimary -C n -c full.ctx");
    for (int i = 0; i < 3; i++)
        (void)swtpm_tool(&tpm, "tpm2_startauthsession -S full.session");
    assert_true(swtpm_count(&tpm) >= 2 + 3); /* counter, note */
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_OK);
    assert_int_equal(swtpm_count(&tpm), 2);
}

/* ---- PCRs ---- */

static void
is_bound_to_pcrs(void **state)
{
    static const char extend[] =
        "tpm2_pcrextend 7:sha256=0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20";
    vault bound, unbound;

    (void)state;
    make_vault(&bound, swtpm_config(&tpm, "pcrs=sha256:0,7"));
    make_vault(&unbound, tpm.tcti);
    assert_int_equal(try_vault(&bound, tpm.tcti), PQE_OK);
    assert_int_equal(swtpm_tool(&tpm, extend), 0);
    assert_int_equal(try_vault(&bound, tpm.tcti), PQE_E_DENIED);
    assert_int_equal(bound.err.native, 0x99D);
    says(&bound, "the PCRs are not those");
    says(&bound, "recovery key");
    assert_int_equal(try_vault(&unbound, tpm.tcti), PQE_OK);
    restart(&tpm, false); /* sets the PCRs back, as a boot with the former firmware does */
    assert_int_equal(try_vault(&bound, tpm.tcti), PQE_OK);
}

/* ---- the PIN ---- */

static void
wants_the_pin(void **state)
{
    vault v;

    (void)state;
    make_vault(&v, swtpm_config(&tpm, "pin"));
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_OK);
    pin = "1235";
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_E_DENIED);
    says(&v, "the PIN is wrong; 4 more");
    assert_int_equal(v.err.native, 0x98E);
    pin = "1234";
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_OK);
}

static void
honours_the_lockout(void **state)
{
    vault v, without;

    (void)state;
    make_vault(&v, swtpm_config(&tpm, "pin"));
    make_vault(&without, tpm.tcti);
    pin = "0000";
    for (int i = 0; i < 5; i++)
        assert_int_equal(try_vault(&v, tpm.tcti), PQE_E_DENIED);
    pin = "1234"; /* right, and refused all the same */
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_E_DENIED);
    says(&v, "locked out after too many wrong PINs; wait 1000 seconds");
    assert_int_equal(v.err.native, TPM2_RC_LOCKOUT);
    assert_int_equal(try_vault(&without, tpm.tcti), PQE_OK);
    assert_int_equal(swtpm_tool(&tpm, "tpm2_dictionarylockout -c"), 0);
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_OK);
}

/* What is wrong in a vault without a PIN is no guess: it must not lock the TPM for others. */
static void
counts_no_guesses_without_a_pin(void **state)
{
    vault v;

    (void)state;
    make_vault(&v, tpm.tcti);
    v.state[40] ^= 1; /* of the salt */
    for (int i = 0; i < 10; i++)
        assert_int_equal(try_vault(&v, tpm.tcti), PQE_E_DENIED);
    says(&v, "was altered");
    v.state[40] ^= 1;
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_OK);
}

/* ---- what it stores ---- */

static void
describes_what_holds_it(void **state)
{
    char text[PQE_HELD_BY_MAX];
    const pqe_backend_ops *ops = pqe__backend_find("tpm2");
    vault v;

    (void)state;
    make_vault(&v, tpm.tcti);
    assert_true(pqe__backend_describe(ops, v.state, v.state_len, text));
    assert_string_equal(text, "TPM 2.0, AES-256 storage parent, counter with note");
    assert_string_equal(pqe__backend_key_source(ops, v.state, v.state_len), "tpm");
    make_vault(&v, swtpm_config(&tpm, "pin;pcrs=sha256:0,2,7;no-counter"));
    assert_true(pqe__backend_describe(ops, v.state, v.state_len, text));
    assert_string_equal(text, "TPM 2.0, AES-256 storage parent, PIN, PCRs sha256:0,2,7, no counter");
    for (size_t len = 0; len < v.state_len; len++)
        assert_false(pqe__backend_describe(ops, v.state, len, text));
}

/* An altered state opens the vault with its own key, or it does not. Both flips of every byte. */
static void
refuses_altered_states(void **state)
{
    vault v;
    size_t opened = 0;

    (void)state;
    make_vault(&v, swtpm_config(&tpm, "pcrs=sha256:7"));
    for (size_t i = 0; i < v.state_len; i++) {
        v.state[i] ^= 0x80;
        opened += try_vault(&v, tpm.tcti) == PQE_OK;
        v.state[i] ^= 0x80;
    }
    assert_true(opened <= 4); /* the counter's index is of no use for opening; the head authenticates it */
    assert_int_equal(try_vault(&v, tpm.tcti), PQE_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(opens_after_a_restart, fresh),
        cmocka_unit_test_setup(refuses_another_tpm, fresh),
        cmocka_unit_test_setup(refuses_a_cleared_tpm, fresh),
        cmocka_unit_test_setup(says_that_there_is_no_tpm, fresh),
        cmocka_unit_test_setup(explains_an_owner_password, fresh),
        cmocka_unit_test_setup(explains_an_endorsement_password, fresh),
        cmocka_unit_test_setup(makes_room_in_a_full_tpm, fresh),
        cmocka_unit_test_setup(is_bound_to_pcrs, fresh),
        cmocka_unit_test_setup(wants_the_pin, fresh),
        cmocka_unit_test_setup(honours_the_lockout, fresh),
        cmocka_unit_test_setup(counts_no_guesses_without_a_pin, fresh),
        cmocka_unit_test_setup(describes_what_holds_it, fresh),
        cmocka_unit_test_setup(refuses_altered_states, fresh),
    };
    int failures;

    swtpm_need();
    scratch_make();
    swtpm_make(&tpm, "tpm");
    swtpm_make(&other, "other");
    failures = cmocka_run_group_tests_name("tpm2 backend", tests, NULL, NULL);
    swtpm_stop(&tpm, false);
    swtpm_stop(&other, true);
    scratch_remove();
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
