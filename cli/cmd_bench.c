/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave bench: what to expect of this machine. A vault of its own in a directory of its own, removed at the end. */
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "json.h"
#include "process.h"
#include "report.h"

#define DEFAULT_MIB 128u
#define MAX_MIB 65536u
#define BLOCK ((size_t)1 << 20)
#define SMALL 1024u
#define SINGLES 200u
#define MANY 5000u
#define UNLOCKS 20u
#define THREADS_MAX 64u
#define LARGE_NAME "large"

typedef struct bench {
    cli *c;
    char *dir, *vault_dir, *backend_config;
    pqe_backend *backend;
    pqe_vault *vault;
    size_t size;
    unsigned threads;
    unsigned char *block; /* what is stored: this, over and over */
    json_t *rows;
} bench;

static double
now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
say(bench *b, const char *what, double value, const char *unit)
{
    if (b->rows != NULL)
        json_array_append_new(b->rows, json_pack("{s:s, s:f, s:s}", "what", what, "value", value, "unit", unit));
    else
        printf("%-44s %10.*f %s\n", what, value < 100 ? 2 : 0, value, unit);
}

static int
failed(bench *b, const char *what, const pqe_error *error)
{
    return cli_report(b->c, "cannot measure", what, error);
}

static bool
interrupted(const pqe_error *error)
{
    return cli_interrupted() != 0 || error->status != PQE_OK;
}

/* ---- large ---- */

static int
seal(bench *b)
{
    pqe_put_opts o = {.size = sizeof o, .name = LARGE_NAME, .kind = PQE_KIND_MODEL_WEIGHTS};
    pqe_writer *writer = NULL;
    pqe_error error = {0};
    double start = now();

    if (pqe_writer_open(b->vault, &o, &writer, &error) == PQE_OK)
        for (size_t done = 0; done < b->size && !interrupted(&error); done += BLOCK)
            pqe_writer_write(writer, b->block, BLOCK, &error);
    if (error.status == PQE_OK && cli_interrupted() == 0)
        pqe_writer_finish(&writer, NULL, &error);
    pqe_writer_abort(&writer);
    if (cli_interrupted() != 0)
        return cli_fail_errno(b->c, EINTR, "cannot measure", "seal", NULL);
    if (error.status != PQE_OK)
        return failed(b, "seal", &error);
    say(b, "seal a large artifact (put, durable)", (double)b->size / (now() - start) / 1e6, "MB/s");
    return 0;
}

typedef struct part {
    pqe_reader *reader;
    unsigned char *to;
    size_t from, len;
    pqe_error error;
} part;

static void *
load_part(void *arg)
{
    part *p = arg;
    size_t got = 0;

    for (size_t done = 0; done < p->len && !interrupted(&p->error); done += got)
        if (pqe_reader_read_at(p->reader, p->from + done, p->to + done,
                               p->len - done < 4 * BLOCK ? p->len - done : 4 * BLOCK, &got, &p->error) == PQE_OK &&
            got == 0)
            break;
    return NULL;
}

/* Each thread loads a part into its place of one buffer. */
static int
load(bench *b, pqe_reader *reader, unsigned char *buffer, unsigned threads, const char *what)
{
    pthread_t ids[THREADS_MAX];
    part parts[THREADS_MAX];
    size_t each = b->size / BLOCK / threads * BLOCK;
    unsigned running = 0;
    int code = 0;
    double start = now();

    for (unsigned i = 0; i < threads; i++) {
        parts[i] = (part){.reader = reader, .to = buffer + i * each, .from = i * each, .len = each};
        if (i == threads - 1)
            parts[i].len = b->size - parts[i].from;
    }
    while (running + 1 < threads && pthread_create(&ids[running], NULL, load_part, &parts[running]) == 0)
        running++;
    for (unsigned i = running; i < threads; i++) /* the last one, and any that got no thread */
        load_part(&parts[i]);
    for (unsigned i = 0; i < running; i++)
        pthread_join(ids[i], NULL);
    if (cli_interrupted() != 0)
        return cli_fail_errno(b->c, EINTR, "cannot measure", what, NULL);
    for (unsigned i = 0; i < threads && code == 0; i++)
        if (parts[i].error.status != PQE_OK)
            code = failed(b, what, &parts[i].error);
    if (code == 0)
        say(b, what, (double)b->size / (now() - start) / 1e6, "MB/s");
    return code;
}

static int
load_all(bench *b)
{
    unsigned char *buffer = cli_buffer_new(b->size);
    pqe_reader *reader = NULL;
    pqe_error error = {0};
    int code = 0;

    if (buffer == NULL)
        return cli_fail_errno(b->c, ENOMEM, "cannot measure", "load", "give a smaller --size");
    memset(buffer, 1, b->size); /* memory that is there: its first touch is not ours to measure */
    if (pqe_reader_open(b->vault, LARGE_NAME, &reader, &error) != PQE_OK)
        code = failed(b, "load", &error);
    if (code == 0)
        code = load(b, reader, buffer, 1, "load it into memory, one thread");
    if (code == 0 && b->threads > 1)
        code = load(b, reader, buffer, b->threads, "load it into memory, all cores");
    if (code == 0 && memcmp(buffer + b->size - BLOCK, b->block, BLOCK) != 0)
        code = cli_fail(b->c, PQE_E_DECRYPTION, "bench", NULL, "what was loaded is not what was sealed", NULL);
    pqe_reader_close(&reader);
    cli_buffer_free(buffer, b->size);
    return code;
}

/* ---- small ---- */

static int
put_singles(bench *b)
{
    pqe_error error = {0};
    char name[32];
    double start = now();

    for (unsigned i = 0; i < SINGLES && !interrupted(&error); i++) {
        snprintf(name, sizeof name, "single/%u", i);
        pqe_put(b->vault, &(pqe_put_opts){.size = sizeof(pqe_put_opts), .name = name, .kind = PQE_KIND_CREDENTIAL},
                b->block, SMALL, NULL, &error);
    }
    if (error.status != PQE_OK)
        return failed(b, "put", &error);
    say(b, "put credentials of 1 KiB, each durable", SINGLES / (now() - start), "a second");
    return 0;
}

static int
put_many(bench *b)
{
    pqe_batch *batch = NULL;
    pqe_error error = {0};
    char name[32];
    double start = now();

    pqe_batch_open(b->vault, &batch, &error);
    for (unsigned i = 0; i < MANY && !interrupted(&error); i++) {
        snprintf(name, sizeof name, "many/%u", i);
        pqe_batch_put(batch, &(pqe_put_opts){.size = sizeof(pqe_put_opts), .name = name, .kind = PQE_KIND_CREDENTIAL},
                      b->block, SMALL, &error);
    }
    if (error.status == PQE_OK)
        pqe_batch_commit(&batch, NULL, &error);
    pqe_batch_abort(&batch);
    if (error.status != PQE_OK)
        return failed(b, "batch", &error);
    say(b, "put credentials of 1 KiB, in one batch", MANY / (now() - start), "a second");
    return 0;
}

static int
get_many(bench *b)
{
    pqe_error error = {0};
    char name[32];
    void *content;
    size_t len;
    double start = now();

    for (unsigned i = 0; i < MANY && !interrupted(&error); i++) {
        snprintf(name, sizeof name, "many/%u", i * 977 % MANY);
        if (pqe_get(b->vault, name, &content, &len, NULL, &error) == PQE_OK)
            pqe_content_free(&content, len);
    }
    if (error.status != PQE_OK)
        return failed(b, "get", &error);
    say(b, "get them by name", MANY / (now() - start), "a second");
    return 0;
}

static bool
note_got(void *user, const pqe_got *got)
{
    (void)user;
    (void)got;
    return cli_interrupted() == 0;
}

static int
get_many_at_once(bench *b)
{
    static char text[MANY][32];
    static const char *names[MANY];
    pqe_error error = {0};
    double start;

    for (unsigned i = 0; i < MANY; i++) {
        snprintf(text[i], sizeof text[i], "many/%u", i * 977 % MANY);
        names[i] = text[i];
    }
    start = now();
    if (pqe_get_many(b->vault, names, MANY, note_got, NULL, &error) != PQE_OK && cli_interrupted() == 0)
        return failed(b, "get", &error);
    say(b, "get them with one call", MANY / (now() - start), "a second");
    return 0;
}

static int
unlock_often(bench *b)
{
    pqe_error error = {0};
    double start;

    pqe_vault_close(&b->vault);
    start = now();
    for (unsigned i = 0; i < UNLOCKS && !interrupted(&error); i++) {
        pqe_vault_close(&b->vault);
        if (pqe_vault_open(
                &(pqe_vault_opts){.size = sizeof(pqe_vault_opts), .dir = b->vault_dir, .backend = b->backend},
                &b->vault, &error) == PQE_OK)
            pqe_vault_unlock(b->vault, 0, &error);
    }
    if (error.status != PQE_OK)
        return failed(b, "unlock", &error);
    say(b, "open and unlock with a key file", (now() - start) / UNLOCKS * 1e3, "ms");
    return 0;
}

/* ---- set-up ---- */

static int
read_options(cli *c, bench *b)
{
    const char *size = cli_option_value(c, "size");
    unsigned long mib = DEFAULT_MIB;
    char *end = NULL;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (size != NULL) {
        errno = 0;
        mib = strtoul(size, &end, 10);
        if (size[0] < '0' || size[0] > '9' || *end != '\0' || errno != 0 || mib == 0 || mib > MAX_MIB)
            return cli_usage(c, "--size: %s is not a number of MiB from 1 to %u", size, MAX_MIB);
    }
    b->size = mib * BLOCK;
    b->threads = cores < 1 ? 1 : cores > (long)THREADS_MAX ? THREADS_MAX : (unsigned)cores;
    if (b->threads > mib)
        b->threads = (unsigned)mib;
    return 0;
}

static int
make_directory(bench *b)
{
    const char *given = cli_option_value(b->c, "dir"), *parent = given;

    if (parent == NULL)
        parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    if (asprintf(&b->dir, "%s/pqc-enclave-bench.XXXXXX", parent) < 0 || mkdtemp(b->dir) == NULL) {
        free(b->dir);
        b->dir = NULL;
        return cli_fail_errno(b->c, errno, "cannot make a directory in", parent, NULL);
    }
    if (asprintf(&b->vault_dir, "%s/vault", b->dir) < 0 ||
        asprintf(&b->backend_config, "file:key-file=%s/key", b->dir) < 0)
        return cli_fail_errno(b->c, ENOMEM, "cannot measure", NULL, NULL);
    return 0;
}

static int
make_vault(bench *b)
{
    pqe_error error = {0};

    if ((b->block = cli_buffer_new(BLOCK)) == NULL)
        return cli_fail_errno(b->c, ENOMEM, "cannot measure", NULL, NULL);
    for (size_t i = 0; i < BLOCK; i++)
        b->block[i] = (unsigned char)(i * 2654435761u >> 13);
    if (pqe_backend_open(b->backend_config, NULL, &b->backend, &error) != PQE_OK ||
        pqe_vault_open(
            &(pqe_vault_opts){
                .size = sizeof(pqe_vault_opts), .dir = b->vault_dir, .backend = b->backend, .create = true},
            &b->vault, &error) != PQE_OK)
        return failed(b, b->vault_dir, &error);
    return 0;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
    (void)st;
    (void)type;
    (void)place;
    (void)remove(path);
    return 0;
}

static void
clean_up(bench *b)
{
    pqe_vault_close(&b->vault);
    pqe_backend_close(&b->backend);
    if (b->dir != NULL)
        nftw(b->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    cli_buffer_free(b->block, BLOCK);
    json_decref(b->rows);
    free(b->dir);
    free(b->vault_dir);
    free(b->backend_config);
}

static int
print(bench *b)
{
    if (b->rows == NULL)
        return 0;
    return cli_json_print(b->c, json_pack("{s:s, s:I, s:i, s:o, s:O}", "version", pqe_version(), "size",
                                          (json_int_t)b->size, "threads", (int)b->threads, "directory",
                                          cli_json_text(b->dir), "measurements", b->rows));
}

static int
run(cli *c)
{
    static int (*const steps[])(bench *) = {make_directory, make_vault,       unlock_often, put_singles, put_many,
                                            get_many,       get_many_at_once, seal,         load_all,    print};
    bench b = {.c = c, .rows = c->json ? json_array() : NULL};
    int code = read_options(c, &b);

    cli_catch_signals();
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && code == 0; i++) {
        code = steps[i](&b);
        if (code == 0 && cli_interrupted() != 0)
            code = cli_fail_errno(c, EINTR, "cannot measure", NULL, NULL);
        if (code == 0)
            fflush(stdout);
    }
    clean_up(&b);
    return code;
}

static const cli_option options[] = {
    {"size", 0, CLI_VALUE_TEXT, "MIB", "size of the large artifact (128)", NULL},
    {"dir", 0, CLI_VALUE_DIR, "DIR", "where to make the vault that is measured (/dev/shm)", NULL},
    {NULL, 0, CLI_VALUE_NONE, NULL, NULL, NULL},
};

const cli_command cli_cmd_bench = {.name = "bench",
                                   .operands = "",
                                   .summary = "measure what to expect of this machine",
                                   .options = options,
                                   .run = run};
