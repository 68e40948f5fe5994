/* SPDX-License-Identifier: Apache-2.0 */
/* Locked memory for keys: regions of 64-byte slots with a first-fit bitmap. */
#include "util/secmem.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLOT 64u
#define REGION_SLOTS 1024u /* 64 KiB: 128 such regions fit the usual RLIMIT_MEMLOCK of 8 MiB */

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

typedef struct region {
    struct region *next;
    uint8_t *base;
    size_t slots;
    uint16_t *runs; /* runs[i]: length of the allocation that starts at slot i, USED inside one, 0 if free */
} region;

#define USED 0xffffu

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t pool_once = PTHREAD_ONCE_INIT;
static region *pool;
static pqe__secmem_mode pool_mode = PQE__SECMEM_AUTO;
static bool pool_is_secret;

void
pqe__wipe(void *p, size_t size)
{
    if (p != NULL && size != 0)
        explicit_bzero(p, size);
}

#if defined(__x86_64__)
/* vzeroall clears registers 0 to 15 in their whole width. 16 to 31, of AVX-512, cannot be named as clobbered in code
 * that is compiled without it; nor does such code use them, and like all of them they are not kept over calls. */
__attribute__((noinline)) void
pqe__wipe_registers(void)
{
    if (__builtin_cpu_supports("avx512f"))
        __asm__ volatile(".irp n,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
                         "vpxord %%zmm\\n, %%zmm\\n, %%zmm\\n\n\t"
                         ".endr" ::
                             : "memory");
    if (__builtin_cpu_supports("avx"))
        __asm__ volatile("vzeroall" ::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                               "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    else
        __asm__ volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
                         "pxor %%xmm\\n, %%xmm\\n\n\t"
                         ".endr" ::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                               "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}
#elif defined(__aarch64__)
__attribute__((noinline)) void
pqe__wipe_registers(void)
{
    /* The lower halves of 8 to 15 belong to the caller; it saved them if they held anything of ours. */
    __asm__ volatile(".irp n,0,1,2,3,4,5,6,7,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
                     "movi v\\n\\().2d, #0\n\t"
                     ".endr" ::
                         : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21",
                           "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
}
#else
void
pqe__wipe_registers(void)
{
}
#endif

void *
pqe__map_wiped_on_fork(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    if (madvise(p, size, MADV_WIPEONFORK) == 0)
        return p;
    munmap(p, size);
    return NULL;
}

/* The process's id, in such a page. NULL: not to be had. */
static _Atomic pid_t *known_pid;
static pthread_once_t known_pid_once = PTHREAD_ONCE_INIT;

static void
map_known_pid(void)
{
    known_pid = pqe__map_wiped_on_fork(sizeof *known_pid);
}

/* Asked several times in every call, and a system call each time would be felt. */
pid_t
pqe__owner(void)
{
    pid_t pid;

    pthread_once(&known_pid_once, map_known_pid);
    if (known_pid == NULL)
        return getpid();
    pid = atomic_load_explicit(known_pid, memory_order_relaxed);
    if (pid == 0) {
        pid = getpid();
        atomic_store_explicit(known_pid, pid, memory_order_relaxed);
    }
    return pid;
}

bool
pqe__owner_is_here(pid_t owner)
{
    return owner == pqe__owner();
}

static void
lock_pool(void)
{
    pthread_mutex_lock(&pool_lock);
}

static void
unlock_pool(void)
{
    pthread_mutex_unlock(&pool_lock);
}

/* The child starts with no regions: the parent's are unmapped or zero here, and never touched again. */
static void
forget_pool(void)
{
    pool = NULL;
    pthread_mutex_unlock(&pool_lock);
}

static void
install_fork_handlers(void)
{
    pthread_atfork(lock_pool, unlock_pool, forget_pool);
}

void
pqe__secmem_init(void)
{
    pthread_once(&pool_once, install_fork_handlers);
}

static void *
map_secret(size_t size)
{
    int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
    void *p = MAP_FAILED;

    if (fd < 0)
        return NULL;
    if (ftruncate(fd, (off_t)size) == 0)
        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED)
        return NULL;
    if (madvise(p, size, MADV_DONTFORK) != 0) {
        munmap(p, size);
        return NULL;
    }
    return p;
}

static void *
map_locked(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    if (mlock(p, size) != 0 || madvise(p, size, MADV_DONTDUMP) != 0 || madvise(p, size, MADV_WIPEONFORK) != 0) {
        munmap(p, size);
        return NULL;
    }
    return p;
}

static region *
add_region(size_t slots)
{
    region *r = calloc(1, sizeof *r);
    size_t size = slots * SLOT;

    if (r == NULL)
        return NULL;
    r->runs = calloc(slots, sizeof *r->runs);
    if (r->runs == NULL)
        goto fail;
    if (pool_mode == PQE__SECMEM_AUTO)
        r->base = map_secret(size);
    pool_is_secret = r->base != NULL;
    if (r->base == NULL)
        r->base = map_locked(size);
    if (r->base == NULL)
        goto fail;
    r->slots = slots;
    r->next = pool;
    pool = r;
    return r;

fail:
    free(r->runs);
    free(r);
    return NULL;
}

static void *
take_slots(region *r, size_t want)
{
    size_t run = 0;

    for (size_t i = 0; i < r->slots; i++) {
        if (r->runs[i] != 0) { /* the start of an allocation: those inside it are never looked at */
            i += r->runs[i] - 1u;
            run = 0;
            continue;
        }
        if (++run < want)
            continue;
        size_t start = i + 1 - want;
        for (size_t k = start; k <= i; k++)
            r->runs[k] = USED;
        r->runs[start] = (uint16_t)want;
        return r->base + start * SLOT;
    }
    return NULL;
}

void *
pqe__secmem_alloc(size_t size)
{
    size_t want;
    void *p = NULL;

    if (size == 0 || size > (size_t)REGION_SLOTS * SLOT)
        return NULL;
    want = (size + SLOT - 1) / SLOT;
    pqe__secmem_init();
    lock_pool();
    for (region *r = pool; r != NULL && p == NULL; r = r->next)
        p = take_slots(r, want);
    if (p == NULL) {
        region *r = add_region(REGION_SLOTS);
        if (r != NULL)
            p = take_slots(r, want);
    }
    unlock_pool();
    return p;
}

void
pqe__secmem_free(void *p)
{
    uint8_t *q = p;

    if (p == NULL)
        return;
    lock_pool();
    for (region *r = pool; r != NULL; r = r->next) {
        if (q < r->base || q >= r->base + r->slots * SLOT)
            continue;
        size_t start = (size_t)(q - r->base) / SLOT;
        size_t run = r->runs[start];
        if (run == 0 || run == USED || (size_t)(q - r->base) % SLOT != 0)
            abort(); /* a pointer that was never ours or was freed twice: memory is corrupt, going on would leak keys */
        pqe__wipe(q, run * SLOT);
        memset(&r->runs[start], 0, run * sizeof r->runs[0]);
        break;
    }
    unlock_pool();
}

void
pqe__secmem_set_mode(pqe__secmem_mode mode)
{
    lock_pool();
    pool_mode = mode;
    unlock_pool();
}

bool
pqe__secmem_is_secret(void)
{
    bool secret;

    lock_pool();
    secret = pool_is_secret;
    unlock_pool();
    return secret;
}
