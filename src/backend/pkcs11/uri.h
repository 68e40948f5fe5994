/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration of the PKCS#11 backend: a URI of RFC 7512, without its scheme.
 *
 * libp11-kit parses and matches it. It is loaded at the first use, so that programs that use no token do not start it.
 * Before it sees the URI, attributes of the query that stand in the path (`module-path=...;token=...`) are moved where
 * RFC 7512 has them, and unknown or repeated ones are refused: libp11-kit would pass over a mistyped one.
 *
 *   token serial manufacturer model slot-id slot-manufacturer slot-description library-...   which token
 *   module-path  the module's file         module-name  "softhsm2" for libsofthsm2.so; neither: p11-kit's own choice
 *   pin-source   file with the PIN; pin-value is refused, for arguments of programs are no secret
 *   init-args    parameters for C_Initialize, for NSS's softoken                              (ours)
 *   tier         kek or native: refuse, or insist on, keys that are used in the token          (ours)
 *   last-try     yes: spend the last try before the token locks the PIN                         (ours)
 */
#ifndef PQE_BACKEND_PKCS11_URI_H
#define PQE_BACKEND_PKCS11_URI_H

#include <pqc_enclave/backend.h>

#include "backend/pkcs11/api.h"

typedef enum pqe__p11_tier { PQE__P11_TIER_ANY, PQE__P11_TIER_KEK, PQE__P11_TIER_NATIVE } pqe__p11_tier;

typedef struct pqe__p11_uri {
    void *parsed; /* libp11-kit's */
    char *module_path;
    const char *init_args, *pin_file; /* NULL: none; they belong to `parsed` */
    pqe__p11_tier tier;
    bool last_try;
} pqe__p11_uri;

/** PQE_E_ARGUMENT for what is no such URI, PQE_E_UNAVAILABLE without libp11-kit. */
pqe_status pqe__p11_uri_parse(const char *config, pqe__p11_uri *out, pqe_error *err);
void pqe__p11_uri_free(pqe__p11_uri *uri);
/** True if module, slot and token are as the URI has them. */
bool pqe__p11_uri_matches(const pqe__p11_uri *uri, const CK_INFO *module, CK_SLOT_ID slot,
                          const CK_SLOT_INFO *slot_info, const CK_TOKEN_INFO *token);

#endif
