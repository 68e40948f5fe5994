/* SPDX-License-Identifier: Apache-2.0 */
/* Keys on the token: making them, looking at what was made, finding them again, destroying them. */
#ifndef PQE_BACKEND_PKCS11_KEYS_H
#define PQE_BACKEND_PKCS11_KEYS_H

#include "backend/pkcs11/token.h"
#include "crypto/crypto.h"

#define PQE__P11_ID_SIZE 16 /* of CKA_ID: random, of one key */
#define PQE__P11_LABEL_SIZE (12 + 2 * PQE_VAULT_ID_SIZE)

/** The key of one vault. */
typedef struct pqe__p11_key {
    pqe__p11_token token;
    CK_SESSION_HANDLE session;
    bool pin_refused; /* since it was attached: not tried again */
    CK_OBJECT_HANDLE kek;
    uint8_t kek_id[PQE__P11_ID_SIZE];
    char label[PQE__P11_LABEL_SIZE]; /* CKA_LABEL of all keys of the vault: "pqc-enclave <vault id>", no NUL */
} pqe__p11_key;

void pqe__p11_label(const uint8_t vault_id[PQE_VAULT_ID_SIZE], char label[PQE__P11_LABEL_SIZE]);

/** Makes the AES-256 key and checks that it came to be as it was asked for; destroys it otherwise. */
pqe_status pqe__p11_kek_make(const pqe__p11_self *self, pqe__p11_key *key, pqe_error *err);
/** Finds it by label and id. PQE_E_DENIED if it is not there. */
pqe_status pqe__p11_kek_find(const pqe__p11_self *self, pqe__p11_key *key, pqe_error *err);

/** The object with this label, id, class and type; *found false if there is none or more than one. */
CK_RV pqe__p11_find(const pqe__p11_self *self, const pqe__p11_key *key, CK_OBJECT_CLASS class, CK_KEY_TYPE type,
                    const uint8_t id[PQE__P11_ID_SIZE], CK_OBJECT_HANDLE *object, bool *found);

/** PQE_OK if each boolean attribute has the value wanted, and what `forbidden` names cannot be read. */
typedef struct pqe__p11_wanted {
    CK_ATTRIBUTE_TYPE type;
    const char *name;
    bool value;
} pqe__p11_wanted;
pqe_status pqe__p11_check(const pqe__p11_self *self, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                          const pqe__p11_wanted *wanted, size_t count, pqe_error *err);
/** PQE_OK if the token does not give this attribute out. */
pqe_status pqe__p11_check_hidden(const pqe__p11_self *self, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                 CK_ATTRIBUTE_TYPE type, pqe_error *err);

/** Opens session and login anew after pqe__p11_is_lost(); asks nobody. PQE_E_BACKEND. */
pqe_status pqe__p11_reopen(const pqe__p11_self *self, pqe__p11_key *key, pqe_error *err);

/** Destroys every key with the vault's label. */
void pqe__p11_destroy_all(const pqe__p11_self *self, CK_SESSION_HANDLE session, const char label[PQE__P11_LABEL_SIZE]);

/* AES-256-GCM by the token: nonce (12) || ciphertext || tag (16). */

/** PQE_OK, or a return value of the token. `box` has room for len + PQE__BOX_OVERHEAD bytes. */
CK_RV pqe__p11_encrypt(const pqe__p11_self *self, const pqe__p11_key *key, const uint8_t *aad, size_t aad_len,
                       const uint8_t *in, size_t len, uint8_t *box);
/** The inverse. *authentic false if the token found box or aad altered. `out` is locked memory of len bytes, of which
 *  len - PQE__BOX_OVERHEAD are the result. */
CK_RV pqe__p11_decrypt(const pqe__p11_self *self, const pqe__p11_key *key, const uint8_t *aad, size_t aad_len,
                       const uint8_t *box, size_t len, uint8_t *out, bool *authentic);

#endif
