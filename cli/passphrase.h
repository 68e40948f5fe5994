/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passphrases: from a file or descriptor, or asked for on the terminal without echo. They are read byte by byte into
 * the library's locked buffer and nowhere else.
 */
#ifndef PQE_CLI_PASSPHRASE_H
#define PQE_CLI_PASSPHRASE_H

#include <stdbool.h>

#include <pqc_enclave.h>

/** Where passphrases come from, and why the last one could not be had. */
typedef struct cli_passphrase {
    const char *file;     /**< the present passphrase; NULL: ask */
    const char *new_file; /**< a passphrase to be set; NULL: ask */
    const char *label;    /**< named in the prompt: the vault's directory */
    bool is_pin;          /**< it is the PIN of a token that is asked for */
    pqe_error error;      /**< status PQE_OK unless reading failed */
    const char *object;   /**< what `error` is about: a path, or NULL */
    const char *advice;   /**< what to do about `error`, or NULL */
} cli_passphrase;

/** A pqe_passphrase_fn whose `user` is a cli_passphrase. */
pqe_status cli_passphrase_read(void *user, pqe_passphrase_purpose purpose, char *buf, size_t capacity, size_t *len);

/** Asks for one line on the terminal, without echo; `question` is followed by ": ". It need not be a passphrase. What
 *  failed is in p->error, PQE_E_DENIED where there is no terminal. */
pqe_status cli_ask_line(cli_passphrase *p, const char *question, char *buf, size_t capacity, size_t *len);
/** Shows text on the terminal, whatever standard output is. False where there is none. */
bool cli_show_on_terminal(const char *text);

#endif
