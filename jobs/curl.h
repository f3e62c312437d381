/* SPDX-License-Identifier: MIT
 *
 * libcurl, loaded when the first handler needs it: whoever runs no HTTP handler has neither it nor
 * TLS in memory. The fields are its functions of the same names. */
#ifndef FETTLE_JOBS_CURL_H
#define FETTLE_JOBS_CURL_H

#include <curl/curl.h>

#define FTL__CURL_FUNCTIONS(X)                                                                     \
    X(global_init)                                                                                 \
    X(version_info)                                                                                \
    X(getdate)                                                                                     \
    X(slist_append)                                                                                \
    X(slist_free_all)                                                                              \
    X(easy_init)                                                                                   \
    X(easy_setopt)                                                                                 \
    X(easy_getinfo)                                                                                \
    X(easy_reset)                                                                                  \
    X(easy_cleanup)                                                                                \
    X(easy_strerror)                                                                               \
    X(multi_init)                                                                                  \
    X(multi_setopt)                                                                                \
    X(multi_add_handle)                                                                            \
    X(multi_remove_handle)                                                                         \
    X(multi_socket_action)                                                                         \
    X(multi_info_read)                                                                             \
    X(multi_cleanup)

#define FTL__CURL_FIELD(name) __typeof__(curl_##name) *name;
struct ftl__curl {
    FTL__CURL_FUNCTIONS(FTL__CURL_FIELD)
};
#undef FTL__CURL_FIELD

/* The library, which stays loaded from then on; any thread. NULL: it is not there, too old or not
 * fit, and `error` says in one line what is missing. */
const struct ftl__curl *ftl__curl_load(char *error, size_t error_size);

#endif
