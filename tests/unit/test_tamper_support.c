/* SPDX-License-Identifier: Apache-2.0 */
/* A vault with a known history, and a probe that compares what a damaged copy of it says with that history. */
#include "unit/test_tamper_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vault/internal.h"

static const struct {
    const char *name;
    size_t len;
} plan[ITEMS] = {
    [ITEM_EMPTY] = {"empty", 0},    [ITEM_TWIN_A] = {"twin a", 500},           [ITEM_TWIN_B] = {"twin b", 500},
    [ITEM_PAGES] = {"pages", 5000}, [ITEM_FILE_A] = {"file a", 70000},         [ITEM_FILE_B] = {"file b", 70000},
    [ITEM_OLD] = {"renewed", 300},  [ITEM_OLD_FILE] = {"renewed file", 66000}, [ITEM_GONE] = {"gone", 300},
    [ITEM_NEW] = {"renewed", 300},  [ITEM_NEW_FILE] = {"renewed file", 66000},
};

bool
bed_long_form(void)
{
    const char *beds = getenv("PQE_BEDS");

    return beds != NULL && strcmp(beds, "1") == 0;
}

/* ---- making the vault ---- */

static void
remember_state(bed *b, pqe_vault *v, uint32_t present)
{
    pqe_vault_info info;

    assert_pqe_ok(pqe_vault_get_info(v, &info, err));
    assert_true(b->state_count < BED_STATES);
    b->states[b->state_count++] = (bed_state){.generation = info.generation, .present = present};
}

static uint32_t
last_present(const bed *b)
{
    return b->states[b->state_count - 1].present;
}

/* Where the item lies: what an attacker can see and the test needs to name. */
static void
locate_item(bed_item *it, pqe_vault *v)
{
    pqe__txn txn;
    pqe__found f;

    assert_pqe_ok(pqe__txn_begin(v, false, &txn, err));
    assert_pqe_ok(pqe__find(&txn, it->id, false, &f, err));
    it->rowid = f.row.rowid;
    if (!f.row.is_inline) {
        char hex[2 * PQE__ID_SIZE + 1];
        pqe__hex_encode(f.row.file, PQE__ID_SIZE, hex);
        memcpy(it->file_hex, hex, sizeof hex);
        snprintf(it->body, sizeof it->body, "bodies/%.2s/%s", hex, hex);
    }
    pqe__found_free(&f);
    pqe__txn_abort(&txn);
}

static void
put_item(bed *b, pqe_vault *v, int item)
{
    const char *tags[] = {"tag", plan[item].name};
    pqe_put_opts o = {.size = sizeof o,
                      .name = plan[item].name,
                      .kind = PQE_KIND_MODEL_WEIGHTS,
                      .version = "1.2",
                      .description = "a description",
                      .tags = tags,
                      .tag_count = 2};
    bed_item *it = &b->items[item];
    uint32_t present = last_present(b);
    pqe_artifact *a = NULL;

    it->name = plan[item].name;
    it->len = plan[item].len;
    it->content = make_content(it->len, (uint32_t)item + 1);
    assert_pqe_ok(pqe_put(v, &o, it->content, it->len, &a, err));
    snprintf(it->id, sizeof it->id, "%s", a->artifact_id);
    snprintf(it->hash, sizeof it->hash, "%s", a->content_hash);
    pqe_artifact_free(&a);
    for (int i = 0; i < ITEMS; i++)
        if (b->items[i].name != NULL && strcmp(b->items[i].name, it->name) == 0)
            present &= ~(1u << i);
    remember_state(b, v, present | 1u << item);
    locate_item(it, v);
}

static void
relock(pqe_vault *v)
{
    pqe_vault_lock(v);
    assert_pqe_ok(pqe_vault_unlock(v, 0, err));
}

static void
make_once(bed *b)
{
    static const int first[] = {ITEM_EMPTY, ITEM_TWIN_A, ITEM_FILE_A, ITEM_PAGES, ITEM_OLD, ITEM_OLD_FILE, ITEM_GONE};
    pqe_backend *backend;
    pqe_vault_info info;
    pqe_vault *v;

    memset(b, 0, sizeof *b);
    b->scratch = scratch_make();
    b->clean = strdup(scratch_path(b->scratch, "clean"));
    b->older = strdup(scratch_path(b->scratch, "older"));
    b->wal = strdup(scratch_path(b->scratch, "wal"));
    b->dir = strdup(scratch_path(b->scratch, "vault"));
    backend = bed_backend(b);
    v = vault_create(b->clean, backend);
    assert_pqe_ok(pqe_vault_get_info(v, &info, err));
    memcpy(b->vault_id, info.vault_id, sizeof b->vault_id);
    remember_state(b, v, 0);
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++)
        put_item(b, v, first[i]);
    relock(v);
    put_item(b, v, ITEM_TWIN_B);
    put_item(b, v, ITEM_FILE_B);
    pqe_vault_close(&v);
    scratch_copy(b->clean, b->older);
    v = vault_open(b->clean, backend);
    assert_pqe_ok(pqe_delete(v, "gone", err));
    remember_state(b, v, last_present(b) & ~(1u << ITEM_GONE));
    put_item(b, v, ITEM_NEW_FILE);
    put_item(b, v, ITEM_NEW);
    scratch_copy(b->clean, b->wal);
    pqe_vault_close(&v);
    pqe_backend_close(&backend);
    b->index = file_read(scratch_path(b->clean, "index.db"), &b->index_len);
    bed_restore(b);
}

/* Tests expect that damage to one artifact's entries leaves the others' provable: no two entries may share a bucket,
   the first 18 bits of a tag. They seldom do. */
void
bed_make(bed *b)
{
    make_once(b);
    while (bed_sql_int(b, "SELECT count(*) - count(DISTINCT substr(tag, 1, 2)) FROM entry") != 0) {
        bed_free(b);
        make_once(b);
    }
    bed_restore(b); /* the question left files beside the index */
}

void
bed_free(bed *b)
{
    free(b->index);
    for (int i = 0; i < ITEMS; i++)
        free(b->items[i].content);
    free(b->clean);
    free(b->older);
    free(b->wal);
    free(b->dir);
    scratch_remove(b->scratch);
}

pqe_backend *
bed_backend(const bed *b)
{
    return backend_keyfile(b->scratch);
}

void
bed_restore(const bed *b)
{
    scratch_copy(b->clean, b->dir);
}

void
bed_restore_index(const bed *b)
{
    static const char *const beside[] = {"index.db-wal", "index.db-shm", "index.db-journal"};

    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++)
        unlink(scratch_path(b->dir, beside[i]));
    file_write(scratch_path(b->dir, "index.db"), b->index, b->index_len);
}

bool
bed_has(const bed *b, int item)
{
    return last_present(b) >> item & 1;
}

const char *
bed_body(const bed *b, int item)
{
    assert_true(b->items[item].body[0] != '\0');
    return scratch_path(b->dir, b->items[item].body);
}

/* ---- files and SQL ---- */

uint8_t *
file_read(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data;
    long size;

    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    size = ftell(f);
    assert_true(size >= 0);
    rewind(f);
    data = malloc((size_t)size + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, (size_t)size, f), (size_t)size);
    fclose(f);
    *len = (size_t)size;
    return data;
}

void
file_write(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

void
bed_sql(const bed *b, const char *format, ...)
{
    char *statement = NULL, *fast = NULL;
    va_list args;

    va_start(args, format);
    assert_true(vasprintf(&statement, format, args) >= 0);
    va_end(args);
    assert_true(asprintf(&fast, "PRAGMA synchronous=OFF; %s", statement) >= 0);
    sql(b->dir, fast);
    free(fast);
    free(statement);
}

int64_t
bed_sql_int(const bed *b, const char *format, ...)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    char *statement = NULL;
    int64_t value;
    va_list args;

    va_start(args, format);
    assert_true(vasprintf(&statement, format, args) >= 0);
    va_end(args);
    assert_int_equal(sqlite3_open(scratch_path(b->dir, "index.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, statement, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    value = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    free(statement);
    return value;
}

/* ---- the probe ---- */

typedef struct probe {
    const bed *bed;
    pqe_vault *vault;
    uint32_t present; /* what the vault should hold */
    uint32_t listed;
    uint64_t generation;
    bool ok;
    probe_result *result;
} probe;

__attribute__((format(printf, 2, 3))) static void
wrong(probe *p, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(stderr, "wrong answer: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    p->ok = false;
}

/* What a damaged vault may say. Not among these: "not found", "locked", "no memory", "argument". */
static bool
speaks_of_damage(pqe_status status)
{
    return status == PQE_E_TAMPERED || status == PQE_E_DECRYPTION || status == PQE_E_VERSION ||
           status == PQE_E_NOT_A_VAULT || status == PQE_E_DENIED || status == PQE_E_IO || status == PQE_E_READ_ONLY;
}

/* True if the call succeeded and its answer is to be compared. */
static bool
answered(probe *p, pqe_status status, const char *what, const char *name)
{
    if (status == PQE_OK)
        return true;
    p->result->noticed = true;
    if (!speaks_of_damage(status))
        wrong(p, "%s %s: %s", what, name, pqe_status_name(status));
    return false;
}

static void
compare_artifact(probe *p, const pqe_artifact *a, int item)
{
    const bed_item *it = &p->bed->items[item];

    if (strcmp(a->artifact_id, it->id) != 0 || strcmp(a->name, it->name) != 0 || a->size_bytes != it->len ||
        strcmp(a->content_hash, it->hash) != 0 || a->kind != PQE_KIND_MODEL_WEIGHTS || strcmp(a->version, "1.2") != 0 ||
        strcmp(a->description, "a description") != 0 || a->tag_count != 2 || strcmp(a->tags[0], "tag") != 0 ||
        strcmp(a->tags[1], it->name) != 0)
        wrong(p, "metadata of %s", it->name);
}

static void
ask_absent(probe *p, const char *key)
{
    pqe_artifact *a = NULL;
    pqe_status get = get_status(p->vault, key), info = pqe_info(p->vault, key, &a, NULL);

    if (get == PQE_OK || info == PQE_OK)
        wrong(p, "%s is not in the vault and was found", key);
    if (get != PQE_E_NOT_FOUND)
        answered(p, get, "get", key);
    if (info != PQE_E_NOT_FOUND)
        answered(p, info, "info", key);
    pqe_artifact_free(&a);
}

/* Content and metadata by id, metadata by name. */
static void
ask_item(probe *p, int item)
{
    const bed_item *it = &p->bed->items[item];
    pqe_status *get = &p->result->get[item], *by_name = &p->result->by_name[item];
    pqe_artifact *a = NULL, *meta = NULL;
    void *content = NULL;
    size_t len = 0;

    *get = pqe_get(p->vault, it->id, &content, &len, &a, NULL);
    if (answered(p, *get, "get", it->id)) {
        if (len != it->len || (len != 0 && memcmp(content, it->content, len) != 0))
            wrong(p, "content of %s", it->name);
        compare_artifact(p, a, item);
    } else if (content != NULL || a != NULL || len != 0) {
        wrong(p, "get of %s failed and left something", it->name);
    }
    *by_name = pqe_info(p->vault, it->name, &meta, NULL);
    if (answered(p, *by_name, "info", it->name))
        compare_artifact(p, meta, item);
    else if (meta != NULL)
        wrong(p, "info of %s failed and left something", it->name);
    pqe_content_free(&content, len);
    pqe_artifact_free(&a);
    pqe_artifact_free(&meta);
}

static void
ask_items(probe *p)
{
    for (int i = 0; i < ITEMS; i++) {
        if (p->present >> i & 1)
            ask_item(p, i);
        else if (p->bed->items[i].name != NULL)
            ask_absent(p, p->bed->items[i].id);
    }
    if ((p->present >> ITEM_GONE & 1) == 0)
        ask_absent(p, p->bed->items[ITEM_GONE].name);
    ask_absent(p, "no such artifact");
}

static bool
see_listed(void *user, const pqe_artifact *a)
{
    probe *p = user;

    for (int i = 0; i < ITEMS; i++) {
        if ((p->present >> i & 1) == 0 || strcmp(a->artifact_id, p->bed->items[i].id) != 0)
            continue;
        if (p->listed >> i & 1)
            wrong(p, "%s is listed twice", a->name);
        p->listed |= 1u << i;
        compare_artifact(p, a, i);
        return true;
    }
    wrong(p, "%s (%s) is listed and not in the vault", a->name, a->artifact_id);
    return true;
}

static void
ask_info(probe *p)
{
    pqe_vault_info info;

    if (!answered(p, pqe_vault_get_info(p->vault, &info, NULL), "vault info", ""))
        return;
    if (strcmp(info.vault_id, p->bed->vault_id) != 0 || strcmp(info.backend, "file") != 0 ||
        strcmp(info.key_source, "key-file") != 0 || info.generation != p->generation ||
        info.artifact_count != (uint64_t)__builtin_popcount(p->present))
        wrong(p, "vault info");
}

static void
ask_everything(probe *p)
{
    probe_result *r = p->result;

    ask_info(p);
    ask_items(p);
    p->listed = 0;
    r->list = pqe_list(p->vault, see_listed, p, NULL);
    if (answered(p, r->list, "list", "") && p->listed != p->present)
        wrong(p, "the list is not complete");
}

/* Changes must be whole and leave the rest right. */
static void
ask_changes(probe *p)
{
    static const char fresh[] = "a new artifact";
    pqe_put_opts o = {.size = sizeof o, .name = "fresh", .kind = PQE_KIND_OTHER};
    pqe_status status = pqe_put(p->vault, &o, fresh, sizeof fresh, NULL, NULL);
    void *content = NULL;
    size_t len = 0;

    if (answered(p, status, "put", "fresh")) {
        status = pqe_get(p->vault, "fresh", &content, &len, NULL, NULL);
        if (answered(p, status, "get", "fresh") && (len != sizeof fresh || memcmp(content, fresh, len) != 0))
            wrong(p, "content of fresh");
        pqe_content_free(&content, len);
    }
    status = pqe_delete(p->vault, p->bed->items[ITEM_TWIN_A].name, NULL);
    if (answered(p, status, "delete", "twin a"))
        p->present &= ~(1u << ITEM_TWIN_A);
    ask_items(p);
}

static bool
find_state(probe *p, bool any)
{
    for (size_t i = any ? 0 : p->bed->state_count - 1; i < p->bed->state_count; i++) {
        if (p->bed->states[i].generation != p->generation)
            continue;
        p->present = p->bed->states[i].present;
        return true;
    }
    wrong(p, "the vault is at generation %llu", (unsigned long long)p->generation);
    return false;
}

static pqe_status
verify_afresh(const char *dir, pqe_backend *backend)
{
    pqe_vault_opts o = {.size = sizeof o, .dir = dir, .backend = backend};
    pqe_vault *v = NULL;
    pqe_status status = pqe_vault_open(&o, &v, NULL);

    if (status == PQE_OK)
        status = pqe_vault_unlock(v, 0, NULL);
    if (status == PQE_OK)
        status = pqe_verify(v, NULL, NULL, NULL, NULL, NULL);
    pqe_vault_close(&v);
    return status;
}

/* SQLite examines a page when it is first loaded: damage that harms nothing is an error once and then none. So where
   verify on the same handle comes late, one on a fresh handle decides. */
static void
ask_verify(probe *p, const char *dir, pqe_backend *backend)
{
    probe_result *r = p->result;

    r->verify = pqe_verify(p->vault, NULL, NULL, NULL, NULL, NULL);
    if (r->verify == PQE_OK && r->noticed)
        r->verify = verify_afresh(dir, backend);
    if (r->verify == PQE_OK && r->noticed)
        wrong(p, "verify finds nothing wrong");
    answered(p, r->verify, "verify", "");
}

bool
bed_probe(const bed *b, pqe_backend *backend, const char *dir, unsigned flags, probe_result *out)
{
    pqe_vault_opts o = {.size = sizeof o, .dir = dir, .backend = backend};
    pqe_vault *v = NULL;
    pqe_vault_info info;
    probe p = {.bed = b, .ok = true, .result = out};

    memset(out, 0, sizeof *out);
    pqe_vault_peek(dir, &info, NULL); /* nothing of it is authenticated; it must not crash */
    out->open = pqe_vault_open(&o, &v, NULL);
    if (out->open == PQE_OK)
        out->open = pqe_vault_unlock(v, 0, NULL);
    if (answered(&p, out->open, "open", "")) {
        p.vault = v;
        out->generation = p.generation = v->session->generation;
        if (find_state(&p, (flags & PROBE_ANY_STATE) != 0))
            ask_everything(&p);
        if ((flags & PROBE_VERIFY) != 0)
            ask_verify(&p, dir, backend);
        if ((flags & PROBE_CHANGE) != 0)
            ask_changes(&p);
    } else {
        for (int i = 0; i < ITEMS; i++)
            out->get[i] = out->by_name[i] = out->open;
        out->list = out->verify = out->open;
    }
    pqe_vault_close(&v);
    return p.ok;
}

probe_result
bed_ask(const bed *b, unsigned flags)
{
    pqe_backend *backend = bed_backend(b);
    probe_result r;

    assert_true(bed_probe(b, backend, b->dir, flags, &r));
    pqe_backend_close(&backend);
    return r;
}
