/* SPDX-License-Identifier: Apache-2.0 */
/* Two helpers for tests over byte buffers. */
#ifndef PQE_TESTS_UNIT_BYTES_H
#define PQE_TESTS_UNIT_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool
all_bytes(const uint8_t *p, size_t len, uint8_t value)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != value)
            return false;
    return true;
}

static inline void
fill(uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(i * 7 + 3);
}

#endif
