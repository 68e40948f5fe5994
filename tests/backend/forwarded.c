/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/forwarded.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

bool
forwarded_load(CK_FUNCTION_LIST **out)
{
    const char *path = getenv(FORWARDED_MODULE);
    void *library = path != NULL ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL, *symbol;
    CK_C_GetFunctionList get_list;

    if (library == NULL || (symbol = dlsym(library, "C_GetFunctionList")) == NULL)
        return false;
    memcpy(&get_list, &symbol, sizeof symbol);
    return get_list(out) == CKR_OK;
}
