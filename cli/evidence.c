/* SPDX-License-Identifier: Apache-2.0 */
/* Showing what evidence in an attestation says. */
#include "evidence.h"

#include <inttypes.h>
#include <stdio.h>

#include "report.h"

static bool
get_report(const pqe_attestation *a, const pqe_trust *trust, pqe_evidence_report *r)
{
    *r = (pqe_evidence_report){.size = sizeof *r};
    return a != NULL && pqe_attestation_evidence(a, trust, r, NULL) == PQE_OK;
}

static json_t *
text_if(bool there, const char *text)
{
    return there ? json_string(text) : json_null();
}

static json_t *
number_if(bool there, uint64_t value)
{
    return there && value <= INT64_MAX ? json_integer((json_int_t)value) : json_null();
}

static void
format_firmware(const pqe_evidence_report *r, char out[17])
{
    snprintf(out, 17, "%016" PRIx64, r->firmware);
}

json_t *
cli_evidence_json(const pqe_attestation *a, const pqe_trust *trust)
{
    pqe_evidence_report r;
    char firmware[17];
    bool ok;

    if (!get_report(a, trust, &r))
        return json_null();
    ok = r.state == PQE_EVIDENCE_VERIFIED;
    format_firmware(&r, firmware);
    return json_pack("{s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "state",
                     pqe_evidence_state_name(r.state), "pieces", (json_int_t)r.pieces, "unknown_pieces",
                     (json_int_t)r.unknown, "reason", text_if(r.reason != NULL, r.reason), "signature",
                     text_if(ok, r.signature), "quantum_safe", ok ? json_false() : json_null(), "key",
                     text_if(ok, r.key), "firmware", text_if(ok, firmware), "clock_ms", number_if(ok, r.clock_ms),
                     "clock_safe", ok ? json_boolean(r.clock_safe) : json_null(), "resets", number_if(ok, r.resets),
                     "restarts", number_if(ok, r.restarts), "pcr_selection", text_if(r.has_pcrs, r.pcr_selection),
                     "pcr_digest", text_if(r.has_pcrs, r.pcr_digest), "object_name",
                     text_if(r.has_object, r.object_name), "counter", number_if(r.has_counter, r.counter),
                     "counter_name", text_if(r.has_counter, r.counter_name));
}

static void
print_verified(const pqe_evidence_report *r)
{
    char firmware[17], text[128];

    cli_put_field("evidence", "verified");
    cli_put_field("signed with", r->signature);
    cli_put_field("evidence key", r->key);
    if (r->has_pcrs) {
        cli_put_field("PCRs", r->pcr_selection);
        cli_put_field("PCR digest", r->pcr_digest);
    }
    format_firmware(r, firmware);
    cli_put_field("TPM firmware", firmware);
    snprintf(text, sizeof text, "%" PRIu64 " ms%s, %" PRIu32 " resets, %" PRIu32 " restarts", r->clock_ms,
             r->clock_safe ? "" : " (it may have said more)", r->resets, r->restarts);
    cli_put_field("TPM clock", text);
    if (r->has_object)
        cli_put_field("sealed key", r->object_name);
    if (r->has_counter) {
        snprintf(text, sizeof text, "%" PRIu64, r->counter);
        cli_put_field("counter", text);
        cli_put_field("counter's name", r->counter_name);
    }
}

void
cli_evidence_print(const pqe_attestation *a, const pqe_trust *trust)
{
    pqe_evidence_report r;
    char text[64];

    if (!get_report(a, trust, &r) || r.state == PQE_EVIDENCE_ABSENT)
        return;
    if (r.state == PQE_EVIDENCE_VERIFIED)
        print_verified(&r);
    else
        cli_put_field("evidence", r.pieces != 0 ? "not checked: no --evidence-trust" : "not checked");
    if (r.unknown == 0)
        return;
    snprintf(text, sizeof text, "%zu piece%s, not checked", r.unknown, r.unknown == 1 ? "" : "s");
    cli_put_field("unknown kind", text);
}
