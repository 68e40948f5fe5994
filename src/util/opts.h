/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the options structs of callers, whose headers may be older or newer than this library. */
#ifndef PQE_UTIL_OPTS_H
#define PQE_UTIL_OPTS_H

#include "util/error.h"

/**
 * Copies the struct that begins with its size at `given` (NULL: none) to the one of `size` bytes at `out`, whose own size
 * is set and whose rest is zero where the caller's is shorter. PQE_E_ARGUMENT if the size is less than `least`, absurd, or
 * reaches beyond ours with anything but zeros: an option that is unknown here must not be passed over. `what` as in
 * "the put options".
 */
pqe_status pqe__opts_copy(void *out, size_t size, size_t least, const void *given, const char *what, pqe_error *err);

#endif
