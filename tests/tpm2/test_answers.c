/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that a software TPM does not give: poorer chips, full ones, and whoever sits in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* after the headers above */
#include <cmocka.h>

#include "backend/tpm2/counter.h"
#include "backend/tpm2/object.h"

static const uint8_t id[PQE_VAULT_ID_SIZE] = {7, 7, 7};
static TPMS_CAPABILITY_DATA answer; /* to every question */
static bool all_in_use;
static TSS2_RC primary_rc;
static int freed;

static TSS2_RC
get_capability(ESYS_CONTEXT *context, ESYS_TR one, ESYS_TR two, ESYS_TR three, TPM2_CAP capability, UINT32 property,
               UINT32 count, TPMI_YES_NO *more, TPMS_CAPABILITY_DATA **out)
{
    (void)context, (void)one, (void)two, (void)three, (void)capability, (void)count;
    *more = TPM2_NO;
    *out = malloc(sizeof **out);
    assert_non_null(*out);
    **out = answer;
    if (all_in_use) {
        (*out)->data.handles.count = 1;
        (*out)->data.handles.handle[0] = property;
    }
    return TSS2_RC_SUCCESS;
}

static TSS2_RC
create_primary(ESYS_CONTEXT *context, ESYS_TR hierarchy, ESYS_TR one, ESYS_TR two, ESYS_TR three,
               const TPM2B_SENSITIVE_CREATE *sensitive, const TPM2B_PUBLIC *template, const TPM2B_DATA *data,
               const TPML_PCR_SELECTION *pcrs, ESYS_TR *object, TPM2B_PUBLIC **public_area,
               TPM2B_CREATION_DATA **creation, TPM2B_DIGEST **hash, TPMT_TK_CREATION **ticket)
{
    (void)context, (void)hierarchy, (void)one, (void)two, (void)three, (void)sensitive, (void)template, (void)data;
    (void)pcrs, (void)object, (void)public_area, (void)creation, (void)hash, (void)ticket;
    return primary_rc;
}

static void
free_answer(void *p)
{
    freed += p != NULL;
    free(p);
}

static const pqe__tss tss = {
    .Esys_GetCapability = get_capability, .Esys_CreatePrimary = create_primary, .Esys_Free = free_answer};

static void
answers(TPM2_CAP capability)
{
    memset(&answer, 0, sizeof answer);
    answer.capability = capability;
    all_in_use = false;
    freed = 0;
}

static void
takes_no_answer_to_another_question(void **state)
{
    pqe__tpm2_device d = {.t = &tss};
    TPMS_CAPABILITY_DATA *found;

    (void)state;
    answers(TPM2_CAP_ALGS);
    assert_int_equal(pqe__tpm2_capability(&d, TPM2_CAP_HANDLES, 0, 1, &found), TSS2_ESYS_RC_MALFORMED_RESPONSE);
    assert_null(found);
    assert_int_equal(freed, 1);
    answers(TPM2_CAP_HANDLES);
    assert_int_equal(pqe__tpm2_capability(&d, TPM2_CAP_HANDLES, 0, 1, &found), TSS2_RC_SUCCESS);
    free_answer(found);
}

static void
lockout_says(uint32_t failed, uint32_t most, uint32_t interval, const char *text)
{
    pqe__tpm2_device d = {.t = &tss};
    const pqe__tpm2_state s = {.flags = PQE__TPM2_PIN};
    pqe_error err = {0};

    answers(TPM2_CAP_TPM_PROPERTIES);
    answer.data.tpmProperties =
        (TPML_TAGGED_TPM_PROPERTY){.count = 3,
                                   .tpmProperty = {{.property = TPM2_PT_LOCKOUT_COUNTER, .value = failed},
                                                   {.property = TPM2_PT_MAX_AUTH_FAIL, .value = most},
                                                   {.property = TPM2_PT_LOCKOUT_INTERVAL, .value = interval}}};
    assert_int_equal(pqe__tpm2_refused(&d, TPM2_RC_LOCKOUT, &s, "open", &err), PQE_E_DENIED);
    if (strstr(err.message, text) == NULL)
        fail_msg("does not say '%s': %s", text, err.message);
}

static void
tells_how_long_a_lockout_lasts(void **state)
{
    (void)state;
    lockout_says(5, 5, 1000, "wait 1000 seconds");
    lockout_says(6, 5, 1000, "wait 2000 seconds");
    lockout_says(UINT32_MAX, UINT32_MAX, UINT32_MAX, "wait 4294967295 seconds");
    lockout_says(5, 5, 0, "have its lockout reset");
    lockout_says(4, 5, 1000, "have its lockout reset");
    lockout_says(UINT32_MAX, 0, 1, "have its lockout reset");
    lockout_says(UINT32_MAX, 0, UINT32_MAX, "have its lockout reset");
    lockout_says(0x10000, 1, 0x10000, "have its lockout reset");
}

static void
knows_a_poorer_tpm_for_another(void **state)
{
    const pqe__tpm2_state s = {.parent_bits = 256};
    pqe__tpm2_device d = {.t = &tss};
    pqe_error err = {0};
    ESYS_TR parent;

    (void)state;
    primary_rc = TPM2_RC_KEY_SIZE | TPM2_RC_P | TPM2_RC_2;
    assert_int_equal(pqe__tpm2_known_parent(&d, &s, &parent, &err), PQE_E_DENIED);
    assert_non_null(strstr(err.message, "another TPM: this one cannot make its storage key"));
    assert_int_equal(err.native, primary_rc);
    primary_rc = TSS2_RESMGR_TPM_RC_LAYER | TPM2_RC_VALUE | TPM2_RC_P | TPM2_RC_2;
    assert_int_equal(pqe__tpm2_known_parent(&d, &s, &parent, &err), PQE_E_DENIED);
    primary_rc = TPM2_RC_BAD_AUTH | TPM2_RC_S | TPM2_RC_1;
    assert_int_equal(pqe__tpm2_known_parent(&d, &s, &parent, &err), PQE_E_DENIED);
    assert_non_null(strstr(err.message, "owner hierarchy has a password"));
    /* The TPM itself, the way to it, its hierarchies. */
    primary_rc = TPM2_RC_FAILURE;
    assert_int_equal(pqe__tpm2_known_parent(&d, &s, &parent, &err), PQE_E_BACKEND);
    primary_rc = TSS2_TCTI_RC_IO_ERROR;
    assert_int_equal(pqe__tpm2_known_parent(&d, &s, &parent, &err), PQE_E_BACKEND);
    primary_rc = TPM2_RC_HIERARCHY | TPM2_RC_H | TPM2_RC_1;
    assert_int_equal(pqe__tpm2_known_parent(&d, &s, &parent, &err), PQE_E_BACKEND);
}

static void
advises_where_no_place_is_free(void **state)
{
    const uint8_t kek[PQE__KEY_SIZE] = {1};
    pqe__tpm2_state s = {.parent_bits = 256};
    pqe__tpm2_device d = {.t = &tss};
    pqe_error err = {0};

    (void)state;
    answers(TPM2_CAP_HANDLES);
    all_in_use = true;
    assert_int_equal(pqe__tpm2_counter_define(&d, ESYS_TR_NONE, id, kek, &s, &err), PQE_E_BACKEND);
    assert_non_null(strstr(err.message, "no free place"));
    assert_non_null(strstr(err.message, "tpm2_nvundefine, or give the option no-counter"));
    assert_int_equal(s.nv_index, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_no_answer_to_another_question),
        cmocka_unit_test(tells_how_long_a_lockout_lasts),
        cmocka_unit_test(knows_a_poorer_tpm_for_another),
        cmocka_unit_test(advises_where_no_place_is_free),
    };

    return cmocka_run_group_tests_name("tpm2 answers", tests, NULL, NULL);
}
