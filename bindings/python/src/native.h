/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The extension module pqc_enclave_sdk._native: libpqcenclave as Python objects, on the stable ABI of CPython 3.11. It is
 * thin: what can be written in Python is (../pqc_enclave_sdk).
 *
 * The interpreter's lock (GIL) and the library's. Every call that may take a lock of a vault or backend is made without
 * the GIL, between pqepy_enter() and pqepy_leave(): a callback of the library (passphrase, backend written in Python,
 * listing) takes the GIL while the library holds its locks, so nobody may wait for those locks with the GIL held. All
 * fields of our objects are read and written with the GIL held.
 */
#ifndef PQEPY_NATIVE_H
#define PQEPY_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <pqc_enclave.h>
#include <pqc_enclave/attest.h>
#include <pqc_enclave/backend.h>

#define PQEPY_WRITE_SLICE ((size_t)16 << 20) /* bytes between looks at signals and progress reports: some 50 ms */
#define PQEPY_READ_SLICE ((size_t)32 << 20)

/** What holds the device key. `python` is the object behind a backend written in Python, `passphrase` a callable. */
typedef struct pqepy_backend {
    PyObject head;
    pqe_backend *backend;
    PyObject *python, *passphrase;
    PyObject *before; /* a list of Backends: those that its vaults had before they moved here; or NULL */
    size_t vaults;    /* open ones */
    bool closing;     /* to be closed when the last of them is */
    pqe_backend_ops ops;
    char name[32], *texts;
} pqepy_backend;

typedef struct pqepy_vault {
    PyObject head;
    pqe_vault *vault; /* NULL: closed */
    pqepy_backend *backend;
    size_t users; /* calls in progress, also of readers and writers */
    bool closing; /* to be closed when the last of them is over */
    /* Who the library thinks is calling. Guarded by a lock that is taken without the GIL, and never for long. */
    pthread_mutex_t caller_lock;
    pthread_cond_t caller_free;
    size_t calls, waiting;
    char caller[PQE_FIELD_MAX + 1];
} pqepy_vault;

extern PyTypeObject *pqepy_backend_type, *pqepy_vault_type, *pqepy_reader_type, *pqepy_writer_type, *pqepy_content_type,
    *pqepy_signing_key_type;
/** Each makes its type; false with an exception set. */
bool pqepy_backend_init(PyObject *module);
bool pqepy_vault_init(PyObject *module);
bool pqepy_reader_init(PyObject *module);
bool pqepy_writer_init(PyObject *module);
bool pqepy_content_init(PyObject *module);
bool pqepy_sign_init(PyObject *module);
bool pqepy_attest_init(PyObject *module);
bool pqepy_kem_init(PyObject *module);
bool pqepy_recovery_init(PyObject *module);
bool pqepy_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **out);
/** Frees an object of one of our types after its own part was released. */
void pqepy_free(PyObject *self);

/* ---- call.c: into the library and back ---- */

/** One call into the library by one thread, on its stack. */
typedef struct pqepy_call {
    struct pqepy_call *outer; /* of the same thread: a callback called the library again */
    pqepy_backend *backend;
    pqepy_vault *vault;
    PyThreadState *thread;
    PyObject *pending; /* what a callback raised */
    bool in_callback;
    pqe_error err;
} pqepy_call;

/** Begins a call: counts the vault's users (`vault` may be NULL), gives the GIL away. False, with an exception set and
 *  the GIL kept, if the vault is closed or the call comes from a callback of the same backend. */
bool pqepy_enter(pqepy_call *call, pqepy_backend *backend, pqepy_vault *vault);
/** Ends it: takes the GIL, closes what waited to be closed. False, with an exception set, unless status is PQE_OK. */
bool pqepy_leave(pqepy_call *call, pqe_status status);
/** The innermost call of this thread; NULL in a thread of the library's. */
pqepy_call *pqepy_current(void);

/** A callback of the library, from taking the GIL to giving it back. */
typedef struct pqepy_callback {
    PyGILState_STATE gil;
    pqepy_call *call;
} pqepy_callback;

/** False, without the GIL, once the interpreter is going down. */
bool pqepy_callback_begin(pqepy_callback *cb);
void pqepy_callback_end(pqepy_callback *cb);
/** Keeps the exception that is set for pqepy_leave(), which raises it as it is if the library was cancelled and as the
 *  cause otherwise; in a thread of the library's it is dropped. */
void pqepy_callback_keep_exception(const pqepy_callback *cb);
/** Appends an item (stolen; NULL: an exception is set) to a list; false with an exception set. */
bool pqepy_append(PyObject *list, PyObject *item);
/** The same as the last step of a callback, which it ends; an exception is kept. */
bool pqepy_callback_append(pqepy_callback *cb, PyObject *list, PyObject *item);
/** A call that lists something of a vault: a new list, the call begun, or NULL with an exception set. */
PyObject *pqepy_list_enter(pqepy_call *call, pqepy_vault *vault);
/** Ends it: the list, or NULL with an exception set. */
PyObject *pqepy_list_leave(pqepy_call *call, PyObject *list, pqe_status status);
/** Closes a handle of the library: at once, or, where a callback is running, when that is over: garbage may be collected
 *  anywhere, and the library holds locks while it calls back. `owner` is kept until then. The GIL is held. */
typedef void (*pqepy_closer)(void *handle, PyObject *owner);
void pqepy_close(pqepy_closer close, void *handle, PyObject *owner);

/** From now on no callback enters the interpreter. */
void pqepy_shut_down(void);

/** Sets the exception for a status. `cause` (stolen) may be NULL. */
void pqepy_raise(pqe_status status, const pqe_error *err, PyObject *cause);
bool pqepy_errors_init(void);
/** The status that an exception of a backend written in Python stands for; fills `err`. The GIL is held. */
pqe_status pqepy_error_of_exception(PyObject *exception, pqe_error *err);

/** Looks at signals and calls `progress(done, total)` unless None or NULL; total < 0: unknown. False: stop, exception. */
bool pqepy_report(PyObject *progress, uint64_t done, int64_t total);

/* ---- objects ---- */

/** The text of a bytes object without NUL, borrowed; *out NULL for None. False with an exception set. */
bool pqepy_bytes_or_none(PyObject *object, const char **out);

/** A tuple of an artifact's fields, in the order of pqe_artifact. */
PyObject *pqepy_artifact(const pqe_artifact *artifact);

/** Ends the use of a vault that pqepy_vault_retain() began; closes it if it waited for that. */
bool pqepy_vault_retain(pqepy_vault *vault);
void pqepy_vault_release(pqepy_vault *vault);

void pqepy_backend_vault_closed(pqepy_backend *backend);
/** A vault has moved from one to the other, which keeps the old one open as long as itself. `to->before` is a list. */
void pqepy_backend_vault_moved(pqepy_backend *from, pqepy_backend *to);
/** A Vault object around an open handle; closes it where there is no memory for one. */
PyObject *pqepy_vault_wrap(pqe_vault *vault, pqepy_backend *backend);

/** Maps memory of `len` bytes that is left out of dumps; NULL with an exception set. */
PyObject *pqepy_content_new(size_t len, void **data);

/** As pqepy_enter() and pqepy_leave(), for a call on behalf of `caller` (NULL: nobody in particular): the library keeps
 *  one caller for a vault, so calls of different ones wait for each other. */
bool pqepy_enter_as(pqepy_call *call, pqepy_vault *vault, const char *caller);
bool pqepy_leave_as(pqepy_call *call, pqe_status status);

/* ---- sign.c, attest.c, identity.c, audit.c ---- */

/** Finds an algorithm by its name; false with a ValueError. */
bool pqepy_algorithm(const char *name, pqe_sig_algorithm *out);
/** The key pair inside, valid as long as the object. */
pqe_signing_key *pqepy_signing_key_of(PyObject *object);
/** Objects that own what they are given, which is freed where they cannot be made. */
PyObject *pqepy_signing_key_wrap(pqe_signing_key *key);
PyObject *pqepy_attestation_wrap(pqe_attestation *made);

/* Methods of the type Vault. */
PyObject *pqepy_vault_identity_create(PyObject *object, PyObject *args);
PyObject *pqepy_vault_identity_import(PyObject *object, PyObject *args);
PyObject *pqepy_vault_identity_get(PyObject *object, PyObject *args);
PyObject *pqepy_vault_identity_list(PyObject *object, PyObject *unused);
PyObject *pqepy_vault_identity_delete(PyObject *object, PyObject *args);
PyObject *pqepy_vault_identity_export(PyObject *object, PyObject *args);
PyObject *pqepy_vault_identity_sign(PyObject *object, PyObject *args);
PyObject *pqepy_vault_attest(PyObject *object, PyObject *args);
PyObject *pqepy_vault_evidence_public_key(PyObject *object, PyObject *unused);
PyObject *pqepy_vault_policy_set(PyObject *object, PyObject *args);
PyObject *pqepy_vault_policy_clear(PyObject *object, PyObject *args);
PyObject *pqepy_vault_policy_list(PyObject *object, PyObject *unused);
PyObject *pqepy_vault_recovery_create(PyObject *object, PyObject *args);
PyObject *pqepy_vault_recovery_remove(PyObject *object, PyObject *args);
PyObject *pqepy_vault_recovery_list(PyObject *object, PyObject *unused);
PyObject *pqepy_vault_recover(PyObject *type, PyObject *args);
PyObject *pqepy_vault_move(PyObject *object, PyObject *args);
PyObject *pqepy_vault_audit_list(PyObject *object, PyObject *args);
PyObject *pqepy_vault_audit_record(PyObject *object, PyObject *args);
PyObject *pqepy_vault_audit_info(PyObject *object, PyObject *unused);
PyObject *pqepy_vault_audit_clear(PyObject *object, PyObject *args);
PyObject *pqepy_vault_audit_checkpoint(PyObject *object, PyObject *unused);
PyObject *pqepy_vault_audit_verify(PyObject *object, PyObject *args);

/* ---- bridge.c: backends written in Python ---- */

/** The entries of a table whose `self` is a Python object and whose keys are Python objects; open, close, key_source
 *  and info are left to whoever makes the table. change_passphrase is there if `can_change`, authorize if `can_ask`. */
void pqepy_bridge_fill(pqe_backend_ops *ops, bool can_change, bool can_ask);
/** Calls object.key_source(state); the text is the thread's until its next call. NULL if there is none. */
const char *pqepy_bridge_key_source(PyObject *object, const uint8_t *state, size_t state_len);

#endif
