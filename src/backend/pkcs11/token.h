/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens: finding the one that is meant, opening a session with it, giving it the PIN. */
#ifndef PQE_BACKEND_PKCS11_TOKEN_H
#define PQE_BACKEND_PKCS11_TOKEN_H

#include "backend/pkcs11/module.h"
#include "backend/pkcs11/uri.h"

/** What tells a token from others; as CK_TOKEN_INFO has it, padded with blanks. */
typedef struct pqe__p11_identity {
    uint8_t label[32], manufacturer[32], model[16], serial[16];
} pqe__p11_identity;

typedef struct pqe__p11_token {
    CK_SLOT_ID slot;
    pqe__p11_identity identity;
    CK_FLAGS flags;     /* of CK_TOKEN_INFO */
    bool says_hardware; /* CKF_HW_SLOT */
} pqe__p11_token;

/** An opened backend. */
typedef struct pqe__p11_self {
    pqe__p11_uri uri;
    pqe__p11_module *module;
    pqe_backend_opts ask;
    uint32_t capabilities;
} pqe__p11_self;

/** Counts the tokens that the URI fits, and `wanted` too unless it is NULL; `out` is the last of them. `common` receives
 *  the capabilities that all of them have; NULL: they are not asked for. */
pqe_status pqe__p11_tokens(const pqe__p11_self *self, const pqe__p11_identity *wanted, pqe__p11_token *out,
                           size_t *count, uint32_t *common, pqe_error *err);

/** Opens a session and logs in where the token wants that and this process is not logged in yet; on failure the session
 *  is CK_INVALID_HANDLE. `refused` NULL: at unlock, a person may be asked. Otherwise only with a PIN from a file, and not
 *  where *refused, which becomes true when the token refuses the PIN. */
pqe_status pqe__p11_session_open(const pqe__p11_self *self, const pqe__p11_token *token, bool *refused,
                                 CK_SESSION_HANDLE *session, pqe_error *err);

/** The PIN from a file that only its owner (or root) can read, without one newline at its end, into locked memory.
 *  PQE_E_DENIED. */
pqe_status pqe__p11_read_pin(const char *path, char buf[PQE_PASSPHRASE_MAX], size_t *len, pqe_error *err);

#endif
