/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * dlopen(3) and a table of functions. What is built against is the header; which flavour (OpenSSL,
 * GnuTLS) is found where the program runs makes no difference. A failed attempt is repeated by the
 * next call, a successful one never.
 *
 * Two things are asked of the library: that it looks names up without blocking its caller, and that
 * a transfer can be dropped while that goes on (CURLOPT_QUICK_EXIT). */
#include "jobs/curl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include <fettle/error.h>

#if LIBCURL_VERSION_NUM < 0x075700
#error "libcurl 7.87 or newer is needed"
#endif

static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ftl__curl table; /* guarded by lock until it is complete */
static bool complete;

/* The object, or NULL with an error about the first name. */
static void *open_library(char *error, size_t error_size)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (library != NULL)
            return library;
        if (i == 0)
            snprintf(error, error_size, "%s", dlerror());
    }
    return NULL;
}

static int find(void *library, const char *name, void **ret_function, char *error,
                size_t error_size)
{
    *ret_function = dlsym(library, name);
    if (*ret_function != NULL)
        return 0;
    snprintf(error, error_size, "%s", dlerror());
    return FTL_ENOENT;
}

static int fill(void *library, char *error, size_t error_size)
{
    int rc = 0;
#define FIND(name)                                                                                 \
    if (rc == 0)                                                                                   \
        rc = find(library, "curl_" #name, (void **)&table.name, error, error_size);
    FTL__CURL_FUNCTIONS(FIND)
#undef FIND
    return rc;
}

static int check(char *error, size_t error_size)
{
    const curl_version_info_data *info = table.version_info(CURLVERSION_NOW);
    if (info->version_num < 0x075700) {
        snprintf(error, error_size, "libcurl %s is too old: 7.87 or newer is needed",
                 info->version);
        return FTL_EINVAL;
    }
    if (!(info->features & CURL_VERSION_ASYNCHDNS)) {
        snprintf(error, error_size, "libcurl %s blocks its caller while it looks up names",
                 info->version);
        return FTL_EINVAL;
    }
    return 0;
}

static int load(char *error, size_t error_size)
{
    void *library = open_library(error, error_size);
    if (library == NULL)
        return FTL_ENOENT;
    int rc = fill(library, error, error_size);
    if (rc == 0)
        rc = check(error, error_size);
    if (rc != 0) {
        dlclose(library);
        return rc;
    }
    if (table.global_init(CURL_GLOBAL_ALL) == 0)
        return 0;
    snprintf(error, error_size, "libcurl could not be initialised");
    return FTL_ENOMEM; /* it may have begun: not closed */
}

const struct ftl__curl *ftl__curl_load(char *error, size_t error_size)
{
    pthread_mutex_lock(&lock);
    if (!complete)
        complete = load(error, error_size) == 0;
    pthread_mutex_unlock(&lock);
    return complete ? &table : NULL;
}
