/* SPDX-License-Identifier: Apache-2.0 */
/* Reading, writing and describing the backend's state. */
#include "backend/tpm2/state.h"

#include <stdio.h>
#include <string.h>

#include "backend/tpm2/config.h"
#include "backend/tpm2/counter.h"
#include "util/cursor.h"

#define VERSION 1u
#define FLAGS (PQE__TPM2_PIN | PQE__TPM2_COUNTER | PQE__TPM2_NOTE)
#define PCR_ALL 0xffffffu

/* Every field in a range that the rest of the backend can work with. */
static bool
makes_sense(const pqe__tpm2_state *s)
{
    bool has_counter = (s->flags & PQE__TPM2_COUNTER) != 0;

    return (s->flags & ~FLAGS) == 0 && (has_counter || (s->flags & PQE__TPM2_NOTE) == 0) &&
           (s->parent_bits == 128 || s->parent_bits == 256) &&
           (s->pcr_bank == 0 ? s->pcr_mask == 0 : pqe__tpm2_bank_name(s->pcr_bank) != NULL && s->pcr_mask != 0) &&
           (s->pcr_mask & ~PCR_ALL) == 0 && (has_counter ? pqe__tpm2_counter_place_ok(s->nv_index) : s->nv_index == 0);
}

pqe_status
pqe__tpm2_state_read(const uint8_t *data, size_t len, pqe__tpm2_state *out, pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(data, len);
    uint8_t version = pqe__get_u8(&c);
    const uint8_t *private_part;

    if (c.ok && version != VERSION)
        return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_FORMAT, 0, "the tpm2 backend's state is of another version");
    out->flags = pqe__get_u8(&c);
    out->parent_bits = pqe__get_u16(&c);
    pqe__get_copy(&c, out->parent_name, sizeof out->parent_name);
    pqe__get_copy(&c, out->salt, sizeof out->salt);
    out->pcr_bank = pqe__get_u16(&c);
    out->pcr_mask = pqe__get_u32(&c);
    pqe__get_copy(&c, out->policy, sizeof out->policy);
    pqe__get_copy(&c, out->unique, sizeof out->unique);
    out->nv_index = pqe__get_u32(&c);
    out->private_len = pqe__get_u16(&c);
    private_part = pqe__get_bytes(&c, out->private_len);
    if (!pqe__rcur_done(&c) || out->private_len == 0 || out->private_len > sizeof out->private_part ||
        !makes_sense(out))
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "the tpm2 backend's state is malformed");
    memcpy(out->private_part, private_part, out->private_len);
    return PQE_OK;
}

pqe_status
pqe__tpm2_state_write(const pqe__tpm2_state *s, pqe_blob *out, pqe_error *err)
{
    pqe__wcur c = pqe__wcur_init(out->data, out->capacity);

    pqe__put_u8(&c, VERSION);
    pqe__put_u8(&c, s->flags);
    pqe__put_u16(&c, s->parent_bits);
    pqe__put_bytes(&c, s->parent_name, sizeof s->parent_name);
    pqe__put_bytes(&c, s->salt, sizeof s->salt);
    pqe__put_u16(&c, s->pcr_bank);
    pqe__put_u32(&c, s->pcr_mask);
    pqe__put_bytes(&c, s->policy, sizeof s->policy);
    pqe__put_bytes(&c, s->unique, sizeof s->unique);
    pqe__put_u32(&c, s->nv_index);
    pqe__put_u16(&c, s->private_len);
    pqe__put_bytes(&c, s->private_part, s->private_len);
    out->len = c.ok ? c.pos : 0;
    return c.ok ? PQE_OK
                : pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_BACKEND, 0, "the buffer is too small for the backend's state");
}

/* ", PCRs sha256:0,7" */
static void
describe_pcrs(const pqe__tpm2_state *s, char *text, size_t capacity)
{
    int n;

    text[0] = '\0';
    if (s->pcr_bank == 0)
        return;
    n = snprintf(text, capacity, ", PCRs %s", pqe__tpm2_bank_name(s->pcr_bank));
    for (unsigned i = 0, first = 1; i < 24 && n > 0 && (size_t)n < capacity; i++)
        if ((s->pcr_mask & (1u << i)) != 0) {
            n += snprintf(text + n, capacity - (size_t)n, "%c%u", first != 0 ? ':' : ',', i);
            first = 0;
        }
}

bool
pqe__tpm2_state_describe(const uint8_t *data, size_t len, char *text, size_t capacity)
{
    pqe__tpm2_state s;
    char pcrs[96];

    if (pqe__tpm2_state_read(data, len, &s, NULL) != PQE_OK)
        return false;
    describe_pcrs(&s, pcrs, sizeof pcrs);
    snprintf(text, capacity, "TPM 2.0, AES-%u storage parent%s%s%s", s.parent_bits,
             (s.flags & PQE__TPM2_PIN) != 0 ? ", PIN" : "", pcrs,
             (s.flags & PQE__TPM2_NOTE) != 0      ? ", counter with note"
             : (s.flags & PQE__TPM2_COUNTER) != 0 ? ", counter"
                                                  : ", no counter");
    return true;
}
