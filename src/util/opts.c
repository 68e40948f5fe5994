/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the options structs of callers, whose headers may be older or newer than this library. */
#include "util/opts.h"

#include <stdint.h>
#include <string.h>

#define OPTS_MAX_SIZE 4096u

pqe_status
pqe__opts_copy(void *out, size_t size, size_t least, const void *given, const char *what, pqe_error *err)
{
    const uint8_t *bytes = given;
    size_t told = 0;

    memset(out, 0, size);
    if (given != NULL)
        memcpy(&told, given, sizeof told);
    if (told < least || told < sizeof told)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "%s are missing or their size is not set", what);
    if (told > OPTS_MAX_SIZE)
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the size of %s is wrong", what);
    for (size_t i = size; i < told; i++)
        if (bytes[i] != 0)
            return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "%s ask for something unknown to this version",
                             what);
    memcpy(out, given, told < size ? told : size);
    memcpy(out, &size, sizeof size);
    return PQE_OK;
}
