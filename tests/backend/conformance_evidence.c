/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite: evidence. What it proves is for its verifier to say; here it must be whole, fresh and checkable. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include <pqc_enclave/attest.h>

#include "backend/fixture.h"

#define PEM_MAX 4096

typedef struct taken {
    size_t count, len;
    pqe_status answer; /* to the first piece */
    uint8_t bytes[PQE_EVIDENCE_MAX * PQE_EVIDENCE_BYTES_MAX];
} taken;

static pqe_status
take(void *user, const char *type, const uint8_t *data, size_t len, pqe_error *err)
{
    taken *t = user;

    assert_true(type[0] != '\0');
    assert_true(len <= sizeof t->bytes - t->len);
    memcpy(t->bytes + t->len, data, len);
    t->len += len;
    t->count++;
    if (t->answer != PQE_OK)
        return pqe__fail(err, t->answer, PQE_ORIGIN_API, 0, "not taken");
    return PQE_OK;
}

static void
ask(const fixture *f, void *key, uint8_t nonce_byte, taken *t)
{
    uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE];
    pqe_error err = {0};

    memset(nonce, nonce_byte, sizeof nonce);
    nonce[0] = 0x17;
    t->count = t->len = 0;
    t->answer = PQE_OK;
    if (pqe__backend_evidence(f->backend, key, nonce, take, t, &err) != PQE_OK)
        fail_msg("evidence: %s", err.message);
    assert_true(t->count > 0);
    assert_non_null(memmem(t->bytes, t->len, nonce, sizeof nonce)); /* it stands there as it was given */
}

static size_t
read_key(const fixture *f, void *key, char pem[PEM_MAX])
{
    pqe_blob blob = {.data = (uint8_t *)pem, .capacity = PEM_MAX - 1};
    EVP_PKEY *parsed;
    BIO *bio;

    assert_int_equal(pqe__backend_evidence_key(f->backend, key, &blob, NULL), PQE_OK);
    pem[blob.len] = '\0';
    bio = BIO_new_mem_buf(pem, (int)blob.len);
    parsed = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    assert_non_null(parsed);
    assert_true(BIO_pending(bio) == 0); /* and nothing behind it */
    EVP_PKEY_free(parsed);
    BIO_free(bio);
    return blob.len;
}

static bool
has_none(const fixture *f)
{
    static const uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE];
    taken *t;
    pqe_blob blob = {.data = (uint8_t[16]){0}, .capacity = 16};

    if (pqe__backend_testifies(f->backend))
        return false;
    t = calloc(1, sizeof *t);
    assert_non_null(t);
    assert_int_equal(pqe__backend_evidence(f->backend, f->key, nonce, take, t, NULL), PQE_E_UNAVAILABLE);
    assert_int_equal(pqe__backend_evidence_key(f->backend, f->key, &blob, NULL), PQE_E_UNAVAILABLE);
    assert_int_equal(t->count + blob.len, 0);
    free(t);
    return true;
}

void
conformance_evidence_is_bound(void **state)
{
    taken *one = calloc(1, sizeof *one), *two = calloc(1, sizeof *two);
    fixture f;
    void *again;

    assert_true(one != NULL && two != NULL);
    fixture_begin(&f, *state);
    if (!has_none(&f)) {
        ask(&f, f.key, 1, one);
        ask(&f, f.key, 2, two);
        assert_true(one->len != two->len || memcmp(one->bytes, two->bytes, one->len) != 0);
        assert_int_equal(fixture_attach(&f, f.state, f.state_len, &again), PQE_OK);
        ask(&f, again, 1, two);
        assert_int_equal(one->count, two->count);
        pqe__backend_detach(f.backend, again);
    }
    fixture_end(&f);
    free(one);
    free(two);
}

void
conformance_evidence_key(void **state)
{
    char pem[PEM_MAX], same[PEM_MAX];
    fixture f;
    size_t len;
    void *again;

    fixture_begin(&f, *state);
    if (!has_none(&f)) {
        len = read_key(&f, f.key, pem);
        assert_int_equal(fixture_attach(&f, f.state, f.state_len, &again), PQE_OK);
        assert_int_equal(read_key(&f, again, same), len);
        assert_string_equal(pem, same);
        pqe__backend_detach(f.backend, again);
        for (size_t capacity = 0; capacity < len; capacity += f.subject->stride != 0 ? 37 : 1) {
            pqe_blob small = {.data = (uint8_t *)same, .capacity = capacity};
            pqe_error err = {0};
            memset(same, 0x55, sizeof same);
            fixture_check_error(&err, pqe__backend_evidence_key(f.backend, f.key, &small, &err));
            assert_int_equal(small.len, 0);
            assert_int_equal(same[capacity], 0x55);
        }
    }
    fixture_end(&f);
}

void
conformance_evidence_refused(void **state)
{
    static const uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE] = {9};
    taken *t = calloc(1, sizeof *t);
    pqe_error err = {0};
    fixture f;

    assert_non_null(t);
    fixture_begin(&f, *state);
    if (!has_none(&f)) {
        t->answer = PQE_E_NOMEM;
        fixture_check_error(&err, pqe__backend_evidence(f.backend, f.key, nonce, take, t, &err));
        assert_int_equal(err.status, PQE_E_NOMEM);
        assert_int_equal(t->count, 1);
        ask(&f, f.key, 3, t); /* and it goes on */
    }
    fixture_end(&f);
    free(t);
}

pqe_status
conformance_evidence_story(const fixture *f, pqe_error *err)
{
    static const uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE] = {4};
    uint8_t pem[PEM_MAX];
    pqe_blob blob = {.data = pem, .capacity = sizeof pem};
    taken *t;
    pqe_status status;

    if (!pqe__backend_testifies(f->backend))
        return PQE_OK;
    t = calloc(1, sizeof *t);
    assert_non_null(t);
    status = pqe__backend_evidence(f->backend, f->key, nonce, take, t, err);
    free(t);
    return status == PQE_OK ? pqe__backend_evidence_key(f->backend, f->key, &blob, err) : status;
}
