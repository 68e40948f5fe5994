/* SPDX-License-Identifier: Apache-2.0 */
/* Older copies of a vault whose changes a device counts: which are refused, and what opens all the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <pqc_enclave/audit.h>
#include <pqc_enclave/policy.h>
#include <pqc_enclave/recovery.h>

#include "backend/counting.h"
#include "backend/registry.h"
#include "store/store.h"
#include "unit/support.h"

typedef struct bed {
    char *scratch;
    char dir[PATH_MAX];
    pqe_backend *backend;
    pqe_vault *vault;
} bed;

/* ---- the bed: <scratch>/vault, the device's counters in <scratch>/device ---- */

static pqe_backend *
open_device(const bed *b, const pqe_backend_ops *ops)
{
    char config[PATH_MAX * 2];
    pqe_backend *backend = NULL;

    snprintf(config, sizeof config, "%s/device|key-file=%s/key", b->scratch, b->scratch);
    assert_pqe_ok(pqe_backend_open_ops(ops, config, NULL, &backend, err));
    return backend;
}

static const pqe_backend_ops *
counting(void)
{
    return counting_wrap(pqe__backend_find("file"));
}

static void
bed_make(bed *b, unsigned flags)
{
    memset(b, 0, sizeof *b);
    counting_set(flags);
    b->scratch = scratch_make();
    snprintf(b->dir, sizeof b->dir, "%s/vault", b->scratch);
    b->backend = open_device(b, counting());
    b->vault = vault_create(b->dir, b->backend);
    put_ok(b->vault, "first", "1", 1);
    counting_advances();
    counting_reads();
}

static void
bed_close(bed *b)
{
    pqe_vault_close(&b->vault);
}

static void
bed_end(bed *b)
{
    counting_break(COUNTING_SOUND);
    bed_close(b);
    pqe_backend_close(&b->backend);
    scratch_remove(b->scratch);
}

/* Keeps a copy of the vault's directory under a name; puts it in the vault's place. The vault is closed meanwhile. */
static void
keep(bed *b, const char *name)
{
    bool open = b->vault != NULL;

    bed_close(b);
    scratch_copy(b->dir, scratch_path(b->scratch, name));
    if (open)
        b->vault = vault_open(b->dir, b->backend);
}

static void
put_back(bed *b, const char *name)
{
    bed_close(b);
    scratch_copy(scratch_path(b->scratch, name), b->dir);
}

static pqe_status
try_open(bed *b, bool read_only, pqe_error *error)
{
    pqe_vault_opts o = {.size = sizeof o, .dir = b->dir, .backend = b->backend, .read_only = read_only};
    pqe_status status;

    bed_close(b);
    assert_pqe_ok(pqe_vault_open(&o, &b->vault, err));
    status = pqe_vault_unlock(b->vault, 0, error);
    if (status != PQE_OK) {
        assert_false(pqe_vault_is_unlocked(b->vault));
        bed_close(b);
    }
    return status;
}

static void
opens(bed *b)
{
    pqe_error error = {0};

    if (try_open(b, false, &error) != PQE_OK)
        fail_msg("%s: %s", pqe_status_name(error.status), error.message);
}

static void
refused(bed *b, const char *words)
{
    pqe_error error = {0};

    for (int read_only = 0; read_only < 2; read_only++) {
        assert_int_equal(try_open(b, read_only != 0, &error), PQE_E_ROLLBACK);
        assert_int_equal(error.status, PQE_E_ROLLBACK);
        if (strstr(error.message, words) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", error.message, words);
    }
}

static uint64_t
generation(const bed *b)
{
    pqe_vault_info info;

    assert_pqe_ok(pqe_vault_peek(b->dir, &info, err));
    return info.generation;
}

static pqe_status
put(pqe_vault *v, const char *name, size_t len, uint32_t seed, pqe_error *err)
{
    pqe_put_opts o = {.size = sizeof o, .name = name, .kind = PQE_KIND_OTHER};
    uint8_t *data = make_content(len, seed);
    pqe_status status = pqe_put(v, &o, data, len, NULL, err);

    free(data);
    return status;
}

static void
has(pqe_vault *v, const char *name, size_t len, uint32_t seed)
{
    uint8_t *data = make_content(len, seed);

    get_equals(v, name, data, len);
    free(data);
}

static void
device_file(const bed *b, const char *ending, char path[PATH_MAX])
{
    pqe_vault_info info;

    assert_pqe_ok(pqe_vault_peek(b->dir, &info, err));
    snprintf(path, PATH_MAX, "%s/device/%s.%s", b->scratch, info.vault_id, ending);
}

static uint64_t
counter(const bed *b)
{
    char path[PATH_MAX];
    uint64_t value = 0;
    FILE *f;

    device_file(b, "counter", path);
    f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(&value, sizeof value, 1, f), 1);
    fclose(f);
    return value;
}

static void
set_counter(const bed *b, uint64_t value)
{
    char path[PATH_MAX];
    FILE *f;

    device_file(b, "counter", path);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(&value, sizeof value, 1, f), 1);
    fclose(f);
}

static void
accept_copy(bed *b, uint64_t found, uint64_t expected, uint64_t now)
{
    pqe_rollback told;

    bed_close(b);
    b->vault = vault_open_locked(b->dir, b->backend);
    assert_pqe_ok(pqe_recovery_accept_rollback(b->vault, 0, &told, err));
    assert_true(pqe_vault_is_unlocked(b->vault));
    assert_int_equal(told.found, found);
    assert_int_equal(told.expected, expected);
    assert_int_equal(told.generation, now);
    assert_int_equal(generation(b), now);
}

/* ---- copies ---- */

static void
an_older_copy_is_refused(void **state)
{
    char words[80];
    uint64_t g;
    bed b;

    (void)state;
    for (unsigned flags = 0; flags <= COUNTING_NO_NOTES; flags++) {
        bed_make(&b, flags);
        keep(&b, "old");
        g = generation(&b);
        for (unsigned i = 0; i < 3; i++)
            put_ok(b.vault, "second", "2", 1);
        keep(&b, "new");
        put_back(&b, "old");
        snprintf(words, sizeof words, "expects generation %" PRIu64 ", this is generation %" PRIu64, g + 3, g);
        refused(&b, words);
        refused(&b, words); /* looking does not change that */
        put_back(&b, "new");
        opens(&b);
        get_equals(b.vault, "second", "2", 1);
        bed_end(&b);
    }
}

static void
one_step_back_is_refused_too(void **state)
{
    bed b;

    (void)state;
    bed_make(&b, 0);
    keep(&b, "old");
    assert_pqe_ok(pqe_delete(b.vault, "first", err));
    put_back(&b, "old");
    refused(&b, "older copy");
    bed_end(&b);
}

static void
without_a_counter_it_is_not_detected(void **state)
{
    pqe_vault_info info;
    bed b;

    (void)state;
    bed_make(&b, COUNTING_NOTHING); /* the device could, and did not for this vault */
    assert_pqe_ok(pqe_vault_get_info(b.vault, &info, err));
    assert_int_equal(info.rollback, PQE_ROLLBACK_NOT_DETECTED);
    keep(&b, "old");
    put_ok(b.vault, "second", "2", 1);
    assert_int_equal(counting_advances(), 0);
    assert_int_not_equal(access(scratch_path(b.dir, "counter.lock"), F_OK), 0);
    put_back(&b, "old");
    opens(&b);
    assert_int_equal(pqe_recovery_accept_rollback(b.vault, 0, NULL, NULL), PQE_E_UNAVAILABLE);
    assert_false(pqe_vault_is_unlocked(b.vault));
    bed_end(&b);
}

static void
facts_say_so(void **state)
{
    pqe_vault_info info;
    pqe_backend *plain;
    pqe_vault *v;
    bed b;

    (void)state;
    bed_make(&b, 0);
    assert_pqe_ok(pqe_vault_get_info(b.vault, &info, err));
    assert_int_equal(info.rollback, PQE_ROLLBACK_DETECTED);
    pqe_vault_lock(b.vault);
    assert_pqe_ok(pqe_vault_get_info(b.vault, &info, err));
    assert_int_equal(info.rollback, PQE_ROLLBACK_UNKNOWN);
    plain = backend_keyfile(scratch_path(b.scratch, "device"));
    v = vault_create(scratch_path(b.scratch, "plain"), plain);
    pqe_vault_lock(v);
    assert_pqe_ok(pqe_vault_get_info(v, &info, err));
    assert_int_equal(info.rollback, PQE_ROLLBACK_NOT_DETECTED);
    pqe_vault_close(&v);
    pqe_backend_close(&plain);
    bed_end(&b);
}

/* Two copies that both say the counter's next value: the one that is acknowledged stays, the other is refused, where the
   device has room for a note. */
static void
two_heads_of_one_value(void **state)
{
    bed b;

    (void)state;
    for (unsigned flags = 0; flags <= COUNTING_NO_NOTES; flags++) {
        bed_make(&b, flags);
        keep(&b, "before");
        counting_break(COUNTING_CANNOT_NOTE);
        assert_int_equal(put(b.vault, "one", 10, 1, NULL), PQE_E_BACKEND);
        counting_break(COUNTING_SOUND);
        bed_close(&b);
        keep(&b, "one"); /* committed, never acknowledged */
        put_back(&b, "before");
        opens(&b);
        put_ok(b.vault, "two", "2", 1);
        keep(&b, "two");
        put_back(&b, "one");
        if (flags == COUNTING_NO_NOTES) {
            opens(&b); /* a device without room cannot tell: docs/format.md says so */
            bed_end(&b);
            continue;
        }
        refused(&b, "another copy");
        /* Also while the note is one step ahead of the counter. */
        put_back(&b, "two");
        opens(&b);
        counting_break(COUNTING_CANNOT_INCREMENT);
        assert_int_equal(put(b.vault, "three", 10, 3, NULL), PQE_E_BACKEND);
        counting_break(COUNTING_SOUND);
        bed_close(&b);
        keep(&b, "three");
        put_back(&b, "one");
        refused(&b, "another copy");
        put_back(&b, "two");
        opens(&b); /* what was acknowledged last */
        put_back(&b, "three");
        opens(&b); /* what came after it */
        put_back(&b, "two");
        refused(&b, "older copy");
        bed_end(&b);
    }
}

static void
a_counter_that_is_not_the_vaults(void **state)
{
    uint64_t g, c;
    char path[PATH_MAX];
    bed b;

    (void)state;
    bed_make(&b, 0);
    put_ok(b.vault, "second", "2", 1);
    g = generation(&b);
    c = counter(&b);
    set_counter(&b, c - 2);
    refused(&b, "turned back or replaced");
    accept_copy(&b, g, 0, g + 1);
    assert_int_equal(counter(&b), c - 1);
    opens(&b);
    device_file(&b, "counter", path);
    assert_int_equal(unlink(path), 0);
    refused(&b, "is gone");
    accept_copy(&b, g + 1, 0, g + 2);
    put_ok(b.vault, "third", "3", 1);
    opens(&b);
    set_counter(&b, UINT64_MAX);
    refused(&b, "older copy");
    bed_end(&b);
}

/* A backend that does not count any more must not be a way around. */
static void
a_backend_without_counters(void **state)
{
    pqe_backend_ops stripped = *counting();
    pqe_backend *with;
    uint64_t g;
    bed b;

    (void)state;
    bed_make(&b, 0);
    g = generation(&b);
    bed_close(&b);
    with = b.backend;
    stripped.info.capabilities &= ~(uint32_t)PQE_CAP_COUNTER;
    b.backend = open_device(&b, &stripped);
    refused(&b, "counts none");
    accept_copy(&b, g, 0, g + 1);
    opens(&b);
    put_ok(b.vault, "second", "2", 1);
    bed_close(&b);
    pqe_backend_close(&b.backend);
    b.backend = with;
    refused(&b, "does not say so");
    accept_copy(&b, g + 2, 0, g + 3);
    put_ok(b.vault, "third", "3", 1);
    opens(&b);
    bed_end(&b);
}

/* ---- accepting ---- */

static bool
find_entry(void *user, const pqe_audit_entry *e)
{
    char *details = user;

    if (e->op == PQE_AUDIT_RECOVERY && e->success)
        snprintf(details, 256, "%s", e->details);
    return true;
}

static void
a_restored_backup_can_be_accepted(void **state)
{
    char details[256] = "", words[80];
    pqe_error error = {0};
    uint64_t g;
    bed b;

    (void)state;
    bed_make(&b, 0);
    keep(&b, "backup");
    g = generation(&b);
    put_ok(b.vault, "second", "2", 1);
    put_ok(b.vault, "second", "3", 1);
    keep(&b, "newer");
    put_back(&b, "backup");
    refused(&b, "older copy");
    counting_advances();
    accept_copy(&b, g, g + 2, g + 3);
    assert_int_equal(counting_advances(), 1);
    get_equals(b.vault, "first", "1", 1);
    assert_int_equal(get_status(b.vault, "second"), PQE_E_NOT_FOUND);
    assert_pqe_ok(pqe_audit_list(b.vault, NULL, find_entry, details, err));
    snprintf(words, sizeof words, "generation %" PRIu64 " in place of %" PRIu64, g, g + 2);
    assert_non_null(strstr(details, words));
    assert_pqe_ok(pqe_verify(b.vault, NULL, NULL, NULL, NULL, err));
    /* Once is enough, and there is no more to accept. */
    put_ok(b.vault, "fourth", "4", 1);
    opens(&b);
    assert_int_equal(pqe_recovery_accept_rollback(b.vault, 0, NULL, &error), PQE_E_STATE);
    assert_false(pqe_vault_is_unlocked(b.vault));
    opens(&b);
    keep(&b, "accepted");
    put_back(&b, "newer");
    refused(&b, "older copy");
    put_back(&b, "backup");
    refused(&b, "older copy");
    put_back(&b, "accepted");
    opens(&b);
    bed_end(&b);
}

/* Through a handle that has seen the newer state; and cut short after its commit. */
static void
acceptance_in_one_handle(void **state)
{
    pqe_rollback told;
    bed b;

    (void)state;
    bed_make(&b, 0);
    keep(&b, "backup");
    put_ok(b.vault, "second", "2", 1);
    put_back(&b, "backup");
    b.vault = vault_open_locked(b.dir, b.backend);
    assert_int_equal(pqe_vault_unlock(b.vault, 0, NULL), PQE_E_ROLLBACK);
    counting_break(COUNTING_CANNOT_READ);
    assert_int_equal(pqe_recovery_accept_rollback(b.vault, 0, &told, NULL), PQE_E_BACKEND);
    assert_int_equal(told.generation, 0);
    counting_break(COUNTING_SOUND);
    assert_int_equal(pqe_vault_unlock(b.vault, 0, NULL), PQE_E_ROLLBACK);
    counting_break(COUNTING_CANNOT_INCREMENT);
    assert_int_equal(pqe_recovery_accept_rollback(b.vault, 0, &told, NULL), PQE_E_BACKEND);
    assert_false(pqe_vault_is_unlocked(b.vault));
    counting_break(COUNTING_SOUND);
    assert_pqe_ok(pqe_vault_unlock(b.vault, 0, err)); /* it was stored */
    put_ok(b.vault, "third", "3", 1);
    assert_int_equal(pqe_recovery_accept_rollback(NULL, 0, NULL, NULL), PQE_E_ARGUMENT);
    bed_end(&b);
}

/* ---- what an advance costs, and who pays ---- */

static void
one_advance_a_commit(void **state)
{
    pqe_batch *batch = NULL;
    pqe_policy_rule rule = {.size = sizeof rule, .kind = PQE_KIND_OTHER, .max_uses_per_hour = 100};
    bed b;

    (void)state;
    bed_make(&b, 0);
    put_ok(b.vault, "second", "2", 1);
    assert_int_equal(counting_advances(), 1);
    assert_pqe_ok(pqe_batch_open(b.vault, &batch, err));
    for (unsigned i = 0; i < 20; i++) {
        char name[16];
        pqe_put_opts o = {.size = sizeof o, .name = name, .kind = PQE_KIND_OTHER};
        snprintf(name, sizeof name, "item-%u", i);
        assert_pqe_ok(pqe_batch_put(batch, &o, "x", 1, err));
    }
    assert_pqe_ok(pqe_batch_commit(&batch, NULL, err));
    assert_int_equal(counting_advances(), 1);
    assert_pqe_ok(pqe_rotate(b.vault, NULL, err));
    assert_int_equal(counting_advances(), 1);
    assert_pqe_ok(pqe_policy_set(b.vault, &rule, err));
    assert_int_equal(counting_advances(), 1);
    counting_reads();
    for (unsigned i = 0; i < 5; i++)
        get_equals(b.vault, "first", "1", 1); /* counted uses */
    assert_pqe_ok(pqe_verify(b.vault, NULL, NULL, NULL, NULL, err));
    assert_pqe_ok(pqe_audit_flush(b.vault, err));
    assert_int_equal(counting_advances(), 0);
    assert_int_equal(counting_reads(), 0);
    opens(&b);
    assert_int_equal(counting_reads(), 1);
    assert_int_equal(counting_advances(), 0);
    assert_int_equal(pqe_delete(b.vault, "nothing", NULL), PQE_E_NOT_FOUND);
    assert_int_equal(counting_advances(), 0);
    bed_end(&b);
}

/* ---- an advance that fails ---- */

typedef pqe_status (*change_fn)(pqe_vault *v, pqe_error *err);

static pqe_status
change_put(pqe_vault *v, pqe_error *err)
{
    return put(v, "big", 100000, 7, err);
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
    uint64_t g = generation(b);

    counting_break(fault);
    assert_int_equal(change(b->vault, &error), PQE_E_BACKEND);
    assert_non_null(strstr(error.message, "the change is stored"));
    counting_break(COUNTING_SOUND);
    assert_int_equal(generation(b), g + 1);
    if (change == change_put || change == change_batch)
        has(b->vault, "big", 100000, 7); /* at once */
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
            assert_pqe_ok(put(b.vault, "old", 90000, 3, err));
            /* by the next unlock */
            check_unacknowledged(&b, changes[i], faults[j]);
            counting_advances();
            opens(&b);
            assert_int_equal(counting_advances(), owed);
            assert_pqe_ok(pqe_verify(b.vault, NULL, NULL, NULL, NULL, err));
            /* by the next change of the same session */
            assert_pqe_ok(put(b.vault, "old", 90000, 3, err));
            check_unacknowledged(&b, changes[i], faults[j]);
            counting_advances();
            put_ok(b.vault, "next", "n", 1);
            assert_int_equal(counting_advances(), 1 + owed);
            opens(&b);
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
    assert_int_equal(put(b.vault, "second", 10, 2, NULL), PQE_E_BACKEND);
    g = generation(&b);
    opens(&b);
    has(b.vault, "second", 10, 2);
    assert_int_equal(put(b.vault, "third", 10, 3, &error), PQE_E_BACKEND);
    assert_null(strstr(error.message, "is stored"));
    assert_int_equal(get_status(b.vault, "third"), PQE_E_NOT_FOUND);
    assert_int_equal(generation(&b), g);
    counting_break(COUNTING_CANNOT_READ);
    assert_int_equal(put(b.vault, "third", 10, 3, NULL), PQE_E_BACKEND);
    get_equals(b.vault, "first", "1", 1);
    assert_int_equal(try_open(&b, false, &error), PQE_E_BACKEND);
    counting_break(COUNTING_SOUND);
    opens(&b);
    assert_pqe_ok(put(b.vault, "third", 10, 3, err));
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
            keep(&b, "before");
            bed_close(&b);
            for (int round = 0; round < 2; round++) {
                pid_t child = fork();
                int status;
                assert_true(child >= 0);
                if (child == 0) {
                    pqe_error error = {0};
                    pqe_backend *own = open_device(&b, counting());
                    pqe_vault_opts o = {.size = sizeof o, .dir = b.dir, .backend = own};
                    pqe_vault *v = NULL;
                    if (round == 1)
                        counting_break(faults[j]); /* at unlock, where something is owed */
                    if (pqe_vault_open(&o, &v, &error) != PQE_OK || pqe_vault_unlock(v, 0, &error) != PQE_OK)
                        _exit(1);
                    counting_break(faults[round == 0 ? i : j]);
                    put(v, "second", 100000, 2, &error);
                    _exit(2);
                }
                assert_int_equal(waitpid(child, &status, 0), child);
                assert_true(WIFSIGNALED(status));
            }
            opens(&b);
            has(b.vault, "second", 100000, 2);
            assert_pqe_ok(pqe_verify(b.vault, NULL, NULL, NULL, NULL, err));
            device_file(&b, "counter", path);
            put_back(&b, "before");
            refused(&b, "older copy");
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
    b.backend = open_device(&b, counting());
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

/* ---- where nothing can be written ---- */

static void
read_only_media(void **state)
{
    pqe_error error = {0};
    bed b;

    (void)state;
    bed_make(&b, 0);
    keep(&b, "old");
    counting_break(COUNTING_CANNOT_NOTE);
    assert_int_equal(put(b.vault, "second", 10, 2, NULL), PQE_E_BACKEND);
    counting_break(COUNTING_SOUND);
    bed_close(&b);
    assert_int_equal(unlink(scratch_path(b.dir, "counter.lock")), 0);
    counting_advances();
    assert_int_equal(try_open(&b, true, &error), PQE_OK); /* unfinished, and stays so */
    has(b.vault, "second", 10, 2);
    assert_int_equal(counting_advances(), 0);
    assert_int_not_equal(access(scratch_path(b.dir, "counter.lock"), F_OK), 0);
    assert_int_equal(pqe_recovery_accept_rollback(b.vault, 0, NULL, NULL), PQE_E_READ_ONLY);
    opens(&b);
    assert_int_equal(counting_advances(), 1);
    put_back(&b, "old");
    unlink(scratch_path(b.dir, "counter.lock"));
    assert_int_equal(try_open(&b, true, &error), PQE_E_ROLLBACK);
    bed_end(&b);
}

/* ---- several at once ---- */

typedef struct job {
    pqe_vault *vault;
    unsigned number;
    pqe_status status;
} job;

static void *
put_many(void *arg)
{
    job *j = arg;

    for (unsigned i = 0; i < 25 && j->status == PQE_OK; i++) {
        char name[32];
        pqe_put_opts o = {.size = sizeof o, .name = name, .kind = PQE_KIND_OTHER};
        snprintf(name, sizeof name, "job-%u-%u", j->number, i);
        j->status = pqe_put(j->vault, &o, name, strlen(name), NULL, NULL);
    }
    return NULL;
}

static void
several_handles(void **state)
{
    job jobs[4] = {{0}};
    pthread_t threads[4];
    uint64_t c, g;
    bed b;

    (void)state;
    bed_make(&b, 0);
    c = counter(&b);
    g = generation(&b);
    for (unsigned i = 0; i < 4; i++) {
        jobs[i] = (job){.vault = vault_open(b.dir, b.backend), .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, put_many, &jobs[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(jobs[i].status, PQE_OK);
    }
    assert_int_equal(counter(&b), c + 100);
    assert_int_equal(generation(&b), g + 100);
    for (unsigned i = 0; i < 4; i++) {
        get_equals(jobs[i].vault, "job-3-24", "job-3-24", 8); /* another's last */
        pqe_vault_close(&jobs[i].vault);
    }
    opens(&b);
    bed_end(&b);
}

/* A session that runs on asks the counter again when somebody else has changed the vault. */
static void
a_running_session_looks_too(void **state)
{
    pqe_vault *other;
    pqe_error error = {0};
    void *got = NULL;
    size_t len;
    uint64_t c;
    bed b;

    (void)state;
    bed_make(&b, 0);
    get_equals(b.vault, "first", "1", 1);
    other = vault_open(b.dir, b.backend);
    put_ok(other, "second", "2", 1);
    counting_reads();
    get_equals(b.vault, "second", "2", 1);
    get_equals(b.vault, "second", "2", 1);
    assert_int_equal(counting_reads(), 1);
    put_ok(other, "second", "3", 1);
    c = counter(&b);
    set_counter(&b, c + 2); /* as if this were a copy put in place, and more was acknowledged since */
    assert_int_equal(pqe_get(b.vault, "second", &got, &len, NULL, &error), PQE_E_ROLLBACK);
    assert_int_equal(put(b.vault, "third", 1, 3, NULL), PQE_E_ROLLBACK);
    assert_int_equal(put(other, "third", 1, 3, NULL), PQE_E_ROLLBACK);
    set_counter(&b, c);
    get_equals(b.vault, "second", "3", 1);
    put_ok(b.vault, "third", "3", 1);
    pqe_vault_close(&other);
    bed_end(&b);
}

static void
put_by_another(void *arg)
{
    for (unsigned i = 0; i < 3; i++)
        put_ok(arg, "meanwhile", "m", 1);
}

/* Another process changes the vault between the look at the head and the look at the counter. */
static void
a_change_between_two_looks(void **state)
{
    pqe_backend *device;
    pqe_vault *other;
    bed b;

    (void)state;
    bed_make(&b, 0);
    device = open_device(&b, counting());
    other = vault_open(b.dir, device);
    bed_close(&b);
    counting_before_read(put_by_another, other);
    opens(&b);
    get_equals(b.vault, "meanwhile", "m", 1);
    put_ok(other, "second", "2", 1); /* so that this session looks */
    counting_before_read(put_by_another, other);
    get_equals(b.vault, "second", "2", 1);
    put_ok(b.vault, "third", "3", 1);
    get_equals(other, "third", "3", 1);
    pqe_vault_close(&other);
    pqe_backend_close(&device);
    bed_end(&b);
}

static int
hold_gate(const bed *b)
{
    int fd = open(scratch_path(b->dir, "counter.lock"), O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    return fd;
}

static void
another_holds_the_gate(void **state)
{
    pqe_vault_opts o = {.size = sizeof o, .busy_timeout_ms = 50};
    struct timespec start, end, pause = {.tv_nsec = 150000000};
    pqe_error error = {0};
    pqe_vault *hasty = NULL;
    pthread_t thread;
    job j;
    int fd;
    bed b;

    (void)state;
    bed_make(&b, 0);
    o.dir = b.dir;
    o.backend = b.backend;
    assert_pqe_ok(pqe_vault_open(&o, &hasty, err));
    assert_pqe_ok(pqe_vault_unlock(hasty, 0, err));
    fd = hold_gate(&b);
    assert_int_equal(put(hasty, "second", 100000, 2, &error), PQE_E_BUSY);
    assert_int_equal(get_status(hasty, "second"), PQE_E_NOT_FOUND);
    assert_pqe_ok(pqe_verify(hasty, NULL, NULL, NULL, NULL, err));
    get_equals(hasty, "first", "1", 1); /* readers do not care */
    /* Nor do a lock and an expiry wait for whoever waits. */
    j = (job){.vault = b.vault, .number = 1};
    assert_int_equal(pthread_create(&thread, NULL, put_many, &j), 0);
    nanosleep(&pause, NULL);
    clock_gettime(CLOCK_MONOTONIC, &start);
    pqe_vault_lock(b.vault);
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_true((end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000 < 2000);
    close(fd);
    pthread_join(thread, NULL);
    assert_int_equal(j.status, PQE_E_LOCKED);
    pqe_vault_close(&hasty);
    opens(&b);
    assert_int_equal(get_status(b.vault, "job-1-0"), PQE_E_NOT_FOUND);
    bed_end(&b);
}

/* Something owed, and somebody alive at it: no reason to wait. */
static void
unlock_does_not_wait_for_the_gate(void **state)
{
    int fd;
    bed b;

    (void)state;
    bed_make(&b, 0);
    counting_break(COUNTING_CANNOT_NOTE);
    assert_int_equal(put(b.vault, "second", 10, 2, NULL), PQE_E_BACKEND);
    counting_break(COUNTING_SOUND);
    counting_advances();
    fd = hold_gate(&b);
    opens(&b);
    has(b.vault, "second", 10, 2);
    assert_int_equal(counting_advances(), 0);
    close(fd);
    opens(&b);
    assert_int_equal(counting_advances(), 1);
    bed_end(&b);
}

static void
the_gate_itself(void **state)
{
    pqe__gate one = {.fd = -1}, two = {.fd = -1};
    pqe__store *store = NULL;
    pid_t child;
    int status;
    bed b;

    (void)state;
    bed_make(&b, 0);
    assert_pqe_ok(pqe__store_open(b.dir, false, 1000, &store, err));
    assert_pqe_ok(pqe__gate_enter(store, &one, 0, err));
    assert_pqe_ok(pqe__gate_enter(store, &one, 0, err));
    assert_int_equal(pqe__gate_enter(store, &two, 5, NULL), PQE_E_BUSY);
    /* A child that inherits the lock and lives on holds nobody up. */
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        sleep(20);
        _exit(0);
    }
    pqe__gate_leave(&one);
    assert_pqe_ok(pqe__gate_enter(store, &two, 0, err));
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    /* One whose file was replaced is nobody's. */
    assert_int_equal(unlink(scratch_path(b.dir, "counter.lock")), 0);
    assert_pqe_ok(pqe__gate_enter(store, &one, 0, err));
    pqe__gate_leave(&one);
    pqe__gate_leave(&two);
    assert_int_equal(unlink(scratch_path(b.dir, "counter.lock")), 0);
    assert_int_equal(symlink("index.db", scratch_path(b.dir, "counter.lock")), 0);
    assert_int_equal(pqe__gate_enter(store, &one, 0, NULL), PQE_E_TAMPERED);
    assert_int_equal(unlink(scratch_path(b.dir, "counter.lock")), 0);
    assert_int_equal(mkfifo(scratch_path(b.dir, "counter.lock"), 0600), 0);
    assert_int_equal(pqe__gate_enter(store, &one, 0, NULL), PQE_E_TAMPERED);
    assert_false(one.held);
    pqe__store_close(&store);
    bed_end(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_older_copy_is_refused),
        cmocka_unit_test(one_step_back_is_refused_too),
        cmocka_unit_test(without_a_counter_it_is_not_detected),
        cmocka_unit_test(facts_say_so),
        cmocka_unit_test(two_heads_of_one_value),
        cmocka_unit_test(a_counter_that_is_not_the_vaults),
        cmocka_unit_test(a_backend_without_counters),
        cmocka_unit_test(a_restored_backup_can_be_accepted),
        cmocka_unit_test(acceptance_in_one_handle),
        cmocka_unit_test(one_advance_a_commit),
        cmocka_unit_test(a_failed_advance_is_made_up_for),
        cmocka_unit_test(a_device_that_cannot_advance),
        cmocka_unit_test(a_process_dies),
        cmocka_unit_test(making_fails_wholly),
        cmocka_unit_test(read_only_media),
        cmocka_unit_test(several_handles),
        cmocka_unit_test(a_running_session_looks_too),
        cmocka_unit_test(a_change_between_two_looks),
        cmocka_unit_test(another_holds_the_gate),
        cmocka_unit_test(unlock_does_not_wait_for_the_gate),
        cmocka_unit_test(the_gate_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
