/* SPDX-License-Identifier: Apache-2.0 */
/* Evidence signed by the TPM. TPM 2.0 Library, part 3: TPM2_Quote, TPM2_Certify, TPM2_NV_Certify. */
#include "backend/tpm2/evidence.h"

#include <string.h>

#include "backend/tpm2/counter.h"

#define COUNTER_SIZE 8u
#define BOOT_PCRS 0xffu /* 0 to 7: firmware, its settings, Secure Boot (TCG PC Client Platform Firmware Profile) */

static const TPM2B_DATA no_data;
static const TPML_PCR_SELECTION no_pcrs;
static const TPMT_SIG_SCHEME own_scheme = {.scheme = TPM2_ALG_NULL};

static pqe_status
attestation_key(pqe__tpm2_device *d, ESYS_TR *ak, TPM2B_PUBLIC **public_area, pqe_error *err)
{
    const TPM2B_SENSITIVE_CREATE no_auth = {0};
    const TPM2B_PUBLIC template = {
        .publicArea = {
            .type = TPM2_ALG_ECC,
            .nameAlg = TPM2_ALG_SHA256,
            .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
                                TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED |
                                TPMA_OBJECT_SIGN_ENCRYPT,
            .parameters.eccDetail = {.symmetric.algorithm = TPM2_ALG_NULL,
                                     .scheme = {.scheme = TPM2_ALG_ECDSA, .details.ecdsa.hashAlg = TPM2_ALG_SHA256},
                                     .curveID = TPM2_ECC_NIST_P256,
                                     .kdf.scheme = TPM2_ALG_NULL}}};
    TSS2_RC rc = d->t->Esys_CreatePrimary(d->esys, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                                          &no_auth, &template, &no_data, &no_pcrs, ak, public_area, NULL, NULL, NULL);

    if (pqe__tpm2_rc(rc) == TPM2_RC_BAD_AUTH || pqe__tpm2_rc(rc) == TPM2_RC_AUTH_FAIL) {
        d->last = rc;
        return pqe__fail(err, PQE_E_DENIED, PQE_ORIGIN_DEVICE, (int64_t)rc,
                         "the TPM's endorsement hierarchy has a password, which this backend cannot give; "
                         "--no-evidence attests without it");
    }
    if (rc != TSS2_RC_SUCCESS)
        return pqe__tpm2_fail(d, rc, "make its attestation key", err);
    pqe__tpm2_keep(d, *ak);
    return PQE_OK;
}

/* Takes over and frees what a command returned. */
static pqe_status
keep_piece(pqe__tpm2_device *d, TSS2_RC rc, TPM2B_ATTEST *attest, TPMT_SIGNATURE *signature, const char *type,
           pqe__tpm2_piece *piece, pqe_error *err)
{
    size_t len = 0;

    if (rc == TSS2_RC_SUCCESS)
        rc = d->t->Tss2_MU_TPM2B_ATTEST_Marshal(attest, piece->data, sizeof piece->data, &len);
    if (rc == TSS2_RC_SUCCESS)
        rc = d->t->Tss2_MU_TPMT_SIGNATURE_Marshal(signature, piece->data, sizeof piece->data, &len);
    d->t->Esys_Free(attest);
    d->t->Esys_Free(signature);
    piece->type = type;
    piece->len = rc == TSS2_RC_SUCCESS ? len : 0;
    return rc == TSS2_RC_SUCCESS ? PQE_OK : pqe__tpm2_fail(d, rc, "give evidence", err);
}

static pqe_status
quote(pqe__tpm2_device *d, ESYS_TR ak, const pqe__tpm2_state *state, const TPM2B_DATA *nonce, pqe__tpm2_piece *piece,
      pqe_error *err)
{
    bool same_bank = state->pcr_bank == TPM2_ALG_SHA256;
    TPML_PCR_SELECTION pcrs = pqe__tpm2_pcrs(TPM2_ALG_SHA256, BOOT_PCRS | (same_bank ? state->pcr_mask : 0));
    TPM2B_ATTEST *attest = NULL;
    TPMT_SIGNATURE *signature = NULL;
    TSS2_RC rc;

    if (state->pcr_bank != 0 && !same_bank)
        pcrs.pcrSelections[pcrs.count++] = pqe__tpm2_pcrs(state->pcr_bank, state->pcr_mask).pcrSelections[0];
    rc = d->t->Esys_Quote(d->esys, ak, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, nonce, &own_scheme, &pcrs, &attest,
                          &signature);
    return keep_piece(d, rc, attest, signature, "tpm2-quote", piece, err);
}

static pqe_status
certify_key(pqe__tpm2_device *d, ESYS_TR object, ESYS_TR session, ESYS_TR ak, const pqe__tpm2_state *state,
            const TPM2B_DATA *nonce, pqe__tpm2_piece *piece, pqe_error *err)
{
    TPM2B_ATTEST *attest = NULL;
    TPMT_SIGNATURE *signature = NULL;
    TSS2_RC rc = d->t->Esys_Certify(d->esys, object, ak, session, ESYS_TR_PASSWORD, ESYS_TR_NONE, nonce, &own_scheme,
                                    &attest, &signature);

    if (rc != TSS2_RC_SUCCESS)
        return pqe__tpm2_refused(d, rc, state, "certify the vault's key", err);
    return keep_piece(d, rc, attest, signature, "tpm2-certify", piece, err);
}

static pqe_status
certify_counter(pqe__tpm2_device *d, ESYS_TR nv, ESYS_TR session, ESYS_TR ak, const TPM2B_DATA *nonce,
                pqe__tpm2_piece *piece, pqe_error *err)
{
    TPM2B_ATTEST *attest = NULL;
    TPMT_SIGNATURE *signature = NULL;
    TSS2_RC rc = d->t->Esys_NV_Certify(d->esys, ak, nv, nv, ESYS_TR_PASSWORD, session, ESYS_TR_NONE, nonce, &own_scheme,
                                       COUNTER_SIZE, 0, &attest, &signature);

    return keep_piece(d, rc, attest, signature, "tpm2-nv-certify", piece, err);
}

pqe_status
pqe__tpm2_testify(pqe__tpm2_device *d, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t kek[PQE__KEY_SIZE],
                  const uint8_t auth[PQE__KEY_SIZE], const pqe__tpm2_state *state,
                  const uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE], pqe__tpm2_piece pieces[PQE__TPM2_PIECES_MAX],
                  size_t *count, pqe_error *err)
{
    TPM2B_DATA qualifying = {.size = PQE_EVIDENCE_NONCE_SIZE};
    ESYS_TR parent, object, session, ak, nv;
    pqe_status status = pqe__tpm2_known_parent(d, state, &parent, err);

    *count = 0;
    memcpy(qualifying.buffer, nonce, PQE_EVIDENCE_NONCE_SIZE);
    if (status == PQE_OK)
        status = pqe__tpm2_load_key(d, parent, state, auth, &object, err);
    if (status == PQE_OK)
        status = pqe__tpm2_session(d, parent, state->parent_bits, 0, &session, err);
    if (status != PQE_OK)
        return status;
    pqe__tpm2_flush(d, parent);
    status = attestation_key(d, &ak, NULL, err);
    if (status == PQE_OK)
        status = quote(d, ak, state, &qualifying, &pieces[0], err);
    if (status == PQE_OK)
        status = certify_key(d, object, session, ak, state, &qualifying, &pieces[1], err);
    pqe__tpm2_forget_auth(d, object);
    *count = 2;
    if (status != PQE_OK || (state->flags & PQE__TPM2_COUNTER) == 0)
        return status;
    pqe__tpm2_flush(d, session);
    status = pqe__tpm2_counter_open(d, vault_id, kek, state, &nv, &session, err);
    if (status == PQE_OK)
        status = certify_counter(d, nv, session, ak, &qualifying, &pieces[2], err);
    *count = 3;
    return status;
}

/* ---- the key that signs ---- */

/* Big-endian and as long as the curve's field, whatever the TPM left out in front. */
static bool
put_coordinate(uint8_t *out, const TPM2B_ECC_PARAMETER *in)
{
    if (in->size > PQE__P256_SIZE)
        return false;
    memset(out, 0, PQE__P256_SIZE);
    memcpy(out + PQE__P256_SIZE - in->size, in->buffer, in->size);
    return true;
}

pqe_status
pqe__tpm2_attestation_key(pqe__tpm2_device *d, pqe_blob *pem, pqe_error *err)
{
    TPM2B_PUBLIC *public_area = NULL;
    uint8_t point[2 * PQE__P256_SIZE];
    ESYS_TR ak;
    pqe_status status = attestation_key(d, &ak, &public_area, err);

    if (status != PQE_OK)
        return status;
    if (put_coordinate(point, &public_area->publicArea.unique.ecc.x) &&
        put_coordinate(point + PQE__P256_SIZE, &public_area->publicArea.unique.ecc.y))
        status = pqe__p256_public_pem(point, (char *)pem->data, pem->capacity, &pem->len, err);
    else
        status = pqe__tpm2_fail(d, 0, "give its attestation key", err);
    d->t->Esys_Free(public_area);
    return status;
}
