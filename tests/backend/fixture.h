/* SPDX-License-Identifier: Apache-2.0 */
/* What the conformance tests share: a backend under test with one enrolled vault, and the passphrase it is told. */
#ifndef PQE_TESTS_BACKEND_FIXTURE_H
#define PQE_TESTS_BACKEND_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include "backend/conformance.h"
#include "backend/registry.h"
#include "crypto/crypto.h"
#include "util/secmem.h"

typedef struct fixture {
    const conformance_subject *subject;
    pqe_backend *backend;
    uint8_t vault_id[PQE_VAULT_ID_SIZE];
    uint8_t state[PQE_BACKEND_STATE_MAX];
    size_t state_len;
    void *key;
} fixture;

typedef struct sealed {
    uint8_t bytes[PQE_SEAL_BLOB_MAX];
    size_t len;
} sealed;

#define AAD ((const uint8_t *)"what it is for")
#define AAD_LEN ((size_t)14)

/** The passphrase given from now on. */
void fixture_passphrase(const char *text);

/** Opens the subject's backend, or another table in its place, with `config`. */
pqe_status fixture_open_backend(const conformance_subject *s, const pqe_backend_ops *ops, const char *config,
                                pqe_backend **out, pqe_error *err);

/** Opens the backend and enrols a new vault; the passphrase is "correct horse". */
void fixture_begin(fixture *f, const conformance_subject *s);
/** Discards the vault and closes. */
void fixture_end(fixture *f);

/** Seals and unseals with the fixture's key; the content of a test secret is its length's. */
void fixture_seal(const fixture *f, void *key, size_t secret_len, sealed *out);
/** PQE_OK only if exactly the test secret came out; on failure the output must be empty and wiped. */
pqe_status fixture_unseal(const fixture *f, void *key, const uint8_t *bytes, size_t len, size_t secret_len);

/** Attaches with a state; fails the test if a failure gives a key or no text. */
pqe_status fixture_attach(const fixture *f, const uint8_t *state, size_t state_len, void **key);

/** A vault id not used before in this process. */
void fixture_new_id(uint8_t id[PQE_VAULT_ID_SIZE]);

/** What the subject keeps outside vaults. */
size_t fixture_leftovers(const conformance_subject *s);

/** Where the next large piece of locked memory would be: the same as before unless something was not freed. */
uintptr_t fixture_locked_memory_mark(void);

/** An error that was really filled in. */
void fixture_check_error(const pqe_error *err, pqe_status status);

void conformance_faults(void **state);
void conformance_fork(void **state);
void conformance_kem(void **state);
void conformance_threads(void **state);

#endif
