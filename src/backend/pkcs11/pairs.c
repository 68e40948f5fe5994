/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/pkcs11/pairs.h"

#include <string.h>

#include "util/error.h"
#include "util/secmem.h"

#define HANDLE_VERSION 1

/** One kind of key pair. */
typedef struct pair_kind {
    CK_MECHANISM_TYPE make;
    CK_KEY_TYPE type;
    CK_ULONG parameters;           /* CKA_PARAMETER_SET */
    CK_ATTRIBUTE_TYPE private_use; /* what the private key may do, and nothing else */
    CK_ATTRIBUTE_TYPE public_use;
    const char *use_name;
    size_t public_size;
} pair_kind;

static const pair_kind kem_768 = {.make = PQE__CKM_ML_KEM_KEY_PAIR_GEN,
                                  .type = PQE__CKK_ML_KEM,
                                  .parameters = PQE__CKP_ML_KEM_768,
                                  .private_use = PQE__CKA_DECAPSULATE,
                                  .public_use = PQE__CKA_ENCAPSULATE,
                                  .use_name = "CKA_DECAPSULATE",
                                  .public_size = PQE__KEM_PUBLIC_SIZE};

static bool
dsa_kind(pqe_sig_algorithm algorithm, pair_kind *out)
{
    *out = (pair_kind){.make = PQE__CKM_ML_DSA_KEY_PAIR_GEN,
                       .type = PQE__CKK_ML_DSA,
                       .private_use = CKA_SIGN,
                       .public_use = CKA_VERIFY,
                       .use_name = "CKA_SIGN",
                       .public_size = pqe_sig_public_size(algorithm)};
    if (algorithm == PQE_ML_DSA_65)
        out->parameters = PQE__CKP_ML_DSA_65;
    else if (algorithm == PQE_ML_DSA_87)
        out->parameters = PQE__CKP_ML_DSA_87;
    return out->parameters != 0;
}

/* ---- making ---- */

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

static CK_RV
generate(const pqe__p11_self *p, const pqe__p11_key *k, const pair_kind *kind, uint8_t id[PQE__P11_ID_SIZE],
         CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
    CK_MECHANISM mechanism = {kind->make, NULL, 0};
    CK_ULONG parameters = kind->parameters;
    char label[PQE__P11_LABEL_SIZE];
    CK_ATTRIBUTE public_template[] = {{PQE__CKA_PARAMETER_SET, &parameters, sizeof parameters},
                                      {CKA_TOKEN, &no, sizeof no},
                                      {CKA_LABEL, label, sizeof label},
                                      {CKA_ID, id, PQE__P11_ID_SIZE},
                                      {kind->public_use, &yes, sizeof yes}};
    CK_ATTRIBUTE private_template[] = {{CKA_TOKEN, &yes, sizeof yes},        {CKA_PRIVATE, &yes, sizeof yes},
                                       {CKA_SENSITIVE, &yes, sizeof yes},    {CKA_EXTRACTABLE, &no, sizeof no},
                                       {CKA_LABEL, label, sizeof label},     {CKA_ID, id, PQE__P11_ID_SIZE},
                                       {kind->private_use, &yes, sizeof yes}};

    memcpy(label, k->label, sizeof label);
    return p->module->f->C_GenerateKeyPair(
        k->session, &mechanism, public_template, sizeof public_template / sizeof public_template[0], private_template,
        sizeof private_template / sizeof private_template[0], public_key, private_key);
}

static pqe_status
check_private(const pqe__p11_self *p, const pqe__p11_key *k, const pair_kind *kind, CK_OBJECT_HANDLE key,
              pqe_error *err)
{
    const pqe__p11_wanted wanted[] = {{CKA_TOKEN, "CKA_TOKEN", true},
                                      {CKA_PRIVATE, "CKA_PRIVATE", true},
                                      {CKA_SENSITIVE, "CKA_SENSITIVE", true},
                                      {CKA_ALWAYS_SENSITIVE, "CKA_ALWAYS_SENSITIVE", true},
                                      {CKA_EXTRACTABLE, "CKA_EXTRACTABLE", false},
                                      {CKA_NEVER_EXTRACTABLE, "CKA_NEVER_EXTRACTABLE", true},
                                      {kind->private_use, kind->use_name, true}};
    pqe_status status = pqe__p11_check(p, k->session, key, wanted, sizeof wanted / sizeof wanted[0], err);

    if (status == PQE_OK)
        status = pqe__p11_check_hidden(p, k->session, key, CKA_VALUE, err);
    return status == PQE_OK ? pqe__p11_check_hidden(p, k->session, key, PQE__CKA_SEED, err) : status;
}

static pqe_status
read_public(const pqe__p11_self *p, const pqe__p11_key *k, const pair_kind *kind, CK_OBJECT_HANDLE key, pqe_blob *out,
            pqe_error *err)
{
    CK_ATTRIBUTE attribute = {CKA_VALUE, out->data, (CK_ULONG)kind->public_size};
    CK_RV rv = p->module->f->C_GetAttributeValue(k->session, key, &attribute, 1);

    if (rv != CKR_OK)
        return pqe__p11_fail(err, rv, "read the public key that the token made");
    if (attribute.ulValueLen != kind->public_size)
        return pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_DEVICE, 0, "the token's public key has another length");
    out->len = kind->public_size;
    return PQE_OK;
}

static pqe_status
make_pair(const pqe__p11_self *p, pqe__p11_key *k, const pair_kind *kind, pqe_blob *handle, pqe_blob *public_key,
          pqe_error *err)
{
    const CK_FUNCTION_LIST *f = p->module->f;
    CK_OBJECT_HANDLE public_object, private_object;
    uint8_t id[PQE__P11_ID_SIZE];
    pqe_status status;
    CK_RV rv;

    if (handle->capacity < PQE__P11_HANDLE_SIZE || public_key->capacity < kind->public_size)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_BACKEND, 0, "a buffer is too small for what the token made");
    if ((status = pqe__random(id, sizeof id, err)) != PQE_OK)
        return status;
    rv = generate(p, k, kind, id, &public_object, &private_object);
    if (pqe__p11_is_lost(rv)) {
        if ((status = pqe__p11_reopen(p, k, err)) != PQE_OK)
            return status;
        rv = generate(p, k, kind, id, &public_object, &private_object);
    }
    if (rv != CKR_OK)
        return pqe__p11_fail(err, rv, "make a key pair on the token");
    status = read_public(p, k, kind, public_object, public_key, err);
    f->C_DestroyObject(k->session, public_object);
    if (status == PQE_OK)
        status = check_private(p, k, kind, private_object, err);
    if (status != PQE_OK) {
        f->C_DestroyObject(k->session, private_object);
        return status;
    }
    handle->data[0] = HANDLE_VERSION;
    memcpy(handle->data + 1, id, sizeof id);
    handle->len = PQE__P11_HANDLE_SIZE;
    return PQE_OK;
}

/* ---- finding again ---- */

static pqe_status
not_there(pqe_error *err)
{
    return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_DEVICE, 0, "the token has no such key pair of this vault");
}

static CK_RV
find_private(const pqe__p11_self *p, const pqe__p11_key *k, CK_KEY_TYPE type, const uint8_t *handle, size_t len,
             CK_OBJECT_HANDLE *object, bool *found)
{
    *found = false;
    if (len != PQE__P11_HANDLE_SIZE || handle[0] != HANDLE_VERSION)
        return CKR_OK;
    return pqe__p11_find(p, k, CKO_PRIVATE_KEY, type, handle + 1, object, found);
}

static void
drop(const pqe__p11_self *p, const pqe__p11_key *k, CK_KEY_TYPE type, const uint8_t *handle, size_t len)
{
    CK_OBJECT_HANDLE object;
    bool found;

    if (find_private(p, k, type, handle, len, &object, &found) == CKR_OK && found)
        p->module->f->C_DestroyObject(k->session, object);
}

/* ---- ML-KEM ---- */

pqe_status
pqe__p11_kem_make(void *self, void *key, pqe_blob *handle, pqe_blob *public_key, pqe_error *err)
{
    return make_pair(self, key, &kem_768, handle, public_key, err);
}

void
pqe__p11_kem_drop(void *self, void *key, const uint8_t *handle, size_t handle_len)
{
    drop(self, key, PQE__CKK_ML_KEM, handle, handle_len);
}

/* The shared secret is a session object that may be read: it leaves the token, as it must, and is destroyed there. */
static CK_RV
decapsulate(const pqe__p11_self *p, const pqe__p11_key *k, const uint8_t *handle, size_t len, const uint8_t *ciphertext,
            uint8_t secret[PQE__KEM_SHARED_SIZE], bool *found)
{
    const CK_FUNCTION_LIST *f = p->module->f;
    CK_MECHANISM mechanism = {PQE__CKM_ML_KEM, NULL, 0};
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_GENERIC_SECRET;
    CK_ULONG size = PQE__KEM_SHARED_SIZE;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class},   {CKA_KEY_TYPE, &type, sizeof type},
                               {CKA_VALUE_LEN, &size, sizeof size}, {CKA_TOKEN, &no, sizeof no},
                               {CKA_SENSITIVE, &no, sizeof no},     {CKA_EXTRACTABLE, &yes, sizeof yes}};
    CK_ATTRIBUTE value = {CKA_VALUE, secret, PQE__KEM_SHARED_SIZE};
    CK_OBJECT_HANDLE private_key, object;
    CK_RV rv = find_private(p, k, PQE__CKK_ML_KEM, handle, len, &private_key, found);

    if (rv != CKR_OK || !*found)
        return rv;
    rv = p->module->decapsulate(k->session, &mechanism, private_key, template, sizeof template / sizeof template[0],
                                (unsigned char *)(uintptr_t)ciphertext, PQE__KEM_CIPHERTEXT_SIZE, &object);
    if (rv != CKR_OK)
        return rv;
    rv = f->C_GetAttributeValue(k->session, object, &value, 1);
    f->C_DestroyObject(k->session, object);
    return rv == CKR_OK && value.ulValueLen != PQE__KEM_SHARED_SIZE ? CKR_DEVICE_ERROR : rv;
}

pqe_status
pqe__p11_kem_decapsulate(void *self, void *key, const uint8_t *handle, size_t handle_len, const uint8_t *ciphertext,
                         size_t ciphertext_len, pqe_blob *shared_secret, pqe_error *err)
{
    const pqe__p11_self *p = self;
    pqe_status status;
    bool found;
    CK_RV rv;

    if (ciphertext_len != PQE__KEM_CIPHERTEXT_SIZE)
        return pqe__fail(err, PQE_E_DECRYPTION, PQE_ORIGIN_BACKEND, 0, "an ML-KEM ciphertext has another length");
    if (shared_secret->capacity < PQE__KEM_SHARED_SIZE)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_BACKEND, 0, "the buffer is too small for a shared secret");
    rv = decapsulate(p, key, handle, handle_len, ciphertext, shared_secret->data, &found);
    if (pqe__p11_is_lost(rv)) {
        if ((status = pqe__p11_reopen(p, key, err)) != PQE_OK)
            return status;
        rv = decapsulate(p, key, handle, handle_len, ciphertext, shared_secret->data, &found);
    }
    if (rv != CKR_OK)
        return pqe__p11_fail(err, rv, "decapsulate on the token");
    if (!found)
        return not_there(err);
    shared_secret->len = PQE__KEM_SHARED_SIZE;
    return PQE_OK;
}

/* ---- ML-DSA ---- */

static pqe_status
no_algorithm(pqe_error *err)
{
    return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0, "the pkcs11 backend has no such signature");
}

pqe_status
pqe__p11_identity_make(void *self, void *key, pqe_sig_algorithm algorithm, pqe_blob *handle, pqe_blob *public_key,
                       pqe_error *err)
{
    pair_kind kind;

    return dsa_kind(algorithm, &kind) ? make_pair(self, key, &kind, handle, public_key, err) : no_algorithm(err);
}

void
pqe__p11_identity_drop(void *self, void *key, const uint8_t *handle, size_t handle_len)
{
    drop(self, key, PQE__CKK_ML_DSA, handle, handle_len);
}

/* FIPS 204, section 5.2: hedged, which the token must do or refuse. */
static CK_RV
sign(const pqe__p11_self *p, const pqe__p11_key *k, const uint8_t *handle, size_t len,
     pqe__p11_sign_context *parameters, const uint8_t *message, size_t message_len, pqe_blob *signature, bool *found)
{
    const CK_FUNCTION_LIST *f = p->module->f;
    CK_MECHANISM mechanism = {PQE__CKM_ML_DSA, parameters, sizeof *parameters};
    CK_ULONG size = (CK_ULONG)signature->capacity;
    CK_OBJECT_HANDLE private_key;
    CK_RV rv = find_private(p, k, PQE__CKK_ML_DSA, handle, len, &private_key, found);

    if (rv != CKR_OK || !*found)
        return rv;
    rv = f->C_SignInit(k->session, &mechanism, private_key);
    if (rv == CKR_OK)
        rv = f->C_Sign(k->session, (unsigned char *)(uintptr_t)message, (CK_ULONG)message_len, signature->data, &size);
    signature->len = rv == CKR_OK ? size : 0;
    return rv;
}

pqe_status
pqe__p11_identity_sign(void *self, void *key, pqe_sig_algorithm algorithm, const uint8_t *handle, size_t handle_len,
                       const uint8_t *context, size_t context_len, const uint8_t *message, size_t message_len,
                       pqe_blob *signature, pqe_error *err)
{
    const pqe__p11_self *p = self;
    pqe__p11_sign_context parameters = {.hedge = PQE__CKH_HEDGE_REQUIRED,
                                        .context = (unsigned char *)(uintptr_t)context,
                                        .context_len = (CK_ULONG)context_len};
    pqe_status status;
    bool found;
    CK_RV rv;

    if (signature->capacity < pqe_sig_signature_size(algorithm))
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_BACKEND, 0, "the buffer is too small for a signature");
    rv = sign(p, key, handle, handle_len, &parameters, message, message_len, signature, &found);
    if (pqe__p11_is_lost(rv)) {
        if ((status = pqe__p11_reopen(p, key, err)) != PQE_OK)
            return status;
        rv = sign(p, key, handle, handle_len, &parameters, message, message_len, signature, &found);
    }
    if (rv != CKR_OK)
        return pqe__p11_fail(err, rv, "sign on the token");
    return found ? PQE_OK : not_there(err);
}
