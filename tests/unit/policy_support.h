/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the access policy share: clocks of their own (linker's --wrap), so that hours pass and are set at will. */
#ifndef PQE_TESTS_UNIT_POLICY_SUPPORT_H
#define PQE_TESTS_UNIT_POLICY_SUPPORT_H

#include <pqc_enclave/policy.h>

/** Milliseconds and a number of the boot, as the library is told. */
extern uint64_t boot_ms;
extern int64_t wall_ms;
extern uint8_t boot_number;
/** Both clocks go on. */
void pass(uint64_t seconds);

#define RULE(...) (&(pqe_policy_rule){.size = sizeof(pqe_policy_rule), __VA_ARGS__})

#endif
