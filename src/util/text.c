/* SPDX-License-Identifier: Apache-2.0 */
/* Hexadecimal, UTF-8 validation, time stamps. */
#include "util/text.h"

#include <stdio.h>
#include <time.h>

void
pqe__hex_encode(const uint8_t *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[data[i] >> 4];
        out[2 * i + 1] = digits[data[i] & 15];
    }
    out[2 * len] = '\0';
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool
pqe__hex_decode(const char *text, size_t len, uint8_t *out)
{
    for (size_t i = 0; i < len; i++) {
        int high = hex_digit(text[2 * i]);
        int low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

size_t
pqe__utf8_next(const char *text, size_t left, uint32_t *code)
{
    /* RFC 3629, section 4: the first byte gives the length, `least` rules out forms that are longer than needed. */
    static const uint32_t least[5] = {0, 1, 0x80, 0x800, 0x10000};
    const uint8_t *s = (const uint8_t *)text;
    size_t n = 0;
    uint32_t v;

    if (left > 0)
        n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    v = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        v = v << 6 | (s[i] & 0x3f);
    }
    if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
        return 0;
    *code = v;
    return n;
}

bool
pqe__utf8_valid(const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t code;
        size_t n = pqe__utf8_next(text + i, len - i, &code);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

uint64_t
pqe__boottime_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int64_t
pqe__walltime(void)
{
    return (int64_t)time(NULL);
}

bool
pqe__time_format(int64_t unix_seconds, char out[21])
{
    time_t t = (time_t)unix_seconds;
    struct tm tm;

    if (unix_seconds < 0 || gmtime_r(&t, &tm) == NULL || tm.tm_year > 9999 - 1900) {
        out[0] = '\0';
        return false;
    }
    return strftime(out, 21, "%Y-%m-%dT%H:%M:%SZ", &tm) == 20;
}
