/* SPDX-License-Identifier: Apache-2.0 */
/* A program of somebody else's: ten lines on the installed library. */
#include <pqc_enclave.h>
#include <stdio.h>
#include <string.h>

int
main(void)
{
    pqe_error err = {0};
    pqe_backend *backend = NULL;
    pqe_vault *vault = NULL;
    void *content = NULL;
    size_t len = 0;
    bool ok = pqe_backend_open("memory", NULL, &backend, &err) == PQE_OK;
    pqe_vault_opts vo = {.size = sizeof vo, .backend = backend, .create = true};
    pqe_put_opts po = {.size = sizeof po, .name = "token", .kind = PQE_KIND_CREDENTIAL};

    ok = ok && pqe_vault_open(&vo, &vault, &err) == PQE_OK && pqe_put(vault, &po, "secret", 6, NULL, &err) == PQE_OK &&
         pqe_get(vault, "token", &content, &len, NULL, &err) == PQE_OK && len == 6 && memcmp(content, "secret", 6) == 0;
    printf("pqc-enclave %s: %s\n", pqe_version(), ok ? "works" : err.message);
    pqe_content_free(&content, len);
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
    return ok ? 0 : 1;
}
