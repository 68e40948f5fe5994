/* SPDX-License-Identifier: Apache-2.0 */
/* A stand-in for a TPM. */
#include "backend/testifier.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/registry.h"
#include "util/error.h"

#define DIGEST_BYTE 0x5c

testifier_knobs testifier;

static _Noreturn void
give_up(const char *what)
{
    fprintf(stderr, "testifier: cannot %s\n", what);
    abort();
}

static EVP_PKEY *
key_of(int which)
{
    static EVP_PKEY *keys[2];

    if (keys[which] == NULL && (keys[which] = EVP_EC_gen("P-256")) == NULL)
        give_up("make a key");
    return keys[which];
}

const char *
testifier_pem(int which)
{
    static char pem[2][512];
    BIO *bio = BIO_new(BIO_s_mem());
    int len;

    if (bio == NULL || PEM_write_bio_PUBKEY(bio, key_of(which)) != 1 ||
        (len = BIO_read(bio, pem[which], sizeof pem[which] - 1)) <= 0)
        give_up("write a key");
    pem[which][len] = '\0';
    BIO_free(bio);
    return pem[which];
}

const char *
testifier_pcr_digest(void)
{
    static char hex[65];

    for (size_t i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", DIGEST_BYTE);
    return hex;
}

/* ---- pieces ---- */

static TPM2B_NAME
name_of(uint8_t byte)
{
    TPM2B_NAME name = {.size = 34, .name = {0, TPM2_ALG_SHA256}};

    memset(name.name + 2, byte, 32);
    return name;
}

static TPMS_ATTEST
state(const char *type, const uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE])
{
    TPMS_ATTEST a = {.magic = TPM2_GENERATED_VALUE,
                     .qualifiedSigner = name_of(0xaa),
                     .extraData.size = PQE_EVIDENCE_NONCE_SIZE,
                     .clockInfo = {.clock = 123456789, .resetCount = 7, .restartCount = 2, .safe = TPM2_YES},
                     .firmwareVersion = 0x2019102300163636};

    memcpy(a.extraData.buffer, nonce, PQE_EVIDENCE_NONCE_SIZE);
    if (strcmp(type, "tpm2-quote") == 0) {
        a.type = TPM2_ST_ATTEST_QUOTE;
        a.attested.quote.pcrSelect = (TPML_PCR_SELECTION){
            .count = 1, .pcrSelections = {{.hash = TPM2_ALG_SHA256, .sizeofSelect = 3, .pcrSelect = {0x83, 0, 0x80}}}};
        a.attested.quote.pcrDigest.size = 32;
        memset(a.attested.quote.pcrDigest.buffer, DIGEST_BYTE, 32);
    } else if (strcmp(type, "tpm2-certify") == 0) {
        a.type = TPM2_ST_ATTEST_CERTIFY;
        a.attested.certify.name = name_of(0xbb);
        a.attested.certify.qualifiedName = name_of(0xcc);
    } else {
        a.type = TPM2_ST_ATTEST_NV;
        a.attested.nv.indexName = name_of(0xdd);
        a.attested.nv.nvContents.size = 8;
        for (size_t i = 0; i < 8; i++)
            a.attested.nv.nvContents.buffer[i] = (uint8_t)(testifier.counter >> (56 - 8 * i));
    }
    return a;
}

static TPM2B_ECC_PARAMETER
number_of(const BIGNUM *n)
{
    TPM2B_ECC_PARAMETER p = {.size = 32};

    if (BN_bn2binpad(n, p.buffer, 32) != 32)
        give_up("write a number");
    return p;
}

static TPMT_SIGNATURE
sign(const TPM2B_ATTEST *attest)
{
    TPMT_SIGNATURE out = {.sigAlg = TPM2_ALG_ECDSA, .signature.ecdsa.hash = TPM2_ALG_SHA256};
    unsigned char der[128];
    const unsigned char *p = der;
    size_t len = sizeof der;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    ECDSA_SIG *pair;

    if (EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key_of(testifier.key)) != 1 ||
        EVP_DigestSign(ctx, der, &len, attest->attestationData, attest->size) != 1 ||
        (pair = d2i_ECDSA_SIG(NULL, &p, (long)len)) == NULL)
        give_up("sign");
    EVP_MD_CTX_free(ctx);
    out.signature.ecdsa.signatureR = number_of(ECDSA_SIG_get0_r(pair));
    out.signature.ecdsa.signatureS = number_of(ECDSA_SIG_get0_s(pair));
    ECDSA_SIG_free(pair);
    return out;
}

static size_t
make_piece(const char *type, const uint8_t *nonce, uint8_t *piece)
{
    TPMS_ATTEST a = state(type, nonce);
    TPM2B_ATTEST attest = {0};
    TPMT_SIGNATURE signature;
    size_t size = 0, len = 0;

    if (testifier.before != NULL)
        testifier.before(&a);
    if (Tss2_MU_TPMS_ATTEST_Marshal(&a, attest.attestationData, sizeof attest.attestationData, &size) != 0)
        give_up("write a statement");
    attest.size = (UINT16)size;
    signature = sign(&attest);
    if (Tss2_MU_TPM2B_ATTEST_Marshal(&attest, piece, PQE_EVIDENCE_BYTES_MAX, &len) != 0 ||
        Tss2_MU_TPMT_SIGNATURE_Marshal(&signature, piece, PQE_EVIDENCE_BYTES_MAX, &len) != 0)
        give_up("write a piece");
    return len;
}

/* ---- the table ---- */

static pqe_status
evidence(void *self, void *key, const uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE], pqe_evidence_fn take, void *user,
         pqe_error *err)
{
    static const char *const all[] = {"tpm2-quote", "tpm2-certify", "tpm2-nv-certify", NULL};
    const char *const *types = testifier.types != NULL ? testifier.types : all;
    uint8_t piece[PQE_EVIDENCE_BYTES_MAX];
    pqe_status status = PQE_OK;

    (void)self;
    (void)key;
    testifier.calls++;
    for (size_t i = 0; types[i] != NULL && status == PQE_OK; i++) {
        const char *type = types[i];
        size_t len = make_piece(type, nonce, piece);
        if (testifier.after != NULL)
            testifier.after(&type, piece, &len);
        status = take(user, type, piece, len, err);
    }
    if (status == PQE_OK && testifier.fail != PQE_OK)
        status = pqe__fail(err, testifier.fail, PQE_ORIGIN_DEVICE, 0, "the chip was told to fail");
    return status;
}

static pqe_status
evidence_key(void *self, void *key, pqe_blob *pem, pqe_error *err)
{
    const char *text = testifier_pem(testifier.key);

    (void)self;
    (void)key;
    if (strlen(text) > pem->capacity)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_BACKEND, 0, "the buffer is too small for the key");
    memcpy(pem->data, text, strlen(text));
    pem->len = strlen(text);
    return PQE_OK;
}

const pqe_backend_ops *
testifier_ops(void)
{
    static pqe_backend_ops table;

    table = *pqe__backend_find("memory");
    table.info.capabilities |= PQE_CAP_EVIDENCE;
    table.evidence = evidence;
    table.evidence_key = evidence_key;
    return &table;
}
