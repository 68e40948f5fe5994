/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tpm2 backend keeps in the vault, and gets back unauthenticated. The bytes are in docs/format.md.
 *
 * The public area of the sealed key is not stored but built anew from what may vary in it (object.c): nothing that an
 * attacker writes here can loosen its attributes.
 */
#ifndef PQE_BACKEND_TPM2_STATE_H
#define PQE_BACKEND_TPM2_STATE_H

#include <pqc_enclave/backend.h>

#include "util/error.h"

#define PQE__TPM2_PIN 0x1u     /* opened by a PIN as well */
#define PQE__TPM2_COUNTER 0x2u /* has a counter */
#define PQE__TPM2_NOTE 0x4u    /* and room for a note beside it */

#define PQE__TPM2_NAME_SIZE 34u /* algorithm and SHA-256 */
#define PQE__TPM2_PRIVATE_MAX 512u
#define PQE__TPM2_STATE_SIZE(private_len) (146u + (private_len))

typedef struct pqe__tpm2_state {
    uint8_t flags;
    uint16_t parent_bits; /* AES of the storage key: 128 or 256 */
    uint8_t parent_name[PQE__TPM2_NAME_SIZE];
    uint8_t salt[32];  /* goes into the authorization value, with the PIN if there is one */
    uint16_t pcr_bank; /* 0: no PCRs */
    uint32_t pcr_mask;
    uint8_t policy[32];
    uint8_t unique[32];
    uint32_t nv_index; /* of the counter; the note has the next one */
    uint16_t private_len;
    uint8_t private_part[PQE__TPM2_PRIVATE_MAX];
} pqe__tpm2_state;

/** PQE_E_VERSION or PQE_E_TAMPERED. */
pqe_status pqe__tpm2_state_read(const uint8_t *data, size_t len, pqe__tpm2_state *out, pqe_error *err);
/** PQE_E_LIMIT if it does not fit. */
pqe_status pqe__tpm2_state_write(const pqe__tpm2_state *state, pqe_blob *out, pqe_error *err);
/** describe() of the SPI. */
bool pqe__tpm2_state_describe(const uint8_t *data, size_t len, char *text, size_t capacity);

#endif
