/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite over a software TPM, as it is and behind the decorator. */
#include <stdio.h>
#include <stdlib.h>

#include "backend/conformance.h"
#include "backend/faulty.h"
#include "backend/registry.h"
#include "backend/scratch.h"
#include "tpm2/swtpm.h"

static swtpm tpm, other;

static size_t
left_in_tpm(void)
{
    return swtpm_count(&tpm);
}

static int
run_both(const conformance_subject *subject)
{
    conformance_subject decorated = *subject;
    char name[64];
    int failures = conformance_run(subject);

    snprintf(name, sizeof name, "%s, decorated", subject->name);
    decorated.name = name;
    decorated.ops = faulty_wrap(subject->ops);
    decorated.stride = 16;
    return failures + conformance_run(&decorated);
}

int
main(void)
{
    conformance_subject plain = {.name = "tpm2", .ops = pqe__backend_find("tpm2"), .leftovers = left_in_tpm};
    conformance_subject pin = {.name = "tpm2, PIN and PCRs",
                               .ops = pqe__backend_find("tpm2"),
                               .passphrase = true,
                               .stride = 7,
                               .leftovers = left_in_tpm};
    int failures;

    swtpm_need();
    scratch_make();
    swtpm_make(&tpm, "tpm");
    swtpm_make(&other, "other");
    /* The suite gives wrong PINs by the hundred. */
    if (swtpm_tool(&tpm, "tpm2_dictionarylockout -s -n 1000000 -t 1 -l 1") != 0)
        return EXIT_FAILURE;
    plain.config = tpm.tcti;
    plain.wrong_config = other.tcti;
    pin.config = swtpm_config(&tpm, "pin;pcrs=sha256:0,7");
    pin.wrong_config = swtpm_config(&other, "pin");
    failures = run_both(&plain) + run_both(&pin);
    swtpm_stop(&tpm, false);
    swtpm_stop(&other, true);
    scratch_remove();
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
