/* SPDX-License-Identifier: Apache-2.0 */
/* Values of options that are numbers, bytes or files. */
#include "value.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "process.h"
#include "report.h"

int
cli_parse_number(cli *c, const char *option, uint64_t max, uint64_t *out)
{
    const char *text = cli_option_value(c, option);
    uint64_t value = 0;

    if (text == NULL)
        return 0;
    for (const char *p = text; *p != '\0' || p == text; p++) {
        unsigned digit = (unsigned char)*p - (unsigned)'0';
        if (digit > 9 || value > (max - digit) / 10)
            return cli_usage(c, "--%s: %s is not a number from 0 to %llu", option, text, (unsigned long long)max);
        value = 10 * value + digit;
    }
    *out = value;
    return 0;
}

static int
digit_of(char c)
{
    const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *found = c != '\0' ? strchr(digits, c) : NULL;

    return found != NULL ? (int)((found - digits) % 16) : -1;
}

int
cli_parse_hex(cli *c, const char *option, uint8_t *out, size_t min, size_t max, size_t *len)
{
    const char *text = cli_option_value(c, option);
    size_t digits;

    *len = 0;
    if (text == NULL)
        return 0;
    digits = strlen(text);
    for (size_t i = 0; i < digits && i < 2 * max; i++) {
        int digit = digit_of(text[i]);
        if (digit < 0)
            return cli_usage(c, "--%s: not hexadecimal", option);
        out[i / 2] = (uint8_t)(i % 2 == 0 ? digit << 4 : out[i / 2] | digit);
    }
    if (digits % 2 != 0 || digits < 2 * min || digits > 2 * max) {
        if (min == max)
            return cli_usage(c, "--%s has %zu hexadecimal digits", option, 2 * max);
        return cli_usage(c, "--%s has %zu to %zu hexadecimal digits", option, 2 * min, 2 * max);
    }
    *len = digits / 2;
    return 0;
}

int
cli_open_input(cli *c, const char *path, int *fd)
{
    *fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    return *fd >= 0 ? 0 : cli_fail_errno(c, errno, "cannot read", path, NULL);
}

int
cli_read_whole(cli *c, const char *path, size_t max, char **data, size_t *len)
{
    char *buffer = NULL;
    int fd, code = cli_open_input(c, path, &fd), errnum = 0;

    *data = NULL;
    *len = 0;
    if (code != 0)
        return code;
    buffer = cli_buffer_new(max + 1);
    if (buffer == NULL)
        errnum = ENOMEM;
    else
        errnum = cli_read_full(fd, buffer, max + 1, len);
    if (fd != STDIN_FILENO)
        close(fd);
    if (errnum != 0)
        code = cli_fail_errno(c, errnum, "cannot read", path, NULL);
    else if (*len > max)
        code = cli_fail(c, PQE_E_MALFORMED, "cannot read", path, "it is too long", NULL);
    if (code != 0 || buffer == NULL) {
        cli_buffer_free(buffer, max + 1);
        *len = 0;
        return code;
    }
    buffer[*len] = '\0';
    *data = buffer;
    return 0;
}
