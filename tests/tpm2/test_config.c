/* SPDX-License-Identifier: Apache-2.0 */
/* The backend's configuration and its state, without a TPM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* after the headers above */
#include <cmocka.h>
#include <tss2/tss2_tpm2_types.h>

#include "backend/tpm2/config.h"
#include "backend/tpm2/counter.h"
#include "backend/tpm2/state.h"

static void
reads_configurations(void **state)
{
    static const struct {
        const char *text, *tcti;
        uint32_t mask;
        uint16_t bank;
        bool pin, no_counter;
    } cases[] = {
        {"", NULL, 0, 0, false, false},
        {"pin", NULL, 0, 0, true, false},
        {";pin", NULL, 0, 0, true, false},
        {"no-counter;pin", NULL, 0, 0, true, true},
        {"device:/dev/tpmrm0", "device:/dev/tpmrm0", 0, 0, false, false},
        {"swtpm:host=127.0.0.1,port=2321;pin", "swtpm:host=127.0.0.1,port=2321", 0, 0, true, false},
        {"tabrmd:;no-counter", "tabrmd:", 0, 0, false, true},
        {"pcrs=sha256:0", NULL, 0x1, TPM2_ALG_SHA256, false, false},
        {"pcrs=sha256:0,7,23;pin", NULL, 0x800081, TPM2_ALG_SHA256, true, false},
        {"swtpm:path=/x;pcrs=sha384:11", "swtpm:path=/x", 0x800, TPM2_ALG_SHA384, false, false},
        {"pcrs=sha1:2", NULL, 0x4, TPM2_ALG_SHA1, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pqe__tpm2_config c;
        assert_int_equal(pqe__tpm2_config_parse(cases[i].text, &c, NULL), PQE_OK);
        if (cases[i].tcti == NULL)
            assert_null(c.tcti);
        else
            assert_string_equal(c.tcti, cases[i].tcti);
        assert_int_equal(c.pcr_mask, cases[i].mask);
        assert_int_equal(c.pcr_bank, cases[i].bank);
        assert_int_equal(c.pin, cases[i].pin);
        assert_int_equal(c.no_counter, cases[i].no_counter);
        pqe__tpm2_config_free(&c);
    }
}

static void
refuses_other_configurations(void **state)
{
    static const char *const texts[] = {
        "pinn",
        "PIN",
        "hunter2",
        "pin;device:/dev/tpmrm0",
        "pin;;pin",
        "pcrs=",
        "pcrs=sha256",
        "pcrs=sha256:",
        "pcrs=sha256:24",
        "pcrs=sha256:0,",
        "pcrs=md5:0",
        "pcrs=sha256:,",
        "pcrs=sha256:0,0",
        "pcrs=sha256:99999999999",
        "pcrs=sha256:-1",
        "pcrs=sha256:1 ",
        "device:x;hunter2",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        pqe_error err = {0};
        pqe__tpm2_config c;
        assert_int_equal(pqe__tpm2_config_parse(texts[i], &c, &err), PQE_E_ARGUMENT);
        assert_null(c.tcti);
        assert_null(strstr(err.message, "hunter2"));
    }
}

static pqe__tpm2_state
good_state(void)
{
    return (pqe__tpm2_state){.flags = PQE__TPM2_PIN | PQE__TPM2_COUNTER | PQE__TPM2_NOTE,
                             .parent_bits = 256,
                             .pcr_bank = TPM2_ALG_SHA256,
                             .pcr_mask = 0x81,
                             .nv_index = 0x01800002,
                             .private_len = 160};
}

static pqe_status
round_trip(const pqe__tpm2_state *s)
{
    uint8_t bytes[1024];
    pqe_blob blob = {.data = bytes, .capacity = sizeof bytes};
    pqe__tpm2_state back;

    assert_int_equal(pqe__tpm2_state_write(s, &blob, NULL), PQE_OK);
    assert_int_equal(blob.len, PQE__TPM2_STATE_SIZE(s->private_len));
    return pqe__tpm2_state_read(bytes, blob.len, &back, NULL);
}

#define REFUSED(change)                                                                                                \
    do {                                                                                                               \
        pqe__tpm2_state s = good_state();                                                                              \
        change;                                                                                                        \
        assert_int_equal(round_trip(&s), PQE_E_TAMPERED);                                                              \
    } while (0)

static void
refuses_states_that_make_no_sense(void **state)
{
    pqe__tpm2_state good = good_state();

    (void)state;
    assert_int_equal(round_trip(&good), PQE_OK);
    REFUSED(s.flags |= 0x8);
    REFUSED(s.flags = PQE__TPM2_NOTE);
    REFUSED(s.flags = 0); /* with an index */
    REFUSED(s.parent_bits = 192);
    REFUSED(s.pcr_bank = 0);
    REFUSED(s.pcr_bank = TPM2_ALG_SHA512);
    REFUSED(s.pcr_mask = 0);
    REFUSED(s.pcr_mask = 0x1000000);
    REFUSED(s.nv_index = 0);
    REFUSED(s.nv_index = 0x01800001);
    REFUSED(s.nv_index = 0x01c00000);
    REFUSED(s.nv_index = 0x01400000);
    REFUSED(s.private_len = 0);
    assert_false(pqe__tpm2_counter_place_ok(0));
    assert_true(pqe__tpm2_counter_place_ok(0x01bffffe));
}

static void
reads_states_exactly(void **state)
{
    pqe__tpm2_state s = good_state(), back;
    uint8_t bytes[1024];
    pqe_blob blob = {.data = bytes, .capacity = sizeof bytes};

    (void)state;
    memset(s.salt, 0x11, sizeof s.salt);
    memset(s.private_part, 0x22, s.private_len);
    assert_int_equal(pqe__tpm2_state_write(&s, &blob, NULL), PQE_OK);
    for (size_t len = 0; len < blob.len; len++)
        assert_int_equal(pqe__tpm2_state_read(bytes, len, &back, NULL), PQE_E_TAMPERED);
    assert_int_equal(pqe__tpm2_state_read(bytes, blob.len + 1, &back, NULL), PQE_E_TAMPERED);
    bytes[0] = 2;
    assert_int_equal(pqe__tpm2_state_read(bytes, blob.len, &back, NULL), PQE_E_VERSION);
    blob.capacity = blob.len - 1;
    assert_int_equal(pqe__tpm2_state_write(&s, &blob, NULL), PQE_E_LIMIT);
    assert_int_equal(blob.len, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_configurations),
        cmocka_unit_test(refuses_other_configurations),
        cmocka_unit_test(refuses_states_that_make_no_sense),
        cmocka_unit_test(reads_states_exactly),
    };

    return cmocka_run_group_tests_name("tpm2 configuration and state", tests, NULL, NULL);
}
