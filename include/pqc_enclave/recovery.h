/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways back: a vault restored from a backup.
 *
 * Where the backend has a counter (PQE_CAP_COUNTER of backend.h) every change of the vault advances it, and an older copy
 * of the vault's directory is refused with PQE_E_ROLLBACK by whatever unlocks it. A backup that is restored is such a copy:
 * whoever restored it says so here, once.
 */
#ifndef PQC_ENCLAVE_RECOVERY_H
#define PQC_ENCLAVE_RECOVERY_H

#include <pqc_enclave.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What was accepted. */
typedef struct pqe_rollback {
    uint64_t found;      /**< generation of the copy that was there */
    uint64_t expected;   /**< generation that the device acknowledged last; 0: its counter cannot tell any more */
    uint64_t generation; /**< generation of the vault from now on: greater than both */
} pqe_rollback;

/**
 * Unlocks a vault that pqe_vault_unlock() refuses with PQE_E_ROLLBACK, and makes it the one that the device expects: every
 * other copy, the one that was expected until now included, is refused from then on. A counter that is gone is made anew.
 * The audit log gets an entry. All that happened since the copy was made is lost with it: artifacts stored since, and
 * removals, policy changes, rotations and use counts too. Afterwards the vault is unlocked for `ttl_seconds` (0:
 * PQE_DEFAULT_TTL_SECONDS); on failure it is locked. `out` may be NULL.
 * Errors: PQE_E_STATE (the vault is not refused: there is nothing to accept), PQE_E_UNAVAILABLE (no device counts this
 * vault's changes), PQE_E_READ_ONLY, and those of pqe_vault_unlock(). Since 0.1.0.
 */
PQE_API pqe_status pqe_recovery_accept_rollback(pqe_vault *vault, uint32_t ttl_seconds, pqe_rollback *out,
                                                pqe_error *err);

#ifdef __cplusplus
}
#endif

#endif
