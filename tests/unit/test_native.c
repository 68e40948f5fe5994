/* SPDX-License-Identifier: Apache-2.0 */
/* Vaults whose device keys a backend makes and keeps (PQE_CAP_NATIVE_KEM), with a double of such a device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>
/* after the headers above */
#include <cmocka.h>

#include "backend/faulty.h"
#include "backend/nativekem.h"
#include <pqc_enclave/audit.h>

#include "unit/support.h"
#include "vault/internal.h"

static char *dir;
static pqe_backend *backend;

/* The file backend beneath, so that another opened backend stands for another process. */
static pqe_backend *
device(const char *key, bool native, bool faulty)
{
    const pqe_backend_ops *ops = &pqe__file_ops;
    pqe_backend *out = NULL;
    char config[600];

    if (native)
        ops = nativekem_wrap(ops);
    if (faulty)
        ops = faulty_wrap(ops);
    snprintf(config, sizeof config, "key-file=%s", scratch_path(dir, key));
    assert_pqe_ok(pqe_backend_open_ops(ops, config, NULL, &out, err));
    return out;
}

static const char *
vault_dir(void)
{
    return scratch_path(dir, "vault");
}

static int
set_up(void **state)
{
    (void)state;
    dir = scratch_make();
    backend = device("key", true, false);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    pqe_backend_close(&backend);
    scratch_remove(dir);
    nativekem_misfit(false);
    nativekem_before(NULL, NULL);
    return 0;
}

/* ---- life ---- */

static void
test_life(void **state)
{
    size_t before = nativekem_pairs();
    pqe_vault *vault = vault_create(vault_dir(), backend);
    pqe_backend *other;
    pqe_vault_info info;
    unsigned calls;

    (void)state;
    assert_int_equal(nativekem_pairs(), before + 2);
    assert_non_null(vault->session->keys->native);
    assert_pqe_ok(pqe_vault_get_info(vault, &info, err));
    assert_true(info.native_kem);
    put_ok(vault, "one", "first", 5);
    get_equals(vault, "one", "first", 5);
    pqe_vault_close(&vault);

    other = device("key", true, false);
    vault = vault_open(vault_dir(), other);
    calls = nativekem_calls(); /* the root secret was opened */
    get_equals(vault, "one", "first", 5);
    assert_int_equal(nativekem_calls(), calls + 1); /* the session's secret, once */
    get_equals(vault, "one", "first", 5);
    assert_int_equal(nativekem_calls(), calls + 1);
    put_ok(vault, "two", "second", 6);
    assert_int_equal(nativekem_calls(), calls + 1);
    pqe_vault_lock(vault);
    assert_int_equal(get_status(vault, "one"), PQE_E_LOCKED);
    assert_pqe_ok(pqe_vault_unlock(vault, 0, err));
    get_equals(vault, "two", "second", 6);
    get_equals(vault, "one", "first", 5);
    pqe_vault_close(&vault);
    pqe_backend_close(&other);
    assert_int_equal(nativekem_pairs(), before + 2);
}

static void
test_no_seed_is_stored(void **state)
{
    uint8_t item[PQE__ITEM_MAX];
    pqe_vault *vault = vault_create(vault_dir(), backend);
    bool missing;
    size_t len;

    (void)state;
    assert_pqe_ok(pqe__store_begin(vault->store, false, err));
    assert_pqe_ok(pqe__store_get_item(vault->store, PQE__ITEM_VAULT_KEY, item, sizeof item, &len, err));
    assert_int_equal(len, 32 + PQE__BOX_OVERHEAD); /* the origin key */
    assert_pqe_ok(pqe__store_find_item(vault->store, PQE__ITEM_NATIVE_KEY, item, sizeof item, &len, &missing, err));
    assert_false(missing);
    pqe__store_rollback(vault->store);
    pqe_vault_close(&vault);
}

static void
test_grant_key(void **state)
{
    uint8_t ek[PQE__KEM_PUBLIC_SIZE], ct[PQE__KEM_CIPHERTEXT_SIZE], sent[32], *received = pqe__secmem_alloc(32);
    char pem[4096], again[4096];
    pqe_vault *vault = vault_create(vault_dir(), backend);
    const pqe__native *n = vault->session->keys->native;
    pqe__kem_key *key = NULL;
    size_t len, again_len;

    (void)state;
    assert_pqe_ok(pqe_grant_public_key(vault, pem, sizeof pem, &len, err));
    assert_pqe_ok(pqe__native_grant_public(vault, ek, err));
    assert_pqe_ok(pqe__kem_from_public(ek, sizeof ek, &key, err));
    assert_pqe_ok(pqe__kem_public_pem(key, again, sizeof again, &again_len, err));
    assert_string_equal(pem, again);
    assert_pqe_ok(pqe__kem_encapsulate(key, NULL, ct, sent, err));
    assert_pqe_ok(pqe__backend_kem_decapsulate(backend, vault->session->backend_key, n->grant, n->grant_len, ct,
                                               sizeof ct, received, err));
    assert_memory_equal(sent, received, 32);
    pqe__kem_free(&key);
    pqe__secmem_free(received);
    pqe_vault_close(&vault);
}

static void
test_rotation(void **state)
{
    const pqe_rotate_opts rekey = {.size = sizeof rekey, .rekey = true};
    size_t before = nativekem_pairs();
    pqe_vault *vault = vault_create(vault_dir(), backend);
    char first[4096], second[4096];
    pqe__native old;
    uint8_t ct[PQE__KEM_CIPHERTEXT_SIZE] = {0}, *secret = pqe__secmem_alloc(32);
    size_t len;

    (void)state;
    put_ok(vault, "one", "first", 5);
    pqe_vault_lock(vault);
    assert_pqe_ok(pqe_vault_unlock(vault, 0, err));
    put_ok(vault, "two", "second", 6); /* under another session's secret */
    assert_pqe_ok(pqe_grant_public_key(vault, first, sizeof first, &len, err));
    old = *vault->session->keys->native;
    for (int i = 0; i < 2; i++) {
        assert_pqe_ok(pqe_rotate(vault, i == 0 ? NULL : &rekey, err));
        assert_int_equal(nativekem_pairs(), before + 2);
        get_equals(vault, "one", "first", 5);
        get_equals(vault, "two", "second", 6);
    }
    /* The old ones are gone from the device. */
    assert_int_not_equal(pqe__backend_kem_decapsulate(backend, vault->session->backend_key, old.vault, old.vault_len,
                                                      ct, sizeof ct, secret, NULL),
                         PQE_OK);
    assert_pqe_ok(pqe_grant_public_key(vault, second, sizeof second, &len, err));
    assert_string_not_equal(first, second);
    pqe_vault_close(&vault);
    vault = vault_open(vault_dir(), backend);
    get_equals(vault, "one", "first", 5);
    pqe__secmem_free(secret);
    pqe_vault_close(&vault);
}

/* A vault that was made when the device only sealed, and the way back. */
static void
test_changes_tier_at_rotation(void **state)
{
    pqe_backend *sealing = device("key", false, false);
    size_t before = nativekem_pairs();
    pqe_vault *vault = vault_create(vault_dir(), sealing);
    pqe_vault_info info;

    (void)state;
    put_ok(vault, "one", "first", 5);
    pqe_vault_close(&vault);
    vault = vault_open(vault_dir(), backend);
    assert_null(vault->session->keys->native);
    get_equals(vault, "one", "first", 5);
    assert_pqe_ok(pqe_rotate(vault, NULL, err));
    get_equals(vault, "one", "first", 5);
    assert_pqe_ok(pqe_vault_get_info(vault, &info, err));
    assert_true(info.native_kem);
    assert_int_equal(nativekem_pairs(), before + 2);
    pqe_vault_close(&vault);
    vault = vault_open_locked(vault_dir(), sealing);
    assert_int_equal(pqe_vault_unlock(vault, 0, NULL), PQE_E_UNAVAILABLE);
    pqe_vault_close(&vault);
    pqe_backend_close(&sealing);
}

/* ---- what goes wrong ---- */

static pqe_status
unlock_status(const char *where)
{
    pqe_vault_opts opts = {.size = sizeof opts, .dir = where, .backend = backend};
    pqe_vault *vault = NULL;
    pqe_status status = pqe_vault_open(&opts, &vault, NULL);

    if (status == PQE_OK)
        status = pqe_vault_unlock(vault, 0, NULL);
    pqe_vault_close(&vault);
    return status;
}

static void
check_refused(const char *where, const char *statement)
{
    pqe_status status;

    sql(where, statement);
    status = unlock_status(where);
    if (status != PQE_E_TAMPERED && status != PQE_E_DECRYPTION)
        fail_msg("%s: %s", statement, pqe_status_name(status));
}

static void
test_tampering(void **state)
{
    static const char *const statements[] = {
        "DELETE FROM device WHERE item = 6",
        "UPDATE device SET bytes = x'' WHERE item = 6",
        "UPDATE device SET bytes = x'0000' WHERE item = 6",
        "UPDATE device SET bytes = substr(bytes, 1, length(bytes) - 1) WHERE item = 6",
        "UPDATE device SET bytes = bytes || x'00' WHERE item = 6",
        "UPDATE device SET bytes = (SELECT bytes FROM device WHERE item = 4) WHERE item = 6",
        "UPDATE device SET bytes = (SELECT bytes FROM device WHERE item = 6) WHERE item = 4",
        "UPDATE device SET bytes = substr(bytes, 1, length(bytes) - 1) WHERE item = 4",
        "DELETE FROM device WHERE item = 4",
        "INSERT INTO device VALUES(7, x'00')",
    };
    char good[600], bad[600], flip[300];
    pqe_vault *vault;

    (void)state;
    snprintf(good, sizeof good, "%s", vault_dir());
    vault = vault_create(good, backend);
    put_ok(vault, "one", "first", 5);
    pqe_vault_close(&vault);
    snprintf(bad, sizeof bad, "%s", scratch_path(dir, "bad"));
    for (size_t i = 0; i < sizeof statements / sizeof statements[0] + 40; i++) {
        static const int items[] = {3, 4, 6};
        const char *statement = flip;
        size_t n = i - sizeof statements / sizeof statements[0];
        if (i < sizeof statements / sizeof statements[0])
            statement = statements[i];
        else /* one hexadecimal digit of an item, somewhere */
            snprintf(flip, sizeof flip,
                     "UPDATE device SET bytes = CAST(substr(bytes, 1, %zu) || x'%02zx' || substr(bytes, %zu) AS BLOB) "
                     "WHERE item = %d AND substr(bytes, %zu, 1) <> x'%02zx'",
                     n, n * 5, n + 2, items[n % 3], n + 1, n * 5);
        scratch_copy(good, bad);
        if (statement == flip) {
            sql(bad, statement);
            if (unlock_status(bad) == PQE_OK) /* the byte was that already */
                continue;
        }
        check_refused(bad, statement);
    }
    assert_int_equal(unlock_status(good), PQE_OK);
}

/* The items of another vault on the same device, and of a vault that has no native keys. */
static void
test_exchanged_items(void **state)
{
    char good[600], other[600], statement[900];
    pqe_backend *second;
    pqe_vault *vault;

    (void)state;
    snprintf(good, sizeof good, "%s", vault_dir());
    snprintf(other, sizeof other, "%s", scratch_path(dir, "other"));
    vault = vault_create(good, backend);
    pqe_vault_close(&vault);
    second = device("second-key", true, false);
    vault = vault_create(other, second);
    pqe_vault_close(&vault);
    pqe_backend_close(&second);
    assert_int_equal(unlock_status(good), PQE_OK);
    snprintf(statement, sizeof statement,
             "ATTACH '%s/index.db' AS o; UPDATE device SET bytes = (SELECT bytes FROM o.device WHERE item = 6) WHERE "
             "item = 6",
             other);
    check_refused(good, statement);
}

static void
test_misfit(void **state)
{
    size_t before = nativekem_pairs();
    pqe_vault_opts opts = {.size = sizeof opts, .dir = vault_dir(), .backend = backend, .create = true};
    pqe_vault *vault = NULL;

    (void)state;
    nativekem_misfit(true);
    assert_int_equal(pqe_vault_open(&opts, &vault, NULL), PQE_E_BACKEND);
    assert_null(vault);
    assert_int_equal(nativekem_pairs(), before);
    nativekem_misfit(false);
    vault = vault_create(vault_dir(), backend);
    put_ok(vault, "one", "first", 5);
    nativekem_misfit(true);
    assert_int_equal(pqe_rotate(vault, NULL, NULL), PQE_E_BACKEND);
    nativekem_misfit(false);
    assert_int_equal(nativekem_pairs(), before + 2);
    get_equals(vault, "one", "first", 5);
    pqe_vault_close(&vault);
}

/* Every call into the backend fails once, in making, opening, reading and rotating. */
static pqe_status
whole_story(const char *where, pqe_backend *b)
{
    pqe_vault_opts opts = {.size = sizeof opts, .dir = where, .backend = b, .create = true};
    pqe_vault *vault = NULL;
    pqe_error err = {0};
    pqe_put_opts put = {.size = sizeof put, .name = "one", .kind = PQE_KIND_OTHER};
    void *content = NULL;
    size_t len = 0;
    pqe_status status = pqe_vault_open(&opts, &vault, &err);

    if (status == PQE_OK)
        status = pqe_put(vault, &put, "first", 5, NULL, &err);
    if (status == PQE_OK) {
        pqe_vault_lock(vault);
        status = pqe_vault_unlock(vault, 0, &err);
    }
    if (status == PQE_OK)
        status = pqe_get(vault, "one", &content, &len, NULL, &err);
    pqe_content_free(&content, len);
    if (status == PQE_OK)
        status = pqe_rotate(vault, NULL, &err);
    if (status == PQE_OK)
        status = get_status(vault, "one");
    pqe_vault_close(&vault);
    return status;
}

static void
test_failing_backend(void **state)
{
    pqe_backend *faulty = device("key", true, true);
    char where[600];
    unsigned count;

    (void)state;
    snprintf(where, sizeof where, "%s", vault_dir());
    faulty_arm(0);
    assert_int_equal(whole_story(where, faulty), PQE_OK);
    count = faulty_calls();
    assert_true(count >= 14);
    for (unsigned n = 1; n <= count; n++) {
        size_t before = nativekem_pairs();
        pqe_vault_info info;
        pqe_vault *vault;
        pqe_status status;
        snprintf(where, sizeof where, "%s/vault-%u", dir, n);
        remove(scratch_path(dir, "key"));
        faulty_arm(n);
        status = whole_story(where, faulty);
        faulty_arm(0);
        /* What is done by the way, such as loading new keys at once, may fail without a word. */
        if (status != PQE_OK && status != PQE_E_BACKEND)
            fail_msg("call %u: %s", n, pqe_status_name(status));
        if (pqe_vault_peek(where, &info, NULL) != PQE_OK) { /* it did not come to be */
            assert_int_equal(nativekem_pairs(), before);
            continue;
        }
        assert_int_equal(nativekem_pairs(), before + 2);
        vault = vault_open(where, faulty);
        if (info.artifact_count != 0)
            get_equals(vault, "one", "first", 5);
        pqe_vault_close(&vault);
    }
    pqe_backend_close(&faulty);
}

/* ---- while the device works ---- */

static void
lock_now(void *user)
{
    nativekem_before(NULL, NULL);
    pqe_vault_lock(user);
}

static void
test_locked_meanwhile(void **state)
{
    pqe_vault *vault = vault_create(vault_dir(), backend);

    (void)state;
    put_ok(vault, "one", "first", 5);
    pqe_vault_close(&vault);
    vault = vault_open(vault_dir(), backend);
    nativekem_before(lock_now, vault);
    assert_int_equal(get_status(vault, "one"), PQE_E_LOCKED);
    assert_false(pqe_vault_is_unlocked(vault));
    assert_pqe_ok(pqe_vault_unlock(vault, 0, err));
    get_equals(vault, "one", "first", 5);
    nativekem_before(lock_now, vault);
    pqe_vault_lock(vault);
    assert_pqe_ok(pqe_vault_unlock(vault, 0, err)); /* what locks meanwhile finds no session yet */
    get_equals(vault, "one", "first", 5);
    pqe_vault_close(&vault);
}

/* ---- another process rotates while the device works ---- */

typedef struct rotator {
    pqe_vault *vault; /* on a backend of its own */
    unsigned times;   /* so often from now on, each time before a decapsulation for others */
    bool rekey;
} rotator;

static void
rotate_first(void *user)
{
    rotator *r = user;
    const pqe_rotate_opts opts = {.size = sizeof opts, .rekey = r->rekey};

    nativekem_before(NULL, NULL);
    assert_pqe_ok(pqe_rotate(r->vault, &opts, err));
    if (--r->times > 0)
        nativekem_before(rotate_first, r);
}

static void
let_rotate(rotator *r, unsigned times)
{
    r->times = times;
    nativekem_before(rotate_first, r);
}

static size_t
failed_unlocks(pqe_vault *vault)
{
    pqe_failed_unlock failed[4];
    size_t count = 0;

    assert_pqe_ok(pqe_audit_failed_unlocks(vault, failed, 4, &count, err));
    return count;
}

/* The key pair that the vault was about to use is gone when the device looks for it. */
static void
test_overtaken_by_rotation(void **state)
{
    pqe_vault *vault = vault_create(vault_dir(), backend);
    pqe_backend *other = device("key", true, false);
    rotator r = {0};

    (void)state;
    put_ok(vault, "one", "first", 5);
    pqe_vault_lock(vault);
    r.vault = vault_open(vault_dir(), other);
    for (int i = 0; i < 2; i++) {
        r.rekey = i == 1;
        let_rotate(&r, 1);
        assert_pqe_ok(pqe_vault_unlock(vault, 0, err)); /* in unlocking */
        let_rotate(&r, 1);
        get_equals(vault, "one", "first", 5); /* in opening the secret of the artifact's session */
        assert_int_equal(r.times, 0);
        pqe_vault_lock(vault);
        assert_pqe_ok(pqe_vault_unlock(vault, 0, err));
        assert_pqe_ok(pqe_rotate(r.vault, NULL, err));
        let_rotate(&r, 1);
        get_equals(vault, "one", "first", 5); /* in loading the keys of the rotation before */
        assert_int_equal(r.times, 0);
        pqe_vault_lock(vault);
    }
    assert_int_equal(failed_unlocks(vault), 0);
    /* Each time once more, and no more. */
    let_rotate(&r, 2);
    assert_int_equal(pqe_vault_unlock(vault, 0, NULL), PQE_E_DECRYPTION);
    assert_int_equal(r.times, 0);
    assert_int_equal(failed_unlocks(vault), 1);
    assert_pqe_ok(pqe_vault_unlock(vault, 0, err));
    let_rotate(&r, 3); /* the artifact's secret; the keys of that rotation; and again */
    assert_int_equal(get_status(vault, "one"), PQE_E_DECRYPTION);
    assert_int_equal(r.times, 0);
    get_equals(vault, "one", "first", 5);
    pqe_vault_close(&r.vault);
    pqe_vault_close(&vault);
    pqe_backend_close(&other);
}

/* Nobody rotated: a pair that is gone is gone, and asked for once. */
static void
test_pair_is_gone(void **state)
{
    pqe_vault *vault = vault_create(vault_dir(), backend);
    unsigned calls;

    (void)state;
    put_ok(vault, "one", "first", 5);
    pqe_vault_lock(vault);
    assert_pqe_ok(pqe_vault_unlock(vault, 0, err));
    pqe__native_drop(&(pqe__home){backend, vault->session->backend_key}, vault->session->keys->native);
    calls = nativekem_calls();
    assert_int_equal(get_status(vault, "one"), PQE_E_DECRYPTION);
    assert_int_equal(nativekem_calls(), calls + 1);
    pqe_vault_lock(vault);
    assert_int_equal(pqe_vault_unlock(vault, 0, NULL), PQE_E_DECRYPTION);
    assert_int_equal(nativekem_calls(), calls + 2);
    assert_int_equal(failed_unlocks(vault), 1);
    pqe_vault_close(&vault);
}

static const struct timespec moment = {.tv_nsec = 10000000};
static atomic_bool begun, may_end;

static void
take_long(void *user)
{
    (void)user;
    atomic_store(&begun, true);
    while (!atomic_load(&may_end))
        nanosleep(&moment, NULL);
}

static void
take_long_once(void *user)
{
    nativekem_before(NULL, NULL);
    take_long(user);
}

/* Runs `call` on a short session while the device waits for us: its keys go when it expires, not when the device answers.
   Then the vault is unlocked again. */
static void
expires_during(pqe_vault *vault, void *(*call)(void *vault))
{
    pthread_t thread;
    uint64_t since;
    bool gone = false;

    pqe_vault_lock(vault);
    assert_pqe_ok(pqe_vault_unlock(vault, 3, err));
    since = pqe__boottime_ns();
    atomic_store(&begun, false);
    atomic_store(&may_end, false);
    assert_int_equal(pthread_create(&thread, NULL, call, vault), 0);
    while (!gone && pqe__boottime_ns() - since < 30000000000u) {
        nanosleep(&moment, NULL);
        if (pthread_rwlock_tryrdlock(&vault->key_lock) != 0)
            continue;
        gone = vault->session == NULL;
        pthread_rwlock_unlock(&vault->key_lock);
    }
    assert_true(atomic_load(&begun));
    assert_true(gone); /* while the device is still at it */
    atomic_store(&may_end, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_pqe_ok(pqe_vault_unlock(vault, 0, err));
}

static void *
get_slowly(void *vault)
{
    nativekem_before(take_long, NULL);
    assert_int_equal(get_status(vault, "one"), PQE_E_LOCKED);
    nativekem_before(NULL, NULL);
    return NULL;
}

static void
test_expires_meanwhile(void **state)
{
    pqe_vault *vault = vault_create(vault_dir(), backend);

    (void)state;
    put_ok(vault, "one", "first", 5);
    expires_during(vault, get_slowly);
    get_equals(vault, "one", "first", 5);
    pqe_vault_close(&vault);
}

static void *
rotate_slowly(void *vault)
{
    nativekem_before(take_long_once, NULL);
    assert_int_equal(pqe_rotate(vault, NULL, NULL), PQE_E_LOCKED);
    nativekem_before(NULL, NULL);
    return NULL;
}

/* What a rotation has the device make is given up then, and nothing has changed. */
static void
test_rotation_expires_meanwhile(void **state)
{
    size_t before = nativekem_pairs();
    pqe_vault *vault = vault_create(vault_dir(), backend);
    pqe_vault_info info, after;

    (void)state;
    put_ok(vault, "one", "first", 5);
    assert_pqe_ok(pqe_vault_get_info(vault, &info, err));
    expires_during(vault, rotate_slowly);
    assert_pqe_ok(pqe_vault_get_info(vault, &after, err));
    assert_int_equal(after.generation, info.generation);
    assert_int_equal(nativekem_pairs(), before + 2);
    get_equals(vault, "one", "first", 5);
    assert_pqe_ok(pqe_rotate(vault, NULL, err));
    get_equals(vault, "one", "first", 5);
    pqe_vault_close(&vault);
}

static pqe_rotate_opts move_opts = {.size = sizeof move_opts};

static void *
move_slowly(void *vault)
{
    nativekem_before(take_long_once, NULL);
    assert_int_equal(pqe_rotate(vault, &move_opts, NULL), PQE_E_LOCKED);
    nativekem_before(NULL, NULL);
    return NULL;
}

static void
test_move_expires_meanwhile(void **state)
{
    pqe_backend *to = device("other-key", true, false);
    size_t before = nativekem_pairs();
    pqe_vault *vault = vault_create(vault_dir(), backend);

    (void)state;
    move_opts.backend = to;
    put_ok(vault, "one", "first", 5);
    expires_during(vault, move_slowly);
    assert_int_not_equal(access(scratch_path(dir, "other-key"), F_OK), 0); /* the new key was taken back */
    assert_int_equal(nativekem_pairs(), before + 2);
    get_equals(vault, "one", "first", 5);
    assert_pqe_ok(pqe_rotate(vault, &move_opts, err));
    get_equals(vault, "one", "first", 5);
    pqe_vault_close(&vault);
    pqe_backend_close(&to);
}

static atomic_bool seals_slowly;

static pqe_status
slow_seal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *secret, size_t secret_len,
          pqe_blob *sealed, pqe_error *err)
{
    if (atomic_exchange(&seals_slowly, false))
        take_long(NULL);
    return pqe__file_ops.seal(self, key, aad, aad_len, secret, secret_len, sealed, err);
}

static void *
rotate_by_slow_seal(void *vault)
{
    atomic_store(&seals_slowly, true);
    assert_int_equal(pqe_rotate(vault, NULL, NULL), PQE_E_LOCKED);
    return NULL;
}

/* The same where the device only seals. */
static void
test_rotation_expires_while_sealing(void **state)
{
    pqe_backend_ops ops = pqe__file_ops;
    char config[600];
    pqe_backend *slow = NULL;
    pqe_vault *vault;

    (void)state;
    ops.seal = slow_seal;
    snprintf(config, sizeof config, "key-file=%s", scratch_path(dir, "slow-key"));
    assert_pqe_ok(pqe_backend_open_ops(&ops, config, NULL, &slow, err));
    vault = vault_create(vault_dir(), slow);
    put_ok(vault, "one", "first", 5);
    expires_during(vault, rotate_by_slow_seal);
    get_equals(vault, "one", "first", 5);
    pqe_vault_close(&vault);
    pqe_backend_close(&slow);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_seed_is_stored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_grant_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rotation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changes_tier_at_rotation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tampering, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_exchanged_items, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_misfit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failing_backend, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_locked_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_overtaken_by_rotation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pair_is_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_expires_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rotation_expires_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_move_expires_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rotation_expires_while_sealing, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
