/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite over the skeleton, as it is and behind the decorator that fails the Nth call. */
#include "backend/conformance.h"

#include <stdio.h>
#include <sys/stat.h>

#include "backend/faulty.h"
#include "backend/scratch.h"
#include "skeleton.h"

int
main(void)
{
    char other[SCRATCH_PATH_MAX];
    conformance_subject subject = {.name = "skeleton",
                                   .ops = &skeleton_ops,
                                   .config = scratch_make(), /* REPLACE: where your test device is */
                                   .wrong_config = scratch_path("other", other), /* a device without these keys */
                                   .leftovers = scratch_entries};                /* its slots, counted */
    int failures;

    if (mkdir(other, 0700) != 0)
        return 1;
    failures = conformance_run(&subject);
    subject.name = "skeleton, decorated";
    subject.ops = faulty_wrap(&skeleton_ops);
    failures += conformance_run(&subject);
    scratch_remove();
    return failures == 0 ? 0 : 1;
}
