/* SPDX-License-Identifier: Apache-2.0 */
/* Telling people and scripts what happened. */
#include "report.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "process.h"
#include "text.h"

static const struct {
    pqe_status status;
    int exit_code;
    const char *advice;
} failures[] = {
    {PQE_E_ARGUMENT, CLI_EXIT_USAGE, "see `" CLI_NAME " help`"},
    {PQE_E_NOMEM, CLI_EXIT_FAILED, "free memory or raise the limit of locked memory (ulimit -l)"},
    {PQE_E_IO, CLI_EXIT_FAILED, "check the path and its permissions"},
    {PQE_E_NO_SPACE, CLI_EXIT_FAILED, "free some space and try again"},
    {PQE_E_READ_ONLY, CLI_EXIT_FAILED, "do it where the vault can be written"},
    {PQE_E_NOT_FOUND, CLI_EXIT_NOT_FOUND, "`" CLI_NAME " list` shows what the vault holds"},
    {PQE_E_EXISTS, CLI_EXIT_FAILED, "use it, or choose another place with --vault DIR"},
    {PQE_E_LOCKED, CLI_EXIT_DENIED, "run the command again"},
    {PQE_E_DENIED, CLI_EXIT_DENIED, "give the right passphrase or --key-file F"},
    {PQE_E_DECRYPTION, CLI_EXIT_TAMPERED, "run `" CLI_NAME " verify` and restore what is damaged from a backup"},
    {PQE_E_TAMPERED, CLI_EXIT_TAMPERED, "run `" CLI_NAME " verify` and restore what is damaged from a backup"},
    {PQE_E_NOT_A_VAULT, CLI_EXIT_FAILED, "give --vault DIR, or make a vault with `" CLI_NAME " init`"},
    {PQE_E_VERSION, CLI_EXIT_FAILED, "use the version of " CLI_NAME " that wrote it, or a later one"},
    {PQE_E_LIMIT, CLI_EXIT_USAGE, "the limits are in " CLI_NAME "(1)"},
    {PQE_E_BUSY, CLI_EXIT_FAILED, "try again when the other command has ended"},
    {PQE_E_BACKEND, CLI_EXIT_UNAVAILABLE, "run `" CLI_NAME " doctor`"},
    {PQE_E_UNAVAILABLE, CLI_EXIT_UNAVAILABLE, "`" CLI_NAME " backends` shows what there is"},
    {PQE_E_CRYPTO, CLI_EXIT_FAILED, "run `" CLI_NAME " doctor`"},
    {PQE_E_CANCELLED, CLI_EXIT_FAILED, NULL},
    {PQE_E_STATE, CLI_EXIT_FAILED, NULL},
    {PQE_E_POLICY, CLI_EXIT_DENIED, "`" CLI_NAME " policy show` shows the rules; --caller BUNDLE says who calls"},
    {PQE_E_MALFORMED, CLI_EXIT_FAILED, "check that it is the right file"},
    {PQE_E_ATTESTATION, CLI_EXIT_TAMPERED, "do not rely on it"},
    {PQE_E_ROLLBACK, CLI_EXIT_TAMPERED,
     "restore the newest copy, or, if this one is right, `" CLI_NAME " recovery accept-rollback`"},
};

/* What a device refuses (other PCRs, a wrong PIN, a token that is not there) no key file puts right. */
static const char device_refuses[] =
    "set that right and try again; where it cannot be, `" CLI_NAME " recovery use` opens a vault by a recovery key";

static const char *
default_advice(pqe_status status)
{
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++)
        if (failures[i].status == status)
            return failures[i].advice;
    return NULL;
}

const char *
cli_advice(const pqe_error *error)
{
    if (error->status == PQE_E_DENIED && error->origin == PQE_ORIGIN_DEVICE)
        return device_refuses;
    if (error->status == PQE_E_EXISTS && error->origin == PQE_ORIGIN_IO) /* a key file */
        return "choose another place with --key-file F";
    return default_advice(error->status);
}

int
cli_exit_code(const cli *c, const pqe_error *error)
{
    if (c->failure_exit != 0)
        return c->failure_exit;
    if (c->command != NULL && c->command->failure_exit != 0)
        return c->command->failure_exit;
    /* Permission refused by the operating system is "denied" like any other. */
    if (error->status == PQE_E_IO && (error->native == EACCES || error->native == EPERM))
        return CLI_EXIT_DENIED;
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++)
        if (failures[i].status == error->status)
            return failures[i].exit_code;
    return CLI_EXIT_FAILED;
}

static void
print_error_text(const char *what, const char *object, const char *why, const char *advice)
{
    fputs(CLI_NAME ": ", stderr);
    cli_put_escaped(stderr, what);
    if (object != NULL) {
        fputc(' ', stderr);
        cli_put_escaped(stderr, object);
    }
    fputs(": ", stderr);
    cli_put_escaped(stderr, why);
    if (advice != NULL)
        fprintf(stderr, "; %s", advice);
    fputc('\n', stderr);
}

static int
report(cli *c, const char *what, const char *object, const pqe_error *error, const char *advice)
{
    int code = cli_exit_code(c, error);
    const char *why = error->message[0] != '\0' ? error->message : pqe_status_text(error->status);

    if (c->json)
        cli_json_error(what, object, error, why, advice, code);
    else
        print_error_text(what, object, why, advice);
    fflush(stderr);
    return code;
}

int
cli_report(cli *c, const char *what, const char *object, const pqe_error *error)
{
    const cli_passphrase *p = &c->passphrase;

    /* Why no passphrase could be had says more than what the library made of it. */
    if (p->error.status != PQE_OK)
        return report(c, p->object != NULL ? "cannot read passphrase file" : what,
                      p->object != NULL ? p->object : object, &p->error, p->advice);
    return report(c, what, object, error, cli_advice(error));
}

int
cli_report_with(cli *c, const char *what, const char *object, const pqe_error *error, const char *advice)
{
    return report(c, what, object, error, advice);
}

int
cli_fail(cli *c, pqe_status status, const char *what, const char *object, const char *why, const char *advice)
{
    pqe_error error = {.status = status, .origin = PQE_ORIGIN_API};

    snprintf(error.message, sizeof error.message, "%s", why);
    return report(c, what, object, &error, advice != NULL ? advice : default_advice(status));
}

int
cli_fail_errno(cli *c, int errnum, const char *what, const char *object, const char *advice)
{
    pqe_error error = {.status = PQE_E_IO, .origin = PQE_ORIGIN_IO, .native = errnum};

    if (errnum == EINTR && cli_interrupted() != 0) {
        error = (pqe_error){.status = PQE_E_CANCELLED, .origin = PQE_ORIGIN_API, .message = "interrupted"};
        return report(c, what, object, &error, NULL);
    }
    if (errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG)
        error.status = PQE_E_NO_SPACE;
    else if (errnum == ENOMEM)
        error.status = PQE_E_NOMEM;
    snprintf(error.message, sizeof error.message, "%s", strerror(errnum));
    return report(c, what, object, &error, advice != NULL ? advice : default_advice(error.status));
}

int
cli_usage(cli *c, const char *format, ...)
{
    pqe_error error = {.status = PQE_E_ARGUMENT, .origin = PQE_ORIGIN_API};
    char advice[96];
    va_list ap;

    va_start(ap, format);
    vsnprintf(error.message, sizeof error.message, format, ap);
    va_end(ap);
    snprintf(advice, sizeof advice, "see `" CLI_NAME " help%s%s`", c->command != NULL ? " " : "",
             c->command != NULL ? c->command->name : "");
    return report(c, c->command != NULL ? c->command->name : "usage", NULL, &error, advice);
}

int
cli_check_name(cli *c, const char *name)
{
    if (name[0] == '\0')
        return cli_usage(c, "a name is empty");
    if (strlen(name) > PQE_NAME_MAX)
        return cli_usage(c, "a name is longer than %d bytes", PQE_NAME_MAX);
    if (!cli_utf8_valid(name))
        return cli_usage(c, "a name is not valid UTF-8");
    return 0;
}

void
cli_note(const cli *c, const char *text, const char *name, const char *rest)
{
    if (c->quiet || c->json)
        return;
    fputs(text, stdout);
    cli_put_escaped(stdout, name);
    fputs(rest, stdout);
    fputc('\n', stdout);
}

int
cli_removed(cli *c, const char *text, const char *name)
{
    if (c->json)
        return cli_json_print(c, json_pack("{s:o}", "removed", cli_json_text(name)));
    cli_note(c, text, name, "");
    return 0;
}

void
cli_put_field(const char *label, const char *value)
{
    printf("%-14s ", label);
    cli_put_escaped(stdout, value);
    fputc('\n', stdout);
}

int
cli_fail_output(cli *c, int errnum)
{
    /* A reader that went away early (`list | head`) is no failure worth a message. */
    if (errnum == EPIPE) {
        cli_interrupt(SIGPIPE);
        return CLI_EXIT_FAILED;
    }
    return cli_fail_errno(c, errnum, "cannot write to", "standard output", NULL);
}

int
cli_finish_output(cli *c, int code)
{
    int errnum;

    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    errnum = errno != 0 ? errno : EIO;
    errnum = cli_fail_output(c, errnum);
    return code != 0 ? code : errnum;
}
