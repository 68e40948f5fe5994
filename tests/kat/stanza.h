/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The test vector files of OpenSSL (test/recipes/30-test_evp_data): stanzas of "Key = value" lines, ended by an empty
 * line; lines that begin with # are comments. A value is hexadecimal, or text in double quotes.
 */
#ifndef PQE_TESTS_KAT_STANZA_H
#define PQE_TESTS_KAT_STANZA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define STANZA_MAX 48

typedef struct stanza {
    char *line[STANZA_MAX]; /* owns key and value, which point into it */
    const char *key[STANZA_MAX], *value[STANZA_MAX];
    size_t count;
    unsigned first_line;
} stanza;

/** Reads the next stanza; false at the end of the file. *line_number counts along. Exits if the file is malformed. */
bool stanza_read(FILE *f, stanza *s, unsigned *line_number);
void stanza_clear(stanza *s);

/** The value of a key that occurs once; NULL if it does not occur. Exits if it occurs more than once. */
const char *stanza_get(const stanza *s, const char *key);
bool stanza_is(const stanza *s, const char *key, const char *value);
/** True if every key is one of the NULL-terminated list: then nothing in the stanza was overlooked. */
bool stanza_only(const stanza *s, const char *const *known);

typedef struct bytes {
    uint8_t *data; /* never NULL after bytes_parse(): one byte more is allocated than used */
    size_t len;
} bytes;

/** Decodes a value; a NULL value gives no bytes. Exits on a malformed value. */
bytes bytes_parse(const char *value);
void bytes_free(bytes *b);

#endif
