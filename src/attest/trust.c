/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of trusted signers, the hashes in their DIDs standing for public keys as well, and of keys that sign evidence. */
#include <stdlib.h>
#include <string.h>

#include "attest/attest.h"
#include "util/grow.h"
#include "util/text.h"

#define HASH_SIZE PQE__SHA3_256_SIZE

static const char begin_label[] = "-----BEGIN PUBLIC KEY-----";
static const char end_label[] = "-----END PUBLIC KEY-----";

pqe_status
pqe_trust_new(pqe_trust **out, pqe_error *err)
{
    if (out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "no place for the set");
    *out = calloc(1, sizeof **out);
    return *out != NULL ? PQE_OK : pqe__fail_nomem(err);
}

static void
forget_evidence_keys(pqe_trust *trust, size_t but)
{
    while (trust->evidence_count > but)
        pqe__ecdsa_free(&trust->evidence_keys[--trust->evidence_count]);
}

void
pqe_trust_free(pqe_trust **trust)
{
    if (trust == NULL || *trust == NULL)
        return;
    forget_evidence_keys(*trust, 0);
    free((*trust)->evidence_keys);
    free((*trust)->hashes);
    free(*trust);
    *trust = NULL;
}

/* Of a valid DID. */
static void
hash_of(const char *did, uint8_t hash[HASH_SIZE])
{
    pqe__hex_decode(did + sizeof PQE__DID_PREFIX - 1, HASH_SIZE, hash);
}

static pqe_status
add(pqe_trust *trust, const char *did, pqe_error *err)
{
    void *room = pqe__grow(trust->hashes, trust->count, &trust->capacity, sizeof *trust->hashes);

    if (room == NULL)
        return pqe__fail_nomem(err);
    trust->hashes = room;
    hash_of(did, trust->hashes[trust->count++]);
    return PQE_OK;
}

pqe_status
pqe_trust_add_key(pqe_trust *trust, const pqe_public_key *key, pqe_error *err)
{
    if (trust == NULL || key == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "a set and a key are required");
    return add(trust, key->did, err);
}

static pqe_status
add_did(pqe_trust *trust, const char *did, size_t len, pqe_error *err)
{
    if (!pqe__did_valid(did, len))
        return pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0,
                         "not a DID of the form did:pqaid: and 64 lower-case hexadecimal digits");
    return add(trust, did, err);
}

pqe_status
pqe_trust_add_did(pqe_trust *trust, const char *did, pqe_error *err)
{
    if (trust == NULL || did == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "a set and a DID are required");
    return add_did(trust, did, strlen(did), err);
}

static pqe_status
add_pem(pqe_trust *trust, const char *pem, size_t len, pqe_error *err)
{
    pqe_public_key *key = NULL;
    pqe_status status = pqe_public_key_from_pem(pem, len, &key, err);

    if (status == PQE_OK)
        status = pqe_trust_add_key(trust, key, err);
    pqe_public_key_free(&key);
    return status;
}

static bool
starts_with(const char *line, size_t len, const char *start)
{
    return len >= strlen(start) && memcmp(line, start, strlen(start)) == 0;
}

typedef pqe_status (*take_fn)(pqe_trust *trust, const char *text, size_t len, pqe_error *err);

/* Gives each PEM block to one function, each line that is not empty and no comment to the other. */
static pqe_status
read_text(pqe_trust *trust, const char *text, size_t len, take_fn take_pem, take_fn take_line, pqe_error *err)
{
    const char *end = text + len, *pem = NULL;
    pqe_status status = PQE_OK;

    for (const char *line = text, *next; line < end && status == PQE_OK; line = next) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((newline != NULL ? newline : end) - line);
        next = newline != NULL ? newline + 1 : end;
        while (n > 0 && (line[n - 1] == '\r' || line[n - 1] == ' ' || line[n - 1] == '\t'))
            n--;
        if (pem != NULL) {
            if (!starts_with(line, n, end_label))
                continue;
            status = take_pem(trust, pem, (size_t)(next - pem), err);
            pem = NULL;
        } else if (starts_with(line, n, begin_label)) {
            pem = line;
        } else if (n != 0 && line[0] != '#') {
            status = take_line(trust, line, n, err);
        }
    }
    if (status == PQE_OK && pem != NULL)
        status = pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "a public key in it has no end");
    return status;
}

pqe_status
pqe_trust_add_text(pqe_trust *trust, const char *text, size_t len, pqe_error *err)
{
    size_t before;
    pqe_status status;

    if (trust == NULL || text == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "a set and a text are required");
    before = trust->count;
    status = read_text(trust, text, len, add_pem, add_did, err);
    if (status == PQE_OK && trust->count == before)
        status = pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "there is no public key and no DID in it");
    if (status != PQE_OK)
        trust->count = before;
    return status;
}

static pqe_status
add_evidence_pem(pqe_trust *trust, const char *pem, size_t len, pqe_error *err)
{
    void *room =
        pqe__grow(trust->evidence_keys, trust->evidence_count, &trust->evidence_capacity, sizeof(pqe__ecdsa_key *));
    pqe_status status;

    if (room == NULL)
        return pqe__fail_nomem(err);
    trust->evidence_keys = room;
    status = pqe__ecdsa_from_pem(pem, len, &trust->evidence_keys[trust->evidence_count], err);
    trust->evidence_count += status == PQE_OK;
    return status;
}

static pqe_status
refuse_line(pqe_trust *trust, const char *line, size_t len, pqe_error *err)
{
    (void)trust;
    (void)line;
    (void)len;
    return pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "not a public key in SubjectPublicKeyInfo PEM");
}

pqe_status
pqe_trust_add_evidence_keys(pqe_trust *trust, const char *text, size_t len, pqe_error *err)
{
    size_t before;
    pqe_status status;

    if (trust == NULL || text == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "a set and a text are required");
    before = trust->evidence_count;
    status = read_text(trust, text, len, add_evidence_pem, refuse_line, err);
    if (status == PQE_OK && trust->evidence_count == before)
        status = pqe__fail(err, PQE_E_MALFORMED, PQE_ORIGIN_FORMAT, 0, "there is no public key in it");
    if (status != PQE_OK)
        forget_evidence_keys(trust, before);
    return status;
}

bool
pqe__trust_has(const pqe_trust *trust, const char *did)
{
    uint8_t hash[HASH_SIZE];

    if (trust == NULL)
        return false;
    hash_of(did, hash);
    for (size_t i = 0; i < trust->count; i++)
        if (memcmp(trust->hashes[i], hash, HASH_SIZE) == 0)
            return true;
    return false;
}
