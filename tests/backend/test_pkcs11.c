/* SPDX-License-Identifier: Apache-2.0 */
/* The pkcs11 backend with SoftHSM, and with a module in between that misbehaves: URIs, PINs, keys and tokens that are
 * gone, lies, lost sessions, processes. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/fixture.h"
#include "backend/forwarded.h"
#include "backend/scratch.h"
#include "backend/shim.h"
#include "backend/softhsm.h"

static CK_FUNCTION_LIST *token; /* of SoftHSM itself, as another part of the process would use it */
static shim_set misbehave;
static shim_count logins;
static const char *typed; /* the PIN that is given when asked for */
static int asked;

static pqe_status
give_pin(void *user, pqe_passphrase_purpose purpose, char *buf, size_t capacity, size_t *len)
{
    (void)user;
    assert_int_equal(purpose, PQE_PASSPHRASE_UNLOCK);
    asked++;
    if (typed == NULL)
        return PQE_E_CANCELLED;
    *len = strlen(typed);
    assert_true(*len <= capacity);
    memcpy(buf, typed, *len);
    return PQE_OK;
}

static pqe_status
open_backend(const char *config, pqe_backend **out, pqe_error *err)
{
    pqe_backend_opts opts = {.size = sizeof opts, .passphrase = give_pin};
    char whole[4 * SCRATCH_PATH_MAX + 8];

    snprintf(whole, sizeof whole, "pkcs11:%s", config);
    return pqe_backend_open(whole, &opts, out, err);
}

static const char *
shim_config(const char *label, const char *more)
{
    static char text[4 * SCRATCH_PATH_MAX];

    snprintf(text, sizeof text, "module-path=" SHIM_MODULE ";token=%s%s", label, more);
    return text;
}

static void
begin(fixture *f, const char *config)
{
    pqe_blob state = {.data = f->state, .capacity = sizeof f->state};

    memset(f, 0, sizeof *f);
    fixture_new_id(f->vault_id);
    assert_int_equal(open_backend(config, &f->backend, NULL), PQE_OK);
    assert_int_equal(pqe__backend_enrol(f->backend, f->vault_id, &state, &f->key, NULL), PQE_OK);
    f->state_len = state.len;
}

/* ---- URIs ---- */

static void
refuses_bad_uris(void **state)
{
    static const char *const bad[] = {"pin-value=1234",
                                      "token=a?pin-value=1234",
                                      "token",
                                      "token=a;token=b",
                                      "tokn=a",
                                      "object=a",
                                      "type=private",
                                      "module-path=relative.so",
                                      "module-name=a/b",
                                      "module-name=",
                                      "pin-source=|cat",
                                      "pin-source=relative",
                                      "tier=soft",
                                      "last-try=no",
                                      "slot-id=x",
                                      "token=%zz",
                                      "serial=01234567890123456"};
    char *long_one = malloc(6000);
    pqe_backend *backend;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        pqe_error err = {0};
        assert_int_equal(open_backend(bad[i], &backend, &err), PQE_E_ARGUMENT);
        fixture_check_error(&err, PQE_E_ARGUMENT);
        assert_null(strstr(err.message, "1234"));
        assert_null(backend);
    }
    memset(long_one, 'a', 5999);
    memcpy(long_one, "token=", 6);
    long_one[5999] = '\0';
    assert_int_equal(pqe_backend_open_ops(pqe__backend_find("pkcs11"), long_one, NULL, &backend, NULL), PQE_E_ARGUMENT);
    free(long_one);
}

static void
says_what_is_not_there(void **state)
{
    pqe_error err = {0};
    pqe_backend *backend;
    char path[SCRATCH_PATH_MAX], config[SCRATCH_PATH_MAX + 32];
    FILE *f = fopen(scratch_path("not-a-module.so", path), "w");

    (void)state;
    fputs("no library\n", f);
    fclose(f);
    snprintf(config, sizeof config, "module-path=%s", path);
    assert_int_equal(open_backend(config, &backend, &err), PQE_E_UNAVAILABLE);
    assert_int_equal(open_backend("module-path=/nowhere.so", &backend, &err), PQE_E_UNAVAILABLE);
    assert_int_equal(open_backend("module-path=/proc/self/exe", &backend, &err), PQE_E_UNAVAILABLE);
    assert_int_equal(open_backend("module-name=nobody", &backend, &err), PQE_E_UNAVAILABLE);
    assert_non_null(strstr(err.message, "nobody"));
    assert_int_equal(open_backend(softhsm_config("nobody", ""), &backend, &err), PQE_E_UNAVAILABLE);
    assert_int_equal(open_backend(softhsm_config("one", ";tier=native"), &backend, &err), PQE_E_UNAVAILABLE);
    assert_int_equal(open_backend(softhsm_config("one", ";init-args=other"), &backend, &err), PQE_E_ARGUMENT);
    assert_null(backend);
}

static void
takes_rfc_7512(void **state)
{
    char uri[4 * SCRATCH_PATH_MAX];
    pqe_backend *backend;

    (void)state;
    snprintf(uri, sizeof uri, "token=%%6Fne;manufacturer=SoftHSM%%20project?module-path=%s&tier=kek", softhsm_module());
    assert_int_equal(open_backend(uri, &backend, NULL), PQE_OK);
    assert_int_equal(backend->capabilities & (PQE_CAP_NATIVE_KEM | PQE_CAP_NATIVE_ML_DSA), 0);
    pqe_backend_close(&backend);
    snprintf(uri, sizeof uri, "token=one;manufacturer=Somebody?module-path=%s", softhsm_module());
    assert_int_equal(open_backend(uri, &backend, NULL), PQE_E_UNAVAILABLE);
}

/* ---- PINs ---- */

static void
attach_says(const fixture *f, const char *config, pqe_status wanted, const char *text)
{
    pqe_error err = {0};
    pqe_backend *backend;
    void *key;

    assert_int_equal(open_backend(config, &backend, &err), PQE_OK);
    assert_int_equal(pqe__backend_attach(backend, f->vault_id, f->state, f->state_len, &key, &err), wanted);
    if (wanted != PQE_OK && strstr(err.message, text) == NULL)
        fail_msg("'%s' does not say '%s'", err.message, text);
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
}

static void
asks_for_the_pin(void **state)
{
    fixture f;
    void *key;
    sealed b;

    (void)state;
    typed = "1234";
    asked = 0;
    begin(&f, softhsm_config("one", ""));
    assert_int_equal(asked, 1);
    fixture_seal(&f, f.key, 32, &b);
    /* A login is the process's: a second vault of the token asks nobody. */
    assert_int_equal(fixture_attach(&f, f.state, f.state_len, &key), PQE_OK);
    assert_int_equal(asked, 1);
    pqe__backend_detach(f.backend, key);
    pqe__backend_detach(f.backend, f.key);
    attach_says(&f, softhsm_config("one", ""), PQE_OK, "");
    assert_int_equal(asked, 2);
    typed = "12345";
    attach_says(&f, softhsm_config("one", ""), PQE_E_DENIED, "wrong PIN");
    typed = "";
    attach_says(&f, softhsm_config("one", ""), PQE_E_DENIED, "empty");
    typed = NULL;
    attach_says(&f, softhsm_config("one", ""), PQE_E_CANCELLED, "");
    typed = "1234";
    assert_int_equal(fixture_attach(&f, f.state, f.state_len, &f.key), PQE_OK);
    assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 32), PQE_OK);
    fixture_end(&f);
}

static void
reads_the_pin_from_a_file(void **state)
{
    char option[SCRATCH_PATH_MAX + 32];
    const char *path;
    fixture f;

    (void)state;
    typed = NULL;
    snprintf(option, sizeof option, "%s", softhsm_pin("1234\n"));
    path = strchr(option, '/');
    begin(&f, softhsm_config("one", option));
    pqe__backend_detach(f.backend, f.key);
    attach_says(&f, softhsm_config("one", softhsm_pin("1234")), PQE_OK, "");
    attach_says(&f, softhsm_config("one", softhsm_pin("9999\n")), PQE_E_DENIED, "wrong PIN");
    attach_says(&f, softhsm_config("one", softhsm_pin("\n")), PQE_E_DENIED, "empty");
    attach_says(&f, softhsm_config("one", ";pin-source=/nowhere"), PQE_E_DENIED, "is not there");
    attach_says(&f, softhsm_config("one", ";pin-source=file:/tmp"), PQE_E_DENIED, "not a regular file");
    assert_int_equal(chmod(path, 0640), 0);
    attach_says(&f, softhsm_config("one", option), PQE_E_DENIED, "chmod 600");
    assert_int_equal(chmod(path, 0400), 0);
    attach_says(&f, softhsm_config("one", option), PQE_OK, "");
    assert_int_equal(fixture_attach(&f, f.state, f.state_len, &f.key), PQE_OK);
    fixture_end(&f);
}

static void
spends_no_last_try(void **state)
{
    char right[SCRATCH_PATH_MAX + 64], wrong[SCRATCH_PATH_MAX + 64], last[SCRATCH_PATH_MAX + 96];
    unsigned before;
    fixture f;

    (void)state;
    snprintf(right, sizeof right, "%s", softhsm_pin("1234"));
    snprintf(wrong, sizeof wrong, "%s", softhsm_pin("9999"));
    misbehave(0);
    begin(&f, shim_config("one", right));
    pqe__backend_detach(f.backend, f.key);
    before = logins();
    misbehave(SHIM_PIN_FINAL);
    attach_says(&f, shim_config("one", right), PQE_E_DENIED, "last-try=yes");
    misbehave(SHIM_PIN_LOCKED);
    attach_says(&f, shim_config("one", right), PQE_E_DENIED, "locked");
    assert_int_equal(logins(), before);
    misbehave(SHIM_PIN_FINAL);
    snprintf(last, sizeof last, "%s;last-try=yes", wrong);
    attach_says(&f, shim_config("one", last), PQE_E_DENIED, "one more locks");
    snprintf(last, sizeof last, "%s;last-try=yes", right);
    attach_says(&f, shim_config("one", last), PQE_OK, "");
    misbehave(SHIM_PIN_LOW);
    attach_says(&f, shim_config("one", wrong), PQE_E_DENIED, "a few more");
    attach_says(&f, shim_config("one", right), PQE_OK, "");
    misbehave(SHIM_LOCKS);
    attach_says(&f, shim_config("one", wrong), PQE_E_DENIED, "has locked it now");
    attach_says(&f, shim_config("one", right), PQE_E_DENIED, "locked");
    misbehave(SHIM_KEYPAD);
    attach_says(&f, shim_config("one", ""), PQE_OK, "");
    misbehave(0);
    assert_int_equal(fixture_attach(&f, f.state, f.state_len, &f.key), PQE_OK);
    fixture_end(&f);
}

/* ---- what is gone, what is double ---- */

static void
notices_a_removed_key(void **state)
{
    const char *pin = softhsm_pin("1234");
    size_t before = softhsm_objects();
    fixture f, other;

    (void)state;
    begin(&other, softhsm_config("one", pin));
    begin(&f, softhsm_config("one", pin));
    assert_int_equal(softhsm_objects(), before + 2);
    pqe__backend_discard(f.backend, f.vault_id, f.key); /* exactly this one goes */
    pqe__backend_detach(f.backend, f.key);
    assert_int_equal(softhsm_objects(), before + 1);
    attach_says(&f, softhsm_config("one", pin), PQE_E_DENIED, "does not have this vault's key");
    attach_says(&other, softhsm_config("one", pin), PQE_OK, "");
    /* An enrol() that died leaves a key without a vault. */
    pqe__backend_forget(f.backend, other.vault_id);
    assert_int_equal(softhsm_objects(), before);
    pqe_backend_close(&f.backend);
    pqe__backend_detach(other.backend, other.key);
    pqe_backend_close(&other.backend);
}

static void
notices_another_token(void **state)
{
    const char *pin = softhsm_pin("1234");
    fixture f;

    (void)state;
    softhsm_token("three");
    token->C_Finalize(NULL); /* SoftHSM looks for tokens when it starts */
    begin(&f, softhsm_config("three", pin));
    pqe__backend_detach(f.backend, f.key);
    attach_says(&f, softhsm_config("one", pin), PQE_E_DENIED, "is not there");
    pqe_backend_close(&f.backend);
    softhsm_remove("three");
    softhsm_token("three"); /* the same label, another serial number */
    token->C_Finalize(NULL);
    attach_says(&f, softhsm_config("three", pin), PQE_E_DENIED, "is not there");
}

/* SoftHSM derives slot ids from serial numbers. */
static void
wants_one_token_alone(void **state)
{
    pqe_blob blob;
    uint8_t bytes[PQE_BACKEND_STATE_MAX], id[PQE_VAULT_ID_SIZE];
    char serial[2 * SCRATCH_PATH_MAX];
    const char *pin = softhsm_pin("1234");
    pqe_backend *backend;
    pqe_error err = {0};
    fixture f;
    void *key;

    (void)state;
    softhsm_token("twin");
    softhsm_token("twin");
    token->C_Finalize(NULL);
    fixture_new_id(id);
    blob = (pqe_blob){.data = bytes, .capacity = sizeof bytes};
    assert_int_equal(open_backend(softhsm_config("twin", pin), &backend, NULL), PQE_OK);
    assert_int_equal(pqe__backend_enrol(backend, id, &blob, &key, &err), PQE_E_ARGUMENT);
    assert_non_null(strstr(err.message, "serial="));
    pqe_backend_close(&backend);
    for (int i = 0; i < 2; i++) {
        CK_SLOT_ID slots[16];
        CK_ULONG count = 16;
        CK_TOKEN_INFO info;
        int seen = 0;
        assert_int_equal(token->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
        for (CK_ULONG k = 0; k < count; k++)
            if (token->C_GetTokenInfo(slots[k], &info) == CKR_OK && memcmp(info.label, "twin ", 5) == 0 && seen++ == i)
                snprintf(serial, sizeof serial, ";serial=%.16s%s", info.serialNumber, pin);
        begin(&f, softhsm_config("twin", serial));
        pqe__backend_detach(f.backend, f.key);
        attach_says(&f, softhsm_config("twin", pin), PQE_OK, ""); /* the vault knows which of the two */
        pqe_backend_close(&f.backend);
    }
}

/* ---- lies ---- */

static void
enrol_says(const char *config, const char *text)
{
    uint8_t bytes[PQE_BACKEND_STATE_MAX], id[PQE_VAULT_ID_SIZE];
    pqe_blob blob = {.data = bytes, .capacity = sizeof bytes};
    size_t before = softhsm_objects();
    pqe_error err = {0};
    pqe_backend *backend;
    void *key;

    fixture_new_id(id);
    assert_int_equal(open_backend(config, &backend, NULL), PQE_OK);
    assert_int_equal(pqe__backend_enrol(backend, id, &blob, &key, &err), PQE_E_BACKEND);
    if (strstr(err.message, text) == NULL)
        fail_msg("'%s' does not say '%s'", err.message, text);
    assert_int_equal(softhsm_objects(), before);
    pqe_backend_close(&backend);
}

static void
believes_no_token(void **state)
{
    char config[4 * SCRATCH_PATH_MAX];
    fixture f;
    sealed b;

    (void)state;
    snprintf(config, sizeof config, "%s", shim_config("one", softhsm_pin("1234")));
    misbehave(SHIM_NO_AAD);
    enrol_says(config, "changed AAD");
    misbehave(SHIM_NO_TAG);
    enrol_says(config, "does not authenticate");
    misbehave(SHIM_EXTRACTABLE);
    enrol_says(config, "not as it was asked for");
    misbehave(SHIM_SHOWS_VALUE);
    enrol_says(config, "give its secret key out");
    misbehave(SHIM_FAILS);
    enrol_says(config, "CKR_DEVICE_MEMORY");
    misbehave(0);
    begin(&f, config);
    pqe__backend_detach(f.backend, f.key);
    misbehave(SHIM_NO_TAG); /* since it was enrolled */
    attach_says(&f, config, PQE_E_BACKEND, "does not authenticate");
    misbehave(SHIM_OWN_NONCE);
    assert_int_equal(fixture_attach(&f, f.state, f.state_len, &f.key), PQE_OK);
    fixture_seal(&f, f.key, 64, &b);
    assert_int_equal(b.bytes[0], 0xa1);
    misbehave(0);
    assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_OK);
    fixture_end(&f);
}

/* ---- what is lost meanwhile ---- */

static CK_SLOT_ID
slot_of(const char *label)
{
    CK_SLOT_ID slots[16], found = 0;
    CK_ULONG count = 16;
    CK_TOKEN_INFO info;

    assert_int_equal(token->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    for (CK_ULONG i = 0; i < count; i++)
        if (token->C_GetTokenInfo(slots[i], &info) == CKR_OK && memcmp(info.label, label, strlen(label)) == 0)
            found = slots[i];
    return found;
}

static void
log_out_everybody(void)
{
    CK_SESSION_HANDLE session;

    assert_int_equal(token->C_OpenSession(slot_of("one "), CKF_SERIAL_SESSION, NULL, NULL, &session), CKR_OK);
    assert_int_equal(token->C_Logout(session), CKR_OK);
    assert_int_equal(token->C_CloseSession(session), CKR_OK);
}

static void
comes_back_by_itself(void **state)
{
    fixture f;
    sealed b;

    (void)state;
    misbehave(0);
    begin(&f, shim_config("one", softhsm_pin("1234")));
    fixture_seal(&f, f.key, 64, &b);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(token->C_CloseAllSessions(slot_of("one ")), CKR_OK);
        assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_OK);
        log_out_everybody();
        assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_OK);
        log_out_everybody();
        fixture_seal(&f, f.key, 64, &b);
        assert_int_equal(token->C_Finalize(NULL), CKR_OK);
        assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_OK);
        misbehave(SHIM_LOSES_ONCE);
        assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_OK);
    }
    misbehave(SHIM_LOSES);
    assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_E_BACKEND);
    misbehave(0);
    assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_OK);
    fixture_end(&f);
}

static void
asks_nobody_in_between(void **state)
{
    fixture f;
    sealed b;

    (void)state;
    typed = "1234";
    begin(&f, softhsm_config("one", ""));
    asked = 0;
    fixture_seal(&f, f.key, 64, &b);
    log_out_everybody();
    assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_E_BACKEND);
    assert_int_equal(asked, 0);
    pqe__backend_detach(f.backend, f.key);
    assert_int_equal(fixture_attach(&f, f.state, f.state_len, &f.key), PQE_OK);
    assert_int_equal(asked, 1);
    assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_OK);
    fixture_end(&f);
}

/* A wrong PIN in the file costs one try, not one at each call, until the process has locked the token for everybody. */
static void
tries_a_refused_pin_once(void **state)
{
    char config[4 * SCRATCH_PATH_MAX], option[SCRATCH_PATH_MAX + 32];
    uint8_t bytes[PQE_SEAL_BLOB_MAX];
    pqe_blob blob = {.data = bytes, .capacity = sizeof bytes};
    pqe_error err = {0};
    unsigned before;
    FILE *file;
    fixture f;
    sealed b;
    void *key;

    (void)state;
    misbehave(0);
    snprintf(option, sizeof option, "%s", softhsm_pin("1234"));
    snprintf(config, sizeof config, "%s", shim_config("one", option));
    begin(&f, config);
    fixture_seal(&f, f.key, 64, &b);
    file = fopen(strchr(option, '/'), "w");
    assert_true(file != NULL && fputs("9999", file) >= 0 && fclose(file) == 0);
    log_out_everybody();
    before = logins();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_E_BACKEND);
        assert_int_equal(logins(), before + 1);
    }
    assert_int_equal(pqe__backend_seal(f.backend, f.key, NULL, 0, AAD, AAD_LEN, &blob, &err), PQE_E_BACKEND);
    assert_non_null(strstr(err.message, "unlock the vault again"));
    attach_says(&f, config, PQE_E_DENIED, "wrong PIN"); /* a new unlock may try */
    assert_int_equal(logins(), before + 2);
    file = fopen(strchr(option, '/'), "w");
    assert_true(file != NULL && fputs("1234", file) >= 0 && fclose(file) == 0);
    assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_E_BACKEND);
    assert_int_equal(logins(), before + 2);
    /* Once somebody has logged this process in, no PIN is needed. */
    assert_int_equal(fixture_attach(&f, f.state, f.state_len, &key), PQE_OK);
    assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_OK);
    pqe__backend_detach(f.backend, key);
    fixture_end(&f);
}

static void
tells_versions_from_damage(void **state)
{
    fixture f;
    void *key;

    (void)state;
    begin(&f, softhsm_config("one", softhsm_pin("1234")));
    assert_int_equal(fixture_attach(&f, f.state, f.state_len - 1, &key), PQE_E_TAMPERED);
    assert_int_equal(fixture_attach(&f, f.state, 1, &key), PQE_E_TAMPERED);
    assert_int_equal(fixture_attach(&f, f.state, f.state_len + 1, &key), PQE_E_TAMPERED);
    f.state[1] ^= 0x80;
    assert_int_equal(fixture_attach(&f, f.state, f.state_len, &key), PQE_E_TAMPERED);
    f.state[1] ^= 0x80;
    f.state[0]++;
    assert_int_equal(fixture_attach(&f, f.state, f.state_len, &key), PQE_E_VERSION);
    assert_int_equal(fixture_attach(&f, f.state, 1, &key), PQE_E_VERSION);
    f.state[0]--;
    fixture_end(&f);
}

/* ---- processes ---- */

/* Another process with a backend of its own: `rounds` times seal and unseal. No cmocka in here. */
static int
work(const fixture *f, const char *config, int rounds)
{
    uint8_t bytes[PQE_SEAL_BLOB_MAX], *memory = pqe__secmem_alloc(PQE_SEAL_SECRET_MAX);
    pqe_backend *backend;
    void *key;

    if (memory == NULL || open_backend(config, &backend, NULL) != PQE_OK)
        return 1;
    if (pqe__backend_attach(backend, f->vault_id, f->state, f->state_len, &key, NULL) != PQE_OK)
        return 2;
    for (int i = 0; i < rounds; i++) {
        pqe_blob blob = {.data = bytes, .capacity = sizeof bytes};
        pqe_blob secret = {.data = memory, .capacity = PQE_SEAL_SECRET_MAX};
        if (pqe__backend_seal(backend, key, AAD, AAD_LEN, AAD, AAD_LEN, &blob, NULL) != PQE_OK ||
            pqe__backend_unseal(backend, key, AAD, AAD_LEN, bytes, blob.len, &secret, NULL) != PQE_OK ||
            secret.len != AAD_LEN)
            return 3;
    }
    pqe__backend_detach(backend, key);
    pqe_backend_close(&backend);
    pqe__secmem_free(memory);
    return 0;
}

static void
works_in_several_processes(void **state)
{
    char config[4 * SCRATCH_PATH_MAX];
    pid_t children[3];
    int result;
    fixture f;
    sealed b;

    (void)state;
    snprintf(config, sizeof config, "%s", softhsm_config("one", softhsm_pin("1234")));
    begin(&f, config);
    fixture_seal(&f, f.key, 64, &b);
    for (size_t i = 0; i < 3; i++) {
        children[i] = fork(); /* of a process in which the module runs, and has a session */
        assert_true(children[i] >= 0);
        if (children[i] == 0)
            _exit(work(&f, config, 50));
    }
    for (int i = 0; i < 50; i++)
        assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(waitpid(children[i], &result, 0), children[i]);
        assert_true(WIFEXITED(result));
        assert_int_equal(WEXITSTATUS(result), 0);
    }
    assert_int_equal(fixture_unseal(&f, f.key, b.bytes, b.len, 64), PQE_OK);
    fixture_end(&f);
}

static void
describes_the_token(void **state)
{
    char text[PQE_HELD_BY_MAX];
    fixture f;

    (void)state;
    begin(&f, softhsm_config("one", softhsm_pin("1234")));
    assert_true(pqe__backend_describe(f.backend->ops, f.state, f.state_len, text));
    assert_non_null(strstr(text, "'one'"));
    assert_non_null(strstr(text, "SoftHSM"));
    assert_false(pqe__backend_describe(f.backend->ops, f.state, f.state_len - 1, text));
    f.state[0]++;
    assert_false(pqe__backend_describe(f.backend->ops, f.state, f.state_len, text));
    fixture_end(&f);
}

static void
find_functions(void)
{
    void *library = dlopen(softhsm_module(), RTLD_NOW | RTLD_LOCAL), *shim = dlopen(SHIM_MODULE, RTLD_NOW | RTLD_LOCAL);
    CK_C_GetFunctionList get_list;
    void *symbol;

    if (library == NULL || shim == NULL) {
        fputs(dlerror(), stderr);
        exit(EXIT_FAILURE);
    }
    symbol = dlsym(library, "C_GetFunctionList");
    memcpy(&get_list, &symbol, sizeof symbol);
    symbol = dlsym(shim, "shim_set_flags");
    memcpy(&misbehave, &symbol, sizeof symbol);
    symbol = dlsym(shim, "shim_logins");
    memcpy(&logins, &symbol, sizeof symbol);
    if (get_list(&token) != CKR_OK)
        exit(EXIT_FAILURE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_bad_uris),
        cmocka_unit_test(says_what_is_not_there),
        cmocka_unit_test(takes_rfc_7512),
        cmocka_unit_test(asks_for_the_pin),
        cmocka_unit_test(reads_the_pin_from_a_file),
        cmocka_unit_test(spends_no_last_try),
        cmocka_unit_test(notices_a_removed_key),
        cmocka_unit_test(believes_no_token),
        cmocka_unit_test(comes_back_by_itself),
        cmocka_unit_test(asks_nobody_in_between),
        cmocka_unit_test(tries_a_refused_pin_once),
        cmocka_unit_test(tells_versions_from_damage),
        cmocka_unit_test(works_in_several_processes),
        cmocka_unit_test(describes_the_token),
        cmocka_unit_test(notices_another_token),
        cmocka_unit_test(wants_one_token_alone),
    };
    int failures;

    softhsm_begin();
    setenv(FORWARDED_MODULE, softhsm_module(), 1);
    softhsm_token("one");
    find_functions();
    failures = cmocka_run_group_tests_name("pkcs11", tests, NULL, NULL);
    softhsm_end();
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
