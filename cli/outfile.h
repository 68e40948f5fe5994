/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An output file that is there whole or not at all: 0600, written without a name where the file system can do that
 * (then even SIGKILL leaves nothing), else under a temporary name, synced, and renamed into place.
 */
#ifndef PQE_CLI_OUTFILE_H
#define PQE_CLI_OUTFILE_H

#include <stdbool.h>

typedef struct cli_outfile {
    int fd;           /**< write here */
    int dir;          /**< of the file; -1 if written in place */
    const char *base; /**< name in `dir` */
    char temporary[40];
    bool is_named; /**< `temporary` exists */
} cli_outfile;

/**
 * Opens `path` for output, which must stay valid until the end. A device, pipe or socket that is there, and what
 * /dev/stdout or /dev/fd/N stand for, is written in place (a descriptor of our own from where it stands; nothing is
 * truncated); any other symbolic link is replaced, not followed. 0 or an
 * errno.
 */
int cli_outfile_open(cli_outfile *file, const char *path);
/** Puts the file in its place, durably, and closes. 0 or an errno; on failure nothing is left. */
int cli_outfile_commit(cli_outfile *file);
/** Closes and leaves nothing. Harmless after a commit. */
void cli_outfile_discard(cli_outfile *file);

#endif
