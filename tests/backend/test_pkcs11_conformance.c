/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite over the pkcs11 backend with SoftHSM, as it is and behind the decorator. */
#include <stdio.h>
#include <stdlib.h>

#include "backend/conformance.h"
#include "backend/faulty.h"
#include "backend/registry.h"
#include "backend/softhsm.h"

int
main(void)
{
    conformance_subject subject = {.name = "pkcs11, SoftHSM", .leftovers = softhsm_objects, .stride = 3};
    const char *pin;
    int failures;

    softhsm_begin();
    softhsm_token("one");
    softhsm_token("two");
    pin = softhsm_pin("1234\n");
    subject.ops = pqe__backend_find("pkcs11");
    if (subject.ops == NULL)
        return EXIT_FAILURE;
    subject.config = softhsm_config("one", pin);
    subject.wrong_config = softhsm_config("two", pin);
    failures = conformance_run(&subject);
    subject.name = "pkcs11, SoftHSM, decorated";
    subject.ops = faulty_wrap(subject.ops);
    failures += conformance_run(&subject);
    softhsm_end();
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
