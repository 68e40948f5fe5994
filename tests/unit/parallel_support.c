/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the engine for large artifacts share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "unit/parallel_support.h"
#include "unit/support.h"

const unsigned threads[3] = {1, 2, 7};
const char *const hashes[3] = {"sha3-256", "parallelhash256", "deferred"};

bool
all_are(const uint8_t *p, size_t len, uint8_t value)
{
    return len == 0 || (p[0] == value && memcmp(p, p + 1, len - 1) == 0);
}

pqe_writer *
start_put(pqe_vault *v, const char *name, const char *hash)
{
    pqe_put_opts o = {.size = sizeof o, .name = name, .kind = PQE_KIND_MODEL_WEIGHTS, .hash = hash};
    pqe_writer *w = NULL;

    assert_pqe_ok(pqe_writer_open(v, &o, &w, err));
    return w;
}

int
memory_file(const uint8_t *data, size_t len)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    for (size_t at = 0; at < len;) {
        ssize_t n = write(fd, data + at, len - at);
        assert_true(n > 0);
        at += (size_t)n;
    }
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

void
assert_file_is(int fd, const uint8_t *data, size_t len)
{
    struct stat st;
    void *p;

    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, len);
    if (len == 0)
        return;
    p = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    assert_memory_equal(p, data, len);
    munmap(p, len);
}

void
sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}
