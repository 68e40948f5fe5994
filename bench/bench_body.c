/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Body engine against its limit: bench_body [MIB] [ROUNDS]
 *
 * Encrypts and decrypts MIB (256) of memory by the body writer and reader, and by a loop that does nothing but one
 * AES-256-GCM pass a 16 KiB chunk through the same cipher layer, in interleaved rounds on one thread. Prints medians in
 * GB/s and the ratio; memory is touched once before.
 */
#include "bench.h"
#include "body/body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX 101

static uint8_t dek[32], body_id[PQE__BODY_ID_SIZE];

typedef struct stored {
    uint8_t *data;
    size_t len;
} stored;

static void
check(pqe_status status, const pqe_error *err)
{
    if (status == PQE_OK)
        return;
    fprintf(stderr, "bench_body: %s\n", err->message);
    exit(1);
}

static pqe_status
take(void *user, const uint8_t *data, size_t len, pqe_error *err)
{
    stored *s = user;

    (void)err;
    memcpy(s->data + s->len, data, len);
    s->len += len;
    return PQE_OK;
}

static pqe_status
give(void *user, uint64_t offset, uint8_t *buf, size_t len, pqe_error *err)
{
    const stored *s = user;

    (void)err;
    memcpy(buf, s->data + offset, len);
    return PQE_OK;
}

static double
write_body(const uint8_t *plain, size_t len, stored *s)
{
    pqe__body_writer *w;
    double start = bench_now();
    pqe_error err;

    s->len = 0;
    check(pqe__body_writer_new(dek, body_id, NULL, take, s, &w, &err), &err);
    check(pqe__body_writer_write(w, plain, len, &err), &err);
    check(pqe__body_writer_finish(w, &err), &err);
    pqe__body_writer_free(&w);
    return bench_now() - start;
}

static double
read_body(uint8_t *plain, size_t len, stored *s)
{
    pqe__body_reader *r;
    double start = bench_now();
    pqe_error err;
    size_t got;

    check(pqe__body_reader_new(dek, body_id, s->len, len, give, s, &r, &err), &err);
    check(pqe__body_reader_read_at(r, 0, plain, len, &got, &err), &err);
    pqe__body_reader_free(&r);
    return bench_now() - start;
}

/* The limit: the same cipher calls and one copy of the ciphertext, nothing else. */
static double
raw(const uint8_t *plain, size_t len, uint8_t *out, bool seal)
{
    static uint8_t chunk[PQE__BODY_CHUNK_STORED], text[PQE__BODY_CHUNK];
    uint8_t nonce[PQE__NONCE_SIZE] = {0};
    pqe__aead *aead;
    double start = bench_now();
    pqe_error err;

    check(pqe__aead_new(dek, sizeof dek, &aead, &err), &err);
    if (!seal)
        check(pqe__aead_seal(aead, nonce, NULL, 0, plain, PQE__BODY_CHUNK, chunk, &err), &err);
    for (size_t at = 0; at + PQE__BODY_CHUNK <= len; at += PQE__BODY_CHUNK) {
        if (seal) {
            check(pqe__aead_seal(aead, nonce, NULL, 0, plain + at, PQE__BODY_CHUNK, chunk, &err), &err);
            memcpy(out + at, chunk, PQE__BODY_CHUNK);
        } else {
            memcpy(out + at, chunk, PQE__BODY_CHUNK);
            check(pqe__aead_open(aead, nonce, NULL, 0, chunk, sizeof chunk, text, &err), &err);
        }
    }
    pqe__aead_free(&aead);
    return bench_now() - start;
}

int
main(int argc, char **argv)
{
    size_t len = (argc > 1 ? strtoul(argv[1], NULL, 10) : 256) << 20;
    int rounds = argc > 2 ? atoi(argv[2]) : 9;
    static const char *const names[] = {"body write", "raw seal", "body read", "raw open"};
    static double took[4][ROUNDS_MAX];
    uint8_t *plain = malloc(len), *out = malloc(len);
    stored s = {.data = malloc(len + len / 512 + 4096)};

    if (len == 0 || rounds < 1 || rounds > ROUNDS_MAX || plain == NULL || out == NULL || s.data == NULL) {
        fprintf(stderr, "usage: bench_body [MIB] [ROUNDS <= %d]\n", ROUNDS_MAX);
        return 2;
    }
    memset(plain, 1, len);
    memset(out, 2, len);
    memset(s.data, 3, len + len / 512 + 4096);
    for (int i = 0; i < rounds; i++) {
        took[0][i] = write_body(plain, len, &s);
        took[1][i] = raw(plain, len, out, true);
        took[2][i] = read_body(out, len, &s);
        took[3][i] = raw(plain, len, out, false);
    }
    for (int k = 0; k < 4; k++) {
        qsort(took[k], (size_t)rounds, sizeof took[k][0], bench_compare);
        printf("%-10s %.2f GB/s\n", names[k], (double)len / 1e9 / took[k][rounds / 2]);
    }
    printf("write/raw %.2f, read/raw %.2f of the limit\n", took[1][rounds / 2] / took[0][rounds / 2],
           took[3][rounds / 2] / took[2][rounds / 2]);
    free(s.data);
    free(out);
    free(plain);
    return 0;
}
