/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A handler is of the type whose key it has: a module, a command, a worker, a url. Keys that only
 * other types have are errors, since they would have no effect. Pure. */
#include <config.h>

#include "daemon/handler_keys.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/endpoint.h"
#include "jobs/run.h"

#define DAY 86400.0

static const char *const blocking[] = {"auto", NULL}; /* besides false and true */

static const char *const isolations[] = {"auto", "task", "process", NULL};

#define MEMBER(type, member) .offset = offsetof(struct type, member)
#define COUNT(type, member)  .count_offset = offsetof(struct type, member)

const struct ftl__key ftl__handler_keys[] = {
    {"class", FTL__KEY_TEXT, MEMBER(ftl__handler_config, class), .min = 1, .max = FTL__CLASS_MAX},
    {"module", FTL__KEY_TEXT, MEMBER(ftl__handler_config, module), .min = 1, .max = 4095},
    {"command", FTL__KEY_TEXTS, MEMBER(ftl__handler_config, command), .min = 1, .max = 256},
    {"env", FTL__KEY_TEXTS, MEMBER(ftl__handler_config, env), .min = 0, .max = 256},
    {"cwd", FTL__KEY_TEXT, MEMBER(ftl__handler_config, cwd), .min = 1, .max = 4095},
    {"dead_exit", FTL__KEY_CODES, MEMBER(ftl__handler_config, dead_exit), .min = 1, .max = 255,
     COUNT(ftl__handler_config, dead_exit_count)},
    {"timeout", FTL__KEY_SECONDS, MEMBER(ftl__handler_config, timeout), .min = 0, .max = 365 * DAY},
    {"kill_after", FTL__KEY_SECONDS, MEMBER(ftl__handler_config, kill_after), .min = 0,
     .max = 3600},
    {"concurrency", FTL__KEY_UINT, MEMBER(ftl__handler_config, concurrency), .min = 0,
     .max = 65536},
    {"stack_size", FTL__KEY_SIZE, MEMBER(ftl__handler_config, stack_size), .min = 16384,
     .max = 1 << 30},
    {"blocking", FTL__KEY_BOOL_OR_WORD, MEMBER(ftl__handler_config, blocking), .words = blocking},
    {"memory", FTL__KEY_SIZE, MEMBER(ftl__handler_config, limits.memory), .min = 1 << 20,
     .max = 1e15},
    {"cpu_seconds", FTL__KEY_SIZE, MEMBER(ftl__handler_config, limits.cpu_seconds), .min = 1,
     .max = 365 * DAY},
    {"files", FTL__KEY_SIZE, MEMBER(ftl__handler_config, limits.files), .min = 8, .max = 1 << 30},
    {"nice", FTL__KEY_UINT, MEMBER(ftl__handler_config, limits.nice), .min = 0, .max = 19},
    {"worker", FTL__KEY_TEXTS, MEMBER(ftl__handler_config, worker), .min = 1, .max = 256},
    {"processes", FTL__KEY_UINT, MEMBER(ftl__handler_config, processes), .min = 1, .max = 256},
    {"start_timeout", FTL__KEY_SECONDS, MEMBER(ftl__handler_config, start_timeout), .min = 0.1,
     .max = 3600},
#ifdef HAVE_CURL
    {"url", FTL__KEY_TEXT, MEMBER(ftl__handler_config, url), .min = 1, .max = 4096},
#else
    {"url", FTL__KEY_REFUSED, .why = "this fettled was built without libcurl: no HTTP handlers"},
#endif
    {"headers", FTL__KEY_TEXTS, MEMBER(ftl__handler_config, headers), .min = 0, .max = 32},
    {"headers_file", FTL__KEY_TEXT, MEMBER(ftl__handler_config, headers_file), .min = 1,
     .max = 4095},
    {"ca_file", FTL__KEY_TEXT, MEMBER(ftl__handler_config, ca_file), .min = 1, .max = 4095},
    {"verify", FTL__KEY_BOOL, MEMBER(ftl__handler_config, verify)},
    {"connect_timeout", FTL__KEY_SECONDS, MEMBER(ftl__handler_config, connect_timeout), .min = 0.1,
     .max = 3600},
    {"max_response", FTL__KEY_SIZE, MEMBER(ftl__handler_config, max_response), .min = 1024,
     .max = 1 << 30},
    {"retry_status", FTL__KEY_CODES, MEMBER(ftl__handler_config, retry_status), .min = 400,
     .max = 499, COUNT(ftl__handler_config, retry_status_count)},
    {"isolation", FTL__KEY_WORD, MEMBER(ftl__handler_config, isolation), .words = isolations},
    {.name = NULL},
};

const struct ftl__handler_config ftl__handler_defaults = {
    .kill_after = 5,
    .processes = 1,
    .start_timeout = 30,
    .blocking = FTL__BLOCKING_AUTO,
    .verify = true,
    .connect_timeout = 10,
    .max_response = 1 << 20,
};

/* Keys that only some types of handler have. */
#define OF(type) (1u << FTL__HANDLER_##type)
static const struct {
    const char *name;
    unsigned types;
} special_keys[] = {
    {"stack_size", OF(MODULE)},
    {"blocking", OF(MODULE)},
    {"env", OF(COMMAND) | OF(WORKER)},
    {"cwd", OF(COMMAND) | OF(WORKER)},
    {"dead_exit", OF(COMMAND)},
    {"memory", OF(COMMAND) | OF(WORKER) | OF(MODULE)},
    {"cpu_seconds", OF(COMMAND) | OF(WORKER) | OF(MODULE)},
    {"files", OF(COMMAND) | OF(WORKER) | OF(MODULE)},
    {"nice", OF(COMMAND) | OF(WORKER) | OF(MODULE)},
    {"processes", OF(WORKER) | OF(MODULE)},
    {"start_timeout", OF(WORKER) | OF(MODULE)},
    {"isolation", OF(MODULE)},
    {"kill_after", OF(MODULE) | OF(COMMAND) | OF(WORKER)},
    {"headers", OF(HTTP)},
    {"headers_file", OF(HTTP)},
    {"ca_file", OF(HTTP)},
    {"verify", OF(HTTP)},
    {"connect_timeout", OF(HTTP)},
    {"max_response", OF(HTTP)},
    {"retry_status", OF(HTTP)},
};

static int check_effect(const struct ftl__settings *settings, const config_setting_t *at,
                        enum ftl__handler_type type)
{
    static const char *const types[] = {"module", "command", "worker", "url"};
    for (size_t i = 0; i < sizeof(special_keys) / sizeof(*special_keys); i++) {
        const config_setting_t *setting = config_setting_get_member(at, special_keys[i].name);
        if (setting != NULL && (special_keys[i].types & 1u << type) == 0)
            return ftl__settings_fail(settings, setting, "has no effect on a %s", types[type]);
    }
    return 0;
}

static bool environment_name(const char *text, size_t size)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    return size > 0 && strspn(text, letters) == size && (text[0] < '0' || text[0] > '9');
}

static int check_env(const struct ftl__settings *settings, const config_setting_t *at,
                     char *const *env)
{
    for (unsigned i = 0; env[i] != NULL; i++) {
        const config_setting_t *element = config_setting_get_elem(at, i);
        size_t size = strcspn(env[i], "=");
        if (env[i][size] != '=' || !environment_name(env[i], size))
            return ftl__settings_fail(settings, element, "must be \"NAME=value\"");
        if (strncmp(env[i], "FETTLE_", 7) == 0)
            return ftl__settings_fail(settings, element, "names with FETTLE_ are fettled's own");
        for (unsigned j = 0; j < i; j++)
            if (strncmp(env[i], env[j], size + 1) == 0)
                return ftl__settings_fail(settings, element, "%.*s is set twice", (int)size,
                                          env[i]);
    }
    return 0;
}

/* Keys of processes, and of tasks, where there are none. With "auto" there may be both. */
static int check_isolation(const struct ftl__settings *settings, const config_setting_t *at,
                           const struct ftl__handler_config *handler)
{
    static const char *const of_processes[] = {"processes", "start_timeout", "memory",
                                               "cpu_seconds", "files", "nice", NULL};
    static const char *const of_tasks[] = {"blocking", NULL};
    bool process = handler->isolation == FTL__ISOLATION_PROCESS;
    const char *const *name = process ? of_tasks : of_processes;
    if (handler->isolation == FTL__ISOLATION_AUTO)
        return 0;
    for (; *name != NULL; name++) {
        const config_setting_t *setting = config_setting_get_member(at, *name);
        if (setting != NULL)
            return ftl__settings_fail(settings, setting, "has no effect with isolation = \"%s\"",
                                      process ? "process" : "task");
    }
    return 0;
}

/* What a command or a worker has where nothing is said. */
static int complete_command(const struct ftl__settings *settings,
                            struct ftl__handler_config *handler)
{
    if (handler->env == NULL)
        handler->env = calloc(1, sizeof(*handler->env));
    if (handler->dead_exit == NULL && (handler->dead_exit = malloc(sizeof(int))) != NULL) {
        handler->dead_exit[0] = 65;
        handler->dead_exit_count = 1;
    }
    return handler->env != NULL && handler->dead_exit != NULL ? 0
                                                              : ftl__settings_no_memory(settings);
}

/* A command or a worker, whose program and arguments stand in `key`. */
static int check_program(const struct ftl__settings *settings, const config_setting_t *at,
                         struct ftl__handler_config *handler, const char *key, char *const *argv)
{
    int rc = complete_command(settings, handler);
    if (rc != 0)
        return rc;
    if (argv[0][0] == '\0')
        return ftl__settings_fail(settings, config_setting_get_member(at, key),
                                  "the program's name is empty");
    if (handler->cwd != NULL && handler->cwd[0] != '/')
        return ftl__settings_fail(settings, config_setting_get_member(at, "cwd"),
                                  "must be an absolute path");
    for (size_t i = 0; i < handler->dead_exit_count; i++)
        if (handler->dead_exit[i] == 75)
            return ftl__settings_fail(settings, config_setting_get_member(at, "dead_exit"),
                                      "75 means \"later\" and cannot mean \"never again\"");
    return check_env(settings, config_setting_get_member(at, "env"), handler->env);
}

int ftl__handler_check(const struct ftl__settings *settings, const config_setting_t *at,
                       void *record)
{
    struct ftl__handler_config *handler = record;
    handler->line = config_setting_source_line(at);
    if (handler->class == NULL)
        return ftl__settings_fail(settings, at, "needs a class");
    int types = (handler->module != NULL) + (handler->command != NULL) +
                (handler->worker != NULL) + (handler->url != NULL);
    if (types == 0)
        return ftl__settings_fail(settings, at, "needs a module, a command, a worker or a url");
    if (types > 1)
        return ftl__settings_fail(settings, at,
                                  "has more than one of module, command, worker and url");
    handler->type = handler->module != NULL    ? FTL__HANDLER_MODULE
                    : handler->command != NULL ? FTL__HANDLER_COMMAND
                    : handler->worker != NULL  ? FTL__HANDLER_WORKER
                                               : FTL__HANDLER_HTTP;
    int rc = check_effect(settings, at, handler->type);
    if (rc == 0 && handler->type == FTL__HANDLER_MODULE)
        rc = check_isolation(settings, at, handler);
    if (rc == 0 && handler->type == FTL__HANDLER_COMMAND)
        rc = check_program(settings, at, handler, "command", handler->command);
    if (rc == 0 && handler->type == FTL__HANDLER_WORKER)
        rc = check_program(settings, at, handler, "worker", handler->worker);
    if (rc == 0 && handler->type == FTL__HANDLER_HTTP)
        rc = ftl__endpoint_check(settings, at, handler);
    return rc;
}
