/* SPDX-License-Identifier: Apache-2.0 */
/* Storage key, sessions, sealed key. TPM 2.0 Library, part 3, is cited by command. */
#include "backend/tpm2/object.h"

#include <limits.h>
#include <string.h>

#include "util/secmem.h"

#define NO_SESSIONS ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE
#define PASSWORD ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE
#define ONE_SESSION(s) (s), ESYS_TR_NONE, ESYS_TR_NONE

static const TPMT_SYM_DEF no_encryption = {.algorithm = TPM2_ALG_NULL};
static const TPM2B_DATA no_data;
static const TPML_PCR_SELECTION no_pcrs;

static TPM2B_AUTH
auth_of(const uint8_t auth[PQE__KEY_SIZE])
{
    TPM2B_AUTH value = {.size = PQE__KEY_SIZE};

    memcpy(value.buffer, auth, PQE__KEY_SIZE);
    return value;
}

TPML_PCR_SELECTION
pqe__tpm2_pcrs(uint16_t bank, uint32_t mask)
{
    TPML_PCR_SELECTION s = {.count = 1, .pcrSelections = {{.hash = bank, .sizeofSelect = 3}}};

    for (unsigned i = 0; i < 3; i++)
        s.pcrSelections[0].pcrSelect[i] = (BYTE)(mask >> (8 * i));
    return s;
}

/* ---- the storage key ---- */

pqe_status
pqe__tpm2_choose_bits(pqe__tpm2_device *d, uint16_t *bits, pqe_error *err)
{
    TPMT_PUBLIC_PARMS parms = {
        .type = TPM2_ALG_SYMCIPHER,
        .parameters.symDetail.sym = {.algorithm = TPM2_ALG_AES, .keyBits.aes = 256, .mode.aes = TPM2_ALG_CFB}};
    TSS2_RC rc = d->t->Esys_TestParms(d->esys, NO_SESSIONS, &parms);

    *bits = rc == TSS2_RC_SUCCESS ? 256 : 128;
    /* "Not supported" is an error about the parameter. */
    if (rc != TSS2_RC_SUCCESS && (pqe__tpm2_rc(rc) & TPM2_RC_FMT1) == 0)
        return pqe__tpm2_fail(d, rc, "say what it supports", err);
    return PQE_OK;
}

static TPM2B_PUBLIC
parent_template(uint16_t bits)
{
    return (TPM2B_PUBLIC){
        .publicArea = {.type = TPM2_ALG_ECC,
                       .nameAlg = TPM2_ALG_SHA256,
                       .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                                           TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
                                           TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,
                       .parameters.eccDetail = {
                           .symmetric = {.algorithm = TPM2_ALG_AES, .keyBits.aes = bits, .mode.aes = TPM2_ALG_CFB},
                           .scheme.scheme = TPM2_ALG_NULL,
                           .curveID = TPM2_ECC_NIST_P256,
                           .kdf.scheme = TPM2_ALG_NULL}}};
}

static pqe_status
name_of(pqe__tpm2_device *d, ESYS_TR object, uint8_t out[PQE__TPM2_NAME_SIZE], pqe_error *err)
{
    TPM2B_NAME *name = NULL;
    TSS2_RC rc = d->t->Esys_TR_GetName(d->esys, object, &name);
    bool ok = rc == TSS2_RC_SUCCESS && name->size == PQE__TPM2_NAME_SIZE;

    if (ok)
        memcpy(out, name->name, PQE__TPM2_NAME_SIZE);
    d->t->Esys_Free(name);
    return ok ? PQE_OK : pqe__tpm2_fail(d, rc, "name its storage key", err);
}

pqe_status
pqe__tpm2_parent(pqe__tpm2_device *d, uint16_t bits, uint8_t name[PQE__TPM2_NAME_SIZE], ESYS_TR *parent, pqe_error *err)
{
    const TPM2B_SENSITIVE_CREATE no_auth = {0};
    TPM2B_PUBLIC template = parent_template(bits);
    TSS2_RC rc = d->t->Esys_CreatePrimary(d->esys, ESYS_TR_RH_OWNER, PASSWORD, &no_auth, &template, &no_data, &no_pcrs,
                                          parent, NULL, NULL, NULL, NULL);

    if (pqe__tpm2_rc(rc) == TPM2_RC_BAD_AUTH || pqe__tpm2_rc(rc) == TPM2_RC_AUTH_FAIL) {
        d->last = rc;
        return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_DEVICE, (int64_t)rc,
                         "the TPM's owner hierarchy has a password, which this backend cannot give");
    }
    if (rc != TSS2_RC_SUCCESS)
        return pqe__tpm2_fail(d, rc, "make its storage key", err);
    pqe__tpm2_keep(d, *parent);
    return name_of(d, *parent, name, err);
}

/* Not about the handle or the session. */
static bool
is_about_parameter(TSS2_RC rc)
{
    return (pqe__tpm2_rc(rc) & TPM2_RC_FMT1) != 0 && (rc & TPM2_RC_P) != 0;
}

pqe_status
pqe__tpm2_known_parent(pqe__tpm2_device *d, const pqe__tpm2_state *state, ESYS_TR *parent, pqe_error *err)
{
    uint8_t name[PQE__TPM2_NAME_SIZE];
    pqe_status status = pqe__tpm2_parent(d, state->parent_bits, name, parent, err);

    if (status == PQE_E_BACKEND && is_about_parameter(d->last)) /* it has no AES of that size, for example */
        return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_DEVICE, (int64_t)d->last,
                         "this vault belongs to another TPM: this one cannot make its storage key; only a recovery key "
                         "opens it");
    if (status == PQE_OK && memcmp(name, state->parent_name, sizeof name) != 0)
        status = pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_DEVICE, 0,
                           "this vault belongs to another TPM, or the TPM was cleared; only a recovery key opens it");
    return status;
}

/* ---- sessions ---- */

static pqe_status
start(pqe__tpm2_device *d, ESYS_TR parent, uint16_t bits, TPM2_SE type, TPMA_SESSION attributes, ESYS_TR *session,
      pqe_error *err)
{
    const TPMT_SYM_DEF cipher = {.algorithm = TPM2_ALG_AES, .keyBits.aes = bits, .mode.aes = TPM2_ALG_CFB};
    TSS2_RC rc = d->t->Esys_StartAuthSession(d->esys, parent, ESYS_TR_NONE, NO_SESSIONS, NULL, type,
                                             bits != 0 ? &cipher : &no_encryption, TPM2_ALG_SHA256, session);

    if (rc == TSS2_RC_SUCCESS) {
        pqe__tpm2_keep(d, *session);
        rc = d->t->Esys_TRSess_SetAttributes(d->esys, *session, attributes | TPMA_SESSION_CONTINUESESSION, 0xff);
    }
    return rc == TSS2_RC_SUCCESS ? PQE_OK : pqe__tpm2_fail(d, rc, "start a session", err);
}

pqe_status
pqe__tpm2_session(pqe__tpm2_device *d, ESYS_TR parent, uint16_t bits, TPMA_SESSION attributes, ESYS_TR *session,
                  pqe_error *err)
{
    return start(d, parent, bits, TPM2_SE_HMAC, attributes, session, err);
}

/* PolicyPCR, where there are PCRs, then PolicyAuthValue. The TPM takes the PCRs' present values. */
static pqe_status
follow_policy(pqe__tpm2_device *d, ESYS_TR session, uint16_t bank, uint32_t mask, pqe_error *err)
{
    const TPM2B_DIGEST present = {0};
    TPML_PCR_SELECTION pcrs = pqe__tpm2_pcrs(bank, mask);
    TSS2_RC rc = TSS2_RC_SUCCESS;

    if (bank != 0)
        rc = d->t->Esys_PolicyPCR(d->esys, session, NO_SESSIONS, &present, &pcrs);
    if (rc != TSS2_RC_SUCCESS)
        return pqe__tpm2_fail(d, rc, "take its PCRs into a policy", err);
    rc = d->t->Esys_PolicyAuthValue(d->esys, session, NO_SESSIONS);
    return rc == TSS2_RC_SUCCESS ? PQE_OK : pqe__tpm2_fail(d, rc, "follow a policy", err);
}

/* The policy of a new key, by a trial session. */
static pqe_status
make_policy(pqe__tpm2_device *d, pqe__tpm2_state *state, pqe_error *err)
{
    TPM2B_DIGEST *digest = NULL;
    ESYS_TR trial;
    TSS2_RC rc;
    pqe_status status = start(d, ESYS_TR_NONE, 0, TPM2_SE_TRIAL, 0, &trial, err);

    if (status == PQE_OK)
        status = follow_policy(d, trial, state->pcr_bank, state->pcr_mask, err);
    if (status != PQE_OK)
        return status;
    rc = d->t->Esys_PolicyGetDigest(d->esys, trial, NO_SESSIONS, &digest);
    if (rc == TSS2_RC_SUCCESS && digest->size == sizeof state->policy)
        memcpy(state->policy, digest->buffer, sizeof state->policy);
    else
        status = pqe__tpm2_fail(d, rc, "give the digest of a policy", err);
    d->t->Esys_Free(digest);
    pqe__tpm2_flush(d, trial);
    return status;
}

/* ---- the sealed key ---- */

/* Wrong values of a random authorization value are not guesses, and must not lock a TPM that others use as well. */
static TPM2B_PUBLIC
key_template(const pqe__tpm2_state *state)
{
    TPM2B_PUBLIC p = {
        .publicArea = {.type = TPM2_ALG_KEYEDHASH,
                       .nameAlg = TPM2_ALG_SHA256,
                       .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                                           ((state->flags & PQE__TPM2_PIN) != 0 ? 0 : (TPMA_OBJECT)TPMA_OBJECT_NODA),
                       .authPolicy.size = sizeof state->policy,
                       .parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL}};

    memcpy(p.publicArea.authPolicy.buffer, state->policy, sizeof state->policy);
    return p;
}

pqe_status
pqe__tpm2_seal_key(pqe__tpm2_device *d, ESYS_TR parent, pqe__tpm2_state *state, const uint8_t auth[PQE__KEY_SIZE],
                   const uint8_t kek[PQE__KEY_SIZE], pqe_error *err)
{
    TPM2B_SENSITIVE_CREATE sensitive = {.sensitive.data.size = PQE__KEY_SIZE};
    TPM2B_PUBLIC template, *public_area = NULL;
    TPM2B_PRIVATE *private_area = NULL;
    ESYS_TR session;
    TSS2_RC rc;
    pqe_status status = make_policy(d, state, err);

    if (status == PQE_OK)
        status = pqe__tpm2_session(d, parent, state->parent_bits, TPMA_SESSION_DECRYPT, &session, err);
    if (status != PQE_OK)
        goto cleanup;
    template = key_template(state);
    sensitive.sensitive.userAuth = auth_of(auth);
    memcpy(sensitive.sensitive.data.buffer, kek, PQE__KEY_SIZE);
    rc = d->t->Esys_Create(d->esys, parent, ONE_SESSION(session), &sensitive, &template, &no_data, &no_pcrs,
                           &private_area, &public_area, NULL, NULL, NULL);
    if (rc == TSS2_RC_SUCCESS && private_area->size <= sizeof state->private_part &&
        public_area->publicArea.unique.keyedHash.size == sizeof state->unique) {
        state->private_len = private_area->size;
        memcpy(state->private_part, private_area->buffer, private_area->size);
        memcpy(state->unique, public_area->publicArea.unique.keyedHash.buffer, sizeof state->unique);
    } else {
        status = pqe__tpm2_fail(d, rc, "seal a key", err);
    }
    pqe__tpm2_flush(d, session);

cleanup:
    d->t->Esys_Free(private_area);
    d->t->Esys_Free(public_area);
    pqe__wipe(&sensitive, sizeof sensitive);
    return status;
}

pqe_status
pqe__tpm2_load_key(pqe__tpm2_device *d, ESYS_TR parent, const pqe__tpm2_state *state, const uint8_t auth[PQE__KEY_SIZE],
                   ESYS_TR *object, pqe_error *err)
{
    TPM2B_PRIVATE private_area = {.size = state->private_len};
    TPM2B_PUBLIC public_area = key_template(state);
    TPM2B_AUTH value;
    TSS2_RC rc;

    memcpy(private_area.buffer, state->private_part, state->private_len);
    public_area.publicArea.unique.keyedHash.size = sizeof state->unique;
    memcpy(public_area.publicArea.unique.keyedHash.buffer, state->unique, sizeof state->unique);
    rc = d->t->Esys_Load(d->esys, parent, PASSWORD, &private_area, &public_area, object);
    if ((pqe__tpm2_rc(rc) & TPM2_RC_FMT1) != 0) { /* an error about what was given, not of the TPM */
        d->last = rc;
        return pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_DEVICE, (int64_t)rc,
                         "the TPM does not know the vault's sealed key: it was altered");
    }
    if (rc != TSS2_RC_SUCCESS)
        return pqe__tpm2_fail(d, rc, "load the vault's key", err);
    pqe__tpm2_keep(d, *object);
    value = auth_of(auth);
    rc = d->t->Esys_TR_SetAuth(d->esys, *object, &value);
    pqe__wipe(&value, sizeof value);
    return rc == TSS2_RC_SUCCESS ? PQE_OK : pqe__tpm2_fail(d, rc, "take an authorization value", err);
}

/* How many seconds until the TPM takes another guess; 0 if it does not say. */
static unsigned
lockout_seconds(pqe__tpm2_device *d, unsigned *left)
{
    TPMS_CAPABILITY_DATA *found;
    uint32_t failed = 0, most = 0, interval = 0;
    uint64_t wait;

    *left = 0;
    if (pqe__tpm2_capability(d, TPM2_CAP_TPM_PROPERTIES, TPM2_PT_LOCKOUT_COUNTER, 3, &found) != TSS2_RC_SUCCESS)
        return 0;
    for (UINT32 i = 0; i < found->data.tpmProperties.count; i++) {
        const TPMS_TAGGED_PROPERTY *p = &found->data.tpmProperties.tpmProperty[i];
        if (p->property == TPM2_PT_LOCKOUT_COUNTER)
            failed = p->value;
        else if (p->property == TPM2_PT_MAX_AUTH_FAIL)
            most = p->value;
        else if (p->property == TPM2_PT_LOCKOUT_INTERVAL)
            interval = p->value;
    }
    d->t->Esys_Free(found);
    *left = most > failed ? most - failed : 0;
    wait = failed >= most ? (uint64_t)interval * ((uint64_t)(failed - most) + 1) : 0;
    return wait <= UINT_MAX ? (unsigned)wait : 0;
}

pqe_status
pqe__tpm2_refused(pqe__tpm2_device *d, TSS2_RC rc, const pqe__tpm2_state *state, const char *what, pqe_error *err)
{
    unsigned left, seconds;

    d->last = rc;
    switch (pqe__tpm2_rc(rc)) {
    case TPM2_RC_LOCKOUT:
        seconds = lockout_seconds(d, &left);
        if (seconds != 0)
            return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_DEVICE, (int64_t)rc,
                             "the TPM is locked out after too many wrong PINs; wait %u seconds", seconds);
        return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_DEVICE, (int64_t)rc,
                         "the TPM is locked out after too many wrong PINs; wait, or have its lockout reset");
    case TPM2_RC_AUTH_FAIL:
        (void)lockout_seconds(d, &left);
        d->last = rc;
        return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_DEVICE, (int64_t)rc,
                         "the PIN is wrong; %u more before the TPM locks", left);
    case TPM2_RC_BAD_AUTH:
        return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_DEVICE, (int64_t)rc,
                         "the TPM refuses the vault's authorization value: what the vault stores was altered");
    case TPM2_RC_POLICY_FAIL:
        if (state->pcr_bank != 0)
            return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_DEVICE, (int64_t)rc,
                             "the PCRs are not those that the vault was bound to: other firmware, boot settings or "
                             "kernel; only a recovery key opens it like this");
        return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_DEVICE, (int64_t)rc,
                         "the TPM refuses the vault's policy: what the vault stores was altered");
    default:
        return pqe__tpm2_fail(d, rc, what, err);
    }
}

/* The stack keeps its last message, decrypted, and gives it back unwiped: a longer one goes over it. */
static void
cover_tracks(pqe__tpm2_device *d, ESYS_TR parent)
{
    TPM2B_PUBLIC *public_area = NULL;

    (void)d->t->Esys_ReadPublic(d->esys, parent, NO_SESSIONS, &public_area, NULL, NULL);
    d->t->Esys_Free(public_area);
}

void
pqe__tpm2_forget_auth(pqe__tpm2_device *d, ESYS_TR object)
{
    const TPM2B_AUTH nothing = {.size = PQE__KEY_SIZE};

    (void)d->t->Esys_TR_SetAuth(d->esys, object, &nothing);
}

pqe_status
pqe__tpm2_unseal_key(pqe__tpm2_device *d, ESYS_TR parent, ESYS_TR object, const pqe__tpm2_state *state,
                     uint8_t kek[PQE__KEY_SIZE], pqe_error *err)
{
    TPM2B_SENSITIVE_DATA *data = NULL;
    ESYS_TR session;
    TSS2_RC rc;
    pqe_status status = start(d, parent, state->parent_bits, TPM2_SE_POLICY, TPMA_SESSION_ENCRYPT, &session, err);

    if (status == PQE_OK)
        status = follow_policy(d, session, state->pcr_bank, state->pcr_mask, err);
    if (status != PQE_OK)
        return status;
    rc = d->t->Esys_Unseal(d->esys, object, ONE_SESSION(session), &data);
    pqe__tpm2_forget_auth(d, object);
    if (rc != TSS2_RC_SUCCESS)
        return pqe__tpm2_refused(d, rc, state, "unseal the vault's key", err);
    if (data->size == PQE__KEY_SIZE)
        memcpy(kek, data->buffer, PQE__KEY_SIZE);
    else
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_DEVICE, 0, "what the TPM unseals is not a key of ours");
    pqe__wipe(data, sizeof *data);
    d->t->Esys_Free(data);
    cover_tracks(d, parent);
    pqe__tpm2_flush(d, session);
    return status;
}

pqe_status
pqe__tpm2_change_auth(pqe__tpm2_device *d, const pqe__tpm2_state *state, const uint8_t auth[PQE__KEY_SIZE],
                      const uint8_t new_auth[PQE__KEY_SIZE], pqe__tpm2_state *out, pqe_error *err)
{
    TPM2B_AUTH value = auth_of(new_auth);
    TPM2B_PRIVATE *private_area = NULL;
    ESYS_TR parent, object, session;
    TSS2_RC rc;
    pqe_status status = pqe__tpm2_known_parent(d, state, &parent, err);

    if (status == PQE_OK)
        status = pqe__tpm2_load_key(d, parent, state, auth, &object, err);
    if (status == PQE_OK)
        status = pqe__tpm2_session(d, parent, state->parent_bits, TPMA_SESSION_DECRYPT, &session, err);
    if (status != PQE_OK)
        goto cleanup;
    rc = d->t->Esys_ObjectChangeAuth(d->esys, object, parent, ONE_SESSION(session), &value, &private_area);
    pqe__tpm2_forget_auth(d, object);
    if (rc != TSS2_RC_SUCCESS)
        status = pqe__tpm2_refused(d, rc, state, "give the vault's key another PIN", err);
    else if (private_area->size > sizeof out->private_part)
        status = pqe__tpm2_fail(d, rc, "give the vault's key another PIN", err);
    if (status == PQE_OK) {
        out->private_len = private_area->size;
        memcpy(out->private_part, private_area->buffer, private_area->size);
    }

cleanup:
    d->t->Esys_Free(private_area);
    pqe__wipe(&value, sizeof value);
    return status;
}
