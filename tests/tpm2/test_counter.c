/* SPDX-License-Identifier: Apache-2.0 */
/* The counter in the TPM, and the evidence that the TPM signs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the headers above */
#include <cmocka.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "backend/registry.h"
#include "backend/scratch.h"
#include "backend/tpm2/object.h"
#include "tpm2/swtpm.h"
#include "util/cursor.h"

static swtpm tpm;

/* A vault that is unlocked. */
typedef struct vault {
    uint8_t id[PQE_VAULT_ID_SIZE], state[PQE_BACKEND_STATE_MAX];
    size_t state_len;
    pqe_backend *backend;
    void *key;
    pqe_error err;
} vault;

static void
make_vault(vault *v, uint8_t number, const char *config)
{
    pqe_blob state = {.data = v->state, .capacity = sizeof v->state};
    char whole[512];

    memset(v, 0, sizeof *v);
    memset(v->id, number, sizeof v->id);
    snprintf(whole, sizeof whole, "tpm2:%s", config);
    assert_int_equal(pqe_backend_open(whole, NULL, &v->backend, NULL), PQE_OK);
    assert_int_equal(pqe__backend_enrol(v->backend, v->id, &state, &v->key, &v->err), PQE_OK);
    v->state_len = state.len;
}

static void
close_vault(vault *v)
{
    pqe__backend_detach(v->backend, v->key);
    pqe_backend_close(&v->backend);
}

static void
reopen(vault *v)
{
    pqe__backend_detach(v->backend, v->key);
    assert_int_equal(pqe__backend_attach(v->backend, v->id, v->state, v->state_len, &v->key, &v->err), PQE_OK);
}

static pqe_status
read_counter(vault *v, uint64_t *value, char note[PQE_COUNTER_NOTE_MAX + 1])
{
    uint8_t bytes[PQE_COUNTER_NOTE_MAX];
    pqe_blob blob = {.data = bytes, .capacity = sizeof bytes};
    pqe_status status = pqe__backend_counter_read(v->backend, v->key, value, &blob, &v->err);

    assert_true(blob.len <= PQE_COUNTER_NOTE_MAX);
    memcpy(note, bytes, blob.len);
    note[blob.len] = '\0';
    return status;
}

static pqe_status
advance(vault *v, uint64_t value, const char *note)
{
    return pqe__backend_counter_advance(v->backend, v->key, value, (const uint8_t *)note, strlen(note), &v->err);
}

static unsigned
nv_index(const vault *v)
{
    pqe__tpm2_state s;

    assert_int_equal(pqe__tpm2_state_read(v->state, v->state_len, &s, NULL), PQE_OK);
    return s.nv_index;
}

/* A tool on the vault's counter, whose index is in $X. */
static int
tool_on_index(const vault *v, const char *tool)
{
    char command[256];

    snprintf(command, sizeof command, "X=%u && %s", nv_index(v), tool);
    return swtpm_tool(&tpm, command);
}

static int
fresh(void **state)
{
    (void)state;
    assert_int_equal(swtpm_tool(&tpm, "tpm2_clear -c p"), 0);
    return 0;
}

/* ---- counting ---- */

static void
counts(void **state)
{
    char note[PQE_COUNTER_NOTE_MAX + 1];
    char longest[PQE_COUNTER_NOTE_MAX + 1];
    uint64_t first, value;
    vault v;

    (void)state;
    make_vault(&v, 1, tpm.tcti);
    assert_int_equal(read_counter(&v, &first, note), PQE_OK);
    assert_true(first >= 1);
    assert_string_equal(note, "");
    assert_int_equal(advance(&v, first + 1, "one"), PQE_OK);
    assert_int_equal(read_counter(&v, &value, note), PQE_OK);
    assert_int_equal(value, first + 1);
    assert_string_equal(note, "one");
    assert_int_equal(advance(&v, first + 1, "the same"), PQE_OK);
    assert_int_equal(read_counter(&v, &value, note), PQE_OK);
    assert_int_equal(value, first + 1);
    assert_string_equal(note, "the same");
    /* Neither back nor further than one. */
    assert_int_equal(advance(&v, first, "back"), PQE_E_ROLLBACK);
    assert_int_equal(advance(&v, first + 3, "far"), PQE_E_ROLLBACK);
    assert_int_equal(advance(&v, 0, "nought"), PQE_E_ROLLBACK);
    memset(longest, 'x', PQE_COUNTER_NOTE_MAX);
    longest[PQE_COUNTER_NOTE_MAX] = '\0';
    assert_int_equal(advance(&v, first + 2, longest), PQE_OK);
    assert_int_equal(read_counter(&v, &value, note), PQE_OK);
    assert_string_equal(note, longest);
    assert_int_equal(advance(&v, first + 3, ""), PQE_OK);
    assert_int_equal(read_counter(&v, &value, note), PQE_OK);
    assert_string_equal(note, "");
    close_vault(&v);
}

static void
survives_restarts(void **state)
{
    char note[PQE_COUNTER_NOTE_MAX + 1];
    uint64_t first, value;
    vault v;

    (void)state;
    make_vault(&v, 1, tpm.tcti);
    assert_int_equal(read_counter(&v, &first, note), PQE_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(advance(&v, first + 1 + (uint64_t)i, "kept"), PQE_OK);
        swtpm_stop(&tpm, i == 1); /* also with the plug pulled */
        swtpm_start(&tpm);
        reopen(&v);
        assert_int_equal(read_counter(&v, &value, note), PQE_OK);
        assert_int_equal(value, first + 1 + (uint64_t)i);
        assert_string_equal(note, "kept");
    }
    close_vault(&v);
}

static void
keeps_vaults_apart(void **state)
{
    char note[PQE_COUNTER_NOTE_MAX + 1];
    uint64_t one, two, value;
    vault a, b, again;

    (void)state;
    make_vault(&a, 1, tpm.tcti);
    make_vault(&b, 2, tpm.tcti);
    make_vault(&again, 1, tpm.tcti); /* the same vault on a second key: a place of its own */
    assert_int_not_equal(nv_index(&a), nv_index(&again));
    assert_int_equal(swtpm_count(&tpm), 6);
    assert_int_equal(read_counter(&a, &one, note), PQE_OK);
    assert_int_equal(read_counter(&b, &two, note), PQE_OK);
    assert_int_equal(advance(&a, one + 1, "a"), PQE_OK);
    assert_int_equal(read_counter(&b, &value, note), PQE_OK);
    assert_int_equal(value, two);
    pqe__backend_discard(again.backend, again.id, again.key);
    assert_int_equal(swtpm_count(&tpm), 4);
    assert_int_equal(read_counter(&a, &value, note), PQE_OK);
    assert_int_equal(value, one + 1);
    /* What a dead enrol of vault 1 left is removed, nothing of vault 2. */
    pqe__backend_forget(again.backend, again.id);
    assert_int_equal(swtpm_count(&tpm), 2);
    assert_int_equal(read_counter(&a, &value, note), PQE_E_ROLLBACK);
    assert_int_equal(read_counter(&b, &value, note), PQE_OK);
    close_vault(&a);
    close_vault(&b);
    close_vault(&again);
}

static void
notices_that_it_is_gone(void **state)
{
    char note[PQE_COUNTER_NOTE_MAX + 1];
    uint64_t before, value;
    vault v;

    (void)state;
    make_vault(&v, 1, tpm.tcti);
    assert_int_equal(read_counter(&v, &before, note), PQE_OK);
    assert_int_equal(tool_on_index(&v, "tpm2_nvundefine $X"), 0);
    reopen(&v);
    assert_int_equal(read_counter(&v, &value, note), PQE_E_ROLLBACK);
    assert_int_equal(value, 0);
    assert_non_null(strstr(v.err.message, "is gone"));
    assert_int_equal(advance(&v, before + 1, ""), PQE_E_ROLLBACK);

    assert_int_equal(pqe__backend_counter_make(v.backend, v.key, &v.err), PQE_OK);
    assert_int_equal(read_counter(&v, &value, note), PQE_OK);
    assert_true(value > before); /* a TPM's counters never begin below one that was removed */
    assert_int_equal(advance(&v, value + 1, "again"), PQE_OK);
    reopen(&v);
    assert_int_equal(read_counter(&v, &value, note), PQE_OK);
    assert_string_equal(note, "again");
    assert_int_equal(swtpm_count(&tpm), 2);
    close_vault(&v);
}

static void
notices_that_the_note_is_gone(void **state)
{
    char note[PQE_COUNTER_NOTE_MAX + 1];
    uint64_t value;
    vault v;

    (void)state;
    make_vault(&v, 1, tpm.tcti);
    assert_int_equal(tool_on_index(&v, "tpm2_nvundefine $((X + 1))"), 0);
    assert_int_equal(read_counter(&v, &value, note), PQE_E_ROLLBACK);
    assert_int_equal(pqe__backend_counter_make(v.backend, v.key, &v.err), PQE_OK);
    assert_int_equal(read_counter(&v, &value, note), PQE_OK);
    close_vault(&v);
}

/* Others that the TPM's owner could put in its place: an ordinary index, which can be set back, and another counter. */
static void
takes_no_other_index_for_it(void **state)
{
    static const char *const others[] = {
        "tpm2_nvdefine $X -s 8 -a 'ownerread|ownerwrite|authread|authwrite|no_da'",
        "tpm2_nvdefine $X -a 'nt=counter|ownerread|ownerwrite|authread|authwrite|no_da'",
        "tpm2_nvdefine $X -a 'nt=counter|authread|authwrite|no_da' -p mine",
    };
    char note[PQE_COUNTER_NOTE_MAX + 1];
    uint64_t value;

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        vault v;
        fresh(NULL);
        make_vault(&v, 1, tpm.tcti);
        assert_int_equal(tool_on_index(&v, "tpm2_nvundefine $X"), 0);
        assert_int_equal(tool_on_index(&v, others[i]), 0);
        if (i == 0)
            assert_int_equal(tool_on_index(&v, "head -c 8 /dev/zero | tpm2_nvwrite $X -C o -i -"), 0);
        else if (i == 1)
            assert_int_equal(tool_on_index(&v, "tpm2_nvincrement $X -C o"), 0);
        assert_int_equal(read_counter(&v, &value, note), PQE_E_ROLLBACK);
        assert_non_null(strstr(v.err.message, "was replaced"));
        assert_int_equal(advance(&v, 1, ""), PQE_E_ROLLBACK);
        /* What is not ours is not removed either. */
        assert_int_equal(pqe__backend_counter_make(v.backend, v.key, &v.err), PQE_E_BACKEND);
        pqe__backend_discard(v.backend, v.id, v.key);
        assert_int_equal(swtpm_count(&tpm), 1);
        close_vault(&v);
    }
}

/* The same public area to the last bit, and another authorization value: the TPM's answers do not verify. */
static void
takes_no_twin_for_it(void **state)
{
    char note[PQE_COUNTER_NOTE_MAX + 1];
    uint64_t value;
    vault v, twin;

    (void)state;
    make_vault(&v, 1, tpm.tcti);
    assert_int_equal(tool_on_index(&v, "tpm2_nvundefine $X"), 0);
    assert_int_equal(tool_on_index(&v, "tpm2_nvundefine $((X + 1))"), 0);
    make_vault(&twin, 1, tpm.tcti);
    assert_int_equal(nv_index(&v), nv_index(&twin));
    assert_int_equal(read_counter(&twin, &value, note), PQE_OK);
    assert_int_equal(read_counter(&v, &value, note), PQE_E_ROLLBACK);
    assert_non_null(strstr(v.err.message, "was replaced in the TPM by another"));
    assert_int_equal(advance(&v, 2, ""), PQE_E_ROLLBACK);
    close_vault(&v);
    close_vault(&twin);
}

static void
can_do_without(void **state)
{
    char note[PQE_COUNTER_NOTE_MAX + 1];
    uint64_t value;
    vault v;

    (void)state;
    make_vault(&v, 1, swtpm_config(&tpm, "no-counter"));
    assert_int_equal(swtpm_count(&tpm), 0);
    assert_int_equal(read_counter(&v, &value, note), PQE_E_UNAVAILABLE);
    assert_int_equal(advance(&v, 1, ""), PQE_E_UNAVAILABLE);
    assert_int_equal(pqe__backend_counter_make(v.backend, v.key, &v.err), PQE_E_UNAVAILABLE);
    close_vault(&v);
}

/* Defines indices from 0x1400000 on until the TPM takes no more of this kind. */
static void
fill(unsigned *n, const char *options)
{
    char command[128];

    for (;; ++*n) {
        snprintf(command, sizeof command, "tpm2_nvdefine 0x%x %s", 0x1400000 + *n, options);
        if (swtpm_tool(&tpm, command) != 0)
            return;
    }
}

/* NV memory runs out: first there is no room for the note, then none for a counter. A software TPM keeps some back for
   counters. */
static void
makes_do_with_little_room(void **state)
{
    uint8_t bytes[PQE_BACKEND_STATE_MAX];
    pqe_blob blob = {.data = bytes, .capacity = sizeof bytes};
    char note[PQE_COUNTER_NOTE_MAX + 1], text[PQE_HELD_BY_MAX];
    uint64_t value;
    size_t before;
    unsigned n = 0;
    vault v;

    (void)state;
    fill(&n, "-s 1024 -a 'ownerread|ownerwrite'");
    fill(&n, "-s 32 -a 'ownerread|ownerwrite'");
    make_vault(&v, 1, tpm.tcti);
    assert_true(pqe__backend_describe(pqe__backend_find("tpm2"), v.state, v.state_len, text));
    assert_string_equal(text, "TPM 2.0, AES-256 storage parent, counter");
    assert_int_equal(read_counter(&v, &value, note), PQE_OK);
    assert_int_equal(advance(&v, value + 1, "dropped"), PQE_OK);
    assert_int_equal(read_counter(&v, &value, note), PQE_OK);
    assert_string_equal(note, "");

    fill(&n, "-a 'nt=counter|ownerread|ownerwrite'");
    before = swtpm_count(&tpm);
    pqe__backend_detach(v.backend, v.key);
    memset(v.id, 2, sizeof v.id);
    assert_int_equal(pqe__backend_enrol(v.backend, v.id, &blob, &v.key, &v.err), PQE_E_BACKEND);
    assert_non_null(strstr(v.err.message, "no room for a counter"));
    assert_int_equal(swtpm_count(&tpm), before);
    close_vault(&v);
    make_vault(&v, 2, swtpm_config(&tpm, "no-counter"));
    close_vault(&v);
}

/* ---- evidence ---- */

typedef struct collected {
    char types[8][32];
    uint8_t data[8][2048];
    size_t len[8], count;
} collected;

static pqe_status
collect(void *user, const char *type, const uint8_t *data, size_t len, pqe_error *err)
{
    collected *c = user;

    (void)err;
    assert_true(c->count < 8 && len <= sizeof c->data[0]);
    snprintf(c->types[c->count], sizeof c->types[0], "%s", type);
    memcpy(c->data[c->count], data, len);
    c->len[c->count++] = len;
    return PQE_OK;
}

static EVP_PKEY *
evidence_key(vault *v)
{
    uint8_t pem[512];
    pqe_blob blob = {.data = pem, .capacity = sizeof pem};
    EVP_PKEY *key;
    BIO *bio;

    assert_int_equal(pqe__backend_evidence_key(v->backend, v->key, &blob, &v->err), PQE_OK);
    bio = BIO_new_mem_buf(pem, (int)blob.len);
    key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(key);
    return key;
}

/* TPM2B_ATTEST, then TPMT_SIGNATURE: verifies the signature, gives type and what was attested. */
static bool
verifies(const uint8_t *data, size_t len, EVP_PKEY *key, const uint8_t nonce[32], uint16_t *type, pqe__rcur *rest)
{
    pqe__rcur c = pqe__rcur_init(data, len), a;
    uint16_t attest_len = pqe__get_u16(&c), r_len, s_len, signer_len;
    const uint8_t *attest = pqe__get_bytes(&c, attest_len), *r, *s;
    unsigned char der[80], *p = der;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int der_len;
    bool ok;

    assert_int_equal(pqe__get_u16(&c), TPM2_ALG_ECDSA);
    assert_int_equal(pqe__get_u16(&c), TPM2_ALG_SHA256);
    r_len = pqe__get_u16(&c);
    r = pqe__get_bytes(&c, r_len);
    s_len = pqe__get_u16(&c);
    s = pqe__get_bytes(&c, s_len);
    assert_true(pqe__rcur_done(&c));
    ECDSA_SIG_set0(sig, BN_bin2bn(r, r_len, NULL), BN_bin2bn(s, s_len, NULL));
    der_len = i2d_ECDSA_SIG(sig, &p);
    ok = EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
         EVP_DigestVerify(ctx, der, (size_t)der_len, attest, attest_len) == 1;
    EVP_MD_CTX_free(ctx);
    ECDSA_SIG_free(sig);

    a = pqe__rcur_init(attest, attest_len);
    assert_int_equal(pqe__get_u32(&a), TPM2_GENERATED_VALUE);
    *type = pqe__get_u16(&a);
    signer_len = pqe__get_u16(&a);
    (void)pqe__get_bytes(&a, signer_len);
    assert_int_equal(pqe__get_u16(&a), 32);
    assert_memory_equal(pqe__get_bytes(&a, 32), nonce, 32);
    *rest = a;
    return ok;
}

static void
gives_evidence(void **state)
{
    static const uint16_t wanted[] = {TPM2_ST_ATTEST_QUOTE, TPM2_ST_ATTEST_CERTIFY, TPM2_ST_ATTEST_NV};
    static const char *const types[] = {"tpm2-quote", "tpm2-certify", "tpm2-nv-certify"};
    uint8_t nonce[32] = {9, 8, 7};
    char note[PQE_COUNTER_NOTE_MAX + 1];
    static collected c;
    EVP_PKEY *key;
    uint64_t value;
    vault v;

    (void)state;
    make_vault(&v, 1, swtpm_config(&tpm, "pcrs=sha384:11"));
    memset(&c, 0, sizeof c);
    assert_int_equal(read_counter(&v, &value, note), PQE_OK);
    assert_int_equal(pqe__backend_evidence(v.backend, v.key, nonce, collect, &c, &v.err), PQE_OK);
    assert_int_equal(c.count, 3);
    key = evidence_key(&v);
    for (size_t i = 0; i < 3; i++) {
        uint16_t type;
        pqe__rcur rest;
        assert_string_equal(c.types[i], types[i]);
        assert_true(verifies(c.data[i], c.len[i], key, nonce, &type, &rest));
        assert_int_equal(type, wanted[i]);
        if (i == 2) { /* the counter's value is the last thing in it */
            rest.pos = rest.len - 8;
            assert_int_equal(pqe__get_u64(&rest), value);
        }
        c.data[i][40] ^= 1;
        assert_false(verifies(c.data[i], c.len[i], key, nonce, &type, &rest));
    }
    assert_int_equal(swtpm_count(&tpm), 2);
    EVP_PKEY_free(key);
    close_vault(&v);
}

static void
gives_evidence_without_a_counter(void **state)
{
    uint8_t nonce[32] = {1};
    static collected c;
    vault v;

    (void)state;
    make_vault(&v, 1, swtpm_config(&tpm, "no-counter"));
    memset(&c, 0, sizeof c);
    assert_int_equal(pqe__backend_evidence(v.backend, v.key, nonce, collect, &c, &v.err), PQE_OK);
    assert_int_equal(c.count, 2);
    close_vault(&v);
}

/* The attestation key is the chip's, whatever is cleared. */
static void
keeps_its_attestation_key(void **state)
{
    EVP_PKEY *before, *after;
    vault v, w;

    (void)state;
    make_vault(&v, 1, tpm.tcti);
    before = evidence_key(&v);
    close_vault(&v);
    fresh(NULL);
    make_vault(&w, 2, tpm.tcti);
    after = evidence_key(&w);
    assert_int_equal(EVP_PKEY_eq(before, after), 1);
    EVP_PKEY_free(before);
    EVP_PKEY_free(after);
    close_vault(&w);
}

/* A TPM that cannot be reached is no TPM without a counter. */
static void
out_of_reach(void **state)
{
    uint8_t note[PQE_COUNTER_NOTE_MAX] = {0};
    pqe_blob blob = {.data = note, .capacity = sizeof note};
    uint64_t value;
    vault v;

    (void)state;
    make_vault(&v, 1, tpm.tcti);
    swtpm_stop(&tpm, false);
    swtpm_mind_leaks(false);
    assert_int_equal(pqe__backend_counter_read(v.backend, v.key, &value, &blob, &v.err), PQE_E_BACKEND);
    assert_int_equal(pqe__backend_counter_advance(v.backend, v.key, 2, note, sizeof note, &v.err), PQE_E_BACKEND);
    assert_int_equal(pqe__backend_counter_make(v.backend, v.key, &v.err), PQE_E_BACKEND);
    swtpm_mind_leaks(true);
    swtpm_start(&tpm);
    assert_int_equal(pqe__backend_counter_read(v.backend, v.key, &value, &blob, &v.err), PQE_OK);
    close_vault(&v);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(counts, fresh),
        cmocka_unit_test_setup(survives_restarts, fresh),
        cmocka_unit_test_setup(out_of_reach, fresh),
        cmocka_unit_test_setup(keeps_vaults_apart, fresh),
        cmocka_unit_test_setup(notices_that_it_is_gone, fresh),
        cmocka_unit_test_setup(notices_that_the_note_is_gone, fresh),
        cmocka_unit_test_setup(takes_no_other_index_for_it, fresh),
        cmocka_unit_test_setup(takes_no_twin_for_it, fresh),
        cmocka_unit_test_setup(can_do_without, fresh),
        cmocka_unit_test_setup(makes_do_with_little_room, fresh),
        cmocka_unit_test_setup(gives_evidence, fresh),
        cmocka_unit_test_setup(gives_evidence_without_a_counter, fresh),
        cmocka_unit_test_setup(keeps_its_attestation_key, fresh),
    };
    int failures;

    swtpm_need();
    scratch_make();
    swtpm_make(&tpm, "tpm");
    failures = cmocka_run_group_tests_name("tpm2 counter and evidence", tests, NULL, NULL);
    swtpm_stop(&tpm, false);
    scratch_remove();
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
