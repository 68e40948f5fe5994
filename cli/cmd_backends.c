/* SPDX-License-Identifier: Apache-2.0 */
/* pqc-enclave backends: what can hold a device key, and what that protects against. */
#include <stdio.h>

#include <pqc_enclave/backend.h>

#include "commands.h"
#include "json.h"
#include "report.h"

static const struct {
    uint32_t bit;
    const char *name;
} capabilities[] = {{PQE_CAP_SEAL, "seal"},
                    {PQE_CAP_PASSPHRASE, "passphrase"},
                    {PQE_CAP_PERSISTENT, "persistent"},
                    {PQE_CAP_AUTHORIZE, "authorize"},
                    {PQE_CAP_NATIVE_ML_DSA, "native-ml-dsa"},
                    {PQE_CAP_NATIVE_KEM, "native-kem"},
                    {PQE_CAP_COUNTER, "counter"},
                    {PQE_CAP_EVIDENCE, "evidence"}};

static json_t *
to_json(const pqe_backend_info *info)
{
    json_t *names = json_array();

    for (size_t i = 0; names != NULL && i < sizeof capabilities / sizeof capabilities[0]; i++)
        if ((info->capabilities & capabilities[i].bit) != 0)
            json_array_append_new(names, json_string(capabilities[i].name));
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "name", info->name, "description", info->description, "protection",
                     info->protection, "caveat", info->caveat, "capabilities", names);
}

static int
run(cli *c)
{
    json_t *all = c->json ? json_array() : NULL;
    pqe_backend_info info;

    if (!c->json)
        printf("%-8s  %-14s  %s\n", "NAME", "PROTECTION", "DESCRIPTION");
    for (size_t i = 0; pqe_backend_builtin(i, &info); i++) {
        if (c->json)
            json_array_append_new(all, to_json(&info));
        else
            printf("%-8s  %-14s  %s\n%-8s  %-14s  %s\n", info.name, info.protection, info.description, "", "",
                   info.caveat);
    }
    return c->json ? cli_json_print(c, all) : 0;
}

const cli_command cli_cmd_backends = {
    .name = "backends", .operands = "", .summary = "show what can hold the device key", .run = run};
