/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access policy: who may read which artifacts, whether a person must agree, and how often.
 *
 * Rules belong to a kind of artifact or to one artifact by its name. They are kept in the vault, authenticated by its
 * head, and asked by everything that hands out content (pqe_reader_open(), pqe_get() and what is built on them) before
 * the artifact's key is unwrapped. Where a kind and an artifact both have a rule, both must agree: the stricter wins.
 * No rule: allowed. pqe_verify(), pqe_info() and pqe_list() hand out no content and are not asked.
 *
 * The caller is what the program said of itself (pqe_vault_set_caller()). Within one process, and against whoever holds
 * the vault's key, a policy is advice; it binds where a process that others cannot alter stands between.
 *
 * Uses. One open of a reader is one use (pqe_get() is one open). Where a limit applies, the use is on disk before the
 * content is handed out, so a process killed afterwards has used it. All artifacts of a kind share the kind's limit. A
 * use is forgotten 3,600 to 3,610 seconds after it, never earlier: time counts only as far as both CLOCK_BOOTTIME and
 * the clock of day saw it pass, so setting the clock forward frees nothing, and of time in which the machine was off
 * only what follows the start counts. On a vault that cannot be written, limited artifacts cannot be read.
 *
 * Counts are authenticated and chained to the audit log, but a whole copy of the vault put back restores the counts that
 * it had (docs/threat-model.md).
 */
#ifndef PQC_ENCLAVE_POLICY_H
#define PQC_ENCLAVE_POLICY_H

#include <pqc_enclave.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PQE_POLICY_ARTIFACTS_MAX 128 /**< artifacts with a rule of their own */
#define PQE_POLICY_ALLOWED_MAX 64    /**< bundle ids in one rule, each of 1 to PQE_FIELD_MAX bytes */
#define PQE_POLICY_USES_MAX 1000000u /**< largest max_uses_per_hour */

/** One rule. Strings are copied when it is set, and valid during the call when it is shown. */
typedef struct pqe_policy_rule {
    size_t size;          /**< sizeof(pqe_policy_rule) */
    pqe_kind kind;        /**< the kind it is for; 0 for a rule of one artifact */
    const char *artifact; /**< the artifact's name, which need not exist yet; NULL for a rule of a kind */
    const char *const *allowed_bundle_ids; /**< `allowed_count` of them; none: any caller, also an unnamed one */
    size_t allowed_count;
    bool require_presence;      /**< the backend must ask the user each time; one that cannot denies */
    uint32_t max_uses_per_hour; /**< 0: no limit */
} pqe_policy_rule;

/**
 * Sets the rule for rule->kind or rule->artifact, replacing the one there was. Durable when it returns PQE_OK; other
 * processes follow it from their next call on. Uses counted so far stay counted.
 * Errors: PQE_E_ARGUMENT (both or neither of kind and artifact, bad strings), PQE_E_LIMIT, PQE_E_READ_ONLY, ...
 */
PQE_API pqe_status pqe_policy_set(pqe_vault *vault, const pqe_policy_rule *rule, pqe_error *err);

/** Removes the rule for `kind`, or with kind 0 for `artifact`. PQE_E_NOT_FOUND if there is none. */
PQE_API pqe_status pqe_policy_clear(pqe_vault *vault, pqe_kind kind, const char *artifact, pqe_error *err);

/** Called once a rule, kinds first; `uses` were counted within the last hour. Return false to stop. */
typedef bool (*pqe_policy_fn)(void *user, const pqe_policy_rule *rule, uint64_t uses);

/** Shows all rules. The callback must not call into the same vault. */
PQE_API pqe_status pqe_policy_list(pqe_vault *vault, pqe_policy_fn fn, void *user, pqe_error *err);

#ifdef __cplusplus
}
#endif

#endif
