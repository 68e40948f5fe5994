/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows "tpm2:" — the way to the TPM, and what a new vault is bound to:
 *
 *     [TCTI][;OPTION]...
 *
 *     TCTI         as tpm2-tss takes it, with a colon in it: device:/dev/tpmrm0, swtpm:path=/run/swtpm.sock
 *     pin          a PIN as well, asked for like a passphrase
 *     pcrs=A:N,... bound to the present values of these PCRs of bank A (sha256, sha384, sha1); N from 0 to 23
 *     no-counter   without a counter in the TPM
 */
#ifndef PQE_BACKEND_TPM2_CONFIG_H
#define PQE_BACKEND_TPM2_CONFIG_H

#include <stdint.h>

#include "util/error.h"

typedef struct pqe__tpm2_config {
    char *tcti;        /* NULL: the kernel's resource manager */
    uint32_t pcr_mask; /* bit n: PCR n */
    uint16_t pcr_bank; /* TPM2_ALG_SHA256 and so on; 0: no PCRs */
    bool pin;
    bool no_counter;
} pqe__tpm2_config;

/** PQE_E_ARGUMENT; the text is not repeated in the message. */
pqe_status pqe__tpm2_config_parse(const char *text, pqe__tpm2_config *out, pqe_error *err);
void pqe__tpm2_config_free(pqe__tpm2_config *config);

/** Where a TPM should be: PQE_E_UNAVAILABLE with advice if there is none. Only looks, opens nothing. */
pqe_status pqe__tpm2_config_find(const pqe__tpm2_config *config, pqe_error *err);

/** "sha256"; NULL for a bank that is not known here. */
const char *pqe__tpm2_bank_name(uint16_t bank);

#endif
