/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Indexes that are authentic and wrong: written with the vault's own keys by a program that is faulty, newer, or hostile
 * and was once let in. What the tree vouches for is still checked for sense; the tests of most second lines of defence
 * are here, because nothing else gets past the first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/support.h"
#include "vault/internal.h"

typedef struct inside {
    pqe_backend *backend;
    pqe_vault *vault;
    pqe__txn txn;
} inside;

static void
inside_make(inside *in)
{
    in->backend = backend_memory();
    in->vault = vault_create(NULL, in->backend);
    put_ok(in->vault, "a", "content a", 9);
    put_ok(in->vault, "b", "content b", 9);
    get_equals(in->vault, "a", "content a", 9);
    assert_pqe_ok(pqe__txn_begin(in->vault, true, &in->txn, err));
}

/* Signs the head over whatever the index is now. */
static void
inside_commit(inside *in)
{
    bool known;

    assert_pqe_ok(pqe__txn_write_head(&in->txn, in->vault->session->keys, err));
    assert_pqe_ok(pqe__txn_commit(&in->txn, &known, err));
}

static void
inside_free(inside *in)
{
    pqe_vault_close(&in->vault);
    pqe_backend_close(&in->backend);
}

static void
find(inside *in, const char *name, pqe__found *f)
{
    assert_pqe_ok(pqe__find(&in->txn, name, true, f, err));
}

static bool
see_any(void *user, const pqe_artifact *artifact)
{
    (void)user;
    (void)artifact;
    return true;
}

static pqe_status
list_status(inside *in)
{
    return pqe_list(in->vault, see_any, NULL, NULL);
}

/* ---- entries ---- */

/* The entry of a's name or id leads to b's row, its digest and all. */
static void
test_entry_leads_elsewhere(void **state)
{
    static const pqe__entry_kind kinds[] = {PQE__ENTRY_NAME, PQE__ENTRY_ID};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char id[PQE_ARTIFACT_ID_SIZE];
        pqe__entry entry = {.kind = kinds[i]};
        pqe_artifact *artifact = NULL;
        const pqe__keys *keys;
        pqe__found a, b;
        inside in;
        inside_make(&in);
        keys = in.vault->session->keys;
        find(&in, "a", &a);
        find(&in, "b", &b);
        assert_pqe_ok(pqe__artifact_new(&a, &artifact, err));
        memcpy(id, artifact->artifact_id, sizeof id);
        if (kinds[i] == PQE__ENTRY_NAME)
            assert_pqe_ok(pqe__tag_of(keys, PQE__ENTRY_NAME, "a", 1, entry.tag, err));
        else
            assert_pqe_ok(pqe__tag_of(keys, PQE__ENTRY_ID, a.record.artifact_id, PQE__ID_SIZE, entry.tag, err));
        memcpy(entry.digest, b.row.digest, sizeof entry.digest);
        entry.rowid = b.row.rowid;
        assert_pqe_ok(pqe__tree_set(in.vault->store, in.txn.head.index_root, &entry, err));
        inside_commit(&in);
        assert_int_equal(get_status(in.vault, kinds[i] == PQE__ENTRY_NAME ? "a" : id), PQE_E_TAMPERED);
        assert_int_equal(pqe_delete(in.vault, kinds[i] == PQE__ENTRY_NAME ? "a" : id, NULL), PQE_E_TAMPERED);
        get_equals(in.vault, "b", "content b", 9);
        if (kinds[i] == PQE__ENTRY_NAME)
            assert_int_equal(list_status(&in), PQE_E_TAMPERED);
        assert_int_equal(pqe_verify(in.vault, NULL, NULL, NULL, NULL, NULL), PQE_E_TAMPERED);
        pqe_artifact_free(&artifact);
        pqe__found_free(&a);
        pqe__found_free(&b);
        inside_free(&in);
    }
}

static void
test_entry_of_another_kind(void **state)
{
    static const pqe__entry_kind kinds[] = {PQE__ENTRY_ID, PQE__ENTRY_SECRET};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        pqe__entry entry = {.kind = kinds[i]};
        pqe__found a;
        inside in;
        inside_make(&in);
        find(&in, "a", &a);
        assert_pqe_ok(pqe__tag_of(in.vault->session->keys, PQE__ENTRY_NAME, "a", 1, entry.tag, err));
        memcpy(entry.digest, a.row.digest, sizeof entry.digest);
        entry.rowid = a.row.rowid;
        assert_pqe_ok(pqe__tree_set(in.vault->store, in.txn.head.index_root, &entry, err));
        pqe__found_free(&a);
        inside_commit(&in);
        assert_int_equal(get_status(in.vault, "a"), PQE_E_TAMPERED);
        assert_int_equal(list_status(&in), PQE_E_TAMPERED); /* one name fewer than the head counts */
        assert_int_equal(pqe_verify(in.vault, NULL, NULL, NULL, NULL, NULL), PQE_E_TAMPERED);
        inside_free(&in);
    }
}

static void
test_wrong_count(void **state)
{
    inside in;

    (void)state;
    inside_make(&in);
    in.txn.head.artifact_count = 3;
    inside_commit(&in);
    get_equals(in.vault, "a", "content a", 9);
    assert_int_equal(list_status(&in), PQE_E_TAMPERED);
    assert_int_equal(pqe_verify(in.vault, NULL, NULL, NULL, NULL, NULL), PQE_E_TAMPERED);
    inside_free(&in);
}

/* ---- secrets ---- */

static void
test_secret_gone_or_another(void **state)
{
    (void)state;
    for (int variant = 0; variant < 2; variant++) {
        uint8_t key_id[PQE__ID_SIZE];
        pqe__secret_row secret, fresh;
        pqe__entry entry;
        pqe__keys *keys;
        pqe__found a;
        inside in;
        inside_make(&in);
        keys = in.vault->session->keys;
        find(&in, "a", &a);
        memcpy(key_id, a.row.key_id, sizeof key_id);
        pqe__found_free(&a);
        assert_pqe_ok(pqe__secret_find(&in.txn, keys, key_id, &entry, &secret, err));
        if (variant == 0) {
            assert_pqe_ok(pqe__tree_remove(in.vault->store, in.txn.head.index_root, entry.tag, err));
        } else {
            assert_pqe_ok(pqe__wrap_key_make(keys, &fresh, err)); /* sealed under another key id */
            memcpy(secret.sealed, fresh.sealed, sizeof secret.sealed);
            assert_pqe_ok(pqe__secret_digest(&secret, err));
            assert_pqe_ok(pqe__secret_update(in.vault->store, &secret, err));
            memcpy(entry.digest, secret.digest, sizeof entry.digest);
            assert_pqe_ok(pqe__tree_set(in.vault->store, in.txn.head.index_root, &entry, err));
        }
        inside_commit(&in);
        pqe_vault_lock(in.vault); /* forgets the wrap keys */
        assert_pqe_ok(pqe_vault_unlock(in.vault, 0, err));
        assert_int_equal(get_status(in.vault, "a"), variant == 0 ? PQE_E_TAMPERED : PQE_E_DECRYPTION);
        assert_int_not_equal(pqe_verify(in.vault, NULL, NULL, NULL, NULL, NULL), PQE_OK);
        inside_free(&in);
    }
}

/* ---- records ---- */

typedef void (*change_fn)(pqe__record *record);

/* Writes a's row anew: the record as `change` left it. `keep_dek`: the wrapped DEK stays, bound to the record as it
   was; otherwise it is wrapped again, for the new record. */
static void
rewrite(inside *in, change_fn change, bool keep_dek)
{
    uint8_t wrapped[PQE__WRAPPED_DEK_SIZE], dek[32];
    pqe__keys *keys = in->vault->session->keys;
    const uint8_t *wrap;
    pqe__found f;
    pqe__row row;

    find(in, "a", &f);
    memcpy(wrapped, f.row.dek, sizeof wrapped);
    assert_pqe_ok(pqe__wrap_key(&in->txn, keys, f.row.key_id, &wrap, err));
    assert_pqe_ok(pqe__dek_unwrap(wrap, &f, dek, err));
    row = f.row;
    row.allocation = NULL;
    change(&f.record);
    assert_pqe_ok(pqe__row_seal(&in->txn, keys, f.row.key_id, dek, &f.record, &row, err));
    if (keep_dek) {
        memcpy(row.dek, wrapped, sizeof wrapped);
        assert_pqe_ok(pqe__row_digest(&row, err));
    }
    assert_pqe_ok(pqe__row_update(in->vault->store, &row, err));
    assert_pqe_ok(pqe__row_enter(&in->txn, keys, &f.record, &row, err));
    free(row.allocation);
    pqe__found_free(&f);
    inside_commit(in);
}

static void
no_change(pqe__record *r)
{
    (void)r;
}

static void
change_version(pqe__record *r)
{
    r->version = (pqe__text){"2.0", 3};
}

static void
change_kind(pqe__record *r)
{
    r->kind = PQE_KIND_CREDENTIAL;
}

static void
change_time(pqe__record *r)
{
    r->created_at++;
}

static void
change_hash(pqe__record *r)
{
    r->content_hash[31] ^= 1;
}

static void
change_body_id(pqe__record *r)
{
    r->body_id[0] ^= 1;
}

static void
change_key_id(pqe__record *r)
{
    r->key_id[0] ^= 1;
}

static void
change_size(pqe__record *r)
{
    r->size_bytes++;
}

static void
change_stored(pqe__record *r)
{
    r->stored_bytes++;
}

static void
change_suite(pqe__record *r)
{
    r->suite.kem = 0x0042;
}

static void
change_algorithm(pqe__record *r)
{
    r->hash_algorithm = 4;
}

static void
unknown_kind(pqe__record *r)
{
    r->kind = (pqe_kind)9;
}

static void
late_time(pqe__record *r)
{
    r->created_at = UINT64_MAX;
}

static void
bad_text(pqe__record *r)
{
    r->description = (pqe__text){"\xff", 1};
}

/* The wrapped DEK is bound to every byte of the record: an index key alone changes no metadata. */
static void
test_metadata_bound_to_the_key(void **state)
{
    static const change_fn changes[] = {change_version, change_kind, change_time, change_hash, change_body_id};
    inside in;

    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        inside_make(&in);
        rewrite(&in, changes[i], true);
        assert_int_equal(get_status(in.vault, "a"), PQE_E_DECRYPTION);
        assert_int_equal(pqe_verify(in.vault, NULL, NULL, NULL, NULL, NULL), PQE_E_DECRYPTION);
        inside_free(&in);
    }
    inside_make(&in);
    rewrite(&in, no_change, true);
    get_equals(in.vault, "a", "content a", 9);
    inside_free(&in);
}

static void
test_records_that_make_no_sense(void **state)
{
    static const struct {
        change_fn change;
        pqe_status status;
    } cases[] = {
        {no_change, PQE_OK},
        {change_version, PQE_OK},
        {change_body_id, PQE_E_DECRYPTION}, /* the body's commitment is to the id it was written under */
        {change_size, PQE_E_DECRYPTION},
        {change_stored, PQE_E_DECRYPTION},
        {change_key_id, PQE_E_TAMPERED},
        {change_suite, PQE_E_VERSION},
        {change_algorithm, PQE_E_VERSION},
        {unknown_kind, PQE_E_TAMPERED},
        {late_time, PQE_E_TAMPERED},
        {bad_text, PQE_E_TAMPERED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pqe_status status;
        inside in;
        inside_make(&in);
        rewrite(&in, cases[i].change, false);
        status = get_status(in.vault, "a");
        if (status != cases[i].status)
            fail_msg("case %zu: %s", i, pqe_status_name(status));
        assert_int_equal(pqe_verify(in.vault, NULL, NULL, NULL, NULL, NULL), cases[i].status);
        get_equals(in.vault, "b", "content b", 9);
        inside_free(&in);
    }
}

typedef struct findings {
    unsigned sound, damaged;
    pqe_status status;
    char name[8];
} findings;

static bool
note(void *user, const pqe_finding *f)
{
    findings *n = user;

    n->sound += f->status == PQE_OK;
    n->damaged += f->status != PQE_OK;
    if (f->status != PQE_OK && f->artifact != NULL)
        snprintf(n->name, sizeof n->name, "%s", f->artifact->name);
    if (f->status != PQE_OK)
        n->status = f->status;
    return true;
}

/* get trusts the tags; verify computes the hash anew. */
static void
test_wrong_content_hash(void **state)
{
    findings n = {0};
    inside in;

    (void)state;
    inside_make(&in);
    rewrite(&in, change_hash, false);
    get_equals(in.vault, "a", "content a", 9);
    assert_int_equal(pqe_verify(in.vault, NULL, note, &n, NULL, NULL), PQE_E_TAMPERED);
    assert_int_equal(n.damaged, 1);
    assert_int_equal(n.sound, 1);
    assert_int_equal(n.status, PQE_E_TAMPERED);
    assert_string_equal(n.name, "a");
    assert_int_equal(pqe_verify(in.vault, "a", NULL, NULL, NULL, NULL), PQE_E_TAMPERED);
    assert_pqe_ok(pqe_verify(in.vault, "b", NULL, NULL, NULL, err));
    inside_free(&in);
}

/* ---- the head's settings ---- */

/* Replaces the head's private part by `plain`, sealed and tagged as the vault would. */
static void
write_settings(inside *in, const void *plain, size_t len)
{
    uint8_t bytes[PQE__HEAD_MAX], tag[PQE__HEAD_TAG_SIZE], aad[PQE__LABEL_MAX];
    const pqe__keys *keys = in->vault->session->keys;
    size_t aad_len = pqe__labelled(aad, "pqc-enclave head v1", keys->vault_id, NULL);
    pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes);
    bool known;

    in->txn.head.generation++;
    pqe__head_encode_public(&in->txn.head, bytes);
    c.pos = PQE__HEAD_PUBLIC_SIZE;
    pqe__put_u32(&c, (uint32_t)(len + PQE__BOX_OVERHEAD));
    assert_pqe_ok(pqe__box_seal(keys->head_aead, aad, aad_len, plain, len, bytes + c.pos, err));
    c.pos += len + PQE__BOX_OVERHEAD;
    assert_pqe_ok(pqe__hmac_sha256(keys->secret->origin, sizeof keys->secret->origin, bytes, c.pos, tag, err));
    assert_pqe_ok(pqe__store_put_head(in->vault->store, bytes, c.pos, tag, err));
    assert_pqe_ok(pqe__txn_commit(&in->txn, &known, err));
}

static void
test_settings(void **state)
{
    static const struct {
        const char *plain;
        size_t len;
        pqe_status status;
    } cases[] = {
        {"\0\1\0\0\0\1x", 7, PQE_OK},
        {"", 0, PQE_OK},
        {"\0\1\0\0\0\1x\0\7\0\0\0\0", 13, PQE_E_VERSION}, /* a setting of a later version */
        {"\0\7\0\0\0\0", 6, PQE_E_VERSION},
        {"\0\3\0\0\0\0", 6, PQE_E_TAMPERED},
        {"\0\2\0\0\0\0", 6, PQE_E_TAMPERED},                /* a policy without its digest */
        {"\0\1\0\0\0\1x\0\1\0\0\0\1y", 14, PQE_E_TAMPERED}, /* twice */
        {"\0\1\0\0\0\1x\0", 8, PQE_E_TAMPERED},
        {"\0\1\0\0\0\2x", 7, PQE_E_TAMPERED},
        {"\0\1\xff\xff\xff\xffx", 7, PQE_E_TAMPERED},
        {"\0\0\0\0\0\0", 6, PQE_E_TAMPERED},
        {"\0\1\0\0\0\1\xff", 7, PQE_E_TAMPERED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pqe_status status;
        inside in;
        inside_make(&in);
        write_settings(&in, cases[i].plain, cases[i].len);
        status = get_status(in.vault, "a");
        if (status != cases[i].status)
            fail_msg("case %zu: %s", i, pqe_status_name(status));
        pqe_vault_lock(in.vault);
        assert_int_equal(pqe_vault_unlock(in.vault, 0, NULL), cases[i].status);
        inside_free(&in);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entry_leads_elsewhere),
        cmocka_unit_test(test_entry_of_another_kind),
        cmocka_unit_test(test_wrong_count),
        cmocka_unit_test(test_secret_gone_or_another),
        cmocka_unit_test(test_metadata_bound_to_the_key),
        cmocka_unit_test(test_records_that_make_no_sense),
        cmocka_unit_test(test_wrong_content_hash),
        cmocka_unit_test(test_settings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
