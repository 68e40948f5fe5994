/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/pkcs11/uri.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <p11-kit/uri.h>

#include "util/error.h"

#define CONFIG_MAX 4096u

/* ---- libp11-kit ---- */

static struct {
    P11KitUri *(*make)(void);
    int (*parse)(const char *, P11KitUriType, P11KitUri *);
    void (*free)(P11KitUri *);
    int (*any_unrecognized)(P11KitUri *);
    const char *(*module_path)(const P11KitUri *);
    const char *(*module_name)(const P11KitUri *);
    const char *(*pin_source)(const P11KitUri *);
    const char *(*vendor_query)(const P11KitUri *, const char *);
    CK_SLOT_ID (*slot_id)(P11KitUri *);
    int (*match_module)(const P11KitUri *, const CK_INFO *);
    int (*match_slot)(const P11KitUri *, const CK_SLOT_INFO *);
    int (*match_token)(const P11KitUri *, const CK_TOKEN_INFO *);
} kit;

static const struct {
    const char *name;
    void *place;
} kit_functions[] = {
    {"p11_kit_uri_new", &kit.make},
    {"p11_kit_uri_parse", &kit.parse},
    {"p11_kit_uri_free", &kit.free},
    {"p11_kit_uri_any_unrecognized", &kit.any_unrecognized},
    {"p11_kit_uri_get_module_path", &kit.module_path},
    {"p11_kit_uri_get_module_name", &kit.module_name},
    {"p11_kit_uri_get_pin_source", &kit.pin_source},
    {"p11_kit_uri_get_vendor_query", &kit.vendor_query},
    {"p11_kit_uri_get_slot_id", &kit.slot_id},
    {"p11_kit_uri_match_module_info", &kit.match_module},
    {"p11_kit_uri_match_slot_info", &kit.match_slot},
    {"p11_kit_uri_match_token_info", &kit.match_token},
};

#define KIT_LIBRARY "libp11-kit.so.0" /* a PKCS#11 module too: it stands for all that the system has configured */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool kit_is_there;

static void
load_kit(void)
{
    void *library = dlopen(KIT_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    void *symbol;

    for (size_t i = 0; library != NULL && i < sizeof kit_functions / sizeof kit_functions[0]; i++) {
        if ((symbol = dlsym(library, kit_functions[i].name)) == NULL)
            return;
        memcpy(kit_functions[i].place, &symbol, sizeof symbol);
    }
    kit_is_there = library != NULL;
}

/* ---- attributes ---- */

static const char *const path_names[] = {"token",
                                         "serial",
                                         "manufacturer",
                                         "model",
                                         "slot-id",
                                         "slot-manufacturer",
                                         "slot-description",
                                         "library-manufacturer",
                                         "library-description",
                                         "library-version"};
static const char *const query_names[] = {"module-path", "module-name", "pin-source", "init-args", "tier", "last-try"};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static pqe_status
refuse(pqe_error *err, const char *text)
{
    return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "%s", text);
}

static bool
is_one_of(const char *const *list, size_t count, const char *name, size_t len, size_t *index)
{
    for (*index = 0; *index < count; ++*index)
        if (strlen(list[*index]) == len && memcmp(list[*index], name, len) == 0)
            return true;
    return false;
}

typedef struct sorted {
    char path[CONFIG_MAX + 16], query[CONFIG_MAX + 16];
    uint32_t seen;
} sorted;

static void
append(char *list, const char *text, size_t len, char separator)
{
    size_t at = strlen(list);

    if (at != 0)
        list[at++] = separator;
    memcpy(list + at, text, len);
    list[at + len] = '\0';
}

static pqe_status
sort_one(sorted *s, const char *attribute, size_t len, pqe_error *err)
{
    const char *equals = memchr(attribute, '=', len);
    size_t name_len = equals != NULL ? (size_t)(equals - attribute) : len, i;
    bool in_path = is_one_of(path_names, COUNT(path_names), attribute, name_len, &i);

    if (!in_path && name_len == strlen("pin-value") && memcmp(attribute, "pin-value", name_len) == 0)
        return refuse(err, "pin-value is refused: everybody sees the arguments of programs; use pin-source=FILE");
    if (!in_path && !is_one_of(query_names, COUNT(query_names), attribute, name_len, &i))
        return pqe__fail(err, PQE_E_ARGUMENT, PQE_ORIGIN_API, 0, "the PKCS#11 URI has an unknown attribute '%.*s'",
                         (int)(name_len < 31 ? name_len : 31), attribute);
    if (equals == NULL)
        return refuse(err, "an attribute of the PKCS#11 URI has no value");
    i += in_path ? 0 : COUNT(path_names);
    if ((s->seen & (uint32_t)1 << i) != 0)
        return refuse(err, "an attribute of the PKCS#11 URI stands twice");
    s->seen |= (uint32_t)1 << i;
    append(in_path ? s->path : s->query, attribute, len, in_path ? ';' : '&');
    return PQE_OK;
}

/* Names are never percent-encoded, and the separators stand for themselves in values only encoded. */
static pqe_status
sort_attributes(const char *config, sorted *s, pqe_error *err)
{
    pqe_status status = PQE_OK;

    for (const char *p = config; *p != '\0' && status == PQE_OK;) {
        size_t len = strcspn(p, ";?&");
        if (len != 0)
            status = sort_one(s, p, len, err);
        p += len;
        p += *p != '\0';
    }
    return status;
}

/* ---- values ---- */

/* "/path", "file:/path" or "file:///path". */
static pqe_status
read_pin_source(pqe__p11_uri *u, pqe_error *err)
{
    const char *source = kit.pin_source(u->parsed);

    if (source == NULL)
        return PQE_OK;
    if (strncmp(source, "file:", 5) == 0)
        source += strncmp(source, "file:///", 8) == 0 ? 7 : 5;
    if (source[0] != '/')
        return refuse(err, "pin-source is a file with the PIN, given by its whole path");
    u->pin_file = source;
    return PQE_OK;
}

static pqe_status
read_own(pqe__p11_uri *u, pqe_error *err)
{
    const char *tier = kit.vendor_query(u->parsed, "tier"), *last = kit.vendor_query(u->parsed, "last-try");

    u->init_args = kit.vendor_query(u->parsed, "init-args");
    if (tier != NULL && strcmp(tier, "kek") == 0)
        u->tier = PQE__P11_TIER_KEK;
    else if (tier != NULL && strcmp(tier, "native") == 0)
        u->tier = PQE__P11_TIER_NATIVE;
    else if (tier != NULL)
        return refuse(err, "tier is 'kek' or 'native'");
    u->last_try = last != NULL && strcmp(last, "yes") == 0;
    if (last != NULL && !u->last_try)
        return refuse(err, "last-try is 'yes', or not given");
    return PQE_OK;
}

/* RFC 7512, section 2.3: a module's name without what systems add to it. Empty if there is none, NULL if out of memory. */
static char *
path_of_name(const char *name)
{
    static const char *const around[][2] = {{"", ".so"}, {"lib", ".so"}, {"", "-pkcs11.so"}};
    size_t size = strlen(PQE_P11_MODULE_DIR) + strlen(name) + 16;
    char *path = malloc(size);

    for (size_t i = 0; path != NULL && i < COUNT(around); i++) {
        snprintf(path, size, "%s/%s%s%s", PQE_P11_MODULE_DIR, around[i][0], name, around[i][1]);
        if (access(path, F_OK) == 0)
            return path;
    }
    if (path != NULL)
        path[0] = '\0';
    return path;
}

static pqe_status
read_module(pqe__p11_uri *u, pqe_error *err)
{
    const char *path = kit.module_path(u->parsed), *name = kit.module_name(u->parsed);

    if (path != NULL && path[0] != '/')
        return refuse(err, "module-path is the module's file, given by its whole path");
    if (path == NULL && name != NULL && (name[0] == '\0' || strchr(name, '/') != NULL))
        return refuse(err, "module-name is a name, not a path");
    if (path != NULL)
        u->module_path = strdup(path);
    else
        u->module_path = name != NULL ? path_of_name(name) : strdup(KIT_LIBRARY);
    if (u->module_path == NULL)
        return pqe__fail_nomem(err);
    if (u->module_path[0] == '\0')
        return pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0, "there is no module '%.31s' in %s", name,
                         PQE_P11_MODULE_DIR);
    return PQE_OK;
}

static pqe_status
parse_sorted(const sorted *s, pqe__p11_uri *out, pqe_error *err)
{
    size_t size = sizeof s->path + sizeof s->query + sizeof "pkcs11:?";
    char *text = malloc(size);
    int result;

    if (text == NULL || (out->parsed = kit.make()) == NULL) {
        free(text);
        return pqe__fail_nomem(err);
    }
    snprintf(text, size, "pkcs11:%s%s%s", s->path, s->query[0] != '\0' ? "?" : "", s->query);
    result = kit.parse(text, P11_KIT_URI_FOR_TOKEN | P11_KIT_URI_FOR_SLOT | P11_KIT_URI_FOR_MODULE_WITH_VERSION,
                       out->parsed);
    free(text);
    if (result == P11_KIT_URI_NO_MEMORY)
        return pqe__fail_nomem(err);
    if (result != P11_KIT_URI_OK || kit.any_unrecognized(out->parsed))
        return refuse(err, "the PKCS#11 URI is malformed (RFC 7512): a value may be too long or badly encoded");
    return PQE_OK;
}

pqe_status
pqe__p11_uri_parse(const char *config, pqe__p11_uri *out, pqe_error *err)
{
    sorted *s = NULL;
    pqe_status status = PQE_OK;

    memset(out, 0, sizeof *out);
    if (strnlen(config, CONFIG_MAX + 1) > CONFIG_MAX)
        return refuse(err, "the PKCS#11 URI is too long");
    if ((s = calloc(1, sizeof *s)) == NULL)
        return pqe__fail_nomem(err);
    status = sort_attributes(config, s, err);
    if (status == PQE_OK) {
        pthread_once(&once, load_kit);
        if (!kit_is_there)
            status = pqe__fail(err, PQE_E_UNAVAILABLE, PQE_ORIGIN_BACKEND, 0,
                               "the library that reads PKCS#11 URIs is not there: " KIT_LIBRARY);
    }
    if (status == PQE_OK)
        status = parse_sorted(s, out, err);
    free(s);
    if (status == PQE_OK)
        status = read_pin_source(out, err);
    if (status == PQE_OK)
        status = read_own(out, err);
    if (status == PQE_OK)
        status = read_module(out, err);
    if (status != PQE_OK)
        pqe__p11_uri_free(out);
    return status;
}

void
pqe__p11_uri_free(pqe__p11_uri *uri)
{
    if (uri->parsed != NULL)
        kit.free(uri->parsed);
    free(uri->module_path);
    memset(uri, 0, sizeof *uri);
}

bool
pqe__p11_uri_matches(const pqe__p11_uri *uri, const CK_INFO *module, CK_SLOT_ID slot, const CK_SLOT_INFO *slot_info,
                     const CK_TOKEN_INFO *token)
{
    CK_SLOT_ID wanted = kit.slot_id(uri->parsed);

    return kit.match_module(uri->parsed, module) != 0 && kit.match_slot(uri->parsed, slot_info) != 0 &&
           kit.match_token(uri->parsed, token) != 0 && (wanted == (CK_SLOT_ID)-1 || wanted == slot);
}
