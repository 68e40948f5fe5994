/* SPDX-License-Identifier: Apache-2.0 */
/* Texts from outside: trust files, public and private keys in PEM. What is read can be written and read again. */
#include "fuzz/fuzz.h"

#include <string.h>

#include <pqc_enclave/attest.h>

static void
check_private(const char *text, size_t size)
{
    char pem[PQE_PRIVATE_PEM_MAX];
    pqe_signing_key *key = NULL, *again = NULL;
    pqe_status status = pqe_signing_key_from_pem(text, size, &key, NULL);
    size_t len;

    if (status != PQE_OK) {
        FUZZ_CHECK(status == PQE_E_MALFORMED && key == NULL);
        return;
    }
    FUZZ_CHECK(pqe_signing_key_pem(key, pem, sizeof pem, &len, NULL) == PQE_OK);
    FUZZ_CHECK(pqe_signing_key_from_pem(pem, len, &again, NULL) == PQE_OK);
    FUZZ_CHECK(strcmp(pqe_public_key_did(pqe_signing_key_public(key)),
                      pqe_public_key_did(pqe_signing_key_public(again))) == 0);
    pqe_signing_key_free(&key);
    pqe_signing_key_free(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    pqe_trust *trust = NULL;
    pqe_status status;

    FUZZ_CHECK(pqe_trust_new(&trust, NULL) == PQE_OK);
    status = pqe_trust_add_text(trust, text, size, NULL);
    FUZZ_CHECK(status == PQE_OK || status == PQE_E_MALFORMED);
    pqe_trust_free(&trust);
    check_private(text, size);
    return 0;
}
