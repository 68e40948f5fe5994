/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of links that `exec` makes for {DIR}: 0700, in memory only ($XDG_RUNTIME_DIR or /dev/shm, and only if
 * that really is a tmpfs or ramfs). Its maker holds flock(2) on it as long as it lives; a directory of this user that
 * nobody holds was left by a run that was killed, and is swept.
 */
#ifndef PQE_CLI_LINKDIR_H
#define PQE_CLI_LINKDIR_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct cli_linkdir {
    int base, fd;
    char name[48];
    char path[PATH_MAX];
} cli_linkdir;

/** 0 or an errno; ENODEV where no directory in memory can be had. */
int cli_linkdir_create(cli_linkdir *dir);
/** Adds a link `name` to /proc/self/fd/`target`. 0 or an errno. */
int cli_linkdir_add(cli_linkdir *dir, const char *name, int target);
/** Removes the directory and all that is in it. */
void cli_linkdir_remove(cli_linkdir *dir);

/** Counts, and with `remove` removes, directories of this user whose makers are gone. */
size_t cli_linkdir_sweep(bool remove);
/** True if cli_linkdir_create() would find a place. */
bool cli_linkdir_possible(void);

#endif
