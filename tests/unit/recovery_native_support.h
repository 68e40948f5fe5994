/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of recovery keys in native vaults share: a double of a device, a vault on it, and looks into its index. */
#ifndef PQE_TESTS_UNIT_RECOVERY_NATIVE_SUPPORT_H
#define PQE_TESTS_UNIT_RECOVERY_NATIVE_SUPPORT_H

#include <pqc_enclave/recovery.h>

#include "unit/support.h"

#define SESSIONS 3u

typedef struct native_bench {
    char *scratch, *dir;
    pqe_backend *backend;
    pqe_vault *vault; /* unlocked; an artifact of each of SESSIONS sessions, and an identity */
    pqe_recovery_key *first, *second;
} native_bench;

typedef enum device_kind { SEALING, NATIVE, FAULTY_NATIVE } device_kind;

int native_set_up(void **state);
int native_tear_down(void **state);

/** The file backend with a key file of that name, perhaps as a device that decapsulates. */
pqe_backend *native_device(native_bench *b, const char *key, device_kind kind);
/** Closes the vault and its backend, and removes the key file. */
void native_lose(native_bench *b);
/** Recovers the vault in `dir`; NULL in *vault on failure. */
pqe_status native_use(const char *dir, const pqe_recovery_key *key, pqe_backend *backend, pqe_vault **vault);
/** Contents, identity, index. */
void native_check_whole(pqe_vault *vault);
/** A copy of the vault as it is now can be recovered, onto a backend that seals and onto one that decapsulates. */
void native_check_recoverable(native_bench *b, const pqe_recovery_key *key);
/** The result of a query that gives one number, on a vault's index. */
long native_count(const char *dir, const char *query);

#define ROWS_TWICE "SELECT count(*) FROM secret WHERE length(sealed) = 2272"
#define ROWS_ONCE "SELECT count(*) FROM secret WHERE length(sealed) = 1136"
#define RECIPIENTS "SELECT count(*) FROM device WHERE item = 7"

#endif
