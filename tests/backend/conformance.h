/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conformance suite: what every backend must do, whoever wrote it. docs/backends.md says how to run it on one of
 * your own. The suite calls a backend the way the vault does, through the library's checked wrappers.
 */
#ifndef PQE_TESTS_BACKEND_CONFORMANCE_H
#define PQE_TESTS_BACKEND_CONFORMANCE_H

#include <pqc_enclave/backend.h>

typedef struct conformance_subject {
    const char *name; /**< shown in the report */
    const pqe_backend_ops *ops;
    const char *config;        /**< must allow several vaults at once */
    const char *wrong_config;  /**< opens, but holds no key of any vault of the suite; NULL: there is no such thing */
    bool passphrase;           /**< vaults made with `config` are opened by a passphrase; the suite supplies it */
    size_t (*leftovers)(void); /**< counts what the backend keeps outside vaults (files, key slots); NULL: nothing */
    size_t stride;             /**< where attaching is slow: damage every stride-th byte of a state; 0: every byte */
} conformance_subject;

/** Runs every test on the subject. Returns the number of failures. */
int conformance_run(const conformance_subject *subject);

#endif
