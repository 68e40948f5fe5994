/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies against vectors: our own (vectors/body.json, described in vectors/README.md) and those that Project
 * Wycheproof publishes for Cobblestone-256 (C2SP/wycheproof,
 * testvectors_v1/c2sp_chunked_encryption_aes_256_gcm_test.json).
 */
#include "unit/body_memory.h"

#include <jansson.h>

#include "util/text.h"

/* ---- our own vectors ---- */

typedef struct vector_body {
    uint8_t dek[32], id[16], salt[24];
    uint8_t *plain;
    size_t size;
    memory stored;
} vector_body;

static void
get_hex(const json_t *object, const char *key, uint8_t *out, size_t len)
{
    const char *hex = json_string_value(json_object_get(object, key));

    assert_non_null(hex);
    assert_int_equal(strlen(hex), 2 * len);
    assert_true(pqe__hex_decode(hex, len, out));
}

static size_t
get_size(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    assert_true(json_is_integer(value));
    return (size_t)json_integer_value(value);
}

/* Writes the body anew and compares it with what the row says. */
static void
load_body(const json_t *row, vector_body *b)
{
    uint8_t expected[32], hash[32];
    pqe__body_writer *w;

    memset(b, 0, sizeof *b);
    get_hex(row, "dek", b->dek, sizeof b->dek);
    get_hex(row, "body_id", b->id, sizeof b->id);
    get_hex(row, "salt", b->salt, sizeof b->salt);
    b->size = get_size(row, "plain_size");
    b->plain = plain_mod251(b->size);
    if (json_object_get(row, "plain_hex") != NULL)
        get_hex(row, "plain_hex", b->plain, b->size);
    else
        assert_string_equal(json_string_value(json_object_get(row, "plain_rule")), "mod251");

    assert_int_equal(pqe__body_writer_new(b->dek, b->id, b->salt, memory_sink, &b->stored, &w, NULL), PQE_OK);
    assert_int_equal(pqe__body_writer_write(w, b->plain, b->size, NULL), PQE_OK);
    assert_int_equal(pqe__body_writer_finish(w, NULL), PQE_OK);
    pqe__body_writer_free(&w);
    assert_int_equal(b->stored.len, get_size(row, "body_size"));
    get_hex(row, "body_sha256", expected, sizeof expected);
    assert_int_equal(pqe__hash_once(PQE__SHA256, b->stored.data, b->stored.len, hash, NULL), PQE_OK);
    assert_memory_equal(hash, expected, sizeof hash);
    if (json_object_get(row, "body_hex") != NULL) {
        uint8_t *bytes = malloc(b->stored.len);
        assert_non_null(bytes);
        get_hex(row, "body_hex", bytes, b->stored.len);
        assert_memory_equal(bytes, b->stored.data, b->stored.len);
        free(bytes);
    }
}

static uint8_t *
place(memory *m, size_t chunk)
{
    assert_true(HEADER + (chunk + 1) * STORED <= m->len);
    return m->data + HEADER + chunk * STORED;
}

static void
apply_edit(const json_t *edit, memory *m)
{
    const char *op = json_string_value(json_object_get(edit, "op"));
    uint8_t saved[PQE__BODY_CHUNK_STORED];

    assert_non_null(op);
    if (strcmp(op, "flip") == 0) {
        size_t at = get_size(edit, "at");
        assert_true(at < m->len);
        m->data[at] ^= (uint8_t)get_size(edit, "mask");
    } else if (strcmp(op, "truncate") == 0) {
        assert_true(get_size(edit, "size") < m->len);
        m->len = get_size(edit, "size");
    } else if (strcmp(op, "append") == 0) {
        size_t more = strlen(json_string_value(json_object_get(edit, "hex"))) / 2;
        m->data = realloc(m->data, m->len + more);
        assert_non_null(m->data);
        get_hex(edit, "hex", m->data + m->len, more);
        m->len = m->capacity = m->len + more;
    } else if (strcmp(op, "exchange_chunks") == 0) {
        memcpy(saved, place(m, get_size(edit, "a")), STORED);
        memcpy(place(m, get_size(edit, "a")), place(m, get_size(edit, "b")), STORED);
        memcpy(place(m, get_size(edit, "b")), saved, STORED);
    } else if (strcmp(op, "copy_chunk") == 0) {
        memcpy(place(m, get_size(edit, "to")), place(m, get_size(edit, "from")), STORED);
    } else {
        assert_string_equal(op, "drop_chunk");
        uint8_t *gone = place(m, get_size(edit, "chunk")), *end = m->data + m->len;
        memmove(gone, gone + STORED, (size_t)(end - gone) - STORED);
        m->len -= STORED;
    }
}

static bool
listed(const json_t *chunks, size_t chunk)
{
    size_t i;
    json_t *value;

    json_array_foreach(chunks, i, value)
    {
        if ((size_t)json_integer_value(value) == chunk)
            return true;
    }
    return false;
}

/* Opening fails if the final chunk is listed; else every chunk is read by itself and in a whole read. */
static void
expect_tags(pqe_status opened, pqe__body_reader *r, const uint8_t *plain, size_t size, const json_t *bad)
{
    size_t final = size / CHUNK;

    if (listed(bad, final)) {
        assert_int_equal(opened, PQE_E_DECRYPTION);
        return;
    }
    assert_int_equal(opened, PQE_OK);
    for (size_t chunk = 0; chunk <= final; chunk++) {
        size_t len = chunk < final ? CHUNK : size % CHUNK;
        pqe_status expected = listed(bad, chunk) ? PQE_E_DECRYPTION : PQE_OK;
        assert_int_equal(read_part(r, plain, size, chunk * CHUNK, len), expected);
    }
    assert_int_equal(read_part(r, plain, size, 0, size), json_array_size(bad) > 0 ? PQE_E_DECRYPTION : PQE_OK);
}

static void
run_case(const json_t *row, const vector_body *b)
{
    const char *expected = json_string_value(json_object_get(row, "expected"));
    const json_t *edit = json_object_get(row, "edit");
    uint8_t case_dek[32], case_id[16];
    size_t size = b->size;
    pqe__body_reader *r;
    pqe_error err = {0};
    pqe_status status;
    memory m;

    print_message("%s\n", json_string_value(json_object_get(row, "name")));
    memory_copy(&m, &b->stored);
    memcpy(case_dek, b->dek, sizeof case_dek);
    memcpy(case_id, b->id, sizeof case_id);
    if (json_object_get(row, "dek") != NULL)
        get_hex(row, "dek", case_dek, sizeof case_dek);
    if (json_object_get(row, "body_id") != NULL)
        get_hex(row, "body_id", case_id, sizeof case_id);
    if (json_object_get(row, "plain_size") != NULL)
        size = get_size(row, "plain_size");
    if (edit != NULL)
        apply_edit(edit, &m);

    status = pqe__body_reader_new(case_dek, case_id, m.len, size, memory_source, &m, &r, &err);
    if (strcmp(expected, "ok") == 0 || strcmp(expected, "tag") == 0) {
        assert_true((strcmp(expected, "tag") == 0) == (json_array_size(json_object_get(row, "chunks")) > 0));
        expect_tags(status, r, b->plain, size, json_object_get(row, "chunks"));
    } else if (strcmp(expected, "commitment") == 0) {
        assert_int_equal(status, PQE_E_DECRYPTION);
        assert_non_null(strstr(err.message, "commitment"));
    } else {
        assert_true(strcmp(expected, "truncated") == 0 || strcmp(expected, "extended") == 0);
        assert_int_equal(status, PQE_E_DECRYPTION);
        assert_int_equal(m.calls, 0);
    }
    assert_true((status == PQE_OK) == (r != NULL));
    assert_false(m.outside);
    pqe__body_reader_free(&r);
    memory_free(&m);
}

/* Guards: every byte of the format: labels, order of the derived keys, nonces, chunking. */
static void
own_vectors(void **state)
{
    json_error_t why;
    json_t *root = json_load_file(PQE_VECTORS "/body.json", 0, &why), *list, *row;
    size_t i, k, found;

    (void)state;
    assert_non_null(root);
    list = json_object_get(root, "cases");
    assert_true(json_array_size(list) > 30);
    found = 0;
    json_array_foreach(json_object_get(root, "bodies"), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        vector_body b;
        json_t *of_case;
        load_body(row, &b);
        json_array_foreach(list, k, of_case)
        {
            if (strcmp(json_string_value(json_object_get(of_case, "body")), name) != 0)
                continue;
            run_case(of_case, &b);
            found++;
        }
        memory_free(&b.stored);
        free(b.plain);
    }
    assert_int_equal(found, json_array_size(list));
    json_decref(root);
}

/* ---- published vectors ---- */

/* Wycheproof chose most plaintexts so that the ciphertext is all zero bytes: header and tags say everything. */
typedef struct published {
    const char *header;     /* salt and commitment */
    const char *ciphertext; /* NULL: all zero bytes */
    const char *tags[3];    /* of chunks 0, 1, 2 */
    const char *context;
    size_t size;
} published;

static const uint8_t published_key[] = "YELLOW SUBMARINE YELLOW SUBMARIN";

static const published valid[] = {
    /* tcId 1: empty message */
    {"43a2e39431cbae0389d3fc86adf46f7c3a24de88d9311617e53f3164cc1d5dc738a66b97f0bf786565c31799c2f463d50a7e10046011dc6f",
     NULL,
     {"c3c939e3a5db7affb6191551669554fb"},
     "",
     0},
    /* tcId 2: short message, single chunk */
    {"a1a1b56f6db58cd1ede0c5c9db62aef20d3f96a6c594bb9252bb38122de91236502b42a1d7fcab820ffa292940d2f86add212cfa42c38df1",
     "9d3cc9139ee61a",
     {"5990d3db57433514229beea49a8a72bd"},
     "",
     7},
    /* tcId 3: full chunk followed by short chunk */
    {"b9eca7d48b49c76acc0a10833699035db2160b30af69f8844cc09e21ccb4f537032c8fbf2392e57a192821e903fcd16e8508884f64f8c4b2",
     NULL,
     {"0d3065f8fbdbb7864988647a1f996f74", "2d3c1b8479b72d9039922affeee6e704"},
     "",
     16385},
    /* tcId 4: two full chunks followed by empty terminating chunk */
    {"b2951ea0e09eacf749ea937e3ad22b82d35e92fa629cc049a8cf5a191b9fcc23878f8697487932504ced9ea90fbb9165846b9354d0b1198c",
     NULL,
     {"9376ac03ceb9cd50ef0f08748e46bce3", "e7de8bc36e035b8f28b08284e9f79d3d", "6cecb100232a7657e1b584627c037345"},
     "",
     32768},
    /* tcId 6: full chunk followed by empty terminating chunk */
    {"aa61a95ab04aa5eac4ecd9e83ef47f88dd07fdc07e38b6c9d77ec3c07801fc40bec0e07020a0d36d3e6e6354833c21301d52a32cffe087df",
     NULL,
     {"31454358e7e1032d5bb622de82a8bf9b", "3dca8e38cc0b8942d7eb1f5ef9a56d7b"},
     "",
     16384},
    /* tcId 9: short message with non-empty context string */
    {"dbedaefc1c35dc6c0f22b743b03e488747166a51f33479e7ceb8b7e11cc0d2710f624a127501bc4aea7d0af6f83cfe359b9e69415aa537f3",
     "6adf86eb35b070",
     {"475baa039bb7791432adbca49578bbd3"},
     "test context",
     7},
};

static void
from_hex(const char *hex, uint8_t *out)
{
    assert_true(pqe__hex_decode(hex, strlen(hex) / 2, out));
}

static void
build(const published *v, memory *m)
{
    uint64_t stored;

    memset(m, 0, sizeof *m);
    assert_true(pqe__body_stored_size(v->size, &stored));
    m->len = m->capacity = (size_t)stored;
    m->data = calloc(1, m->len);
    assert_non_null(m->data);
    from_hex(v->header, m->data);
    if (v->ciphertext != NULL)
        from_hex(v->ciphertext, m->data + HEADER);
    for (size_t i = 0; i < COUNT(v->tags) && v->tags[i] != NULL; i++)
        from_hex(v->tags[i], m->data + HEADER + i * STORED + (i < v->size / CHUNK ? CHUNK : v->size % CHUNK));
}

static pqe_status
open_published(memory *m, size_t size, const char *context, pqe__body_reader **r)
{
    return pqe__body_reader_open(published_key, (const uint8_t *)context, strlen(context), m->len, size, memory_source,
                                 m, r, NULL);
}

/* Guards: the construction is the published one, not merely one that agrees with itself. */
static void
published_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(valid); i++) {
        const published *v = &valid[i];
        uint8_t *plain = malloc(v->size + 1);
        memory m, again = {0};
        pqe__body_reader *r;
        pqe__body_writer *w;
        size_t got;

        assert_non_null(plain);
        build(v, &m);
        assert_int_equal(open_published(&m, v->size, v->context, &r), PQE_OK);
        assert_int_equal(pqe__body_reader_read_at(r, 0, plain, v->size, &got, NULL), PQE_OK);
        assert_int_equal(got, v->size);
        pqe__body_reader_free(&r);
        if (v->ciphertext != NULL)
            assert_memory_equal(plain, "chunked", 7);
        assert_int_equal(open_published(&m, v->size, "wrong context", &r), PQE_E_DECRYPTION);

        assert_int_equal(pqe__body_writer_start(published_key, (const uint8_t *)v->context, strlen(v->context), m.data,
                                                memory_sink, &again, &w, NULL),
                         PQE_OK);
        assert_int_equal(pqe__body_writer_write(w, plain, v->size, NULL), PQE_OK);
        assert_int_equal(pqe__body_writer_finish(w, NULL), PQE_OK);
        pqe__body_writer_free(&w);
        assert_int_equal(again.len, m.len);
        assert_memory_equal(again.data, m.data, m.len);
        memory_free(&again);
        memory_free(&m);
        free(plain);
    }
}

/* tcId 7: 256 full chunks and a byte. Only the chunks whose tags are given here can be read; the rest is refused.
 * Guards: the chunk number is wider than one byte. */
static void
published_counter_rollover(void **state)
{
    static const published v = {"0fe5e738e883030b20df96cb867c44805dd40cd6a70e5a21ef5a8e7fbcc153258d7ad8e133a457d89e3783"
                                "63b89a48af8ea481ef7342105a",
                                NULL,
                                {"79b4e5e7ed3034d91cc1c04281937a1b", "9d1dd8bf5e6aec59461496dd337c0d10"},
                                "",
                                256 * 16384 + 1};
    uint8_t buf[PQE__BODY_CHUNK];
    pqe__body_reader *r;
    size_t got;
    memory m;

    (void)state;
    build(&v, &m);
    from_hex("c17a647f7978e78d009211774ab3fb0e", m.data + HEADER + 255 * STORED + CHUNK);
    assert_int_equal(open_published(&m, v.size, v.context, &r), PQE_E_DECRYPTION);
    from_hex("f1a3af997e339ea308b1e4be240a8fde", m.data + HEADER + 256 * STORED + 1);
    assert_int_equal(open_published(&m, v.size, v.context, &r), PQE_OK);
    for (size_t chunk = 0; chunk <= 256; chunk++) {
        bool given = chunk < 2 || chunk >= 255;
        assert_int_equal(pqe__body_reader_read_at(r, chunk * CHUNK, buf, CHUNK, &got, NULL),
                         given ? PQE_OK : PQE_E_DECRYPTION);
        assert_int_equal(got, !given ? 0 : chunk < 256 ? CHUNK : 1);
    }
    pqe__body_reader_free(&r);
    memory_free(&m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_vectors),
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(published_counter_rollover),
    };

    return cmocka_run_group_tests_name("body-vectors", tests, NULL, NULL);
}
