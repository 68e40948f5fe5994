/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies: eight bytes of plaintext size, then the stored body, under the seeds' DEK. Whatever is handed out must be
 * the seeds' content: nobody else has the key.
 */
#include "fuzz/fuzz.h"

#include <string.h>

#include "body/body.h"
#include "util/cursor.h"

typedef struct source {
    const uint8_t *data;
    size_t len;
} source;

static pqe_status
read_source(void *user, uint64_t offset, uint8_t *buf, size_t len, pqe_error *err)
{
    const source *s = user;

    if (offset > s->len || len > s->len - offset)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_IO, 0, "truncated");
    memcpy(buf, s->data + offset, len);
    return PQE_OK;
}

static void
read_some(pqe__body_reader *r, uint64_t plain, uint64_t offset, size_t len)
{
    static uint8_t buf[70000];
    size_t got = 0;
    pqe_status status = pqe__body_reader_read_at(r, offset, buf, len, &got, NULL);
    size_t left = offset < plain ? (size_t)(plain - offset) : 0;

    FUZZ_CHECK(status == PQE_OK || (status == PQE_E_DECRYPTION && got == 0));
    FUZZ_CHECK(status != PQE_OK || got == (len < left ? len : left));
    for (size_t i = 0; i < len; i++)
        FUZZ_CHECK(status == PQE_OK ? i >= got || buf[i] == fuzz_content((size_t)offset + i) : buf[i] == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pqe__rcur c = pqe__rcur_init(data, size);
    uint64_t plain = pqe__get_u64(&c);
    uint8_t dek[32], id[PQE__BODY_ID_SIZE];
    pqe__body_reader *r = NULL;
    source s = {.data = data + 8, .len = size - 8};

    if (!c.ok)
        return 0;
    memset(dek, FUZZ_BYTE, sizeof dek);
    memset(id, FUZZ_BYTE, sizeof id);
    if (pqe__body_reader_new(dek, id, s.len, plain, read_source, &s, &r, NULL) != PQE_OK) {
        FUZZ_CHECK(r == NULL);
        return 0;
    }
    read_some(r, plain, 0, 70000);
    read_some(r, plain, 0, 1);
    read_some(r, plain, 16383, 2);
    read_some(r, plain, 16384, 16384);
    read_some(r, plain, plain, 10);
    read_some(r, plain, plain / 2, 100);
    read_some(r, plain, UINT64_MAX, 100);
    pqe__body_reader_free(&r);
    return 0;
}
