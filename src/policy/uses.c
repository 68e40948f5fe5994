/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Use counts and the time they are counted in.
 *
 * There is no clock here that nobody can set, so the counts keep a time of their own. It moves on by what both
 * CLOCK_BOOTTIME and the clock of day say has passed, whichever is less. So it never runs ahead of real time unless both
 * clocks lie, a clock of day that is set back costs one interval and no more, and after a start of the machine the time
 * it was off is not counted. What is wrong is wrong on the safe side: uses are forgotten late, not early.
 */
#include "policy/policy.h"

#include <stdlib.h>
#include <string.h>

#include "util/secmem.h"
#include "util/text.h"

#define USES_VERSION 1u
#define SUBJECTS_MAX 512u

/* ---- time ---- */

void
pqe__clock_read(pqe__clock *out)
{
    pqe__boot_id(out->boot_id);
    out->boot_ms = pqe__boottime_ns() / 1000000u;
    out->wall_ms = pqe__walltime_ms();
}

uint64_t
pqe__clock_elapsed(const pqe__clock *before, const pqe__clock *now)
{
    static const uint8_t unknown[16];
    bool same_boot = memcmp(before->boot_id, now->boot_id, sizeof now->boot_id) == 0;
    uint64_t by_boot, by_wall;

    if (same_boot && now->boot_ms >= before->boot_ms)
        by_boot = now->boot_ms - before->boot_ms;
    else if (same_boot && memcmp(now->boot_id, unknown, sizeof unknown) != 0)
        by_boot = 0; /* within one boot this clock does not go back: somebody plays with it */
    else
        by_boot = now->boot_ms; /* since this start */
    by_wall = now->wall_ms > before->wall_ms ? (uint64_t)now->wall_ms - (uint64_t)before->wall_ms : 0;
    return by_boot < by_wall ? by_boot : by_wall;
}

static bool
is_past(const pqe__uses *uses, const pqe__use_slot *slot)
{
    /* The use may have been at the slot's very end. */
    return uses->now_ms >= ((uint64_t)slot->slot + 1) * PQE__USE_SLOT_MS + PQE__USE_WINDOW_MS;
}

void
pqe__uses_advance(pqe__uses *uses, const pqe__clock *now)
{
    size_t kept = 0;

    if (uses->count != 0)
        uses->now_ms += pqe__clock_elapsed(&uses->seen, now);
    uses->seen = *now;
    for (size_t i = 0; i < uses->count; i++) {
        pqe__use_subject *s = &uses->subjects[i];
        size_t past = 0;
        while (past < s->slot_count && is_past(uses, &s->slots[past]))
            past++;
        memmove(s->slots, s->slots + past, (s->slot_count - past) * sizeof s->slots[0]);
        s->slot_count -= past;
        if (s->slot_count != 0) {
            if (kept != i)
                uses->subjects[kept] = *s;
            kept++;
        }
    }
    uses->count = kept;
}

/* ---- counting ---- */

static pqe__use_subject *
find(const pqe__uses *uses, pqe_kind kind, pqe__text name)
{
    size_t len = kind != 0 ? 0 : name.len;

    for (size_t i = 0; i < uses->count; i++) {
        pqe__use_subject *s = &uses->subjects[i];
        if (s->kind == kind && s->name_len == len && (len == 0 || memcmp(s->name, name.data, len) == 0))
            return s;
    }
    return NULL;
}

uint64_t
pqe__uses_count(const pqe__uses *uses, pqe_kind kind, pqe__text name)
{
    const pqe__use_subject *s = find(uses, kind, name);
    uint64_t n = 0;

    for (size_t i = 0; s != NULL && i < s->slot_count; i++)
        if (!is_past(uses, &s->slots[i]))
            n += s->slots[i].count;
    return n;
}

static pqe_status
too_many(pqe_error *err)
{
    return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "too many uses are to be remembered at once");
}

static pqe_status
add_subject(pqe__uses *uses, pqe_kind kind, pqe__text name, pqe__use_subject **out, pqe_error *err)
{
    pqe__use_subject *s;

    if (uses->count == SUBJECTS_MAX || name.len > sizeof s->name)
        return too_many(err);
    if (uses->count == uses->capacity) {
        size_t capacity = uses->capacity != 0 ? 2 * uses->capacity : 4;
        void *grown = reallocarray(uses->subjects, capacity, sizeof *uses->subjects);
        if (grown == NULL)
            return pqe__fail_nomem(err);
        uses->subjects = grown;
        uses->capacity = capacity;
    }
    s = &uses->subjects[uses->count++];
    memset(s, 0, sizeof *s);
    s->kind = kind;
    if (kind == 0) {
        s->name_len = name.len;
        memcpy(s->name, name.data, name.len);
    }
    *out = s;
    return PQE_OK;
}

pqe_status
pqe__uses_add(pqe__uses *uses, pqe_kind kind, pqe__text name, uint32_t n, pqe_error *err)
{
    pqe__use_subject *s = find(uses, kind, name);
    uint32_t slot = (uint32_t)(uses->now_ms / PQE__USE_SLOT_MS);
    pqe_status status = PQE_OK;

    if (s == NULL)
        status = add_subject(uses, kind, name, &s, err);
    if (status != PQE_OK)
        return status;
    if (s->slot_count != 0 && s->slots[s->slot_count - 1].slot >= slot) {
        pqe__use_slot *last = &s->slots[s->slot_count - 1];
        last->count = last->count > UINT32_MAX - n ? UINT32_MAX : last->count + n;
        return PQE_OK;
    }
    if (s->slot_count == PQE__USE_SLOTS)
        return too_many(err);
    s->slots[s->slot_count++] = (pqe__use_slot){slot, n};
    return PQE_OK;
}

/* ---- encoding ---- */

void
pqe__uses_free(pqe__uses *uses)
{
    if (uses->subjects != NULL)
        pqe__wipe(uses->subjects, uses->capacity * sizeof *uses->subjects);
    free(uses->subjects);
    memset(uses, 0, sizeof *uses);
}

pqe_status
pqe__uses_encode(const pqe__uses *uses, uint8_t **bytes, size_t *len, pqe_error *err)
{
    pqe__wcur c = pqe__wcur_init(malloc(PQE__USES_MAX), PQE__USES_MAX);

    *bytes = NULL;
    *len = 0;
    if (c.data == NULL)
        return pqe__fail_nomem(err);
    pqe__put_u16(&c, USES_VERSION);
    pqe__put_bytes(&c, uses->seen.boot_id, sizeof uses->seen.boot_id);
    pqe__put_u64(&c, uses->seen.boot_ms);
    pqe__put_u64(&c, (uint64_t)uses->seen.wall_ms);
    pqe__put_u64(&c, uses->now_ms);
    pqe__put_u16(&c, (uint16_t)uses->count);
    for (size_t i = 0; i < uses->count; i++) {
        const pqe__use_subject *s = &uses->subjects[i];
        pqe__put_u8(&c, (uint8_t)s->kind);
        pqe__put_u16(&c, (uint16_t)s->name_len);
        pqe__put_bytes(&c, s->name, s->name_len);
        pqe__put_u16(&c, (uint16_t)s->slot_count);
        for (size_t k = 0; k < s->slot_count; k++) {
            pqe__put_u32(&c, s->slots[k].slot);
            pqe__put_u32(&c, s->slots[k].count);
        }
    }
    if (!c.ok) {
        free(c.data);
        return too_many(err);
    }
    *bytes = c.data;
    *len = c.pos;
    return PQE_OK;
}

static pqe_status
damaged(pqe_error *err)
{
    return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "the use counts are damaged");
}

static pqe_status
decode_subject(pqe__rcur *c, pqe__uses *out, pqe_error *err)
{
    pqe_kind kind = (pqe_kind)pqe__get_u8(c);
    pqe__text name = {NULL, pqe__get_u16(c)};
    pqe__use_subject *s;
    size_t slots;
    pqe_status status;

    name.data = (const char *)pqe__get_bytes(c, name.len);
    slots = pqe__get_u16(c);
    if (!c->ok || (kind == 0) != (name.len != 0) || (kind != 0 && pqe_kind_name(kind) == NULL) ||
        name.len > PQE_NAME_MAX || slots > PQE__USE_SLOTS || out->count == SUBJECTS_MAX ||
        find(out, kind, name) != NULL)
        return damaged(err);
    if ((status = add_subject(out, kind, name, &s, err)) != PQE_OK)
        return status;
    for (size_t i = 0; i < slots; i++) {
        s->slots[i].slot = pqe__get_u32(c);
        s->slots[i].count = pqe__get_u32(c);
        if (i > 0 && s->slots[i].slot <= s->slots[i - 1].slot)
            return damaged(err);
    }
    s->slot_count = slots;
    return c->ok ? PQE_OK : damaged(err);
}

pqe_status
pqe__uses_decode(const uint8_t *bytes, size_t len, pqe__uses *out, pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(bytes, len);
    uint16_t version;
    size_t count;
    pqe_status status = PQE_OK;

    memset(out, 0, sizeof *out);
    if (len == 0)
        return PQE_OK;
    version = pqe__get_u16(&c);
    pqe__get_copy(&c, out->seen.boot_id, sizeof out->seen.boot_id);
    out->seen.boot_ms = pqe__get_u64(&c);
    out->seen.wall_ms = (int64_t)pqe__get_u64(&c);
    out->now_ms = pqe__get_u64(&c);
    count = pqe__get_u16(&c);
    if (version != USES_VERSION)
        status = damaged(err);
    for (size_t i = 0; i < count && status == PQE_OK; i++)
        status = decode_subject(&c, out, err);
    if (status == PQE_OK && !pqe__rcur_done(&c))
        status = damaged(err);
    if (status != PQE_OK)
        pqe__uses_free(out);
    return status;
}
