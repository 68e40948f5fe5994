/* SPDX-License-Identifier: Apache-2.0 */
/* Passphrases: from a file or descriptor, or asked for on the terminal without echo. */
#include "passphrase.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "process.h"
#include "text.h"

#define TRIES 3

static pqe_status
fail(cli_passphrase *p, pqe_status status, int native, const char *message, const char *advice)
{
    p->error = (pqe_error){.status = status, .origin = native != 0 ? PQE_ORIGIN_IO : PQE_ORIGIN_API, .native = native};
    snprintf(p->error.message, sizeof p->error.message, "%s", native != 0 ? strerror(native) : message);
    p->advice = advice;
    return status;
}

/* What would end the process is noted instead while a passphrase is read, where the command catches it, so that what the
   command has begun is taken back. At a prompt it always is, so that the terminal is put back; there stopping is put off,
   since a shell would keep the setting. */
static const int prompt_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGTSTP};
#define PROMPT_SIGNALS (sizeof prompt_signals / sizeof prompt_signals[0])

/* Where a passphrase is read from. The signals are blocked but for moments of waiting, so that none is missed. */
typedef struct source {
    int fd;
    sigset_t mask; /* as it was */
} source;

static void
signals_block(source *s)
{
    sigset_t blocked;

    sigemptyset(&blocked);
    for (size_t i = 0; i < PROMPT_SIGNALS; i++)
        sigaddset(&blocked, prompt_signals[i]);
    sigprocmask(SIG_BLOCK, &blocked, &s->mask);
}

static void
signals_unblock(const source *s)
{
    sigprocmask(SIG_SETMASK, &s->mask, NULL);
}

/* One byte: 1, 0 at the end, or -1; EINTR if a signal was noted. The byte is the caller's to wipe. */
static ssize_t
read_byte(const source *s, char *byte)
{
    struct pollfd wait = {.fd = s->fd, .events = POLLIN};
    ssize_t n = -1;

    errno = EINTR;
    while (n < 0 && (errno == EINTR || errno == EAGAIN) && cli_interrupted() == 0)
        n = ppoll(&wait, 1, NULL, &s->mask) > 0 ? read(s->fd, byte, 1) : -1;
    return n;
}

/* The file's bytes without one newline at their end. The newline of a passphrase of full length is past the buffer. */
static pqe_status
read_content(cli_passphrase *p, const source *s, char *buf, size_t capacity, size_t *len)
{
    char byte = 0;
    ssize_t n = 0;
    bool too_long = false;

    while (*len < capacity && (n = read_byte(s, buf + *len)) == 1)
        ++*len;
    if (n == 1) {
        n = read_byte(s, &byte);
        too_long = n == 1 && (byte != '\n' || read_byte(s, &byte) == 1);
        explicit_bzero(&byte, sizeof byte);
    } else if (*len > 0 && buf[*len - 1] == '\n') {
        --*len;
    }
    if (n < 0 && cli_interrupted() != 0)
        return fail(p, PQE_E_CANCELLED, 0, "interrupted", NULL);
    if (n < 0)
        return fail(p, PQE_E_IO, errno, NULL, "give a readable --passphrase-file");
    if (too_long)
        return fail(p, PQE_E_LIMIT, 0, "the passphrase is too long", "use at most 1024 bytes");
    if (*len == 0)
        return fail(p, PQE_E_DENIED, 0, "the passphrase is empty", "put the passphrase on the first line of the file");
    return PQE_OK;
}

static pqe_status
read_file(cli_passphrase *p, const char *path, char *buf, size_t capacity, size_t *len)
{
    /* Not to be stuck in opening a pipe that nobody writes to; read_byte() waits. */
    source s = {.fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)};
    pqe_status status;
    struct stat st;

    p->object = path;
    if (s.fd < 0)
        return fail(p, PQE_E_IO, errno, NULL, "give a readable --passphrase-file");
    if (fstat(s.fd, &st) == 0 && S_ISDIR(st.st_mode))
        status = fail(p, PQE_E_IO, EISDIR, NULL, "give a readable --passphrase-file");
    else {
        signals_block(&s);
        status = read_content(p, &s, buf, capacity, len);
        signals_unblock(&s);
    }
    close(s.fd);
    return status;
}

typedef struct terminal {
    source in;
    struct termios echo_on;
    struct sigaction before[PROMPT_SIGNALS];
} terminal;

static void
terminal_restore(const terminal *t)
{
    tcsetattr(t->in.fd, TCSAFLUSH, &t->echo_on);
    signals_unblock(&t->in);
    for (size_t i = 0; i < PROMPT_SIGNALS; i++)
        sigaction(prompt_signals[i], &t->before[i], NULL);
}

/* Turns echo off. */
static bool
terminal_silence(terminal *t)
{
    struct termios silent;

    if (tcgetattr(t->in.fd, &t->echo_on) != 0)
        return false;
    for (size_t i = 0; i < PROMPT_SIGNALS; i++) {
        struct sigaction action = {.sa_handler = prompt_signals[i] == SIGTSTP ? SIG_IGN : cli_interrupt};
        sigaction(prompt_signals[i], NULL, &t->before[i]);
        if (t->before[i].sa_handler != SIG_IGN)
            sigaction(prompt_signals[i], &action, NULL);
    }
    signals_block(&t->in);
    silent = t->echo_on;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
    if (tcsetattr(t->in.fd, TCSAFLUSH, &silent) == 0)
        return true;
    terminal_restore(t);
    return false;
}

static void
say(int fd, const char *before, const char *middle, const char *after)
{
    FILE *out = fdopen(dup(fd), "w");

    if (out == NULL)
        return;
    fputs(before, out);
    cli_put_escaped(out, middle);
    fputs(after, out);
    fclose(out);
}

/* One line. With `compare` the buffer is not written but compared with; *same tells. Sets *eof if there is no line. */
static pqe_status
read_line(cli_passphrase *p, const terminal *t, char *buf, size_t capacity, size_t *len, bool *same)
{
    size_t count = 0;
    ssize_t n;
    char byte = 0;

    for (;;) {
        n = read_byte(&t->in, &byte);
        if (n != 1 || byte == '\n')
            break;
        if (same == NULL && count < capacity)
            buf[count] = byte;
        else if (same != NULL && (count >= *len || buf[count] != byte))
            *same = false;
        count++;
    }
    explicit_bzero(&byte, sizeof byte);
    if (n != 1 && cli_interrupted() != 0)
        return fail(p, PQE_E_CANCELLED, 0, "interrupted", NULL);
    if (n != 1)
        return fail(p, PQE_E_CANCELLED, 0, "no passphrase was entered", "type one, or use --passphrase-file F");
    if (count > capacity)
        return fail(p, PQE_E_LIMIT, 0, "the passphrase is too long", "use at most 1024 bytes");
    if (same == NULL)
        *len = count;
    else if (count != *len)
        *same = false;
    return PQE_OK;
}

/* Asks for a new passphrase twice, the present one once. Sets *again where the two differ or there is nothing. */
static pqe_status
ask(cli_passphrase *p, const terminal *t, bool is_new, char *buf, size_t capacity, size_t *len, bool *again)
{
    bool same = true;
    pqe_status status;

    say(t->in.fd,
        is_new      ? "New passphrase for "
        : p->is_pin ? "PIN of the token for "
                    : "Passphrase for ",
        p->label, ": ");
    status = read_line(p, t, buf, capacity, len, NULL);
    say(t->in.fd, "\n", "", "");
    if (status != PQE_OK)
        return status;
    if (*len == 0) {
        *again = true;
        return fail(p, PQE_E_DENIED, 0, "the passphrase is empty", "type one, or use --passphrase-file F");
    }
    if (!is_new)
        return PQE_OK;
    say(t->in.fd, "The same again: ", "", "");
    status = read_line(p, t, buf, capacity, len, &same);
    say(t->in.fd, "\n", "", "");
    if (status != PQE_OK || same)
        return status;
    *again = true;
    return fail(p, PQE_E_DENIED, 0, "the two passphrases differ", "type the same one twice");
}

static pqe_status
read_terminal(cli_passphrase *p, bool is_new, char *buf, size_t capacity, size_t *len)
{
    terminal t = {.in.fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)};
    bool again = true;
    pqe_status status = PQE_E_DENIED;

    if (t.in.fd < 0 || !terminal_silence(&t)) {
        if (t.in.fd >= 0)
            close(t.in.fd);
        if (p->is_pin && !is_new)
            return fail(p, PQE_E_DENIED, 0, "the token wants a PIN and there is no terminal to ask on",
                        "give pin-source=FILE in the URI of --backend");
        return fail(p, PQE_E_DENIED, 0, "a passphrase is needed and there is no terminal to ask on",
                    is_new ? "use --passphrase-file F (passphrase change: --new-passphrase-file F)"
                           : "use --passphrase-file F");
    }
    for (int i = 0; i < TRIES && again; i++) {
        again = false;
        *len = 0;
        status = ask(p, &t, is_new, buf, capacity, len, &again);
        if (again && i + 1 < TRIES)
            say(t.in.fd, "", p->error.message, "; try again\n");
    }
    terminal_restore(&t);
    close(t.in.fd);
    return status;
}

pqe_status
cli_passphrase_read(void *user, pqe_passphrase_purpose purpose, char *buf, size_t capacity, size_t *len)
{
    cli_passphrase *p = user;
    bool is_new = purpose == PQE_PASSPHRASE_NEW;
    const char *path = is_new ? p->new_file : p->is_pin ? NULL : p->file; /* a wrong PIN costs a try */
    pqe_status status;

    *len = 0;
    p->object = NULL;
    if (path != NULL)
        status = read_file(p, path, buf, capacity, len);
    else
        status = read_terminal(p, is_new, buf, capacity, len);
    if (status != PQE_OK) {
        explicit_bzero(buf, capacity);
        *len = 0;
    } else {
        p->error.status = PQE_OK;
    }
    return status;
}

/* ---- other secrets ---- */

pqe_status
cli_ask_line(cli_passphrase *p, const char *question, char *buf, size_t capacity, size_t *len)
{
    terminal t = {.in.fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)};
    pqe_status status;

    *len = 0;
    p->object = NULL;
    if (t.in.fd < 0 || !terminal_silence(&t)) {
        if (t.in.fd >= 0)
            close(t.in.fd);
        return fail(p, PQE_E_DENIED, 0, "there is no terminal to ask on", NULL);
    }
    say(t.in.fd, question, "", ": ");
    status = read_line(p, &t, buf, capacity, len, NULL);
    say(t.in.fd, "\n", "", "");
    terminal_restore(&t);
    close(t.in.fd);
    if (status == PQE_E_CANCELLED && cli_interrupted() == 0)
        fail(p, status, 0, "nothing was entered", NULL);
    if (status == PQE_E_LIMIT)
        fail(p, status, 0, "the line is too long", NULL);
    if (status != PQE_OK)
        explicit_bzero(buf, capacity);
    return status;
}

bool
cli_show_on_terminal(const char *text)
{
    int fd = open("/dev/tty", O_WRONLY | O_CLOEXEC | O_NOCTTY);
    bool ok = fd >= 0 && cli_write_all(fd, text, strlen(text)) == 0;

    if (fd >= 0)
        close(fd);
    return ok;
}
