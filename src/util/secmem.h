/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for keys: locked, left out of core dumps, absent in forked children, wiped when freed.
 *
 * Regions come from memfd_secret(2) (not even the kernel maps them) with the descriptor closed and MADV_DONTFORK, else
 * from an anonymous mapping with mlock, MADV_DONTDUMP and MADV_WIPEONFORK. Small allocations share a region.
 * A forked child must not touch what its parent allocated here: handles check pqe__owner_is_here() first.
 */
#ifndef PQE_UTIL_SECMEM_H
#define PQE_UTIL_SECMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/** Installs the fork handlers, so that what has handlers of its own can install them after: fork takes locks in the
 *  reverse order of installation. */
void pqe__secmem_init(void);

/** Zeroed memory of `size` bytes, 64-byte aligned; NULL if none can be had or locked. */
void *pqe__secmem_alloc(size_t size);

/** Wipes and frees; NULL is fine. In a child of the allocating process nothing is touched. */
void pqe__secmem_free(void *p);

/** Overwrites in a way the compiler keeps. */
void pqe__wipe(void *p, size_t size);

/** Clears the vector registers (x86-64, AArch64; nothing elsewhere). Copies and libcrypto's ciphers leave keys and
 *  plaintext there, where a dump of the process finds them until the thread happens to use the registers again. */
void pqe__wipe_registers(void);

/** This process, for who is asked later whether it is still the same. No system call but the first. */
pid_t pqe__owner(void);
/** True in the process that recorded `owner`. */
bool pqe__owner_is_here(pid_t owner);

/** Zeroed pages that are zero again in every forked child, however that was made; NULL if there are none to be had. */
void *pqe__map_wiped_on_fork(size_t size);

/** How regions are made; for tests and `doctor`. */
typedef enum { PQE__SECMEM_AUTO, PQE__SECMEM_FALLBACK } pqe__secmem_mode;
void pqe__secmem_set_mode(pqe__secmem_mode mode);
/** True if regions come from memfd_secret (after the first allocation). */
bool pqe__secmem_is_secret(void);

#endif
