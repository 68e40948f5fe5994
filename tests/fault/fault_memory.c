/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No memory, no randomness, no lockable memory. A dry run counts an operation's requests; then it is run once for each
 * of them, with that one failing, and once with all from there on failing.
 *
 * Each time: an error that says so, or success in earnest; never a crash, a leak (under AddressSanitizer), a word about
 * tampering, or another result. Then the same operation succeeds in the same session, and the vault verifies.
 *
 * The linker puts the __wrap_ functions below in the place of what the library calls; SQLite and libcrypto get theirs
 * through their own interfaces. Short form: some requests of each operation. PQE_BEDS=1: more, other ones
 * at each run. With the argument "native" a device keeps the ML-KEM keys (tests/backend/nativekem.h), and it is about these.
 */
#include <dirent.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pqc_enclave/attest.h>
#include <pqc_enclave/recovery.h>
#include <pqc_enclave/audit.h>

#include "backend/nativekem.h"
#include "backend/registry.h"
#include "crypto/crypto.h"
#include "fault/common.h"
#include "unit/support.h"
#include "util/secmem.h"

/* Of each operation and kind of request; where there are more, every nth, others at each run. */
#define SHORT_POINTS (sanitized() ? 8u : 25u)
#define LONG_POINTS 100u

/* ---- requests that fail ---- */

typedef enum kind { HEAP, RANDOM, LOCKED, KINDS } kind;
static const char *const kind_names[KINDS] = {"heap", "randomness", "locked memory"};

static struct {
    bool armed, sticky;
    kind kind;
    unsigned at, seen;
    pthread_t thread; /* the library's own thread is left in peace */
} faults;

static bool
fails(kind k)
{
    if (!faults.armed || k != faults.kind || !pthread_equal(faults.thread, pthread_self()))
        return false;
    return faults.sticky ? faults.seen++ >= faults.at : faults.seen++ == faults.at;
}

static bool
heap_fails(void)
{
    if (!fails(HEAP))
        return false;
    errno = ENOMEM;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t count, size_t size);
char *__real_strdup(const char *text);
char *__real_realpath(const char *path, char *resolved);
DIR *__real_fdopendir(int fd);
DIR *__real_opendir(const char *path);
pqe_status __real_pqe__random(void *out, size_t len, pqe_error *err);
pqe_status __real_pqe__random_secret(void *out, size_t len, pqe_error *err);
void *__real_pqe__secmem_alloc(size_t size);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t count, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_realpath(const char *path, char *resolved);
DIR *__wrap_fdopendir(int fd);
DIR *__wrap_opendir(const char *path);
pqe_status __wrap_pqe__random(void *out, size_t len, pqe_error *err);
pqe_status __wrap_pqe__random_secret(void *out, size_t len, pqe_error *err);
void *__wrap_pqe__secmem_alloc(size_t size);

void *
__wrap_malloc(size_t size)
{
    return heap_fails() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
    return heap_fails() ? NULL : __real_calloc(count, size);
}

void *
__wrap_realloc(void *p, size_t size)
{
    return heap_fails() ? NULL : __real_realloc(p, size);
}

void *
__wrap_reallocarray(void *p, size_t count, size_t size)
{
    return heap_fails() ? NULL : __real_reallocarray(p, count, size);
}

char *
__wrap_strdup(const char *text)
{
    return heap_fails() ? NULL : __real_strdup(text);
}

char *
__wrap_realpath(const char *path, char *resolved)
{
    return heap_fails() ? NULL : __real_realpath(path, resolved);
}

DIR *
__wrap_fdopendir(int fd)
{
    return heap_fails() ? NULL : __real_fdopendir(fd);
}

DIR *
__wrap_opendir(const char *path)
{
    return heap_fails() ? NULL : __real_opendir(path);
}

pqe_status
__wrap_pqe__random(void *out, size_t len, pqe_error *err)
{
    return fails(RANDOM) ? pqe__fail(err, PQE_E_CRYPTO, PQE_ORIGIN_CRYPTO, 0, "no randomness")
                         : __real_pqe__random(out, len, err);
}

pqe_status
__wrap_pqe__random_secret(void *out, size_t len, pqe_error *err)
{
    return fails(RANDOM) ? pqe__fail(err, PQE_E_CRYPTO, PQE_ORIGIN_CRYPTO, 0, "no randomness")
                         : __real_pqe__random_secret(out, len, err);
}

void *
__wrap_pqe__secmem_alloc(size_t size)
{
    return fails(LOCKED) ? NULL : __real_pqe__secmem_alloc(size);
}

/* ---- libcrypto's and SQLite's ---- */

static void *
crypto_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return heap_fails() ? NULL : __real_malloc(size);
}

static void *
crypto_realloc(void *p, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return heap_fails() ? NULL : __real_realloc(p, size);
}

static void
crypto_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

static sqlite3_mem_methods sqlite_real;

static void *
sqlite_malloc(int size)
{
    return heap_fails() ? NULL : sqlite_real.xMalloc(size);
}

static void *
sqlite_realloc(void *p, int size)
{
    return heap_fails() ? NULL : sqlite_real.xRealloc(p, size);
}

static void
take_over_allocators(void)
{
    sqlite3_mem_methods ours;

    if (CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) != 1)
        die("libcrypto does not take our allocator");
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_real) != SQLITE_OK)
        die("SQLite does not show its allocator");
    ours = sqlite_real;
    ours.xMalloc = sqlite_malloc;
    ours.xRealloc = sqlite_realloc;
    /* Without look-aside memory every request is one that can fail. */
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &ours) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) != SQLITE_OK)
        die("SQLite does not take our allocator");
    faults.thread = pthread_self();
}

/* ---- operations ---- */

#define INLINE_LEN 1000
#define FILE_LEN 100000
#define HUGE_LEN (((size_t)5 << 18) + 12345)

static struct {
    char base[PATH_MAX], fresh[PATH_MAX], fresh_key[PATH_MAX + 32], config[PATH_MAX + 32];
    vault_pair p;
    uint8_t *small, *large, *huge;
    bool native;
    bool cold; /* libcrypto may be spoilt after a failure */
} world;

typedef struct operation {
    const char *name;
    void (*prepare)(void);
    pqe_status (*run)(pqe_error *err); /* checks its own results where it succeeds, and what it leaves where it fails */
    void (*undo)(void);
} operation;

static void
nothing(void)
{
}

static void
put_names(void)
{
    put_ok(world.p.vault, "inline", world.small, INLINE_LEN);
    put_ok(world.p.vault, "file", world.large, FILE_LEN);
}

static pqe_status
put(const char *name, const uint8_t *data, size_t len, pqe_error *err)
{
    const char *tags[] = {"one", "two"};
    pqe_put_opts o = {
        .size = sizeof o, .name = name, .kind = PQE_KIND_OTHER, .description = "d", .tags = tags, .tag_count = 2};
    pqe_artifact *artifact = NULL;
    pqe_status status = pqe_put(world.p.vault, &o, data, len, &artifact, err);

    if ((status == PQE_OK) != (artifact != NULL))
        die("put: %s with%s an artifact", pqe_status_name(status), artifact != NULL ? "" : "out");
    pqe_artifact_free(&artifact);
    return status;
}

static pqe_status
run_put_inline(pqe_error *err)
{
    return put("inline", world.small, INLINE_LEN, err);
}

static pqe_status
run_put_file(pqe_error *err)
{
    return put("file", world.large, FILE_LEN, err);
}

/* Large enough for the engine, which works with one thread here: the requests that fail are those of the main thread. */
static pqe_status
put_huge(const char *hash, size_t len, pqe_error *err)
{
    pqe_put_opts o = {.size = sizeof o, .name = "huge", .kind = PQE_KIND_OTHER, .hash = hash};

    return pqe_put(world.p.vault, &o, world.huge, len, NULL, err);
}

static pqe_status
run_put_sha3(pqe_error *err)
{
    return put_huge("sha3-256", HUGE_LEN, err);
}

static pqe_status
run_put_parallel(pqe_error *err)
{
    return put_huge("parallelhash256", HUGE_LEN, err);
}

static pqe_status
run_put_deferred(pqe_error *err)
{
    return put_huge("deferred", HUGE_LEN, err);
}

static void
drop_huge(void)
{
    pqe_error err = {0};
    pqe_status status = pqe_delete(world.p.vault, "huge", &err);

    if (status != PQE_OK && status != PQE_E_NOT_FOUND)
        die("rm: %s: %s", pqe_status_name(status), err.message);
}

static pqe_status get(const char *name, const uint8_t *data, size_t len, pqe_error *err);

static void
prepare_huge(void)
{
    must(put_huge("deferred", HUGE_LEN, err));
}

static pqe_status
run_get_huge(pqe_error *err)
{
    return get("huge", world.huge, HUGE_LEN, err);
}

static void
prepare_deferred(void)
{
    must(put_huge("deferred", FILE_LEN, err));
}

static pqe_status
run_bind(pqe_error *err)
{
    pqe_artifact *artifact = NULL;
    pqe_status status = pqe_bind_hash(world.p.vault, "huge", NULL, &artifact, err);

    if ((status == PQE_OK) != (artifact != NULL && strcmp(artifact->hash_algorithm, "sha3-256") == 0))
        die("bind: %s with a wrong artifact", pqe_status_name(status));
    pqe_artifact_free(&artifact);
    return status;
}

static pqe_status
run_default(pqe_error *err)
{
    return pqe_set_hash_default(world.p.vault, PQE_KIND_TOKENIZER, "parallelhash256", err);
}

/* Both names replaced, one of them twice, and one more of those sizes. */
static pqe_status
run_batch(pqe_error *err)
{
    const struct {
        const char *name;
        const uint8_t *data;
        size_t len;
    } puts[] = {
        {"file", world.small, INLINE_LEN}, {"inline", world.small, INLINE_LEN}, {"file", world.large, FILE_LEN}};
    pqe_batch *batch = NULL;
    uint64_t stored = 7;
    pqe_status status = pqe_batch_open(world.p.vault, &batch, err);

    if ((status == PQE_OK) != (batch != NULL))
        die("batch: %s with%s a batch", pqe_status_name(status), batch != NULL ? "" : "out");
    for (size_t i = 0; i < 3 && status == PQE_OK; i++)
        status = pqe_batch_put(
            batch, &(pqe_put_opts){.size = sizeof(pqe_put_opts), .name = puts[i].name, .kind = PQE_KIND_OTHER},
            puts[i].data, puts[i].len, err);
    if (status != PQE_OK) {
        pqe_batch_abort(&batch);
        return status;
    }
    status = pqe_batch_commit(&batch, &stored, err);
    if (batch != NULL || stored != (status == PQE_OK ? 3u : 0u))
        die("batch: %s with %llu stored", pqe_status_name(status), (unsigned long long)stored);
    return status;
}

static pqe_status
get(const char *name, const uint8_t *data, size_t len, pqe_error *err)
{
    pqe_artifact *artifact = NULL;
    void *got = NULL;
    size_t got_len = 0;
    pqe_status status = pqe_get(world.p.vault, name, &got, &got_len, &artifact, err);

    if (status == PQE_OK && (got_len != len || memcmp(got, data, len) != 0 || artifact->size_bytes != len))
        die("get: wrong content");
    if (status != PQE_OK && (got != NULL || got_len != 0 || artifact != NULL))
        die("get: results beside %s", pqe_status_name(status));
    pqe_content_free(&got, got_len);
    pqe_artifact_free(&artifact);
    return status;
}

static bool
check_got(void *user, const pqe_got *got)
{
    bool inline_one = got->index % 2 == 0;
    const uint8_t *data = inline_one ? world.small : world.large;
    size_t len = inline_one ? INLINE_LEN : FILE_LEN;

    (*(size_t *)user)++;
    if (got->status == PQE_OK && (got->len != len || memcmp(got->content, data, len) != 0))
        die("get many: wrong content");
    if (got->status != PQE_OK && (got->content != NULL || got->artifact != NULL))
        die("get many: results beside %s", pqe_status_name(got->status));
    return true;
}

static pqe_status
run_get_many(pqe_error *err)
{
    static const char *const names[] = {"inline", "file", "inline"};
    size_t count = 0;
    pqe_status status = pqe_get_many(world.p.vault, names, 3, check_got, &count, err);

    if (status == PQE_OK && count != 3)
        die("get many: %zu of 3", count);
    return status;
}

static pqe_status
run_get_inline(pqe_error *err)
{
    return get("inline", world.small, INLINE_LEN, err);
}

static pqe_status
run_get_file(pqe_error *err)
{
    return get("file", world.large, FILE_LEN, err);
}

static pqe_status
run_info(pqe_error *err)
{
    pqe_artifact *artifact = NULL;
    pqe_status status = pqe_info(world.p.vault, "file", &artifact, err);

    if ((status == PQE_OK) != (artifact != NULL))
        die("info: %s with%s an artifact", pqe_status_name(status), artifact != NULL ? "" : "out");
    pqe_artifact_free(&artifact);
    return status;
}

static bool
count_artifact(void *user, const pqe_artifact *artifact)
{
    (void)artifact;
    ++*(unsigned *)user;
    return true;
}

static pqe_status
run_list(pqe_error *err)
{
    unsigned count = 0;
    pqe_status status = pqe_list(world.p.vault, count_artifact, &count, err);

    if (status == PQE_OK && count != 2)
        die("list: %u artifacts instead of 2", count);
    return status;
}

static pqe_status
run_verify(pqe_error *err)
{
    pqe_verify_summary s;
    pqe_status status = pqe_verify(world.p.vault, NULL, NULL, NULL, &s, err);

    if (status == PQE_OK && (s.artifacts != 2 || s.damaged != 0 || s.orphans != 0))
        die("verify: success with %llu artifacts, %llu damaged, %llu orphans", (unsigned long long)s.artifacts,
            (unsigned long long)s.damaged, (unsigned long long)s.orphans);
    if (s.damaged != 0)
        die("verify: a failed request is reported as damage: %s: %s", pqe_status_name(status), err->message);
    return status;
}

static pqe_status
run_delete_inline(pqe_error *err)
{
    return pqe_delete(world.p.vault, "inline", err);
}

static pqe_status
run_delete_file(pqe_error *err)
{
    return pqe_delete(world.p.vault, "file", err);
}

static pqe_status
run_rotate(pqe_error *err)
{
    return pqe_rotate(world.p.vault, NULL, err);
}

static pqe_status
run_rekey(pqe_error *err)
{
    pqe_rotate_opts o = {.size = sizeof o, .rekey = true};

    return pqe_rotate(world.p.vault, &o, err);
}

static pqe_status
run_grant_key(pqe_error *err)
{
    char pem[PQE_GRANT_PEM_MAX];
    size_t len = 0;

    return pqe_grant_public_key(world.p.vault, pem, sizeof pem, &len, err);
}

static void
remove_second(void)
{
    if (pqe_identity_delete(world.p.vault, "second", NULL) != PQE_OK)
        die("the identity that was made cannot be removed");
}

static void
add_second(void)
{
    pqe_identity_opts o = {.size = sizeof o, .name = "second"};

    must(pqe_identity_create(world.p.vault, &o, NULL, err));
}

static pqe_status
run_identity_create(pqe_error *err)
{
    pqe_identity_opts o = {.size = sizeof o, .name = "second", .algorithm = PQE_ML_DSA_87};
    pqe_identity identity;
    pqe_status status = pqe_identity_create(world.p.vault, &o, &identity, err);

    if ((status == PQE_OK) != (identity.did[0] != '\0'))
        die("identity create: %s with%s an identity", pqe_status_name(status), identity.did[0] != '\0' ? "" : "out");
    return status;
}

static pqe_status
run_identity_delete(pqe_error *err)
{
    return pqe_identity_delete(world.p.vault, "second", err);
}

static bool
count_identity(void *user, const pqe_identity *identity)
{
    (void)identity;
    ++*(unsigned *)user;
    return true;
}

static pqe_status
run_identity_list(pqe_error *err)
{
    unsigned count = 0;
    pqe_status status = pqe_identity_list(world.p.vault, count_identity, &count, err);

    if (status == PQE_OK && count != 1)
        die("identity list: %u instead of 1", count);
    return status;
}

/* Makes, writes, reads and verifies an attestation. */
static pqe_status
attest(int version, pqe_attest_form form, pqe_error *err)
{
    pqe_attest_opts o = {.size = sizeof o, .version = version};
    pqe_attest_verify_opts v = {.size = sizeof v};
    pqe_attestation *made = NULL, *read = NULL;
    pqe_trust *trust = NULL;
    pqe_verdict verdict = PQE_VERDICT_MALFORMED;
    char *bytes = NULL;
    size_t len = 0;
    pqe_status status = pqe_attest(world.p.vault, "file", &o, &made, err);

    if (status == PQE_OK)
        status = pqe_attestation_encode(made, form, &bytes, &len, err);
    if (status == PQE_OK)
        status = pqe_trust_new(&trust, err);
    if (status == PQE_OK)
        status = pqe_trust_add_did(trust, made->signer_did.data, err);
    v.trust = trust;
    if (status == PQE_OK)
        status = pqe_attestation_decode(bytes, len, &read, err);
    if (status == PQE_OK)
        status = pqe_attestation_verify(read, &v, &verdict, err);
    if ((status == PQE_OK) != (verdict == PQE_VERDICT_PASS))
        die("attest: %s with verdict %s", pqe_status_name(status), pqe_verdict_name(verdict));
    pqe_trust_free(&trust);
    pqe_buffer_free(&bytes);
    pqe_attestation_free(&made);
    pqe_attestation_free(&read);
    return status;
}

static pqe_status
run_attest_v1(pqe_error *err)
{
    return attest(1, PQE_ATTEST_JSON, err);
}

static pqe_status
run_attest_v2(pqe_error *err)
{
    return attest(2, PQE_ATTEST_COSE, err);
}

/* A handle whose unlock failed is as good as before: no transaction is left open in it. */
static void
use_again(pqe_vault *vault)
{
    pqe_put_opts o = {.size = sizeof o, .name = "inline", .kind = PQE_KIND_OTHER};

    faults.armed = false;
    must(pqe_vault_unlock(vault, 0, err));
    must(pqe_put(vault, &o, world.small, INLINE_LEN, NULL, err));
}

/* Opens what is there, or what it makes; closes again. */
static pqe_status
open_and_close(const char *config, const char *dir, bool create, pqe_error *err)
{
    pqe_backend *backend = NULL;
    pqe_vault_opts o = {.size = sizeof o, .dir = dir, .create = create};
    pqe_vault *vault = NULL;
    pqe_status status = pqe_backend_open(config, NULL, &backend, err);

    o.backend = backend;
    if (status == PQE_OK)
        status = pqe_vault_open(&o, &vault, err);
    if (status == PQE_OK && !create)
        status = pqe_vault_unlock(vault, 0, err);
    if (status != PQE_OK && vault != NULL && !world.cold)
        use_again(vault);
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
    return status;
}

static pqe_status
run_open(pqe_error *err)
{
    return open_and_close(world.config, path_in(world.base, "vault"), false, err);
}

static pqe_status
run_unlock(pqe_error *err)
{
    return pqe_vault_unlock(world.p.vault, 0, err);
}

static void
lock(void)
{
    pqe_vault_lock(world.p.vault);
}

static pqe_status
run_create(pqe_error *err)
{
    struct stat st;
    pqe_status status = open_and_close(world.fresh_key, world.fresh, true, err);

    if (status != PQE_OK && (lstat(world.fresh, &st) == 0 || lstat(path_in(world.base, "fresh.key"), &st) == 0))
        die("a failed creation leaves something behind: %s: %s", pqe_status_name(status), err->message);
    return status;
}

static void
remove_fresh(void)
{
    tree_remove(world.fresh);
    unlink(path_in(world.base, "fresh.key"));
}

/* ---- recovery keys and moves: on a copy, which the operation takes elsewhere ---- */

static pqe_status
open_backend(const char *config, pqe_backend **out, pqe_error *err)
{
    if (!world.native)
        return pqe_backend_open(config, NULL, out, err);
    return pqe_backend_open_ops(nativekem_wrap(pqe__backend_find("file")), strchr(config, ':') + 1, NULL, out, err);
}

static const char recovery_words[] =
    "letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic avoid "
    "letter advice cage absurd amount doctor acoustic bless";

/* All its forms but reading a PEM: libcrypto's decoders do not always say that it was memory that failed them. */
static pqe_status
recovery_key(pqe_recovery_key **out, pqe_error *err)
{
    char text[PQE_RECOVERY_PEM_MAX];
    size_t len = 0;
    pqe_status status = pqe_recovery_key_from_words(recovery_words, strlen(recovery_words), out, err);

    if (status == PQE_OK)
        status = pqe_recovery_key_words(*out, text, sizeof text, &len, err);
    if (status == PQE_OK)
        status = pqe_recovery_key_pem(*out, text, sizeof text, &len, err);
    if (status != PQE_OK)
        pqe_recovery_key_free(out);
    return status;
}

static pqe_status
run_recovery_create(pqe_error *err)
{
    pqe_recovery_key *key;
    pqe_status status = recovery_key(&key, err);

    if (status == PQE_OK)
        status = pqe_recovery_create(world.p.vault, key, "a name", err);
    pqe_recovery_key_free(&key);
    return status;
}

static void
remove_recovery_key(void)
{
    pqe_recovery_key *key;

    must(recovery_key(&key, err));
    must(pqe_recovery_remove(world.p.vault, pqe_recovery_key_id(key), err));
    pqe_recovery_key_free(&key);
}

static void
copy_vault(void)
{
    struct stat st;

    if (lstat(path_in(world.base, "template"), &st) != 0) {
        must(run_recovery_create(err));
        base_close(&world.p);
        tree_copy(path_in(world.base, "vault"), path_in(world.base, "template"));
        base_open(world.base, &world.p);
        remove_recovery_key();
    }
    tree_copy(path_in(world.base, "template"), world.fresh);
}

static void
check_no_key_left(const char *what, pqe_status status, size_t pairs)
{
    struct stat st;

    if (status != PQE_OK && (lstat(path_in(world.base, "fresh.key"), &st) == 0 || nativekem_pairs() != pairs))
        die("a failed %s leaves its key behind: %s", what, pqe_status_name(status));
}

static pqe_status
run_recovery_use(pqe_error *err)
{
    pqe_backend *backend = NULL;
    pqe_recovery_use_opts o = {.size = sizeof o, .dir = world.fresh};
    pqe_recovery_key *key;
    pqe_vault *vault = NULL;
    size_t pairs = nativekem_pairs();
    pqe_status status = recovery_key(&key, err);

    if (status == PQE_OK)
        status = open_backend(world.fresh_key, &backend, err);
    o.key = key;
    o.backend = backend;
    if (status == PQE_OK)
        status = pqe_recovery_use(&o, &vault, err);
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
    pqe_recovery_key_free(&key);
    check_no_key_left("recovery", status, pairs);
    return status;
}

static pqe_status
run_move(pqe_error *err)
{
    pqe_rotate_opts o = {.size = sizeof o, .rekey = true};
    pqe_backend *old = NULL, *backend = NULL;
    pqe_vault_opts v = {.size = sizeof v, .dir = world.fresh};
    pqe_vault *vault = NULL;
    size_t pairs = nativekem_pairs();
    pqe_status status = open_backend(world.config, &old, err);

    if (status == PQE_OK)
        status = open_backend(world.fresh_key, &backend, err);
    v.backend = old;
    o.backend = backend;
    if (status == PQE_OK)
        status = pqe_vault_open(&v, &vault, err);
    if (status == PQE_OK)
        status = pqe_vault_unlock(vault, 0, err);
    if (status == PQE_OK)
        status = pqe_rotate(vault, &o, err);
    pqe_vault_close(&vault);
    pqe_backend_close(&old);
    pqe_backend_close(&backend);
    check_no_key_left("move", status, pairs);
    return status;
}

static const operation operations[] = {
    {"open and unlock", nothing, run_open, nothing},
    {"unlock", lock, run_unlock, nothing},
    {"put inline", nothing, run_put_inline, nothing},
    {"put file", nothing, run_put_file, nothing},
    {"batch", nothing, run_batch, nothing},
    {"get inline", nothing, run_get_inline, nothing},
    {"get file", nothing, run_get_file, nothing},
    {"get many", nothing, run_get_many, nothing},
    {"put huge", nothing, run_put_sha3, drop_huge},
    {"put huge, parallelhash256", nothing, run_put_parallel, drop_huge},
    {"put huge, deferred", nothing, run_put_deferred, drop_huge},
    {"get huge", prepare_huge, run_get_huge, drop_huge},
    {"bind a hash", prepare_deferred, run_bind, drop_huge},
    {"hash default", nothing, run_default, nothing},
    {"info", nothing, run_info, nothing},
    {"list", nothing, run_list, nothing},
    {"verify", nothing, run_verify, nothing},
    {"rm inline", nothing, run_delete_inline, put_names},
    {"rm file", nothing, run_delete_file, put_names},
    {"rotate", nothing, run_rotate, nothing},
    {"rotate --rekey", nothing, run_rekey, nothing},
    {"grant key", nothing, run_grant_key, nothing},
    {"identity create", nothing, run_identity_create, remove_second},
    {"identity rm", add_second, run_identity_delete, nothing},
    {"identity list", nothing, run_identity_list, nothing},
    {"attest v1", nothing, run_attest_v1, nothing},
    {"attest v2", nothing, run_attest_v2, nothing},
    {"recovery create", nothing, run_recovery_create, remove_recovery_key},
    {"recovery use", copy_vault, run_recovery_use, remove_fresh},
    {"rotate --backend", copy_vault, run_move, remove_fresh},
    {"create", nothing, run_create, remove_fresh},
};
#define OPERATIONS (sizeof operations / sizeof operations[0])

/* ---- one failure ---- */

static pqe_status
run_with_fault(const operation *op, kind k, unsigned at, bool sticky, pqe_error *err)
{
    pqe_status status;

    faults.kind = k;
    faults.at = at;
    faults.seen = 0;
    faults.sticky = sticky;
    faults.armed = true;
    status = op->run(err);
    faults.armed = false;
    return status;
}

static bool
fitting(kind k, pqe_status status, const pqe_error *err)
{
    if (err->message[0] == '\0' || err->status != status)
        return false;
    /* libcrypto does not always say that it was memory that failed it; neither does a directory that cannot be listed */
    return status == PQE_E_NOMEM || (k != LOCKED && status == PQE_E_CRYPTO) || (k == HEAP && status == PQE_E_IO);
}

static void
check_world(const operation *op, const char *where)
{
    pqe_error err = {0};
    pqe_status status = op->run(&err);

    if (status != PQE_OK)
        die("%s: the next attempt: %s: %s", where, pqe_status_name(status), err.message);
    op->undo();
    get_equals(world.p.vault, "inline", world.small, INLINE_LEN);
    get_equals(world.p.vault, "file", world.large, FILE_LEN);
    check_verified(world.p.vault, 2, true, where);
    check_nothing_pending(world.base, where);
}

/* Returns false where there is no such request. */
static bool
try_point(const operation *op, kind k, unsigned at, bool sticky, unsigned *errors)
{
    pqe_error err = {0};
    pqe_status status;
    char where[128];

    snprintf(where, sizeof where, "%s, %s request %u%s", op->name, kind_names[k], at, sticky ? " and later" : "");
    op->prepare();
    status = run_with_fault(op, k, at, sticky, &err);
    if (faults.seen <= at) {
        op->undo();
        return false;
    }
    if (status != PQE_OK && !fitting(k, status, &err))
        die("%s: unfitting status %s: %s", where, pqe_status_name(status), err.message);
    *errors += status != PQE_OK;
    if (status == PQE_OK) {
        op->undo();
        op->prepare();
    }
    check_world(op, where);
    return true;
}

/* A rekey seals every entry of the audit log anew and a verification opens each: what has gathered there would make them
   longer with every request that is tried. */
#define CLEAR_EVERY 32u

static void
clear_log(void)
{
    must(pqe_audit_clear(world.p.vault, err));
}

static void
try_operation(const operation *op, kind k, uint64_t *seed)
{
    double start = seconds_now();
    unsigned total = 0, points = long_form() ? LONG_POINTS : SHORT_POINTS, step, tried = 0, errors = 0;
    pqe_error err = {0};
    pqe_status status;

    clear_log();
    for (int i = 0; i < 2; i++) { /* the first makes what is made once a session */
        op->prepare();
        status = run_with_fault(op, k, UINT_MAX, false, &err);
        total = faults.seen;
        if (status != PQE_OK)
            die("%s, unharmed: %s: %s", op->name, pqe_status_name(status), err.message);
        op->undo();
    }
    if (op->prepare == copy_vault) /* two vaults copied and opened for each point */
        points /= 8;
    step = total <= points ? 1 : total / points;
    for (int sticky = 0; sticky < 2; sticky++)
        for (unsigned at = draw(seed, step); try_point(op, k, at, sticky == 1, &errors); at += step)
            if (++tried % CLEAR_EVERY == 0)
                clear_log();
    printf("%-16s %5u requests (%s), tried %5u: %5u errors, %4u without effect; %.1f s\n", op->name, total,
           kind_names[k], tried, errors, tried - errors, seconds_now() - start);
    fflush(stdout);
}

/* ---- the first use in a process ---- */

/* What is made once a process (algorithms, our thread, SQLite's start) fails in a fresh process each time. Whether the
   process can be used afterwards is not asked: libcrypto remembers for good some of what it could not fetch. */
static bool
try_cold(unsigned at)
{
    pid_t child;
    int status;

    fflush(stdout);
    if ((child = fork()) == 0) {
        const operation cold = {"first use", nothing, run_open, nothing};
        pqe_error err = {0};
        pqe_status s;
        world.cold = true;
        s = run_with_fault(&cold, HEAP, at, false, &err);
        if (faults.seen <= at)
            _exit(2);
        if (s != PQE_OK && !fitting(HEAP, s, &err))
            die("first use, request %u: unfitting status %s: %s", at, pqe_status_name(s), err.message);
        _exit(0);
    }
    status = wait_for(child);
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 2))
        die("first use, request %u failed (%x, see above)", at, (unsigned)status);
    return WEXITSTATUS(status) == 0;
}

static void
try_first_use(uint64_t *seed)
{
    double start = seconds_now();
    unsigned tried = 0, step = long_form() ? 1 : sanitized() ? 149 : 61;

    /* libcrypto's own beginning cannot do without memory: version 3.5 waits for itself for ever. */
    if (OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CRYPTO_STRINGS | OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1)
        die("libcrypto does not start");
    for (unsigned at = draw(seed, step); try_cold(at); at += step)
        tried++;
    printf("first use        tried %5u; %.1f s\n", tried, seconds_now() - start);
    fflush(stdout);
}

/* Where device keys, and what is sealed to them, are made or made anew. */
static bool
is_about_keys(const operation *op)
{
    return op->run == run_rotate || op->run == run_rekey || op->run == run_recovery_create ||
           op->run == run_recovery_use || op->run == run_move;
}

int
main(int argc, char **argv)
{
    char *scratch = scratch_make();
    uint64_t seed = seed_from_environment();
    pid_t child;

    base_choose_device(argc, argv);
    world.native = argc > 1;
    take_over_allocators();
    snprintf(world.base, sizeof world.base, "%s", scratch);
    snprintf(world.fresh, sizeof world.fresh, "%s", path_in(scratch, "fresh"));
    snprintf(world.config, sizeof world.config, "file:key-file=%s/key", scratch);
    snprintf(world.fresh_key, sizeof world.fresh_key, "file:key-file=%s/fresh.key", scratch);
    world.small = make_content(INLINE_LEN, 1);
    world.large = make_content(FILE_LEN, 2);
    world.huge = make_content(HUGE_LEN, 3);
    pqe_set_threads(1);
    /* Made by a child, so that this process has not used the library yet. */
    if ((child = fork()) == 0) {
        base_create(world.base, &world.p);
        put_names();
        base_close(&world.p);
        _exit(0);
    }
    if (wait_for(child) != 0)
        die("the vault could not be made (see above)");
    if (!world.native)
        try_first_use(&seed);
    base_open(world.base, &world.p);
    must(pqe_identity_create(world.p.vault, NULL, NULL, err)); /* from here on rotations have one to seal anew */
    for (size_t i = 0; i < OPERATIONS; i++)
        for (int k = 0; k < KINDS && (!world.native || is_about_keys(&operations[i])); k++)
            try_operation(&operations[i], (kind)k, &seed);
    base_close(&world.p);
    free(world.small);
    free(world.large);
    free(world.huge);
    scratch_remove(scratch);
    return 0;
}
