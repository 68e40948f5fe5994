/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access rules and use counts: encodings and decisions, without keys, files or clocks of its own. The vault keeps the
 * bytes, tells the time and enforces what is decided here. Bytes: docs/format.md.
 */
#ifndef PQE_POLICY_POLICY_H
#define PQE_POLICY_POLICY_H

#include <pqc_enclave/policy.h>

#include "format/format.h"

#define PQE__POLICY_MAX (256u << 10) /* bytes of an encoded policy */
#define PQE__USES_MAX (256u << 10)   /* bytes of encoded use counts */

/* ---- rules ---- */

typedef struct pqe__rule {
    pqe_kind kind;  /* 0: of an artifact */
    pqe__text name; /* empty for a kind */
    bool presence;
    uint32_t max_uses;
    size_t allowed_count;
    pqe__text *allowed; /* in byte order, none twice */
} pqe__rule;

/** Rules in order: kinds by value, then artifacts by name in byte order; none twice. All texts lie in `bytes`. */
typedef struct pqe__policy {
    uint8_t *bytes;
    size_t len;
    size_t count;
    pqe__rule *rules;
} pqe__policy;

/** Copies `bytes`. Refuses anything that pqe__policy_with() would not have written. */
pqe_status pqe__policy_decode(const uint8_t *bytes, size_t len, pqe__policy *out, pqe_error *err);
void pqe__policy_free(pqe__policy *policy);
/** The encoding of `policy` with the rule for rule's subject replaced by `rule`, or, where `remove`, without it (*found
 *  says whether there was one). *bytes is allocated. PQE_E_ARGUMENT, PQE_E_LIMIT. */
pqe_status pqe__policy_with(const pqe__policy *policy, const pqe_policy_rule *rule, bool remove, bool *found,
                            uint8_t **bytes, size_t *len, pqe_error *err);
/** The rule for a kind, or with kind 0 for a name; NULL if there is none. */
const pqe__rule *pqe__policy_find(const pqe__policy *policy, pqe_kind kind, pqe__text name);
/** Does the rule let this caller in? `caller` may be NULL; no rule (NULL) lets everybody in. */
bool pqe__rule_allows(const pqe__rule *rule, const char *caller);

/* ---- use counts ---- */

#define PQE__USE_WINDOW_MS 3600000u
#define PQE__USE_SLOT_MS 10000u /* uses are remembered by the slot of time they fell in */
#define PQE__USE_SLOTS 364u     /* slots that a window touches, and a little more */

/** What clocks say at a moment. */
typedef struct pqe__clock {
    uint8_t boot_id[16];
    uint64_t boot_ms; /* CLOCK_BOOTTIME */
    int64_t wall_ms;  /* the clock of day, which anyone may have set */
} pqe__clock;

void pqe__clock_read(pqe__clock *out);
/** Milliseconds that have surely passed: the lesser of what both clocks say, and over a start of the machine only what
 *  passed since. */
uint64_t pqe__clock_elapsed(const pqe__clock *before, const pqe__clock *now);

typedef struct pqe__use_slot {
    uint32_t slot; /* in units of PQE__USE_SLOT_MS of the counts' own time */
    uint32_t count;
} pqe__use_slot;

typedef struct pqe__use_subject {
    pqe_kind kind; /* 0: an artifact */
    size_t name_len;
    char name[PQE_NAME_MAX];
    size_t slot_count;
    pqe__use_slot slots[PQE__USE_SLOTS]; /* in ascending order */
} pqe__use_subject;

typedef struct pqe__uses {
    pqe__clock seen; /* when the counts' own time was last moved on */
    uint64_t now_ms; /* the counts' own time: never goes back, never faster than real time */
    size_t count, capacity;
    pqe__use_subject *subjects;
} pqe__uses;

/** `len` 0: no counts yet. */
pqe_status pqe__uses_decode(const uint8_t *bytes, size_t len, pqe__uses *out, pqe_error *err);
/** *bytes is allocated. PQE_E_LIMIT if there are too many. */
pqe_status pqe__uses_encode(const pqe__uses *uses, uint8_t **bytes, size_t *len, pqe_error *err);
void pqe__uses_free(pqe__uses *uses);
/** Moves their time on and forgets what is past the window. */
void pqe__uses_advance(pqe__uses *uses, const pqe__clock *now);
/** Uses within the window. */
uint64_t pqe__uses_count(const pqe__uses *uses, pqe_kind kind, pqe__text name);
/** Counts `n` uses now. */
pqe_status pqe__uses_add(pqe__uses *uses, pqe_kind kind, pqe__text name, uint32_t n, pqe_error *err);

#endif
