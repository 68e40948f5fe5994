/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave doctor: is this vault, on this machine, as safe as it can be? */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <pqc_enclave/recovery.h>

#include "commands.h"
#include "doctor.h"
#include "json.h"
#include "report.h"
#include "session.h"
#include "text.h"

void
doctor_say(doctor *d, doctor_level level, const char *check, const char *advice, const char *format, ...)
{
    static const char *const levels[] = {"ok", "warn", "fail"};
    char message[2048];
    va_list ap;

    va_start(ap, format);
    vsnprintf(message, sizeof message, format, ap);
    va_end(ap);
    d->warnings += level == DOCTOR_WARN;
    d->failures += level == DOCTOR_FAIL;
    if (d->c->json) {
        json_array_append_new(d->checks, json_pack("{s:s, s:s, s:o, s:o}", "check", check, "level", levels[level],
                                                   "message", cli_json_text(message), "advice", cli_json_text(advice)));
        return;
    }
    if (d->c->quiet && level == DOCTOR_OK)
        return;
    printf("%-4s  %-15s  ", levels[level], check);
    cli_put_escaped(stdout, message);
    if (advice != NULL)
        printf("; %s", advice);
    putchar('\n');
}

static void
check_backend(doctor *d)
{
    const char *name = d->c->facts.backend;
    pqe_backend_info info;

    for (size_t i = 0; pqe_backend_builtin(i, &info); i++) {
        if (strcmp(info.name, name) != 0)
            continue;
        if (strcmp(info.protection, "software") == 0)
            doctor_say(d, DOCTOR_WARN, "backend", NULL, "%s is software protection, no hardware holds the key: %s",
                       name, info.caveat);
        else
            doctor_say(d, DOCTOR_OK, "backend", NULL, "%s (%s): %s", name, info.protection, info.caveat);
        return;
    }
    doctor_say(d, DOCTOR_FAIL, "backend", "use the program that made the vault", "the backend %s is not built in",
               name);
}

/* Opens the vault where that needs no question. What fails is a finding here, not an error of the command. */
static void
check_unlock(doctor *d)
{
    cli *c = d->c;
    pqe_backend_opts backend_opts = {
        .size = sizeof backend_opts, .passphrase = cli_passphrase_read, .user = &c->passphrase};
    pqe_vault_opts opts = {.size = sizeof opts, .dir = c->vault_dir, .read_only = true};
    pqe_error error = {0};
    const char *advice = NULL;
    char *config;

    if (strcmp(c->facts.key_source, "passphrase") == 0 && c->passphrase.file == NULL) {
        doctor_say(d, DOCTOR_WARN, "unlock", "give --passphrase-file F", "not tried without the passphrase");
        return;
    }
    config = cli_backend_config(c);
    c->passphrase.is_pin = strcmp(c->facts.key_source, "token") == 0;
    if (config == NULL) {
        doctor_say(d, DOCTOR_FAIL, "unlock", NULL, "%s",
                   errno == EINVAL ? "the backend's name in the vault is damaged"
                                   : "the note of the backend in the user's configuration cannot be used");
        return;
    }
    if (pqe_backend_open(config, &backend_opts, &c->backend, &error) == PQE_OK) {
        opts.backend = c->backend;
        if (pqe_vault_open(&opts, &c->vault, &error) == PQE_OK && pqe_vault_unlock(c->vault, 0, &error) == PQE_OK) {
            doctor_say(d, DOCTOR_OK, "unlock", NULL, "the vault opens, its head is authentic");
            free(config);
            return;
        }
    }
    free(config);
    if (c->passphrase.error.status != PQE_OK) { /* says more than what the library made of it */
        error = c->passphrase.error;
        advice = c->passphrase.advice;
    } else if (error.status != PQE_E_BACKEND && error.status != PQE_E_CRYPTO) { /* their advice is this command */
        advice = cli_advice(&error);
    }
    doctor_say(d, DOCTOR_FAIL, "unlock", advice, "%s: %s", pqe_status_name(error.status), error.message);
}

/* After check_unlock(): whether a device counts is known for certain once the vault is open. */
static void
check_rollback(doctor *d)
{
    cli *c = d->c;
    pqe_vault_info facts = c->facts;

    if (c->vault != NULL && pqe_vault_get_info(c->vault, &facts, NULL) != PQE_OK)
        facts = c->facts;
    if (facts.rollback == PQE_ROLLBACK_DETECTED)
        doctor_say(d, DOCTOR_OK, "rollback", NULL,
                   "a counter of the device tells an older copy of the directory from the vault");
    else if (facts.rollback == PQE_ROLLBACK_NOT_DETECTED)
        doctor_say(d, DOCTOR_WARN, "rollback", "keep the vault where others cannot replace it",
                   "not detected: the %s backend has no counter for this vault, an older copy of the whole directory "
                   "put back is not noticed",
                   facts.backend);
    else
        doctor_say(d, DOCTOR_WARN, "rollback", NULL,
                   "whether an older copy of the directory is detected shows only once the vault opens");
}

static bool
count_key(void *user, const pqe_recovery_info *info)
{
    (void)info;
    ++*(size_t *)user;
    return true;
}

/* Only of a vault that was opened. */
static void
check_recovery(doctor *d)
{
    size_t count = 0;
    pqe_error error = {0};

    if (d->c->vault == NULL || !pqe_vault_is_unlocked(d->c->vault))
        return;
    if (pqe_recovery_list(d->c->vault, count_key, &count, &error) != PQE_OK)
        doctor_say(d, DOCTOR_FAIL, "recovery", NULL, "%s: %s", pqe_status_name(error.status), error.message);
    else if (count == 0)
        doctor_say(d, DOCTOR_WARN, "recovery", "`" CLI_NAME " recovery create` makes one",
                   "there is no recovery key: with its %s lost, the vault is lost", d->c->facts.key_source);
    else
        doctor_say(d, DOCTOR_OK, "recovery", NULL, "%zu recovery key%s", count, count == 1 ? "" : "s");
}

/* False if there is no vault to look at. */
static bool
check_vault(doctor *d)
{
    cli *c = d->c;
    pqe_error error = {0};

    if (pqe_vault_peek(c->vault_dir, &c->facts, &error) != PQE_OK) {
        doctor_say(d, DOCTOR_FAIL, "vault",
                   error.status == PQE_E_NOT_A_VAULT ? "give --vault DIR, or make one with `" CLI_NAME " init`" : NULL,
                   "%s: %s", c->vault_dir, error.message);
        return false;
    }
    doctor_say(d, DOCTOR_OK, "vault", NULL, "%s: format %u, suite %s, %" PRIu64 " artifacts", c->vault_dir,
               c->facts.format_version, c->facts.suite, c->facts.artifact_count);
    return true;
}

static int
print_summary(doctor *d)
{
    cli *c = d->c;

    if (c->json)
        return cli_json_print(c, json_pack("{s:s, s:I, s:I, s:O}", "version", pqe_version(), "failures",
                                           (json_int_t)d->failures, "warnings", (json_int_t)d->warnings, "checks",
                                           d->checks));
    if (!c->quiet)
        printf("%zu failed, %zu warning%s (" CLI_NAME " %s)\n", d->failures, d->warnings, d->warnings == 1 ? "" : "s",
               pqe_version());
    return 0;
}

static int
run(cli *c)
{
    doctor d = {.c = c, .checks = c->json ? json_array() : NULL};
    int code = cli_vault_dir(c, NULL);

    if (code != 0)
        return code;
    doctor_check_machine(&d);
    if (check_vault(&d)) {
        doctor_check_storage(&d);
        check_backend(&d);
        if (c->facts.held_by[0] != '\0')
            doctor_say(&d, DOCTOR_OK, "held-by", NULL, "%s", c->facts.held_by);
        if (c->facts.native_kem)
            doctor_say(&d, DOCTOR_OK, "device-keys", NULL,
                       "native ML-KEM: the decapsulation keys never leave the backend");
        check_unlock(&d);
        check_recovery(&d);
        check_rollback(&d);
    }
    code = print_summary(&d);
    json_decref(d.checks);
    if (code != 0 || d.failures == 0)
        return code;
    fflush(stdout);
    return cli_fail(c, PQE_E_STATE, "doctor", NULL, "a check failed", "see the lines marked fail");
}

const cli_command cli_cmd_doctor = {
    .name = "doctor", .operands = "", .summary = "check the vault and this machine for weak spots", .run = run};
