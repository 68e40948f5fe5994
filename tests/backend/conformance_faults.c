/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite: a failure at every call, forked children, threads. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/faulty.h"
#include "backend/fixture.h"

/* ---- a failure at every call ---- */

/* Holds nothing when it returns, however far it came. */
typedef struct story {
    fixture f;
    void *again; /* the key as attached a second time */
    uint8_t new_state[PQE_BACKEND_STATE_MAX];
    uint8_t blob[PQE_SEAL_BLOB_MAX];
    uint8_t *secret;
} story;

static pqe_status
reopen_and_unseal(story *t, const uint8_t *state, size_t state_len, const pqe_blob *sealed_blob, pqe_error *err)
{
    fixture *f = &t->f;
    pqe_blob secret = {.data = t->secret, .capacity = PQE_SEAL_SECRET_MAX};
    pqe_status status;

    pqe__backend_detach(f->backend, t->again);
    status = pqe__backend_attach(f->backend, f->vault_id, state, state_len, &t->again, err);
    if (status != PQE_OK)
        return status;
    status = pqe__backend_unseal(f->backend, t->again, AAD, AAD_LEN, sealed_blob->data, sealed_blob->len, &secret, err);
    if (status == PQE_OK) {
        assert_int_equal(secret.len, AAD_LEN);
        assert_memory_equal(secret.data, AAD, AAD_LEN);
    }
    return status;
}

static pqe_status
use_a_pair(story *t, pqe_error *err)
{
    uint8_t handle[PQE_SEAL_BLOB_MAX], ek[PQE__KEM_PUBLIC_SIZE], ct[PQE__KEM_CIPHERTEXT_SIZE], sent[32];
    pqe_blob handle_blob = {.data = handle, .capacity = sizeof handle}, ek_blob = {.data = ek, .capacity = sizeof ek};
    pqe__kem_key *key = NULL;
    pqe_status status = pqe__backend_kem_make(t->f.backend, t->f.key, &handle_blob, &ek_blob, err);

    if (status != PQE_OK)
        return status;
    status = pqe__kem_from_public(ek, sizeof ek, &key, err);
    if (status == PQE_OK)
        status = pqe__kem_encapsulate(key, NULL, ct, sent, err);
    if (status == PQE_OK)
        status = pqe__backend_kem_decapsulate(t->f.backend, t->again, handle, handle_blob.len, ct, sizeof ct, t->secret,
                                              err);
    if (status == PQE_OK)
        assert_memory_equal(t->secret, sent, sizeof sent);
    pqe__kem_free(&key);
    pqe__backend_kem_drop(t->f.backend, t->f.key, handle, handle_blob.len);
    return status;
}

static pqe_status
tell(story *t, const pqe_backend_ops *ops, pqe_error *err)
{
    fixture *f = &t->f;
    pqe_blob state = {.data = f->state, .capacity = sizeof f->state};
    pqe_blob changed = {.data = t->new_state, .capacity = sizeof t->new_state};
    pqe_blob blob = {.data = t->blob, .capacity = sizeof t->blob};
    pqe_status status = fixture_open_backend(f->subject, ops, f->subject->config, &f->backend, err);

    if (status == PQE_OK)
        status = pqe__backend_enrol(f->backend, f->vault_id, &state, &f->key, err);
    if (status == PQE_OK)
        status = pqe__backend_seal(f->backend, f->key, AAD, AAD_LEN, AAD, AAD_LEN, &blob, err);
    if (status == PQE_OK)
        status = reopen_and_unseal(t, state.data, state.len, &blob, err);
    if (status == PQE_OK && pqe__backend_decapsulates(f->backend))
        status = use_a_pair(t, err);
    if (status == PQE_OK && f->subject->passphrase) {
        status =
            pqe__backend_change_passphrase(f->backend, f->vault_id, t->again, state.data, state.len, &changed, err);
        if (status == PQE_OK)
            status = reopen_and_unseal(t, changed.data, changed.len, &blob, err);
    }
    return status;
}

static pqe_status
tell_and_clean_up(const conformance_subject *s, const pqe_backend_ops *ops, const uint8_t id[PQE_VAULT_ID_SIZE],
                  pqe_error *err)
{
    story t = {.f.subject = s, .secret = pqe__secmem_alloc(PQE_SEAL_SECRET_MAX)};
    pqe_status status;

    assert_non_null(t.secret);
    memcpy(t.f.vault_id, id, PQE_VAULT_ID_SIZE);
    status = tell(&t, ops, err);
    pqe__backend_detach(t.f.backend, t.again);
    pqe__backend_discard(t.f.backend, id, t.f.key);
    pqe__backend_detach(t.f.backend, t.f.key);
    pqe_backend_close(&t.f.backend);
    pqe__secmem_free(t.secret);
    return status;
}

void
conformance_faults(void **state)
{
    const conformance_subject *s = *state;
    const pqe_backend_ops *ops = faulty_wrap(s->ops);
    uint8_t id[PQE_VAULT_ID_SIZE];
    size_t before = fixture_leftovers(s);
    uintptr_t mark = fixture_locked_memory_mark();
    unsigned count;

    fixture_passphrase("correct horse");
    fixture_new_id(id);
    faulty_arm(0);
    assert_int_equal(tell_and_clean_up(s, ops, id, NULL), PQE_OK);
    count = faulty_calls();
    assert_true(count >= 5);
    for (unsigned n = 1; n <= count; n++) {
        pqe_error err = {0};
        faulty_arm(n);
        assert_int_equal(tell_and_clean_up(s, ops, id, &err), PQE_E_BACKEND);
        fixture_check_error(&err, PQE_E_BACKEND);
        assert_int_equal(err.native, n);
        assert_int_equal(faulty_calls(), n);
        assert_int_equal(fixture_leftovers(s), before);
        assert_true(fixture_locked_memory_mark() == mark);
        faulty_arm(0);
        assert_int_equal(tell_and_clean_up(s, ops, id, NULL), PQE_OK);
    }
    assert_int_equal(fixture_leftovers(s), before);
    assert_true(fixture_locked_memory_mark() == mark);
}

/* ---- a forked child ---- */

/* 0, or the number of the step that went wrong. No cmocka in here: its long jump belongs to the parent. */
static int
in_the_child(fixture *f, const sealed *b)
{
    uint8_t bytes[PQE_SEAL_BLOB_MAX];
    pqe_blob blob = {.data = bytes, .capacity = sizeof bytes};
    void *key = f->key;

    if (pqe__backend_seal(f->backend, f->key, AAD, AAD_LEN, AAD, AAD_LEN, &blob, NULL) != PQE_E_LOCKED)
        return 1;
    if (pqe__backend_unseal(f->backend, f->key, AAD, AAD_LEN, b->bytes, b->len, &blob, NULL) != PQE_E_LOCKED)
        return 2;
    if (pqe__backend_enrol(f->backend, f->vault_id, &blob, &key, NULL) != PQE_E_LOCKED || key != NULL)
        return 3;
    if (pqe__backend_attach(f->backend, f->vault_id, f->state, f->state_len, &key, NULL) != PQE_E_LOCKED)
        return 4;
    if (pqe__backend_change_passphrase(f->backend, f->vault_id, f->key, f->state, f->state_len, &blob, NULL) !=
        PQE_E_LOCKED)
        return 5;
    pqe__backend_discard(f->backend, f->vault_id, f->key);
    pqe__backend_detach(f->backend, f->key);
    pqe_backend_close(&f->backend);
    return f->backend == NULL ? 0 : 6;
}

void
conformance_fork(void **state)
{
    fixture f;
    sealed b;
    pid_t child;
    int result;

    fixture_begin(&f, *state);
    fixture_seal(&f, f.key, 64, &b);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(in_the_child(&f, &b));
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
    assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_OK);
    fixture_end(&f);
}

/* ---- threads ---- */

#define THREADS 4
#define ROUNDS 200

static atomic_int thread_faults;

/* Two calls in the same `self` at once would be a breach of the SPI by the library. */
static void *
seal_and_unseal(void *arg)
{
    const fixture *f = arg;
    uint8_t *memory = pqe__secmem_alloc(PQE_SEAL_SECRET_MAX);
    uint8_t bytes[PQE_SEAL_BLOB_MAX];

    for (int i = 0; i < ROUNDS && memory != NULL; i++) {
        pqe_blob blob = {.data = bytes, .capacity = sizeof bytes};
        pqe_blob secret = {.data = memory, .capacity = PQE_SEAL_SECRET_MAX};
        if (pqe__backend_seal(f->backend, f->key, AAD, AAD_LEN, AAD, AAD_LEN, &blob, NULL) != PQE_OK ||
            pqe__backend_unseal(f->backend, f->key, AAD, AAD_LEN, bytes, blob.len, &secret, NULL) != PQE_OK ||
            secret.len != AAD_LEN || memcmp(memory, AAD, AAD_LEN) != 0)
            atomic_fetch_add(&thread_faults, 1);
    }
    if (memory == NULL)
        atomic_fetch_add(&thread_faults, 1);
    pqe__secmem_free(memory);
    return NULL;
}

void
conformance_threads(void **state)
{
    pthread_t threads[THREADS];
    fixture f;

    fixture_begin(&f, *state);
    atomic_store(&thread_faults, 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, seal_and_unseal, &f), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&thread_faults), 0);
    fixture_end(&f);
}
