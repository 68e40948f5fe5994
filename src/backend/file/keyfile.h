/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key files: 32 random bytes of one vault in a small text file that only its owner can read.
 *
 *     pqc-enclave key file v1
 *     <vault id, 32 hex digits>
 *     <key, 64 hex digits>
 *
 * Three lines, each with its newline, nothing else. The text passes through locked memory only.
 */
#ifndef PQE_BACKEND_FILE_KEYFILE_H
#define PQE_BACKEND_FILE_KEYFILE_H

#include <sys/types.h>

#include <pqc_enclave/backend.h>

#include "crypto/crypto.h"

/** What pqe__keyfile_create() made, so that exactly this can be removed again. All zero: nothing. */
typedef struct pqe__keyfile_made {
    char *path;
    size_t first_dir; /**< length of the shortest parent directory made on the way; 0: none was */
    dev_t dev;
    ino_t ino;
} pqe__keyfile_made;

/** $XDG_CONFIG_HOME/pqc-enclave/<vault id>.key, else the same under ~/.config. */
pqe_status pqe__keyfile_default_path(const uint8_t id[PQE_VAULT_ID_SIZE], char *buf, size_t cap, pqe_error *err);

/**
 * Writes a new key file, durably, with mode 0600; missing parent directories are made with mode 0700. Never overwrites:
 * PQE_E_EXISTS. On failure nothing is left behind.
 */
pqe_status pqe__keyfile_create(const char *path, const uint8_t id[PQE_VAULT_ID_SIZE], const uint8_t key[PQE__KEY_SIZE],
                               pqe__keyfile_made *made, pqe_error *err);

/** Removes the file (if it still is the one that was made) and the directories made for it (if empty). */
void pqe__keyfile_remove(const pqe__keyfile_made *made);

/** Removes the file of a vault that never came to be, if it is there, and the temporary file of its making. */
void pqe__keyfile_remove_dead(const char *path, const uint8_t id[PQE_VAULT_ID_SIZE]);

/** Frees the record, not the file. */
void pqe__keyfile_forget(pqe__keyfile_made *made);

/**
 * Reads the key of vault `id` into locked memory. `found` (NULL: nobody asks) tells which file it was, as if it had been
 * made here; pqe__keyfile_forget() it. PQE_E_DENIED if the file is missing, not private to the caller (or
 * root), not a regular file, not a key file, or another vault's; PQE_E_VERSION for a later format.
 */
pqe_status pqe__keyfile_read(const char *path, const uint8_t id[PQE_VAULT_ID_SIZE], uint8_t key[PQE__KEY_SIZE],
                             pqe__keyfile_made *found, pqe_error *err);

#endif
