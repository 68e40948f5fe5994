/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pkcs11 backend with NSS's softoken, a token of PKCS#11 3.2: the conformance suite, native ML-DSA, and what the
 * token refuses to give out. bed_nss.sh says where the module is.
 *
 *   test_pkcs11_nss MODULE DIRECTORY [URI]   prints the configuration with URI, runs the tests without
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/faulty.h"
#include "backend/fixture.h"
#include "backend/pkcs11/api.h"

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

int
main(int argc, char **argv)
{
    conformance_subject subject = {.name = "pkcs11, NSS", .config = config, .leftovers = count_objects, .stride = 8};
    int failures;

    need(argc >= 3, "which module, which directory?");
    make_config(argv[1], argv[2]);
    if (argc > 3) {
        puts(config);
        return 0;
    }
    load(argv[1]);
    set_pin(argv[2]);
    subject.ops = pqe__backend_find("pkcs11");
    failures = conformance_run(&subject);
    subject.name = "pkcs11, NSS, decorated";
    subject.ops = faulty_wrap(subject.ops);
    failures += conformance_run(&subject);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
