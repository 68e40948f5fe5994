/* SPDX-License-Identifier: Apache-2.0 */
/* Key pairs on a token of PKCS#11 3.2 (pairs_module.h): the conformance suite, a vault, and tokens that fail or lie. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/faulty.h"
#include "backend/fixture.h"
#include "backend/forwarded.h"
#include "backend/pairs_module.h"
#include "backend/pkcs11_pairs.h"
#include "backend/scratch.h"
#include "backend/softhsm.h"

static pairs_set misbehave;
static pairs_count pairs;

static size_t
count_all(void)
{
    return softhsm_objects() + pairs();
}

static conformance_subject subject = {.name = "pkcs11, pairs", .leftovers = count_all, .stride = 3};

static const char *
config_of(const char *label, const char *more)
{
    static char texts[2][4096];
    static unsigned next;
    char *text = texts[next++ % 2];

    snprintf(text, sizeof texts[0], "module-path=" PAIRS_MODULE ";token=%s%s", label, more);
    return text;
}

/* ---- the pairs ---- */

typedef struct pair {
    uint8_t handle[PQE_SEAL_BLOB_MAX], ek[PQE_ML_DSA_PUBLIC_MAX];
    pqe_blob h, e;
} pair;

static pqe_status
make(const fixture *f, pair *p, bool signs)
{
    p->h = (pqe_blob){.data = p->handle, .capacity = sizeof p->handle};
    p->e = (pqe_blob){.data = p->ek, .capacity = sizeof p->ek};
    return signs ? pqe__backend_identity_make(f->backend, f->key, PQE_ML_DSA_65, &p->h, &p->e, NULL)
                 : pqe__backend_kem_make(f->backend, f->key, &p->h, &p->e, NULL);
}

static pqe_status
sign(const fixture *f, const pair *p)
{
    uint8_t bytes[PQE_ML_DSA_SIGNATURE_MAX];
    pqe_blob signature = {.data = bytes, .capacity = sizeof bytes};

    return pqe__backend_identity_sign(f->backend, f->key, PQE_ML_DSA_65, p->handle, p->h.len, NULL, 0,
                                      (const uint8_t *)"m", 1, &signature, NULL);
}

/* Opens what was sealed to the public key; right only if the shared secrets agree. */
static pqe_status
decapsulate(const fixture *f, const pair *p)
{
    uint8_t ct[PQE__KEM_CIPHERTEXT_SIZE], wanted[PQE__KEM_SHARED_SIZE], *got = pqe__secmem_alloc(sizeof wanted);
    pqe__kem_key *key = NULL;
    pqe_status status;

    assert_non_null(got);
    assert_int_equal(pqe__kem_from_public(p->ek, PQE__KEM_PUBLIC_SIZE, &key, NULL), PQE_OK);
    assert_int_equal(pqe__kem_encapsulate(key, NULL, ct, wanted, NULL), PQE_OK);
    pqe__kem_free(&key);
    status = pqe__backend_kem_decapsulate(f->backend, f->key, p->handle, p->h.len, ct, sizeof ct, got, NULL);
    if (status == PQE_OK)
        assert_memory_equal(got, wanted, sizeof wanted);
    pqe__secmem_free(got);
    return status;
}

static void
drop(const fixture *f, const pair *kem, const pair *dsa)
{
    pqe__backend_kem_drop(f->backend, f->key, kem->handle, kem->h.len);
    pqe__backend_identity_drop(f->backend, f->key, dsa->handle, dsa->h.len);
}

/* A session that is lost is opened anew, once, with the PIN from its file. */
static void
survives_a_lost_session(void **state)
{
    pair kem, dsa;
    fixture f;

    (void)state;
    fixture_begin(&f, &subject);
    misbehave(PAIRS_LOSES_ONCE);
    assert_int_equal(make(&f, &kem, false), PQE_OK);
    misbehave(PAIRS_LOSES_ONCE);
    assert_int_equal(make(&f, &dsa, true), PQE_OK);
    assert_int_equal(pairs(), 2);
    misbehave(PAIRS_LOSES_ONCE);
    assert_int_equal(decapsulate(&f, &kem), PQE_OK);
    misbehave(PAIRS_LOSES_ONCE);
    assert_int_equal(sign(&f, &dsa), PQE_OK);
    misbehave(PAIRS_LOSES);
    assert_int_equal(decapsulate(&f, &kem), PQE_E_BACKEND);
    assert_int_equal(sign(&f, &dsa), PQE_E_BACKEND);
    misbehave(PAIRS_FAILS);
    assert_int_equal(decapsulate(&f, &kem), PQE_E_BACKEND);
    assert_int_equal(sign(&f, &dsa), PQE_E_BACKEND);
    misbehave(0);
    assert_int_equal(decapsulate(&f, &kem), PQE_OK);
    assert_int_equal(sign(&f, &dsa), PQE_OK);
    drop(&f, &kem, &dsa);
    fixture_end(&f);
    assert_int_equal(count_all(), 0);
}

/* What a token makes is looked at; what is not as it was asked for does not stay. */
static void
takes_no_other_pairs(void **state)
{
    static const unsigned faults[] = {PAIRS_LOSES, PAIRS_FAILS, PAIRS_EXTRACTABLE, PAIRS_SHOWS_SEED,
                                      PAIRS_SHORT_PUBLIC};
    fixture f;
    pair p;

    (void)state;
    fixture_begin(&f, &subject);
    for (size_t i = 0; i < 2 * (sizeof faults / sizeof faults[0]); i++) {
        misbehave(faults[i / 2]);
        assert_int_equal(make(&f, &p, i % 2 != 0), PQE_E_BACKEND);
        assert_int_equal(p.h.len, 0);
        misbehave(0);
        assert_int_equal(pairs(), 0);
    }
    fixture_end(&f);
}

/* One pair's handle is good for nothing else: not for the other kind, not changed, not in another vault. */
static void
uses_its_own_pairs(void **state)
{
    fixture f, other;
    pair kem, dsa;

    (void)state;
    fixture_begin(&f, &subject);
    fixture_begin(&other, &subject);
    assert_int_equal(make(&f, &kem, false), PQE_OK);
    assert_int_equal(make(&f, &dsa, true), PQE_OK);
    assert_int_equal(sign(&f, &kem), PQE_E_DECRYPTION);
    assert_int_equal(decapsulate(&other, &kem), PQE_E_DECRYPTION);
    assert_int_equal(sign(&other, &dsa), PQE_E_DECRYPTION);
    for (size_t i = 0; i < kem.h.len; i++) {
        kem.handle[i] ^= 1;
        assert_int_equal(decapsulate(&f, &kem), PQE_E_DECRYPTION);
        kem.handle[i] ^= 1;
    }
    pqe__backend_kem_drop(f.backend, f.key, kem.handle, kem.h.len);
    pqe__backend_kem_drop(f.backend, f.key, kem.handle, kem.h.len);
    assert_int_equal(decapsulate(&f, &kem), PQE_E_DECRYPTION);
    assert_int_equal(sign(&f, &dsa), PQE_OK);
    drop(&f, &kem, &dsa);
    fixture_end(&f);
    fixture_end(&other);
    assert_int_equal(count_all(), 0);
}

/* ---- a vault ---- */

static pqe_vault *
open_vault(pqe_backend *backend, bool create)
{
    char path[SCRATCH_PATH_MAX];
    pqe_vault_opts opts = {.size = sizeof opts, .backend = backend, .create = create};
    pqe_vault *vault = NULL;

    opts.dir = scratch_path("vault", path);
    assert_int_equal(pqe_vault_open(&opts, &vault, NULL), PQE_OK);
    if (!create)
        assert_int_equal(pqe_vault_unlock(vault, 0, NULL), PQE_OK);
    return vault;
}

static pqe_status
get(pqe_vault *vault)
{
    void *content = NULL;
    size_t len = 0;
    pqe_status status = pqe_get(vault, "a", &content, &len, NULL, NULL);

    if (status == PQE_OK) {
        assert_int_equal(len, 7);
        assert_memory_equal(content, "content", 7);
    }
    pqe_content_free(&content, len);
    return status;
}

static void
keeps_a_vault(void **state)
{
    const pqe_put_opts put = {.size = sizeof put, .name = "a", .kind = PQE_KIND_OTHER};
    const pqe_rotate_opts rekey = {.size = sizeof rekey, .rekey = true};
    pqe_backend *backend = NULL;
    pqe_vault *vault;

    (void)state;
    assert_int_equal(fixture_open_backend(&subject, subject.ops, subject.config, &backend, NULL), PQE_OK);
    vault = open_vault(backend, true);
    assert_int_equal(pairs(), 2); /* its own, and that for packages */
    assert_int_equal(pqe_put(vault, &put, "content", 7, NULL, NULL), PQE_OK);
    assert_int_equal(pqe_rotate(vault, &rekey, NULL), PQE_OK);
    pqe_vault_close(&vault);
    vault = open_vault(backend, false);
    misbehave(PAIRS_LOSES_ONCE);
    assert_int_equal(get(vault), PQE_OK);
    assert_int_equal(pqe_verify(vault, NULL, NULL, NULL, NULL, NULL), PQE_OK);
    pqe_vault_lock(vault);
    assert_int_equal(pqe_vault_unlock(vault, 0, NULL), PQE_OK);
    misbehave(PAIRS_LOSES);
    assert_int_equal(get(vault), PQE_E_BACKEND);
    misbehave(0);
    assert_int_equal(get(vault), PQE_OK);
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
}

static void
find_functions(void)
{
    void *module = dlopen(PAIRS_MODULE, RTLD_NOW | RTLD_LOCAL), *symbol;

    if (module == NULL) {
        puts(dlerror());
        exit(EXIT_FAILURE);
    }
    symbol = dlsym(module, "pairs_set_flags");
    memcpy(&misbehave, &symbol, sizeof symbol);
    symbol = dlsym(module, "pairs_objects");
    memcpy(&pairs, &symbol, sizeof symbol);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(pkcs11_has_both, &subject),
        cmocka_unit_test_prestate(pkcs11_signs, &subject),
        cmocka_unit_test(survives_a_lost_session),
        cmocka_unit_test(takes_no_other_pairs),
        cmocka_unit_test(uses_its_own_pairs),
        cmocka_unit_test(keeps_a_vault),
    };
    const char *pin;
    int failures;

    softhsm_begin();
    setenv(FORWARDED_MODULE, softhsm_module(), 1);
    softhsm_token("one");
    softhsm_token("two");
    find_functions();
    pin = softhsm_pin("1234\n");
    subject.ops = pqe__backend_find("pkcs11");
    subject.config = config_of("one", pin);
    subject.wrong_config = config_of("two", pin);
    failures = conformance_run(&subject);
    subject.name = "pkcs11, pairs, decorated";
    subject.ops = faulty_wrap(subject.ops);
    failures += conformance_run(&subject);
    subject.ops = pqe__backend_find("pkcs11");
    failures += cmocka_run_group_tests_name("pkcs11, pairs beside the suite", tests, NULL, NULL);
    softhsm_end();
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
