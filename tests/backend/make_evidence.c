/* SPDX-License-Identifier: Apache-2.0 */
/* make_evidence DIR: attestations with and without evidence of a stand-in for a TPM (att.cose, bare.cose), and what verifies
   them (did, ak.pem, pcr; ak2.pem is of another device). For tests without a chip. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/testifier.h"

static void
save(const char *dir, const char *name, const void *data, size_t len)
{
    char path[4096];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (f == NULL || fwrite(data, 1, len, f) != len || fclose(f) != 0)
        abort();
}

static void
check(pqe_status status, const pqe_error *err)
{
    if (status == PQE_OK)
        return;
    fprintf(stderr, "make_evidence: %s\n", err->message);
    exit(EXIT_FAILURE);
}

static void
attest(pqe_vault *vault, const char *dir, const char *name, bool no_evidence)
{
    const pqe_attest_opts o = {
        .size = sizeof o, .challenge = "0123456789abcdef", .challenge_len = 16, .no_evidence = no_evidence};
    pqe_attestation *a = NULL;
    pqe_error err = {0};
    char *cose = NULL;
    size_t len;

    check(pqe_attest(vault, "artifact", &o, &a, &err), &err);
    check(pqe_attestation_encode(a, PQE_ATTEST_COSE, &cose, &len, &err), &err);
    save(dir, name, cose, len);
    pqe_buffer_free(&cose);
    pqe_attestation_free(&a);
}

int
main(int argc, char **argv)
{
    const pqe_put_opts put = {.size = sizeof put, .name = "artifact", .kind = PQE_KIND_CREDENTIAL};
    pqe_vault_opts vo = {.size = sizeof vo, .create = true};
    pqe_backend *backend = NULL;
    pqe_vault *vault = NULL;
    pqe_identity signer;
    pqe_error err = {0};

    if (argc != 2)
        return EXIT_FAILURE;
    testifier.counter = 42;
    check(pqe_backend_open_ops(testifier_ops(), "", NULL, &backend, &err), &err);
    vo.backend = backend;
    check(pqe_vault_open(&vo, &vault, &err), &err);
    check(pqe_put(vault, &put, "content", 7, NULL, &err), &err);
    check(pqe_identity_create(vault, NULL, &signer, &err), &err);
    save(argv[1], "did", signer.did, strlen(signer.did));
    save(argv[1], "ak.pem", testifier_pem(0), strlen(testifier_pem(0)));
    save(argv[1], "ak2.pem", testifier_pem(1), strlen(testifier_pem(1)));
    save(argv[1], "pcr", testifier_pcr_digest(), strlen(testifier_pcr_digest()));
    attest(vault, argv[1], "att.cose", false);
    attest(vault, argv[1], "bare.cose", true);
    pqe_vault_close(&vault);
    pqe_backend_close(&backend);
    return 0;
}
