/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions while a person is asked for the passphrase, and takes her time: they end all the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "backend/file/passphrase.h"
#include "unit/session_support.h"
#include "unit/support.h"
#include "vault/internal.h"

struct person {
    pqe_vault *vault;
    atomic_bool asked, answers;
    pqe_status status;
};

static pqe_status
answer(void *user, pqe_passphrase_purpose purpose, char *buf, size_t capacity, size_t *len)
{
    struct person *p = user;

    (void)purpose;
    (void)capacity;
    p->asked = true;
    while (!p->answers)
        sleep_ms(2);
    memcpy(buf, "correct horse", 13);
    *len = 13;
    return PQE_OK;
}

static void *
unlock_again(void *arg)
{
    struct person *p = arg;

    p->status = pqe_vault_unlock(p->vault, 0, NULL);
    return NULL;
}

static void *
change_passphrase(void *arg)
{
    struct person *p = arg;

    p->status = pqe_vault_change_passphrase(p->vault, NULL);
    return NULL;
}

/* A vault with a passphrase, unlocked for `ttl` seconds, and a call under way that waits for an answer. */
static pqe_vault *
start_asking(const char *dir, struct person *person, uint32_t ttl, void *(*call)(void *), pqe_backend **backend,
             pthread_t *thread)
{
    const pqe__argon2_params cheap = {.memory_kib = PQE__ARGON2_MEMORY_MIN, .passes = 2, .lanes = 1};
    pqe_backend_opts bo = {.size = sizeof bo, .passphrase = answer, .user = person};

    assert_true(pqe__passphrase_set_params(&cheap));
    person->answers = true;
    assert_pqe_ok(pqe_backend_open("file:passphrase", &bo, backend, err));
    person->vault = vault_create(scratch_path(dir, "vault"), *backend);
    assert_pqe_ok(pqe_vault_unlock(person->vault, ttl, err));
    person->asked = person->answers = false;
    assert_int_equal(pthread_create(thread, NULL, call, person), 0);
    while (!person->asked)
        sleep_ms(1);
    return person->vault;
}

static void
answer_at_last(struct person *person, pqe_backend **backend, pthread_t thread)
{
    person->answers = true;
    pthread_join(thread, NULL);
    assert_int_equal(person->status, PQE_OK);
    assert_true(pqe_vault_is_unlocked(person->vault));
    pqe__passphrase_set_params(NULL);
    pqe_vault_close(&person->vault);
    pqe_backend_close(backend);
}

/* While somebody is asked for the passphrase, sessions end on time all the same: that vault's and others'; and no call
 * waits for the answer that has no need of it. */
static void
test_expiry_while_a_person_is_asked(void **state)
{
    struct person person = {0};
    char *dir = scratch_make();
    pqe_backend *asking = NULL, *b = backend_memory();
    pqe_vault *v, *other = vault_create(NULL, b);
    const pqe__secrets *secret;
    pthread_t thread;
    uint64_t began;

    (void)state;
    v = start_asking(dir, &person, SHORT_TTL, unlock_again, &asking, &thread);
    began = now_ms();
    assert_pqe_ok(pqe_vault_unlock(other, SHORT_TTL + 1, err));
    secret = v->session->keys->secret;
    while (pqe_vault_is_unlocked(v)) /* without a pause: so that a call may notice before the watcher does */
        ;
    assert_false(pqe_vault_is_unlocked(v));
    assert_true(now_ms() - began < SHORT_TTL * 1000 + LATE_MS);
    assert_true(is_gone(v));
    assert_true(is_wiped(secret, sizeof *secret));
    assert_in_time(began, wait_until_gone(other), SHORT_TTL + 1);
    answer_at_last(&person, &asking, thread);
    pqe_vault_close(&other);
    pqe_backend_close(&b);
    scratch_remove(dir);
}

static void
test_lock_while_a_person_is_asked(void **state)
{
    struct person person = {0};
    char *dir = scratch_make();
    pqe_backend *asking = NULL;
    const pqe__secrets *secret;
    const uint8_t *backend_key;
    pthread_t thread;
    pqe_vault *v;
    uint64_t began;

    (void)state;
    v = start_asking(dir, &person, 1000, unlock_again, &asking, &thread);
    secret = v->session->keys->secret;
    backend_key = v->session->backend_key;
    began = now_ms();
    pqe_vault_lock(v);
    assert_true(is_gone(v));
    assert_false(pqe_vault_is_unlocked(v));
    assert_true(is_wiped(secret, sizeof *secret));
    assert_true(now_ms() - began < LATE_MS);
    person.answers = true; /* the backend can be told now to wipe its key of the session that was ended */
    pthread_join(thread, NULL);
    pqe_vault_lock(v);
    for (began = now_ms(); !is_wiped(backend_key, 32) && now_ms() - began < LATE_MS;)
        sleep_ms(5);
    assert_true(is_wiped(backend_key, 32));
    assert_int_equal(pthread_create(&thread, NULL, unlock_again, &person), 0);
    answer_at_last(&person, &asking, thread);
    scratch_remove(dir);
}

/* Nor does a session last, or a call wait, because a new passphrase is being thought about. */
static void
test_expiry_while_a_new_one_is_asked(void **state)
{
    struct person person = {0};
    char *dir = scratch_make();
    pqe_backend *asking = NULL;
    const pqe__secrets *secret;
    const uint8_t *backend_key;
    pthread_t thread;
    uint64_t began = now_ms();
    pqe_vault *v = start_asking(dir, &person, SHORT_TTL, change_passphrase, &asking, &thread);

    (void)state;
    secret = v->session->keys->secret;
    backend_key = v->session->backend_key;
    while (pqe_vault_is_unlocked(v))
        ;
    assert_true(now_ms() - began < SHORT_TTL * 1000 + LATE_MS);
    assert_true(is_gone(v));
    assert_true(is_wiped(secret, sizeof *secret));
    began = now_ms();
    pqe_vault_lock(v);
    assert_int_equal(get_status(v, "a"), PQE_E_LOCKED);
    assert_true(now_ms() - began < LATE_MS);
    assert_false(is_wiped(backend_key, 32)); /* in use */
    person.answers = true;
    pthread_join(thread, NULL);
    assert_int_equal(person.status, PQE_E_LOCKED);
    for (began = now_ms(); !is_wiped(backend_key, 32) && now_ms() - began < LATE_MS;)
        sleep_ms(5);
    assert_true(is_wiped(backend_key, 32));
    assert_pqe_ok(pqe_vault_unlock(v, 0, err));
    pqe__passphrase_set_params(NULL);
    pqe_vault_close(&v);
    pqe_backend_close(&asking);
    scratch_remove(dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expiry_while_a_person_is_asked),
        cmocka_unit_test(test_lock_while_a_person_is_asked),
        cmocka_unit_test(test_expiry_while_a_new_one_is_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
