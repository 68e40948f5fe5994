/* SPDX-License-Identifier: Apache-2.0 */
/* Attesting: the content hash is computed anew, then an identity of the vault signs what is claimed of it. */
#include <string.h>

#include "vault/internal.h"

static pqe_status
bad_argument(pqe_error *err, const char *text)
{
    return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "%s", text);
}

static pqe_status
read_opts(const pqe_attest_opts *given, pqe_attest_opts *o, pqe_error *err)
{
    pqe_status status;

    *o = (pqe_attest_opts){.size = sizeof *o};
    if (given != NULL && (status = pqe__opts_copy(o, sizeof *o, sizeof *o, given, "the attest options", err)) != PQE_OK)
        return status;
    o->version = o->version != 0 ? o->version : 2;
    o->ttl_seconds = o->ttl_seconds != 0 ? o->ttl_seconds : PQE_ATTEST_DEFAULT_TTL;
    if (o->version != 1 && o->version != 2)
        return bad_argument(err, "the version of an attestation is 1 or 2");
    if (o->challenge == NULL)
        o->challenge_len = 0;
    else if (o->challenge_len < PQE_CHALLENGE_MIN || o->challenge_len > PQE_CHALLENGE_MAX)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "a challenge has %d to %d bytes", PQE_CHALLENGE_MIN,
                         PQE_CHALLENGE_MAX);
    if (o->version == 1 && o->challenge != NULL)
        return bad_argument(err, "version 1 of attestations has no place for a challenge");
    return PQE_OK;
}

/* Every put has computed the hash that the record holds, or verify has bound it, and the record is authenticated. A hash
   that came from outside with the content, and was not verified here, is not this device's to attest. */
static pqe_status
check_provenance(const pqe_artifact *artifact, const pqe_attest_opts *o, pqe_error *err)
{
    if (artifact->content_hash[0] == '\0')
        return pqe__fail(err, PQE_E_STATE, PQE_ORIGIN_API, 0,
                         "this vault has neither computed nor verified the artifact's content hash");
    if (o->version == 1 && strcmp(artifact->hash_algorithm, "sha3-256") != 0)
        return pqe__fail(err, PQE_E_STATE, PQE_ORIGIN_API, 0,
                         "version 1 of attestations names no algorithm: it states hashes of SHA3-256 only");
    return PQE_OK;
}

/* A hash that was deferred is computed and bound first: *fresh. */
static pqe_status
open_with_hash(pqe_vault *vault, const char *name_or_id, pqe_reader **out, bool *fresh, pqe_error *err)
{
    char id[PQE_ARTIFACT_ID_SIZE];
    pqe_status status = pqe__reader_open_check(vault, name_or_id, out, err);

    *fresh = false;
    if (status != PQE_OK || pqe_reader_artifact(*out)->content_hash[0] != '\0')
        return status;
    memcpy(id, pqe_reader_artifact(*out)->artifact_id, sizeof id);
    pqe_reader_close(out);
    status = pqe_bind_hash(vault, id, NULL, NULL, err);
    *fresh = status == PQE_OK;
    return status == PQE_OK ? pqe__reader_open_check(vault, id, out, err) : status;
}

/* What is stated of a device beyond its artifact. */
typedef struct statement {
    const pqe_attest_opts *opts;
    const pqe_artifact *artifact;
    const pqe_backend *on; /* what holds the vault */
    const pqe_backend_info *backend;
    const char *device_id;
    int64_t now;
    const char *identity; /* who signs */
    char did[PQE_DID_SIZE];
    pqe__evidence evidence;
} statement;

static pqe_text
keep(pqe__attestation *a, const char *text)
{
    return pqe__keep_text(a, text, strlen(text));
}

static size_t
room_for(const statement *s)
{
    const pqe_attest_opts *o = s->opts;
    size_t texts = strlen(s->device_id) + strlen(s->artifact->artifact_id) + 2 * strlen(s->backend->name) +
                   strlen(s->backend->protection) + (o->device_model != NULL ? strlen(o->device_model) : 0) +
                   (o->enclave_vendor != NULL ? strlen(o->enclave_vendor) : 0) + o->challenge_len;

    for (size_t i = 0; i < s->evidence.count; i++)
        texts += s->evidence.pieces[i].len + sizeof s->evidence.pieces[i].type + 16;
    /* Once as they are, once in what is signed. */
    return 2 * texts + 2 * PQE__SIGNED_ROOM + 4096;
}

static void
fill(pqe__attestation *a, const statement *s)
{
    const pqe_attest_opts *o = s->opts;
    const char *backend = s->backend->name;
    char issued[21];

    pqe__time_format(s->now, issued);
    a->pub.device_id = keep(a, s->device_id);
    a->pub.device_model = keep(a, o->device_model != NULL ? o->device_model : backend);
    a->pub.enclave_vendor = keep(a, o->enclave_vendor != NULL ? o->enclave_vendor : backend);
    a->pub.artifact_id = keep(a, s->artifact->artifact_id);
    a->pub.artifact_content_hash = keep(a, s->artifact->content_hash);
    a->pub.issued_at = keep(a, issued);
    if (a->pub.version == 1)
        return;
    a->pub.issued = s->now;
    a->pub.expires = s->now + (int64_t)o->ttl_seconds;
    a->pub.hash_algorithm = keep(a, s->artifact->hash_algorithm);
    a->pub.key_id = keep(a, s->artifact->key_id);
    a->pub.backend = keep(a, backend);
    a->pub.tier = keep(a, s->backend->protection);
    a->pub.challenge = pqe__keep_bytes(a, o->challenge, o->challenge_len);
    a->pub.evidence_count = s->evidence.count;
    for (size_t i = 0; i < s->evidence.count; i++) {
        a->pub.evidence[i].type = keep(a, s->evidence.pieces[i].type);
        a->pub.evidence[i].data = pqe__keep_bytes(a, s->evidence.pieces[i].data, s->evidence.pieces[i].len);
    }
}

static pqe_status
check_texts(const pqe_attest_opts *o, pqe_error *err)
{
    const char *const texts[] = {o->device_model, o->enclave_vendor};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t len = texts[i] != NULL ? strnlen(texts[i], PQE_ATTEST_TEXT_MAX + 1) : 0;
        if (len > PQE_ATTEST_TEXT_MAX)
            return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "device model or vendor is longer than %d bytes",
                             PQE_ATTEST_TEXT_MAX);
        if (len != 0 && !pqe__utf8_valid(texts[i], len))
            return bad_argument(err, "device model or vendor is not valid UTF-8");
    }
    return PQE_OK;
}

/* Version 1 signs a digest of six fields, version 2 the whole Sig_structure; both with the empty context. */
static pqe_status
sign(pqe__txn *txn, const pqe__identity_found *signer, pqe__attestation *a, pqe_error *err)
{
    uint8_t digest[PQE__SHA3_256_SIZE], signature[PQE_ML_DSA_SIGNATURE_MAX];
    pqe_bytes message = {digest, sizeof digest};
    pqe_status status = pqe__attestation_claim(a, signer->did, signer->identity.algorithm, signer->identity.public_key,
                                               signer->identity.public_key_len, err);

    if (status == PQE_OK)
        status = a->pub.version == 1 ? pqe__v1_digest(&a->pub, digest, err) : pqe__eat_prepare(a, err);
    if (status == PQE_OK && a->pub.version == 2)
        message = a->to_be_signed;
    if (status == PQE_OK)
        status = pqe__identity_sign(txn, signer, message.data, message.len, NULL, 0, signature, err);
    if (status == PQE_OK)
        status = pqe__attestation_attach(a, signature, pqe_sig_signature_size(signer->identity.algorithm), err);
    return status;
}

/* Asks the device for evidence over this statement. Meanwhile no lock is held, and the default identity may become
   another one: who signs is fixed first. */
static pqe_status
gather_evidence(pqe_vault *vault, statement *s, pqe_error *err)
{
    const pqe_attest_opts *o = s->opts;
    const pqe_artifact *artifact = s->artifact;
    uint8_t nonce[PQE_EVIDENCE_NONCE_SIZE];
    pqe__identity_found signer = {0};
    pqe__txn txn;
    pqe_status status;

    if (o->version == 1 || o->no_evidence || !pqe__backend_testifies(s->on))
        return PQE_OK;
    if ((status = pqe__txn_begin(vault, false, &txn, err)) != PQE_OK)
        return status;
    status = pqe__identity_find(&txn, o->identity, &signer, err);
    if (status == PQE_OK)
        memcpy(s->did, signer.did, sizeof s->did);
    pqe__identity_found_free(&signer);
    pqe__txn_abort(&txn);
    if (status != PQE_OK)
        return status;
    s->identity = s->did;
    const pqe_attestation draft = {
        .challenge = {o->challenge, o->challenge_len},
        .signer_did = {s->did, strlen(s->did)},
        .artifact_id = {artifact->artifact_id, strlen(artifact->artifact_id)},
        .hash_algorithm = {artifact->hash_algorithm, strlen(artifact->hash_algorithm)},
        .artifact_content_hash = {artifact->content_hash, strlen(artifact->content_hash)},
        .issued = s->now,
    };
    status = pqe__evidence_nonce(&draft, nonce, err);
    return status == PQE_OK ? pqe__evidence_collect(vault, nonce, &s->evidence, err) : status;
}

static pqe_status
sign_statement(pqe_vault *vault, statement *s, pqe__attestation **out, pqe_error *err)
{
    pqe__identity_found signer = {0};
    pqe__txn txn;
    pqe_status status = pqe__txn_begin(vault, false, &txn, err);

    if (status != PQE_OK)
        return status;
    s->device_id = vault->session->priv.device_id;
    if (vault->backend != s->on)
        status = pqe__fail(err, PQE_E_BUSY, PQE_ORIGIN_BACKEND, 0, "the vault moved to another backend meanwhile");
    if (status == PQE_OK)
        status = pqe__identity_find(&txn, s->identity, &signer, err);
    if (status == PQE_OK)
        status = pqe__attestation_new(s->opts->version, room_for(s), out, err);
    if (status == PQE_OK) {
        fill(*out, s);
        status = sign(&txn, &signer, *out, err);
    }
    pqe__identity_found_free(&signer);
    pqe__txn_abort(&txn);
    return status;
}

static pqe_status
state_and_sign(pqe_vault *vault, const pqe_attest_opts *o, const pqe_artifact *artifact, pqe_attestation **out,
               pqe_error *err)
{
    statement s = {.opts = o, .artifact = artifact, .now = pqe__walltime(), .identity = o->identity};
    pqe__attestation *a = NULL;
    pqe_status status = pqe__session_enter(vault, err);

    if (status != PQE_OK)
        return status;
    s.on = vault->backend;
    s.backend = &s.on->ops->info;
    pqe__session_leave(vault);
    status = gather_evidence(vault, &s, err);
    if (status == PQE_OK)
        status = sign_statement(vault, &s, &a, err);
    pqe__evidence_free(&s.evidence);
    if (status == PQE_OK && a->pub.version == 2 && pqe__eat_room(&a->pub) > PQE_ATTEST_MAX)
        status =
            pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_BACKEND, 0, "the device's evidence is too long for one attestation");
    if (status == PQE_OK)
        *out = &a->pub;
    else if (a != NULL)
        pqe__attestation_free(&a);
    return status;
}

static void
log_attest(pqe_vault *vault, const pqe_reader *reader, const char *name_or_id, pqe_status status,
           const pqe_error *error)
{
    const pqe_artifact *artifact = pqe_reader_artifact(reader);
    pqe__event event = {.op = PQE_AUDIT_ATTEST, .success = true};

    if (status != PQE_OK || artifact == NULL) {
        pqe__audit_note_artifact(vault, PQE_AUDIT_ATTEST, status, NULL, name_or_id, error);
        return;
    }
    event.kind = artifact->kind;
    event.artifact_id = (pqe__text){artifact->artifact_id, strlen(artifact->artifact_id)};
    event.name = (pqe__text){artifact->name, strlen(artifact->name)};
    pqe__audit_note(vault, &event);
}

pqe_status
pqe_attest(pqe_vault *vault, const char *name_or_id, const pqe_attest_opts *opts, pqe_attestation **out, pqe_error *err)
{
    pqe_attest_opts o;
    pqe_reader *reader = NULL;
    pqe_error inner = {0};
    uint64_t bytes;
    bool fresh = false;
    pqe_status status;

    if (out == NULL)
        return bad_argument(err, "no place for the attestation");
    *out = NULL;
    status = pqe__vault_usable(vault, err);
    if (status == PQE_OK)
        status = read_opts(opts, &o, err);
    if (status == PQE_OK)
        status = check_texts(&o, err);
    if (status != PQE_OK)
        return status;
    /* The reader stays on one version of the artifact, whatever happens to its name meanwhile. No content leaves: the
       access policy is not asked. */
    status = open_with_hash(vault, name_or_id, &reader, &fresh, &inner);
    if (status == PQE_OK)
        status = check_provenance(pqe_reader_artifact(reader), &o, &inner);
    if (status == PQE_OK && !fresh && !o.trust_record)
        status = pqe__reader_check_hash(reader, &bytes, &inner);
    if (status == PQE_OK)
        status = state_and_sign(vault, &o, pqe_reader_artifact(reader), out, &inner);
    log_attest(vault, reader, name_or_id, status, &inner);
    pqe_reader_close(&reader);
    if (status != PQE_OK)
        pqe__set_error(err, status, inner.origin, inner.native, "%s", inner.message);
    return status;
}
