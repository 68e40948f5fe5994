/* SPDX-License-Identifier: Apache-2.0 */
/* The backend's configuration, and where a TPM is looked for. */
#include "backend/tpm2/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_tpm2_types.h>
#include <unistd.h>

#define RESOURCE_MANAGER "/dev/tpmrm0"
#define RAW_DEVICE "/dev/tpm0"
#define PCR_COUNT 24u
#define PCR_OPTION "pcrs="

static const struct {
    const char *name;
    uint16_t id;
} banks[] = {{"sha256", TPM2_ALG_SHA256}, {"sha384", TPM2_ALG_SHA384}, {"sha1", TPM2_ALG_SHA1}};

const char *
pqe__tpm2_bank_name(uint16_t bank)
{
    for (size_t i = 0; i < sizeof banks / sizeof banks[0]; i++)
        if (banks[i].id == bank)
            return banks[i].name;
    return NULL;
}

static uint16_t
bank_of(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof banks / sizeof banks[0]; i++)
        if (strlen(banks[i].name) == len && memcmp(banks[i].name, name, len) == 0)
            return banks[i].id;
    return 0;
}

/* "0,7": decimal numbers and commas up to `end`; 0 if it is anything else. */
static uint32_t
parse_pcrs(const char *p, const char *end)
{
    uint32_t mask = 0;

    for (;;) {
        uint32_t n = 0;
        const char *start = p;
        for (; p < end && *p >= '0' && *p <= '9' && n < PCR_COUNT; p++)
            n = n * 10 + (uint32_t)(*p - '0');
        if (p == start || n >= PCR_COUNT || (mask & (1u << n)) != 0)
            return 0;
        mask |= 1u << n;
        if (p == end)
            return mask;
        if (*p++ != ',')
            return 0;
    }
}

static pqe_status
bad(pqe_error *err, const char *why)
{
    return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the tpm2 backend's configuration: %s", why);
}

static pqe_status
parse_option(const char *text, size_t len, pqe__tpm2_config *out, pqe_error *err)
{
    const char *colon;

    if (len == 3 && memcmp(text, "pin", len) == 0) {
        out->pin = true;
        return PQE_OK;
    }
    if (len == 10 && memcmp(text, "no-counter", len) == 0) {
        out->no_counter = true;
        return PQE_OK;
    }
    if (len < sizeof PCR_OPTION - 1 || memcmp(text, PCR_OPTION, sizeof PCR_OPTION - 1) != 0)
        return bad(err, "after the TCTI it takes 'pin', 'pcrs=BANK:N,N' and 'no-counter', with ';' between them");
    text += sizeof PCR_OPTION - 1;
    len -= sizeof PCR_OPTION - 1;
    colon = memchr(text, ':', len);
    out->pcr_bank = colon != NULL ? bank_of(text, (size_t)(colon - text)) : 0;
    out->pcr_mask = out->pcr_bank != 0 ? parse_pcrs(colon + 1, text + len) : 0;
    return out->pcr_mask != 0 ? PQE_OK : bad(err, "PCRs are given as in 'pcrs=sha256:0,7'");
}

pqe_status
pqe__tpm2_config_parse(const char *text, pqe__tpm2_config *out, pqe_error *err)
{
    size_t len = strcspn(text, ";");
    bool is_tcti = memchr(text, ':', len) != NULL && strncmp(text, PCR_OPTION, sizeof PCR_OPTION - 1) != 0;
    pqe_status status = PQE_OK;

    *out = (pqe__tpm2_config){0};
    if (is_tcti && (out->tcti = strndup(text, len)) == NULL)
        return pqe__fail_nomem(err);
    if (is_tcti || len == 0) {
        text += len;
        text += *text == ';';
    }
    while (status == PQE_OK && *text != '\0') {
        len = strcspn(text, ";");
        status = parse_option(text, len, out, err);
        text += len;
        text += *text == ';';
    }
    if (status != PQE_OK)
        pqe__tpm2_config_free(out);
    return status;
}

void
pqe__tpm2_config_free(pqe__tpm2_config *config)
{
    free(config->tcti);
    *config = (pqe__tpm2_config){0};
}

pqe_status
pqe__tpm2_config_find(const pqe__tpm2_config *config, pqe_error *err)
{
    if (config->tcti != NULL || access(RESOURCE_MANAGER, R_OK | W_OK) == 0)
        return PQE_OK;
    if (errno == EACCES)
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_DEVICE, errno,
                         "this user may not use " RESOURCE_MANAGER " (on most systems members of the group tss may)");
    if (access(RAW_DEVICE, F_OK) == 0)
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_DEVICE, 0,
                         "there is " RAW_DEVICE " but no " RESOURCE_MANAGER ": a TPM 1.2, or a kernel without resource "
                         "manager");
    return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_DEVICE, 0, "no TPM 2.0 was found (" RESOURCE_MANAGER ")");
}
