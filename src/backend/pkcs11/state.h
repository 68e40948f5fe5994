/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a vault keeps of its token (docs/format.md, section 6). It names the token and the key, and proves the key: the
 * box was made by it, over everything before and the vault id.
 */
#ifndef PQE_BACKEND_PKCS11_STATE_H
#define PQE_BACKEND_PKCS11_STATE_H

#include "backend/pkcs11/keys.h"

#define PQE__P11_HARDWARE 0x1u /* as the token says */
#define PQE__P11_PROOF_SIZE 16 /* bytes in the box, all zero */
#define PQE__P11_BOX_SIZE (PQE__P11_PROOF_SIZE + PQE__BOX_OVERHEAD)
#define PQE__P11_STATE_SIZE (2 + sizeof(pqe__p11_identity) + PQE__P11_ID_SIZE + PQE__P11_BOX_SIZE)

typedef struct pqe__p11_state {
    uint8_t flags;
    pqe__p11_identity token;
    uint8_t kek_id[PQE__P11_ID_SIZE];
    uint8_t box[PQE__P11_BOX_SIZE];
} pqe__p11_state;

void pqe__p11_state_encode(const pqe__p11_state *state, uint8_t out[PQE__P11_STATE_SIZE]);
/** PQE_E_VERSION or PQE_E_TAMPERED. */
pqe_status pqe__p11_state_read(const uint8_t *data, size_t len, pqe__p11_state *out, pqe_error *err);

/** The box of a new key, after the token has shown that it authenticates. */
pqe_status pqe__p11_prove(const pqe__p11_self *self, const pqe__p11_key *key, const uint8_t vault_id[PQE_VAULT_ID_SIZE],
                          pqe__p11_state *state, pqe_error *err);
/** PQE_E_DENIED if the key did not make the box. */
pqe_status pqe__p11_verify(const pqe__p11_self *self, const pqe__p11_key *key,
                           const uint8_t vault_id[PQE_VAULT_ID_SIZE], const pqe__p11_state *state, pqe_error *err);

/** SPI: describe. */
bool pqe__p11_describe(const uint8_t *state, size_t state_len, char *text, size_t capacity);

#endif
