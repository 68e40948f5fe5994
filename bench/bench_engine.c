/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole artifacts against their limits: bench_engine [MIB] [ROUNDS] [DIR]
 *
 * Puts and gets MIB (1024) in a vault below DIR (/dev/shm), beside minimal programs that do the same work on the same
 * bytes with nothing but libcrypto and system calls, in interleaved rounds. Prints medians in GB/s, of CPU time, and of the
 * ratio of each pair. The limits: AES-256-GCM over pieces of 1 MiB, one nonce each, on as many threads as the library uses; ciphertext
 * mapped, plaintext into fresh huge pages, into memory that is there, or into a file; encryption with SHA-256 over the
 * ciphertext, or SHAKE256 over the plaintext, into a file; SHA3-256 alone. All files are removed at the end.
 */
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <pqc_enclave.h>

#include "bench.h"

#define MIB ((size_t)1 << 20)
#define HUGE (2 * MIB)
#define TAG 16u
#define SMALL_READS 4000
#define ROUNDS_MAX 101

static struct {
    size_t len;
    unsigned threads;
    char dir[128];
    EVP_CIPHER *cipher;
    EVP_MD *sha256, *sha3, *shake;
    uint8_t *warm; /* len bytes that are there */
    int plain, ciphertext, out;
    uint8_t *mapped; /* the ciphertext: pieces of 1 MiB, each with its tag */
    pqe_backend *backend;
    pqe_vault *vault;
} b;

static void
check(bool ok, const char *what, const pqe_error *err)
{
    if (ok)
        return;
    fprintf(stderr, "bench_engine: %s%s%s\n", what, err != NULL ? ": " : "", err != NULL ? err->message : "");
    exit(1);
}

static int
new_file(const char *name)
{
    char path[192];
    int fd;

    snprintf(path, sizeof path, "%s/%s", b.dir, name);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    check(fd >= 0, "cannot make a file", NULL);
    return fd;
}

static void
drop_file(const char *name, int fd)
{
    char path[192];

    snprintf(path, sizeof path, "%s/%s", b.dir, name);
    close(fd);
    unlink(path);
}

static uint8_t *
map_huge(size_t len)
{
    uint8_t *p = mmap(NULL, len + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t before = (HUGE - (uintptr_t)p % HUGE) % HUGE;

    check(p != MAP_FAILED, "no memory", NULL);
    munmap(p, before);
    munmap(p + before + len, HUGE - before);
    madvise(p + before, len, MADV_HUGEPAGE);
    return p + before;
}

/* ---- the limits ---- */

typedef struct limit {
    void (*piece)(const struct limit *l, size_t i, EVP_CIPHER_CTX *cipher, EVP_MD_CTX *md, uint8_t *buf, uint8_t *buf2);
    uint8_t *to;
    int out;
    EVP_MD *md;
    atomic_size_t next;
} limit;

static void
open_piece(size_t i, EVP_CIPHER_CTX *ctx, uint8_t *out)
{
    const uint8_t *in = b.mapped + i * (MIB + TAG);
    uint8_t nonce[12] = {0}, tag[TAG];
    int n;

    memcpy(nonce, &i, sizeof i);
    memcpy(tag, in + MIB, TAG);
    check(EVP_DecryptInit_ex2(ctx, NULL, NULL, nonce, NULL) && EVP_DecryptUpdate(ctx, out, &n, in, (int)MIB) &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG, tag) && EVP_DecryptFinal_ex(ctx, out, &n) > 0,
          "decryption failed", NULL);
}

static void
seal_piece(size_t i, EVP_CIPHER_CTX *ctx, const uint8_t *in, uint8_t *out)
{
    uint8_t nonce[12] = {0};
    int n;

    memcpy(nonce, &i, sizeof i);
    check(EVP_EncryptInit_ex2(ctx, NULL, NULL, nonce, NULL) && EVP_EncryptUpdate(ctx, out, &n, in, (int)MIB) &&
              EVP_EncryptFinal_ex(ctx, out + MIB, &n) &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG, out + MIB) > 0,
          "encryption failed", NULL);
}

static void
limit_memory(const limit *l, size_t i, EVP_CIPHER_CTX *cipher, EVP_MD_CTX *md, uint8_t *buf, uint8_t *buf2)
{
    (void)md;
    (void)buf;
    (void)buf2;
    open_piece(i, cipher, l->to + i * MIB);
}

static void
limit_file(const limit *l, size_t i, EVP_CIPHER_CTX *cipher, EVP_MD_CTX *md, uint8_t *buf, uint8_t *buf2)
{
    (void)md;
    (void)buf2;
    open_piece(i, cipher, buf);
    check(pwrite(l->out, buf, MIB, (off_t)(i * MIB)) == (ssize_t)MIB, "cannot write", NULL);
}

/* `l->md` goes over the ciphertext (SHA-256) or the plaintext (SHAKE256). */
static void
limit_put(const limit *l, size_t i, EVP_CIPHER_CTX *cipher, EVP_MD_CTX *md, uint8_t *buf, uint8_t *buf2)
{
    uint8_t digest[64];

    check(pread(b.plain, buf, MIB, (off_t)(i * MIB)) == (ssize_t)MIB, "cannot read", NULL);
    seal_piece(i, cipher, buf, buf2);
    if (l->md == b.sha256)
        check(EVP_DigestInit_ex2(md, l->md, NULL) && EVP_DigestUpdate(md, buf2, MIB + TAG) &&
                  EVP_DigestFinal_ex(md, digest, NULL),
              "hashing failed", NULL);
    if (l->md == b.shake)
        check(EVP_DigestInit_ex2(md, l->md, NULL) && EVP_DigestUpdate(md, buf, MIB) &&
                  EVP_DigestFinalXOF(md, digest, sizeof digest),
              "hashing failed", NULL);
    check(pwrite(l->out, buf2, MIB + TAG, (off_t)(i * (MIB + TAG))) == (ssize_t)(MIB + TAG), "cannot write", NULL);
}

static void *
work(void *arg)
{
    static const uint8_t key[32] = {7};
    limit *l = arg;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t *buf = malloc(2 * (MIB + TAG));
    bool seals = l->piece == limit_put;
    size_t i;

    check(EVP_CipherInit_ex2(ctx, b.cipher, key, NULL, seals, NULL), "no cipher", NULL);
    while ((i = atomic_fetch_add(&l->next, 1)) < b.len / MIB)
        l->piece(l, i, ctx, md, buf, buf + MIB + TAG);
    free(buf);
    EVP_MD_CTX_free(md);
    EVP_CIPHER_CTX_free(ctx);
    return NULL;
}

static void
run_limit(limit *l)
{
    pthread_t helpers[256];

    for (unsigned i = 1; i < b.threads; i++)
        check(pthread_create(&helpers[i], NULL, work, l) == 0, "no thread", NULL);
    work(l);
    for (unsigned i = 1; i < b.threads; i++)
        pthread_join(helpers[i], NULL);
}

/* ---- the pairs ---- */

static void
fresh_limit(void)
{
    limit l = {.piece = limit_memory, .to = map_huge(b.len)};

    run_limit(&l);
    munmap(l.to, b.len);
}

static void
fresh_ours(void)
{
    void *content = NULL;
    size_t len;
    pqe_error err;

    check(pqe_get(b.vault, "a", &content, &len, NULL, &err) == PQE_OK, "get", &err);
    munmap(content, len); /* as the limit does: without the wiping that pqe_content_free() adds */
}

static void
warm_limit(void)
{
    limit l = {.piece = limit_memory, .to = b.warm};

    run_limit(&l);
}

static pqe_reader *
open_reader(void)
{
    pqe_reader *r = NULL;
    pqe_error err;

    check(pqe_reader_open(b.vault, "a", &r, &err) == PQE_OK, "open", &err);
    return r;
}

static void
warm_ours(void)
{
    pqe_reader *r = open_reader();
    pqe_error err;
    size_t got;

    check(pqe_reader_read_at(r, 0, b.warm, b.len, &got, &err) == PQE_OK, "read", &err);
    pqe_reader_close(&r);
}

static void
file_limit(void)
{
    limit l = {.piece = limit_file, .out = new_file("limit")};

    run_limit(&l);
    drop_file("limit", l.out);
}

static void
file_ours(void)
{
    int fd = new_file("ours");
    pqe_reader *r = open_reader();
    pqe_error err;

    check(pqe_reader_to_file(r, fd, NULL, NULL, &err) == PQE_OK, "get to file", &err);
    pqe_reader_close(&r);
    drop_file("ours", fd);
}

static void
put_limit(EVP_MD *md)
{
    limit l = {.piece = limit_put, .out = new_file("limit"), .md = md};

    run_limit(&l);
    drop_file("limit", l.out);
}

static void
put_ours(const char *hash)
{
    pqe_put_opts o = {.size = sizeof o, .name = "b", .kind = PQE_KIND_OTHER, .hash = hash};
    pqe_writer *w = NULL;
    pqe_error err;

    check(lseek(b.plain, 0, SEEK_SET) == 0, "cannot seek", NULL);
    check(pqe_writer_open(b.vault, &o, &w, &err) == PQE_OK, "put", &err);
    check(pqe_writer_from_file(w, b.plain, NULL, NULL, &err) == PQE_OK, "put", &err);
    check(pqe_writer_finish(&w, NULL, &err) == PQE_OK, "put", &err);
    check(pqe_delete(b.vault, "b", &err) == PQE_OK, "rm", &err);
}

static void
deferred_limit(void)
{
    put_limit(b.sha256);
}

static void
deferred_ours(void)
{
    put_ours("deferred");
}

static void
parallel_limit(void)
{
    put_limit(b.shake);
}

static void
parallel_ours(void)
{
    put_ours("parallelhash256");
}

static void
sha3_limit(void)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t *buf = malloc(MIB), digest[32];

    check(EVP_DigestInit_ex2(md, b.sha3, NULL), "no hash", NULL);
    for (size_t i = 0; i < b.len / MIB; i++) {
        check(pread(b.plain, buf, MIB, (off_t)(i * MIB)) == (ssize_t)MIB, "cannot read", NULL);
        check(EVP_DigestUpdate(md, buf, MIB), "hashing failed", NULL);
    }
    check(EVP_DigestFinal_ex(md, digest, NULL), "hashing failed", NULL);
    free(buf);
    EVP_MD_CTX_free(md);
}

static void
sha3_ours(void)
{
    put_ours("sha3-256");
}

static const struct pair {
    const char *name;
    void (*limit)(void), (*ours)(void);
} pairs[] = {{"get, fresh memory", fresh_limit, fresh_ours},
             {"get, warm buffer", warm_limit, warm_ours},
             {"get, file", file_limit, file_ours},
             {"put, deferred", deferred_limit, deferred_ours},
             {"put, parallelhash256", parallel_limit, parallel_ours},
             {"put, sha3-256", sha3_limit, sha3_ours}};
#define PAIRS (sizeof pairs / sizeof pairs[0])

/* ---- set-up ---- */

static void
make_files(void)
{
    static const uint8_t key[32] = {7};
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t *buf = malloc(2 * MIB + TAG);

    b.plain = new_file("plain");
    b.ciphertext = new_file("ciphertext");
    check(EVP_EncryptInit_ex2(ctx, b.cipher, key, NULL, NULL), "no cipher", NULL);
    for (size_t i = 0; i < b.len / MIB; i++) {
        for (size_t k = 0; k < MIB; k += sizeof i)
            memcpy(buf + k, &(size_t){i * k * 2654435761u}, sizeof i);
        check(pwrite(b.plain, buf, MIB, (off_t)(i * MIB)) == (ssize_t)MIB, "cannot write", NULL);
        seal_piece(i, ctx, buf, buf + MIB);
        check(pwrite(b.ciphertext, buf + MIB, MIB + TAG, (off_t)(i * (MIB + TAG))) == (ssize_t)(MIB + TAG),
              "cannot write", NULL);
    }
    b.mapped = mmap(NULL, b.len / MIB * (MIB + TAG), PROT_READ, MAP_SHARED, b.ciphertext, 0);
    check(b.mapped != MAP_FAILED, "cannot map", NULL);
    EVP_CIPHER_CTX_free(ctx);
    free(buf);
}

static void
make_vault(void)
{
    char path[192];
    pqe_vault_opts o = {.size = sizeof o, .dir = path, .create = true};
    pqe_error err;

    snprintf(path, sizeof path, "file:key-file=%s/key", b.dir);
    check(pqe_backend_open(path, NULL, &b.backend, &err) == PQE_OK, "backend", &err);
    o.backend = b.backend;
    snprintf(path, sizeof path, "%s/vault", b.dir);
    check(pqe_vault_open(&o, &b.vault, &err) == PQE_OK, "vault", &err);
    check(pqe_vault_unlock(b.vault, 86400, &err) == PQE_OK, "unlock", &err);
    pqe_set_threads(b.threads);
    check(lseek(b.plain, 0, SEEK_SET) == 0, "cannot seek", NULL);
    put_ours("deferred");
    {
        pqe_put_opts p = {.size = sizeof p, .name = "a", .kind = PQE_KIND_OTHER, .hash = "deferred"};
        pqe_writer *w = NULL;
        lseek(b.plain, 0, SEEK_SET);
        check(pqe_writer_open(b.vault, &p, &w, &err) == PQE_OK, "put", &err);
        check(pqe_writer_from_file(w, b.plain, NULL, NULL, &err) == PQE_OK, "put", &err);
        check(pqe_writer_finish(&w, NULL, &err) == PQE_OK, "put", &err);
    }
}

static double
median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, bench_compare);
    return values[n / 2];
}

static double
cpu(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
timed(void (*fn)(void), double *seconds, double *cpu_seconds)
{
    double start = bench_now(), cpu_start = cpu();

    fn();
    *seconds = bench_now() - start;
    *cpu_seconds = cpu() - cpu_start;
}

static void
run_pairs(int rounds)
{
    static double took[PAIRS][2][ROUNDS_MAX], used[PAIRS][2][ROUNDS_MAX], ratio[PAIRS][ROUNDS_MAX];

    for (int i = 0; i < rounds; i++) {
        for (size_t k = 0; k < PAIRS; k++) {
            for (int n = 0; n < 2; n++) { /* each goes first every other time */
                int side = (n + i) % 2;
                timed(side == 0 ? pairs[k].limit : pairs[k].ours, &took[k][side][i], &used[k][side][i]);
            }
            ratio[k][i] = took[k][0][i] / took[k][1][i];
        }
    }
    for (size_t k = 0; k < PAIRS; k++)
        printf("%-22s limit %5.2f GB/s (CPU %.2f s/GB), ours %5.2f GB/s (%.2f), ratio %.2f\n", pairs[k].name,
               (double)b.len / 1e9 / median(took[k][0], (size_t)rounds),
               median(used[k][0], (size_t)rounds) * 1e9 / (double)b.len,
               (double)b.len / 1e9 / median(took[k][1], (size_t)rounds),
               median(used[k][1], (size_t)rounds) * 1e9 / (double)b.len, median(ratio[k], (size_t)rounds));
}

static void
run_small_reads(void)
{
    pqe_reader *r = open_reader();
    uint8_t buf[4096];
    uint64_t at = 12345;
    double start = bench_now();
    pqe_error err;
    size_t got;

    for (int i = 0; i < SMALL_READS; i++) {
        at = at * 6364136223846793005u + 1442695040888963407u;
        check(pqe_reader_read_at(r, (at >> 20) % (b.len - sizeof buf), buf, sizeof buf, &got, &err) == PQE_OK, "read",
              &err);
    }
    printf("random 4 KiB read_at   %.1f us\n", (bench_now() - start) * 1e6 / SMALL_READS);
    pqe_reader_close(&r);
}

int
main(int argc, char **argv)
{
    char command[192];
    int rounds = argc > 2 ? atoi(argv[2]) : 7;

    b.len = (argc > 1 ? strtoul(argv[1], NULL, 10) : 1024) * MIB;
    b.threads = pqe_threads();
    if (getenv("BENCH_THREADS") != NULL)
        b.threads = (unsigned)atoi(getenv("BENCH_THREADS"));
    snprintf(b.dir, sizeof b.dir, "%.100s/bench_engine.XXXXXX", argc > 3 ? argv[3] : "/dev/shm");
    if (b.len == 0 || rounds < 1 || rounds > ROUNDS_MAX || b.threads < 1 || b.threads > 256 || mkdtemp(b.dir) == NULL) {
        fprintf(stderr, "usage: bench_engine [MIB] [ROUNDS <= %d] [DIR]\n", ROUNDS_MAX);
        return 2;
    }
    b.cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    b.sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    b.sha3 = EVP_MD_fetch(NULL, "SHA3-256", NULL);
    b.shake = EVP_MD_fetch(NULL, "SHAKE256", NULL);
    b.warm = map_huge(b.len);
    memset(b.warm, 1, b.len);
    make_files();
    make_vault();
    printf("%zu MiB, %u threads, medians of %d rounds\n", b.len / MIB, b.threads, rounds);
    run_pairs(rounds);
    run_small_reads();
    pqe_vault_close(&b.vault);
    pqe_backend_close(&b.backend);
    snprintf(command, sizeof command, "rm -rf '%s'", b.dir);
    return system(command) != 0;
}
