/* SPDX-License-Identifier: Apache-2.0 */
/* The process itself: no dumps, sane descriptors, signals that let a command clean up, buffers that are wiped. */
#ifndef PQE_CLI_PROCESS_H
#define PQE_CLI_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** First thing in main(): turns off dumps, ptrace and the log of tpm2-tss, sets the umask to 077, makes sure that
 *  descriptors 0 to 2 exist. */
void cli_process_harden(void);
/** Gives a child back what cli_process_harden() changed: umask, environment and signal dispositions (not the core
 *  limit). */
void cli_process_restore(void);

/** From here on SIGINT, SIGTERM, SIGHUP and SIGQUIT are noted, and a second one kills. Ignored ones stay ignored. */
void cli_catch_signals(void);
/** Notes a signal as if it had come: the process ends by it once all is cleaned up. */
void cli_interrupt(int signal);
/** The signal noted, or 0. */
int cli_interrupted(void);
/** Ends the process by `signal`, as if it had not been caught. */
void cli_die_of(int signal);

/** Memory for plaintext: left out of dumps; cli_buffer_free() wipes it. NULL if there is none. */
void *cli_buffer_new(size_t size);
void cli_buffer_free(void *buffer, size_t size);

/** Bytes to move at a time between a file and the vault where `size` are expected (UINT64_MAX: unknown). */
size_t cli_step(uint64_t size);

/** Writes all bytes; 0 or an errno, EINTR if a signal was noted. */
int cli_write_all(int fd, const void *data, size_t len);
/** Reads until `len` bytes are there or the end is reached; 0 or an errno, EINTR if a signal was noted. */
int cli_read_full(int fd, void *buffer, size_t len, size_t *got);
/** Reads what there is, at most `len` bytes; *got is 0 at the end. As above. */
int cli_read_some(int fd, void *buffer, size_t len, size_t *got);

#endif
