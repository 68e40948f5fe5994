/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a batch keeps its sealed rows until the commit: in memory, and once that is full in a file without a name in the
 * vault's directory. Everything in it is ciphertext, tags and digests.
 */
#ifndef PQE_VAULT_STAGE_H
#define PQE_VAULT_STAGE_H

#include "vault/internal.h"

typedef struct pqe__stage {
    uint8_t *buffer;
    size_t used, capacity;
    size_t at; /* reading: where the next row begins in the buffer */
    pqe__body_file spill;
    bool spilled;
    uint64_t spill_size, spill_at;
} pqe__stage;

/** A row as it comes back; the pointers are valid until the next call. `row.allocation` stays NULL. */
typedef struct pqe__staged {
    pqe__row row;
    uint8_t name_tag[PQE__TAG_KEY_SIZE], id_tag[PQE__TAG_KEY_SIZE];
    size_t file_index; /* which of the batch's body files is its body */
} pqe__staged;

/** Nothing is allocated before the first row. */
void pqe__stage_init(pqe__stage *stage);
/** After a failure the stage is only to be freed. */
pqe_status pqe__stage_add(pqe__stage *stage, pqe__store *store, const pqe__sealed *sealed, size_t file_index,
                          pqe_error *err);
/** Ends adding; rows then come back in their order. */
pqe_status pqe__stage_rewind(pqe__stage *stage, pqe_error *err);
/** *more false: there are no more. */
pqe_status pqe__stage_next(pqe__stage *stage, const uint8_t key_id[PQE__ID_SIZE], pqe__staged *out, bool *more,
                           pqe_error *err);
/** Where the next row is read, to go back to it. */
typedef struct pqe__stage_place {
    uint64_t at;
} pqe__stage_place;
pqe__stage_place pqe__stage_tell(const pqe__stage *stage);
void pqe__stage_return(pqe__stage *stage, pqe__stage_place place);
void pqe__stage_free(pqe__stage *stage);

#endif
