/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One visit to the TPM: a connection that lasts for one operation and leaves nothing loaded behind.
 *
 * Nothing is kept open in between: a software TPM serves one connection at a time, a forked child inherits none, and
 * what a process that dies had loaded is dropped by the resource manager at once.
 */
#ifndef PQE_BACKEND_TPM2_DEVICE_H
#define PQE_BACKEND_TPM2_DEVICE_H

#include "backend/tpm2/config.h"
#include "backend/tpm2/tss.h"

#define PQE__TPM2_LOADED_MAX 6

typedef struct pqe__tpm2_device {
    const pqe__tss *t;
    ESYS_CONTEXT *esys;
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_TR loaded[PQE__TPM2_LOADED_MAX]; /* objects and sessions to be flushed, oldest first */
    size_t loaded_count;
    TSS2_RC last; /* what the last failing call returned */
} pqe__tpm2_device;

/** An operation. It may be run again from its start after a failure that passes. */
typedef pqe_status (*pqe__tpm2_fn)(pqe__tpm2_device *d, void *arg, pqe_error *err);

/** Connects, runs it, flushes everything it loaded, disconnects. Where the TPM is busy or full, again after
 *  a pause, for 10 to 20 seconds. */
pqe_status pqe__tpm2_visit(const pqe__tpm2_config *config, pqe__tpm2_fn fn, void *arg, pqe_error *err);

/** Has `handle` flushed at the end of the visit. */
void pqe__tpm2_keep(pqe__tpm2_device *d, ESYS_TR handle);
/** Flushes it now: a TPM has room for three objects. Failure to is of no consequence. */
void pqe__tpm2_flush(pqe__tpm2_device *d, ESYS_TR handle);

/** The TPM's own part of a return code, without the number of the handle, parameter or session: TPM2_RC_*; 0 if it is
 *  not from the TPM. */
TPM2_RC pqe__tpm2_rc(TSS2_RC rc);
/** The error for a call that failed in a way that nobody foresaw. `what` is a verb phrase. */
pqe_status pqe__tpm2_fail(pqe__tpm2_device *d, TSS2_RC rc, const char *what, pqe_error *err);

/** A capability of the TPM; to be freed with Esys_Free. */
TSS2_RC pqe__tpm2_capability(pqe__tpm2_device *d, TPM2_CAP capability, UINT32 property, UINT32 count,
                             TPMS_CAPABILITY_DATA **out);

#endif
