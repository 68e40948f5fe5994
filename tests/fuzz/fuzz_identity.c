/* SPDX-License-Identifier: Apache-2.0 */
/* Records of identities: what decodes encodes to the same bytes. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "format/format.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[1 << 20];
    pqe__wcur c = pqe__wcur_init(again, sizeof again);
    pqe__identity i;
    pqe_error err = {0};

    if (pqe__identity_decode(data, size, &i, &err) != PQE_OK) {
        FUZZ_CHECK(err.status == PQE_E_TAMPERED || err.status == PQE_E_VERSION);
        return 0;
    }
    pqe__identity_encode(&i, &c);
    FUZZ_CHECK(c.ok && c.pos == size && memcmp(again, data, size) == 0);
    return 0;
}
