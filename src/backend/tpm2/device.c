/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting, flushing, trying again. */
#include "backend/tpm2/device.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define ATTEMPTS 60         /* pauses of 9 to 18 s in all: 10 to 20 s with the attempts themselves */
#define PATIENT_ATTEMPTS 14 /* 2 to 4 s before it is taken that nobody will make room */
#define FIRST_PAUSE_MS 20L  /* doubled each time, up to the longest; up to as much is added */
#define LONGEST_PAUSE_MS 160L

TPM2_RC
pqe__tpm2_rc(TSS2_RC rc)
{
    TSS2_RC layer = rc & TSS2_RC_LAYER_MASK;

    /* A resource manager passes the TPM's codes on, or answers with the same codes in its own name. */
    if (layer != TSS2_TPM_RC_LAYER && layer != TSS2_RESMGR_TPM_RC_LAYER && layer != TSS2_RESMGR_RC_LAYER)
        return 0;
    rc &= ~TSS2_RC_LAYER_MASK;
    return (rc & TPM2_RC_FMT1) != 0 ? rc & (TPM2_RC_FMT1 | 0x3f) : rc;
}

pqe_status
pqe__tpm2_fail(pqe__tpm2_device *d, TSS2_RC rc, const char *what, pqe_error *err)
{
    d->last = rc;
    switch (rc & TSS2_RC_LAYER_MASK) {
    case TSS2_TCTI_RC_LAYER:
        return pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_DEVICE, (int64_t)rc,
                         "cannot %s: the connection to the TPM failed", what);
    case TSS2_ESAPI_RC_LAYER:
        if ((rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_MEMORY)
            return pqe__fail_nomem(err);
        if ((rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_RSP_AUTH_FAILED)
            return pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_DEVICE, (int64_t)rc,
                             "cannot %s: what came back is not what the TPM answered", what);
        break;
    default:
        break;
    }
    return pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_DEVICE, (int64_t)rc, "the TPM does not %s (code 0x%X)", what,
                     (unsigned)rc);
}

TSS2_RC
pqe__tpm2_capability(pqe__tpm2_device *d, TPM2_CAP capability, UINT32 property, UINT32 count,
                     TPMS_CAPABILITY_DATA **out)
{
    TPMI_YES_NO more;
    TSS2_RC rc;

    *out = NULL;
    rc = d->t->Esys_GetCapability(d->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, capability, property, count, &more,
                                  out);
    if (rc == TSS2_RC_SUCCESS && (*out)->capability != capability) { /* it is a union: read as what it is not */
        d->t->Esys_Free(*out);
        *out = NULL;
        rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
    }
    return rc;
}

void
pqe__tpm2_keep(pqe__tpm2_device *d, ESYS_TR handle)
{
    if (d->loaded_count < PQE__TPM2_LOADED_MAX)
        d->loaded[d->loaded_count++] = handle;
    else
        d->t->Esys_FlushContext(d->esys, handle); /* what follows fails by it, rather than leave it behind */
}

void
pqe__tpm2_flush(pqe__tpm2_device *d, ESYS_TR handle)
{
    for (size_t i = d->loaded_count; i-- > 0;)
        if (d->loaded[i] == handle) {
            d->t->Esys_FlushContext(d->esys, handle);
            d->loaded_count--;
            memmove(&d->loaded[i], &d->loaded[i + 1], (d->loaded_count - i) * sizeof d->loaded[0]);
            return;
        }
}

/* ---- connecting ---- */

static pqe_status
arrive(pqe__tpm2_device *d, const pqe__tpm2_config *config, pqe_error *err)
{
    const char *tcti = config->tcti != NULL ? config->tcti : "device:/dev/tpmrm0";
    TSS2_RC rc = d->t->Tss2_TctiLdr_Initialize(tcti, &d->tcti);

    if (rc != TSS2_RC_SUCCESS)
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_DEVICE, (int64_t)rc, "cannot reach a TPM (%s)",
                         config->tcti == NULL ? "/dev/tpmrm0" : "as configured: no such device, service or TCTI");
    rc = d->t->Esys_Initialize(&d->esys, d->tcti, NULL);
    if (rc != TSS2_RC_SUCCESS) {
        d->t->Tss2_TctiLdr_Finalize(&d->tcti);
        return pqe__tpm2_fail(d, rc, "open the TPM", err);
    }
    return PQE_OK;
}

static void
depart(pqe__tpm2_device *d)
{
    while (d->loaded_count > 0)
        pqe__tpm2_flush(d, d->loaded[d->loaded_count - 1]);
    d->t->Esys_Finalize(&d->esys);
    d->t->Tss2_TctiLdr_Finalize(&d->tcti);
}

/*
 * Makes room: everything loaded is flushed. With a resource manager nothing is seen of what is others'. Without one (a
 * software TPM, a device of one's own) it is what somebody left who died; or somebody is at work and has to try again.
 */
static void
make_room(pqe__tpm2_device *d)
{
    static const UINT32 ranges[] = {TPM2_TRANSIENT_FIRST, TPM2_LOADED_SESSION_FIRST};

    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        TPMS_CAPABILITY_DATA *found;
        if (pqe__tpm2_capability(d, TPM2_CAP_HANDLES, ranges[i], TPM2_MAX_CAP_HANDLES, &found) != TSS2_RC_SUCCESS)
            continue;
        for (UINT32 k = 0; k < found->data.handles.count; k++) {
            ESYS_TR handle;
            if (d->t->Esys_TR_FromTPMPublic(d->esys, found->data.handles.handle[k], ESYS_TR_NONE, ESYS_TR_NONE,
                                            ESYS_TR_NONE, &handle) == TSS2_RC_SUCCESS)
                d->t->Esys_FlushContext(d->esys, handle);
        }
        d->t->Esys_Free(found);
    }
}

/* Whether a second attempt may end better; prepares it. */
static bool
passes(pqe__tpm2_device *d, int attempt)
{
    if (attempt == ATTEMPTS)
        return false;
    switch (pqe__tpm2_rc(d->last)) {
    case TPM2_RC_INITIALIZE: /* a software TPM that nobody has started yet */
        return d->t->Esys_Startup(d->esys, TPM2_SU_CLEAR) == TSS2_RC_SUCCESS;
    case TPM2_RC_OBJECT_MEMORY:
    case TPM2_RC_SESSION_MEMORY:
    case TPM2_RC_OBJECT_HANDLES:
    case TPM2_RC_SESSION_HANDLES:
        if (attempt % PATIENT_ATTEMPTS == 0)
            make_room(d);
        return true;
    case TPM2_RC_REFERENCE_H0: /* flushed by somebody who made room */
    case TPM2_RC_REFERENCE_H1:
    case TPM2_RC_REFERENCE_H2:
    case TPM2_RC_REFERENCE_S0:
    case TPM2_RC_REFERENCE_S1:
    case TPM2_RC_RETRY:
    case TPM2_RC_YIELDED:
    case TPM2_RC_TESTING:
    case TPM2_RC_CANCELED:
    case TPM2_RC_NV_RATE:
    case TPM2_RC_NV_UNAVAILABLE:
    case TPM2_RC_PCR_CHANGED: /* between PolicyPCR and the use of the session */
        return true;
    default:
        return false;
    }
}

static void
pause_ms(long ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    while (nanosleep(&left, &left) != 0)
        continue;
}

pqe_status
pqe__tpm2_visit(const pqe__tpm2_config *config, pqe__tpm2_fn fn, void *arg, pqe_error *err)
{
    pqe__tpm2_device d = {0};
    long pause = FIRST_PAUSE_MS;
    pqe_status status = pqe__tss_load(&d.t, err);

    for (int attempt = 1; status == PQE_OK; attempt++) {
        bool again;
        status = arrive(&d, config, err);
        if (status != PQE_OK)
            return status;
        d.last = 0;
        status = fn(&d, arg, err);
        again = status != PQE_OK && passes(&d, attempt);
        depart(&d);
        if (!again)
            return status;
        pause_ms(pause + (long)getpid() * attempt % pause); /* those who met do not meet again */
        pause = pause * 2 < LONGEST_PAUSE_MS ? pause * 2 : LONGEST_PAUSE_MS;
        status = PQE_OK;
    }
    return status;
}
