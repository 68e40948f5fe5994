/* SPDX-License-Identifier: Apache-2.0 */
/* The counting decorator. */
#include "backend/counting.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/text.h"

#define PATH_SIZE 1024

static const pqe_backend_ops *inner;
static pqe_backend_ops table;
static unsigned settings;
static counting_fault fault;
static atomic_uint advances, reads;
static void (*before_read)(void *);
static void *before_read_arg;

typedef struct device {
    void *self;
    char dir[512];
} device;

typedef struct counted_key {
    void *key;
    bool counts;
    char base[PATH_SIZE - 16]; /* path of its files without their endings */
} counted_key;

void
counting_set(unsigned flags)
{
    settings = flags;
}

void
counting_break(counting_fault f)
{
    fault = f;
}

void
counting_before_read(void (*fn)(void *arg), void *arg)
{
    before_read_arg = arg;
    before_read = fn;
}

unsigned
counting_advances(void)
{
    return atomic_exchange(&advances, 0);
}

unsigned
counting_reads(void)
{
    return atomic_exchange(&reads, 0);
}

static pqe_status
no(pqe_error *err, pqe_status status, const char *text)
{
    if (err != NULL) {
        *err = (pqe_error){.status = status, .origin = PQE_ORIGIN_DEVICE, .native = errno};
        snprintf(err->message, sizeof err->message, "%s", text);
    }
    return status;
}

/* ---- files ---- */

static const char *
file_of(const counted_key *k, const char *ending, char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "%s.%s", k->base, ending);
    return path;
}

static bool
write_file(const char *path, int flags, const void *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0600);
    bool good =
        fd >= 0 && pwrite(fd, bytes, len, 0) == (ssize_t)len && ftruncate(fd, (off_t)len) == 0 && fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    return good;
}

static ssize_t
read_file(const char *path, void *bytes, size_t capacity)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? pread(fd, bytes, capacity, 0) : -1;

    if (fd >= 0)
        close(fd);
    return n;
}

static bool
read_value(const counted_key *k, uint64_t *value)
{
    char path[PATH_SIZE];

    return read_file(file_of(k, "counter", path), value, sizeof *value) == (ssize_t)sizeof *value;
}

/* What no file tells of is gone; what cannot be read may be there. */
static pqe_status
unreadable(pqe_error *err)
{
    return errno == ENOENT ? no(err, PQE_E_ROLLBACK, "the counter is gone")
                           : no(err, PQE_E_BACKEND, "the counter cannot be read");
}

/* Where a new counter starts is the device's choice. */
static pqe_status
make_counter(const counted_key *k, pqe_error *err)
{
    uint64_t start = 1000;
    char path[PATH_SIZE];

    unlink(file_of(k, "note", path));
    if (!write_file(file_of(k, "counter", path), O_CREAT | O_EXCL, &start, sizeof start))
        return no(err, errno == EEXIST ? PQE_E_EXISTS : PQE_E_BACKEND, "cannot make a counter");
    return PQE_OK;
}

static void
remove_counter(const device *d, const uint8_t vault_id[PQE_VAULT_ID_SIZE])
{
    char hex[2 * PQE_VAULT_ID_SIZE + 1], path[PATH_SIZE];

    pqe__hex_encode(vault_id, PQE_VAULT_ID_SIZE, hex);
    snprintf(path, sizeof path, "%s/%s.counter", d->dir, hex);
    unlink(path);
    snprintf(path, sizeof path, "%s/%s.note", d->dir, hex);
    unlink(path);
    snprintf(path, sizeof path, "%s/%s.busy", d->dir, hex);
    unlink(path);
}

/* ---- keys ---- */

/* The state is the inner one behind a byte that says whether there is a counter. */
static counted_key *
new_key(const device *d, const uint8_t vault_id[PQE_VAULT_ID_SIZE], bool counts)
{
    counted_key *k = calloc(1, sizeof *k);
    char hex[2 * PQE_VAULT_ID_SIZE + 1];

    if (k == NULL)
        return NULL;
    pqe__hex_encode(vault_id, PQE_VAULT_ID_SIZE, hex);
    snprintf(k->base, sizeof k->base, "%s/%s", d->dir, hex);
    k->counts = counts;
    return k;
}

static pqe_status
counting_open(const char *config, const pqe_backend_opts *opts, void **self, pqe_error *err)
{
    const char *bar = strchr(config, '|');
    device *d = calloc(1, sizeof *d);
    pqe_status status;

    if (d == NULL || bar == NULL || (size_t)(bar - config) >= sizeof d->dir) {
        free(d);
        return no(err, PQE_E_ARGUMENT, "the configuration is DIR|CONFIG");
    }
    memcpy(d->dir, config, (size_t)(bar - config));
    mkdir(d->dir, 0700);
    status = inner->open(bar + 1, opts, &d->self, err);
    if (status == PQE_OK)
        *self = d;
    else
        free(d);
    return status;
}

static void
counting_close(void *self)
{
    device *d = self;

    inner->close(d->self);
    free(d);
}

static pqe_status
counting_enrol(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], pqe_blob *state, void **key, pqe_error *err)
{
    device *d = self;
    bool counts = (settings & COUNTING_NOTHING) == 0;
    counted_key *k = new_key(d, vault_id, counts);
    pqe_blob rest = {.data = state->data + 1, .capacity = state->capacity > 0 ? state->capacity - 1 : 0};
    pqe_status status = k != NULL && state->capacity > 0 ? PQE_OK : no(err, PQE_E_LIMIT, "no room");

    if (status == PQE_OK && counts)
        status = make_counter(k, err); /* refuses where there is one */
    if (status == PQE_OK) {
        status = inner->enrol(d->self, vault_id, &rest, &k->key, err);
        if (status != PQE_OK && counts)
            remove_counter(d, vault_id);
    }
    if (status != PQE_OK) {
        free(k);
        return status;
    }
    state->data[0] = counts;
    state->len = rest.len + 1;
    *key = k;
    return PQE_OK;
}

static void
counting_discard(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key)
{
    device *d = self;
    counted_key *k = key;

    remove_counter(d, vault_id);
    if (inner->discard != NULL)
        inner->discard(d->self, vault_id, k != NULL ? k->key : NULL);
}

static pqe_status
counting_attach(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], const uint8_t *state, size_t state_len,
                void **key, pqe_error *err)
{
    device *d = self;
    counted_key *k;
    pqe_status status;

    if (state_len == 0 || state[0] > 1)
        return no(err, PQE_E_DENIED, "not a state of this backend");
    if ((k = new_key(d, vault_id, state[0] == 1)) == NULL)
        return no(err, PQE_E_NOMEM, "out of memory");
    status = inner->attach(d->self, vault_id, state + 1, state_len - 1, &k->key, err);
    if (status == PQE_OK)
        *key = k;
    else
        free(k);
    return status;
}

static void
counting_detach(void *self, void *key)
{
    counted_key *k = key;

    inner->detach(((device *)self)->self, k->key);
    free(k);
}

static pqe_status
counting_seal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *secret, size_t secret_len,
              pqe_blob *sealed, pqe_error *err)
{
    return inner->seal(((device *)self)->self, ((counted_key *)key)->key, aad, aad_len, secret, secret_len, sealed,
                       err);
}

static pqe_status
counting_unseal(void *self, void *key, const uint8_t *aad, size_t aad_len, const uint8_t *sealed, size_t sealed_len,
                pqe_blob *secret, pqe_error *err)
{
    return inner->unseal(((device *)self)->self, ((counted_key *)key)->key, aad, aad_len, sealed, sealed_len, secret,
                         err);
}

static const char *
counting_key_source(const uint8_t *state, size_t state_len)
{
    return state_len > 0 && state[0] <= 1 ? inner->key_source(state + 1, state_len - 1) : NULL;
}

static pqe_status
counting_change_passphrase(void *self, const uint8_t vault_id[PQE_VAULT_ID_SIZE], void *key, const uint8_t *state,
                           size_t state_len, pqe_blob *new_state, pqe_error *err)
{
    pqe_blob rest = {.data = new_state->data + 1, .capacity = new_state->capacity - 1};
    pqe_status status = inner->change_passphrase(((device *)self)->self, vault_id, ((counted_key *)key)->key, state + 1,
                                                 state_len - 1, &rest, err);

    if (status == PQE_OK) {
        new_state->data[0] = state[0];
        new_state->len = rest.len + 1;
    }
    return status;
}

/* ---- the counter ---- */

static pqe_status
counting_read(void *self, void *key, uint64_t *value, pqe_blob *note, pqe_error *err)
{
    const counted_key *k = key;
    void (*fn)(void *) = before_read;
    char path[PATH_SIZE];
    ssize_t n;

    (void)self;
    before_read = NULL;
    if (fn != NULL)
        fn(before_read_arg);
    atomic_fetch_add(&reads, 1);
    if (fault == COUNTING_CANNOT_READ)
        return no(err, PQE_E_BACKEND, "the counter cannot be read, on purpose");
    if (!k->counts)
        return no(err, PQE_E_UNAVAILABLE, "this vault has no counter");
    if (!read_value(k, value))
        return unreadable(err);
    n = read_file(file_of(k, "note", path), note->data, note->capacity);
    if (n < 0 && errno != ENOENT)
        return no(err, PQE_E_BACKEND, "the note cannot be read");
    note->len = n > 0 ? (size_t)n : 0;
    return PQE_OK;
}

static pqe_status
step(const counted_key *k, uint64_t value, const uint8_t *note, size_t note_len, pqe_error *err)
{
    uint64_t now;
    char path[PATH_SIZE];

    if (!read_value(k, &now))
        return unreadable(err);
    if (value != now && value != now + 1)
        return no(err, PQE_E_BACKEND, "the counter takes one step at a time");
    if (fault == COUNTING_DIES_BEFORE)
        raise(SIGKILL);
    if (fault == COUNTING_CANNOT_NOTE)
        return no(err, PQE_E_BACKEND, "the note cannot be written, on purpose");
    if ((settings & COUNTING_NO_NOTES) == 0 && !write_file(file_of(k, "note", path), O_CREAT, note, note_len))
        return no(err, PQE_E_BACKEND, "cannot write the note");
    if (fault == COUNTING_DIES_BETWEEN)
        raise(SIGKILL);
    if (fault == COUNTING_CANNOT_INCREMENT)
        return no(err, PQE_E_BACKEND, "the counter cannot be advanced, on purpose");
    if (value != now && !write_file(file_of(k, "counter", path), 0, &value, sizeof value))
        return no(err, PQE_E_BACKEND, "cannot write the counter");
    if (fault == COUNTING_DIES_AFTER)
        raise(SIGKILL);
    if (fault == COUNTING_LOST_ANSWER)
        return no(err, PQE_E_BACKEND, "the answer was lost, on purpose");
    atomic_fetch_add(&advances, 1);
    return PQE_OK;
}

static pqe_status
counting_advance(void *self, void *key, uint64_t value, const uint8_t *note, size_t note_len, pqe_error *err)
{
    const counted_key *k = key;
    char path[PATH_SIZE];
    pqe_status status;
    int busy;

    (void)self;
    if (!k->counts)
        return no(err, PQE_E_UNAVAILABLE, "this vault has no counter");
    /* A device reads and increments in two steps: that nobody comes between is the library's promise. */
    busy = open(file_of(k, "busy", path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (busy < 0 || flock(busy, LOCK_EX | LOCK_NB) != 0)
        status = no(err, PQE_E_BACKEND, "two processes advance the counter at once");
    else
        status = step(k, value, note, note_len, err);
    if (busy >= 0)
        close(busy);
    return status;
}

static pqe_status
counting_make(void *self, void *key, pqe_error *err)
{
    const counted_key *k = key;

    (void)self;
    return k->counts ? make_counter(k, err) : no(err, PQE_E_UNAVAILABLE, "this vault has no counter");
}

const pqe_backend_ops *
counting_wrap(const pqe_backend_ops *ops)
{
    counting_break(COUNTING_SOUND);
    if (ops == &table)
        return &table;
    inner = ops;
    table = (pqe_backend_ops){
        .magic = PQE_BACKEND_MAGIC,
        .abi = PQE_BACKEND_ABI,
        .size = sizeof table,
        .info = ops->info,
        .open = counting_open,
        .close = counting_close,
        .enrol = counting_enrol,
        .discard = counting_discard,
        .attach = counting_attach,
        .detach = counting_detach,
        .seal = counting_seal,
        .unseal = counting_unseal,
        .key_source = counting_key_source,
        .change_passphrase = ops->change_passphrase != NULL ? counting_change_passphrase : NULL,
        .counter_read = counting_read,
        .counter_advance = counting_advance,
        .counter_make = counting_make,
    };
    table.info.capabilities =
        (ops->info.capabilities & (PQE_CAP_SEAL | PQE_CAP_PASSPHRASE | PQE_CAP_PERSISTENT)) | PQE_CAP_COUNTER;
    return &table;
}
