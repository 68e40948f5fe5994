/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/pairs_module.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "backend/forwarded.h"
#include "crypto/crypto.h"

#define EXPORT __attribute__((visibility("default")))
#define FIRST_HANDLE 0x50000000UL /* SoftHSM counts from 1 */
#define OBJECTS_MAX 64u
#define SESSIONS_MAX 64u
#define TEXT_MAX 64u

typedef struct object {
    bool used, token;
    CK_SLOT_ID slot;
    CK_OBJECT_CLASS class;
    CK_KEY_TYPE type;
    uint8_t label[TEXT_MAX], id[TEXT_MAX];
    size_t label_len, id_len;
    pqe__kem_key *kem;
    pqe__sig_key *sig;
    uint8_t value[PQE_ML_DSA_PUBLIC_MAX]; /* a public key, or a shared secret */
    size_t value_len;
} object;

/* What a session is at. */
typedef struct session_state {
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE found[OBJECTS_MAX];
    CK_ULONG found_count;
    CK_OBJECT_HANDLE signs_with; /* 0: nothing of ours */
    uint8_t context[255];
    size_t context_len;
} session_state;

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST table;
static unsigned flags;
static object objects[OBJECTS_MAX];
static session_state states[SESSIONS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

EXPORT void pairs_set_flags(unsigned f);
EXPORT size_t pairs_objects(void);
EXPORT CK_RV C_GetInterface(unsigned char *name, CK_VERSION *version, pqe__p11_interface **out, CK_FLAGS options);

void
pairs_set_flags(unsigned f)
{
    flags = f;
}

size_t
pairs_objects(void)
{
    size_t count = 0;

    for (size_t i = 0; i < OBJECTS_MAX; i++)
        count += objects[i].used && objects[i].token;
    return count;
}

/* ---- objects ---- */

static object *
object_of(CK_OBJECT_HANDLE handle)
{
    return handle >= FIRST_HANDLE && handle - FIRST_HANDLE < OBJECTS_MAX && objects[handle - FIRST_HANDLE].used
               ? &objects[handle - FIRST_HANDLE]
               : NULL;
}

static CK_OBJECT_HANDLE
object_add(const object *o)
{
    for (size_t i = 0; i < OBJECTS_MAX; i++)
        if (!objects[i].used) {
            objects[i] = *o;
            objects[i].used = true;
            return FIRST_HANDLE + i;
        }
    return 0;
}

static void
object_free(object *o)
{
    pqe__kem_free(&o->kem);
    pqe__sig_free(&o->sig);
    memset(o, 0, sizeof *o);
}

static bool
is_logged_in(CK_SESSION_HANDLE session, CK_SLOT_ID *slot)
{
    CK_SESSION_INFO info;

    if (real->C_GetSessionInfo(session, &info) != CKR_OK || info.state != CKS_RW_USER_FUNCTIONS)
        return false;
    *slot = info.slotID;
    return true;
}

static session_state *
state_of(CK_SESSION_HANDLE session)
{
    session_state *unused = NULL;

    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        if (states[i].session == session)
            return &states[i];
        if (unused == NULL && states[i].session == 0)
            unused = &states[i];
    }
    if (unused != NULL)
        unused->session = session;
    return unused;
}

static const CK_ATTRIBUTE *
find_attribute(const CK_ATTRIBUTE *attributes, CK_ULONG count, CK_ATTRIBUTE_TYPE type)
{
    for (CK_ULONG i = 0; i < count; i++)
        if (attributes[i].type == type)
            return &attributes[i];
    return NULL;
}

static bool
says(const CK_ATTRIBUTE *attributes, CK_ULONG count, CK_ATTRIBUTE_TYPE type, CK_BBOOL wanted)
{
    const CK_ATTRIBUTE *a = find_attribute(attributes, count, type);

    return a != NULL && a->ulValueLen == sizeof wanted && memcmp(a->pValue, &wanted, sizeof wanted) == 0;
}

/* ---- attributes ---- */

typedef struct answer {
    const void *data;
    size_t len;
    CK_RV rv;
} answer;

static answer
answer_of(const object *o, CK_ATTRIBUTE_TYPE type)
{
    static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    const bool is_private = o->class == CKO_PRIVATE_KEY, leaks = (flags & PAIRS_EXTRACTABLE) != 0;
    const CK_ATTRIBUTE_TYPE use = o->type == PQE__CKK_ML_KEM ? PQE__CKA_DECAPSULATE : CKA_SIGN;

    switch (type) {
    case CKA_CLASS:
        return (answer){&o->class, sizeof o->class, CKR_OK};
    case CKA_KEY_TYPE:
        return (answer){&o->type, sizeof o->type, CKR_OK};
    case CKA_LABEL:
        return (answer){o->label, o->label_len, CKR_OK};
    case CKA_ID:
        return (answer){o->id, o->id_len, CKR_OK};
    case CKA_TOKEN:
        return (answer){o->token ? &yes : &no, sizeof yes, CKR_OK};
    case CKA_PRIVATE:
    case CKA_SENSITIVE:
    case CKA_ALWAYS_SENSITIVE:
        return (answer){is_private ? &yes : &no, sizeof yes, CKR_OK};
    case CKA_EXTRACTABLE:
        return (answer){is_private && !leaks ? &no : &yes, sizeof yes, CKR_OK};
    case CKA_NEVER_EXTRACTABLE:
        return (answer){is_private && !leaks ? &yes : &no, sizeof yes, CKR_OK};
    case CKA_VALUE:
        return is_private ? (answer){NULL, 0, CKR_ATTRIBUTE_SENSITIVE} : (answer){o->value, o->value_len, CKR_OK};
    case PQE__CKA_SEED:
        return (flags & PAIRS_SHOWS_SEED) != 0 ? (answer){o->value, PQE__KEM_SEED_SIZE, CKR_OK}
                                               : (answer){NULL, 0, CKR_ATTRIBUTE_SENSITIVE};
    default:
        return is_private && type == use ? (answer){&yes, sizeof yes, CKR_OK}
                                         : (answer){NULL, 0, CKR_ATTRIBUTE_TYPE_INVALID};
    }
}

static CK_RV
get_attribute_value(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE *attributes, CK_ULONG count)
{
    const object *o;
    CK_RV rv = CKR_OK;

    pthread_mutex_lock(&lock);
    o = object_of(handle);
    for (CK_ULONG i = 0; o != NULL && i < count; i++) {
        const answer a = answer_of(o, attributes[i].type);
        CK_RV one = a.rv;
        if (one == CKR_OK && attributes[i].pValue != NULL && attributes[i].ulValueLen < a.len)
            one = CKR_BUFFER_TOO_SMALL;
        if (one == CKR_OK && attributes[i].pValue != NULL)
            memcpy(attributes[i].pValue, a.data, a.len);
        attributes[i].ulValueLen = one == CKR_OK ? a.len : (CK_ULONG)-1;
        rv = one != CKR_OK ? one : rv;
    }
    pthread_mutex_unlock(&lock);
    return o != NULL ? rv : real->C_GetAttributeValue(session, handle, attributes, count);
}

/* ---- finding and destroying ---- */

static bool
matches(const object *o, const CK_ATTRIBUTE *wanted, CK_ULONG count)
{
    for (CK_ULONG i = 0; i < count; i++) {
        const answer a = answer_of(o, wanted[i].type);
        if (a.rv != CKR_OK || a.len != wanted[i].ulValueLen || memcmp(a.data, wanted[i].pValue, a.len) != 0)
            return false;
    }
    return true;
}

static CK_RV
find_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE *wanted, CK_ULONG count)
{
    CK_RV rv = real->C_FindObjectsInit(session, wanted, count);
    session_state *s;
    CK_SLOT_ID slot = 0;
    bool logged_in = is_logged_in(session, &slot); /* private objects are seen by nobody else */

    if (rv != CKR_OK)
        return rv;
    pthread_mutex_lock(&lock);
    s = state_of(session);
    for (size_t i = 0; s != NULL && logged_in && i < OBJECTS_MAX; i++)
        if (objects[i].used && objects[i].slot == slot && matches(&objects[i], wanted, count))
            s->found[s->found_count++] = FIRST_HANDLE + i;
    pthread_mutex_unlock(&lock);
    return rv;
}

static CK_RV
find_objects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *out, CK_ULONG capacity, CK_ULONG *count)
{
    CK_RV rv = real->C_FindObjects(session, out, capacity, count);
    session_state *s;

    pthread_mutex_lock(&lock);
    s = state_of(session);
    while (rv == CKR_OK && s != NULL && s->found_count != 0 && *count < capacity)
        out[(*count)++] = s->found[--s->found_count];
    pthread_mutex_unlock(&lock);
    return rv;
}

static CK_RV
find_final(CK_SESSION_HANDLE session)
{
    session_state *s;

    pthread_mutex_lock(&lock);
    if ((s = state_of(session)) != NULL)
        s->found_count = 0;
    pthread_mutex_unlock(&lock);
    return real->C_FindObjectsFinal(session);
}

static CK_RV
destroy_object(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle)
{
    object *o;

    pthread_mutex_lock(&lock);
    if ((o = object_of(handle)) != NULL)
        object_free(o);
    pthread_mutex_unlock(&lock);
    return o != NULL ? CKR_OK : real->C_DestroyObject(session, handle);
}

static CK_RV
close_session(CK_SESSION_HANDLE session)
{
    session_state *s;

    pthread_mutex_lock(&lock);
    if ((s = state_of(session)) != NULL)
        memset(s, 0, sizeof *s);
    pthread_mutex_unlock(&lock);
    return real->C_CloseSession(session);
}

/* ---- making ---- */

/* The key pair of a kind: public bytes in pub, the key in priv. */
static CK_RV
make_keys(CK_MECHANISM_TYPE mechanism, CK_ULONG parameters, object *pub, object *priv)
{
    uint8_t seed[PQE__KEM_SEED_SIZE];
    pqe_sig_algorithm algorithm = parameters == PQE__CKP_ML_DSA_65 ? PQE_ML_DSA_65 : PQE_ML_DSA_87;
    pqe_status status = pqe__random(seed, sizeof seed, NULL);

    if (mechanism == PQE__CKM_ML_KEM_KEY_PAIR_GEN && parameters == PQE__CKP_ML_KEM_768) {
        priv->type = PQE__CKK_ML_KEM;
        pub->value_len = PQE__KEM_PUBLIC_SIZE;
        if (status == PQE_OK)
            status = pqe__kem_from_seed(seed, &priv->kem, NULL);
        if (status == PQE_OK)
            status = pqe__kem_public(priv->kem, pub->value, NULL);
    } else if (mechanism == PQE__CKM_ML_DSA_KEY_PAIR_GEN &&
               (parameters == PQE__CKP_ML_DSA_65 || parameters == PQE__CKP_ML_DSA_87)) {
        priv->type = PQE__CKK_ML_DSA;
        pub->value_len = pqe_sig_public_size(algorithm);
        if (status == PQE_OK)
            status = pqe__sig_from_seed(algorithm, seed, &priv->sig, NULL);
        if (status == PQE_OK)
            status = pqe__sig_public(priv->sig, pub->value, NULL);
    } else {
        return CKR_ATTRIBUTE_VALUE_INVALID;
    }
    pub->type = priv->type;
    return status == PQE_OK ? CKR_OK : CKR_FUNCTION_FAILED;
}

static bool
take_text(const CK_ATTRIBUTE *attributes, CK_ULONG count, CK_ATTRIBUTE_TYPE type, uint8_t out[TEXT_MAX], size_t *len)
{
    const CK_ATTRIBUTE *a = find_attribute(attributes, count, type);

    if (a == NULL || a->ulValueLen > TEXT_MAX)
        return false;
    memcpy(out, a->pValue, a->ulValueLen);
    *len = a->ulValueLen;
    return true;
}

static CK_RV
trouble(void)
{
    if ((flags & (PAIRS_LOSES_ONCE | PAIRS_LOSES)) != 0) {
        flags &= ~(unsigned)PAIRS_LOSES_ONCE;
        return CKR_DEVICE_REMOVED;
    }
    return (flags & PAIRS_FAILS) != 0 ? CKR_DEVICE_ERROR : CKR_OK;
}

static CK_RV
generate_key_pair(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *pub_template, CK_ULONG pub_count,
                  CK_ATTRIBUTE *priv_template, CK_ULONG priv_count, CK_OBJECT_HANDLE *pub_out,
                  CK_OBJECT_HANDLE *priv_out)
{
    const CK_ATTRIBUTE *parameters = find_attribute(pub_template, pub_count, PQE__CKA_PARAMETER_SET);
    object pub = {.class = CKO_PUBLIC_KEY}, priv = {.class = CKO_PRIVATE_KEY, .token = true};
    CK_ULONG set;
    CK_RV rv = trouble();

    if (rv != CKR_OK)
        return rv;
    if (parameters == NULL || parameters->ulValueLen != sizeof set)
        return CKR_TEMPLATE_INCOMPLETE;
    memcpy(&set, parameters->pValue, sizeof set);
    if (!is_logged_in(session, &priv.slot))
        return CKR_USER_NOT_LOGGED_IN;
    pub.slot = priv.slot;
    if (!says(priv_template, priv_count, CKA_TOKEN, CK_TRUE) ||
        !says(priv_template, priv_count, CKA_SENSITIVE, CK_TRUE) ||
        !says(priv_template, priv_count, CKA_EXTRACTABLE, CK_FALSE) ||
        !says(pub_template, pub_count, CKA_TOKEN, CK_FALSE) ||
        !take_text(priv_template, priv_count, CKA_LABEL, priv.label, &priv.label_len) ||
        !take_text(priv_template, priv_count, CKA_ID, priv.id, &priv.id_len))
        return CKR_TEMPLATE_INCONSISTENT; /* no other kind is made here */
    rv = make_keys(mechanism->mechanism, set, &pub, &priv);
    if ((flags & PAIRS_SHORT_PUBLIC) != 0)
        pub.value_len--;
    pthread_mutex_lock(&lock);
    *pub_out = rv == CKR_OK ? object_add(&pub) : 0;
    *priv_out = *pub_out != 0 ? object_add(&priv) : 0;
    if (rv == CKR_OK && *priv_out == 0)
        rv = CKR_DEVICE_MEMORY;
    if (rv != CKR_OK) {
        if (object_of(*pub_out) != NULL)
            object_free(object_of(*pub_out));
        object_free(&priv);
    }
    pthread_mutex_unlock(&lock);
    return rv;
}

/* ---- using ---- */

static CK_RV
decapsulate(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key, CK_ATTRIBUTE *attributes,
            CK_ULONG count, unsigned char *ciphertext, CK_ULONG len, CK_OBJECT_HANDLE *secret)
{
    object made = {.class = CKO_SECRET_KEY, .type = CKK_GENERIC_SECRET, .value_len = PQE__KEM_SHARED_SIZE};
    const object *o;
    CK_RV rv = trouble();

    if (rv != CKR_OK)
        return rv;
    if (!is_logged_in(session, &made.slot))
        return CKR_USER_NOT_LOGGED_IN;
    if (!says(attributes, count, CKA_TOKEN, CK_FALSE) || !says(attributes, count, CKA_EXTRACTABLE, CK_TRUE))
        return CKR_TEMPLATE_INCONSISTENT;
    pthread_mutex_lock(&lock);
    o = object_of(key);
    if (o == NULL || o->kem == NULL || mechanism->mechanism != PQE__CKM_ML_KEM)
        rv = CKR_KEY_HANDLE_INVALID;
    else if (pqe__kem_decapsulate(o->kem, ciphertext, len, made.value, NULL) != PQE_OK)
        rv = CKR_ENCRYPTED_DATA_INVALID;
    else if ((*secret = object_add(&made)) == 0)
        rv = CKR_DEVICE_MEMORY;
    pthread_mutex_unlock(&lock);
    return rv;
}

static CK_RV
sign_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    const pqe__p11_sign_context *context = mechanism->pParameter;
    session_state *s;
    const object *o;
    CK_SLOT_ID slot;
    CK_RV rv = trouble();

    if (mechanism->mechanism != PQE__CKM_ML_DSA)
        return real->C_SignInit(session, mechanism, key);
    if (rv != CKR_OK)
        return rv;
    if (!is_logged_in(session, &slot))
        return CKR_USER_NOT_LOGGED_IN;
    if (mechanism->ulParameterLen != sizeof *context || context->hedge != PQE__CKH_HEDGE_REQUIRED ||
        context->context_len > sizeof s->context)
        return CKR_MECHANISM_PARAM_INVALID;
    pthread_mutex_lock(&lock);
    s = state_of(session);
    o = object_of(key);
    if (s == NULL || o == NULL || o->sig == NULL) {
        rv = CKR_KEY_HANDLE_INVALID;
    } else {
        s->signs_with = key;
        s->context_len = context->context_len;
        if (s->context_len != 0)
            memcpy(s->context, context->context, s->context_len);
    }
    pthread_mutex_unlock(&lock);
    return rv;
}

static CK_RV
sign(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG len, unsigned char *signature, CK_ULONG *signature_len)
{
    session_state *s;
    const object *o = NULL;
    CK_RV rv = CKR_OK;
    size_t size;

    pthread_mutex_lock(&lock);
    s = state_of(session);
    if (s != NULL && (o = object_of(s->signs_with)) != NULL) {
        size = pqe_sig_signature_size(pqe__sig_algorithm(o->sig));
        if (*signature_len < size)
            rv = CKR_BUFFER_TOO_SMALL;
        else if (pqe__sig_sign(o->sig, NULL, data, len, s->context, s->context_len, signature, NULL) != PQE_OK)
            rv = CKR_FUNCTION_FAILED;
        *signature_len = size;
        s->signs_with = 0;
    }
    pthread_mutex_unlock(&lock);
    return o != NULL ? rv : real->C_Sign(session, data, len, signature, signature_len);
}

static CK_RV
get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
    switch (type) {
    case PQE__CKM_ML_KEM_KEY_PAIR_GEN:
    case PQE__CKM_ML_KEM:
    case PQE__CKM_ML_DSA_KEY_PAIR_GEN:
    case PQE__CKM_ML_DSA:
        *info = (CK_MECHANISM_INFO){.ulMinKeySize = 0};
        return CKR_OK;
    default:
        return real->C_GetMechanismInfo(slot, type, info);
    }
}

/* ---- the module ---- */

CK_RV
C_GetInterface(unsigned char *name, CK_VERSION *version, pqe__p11_interface **out, CK_FLAGS options)
{
    static pqe__p11_functions_3_2 list;
    static unsigned char own_name[] = "PKCS 11";
    static pqe__p11_interface interface = {own_name, &list, 0};
    CK_FUNCTION_LIST *two;

    (void)options;
    if (strcmp((const char *)name, "PKCS 11") != 0 || version->major != 3 || C_GetFunctionList(&two) != CKR_OK)
        return CKR_FUNCTION_FAILED;
    list.two = *two;
    list.two.version = (CK_VERSION){3, 2};
    list.decapsulate = decapsulate;
    *out = &interface;
    return CKR_OK;
}

EXPORT CK_RV
C_GetFunctionList(CK_FUNCTION_LIST **list)
{
    if (real == NULL) {
        if (!forwarded_load(&real))
            return CKR_GENERAL_ERROR;
        table = *real;
        table.C_GetFunctionList = C_GetFunctionList;
        table.C_GetMechanismInfo = get_mechanism_info;
        table.C_GetAttributeValue = get_attribute_value;
        table.C_FindObjectsInit = find_init;
        table.C_FindObjects = find_objects;
        table.C_FindObjectsFinal = find_final;
        table.C_DestroyObject = destroy_object;
        table.C_CloseSession = close_session;
        table.C_GenerateKeyPair = generate_key_pair;
        table.C_SignInit = sign_init;
        table.C_Sign = sign;
    }
    *list = &table;
    return CKR_OK;
}
