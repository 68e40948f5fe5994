/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of tokens of PKCS#11 3.2, beside the conformance suite. Their state is the subject. */
#ifndef PQE_TESTS_BACKEND_PKCS11_PAIRS_H
#define PQE_TESTS_BACKEND_PKCS11_PAIRS_H

void pkcs11_has_both(void **state);
void pkcs11_signs(void **state);

#endif
