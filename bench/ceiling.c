/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ceilings: what libcrypto and the kernel allow, with nothing around it.
 *
 *   ceiling make  PLAIN CIPHER [KIB]      AES-256-GCM in chunks of 1 MiB (or KIB) with tags, for the readings below
 *   ceiling fresh CIPHER THREADS          into fresh memory of 2 MiB pages
 *   ceiling warm  CIPHER THREADS [KIB [pread]]   into memory that is there; made with chunks of KIB; with pread(2) into a
 *                                         buffer of 256 KiB (or a chunk) in place of the mapping
 *   ceiling file  CIPHER THREADS OUT      into a new file
 *   ceiling kem   COUNT 1                 ML-KEM-768: key from its seed and one decapsulation, median
 *   ceiling append FILE COUNT             COUNT appends of 1 KiB, each with fdatasync
 *   ceiling seal  PLAIN THREADS OUT HASH  encrypts into a new file; HASH: none, sha256 (of the ciphertext, by each thread
 *                                         over its own), shake256 (of the plaintext, likewise)
 *
 * The input is mapped (but for `pread`), one EVP call a chunk, threads take the next chunk. Prints seconds of the work alone. The key and
 * the nonces are fixed: this is no format, and nothing to protect files with.
 */
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_MAX ((size_t)1 << 20)
#define READ_MIN ((size_t)256 << 10)
#define TAG ((size_t)16)
#define HUGE_PAGE ((size_t)2 << 20)
#define THREADS_MAX 256u

static const unsigned char key[32] = {1};
static size_t chunk = CHUNK_MAX;

typedef struct job {
    bool seal;
    const unsigned char *in;
    unsigned char *out; /* NULL: to the file */
    int out_fd;
    int in_fd;    /* >= 0: to be read, not mapped */
    size_t plain; /* bytes */
    const EVP_MD *hash;
    atomic_size_t next;
} job;

static void
die(const char *what)
{
    fprintf(stderr, "ceiling: %s failed\n", what);
    exit(1);
}

static double
now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
write_at(int fd, const unsigned char *data, size_t len, size_t at)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, (off_t)at);
        if (n <= 0)
            die("pwrite");
        data += n;
        at += (size_t)n;
        len -= (size_t)n;
    }
}

/* One chunk. The ciphertext of chunk i begins at i * (chunk + TAG), its tag after it. */
static void
do_chunk(const job *j, EVP_CIPHER_CTX *ctx, EVP_MD_CTX *hash, size_t i, const unsigned char *in, unsigned char *own)
{
    size_t at = i * chunk, len = j->plain - at < chunk ? j->plain - at : chunk;
    unsigned char *out = j->out != NULL ? j->out + at : own, nonce[12] = {0};
    int n;

    memcpy(nonce, &i, sizeof i);
    if (!j->seal) {
        if (!EVP_DecryptInit_ex2(ctx, NULL, NULL, nonce, NULL) || !EVP_DecryptUpdate(ctx, out, &n, in, (int)len) ||
            EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, (int)TAG, (void *)(uintptr_t)(in + len)) <= 0 ||
            EVP_DecryptFinal_ex(ctx, own + chunk, &n) <= 0)
            die("decryption");
        if (j->out == NULL)
            write_at(j->out_fd, out, len, at);
        return;
    }
    if (!EVP_EncryptInit_ex2(ctx, NULL, NULL, nonce, NULL) || !EVP_EncryptUpdate(ctx, out, &n, in, (int)len) ||
        !EVP_EncryptFinal_ex(ctx, out + len, &n) ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, (int)TAG, out + len) <= 0)
        die("encryption");
    if (hash != NULL && !EVP_DigestUpdate(hash, EVP_MD_is_a(j->hash, "SHA2-256") ? out : in, len))
        die("hashing");
    write_at(j->out_fd, out, len + TAG, i * (chunk + TAG));
}

/* A stretch of consecutive chunks, read in one call if they are not mapped. */
static void
do_stretch(const job *j, EVP_CIPHER_CTX *ctx, EVP_MD_CTX *hash, size_t first, size_t count, unsigned char *own,
           unsigned char *buf)
{
    size_t stored = j->seal ? chunk : chunk + TAG;
    const unsigned char *in = buf;

    if (j->in_fd < 0)
        in = j->in + first * stored;
    else if (pread(j->in_fd, buf, count * stored, (off_t)(first * stored)) <= 0)
        die("pread");
    for (size_t i = 0; i < count; i++)
        do_chunk(j, ctx, hash, first + i, in + i * stored, own);
}

static void *
work(void *arg)
{
    job *j = arg;
    size_t chunks = j->plain / chunk + (j->plain % chunk != 0), i, stretch = chunk < READ_MIN ? READ_MIN / chunk : 1;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    EVP_MD_CTX *hash = j->hash != NULL ? EVP_MD_CTX_new() : NULL;
    unsigned char *own = aligned_alloc(4096, CHUNK_MAX + 4096), digest[EVP_MAX_MD_SIZE];
    unsigned char *buf = aligned_alloc(4096, 2 * CHUNK_MAX);

    if (ctx == NULL || own == NULL || buf == NULL ||
        !(j->seal ? EVP_EncryptInit_ex2(ctx, EVP_aes_256_gcm(), key, NULL, NULL)
                  : EVP_DecryptInit_ex2(ctx, EVP_aes_256_gcm(), key, NULL, NULL)) ||
        (j->hash != NULL && !EVP_DigestInit_ex2(hash, j->hash, NULL)))
        die("set-up");
    while ((i = atomic_fetch_add(&j->next, stretch)) < chunks)
        do_stretch(j, ctx, hash, i, chunks - i < stretch ? chunks - i : stretch, own, buf);
    if (hash != NULL &&
        !(EVP_MD_xof(j->hash) ? EVP_DigestFinalXOF(hash, digest, 32) : EVP_DigestFinal_ex(hash, digest, NULL)))
        die("hashing");
    EVP_MD_CTX_free(hash);
    EVP_CIPHER_CTX_free(ctx);
    free(buf);
    free(own);
    return NULL;
}

static double
run(job *j, unsigned threads)
{
    pthread_t ids[THREADS_MAX];
    double start = now();

    for (unsigned i = 1; i < threads; i++)
        if (pthread_create(&ids[i], NULL, work, j) != 0)
            die("pthread_create");
    work(j);
    for (unsigned i = 1; i < threads; i++)
        pthread_join(ids[i], NULL);
    return now() - start;
}

static const unsigned char *
map_file(const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *p;

    if (fd < 0 || fstat(fd, &st) != 0)
        die(path);
    *size = (size_t)st.st_size;
    p = mmap(NULL, *size != 0 ? *size : 1, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        die("mmap");
    close(fd);
    return p;
}

static unsigned char *
map_memory(size_t size, bool touch)
{
    size_t whole = (size + 2 * HUGE_PAGE) / HUGE_PAGE * HUGE_PAGE;
    unsigned char *p = mmap(NULL, whole + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        die("mmap");
    p += HUGE_PAGE - (uintptr_t)p % HUGE_PAGE;
    madvise(p, whole, MADV_HUGEPAGE); /* best effort */
    if (touch)
        memset(p, 1, size);
    return p;
}

static int
new_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0)
        die(path);
    return fd;
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* What opening a vault cannot do without. */
static double
kem(size_t count)
{
    unsigned char seed[64] = {2}, shared[32], *ct = NULL;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_ML_KEM_SEED, seed, sizeof seed),
                           OSSL_PARAM_construct_end()};
    double *times = calloc(count, sizeof *times), result;
    size_t ct_len = 0, shared_len;

    if (times == NULL)
        die("calloc");
    for (size_t i = 0; i < count; i++) {
        double start = now();
        EVP_PKEY_CTX *make_key = EVP_PKEY_CTX_new_from_name(NULL, "ML-KEM-768", NULL), *use;
        EVP_PKEY *pkey = NULL;
        if (make_key == NULL || EVP_PKEY_keygen_init(make_key) <= 0 || EVP_PKEY_CTX_set_params(make_key, params) <= 0 ||
            EVP_PKEY_generate(make_key, &pkey) <= 0 || (use = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL)) == NULL)
            die("making an ML-KEM key");
        times[i] = now() - start;
        shared_len = sizeof shared;
        if (ct == NULL &&
            (EVP_PKEY_encapsulate_init(use, NULL) <= 0 ||
             EVP_PKEY_encapsulate(use, NULL, &ct_len, NULL, &shared_len) <= 0 || (ct = malloc(ct_len)) == NULL ||
             EVP_PKEY_encapsulate(use, ct, &ct_len, shared, &shared_len) <= 0))
            die("encapsulation");
        start = now();
        if (EVP_PKEY_decapsulate_init(use, NULL) <= 0 ||
            EVP_PKEY_decapsulate(use, shared, &shared_len, ct, ct_len) <= 0)
            die("decapsulation");
        times[i] += now() - start;
        EVP_PKEY_CTX_free(use);
        EVP_PKEY_CTX_free(make_key);
        EVP_PKEY_free(pkey);
    }
    qsort(times, count, sizeof *times, compare);
    result = times[count / 2];
    free(times);
    free(ct);
    return result;
}

static double
append(const char *path, size_t count)
{
    unsigned char data[1024] = {1};
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    double start = now();

    for (size_t i = 0; i < count; i++)
        if (fd < 0 || write(fd, data, sizeof data) != (ssize_t)sizeof data || fdatasync(fd) != 0)
            die("append");
    close(fd);
    return now() - start;
}

static const EVP_MD *
hash_named(const char *name)
{
    if (strcmp(name, "sha256") == 0)
        return EVP_sha256();
    if (strcmp(name, "shake256") == 0)
        return EVP_shake256();
    return NULL;
}

int
main(int argc, char **argv)
{
    const char *what = argc > 3 ? argv[1] : "";
    bool make = strcmp(what, "make") == 0;
    unsigned threads = argc > 3 && !make ? (unsigned)strtoul(argv[3], NULL, 10) : 1;
    job j = {.seal = make || strcmp(what, "seal") == 0, .out_fd = -1, .in_fd = -1};
    bool warm = strcmp(what, "warm") == 0;
    size_t size;

    if (argc < 4 || threads == 0 || (threads > THREADS_MAX && strcmp(what, "append") != 0) ||
        (strcmp(what, "file") == 0 && argc < 5) || (strcmp(what, "seal") == 0 && argc < 6)) {
        fprintf(stderr, "usage: ceiling make|fresh|warm|file|seal ... (see the source)\n");
        return 2;
    }
    if (strcmp(what, "kem") == 0 || strcmp(what, "append") == 0) {
        printf("%.9f\n",
               what[0] == 'k' ? kem(strtoul(argv[2], NULL, 10)) : append(argv[2], strtoul(argv[3], NULL, 10)));
        return 0;
    }
    if (argc > 4 && (make || warm))
        chunk = strtoul(argv[4], NULL, 10) << 10;
    if (chunk == 0 || chunk > CHUNK_MAX || (chunk < READ_MIN && READ_MIN % chunk != 0))
        die("chunk size");
    if (warm && argc > 5 && (j.in_fd = open(argv[2], O_RDONLY | O_CLOEXEC)) < 0)
        die(argv[2]);
    j.in = map_file(argv[2], &size);
    j.plain = j.seal ? size : size - (size / (chunk + TAG) + (size % (chunk + TAG) != 0)) * TAG;
    if (make)
        j.out_fd = new_file(argv[3]);
    else if (strcmp(what, "fresh") == 0 || warm)
        j.out = map_memory(j.plain, warm);
    else
        j.out_fd = new_file(argv[4]);
    if (j.seal && !make)
        j.hash = hash_named(argv[5]);
    printf("%.4f\n", run(&j, threads));
    return 0;
}
