/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what a TPM signed, by libtss2-mu of tpm2-tss, which is loaded at the first use: a verifier without it still
 * verifies everything else.
 */
#include "attest/tpm.h"

#include <stdio.h>
#include <string.h>

#include "util/cursor.h"

/* TPM 2.0 Library, part 2, table 9. */
#define ALG_SHA256 0x000bu
#define ALG_ECDSA 0x0018u

/* Big-endian, without leading zeros or with them: put to the right. */
static bool
get_number(pqe__rcur *c, uint8_t out[PQE__P256_SIZE])
{
    size_t len = pqe__get_u16(c);
    const uint8_t *data;

    if (len == 0 || len > PQE__P256_SIZE || (data = pqe__get_bytes(c, len)) == NULL)
        return false;
    memset(out, 0, PQE__P256_SIZE);
    memcpy(out + PQE__P256_SIZE - len, data, len);
    return true;
}

bool
pqe__tpm_split(const uint8_t *data, size_t len, pqe__tpm_signed *out)
{
    pqe__rcur c = pqe__rcur_init(data, len);

    out->statement.len = pqe__get_u16(&c);
    out->statement.data = pqe__get_bytes(&c, out->statement.len);
    return out->statement.len != 0 && pqe__get_u16(&c) == ALG_ECDSA && pqe__get_u16(&c) == ALG_SHA256 &&
           get_number(&c, out->r) && get_number(&c, out->s) && pqe__rcur_done(&c);
}

#ifdef PQE_HAVE_TSS2_MU

#include <dlfcn.h>
#include <pthread.h>
#include <tss2/tss2_mu.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static __typeof__(&Tss2_MU_TPMS_ATTEST_Unmarshal) unmarshal;

/* Has been libtss2-mu.so.0 in all versions from 2.4 to 4.1. Once loaded it stays. */
static void
load(void)
{
    void *library = dlopen("libtss2-mu.so.0", RTLD_NOW | RTLD_LOCAL);
    void *address = library != NULL ? dlsym(library, "Tss2_MU_TPMS_ATTEST_Unmarshal") : NULL;

    memcpy(&unmarshal, &address, sizeof unmarshal); /* POSIX's way from an object pointer to a function */
}

bool
pqe__tpm_readable(void)
{
    pthread_once(&once, load);
    return unmarshal != NULL;
}

static const struct {
    TPM2_ALG_ID id;
    const char *name;
} banks[] = {{TPM2_ALG_SHA1, "sha1"},
             {TPM2_ALG_SHA256, "sha256"},
             {TPM2_ALG_SHA384, "sha384"},
             {TPM2_ALG_SHA512, "sha512"},
             {TPM2_ALG_SM3_256, "sm3-256"}};

/* "sha256:0,1,7+sha1:0", as tpm2-tools write it. False if it does not fit. */
static bool
write_selection(const TPML_PCR_SELECTION *pcrs, char out[PQE_EVIDENCE_TEXT_MAX])
{
    char unknown[8];
    size_t pos = 0;

    out[0] = '\0';
    for (UINT32 i = 0; i < pcrs->count; i++) {
        const TPMS_PCR_SELECTION *s = &pcrs->pcrSelections[i];
        const char *bank = NULL, *separator = ":";
        for (size_t k = 0; k < sizeof banks / sizeof banks[0]; k++)
            if (banks[k].id == s->hash)
                bank = banks[k].name;
        snprintf(unknown, sizeof unknown, "0x%04x", s->hash);
        pos += (size_t)snprintf(out + pos, PQE_EVIDENCE_TEXT_MAX - pos, "%s%s", i == 0 ? "" : "+",
                                bank != NULL ? bank : unknown);
        for (unsigned pcr = 0; pcr < 8u * s->sizeofSelect && pos < PQE_EVIDENCE_TEXT_MAX; pcr++) {
            if ((s->pcrSelect[pcr / 8] >> (pcr % 8) & 1) == 0)
                continue;
            pos += (size_t)snprintf(out + pos, PQE_EVIDENCE_TEXT_MAX - pos, "%s%u", separator, pcr);
            separator = ",";
        }
        if (pos >= PQE_EVIDENCE_TEXT_MAX)
            return false;
    }
    return true;
}

static bool
keep_name(const TPM2B_NAME *name, uint8_t out[PQE__TPM_NAME_MAX], size_t *len)
{
    if (name->size == 0 || name->size > PQE__TPM_NAME_MAX)
        return false;
    memcpy(out, name->name, name->size);
    *len = name->size;
    return true;
}

static bool
read_quote(const TPMS_QUOTE_INFO *quote, pqe__tpm_statement *out)
{
    out->kind = PQE__TPM_QUOTE;
    if (quote->pcrDigest.size != sizeof out->pcr_digest || !write_selection(&quote->pcrSelect, out->pcr_selection))
        return false;
    memcpy(out->pcr_digest, quote->pcrDigest.buffer, sizeof out->pcr_digest);
    return true;
}

static bool
read_counter(const TPMS_NV_CERTIFY_INFO *nv, pqe__tpm_statement *out)
{
    pqe__rcur c = pqe__rcur_init(nv->nvContents.buffer, nv->nvContents.size);

    out->kind = PQE__TPM_NV_CERTIFY;
    out->counter = pqe__get_u64(&c);
    return nv->offset == 0 && pqe__rcur_done(&c) && keep_name(&nv->indexName, out->name, &out->name_len);
}

bool
pqe__tpm_read(pqe_bytes statement, pqe__tpm_statement *out)
{
    TPMS_ATTEST a;
    size_t read = 0;

    memset(out, 0, sizeof *out);
    if (!pqe__tpm_readable() || unmarshal(statement.data, statement.len, &read, &a) != TSS2_RC_SUCCESS ||
        read != statement.len || a.magic != TPM2_GENERATED_VALUE || a.extraData.size != sizeof out->nonce ||
        !keep_name(&a.qualifiedSigner, out->signer, &out->signer_len))
        return false;
    memcpy(out->nonce, a.extraData.buffer, sizeof out->nonce);
    out->firmware = a.firmwareVersion;
    out->clock_ms = a.clockInfo.clock;
    out->resets = a.clockInfo.resetCount;
    out->restarts = a.clockInfo.restartCount;
    out->clock_safe = a.clockInfo.safe == TPM2_YES;
    if (a.type == TPM2_ST_ATTEST_QUOTE)
        return read_quote(&a.attested.quote, out);
    if (a.type == TPM2_ST_ATTEST_NV)
        return read_counter(&a.attested.nv, out);
    out->kind = PQE__TPM_CERTIFY;
    return a.type == TPM2_ST_ATTEST_CERTIFY && keep_name(&a.attested.certify.name, out->name, &out->name_len);
}

#else

bool
pqe__tpm_readable(void)
{
    return false;
}

bool
pqe__tpm_read(pqe_bytes statement, pqe__tpm_statement *out)
{
    (void)statement;
    memset(out, 0, sizeof *out);
    return false;
}

#endif
