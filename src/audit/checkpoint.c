/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints as text, for people to keep and compare. What is parsed must be what would be written, byte for byte. */
#include "audit/audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "util/text.h"

#define TITLE "pqc-enclave audit checkpoint v1\n"

size_t
pqe__checkpoint_encode(const pqe__checkpoint *p, char out[PQE__CHECKPOINT_TEXT])
{
    char vault[2 * PQE__ID_SIZE + 1], link[2 * PQE__DIGEST_SIZE + 1];
    int n;

    pqe__hex_encode(p->vault_id, PQE__ID_SIZE, vault);
    pqe__hex_encode(p->link, PQE__DIGEST_SIZE, link);
    n = snprintf(out, PQE__CHECKPOINT_TEXT,
                 TITLE "vault: %s\nchain: %" PRIu32 "\nentry: %" PRIu64 "\ndigest: %s\ntime: %" PRIu64 "\n", vault,
                 p->chain, p->seq, link, p->time);
    return n > 0 ? (size_t)n : 0;
}

/* "name: " and what stands before the newline. */
static bool
take_line(const char **at, const char *end, const char *name, const char **value, size_t *len)
{
    size_t n = strlen(name);
    const char *newline;

    if ((size_t)(end - *at) < n || memcmp(*at, name, n) != 0)
        return false;
    *value = *at + n;
    newline = memchr(*value, '\n', (size_t)(end - *value));
    if (newline == NULL)
        return false;
    *len = (size_t)(newline - *value);
    *at = newline + 1;
    return true;
}

static bool
take_number(const char **at, const char *end, const char *name, uint64_t max, uint64_t *out)
{
    const char *digits;
    size_t len;

    *out = 0;
    if (!take_line(at, end, name, &digits, &len) || len == 0 || len > 20)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned digit = (unsigned)(digits[i] - '0');
        if (digit > 9 || *out > (max - digit) / 10)
            return false;
        *out = *out * 10 + digit;
    }
    return true;
}

static bool
take_hex(const char **at, const char *end, const char *name, size_t size, uint8_t *out)
{
    const char *digits;
    size_t len;

    return take_line(at, end, name, &digits, &len) && len == 2 * size && pqe__hex_decode(digits, size, out);
}

pqe_status
pqe__checkpoint_decode(const char *text, size_t len, pqe__checkpoint *out, size_t *used, pqe_error *err)
{
    const char *at = text, *end = text + len, *nothing;
    char again[PQE__CHECKPOINT_TEXT];
    uint64_t chain = 0;
    size_t n;

    memset(out, 0, sizeof *out);
    *used = 0;
    if (take_line(&at, end, "pqc-enclave audit checkpoint v1", &nothing, &n) && n == 0 &&
        take_hex(&at, end, "vault: ", PQE__ID_SIZE, out->vault_id) &&
        take_number(&at, end, "chain: ", UINT32_MAX, &chain) &&
        take_number(&at, end, "entry: ", UINT64_MAX, &out->seq) &&
        take_hex(&at, end, "digest: ", PQE__DIGEST_SIZE, out->link) &&
        take_number(&at, end, "time: ", UINT64_MAX, &out->time)) {
        out->chain = (uint32_t)chain;
        n = pqe__checkpoint_encode(out, again);
        if (n == (size_t)(at - text) && memcmp(again, text, n) == 0) {
            *used = n;
            return PQE_OK;
        }
    }
    return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_FORMAT, 0, "this is not a checkpoint of an audit log");
}
