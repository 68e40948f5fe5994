/* SPDX-License-Identifier: Apache-2.0 */
/* A temporary directory of one test. */
#include "backend/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static char root[SCRATCH_PATH_MAX / 2];
static size_t entries;

const char *
scratch_make(void)
{
    const char *base = getenv("TMPDIR");

    snprintf(root, sizeof root, "%s/pqe-backend-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(root) == NULL) {
        perror(root);
        exit(EXIT_FAILURE);
    }
    return root;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

void
scratch_remove(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

const char *
scratch_path(const char *name, char buf[SCRATCH_PATH_MAX])
{
    snprintf(buf, SCRATCH_PATH_MAX, "%s/%s", root, name);
    return buf;
}

static int
count_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)path;
    (void)st;
    (void)type;
    entries += where->level > 0;
    return 0;
}

size_t
scratch_entries(void)
{
    entries = 0;
    nftw(root, count_one, 16, FTW_PHYS);
    return entries;
}
