/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A large artifact goes in and out through the streaming calls in little memory: at most 64 MiB of peak resident memory
 * for a put, a get and a verify each, whatever the size. Every byte that comes out is compared.
 *
 * Short form: 64 MiB. PQE_BEDS=1: 8 GiB (needs 9 GiB in $TMPDIR). Sanitizers need memory of their own, so that only the
 * content is checked there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault/common.h"
#include "unit/support.h"

#define STEP ((size_t)1 << 20)
#define RSS_MAX_KIB (64L * 1024)

/* Depends on the position alone, and no two places of the artifact are alike. */
static void
make_step(uint64_t *buf, uint64_t offset)
{
    for (size_t i = 0; i < STEP / sizeof *buf; i++) {
        uint64_t x = (offset / sizeof *buf + i + 1) * 0x9e3779b97f4a7c15u;
        buf[i] = x ^ (x >> 29);
    }
}

static uint64_t *
make_buffer(void)
{
    uint64_t *buf = malloc(STEP);

    if (buf == NULL)
        die("out of memory");
    return buf;
}

static void
put_large(const char *base, uint64_t size)
{
    pqe_put_opts o = {.size = sizeof o, .name = "large", .kind = PQE_KIND_MODEL_WEIGHTS};
    uint64_t *buf = make_buffer();
    pqe_writer *w = NULL;
    vault_pair p;

    base_open(base, &p);
    must(pqe_writer_open(p.vault, &o, &w, err));
    for (uint64_t at = 0; at < size; at += STEP) {
        make_step(buf, at);
        must(pqe_writer_write(w, buf, STEP, err));
    }
    must(pqe_writer_finish(&w, NULL, err));
    base_close(&p);
    free(buf);
}

static void
get_large(const char *base, uint64_t size)
{
    uint64_t *buf = make_buffer(), *expected = make_buffer(), at = 0;
    pqe_reader *r = NULL;
    vault_pair p;
    size_t len = 0;

    base_open(base, &p);
    must(pqe_reader_open(p.vault, "large", &r, err));
    for (;;) {
        must(pqe_reader_read(r, buf, STEP, &len, err));
        if (len == 0)
            break;
        make_step(expected, at);
        if (len != STEP || memcmp(buf, expected, STEP) != 0)
            die("the content differs at %llu (%zu bytes read)", (unsigned long long)at, len);
        at += len;
    }
    if (at != size)
        die("%llu bytes came back", (unsigned long long)at);
    pqe_reader_close(&r);
    base_close(&p);
    free(buf);
    free(expected);
}

static void
verify_large(const char *base, uint64_t size)
{
    vault_pair p;

    (void)size;
    base_open(base, &p);
    check_verified(p.vault, 1, true, "verify");
    base_close(&p);
}

static void
in_child(const char *what, void (*fn)(const char *base, uint64_t size), const char *base, uint64_t size)
{
    double start = seconds_now(), seconds;
    struct rusage usage;
    int status = 0;
    pid_t child;

    fflush(stdout);
    if ((child = fork()) < 0)
        die("fork: %s", strerror(errno));
    if (child == 0) {
        fn(base, size);
        _exit(0);
    }
    while (wait4(child, &status, 0, &usage) != child)
        if (errno != EINTR)
            die("wait4: %s", strerror(errno));
    if (status != 0)
        die("%s failed (see above)", what);
    seconds = seconds_now() - start;
    printf("%-6s %llu MiB in %.1f s, %.0f MiB/s, peak of resident memory %ld KiB\n", what,
           (unsigned long long)(size >> 20), seconds, (double)(size >> 20) / seconds, usage.ru_maxrss);
    if (!sanitized() && usage.ru_maxrss > RSS_MAX_KIB)
        die("%s took %ld KiB of memory, more than %ld", what, usage.ru_maxrss, RSS_MAX_KIB);
}

static bool
space_for(const char *dir, uint64_t size)
{
    struct statvfs s;

    if (statvfs(dir, &s) != 0)
        die("statvfs: %s", strerror(errno));
    return (uint64_t)s.f_bavail * s.f_frsize >= size + size / 8;
}

int
main(void)
{
    uint64_t size = (uint64_t)(long_form() ? 8192 : 64) << 20;
    char *scratch = scratch_make();
    vault_pair p;

    if (!space_for(scratch, size)) {
        printf("skipped: less than %llu MiB are free in %s\n", (unsigned long long)((size + size / 8) >> 20), scratch);
        scratch_remove(scratch);
        return SKIP;
    }
    base_create(scratch, &p);
    base_close(&p);
    in_child("put", put_large, scratch, size);
    in_child("get", get_large, scratch, size);
    in_child("verify", verify_large, scratch, size);
    scratch_remove(scratch);
    return 0;
}
