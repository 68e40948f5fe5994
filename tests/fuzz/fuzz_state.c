/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backend states, which are read before anything is authenticated. The first byte chooses the backend. The file backend
 * asks for a passphrase and is given none, so that parameters are parsed and bounded but Argon2 does not run. Of the TPM
 * backend, where it is built, the state is read and described.
 */
#include "fuzz/fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/registry.h"
#include "util/text.h"

static pqe_status
give_none(void *user, pqe_passphrase_purpose purpose, char *buf, size_t capacity, size_t *len)
{
    (void)user;
    (void)buf;
    (void)capacity;
    FUZZ_CHECK(purpose == PQE_PASSPHRASE_UNLOCK);
    *len = 0;
    return PQE_E_CANCELLED;
}

/* A key file that is in order, for states that want one. */
static void
file_config(char config[96])
{
    uint8_t bytes[32];
    char id[33], key[65], text[256];
    int fd = memfd_create("key", MFD_CLOEXEC), n;

    memset(bytes, FUZZ_BYTE, sizeof bytes);
    pqe__hex_encode(bytes, 16, id);
    pqe__hex_encode(bytes, 32, key);
    n = snprintf(text, sizeof text, "pqc-enclave key file v1\n%s\n%s\n", id, key);
    FUZZ_CHECK(fd >= 0 && fchmod(fd, 0600) == 0 && write(fd, text, (size_t)n) == n);
    snprintf(config, 96, "file:key-file=/proc/self/fd/%d", fd);
}

static void
attach(pqe_backend *b, const uint8_t *state, size_t size)
{
    uint8_t id[PQE_VAULT_ID_SIZE];
    void *key = NULL;
    const char *source = pqe__backend_key_source(b->ops, state, size);

    memset(id, FUZZ_BYTE, sizeof id);
    FUZZ_CHECK(source == NULL || strlen(source) < 32);
    if (pqe__backend_attach(b, id, state, size, &key, NULL) == PQE_OK)
        pqe__backend_detach(b, key);
    else
        FUZZ_CHECK(key == NULL);
}

static void
describe(const pqe_backend_ops *ops, const uint8_t *state, size_t size)
{
    char text[PQE_HELD_BY_MAX];
    const char *source = pqe__backend_key_source(ops, state, size);

    FUZZ_CHECK(pqe__backend_describe(ops, state, size, text) == (source != NULL));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static pqe_backend *file, *memory;
    pqe_backend_opts o = {.size = sizeof o, .passphrase = give_none};
    char config[96];

    if (file == NULL) {
        file_config(config);
        FUZZ_CHECK(pqe_backend_open(config, &o, &file, NULL) == PQE_OK);
        FUZZ_CHECK(pqe_backend_open("memory", NULL, &memory, NULL) == PQE_OK);
    }
    if (size == 0 || size > 1 + PQE_BACKEND_STATE_MAX)
        return 0;
    if (data[0] % 4 == 1 && pqe__backend_find("tpm2") != NULL) {
        describe(pqe__backend_find("tpm2"), data + 1, size - 1);
        return 0;
    }
    attach(data[0] % 4 == 0 ? memory : file, data + 1, size - 1);
    return 0;
}
