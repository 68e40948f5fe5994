/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attestations: signed statements of what a device stores, and their verification (docs/attestation.md has every byte).
 *
 *   version 1   ten JSON strings, the form of the published pqc-enclave-sdk; six of them are signed
 *   version 2   an Entity Attestation Token (RFC 9711) as COSE_Sign1 (RFC 9052) with ML-DSA (RFC 9964): everything is
 *               signed, also algorithm, signer, session key id, challenge, expiry, backend and evidence
 *
 * Verification needs a trust anchor from outside: a public key or a DID. A statement that merely agrees with the key it
 * carries proves nothing about who made it and gets PQE_VERDICT_UNKNOWN_SIGNER, which is not a pass.
 * Conventions are those of pqc_enclave.h. All functions exist since 0.1.0.
 */
#ifndef PQC_ENCLAVE_ATTEST_H
#define PQC_ENCLAVE_ATTEST_H

#include <pqc_enclave/identity.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PQE_ATTEST_TEXT_MAX 4096      /**< bytes of any text in an attestation */
#define PQE_ATTEST_MAX 131072         /**< bytes of the longest attestation that is read, in any form */
#define PQE_CHALLENGE_MIN 8           /**< bytes of a challenge (RFC 9711, section 4.1) */
#define PQE_CHALLENGE_MAX 64          /**< ditto */
#define PQE_EVIDENCE_MAX 8            /**< pieces of evidence */
#define PQE_EVIDENCE_BYTES_MAX 16384  /**< bytes of one piece */
#define PQE_ATTEST_DEFAULT_TTL 86400u /**< seconds until an attestation expires unless told otherwise */
#define PQE_ATTEST_DEFAULT_SKEW 300u  /**< seconds that an attestation may be from the future unless told otherwise */

/** UTF-8 text of a given length, which in version 1 may hold any character, NUL included. What the library returns also
 *  ends with a NUL. NULL with length 0 is the empty text. */
typedef struct pqe_text {
    const char *data;
    size_t len;
} pqe_text;

typedef struct pqe_bytes {
    const uint8_t *data;
    size_t len;
} pqe_bytes;

/** Platform evidence, for example a TPM quote: its type and its bytes. */
typedef struct pqe_evidence {
    pqe_text type;
    pqe_bytes data;
} pqe_evidence;

/**
 * What an attestation says. Made by the library, freed by pqe_attestation_free(), not changed in between; nothing in it
 * is verified unless pqe_attestation_verify() passed it. New fields are added at the end only.
 */
typedef struct pqe_attestation {
    int version; /**< 1 or 2 */
    pqe_text device_id, device_model, enclave_vendor;
    pqe_text artifact_id;
    pqe_text artifact_content_hash; /**< hex */
    pqe_text issued_at;             /**< ISO 8601 */
    pqe_text signer_did;
    pqe_text algorithm;   /**< "ML-DSA-65" */
    pqe_bytes signature;  /**< raw */
    pqe_bytes public_key; /**< raw */
    /* Version 2; empty or 0 in version 1. */
    int64_t issued, expires; /**< seconds since 1970, UTC */
    pqe_text hash_algorithm; /**< "sha3-256" */
    pqe_text key_id;         /**< hex: the session whose key wraps the artifact's */
    pqe_text backend;        /**< name of what holds the device key: "file" */
    pqe_text tier;           /**< "software", "tee" or "secure-element" */
    pqe_bytes challenge;     /**< the verifier's; empty if there was none */
    size_t evidence_count;
    pqe_evidence evidence[PQE_EVIDENCE_MAX];
    const void *origin; /**< the library's: a copy of the struct is not what was read, and version 2 is not verified */
} pqe_attestation;

PQE_API void pqe_attestation_free(pqe_attestation **attestation);

/* ----------------------------------------------------------------------------------------------------------- making */

typedef struct pqe_attest_opts {
    size_t size;                /**< sizeof(pqe_attest_opts) */
    const char *identity;       /**< DID or name; NULL: the vault's default one */
    int version;                /**< 1 or 2; 0: 2 */
    const void *challenge;      /**< PQE_CHALLENGE_MIN to _MAX bytes, version 2 only; NULL: none */
    size_t challenge_len;       /**< */
    uint32_t ttl_seconds;       /**< version 2 only; 0: PQE_ATTEST_DEFAULT_TTL */
    const char *device_model;   /**< NULL: the backend's name */
    const char *enclave_vendor; /**< NULL: the backend's name */
    bool trust_record;          /**< true: do not read the artifact to compute its hash anew */
    bool no_evidence; /**< true: no evidence of the hardware. Otherwise version 2 has it where the backend gives some */
} pqe_attest_opts;

/**
 * States, signed by an identity of the vault, which content an artifact (name or id) has. The content hash is computed
 * anew from the stored body unless opts->trust_record says to take the one computed by this vault when the artifact was
 * put; a hash that this vault has neither computed nor verified is refused with PQE_E_STATE. One that was deferred is
 * computed and bound first (pqe_bind_hash(): SHA3-256). Version 1 states SHA3-256 alone, and refuses an artifact that has
 * another with PQE_E_STATE; version 2 names the algorithm. Where the device can give evidence (a TPM's quote), version 2
 * carries it, made for this statement alone; asking a chip takes from tens of milliseconds to seconds, and where it fails
 * there is no attestation. `opts` may be NULL. Free with pqe_attestation_free().
 * Errors: PQE_E_NOT_FOUND (artifact or identity), PQE_E_TAMPERED, PQE_E_DECRYPTION, PQE_E_LOCKED, PQE_E_BACKEND, ...
 */
PQE_API pqe_status pqe_attest(pqe_vault *vault, const char *name_or_id, const pqe_attest_opts *opts,
                              pqe_attestation **out, pqe_error *err);

#define PQE_EVIDENCE_PEM_MAX 4096 /**< bytes that suffice for any key of pqe_evidence_public_key(), with its NUL */

/**
 * The public key that verifies the evidence of this vault's device (a TPM's attestation key), as PEM with a NUL after *len
 * bytes: for verifiers, who must get it another way than with an attestation, for example when the device is set up.
 * Errors: PQE_E_UNAVAILABLE (the backend gives no evidence), PQE_E_LIMIT, PQE_E_LOCKED, PQE_E_BACKEND.
 */
PQE_API pqe_status pqe_evidence_public_key(pqe_vault *vault, char *buf, size_t capacity, size_t *len, pqe_error *err);

/** The ten texts of version 1 as they stand in JSON; also what they may be while they are wrong. */
typedef struct pqe_attestation_v1 {
    size_t size; /**< sizeof(pqe_attestation_v1) */
    pqe_text device_id, device_model, enclave_vendor, artifact_id, artifact_content_hash, issued_at;
    pqe_text signer_did, algorithm;
    pqe_text signature, public_key; /**< lower-case hex */
} pqe_attestation_v1;

/**
 * The bytes whose SHA3-256 digest version 1 signs: the first six fields as Python's json.dumps(fields, sort_keys=True,
 * separators=(",", ":"), ensure_ascii=False) in UTF-8. Allocates; free with pqe_buffer_free(). PQE_E_ARGUMENT for texts
 * that are not UTF-8, PQE_E_LIMIT beyond PQE_ATTEST_TEXT_MAX.
 */
PQE_API pqe_status pqe_attestation_v1_canonical(const pqe_attestation_v1 *fields, char **out, size_t *len,
                                                pqe_error *err);
/** Signs the first six fields with a key pair of the application's: no vault vouches for the hash. */
PQE_API pqe_status pqe_attestation_v1_sign(const pqe_attestation_v1 *fields, const pqe_signing_key *key,
                                           pqe_attestation **out, pqe_error *err);
/** From ten texts. PQE_E_MALFORMED where signature or public key are not lower-case hex. */
PQE_API pqe_status pqe_attestation_v1_from_fields(const pqe_attestation_v1 *fields, pqe_attestation **out,
                                                  pqe_error *err);

/* ------------------------------------------------------------------------------------------------------ serialising */

typedef enum pqe_attest_form {
    PQE_ATTEST_COSE = 1, /**< version 2: COSE_Sign1 in deterministic CBOR */
    PQE_ATTEST_JSON =
        2, /**< version 1: its JSON object, as signed and verified; version 2: a view that is not signed */
} pqe_attest_form;

/**
 * Writes an attestation. JSON is one line without newline. Allocates, with a NUL after *len bytes; free with
 * pqe_buffer_free(). PQE_E_ARGUMENT for COSE of version 1.
 */
PQE_API pqe_status pqe_attestation_encode(const pqe_attestation *attestation, pqe_attest_form form, char **out,
                                          size_t *len, pqe_error *err);
/** Frees what functions of this header allocated. */
PQE_API void pqe_buffer_free(char **buffer);
/**
 * Reads COSE of version 2 or JSON of version 1, whichever it is (white space around JSON is passed over). Strict: one
 * encoding of each content is accepted and everything else, the JSON view of version 2 too, is PQE_E_MALFORMED.
 */
PQE_API pqe_status pqe_attestation_decode(const void *data, size_t len, pqe_attestation **out, pqe_error *err);

/* -------------------------------------------------------------------------------------------------------- verifying */

/** What verification found; the first that applies in this order after the signature's own. Values are stable. */
typedef enum pqe_verdict {
    PQE_VERDICT_PASS = 0,           /**< everything that was asked for holds */
    PQE_VERDICT_MALFORMED = 1,      /**< not an attestation in a form that is read */
    PQE_VERDICT_ALGORITHM = 2,      /**< its algorithm is unknown or not allowed, or not that of its key */
    PQE_VERDICT_DID = 3,            /**< the signer's DID is not that of its key */
    PQE_VERDICT_SIGNATURE = 4,      /**< the signature does not verify: altered, or signed by another key */
    PQE_VERDICT_UNKNOWN_SIGNER = 5, /**< valid signature, but of nobody who is trusted */
    PQE_VERDICT_CHALLENGE = 6,      /**< it answers another challenge, or none */
    PQE_VERDICT_TIME = 7,           /**< its times cannot be read or contradict each other */
    PQE_VERDICT_EXPIRED = 8,        /**< its time is over */
    PQE_VERDICT_TOO_OLD = 9,        /**< older than the verifier accepts */
    PQE_VERDICT_FUTURE = 10,        /**< issued later than now, beyond the allowed skew */
    PQE_VERDICT_HASH = 11,          /**< it is about another content than the expected one */
    PQE_VERDICT_NO_EVIDENCE = 12,   /**< evidence keys were given, and it has no evidence of a kind that is known */
    PQE_VERDICT_EVIDENCE = 13,      /**< its evidence is not of a trusted key, or of something else than it states */
    PQE_VERDICT_PCR = 14            /**< its evidence has another PCR digest than the expected one, or none */
} pqe_verdict;

/** "pass", "unknown-signer", ...; NULL for an unknown value. Static storage. */
PQE_API const char *pqe_verdict_name(pqe_verdict verdict);
/** One sentence. Static storage. */
PQE_API const char *pqe_verdict_text(pqe_verdict verdict);

/** A set of public keys and DIDs that a verifier trusts. Must not change while a verifier uses it. */
typedef struct pqe_trust pqe_trust;
PQE_API pqe_status pqe_trust_new(pqe_trust **out, pqe_error *err);
PQE_API void pqe_trust_free(pqe_trust **trust);
PQE_API pqe_status pqe_trust_add_key(pqe_trust *trust, const pqe_public_key *key, pqe_error *err);
/** "did:pqaid:" and 64 lower-case hex digits; anything else is PQE_E_MALFORMED. */
PQE_API pqe_status pqe_trust_add_did(pqe_trust *trust, const char *did, pqe_error *err);
/** A text with any number of PEM public keys and of lines that are a DID, empty, or begin with '#'. Something else in
 *  it, or nothing at all, is PQE_E_MALFORMED. */
PQE_API pqe_status pqe_trust_add_text(pqe_trust *trust, const char *text, size_t len, pqe_error *err);
/**
 * Keys that evidence is believed from: a text with any number of PEM public keys (ECDSA P-256: attestation keys of TPMs)
 * and of lines that are empty or begin with '#'. With one such key in the set, what has no evidence that one of them signed
 * does not pass. They are tried one after the other. Something else in the text, or nothing at all, is PQE_E_MALFORMED.
 */
PQE_API pqe_status pqe_trust_add_evidence_keys(pqe_trust *trust, const char *text, size_t len, pqe_error *err);

typedef struct pqe_attest_verify_opts {
    size_t size;                     /**< sizeof(pqe_attest_verify_opts) */
    const pqe_trust *trust;          /**< NULL or empty: nobody; the best verdict is then PQE_VERDICT_UNKNOWN_SIGNER */
    const void *challenge;           /**< required in the attestation; NULL: any or none is accepted */
    size_t challenge_len;            /**< */
    uint64_t max_age_seconds;        /**< since its issue; 0: no limit but its own expiry */
    uint32_t skew_seconds;           /**< how far in the future it may have been issued; 0: PQE_ATTEST_DEFAULT_SKEW */
    bool no_skew;                    /**< true: none at all */
    const char *expected_hash;       /**< 64 hex digits: the content hash it must state; NULL: any */
    int64_t now;                     /**< seconds since 1970; 0: the system's clock */
    const char *expected_pcr_digest; /**< 64 hex digits: what a TPM must have quoted of its PCRs; needs evidence keys in
                                          `trust`. NULL: any */
} pqe_attest_verify_opts;

/**
 * A verifier: options and the public keys loaded so far. May be used from several threads at once. The trust set must
 * outlive it; the rest of the options is copied. `opts` may be NULL.
 */
typedef struct pqe_attest_verifier pqe_attest_verifier;
PQE_API pqe_status pqe_attest_verifier_new(const pqe_attest_verify_opts *opts, pqe_attest_verifier **out,
                                           pqe_error *err);
PQE_API void pqe_attest_verifier_free(pqe_attest_verifier **verifier);

/**
 * Verifies one attestation. PQE_OK means that a verdict was reached, not that it is a pass: look at *verdict. On an
 * error (PQE_E_NOMEM, PQE_E_CRYPTO) it is PQE_VERDICT_SIGNATURE.
 */
PQE_API pqe_status pqe_attest_verifier_check(pqe_attest_verifier *verifier, const pqe_attestation *attestation,
                                             pqe_verdict *verdict, pqe_error *err);
/**
 * The same for one attestation and one verifier. PQE_OK only for a pass; PQE_E_ATTESTATION with the verdict's sentence
 * for any other. `verdict` may be NULL.
 */
PQE_API pqe_status pqe_attestation_verify(const pqe_attestation *attestation, const pqe_attest_verify_opts *opts,
                                          pqe_verdict *verdict, pqe_error *err);
/**
 * Is the signature that of the key it carries, with any algorithm of ML-DSA? The published meaning of
 * DeviceAttester.verify: it proves nothing about who made the attestation. PQE_OK or PQE_E_ATTESTATION.
 */
PQE_API pqe_status pqe_attestation_self_consistent(const pqe_attestation *attestation, pqe_verdict *verdict,
                                                   pqe_error *err);

/* --------------------------------------------------------------------------------------------------------- evidence */

typedef enum pqe_evidence_state {
    PQE_EVIDENCE_ABSENT = 0, /**< there is none */
    PQE_EVIDENCE_NOT_CHECKED =
        1,                     /**< there is some, which proves nothing: no key to verify it with, or an unknown kind */
    PQE_EVIDENCE_VERIFIED = 2, /**< signed by a trusted key, over this statement */
    PQE_EVIDENCE_FAILED = 3    /**< it is not */
} pqe_evidence_state;

/** "absent", "not-checked", "verified", "failed"; NULL for an unknown value. Static storage. */
PQE_API const char *pqe_evidence_state_name(pqe_evidence_state state);

#define PQE_EVIDENCE_TEXT_MAX 512 /**< bytes of a text in a report, with its NUL */

/** What evidence says. All below `reason` is empty unless it is verified. New fields are added at the end only. */
typedef struct pqe_evidence_report {
    size_t size; /**< sizeof(pqe_evidence_report), set by the caller */
    pqe_evidence_state state;
    size_t pieces;         /**< of a kind that is known */
    size_t unknown;        /**< of other kinds: they are never checked and prove nothing */
    const char *reason;    /**< FAILED: why, one sentence; static storage */
    const char *signature; /**< "ECDSA P-256 with SHA-256: classical, not quantum-safe"; static storage */
    char key[65];          /**< hex: SHA-256 of the SubjectPublicKeyInfo of the key that signed */
    uint64_t firmware;     /**< the TPM's firmware version */
    uint64_t clock_ms;     /**< milliseconds it has been powered in its life */
    uint32_t resets;       /**< how often it was reset (machine started) */
    uint32_t restarts;     /**< how often it was restarted since (machine resumed) */
    bool clock_safe;       /**< false: the clock may have said more before the power was cut */
    bool has_pcrs;         /**< a quote: */
    char pcr_selection[PQE_EVIDENCE_TEXT_MAX]; /**< "sha256:0,1,7" */
    char pcr_digest[65];                       /**< hex: SHA-256 over the selected PCRs */
    bool has_object;                           /**< the vault's sealed key is an object in this TPM: */
    char object_name[PQE_EVIDENCE_TEXT_MAX];   /**< hex: its Name, the same for the life of the key */
    bool has_counter;                          /**< the vault's counter: */
    uint64_t counter;
    char counter_name[PQE_EVIDENCE_TEXT_MAX]; /**< hex: Name of its NV index, the same for the life of the counter */
} pqe_evidence_report;

/**
 * Checks the evidence in an attestation with the evidence keys in `trust` (NULL: none) and says what it says. Evidence
 * binds the key that the attestation carries, its challenge and its content; who has that key, only the verification of
 * the attestation itself tells: call this beside it, not instead.
 * PQE_OK means that report->state was reached, whatever it is. Errors: PQE_E_ARGUMENT; PQE_E_UNAVAILABLE (there is evidence
 * and a key, but this build or this machine has no libtss2-mu to read it); PQE_E_NOMEM, PQE_E_CRYPTO.
 */
PQE_API pqe_status pqe_attestation_evidence(const pqe_attestation *attestation, const pqe_trust *trust,
                                            pqe_evidence_report *report, pqe_error *err);

/* ---------------------------------------------------------------------------------------------------------- streams */

/** Supplies the next serialised attestation of a stream: PQE_OK and bytes that stay valid until the next call, or
 *  *data NULL at the end. Any error ends the stream with it. */
typedef pqe_status (*pqe_attest_next_fn)(void *user, const void **data, size_t *len, pqe_error *err);

/** One result; `attestation` (NULL if malformed) and `reason` are valid during the call. `status` is PQE_OK where a
 *  verdict was reached, else why not. Return false to stop. */
typedef struct pqe_attest_result {
    uint64_t index; /**< counted from 0 */
    pqe_status status;
    pqe_verdict verdict;
    const char *reason; /**< one sentence */
    const pqe_attestation *attestation;
} pqe_attest_result;
typedef bool (*pqe_attest_result_fn)(void *user, const pqe_attest_result *result);

typedef struct pqe_attest_summary {
    uint64_t total, passed;
    uint64_t verdicts[16]; /**< how many had each verdict */
} pqe_attest_summary;

/**
 * Verifies a stream on `threads` threads (0: as many as the process may use processors). Both callbacks run in the
 * calling thread, results in the order of the stream; memory does not grow with its length. Items longer than
 * PQE_ATTEST_MAX are malformed. PQE_OK when the stream was read to its end, whatever the verdicts: see `summary`, which
 * may be NULL. PQE_E_CANCELLED if `result` asked to stop.
 */
PQE_API pqe_status pqe_attest_verifier_stream(pqe_attest_verifier *verifier, unsigned threads, pqe_attest_next_fn next,
                                              pqe_attest_result_fn result, void *user, pqe_attest_summary *summary,
                                              pqe_error *err);

#ifdef __cplusplus
}
#endif

#endif
