/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pkcs11 backend with NSS's softoken, a token of PKCS#11 3.2: the conformance suite, native ML-DSA, and what the
 * token refuses to give out. bed_nss.sh says where the module is.
 *
 *   test_pkcs11_nss MODULE DIRECTORY [pin]   with "pin" it only sets the PIN, and prints the configuration
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/faulty.h"
#include "backend/fixture.h"
#include "backend/pkcs11/api.h"
#include "backend/pkcs11_pairs.h"

static CK_FUNCTION_LIST *token;
static char config[4096];
static CK_SLOT_ID slot;

static void
need(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "nss: %s\n", what);
    exit(EXIT_FAILURE);
}

static void
encode(const char *text, char *out)
{
    for (; *text != '\0'; text++)
        out += strchr("/._-", *text) != NULL || (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'z') ||
                       (*text >= 'A' && *text <= 'Z')
                   ? sprintf(out, "%c", *text)
                   : sprintf(out, "%%%02x", (unsigned)(unsigned char)*text);
}

/* The same words for us and for the backend, in whichever order they come. */
static void
parameters(const char *dir, char out[1024])
{
    snprintf(out, 1024, "configdir='sql:%s' certPrefix='' keyPrefix='' secmod='secmod.db' flags=", dir);
}

static void
make_config(const char *module, const char *dir)
{
    char text[1024], encoded[3100];

    parameters(dir, text);
    encode(text, encoded);
    snprintf(config, sizeof config, "module-path=%s;token=NSS%%20Certificate%%20DB;init-args=%s;pin-source=%s/pin",
             module, encoded, dir);
}

static void
load(const char *module)
{
    void *library = dlopen(module, RTLD_NOW | RTLD_LOCAL), *symbol;
    CK_C_GetFunctionList get_list;

    need(library != NULL, "cannot load the module");
    symbol = dlsym(library, "C_GetFunctionList");
    memcpy(&get_list, &symbol, sizeof symbol);
    need(get_list(&token) == CKR_OK, "no functions");
}

/* A new key database has no password; its token then wants no login, and refuses sensitive keys of its own. */
static void
set_pin(const char *dir)
{
    char text[1024];
    pqe__p11_init_args args = {.flags = CKF_OS_LOCKING_OK, .parameters = text};
    CK_SLOT_ID slots[8];
    CK_ULONG count = 8;
    CK_TOKEN_INFO info;
    CK_SESSION_HANDLE session;
    unsigned char pin[] = "1234";
    CK_RV rv;

    parameters(dir, text);
    rv = token->C_Initialize(&args);
    need(rv == CKR_OK, "cannot initialise");
    need(token->C_GetSlotList(CK_TRUE, slots, &count) == CKR_OK && count >= 2, "no second slot");
    slot = slots[1];
    need(token->C_GetTokenInfo(slot, &info) == CKR_OK, "no token");
    if ((info.flags & CKF_USER_PIN_INITIALIZED) != 0)
        return;
    need(token->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session) == CKR_OK, "session");
    need(token->C_Login(session, CKU_SO, (unsigned char *)"", 0) == CKR_OK, "login of the security officer");
    need(token->C_InitPIN(session, pin, 4) == CKR_OK, "PIN");
    need(token->C_CloseSession(session) == CKR_OK, "close");
}

static size_t
count_objects(void)
{
    CK_SESSION_HANDLE session;
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE template[] = {{CKA_TOKEN, &yes, sizeof yes}};
    CK_OBJECT_HANDLE objects[256];
    CK_ULONG count = 0;
    CK_RV rv;
    unsigned char pin[] = "1234";

    need(token->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session) == CKR_OK, "session");
    rv = token->C_Login(session, CKU_USER, pin, 4);
    need(rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN, "login");
    need(token->C_FindObjectsInit(session, template, 1) == CKR_OK, "find");
    need(token->C_FindObjects(session, objects, 256, &count) == CKR_OK, "find");
    token->C_FindObjectsFinal(session);
    token->C_CloseSession(session);
    return count;
}

/* ---- what the suite does not ask ---- */

static conformance_subject subject = {.name = "pkcs11, NSS", .config = config, .leftovers = count_objects, .stride = 8};

static CK_RV
read_attribute(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type)
{
    uint8_t bytes[8192];
    CK_ATTRIBUTE attribute = {type, bytes, sizeof bytes};
    CK_RV rv = token->C_GetAttributeValue(session, object, &attribute, 1);

    return rv == CKR_OK && attribute.ulValueLen == 0 ? CKR_ATTRIBUTE_TYPE_INVALID : rv;
}

/* As any program with the PIN would try: reading the keys, making them readable, wrapping them with a key of one's own. The
 * last NSS allows, against the standard (CKR_KEY_UNEXTRACTABLE); that is told, not tested. */
static void
gives_nothing_out(void **state)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY, secret = CKO_SECRET_KEY;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_KEY_TYPE aes = CKK_AES;
    CK_ULONG size = 32, count = 0, wrapped_len;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof class}, {CKA_TOKEN, &yes, sizeof yes}};
    CK_ATTRIBUTE wrapping[] = {{CKA_CLASS, &secret, sizeof secret},
                               {CKA_KEY_TYPE, &aes, sizeof aes},
                               {CKA_VALUE_LEN, &size, sizeof size},
                               {CKA_WRAP, &yes, sizeof yes}};
    CK_ATTRIBUTE open_up[] = {{CKA_SENSITIVE, &no, sizeof no}, {CKA_EXTRACTABLE, &yes, sizeof yes}};
    CK_MECHANISM make = {CKM_AES_KEY_GEN, NULL, 0}, wrap = {CKM_AES_KEY_WRAP_PAD, NULL, 0};
    CK_OBJECT_HANDLE objects[16], by;
    CK_SESSION_HANDLE session;
    uint8_t handle[PQE_SEAL_BLOB_MAX], ek[PQE_ML_DSA_PUBLIC_MAX], wrapped[8192];
    CK_RV rv;
    pqe_blob h = {.data = handle, .capacity = sizeof handle}, e = {.data = ek, .capacity = sizeof ek};
    fixture f;

    (void)state;
    fixture_begin(&f, &subject);
    assert_int_equal(pqe__backend_kem_make(f.backend, f.key, &h, &e, NULL), PQE_OK);
    assert_int_equal(token->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), CKR_OK);
    assert_int_equal(token->C_GenerateKey(session, &make, wrapping, 4, &by), CKR_OK);
    for (int kind = 0; kind < 2; kind++) { /* the ML-KEM key, then the AES key */
        class = kind == 0 ? CKO_PRIVATE_KEY : CKO_SECRET_KEY;
        assert_int_equal(token->C_FindObjectsInit(session, wanted, 2), CKR_OK);
        assert_int_equal(token->C_FindObjects(session, objects, 16, &count), CKR_OK);
        token->C_FindObjectsFinal(session);
        assert_true(count >= 1);
        for (CK_ULONG i = 0; i < count; i++) {
            assert_int_equal(read_attribute(session, objects[i], CKA_VALUE), CKR_ATTRIBUTE_SENSITIVE);
            assert_int_not_equal(read_attribute(session, objects[i], PQE__CKA_SEED), CKR_OK);
            (void)token->C_SetAttributeValue(session, objects[i], &open_up[0], 1); /* whatever it says to that */
            (void)token->C_SetAttributeValue(session, objects[i], &open_up[1], 1);
            assert_int_equal(read_attribute(session, objects[i], CKA_VALUE), CKR_ATTRIBUTE_SENSITIVE);
            wrapped_len = sizeof wrapped;
            rv = token->C_WrapKey(session, &wrap, by, objects[i], wrapped, &wrapped_len);
            printf("C_WrapKey of a key that is not extractable (%s): 0x%lx%s\n", kind == 0 ? "ML-KEM" : "AES", rv,
                   rv == CKR_OK ? ", which is this token's fault: see docs/backends.md" : "");
        }
    }
    token->C_CloseSession(session);
    pqe__backend_kem_drop(f.backend, f.key, handle, h.len);
    fixture_end(&f);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(pkcs11_has_both, &subject),
                                       cmocka_unit_test_prestate(pkcs11_signs, &subject),
                                       cmocka_unit_test(gives_nothing_out)};
    int failures;

    need(argc >= 3, "which module, which directory?");
    make_config(argv[1], argv[2]);
    load(argv[1]);
    set_pin(argv[2]);
    if (argc > 3) {
        puts(config);
        return 0;
    }
    subject.ops = pqe__backend_find("pkcs11");
    failures = cmocka_run_group_tests_name("pkcs11, NSS beside the suite", tests, NULL, NULL);
    failures += conformance_run(&subject);
    subject.name = "pkcs11, NSS, decorated";
    subject.ops = faulty_wrap(subject.ops);
    failures += conformance_run(&subject);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
