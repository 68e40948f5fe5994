/* SPDX-License-Identifier: Apache-2.0 */
/* Verifying: the index against the head, then every body chunk by chunk with its content hash recomputed. */
#include "vault/reader.h"
#include "vault/recovery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/grow.h"

typedef struct verification {
    pqe_vault *vault;
    pqe__txn *txn; /* the one under way, left while the application is called: expiry does not wait for it */
    pqe_verify_fn fn;
    void *user;
    pqe_verify_summary summary;
    pqe_status first; /* status of the first damage found */
    pqe_error first_error;
    bool stopped;
} verification;

static pqe_status
report(verification *v, pqe_status status, const pqe_artifact *artifact, const pqe_error *error, uint64_t bytes,
       pqe_error *err)
{
    pqe_finding finding = {.status = status, .artifact = artifact, .bytes = bytes};
    pqe_status resumed;
    bool go_on;

    finding.message = status == PQE_OK ? "" : error->message;
    v->summary.bytes += bytes;
    if (status != PQE_OK) {
        v->summary.damaged++;
        if (v->first == PQE_OK) {
            v->first = status;
            v->first_error = *error;
        }
    }
    if (v->fn == NULL)
        return PQE_OK;
    if (v->txn != NULL)
        pqe__txn_pause(v->txn);
    go_on = v->fn(v->user, &finding);
    if (v->txn != NULL && (resumed = pqe__txn_resume(v->txn, err)) != PQE_OK) {
        v->stopped = true;
        return resumed;
    }
    if (go_on)
        return PQE_OK;
    v->stopped = true;
    return pqe__fail(err, PQE_E_CANCELLED, PQE_ORIGIN_API, 0, "the verification was stopped");
}

/* These say nothing about the artifact and end the verification. */
static bool
is_about_us(pqe_status status, const pqe_error *error)
{
    switch (status) {
    case PQE_E_TAMPERED:
    case PQE_E_DECRYPTION:
    case PQE_E_VERSION:
    case PQE_E_LIMIT:
        return false;
    case PQE_E_IO:
        return error->native != EIO; /* the disk cannot give it back any more */
    default:
        return status != PQE_OK;
    }
}

/* ---- one artifact ---- */

/* Every chunk, and the content against what the record says of it. A hash that was deferred is computed now: *fresh. */
static pqe_status
check_content(pqe_reader *r, uint64_t *bytes, uint8_t fresh[32], pqe_error *err)
{
    bool deferred = r->hash_algorithm == PQE__RECORD_HASH_DEFERRED;
    pqe_status status;

    *bytes = 0;
    status = pqe__reader_check_commitment(r, err);
    if (status == PQE_OK)
        status = pqe__reader_hash(r, deferred ? PQE__RECORD_HASH_SHA3_256 : r->hash_algorithm, fresh, bytes, err);
    if (status == PQE_OK && !deferred && memcmp(fresh, r->recorded_hash, sizeof r->recorded_hash) != 0)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_FORMAT, 0, "the content does not have the recorded hash");
    return status;
}

pqe_status
pqe__reader_check_hash(pqe_reader *reader, uint64_t *bytes, pqe_error *err)
{
    uint8_t fresh[32];

    return check_content(reader, bytes, fresh, err);
}

/* Binds what was computed; *bound is the metadata then, NULL where nothing was to be bound or could be. *failed: it could
   not be written, which says nothing about the artifact. */
static pqe_status
bind_fresh(verification *v, pqe_reader *r, const uint8_t fresh[32], pqe_artifact **bound, bool *failed, pqe_error *err)
{
    pqe_status status;

    *bound = NULL;
    *failed = false;
    if (r->hash_algorithm != PQE__RECORD_HASH_DEFERRED || pqe__store_read_only(v->vault->store))
        return PQE_OK;
    status =
        pqe__bind(v->vault, r->artifact->artifact_id, r->recorded_hash, PQE__RECORD_HASH_SHA3_256, fresh, bound, err);
    if (status == PQE_E_NOT_FOUND) /* removed or replaced since it was opened */
        return PQE_OK;
    *failed = status != PQE_OK && status != PQE_E_TAMPERED && status != PQE_E_DECRYPTION;
    return status;
}

static pqe_status
verify_artifact(verification *v, const char *name_or_id, bool may_be_gone, pqe_error *err)
{
    pqe_reader *r = NULL;
    pqe_artifact *artifact = NULL;
    pqe_error error = {0};
    uint8_t fresh[32];
    bool failed = false;
    uint64_t bytes = 0;
    pqe_status status = pqe__reader_open_check(v->vault, name_or_id, &r, &error);

    if (status == PQE_OK)
        status = check_content(r, &bytes, fresh, &error);
    if (status == PQE_OK)
        status = bind_fresh(v, r, fresh, &artifact, &failed, &error);
    if (status == PQE_E_NOT_FOUND && may_be_gone)
        return PQE_OK; /* removed or replaced since the index was read */
    if (status == PQE_E_NOT_FOUND || failed || is_about_us(status, &error)) {
        pqe_reader_close(&r);
        return pqe__fail(err, status, error.origin, error.native, "%s", error.message);
    }
    v->summary.artifacts++;
    /* Where only the body is damaged the metadata still say whose it is. */
    if (r == NULL && pqe_info(v->vault, name_or_id, &artifact, NULL) != PQE_OK)
        artifact = NULL;
    status = report(v, status, r != NULL && artifact == NULL ? pqe_reader_artifact(r) : artifact, &error, bytes, err);
    pqe_artifact_free(&artifact);
    pqe_reader_close(&r);
    return status;
}

/* ---- the index ---- */

typedef struct index_check {
    verification *v;
    pqe__txn *txn;
    uint8_t (*ids)[PQE__ID_SIZE];
    size_t count, capacity;
    uint64_t name_entries, id_entries, identity_entries;
    size_t round;
    uint8_t (*damaged)[PQE__DIGEST_SIZE]; /* rows reported: a name and an id lead to each */
    size_t damaged_count, damaged_capacity;
} index_check;

static pqe_status
remember_id(index_check *c, const uint8_t id[PQE__ID_SIZE], pqe_error *err)
{
    void *room = pqe__grow(c->ids, c->count, &c->capacity, sizeof *c->ids);

    if (room == NULL)
        return pqe__fail_nomem(err);
    c->ids = room;
    memcpy(c->ids[c->count++], id, PQE__ID_SIZE);
    return PQE_OK;
}

/* *is_new is false where that row was remembered before. */
static pqe_status
remember_damaged(index_check *c, const pqe__entry *entry, bool *is_new, pqe_error *err)
{
    void *room = pqe__grow(c->damaged, c->damaged_count, &c->damaged_capacity, sizeof *c->damaged);

    *is_new = false;
    if (room == NULL)
        return pqe__fail_nomem(err);
    c->damaged = room;
    *is_new = true;
    for (size_t i = 0; i < c->damaged_count && *is_new; i++)
        *is_new = memcmp(c->damaged[i], entry->digest, PQE__DIGEST_SIZE) != 0;
    if (*is_new)
        memcpy(c->damaged[c->damaged_count++], entry->digest, PQE__DIGEST_SIZE);
    return PQE_OK;
}

static pqe_status
check_secret(index_check *c, const pqe__entry *entry, pqe_error *err)
{
    pqe__secret_row row;
    pqe_status status = pqe__secret_fetch(c->txn->vault->store, entry->rowid, &row, err);

    if (status == PQE_OK && memcmp(row.digest, entry->digest, sizeof row.digest) != 0)
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "a session secret was altered");
    if (status == PQE_OK && (row.sealed_len == sizeof row.sealed) != (c->txn->vault->session->keys->recipient != NULL))
        status = pqe__fail(err, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0, "a session secret is not sealed for recovery");
    return status;
}

static pqe_status
check_identity(index_check *c, const pqe__entry *entry, pqe_error *err)
{
    pqe__identity_found f;
    pqe_status status = pqe__identity_find_entry(c->txn, entry, &f, err);

    pqe__identity_found_free(&f);
    return status;
}

static pqe_status
check_entry(void *user, const pqe__entry *entry, pqe_error *err)
{
    index_check *c = user;
    pqe__found f = {0};
    pqe_error error = {0};
    bool is_new;
    pqe_status status, remembered;

    if ((status = pqe__txn_breathe(c->txn, ++c->round, err)) != PQE_OK) {
        c->v->stopped = true;
        return status;
    }
    c->name_entries += entry->kind == PQE__ENTRY_NAME;
    c->id_entries += entry->kind == PQE__ENTRY_ID;
    c->identity_entries += entry->kind == PQE__ENTRY_IDENTITY;
    if (entry->kind == PQE__ENTRY_SECRET) {
        status = check_secret(c, entry, &error);
    } else if (entry->kind == PQE__ENTRY_IDENTITY || entry->kind == PQE__ENTRY_IDENTITY_NAME) {
        status = check_identity(c, entry, &error);
    } else {
        status = pqe__find_entry(c->txn, entry, false, &f, &error);
        if (status == PQE_OK && entry->kind == PQE__ENTRY_NAME)
            status = remember_id(c, f.record.artifact_id, &error);
        pqe__found_free(&f);
    }
    if (status == PQE_OK)
        return PQE_OK;
    if (is_about_us(status, &error))
        return pqe__fail(err, status, error.origin, error.native, "%s", error.message);
    if ((remembered = remember_damaged(c, entry, &is_new, err)) != PQE_OK)
        return remembered;
    return is_new ? report(c->v, status, NULL, &error, 0, err) : PQE_OK;
}

static pqe_status
report_if_damaged(verification *v, pqe_status status, const pqe_error *error, pqe_error *err)
{
    if (status == PQE_OK)
        return PQE_OK;
    if (is_about_us(status, error) || v->stopped)
        return pqe__fail(err, status, error->origin, error->native, "%s", error->message);
    return report(v, status, NULL, error, 0, err);
}

static pqe_status
check_identity_rows(index_check *c, pqe_error *err)
{
    pqe_error error = {0};
    uint64_t rows = 0;
    pqe_status found = pqe__identity_row_count(c->txn->vault->store, &rows, &error);

    if (found == PQE_OK && rows != c->identity_entries)
        found = pqe__fail(&error, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0,
                          "the index holds another number of identities than it leads to");
    return report_if_damaged(c->v, found, &error, err);
}

static pqe_status
check_index(index_check *c, pqe_error *err)
{
    const uint8_t *root = c->txn->head.index_root;
    pqe__store *store = c->txn->vault->store;
    pqe_error error = {0};
    uint64_t rows = 0;
    pqe_status status = report_if_damaged(c->v, pqe__tree_walk(store, root, check_entry, c, &error), &error, err);

    if (status == PQE_OK)
        status = report_if_damaged(c->v, pqe__tree_check_nodes(store, root, &error), &error, err);
    if (status == PQE_OK)
        status = report_if_damaged(c->v, pqe__row_count(store, &rows, &error), &error, err);
    if (status == PQE_OK && (c->name_entries != c->txn->head.artifact_count ||
                             c->id_entries != c->txn->head.artifact_count || rows != c->txn->head.artifact_count)) {
        pqe__set_error(&error, PQE_E_TAMPERED, PQE_ORIGIN_INDEX, 0,
                       "the index holds another number of artifacts than its head says");
        status = report(c->v, PQE_E_TAMPERED, NULL, &error, 0, err);
    }
    if (status == PQE_OK)
        status = check_identity_rows(c, err);
    if (status == PQE_OK)
        status = report_if_damaged(c->v, pqe__policy_check(c->txn, &error), &error, err);
    if (status == PQE_OK)
        status = report_if_damaged(c->v, pqe__recovery_check(c->txn, &error), &error, err);
    if (status == PQE_OK)
        status = report_if_damaged(c->v, pqe__audit_check(c->txn, NULL, &error), &error, err);
    if (status == PQE_OK)
        status = report_if_damaged(c->v, pqe__body_count_orphans(store, &c->v->summary.orphans, &error), &error, err);
    return status;
}

static pqe_status
verify_all(verification *v, pqe_error *err)
{
    pqe__txn txn;
    index_check c = {.v = v, .txn = &txn};
    pqe_error error = {0};
    pqe_status status = pqe__txn_begin(v->vault, false, &txn, &error);

    if (status != PQE_OK) /* a head that does not verify vouches for nothing below it */
        return report_if_damaged(v, status, &error, err);
    v->txn = &txn;
    status = check_index(&c, err);
    v->txn = NULL;
    pqe__txn_abort(&txn);
    for (size_t i = 0; i < c.count && status == PQE_OK; i++) {
        char id[PQE_ARTIFACT_ID_SIZE], hex[2 * PQE__ID_SIZE + 1];
        pqe__hex_encode(c.ids[i], PQE__ID_SIZE, hex);
        snprintf(id, sizeof id, PQE__ARTIFACT_ID_PREFIX "%s", hex);
        status = verify_artifact(v, id, true, err);
    }
    free(c.ids);
    free(c.damaged);
    return status;
}

pqe_status
pqe_verify(pqe_vault *vault, const char *name_or_id, pqe_verify_fn fn, void *user, pqe_verify_summary *summary,
           pqe_error *err)
{
    verification v = {.vault = vault, .fn = fn, .user = user};
    pqe_status status = pqe__vault_usable(vault, err);

    if (summary != NULL)
        memset(summary, 0, sizeof *summary);
    if (status == PQE_OK && name_or_id != NULL)
        status = pqe__check_name(name_or_id, err);
    if (status == PQE_OK)
        status = name_or_id != NULL ? verify_artifact(&v, name_or_id, false, err) : verify_all(&v, err);
    if (summary != NULL)
        *summary = v.summary;
    if (status == PQE_OK && v.first != PQE_OK)
        status = pqe__fail(err, v.first, v.first_error.origin, v.first_error.native, "%s", v.first_error.message);
    return status;
}
