/* SPDX-License-Identifier: Apache-2.0 */
/* Attestations in both forms: what is read can be written; version 2 to the same bytes, version 1 to the same content. */
#include "fuzz/fuzz.h"

#include <string.h>

#include <pqc_enclave/attest.h>

static bool
same_text(pqe_text a, pqe_text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static bool
same_bytes(pqe_bytes a, pqe_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static void
check_same(const pqe_attestation *a, const pqe_attestation *b)
{
    FUZZ_CHECK(same_text(a->device_id, b->device_id) && same_text(a->device_model, b->device_model));
    FUZZ_CHECK(same_text(a->enclave_vendor, b->enclave_vendor) && same_text(a->artifact_id, b->artifact_id));
    FUZZ_CHECK(same_text(a->artifact_content_hash, b->artifact_content_hash) && same_text(a->issued_at, b->issued_at));
    FUZZ_CHECK(same_text(a->signer_did, b->signer_did) && same_text(a->algorithm, b->algorithm));
    FUZZ_CHECK(same_bytes(a->signature, b->signature) && same_bytes(a->public_key, b->public_key));
}

/* A verdict is reached, and nobody is trusted. */
static void
check_verdict(const pqe_attestation *a)
{
    pqe_verdict verdict = PQE_VERDICT_PASS;

    FUZZ_CHECK(pqe_attestation_verify(a, NULL, &verdict, NULL) == PQE_E_ATTESTATION);
    FUZZ_CHECK(verdict != PQE_VERDICT_PASS && verdict <= PQE_VERDICT_UNKNOWN_SIGNER);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pqe_attestation *a = NULL, *again = NULL;
    pqe_error err = {0};
    char *bytes = NULL, *view = NULL;
    size_t len, view_len;

    if (pqe_attestation_decode(data, size, &a, &err) != PQE_OK) {
        FUZZ_CHECK(err.status == PQE_E_MALFORMED && a == NULL);
        return 0;
    }
    FUZZ_CHECK(pqe_attestation_encode(a, a->version == 1 ? PQE_ATTEST_JSON : PQE_ATTEST_COSE, &bytes, &len, &err) ==
               PQE_OK);
    if (a->version == 2) {
        FUZZ_CHECK(len == size && memcmp(bytes, data, size) == 0);
        FUZZ_CHECK(pqe_attestation_encode(a, PQE_ATTEST_JSON, &view, &view_len, &err) == PQE_OK);
    }
    FUZZ_CHECK(pqe_attestation_decode(bytes, len, &again, &err) == PQE_OK);
    check_same(a, again);
    check_verdict(a);
    pqe_buffer_free(&bytes);
    pqe_buffer_free(&view);
    pqe_attestation_free(&a);
    pqe_attestation_free(&again);
    return 0;
}
