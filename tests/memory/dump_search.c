/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks for many byte strings in a file at once, at every offset.
 *
 *   dump_search FILE < NEEDLES
 *
 * A needle is a line of a name, a space and at least 8 bytes in hex. For each occurrence "name offset" is printed.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEEDLES_MAX ((size_t)1 << 18)
#define SLOTS ((size_t)1 << 20)
#define LINE_MAX_LEN 2048

typedef struct needle {
    uint64_t start; /* the first 8 bytes */
    uint8_t *bytes;
    size_t len;
    char *name;
    struct needle *next; /* of the same slot */
} needle;

static needle needles[NEEDLES_MAX];
static size_t count;
static needle *slots[SLOTS];

static needle **
slot_of(uint64_t start)
{
    return &slots[(start * 0x9e3779b97f4a7c15u) >> 44];
}

static int
read_needle(char *line, needle *n)
{
    char *space = strchr(line, ' ');
    size_t digits;

    if (space == NULL)
        return 0;
    *space = '\0';
    digits = strspn(space + 1, "0123456789abcdef");
    n->len = digits / 2;
    n->name = strdup(line);
    n->bytes = malloc(n->len + 1);
    if (n->len < sizeof n->start || n->name == NULL || n->bytes == NULL)
        return 0;
    for (size_t i = 0; i < n->len; i++) {
        unsigned byte;
        if (sscanf(space + 1 + 2 * i, "%2x", &byte) != 1)
            return 0;
        n->bytes[i] = (uint8_t)byte;
    }
    memcpy(&n->start, n->bytes, sizeof n->start);
    return 1;
}

static void
search(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i + sizeof(uint64_t) <= len; i++) {
        uint64_t start;
        memcpy(&start, p + i, sizeof start);
        if (start == 0)
            continue;
        for (const needle *n = *slot_of(start); n != NULL; n = n->next)
            if (n->start == start && n->len <= len - i && memcmp(n->bytes, p + i, n->len) == 0)
                printf("%s %zu\n", n->name, i);
    }
}

int
main(int argc, char **argv)
{
    char line[LINE_MAX_LEN];
    struct stat st;
    void *p;
    int fd;

    if (argc != 2)
        return 2;
    while (fgets(line, sizeof line, stdin) != NULL) {
        needle *n = &needles[count], **slot;
        if (count == NEEDLES_MAX || !read_needle(line, n)) {
            fprintf(stderr, "dump_search: bad needle\n");
            return 2;
        }
        slot = slot_of(n->start);
        n->next = *slot;
        *slot = n;
        count++;
    }
    fd = open(argv[1], O_RDONLY);
    if (fd < 0 || fstat(fd, &st) != 0) {
        perror(argv[1]);
        return 2;
    }
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        return 2;
    }
    search(p, (size_t)st.st_size);
    return 0;
}
