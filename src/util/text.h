/* SPDX-License-Identifier: Apache-2.0 */
/* Hexadecimal, UTF-8 validation, time stamps. */
#ifndef PQE_UTIL_TEXT_H
#define PQE_UTIL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Writes 2 * len lower-case digits and a NUL. */
void pqe__hex_encode(const uint8_t *data, size_t len, char *out);
/** Reads exactly 2 * len digits (either case) from the start of `text`; false otherwise. */
bool pqe__hex_decode(const char *text, size_t len, uint8_t *out);
/** The same for lower-case digits alone. */
bool pqe__hex_decode_lower(const char *text, size_t len, uint8_t *out);
/** True if all of `text` is lower-case hexadecimal digits. */
bool pqe__hex_is_lower(const char *text, size_t len);
/** Length of the UTF-8 sequence at the start of `text` and its code point; 0 if it is invalid, NUL, or nothing is left. */
size_t pqe__utf8_next(const char *text, size_t left, uint32_t *code);
/** Valid UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF) without NUL. */
bool pqe__utf8_valid(const char *text, size_t len);
/** Seconds since boot, suspend included; setting the clock does not change it. */
uint64_t pqe__boottime_ns(void);
/** Seconds since 1970, UTC. */
int64_t pqe__walltime(void);
/** The same in milliseconds. */
int64_t pqe__walltime_ms(void);
/** The kernel's id of the running boot; zeros where it gives none. */
void pqe__boot_id(uint8_t out[16]);
/** "2026-01-31T23:59:59Z"; 21 bytes with NUL. False if the year has not four digits. */
bool pqe__time_format(int64_t unix_seconds, char out[21]);

/** Reads ISO 8601 as Python's datetime.isoformat() and we ourselves write it: "2026-01-31T23:59:59", a fraction of a
 *  second if any (dropped), then "Z" or an offset such as "+00:00". False for anything else and for dates that are not. */
bool pqe__time_parse(const char *text, size_t len, int64_t *unix_seconds);

#endif
