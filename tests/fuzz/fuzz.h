/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzz targets and the maker of their seeds share. A target never only looks for crashes: it also knows what
 * a right answer would be, and stops the fuzzer at a wrong one.
 */
#ifndef PQE_TESTS_FUZZ_FUZZ_H
#define PQE_TESTS_FUZZ_FUZZ_H

#include <pqc_enclave.h>

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A finding: libFuzzer keeps the input. */
#define FUZZ_CHECK(condition)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/** Byte `i` of every content the seeds are made of. */
static inline uint8_t
fuzz_content(size_t i)
{
    return (uint8_t)(i * 31 + i / 256 + 7);
}

/** DEK, body id, vault id and key of the seeds: this byte throughout. */
#define FUZZ_BYTE 0x42

/** The artifacts of the index seed. */
#define FUZZ_ARTIFACTS 4
typedef struct fuzz_artifact {
    const char *name;
    size_t len;
} fuzz_artifact;
extern const fuzz_artifact fuzz_artifacts[FUZZ_ARTIFACTS];

/** A backend whose key is a constant, so that vaults outlive the process that made them. Not for anything else. */
pqe_backend *fuzz_backend(void);
/** Makes an empty directory for a vault under $TMPDIR; never removed by the targets. */
const char *fuzz_directory(void);

#endif
