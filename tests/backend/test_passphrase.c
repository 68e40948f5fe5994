/* SPDX-License-Identifier: Apache-2.0 */
/* The file backend with passphrases: parameters, the callback, the state of an independent program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* after the headers above */
#include <cmocka.h>

#include "backend/file/passphrase.h"
#include "backend/registry.h"
#include "util/cursor.h"
#include "util/text.h"

#define MEMORY_OFFSET 6
#define PASSES_OFFSET 10
#define LANES_OFFSET 14

static const pqe__argon2_params cheap = {.memory_kib = PQE__ARGON2_MEMORY_MIN, .passes = 2, .lanes = 4};

/* Made from docs/format.md, section 6, alone with another implementation: vault id 10..1f, Argon2id with 19 MiB, 2
 * passes and 4 lanes, salt 70..7f, wrapped key c0..df. */
static const uint8_t vault_id[PQE_VAULT_ID_SIZE] = {0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
                                                    0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f};
static const char known_passphrase[] = "correct horse battery st\xc3\xa4ple";
static const char state_hex[] =
    "01020000001300004c000000000200000004707172737475767778797a7b7c7d7e7f1c63cabbb78a70573c368e"
    "87750fcf87fe481d75123bdebcd043e4a0eccb0cf9b0b1b2b3b4b5b6b7b8b9babb5dd732f53e089dbb1eaa916e"
    "b3b7392a01dd3d40da853cd206a0b1211156c8154cc30eb44b2f92829df0ec89b730dcdc";
static const char blob_hex[] =
    "a0a1a2a3a4a5a6a7a8a9aaaba552740df6372c0fc81be77d96583578c56548b9e813a11117d7d1aaeba41a85898c12c7"
    "e89aaff7ac4431c48bdd4532";
static const char secret_text[] = "sealed by an independent program";

static uint8_t known_state[PQE__PASSPHRASE_STATE_SIZE];

/* ---- the callback ---- */

static struct {
    const char *text;
    size_t len; /* reported; 0 with a text: its length */
    pqe_status status;
    int calls;
    pqe_passphrase_purpose purpose;
    char *buf;
} asked;

static pqe_status
answer(void *user, pqe_passphrase_purpose purpose, char *buf, size_t capacity, size_t *len)
{
    size_t text_len = asked.text != NULL ? strlen(asked.text) : 0;

    assert_ptr_equal(user, &asked);
    assert_int_equal(capacity, PQE_PASSPHRASE_MAX);
    asked.calls++;
    asked.purpose = purpose;
    asked.buf = buf;
    if (text_len != 0)
        memcpy(buf, asked.text, text_len < capacity ? text_len : capacity);
    *len = asked.len != 0 ? asked.len : text_len;
    return asked.status;
}

static int
begin(void **state)
{
    (void)state;
    memset(&asked, 0, sizeof asked);
    asked.text = known_passphrase;
    if (!pqe__passphrase_set_params(&cheap) || strlen(state_hex) != 2 * sizeof known_state)
        return -1;
    return pqe__hex_decode(state_hex, sizeof known_state, known_state) ? 0 : -1;
}

static pqe_backend *
open_backend(const char *config)
{
    pqe_backend_opts opts = {.size = sizeof opts, .passphrase = answer, .user = &asked};
    pqe_backend *backend;

    assert_int_equal(pqe_backend_open(config, &opts, &backend, NULL), PQE_OK);
    return backend;
}

static pqe_status
attach(const char *config, const uint8_t *state, size_t state_len, pqe_error *err)
{
    pqe_backend *backend = open_backend(config);
    pqe_status status;
    void *key;

    memset(err, 0, sizeof *err);
    status = pqe__backend_attach(backend, vault_id, state, state_len, &key, err);
    assert_int_equal(err->status, status);
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
    return status;
}

/* ---- states ---- */

static void
opens_the_state_of_an_independent_program(void **state)
{
    uint8_t blob[(sizeof blob_hex - 1) / 2], secret[64];
    pqe_blob out = {.data = secret, .capacity = sizeof secret};
    pqe_backend *backend = open_backend("file");
    void *key;

    (void)state;
    assert_true(pqe__hex_decode(blob_hex, sizeof blob, blob));
    assert_int_equal(pqe__backend_attach(backend, vault_id, known_state, sizeof known_state, &key, NULL), PQE_OK);
    assert_int_equal(asked.purpose, PQE_PASSPHRASE_UNLOCK);
    assert_int_equal(pqe__backend_unseal(backend, key, (const uint8_t *)"aad", 3, blob, sizeof blob, &out, NULL),
                     PQE_OK);
    assert_int_equal(out.len, sizeof secret_text - 1);
    assert_memory_equal(secret, secret_text, out.len);
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
}

static void
put_u32(uint8_t *at, uint32_t value)
{
    pqe__wcur c = pqe__wcur_init(at, 4);

    pqe__put_u32(&c, value);
}

static void
refuses_hostile_parameters_unasked(void **state)
{
    static const pqe__argon2_params hostile[] = {
        {0, 2, 1},          {8, 2, 1},          {19455, 3, 1},  {19456, 1, 1},        {38911, 1, 1},
        {1048577, 2, 1},    {UINT32_MAX, 2, 1}, {19456, 0, 1},  {19456, 17, 1},       {19456, UINT32_MAX, 1},
        {19456, 0x8000, 1}, {19456, 2, 0},      {19456, 2, 17}, {19456, 2, 1u << 24}, {UINT32_MAX, UINT32_MAX, 1},
    };
    pqe_error err;

    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        put_u32(known_state + MEMORY_OFFSET, hostile[i].memory_kib);
        put_u32(known_state + PASSES_OFFSET, hostile[i].passes);
        put_u32(known_state + LANES_OFFSET, hostile[i].lanes);
        assert_int_equal(attach("file", known_state, sizeof known_state, &err), PQE_E_VERSION);
        assert_non_null(strstr(err.message, "outside the accepted range"));
        assert_false(pqe__passphrase_params_ok(&hostile[i]));
        assert_false(pqe__passphrase_set_params(&hostile[i]));
    }
    assert_int_equal(asked.calls, 0);
}

static void
accepts_the_ends_of_the_range(void **state)
{
    static const pqe__argon2_params fine[] = {{19456, 2, 1},     {38912, 1, 1}, {19456, 16, 16},
                                              {1048576, 16, 16}, {65536, 3, 4}, {2097152 / 2, 1, 4}};

    (void)state;
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
        assert_true(pqe__passphrase_params_ok(&fine[i]));
}

static void
authenticates_the_parameters(void **state)
{
    pqe_error err;

    (void)state;
    put_u32(known_state + PASSES_OFFSET, 3); /* within the range, but not what the vault was made with */
    assert_int_equal(attach("file", known_state, sizeof known_state, &err), PQE_E_DENIED);
}

static void
tells_damage_from_a_wrong_passphrase(void **state)
{
    pqe_error err;

    (void)state;
    known_state[sizeof known_state - 1] ^= 1;
    assert_int_equal(attach("file", known_state, sizeof known_state, &err), PQE_E_TAMPERED);
    known_state[sizeof known_state - 1] ^= 1;
    asked.text = "correct horse battery stapl";
    assert_int_equal(attach("file", known_state, sizeof known_state, &err), PQE_E_DENIED);
    assert_string_equal(err.message, "the passphrase does not open this vault");
    asked.text = known_passphrase;
    known_state[0] = 2;
    assert_int_equal(attach("file", known_state, sizeof known_state, &err), PQE_E_VERSION);
    known_state[0] = 1;
    known_state[5] = 0x10; /* Argon2 version 0x10 */
    assert_int_equal(attach("file", known_state, sizeof known_state, &err), PQE_E_VERSION);
    known_state[5] = 0x13;
    assert_int_equal(attach("file", known_state, sizeof known_state - 1, &err), PQE_E_TAMPERED);
    assert_int_equal(attach("file", known_state, sizeof known_state, &err), PQE_OK);
}

static void
the_configuration_must_fit(void **state)
{
    pqe_error err;

    (void)state;
    assert_int_equal(attach("file:passphrase", known_state, sizeof known_state, &err), PQE_OK);
    asked.calls = 0;
    assert_int_equal(attach("file:key-file=/x", known_state, sizeof known_state, &err), PQE_E_ARGUMENT);
    assert_string_equal(err.message, "this vault is opened by a passphrase, not by a key file");
    assert_int_equal(asked.calls, 0);
}

/* ---- what is written ---- */

static void
enrol(pqe_backend *backend, uint8_t state[PQE__PASSPHRASE_STATE_SIZE], void **key)
{
    pqe_blob blob = {.data = state, .capacity = PQE__PASSPHRASE_STATE_SIZE};

    assert_int_equal(pqe__backend_enrol(backend, vault_id, &blob, key, NULL), PQE_OK);
    assert_int_equal(blob.len, PQE__PASSPHRASE_STATE_SIZE);
}

static void
every_state_is_fresh(void **state)
{
    uint8_t one[PQE__PASSPHRASE_STATE_SIZE], two[PQE__PASSPHRASE_STATE_SIZE];
    pqe_blob changed = {.data = two, .capacity = sizeof two};
    pqe_backend *backend = open_backend("file:passphrase");
    void *key;

    (void)state;
    enrol(backend, one, &key);
    assert_int_equal(asked.purpose, PQE_PASSPHRASE_NEW);
    assert_memory_equal(one, known_state, 18);
    /* The same passphrase again: still a new salt, check value and box. */
    assert_int_equal(pqe__backend_change_passphrase(backend, vault_id, key, one, sizeof one, &changed, NULL), PQE_OK);
    assert_int_equal(asked.purpose, PQE_PASSPHRASE_NEW);
    assert_memory_equal(one, two, 18);
    assert_memory_not_equal(one + 18, two + 18, 16);
    assert_memory_not_equal(one + 34, two + 34, 32);
    assert_memory_not_equal(one + 66, two + 66, 60);
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
}

static void
the_default_is_strong(void **state)
{
    uint8_t bytes[PQE__PASSPHRASE_STATE_SIZE];
    pqe_backend *backend = open_backend("file:passphrase");
    pqe__rcur c;
    void *key;

    (void)state;
    assert_true(pqe__passphrase_set_params(NULL));
    enrol(backend, bytes, &key);
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
    c = pqe__rcur_init(bytes + 2, sizeof bytes - 2);
    assert_int_equal(pqe__get_u32(&c), 0x13);
    assert_int_equal(pqe__get_u32(&c), 262144);
    assert_int_equal(pqe__get_u32(&c), 3);
    assert_int_equal(pqe__get_u32(&c), 4);
}

/* ---- the callback's manners ---- */

static pqe_status
try_enrol(const pqe_backend_opts *opts, pqe_error *err)
{
    uint8_t bytes[PQE_BACKEND_STATE_MAX];
    pqe_blob blob = {.data = bytes, .capacity = sizeof bytes};
    pqe_backend *backend;
    pqe_status status;
    void *key;

    memset(err, 0, sizeof *err);
    assert_int_equal(pqe_backend_open("file:passphrase", opts, &backend, NULL), PQE_OK);
    status = pqe__backend_enrol(backend, vault_id, &blob, &key, err);
    assert_int_equal(err->status, status);
    assert_int_equal(blob.len != 0, status == PQE_OK);
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
    return status;
}

static void
copes_with_any_callback(void **state)
{
    static char longest[PQE_PASSPHRASE_MAX + 1];
    pqe_backend_opts opts = {.size = sizeof opts, .passphrase = answer, .user = &asked};
    pqe_error err;

    (void)state;
    assert_int_equal(try_enrol(NULL, &err), PQE_E_DENIED);
    asked.text = "";
    assert_int_equal(try_enrol(&opts, &err), PQE_E_ARGUMENT);
    assert_int_equal(attach("file", known_state, sizeof known_state, &err), PQE_E_DENIED);
    asked.text = "x";
    asked.len = PQE_PASSPHRASE_MAX + 1;
    assert_int_equal(try_enrol(&opts, &err), PQE_E_LIMIT);
    asked.len = SIZE_MAX;
    assert_int_equal(try_enrol(&opts, &err), PQE_E_LIMIT);
    asked.len = 0;
    asked.status = PQE_E_CANCELLED;
    assert_int_equal(try_enrol(&opts, &err), PQE_E_CANCELLED);
    assert_int_equal(attach("file", known_state, sizeof known_state, &err), PQE_E_CANCELLED);
    asked.status = PQE_E_IO;
    assert_int_equal(try_enrol(&opts, &err), PQE_E_IO);
    asked.status = (pqe_status)1;
    assert_int_equal(try_enrol(&opts, &err), PQE_E_CANCELLED);
    asked.status = PQE_OK;
    memset(longest, 'l', PQE_PASSPHRASE_MAX);
    asked.text = longest;
    assert_int_equal(try_enrol(&opts, &err), PQE_OK);
}

/* The buffer stays mapped in its region after it was freed, so that it can be looked at. */
static void
wipes_the_passphrase(void **state)
{
    static const char zeros[sizeof known_passphrase];
    pqe_error err;

    (void)state;
    assert_int_equal(attach("file", known_state, sizeof known_state, &err), PQE_OK);
    assert_memory_equal(asked.buf, zeros, sizeof zeros);
    known_state[20] ^= 1;
    assert_int_equal(attach("file", known_state, sizeof known_state, &err), PQE_E_DENIED);
    assert_memory_equal(asked.buf, zeros, sizeof zeros);
    asked.status = PQE_E_CANCELLED; /* after it had written there */
    assert_int_equal(attach("file", known_state, sizeof known_state, &err), PQE_E_CANCELLED);
    assert_memory_equal(asked.buf, zeros, sizeof zeros);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(opens_the_state_of_an_independent_program, begin),
        cmocka_unit_test_setup(refuses_hostile_parameters_unasked, begin),
        cmocka_unit_test_setup(accepts_the_ends_of_the_range, begin),
        cmocka_unit_test_setup(authenticates_the_parameters, begin),
        cmocka_unit_test_setup(tells_damage_from_a_wrong_passphrase, begin),
        cmocka_unit_test_setup(the_configuration_must_fit, begin),
        cmocka_unit_test_setup(every_state_is_fresh, begin),
        cmocka_unit_test_setup(the_default_is_strong, begin),
        cmocka_unit_test_setup(copes_with_any_callback, begin),
        cmocka_unit_test_setup(wipes_the_passphrase, begin),
    };

    return cmocka_run_group_tests_name("passphrases", tests, NULL, NULL);
}
