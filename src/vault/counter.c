/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's counter, which tells an older copy of the vault from the vault: commit, advance, acknowledge.
 *
 * A head says at which value of the counter it is acknowledged. Heads are committed with the next value; then the counter
 * advances to it; then the caller hears of it. So what is found on disk says the counter's value, or one more where a
 * process died between the two steps. All else is refused. docs/format.md, section 8, has every case.
 *
 * Whoever commits a head holds the gate (store.h) from before the commit until after the advance, and never waits for a
 * write transaction while holding it. The counter is asked, and the gate waited for, without key_lock: the session may
 * end meanwhile, its key is pinned.
 */
#include "vault/internal.h"

#include <string.h>
#include <time.h>

/* What a head says. */
typedef struct stand {
    bool told;
    uint64_t counter, generation;
    uint8_t digest[PQE__NOTE_DIGEST_SIZE];
} stand;

typedef enum presence { THERE, GONE, NEVER_THERE } presence;

/* What the device says. */
typedef struct meter {
    presence presence;
    uint64_t value;
    pqe__counter_note note; /* zeros: none */
} meter;

typedef enum verdict {
    RIGHT,
    NOT_COUNTED, /* neither head nor device */
    UNFINISHED,  /* the last commit was not acknowledged */
    OLDER,
    AHEAD,      /* more than one step */
    OTHER_HEAD, /* of the same value, and not the one that was acknowledged */
    UNTOLD,     /* the device counts, the head does not say so */
    COUNTER_GONE,
    COUNTER_LOST /* the head says so, the device has none */
} verdict;

static bool
may_pass(verdict v)
{
    return v == RIGHT || v == NOT_COUNTED || v == UNFINISHED;
}

/* ---- reading and judging ---- */

static pqe_status
digest_of(const uint8_t *head, size_t len, uint8_t out[PQE__NOTE_DIGEST_SIZE], pqe_error *err)
{
    uint8_t digest[PQE__DIGEST_SIZE];
    pqe_status status = pqe__hash_once(PQE__SHA256, head, len, digest, err);

    memcpy(out, digest, PQE__NOTE_DIGEST_SIZE);
    return status;
}

/* Of the head that the session has verified last. */
static pqe_status
read_stand(const pqe__session *session, stand *out, pqe_error *err)
{
    *out =
        (stand){.told = session->priv.has_counter, .counter = session->priv.counter, .generation = session->generation};
    return digest_of(session->head_bytes, session->head_len, out->digest, err);
}

static pqe_status
read_meter(const pqe__home *home, meter *out, pqe_error *err)
{
    uint8_t bytes[PQE_COUNTER_NOTE_MAX];
    pqe_blob note = {.data = bytes, .capacity = sizeof bytes};
    pqe_error inner = {0};
    pqe_status status = PQE_E_UNAVAILABLE;

    *out = (meter){.presence = THERE};
    if (pqe__backend_counts(home->backend))
        status = pqe__backend_counter_read(home->backend, home->key, &out->value, &note, &inner);
    if (status == PQE_E_UNAVAILABLE)
        out->presence = NEVER_THERE;
    else if (status == PQE_E_ROLLBACK)
        out->presence = GONE;
    else if (status != PQE_OK)
        return pqe__fail(err, status, inner.origin, inner.native, "%s", inner.message);
    else if (!pqe__counter_note_decode(bytes, note.len, &out->note))
        memset(&out->note, 0, sizeof out->note);
    return PQE_OK;
}

static bool
contradicts(const uint8_t noted[PQE__NOTE_DIGEST_SIZE], const stand *s)
{
    static const uint8_t unknown[PQE__NOTE_DIGEST_SIZE];

    return memcmp(noted, unknown, sizeof unknown) != 0 && memcmp(noted, s->digest, sizeof s->digest) != 0;
}

/* What the device knows of the head that it acknowledged last. The note is one step ahead of the counter where a process
   died between the two. */
static const uint8_t *
acknowledged(const meter *m)
{
    static const uint8_t unknown[PQE__NOTE_DIGEST_SIZE];

    if (m->note.value == m->value)
        return m->note.now;
    return m->value != UINT64_MAX && m->note.value == m->value + 1 ? m->note.before : unknown;
}

static verdict
judge(const stand *s, const meter *m)
{
    if (m->presence == NEVER_THERE)
        return s->told ? COUNTER_LOST : NOT_COUNTED;
    if (m->presence == GONE)
        return COUNTER_GONE;
    if (!s->told)
        return UNTOLD;
    if (s->counter < m->value)
        return OLDER;
    if (s->counter > m->value)
        return s->counter - m->value == 1 ? UNFINISHED : AHEAD;
    return contradicts(acknowledged(m), s) ? OTHER_HEAD : RIGHT;
}

/* The generation that the device acknowledged last; 0: it cannot be told. Every advance is one generation. */
static uint64_t
expected(const stand *s, const meter *m, verdict v)
{
    uint64_t behind = m->value - s->counter;

    if (v == OTHER_HEAD)
        return s->generation;
    return v == OLDER && behind <= UINT64_MAX - s->generation ? s->generation + behind : 0;
}

static pqe_status
refuse(const stand *s, const meter *m, verdict v, pqe_error *err)
{
    unsigned long long found = s->generation, wanted = expected(s, m, v);
    const char *what = "the vault's changes are counted by its device, and its head does not say so";

    if (v == OLDER)
        return pqe__fail(err, PQE_E_ROLLBACK, PQE_ORIGIN_DEVICE, 0,
                         "an older copy of the vault: its device expects generation %llu, this is generation %llu",
                         wanted, found);
    if (v == OTHER_HEAD)
        return pqe__fail(err, PQE_E_ROLLBACK, PQE_ORIGIN_DEVICE, 0,
                         "another copy of the vault: its device expects generation %llu as it acknowledged it, this "
                         "generation %llu is not that",
                         wanted, found);
    if (v == AHEAD)
        what = "the device's counter was turned back or replaced";
    else if (v == COUNTER_GONE)
        what = "the device's counter of the vault is gone";
    else if (v == COUNTER_LOST)
        what = "the vault's changes were counted by a device, and its backend counts none";
    return pqe__fail(err, PQE_E_ROLLBACK, PQE_ORIGIN_DEVICE, 0,
                     "%s: whether this generation %llu is the last cannot be told", what, found);
}

static pqe_status
look(const pqe__home *home, const stand *s, meter *m, verdict *v, pqe_error *err)
{
    pqe_status status = read_meter(home, m, err);

    *v = status == PQE_OK ? judge(s, m) : COUNTER_GONE;
    return status;
}

/* ---- advancing ---- */

static pqe_status
advance(const pqe__home *home, const pqe__counter_note *note, pqe_error *err)
{
    uint8_t bytes[PQE__COUNTER_NOTE_SIZE];

    pqe__counter_note_encode(note, bytes);
    return pqe__backend_counter_advance(home->backend, home->key, note->value, bytes, sizeof bytes, err);
}

/* Acknowledges the head as it is. The gate is held. */
static pqe_status
finish(const pqe__home *home, const stand *s, const meter *m, pqe_error *err)
{
    pqe__counter_note note = {.value = s->counter};

    memcpy(note.before, acknowledged(m), sizeof note.before);
    memcpy(note.now, s->digest, sizeof note.now);
    return advance(home, &note, err);
}

pqe_status
pqe__counter_start(const pqe__home *home, pqe__head_private *priv, pqe_error *err)
{
    meter m;
    pqe_status status = read_meter(home, &m, err);

    if (status == PQE_OK && m.presence == GONE)
        status = pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, 0, "the backend lost the counter that it just made");
    priv->has_counter = status == PQE_OK && m.presence == THERE;
    priv->counter = m.value;
    return status;
}

void
pqe__counter_move(pqe__txn *txn, const pqe__head_private *start)
{
    txn->debt.settled = true;
    txn->priv.has_counter = start->has_counter;
    txn->priv.counter = start->counter;
}

/* ---- admitting a head ---- */

#define LOOKS 5u /* where nothing can be locked and somebody else may be writing */

/* Before a refusal, and before an advance, all is looked at again with the gate held: until then another process may
   have gone on between the look at the head and the look at the counter. *again: do so. Where nothing can be locked, a few
   more looks must do. */
static pqe_status
look_closer(pqe_vault *vault, pqe__gate *gate, verdict v, unsigned tries, bool *again, pqe_error *err)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    uint32_t wait = v == UNFINISHED ? 0 : pqe__store_busy_ms(vault->store); /* who holds it is finishing it */
    pqe_status status;

    *again = false;
    if (gate->held)
        return PQE_OK;
    status = pqe__gate_enter(vault->store, gate, wait, err);
    *again = status == PQE_OK;
    if (v == UNFINISHED)
        return PQE_OK; /* nothing is lost if it stays so for now */
    if (status != PQE_E_READ_ONLY)
        return status;
    if ((*again = tries < LOOKS))
        nanosleep(&pause, NULL);
    return PQE_OK;
}

static pqe_status
read_once(pqe_vault *vault, pqe__session *session, uint32_t *epoch, pqe_error *err)
{
    pqe__head head = {0};
    bool reload = false;
    pqe_status status = pqe__store_begin(vault->store, false, err);

    if (status != PQE_OK)
        return status;
    status = pqe__session_read_head(vault, session, &head, &reload, err);
    *epoch = head.key_epoch;
    if (status == PQE_OK && reload)
        status = pqe__session_load(vault, session, NULL, err);
    pqe__store_rollback(vault->store);
    return status;
}

/* The head as it is now, into a session that has not started. */
static pqe_status
read_anew(pqe_vault *vault, pqe__session *session, pqe_error *err)
{
    pqe_error inner = {0};
    uint32_t epoch = 0;
    pqe_status status = read_once(vault, session, &epoch, &inner);

    if (pqe__session_overtaken(vault, status, epoch))
        return read_once(vault, session, &epoch, err);
    if (status != PQE_OK && err != NULL)
        *err = inner;
    return status;
}

pqe_status
pqe__counter_admit(pqe_vault *vault, pqe__session *session, pqe_error *err)
{
    const pqe__home home = {vault->backend, session->backend_key};
    pqe__gate gate = {.fd = -1};
    bool again = true;
    verdict v = NOT_COUNTED;
    meter m;
    stand s;
    pqe_status status = PQE_OK;

    if (!session->priv.has_counter && !pqe__backend_counts(vault->backend))
        return PQE_OK;
    for (unsigned tries = 0; status == PQE_OK && again; tries++) {
        again = false;
        if (tries != 0)
            status = read_anew(vault, session, err);
        if (status == PQE_OK)
            status = read_stand(session, &s, err);
        if (status == PQE_OK)
            status = look(&home, &s, &m, &v, err);
        if (status == PQE_OK && v != RIGHT && v != NOT_COUNTED)
            status = look_closer(vault, &gate, v, tries, &again, err);
    }
    if (status == PQE_OK && !may_pass(v))
        status = refuse(&s, &m, v, err);
    else if (status == PQE_OK && v == UNFINISHED && gate.held)
        finish(&home, &s, &m, NULL); /* if that fails, the next change says so */
    pqe__gate_leave(&gate);
    session->checked = session->generation;
    return status;
}

/* Of a session without a backend nobody can be asked. */
static bool
is_counted(const pqe__session *session)
{
    return session->backend_key != NULL && (session->priv.has_counter || session->accepting);
}

pqe_status
pqe__counter_check(pqe__txn *txn, bool *again, pqe_error *err)
{
    pqe__session *session = txn->vault->session;
    bool closer = true;
    verdict v = RIGHT;
    meter m;
    stand s;
    pqe__home home;
    pqe_status status;

    *again = false;
    if (!is_counted(session) || session->checked == session->generation || txn->debt.accepts)
        return PQE_OK;
    if ((status = read_stand(session, &s, err)) != PQE_OK)
        return status;
    home = pqe__session_pin(txn->vault);
    pqe__txn_pause(txn);
    while (status == PQE_OK && closer) {
        closer = false;
        status = look(&home, &s, &m, &v, err);
        if (status == PQE_OK && !may_pass(v))
            status = look_closer(txn->vault, &txn->debt.gate, v, txn->debt.tries++, &closer, err);
        /* Writers keep others from committing: what they have read is what there is. */
        *again = closer && !txn->write;
        closer = closer && txn->write;
    }
    pqe__session_unpin(txn->vault);
    if (status == PQE_OK)
        status = pqe__txn_resume(txn, err);
    if (status != PQE_OK || *again)
        return status;
    if (!may_pass(v))
        return refuse(&s, &m, v, err);
    session->checked = s.generation;
    return PQE_OK;
}

/* ---- changing ---- */

/* A copy is accepted as it is: the counter, made anew if it is gone, stands for it from now on. */
static pqe_status
accept(pqe__txn *txn, const stand *s, meter *m, verdict v, pqe_error *err)
{
    pqe__debt *d = &txn->debt;
    pqe_status status = PQE_OK;

    if (v == NOT_COUNTED)
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0,
                         "no device counts this vault's changes: there is no older copy to be told from the vault");
    if (may_pass(v))
        return pqe__fail(err, PQE_E_STATE, PQE_ORIGIN_API, 0,
                         "there is nothing to accept: the vault is as its device expects it");
    d->found = s->generation;
    d->expected = expected(s, m, v);
    if (v == COUNTER_GONE) {
        status = pqe__backend_counter_make(d->home.backend, d->home.key, err);
        if (status == PQE_OK)
            status = read_meter(&d->home, m, err);
        if (status == PQE_OK && m->presence != THERE)
            status = pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_BACKEND, 0, "the backend made no counter");
    }
    return status;
}

/* With the gate held and without key_lock. Leaves the meter such that its next value is the next head's. */
static pqe_status
settle(pqe__txn *txn, const stand *s, meter *m, pqe_error *err)
{
    pqe__debt *d = &txn->debt;
    verdict v;
    pqe_status status = look(&d->home, s, m, &v, err);

    if (status != PQE_OK)
        return status;
    if (d->accepts) {
        status = accept(txn, s, m, v, err);
        memcpy(d->note.before, acknowledged(m), sizeof d->note.before);
    } else if (!may_pass(v)) {
        status = refuse(s, m, v, err);
    } else {
        if (v == UNFINISHED && (status = finish(&d->home, s, m, err)) == PQE_OK)
            m->value++;
        memcpy(d->note.before, s->digest, sizeof d->note.before);
    }
    if (status == PQE_OK && m->presence == THERE && m->value == UINT64_MAX)
        status = pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_DEVICE, 0, "the device's counter is at its end");
    return status;
}

pqe_status
pqe__counter_prepare(pqe__txn *txn, pqe_error *err)
{
    pqe_vault *vault = txn->vault;
    pqe__debt *d = &txn->debt;
    meter m = {0};
    stand s;
    pqe_status status;

    if (d->due || d->settled || (!is_counted(vault->session) && !d->accepts))
        return PQE_OK;
    if ((status = read_stand(vault->session, &s, err)) != PQE_OK)
        return status;
    d->home = pqe__session_pin(vault);
    pqe__txn_pause(txn);
    status = pqe__gate_enter(vault->store, &d->gate, pqe__store_busy_ms(vault->store), err);
    if (status == PQE_OK)
        status = settle(txn, &s, &m, err);
    if (status == PQE_OK)
        status = pqe__txn_resume(txn, err);
    if (status != PQE_OK)
        return status;
    d->due = m.presence == THERE;
    d->settled = !d->due;
    d->note.value = d->due ? m.value + 1 : 0;
    txn->priv.has_counter = d->due;
    txn->priv.counter = d->note.value;
    return PQE_OK;
}

pqe_status
pqe__counter_note_head(pqe__txn *txn, pqe_error *err)
{
    uint8_t bytes[PQE__HEAD_MAX], tag[PQE__HEAD_TAG_SIZE];
    size_t len;
    pqe_status status;

    if (!txn->debt.due)
        return PQE_OK;
    status = pqe__store_get_head(txn->vault->store, bytes, &len, tag, err);
    return status == PQE_OK ? digest_of(bytes, len, txn->debt.note.now, err) : status;
}

pqe_status
pqe__counter_acknowledge(pqe__txn *txn, pqe_error *err)
{
    pqe_error inner = {0};
    pqe_status status;

    if (!txn->debt.due)
        return PQE_OK;
    status = advance(&txn->debt.home, &txn->debt.note, &inner);
    if (status != PQE_OK)
        pqe__set_error(err, status, inner.origin, inner.native,
                       "the change is stored, but its device could not acknowledge it, which the next unlock or change "
                       "makes up for: %s",
                       inner.message);
    return status;
}

void
pqe__counter_release(pqe__txn *txn)
{
    pqe__gate_leave(&txn->debt.gate);
    if (txn->debt.home.key != NULL)
        pqe__session_unpin(txn->vault);
    txn->debt.home.key = NULL;
}
