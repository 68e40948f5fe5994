/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of sessions share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "unit/session_support.h"
#include "unit/support.h"
#include "vault/internal.h"

/* ---- clocks ---- */

_Atomic time_t clock_shift;

time_t __real_time(time_t *out);
time_t __wrap_time(time_t *out);
int __real_clock_gettime(clockid_t id, struct timespec *out);
int __wrap_clock_gettime(clockid_t id, struct timespec *out);

time_t
__wrap_time(time_t *out)
{
    time_t now = __real_time(NULL) + clock_shift;

    if (out != NULL)
        *out = now;
    return now;
}

/* As clock_settime() would: other clocks are not affected. */
int
__wrap_clock_gettime(clockid_t id, struct timespec *out)
{
    int rc = __real_clock_gettime(id, out);

    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE || id == CLOCK_TAI))
        out->tv_sec += clock_shift;
    return rc;
}

uint64_t
now_ms(void)
{
    return pqe__boottime_ns() / MS;
}

void
sleep_ms(unsigned ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * (long)MS};

    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

/* ---- looking without touching ---- */

bool
is_gone(pqe_vault *v)
{
    bool gone;

    pthread_rwlock_rdlock(&v->key_lock);
    gone = v->session == NULL;
    pthread_rwlock_unlock(&v->key_lock);
    return gone;
}

uint64_t
wait_until_gone(pqe_vault *v)
{
    uint64_t deadline = now_ms() + 60000;

    while (!is_gone(v)) {
        if (now_ms() > deadline)
            fail_msg("the session does not end");
        sleep_ms(2);
    }
    return now_ms();
}

bool
is_wiped(const void *p, size_t len)
{
    const uint8_t *bytes = p;
    uint8_t any = 0;

    for (size_t i = 0; i < len; i++)
        any |= bytes[i];
    return any == 0;
}

void
assert_in_time(uint64_t began, uint64_t ended, uint32_t ttl)
{
    assert_true(ended - began >= (uint64_t)ttl * 1000);
    assert_true(ended - began < (uint64_t)ttl * 1000 + LATE_MS);
}
