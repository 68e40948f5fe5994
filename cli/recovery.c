/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery keys: read from files, words typed, and shown for people to write down. */
#include "recovery.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

#include "process.h"
#include "report.h"
#include "text.h"
#include "value.h"

#define FILE_MAX 65536u /* with room for what people write around a key */
#define TRIES 3

/* ---- reading ---- */

static int
read_file(cli *c, const char *path, bool is_pem, pqe_recovery_key **out)
{
    pqe_error error = {0};
    char *text = NULL;
    size_t len;
    int code = cli_read_whole(c, path, FILE_MAX, &text, &len);

    if (code == 0 && (is_pem ? pqe_recovery_key_from_pem(text, len, out, &error)
                             : pqe_recovery_key_from_words(text, len, out, &error)) != PQE_OK)
        code = cli_report(c, "cannot use the recovery key in", path, &error);
    cli_buffer_free(text, FILE_MAX + 1);
    return code;
}

static int
ask_failed(cli *c, const char *what, const char *advice)
{
    const pqe_error *e = &c->passphrase.error;

    return cli_fail(c, e->status, what, NULL, e->message, e->status == PQE_E_DENIED ? advice : NULL);
}

static int
read_typed(cli *c, pqe_recovery_key **out)
{
    char *words = cli_buffer_new(CLI_WORDS_TYPED_MAX);
    pqe_error error = {0};
    size_t len;
    int code = 0;

    if (words == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot read the recovery words", NULL, NULL);
    if (cli_ask_line(&c->passphrase, "The 24 words of the recovery key, on one line; they do not show", words,
                     CLI_WORDS_TYPED_MAX, &len) != PQE_OK)
        code = ask_failed(c, "cannot read the recovery words", "give --words-file F or --file F");
    if (code == 0 && pqe_recovery_key_from_words(words, len, out, &error) != PQE_OK)
        code = cli_report(c, "cannot use the recovery words", NULL, &error);
    cli_buffer_free(words, CLI_WORDS_TYPED_MAX);
    return code;
}

int
cli_recovery_read(cli *c, pqe_recovery_key **out)
{
    const char *file = cli_option_value(c, "file"), *words_file = cli_option_value(c, "words-file");

    *out = NULL;
    if (file != NULL && words_file != NULL)
        return cli_usage(c, "a recovery key comes from --file or from --words-file, not from both");
    if (file != NULL || words_file != NULL)
        return read_file(c, file != NULL ? file : words_file, file != NULL, out);
    return read_typed(c, out);
}

/* ---- writing ---- */

/* A name survives a power cut once the directory that holds it is synced. */
static int
sync_directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    int fd = dir != NULL ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int errnum = fd >= 0 && fsync(fd) == 0 ? 0 : errno;

    if (fd >= 0)
        close(fd);
    free(dir);
    return errnum;
}

static int
write_new(const char *path, const char *text, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), errnum;

    if (fd < 0)
        return errno;
    errnum = cli_write_all(fd, text, len);
    if (errnum == 0 && fsync(fd) != 0)
        errnum = errno;
    close(fd);
    if (errnum == 0)
        errnum = sync_directory_of(path);
    if (errnum != 0)
        unlink(path);
    return errnum;
}

int
cli_recovery_write(cli *c, const pqe_recovery_key *key, const char *path)
{
    char *pem = cli_buffer_new(PQE_RECOVERY_PEM_MAX);
    pqe_error error = {0};
    size_t len;
    int code = 0, errnum;

    if (pem == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot write", path, NULL);
    if (pqe_recovery_key_pem(key, pem, PQE_RECOVERY_PEM_MAX, &len, &error) != PQE_OK)
        code = cli_report(c, "cannot write", path, &error);
    else if ((errnum = write_new(path, pem, len)) != 0)
        code = cli_fail_errno(c, errnum, "cannot write", path, errnum == EEXIST ? "choose another place" : NULL);
    cli_buffer_free(pem, PQE_RECOVERY_PEM_MAX);
    return code;
}

/* ---- showing ---- */

static int
get_words(cli *c, const pqe_recovery_key *key, char **words)
{
    pqe_error error = {0};
    size_t len;

    *words = cli_buffer_new(PQE_RECOVERY_WORDS_MAX);
    if (*words == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot show the recovery key", NULL, NULL);
    if (pqe_recovery_key_words(key, *words, PQE_RECOVERY_WORDS_MAX, &len, &error) != PQE_OK)
        return cli_report(c, "cannot show the recovery key", NULL, &error);
    return 0;
}

/* The `n`th word, from 1, and its length. */
static const char *
word(const char *words, unsigned n, size_t *len)
{
    while (--n > 0)
        words = strchr(words, ' ') + 1;
    *len = strcspn(words, " ");
    return words;
}

/* Six lines of four, numbered. */
static bool
show_words(const char *words)
{
    size_t room = PQE_RECOVERY_WORDS * 20u + 200u, at, len;
    char *text = cli_buffer_new(room);
    bool shown;

    if (text == NULL)
        return false;
    at = (size_t)snprintf(text, room, "Write these %u words down, on paper, and keep them away from the vault:\n\n",
                          PQE_RECOVERY_WORDS);
    for (unsigned n = 1; n <= PQE_RECOVERY_WORDS; n++) {
        const char *w = word(words, n, &len);
        at += (size_t)snprintf(text + at, room - at, "%4u %-9.*s%s", n, (int)len, w, n % 4 == 0 ? "\n" : "");
    }
    snprintf(text + at, room - at, "\nThey are not shown again.\n");
    shown = cli_show_on_terminal(text);
    cli_buffer_free(text, room);
    return shown;
}

/* Asks for one word; *same tells. */
static int
ask_word(cli *c, const char *words, unsigned n, bool *same)
{
    char question[32], *typed = cli_buffer_new(CLI_WORDS_TYPED_MAX);
    size_t len, expected_len;
    const char *expected = word(words, n, &expected_len), *given = typed;
    int code = 0;

    if (typed == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot read", NULL, NULL);
    snprintf(question, sizeof question, "Word %u", n);
    if (cli_ask_line(&c->passphrase, question, typed, CLI_WORDS_TYPED_MAX, &len) != PQE_OK)
        code = ask_failed(c, "the recovery key is not confirmed, and nothing was changed", NULL);
    if (code == 0) {
        for (; len > 0 && *given == ' '; given++)
            len--;
        while (len > 0 && given[len - 1] == ' ')
            len--;
        *same = len == expected_len && strncasecmp(given, expected, len) == 0;
    }
    cli_buffer_free(typed, CLI_WORDS_TYPED_MAX);
    return code;
}

/* Two different numbers from 1 to 24. */
static void
choose(unsigned *first, unsigned *second)
{
    unsigned char random[2] = {0};

    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        random[0] = 11;
    *first = random[0] % PQE_RECOVERY_WORDS + 1;
    *second = (*first + random[1] % (PQE_RECOVERY_WORDS - 1)) % PQE_RECOVERY_WORDS + 1;
}

static int
confirm(cli *c, const char *words)
{
    for (int i = 0; i < TRIES; i++) {
        bool first_same = false, second_same = false;
        unsigned first, second;
        int code;
        choose(&first, &second);
        code = ask_word(c, words, first, &first_same);
        if (code == 0)
            code = ask_word(c, words, second, &second_same);
        if (code != 0 || (first_same && second_same))
            return code;
        if (i + 1 < TRIES)
            cli_show_on_terminal("That is not what was shown; look again.\n");
    }
    return cli_fail(c, PQE_E_DENIED, "the recovery key is not confirmed, and nothing was changed", NULL,
                    "the words typed are not those shown", NULL);
}

int
cli_recovery_show(cli *c, const pqe_recovery_key *key)
{
    char *words = NULL;
    int code = get_words(c, key, &words);

    if (code == 0 && !show_words(words))
        code = cli_fail(c, PQE_E_DENIED, "cannot show the recovery key", NULL, "there is no terminal to show words on",
                        "give --file F, or --words - for standard output");
    if (code == 0)
        code = confirm(c, words);
    cli_buffer_free(words, PQE_RECOVERY_WORDS_MAX);
    return code;
}

int
cli_recovery_print(cli *c, const pqe_recovery_key *key)
{
    char *words = NULL;
    int code = get_words(c, key, &words), errnum = 0;

    if (code == 0) {
        size_t len = strlen(words);
        words[len] = '\n'; /* in the place of the NUL */
        errnum = cli_write_all(STDOUT_FILENO, words, len + 1);
    }
    cli_buffer_free(words, PQE_RECOVERY_WORDS_MAX);
    return errnum != 0 ? cli_fail_output(c, errnum) : code;
}
