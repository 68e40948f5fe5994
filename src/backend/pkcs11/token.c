/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/pkcs11/token.h"

#include <stdlib.h>
#include <string.h>

#include "util/error.h"
#include "util/secmem.h"

/* ---- finding ---- */

static bool
has_mechanism(const pqe__p11_module *m, CK_SLOT_ID slot, CK_MECHANISM_TYPE type)
{
    CK_MECHANISM_INFO info;

    return m->f->C_GetMechanismInfo(slot, type, &info) == CKR_OK;
}

static uint32_t
capabilities_of(const pqe__p11_module *m, CK_SLOT_ID slot)
{
    uint32_t can = 0;

    if (has_mechanism(m, slot, CKM_AES_GCM) && has_mechanism(m, slot, CKM_AES_KEY_GEN))
        can |= PQE_CAP_SEAL;
    if (m->decapsulate != NULL && has_mechanism(m, slot, PQE__CKM_ML_KEM) &&
        has_mechanism(m, slot, PQE__CKM_ML_KEM_KEY_PAIR_GEN))
        can |= PQE_CAP_NATIVE_KEM;
    if (has_mechanism(m, slot, PQE__CKM_ML_DSA) && has_mechanism(m, slot, PQE__CKM_ML_DSA_KEY_PAIR_GEN))
        can |= PQE_CAP_NATIVE_ML_DSA;
    return can;
}

static void
describe(const CK_TOKEN_INFO *info, const CK_SLOT_INFO *slot_info, CK_SLOT_ID slot, pqe__p11_token *out)
{
    out->slot = slot;
    out->flags = info->flags;
    out->says_hardware = (slot_info->flags & CKF_HW_SLOT) != 0;
    memcpy(out->identity.label, info->label, sizeof out->identity.label);
    memcpy(out->identity.manufacturer, info->manufacturerID, sizeof out->identity.manufacturer);
    memcpy(out->identity.model, info->model, sizeof out->identity.model);
    memcpy(out->identity.serial, info->serialNumber, sizeof out->identity.serial);
}

/* Slots come and go between the two calls. To be freed. */
static pqe_status
list_slots(const pqe__p11_module *m, CK_SLOT_ID **out, CK_ULONG *count, pqe_error *err)
{
    CK_SLOT_ID *slots = NULL;
    CK_RV rv;

    *out = NULL;
    do {
        free(slots);
        slots = NULL;
        rv = m->f->C_GetSlotList(CK_TRUE, NULL, count);
        if (rv == CKR_OK && (slots = calloc(*count + 1, sizeof *slots)) == NULL)
            return pqe__fail_nomem(err);
        if (rv == CKR_OK)
            rv = m->f->C_GetSlotList(CK_TRUE, slots, count);
    } while (rv == CKR_BUFFER_TOO_SMALL);
    if (rv != CKR_OK) {
        free(slots);
        return pqe__p11_fail(err, rv, "list the tokens");
    }
    *out = slots;
    return PQE_OK;
}

/* NULL in `wanted` means any. The serial number and who made it tell tokens apart; labels are not unique. */
static bool
is_meant(const pqe__p11_self *self, const CK_INFO *module, const pqe__p11_identity *wanted, CK_SLOT_ID slot,
         pqe__p11_token *out)
{
    const CK_FUNCTION_LIST *f = self->module->f;
    CK_TOKEN_INFO info;
    CK_SLOT_INFO slot_info;

    if (f->C_GetSlotInfo(slot, &slot_info) != CKR_OK || f->C_GetTokenInfo(slot, &info) != CKR_OK ||
        (info.flags & CKF_TOKEN_INITIALIZED) == 0 || !pqe__p11_uri_matches(&self->uri, module, slot, &slot_info, &info))
        return false;
    describe(&info, &slot_info, slot, out);
    return wanted == NULL || memcmp(wanted, &out->identity, sizeof *wanted) == 0;
}

pqe_status
pqe__p11_tokens(const pqe__p11_self *self, const pqe__p11_identity *wanted, pqe__p11_token *out, size_t *count,
                uint32_t *common, pqe_error *err)
{
    CK_SLOT_ID *slots = NULL;
    CK_ULONG slot_count = 0;
    CK_INFO module;
    pqe__p11_token token;
    pqe_status status;
    CK_RV rv = self->module->f->C_GetInfo(&module);

    *count = 0;
    if (common != NULL)
        *common = UINT32_MAX;
    if (rv == CKR_CRYPTOKI_NOT_INITIALIZED) {
        if ((status = pqe__p11_module_renew(self->module, err)) != PQE_OK)
            return status;
        rv = self->module->f->C_GetInfo(&module);
    }
    if (rv != CKR_OK)
        return pqe__p11_fail(err, rv, "use the PKCS#11 module");
    status = list_slots(self->module, &slots, &slot_count, err);
    for (CK_ULONG i = 0; slots != NULL && i < slot_count; i++) {
        if (!is_meant(self, &module, wanted, slots[i], &token))
            continue;
        ++*count;
        *out = token;
        if (common != NULL)
            *common &= capabilities_of(self->module, slots[i]);
    }
    free(slots);
    return status;
}

/* ---- the PIN ---- */

static pqe_status
denied(pqe_error *err, CK_RV rv, const char *text)
{
    return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_DEVICE, (int64_t)rv, "%s", text);
}

/* Every wrong PIN is counted by the token: what is left is asked before and told after. */
static pqe_status
check_tries(const pqe__p11_self *self, CK_FLAGS flags, pqe_error *err)
{
    if ((flags & CKF_USER_PIN_LOCKED) != 0)
        return denied(err, CKR_PIN_LOCKED,
                      "the token has locked its PIN after wrong ones; its security officer can "
                      "set a new one");
    if ((flags & CKF_USER_PIN_FINAL_TRY) != 0 && !self->uri.last_try)
        return denied(err, CKR_PIN_INCORRECT,
                      "one more wrong PIN locks the token, so none was tried; if you are sure of the PIN, add "
                      "last-try=yes to the URI");
    if ((flags & CKF_USER_PIN_INITIALIZED) == 0)
        return denied(err, CKR_USER_PIN_NOT_INITIALIZED, "the token has no user PIN yet");
    return PQE_OK;
}

static pqe_status
wrong_pin(const pqe__p11_self *self, CK_SLOT_ID slot, CK_RV rv, pqe_error *err)
{
    CK_TOKEN_INFO info;
    CK_FLAGS flags = self->module->f->C_GetTokenInfo(slot, &info) == CKR_OK ? info.flags : 0;

    if (rv == CKR_PIN_LOCKED || (flags & CKF_USER_PIN_LOCKED) != 0)
        return denied(err, rv, "wrong PIN, and the token has locked it now; its security officer can set a new one");
    if ((flags & CKF_USER_PIN_FINAL_TRY) != 0)
        return denied(err, rv, "wrong PIN; one more locks the token");
    if ((flags & CKF_USER_PIN_COUNT_LOW) != 0)
        return denied(err, rv, "wrong PIN; the token locks it after a few more");
    return denied(err, rv, "wrong PIN");
}

static pqe_status
get_pin(const pqe__p11_self *self, char *buf, size_t *len, bool may_ask, pqe_error *err)
{
    pqe_status status;

    if (self->uri.pin_file != NULL)
        return pqe__p11_read_pin(self->uri.pin_file, buf, len, err);
    if (!may_ask)
        return pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_DEVICE, 0,
                         "the token forgot the login or was removed; unlock the vault again");
    if (self->ask.passphrase == NULL)
        return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_BACKEND, 0,
                         "the token wants a PIN, and there is nobody to ask; give pin-source=FILE in the URI");
    status = self->ask.passphrase(self->ask.user, PQE_PASSPHRASE_UNLOCK, buf, PQE_PASSPHRASE_MAX, len);
    if (status == PQE_OK && *len > PQE_PASSPHRASE_MAX)
        status = PQE_E_LIMIT;
    if (status != PQE_OK)
        return pqe__fail(err, status < 0 ? status : PQE_E_DENIED, PQE_ORIGIN_BACKEND, 0, "no PIN was given");
    return PQE_OK;
}

static pqe_status
log_in(const pqe__p11_self *self, CK_SESSION_HANDLE session, const pqe__p11_token *token, bool *refused, pqe_error *err)
{
    const CK_FUNCTION_LIST *f = self->module->f;
    bool by_keypad = (token->flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0 && self->uri.pin_file == NULL;
    size_t len = 0;
    char *pin = NULL;
    CK_RV rv;
    pqe_status status = check_tries(self, token->flags, err);

    if (status != PQE_OK)
        return status;
    if (refused != NULL && *refused) /* each call would cost a try, until the token locks */
        return denied(err, CKR_PIN_INCORRECT, "the token refused the PIN before; unlock the vault again");
    if (!by_keypad) {
        if ((pin = pqe__secmem_alloc(PQE_PASSPHRASE_MAX)) == NULL)
            return pqe__fail_nomem(err);
        status = get_pin(self, pin, &len, refused == NULL, err);
        if (status == PQE_OK && len == 0)
            status = denied(err, CKR_PIN_INVALID, "the PIN is empty"); /* not worth one of the tries */
    }
    if (status == PQE_OK) {
        rv = f->C_Login(session, CKU_USER, (unsigned char *)pin, (CK_ULONG)len);
        if (rv == CKR_PIN_INCORRECT || rv == CKR_PIN_INVALID || rv == CKR_PIN_LEN_RANGE || rv == CKR_PIN_LOCKED) {
            status = wrong_pin(self, token->slot, rv, err);
            if (refused != NULL)
                *refused = true;
        } else if (rv == CKR_PIN_EXPIRED) {
            status = denied(err, rv, "the token's PIN has expired; set a new one with the token's own tool");
        } else if (rv != CKR_OK && rv != CKR_USER_ALREADY_LOGGED_IN) {
            status = pqe__p11_fail(err, rv, "log in to the token");
        }
    }
    pqe__secmem_free(pin);
    return status;
}

/* ---- sessions ---- */

/* PKCS#11 logs in a whole process, not a session: what another vault, or another library, has done counts. */
static bool
is_logged_in(const CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session)
{
    CK_SESSION_INFO info;

    return f->C_GetSessionInfo(session, &info) == CKR_OK &&
           (info.state == CKS_RW_USER_FUNCTIONS || info.state == CKS_RO_USER_FUNCTIONS);
}

pqe_status
pqe__p11_session_open(const pqe__p11_self *self, const pqe__p11_token *token, bool *refused, CK_SESSION_HANDLE *session,
                      pqe_error *err)
{
    const CK_FUNCTION_LIST *f = self->module->f;
    CK_FLAGS mode = (token->flags & CKF_WRITE_PROTECTED) != 0 ? 0 : CKF_RW_SESSION;
    pqe_status status = PQE_OK;
    CK_RV rv = f->C_OpenSession(token->slot, CKF_SERIAL_SESSION | mode, NULL, NULL, session);

    if (rv != CKR_OK) {
        *session = CK_INVALID_HANDLE;
        return pqe__p11_fail(err, rv, "open a session with the token");
    }
    if ((token->flags & CKF_LOGIN_REQUIRED) != 0 && !is_logged_in(f, *session))
        status = log_in(self, *session, token, refused, err);
    if (status != PQE_OK) {
        f->C_CloseSession(*session);
        *session = CK_INVALID_HANDLE; /* the number may be another's session next */
    }
    return status;
}
