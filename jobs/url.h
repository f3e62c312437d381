/* SPDX-License-Identifier: MIT
 *
 * A URL taken apart: scheme://[user[:password]@][host][:port][/path][?name=value&...], RFC 3986
 * with percent-escapes decoded. It knows no scheme: which parts an address may have is the caller's
 * business. */
#ifndef FETTLE_JOBS_URL_H
#define FETTLE_JOBS_URL_H

#include <stddef.h>
#include <stdint.h>

#include <fettle/error.h>

struct ftl__url_item {
    const char *name, *value; /* "" where there is no value */
};

/* All texts are decoded, NUL-terminated and owned by the URL. */
struct ftl__url {
    const char *scheme;   /* in lower case                                         */
    const char *user;     /* NULL if absent or empty                               */
    const char *password; /* NULL if absent                                        */
    const char *host;     /* NULL if absent or empty; [IPv6] without its brackets  */
    uint16_t port;        /* 0 = absent                                            */
    const char *path;     /* with its leading slash; "" if absent                  */
    const struct ftl__url_item *query;
    size_t query_count;
};

/* 0: *ret_url, freed with ftl__url_free(). FTL_EINVAL: *ret_reason is a static text that reads well
 * after "KEY: " and never quotes the URL, which may hold a password. FTL_ENOMEM likewise. */
int ftl__url_parse(const char *text, struct ftl__url **ret_url, const char **ret_reason);

/* Wipes and frees; NULL-safe. */
void ftl__url_free(struct ftl__url *url);

/* The value of the first query item of that name, or NULL. */
const char *ftl__url_query(const struct ftl__url *url, const char *name);

#endif
