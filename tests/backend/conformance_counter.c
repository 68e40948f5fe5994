/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite: counters. A backend without them says so; one with them must be usable as a vault uses it. */
#include <string.h>

#include "backend/fixture.h"

typedef struct standing {
    uint64_t value;
    uint8_t note[PQE_COUNTER_NOTE_MAX];
    size_t note_len;
} standing;

static pqe_status
read_counter(const fixture *f, void *key, standing *out)
{
    pqe_blob note = {.data = out->note, .capacity = sizeof out->note};
    pqe_error err = {0};
    pqe_status status;

    memset(out, 0, sizeof *out);
    status = pqe__backend_counter_read(f->backend, key, &out->value, &note, &err);
    out->note_len = note.len;
    if (status != PQE_OK)
        fixture_check_error(&err, status);
    return status;
}

static pqe_status
advance(const fixture *f, void *key, uint64_t value, uint8_t fill, size_t note_len)
{
    uint8_t note[PQE_COUNTER_NOTE_MAX];
    pqe_error err = {0};
    pqe_status status;

    memset(note, fill, sizeof note);
    status = pqe__backend_counter_advance(f->backend, key, value, note, note_len, &err);
    if (status != PQE_OK)
        fixture_check_error(&err, status);
    return status;
}

/* Where the device has room for notes at all, the one that was written. */
static void
expect(const fixture *f, void *key, uint64_t value, uint8_t fill, size_t note_len)
{
    uint8_t note[PQE_COUNTER_NOTE_MAX];
    standing s;

    memset(note, fill, sizeof note);
    assert_int_equal(read_counter(f, key, &s), PQE_OK);
    assert_int_equal(s.value, value);
    if (s.note_len != 0) {
        assert_int_equal(s.note_len, note_len);
        assert_memory_equal(s.note, note, note_len);
    }
}

/* False if the subject has none, which is checked then. */
static bool
begin(fixture *f, const conformance_subject *s, uint64_t *start)
{
    standing now;
    pqe_status status;

    fixture_begin(f, s);
    status = read_counter(f, f->key, &now);
    *start = now.value;
    if (status == PQE_OK) {
        assert_true(pqe__backend_counts(f->backend));
        return true;
    }
    assert_int_equal(status, PQE_E_UNAVAILABLE);
    assert_int_equal(now.value, 0);
    assert_int_equal(now.note_len, 0);
    assert_int_equal(advance(f, f->key, 1, 0x11, 8), PQE_E_UNAVAILABLE);
    assert_int_equal(pqe__backend_counter_make(f->backend, f->key, NULL), PQE_E_UNAVAILABLE);
    fixture_end(f);
    return false;
}

void
conformance_counter_steps(void **state)
{
    uint64_t c;
    fixture f;

    if (!begin(&f, *state, &c))
        return;
    expect(&f, f.key, c, 0, 0); /* reading changes nothing */
    assert_int_equal(advance(&f, f.key, c + 1, 0x11, PQE_COUNTER_NOTE_MAX), PQE_OK);
    expect(&f, f.key, c + 1, 0x11, PQE_COUNTER_NOTE_MAX);
    assert_int_equal(advance(&f, f.key, c + 1, 0x22, PQE_COUNTER_NOTE_MAX), PQE_OK); /* to where it is: no step */
    expect(&f, f.key, c + 1, 0x22, PQE_COUNTER_NOTE_MAX);
    assert_int_equal(advance(&f, f.key, c + 2, 0x33, 40), PQE_OK); /* a shorter note in place of a longer one */
    expect(&f, f.key, c + 2, 0x33, 40);
    fixture_end(&f);
}

void
conformance_counter_refusals(void **state)
{
    uint64_t c;
    fixture f;

    if (!begin(&f, *state, &c))
        return;
    assert_int_equal(advance(&f, f.key, c + 1, 0x11, 16), PQE_OK);
    assert_int_not_equal(advance(&f, f.key, c, 0x22, 16), PQE_OK);
    expect(&f, f.key, c + 1, 0x11, 16);
    assert_int_not_equal(advance(&f, f.key, c + 3, 0x22, 16), PQE_OK);
    expect(&f, f.key, c + 1, 0x11, 16);
    assert_int_not_equal(advance(&f, f.key, 0, 0x22, 16), PQE_OK);
    assert_int_not_equal(advance(&f, f.key, UINT64_MAX, 0x22, 16), PQE_OK);
    assert_int_equal(advance(&f, f.key, c + 2, 0x22, PQE_COUNTER_NOTE_MAX + 1), PQE_E_ARGUMENT);
    expect(&f, f.key, c + 1, 0x11, 16);
    assert_int_equal(advance(&f, f.key, c + 2, 0x22, 16), PQE_OK);
    fixture_end(&f);
}

void
conformance_counter_lasts(void **state)
{
    const conformance_subject *s = *state;
    uint64_t c;
    fixture f;
    void *again;

    if (!begin(&f, s, &c))
        return;
    assert_int_equal(advance(&f, f.key, c + 1, 0x44, 64), PQE_OK);
    assert_int_equal(fixture_attach(&f, f.state, f.state_len, &again), PQE_OK);
    expect(&f, again, c + 1, 0x44, 64);
    assert_int_equal(advance(&f, again, c + 2, 0x55, 64), PQE_OK);
    expect(&f, f.key, c + 2, 0x55, 64);
    pqe__backend_detach(f.backend, again);
    if ((s->ops->info.capabilities & PQE_CAP_PERSISTENT) != 0) {
        pqe__backend_detach(f.backend, f.key);
        pqe_backend_close(&f.backend);
        assert_int_equal(fixture_open_backend(s, s->ops, s->config, &f.backend, NULL), PQE_OK);
        assert_int_equal(fixture_attach(&f, f.state, f.state_len, &f.key), PQE_OK);
        expect(&f, f.key, c + 2, 0x55, 64);
        assert_int_equal(advance(&f, f.key, c + 3, 0x66, 64), PQE_OK);
    }
    fixture_end(&f);
}

void
conformance_counter_apart(void **state)
{
    uint8_t bytes[PQE_BACKEND_STATE_MAX], id[PQE_VAULT_ID_SIZE];
    pqe_blob other_state = {.data = bytes, .capacity = sizeof bytes};
    uint64_t c;
    standing before;
    fixture f;
    void *other;

    if (!begin(&f, *state, &c))
        return;
    fixture_new_id(id);
    assert_int_equal(pqe__backend_enrol(f.backend, id, &other_state, &other, NULL), PQE_OK);
    assert_int_equal(read_counter(&f, other, &before), PQE_OK);
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(advance(&f, f.key, c + i, 0x11, 8), PQE_OK);
    expect(&f, other, before.value, 0, 0);
    assert_int_equal(advance(&f, other, before.value + 1, 0x22, 8), PQE_OK);
    expect(&f, f.key, c + 3, 0x11, 8);
    pqe__backend_discard(f.backend, id, other);
    pqe__backend_detach(f.backend, other);
    expect(&f, f.key, c + 3, 0x11, 8);
    fixture_end(&f);
}

/* Gone with the vault, and told from one that never was; a new one can take its place. */
void
conformance_counter_goes(void **state)
{
    size_t before = fixture_leftovers(*state);
    uint64_t c;
    standing fresh;
    fixture f;

    if (!begin(&f, *state, &c))
        return;
    assert_int_equal(advance(&f, f.key, c + 1, 0x11, 8), PQE_OK);
    pqe__backend_discard(f.backend, f.vault_id, f.key);
    assert_int_equal(read_counter(&f, f.key, &fresh), PQE_E_ROLLBACK);
    assert_int_not_equal(advance(&f, f.key, c + 2, 0x11, 8), PQE_OK);
    assert_int_equal(pqe__backend_counter_make(f.backend, f.key, NULL), PQE_OK);
    assert_int_equal(read_counter(&f, f.key, &fresh), PQE_OK);
    assert_int_equal(fresh.note_len, 0);
    assert_int_equal(advance(&f, f.key, fresh.value + 1, 0x22, 8), PQE_OK);
    expect(&f, f.key, fresh.value + 1, 0x22, 8);
    fixture_end(&f);
    assert_int_equal(fixture_leftovers(*state), before);
}
