/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays that grow by one element at a time. */
#include "util/grow.h"

#include <stdint.h>
#include <stdlib.h>

#define FIRST ((size_t)16)

void *
pqe__grow(void *array, size_t count, size_t *capacity, size_t size)
{
    size_t wanted = *capacity != 0 ? 2 * *capacity : FIRST;
    void *grown;

    if (count < *capacity)
        return array;
    if (*capacity > SIZE_MAX / 2 || wanted > SIZE_MAX / size)
        return NULL;
    if ((grown = realloc(array, wanted * size)) != NULL)
        *capacity = wanted;
    return grown;
}
