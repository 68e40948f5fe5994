/* SPDX-License-Identifier: Apache-2.0 */
/* A backend to start from: docs/backends.md. */
#ifndef SKELETON_H
#define SKELETON_H

#include <pqc_enclave/backend.h>

extern const pqe_backend_ops skeleton_ops;

#endif
