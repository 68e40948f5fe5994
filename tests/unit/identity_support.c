/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of identities share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "unit/identity_support.h"

int
identity_set_up(void **state)
{
    identity_bench *b = calloc(1, sizeof *b);

    assert_non_null(b);
    b->scratch = scratch_make();
    b->dir = strdup(scratch_path(b->scratch, "vault"));
    b->backend = backend_keyfile(b->scratch);
    b->vault = vault_create(b->dir, b->backend);
    put_ok(b->vault, "model", "weights", 7);
    *state = b;
    return 0;
}

int
identity_tear_down(void **state)
{
    identity_bench *b = *state;

    pqe_vault_close(&b->vault);
    pqe_backend_close(&b->backend);
    scratch_remove(b->scratch);
    free(b->dir);
    free(b);
    return 0;
}

void
identity_reopen(identity_bench *b)
{
    pqe_vault_close(&b->vault);
    b->vault = vault_open(b->dir, b->backend);
}

pqe_identity
identity_create(pqe_vault *vault, const char *name, pqe_sig_algorithm algorithm)
{
    pqe_identity_opts o = {.size = sizeof o, .name = name, .algorithm = algorithm};
    pqe_identity i;

    assert_pqe_ok(pqe_identity_create(vault, &o, &i, err));
    return i;
}

void
identity_found(pqe_vault *vault, const char *did_or_name, const pqe_identity *expected, bool is_default)
{
    pqe_identity i;

    assert_pqe_ok(pqe_identity_get(vault, did_or_name, &i, err));
    assert_string_equal(i.did, expected->did);
    assert_string_equal(i.name, expected->name);
    assert_string_equal(i.created_at, expected->created_at);
    assert_int_equal(i.algorithm, expected->algorithm);
    assert_int_equal(i.public_key_len, pqe_sig_public_size(i.algorithm));
    assert_memory_equal(i.public_key, expected->public_key, i.public_key_len);
    assert_int_equal(i.is_default, is_default);
}

pqe_status
identity_status(pqe_vault *vault, const char *did_or_name)
{
    pqe_identity i;
    pqe_status status = pqe_identity_get(vault, did_or_name, &i, NULL);

    if (status != PQE_OK)
        assert_int_equal(i.did[0], 0);
    return status;
}

void
identity_attests(pqe_vault *vault, const pqe_identity *signer)
{
    pqe_attest_opts o = {.size = sizeof o, .identity = signer->did};
    pqe_attest_verify_opts v = {.size = sizeof v};
    pqe_attestation *a = NULL;
    pqe_trust *trust = NULL;

    assert_pqe_ok(pqe_trust_new(&trust, err));
    assert_pqe_ok(pqe_trust_add_did(trust, signer->did, err));
    v.trust = trust;
    assert_pqe_ok(pqe_attest(vault, "model", &o, &a, err));
    assert_pqe_ok(pqe_attestation_verify(a, &v, NULL, err));
    pqe_attestation_free(&a);
    pqe_trust_free(&trust);
}

static bool
note_name(void *user, const pqe_identity *i)
{
    char *names = user;

    strcat(names, i->name);
    strcat(names, i->is_default ? "* " : " ");
    return true;
}

pqe_status
identity_names(pqe_vault *vault, char names[IDENTITY_NAMES])
{
    names[0] = '\0';
    return pqe_identity_list(vault, note_name, names, NULL);
}

void
identities_listed(pqe_vault *vault, const char *expected)
{
    char names[IDENTITY_NAMES];

    assert_int_equal(identity_names(vault, names), PQE_OK);
    assert_string_equal(names, expected);
}

void
identity_sound(pqe_vault *vault)
{
    assert_pqe_ok(pqe_verify(vault, NULL, NULL, NULL, NULL, err));
}
