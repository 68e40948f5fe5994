/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key wrapped by a passphrase: Argon2id (RFC 9106), then AES-256-GCM. All integers big-endian.
 *
 *     offset  bytes
 *      0       1    version of the state, 1
 *      1       1    mode, 2 (passphrase)
 *      2       4    Argon2 version, 0x13
 *      6       4    memory in KiB
 *     10       4    passes
 *     14       4    lanes
 *     18      16    salt
 *     34      32    check value: tells a wrong passphrase, and binds the state to one passphrase
 *     66      60    box (nonce, ciphertext, tag) of the 32-byte key; its AAD is a label, the vault id and bytes 0-65
 *
 * Parameters come from a file that anyone may have written: they are held against a floor (a weak state must not pass
 * for a protected one) and a ceiling (opening must not exhaust the machine) before anything is allocated.
 */
#ifndef PQE_BACKEND_FILE_PASSPHRASE_H
#define PQE_BACKEND_FILE_PASSPHRASE_H

#include <pqc_enclave/backend.h>

#include "crypto/crypto.h"

#define PQE__FILE_STATE_VERSION 1
#define PQE__FILE_MODE_KEY_FILE 1
#define PQE__FILE_MODE_PASSPHRASE 2

/* Floor: the least that OWASP's password storage guidance accepts for Argon2id, 19 MiB and 2 passes (or as much work
 * with more memory). Ceiling: what a large machine still does in well under a minute. */
#define PQE__ARGON2_MEMORY_MIN 19456u
#define PQE__ARGON2_MEMORY_MAX 1048576u
#define PQE__ARGON2_PASSES_MAX 16u
#define PQE__ARGON2_LANES_MAX 16u
#define PQE__ARGON2_WORK_MIN (2u * PQE__ARGON2_MEMORY_MIN) /* KiB times passes */

#define PQE__PASSPHRASE_SALT_SIZE 16
#define PQE__PASSPHRASE_STATE_SIZE (18 + PQE__PASSPHRASE_SALT_SIZE + 2 * PQE__KEY_SIZE + PQE__BOX_OVERHEAD)

/** Asks for a new passphrase and writes the state that wraps `kek` under it, with a fresh salt. */
pqe_status pqe__passphrase_wrap(const pqe_backend_opts *ask, const uint8_t vault_id[PQE_VAULT_ID_SIZE],
                                const uint8_t kek[PQE__KEY_SIZE], pqe_blob *state, pqe_error *err);

/** Checks the state, asks for the passphrase and unwraps. PQE_E_DENIED for a wrong passphrase. */
pqe_status pqe__passphrase_unwrap(const pqe_backend_opts *ask, const uint8_t vault_id[PQE_VAULT_ID_SIZE],
                                  const uint8_t *state, size_t state_len, uint8_t kek[PQE__KEY_SIZE], pqe_error *err);

/** True if a state with these parameters is accepted. */
bool pqe__passphrase_params_ok(const pqe__argon2_params *params);

/** Parameters of states written from now on in this process; NULL restores the default. For tests: false, and no
 *  change, if they are out of range. */
bool pqe__passphrase_set_params(const pqe__argon2_params *params);

#endif
