/* SPDX-License-Identifier: Apache-2.0 */
/* Heads: the first byte chooses the public or the private part. What decodes encodes to the same bytes. */
#include "fuzz/fuzz.h"

#include <string.h>

#include "format/format.h"
#include "util/text.h"

static void
public_part(const uint8_t *data, size_t size)
{
    uint8_t again[PQE__HEAD_PUBLIC_SIZE];
    const uint8_t *sealed;
    size_t sealed_len;
    pqe__head h;

    if (pqe__head_decode(data, size, &h, &sealed, &sealed_len, NULL) != PQE_OK)
        return;
    pqe__head_encode_public(&h, again);
    FUZZ_CHECK(size == PQE__HEAD_PUBLIC_SIZE + 4 + sealed_len && sealed + sealed_len == data + size);
    FUZZ_CHECK(memcmp(again, data, sizeof again) == 0);
}

static void
private_part(const uint8_t *data, size_t size)
{
    static uint8_t again[PQE__HEAD_PRIVATE_MAX];
    static pqe__head_private priv;
    pqe__wcur c = pqe__wcur_init(again, sizeof again);
    size_t len;

    if (pqe__head_decode_private(data, size, &priv, NULL) != PQE_OK)
        return;
    len = strnlen(priv.device_id, sizeof priv.device_id);
    FUZZ_CHECK(len < sizeof priv.device_id && pqe__utf8_valid(priv.device_id, len));
    FUZZ_CHECK(pqe__head_encode_private(&priv, &c, NULL) == PQE_OK);
    FUZZ_CHECK(size == 0 || (c.pos == size && memcmp(again, data, size) == 0));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] % 2 == 0)
        public_part(data + 1, size - 1);
    else
        private_part(data + 1, size - 1);
    return 0;
}
