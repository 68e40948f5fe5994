/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vaults forged with nothing but public keys, and parts exchanged between two vaults of one backend. HPKE's base mode
 * says nothing about who sealed: a forger who knows the vault key's public part can make everything in a vault except
 * the head's tag.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/file/passphrase.h"
#include "unit/support.h"
#include "vault/internal.h"

/* ---- the forger ---- */

typedef struct forger {
    pqe_vault *real;  /* what an outsider may read of it: its store, and the public part of its key */
    pqe_vault *vault; /* the forged one; its session has keys of the forger's choice */
    pqe__keys *keys;
    pqe__txn txn;
} forger;

static void
copy_items(const forger *f, int first, int last)
{
    uint8_t item[PQE__ITEM_MAX];
    size_t len;

    assert_pqe_ok(pqe__store_begin(f->real->store, false, err));
    for (int i = first; i <= last; i++) {
        assert_pqe_ok(pqe__store_get_item(f->real->store, (pqe__device_item)i, item, sizeof item, &len, err));
        assert_pqe_ok(pqe__store_put_item(f->vault->store, (pqe__device_item)i, item, len, err));
    }
    pqe__store_rollback(f->real->store);
}

static void
real_head(const forger *f, pqe__head *head)
{
    uint8_t bytes[PQE__HEAD_MAX], tag[PQE__HEAD_TAG_SIZE];
    const uint8_t *sealed;
    size_t len, sealed_len;

    assert_pqe_ok(pqe__store_begin(f->real->store, false, err));
    assert_pqe_ok(pqe__store_get_head(f->real->store, bytes, &len, tag, err));
    assert_pqe_ok(pqe__head_decode(bytes, len, head, &sealed, &sealed_len, err));
    pqe__store_rollback(f->real->store);
}

/* A root secret of the forger's, sealed to the real vault key as the vault itself would. */
static void
forge_root(const forger *f)
{
    uint8_t sealed[PQE__SEALED_SECRET_SIZE], info[PQE__LABEL_MAX];
    size_t len = pqe__info_secret(info, f->keys->vault_id, f->keys->suite, PQE__SECRET_ROOT, f->keys->root_key_id);

    assert_pqe_ok(pqe__hpke_seal(&pqe__hpke_ml_kem_768, f->keys->vault_key, NULL, info, len, NULL, 0,
                                 f->keys->secret->root, sizeof f->keys->secret->root, sealed, err));
    assert_pqe_ok(pqe__store_put_item(f->vault->store, PQE__ITEM_ROOT_SECRET, sealed, sizeof sealed, err));
}

static void
forge_keys(forger *f, const pqe__head *head)
{
    uint8_t ek[PQE__KEM_PUBLIC_SIZE];

    assert_pqe_ok(pqe__keys_new(&f->keys, err));
    memcpy(f->keys->vault_id, head->vault_id, PQE__ID_SIZE);
    f->keys->suite = head->suite;
    f->keys->epoch = head->key_epoch;
    assert_pqe_ok(pqe__kem_public(f->real->session->keys->vault_key, ek, err));
    assert_pqe_ok(pqe__kem_from_public(ek, sizeof ek, &f->keys->vault_key, err));
    assert_pqe_ok(pqe__random(f->keys->root_key_id, PQE__ID_SIZE, err));
    assert_pqe_ok(pqe__random_secret(f->keys->secret->root, sizeof f->keys->secret->root, err));
    assert_pqe_ok(pqe__random_secret(f->keys->secret->origin, sizeof f->keys->secret->origin, err));
    assert_pqe_ok(pqe__keys_derive(f->keys, err));
}

typedef struct sink {
    uint8_t data[1024];
    size_t len;
} sink;

static pqe_status
take(void *user, const uint8_t *data, size_t len, pqe_error *err)
{
    sink *s = user;

    if (len > sizeof s->data - s->len)
        return pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_API, 0, "too much for this test");
    memcpy(s->data + s->len, data, len);
    s->len += len;
    return PQE_OK;
}

static void
forge_artifact(forger *f, const char *name, const char *content)
{
    uint8_t dek[32];
    sink s = {.len = 0};
    pqe__body_writer *w = NULL;
    pqe__secret_row secret;
    pqe__row row = {.is_inline = true};
    pqe__record r = {.suite = f->keys->suite,
                     .kind = PQE_KIND_OTHER,
                     .hash_algorithm = PQE__RECORD_HASH_SHA3_256,
                     .name = {name, strlen(name)},
                     .size_bytes = strlen(content)};

    assert_pqe_ok(pqe__wrap_key_make(f->keys, &secret, err));
    assert_pqe_ok(pqe__wrap_key_enter(&f->txn, f->keys, &secret, err));
    assert_pqe_ok(pqe__random(dek, sizeof dek, err));
    assert_pqe_ok(pqe__random(r.artifact_id, PQE__ID_SIZE, err));
    assert_pqe_ok(pqe__random(r.body_id, PQE__ID_SIZE, err));
    memcpy(r.key_id, secret.key_id, PQE__ID_SIZE);
    assert_pqe_ok(pqe__body_writer_new(dek, r.body_id, NULL, take, &s, &w, err));
    assert_pqe_ok(pqe__body_writer_write(w, content, strlen(content), err));
    assert_pqe_ok(pqe__body_writer_finish(w, err));
    pqe__body_writer_free(&w);
    assert_pqe_ok(pqe__hash_once(PQE__SHA3_256, content, strlen(content), r.content_hash, err));
    r.stored_bytes = s.len;
    row.body = s.data;
    row.body_len = s.len;
    assert_pqe_ok(pqe__row_seal(&f->txn, f->keys, secret.key_id, dek, &r, &row, err));
    assert_pqe_ok(pqe__row_insert(f->vault->store, &row, err));
    assert_pqe_ok(pqe__row_enter(&f->txn, f->keys, &r, &row, err));
    pqe__row_free(&row);
    f->txn.head.artifact_count++;
}

typedef enum forgery {
    OWN_ROOT,        /* real device keys, a root secret sealed to the real vault key, and everything below it */
    OWN_ROOT_NO_TAG, /* the same with zeros for a tag */
    REAL_ITEMS       /* real items throughout; the head's sealed part and its tag are the real ones too */
} forgery;

static void
forge_head(forger *f, forgery kind)
{
    uint8_t bytes[PQE__HEAD_MAX], tag[PQE__HEAD_TAG_SIZE] = {0};
    pqe__head_private priv = {.device_id = "forged"};
    size_t len;

    f->txn.head.generation += 5;
    assert_pqe_ok(pqe__store_device_digest(f->vault->store, f->txn.head.device_digest, err));
    if (kind != REAL_ITEMS) {
        memcpy(f->txn.head.root_key_id, f->keys->root_key_id, PQE__ID_SIZE);
        assert_pqe_ok(pqe__head_write(f->vault->store, f->keys, &f->txn.head, &priv, err));
        if (kind == OWN_ROOT)
            return;
        assert_pqe_ok(pqe__store_get_head(f->vault->store, bytes, &len, tag, err));
        memset(tag, 0, sizeof tag);
    } else {
        assert_pqe_ok(pqe__store_begin(f->real->store, false, err));
        assert_pqe_ok(pqe__store_get_head(f->real->store, bytes, &len, tag, err));
        pqe__store_rollback(f->real->store);
        pqe__head_encode_public(&f->txn.head, bytes);
    }
    assert_pqe_ok(pqe__store_put_head(f->vault->store, bytes, len, tag, err));
}

/* Makes a forged vault in `dir`; `artifact` NULL leaves it empty. */
static void
forge(pqe_vault *real, const char *dir, forgery kind, const char *artifact)
{
    forger f = {.real = real};
    pqe__session *session = calloc(1, sizeof *session);
    pqe__head head;

    assert_non_null(session);
    real_head(&f, &head);
    forge_keys(&f, &head);
    assert_pqe_ok(pqe__vault_alloc(real->backend, &f.vault, err));
    assert_pqe_ok(pqe__store_create(dir, 1000, &f.vault->store, err));
    assert_pqe_ok(pqe__store_publish(f.vault->store, err));
    session->keys = f.keys;
    f.vault->session = session;
    f.txn = (pqe__txn){.vault = f.vault, .write = true, .head = head};
    f.txn.head.artifact_count = 0;
    assert_pqe_ok(pqe__store_begin(f.vault->store, true, err));
    copy_items(&f, PQE__ITEM_BACKEND_NAME, PQE__ITEM_ROOT_SECRET);
    if (kind != REAL_ITEMS)
        forge_root(&f);
    assert_pqe_ok(pqe__tree_empty(f.txn.head.index_root, err));
    if (artifact != NULL)
        forge_artifact(&f, artifact, "what the forger says");
    forge_head(&f, kind);
    assert_pqe_ok(pqe__store_commit(f.vault->store, err));
    pqe_vault_close(&f.vault);
}

static void
test_forged_vault(void **state)
{
    static const forgery kinds[] = {OWN_ROOT, OWN_ROOT_NO_TAG, REAL_ITEMS};
    char *dir = scratch_make(), name[32];
    pqe_backend *b = backend_memory(), *b2 = backend_memory();
    pqe_vault *real = vault_create(scratch_path(dir, "real"), b), *v;

    (void)state;
    put_ok(real, "model", "what the owner says", 19);
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "forged-%d", i);
        forge(real, scratch_path(dir, name), kinds[i / 2], i % 2 == 0 ? "model" : NULL);
        v = vault_open_locked(scratch_path(dir, name), b);
        assert_int_equal(pqe_vault_unlock(v, 0, NULL), PQE_E_TAMPERED);
        assert_false(pqe_vault_is_unlocked(v));
        assert_int_equal(get_status(v, "model"), PQE_E_LOCKED);
        pqe_vault_close(&v);
    }
    /* A whole vault of another device's. */
    v = vault_create(scratch_path(dir, "other"), b2);
    pqe_vault_close(&v);
    v = vault_open_locked(scratch_path(dir, "other"), b);
    assert_int_equal(pqe_vault_unlock(v, 0, NULL), PQE_E_DENIED);
    pqe_vault_close(&v);
    pqe_vault_close(&real);
    pqe_backend_close(&b);
    pqe_backend_close(&b2);
    scratch_remove(dir);
}

/* The same under a session that has the real vault open. */
static void
test_forged_index_while_unlocked(void **state)
{
    char *dir = scratch_make(), statement[1024];
    pqe_backend *b = backend_memory();
    pqe_vault *real = vault_create(scratch_path(dir, "real"), b);

    (void)state;
    put_ok(real, "model", "what the owner says", 19);
    forge(real, scratch_path(dir, "forged"), OWN_ROOT, "model");
    snprintf(statement, sizeof statement,
             "ATTACH '%s/index.db' AS o; BEGIN; DELETE FROM main.head; INSERT INTO main.head SELECT * FROM o.head;"
             "DELETE FROM main.device; INSERT INTO main.device SELECT * FROM o.device; COMMIT",
             scratch_path(dir, "forged"));
    sql(scratch_path(dir, "real"), statement);
    assert_int_equal(get_status(real, "model"), PQE_E_TAMPERED);
    pqe_vault_close(&real);
    pqe_backend_close(&b);
    scratch_remove(dir);
}

/* ---- two vaults of one backend ---- */

typedef struct pair {
    char *dir;
    char *a, *b, *x; /* x: a, with parts of b's */
    pqe_backend *backend;
} pair;

static void
pair_fill(const char *dir, pqe_backend *backend, uint32_t seed)
{
    pqe_vault *v = vault_create(dir, backend);
    uint8_t *content = make_content(70000, seed);

    put_ok(v, "small", content, 100);
    put_ok(v, "large", content, 70000);
    pqe_vault_close(&v);
    free(content);
}

static void
pair_make(pair *p)
{
    p->dir = scratch_make();
    p->a = strdup(scratch_path(p->dir, "a"));
    p->b = strdup(scratch_path(p->dir, "b"));
    p->x = strdup(scratch_path(p->dir, "x"));
    p->backend = backend_memory();
    pair_fill(p->a, p->backend, 1);
    pair_fill(p->b, p->backend, 2);
}

static void
pair_free(pair *p)
{
    pqe_backend_close(&p->backend);
    free(p->a);
    free(p->b);
    free(p->x);
    scratch_remove(p->dir);
}

/* x becomes a, then `format` runs with b's index attached as "o". */
__attribute__((format(printf, 2, 3))) static void
mix(const pair *p, const char *format, ...)
{
    char statement[2048];
    int n = snprintf(statement, sizeof statement, "ATTACH '%s/index.db' AS o;", p->b);
    va_list args;

    va_start(args, format);
    vsnprintf(statement + n, sizeof statement - (size_t)n, format, args);
    va_end(args);
    scratch_copy(p->a, p->x);
    sql(p->x, statement);
}

static pqe_status
unlock_status(const pair *p)
{
    pqe_vault *v = vault_open_locked(p->x, p->backend);
    pqe_status status = pqe_vault_unlock(v, 0, NULL);

    pqe_vault_close(&v);
    return status;
}

static void
everything_is_refused(const pair *p)
{
    pqe_vault *v = vault_open(p->x, p->backend);

    assert_int_equal(get_status(v, "small"), PQE_E_TAMPERED);
    assert_int_equal(get_status(v, "large"), PQE_E_TAMPERED);
    assert_int_equal(get_status(v, "no such artifact"), PQE_E_TAMPERED);
    /* The first thing found may also be a record under another vault's key. */
    assert_int_not_equal(pqe_verify(v, NULL, NULL, NULL, NULL, NULL), PQE_OK);
    pqe_vault_close(&v);
}

static void
test_exchanged_items(void **state)
{
    pair p;

    (void)state;
    pair_make(&p);
    for (unsigned mask = 1; mask < 32; mask++) {
        pqe_status wanted;
        mix(&p,
            "UPDATE main.device AS m SET bytes = (SELECT bytes FROM o.device AS d WHERE d.item = m.item) WHERE (%u >> "
            "(item - 1)) & 1",
            mask);
        /* The backend's name and state are the same for both: one backend. */
        if ((mask & ~3u) == 0)
            wanted = PQE_OK;
        else
            wanted = mask & 4 ? PQE_E_DECRYPTION : PQE_E_TAMPERED;
        assert_int_equal(unlock_status(&p), wanted);
    }
    pair_free(&p);
}

#define TAKE(t) "DELETE FROM main." t "; INSERT INTO main." t " SELECT * FROM o." t ";"

static void
test_exchanged_tables(void **state)
{
    pair p;

    (void)state;
    pair_make(&p);
    mix(&p, "%s", TAKE("head"));
    assert_int_equal(unlock_status(&p), PQE_E_DECRYPTION);
    mix(&p, "%s", TAKE("device"));
    assert_int_equal(unlock_status(&p), PQE_E_DECRYPTION);
    mix(&p, "%s", TAKE("head") TAKE("device"));
    everything_is_refused(&p);
    mix(&p, "%s", TAKE("artifact") TAKE("secret") TAKE("entry") TAKE("node"));
    everything_is_refused(&p);
    mix(&p, "%s", TAKE("entry") TAKE("node"));
    everything_is_refused(&p);
    mix(&p, "%s", TAKE("artifact"));
    {
        pqe_vault *v = vault_open(p.x, p.backend);
        assert_int_equal(get_status(v, "small"), PQE_E_TAMPERED);
        assert_int_equal(get_status(v, "large"), PQE_E_TAMPERED);
        assert_int_equal(get_status(v, "no such artifact"), PQE_E_NOT_FOUND);
        pqe_vault_close(&v);
    }
    pair_free(&p);
}

/* A whole index is a vault of its own wherever it lies: it says whose it is, and its bodies are missed. */
static void
test_exchanged_index(void **state)
{
    uint8_t *content = make_content(70000, 2);
    pqe_vault_info info_b, info_x;
    pqe_vault *v;
    pair p;

    (void)state;
    pair_make(&p);
    scratch_copy(p.a, p.x);
    scratch_copy(scratch_path(p.b, "index.db"), scratch_path(p.x, "index.db"));
    assert_pqe_ok(pqe_vault_peek(p.b, &info_b, err));
    v = vault_open(p.x, p.backend);
    assert_pqe_ok(pqe_vault_get_info(v, &info_x, err));
    assert_string_equal(info_b.vault_id, info_x.vault_id);
    get_equals(v, "small", content, 100);
    assert_int_equal(get_status(v, "large"), PQE_E_TAMPERED);
    assert_int_equal(pqe_verify(v, NULL, NULL, NULL, NULL, NULL), PQE_E_TAMPERED);
    pqe_vault_close(&v);
    free(content);
    pair_free(&p);
}

static void
only_body(const char *dir, char path[PATH_MAX])
{
    char pattern[PATH_MAX];
    glob_t found;

    assert_true(snprintf(pattern, sizeof pattern, "%s/bodies/*/*", dir) < PATH_MAX);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    assert_true(snprintf(path, PATH_MAX, "%s", found.gl_pathv[0]) < PATH_MAX);
    globfree(&found);
}

static void
test_exchanged_bodies(void **state)
{
    uint8_t *content = make_content(70000, 1);
    char from[PATH_MAX], to[PATH_MAX];
    pqe_vault *v;
    pair p;

    (void)state;
    pair_make(&p);
    scratch_copy(p.a, p.x);
    scratch_copy(scratch_path(p.b, "bodies"), scratch_path(p.x, "bodies"));
    v = vault_open(p.x, p.backend);
    get_equals(v, "small", content, 100);
    assert_int_equal(get_status(v, "large"), PQE_E_TAMPERED);
    pqe_vault_close(&v);
    /* b's body under the name of a's: of each vault's bodies there is one. */
    scratch_copy(p.a, p.x);
    only_body(p.b, from);
    only_body(p.x, to);
    scratch_copy(from, to);
    v = vault_open(p.x, p.backend);
    assert_int_equal(get_status(v, "large"), PQE_E_DECRYPTION);
    assert_int_equal(pqe_verify(v, NULL, NULL, NULL, NULL, NULL), PQE_E_DECRYPTION);
    pqe_vault_close(&v);
    free(content);
    pair_free(&p);
}

/* ---- device items altered under a session ---- */

/* What was altered since the keys were loaded must not be vouched for by the next head. */
static void
test_items_altered_while_unlocked(void **state)
{
    static const char *const alterations[] = {
        "UPDATE device SET bytes = x'666f7267' WHERE item = 1",
        "UPDATE device SET bytes = zeroblob(16) WHERE item = 2",
        "UPDATE device SET bytes = zeroblob(length(bytes)) WHERE item = 3",
        "UPDATE device SET bytes = zeroblob(length(bytes)) WHERE item = 4",
        "UPDATE device SET bytes = zeroblob(length(bytes)) WHERE item = 5",
        "DELETE FROM device WHERE item = 5",
    };
    pqe_rotate_opts rekey = {.size = sizeof rekey, .rekey = true};
    char pem[PQE_GRANT_PEM_MAX];
    pqe_vault_info info;
    size_t len;
    pair p;

    (void)state;
    pair_make(&p);
    for (size_t i = 0; i < sizeof alterations / sizeof alterations[0]; i++) {
        pqe_vault *v;
        scratch_copy(p.a, p.x);
        v = vault_open(p.x, p.backend);
        sql(p.x, alterations[i]);
        assert_int_equal(pqe_vault_get_info(v, &info, NULL), PQE_E_TAMPERED);
        assert_int_equal(pqe_rotate(v, NULL, NULL), PQE_E_TAMPERED);
        assert_int_equal(pqe_rotate(v, &rekey, NULL), PQE_E_TAMPERED);
        if (i == 3)
            assert_int_equal(pqe_grant_public_key(v, pem, sizeof pem, &len, NULL), PQE_E_DECRYPTION);
        pqe_vault_close(&v);
        assert_int_not_equal(unlock_status(&p), PQE_OK);
    }
    pair_free(&p);
}

static pqe_status
say_passphrase(void *user, pqe_passphrase_purpose purpose, char *buf, size_t capacity, size_t *len)
{
    (void)purpose;
    *len = strlen(user);
    assert_true(*len <= capacity);
    memcpy(buf, user, *len);
    return PQE_OK;
}

static void
test_passphrase_beside_altered_items(void **state)
{
    const pqe__argon2_params weak = {.memory_kib = PQE__ARGON2_MEMORY_MIN, .passes = 2, .lanes = 1};
    char first[] = "correct horse", *dir = scratch_make();
    pqe_backend_opts o = {.size = sizeof o, .passphrase = say_passphrase, .user = first};
    pqe_backend *b = NULL;
    pqe_vault *v;

    (void)state;
    assert_true(pqe__passphrase_set_params(&weak));
    assert_pqe_ok(pqe_backend_open("file:passphrase", &o, &b, err));
    v = vault_create(scratch_path(dir, "v"), b);
    put_ok(v, "a", "x", 1);
    assert_pqe_ok(pqe_vault_change_passphrase(v, err));
    sql(scratch_path(dir, "v"), "UPDATE device SET bytes = zeroblob(length(bytes)) WHERE item = 5");
    assert_int_equal(pqe_vault_change_passphrase(v, NULL), PQE_E_TAMPERED);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    assert_true(pqe__passphrase_set_params(NULL));
    scratch_remove(dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forged_vault),
        cmocka_unit_test(test_forged_index_while_unlocked),
        cmocka_unit_test(test_exchanged_items),
        cmocka_unit_test(test_exchanged_tables),
        cmocka_unit_test(test_exchanged_index),
        cmocka_unit_test(test_exchanged_bodies),
        cmocka_unit_test(test_items_altered_while_unlocked),
        cmocka_unit_test(test_passphrase_beside_altered_items),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
