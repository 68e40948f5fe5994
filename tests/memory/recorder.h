/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records every key that passes the library's inner interfaces, so that a memory dump can be searched for them.
 *
 * Linked with --wrap of the functions in wrapped.txt: each secret is written to a file as it is made, read or
 * handed on, every byte XORed with RECORDER_MASK on its way, so that recording plants no copy of it in this process.
 */
#ifndef PQE_TESTS_MEMORY_RECORDER_H
#define PQE_TESTS_MEMORY_RECORDER_H

#include <stddef.h>
#include <stdint.h>

#define RECORDER_MASK 0xa5u

/** Starts writing to `path`: lines of a name, a space, and masked bytes in hex. */
void recorder_start(const char *path);

/** Records one more secret, at most 256 bytes. */
void recorder_note(const char *name, const void *secret, size_t len);

/** What random secrets are called from now on; "random secret" at first. */
void recorder_call_random(const char *name);

/** Every page that the library's locked memory was handed out from so far. */
size_t recorder_pages(const void ***pages);

#endif
