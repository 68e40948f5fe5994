/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/pkcs11/state.h"

#include <stdio.h>
#include <string.h>

#include "util/cursor.h"
#include "util/error.h"
#include "util/secmem.h"

#define STATE_VERSION 1
#define PROOF_LABEL "pqc-enclave pkcs11 backend v1 proof"
#define AAD_SIZE (sizeof PROOF_LABEL + PQE_VAULT_ID_SIZE + PQE__P11_STATE_SIZE - PQE__P11_BOX_SIZE)

void
pqe__p11_state_encode(const pqe__p11_state *s, uint8_t out[PQE__P11_STATE_SIZE])
{
    pqe__wcur c = pqe__wcur_init(out, PQE__P11_STATE_SIZE);

    pqe__put_u8(&c, STATE_VERSION);
    pqe__put_u8(&c, s->flags);
    pqe__put_bytes(&c, s->token.label, sizeof s->token.label);
    pqe__put_bytes(&c, s->token.manufacturer, sizeof s->token.manufacturer);
    pqe__put_bytes(&c, s->token.model, sizeof s->token.model);
    pqe__put_bytes(&c, s->token.serial, sizeof s->token.serial);
    pqe__put_bytes(&c, s->kek_id, sizeof s->kek_id);
    pqe__put_bytes(&c, s->box, sizeof s->box);
}

pqe_status
pqe__p11_state_read(const uint8_t *data, size_t len, pqe__p11_state *out, pqe_error *err)
{
    pqe__rcur c = pqe__rcur_init(data, len);
    uint8_t version = pqe__get_u8(&c);

    if (c.ok && version != STATE_VERSION)
        return pqe__fail(err, PQE_E_VERSION, PQE_ORIGIN_FORMAT, 0, "the pkcs11 backend's state is of another version");
    out->flags = pqe__get_u8(&c);
    pqe__get_copy(&c, out->token.label, sizeof out->token.label);
    pqe__get_copy(&c, out->token.manufacturer, sizeof out->token.manufacturer);
    pqe__get_copy(&c, out->token.model, sizeof out->token.model);
    pqe__get_copy(&c, out->token.serial, sizeof out->token.serial);
    pqe__get_copy(&c, out->kek_id, sizeof out->kek_id);
    pqe__get_copy(&c, out->box, sizeof out->box);
    if (!pqe__rcur_done(&c) || (out->flags & ~PQE__P11_HARDWARE) != 0)
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "the pkcs11 backend's state is malformed");
    return PQE_OK;
}

/* Label, vault id, and the state up to the box. */
static void
proof_aad(const uint8_t vault_id[PQE_VAULT_ID_SIZE], const pqe__p11_state *state, uint8_t aad[AAD_SIZE])
{
    uint8_t bytes[PQE__P11_STATE_SIZE];

    pqe__p11_state_encode(state, bytes);
    memcpy(aad, PROOF_LABEL, sizeof PROOF_LABEL);
    memcpy(aad + sizeof PROOF_LABEL, vault_id, PQE_VAULT_ID_SIZE);
    memcpy(aad + sizeof PROOF_LABEL + PQE_VAULT_ID_SIZE, bytes, sizeof bytes - PQE__P11_BOX_SIZE);
}

/* There are tokens that take the AAD or the tag and do nothing with them. One bit of each is changed. */
static pqe_status
check_refuses(const pqe__p11_self *self, const pqe__p11_key *key, uint8_t aad[AAD_SIZE], uint8_t *box, bool in_aad,
              uint8_t *out, pqe_error *err)
{
    uint8_t *byte = in_aad ? aad : box + PQE__P11_BOX_SIZE - 1;
    bool authentic;
    CK_RV rv;

    *byte ^= 1;
    rv = pqe__p11_decrypt(self, key, aad, AAD_SIZE, box, PQE__P11_BOX_SIZE, out, &authentic);
    *byte ^= 1;
    if (rv != CKR_OK)
        return pqe__p11_fail(err, rv, "decrypt with the token's key");
    if (authentic)
        return pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_DEVICE, 0,
                         "the token does not authenticate what it decrypts (%s): it cannot hold a vault's key",
                         in_aad ? "a changed AAD passed" : "a changed tag passed");
    return PQE_OK;
}

static pqe_status
check_opens(const pqe__p11_self *self, const pqe__p11_key *key, const uint8_t aad[AAD_SIZE], const uint8_t *box,
            uint8_t *out, pqe_error *err)
{
    static const uint8_t zeros[PQE__P11_PROOF_SIZE];
    bool authentic;
    CK_RV rv = pqe__p11_decrypt(self, key, aad, AAD_SIZE, box, PQE__P11_BOX_SIZE, out, &authentic);

    if (rv != CKR_OK)
        return pqe__p11_fail(err, rv, "decrypt with the token's key");
    if (!authentic || memcmp(out, zeros, sizeof zeros) != 0)
        return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_DEVICE, 0, "the key on the token is not this vault's");
    return PQE_OK;
}

pqe_status
pqe__p11_prove(const pqe__p11_self *self, const pqe__p11_key *key, const uint8_t vault_id[PQE_VAULT_ID_SIZE],
               pqe__p11_state *state, pqe_error *err)
{
    static const uint8_t zeros[PQE__P11_PROOF_SIZE];
    uint8_t aad[AAD_SIZE], out[PQE__P11_BOX_SIZE];
    pqe_status status = PQE_OK;
    CK_RV rv;

    proof_aad(vault_id, state, aad);
    rv = pqe__p11_encrypt(self, key, aad, sizeof aad, zeros, sizeof zeros, state->box);
    if (rv != CKR_OK)
        return pqe__p11_fail(err, rv, "encrypt with the token's key");
    status = check_opens(self, key, aad, state->box, out, err);
    if (status == PQE_E_DENIED)
        status = pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_DEVICE, 0, "the token does not decrypt what it encrypted");
    if (status == PQE_OK)
        status = check_refuses(self, key, aad, state->box, true, out, err);
    if (status == PQE_OK)
        status = check_refuses(self, key, aad, state->box, false, out, err);
    return status;
}

pqe_status
pqe__p11_verify(const pqe__p11_self *self, const pqe__p11_key *key, const uint8_t vault_id[PQE_VAULT_ID_SIZE],
                const pqe__p11_state *state, pqe_error *err)
{
    uint8_t aad[AAD_SIZE], box[PQE__P11_BOX_SIZE], out[PQE__P11_BOX_SIZE];
    pqe_status status;

    proof_aad(vault_id, state, aad);
    memcpy(box, state->box, sizeof box);
    status = check_opens(self, key, aad, box, out, err);
    return status == PQE_OK ? check_refuses(self, key, aad, box, true, out, err) : status;
}

/* ---- for people ---- */

/* Fields are padded with blanks; what is not plain text stays out of a line for people. */
static void
trimmed(const uint8_t *field, size_t len, char out[33])
{
    while (len > 0 && (field[len - 1] == ' ' || field[len - 1] == '\0'))
        len--;
    for (size_t i = 0; i < len; i++)
        out[i] = (char)(field[i] >= 0x20 && field[i] < 0x7f ? field[i] : '?');
    out[len] = '\0';
}

bool
pqe__p11_describe(const uint8_t *data, size_t len, char *text, size_t capacity)
{
    char label[33], model[33], serial[33];
    pqe__p11_state s;

    if (pqe__p11_state_read(data, len, &s, NULL) != PQE_OK)
        return false;
    trimmed(s.token.label, sizeof s.token.label, label);
    trimmed(s.token.model, sizeof s.token.model, model);
    trimmed(s.token.serial, sizeof s.token.serial, serial);
    snprintf(text, capacity, "PKCS#11 token '%s' (%s, serial %s), %s", label, model, serial,
             (s.flags & PQE__P11_HARDWARE) != 0 ? "hardware by its own word" : "not said to be hardware");
    return true;
}
