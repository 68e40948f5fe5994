/* SPDX-License-Identifier: Apache-2.0 */
/* What a chip gives, and the keys for it. The first byte says what the rest is: a piece of evidence, a statement whose
   signature held, or a text of keys. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "attest/attest.h"
#include "attest/tpm.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

/* libtss2-mu writes about what it refuses. */
int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return setenv("TSS2_LOG", "all+none", 1);
}

static void
check_statement(const uint8_t *data, size_t size)
{
    static const uint8_t generated[] = {0xff, 'T', 'C', 'G'};
    pqe__tpm_statement s;

    if (!pqe__tpm_read((pqe_bytes){data, size}, &s))
        return;
    FUZZ_CHECK(size > sizeof generated && memcmp(data, generated, sizeof generated) == 0);
    FUZZ_CHECK(s.signer_len > 0 && s.signer_len <= sizeof s.signer && s.name_len <= sizeof s.name);
    FUZZ_CHECK(memmem(data, size, s.nonce, sizeof s.nonce) != NULL);
    FUZZ_CHECK(memchr(s.pcr_selection, 0, sizeof s.pcr_selection) != NULL);
    if (s.kind == PQE__TPM_QUOTE)
        FUZZ_CHECK(size >= sizeof s.pcr_digest &&
                   memcmp(data + size - sizeof s.pcr_digest, s.pcr_digest, sizeof s.pcr_digest) == 0);
    else
        FUZZ_CHECK(s.name_len > 0 && memmem(data, size, s.name, s.name_len) != NULL);
}

static void
check_piece(const uint8_t *data, size_t size)
{
    pqe__tpm_signed split;

    if (!pqe__tpm_split(data, size, &split))
        return;
    FUZZ_CHECK(split.statement.data == data + 2 && split.statement.len + 2 < size);
    check_statement(split.statement.data, split.statement.len);
}

static void
check_keys(const char *text, size_t size)
{
    pqe_trust *trust = NULL;
    pqe_status status;

    FUZZ_CHECK(pqe_trust_new(&trust, NULL) == PQE_OK);
    status = pqe_trust_add_evidence_keys(trust, text, size, NULL);
    FUZZ_CHECK(status == PQE_OK ? trust->evidence_count > 0 : status == PQE_E_MALFORMED && trust->evidence_count == 0);
    pqe_trust_free(&trust);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] == 0)
        check_piece(data + 1, size - 1);
    else if (data[0] == 1)
        check_statement(data + 1, size - 1);
    else
        check_keys((const char *)data + 1, size - 1);
    return 0;
}
