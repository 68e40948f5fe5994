/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/softhsm.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/scratch.h"

static const char *module;
static char directory[SCRATCH_PATH_MAX / 2];
static size_t objects;

static void
need(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "softhsm: %s\n", what);
    exit(EXIT_FAILURE);
}

static void
run(const char *command)
{
    need(system(command) == 0, command);
}

void
softhsm_begin(void)
{
    static const char *const places[] = {
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so"};
    char path[SCRATCH_PATH_MAX];
    FILE *conf;

    for (size_t i = 0; i < sizeof places / sizeof places[0] && module == NULL; i++)
        if (access(places[i], R_OK) == 0)
            module = places[i];
    if (module == NULL || system("softhsm2-util --version >/dev/null 2>&1") != 0) {
        puts("skipped: SoftHSM is not there (softhsm2)");
        exit(77);
    }
    snprintf(directory, sizeof directory, "%s", scratch_make());
    conf = fopen(scratch_path("softhsm2.conf", path), "w");
    need(conf != NULL, "no configuration file");
    fprintf(conf, "directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n", directory);
    fclose(conf);
    setenv("SOFTHSM2_CONF", path, 1);
    need(mkdir(scratch_path("tokens", path), 0700) == 0, "no directory for tokens");
}

void
softhsm_end(void)
{
    scratch_remove();
}

const char *
softhsm_module(void)
{
    return module;
}

void
softhsm_token(const char *label)
{
    char command[256];

    snprintf(command, sizeof command,
             "softhsm2-util --init-token --free --label '%s' --pin 1234 --so-pin 4321 >/dev/null", label);
    run(command);
}

void
softhsm_remove(const char *label)
{
    char command[256];

    snprintf(command, sizeof command, "softhsm2-util --delete-token --token '%s' >/dev/null", label);
    run(command);
}

const char *
softhsm_config(const char *label, const char *more)
{
    static char texts[8][2 * SCRATCH_PATH_MAX];
    static unsigned next;
    char *text = texts[next++ % 8];

    snprintf(text, sizeof texts[0], "module-path=%s;token=%s%s", module, label, more);
    return text;
}

const char *
softhsm_pin(const char *text)
{
    static char option[SCRATCH_PATH_MAX + 32];
    static unsigned count;
    char path[SCRATCH_PATH_MAX], name[32];
    FILE *f;

    snprintf(name, sizeof name, "pin-%u", count++);
    f = fopen(scratch_path(name, path), "w");
    need(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0 && chmod(path, 0600) == 0, "no file for the PIN");
    snprintf(option, sizeof option, ";pin-source=%s", path);
    return option;
}

static int
count_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    const char *name = path + where->base, *dot = strrchr(name, '.');

    (void)st;
    (void)type;
    objects += dot != NULL && strcmp(dot, ".object") == 0 && strcmp(name, "token.object") != 0;
    return 0;
}

size_t
softhsm_objects(void)
{
    objects = 0;
    nftw(directory, count_one, 16, FTW_PHYS);
    return objects;
}
