/* SPDX-License-Identifier: Apache-2.0 */
/* Showing what evidence in an attestation says. */
#ifndef PQE_CLI_EVIDENCE_H
#define PQE_CLI_EVIDENCE_H

#include <jansson.h>

#include <pqc_enclave/attest.h>

/** As an object; null where there is no attestation, or its evidence could not be judged. */
json_t *cli_evidence_json(const pqe_attestation *attestation, const pqe_trust *trust);
/** As lines; nothing where there is none. */
void cli_evidence_print(const pqe_attestation *attestation, const pqe_trust *trust);

#endif
