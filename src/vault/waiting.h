/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts of a batch that wait to be sealed together, on all threads: hashing and encrypting one small content is too little
 * work to wake a thread for. What waits is plaintext, a copy in locked memory, as much as that has room for.
 */
#ifndef PQE_VAULT_WAITING_H
#define PQE_VAULT_WAITING_H

#include "vault/writer.h"

#define PQE__WAITING_MAX 64u
#define PQE__WAITING_BYTES ((size_t)48 << 10)

typedef struct pqe__waiting {
    size_t count, used;
    uint8_t *contents; /* locked memory, from the first put on */
    pqe_writer *writers[PQE__WAITING_MAX];
} pqe__waiting;

/** Whether contents of that length wait at all: with one thread, and without locked memory to be had, none do. */
bool pqe__waiting_may(pqe__waiting *w, size_t len);
bool pqe__waiting_has_room(const pqe__waiting *w, size_t len);
/** Takes over a writer that has not begun, and copies its content. key_lock is held for reading. */
void pqe__waiting_add(pqe__waiting *w, pqe_writer *writer, const void *content, size_t len);
/** Called by the caller's thread for each completed writer in turn; the writer stays the caller's to free. */
typedef pqe_status (*pqe__waiting_fn)(void *user, pqe_writer *writer, pqe_error *err);
/** Completes all and frees them. Stops at the first, in their order, that fails: that is logged. No lock is held. */
pqe_status pqe__waiting_seal(pqe__waiting *w, pqe__waiting_fn fn, void *user, pqe_error *err);
/** The session ends: key_lock is held for writing. */
void pqe__waiting_wipe(pqe__waiting *w);
/** Also in a forked child. */
void pqe__waiting_free(pqe__waiting *w);

#endif
