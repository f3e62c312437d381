/* SPDX-License-Identifier: MIT
 *
 * The command line of fettled. */
#ifndef FETTLE_DAEMON_OPTIONS_H
#define FETTLE_DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum ftl__mode { FTL__MODE_RUN, FTL__MODE_CHECK, FTL__MODE_DEV, FTL__MODE_VERSION, FTL__MODE_HELP,
                 FTL__MODE_HOST };

/* Exit codes: an interface. */
enum ftl__exit {
    FTL__EXIT_OK = 0,     /* all settled or returned                */
    FTL__EXIT_CONFIG = 1, /* the configuration, or the start, failed */
    FTL__EXIT_USAGE = 2,
    FTL__EXIT_LEFT = 3, /* stopped, jobs are left for the lease   */
};

struct ftl__options {
    enum ftl__mode mode;
    const char *config;  /* of RUN and CHECK; never NULL     */
    const char *dev_dir; /* of DEV; NULL: a temporary one    */
    const char *host_module; /* of HOST: a file              */
    unsigned host_runs;      /* at once, 1 to 1000           */
    size_t host_stack;       /* bytes; 0: the default        */
};

/* 0: *ret_options, whose strings are those of argv or static. FTL_EINVAL: `error` has one line.
 * Reads argv only, and leaves its order alone. */
int ftl__options_parse(int argc, char *const *argv, struct ftl__options *ret_options, char *error,
                       size_t error_size);

extern const char ftl__options_help[];

#endif
