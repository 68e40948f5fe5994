/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite over the stand-in for a TPM, as it is and behind the decorator: its tests of evidence at work. */
#include "backend/conformance.h"
#include "backend/faulty.h"
#include "backend/testifier.h"

int
main(void)
{
    conformance_subject plain = {.name = "testifier", .ops = testifier_ops(), .config = ""};
    conformance_subject decorated = {.name = "testifier, decorated", .ops = faulty_wrap(plain.ops), .config = ""};

    return conformance_run(&plain) + conformance_run(&decorated) == 0 ? 0 : 1;
}
