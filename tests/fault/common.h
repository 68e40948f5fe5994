/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fault tests share: failing with a text, the size of a run, copying vaults, and the model of a vault that is
 * compared with the real one after every crash.
 *
 * These are plain programs, not cmocka ones: most of their work happens in forked children, where a failed cmocka
 * assertion would jump back into the parent's test runner.
 */
#ifndef PQE_TESTS_FAULT_COMMON_H
#define PQE_TESTS_FAULT_COMMON_H

#include <limits.h>
#include <stdint.h>
#include <sys/types.h>

#include <pqc_enclave.h>

#define SKIP 77

/** Prints the text to stderr and ends the process (also a child) with status 1, running no exit handlers. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** Evaluates a call that uses a variable `err`; dies unless it returns PQE_OK. */
#define must(expr)                                                                                                     \
    do {                                                                                                               \
        pqe_error err_ = {0};                                                                                          \
        pqe_error *err = &err_;                                                                                        \
        pqe_status status_ = (expr);                                                                                   \
        if (status_ != PQE_OK)                                                                                         \
            die("%s:%d: %s: %s: %s", __FILE__, __LINE__, #expr, pqe_status_name(status_), err->message);               \
    } while (0)

/** True for the long form: PQE_BEDS=1. */
bool long_form(void);
/** True when built with AddressSanitizer or ThreadSanitizer. */
bool sanitized(void);
double seconds_now(void);

/** A small reproducible generator; its start value comes from $PQE_SEED and is printed, so that a run can be repeated. */
uint64_t seed_from_environment(void);
uint32_t draw(uint64_t *state, uint32_t below);

/** Copies a directory of regular files and directories to a place where nothing is. */
void tree_copy(const char *from, const char *to);
/** Removes a directory with all in it; one that is not there is fine. */
void tree_remove(const char *dir);
/** `dir` + "/" + `name`, in a static ring of buffers: valid for the next few calls only. */
const char *path_in(const char *dir, const char *name);

/** Waits for a child; returns its wait status. */
int wait_for(pid_t child);

/* ---- vaults: <base>/vault with the key file <base>/key ---- */

typedef struct vault_pair {
    pqe_backend *backend;
    pqe_vault *vault;
} vault_pair;

/** With the argument "counted" vaults get a counter from here on (tests/backend/counting.h), in <base>/device-<key>; with
 *  "native" their device keeps the ML-KEM keys itself (tests/backend/nativekem.h). */
void base_choose_device(int argc, char **argv);
bool base_counts(void);
/** The file backend with the key file <base>/<key>. */
pqe_status base_backend(const char *base, const char *key, pqe_backend **out, pqe_error *err);
void base_create(const char *base, vault_pair *out);
/** Opens and unlocks; by the key file <base>/key2 where the vault has moved to that. */
void base_open(const char *base, vault_pair *out);
void base_close(vault_pair *pair);

/** Puts the vault of another base, a copy made before, in the place of <base>/vault: with a counter it must be refused if
 *  its generation is lower. */
void check_older_refused(const char *base, const char *older, const char *where);

/** A put of make_content(len, seed). */
pqe_status put_seeded(pqe_vault *v, const char *name, size_t len, uint32_t seed, pqe_error *err);

/* ---- what a vault should hold ---- */

#define MODEL_NAMES 12

typedef struct content {
    bool present;
    size_t len;
    uint32_t seed;
} content;

typedef struct model {
    content names[MODEL_NAMES];
} model;

/** One batch of everything: new artifacts inline and in files, both replaced by either, names that come again. */
pqe_status put_batch(pqe_vault *v, pqe_error *err);
/** What it makes of a vault. */
void apply_batch(model *m);

/** Fills `out` with the name of the i-th artifact of `owner`. */
void model_name(unsigned owner, unsigned i, char out[32]);
/** What is really there under a name: `a` or `b` (which may be equal). Dies if it is neither, saying `where`. */
const content *model_match(pqe_vault *v, const char *name, const content *a, const content *b, const char *where);
/** Dies unless pqe_verify() is clean, without orphans if `alone`, and finds `artifacts` of them (-1: any number). */
void check_verified(pqe_vault *v, int artifacts, bool alone, const char *where);
/** Dies if <base>/vault/pending holds anything. */
void check_nothing_pending(const char *base, const char *where);
/** Opens <base>; compares with `before`, or with `after` (all of it) if that is not NULL; returns true if it was
 *  `after`. Verifies, and checks that nothing is left over. */
bool check_base(const char *base, const model *before, const model *after, const char *where);

#endif
