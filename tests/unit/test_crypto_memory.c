/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libcrypto does with memory on our behalf, seen through its own allocation hooks.
 *
 * Each operation runs once to count its allocations, then once for each of them with that one failing: it must either
 * report failure, with its output zeroed or untouched, or give the right result. And no block given back to the
 * allocator, nor the stack, may hold a key, seed or shared secret afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "crypto/crypto.h"
#include "unit/bytes.h"

#define OUT_SIZE 2048u
#define NEVER SIZE_MAX

/* ---- the secrets that must not be left behind ---- */

static struct secrets {
    uint8_t seed[64], m[32], prk[32], salt[32], key[32], passphrase[32], plain[64];
    uint8_t shared[32], okm[64], stretched[32]; /* results, filled in at the start */
} secret;

#define SECRET_INPUTS offsetof(struct secrets, shared)

/** Looks for any 16 bytes of `secret` that start at a multiple of 8. Not for the sanitizer: stacks are read whole. */
__attribute__((no_sanitize_address, noinline)) static bool
holds_secret(const uint8_t *memory, size_t len)
{
    const uint8_t *s = (const uint8_t *)&secret;

    for (size_t at = 0; at + 16 <= len; at++) {
        for (size_t k = 0; k + 16 <= sizeof secret; k += 8) {
            size_t n = 0;

            while (n < 16 && memory[at + n] == s[k + n])
                n++;
            if (n == 16)
                return true;
        }
    }
    return false;
}

/* ---- libcrypto's allocator ---- */

static size_t allocations, fail_at = NEVER;
static bool scan_freed;
static unsigned freed_with_secret;

static bool
fails_now(void)
{
    return allocations++ == fail_at;
}

static void *
hook_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return fails_now() ? NULL : malloc(size);
}

static void
hook_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    if (p != NULL && scan_freed)
        freed_with_secret += holds_secret(p, malloc_usable_size(p));
    free(p);
}

static void *
hook_realloc(void *p, size_t size, const char *file, int line)
{
    void *q;

    if (p == NULL)
        return hook_malloc(size, file, line);
    if (size == 0) {
        hook_free(p, file, line);
        return NULL;
    }
    if (fails_now())
        return NULL;
    q = malloc(size); /* always moved, so that what is left behind is scanned */
    if (q == NULL)
        return NULL;
    memcpy(q, p, malloc_usable_size(p) < size ? malloc_usable_size(p) : size);
    hook_free(p, file, line);
    return q;
}

/* ---- the operations; each writes at most OUT_SIZE bytes ---- */

static const uint8_t public_data[32] = "nonce, info and the like, 32 b.";
static uint8_t public_key[PQE__KEM_PUBLIC_SIZE], ciphertext[PQE__KEM_CIPHERTEXT_SIZE];
static uint8_t sealed[64 + PQE__TAG_SIZE], hpke_sealed[64 + PQE__HPKE_OVERHEAD];
static pqe__kem_key *ready_key;

static pqe_status
do_hash(uint8_t *out)
{
    return pqe__hash_once(PQE__SHA3_256, public_data, sizeof public_data, out, NULL);
}

static pqe_status
do_hash_object(uint8_t *out)
{
    pqe__hash *h = NULL;
    pqe_status status = pqe__hash_new(PQE__SHA256, &h, NULL);

    if (status == PQE_OK)
        status = pqe__hash_update(h, public_data, sizeof public_data, NULL);
    if (status == PQE_OK)
        status = pqe__hash_final(h, out, NULL);
    pqe__hash_free(&h);
    return status;
}

static pqe_status
do_hmac(uint8_t *out)
{
    return pqe__hmac_sha256(secret.prk, 32, public_data, sizeof public_data, out, NULL);
}

static pqe_status
do_extract(uint8_t *out)
{
    return pqe__hkdf_extract(secret.salt, 32, public_data, sizeof public_data, out, NULL);
}

static pqe_status
do_expand(uint8_t *out)
{
    return pqe__hkdf_expand(PQE__HKDF_SHA512, secret.prk, 32, public_data, sizeof public_data, out, 64, NULL);
}

static pqe_status
do_argon2(uint8_t *out)
{
    static const pqe__argon2_params params = {64, 1, 2};

    return pqe__argon2id(secret.passphrase, 32, public_data, 16, &params, out, NULL);
}

static pqe_status
do_aead_seal(uint8_t *out)
{
    pqe__aead *aead = NULL;
    pqe_status status = pqe__aead_new(secret.key, 32, &aead, NULL);

    if (status == PQE_OK)
        status = pqe__aead_seal(aead, public_data, public_data, 20, secret.plain, 64, out, NULL);
    pqe__aead_free(&aead);
    return status;
}

static pqe_status
do_aead_open(uint8_t *out)
{
    pqe__aead *aead = NULL;
    pqe_status status = pqe__aead_new(secret.key, 32, &aead, NULL);

    if (status == PQE_OK)
        status = pqe__aead_open(aead, public_data, public_data, 20, sealed, sizeof sealed, out, NULL);
    pqe__aead_free(&aead);
    return status;
}

static pqe_status
do_kem_seed(uint8_t *out)
{
    pqe__kem_key *key = NULL;
    pqe_status status = pqe__kem_from_seed(secret.seed, &key, NULL);

    if (status == PQE_OK)
        status = pqe__kem_public(key, out, NULL);
    pqe__kem_free(&key);
    return status;
}

static pqe_status
do_kem_encapsulate(uint8_t *out)
{
    pqe__kem_key *key = NULL;
    pqe_status status = pqe__kem_from_public(public_key, sizeof public_key, &key, NULL);

    if (status == PQE_OK)
        status = pqe__kem_encapsulate(key, secret.m, out, out + PQE__KEM_CIPHERTEXT_SIZE, NULL);
    pqe__kem_free(&key);
    return status;
}

static pqe_status
do_kem_decapsulate(uint8_t *out)
{
    return pqe__kem_decapsulate(ready_key, ciphertext, sizeof ciphertext, out, NULL);
}

static pqe_status
do_kem_pem(uint8_t *out)
{
    size_t len;

    return pqe__kem_public_pem(ready_key, (char *)out, OUT_SIZE, &len, NULL);
}

static pqe_status
do_hpke_seal(uint8_t *out)
{
    return pqe__hpke_seal(&pqe__hpke_ml_kem_768, ready_key, secret.m, public_data, 32, NULL, 0, secret.plain, 64, out,
                          NULL);
}

static pqe_status
do_hpke_open(uint8_t *out)
{
    return pqe__hpke_open(&pqe__hpke_ml_kem_768, ready_key, public_data, 32, NULL, 0, hpke_sealed, sizeof hpke_sealed,
                          out, NULL);
}

typedef struct operation {
    const char *name;
    pqe_status (*run)(uint8_t *out);
} operation;

static const operation operations[] = {
    {"hash", do_hash},
    {"hash object", do_hash_object},
    {"HMAC", do_hmac},
    {"HKDF-Extract", do_extract},
    {"HKDF-Expand", do_expand},
    {"Argon2id", do_argon2},
    {"AEAD seal", do_aead_seal},
    {"AEAD open", do_aead_open},
    {"ML-KEM from seed", do_kem_seed},
    {"ML-KEM encapsulate", do_kem_encapsulate},
    {"ML-KEM decapsulate", do_kem_decapsulate},
    {"PEM", do_kem_pem},
    {"HPKE seal", do_hpke_seal},
    {"HPKE open", do_hpke_open},
};

#define OPERATIONS (sizeof operations / sizeof operations[0])

/* ---- tests ---- */

/* libcrypto's start-up waits for itself for ever if its very first allocation fails (3.5); we look at what follows. */
static void
start_libcrypto(void)
{
    alarm(60);
    ERR_clear_error();
    allocations = 0;
}

/** The first use of the library in a child, with one allocation failing; exits 0 if that was handled. */
static void
first_use_in_child(size_t n)
{
    static const uint8_t abc[4] = {0xba, 0x78, 0x16, 0xbf}; /* SHA-256("abc"), FIPS 180-4 */
    uint8_t out[32] = {0};
    pqe__aead *aead = NULL;
    pqe_status first, later;

    start_libcrypto();
    fail_at = n;
    first = pqe__hash_once(PQE__SHA256, "abc", 3, out, NULL);
    fail_at = NEVER;
    if (first == PQE_OK ? memcmp(out, abc, sizeof abc) != 0 : !all_bytes(out, sizeof out, 0))
        _exit(1);
    later = pqe__aead_new(secret.key, 32, &aead, NULL);
    if (first != PQE_OK && first != PQE_E_NOMEM && first != PQE_E_CRYPTO)
        _exit(2);
    if ((first == PQE_OK && later != PQE_OK) || (later == PQE_OK) != (aead != NULL))
        _exit(3);
    _exit(0);
}

/* Must be the first test: nothing may have been fetched yet. */
static void
test_first_use(void **state)
{
    size_t total = 0;
    int status = 0, fd[2];
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(fd), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) { /* counts */
        uint8_t out[32];

        start_libcrypto();
        if (pqe__hash_once(PQE__SHA256, "abc", 3, out, NULL) != PQE_OK)
            _exit(1);
        _exit(write(fd[1], &allocations, sizeof allocations) == sizeof allocations ? 0 : 1);
    }
    assert_int_equal(read(fd[0], &total, sizeof total), sizeof total);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(fd[0]);
    close(fd[1]);
    assert_true(total > 100);
    for (size_t n = 0; n < total; n += 1 + total / 200) {
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            first_use_in_child(n);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (status != 0)
            fail_msg("allocation %zu of %zu failing: wait status %#x", n, total, (unsigned)status);
    }
}

/** Makes the results that the operations need, and learns the derived secrets. */
static void
test_prepare(void **state)
{
    uint8_t out[OUT_SIZE], *s = (uint8_t *)&secret;

    (void)state;
    assert_int_equal(pqe__random(s, SECRET_INPUTS, NULL), PQE_OK);
    assert_int_equal(pqe__kem_from_seed(secret.seed, &ready_key, NULL), PQE_OK);
    assert_int_equal(pqe__kem_public(ready_key, public_key, NULL), PQE_OK);
    assert_int_equal(pqe__kem_encapsulate(ready_key, secret.m, ciphertext, secret.shared, NULL), PQE_OK);
    assert_int_equal(do_aead_seal(sealed), PQE_OK);
    assert_int_equal(do_hpke_seal(hpke_sealed), PQE_OK);
    assert_int_equal(do_expand(secret.okm), PQE_OK);
    assert_int_equal(do_argon2(secret.stretched), PQE_OK);
    assert_int_equal(do_hpke_open(out), PQE_OK);
    assert_memory_equal(out, secret.plain, 64);
}

static bool
zeroed_or_untouched(const uint8_t *out)
{
    for (size_t i = 0; i < OUT_SIZE; i++)
        if (out[i] != 0 && out[i] != 0xaa)
            return false;
    return true;
}

static void
test_each_allocation_fails(void **state)
{
    uint8_t right[OUT_SIZE], out[OUT_SIZE];

    (void)state;
    for (size_t i = 0; i < OPERATIONS; i++) {
        size_t total, reported = 0;

        memset(right, 0xaa, sizeof right);
        assert_int_equal(operations[i].run(out), PQE_OK); /* so that what is cached by libcrypto is */
        allocations = 0;
        assert_int_equal(operations[i].run(right), PQE_OK);
        total = allocations;
        for (size_t n = 0; n < total; n++) {
            pqe_status status;

            memset(out, 0xaa, sizeof out);
            allocations = 0;
            fail_at = n;
            status = operations[i].run(out);
            fail_at = NEVER;
            reported += status != PQE_OK;
            if (status == PQE_OK ? memcmp(out, right, sizeof out) != 0 : !zeroed_or_untouched(out))
                fail_msg("%s: allocation %zu of %zu failing: %s, wrong output", operations[i].name, n, total,
                         pqe_status_name(status));
        }
        print_message("%s: %zu allocations, %zu failures reported\n", operations[i].name, total, reported);
        assert_true(total > 0 && reported > 0);
        memset(out, 0xaa, sizeof out);
        assert_int_equal(operations[i].run(out), PQE_OK); /* and works again afterwards */
        assert_memory_equal(out, right, sizeof out);
    }
}

/* Leaves a secret behind on purpose: what the next test must be able to see. */
static pqe_status
leave_on_stack(uint8_t *out)
{
    volatile uint8_t copy[64];

    for (size_t i = 0; i < sizeof copy; i++)
        copy[i] = secret.seed[i];
    out[0] = copy[1];
    return PQE_OK;
}

static pqe_status
leave_on_heap(uint8_t *out)
{
    uint8_t *copy = OPENSSL_malloc(64);

    if (copy == NULL)
        return PQE_E_NOMEM;
    memcpy(copy, secret.seed, 64);
    out[0] = copy[1];
    OPENSSL_free(copy);
    return PQE_OK;
}

static uint8_t thread_out[OUT_SIZE];

static void *
run_operation(void *arg)
{
    const operation *op = arg;

    return op->run(thread_out) == PQE_OK ? NULL : "failed";
}

/* The sanitizers lay out the stack as they need it; what is left on it is looked at in the other builds. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_IS_OURS false
#else
#define STACK_IS_OURS true
#endif

/** Runs an operation on a stack of our own; true if that holds a secret afterwards. */
static bool
run_and_scan_stack(const operation *op)
{
    const size_t size = (size_t)1 << 20;
    uint8_t *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_t attributes;
    pthread_t thread;
    size_t used = 0;
    void *failure;
    bool found;

    assert_true(stack != MAP_FAILED);
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstack(&attributes, stack, size), 0);
    assert_int_equal(pthread_create(&thread, &attributes, run_operation, (void *)op), 0);
    pthread_join(thread, &failure);
    pthread_attr_destroy(&attributes);
    assert_null(failure);
    while (used < size && stack[used] == 0)
        used++;
    found = STACK_IS_OURS && holds_secret(stack + used, size - used);
    munmap(stack, size);
    return found;
}

static void
test_nothing_is_left_behind(void **state)
{
    const operation stack_control = {"stack", leave_on_stack};

    (void)state;
    scan_freed = true;
    assert_int_equal(run_and_scan_stack(&stack_control), STACK_IS_OURS);
    assert_int_equal(freed_with_secret, 0);
    assert_int_equal(leave_on_heap(thread_out), PQE_OK);
    assert_int_equal(freed_with_secret, 1);
    for (size_t i = 0; i < OPERATIONS; i++) {
        freed_with_secret = 0;
        if (run_and_scan_stack(&operations[i]))
            fail_msg("%s leaves a secret on the stack", operations[i].name);
        if (freed_with_secret > 0)
            fail_msg("%s frees memory that holds a secret", operations[i].name);
    }
    freed_with_secret = 0;
    pqe__kem_free(&ready_key);
    assert_int_equal(freed_with_secret, 0);
    scan_freed = false;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_use),
        cmocka_unit_test(test_prepare),
        cmocka_unit_test(test_each_allocation_fails),
        cmocka_unit_test(test_nothing_is_left_behind),
    };

    if (!CRYPTO_set_mem_functions(hook_malloc, hook_realloc, hook_free)) {
        fputs("libcrypto has allocated memory already\n", stderr);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
