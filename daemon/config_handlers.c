/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The configured handlers made real: modules are loaded, programs and the directories they
 * start in are looked for, headers are read, and all of them stand in a registry in their order.
 * What fails is an error with the handler's line, so that --check-config finds it, and a reload
 * leaves the old registry as it is. A module that a failed attempt has loaded stays loaded: dlopen counts, and it
 * is the same one next time. */
#include "daemon/config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "daemon/endpoint.h"
#include "jobs/registry.h"

#define LATER 60.0 /* seconds until a run that exited with 75 is tried again */

static int make_native(const struct ftl__config *config, const struct ftl__handler_config *from,
                       const struct ftl__handler_settings *settings, struct ftl__handler **ret,
                       char *reason, size_t size)
{
    bool moves = from->isolation == FTL__ISOLATION_AUTO;
    /* A class that moves keeps its room: what waits for a place would use up its timeout. */
    const struct ftl__children_settings children = {.processes = from->processes,
                                                    .concurrency = moves ? config->concurrency : 0,
                                                    .start_timeout = from->start_timeout,
                                                    .limits = from->limits};
    struct ftl__handler *native;
    int rc = ftl__native_new(settings, from->module, (const char *const *)config->module_path,
                             config->module_path_count, &native, reason, size);
    if (rc != 0)
        return rc;
    if (from->isolation == FTL__ISOLATION_PROCESS)
        rc = ftl__hosted_new(settings, &children, native, &native, reason, size);
    else if (moves)
        ftl__native_allow_children(native, &children);
    if (rc == 0)
        *ret = native;
    else
        ftl__handler_unref(native);
    return rc;
}

static int check_cwd(const char *cwd, char *reason, size_t size)
{
    struct stat st;
    int error = stat(cwd, &st) != 0 ? errno : S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
    if (error == 0)
        return 0;
    snprintf(reason, size, "%s: %s", cwd, strerrordesc_np(error));
    return FTL_EINVAL;
}

/* One beyond our own hard limit would fail each run. */
static int check_limits(const struct ftl_process_limits *limits, const char **ret_key, char *reason,
                        size_t size)
{
    const struct {
        const char *key;
        __rlimit_resource_t resource;
        uint64_t value;
    } wanted[] = {
        {"memory", RLIMIT_AS, limits->memory},
        {"cpu_seconds", RLIMIT_CPU, limits->cpu_seconds},
        {"files", RLIMIT_NOFILE, limits->files},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct rlimit own;
        if (getrlimit(wanted[i].resource, &own) == 0 && wanted[i].value > own.rlim_max) {
            *ret_key = wanted[i].key;
            snprintf(reason, size, "%llu is above the hard limit of this process, %llu",
                     (unsigned long long)wanted[i].value, (unsigned long long)own.rlim_max);
            return FTL_EINVAL;
        }
    }
    return 0;
}

static int make_command(const struct ftl__handler_config *from,
                        const struct ftl__handler_settings *settings, struct ftl__handler **ret,
                        char *reason, size_t size)
{
    const struct ftl__command_settings command = {
        .argv = (const char *const *)from->command,
        .env = (const char *const *)from->env,
        .cwd = from->cwd,
        .dead_exit = from->dead_exit,
        .dead_exit_count = from->dead_exit_count,
        .limits = from->limits,
        .later = LATER,
    };
    return ftl__command_new(settings, &command, ret, reason, size);
}

static int make_worker(const struct ftl__handler_config *from,
                       const struct ftl__handler_settings *settings, struct ftl__handler **ret,
                       char *reason, size_t size)
{
    const struct ftl__worker_settings worker = {
        .argv = (const char *const *)from->worker,
        .env = (const char *const *)from->env,
        .cwd = from->cwd,
        .limits = from->limits,
        .processes = from->processes,
        .start_timeout = from->start_timeout,
    };
    return ftl__workers_new(settings, &worker, ret, reason, size);
}

static int make(const struct ftl__config *config, const struct ftl__handler_config *from,
                const struct ftl__handler_settings *settings, struct ftl__handler **ret,
                const char **ret_key, char *reason, size_t size)
{
    switch (from->type) {
    case FTL__HANDLER_MODULE:
        *ret_key = "module";
        return make_native(config, from, settings, ret, reason, size);
    case FTL__HANDLER_COMMAND:
        *ret_key = "command";
        return make_command(from, settings, ret, reason, size);
    case FTL__HANDLER_WORKER:
        *ret_key = "worker";
        return make_worker(from, settings, ret, reason, size);
    case FTL__HANDLER_HTTP:
        break;
    }
    return ftl__endpoint_make(from, settings, ret, ret_key, reason, size);
}

/* On an error *ret_key is the key that it is about. */
static int add(const struct ftl__config *config, const struct ftl__handler_config *from,
               struct ftl__registry *registry, const char **ret_key, char *reason, size_t size)
{
    const struct ftl__handler_settings settings = {
        .pattern = from->class,
        .timeout = from->timeout,
        .kill_after = from->kill_after,
        .concurrency = from->concurrency,
        .stack_size = from->stack_size,
        .blocking = from->blocking,
    };
    struct ftl__handler *handler;
    if (from->cwd != NULL && check_cwd(from->cwd, reason, size) != 0) {
        *ret_key = "cwd";
        return FTL_EINVAL;
    }
    if (check_limits(&from->limits, ret_key, reason, size) != 0)
        return FTL_EINVAL;
    int rc = make(config, from, &settings, &handler, ret_key, reason, size);
    if (rc != 0)
        return rc;
    rc = ftl__registry_add(registry, handler);
    if (rc != 0) {
        ftl__handler_unref(handler);
        snprintf(reason, size, "%s", ftl_error_text(rc));
    }
    return rc;
}

int ftl__config_handlers(const struct ftl__config *config, struct ftl__registry **ret_registry,
                         char *error, size_t error_size)
{
    struct ftl__registry *registry = ftl__registry_new();
    if (registry == NULL) {
        snprintf(error, error_size, "%s: %s", config->file, ftl_error_text(FTL_ENOMEM));
        return FTL_ENOMEM;
    }
    for (size_t i = 0; i < config->handler_count; i++) {
        const struct ftl__handler_config *from = &config->handlers[i];
        const char *key;
        char reason[512];
        int rc = add(config, from, registry, &key, reason, sizeof(reason));
        if (rc != 0) {
            snprintf(error, error_size, "%s:%u: handlers[%zu].%s: %s", config->file, from->line, i,
                     key, reason);
            ftl__registry_free(registry);
            return rc;
        }
    }
    *ret_registry = registry;
    return 0;
}
