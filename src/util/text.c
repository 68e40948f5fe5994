/* SPDX-License-Identifier: Apache-2.0 */
/* Hexadecimal, UTF-8 validation, time stamps. */
#include "util/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

/* Value of a digit plus one; 0 for what is none. */
#define LOWER_DIGITS                                                                                                   \
    ['0'] = 1, ['1'] = 2, ['2'] = 3, ['3'] = 4, ['4'] = 5, ['5'] = 6, ['6'] = 7, ['7'] = 8, ['8'] = 9, ['9'] = 10,     \
    ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16
static const uint8_t lower_digits[256] = {LOWER_DIGITS};
static const uint8_t any_digits[256] = {
    LOWER_DIGITS, ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16};

static bool
decode(const char *text, size_t len, bool upper, uint8_t *out)
{
    const uint8_t *digits = upper ? any_digits : lower_digits;

    for (size_t i = 0; i < len; i++) {
        unsigned high = digits[(uint8_t)text[2 * i]];
        unsigned low = high == 0 ? 0 : digits[(uint8_t)text[2 * i + 1]];
        if (low == 0)
            return false;
        out[i] = (uint8_t)((high - 1) << 4 | (low - 1));
    }
    return true;
}

bool
pqe__hex_decode(const char *text, size_t len, uint8_t *out)
{
    return decode(text, len, true, out);
}

bool
pqe__hex_decode_lower(const char *text, size_t len, uint8_t *out)
{
    return decode(text, len, false, out);
}

bool
pqe__hex_is_lower(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (lower_digits[(uint8_t)text[i]] == 0)
            return false;
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

int64_t
pqe__walltime_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void
pqe__boot_id(uint8_t out[16])
{
    static const size_t groups[] = {4, 2, 2, 2, 6};
    char text[37] = "";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    size_t at = 0, byte = 0;
    bool ok = fd >= 0 && read(fd, text, 36) == 36;

    if (fd >= 0)
        close(fd);
    for (size_t i = 0; i < sizeof groups / sizeof groups[0] && ok; i++) {
        ok = pqe__hex_decode(text + at, groups[i], out + byte);
        byte += groups[i];
        at += 2 * groups[i] + 1;
    }
    if (!ok)
        memset(out, 0, 16);
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

/* Two or four digits at `*p`, which moves on; -1 if there are none. */
static int
take_number(const char **p, const char *end, int digits)
{
    int value = 0;

    if (end - *p < digits)
        return -1;
    for (int i = 0; i < digits; i++) {
        char c = (*p)[i];
        if (c < '0' || c > '9')
            return -1;
        value = 10 * value + (c - '0');
    }
    *p += digits;
    return value;
}

static bool
take_char(const char **p, const char *end, char c)
{
    if (*p == end || **p != c)
        return false;
    (*p)++;
    return true;
}

/* "Z", or an offset in hours and minutes, in seconds. */
static bool
take_zone(const char **p, const char *end, int64_t *offset)
{
    int sign, hours, minutes;

    *offset = 0;
    if (take_char(p, end, 'Z'))
        return true;
    sign = take_char(p, end, '+') ? 1 : take_char(p, end, '-') ? -1 : 0;
    hours = take_number(p, end, 2);
    if (sign == 0 || !take_char(p, end, ':') || (minutes = take_number(p, end, 2)) < 0 || hours < 0 || hours > 23 ||
        minutes > 59)
        return false;
    *offset = sign * (hours * 3600 + minutes * 60);
    return true;
}

static bool
take_fraction(const char **p, const char *end)
{
    const char *start;

    if (!take_char(p, end, '.'))
        return true;
    for (start = *p; *p != end && **p >= '0' && **p <= '9'; (*p)++)
        continue;
    return *p != start;
}

bool
pqe__time_parse(const char *text, size_t len, int64_t *unix_seconds)
{
    static const int days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const char *p = text, *end = text + len;
    struct tm tm = {0};
    int64_t offset;
    bool shape, leap;

    tm.tm_year = take_number(&p, end, 4);
    shape = tm.tm_year >= 1970 && take_char(&p, end, '-') && (tm.tm_mon = take_number(&p, end, 2)) >= 1 &&
            take_char(&p, end, '-') && (tm.tm_mday = take_number(&p, end, 2)) >= 1 && take_char(&p, end, 'T') &&
            (tm.tm_hour = take_number(&p, end, 2)) >= 0 && take_char(&p, end, ':') &&
            (tm.tm_min = take_number(&p, end, 2)) >= 0 && take_char(&p, end, ':') &&
            (tm.tm_sec = take_number(&p, end, 2)) >= 0 && take_fraction(&p, end) && take_zone(&p, end, &offset) &&
            p == end;
    if (!shape || tm.tm_mon > 12 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 59)
        return false;
    leap = (tm.tm_year % 4 == 0 && tm.tm_year % 100 != 0) || tm.tm_year % 400 == 0;
    if (tm.tm_mday > days[tm.tm_mon - 1] + (leap && tm.tm_mon == 2))
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    *unix_seconds = (int64_t)timegm(&tm) - offset;
    return true;
}
