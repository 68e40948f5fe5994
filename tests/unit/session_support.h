/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of sessions share: a wall clock that can be set (linker's --wrap), and looks at a session from aside. */
#ifndef PQE_TESTS_UNIT_SESSION_SUPPORT_H
#define PQE_TESTS_UNIT_SESSION_SUPPORT_H

#include <time.h>

#include <pqc_enclave.h>

#define MS 1000000u
#define LATE_MS 4000u /* how late the watcher may be on a busy machine */
#define SHORT_TTL 3u  /* seconds: of sessions in which something is to be done before they end */

extern _Atomic time_t clock_shift; /* added to what the wall clock says */
uint64_t now_ms(void);
void sleep_ms(unsigned ms);
/** Unlike every public call this does not end a session that has expired. */
bool is_gone(pqe_vault *v);
/** Waits until the session has gone by itself; returns when that was. */
uint64_t wait_until_gone(pqe_vault *v);
/** Locked memory stays mapped after it was freed. */
bool is_wiped(const void *p, size_t len);
void assert_in_time(uint64_t began, uint64_t ended, uint32_t ttl);

#endif
