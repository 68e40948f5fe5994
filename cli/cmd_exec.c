/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pqc-enclave exec: runs a program with artifacts as sealed memory files.
 *
 * The vault is locked and closed, its keys wiped, before the program starts. Nothing is written to disk, names included.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "commands.h"
#include "linkdir.h"
#include "memfd.h"
#include "process.h"
#include "report.h"
#include "session.h"

/* One artifact as loaded. */
typedef struct loaded {
    char *name; /* its own, not the id by which it may have been asked for */
    int fd;
} loaded;

typedef struct plan {
    loaded *artifacts; /* as many as operands */
    bool uses_directory;
    cli_linkdir directory;
    char **argv; /* with the placeholders replaced */
} plan;

/* Length of the placeholder at the start of `text` for `name` ("" for {}), or 0. */
static size_t
match(const char *text, const char *name)
{
    size_t len = strlen(name);

    return text[0] == '{' && strncmp(text + 1, name, len) == 0 && text[1 + len] == '}' ? len + 2 : 0;
}

static bool
mentions(char *const *args, const char *name)
{
    for (; *args != NULL; args++)
        for (const char *p = strchr(*args, '{'); p != NULL; p = strchr(p + 1, '{'))
            if (match(p, name) != 0)
                return true;
    return false;
}

/* What can be found wrong before the vault is opened. */
static int
check_operands(cli *c, plan *p)
{
    for (size_t i = 0; i < c->operand_count; i++) {
        int code = cli_check_name(c, c->operands[i]);
        if (code != 0)
            return code;
        if (strcmp(c->operands[i], "DIR") == 0)
            return cli_usage(c, "{DIR} stands for the directory; give the id of the artifact named DIR");
        for (size_t k = 0; k < i; k++)
            if (strcmp(c->operands[i], c->operands[k]) == 0)
                return cli_usage(c, "%s was given twice", c->operands[i]);
    }
    if (c->operand_count > 1 && mentions(c->tail + 1, ""))
        return cli_usage(c, "{} could be any of several artifacts; use {NAME}");
    p->uses_directory = mentions(c->tail + 1, "DIR");
    return 0;
}

/* A name that can be a directory entry. */
static bool
is_file_name(const char *name)
{
    return strchr(name, '/') == NULL && strlen(name) <= NAME_MAX && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int
load(cli *c, const char *operand, const plan *p, loaded *out)
{
    pqe_reader *reader = NULL;
    pqe_error error = {0};
    cli_progress progress;
    const pqe_artifact *artifact;
    int code = 0;

    if (pqe_reader_open(c->vault, operand, &reader, &error) != PQE_OK)
        return cli_report(c, "cannot load", operand, &error);
    artifact = pqe_reader_artifact(reader);
    out->name = strdup(artifact->name);
    if (out->name == NULL)
        code = cli_fail_errno(c, ENOMEM, "cannot load", operand, NULL);
    else if (p->uses_directory && !is_file_name(out->name))
        code = cli_fail(c, PQE_E_ARGUMENT, "cannot link in {DIR}", out->name,
                        "the name has a slash, is . or .., or is longer than 255 bytes", "use {NAME} instead of {DIR}");
    if (code == 0) {
        cli_progress_start(c, &progress, "decrypting", artifact->size_bytes);
        code = cli_memfd_fill(c, operand, reader, &progress, &out->fd);
        cli_progress_end(&progress);
    }
    pqe_reader_close(&reader);
    return code;
}

static int
load_all(cli *c, plan *p)
{
    int code;

    p->artifacts = calloc(c->operand_count, sizeof *p->artifacts);
    if (p->artifacts == NULL)
        return cli_fail_errno(c, ENOMEM, "cannot run", c->tail[0], NULL);
    for (size_t i = 0; i < c->operand_count; i++)
        p->artifacts[i].fd = -1;
    code = cli_open(c);
    for (size_t i = 0; i < c->operand_count && code == 0; i++)
        code = load(c, c->operands[i], p, &p->artifacts[i]);
    cli_close(c);
    return code;
}

/* One artifact may have been given by its name and by its id. */
static bool
linked_already(const plan *p, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(p->artifacts[k].name, p->artifacts[i].name) == 0)
            return true;
    return false;
}

static int
make_directory(cli *c, plan *p)
{
    int errnum = cli_linkdir_create(&p->directory);

    if (errnum != 0)
        return cli_fail(c, PQE_E_IO, "cannot make {DIR}", NULL,
                        errnum == ENODEV ? "neither $XDG_RUNTIME_DIR nor /dev/shm is kept in memory" : strerror(errnum),
                        "use {NAME} instead");
    for (size_t i = 0; i < c->operand_count; i++) {
        errnum = linked_already(p, i) ? 0 : cli_linkdir_add(&p->directory, p->artifacts[i].name, p->artifacts[i].fd);
        if (errnum != 0)
            return cli_fail_errno(c, errnum, "cannot link in {DIR}", p->artifacts[i].name, NULL);
    }
    return 0;
}

/* Writes the path for the longest placeholder at the start of `text`; its length, 0 if there is none. */
static size_t
put_placeholder(const cli *c, const plan *p, const char *text, FILE *out)
{
    size_t best = match(text, "DIR"), found = SIZE_MAX;

    for (size_t i = 0; i < c->operand_count; i++) {
        size_t len = match(text, c->operands[i]);
        if (len == 0 && c->operand_count == 1)
            len = match(text, "");
        if (len > best) {
            best = len;
            found = i;
        }
    }
    if (best != 0 && found == SIZE_MAX)
        fputs(p->directory.path, out);
    else if (best != 0)
        fprintf(out, "/proc/self/fd/%d", p->artifacts[found].fd);
    return best;
}

static char *
expand(const cli *c, const plan *p, const char *arg)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (out == NULL)
        return NULL;
    while (*arg != '\0') {
        size_t n = put_placeholder(c, p, arg, out);
        if (n == 0)
            fputc(*arg++, out);
        arg += n;
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static int
expand_all(cli *c, plan *p)
{
    size_t count = 0;

    while (c->tail[count] != NULL)
        count++;
    p->argv = calloc(count + 1, sizeof *p->argv);
    for (size_t i = 0; p->argv != NULL && i < count; i++) {
        p->argv[i] = i == 0 ? strdup(c->tail[0]) : expand(c, p, c->tail[i]);
        if (p->argv[i] == NULL)
            return cli_fail_errno(c, ENOMEM, "cannot run", c->tail[0], NULL);
    }
    return p->argv != NULL ? 0 : cli_fail_errno(c, ENOMEM, "cannot run", c->tail[0], NULL);
}

static int
run_command(cli *c, plan *p)
{
    int keep[sizeof c->operands / sizeof c->operands[0]], errnum = 0, status;

    for (size_t i = 0; i < c->operand_count; i++) {
        keep[i] = p->artifacts[i].fd;
        p->artifacts[i].fd = -1; /* closed there */
    }
    status = cli_child_run(p->argv, keep, c->operand_count, &errnum);
    if (status >= 0)
        return status;
    c->failure_exit = errnum == ENOENT ? CLI_EXIT_NO_SUCH_COMMAND : CLI_EXIT_CANNOT_RUN;
    return cli_fail_errno(c, errnum, "cannot run", c->tail[0], "give a program that can be run");
}

static void
release(const cli *c, plan *p)
{
    cli_linkdir_remove(&p->directory);
    for (size_t i = 0; p->artifacts != NULL && i < c->operand_count; i++) {
        if (p->artifacts[i].fd >= 0)
            close(p->artifacts[i].fd);
        free(p->artifacts[i].name);
    }
    free(p->artifacts);
    for (size_t i = 0; p->argv != NULL && p->argv[i] != NULL; i++)
        free(p->argv[i]);
    free(p->argv);
}

static int
run(cli *c)
{
    plan p = {.directory = {.base = -1, .fd = -1}};
    int code = check_operands(c, &p);

    if (code != 0)
        return code;
    cli_linkdir_sweep(true);
    code = load_all(c, &p);
    if (code == 0) {
        cli_child_hold_signals();
        if (p.uses_directory)
            code = make_directory(c, &p);
    }
    if (code == 0)
        code = expand_all(c, &p);
    if (code == 0)
        code = run_command(c, &p);
    release(c, &p);
    return code;
}

const cli_command cli_cmd_exec = {.name = "exec",
                                  .operands = "NAME|ID...",
                                  .summary = "run a program with artifacts as sealed memory files",
                                  .min_operands = 1,
                                  .max_operands = SIZE_MAX,
                                  .operand_value = CLI_VALUE_TEXT,
                                  .takes_command = true,
                                  .failure_exit = CLI_EXIT_EXEC_FAILED,
                                  .run = run};
