/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite over the built-in backends, each as it is and behind the decorator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the headers above */
#include <cmocka.h>

#include "backend/conformance.h"
#include "backend/faulty.h"
#include "backend/nativekem.h"
#include "backend/file/keyfile.h"
#include "backend/file/passphrase.h"
#include "backend/registry.h"
#include "backend/scratch.h"

/* The least that is accepted: the suite opens passphrases hundreds of times. */
static const pqe__argon2_params cheap = {.memory_kib = PQE__ARGON2_MEMORY_MIN, .passes = 2, .lanes = 1};

static int
run_both(const conformance_subject *subject)
{
    conformance_subject decorated = *subject;
    char name[64];
    int failures = conformance_run(subject);

    snprintf(name, sizeof name, "%s, decorated", subject->name);
    decorated.name = name;
    decorated.ops = faulty_wrap(subject->ops);
    decorated.stride *= 16;
    return failures + conformance_run(&decorated);
}

/* A key file of a vault that the suite never makes; returns the configuration that names it. */
static const char *
make_wrong_key_file(void)
{
    static char config[SCRATCH_PATH_MAX + 16];
    static const uint8_t id[PQE_VAULT_ID_SIZE] = {0xee}, key[PQE__KEY_SIZE] = {0xee};
    char path[SCRATCH_PATH_MAX];
    pqe__keyfile_made made;

    if (pqe__keyfile_create(scratch_path("wrong.key", path), id, key, &made, NULL) != PQE_OK)
        exit(EXIT_FAILURE);
    pqe__keyfile_forget(&made);
    snprintf(config, sizeof config, "key-file=%s", path);
    return config;
}

int
main(void)
{
    conformance_subject memory = {.name = "memory", .ops = pqe__backend_find("memory"), .config = ""};
    conformance_subject key_file = {
        .name = "file, key file", .ops = pqe__backend_find("file"), .config = "", .leftovers = scratch_entries};
    conformance_subject passphrase = {.name = "file, passphrase",
                                      .ops = pqe__backend_find("file"),
                                      .config = "passphrase",
                                      .passphrase = true,
                                      .stride = 1,
                                      .leftovers = scratch_entries};
    conformance_subject native = {.name = "memory, with native ML-KEM", .config = "", .leftovers = nativekem_pairs};
    int failures;

    setenv("XDG_CONFIG_HOME", scratch_make(), 1);
    key_file.wrong_config = make_wrong_key_file();
    if (!pqe__passphrase_set_params(&cheap))
        return EXIT_FAILURE;
    failures = run_both(&memory) + run_both(&key_file) + run_both(&passphrase);
    native.ops = nativekem_wrap(pqe__backend_find("memory"));
    failures += run_both(&native);
    scratch_remove();
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
