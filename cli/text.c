/* SPDX-License-Identifier: Apache-2.0 */
/* Text for people: names made harmless for a terminal, sizes, durations. */
#include "text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "util/text.h"

bool
cli_utf8_valid(const char *s)
{
    return pqe__utf8_valid(s, strlen(s));
}

/* C0, DEL and C1 act on terminals; U+2028 and U+2029 break lines; the others reorder or hide what is around them. */
static bool
is_harmful(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || code == 0x200b || code == 0x200e ||
           code == 0x200f || (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x2069) ||
           code == 0xfeff || (code >= 0xfff9 && code <= 0xfffb) || (code >= 0xe0000 && code <= 0xe007f);
}

void
cli_put_escaped(FILE *out, const char *s)
{
    for (size_t left = strlen(s), n; left > 0; left -= n) {
        uint32_t code = 0;
        bool harmful;

        n = pqe__utf8_next(s, left, &code);
        harmful = n == 0 || is_harmful(code);
        if (n == 0)
            n = 1;
        if (code == '\\')
            fputc_unlocked('\\', out);
        for (size_t i = 0; i < n; i++) {
            if (harmful)
                fprintf(out, "\\x%02x", (unsigned)(unsigned char)s[i]);
            else
                fputc_unlocked(s[i], out);
        }
        s += n;
    }
}

char *
cli_escaped(const char *s)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (out == NULL)
        return NULL;
    cli_put_escaped(out, s);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

void
cli_format_size(uint64_t bytes, char out[16])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;

    /* 1023.95 and up would be printed as 1024.0. */
    while (value >= 1023.95 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    if (unit == 0)
        snprintf(out, 16, "%" PRIu64 " B", bytes);
    else
        snprintf(out, 16, "%.1f %s", value, units[unit]);
}

void
cli_format_duration(uint64_t seconds, char out[32])
{
    if (seconds < 3600)
        snprintf(out, 32, "%" PRIu64 ":%02" PRIu64, seconds / 60, seconds % 60);
    else
        snprintf(out, 32, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, seconds / 3600, seconds / 60 % 60, seconds % 60);
}
