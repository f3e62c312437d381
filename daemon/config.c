/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The tables below are the configuration: each key with its type, its range and its place
 * in struct ftl__config. settings.c reads a file by them; what a table cannot say (two keys that
 * exclude each other, a weight without weighted order, a handler that is never reached) is checked
 * here, entry by entry. The result is a value: nobody changes it, a reload reads a new one. Used at
 * start and by the task that reloads; no state. It opens no connection and loads no module
 * (config_handlers.c). */
#include "daemon/config.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/address.h"
#include "daemon/handler_keys.h"
#include "daemon/settings.h"
#include "daemon/source.h"
#include "jobs/retry.h"
#include "jobs/run.h"

#ifndef FTL_LIBDIR
#define FTL_LIBDIR "/usr/lib"
#endif
#define MODULES FTL_LIBDIR "/fettle" /* where modules are if nothing is said */
#define DAY 86400.0
#define HOUR 3600.0

/* The texts of `redis` become an address once all of it has been read. */
struct draft {
    struct ftl__config config; /* first: the tables' offsets are those of struct ftl__config */
    char *url;
    char *password_file;
    char **sentinels;
    char *master;
    char *user;
    char *sentinel_password_file;
    size_t sentinel_count;
    uint32_t db;
    struct ftl__tls_options tls;
};

/* ---- the tables -------------------------------------------------------------------------- */

static int check_queue(const struct ftl__settings *settings, const config_setting_t *at,
                       void *record);

static const char *const orders[] = {"strict", "weighted", NULL};
static const char *const on_segv[] = {"restart", "continue", "die", NULL};
static const char *const levels[] = {"debug", "info", "warning", "error", NULL};
static const char *const formats[] = {"auto", "logfmt", "json", "journal", NULL};
static const char *const log_jobs[] = {"none", "failures", "all", NULL};

#define MEMBER(type, member) .offset = offsetof(struct type, member)
#define COUNT(type, member) .count_offset = offsetof(struct type, member)

static const struct ftl__key tls_keys[] = {
    {"ca_file", FTL__KEY_TEXT, MEMBER(draft, tls.ca_file), .min = 1, .max = 4095},
    {"cert_file", FTL__KEY_TEXT, MEMBER(draft, tls.cert_file), .min = 1, .max = 4095},
    {"key_file", FTL__KEY_TEXT, MEMBER(draft, tls.key_file), .min = 1, .max = 4095},
    {"server_name", FTL__KEY_TEXT, MEMBER(draft, tls.server_name), .min = 1, .max = 255},
    {"verify", FTL__KEY_BOOL, MEMBER(draft, tls.verify)},
    {.name = NULL},
};

static const struct ftl__key redis_keys[] = {
    {"url", FTL__KEY_TEXT, MEMBER(draft, url), .min = 1, .max = 4096},
    {"password_file", FTL__KEY_TEXT, MEMBER(draft, password_file), .min = 1, .max = 4095},
    {"prefix", FTL__KEY_TEXT, MEMBER(ftl__config, prefix), .min = 0, .max = 128},
    {"user", FTL__KEY_TEXT, MEMBER(draft, user), .min = 1, .max = 256},
    {"sentinels", FTL__KEY_TEXTS, MEMBER(draft, sentinels), .min = 1, .max = 16,
     COUNT(draft, sentinel_count)},
    {"master", FTL__KEY_TEXT, MEMBER(draft, master), .min = 1, .max = 128},
    {"db", FTL__KEY_UINT, MEMBER(draft, db), .min = 0, .max = 65535},
    {"sentinel_password_file", FTL__KEY_TEXT, MEMBER(draft, sentinel_password_file), .min = 1,
     .max = 4095},
    {"tls", FTL__KEY_GROUP, .keys = tls_keys},
    {.name = NULL},
};

static const struct ftl__key queue_keys[] = {
    {"name", FTL__KEY_TEXT, MEMBER(ftl__queue_config, name), .min = 1, .max = FTL__QUEUE_MAX},
    {"concurrency", FTL__KEY_UINT, MEMBER(ftl__queue_config, concurrency), .min = 0, .max = 65536},
    {"weight", FTL__KEY_UINT, MEMBER(ftl__queue_config, weight), .min = 1, .max = 10000},
    {.name = NULL},
};

static const struct ftl__key dead_keys[] = {
    {"max_jobs", FTL__KEY_UINT, MEMBER(ftl__config, dead_max_jobs), .min = 0, .max = UINT32_MAX},
    {"max_age", FTL__KEY_SECONDS, MEMBER(ftl__config, dead_max_age), .min = 0, .max = 36500 * DAY},
    {.name = NULL},
};

static const struct ftl__key log_keys[] = {
    {"level", FTL__KEY_WORD, MEMBER(ftl__config, log_level), .words = levels},
    {"format", FTL__KEY_WORD, MEMBER(ftl__config, log_format), .words = formats},
    {"jobs", FTL__KEY_WORD, MEMBER(ftl__config, log_jobs), .words = log_jobs},
    {.name = NULL},
};

static const struct ftl__queue_config new_queue = {.weight = 1};
static const struct ftl__key config_keys[] = {
    {"redis", FTL__KEY_GROUP, .keys = redis_keys},
    {"require_durable", FTL__KEY_BOOL, MEMBER(ftl__config, require_durable)},
    {"concurrency", FTL__KEY_UINT, MEMBER(ftl__config, concurrency), .min = 1, .max = 65536},
    {"workers", FTL__KEY_UINT, MEMBER(ftl__config, workers), .min = 0, .max = 1024},
    {"cgroup", FTL__KEY_TEXT, MEMBER(ftl__config, cgroup), .min = 1, .max = 4000},
    {"order", FTL__KEY_WORD, MEMBER(ftl__config, order), .words = orders},
    {"on_segv", FTL__KEY_WORD, MEMBER(ftl__config, on_segv), .words = on_segv},
    {"queues", FTL__KEY_LIST, MEMBER(ftl__config, queues), .max = 256,
     COUNT(ftl__config, queue_count), .keys = queue_keys,
     .record_size = sizeof(struct ftl__queue_config), .defaults = &new_queue, .check = check_queue},
    {"module_path", FTL__KEY_TEXTS, MEMBER(ftl__config, module_path), .min = 0, .max = 64,
     COUNT(ftl__config, module_path_count)},
    {"handlers", FTL__KEY_LIST, MEMBER(ftl__config, handlers), .max = 1024,
     COUNT(ftl__config, handler_count), .keys = ftl__handler_keys,
     .record_size = sizeof(struct ftl__handler_config), .defaults = &ftl__handler_defaults,
     .check = ftl__handler_check},
    {"shutdown_timeout", FTL__KEY_SECONDS, MEMBER(ftl__config, shutdown_timeout), .min = 0,
     .max = 7 * DAY},
    {"lease_ttl", FTL__KEY_SECONDS, MEMBER(ftl__config, lease_ttl), .min = 1, .max = 3600},
    {"max_payload", FTL__KEY_SIZE, MEMBER(ftl__config, max_payload), .min = 64, .max = 64 << 20},
    {"unroutable_ttl", FTL__KEY_SECONDS, MEMBER(ftl__config, unroutable_ttl), .min = 0,
     .max = 36500 * DAY},
    {"isolation_ttl", FTL__KEY_SECONDS, MEMBER(ftl__config, isolation_ttl), .min = 1,
     .max = 365 * DAY},
    {"dead", FTL__KEY_GROUP, .keys = dead_keys},
    {"log", FTL__KEY_GROUP, .keys = log_keys},
    {.name = NULL},
};

static const struct ftl__config defaults = {
    .concurrency = 64,
    .order = FTL__ORDER_STRICT,
    .shutdown_timeout = 25,
    .lease_ttl = 15,
    .unroutable_ttl = DAY,
    .isolation_ttl = HOUR,
    .max_payload = 1 << 20,
    .log_level = FTL__INFO,
    .log_format = FTL__LOG_AUTO,
    .log_jobs = FTL__LOG_JOBS_FAILURES,
};

/* ---- one queue ---------------------------------------------------------------------------- */

static int check_queue(const struct ftl__settings *settings, const config_setting_t *at,
                       void *record)
{
    struct ftl__queue_config *queue = record;
    queue->line = config_setting_source_line(at);
    if (queue->name == NULL)
        return ftl__settings_fail(settings, at, "needs a name");
    if (!ftl__queue_name_valid(queue->name, strlen(queue->name)))
        return ftl__settings_fail(settings, config_setting_get_member(at, "name"),
                                  "\"%s\" is no queue name: [A-Za-z0-9_:.-], at most %d",
                                  queue->name, FTL__QUEUE_MAX);
    return 0;
}

/* ---- the whole --------------------------------------------------------------------------- */

static int check_queues(const struct ftl__settings *settings, const config_setting_t *root,
                        const struct ftl__config *config)
{
    const config_setting_t *queues = config_setting_get_member(root, "queues");
    if (queues != NULL && config->queue_count == 0)
        return ftl__settings_fail(settings, queues, "at least one queue is needed");
    for (size_t i = 0; i < config->queue_count; i++) {
        const config_setting_t *at = config_setting_get_elem(queues, (unsigned)i);
        const config_setting_t *weight = at ? config_setting_get_member(at, "weight") : NULL;
        if (weight != NULL && config->order == FTL__ORDER_STRICT)
            return ftl__settings_fail(settings, weight, "has no effect with order = \"strict\"");
        for (size_t j = 0; j < i; j++)
            if (strcmp(config->queues[i].name, config->queues[j].name) == 0)
                return ftl__settings_fail(settings, config_setting_get_member(at, "name"),
                                          "\"%s\" is queues[%zu] already", config->queues[i].name,
                                          j);
    }
    return 0;
}

/* All but a module take every class that their pattern matches. (A module leaves those it does not
 * have to the handlers behind it.) */
static bool takes_all_of(const struct ftl__handler_config *first,
                         const struct ftl__handler_config *later)
{
    if (first->type == FTL__HANDLER_MODULE)
        return false;
    if (strcmp(first->class, "*") == 0 || strcmp(first->class, later->class) == 0)
        return true;
    return strpbrk(later->class, "*?[\\") == NULL && fnmatch(first->class, later->class, 0) == 0;
}

static int check_handlers(const struct ftl__settings *settings, const config_setting_t *root,
                          const struct ftl__config *config)
{
    const config_setting_t *handlers = config_setting_get_member(root, "handlers");
    for (size_t i = 0; i < config->handler_count; i++)
        for (size_t j = 0; j < i; j++)
            if (takes_all_of(&config->handlers[j], &config->handlers[i])) {
                const config_setting_t *at = config_setting_get_elem(handlers, (unsigned)i);
                return ftl__settings_fail(settings, config_setting_get_member(at, "class"),
                                          "is never reached: handlers[%zu] takes it", j);
            }
    return 0;
}

static int check_cgroup(const struct ftl__settings *settings, const config_setting_t *root,
                        const char *cgroup)
{
    if (cgroup == NULL || cgroup[0] == '/' || strcmp(cgroup, "auto") == 0 ||
        strcmp(cgroup, "none") == 0)
        return 0;
    return ftl__settings_fail(settings, config_setting_get_member(root, "cgroup"),
                              "must be \"auto\", \"none\" or an absolute path");
}

static int add_default_queue(const struct ftl__settings *settings, struct ftl__config *config)
{
    config->queues = calloc(1, sizeof(*config->queues));
    if (config->queues == NULL || (config->queues[0].name = strdup("default")) == NULL)
        return ftl__settings_no_memory(settings);
    config->queues[0].weight = 1;
    config->queue_count = 1;
    return 0;
}

static int add_default_path(const struct ftl__settings *settings, struct ftl__config *config)
{
    config->module_path = calloc(2, sizeof(*config->module_path));
    if (config->module_path == NULL || (config->module_path[0] = strdup(MODULES)) == NULL)
        return ftl__settings_no_memory(settings);
    config->module_path_count = 1;
    return 0;
}

static int complete(const struct ftl__settings *settings, struct ftl__config *config)
{
    if (config->queue_count == 0 && add_default_queue(settings, config) != 0)
        return FTL_ENOMEM;
    if (config->module_path == NULL && add_default_path(settings, config) != 0)
        return FTL_ENOMEM;
    if (config->prefix == NULL && (config->prefix = strdup("")) == NULL)
        return ftl__settings_no_memory(settings);
    if (config->cgroup == NULL && (config->cgroup = strdup("auto")) == NULL)
        return ftl__settings_no_memory(settings);
    config->file = strdup(settings->file);
    return config->file != NULL ? 0 : ftl__settings_no_memory(settings);
}

/* ---- redis ------------------------------------------------------------------------------- */

static int add_password(const struct ftl__settings *settings, const config_setting_t *at,
                        struct draft *draft)
{
    char reason[512], path[4096];
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    struct ftl__address *address = &draft->config.redis;
    int rc = 0;
    if (draft->password_file != NULL) {
        if (address->password != NULL)
            return ftl__settings_fail(settings, at, "has no effect: the URL has a password");
        if (draft->password_file[0] != '/')
            return ftl__settings_fail(settings, at, "must be an absolute path");
        rc = ftl__address_read_password(address, draft->password_file, reason, sizeof(reason));
    } else if (address->password == NULL && directory != NULL) {
        snprintf(path, sizeof(path), "%s/redis-password", directory);
        rc = ftl__address_read_password(address, path, reason, sizeof(reason));
        if (rc == FTL_ENOENT)
            return 0; /* credentials, but not this one */
    }
    if (rc != 0)
        ftl__settings_fail(settings, at, "%s", reason);
    return rc == FTL_ENOENT ? FTL_EINVAL : rc;
}

static int check_prefix(const struct ftl__settings *settings, const config_setting_t *at,
                        const char *prefix)
{
    for (const char *c = prefix; c != NULL && *c != '\0'; c++)
        if (*c <= ' ' || *c > '~')
            return ftl__settings_fail(settings, at, "must be printable ASCII without spaces");
    return 0;
}

static const config_setting_t *member(const config_setting_t *group, const char *name)
{
    return group != NULL ? config_setting_get_member(group, name) : NULL;
}

static int add_user(const struct ftl__settings *settings, const config_setting_t *at,
                    struct draft *draft)
{
    struct ftl__address *address = &draft->config.redis;
    if (draft->user == NULL)
        return 0;
    if (address->user != NULL)
        return ftl__settings_fail(settings, at, "has no effect: the URL has a user");
    address->user = strdup(draft->user);
    return address->user != NULL ? 0 : ftl__settings_no_memory(settings);
}

static int add_sentinel_password(const struct ftl__settings *settings, const config_setting_t *at,
                                 struct draft *draft)
{
    struct ftl__address of_sentinels = {.db = 0};
    char reason[512];
    if (draft->sentinel_password_file == NULL)
        return 0;
    if (draft->sentinel_password_file[0] != '/')
        return ftl__settings_fail(settings, at, "must be an absolute path");
    if (ftl__address_read_password(&of_sentinels, draft->sentinel_password_file, reason,
                                   sizeof(reason)) != 0)
        return ftl__settings_fail(settings, at, "%s", reason);
    draft->config.redis.sentinels->password = of_sentinels.password;
    return 0;
}

static int read_sentinels(const struct ftl__settings *settings, const config_setting_t *redis,
                          struct draft *draft)
{
    const config_setting_t *at = member(redis, "sentinels");
    char reason[256];
    if (draft->url != NULL)
        return ftl__settings_fail(settings, member(redis, "url"),
                                  "has no effect: the sentinels know where Redis is");
    if (draft->master == NULL)
        return ftl__settings_fail(settings, at, "need the name of the master: redis.master");
    int rc = ftl__address_sentinels(draft->sentinels, draft->sentinel_count, draft->master,
                                    draft->db, &draft->config.redis, reason, sizeof(reason));
    if (rc != 0) {
        ftl__settings_fail(settings, at, "%s", reason);
        return rc;
    }
    return add_sentinel_password(settings, member(redis, "sentinel_password_file"), draft);
}

static int read_url(const struct ftl__settings *settings, const config_setting_t *redis,
                    struct draft *draft)
{
    static const char *const of_sentinels[] = {"master", "db", "sentinel_password_file"};
    char reason[256];
    for (size_t i = 0; i < sizeof of_sentinels / sizeof *of_sentinels; i++)
        if (member(redis, of_sentinels[i]) != NULL)
            return ftl__settings_fail(settings, member(redis, of_sentinels[i]),
                                      "has no effect without redis.sentinels");
    int rc = ftl__address_parse(draft->url != NULL ? draft->url : "redis://127.0.0.1:6379/0",
                                &draft->config.redis, reason, sizeof(reason));
    if (rc != 0)
        ftl__settings_fail(settings, member(redis, "url"), "%s", reason);
    return rc;
}

static int check_tls(const struct ftl__settings *settings, const config_setting_t *at,
                     const struct draft *draft)
{
    const struct ftl__tls_options *tls = &draft->tls;
    if (at != NULL && draft->sentinels == NULL && !draft->config.redis.secure)
        return ftl__settings_fail(settings, at, "has no effect without a rediss:// URL");
    if (tls->key_file != NULL && tls->cert_file == NULL)
        return ftl__settings_fail(settings, member(at, "key_file"),
                                  "has no effect without cert_file");
    if (!tls->verify && tls->ca_file != NULL)
        return ftl__settings_fail(settings, member(at, "ca_file"),
                                  "has no effect with verify = false");
    return 0;
}

/* A rediss:// URL asks for it, and so does the group where sentinels stand for an URL. */
static int add_tls(const struct ftl__settings *settings, const config_setting_t *redis,
                   struct draft *draft)
{
    struct ftl__address *address = &draft->config.redis;
    const config_setting_t *at = member(redis, "tls");
    char reason[512];
    int rc = check_tls(settings, at, draft);
    if (rc != 0 || (at == NULL && !address->secure))
        return rc;
    address->secure = true;
    rc = ftl__tls_context_new(&draft->tls, &address->tls, reason, sizeof(reason));
    if (rc != 0)
        ftl__settings_fail(settings, at != NULL ? at : member(redis, "url"), "%s", reason);
    else if (address->sentinels != NULL)
        address->sentinels->tls = address->tls;
    return rc;
}

static int read_redis(const struct ftl__settings *settings, const config_setting_t *root,
                      struct draft *draft)
{
    const config_setting_t *redis = config_setting_get_member(root, "redis");
    int rc = draft->sentinels != NULL ? read_sentinels(settings, redis, draft)
                                      : read_url(settings, redis, draft);
    if (rc == 0)
        rc = add_tls(settings, redis, draft);
    if (rc == 0)
        rc = add_user(settings, member(redis, "user"), draft);
    if (rc == 0)
        rc = add_password(settings, member(redis, "password_file"), draft);
    return rc != 0 ? rc : check_prefix(settings, member(redis, "prefix"), draft->config.prefix);
}

static void note_lines(const config_setting_t *root, struct ftl__config *config)
{
    const config_setting_t *at = config_setting_get_member(root, "require_durable");
    config->require_durable_line = at != NULL ? config_setting_source_line(at) : 0;
    at = config_setting_get_member(root, "redis");
    config->redis_line = at != NULL ? config_setting_source_line(at) : 0;
    at = config_setting_get_member(root, "cgroup");
    config->cgroup_line = at != NULL ? config_setting_source_line(at) : 0;
}

/* ---- reading ----------------------------------------------------------------------------- */

static int read_root(const struct ftl__settings *settings, const config_setting_t *root,
                     struct draft *draft)
{
    int rc = ftl__settings_read(settings, root, config_keys, draft);
    note_lines(root, &draft->config);
    if (rc == 0)
        rc = check_queues(settings, root, &draft->config);
    if (rc == 0)
        rc = check_handlers(settings, root, &draft->config);
    if (rc == 0)
        rc = check_cgroup(settings, root, draft->config.cgroup);
    if (rc == 0)
        rc = read_redis(settings, root, draft);
    if (rc == 0)
        rc = complete(settings, &draft->config);
    return rc;
}

/* `draft` owns what its configuration does. */
static void clear(struct draft *draft)
{
    if (draft->url != NULL)
        explicit_bzero(draft->url, strlen(draft->url));
    ftl__settings_free(config_keys, draft);
    ftl__address_clear(&draft->config.redis);
    free(draft->config.file);
}

/* Takes the configuration out of the draft. */
static int finish(const struct ftl__settings *settings, struct draft *draft,
                  struct ftl__config **ret_config)
{
    struct ftl__config *config = malloc(sizeof(*config));
    if (config == NULL)
        return ftl__settings_no_memory(settings);
    *config = draft->config;
    memset(&draft->config, 0, sizeof(draft->config));
    *ret_config = config;
    return 0;
}

static int read_draft(const struct ftl__settings *settings, const config_setting_t *root,
                      struct ftl__config **ret_config)
{
    struct draft draft = {.config = defaults, .tls.verify = true};
    int rc = read_root(settings, root, &draft);
    if (rc == 0)
        rc = finish(settings, &draft, ret_config);
    clear(&draft);
    return rc;
}

static int parse(const struct ftl__settings *settings, const char *text,
                 struct ftl__config **ret_config)
{
    config_t file;
    int rc = ftl__source_check(settings, text);
    if (rc != 0)
        return rc;
    config_init(&file);
    if (config_read_string(&file, text) == CONFIG_TRUE) {
        rc = read_draft(settings, config_root_setting(&file), ret_config);
    } else {
        snprintf(settings->error, settings->error_size, "%s:%d: %s", settings->file,
                 config_error_line(&file), config_error_text(&file));
        rc = FTL_EINVAL;
    }
    config_destroy(&file);
    return rc;
}

int ftl__config_parse(const char *text, const char *name, struct ftl__config **ret_config,
                      char *error, size_t error_size)
{
    return parse(&(struct ftl__settings){name, error, error_size}, text, ret_config);
}

int ftl__config_read(const char *file, struct ftl__config **ret_config, char *error,
                     size_t error_size)
{
    struct ftl__settings settings = {file, error, error_size};
    char *text;
    int rc = ftl__source_read(&settings, &text);
    if (rc != 0)
        return rc;
    rc = parse(&settings, text, ret_config);
    explicit_bzero(text, strlen(text));
    free(text);
    return rc;
}

void ftl__config_free(struct ftl__config *config)
{
    if (config == NULL)
        return;
    struct draft draft = {.config = *config};
    clear(&draft);
    free(config);
}

const char *ftl__config_fixed_difference(const struct ftl__config *old,
                                         const struct ftl__config *new)
{
    if (!ftl__address_equal(&old->redis, &new->redis))
        return old->redis.sentinels != NULL || new->redis.sentinels != NULL ? "redis.sentinels"
                                                                            : "redis.url";
    if (strcmp(old->prefix, new->prefix) != 0)
        return "redis.prefix";
    if (old->require_durable != new->require_durable)
        return "require_durable";
    if (old->workers != new->workers)
        return "workers";
    if (strcmp(old->cgroup, new->cgroup) != 0)
        return "cgroup";
    if (old->lease_ttl != new->lease_ttl)
        return "lease_ttl";
    if (old->on_segv != new->on_segv)
        return "on_segv";
    return NULL;
}
