/* SPDX-License-Identifier: Apache-2.0 */
/* What the conformance suite does not ask of tokens of PKCS#11 3.2: both tiers, and signatures. */
#include "backend/pkcs11_pairs.h"

#include <stdio.h>
#include <string.h>

#include "backend/fixture.h"

void
pkcs11_has_both(void **state)
{
    const conformance_subject *s = *state;
    char text[4096];
    pqe_backend *backend;

    assert_int_equal(fixture_open_backend(s, s->ops, s->config, &backend, NULL), PQE_OK);
    assert_true(pqe__backend_decapsulates(backend) && pqe__backend_signs(backend));
    pqe_backend_close(&backend);
    snprintf(text, sizeof text, "%s;tier=native", s->config);
    assert_int_equal(fixture_open_backend(s, s->ops, text, &backend, NULL), PQE_OK);
    pqe_backend_close(&backend);
    snprintf(text, sizeof text, "%s;tier=kek", s->config);
    assert_int_equal(fixture_open_backend(s, s->ops, text, &backend, NULL), PQE_OK);
    assert_false(pqe__backend_decapsulates(backend) || pqe__backend_signs(backend));
    pqe_backend_close(&backend);
}

static void
sign_and_verify(const fixture *f, pqe_sig_algorithm algorithm, const pqe_blob *handle, const pqe__sig_key *key,
                size_t context_len, uint8_t signature[PQE_ML_DSA_SIGNATURE_MAX])
{
    pqe_blob blob = {.data = signature, .capacity = PQE_ML_DSA_SIGNATURE_MAX};
    uint8_t context[255], message[5000];

    memset(context, 'c', sizeof context);
    memset(message, 'm', sizeof message);
    assert_int_equal(pqe__backend_identity_sign(f->backend, f->key, algorithm, handle->data, handle->len, context,
                                                context_len, message, sizeof message, &blob, NULL),
                     PQE_OK);
    assert_int_equal(pqe__sig_verify(key, message, sizeof message, context, context_len, signature, blob.len, NULL),
                     PQE_OK);
    message[0]++;
    assert_int_equal(pqe__sig_verify(key, message, sizeof message, context, context_len, signature, blob.len, NULL),
                     PQE_E_ATTESTATION);
}

void
pkcs11_signs(void **state)
{
    static const pqe_sig_algorithm algorithms[] = {PQE_ML_DSA_65, PQE_ML_DSA_87};
    uint8_t handle[PQE_SEAL_BLOB_MAX], pk[PQE_ML_DSA_PUBLIC_MAX], one[PQE_ML_DSA_SIGNATURE_MAX],
        two[PQE_ML_DSA_SIGNATURE_MAX];
    fixture f;

    fixture_begin(&f, *state);
    for (size_t i = 0; i < 2; i++) {
        pqe_sig_algorithm a = algorithms[i];
        pqe_blob h = {.data = handle, .capacity = sizeof handle}, p = {.data = pk, .capacity = sizeof pk};
        pqe_blob s = {.data = one, .capacity = sizeof one};
        pqe__sig_key *key = NULL;
        assert_int_equal(pqe__backend_identity_make(f.backend, f.key, a, &h, &p, NULL), PQE_OK);
        assert_int_equal(pqe__sig_from_public(a, pk, p.len, &key, NULL), PQE_OK);
        sign_and_verify(&f, a, &h, key, 0, one);
        sign_and_verify(&f, a, &h, key, 255, one);
        sign_and_verify(&f, a, &h, key, 31, one);
        sign_and_verify(&f, a, &h, key, 31, two);
        assert_memory_not_equal(one, two, pqe_sig_signature_size(a)); /* hedged */
        handle[5] ^= 1;
        assert_int_equal(pqe__backend_identity_sign(f.backend, f.key, a, handle, h.len, NULL, 0, pk, 1, &s, NULL),
                         PQE_E_DECRYPTION);
        handle[5] ^= 1;
        pqe__backend_identity_drop(f.backend, f.key, handle, h.len);
        assert_int_equal(pqe__backend_identity_sign(f.backend, f.key, a, handle, h.len, NULL, 0, pk, 1, &s, NULL),
                         PQE_E_DECRYPTION);
        pqe__sig_free(&key);
    }
    fixture_end(&f);
}
