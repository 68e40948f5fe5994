/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TPM Software Stack (tpm2-tss, ESAPI), loaded when the first TPM is opened.
 *
 * Linked plainly, its libraries and their libcrypto would be loaded by every process that uses ours, and processes with
 * an OpenSSL of their own would have two; docs/decisions says more. Once loaded they stay.
 */
#ifndef PQE_BACKEND_TPM2_TSS_H
#define PQE_BACKEND_TPM2_TSS_H

#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_tctildr.h>

#include "util/error.h"

#define PQE__TSS_TCTILDR(X)                                                                                            \
    X(Tss2_TctiLdr_Initialize)                                                                                         \
    X(Tss2_TctiLdr_Finalize)

#define PQE__TSS_MU(X)                                                                                                 \
    X(Tss2_MU_TPM2B_ATTEST_Marshal)                                                                                    \
    X(Tss2_MU_TPMT_SIGNATURE_Marshal)

#define PQE__TSS_ESYS(X)                                                                                               \
    X(Esys_Initialize)                                                                                                 \
    X(Esys_Finalize)                                                                                                   \
    X(Esys_Free)                                                                                                       \
    X(Esys_Startup)                                                                                                    \
    X(Esys_TestParms)                                                                                                  \
    X(Esys_GetCapability)                                                                                              \
    X(Esys_FlushContext)                                                                                               \
    X(Esys_TR_Close)                                                                                                   \
    X(Esys_TR_FromTPMPublic)                                                                                           \
    X(Esys_TR_GetName)                                                                                                 \
    X(Esys_TR_SetAuth)                                                                                                 \
    X(Esys_TRSess_SetAttributes)                                                                                       \
    X(Esys_StartAuthSession)                                                                                           \
    X(Esys_PolicyPCR)                                                                                                  \
    X(Esys_PolicyAuthValue)                                                                                            \
    X(Esys_PolicyGetDigest)                                                                                            \
    X(Esys_CreatePrimary)                                                                                              \
    X(Esys_Create)                                                                                                     \
    X(Esys_Load)                                                                                                       \
    X(Esys_Unseal)                                                                                                     \
    X(Esys_ReadPublic)                                                                                                 \
    X(Esys_ObjectChangeAuth)                                                                                           \
    X(Esys_NV_DefineSpace)                                                                                             \
    X(Esys_NV_UndefineSpace)                                                                                           \
    X(Esys_NV_ReadPublic)                                                                                              \
    X(Esys_NV_Read)                                                                                                    \
    X(Esys_NV_Write)                                                                                                   \
    X(Esys_NV_Increment)                                                                                               \
    X(Esys_Quote)                                                                                                      \
    X(Esys_Certify)                                                                                                    \
    X(Esys_NV_Certify)

typedef struct pqe__tss {
#define PQE__TSS_POINTER(function) __typeof__ (&(function))(function);
    PQE__TSS_TCTILDR(PQE__TSS_POINTER)
    PQE__TSS_MU(PQE__TSS_POINTER)
    PQE__TSS_ESYS(PQE__TSS_POINTER)
#undef PQE__TSS_POINTER
} pqe__tss;

/** The one instance. PQE_E_UNAVAILABLE if tpm2-tss is not installed here. */
pqe_status pqe__tss_load(const pqe__tss **out, pqe_error *err);

#endif
