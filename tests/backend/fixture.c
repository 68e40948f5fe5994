/* SPDX-License-Identifier: Apache-2.0 */
/* What the conformance tests share. */
#include "backend/fixture.h"

#include <string.h>

static const char *passphrase_text = "";

void
fixture_passphrase(const char *text)
{
    passphrase_text = text;
}

static pqe_status
give_passphrase(void *user, pqe_passphrase_purpose purpose, char *buf, size_t capacity, size_t *len)
{
    (void)user;
    (void)purpose;
    *len = strlen(passphrase_text);
    assert_true(*len <= capacity);
    memcpy(buf, passphrase_text, *len);
    return PQE_OK;
}

void
fixture_new_id(uint8_t id[PQE_VAULT_ID_SIZE])
{
    static uint8_t count;

    memset(id, 0x5a, PQE_VAULT_ID_SIZE);
    id[PQE_VAULT_ID_SIZE - 1] = ++count;
}

size_t
fixture_leftovers(const conformance_subject *s)
{
    return s->leftovers != NULL ? s->leftovers() : 0;
}

uintptr_t
fixture_locked_memory_mark(void)
{
    void *p = pqe__secmem_alloc((size_t)64 * 1024); /* a whole region of util/secmem.c: found only where all is free */
    uintptr_t mark = (uintptr_t)p;

    assert_non_null(p);
    pqe__secmem_free(p);
    return mark;
}

void
fixture_check_error(const pqe_error *err, pqe_status status)
{
    assert_int_not_equal(status, PQE_OK);
    assert_int_equal(err->status, status);
    assert_int_not_equal(err->message[0], '\0');
}

pqe_status
fixture_open_backend(const conformance_subject *s, const pqe_backend_ops *ops, const char *config, pqe_backend **out,
                     pqe_error *err)
{
    pqe_backend_opts opts = {.size = sizeof opts, .passphrase = s->passphrase ? give_passphrase : NULL};

    return pqe_backend_open_ops(ops, config, &opts, out, err);
}

void
fixture_begin(fixture *f, const conformance_subject *s)
{
    pqe_blob state = {.data = f->state, .capacity = sizeof f->state};
    pqe_error err = {0};

    f->subject = s;
    fixture_passphrase("correct horse");
    fixture_new_id(f->vault_id);
    assert_int_equal(fixture_open_backend(s, s->ops, s->config, &f->backend, NULL), PQE_OK);
    if (pqe__backend_enrol(f->backend, f->vault_id, &state, &f->key, &err) != PQE_OK)
        fail_msg("enrol: %s", err.message);
    assert_non_null(f->key);
    f->state_len = state.len;
}

void
fixture_end(fixture *f)
{
    pqe__backend_discard(f->backend, f->vault_id, f->key);
    pqe__backend_detach(f->backend, f->key);
    pqe_backend_close(&f->backend);
    assert_null(f->backend);
}

static void
test_secret(uint8_t secret[PQE_SEAL_SECRET_MAX], size_t len)
{
    for (size_t i = 0; i < PQE_SEAL_SECRET_MAX; i++)
        secret[i] = (uint8_t)(i * 7 + len);
}

void
fixture_seal(const fixture *f, void *key, size_t secret_len, sealed *out)
{
    pqe_blob blob = {.data = out->bytes, .capacity = sizeof out->bytes};
    uint8_t secret[PQE_SEAL_SECRET_MAX];

    test_secret(secret, secret_len);
    assert_int_equal(pqe__backend_seal(f->backend, key, AAD, AAD_LEN, secret, secret_len, &blob, NULL), PQE_OK);
    out->len = blob.len;
}

pqe_status
fixture_unseal(const fixture *f, void *key, const uint8_t *bytes, size_t len, size_t secret_len)
{
    uint8_t *memory = pqe__secmem_alloc(PQE_SEAL_SECRET_MAX);
    pqe_blob blob = {.data = memory, .capacity = PQE_SEAL_SECRET_MAX};
    uint8_t expected[PQE_SEAL_SECRET_MAX];
    pqe_error err = {0};
    pqe_status status;

    assert_non_null(memory);
    memset(memory, 0xaa, PQE_SEAL_SECRET_MAX);
    test_secret(expected, secret_len);
    status = pqe__backend_unseal(f->backend, key, AAD, AAD_LEN, bytes, len, &blob, &err);
    if (status == PQE_OK) {
        assert_int_equal(blob.len, secret_len);
        assert_memory_equal(memory, expected, secret_len);
    } else {
        fixture_check_error(&err, status);
        assert_int_equal(blob.len, 0);
        memset(expected, 0, sizeof expected);
        assert_memory_equal(memory, expected, sizeof expected);
    }
    pqe__secmem_free(memory);
    return status;
}

pqe_status
fixture_attach(const fixture *f, const uint8_t *state, size_t state_len, void **key)
{
    pqe_error err = {0};
    pqe_status status = pqe__backend_attach(f->backend, f->vault_id, state, state_len, key, &err);

    if (status != PQE_OK) {
        fixture_check_error(&err, status);
        assert_null(*key);
    }
    return status;
}
