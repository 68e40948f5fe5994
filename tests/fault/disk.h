/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a power cut would leave of a directory tree while a traced process works in it. Nothing is taken for durable but
 * what was synced: a file's bytes as of its last fsync or fdatasync, a directory's entries as of its last fsync. POSIX
 * promises no more, and some file systems give no more.
 */
#ifndef PQE_TESTS_FAULT_DISK_H
#define PQE_TESTS_FAULT_DISK_H

#include "fault/trace.h"

typedef struct disk disk;

/** Everything below `root` is durable to begin with. */
disk *disk_new(const char *root);
void disk_free(disk *d);

/** To be told of every stop; returns true if the stop changed what is there or what is durable. */
bool disk_follow(disk *d, const trace_stop *stop);

typedef enum disk_image {
    DISK_SYNCED, /* entries and bytes as synced */
    DISK_NAMES,  /* entries as they are, bytes as synced: data is written late */
    DISK_BYTES,  /* entries as synced, bytes as they are: directories are written late */
    DISK_IMAGES
} disk_image;

/** Makes the tree that would be found, at a path where nothing is. */
void disk_make(const disk *d, disk_image which, const char *target);

#endif
