/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the access policy share. */
#include "unit/policy_support.h"

#include <string.h>

uint64_t boot_ms = 5000000;
int64_t wall_ms = 1700000000000;
uint8_t boot_number = 1;

uint64_t __wrap_pqe__boottime_ns(void);
int64_t __wrap_pqe__walltime_ms(void);
void __wrap_pqe__boot_id(uint8_t out[16]);

uint64_t
__wrap_pqe__boottime_ns(void)
{
    return boot_ms * 1000000u;
}

int64_t
__wrap_pqe__walltime_ms(void)
{
    return wall_ms;
}

void
__wrap_pqe__boot_id(uint8_t out[16])
{
    memset(out, boot_number, 16);
}

void
pass(uint64_t seconds)
{
    boot_ms += seconds * 1000;
    wall_ms += (int64_t)seconds * 1000;
}
