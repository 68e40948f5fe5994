/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite: sealing, credentials, states. Faults, forks and threads are in conformance_faults.c,
   evidence in conformance_evidence.c. */
#include "backend/conformance.h"

#include <string.h>

#include "backend/fixture.h"

static bool
is_persistent(const conformance_subject *s)
{
    return (s->ops->info.capabilities & PQE_CAP_PERSISTENT) != 0;
}

static void
describes_itself(void **state)
{
    const conformance_subject *s = *state;
    const pqe_backend_info *info = &s->ops->info;

    assert_int_equal(s->ops->magic, PQE_BACKEND_MAGIC);
    assert_int_equal(s->ops->abi, PQE_BACKEND_ABI);
    assert_true(info->description[0] != '\0' && info->caveat[0] != '\0');
    assert_true(strcmp(info->protection, "software") == 0 || strcmp(info->protection, "tee") == 0 ||
                strcmp(info->protection, "secure-element") == 0);
    assert_true((info->capabilities & PQE_CAP_SEAL) != 0);
    assert_int_equal((info->capabilities & PQE_CAP_PASSPHRASE) != 0, s->ops->change_passphrase != NULL);
    assert_int_equal((info->capabilities & PQE_CAP_NATIVE_ML_DSA) != 0, s->ops->identity_make != NULL);
    assert_int_equal((info->capabilities & PQE_CAP_NATIVE_ML_DSA) != 0, s->ops->identity_sign != NULL);
    assert_int_equal((info->capabilities & PQE_CAP_NATIVE_KEM) != 0, s->ops->kem_make != NULL);
    assert_int_equal((info->capabilities & PQE_CAP_NATIVE_KEM) != 0, s->ops->kem_decapsulate != NULL);
    assert_int_equal((info->capabilities & PQE_CAP_AUTHORIZE) != 0, s->ops->authorize != NULL);
    assert_int_equal((info->capabilities & PQE_CAP_EVIDENCE) != 0, s->ops->evidence != NULL);
    assert_int_equal((info->capabilities & PQE_CAP_EVIDENCE) != 0, s->ops->evidence_key != NULL);
}

static void
round_trip(void **state)
{
    static const size_t sizes[] = {1, 31, 32, 33, 64, 96, PQE_SEAL_SECRET_MAX};
    fixture f;
    sealed b;

    fixture_begin(&f, *state);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        fixture_seal(&f, f.key, sizes[i], &b);
        assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, sizes[i]), PQE_OK);
    }
    fixture_end(&f);
}

static void
hides_the_secret_and_never_repeats(void **state)
{
    static const uint8_t zeros[PQE_SEAL_SECRET_MAX];
    fixture f;
    uint8_t bytes[2][PQE_SEAL_BLOB_MAX];
    pqe_blob one = {.data = bytes[0], .capacity = sizeof bytes[0]};
    pqe_blob two = {.data = bytes[1], .capacity = sizeof bytes[1]};

    fixture_begin(&f, *state);
    assert_int_equal(pqe__backend_seal(f.backend, f.key, AAD, AAD_LEN, zeros, sizeof zeros, &one, NULL), PQE_OK);
    assert_int_equal(pqe__backend_seal(f.backend, f.key, AAD, AAD_LEN, zeros, sizeof zeros, &two, NULL), PQE_OK);
    assert_null(memmem(one.data, one.len, zeros, 16));
    assert_true(one.len != two.len || memcmp(one.data, two.data, one.len) != 0);
    /* Not one 16-byte block of the first is in the second: a repeated nonce would repeat the whole key stream. */
    for (size_t i = 32; i + 16 <= one.len; i++)
        assert_null(memmem(two.data, two.len, one.data + i, 16));
    fixture_end(&f);
}

static void
refuses_bad_sizes(void **state)
{
    uint8_t secret[PQE_SEAL_SECRET_MAX + 1] = {0};
    uint8_t bytes[PQE_SEAL_BLOB_MAX];
    pqe_blob blob = {.data = bytes, .capacity = sizeof bytes};
    fixture f;

    fixture_begin(&f, *state);
    assert_int_equal(pqe__backend_seal(f.backend, f.key, AAD, AAD_LEN, secret, 0, &blob, NULL), PQE_E_ARGUMENT);
    assert_int_equal(pqe__backend_seal(f.backend, f.key, AAD, AAD_LEN, secret, sizeof secret, &blob, NULL),
                     PQE_E_LIMIT);
    assert_int_equal(blob.len, 0);
    fixture_end(&f);
}

static pqe_status
unseal_with_aad(const fixture *f, const sealed *b, const uint8_t *aad, size_t aad_len)
{
    uint8_t *memory = pqe__secmem_alloc(PQE_SEAL_SECRET_MAX);
    pqe_blob blob = {.data = memory, .capacity = PQE_SEAL_SECRET_MAX};
    pqe_status status = pqe__backend_unseal(f->backend, f->key, aad, aad_len, b->bytes, b->len, &blob, NULL);

    assert_int_equal(blob.len, status == PQE_OK ? 32 : 0);
    pqe__secmem_free(memory);
    return status;
}

static void
authenticates_the_aad(void **state)
{
    uint8_t aad[AAD_LEN + 1] = {0};
    fixture f;
    sealed b;

    fixture_begin(&f, *state);
    fixture_seal(&f, f.key, 32, &b);
    memcpy(aad, AAD, AAD_LEN);
    for (size_t i = 0; i < AAD_LEN; i++) {
        aad[i] ^= 0x01;
        assert_int_equal(unseal_with_aad(&f, &b, aad, AAD_LEN), PQE_E_DECRYPTION);
        aad[i] ^= 0x01;
    }
    assert_int_equal(unseal_with_aad(&f, &b, aad, AAD_LEN - 1), PQE_E_DECRYPTION);
    assert_int_equal(unseal_with_aad(&f, &b, aad, AAD_LEN + 1), PQE_E_DECRYPTION);
    assert_int_equal(unseal_with_aad(&f, &b, NULL, 0), PQE_E_DECRYPTION);
    assert_int_equal(unseal_with_aad(&f, &b, aad, AAD_LEN), PQE_OK);
    fixture_end(&f);
}

static void
takes_any_aad(void **state)
{
    static const size_t sizes[] = {0, 1, 1000};
    uint8_t aad[1000], bytes[PQE_SEAL_BLOB_MAX], *memory = pqe__secmem_alloc(PQE_SEAL_SECRET_MAX);
    fixture f;

    memset(aad, 'x', sizeof aad);
    fixture_begin(&f, *state);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        pqe_blob blob = {.data = bytes, .capacity = sizeof bytes};
        pqe_blob secret = {.data = memory, .capacity = PQE_SEAL_SECRET_MAX};
        const uint8_t *p = sizes[i] == 0 ? NULL : aad;
        assert_int_equal(pqe__backend_seal(f.backend, f.key, p, sizes[i], AAD, AAD_LEN, &blob, NULL), PQE_OK);
        assert_int_equal(pqe__backend_unseal(f.backend, f.key, p, sizes[i], bytes, blob.len, &secret, NULL), PQE_OK);
        assert_int_equal(secret.len, AAD_LEN);
        assert_memory_equal(memory, AAD, AAD_LEN);
    }
    fixture_end(&f);
    pqe__secmem_free(memory);
}

static void
authenticates_the_blob(void **state)
{
    static const uint8_t flips[] = {0x01, 0x80};
    fixture f;
    sealed b;

    fixture_begin(&f, *state);
    fixture_seal(&f, f.key, 64, &b);
    for (size_t i = 0; i < b.len; i++)
        for (size_t k = 0; k < sizeof flips; k++) {
            b.bytes[i] ^= flips[k];
            assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_E_DECRYPTION);
            b.bytes[i] ^= flips[k];
        }
    for (size_t len = 0; len < b.len; len++)
        assert_int_equal(fixture_unseal(&f, f.key, b.bytes, len, 64), PQE_E_DECRYPTION);
    b.bytes[b.len] = 0;
    assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len + 1, 64), PQE_E_DECRYPTION);
    assert_int_equal(fixture_unseal(&f, f.key, b.bytes, sizeof b.bytes, 64), PQE_E_DECRYPTION);
    assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_OK);
    fixture_end(&f);
}

static void
keeps_vaults_apart(void **state)
{
    uint8_t bytes[PQE_BACKEND_STATE_MAX];
    pqe_blob second = {.data = bytes, .capacity = sizeof bytes};
    fixture one, two;
    sealed b;
    void *key;

    fixture_begin(&one, *state);
    fixture_begin(&two, *state);
    fixture_seal(&one, one.key, 32, &b);
    assert_int_equal(fixture_unseal(&two, two.key, b.bytes, b.len, 32), PQE_E_DECRYPTION);

    /* The state of one vault under the id of the other: refused, or a key that opens nothing of the first. */
    if (fixture_attach(&two, one.state, one.state_len, &key) == PQE_OK) {
        assert_int_equal(fixture_unseal(&two, key, b.bytes, b.len, 32), PQE_E_DECRYPTION);
        pqe__backend_detach(two.backend, key);
    }
    fixture_end(&two);

    /* Two vaults of one opened backend. */
    fixture_new_id(two.vault_id);
    assert_int_equal(pqe__backend_enrol(one.backend, two.vault_id, &second, &key, NULL), PQE_OK);
    assert_int_equal(fixture_unseal(&one, key, b.bytes, b.len, 32), PQE_E_DECRYPTION);
    assert_int_equal(fixture_unseal(&one, one.key, b.bytes, b.len, 32), PQE_OK);
    pqe__backend_discard(one.backend, two.vault_id, key);
    pqe__backend_detach(one.backend, key);
    fixture_end(&one);
}

static void
opens_again(void **state)
{
    const conformance_subject *s = *state;
    fixture f;
    sealed b;
    void *key;

    fixture_begin(&f, s);
    fixture_seal(&f, f.key, 64, &b);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fixture_attach(&f, f.state, f.state_len, &key), PQE_OK);
        assert_int_equal(fixture_unseal(&f, key, b.bytes, b.len, 64), PQE_OK);
        pqe__backend_detach(f.backend, key);
    }
    assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_OK);
    fixture_end(&f);
}

/* Another opened backend stands for another process. */
static void
persists_as_it_says(void **state)
{
    const conformance_subject *s = *state;
    fixture f, later;
    sealed b;

    fixture_begin(&f, s);
    fixture_seal(&f, f.key, 64, &b);
    later = f;
    assert_int_equal(fixture_open_backend(s, s->ops, s->config, &later.backend, NULL), PQE_OK);
    if (is_persistent(s)) {
        assert_int_equal(fixture_attach(&later, f.state, f.state_len, &later.key), PQE_OK);
        assert_int_equal(fixture_unseal(&later, later.key, b.bytes, b.len, 64), PQE_OK);
        pqe__backend_detach(later.backend, later.key);
    } else {
        assert_int_equal(fixture_attach(&later, f.state, f.state_len, &later.key), PQE_E_DENIED);
    }
    pqe_backend_close(&later.backend);
    fixture_end(&f);
}

static void
refuses_wrong_credentials(void **state)
{
    const conformance_subject *s = *state;
    fixture f, other;

    fixture_begin(&f, s);
    other = f;
    if (s->wrong_config != NULL) {
        assert_int_equal(fixture_open_backend(s, s->ops, s->wrong_config, &other.backend, NULL), PQE_OK);
        assert_int_equal(fixture_attach(&other, f.state, f.state_len, &other.key), PQE_E_DENIED);
        pqe_backend_close(&other.backend);
    }
    if (s->passphrase) {
        static const char *const wrong[] = {"correct hors", "correct horsf", "Correct horse", "correct horse ", ""};
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            fixture_passphrase(wrong[i]);
            assert_int_equal(fixture_attach(&f, f.state, f.state_len, &other.key), PQE_E_DENIED);
        }
    }
    fixture_end(&f);
}

static void
respects_capacities(void **state)
{
    uint8_t secret[64] = {1}, bytes[PQE_SEAL_BLOB_MAX], *memory = pqe__secmem_alloc(PQE_SEAL_SECRET_MAX);
    fixture f;
    sealed b;

    fixture_begin(&f, *state);
    fixture_seal(&f, f.key, sizeof secret, &b);
    for (size_t capacity = 0; capacity < sizeof secret; capacity++) {
        pqe_blob small = {.data = bytes, .capacity = capacity};
        memset(bytes, 0xaa, sizeof bytes);
        assert_int_not_equal(pqe__backend_seal(f.backend, f.key, AAD, AAD_LEN, secret, sizeof secret, &small, NULL),
                             PQE_OK);
        assert_int_equal(small.len, 0);
        assert_int_equal(bytes[capacity], 0xaa);

        small = (pqe_blob){.data = memory, .capacity = capacity};
        memset(memory, 0xaa, PQE_SEAL_SECRET_MAX);
        assert_int_not_equal(pqe__backend_unseal(f.backend, f.key, AAD, AAD_LEN, b.bytes, b.len, &small, NULL), PQE_OK);
        assert_int_equal(small.len, 0);
        assert_int_equal(memory[capacity], 0xaa);
    }
    fixture_end(&f);
    pqe__secmem_free(memory);
}

static void
enrols_wholly_or_not_at_all(void **state)
{
    const conformance_subject *s = *state;
    uint8_t bytes[PQE_BACKEND_STATE_MAX + 1], id[PQE_VAULT_ID_SIZE];
    size_t before = fixture_leftovers(s);
    pqe_backend *backend;
    void *key;
    fixture f;

    fixture_begin(&f, s);
    fixture_end(&f);
    assert_int_equal(fixture_leftovers(s), before);

    assert_int_equal(fixture_open_backend(s, s->ops, s->config, &backend, NULL), PQE_OK);
    fixture_new_id(id);
    for (size_t capacity = 0; capacity < f.state_len; capacity++) {
        pqe_blob small = {.data = bytes, .capacity = capacity};
        pqe_error err = {0};
        memset(bytes, 0xaa, sizeof bytes);
        fixture_check_error(&err, pqe__backend_enrol(backend, id, &small, &key, &err));
        assert_null(key);
        assert_int_equal(small.len, 0);
        assert_int_equal(bytes[capacity], 0xaa);
        assert_int_equal(fixture_leftovers(s), before);
    }
    pqe_backend_close(&backend);
}

/* A second vault of the same id must not cost the first one its key. */
static void
never_overwrites(void **state)
{
    uint8_t bytes[PQE_BACKEND_STATE_MAX];
    pqe_blob second = {.data = bytes, .capacity = sizeof bytes};
    fixture f;
    sealed b;
    void *key;

    fixture_begin(&f, *state);
    fixture_seal(&f, f.key, 64, &b);
    if (pqe__backend_enrol(f.backend, f.vault_id, &second, &key, NULL) == PQE_OK) {
        pqe__backend_discard(f.backend, f.vault_id, key);
        pqe__backend_detach(f.backend, key);
    }
    assert_int_equal(fixture_attach(&f, f.state, f.state_len, &key), PQE_OK);
    assert_int_equal(fixture_unseal(&f, key, b.bytes, b.len, 64), PQE_OK);
    pqe__backend_detach(f.backend, key);
    fixture_end(&f);
}

/* A hostile state is refused, or harmless: what it gives still is the vault's key. */
static void
check_hostile_state(const fixture *f, const sealed *b, const uint8_t *state, size_t state_len)
{
    void *key;

    (void)pqe__backend_key_source(f->backend->ops, state, state_len);
    if (fixture_attach(f, state, state_len, &key) != PQE_OK)
        return;
    assert_int_equal(fixture_unseal(f, key, b->bytes, b->len, 64), PQE_OK);
    pqe__backend_detach(f->backend, key);
}

static void
survives_hostile_states(void **state)
{
    const conformance_subject *s = *state;
    const size_t stride = s->stride;
    uint8_t bytes[PQE_BACKEND_STATE_MAX] = {0};
    fixture f;
    sealed b;

    fixture_begin(&f, s);
    fixture_seal(&f, f.key, 64, &b);
    memcpy(bytes, f.state, f.state_len);
    for (size_t i = 0; i < f.state_len; i += stride != 0 ? stride : 1) {
        bytes[i] ^= 0x01;
        check_hostile_state(&f, &b, bytes, f.state_len);
        bytes[i] = (uint8_t)~f.state[i];
        if (stride == 0)
            check_hostile_state(&f, &b, bytes, f.state_len);
        bytes[i] = f.state[i];
    }
    for (size_t len = 0; len < f.state_len; len++)
        check_hostile_state(&f, &b, bytes, len);
    check_hostile_state(&f, &b, NULL, 0);
    check_hostile_state(&f, &b, bytes, f.state_len + 1);
    check_hostile_state(&f, &b, bytes, sizeof bytes);
    memset(bytes, 0xff, sizeof bytes);
    check_hostile_state(&f, &b, bytes, sizeof bytes);
    check_hostile_state(&f, &b, bytes, f.state_len);
    fixture_end(&f);
}

static void
names_its_key_source(void **state)
{
    fixture f;
    const char *word;

    fixture_begin(&f, *state);
    word = pqe__backend_key_source(f.backend->ops, f.state, f.state_len);
    assert_non_null(word);
    assert_true(word[0] != '\0');
    if (f.subject->passphrase)
        assert_string_equal(word, "passphrase");
    assert_null(pqe__backend_key_source(f.backend->ops, f.state, 0));
    fixture_end(&f);
}

static void
changes_the_passphrase(void **state)
{
    const conformance_subject *s = *state;
    uint8_t bytes[PQE_BACKEND_STATE_MAX], more[PQE_BACKEND_STATE_MAX];
    pqe_blob changed = {.data = bytes, .capacity = sizeof bytes}, again = {.data = more, .capacity = sizeof more};
    pqe_status status;
    fixture f;
    sealed b;
    void *key;

    fixture_begin(&f, s);
    fixture_seal(&f, f.key, 64, &b);
    fixture_passphrase("battery staple");
    status = pqe__backend_change_passphrase(f.backend, f.vault_id, f.key, f.state, f.state_len, &changed, NULL);
    if (!s->passphrase) {
        assert_int_equal(status, PQE_E_UNAVAILABLE);
        assert_int_equal(changed.len, 0);
        fixture_end(&f);
        return;
    }
    assert_int_equal(status, PQE_OK);
    assert_string_equal(pqe__backend_key_source(f.backend->ops, bytes, changed.len), "passphrase");
    assert_int_equal(fixture_attach(&f, bytes, changed.len, &key), PQE_OK);
    assert_int_equal(fixture_unseal(&f, key, b.bytes, b.len, 64), PQE_OK);
    pqe__backend_detach(f.backend, key);

    fixture_passphrase("correct horse");
    assert_int_equal(fixture_attach(&f, bytes, changed.len, &key), PQE_E_DENIED);

    /* Once more by the same key, which was attached before the first change. */
    fixture_passphrase("another staple");
    assert_int_equal(pqe__backend_change_passphrase(f.backend, f.vault_id, f.key, bytes, changed.len, &again, NULL),
                     PQE_OK);
    assert_int_equal(fixture_attach(&f, more, again.len, &key), PQE_OK);
    assert_int_equal(fixture_unseal(&f, key, b.bytes, b.len, 64), PQE_OK);
    pqe__backend_detach(f.backend, key);
    assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_OK);
    fixture_passphrase("battery staple");
    assert_int_equal(fixture_attach(&f, more, again.len, &key), PQE_E_DENIED);

    fixture_passphrase("");
    assert_int_not_equal(
        pqe__backend_change_passphrase(f.backend, f.vault_id, f.key, f.state, f.state_len, &changed, NULL), PQE_OK);
    assert_int_equal(changed.len, 0);
    fixture_end(&f);
}

#define CASE(function)                                                                                                 \
    {                                                                                                                  \
#function, function, NULL, NULL, NULL                                                                          \
    }

int
conformance_run(const conformance_subject *subject)
{
    struct CMUnitTest tests[] = {
        CASE(describes_itself),
        CASE(round_trip),
        CASE(hides_the_secret_and_never_repeats),
        CASE(refuses_bad_sizes),
        CASE(authenticates_the_aad),
        CASE(takes_any_aad),
        CASE(authenticates_the_blob),
        CASE(keeps_vaults_apart),
        CASE(opens_again),
        CASE(persists_as_it_says),
        CASE(refuses_wrong_credentials),
        CASE(respects_capacities),
        CASE(enrols_wholly_or_not_at_all),
        CASE(never_overwrites),
        CASE(survives_hostile_states),
        CASE(names_its_key_source),
        CASE(changes_the_passphrase),
        CASE(conformance_counter_steps),
        CASE(conformance_counter_refusals),
        CASE(conformance_counter_lasts),
        CASE(conformance_counter_apart),
        CASE(conformance_counter_goes),
        CASE(conformance_kem),
        CASE(conformance_evidence_is_bound),
        CASE(conformance_evidence_key),
        CASE(conformance_evidence_refused),
        CASE(conformance_faults),
        CASE(conformance_fork),
        CASE(conformance_threads),
    };

    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tests[i].initial_state = (void *)(uintptr_t)subject;
    return cmocka_run_group_tests_name(subject->name, tests, NULL, NULL);
}
