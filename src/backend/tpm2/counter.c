/* SPDX-License-Identifier: Apache-2.0 */
/* The counter and its note in the TPM's NV memory. */
#include "backend/tpm2/counter.h"

#include <string.h>

#include "backend/softkey.h"
#include "util/cursor.h"
#include "util/secmem.h"

#define NO_SESSIONS ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE
#define PASSWORD ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE
#define ONE_SESSION(s) (s), ESYS_TR_NONE, ESYS_TR_NONE

/* TCG Registry of Reserved TPM 2.0 Handles and Localities: 0x01800000 to 0x01BFFFFF are the owner's. */
#define FIRST_INDEX 0x01800000u
#define INDEX_BITS 0x003ffffeu /* even: the note has the next */
#define PLACES 8u

#define MARK_LABEL "pqc-enclave tpm2 backend v1 counter mark"
#define AUTH_LABEL "pqc-enclave tpm2 backend v1 counter auth"

#define COUNTER_SIZE 8u
#define NOTE_SIZE (1u + PQE_COUNTER_NOTE_MAX) /* its length, then the note, then zeros */

typedef enum { COUNTER, NOTE } kind;

bool
pqe__tpm2_counter_place_ok(uint32_t nv_index)
{
    return (nv_index & ~INDEX_BITS) == FIRST_INDEX;
}

static pqe_status
mark_of(const uint8_t vault_id[PQE_VAULT_ID_SIZE], uint8_t mark[PQE__SHA256_SIZE], pqe_error *err)
{
    uint8_t text[sizeof MARK_LABEL - 1 + PQE_VAULT_ID_SIZE];
    pqe__wcur c = pqe__wcur_init(text, sizeof text);

    pqe__put_bytes(&c, MARK_LABEL, sizeof MARK_LABEL - 1);
    pqe__put_bytes(&c, vault_id, PQE_VAULT_ID_SIZE);
    return pqe__hash_once(PQE__SHA256, text, sizeof text, mark, err);
}

/* The `i`th place where a vault of this mark may have its counter. */
static uint32_t
place(const uint8_t mark[PQE__SHA256_SIZE], uint32_t i)
{
    pqe__rcur c = pqe__rcur_init(mark, sizeof(uint32_t));

    return FIRST_INDEX | ((pqe__get_u32(&c) + 2 * i) & INDEX_BITS);
}

static TPM2B_NV_PUBLIC
public_area(uint32_t nv_index, kind k, const uint8_t mark[PQE__SHA256_SIZE])
{
    TPM2B_NV_PUBLIC p = {.nvPublic = {.nvIndex = nv_index,
                                      .nameAlg = TPM2_ALG_SHA256,
                                      .attributes = TPMA_NV_AUTHREAD | TPMA_NV_AUTHWRITE | TPMA_NV_NO_DA,
                                      .authPolicy.size = PQE__SHA256_SIZE,
                                      .dataSize = k == COUNTER ? COUNTER_SIZE : NOTE_SIZE}};

    if (k == COUNTER)
        p.nvPublic.attributes |= (TPMA_NV)TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT;
    memcpy(p.nvPublic.authPolicy.buffer, mark, PQE__SHA256_SIZE);
    return p;
}

/* TPM 2.0 Library, part 1, "Names": the hash of the public area as the TPM marshals it, with its algorithm. */
static pqe_status
name_of(const TPMS_NV_PUBLIC *p, TPMA_NV more, uint8_t name[PQE__TPM2_NAME_SIZE], pqe_error *err)
{
    uint8_t bytes[64];
    pqe__wcur c = pqe__wcur_init(bytes, sizeof bytes);
    pqe__wcur n = pqe__wcur_init(name, PQE__TPM2_NAME_SIZE);

    pqe__put_u32(&c, p->nvIndex);
    pqe__put_u16(&c, p->nameAlg);
    pqe__put_u32(&c, p->attributes | more);
    pqe__put_u16(&c, p->authPolicy.size);
    pqe__put_bytes(&c, p->authPolicy.buffer, p->authPolicy.size);
    pqe__put_u16(&c, p->dataSize);
    pqe__put_u16(&n, TPM2_ALG_SHA256);
    return pqe__hash_once(PQE__SHA256, bytes, c.pos, name + n.pos, err);
}

static pqe_status
has_name(pqe__tpm2_device *d, ESYS_TR nv, const uint8_t expected[PQE__TPM2_NAME_SIZE], bool *same, pqe_error *err)
{
    TPM2B_NAME *name = NULL;
    TSS2_RC rc = d->t->Esys_TR_GetName(d->esys, nv, &name);

    *same = rc == TSS2_RC_SUCCESS && name->size == PQE__TPM2_NAME_SIZE &&
            memcmp(name->name, expected, PQE__TPM2_NAME_SIZE) == 0;
    d->t->Esys_Free(name);
    return rc == TSS2_RC_SUCCESS ? PQE_OK : pqe__tpm2_fail(d, rc, "name an NV index", err);
}

/* ---- finding ---- */

static pqe_status
gone(pqe_error *err, TSS2_RC rc, const char *how)
{
    return pqe__fail(err, PQE_E_ROLLBACK, PQE_ORIGIN_DEVICE, (int64_t)rc, "the vault's counter %s", how);
}

/* Ours, once written, and nothing else: an ordinary index in a counter's place could be set back. */
static pqe_status
find(pqe__tpm2_device *d, const uint8_t vault_id[PQE_VAULT_ID_SIZE], uint32_t base, kind k, const TPM2B_AUTH *auth,
     ESYS_TR *nv, pqe_error *err)
{
    uint8_t mark[PQE__SHA256_SIZE], expected[PQE__TPM2_NAME_SIZE];
    TPM2B_NV_PUBLIC p;
    TSS2_RC rc;
    bool same = false;
    pqe_status status = mark_of(vault_id, mark, err);

    p = public_area(base + (uint32_t)k, k, mark);
    if (status == PQE_OK)
        status = name_of(&p.nvPublic, TPMA_NV_WRITTEN, expected, err);
    if (status != PQE_OK)
        return status;
    rc = d->t->Esys_TR_FromTPMPublic(d->esys, p.nvPublic.nvIndex, NO_SESSIONS, nv);
    if (pqe__tpm2_rc(rc) == TPM2_RC_HANDLE)
        return gone(err, rc, "is gone from the TPM");
    if (rc != TSS2_RC_SUCCESS)
        return pqe__tpm2_fail(d, rc, "find the vault's counter", err);
    status = has_name(d, *nv, expected, &same, err);
    if (status == PQE_OK && !same)
        status = gone(err, 0, "was replaced in the TPM by something else");
    if (status == PQE_OK && (rc = d->t->Esys_TR_SetAuth(d->esys, *nv, auth)) != TSS2_RC_SUCCESS)
        status = pqe__tpm2_fail(d, rc, "take an authorization value", err);
    return status;
}

static pqe_status
derive_auth(const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t kek[PQE__KEY_SIZE], TPM2B_AUTH *auth,
            pqe_error *err)
{
    auth->size = PQE__KEY_SIZE;
    return pqe__softkey_derive(kek, vault_id, AUTH_LABEL, auth->buffer, err);
}

/* The error of a command on an index that is where it should be. */
static pqe_status
refused(pqe__tpm2_device *d, TSS2_RC rc, const char *what, pqe_error *err)
{
    TPM2_RC code = pqe__tpm2_rc(rc);

    if (code == TPM2_RC_BAD_AUTH || code == TPM2_RC_AUTH_FAIL || code == TPM2_RC_NV_UNINITIALIZED) {
        d->last = rc;
        return gone(err, rc, "was replaced in the TPM by another");
    }
    return pqe__tpm2_fail(d, rc, what, err);
}

/* An authorization value of 256 random bits needs no salt: whoever sees the messages can forge none. */
static pqe_status
plain_session(pqe__tpm2_device *d, ESYS_TR *session, pqe_error *err)
{
    return pqe__tpm2_session(d, ESYS_TR_NONE, 0, 0, session, err);
}

/* ---- making and removing ---- */

static bool
is_free(pqe__tpm2_device *d, uint32_t nv_index)
{
    TPMS_CAPABILITY_DATA *found;
    bool there;

    if (pqe__tpm2_capability(d, TPM2_CAP_HANDLES, nv_index, 1, &found) != TSS2_RC_SUCCESS)
        return false;
    there = found->data.handles.count > 0 && found->data.handles.handle[0] == nv_index;
    d->t->Esys_Free(found);
    return !there;
}

static pqe_status
choose_place(pqe__tpm2_device *d, const uint8_t mark[PQE__SHA256_SIZE], uint32_t *nv_index, pqe_error *err)
{
    for (uint32_t i = 0; i < PLACES; i++) {
        *nv_index = place(mark, i);
        if (is_free(d, *nv_index) && is_free(d, *nv_index + 1))
            return PQE_OK;
    }
    *nv_index = 0;
    return pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_DEVICE, 0,
                     "the TPM has no free place for the vault's counter: moves without --discard-old leave counters "
                     "behind; free one with tpm2_nvundefine, or give the option no-counter");
}

static pqe_status
define(pqe__tpm2_device *d, ESYS_TR session, const TPM2B_NV_PUBLIC *p, const TPM2B_AUTH *auth, ESYS_TR *nv,
       pqe_error *err)
{
    TSS2_RC rc = d->t->Esys_NV_DefineSpace(d->esys, ESYS_TR_RH_OWNER, ONE_SESSION(session), auth, p, nv);

    if (rc == TSS2_RC_SUCCESS)
        return PQE_OK;
    if (pqe__tpm2_rc(rc) != TPM2_RC_NV_SPACE)
        return pqe__tpm2_fail(d, rc, "make the vault's counter", err);
    d->last = rc;
    return pqe__fail(err, PQE_E_BACKEND, PQE_ORIGIN_DEVICE, (int64_t)rc,
                     "the TPM has no room for a counter; remove one that nobody needs, or give the option no-counter");
}

static void
undefine(pqe__tpm2_device *d, ESYS_TR nv)
{
    if (d->t->Esys_NV_UndefineSpace(d->esys, ESYS_TR_RH_OWNER, nv, PASSWORD) != TSS2_RC_SUCCESS)
        d->t->Esys_TR_Close(d->esys, &nv);
}

static TSS2_RC
write_note(pqe__tpm2_device *d, ESYS_TR nv, ESYS_TR session, const uint8_t *note, size_t len)
{
    TPM2B_MAX_NV_BUFFER data = {.size = NOTE_SIZE};

    data.buffer[0] = (BYTE)len;
    if (len > 0)
        memcpy(data.buffer + 1, note, len);
    return d->t->Esys_NV_Write(d->esys, nv, nv, ONE_SESSION(session), &data, 0);
}

/* A note is optional, where the TPM is nearly full for example. */
static pqe_status
define_note(pqe__tpm2_device *d, ESYS_TR session, ESYS_TR plain, const uint8_t mark[PQE__SHA256_SIZE],
            const TPM2B_AUTH *auth, pqe__tpm2_state *state, bool required, pqe_error *err)
{
    TPM2B_NV_PUBLIC p = public_area(state->nv_index + NOTE, NOTE, mark);
    ESYS_TR nv;
    TSS2_RC rc;
    pqe_status status = define(d, session, &p, auth, &nv, err);

    if (status != PQE_OK)
        return pqe__tpm2_rc(d->last) == TPM2_RC_NV_SPACE && !required ? PQE_OK : status;
    rc = write_note(d, nv, plain, NULL, 0);
    if (rc != TSS2_RC_SUCCESS) {
        status = pqe__tpm2_fail(d, rc, "write the note of the vault's counter", err);
        undefine(d, nv);
        return status;
    }
    state->flags |= PQE__TPM2_NOTE;
    return PQE_OK;
}

pqe_status
pqe__tpm2_counter_define(pqe__tpm2_device *d, ESYS_TR parent, const uint8_t vault_id[PQE_VAULT_ID_SIZE],
                         const uint8_t kek[PQE__KEY_SIZE], pqe__tpm2_state *state, pqe_error *err)
{
    bool again = state->nv_index != 0, with_note = !again || (state->flags & PQE__TPM2_NOTE) != 0;
    uint8_t mark[PQE__SHA256_SIZE];
    TPM2B_NV_PUBLIC p;
    TPM2B_AUTH auth = {0};
    ESYS_TR session = ESYS_TR_NONE, plain, nv;
    TSS2_RC rc;
    pqe_status status = mark_of(vault_id, mark, err);

    if (status == PQE_OK)
        status = derive_auth(vault_id, kek, &auth, err);
    if (status == PQE_OK && !again)
        status = choose_place(d, mark, &state->nv_index, err);
    if (status == PQE_OK)
        status = pqe__tpm2_session(d, parent, state->parent_bits, TPMA_SESSION_DECRYPT, &session, err);
    if (status == PQE_OK)
        status = plain_session(d, &plain, err);
    if (status != PQE_OK)
        goto cleanup;
    p = public_area(state->nv_index, COUNTER, mark);
    status = define(d, session, &p, &auth, &nv, err);
    if (status != PQE_OK)
        goto cleanup;
    state->flags |= PQE__TPM2_COUNTER;
    rc = d->t->Esys_NV_Increment(d->esys, nv, nv, ONE_SESSION(plain)); /* it cannot be read before */
    if (rc != TSS2_RC_SUCCESS)
        status = pqe__tpm2_fail(d, rc, "advance the vault's counter", err);
    if (status == PQE_OK && with_note)
        status = define_note(d, session, plain, mark, &auth, state, again, err);
    if (status != PQE_OK)
        undefine(d, nv);
    pqe__tpm2_flush(d, plain);
    pqe__tpm2_flush(d, session);

cleanup:
    pqe__wipe(&auth, sizeof auth);
    if (status != PQE_OK && !again) {
        state->flags &= (uint8_t) ~(PQE__TPM2_COUNTER | PQE__TPM2_NOTE);
        state->nv_index = 0;
    }
    return status;
}

static void
remove_one(pqe__tpm2_device *d, uint32_t base, kind k, const uint8_t mark[PQE__SHA256_SIZE])
{
    TPM2B_NV_PUBLIC p = public_area(base + (uint32_t)k, k, mark);
    uint8_t written[PQE__TPM2_NAME_SIZE], unwritten[PQE__TPM2_NAME_SIZE];
    bool ours = false, fresh = false;
    ESYS_TR nv;

    if (is_free(d, p.nvPublic.nvIndex) ||
        d->t->Esys_TR_FromTPMPublic(d->esys, p.nvPublic.nvIndex, NO_SESSIONS, &nv) != TSS2_RC_SUCCESS)
        return;
    if (name_of(&p.nvPublic, TPMA_NV_WRITTEN, written, NULL) == PQE_OK &&
        name_of(&p.nvPublic, 0, unwritten, NULL) == PQE_OK && has_name(d, nv, written, &ours, NULL) == PQE_OK &&
        has_name(d, nv, unwritten, &fresh, NULL) == PQE_OK && (ours || fresh))
        undefine(d, nv);
    else
        d->t->Esys_TR_Close(d->esys, &nv);
}

void
pqe__tpm2_counter_remove(pqe__tpm2_device *d, const uint8_t vault_id[PQE_VAULT_ID_SIZE], uint32_t nv_index)
{
    uint8_t mark[PQE__SHA256_SIZE];

    if (mark_of(vault_id, mark, NULL) != PQE_OK)
        return;
    for (uint32_t i = 0; i < (nv_index != 0 ? 1 : PLACES); i++) {
        uint32_t base = nv_index != 0 ? nv_index : place(mark, i);
        remove_one(d, base, COUNTER, mark);
        remove_one(d, base, NOTE, mark);
    }
}

/* ---- using ---- */

pqe_status
pqe__tpm2_counter_open(pqe__tpm2_device *d, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t kek[PQE__KEY_SIZE],
                       const pqe__tpm2_state *state, ESYS_TR *nv, ESYS_TR *session, pqe_error *err)
{
    TPM2B_AUTH auth;
    pqe_status status = derive_auth(vault_id, kek, &auth, err);

    if (status == PQE_OK)
        status = find(d, vault_id, state->nv_index, COUNTER, &auth, nv, err);
    pqe__wipe(&auth, sizeof auth);
    if (status == PQE_OK)
        status = plain_session(d, session, err);
    return status;
}

static pqe_status
read_value(pqe__tpm2_device *d, ESYS_TR nv, ESYS_TR session, uint64_t *value, pqe_error *err)
{
    TPM2B_MAX_NV_BUFFER *data = NULL;
    TSS2_RC rc = d->t->Esys_NV_Read(d->esys, nv, nv, ONE_SESSION(session), COUNTER_SIZE, 0, &data);
    pqe__rcur c;

    if (rc != TSS2_RC_SUCCESS)
        return refused(d, rc, "read the vault's counter", err);
    c = pqe__rcur_init(data->buffer, data->size <= sizeof data->buffer ? data->size : 0);
    *value = pqe__get_u64(&c);
    d->t->Esys_Free(data);
    return pqe__rcur_done(&c) ? PQE_OK : pqe__tpm2_fail(d, rc, "read the vault's counter", err);
}

static pqe_status
read_note(pqe__tpm2_device *d, ESYS_TR nv, ESYS_TR session, pqe_blob *note, pqe_error *err)
{
    TPM2B_MAX_NV_BUFFER *data = NULL;
    TSS2_RC rc = d->t->Esys_NV_Read(d->esys, nv, nv, ONE_SESSION(session), NOTE_SIZE, 0, &data);
    pqe_status status = PQE_OK;

    if (rc != TSS2_RC_SUCCESS)
        return refused(d, rc, "read the note of the vault's counter", err);
    if (data->size != NOTE_SIZE || data->buffer[0] > PQE_COUNTER_NOTE_MAX)
        status = gone(err, 0, "has a note in the TPM that this library did not write");
    else if (data->buffer[0] > note->capacity)
        status = pqe__fail(err, PQE_E_LIMIT, PQE_ORIGIN_BACKEND, 0, "the buffer is too small for the counter's note");
    if (status == PQE_OK) {
        note->len = data->buffer[0];
        if (note->len > 0)
            memcpy(note->data, data->buffer + 1, note->len);
    }
    d->t->Esys_Free(data);
    return status;
}

static pqe_status
find_note(pqe__tpm2_device *d, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t kek[PQE__KEY_SIZE],
          const pqe__tpm2_state *state, ESYS_TR *nv, pqe_error *err)
{
    TPM2B_AUTH auth;
    pqe_status status = derive_auth(vault_id, kek, &auth, err);

    if (status == PQE_OK)
        status = find(d, vault_id, state->nv_index, NOTE, &auth, nv, err);
    pqe__wipe(&auth, sizeof auth);
    return status;
}

pqe_status
pqe__tpm2_counter_read(pqe__tpm2_device *d, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t kek[PQE__KEY_SIZE],
                       const pqe__tpm2_state *state, uint64_t *value, pqe_blob *note, pqe_error *err)
{
    ESYS_TR nv, note_nv, session;
    pqe_status status = pqe__tpm2_counter_open(d, vault_id, kek, state, &nv, &session, err);

    if (status == PQE_OK)
        status = read_value(d, nv, session, value, err);
    if (status != PQE_OK || note == NULL || (state->flags & PQE__TPM2_NOTE) == 0)
        return status;
    status = find_note(d, vault_id, kek, state, &note_nv, err);
    return status == PQE_OK ? read_note(d, note_nv, session, note, err) : status;
}

pqe_status
pqe__tpm2_counter_advance(pqe__tpm2_device *d, const uint8_t vault_id[PQE_VAULT_ID_SIZE],
                          const uint8_t kek[PQE__KEY_SIZE], const pqe__tpm2_state *state, uint64_t value,
                          const uint8_t *note, size_t note_len, pqe_error *err)
{
    uint64_t present = 0;
    ESYS_TR nv, note_nv, session;
    TSS2_RC rc;
    pqe_status status = pqe__tpm2_counter_open(d, vault_id, kek, state, &nv, &session, err);

    if (status == PQE_OK)
        status = read_value(d, nv, session, &present, err);
    if (status == PQE_OK && value != present && value - 1 != present)
        status = pqe__fail(err, PQE_E_ROLLBACK, PQE_ORIGIN_DEVICE, 0,
                           "the vault's counter is not where this change would move it from");
    if (status == PQE_OK && (state->flags & PQE__TPM2_NOTE) != 0) {
        status = find_note(d, vault_id, kek, state, &note_nv, err);
        if (status == PQE_OK && (rc = write_note(d, note_nv, session, note, note_len)) != TSS2_RC_SUCCESS)
            status = refused(d, rc, "write the note of the vault's counter", err);
    }
    if (status != PQE_OK || value == present)
        return status;
    rc = d->t->Esys_NV_Increment(d->esys, nv, nv, ONE_SESSION(session));
    return rc == TSS2_RC_SUCCESS ? PQE_OK : refused(d, rc, "advance the vault's counter", err);
}
