/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program with a vault, to be dumped by dump_check.py while it waits.
 *
 *   memory_host DIR CONFIG MODE
 *
 * MODE is lock, expire, native, core or core-fallback: which way the session ends (native: as lock, and the backend keeps
 * the ML-KEM keys), or that it is dumped while it runs. All but core force the fall-back of locked memory.
 *
 * DIR holds what the test put there (contents, texts, the passphrase) and takes the vault, the key file and the record
 * of secrets. Before each wait one line says where it stands; a byte on standard input lets it go on. Everything that
 * this program itself held of keys and plaintext is wiped when it says so, so that what a dump holds afterwards was
 * left by the library or by what it is made of.
 */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <pqc_enclave.h>
#include <pqc_enclave/recovery.h>

#include "backend/file/passphrase.h"
#include "backend/nativekem.h"
#include "backend/registry.h"
#include "crypto/crypto.h"
#include "memory/recorder.h"
#include "util/secmem.h"

#define CONTENT_MAX ((size_t)1 << 20)
#define TEXT_MAX 256

/* Blocks of SHA3-256, so that libcrypto's hash context, in ordinary memory, holds none unfinished. */
#define WHOLE_BLOCKS ((size_t)136 * 2168)

typedef struct host {
    const char *dir, *config;
    bool core;   /* an ordinary core dump is to be taken */
    bool native; /* a device has the ML-KEM keys: the double of one, in this process, but no part of the vault */
    pqe_backend *backend;
    pqe_vault *vault;
    char name[TEXT_MAX], description[TEXT_MAX];
    pqe_reader *reader, *small_reader;
    pqe_writer *writer;
    pqe_artifact *artifact;
    void *held[2];
    size_t held_len[2];
    struct {
        uint8_t seed[PQE__KEM_SEED_SIZE], secret[32];
    } * own; /* in locked memory */
    pqe__kem_key *own_key;
    uint8_t sealed[32 + PQE__HPKE_OVERHEAD];
    void (*job)(struct host *h);
    sem_t done;
} host;

static void
die(const char *what, const pqe_error *err)
{
    dprintf(STDERR_FILENO, "memory_host: %s: %s: %s\n", what, pqe_status_name(err->status), err->message);
    exit(1);
}

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        pqe_error err_ = {0}, *err = &err_;                                                                            \
        if ((call) != PQE_OK)                                                                                          \
            die(#call, err);                                                                                           \
    } while (0)

static void
say_and_wait(const char *where)
{
    char byte;

    dprintf(STDOUT_FILENO, "%s\n", where);
    if (read(STDIN_FILENO, &byte, 1) != 1)
        exit(1);
}

/* Straight into the caller's buffer: stdio would keep a copy. */
static size_t
slurp(const char *dir, const char *name, void *buf, size_t capacity)
{
    char path[PATH_MAX];
    size_t len = 0;
    ssize_t n = 0;
    int fd;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && len < capacity && (n = read(fd, (char *)buf + len, capacity - len)) > 0)
        len += (size_t)n;
    if (fd < 0 || n < 0) {
        perror(path);
        exit(1);
    }
    close(fd);
    return len;
}

static pqe_status
give_passphrase(void *user, pqe_passphrase_purpose purpose, char *buf, size_t capacity, size_t *len)
{
    (void)purpose;
    *len = slurp(user, "passphrase", buf, capacity);
    return PQE_OK;
}

static void
open_vault(host *h)
{
    const pqe__argon2_params cheap = {.memory_kib = PQE__ARGON2_MEMORY_MIN, .passes = 2, .lanes = 1};
    pqe_backend_opts bo = {.size = sizeof bo, .passphrase = give_passphrase, .user = (void *)(uintptr_t)h->dir};
    char vault[PATH_MAX];
    pqe_vault_opts vo = {.size = sizeof vo, .dir = vault, .create = true};

    pqe__passphrase_set_params(&cheap);
    snprintf(vault, sizeof vault, "%s/vault", h->dir);
    recorder_call_random("backend key"); /* that of the memory backend */
    if (h->native)
        OK(pqe_backend_open_ops(nativekem_wrap(pqe__backend_find("file")), strchr(h->config, ':') + 1, &bo, &h->backend,
                                err));
    else
        OK(pqe_backend_open(h->config, &bo, &h->backend, err));
    recorder_call_random("random secret");
    vo.backend = h->backend;
    OK(pqe_vault_open(&vo, &h->vault, err));
}

/* A recovery key in all its forms. What it has handed out is wiped here; the vault goes on with what it keeps of it. */
static void
have_recovery_key(host *h)
{
    pqe_recovery_key *key = NULL, *again = NULL;
    char *text = pqe__secmem_alloc(PQE_RECOVERY_PEM_MAX);
    size_t len;

    OK(pqe_recovery_key_generate(&key, err));
    OK(pqe_recovery_key_words(key, text, PQE_RECOVERY_PEM_MAX, &len, err));
    recorder_note("recovery words", text, 128);
    OK(pqe_recovery_key_from_words(text, len, &again, err));
    pqe_recovery_key_free(&again);
    OK(pqe_recovery_key_pem(key, text, PQE_RECOVERY_PEM_MAX, &len, err));
    recorder_note("recovery PEM", strchr(text, '\n') + 1 + 32, 32); /* behind what all such keys begin with */
    OK(pqe_recovery_key_from_pem(text, len, &again, err));
    pqe__secmem_free(text);
    OK(pqe_recovery_create(h->vault, again, "in the safe", err));
    pqe_recovery_key_free(&again);
    pqe_recovery_key_free(&key);
    OK(pqe_rotate(h->vault, NULL, err));
}

/* Not from malloc: this program's memory is not to take the place of what the library freed. */
static void *
new_buffer(void)
{
    void *p = mmap(NULL, CONTENT_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        exit(1);
    return p;
}

static void
drop_buffer(void *p)
{
    explicit_bzero(p, CONTENT_MAX);
    munmap(p, CONTENT_MAX);
}

static void
put_file(host *h, const char *name, const char *file)
{
    const char *tags[] = {h->description};
    pqe_put_opts o = {.size = sizeof o,
                      .name = name,
                      .kind = PQE_KIND_CREDENTIAL,
                      .description = h->description,
                      .tags = tags,
                      .tag_count = 1};
    void *content = new_buffer();
    size_t len = slurp(h->dir, file, content, CONTENT_MAX);
    OK(pqe_put(h->vault, &o, content, len, NULL, err));
    drop_buffer(content);
}

static bool
see(void *user, const pqe_artifact *artifact)
{
    ++*(size_t *)user;
    return artifact->size_bytes > 0;
}

/* In pieces that are no multiple of anything. */
static void
read_in_pieces(host *h, const char *name)
{
    pqe_reader *r = NULL;
    char piece[4999];
    size_t len = 1;

    OK(pqe_reader_open(h->vault, name, &r, err));
    while (len != 0)
        OK(pqe_reader_read(r, piece, sizeof piece, &len, err));
    OK(pqe_reader_read_at(r, 20000, piece, 100, &len, err));
    pqe_reader_close(&r);
    explicit_bzero(piece, sizeof piece);
}

/* A writer and two readers that are under way when the session ends. */
static void
leave_open(host *h)
{
    pqe_put_opts o = {.size = sizeof o, .name = "under way", .kind = PQE_KIND_OTHER};
    void *content = new_buffer();
    size_t len = slurp(h->dir, "large.bin", content, CONTENT_MAX), got;

    OK(pqe_writer_open(h->vault, &o, &h->writer, err));
    OK(pqe_writer_write(h->writer, content, h->core ? WHOLE_BLOCKS : len - 5, err));
    OK(pqe_reader_open(h->vault, h->name, &h->reader, err));
    OK(pqe_reader_read(h->reader, content, 30000, &got, err));
    OK(pqe_reader_open(h->vault, "small", &h->small_reader, err));
    OK(pqe_reader_read(h->small_reader, content, 100, &got, err));
    drop_buffer(content);
}

/* ---- jobs, each done in a thread of its own ---- */

static void
make(host *h)
{
    open_vault(h);
    have_recovery_key(h);
    put_file(h, "small", "small.bin");
}

static void
replace(host *h)
{
    put_file(h, h->name, "small.bin");
    put_file(h, h->name, "large.bin");
}

static void
remove_one(host *h)
{
    put_file(h, "doomed", "large.bin");
    OK(pqe_delete(h->vault, "doomed", err));
}

static void
rotate(host *h)
{
    OK(pqe_rotate(h->vault, NULL, err));
}

static void
rekey(host *h)
{
    pqe_rotate_opts o = {.size = sizeof o, .rekey = true};

    OK(pqe_rotate(h->vault, &o, err));
}

/* The first call after a rotation loads the new keys. */
static void
reload(host *h)
{
    OK(pqe_info(h->vault, "small", &h->artifact, err));
    pqe_artifact_free(&h->artifact);
}

static void
unlock_again(host *h)
{
    pqe_vault_lock(h->vault);
    OK(pqe_vault_unlock(h->vault, 0, err));
}

static void
put_in_second_session(host *h)
{
    put_file(h, "second session", "small.bin");
}

static void
get(host *h)
{
    OK(pqe_get(h->vault, "small", &h->held[0], &h->held_len[0], NULL, err));
    OK(pqe_get(h->vault, h->name, &h->held[1], &h->held_len[1], NULL, err));
}

static void
read_pieces(host *h)
{
    read_in_pieces(h, h->name);
}

static void
describe(host *h)
{
    size_t count = 0;

    OK(pqe_info(h->vault, h->name, &h->artifact, err));
    OK(pqe_list(h->vault, see, &count, err));
}

static void
verify(host *h)
{
    OK(pqe_verify(h->vault, NULL, NULL, NULL, NULL, err));
}

static void
show_grant_key(host *h)
{
    char pem[PQE_GRANT_PEM_MAX];
    size_t len;

    OK(pqe_grant_public_key(h->vault, pem, sizeof pem, &len, err));
}

/* The public calls go on after these and overwrite, most of the time, what they left on the stack. Like the public
 * calls, these clear the registers when they are done. */
static void
seal_only(host *h)
{
    OK(pqe__kem_from_seed(h->own->seed, &h->own_key, err));
    OK(pqe__hpke_seal(&pqe__hpke_ml_kem_768, h->own_key, NULL, NULL, 0, NULL, 0, h->own->secret, sizeof h->own->secret,
                      h->sealed, err));
    pqe__wipe_registers();
}

static void
open_only(host *h)
{
    OK(pqe__hpke_open(&pqe__hpke_ml_kem_768, h->own_key, NULL, 0, NULL, 0, h->sealed, sizeof h->sealed, h->own->secret,
                      err));
    pqe__wipe_registers();
}

static void
encapsulate_only(host *h)
{
    OK(pqe__kem_encapsulate(h->own_key, NULL, h->sealed, h->own->secret, err));
    pqe__wipe_registers();
}

static void
decapsulate_only(host *h)
{
    OK(pqe__kem_decapsulate(h->own_key, h->sealed, PQE__KEM_CIPHERTEXT_SIZE, h->own->secret, err));
    pqe__wipe_registers();
}

static void (*const work[])(host *h) = {
    make,       replace,          remove_one,
    rotate,     reload,           rekey,
    reload,     unlock_again,     put_in_second_session,
    get,        read_pieces,      describe,
    verify,     show_grant_key,   seal_only,
    open_only,  encapsulate_only, decapsulate_only,
    leave_open,
};

/* With a key pair of this program, which has nothing to do with the vault. */
static bool
is_with_own_key(void (*job)(host *h))
{
    return job == seal_only || job == open_only || job == encapsulate_only || job == decapsulate_only;
}

static void
let_contents_go(host *h)
{
    for (size_t i = 0; i < 2; i++)
        pqe_content_free(&h->held[i], h->held_len[i]);
}

/* The session of two seconds ends by itself: nothing is called until the dump is taken. */
static void
let_expire(host *h)
{
    void *content = NULL;
    size_t len = 0;

    let_contents_go(h);
    pqe_reader_close(&h->reader);
    pqe_reader_close(&h->small_reader);
    pqe_writer_abort(&h->writer);
    OK(pqe_vault_unlock(h->vault, 2, err));
    OK(pqe_get(h->vault, h->name, &content, &len, NULL, err));
    pqe_content_free(&content, len);
    leave_open(h);
}

static void
close_handles(host *h)
{
    pqe_reader_close(&h->reader);
    pqe_reader_close(&h->small_reader);
    pqe_writer_abort(&h->writer);
    pqe_artifact_free(&h->artifact);
    explicit_bzero(h->name, sizeof h->name);
    explicit_bzero(h->description, sizeof h->description);
}

static _Noreturn void *
do_job(void *arg)
{
    host *h = arg;

    h->job(h);
    sem_post(&h->done);
    for (;;)
        pause();
}

/* In a thread of its own, which then sits still: what calls leave on its stack is not overwritten by later ones. */
static void
on_its_own(host *h, void (*job)(host *h))
{
    pthread_attr_t small; /* there are many of these stacks in a dump */
    pthread_t thread;

    h->job = job;
    sem_init(&h->done, 0, 0);
    if (pthread_attr_init(&small) != 0 || pthread_attr_setstacksize(&small, (size_t)512 << 10) != 0 ||
        pthread_create(&thread, &small, do_job, h) != 0)
        exit(1);
    sem_wait(&h->done);
}

int
main(int argc, char **argv)
{
    static host h;
    char record[PATH_MAX];
    const void **pages;

    if (argc != 4)
        return 2;
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); /* the dumper is not this program's parent */
    h.dir = argv[1];
    h.config = argv[2];
    h.native = strcmp(argv[3], "native") == 0;
    h.core = strncmp(argv[3], "core", 4) == 0;
    if (strcmp(argv[3], "core") != 0)
        pqe__secmem_set_mode(PQE__SECMEM_FALLBACK);
    snprintf(record, sizeof record, "%s/secrets", h.dir);
    recorder_start(record);
    h.own = pqe__secmem_alloc(sizeof *h.own);
    if (h.own == NULL)
        return 1;
    OK(pqe__random_secret(h.own, sizeof *h.own, err));
    slurp(h.dir, "name", h.name, sizeof h.name - 1);
    slurp(h.dir, "description", h.description, sizeof h.description - 1);
    for (size_t i = 0; i < sizeof work / sizeof work[0]; i++)
        if (!h.native || !is_with_own_key(work[i]))
            on_its_own(&h, work[i]);
    for (size_t i = 0, n = recorder_pages(&pages); i < n; i++)
        dprintf(STDOUT_FILENO, "page %lx\n", (unsigned long)(uintptr_t)pages[i]);
    say_and_wait("unlocked");
    if (strcmp(argv[3], "expire") == 0) {
        on_its_own(&h, let_expire);
    } else {
        pqe_vault_lock(h.vault);
        let_contents_go(&h);
    }
    pqe__kem_free(&h.own_key);
    pqe__secmem_free(h.own);
    say_and_wait("ending");
    if (pqe_vault_is_unlocked(h.vault))
        return 1;
    close_handles(&h);
    say_and_wait("closed");
    pqe_vault_close(&h.vault);
    pqe_backend_close(&h.backend);
    say_and_wait("gone");
    return 0;
}
