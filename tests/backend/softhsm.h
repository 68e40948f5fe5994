/* SPDX-License-Identifier: Apache-2.0 */
/* SoftHSM with a place of its own for its tokens, in a scratch directory. */
#ifndef PQE_TESTS_BACKEND_SOFTHSM_H
#define PQE_TESTS_BACKEND_SOFTHSM_H

#include <stdbool.h>
#include <stddef.h>

/** Makes the directory and points SoftHSM to it. Exits with 77 (skipped) where there is no SoftHSM. */
void softhsm_begin(void);
/** Removes everything. */
void softhsm_end(void);

/** The module's file. */
const char *softhsm_module(void);
/** Makes a token with user PIN "1234" and the security officer's "4321". */
void softhsm_token(const char *label);
/** Removes it with all its keys. */
void softhsm_remove(const char *label);

/** "module-path=...;token=LABEL<more>"; the next call but seven overwrites it. */
const char *softhsm_config(const char *label, const char *more);
/** ";pin-source=FILE" where the file holds the text. */
const char *softhsm_pin(const char *text);

/** Keys on all tokens. */
size_t softhsm_objects(void);

#endif
