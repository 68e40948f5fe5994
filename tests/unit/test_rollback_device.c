/* SPDX-License-Identifier: Apache-2.0 */
/* A device that fails or dies between the commit and its counter: nothing is lost, and what is owed is made up for. */
#include "unit/rollback_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- an advance that fails ---- */

typedef pqe_status (*change_fn)(pqe_vault *v, pqe_error *err);

static pqe_status
change_put(pqe_vault *v, pqe_error *err)
{
    return put_content(v, "big", 100000, 7, err);
}

static pqe_status
change_rotate(pqe_vault *v, pqe_error *err)
{
    return pqe_rotate(v, NULL, err);
}

static pqe_status
change_rekey(pqe_vault *v, pqe_error *err)
{
    pqe_rotate_opts o = {.size = sizeof o, .rekey = true};

    return pqe_rotate(v, &o, err);
}

static pqe_status
change_delete(pqe_vault *v, pqe_error *err)
{
    return pqe_delete(v, "old", err);
}

static pqe_status
change_batch(pqe_vault *v, pqe_error *err)
{
    pqe_put_opts o = {.size = sizeof o, .name = "big", .kind = PQE_KIND_OTHER};
    uint8_t *data = make_content(100000, 7);
    pqe_batch *batch = NULL;
    pqe_status status = pqe_batch_open(v, &batch, err);

    if (status == PQE_OK)
        status = pqe_batch_put(batch, &o, data, 100000, err);
    free(data);
    return status == PQE_OK ? pqe_batch_commit(&batch, NULL, err) : status;
}

static void
check_unacknowledged(bed *b, change_fn change, counting_fault fault)
{
    pqe_error error = {0};
    uint64_t g = bed_generation(b);

    counting_break(fault);
    assert_int_equal(change(b->vault, &error), PQE_E_BACKEND);
    assert_non_null(strstr(error.message, "the change is stored"));
    counting_break(COUNTING_SOUND);
    assert_int_equal(bed_generation(b), g + 1);
    if (change == change_put || change == change_batch)
        has_content(b->vault, "big", 100000, 7); /* at once */
    else if (change == change_delete)
        assert_int_equal(get_status(b->vault, "old"), PQE_E_NOT_FOUND);
}

static void
a_failed_advance_is_made_up_for(void **state)
{
    static const change_fn changes[] = {change_put, change_rotate, change_rekey, change_delete, change_batch};
    static const counting_fault faults[] = {COUNTING_CANNOT_NOTE, COUNTING_CANNOT_INCREMENT, COUNTING_LOST_ANSWER};
    bed b;

    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        for (size_t j = 0; j < sizeof faults / sizeof faults[0]; j++) {
            const unsigned owed = faults[j] == COUNTING_LOST_ANSWER ? 0 : 1;
            bed_make(&b, 0);
            assert_pqe_ok(put_content(b.vault, "old", 90000, 3, err));
            /* by the next unlock */
            check_unacknowledged(&b, changes[i], faults[j]);
            counting_advances();
            bed_opens(&b);
            assert_int_equal(counting_advances(), owed);
            assert_pqe_ok(pqe_verify(b.vault, NULL, NULL, NULL, NULL, err));
            /* by the next change of the same session */
            assert_pqe_ok(put_content(b.vault, "old", 90000, 3, err));
            check_unacknowledged(&b, changes[i], faults[j]);
            counting_advances();
            put_ok(b.vault, "next", "n", 1);
            assert_int_equal(counting_advances(), 1 + owed);
            bed_opens(&b);
            assert_int_equal(counting_advances(), 0);
            assert_pqe_ok(pqe_verify(b.vault, NULL, NULL, NULL, NULL, err));
            bed_end(&b);
        }
    }
}

/* A device that goes on failing: the vault opens and is read, and nothing more is stored before it works again. */
static void
a_device_that_cannot_advance(void **state)
{
    pqe_error error = {0};
    uint64_t g;
    bed b;

    (void)state;
    bed_make(&b, 0);
    counting_break(COUNTING_CANNOT_NOTE);
    assert_int_equal(put_content(b.vault, "second", 10, 2, NULL), PQE_E_BACKEND);
    g = bed_generation(&b);
    bed_opens(&b);
    has_content(b.vault, "second", 10, 2);
    assert_int_equal(put_content(b.vault, "third", 10, 3, &error), PQE_E_BACKEND);
    assert_null(strstr(error.message, "is stored"));
    assert_int_equal(get_status(b.vault, "third"), PQE_E_NOT_FOUND);
    assert_int_equal(bed_generation(&b), g);
    counting_break(COUNTING_CANNOT_READ);
    assert_int_equal(put_content(b.vault, "third", 10, 3, NULL), PQE_E_BACKEND);
    get_equals(b.vault, "first", "1", 1);
    assert_int_equal(bed_try_open(&b, false, &error), PQE_E_BACKEND);
    counting_break(COUNTING_SOUND);
    bed_opens(&b);
    assert_pqe_ok(put_content(b.vault, "third", 10, 3, err));
    bed_end(&b);
}

/* A process that dies at its advance, and one that dies while it makes up for that. */
static void
a_process_dies(void **state)
{
    static const counting_fault faults[] = {COUNTING_DIES_BEFORE, COUNTING_DIES_BETWEEN, COUNTING_DIES_AFTER};
    char path[PATH_MAX];
    bed b;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 3; j++) {
            bed_make(&b, 0);
            bed_keep(&b, "before");
            bed_close(&b);
            for (int round = 0; round < 2; round++) {
                pid_t child = fork();
                int status;
                assert_true(child >= 0);
                if (child == 0) {
                    pqe_error error = {0};
                    pqe_backend *own = bed_device(&b, counting_file());
                    pqe_vault_opts o = {.size = sizeof o, .dir = b.dir, .backend = own};
                    pqe_vault *v = NULL;
                    if (round == 1)
                        counting_break(faults[j]); /* at unlock, where something is owed */
                    if (pqe_vault_open(&o, &v, &error) != PQE_OK || pqe_vault_unlock(v, 0, &error) != PQE_OK)
                        _exit(1);
                    counting_break(faults[round == 0 ? i : j]);
                    put_content(v, "second", 100000, 2, &error);
                    _exit(2);
                }
                assert_int_equal(waitpid(child, &status, 0), child);
                assert_true(WIFSIGNALED(status));
            }
            bed_opens(&b);
            has_content(b.vault, "second", 100000, 2);
            assert_pqe_ok(pqe_verify(b.vault, NULL, NULL, NULL, NULL, err));
            bed_device_file(&b, "counter", path);
            bed_put_back(&b, "before");
            bed_refused(&b, "older copy");
            bed_end(&b);
        }
    }
}

static void
making_fails_wholly(void **state)
{
    pqe_vault_opts o = {.size = sizeof o, .create = true};
    pqe_vault *v = NULL;
    size_t left = 0;
    DIR *d;
    bed b;

    (void)state;
    memset(&b, 0, sizeof b);
    counting_set(0);
    b.scratch = scratch_make();
    b.backend = bed_device(&b, counting_file());
    o.dir = scratch_path(b.scratch, "vault");
    o.backend = b.backend;
    counting_break(COUNTING_CANNOT_READ);
    assert_int_equal(pqe_vault_open(&o, &v, NULL), PQE_E_BACKEND);
    assert_null(v);
    assert_int_not_equal(access(scratch_path(b.scratch, "vault"), F_OK), 0);
    d = opendir(scratch_path(b.scratch, "device"));
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        left += e->d_name[0] != '.';
    closedir(d);
    assert_int_equal(left, 0);
    bed_end(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_advance_is_made_up_for),
        cmocka_unit_test(a_device_that_cannot_advance),
        cmocka_unit_test(a_process_dies),
        cmocka_unit_test(making_fails_wholly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
