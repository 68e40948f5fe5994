/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes what other implementations check ours against.
 *
 *   make_vectors                          prints vectors/body.json (fixed keys and salts: the same at every run)
 *   make_vectors body DEK ID SIZE FILE    writes the body of SIZE bytes of the rule "mod251" under a random salt
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "body/body.h"
#include "util/text.h"

#define SPELLED_OUT 256 /* bodies up to this size are given in hex, larger ones by their SHA-256 */

typedef struct growing {
    uint8_t *data;
    size_t len;
} growing;

typedef struct body_row {
    const char *name, *text; /* text: the plaintext itself; NULL: the rule "mod251" */
    size_t size;
} body_row;

static const body_row bodies[] = {
    {"empty", NULL, 0},
    {"one-byte", NULL, 1},
    {"text", "correct horse battery staple", 28},
    {"one-short-of-a-chunk", NULL, 16383},
    {"one-chunk", NULL, 16384},
    {"one-chunk-and-a-byte", NULL, 16385},
    {"two-chunks", NULL, 32768},
    {"three-chunks-and-a-byte", NULL, 49153},
    {"counter-past-one-byte", NULL, 257 * 16384 + 1},
};

/* `edit` and `chunks` are JSON, NULL for none; a plain_size of -1 is the body's own. */
typedef struct case_row {
    const char *name, *body, *edit, *wrong_dek, *wrong_body_id;
    long long plain_size;
    const char *expected, *chunks;
} case_row;

#define DEK_FLIPPED "010102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define ANOTHER_ID "ffa1a2a3a4a5a6a7a8a9aaabacadaeaf"
#define FLIP(at) "{\"op\":\"flip\",\"at\":" #at ",\"mask\":1}"
#define CUT(size) "{\"op\":\"truncate\",\"size\":" #size "}"

static const case_row cases[] = {
    {"ok-empty", "empty", NULL, NULL, NULL, -1, "ok", NULL},
    {"ok-one-byte", "one-byte", NULL, NULL, NULL, -1, "ok", NULL},
    {"ok-text", "text", NULL, NULL, NULL, -1, "ok", NULL},
    {"ok-one-short-of-a-chunk", "one-short-of-a-chunk", NULL, NULL, NULL, -1, "ok", NULL},
    {"ok-one-chunk", "one-chunk", NULL, NULL, NULL, -1, "ok", NULL},
    {"ok-one-chunk-and-a-byte", "one-chunk-and-a-byte", NULL, NULL, NULL, -1, "ok", NULL},
    {"ok-two-chunks", "two-chunks", NULL, NULL, NULL, -1, "ok", NULL},
    {"ok-three-chunks-and-a-byte", "three-chunks-and-a-byte", NULL, NULL, NULL, -1, "ok", NULL},
    {"ok-counter-past-one-byte", "counter-past-one-byte", NULL, NULL, NULL, -1, "ok", NULL},

    {"commitment-wrong-dek", "text", NULL, DEK_FLIPPED, NULL, -1, "commitment", NULL},
    {"commitment-wrong-body-id", "text", NULL, NULL, ANOTHER_ID, -1, "commitment", NULL},
    {"commitment-salt-altered", "text", FLIP(0), NULL, NULL, -1, "commitment", NULL},
    {"commitment-altered-first-byte", "text", FLIP(24), NULL, NULL, -1, "commitment", NULL},
    {"commitment-altered-last-byte", "text", FLIP(55), NULL, NULL, -1, "commitment", NULL},

    {"tag-ciphertext-altered", "text", FLIP(56), NULL, NULL, -1, "tag", "[0]"},
    {"tag-altered", "text", FLIP(99), NULL, NULL, -1, "tag", "[0]"},
    {"tag-of-empty-body-altered", "empty", FLIP(56), NULL, NULL, -1, "tag", "[0]"},
    {"tag-of-empty-final-chunk-altered", "one-chunk", FLIP(16456), NULL, NULL, -1, "tag", "[1]"},
    {"tag-first-chunk-altered", "three-chunks-and-a-byte", FLIP(56), NULL, NULL, -1, "tag", "[0]"},
    {"tag-middle-chunk-altered", "three-chunks-and-a-byte", FLIP(32855), NULL, NULL, -1, "tag", "[1]"},
    {"tag-final-chunk-altered", "three-chunks-and-a-byte", FLIP(49256), NULL, NULL, -1, "tag", "[3]"},
    {"tag-chunks-exchanged", "three-chunks-and-a-byte", "{\"op\":\"exchange_chunks\",\"a\":0,\"b\":2}", NULL, NULL, -1,
     "tag", "[0,2]"},
    {"tag-chunk-repeated", "three-chunks-and-a-byte", "{\"op\":\"copy_chunk\",\"from\":0,\"to\":1}", NULL, NULL, -1,
     "tag", "[1]"},
    {"tag-chunk-dropped-record-fits", "three-chunks-and-a-byte", "{\"op\":\"drop_chunk\",\"chunk\":1}", NULL, NULL,
     32769, "tag", "[1,2]"},
    {"tag-cut-inside-chunk-record-fits", "three-chunks-and-a-byte", CUT(16572), NULL, NULL, 16484, "tag", "[1]"},

    {"truncated-nothing-left", "text", CUT(0), NULL, NULL, -1, "truncated", NULL},
    {"truncated-inside-header", "text", CUT(40), NULL, NULL, -1, "truncated", NULL},
    {"truncated-header-only", "empty", CUT(56), NULL, NULL, -1, "truncated", NULL},
    {"truncated-by-one-byte", "text", CUT(99), NULL, NULL, -1, "truncated", NULL},
    {"truncated-no-final-chunk", "one-chunk", CUT(16456), NULL, NULL, -1, "truncated", NULL},
    {"truncated-at-chunk-boundary", "three-chunks-and-a-byte", CUT(32856), NULL, NULL, -1, "truncated", NULL},
    {"truncated-chunk-dropped", "three-chunks-and-a-byte", "{\"op\":\"drop_chunk\",\"chunk\":1}", NULL, NULL, -1,
     "truncated", NULL},
    {"truncated-record-says-one-more", "text", NULL, NULL, NULL, 29, "truncated", NULL},
    {"truncated-record-over-the-limit", "text", NULL, NULL, NULL, 4503599627370496, "truncated", NULL},
    {"extended-by-one-byte", "text", "{\"op\":\"append\",\"hex\":\"00\"}", NULL, NULL, -1, "extended", NULL},
    {"extended-by-an-empty-chunk", "one-chunk", "{\"op\":\"append\",\"hex\":\"00000000000000000000000000000000\"}",
     NULL, NULL, -1, "extended", NULL},
    {"extended-record-says-one-less", "text", NULL, NULL, NULL, 27, "extended", NULL},
};

static pqe_status
grow(void *user, const uint8_t *data, size_t len, pqe_error *err)
{
    growing *g = user;
    uint8_t *bigger = realloc(g->data, g->len + len);

    if (bigger == NULL)
        return pqe__fail_nomem(err);
    g->data = bigger;
    memcpy(g->data + g->len, data, len);
    g->len += len;
    return PQE_OK;
}

static void
must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "make_vectors: cannot %s\n", what);
    exit(1);
}

static growing
make_body(const uint8_t dek[32], const uint8_t id[16], const uint8_t *salt, const uint8_t *plain, size_t size)
{
    growing g = {NULL, 0};
    pqe__body_writer *w;

    must(pqe__body_writer_new(dek, id, salt, grow, &g, &w, NULL) == PQE_OK, "begin a body");
    must(pqe__body_writer_write(w, plain, size, NULL) == PQE_OK, "write a body");
    must(pqe__body_writer_finish(w, NULL) == PQE_OK, "finish a body");
    pqe__body_writer_free(&w);
    return g;
}

static uint8_t *
mod251(size_t size)
{
    uint8_t *p = malloc(size + 1);

    must(p != NULL, "allocate");
    for (size_t i = 0; i < size; i++)
        p[i] = (uint8_t)(i % 251);
    return p;
}

static void
set_hex(json_t *object, const char *key, const uint8_t *data, size_t len)
{
    char *hex = malloc(2 * len + 1);

    must(hex != NULL, "allocate");
    pqe__hex_encode(data, len, hex);
    json_object_set_new(object, key, json_string(hex));
    free(hex);
}

/* DEK 00 01 02 ..., body id A0 A1 A2 ..., salt 40+row 41 42 ...: plainly not random. */
static json_t *
body_json(const body_row *row, uint8_t number)
{
    uint8_t dek[32], id[16], salt[24], hash[32];
    uint8_t *plain = mod251(row->size);
    json_t *object = json_object();
    growing g;

    for (size_t i = 0; i < sizeof dek; i++)
        dek[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof id; i++)
        id[i] = (uint8_t)(0xa0 + i);
    for (size_t i = 0; i < sizeof salt; i++)
        salt[i] = (uint8_t)(0x40 + i);
    salt[0] = (uint8_t)(salt[0] + number);
    if (row->text != NULL)
        memcpy(plain, row->text, row->size);
    g = make_body(dek, id, salt, plain, row->size);
    must(pqe__hash_once(PQE__SHA256, g.data, g.len, hash, NULL) == PQE_OK, "hash a body");

    json_object_set_new(object, "name", json_string(row->name));
    set_hex(object, "dek", dek, sizeof dek);
    set_hex(object, "body_id", id, sizeof id);
    set_hex(object, "salt", salt, sizeof salt);
    json_object_set_new(object, "plain_size", json_integer((json_int_t)row->size));
    if (row->text != NULL)
        set_hex(object, "plain_hex", plain, row->size);
    else
        json_object_set_new(object, "plain_rule", json_string("mod251"));
    json_object_set_new(object, "body_size", json_integer((json_int_t)g.len));
    set_hex(object, "body_sha256", hash, sizeof hash);
    if (g.len <= SPELLED_OUT)
        set_hex(object, "body_hex", g.data, g.len);
    free(g.data);
    free(plain);
    return object;
}

static void
set_json(json_t *object, const char *key, const char *text)
{
    json_t *value = text == NULL ? NULL : json_loads(text, 0, NULL);

    must(text == NULL || value != NULL, "read a row");
    if (value != NULL)
        json_object_set_new(object, key, value);
}

static json_t *
case_json(const case_row *row)
{
    json_t *object = json_object();

    json_object_set_new(object, "name", json_string(row->name));
    json_object_set_new(object, "body", json_string(row->body));
    set_json(object, "edit", row->edit);
    if (row->wrong_dek != NULL)
        json_object_set_new(object, "dek", json_string(row->wrong_dek));
    if (row->wrong_body_id != NULL)
        json_object_set_new(object, "body_id", json_string(row->wrong_body_id));
    if (row->plain_size >= 0)
        json_object_set_new(object, "plain_size", json_integer(row->plain_size));
    json_object_set_new(object, "expected", json_string(row->expected));
    set_json(object, "chunks", row->chunks);
    return object;
}

static void
print_vectors(void)
{
    json_t *root = json_object(), *body_list = json_array(), *case_list = json_array();

    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        json_array_append_new(body_list, body_json(&bodies[i], (uint8_t)i));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        json_array_append_new(case_list, case_json(&cases[i]));
    json_object_set_new(root, "format", json_string("pqc-enclave body v1"));
    json_object_set_new(root, "construction", json_string("c2sp.org/chunked-encryption, Cobblestone-256"));
    json_object_set_new(root, "bodies", body_list);
    json_object_set_new(root, "cases", case_list);
    must(json_dumpf(root, stdout, JSON_INDENT(2)) == 0 && puts("") != EOF, "print");
    json_decref(root);
}

static void
write_body(const char *dek_hex, const char *id_hex, const char *size_text, const char *path)
{
    uint8_t dek[32], id[16];
    size_t size = strtoull(size_text, NULL, 10);
    uint8_t *plain = mod251(size);
    growing g;
    FILE *f;

    must(strlen(dek_hex) == 64 && pqe__hex_decode(dek_hex, 32, dek), "read the DEK");
    must(strlen(id_hex) == 32 && pqe__hex_decode(id_hex, 16, id), "read the body id");
    g = make_body(dek, id, NULL, plain, size);
    f = fopen(path, "wb");
    must(f != NULL && fwrite(g.data, 1, g.len, f) == g.len && fclose(f) == 0, "write the file");
    free(g.data);
    free(plain);
}

int
main(int argc, char **argv)
{
    if (argc == 1)
        print_vectors();
    else if (argc == 6 && strcmp(argv[1], "body") == 0)
        write_body(argv[2], argv[3], argv[4], argv[5]);
    else
        must(false, "understand the arguments; see the top of make_vectors.c");
    return 0;
}
