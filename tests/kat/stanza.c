/* SPDX-License-Identifier: Apache-2.0 */
/* Reading OpenSSL's test vector files. These are trusted inputs of a test: what is malformed ends the program. */
#include "kat/stanza.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "util/text.h"

static void
give_up(const char *what, const char *text)
{
    fprintf(stderr, "malformed vector file: %s: %.60s\n", what, text);
    exit(1);
}

static char *
trim(char *s)
{
    size_t len;

    while (isspace((unsigned char)*s))
        s++;
    len = strlen(s);
    while (len > 0 && isspace((unsigned char)s[len - 1]))
        s[--len] = '\0';
    return s;
}

static void
add_line(stanza *s, char *line)
{
    char *equals = strchr(line, '=');

    if (equals == NULL || s->count == STANZA_MAX)
        give_up("line without a value, or stanza too long", line);
    *equals = '\0';
    s->line[s->count] = line;
    s->key[s->count] = trim(line);
    s->value[s->count] = trim(equals + 1);
    s->count++;
}

bool
stanza_read(FILE *f, stanza *s, unsigned *line_number)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;

    *s = (stanza){0};
    while ((n = getline(&line, &capacity, f)) >= 0) {
        bool blank = line[strspn(line, " \t\r\n")] == '\0';

        ++*line_number;
        if (blank && s->count > 0)
            break;
        if (blank || line[0] == '#')
            continue;
        if (s->count == 0)
            s->first_line = *line_number;
        add_line(s, line);
        line = NULL; /* the stanza's now */
        capacity = 0;
    }
    free(line);
    return s->count > 0;
}

void
stanza_clear(stanza *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->line[i]);
    *s = (stanza){0};
}

const char *
stanza_get(const stanza *s, const char *key)
{
    const char *found = NULL;

    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->key[i], key) != 0)
            continue;
        if (found != NULL)
            give_up("key given twice", key);
        found = s->value[i];
    }
    return found;
}

bool
stanza_is(const stanza *s, const char *key, const char *value)
{
    const char *v = stanza_get(s, key);

    return v != NULL && strcmp(v, value) == 0;
}

bool
stanza_only(const stanza *s, const char *const *known)
{
    for (size_t i = 0; i < s->count; i++) {
        const char *const *k = known;

        while (*k != NULL && strcmp(*k, s->key[i]) != 0)
            k++;
        if (*k == NULL)
            return false;
    }
    return true;
}

bytes
bytes_parse(const char *value)
{
    size_t len = value == NULL ? 0 : strlen(value);
    bytes b = {malloc(len + 1), 0};

    if (b.data == NULL)
        give_up("out of memory", "");
    if (len >= 2 && value[0] == '"' && value[len - 1] == '"') {
        if (strchr(value, '\\') != NULL)
            give_up("escapes in text are not supported", value);
        b.len = len - 2;
        memcpy(b.data, value + 1, b.len);
    } else {
        b.len = len / 2;
        if (len % 2 != 0 || (len > 0 && !pqe__hex_decode(value, b.len, b.data)))
            give_up("neither hexadecimal nor text", value);
    }
    return b;
}

void
bytes_free(bytes *b)
{
    free(b->data);
    *b = (bytes){0};
}
