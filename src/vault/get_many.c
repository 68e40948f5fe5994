/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Getting many small artifacts: a window of names is looked up in one transaction, while other threads decrypt what was
 * found before. Only what goes as it should goes this way. A name that is not there, a use that counts or is to be asked
 * for, a body in a file, damage: those are got by pqe_get(), one by one in their turn, so that policy, log and errors are
 * the same for both.
 */
#include "vault/reader.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "util/pool.h"

#define WINDOW 128u /* names of one transaction */
#define GROUP 32u   /* names that are decrypted while the next are looked up */
#define ROOM ((size_t)512 << 10)

_Static_assert(ROOM >= PQE__INLINE_MAX, "the largest fits");

/* The caller's function. */
typedef struct receiver {
    pqe_got_fn fn;
    void *user;
} receiver;

typedef struct slot {
    pqe__found found;
    pqe__access access;
    pqe_artifact *artifact;
    uint8_t *content;
    size_t len;
    bool allowed; /* it was found and may be had: its wrap key is at hand */
    bool opened;  /* its content is there, and the metadata */
} slot;

typedef struct getting {
    pqe__handle handle;
    const char *const *names; /* of this window */
    uint8_t (*wrap)[32];      /* locked memory, one a slot */
    uint8_t *room;            /* contents */
    size_t used, count;
    pthread_mutex_t lock; /* between the end of a session and that of a window */
    bool ended;           /* the session has: what was there is wiped */
    size_t delivered;     /* the slot whose content the caller has; WINDOW: none */
    slot slots[WINDOW];
    atomic_size_t next; /* the slots to decrypt: from here to `end` */
    size_t end;
} getting;

/* Called with key_lock held for writing, when no thread decrypts. What the caller is looking at stays until it returns. */
static void
drop_keys(pqe__handle *handle)
{
    getting *g = (getting *)(void *)handle;

    pthread_mutex_lock(&g->lock);
    g->ended = true;
    pqe__wipe(g->wrap, WINDOW * sizeof *g->wrap);
    for (size_t i = 0; i < g->count; i++)
        if (i != g->delivered && g->slots[i].content != NULL)
            pqe__wipe(g->slots[i].content, g->slots[i].len);
    pthread_mutex_unlock(&g->lock);
}

/* ---- decrypting, on any thread ---- */

static pqe_status
read_row(void *user, uint64_t offset, uint8_t *buf, size_t len, pqe_error *err)
{
    const pqe__row *row = user;

    return pqe__inline_read(row->body, row->body_len, offset, buf, len, err);
}

static pqe_status
open_slot(const getting *g, slot *s)
{
    const pqe__record *r = &s->found.record;
    uint8_t *dek = pqe__secmem_alloc(PQE__KEY_SIZE);
    pqe__body_reader *body = NULL;
    size_t got = 0;
    pqe_status status = dek != NULL ? PQE_OK : PQE_E_NOMEM;

    if (status == PQE_OK)
        status = pqe__dek_unwrap(g->wrap[s - g->slots], &s->found, dek, NULL);
    if (status == PQE_OK)
        status = pqe__body_reader_new(dek, r->body_id, s->found.row.body_len, r->size_bytes, read_row, &s->found.row,
                                      &body, NULL);
    if (status == PQE_OK)
        status = pqe__body_reader_read_at(body, 0, s->content, s->len, &got, NULL);
    if (status == PQE_OK)
        status = pqe__artifact_new(&s->found, &s->artifact, NULL);
    pqe__body_reader_free(&body);
    pqe__secmem_free(dek);
    return status;
}

static void
open_slots(void *arg)
{
    getting *g = arg;
    size_t i;

    while ((i = atomic_fetch_add(&g->next, 1)) < g->end) {
        slot *s = &g->slots[i];
        if (!s->allowed || pqe__session_enter(g->handle.vault, NULL) != PQE_OK)
            continue;
        s->opened = !g->ended && open_slot(g, s) == PQE_OK;
        pqe__session_leave(g->handle.vault);
    }
}

/* ---- looking up ---- */

static bool
may_go(pqe__txn *txn, slot *s, const uint8_t **wrap)
{
    const pqe__found *f = &s->found;

    return pqe__access_decide(txn, f, &s->access, NULL) == PQE_OK && s->access.step == PQE__STEP_GO &&
           f->row.is_inline && f->row.body_len == f->record.stored_bytes && f->record.size_bytes <= PQE__INLINE_MAX &&
           pqe__wrap_key(txn, txn->vault->session->keys, f->row.key_id, wrap, NULL) == PQE_OK;
}

/* Looks up the window's next name; false if there is no room for its content. */
static bool
look_up(getting *g, pqe__txn *txn)
{
    slot *s = &g->slots[g->count];
    const char *name = g->names[g->count];
    const uint8_t *wrap = NULL;

    memset(s, 0, sizeof *s);
    if (pqe__check_name(name, NULL) == PQE_OK && pqe__find(txn, name, true, &s->found, NULL) == PQE_OK &&
        !may_go(txn, s, &wrap))
        wrap = NULL;
    if (wrap != NULL && s->found.record.size_bytes > ROOM - g->used) {
        pqe__found_free(&s->found);
        pqe__wipe(&s->access, sizeof s->access);
        return false;
    }
    if (wrap != NULL) {
        s->allowed = true;
        memcpy(g->wrap[g->count], wrap, sizeof g->wrap[0]);
        s->len = (size_t)s->found.record.size_bytes;
        s->content = g->room + g->used;
        g->used += s->len;
    } else {
        pqe__found_free(&s->found);
    }
    g->count++;
    return true;
}

/* Up to a group of names. *more: the window goes on. */
static void
look_up_group(getting *g, pqe__txn *txn, size_t names, bool *more)
{
    size_t end = g->count + GROUP < names ? g->count + GROUP : names;

    *more = true;
    while (*more && g->count < end)
        *more = look_up(g, txn);
    *more = *more && g->count < names;
}

/* The caller's thread decrypts too; the session may end meanwhile, and is not held while others are waited for. */
static void
finish_job(getting *g, pqe__job *job)
{
    open_slots(g);
    pqe__pool_finish(job);
}

static void
skip_window(getting *g)
{
    pthread_mutex_lock(&g->lock);
    memset(&g->slots[0], 0, sizeof g->slots[0]);
    g->count = 1;
    pthread_mutex_unlock(&g->lock);
}

/* A window without a transaction, or whose session ends meanwhile, is left to pqe_get(), which says why. */
static void
fill_window(getting *g, pqe_vault *vault, size_t names)
{
    pqe__job job;
    pqe__txn txn;
    bool more = true, running = false;

    if (pqe__txn_begin(vault, false, &txn, NULL) != PQE_OK) {
        skip_window(g);
        return;
    }
    g->ended = false;
    g->delivered = WINDOW;
    while (more) {
        size_t first = g->count;
        look_up_group(g, &txn, names, &more);
        pqe__txn_pause(&txn);
        if (running)
            finish_job(g, &job);
        atomic_store(&g->next, first);
        g->end = g->count;
        pqe__pool_start(&job, open_slots, g, pqe_threads() - 1);
        running = true;
        more = more && pqe__txn_resume(&txn, NULL) == PQE_OK;
    }
    pqe__txn_abort(&txn);
    finish_job(g, &job);
}

/* ---- handing out ---- */

/* True if the slot's content may be handed out: of a session that still runs. */
static bool
take_slot(getting *g, size_t i)
{
    bool there;

    if (!g->slots[i].opened || pqe__session_enter(g->handle.vault, NULL) != PQE_OK)
        return false;
    there = !g->ended;
    if (there)
        g->delivered = i;
    pqe__session_leave(g->handle.vault);
    return there;
}

static bool
hand_out(getting *g, pqe_vault *vault, size_t i, size_t index, const receiver *to, pqe_status *status, pqe_error *err)
{
    slot *s = &g->slots[i];
    pqe_artifact *artifact = NULL;
    void *content = NULL;
    pqe_error error = {0};
    pqe_got got = {.index = index};
    bool go_on = true;

    if (take_slot(g, i)) {
        pqe__access_log(vault, &s->access, g->names[i], PQE_OK, &error);
        got.artifact = s->artifact;
        got.content = s->content;
        got.len = s->len;
    } else {
        got.status = pqe_get(vault, g->names[i], &content, &got.len, &artifact, &error);
        got.content = content;
        got.artifact = artifact;
        got.error = got.status != PQE_OK ? &error : NULL;
    }
    if (got.status != PQE_OK && (*status == PQE_OK || got.status == PQE_E_LOCKED)) {
        *status = got.status;
        pqe__set_error(err, error.status, error.origin, error.native, "%s", error.message);
    }
    if (got.status == PQE_E_LOCKED) { /* and all that follow would be */
        go_on = false;
    } else if (!to->fn(to->user, &got)) {
        *status = pqe__fail(err, PQE_E_CANCELLED, PQE_ORIGIN_API, 0, "the getting was stopped");
        go_on = false;
    }
    pqe_content_free(&content, got.len);
    pqe_artifact_free(&artifact);
    return go_on;
}

static void
clear_window(getting *g)
{
    pthread_mutex_lock(&g->lock);
    for (size_t i = 0; i < g->count; i++) {
        slot *s = &g->slots[i];
        pqe__found_free(&s->found);
        pqe_artifact_free(&s->artifact);
        pqe__wipe(&s->access, sizeof s->access);
    }
    pqe__wipe(g->room, g->used);
    pqe__wipe(g->wrap, WINDOW * sizeof *g->wrap);
    g->count = g->used = 0;
    pthread_mutex_unlock(&g->lock);
}

static pqe_status
get_all(getting *g, pqe_vault *vault, const char *const *names, size_t count, const receiver *to, pqe_error *err)
{
    pqe_status status = PQE_OK;
    bool go_on = true;

    for (size_t at = 0, n = 0; at < count && go_on; at += n) {
        g->names = names + at;
        fill_window(g, vault, count - at < WINDOW ? count - at : WINDOW);
        n = g->count;
        for (size_t i = 0; i < n && go_on; i++)
            go_on = hand_out(g, vault, i, at + i, to, &status, err);
        clear_window(g);
    }
    return status;
}

/* ---- public ---- */

static void
getting_free(getting *g)
{
    pqe__secmem_free(g->wrap);
    if (g->room != NULL)
        munmap(g->room, ROOM);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static pqe_status
getting_new(getting **out, pqe_error *err)
{
    getting *g = calloc(1, sizeof *g);
    void *room;

    if (g == NULL)
        return pqe__fail_nomem(err);
    pthread_mutex_init(&g->lock, NULL);
    g->handle.drop_keys = drop_keys;
    g->delivered = WINDOW;
    room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g->room = room != MAP_FAILED ? room : NULL;
    g->wrap = pqe__secmem_alloc(WINDOW * sizeof *g->wrap);
    if (g->room == NULL || g->wrap == NULL) {
        getting_free(g);
        return pqe__fail_nomem(err);
    }
    madvise(room, ROOM, MADV_DONTDUMP); /* advice: failure leaves memory usable */
    *out = g;
    return PQE_OK;
}

pqe_status
pqe_get_many(pqe_vault *vault, const char *const *names, size_t count, pqe_got_fn fn, void *user, pqe_error *err)
{
    receiver to = {fn, user};
    getting *g;
    pqe_status status = pqe__vault_usable(vault, err);

    if (status != PQE_OK)
        return status;
    if (fn == NULL || (names == NULL && count != 0))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0,
                         "names and a function for what they give are required");
    if ((status = pqe__session_enter(vault, err)) != PQE_OK)
        return status;
    pqe__session_leave(vault);
    if ((status = getting_new(&g, err)) != PQE_OK)
        return status;
    pqe__handle_add(vault, &g->handle);
    status = get_all(g, vault, names, count, &to, err);
    pqe__handle_remove(&g->handle);
    getting_free(g);
    return status;
}
