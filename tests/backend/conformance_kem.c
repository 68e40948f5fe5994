/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite: native ML-KEM. Where a backend has none, it must say so. */
#include <string.h>

#include "backend/fixture.h"

typedef struct pair {
    uint8_t handle[PQE_SEAL_BLOB_MAX], ek[PQE__KEM_PUBLIC_SIZE];
    size_t len;
    pqe__kem_key *key;
} pair;

static void
make_pair(const fixture *f, pair *p)
{
    pqe_blob handle = {.data = p->handle, .capacity = sizeof p->handle};
    pqe_blob ek = {.data = p->ek, .capacity = sizeof p->ek};

    assert_int_equal(pqe__backend_kem_make(f->backend, f->key, &handle, &ek, NULL), PQE_OK);
    assert_int_equal(ek.len, sizeof p->ek);
    p->len = handle.len;
    assert_int_equal(pqe__kem_from_public(p->ek, sizeof p->ek, &p->key, NULL), PQE_OK);
}

static void
drop_pair(const fixture *f, pair *p)
{
    pqe__backend_kem_drop(f->backend, f->key, p->handle, p->len);
    pqe__kem_free(&p->key);
}

/* Encapsulates to `to`, decapsulates by the handle and compares: *same is only told on PQE_OK. */
static pqe_status
exchange(const fixture *f, void *key, const pair *to, const uint8_t *handle, size_t len, unsigned flip, bool *same)
{
    uint8_t ct[PQE__KEM_CIPHERTEXT_SIZE], sent[PQE__KEM_SHARED_SIZE], zeros[PQE__KEM_SHARED_SIZE] = {0};
    uint8_t *received = pqe__secmem_alloc(PQE__KEM_SHARED_SIZE);
    pqe_error err = {0};
    pqe_status status;

    assert_non_null(received);
    assert_int_equal(pqe__kem_encapsulate(to->key, NULL, ct, sent, NULL), PQE_OK);
    ct[flip % sizeof ct] ^= flip != 0;
    status = pqe__backend_kem_decapsulate(f->backend, key, handle, len, ct, sizeof ct, received, &err);
    if (status == PQE_OK) {
        *same = memcmp(sent, received, sizeof sent) == 0;
    } else {
        fixture_check_error(&err, status);
        assert_memory_equal(received, zeros, sizeof zeros);
    }
    pqe__secmem_free(received);
    return status;
}

static bool
has_kem(const fixture *f)
{
    uint8_t bytes[PQE_SEAL_BLOB_MAX];
    pqe_blob blob = {.data = bytes, .capacity = sizeof bytes}, ek = blob;

    if (pqe__backend_decapsulates(f->backend))
        return true;
    assert_int_equal(pqe__backend_kem_make(f->backend, f->key, &blob, &ek, NULL), PQE_E_UNAVAILABLE);
    assert_int_equal(blob.len, 0);
    assert_int_equal(pqe__backend_kem_decapsulate(f->backend, f->key, bytes, 16, bytes, 16, bytes, NULL),
                     PQE_E_UNAVAILABLE);
    return false;
}

static void
exchanges(const fixture *f)
{
    bool same = false;
    pair one, two;

    make_pair(f, &one);
    make_pair(f, &two);
    assert_memory_not_equal(one.ek, two.ek, sizeof one.ek);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(exchange(f, f->key, &one, one.handle, one.len, 0, &same), PQE_OK);
        assert_true(same);
    }
    /* Implicit rejection: another secret, no error. */
    for (unsigned flip = 1; flip < PQE__KEM_CIPHERTEXT_SIZE; flip += 217) {
        assert_int_equal(exchange(f, f->key, &one, one.handle, one.len, flip, &same), PQE_OK);
        assert_false(same);
    }
    assert_int_equal(exchange(f, f->key, &one, two.handle, two.len, 0, &same), PQE_OK);
    assert_false(same);
    drop_pair(f, &two);
    assert_int_not_equal(exchange(f, f->key, &one, two.handle, two.len, 0, &same), PQE_OK);
    assert_int_equal(exchange(f, f->key, &one, one.handle, one.len, 0, &same), PQE_OK);
    drop_pair(f, &one);
}

static void
refuses_wrong_handles(const fixture *f)
{
    uint8_t ct[PQE__KEM_CIPHERTEXT_SIZE] = {0}, *secret = pqe__secmem_alloc(PQE__KEM_SHARED_SIZE);
    bool same;
    pair one;

    make_pair(f, &one);
    for (size_t i = 0; i < one.len; i++) {
        one.handle[i] ^= 0x01;
        if (exchange(f, f->key, &one, one.handle, one.len, 0, &same) == PQE_OK)
            assert_false(same);
        one.handle[i] ^= 0x01;
        assert_int_not_equal(exchange(f, f->key, &one, one.handle, i, 0, &same), PQE_OK);
    }
    assert_int_not_equal(exchange(f, f->key, &one, one.handle, sizeof one.handle, 0, &same), PQE_OK);
    assert_int_not_equal(
        pqe__backend_kem_decapsulate(f->backend, f->key, one.handle, one.len, ct, sizeof ct - 1, secret, NULL), PQE_OK);
    assert_int_not_equal(pqe__backend_kem_decapsulate(f->backend, f->key, one.handle, one.len, NULL, 0, secret, NULL),
                         PQE_OK);
    pqe__secmem_free(secret);
    drop_pair(f, &one);
}

static void
respects_capacities(const fixture *f)
{
    const conformance_subject *s = f->subject;
    uint8_t bytes[PQE_SEAL_BLOB_MAX], public_key[PQE__KEM_PUBLIC_SIZE];
    size_t before = fixture_leftovers(s);
    pair one;

    make_pair(f, &one);
    for (size_t capacity = 0; capacity < one.len; capacity += 1 + capacity / 8) {
        pqe_blob handle = {.data = bytes, .capacity = capacity};
        pqe_blob ek = {.data = public_key, .capacity = sizeof public_key};
        assert_int_not_equal(pqe__backend_kem_make(f->backend, f->key, &handle, &ek, NULL), PQE_OK);
    }
    for (size_t capacity = 0; capacity < sizeof public_key; capacity += 1 + capacity) {
        pqe_blob handle = {.data = bytes, .capacity = sizeof bytes};
        pqe_blob ek = {.data = public_key, .capacity = capacity};
        assert_int_not_equal(pqe__backend_kem_make(f->backend, f->key, &handle, &ek, NULL), PQE_OK);
    }
    drop_pair(f, &one);
    assert_int_equal(fixture_leftovers(s), before);
}

/* A handle of one vault is of no use to another, and outlives the attachment. */
static void
keeps_vaults_apart(fixture *f)
{
    bool same = false;
    fixture other;
    void *again;
    pair one;

    make_pair(f, &one);
    fixture_begin(&other, f->subject);
    if (exchange(&other, other.key, &one, one.handle, one.len, 0, &same) == PQE_OK)
        assert_false(same);
    fixture_end(&other);
    assert_int_equal(fixture_attach(f, f->state, f->state_len, &again), PQE_OK);
    assert_int_equal(exchange(f, again, &one, one.handle, one.len, 0, &same), PQE_OK);
    assert_true(same);
    pqe__backend_detach(f->backend, again);
    drop_pair(f, &one);
}

void
conformance_kem(void **state)
{
    fixture f;

    fixture_begin(&f, *state);
    if (has_kem(&f)) {
        exchanges(&f);
        refuses_wrong_handles(&f);
        respects_capacities(&f);
        keeps_vaults_apart(&f);
    }
    fixture_end(&f);
}
