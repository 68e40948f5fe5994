/* SPDX-License-Identifier: Apache-2.0 */
/* A PKCS#11 module that forwards to another (forwarded.h) and misbehaves where a test says so. */
#include "backend/shim.h"

#include <stdbool.h>
#include <string.h>

#include "backend/forwarded.h"

#define EXPORT __attribute__((visibility("default")))

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST table;
static unsigned flags, logins;
static bool locked;
static unsigned char own_nonce[12] = {0xa1, 0xa2, 0xa3, 0xa4};

EXPORT void shim_set_flags(unsigned f);
EXPORT unsigned shim_logins(void);

void
shim_set_flags(unsigned f)
{
    flags = f;
    locked = false;
}

unsigned
shim_logins(void)
{
    return logins;
}

static bool
on(unsigned flag)
{
    return (flags & flag) != 0;
}

static CK_RV
get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    CK_RV rv = real->C_GetTokenInfo(slot, info);

    if (rv == CKR_OK) {
        info->flags &= ~(CK_FLAGS)(CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED);
        info->flags |= (on(SHIM_PIN_LOW) ? CKF_USER_PIN_COUNT_LOW : 0) |
                       (on(SHIM_PIN_FINAL) ? CKF_USER_PIN_FINAL_TRY : 0) |
                       (on(SHIM_PIN_LOCKED) || locked ? CKF_USER_PIN_LOCKED : 0) |
                       (on(SHIM_KEYPAD) ? CKF_PROTECTED_AUTHENTICATION_PATH : 0);
    }
    return rv;
}

static CK_RV
login(CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin, CK_ULONG len)
{
    unsigned char typed[] = "1234";
    CK_RV rv;

    logins++;
    if (locked || on(SHIM_PIN_LOCKED))
        return CKR_PIN_LOCKED;
    if (on(SHIM_KEYPAD) && pin == NULL)
        return real->C_Login(session, user, typed, 4);
    rv = real->C_Login(session, user, pin, len);
    if (rv == CKR_PIN_INCORRECT && on(SHIM_LOCKS))
        locked = true;
    return rv;
}

static CK_RV
generate_key(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *template, CK_ULONG count,
             CK_OBJECT_HANDLE *key)
{
    CK_ATTRIBUTE changed[32];
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

    if (on(SHIM_FAILS) || count > 32)
        return CKR_DEVICE_MEMORY;
    memcpy(changed, template, count * sizeof *template);
    for (CK_ULONG i = 0; i < count && on(SHIM_EXTRACTABLE); i++) {
        if (changed[i].type == CKA_EXTRACTABLE)
            changed[i].pValue = &yes;
        if (changed[i].type == CKA_SENSITIVE)
            changed[i].pValue = &no;
    }
    return real->C_GenerateKey(session, mechanism, changed, count, key);
}

static CK_RV
get_attribute_value(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG count)
{
    if (on(SHIM_SHOWS_VALUE) && count == 1 && template->type == CKA_VALUE) {
        template->ulValueLen = 32;
        return CKR_OK;
    }
    return real->C_GetAttributeValue(session, object, template, count);
}

static void
drop_aad(CK_MECHANISM *mechanism, pqe__p11_gcm *params)
{
    if (!on(SHIM_NO_AAD) || mechanism->mechanism != CKM_AES_GCM)
        return;
    *params = *(pqe__p11_gcm *)mechanism->pParameter;
    params->aad = NULL;
    params->aad_len = 0;
    mechanism->pParameter = params;
}

static CK_RV
encrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    CK_MECHANISM copy = *mechanism;
    pqe__p11_gcm params;

    if (on(SHIM_OWN_NONCE)) {
        own_nonce[11]++;
        memcpy(((pqe__p11_gcm *)mechanism->pParameter)->nonce, own_nonce, sizeof own_nonce);
    }
    drop_aad(&copy, &params);
    return real->C_EncryptInit(session, &copy, key);
}

static CK_RV
decrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    CK_MECHANISM copy = *mechanism;
    pqe__p11_gcm params;

    if (on(SHIM_LOSES_ONCE) || on(SHIM_LOSES)) {
        flags &= ~(unsigned)SHIM_LOSES_ONCE;
        return CKR_DEVICE_REMOVED;
    }
    drop_aad(&copy, &params);
    return real->C_DecryptInit(session, &copy, key);
}

static CK_RV
decrypt(CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG len, unsigned char *out, CK_ULONG *out_len)
{
    CK_RV rv = real->C_Decrypt(session, in, len, out, out_len);

    if (rv != CKR_OK && on(SHIM_NO_TAG)) {
        *out_len = len - 16;
        memset(out, 0, *out_len);
        return CKR_OK;
    }
    return rv;
}

EXPORT CK_RV
C_GetFunctionList(CK_FUNCTION_LIST **list)
{
    if (real == NULL) {
        if (!forwarded_load(&real))
            return CKR_GENERAL_ERROR;
        table = *real;
        table.C_GetFunctionList = C_GetFunctionList;
        table.C_GetTokenInfo = get_token_info;
        table.C_Login = login;
        table.C_GenerateKey = generate_key;
        table.C_GetAttributeValue = get_attribute_value;
        table.C_EncryptInit = encrypt_init;
        table.C_DecryptInit = decrypt_init;
        table.C_Decrypt = decrypt;
    }
    *list = &table;
    return CKR_OK;
}
