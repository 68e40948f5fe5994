/* SPDX-License-Identifier: Apache-2.0 */
/* Key files: the input is the file. One that is accepted has exactly the documented form, up to the case of digits. */
#include "fuzz/fuzz.h"

#include <ctype.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/file/keyfile.h"
#include "util/secmem.h"
#include "util/text.h"

#define HEADER "pqc-enclave key file v1\n"

static void
check_accepted(const uint8_t *data, size_t size, const uint8_t *id, const uint8_t *key)
{
    char text[256], id_hex[2 * PQE_VAULT_ID_SIZE + 1], key_hex[2 * PQE__KEY_SIZE + 1];
    size_t len;

    pqe__hex_encode(id, PQE_VAULT_ID_SIZE, id_hex);
    pqe__hex_encode(key, PQE__KEY_SIZE, key_hex);
    len = (size_t)snprintf(text, sizeof text, HEADER "%s\n%s\n", id_hex, key_hex);
    FUZZ_CHECK(size == len && memcmp(data, text, sizeof HEADER - 1) == 0);
    for (size_t i = 0; i < len; i++)
        FUZZ_CHECK(tolower(data[i]) == text[i] || i < sizeof HEADER);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t *key;
    uint8_t id[PQE_VAULT_ID_SIZE];
    char path[64];
    pqe_error err = {0};
    pqe_status status;
    int fd = memfd_create("key", MFD_CLOEXEC);

    FUZZ_CHECK(fd >= 0 && fchmod(fd, 0600) == 0 && write(fd, data, size) == (ssize_t)size);
    if (key == NULL)
        key = pqe__secmem_alloc(PQE__KEY_SIZE);
    FUZZ_CHECK(key != NULL);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    memset(id, FUZZ_BYTE, sizeof id);
    status = pqe__keyfile_read(path, id, key, NULL, &err);
    if (status == PQE_OK)
        check_accepted(data, size, id, key);
    else
        FUZZ_CHECK(status == PQE_E_DENIED || status == PQE_E_VERSION);
    close(fd);
    return 0;
}
