/* SPDX-License-Identifier: Apache-2.0 */
/* Verifying attestations: one verdict each, reached in a fixed order. Public keys are loaded once and kept. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "attest/attest.h"
#include "util/opts.h"
#include "util/text.h"

static const struct {
    const char *name, *text;
} verdicts[] = {
    [PQE_VERDICT_PASS] = {"pass", "everything that was asked for holds"},
    [PQE_VERDICT_MALFORMED] = {"malformed", "not an attestation in a form that is read"},
    [PQE_VERDICT_ALGORITHM] = {"algorithm", "its signature algorithm is unknown, not allowed, or not that of its key"},
    [PQE_VERDICT_DID] = {"did", "the signer's DID is not that of the public key it carries"},
    [PQE_VERDICT_SIGNATURE] = {"signature", "the signature does not verify: it was altered or signed by another key"},
    [PQE_VERDICT_UNKNOWN_SIGNER] = {"unknown-signer", "valid signature, unknown signer: nobody who is trusted made it"},
    [PQE_VERDICT_CHALLENGE] = {"challenge", "it answers another challenge, or none"},
    [PQE_VERDICT_TIME] = {"time", "its times cannot be read or contradict each other"},
    [PQE_VERDICT_EXPIRED] = {"expired", "it has expired"},
    [PQE_VERDICT_TOO_OLD] = {"too-old", "it was issued longer ago than is accepted"},
    [PQE_VERDICT_FUTURE] = {"future", "it was issued in the future"},
    [PQE_VERDICT_HASH] = {"hash", "it is about another content than the expected one"},
    [PQE_VERDICT_NO_EVIDENCE] = {"no-evidence", "it has no evidence of the hardware that could be checked"},
    [PQE_VERDICT_EVIDENCE] = {"evidence", "its evidence is not signed by a trusted key, or is of something else"},
    [PQE_VERDICT_PCR] = {"pcr", "its evidence has another PCR digest than the expected one, or none"},
};

#define VERDICTS (sizeof verdicts / sizeof verdicts[0])

const char *
pqe_verdict_name(pqe_verdict verdict)
{
    return (size_t)verdict < VERDICTS ? verdicts[verdict].name : NULL;
}

const char *
pqe_verdict_text(pqe_verdict verdict)
{
    return (size_t)verdict < VERDICTS ? verdicts[verdict].text : "unknown verdict";
}

/* ---- the verifier and its keys ---- */

#define KEYS 64u /* public keys kept loaded */

typedef struct loaded_key {
    unsigned references; /* under the verifier's lock */
    pqe_public_key *key;
    bool trusted;
} loaded_key;

struct pqe_attest_verifier {
    pqe_attest_verify_opts opts;
    uint8_t challenge[PQE_CHALLENGE_MAX];
    char expected_hash[2 * PQE__SHA3_256_SIZE + 1], expected_pcr_digest[2 * PQE__SHA256_SIZE + 1];
    pthread_mutex_t lock;
    loaded_key *keys[KEYS];
};

/* With the lock held. */
static void
drop(loaded_key **loaded)
{
    if (*loaded != NULL && --(*loaded)->references == 0) {
        pqe_public_key_free(&(*loaded)->key);
        free(*loaded);
    }
    *loaded = NULL;
}

static loaded_key **
place_of(pqe_attest_verifier *v, const pqe_bytes raw)
{
    uint64_t start;

    memcpy(&start, raw.data, sizeof start); /* a public key begins with random bytes */
    return &v->keys[start % KEYS];
}

static bool
is_key(const loaded_key *loaded, pqe_sig_algorithm algorithm, pqe_bytes raw)
{
    return loaded != NULL && loaded->key->algorithm == algorithm && memcmp(loaded->key->raw, raw.data, raw.len) == 0;
}

/* `raw` has the algorithm's length. The result is given back by release(). */
static pqe_status
acquire(pqe_attest_verifier *v, pqe_sig_algorithm algorithm, pqe_bytes raw, loaded_key **out, pqe_error *err)
{
    loaded_key **place = place_of(v, raw), *fresh;
    pqe_status status;

    pthread_mutex_lock(&v->lock);
    *out = is_key(*place, algorithm, raw) ? *place : NULL;
    if (*out != NULL)
        (*out)->references++;
    pthread_mutex_unlock(&v->lock);
    if (*out != NULL)
        return PQE_OK;
    if ((fresh = calloc(1, sizeof *fresh)) == NULL)
        return pqe__fail_nomem(err);
    status = pqe_public_key_from_raw(algorithm, raw.data, raw.len, &fresh->key, err);
    if (status != PQE_OK) {
        free(fresh);
        return status;
    }
    fresh->trusted = pqe__trust_has(v->opts.trust, fresh->key->did);
    fresh->references = 2;
    pthread_mutex_lock(&v->lock);
    drop(place);
    *place = fresh;
    pthread_mutex_unlock(&v->lock);
    *out = fresh;
    return PQE_OK;
}

static void
release(pqe_attest_verifier *v, loaded_key **loaded)
{
    pthread_mutex_lock(&v->lock);
    drop(loaded);
    pthread_mutex_unlock(&v->lock);
}

/* Brings a digest of 64 hex digits to its one form; NULL stays NULL. */
static pqe_status
copy_digest(const char **digest, char kept[2 * PQE__SHA256_SIZE + 1], const char *what, pqe_error *err)
{
    uint8_t bytes[PQE__SHA256_SIZE];

    if (*digest == NULL)
        return PQE_OK;
    if (strlen(*digest) != (size_t)2 * sizeof bytes || !pqe__hex_decode(*digest, sizeof bytes, bytes))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the expected %s has not 64 hexadecimal digits", what);
    pqe__hex_encode(bytes, sizeof bytes, kept);
    *digest = kept;
    return PQE_OK;
}

static pqe_status
copy_opts(pqe_attest_verifier *v, const pqe_attest_verify_opts *given, pqe_error *err)
{
    pqe_attest_verify_opts *o = &v->opts;
    pqe_status status = pqe__opts_copy(o, sizeof *o, sizeof *o, given, "the verification options", err);

    if (status != PQE_OK)
        return status;
    if (o->challenge != NULL) {
        if (o->challenge_len < PQE_CHALLENGE_MIN || o->challenge_len > PQE_CHALLENGE_MAX)
            return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "a challenge has %d to %d bytes",
                             PQE_CHALLENGE_MIN, PQE_CHALLENGE_MAX);
        memcpy(v->challenge, o->challenge, o->challenge_len);
        v->opts.challenge = v->challenge;
    }
    status = copy_digest(&o->expected_hash, v->expected_hash, "hash", err);
    if (status == PQE_OK)
        status = copy_digest(&o->expected_pcr_digest, v->expected_pcr_digest, "PCR digest", err);
    if (status == PQE_OK && o->expected_pcr_digest != NULL && (o->trust == NULL || o->trust->evidence_count == 0))
        status = pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0,
                           "a PCR digest is expected, but there is no key to verify evidence with");
    return status;
}

pqe_status
pqe_attest_verifier_new(const pqe_attest_verify_opts *opts, pqe_attest_verifier **out, pqe_error *err)
{
    pqe_attest_verifier *v;
    pqe_status status = PQE_OK;

    if (out == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "no place for the verifier");
    *out = NULL;
    if ((v = calloc(1, sizeof *v)) == NULL)
        return pqe__fail_nomem(err);
    if (opts != NULL)
        status = copy_opts(v, opts, err);
    if (status == PQE_OK && pthread_mutex_init(&v->lock, NULL) != 0)
        status = pqe__fail_nomem(err);
    if (status != PQE_OK)
        free(v);
    else
        *out = v;
    return status;
}

void
pqe_attest_verifier_free(pqe_attest_verifier **verifier)
{
    pqe_attest_verifier *v = verifier != NULL ? *verifier : NULL;

    if (v == NULL)
        return;
    *verifier = NULL;
    for (size_t i = 0; i < KEYS; i++)
        drop(&v->keys[i]);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

/* ---- the checks ---- */

static bool
text_is(pqe_text text, const char *other)
{
    return text.len == strlen(other) && memcmp(text.data, other, text.len) == 0;
}

/* The algorithm by its one name, with a key of its length. */
static bool
find_algorithm(const pqe_attestation *a, bool all, pqe_sig_algorithm *out)
{
    for (int k = all ? PQE_ML_DSA_44 : PQE_ML_DSA_65; k <= PQE_ML_DSA_87; k++) {
        *out = (pqe_sig_algorithm)k;
        if (text_is(a->algorithm, pqe_sig_name(*out)))
            return a->public_key.len == pqe_sig_public_size(*out);
    }
    return false;
}

/* Version 1 signs a digest, version 2 the Sig_structure; both with the empty context (RFC 9964, section 3). */
static pqe_status
check_signature(const pqe_attestation *a, const pqe_public_key *key, pqe_error *err)
{
    const pqe__attestation *whole = (const pqe__attestation *)a; /* its first member */
    uint8_t digest[PQE__SHA3_256_SIZE];
    pqe_status status;

    if (a->version == 2 && a->origin != whole)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "a copy of an attestation cannot be verified");
    if (a->version == 2)
        return pqe__sig_verify(key->key, whole->to_be_signed.data, whole->to_be_signed.len, NULL, 0, a->signature.data,
                               a->signature.len, err);
    status = pqe__v1_digest(a, digest, err);
    if (status != PQE_OK)
        return status;
    return pqe__sig_verify(key->key, digest, sizeof digest, NULL, 0, a->signature.data, a->signature.len, err);
}

static pqe_verdict
check_times(const pqe_attestation *a, const pqe_attest_verify_opts *o)
{
    int64_t now = o->now != 0 ? o->now : pqe__walltime(), issued = a->issued;
    int64_t skew = o->no_skew ? 0 : o->skew_seconds != 0 ? (int64_t)o->skew_seconds : (int64_t)PQE_ATTEST_DEFAULT_SKEW;

    if (a->version == 1 && !pqe__time_parse(a->issued_at.data, a->issued_at.len, &issued))
        return PQE_VERDICT_TIME;
    if (a->version == 2 && a->expires < issued)
        return PQE_VERDICT_TIME;
    if (a->version == 2 && now > a->expires)
        return PQE_VERDICT_EXPIRED;
    if (o->max_age_seconds != 0 && now > issued && (uint64_t)(now - issued) > o->max_age_seconds)
        return PQE_VERDICT_TOO_OLD;
    return issued - skew > now ? PQE_VERDICT_FUTURE : PQE_VERDICT_PASS;
}

/* All that does not concern the signature. */
static pqe_verdict
check_claims(const pqe_attestation *a, const pqe_attest_verify_opts *o, bool trusted)
{
    pqe_verdict verdict;

    if (!trusted)
        return PQE_VERDICT_UNKNOWN_SIGNER;
    if (o->challenge != NULL &&
        (a->challenge.len != o->challenge_len || !pqe__equal(a->challenge.data, o->challenge, o->challenge_len)))
        return PQE_VERDICT_CHALLENGE;
    verdict = check_times(a, o);
    if (verdict == PQE_VERDICT_PASS && o->expected_hash != NULL && !text_is(a->artifact_content_hash, o->expected_hash))
        verdict = PQE_VERDICT_HASH;
    return verdict;
}

static pqe_status
check(pqe_attest_verifier *v, const pqe_attestation *a, bool only_signature, pqe_verdict *verdict, pqe_error *err)
{
    loaded_key *loaded = NULL;
    pqe_sig_algorithm algorithm;
    pqe_status status;

    *verdict = PQE_VERDICT_ALGORITHM;
    if (!find_algorithm(a, only_signature, &algorithm))
        return PQE_OK;
    *verdict = PQE_VERDICT_SIGNATURE;
    status = acquire(v, algorithm, a->public_key, &loaded, err);
    if (status == PQE_E_MALFORMED)
        return PQE_OK; /* bytes that are no public key */
    if (status != PQE_OK)
        return status;
    if (!only_signature && !text_is(a->signer_did, loaded->key->did))
        *verdict = PQE_VERDICT_DID;
    else if ((status = check_signature(a, loaded->key, err)) == PQE_OK)
        *verdict = only_signature ? PQE_VERDICT_PASS : check_claims(a, &v->opts, loaded->trusted);
    release(v, &loaded);
    if (status == PQE_OK && *verdict == PQE_VERDICT_PASS && !only_signature)
        status = pqe__evidence_judge(a, v->opts.trust, v->opts.expected_pcr_digest, verdict, err);
    return status == PQE_E_ATTESTATION ? PQE_OK : status;
}

pqe_status
pqe_attest_verifier_check(pqe_attest_verifier *verifier, const pqe_attestation *attestation, pqe_verdict *verdict,
                          pqe_error *err)
{
    pqe_verdict found;
    pqe_status status;

    if (verdict != NULL)
        *verdict = PQE_VERDICT_SIGNATURE;
    if (verifier == NULL || attestation == NULL || verdict == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "verifier, attestation and verdict are required");
    status = check(verifier, attestation, false, &found, err);
    if (status == PQE_OK)
        *verdict = found;
    return status;
}

static pqe_status
verify_one(const pqe_attestation *attestation, const pqe_attest_verify_opts *opts, bool only_signature,
           pqe_verdict *verdict, pqe_error *err)
{
    pqe_attest_verifier *v = NULL;
    pqe_verdict found = PQE_VERDICT_SIGNATURE;
    pqe_status status;

    if (verdict != NULL)
        *verdict = PQE_VERDICT_SIGNATURE;
    if (attestation == NULL)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "no attestation");
    status = pqe_attest_verifier_new(opts, &v, err);
    if (status == PQE_OK)
        status = check(v, attestation, only_signature, &found, err);
    pqe_attest_verifier_free(&v);
    if (status != PQE_OK)
        return status;
    if (verdict != NULL)
        *verdict = found;
    if (found == PQE_VERDICT_PASS)
        return PQE_OK;
    return pqe__fail(err, PQE_E_ATTESTATION, PQE_ORIGIN_API, found, "%s", pqe_verdict_text(found));
}

pqe_status
pqe_attestation_verify(const pqe_attestation *attestation, const pqe_attest_verify_opts *opts, pqe_verdict *verdict,
                       pqe_error *err)
{
    return verify_one(attestation, opts, false, verdict, err);
}

pqe_status
pqe_attestation_self_consistent(const pqe_attestation *attestation, pqe_verdict *verdict, pqe_error *err)
{
    return verify_one(attestation, NULL, true, verdict, err);
}
