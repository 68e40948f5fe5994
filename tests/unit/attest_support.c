/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of attestations share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "unit/attest_support.h"
#include "unit/support.h"

static pqe_attestation *
attest_one(pqe_vault *vault, const char *name, int version, const char *model)
{
    pqe_attest_opts o = {.size = sizeof o, .version = version, .device_model = model};
    pqe_attestation *a = NULL;

    if (version == 2) {
        o.challenge = CHALLENGE;
        o.challenge_len = strlen(CHALLENGE);
    }
    assert_pqe_ok(pqe_attest(vault, name, &o, &a, err));
    return a;
}

int
attest_set_up(void **state)
{
    attest_bench *b = calloc(1, sizeof *b);

    assert_non_null(b);
    b->backend = backend_memory();
    b->vault = vault_create(NULL, b->backend);
    put_ok(b->vault, "one", "first", 5);
    put_ok(b->vault, "two", "second", 6);
    assert_pqe_ok(pqe_identity_create(b->vault, NULL, &b->signer, err));
    assert_pqe_ok(pqe_trust_new(&b->trust, err));
    assert_pqe_ok(pqe_trust_add_did(b->trust, b->signer.did, err));
    b->v1 = attest_one(b->vault, "one", 1,
                       "m\xc3\xb6"
                       "del \xf0\x9f\x94\x90 \"\\\n\x7f\x01");
    b->v2 = attest_one(b->vault, "one", 2, "model \xe2\x82\xac");
    b->other_v1 = attest_one(b->vault, "two", 1, "another");
    b->other_v2 = attest_one(b->vault, "two", 2, "another");
    assert_pqe_ok(pqe_attestation_encode(b->v1, PQE_ATTEST_JSON, &b->json, &b->json_len, err));
    assert_pqe_ok(pqe_attestation_encode(b->v2, PQE_ATTEST_COSE, &b->cose, &b->cose_len, err));
    *state = b;
    return 0;
}

int
attest_tear_down(void **state)
{
    attest_bench *b = *state;

    pqe_buffer_free(&b->json);
    pqe_buffer_free(&b->cose);
    pqe_attestation_free(&b->v1);
    pqe_attestation_free(&b->v2);
    pqe_attestation_free(&b->other_v1);
    pqe_attestation_free(&b->other_v2);
    pqe_trust_free(&b->trust);
    pqe_vault_close(&b->vault);
    pqe_backend_close(&b->backend);
    free(b);
    return 0;
}

pqe_verdict
attest_judge(const pqe_attest_verify_opts *o, const void *data, size_t len)
{
    pqe_attestation *a = NULL;
    pqe_verdict verdict = PQE_VERDICT_PASS;
    pqe_status status = pqe_attestation_decode(data, len, &a, NULL);

    if (status == PQE_E_MALFORMED) {
        assert_null(a);
        return PQE_VERDICT_MALFORMED;
    }
    assert_int_equal(status, PQE_OK);
    status = pqe_attestation_verify(a, o, &verdict, NULL);
    assert_int_equal(status, verdict == PQE_VERDICT_PASS ? PQE_OK : PQE_E_ATTESTATION);
    pqe_attestation_free(&a);
    return verdict;
}

pqe_attest_verify_opts
attest_trusting(const attest_bench *b)
{
    return (pqe_attest_verify_opts){.size = sizeof(pqe_attest_verify_opts), .trust = b->trust};
}
