/* SPDX-License-Identifier: Apache-2.0 */
/* Records: what decodes is within every limit and encodes to the same bytes. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "format/format.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[PQE__RECORD_MAX];
    pqe__wcur c = pqe__wcur_init(again, sizeof again);
    pqe__record r;
    pqe_error err = {0};

    if (pqe__record_decode(data, size, &r, &err) != PQE_OK) {
        FUZZ_CHECK(err.status == PQE_E_TAMPERED || err.status == PQE_E_VERSION);
        return 0;
    }
    FUZZ_CHECK(pqe__record_check(&r, NULL) == PQE_OK);
    pqe__record_encode(&r, &c);
    FUZZ_CHECK(c.ok && c.pos == size && memcmp(again, data, size) == 0);
    return 0;
}
