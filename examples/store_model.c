/* SPDX-License-Identifier: Apache-2.0 */
/* Seal model weights into a vault in ./vault, lock it, open it again as another launch of the app would, read back. */
#include <pqc_enclave.h>

#include <stdio.h>
#include <string.h>

static int
fail(const char *what, const pqe_error *err)
{
    fprintf(stderr, "%s: %s\n", what, err->message);
    return 1;
}

int
main(void)
{
    static unsigned char weights[256 * 1024];
    pqe_error err;
    pqe_backend *backend = NULL;
    pqe_vault *vault = NULL;
    void *content = NULL;
    size_t len = 0;

    for (size_t i = 0; i < sizeof weights; i++)
        weights[i] = (unsigned char)(i * 31 + (i >> 8));

    if (pqe_backend_open("file:key-file=vault.key", NULL, &backend, &err) != PQE_OK)
        return fail("backend", &err);

    pqe_vault_opts create = {.size = sizeof create, .dir = "vault", .backend = backend, .create = true};
    if (pqe_vault_open(&create, &vault, &err) != PQE_OK)
        return fail("create", &err);
    pqe_put_opts put = {.size = sizeof put,
                        .name = "llama-3.2-1b-int4",
                        .kind = PQE_KIND_MODEL_WEIGHTS,
                        .version = "1.0.0",
                        .app_bundle_id = "com.example.localllm"};
    if (pqe_put(vault, &put, weights, sizeof weights, NULL, &err) != PQE_OK)
        return fail("put", &err);
    printf("sealed %zu bytes\n", sizeof weights);
    pqe_vault_close(&vault); /* locks */

    pqe_vault_opts open = {.size = sizeof open, .dir = "vault", .backend = backend};
    if (pqe_vault_open(&open, &vault, &err) != PQE_OK)
        return fail("open", &err);
    if (pqe_get(vault, "llama-3.2-1b-int4", &content, &len, NULL, &err) == PQE_E_LOCKED)
        printf("before unlock: %s\n", err.message);
    if (pqe_vault_unlock(vault, 3600, &err) != PQE_OK)
        return fail("unlock", &err);
    if (pqe_get(vault, "llama-3.2-1b-int4", &content, &len, NULL, &err) != PQE_OK)
        return fail("get", &err);
    printf("read back %zu bytes, %s\n", len,
           len == sizeof weights && memcmp(content, weights, len) == 0 ? "identical" : "DIFFERENT");
    pqe_content_free(&content, len);
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
    return 0;
}
