/* SPDX-License-Identifier: Apache-2.0 */
/* A writer as put.c opens and commits it and write.c fills it. */
#ifndef PQE_VAULT_WRITER_H
#define PQE_VAULT_WRITER_H

#include "body/commitment.h"
#include "vault/content_hash.h"
#include "vault/internal.h"

struct pqe_writer {
    pqe__handle handle;
    pqe__record record;
    char *strings; /* what the record's texts point into */
    size_t strings_len;
    uint8_t *dek; /* locked memory */
    pqe__body_writer *body;
    pqe__content_hash hash;
    pqe__commitment *commitment; /* deferred only */
    const uint8_t
        *last; /* the caller's, for the length of one call: all of a small content, hashed and sealed at the end */
    size_t last_len;
    uint8_t *inline_body; /* ciphertext, until it outgrows the index */
    size_t inline_len, inline_capacity;
    pqe__body_file file;
    bool has_file, failed;
};

/** A writer of checked options that has not begun: no key is made, and nothing may be written yet. */
pqe_status pqe__writer_prepare(pqe_vault *vault, const pqe_put_opts *opts, pqe_writer **out, pqe_error *err);
/** Begins it. No lock is held. */
pqe_status pqe__writer_begin(pqe_writer *writer, pqe_error *err);
/** Enters the session if it is still the writer's. */
pqe_status pqe__writer_enter(pqe_writer *w, pqe_error *err);
/** The whole content, before the writer is finished in the same call. */
pqe_status pqe__writer_whole(pqe_writer *w, const void *content, size_t len, pqe_error *err);
/** The sink of the body writer. */
pqe_status pqe__writer_take(void *writer, const uint8_t *data, size_t len, pqe_error *err);

#endif
