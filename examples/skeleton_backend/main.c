/* SPDX-License-Identifier: Apache-2.0 */
/* skeleton_example DEVICE VAULT: a vault whose key is in the skeleton's device; both are empty directories. */
#include <pqc_enclave.h>
#include <stdio.h>
#include <string.h>

#include "skeleton.h"

int
main(int argc, char **argv)
{
    pqe_error err = {0};
    pqe_backend *backend = NULL;
    pqe_vault *vault = NULL;
    void *content = NULL;
    size_t len = 0;
    pqe_put_opts po = {.size = sizeof po, .name = "token", .kind = PQE_KIND_CREDENTIAL};
    pqe_vault_opts vo = {.size = sizeof vo, .create = true};
    bool ok;

    if (argc != 3)
        return 2;
    ok = pqe_backend_open_ops(&skeleton_ops, argv[1], NULL, &backend, &err) == PQE_OK;
    vo.dir = argv[2];
    vo.backend = backend;
    ok = ok && pqe_vault_open(&vo, &vault, &err) == PQE_OK && pqe_put(vault, &po, "secret", 6, NULL, &err) == PQE_OK;
    pqe_vault_close(&vault); /* another program, another day: the device still has the key */
    vo.create = false;
    ok = ok && pqe_vault_open(&vo, &vault, &err) == PQE_OK && pqe_vault_unlock(vault, 0, &err) == PQE_OK &&
         pqe_get(vault, "token", &content, &len, NULL, &err) == PQE_OK && len == 6 && memcmp(content, "secret", 6) == 0;
    printf("skeleton: %s\n", ok ? "works" : err.message);
    pqe_content_free(&content, len);
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
    return ok ? 0 : 1;
}
