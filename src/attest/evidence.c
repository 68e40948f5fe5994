/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Evidence in attestations: what a chip signed about itself, over the very statement that carries it. Every piece of a
 * known kind must be signed by one trusted key, answer the statement's nonce, and fit the others.
 */
#include <stdlib.h>
#include <string.h>

#include "attest/attest.h"
#include "attest/tpm.h"
#include "util/text.h"

static const char *const state_names[] = {
    [PQE_EVIDENCE_ABSENT] = "absent",
    [PQE_EVIDENCE_NOT_CHECKED] = "not-checked",
    [PQE_EVIDENCE_VERIFIED] = "verified",
    [PQE_EVIDENCE_FAILED] = "failed",
};

static const struct {
    const char *type;
    pqe__tpm_kind kind;
} kinds[] = {
    {"tpm2-quote", PQE__TPM_QUOTE}, {"tpm2-certify", PQE__TPM_CERTIFY}, {"tpm2-nv-certify", PQE__TPM_NV_CERTIFY}};

#define KINDS (sizeof kinds / sizeof kinds[0])

const char *
pqe_evidence_state_name(pqe_evidence_state state)
{
    return (size_t)state < sizeof state_names / sizeof state_names[0] ? state_names[state] : NULL;
}

static bool
known_kind(pqe_text type, pqe__tpm_kind *kind)
{
    for (size_t i = 0; i < KINDS; i++) {
        if (type.len != strlen(kinds[i].type) || memcmp(type.data, kinds[i].type, type.len) != 0)
            continue;
        *kind = kinds[i].kind;
        return true;
    }
    return false;
}

pqe_status
pqe__evidence_nonce(const pqe_attestation *a, uint8_t nonce[PQE__SHA256_SIZE], pqe_error *err)
{
    size_t room = pqe__evidence_room(a);
    uint8_t *bound = malloc(room);
    pqe__wcur c = pqe__wcur_init(bound, bound != NULL ? room : 0);
    pqe_status status;

    if (bound == NULL)
        return pqe__fail_nomem(err);
    pqe__evidence_put_bound(&c, a);
    status = c.ok ? pqe__hash_once(PQE__SHA256, bound, c.pos, nonce, err)
                  : pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_FORMAT, 0, "no evidence can be given for these claims");
    free(bound);
    return status;
}

/* ---- one piece ---- */

/* What the pieces so far have in common. */
typedef struct inquiry {
    const pqe_trust *trust;
    const pqe__ecdsa_key *key; /* that signed them */
    uint8_t nonce[PQE__SHA256_SIZE];
    bool seen[KINDS];
    bool any;
    pqe__tpm_statement first;
    pqe_evidence_report *report;
} inquiry;

/* The first piece says whose evidence it is: keys are tried until one fits. *why NULL: it is genuine. */
static pqe_status
check_signature(inquiry *q, const pqe__tpm_signed *split, const char **why, pqe_error *err)
{
    const pqe_trust *t = q->trust;
    size_t count = q->key != NULL ? 1 : t->evidence_count;
    pqe_status status = PQE_E_ATTESTATION;

    for (size_t i = 0; i < count && status == PQE_E_ATTESTATION; i++) {
        const pqe__ecdsa_key *key = q->key != NULL ? q->key : t->evidence_keys[i];
        status = pqe__ecdsa_verify(key, split->statement.data, split->statement.len, split->r, split->s, err);
        if (status == PQE_OK)
            q->key = key;
    }
    *why = status == PQE_E_ATTESTATION ? "a piece of it is not signed by a trusted key, or not by that of the others"
                                       : NULL;
    return status == PQE_E_ATTESTATION ? PQE_OK : status;
}

/* What one TPM says within one start of its machine. */
static bool
fits(const pqe__tpm_statement *a, const pqe__tpm_statement *b)
{
    return a->signer_len == b->signer_len && memcmp(a->signer, b->signer, a->signer_len) == 0 &&
           a->firmware == b->firmware && a->resets == b->resets && a->restarts == b->restarts;
}

static const char *
check_statement(inquiry *q, pqe__tpm_kind kind, pqe_bytes statement, pqe__tpm_statement *s)
{
    if (!pqe__tpm_read(statement, s))
        return "a piece of it is not a statement of a TPM about itself";
    if (s->kind != kind)
        return "a piece of it is of another kind than it is said to be";
    if (!pqe__equal(s->nonce, q->nonce, sizeof q->nonce))
        return "it was given for another statement: another challenge, signer, content or time";
    if (q->seen[kind])
        return "it has two pieces of one kind";
    if (q->any && !fits(s, &q->first))
        return "its pieces are not of one TPM and one start of the machine";
    return NULL;
}

static void
report_statement(pqe_evidence_report *r, const pqe__tpm_statement *s)
{
    r->firmware = s->firmware;
    r->clock_ms = s->clock_ms;
    r->clock_safe = s->clock_safe;
    r->resets = s->resets;
    r->restarts = s->restarts;
    if (s->kind == PQE__TPM_QUOTE) {
        r->has_pcrs = true;
        memcpy(r->pcr_selection, s->pcr_selection, sizeof r->pcr_selection);
        pqe__hex_encode(s->pcr_digest, sizeof s->pcr_digest, r->pcr_digest);
    } else if (s->kind == PQE__TPM_CERTIFY) {
        r->has_object = true;
        pqe__hex_encode(s->name, s->name_len, r->object_name);
    } else {
        r->has_counter = true;
        r->counter = s->counter;
        pqe__hex_encode(s->name, s->name_len, r->counter_name);
    }
}

/* The signature first: nothing is made of bytes that are nobody's. */
static pqe_status
check_piece(inquiry *q, pqe__tpm_kind kind, pqe_bytes piece, const char **why, pqe_error *err)
{
    pqe__tpm_signed split;
    pqe__tpm_statement s;
    pqe_status status = PQE_OK;

    *why = NULL;
    if (!pqe__tpm_split(piece.data, piece.len, &split))
        *why = "a piece of it is malformed";
    else
        status = check_signature(q, &split, why, err);
    if (status != PQE_OK || *why != NULL)
        return status;
    if ((*why = check_statement(q, kind, split.statement, &s)) != NULL)
        return PQE_OK;
    if (!q->any)
        q->first = s;
    q->any = q->seen[kind] = true;
    report_statement(q->report, &s);
    return PQE_OK;
}

/* ---- all of it ---- */

static pqe_status
check_all(const pqe_attestation *a, const pqe_trust *trust, pqe_evidence_report *r, pqe_error *err)
{
    inquiry q = {.trust = trust, .report = r};
    const char *why = NULL;
    pqe__tpm_kind kind;
    pqe_status status;

    if (!pqe__tpm_readable())
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_API, 0,
                         "evidence of a TPM cannot be read here: libtss2-mu.so.0 of tpm2-tss is missing, or was when "
                         "this library was built");
    status = pqe__evidence_nonce(a, q.nonce, err);
    for (size_t i = 0; i < a->evidence_count && status == PQE_OK && why == NULL; i++)
        if (known_kind(a->evidence[i].type, &kind))
            status = check_piece(&q, kind, a->evidence[i].data, &why, err);
    if (status != PQE_OK)
        return status;
    if (why != NULL) {
        *r = (pqe_evidence_report){
            .size = sizeof *r, .pieces = r->pieces, .unknown = r->unknown, .state = PQE_EVIDENCE_FAILED, .reason = why};
        return PQE_OK;
    }
    r->state = PQE_EVIDENCE_VERIFIED;
    r->signature = "ECDSA P-256 with SHA-256: classical, not quantum-safe";
    pqe__hex_encode(pqe__ecdsa_fingerprint(q.key), PQE__SHA256_SIZE, r->key);
    return PQE_OK;
}

static pqe_status
examine(const pqe_attestation *a, const pqe_trust *trust, pqe_evidence_report *r, pqe_error *err)
{
    pqe__tpm_kind kind;

    *r = (pqe_evidence_report){.size = sizeof *r};
    for (size_t i = 0; i < a->evidence_count; i++)
        if (known_kind(a->evidence[i].type, &kind))
            r->pieces++;
        else
            r->unknown++;
    if (a->evidence_count == 0)
        return PQE_OK;
    r->state = PQE_EVIDENCE_NOT_CHECKED;
    if (r->pieces == 0 || trust == NULL || trust->evidence_count == 0)
        return PQE_OK;
    return check_all(a, trust, r, err);
}

pqe_status
pqe_attestation_evidence(const pqe_attestation *attestation, const pqe_trust *trust, pqe_evidence_report *report,
                         pqe_error *err)
{
    pqe_evidence_report r;
    pqe_status status;

    if (attestation == NULL || report == NULL || report->size < sizeof r)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0,
                         "an attestation and a report with its size are required");
    if (attestation->version == 2 && attestation->origin != attestation)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "a copy of an attestation cannot be verified");
    status = examine(attestation, trust, &r, err);
    if (status != PQE_OK)
        r = (pqe_evidence_report){.size = sizeof r};
    r.size = report->size;
    memcpy(report, &r, sizeof r);
    return status;
}

pqe_status
pqe__evidence_judge(const pqe_attestation *a, const pqe_trust *trust, const char *expected_pcr_digest,
                    pqe_verdict *verdict, pqe_error *err)
{
    pqe_evidence_report r;
    pqe_status status;

    if (trust == NULL || trust->evidence_count == 0)
        return PQE_OK;
    *verdict = PQE_VERDICT_EVIDENCE;
    status = examine(a, trust, &r, err);
    if (status != PQE_OK || r.state == PQE_EVIDENCE_FAILED)
        return status;
    if (r.state != PQE_EVIDENCE_VERIFIED)
        *verdict = PQE_VERDICT_NO_EVIDENCE;
    else if (expected_pcr_digest != NULL && (!r.has_pcrs || strcmp(r.pcr_digest, expected_pcr_digest) != 0))
        *verdict = PQE_VERDICT_PCR;
    else
        *verdict = PQE_VERDICT_PASS;
    return PQE_OK;
}
