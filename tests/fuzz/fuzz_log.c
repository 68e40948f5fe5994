/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policies, use counts, entries and tails of the audit log, checkpoints: the first byte chooses. What decodes encodes to
 * the same bytes.
 */
#include "fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "audit/audit.h"
#include "policy/policy.h"

static void
policy(const uint8_t *data, size_t size)
{
    const pqe_policy_rule none = {.size = sizeof none, .artifact = "\x01 no such artifact"};
    uint8_t *again;
    bool found;
    size_t len;
    pqe__policy p;

    if (pqe__policy_decode(data, size, &p, NULL) != PQE_OK)
        return;
    if (pqe__policy_with(&p, &none, true, &found, &again, &len, NULL) == PQE_OK) {
        FUZZ_CHECK(found || (len == size && memcmp(again, data, len) == 0));
        free(again);
    } else {
        FUZZ_CHECK(p.count > PQE_POLICY_ARTIFACTS_MAX); /* more artifacts than may be set */
    }
    pqe__policy_free(&p);
}

static void
uses(const uint8_t *data, size_t size)
{
    const pqe__clock now = {.boot_ms = 1000000, .wall_ms = 1000000};
    uint8_t *again;
    size_t len;
    pqe__uses u;

    if (pqe__uses_decode(data, size, &u, NULL) != PQE_OK)
        return;
    if (size != 0) {
        FUZZ_CHECK(pqe__uses_encode(&u, &again, &len, NULL) == PQE_OK);
        FUZZ_CHECK(len == size && memcmp(again, data, len) == 0);
        free(again);
    }
    pqe__uses_advance(&u, &now);
    for (size_t i = 0; i < u.count; i++)
        FUZZ_CHECK(u.subjects[i].slot_count > 0);
    pqe__uses_free(&u);
}

static void
entry(const uint8_t *data, size_t size)
{
    static uint8_t again[PQE__AUDIT_BODY_MAX];
    pqe__event e;

    if (pqe__event_decode(data, size, &e, NULL) != PQE_OK)
        return;
    FUZZ_CHECK(pqe__event_encode(&e, again) == size && memcmp(again, data, size) == 0);
}

static void
tail(const uint8_t *data, size_t size)
{
    uint8_t again[PQE__TAIL_SIZE];
    pqe__tail t;

    if (pqe__tail_decode(data, size, &t, NULL) != PQE_OK)
        return;
    pqe__tail_encode(&t, again);
    FUZZ_CHECK(size == sizeof again && memcmp(again, data, size) == 0);
}

static void
checkpoint(const uint8_t *data, size_t size)
{
    char again[PQE__CHECKPOINT_TEXT];
    pqe__checkpoint p;
    size_t used;

    if (pqe__checkpoint_decode((const char *)data, size, &p, &used, NULL) != PQE_OK)
        return;
    FUZZ_CHECK(used <= size && pqe__checkpoint_encode(&p, again) == used && memcmp(again, data, used) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const parts[])(const uint8_t *, size_t) = {policy, uses, entry, tail, checkpoint};

    if (size > 0)
        parts[data[0] % 5](data + 1, size - 1);
    return 0;
}
