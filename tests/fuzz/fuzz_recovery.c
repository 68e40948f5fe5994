/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of recovery keys: what decodes encodes to the same bytes. And words: what is taken for 24 of them says them again. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "crypto/mnemonic.h"
#include "format/format.h"

static void
try_words(const uint8_t *data, size_t size)
{
    uint8_t entropy[PQE__MNEMONIC_ENTROPY], again[PQE__MNEMONIC_ENTROPY];
    char words[PQE__MNEMONIC_MAX];
    pqe_error err = {0};

    if (pqe__mnemonic_decode((const char *)data, size, entropy, &err) != PQE_OK) {
        FUZZ_CHECK(err.status == PQE_E_MALFORMED);
        return;
    }
    FUZZ_CHECK(pqe__mnemonic_encode(entropy, words, NULL) == PQE_OK);
    FUZZ_CHECK(pqe__mnemonic_decode(words, strlen(words), again, NULL) == PQE_OK);
    FUZZ_CHECK(memcmp(entropy, again, sizeof again) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[PQE__RECOVERY_LIST_MAX];
    static pqe__recovery_list list;
    pqe__wcur c = pqe__wcur_init(again, sizeof again);
    pqe_error err = {0};

    try_words(data, size);
    if (pqe__recovery_list_decode(data, size, &list, &err) != PQE_OK) {
        FUZZ_CHECK(err.status == PQE_E_TAMPERED || err.status == PQE_E_VERSION);
        return 0;
    }
    pqe__recovery_list_encode(&list, &c);
    FUZZ_CHECK(c.ok && c.pos == size && memcmp(again, data, size) == 0);
    return 0;
}
