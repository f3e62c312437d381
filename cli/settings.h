/* SPDX-License-Identifier: MIT
 *
 * What `fettle` needs to know from the daemon's configuration: where Redis is, and how large a job
 * may be. Everything else in the file is the daemon's business. */
#ifndef FETTLE_CLI_SETTINGS_H
#define FETTLE_CLI_SETTINGS_H

#include <stddef.h>

#include "cli/cli.h"
#include "runtime/tls.h"

struct ftl__cli_settings {
    char *url;
    char *password; /* from password_file, or NULL */
    char *user;     /* or NULL: the one of the URL */
    /* NULL-terminated, or NULL: then `url` says where Redis is. */
    char **sentinels;
    char *master, *sentinel_password; /* with sentinels; the password may be NULL */
    int db;                           /* with sentinels */
    struct ftl__tls_options tls;      /* redis.tls */
    bool tls_set;                     /* the group is there */
    char *prefix;   /* never NULL */
    size_t max_payload;
};

/* --redis and --prefix, then $FETTLE_REDIS_URL, then the configuration file (which must exist only
 * if it was named), then defaults. 0: *ret_settings, cleared with ftl__cli_settings_clear().
 * Otherwise an exit code, and the reason was printed. */
int ftl__cli_settings_read(const struct ftl__cli_options *options,
                           struct ftl__cli_settings *ret_settings);
void ftl__cli_settings_clear(struct ftl__cli_settings *settings); /* wipes the password */

#endif
