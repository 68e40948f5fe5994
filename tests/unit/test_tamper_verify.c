/* SPDX-License-Identifier: Apache-2.0 */
/* verify goes on after damage, reports each, and says whose it is where that can be known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit/test_tamper_support.h"

static bed the_bed;

typedef struct findings {
    pqe_status of[ITEMS]; /* by artifact; 1: no finding */
    unsigned nameless;    /* damage without an artifact */
    unsigned calls, stop_at;
    uint64_t bytes;
} findings;

static bool
note(void *user, const pqe_finding *f)
{
    findings *n = user;
    int found = -1;

    n->calls++;
    assert_true((f->status == PQE_OK) == (f->message[0] == '\0'));
    assert_false(f->status == PQE_OK && f->artifact == NULL);
    n->bytes += f->status == PQE_OK ? f->bytes : 0;
    for (int i = 0; i < ITEMS && f->artifact != NULL; i++)
        if (strcmp(f->artifact->artifact_id, the_bed.items[i].id) == 0)
            found = i;
    if (f->artifact != NULL) {
        assert_true(found >= 0);
        assert_int_equal(n->of[found], 1); /* one finding an artifact */
        n->of[found] = f->status;
    } else {
        n->nameless++;
    }
    return n->calls != n->stop_at;
}

static pqe_status
verify(findings *n, pqe_verify_summary *sum, const char *name)
{
    pqe_backend *b = bed_backend(&the_bed);
    pqe_vault *v = vault_open(the_bed.dir, b);
    pqe_status status;

    for (int i = 0; i < ITEMS; i++)
        n->of[i] = 1;
    status = pqe_verify(v, name, note, n, sum, NULL);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    return status;
}

static void
flip(const char *path, size_t at)
{
    size_t len;
    uint8_t *data = file_read(path, &len);

    data[at < len ? at : len - 1] ^= 1;
    file_write(path, data, len);
    free(data);
}

static long long
row(int item)
{
    return (long long)the_bed.items[item].rowid;
}

static void
test_sound(void **state)
{
    findings n = {0};
    pqe_verify_summary sum;
    uint64_t bytes = 0;
    unsigned present = 0;

    (void)state;
    bed_restore(&the_bed);
    assert_int_equal(verify(&n, &sum, NULL), PQE_OK);
    for (int i = 0; i < ITEMS; i++) {
        assert_int_equal(n.of[i], bed_has(&the_bed, i) ? PQE_OK : 1);
        present += bed_has(&the_bed, i);
        bytes += bed_has(&the_bed, i) ? the_bed.items[i].len : 0;
    }
    assert_int_equal(n.calls, present);
    assert_int_equal(n.bytes, bytes);
    assert_int_equal(sum.artifacts, present);
    assert_int_equal(sum.bytes, bytes);
    assert_int_equal(sum.damaged, 0);
    assert_int_equal(sum.orphans, 0);
}

/* Bodies are damaged, metadata are not: each finding names its artifact, the others are sound. */
static void
test_damaged_bodies(void **state)
{
    findings n = {0};
    pqe_verify_summary sum;

    (void)state;
    bed_restore(&the_bed);
    flip(bed_body(&the_bed, ITEM_FILE_A), 20000); /* in the middle: found while reading */
    flip(bed_body(&the_bed, ITEM_FILE_B), 40);    /* in the commitment: found at opening */
    assert_int_equal(unlink(bed_body(&the_bed, ITEM_NEW_FILE)), 0);
    bed_sql(&the_bed, "UPDATE artifact SET body = " SQL_CHANGED("body", 61) " WHERE id = %lld", row(ITEM_PAGES));
    file_write(scratch_path(the_bed.dir, "bodies/orphan"), "x", 1);
    assert_int_not_equal(verify(&n, &sum, NULL), PQE_OK);
    for (int i = 0; i < ITEMS; i++) {
        pqe_status wanted = bed_has(&the_bed, i) ? PQE_OK : 1;
        if (i == ITEM_FILE_A || i == ITEM_FILE_B || i == ITEM_PAGES)
            wanted = PQE_E_DECRYPTION;
        if (i == ITEM_NEW_FILE)
            wanted = PQE_E_TAMPERED;
        assert_int_equal(n.of[i], wanted);
    }
    assert_int_equal(n.nameless, 0);
    assert_int_equal(sum.damaged, 4);
    assert_int_equal(sum.orphans, 1);
    /* One by name. */
    n = (findings){0};
    assert_int_equal(verify(&n, &sum, "file a"), PQE_E_DECRYPTION);
    assert_int_equal(n.calls, 1);
    assert_int_equal(n.of[ITEM_FILE_A], PQE_E_DECRYPTION);
    n = (findings){0};
    assert_int_equal(verify(&n, &sum, the_bed.items[ITEM_TWIN_A].id), PQE_OK);
    assert_int_equal(n.of[ITEM_TWIN_A], PQE_OK);
    n = (findings){0};
    assert_int_equal(verify(&n, &sum, "no such artifact"), PQE_E_NOT_FOUND);
    assert_int_equal(n.calls, 0);
}

/* A damaged row hides whose it is; the rest is still checked and named. */
static void
test_damaged_rows(void **state)
{
    findings n = {0};
    pqe_verify_summary sum;

    (void)state;
    bed_restore(&the_bed);
    bed_sql(&the_bed, "UPDATE artifact SET dek = zeroblob(60) WHERE id = %lld; DELETE FROM artifact WHERE id = %lld",
            row(ITEM_TWIN_A), row(ITEM_EMPTY));
    flip(bed_body(&the_bed, ITEM_FILE_A), 100);
    assert_int_equal(verify(&n, &sum, NULL), PQE_E_TAMPERED);
    for (int i = 0; i < ITEMS; i++) {
        pqe_status wanted = bed_has(&the_bed, i) ? PQE_OK : 1;
        if (i == ITEM_TWIN_A || i == ITEM_EMPTY)
            wanted = 1;
        if (i == ITEM_FILE_A)
            wanted = PQE_E_DECRYPTION;
        assert_int_equal(n.of[i], wanted);
    }
    assert_int_equal(n.nameless, 3); /* one each, and the number of rows */
    assert_int_equal(sum.damaged, 4);
}

static bool
count_artifact(void *user, const pqe_artifact *artifact)
{
    (void)artifact;
    ++*(unsigned *)user;
    return true;
}

/* What is damaged can be put anew or removed by its name; the vault is sound again, and nobody else's is lost. */
static void
test_repair(void **state)
{
    static const char *const damages[] = {"UPDATE artifact SET dek = zeroblob(60)", "DELETE FROM artifact",
                                          "UPDATE artifact SET record = zeroblob(5)",
                                          "UPDATE artifact SET key_id = zeroblob(16)", "UPDATE artifact SET dek = 'x'"};
    static const int items[] = {ITEM_TWIN_A, ITEM_FILE_A};
    pqe_put_opts o = {.size = sizeof o, .kind = PQE_KIND_OTHER};

    (void)state;
    for (size_t i = 0; i < 4 * sizeof damages / sizeof damages[0]; i++) {
        const bed_item *it = &the_bed.items[items[i % 2]];
        bool remove = i / 2 % 2 == 0;
        pqe_backend *b = bed_backend(&the_bed);
        unsigned before = 0, listed = 0;
        pqe_vault *v;
        bed_restore(&the_bed);
        v = vault_open(the_bed.dir, b);
        assert_pqe_ok(pqe_list(v, count_artifact, &before, err));
        bed_sql(&the_bed, "%s WHERE id = %lld", damages[i / 4], row(items[i % 2]));
        assert_int_equal(pqe_list(v, count_artifact, &listed, NULL), PQE_E_TAMPERED);
        assert_int_equal(listed, before - 1);
        o.name = it->name;
        assert_pqe_ok(remove ? pqe_delete(v, it->name, err) : pqe_put(v, &o, "anew", 4, NULL, err));
        assert_int_equal(get_status(v, it->name), remove ? PQE_E_NOT_FOUND : PQE_OK);
        assert_int_equal(get_status(v, it->id), PQE_E_NOT_FOUND);
        for (int k = 0; k < ITEMS; k++)
            if (bed_has(&the_bed, k) && k != items[i % 2])
                get_equals(v, the_bed.items[k].name, the_bed.items[k].content, the_bed.items[k].len);
        pqe_vault_close(&v);
        v = vault_open(the_bed.dir, b); /* collects what the damage hid */
        assert_pqe_ok(pqe_verify(v, NULL, NULL, NULL, NULL, err));
        pqe_vault_close(&v);
        pqe_backend_close(&b);
    }
}

/* The entry of one leads to the row of another: removing the one leaves the other's row. */
static void
test_repair_of_a_wrong_target(void **state)
{
    const bed_item *a = &the_bed.items[ITEM_TWIN_A], *other = &the_bed.items[ITEM_TWIN_B];
    pqe_backend *b = bed_backend(&the_bed);
    pqe_vault *v;

    (void)state;
    bed_restore(&the_bed);
    v = vault_open(the_bed.dir, b);
    bed_sql(&the_bed, "UPDATE entry SET target = %lld WHERE target = %lld AND kind < 3", row(ITEM_TWIN_B),
            row(ITEM_TWIN_A));
    assert_int_equal(get_status(v, a->name), PQE_E_TAMPERED);
    assert_pqe_ok(pqe_delete(v, a->name, err));
    get_equals(v, other->name, other->content, other->len);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
}

/* The tree itself is damaged: said once for the tree, and for every artifact that it no longer proves. */
static void
test_damaged_tree(void **state)
{
    static const char *const statements[] = {
        "UPDATE node SET bytes = zeroblob(length(bytes)) WHERE id = 0",
        "DELETE FROM entry WHERE kind = 1 AND target = 2",
        "INSERT INTO entry SELECT zeroblob(32), kind, digest, target FROM entry WHERE kind = 2 LIMIT 1",
        "INSERT INTO node VALUES(4000, zeroblob(40))",
        "UPDATE secret SET sealed = zeroblob(1136) WHERE id = 1",
        "DELETE FROM secret WHERE id = 2",
        "INSERT INTO artifact SELECT 100, key_id, dek, file, record, body FROM artifact WHERE id = 1",
    };

    (void)state;
    bed_restore(&the_bed);
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        findings n = {0};
        bed_restore_index(&the_bed);
        bed_sql(&the_bed, "%s", statements[i]);
        assert_int_equal(verify(&n, NULL, NULL), PQE_E_TAMPERED);
        assert_true(n.nameless >= 1);
    }
    /* A head that is wrong vouches for nothing: one finding. */
    {
        pqe_backend *b = bed_backend(&the_bed);
        findings n = {0};
        pqe_vault *v;
        bed_restore_index(&the_bed);
        v = vault_open(the_bed.dir, b);
        bed_sql(&the_bed, "UPDATE head SET bytes = CAST(bytes || x'00' AS BLOB)");
        assert_int_equal(pqe_verify(v, NULL, note, &n, NULL, NULL), PQE_E_TAMPERED);
        assert_int_equal(n.calls, 1);
        assert_int_equal(n.nameless, 1);
        pqe_vault_close(&v);
        pqe_backend_close(&b);
    }
}

static void
test_stopping(void **state)
{
    (void)state;
    bed_restore(&the_bed);
    flip(bed_body(&the_bed, ITEM_FILE_A), 100);
    for (unsigned i = 1; i < 4; i++) {
        findings n = {.stop_at = i};
        assert_int_equal(verify(&n, NULL, NULL), PQE_E_CANCELLED);
        assert_int_equal(n.calls, i);
    }
}

static int
make(void **state)
{
    (void)state;
    bed_make(&the_bed);
    return 0;
}

static int
drop(void **state)
{
    (void)state;
    bed_free(&the_bed);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),
        cmocka_unit_test(test_damaged_bodies),
        cmocka_unit_test(test_damaged_rows),
        cmocka_unit_test(test_repair),
        cmocka_unit_test(test_repair_of_a_wrong_target),
        cmocka_unit_test(test_damaged_tree),
        cmocka_unit_test(test_stopping),
    };

    return cmocka_run_group_tests(tests, make, drop);
}
