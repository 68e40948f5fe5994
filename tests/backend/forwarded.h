/* SPDX-License-Identifier: Apache-2.0 */
/* The PKCS#11 module that a test's own module forwards to. */
#ifndef PQE_TESTS_BACKEND_FORWARDED_H
#define PQE_TESTS_BACKEND_FORWARDED_H

#include <stdbool.h>

#include "backend/pkcs11/api.h"

#define FORWARDED_MODULE "PQE_FORWARDED_MODULE" /* environment: its path */

/** False if it cannot be loaded. */
bool forwarded_load(CK_FUNCTION_LIST **out);

#endif
