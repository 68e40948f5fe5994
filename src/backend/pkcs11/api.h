/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PKCS#11 as this backend uses it: version 2.40 from p11-kit's header, and the little of 3.0 and 3.2 that is needed,
 * written down here. Distributions carry headers of 2.40 (p11-kit 0.24), and later ones of p11-kit declare
 * C_DecapsulateKey with the ciphertext's length as a pointer, where the standard and the modules take it by value.
 */
#ifndef PQE_BACKEND_PKCS11_API_H
#define PQE_BACKEND_PKCS11_API_H

#include <p11-kit/pkcs11.h>

/* PKCS#11 3.2, sections 6.67 and 6.68, and its header file. */
#define PQE__CKM_ML_KEM_KEY_PAIR_GEN 0x0fUL
#define PQE__CKM_ML_KEM 0x17UL
#define PQE__CKM_ML_DSA_KEY_PAIR_GEN 0x1cUL
#define PQE__CKM_ML_DSA 0x1dUL
#define PQE__CKK_ML_KEM 0x49UL
#define PQE__CKK_ML_DSA 0x4aUL
#define PQE__CKP_ML_KEM_768 2UL
#define PQE__CKP_ML_DSA_65 2UL
#define PQE__CKP_ML_DSA_87 3UL
#define PQE__CKA_PARAMETER_SET 0x61dUL
#define PQE__CKA_ENCAPSULATE 0x633UL
#define PQE__CKA_DECAPSULATE 0x634UL
#define PQE__CKA_SEED 0x637UL
#define PQE__CKH_HEDGE_REQUIRED 1UL

/** CK_INTERFACE. */
typedef struct pqe__p11_interface {
    unsigned char *name;
    void *functions;
    CK_FLAGS flags;
} pqe__p11_interface;

typedef CK_RV (*pqe__p11_get_interface)(unsigned char *name, CK_VERSION *version, pqe__p11_interface **out,
                                        CK_FLAGS flags);
typedef CK_RV (*pqe__p11_decapsulate)(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key,
                                      CK_ATTRIBUTE *attributes, CK_ULONG count, unsigned char *ciphertext,
                                      CK_ULONG ciphertext_len, CK_OBJECT_HANDLE *secret);

/** CK_FUNCTION_LIST_3_2 as far as C_DecapsulateKey. */
typedef struct pqe__p11_functions_3_2 {
    CK_FUNCTION_LIST two;    /* CK_VERSION and the functions of 2.40 */
    void (*three[24])(void); /* those of 3.0: C_GetInterfaceList to C_MessageVerifyFinal */
    void (*encapsulate)(void);
    pqe__p11_decapsulate decapsulate;
} pqe__p11_functions_3_2;

/** CK_GCM_PARAMS, whose members p11-kit's versions name differently. */
typedef struct pqe__p11_gcm {
    unsigned char *nonce;
    CK_ULONG nonce_len, nonce_bits;
    unsigned char *aad;
    CK_ULONG aad_len, tag_bits;
} pqe__p11_gcm;

/** CK_SIGN_ADDITIONAL_CONTEXT. */
typedef struct pqe__p11_sign_context {
    CK_ULONG hedge;
    unsigned char *context;
    CK_ULONG context_len;
} pqe__p11_sign_context;

/** CK_C_INITIALIZE_ARGS, and one word more that NSS's softoken reads: its parameters stand where others have
 *  pReserved, and its own pReserved follows. */
typedef struct pqe__p11_init_args {
    void (*mutex_functions[4])(void);
    CK_FLAGS flags;
    char *parameters;
    void *reserved;
} pqe__p11_init_args;

#endif
