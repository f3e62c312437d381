/* SPDX-License-Identifier: MIT
 *
 * An invocation: which program a handler starts, with which arguments, environment and directory.
 * Settled when the configuration is read. */
#ifndef FETTLE_JOBS_INVOCATION_H
#define FETTLE_JOBS_INVOCATION_H

#include <stdbool.h>
#include <stddef.h>

#include <fettle/error.h>

struct ftl__invocation {
    char **argv; /* NULL-terminated, like env; argv[0] is an absolute path */
    char **env;
    size_t env_count;
    char *cwd;
};

/* Finds the program argv[0] (absolute, or a name in the PATH that it will see itself) and copies
 * all. `env` ("NAME=value", NULL-terminated, may be NULL) goes on top of a clean environment; cwd
 * NULL = "/". FTL_EINVAL, FTL_ENOMEM: nothing is held, and `error` says in one line what is wrong,
 * beginning with `what`, which is the key of the configuration. */
int ftl__invocation_init(struct ftl__invocation *invocation, const char *what,
                         const char *const *argv, const char *const *env, const char *cwd,
                         char *error, size_t error_size);
void ftl__invocation_fini(struct ftl__invocation *invocation); /* zeroed, or initialised */
bool ftl__invocation_equal(const struct ftl__invocation *a, const struct ftl__invocation *b);

#endif
