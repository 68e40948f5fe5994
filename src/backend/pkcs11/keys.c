/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/pkcs11/keys.h"

#include <string.h>

#include "util/error.h"
#include "util/secmem.h"
#include "util/text.h"

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

void
pqe__p11_label(const uint8_t vault_id[PQE_VAULT_ID_SIZE], char label[PQE__P11_LABEL_SIZE])
{
    char hex[2 * PQE_VAULT_ID_SIZE + 1];

    pqe__hex_encode(vault_id, PQE_VAULT_ID_SIZE, hex);
    memcpy(label, "pqc-enclave ", 12);
    memcpy(label + 12, hex, sizeof hex - 1);
}

/* ---- looking at keys ---- */

pqe_status
pqe__p11_check(const pqe__p11_self *self, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
               const pqe__p11_wanted *wanted, size_t count, pqe_error *err)
{
    for (size_t i = 0; i < count; i++) {
        CK_BBOOL value = CK_FALSE;
        CK_ATTRIBUTE attribute = {wanted[i].type, &value, sizeof value};
        CK_RV rv = self->module->f->C_GetAttributeValue(session, object, &attribute, 1);
        if (rv != CKR_OK)
            return pqe__p11_fail(err, rv, "read what the token says of its key");
        if (attribute.ulValueLen != sizeof value || (value != CK_FALSE) != wanted[i].value)
            return pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_DEVICE, 0,
                             "the token made a key that is not as it was asked for: %s is %s", wanted[i].name,
                             wanted[i].value ? "not set" : "set");
    }
    return PQE_OK;
}

pqe_status
pqe__p11_check_hidden(const pqe__p11_self *self, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                      CK_ATTRIBUTE_TYPE type, pqe_error *err)
{
    CK_ATTRIBUTE attribute = {type, NULL, 0};
    CK_RV rv = self->module->f->C_GetAttributeValue(session, object, &attribute, 1);

    if (rv == CKR_OK && attribute.ulValueLen != (CK_ULONG)-1 && attribute.ulValueLen != 0)
        return pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_DEVICE, 0, "the token would give its secret key out");
    return PQE_OK;
}

/* ---- the key-encryption key ---- */

static pqe_status
check_kek(const pqe__p11_self *self, const pqe__p11_key *key, pqe_error *err)
{
    static const pqe__p11_wanted wanted[] = {{CKA_TOKEN, "CKA_TOKEN", true},
                                             {CKA_PRIVATE, "CKA_PRIVATE", true},
                                             {CKA_SENSITIVE, "CKA_SENSITIVE", true},
                                             {CKA_ALWAYS_SENSITIVE, "CKA_ALWAYS_SENSITIVE", true},
                                             {CKA_EXTRACTABLE, "CKA_EXTRACTABLE", false},
                                             {CKA_NEVER_EXTRACTABLE, "CKA_NEVER_EXTRACTABLE", true},
                                             {CKA_ENCRYPT, "CKA_ENCRYPT", true},
                                             {CKA_DECRYPT, "CKA_DECRYPT", true},
                                             {CKA_WRAP, "CKA_WRAP", false},
                                             {CKA_UNWRAP, "CKA_UNWRAP", false},
                                             {CKA_SIGN, "CKA_SIGN", false},
                                             {CKA_VERIFY, "CKA_VERIFY", false},
                                             {CKA_DERIVE, "CKA_DERIVE", false}};
    pqe_status status = pqe__p11_check(self, key->session, key->kek, wanted, sizeof wanted / sizeof wanted[0], err);

    return status == PQE_OK ? pqe__p11_check_hidden(self, key->session, key->kek, CKA_VALUE, err) : status;
}

pqe_status
pqe__p11_kek_make(const pqe__p11_self *self, pqe__p11_key *key, pqe_error *err)
{
    CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_ULONG size = PQE__KEY_SIZE;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class},
                               {CKA_KEY_TYPE, &type, sizeof type},
                               {CKA_VALUE_LEN, &size, sizeof size},
                               {CKA_LABEL, key->label, sizeof key->label},
                               {CKA_ID, key->kek_id, sizeof key->kek_id},
                               {CKA_TOKEN, &yes, sizeof yes},
                               {CKA_PRIVATE, &yes, sizeof yes},
                               {CKA_SENSITIVE, &yes, sizeof yes},
                               {CKA_EXTRACTABLE, &no, sizeof no},
                               {CKA_ENCRYPT, &yes, sizeof yes},
                               {CKA_DECRYPT, &yes, sizeof yes},
                               {CKA_WRAP, &no, sizeof no},
                               {CKA_UNWRAP, &no, sizeof no},
                               {CKA_SIGN, &no, sizeof no},
                               {CKA_VERIFY, &no, sizeof no},
                               {CKA_DERIVE, &no, sizeof no}};
    pqe_status status = pqe__random(key->kek_id, sizeof key->kek_id, err);
    CK_RV rv;

    if (status != PQE_OK)
        return status;
    rv = self->module->f->C_GenerateKey(key->session, &mechanism, template, sizeof template / sizeof template[0],
                                        &key -> kek);
    if (rv != CKR_OK)
        return pqe__p11_fail(err, rv, "make an AES key on the token");
    status = check_kek(self, key, err);
    if (status != PQE_OK)
        self->module->f->C_DestroyObject(key->session, key->kek);
    return status;
}

/* ---- finding ---- */

CK_RV
pqe__p11_find(const pqe__p11_self *self, const pqe__p11_key *key, CK_OBJECT_CLASS class, CK_KEY_TYPE type,
              const uint8_t id[PQE__P11_ID_SIZE], CK_OBJECT_HANDLE *object, bool *found)
{
    const CK_FUNCTION_LIST *f = self->module->f;
    CK_OBJECT_HANDLE objects[2];
    CK_ULONG count = 0;
    char label[PQE__P11_LABEL_SIZE];
    uint8_t id_copy[PQE__P11_ID_SIZE];
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class},
                               {CKA_KEY_TYPE, &type, sizeof type},
                               {CKA_TOKEN, &yes, sizeof yes},
                               {CKA_LABEL, label, sizeof label},
                               {CKA_ID, id_copy, sizeof id_copy}};
    CK_RV rv;

    memcpy(label, key->label, sizeof label);
    memcpy(id_copy, id, sizeof id_copy);
    *found = false;
    rv = f->C_FindObjectsInit(key->session, template, sizeof template / sizeof template[0]);
    if (rv != CKR_OK)
        return rv;
    rv = f->C_FindObjects(key->session, objects, 2, &count);
    f->C_FindObjectsFinal(key->session);
    *found = rv == CKR_OK && count == 1;
    if (*found)
        *object = objects[0];
    return rv;
}

pqe_status
pqe__p11_kek_find(const pqe__p11_self *self, pqe__p11_key *key, pqe_error *err)
{
    bool found;
    CK_RV rv = pqe__p11_find(self, key, CKO_SECRET_KEY, CKK_AES, key->kek_id, &key->kek, &found);

    if (rv != CKR_OK)
        return pqe__p11_fail(err, rv, "look for the vault's key on the token");
    if (!found)
        return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_DEVICE, 0,
                         "the token does not have this vault's key: it was removed, or the token was made anew");
    return PQE_OK;
}

void
pqe__p11_destroy_all(const pqe__p11_self *self, CK_SESSION_HANDLE session, const char label[PQE__P11_LABEL_SIZE])
{
    const CK_FUNCTION_LIST *f = self->module->f;
    char text[PQE__P11_LABEL_SIZE];
    CK_ATTRIBUTE template[] = {{CKA_TOKEN, &yes, sizeof yes}, {CKA_LABEL, text, sizeof text}};
    CK_OBJECT_HANDLE objects[16];
    CK_ULONG count;

    memcpy(text, label, sizeof text);
    do {
        count = 0;
        if (f->C_FindObjectsInit(session, template, 2) != CKR_OK)
            return;
        if (f->C_FindObjects(session, objects, sizeof objects / sizeof objects[0], &count) != CKR_OK)
            count = 0;
        f->C_FindObjectsFinal(session);
        for (CK_ULONG i = 0; i < count; i++)
            if (f->C_DestroyObject(session, objects[i]) != CKR_OK)
                return; /* it would be found again for ever */
    } while (count != 0);
}

/* ---- AES-256-GCM ---- */

static pqe__p11_gcm
gcm(uint8_t *nonce, const uint8_t *aad, size_t aad_len)
{
    pqe__p11_gcm params = {.nonce = nonce,
                           .nonce_len = PQE__NONCE_SIZE,
                           .nonce_bits = 8 * PQE__NONCE_SIZE,
                           .aad = aad_len != 0 ? (unsigned char *)(uintptr_t)aad : NULL,
                           .aad_len = (CK_ULONG)aad_len,
                           .tag_bits = 8 * PQE__TAG_SIZE};
    return params;
}

/* The nonce is random (SP 800-38D, section 8.2.2) and ours; a token that makes its own writes it over ours, and what then
 * stands there is kept. */
CK_RV
pqe__p11_encrypt(const pqe__p11_self *self, const pqe__p11_key *key, const uint8_t *aad, size_t aad_len,
                 const uint8_t *in, size_t len, uint8_t *box)
{
    const CK_FUNCTION_LIST *f = self->module->f;
    pqe__p11_gcm params = gcm(box, aad, aad_len);
    CK_MECHANISM mechanism = {CKM_AES_GCM, &params, sizeof params};
    CK_ULONG out_len = (CK_ULONG)(len + PQE__TAG_SIZE);
    CK_RV rv;

    if (pqe__random(box, PQE__NONCE_SIZE, NULL) != PQE_OK)
        return CKR_FUNCTION_FAILED;
    rv = f->C_EncryptInit(key->session, &mechanism, key->kek);
    if (rv == CKR_OK)
        rv = f->C_Encrypt(key->session, (unsigned char *)(uintptr_t)in, (CK_ULONG)len, box + PQE__NONCE_SIZE, &out_len);
    if (rv == CKR_OK && out_len != len + PQE__TAG_SIZE)
        rv = CKR_DEVICE_ERROR;
    return rv;
}

CK_RV
pqe__p11_decrypt(const pqe__p11_self *self, const pqe__p11_key *key, const uint8_t *aad, size_t aad_len,
                 const uint8_t *box, size_t len, uint8_t *out, bool *authentic)
{
    const CK_FUNCTION_LIST *f = self->module->f;
    uint8_t nonce[PQE__NONCE_SIZE];
    pqe__p11_gcm params = gcm(nonce, aad, aad_len);
    CK_MECHANISM mechanism = {CKM_AES_GCM, &params, sizeof params};
    CK_ULONG out_len = (CK_ULONG)(len - PQE__NONCE_SIZE); /* room for the tag as well: some tokens insist */
    CK_RV rv;

    *authentic = false;
    memcpy(nonce, box, sizeof nonce);
    rv = f->C_DecryptInit(key->session, &mechanism, key->kek);
    if (rv != CKR_OK)
        return rv;
    rv = f->C_Decrypt(key->session, (unsigned char *)(uintptr_t)box + PQE__NONCE_SIZE,
                      (CK_ULONG)(len - PQE__NONCE_SIZE), out, &out_len);
    *authentic = rv == CKR_OK && out_len == len - PQE__BOX_OVERHEAD;
    /* Tokens report a wrong tag by any error they like: SoftHSM by CKR_GENERAL_ERROR. */
    return rv == CKR_HOST_MEMORY || pqe__p11_is_lost(rv) ? rv : CKR_OK;
}
