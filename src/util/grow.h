/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays that grow by one element at a time. */
#ifndef PQE_UTIL_GROW_H
#define PQE_UTIL_GROW_H

#include <stddef.h>

/** The array of `count` elements of `size` bytes with room for one more: `array` itself where there is room, else
 *  another (*capacity is its). NULL if memory is short; `array` is still good then. */
void *pqe__grow(void *array, size_t count, size_t *capacity, size_t size);

#endif
