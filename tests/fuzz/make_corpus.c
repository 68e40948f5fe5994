/* SPDX-License-Identifier: Apache-2.0 */
/* make_corpus DIR: writes a few sound inputs for each fuzz target to DIR/<target>/, for the fuzzers to start from. */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <pqc_enclave/attest.h>

#include "audit/audit.h"
#include "backend/file/passphrase.h"
#include "body/body.h"
#include "format/format.h"
#include "policy/policy.h"
#include "util/text.h"

static const char *out;

static void
save(const char *target, const char *name, const uint8_t *data, size_t len)
{
    char path[PATH_MAX];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", out, target);
    FUZZ_CHECK(mkdir(path, 0777) == 0 || errno == EEXIST);
    snprintf(path, sizeof path, "%s/%s/%s", out, target, name);
    f = fopen(path, "wb");
    FUZZ_CHECK(f != NULL && fwrite(data, 1, len, f) == len && fclose(f) == 0);
}

static void
records(void)
{
    static uint8_t bytes[PQE__RECORD_MAX];
    pqe__record r = {.suite = pqe__suite_ml_kem_768,
                     .size_bytes = 3,
                     .stored_bytes = 75,
                     .kind = PQE_KIND_OTHER,
                     .hash_algorithm = PQE__RECORD_HASH_SHA3_256,
                     .created_at = 1700000000,
                     .name = {"n", 1}};
    pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes);

    pqe__record_encode(&r, &c);
    save("record", "small", bytes, c.pos);
    r.version = r.app_bundle_id = r.device_id = r.model_did = r.description = (pqe__text){"\xc3\xa4 text", 7};
    r.tag_count = PQE_TAGS_MAX;
    for (size_t i = 0; i < PQE_TAGS_MAX; i++)
        r.tags[i] = (pqe__text){"tag", i % 4};
    c = pqe__wcur_init(bytes, sizeof bytes);
    pqe__record_encode(&r, &c);
    save("record", "full", bytes, c.pos);
}

static void
heads(void)
{
    uint8_t bytes[PQE__HEAD_MAX] = {0};
    pqe__head h = {.generation = 1, .key_epoch = 1, .suite = pqe__suite_ml_kem_768};
    pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes);

    pqe__head_encode_public(&h, bytes + 1);
    c.pos = 1 + PQE__HEAD_PUBLIC_SIZE;
    pqe__put_u32(&c, 20);
    save("head", "public", bytes, c.pos + 20);
    save("head", "private", (const uint8_t *)"\1\0\1\0\0\0\3dev", 10);
}

/* One of each form that fuzz_log.c knows; the first byte says which. */
static void
logs(void)
{
    const char *const allowed[] = {"com.example.a", "com.example.b"};
    const pqe_policy_rule rule = {
        .size = sizeof rule, .artifact = "an artifact", .allowed_bundle_ids = allowed, .allowed_count = 2};
    const pqe__policy none = {0};
    const pqe__event event = {.op = PQE_AUDIT_GET, .success = true, .kind = PQE_KIND_OTHER, .name = {"name", 4}};
    const pqe__tail end = {.chain = 1, .seq = 7};
    const pqe__checkpoint point = {.chain = 1, .seq = 7, .time = 1};
    uint8_t bytes[1 + PQE__AUDIT_BODY_MAX] = {0}, *made;
    pqe__uses uses = {0};
    size_t len;
    bool found;

    if (pqe__policy_with(&none, &rule, false, &found, &made, &len, NULL) == PQE_OK) {
        memcpy(bytes + 1, made, len);
        save("log", "policy", bytes, 1 + len);
        free(made);
    }
    if (pqe__uses_add(&uses, PQE_KIND_OTHER, (pqe__text){"", 0}, 3, NULL) == PQE_OK &&
        pqe__uses_encode(&uses, &made, &len, NULL) == PQE_OK) {
        bytes[0] = 1;
        memcpy(bytes + 1, made, len);
        save("log", "uses", bytes, 1 + len);
        free(made);
    }
    pqe__uses_free(&uses);
    bytes[0] = 2;
    save("log", "entry", bytes, 1 + pqe__event_encode(&event, bytes + 1));
    bytes[0] = 3;
    pqe__tail_encode(&end, bytes + 1);
    save("log", "tail", bytes, 1 + PQE__TAIL_SIZE);
    bytes[0] = 4;
    save("log", "checkpoint", bytes, 1 + pqe__checkpoint_encode(&point, (char *)bytes + 1));
}

static void
key_files(void)
{
    uint8_t key[32];
    char id[33], hex[65], text[256];
    int n;

    memset(key, FUZZ_BYTE, sizeof key);
    pqe__hex_encode(key, 16, id);
    pqe__hex_encode(key, 32, hex);
    n = snprintf(text, sizeof text, "pqc-enclave key file v1\n%s\n%s\n", id, hex);
    save("keyfile", "sound", (const uint8_t *)text, (size_t)n);
}

/* docs/format.md, section 6: PIN, counter and note, AES-256, PCR 7 of SHA-256, an index, 16 bytes of private part. */
static void
tpm2_state(void)
{
    uint8_t bytes[1 + 146 + 16];
    pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes);

    memset(bytes, FUZZ_BYTE, sizeof bytes);
    pqe__put_u8(&c, 1);
    pqe__put_u8(&c, 1);
    pqe__put_u8(&c, 7);
    pqe__put_u16(&c, 256);
    c.pos = 1 + 70;
    pqe__put_u16(&c, 0x000B);
    pqe__put_u32(&c, 1u << 7);
    c.pos = 1 + 140;
    pqe__put_u32(&c, 0x01800002);
    pqe__put_u16(&c, 16);
    save("state", "tpm2", bytes, sizeof bytes);
}

static void
states(void)
{
    uint8_t bytes[1 + PQE__PASSPHRASE_STATE_SIZE];
    pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes);

    memset(bytes, FUZZ_BYTE, sizeof bytes);
    bytes[0] = 0;
    save("state", "memory", bytes, 17);
    pqe__put_u8(&c, 2);
    pqe__put_u8(&c, PQE__FILE_STATE_VERSION);
    pqe__put_u8(&c, PQE__FILE_MODE_KEY_FILE);
    save("state", "key-file", bytes, 1 + 2 + 32);
    c.pos = 2;
    pqe__put_u8(&c, PQE__FILE_MODE_PASSPHRASE);
    pqe__put_u32(&c, 0x13);
    pqe__put_u32(&c, PQE__ARGON2_MEMORY_MIN);
    pqe__put_u32(&c, 2);
    pqe__put_u32(&c, 1);
    save("state", "passphrase", bytes, sizeof bytes);
    tpm2_state();
}

typedef struct sink {
    uint8_t data[100000];
    size_t len;
} sink;

static pqe_status
take(void *user, const uint8_t *data, size_t len, pqe_error *err)
{
    sink *s = user;

    (void)err;
    FUZZ_CHECK(len <= sizeof s->data - s->len);
    memcpy(s->data + s->len, data, len);
    s->len += len;
    return PQE_OK;
}

static void
bodies(void)
{
    static const size_t sizes[] = {0, 1, 1000, 16384, 40000};
    uint8_t dek[32];

    memset(dek, FUZZ_BYTE, sizeof dek);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        static sink s;
        pqe__wcur c = pqe__wcur_init(s.data, 8);
        pqe__body_writer *w = NULL;
        char name[24];
        pqe__put_u64(&c, sizes[i]);
        s.len = 8;
        FUZZ_CHECK(pqe__body_writer_new(dek, dek, NULL, take, &s, &w, NULL) == PQE_OK);
        for (size_t k = 0; k < sizes[i]; k++) {
            uint8_t byte = fuzz_content(k);
            FUZZ_CHECK(pqe__body_writer_write(w, &byte, 1, NULL) == PQE_OK);
        }
        FUZZ_CHECK(pqe__body_writer_finish(w, NULL) == PQE_OK);
        pqe__body_writer_free(&w);
        snprintf(name, sizeof name, "%zu", sizes[i]);
        save("body", name, s.data, s.len);
    }
}

static void
identities(void)
{
    static uint8_t bytes[PQE__IDENTITY_MAX], key[PQE_ML_DSA_PUBLIC_MAX], sealed[60];
    static uint8_t copies[2 * PQE__IDENTITY_COPY_SIZE];
    pqe__identity i = {.algorithm = PQE_ML_DSA_65,
                       .form = PQE__IDENTITY_SEED,
                       .created_at = 1700000000,
                       .name = {"name", 4},
                       .public_key = key,
                       .public_key_len = pqe_sig_public_size(PQE_ML_DSA_65),
                       .sealed = sealed,
                       .sealed_len = sizeof sealed};
    pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes);

    pqe__identity_encode(&i, &c);
    save("identity", "seed", bytes, c.pos);
    i.form = PQE__IDENTITY_EXPANDED;
    i.extra = key;
    i.extra_len = sizeof key;
    c = pqe__wcur_init(bytes, sizeof bytes);
    pqe__identity_encode(&i, &c);
    save("identity", "expanded", bytes, c.pos);
    i.copies = copies;
    i.copies_len = sizeof copies;
    c = pqe__wcur_init(bytes, sizeof bytes);
    pqe__identity_encode(&i, &c);
    save("identity", "copies", bytes, c.pos);
}

static void
recovery_keys(void)
{
    static uint8_t bytes[PQE__RECOVERY_LIST_MAX];
    static pqe__recovery_list list = {.count = 2};
    pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes);

    for (size_t i = 0; i < list.count; i++) {
        list.keys[i].slot = (uint8_t)(3 * i);
        list.keys[i].suite = pqe__suite_ml_kem_768;
        snprintf(list.keys[i].name, sizeof list.keys[i].name, "key %zu", i);
    }
    pqe__recovery_list_encode(&list, &c);
    save("recovery", "two", bytes, c.pos);
}

static void
save_attestation(pqe_vault *vault, int version, const char *name)
{
    static const uint8_t challenge[16] = {1};
    pqe_attest_opts o = {.size = sizeof o, .version = version, .device_model = "m\xc3\xb6\x01\\ \xf0\x9f\x94\x90"};
    pqe_attestation *a = NULL;
    char *bytes = NULL;
    size_t len;

    if (version == 2) {
        o.challenge = challenge;
        o.challenge_len = sizeof challenge;
    }
    FUZZ_CHECK(pqe_attest(vault, fuzz_artifacts[0].name, &o, &a, NULL) == PQE_OK);
    FUZZ_CHECK(pqe_attestation_encode(a, version == 1 ? PQE_ATTEST_JSON : PQE_ATTEST_COSE, &bytes, &len, NULL) ==
               PQE_OK);
    save("attestation", name, (const uint8_t *)bytes, len);
    pqe_buffer_free(&bytes);
    pqe_attestation_free(&a);
}

static void
keys(pqe_vault *vault)
{
    pqe_signing_key *key = NULL;
    char pem[PQE_PRIVATE_PEM_MAX];
    size_t len;

    FUZZ_CHECK(pqe_identity_export_private(vault, NULL, &key, NULL) == PQE_OK);
    FUZZ_CHECK(pqe_signing_key_pem(key, pem, sizeof pem, &len, NULL) == PQE_OK);
    save("trust", "private", (const uint8_t *)pem, len);
    FUZZ_CHECK(pqe_public_key_pem(pqe_signing_key_public(key), pem, sizeof pem, &len, NULL) == PQE_OK);
    save("trust", "public", (const uint8_t *)pem, len);
    save("trust", "did", (const uint8_t *)pqe_public_key_did(pqe_signing_key_public(key)),
         strlen(pqe_public_key_did(pqe_signing_key_public(key))));
    pqe_signing_key_free(&key);
}

/* TPMS_ATTEST of TPM 2.0 Library, part 2, 10.12.12, as far as the statement of one kind. */
static void
put_attest(pqe__wcur *c, uint16_t type)
{
    static const uint8_t name[34] = {0, 0x0b}, nonce[32] = {FUZZ_BYTE};

    pqe__put_u32(c, 0xff544347);
    pqe__put_u16(c, type);
    pqe__put_u16(c, sizeof name);
    pqe__put_bytes(c, name, sizeof name);
    pqe__put_u16(c, sizeof nonce);
    pqe__put_bytes(c, nonce, sizeof nonce);
    pqe__put_u64(c, 1000); /* clock */
    pqe__put_u64(c, 1);    /* resets, restarts */
    pqe__put_u8(c, 1);     /* safe */
    pqe__put_u64(c, 7);    /* firmware */
    if (type == 0x8018) {
        pqe__put_u32(c, 1);
        pqe__put_u16(c, 0x0b);
        pqe__put_u32(c, 0x03830080); /* three bytes of PCRs */
        pqe__put_u16(c, sizeof nonce);
        pqe__put_bytes(c, nonce, sizeof nonce);
        return;
    }
    pqe__put_u16(c, sizeof name); /* of the object or index */
    pqe__put_bytes(c, name, sizeof name);
    if (type == 0x8017) {
        pqe__put_u16(c, sizeof name);
        pqe__put_bytes(c, name, sizeof name);
    } else {
        pqe__put_u16(c, 0); /* offset */
        pqe__put_u16(c, 8);
        pqe__put_u64(c, 42);
    }
}

static void
evidence(void)
{
    static const struct {
        const char *name;
        uint16_t type;
    } kinds[] = {{"quote", 0x8018}, {"certify", 0x8017}, {"nv-certify", 0x8014}};
    /* the group's generator */
    static const char key[] = "\2-----BEGIN PUBLIC KEY-----\n"
                              "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n"
                              "6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n"
                              "-----END PUBLIC KEY-----\n";
    uint8_t bytes[512], piece[512] = {0}, number[32] = {FUZZ_BYTE};

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char name[32];
        pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes), p = pqe__wcur_init(piece + 1, sizeof piece - 1);
        pqe__put_u8(&c, 1);
        put_attest(&c, kinds[i].type);
        save("evidence", kinds[i].name, bytes, c.pos);
        pqe__put_u16(&p, (uint16_t)(c.pos - 1));
        pqe__put_bytes(&p, bytes + 1, c.pos - 1);
        pqe__put_u32(&p, 0x0018000b); /* ECDSA, SHA-256 */
        for (int k = 0; k < 2; k++) {
            pqe__put_u16(&p, sizeof number);
            pqe__put_bytes(&p, number, sizeof number);
        }
        snprintf(name, sizeof name, "piece-%s", kinds[i].name);
        save("evidence", name, piece, 1 + p.pos);
    }
    save("evidence", "key", (const uint8_t *)key, sizeof key - 1);
}

static void
put_all(pqe_vault *v)
{
    static uint8_t content[17000];

    for (size_t i = 0; i < sizeof content; i++)
        content[i] = fuzz_content(i);
    for (size_t i = 0; i < FUZZ_ARTIFACTS; i++) {
        pqe_put_opts o = {.size = sizeof o, .name = fuzz_artifacts[i].name, .kind = PQE_KIND_OTHER};
        FUZZ_CHECK(fuzz_artifacts[i].len <= sizeof content);
        FUZZ_CHECK(pqe_put(v, &o, content, fuzz_artifacts[i].len, NULL, NULL) == PQE_OK);
        if (i == 1) { /* from here on another session's secret */
            pqe_vault_lock(v);
            FUZZ_CHECK(pqe_vault_unlock(v, 0, NULL) == PQE_OK);
        }
    }
}

/* Twice: an odd last byte, behind the database's end, asks the target for changes too. */
static void
indexes(void)
{
    static uint8_t bytes[1 << 20];
    char dir[PATH_MAX], path[PATH_MAX + 16];
    pqe_backend *b = fuzz_backend();
    pqe_vault_opts o = {.size = sizeof o, .dir = dir, .backend = b, .create = true};
    pqe_vault *v = NULL;
    size_t len;
    FILE *f;

    snprintf(dir, sizeof dir, "%s", fuzz_directory());
    FUZZ_CHECK(pqe_vault_open(&o, &v, NULL) == PQE_OK);
    put_all(v);
    FUZZ_CHECK(pqe_identity_create(v, NULL, NULL, NULL) == PQE_OK);
    save_attestation(v, 1, "v1");
    save_attestation(v, 2, "v2");
    keys(v);
    pqe_vault_close(&v);
    pqe_backend_close(&b);
    snprintf(path, sizeof path, "%s/index.db", dir);
    f = fopen(path, "rb");
    FUZZ_CHECK(f != NULL);
    len = fread(bytes, 1, sizeof bytes - 1, f);
    fclose(f);
    save("index", "sound", bytes, len);
    bytes[len] = 1;
    save("index", "sound-and-changed", bytes, len + 1);
}

int
main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_corpus DIR\n");
        return 2;
    }
    out = argv[1];
    FUZZ_CHECK(mkdir(out, 0777) == 0 || errno == EEXIST);
    records();
    heads();
    logs();
    key_files();
    states();
    identities();
    evidence();
    recovery_keys();
    bodies();
    indexes();
    return 0;
}
